//! The page of a review, and how it names tasks, values and agents.
//!
//! Guarantees that text of others stands in a code span.
//! Leaves to others: the sections of the page (`decide`, `details`, `diagram`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde_json::Value;

use crate::cli::changes::Paper;
use crate::engine::query::review::ReviewReport;
use crate::model::id::Id;
use crate::model::plain::first_of;
use crate::model::relationship::RelationType;
use crate::reports::change::Change;
use crate::rules::roles::Verb;

/// Most characters of a title or value; a reason or a note may be longer.
pub(super) const SHORT: usize = 60;
pub(super) const LONG: usize = 80;
/// Most lines of one task in one section.
pub(super) const MOST_LINES: usize = 8;
/// Most changes of one task on its line of details.
pub(super) const MOST_PARTS: usize = 8;

pub(super) struct Page<'a> {
    pub(super) paper: Paper,
    pub(super) report: &'a ReviewReport,
    pub(super) numbers: BTreeMap<Id, usize>,
}

impl Page<'_> {
    /// One line of a list, so deep.
    pub(super) fn bullet(&self, depth: usize, text: &str) -> String {
        let indent = "  ".repeat(depth);
        if self.paper.md { format!("{indent}- {text}") } else { format!("  {indent}{text}") }
    }

    pub(super) fn value(&self, value: &Value) -> String {
        let text = match value {
            Value::Null => return "nothing".into(),
            Value::String(text) => text.clone(),
            Value::Array(list) if list.is_empty() => return "nothing".into(),
            Value::Array(list) if list.iter().all(Value::is_string) => {
                list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
            }
            Value::Number(number) => return number.to_string(),
            other => other.to_string(),
        };
        self.paper.quote_most(&text, SHORT)
    }

    pub(super) fn long(&self, value: &Value) -> String {
        self.paper.quote_most(value.as_str().unwrap_or_default(), LONG)
    }

    /// `7XK2Q1 title`
    pub(super) fn name(&self, task: Id) -> String {
        format!("{} {}", self.handle(task), self.paper.quote_most(self.title(task).unwrap_or_default(), SHORT))
    }

    /// The handle of a task that may not be among the items.
    pub(super) fn handle(&self, task: Id) -> String {
        let own = self.numbers.get(&task).map(|n| self.report.list.items[*n].handle.as_str());
        let known = own.or_else(|| self.report.names.get(&task).map(|name| name.handle.as_str()));
        let id = task.to_string();
        known.map_or_else(|| id[id.len().saturating_sub(6)..].to_owned(), str::to_owned)
    }

    /// The title of a task that may not be among the items.
    pub(super) fn title(&self, task: Id) -> Option<&str> {
        let own = self.numbers.get(&task).map(|n| self.report.list.items[*n].title.as_str());
        own.or_else(|| self.report.names.get(&task)?.title.as_deref())
    }

    pub(super) fn by(&self, change: &Change) -> String {
        let by = change.by.as_ref().map(|by| format!(" by {}", self.paper.quote_most(by, SHORT)));
        format!("{}{}", by.unwrap_or_default(), self.why(change))
    }

    pub(super) fn why(&self, change: &Change) -> String {
        change.why.as_ref().map(|why| format!(": {}", self.paper.quote_most(why, LONG))).unwrap_or_default()
    }

    /// What was and what is; of long values what differs.
    pub(super) fn arrow(&self, from: &Value, to: &Value) -> String {
        let length = |words: &[String]| words.iter().map(|word| word.chars().count() + 2).sum::<usize>();
        match (words(from), words(to)) {
            (Some(old), Some(new)) if length(&old).max(length(&new)) > SHORT => {
                let not_in = |one: &[String], other: &[String], sign: &str| -> Vec<String> {
                    let mut missing: Vec<&String> = one.iter().filter(|word| !other.contains(word)).collect();
                    missing.sort_by_key(|word| Reverse(strength(word)));
                    missing.iter().map(|word| format!("{sign}{}", self.paper.quote_most(word, SHORT))).collect()
                };
                let both = [not_in(&new, &old, "+"), not_in(&old, &new, "−")];
                let said: Vec<String> = both.iter().filter(|words| !words.is_empty()).map(|words| few(words)).collect();
                return if said.is_empty() { "the same in another order".into() } else { said.join(", ") };
            }
            _ => {}
        }
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(list) if list.is_empty() || list.iter().all(Value::is_string) => None,
            Value::Number(_) => None,
            other => Some(other.to_string()),
        };
        let (from, to) = match (text(from), text(to)) {
            (Some(from), Some(to)) => self.paper.sides(&from, &to, SHORT),
            _ => (self.value(from), self.value(to)),
        };
        format!("{from} → {to}")
    }
}

/// `open → completed`
pub(super) fn move_words(change: &Change) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("nothing").to_owned();
    format!("{} → {}", word(&change.from), word(&change.to))
}

/// The task that a value names.
pub(super) fn task_of(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

/// The blocker and the blocked task of a relationship of that type.
pub(super) fn blocking(relation: &Value) -> Option<(Id, Id)> {
    let is_blocks = relation["type"] == RelationType::Blocks.as_str();
    is_blocks.then_some((task_of(&relation["from"])?, task_of(&relation["to"])?))
}

/// The words of a list, where it is one of words.
pub(super) fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(|word| word.as_str().map(str::to_owned)).collect(),
        _ => None,
    }
}

/// How much a word permits; what permits most must not be among those that are left out of a long list.
pub(super) fn strength(word: &str) -> usize {
    Verb::ALL.iter().position(|verb| verb.as_str() == word).map_or(0, |at| at + 1)
}

pub(super) fn few(words: &[String]) -> String {
    first_of(words, MOST_PARTS, words.len())
}
