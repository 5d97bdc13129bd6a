//! Agents, and the runtime records of their sessions and leases.
//!
//! Leaves to others: whether a session or a lease is still live, which takes a clock.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::payload::AgentRegistered;
use crate::model::time::Time;

/// The state of an agent, as its log gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its name, which is its id.
    pub name: String,
    /// planner, executor, reviewer, coordinator, or another word.
    pub role: Option<String>,
    /// Data about the agent.
    pub metadata: Value,
    /// Its ed25519 public key.
    pub public_key: Option<String>,
    /// The event that registered the key. Signatures are bound to it, and so to this store.
    #[serde(skip)]
    pub key_since: Option<Stamp>,
    /// When it first registered; `null` if it never did.
    pub created_at: Option<Time>,
    /// The heads of its log.
    #[serde(skip)]
    pub heads: Vec<Id>,
    /// The number of events in its log.
    #[serde(skip)]
    pub version: u64,
    /// The greatest Lamport time in its log.
    #[serde(skip)]
    pub lamport: u64,
}

impl Agent {
    /// An agent of which only the name is known.
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

    /// Applies an event; absent keys stay.
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

/// Whether a session is active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// It is active.
    Active,
    /// It ended.
    Closed,
}

/// One run of an agent. Runtime state of this clone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its id.
    pub id: Id,
    /// Its agent.
    pub agent: String,
    /// Whether it is active.
    pub status: SessionStatus,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Whether it was closed for its silence; then its next sign of life resumes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fell_silent: bool,
    /// Its last sign of life.
    pub last_heartbeat_at: Time,
    /// Data that the agent keeps with it.
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
    /// Its holder.
    pub agent: String,
    /// The holder's session.
    pub session: Option<Id>,
    /// A number that grows with each grant of one task.
    pub fence: u64,
    /// When it expires unless renewed.
    pub expires_at: Time,
    /// When it was granted.
    pub created_at: Time,
    /// When it was last renewed.
    pub updated_at: Time,
    /// Whether the remote confirmed it, so that no other clone can hold it. Computed when a record is read.
    #[serde(default)]
    pub confirmed: bool,
    /// Whether another clone granted it. Computed when a record is read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub elsewhere: bool,
}

/// The longest duration of a lease, in milliseconds: a week.
pub const MAX_TTL: i64 = 7 * 24 * 3_600_000;
/// How far clocks may differ without a lease being doubted, in milliseconds: a day.
const CLOCK_SLACK: i64 = 24 * 3_600_000;
/// Fences from here on are never granted or accepted: only a forged event has one, to leave none for others.
pub const MAX_FENCE: u64 = 1 << 52;
/// The most by which a fence may exceed the one before. A greater jump is a mistake or forged.
pub const MAX_FENCE_JUMP: u64 = 1 << 32;

impl Lease {
    /// Its time to live since it was granted or renewed, in milliseconds.
    pub fn whole(&self) -> i64 {
        self.expires_at.since(self.updated_at).clamp(1, MAX_TTL)
    }

    /// Whether it still holds at `now`. A lease that would last longer than any lease may was written by a clock that was far
    /// ahead, or was forged; it does not hold.
    pub fn is_live(&self, now: Time) -> bool {
        let whole = self.expires_at.since(self.updated_at).clamp(0, MAX_TTL);
        now < self.expires_at && self.expires_at.since(now) <= whole + CLOCK_SLACK
    }
}

/// The leases of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LeaseRecord {
    /// The last fence that was granted.
    pub fence: u64,
    /// The lease that was granted last and not released, live or not.
    pub lease: Option<Lease>,
    /// The lease that was released last, so that a log in which it is still granted does not restore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_back: Option<Id>,
    /// Leases that passed to another agent, until their holders were informed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "none_one_or_many")]
    pub lost: Vec<Lease>,
    /// Leases of other clones that were reported as granted at the same time as one of this clone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contested: Vec<Id>,
    /// The agent that had the task after them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_to: Option<String>,
    /// The record of the remote that was seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<Seen>,
    /// The event that completed or cancelled the task here, which the remote does not have yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Id>,
}

