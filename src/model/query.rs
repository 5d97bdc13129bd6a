//! Every query agentpm answers, defined once. No query changes anything.
//!
//! As with [`crate::model::command`], the arguments of every interface are these fields, and the doc comments are the help texts.
//! Leaves to others: answering them (`engine::query`).

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{OptionalTaskRef, Ref, ThreadRef, label};
use crate::model::operation::operations;
use crate::model::point::Point;
use crate::model::task::Status;
use crate::model::time::When;

/// Show a task: every field, and the newest entries of its long lists
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskGet {
    /// Task (default: the one you hold)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
    /// Show the task as of a Lamport time, a time, a duration before now (2h), a time today in UTC (22:45), or a git revision
    #[arg(long, value_name = "POINT")]
    #[serde(default)]
    pub at: Option<Point>,
    /// Show all entries and whole texts
    #[arg(skip)]
    #[serde(default)]
    pub full: bool,
}

/// Print the path of a task's YAML file
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskPath {
    /// Task (default: the one you hold)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
}

/// List unfinished tasks, most urgent first, in pages
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskList {
    /// Only tasks with this status (repeatable, or several with commas)
    #[arg(long, value_name = "STATUS", value_delimiter = ',', ignore_case = true)]
    pub status: Vec<Status>,
    /// Only tasks of this owner; me for your own, none for no owner
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// Only your own tasks, as with --owner me
    #[arg(long, conflicts_with = "owner")]
    pub mine: bool,
    /// Only children of this task
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// With --parent, include the children of its children, at every depth
    #[arg(long)]
    pub include_children: bool,
    /// Only tasks with this label (repeatable, or several with commas; a task must have all)
    #[arg(long = "label", value_name = "WORD", value_delimiter = ',', value_parser = label, allow_hyphen_values = true)]
    pub labels: Vec<String>,
    /// Only tasks of this type
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Only tasks that are ready to be worked on
    #[arg(long)]
    pub ready: bool,
    /// Only tasks that match these words and terms; @NAME is a saved query
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    pub query: Option<String>,
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Include closed tasks, and list all at once
    #[arg(long)]
    pub all: bool,
}

/// List the tasks that are ready to be worked on, best first
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ready {
    /// Show the terms of each score, and why other tasks are not ready
    #[arg(long)]
    pub explain: bool,
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Ignore other branches and worktrees
    #[arg(long)]
    pub here: bool,
}

/// Show the next task to do
#[derive(Args, Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Next {
    /// Show the terms of the score, and why other tasks are not ready
    #[arg(long)]
    pub explain: bool,
    /// Ignore other branches and worktrees
    #[arg(long)]
    pub here: bool,
    /// Offer no completed tasks for review
    #[arg(long)]
    pub no_reviews: bool,
    /// Offer completed tasks for review, and no others
    #[arg(long, visible_alias = "review", conflicts_with = "no_reviews")]
    pub reviews: bool,
}

/// Print all that an agent needs to know about a task, on one page
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Brief {
    /// The task (default: the one you hold)
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// Include only these parts: parents, results, children, progress, context, events (comma-separated)
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Maximum number of tokens, at 3.5 bytes each (default: 2340, which is 8 kB)
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
}

/// Show events, newest last
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Log {
    /// Only of this task
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// Only by this agent (here --agent means the same)
    #[arg(long = "by", value_name = "AGENT")]
    pub by: Option<String>,
    /// Only events from this time on: 2026-11-20, 2026-11-20T10:00:00Z, 22:45 today in UTC, or 3d or 2h ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Only events up to this time, in the forms of --since; a date means its end
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Only of this type, such as TaskCreated (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
    /// Only events of this request (here the global option --correlation-id means this)
    #[arg(skip)]
    pub correlation_id: Option<String>,
    /// Only events of this plan (here the global option --plan-id means this)
    #[arg(skip)]
    pub plan_id: Option<String>,
    /// Maximum number of events, the newest
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue before this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Show all at once
    #[arg(long)]
    pub all: bool,
}

/// Show for each field of a task which event set it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Blame {
    /// Task (default: the one you hold)
    #[command(flatten)]
    #[serde(default)]
    pub id: OptionalTaskRef,
    /// Maximum number of fields
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
    /// Show all fields at once
    #[arg(long)]
    #[serde(default)]
    pub all: bool,
}

/// List values that lost to a concurrent one
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conflicts {
    /// Only of this task
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// Only values that this agent wrote
    #[arg(long, value_name = "AGENT")]
    pub by: Option<String>,
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Show what changed between two points: Lamport times, times, or git revisions
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// Earlier point: a Lamport time, a time, a duration before now (2h), a time today in UTC (22:45), or a git revision
    #[arg(value_name = "A")]
    pub a: Point,
    /// Later point (default: now, with all that is in the work tree)
    #[arg(value_name = "B")]
    #[serde(default)]
    pub b: Option<Point>,
    /// Only of this task
    #[arg(long, visible_alias = "id", value_name = "ID")]
    #[serde(default)]
    pub task_id: Option<Ref>,
    /// Maximum number of tasks
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Show what the commits of a branch change in the plan, and what a reviewer must decide
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// Revisions to compare, as BASE..HEAD; BASE alone compares with what is checked out
    #[arg(value_name = "BASE..HEAD")]
    pub range: String,
    /// Exit with 1 if one of these is found (comma-separated)
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "never", ignore_case = true)]
    #[serde(default)]
    pub fail_on: Vec<FailOn>,
    /// Maximum number of tasks; in words, of lines
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer (JSON only)
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
    /// Show all at once; in words, at most 65 536 characters, the size of a comment
    #[arg(long)]
    #[serde(default)]
    pub all: bool,
}

