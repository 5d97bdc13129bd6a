//! The second half of a write: projects the journal into the files.
//!
//! Guarantees that no file is written from a record that a power loss could still take, and that the journal's mark passes a
//! record only once it is in its files, or kept for a worktree that could not be reached.
//! Leaves to others: what was decided, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::hand_edits::record;
use super::transaction::OnStage;
use crate::engine::context::Workspace;
use crate::env::files::Dir;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Code, Result};
use crate::git::Repo;
use crate::model::agent::{Agent, LeaseRecord, Session};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::{lease, session};
use crate::runtime::journal::{Commit, Journal, KeyRecord, Record};
use crate::runtime::{records, waiting};
use crate::store::compact;
use crate::store::entity::{read_log, understand};
use crate::store::layout::Store;
use crate::store::log::Log;
use crate::store::project::{project, project_onto, sweep};

/// What one command changed, as its stage left it: enough to write its files without reading anything again.
pub(crate) struct ChangeSet {
    /// Its events.
    pub entries: Vec<Entry>,
    pub tasks: BTreeMap<Id, OnStage>,
    pub agents: BTreeMap<String, (Agent, Log)>,
    pub leases: BTreeMap<Id, LeaseRecord>,
    pub sessions: BTreeMap<Id, Session>,
    pub key: Option<KeyRecord>,
    /// The bytes of files that differ from their logs and hold no words of a person any more.
    pub known: BTreeMap<Id, Vec<u8>>,
}

/// Finishes an interrupted write: projects the records of the journal that are not in their files yet, and those that
/// wait for this worktree. The caller holds the lock.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then all of it waits for the next command.
pub(crate) fn finish_projection(ws: &Workspace, journal: &mut Journal, runtime: &Dir) -> Result<()> {
    project_waiting(ws, runtime)?;
    if journal.is_projected() {
        return Ok(());
    }
    let records = journal.unprojected()?;
    let heads = heads_of_worktrees(ws)?;
    // What was made, and projected before a reboot, on a branch that is not checked out belongs there.
    let elsewhere = |r: &Record| heads.get(&r.commit.store.worktree).is_some_and(|head| *head != r.commit.head);
    project_records(ws, runtime, &records, |r| !(journal.is_projected_again(r) && elsewhere(r)))?;
    journal.mark_projected_late(ws)
}

/// Projects the records that another worktree kept for this one.
fn project_waiting(ws: &Workspace, runtime: &Dir) -> Result<()> {
    let worktree = ws.store_key_to_write()?.worktree;
    let records = waiting::read(runtime, worktree)?;
    if records.is_empty() {
        return Ok(());
    }
    let mut left = Vec::new();
    for run in records.chunk_by(|a, b| a.commit.store == b.commit.store) {
        match ws.store_of(&run[0].commit.store) {
            Some(store) => left.extend(project_files(ws, &store, &run.iter().collect::<Vec<_>>(), runtime)?),
            // Its folder is not checked out.
            None => left.extend(run),
        }
    }
    if left.len() == records.len() {
        return Ok(());
    }
    ws.flush_disks()?;
    waiting::replace(runtime, worktree, left.into_iter())
}

/// The last line of a record of this store with so many events.
///
/// Errors: `ERR_IO` if the system gave no randomness, or the worktree has no name.
pub(crate) fn commit_line(ws: &Workspace, n: usize, lamport: u64) -> Result<Commit> {
    Ok(Commit {
        commit: ws.env.new_id()?,
        n,
        lamport,
        up: Some(ws.env.up()),
        store: ws.store_key_to_write()?.clone(),
        head: head(ws),
        arrived: false,
        carrier: None,
        compact: None,
        key: None,
    })
}

/// What is checked out: the contents of git's HEAD.
pub(crate) fn head(ws: &Workspace) -> String {
    ws.repo.as_ref().map(Repo::head_text).unwrap_or_default()
}

