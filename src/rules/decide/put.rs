//! Sets registers to earlier values, for restoring and undoing.
//!
//! Guarantees that every value goes through the rules of the command that would set it, and that a value that is in place
//! already makes no event.
//! Leaves to others: where the values come from.

use serde_json::{Value, json};

use super::around::{move_to, open_blockers};
use super::guard::{Permit, unblock_if_free};
use super::judgement::{judgement, refuse_overturning};
use super::refusals::refuse_unmarking;
use super::status::{archive_closed, begin, cancel, finish, no_way, open_again, return_to_open, unblock};
use super::tasks::{check_owner, is_already, move_parent};
use crate::error::{Error, Result};
use crate::model::args::Text;
use crate::model::id::{Id, quoted};
use crate::model::payload::{
    AcceptanceMet, ContextSuperseded, Fields, Payload, ProgressItemCompleted, ProgressItemReopened, TaskStatusChanged,
    TaskUpdated,
};
use crate::model::task::{Status, Task};
use crate::rules::conditions::{refuse_new_criteria, unblocked};
use crate::rules::event_rules::verb_for;
use crate::rules::fields;
use crate::rules::register;
use crate::rules::review::unmet_criteria;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// How values are put.
#[derive(Clone, Copy, Default)]
pub struct PutOptions<'a> {
    /// The reason for bypassing unfinished blockers, children and unmet acceptance.
    pub force: Option<&'a Text>,
    /// The reason for beginning a task whose files overlap with work in progress.
    pub overlaps: Option<&'a Text>,
    /// For undo, the task as it was before: then it may return to states that otherwise only another move reaches.
    pub before: Option<&'a Task>,
}

/// The right that setting a register requires.
pub fn verb(register: &str, value: &Value) -> Verb {
    match register.split('.').next().unwrap_or_default() {
        "status" => value.as_str().and_then(Status::from_word).map_or(Verb::Update, verb_for),
        "parent" => Verb::Relate,
        "progress" | "context" => Verb::Comment,
        "met" | "verified" => Verb::Verify,
        _ => Verb::Update,
    }
}

/// Sets registers of the task under the permit. The status comes last, since it may release the lease, except for the owner, and
/// for marks of criteria where the task is opened again, which a closed one keeps.
pub fn put(stage: &mut dyn Stage, permit: &Permit, values: &[(String, Value)], how: PutOptions) -> Result<()> {
    let status = values.iter().find(|(name, _)| name == "status");
    let status = status.and_then(|(_, value)| value.as_str()).and_then(Status::from_word);
    let opens = status.is_some_and(|status| !status.is_finished());
    let (mut plain, mut owner, mut marks) = (Fields::new(), None, Vec::new());
    for (name, value) in values {
        match name.split_once('.').map_or(name.as_str(), |(begin, _)| begin) {
            "status" => {}
            "owner" => owner = Some(value.clone()),
            "parent" => put_parent(stage, permit, value)?,
            "met" if opens => marks.push((name, value)),
            "progress" | "context" | "met" | "verified" => put_part(stage, permit, name, value)?,
            _ => {
                plain.insert(name.clone(), value.clone());
            }
        }
    }
    let Some(status) = status else {
        plain.extend(owner.map(|owner| ("owner".to_owned(), owner)));
        return put_fields(stage, permit, plain);
    };
    put_fields(stage, permit, plain)?;
    put_status(stage, permit, status, owner.as_ref().and_then(Value::as_str), how)?;
    for (name, value) in marks {
        put_part(stage, permit, name, value)?;
    }
    put_fields(stage, permit, owner.map(|owner| ("owner".to_owned(), owner)).into_iter().collect())
}

fn put_fields(stage: &mut dyn Stage, permit: &Permit, mut set: Fields) -> Result<()> {
    let task = stage.task(permit.id)?;
    set.retain(|name, value| !is_already(&task, name, value));
    if set.is_empty() {
        return Ok(());
    }
    let known: Fields =
        set.iter().filter(|(name, _)| is_known(name)).map(|(name, value)| (name.clone(), value.clone())).collect();
    fields::check(&known)?;
    check_owner(stage, &task, set.get("owner"))?;
    refuse_new_criteria(&task, &set)?;
    stage.require(Verb::Update)?;
    permit.emit(stage, Payload::TaskUpdated(TaskUpdated::new(set))).map(|_| ())
}

fn is_known(name: &str) -> bool {
    fields::NAMES.contains(&name) || name.starts_with("metadata.")
}

fn put_parent(stage: &mut dyn Stage, permit: &Permit, value: &Value) -> Result<()> {
    let parent = value.as_str().map(str::parse::<Id>).transpose()?;
    if let Some(parent) = parent {
        stage.task(parent)?;
    }
    move_parent(stage, permit, parent, Value::Null)
}

fn put_part(stage: &mut dyn Stage, permit: &Permit, register: &str, value: &Value) -> Result<()> {
    if register::value(&*stage.task(permit.id)?, register) == *value {
        return Ok(());
    }
    write_part(stage, permit, register, value)
}

