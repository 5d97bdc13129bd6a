//! Arguments of the verbs that are no operation, or give an operation more forms than one.
//!
//! Leaves to others: the tree of verbs (`args`), and the arguments of operations (`model::command`, `model::query`).

use std::path::PathBuf;

use clap::Args;

use crate::model::args::{OptionalEventRef, TaskRef, Text};
use crate::model::command as c;
use crate::model::job::{ApplyOptions, NextOptions};

#[derive(Args, Debug)]
pub struct RegisterArgs {
    /// The name, without its flag
    #[arg(value_name = "NAME", conflicts_with = "name")]
    pub positional: Option<String>,
    #[command(flatten)]
    pub what: c::AgentRegister,
    /// Create a key in this clone's git folder, register its public half, and sign the agent's events from then on
    #[arg(long, conflicts_with = "public_key")]
    pub new_key: bool,
}

impl RegisterArgs {
    /// The registration, under the name that was given with or without a flag.
    pub fn named(self) -> c::AgentRegister {
        c::AgentRegister { name: self.what.name.or(self.positional), ..self.what }
    }
}

#[derive(Args, Debug)]
pub struct Cancel {
    #[command(flatten)]
    pub id: TaskRef,
    /// What becomes of all that descends from it and is open: cancel or keep
    #[arg(long, value_name = "WHAT")]
    pub children: Option<c::ChildrenOfCancelled>,
    #[command(flatten)]
    pub guard: c::Guard,
}

#[derive(Args, Debug)]
pub struct Search {
    /// Words and terms, as for task list --query
    #[arg(value_name = "WORD", required = true)]
    pub words: Vec<String>,
    /// Maximum number of items
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u64,
    /// Continue after this cursor, from the previous answer
    #[arg(long, value_name = "CURSOR")]
    pub cursor: Option<String>,
}

#[derive(Args, Debug)]
pub struct Init {
    /// Write a section about agentpm into AGENTS.md
    #[arg(long)]
    pub agents_md: bool,
    /// Install the pre-commit hook (lint --staged; resolve --staged after a stopped merge or rebase) and the commit-msg hook
    /// (lease trailers)
    #[arg(long)]
    pub hooks: bool,
    /// Do not change the git settings of this clone
    #[arg(long)]
    pub no_driver: bool,
}

#[derive(Args, Debug)]
pub struct Batch {
    /// File with the operations, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub file: String,
}