/// What is checked out in the worktrees that can be reached.
fn heads_of_worktrees(ws: &Workspace) -> Result<BTreeMap<Id, String>> {
    let others = ws.other_worktrees()?.into_iter();
    let mut heads: BTreeMap<Id, String> = others.filter_map(|other| Some((other.id?, other.head))).collect();
    heads.insert(ws.store_key_to_write()?.worktree, head(ws));
    Ok(heads)
}

/// Projects records into the records of this clone, and into the files of their stores where they are `here`.
fn project_records(ws: &Workspace, runtime: &Dir, records: &[Record], here: impl Fn(&Record) -> bool) -> Result<()> {
    let own = ws.store_key_to_write()?.worktree;
    let mut waits: BTreeMap<Id, Vec<&Record>> = BTreeMap::new();
    for run in records.chunk_by(|a, b| a.commit.store == b.commit.store) {
        let key = &run[0].commit.store;
        let store = ws.store_of(key);
        project_runtime(store.as_ref(), run, runtime)?;
        let run: Vec<&Record> = run.iter().filter(|record| here(record)).collect();
        let left = match store.map(|store| project_files(ws, &store, &run, runtime)) {
            Some(Ok(left)) => left,
            // Another worktree that cannot be written must not hold up this one.
            Some(Err(e)) if key.worktree == own => return Err(e),
            Some(Err(_)) | None => run,
        };
        waits.entry(key.worktree).or_default().extend(left);
    }
    waits.retain(|_, run| !run.is_empty());
    waits.into_iter().try_for_each(|(worktree, run)| waiting::add(runtime, worktree, run.into_iter()))
}

/// Projects records of one store into its files. Returns those that must wait, because something else is in the place of a folder of an
/// entity belongs: one such place does not hold up all others.
fn project_files<'r>(ws: &Workspace, store: &Store, records: &[&'r Record], runtime: &Dir) -> Result<Vec<&'r Record>> {
    let entries = records.iter().filter(|record| !record.commit.arrived).flat_map(|record| &record.entries);
    let work: Vec<_> = by_entity(entries.cloned()).into_iter().collect();
    let projected = parallel::map(&work, |(entity, new)| {
        // Its writer may have died in the middle of it.
        sweep(store, entity);
        match project(store, entity, new, runtime) {
            Err(e) if e.code == Code::Corrupt => {
                tracing::warn!(%entity, error = %e, "an entity could not be brought up to date");
                Ok(Err(entity.clone()))
            }
            other => other.map(|heads| Ok(heads.map(|heads| (entity.clone(), heads)))),
        }
    })?;
    let (mut rendered, mut blocked) = (Vec::new(), BTreeSet::new());
    for one in projected {
        match one {
            Ok(heads) => rendered.extend(heads.map(|(entity, heads)| (entity, heads.into()))),
            Err(entity) => drop(blocked.insert(entity)),
        }
    }
    for order in records.iter().filter_map(|record| record.commit.compact.as_ref()) {
        compact::sweep(store);
        compact::apply(store, &compact::moves_until(store, order.until)?.tasks)?;
        if let Some(order) = &order.drop {
            compact::drop_tasks(store, &compact::drops_until(store, order)?)?;
        }
    }
    // The notes are those of this worktree.
    if store.path() == ws.store.path() {
        record::note_rendered(ws, runtime, &rendered)?;
    }
    let waits = |record: &&&Record| record.entries.iter().any(|entry| blocked.contains(&entry.event.entity));
    Ok(records.iter().filter(waits).copied().collect())
}

