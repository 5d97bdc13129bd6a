//! Every change agentpm can make, defined once. An interface builds a [`Command`] and nothing else.
//!
//! Guarantees that the arguments of the command line, the keys of a batch and the published schema are the same fields.
//! The doc comments are the help texts.
//! Leaves to others: whether a change is allowed (`rules::decide`), and how it is carried out (`engine`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{
    Duration, EventRef, Object, OptionalSessionRef, OptionalTaskRef, Patch, Ref, Refs, TaskRef, TaskTexts, Text,
    ThreadRef, one_or_many,
};
pub use crate::model::batch::{Batch, BatchOp};
use crate::model::context::ContextType;
pub use crate::model::field_args::{FieldArgs, TaskCreate, TaskUpdate};
use crate::model::id::Id;
use crate::model::message_args::{Body, ResolutionChoice, TaskMessage, ThreadMessage};
use crate::model::operation::operations;
use crate::model::plan::PlanTask;
use crate::model::relationship::RelationType;
use crate::model::task::Status;

/// Conditions and reasons that a change of a task may carry.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Guard {
    /// Refuse the change unless you still hold this lease
    #[arg(long, value_name = "LEASE")]
    pub lease_id: Option<Ref>,
    /// Refuse the change unless the task has exactly this many events
    #[arg(long, value_name = "N")]
    pub expected_version: Option<u64>,
    /// Change the task despite another agent's lease, for this reason; recorded
    #[arg(long = "override", value_name = "REASON", allow_hyphen_values = true)]
    #[serde(rename = "override")]
    pub override_reason: Option<Text>,
    /// Reason for the change; recorded in the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub why: Option<Text>,
}

/// Split a task into parts, which become its children; the task goes back to open and its lease is released
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskSplit {
    /// Task to split
    #[command(flatten)]
    pub id: TaskRef,
    /// Title of a part (repeatable)
    #[arg(long, value_name = "TITLE", allow_hyphen_values = true)]
    #[serde(default, deserialize_with = "one_or_many")]
    pub title: Vec<Text>,
    /// Parts, each a task as in a plan
    #[arg(skip)]
    #[serde(default)]
    pub into: Vec<PlanTask>,
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
    /// Ignore unfinished blockers, unfinished children and unmet criteria, for this reason; recorded
    #[arg(long, value_name = "REASON", allow_hyphen_values = true)]
    #[serde(default)]
    pub force: Option<Text>,
    /// With --status cancelled: cancel all open descendants too, or keep them as they are
    #[arg(long, value_name = "cancel|keep")]
    #[serde(default)]
    pub children: Option<ChildrenOfCancelled>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// What becomes of the open descendants of a task that is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ChildrenOfCancelled {
    /// They are cancelled with it.
    Cancel,
    /// They stay as they are.
    Keep,
}

