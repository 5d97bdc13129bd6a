//! The read model: the state of the logs, indexed so that one question costs one look-up.
//!
//! Guarantees that it is derived and disposable. Every answer follows [`Index::refresh`], which compares each log's size,
//! times and inode with what was read, and reads changed logs again. A file that changed within the clock's resolution of
//! being read is read again; git calls such a file racily clean. A damaged, foreign or older index is discarded and rebuilt,
//! in memory if no file can be written.
//! Leaves to others: rules. It stores folded tasks and finds them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use serde_json::json;
use serde_json::value::RawValue;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use crate::env::files::Mark;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Code, Error, Result};
use crate::model::event::Entry;
use crate::model::event::Stamp;
use crate::model::finding::Severity;
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::{Brief, Line, Status, Task, TaskType};
use crate::model::time::Time;
use crate::rules::graph::Edge;
use crate::rules::lease::{LoggedGrant, find_logged_grant};
use crate::rules::lost::lost;
use crate::store::database::{self, Form, failed, is_unwritable};
use crate::store::entity::load_task;
use crate::store::filter::Filter;
use crate::store::fulltext;
use crate::store::layout::{LOG, Store, task_dir};

/// Tasks that are held in memory before they are written into the index.
const AT_ONCE: usize = 2_048;
/// The longest title in a list, in bytes; commands accept less.
const MAX_TITLE: usize = 1_000;
/// The coarsest resolution of a file system's clock that is allowed for, in nanoseconds.
const GRAIN: i64 = 20_000_000;

