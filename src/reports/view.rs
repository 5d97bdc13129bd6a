//! Entities as JSON: all fields, the computed ones, and the parts.
//!
//! Guarantees one shape for one entity, whichever command shows it.
//! Leaves to others: how the computed values are found.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::model::agent::Lease;
use crate::model::context::ContextEntry;
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Line, Status, Task, TaskType, Verified};
use crate::model::time::Time;
use crate::reports::extent::{Bounds, Extent};
use crate::rules::lost::Lost;
use crate::rules::readiness::counting_status;

/// What a task's view needs to know from outside its own log.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The shortest unique handle.
    pub handle: String,
    /// Unfinished tasks it waits for.
    pub blocked_by: Vec<Id>,
    /// Unfinished tasks that wait for it.
    pub blocking: usize,
    /// Children that are done.
    pub children_done: u64,
    /// All children.
    pub children: u64,
    /// Its live lease.
    pub lease: Option<Lease>,
    /// Its score, while it is unfinished.
    pub score: Option<f64>,
    /// Whether the caller could take it now.
    pub ready: bool,
}

/// A task: every field (`null` or empty where there is nothing), the computed ones, progress, context, relationships. What a
/// bounded view leaves out is counted under `left_out`, which a whole one has not.
pub fn task(task: &Task, around: &Around, extent: Extent) -> Value {
    let f = &task.fields;
    let mut bounds = Bounds::new(extent);
    let mut view = json!({
        "id": task.id,
        "handle": around.handle,
        "title": bounds.line("title", &f.title),
        "intent": f.intent.as_ref().map(|intent| bounds.text("intent", intent)),
        "type": f.kind,
        "status": status(task, around),
        "owner": task.owner,
        "parent": task.parent(),
        "priority": f.priority,
        "labels": bounds.words("labels", &f.labels),
        "watchers": bounds.words("watchers", &f.watchers),
        "acceptance": acceptance(task, &mut bounds),
        "estimate": f.estimate,
        "due": f.due,
        "defer_until": f.defer_until,
        "files": bounds.words("files", &f.files),
        "metadata": bounds.map("metadata", &f.metadata),
        "need_perm": f.need_perm,
        "need_precedence": f.need_precedence,
        "created_at": task.created_at,
        "created_by": task.created_by,
        "completed_at": task.completed_at,
        "cancelled_at": task.cancelled_at,
        "archived_at": task.archived_at,
        "verified": task.verified,
    });
    if let Value::Object(map) = &mut view {
        map.extend(bounds.map("unknown_fields", &f.extra));
        computed(map, task, around);
        if let Some(Value::Object(progress)) = map.get_mut("progress") {
            let items: Vec<_> = task.progress.values().collect();
            let items = bounds.list("progress", &items, |item| u8::from(item.completed), |item| json!(item));
            progress.insert("items".into(), items);
        }
        let context: Vec<_> = task.context.values().collect();
        let is_past = |entry: &&ContextEntry| u8::from(entry.superseded_by.is_some() || entry.redacted);
        map.insert("context".into(), bounds.list("context", &context, is_past, |entry| json!(entry)));
        let edges: Vec<_> = task.relationships.values().collect();
        let is_other = |edge: &&Relationship| u8::from(edge.kind != RelationType::ParentOf);
        map.insert("relationships".into(), bounds.list("relationships", &edges, is_other, |edge| relationship(edge)));
        bounds.finish(map);
    }
    view
}

/// A task as it was at a point: what only the present or other tasks could say is `null`.
pub fn task_at(past: &Task, handle: String, at: Value, extent: Extent) -> Value {
    let around = Around { handle, blocked_by: past.blockers(), ..Around::default() };
    let mut view = task(past, &around, extent);
    for name in ["blocked_by_count", "blocking_count", "child_progress", "score", "lease_holder", "ready"] {
        view[name] = Value::Null;
    }
    // As it was recorded: whether its blockers were finished by that point is theirs to say.
    view["status"] = json!(past.status);
    view["at"] = at;
    view
}

