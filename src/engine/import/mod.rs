//! Imports plans of other tools: one record in the journal, nothing lost, nothing doubled.
//!
//! Every task keeps `metadata.origin` with the format it came from and the id it had there, and what its source said last.
//! Importing the file again changes only what changed in it (`follow`).

pub(crate) mod arbeit;
pub(crate) mod beads;
mod follow;
pub(crate) mod source;
pub(crate) mod taskmaster;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub use source::{Import, ImportedEdge, ImportedTask};

use crate::engine::commit::plan::{Application, PlanChange, PlanConflict};
use crate::engine::commit::transaction::Transaction;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::command::{Batch, Command};
use crate::model::event::Entity;
use crate::model::id::{Id, quoted};
use crate::model::job::PlanApply;
use crate::model::payload::{
    ContextAdded, ContextSuperseded, Fields, Payload, ProgressItemAdded, RelationshipAdded, TaskCreated,
    TaskStatusChanged, TaskUpdated,
};
use crate::model::plan::PlanFile;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::decide::{Subject, check_no_cycle};
use crate::rules::fields;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Stage};

/// The formats that can be imported.
pub const FORMATS: [&str; 3] = ["arbeit", "taskmaster", "beads"];

/// Reads a plan of another tool.
///
/// Errors: `ERR_USAGE` for an unknown format, `ERR_VALIDATION` for a text that is not of it.
pub fn parse(format: &str, text: &str) -> Result<Import> {
    match format {
        "arbeit" => arbeit::parse(text),
        "taskmaster" => taskmaster::parse(text),
        "beads" => beads::parse(text),
        other => Err(Error::usage(format!("{} is no format that can be imported", quoted(other)))
            .hint(format!("use one of {}", FORMATS.join(", ")))),
    }
}

/// When a task comes back that its source put off without a date: 2100-01-01.
const PUT_OFF: i64 = 4_102_444_800_000;

/// What was imported.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ImportReport {
    /// The format.
    pub format: &'static str,
    /// How much was new.
    pub added: Count,
    /// The tasks of the source.
    pub items: Vec<PlacedTask>,
    /// Their number.
    pub total: usize,
    /// What the source changed since it was imported last.
    pub changes: Vec<PlanChange>,
    /// What the source changed and the store keeps.
    pub conflicts: Vec<PlanConflict>,
    /// What could not be taken as it was.
    pub warnings: Vec<String>,
}

/// A task of the source, and where it went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlacedTask {
    /// Its id there.
    pub origin: String,
    /// Its id here.
    pub id: Option<Id>,
    /// Whether it is new.
    pub new: bool,
}

/// How much was new.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Count {
    /// Tasks.
    pub tasks: usize,
    /// Edges between tasks.
    pub relationships: usize,
    /// Steps.
    pub progress: usize,
    /// Context entries.
    pub context: usize,
}

/// Imports a plan of another tool, all of it or nothing. Returns what was new, and where each task went.
///
/// Errors: those of [`parse`] and of any change.
pub fn import(ws: &Workspace, format: &str, text: &str) -> Result<ImportReport> {
    let plan = parse(format, text)?;
    let index = read::index(ws)?;
    let mut known = BTreeMap::new();
    for task in &plan.tasks {
        if let Some(id) = index.by_origin(&format!("{}/{}", plan.format, task.origin))? {
            known.insert(task.origin.clone(), id);
        }
    }
    let (as_plan, job) = (PlanFile { plan: plan.format.into(), as_of: None, tasks: Vec::new() }, PlanApply::default());
    let begin = || Application::of_source(&as_plan, &job, plan.format.to_owned(), known.clone());
    let (mut application, mut count) = (begin(), Count::default());
    write::execute_as(ws, ws.author()?, &Command::Batch(Batch::default()), &[], None, |tx| {
        (application, count) = (begin(), Count::default());
        create_tasks(tx, &plan, &known, &mut application.ids, &mut count)?;
        follow::follow(tx, &plan, &known, &mut application)?;
        for task in plan.tasks.iter().filter(|task| !known.contains_key(&task.origin)) {
            set_status(tx, application.ids[&task.origin], task)?;
        }
        Ok(Subject::Batch(Vec::new()))
    })?;
    let Application { ids, changes, conflicts, .. } = application;
    let item = |task: &ImportedTask| PlacedTask {
        origin: task.origin.clone(),
        id: ids.get(&task.origin).copied(),
        new: !known.contains_key(&task.origin),
    };
    let items: Vec<PlacedTask> = plan.tasks.iter().map(item).collect();
    let (format, warnings) = (plan.format, plan.warnings);
    Ok(ImportReport { format, added: count, total: items.len(), items, changes, conflicts, warnings })
}

