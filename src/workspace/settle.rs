//! The second half of a write: what was written into the journal is flushed, brought into the files, and marked as being there.
//!
//! Promises: no file is drawn from a record that a power loss could still take. Where others wait for the lock, a writer lets them
//! write first and takes the lock again; whoever is the first to have it twice flushes for all whose records are in the journal by
//! then, and draws the files for all of them, so that N writers need not N flushes (group commit).
//! Refuses to know: what was decided, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::Workspace;
use super::stage::OnStage;
use super::tail::lease_after;
use crate::env::apart;
use crate::env::files::Dir;
use crate::env::progress::Progress;
use crate::error::{Code, Error, Result};
use crate::git::Repo;
use crate::model::agent::{Agent, LeaseRecord, Session};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::session;
use crate::runtime::journal::{Journal, KeyRecord, Record, Written};
use crate::runtime::lock::Lock;
use crate::runtime::records;
use crate::store::entity::read_log;
use crate::store::layout::{STORE, Store};
use crate::store::log::Log;
use crate::store::project::{project, project_onto, sweep};

/// Most records that one flush waits for: more would gain little, and make the first of them wait long.
const MOST_TOGETHER: usize = 8;

/// A change that is in the journal, as its stage left it: enough to draw its files without reading anything again.
pub(super) struct Decided {
    /// Its events.
    pub entries: Vec<Entry>,
    pub tasks: BTreeMap<Id, OnStage>,
    pub agents: BTreeMap<String, (Agent, Log)>,
    pub leases: BTreeMap<Id, LeaseRecord>,
    pub sessions: BTreeMap<Id, Session>,
    pub key: Option<KeyRecord>,
    /// Hand edits that it took in: the bytes of the file, and what was changed, in words.
    pub taken_in: BTreeMap<Id, (Vec<u8>, String)>,
    /// Beside how many records it was decided whose files had not been drawn: what it read is not in the files yet.
    pub beside: usize,
    /// Its stage holds what is not in its events, so that nobody else can draw it as well.
    pub is_alone: bool,
}

/// How far a change came that is sure to last: a warning where not all files are up to it.
pub(super) type Saved = Option<String>;

impl Workspace {
    /// Ends what a writer left half-way: brings the journal's last records into the files they belong to.
    pub(super) fn recover(&self, journal: &mut Journal, runtime: &Dir) -> Result<()> {
        let mut records = journal.unsettled()?;
        let head = self.head();
        let root = self.root();
        // After a new start of the machine, what was made on another branch belongs there and not here.
        records.retain(|r| !(journal.restarted() && r.commit.root == root && r.commit.head != head));
        self.draw(runtime, &records)?;
        journal.settle(&self.store.dir)
    }

    pub(super) fn head(&self) -> String {
        self.repo.as_ref().map(Repo::head_text).unwrap_or_default()
    }

