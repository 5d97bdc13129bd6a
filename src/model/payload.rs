//! The payloads of events: one plain struct for each type of event.
//!
//! Guarantees that [`Payload`] has the only list of types. Unknown keys in a known payload are ignored when it is read and
//! stay in the line.
//! Leaves to others: the effect of an event (`rules::fold`).

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::model::args::Duration;
use crate::model::context::ContextType;
use crate::model::id::Id;
use crate::model::json::{strict, strict_object};
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::thread::Resolution;
use crate::model::time::Time;

/// Values by field name, as in an event. `null` clears a field.
pub type Fields = Map<String, Value>;

/// A task is created. Holds its fields by name, and `status`, `owner` or `created_at` if they differ from the defaults.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskCreated {
    /// Fields by name.
    #[serde(deserialize_with = "strict_object")]
    pub fields: Fields,
}

/// Fields of a task get new values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskUpdated {
    /// The new values; `null` clears a field. A key `metadata.<name>` changes one entry of the metadata.
    #[serde(deserialize_with = "strict_object")]
    pub set: Fields,
    /// Whether the attempts so far no longer count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unpark: bool,
}

impl TaskUpdated {
    /// New values of fields.
    pub fn new(set: Fields) -> Self {
        TaskUpdated { set, unpark: false }
    }
}

/// A task moves to another status.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskStatusChanged {
    /// The status that its author saw.
    pub from: Status,
    /// The new status.
    pub to: Status,
    /// The new owner: absent keeps it, `null` clears it.
    #[serde(default, with = "double_option", skip_serializing_if = "Option::is_none")]
    pub owner: Option<Option<String>>,
    /// The real time, if it differs from that of the event (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<Time>,
    /// Checks that were overridden by `--force`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<String>,
}

impl TaskStatusChanged {
    /// Whether it states that it overrides one of these checks.
    pub fn overrides(&self, checks: &[&str]) -> bool {
        self.forced.iter().any(|check| checks.contains(&check.as_str()))
    }
}

/// The checks of a completion, as an event that overrides them names them.
pub mod check {
    /// All blockers are finished.
    pub const BLOCKERS: &str = "blockers";
    /// All children are finished.
    pub const CHILDREN: &str = "children";
    /// All criteria are met.
    pub const ACCEPTANCE: &str = "acceptance";
    /// No thread is open that withholds the task.
    pub const THREAD: &str = "thread";
    /// The task is not deferred.
    pub const DEFERRAL: &str = "deferral";
    /// Its parent can be worked on.
    pub const PARENT: &str = "parent";
    /// It is not parked after many attempts.
    pub const ATTEMPTS: &str = "attempts";
    /// No other work touches its files.
    pub const FILES: &str = "files";
}

/// A closed task is archived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskArchived {
    /// `completed` or `cancelled`.
    pub from: Status,
    /// When it was completed, so that this event alone determines the whole status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// When it was cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_at: Option<Time>,
}

/// A closed task is reopened. The reason is in the event's `why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskReopened {
    /// The status that its author saw.
    pub from: Status,
    /// `open`, or `blocked` if a blocker is unfinished.
    pub to: Status,
}

/// Two tasks are related. The event's id is the relationship's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelationshipAdded {
    /// The kind of relationship.
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// The parent, the blocker, or the source.
    pub from: Id,
    /// The child, the blocked task, or the target.
    pub to: Id,
    /// Data that the agent keeps with it.
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    /// The real time, if it differs from that of the event (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
}

/// A relationship is removed, for good.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelationshipRemoved {
    /// The relationship's id.
    pub relationship: Id,
}

/// A step of the work is added. The event's id is the item's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressItemAdded {
    /// The text of the step.
    pub content: String,
    /// When it was completed, if it already is (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// The real time, if it differs from that of the event (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
}

/// A step is completed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressItemCompleted {
    /// The item's id.
    pub item: Id,
}

/// A step is reopened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressItemReopened {
    /// The item's id.
    pub item: Id,
}

/// A context entry is added. The event's id is the entry's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextAdded {
    /// The type of entry.
    #[serde(rename = "type")]
    pub kind: ContextType,
    /// The text.
    pub content: String,
    /// Data that the agent keeps with it.
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    /// The real time, if it differs from that of the event (imports).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Time>,
}

