//! Arguments of what agents do around their work: claims, leases, registration, messages, sessions.
//!
//! The doc comments are the help texts.
//! Leaves to others: the list of changes, and those of a task itself (`command`).

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{Duration, Object, OptionalSessionRef, OptionalTaskRef, TaskRef, Text};
use crate::model::command::Guard;
use crate::model::id::Id;
use crate::model::message_args::Body;

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
    /// If no task is named: hand out completed tasks for review, and no others
    #[arg(skip)]
    pub reviews: bool,
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
    /// Criteria that are met: numbers from 1, such as 1,2, or a text (repeatable)
    #[arg(long, value_name = "N|TEXT", allow_hyphen_values = true)]
    pub met: Vec<String>,
    /// Mark all acceptance criteria as met
    #[arg(long)]
    pub all_met: bool,
    /// Ignore what withholds the task, unfinished blockers and children, and unmet criteria, for this reason; recorded
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
#[command(after_help = "Example:\n  agentpm lease acquire 7XK2Q1 --ttl 30m")]
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
#[command(after_help = "Example:\n  agentpm lease renew 7XK2Q1")]
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
#[command(after_help = "Example:\n  agentpm lease release 7XK2Q1")]
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
#[command(after_help = "Example:\n  export AGENTPM_SESSION=$(agentpm session start --agent-id codex-1 --quiet)")]
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
#[command(after_help = "Examples:\n  agentpm session heartbeat\n  agentpm session heartbeat 7XK2Q1")]
pub struct SessionHeartbeat {
    /// The session (default: --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}

/// End a session
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[command(after_help = "Examples:\n  agentpm session end\n  agentpm session end 7XK2Q1")]
pub struct SessionEnd {
    /// The session (default: --session or AGENTPM_SESSION)
    #[command(flatten)]
    pub session_id: OptionalSessionRef,
}
