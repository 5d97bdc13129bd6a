//! From the arguments to the answer: each verb builds an operation and formats its answer.

use std::ffi::OsString;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use serde_json::{Value, json};

use super::args::{
    AgentVerb, Cli, ConflictsArgs, ConflictsVerb, ContextVerb, Global, Init, LeaseVerb, NextArgs, PlanVerb,
    ProgressVerb, Schema, SessionVerb, TaskVerb, Verb,
};
use super::deferred::Deferred;
use super::output::{Answer, Form, Out, escape, form, print, print_error, warn};
use super::{changes, exchange, help, human, lint, review, work};
use crate::api::{self, Call, CallAnswer, call};
use crate::engine::{self, Driver, Options, Request, Workspace};
use crate::env::{Env, files};
use crate::error::{Code, Error, Result};
use crate::model::args::{OptionalTaskRef, Ref};
use crate::model::command::{Batch, Claim, Command};
use crate::model::event::Entry;
use crate::model::finding::Rule;
use crate::model::id::quoted;
use crate::model::job::{self, Job, NewKey, NextWait};
use crate::model::json;
use crate::model::query::{self, Query, TaskGet, TaskList, TaskPath};
use crate::rules::decide::Subject;

/// Runs the program.
pub fn run(argv: Vec<OsString>) -> ExitCode {
    let cli = match Cli::command().try_get_matches_from(&argv).and_then(|m| Cli::from_arg_matches(&m)) {
        Ok(cli) => cli,
        Err(e) => return usage(&e, &argv),
    };
    let form = match form(&cli.global, matches!(cli.verb, Verb::Lint(_))) {
        Ok(form) => form,
        Err(e) => return print_error(&e, Form::Json, Out::Stdout),
    };
    // Standard output belongs to the command that is run.
    let out = if matches!(cli.verb, Verb::Work(_)) { Out::Stderr } else { Out::Stdout };
    let answered = Env::from_process().and_then(|env| {
        start_log(&env);
        answer(cli.verb, &cli.global, env)
    });
    match answered {
        Ok(answer) => print(&answer, &cli.global, form, out),
        Err(e) => print_error(&e, form, out),
    }
}

