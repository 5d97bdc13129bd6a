//! Jobs on the store itself, defined once: sync, repair, plans of other tools.
//!
//! As with [`crate::model::command`], the arguments of every interface are these fields, and the doc comments are the help texts.
//! Leaves to others: doing them (`engine`).

use clap::{Args, ValueEnum};
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{Duration, Text, one_or_many};
use crate::model::command::{AgentRegister, Claim};
use crate::model::id::Id;
use crate::model::operation::operations;
use crate::model::query::{Inbox, Next};
use crate::model::time::Time;

/// Commit the plan, merge the upstream, and push
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sync {
    /// Show which tasks would change; commit, merge and push nothing
    #[arg(long)]
    pub plan: bool,
    /// Commit the plan and merge the upstream, but do not push
    #[arg(long)]
    pub no_push: bool,
    /// If the branch has no upstream, push it under its own name and set that as its upstream
    #[arg(long)]
    pub set_upstream: bool,
}

/// Print the events that arrived here after a cursor, in order of arrival
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SyncPull {
    /// Last event that was seen (default: start with the first)
    #[arg(long, value_name = "EVENT")]
    pub since_event_id: Option<Id>,
    /// Maximum number of events (default: 500, in at most 64 kB)
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Print all at once
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// Record events of another replica; events that are already here are skipped
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct SyncPush {
    /// An answer of sync pull, a JSON array of events, or one event a line
    pub events: String,
}

/// Repair the plan after a merge, rebase, cherry-pick or stash, record hand edits, and git add the repaired files
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Resolve {
    /// Stage the written files and those of already staged tasks, even if git reports no merge in progress
    #[arg(long)]
    pub staged: bool,
}

/// Move tasks that were archived long ago from their folders into archives
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compact {
    /// Minimum time since a task was archived (default: compact.retention_days of config.toml)
    #[arg(long, value_name = "DURATION")]
    pub older_than: Option<Duration>,
    /// Drop the tasks from the archives that were archived until this time; a record of them stays
    #[arg(long, value_name = "WHEN")]
    pub drop_before: Option<Time>,
    /// Show what would change; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Rewrite a store of an older format in that of this program, as one commit
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Migrate {
    /// Show what would change; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Restore acknowledged events that no branch or worktree holds
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Recover {
    /// These events, with their ancestors
    pub events: Vec<String>,
    /// All lost events of this task
    pub task: Option<String>,
    /// All lost events
    pub all: bool,
}

/// How `lint --fix` treats a task whose files were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Deleted {
    /// Write the files again
    #[default]
    Restore,
    /// Write the files again and cancel the task
    Cancelled,
    /// Write the files again and archive the task, if it is completed or cancelled
    Archived,
}

/// Repair what has only one possible repair, and record hand edits as events
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LintFix {
    /// Drop comments in task.yaml instead of keeping them as a note
    pub drop_comments: bool,
    /// What to do with tasks whose files were removed
    pub deleted: Deleted,
}

/// Check the store, and the changes since a revision
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct LintSince {
    /// The revision
    pub base: String,
}

/// Import the plan of another tool, or an export of agentpm
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Import {
    /// Format: arbeit, taskmaster, beads, backlog, github or jsonl
    pub from: String,
    /// The plan, in the format of that tool
    #[serde(default)]
    pub text: String,
    /// The files of a plan that is a folder, by their paths within it (backlog)
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Show what would change; change nothing
    #[serde(default)]
    pub dry_run: bool,
}

/// Create the tasks of a plan; applying it again changes only what changed in the file since
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct PlanApply {
    /// The plan, in YAML
    pub plan: String,
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub how: ApplyOptions,
}

/// What is done with the tasks of a plan.
#[derive(Args, Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ApplyOptions {
    /// Show what would change; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Where the file and the store changed the same value, take the file's
    #[arg(long)]
    pub force: bool,
    /// Cancel the unfinished tasks whose keys left the file
    #[arg(long)]
    pub prune: bool,
}

/// Undo all events of a request or of a plan with new events, newest first
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct UndoRequest {
    /// Correlation id of the request
    pub correlation_id: Option<String>,
    /// Id of the plan
    pub plan_id: Option<String>,
    /// Undo the rest where some events cannot be undone
    pub partial: bool,
    /// Show what would change; change nothing
    pub dry_run: bool,
    /// Reason for the change; recorded in the history
    pub why: Option<Text>,
}

/// Register an agent with a new key, which this clone keeps and signs the agent's events with
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct NewKey {
    /// The agent
    #[serde(flatten)]
    pub agent: AgentRegister,
}

/// Issue a token with which an agent authenticates to agentpm serve; it replaces an earlier one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentToken {
    /// Name of the agent
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Revoke the agent's token instead
    #[arg(long)]
    #[serde(default)]
    pub revoke: bool,
}

