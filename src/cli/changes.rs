//! What changed in the plan, in words: for a terminal, or as Markdown fit for a comment.
//!
//! Guarantees that text of others stands in a code span in Markdown, where it cannot mention users or render images, and is
//! escaped on a terminal.
//! Leaves to others: which changes there are (`reports::change`).

use serde_json::Value;

use crate::engine::query::diff::{ChangeToDecide, ChangedTask, PlanDiff};
use crate::model::plain::{code_span, escape, spelled};
use crate::reports::change::{Change, Kind};
use crate::rules::lost::Lost;

/// The answer of `diff`.
pub fn diff(diff: &PlanDiff, md: bool) -> String {
    let paper = Paper { md };
    let mut out: String = diff.list.items.iter().map(|item| paper.task(item)).collect();
    let rest = &diff.list.rest;
    if let Some(cursor) = &rest.next_cursor {
        out.push_str(&format!("{} of {}; continue with --cursor {cursor}\n", diff.list.items.len(), rest.total));
    } else if out.is_empty() {
        out.push_str("nothing changed\n");
    }
    out
}

/// What changed in a task.
pub fn changes(item: &ChangedTask) -> impl Iterator<Item = &ChangeToDecide> {
    item.changes.iter().map(|shown| &shown.entry)
}

/// The entries of a value that is a list.
pub fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Most characters of a value that are shown.
const MOST: usize = 100;

/// The medium: a terminal, or Markdown.
pub struct Paper {
    pub md: bool,
}

impl Paper {
    pub fn head(&self, level: usize) -> String {
        if self.md { format!("{} ", "#".repeat(level)) } else { String::new() }
    }

    fn gap(&self) -> &'static str {
        if self.md { "\n" } else { "" }
    }

    fn bullet(&self, line: &str) -> String {
        if self.md { format!("- {line}\n") } else { format!("  {line}\n") }
    }

    /// A text of another author, on one line.
    pub fn quote(&self, text: &str) -> String {
        self.quote_most(text, MOST)
    }

    /// The same, cut to so many characters.
    pub fn quote_most(&self, text: &str, most: usize) -> String {
        let text = cut(text, most);
        if self.md { code_span(&text) } else { text }
    }

    /// Two different texts of other authors, cut to so many characters, with their difference visible.
    pub fn sides(&self, from: &str, to: &str, most: usize) -> (String, String) {
        let (old, new): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
        if old.is_empty() || new.is_empty() || fits(from, most) && fits(to, most) {
            return (self.quote_most(from, most), self.quote_most(to, most));
        }
        let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
        let rest = old.len().min(new.len()) - same;
        let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(|(a, b)| a == b).count();
        let mut buffer = [0; 4];
        let mut length = |c: char| escape(c.encode_utf8(&mut buffer)).chars().count();
        let (mut start, mut room) = (same, most / 3);
        while start > 0 && length(old[start - 1]) <= room {
            room -= length(old[start - 1]);
            start -= 1;
        }
        let side = |text: &[char]| {
            let end = text.len().min(text.len() - tail + most / 3);
            let (left, right) = (if start > 0 { "…" } else { "" }, if end < text.len() { "…" } else { "" });
            let part: String = text[start..end].iter().collect();
            self.quote_most(&format!("{left}{part}{right}"), most + 2)
        };
        (side(&old), side(&new))
    }

    pub fn value(&self, value: &Value) -> String {
        match value {
            Value::Null => "nothing".into(),
            Value::String(text) => self.quote(text),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                let words: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
                if words.is_empty() { "nothing".into() } else { self.quote(&words.join(", ")) }
            }
            other => self.quote(&other.to_string()),
        }
    }

    /// Who did it and why.
    pub fn by(&self, change: &Change) -> String {
        let by = change.by.as_ref().map(|by| format!(" — by {}", self.quote(by))).unwrap_or_default();
        let why = change.why.as_ref().map(|why| format!(": {}", self.quote(why))).unwrap_or_default();
        format!("{by}{why}")
    }

    fn task(&self, item: &ChangedTask) -> String {
        let is_creation = |one: &&ChangeToDecide| one.change.change == Kind::Created;
        let note = match changes(item).find(is_creation) {
            Some(creation) => format!(" (created{})", self.by(&creation.change)),
            None if item.gone => " (gone)".into(),
            None => String::new(),
        };
        let head = self.head(3);
        let mut out = if self.md { "\n".to_owned() } else { String::new() };
        out.push_str(&format!("{head}{} {}{note}\n{}", item.handle, self.quote(&item.title), self.gap()));
        if item.missing > 0 {
            out.push_str(&self.bullet(&missing(item.missing)));
        }
        for one in changes(item).filter(|one| !is_creation(one)) {
            out.push_str(&self.bullet(&format!("{}{}", self.what(&one.change), self.by(&one.change))));
        }
        for lost in &item.lost {
            out.push_str(&self.bullet(&self.lost(&lost.entry)));
        }
        for what in ["changes", "lost"] {
            if let Some(more) = item.left_out.get(what) {
                out.push_str(&self.bullet(&format!("and {more} more {what}")));
            }
        }
        if item.changes.is_empty() && !item.gone {
            out.push_str(&self.bullet(&format!("{}, without a net change", new_events(item))));
        }
        out
    }

    fn what(&self, change: &Change) -> String {
        let Change { change: kind, field, from, to, .. } = change;
        let part = field.split_once('.').map_or("", |(_, part)| part);
        let tail = &part[part.len().saturating_sub(6)..part.len() * usize::from(part.is_ascii())];
        match kind {
            Kind::Acceptance => {
                format!("criterion {} {}", self.quote(part), if *to == true { "met" } else { "unmet" })
            }
            Kind::Verified => format!("review {}", if *to == true { "passed" } else { "failed" }),
            Kind::ProgressAdded => format!("+ step [{}] {}", tick(to), self.value(&to["content"])),
            Kind::Progress => format!("step [{}] -> [{}] {}", tick(from), tick(to), self.value(&to["content"])),
            Kind::ContextAdded => format!("+ {} {}", self.value(&to["type"]), self.value(&to["content"])),
            Kind::ContextSuperseded => format!("context {tail} was superseded"),
            Kind::ContextRedacted => format!("context {tail} was redacted"),
            Kind::ThreadOpened => format!("thread {tail} opened{}: {}", proposes(to), self.value(&to["body"])),
            Kind::ThreadReplied => format!("reply in thread {tail}{}: {}", proposes(to), self.value(&to["body"])),
            Kind::ThreadResolved => format!("thread {tail} {}", self.value(to)),
            Kind::ThreadEscalated => format!("thread {tail} escalated to {}", self.value(to)),
            Kind::RelationshipAdded => format!("+ {}", edge(to)),
            Kind::RelationshipRemoved => format!("- {}", edge(from)),
            Kind::Forced | Kind::Status if !change.forced.is_empty() => {
                format!("{} past {}", self.arrow("status", from, to), self.quote(&change.forced.join(", ")))
            }
            Kind::Override => format!("overrode the lease of {}", self.value(from)),
            Kind::Created | Kind::Status | Kind::Field | Kind::Forced => self.arrow(&field_name(self, field), from, to),
        }
    }

    fn arrow(&self, field: &str, from: &Value, to: &Value) -> String {
        let (from, to) = self.both(from, to);
        format!("{field}: {from} -> {to}")
    }

    /// A value that lost to a concurrent one.
    pub fn lost(&self, edit: &Lost) -> String {
        let (lost, won) = self.both(&edit.lost.value, &edit.won.value);
        let by = (self.quote(&edit.lost.agent), self.quote(&edit.won.agent));
        let rule = edit.rule.as_str();
        format!("{}: {lost} by {} lost to {won} by {} ({rule})", self.quote(&edit.field), by.0, by.1)
    }

    /// Two values, so that one sees what differs.
    fn both(&self, from: &Value, to: &Value) -> (String, String) {
        match (from, to) {
            (Value::String(from), Value::String(to)) => self.sides(from, to, MOST),
            _ => (self.value(from), self.value(to)),
        }
    }
}

