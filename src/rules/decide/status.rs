//! The states of a task, and what must hold before it moves from one to another.
//!
//! Leaves to others: the checks before every change (`guard`), and which moves there are (`rules::moves`).

use std::collections::BTreeSet;

use serde_json::json;

use super::around::{count_children, move_to, open_blockers, unfinished_children, unready, waits};
use super::guard::{Permit, block_if_waiting, permit, permit_id, permit_to_confirm, refuse_unfit, unblock_if_free};
use super::refusals::{refuse_elsewhere, refuse_finished, refuse_owned, refuse_unready, still_waits};
use super::{Needs, PlanNeed, Subject, decides, index};
use crate::error::{Error, Result};
use crate::model::args::{Ref, Text};
use crate::model::command::{ChildrenOfCancelled, Guard, TaskArchive, TaskReopen, TaskTransition};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::payload::{Payload, TaskArchived, TaskReopened, TaskStatusChanged, check};
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::conditions::unblocked;
use crate::rules::copies::HAND_EDIT;
use crate::rules::event_rules::verb_for;
use crate::rules::held::NamedTask;
use crate::rules::moves;
use crate::rules::readiness::{Blocker, Missing, Reason, waits_words};
use crate::rules::review::{met_words, unmet_criteria};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

decides! {
    TaskTransition: transition_needs => transition,
    TaskArchive: index => archive,
    TaskReopen: index => reopen,
}

fn transition_needs(c: &TaskTransition) -> Needs<'_> {
    Needs { plan: PlanNeed::Index, branches: c.status == Status::InProgress, ..Needs::default() }
}

/// `task transition`
pub fn transition(stage: &mut dyn Stage, c: &TaskTransition) -> Result<Subject> {
    if c.children.is_some() && c.status != Status::Cancelled {
        return Err(Error::usage("--children says what becomes of the children of a cancelled task")
            .hint("use it with --status cancelled"));
    }
    let permit = permit(stage, &Ref(c.id.0.clone()), &c.guard, verb_for(c.status))?;
    let task = stage.task(permit.id)?;
    if task.status == c.status {
        if c.guard.why.is_some() {
            let handle = stage.handle(task.id)?;
            stage.warn(format!(
                "it was {} already, so the reason is not recorded; agentpm note {handle} TEXT is",
                task.status
            ));
        }
        return Ok(Subject::Task(task.id));
    }
    match (task.status, c.status) {
        (Status::Open | Status::Blocked, Status::InProgress) => start(stage, &permit, c, &task)?,
        (Status::Open | Status::InProgress, Status::Blocked) => {
            if open_blockers(stage, &task)?.is_empty() {
                return Err(
                    unblocked(&task).hint_command(format!("name a blocker: agentpm task block {} --by ID", task.id))
                );
            }
            permit.emit(stage, Payload::TaskStatusChanged(move_to(task.status, Status::Blocked)))?;
            permit.give_back(stage)?;
        }
        (Status::InProgress, Status::Open) => return_to_open(stage, &permit, c.force.is_some())?,
        (Status::InProgress, Status::Completed) => complete(stage, &permit, c.force.as_ref())?,
        (Status::Blocked, Status::Open) => unblock(stage, &permit, &task, c.force.as_ref())?,
        (Status::Open | Status::InProgress | Status::Blocked, Status::Cancelled) => {
            cancel_descendants(stage, task.id, c)?;
            cancel(stage, &permit, None)?;
        }
        (Status::Completed | Status::Cancelled, Status::Archived) => archive_closed(stage, &permit)?,
        (Status::Open | Status::Blocked, Status::Completed) => refuse_unclaimed(stage, &task)?,
        (from, to) => return Err(no_way(&task, from, to)),
    }
    Ok(Subject::Task(permit.id))
}