/// What makes `review` fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum FailOn {
    /// Nothing
    Never,
    /// A finding of severity error, or events that are missing
    Error,
    /// Any finding
    Warning,
    /// A lease that was overridden, or a check that was skipped by force
    Override,
    /// A criterion that was dropped, reworded or marked unmet
    Acceptance,
    /// A task whose scope changed: title, intent, files, parent, type, a new criterion, cancelled, archived, reopened
    Scope,
    /// A changed config.toml, roles.yml, .gitattributes or .gitignore, or a role or key that an agent registers
    Settings,
    /// A value that lost to a concurrent one
    Lost,
    /// Anything that a reviewer must decide
    Any,
}

/// Show the graph of the plan: parents and blockers
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Graph {
    /// Start at this task
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Include closed tasks, and show all at once
    #[arg(long)]
    pub all: bool,
    /// Maximum number of tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Print the plan in another format
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Export {
    /// Format
    pub format: ExportFormat,
}

/// A format of `export`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ExportFormat {
    /// One JSON document with the state and the events of each task, which agentpm import restores
    Json,
    /// The same, one task on each line
    Jsonl,
    /// A table for a spreadsheet, one task a row
    Csv,
    /// A page to read: a list that nests as the tasks do
    #[value(alias = "md")]
    Markdown,
    /// The issues of Beads
    Beads,
    /// A page that shows the plan as a board
    Html,
}

/// Collect what helps to find a fault: versions, the last events, settings, measurements, doctor and lint; without texts, names and paths
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Diagnostics {
    /// Number of events, the last that arrived (default: 200)
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Include texts, names and paths; passwords of URLs and tokens are left out all the same
    #[arg(long)]
    pub with_texts: bool,
}

/// Print a plan as a file for plan apply
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanShow {
    /// Name of the plan (default: all open tasks)
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// List stalled work: in progress without activity of its agent, or sent back by a review and not taken up again
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Stale {
    /// Minimum time without activity: seconds, or 90s, 10m, 2h (default: the limit of sessions)
    #[arg(long = "for", value_name = "DURATION")]
    #[serde(rename = "for")]
    pub span: Option<crate::model::args::Duration>,
}

/// List the sessions of this clone that are live or still hold a lease
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionList {
    /// Include all ended sessions
    #[arg(long)]
    pub all: bool,
}

/// List the live leases
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseList {
    /// Show the leases as the confirming remote has them, live or expired
    #[arg(long)]
    pub remote: bool,
    /// Show all at once; with --remote, also released leases
    #[arg(long)]
    pub all: bool,
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// List acknowledged events that no branch or worktree holds
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Unheld {
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// List threads, oldest first
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ThreadList {
    /// Only open threads
    #[arg(long)]
    pub open: bool,
    /// Only threads that you take part in, that were escalated to you, or that are about your tasks
    #[arg(long)]
    pub mine: bool,
    /// Only of this task
    #[arg(long, value_name = "ID", visible_alias = "task-id")]
    pub task: Option<Ref>,
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Show a thread: its messages as a tree, its proposals, its resolution
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ThreadShow {
    /// Thread
    #[command(flatten)]
    pub thread: ThreadRef,
    /// Show all messages and whole texts
    #[arg(skip)]
    #[serde(default)]
    pub full: bool,
}

/// List what is unread in your inbox, oldest first; changes nothing
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inbox {
    /// Maximum number of items
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Continue after this cursor, the next_cursor of the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Show all at once
    #[arg(long)]
    pub all: bool,
}

/// List the agents
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentList {}

/// Show an agent
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentGet {
    /// Name of the agent
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// Show the plan at a glance: your tasks, ready tasks, who works on what
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Overview {}

/// Show counts of tasks and events
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Stats {}

/// Check the store and its environment; changes nothing
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {}

/// Check whether another agent's task in progress claims files; exit with 1 if one does
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Check {
    /// File, folder or pattern
    #[arg(value_name = "PATH", required = true)]
    pub paths: Vec<String>,
}

/// Show the value of a setting, and where it comes from
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConfigGet {
    /// Name of the setting, such as lease.ttl_seconds
    #[arg(value_name = "KEY")]
    pub key: String,
}

/// List the settings with their values, and where each comes from
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConfigList {
    /// Only those of this section, such as lease
    #[arg(value_name = "SECTION")]
    pub section: Option<String>,
}

/// Check the store; changes nothing
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Lint {}

/// The list of all queries, as the input of another macro.
macro_rules! queries {
    ($with:ident) => {
        $with! {
            /// A query about the plan. It changes nothing.
            Query {
                TaskGet = "task.get",
                TaskPath = "task.path",
                TaskList = "task.list",
                Ready = "ready",
                Next = "next",
                Brief = "brief",
                Log = "log",
                Blame = "blame",
                Conflicts = "conflicts",
                Diff = "diff",
                Review = "review",
                PlanShow = "plan.show",
                Graph = "graph",
                Export = "export",
                Diagnostics = "diagnostics.export",
                Stale = "stale",
                SessionList = "session.list",
                ThreadList = "thread.list",
                ThreadShow = "thread.show",
                Inbox = "inbox",
                AgentList = "agent.list",
                AgentGet = "agent.get",
                LeaseList = "lease.list",
                Unheld = "recover.list",
                Overview = "status",
                Stats = "stats",
                Doctor = "doctor",
                Check = "check",
                ConfigGet = "config.get",
                ConfigList = "config.list",
                Lint = "lint",
            }
        }
    };
}
pub(crate) use queries;

queries!(operations);
