//! What of a change to the plan somebody must decide, who looks at the branch.
//!
//! Promises: what changes the agreement about a task that was there before, and what passed a check or somebody's lease, is
//! named; a task that the branch itself made can have no agreement to change.
//! Refuses to know: how it is shown, and what breaks a rule (findings).

use serde::Serialize;
use serde_json::{Value, json};

use super::change::{Change, Kind, TaskChange};
use crate::model::task::Status;

/// Why a reviewer must look at a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// Somebody's lease was passed by.
    Override,
    /// A check was passed by force.
    Forced,
    /// A criterion was dropped, reworded, or is not met any more.
    Acceptance,
    /// What the task is, or whether it is to be done, changed.
    Scope,
}

/// The fields that say what a task is.
const SCOPE: &[&str] = &["title", "intent", "files", "parent", "type"];

/// What there is to decide about a change, if anything.
pub fn matter(task: &TaskChange, change: &Change) -> Option<Matter> {
    if change.change == Kind::Override {
        return Some(Matter::Override);
    }
    if !change.forced.is_empty() {
        return Some(Matter::Forced);
    }
    if task.created {
        return None;
    }
    match change.change {
        Kind::Acceptance if change.to.is_null() || change.to == json!(false) => Some(Matter::Acceptance),
        Kind::Field if change.field == "acceptance" => {
            Some(if dropped(change) { Matter::Acceptance } else { Matter::Scope })
        }
        Kind::Field if SCOPE.contains(&change.field.as_str()) => Some(Matter::Scope),
        Kind::Status => (was_finished(&change.from) || finishes_undone(&change.to)).then_some(Matter::Scope),
        _ => None,
    }
}

fn dropped(change: &Change) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let to = list(&change.to);
    list(&change.from).iter().any(|criterion| !to.contains(criterion))
}

fn status(value: &Value) -> Option<Status> {
    value.as_str().and_then(Status::from_word)
}

/// Whether it had ended before.
fn was_finished(value: &Value) -> bool {
    status(value).is_some_and(Status::is_finished)
}

/// Whether it ends without having been done, or is put away.
fn finishes_undone(value: &Value) -> bool {
    matches!(status(value), Some(Status::Cancelled | Status::Archived))
}
