//! A task, as its log defines it.
//!
//! Guarantees that [`Task`] holds exactly what `task.yaml` shows, plus the marks that merging needs. Nothing in it is
//! computed from other tasks or from the time.
//! Leaves to others: files, other tasks, whether a change is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::event::Stamp;
use crate::model::field::TaskFields;
use crate::model::id::Id;
use crate::model::payload::Fields;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::thread::Thread;
use crate::model::time::Time;

/// The status of a task.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Status {
    /// Not started.
    #[default]
    #[value(alias = "todo")]
    Open,
    /// An agent works on it.
    #[value(aliases = ["wip", "started", "doing"])]
    InProgress,
    /// Waits for other tasks.
    Blocked,
    /// Done.
    #[value(aliases = ["done", "closed", "finished", "complete"])]
    #[serde(alias = "done")]
    Completed,
    /// Will not be done.
    #[value(aliases = ["canceled", "wontfix"])]
    #[serde(alias = "canceled")]
    Cancelled,
    /// Closed and archived.
    Archived,
}

impl Status {
    /// All of them, in the order of a task's life.
    pub const ALL: [Status; 6] =
        [Status::Open, Status::InProgress, Status::Blocked, Status::Completed, Status::Cancelled, Status::Archived];

    /// The word in files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Open => "open",
            Status::InProgress => "in_progress",
            Status::Blocked => "blocked",
            Status::Completed => "completed",
            Status::Cancelled => "cancelled",
            Status::Archived => "archived",
        }
    }

    /// Parses the name in files and JSON.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether the work is finished: completed, cancelled or archived.
    pub fn is_finished(self) -> bool {
        matches!(self, Status::Completed | Status::Cancelled | Status::Archived)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The type of work. A word that this version does not know is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TaskType {
    /// A new feature.
    #[default]
    Feature,
    /// A repair.
    Bugfix,
    /// A change of structure without a change of behaviour.
    Refactor,
    /// Documentation.
    Docs,
    /// Operations.
    Ops,
    /// A word from a newer version.
    Other(String),
}

impl TaskType {
    /// The words a command may use.
    pub const WORDS: [&str; 5] = ["feature", "bugfix", "refactor", "docs", "ops"];
    /// What other trackers call some of them. A command takes these words too, and writes ours.
    const ALIASES: [(&str, &str); 8] = [
        ("bug", "bugfix"),
        ("fix", "bugfix"),
        ("feat", "feature"),
        ("enhancement", "feature"),
        ("refactoring", "refactor"),
        ("doc", "docs"),
        ("documentation", "docs"),
        ("operations", "ops"),
    ];

    /// Our word for a type that a command names; a word that is not known stays.
    pub fn word_for(word: &str) -> &str {
        Self::ALIASES.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, ours)| ours)
    }

    /// The word in files and JSON.
    pub fn as_str(&self) -> &str {
        match self {
            TaskType::Feature => "feature",
            TaskType::Bugfix => "bugfix",
            TaskType::Refactor => "refactor",
            TaskType::Docs => "docs",
            TaskType::Ops => "ops",
            TaskType::Other(word) => word,
        }
    }
}

impl From<&str> for TaskType {
    fn from(word: &str) -> Self {
        match word {
            "feature" => TaskType::Feature,
            "bugfix" => TaskType::Bugfix,
            "refactor" => TaskType::Refactor,
            "docs" => TaskType::Docs,
            "ops" => TaskType::Ops,
            other => TaskType::Other(other.to_owned()),
        }
    }
}

impl Serialize for TaskType {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TaskType {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(TaskType::from(String::deserialize(deserializer)?.as_str()))
    }
}

impl JsonSchema for TaskType {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TaskType".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": TaskType::WORDS, "description": "Kind of work"})
    }
}

/// The mark of a met acceptance criterion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Met {
    /// When.
    pub at: Time,
    /// The agent that marked it.
    pub by: String,
}

/// A review of the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verified {
    /// Whether it passed.
    pub passed: bool,
    /// When.
    pub at: Time,
    /// The reviewer.
    pub by: String,
    /// The event that completed the task, where the review judges its completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Id>,
}

