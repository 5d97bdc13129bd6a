//! Items of an inbox: what an agent hears of, and why.
//!
//! Guarantees that an item is the same whenever it is found again: kind, task and cause identify it.
//! Leaves to others: what concerns an agent (`rules::notices`), and what it has acknowledged (`runtime::inbox`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::id::Id;
use crate::model::time::Time;

/// The kind of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// A task became ready, and the agent may claim it.
    Ready,
    /// A task was assigned to the agent.
    Assigned,
    /// A thread was opened on a task of the agent, or names the agent.
    ThreadOpened,
    /// A reply in a thread that concerns the agent.
    ThreadReply,
    /// A thread was resolved that the agent opened, or in which it made a proposal.
    ThreadResolved,
    /// A thread was escalated to the agent.
    ThreadEscalated,
    /// The lease of the agent passed to another one.
    LeaseLost,
    /// A task was changed over the lease of the agent.
    LeaseOverridden,
    /// A value that the agent wrote lost to a concurrent one.
    EditLost,
    /// A task that the agent created, owns or watches was parked.
    Parked,
    /// A completed task awaits review, and the agent may give it.
    ToReview,
    /// Work that the agent completed was accepted or rejected.
    Reviewed,
    /// A message of another agent.
    Broadcast,
    /// The settings or the roles of the store changed.
    Settings,
}

impl NoticeKind {
    /// The word in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            NoticeKind::Ready => "ready",
            NoticeKind::Assigned => "assigned",
            NoticeKind::ThreadOpened => "thread_opened",
            NoticeKind::ThreadReply => "thread_reply",
            NoticeKind::ThreadResolved => "thread_resolved",
            NoticeKind::ThreadEscalated => "thread_escalated",
            NoticeKind::LeaseLost => "lease_lost",
            NoticeKind::LeaseOverridden => "lease_overridden",
            NoticeKind::EditLost => "edit_lost",
            NoticeKind::Parked => "parked",
            NoticeKind::ToReview => "to_review",
            NoticeKind::Reviewed => "reviewed",
            NoticeKind::Broadcast => "broadcast",
            NoticeKind::Settings => "settings",
        }
    }
}

/// One thing that an agent hears of.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Its kind.
    pub kind: NoticeKind,
    /// The task, if it is about one.
    pub task: Option<Id>,
    /// What caused it: an event, a time, or the digest of a file.
    pub cause: String,
    /// The event, if one caused it.
    pub event: Option<Id>,
    /// The thread, if it is about one.
    pub thread: Option<Id>,
    /// The agent that caused it.
    pub by: Option<String>,
    /// When.
    pub at: Time,
    /// What happened, in words.
    pub words: String,
}
