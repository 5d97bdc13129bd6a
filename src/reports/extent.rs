//! How much of a task a view shows: all of it, or as much as an agent can read.
//!
//! Guarantees that a bounded view has every key of the whole one and counts what is cut. The most important entries of a list
//! stay, in their order.
//! Leaves to others: what the entries are.

use serde_json::{Map, Value, json};

/// Longest list, in bytes of JSON.
const MAX_LIST: usize = 16 * 1024;
/// Longest text of its own, such as the intent, in bytes.
const MAX_TEXT: usize = 8 * 1024;
/// Longest text of an entry in a list, in bytes.
const MAX_ENTRY: usize = 4 * 1024;
/// Longest text that stands on one line, such as a title, in bytes.
const MAX_LINE: usize = 1_000;

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everything, however long it is.
    Full,
    /// Lists and texts up to a bound.
    Bounded,
}

/// A view in the making, with what it leaves out.
pub struct Bounds {
    extent: Extent,
    left_out: Map<String, Value>,
}

impl Bounds {
    /// A view that leaves nothing out so far.
    pub fn new(extent: Extent) -> Self {
        Bounds { extent, left_out: Map::new() }
    }

    /// Cuts what is still too long for a bounded view, and adds under `left_out` how many entries of each list, and bytes of each
    /// text, are not shown.
    pub fn finish(mut self, view: &mut Map<String, Value>) {
        for (name, value) in view.iter_mut() {
            if let Value::String(text) = value
                && text.len() > MAX_TEXT + '…'.len_utf8()
            {
                *value = self.text(name, &std::mem::take(text));
            }
        }
        if !self.left_out.is_empty() {
            view.insert("left_out".into(), Value::Object(self.left_out));
        }
    }

    /// As many entries as fit, in their order. Those of lower rank are preferred, and of equal rank the newest, which stand last.
    pub fn list<T>(&mut self, name: &str, all: &[T], rank: impl Fn(&T) -> u8, show: impl Fn(&T) -> Value) -> Value {
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|n| (rank(&all[*n]), std::cmp::Reverse(*n)));
        self.fitting(name, all, order, MAX_LIST, show)
    }

    /// As many words as fit, from the first on.
    pub fn words(&mut self, name: &str, all: &[String]) -> Value {
        self.fitting(name, all, (0..all.len()).collect(), MAX_ENTRY, |word| json!(word))
    }

    fn fitting<T>(
        &mut self,
        name: &str,
        all: &[T],
        order: Vec<usize>,
        mut room: usize,
        show: impl Fn(&T) -> Value,
    ) -> Value {
        if self.extent == Extent::Full {
            return all.iter().map(show).collect();
        }
        let mut kept: Vec<(usize, Value)> = Vec::new();
        for n in order {
            let mut entry = show(&all[n]);
            cut_texts(&mut entry);
            let bytes = entry.to_string().len() + 1;
            if bytes > room {
                break;
            }
            room -= bytes;
            kept.push((n, entry));
        }
        self.count(name, all.len() - kept.len());
        kept.sort_by_key(|(n, _)| *n);
        kept.into_iter().map(|(_, entry)| entry).collect()
    }

    /// A text as long as one may be.
    pub fn text(&mut self, name: &str, text: &str) -> Value {
        self.cut(name, text, MAX_TEXT)
    }

    /// A text that stands on one line.
    pub fn line(&mut self, name: &str, text: &str) -> Value {
        self.cut(name, text, MAX_LINE)
    }

    /// As many entries of a map as fit, from its beginning.
    pub fn map(&mut self, name: &str, map: &Map<String, Value>) -> Map<String, Value> {
        let mut room = if self.extent == Extent::Full { usize::MAX } else { MAX_LIST };
        let mut kept = Map::new();
        for (key, value) in map {
            let bytes = if self.extent == Extent::Full { 0 } else { key.len() + value.to_string().len() + 4 };
            if bytes <= room {
                room -= bytes;
                kept.insert(key.clone(), value.clone());
            }
        }
        self.count(name, map.len() - kept.len());
        kept
    }

    fn cut(&mut self, name: &str, text: &str, most: usize) -> Value {
        if self.extent == Extent::Full || text.len() <= most {
            return json!(text);
        }
        let begin = beginning(text, most);
        self.count(&format!("{name}_bytes"), text.len() - begin.len());
        json!(format!("{begin}…"))
    }

    fn count(&mut self, name: &str, left_out: usize) {
        if left_out > 0 {
            self.left_out.insert(name.to_owned(), json!(left_out));
        }
    }
}

/// The beginning of a text, at most so many bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// Cuts the long texts of an entry; `<name>_bytes` says how long each is.
fn cut_texts(entry: &mut Value) {
    match entry {
        Value::String(text) if text.len() > MAX_LINE => *text = format!("{}…", beginning(text, MAX_LINE)),
        Value::Object(map) => {
            let long = |(name, value): (&String, &Value)| match value {
                Value::String(text) if text.len() > MAX_ENTRY => {
                    Some((name.clone(), text.len(), json!(format!("{}…", beginning(text, MAX_ENTRY)))))
                }
                Value::Array(_) | Value::Object(_) => {
                    let bytes = value.to_string().len();
                    (bytes > MAX_ENTRY).then(|| (name.clone(), bytes, Value::Null))
                }
                _ => None,
            };
            for (name, bytes, cut) in map.iter().filter_map(long).collect::<Vec<_>>() {
                map.insert(format!("{name}_bytes"), json!(bytes));
                map.insert(name, cut);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_list_keeps_what_matters_in_its_order_and_counts_the_rest() {
        let all: Vec<usize> = (0..10_000).collect();
        let mut bounds = Bounds::new(Extent::Bounded);
        let shown = bounds.list("steps", &all, |n| u8::from(*n != 7), |n| json!({ "n": n }));
        let shown = shown.as_array().unwrap();
        assert_eq!((&shown[0]["n"], &shown[shown.len() - 1]["n"]), (&json!(7), &json!(9_999)));
        let mut view = Map::from_iter([("owner".to_owned(), json!("x".repeat(100_000)))]);
        bounds.finish(&mut view);
        assert_eq!(view["left_out"], json!({ "steps": 10_000 - shown.len(), "owner_bytes": 100_000 - MAX_TEXT }));
        let (mut whole, mut view) = (Bounds::new(Extent::Full), Map::new());
        assert_eq!(whole.list("steps", &all, |_| 0, |n| json!(n)).as_array().unwrap().len(), 10_000);
        whole.finish(&mut view);
        assert!(view.is_empty());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_its_length_is_given() {
        let text = "ü".repeat(MAX_ENTRY);
        let mut bounds = Bounds::new(Extent::Bounded);
        let shown = bounds.list("context", &[text.as_str()], |_| 0, |text| json!({ "content": text }));
        assert_eq!(shown[0]["content_bytes"], text.len());
        assert!(shown[0]["content"].as_str().unwrap().len() < MAX_ENTRY + 4);
    }
}