#[derive(Args, Debug)]
pub struct Export {
    /// File to write (default: standard output)
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct PlanApply {
    /// File with the plan, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    #[command(flatten)]
    pub how: ApplyOptions,
}

#[derive(Args, Debug)]
pub struct Prime {
    /// The role whose loop is printed (default: the one you registered with, else executor)
    #[arg(long, value_name = "ROLE")]
    pub role: Option<crate::api::prime::Loop>,
}

#[derive(Args, Debug)]
pub struct UndoArgs {
    /// Event (or --correlation-id or --plan-id, for all events of a request or a plan)
    #[command(flatten)]
    pub event: OptionalEventRef,
    /// Undo the rest of a request or a plan where some events cannot be undone
    #[arg(long)]
    pub partial: bool,
    /// Show what the undo of a request or a plan would change; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Ignore what withholds the task, unfinished blockers and children, and unmet criteria, for this reason; recorded
    #[arg(long, value_name = "REASON", allow_hyphen_values = true)]
    pub force: Option<Text>,
    #[command(flatten)]
    pub guard: c::Guard,
}

#[derive(Args, Debug)]
pub struct SplitArgs {
    #[command(flatten)]
    pub what: c::TaskSplit,
    /// File with a YAML list of tasks as in a plan, or - for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "title")]
    pub into: Option<String>,
}

#[derive(Args, Debug)]
pub struct NextArgs {
    #[command(flatten)]
    pub how: NextOptions,
    /// Maximum time to wait for a ready task: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<crate::model::args::Duration>,
}

#[derive(Args, Debug)]
pub struct Lint {
    /// Repair what has only one possible repair, and record hand edits as events
    #[arg(long)]
    pub fix: bool,
    /// With --fix: drop comments in task.yaml instead of keeping them as a note
    #[arg(long, requires = "fix")]
    pub drop_comments: bool,
    /// With --fix: what to do with tasks whose files were removed
    #[arg(long, value_name = "WHAT", requires = "fix", value_enum)]
    pub deleted: Option<crate::engine::Deleted>,
    /// Check git's index instead of the work tree: what a commit made now would add
    #[arg(long, conflicts_with_all = ["fix", "base"])]
    pub staged: bool,
    /// Also check the changes since this revision: no rewritten history, events that its roles.yml permits, lease trailers.
    /// Severities are those of its config.toml
    #[arg(long, value_name = "REV", conflicts_with = "fix")]
    pub base: Option<String>,
    /// Check standard input as the content of --path; for editors
    #[arg(long, requires = "path", conflicts_with_all = ["fix", "staged", "base"])]
    pub stdin: bool,
    /// File that standard input replaces; a file outside of a store has no findings
    #[arg(long, value_name = "FILE", requires = "stdin")]
    pub path: Option<PathBuf>,
    /// Print the page of a rule: what it means, why it matters, how to fix it
    #[arg(long, value_name = "CODE", conflicts_with_all = ["fix", "staged", "base", "stdin"])]
    pub explain: Option<String>,
}

#[cfg(feature = "server")]
#[derive(Args, Debug)]
pub struct Serve {
    /// Address on loopback to serve besides the socket; port 0 takes any free port
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub tcp: Option<std::net::SocketAddr>,
    /// Maximum number of requests per second of one agent
    #[arg(long, value_name = "N", default_value_t = crate::server::RATE)]
    pub rate: u32,
    /// Log in words on standard error, at the level info unless AGENTPM_LOG_LEVEL names another
    #[arg(long)]
    pub foreground: bool,
    /// Print the token that requests over TCP need, and end
    #[arg(long)]
    pub print_token: bool,
}

#[cfg(feature = "mcp")]
#[derive(Args, Debug)]
pub struct Mcp {
    /// Print the entry for the configuration of a client, and end
    #[arg(long, value_name = "CLIENT")]
    pub print_config: Option<crate::mcp::Client>,
}

#[cfg(feature = "bus")]
#[derive(Args, Debug)]
pub struct Bus {
    /// Address of the NATS server; several are separated by commas
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with the credentials for the server
    #[arg(long, value_name = "FILE")]
    pub creds: Option<PathBuf>,
    /// Publish and take in everything, and end
    #[arg(long)]
    pub once: bool,
    /// Maximum size of the stream in bytes; 0 for any
    #[arg(long, value_name = "N", default_value_t = 1024 * 1024 * 1024)]
    pub max_bytes: u64,
    /// Maximum age of a message in the stream; 0s for any
    #[arg(long, value_name = "DURATION", default_value = "30d")]
    pub max_age: crate::model::args::Duration,
    /// Number of servers that keep each message (default: bus.replicas in the settings)
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=5))]
    pub replicas: Option<usize>,
    /// Refuse new messages when the stream is full, instead of dropping old ones
    #[arg(long)]
    pub refuse_when_full: bool,
}

#[derive(Args, Debug)]
pub struct Import {
    /// Format: arbeit, taskmaster, beads, backlog, github or jsonl
    #[arg(long, value_name = "FORMAT")]
    pub from: String,
    /// File to import, or - for standard input; for backlog the folder
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Show what would change; change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct Schema {
    /// task-file, config, roles, plan, batch, task, errors, rules, or an operation such as task.create (default: list the names)
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// Print only the schema, for an editor
    #[arg(long)]
    pub bare: bool,
}

#[derive(Args, Debug)]
pub struct Help {
    /// Command, such as task create; or agents
    #[arg(value_name = "TOPIC")]
    pub topic: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// Shell: bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