/// Help and version are answers; anything else that clap refuses is `ERR_USAGE` in the requested form.
fn usage(e: &clap::Error, argv: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(e.kind(), DisplayHelp | DisplayVersion) {
        // The reader may have closed the pipe already.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    let said = |flag: &str| argv.iter().any(|arg| arg == flag);
    if std::io::stdout().is_terminal() && !said("--json") {
        let _ = e.print();
        return ExitCode::from(Code::Usage.exit());
    }
    let whole = e.render().to_string();
    let message = match e.kind() {
        DisplayHelpOnMissingArgumentOrSubcommand => "a subcommand is missing".to_owned(),
        _ => {
            let said: Vec<&str> =
                whole.lines().take_while(|l| !l.starts_with("Usage:") && !l.trim_start().starts_with("tip:")).collect();
            said.iter()
                .map(|l| l.trim())
                .filter(|l| !l.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
                .trim_start_matches("error: ")
                .to_owned()
        }
    };
    let tip = whole.lines().find(|line| line.trim_start().starts_with("tip:")).map(|line| format!("{}; ", line.trim()));
    let hint = format!("{}see agentpm --help and the --help of the command", tip.unwrap_or_default());
    print_error(&Error::usage(message).hint(hint), Form::Json, Out::Stdout)
}

/// Logs go to stderr as JSON, and only where AGENTPM_LOG_LEVEL asks for them.
fn start_log(env: &Env) {
    let Some(level) = env.var("AGENTPM_LOG_LEVEL") else { return };
    let filter =
        tracing_subscriber::EnvFilter::try_new(level).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    // A second start within one process keeps the first log.
    let _ = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}

fn answer(verb: Verb, global: &Global, env: Env) -> Result<Answer> {
    let options = Options {
        store: global.store.clone(),
        request: Request {
            agent: global.agent.clone(),
            session: global.session.clone(),
            correlation_id: global.correlation_id.clone(),
            plan_id: global.plan_id.clone(),
        },
    };
    match verb {
        Verb::Init(Deferred(args)) => return init(&env, &options, &args),
        Verb::Completions(Deferred(args)) => return Ok(document(completions(args.shell))),
        Verb::Man => return man(),
        Verb::Schema(Deferred(args)) => return schema(&args),
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
            return Ok(Answer { data: json!(engine::RepairReport::default()), ..Answer::default() });
        }
        // A pull request that drops the plan is reviewed like any other.
        (Err(e), Verb::Review(Deferred(args)))
            if matches!(e.code, Code::NoStore | Code::Corrupt) && global.store.is_none() =>
        {
            let data = engine::review_dropped(&around, args)?;
            return data.map_or(Err(e), |data| review_answer(data, args.limit, args.all, global));
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

fn carry_out(ws: &Workspace, verb: Verb, global: &Global) -> Result<Answer> {
    let md = global.format.as_deref() == Some("md");
    match verb {
        Verb::Task(Deferred(verb)) => task(ws, verb, global),
        Verb::Add(Deferred(args)) => change(ws, &Command::TaskCreate(*args)),
        Verb::Note(Deferred(args)) => change(ws, &Command::ContextAdd(args)),
        Verb::Show(Deferred(args)) => show(ws, args),
        Verb::Ls(Deferred(args)) => tasks(ws, args, global),
        Verb::Batch(Deferred(args)) => batch(ws, &args.file),
        Verb::Plan(Deferred(PlanVerb::Apply(args))) => plan_apply(ws, &args.file, args.dry_run),
        Verb::Graph(Deferred(args)) => graph(ws, &args, global),
        Verb::Progress(Deferred(verb)) => change(
            ws,
            &match verb {
                ProgressVerb::Add(args) => Command::ProgressAdd(args),
                ProgressVerb::Complete(args) => Command::ProgressComplete(args),
                ProgressVerb::Reopen(args) => Command::ProgressReopen(args),
            },
        ),
        Verb::Context(Deferred(verb)) => change(
            ws,
            &match verb {
                ContextVerb::Add(args) => Command::ContextAdd(args),
                ContextVerb::Supersede(args) => Command::ContextSupersede(args),
                ContextVerb::Redact(args) => Command::ContextRedact(args),
            },
        ),
        Verb::Ready(Deferred(args)) => {
            let explain = args.explain;
            ready(ws, &Query::Ready(args), explain, md)
        }
        Verb::Next(Deferred(args)) => next(ws, &args),
        Verb::Work(Deferred(args)) => work::work(ws, args),
        Verb::Claim(Deferred(args)) => Ok(claimed(ws, call(ws, &Call::Change(Command::Claim(args)))?)),
        Verb::Brief(Deferred(args)) => brief(ws, args),
        Verb::Done(Deferred(args)) => change(ws, &Command::Done(args)),
        Verb::Release(Deferred(args)) => change(ws, &Command::Release(args)),
        Verb::Stale(Deferred(args)) => {
            let columns =
                &["handle", "title", "owner", "session", "session_status", "last_sign_at", "lease_expired_at"];
            list(ws, &Query::Stale(args), columns, md)
        }
        Verb::Agent(Deferred(AgentVerb::Register(args))) if args.new_key => {
            call(ws, &Call::Job(Job::NewKey(NewKey { agent: args.what }))).map(answer_to)
        }
        Verb::Agent(Deferred(AgentVerb::Register(args))) => change(ws, &Command::AgentRegister(args.what)),
        Verb::Agent(Deferred(AgentVerb::List)) => {
            list(ws, &Query::AgentList(query::AgentList {}), &["name", "role", "created_at", "last_seen_at"], md)
        }
        Verb::Session(Deferred(SessionVerb::List(args))) => {
            let columns = &["handle", "title", "agent", "status", "started_at", "last_heartbeat_at", "id"];
            list(ws, &Query::SessionList(args), columns, md)
        }
        Verb::Session(Deferred(SessionVerb::Start(args))) => change(ws, &Command::SessionStart(args)),
        Verb::Session(Deferred(SessionVerb::Heartbeat(args))) => change(ws, &Command::SessionHeartbeat(args)),
        Verb::Session(Deferred(SessionVerb::End(args))) => change(ws, &Command::SessionEnd(args)),
        Verb::Lease(Deferred(LeaseVerb::List(args))) => {
            let columns: &[&str] = match args.remote && args.all {
                true => &["handle", "title", "state", "agent", "fence", "expires_at", "elsewhere", "mine", "id"],
                false => &["handle", "title", "agent", "fence", "expires_at", "confirmed", "elsewhere", "mine", "id"],
            };
            list(ws, &Query::LeaseList(args), columns, md)
        }
        Verb::Lease(Deferred(LeaseVerb::Acquire(args))) => change(ws, &Command::LeaseAcquire(args)),
        Verb::Lease(Deferred(LeaseVerb::Renew(args))) => change(ws, &Command::LeaseRenew(args)),
        Verb::Lease(Deferred(LeaseVerb::Release(args))) => change(ws, &Command::LeaseRelease(args)),
        Verb::Log(Deferred(mut args)) => {
            // A query of history has no actor: here --agent selects the author of the events.
            args.by = args.by.or_else(|| global.agent.clone());
            events(global, |show| engine::query::log(ws, &args, show))
        }
        Verb::Blame(Deferred(args)) => {
            let data = ask(ws, Query::Blame(args))?;
            Ok(Answer {
                human: human::blame(&data, md),
                markdown: true,
                data,
                quiet: Some(String::new()),
                ..Answer::default()
            })
        }
        Verb::Conflicts(Deferred(ConflictsArgs { verb: Some(ConflictsVerb::Restore(args)), .. })) => {
            change(ws, &Command::ConflictsRestore(args))
        }
        Verb::Conflicts(Deferred(ConflictsArgs { verb: Some(ConflictsVerb::Keep(args)), .. })) => {
            change(ws, &Command::ConflictsKeep(args))
        }
        Verb::Conflicts(Deferred(ConflictsArgs { list, .. })) => {
            let data = ask(ws, Query::Conflicts(list))?;
            let events = data["items"].as_array().into_iter().flatten().filter_map(|i| i["lost"]["event"].as_str());
            let quiet = Some(events.collect::<Vec<_>>().join("\n"));
            Ok(Answer { human: human::conflicts(&data, md), markdown: true, data, quiet, ..Answer::default() })
        }
        Verb::Diff(Deferred(args)) => {
            let data = ask(ws, Query::Diff(args))?;
            let quiet = Some(changes::ids(&data));
            Ok(Answer { human: changes::diff(&data, md), markdown: true, quiet, data, ..Answer::default() })
        }
        Verb::Review(Deferred(args)) => reviewed(ws, args, global),
        Verb::Undo(Deferred(args)) => change(ws, &Command::Undo(args)),
        Verb::Lint(Deferred(args)) => lint::lint(ws, &args, global),
        Verb::Doctor => {
            let data = ask(ws, Query::Doctor(query::Doctor {}))?;
            let exit = u8::from(data["healthy"] != true);
            Ok(Answer { human: human::checks(&data), data, exit, ..Answer::default() })
        }
        Verb::Stats => {
            let data = ask(ws, Query::Stats(query::Stats {}))?;
            Ok(Answer { human: human::object(&data), data, ..Answer::default() })
        }
        Verb::Import(Deferred(args)) => {
            let data = job(ws, Job::Import(job::Import { from: args.from, text: read_input(&args.file)? }))?;
            let warnings = warnings_in(&data);
            Ok(Answer { human: human::object(&data["added"]), data, warnings, changed: true, ..Answer::default() })
        }
        Verb::Prime => prime(ws),
        Verb::Resolve(args) => exchange::resolve(ws, &args.0),
        Verb::Recover(Deferred(args)) => exchange::recover(ws, args, md),
        Verb::Watch(Deferred(args)) => exchange::watch(ws, &args),
        Verb::Sync(Deferred(args)) => exchange::sync(ws, &args, global),
        // Answered above, without a store.
        Verb::Init(_)
        | Verb::Completions(_)
        | Verb::Man
        | Verb::Schema(_)
        | Verb::Help(_)
        | Verb::MergeDriver(_)
        | Verb::Textconv(_)
        | Verb::Trailer(_) => Err(Error::usage("answered before")),
    }
}

const LIST_COLUMNS: &[&str] =
    &["handle", "status", "priority", "title", "owner", "labels", "progress", "child_progress"];

fn document(text: String) -> Answer {
    Answer { data: json!({ "text": text }), human: text, document: true, ..Answer::default() }
}

/// The answer to a query.
pub fn ask(ws: &Workspace, query: Query) -> Result<Value> {
    call(ws, &Call::Query(query)).map(|answered| answered.data)
}

/// The answer to work on the store.
pub fn job(ws: &Workspace, job: Job) -> Result<Value> {
    call(ws, &Call::Job(job)).map(|answered| answered.data)
}

/// Carries out a change and shows its result.
fn change(ws: &Workspace, command: &Command) -> Result<Answer> {
    call(ws, &Call::Change(command.clone())).map(answer_to)
}

fn answer_to(reply: CallAnswer) -> Answer {
    let human = match &reply.subject {
        Some(Subject::Task(_)) => human::task(&reply.data),
        Some(Subject::Batch(_)) => human::table(&reply.data, &["as", "id", "agent"], false),
        _ => human::object(&reply.data),
    };
    let quiet = reply.subject.as_ref().and_then(|subject| match subject {
        Subject::Agent(name) => Some(name.clone()),
        Subject::Lease(_) => reply.data["id"].as_str().map(str::to_owned),
        Subject::Progress(_, items) => Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        Subject::Batch(steps) => {
            let name = |step: &Subject| match step {
                Subject::Agent(name) => Some(name.clone()),
                other => other.id().map(|id| id.to_string()),
            };
            Some(steps.iter().filter_map(|(_, step)| name(step)).collect::<Vec<_>>().join("\n"))
        }
        other => other.id().map(|id| id.to_string()),
    });
    Answer { data: reply.data, human, quiet, warnings: reply.warnings, changed: true, ..Answer::default() }
}

fn show(ws: &Workspace, args: TaskGet) -> Result<Answer> {
    let data = ask(ws, Query::TaskGet(args))?;
    let quiet = data["id"].as_str().map(str::to_owned);
    let warnings = unrecorded(ws, &data["id"]);
    Ok(Answer { human: human::task(&data), data, quiet, warnings, ..Answer::default() })
}

/// What the task's file says that its events do not, and which lines of its log are damaged.
fn unrecorded(ws: &Workspace, id: &Value) -> Vec<String> {
    let Some(id) = id.as_str().and_then(|id| id.parse().ok()) else { return Vec::new() };
    engine::commit::hand_edits::record::unrecorded(ws, id)
        .into_iter()
        .chain(engine::commit::hand_edits::record::damaged_lines(ws, id))
        .collect()
}

fn list(ws: &Workspace, query: &Query, columns: &[&str], md: bool) -> Result<Answer> {
    let data = ask(ws, query.clone())?;
    let ids = data["items"].as_array().into_iter().flatten().filter_map(|i| i["id"].as_str().or(i["name"].as_str()));
    let quiet = Some(ids.collect::<Vec<_>>().join("\n"));
    Ok(Answer { human: human::table(&data, columns, md), markdown: true, data, quiet, ..Answer::default() })
}

/// The tasks of a list. A plan of a hundred thousand fits as text where it would not as documents.
fn tasks(ws: &Workspace, query: TaskList, global: &Global) -> Result<Answer> {
    if global.quiet || form(global, false)? == Form::Human {
        return list(ws, &Query::TaskList(query), LIST_COLUMNS, global.format.as_deref() == Some("md"));
    }
    let (items, data) = engine::query::list(ws, &query, |items: &mut String, item| {
        items.push_str(&item);
        items.push('\n');
    })?;
    Ok(Answer { data, items: Some(items), ..Answer::default() })
}

/// Events as `list` gives them one by one. As with tasks, text is what fits.
pub fn events(global: &Global, list: impl FnOnce(&mut dyn FnMut(&Value)) -> Result<Value>) -> Result<Answer> {
    let for_people = form(global, false)? == Form::Human;
    let (mut text, mut shown) = (String::new(), 0);
    let data = list(&mut |event| {
        shown += 1;
        if for_people {
            text.push_str(&human::event(event));
        } else {
            text.push_str(&event.to_string());
            text.push('\n');
        }
    })?;
    Ok(event_list(data, text, shown, for_people))
}

/// As [`events`], of events whose bytes matter: each is given as it stands in its log.
pub fn raw_events(global: &Global, list: impl FnOnce(&mut dyn FnMut(&Entry)) -> Result<Value>) -> Result<Answer> {
    let for_people = form(global, false)? == Form::Human;
    let (mut text, mut shown) = (String::new(), 0);
    let data = list(&mut |entry| {
        shown += 1;
        if for_people {
            text.push_str(&human::event(&serde_json::from_str(&entry.line).unwrap_or_default()));
        } else {
            text.push_str(&entry.line);
            text.push('\n');
        }
    })?;
    Ok(Answer { exact: true, ..event_list(data, text, shown, for_people) })
}

fn event_list(data: Value, mut text: String, shown: usize, for_people: bool) -> Answer {
    if !for_people {
        return Answer { data, items: Some(text), ..Answer::default() };
    }
    if data["truncated"] == Value::Bool(true) {
        text.insert_str(0, &format!("the newest {shown} of {}; --all shows all\n", data["total"]));
    }
    Answer { data, human: text, ..Answer::default() }
}

fn task(ws: &Workspace, verb: TaskVerb, global: &Global) -> Result<Answer> {
    let command = match verb {
        TaskVerb::Get(Deferred(args)) => return show(ws, args),
        TaskVerb::List(Deferred(args)) => return tasks(ws, args, global),
        TaskVerb::Path(Deferred(args)) => {
            let data = ask(ws, Query::TaskPath(args))?;
            let path = data["path"].as_str().unwrap_or_default().to_owned();
            return Ok(Answer { human: format!("{path}\n"), quiet: Some(path), data, ..Answer::default() });
        }
        TaskVerb::Edit(Deferred(args)) => return edit(ws, &args),
        TaskVerb::Create(Deferred(args)) => Command::TaskCreate(*args),
        TaskVerb::Update(Deferred(args)) => Command::TaskUpdate(*args),
        TaskVerb::Transition(Deferred(args)) => Command::TaskTransition(args),
        TaskVerb::Block(Deferred(args)) => Command::TaskBlock(args),
        TaskVerb::Unblock(Deferred(args)) => Command::TaskUnblock(args),
        TaskVerb::Relate(Deferred(args)) => Command::TaskRelate(args),
        TaskVerb::Unrelate(Deferred(args)) => Command::TaskUnrelate(args),
        TaskVerb::Archive(Deferred(args)) => Command::TaskArchive(args),
        TaskVerb::Reopen(Deferred(args)) => Command::TaskReopen(args),
        TaskVerb::Verify(Deferred(args)) => Command::TaskVerify(args),
    };
    change(ws, &command)
}

fn ready(ws: &Workspace, query: &Query, explain: bool, md: bool) -> Result<Answer> {
    let mut answer = list(ws, query, &["handle", "score", "priority", "title", "blocking_count"], md)?;
    answer.warnings = warnings_in(&answer.data);
    let counts = &answer.data["not_ready"]["counts"];
    if let Some(counts) = counts.as_object().filter(|counts| !counts.is_empty()) {
        let words: Vec<String> = counts.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " "))).collect();
        answer.human.push_str(&format!("not ready: {}\n", words.join(", ")));
    }
    let elsewhere = elsewhere_lines(&answer.data);
    answer.human.push_str(&elsewhere);
    answer.markdown = elsewhere.is_empty() && !explain;
    if explain {
        answer.human.push_str(&explained_lines(&answer.data));
    }
    Ok(answer)
}

/// A line for each task that is not ready, with its reasons.
fn explained_lines(data: &Value) -> String {
    let mut out = String::new();
    for item in data["explained"]["items"].as_array().into_iter().flatten() {
        let words: Vec<&str> = item["words"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        out.push_str(&format!(
            "{}  {}: {}\n",
            item["handle"].as_str().unwrap_or_default(),
            escape(item["title"].as_str().unwrap_or_default()),
            escape(&words.join("; "))
        ));
    }
    if let Some(more) = data["explained"]["more"].as_u64().filter(|more| *more > 0) {
        out.push_str(&format!("and {more} more\n"));
    }
    out
}

/// Shows or claims the next task; with `--wait` as soon as there is one.
fn next(ws: &Workspace, args: &NextArgs) -> Result<Answer> {
    let NextArgs { claim, explain, here, ttl, wait } = *args;
    let answered = match wait {
        Some(wait) => call(ws, &Call::Job(Job::NextWait(NextWait { wait, claim, explain, here, ttl })))?,
        None if claim => api::claim(ws, &Claim { id: OptionalTaskRef(None), ttl, here }, explain)?,
        None => api::next(ws, &query::Next { explain, here })?,
    };
    match answered.subject {
        Some(_) => Ok(claimed(ws, answered)),
        None => Ok(next_shown(answered, explain)),
    }
}

fn next_shown(answered: CallAnswer, explain: bool) -> Answer {
    let CallAnswer { data, warnings, reasons, .. } = answered;
    if let Some(reasons) = reasons {
        return Answer { warnings, ..nothing_ready(reasons) };
    }
    let quiet = data["task"]["id"].as_str().map(str::to_owned);
    let mut human = human::task(&data["task"]);
    if explain {
        let terms = &data["reasons"]["terms"];
        human.push_str(&format!(
            "\nscore {}: priority {}, age {}, depth {}\n",
            terms["score"], terms["priority"], terms["age"], terms["depth"]
        ));
        let others = explained_lines(&data["reasons"]["others"]);
        if !others.is_empty() {
            human.push_str(&format!("\nNot ready\n{others}"));
        }
    }
    Answer { human, data, quiet, warnings, ..Answer::default() }
}

fn claimed(ws: &Workspace, answered: CallAnswer) -> Answer {
    let CallAnswer { data, warnings, subject, reasons, .. } = answered;
    if let Some(reasons) = reasons {
        return Answer { warnings, ..nothing_ready(reasons) };
    }
    let lease = &data["lease"];
    let confirmed = match (lease["confirmed"] == true, ws.lease_remote()) {
        (true, _) => "confirmed by the remote",
        (false, Some(_)) => "not confirmed: agentpm sync asks the remote again",
        (false, None) => "not confirmed: no remote is asked",
    };
    let human = format!(
        "{}\nlease {} until {} (fence {}), {confirmed}\n",
        human::task(&data["task"]),
        lease["id"].as_str().unwrap_or_default(),
        lease["expires_at"].as_str().unwrap_or_default(),
        lease["fence"]
    );
    let quiet = subject.and_then(|subject| subject.id()).map(|id| id.to_string());
    Answer { human, quiet, warnings, data, changed: true, ..Answer::default() }
}

/// A line for each task that is taken or finished somewhere else.
fn elsewhere_lines(data: &Value) -> String {
    let word = |item: &Value, key: &str| escape(item[key].as_str().unwrap_or_default());
    let items = data["elsewhere"].as_array().into_iter().flatten();
    items.map(|item| format!("{}  {}\n", word(item, "task"), word(item, "words"))).collect()
}

/// A line for each task that was abandoned, with the command that takes it over.
fn abandoned_lines(data: &Value) -> String {
    let word = |item: &Value, key: &str| escape(item[key].as_str().unwrap_or_default());
    let items = data["abandoned"].as_array().into_iter().flatten();
    items
        .map(|item| {
            let within = item["session"].as_str().map(|id| format!(" in session {id}")).unwrap_or_default();
            format!(
                "{}  {}: abandoned by {}{within}, last active at {}; take it over: {}\n",
                word(item, "handle"),
                word(item, "title"),
                word(item, "owner"),
                word(item, "last_sign_at"),
                word(item, "take_over")
            )
        })
        .collect()
}

/// The warnings of an answer to a query.
fn warnings_in(data: &Value) -> Vec<String> {
    data["warnings"].as_array().into_iter().flatten().filter_map(|w| w.as_str().map(str::to_owned)).collect()
}

/// Nothing to hand out is no error: the data is null, and the reasons are given.
fn nothing_ready(reasons: Value) -> Answer {
    let counts = reasons["counts"].as_object().cloned().unwrap_or_default();
    let words: Vec<String> = counts.iter().map(|(kind, n)| format!("{n} {}", kind.replace('_', " "))).collect();
    let words = match (words.is_empty(), reasons["unfinished"].as_u64()) {
        (true, Some(0)) => "the plan has no unfinished task".to_owned(),
        (true, _) => "other agents claimed the ready tasks; run the command again".to_owned(),
        (false, _) => words.join(", "),
    };
    let human = format!(
        "nothing is ready: {words}\n{}{}{}",
        elsewhere_lines(&reasons),
        abandoned_lines(&reasons),
        explained_lines(&reasons)
    );
    Answer { data: Value::Null, human, quiet: Some(String::new()), reasons: Some(reasons), ..Answer::default() }
}

fn reviewed(ws: &Workspace, args: query::Review, global: &Global) -> Result<Answer> {
    let (limit, all) = (args.limit, args.all);
    let words = form(global, false)? == Form::Human && !global.quiet;
    if words && args.cursor.is_some() {
        return Err(Error::usage("--cursor continues a list of JSON").hint("add --json, or take --limit N or --all"));
    }
    // Words are bounded by lines, and count what they leave out: for that all of it must be known.
    let asked = match words {
        true => query::Review { limit: None, all: true, ..args },
        // Ids are short: they come all at once.
        false => query::Review { all: all || (global.quiet && limit.is_none()), ..args },
    };
    review_answer(ask(ws, Query::Review(asked))?, limit, all, global)
}

fn review_answer(data: Value, limit: Option<u64>, all: bool, global: &Global) -> Result<Answer> {
    let words = form(global, false)? == Form::Human && !global.quiet;
    let exit = u8::from(data["failed"].as_array().is_some_and(|failed| !failed.is_empty()));
    let md = global.format.as_deref() == Some("md");
    let human = if words { review::review(&data, md, limit, all) } else { String::new() };
    Ok(Answer { human, markdown: true, quiet: Some(changes::ids(&data)), exit, data, ..Answer::default() })
}

fn brief(ws: &Workspace, args: query::Brief) -> Result<Answer> {
    let data = ask(ws, Query::Brief(args))?;
    let human = super::output::escape_lines(data["text"].as_str().unwrap_or_default());
    let warnings = unrecorded(ws, &data["task"]["id"]);
    Ok(Answer { human, markdown: true, data, warnings, ..Answer::default() })
}

fn graph(ws: &Workspace, args: &query::Graph, global: &Global) -> Result<Answer> {
    let drawing = engine::query::drawing(ws, args)?;
    if form(global, false)? != Form::Human {
        let whole = serde_json::to_string(&drawing)
            .map_err(|e| Error::new(Code::Io, format!("the plan cannot be written as JSON: {e}")))?;
        return Ok(Answer { whole: Some(whole), ..Answer::default() });
    }
    let human = match global.format.as_deref() {
        Some("mermaid") => drawing.mermaid(),
        Some("dot") => drawing.dot(),
        _ => drawing.tree(),
    };
    Ok(Answer { human: super::output::escape_lines(&human), ..Answer::default() })
}

/// Largest batch, plan or import that is read, in bytes.
const MAX_INPUT: u64 = 256 * 1024 * 1024;

pub fn read_input(path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut bytes).map(|_| ())
    } else {
        files::read_outside(path.as_ref(), MAX_INPUT).map(|read| bytes = read)
    };
    read.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {path}")),
        _ => Error::io("read", path.as_ref(), &e),
    })?;
    String::from_utf8(bytes).map_err(|_| Error::validation(format!("{path} is not valid UTF-8")))
}

