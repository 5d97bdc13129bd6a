//! The verbs of groups, such as `task` and `thread`, and the call that each stands for.
//!
//! Leaves to others: the verbs without a group (`args`), and their calls (`run`).

use clap::{Args, Subcommand};

use super::deferred::Deferred;
use super::groups::{Changes, ContextGroup, LeaseGroup, SessionGroup, TaskGroup, ThreadGroup};
use super::input::read_input;
use super::options::{PlanApply, RegisterArgs, SplitArgs};
use crate::api::Call;
use crate::engine::commit::plan::read_tasks;
use crate::error::{Error, Result};
use crate::model::args::OptionalTaskRef;
use crate::model::command::{Command, ContextAdd};
use crate::model::context::ContextType;
use crate::model::job::{InboxWait, Job, NewKey};
use crate::model::query::{Query, TaskGet};
use crate::model::{command as c, query as q};

#[derive(Subcommand, Debug)]
pub enum TaskVerb {
    /// Create a task
    #[command(after_help = super::help::CREATE)]
    Create(Deferred<Box<c::TaskCreate>>),
    /// Show a task: every field, and the newest entries of its long lists
    #[command(visible_alias = "show", after_help = super::help::GET)]
    Get(Deferred<q::TaskGet>),
    /// List unfinished tasks, most urgent first, in pages
    #[command(visible_alias = "ls", after_help = super::help::LIST)]
    List(Deferred<q::TaskList>),
    /// Change fields of a task
    #[command(
        after_help = "Examples:\n  agentpm task update 7XK2Q1 --priority 3 --add-label urgent\n  agentpm task update 7XK2Q1 --intent @notes.md --expected-version 4"
    )]
    Update(Deferred<Box<c::TaskUpdate>>),
    #[command(flatten)]
    Change(Changes<TaskGroup>),
    /// Split a task into parts, which become its children; the task goes back to open and its lease is released
    #[command(
        after_help = "Examples:\n  agentpm task split 7XK2Q1 --title 'Read the log' --title 'Write the log'\n  agentpm task split 7XK2Q1 --into parts.yaml"
    )]
    Split(Deferred<SplitArgs>),
    /// Edit the YAML file of a task in $EDITOR; needs a terminal
    #[command(after_help = "Example:\n  agentpm task edit 7XK2Q1")]
    Edit(Deferred<q::TaskPath>),
    /// Print the path of a task's YAML file
    #[command(after_help = "Example:\n  git log -- \"$(agentpm task path 7XK2Q1 --quiet)\"")]
    Path(Deferred<q::TaskPath>),
}

impl TaskVerb {
    pub fn call(self, full: bool) -> Result<Call> {
        Ok(match self {
            TaskVerb::Change(change) => change.call(),
            TaskVerb::Get(Deferred(args)) => Call::Query(Query::TaskGet(TaskGet { full, ..args })),
            TaskVerb::List(Deferred(args)) => Call::Query(Query::TaskList(args)),
            TaskVerb::Path(Deferred(args)) => Call::Query(Query::TaskPath(args)),
            TaskVerb::Create(Deferred(args)) => Call::Change(Command::TaskCreate(*args)),
            TaskVerb::Update(Deferred(args)) => Call::Change(Command::TaskUpdate(*args)),
            TaskVerb::Split(Deferred(SplitArgs { mut what, into })) => {
                if let Some(file) = into {
                    what.into = read_tasks(&read_input(&file)?)?;
                }
                Call::Change(Command::TaskSplit(what))
            }
            TaskVerb::Edit(_) => return Err(Error::usage("answered before")),
        })
    }
}

#[derive(Subcommand, Debug)]
pub enum PlanVerb {
    /// Create the tasks of a plan; applying it again changes only what changed in the file since
    #[command(after_help = super::help::PLAN)]
    Apply(PlanApply),
    /// Print a plan as a file for plan apply
    #[command(after_help = "Examples:\n  agentpm plan show storage\n  agentpm plan show > plan.yaml")]
    Show(q::PlanShow),
}

#[derive(Subcommand, Debug)]
pub enum ContextVerb {
    #[command(
        after_help = "Example:\n  agentpm context add 7XK2Q1 --type decision --content 'flock, not fcntl: fcntl locks die with any close'"
    )]
    Add(c::ContextAdd),
    #[command(flatten)]
    Change(Changes<ContextGroup>),
}

impl ContextVerb {
    pub fn call(self) -> Call {
        match self {
            ContextVerb::Add(args) => Call::Change(Command::ContextAdd(typed(args))),
            ContextVerb::Change(change) => change.call(),
        }
    }
}

/// The type of a context entry may stand in the place of a task, whose id no type can be.
fn typed(mut args: ContextAdd) -> ContextAdd {
    let word = args.what.task_id.0.as_deref();
    if let Some(kind) = ContextType::ALL.into_iter().find(|kind| Some(kind.as_str()) == word) {
        (args.kind, args.what.task_id) = (kind, OptionalTaskRef(None));
    }
    args
}

#[derive(Subcommand, Debug)]
pub enum ThreadVerb {
    #[command(flatten)]
    Change(Changes<ThreadGroup>),
    #[command(after_help = "Examples:\n  agentpm thread list --open\n  agentpm thread list --task 7XK2Q1")]
    List(q::ThreadList),
    #[command(after_help = "Examples:\n  agentpm thread show 9Q0R4S\n  agentpm thread show 9Q0R4S --format md")]
    Show(q::ThreadShow),
}

