//! The commands around git: the drivers that git calls, `resolve`, `sync`, `recover`, `watch`.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::args::Global;
use super::human;
use super::output::{Answer, escape, escape_lines, for_terminal};
use super::run::raw_events;
use crate::engine::{self, LeaseNews, MergeInput, Options, Selection, Workspace};
use crate::env::Env;
use crate::error::{Code, Result};
use crate::model::args::Ref;
use crate::model::id::{HANDLE_MIN, Id};
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
    /// Record events of another replica; events that are already here are skipped
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
pub fn merge_driver(env: &Env, args: &MergeDriver) -> Result<Answer> {
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
    let mut answer = Answer { document: true, ..Answer::default() };
    if let Some(why) = unclear {
        let path = args.path.clone().unwrap_or_else(|| args.ours.display().to_string());
        answer.warnings.push(format!("{path}: {why}; agentpm resolve resolves it from its log"));
        answer.exit = 1;
    }
    Ok(answer)
}

/// Answers git: a failure is a warning and stops no commit.
pub fn trailer(env: Env, options: Options, args: &Trailer) -> Answer {
    let mut answer = Answer { document: true, ..Answer::default() };
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

pub fn textconv(env: &Env, args: &Textconv) -> Result<Answer> {
    let text = engine::textconv(env, &args.file)?;
    Ok(Answer { human: escape_lines(&text), data: json!({ "text": text }), document: true, ..Answer::default() })
}

/// Lists lost events, or restores those that are named.
pub fn recover(ws: &Workspace, args: Recover, md: bool) -> Result<Answer> {
    let wanted = match args.task {
        Some(task) => Selection::Task(Ref(task)),
        None if args.all => Selection::All,
        None if !args.events.is_empty() => Selection::Events(args.events.into_iter().map(Ref).collect()),
        None => {
            let data = super::run::ask(ws, Query::Unheld(args.list))?;
            let items = data["items"].as_array().into_iter().flatten();
            let quiet = items.filter_map(|item| item["id"].as_str()).collect::<Vec<_>>().join("\n");
            let warnings = data["warnings"].as_array().into_iter().flatten();
            let warnings = warnings.filter_map(|w| w.as_str().map(str::to_owned)).collect();
            let columns = &["id", "type", "entity", "title", "agent", "at", "why"];
            let human = human::table(&data, columns, md);
            return Ok(Answer { human, markdown: true, data, quiet: Some(quiet), warnings, ..Answer::default() });
        }
    };
    let back = engine::repair::recover::restore_events(ws, &wanted)?;
    let mut warnings = Vec::new();
    if !back.missing.is_empty() {
        let ids: Vec<String> = back.missing.iter().map(ToString::to_string).collect();
        warnings.push(format!("this clone does not have these ancestors of the events: {}", ids.join(", ")));
    }
    let mut human: String = back.entities.iter().map(|entity| format!("{entity}\n")).collect();
    let events = back.events.len();
    human.push_str(&format!("restored {events} event{}\n", if events == 1 { "" } else { "s" }));
    let quiet = back.events.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let data = json!({
        "items": back.events, "total": back.events.len(), "entities": back.entities, "missing": back.missing,
    });
    Ok(Answer { data, human, quiet: Some(quiet), warnings, changed: true, ..Answer::default() })
}

pub fn resolve(ws: &Workspace, args: &job::Resolve) -> Result<Answer> {
    let data = super::run::job(ws, Job::Resolve(args.clone()))?;
    let mut human = String::new();
    for item in data["items"].as_array().into_iter().flatten() {
        let did: Vec<&str> = item["did"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        human.push_str(&format!("{}: {}\n", escape(item["entity"].as_str().unwrap_or_default()), did.join("; ")));
    }
    for left in data["left"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        human.push_str(&format!("unchanged: {}\n", escape(left)));
    }
    if let Some(events) = data["projected"].as_u64() {
        human.push_str(&format!("{events} acknowledged event{} written\n", if events == 1 { "" } else { "s" }));
    }
    for path in data["rebuilt"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        human.push_str(&format!("{}: damaged; rewritten from the journal\n", escape(path)));
    }
    if human.is_empty() {
        human.push_str("nothing to repair\n");
    }
    Ok(Answer { data, human, changed: true, ..Answer::default() })
}

/// What was done for leases, a line each.
fn lease_lines(news: &LeaseNews) -> String {
    let mut out = String::new();
    for lost in &news.lost {
        let handle = lost.task.handle(HANDLE_MIN);
        let place = if lost.to == lost.agent { " in another clone" } else { "" };
        out.push_str(&format!(
            "  lost  {handle}  {}'s lease: {} holds the task now{place}\n",
            escape(&lost.agent),
            escape(&lost.to)
        ));
    }
    for task in &news.confirmed {
        out.push_str(&format!("  confirmed  {}  the remote agreed to its lease\n", task.handle(HANDLE_MIN)));
    }
    let leases = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    if news.reported > 0 {
        out.push_str(&format!("  reported {} to the remote\n", leases(news.reported, "released lease")));
    }
    if news.removed > 0 {
        let records = leases(news.removed, "record");
        out.push_str(&format!("  removed {records} of finished tasks at the remote\n"));
    }
    out
}

pub fn sync(ws: &Workspace, args: &SyncArgs, global: &Global) -> Result<Answer> {
    match &args.verb {
        Some(SyncVerb::Pull(args)) => return pull(ws, args, global),
        Some(SyncVerb::Push(args)) => return push(ws, args),
        None => {}
    }
    let report = engine::sync::sync(ws, &args.options)?;
    let mut human = format!("{} on {}\n", report.words(), escape(&report.branch));
    for (arrow, changes) in [("in ", &report.incoming), ("out", &report.outgoing)] {
        for change in changes.iter().take(MAX_LINES) {
            human.push_str(&format!("  {arrow}  {}  {:<9}  {}\n", change.handle, change.what, escape(&change.title)));
        }
        if changes.len() > MAX_LINES {
            human.push_str(&format!("  … and {} more {arrow}; all of them with --json\n", changes.len() - MAX_LINES));
        }
    }
    for edit in &report.lost {
        let word = |key: &str| escape(edit[key].as_str().unwrap_or_default());
        human.push_str(&format!(
            "  {} {}  {}: {}'s {} to {}'s; restore it: {}\n",
            if report.dry_run { "would lose" } else { "lost" },
            word("handle"),
            word("field"),
            word("agent"),
            if report.dry_run { "would give way" } else { "gave way" },
            word("by"),
            word("restore")
        ));
    }
    for task in report.unblocked.iter().take(MAX_LINES) {
        human.push_str(&format!("  unblocked  {}  no unfinished blocker\n", task.handle(HANDLE_MIN)));
    }
    human.push_str(&lease_lines(&report.leases));
    let changed = !report.dry_run;
    Ok(Answer {
        data: json!(report),
        human,
        quiet: Some(report.head.clone()),
        warnings: report.warnings,
        changed,
        ..Answer::default()
    })
}

/// Most tasks that are named to people.
const MAX_LINES: usize = 30;

fn pull(ws: &Workspace, args: &job::SyncPull, global: &Global) -> Result<Answer> {
    let mut answer =
        raw_events(global, |show| engine::feed::stream::pull_events(ws, args.since_event_id, args.limit, show))?;
    answer.quiet = answer.data["next_cursor"].as_str().map(str::to_owned);
    Ok(answer)
}

fn push(ws: &Workspace, args: &SyncPush) -> Result<Answer> {
    let events = super::run::read_input(&args.file)?;
    let data = super::run::job(ws, Job::SyncPush(job::SyncPush { events }))?;
    Ok(Answer { human: human::object(&data), data, changed: true, ..Answer::default() })
}

/// Prints each event as a line as it arrives. The answer itself is empty.
pub fn watch(ws: &Workspace, args: &Watch) -> Result<Answer> {
    let mut left = args.count;
    if left == Some(0) {
        return Ok(Answer { document: true, ..Answer::default() });
    }
    let span = args.span.as_ref().map(|span| Duration::from_millis(span.millis.unsigned_abs()));
    engine::feed::stream::watch(ws, args.since, span, |entry| {
        let mut out = std::io::stdout().lock();
        // The reader closed the pipe and has seen enough.
        let gone = writeln!(out, "{}", for_terminal(entry.line.to_string())).and_then(|()| out.flush()).is_err();
        left = left.map(|n| n.saturating_sub(1));
        !gone && left != Some(0)
    })?;
    Ok(Answer { document: true, ..Answer::default() })
}
