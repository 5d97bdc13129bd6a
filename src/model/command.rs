//! Every change agentpm can make, defined once.
//!
//! Promises: a door builds a [`Command`] and nothing else; arguments of the command line, keys of a batch and the published
//! schema are the same fields with the same words. Doc comments are the help texts.
//! Refuses to know: whether a change is allowed (`rules::decide`) and how it is carried out (`engine`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::context::ContextType;
use crate::model::id::Id;
use crate::model::operation::operations;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::model::words::{
    Duration, EventRef, Object, OptionalSessionRef, OptionalTaskRef, Ref, TaskRef, Text, one_or_many,
};

/// What a change of a task may carry besides the change itself.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guard {
    /// Refuse unless this lease is still yours (id of a lease)
    #[arg(long, value_name = "LEASE")]
    pub lease_id: Option<Ref>,
    /// Refuse unless the task has just this many events
    #[arg(long, value_name = "N")]
    pub expected_version: Option<u64>,
    /// Change it past somebody else's lease, for this reason; recorded
    #[arg(long = "override", value_name = "REASON")]
    #[serde(rename = "override")]
    pub override_reason: Option<Text>,
    /// Why, in a few words; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<Text>,
}

/// Create a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskCreate {
    /// One line that says what it is
    #[arg(long, value_name = "TEXT")]
    pub title: Text,
    /// What is to be reached and why, in prose
    #[arg(long, value_name = "TEXT")]
    pub intent: Option<Text>,
    /// feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// -5 to 5; higher is sooner
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// The planning unit it is part of
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// A word to find it by (repeatable)
    #[arg(long = "label", value_name = "WORD")]
    pub labels: Vec<String>,
    /// A task that must be finished first (repeatable)
    #[arg(long, value_name = "ID")]
    pub blocked_by: Vec<Ref>,
    /// A criterion that must be met before it is done (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub acceptance: Vec<Text>,
    /// A path or glob it expects to touch (repeatable)
    #[arg(long = "file", value_name = "PATH")]
    pub files: Vec<String>,
    /// An agent who wants to know (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Vec<String>,
    /// Expected effort, in your own words
    #[arg(long, value_name = "TEXT")]
    pub estimate: Option<String>,
    /// When it should be done
    #[arg(long, value_name = "TIME")]
    pub due: Option<Time>,
    /// Hand it out no sooner than this
    #[arg(long, value_name = "TIME")]
    pub defer_until: Option<Time>,
    /// The right an agent needs to be given it
    #[arg(long, value_name = "PERM")]
    pub need_perm: Option<String>,
    /// The least precedence an agent needs to be given it
    #[arg(long, value_name = "N")]
    pub need_precedence: Option<i64>,
    /// Anything else, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// The same key again returns the task of the first call instead of a second one
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Why, in a few words; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub why: Option<Text>,
}

