//! The tree of commands. The arguments of changes and queries come from `model`; those of the command line alone are here.
//!
//! Leaves to others: the verbs that stand for more than a call (`run`).

use clap::{Args, Parser, Subcommand};

use super::deferred::Deferred;
use super::global::Global;
use super::groups::{Changes, ProgressGroup};
#[cfg(feature = "bus")]
use super::options::Bus;
#[cfg(feature = "mcp")]
use super::options::Mcp;
#[cfg(feature = "server")]
use super::options::Serve;
use super::options::{
    Batch, Cancel, Completions, Export, Help, Import, Init, Lint, NextArgs, Prime, Schema, Search, UndoArgs,
};
use super::verbs::{
    AgentVerb, ConfigVerb, ConflictsArgs, ContextVerb, InboxArgs, LeaseVerb, PlanVerb, SessionVerb, TaskVerb,
    ThreadVerb,
};
use crate::model::{command as c, query as q};

/// A task store for coding agents that lives in the project's own git repository
#[derive(Parser, Debug)]
#[command(
    name = "agentpm",
    version,
    max_term_width = 110,
    disable_help_subcommand = true,
    after_help = super::help::TOP
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// The arguments of a command that has none.
#[derive(Args, Debug)]
pub struct NoArguments {}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Create a store in this work tree and set the merge driver of this clone; an existing store stays as it is
    #[command(after_help = "Examples:\n  agentpm init --agents-md\n  agentpm init --hooks")]
    Init(Deferred<Init>),
    /// Print instructions and the state of the plan for the context of an agent
    #[command(after_help = "Examples:\n  agentpm prime >> \"$CONTEXT_FILE\"\n  agentpm prime --role reviewer")]
    Prime(Deferred<Prime>),
    /// Tasks: create, get, list, update, split, transition, block, relate, archive, reopen, verify, edit, path
    #[command(subcommand, visible_alias = "t")]
    Task(Deferred<TaskVerb>),
    /// Make several changes at once: all of them or none
    #[command(after_help = super::help::BATCH)]
    Batch(Deferred<Batch>),
    /// Nested plans in YAML: apply, show
    #[command(subcommand)]
    Plan(Deferred<PlanVerb>),
    /// Show the graph of the plan: parents and blockers
    #[command(after_help = "Examples:\n  agentpm graph\n  agentpm graph --format svg > plan.svg")]
    Graph(Deferred<q::Graph>),
    /// Export the plan: json or jsonl (lossless), csv, markdown, beads, or html (a board)
    #[command(
        after_help = "Examples:\n  agentpm export --format html --output board.html\n  agentpm export --format jsonl > plan.jsonl"
    )]
    Export(Deferred<Export>),
    /// Progress items of a task: add, complete, reopen
    #[command(subcommand)]
    Progress(Deferred<Changes<ProgressGroup>>),
    /// Context entries (decisions, attempts, outcomes, notes): add, supersede, redact
    #[command(subcommand)]
    Context(Deferred<ContextVerb>),
    /// Threads (discussions of a task, with proposals): open, reply, resolve, escalate, list, show
    #[command(subcommand)]
    Thread(Deferred<ThreadVerb>),
    /// List what is unread in your inbox, or acknowledge it
    #[command(args_conflicts_with_subcommands = true, after_help = super::help::INBOX)]
    Inbox(Deferred<InboxArgs>),
    /// List the tasks that are ready to be worked on, best first
    #[command(after_help = "Examples:\n  agentpm ready\n  agentpm ready --explain")]
    Ready(Deferred<q::Ready>),
    /// Show, or claim with --claim, the next task to do
    #[command(
        after_help = "Examples:\n  agentpm next --claim\n  agentpm next --claim --wait 10m\n  agentpm next --claim --reviews\n  agentpm next --explain"
    )]
    Next(Deferred<NextArgs>),
    /// Claim a specific task: take its lease, become its owner, set it in progress
    #[command(after_help = "Example:\n  agentpm claim 7XK2Q1 --ttl 30m")]
    Claim(Deferred<c::Claim>),
    /// Print all that an agent needs to know about a task, on one page
    #[command(after_help = "Examples:\n  agentpm brief\n  agentpm brief 7XK2Q1 --max-tokens 800")]
    Brief(Deferred<q::Brief>),
    /// Complete the task you hold
    #[command(
        visible_aliases = ["close", "complete", "finish"],
        after_help = "Example:\n  agentpm done --all-met --outcome 'Locks are taken in one order now'"
    )]
    Done(Deferred<c::Done>),
    /// Release the task you hold: it becomes open, without an owner
    #[command(after_help = "Example:\n  agentpm release --why 'needs a decision first'")]
    Release(Deferred<c::Release>),
    /// Run a command under the lease of a task, which is renewed while the command runs
    #[command(after_help = super::help::WORK)]
    Work(Deferred<super::work::Work>),
    /// List stalled work: in progress without activity of its agent, or sent back by a review and not taken up again
    #[command(after_help = "Examples:\n  agentpm stale\n  agentpm stale --for 1h")]
    Stale(Deferred<q::Stale>),
    /// Agents: register, list, show, token
    #[command(subcommand)]
    Agent(Deferred<AgentVerb>),
    /// Send a message to all agents, to one agent, or to the agents of a role
    #[command(
        after_help = "Examples:\n  agentpm broadcast --body 'main is frozen until noon'\n  agentpm broadcast --role reviewer --body 'two threads wait for you'"
    )]
    Broadcast(Deferred<c::Broadcast>),
    /// Sessions: start, heartbeat, end, list
    #[command(subcommand)]
    Session(Deferred<SessionVerb>),
    /// Leases: acquire, renew, release, list
    #[command(subcommand)]
    Lease(Deferred<LeaseVerb>),
    /// Show events, newest last
    #[command(after_help = "Examples:\n  agentpm log 7XK2Q1\n  agentpm log --by codex-1 --since 2026-11-20")]
    Log(Deferred<q::Log>),
    /// Show for each field of a task which event set it
    #[command(after_help = "Example:\n  agentpm blame 7XK2Q1")]
    Blame(Deferred<q::Blame>),
    /// Show what changed between two points: Lamport times, times, or git revisions
    #[command(after_help = super::help::DIFF)]
    Diff(Deferred<q::Diff>),
    /// Show what the commits of a branch change in the plan, and what a reviewer must decide
    #[command(after_help = super::help::REVIEW)]
    Review(Deferred<q::Review>),
    /// List values that lost to a concurrent one, or restore one
    #[command(args_conflicts_with_subcommands = true, after_help = super::help::CONFLICTS)]
    Conflicts(Deferred<ConflictsArgs>),
    /// Undo an event with new events; a field that was written again since stays as it is
    #[command(after_help = super::help::UNDO)]
    Undo(Deferred<UndoArgs>),
    /// Check the store; exit with 1 if it has an error
    #[command(after_help = super::help::LINT)]
    Lint(Deferred<Lint>),
    /// Commit the plan, merge the upstream, and push
    #[command(after_help = "Examples:\n  agentpm sync\n  agentpm sync --plan\n  agentpm sync --no-push")]
    Sync(Deferred<super::exchange::SyncArgs>),
    /// Print each event as it arrives, one JSON object per line
    #[command(after_help = "Examples:\n  agentpm watch\n  agentpm watch --since 01K5R4XJ7Z0000000000000001 --for 10m")]
    Watch(Deferred<super::exchange::Watch>),
    /// Repair the plan after a merge, rebase, cherry-pick or stash, record hand edits, and git add the repaired files
    #[command(after_help = "Examples:\n  git merge feature || agentpm resolve\n  agentpm resolve --staged")]
    Resolve(Deferred<crate::model::job::Resolve>),
    /// Merge three versions of a task.yaml; called by git (merge.agentpm.driver)
    #[command(
        hide = true,
        after_help = "Example:\n  git config merge.agentpm.driver 'agentpm merge-driver %O %A %B %P %S %X %Y'"
    )]
    MergeDriver(Deferred<super::exchange::MergeDriver>),
    /// Print a log as readable lines; called by git (diff.agentpm.textconv)
    #[command(hide = true, after_help = "Example:\n  git config diff.agentpm.textconv 'agentpm textconv'")]
    Textconv(Deferred<super::exchange::Textconv>),
    /// Add the leases of a commit to its message; called by git (commit-msg)
    #[command(hide = true, after_help = "Example:\n  agentpm trailer .git/COMMIT_EDITMSG")]
    Trailer(Deferred<super::exchange::Trailer>),
    /// List acknowledged events that no branch or worktree holds, or bring chosen ones back
    #[command(after_help = "Examples:\n  agentpm recover\n  agentpm recover --task 7XK2Q1\n  agentpm recover --all")]
    Recover(Deferred<super::exchange::Recover>),
    /// Move tasks that were archived long ago from their folders into archives
    #[command(
        after_help = "Examples:\n  agentpm compact --dry-run\n  agentpm compact --older-than 30d\n  agentpm compact --drop-before 2024-01-01 --dry-run"
    )]
    Compact(Deferred<crate::model::job::Compact>),
    /// Rewrite a store of an older format in that of this program, as one commit
    #[command(after_help = "Examples:\n  agentpm migrate --dry-run\n  agentpm migrate")]
    Migrate(Deferred<crate::model::job::Migrate>),
    /// Check whether another agent's task in progress claims files; exit with 1 if one does
    #[command(after_help = "Example:\n  agentpm check src/git docs/git.md")]
    Check(Deferred<q::Check>),
    /// Settings: get, set, list
    #[command(subcommand)]
    Config(Deferred<ConfigVerb>),
    /// Check the store and its environment; changes nothing
    #[command(after_help = "Example:\n  agentpm doctor")]
    Doctor(Deferred<q::Doctor>),
    /// Show the plan at a glance: your tasks, ready tasks, who works on what
    #[command(after_help = "Example:\n  agentpm status")]
    Status(Deferred<q::Overview>),
    /// Show counts of tasks and events
    #[command(after_help = "Examples:\n  agentpm stats\n  agentpm stats --format prometheus")]
    Stats(Deferred<q::Stats>),
    /// Diagnostics for a bug report: export
    #[command(subcommand)]
    Diagnostics(Deferred<super::diagnostics::DiagnosticsVerb>),
    /// Serve the operations over HTTP, on a Unix socket and if asked for on loopback; ends on SIGTERM
    #[cfg(feature = "server")]
    #[command(
        after_help = "Examples:\n  agentpm serve\n  agentpm serve --foreground --tcp 127.0.0.1:0\n  agentpm serve --print-token"
    )]
    Serve(Deferred<Serve>),
    /// Serve the plan to an MCP client on standard input and output
    #[cfg(feature = "mcp")]
    #[command(after_help = "Examples:\n  agentpm mcp\n  agentpm mcp --print-config claude")]
    Mcp(Deferred<Mcp>),
    /// Exchange events with the other clones over a NATS server; ends on SIGTERM
    #[cfg(feature = "bus")]
    #[command(
        after_help = "The server may also be named by AGENTPM_BUS_URL and AGENTPM_BUS_CREDS, or by url and creds under [bus] in\n~/.agentpm/config.toml; never by the repository. The limits count for a stream that is missing; one that is\nthere is used as it is.\n\nExamples:\n  agentpm bus --url nats://localhost:4222\n  agentpm bus --once"
    )]
    Bus(Deferred<Bus>),
    /// Print the OpenAPI description of the HTTP interface
    #[command(after_help = "Example:\n  agentpm openapi > openapi.json")]
    Openapi(Deferred<NoArguments>),
    /// Import the plan of another tool, or an export of agentpm
    #[command(
        after_help = "Examples:\n  agentpm import --from beads .beads/issues.jsonl\n  agentpm import --from backlog backlog --dry-run\n  agentpm export --format jsonl | agentpm --store ../copy/.agentpm import --from jsonl -"
    )]
    Import(Deferred<Import>),
    /// Print JSON Schemas of files, operations, answers and errors
    #[command(after_help = super::help::SCHEMA)]
    Schema(Deferred<Schema>),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  agentpm completions bash > ~/.local/share/bash-completion/completions/agentpm")]
    Completions(Deferred<Completions>),
    /// Print the help of a command; help agents prints the loop of an agent, help options the options of every command
    #[command(after_help = "Examples:\n  agentpm help agents\n  agentpm help task create")]
    Help(Deferred<Help>),
    /// Print the manual page
    #[command(after_help = "Example:\n  agentpm man > agentpm.1")]
    Man(Deferred<NoArguments>),
    /// Short for task list
    #[command(visible_alias = "list", after_help = super::help::LIST)]
    Ls(Deferred<q::TaskList>),
    /// Short for task get
    #[command(visible_alias = "get", after_help = "Examples:\n  agentpm show 7XK2Q1\n  agentpm show 7XK2Q1 --full")]
    Show(Deferred<q::TaskGet>),
    /// Short for task create
    #[command(visible_alias = "create", after_help = "Example:\n  agentpm add 'Fix the lock' --label storage")]
    Add(Deferred<Box<c::TaskCreate>>),
    /// Short for context add
    #[command(
        visible_alias = "comment",
        after_help = "Examples:\n  agentpm note 'the bug is in the parser'\n  agentpm note 7XK2Q1 'the bug is in the parser'"
    )]
    Note(Deferred<c::ContextAdd>),
    /// Cancel a task: it will not be done
    #[command(after_help = "Example:\n  agentpm cancel 7XK2Q1 --why 'not needed any more'")]
    Cancel(Deferred<Cancel>),
    /// Find tasks, open and closed, that contain words
    #[command(after_help = "Examples:\n  agentpm search lock order\n  agentpm search '\"lock order\" label:storage'")]
    Search(Deferred<Search>),
}
