//! A task as lists give it.
//!
//! Guarantees that it is short, whatever the task holds.
//! Leaves to others: how the computed values are found.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::id::Id;
use crate::model::task::{Line, Status, TaskType};
use crate::model::time::Time;
use crate::reports::view::{Around, Done, effective};

/// The short fields of a task and the computed ones, without what is empty.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// Its id.
    pub id: Id,
    /// The shortest unique handle.
    pub handle: String,
    /// The title.
    pub title: String,
    /// Type of work.
    #[serde(rename = "type")]
    pub kind: TaskType,
    /// The status as it counts.
    pub status: Status,
    /// The agent that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// −5 to +5; higher is sooner.
    pub priority: i64,
    /// Its labels; of a long list the first few.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub labels: Option<Box<RawValue>>,
    /// The number of all labels, where only the first few are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels_total: Option<usize>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due: Option<Time>,
    /// It is not offered before this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub defer_until: Option<Time>,
    /// The number of its events.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Time,
    /// The number of unfinished tasks it waits for.
    pub blocked_by_count: usize,
    /// The number of unfinished tasks that wait for it.
    pub blocking_count: usize,
    /// Its children, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_progress: Option<Done>,
    /// Its steps, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Done>,
    /// Its score, while it is unfinished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The agent that holds a live lease on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_holder: Option<String>,
    /// Whether the caller could take it now.
    pub ready: bool,
    /// Whether its task.yaml was edited by hand, and that is not recorded: the values are from before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unrecorded_edit: bool,
}

impl Summary {
    /// Shows a task in a list.
    pub fn new(line: &Line, around: Around) -> Self {
        let (labels, labels_total) = line.labels.as_deref().map(few_labels).unzip();
        Summary {
            id: line.id,
            title: line.title.clone(),
            kind: line.kind.clone(),
            status: effective(line.status, &around),
            owner: line.owner.clone(),
            parent: line.parent,
            priority: line.priority,
            labels: labels.map(Cow::into_owned),
            labels_total: labels_total.flatten(),
            due: line.due,
            defer_until: line.defer_until,
            version: line.version,
            updated_at: line.updated_at,
            blocked_by_count: around.blocked_by.len(),
            blocking_count: around.blocking,
            child_progress: Done::of(around.children_done, around.children),
            progress: Done::of(line.steps_done, line.steps),
            score: around.score,
            ready: around.ready,
            handle: around.handle,
            lease_holder: around.lease.map(|lease| lease.agent),
            unrecorded_edit: false,
        }
    }
}

/// Longest list of labels in a list of tasks, in bytes of JSON.
const MAX_LABELS: usize = 2_000;

/// The labels of a task, of a long list the first few with the number of all.
fn few_labels(labels: &RawValue) -> (Cow<'_, RawValue>, Option<usize>) {
    if labels.get().len() <= MAX_LABELS {
        return (Cow::Borrowed(labels), None);
    }
    let all: Vec<&RawValue> = serde_json::from_str(labels.get()).unwrap_or_default();
    let mut room = MAX_LABELS;
    let fits = |label: &&&RawValue| {
        let fits = label.get().len() < room;
        room = room.saturating_sub(label.get().len() + 1);
        fits
    };
    let few: Vec<&RawValue> = all.iter().take_while(fits).copied().collect();
    match serde_json::value::to_raw_value(&few) {
        Ok(few) => (Cow::Owned(few), Some(all.len())),
        Err(_) => (Cow::Borrowed(labels), None),
    }
}
