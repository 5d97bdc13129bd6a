//! The arguments that set the fields of a task.
//!
//! Guarantees that an argument has the name of its field, by which `rules::decide` puts it into the event.
//! Leaves to others: the fields themselves (`model::field`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{Object, OptionalTaskRef, Ref, Text, Title, label, priority};
use crate::model::command::Guard;
use crate::model::time::When;

/// Fields that a command creates and updates in the same way.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct FieldArgs {
    /// Expected effort, as free text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub estimate: Option<String>,
    /// Due time: 2026-11-20, 2026-11-20T10:00:00+01:00, +3d or 2h from now, or 22:45 today in UTC
    #[arg(long, value_name = "TIME")]
    pub due: Option<When>,
    /// Do not offer the task before this time, in the forms of --due
    #[arg(long, value_name = "TIME")]
    pub defer_until: Option<When>,
    /// Permission that an agent needs to claim the task
    #[arg(long, value_name = "PERM")]
    pub need_perm: Option<String>,
    /// Minimum precedence that an agent needs to claim the task
    #[arg(long, value_name = "N")]
    pub need_precedence: Option<i64>,
}

/// Create a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskCreate {
    /// Title, on one line
    #[command(flatten)]
    pub title: Title,
    /// Goal and reason, in prose
    #[arg(long, visible_alias = "description", value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(alias = "description")]
    pub intent: Option<Text>,
    /// Type: feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Priority, from -5 to 5; higher is sooner
    #[arg(long, value_name = "N", value_parser = priority, allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// Parent task
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// Add a label (repeatable, or several with commas)
    #[arg(long = "label", value_name = "WORD", value_delimiter = ',', value_parser = label, allow_hyphen_values = true)]
    pub labels: Vec<String>,
    /// Task that must be finished first (repeatable, or several with commas)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub blocked_by: Vec<Ref>,
    /// Task that must wait for the new one (repeatable, or several with commas)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub blocks: Vec<Ref>,
    /// Acceptance criterion that must be met before the task is done (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub acceptance: Vec<Text>,
    /// Path or glob that the task is expected to touch (repeatable)
    #[arg(long = "file", value_name = "PATH", allow_hyphen_values = true)]
    pub files: Vec<String>,
    /// Agent that watches the task (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub more: FieldArgs,
    /// Other data, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Reason for the change; recorded in the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub why: Option<Text>,
}

/// Change fields of a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskUpdate {
    /// Task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Title, on one line
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub title: Option<Text>,
    /// Goal and reason, in prose
    #[arg(long, visible_alias = "description", value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(alias = "description")]
    pub intent: Option<Text>,
    /// Type: feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Priority, from -5 to 5; higher is sooner
    #[arg(long, value_name = "N", value_parser = priority, allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// Parent task
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// Owner
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// Replace all labels (repeatable, or several with commas)
    #[arg(long = "label", value_name = "WORD", value_delimiter = ',', value_parser = label, allow_hyphen_values = true)]
    pub labels: Option<Vec<String>>,
    /// Add a label (repeatable, or several with commas)
    #[arg(long = "add-label", value_name = "WORD", value_delimiter = ',', value_parser = label, allow_hyphen_values = true)]
    pub add_labels: Vec<String>,
    /// Remove a label (repeatable, or several with commas)
    #[arg(long = "remove-label", value_name = "WORD", value_delimiter = ',', value_parser = label, allow_hyphen_values = true)]
    pub remove_labels: Vec<String>,
    /// Replace all acceptance criteria (repeatable)
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub acceptance: Option<Vec<Text>>,
    /// Add an acceptance criterion (repeatable)
    #[arg(long = "add-acceptance", value_name = "TEXT", allow_hyphen_values = true)]
    pub add_acceptance: Vec<Text>,
    /// Replace all paths and globs (repeatable)
    #[arg(long = "file", value_name = "PATH", allow_hyphen_values = true)]
    pub files: Option<Vec<String>>,
    /// Replace all watchers (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Option<Vec<String>>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub more: FieldArgs,
    /// Metadata entries to set, as a JSON object; null removes an entry
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Clear a field: intent, parent, owner, labels, due, … (repeatable)
    #[arg(long, value_name = "FIELD")]
    pub clear: Vec<String>,
    /// Count attempts from 0 again, so that a parked task is offered
    #[arg(long)]
    pub unpark: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::field::NAMES;

    #[test]
    fn every_field_has_an_argument() {
        let (create, update) = (serde_json::json!(TaskCreate::default()), serde_json::json!(TaskUpdate::default()));
        for name in NAMES {
            assert!(create.get(*name).is_some() && update.get(*name).is_some(), "{name}");
        }
    }
}
