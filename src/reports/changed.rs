//! What a change answers.
//!
//! Leaves to others: what a command changed (`engine::commit::write`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::model::agent::{Agent, Lease, Session};
use crate::model::context::{ContextEntry, ContextType, ProgressItem};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::reports::next::NextTask;
use crate::reports::summary::Summary;
use crate::reports::thread::ThreadAnswer;
use crate::reports::view::{Edge, Part, TaskView};
use crate::rules::held::NamedTask;

/// What a change created or changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Changed {
    /// A task.
    Task(TaskAnswer),
    /// A step of a task.
    Step(StepAnswer),
    /// Several steps of a task.
    Steps(Steps),
    /// A context entry.
    Context(EntryAnswer),
    /// A thread.
    Thread(ThreadAnswer),
    /// An edge.
    Relationship(Edge),
    /// An edge that was removed.
    Unrelated(Unrelated),
    /// A task that was claimed.
    Claimed(Box<NextTask>),
    /// Nothing, since no task was ready.
    Nothing,
    /// A lease.
    Lease(Lease),
    /// A lease that was released.
    Released(Released),
    /// An agent.
    Agent(Agent),
    /// A message to other agents.
    Broadcast(BroadcastAnswer),
    /// A session.
    Session(Session),
    /// The steps of a batch.
    Batch(BatchAnswer),
    /// What was saved and could not be shown.
    Unshown(Unshown),
    /// The answer of an earlier call with the same idempotency key, as it was.
    #[schemars(skip)]
    Repeated(Value),
}

/// A task as the caller asked for it: in short, or whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TaskAnswer {
    /// What a change did.
    Receipt(Box<Receipt>),
    /// Its short fields.
    Card(Box<Summary>),
    /// All of it.
    Whole(Box<TaskView>),
}

/// What a change of a task did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Receipt {
    /// The task.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// Its status as it counts.
    pub status: Status,
    /// The number of its events.
    pub version: u64,
    /// The fields that were changed; of a new task none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, ValueChange>,
    /// The number of its steps that are not completed, where the task was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unticked: Option<usize>,
    /// It is completed and awaits the review of another agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaits_review: bool,
    /// Tasks that became ready.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<NamedTask>,
    /// Tasks below it that were cancelled with it; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<NamedTask>,
    /// The number of all of them, where only the first few are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancelled_total: Option<usize>,
    /// Open tasks with a very similar title.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<NamedTask>,
}

/// The value of a field before and after a change; `null` for nothing.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ValueChange {
    /// Before.
    pub from: Value,
    /// After.
    pub to: Value,
}

/// A step as the caller asked for it: in short, or whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum StepAnswer {
    /// In short.
    Receipt {
        /// The step.
        id: Id,
        /// The task.
        task: Id,
        /// The handle of the task.
        handle: String,
        /// Whether the step is completed.
        completed: bool,
    },
    /// All of it.
    Whole(Part<ProgressItem>),
}

/// A context entry as the caller asked for it: in short, or whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum EntryAnswer {
    /// In short.
    Receipt {
        /// The entry.
        id: Id,
        /// The task.
        task: Id,
        /// The handle of the task.
        handle: String,
        /// The type of entry.
        #[serde(rename = "type")]
        kind: ContextType,
    },
    /// All of it.
    Whole(Part<ContextEntry>),
}

impl TaskAnswer {
    /// The id of the task.
    pub fn id(&self) -> Id {
        match self {
            TaskAnswer::Receipt(receipt) => receipt.id,
            TaskAnswer::Card(card) => card.id,
            TaskAnswer::Whole(task) => task.id,
        }
    }
}

impl StepAnswer {
    fn id(&self) -> Id {
        match self {
            StepAnswer::Receipt { id, .. } => *id,
            StepAnswer::Whole(step) => step.part.id,
        }
    }
}

impl EntryAnswer {
    fn id(&self) -> Id {
        match self {
            EntryAnswer::Receipt { id, .. } => *id,
            EntryAnswer::Whole(entry) => entry.part.id,
        }
    }
}