fn batch(ws: &Workspace, file: &str) -> Result<Answer> {
    let text = read_input(file)?;
    let parsed =
        json::parse(&text).map_err(|e| Error::validation(format!("{file}: {e}")).hint("see agentpm batch --help"))?;
    change(ws, &Command::Batch(Batch::from_json(&parsed)?))
}

fn plan_apply(ws: &Workspace, file: &str, dry_run: bool) -> Result<Answer> {
    let data = job(ws, Job::PlanApply(job::PlanApply { plan: read_input(file)?, dry_run }))?;
    let mut human = String::new();
    for change in data["changes"].as_array().into_iter().flatten() {
        let text = |key: &str| change[key].as_str().map(escape).unwrap_or_default();
        let more = match text("change").as_str() {
            "create" => text("title"),
            "block" => format!("by {}", text("by")),
            "progress" => format!("{} steps", change["steps"]),
            _ => change["fields"].as_array().into_iter().flatten().map(field_change).collect::<Vec<_>>().join(", "),
        };
        human.push_str(&format!("{:<9} {}  {more}\n", text("change"), text("key")));
    }
    let verb = if dry_run { "would change" } else { "changed" };
    human.push_str(&format!("{} tasks, {} {verb}\n", data["total"], data["changes"].as_array().map_or(0, Vec::len)));
    Ok(Answer { human, data, changed: !dry_run, ..Answer::default() })
}

