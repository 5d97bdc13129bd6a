//! What a compaction was asked to do, as the journal keeps it.

use serde::{Deserialize, Serialize};

use crate::model::time::Time;

/// A compaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compaction {
    /// The tasks that were archived until this time move into the archives.
    pub until: Time,
    /// What is dropped from the archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropOrder>,
}

/// An order to drop tasks from the archives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DropOrder {
    /// The tasks that were archived until this time.
    pub until: Time,
    /// When it was given.
    pub at: Time,
    /// Who gave it.
    pub by: String,
}