/// Change fields of a task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskUpdate {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// One line that says what it is
    #[arg(long, value_name = "TEXT")]
    pub title: Option<Text>,
    /// What is to be reached and why, in prose
    #[arg(long, value_name = "TEXT")]
    pub intent: Option<Text>,
    /// feature, bugfix, refactor, docs or ops
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// -5 to 5; higher is sooner
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i64>,
    /// The planning unit it is part of
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// Who works on it
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// All its labels anew (repeatable)
    #[arg(long = "label", value_name = "WORD")]
    pub labels: Option<Vec<String>>,
    /// One more label (repeatable)
    #[arg(long = "add-label", value_name = "WORD")]
    pub add_labels: Vec<String>,
    /// One label less (repeatable)
    #[arg(long = "remove-label", value_name = "WORD")]
    pub remove_labels: Vec<String>,
    /// All its acceptance criteria anew (repeatable)
    #[arg(long, value_name = "TEXT")]
    pub acceptance: Option<Vec<Text>>,
    /// One more acceptance criterion (repeatable)
    #[arg(long = "add-acceptance", value_name = "TEXT")]
    pub add_acceptance: Vec<Text>,
    /// All its paths or globs anew (repeatable)
    #[arg(long = "file", value_name = "PATH")]
    pub files: Option<Vec<String>>,
    /// All its watchers anew (repeatable)
    #[arg(long = "watcher", value_name = "AGENT")]
    pub watchers: Option<Vec<String>>,
    /// Expected effort, in your own words
    #[arg(long, value_name = "TEXT")]
    pub estimate: Option<String>,
    /// When it should be done
    #[arg(long, value_name = "TIME")]
    pub due: Option<Time>,
    /// Hand it out no sooner than this
    #[arg(long, value_name = "TIME")]
    pub defer_until: Option<Time>,
    /// The right an agent needs to be given it
    #[arg(long, value_name = "PERM")]
    pub need_perm: Option<String>,
    /// The least precedence an agent needs to be given it
    #[arg(long, value_name = "N")]
    pub need_precedence: Option<i64>,
    /// Entries of the metadata, as a JSON object; null takes one out
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Empty a field: intent, parent, owner, labels, due, … (repeatable)
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
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// The new status
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    pub status: Status,
    /// Pass unfinished blockers, children and unmet acceptance, for this reason; recorded
    #[arg(long, value_name = "REASON")]
    #[serde(default)]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Say that a task must wait for another
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskBlock {
    /// The task that waits
    #[command(flatten)]
    pub id: TaskRef,
    /// The task it waits for (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    #[serde(deserialize_with = "one_or_many")]
    pub by: Vec<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Say that a task need not wait for another any more
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnblock {
    /// The task that waited
    #[command(flatten)]
    pub id: TaskRef,
    /// The task it waited for (repeatable; all of them where absent)
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
    /// The task that stands first: the parent, the blocker, or the one that speaks
    #[command(flatten)]
    pub id: TaskRef,
    /// The other task
    #[arg(long, value_name = "ID")]
    pub to: Ref,
    /// parent_of, blocks, relates_to or duplicates
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// Anything worth keeping with it, as a JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default)]
    pub metadata: Option<Object>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Take a relationship away
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnrelate {
    /// The task whose log holds the relationship
    #[command(flatten)]
    pub id: TaskRef,
    /// The relationship's id, or the other task's
    #[arg(long, value_name = "ID")]
    pub relationship: Ref,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Put a completed or cancelled task away
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskArchive {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Open a closed task again
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskReopen {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// Why it is not done after all
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
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// A criterion that is met: its number from 1, or its words (repeatable)
    #[arg(long, value_name = "N|TEXT")]
    pub criterion: Vec<String>,
    /// All criteria are met
    #[arg(long)]
    pub all: bool,
    /// Take the mark off the named criteria instead
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

/// Note a step of the work
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressAdd {
    /// The task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// The step, in words (repeatable)
    #[arg(long, value_name = "TEXT", required = true)]
    #[serde(deserialize_with = "one_or_many")]
    pub content: Vec<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Tick a step off
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressComplete {
    /// The progress item
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Take the tick off a step
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressReopen {
    /// The progress item
    #[command(flatten)]
    pub id: TaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Record something worth knowing
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextAdd {
    /// The task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// decision, rationale, attempt, outcome, blocker, note, reference or user_input
    #[arg(long = "type", value_name = "TYPE", default_value = "note")]
    #[serde(rename = "type", default = "note")]
    pub kind: ContextType,
    /// The text
    #[arg(long, value_name = "TEXT")]
    pub content: Text,
    /// Anything worth keeping with it, as a JSON object
    #[arg(long, value_name = "JSON")]
    #[serde(default)]
    pub metadata: Option<Object>,
}

/// The type of an entry whose type is not said.
fn note() -> ContextType {
    ContextType::Note
}

/// Replace a context entry by a newer one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextSupersede {
    /// The older entry
    #[command(flatten)]
    pub id: TaskRef,
    /// The newer text; its type is the older one's
    #[arg(long, value_name = "TEXT")]
    pub content: Text,
}

/// Take the text of a context entry out of the plan (a secret, say); git history, clones and this machine's journal may still
/// hold it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextRedact {
    /// The entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub reason: Text,
}

/// Take one certain task: lease, owner and in_progress in one step
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Claim {
    /// The task; the best ready one where absent
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Time to live of the lease: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// Look at this branch and this worktree alone
    #[arg(long)]
    pub here: bool,
}

/// Complete the task you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Done {
    /// The task; the one you hold where absent
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// What came of it; kept as a context entry of type outcome
    #[arg(long, value_name = "TEXT")]
    pub outcome: Option<Text>,
    /// A criterion that is met: its number from 1, or its words (repeatable)
    #[arg(long, value_name = "N|TEXT")]
    pub met: Vec<String>,
    /// All acceptance criteria are met
    #[arg(long)]
    pub all_met: bool,
    /// Pass unfinished blockers, children and unmet acceptance, for this reason; recorded
    #[arg(long, value_name = "REASON")]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Give the task you hold back: open again, nobody's
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Release {
    /// The task; the one you hold where absent
    #[command(flatten)]
    pub id: OptionalTaskRef,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Take the lease of a task without changing its status
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseAcquire {
    /// The task
    #[command(flatten)]
    pub task_id: TaskRef,
    /// For whom; yourself where absent
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// In which session; yours where absent
    #[arg(long, value_name = "SESSION")]
    pub session_id: Option<Id>,
    /// Time to live: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Prolong a lease you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseRenew {
    /// The lease, or its task; the one you hold where absent
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Time to live from now on: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Give a lease back without changing the task's status
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRelease {
    /// The lease, or its task
    #[command(flatten)]
    pub id: TaskRef,
}

/// Introduce an agent, or change what is known of it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentRegister {
    /// Its name: a-z, 0-9, dot, underscore, hyphen; yourself where absent
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// planner, executor, reviewer, coordinator, or another word
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Anything it wants to be known by, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Its public key: ed25519: and 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
}

/// Begin a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionStart {
    /// Whose session; yours where absent
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// Anything worth keeping with it, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
}

/// Give a sign of life
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionHeartbeat {
    /// The session; the one you act in (--session, AGENTPM_SESSION) where absent
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// End a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionEnd {
    /// The session; the one you act in (--session, AGENTPM_SESSION) where absent
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// Put a value back that lost to a concurrent one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConflictsRestore {
    /// The event whose value lost
    #[command(flatten)]
    pub event: EventRef,
    /// Only this one of the fields it lost
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub field: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Confirm the value that stands against a concurrent one, which ends the conflict
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConflictsKeep {
    /// The event whose value lost, or the one whose value stands
    #[command(flatten)]
    pub event: EventRef,
    /// Only this one of the fields in conflict
    #[arg(long, value_name = "NAME")]
    #[serde(default)]
    pub field: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Put back what an event changed, by new events; what was written again since stays
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// The event
    #[command(flatten)]
    pub event: EventRef,
    /// Pass unfinished blockers, children and unmet acceptance, for this reason; recorded
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
    /// A name by which later steps may refer to what this one made, as `$name`.
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