/// `title: "old" -> "new"`
fn field_change(change: &Value) -> String {
    escape(&format!("{}: {} -> {}", change["field"].as_str().unwrap_or_default(), change["from"], change["to"]))
}

fn init(env: &Env, options: &Options, args: &Init) -> Result<Answer> {
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
    Ok(Answer { quiet: Some(report.path.clone()), data: json!(report), human, warnings, ..Answer::default() })
}

/// Instructions for the context of an agent, and the state of the plan in two lines.
fn prime(ws: &Workspace) -> Result<Answer> {
    let stats = ask(ws, Query::Stats(query::Stats {}))?;
    let me = ws.agent_name().unwrap_or_else(|| "not known; set AGENTPM_AGENT".into());
    let counts = stats["by_status"]
        .as_object()
        .map(|map| map.iter().map(|(status, n)| format!("{n} {status}")).collect::<Vec<_>>().join(", "));
    let text = format!(
        "{}\n## Now\n\nYou are: {me}\nTasks: {} ({}); {} ready.\n{}",
        help::PRIME,
        stats["tasks"],
        counts.filter(|c| !c.is_empty()).unwrap_or_else(|| "none yet".into()),
        stats["ready"],
        if engine::git_hooks::hooks::driver(ws) == Some(Driver::Unset) { help::NO_DRIVER } else { "" }
    );
    Ok(document(text))
}