/// Writes a register of a part of the task, regardless of its present value.
pub fn write_part(stage: &mut dyn Stage, permit: &Permit, register: &str, value: &Value) -> Result<()> {
    let (begin, rest) = register.split_once('.').unwrap_or((register, ""));
    let yes = *value == json!(true);
    let payload = match (begin, value) {
        ("progress", _) if yes => Payload::ProgressItemCompleted(ProgressItemCompleted { item: rest.parse()? }),
        ("progress", _) => Payload::ProgressItemReopened(ProgressItemReopened { item: rest.parse()? }),
        ("met", _) => {
            let task = stage.task(permit.id)?;
            if !yes && task.met.contains_key(rest) {
                refuse_unmarking(&task)?;
            }
            Payload::AcceptanceMet(AcceptanceMet { criterion: rest.to_owned(), met: yes })
        }
        ("context", Value::String(by)) => {
            Payload::ContextSuperseded(ContextSuperseded { entry: rest.parse()?, by: by.parse()? })
        }
        ("context", _) => {
            return Err(Error::state(format!("context entry {rest} was superseded, and that cannot be undone"))
                .hint_command("supersede the newer entry with the older text: agentpm context supersede"));
        }
        ("verified", Value::Bool(passed)) => {
            let task = stage.task(permit.id)?;
            let unmet: Vec<&str> = task.unmet().collect();
            if *passed && !unmet.is_empty() {
                return Err(Error::state(format!("task {} has {}", task.id, unmet_criteria(unmet.len())))
                    .with(json!({ "task": task.id, "unmet": unmet }))
                    .hint_command(format!("mark them with agentpm task verify {} --all or --criterion N", task.id)));
            }
            Payload::TaskVerified(judgement(stage, &task, *passed)?)
        }
        ("verified", _) => {
            refuse_overturning(&*stage.task(permit.id)?)?;
            return Err(Error::state("there was no review before this one, and a review cannot be removed")
                .hint_command(format!("record another: agentpm task verify {} --fail, or without --fail", permit.id)));
        }
        _ => return Err(Error::validation(format!("{} is not a register", quoted(register)))),
    };
    permit.emit(stage, payload).map(|_| ())
}

/// Moves a task to a status, by the moves that its states have; `owner` gets it if it becomes in progress.
fn put_status(stage: &mut dyn Stage, permit: &Permit, to: Status, owner: Option<&str>, how: PutOptions) -> Result<()> {
    let task = stage.task(permit.id)?;
    let closed_at = how.before.and_then(|before| before.completed_at.or(before.cancelled_at));
    match (task.status, to) {
        (from, to) if from == to => Ok(()),
        (Status::Archived, Status::Completed | Status::Cancelled) if how.before.is_some() => {
            let change = TaskStatusChanged { changed_at: closed_at, ..move_to(task.status, to) };
            permit.emit(stage, Payload::TaskStatusChanged(change)).map(|_| ())
        }
        (from, Status::Open | Status::Blocked | Status::InProgress) if from.is_finished() => {
            refuse_overturning(&task)?;
            // As `task reopen` requires.
            stage.require(Verb::Update)?;
            open_again(stage, permit)?;
            if to == Status::InProgress { begin_for(stage, permit, owner, how) } else { Ok(()) }
        }
        (from, Status::Completed | Status::Cancelled) if from.is_finished() && how.before.is_some() => {
            put_status(stage, permit, Status::Open, None, how)?;
            put_status(stage, permit, to, owner, how)
        }
        (Status::Open | Status::Blocked, Status::InProgress) => begin_for(stage, permit, owner, how),
        (Status::Open | Status::InProgress, Status::Blocked) => {
            if open_blockers(stage, &task)?.is_empty() {
                return Err(unblocked(&task));
            }
            permit.emit(stage, Payload::TaskStatusChanged(move_to(task.status, to)))?;
            permit.give_back(stage)
        }
        (Status::InProgress, Status::Open) => return_to_open(stage, permit, how.force.is_some()),
        (Status::Blocked, Status::Open) => unblock(stage, permit, &task, how.force),
        (Status::InProgress, Status::Completed) => finish(stage, permit, how.force, closed_at),
        (Status::Open | Status::Blocked, Status::Completed) if how.before.is_some() => {
            finish(stage, permit, how.force, closed_at)
        }
        (Status::Open | Status::InProgress | Status::Blocked, Status::Cancelled) => cancel(stage, permit, closed_at),
        (Status::Completed | Status::Cancelled, Status::Archived) => archive_closed(stage, permit),
        (_, Status::Archived) if how.before.is_some() => {
            let was_cancelled = how.before.is_some_and(|before| before.cancelled_at.is_some());
            let closed = if was_cancelled { Status::Cancelled } else { Status::Completed };
            put_status(stage, permit, closed, None, how)?;
            archive_closed(stage, permit)
        }
        (from, to) => Err(no_way(&task, from, to)),
    }
}

/// To in progress, for the agent that owns the task then. To give it to another agent than the actor, or to take it from its
/// owner, is an assignment, which requires the right to update.
fn begin_for(stage: &mut dyn Stage, permit: &Permit, owner: Option<&str>, how: PutOptions) -> Result<()> {
    let task = unblock_if_free(stage, permit.id)?;
    let me = stage.me().agent.clone();
    let agent = owner.or(task.owner.as_deref()).unwrap_or(&me).to_owned();
    if agent != me || task.owner.as_ref().is_some_and(|owner| *owner != agent) {
        check_owner(stage, &task, Some(&json!(agent)))?;
        if stage.require(Verb::Override).is_err() {
            stage.require(Verb::Update)?;
        }
    }
    begin(stage, permit, &agent, how.force, how.overlaps)
}