impl ThreadVerb {
    pub fn call(self, full: bool) -> Call {
        match self {
            ThreadVerb::Change(change) => change.call(),
            ThreadVerb::List(args) => Call::Query(Query::ThreadList(args)),
            ThreadVerb::Show(args) => Call::Query(Query::ThreadShow(q::ThreadShow { full, ..args })),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum AgentVerb {
    /// Register an agent, or change its registration
    #[command(
        after_help = "Examples:\n  agentpm agent register --name codex-1 --role executor\n  agentpm agent register --name codex-1 --new-key"
    )]
    Register(RegisterArgs),
    /// List the agents
    #[command(after_help = "Example:\n  agentpm agent list")]
    List,
    /// Show an agent
    #[command(after_help = "Example:\n  agentpm agent show codex-1")]
    Show(q::AgentGet),
    /// Issue a token with which an agent authenticates to agentpm serve; it replaces an earlier one
    #[command(after_help = "Examples:\n  agentpm agent token codex-1 --quiet\n  agentpm agent token codex-1 --revoke")]
    Token(crate::model::job::AgentToken),
}

impl AgentVerb {
    pub fn call(self) -> Call {
        match self {
            AgentVerb::Register(args) if args.new_key => Call::Job(Job::NewKey(NewKey { agent: args.named() })),
            AgentVerb::Register(args) => Call::Change(Command::AgentRegister(args.named())),
            AgentVerb::List => Call::Query(Query::AgentList(q::AgentList {})),
            AgentVerb::Show(args) => Call::Query(Query::AgentGet(args)),
            AgentVerb::Token(args) => Call::Job(Job::AgentToken(args)),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum SessionVerb {
    #[command(flatten)]
    Change(Changes<SessionGroup>),
    #[command(after_help = "Examples:\n  agentpm session list\n  agentpm session list --all --format table")]
    List(q::SessionList),
}

impl SessionVerb {
    pub fn call(self) -> Call {
        match self {
            SessionVerb::Change(change) => change.call(),
            SessionVerb::List(args) => Call::Query(Query::SessionList(args)),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum LeaseVerb {
    #[command(flatten)]
    Change(Changes<LeaseGroup>),
    #[command(after_help = "Examples:\n  agentpm lease list\n  agentpm lease list --remote")]
    List(q::LeaseList),
}

impl LeaseVerb {
    pub fn call(self) -> Call {
        match self {
            LeaseVerb::Change(change) => change.call(),
            LeaseVerb::List(args) => Call::Query(Query::LeaseList(args)),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum ConfigVerb {
    #[command(after_help = "Examples:\n  agentpm config get lease.ttl_seconds\n  agentpm config get agent --quiet")]
    Get(q::ConfigGet),
    #[command(
        after_help = "Names and values: agentpm config list, agentpm schema config. The store's file is part of the plan: agentpm sync shares it.\n\nExamples:\n  agentpm config set lease.ttl_seconds 900\n  agentpm config set review.required true\n  agentpm config set query.mine 'owner:me sort:due'\n  agentpm config set agent codex-1 --user"
    )]
    Set(crate::model::job::ConfigSet),
    #[command(after_help = "Examples:\n  agentpm config list\n  agentpm config list lease")]
    List(q::ConfigList),
}

impl ConfigVerb {
    pub fn call(self) -> Call {
        match self {
            ConfigVerb::Get(args) => Call::Query(Query::ConfigGet(args)),
            ConfigVerb::Set(args) => Call::Job(Job::ConfigSet(args)),
            ConfigVerb::List(args) => Call::Query(Query::ConfigList(args)),
        }
    }
}

#[derive(Args, Debug)]
pub struct InboxArgs {
    #[command(subcommand)]
    pub verb: Option<InboxVerb>,
    #[command(flatten)]
    pub list: q::Inbox,
    /// Maximum time to wait until something is unread: seconds, or 90s, 10m, 2h
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<crate::model::args::Duration>,
}

impl InboxArgs {
    pub fn call(self) -> Call {
        match (self.verb, self.wait) {
            (Some(InboxVerb::Ack(args)), _) => Call::Job(Job::InboxAck(args)),
            (None, Some(wait)) => Call::Job(Job::InboxWait(InboxWait { wait, list: self.list })),
            (None, None) => Call::Query(Query::Inbox(self.list)),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum InboxVerb {
    /// Acknowledge items of your inbox: they are not shown again
    #[command(
        after_help = "Examples:\n  agentpm inbox ack 1f03-2a4c\n  agentpm inbox ack 8f0d1c2b3a49\n  agentpm inbox ack --all"
    )]
    Ack(crate::model::job::InboxAck),
}

#[derive(Args, Debug)]
pub struct ConflictsArgs {
    #[command(subcommand)]
    pub verb: Option<ConflictsVerb>,
    #[command(flatten)]
    pub list: q::Conflicts,
}

impl ConflictsArgs {
    pub fn call(self) -> Call {
        match self.verb {
            Some(ConflictsVerb::Restore(args)) => Call::Change(Command::ConflictsRestore(args)),
            Some(ConflictsVerb::Keep(args)) => Call::Change(Command::ConflictsKeep(args)),
            None => Call::Query(Query::Conflicts(self.list)),
        }
    }
}

#[derive(Subcommand, Debug)]
pub enum ConflictsVerb {
    #[command(after_help = super::help::RESTORE)]
    Restore(c::ConflictsRestore),
    #[command(after_help = super::help::KEEP)]
    Keep(c::ConflictsKeep),
}
