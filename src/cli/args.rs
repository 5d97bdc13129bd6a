//! The tree of commands. Arguments of changes and questions come from `model`; what only the command line has is here.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::late::Late;
use crate::model::{command as c, query as q};

/// A task store for coding agents that lives in the project's own git repository
#[derive(Parser, Debug)]
#[command(name = "agentpm", version, max_term_width = 110, disable_help_subcommand = true, after_help = super::help::TOP)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags of every command.
#[derive(Args, Debug, Clone, Default)]
pub struct Global {
    /// Print JSON: one document, for success and error alike (the default where stdout is no terminal)
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// json, jsonl, table or md; for graph also tree, mermaid or dot; for lint also text, github or sarif
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Everywhere")]
    pub format: Option<String>,
    /// Print the id alone
    #[arg(long, short, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Who is asking (else AGENTPM_AGENT, the settings, git's user.name)
    #[arg(long, global = true, value_name = "NAME", help_heading = "Everywhere")]
    pub agent: Option<String>,
    /// In which session (else AGENTPM_SESSION)
    #[arg(long, global = true, value_name = "ID", help_heading = "Everywhere")]
    pub session: Option<String>,
    /// Use this store instead of the nearest (else AGENTPM_STORE)
    #[arg(long, global = true, value_name = "PATH", help_heading = "Everywhere")]
    pub store: Option<PathBuf>,
    /// Ties the events of one request together (else AGENTPM_CORRELATION_ID)
    #[arg(long, global = true, value_name = "TEXT", help_heading = "Everywhere", hide_short_help = true)]
    pub correlation_id: Option<String>,
    /// Ties the events of one plan together (else AGENTPM_PLAN_ID)
    #[arg(long, global = true, value_name = "TEXT", help_heading = "Everywhere", hide_short_help = true)]
    pub plan_id: Option<String>,
}

