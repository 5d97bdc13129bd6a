//! An edit that was recorded already: two clones may find the same one in the same commit.
//!
//! Leaves to `lineage` the values that a state of the log holds; here are entries, which get an id when they are recorded.

use serde_json::{Value, json};

use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::reports::event_words::own_text;
use crate::rules::decide::edit::{Doc, step, words};
use crate::store::edited::{Part, new_entry};

/// Whether these events, which record hand edits, added an entry that a person wrote without an id, or replaced the words of one.
pub(crate) fn is_recorded_entry(by_hand: &[&Entry], doc: &Doc, part: &Part, value: Option<&Value>) -> bool {
    let Some((entry, count)) = new_entry(doc, part) else { return is_replaced(by_hand, part, value) };
    let is_same = |known: &&&Entry| {
        let payload = &known.event.payload;
        if let ("progress", Payload::ProgressItemAdded(p)) = (&*part.key, payload) {
            let written = (p.content.clone(), is_ticked(by_hand, known.event.id));
            step(&entry).is_ok_and(|step| step == written)
        } else if let ("context", Payload::ContextAdded(p)) = (&*part.key, payload) {
            let kind = if entry["type"].is_null() { json!("note") } else { entry["type"].clone() };
            let content = words(&entry).or_else(|| words(&entry["content"]));
            json!(p.kind) == kind && content.as_ref() == Some(&p.content) && entry["metadata"] == p.metadata
        } else if let ("threads", Payload::ThreadReplied(p)) = (&*part.key, payload) {
            let thread = words(&entry["thread"]).is_none_or(|name| {
                let id = p.thread.to_string();
                id.starts_with(&name) || id.ends_with(&name)
            });
            let body = words(&entry).or_else(|| words(&entry["body"]));
            thread && body.as_ref() == Some(&p.body) && entry["patch"] == p.patch
        } else {
            false
        }
    };
    by_hand.iter().filter(is_same).count() >= count
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
        let newer = by_hand.iter().find(|entry| entry.event.id == by);
        newer.and_then(|entry| own_text(&entry.event.payload)).map(Value::from)
    };
    by_hand.iter().any(|entry| {
        matches!(&entry.event.payload, Payload::ContextSuperseded(p)
            if p.entry.to_string() == *id && content(p.by).as_ref() == value)
    })
}