/// A newer context entry supersedes another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextSuperseded {
    /// The older entry's id.
    pub entry: Id,
    /// The newer entry's id.
    pub by: Id,
}

/// The text of a context entry is removed, for example because it contained a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextRedacted {
    /// The entry's id; its ContextAdded line loses content and metadata.
    pub entry: Id,
}

/// An acceptance criterion is marked as met or unmet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AcceptanceMet {
    /// The exact text of the criterion.
    pub criterion: String,
    /// Whether it is met.
    pub met: bool,
}

/// An agent reviewed the result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskVerified {
    /// Whether it passed.
    pub passed: bool,
    /// The event that completed the task, where the review judges its completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Id>,
}

/// What a plan file or an import said of a task when it was applied. It changes no field and is not rendered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceApplied {
    /// The source: `plan/<name>`, or the format of an import.
    pub source: String,
    /// The key of the task in the source.
    pub key: String,
    /// What the source said, by field.
    #[serde(deserialize_with = "strict_object")]
    pub said: Fields,
}

/// A thread is opened. The event's id is the thread's id, and that of its first message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadOpened {
    /// The text of the first message.
    pub body: String,
    /// The change of the task that it proposes, as a JSON Patch (RFC 6902).
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub patch: Value,
    /// How long it may stay open; it never expires if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Duration>,
    /// The right that an agent needs to resolve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_perm: Option<String>,
    /// The least precedence that an agent needs to resolve it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub need_precedence: Option<i64>,
    /// `true` if the task stays on offer while it is open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_hold: bool,
}

/// A message answers another one of a thread. The event's id is the message's id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadReplied {
    /// The thread.
    pub thread: Id,
    /// The message that it answers; the first one if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The text.
    pub body: String,
    /// The change of the task that it proposes, as a JSON Patch (RFC 6902).
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub patch: Value,
}

/// A thread is resolved. An accepted proposal changes the task by this event alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadResolved {
    /// The thread.
    pub thread: Id,
    /// How it is resolved.
    pub resolution: Resolution,
    /// The message whose proposal is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Id>,
    /// The thread that takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Id>,
    /// The patch that was applied.
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub patch: Value,
    /// The values that the patch gives, as in [`TaskUpdated`]; empty unless it is accepted.
    #[serde(default, deserialize_with = "strict_object", skip_serializing_if = "Map::is_empty")]
    pub set: Fields,
}

impl ThreadResolved {
    /// A resolution without a change.
    pub fn new(thread: Id, resolution: Resolution) -> Self {
        ThreadResolved { thread, resolution, message: None, by: None, patch: Value::Null, set: Fields::new() }
    }
}

/// A thread is passed on to an agent that is to decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadEscalated {
    /// The thread.
    pub thread: Id,
    /// The agent; absent if none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// An agent acquired a task's lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseAcquired {
    /// The lease's id.
    pub lease: Id,
    /// The holder.
    pub holder: String,
    /// The holder's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Id>,
    /// Its fence, above all earlier ones of the task.
    pub fence: u64,
    /// When it expires unless renewed.
    pub expires_at: Time,
    /// The holder of the expired lease that it took over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_from: Option<String>,
}

/// A lease was released.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseReleased {
    /// The lease's id.
    pub lease: Id,
}

/// A change overrode another agent's lease, or a claim the overlap with another agent's work. The reason is in the event's `why`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseOverride {
    /// The lease's id; absent if the task had an owner without a lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<Id>,
    /// The holder.
    pub holder: String,
    /// The task in progress of the holder, where a claim was made although its files overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Id>,
}

/// An agent registers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentRegistered {
    /// planner, executor, reviewer, coordinator, or another word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Data about the agent.
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
    /// Its ed25519 public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// An agent changes its data; absent keys stay.
pub type AgentUpdated = AgentRegistered;

/// A message of an agent to others, in the sender's log; to all agents where it names neither an agent nor a role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broadcast {
    /// Its text.
    pub body: String,
    /// The only agent that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// The role of the agents that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// A lease was renewed. Journal only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseRenewed {
    /// The lease's id.
    pub lease: Id,
    /// The new expiry.
    pub expires_at: Time,
}

/// A session started. Journal only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionStarted {
    /// The agent of the session.
    pub agent: String,
    /// Data that the agent keeps with it.
    #[serde(default, deserialize_with = "strict", skip_serializing_if = "Value::is_null")]
    pub metadata: Value,
}

