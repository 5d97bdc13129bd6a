//! The write path: lock, repair, decide, append to the journal, project, answer.
//!
//! A flushed record in the journal is the commit point: before it nothing has happened, after it the whole command has. The files
//! are projected from it by this command, or by the next one if this one dies (`project`).
//! Leaves to others: what a command decides (`rules::decide`), and writing the files (`project`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::answer::{Outcome, Reply, key_record, reply};
use super::confirmation::{self, RemoteReplies};
use super::hand_edits::before_write;
use super::hand_edits::record::{self, HandEdit};
use super::idempotency::{Action, Key, Order};
use super::project::{self, ChangeSet};
use super::transaction::{PreparedIndex, Transaction};
use super::{expiry, sessions};
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::similar::{MAX_SIMILAR, similar};
use crate::engine::view::{events, read, uncommitted};
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::agent::LeaseRecord;
use crate::model::args::Ref;
use crate::model::command::Command;
use crate::model::event::{Author, Entity};
use crate::model::finding::Rule;
use crate::reports::changed::{Changed, TaskAnswer};
use crate::rules::decide::{Needs, PlanNeed, Subject, decide};
use crate::rules::fold::fold;
use crate::rules::stage::Stage as _;
use crate::rules::{lease, session};
use crate::runtime::journal::{self, Commit, Journal, KeyRecord};
use crate::runtime::lock::Lock;
use crate::runtime::records;
use crate::store::database;
use crate::store::entity::load_task;
use crate::store::project::{check_home, project_onto};

/// Executes a command: decides it under the lock, makes it durable, and projects it.
///
/// Errors: the refusal of the rules, `ERR_BUSY` if the lock was not acquired in time, `ERR_IO` or `ERR_NO_SPACE` if the
/// journal could not be written. In each case nothing happened.
pub fn execute(ws: &Workspace, command: &Command) -> Result<Reply> {
    execute_keyed(ws, command, None)
}

/// As [`execute`]; a repetition with the same idempotency key changes nothing and gets the first answer.
///
/// Errors: as [`execute`]; `ERR_CONFLICT` if the key was used with other arguments.
pub fn execute_keyed(ws: &Workspace, command: &Command, key: Option<&Key>) -> Result<Reply> {
    let author = if matches!(command, Command::Batch(_)) { ws.linking_author()? } else { ws.author()? };
    let expired = RefCell::new(BTreeSet::new());
    let carry_out = || {
        let decided = |tx: &mut Transaction| {
            let outcome = decide(tx, command);
            *expired.borrow_mut() = if outcome.is_err() { tx.expired() } else { BTreeSet::new() };
            outcome
        };
        let reply = carry_out(ws, author, Order { action: Action::Command(command), key }, &[], decided);
        // A refusal throws the stage away; that a thread is past its time to live is so all the same.
        reply.inspect_err(|_| expired.take().into_iter().for_each(|task| expiry::record_expired_of(ws, task)))
    };
    let Command::TaskCreate(new) = command else { return carry_out() };
    if ws.request.full {
        return carry_out();
    }
    // Most of a creation is waiting for the disk: meanwhile the tasks with a similar title are looked for.
    let look = || similar(ws, &new.title.0.0);
    std::thread::scope(|scope| {
        let looking = std::thread::Builder::new().spawn_scoped(scope, look);
        let mut reply = carry_out()?;
        if let Changed::Task(TaskAnswer::Receipt(receipt)) = &mut reply.data {
            // Where no thread can be started, afterwards.
            let found = looking.map_or_else(|_| look(), |looking| looking.join().unwrap_or_default());
            receipt.similar = found.into_iter().filter(|task| task.id != receipt.id).take(MAX_SIMILAR).collect();
        }
        Ok(reply)
    })
}

/// As [`execute`], for a given author and a sequence of decisions: hand edits that are recorded first, and then `decision`,
/// which may be called more than once.
pub(crate) fn carry_out<'a>(
    ws: &Workspace,
    author: Author,
    order: impl Into<Order<'a>>,
    edits: &[HandEdit],
    decision: impl Fn(&mut Transaction) -> Result<Subject>,
) -> Result<Reply> {
    let order = order.into();
    match ws.lease_remote() {
        Some(remote) => confirmation::execute_asking(ws, &author, order, remote, edits, decision),
        None => {
            let outcome = execute_as(ws, author, order, edits, None, decision);
            outcome.inspect_err(|e| clear_reported_lost_leases(ws, e))
        }
    }
}