/// The refusal of a move that the states of a task do not have.
pub fn no_way(task: &Task, from: Status, to: Status) -> Error {
    let hint = match (from, to) {
        (Status::Open | Status::Blocked, Status::Completed) => {
            format!("claim it first: agentpm claim {}", task.id)
        }
        (from, _) if from.is_finished() => {
            format!("reopen a closed task with a reason: agentpm task reopen {} --reason TEXT", task.id)
        }
        _ => "see agentpm task transition --help".into(),
    };
    let message = match from == to {
        true => format!("task {} is {to} already", task.id),
        false => format!("task {} cannot go from {from} to {to}", task.id),
    };
    Error::state(message)
        .with(json!({ "task": task.id, "from": from, "to": to, "allowed": moves::allowed(from) }))
        .hint_command(hint)
}

/// Open or blocked to in progress: the actor becomes the owner.
fn start(stage: &mut dyn Stage, permit: &Permit, c: &TaskTransition, task: &Task) -> Result<()> {
    let me = stage.me().agent.clone();
    refuse_owned(stage, task, &me)?;
    if c.force.is_none() {
        refuse_waiting(stage, task)?;
    }
    begin(stage, permit, &me, c.force.as_ref(), c.guard.override_reason.as_ref())
}

/// To in progress, for an agent, by the rules of a claim. `force` overrides what withholds the task, `overlaps` files that
/// overlap with work in progress.
pub fn begin(
    stage: &mut dyn Stage,
    permit: &Permit,
    agent: &str,
    force: Option<&Text>,
    overlaps: Option<&Text>,
) -> Result<()> {
    let task = stage.task(permit.id)?;
    if force.is_none() {
        refuse_finished(stage, task.id)?;
        refuse_elsewhere(stage, task.id)?;
    }
    let forced = overridden(stage, &task, force, overlaps)?;
    refuse_unfit(stage, &task, agent)?;
    let owner = (task.owner.as_deref() != Some(agent)).then(|| Some(agent.to_owned()));
    let change = TaskStatusChanged { owner, forced, ..move_to(task.status, Status::InProgress) };
    permit.emit_forced(stage, Payload::TaskStatusChanged(change), force)?;
    Ok(())
}

/// What beginning a task overrides by `force`. Without it, refuses a task that is not ready.
pub fn overridden(
    stage: &mut dyn Stage,
    task: &Task,
    force: Option<&Text>,
    overlaps: Option<&Text>,
) -> Result<Vec<String>> {
    let Some(reason) = force else { return refuse_unready(stage, task, overlaps).map(|()| Vec::new()) };
    needs_words(reason)?;
    stage.require(Verb::Override)?;
    Ok(unready(stage, task)?.iter().filter_map(Reason::overridden).map(str::to_owned).collect())
}

/// In progress to open: clears the owner and releases the lease. A task that waits for an unfinished one becomes blocked.
pub fn return_to_open(stage: &mut dyn Stage, permit: &Permit, though_blocked: bool) -> Result<()> {
    let task = stage.task(permit.id)?;
    let bound = !open_blockers(stage, &task)?.is_empty();
    let to = if bound && !though_blocked { Status::Blocked } else { Status::Open };
    let change = TaskStatusChanged { owner: Some(None), ..move_to(Status::InProgress, to) };
    permit.emit(stage, Payload::TaskStatusChanged(change))?;
    permit.give_back(stage)
}

/// Refuses to move a task that waits for others.
fn refuse_waiting(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    let left = waits(stage, task)?;
    if left.is_empty() {
        return Ok(());
    }
    Err(still_waits(task, &left).hint(format!(
        "finish them, run agentpm task unblock {} --by ID for each it need not wait for, or pass --force REASON",
        task.id
    )))
}

/// Blocked to open although it waits for others: only with `force`.
pub fn unblock(stage: &mut dyn Stage, permit: &Permit, task: &Task, force: Option<&Text>) -> Result<()> {
    let Some(reason) = force else { return refuse_waiting(stage, task) };
    needs_words(reason)?;
    stage.require(Verb::Override)?;
    let forced = if open_blockers(stage, task)?.is_empty() { Vec::new() } else { vec![check::BLOCKERS.to_owned()] };
    let change = TaskStatusChanged { forced, ..move_to(task.status, Status::Open) };
    permit.emit_forced(stage, Payload::TaskStatusChanged(change), force).map(|_| ())
}