#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Make a store in this work tree and set the merge driver of this clone; harmless where there is one
    #[command(after_help = "Examples:\n  agentpm init --agents-md\n  agentpm init --hooks")]
    Init(Late<Init>),
    /// Print what an agent needs to know to work here, for its context
    #[command(after_help = "Example:\n  agentpm prime >> \"$CONTEXT_FILE\"")]
    Prime,
    /// Tasks: create, get, list, update, transition, block, relate, archive, reopen, verify, edit
    #[command(subcommand, visible_alias = "t")]
    Task(Late<TaskVerb>),
    /// Several changes at once: all of them or none
    #[command(after_help = super::help::BATCH)]
    Batch(Late<Batch>),
    /// Nested plans in YAML
    #[command(subcommand)]
    Plan(Late<PlanVerb>),
    /// Draw the plan
    #[command(after_help = "Examples:\n  agentpm graph\n  agentpm graph --format mermaid")]
    Graph(Late<q::Graph>),
    /// Steps of a task
    #[command(subcommand)]
    Progress(Late<ProgressVerb>),
    /// Decisions, attempts, notes: what the next agent should know
    #[command(subcommand)]
    Context(Late<ContextVerb>),
    /// List what can be worked on now, best first
    #[command(after_help = "Examples:\n  agentpm ready\n  agentpm ready --explain")]
    Ready(Late<q::Ready>),
    /// Show, or take with --claim, the one task to do next
    #[command(
        after_help = "Examples:\n  agentpm next --claim\n  agentpm next --claim --wait 10m\n  agentpm next --explain"
    )]
    Next(Late<NextArgs>),
    /// Take one certain task: lease, owner and in_progress in one step
    #[command(after_help = "Example:\n  agentpm claim 7XK2Q1 --ttl 30m")]
    Claim(Late<c::Claim>),
    /// All an agent needs to know to do a task, on one page
    #[command(after_help = "Examples:\n  agentpm brief\n  agentpm brief 7XK2Q1 --max-tokens 800")]
    Brief(Late<q::Brief>),
    /// Complete the task you hold
    #[command(after_help = "Example:\n  agentpm done --all-met --outcome 'Locks are taken in one order now'")]
    Done(Late<c::Done>),
    /// Give the task you hold back: open again, nobody's
    #[command(after_help = "Example:\n  agentpm release --why 'needs a decision first'")]
    Release(Late<c::Release>),
    /// Run a command under the lease of a task: taken before, renewed meanwhile, given back after
    #[command(after_help = super::help::WORK)]
    Work(Late<super::work::Work>),
    /// List work in progress that shows no sign of life
    #[command(after_help = "Examples:\n  agentpm stale\n  agentpm stale --for 1h")]
    Stale(Late<q::Stale>),
    /// Agents: register, list
    #[command(subcommand)]
    Agent(Late<AgentVerb>),
    /// Sessions: start, heartbeat, end, list
    #[command(subcommand)]
    Session(Late<SessionVerb>),
    /// Leases: acquire, renew, release, list
    #[command(subcommand)]
    Lease(Late<LeaseVerb>),
    /// Show what happened, newest last
    #[command(after_help = "Examples:\n  agentpm log 7XK2Q1\n  agentpm log --by codex-1 --since 2026-11-20")]
    Log(Late<q::Log>),
    /// Say for each field of a task which event set it
    #[command(after_help = "Example:\n  agentpm blame 7XK2Q1")]
    Blame(Late<q::Blame>),
    /// Say what changed from one point to another: Lamport times, times, or git revisions
    #[command(after_help = super::help::DIFF)]
    Diff(Late<q::Diff>),
    /// Say what the commits of a branch do to the plan, and what of it a reviewer must decide
    #[command(after_help = super::help::REVIEW)]
    Review(Late<q::Review>),
    /// List values that lost to one written at the same time, or put one back
    #[command(args_conflicts_with_subcommands = true, after_help = super::help::CONFLICTS)]
    Conflicts(Late<ConflictsArgs>),
    /// Put back what an event changed, by new events; what was written again since stays
    #[command(after_help = super::help::UNDO)]
    Undo(Late<c::Undo>),
    /// Check the store; exit 1 where it finds an error
    #[command(after_help = super::help::LINT)]
    Lint(Late<Lint>),
    /// Commit the plan, bring in what the upstream has, and push
    #[command(after_help = "Examples:\n  agentpm sync\n  agentpm sync --plan\n  agentpm sync --no-push")]
    Sync(Late<super::exchange::SyncArgs>),
    /// Print each event as it happens, one JSON object a line
    #[command(after_help = "Examples:\n  agentpm watch\n  agentpm watch --since 01K5R4XJ7Z0000000000000001 --for 10m")]
    Watch(Late<super::exchange::Watch>),
    /// Repair what git left of the plan after a merge, rebase, cherry-pick or stash, record hand edits, and git add what was settled
    #[command(after_help = "Examples:\n  git merge feature || agentpm resolve\n  agentpm resolve --staged")]
    Resolve(Late<crate::model::job::Resolve>),
    /// Merge three versions of a task.yaml; called by git (merge.agentpm.driver)
    #[command(
        hide = true,
        after_help = "Example:\n  git config merge.agentpm.driver 'agentpm merge-driver %O %A %B %P %S %X %Y'"
    )]
    MergeDriver(Late<super::exchange::MergeDriver>),
    /// Print a log as lines to read; called by git (diff.agentpm.textconv)
    #[command(hide = true, after_help = "Example:\n  git config diff.agentpm.textconv 'agentpm textconv'")]
    Textconv(Late<super::exchange::Textconv>),
    /// Name in a commit message the leases it is made under; called by git (commit-msg)
    #[command(hide = true, after_help = "Example:\n  agentpm trailer .git/COMMIT_EDITMSG")]
    Trailer(Late<super::exchange::Trailer>),
    /// List acknowledged events that no branch or worktree holds any more, or bring chosen ones back
    #[command(after_help = "Examples:\n  agentpm recover\n  agentpm recover --task 7XK2Q1\n  agentpm recover --all")]
    Recover(Late<super::exchange::Recover>),
    /// Look at everything around the plan and say what is wrong; changes nothing
    #[command(after_help = "Example:\n  agentpm doctor")]
    Doctor,
    /// Count the plan
    #[command(after_help = "Example:\n  agentpm stats")]
    Stats,
    /// Take over the plan of another tool
    #[command(after_help = "Example:\n  agentpm import --from beads .beads/issues.jsonl")]
    Import(Late<Import>),
    /// Print JSON Schemas: of the files people write, the operations of a batch, a task in answers, the errors
    #[command(after_help = super::help::SCHEMA)]
    Schema(Late<Schema>),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  agentpm completions bash > ~/.local/share/bash-completion/completions/agentpm")]
    Completions(Late<Completions>),
    /// Print the help of a command, or with agents the loop of an agent on one page
    #[command(after_help = "Examples:\n  agentpm help agents\n  agentpm help task create")]
    Help(Late<Help>),
    /// Print the manual page
    #[command(after_help = "Example:\n  agentpm man > agentpm.1")]
    Man,
    /// Short for task list
    #[command(after_help = super::help::LIST)]
    Ls(Late<q::TaskList>),
    /// Short for task get
    #[command(after_help = "Example:\n  agentpm show 7XK2Q1")]
    Show(Late<q::TaskGet>),
    /// Short for task create
    #[command(after_help = "Example:\n  agentpm add --title 'Fix the lock' --label storage")]
    Add(Late<Box<c::TaskCreate>>),
    /// Short for context add
    #[command(after_help = "Example:\n  agentpm note 7XK2Q1 --content 'the bug is in the parser'")]
    Note(Late<c::ContextAdd>),
}