fn create_tasks(
    tx: &mut Transaction,
    plan: &Import,
    known: &BTreeMap<String, Id>,
    ids: &mut BTreeMap<String, Id>,
    count: &mut Count,
) -> Result<()> {
    tx.require(Verb::Create)?;
    for task in &plan.tasks {
        if !known.contains_key(&task.origin) {
            ids.insert(task.origin.clone(), create(tx, plan.format, task)?);
            count.tasks += 1;
        }
    }
    for task in &plan.tasks {
        // Every task of the plan is known or was made just above.
        add_parts(tx, ids[&task.origin], task, count)?;
    }
    for edge in &plan.edges {
        let (Some(from), Some(to)) = (ids.get(&edge.from), ids.get(&edge.to)) else { continue };
        let home = edge.kind.home(*from, *to);
        // An edge in the log of a known task may have been removed here: what the source said before is not added again.
        let is_old = known.values().any(|id| *id == home) && !is_new(tx, plan.format, edge, home)?;
        if !is_old {
            count.relationships += usize::from(add_edge(tx, edge, *from, *to)?);
        }
    }
    Ok(())
}

/// Whether the source says an edge of a known task for the first time. Parents and blockers are compared with the other fields.
fn is_new(tx: &mut Transaction, format: &str, edge: &ImportedEdge, home: Id) -> Result<bool> {
    if matches!(edge.kind, RelationType::ParentOf | RelationType::Blocks) {
        return Ok(false);
    }
    let task = tx.task(home)?;
    Ok(match task.sources.get(format) {
        Some(memory) => !memory.said.get(edge.kind.as_str()).is_some_and(|list| has(list, &edge.to)),
        None => task.removed.is_empty(),
    })
}

fn has(list: &Value, text: &str) -> bool {
    list.as_array().is_some_and(|list| list.iter().any(|item| item == text))
}

/// The other tasks that a task of the source is related to, by the kind of edge, without parents and blockers.
fn related(plan: &Import, origin: &str) -> Vec<(&'static str, Vec<String>)> {
    let to = |kind: RelationType| -> Vec<String> {
        plan.edges.iter().filter(|edge| edge.kind == kind && edge.from == origin).map(|edge| edge.to.clone()).collect()
    };
    let kinds = [RelationType::RelatesTo, RelationType::Duplicates];
    kinds.into_iter().map(|kind| (kind.as_str(), to(kind))).filter(|(_, others)| !others.is_empty()).collect()
}

fn emit(tx: &mut Transaction, task: Id, payload: Payload) -> Result<Id> {
    tx.emit(Draft { entity: Entity::Task(task), payload, why: None, fence: None })
}

/// The plain fields of a task of the source that are not empty.
fn plain_fields(task: &ImportedTask) -> Fields {
    let mut set = Fields::new();
    set.insert("title".into(), json!(task.title));
    let mut put = |name: &str, value: Value| {
        if !(value.is_null() || value == json!([]) || value == json!(0) || value == json!({})) {
            set.insert(name.to_owned(), value);
        }
    };
    put("intent", json!(task.intent));
    put("type", json!(task.kind));
    put("priority", json!(task.priority));
    put("labels", json!(task.labels));
    put("acceptance", json!(task.acceptance));
    put("estimate", json!(task.estimate));
    put("due", json!(task.due));
    // Deferred without a date: the task is not handed out until a person changes that.
    let put_off = task.metadata.get("status").and_then(Value::as_str) == Some("deferred");
    let until = task.defer_until.or_else(|| put_off.then(|| Time::from_millis(PUT_OFF)));
    put("defer_until", json!(until));
    put("metadata", Value::Object(task.metadata.clone()));
    set
}

fn create(tx: &mut Transaction, format: &str, task: &ImportedTask) -> Result<Id> {
    let id = tx.new_id()?;
    let mut set = plain_fields(task);
    let metadata = set.entry("metadata").or_insert_with(|| json!({}));
    metadata["origin"] = json!({ "format": format, "id": task.origin });
    fields::check(&set)?;
    if let Some(created_at) = task.created_at {
        set.insert("created_at".into(), json!(created_at));
    }
    emit(tx, id, Payload::TaskCreated(TaskCreated { fields: set }))?;
    Ok(id)
}

