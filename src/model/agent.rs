//! Agents, and the runtime records of their sessions and leases.
//!
//! Refuses to know: whether a session or a lease is still alive; that takes a clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::payload::AgentRegistered;
use crate::model::time::Time;

/// An agent as its log tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its name, which is its id.
    pub name: String,
    /// planner, executor, reviewer, coordinator, or another word.
    pub role: Option<String>,
    /// Anything it wants to be known by.
    pub metadata: Value,
    /// Its ed25519 public key.
    pub public_key: Option<String>,
    /// The event that registered the key: what the key signs is bound to it, and so to this store.
    #[serde(skip)]
    pub key_since: Option<Stamp>,
    /// When it first registered; `null` where it never did.
    pub created_at: Option<Time>,
    /// The newest events of its log.
    #[serde(skip)]
    pub heads: Vec<Id>,
    /// How many events its log holds.
    #[serde(skip)]
    pub version: u64,
    /// The greatest Lamport time in its log.
    #[serde(skip)]
    pub lamport: u64,
}

impl Agent {
    /// An agent of whom nothing is known but the name.
    pub fn blank(name: &str) -> Self {
        Agent {
            name: name.to_owned(),
            role: None,
            metadata: Value::Null,
            public_key: None,
            key_since: None,
            created_at: None,
            heads: Vec::new(),
            version: 0,
            lamport: 0,
        }
    }

    /// Takes in what an event says; absent keys stay.
    pub fn learn(&mut self, said: &AgentRegistered, by: Stamp, at: Time) {
        self.created_at.get_or_insert(at);
        if said.role.is_some() {
            self.role.clone_from(&said.role);
        }
        if !said.metadata.is_null() {
            self.metadata.clone_from(&said.metadata);
        }
        if said.public_key.is_some() {
            self.public_key.clone_from(&said.public_key);
            self.key_since = Some(by);
        }
    }
}

/// Whether a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It goes on.
    Active,
    /// It ended.
    Closed,
}

/// One run of an agent. Runtime state of this clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: Id,
    /// Whose it is.
    pub agent: String,
    /// Whether it goes on.
    pub status: SessionStatus,
    /// When it began.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Whether it was closed because nothing was heard of it; then it goes on when it is heard again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fell_silent: bool,
    /// Its last sign of life.
    pub last_heartbeat_at: Time,
    /// Anything the agent wants to keep with it.
    #[serde(default)]
    pub metadata: Value,
}

/// The right to change one task for a while. Runtime state of this clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lease {
    /// Its id.
    pub id: Id,
    /// The task.
    pub task: Id,
    /// Who holds it.
    pub agent: String,
    /// In which session.
    pub session: Option<Id>,
    /// A number that only grows from grant to grant of one task.
    pub fence: u64,
    /// When it runs out unless renewed.
    pub expires_at: Time,
    /// When it was granted.
    pub created_at: Time,
    /// When it was last renewed.
    pub updated_at: Time,
    /// Whether the remote has agreed to it: then no other clone can hold it. Worked out when a record is read.
    #[serde(default)]
    pub confirmed: bool,
    /// Whether it was granted in another clone. Worked out when a record is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// Longest time to live of a lease, in milliseconds: a week.
pub const MAX_TTL: i64 = 7 * 24 * 3_600_000;
/// How far clocks may be apart without a lease being doubted, in milliseconds: a day.
const CLOCK_SLACK: i64 = 24 * 3_600_000;
/// Fences from here on are never given, nor believed: somebody wrote them to leave none for others.
pub const MAX_FENCE: u64 = 1 << 52;
/// How much a fence may be above the one before. More is a mistake or a lie.
pub const MAX_FENCE_JUMP: u64 = 1 << 32;

impl Lease {
    /// Whether it still holds at `now`. One that would go on for longer than any lease may was written by a clock that was far
    /// ahead, or by nobody honest; it does not hold.
    pub fn is_live(&self, now: Time) -> bool {
        let whole = self.expires_at.since(self.updated_at).clamp(0, MAX_TTL);
        now < self.expires_at && self.expires_at.since(now) <= whole + CLOCK_SLACK
    }
}

/// What is known of the leases of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The last fence that was granted.
    pub fence: u64,
    /// The lease that was granted last and not given back, live or not.
    pub lease: Option<Lease>,
    /// The lease that was given back last, so that a log in which it is still granted does not bring it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_back: Option<Id>,
    /// Leases that passed to somebody else, until who lost them was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "none_one_or_many")]
    pub lost: Vec<Lease>,
    /// Who had the task after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_to: Option<String>,
    /// What the remote was last seen to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Seen>,
    /// The event that completed or cancelled the task here, which the remote has not heard of yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Id>,
}

/// Records of earlier versions held one lease or `null`.
fn none_one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Lease>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Shape {
        Many(Vec<Lease>),
        One(Option<Box<Lease>>),
    }
    Ok(match Shape::deserialize(deserializer)? {
        Shape::Many(leases) => leases,
        Shape::One(lease) => lease.into_iter().map(|lease| *lease).collect(),
    })
}

/// Whether a lease at the remote holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemoteState {
    /// Its holder works under it.
    Held,
    /// It was given back.
    Released,
    /// The task is completed or cancelled.
    Finished,
}

/// The record of a task's lease at the remote: what the blob behind `refs/agentpm/leases/<task>` says. Only the newest one
/// counts; it keeps the fence of the task for as long as the reference is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteRecord {
    /// Version of this form: 1.
    pub v: u32,
    /// The task.
    pub task: Id,
    /// Whether it holds.
    pub state: RemoteState,
    /// The lease's id.
    pub lease: Id,
    /// Who holds it, or did.
    pub agent: String,
    /// In which session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Id>,
    /// In which clone.
    pub clone: Id,
    /// Random, and new in each record: a clone takes a record for its own only if it sent this nonce itself.
    #[serde(default)]
    pub nonce: String,
    /// Its fence.
    pub fence: u64,
    /// The events that completed or cancelled the task, the last one at the end. Records that come after keep them: only where all are
    /// known may they be replaced, also once the task is open again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<Id>,
    /// What stood there before, in a record of an end: it stands again where that end comes to nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// The greatest Lamport time that its clone had given out: what the next holder does comes after it in order.
    #[serde(default)]
    pub lamport: u64,
    /// When it runs out unless renewed, by the holder's clock.
    pub expires_at: Time,
    /// When it was granted, by the holder's clock.
    pub created_at: Time,
    /// When it was last renewed, by the holder's clock.
    pub updated_at: Time,
}

/// A record as it was seen at the remote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What the reference pointed at: what the next change of it must expect there.
    pub oid: String,
    /// When this clone first saw just this, by its own clock.
    pub at: Time,
    /// Whether this clone wrote it.
    pub ours: bool,
    /// The highest fence granted here that it stood against when the remote was asked.
    #[serde(default)]
    pub over: u64,
    /// What it says.
    pub record: RemoteRecord,
}