/// Several steps of a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Steps {
    /// The steps.
    pub items: Vec<StepAnswer>,
}

/// An edge that was removed from the log of a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unrelated {
    /// The task.
    pub task: Id,
    /// Always true.
    pub removed: bool,
}

/// A lease that was released.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Released {
    /// The task.
    pub task: Id,
    /// Always true.
    pub released: bool,
}

/// A message that was sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BroadcastAnswer {
    /// Its event.
    pub id: Id,
    /// The only agent that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The role of the agents that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What was saved and could not be shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unshown {
    /// Its id.
    pub id: Option<Id>,
}

/// The ids in an answer as JSON, of agents the names.
fn repeated_names(answer: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| {
        let ids = [&value["id"], &value["agent"], &value["task"]["id"], &value["name"]];
        ids.into_iter().find_map(|id| id.as_str().map(str::to_owned))
    };
    match answer["items"].as_array() {
        Some(items) => Some(items.iter().filter_map(one).collect()),
        None => one(answer).map(|name| vec![name]),
    }
}

/// The steps of a batch.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BatchAnswer {
    /// What each step created or changed.
    pub items: Vec<BatchStep>,
    /// The number of steps.
    pub total: usize,
    /// The number of events.
    pub events: usize,
    /// The id that links these events, by which they are undone together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

/// What a step of a batch created or changed.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
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
    /// The name of an agent.
    pub agent: Option<String>,
    /// Of a split, its parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Id>,
    /// Whether the step was made, where each is made by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ok: Option<bool>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<Value>>,
}

impl Changed {
    /// The handle and the title of the task that was created or changed.
    pub fn task_names(&self) -> Option<(String, String)> {
        let of = |task: &TaskAnswer| match task {
            TaskAnswer::Receipt(task) => (task.handle.clone(), task.title.clone()),
            TaskAnswer::Card(task) => (task.handle.clone(), task.title.clone()),
            TaskAnswer::Whole(task) => (task.handle.clone(), task.title().to_owned()),
        };
        match self {
            Changed::Task(task) => Some(of(task)),
            Changed::Claimed(next) => Some(of(&next.task)),
            Changed::Repeated(answer) => {
                let text = |key: &str| answer[key].as_str().or(answer["task"][key].as_str()).map(str::to_owned);
                text("handle").zip(text("title"))
            }
            Changed::Step(_)
            | Changed::Steps(_)
            | Changed::Context(_)
            | Changed::Thread(_)
            | Changed::Relationship(_)
            | Changed::Unrelated(_)
            | Changed::Nothing
            | Changed::Lease(_)
            | Changed::Released(_)
            | Changed::Agent(_)
            | Changed::Broadcast(_)
            | Changed::Session(_)
            | Changed::Batch(_)
            | Changed::Unshown(_) => None,
        }
    }

    /// The ids of what was created or changed, of agents the names; `None` where nothing has one.
    pub fn names(&self) -> Option<Vec<String>> {
        let one = |id: Id| Some(vec![id.to_string()]);
        match self {
            Changed::Task(task) => one(task.id()),
            Changed::Step(step) => one(step.id()),
            Changed::Steps(steps) => Some(steps.items.iter().map(|step| step.id().to_string()).collect()),
            Changed::Context(entry) => one(entry.id()),
            Changed::Thread(thread) => one(thread.id()),
            Changed::Relationship(edge) => one(edge.id),
            Changed::Claimed(next) => one(next.task.id()),
            Changed::Nothing => Some(Vec::new()),
            Changed::Lease(lease) => one(lease.id),
            Changed::Agent(agent) => Some(vec![agent.name.clone()]),
            Changed::Broadcast(message) => one(message.id),
            Changed::Session(session) => one(session.id),
            Changed::Batch(batch) => {
                let name = |step: &BatchStep| step.agent.clone().or_else(|| step.id.map(|id| id.to_string()));
                Some(batch.items.iter().filter_map(name).collect())
            }
            Changed::Unshown(unshown) => unshown.id.and_then(one),
            Changed::Repeated(answer) => repeated_names(answer),
            Changed::Unrelated(_) | Changed::Released(_) => None,
        }
    }
}
