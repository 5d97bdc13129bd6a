//! What a change answers.

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::agent::{Agent, Lease, Session};
use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::id::Id;
use crate::reports::next::NextTask;
use crate::reports::view::{Edge, Part, TaskView};

/// What a change created or changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Changed {
    /// A task.
    Task(Box<TaskView>),
    /// A step of a task.
    Step(Part<ProgressItem>),
    /// Several steps of a task.
    Steps(Steps),
    /// A context entry.
    Context(Part<ContextEntry>),
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
    /// A session.
    Session(Session),
    /// The steps of a batch.
    Batch(BatchAnswer),
    /// What was saved and could not be shown.
    Unshown(Unshown),
}

/// Several steps of a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Steps {
    /// The steps.
    pub items: Vec<Part<ProgressItem>>,
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

/// What was saved and could not be shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Unshown {
    /// Its id.
    pub id: Option<Id>,
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
}

/// What a step of a batch created or changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct BatchStep {
    /// The name that later steps use for it.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// Its id.
    pub id: Option<Id>,
    /// The name of an agent.
    pub agent: Option<String>,
}

impl Changed {
    /// The ids of what was created or changed, of agents the names; `None` where nothing has one.
    pub fn names(&self) -> Option<Vec<String>> {
        let one = |id: Id| Some(vec![id.to_string()]);
        match self {
            Changed::Task(task) => one(task.id),
            Changed::Step(step) => one(step.part.id),
            Changed::Steps(steps) => Some(steps.items.iter().map(|step| step.part.id.to_string()).collect()),
            Changed::Context(entry) => one(entry.part.id),
            Changed::Relationship(edge) => one(edge.id),
            Changed::Claimed(next) => one(next.task.id),
            Changed::Nothing => Some(Vec::new()),
            Changed::Lease(lease) => one(lease.id),
            Changed::Agent(agent) => Some(vec![agent.name.clone()]),
            Changed::Session(session) => one(session.id),
            Changed::Batch(batch) => {
                let name = |step: &BatchStep| step.agent.clone().or_else(|| step.id.map(|id| id.to_string()));
                Some(batch.items.iter().filter_map(name).collect())
            }
            Changed::Unshown(unshown) => unshown.id.and_then(one),
            Changed::Unrelated(_) | Changed::Released(_) => None,
        }
    }
}