/// Whether a message proposes a change.
pub fn proposes(message: &Value) -> &'static str {
    if message["proposes"] == true { " with a proposal" } else { "" }
}

/// How many events of a task are new.
pub fn new_events(item: &ChangedTask) -> String {
    if item.events == 1 { "1 new event".to_owned() } else { format!("{} new events", item.events) }
}

/// That a task lost events.
pub fn missing(n: usize) -> String {
    format!("{n} of its events {} missing", if n == 1 { "is" } else { "are" })
}

/// Whether a text is shown whole in so many characters.
fn fits(text: &str, most: usize) -> bool {
    text.len() <= most * 4 && escape(text).chars().count() <= most
}

/// A text with what could deceive spelled out, of so many characters at most: a character is cut off whole.
fn cut(text: &str, most: usize) -> String {
    let (mut out, mut length) = (String::new(), 0);
    for shown in spelled(text) {
        length += shown.chars().count();
        if length > most {
            out.push('…');
            break;
        }
        out.push_str(&shown);
    }
    out
}

/// The name of a field: those of agentpm as they are, others quoted.
pub fn field_name(paper: &Paper, field: &str) -> String {
    let plain = field.len() <= 30 && field.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    if plain && !field.starts_with('_') && !field.ends_with('_') { field.to_owned() } else { paper.quote(field) }
}

fn tick(step: &Value) -> &'static str {
    if step["completed"] == true { "x" } else { " " }
}

/// `… blocks …`
pub fn edge(edge: &Value) -> String {
    let tail = |name: &str| {
        let id = edge[name].as_str().unwrap_or_default();
        id[id.len().saturating_sub(6)..].to_owned()
    };
    format!("{} {} {}", tail("from"), edge["type"].as_str().unwrap_or_default(), tail("to"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_leaves_its_code_span() {
        let paper = Paper { md: true };
        assert_eq!(paper.quote("plain"), "`plain`");
        assert_eq!(paper.quote("a ``b` c"), "```a ``b` c```");
        assert_eq!(paper.quote("`"), "`` ` ``");
        assert_eq!(paper.quote("@all\n# head"), "`@all⏎# head`");
        assert_eq!(paper.quote(""), "`  `");
        assert!(paper.quote(&"é".repeat(200)).chars().count() < 110);
    }
}
