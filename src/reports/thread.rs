//! Threads as JSON.
//!
//! Leaves to others: what a thread has come to (`rules::fold`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::model::args::Duration;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::task::Task;
use crate::model::thread::{Escalated, Message, Resolved, Thread, ThreadStatus};
use crate::model::time::Time;
use crate::reports::changed::ValueChange;
use crate::reports::extent::{Bounds, Cuts, Entry, Extent, LeftOut, Shown};

/// Longest beginning of a text in a list, in bytes.
const MAX_LINE: usize = 200;

/// A thread with its messages. Its own author, body and patch are those of the first one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ThreadView {
    /// Its id, which is that of its first message.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// The task.
    pub task: Id,
    /// The title of the task.
    pub title: String,
    /// Its status.
    pub status: ThreadStatus,
    /// The author of the first message.
    pub author: String,
    /// The text of the first message.
    pub body: String,
    /// The change that the first message proposes, as a JSON Patch.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub patch: Value,
    /// Whether it withholds the task from new holders while it is open.
    pub hold: bool,
    /// How long it may stay open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// When it expires, or expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The right that an agent needs to resolve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need_perm: Option<String>,
    /// The least precedence that an agent needs to resolve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub need_precedence: Option<i64>,
    /// When it was opened.
    pub created_at: Time,
    /// The other messages, oldest first.
    pub messages: Vec<Shown<Message>>,
    /// Its resolution.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolved>,
    /// Events that resolved it too, without having seen its resolution.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overruled: Vec<Id>,
    /// Its escalation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalated: Option<Escalated>,
    /// What a bounded view does not show.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: LeftOut,
}

impl Entry for Message {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.text("body", &mut self.body);
        cuts.value("patch", &mut self.patch);
    }
}

impl ThreadView {
    /// Shows a thread of a task.
    pub fn new(task: &Task, thread: &Thread, extent: Extent) -> Self {
        let mut bounds = Bounds::new(extent);
        let messages = bounds.list("messages", thread.replies.values().cloned(), |_| 0);
        ThreadView {
            id: thread.id,
            handle: thread.id.handle(HANDLE_MIN),
            task: task.id,
            title: bounds.text("title", task.fields.title.clone()),
            status: thread.status(),
            author: thread.author.clone(),
            body: bounds.text("body", thread.body.clone()),
            patch: bounds.field("patch", thread.patch.clone()),
            hold: thread.hold,
            ttl: thread.ttl,
            expires_at: thread.expires_at(),
            need_perm: thread.need_perm.clone(),
            need_precedence: thread.need_precedence,
            created_at: thread.created_at,
            messages,
            resolution: thread.resolved.clone(),
            overruled: thread.overruled.clone(),
            escalated: thread.escalated.clone(),
            left_out: bounds.finish(),
        }
    }
}

/// The line of a thread in a list.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ThreadLine {
    /// Its id.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// The task.
    pub task: Id,
    /// The title of the task.
    pub title: String,
    /// Its status.
    pub status: ThreadStatus,
    /// The author of the first message.
    pub author: String,
    /// The beginning of the first message.
    pub body: String,
    /// The number of its messages.
    pub messages: usize,
    /// The number of proposals among them.
    pub proposals: usize,
    /// Whether it withholds the task now.
    pub holds: bool,
    /// When it was opened.
    pub created_at: Time,
    /// When it expires, while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// The agent to which it was escalated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalated_to: Option<String>,
}

impl ThreadLine {
    /// Shows a thread of a task in a list.
    pub fn new(task: &Task, thread: &Thread) -> Self {
        let begin = |text: &str| match text.floor_char_boundary(MAX_LINE) {
            end if end < text.len() => format!("{}…", &text[..end]),
            _ => text.to_owned(),
        };
        let patches = std::iter::once(&thread.patch).chain(thread.replies.values().map(|message| &message.patch));
        ThreadLine {
            id: thread.id,
            handle: thread.id.handle(HANDLE_MIN),
            task: task.id,
            title: begin(&task.fields.title),
            status: thread.status(),
            author: thread.author.clone(),
            body: begin(&thread.body),
            messages: thread.replies.len() + 1,
            proposals: patches.filter(|patch| !patch.is_null()).count(),
            holds: thread.holds(),
            created_at: thread.created_at,
            expires_at: thread.expires_at().filter(|_| thread.is_open()),
            escalated_to: thread.escalated.as_ref().and_then(|escalated| escalated.to.clone()),
        }
    }
}

/// A thread as the caller asked for it: in short, or whole.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ThreadAnswer {
    /// In short.
    Receipt(ThreadReceipt),
    /// All of it.
    Whole(Box<ThreadView>),
}

/// What a change of a thread did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ThreadReceipt {
    /// The thread, or the message that was added to it.
    pub id: Id,
    /// The thread.
    pub thread: Id,
    /// The handle of the thread.
    pub handle: String,
    /// The task.
    pub task: Id,
    /// The handle of the task.
    pub task_handle: String,
    /// The status of the thread.
    pub status: ThreadStatus,
    /// The agent that it was passed on to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub escalated_to: Option<String>,
    /// The fields of the task that were changed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub changed: BTreeMap<String, ValueChange>,
}

impl ThreadAnswer {
    /// The id of what was added or changed.
    pub fn id(&self) -> Id {
        match self {
            ThreadAnswer::Receipt(receipt) => receipt.id,
            ThreadAnswer::Whole(thread) => thread.id,
        }
    }
}