/// A session recorded a sign of life. Journal only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionHeartbeat {}

/// A session ended. Journal only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SessionEnded {
    /// `true` if it was closed for its silence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<bool>,
}

macro_rules! payloads {
    (in logs: $($logged:ident),*; in the journal only: $($local:ident),*;) => {
        payloads! { @types $($logged,)* $($local,)* }

        impl Payload {
            /// Whether events of this type stay in the machine's journal and enter no log.
            pub fn journal_only(&self) -> bool {
                match self {
                    $(Payload::$logged(_) => false,)*
                    $(Payload::$local(_) => true,)*
                    Payload::Unknown { .. } => false,
                }
            }
        }
    };
    (@types $($kind:ident,)*) => {
        /// The payload of an event, by its type.
        #[derive(Clone, Debug)]
        #[expect(missing_docs, reason = "each variant is documented on the struct of the same name")]
        pub enum Payload {
            $($kind($kind),)*
            /// A type that this version does not know: kept unchanged, shown in the history, without effect.
            Unknown { kind: String, raw: Box<RawValue> },
        }

        /// The types that this version knows.
        pub const KINDS: &[&str] = &[$(stringify!($kind)),*];

        impl Payload {
            /// The event's type.
            pub fn kind(&self) -> &str {
                match self {
                    $(Payload::$kind(_) => stringify!($kind),)*
                    Payload::Unknown { kind, .. } => kind,
                }
            }

            /// Parses the payload of a type named in [`KINDS`].
            ///
            /// Errors: the JSON does not fit the type, or the type is not a known one.
            pub fn from_raw(kind: &str, raw: &str) -> Result<Self, serde_json::Error> {
                match kind {
                    $(stringify!($kind) => serde_json::from_str(raw).map(Payload::$kind),)*
                    _ => Err(serde::de::Error::custom("not a known type of event")),
                }
            }

            /// The payload as JSON; for an unknown type, the bytes that were read.
            pub fn to_raw(&self) -> Box<RawValue> {
                let written = match self {
                    $(Payload::$kind(payload) => to_raw_value(payload),)*
                    Payload::Unknown { raw, .. } => return raw.clone(),
                };
                // Plain structs with string keys cannot fail to serialize.
                written.expect("payloads are plain data")
            }
        }
    };
}

payloads! {
    in logs:
        TaskCreated, TaskUpdated, TaskStatusChanged, TaskArchived, TaskReopened,
        RelationshipAdded, RelationshipRemoved,
        ProgressItemAdded, ProgressItemCompleted, ProgressItemReopened,
        ContextAdded, ContextSuperseded, ContextRedacted,
        AcceptanceMet, TaskVerified, SourceApplied,
        LeaseAcquired, LeaseReleased, LeaseOverride,
        ThreadOpened, ThreadReplied, ThreadResolved, ThreadEscalated,
        AgentRegistered, AgentUpdated, Broadcast;
    in the journal only:
        LeaseRenewed, SessionStarted, SessionHeartbeat, SessionEnded;
}

impl Payload {
    /// Whether events of this type change which agent may work on a task.
    pub fn is_of_lease(&self) -> bool {
        matches!(self, Payload::LeaseAcquired(_) | Payload::LeaseRenewed(_) | Payload::LeaseReleased(_))
    }

    /// The lease that it grants.
    pub fn grant(&self) -> Option<&LeaseAcquired> {
        if let Payload::LeaseAcquired(p) = self { Some(p) } else { None }
    }

    /// The context entry whose text it removes.
    pub fn redacts(&self) -> Option<Id> {
        if let Payload::ContextRedacted(p) = self { Some(p.entry) } else { None }
    }

    /// The data with which it registers an agent.
    pub fn registration(&self) -> Option<&AgentRegistered> {
        if let Payload::AgentRegistered(p) | Payload::AgentUpdated(p) = self { Some(p) } else { None }
    }
}

/// Distinguishes an absent key from one that is `null`.
mod double_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer, T: Serialize>(value: &Option<Option<T>>, serializer: S) -> Result<S::Ok, S::Error> {
        value.as_ref().and_then(Option::as_ref).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
        deserializer: D,
    ) -> Result<Option<Option<T>>, D::Error> {
        Option::deserialize(deserializer).map(Some)
    }
}
