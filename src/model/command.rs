//! Every change that agentpm can make, defined once.
//!
//! Guarantees that an interface only builds a [`Command`]. The arguments of the command line, the keys of a batch and the
//! published schema are the same fields with the same descriptions. Doc comments are the help texts.
//! Leaves to others: whether a change is allowed (`rules::decide`) and how it is carried out (`engine`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::args::{
    Duration, EventRef, Object, OptionalSessionRef, OptionalTaskRef, Ref, TaskRef, Text, one_or_many,
};
use crate::model::context::ContextType;
use crate::model::id::Id;
use crate::model::operation::operations;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;

/// Conditions and reasons of a change of a task.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guard {
    /// Refuse unless this lease is still yours (id of a lease)
    #[arg(long, value_name = "LEASE")]
    pub lease_id: Option<Ref>,
    /// Refuse unless the task has exactly this number of events
    #[arg(long, value_name = "N")]
    pub expected_version: Option<u64>,
    /// Override another agent's lease, for this reason; recorded
    #[arg(long = "override", value_name = "REASON")]
    #[serde(rename = "override")]
    pub override_reason: Option<Text>,
    /// Reason for the change; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<Text>,
}

/// Create a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskCreate {
    /// Title, one line
    #[arg(long, value_name = "TEXT")]
    pub title: Text,
    /// Goal and reason, in prose
    #[arg(long, value_name = "TEXT")]
    pub intent: Option<Text>,
    /// Type of work: feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Priority from -5 to 5; higher is sooner
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// Parent task (planning unit)
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// Add a label (repeatable)
    #[arg(long = "label", value_name = "WORD")]
    pub labels: Vec<String>,
    /// Task that must be finished first (repeatable)
    #[arg(long, value_name = "ID")]
    pub blocked_by: Vec<Ref>,
    /// Acceptance criterion (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub acceptance: Vec<Text>,
    /// Path or glob that the task expects to change (repeatable)
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<String>,
    /// Agent that watches the task (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Vec<String>,
    /// Expected effort, as free text
    #[arg(long, value_name = "TEXT")]
    pub estimate: Option<String>,
    /// Due time
    #[arg(long, value_name = "TIME")]
    pub due: Option<Time>,
    /// Do not offer the task before this time
    #[arg(long, value_name = "TIME")]
    pub defer_until: Option<Time>,
    /// Right that an agent needs to claim the task
    #[arg(long, value_name = "PERM")]
    pub need_perm: Option<String>,
    /// Minimum precedence that an agent needs to claim the task
    #[arg(long, value_name = "N")]
    pub need_precedence: Option<i64>,
    /// Other data, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Idempotency key: a repeated call with this key returns the task of the first one
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Reason for the change; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<Text>,
}

