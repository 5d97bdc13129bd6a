//! What `next` and `claim` answer: the task, or why there is none.
//!
//! Leaves to others: which task is next (`reports::ready`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::agent::Lease;
use crate::model::id::Id;
use crate::model::time::Time;
use crate::reports::changed::TaskAnswer;
use crate::reports::ready::Score;
use crate::rules::held::NamedTask;
use crate::rules::readiness::Reason;

/// The next task, shown or claimed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NextTask {
    /// The task.
    pub task: TaskAnswer,
    /// Its lease.
    pub lease: Option<Lease>,
    /// Why it is the next one.
    pub reasons: NextReasons,
    /// The agent whose expired lease was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_over: Option<TakenOver>,
    /// What to do with it, where it is a completed task to review. A review takes no lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewTask>,
}

/// A completed task to review.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReviewTask {
    /// The agent that completed it.
    pub completed_by: Option<String>,
    /// When.
    pub completed_at: Option<Time>,
    /// The command that accepts it.
    pub accept: String,
    /// The command that rejects it and opens it again.
    pub reject: String,
}

/// Why a task is the next one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NextReasons {
    /// The terms of its score.
    pub terms: Score,
    /// Why other tasks are not ready, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub others: Option<NotReady>,
    /// Tasks that the caller holds already.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<NamedTask>,
    /// Ready tasks that the caller gave back, which come after all others; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_back: Vec<NamedTask>,
    /// Tasks that the caller has in progress in other sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_sessions: Vec<OtherSessionTask>,
    /// Warnings, such as branches that were not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl NextReasons {
    /// The terms of the score alone.
    pub fn new(terms: Score) -> Self {
        NextReasons {
            terms,
            others: None,
            held: Vec::new(),
            given_back: Vec::new(),
            other_sessions: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// An agent whose expired lease passed to another one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TakenOver {
    /// The agent.
    pub agent: String,
    /// Its session.
    pub session: Option<Id>,
    /// When it was last heard of.
    pub last_sign_at: Time,
    /// When its lease expired.
    pub lease_expired_at: Time,
}

/// Why unfinished tasks are not handed out.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct NotReady {
    /// The number of unfinished tasks.
    pub unfinished: usize,
    /// How many are not ready for which reason.
    pub counts: BTreeMap<String, u64>,
    /// Who holds what; the first few of many.
    pub leased: Vec<LeasedTask>,
    /// Tasks that are taken or finished on another branch or in another worktree; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<PassedOver>,
    /// Each task that is not ready, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
    /// Tasks that the caller holds; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<NamedTask>,
    /// What to do, where nothing was claimed because the caller holds a task or takes reviews alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Tasks that the caller has in progress in other sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_sessions: Vec<OtherSessionTask>,
    /// Work in progress whose agent has fallen silent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub abandoned: Vec<AbandonedTask>,
}

/// A task that is not ready since an agent holds its lease.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeasedTask {
    /// The task.
    pub task: Id,
    /// The holder.
    pub holder: String,
    /// When the lease expires.
    pub until: Time,
}

/// A task that the plan alone has ready, and why it is not handed out.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PassedOver {
    /// The task.
    pub task: Id,
    /// The reason in words.
    pub words: String,
    /// The reason.
    pub why: Reason,
}

impl PassedOver {
    /// A task with the reason.
    pub fn new(task: Id, why: Reason) -> Self {
        PassedOver { task, words: why.words(), why }
    }
}

/// Why tasks are not ready, each with all its reasons.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Explained {
    /// The first few tasks.
    pub items: Vec<ExplainedTask>,
    /// The number of the others.
    pub more: usize,
}

/// Why a task is not ready.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ExplainedTask {
    /// The task.
    pub task: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// The reasons.
    pub reasons: Vec<Reason>,
    /// The same in words.
    pub words: Vec<String>,
}

/// A task that the caller has in progress in another session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OtherSessionTask {
    /// The task.
    #[serde(flatten)]
    pub task: NamedTask,
    /// The session of its lease.
    pub session: Option<Id>,
    /// Whether that is `active`, `silent` or `closed`.
    pub session_status: Option<&'static str>,
    /// The command that goes on with it in the caller's session; for an active session: once that is over.
    pub take_over: String,
}

impl OtherSessionTask {
    /// The task and how to go on with it, as text.
    pub fn words(&self) -> String {
        let session = self.session.map(|id| format!(" {id}")).unwrap_or_default();
        let status = self.session_status.map(|status| format!(" ({status})")).unwrap_or_default();
        let if_over = if self.session_status == Some("active") { ", if that session is over" } else { "" };
        format!("{}: yours in session{session}{status}; go on{if_over}: {}", self.task.words(), self.take_over)
    }
}

/// Work in progress whose lease expired and whose session is silent.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AbandonedTask {
    /// The task.
    pub task: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// The agent that works on it.
    pub owner: Option<String>,
    /// The session of its lease.
    pub session: Option<Id>,
    /// Whether that is `silent` or `closed`.
    pub session_status: Option<&'static str>,
    /// Whether the caller is its owner.
    pub mine: bool,
    /// When its agent was last heard of.
    pub last_sign_at: Time,
    /// When its lease expired.
    pub lease_expired_at: Time,
    /// The command that takes it over.
    pub take_over: String,
}
