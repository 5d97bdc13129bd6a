//! An edit that was recorded already: two clones may find the same one in the same commit.
//!
//! Leaves to `lineage` the values that a state of the log holds; here are entries, which get an id when they are recorded.

use serde_json::{Value, json};

use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::rules::decide::edit::{Doc, step, words};
use crate::store::edited::{Part, new_entry};

/// Whether these events, which record hand edits, added an entry that a person wrote without an id, or replaced the words of one.
pub(crate) fn is_recorded_entry(by_hand: &[&Entry], doc: &Doc, part: &Part, value: Option<&Value>) -> bool {
    let Some((entry, count)) = new_entry(doc, part) else { return is_replaced(by_hand, part, value) };
    let same = by_hand.iter().filter(|known| match &known.event.payload {
        Payload::ProgressItemAdded(p) => {
            let written = (p.content.clone(), is_ticked(by_hand, known.event.id));
            part.key == "progress" && step(&entry).is_ok_and(|step| step == written)
        }
        Payload::ContextAdded(p) => {
            let kind = if entry["type"].is_null() { json!("note") } else { entry["type"].clone() };
            let content = words(&entry).or_else(|| words(&entry["content"]));
            part.key == "context"
                && json!(p.kind) == kind
                && content.as_ref() == Some(&p.content)
                && entry["metadata"] == p.metadata
        }
        Payload::ThreadReplied(p) => {
            let thread = words(&entry["thread"]).is_none_or(|name| {
                let id = p.thread.to_string();
                id.starts_with(&name) || id.ends_with(&name)
            });
            let body = words(&entry).or_else(|| words(&entry["body"]));
            part.key == "threads" && thread && body.as_ref() == Some(&p.body) && entry["patch"] == p.patch
        }
        _ => false,
    });
    same.count() >= count
}

fn is_ticked(by_hand: &[&Entry], item: Id) -> bool {
    by_hand.iter().any(|entry| matches!(&entry.event.payload, Payload::ProgressItemCompleted(p) if p.item == item))
}

/// New words for a context entry are recorded as a newer entry.
fn is_replaced(by_hand: &[&Entry], part: &Part, value: Option<&Value>) -> bool {
    let ("context", Some(id), Some("content")) = (part.key.as_str(), &part.entry, part.field.as_deref()) else {
        return false;
    };
    let content = |by: Id| {
        by_hand.iter().find_map(|entry| match &entry.event.payload {
            Payload::ContextAdded(p) if entry.event.id == by => Some(Value::from(p.content.clone())),
            _ => None,
        })
    };
    by_hand.iter().any(|entry| match &entry.event.payload {
        Payload::ContextSuperseded(p) => p.entry.to_string() == *id && content(p.by).as_ref() == value,
        _ => false,
    })
}