#[derive(Subcommand, Debug)]
pub enum TaskVerb {
    /// Create a task
    #[command(after_help = super::help::CREATE)]
    Create(Late<Box<c::TaskCreate>>),
    /// Show a task whole
    #[command(visible_alias = "show", after_help = super::help::GET)]
    Get(Late<q::TaskGet>),
    /// List tasks: unfinished ones, most urgent first, a bounded page
    #[command(visible_alias = "ls", after_help = super::help::LIST)]
    List(Late<q::TaskList>),
    /// Change fields of a task
    #[command(
        after_help = "Examples:\n  agentpm task update 7XK2Q1 --priority 3 --add-label urgent\n  agentpm task update 7XK2Q1 --intent @notes.md --expected-version 4"
    )]
    Update(Late<Box<c::TaskUpdate>>),
    /// Move a task to another status
    #[command(after_help = "Example:\n  agentpm task transition 7XK2Q1 --status cancelled --why 'not needed any more'")]
    Transition(Late<c::TaskTransition>),
    /// Say that a task must wait for another
    #[command(after_help = "Example:\n  agentpm task block 7XK2Q1 --by 3MZ8TT")]
    Block(Late<c::TaskBlock>),
    /// Say that a task need not wait for another any more
    #[command(after_help = "Example:\n  agentpm task unblock 7XK2Q1 --by 3MZ8TT")]
    Unblock(Late<c::TaskUnblock>),
    /// Relate a task to another
    #[command(after_help = "Example:\n  agentpm task relate 7XK2Q1 --to 3MZ8TT --type relates_to")]
    Relate(Late<c::TaskRelate>),
    /// Take a relationship away
    #[command(after_help = "Example:\n  agentpm task unrelate 7XK2Q1 --relationship 3MZ8TT")]
    Unrelate(Late<c::TaskUnrelate>),
    /// Put a completed or cancelled task away
    #[command(after_help = "Example:\n  agentpm task archive 7XK2Q1")]
    Archive(Late<c::TaskArchive>),
    /// Open a closed task again
    #[command(after_help = "Example:\n  agentpm task reopen 7XK2Q1 --reason 'the fix did not hold'")]
    Reopen(Late<c::TaskReopen>),
    /// Mark acceptance criteria as met, or record a review of the result
    #[command(
        after_help = "Examples:\n  agentpm task verify 7XK2Q1 --criterion 1\n  agentpm task verify 7XK2Q1 --fail --why 'no test'"
    )]
    Verify(Late<c::TaskVerify>),
    /// Edit a task's YAML in $EDITOR; only on a terminal
    #[command(after_help = "Example:\n  agentpm task edit 7XK2Q1")]
    Edit(Late<q::TaskPath>),
    /// Print the path of a task's YAML file
    #[command(after_help = "Example:\n  git log -- \"$(agentpm task path 7XK2Q1 --quiet)\"")]
    Path(Late<q::TaskPath>),
}