/// What a plan or an import said of a task when it was applied last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceMemory {
    /// The key of the task in the source.
    pub key: String,
    /// What the source said, by field.
    pub said: Fields,
    /// The event that recorded it.
    pub event: Id,
}

/// A task: what `task.yaml` shows, and what decisions need to know of its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: Id,
    /// The plain fields.
    pub fields: TaskFields,
    /// The recorded status.
    pub status: Status,
    /// The agent that works on it.
    pub owner: Option<String>,
    /// When it was completed.
    pub completed_at: Option<Time>,
    /// The agent that completed it, while it is completed or was archived so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<String>,
    /// The event that completed it, likewise. An event that repeats the status of a completed task is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Id>,
    /// When it was cancelled.
    pub cancelled_at: Option<Time>,
    /// When it was archived.
    pub archived_at: Option<Time>,
    /// When it was created.
    pub created_at: Time,
    /// The agent that created it.
    pub created_by: String,
    /// Met criteria, by their texts.
    pub met: BTreeMap<String, Met>,
    /// The last review of the result.
    pub verified: Option<Verified>,
    /// The edges in this task's log, by id.
    pub relationships: BTreeMap<Id, Relationship>,
    /// Edges that were removed, for good.
    pub removed: BTreeSet<Id>,
    /// Steps, by id.
    pub progress: BTreeMap<Id, ProgressItem>,
    /// Context, by id.
    pub context: BTreeMap<Id, ContextEntry>,
    /// Threads, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub threads: BTreeMap<Id, Thread>,
    /// Events that record a hand edit which an earlier event recorded, each with the earlier one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<Id, Id>,
    /// What each plan or import said of it last, by source.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, SourceMemory>,
    /// The last writer of every register that changed since the task was created, by register name.
    pub stamps: BTreeMap<String, Stamp>,
    /// The heads of the log: the events that are not a parent of another.
    pub heads: Vec<Id>,
    /// Whether some event of the log had not seen all earlier ones.
    pub forked: bool,
    /// The number of events in the log.
    pub version: u64,
    /// The time of the last event in order.
    pub updated_at: Time,
    /// The greatest Lamport time in the log.
    pub lamport: u64,
    /// The greatest fence granted in the log, 0 if none was.
    pub fence: u64,
    /// The claims that ended without completion since what it asks for last changed.
    #[serde(default)]
    pub attempts: u64,
    /// The agent whose claim was the last of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_by: Option<String>,
    /// Whether the log has a TaskCreated.
    pub created: bool,
}

impl Task {
    /// Where a task of another source came from: `<format>/<id>`.
    pub fn origin(&self) -> Option<String> {
        let origin = self.fields.metadata.get("origin")?;
        Some(format!("{}/{}", origin.get("format")?.as_str()?, origin.get("id")?.as_str()?))
    }

    /// A task of which only the id is known.
    pub fn blank(id: Id) -> Self {
        Task {
            id,
            fields: TaskFields::default(),
            status: Status::Open,
            owner: None,
            completed_at: None,
            completed_by: None,
            completion: None,
            cancelled_at: None,
            archived_at: None,
            created_at: Time::default(),
            created_by: String::new(),
            met: BTreeMap::new(),
            verified: None,
            relationships: BTreeMap::new(),
            removed: BTreeSet::new(),
            progress: BTreeMap::new(),
            context: BTreeMap::new(),
            threads: BTreeMap::new(),
            copies: BTreeMap::new(),
            sources: BTreeMap::new(),
            stamps: BTreeMap::new(),
            heads: Vec::new(),
            forked: false,
            version: 0,
            updated_at: Time::default(),
            lamport: 0,
            fence: 0,
            attempts: 0,
            attempt_by: None,
            created: false,
        }
    }

    /// The edge that names the parent: of several, the one whose writer counts.
    pub fn parent_edge(&self) -> Option<&Relationship> {
        self.stamps.get("parent").and_then(|stamp| self.relationships.get(&stamp.id))
    }

    /// All edges that name a parent.
    pub fn parents(&self) -> BTreeSet<Id> {
        let edges = self.relationships.values().filter(|r| r.kind == RelationType::ParentOf);
        edges.map(|edge| edge.id).collect()
    }

    /// The planning unit it is part of.
    pub fn parent(&self) -> Option<Id> {
        self.parent_edge().map(|edge| edge.from)
    }

