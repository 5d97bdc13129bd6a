//! From the arguments to the answer: each verb builds an operation and formats its answer.
//!
//! Leaves to others: the arguments (`args`), the operations (`api`), and their words (`words`).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use super::args::{Cli, Verb};
#[cfg(feature = "bus")]
use super::bus;
use super::deferred::Deferred;
use super::documents::{completions, document, help_on, man, openapi, schema};
use super::global::Global;
use super::input::{batch, read_input};
#[cfg(feature = "mcp")]
use super::options::Mcp;
use super::options::{Cancel, Init, PlanApply, Search, UndoArgs};
use super::output::{Form, Out, Output, escape, form, print, print_error, warn};
use super::respond::{edit, next, respond, reviewed};
#[cfg(feature = "server")]
use super::serve;
use super::usage::usage;
use super::verbs::{PlanVerb, TaskVerb};
use super::{diagnostics, exchange, export, help, import, lint, reserved, words, work};
use crate::api::{self, Call};
use crate::engine::query::names::name_tasks;
use crate::engine::{self, Options, Request, Workspace};
use crate::env::Env;
use crate::error::{Code, Error, Result};
use crate::model::args::EventRef;
use crate::model::command::{Command, TaskTransition, Undo};
use crate::model::job::{self, Job};
use crate::model::query::{Query, TaskGet, TaskList};
use crate::model::task::Status;
use crate::reports::event_words::deed;

/// Runs the program.
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let mut commands = Cli::command();
    let parsed = commands.try_get_matches_from_mut(&argv);
    // The process ends soon: to take hundreds of descriptions apart would be in vain.
    std::mem::forget(commands);
    let (cli, refused) = match parsed.and_then(|m| Ok((Cli::from_arg_matches(&m)?, reserved::refusal(&m)))) {
        Ok(parsed) => parsed,
        Err(e) => return usage(&e, &argv),
    };
    let form = match form(&cli.global, matches!(cli.verb, Verb::Lint(_))) {
        Ok(form) => form,
        Err(e) => return print_error(&e, Form::Json, Out::Stdout),
    };
    // The format of an export is that of its document: a failure must not look like one where it is redirected.
    let is_document = matches!(cli.verb, Verb::Export(_)) && cli.global.format.is_some() && !cli.global.json;
    let form = if is_document { Form::Human } else { form };
    // Standard output belongs to the command that is run.
    let out = if matches!(cli.verb, Verb::Work(_)) { Out::Stderr } else { Out::Stdout };
    let answered = refused.map_or(Ok(()), Err).and_then(|()| Env::from_process()).and_then(|env| {
        start_log(&env, is_foreground(&cli.verb));
        answer(cli.verb, &cli.global, env)
    });
    match answered {
        Ok(answer) => print(&answer, &cli.global, form, out),
        Err(e) => print_error(&e, form, out),
    }
}

/// Whether a person watches the log.
fn is_foreground(verb: &Verb) -> bool {
    match verb {
        #[cfg(feature = "server")]
        Verb::Serve(Deferred(args)) => args.foreground,
        _ => false,
    }
}

