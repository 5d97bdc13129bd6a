//! The same edit of the same file, recorded by somebody else already: two clones may find it in the same commit.
//!
//! Promises: of an edit nothing is recorded once more that another recording, from the same heads, says already; what goes
//! beyond it stays.
//! Refuses to know: where the events came from.

use serde_json::Value;

use super::entries::step;
use super::{Doc, WHY, differs, words};
use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;

/// The recordings of edits of the file that was made from these heads: each the events of one command.
pub fn recordings<'a>(entries: &'a [Entry], heads: &[Id]) -> Vec<Vec<&'a Event>> {
    let by_hand = |event: &&Event| event.why.as_deref() == Some(WHY);
    let begins =
        |event: &&Event| event.parents.len() == heads.len() && heads.iter().all(|head| event.parents.contains(head));
    let events = || entries.iter().map(|entry| &entry.event).filter(by_hand);
    let follow = |first: &'a Event| {
        let mut chain = vec![first];
        while let Some(last) = chain.last() {
            let next = |event: &&Event| {
                event.parents == [last.id] && event.author.agent == last.author.agent && event.at == last.at
            };
            match events().find(next) {
                Some(next) => chain.push(next),
                None => break,
            }
        }
        chain
    };
    events().filter(begins).map(follow).collect()
}

/// What an edit says beyond a recording: `old` is what the file said, `then` what it says by the recording, `new` what it says
/// now.
pub fn beyond(recording: &[&Event], old: &Doc, then: &Doc, new: &Doc) -> Doc {
    let mut left = new.clone();
    for (key, value) in left.iter_mut() {
        let (before, after) = (old.get(key), then.get(key));
        if differs(key, before, Some(value)) && !differs(key, after, Some(value)) {
            *value = before.cloned().unwrap_or_default();
        }
    }
    // What both took out.
    for key in old.keys().filter(|key| !new.contains_key(*key) && !then.contains_key(*key)) {
        left.insert(key.clone(), old[key].clone());
    }
    let mut known = Known::of(recording);
    if let Some(Value::Array(entries)) = left.get_mut("progress") {
        entries.retain(|entry| !known.has_step(entry));
    }
    if let Some(Value::Array(entries)) = left.get_mut("context") {
        entries.retain(|entry| !known.has_note(entry));
        for entry in entries {
            let was = old.get("context").and_then(Value::as_array).into_iter().flatten();
            if let Some(was) = was.clone().find(|was| was["id"] == entry["id"] && known.replaced(entry)) {
                *entry = was.clone();
            }
        }
    }
    left
}

/// The parts that a recording added, and not yet found in the edit.
struct Known<'a> {
    steps: Vec<(&'a str, bool)>,
    notes: Vec<(Value, &'a str, &'a Value)>,
    newer: Vec<(String, &'a str)>,
}

impl<'a> Known<'a> {
    fn of(recording: &[&'a Event]) -> Self {
        let ticked = |id: Id| {
            recording.iter().any(|event| matches!(&event.payload, Payload::ProgressItemCompleted(p) if p.item == id))
        };
        let replaces = |id: Id| {
            recording.iter().find_map(|event| match &event.payload {
                Payload::ContextSuperseded(p) if p.by == id => Some(p.entry.to_string()),
                _ => None,
            })
        };
        let mut known = Known { steps: Vec::new(), notes: Vec::new(), newer: Vec::new() };
        for event in recording {
            match &event.payload {
                Payload::ProgressItemAdded(p) => known.steps.push((&p.content, ticked(event.id))),
                Payload::ContextAdded(p) => match replaces(event.id) {
                    Some(entry) => known.newer.push((entry, &p.content)),
                    None => known.notes.push((serde_json::json!(p.kind), &p.content, &p.metadata)),
                },
                _ => {}
            }
        }
        known
    }

    fn has_step(&mut self, entry: &Value) -> bool {
        let Some((content, completed)) = step(entry).ok().filter(|_| entry["id"].is_null()) else { return false };
        let at = self.steps.iter().position(|known| *known == (content.as_str(), completed));
        at.map(|at| self.steps.remove(at)).is_some()
    }

    fn has_note(&mut self, entry: &Value) -> bool {
        let kind = match &entry["type"] {
            Value::Null => Value::from("note"),
            kind => kind.clone(),
        };
        let content = words(entry).or_else(|| words(&entry["content"])).filter(|_| entry["id"].is_null());
        let Some(content) = content else { return false };
        let at =
            self.notes.iter().position(|known| known.0 == kind && known.1 == content && *known.2 == entry["metadata"]);
        at.map(|at| self.notes.remove(at)).is_some()
    }

    fn replaced(&self, entry: &Value) -> bool {
        let said = |known: &(String, &str)| {
            entry["id"] == known.0.as_str() && words(&entry["content"]).is_some_and(|now| now == known.1)
        };
        self.newer.iter().any(said)
    }
}