/// Adds the steps and notes that are not there yet, and remembers which of ours each became.
fn add_parts(tx: &mut Transaction, id: Id, task: &ImportedTask, count: &mut Count) -> Result<()> {
    let now = tx.task(id)?;
    let origin = now.fields.metadata.get("origin").cloned().unwrap_or_default();
    let mut steps = origin.get("progress").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut notes = origin.get("context").and_then(Value::as_object).cloned().unwrap_or_default();
    let before = (steps.len(), notes.len());
    for (place, item) in task.progress.iter().enumerate() {
        let key = item.origin.clone().unwrap_or_else(|| format!("#{}", place + 1));
        if !steps.contains_key(&key) {
            let event = ProgressItemAdded {
                content: item.content.clone(),
                completed_at: item.completed_at,
                created_at: item.created_at,
            };
            steps.insert(key, json!(emit(tx, id, Payload::ProgressItemAdded(event))?));
            count.progress += 1;
        }
    }
    for (place, note) in task.context.iter().enumerate() {
        let key = note.origin.clone().unwrap_or_else(|| format!("#{}", place + 1));
        if !notes.contains_key(&key) {
            let event = ContextAdded {
                kind: note.kind,
                content: note.content.clone(),
                metadata: note.metadata.clone(),
                created_at: note.created_at,
            };
            notes.insert(key, json!(emit(tx, id, Payload::ContextAdded(event))?));
            count.context += 1;
        }
    }
    supersede(tx, id, task, &notes)?;
    if (steps.len(), notes.len()) != before {
        let mut origin = origin;
        for (name, map) in [("progress", steps), ("context", notes)] {
            if !map.is_empty() {
                origin[name] = Value::Object(map);
            }
        }
        let set = Fields::from_iter([("metadata.origin".to_owned(), origin)]);
        emit(tx, id, Payload::TaskUpdated(TaskUpdated::new(set)))?;
    }
    Ok(())
}

fn supersede(tx: &mut Transaction, id: Id, task: &ImportedTask, notes: &Map<String, Value>) -> Result<()> {
    for note in &task.context {
        let ours = |origin: &Option<String>| notes.get(origin.as_ref()?)?.as_str()?.parse::<Id>().ok();
        let (Some(entry), Some(by)) = (ours(&note.origin), ours(&note.superseded_by)) else { continue };
        if tx.task(id)?.context.get(&entry).is_some_and(|e| e.superseded_by.is_none()) {
            emit(tx, id, Payload::ContextSuperseded(ContextSuperseded { entry, by }))?;
        }
    }
    Ok(())
}

/// Adds an edge unless it is there. Says whether it was new.
fn add_edge(tx: &mut Transaction, edge: &ImportedEdge, from: Id, to: Id) -> Result<bool> {
    let home = edge.kind.home(from, to);
    let task = tx.task(home)?;
    if task.relationships.values().any(|e| e.kind == edge.kind && e.from == from && e.to == to) {
        return Ok(false);
    }
    if edge.kind == RelationType::ParentOf && task.parent().is_some() {
        return Err(Error::validation(format!(
            "{} would be the second parent of {}",
            quoted(&edge.from),
            quoted(&edge.to)
        ))
        .hint("correct the source: a task has at most one parent"));
    }
    let mut metadata = edge.metadata.clone();
    if let Some(origin) = &edge.origin {
        match &mut metadata {
            Value::Object(map) => {
                map.insert("origin".into(), json!(origin));
            }
            other => *other = json!({ "origin": origin }),
        }
    }
    check_no_cycle(tx, edge.kind, from, to)?;
    let event = RelationshipAdded { kind: edge.kind, from, to, metadata, created_at: edge.created_at };
    emit(tx, home, Payload::RelationshipAdded(event))?;
    Ok(true)
}

/// Brings a new task to the status it had. One in progress without an owner belongs to the agent that imports it.
fn set_status(tx: &mut Transaction, id: Id, task: &ImportedTask) -> Result<()> {
    let mut owner = task.owner.clone();
    let to = task.status;
    if to == Status::InProgress && owner.is_none() {
        owner = Some(tx.me().agent.clone());
    }
    if to == Status::Open && owner.is_none() {
        return Ok(());
    }
    let changed_at = if to.is_finished() { task.closed_at } else { None };
    let event = TaskStatusChanged { from: Status::Open, to, owner: owner.map(Some), changed_at, forced: Vec::new() };
    emit(tx, id, Payload::TaskStatusChanged(event))?;
    Ok(())
}
