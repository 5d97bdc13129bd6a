//! Why a task cannot be taken, moved or finished: what it waits for, who has it, and where else it was finished.
//!
//! Leaves to others: the lease itself (`work`), and what readiness means (`rules::readiness`).

use serde_json::json;

use super::around::{unready, waits};
use crate::error::{Code, Error, Result};
use crate::model::args::Text;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::overlap::FileClaim;
use crate::model::payload::{LeaseOverride, Payload};
use crate::model::task::{Status, Task};
use crate::rules::conditions::{completed, owner_before};
use crate::rules::lease::{self, Standing};
use crate::rules::readiness::{self, Blocker, Reason, waits_words, withheld};
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Stage};

/// Refuses to begin a task that is not ready: it waits for other tasks or for its time, has unfinished parts, or is
/// parked. Files that overlap with work in progress refuse it too, unless that is overridden for a reason. The owner and the lease are
/// checked afterwards.
pub fn refuse_unready(stage: &mut dyn Stage, task: &Task, override_reason: Option<&Text>) -> Result<()> {
    refuse_bound(stage, task)?;
    let found = unready(stage, task)?;
    let reason = found.iter().find(|reason| {
        matches!(
            reason,
            Reason::Children { .. } | Reason::Deferred { .. } | Reason::Parked { .. } | Reason::Parent { .. }
        )
    });
    for overlap in &found {
        let Reason::Overlaps { with } = overlap else { continue };
        let Some(reason) = override_reason else {
            return Err(Error::new(Code::Conflict, format!("task {} is withheld: {}", task.id, overlap.words()))
                .with(json!({ "task": task.id, "reasons": found }))
                .hint_override(
                    "take other work with agentpm next --claim, or wait until that task is done",
                    "--override",
                ));
        };
        override_overlaps(stage, task.id, with, reason)?;
    }
    refuse_withheld(stage, task)?;
    let Some(reason) = reason else { return Ok(()) };
    let hint = match reason {
        Reason::Children { unfinished: 0, .. } => format!(
            "another agent judges them first: agentpm ls --parent {} --query is:unreviewed lists them; take other work with agentpm next --claim",
            task.id
        ),
        Reason::Children { .. } => "take one of its children: agentpm next --claim".to_owned(),
        Reason::Parked { .. } => format!(
            "take other work with agentpm next --claim; a clearer intent or agentpm task update {} --unpark offers it again",
            task.id
        ),
        Reason::Parent { parent, .. } => {
            format!("take other work with agentpm next --claim, or see what keeps the parent: agentpm show {parent}")
        }
        _ => format!(
            "take other work with agentpm next --claim, or change it: agentpm task update {} --defer-until TIME",
            task.id
        ),
    };
    Err(Error::state(format!("task {} is not ready: {}", task.id, reason.words()))
        .with(json!({ "task": task.id, "reasons": found }))
        .hint(hint))
}

/// Records that a task is claimed although its files overlap with these tasks in progress.
fn override_overlaps(stage: &mut dyn Stage, task: Id, with: &[FileClaim], reason: &Text) -> Result<()> {
    if reason.0.trim().is_empty() {
        return Err(Error::validation("--override needs a reason"));
    }
    stage.require(Verb::Override)?;
    for claim in with {
        stage.warn(claim.warning());
        let event = LeaseOverride { lease: None, holder: claim.holder.clone(), task: Some(claim.task) };
        let payload = Payload::LeaseOverride(event);
        stage.emit(Draft { entity: Entity::Task(task), payload, why: Some(reason.0.clone()), fence: None })?;
    }
    Ok(())
}

/// Refuses a task that an open thread withholds from new holders.
pub fn refuse_withheld(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    let Some(thread) = withheld(&task.brief(), &stage.viewer()?) else { return Ok(()) };
    let reason = Reason::Thread { thread };
    Err(Error::state(format!("task {} is not ready: {}", task.id, reason.words()))
        .with(json!({ "task": task.id, "thread": thread, "reasons": [reason] }))
        .hint("take other work with agentpm next --claim, or wait until the thread is resolved"))
}

/// Refuses to begin a task that waits for other tasks.
pub fn refuse_bound(stage: &mut dyn Stage, task: &Task) -> Result<()> {
    let blockers = waits(stage, task)?;
    if blockers.is_empty() {
        return Ok(());
    }
    Err(still_waits(task, &blockers).hint("take other work with agentpm next --claim"))
}

/// The refusal of a task that waits for other tasks.
pub fn still_waits(task: &Task, blockers: &[Blocker]) -> Error {
    let ids: Vec<Id> = blockers.iter().map(|blocker| blocker.id).collect();
    Error::state(format!("task {} still {}", task.id, waits_words(blockers)))
        .with(json!({ "task": task.id, "blockers": ids, "reasons": readiness::waits(blockers) }))
}

/// Refuses a task that was finished in another clone, by events that are not here yet.
pub fn refuse_finished(stage: &mut dyn Stage, task: Id) -> Result<()> {
    let Some((end, is_ours)) = stage.finished_elsewhere(task)? else { return Ok(()) };
    let (record, me) = (stage.lease(task)?, stage.me().clone());
    // While another agent has it again, that is why it is refused; an override does not help here.
    if let Standing::Others(holder) = lease::standing(&record, &me, stage.now()) {
        return Err(lease::refusal(task, &record, &holder, &me));
    }
    Err(lease::unseen_end(task, &end, is_ours))
}

/// Refuses a task that is taken or finished in another worktree or on another branch, by events that are not here yet.
pub fn refuse_elsewhere(stage: &mut dyn Stage, task: Id) -> Result<()> {
    match stage.taken_elsewhere(task)? {
        None => Ok(()),
        Some(taken) => Err(Error::state(format!("task {task} is not free: {}", taken.words))
            .with(json!({ "task": task, "elsewhere": taken.words, "why": taken.facts }))
            .hint(
                "merge that branch, or take other work with agentpm next --claim; agentpm claim ID --here considers only this branch",
            )),
    }
}

/// Refuses to mark a criterion of a completed task as unmet.
pub fn refuse_unmarking(task: &Task) -> Result<()> {
    if task.completed_at.is_none() { Ok(()) } else { Err(completed(task, "its criteria stay marked as met")) }
}

fn is_abandoned(stage: &dyn Stage, task: &Task) -> bool {
    stage.now().since(task.updated_at) >= stage.settings().session.limit_ms()
}

/// Refuses a task of another owner who has no lease that could expire.
pub fn refuse_owned(stage: &mut dyn Stage, task: &Task, agent: &str) -> Result<()> {
    let has_lease = stage.lease(task.id)?.lease.is_some();
    // The task has had no event for as long as a session may be silent before it is closed.
    if let Some(owner) = owner_before(task, agent, has_lease, || is_abandoned(stage, task)) {
        return Err(Error::new(Code::LeaseHeld, format!("task {} belongs to {owner}", task.id))
            .with(json!({ "task": task.id, "holder": owner }))
            .hint(match task.status {
                Status::InProgress => "take other work with agentpm next --claim, or let its owner release it".into(),
                _ => format!(
                    "take other work with agentpm next --claim; where {owner} is gone, free it with agentpm task update {0} --clear owner; or ask {owner}: agentpm thread open {0} --no-hold TEXT",
                    task.id
                ),
            }));
    }
    if let Some(owner) = owner_before(task, agent, has_lease, || false) {
        stage.warn(format!(
            "task {} was in progress by {owner}, who holds no lease; it has had no event since {}",
            task.id, task.updated_at
        ));
    }
    Ok(())
}
