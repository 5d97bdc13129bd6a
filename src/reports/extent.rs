//! How much of a task a view shows: all of it, or as much as an agent can read.
//!
//! Guarantees that a bounded view has every key of the whole one and counts what is cut. The most important entries of a list
//! stay, in their order.
//! Leaves to others: what the entries are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

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
    /// Lists up to this many bytes of JSON, and texts up to a part of it.
    Within(usize),
}

impl Extent {
    /// Everything, or up to a bound.
    pub fn of(full: bool) -> Self {
        if full { Extent::Full } else { Extent::Bounded }
    }

    fn list(self) -> usize {
        match self {
            Extent::Full => usize::MAX,
            Extent::Bounded => MAX_LIST,
            Extent::Within(bytes) => bytes.min(MAX_LIST),
        }
    }

    fn text(self) -> usize {
        self.list() / (MAX_LIST / MAX_TEXT)
    }

    fn entry(self) -> usize {
        self.list() / (MAX_LIST / MAX_ENTRY)
    }
}

/// How many entries of each list are not shown, and how many bytes of each text, under `<name>_bytes`.
pub type LeftOut = BTreeMap<String, usize>;

/// A view in the making, with what it leaves out.
pub struct Bounds {
    extent: Extent,
    left_out: LeftOut,
}

/// An entry of a list.
pub trait Entry: Clone + Serialize {
    /// Cuts its long texts.
    fn cut(&mut self, cuts: &mut Cuts);
}

/// The lengths of the texts of an entry that were cut, in bytes, under `<name>_bytes`.
#[derive(Debug)]
pub struct Cuts {
    most: usize,
    lengths: BTreeMap<String, usize>,
}

/// An entry of a list, with the length of each text that was cut, under `<name>_bytes`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Shown<T> {
    /// The entry.
    #[serde(flatten)]
    pub entry: T,
    /// The lengths, in bytes.
    #[serde(flatten)]
    pub cut: BTreeMap<String, usize>,
}

impl Cuts {
    /// Cuts a text.
    pub fn text(&mut self, name: &str, text: &mut String) {
        if text.len() > self.most {
            self.lengths.insert(format!("{name}_bytes"), text.len());
            *text = format!("{}…", beginning(text, self.most));
        }
    }

