//! An import of what was imported before: the source, what it said last, and the store are compared as for a plan.
//!
//! Guarantees that an unchanged source changes nothing, that what was decided here stays, and that a clash is listed.
//! Leaves to others: the comparison (`engine::commit::plan`), and steps and notes, which are only added.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::create::{name_origin, plain_fields, related};
use super::source::{Import, ImportedTask};
use crate::engine::commit::application::Application;
use crate::engine::commit::plan::{FieldChange, KeptBecause, PlanChange};
use crate::engine::commit::plan_base::Base;
use crate::engine::commit::transaction::Transaction;
use crate::error::Result;
use crate::model::args::{TaskRef, Text};
use crate::model::command::{ChildrenOfCancelled, Command, Guard, TaskTransition};
use crate::model::id::Id;
use crate::model::payload::Fields;
use crate::model::plan::{PlanItem, PlanTask};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::rules::decide::{decide, unready};
use crate::rules::readiness::Reason;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// Changes the known tasks as the source changed them, and remembers what it says of all.
pub(super) fn follow(
    tx: &mut Transaction,
    plan: &Import,
    known: &BTreeMap<String, Id>,
    application: &mut Application<'_>,
) -> Result<()> {
    for task in &plan.tasks {
        let said_task = plan_task(plan, task);
        let parent = ends(plan, RelationType::ParentOf, &task.origin).pop();
        let one = PlanItem { key: task.origin.clone(), parent, task: &said_task };
        let id = application.ids[&task.origin];
        let before = tx.task(id)?;
        let is_known = known.contains_key(&task.origin);
        let base = if is_known { application.base(tx, &before, None)? } else { Base::default() };
        let mut said = one.said();
        said.insert("status".into(), json!(task.status));
        for (name, others) in related(plan, &task.origin) {
            said.insert(name.into(), json!(others));
        }
        if is_known {
            application.update(tx, &one, &before, &base, &mut said)?;
            application.change_blockers(tx, id, &one, &base, &mut said)?;
            follow_status(tx, application, &one, task.status, &base, &mut said)?;
        }
        if !is_known || !before.status.is_finished() {
            application.remember(tx, id, &one, &base, said).map_err(|e| name_origin(task, e))?;
        }
    }
    Ok(())
}

/// A task of the source as one of a plan.
fn plan_task(plan: &Import, task: &ImportedTask) -> PlanTask {
    let mut fields = plain_fields(task);
    fields.shift_remove("title");
    let blocked_by = ends(plan, RelationType::Blocks, &task.origin);
    PlanTask { title: task.title.clone(), fields, blocked_by, ..PlanTask::default() }
}

/// The ids in the source of the tasks that an edge of this kind leads from to a task.
fn ends(plan: &Import, kind: RelationType, to: &str) -> Vec<String> {
    plan.edges.iter().filter(|edge| edge.kind == kind && edge.to == to).map(|edge| edge.from.clone()).collect()
}

/// Ends a task that the source ended since, if its status here is still what the source said before.
fn follow_status(
    tx: &mut Transaction,
    application: &mut Application<'_>,
    one: &PlanItem,
    to: Status,
    base: &Base,
    said: &mut Fields,
) -> Result<()> {
    let old = base.fields.get("status").and_then(Value::as_str).and_then(Status::from_word);
    let Some(old) = old.filter(|old| !is_alike(*old, to)) else { return Ok(()) };
    let task = tx.task(application.ids[&one.key])?;
    if is_alike(task.status, to) {
        return Ok(());
    }
    let reason = match task.status.is_finished() {
        true => KeptBecause::Closed,
        false if is_alike(task.status, old) && end(tx, &task, to)? => {
            let fields = vec![FieldChange { field: "status".into(), from: json!(task.status), to: json!(to) }];
            application.changes.push(PlanChange::Update { key: one.key.clone(), id: task.id, fields });
            return Ok(());
        }
        false => KeptBecause::BothChanged,
    };
    application.keep(one, &task, ("status", json!(to), json!(task.status)), reason);
    said.insert("status".into(), json!(old));
    Ok(())
}

/// Whether two statuses are the same to a source: it knows no archive, and what is blocked follows from the blockers.
fn is_alike(one: Status, other: Status) -> bool {
    let plain = |status| match status {
        Status::Blocked => Status::Open,
        Status::Archived => Status::Completed,
        other => other,
    };
    plain(one) == plain(other)
}

/// Completes or cancels a task by the moves of any agent. Says whether that was possible.
fn end(tx: &mut Transaction, task: &Task, to: Status) -> Result<bool> {
    let is_of_another = task.status == Status::InProgress && task.owner.as_ref() != Some(&tx.me().agent);
    if !matches!(to, Status::Completed | Status::Cancelled) || (is_of_another && tx.require(Verb::Override).is_err()) {
        return Ok(false);
    }
    if to == Status::Completed {
        let is_begun = task.status == Status::InProgress;
        let stands_in_the_way = |reason: &Reason| !is_begun || !matches!(reason, Reason::Status { .. });
        if task.unmet().next().is_some() || unready(tx, task)?.iter().any(stands_in_the_way) {
            return Ok(false);
        }
        if !is_begun && !move_to(tx, task, Status::InProgress, is_of_another)? {
            return Ok(false);
        }
    }
    move_to(tx, task, to, is_of_another)
}

/// Moves a task. Says whether its lease and its state allowed that.
fn move_to(tx: &mut Transaction, task: &Task, status: Status, is_of_another: bool) -> Result<bool> {
    let override_reason = is_of_another.then(|| Text("its source ended it".into()));
    let children = (status == Status::Cancelled).then_some(ChildrenOfCancelled::Keep);
    let guard = Guard { override_reason, ..Guard::default() };
    let transition = TaskTransition { id: TaskRef(task.id.to_string()), status, force: None, children, guard };
    match decide(tx, &Command::TaskTransition(transition)) {
        Err(e) if KeptBecause::of(&e).is_none() => Err(e),
        moved => Ok(moved.is_ok()),
    }
}