/// Logs go to stderr: as JSON where AGENTPM_LOG_LEVEL asks for them, and in words for a person who watches.
fn start_log(env: &Env, in_words: bool) {
    let Some(level) = env.var("AGENTPM_LOG_LEVEL").or(in_words.then_some("info")) else { return };
    let filter =
        tracing_subscriber::EnvFilter::try_new(level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start within one process keeps the first log.
    let _ = if in_words { log.with_target(false).try_init() } else { log.json().try_init() };
}

fn answer(verb: Verb, global: &Global, env: Env) -> Result<Output> {
    // There these ids name what is undone; the events that undo it have ids of their own.
    let names_origin = matches!(&verb, Verb::Undo(Deferred(args)) if args.event.0.is_none());
    let link = |id: &Option<String>| id.clone().filter(|_| !names_origin);
    let options = Options {
        store: global.store.clone(),
        request: Request {
            agent: global.agent.clone(),
            session: global.session.clone(),
            correlation_id: link(&global.correlation_id),
            plan_id: link(&global.plan_id),
            full: global.full,
            idempotency_key: global.idempotency_key.clone(),
            authenticated: false,
        },
    };
    match verb {
        Verb::Init(Deferred(args)) => return init(&env, &options, &args),
        Verb::Completions(Deferred(args)) => return Ok(document(completions(args.shell))),
        Verb::Man(_) => return man(),
        Verb::Schema(Deferred(args)) => return schema(&args),
        Verb::Openapi(_) => return openapi(),
        #[cfg(feature = "server")]
        Verb::Serve(Deferred(args)) if !args.print_token => return serve::serve(env, options, &args, global),
        #[cfg(feature = "bus")]
        Verb::Bus(Deferred(args)) => return bus::bridge(env, options, args, global),
        #[cfg(feature = "mcp")]
        Verb::Mcp(Deferred(Mcp { print_config: Some(client) })) => {
            let agent = env.var("AGENTPM_AGENT").filter(|_| options.request.agent.is_none());
            let agent = options.request.agent.as_deref().or(agent);
            agent.map(crate::model::id::check_agent_name).transpose()?;
            return Ok(document(crate::mcp::entry(client, agent)));
        }
        #[cfg(feature = "mcp")]
        Verb::Mcp(_) => {
            crate::mcp::serve(env, options)?;
            return Ok(Output { document: true, ..Output::default() });
        }
        Verb::Help(Deferred(args)) => return help_on(&args.topic),
        Verb::MergeDriver(Deferred(args)) => return exchange::merge_driver(&env, &args),
        Verb::Textconv(Deferred(args)) => return exchange::textconv(&env, &args),
        Verb::Trailer(Deferred(args)) => return Ok(exchange::trailer(env, options, &args)),
        Verb::Lint(Deferred(args)) if lint::needs_no_store(&args) => {
            return lint::without_store(&env, &options, &args, global);
        }
        _ => {}
    }
    let around = env.fork();
    let ws = match (engine::open(env, options), &verb) {
        // A hook must be able to run lint anywhere.
        (Err(e), Verb::Lint(Deferred(args))) if e.code == Code::NoStore && global.store.is_none() => {
            return lint::nowhere(&around, args, global);
        }
        (Err(e), Verb::Lint(Deferred(args))) => return lint::no_folder(&around, args, global, e),
        // The same hook repairs a merge first.
        (Err(e), Verb::Resolve(Deferred(args))) if args.staged && e.code == Code::NoStore && global.store.is_none() => {
            return Ok(Output { data: api::without_empty(&engine::RepairReport::default()), ..Output::default() });
        }
        // A pull request that drops the plan is reviewed like any other.
        (Err(e), Verb::Review(Deferred(args)))
            if matches!(e.code, Code::NoStore | Code::Corrupt) && global.store.is_none() =>
        {
            let report = engine::review_dropped(&around, args)?;
            return report.map_or(Err(e), |report| words::reviewed(&report, args.limit, args.all, global));
        }
        (opened, _) => opened?,
    };
    // Lint lists all of it itself.
    let is_lint = matches!(verb, Verb::Lint(_));
    let done = carry_out(&ws, verb, global);
    if !is_lint {
        engine::repair::lost_events::notice_vanished(&ws);
    }
    let mut notices = if is_lint { Vec::new() } else { ws.settings_warnings() };
    notices.extend(ws.take_notices());
    let mut answer = done.inspect_err(|_| warn(&notices))?;
    notices.retain(|notice| !answer.warnings.contains(notice));
    answer.warnings.extend(notices);
    if !answer.changed
        && let Some(warning) = engine::commit::sessions::sign_of_life(&ws)
        && !answer.warnings.contains(&warning)
    {
        answer.warnings.push(warning);
    }
    Ok(answer)
}

fn carry_out(ws: &Workspace, verb: Verb, global: &Global) -> Result<Output> {
    let call = match verb {
        Verb::Task(Deferred(TaskVerb::Edit(Deferred(args)))) => return edit(ws, &args, global),
        Verb::Next(Deferred(args)) => return next(ws, &args, global),
        Verb::Work(Deferred(args)) => return work::work(ws, args).map_err(|e| name_tasks(ws, e)),
        Verb::Review(Deferred(args)) => return reviewed(ws, args, global),
        Verb::Prime(Deferred(args)) => return api::prime(ws, args.role).map(document),
        Verb::Watch(Deferred(args)) => return exchange::watch(ws, &args),
        #[cfg(feature = "server")]
        Verb::Serve(_) => return serve::token(ws),
        Verb::Export(Deferred(args)) => return export::export(ws, &args, global),
        Verb::Diagnostics(Deferred(verb)) => return diagnostics::diagnostics(ws, verb),
        Verb::Stats(_) if global.format.as_deref() == Some("prometheus") => return api::metrics(ws).map(document),
        Verb::Task(Deferred(verb)) => verb.call(global.full)?,
        Verb::Add(Deferred(args)) => Call::Change(Command::TaskCreate(*args)),
        Verb::Cancel(Deferred(Cancel { id, children, guard })) => {
            Call::Change(Command::TaskTransition(TaskTransition {
                id,
                status: Status::Cancelled,
                force: None,
                children,
                guard,
            }))
        }
        Verb::Search(Deferred(Search { words, limit, cursor })) => Call::Query(Query::TaskList(TaskList {
            query: Some(words.join(" ")),
            limit: Some(limit),
            cursor,
            all: true,
            ..TaskList::default()
        })),
        Verb::Note(Deferred(args)) => Call::Change(Command::ContextAdd(args)),
        Verb::Show(Deferred(args)) => Call::Query(Query::TaskGet(TaskGet { full: global.full, ..args })),
        Verb::Ls(Deferred(args)) => Call::Query(Query::TaskList(args)),
        Verb::Batch(Deferred(args)) => Call::Change(Command::Batch(batch(&args.file)?)),
        Verb::Plan(Deferred(PlanVerb::Apply(PlanApply { file, how }))) => {
            Call::Job(Job::PlanApply(job::PlanApply { plan: read_input(&file)?, how }))
        }
        Verb::Plan(Deferred(PlanVerb::Show(args))) => Call::Query(Query::PlanShow(args)),
        Verb::Graph(Deferred(mut args)) => {
            // A picture of a part would look like the whole.
            let is_picture =
                matches!(global.format.as_deref(), Some("svg" | "dot" | "mermaid")) && args.cursor.is_none();
            args.limit = args.limit.or(is_picture.then_some(u64::MAX));
            Call::Query(Query::Graph(args))
        }
        Verb::Progress(Deferred(verb)) => verb.call(),
        Verb::Context(Deferred(verb)) => verb.call(),
        Verb::Thread(Deferred(verb)) => verb.call(global.full),
        Verb::Inbox(Deferred(args)) => args.call(),
        Verb::Ready(Deferred(args)) => Call::Query(Query::Ready(args)),
        Verb::Claim(Deferred(args)) => Call::Change(Command::Claim(args)),
        Verb::Brief(Deferred(args)) => Call::Query(Query::Brief(args)),
        Verb::Done(Deferred(args)) => Call::Change(Command::Done(args)),
        Verb::Release(Deferred(args)) => Call::Change(Command::Release(args)),
        Verb::Stale(Deferred(args)) => Call::Query(Query::Stale(args)),
        Verb::Agent(Deferred(verb)) => verb.call(),
        Verb::Broadcast(Deferred(args)) => Call::Change(Command::Broadcast(args)),
        Verb::Session(Deferred(verb)) => verb.call(),
        Verb::Lease(Deferred(verb)) => verb.call(),
        Verb::Log(Deferred(mut args)) => {
            // A query of history has no actor: here --agent selects the author of the events.
            args.by = args.by.or_else(|| global.agent.clone());
            // Likewise these select the events of a request or a plan.
            (args.correlation_id, args.plan_id) = (global.correlation_id.clone(), global.plan_id.clone());
            Call::Query(Query::Log(args))
        }
        Verb::Blame(Deferred(args)) => Call::Query(Query::Blame(args)),
        Verb::Conflicts(Deferred(args)) => args.call(),
        Verb::Diff(Deferred(args)) => Call::Query(Query::Diff(args)),
        Verb::Undo(Deferred(args)) => undo_call(ws, args, global)?,
        Verb::Lint(Deferred(args)) => lint::call(args),
        Verb::Check(Deferred(args)) => Call::Query(Query::Check(args)),
        Verb::Config(Deferred(verb)) => verb.call(),
        Verb::Doctor(Deferred(args)) => Call::Query(Query::Doctor(args)),
        Verb::Status(Deferred(args)) => Call::Query(Query::Overview(args)),
        Verb::Stats(Deferred(args)) => Call::Query(Query::Stats(args)),
        Verb::Import(Deferred(args)) => return import::import(ws, args, global),
        Verb::Resolve(Deferred(args)) => Call::Job(Job::Resolve(args)),
        Verb::Recover(Deferred(args)) => exchange::recover(args),
        Verb::Migrate(Deferred(args)) => Call::Job(Job::Migrate(args)),
        Verb::Compact(Deferred(args)) => Call::Job(Job::Compact(args)),
        Verb::Sync(Deferred(args)) => exchange::sync(args)?,
        // Answered above, without a store.
        #[cfg(feature = "mcp")]
        Verb::Mcp(_) => return Err(Error::usage("answered before")),
        #[cfg(feature = "bus")]
        Verb::Bus(_) => return Err(Error::usage("answered before")),
        Verb::Init(_)
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::Schema(_)
        | Verb::Openapi(_)
        | Verb::Help(_)
        | Verb::MergeDriver(_)
        | Verb::Textconv(_)
        | Verb::Trailer(_) => return Err(Error::usage("answered before")),
    };
    respond(ws, &call, global)
}

/// Undoes one event, or all events of the request or the plan that the global options name then.
fn undo_call(ws: &Workspace, args: UndoArgs, global: &Global) -> Result<Call> {
    let UndoArgs { event, partial, dry_run, force, guard } = args;
    if let Some(event) = event.0 {
        if partial || dry_run {
            return Err(Error::usage("--partial and --dry-run belong to the undo of a request or a plan")
                .hint("agentpm undo --correlation-id ID --dry-run"));
        }
        return Ok(Call::Change(Command::Undo(Undo { event: EventRef(event), force, guard })));
    }
    if force.is_some()
        || guard.override_reason.is_some()
        || guard.lease_id.is_some()
        || guard.expected_version.is_some()
    {
        return Err(Error::usage("the undo of a request or a plan has no option to bypass a check")
            .hint("undo the events one by one: agentpm undo EVENT --force REASON"));
    }
    let (correlation_id, plan_id) = (global.correlation_id.clone(), global.plan_id.clone());
    if correlation_id.is_none() && plan_id.is_none() {
        return Err(nothing_to_undo(ws));
    }
    Ok(Call::Job(Job::UndoRequest(job::UndoRequest { correlation_id, plan_id, partial, dry_run, why: guard.why })))
}

/// The refusal of an undo that names nothing, with the caller's newest change that can be undone.
fn nothing_to_undo(ws: &Workspace) -> Error {
    let refusal = Error::usage("name what is to be undone");
    // What cannot be read is not proposed.
    match engine::query::newest_undoable(ws).unwrap_or_default() {
        Some((event, task)) => refusal.hint_command(format!(
            "your newest change: agentpm undo {} ({}, {})",
            event.id,
            deed(&event.payload),
            task.words()
        )),
        None => refusal.hint("agentpm undo EVENT, agentpm undo --correlation-id ID, or agentpm undo --plan-id ID"),
    }
}

fn init(env: &Env, options: &Options, args: &Init) -> Result<Output> {
    let mut report = engine::init(env, options, args.agents_md.then_some(help::AGENTS_MD), !args.no_driver)?;
    if args.hooks {
        report.created.extend(engine::install_hooks(env)?);
    }
    let mut human = if report.created.is_empty() {
        format!("{} already exists\n", escape(&report.path))
    } else {
        format!("made {}\n", report.created.iter().map(|c| escape(c)).collect::<Vec<_>>().join(", "))
    };
    if !report.git_settings.is_empty() {
        human.push_str(&format!("set in the git settings of this clone: {}\n", report.git_settings.join(", ")));
    }
    let warnings = report.warning.take().into_iter().collect();
    Ok(Output {
        quiet: Some(report.path.clone()),
        data: api::without_empty(&report),
        human,
        warnings,
        ..Output::default()
    })
}