fn edit(ws: &Workspace, args: &TaskPath) -> Result<Answer> {
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal()) {
        return Err(Error::usage("task edit opens an editor and needs a terminal").hint(
            "use agentpm task update, or edit the file that agentpm task path names and run agentpm lint --fix",
        ));
    }
    let id = engine::view::read::resolve(ws, &Ref(args.id.0.clone()))?;
    let editor = ws.env.var("VISUAL").or_else(|| ws.env.var("EDITOR")).unwrap_or("vi").to_owned();
    let path = ask(ws, Query::TaskPath(args.clone()))?;
    let path = path["path"].as_str().unwrap_or_default().to_owned();
    let before = files::read_outside(path.as_ref(), MAX_INPUT).map_err(|e| Error::io("read", path.as_ref(), &e))?;
    let mut draft = tempfile::Builder::new()
        .prefix("agentpm-")
        .suffix(".yaml")
        .tempfile()
        .map_err(|e| Error::io("make a draft in", &std::env::temp_dir(), &e))?;
    draft.write_all(&before).map_err(|e| Error::io("write", draft.path(), &e))?;
    crate::env::process::run_editor(&editor, draft.path())?;
    let after = files::read_outside(draft.path(), MAX_INPUT).map_err(|e| Error::io("read", draft.path(), &e))?;
    if after != before {
        let before = String::from_utf8(before).map_err(|_| Error::validation(format!("{path} is not valid UTF-8")))?;
        let text = String::from_utf8(after).map_err(|_| Error::validation("the edited text is not valid UTF-8"))?;
        if let Err(e) = engine::commit::hand_edits::record::absorb_text(ws, id, &text, &before) {
            let kept = draft.into_temp_path().keep().map(|p| p.display().to_string()).unwrap_or_default();
            return Err(e.hint(format!("your draft is kept at {kept}")));
        }
    }
    show(ws, TaskGet { id: args.id.clone(), at: None, full: false })
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "agentpm", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The `--help` of a command, or a page without a command.
fn help_on(topic: &[String]) -> Result<Answer> {
    if topic == ["agents"] {
        return Ok(document(help::AGENTS.to_owned()));
    }
    let mut words: Vec<&str> = vec!["agentpm"];
    words.extend(topic.iter().map(String::as_str));
    words.push("--help");
    match Cli::command().try_get_matches_from(words) {
        Err(e) if e.kind() == clap::error::ErrorKind::DisplayHelp => Ok(document(e.render().to_string())),
        _ => Err(Error::usage(format!("there is no help on {}", quoted(&topic.join(" "))))
            .hint("agentpm help lists the commands; agentpm help agents is the loop of an agent")),
    }
}

