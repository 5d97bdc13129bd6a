//! Every change agentpm can make, defined once. An interface builds a [`Command`] and nothing else.
//!
//! Guarantees that the arguments of the command line, the keys of a batch and the published schema are the same fields.
//! The doc comments are the help texts.
//! Leaves to others: whether a change is allowed (`rules::decide`), and how it is carried out (`engine`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{EventRef, Object, OptionalTaskRef, Ref, TaskRef, Text, one_or_many};
pub use crate::model::batch::{Batch, BatchOp};
pub use crate::model::field_args::{FieldArgs, TaskCreate, TaskUpdate};
use crate::model::message_args::ReopenReason;
use crate::model::operation::operations;
pub use crate::model::part_args::{
    ContextAdd, ContextRedact, ContextSupersede, ProgressAdd, ProgressComplete, ProgressReopen, Proposal,
    ThreadEscalate, ThreadOpen, ThreadReply, ThreadResolve,
};
use crate::model::plan::PlanTask;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
pub use crate::model::work_args::{
    AgentRegister, Broadcast, Claim, Done, LeaseAcquire, LeaseRelease, LeaseRenew, Release, SessionEnd,
    SessionHeartbeat, SessionStart,
};

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
    /// Task to split (default: the one you hold)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
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
#[command(after_help = "Example:\n  agentpm task transition 7XK2Q1 --status cancelled --why 'not needed any more'")]
pub struct TaskTransition {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// New status
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    pub status: Status,
    /// Ignore what withholds the task, unfinished blockers and children, and unmet criteria, for this reason; recorded
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
#[command(after_help = "Example:\n  agentpm task block 7XK2Q1 --by 3MZ8TT")]
pub struct TaskBlock {
    /// Task that waits (default: the one you hold)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
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
#[command(after_help = "Example:\n  agentpm task unblock 7XK2Q1 --by 3MZ8TT")]
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
#[command(after_help = "Example:\n  agentpm task relate 7XK2Q1 --to 3MZ8TT --type relates_to")]
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
#[command(after_help = "Example:\n  agentpm task unrelate 7XK2Q1 --relationship 3MZ8TT")]
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
#[command(after_help = "Example:\n  agentpm task archive 7XK2Q1")]
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
#[command(after_help = "Example:\n  agentpm task reopen 7XK2Q1 --reason 'the fix did not hold'")]
pub struct TaskReopen {
    /// Task
    #[command(flatten)]
    pub id: TaskRef,
    /// Reason why the task is not done
    #[command(flatten)]
    pub reason: ReopenReason,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
}

/// Mark acceptance criteria as met, or review a completed task
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[command(
    after_help = "Examples:\n  agentpm task verify 7XK2Q1 --criterion 1\n  agentpm task verify 7XK2Q1 --accept\n  agentpm task verify 7XK2Q1 --reject --why 'no test'"
)]
pub struct TaskVerify {
    /// Task (default: the one you hold)
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Criteria that are met: numbers from 1, such as 1,2, or a text (repeatable)
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
    #[arg(long, requires = "why", conflicts_with_all = ["criterion", "all", "unmet", "fail", "accept"])]
    pub reject: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub guard: Guard,
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
    /// Ignore what withholds the task, unfinished blockers and children, and unmet criteria, for this reason; recorded
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
