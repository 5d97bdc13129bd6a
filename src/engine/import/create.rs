//! Creates the new tasks of a source, with their parts and edges, and adds what is new to the known ones.
//!
//! Guarantees that an edge which other edges of the store forbid is left out with a warning, and that a completion despite
//! unfinished tasks is recorded as forced.
//! Leaves to others: steps and notes (`steps_and_notes`), changes of known tasks (`follow`).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::parts::home_of;
use super::source::{Import, ImportedEdge, ImportedTask};
use super::steps_and_notes::{add_steps_and_notes, emit};
use super::{Count, PUT_OFF};
use crate::engine::commit::transaction::Transaction;
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::model::id::{Id, quoted};
use crate::model::payload::{AcceptanceMet, Fields, Payload, RelationshipAdded, TaskCreated, TaskStatusChanged, check};
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::decide::check_no_cycle;
use crate::rules::fields;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Stage};

/// Why a task is completed although tasks that it waits for are not.
const COMPLETED_THERE: &str = "it was completed in the source of the import";

/// Creates the new tasks, and adds new parts and edges to all. Returns warnings.
pub(super) fn create_tasks(
    tx: &mut Transaction,
    plan: &Import,
    known: &BTreeMap<String, Id>,
    ids: &mut BTreeMap<String, Id>,
    count: &mut Count,
) -> Result<Vec<String>> {
    tx.require(Verb::Create)?;
    let mut warnings = Vec::new();
    for task in &plan.tasks {
        if !known.contains_key(&task.origin) {
            let id = create(tx, plan.format, task).map_err(|e| name_origin(task, e))?;
            ids.insert(task.origin.clone(), id);
            count.tasks += 1;
        }
    }
    for task in &plan.tasks {
        // Every task of the plan is known or was made just above.
        add_steps_and_notes(tx, ids[&task.origin], task, count).map_err(|e| name_origin(task, e))?;
    }
    for edge in &plan.edges {
        let (Some(from), Some(to)) = (ids.get(&edge.from), ids.get(&edge.to)) else { continue };
        let home = edge.kind.home(*from, *to);
        // An edge in the log of a known task may have been removed here: what the source said before is not added again.
        let is_old = known.contains_key(home_of(edge)) && !is_new(tx, plan.format, edge, home)?;
        if is_old {
            continue;
        }
        match add_edge(tx, edge, *from, *to) {
            Ok(is_new) => count.relationships += usize::from(is_new),
            // Within the file there is no cycle, so an edge of the store closes it.
            Err(e) if e.code == Code::InvalidState => {
                let (kind, from, to) = (edge.kind.as_str(), quoted(&edge.from), quoted(&edge.to));
                warnings.push(format!("{from} {kind} {to} is left out: {}", e.message));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(warnings)
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
pub(super) fn related(plan: &Import, origin: &str) -> Vec<(&'static str, Vec<String>)> {
    let to = |kind: RelationType| -> Vec<String> {
        plan.edges.iter().filter(|edge| edge.kind == kind && edge.from == origin).map(|edge| edge.to.clone()).collect()
    };
    let kinds = [RelationType::RelatesTo, RelationType::Duplicates];
    kinds.into_iter().map(|kind| (kind.as_str(), to(kind))).filter(|(_, others)| !others.is_empty()).collect()
}

/// Names the task of the source whose values cannot be recorded.
pub(super) fn name_origin(task: &ImportedTask, e: Error) -> Error {
    if e.code != Code::Validation {
        return e;
    }
    let message = format!("{} in the source: {}", quoted(&task.origin), e.message);
    Error { message, ..e }.hint("correct it in the file and import again")
}

/// The plain fields of a task of the source that are not empty.
pub(super) fn plain_fields(task: &ImportedTask) -> Fields {
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
    for criterion in task.met.iter().filter(|criterion| task.acceptance.contains(criterion)) {
        emit(tx, id, Payload::AcceptanceMet(AcceptanceMet { criterion: criterion.clone(), met: true }))?;
    }
    Ok(id)
}

/// Adds an edge unless it is there. Says whether it was new.
fn add_edge(tx: &mut Transaction, edge: &ImportedEdge, from: Id, to: Id) -> Result<bool> {
    let home = edge.kind.home(from, to);
    let task = tx.task(home)?;
    if task.relationships.values().any(|e| e.kind == edge.kind && e.from == from && e.to == to) {
        return Ok(false);
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

/// Brings the new tasks to the statuses they had. One in progress without an owner belongs to the agent that imports it.
pub(super) fn set_statuses(
    tx: &mut Transaction,
    plan: &Import,
    known: &BTreeMap<String, Id>,
    ids: &BTreeMap<String, Id>,
) -> Result<()> {
    let is_new = |task: &&ImportedTask| !known.contains_key(&task.origin);
    let new: BTreeMap<Id, Status> =
        plan.tasks.iter().filter(is_new).map(|task| (ids[&task.origin], task.status)).collect();
    for task in plan.tasks.iter().filter(is_new) {
        set_status(tx, ids[&task.origin], task, &new)?;
    }
    Ok(())
}

fn set_status(tx: &mut Transaction, id: Id, task: &ImportedTask, new: &BTreeMap<Id, Status>) -> Result<()> {
    let mut owner = task.owner.clone();
    let to = task.status;
    if to == Status::InProgress && owner.is_none() {
        owner = Some(tx.me().agent.clone());
    }
    if to == Status::Open && owner.is_none() {
        return Ok(());
    }
    let changed_at = if to.is_finished() { task.closed_at } else { None };
    let forced = if to == Status::Completed { passed_over(tx, id, new)? } else { Vec::new() };
    let why = (!forced.is_empty()).then(|| COMPLETED_THERE.to_owned());
    let event = TaskStatusChanged { from: Status::Open, to, owner: owner.map(Some), changed_at, forced };
    tx.emit(Draft { entity: Entity::Task(id), payload: Payload::TaskStatusChanged(event), why, fence: None })?;
    Ok(())
}

/// The checks that the completion of a new task passes over.
fn passed_over(tx: &mut Transaction, id: Id, new: &BTreeMap<Id, Status>) -> Result<Vec<String>> {
    let blockers = tx.task(id)?.blockers();
    // Nothing outside this transaction can have a new task as its parent.
    let children: Vec<Id> = tx.children.get(&id).into_iter().flatten().copied().collect();
    let mut forced = Vec::new();
    for (name, others) in [(check::BLOCKERS, blockers), (check::CHILDREN, children)] {
        for other in others {
            let status = match new.get(&other) {
                Some(status) => *status,
                None => tx.task(other)?.status,
            };
            if !status.is_finished() {
                forced.push(name.to_owned());
                break;
            }
        }
    }
    if tx.task(id)?.unmet().next().is_some() {
        forced.push(check::ACCEPTANCE.to_owned());
    }
    Ok(forced)
}
