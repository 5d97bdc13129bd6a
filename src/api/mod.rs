//! The operation table: what can be asked of an open plan or done to it, whichever interface a request came through.
//!
//! Guarantees one entry for each operation: name, arguments, permission, route, and how it is carried out.
//! Leaves to others: words and forms (the interfaces), and what an operation does (`engine`).

mod answer;
pub mod envelope;
mod inbox;
mod next;
pub mod openapi;
pub mod prime;
mod steps;
mod table;

use std::io::{Read, Seek};
use std::time::Instant;

use serde_json::Value;

pub use self::answer::{Answer, without_empty};
pub use self::prime::prime;
pub use self::table::{Kind, Method, OPERATIONS, OTHER_NAMES, Operation, Route, find};
use crate::engine::commit::compact;
use crate::engine::commit::idempotency::{self, Key};
use crate::engine::commit::{keys, plan, saga, sessions, settings as settings_file, tokens, write};
use crate::engine::context::settings;
use crate::engine::feed::stream;
use crate::engine::import::{ImportReport, ReadFile};
use crate::engine::lint::{self, base, fix};
use crate::engine::migrate;
use crate::engine::query::export::{ExportEnd, Take};
use crate::engine::query::{
    agents, board, brief, check, conflicts, diagnostics, diff, doctor, export, graph, history, leases, lists, liveness,
    log, metrics, names, plan_page, ready, retry_on_damaged_index, review, status, threads, unreachable_events,
};
use crate::engine::repair::lost_events;
use crate::engine::repair::recover::{self, Selection};
use crate::engine::{Comments, Fix, LintReport, Reply, Workspace, import, query, repair, sync};
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::command::{Claim, Command};
use crate::model::event::Entry;
use crate::model::finding::{Rule, SkippedFix};
use crate::model::id::Id;
use crate::model::job::{Job, Recover};
use crate::model::operation::unknown;
use crate::model::query::{ExportFormat, Next, Query};
use crate::reports::changed::Changed;
use crate::reports::list::{List, Rest};
use crate::reports::next::NotReady;
use crate::reports::summary::Summary;
use crate::reports::view;

/// An operation with its arguments.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a request holds one")]
pub enum Call {
    /// A change of the plan.
    Change(Command),
    /// A query about it.
    Query(Query),
    /// A job on the store itself.
    Job(Job),
}

/// The answer to a call, and what goes with it.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub data: Answer,
    /// The events that the call wrote.
    pub events: Vec<Id>,
    /// Whether the call may have changed anything.
    pub changed: bool,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Why no task is handed out.
    pub reasons: Option<NotReady>,
    /// The number of unread items in the caller's inbox, where it is counted and not zero.
    pub unread: Option<u64>,
}

/// An item of a list, where the list is too long to be held at once.
#[derive(Debug)]
pub enum Item {
    /// A task, with its JSON text.
    Task(Box<Summary>, String),
    /// An event, byte for byte as its log has it.
    Event(Box<str>),
}

impl Call {
    /// Builds a call from the name of an operation and a JSON object of arguments.
    ///
    /// Errors: `ERR_USAGE` for an unknown name or key, `ERR_VALIDATION` for a value that does not fit.
    pub fn from_json(name: &str, args: Value) -> Result<Self> {
        match find(name).map(|operation| operation.kind) {
            Some(table::Kind::Change) => Command::from_json(name, args).map(Call::Change),
            Some(table::Kind::Query) => Query::from_json(name, args).map(Call::Query),
            Some(table::Kind::Job) => Job::from_json(name, args).map(Call::Job),
            None => Err(unknown(name, &OPERATIONS.iter().map(|operation| operation.name).collect::<Vec<_>>())),
        }
    }

    fn args(&self) -> Value {
        match self {
            Call::Change(command) => command.to_json(),
            Call::Query(query) => query.to_json(),
            Call::Job(job) => job.to_json(),
        }
    }

