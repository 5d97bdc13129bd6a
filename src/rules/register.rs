//! Registers: the values of a task that each have one last writer.
//!
//! Guarantees that [`writes`] names every register an event writes and the value it leaves there, as the fold stores it.
//! [`value`] reads the same register from a task.
//! Leaves to others: which of several writers counts (`rules::fold`) and which of them lost (`rules::lost`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::{Fields, Payload};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task, TaskFields};
use crate::rules::copies::first;
use crate::rules::fields;

/// Name prefixes of the registers of a task's parts. A field of a newer version with such a name is not a register.
const PARTS: [&str; 3] = ["progress.", "context.", "met."];

/// The edges that name a parent, by id, among the events of a log.
pub fn parent_edges<'a>(events: impl IntoIterator<Item = &'a Event>) -> BTreeSet<Id> {
    let names_parent =
        |event: &&Event| matches!(&event.payload, Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf);
    events.into_iter().filter(names_parent).map(|event| event.id).collect()
}

/// The status that an event sets, if any.
pub fn status_of(event: &Event) -> Option<Status> {
    match &event.payload {
        Payload::TaskCreated(p) => {
            Some(p.fields.get("status").and_then(Value::as_str).and_then(Status::from_word).unwrap_or_default())
        }
        Payload::TaskStatusChanged(p) => Some(p.to),
        Payload::TaskArchived(_) => Some(Status::Archived),
        Payload::TaskReopened(p) => Some(p.to),
        _ => None,
    }
}

/// The registers that an event writes, with the values it leaves there. `parents` are the log's [`parent_edges`], `copies`
/// the task's.
pub fn writes(event: &Event, parents: &BTreeSet<Id>, copies: &BTreeMap<Id, Id>) -> Vec<(String, Value)> {
    let one = |register: &str, value: Value| vec![(register.to_owned(), value)];
    match &event.payload {
        Payload::TaskCreated(p) => {
            let mut out = plain(&p.fields);
            out.extend(status_of(event).map(|status| ("status".to_owned(), json!(status))));
            out.push(("owner".into(), p.fields.get("owner").cloned().unwrap_or_default()));
            out
        }
        Payload::TaskUpdated(p) => {
            let mut out = plain(&p.set);
            out.extend(p.set.get("owner").map(|owner| ("owner".to_owned(), owner.clone())));
            out
        }
        Payload::TaskStatusChanged(p) => {
            let mut out = one("status", json!(p.to));
            out.extend(p.owner.as_ref().map(|owner| ("owner".to_owned(), json!(owner))));
            out
        }
        Payload::TaskArchived(_) => one("status", json!(Status::Archived)),
        Payload::TaskReopened(p) => one("status", json!(p.to)),
        Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf => one("parent", json!(p.from)),
        Payload::RelationshipRemoved(p) if parents.contains(&p.relationship) => one("parent", Value::Null),
        Payload::ProgressItemAdded(p) => one(&format!("progress.{}", event.id), json!(p.completed_at.is_some())),
        Payload::ProgressItemCompleted(p) => one(&format!("progress.{}", first(copies, p.item)), json!(true)),
        Payload::ProgressItemReopened(p) => one(&format!("progress.{}", first(copies, p.item)), json!(false)),
        Payload::ContextSuperseded(p) => {
            one(&format!("context.{}", first(copies, p.entry)), json!(first(copies, p.by)))
        }
        Payload::AcceptanceMet(p) => one(&format!("met.{}", p.criterion), json!(p.met)),
        Payload::TaskVerified(p) => one("verified", json!(p.passed)),
        _ => Vec::new(),
    }
}

/// The plain fields of a set, each with the value that the fold stores.
fn plain(set: &Fields) -> Vec<(String, Value)> {
    let is_plain = |name: &str| !fields::RESERVED.contains(&name) && !PARTS.iter().any(|begin| name.starts_with(begin));
    let stored = |name: &String, value: &Value| {
        let mut scratch = TaskFields::default();
        fields::write(&mut scratch, &Fields::from_iter([(name.clone(), value.clone())])).ok()?;
        Some((name.clone(), fields::value_of(&scratch, name)))
    };
    set.iter().filter(|(name, _)| is_plain(name)).filter_map(|(name, value)| stored(name, value)).collect()
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
