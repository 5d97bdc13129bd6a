//! Registers: the values of a task that each have one last writer.
//!
//! Guarantees that [`value`] reads from a task what `event_rules::writes` names for an event.
//! Leaves to others: which of several writers counts (`rules::fold`) and which of them lost (`rules::lost`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::rules::fields;

/// The edges that name a parent, by id, among the events of a log.
pub fn parent_edges<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<Id> {
    let names_parent =
        |event: &&Event| matches!(&event.payload, Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf);
    events.into_iter().filter(names_parent).map(|event| event.id).collect()
}

/// The value of a register in a task; `null` if it is empty.
pub fn value(task: &Task, register: &str) -> Value {
    match register {
        "status" => json!(task.status),
        "owner" => json!(task.owner),
        "parent" => json!(task.parent()),
        "verified" => json!(task.verified.as_ref().map(|v| v.passed)),
        other => part(task, other).unwrap_or_else(|| fields::value_of(&task.fields, other)),
    }
}

fn part(task: &Task, register: &str) -> Option<Value> {
    let (begin, rest) = register.split_once('.')?;
    match begin {
        "progress" => Some(json!(task.progress.get(&rest.parse().ok()?)?.completed)),
        "context" => Some(json!(task.context.get(&rest.parse().ok()?)?.superseded_by)),
        "met" => Some(json!(task.met.contains_key(rest))),
        _ => None,
    }
}

/// Whether writing one register changes the other too: a whole `metadata` contains every `metadata.<key>`.
pub fn overlap(one: &str, other: &str) -> bool {
    let holds = |whole: &str, part: &str| whole == "metadata" && part.starts_with("metadata.");
    one == other || holds(one, other) || holds(other, one)
}

/// The heads of a log, in order of their ids: the events that are not a parent of another.
pub fn heads_of(entries: &[Entry]) -> Vec<Id> {
    let parents: HashSet<&Id> = entries.iter().flat_map(|entry| &entry.event.parents).collect();
    let heads = entries.iter().map(|entry| entry.event.id).filter(|id| !parents.contains(id));
    heads.collect::<BTreeSet<Id>>().into_iter().collect()
}

/// The events that are among `heads` or their ancestors, as far as they are here.
pub fn below(entries: &[Entry], heads: &[Id]) -> Vec<Entry> {
    among_below(entries, heads).into_iter().cloned().collect()
}

/// As [`below`], without copying the events.
pub fn among_below<'a>(entries: &'a [Entry], heads: &[Id]) -> Vec<&'a Entry> {
    let parents: BTreeMap<Id, &[Id]> = entries.iter().map(|e| (e.event.id, e.event.parents.as_slice())).collect();
    let mut seen: BTreeSet<Id> = BTreeSet::new();
    let mut open: Vec<Id> = heads.to_vec();
    while let Some(id) = open.pop() {
        if seen.insert(id) {
            open.extend(parents.get(&id).copied().unwrap_or_default());
        }
    }
    entries.iter().filter(|e| seen.contains(&e.event.id)).collect()
}