/// The manual page of the program, and one for each of its commands.
fn man() -> Result<Answer> {
    let mut out = Vec::new();
    let mut pages = vec![Cli::command()];
    let mut rendered = Ok(());
    while let Some(mut page) = pages.pop() {
        page.build();
        let name = page.get_name().to_owned();
        pages.extend(page.get_subcommands().filter(|s| !s.is_hide_set()).map(|s| {
            s.clone().display_name(format!("{name}-{}", s.get_name())).name(format!("{name} {}", s.get_name()))
        }));
        rendered = rendered.and_then(|()| clap_mangen::Man::new(page).render(&mut out));
    }
    rendered.map_err(|e| Error::new(Code::Io, format!("could not make the manual: {e}")))?;
    Ok(document(String::from_utf8_lossy(&out).into_owned()))
}

fn schema(args: &Schema) -> Result<Answer> {
    let data = match args.name.as_deref() {
        None => {
            let names: Vec<&str> = api::OPERATIONS.iter().map(|operation| operation.name).collect();
            json!({ "schemas": ["task-file", "config", "roles", "task", "errors", "rules"], "operations": names })
        }
        Some("task-file") => engine::schema::task_file(),
        Some("config") => engine::schema::config(),
        Some("roles") => engine::schema::roles(),
        Some("task") => engine::task_schema(),
        Some("errors") => Code::ALL.iter().map(|code| json!({ "code": code, "exit": code.exit() })).collect(),
        Some("rules") => Rule::ALL
            .iter()
            .map(|rule| {
                json!({
                    "code": rule.code(), "severity": rule.severity(), "mend": rule.fix(), "summary": rule.summary(),
                    "configurable": rule.is_configurable(),
                })
            })
            .collect(),
        Some(name) => match api::find(name) {
            Some(operation) => json!(operation.arguments),
            None => {
                return Err(Error::not_found(format!("there is no schema {name:?}")).hint("agentpm schema lists them"));
            }
        },
    };
    let human = serde_json::to_string_pretty(&data).unwrap_or_default() + "\n";
    Ok(Answer { data, human, document: args.bare, ..Answer::default() })
}