    /// The name of the operation.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Change(command) => command.op(),
            Call::Query(query) => query.op(),
            Call::Job(job) => job.op(),
        }
    }
}

/// Waits that a server carries out at once. Each takes a thread.
pub const MAX_WAITING: usize = 40;

/// The refusal of a wait that is one too many.
pub fn waits_already() -> Error {
    Error::new(Code::RateLimit, "too many requests wait already").hint("wait a second")
}

/// Carries out a call. A change that is repeated with the idempotency key of the request happens once.
///
/// Errors: those of the operation, with tasks by handle and title; a change that is refused wrote nothing.
pub fn call(ws: &Workspace, call: &Call) -> Result<Answered> {
    call_while(ws, call, &|| true)
}

/// As [`call`], for a caller that may leave: a wait ends soon after `still_wanted` is false, and claims nothing then.
///
/// Errors: as [`call`].
pub fn call_while(ws: &Workspace, call: &Call, still_wanted: &dyn Fn() -> bool) -> Result<Answered> {
    with_names(ws, logged(ws, call.name(), || at_most_once(ws, call, still_wanted)))
}

/// The next task; see [`Query::Next`].
///
/// Errors: as [`call`].
pub fn next(ws: &Workspace, asked: &Next) -> Result<Answered> {
    with_names(ws, logged(ws, "next", || next::show(ws, asked)))
}

/// Claims a task; with `explain` the reasons are those of each task, if nothing is ready.
///
/// Errors: as [`call`].
pub fn claim(ws: &Workspace, asked: &Claim, explain: bool) -> Result<Answered> {
    with_names(ws, logged(ws, "claim", || next::claim(ws, asked, explain)))
}

/// Carries out an operation and logs how it ended, with the ids that its caller gave.
fn logged<T>(ws: &Workspace, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let done = work();
    if tracing::enabled!(tracing::Level::INFO) {
        tracing::info!(
            op = name,
            outcome = done.as_ref().map_or_else(|e| e.code.as_str(), |_| "ok"),
            milliseconds = start.elapsed().as_secs_f64() * 1e3,
            lock_wait_ms = ws.lock_wait_ms(),
            agent = ws.author().ok().map(|author| author.agent),
            correlation_id = ws.said("correlation_id"),
            plan_id = ws.said("plan_id"),
            session_id = ws.said("session_id"),
            "carried out"
        );
    }
    done
}

/// Names tasks by handle and title in warnings and in the error.
fn with_names(ws: &Workspace, answered: Result<Answered>) -> Result<Answered> {
    let mut answered = answered.map_err(|e| names::name_tasks(ws, e))?;
    answered.warnings.iter_mut().for_each(|warning| *warning = names::name_tasks_in(ws, warning));
    Ok(answered)
}

fn at_most_once(ws: &Workspace, call: &Call, still_wanted: &dyn Fn() -> bool) -> Result<Answered> {
    match call {
        Call::Change(Command::Batch(batch)) if !batch.atomic => {
            once(ws, call.name(), || call.args(), || steps::each(ws, batch))
        }
        Call::Job(job) if job.takes_key() => {
            let done = once(ws, call.name(), || call.args(), || run(ws, job, still_wanted))?;
            Ok(Answered { changed: true, ..done })
        }
        Call::Change(command) => change(ws, command, ws.request.idempotency_key.as_deref()),
        Call::Query(query) => ask(ws, query),
        Call::Job(job) => run(ws, job, still_wanted),
    }
}

