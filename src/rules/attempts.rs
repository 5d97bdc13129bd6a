//! Attempts: the claims of a task that ended without its completion.
//!
//! Guarantees that the number is a function of the log, and is 0 again when what the task asks for changes.
//! Leaves to others: how many attempts park a task (`readiness`).

use crate::model::context::ContextType;
use crate::model::event::Event;
use crate::model::payload::{Fields, Payload};
use crate::model::task::{Status, Task};

/// Most notes that a reason repeats, and the most characters of each.
const MAX_NOTES: usize = 5;
const MAX_NOTE: usize = 200;

/// The number of attempts after an event, by the task as it was before.
pub fn after(task: &Task, event: &Event) -> u64 {
    let ended = match &event.payload {
        Payload::TaskUpdated(p) if p.unpark || is_new_aim(&p.set) => return 0,
        // An accepted proposal changes what the task asks for as an update does.
        Payload::ThreadResolved(p) if is_new_aim(&p.set) => return 0,
        Payload::TaskStatusChanged(p) => matches!(p.to, Status::Open | Status::Blocked),
        // Two clones that take over the same lease end one claim. In a log with branches, another holder may be a rival
        // rather than a successor.
        Payload::LeaseAcquired(p) => match &p.taken_from {
            Some(from) => task.owner.as_ref() == Some(from),
            None => !task.forked && task.owner.as_ref() != Some(&p.holder),
        },
        Payload::TaskCreated(_)
        | Payload::TaskUpdated(_)
        | Payload::TaskArchived(_)
        | Payload::TaskReopened(_)
        | Payload::RelationshipAdded(_)
        | Payload::RelationshipRemoved(_)
        | Payload::ProgressItemAdded(_)
        | Payload::ProgressItemCompleted(_)
        | Payload::ProgressItemReopened(_)
        | Payload::ContextAdded(_)
        | Payload::ContextSuperseded(_)
        | Payload::ContextRedacted(_)
        | Payload::AcceptanceMet(_)
        | Payload::TaskVerified(_)
        | Payload::SourceApplied(_)
        | Payload::LeaseReleased(_)
        | Payload::LeaseOverride(_)
        | Payload::LeaseRenewed(_)
        | Payload::ThreadOpened(_)
        | Payload::ThreadReplied(_)
        | Payload::ThreadResolved(_)
        | Payload::ThreadEscalated(_)
        | Payload::AgentRegistered(_)
        | Payload::AgentUpdated(_)
        | Payload::Broadcast(_)
        | Payload::SessionStarted(_)
        | Payload::SessionHeartbeat(_)
        | Payload::SessionEnded(_)
        | Payload::Unknown { .. } => false,
    };
    task.attempts + u64::from(ended && task.status == Status::InProgress)
}

/// Whether what is written changes what the task asks for.
fn is_new_aim(set: &Fields) -> bool {
    ["intent", "acceptance"].iter().any(|name| set.contains_key(*name))
}

/// What was recorded about the attempts: the latest notes of the types attempt and outcome, oldest first.
pub fn notes(task: &Task) -> Vec<String> {
    let of_attempts = task.context.values().filter(|entry| {
        matches!(entry.kind, ContextType::Attempt | ContextType::Outcome)
            && entry.superseded_by.is_none()
            && !entry.redacted
    });
    let mut notes: Vec<String> =
        of_attempts.rev().take(MAX_NOTES).map(|entry| entry.content.chars().take(MAX_NOTE).collect()).collect();
    notes.reverse();
    notes
}
