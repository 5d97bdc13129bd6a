//! Context entries and progress items: what agents leave for the next one to read.
//!
//! Refuses to know: how they came about.

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::id::Id;
use crate::model::time::Time;

/// Kind of a context entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum ContextType {
    /// A choice that was made.
    Decision,
    /// Why it was made.
    Rationale,
    /// Something that was tried.
    Attempt,
    /// What came of it.
    Outcome,
    /// What stands in the way.
    Blocker,
    /// Anything else worth keeping.
    Note,
    /// Where to look.
    Reference,
    /// What a person said.
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
    /// The step, in words.
    pub content: String,
    /// Whether it is done.
    pub completed: bool,
    /// When it was noted.
    pub created_at: Time,
    /// When it was done.
    #[serde(default)]
    pub completed_at: Option<Time>,
}

/// One thing worth knowing about a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContextEntry {
    /// Its id.
    pub id: Id,
    /// Kind of entry.
    #[serde(rename = "type")]
    pub kind: ContextType,
    /// The text; empty after a redaction.
    pub content: String,
    /// Who wrote it.
    pub author: String,
    /// Anything the agent wants to keep with it.
    #[serde(default)]
    pub metadata: Value,
    /// The entry that replaced it.
    #[serde(default)]
    pub superseded_by: Option<Id>,
    /// Whether its text was taken out.
    #[serde(default)]
    pub redacted: bool,
    /// When it was recorded.
    pub created_at: Time,
}