/// Refuses an empty reason.
pub fn needs_words(reason: &Text) -> Result<()> {
    if reason.0.trim().is_empty() { Err(Error::validation("--force needs a reason")) } else { Ok(()) }
}

/// In progress to completed: only with nothing unfinished, or with `force`.
pub fn complete(stage: &mut dyn Stage, permit: &Permit, force: Option<&Text>) -> Result<()> {
    let task = stage.task(permit.id)?;
    match task.status {
        Status::InProgress => finish(stage, permit, force, None),
        // The actor wrote the status into the file before, and the command repeats it.
        Status::Completed if is_typed(stage, task.id)? => Ok(()),
        Status::Open | Status::Blocked => refuse_unclaimed(stage, &task),
        from => Err(no_way(&task, from, Status::Completed)),
    }
}

/// Refuses to complete a task that no agent has begun: as a claim would, where it is not ready.
fn refuse_unclaimed(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    refuse_unready(stage, task, None)?;
    Err(no_way(task, task.status, Status::Completed))
}

/// Whether the actor's hand edit gave the task its status, with no event of others since.
fn is_typed(stage: &mut dyn Stage, id: Id) -> Result<bool> {
    let me = stage.me().agent.clone();
    let history = stage.history(id)?;
    let last = history.iter().rev().find(|e| matches!(e.event.payload, Payload::TaskStatusChanged(_)));
    Ok(last.is_some_and(|e| e.event.why.as_deref() == Some(HAND_EDIT) && e.event.author.agent == me))
}

/// Warns of discussions that are still open, since what they decide may change what the task asks for.
pub fn warn_of_threads(stage: &mut dyn Stage, task: &Task) {
    for thread in task.threads.values().filter(|thread| thread.holds()) {
        let handle = thread.id.handle(HANDLE_MIN);
        stage.warn(format!("its thread {handle} is still open: agentpm thread show {handle}"));
    }
}

/// To completed from any status: only with nothing unfinished, or with `force`. `at` is the real time.
pub fn finish(stage: &mut dyn Stage, permit: &Permit, force: Option<&Text>, at: Option<Time>) -> Result<()> {
    let task = stage.task(permit.id)?;
    warn_of_threads(stage, &task);
    let blockers = waits(stage, &task)?;
    let children = unfinished_children(stage, task.id)?;
    let unmet: Vec<&str> = task.unmet().collect();
    let mut forced = Vec::new();
    for (name, empty) in [
        (check::BLOCKERS, blockers.is_empty()),
        (check::CHILDREN, children.is_empty()),
        (check::ACCEPTANCE, unmet.is_empty()),
    ] {
        if !empty {
            forced.push(name.to_owned());
        }
    }
    let mut change = TaskStatusChanged { changed_at: at, ..move_to(task.status, Status::Completed) };
    if forced.is_empty() {
        permit.emit(stage, Payload::TaskStatusChanged(change))?;
    } else if let Some(reason) = force {
        needs_words(reason)?;
        stage.require(Verb::Override)?;
        change.forced = forced;
        permit.emit_forced(stage, Payload::TaskStatusChanged(change), force)?;
    } else {
        let left = [
            (!blockers.is_empty()).then(|| format!("it {}", waits_words(&blockers))),
            (!children.is_empty()).then(|| children_words(stage, &children)).transpose()?,
            (!unmet.is_empty()).then(|| unmet_criteria(unmet.len())),
        ];
        let left = left.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let message = format!("task {} cannot be completed: {left}", task.id);
        let what_is_left = hint_of_left(stage, &task, &blockers, &children)?;
        let blockers: Vec<Id> = blockers.iter().map(|blocker| blocker.id).collect();
        return Err(Error::state(message)
            .with(json!({ "task": task.id, "blockers": blockers, "children": children, "unmet": unmet }))
            .hint(what_is_left));
    }
    permit.give_back(stage)?;
    free_dependents(stage, task.id)
}

