//! The changes to the plan that the reviewer of a branch must decide.
//!
//! Guarantees that changes of the agreement about an existing task, skipped checks and overridden leases are named. A task that
//! the branch itself created has no agreement to change.
//! Leaves to others: how they are shown, and findings.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::change::{Change, Kind, TaskChange};
use crate::model::task::Status;

/// Why a reviewer must look at a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    /// Another agent's lease was overridden.
    Override,
    /// A check was skipped by force.
    Forced,
    /// A criterion was dropped, reworded or marked unmet.
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
