//! The page in the making: sections, the choice of those that fit, and texts of others in a form that cannot pass for the page.
//!
//! Guarantees that a page keeps to its bound, and that what is not on it is counted by kind.
//! Leaves to others: what there is to say (`own`, `around`, `hold`).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::model::plain::markdown;
use crate::reports::extent::beginning;

/// How many parts of each kind are not on the page, and under `<kind>_bytes` how many bytes of those that are.
pub type LeftOut = BTreeMap<String, usize>;

/// A kind of section: what it is counted as, what stands above the first of its kind, and how early it is cut.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub name: &'static str,
    pub heading: &'static str,
    /// Those of a higher rank are cut first; 0 stays.
    pub rank: u8,
}

/// A part of the page that is shown or cut as a whole.
pub(super) struct Section {
    pub kind: Kind,
    pub text: String,
    /// Bytes of its source that the text does not show.
    pub cut: usize,
}

/// The sections of a page in their order, of each kind the most useful first.
pub(super) struct Draft {
    /// Most bytes of the page.
    pub room: usize,
    sections: Vec<Section>,
    left_out: LeftOut,
}

impl Draft {
    pub fn new(room: usize) -> Self {
        Draft { room, sections: Vec::new(), left_out: LeftOut::new() }
    }

    pub fn push(&mut self, section: Section) {
        self.sections.push(section);
    }

    /// Adds the first of some items, as many as fit into `room` bytes. No text is made of the others; they are counted.
    pub fn list<T>(&mut self, items: impl Iterator<Item = T>, room: usize, mut make: impl FnMut(T) -> Section) {
        let mut bytes = 0;
        let mut items = items;
        let mut name = None;
        for item in items.by_ref() {
            let section = make(item);
            name = Some(section.kind.name);
            bytes += section.text.len();
            self.sections.push(section);
            if bytes > room {
                break;
            }
        }
        if let Some(name) = name {
            self.count(name, items.count());
        }
    }

    /// Counts parts that are not on the page.
    pub fn count(&mut self, name: &str, more: usize) {
        if more > 0 {
            *self.left_out.entry(name.to_owned()).or_default() += more;
        }
    }

    /// The page, and what it leaves out. `handle` is the task's.
    pub fn finish(self, handle: &str) -> (String, LeftOut) {
        let mut room = self.room;
        loop {
            let (mut text, left_out) = self.assemble(room);
            if !left_out.is_empty() {
                let words: Vec<String> = left_out.iter().map(|(name, n)| counted(name, *n)).collect();
                let _ = write!(
                    text,
                    "\n(left out for room: {}; a greater --max-tokens shows more, agentpm show {handle} --full shows all)\n",
                    words.join(", ")
                );
            }
            let excess = text.len().saturating_sub(self.room);
            if excess == 0 || room == 0 {
                return (text, left_out);
            }
            room = room.saturating_sub(excess);
        }
    }

    /// The most useful sections that fit into `room` bytes, in the order of the page.
    fn assemble(&self, room: usize) -> (String, LeftOut) {
        let mut order: Vec<usize> = (0..self.sections.len()).collect();
        order.sort_by_key(|n| self.sections[*n].kind.rank);
        let (mut bytes, mut shown, mut headings) = (0, BTreeSet::new(), BTreeSet::new());
        let mut left_out = self.left_out.clone();
        for n in order {
            let Section { kind, text, cut } = &self.sections[n];
            let heading = if headings.contains(kind.heading) { 0 } else { kind.heading.len() };
            if kind.rank > 0 && bytes + heading + text.len() > room {
                *left_out.entry(kind.name.to_owned()).or_default() += 1;
                continue;
            }
            bytes += heading + text.len();
            headings.insert(kind.heading);
            shown.insert(n);
            if *cut > 0 {
                *left_out.entry(format!("{}_bytes", kind.name)).or_default() += cut;
            }
        }
        let (mut page, mut last) = (String::new(), "");
        for n in shown {
            let Section { kind, text, .. } = &self.sections[n];
            if kind.heading != last {
                page.push_str(kind.heading);
                last = kind.heading;
            }
            page.push_str(text);
        }
        // What always stays is of single lines, which may be cut anywhere.
        if page.len() > room {
            left_out.insert("task_bytes".to_owned(), page.len() - room);
            page.truncate(page.floor_char_boundary(room));
            page.push('…');
        }
        (page, left_out)
    }
}

/// A text of at most so many bytes, and how many bytes follow; of a longer one the beginning.
pub(super) fn short(text: &str, most: usize) -> (Cow<'_, str>, usize) {
    if text.len() <= most {
        return (Cow::Borrowed(text), 0);
    }
    let begin = beginning(text, most);
    let more = text.len() - begin.len();
    (Cow::Owned(format!("{begin}…\n({more} more bytes)")), more)
}

/// A text on one line of at most some hundred characters.
pub(super) fn line(text: &str) -> String {
    const MAX_LINE: usize = 1_000;
    line_of(text, MAX_LINE)
}

/// The beginning of a text on one line.
pub(super) fn line_of(text: &str, most: usize) -> String {
    let begin = beginning(text, most);
    let more = if begin.len() < text.len() { "…" } else { "" };
    markdown(&(one_line(begin) + more)).into_owned()
}

/// A text on one line, so that it cannot pass for a line of the page.
pub(super) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// So many parts of a kind, in words.
fn counted(name: &str, n: usize) -> String {
    let name = match (n, name) {
        (1, "children") => "child",
        (1, "criteria") => "criterion",
        (1, "branches") => "branch",
        (1, name) if name != "progress" => name.strip_suffix('s').unwrap_or(name),
        (_, name) => name,
    };
    format!("{n} {}", name.replace('_', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &'static str, rank: u8, text: &str) -> Section {
        Section { kind: Kind { name, heading: "", rank }, text: format!("{text}\n"), cut: 0 }
    }

    #[test]
    fn what_is_least_useful_is_cut_first_and_counted() {
        let mut draft = Draft::new(200);
        draft.push(section("task", 0, "title"));
        draft.list((0..5).map(|n| format!("event {n} {}", "x".repeat(30))), 1_000, |text| section("events", 9, &text));
        draft.push(section("context", 3, "a decision"));
        let (text, left_out) = draft.finish("ABCDEF");
        assert!(text.len() <= 200 && text.contains("title\n") && text.contains("a decision\n"), "{text}");
        assert_eq!(left_out, LeftOut::from([("events".to_owned(), 5 - text.matches("event ").count())]));
    }

    #[test]
    fn items_beyond_the_room_are_counted_without_a_text() {
        let mut draft = Draft::new(10_000);
        draft.list(0..1_000, 100, |n| section("context", 3, &format!("entry {n}")));
        let (text, left_out) = draft.finish("ABCDEF");
        assert_eq!(left_out["context"], 1_000 - text.matches("entry ").count());
    }
}