/// As [`carry_out`], without asking a remote; `replies` holds the replies of one.
pub(crate) fn execute_as<'a>(
    ws: &Workspace,
    author: Author,
    order: impl Into<Order<'a>>,
    edits: &[HandEdit],
    replies: Option<&RemoteReplies>,
    mut decision: impl FnMut(&mut Transaction) -> Result<Subject>,
) -> Result<Reply> {
    ws.check_safe_to_change()?;
    let order = order.into();
    let mut once = || execute_once(ws, &author, order, edits, replies, &mut decision);
    match once() {
        // Nothing was written yet; after the commit point such a failure is a warning.
        Err(e) if database::is_damaged(&e) => {
            read::discard_index(ws, &e);
            once()
        }
        other => other,
    }
}

fn execute_once(
    ws: &Workspace,
    author: &Author,
    order: Order<'_>,
    edits: &[HandEdit],
    replies: Option<&RemoteReplies>,
    decision: impl FnMut(&mut Transaction) -> Result<Subject>,
) -> Result<Reply> {
    let (action, needs) = (order.action, order.action.needs());
    let runtime = ws.runtime_to_write()?;
    let prepared = prepare(ws, needs, &runtime)?;
    let mut elsewhere = OtherBranches::new(ws);
    if needs.branches {
        elsewhere.read_ahead();
    }
    let holder = format!("{} ({})", author.agent, action.name());
    let lock = take_lock(ws, &runtime, &holder)?;
    let mut journal = Journal::open(&runtime, ws.env.boot())?;
    project::finish_projection(ws, &mut journal, &runtime)?;
    (ws.after_git)(ws, &mut journal, &runtime)?;
    if let Some(known) = done_before(ws, order, &runtime, &author.agent)? {
        drop(lock);
        return reply(ws, known);
    }
    let (author, warning) = sessions::in_session(ws, author.clone(), action.command(), &runtime)?;
    let stage = |prepared, elsewhere| {
        let mut tx = Transaction::new(ws, &runtime, author.clone(), journal.lamport(), prepared, elsewhere);
        tx.warnings.extend(warning.clone());
        if let Some(replies) = replies {
            tx.merge_replies(replies.clone());
        }
        tx
    };
    let (mut tx, subject) =
        before_write::decide_over_edits(ws, action.chooses(), edits, stage(prepared, elsewhere), &stage, decision)?;
    if needs.sessions {
        tx.close_silent()?;
    }
    before_write::refuse_over_edits(ws, &mut tx)?;
    lock.check(&runtime)?;
    let mut written = write(ws, &mut journal, &runtime, tx, subject, (order, &author.agent))?;
    drop((journal, lock));
    if let (Some(Command::Done(_)), Some(task)) =
        (action.command(), written.subject.task().and_then(|id| written.tasks.get(&id)))
    {
        // The task is completed: what cannot be looked at is no error.
        let warning = uncommitted::of_task(ws, &task.fields.files);
        written
            .warnings
            .extend(warning.unwrap_or_else(|e| Some(format!("files were not compared with git: {}", e.message))));
    }
    reply(ws, written)
}

/// Clears the note of a lost lease once it was reported: where no agent holds the task, and where the command named no task, so that
/// the loss is no reason to refuse the next one.
pub(crate) fn clear_reported_lost_leases(ws: &Workspace, e: &Error) {
    let is_news_no_more = e.details["holder"].is_null() || e.details["named"] == false;
    if e.code != Code::LeaseLost || !is_news_no_more {
        return;
    }
    let task = e.details["task"].as_str().and_then(|text| text.parse().ok());
    let (Some(task), Ok(me)) = (task, ws.author()) else { return };
    let forgotten = under_lock(ws, "agentpm, noting a reported loss", |runtime, _, _| {
        let record = records::lease(runtime, task)?;
        let fence = record.fence.max(e.details["fence"].as_u64().unwrap_or(0));
        // The loss was reported just now, so its note is removed too.
        let lease = record.lease.clone().filter(|lease| lease.fence >= fence);
        let lost = record.lost.iter().filter(|lost| !lease::is_holder(lost, &me)).cloned().collect();
        records::write_lease(runtime, task, &LeaseRecord { fence, lease, lost, ..record })
    });
    if let Err(e) = forgotten {
        tracing::warn!(%task, error = %e, "the loss will be reported again");
    }
}