#[derive(Subcommand, Debug)]
pub enum PlanVerb {
    /// Make the tasks of a plan; applying it again changes only what changed in it
    #[command(after_help = super::help::PLAN)]
    Apply(PlanApply),
}

#[derive(Subcommand, Debug)]
pub enum ProgressVerb {
    /// Note a step of the work
    #[command(after_help = "Example:\n  agentpm progress add 7XK2Q1 --content 'parser done'")]
    Add(c::ProgressAdd),
    /// Tick a step off
    #[command(after_help = "Example:\n  agentpm progress complete 9Q0R4S")]
    Complete(c::ProgressComplete),
    /// Take the tick off a step
    #[command(after_help = "Example:\n  agentpm progress reopen 9Q0R4S")]
    Reopen(c::ProgressReopen),
}

#[derive(Subcommand, Debug)]
pub enum ContextVerb {
    /// Record something worth knowing
    #[command(
        after_help = "Example:\n  agentpm context add 7XK2Q1 --type decision --content 'flock, not fcntl: fcntl locks die with any close'"
    )]
    Add(c::ContextAdd),
    /// Replace a context entry by a newer one
    #[command(after_help = "Example:\n  agentpm context supersede 9Q0R4S --content 'fcntl after all'")]
    Supersede(c::ContextSupersede),
    /// Take the text of a context entry out of the plan (a secret, say); git history and clones may still hold it
    #[command(after_help = "Example:\n  agentpm context redact 9Q0R4S --reason 'held a token'")]
    Redact(c::ContextRedact),
}

#[derive(Subcommand, Debug)]
pub enum AgentVerb {
    /// Introduce an agent, or change what is known of it
    #[command(
        after_help = "Examples:\n  agentpm agent register --name codex-1 --role executor\n  agentpm agent register --name codex-1 --new-key"
    )]
    Register(RegisterArgs),
    /// List the agents
    #[command(after_help = "Example:\n  agentpm agent list")]
    List,
}

#[derive(Args, Debug)]
pub struct RegisterArgs {
    #[command(flatten)]
    pub what: c::AgentRegister,
    /// Make a key in this clone's git folder and register its public half: from then on what the agent does here is signed
    #[arg(long, conflicts_with = "public_key")]
    pub new_key: bool,
}

#[derive(Subcommand, Debug)]
pub enum SessionVerb {
    /// Begin a session
    #[command(after_help = "Example:\n  export AGENTPM_SESSION=$(agentpm session start --agent-id codex-1 --quiet)")]
    Start(c::SessionStart),
    /// Give a sign of life
    #[command(after_help = "Examples:\n  agentpm session heartbeat\n  agentpm session heartbeat 7XK2Q1")]
    Heartbeat(c::SessionHeartbeat),
    /// End a session
    #[command(after_help = "Examples:\n  agentpm session end\n  agentpm session end 7XK2Q1")]
    End(c::SessionEnd),
    /// List the sessions of this clone, with what they hold
    #[command(after_help = "Examples:\n  agentpm session list\n  agentpm session list --all --format table")]
    List(q::SessionList),
}

#[derive(Subcommand, Debug)]
pub enum LeaseVerb {
    /// Take the lease of a task without changing its status
    #[command(after_help = "Example:\n  agentpm lease acquire 7XK2Q1 --ttl 30m")]
    Acquire(c::LeaseAcquire),
    /// Prolong a lease you hold
    #[command(after_help = "Example:\n  agentpm lease renew 7XK2Q1")]
    Renew(c::LeaseRenew),
    /// Give a lease back without changing the task's status
    #[command(after_help = "Example:\n  agentpm lease release 7XK2Q1")]
    Release(c::LeaseRelease),
    /// List the leases that hold
    #[command(after_help = "Examples:\n  agentpm lease list\n  agentpm lease list --remote")]
    List(q::LeaseList),
}