/// Projects one command's record, which was appended just now.
pub(crate) fn project_changed(ws: &Workspace, runtime: &Dir, changed: ChangeSet) -> Result<()> {
    let ChangeSet { entries, mut tasks, mut agents, leases, sessions, key, known } = changed;
    let mut log_of = |entity: &Entity| match entity {
        Entity::Task(id) => tasks.remove(id).map(|slot| slot.log),
        Entity::Agent(name) => agents.remove(name).map(|(_, log)| log),
        Entity::Session(_) => None,
    };
    let new = by_entity(entries.into_iter()).into_iter();
    let work: Vec<_> = new.map(|(entity, new)| (log_of(&entity), entity, new)).collect();
    let progress = Progress::of("writing tasks", work.len());
    let rendered = Mutex::new(Vec::with_capacity(work.len()));
    parallel::for_each(work, |(log, entity, new)| {
        progress.step();
        // The log of a task that the command did not hold to its end is read again.
        let log = log.map_or_else(|| read_log(&ws.store, &entity), Ok)?;
        let known = entity.task().and_then(|id| known.get(&id)).map(Vec::as_slice);
        let heads = project_onto(&ws.store, &entity, log, &new, runtime, known)?;
        rendered.lock().unwrap_or_else(PoisonError::into_inner).extend(heads.map(|heads| (entity, heads.into())));
        Ok(())
    })?;
    record::note_rendered(ws, runtime, &rendered.into_inner().unwrap_or_else(PoisonError::into_inner))?;
    write_runtime_records(runtime, &leases, &sessions, key.as_ref())
}

/// The events that go into logs, by entity.
fn by_entity(entries: impl Iterator<Item = Entry>) -> BTreeMap<Entity, Vec<Entry>> {
    let mut by_entity: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for entry in entries.filter(|e| !e.event.payload.journal_only()) {
        by_entity.entry(entry.event.entity.clone()).or_default().push(entry);
    }
    by_entity
}

/// Projects records of one store into the clone's records of leases, sessions and keys. The store is `None` if its worktree
/// cannot be reached.
fn project_runtime(store: Option<&Store>, records: &[Record], runtime: &Dir) -> Result<()> {
    let records: Vec<&Record> = records.iter().filter(|record| !record.commit.is_foreign()).collect();
    let all: Vec<&Entry> = records.iter().flat_map(|record| &record.entries).collect();
    let of_lease = all.iter().filter(|e| e.event.payload.is_of_lease());
    let tasks: BTreeSet<Id> = of_lease.filter_map(|e| e.event.entity.task()).collect();
    let mut leases = BTreeMap::new();
    for task in tasks {
        let own: Vec<&Entry> = all.iter().copied().filter(|e| e.event.entity == Entity::Task(task)).collect();
        leases.insert(task, lease_after(store, runtime, task, &own)?);
    }
    let mut sessions: BTreeMap<Id, Session> = BTreeMap::new();
    for entry in &all {
        for id in session::concerned(&entry.event) {
            let known = sessions.remove(&id).map_or_else(|| records::session(runtime, id), |s| Ok(Some(s)))?;
            if let Some(session) = session::after(known, id, &entry.event) {
                sessions.insert(id, session);
            }
        }
    }
    leases.retain(|_, record| *record != LeaseRecord::default());
    write_runtime_records(runtime, &leases, &sessions, None)?;
    records.iter().filter_map(|record| record.commit.key.as_ref()).try_for_each(|key| records::write_key(runtime, key))
}

/// What is known of a task's leases after more of its events, as the commands that wrote them saw it.
fn lease_after(store: Option<&Store>, runtime: &Dir, task: Id, new: &[&Entry]) -> Result<LeaseRecord> {
    let mut record = records::lease(runtime, task)?;
    let mut log = store.map(|store| read_log(store, &Entity::Task(task))).transpose()?.unwrap_or_default();
    log.entries.retain(|known| new.iter().all(|e| e.event.id != known.event.id));
    let before = understand("", task, log);
    for entry in new {
        lease::merge_log_grants(&mut record, &before.task, before.log.entries.iter(), entry.event.at);
        lease::apply(&mut record, &entry.event);
        lease::merge_remote_record(&mut record);
    }
    Ok(record)
}

fn write_runtime_records(
    runtime: &Dir,
    leases: &BTreeMap<Id, LeaseRecord>,
    sessions: &BTreeMap<Id, Session>,
    key: Option<&KeyRecord>,
) -> Result<()> {
    for (task, record) in leases {
        records::write_lease(runtime, *task, record)?;
    }
    for session in sessions.values() {
        records::write_session(runtime, session)?;
    }
    key.map_or(Ok(()), |key| records::write_key(runtime, key))
}
