//! Every question agentpm answers, defined once.
//!
//! As with [`crate::model::command`], the arguments of the command line and of every other door are these fields, and the doc
//! comments are the help texts. No question changes anything.

use clap::{Args, ValueEnum};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::operation::operations;
use crate::model::point::Point;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::model::words::{OptionalTaskRef, Ref, TaskRef};

/// Show a task: every field, and the newest of its long lists
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskGet {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// As it was then: a Lamport time, a time or date, or a git revision
    #[arg(long, value_name = "POINT")]
    #[serde(default)]
    pub at: Option<Point>,
    /// Everything, however long: all entries, and texts to their end
    #[arg(long)]
    #[serde(default)]
    pub full: bool,
}

/// Print the path of a task's YAML file
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct TaskPath {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
}

/// List tasks: unfinished ones, most urgent first, a bounded page
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TaskList {
    /// Of this status (repeatable)
    #[arg(long, value_name = "STATUS", ignore_case = true)]
    pub status: Vec<Status>,
    /// Of this owner
    #[arg(long, value_name = "AGENT")]
    pub owner: Option<String>,
    /// Children of this task
    #[arg(long, value_name = "ID")]
    pub parent: Option<Ref>,
    /// With this label (repeatable; all of them)
    #[arg(long = "label", value_name = "WORD")]
    pub labels: Vec<String>,
    /// Of this type
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Only what could be worked on now
    #[arg(long)]
    pub ready: bool,
    /// With these words in title, intent, acceptance, progress or context, and these terms; @NAME is a saved query
    #[arg(long, value_name = "QUERY", allow_hyphen_values = true)]
    pub query: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Closed tasks too, and all of them at once
    #[arg(long)]
    pub all: bool,
}

/// List what can be worked on now, best first
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ready {
    /// Give each term of the scores, and the reasons of what is not ready
    #[arg(long)]
    pub explain: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// Look at this branch and this worktree alone
    #[arg(long)]
    pub here: bool,
}

/// Show the one task to do next
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Next {
    /// Give the terms of the score, and the reasons of what is not ready
    #[arg(long)]
    pub explain: bool,
    /// Look at this branch and this worktree alone
    #[arg(long)]
    pub here: bool,
}

/// All an agent needs to know to do a task, on one page
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Brief {
    /// The task; the one you hold where absent
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// Only these parts: children, progress, context, events (comma-separated)
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Maximum number of tokens, at 3.5 bytes each (default: 8000)
    #[arg(long, value_name = "N")]
    pub max_tokens: Option<u64>,
}

/// Show what happened, newest last
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Log {
    /// Of this task only
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// By this agent only (here --agent means the same)
    #[arg(long = "by", value_name = "AGENT")]
    pub by: Option<String>,
    /// Not before this time
    #[arg(long, value_name = "TIME")]
    pub since: Option<Time>,
    /// Not after this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<Time>,
    /// Of this type only, such as TaskCreated (repeatable)
    #[arg(long = "type", value_name = "TYPE")]
    #[serde(rename = "type")]
    pub kinds: Vec<String>,
    /// At most so many, the newest ones
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on with what happened before this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
    /// All of them
    #[arg(long)]
    pub all: bool,
}

/// Say for each field of a task which event set it
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Blame {
    /// The task
    #[command(flatten)]
    pub id: TaskRef,
    /// Maximum number of fields
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
    /// All fields at once
    #[arg(long)]
    #[serde(default)]
    pub all: bool,
}

/// List values that lost to one written at the same time by somebody who had not seen them
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Conflicts {
    /// Of this task only
    #[command(flatten)]
    pub task_id: OptionalTaskRef,
    /// What this agent wrote and lost
    #[arg(long, value_name = "AGENT")]
    pub by: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// Say what changed from one point to another
#[derive(Args, Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Diff {
    /// The earlier point: a Lamport time, a time or date, or a git revision
    #[arg(value_name = "A")]
    pub a: Point,
    /// The later point; now, with all that is in the work tree, where absent
    #[arg(value_name = "B")]
    #[serde(default)]
    pub b: Option<Point>,
    /// Of this task only
    #[arg(long, visible_alias = "id", value_name = "ID")]
    #[serde(default)]
    pub task_id: Option<Ref>,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
}

/// Say what the commits of a branch do to the plan, and what of it a reviewer must decide
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// The two revisions, as BASE..HEAD; HEAD where only one is given is what is checked out
    #[arg(value_name = "BASE..HEAD")]
    pub range: String,
    /// Exit with 1 where one of these is found (comma-separated)
    #[arg(long, value_name = "WHAT", value_delimiter = ',', default_value = "never", ignore_case = true)]
    #[serde(default)]
    pub fail_on: Vec<FailOn>,
    /// At most so many tasks; in words so many lines
    #[arg(long, value_name = "N")]
    #[serde(default)]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before (of JSON)
    #[arg(long, value_name = "CURSOR")]
    #[serde(default)]
    pub cursor: Option<String>,
    /// All of it at once; in words as much as a comment may hold, 65 536 characters
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
    /// A rule that is broken with severity error, or events that are gone
    Error,
    /// Any rule that is broken
    Warning,
    /// A lease that was passed by, or a check passed by force
    Override,
    /// A criterion dropped, reworded or not met any more
    Acceptance,
    /// A task that became another: title, intent, files, parent, type, a new criterion, cancelled, archived, reopened
    Scope,
    /// A changed config.toml, roles.yml, .gitattributes or .gitignore, or a role or key that an agent registers with
    Settings,
    /// A value that lost to a concurrent one
    Lost,
    /// Anything that must be decided
    Any,
}

/// Draw the plan: parents, and who waits for whom
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Graph {
    /// Beginning at this task
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Closed tasks too
    #[arg(long)]
    pub all: bool,
}

/// List work in progress that shows no sign of life
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Stale {
    /// Nothing was heard for so long: seconds, or 90s, 10m, 2h; the limit of sessions where absent
    #[arg(long = "for", value_name = "DURATION")]
    #[serde(rename = "for")]
    pub span: Option<crate::model::words::Duration>,
}

/// List the sessions of this clone with what they hold: those that go on, and those that ended and hold something still
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SessionList {
    /// All that ended too
    #[arg(long)]
    pub all: bool,
}

/// List the leases that hold
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LeaseList {
    /// As the remote that confirms leases knows them, live or run out
    #[arg(long)]
    pub remote: bool,
    /// All of them at once; at the remote those given back too
    #[arg(long)]
    pub all: bool,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// List acknowledged events that no branch or worktree holds any more
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Unheld {
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Go on after this cursor, from the answer before
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

/// List the agents
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct AgentList {}

/// Count the plan
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Stats {}

/// Check everything around the plan; changes nothing
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Doctor {}

/// Check the store; changes nothing
#[derive(Args, Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Lint {}

operations! {
    /// A question about the plan. It changes nothing.
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
        Graph = "graph",
        Stale = "stale",
        SessionList = "session.list",
        AgentList = "agent.list",
        LeaseList = "lease.list",
        Unheld = "recover.list",
        Stats = "stats",
        Doctor = "doctor",
        Lint = "lint",
    }
}