/// What to do before a task can be completed: what awaits a review is finished, and another agent accepts it.
fn hint_of_left(stage: &mut dyn Stage, task: &Task, blockers: &[Blocker], children: &[Id]) -> Result<String> {
    let unreviewed = blockers.iter().filter(|blocker| blocker.missing == Missing::Review).map(|blocker| blocker.id);
    let mut to_review: Vec<Id> = unreviewed.collect();
    for child in children {
        to_review.extend(stage.task(*child)?.status.is_finished().then_some(*child));
    }
    let mut steps = Vec::new();
    if let Some(first) = to_review.first() {
        let by = stage.task(*first)?.completed_by.clone().unwrap_or_else(|| "the one that completed it".into());
        let handle = stage.handle(*first)?;
        steps.push(format!("an agent other than {by} accepts {handle} first: agentpm task verify {handle} --accept"));
    }
    if blockers.len() + children.len() > to_review.len() {
        let these = if to_review.is_empty() { "these first" } else { "the others" };
        steps.push(format!("finish {these}, or pass --force REASON"));
    }
    let (id, unmet) = (task.id, task.unmet().next().is_some());
    match (steps.is_empty(), unmet) {
        (true, _) => {
            steps.push(format!(
                "if all criteria hold: agentpm done {id} --all-met; else --met N for each, or --force REASON"
            ));
        }
        (false, true) => steps.push("--all-met marks all criteria as met".to_owned()),
        (false, false) => {}
    }
    Ok(steps.join("; "))
}

/// Cancels the open descendants of a task that is about to be cancelled, each as by a command of its own, or leaves them.
/// Refuses where the caller has not said which.
fn cancel_descendants(stage: &mut dyn Stage, id: Id, c: &TaskTransition) -> Result<()> {
    match c.children {
        Some(ChildrenOfCancelled::Keep) => return Ok(()),
        Some(ChildrenOfCancelled::Cancel) => {}
        None => return refuse_open_descendants(stage, id),
    }
    let guard = Guard { lease_id: None, expected_version: None, ..c.guard.clone() };
    for task in open_descendants(stage, id)? {
        let permit = permit_id(stage, task, &guard, Verb::Cancel)?;
        cancel(stage, &permit, None)?;
    }
    Ok(())
}

/// Refuses to cancel a task with open descendants while the actor has not said what becomes of them.
pub fn refuse_open_descendants(stage: &mut dyn Stage, id: Id) -> Result<()> {
    let open = open_descendants(stage, id)?;
    if open.is_empty() {
        return Ok(());
    }
    let count = if open.len() == 1 { "1 open descendant".into() } else { format!("{} open descendants", open.len()) };
    Err(Error::state(format!("task {id} has {count}"))
        .with(json!({ "task": id, "descendants": open.len(), "first": open.iter().take(20).collect::<Vec<_>>() }))
        .hint("cancel them too with --children cancel, or leave them as they are with --children keep"))
}

/// The unfinished tasks below a task, the lowest first.
fn open_descendants(stage: &mut dyn Stage, id: Id) -> Result<Vec<Id>> {
    let (mut found, mut seen) = (vec![id], BTreeSet::from([id]));
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(stage.children(parent)?.into_iter().filter(|child| seen.insert(*child)));
        next += 1;
    }
    let mut open = Vec::new();
    for task in found.into_iter().skip(1).rev() {
        if !stage.task(task)?.status.is_finished() {
            open.push(task);
        }
    }
    Ok(open)
}

/// To cancelled. `at` is the real time.
pub fn cancel(stage: &mut dyn Stage, permit: &Permit, at: Option<Time>) -> Result<()> {
    let task = stage.task(permit.id)?;
    let change = TaskStatusChanged { changed_at: at, ..move_to(task.status, Status::Cancelled) };
    permit.emit(stage, Payload::TaskStatusChanged(change))?;
    permit.give_back(stage)?;
    free_dependents(stage, task.id)
}

