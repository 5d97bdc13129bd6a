//! Brings the index up to the logs.
//!
//! Guarantees that no change is missed: each log's size, times and inode are compared with those of its last reading. A log
//! that changed within the clock's resolution of being read is read again; git calls such a file racily clean. All changes
//! are written in one transaction, or into a new index in memory if the file cannot be written.
//! Leaves to others: the rows of a task (`rows`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::sync::Arc;

use rusqlite::{OptionalExtension as _, Transaction, TransactionBehavior};

use super::rows::{Reading, forget, id_of, remember};
use super::{Index, Pending};
use crate::env::files::Mark;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::store::archive::{self, Archive, Archived};
use crate::store::database::{self, failed, is_unwritable};
use crate::store::entity::yaml_path;
use crate::store::layout::{LOG, Store, task_dir};

/// Tasks that are held in memory before they are written into the index.
const AT_ONCE: usize = 512;
/// How many bytes of their texts, besides those of one.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;
/// The coarsest resolution of a file system's clock that is allowed for, in nanoseconds.
const GRAIN: i64 = 20_000_000;

impl Index {
    /// Compares every log with what was read of it, and reads changed logs again. Returns whether any had changed.
    ///
    /// Errors: `ERR_IO` if the store or the index cannot be read.
    pub fn refresh(&mut self, store: &Store, pending: &Pending, now_ns: i64) -> Result<bool> {
        self.over.take();
        let known = self.known().map_err(failed)?;
        let (folders, _) = store.task_folders()?;
        let judged =
            parallel::map(&folders, |id| Ok(pending.contains_key(id) || is_stale(store, *id, known.get(id))?))?;
        let mut stale: BTreeSet<Id> =
            folders.iter().zip(judged).filter(|(_, stale)| *stale).map(|(id, _)| *id).collect();
        stale.extend(pending.keys().filter(|id| folders.binary_search(id).is_err()));
        let archives = self.changed_archives(store)?;
        let vanished = known.keys().filter(|id| folders.binary_search(id).is_err() && !pending.contains_key(id));
        let mut gone = Vec::new();
        for id in archives.tasks.iter().chain(vanished) {
            let is_here = archives.now.holds(*id) || folders.binary_search(id).is_ok() || pending.contains_key(id);
            if is_here {
                stale.insert(*id);
            } else {
                gone.push(*id);
            }
        }
        let stale = Vec::from_iter(stale);
        self.update(store, pending, (&stale, &gone), &archives, now_ns)?;
        archive::save(store, &archives.now);
        Ok(!stale.is_empty() || !gone.is_empty() || !archives.is_empty())
    }

    /// The archives that changed since they were read, and the tasks that they hold or held.
    fn changed_archives(&self, store: &Store) -> Result<ChangedArchives> {
        let now = archive::archived_now(store)?;
        let known = self.known_archives().map_err(failed)?;
        let dropped = self.dropped().map_err(failed)?;
        if now.archives.is_empty() && now.dropped.keys().eq(&dropped) && known.is_empty() {
            return Ok(ChangedArchives::default());
        }
        let is_same = |one: &Archive| known.get(&one.path) == Some(&form_of(one.mark));
        let here = now.archives.iter().map(|one| &one.path);
        let gone = known.keys().filter(|path| !now.archives.iter().any(|one| one.path == **path));
        let changed: BTreeSet<&String> = here
            .filter(|path| !now.archives.iter().any(|one| one.path == **path && is_same(one)))
            .chain(gone)
            .collect();
        let mut tasks = BTreeSet::new();
        for path in &changed {
            tasks.extend(self.tasks_archived_in(path).map_err(failed)?);
            tasks.extend(now.archives.iter().filter(|one| one.path == **path).flat_map(Archive::tasks));
        }
        let paths = changed.into_iter().cloned().collect();
        let drops = !now.dropped.keys().eq(&dropped);
        Ok(ChangedArchives { now, paths, tasks, drops })
    }

    fn dropped(&self) -> rusqlite::Result<BTreeSet<Id>> {
        let mut statement = self.db.prepare_cached("SELECT task FROM dropped")?;
        statement.query_map([], |row| id_of(row, 0))?.collect()
    }

