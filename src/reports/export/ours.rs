//! Our own formats: the state of each task to read, and its events, from which an import makes the same files.
//!
//! `json` is one document with a list of agents and one of tasks, `jsonl` has one of these records on each line. Every event
//! stands there byte for byte as in its log.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::agent::Agent;
use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::event::Entry;
use crate::model::field::TaskFields;
use crate::model::id::Id;
use crate::model::task::{Status, Task, Verified};
use crate::model::thread::Thread;
use crate::model::time::Time;
use crate::reports::view::{Criterion, Edge, criteria};
use crate::rules::fields;

/// What the document calls itself.
pub const NAME: &str = "agentpm";
/// The version of the format.
pub const VERSION: u64 = 1;

/// The state of a task: what its file says, without what is empty.
#[derive(Serialize)]
struct State<'a> {
    id: Id,
    #[serde(flatten)]
    fields: Map<String, Value>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Id>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    acceptance: Vec<Criterion>,
    created_at: Time,
    created_by: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    completed_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    archived_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<&'a Verified>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    relationships: Vec<Edge>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    progress: Vec<&'a ProgressItem>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    context: Vec<&'a ContextEntry>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    threads: &'a BTreeMap<Id, Thread>,
}

impl<'a> State<'a> {
    fn of(task: &'a Task) -> Self {
        let empty = TaskFields::default();
        let is_said = |name: &&&str| {
            **name != "acceptance" && fields::value_of(&task.fields, name) != fields::value_of(&empty, name)
        };
        let mut plain: Map<String, Value> = fields::NAMES
            .iter()
            .filter(is_said)
            .map(|name| ((*name).to_owned(), fields::value_of(&task.fields, name)))
            .collect();
        plain.extend(task.fields.extra.clone());
        State {
            id: task.id,
            fields: plain,
            status: task.status,
            owner: task.owner.as_deref(),
            parent: task.parent(),
            acceptance: criteria(task).collect(),
            created_at: task.created_at,
            created_by: &task.created_by,
            completed_at: task.completed_at,
            cancelled_at: task.cancelled_at,
            archived_at: task.archived_at,
            verified: task.verified.as_ref(),
            relationships: task.relationships.values().map(Edge::of).collect(),
            progress: task.progress.values().collect(),
            context: task.context.values().collect(),
            threads: &task.threads,
        }
    }
}

/// The state of a task as its record says it.
pub fn state(task: &Task) -> Value {
    // A struct of plain values has nothing that JSON cannot say.
    serde_json::to_value(State::of(task)).expect("plain data")
}

/// The record of a task, on one line.
pub fn task(task: &Task, events: &[&Entry]) -> String {
    record("task", &serde_json::to_string(&State::of(task)).expect("plain data"), events)
}

/// The record of an agent, on one line.
pub fn agent(agent: &Agent, events: &[&Entry]) -> String {
    record("agent", &json!(agent.name).to_string(), events)
}

/// Joins the lines of the events unchanged: their bytes are what an import restores.
fn record(key: &str, state: &str, events: &[&Entry]) -> String {
    let lines: usize = events.iter().map(|entry| entry.line.len() + 1).sum();
    let mut out = String::with_capacity(state.len() + lines + 32);
    out.push_str(&format!("{{\"{key}\":{state},\"events\":["));
    for (n, entry) in events.iter().enumerate() {
        out.push_str(if n > 0 { "," } else { "" });
        out.push_str(&entry.line);
    }
    out.push_str("]}");
    out
}