/// Make a task wait for another task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskBlock {
    /// Task that waits
    #[command(flatten)]
    pub id: TaskRef,
    /// Task to wait for (repeatable)
    #[arg(long, value_name = "ID", required = true)]
    #[serde(deserialize_with = "one_or_many")]
    pub by: Vec<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Stop a task from waiting for another task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskUnblock {
    /// The task that waits
    #[command(flatten)]
    pub id: TaskRef,
    /// Task it waits for (repeatable) (default: all of them)
    #[arg(long, value_name = "ID")]
    #[serde(default)]
    pub by: Vec<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Relate a task to another task
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TaskRelate {
    /// The source task: the parent, the blocker, or the task that relates to the other
    #[command(flatten)]
    pub id: TaskRef,
    /// Other task
    #[arg(long, value_name = "ID")]
    pub to: Ref,
    /// Relationship: parent_of, blocks, relates_to or duplicates
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// Metadata, as a JSON object
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
    /// The task whose log records the relationship (default: found by the id of the relationship)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
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
    /// Reason why the task is not done
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Text,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Mark acceptance criteria as met, or review a completed task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskVerify {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// Criterion that is met: its number from 1, or its text (repeatable)
    #[arg(long, value_name = "N|TEXT", allow_hyphen_values = true)]
    pub criterion: Vec<String>,
    /// Mark all criteria
    #[arg(long)]
    pub all: bool,
    /// Mark the criteria as unmet instead
    #[arg(long)]
    pub unmet: bool,
    /// Record a review that failed
    #[arg(long, conflicts_with_all = ["criterion", "all", "unmet"])]
    pub fail: bool,
    /// Accept the completion of a task, so that those that wait for its review may begin
    #[arg(long, conflicts_with_all = ["criterion", "all", "unmet", "fail"])]
    pub accept: bool,
    /// Reject the completion of a task, and open it again for its owner; needs --why
    #[arg(long, conflicts_with_all = ["criterion", "all", "unmet", "fail", "accept"])]
    pub reject: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Add a progress item
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressAdd {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskTexts,
    /// Add the item as completed
    #[arg(long)]
    #[serde(default)]
    pub done: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Complete progress items
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProgressComplete {
    /// Progress items of one task
    #[command(flatten)]
    pub id: Refs,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Reopen a progress item
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

/// Add a context entry: a decision, an attempt, an outcome, a note
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContextAdd {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskTexts,
    /// Type: decision, rationale, attempt, outcome, blocker, note, reference or user_input
    #[arg(long = "type", value_name = "TYPE", default_value = "note")]
    #[serde(rename = "type", default = "note")]
    pub kind: ContextType,
    /// Metadata, as a JSON object
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
    /// Text of the newer entry; its type is that of the older one
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub content: Text,
}

/// Remove the text of a context entry from the plan; git history, other clones and this clone's journal may still hold it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ContextRedact {
    /// Entry
    #[command(flatten)]
    pub id: TaskRef,
    /// Reason
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub reason: Text,
}

/// A proposed change of a task.
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Proposal {
    /// Proposed change of the task, as a JSON Patch (RFC 6902); on the command line a file, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    pub patch: Option<Patch>,
    /// Proposed value of a field (repeatable); metadata.NAME sets one entry of the metadata
    #[arg(long, value_name = "FIELD=VALUE", allow_hyphen_values = true)]
    pub set: Vec<String>,
}

/// Open a thread about a task, with or without a proposed change
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadOpen {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: TaskMessage,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub proposal: Proposal,
    /// Time to live: seconds, or 90s, 10m, 2h, 1d (default: [thread] ttl)
    #[arg(long, value_name = "DURATION")]
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// Permission that an agent needs to resolve it (roles.yml)
    #[arg(long, value_name = "PERM")]
    #[serde(default)]
    pub need_perm: Option<String>,
    /// Least precedence that an agent needs to resolve it (roles.yml)
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    #[serde(default)]
    pub need_precedence: Option<i64>,
    /// Keep the task on offer while the thread is open
    #[arg(long)]
    #[serde(default)]
    pub no_hold: bool,
}

/// Reply in a thread, with or without a counter-proposal
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadReply {
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub what: ThreadMessage,
    /// Message that it answers (default: the first)
    #[arg(long, value_name = "MESSAGE")]
    #[serde(default)]
    pub parent: Option<Ref>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub proposal: Proposal,
}

/// Resolve a thread: accept a proposal, reject it, or let another thread take its place
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ThreadResolve {
    /// Thread
    #[command(flatten)]
    pub thread: ThreadRef,
    /// Resolution: accept, reject or supersede
    #[command(flatten)]
    pub resolution: ResolutionChoice,
    /// Message whose proposal is accepted (default: the newest proposal)
    #[arg(long, value_name = "MESSAGE")]
    #[serde(default)]
    pub message: Option<Ref>,
    /// Change to apply instead of the proposed one, as a JSON Patch; on the command line a file, or - for standard input
    #[arg(long, value_name = "FILE")]
    #[serde(default)]
    pub patch: Option<Patch>,
    /// Thread that takes its place
    #[arg(long, value_name = "THREAD")]
    #[serde(default)]
    pub by: Option<Ref>,
    /// Reason; recorded in the history
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    #[serde(default)]
    pub why: Option<Text>,
}

/// Pass a thread on to the owner of its task, or to another agent
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadEscalate {
    /// Thread
    #[command(flatten)]
    pub thread: ThreadRef,
    /// Agent that is to decide (default: the owner of the task, or [thread] escalate_to)
    #[arg(long, value_name = "AGENT")]
    #[serde(default)]
    pub to: Option<String>,
}

/// Claim a specific task: take its lease, become its owner, set it in progress
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Claim {
    /// The task (default: the best ready task)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Time to live of the lease: seconds, or 90s, 10m, 2h (default: [lease] ttl_seconds)
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// Ignore other branches and worktrees
    #[arg(long)]
    pub here: bool,
    /// Claim the task although its files overlap with work in progress, for this reason; recorded
    #[arg(long = "override", value_name = "REASON", allow_hyphen_values = true)]
    #[serde(rename = "override")]
    pub override_reason: Option<Text>,
    /// If no task is named: claim one though you hold another
    #[arg(skip)]
    pub another: bool,
    /// If no task is named: offer no completed tasks for review
    #[arg(skip)]
    pub no_reviews: bool,
}

/// Complete the task you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Done {
    /// The task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Outcome; recorded as a context entry
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub outcome: Option<Text>,
    /// Criterion that is met: its number from 1, or its text (repeatable)
    #[arg(long, value_name = "N|TEXT", allow_hyphen_values = true)]
    pub met: Vec<String>,
    /// Mark all acceptance criteria as met
    #[arg(long)]
    pub all_met: bool,
    /// Ignore unfinished blockers, unfinished children and unmet criteria, for this reason; recorded
    #[arg(long, value_name = "REASON", allow_hyphen_values = true)]
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
    /// The task (default: the one you hold)
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
    /// Agent that gets the lease (default: you)
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// Session of the lease (default: yours)
    #[arg(long, value_name = "SESSION")]
    pub session_id: Option<Id>,
    /// Time to live: seconds, or 90s, 10m, 2h (default: [lease] ttl_seconds)
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Renew a lease you hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseRenew {
    /// The lease, or its task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Time to live from now on: seconds, or 90s, 10m, 2h (default: [lease] ttl_seconds)
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
}

/// Release a lease without changing the status of its task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LeaseRelease {
    /// Lease, or its task
    #[command(flatten)]
    pub id: TaskRef,
}

/// Register an agent, or change its registration
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentRegister {
    /// Name: a-z, 0-9, dot, underscore, hyphen (default: you)
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Role: planner, executor, reviewer, coordinator, or another word
    #[arg(long, value_name = "ROLE")]
    pub role: Option<String>,
    /// Metadata, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
    /// Public key: ed25519: and 64 hexadecimal digits
    #[arg(long, value_name = "KEY")]
    pub public_key: Option<String>,
}

/// Send a message to all agents, to one agent, or to the agents of a role
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Broadcast {
    /// Text of the message
    #[command(flatten)]
    pub body: Body,
    /// Only to this agent
    #[arg(long, value_name = "AGENT", conflicts_with = "role")]
    #[serde(default)]
    pub to: Option<String>,
    /// Only to the agents of this role
    #[arg(long, value_name = "ROLE")]
    #[serde(default)]
    pub role: Option<String>,
}

/// Start a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionStart {
    /// Agent of the session (default: you)
    #[arg(long, value_name = "AGENT")]
    pub agent_id: Option<String>,
    /// Metadata, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub metadata: Option<Object>,
}

/// Record that a session is alive
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionHeartbeat {
    /// The session (default: --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// End a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionEnd {
    /// The session (default: --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// Restore a value that lost to a concurrent one, as a new change
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

/// Confirm the current value of a field, which ends the conflict
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConflictsKeep {
    /// The event whose value lost, or the one whose value is current
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

/// Undo an event with new events; a field that was written again since stays as it is
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Undo {
    /// Event
    #[command(flatten)]
    pub event: EventRef,
    /// Ignore unfinished blockers, unfinished children and unmet criteria, for this reason; recorded
    #[arg(long, value_name = "REASON", allow_hyphen_values = true)]
    #[serde(default)]
    pub force: Option<Text>,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// The list of all changes, as the input of another macro: whatever must handle each of them is generated from it.
macro_rules! commands {
    ($with:ident) => {
        $with! {
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
                TaskSplit = "task.split",
                ProgressAdd = "progress.add",
                ProgressComplete = "progress.complete",
                ProgressReopen = "progress.reopen",
                ContextAdd = "context.add",
                ContextSupersede = "context.supersede",
                ContextRedact = "context.redact",
                ThreadOpen = "thread.open",
                ThreadReply = "thread.reply",
                ThreadResolve = "thread.resolve",
                ThreadEscalate = "thread.escalate",
                Claim = "claim",
                Done = "done",
                Release = "release",
                LeaseAcquire = "lease.acquire",
                LeaseRenew = "lease.renew",
                LeaseRelease = "lease.release",
                AgentRegister = "agent.register",
                Broadcast = "broadcast",
                SessionStart = "session.start",
                SessionHeartbeat = "session.heartbeat",
                SessionEnd = "session.end",
                ConflictsRestore = "conflicts.restore",
                ConflictsKeep = "conflicts.keep",
                Undo = "undo",
                Batch = "batch",
            }
        }
    };
}
pub(crate) use commands;

commands!(operations);