const FORM: Form = Form {
    // Changes with every change of the tables or their contents.
    schema: 13,
    tables: &[
        "
CREATE TABLE task(
  id TEXT PRIMARY KEY, status TEXT NOT NULL, finished INTEGER NOT NULL, owner TEXT, parent TEXT, type TEXT NOT NULL,
  priority INTEGER NOT NULL, defer_until INTEGER, need_perm TEXT, need_precedence INTEGER, title TEXT NOT NULL, origin TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  errors INTEGER NOT NULL, lamport INTEGER NOT NULL, lost INTEGER NOT NULL, is_there INTEGER NOT NULL,
  due INTEGER, version INTEGER NOT NULL, steps INTEGER NOT NULL, steps_done INTEGER NOT NULL, labels TEXT,
  completed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_finished ON task(finished, status);
CREATE INDEX task_lamport ON task(lamport);
CREATE INDEX task_lost ON task(id, lost) WHERE lost > 0;
CREATE INDEX task_parent ON task(parent) WHERE parent IS NOT NULL;
CREATE INDEX task_origin ON task(origin) WHERE origin IS NOT NULL;
CREATE TABLE granted(task TEXT PRIMARY KEY, finished INTEGER NOT NULL, lease TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX granted_finished ON granted(finished);
CREATE TABLE file(
  task TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, inode INTEGER NOT NULL, read_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE doc(n INTEGER PRIMARY KEY AUTOINCREMENT, task TEXT NOT NULL UNIQUE, doc BLOB NOT NULL);
CREATE TABLE edge(
  id TEXT NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL, source TEXT NOT NULL, target TEXT NOT NULL,
  lamport INTEGER NOT NULL, PRIMARY KEY(task, id)
) WITHOUT ROWID;
CREATE INDEX edge_source ON edge(source, kind);
CREATE TABLE part(id TEXT NOT NULL, task TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY(id, task)) WITHOUT ROWID;
CREATE INDEX part_task ON part(task);
CREATE TABLE label(label TEXT NOT NULL, task TEXT NOT NULL, PRIMARY KEY(label, task)) WITHOUT ROWID;
CREATE INDEX label_task ON label(task);
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
",
        fulltext::TABLES,
    ],
};

/// Acknowledged events that may not be in their logs yet, by task.
pub type Pending = BTreeMap<Id, Vec<Entry>>;

/// The read model of one work tree.
#[derive(Debug)]
pub struct Index {
    db: Connection,
    /// Tasks that were read and not written yet, with the time of reading; `None` for removed tasks. See [`Index::overlay`].
    over: RefCell<BTreeMap<Id, Option<(Reading, i64)>>>,
}

impl Index {
    /// Opens or creates the index at `path`; in memory if `path` is `None` or cannot be written.
    ///
    /// Errors: `ERR_IO` if not even a database in memory can be opened.
    pub fn open(path: Option<&Path>, boot: &str) -> Result<Self> {
        Ok(Index { db: database::open(path, boot, &FORM)?, over: RefCell::default() })
    }

    /// The marker up to which the index is current, as its writer gave it; `None` if there is none.
    pub fn change_marker(&self) -> Result<Option<String>> {
        let ask = self.db.query_row("SELECT value FROM meta WHERE name = 'kept_up'", [], |row| row.get(0)).optional();
        ask.map_err(failed)
    }

    /// Saves the marker up to which the index is current. If that fails, the next reader checks every file.
    pub fn save_change_marker(&self, words: &str) {
        let noted = self.db.execute("INSERT OR REPLACE INTO meta VALUES('kept_up', ?1)", [words]);
        noted.map(drop).unwrap_or_else(|e| tracing::debug!(error = %e, "the index could not be noted as kept up"));
    }

    /// Compares every log with what was read of it, and reads changed logs again. Returns whether any had changed.
    ///
    /// Errors: `ERR_IO` if the store or the index cannot be read.
    pub fn refresh(&mut self, store: &Store, pending: &Pending, now_ns: i64) -> Result<bool> {
        self.over.take();
        let known = self.known().map_err(failed)?;
        let (folders, _) = store.task_folders()?;
        let judged =
            parallel::map(&folders, |id| Ok(pending.contains_key(id) || is_stale(store, *id, known.get(id))?))?;
        let mut stale: Vec<Id> = folders.iter().zip(judged).filter(|(_, stale)| *stale).map(|(id, _)| *id).collect();
        stale.extend(pending.keys().filter(|id| folders.binary_search(id).is_err()));
        let present: BTreeSet<Id> = folders.into_iter().chain(pending.keys().copied()).collect();
        let gone: Vec<Id> = known.keys().filter(|id| !present.contains(id)).copied().collect();
        self.take_in(store, pending, &stale, &gone, now_ns)?;
        Ok(!stale.is_empty() || !gone.is_empty())
    }

    /// As [`Index::refresh`], for tasks that are known to have changed.
    pub fn refresh_some(&mut self, store: &Store, ids: &[Id], pending: &Pending, now_ns: i64) -> Result<()> {
        let mut gone = Vec::new();
        let mut stale = Vec::new();
        for id in ids {
            self.over.borrow_mut().remove(id);
            let there = store.dir.kind(task_dir(*id)).map_err(|e| Error::io("inspect", store.path(), &e))?;
            if there.is_some() || pending.contains_key(id) {
                stale.push(*id);
            } else {
                gone.push(*id);
            }
        }
        self.take_in(store, pending, &stale, &gone, now_ns)
    }

    /// As [`Index::refresh_some`], without writing: answers about single tasks use these versions. A question about all tasks
    /// writes them first.
    ///
    /// Errors: as [`Index::refresh`].
    pub fn overlay(&self, store: &Store, ids: &[Id], pending: &Pending, now_ns: i64) -> Result<()> {
        for id in ids {
            let there = store.dir.kind(task_dir(*id)).map_err(|e| Error::io("inspect", store.path(), &e))?;
            let more = pending.get(id).map(Vec::as_slice);
            let read = (there.is_some() || more.is_some())
                .then(|| Reading::of(store, *id, more.unwrap_or_default()).map(|reading| (reading, now_ns)));
            self.over.borrow_mut().insert(*id, read.transpose()?);
        }
        Ok(())
    }

    /// The database, after the overlaid tasks are written into it.
    fn whole(&self) -> Result<&Connection> {
        let over = self.over.take();
        if !over.is_empty() {
            let write = || -> rusqlite::Result<()> {
                let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
                for (id, read) in &over {
                    forget(&tx, *id)?;
                    read.iter().try_for_each(|(reading, read_at)| remember(&tx, reading, *read_at))?;
                }
                tx.commit()
            };
            write().map_err(failed)?;
        }
        Ok(&self.db)
    }

    /// The overlaid version of a task: `Some(None)` if it was removed.
    fn overlaid<T>(&self, id: Id, take: impl Fn(&Task) -> T) -> Option<Option<T>> {
        self.over.borrow().get(&id).map(|read| read.as_ref().map(|(reading, _)| take(&reading.task)))
    }

    /// The ids of `found` without an overlaid version, and of the overlaid tasks that match; sorted.
    fn with_overlaid(&self, mut found: Vec<Id>, fits: impl Fn(&Task) -> bool) -> Vec<Id> {
        let over = self.over.borrow();
        if !over.is_empty() {
            found.retain(|id| !over.contains_key(id));
            let read = over.iter().filter(|(_, read)| read.as_ref().is_some_and(|(reading, _)| fits(&reading.task)));
            found.extend(read.map(|(id, _)| *id));
            found.sort();
        }
        found
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

    fn take_in(&mut self, store: &Store, pending: &Pending, stale: &[Id], gone: &[Id], now_ns: i64) -> Result<()> {
        if stale.is_empty() && gone.is_empty() {
            return Ok(());
        }
        match self.write(store, pending, stale, gone, now_ns) {
            Err(Failure::Index(e)) if is_unwritable(&e) => {
                tracing::debug!(error = %e, "the index cannot be written, working in memory");
                let memory = Index::open(None, "")?;
                let all: BTreeSet<Id> = store.task_folders()?.0.into_iter().chain(pending.keys().copied()).collect();
                let all: Vec<Id> = all.into_iter().collect();
                memory.write(store, pending, &all, &[], now_ns).map_err(Failure::into_error)?;
                *self = memory;
                Ok(())
            }
            written => {
                database::checkpoint(&mut self.db);
                written.map_err(Failure::into_error)
            }
        }
    }

    fn write(&self, store: &Store, pending: &Pending, stale: &[Id], gone: &[Id], now_ns: i64) -> Result<(), Failure> {
        let tx = Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        for id in gone {
            forget(&tx, *id)?;
        }
        let is_empty = !tx.prepare_cached("SELECT 1 FROM file LIMIT 1")?.exists([])?;
        let progress = Progress::of("reading the plan", stale.len());
        for some in stale.chunks(AT_ONCE) {
            let read = parallel::map(some, |id| {
                progress.step();
                Reading::of(store, *id, pending.get(id).map_or(&[], Vec::as_slice))
            })?;
            for one in &read {
                if !is_empty {
                    forget(&tx, one.task.id)?;
                }
                remember(&tx, one, now_ns)?;
            }
        }
        tx.commit()?;
        Ok(())
    }
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

fn forget(tx: &Transaction, id: Id) -> rusqlite::Result<()> {
    let id = id.to_string();
    tx.prepare_cached(fulltext::ON_DELETE)?.execute([&id])?;
    tx.prepare_cached("DELETE FROM task WHERE id = ?1")?.execute([&id])?;
    for table in ["file", "doc", "granted", "edge", "part", "label"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE task = ?1"))?.execute([&id])?;
    }
    Ok(())
}

fn is_stale(store: &Store, id: Id, known: Option<&(Mark, i64)>) -> Result<bool> {
    let Some((mark, read_at)) = known else { return Ok(true) };
    // A file written in the same tick in which it was read may have changed again without a trace.
    Ok(mark_of(store, id)? != *mark || mark.mtime.max(mark.ctime).saturating_add(GRAIN) > *read_at)
}

fn mark_of(store: &Store, id: Id) -> Result<Mark> {
    let path = task_dir(id).join(LOG);
    match store.dir.mark(&path) {
        Ok(mark) => Ok(mark.unwrap_or_default()),
        // A folder that this user may not read must not block all others; reading the log reports it.
        Err(e) if e.kind() == ErrorKind::PermissionDenied => Ok(Mark::default()),
        Err(e) => Err(Error::io("inspect", &store.path().join(&path), &e)),
    }
}

/// The result of reading one task.
#[derive(Debug)]
struct Reading {
    mark: Mark,
    task: Task,
    /// The serialized task.
    doc: Vec<u8>,
    /// The number of findings that are errors.
    errors: usize,
    /// The number of values that lost to a concurrent one.
    lost: usize,
    /// The lease that its log grants.
    granted: Option<LoggedGrant>,
}

impl Reading {
    fn of(store: &Store, id: Id, pending: &[Entry]) -> Result<Self> {
        // The mark is taken before the bytes, so that a change in between is seen the next time. Events that are in no file
        // yet may be lost if the disk fails, so their task is always read again.
        let mark = if pending.is_empty() { mark_of(store, id)? } else { Mark { size: u64::MAX, ..Mark::default() } };
        let loaded = load_task(store, id, pending)?;
        let errors = loaded.findings.iter().filter(|f| f.severity == Severity::Error).count();
        let lost = lost(id, &loaded.log.entries).len();
        let granted = find_logged_grant(&loaded.task, loaded.log.entries.iter());
        // A large log and its document are not held at the same time.
        drop(loaded.log);
        let task = loaded.task;
        let doc = serde_json::to_vec(&task)
            .map_err(|e| Error::new(Code::Io, format!("task {id} cannot be kept in the index: {e}")))?;
        Ok(Reading { mark, doc, errors, lost, granted, task })
    }
}

fn remember(tx: &Transaction, reading: &Reading, now_ns: i64) -> rusqlite::Result<()> {
    let Reading { mark, task, doc, errors, lost, granted } = reading;
    let id = task.id.to_string();
    // For lists; the document has the whole title.
    let title = &task.fields.title[..task.fields.title.floor_char_boundary(MAX_TITLE)];
    let origin = task.fields.metadata.get("origin").and_then(origin_key);
    let labels = Some(&task.fields.labels).filter(|labels| !labels.is_empty()).map(|labels| json!(labels).to_string());
    tx.prepare_cached(
        "INSERT INTO task VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24)",
    )?
    .execute(params![
        id,
        task.status.as_str(),
        task.status.is_finished(),
        task.owner,
        task.parent().map(|p| p.to_string()),
        task.fields.kind.as_str(),
        task.fields.priority,
        task.fields.defer_until.map(Time::millis),
        task.fields.need_perm,
        task.fields.need_precedence,
        title,
        origin,
        task.created_at.millis(),
        task.updated_at.millis(),
        *errors as i64,
        task.lamport as i64,
        *lost as i64,
        // A new task exists by its events alone if its writer died before creating the log.
        mark.size > 0 || task.lamport > 0,
        task.fields.due.map(Time::millis),
        task.version as i64,
        task.progress.len() as i64,
        task.progress.values().filter(|item| item.completed).count() as i64,
        labels,
        task.completed_at.is_some(),
    ])?;
    tx.prepare_cached("INSERT INTO doc(task, doc) VALUES(?1,?2)")?.execute(params![id, doc])?;
    if let Some(granted) = granted {
        let wrong = |e: serde_json::Error| rusqlite::Error::ToSqlConversionFailure(Box::new(e));
        let lease = serde_json::to_string(granted).map_err(wrong)?;
        tx.prepare_cached("INSERT INTO granted VALUES(?1,?2,?3)")?.execute(params![
            id,
            task.status.is_finished(),
            lease
        ])?;
    }
    let (size, inode) = (mark.size as i64, mark.inode as i64);
    tx.prepare_cached("INSERT INTO file VALUES(?1,?2,?3,?4,?5,?6)")?
        .execute(params![id, size, mark.mtime, mark.ctime, inode, now_ns])?;
    for edge in task.relationships.values() {
        tx.prepare_cached("INSERT INTO edge VALUES(?1,?2,?3,?4,?5,?6)")?.execute(params![
            edge.id.to_string(),
            id,
            edge.kind.as_str(),
            edge.from.to_string(),
            edge.to.to_string(),
            edge.lamport as i64
        ])?;
    }
    let parts = task.progress.keys().map(|p| (p, "progress")).chain(task.context.keys().map(|c| (c, "context")));
    for (part, kind) in parts {
        tx.prepare_cached("INSERT INTO part VALUES(?1,?2,?3)")?.execute(params![part.to_string(), id, kind])?;
    }
    for label in &task.fields.labels {
        tx.prepare_cached("INSERT OR IGNORE INTO label VALUES(?1,?2)")?.execute(params![label, id])?;
    }
    Ok(())
}

/// The origin of an imported task as one text: `<format>/<id>`.
fn origin_key(origin: &serde_json::Value) -> Option<String> {
    Some(format!("{}/{}", origin.get("format")?.as_str()?, origin.get("id")?.as_str()?))
}

pub(super) fn id_of(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Id> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|e: Error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

fn granted_of(row: &rusqlite::Row) -> rusqlite::Result<LoggedGrant> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(wrong)
}

fn task_of(row: &rusqlite::Row, column: usize) -> rusqlite::Result<Task> {
    read_doc(row.get_ref(column)?.as_blob()?)
}

pub(super) fn read_doc(doc: &[u8]) -> rusqlite::Result<Task> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(e));
    serde_json::from_slice(doc).map_err(wrong)
}

/// Questions. All of them answer as of the last refresh.
impl Index {
    fn ids(&self, sql: &str, key: &str) -> Result<Vec<Id>> {
        let ask = || -> rusqlite::Result<Vec<Id>> {
            self.db.prepare_cached(sql)?.query_map([key], |row| id_of(row, 0))?.collect()
        };
        ask().map_err(failed)
    }

    /// The tasks that have `id` as parent, by id.
    ///
    /// Errors: `ERR_IO` if the index cannot be read, as for all questions.
    pub fn children(&self, id: Id) -> Result<Vec<Id>> {
        let found = self.ids("SELECT id FROM task WHERE parent = ?1 ORDER BY id", &id.to_string())?;
        Ok(self.with_overlaid(found, |task| task.parent() == Some(id)))
    }

    /// The tasks that `id` blocks, by id.
    pub fn dependents(&self, id: Id) -> Result<Vec<Id>> {
        let sql = "SELECT DISTINCT task FROM edge WHERE source = ?1 AND kind = 'blocks' ORDER BY task";
        Ok(self.with_overlaid(self.ids(sql, &id.to_string())?, |task| task.blockers().contains(&id)))
    }

    /// The tasks in progress of an owner, by id.
    pub fn in_progress_of(&self, owner: &str) -> Result<Vec<Id>> {
        let sql = "SELECT id FROM task WHERE finished = 0 AND status = 'in_progress' AND owner = ?1 ORDER BY id";
        let is_theirs = |task: &Task| task.status == Status::InProgress && task.owner.as_deref() == Some(owner);
        Ok(self.with_overlaid(self.ids(sql, owner)?, is_theirs))
    }

    /// The tasks recorded as blocked that have no unfinished blocker, by id. A missing blocker is unfinished.
    pub fn freed(&self) -> Result<Vec<Id>> {
        self.whole()?;
        let sql = "SELECT t.id FROM task t WHERE t.finished = 0 AND t.status = ?1 AND NOT EXISTS (
                     SELECT 1 FROM edge e LEFT JOIN task s ON s.id = e.source
                     WHERE e.task = t.id AND e.kind = 'blocks' AND coalesce(s.finished, 0) = 0
                   ) ORDER BY t.id";
        self.ids(sql, Status::Blocked.as_str())
    }

    /// The ids of all tasks.
    pub fn all_ids(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE id > ?1 ORDER BY id", "")
    }

    /// The tasks with an event above a Lamport time, by id.
    pub fn tasks_after(&self, lamport: u64) -> Result<Vec<Id>> {
        self.whole()?;
        let least = i64::try_from(lamport).unwrap_or(i64::MAX).to_string();
        self.ids("SELECT id FROM task WHERE lamport > CAST(?1 AS INTEGER) ORDER BY id", &least)
    }

    /// The tasks with values that lost to concurrent ones, by id.
    pub fn tasks_with_lost_edits(&self) -> Result<Vec<Id>> {
        self.whole()?;
        self.ids("SELECT id FROM task WHERE lost > 0 AND id > ?1 ORDER BY id", "")
    }

    /// The task that was imported from `<format>/<id>`.
    pub fn by_origin(&self, origin: &str) -> Result<Option<Id>> {
        self.whole()?;
        Ok(self.ids("SELECT id FROM task WHERE origin = ?1 ORDER BY id LIMIT 1", origin)?.first().copied())
    }

    /// A task by its id.
    pub fn task(&self, id: Id) -> Result<Option<Task>> {
        if let Some(read) = self.overlaid(id, Task::clone) {
            return Ok(read);
        }
        let ask = || {
            self.db
                .prepare_cached("SELECT doc FROM doc WHERE task = ?1")?
                .query_row([id.to_string()], |row| task_of(row, 0))
                .optional()
        };
        ask().map_err(failed)
    }

    /// The lease that the log of a task grants.
    pub fn granted(&self, id: Id) -> Result<Option<LoggedGrant>> {
        if let Some(read) = self.over.borrow().get(&id) {
            return Ok(read.as_ref().and_then(|(reading, _)| reading.granted.clone()));
        }
        let ask = || {
            self.db
                .prepare_cached("SELECT lease FROM granted WHERE task = ?1")?
                .query_row([id.to_string()], granted_of)
                .optional()
        };
        ask().map_err(failed)
    }

    /// The leases that the logs of unfinished tasks grant, by task.
    pub fn all_granted(&self) -> Result<BTreeMap<Id, LoggedGrant>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<BTreeMap<Id, LoggedGrant>> {
            let mut statement = db.prepare_cached("SELECT lease FROM granted WHERE finished = 0")?;
            let rows = statement.query_map([], granted_of)?;
            rows.map(|row| row.map(|granted| (granted.lease.task, granted))).collect()
        };
        ask().map_err(failed)
    }

    /// The recorded status of a task.
    pub fn status(&self, id: Id) -> Result<Option<Status>> {
        if let Some(read) = self.overlaid(id, |task| task.status) {
            return Ok(read);
        }
        let ask = || {
            self.db
                .prepare_cached("SELECT status FROM task WHERE id = ?1")?
                .query_row([id.to_string()], |row| row.get::<_, String>(0))
                .optional()
        };
        Ok(ask().map_err(failed)?.and_then(|word| Status::from_word(&word)))
    }

    /// The statuses of all tasks.
    pub fn statuses(&self) -> Result<BTreeMap<Id, Status>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<BTreeMap<Id, Status>> {
            let mut statement = db.prepare_cached("SELECT id, status FROM task")?;
            let mut rows = statement.query([])?;
            let mut all = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let status = Status::from_word(row.get_ref(1)?.as_str()?).unwrap_or_default();
                all.insert(id_of(row, 0)?, status);
            }
            Ok(all)
        };
        ask().map_err(failed)
    }

    /// Ids of the parts (`progress` or `context`) that begin or end with `text`, with their tasks.
    pub fn parts(&self, kind: &str, text: &str) -> Result<Vec<(Id, Id)>> {
        let ask = || -> rusqlite::Result<Vec<(Id, Id)>> {
            self.db
                .prepare_cached(
                    "SELECT id, task FROM part WHERE kind = ?1 AND (id GLOB ?2 || '*' OR id GLOB '*' || ?2) ORDER BY id LIMIT 20",
                )?
                .query_map([kind, text], |row| Ok((id_of(row, 0)?, id_of(row, 1)?)))?
                .collect()
        };
        let mut found = ask().map_err(failed)?;
        let over = self.over.borrow();
        if !over.is_empty() {
            found.retain(|(_, task)| !over.contains_key(task));
            for (task, (reading, _)) in over.iter().filter_map(|(id, read)| Some((*id, read.as_ref()?))) {
                let parts: Vec<Id> = match kind {
                    "progress" => reading.task.progress.keys().copied().collect(),
                    _ => reading.task.context.keys().copied().collect(),
                };
                let fits = |id: &Id| id.to_string().starts_with(text) || id.to_string().ends_with(text);
                found.extend(parts.into_iter().filter(fits).map(|part| (part, task)));
            }
            found.sort();
        }
        Ok(found)
    }

    /// The parent and blocking edges between an unfinished task and one that is not known to be finished.
    pub fn open_edges(&self) -> Result<Vec<Edge>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<Edge>> {
            let mut statement = db.prepare_cached(
                "SELECT e.id, e.kind, e.source, e.target, e.lamport FROM edge e
                 JOIN task t ON t.id = e.task AND t.finished = 0
                 LEFT JOIN task s ON s.id = e.source
                 WHERE e.kind IN ('blocks', 'parent_of') AND coalesce(s.finished, 0) = 0",
            )?;
            let mut rows = statement.query([])?;
            let mut edges = Vec::new();
            while let Some(row) = rows.next()? {
                let kind =
                    if row.get_ref(1)?.as_str()? == "blocks" { RelationType::Blocks } else { RelationType::ParentOf };
                let stamp = Stamp { lamport: row.get::<_, i64>(4)? as u64, id: id_of(row, 0)? };
                edges.push(Edge { stamp, kind, from: id_of(row, 2)?, to: id_of(row, 3)? });
            }
            Ok(edges)
        };
        ask().map_err(failed)
    }

    /// All relationships, by the task whose log holds them.
    pub fn edges(&self) -> Result<Vec<Edge>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<Edge>> {
            let mut statement =
                db.prepare_cached("SELECT id, kind, source, target, lamport FROM edge ORDER BY task, id")?;
            let mut rows = statement.query([])?;
            let mut edges = Vec::new();
            while let Some(row) = rows.next()? {
                let word = row.get_ref(1)?.as_str()?;
                let Some(kind) = RelationType::ALL.into_iter().find(|kind| kind.as_str() == word) else { continue };
                let stamp = Stamp { lamport: row.get::<_, i64>(4)? as u64, id: id_of(row, 0)? };
                edges.push(Edge { stamp, kind, from: id_of(row, 2)?, to: id_of(row, 3)? });
            }
            Ok(edges)
        };
        ask().map_err(failed)
    }

    /// The numbers of finished and of all children, by parent.
    pub fn child_progress(&self) -> Result<BTreeMap<Id, (u64, u64)>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<BTreeMap<Id, (u64, u64)>> {
            let mut statement = db.prepare_cached(
                "SELECT parent, sum(finished), count(*) FROM task WHERE parent IS NOT NULL GROUP BY parent",
            )?;
            let mut rows = statement.query([])?;
            let mut all = BTreeMap::new();
            while let Some(row) = rows.next()? {
                all.insert(id_of(row, 0)?, (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64));
            }
            Ok(all)
        };
        ask().map_err(failed)
    }

    /// The greatest Lamport time in any log.
    pub fn greatest_lamport(&self) -> Result<u64> {
        let db = self.whole()?;
        let greatest = db.query_row("SELECT coalesce(max(lamport), 0) FROM task", [], |row| row.get::<_, i64>(0));
        Ok(greatest.map_err(failed)? as u64)
    }

    /// The number of tasks of each status.
    pub fn counts(&self) -> Result<BTreeMap<String, u64>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<BTreeMap<String, u64>> {
            db.prepare_cached("SELECT status, count(*) FROM task GROUP BY status")?
                .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64)))?
                .collect()
        };
        ask().map_err(failed)
    }

    /// Totals over all tasks.
    pub fn sums(&self) -> Result<Sums> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Sums> {
            let sql =
                "SELECT coalesce(sum(version), 0), coalesce(sum(steps), 0), coalesce(sum(steps_done), 0) FROM task";
            let mut sums = db.query_row(sql, [], |row| {
                let number = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)? as u64);
                Ok(Sums { events: number(0)?, steps: number(1)?, steps_done: number(2)?, ..Sums::default() })
            })?;
            let context = "SELECT count(*) FROM part WHERE kind = 'context'";
            sums.context = db.query_row(context, [], |row| row.get::<_, i64>(0))? as u64;
            let by_owner = "SELECT owner, count(*) FROM task WHERE completed GROUP BY owner";
            let mut statement = db.prepare_cached(by_owner)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
            sums.completed_by = rows.collect::<rusqlite::Result<_>>()?;
            Ok(sums)
        };
        ask().map_err(failed)
    }

    /// What the choice of work needs of every unfinished task, by id. A task whose log cannot be read is not offered.
    pub fn briefs(&self) -> Result<Vec<Brief>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<Brief>> {
            db.prepare_cached(
                "SELECT id, status, owner, parent, priority, created_at, defer_until, need_perm, need_precedence, title
                     FROM task WHERE finished = 0 AND version > 0 ORDER BY id",
            )?
            .query_map([], |row| {
                Ok(Brief {
                    id: id_of(row, 0)?,
                    status: Status::from_word(row.get_ref(1)?.as_str()?).unwrap_or_default(),
                    owner: row.get(2)?,
                    parent: row.get::<_, Option<String>>(3)?.and_then(|text| text.parse().ok()),
                    priority: row.get(4)?,
                    created_at: Time::from_millis(row.get(5)?),
                    defer_until: row.get::<_, Option<i64>>(6)?.map(Time::from_millis),
                    need_perm: row.get(7)?,
                    need_precedence: row.get(8)?,
                    title: row.get(9)?,
                })
            })?
            .collect()
        };
        ask().map_err(failed)
    }

    /// The tasks that match a filter, most urgent first, with their priorities: those after this priority and id. Also their
    /// total number.
    pub fn found(&self, filter: &Filter, after: Option<(i64, Id)>) -> Result<(Vec<(i64, Id)>, u64)> {
        let db = self.whole()?;
        let (mut condition, mut values) = filter.condition();
        let mut ask = || -> rusqlite::Result<(Vec<(i64, Id)>, u64)> {
            let count = format!("SELECT count(*) FROM task WHERE {condition}");
            let total: i64 = db.query_row(&count, rusqlite::params_from_iter(&values), |row| row.get(0))?;
            if let Some((priority, id)) = after {
                condition += " AND (priority < ? OR (priority = ? AND id > ?))";
                values.extend([priority.into(), priority.into(), id.to_string().into()]);
            }
            let sql = format!("SELECT priority, id FROM task WHERE {condition} ORDER BY priority DESC, id");
            let mut statement = db.prepare(&sql)?;
            let rows =
                statement.query_map(rusqlite::params_from_iter(&values), |row| Ok((row.get(0)?, id_of(row, 1)?)))?;
            Ok((rows.collect::<rusqlite::Result<_>>()?, total as u64))
        };
        ask().map_err(failed)
    }

    /// The lines of a list for these tasks, in their order, without removed ones.
    pub fn lines(&self, ids: impl Iterator<Item = Id>) -> Result<Vec<Line>> {
        let db = self.whole()?;
        let ask = || -> rusqlite::Result<Vec<Line>> {
            let mut statement = db.prepare_cached(
                "SELECT title, type, status, owner, parent, priority, labels, due, defer_until, version, updated_at,
                        steps, steps_done FROM task WHERE id = ?1",
            )?;
            let mut lines = Vec::new();
            for id in ids {
                lines.extend(statement.query_row([id.to_string()], |row| line_of(id, row)).optional()?);
            }
            Ok(lines)
        };
        ask().map_err(failed)
    }

    /// The sort keys of all tasks that match a filter, by id.
    pub fn keys(&self, filter: &Filter) -> Result<Vec<Keys>> {
        let db = self.whole()?;
        let (condition, values) = filter.condition();
        let ask = || -> rusqlite::Result<Vec<Keys>> {
            let sql =
                format!("SELECT id, priority, created_at, updated_at, title FROM task WHERE {condition} ORDER BY id");
            db.prepare_cached(&sql)?
                .query_map(rusqlite::params_from_iter(&values), |row| {
                    Ok(Keys {
                        id: id_of(row, 0)?,
                        priority: row.get(1)?,
                        created_at: row.get(2)?,
                        updated_at: row.get(3)?,
                        title: row.get(4)?,
                    })
                })?
                .collect()
        };
        ask().map_err(failed)
    }

    pub(super) fn connection(&self) -> Result<&Connection> {
        self.whole()
    }

    /// Whether the index is a file that the next command can open.
    pub(super) fn is_kept(&self) -> bool {
        self.db.path().is_some_and(|path| !path.is_empty())
    }
}