    /// The tasks that must be finished before it, in the order of the edges' ids, each once.
    pub fn blockers(&self) -> Vec<Id> {
        let mut seen = BTreeSet::new();
        let edges = self.relationships.values().filter(|r| r.kind == RelationType::Blocks);
        edges.map(|r| r.from).filter(|id| seen.insert(*id)).collect()
    }

    /// The ids of all messages of its threads, those that open them included.
    pub fn message_ids(&self) -> impl Iterator<Item = Id> {
        self.threads.iter().flat_map(|(id, thread)| std::iter::once(*id).chain(thread.replies.keys().copied()))
    }

    /// The number of its open threads.
    pub fn open_threads(&self) -> usize {
        self.threads.values().filter(|thread| thread.is_open()).count()
    }

    /// The first thread that withholds it from new holders.
    pub fn holding_thread(&self) -> Option<Id> {
        self.threads.values().find(|thread| thread.holds()).map(|thread| thread.id)
    }

    /// The event that completed it, while it is completed and not archived.
    pub fn completion(&self) -> Option<Id> {
        self.completion.filter(|_| self.status == Status::Completed)
    }

    /// Whether it is completed, and no other agent than the one that completed it accepted that.
    pub fn is_unreviewed(&self) -> bool {
        self.completion().is_some() && !self.is_accepted()
    }

    /// Whether it is completed, or was archived so, and another agent than the one that completed it accepted that.
    pub fn is_accepted(&self) -> bool {
        let accepts = |review: &Verified| {
            review.passed && review.completion == self.completion && Some(&review.by) != self.completed_by.as_ref()
        };
        self.completion.is_some() && self.verified.as_ref().is_some_and(accepts)
    }

    /// Whether a reviewer rejected its completion, and it is not finished since.
    pub fn is_sent_back(&self) -> bool {
        let rejects = |review: &Verified| !review.passed && review.completion.is_some();
        !self.status.is_finished() && self.verified.as_ref().is_some_and(rejects)
    }

    /// What the choice of work needs to know of it.
    pub fn brief(&self) -> Brief {
        Brief {
            id: self.id,
            status: self.status,
            owner: self.owner.clone(),
            parent: self.parent(),
            priority: self.fields.priority,
            created_at: self.created_at,
            due: self.fields.due,
            defer_until: self.fields.defer_until,
            need_perm: self.fields.need_perm.clone(),
            need_precedence: self.fields.need_precedence,
            thread: self.holding_thread(),
            title: self.fields.title.clone(),
            attempts: self.attempts,
            attempt_by: self.attempt_by.clone(),
            sent_back: self.is_sent_back(),
        }
    }

    /// The unmet criteria.
    pub fn unmet(&self) -> impl Iterator<Item = &str> {
        self.fields.acceptance.iter().map(String::as_str).filter(|c| !self.met.contains_key(*c))
    }
}

/// The line of a task in a list.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of a task, under their own names")]
pub struct Line {
    pub id: Id,
    pub title: String,
    pub kind: TaskType,
    pub status: Status,
    pub owner: Option<String>,
    pub parent: Option<Id>,
    pub priority: i64,
    /// The labels as a JSON list, if any.
    pub labels: Option<Box<RawValue>>,
    pub due: Option<Time>,
    pub defer_until: Option<Time>,
    pub version: u64,
    pub updated_at: Time,
    /// The number of progress items.
    pub steps: u64,
    /// The number of completed ones.
    pub steps_done: u64,
}

/// What the choice of work needs to know of a task.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the fields of a task, under their own names")]
pub struct Brief {
    pub id: Id,
    pub status: Status,
    pub owner: Option<String>,
    pub parent: Option<Id>,
    pub priority: i64,
    pub created_at: Time,
    pub due: Option<Time>,
    pub defer_until: Option<Time>,
    pub need_perm: Option<String>,
    pub need_precedence: Option<i64>,
    /// The first thread that withholds it.
    pub thread: Option<Id>,
    pub title: String,
    pub attempts: u64,
    /// The agent whose claim ended last without completion.
    pub attempt_by: Option<String>,
    /// Whether a reviewer opened it again.
    pub sent_back: bool,
}
