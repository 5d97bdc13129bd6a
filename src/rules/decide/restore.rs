//! `conflicts restore` and `conflicts keep`: an agent that has seen both values writes the lost one, or the present one,
//! again, which ends the conflict.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::around::move_to;
use super::guard::{Permit, permit_id, permit_to_confirm};
use super::put::{PutOptions, put, verb, write_part};
use super::tasks::move_parent;
use super::{Needs, PlanNeed, Subject, decides};
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::command::{ConflictsKeep, ConflictsRestore};
use crate::model::id::quoted;
use crate::model::payload::{Fields, Payload, RelationshipRemoved, TaskArchived, TaskStatusChanged, TaskUpdated};
use crate::model::task::{Status, Task};
use crate::rules::lost::{Lost, lost};
use crate::rules::register;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

decides! {
    ConflictsRestore: restore_needs => restore,
    ConflictsKeep: keep_needs => keep,
}

fn restore_needs(c: &ConflictsRestore) -> Needs<'_> {
    Needs { plan: PlanNeed::Index, event: Some(&c.event), ..Needs::default() }
}

fn keep_needs(c: &ConflictsKeep) -> Needs<'_> {
    Needs { plan: PlanNeed::Index, event: Some(&c.event), ..Needs::default() }
}

/// `conflicts restore`
fn restore(stage: &mut dyn Stage, c: &ConflictsRestore) -> Result<Subject> {
    let (task, event) = stage.event(&Ref(c.event.0.clone()))?;
    let all = lost(task, &stage.history(task)?);
    let of_event: Vec<&Lost> = all.iter().filter(|edit| edit.lost.event == event).collect();
    if of_event.is_empty() {
        return Err(Error::state(format!(
            "event {event} lost no value: its values count, or an agent that had seen them replaced them"
        ))
        .with(json!({ "task": task, "event": event }))
        .hint(format!("agentpm conflicts {task} lists what was lost; agentpm blame {task} shows which values count")));
    }
    let named = |edit: &&&Lost| c.field.as_ref().is_none_or(|field| *field == edit.field);
    let wanted: Vec<(String, Value)> =
        of_event.iter().filter(named).map(|edit| (edit.field.clone(), edit.lost.value.clone())).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = of_event.iter().map(|edit| edit.field.as_str()).collect();
        let field = quoted(c.field.as_deref().unwrap_or_default());
        return Err(Error::not_found(format!("event {event} did not lose the field {field}"))
            .with(json!({ "task": task, "event": event, "fields": names }))
            .hint(format!("it lost {}", names.join(", "))));
    }
    let now = stage.task(task)?;
    if let Some(edit) = of_event.iter().filter(named).find(|edit| !edit.is_restorable(&now)) {
        return Err(refused(&now, edit));
    }
    for (name, value) in &wanted {
        stage.require(verb(name, value))?;
    }
    let why = c.guard.why.as_ref().map_or_else(|| format!("restored from {event}"), |why| why.0.clone());
    let right = wanted.first().map_or(Verb::Update, |(name, value)| verb(name, value));
    let permit = permit_id(stage, task, &c.guard, right)?.because(Some(why));
    put(stage, &permit, &wanted, PutOptions::default()).map_err(|mut e| {
        e.message = format!("{} of event {event} was not restored: {}", names(&wanted), e.message);
        e
    })?;
    Ok(Subject::Task(task))
}

/// The refusal of a value that only another command may write again.
fn refused(task: &Task, edit: &Lost) -> Error {
    let (id, event) = (task.id, edit.lost.event);
    let other = match task.status {
        Status::Open | Status::Blocked => format!("agentpm claim {id} takes the task"),
        Status::InProgress => format!("its owner goes on, or releases it: agentpm release {id}"),
        Status::Completed | Status::Cancelled | Status::Archived => {
            format!("agentpm task reopen {id} --reason TEXT opens it again")
        }
    };
    let value = quoted(edit.lost.value.as_str().unwrap_or_default());
    Error::state(format!("task {id} is {}; its {} cannot be restored to {value}", task.status, edit.field))
        .with(json!({ "task": id, "event": event, "field": edit.field, "status": task.status }))
        .hint_command(format!("agentpm conflicts keep {event} confirms what counts; {other}"))
}

/// `conflicts keep`
fn keep(stage: &mut dyn Stage, c: &ConflictsKeep) -> Result<Subject> {
    let (task, event) = stage.event(&Ref(c.event.0.clone()))?;
    let all = lost(task, &stage.history(task)?);
    let concerns = |edit: &&Lost| edit.lost.event == event || edit.won.event == event;
    let named = |edit: &&Lost| c.field.as_ref().is_none_or(|field| *field == edit.field);
    let fields: BTreeSet<&str> = all.iter().filter(concerns).filter(named).map(|edit| edit.field.as_str()).collect();
    if fields.is_empty() {
        return Err(Error::state(format!("event {event} is in no conflict"))
            .with(json!({ "task": task, "event": event }))
            .hint(format!("agentpm conflicts {task} lists the conflicts of its task")));
    }
    let value = |stage: &mut dyn Stage, name: &str| Ok::<_, Error>(register::value(&*stage.task(task)?, name));
    let mut rights = Vec::new();
    for name in &fields {
        rights.push(verb(name, &value(stage, name)?));
        stage.require(*rights.last().unwrap_or(&Verb::Update))?;
    }
    let why = c.guard.why.as_ref().map_or_else(|| format!("kept against {event}"), |why| why.0.clone());
    let right = rights.first().copied().unwrap_or(Verb::Update);
    let permit = permit_to_confirm(stage, task, &c.guard, right)?.because(Some(why));
    let mut set = Fields::new();
    for name in fields {
        match name.split_once('.').map_or(name, |(begin, _)| begin) {
            "status" => {
                let again = same_status(&*stage.task(task)?);
                permit.emit(stage, again)?;
            }
            "parent" => keep_parent(stage, &permit)?,
            "progress" | "context" | "met" | "verified" => {
                let value = value(stage, name)?;
                write_part(stage, &permit, name, &value)?;
            }
            _ => {
                set.insert(name.to_owned(), value(stage, name)?);
            }
        }
    }
    if !set.is_empty() {
        permit.emit(stage, Payload::TaskUpdated(TaskUpdated::new(set)))?;
    }
    Ok(Subject::Task(task))
}

/// The present status of a task, to be written again.
fn same_status(task: &Task) -> Payload {
    if task.status == Status::Archived {
        let (completed_at, cancelled_at) = (task.completed_at, task.cancelled_at);
        return Payload::TaskArchived(TaskArchived { from: task.status, completed_at, cancelled_at });
    }
    // With its owner, which would otherwise lose with the status that this one replaces.
    let changed_at = task.completed_at.or(task.cancelled_at);
    let owner = Some(task.owner.clone());
    Payload::TaskStatusChanged(TaskStatusChanged { changed_at, owner, ..move_to(task.status, task.status) })
}

/// Writes the present parent of a task again: removes the others, or adds the edge again.
fn keep_parent(stage: &mut dyn Stage, permit: &Permit) -> Result<()> {
    let task = stage.task(permit.id)?;
    let Some(edge) = task.parent_edge().cloned() else { return Ok(()) };
    if task.parents().len() > 1 {
        return move_parent(stage, permit, Some(edge.from), Value::Null);
    }
    permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship: edge.id }))?;
    move_parent(stage, permit, Some(edge.from), edge.metadata)
}

fn names(wanted: &[(String, Value)]) -> String {
    wanted.iter().map(|(name, value)| format!("{name} {value}")).collect::<Vec<_>>().join(" and ")
}