    /// Flushes a change that was written just now, and draws its files; together with others where some wait for the lock.
    ///
    /// Errors: `ERR_NO_SPACE` or `ERR_IO` where it could not be flushed; then nothing happened, unless the message says that the
    /// outcome is not known.
    pub(super) fn settle(
        &self,
        runtime: &Dir,
        (lock, mut journal): (Lock, Journal<'_>),
        written: &Written,
        decided: Decided,
        holder: &str,
    ) -> Result<Saved> {
        if !decided.is_alone && decided.beside < MOST_TOGETHER && Lock::is_wanted(runtime) {
            drop((journal, lock));
            return self.settle_later(runtime, written, &decided.entries, holder);
        }
        if decided.beside > 0 {
            return self.settle_all(&mut journal, runtime, written);
        }
        journal.flush(written)?;
        let drawn = self.draw_decided(runtime, decided).and_then(|()| journal.settle(&self.store.dir));
        Ok(drawn.err().map(|e| {
            written.note_flushed(runtime);
            behind(&e)
        }))
    }

    /// Takes the lock again and settles what is in the journal, unless somebody else did meanwhile.
    fn settle_later(&self, runtime: &Dir, written: &Written, entries: &[Entry], holder: &str) -> Result<Saved> {
        let wait = Duration::from_millis(self.settings.lock.wait_ms.into());
        let again = Lock::take_again(runtime, wait, holder)
            .and_then(|lock| Journal::open(runtime, self.env.boot()).map(|journal| (lock, journal)));
        match again {
            Ok((lock, mut journal)) => {
                if !journal.has_settled(written)? {
                    return self.settle_all(&mut journal, runtime, written);
                }
                drop((journal, lock));
                Ok(self.look_after_own(runtime, entries))
            }
            // Whoever holds the lock is stopped, or it cannot be had: the record is there, and only has to last.
            Err(e) => outlast(runtime, written, &e),
        }
    }

    /// Flushes and draws all that is in the journal.
    fn settle_all(&self, journal: &mut Journal, runtime: &Dir, written: &Written) -> Result<Saved> {
        let Err(e) = self.recover(journal, runtime) else { return Ok(None) };
        match journal.has_settled(written) {
            Ok(_) => outlast(runtime, written, &e),
            // It was taken back.
            Err(_) => Err(e),
        }
    }

    /// Looks whether a change whose files somebody else has drawn is in them: one in another worktree may not find this one.
    fn look_after_own(&self, runtime: &Dir, entries: &[Entry]) -> Saved {
        let others = self.repo.as_ref().map(Repo::other_worktrees);
        if others.is_none_or(|others| others.is_ok_and(|others| others.is_empty())) {
            return None;
        }
        let own = entries.iter().find(|e| !e.event.payload.journal_only())?;
        let is_there = |log: Log| log.entries.iter().any(|e| e.event.id == own.event.id);
        let drawn = match read_log(&self.store, &own.event.entity).map(is_there) {
            Ok(true) => Ok(()),
            Ok(false) => self.under_lock("agentpm, drawing what is written", |_, _, _| {
                let mut new = by_entity(entries).into_iter();
                new.try_for_each(|(entity, new)| project(&self.store, &entity, &new, runtime))
            }),
            Err(e) => Err(e),
        };
        drawn.err().map(|e| behind(&e))
    }

    /// Brings records into the files of the stores they were written for.
    fn draw(&self, runtime: &Dir, records: &[Record]) -> Result<()> {
        let own = self.root();
        for run in records.chunk_by(|a, b| a.commit.root == b.commit.root) {
            let root = &run[0].commit.root;
            let other = if *root == own { None } else { self.store_at(root) };
            let store = match &other {
                Some(store) => store,
                None if *root == own => &self.store,
                None => {
                    // The worktree is gone; the journal still knows its events.
                    tracing::warn!(root, "a record of a store that is gone was left alone");
                    continue;
                }
            };
            draw_in(store, runtime, run)?;
        }
        Ok(())
    }

    /// Another worktree's store of this clone, by the path in the journal. Anything else is not touched.
    fn store_at(&self, root: &str) -> Option<Store> {
        let path = Path::new(root);
        let others = self.repo.as_ref()?.other_worktrees().ok()?;
        let top = others.iter().find(|top| path.starts_with(top))?;
        (path.file_name() == Some(STORE.as_ref())).then(|| Store::at(path, top).ok().flatten()).flatten()
    }

    fn draw_decided(&self, runtime: &Dir, decided: Decided) -> Result<()> {
        let Decided { entries, tasks, agents, leases, sessions, key, taken_in, .. } = decided;
        let mut new = by_entity(&entries);
        let known = |id: &Id| taken_in.get(id).map(|(bytes, _)| bytes.as_slice());
        let tasks = tasks.into_iter().map(|(id, slot)| (Entity::Task(id), slot.log, known(&id)));
        let agents = agents.into_iter().map(|(name, (_, log))| (Entity::Agent(name), log, None));
        let work = tasks.chain(agents).filter_map(|(entity, log, known)| {
            let new = new.remove(&entity)?;
            Some((entity, log, new, known))
        });
        let work: Vec<_> = work.collect();
        let progress = Progress::of("writing tasks", work.len());
        apart::all(work, |(entity, log, new, known)| {
            progress.step();
            project_onto(&self.store, &entity, log, &new, runtime, known)
        })?;
        write_records(runtime, &leases, &sessions, key.as_ref())
    }
}

/// Sees to it that a change lasts whose files could not be drawn.
fn outlast(runtime: &Dir, written: &Written, why: &Error) -> Result<Saved> {
    written.sync().map_err(|failure| {
        Error::io("flush", runtime.path(), &failure)
            .hint("the outcome is not known; run agentpm doctor before you try again")
    })?;
    written.note_flushed(runtime);
    Ok(Some(behind(why)))
}

fn behind(e: &Error) -> String {
    format!("saved, but not all files are up to it yet ({e}); the next command ends that")
}

/// What goes into logs, by the entity.
fn by_entity<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeMap<Entity, Vec<Entry>> {
    let mut by_entity: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for entry in entries.into_iter().filter(|e| !e.event.payload.journal_only()) {
        by_entity.entry(entry.event.entity.clone()).or_default().push(entry.clone());
    }
    by_entity
}

/// Brings records of one store into its files, and into what the clone knows of leases, sessions and keys.
fn draw_in(store: &Store, runtime: &Dir, records: &[Record]) -> Result<()> {
    let records: Vec<&Record> = records.iter().filter(|record| !record.commit.arrived).collect();
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
    let work: Vec<_> = by_entity(all.iter().copied()).into_iter().collect();
    apart::all(work, |(entity, new)| {
        // Its writer may have died in the middle of it.
        sweep(store, &entity);
        match project(store, &entity, &new, runtime) {
            // Somebody put a link or a file where its folder belongs: one such place must not hold up all others. The journal
            // still knows the events.
            Err(e) if e.code == Code::Corrupt => {
                tracing::warn!(%entity, error = %e, "an entity could not be brought up to date");
                Ok(())
            }
            other => other,
        }
    })?;
    leases.retain(|_, record| *record != LeaseRecord::default());
    write_records(runtime, &leases, &sessions, None)?;
    records.iter().filter_map(|record| record.commit.key.as_ref()).try_for_each(|key| records::write_key(runtime, key))
}

fn write_records(
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