/// Records of earlier versions hold one lease or `null`.
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
    /// It was released.
    Released,
    /// The task is completed or cancelled.
    Finished,
}

/// The record of a task's lease at the remote: the contents of the blob that `refs/agentpm/leases/<task>` refers to. Only the
/// newest one counts; it keeps the fence of the task for as long as the reference exists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RemoteRecord {
    /// The version of this format: 1.
    pub v: u32,
    /// The task.
    pub task: Id,
    /// Whether it holds.
    pub state: RemoteState,
    /// The lease's id.
    pub lease: Id,
    /// Its holder, or last holder.
    pub agent: String,
    /// The holder's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Id>,
    /// The holder's clone.
    pub clone: Id,
    /// Random, and new in each record: a clone accepts a record as its own only if it sent this nonce itself.
    #[serde(default)]
    pub nonce: String,
    /// Its fence.
    pub fence: u64,
    /// The events that completed or cancelled the task, the last one at the end. Later records keep them. A record may be
    /// replaced only by a clone that knows all of them, also once the task is open again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ends: Vec<Id>,
    /// In a record of an end, the record that it replaced, which is restored if that end is withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// The greatest Lamport time that its clone had issued: the events of the next holder come after it in order.
    #[serde(default)]
    pub lamport: u64,
    /// When it expires unless renewed, by the holder's clock.
    pub expires_at: Time,
    /// When it was granted, by the holder's clock.
    pub created_at: Time,
    /// When it was last renewed, by the holder's clock.
    pub updated_at: Time,
}

/// A record as it was seen at the remote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// The object that the reference pointed at, which the next change of it must expect.
    pub oid: String,
    /// When this clone first saw this record, by its own clock.
    pub at: Time,
    /// Whether this clone wrote it.
    pub ours: bool,
    /// The highest fence granted here that it was above when the remote was asked.
    #[serde(default)]
    pub over: u64,
    /// Its contents.
    pub record: RemoteRecord,
}

impl Seen {
    /// The whole duration of the lease, in milliseconds.
    pub fn whole(&self) -> i64 {
        self.record.expires_at.since(self.record.updated_at).clamp(1, MAX_TTL)
    }

    /// When a held record is over, by the reader's clock: at the time that it names, or once it was unchanged for its whole duration. The
    /// second is for holders whose clock is far ahead. Where the reader saw it first more than a day after the time that it names, its
    /// holder is gone or the reader's own clock is ahead; then only the second counts.
    pub fn over_at(&self) -> Time {
        let unchanged = self.at.plus(self.whole());
        match self.at.since(self.record.expires_at) > CLOCK_SLACK {
            true => unchanged,
            false => unchanged.min(self.record.expires_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_over_at_its_time_or_when_it_was_watched_for_its_duration() {
        const MINUTE: i64 = 60_000;
        let time = |minutes: i64| Time::from_millis(1_763_632_800_000 + minutes * MINUTE);
        let over = |first_seen: i64, granted: i64, expires: i64| {
            let id = Id::from_parts(1, 1);
            let record = RemoteRecord {
                v: 1,
                task: id,
                state: RemoteState::Held,
                lease: id,
                agent: "ada".into(),
                session: None,
                clone: id,
                nonce: String::new(),
                fence: 2,
                ends: Vec::new(),
                replaced: None,
                lamport: 0,
                expires_at: time(expires),
                created_at: time(granted),
                updated_at: time(granted),
            };
            let seen = Seen { oid: String::new(), at: time(first_seen), ours: false, over: 0, record };
            seen.over_at().since(time(0)) / MINUTE
        };
        let (day, year) = (24 * 60, 365 * 24 * 60);
        assert_eq!(over(0, 0, 10), 10);
        assert_eq!(over(5, 0, 10), 10);
        assert_eq!(over(10 + day, 0, 10), 10, "within a day it is taken for what it says");
        assert_eq!(over(0, year, year + 10), 10, "the holder's clock is ahead");
        assert_eq!(over(year, 0, 10), year + 10, "the reader's clock is ahead");
        assert_eq!(over(0, 0, year), 7 * day, "no lease lasts longer than a lease may");
        assert_eq!(over(0, 10, 0), 0, "a record of no duration");
    }
}