/// Does work of several changes, each of which is harmless to repeat.
fn once(
    ws: &Workspace,
    name: &'static str,
    args: impl FnOnce() -> Value,
    work: impl FnOnce() -> Result<Answered>,
) -> Result<Answered> {
    let Some(key) = &ws.request.idempotency_key else { return work() };
    let key = Key::new(key, name, &args())?;
    let receipt = |done: &Answered| {
        let Answer::Token(issued) = &done.data else { return done.data.to_json(false) };
        Answer::Token(issued.receipt()).to_json(false)
    };
    let done = idempotency::once(ws, &key, work, receipt)?;
    Ok(done.unwrap_or_else(|receipt| {
        let is_token = name == "agent.token" && receipt["revoked"] == false;
        let warning = is_token.then(|| "the token was shown once; a new idempotency key issues another one".to_owned());
        let warnings = warning.into_iter().collect();
        Answered { warnings, ..Answered::of(Answer::Changed(Changed::Repeated(receipt))) }
    }))
}

fn change(ws: &Workspace, command: &Command, key: Option<&str>) -> Result<Answered> {
    if let Command::Claim(asked) = command {
        return next::claim_keyed(ws, asked, false, key);
    }
    let key = key.map(|key| Key::new(key, command.op(), &command.to_json())).transpose()?;
    write::execute_keyed(ws, command, key.as_ref()).map(Answered::from).map(|done| inbox::counted(ws, done))
}

fn ask(ws: &Workspace, query: &Query) -> Result<Answered> {
    if let Query::Next(asked) = query {
        return next::show(ws, asked);
    }
    let answered = retry_on_damaged_index(ws, || answer(ws, query))?;
    Ok(if matches!(query, Query::Brief(_)) { inbox::counted(ws, answered) } else { answered })
}

/// Carries out a call whose answer is a list of any length: gives `take` each item as soon as it is known, and answers with the
/// rest of the list. `None` for other calls.
///
/// Errors: those of the operation; items that were given already are void then.
pub fn stream(ws: &Workspace, call: &Call, take: &mut dyn FnMut(Item)) -> Option<Result<Rest>> {
    let rest = if let Call::Query(Query::TaskList(q)) = call {
        logged(ws, call.name(), || lists::list(ws, q, &mut |task, text| take(Item::Task(Box::new(task), text))))
    } else if let Call::Query(Query::Log(q)) = call {
        logged(ws, call.name(), || log::log(ws, q, &mut |entry: Entry| take(Item::Event(entry.line))))
    } else if let Call::Job(Job::SyncPull(q)) = call {
        logged(ws, call.name(), || stream::pull_events(ws, q, |entry: Entry| take(Item::Event(entry.line))))
    } else {
        return None;
    };
    Some(rest.map_err(|e| names::name_tasks(ws, e)))
}

/// What an answer says besides, whatever came of the call: repairs on the way, settings that cannot be read, lost events, and
/// the state of the caller's session. A caller that changed nothing leaves a sign of life.
pub fn notices(ws: &Workspace, changed: bool) -> Vec<String> {
    lost_events::notice_vanished(ws);
    let mut notices = ws.settings_warnings();
    notices.extend(ws.take_notices());
    notices.extend(if changed { None } else { sessions::sign_of_life(ws) });
    notices
}

/// Imports a plan from a file of any size; see [`Job::Import`].
///
/// Errors: those of the import.
pub fn import_file(ws: &Workspace, from: &str, source: &mut (impl Read + Seek), dry_run: bool) -> Result<Answered> {
    let work = || import::import_file(ws, from, source, dry_run).map(|report| imported(report, dry_run));
    with_names(ws, logged(ws, "import", work))
}

/// Imports a plan that is a folder of files; `read` gives the text of one of them.
///
/// Errors: those of the import, and of `read`.
pub fn import_folder(
    ws: &Workspace,
    from: &str,
    paths: &[String],
    read: ReadFile<'_>,
    dry_run: bool,
) -> Result<Answered> {
    let work = || import::import_folder(ws, from, paths, read, dry_run).map(|report| imported(report, dry_run));
    with_names(ws, logged(ws, "import", work))
}

fn imported(report: ImportReport, dry_run: bool) -> Answered {
    Answered { changed: !dry_run, ..Answered::of(Answer::Imported(report)) }
}