/// Runs `act` under the lock, after an interrupted write is finished. For repairs of files;
/// changes of the plan go through [`execute`].
///
/// Errors: `ERR_BUSY` if the lock was not acquired in time, `ERR_IO`, and those of `act`.
pub(crate) fn under_lock<T>(
    ws: &Workspace,
    who: &str,
    act: impl FnOnce(&Dir, &Lock, &mut Journal<'_>) -> Result<T>,
) -> Result<T> {
    let runtime = ws.runtime_to_write()?;
    let lock = take_lock(ws, &runtime, who)?;
    let mut journal = Journal::open(&runtime, ws.env.boot())?;
    project::finish_projection(ws, &mut journal, &runtime)?;
    act(&runtime, &lock, &mut journal)
}

/// Takes the lock of the store, and counts how long that took.
///
/// Errors: `ERR_BUSY` if it was not acquired in time.
pub(crate) fn take_lock(ws: &Workspace, runtime: &Dir, holder: &str) -> Result<Lock> {
    let start = Instant::now();
    let taken = Lock::take(runtime, Duration::from_millis(ws.settings.lock.wait_ms.into()), holder);
    ws.count_lock_wait(start.elapsed());
    taken
}

/// The index, updated before the lock so that other writers need not wait for it; `None` if the command needs none.
fn prepare(ws: &Workspace, needs: Needs<'_>, runtime: &Dir) -> Result<Option<PreparedIndex>> {
    if needs.plan == PlanNeed::Nothing {
        return Ok(None);
    }
    let chooses = needs.plan == PlanNeed::Ranking;
    let journal_end = journal::projected(runtime, ws.env.boot()).unwrap_or(0);
    let index = if chooses { read::index(ws)? } else { read::index_for_write(ws)? };
    let ranking = if chooses {
        let plan = read::plan_to_claim(ws, &index)?;
        let viewer = read::viewer_with_rights(ws)?;
        plan.rank(&viewer, &ws.settings.score, ws.env.now()).into_iter().map(|ranked| ranked.id).collect()
    } else {
        Vec::new()
    };
    let event = needs.event.map(|event| events::find_event(ws, &Ref(event.0.clone()))).transpose()?;
    Ok(Some(PreparedIndex { index, journal_end, ranking, event }))
}

/// The result of an earlier call with the same idempotency key.
fn done_before<'a>(ws: &'a Workspace, order: Order<'_>, runtime: &Dir, agent: &str) -> Result<Option<Outcome<'a>>> {
    let Some(key) = order.key else { return Ok(None) };
    let Some(known) = key.earlier(ws, runtime, agent)? else { return Ok(None) };
    let KeyRecord { subject: Some(subject), receipt, .. } = known else { return Ok(None) };
    let mut tasks = BTreeMap::new();
    if let Some(id) = subject.task() {
        let task = read::load_task(ws, id).map_err(|e| if e.code == Code::NotFound { key.not_here(id) } else { e })?;
        tasks.insert(id, Rc::new(task.task));
    }
    let is_shown = ws.request.full && !tasks.is_empty();
    Ok(Some(Outcome {
        subject,
        tasks,
        titles: BTreeMap::new(),
        before: None,
        created: BTreeSet::new(),
        agents: BTreeMap::new(),
        leases: BTreeMap::new(),
        sessions: BTreeMap::new(),
        events: Vec::new(),
        warnings: Vec::new(),
        taken_in: Vec::new(),
        passed: BTreeMap::new(),
        correlation_id: None,
        index: None,
        repeated: (!is_shown).then_some(receipt),
        elsewhere: OtherBranches::new(ws),
    }))
}

/// Appends the events of a transaction to the journal and projects them, if there are any.
fn write<'a>(
    ws: &'a Workspace,
    journal: &mut Journal,
    runtime: &Dir,
    tx: Transaction<'a>,
    subject: Subject,
    asked: (Order<'_>, &str),
) -> Result<Outcome<'a>> {
    let lamport = tx.lamport();
    let correlation_id = tx.me().correlation_id.clone();
    let Transaction { tasks, agents, leases, sessions, entries, warnings, prepared, elsewhere, used_leases, .. } = tx;
    let Transaction { resting, taken_in, unedited, passed, .. } = tx;
    let of_thread = if let Subject::Thread(task, _) = &subject { Some(*task) } else { None };
    let before =
        subject.task().or(of_thread).and_then(|id| tasks.get(&id)).filter(|slot| slot.changed && !ws.request.full);
    let mut written = Outcome {
        before: before.map(|slot| fold(slot.task.id, &slot.log.entries).0),
        subject,
        events: entries.iter().map(|e| e.event.id).collect(),
        tasks: tasks.iter().map(|(id, slot)| (*id, Rc::clone(&slot.task))).collect(),
        titles: resting.iter().map(|(id, resting)| (*id, resting.title.clone())).collect(),
        created: tasks.iter().filter(|(_, slot)| slot.log.entries.is_empty()).map(|(id, _)| *id).collect(),
        agents: agents.iter().map(|(name, (agent, _))| (name.clone(), agent.clone())).collect(),
        leases: leases.clone(),
        sessions: sessions.clone(),
        warnings: self::warnings(ws).into_iter().chain(warnings).chain(elsewhere.warning()).collect(),
        taken_in: taken_in.iter().map(|(id, (_, what))| (*id, what.clone())).collect(),
        passed,
        correlation_id,
        index: prepared.map(|prepared| prepared.index),
        repeated: None,
        elsewhere,
    };
    // An edit may repeat the present state; then its file is merely rendered.
    for (id, (bytes, _)) in taken_in.iter().filter(|(id, _)| tasks.get(id).is_some_and(|slot| !slot.changed)) {
        let log = load_task(&ws.store, *id, &[])?.log;
        let entity = Entity::Task(*id);
        if let Some(heads) = project_onto(&ws.store, &entity, log, &[], runtime, Some(bytes))? {
            record::note_rendered(ws, runtime, &[(entity, heads.into())])?;
        }
    }
    // A claim of nothing is made again when it is repeated.
    let key = if written.subject == Subject::Claim(None) { None } else { key_record(ws, asked, &mut written) };
    if entries.is_empty() {
        key.iter().try_for_each(|key| records::write_key(runtime, key))?;
        return Ok(written);
    }
    for session in written.sessions.values() {
        let before = records::session(runtime, session.id)?;
        written.warnings.extend(before.and_then(|before| session::came_back(&before, session)));
    }
    for entity in entries.iter().map(|e| &e.event.entity).collect::<BTreeSet<_>>() {
        check_home(&ws.store, entity)?;
    }
    records::check_writable(runtime, !leases.is_empty(), !sessions.is_empty(), key.is_some())?;
    let commit = Commit { key: key.clone(), ..project::commit_line(ws, entries.len(), lamport)? };
    // A program that was stopped in the middle, or a machine that slept, must not write under a lease that expired meanwhile.
    if let Some((lease, until)) = used_leases.iter().find(|(_, until)| **until <= ws.env.now()) {
        return Err(Error::new(
            Code::LeaseExpired,
            format!("lease {lease} expired at {until} while the command ran; nothing was written"),
        )
        .with(json!({ "lease": lease, "expires_at": until }))
        .hint("agentpm lease list shows who holds what; run the same command again"));
    }
    journal.append(&entries, &commit)?;
    let known = taken_in.into_iter().map(|(id, (bytes, _))| (id, bytes)).chain(unedited).collect();
    let changed = ChangeSet { entries, tasks, agents, leases, sessions, key, known };
    let projected = project::project_changed(ws, runtime, changed).and_then(|()| journal.mark_projected(ws));
    if let Err(e) = projected {
        written
            .warnings
            .push(format!("saved, but not every file could be written ({e}); the next command finishes it"));
    }
    Ok(written)
}

pub(crate) fn warnings(ws: &Workspace) -> Vec<String> {
    // Every answer names unreadable lines.
    ws.findings.iter().filter(|f| f.rule != Rule::ConfigInvalid).map(|f| f.message.clone()).collect()
}
