//! Attempts: the claims of a task that ended without its completion.
//!
//! Guarantees that the number is a function of the log, and is 0 again when what the task asks for changes.
//! Leaves to others: how many attempts park a task (`readiness`).

use crate::model::context::ContextType;
use crate::model::event::Event;
use crate::model::task::{Status, Task};
use crate::rules::event_rules::{AttemptRule, EventRules};

/// Most notes that a reason repeats, and the most characters of each.
const MAX_NOTES: usize = 5;
const MAX_NOTE: usize = 200;

/// The number of attempts after an event, and the agent of the last one, by the task as it was before.
pub fn after(task: &Task, event: &Event) -> (u64, Option<String>) {
    let ended = match EventRules::of(&event.payload).attempts {
        AttemptRule::Resets => return (0, None),
        AttemptRule::Keeps => false,
        AttemptRule::Ends => true,
        // Two clones that take over the same lease end one claim. In a log with branches, another holder may be a rival
        // rather than a successor.
        AttemptRule::Passes(p) => match &p.taken_from {
            Some(from) => task.owner.as_ref() == Some(from),
            None => !task.forked && task.owner.as_ref() != Some(&p.holder),
        },
    };
    match ended && task.status == Status::InProgress {
        true => (task.attempts + 1, task.owner.clone()),
        false => (task.attempts, task.attempt_by.clone()),
    }
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