/// Writes the plan in another format: gives `take` the document piece by piece.
///
/// Errors: those of `take`, and `ERR_IO` if the store cannot be read; the pieces that were given are void then.
pub fn export(ws: &Workspace, format: ExportFormat, take: Take<'_>) -> Result<ExportEnd> {
    export::export_to(ws, format, take)
}

/// The board as one HTML page. A live one follows `/events/stream` of the server that it comes from.
///
/// Errors: `ERR_IO` if the store cannot be read.
pub fn board(ws: &Workspace, live: bool) -> Result<String> {
    retry_on_damaged_index(ws, || board::board(ws, live)).and_then(board::BoardPage::text)
}

/// The measurements of this process and of the plan, as Prometheus text.
///
/// Errors: `ERR_IO` if the store cannot be read.
pub fn metrics(ws: &Workspace) -> Result<String> {
    retry_on_damaged_index(ws, || metrics::metrics(ws))
}

impl Answered {
    /// An answer alone.
    pub fn of(data: Answer) -> Self {
        let changed = matches!(&data, Answer::Changed(changed) if !matches!(changed, Changed::Nothing));
        let warnings = data.warnings();
        Answered { data, events: Vec::new(), changed, warnings, reasons: None, unread: None }
    }
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        let Reply { subject: _, data, events, warnings, taken_in: _, passed: _ } = reply;
        Answered { events, warnings, ..Answered::of(Answer::Changed(data)) }
    }
}

fn answer(ws: &Workspace, query: &Query) -> Result<Answered> {
    let with_remarks = |data, remarks| {
        let mut answered = Answered::of(data);
        answered.warnings.extend::<Vec<String>>(remarks);
        Ok(answered)
    };
    Ok(Answered::of(match query {
        Query::TaskGet(q) => {
            let (task, remarks) = query::task(ws, q)?;
            return with_remarks(Answer::Task(Box::new(task)), remarks);
        }
        Query::TaskPath(q) => Answer::File(query::path(ws, q)?),
        Query::TaskList(q) => {
            let mut items = Vec::new();
            let rest = lists::list(ws, q, &mut |task, _| items.push(task))?;
            Answer::Tasks(List { items, rest })
        }
        Query::Ready(q) => Answer::Ready(ready::ready(ws, q)?),
        Query::Next(q) => return next::show(ws, q),
        Query::Brief(q) => {
            let (page, remarks) = brief::brief(ws, q)?;
            return with_remarks(Answer::Brief(Box::new(page)), remarks);
        }
        Query::Log(q) => {
            let mut items = Vec::new();
            let rest = log::log(ws, q, &mut |entry| items.push(view::event(&entry)))?;
            Answer::Events(List { items, rest })
        }
        Query::Blame(q) => Answer::Blame(history::blame(ws, q)?),
        Query::Conflicts(q) => Answer::Conflicts(conflicts::conflicts(ws, q)?),
        Query::Diff(q) => Answer::Diff(diff::diff(ws, q)?),
        Query::Review(q) => Answer::Review(Box::new(review::review(ws, q)?)),
        Query::PlanShow(q) => Answer::PlanPage(plan_page::plan_show(ws, q)?),
        Query::Graph(q) => Answer::Graph(graph::graph(ws, q)?),
        Query::Diagnostics(q) => Answer::Diagnostics(diagnostics::diagnostics(ws, q)?),
        Query::Export(q) => Answer::Exported(export::export(ws, q)?),
        Query::Stale(q) => Answer::Stale(liveness::stale(ws, q)?),
        Query::SessionList(q) => Answer::Sessions(liveness::sessions(ws, q)?),
        Query::ThreadList(q) => Answer::Threads(threads::threads(ws, q)?),
        Query::ThreadShow(q) => Answer::Thread(Box::new(threads::thread(ws, q)?)),
        Query::Inbox(q) => Answer::Inbox(query::inbox::inbox(ws, q)?),
        Query::AgentList(_) => Answer::Agents(agents::agents(ws)?),
        Query::AgentGet(q) => Answer::Agent(agents::agent(ws, &q.name)?),
        Query::LeaseList(q) => Answer::Leases(leases::leases(ws, q)?),
        Query::Unheld(q) => Answer::LostEvents(unreachable_events::unreachable_events(ws, q)?),
        Query::Overview(_) => Answer::Overview(status::status(ws)?),
        Query::Stats(_) => Answer::Stats(doctor::stats(ws)?),
        Query::Doctor(_) => Answer::Health(doctor::doctor(ws)?),
        Query::Check(q) => Answer::Check(check::check(ws, q)?),
        Query::ConfigGet(q) => Answer::Setting(settings::one(ws, &q.key)?),
        Query::ConfigList(q) => Answer::Settings(List::whole(settings::all(ws, q.section.as_deref())?)),
        Query::Lint(_) => Answer::Lint(lint::lint(ws)?),
    }))
}