    /// Cuts a value; one that is no text is shown whole or not at all.
    pub fn value(&mut self, name: &str, value: &mut Value) {
        match value {
            Value::String(text) => self.text(name, text),
            Value::Array(_) | Value::Object(_) => {
                let bytes = value.to_string().len();
                if bytes > self.most {
                    self.lengths.insert(format!("{name}_bytes"), bytes);
                    *value = Value::Null;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

impl Bounds {
    /// A view that leaves nothing out so far.
    pub fn new(extent: Extent) -> Self {
        Bounds { extent, left_out: LeftOut::new() }
    }

    /// What is not shown.
    pub fn finish(self) -> LeftOut {
        self.left_out
    }

    /// As many entries as fit, in their order. Those of lower rank are preferred, and of equal rank the newest, which stand last.
    pub fn list<T: Entry>(
        &mut self,
        name: &str,
        all: impl IntoIterator<Item = T>,
        rank: impl Fn(&T) -> u8,
    ) -> Vec<Shown<T>> {
        let all: Vec<T> = all.into_iter().collect();
        if self.extent == Extent::Full {
            return all.into_iter().map(|entry| Shown { entry, cut: BTreeMap::new() }).collect();
        }
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|n| (rank(&all[*n]), std::cmp::Reverse(*n)));
        let mut room = self.extent.list();
        let mut kept = BTreeMap::new();
        for n in order {
            let mut entry = all[n].clone();
            let mut cuts = Cuts { most: self.extent.entry(), lengths: BTreeMap::new() };
            entry.cut(&mut cuts);
            let shown = Shown { entry, cut: cuts.lengths };
            if !takes(&shown, &mut room) {
                break;
            }
            kept.insert(n, shown);
        }
        self.count(name, all.len() - kept.len());
        kept.into_values().collect()
    }

    /// The value of a field: as much of a text, and as many entries of a list or map, as fit from the beginning.
    pub fn field(&mut self, name: &str, value: Value) -> Value {
        match value {
            _ if self.extent == Extent::Full => value,
            Value::String(text) if name == "title" => Value::String(self.cut(name, text, MAX_LINE)),
            Value::String(text) => Value::String(self.text(name, text)),
            Value::Array(all) => {
                let (mut room, count) = (self.extent.entry(), all.len());
                let short = all.into_iter().map(|one| match one {
                    Value::String(word) if word.len() > MAX_LINE => {
                        Value::String(format!("{}…", beginning(&word, MAX_LINE)))
                    }
                    other => other,
                });
                let kept: Vec<Value> = short.take_while(|one| takes(one, &mut room)).collect();
                self.count(name, count - kept.len());
                Value::Array(kept)
            }
            Value::Object(map) => Value::Object(self.map(name, map)),
            other => other,
        }
    }

    /// A text as long as one may be.
    pub fn text(&mut self, name: &str, text: String) -> String {
        self.cut(name, text, self.extent.text())
    }

    /// As many entries of a map as fit, from its beginning.
    pub fn map(&mut self, name: &str, map: Map<String, Value>) -> Map<String, Value> {
        if self.extent == Extent::Full {
            return map;
        }
        let (mut room, count) = (self.extent.list(), map.len());
        let kept: Map<String, Value> = map.into_iter().filter(|entry| takes(entry, &mut room)).collect();
        self.count(name, count - kept.len());
        kept
    }

    fn cut(&mut self, name: &str, text: String, most: usize) -> String {
        if self.extent == Extent::Full || text.len() <= most {
            return text;
        }
        let begin = beginning(&text, most);
        self.count(&format!("{name}_bytes"), text.len() - begin.len());
        format!("{begin}…")
    }

    fn count(&mut self, name: &str, left_out: usize) {
        if left_out > 0 {
            self.left_out.insert(name.to_owned(), left_out);
        }
    }
}

/// Takes the room for a value as JSON, if there is enough.
fn takes(value: &impl Serialize, room: &mut usize) -> bool {
    // Plain data can be written as JSON.
    let bytes = serde_json::to_string(value).map_or(usize::MAX, |json| json.len() + 1);
    let fits = bytes <= *room;
    if fits {
        *room -= bytes;
    }
    fits
}

/// The beginning of a text, at most so many bytes.
pub fn beginning(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Clone, Serialize)]
    struct Step {
        n: usize,
        content: String,
    }

    impl Entry for Step {
        fn cut(&mut self, cuts: &mut Cuts) {
            cuts.text("content", &mut self.content);
        }
    }

    fn step(n: usize, content: &str) -> Step {
        Step { n, content: content.to_owned() }
    }

    #[test]
    fn a_bounded_list_keeps_what_matters_in_its_order_and_counts_the_rest() {
        let all = || (0..10_000).map(|n| step(n, ""));
        let mut bounds = Bounds::new(Extent::Bounded);
        let shown = bounds.list("steps", all(), |step| u8::from(step.n != 7));
        assert_eq!((shown[0].entry.n, shown[shown.len() - 1].entry.n), (7, 9_999));
        let text = bounds.text("owner", "x".repeat(100_000));
        assert_eq!(text.len(), MAX_TEXT + '…'.len_utf8());
        let left_out =
            BTreeMap::from([("owner_bytes".into(), 100_000 - MAX_TEXT), ("steps".into(), 10_000 - shown.len())]);
        assert_eq!(bounds.finish(), left_out);
        let mut whole = Bounds::new(Extent::Full);
        assert_eq!(whole.list("steps", all(), |_| 0).len(), 10_000);
        assert!(whole.finish().is_empty());
    }

    #[test]
    fn a_long_text_is_cut_at_a_character_and_its_length_is_given() {
        let text = "ü".repeat(MAX_ENTRY);
        let mut bounds = Bounds::new(Extent::Bounded);
        let shown = json!(bounds.list("context", [step(1, &text)], |_| 0));
        assert_eq!(shown[0]["content_bytes"], text.len());
        assert!(shown[0]["content"].as_str().unwrap().len() < MAX_ENTRY + 4);
    }

    #[test]
    fn a_view_of_a_given_size_keeps_to_it() {
        let mut bounds = Bounds::new(Extent::Within(1_000));
        let steps: Vec<Step> = (0..100).map(|n| step(n, &"x".repeat(600))).collect();
        let shown = json!(bounds.list("steps", steps, |_| 0));
        assert!(shown.to_string().len() <= 1_002, "{shown}");
        assert_eq!(shown[0]["content_bytes"], 600);
        assert_eq!(bounds.text("intent", "x".repeat(600)).len(), 500 + '…'.len_utf8());
        assert_eq!(bounds.finish()["intent_bytes"], 100);
    }
}
