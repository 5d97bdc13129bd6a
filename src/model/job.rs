//! Work on the store itself, defined once: sync, repair, plans of other tools.
//!
//! As with [`crate::model::command`], the arguments of every interface are these fields, and the doc comments are the help texts.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::Duration;
use crate::model::command::AgentRegister;
use crate::model::id::Id;
use crate::model::operation::operations;

/// Commit the plan, bring in what the upstream has, and push
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sync {
    /// Only say which tasks would change; nothing is committed, brought in or pushed
    #[arg(long)]
    pub plan: bool,
    /// Commit the plan and bring in what the upstream has, but push nothing
    #[arg(long)]
    pub no_push: bool,
    /// Where the branch has no upstream: push it under its own name and remember that
    #[arg(long)]
    pub set_upstream: bool,
}

/// Give the events that arrived here after a certain one, in order of arrival
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyncPull {
    /// The last event that was seen; from the first on where absent
    #[arg(long, value_name = "EVENT")]
    pub since_event_id: Option<Id>,
    /// Maximum number of events
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
}

/// Record events of another replica; those that are here already change nothing
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SyncPush {
    /// An answer of sync pull, a JSON array of events, or one event a line
    pub events: String,
}

/// Repair what git left of the plan after a merge, rebase, cherry-pick or stash, record hand edits, and git add the repaired files
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resolve {
    /// Stage what is written, and the files of tasks that are staged already, in git's index, also where git does not say that a
    /// merge is under way
    #[arg(long)]
    pub staged: bool,
}

/// Restore acknowledged events that no branch or worktree holds any more
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Recover {
    /// These events, with those they came from
    pub events: Vec<String>,
    /// All lost events of this task
    pub task: Option<String>,
    /// All of them
    pub all: bool,
}

/// Repair what can be repaired without a choice, and record hand edits as events
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LintFix {
    /// Drop comments in task.yaml instead of keeping them as a note
    pub drop_comments: bool,
}

/// Check the store, and what happened since a revision
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LintSince {
    /// The revision
    pub base: String,
}

/// Import the plan of another tool
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    /// arbeit, taskmaster or beads
    pub from: String,
    /// The plan, as that tool writes it
    pub text: String,
}

/// Make the tasks of a plan; applying it again changes only what changed in it
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanApply {
    /// The plan, in YAML
    pub plan: String,
    /// Say what would change, and change nothing
    #[serde(default)]
    pub dry_run: bool,
}

/// Register an agent with a new key, which this clone keeps: from then on what the agent does here is signed
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// The agent
    #[serde(flatten)]
    pub agent: AgentRegister,
}

/// Show, or claim, the next task as soon as there is one
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextWait {
    /// Maximum time to wait: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Duration,
    /// Claim it: lease, owner and in_progress in one step
    #[arg(long)]
    #[serde(default)]
    pub claim: bool,
    /// Give the terms of the score, and the reasons of what is not ready
    #[arg(long)]
    #[serde(default)]
    pub explain: bool,
    /// Look at this branch and this worktree alone
    #[arg(long)]
    #[serde(default)]
    pub here: bool,
    /// Time to live of the lease: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    #[serde(default)]
    pub ttl: Option<Duration>,
}

operations! {
    /// Work on the store itself.
    Job {
        NextWait = "next.wait",
        Sync = "sync",
        SyncPull = "sync.pull",
        SyncPush = "sync.push",
        Resolve = "resolve",
        Recover = "recover",
        LintFix = "lint.fix",
        LintSince = "lint.since",
        Import = "import",
        PlanApply = "plan.apply",
        NewKey = "agent.new_key",
    }
}
