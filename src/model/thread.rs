//! Threads: asynchronous discussions of one task, in the task's log.
//!
//! Guarantees that a thread holds what its events say, and nothing that depends on the time or on other tasks.
//! Leaves to others: who may resolve a thread (`rules::decide`), and when one expires.

use std::collections::BTreeMap;
use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::args::Duration;
use crate::model::id::Id;
use crate::model::time::Time;

/// The reason of events that record the expiry of a thread. No agent decided them.
pub const EXPIRED: &str = "its time to live is over";

/// The status of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThreadStatus {
    /// It is being discussed.
    Open,
    /// A proposal was accepted, and the task was changed.
    Accepted,
    /// Its proposals were rejected or withdrawn.
    Rejected,
    /// Another thread takes its place.
    Superseded,
}

impl ThreadStatus {
    /// All of them.
    pub const ALL: [ThreadStatus; 4] =
        [ThreadStatus::Open, ThreadStatus::Accepted, ThreadStatus::Rejected, ThreadStatus::Superseded];

    /// The word in files and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            ThreadStatus::Open => "open",
            ThreadStatus::Accepted => "accepted",
            ThreadStatus::Rejected => "rejected",
            ThreadStatus::Superseded => "superseded",
        }
    }
}

/// How a thread is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Resolution {
    /// A proposal is accepted: the task changes.
    Accept,
    /// Nothing changes.
    Reject,
    /// Another thread takes its place.
    Supersede,
}

impl Resolution {
    /// The status of a thread that was resolved so.
    pub fn status(self) -> ThreadStatus {
        match self {
            Resolution::Accept => ThreadStatus::Accepted,
            Resolution::Reject => ThreadStatus::Rejected,
            Resolution::Supersede => ThreadStatus::Superseded,
        }
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Resolution::Accept => "accept",
            Resolution::Reject => "reject",
            Resolution::Supersede => "supersede",
        })
    }
}

/// One message of a thread after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    /// Its id.
    pub id: Id,
    /// The message that it answers; the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// Its author.
    pub author: String,
    /// Its text.
    pub body: String,
    /// The change of the task that it proposes, as a JSON Patch (RFC 6902).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub patch: Value,
    /// When it was written.
    pub created_at: Time,
}

/// The resolution of a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Resolved {
    /// The event.
    pub event: Id,
    /// How it was resolved.
    pub resolution: Resolution,
    /// The agent that resolved it.
    pub by: String,
    /// When.
    pub at: Time,
    /// The message whose proposal, or whose answer, was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Id>,
    /// The thread that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<Id>,
    /// The reason given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The escalation of a thread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Escalated {
    /// The agent that is to decide; `None` if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// When.
    pub at: Time,
}

/// A discussion of one task. Its id is that of its first message, whose author, body and patch are the thread's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its id.
    pub id: Id,
    /// The author of the first message.
    pub author: String,
    /// The text of the first message.
    pub body: String,
    /// The change that the first message proposes, as a JSON Patch (RFC 6902).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub patch: Value,
    /// Whether the task is withheld from new holders while the thread is open.
    pub hold: bool,
    /// How long it may stay open before it expires.
    pub ttl: Option<Duration>,
    /// The right that an agent needs to resolve it.
    pub need_perm: Option<String>,
    /// The least precedence that an agent needs to resolve it.
    pub need_precedence: Option<i64>,
    /// When it was opened.
    pub created_at: Time,
    /// The other messages, by id.
    pub replies: BTreeMap<Id, Message>,
    /// The resolution that counts.
    pub resolved: Option<Resolved>,
    /// Concurrent resolutions that do not count, by id of their events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<Id>,
    /// The first escalation.
    pub escalated: Option<Escalated>,
}

impl Thread {
    /// Its status.
    pub fn status(&self) -> ThreadStatus {
        self.resolved.as_ref().map_or(ThreadStatus::Open, |resolved| resolved.resolution.status())
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.resolved.is_none()
    }

    /// Whether it withholds its task.
    pub fn holds(&self) -> bool {
        self.is_open() && self.hold
    }

    /// When it expires, if it does.
    pub fn expires_at(&self) -> Option<Time> {
        self.ttl.map(|ttl| self.created_at.plus(ttl.millis))
    }

    /// Whether its expiry is to be recorded.
    pub fn is_expired(&self, now: Time) -> bool {
        self.is_open() && self.escalated.is_none() && self.expires_at().is_some_and(|at| at <= now)
    }

    /// All messages, the first one included, in the order of their ids.
    pub fn messages(&self) -> Vec<Message> {
        let first = Message {
            id: self.id,
            parent: None,
            author: self.author.clone(),
            body: self.body.clone(),
            patch: self.patch.clone(),
            created_at: self.created_at,
        };
        std::iter::once(first).chain(self.replies.values().cloned()).collect()
    }
}
