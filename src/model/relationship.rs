//! Relationships between tasks, and which log each belongs to.
//!
//! Leaves to others: cycles, and everything else that depends on several edges.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::time::Time;

/// The kind of a relationship, read as `from` KIND `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum RelationType {
    /// `from` is the planning unit that `to` is a part of.
    ParentOf,
    /// `to` cannot be finished before `from`.
    Blocks,
    /// The two are related.
    RelatesTo,
    /// `from` describes the same work as `to`.
    Duplicates,
}

impl RelationType {
    /// All of them.
    pub const ALL: [RelationType; 4] =
        [RelationType::ParentOf, RelationType::Blocks, RelationType::RelatesTo, RelationType::Duplicates];

    /// The word in files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            RelationType::ParentOf => "parent_of",
            RelationType::Blocks => "blocks",
            RelationType::RelatesTo => "relates_to",
            RelationType::Duplicates => "duplicates",
        }
    }

    /// The one task whose log contains an edge of this kind.
    pub fn home(self, from: Id, to: Id) -> Id {
        match self {
            RelationType::ParentOf | RelationType::Blocks => to,
            RelationType::RelatesTo | RelationType::Duplicates => from,
        }
    }
}

/// One edge between two tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Relationship {
    /// Its id.
    pub id: Id,
    /// The kind of edge.
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// The parent, the blocker, or the source.
    pub from: Id,
    /// The child, the blocked task, or the target.
    pub to: Id,
    /// Data that the agent keeps with it.
    #[serde(default)]
    pub metadata: Value,
    /// When it was added.
    pub created_at: Time,
    /// The Lamport time of the event that added it.
    pub lamport: u64,
}

impl Relationship {
    /// The position of its event in the order of events.
    pub fn stamp(&self) -> Stamp {
        Stamp { lamport: self.lamport, id: self.id }
    }
}
