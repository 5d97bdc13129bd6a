//! Context entries and progress items: notes of agents for the next one to read.
//!
//! Leaves to others: how they are recorded.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::id::Id;
use crate::model::time::Time;

/// The type of a context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ContextType {
    /// A choice that was made.
    Decision,
    /// The reason for a choice.
    Rationale,
    /// Something that was tried.
    Attempt,
    /// A result.
    Outcome,
    /// An obstacle.
    Blocker,
    /// Any other note.
    Note,
    /// A reference to another place.
    Reference,
    /// A statement of the user.
    UserInput,
}

impl ContextType {
    /// All of them.
    pub const ALL: [ContextType; 8] = [
        ContextType::Decision,
        ContextType::Rationale,
        ContextType::Attempt,
        ContextType::Outcome,
        ContextType::Blocker,
        ContextType::Note,
        ContextType::Reference,
        ContextType::UserInput,
    ];

    /// The word in files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ContextType::Decision => "decision",
            ContextType::Rationale => "rationale",
            ContextType::Attempt => "attempt",
            ContextType::Outcome => "outcome",
            ContextType::Blocker => "blocker",
            ContextType::Note => "note",
            ContextType::Reference => "reference",
            ContextType::UserInput => "user_input",
        }
    }
}

/// One step of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressItem {
    /// Its id.
    pub id: Id,
    /// The text of the step.
    pub content: String,
    /// Whether it is completed.
    pub completed: bool,
    /// When it was added.
    pub created_at: Time,
    /// When it was completed.
    #[serde(default)]
    pub completed_at: Option<Time>,
}

/// One context entry of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextEntry {
    /// Its id.
    pub id: Id,
    /// The type of entry.
    #[serde(rename = "type")]
    pub kind: ContextType,
    /// The text; empty after a redaction.
    pub content: String,
    /// Its author.
    pub author: String,
    /// Data that the agent keeps with it.
    #[serde(default)]
    pub metadata: Value,
    /// The entry that superseded it.
    #[serde(default)]
    pub superseded_by: Option<Id>,
    /// Whether its text was removed.
    #[serde(default)]
    pub redacted: bool,
    /// When it was recorded.
    pub created_at: Time,
}