/// Change fields of a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskUpdate {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// Title, one line
    #[arg(long, value_name = "TEXT")]
    pub title: Option<Text>,
    /// Goal and reason, in prose
    #[arg(long, value_name = "TEXT")]
    pub intent: Option<Text>,
    /// Type of work: feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Priority from -5 to 5; higher is sooner
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// Parent task (planning unit)
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// Owner: the agent that works on it
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// Replace all labels (repeatable)
    #[arg(long = "label", value_name = "WORD")]
    pub labels: Option<Vec<String>>,
    /// Add a label (repeatable)
    #[arg(long = "add-label", value_name = "WORD")]
    pub add_labels: Vec<String>,
    /// Remove a label (repeatable)
    #[arg(long = "remove-label", value_name = "WORD")]
    pub remove_labels: Vec<String>,
    /// Replace all acceptance criteria (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub acceptance: Option<Vec<Text>>,
    /// Add an acceptance criterion (repeatable)
    #[arg(long = "add-acceptance", value_name = "TEXT")]
    pub add_acceptance: Vec<Text>,
    /// Replace all paths or globs (repeatable)
    #[arg(long = "file", value_name = "PATH")]
    pub files: Option<Vec<String>>,
    /// Replace all watchers (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Option<Vec<String>>,
    /// Expected effort, as free text
    #[arg(long, value_name = "TEXT")]
    pub estimate: Option<String>,
    /// Due time
    #[arg(long, value_name = "TIME")]
    pub due: Option<Time>,
    /// Do not offer the task before this time
    #[arg(long, value_name = "TIME")]
    pub defer_until: Option<Time>,
    /// Right that an agent needs to claim the task
    #[arg(long, value_name = "PERM")]
    pub need_perm: Option<String>,
    /// Minimum precedence that an agent needs to claim the task
    #[arg(long, value_name = "N")]
    pub need_precedence: Option<i64>,
    /// Change entries of the metadata, as a JSON object; null removes an entry
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Clear a field: intent, parent, owner, labels, due, … (repeatable)
    #[arg(long, value_name = "FIELD")]
    pub clear: Vec<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Move a task to another status
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskTransition {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// New status
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    pub status: Status,
    /// Override unfinished blockers, children and unmet acceptance criteria, for this reason; recorded
    #[arg(long, value_name = "REASON")]
    #[serde(default)]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Make a task wait for another
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskBlock {
    /// Task that waits
    #[command(flatten)]
    pub id: TaskRef,
    /// Task that it waits for (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    #[serde(deserialize_with = "one_or_many")]
    pub by: Vec<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Remove a blocker from a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnblock {
    /// Task that waited
    #[command(flatten)]
    pub id: TaskRef,
    /// Task that it waited for (repeatable; default: all of them)
    #[arg(long, value_name = "ID")]
    #[serde(default)]
    pub by: Vec<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Relate a task to another
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskRelate {
    /// First task: the parent, the blocker, or the source of the relationship
    #[command(flatten)]
    pub id: TaskRef,
    /// Other task
    #[arg(long, value_name = "ID")]
    pub to: Ref,
    /// Type: parent_of, blocks, relates_to or duplicates
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// Data to keep with the relationship, as a JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default)]
    pub metadata: Option<Object>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Remove a relationship
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnrelate {
    /// Task whose log contains the relationship
    #[command(flatten)]
    pub id: TaskRef,
    /// Id of the relationship, or of the other task
    #[arg(long, value_name = "ID")]
    pub relationship: Ref,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Archive a completed or cancelled task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskArchive {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Reopen a closed task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskReopen {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// Reason for reopening it
    #[arg(long, value_name = "TEXT")]
    pub reason: Text,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Mark acceptance criteria as met, or record a review of the result
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskVerify {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// Criterion that is met: its number from 1, or its text (repeatable)
    #[arg(long, value_name = "N|TEXT")]
    pub criterion: Vec<String>,
    /// Mark all criteria as met
    #[arg(long)]
    pub all: bool,
    /// Mark the named criteria as unmet instead
    #[arg(long)]
    pub unmet: bool,
    /// Record a review that did not pass
    #[arg(long, conflicts_with_all = ["criterion", "all", "unmet"])]
    pub fail: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Add a step of the work
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressAdd {
    /// Task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// Text of the step (repeatable)
    #[arg(long, value_name = "TEXT", required = true)]
    #[serde(deserialize_with = "one_or_many")]
    pub content: Vec<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Complete a step
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressComplete {
    /// Progress item
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Reopen a step
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressReopen {
    /// Progress item
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Record a context entry: a note, a decision, an attempt, …
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextAdd {
    /// Task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// Type: decision, rationale, attempt, outcome, blocker, note, reference or user_input
    #[arg(long = "type", value_name = "TYPE", default_value = "note")]
    #[serde(rename = "type", default = "note")]
    pub kind: ContextType,
    /// Text
    #[arg(long, value_name = "TEXT")]
    pub content: Text,
    /// Data to keep with the entry, as a JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default)]
    pub metadata: Option<Object>,
}

/// The default type of an entry.
fn note() -> ContextType {
    ContextType::Note
}

/// Replace a context entry with a newer one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextSupersede {
    /// Older entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Newer text; the type is that of the older entry
    #[arg(long, value_name = "TEXT")]
    pub content: Text,
}

/// Remove the text of a context entry from the plan (for example a secret); git history, clones and this machine's journal
/// may still contain it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextRedact {
    /// Entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Reason
    #[arg(long, value_name = "TEXT")]
    pub reason: Text,
}

/// Claim a specific task: lease, owner and in_progress in one step
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Claim {
    /// Task (default: the best ready one)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Duration of the lease: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// Consider only this branch and this worktree
    #[arg(long)]
    pub here: bool,
}

/// Complete the task you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Done {
    /// Task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Outcome; recorded as a context entry of type outcome
    #[arg(long, value_name = "TEXT")]
    pub outcome: Option<Text>,
    /// Criterion that is met: its number from 1, or its text (repeatable)
    #[arg(long, value_name = "N|TEXT")]
    pub met: Vec<String>,
    /// Mark all acceptance criteria as met
    #[arg(long)]
    pub all_met: bool,
    /// Override unfinished blockers, children and unmet acceptance criteria, for this reason; recorded
    #[arg(long, value_name = "REASON")]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Release the task you hold: it becomes open, without an owner
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Release {
    /// Task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Acquire the lease of a task without changing its status
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseAcquire {
    /// Task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// Agent that gets the lease (default: yourself)
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// Session that gets the lease (default: yours)
    #[arg(long, value_name = "SESSION")]
    pub session_id: Option<Id>,
    /// Duration of the lease: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Renew a lease you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseRenew {
    /// Lease, or its task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Duration from now on: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Release a lease without changing the task's status
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRelease {
    /// Lease, or its task
    #[command(flatten)]
    pub id: TaskRef,
}

/// Register an agent, or change its data
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentRegister {
    /// Name: a-z, 0-9, dot, underscore, hyphen (default: yourself)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Role: planner, executor, reviewer, coordinator, or another word
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Data about the agent, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Public key: ed25519: and 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
}

/// Start a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionStart {
    /// Agent of the session (default: yourself)
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// Data to keep with the session, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
}

/// Record a sign of life of a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionHeartbeat {
    /// Session (default: the one you act in, by --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// End a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionEnd {
    /// Session (default: the one you act in, by --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// Restore a value that lost to a concurrent one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConflictsRestore {
    /// Event whose value lost
    #[command(flatten)]
    pub event: EventRef,
    /// Restore only this field
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub field: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Confirm the present value against a concurrent one, which ends the conflict
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConflictsKeep {
    /// Event whose value lost, or whose value counts
    #[command(flatten)]
    pub event: EventRef,
    /// Confirm only this field
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub field: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Revert the changes of an event with new events; values that were written again since are skipped
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Event
    #[command(flatten)]
    pub event: EventRef,
    /// Override unfinished blockers, children and unmet acceptance criteria, for this reason; recorded
    #[arg(long, value_name = "REASON")]
    #[serde(default)]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Several changes at once: all of them or none
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Batch {
    /// The changes, in their order
    pub ops: Vec<BatchOp>,
}

/// One step of a batch.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(with = "Step")]
pub struct BatchOp {
    /// A name by which later steps may refer to what this one creates, as `$name`.
    pub name: Option<String>,
    /// The change.
    pub command: Command,
}

/// A step of a batch as JSON has it.
#[derive(Serialize, JsonSchema)]
struct Step {
    /// The operation, such as task.create
    op: &'static str,
    /// A name by which later steps may refer to what this one made, as $name
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its arguments
    args: Value,
}

impl Serialize for BatchOp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Step { op: self.command.op(), name: self.name.clone(), args: self.command.to_json() }.serialize(serializer)
    }
}

impl Batch {
    /// Reads a batch: an array of steps, or an object with `ops`.
    ///
    /// Errors: `ERR_USAGE` and `ERR_VALIDATION` with the number of the step.
    pub fn from_json(value: &Value) -> Result<Self> {
        let steps = match value {
            Value::Array(steps) => steps,
            Value::Object(map) => map
                .get("ops")
                .and_then(Value::as_array)
                .ok_or_else(|| Error::usage("there is no list \"ops\"").hint("see agentpm batch --help"))?,
            _ => return Err(Error::usage("it holds no operations").hint("see agentpm batch --help")),
        };
        let ops = steps.iter().enumerate().map(|(n, step)| BatchOp::from_json(n + 1, step));
        ops.collect::<Result<_>>().map(|ops| Batch { ops })
    }
}

impl BatchOp {
    fn from_json(number: usize, step: &Value) -> Result<Self> {
        let wrong =
            |what: &str| Error::usage(format!("step {number}: {what}")).hint("a step has op, args and, if wanted, as");
        let map = step.as_object().ok_or_else(|| wrong("it is no object"))?;
        if let Some(key) = map.keys().find(|key| !["op", "as", "args"].contains(&key.as_str())) {
            return Err(wrong(&format!("it has an unknown key {key:?}")));
        }
        let op = map.get("op").and_then(Value::as_str).ok_or_else(|| wrong("op is missing"))?;
        let name = map.get("as").map(|name| name.as_str().map(str::to_owned).ok_or_else(|| wrong("as is no name")));
        let args = map.get("args").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        let command = match op {
            "batch" => return Err(wrong("a batch holds no other batch")),
            op => Command::from_json(op, args).map_err(|mut e| {
                e.message = format!("step {number}: {}", e.message);
                e
            })?,
        };
        Ok(BatchOp { name: name.transpose()?, command })
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Batch::from_json(&Value::deserialize(deserializer)?).map_err(|e| serde::de::Error::custom(e.message))
    }
}

operations! {
    /// A change of the plan.
    Command {
        TaskCreate = "task.create",
        TaskUpdate = "task.update",
        TaskTransition = "task.transition",
        TaskBlock = "task.block",
        TaskUnblock = "task.unblock",
        TaskRelate = "task.relate",
        TaskUnrelate = "task.unrelate",
        TaskArchive = "task.archive",
        TaskReopen = "task.reopen",
        TaskVerify = "task.verify",
        ProgressAdd = "progress.add",
        ProgressComplete = "progress.complete",
        ProgressReopen = "progress.reopen",
        ContextAdd = "context.add",
        ContextSupersede = "context.supersede",
        ContextRedact = "context.redact",
        Claim = "claim",
        Done = "done",
        Release = "release",
        LeaseAcquire = "lease.acquire",
        LeaseRenew = "lease.renew",
        LeaseRelease = "lease.release",
        AgentRegister = "agent.register",
        SessionStart = "session.start",
        SessionHeartbeat = "session.heartbeat",
        SessionEnd = "session.end",
        ConflictsRestore = "conflicts.restore",
        ConflictsKeep = "conflicts.keep",
        Undo = "undo",
        Batch = "batch",
    }
}