/// The view of a task that has something in every field, as an example of its shape.
pub fn sample() -> Value {
    let mut one = Task::blank(Id::from_parts(0, 0));
    let (text, time) = (|| Some("text".to_owned()), crate::model::time::Time::default());
    one.fields.intent = text();
    one.fields.estimate = text();
    one.fields.need_perm = text();
    one.fields.need_precedence = Some(0);
    (one.fields.due, one.fields.defer_until) = (Some(time), Some(time));
    (one.completed_at, one.cancelled_at, one.archived_at) = (Some(time), Some(time), Some(time));
    one.owner = text();
    one.verified = Some(Verified { passed: true, at: time, by: "agent".into() });
    let edge = Relationship {
        id: one.id,
        kind: RelationType::ParentOf,
        from: one.id,
        to: one.id,
        metadata: Value::Null,
        created_at: time,
        lamport: 0,
    };
    one.relationships.insert(edge.id, edge);
    let mut view = task(&one, &Around { score: Some(0.5), ..Around::default() }, Extent::Full);
    view["lease_holder"] = json!("agent");
    view
}

/// How many of some are done.
#[derive(Serialize)]
struct Done {
    done: u64,
    total: u64,
}

impl Done {
    fn of(done: u64, total: u64) -> Option<Done> {
        (total > 0).then_some(Done { done, total })
    }
}

/// A task as lists give it, as JSON text: its short fields and the computed ones, leaving out what is empty.
pub fn summary(line: &Line, around: &Around) -> String {
    #[derive(Serialize)]
    struct Summary<'a> {
        id: Id,
        handle: &'a str,
        title: &'a str,
        #[serde(rename = "type")]
        kind: &'a TaskType,
        status: Status,
        #[serde(skip_serializing_if = "Option::is_none")]
        owner: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        parent: Option<Id>,
        priority: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        labels: Option<Cow<'a, RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        labels_total: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        due: Option<Time>,
        #[serde(skip_serializing_if = "Option::is_none")]
        defer_until: Option<Time>,
        version: u64,
        updated_at: Time,
        blocked_by_count: usize,
        blocking_count: usize,
        #[serde(skip_serializing_if = "Option::is_none")]
        child_progress: Option<Done>,
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<Done>,
        #[serde(skip_serializing_if = "Option::is_none")]
        score: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        lease_holder: Option<&'a str>,
        ready: bool,
    }
    let (labels, labels_total) = line.labels.as_deref().map(few_labels).unzip();
    let labels_total = labels_total.flatten();
    let summary = Summary {
        id: line.id,
        handle: &around.handle,
        title: &line.title,
        kind: &line.kind,
        status: effective(line.status, around),
        owner: line.owner.as_deref(),
        parent: line.parent,
        priority: line.priority,
        labels,
        labels_total,
        due: line.due,
        defer_until: line.defer_until,
        version: line.version,
        updated_at: line.updated_at,
        blocked_by_count: around.blocked_by.len(),
        blocking_count: around.blocking,
        child_progress: Done::of(around.children_done, around.children),
        progress: Done::of(line.steps_done, line.steps),
        score: around.score,
        lease_holder: around.lease.as_ref().map(|lease| lease.agent.as_str()),
        ready: around.ready,
    };
    // A struct of plain values has nothing that JSON cannot say.
    serde_json::to_string(&summary).expect("plain data")
}

/// Longest list of labels in a list of tasks, in bytes of JSON.
const MAX_LABELS: usize = 2_000;