#[derive(Args, Debug)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    pub verb: Option<ConflictsVerb>,
    #[command(flatten)]
    pub list: q::Conflicts,
}

#[derive(Subcommand, Debug)]
pub enum ConflictsVerb {
    /// Put a lost value back, as a new change
    #[command(after_help = super::help::RESTORE)]
    Restore(c::ConflictsRestore),
    /// Confirm the value that stands, which ends the conflict
    #[command(after_help = super::help::KEEP)]
    Keep(c::ConflictsKeep),
}

#[derive(Args, Debug)]
pub struct Init {
    /// Write a short section about agentpm into AGENTS.md
    #[arg(long)]
    pub agents_md: bool,
    /// Install a pre-commit hook that runs lint --staged, and resolve --staged before a commit that ends a stopped merge,
    /// squash, cherry-pick, revert or rebase; and the hook of lease trailers
    #[arg(long)]
    pub hooks: bool,
    /// Leave the git settings of this clone as they are
    #[arg(long)]
    pub no_driver: bool,
}

#[derive(Args, Debug)]
pub struct Batch {
    /// A file with the operations, or - for standard input
    #[arg(long, value_name = "FILE")]
    pub file: String,
}

#[derive(Args, Debug)]
pub struct PlanApply {
    /// The plan file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
    /// Say what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Args, Debug)]
pub struct NextArgs {
    /// Take it: lease, owner and in_progress in one step
    #[arg(long)]
    pub claim: bool,
    /// Give the terms of the score, and the reasons of what is not ready
    #[arg(long)]
    pub explain: bool,
    /// Look at this branch and this worktree alone
    #[arg(long)]
    pub here: bool,
    /// Time to live of the lease: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION", requires = "claim")]
    pub ttl: Option<crate::model::args::Duration>,
    /// Where nothing is ready, wait so long for it: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<crate::model::args::Duration>,
}

#[derive(Args, Debug)]
pub struct Lint {
    /// Mend what can be mended without a choice, and record hand edits as events
    #[arg(long)]
    pub fix: bool,
    /// With --fix: drop comments in task.yaml instead of keeping them as a note
    #[arg(long, requires = "fix")]
    pub drop_comments: bool,
    /// With --fix: what becomes of tasks whose files were removed
    #[arg(long, value_name = "WHAT", requires = "fix", value_enum)]
    pub deleted: Option<crate::engine::Deleted>,
    /// Judge what a commit made now would add: git's index, not the work tree
    #[arg(long, conflicts_with_all = ["fix", "base"])]
    pub staged: bool,
    /// Check besides what happened since this revision: that nothing of its plan was rewritten, that its roles.yml permits the new
    /// events, the lease trailers of the commits. How bad a rule is, that revision's config.toml says
    #[arg(long, value_name = "REV", conflicts_with = "fix")]
    pub base: Option<String>,
    /// Judge the text on standard input as if it stood at --path; for editors
    #[arg(long, requires = "path", conflicts_with_all = ["fix", "staged", "base"])]
    pub stdin: bool,
    /// The file whose text is given; one that belongs to no store has no findings
    #[arg(long, value_name = "FILE", requires = "stdin")]
    pub path: Option<PathBuf>,
    /// Print the page of a rule: what it means, why it matters, how to mend it
    #[arg(long, value_name = "CODE", conflicts_with_all = ["fix", "staged", "base", "stdin"])]
    pub explain: Option<String>,
}

#[derive(Args, Debug)]
pub struct Import {
    /// arbeit, taskmaster or beads
    #[arg(long, value_name = "FORMAT")]
    pub from: String,
    /// The file, or - for standard input
    #[arg(value_name = "FILE")]
    pub file: String,
}

#[derive(Args, Debug)]
pub struct Schema {
    /// task-file, config, roles, task, errors, rules, or an operation such as task.create; a list of names where absent
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
    /// The schema alone, as an editor reads it
    #[arg(long)]
    pub bare: bool,
}

#[derive(Args, Debug)]
pub struct Help {
    /// A command, such as task create; or agents
    #[arg(value_name = "TOPIC")]
    pub topic: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}