    fn known_archives(&self) -> rusqlite::Result<BTreeMap<String, String>> {
        let mut statement = self.db.prepare_cached("SELECT path, mark FROM archive")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    }

    fn tasks_archived_in(&self, path: &str) -> rusqlite::Result<Vec<Id>> {
        let mut statement = self.db.prepare_cached("SELECT task FROM archived WHERE path = ?1")?;
        statement.query_map([path], |row| id_of(row, 0))?.collect()
    }

    /// The tasks among these whose readable file may be another than the rendering of their log: it is not as it was when the index
    /// read both. Such a file must be compared.
    ///
    /// Errors: `ERR_IO` if the index cannot be read.
    pub fn maybe_edited(&self, store: &Store, ids: &[Id]) -> Result<Vec<Id>> {
        let mut statement =
            self.whole()?.prepare_cached("SELECT rendered FROM file WHERE task = ?1").map_err(failed)?;
        let mut known = Vec::with_capacity(ids.len());
        for id in ids {
            let mark = statement.query_row([id.to_string()], |row| row.get::<_, Option<String>>(0)).optional();
            known.push((*id, mark.map_err(failed)?.flatten()));
        }
        let is_as_known =
            |(id, known): &(Id, Option<String>)| Ok(known.is_some() && yaml_mark(store, *id).map(form_of) == *known);
        let as_known = parallel::map(&known, is_as_known)?;
        Ok(known.iter().zip(as_known).filter(|(_, as_known)| !as_known).map(|((id, _), _)| *id).collect())
    }

    /// As [`Index::refresh`], for tasks that are known to have changed.
    pub fn refresh_some(&mut self, store: &Store, ids: &[Id], pending: &Pending, now_ns: i64) -> Result<()> {
        let mut gone = Vec::new();
        let mut stale = Vec::new();
        for id in ids {
            self.over.borrow_mut().remove(id);
            if pending.contains_key(id) || is_there(store, *id)? {
                stale.push(*id);
            } else {
                gone.push(*id);
            }
        }
        self.update(store, pending, (&stale, &gone), &ChangedArchives::default(), now_ns)
    }

    fn known(&self) -> rusqlite::Result<BTreeMap<Id, (Mark, i64)>> {
        let mut statement = self.db.prepare_cached("SELECT task, size, mtime, ctime, inode, read_at FROM file")?;
        let mut rows = statement.query([])?;
        let mut known = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mark = Mark {
                size: row.get::<_, i64>(1)? as u64,
                mtime: row.get(2)?,
                ctime: row.get(3)?,
                inode: row.get::<_, i64>(4)? as u64,
            };
            known.insert(id_of(row, 0)?, (mark, row.get(5)?));
        }
        Ok(known)
    }

    fn update(
        &mut self,
        store: &Store,
        pending: &Pending,
        (stale, gone): (&[Id], &[Id]),
        archives: &ChangedArchives,
        now_ns: i64,
    ) -> Result<()> {
        if stale.is_empty() && gone.is_empty() && archives.is_empty() {
            return Ok(());
        }
        match self.write(store, pending, (stale, gone), archives, now_ns) {
            Err(Failure::Index(e)) if is_unwritable(&e) => {
                tracing::debug!(error = %e, "the index cannot be written, working in memory");
                let memory = Index::open(None, "")?;
                let all: BTreeSet<Id> = archive::all_tasks(store)?.into_iter().chain(pending.keys().copied()).collect();
                let (all, archives) = (Vec::from_iter(all), memory.changed_archives(store)?);
                memory.write(store, pending, (&all, &[]), &archives, now_ns).map_err(Failure::into_error)?;
                *self = memory;
                Ok(())
            }
            written => {
                database::checkpoint(&mut self.db);
                written.map_err(Failure::into_error)
            }
        }
    }

    fn write(
        &self,
        store: &Store,
        pending: &Pending,
        (stale, gone): (&[Id], &[Id]),
        archives: &ChangedArchives,
        now_ns: i64,
    ) -> Result<(), Failure> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        for id in gone {
            forget(&tx, *id)?;
        }
        let is_empty = !tx.prepare_cached("SELECT 1 FROM task LIMIT 1")?.exists([])?;
        archives.write(&tx)?;
        let progress = Progress::of("reading the plan", stale.len());
        let read = |id: &Id| {
            progress.step();
            let one = Reading::of(store, *id, pending.get(id).map_or(&[], Vec::as_slice))?;
            let size = one.size();
            Ok((one, size))
        };
        parallel::in_order(stale, (AT_ONCE, BYTES_AT_ONCE), read, |one| {
            if !is_empty {
                forget(&tx, one.task.id)?;
            }
            remember(&tx, &one, now_ns).map_err(Failure::from)
        })?;
        tx.commit()?;
        Ok(())
    }
}