/// Wait for the next task, and show or claim it
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NextWait {
    /// Maximum time to wait: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Duration,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub how: NextOptions,
}

/// Which task is next, and whether it is claimed.
#[derive(Args, Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NextOptions {
    /// Claim the task: take its lease, become its owner, set it in progress
    #[arg(long)]
    pub claim: bool,
    /// Time to live of the lease: seconds, or 90s, 10m, 2h (default: [lease] ttl_seconds)
    #[arg(long, value_name = "DURATION", requires = "claim")]
    pub ttl: Option<Duration>,
    /// Claim a task though you hold another
    #[arg(long, requires = "claim")]
    pub another: bool,
    #[command(flatten)]
    #[serde(flatten)]
    #[expect(missing_docs, reason = "flattened; its own fields are documented")]
    pub look: Next,
}

impl NextOptions {
    /// The claim of the next task.
    pub fn claim(&self) -> Claim {
        let NextOptions { claim: _, ttl, another, look: Next { explain: _, here, no_reviews, reviews } } = *self;
        Claim { ttl, here, another, no_reviews, reviews, ..Claim::default() }
    }
}

/// Wait until something is unread in your inbox, and list it
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct InboxWait {
    /// Maximum time to wait: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Duration,
    /// The list
    #[command(flatten)]
    #[serde(flatten)]
    pub list: Inbox,
}

/// Acknowledge items of your inbox: they are not shown again
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct InboxAck {
    /// Cursor of a list, which stands for all that the list showed; or ids of items
    #[arg(value_name = "CURSOR|ITEM")]
    #[serde(deserialize_with = "one_or_many")]
    pub items: Vec<String>,
    /// Acknowledge everything that is unread
    #[arg(long, conflicts_with = "items")]
    pub all: bool,
}

/// Change a setting of the store, which git shares with the other clones, or of the user
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigSet {
    /// Name of the setting, such as lease.ttl_seconds
    #[arg(value_name = "KEY")]
    pub key: String,
    /// New value; a text needs no quotes
    #[arg(value_name = "VALUE", allow_hyphen_values = true)]
    pub value: String,
    /// Write ~/.agentpm/config.toml, which counts for all stores of the user, instead of the store's file
    #[arg(long)]
    #[serde(default)]
    pub user: bool,
}

impl Job {
    /// Whether an idempotency key guards what it does. A wait for a task gives the key to its claim.
    pub fn takes_key(&self) -> bool {
        match self {
            Job::Sync(options) => !options.plan,
            Job::PlanApply(plan) => !plan.how.dry_run,
            Job::UndoRequest(undo) => !undo.dry_run,
            Job::Compact(compact) => !compact.dry_run,
            Job::Migrate(migrate) => !migrate.dry_run,
            Job::Import(import) => !import.dry_run,
            Job::SyncPush(_)
            | Job::Resolve(_)
            | Job::Recover(_)
            | Job::LintFix(_)
            | Job::InboxAck(_)
            | Job::NewKey(_)
            | Job::AgentToken(_)
            | Job::ConfigSet(_) => true,
            Job::NextWait(_) | Job::InboxWait(_) | Job::SyncPull(_) | Job::LintSince(_) => false,
        }
    }
}

/// The list of all jobs, as the input of another macro.
macro_rules! jobs {
    ($with:ident) => {
        $with! {
            /// A job on the store itself.
            Job {
                NextWait = "next.wait",
                InboxWait = "inbox.wait",
                InboxAck = "inbox.ack",
                Sync = "sync",
                SyncPull = "sync.pull",
                SyncPush = "sync.push",
                Resolve = "resolve",
                Recover = "recover",
                Compact = "compact",
                Migrate = "migrate",
                LintFix = "lint.fix",
                LintSince = "lint.since",
                Import = "import",
                PlanApply = "plan.apply",
                UndoRequest = "undo.request",
                NewKey = "agent.new_key",
                AgentToken = "agent.token",
                ConfigSet = "config.set",
            }
        }
    };
}
pub(crate) use jobs;

jobs!(operations);