/// Opens the tasks that waited only for this one.
pub fn free_dependents(stage: &mut dyn Stage, finished: Id) -> Result<()> {
    for waiting in stage.dependents(finished)? {
        if stage.may_follow(waiting) {
            unblock_if_free(stage, waiting)?;
        }
    }
    Ok(())
}

/// `task archive`
fn archive(stage: &mut dyn Stage, c: &TaskArchive) -> Result<Subject> {
    let permit = permit(stage, &Ref(c.id.0.clone()), &c.guard, Verb::Archive)?;
    let task = stage.task(permit.id)?;
    match task.status {
        Status::Archived => {}
        Status::Completed | Status::Cancelled => archive_closed(stage, &permit)?,
        from => {
            return Err(Error::state(format!(
                "task {} is {from}; only a completed or cancelled task can be archived",
                task.id
            ))
            .with(json!({ "task": task.id, "from": from }))
            .hint("complete it with agentpm done, or agentpm task transition --status cancelled"));
        }
    }
    Ok(Subject::Task(permit.id))
}

/// Completed or cancelled to archived.
pub fn archive_closed(stage: &mut dyn Stage, permit: &Permit) -> Result<()> {
    let task = stage.task(permit.id)?;
    if stage.settings().review.required && task.is_unreviewed() {
        return Err(Error::state(format!("task {} awaits review and cannot be archived", task.id))
            .with(json!({ "task": task.id }))
            .hint(format!("another agent accepts it first: agentpm task verify {} --accept", task.id)));
    }
    let event = TaskArchived { from: task.status, completed_at: task.completed_at, cancelled_at: task.cancelled_at };
    permit.emit(stage, Payload::TaskArchived(event))?;
    permit.give_back(stage)
}

/// `task reopen`
fn reopen(stage: &mut dyn Stage, c: &TaskReopen) -> Result<Subject> {
    if c.reason.0.0.trim().is_empty() {
        return Err(Error::validation("reopening needs a reason"));
    }
    let id = stage.task_id(&Ref(c.id.0.clone()))?;
    let permit = permit_to_confirm(stage, id, &c.guard, Verb::Update)?.because(Some(c.reason.0.0.clone()));
    let task = stage.task(permit.id)?;
    if !task.status.is_finished() {
        return Err(Error::state(format!("task {} is {}, not closed", task.id, task.status)));
    }
    open_again(stage, &permit)?;
    warn_of_met(stage, &task)?;
    if let Some(owner) = task.owner.as_ref().filter(|owner| **owner != stage.me().agent) {
        let handle = stage.handle(task.id)?;
        stage.warn(format!("it still belongs to {owner}; agentpm task update {handle} --clear owner offers it to all"));
    }
    Ok(Subject::Task(permit.id))
}

/// Names the criteria that stay met where a task is open again.
pub fn warn_of_met(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    if let Some(words) = met_words(task) {
        let unmark = format!("agentpm task verify {} --criterion N --unmet", stage.handle(task.id)?);
        stage.warn(format!("{words}; {unmark} unmarks one"));
    }
    Ok(())
}

/// Closed to open, or to blocked if an unfinished task blocks it. The tasks that waited for it wait again.
pub fn open_again(stage: &mut dyn Stage, permit: &Permit) -> Result<()> {
    let task = stage.task(permit.id)?;
    let bound = !open_blockers(stage, &task)?.is_empty();
    let to = if bound { Status::Blocked } else { Status::Open };
    permit.emit(stage, Payload::TaskReopened(TaskReopened { from: task.status, to }))?;
    let blocker = NamedTask::new(task.id, stage.handle(task.id)?, &task.fields.title).words();
    for waiting in stage.dependents(task.id)? {
        if stage.may_follow(waiting) {
            block_if_waiting(stage, waiting, &format!("its blocker {blocker} was reopened"))?;
        }
    }
    Ok(())
}

/// The numbers of unfinished children and of those that await review, as text.
pub fn children_words(stage: &mut dyn Stage, children: &[Id]) -> Result<String> {
    Ok(count_children(stage, children)?.words("child", "children"))
}
