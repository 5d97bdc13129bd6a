//! The history of one task: its state at a point, and which event set which field.
//!
//! Leaves to others: the plan at a point (`view::history`).

use std::collections::{HashMap, HashSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::page::Page;
use crate::engine::context::Workspace;
use crate::engine::view::held_task::named_or_held;
use crate::engine::view::{history, read};
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::id::{Id, quoted};
use crate::model::point::Point;
use crate::model::query::Blame;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::reports::extent::Extent;
use crate::reports::list::List;
use crate::reports::view::{ConflictEnd, TaskView};
use crate::rules::lost::{AuthoredValue, Counts, Lost, Reason, lost};
use crate::rules::{fields, fold, register};

/// `task get --at`: the fold of what had happened by that point. What depends on other tasks or on the present is left open.
pub fn task_at(ws: &Workspace, reference: &Ref, point: &Point, extent: Extent) -> Result<TaskView> {
    let past = history::plan_at(ws, Some(point))?;
    let id = past.resolve(reference)?;
    let task = fold::fold(id, &past.entries(id)?).0;
    if task.version == 0 {
        return Err(Error::not_found(format!("task {id} did not exist at {}", past.describe().point))
            .hint(format!("agentpm log {id} shows when it was created")));
    }
    Ok(TaskView::past(&task, read::handle(ws, id)?, past.describe(), extent))
}

/// Most values that are named as beaten by one; `agentpm conflicts` lists all.
const MAX_BEAT: usize = 10;

/// The fields of a task, each with the event that set it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BlameList {
    /// The fields.
    #[serde(flatten)]
    pub list: List<BlamedField>,
    /// The task.
    pub task: Id,
}

/// A field, and the event that set it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BlamedField {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// Its value.
    pub value: Value,
    /// The event.
    pub event: Id,
    /// The type of the event.
    #[serde(rename = "type")]
    pub kind: String,
    /// The Lamport time of the event.
    pub lamport: u64,
    /// The author of the event.
    pub agent: String,
    /// When it was written.
    pub at: Time,
    /// The reason given for it.
    pub why: Option<String>,
    /// Concurrent values that lost to it; the newest of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beat: Vec<BeatenValue>,
    /// The number of all of them, where only the newest are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beat_total: Option<usize>,
}

/// A value that lost to a concurrent one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BeatenValue {
    /// The value.
    pub value: Value,
    /// Its author.
    pub agent: String,
    /// When it was written.
    pub at: Time,
    /// The event.
    pub event: Id,
    /// Why it lost.
    pub rule: Reason,
    /// What ends the conflict.
    #[serde(flatten)]
    pub end: ConflictEnd,
}

/// `blame`
pub fn blame(ws: &Workspace, q: &Blame) -> Result<BlameList> {
    let loaded = read::load_task(ws, named_or_held(ws, &q.id)?)?;
    let task = &loaded.task;
    let ordered = fold::order(&Entity::Task(task.id), &loaded.log.entries).events;
    let creation = ordered.iter().find(|e| e.event.payload.kind() == "TaskCreated");
    let registers = fields::NAMES.iter().copied().chain(["status", "owner", "parent"]).map(str::to_owned);
    let others = task.stamps.keys().filter(|name| !fields::NAMES.contains(&name.as_str())).cloned();
    let mut names: Vec<String> = registers.collect();
    names.extend(others.filter(|name| !["status", "owner", "parent"].contains(&name.as_str())));
    let lost = lost(task.id, &loaded.log.entries);
    let counts = Counts::of(&lost);
    let holder = if lost.is_empty() { None } else { read::other_holder(ws, task, &loaded.log.entries)? };
    let mut known: HashSet<&str> = names.iter().map(String::as_str).collect();
    let more: Vec<String> = lost.iter().filter(|edit| known.insert(&edit.field)).map(|e| e.field.clone()).collect();
    names.extend(more);
    let mut beaten_by: HashMap<&str, Vec<&Lost>> = HashMap::new();
    for edit in &lost {
        beaten_by.entry(&edit.field).or_default().push(edit);
    }
    let events: HashMap<Id, &Entry> = ordered.iter().map(|entry| (entry.event.id, *entry)).collect();
    let mut page = Page::new(ws, q.limit, q.all);
    let (mut total, mut next) = (0, None);
    let mut begun = q.cursor.is_none();
    for name in names {
        let value = || match name.as_str() {
            "verified" => json!(task.verified),
            other => register::value(task, other),
        };
        let beat = beaten_by.get(name.as_str()).map_or(&[][..], Vec::as_slice);
        let writer = match task.stamps.get(&name) {
            Some(stamp) => events.get(&stamp.id),
            None if !beat.is_empty() => creation,
            None if name == "metadata" || is_default(&value()) => None,
            None => creation,
        };
        let Some(entry) = writer else { continue };
        total += 1;
        if !begun {
            begun = q.cursor.as_deref() == Some(&name);
        }
        if begun && next.is_none() {
            let event = &entry.event;
            // The newest say most.
            let newest = beat.iter().skip(beat.len().saturating_sub(MAX_BEAT));
            let item = BlamedField {
                field: name.clone(),
                value: value(),
                event: event.id,
                kind: event.payload.kind().to_owned(),
                lamport: event.lamport,
                agent: event.author.agent.clone(),
                at: event.at,
                why: event.why.clone(),
                beat: newest.map(|edit| beaten(task, &counts, edit, holder.as_deref())).collect(),
                beat_total: (beat.len() > MAX_BEAT).then_some(beat.len()),
            };
            if !page.push(item) {
                next = Some(name);
            }
        }
    }
    if !begun {
        return Err(Error::usage(format!("{} is no cursor", quoted(q.cursor.as_deref().unwrap_or_default())))
            .hint("use next_cursor of the previous answer"));
    }
    Ok(BlameList { list: page.finish(total, next), task: task.id })
}

/// A value that a field's present one beat, in few words.
fn beaten(task: &Task, counts: &Counts, edit: &Lost, holder: Option<&str>) -> BeatenValue {
    let AuthoredValue { value, event, agent, at, .. } = edit.lost.clone();
    let end = ConflictEnd::of(task, edit, counts.is_alone(edit), holder);
    BeatenValue { value, agent, at, event, rule: edit.rule, end }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        other => *other == json!(0),
    }
}