/// The archives that changed since the index read them.
#[derive(Default)]
struct ChangedArchives {
    /// All archives as they are.
    now: Arc<Archived>,
    /// Those that changed or are gone.
    paths: Vec<String>,
    /// The tasks that these hold or held.
    tasks: BTreeSet<Id>,
    /// Whether other tasks are dropped than the index knows.
    drops: bool,
}

impl ChangedArchives {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.drops
    }

    fn write(&self, tx: &Transaction) -> rusqlite::Result<()> {
        if self.drops {
            tx.execute("DELETE FROM dropped", [])?;
            for task in self.now.dropped.keys() {
                tx.prepare_cached("INSERT INTO dropped VALUES(?1)")?.execute([task.to_string()])?;
            }
        }
        for path in &self.paths {
            tx.execute("DELETE FROM archive WHERE path = ?1", [path])?;
            tx.execute("DELETE FROM archived WHERE path = ?1", [path])?;
            let Some(archive) = self.now.archives.iter().find(|one| one.path == *path) else { continue };
            // A file written in the same tick in which it was read may have changed again without a trace.
            let form = if archive.is_racy() { String::new() } else { form_of(archive.mark) };
            tx.execute("INSERT INTO archive VALUES(?1,?2)", [path, &form])?;
            for task in archive.tasks() {
                tx.prepare_cached("INSERT INTO archived VALUES(?1,?2)")?.execute([path, &task.to_string()])?;
            }
        }
        Ok(())
    }
}

/// The form of a file, which another state of it does not have.
pub(super) fn form_of(mark: Mark) -> String {
    let Mark { size, mtime, ctime, inode } = mark;
    format!("{size} {mtime} {ctime} {inode}")
}

/// Whether a task has a folder, or lines in an archive.
pub(super) fn is_there(store: &Store, id: Id) -> Result<bool> {
    Ok(has_folder(store, id)? || archive::archived(store)?.holds(id))
}

pub(super) fn has_folder(store: &Store, id: Id) -> Result<bool> {
    let kind = store.dir.kind(task_dir(id)).map_err(|e| Error::io("inspect", store.path(), &e))?;
    Ok(kind.is_some())
}

/// A failure while the index is written.
enum Failure {
    Index(rusqlite::Error),
    Store(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Failure::Index(e) => failed(e),
            Failure::Store(e) => e,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Failure::Index(e)
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Failure::Store(e)
    }
}
fn is_stale(store: &Store, id: Id, known: Option<&(Mark, i64)>) -> Result<bool> {
    let Some((mark, read_at)) = known else { return Ok(true) };
    Ok(mark_of(store, id)? != *mark || is_racy(mark, *read_at))
}

/// Whether a file was written in the same tick in which it was read: then it may have changed again without a trace.
pub(super) fn is_racy(mark: &Mark, read_at: i64) -> bool {
    mark.mtime.max(mark.ctime).saturating_add(GRAIN) > read_at
}

/// The mark of a task's readable file; `None` if there is none.
pub(super) fn yaml_mark(store: &Store, id: Id) -> Option<Mark> {
    store.dir.mark(yaml_path(&Entity::Task(id))?).ok().flatten()
}

pub(super) fn mark_of(store: &Store, id: Id) -> Result<Mark> {
    let path = task_dir(id).join(LOG);
    match store.dir.mark(&path) {
        Ok(mark) => Ok(mark.unwrap_or_default()),
        // A folder that this user may not read must not block all others; reading the log reports it.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(Mark::default()),
        Err(e) => Err(Error::io("inspect", &store.path().join(&path), &e)),
    }
}
