//! The commands around git: the drivers that git calls, `sync`, `recover`, `watch`.
//!
//! Leaves to others: the work itself (`api`, `engine`), and its words (`words`).

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Output, escape_lines, for_terminal};
use crate::api::Call;
use crate::engine::feed::stream::{self, Shown};
use crate::engine::{self, MergeInput, Options, Workspace};
use crate::env::Env;
use crate::error::{Code, Result};
use crate::model::id::Id;
use crate::model::job::{self, Job};
use crate::model::query::{Query, Unheld};

#[derive(Args, Debug)]
pub struct MergeDriver {
    /// The common ancestor's version (%O)
    pub base: PathBuf,
    /// Our version (%A), which the result replaces
    pub ours: PathBuf,
    /// Their version (%B)
    pub theirs: PathBuf,
    /// Path of the file in the work tree (%P)
    pub path: Option<String>,
    /// Label of the ancestor (%S)
    #[arg(allow_hyphen_values = true)]
    pub base_label: Option<String>,
    /// Label of our side (%X)
    #[arg(allow_hyphen_values = true)]
    pub ours_label: Option<String>,
    /// Label of their side (%Y)
    #[arg(allow_hyphen_values = true)]
    pub theirs_label: Option<String>,
}

#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SyncArgs {
    #[command(flatten)]
    pub options: job::Sync,
    #[command(subcommand)]
    pub verb: Option<SyncVerb>,
}

#[derive(Subcommand, Debug)]
pub enum SyncVerb {
    /// Print the events that arrived here after a cursor, in order of arrival
    #[command(after_help = "Example:\n  agentpm sync pull --since-event-id 01K5R4XJ7Z0000000000000001 --limit 100")]
    Pull(job::SyncPull),
    /// Record events of another replica in the form that agentpm writes; events that are already here are skipped
    #[command(
        after_help = "Example:\n  agentpm sync pull --limit 1000 > events.json\n  agentpm sync push --file events.json"
    )]
    Push(SyncPush),
}

#[derive(Args, Debug)]
pub struct SyncPush {
    /// File with an answer of sync pull, a JSON array of events, or one event per line; - for standard input
    #[arg(long, value_name = "FILE")]
    pub file: String,
}

#[derive(Args, Debug)]
pub struct Watch {
    /// Start after this event (default: start with new events)
    #[arg(long, value_name = "EVENT")]
    pub since: Option<Id>,
    /// Print the items of your inbox as they come, and not all events
    #[arg(long, conflicts_with = "since")]
    pub inbox: bool,
    /// Stop after this many events
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Stop after this time: seconds, or 90s, 10m, 2h
    #[arg(long = "for", value_name = "DURATION")]
    pub span: Option<crate::model::args::Duration>,
}

#[derive(Args, Debug)]
pub struct Textconv {
    /// Log to print
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct Trailer {
    /// File with the commit message
    pub file: PathBuf,
}

#[derive(Args, Debug)]
pub struct Recover {
    /// Restore these events, with their ancestors
    #[arg(value_name = "EVENT", conflicts_with_all = ["task", "all"])]
    pub events: Vec<String>,
    /// Restore all lost events of this task
    #[arg(long, alias = "task-id", value_name = "ID", conflicts_with = "all")]
    pub task: Option<String>,
    /// Restore all lost events
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub list: Unheld,
}

/// Answers git by the exit code alone: 0 for a clean merge, 1 where a conflict was left.
pub fn merge_driver(env: &Env, args: &MergeDriver) -> Result<Output> {
    let unclear = engine::merge_driver(
        env,
        &MergeInput {
            base: args.base.clone(),
            ours: args.ours.clone(),
            theirs: args.theirs.clone(),
            path: args.path.clone(),
            labels: [args.ours_label.clone(), args.theirs_label.clone()],
        },
    )?;
    let mut answer = Output { document: true, ..Output::default() };
    if let Some(why) = unclear {
        let path = args.path.clone().unwrap_or_else(|| args.ours.display().to_string());
        answer.warnings.push(format!("{path}: {why}; agentpm resolve resolves it from its log"));
        answer.exit = 1;
    }
    Ok(answer)
}

/// Answers git: a failure is a warning and stops no commit.
pub fn trailer(env: Env, options: Options, args: &Trailer) -> Output {
    let mut answer = Output { document: true, ..Output::default() };
    let added = match engine::open(env, options) {
        Err(e) if e.code == Code::NoStore => Ok(Vec::new()),
        opened => opened.and_then(|ws| {
            answer.warnings = ws.settings_warnings();
            engine::git_hooks::trailer::add_trailers(&ws, &args.file)
        }),
    };
    match added {
        Ok(added) => answer.data = json!({ "added": added.iter().map(ToString::to_string).collect::<Vec<_>>() }),
        Err(e) => answer.warnings.push(format!("no lease is named in the commit message: {}", e.message)),
    }
    answer
}

pub fn textconv(env: &Env, args: &Textconv) -> Result<Output> {
    let text = engine::textconv(env, &args.file)?;
    Ok(Output { human: escape_lines(&text), data: json!({ "text": text }), document: true, ..Output::default() })
}

/// Lists lost events, or restores those that are named.
pub fn recover(args: Recover) -> Call {
    let Recover { events, task, all, list } = args;
    if task.is_none() && !all && events.is_empty() {
        return Call::Query(Query::Unheld(list));
    }
    Call::Job(Job::Recover(job::Recover { events, task, all }))
}

/// The call of `sync` and what is below it.
///
/// Errors: those of reading the file of events.
pub fn sync(args: SyncArgs) -> Result<Call> {
    Ok(Call::Job(match args.verb {
        Some(SyncVerb::Pull(args)) => Job::SyncPull(args),
        Some(SyncVerb::Push(args)) => Job::SyncPush(job::SyncPush { events: super::input::read_input(&args.file)? }),
        None => Job::Sync(args.options),
    }))
}

/// Prints each event, or item of the inbox, as a line as it arrives. The answer itself is empty.
pub fn watch(ws: &Workspace, args: &Watch) -> Result<Output> {
    let mut left = args.count;
    if left == Some(0) {
        return Ok(Output { document: true, ..Output::default() });
    }
    let span = args.span.as_ref().map(|span| Duration::from_millis(span.millis.unsigned_abs()));
    let mut print = |line: String| {
        let mut out = std::io::stdout().lock();
        // The reader closed the pipe and has seen enough.
        let gone = writeln!(out, "{}", for_terminal(line)).and_then(|()| out.flush()).is_err();
        left = left.map(|n| n.saturating_sub(1));
        !gone && left != Some(0)
    };
    if args.inbox {
        let show = |one: &_| Ok(print(json!(engine::inbox::item(ws, one)?).to_string()));
        engine::inbox::watch(ws, span, &|| true, show)?;
    } else {
        stream::watch(ws, args.since, span, |shown| match shown {
            Shown::Event(entry) => print(entry.line.to_string()),
            Shown::Begin(_) | Shown::Nothing => true,
        })?;
    }
    Ok(Output { document: true, ..Output::default() })
}