/// The labels of a task, of a long list the first few with the number of all.
fn few_labels(labels: &RawValue) -> (Cow<'_, RawValue>, Option<usize>) {
    if labels.get().len() <= MAX_LABELS {
        return (Cow::Borrowed(labels), None);
    }
    let all: Vec<&RawValue> = serde_json::from_str(labels.get()).unwrap_or_default();
    let mut room = MAX_LABELS;
    let fits = |label: &&&RawValue| {
        let fits = label.get().len() < room;
        room = room.saturating_sub(label.get().len() + 1);
        fits
    };
    let few: Vec<&RawValue> = all.iter().take_while(fits).copied().collect();
    match serde_json::value::to_raw_value(&few) {
        Ok(few) => (Cow::Owned(few), Some(all.len())),
        Err(_) => (Cow::Borrowed(labels), None),
    }
}

/// The status as it counts: a blocked task that waits for nothing is open.
pub fn status(task: &Task, around: &Around) -> Status {
    effective(task.status, around)
}

fn effective(status: Status, around: &Around) -> Status {
    counting_status(status, around.blocked_by.len())
}

fn computed(map: &mut Map<String, Value>, task: &Task, around: &Around) {
    let done = task.progress.values().filter(|item| item.completed).count();
    map.insert("version".into(), json!(task.version));
    map.insert("updated_at".into(), json!(task.updated_at));
    map.insert("blocked_by_count".into(), json!(around.blocked_by.len()));
    map.insert("blocking_count".into(), json!(around.blocking));
    map.insert("child_progress".into(), json!({ "done": around.children_done, "total": around.children }));
    map.insert("progress".into(), json!({ "done": done, "total": task.progress.len() }));
    map.insert("score".into(), json!(around.score));
    map.insert("lease_holder".into(), json!(around.lease.as_ref().map(|lease| &lease.agent)));
    map.insert("ready".into(), json!(around.ready));
}

fn acceptance(task: &Task, bounds: &mut Bounds) -> Value {
    let one = |criterion: &String| {
        let met = task.met.get(criterion);
        json!({ "criterion": criterion, "met": met.is_some(), "met_at": met.map(|m| m.at), "met_by": met.map(|m| &m.by) })
    };
    bounds.list("acceptance", &task.fields.acceptance, |criterion| u8::from(task.met.contains_key(criterion)), one)
}

/// A relationship.
pub fn relationship(edge: &Relationship) -> Value {
    json!({ "id": edge.id, "type": edge.kind, "from": edge.from, "to": edge.to, "metadata": edge.metadata, "created_at": edge.created_at })
}

/// A progress item of a task; `null` where it is gone.
pub fn progress(task: &Task, item: Id) -> Value {
    with_task(task, json!(task.progress.get(&item)))
}

/// A context entry of a task; `null` where it is gone.
pub fn context(task: &Task, entry: Id) -> Value {
    with_task(task, json!(task.context.get(&entry)))
}

fn with_task(task: &Task, mut part: Value) -> Value {
    if let Value::Object(map) = &mut part {
        map.insert("task".into(), json!(task.id));
    }
    part
}

/// A lease as claims give it. `confirmed` says whether a remote vouches for it.
pub fn lease(lease: &Lease) -> Value {
    json!(lease)
}

/// A value that lost, its task, and the command that restores it. `alone` if its event lost nothing else.
pub fn lost(task: Id, lost: &Lost, alone: bool) -> Value {
    json!({
        "task": task,
        "field": lost.field,
        "lost": lost.lost,
        "won": *lost.won,
        "rule": lost.rule,
        "words": lost.rule.words(),
        "restore": restore_command(lost, alone),
    })
}

/// The command that restores a lost value.
pub fn restore_command(lost: &Lost, alone: bool) -> String {
    let event = lost.lost.event;
    if alone {
        return format!("agentpm conflicts restore {event}");
    }
    format!("agentpm conflicts restore {event} --field {}", shell_word(&lost.field))
}

/// A word as a shell takes it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// An event as its log has it.
pub fn event(entry: &Entry) -> Value {
    serde_json::from_str(&entry.line).unwrap_or_else(|_| json!({ "id": entry.event.id, "line": entry.line }))
}