fn run(ws: &Workspace, job: &Job, still_wanted: &dyn Fn() -> bool) -> Result<Answered> {
    Ok(Answered::of(match job {
        Job::NextWait(q) => return next::wait(ws, q, still_wanted),
        Job::InboxWait(q) => return inbox::wait(ws, q, still_wanted),
        Job::InboxAck(q) => Answer::Acknowledged(query::inbox::acknowledge(ws, q)?),
        Job::Sync(options) => {
            let answered = Answered::of(Answer::Sync(Box::new(sync::sync(ws, options)?)));
            return Ok(inbox::counted_with_arrivals(ws, answered));
        }
        Job::SyncPull(q) => {
            let mut items = Vec::new();
            let rest = stream::pull_events(ws, q, |entry| items.push(view::event(&entry)))?;
            Answer::Events(List { items, rest })
        }
        Job::SyncPush(q) => Answer::Pushed(stream::push_events(ws, &q.events)?),
        Job::Resolve(q) => Answer::Repaired(repair::repair_all(ws, q.staged)?),
        Job::Recover(q) => Answer::Restored(recover::restore_events(ws, &wanted(q))?),
        Job::Migrate(q) => Answer::Migrated(migrate::migrate(ws, q)?),
        Job::Compact(q) => Answer::Compacted(compact::compact(ws, q)?),
        Job::LintFix(_) if ws.findings.iter().any(|f| f.rule == Rule::ConfigInvalid) => {
            let why = "nothing was repaired: the settings cannot be read, so it is not known what is allowed";
            let refused = vec![SkippedFix { message: why.into(), ..SkippedFix::default() }];
            Answer::Lint(LintReport { refused, ..lint::lint(ws)? })
        }
        Job::LintFix(q) => {
            let comments = if q.drop_comments { Comments::Drop } else { Comments::Keep };
            Answer::Lint(fix::lint_fix(ws, Fix { comments, deleted: q.deleted })?)
        }
        Job::LintSince(q) => Answer::Lint(base::lint_since(ws, &q.base)?),
        Job::Import(q) => Answer::Imported(import::import(ws, q)?),
        Job::PlanApply(q) => Answer::Planned(plan::plan_apply(ws, q)?),
        Job::UndoRequest(q) => Answer::RequestUndone(saga::undo_request(ws, q)?),
        Job::AgentToken(q) => Answer::Token(tokens::issue(ws, q)?),
        Job::ConfigSet(q) => Answer::SettingSet(settings_file::set(ws, q)?),
        Job::NewKey(q) => return keys::register_with_new_key(ws, q.agent.clone()).map(Answered::from),
    }))
}

fn wanted(q: &Recover) -> Selection {
    match &q.task {
        Some(task) => Selection::Task(Ref(task.clone())),
        None if q.all => Selection::All,
        None => Selection::Events(q.events.iter().cloned().map(Ref).collect()),
    }
}
