//! The moves between the states of a task, defined once for the commands that make them and for the gate that checks them.
//!
//! Leaves to others: who may make a move (`roles`), and what it requires of other tasks.

use crate::model::task::Status;
use crate::model::time::Time;

/// The states that `task transition` may move a task to.
pub fn allowed(from: Status) -> &'static [Status] {
    match from {
        Status::Open => &[Status::InProgress, Status::Blocked, Status::Cancelled],
        Status::InProgress => &[Status::Blocked, Status::Completed, Status::Cancelled, Status::Open],
        Status::Blocked => &[Status::Open, Status::InProgress, Status::Cancelled],
        Status::Completed | Status::Cancelled => &[Status::Archived],
        Status::Archived => &[],
    }
}

/// Whether any command makes a move, including `undo`, of a task that its author knew to have been completed once or not. `end` is
/// how an archived task was closed.
pub fn is_made(from: Status, to: Status, was_completed: bool, end: Option<Status>) -> bool {
    let is_undone = match from {
        // Taken out of the archive, a task is closed as it was.
        Status::Archived => {
            matches!(to, Status::Completed | Status::Cancelled) && (end == Some(to) || end == Some(Status::Archived))
        }
        Status::Open | Status::Blocked => to == Status::Completed && was_completed,
        Status::InProgress | Status::Completed | Status::Cancelled => false,
    };
    from == to || is_undone || allowed(from).contains(&to)
}

/// How a task was closed, by its times.
pub fn end(completed_at: Option<Time>, cancelled_at: Option<Time>) -> Option<Status> {
    let completed = completed_at.map(|_| Status::Completed);
    completed.or(cancelled_at.map(|_| Status::Cancelled))
}

/// Whether a move ends a wait, so that the blockers must be finished.
pub fn needs_blockers(from: Status, to: Status) -> bool {
    match to {
        Status::Completed => !from.is_finished(),
        Status::InProgress => matches!(from, Status::Open | Status::Blocked),
        Status::Open => from == Status::Blocked,
        Status::Blocked | Status::Cancelled | Status::Archived => false,
    }
}
