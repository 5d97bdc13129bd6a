//! The read model: the state of the logs, indexed so that one question costs one look-up.
//!
//! Guarantees that it is derived and disposable: a damaged, foreign or older index is discarded and rebuilt, in memory if no
//! file can be written. Every answer is as of the last [`Index::refresh`].
//! Leaves to others: rules. It stores folded tasks and finds them.

mod noted;
mod queries;
mod refresh;
mod rows;

pub use noted::{NotedChange, NotedLog};
pub use queries::{Keys, Sums, Unreviewed, Wakers};
pub(super) use rows::{id_of, read_doc};

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use self::refresh::is_there;
use self::rows::{Reading, forget, remember};
use crate::error::Result;
use crate::model::event::Entry;
use crate::model::field::NAMES;
use crate::model::id::Id;
use crate::model::payload::KINDS;
use crate::model::task::Task;
use crate::store::database::{self, Cache, Form, failed};
use crate::store::fulltext;
use crate::store::layout::Store;

/// Changes with every change of the tables, and by itself with the fields and event types, since folded tasks are kept.
pub const SCHEMA: i64 = {
    let mut sum: i64 = 25;
    let known: [&[&str]; 2] = [NAMES, KINDS];
    let (mut list, mut name, mut byte) = (0, 0, 0);
    while list < known.len() {
        while name < known[list].len() {
            while byte < known[list][name].len() {
                // The step of FNV-1a, within the positive numbers that SQLite keeps as the version.
                sum = ((sum ^ known[list][name].as_bytes()[byte] as i64) * 16_777_619) % 0x7fff_ffff;
                byte += 1;
            }
            (name, byte) = (name + 1, 0);
        }
        (list, name) = (list + 1, 0);
    }
    sum
};

const FORM: Form = Form {
    schema: SCHEMA,
    tables: &[
        "
CREATE TABLE task(
  id TEXT PRIMARY KEY, status TEXT NOT NULL, finished INTEGER NOT NULL, owner TEXT, parent TEXT, type TEXT NOT NULL,
  priority INTEGER NOT NULL, defer_until INTEGER, need_perm TEXT, need_precedence INTEGER, title TEXT NOT NULL, origin TEXT, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
  errors INTEGER NOT NULL, lamport INTEGER NOT NULL, lost INTEGER NOT NULL, is_there INTEGER NOT NULL,
  due INTEGER, version INTEGER NOT NULL, steps INTEGER NOT NULL, steps_done INTEGER NOT NULL, labels TEXT,
  completed_at INTEGER, completed_by TEXT, unreviewed INTEGER NOT NULL, attempts INTEGER NOT NULL, files TEXT, threads INTEGER NOT NULL,
  open_threads INTEGER NOT NULL, thread TEXT, attempt_by TEXT, sent_back INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX task_finished ON task(finished, status);
CREATE INDEX task_lamport ON task(lamport);
CREATE INDEX task_lost ON task(id, lost) WHERE lost > 0;
CREATE INDEX task_unreviewed ON task(id) WHERE unreviewed;
CREATE INDEX task_threads ON task(id, threads) WHERE threads > 0;
CREATE INDEX task_parent ON task(parent) WHERE parent IS NOT NULL;
CREATE INDEX task_origin ON task(origin) WHERE origin IS NOT NULL;
CREATE TABLE granted(task TEXT PRIMARY KEY, finished INTEGER NOT NULL, lease TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX granted_finished ON granted(finished);
CREATE TABLE file(
  task TEXT PRIMARY KEY, size INTEGER NOT NULL, mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, inode INTEGER NOT NULL, read_at INTEGER NOT NULL, rendered TEXT
) WITHOUT ROWID;
CREATE TABLE archive(path TEXT PRIMARY KEY, mark TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE archived(path TEXT NOT NULL, task TEXT NOT NULL, PRIMARY KEY(path, task)) WITHOUT ROWID;
CREATE TABLE dropped(task TEXT PRIMARY KEY) WITHOUT ROWID;
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
CREATE TABLE waker(task TEXT PRIMARY KEY, woken TEXT, moved TEXT) WITHOUT ROWID;
CREATE TABLE unnoted(task TEXT PRIMARY KEY, read_at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE noted(entity TEXT PRIMARY KEY, mark TEXT NOT NULL, ids TEXT NOT NULL) WITHOUT ROWID;
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
    db: Cache,
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
        database::meta(&self.db, "kept_up").map_err(failed)
    }

    /// Saves the marker up to which the index is current. If that fails, the next reader checks every file.
    pub fn save_change_marker(&self, marker: &str) {
        let saved = self.db.execute("INSERT OR REPLACE INTO meta VALUES('kept_up', ?1)", [marker]);
        saved.map(drop).unwrap_or_else(|e| tracing::debug!(error = %e, "the marker of the index could not be saved"));
    }

    /// As [`Index::refresh_some`], without writing: answers about single tasks use these versions. A question about all tasks
    /// writes them first.
    ///
    /// Errors: as [`Index::refresh`].
    pub fn overlay(&self, store: &Store, ids: &[Id], pending: &Pending, now_ns: i64) -> Result<()> {
        for id in ids {
            let more = pending.get(id).map(Vec::as_slice);
            let read = (more.is_some() || is_there(store, *id)?)
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

    pub(super) fn connection(&self) -> Result<&Connection> {
        self.whole()
    }

    /// Whether the index can be changed.
    pub fn is_writable(&self) -> bool {
        !self.db.is_readonly(rusqlite::MAIN_DB).unwrap_or(true)
    }

    /// Whether the index is a file that the next command can open.
    pub(super) fn is_kept(&self) -> bool {
        self.db.path().is_some_and(|path| !path.is_empty())
    }
}