/// Totals over all tasks.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// The number of events in their logs.
    pub events: u64,
    /// The number of progress items.
    pub steps: u64,
    /// The number of completed ones.
    pub steps_done: u64,
    /// The number of context entries.
    pub context: u64,
    /// The number of completed tasks, by owner.
    pub completed_by: BTreeMap<Option<String>, u64>,
}

/// The keys that tasks are sorted by.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The task.
    pub id: Id,
    /// Its priority.
    pub priority: i64,
    /// When it was created, in milliseconds since 1970.
    pub created_at: i64,
    /// When it last changed, in milliseconds since 1970.
    pub updated_at: i64,
    /// Its title.
    pub title: String,
}

fn line_of(id: Id, row: &rusqlite::Row) -> rusqlite::Result<Line> {
    let time = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(Time::from_millis));
    let misread = |e| rusqlite::Error::FromSqlConversionFailure(6, rusqlite::types::Type::Text, Box::new(e));
    Ok(Line {
        id,
        title: row.get(0)?,
        kind: TaskType::from(row.get_ref(1)?.as_str()?),
        status: Status::from_word(row.get_ref(2)?.as_str()?).unwrap_or_default(),
        owner: row.get(3)?,
        parent: row.get::<_, Option<String>>(4)?.and_then(|text| text.parse().ok()),
        priority: row.get(5)?,
        labels: row.get::<_, Option<String>>(6)?.map(RawValue::from_string).transpose().map_err(misread)?,
        due: time(7)?,
        defer_until: time(8)?,
        version: row.get::<_, i64>(9)? as u64,
        updated_at: Time::from_millis(row.get(10)?),
        steps: row.get::<_, i64>(11)? as u64,
        steps_done: row.get::<_, i64>(12)? as u64,
    })
}
