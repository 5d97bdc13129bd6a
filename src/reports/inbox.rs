//! The items of an inbox, as they are shown.
//!
//! Leaves to others: which items there are (`engine::inbox`).

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::event::Event;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::notice::{Notice, NoticeKind};
use crate::model::payload::Broadcast;
use crate::model::time::Time;
use crate::reports::event_words::{receivers, shortened};
use crate::reports::extent::beginning;
use crate::reports::list::List;

/// Longest text of a message that is shown, in bytes.
const MAX_BODY: usize = 2_000;

/// What is unread.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InboxPage {
    /// The items, the newest last.
    #[serde(flatten)]
    pub list: List<InboxItem>,
    /// Acknowledges everything up to the end of this list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An item of an inbox.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InboxItem {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: NoticeKind,
    /// The task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
    /// The handle of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// The title of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What happened, on one line.
    pub summary: String,
    /// The whole text of a message, where the summary is only its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The event that caused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<Id>,
    /// When.
    pub at: Time,
    /// The command to act on it.
    pub command: String,
}

/// What an acknowledgment did.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct InboxAcknowledged {
    /// The number of items that it acknowledged.
    pub acknowledged: u64,
    /// The number of items that are still unread.
    pub unread: u64,
}

impl InboxItem {
    /// An item about a task of this handle and title.
    pub fn new(id: String, notice: &Notice, handle: Option<String>, title: Option<String>) -> Self {
        let summary = shortened(&notice.words);
        let is_cut = notice.kind == NoticeKind::Broadcast && summary != notice.words;
        InboxItem {
            command: command(&id, notice, handle.as_deref()),
            id,
            kind: notice.kind,
            task: notice.task,
            handle,
            title: title.map(|title| shortened(&title)),
            body: is_cut.then(|| bounded(&notice.words)),
            summary,
            event: notice.event,
            at: notice.at,
        }
    }
}

/// The text of a message: one that is long must not take the room of the other items.
fn bounded(text: &str) -> String {
    let shown = beginning(text, MAX_BODY);
    if shown.len() == text.len() {
        return text.to_owned();
    }
    format!("{shown}… ({} bytes in all: agentpm log --type Broadcast)", text.len())
}

/// The command to act on an item.
fn command(id: &str, notice: &Notice, handle: Option<&str>) -> String {
    let task = handle.map(str::to_owned).or(notice.task.map(|id| id.handle(HANDLE_MIN))).unwrap_or_default();
    let thread = notice.thread.map(|id| id.to_string()).unwrap_or_default();
    match notice.kind {
        NoticeKind::Ready => format!("agentpm claim {task}"),
        NoticeKind::Assigned => format!("agentpm brief {task}"),
        NoticeKind::ThreadOpened
        | NoticeKind::ThreadReply
        | NoticeKind::ThreadResolved
        | NoticeKind::ThreadEscalated => format!("agentpm thread show {thread}"),
        NoticeKind::LeaseLost | NoticeKind::LeaseOverridden => format!("agentpm log {task}"),
        NoticeKind::EditLost => format!("agentpm conflicts {task}"),
        NoticeKind::Parked => format!("agentpm show {task}"),
        NoticeKind::ToReview | NoticeKind::Reviewed => format!("agentpm brief {task}"),
        NoticeKind::Broadcast => format!("agentpm inbox ack {id}"),
        NoticeKind::Settings => "agentpm doctor".to_owned(),
    }
}

/// A message that an agent sent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SentMessage {
    /// The event.
    pub event: Id,
    /// The sender.
    pub by: String,
    /// The only agent that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The role of the agents that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Its text.
    pub body: String,
    /// When it was sent.
    pub at: Time,
}

impl SentMessage {
    /// A message by its event.
    pub fn new(event: &Event, sent: &Broadcast) -> Self {
        SentMessage {
            event: event.id,
            by: event.author.agent.clone(),
            to: sent.to.clone(),
            role: sent.role.clone(),
            body: sent.body.clone(),
            at: event.at,
        }
    }

    /// Its sender and receivers.
    pub fn route(&self) -> String {
        let to = receivers(self.to.as_deref(), self.role.as_deref());
        format!("{} to {to}", self.by)
    }
}
