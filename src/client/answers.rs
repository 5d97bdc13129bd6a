//! The answers of the server, as far as programs need them by name. What else an answer has is in `more`.
//!
//! Leaves to others: how answers are fetched (`http`).

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::agent::Lease;
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;

/// A list, and where to go on.
#[derive(Clone, Debug, Deserialize)]
pub struct List<T> {
    /// The items.
    pub items: Vec<T>,
    /// The number of all items.
    #[serde(default)]
    pub total: u64,
    /// Whether more items follow.
    #[serde(default)]
    pub truncated: bool,
    /// Where to go on.
    pub next_cursor: Option<String>,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// Events, each as its log has it.
pub type Events = List<Value>;

/// A task.
#[derive(Clone, Debug, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// Its status, as it counts.
    pub status: Status,
    /// The agent that works on it.
    pub owner: Option<String>,
    /// Its goal and reason.
    pub intent: Option<String>,
    /// The number of its events.
    pub version: u64,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a change of a task did.
#[derive(Clone, Debug, Deserialize)]
pub struct TaskReceipt {
    /// The task.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// Its status, as it counts.
    pub status: Status,
    /// The number of its events.
    pub version: u64,
    /// All else, such as the changed fields and the tasks that became ready.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A task that was claimed, or a completed one to review.
#[derive(Clone, Debug, Deserialize)]
pub struct Claimed {
    /// The task.
    pub task: TaskReceipt,
    /// Its lease. A review takes none.
    pub lease: Option<Lease>,
    /// What to do with it, where it is a completed task to review.
    pub review: Option<Review>,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A completed task to review.
#[derive(Clone, Debug, Deserialize)]
pub struct Review {
    /// The agent that completed it.
    pub completed_by: Option<String>,
    /// When.
    pub completed_at: Option<Time>,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What an agent needs to know to do a task.
#[derive(Clone, Debug, Deserialize)]
pub struct Brief {
    /// The page, in Markdown.
    pub text: String,
    /// The estimated number of tokens of the page.
    pub tokens: u64,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// An agent that was registered.
#[derive(Clone, Debug, Deserialize)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Option<String>,
    /// Its token, where it had none before.
    pub token: Option<String>,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A relationship of two tasks.
#[derive(Clone, Debug, Deserialize)]
pub struct Edge {
    /// Its id.
    pub id: Id,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// The parent, the blocker, or the source.
    pub from: Id,
    /// The child, the blocked task, or the target.
    pub to: Id,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A context entry that was added.
#[derive(Clone, Debug, Deserialize)]
pub struct EntryReceipt {
    /// The entry.
    pub id: Id,
    /// The task.
    pub task: Id,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A progress item that was added or changed.
#[derive(Clone, Debug, Deserialize)]
pub struct StepReceipt {
    /// The item.
    pub id: Id,
    /// The task.
    pub task: Id,
    /// Whether it is completed.
    pub completed: bool,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What was removed or released.
#[derive(Clone, Debug, Deserialize)]
pub struct Removed {
    /// The task.
    pub task: Id,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// A thread in a list.
#[derive(Clone, Debug, Deserialize)]
pub struct Thread {
    /// Its id.
    pub id: Id,
    /// The task.
    pub task: Id,
    /// The author of the first message.
    pub author: String,
    /// The beginning of the first message.
    pub body: String,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a change of a thread did.
#[derive(Clone, Debug, Deserialize)]
pub struct ThreadReceipt {
    /// The message.
    pub id: Id,
    /// The thread.
    pub thread: Id,
    /// The task.
    pub task: Id,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What the steps of a batch created or changed.
#[derive(Clone, Debug, Deserialize)]
pub struct BatchAnswer {
    /// The steps.
    pub items: Vec<BatchStep>,
    /// The number of steps.
    pub total: usize,
    /// The number of events.
    pub events: usize,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What a step of a batch created or changed.
#[derive(Clone, Debug, Deserialize)]
pub struct BatchStep {
    /// The name that later steps use for it.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// Its id.
    pub id: Option<Id>,
    /// The handle of its task.
    pub handle: Option<String>,
    /// The title of its task.
    pub title: Option<String>,
    /// Of a split, its parts.
    #[serde(default)]
    pub parts: Vec<Id>,
    /// Whether the step was made, where each is made by itself.
    pub ok: Option<bool>,
    /// Why it was refused.
    pub error: Option<Value>,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

/// What was done with events of another replica.
#[derive(Clone, Debug, Deserialize)]
pub struct Pushed {
    /// The number of events that were recorded.
    pub taken: usize,
    /// Those that were here already.
    pub known: usize,
    /// Those that stay on the machine that wrote them.
    pub skipped: usize,
    /// Other fields.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}
