//! A cache of facts about git objects of other branches, which never change.
//!
//! Guarantees that everything is found by the name of the object it was read from, so no fact can be stale; a missing one is
//! read again. It can be deleted at any moment, is bounded in size, and is shared by all worktrees of a clone.
//! Leaves to others: git. Names of objects are texts here.
//!
//! A folder of tasks has up to 1 024 shards, and branches differ in a few of them. One tree is stored whole as a base, the
//! others as their differences from it.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use serde::{Deserialize, Serialize};

use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::store::archive::{Place, bytes_of_places, places_from};
use crate::store::database::{self, Cache, Form};
use crate::store::index::id_of;

const FORM: Form = Form {
    schema: 6,
    tables: &["
CREATE TABLE tip(oid TEXT PRIMARY KEY, seconds INTEGER NOT NULL, tasks TEXT NOT NULL, archives TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE tree(n INTEGER PRIMARY KEY, oid TEXT NOT NULL UNIQUE, base INTEGER NOT NULL);
CREATE TABLE base(shard TEXT NOT NULL, n INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY(shard, n)) WITHOUT ROWID;
CREATE TABLE differs(shard TEXT NOT NULL, tree INTEGER NOT NULL, oid TEXT NOT NULL, PRIMARY KEY(shard, tree)) WITHOUT ROWID;
CREATE TABLE folder(oid TEXT PRIMARY KEY, folders TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE log(folder TEXT PRIMARY KEY, oid TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE archive(oid TEXT PRIMARY KEY, places BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE state(log TEXT PRIMARY KEY, doc TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE related(shard TEXT PRIMARY KEY, edges TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE completion(tree TEXT NOT NULL, task TEXT NOT NULL, at INTEGER, PRIMARY KEY(tree, task)) WITHOUT ROWID;
CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"],
};

/// Size in bytes above which everything is dropped before more is stored.
const MOST: i64 = 64 * 1024 * 1024;
/// Shards in which the tree checked out here may differ from the base before it becomes the next base.
const FAR: usize = 256;

/// The name of an object, in hexadecimal.
pub type Name = String;
/// The shards of a folder of tasks, by their paths in it, such as `P/8`.
pub type Shards = BTreeMap<String, Name>;

/// When tasks were completed in a tree of tasks; `None` for those that are not completed there.
pub type Completions = Vec<(Id, Option<Time>)>;

/// The state of a task in a log, as far as another worktree or branch needs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its status.
    pub status: Status,
    /// The event that set that status; `None` for its creation.
    pub since: Option<Id>,
    /// Its owner.
    pub owner: Option<String>,
    /// The greatest Lamport time in it.
    pub lamport: u64,
    /// When it was last changed.
    pub updated_at: Time,
    /// Its heads.
    pub heads: Vec<Id>,
    /// All its events.
    pub events: Vec<Id>,
}

/// A commit, as far as its plan is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its time, in seconds since 1970.
    pub seconds: i64,
    /// The tree of its tasks.
    pub tasks: Option<Name>,
    /// The tree of its archives.
    pub archives: Option<Name>,
}

/// Facts that were just read, to be stored.
#[derive(Debug, Default)]
pub struct NewFacts {
    /// Commits.
    pub tips: Vec<(Name, Tip)>,
    /// Trees of tasks, the one checked out here first.
    pub trees: Vec<(Name, Shards)>,
    /// Folders of the fan-out and of archives, with a line for each item in them: its name and its object.
    pub folders: Vec<(Name, String)>,
    /// Folders of tasks, with their logs, if any.
    pub logs: Vec<(Name, Option<Name>)>,
    /// Archives, and where the lines of each task stand in them.
    pub archives: Vec<(Name, Vec<Place>)>,
    /// The states of logs.
    pub states: Vec<(Name, State)>,
    /// Shards, with a line for each relationship that a log in them ever contained.
    pub related: Vec<(Name, String)>,
    /// The tree of tasks of the remote's default branch, and when tasks were completed in it. Only the newest tree is kept.
    pub completions: Option<(Name, Completions)>,
}

impl NewFacts {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tips.is_empty()
            && self.trees.is_empty()
            && self.folders.is_empty()
            && self.logs.is_empty()
            && self.archives.is_empty()
            && self.states.is_empty()
            && self.related.is_empty()
            && self.completions.is_none()
    }
}

/// The stored facts, opened for the first question. A fact that cannot be read counts as missing.
#[derive(Debug)]
pub struct Facts {
    path: Option<PathBuf>,
    boot: String,
    db: OnceCell<Option<Cache>>,
}

/// Treats a failure of the cache as a missing fact.
fn known<T: Default>(answer: rusqlite::Result<T>) -> T {
    answer.unwrap_or_else(|e| {
        tracing::debug!(error = %e, "a fact about another branch could not be looked up");
        T::default()
    })
}

/// Decodes the absence of an object: git has no object with an empty name.
fn some(name: Name) -> Option<Name> {
    (!name.is_empty()).then_some(name)
}

impl Facts {
    /// The facts at `path`; in memory if `path` is `None` or cannot be written.
    pub fn at(path: Option<PathBuf>, boot: &str) -> Self {
        Facts { path, boot: boot.to_owned(), db: OnceCell::new() }
    }

    fn db(&self) -> rusqlite::Result<&Connection> {
        let open = || {
            let db = database::open(self.path.as_deref(), &self.boot, &FORM).ok()?;
            // One snapshot for all questions: numbers of trees mean nothing after another command has dropped everything.
            db.execute_batch("BEGIN").ok()?;
            Some(db)
        };
        self.db.get_or_init(open).as_deref().ok_or(rusqlite::Error::InvalidQuery)
    }

    /// A commit.
    pub fn tip(&self, oid: &str) -> Option<Tip> {
        let read =
            |row: &Row<'_>| Ok(Tip { seconds: row.get(0)?, tasks: some(row.get(1)?), archives: some(row.get(2)?) });
        let ask = || {
            let mut ask = self.db()?.prepare_cached("SELECT seconds, tasks, archives FROM tip WHERE oid = ?1")?;
            ask.query_row([oid], read).optional()
        };
        known(ask())
    }

    /// Where the lines of each task stand in an archive.
    pub fn archive(&self, oid: &str) -> Option<Vec<Place>> {
        let ask = || {
            let mut ask = self.db()?.prepare_cached("SELECT places FROM archive WHERE oid = ?1")?;
            ask.query_row([oid], |row| row.get::<_, Vec<u8>>(0)).optional()
        };
        places_from(&known(ask())?)
    }

    /// The number of a tree of tasks, and that of its base.
    pub fn tree(&self, oid: &str) -> Option<(i64, i64)> {
        let ask = || {
            self.db()?
                .prepare_cached("SELECT n, base FROM tree WHERE oid = ?1")?
                .query_row([oid], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()
        };
        known(ask())
    }

    /// The object of one shard in each known tree, by the numbers of trees and bases. A tree that is not listed equals its
    /// base.
    pub fn shard(&self, shard: &str) -> HashMap<i64, Option<Name>> {
        let ask = || -> rusqlite::Result<HashMap<i64, Option<Name>>> {
            let mut statement = self.db()?.prepare_cached(
                "SELECT n, oid FROM base WHERE shard = ?1 UNION ALL SELECT tree, oid FROM differs WHERE shard = ?1",
            )?;
            statement.query_map([shard], |row| Ok((row.get(0)?, some(row.get(1)?))))?.collect()
        };
        known(ask())
    }

    /// The items in a folder of the fan-out or of archives, as stored.
    pub fn folders(&self, folder: &str) -> Option<String> {
        self.text("SELECT folders FROM folder WHERE oid = ?1", folder)
    }

    /// The relationships in a shard, as stored.
    pub fn related(&self, shard: &str) -> Option<String> {
        self.text("SELECT edges FROM related WHERE shard = ?1", shard)
    }

    /// When tasks were completed in a tree of tasks, as far as it was looked at.
    pub fn completions(&self, tree: &str) -> HashMap<Id, Option<Time>> {
        let read = |row: &Row<'_>| Ok((id_of(row, 0)?, row.get::<_, Option<i64>>(1)?.map(Time::from_millis)));
        let ask = || -> rusqlite::Result<HashMap<Id, Option<Time>>> {
            let mut statement = self.db()?.prepare_cached("SELECT task, at FROM completion WHERE tree = ?1")?;
            statement.query_map([tree], read)?.collect()
        };
        known(ask())
    }

    /// The log in the folder of a task.
    pub fn log(&self, folder: &str) -> Option<Option<Name>> {
        self.text("SELECT oid FROM log WHERE folder = ?1", folder).map(some)
    }

    /// The state that a log gives its task.
    pub fn state(&self, log: &str) -> Option<State> {
        serde_json::from_str(&self.text("SELECT doc FROM state WHERE log = ?1", log)?).ok()
    }

    fn text(&self, sql: &str, key: &str) -> Option<String> {
        known(self.db().and_then(|db| db.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()))
    }

    /// Stores what was read, in one transaction. If that fails, it is read again the next time.
    pub fn keep(&mut self, news: &NewFacts) {
        if let Err(e) = self.write(news) {
            tracing::debug!(error = %e, "what was read of other branches could not be kept");
        }
        if let Some(Some(db)) = self.db.get_mut() {
            database::checkpoint(db);
        }
    }

    fn write(&self, news: &NewFacts) -> rusqlite::Result<()> {
        let db = self.db()?;
        if !db.is_autocommit() {
            db.execute_batch("COMMIT")?;
        }
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
        let pragma = |name: &str| tx.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
        if (pragma("page_count")? - pragma("freelist_count")?) * pragma("page_size")? > MOST {
            for table in
                ["tip", "tree", "base", "differs", "folder", "log", "archive", "state", "related", "completion"]
            {
                tx.execute(&format!("DELETE FROM {table}"), [])?;
            }
        }
        for (oid, Tip { seconds, tasks, archives }) in &news.tips {
            let [tasks, archives] = [tasks, archives].map(|tree| tree.as_deref().unwrap_or_default());
            tx.prepare_cached("INSERT OR IGNORE INTO tip VALUES(?1,?2,?3,?4)")?
                .execute(params![oid, seconds, tasks, archives])?;
        }
        for (oid, places) in &news.archives {
            tx.prepare_cached("INSERT OR IGNORE INTO archive VALUES(?1,?2)")?
                .execute(params![oid, bytes_of_places(places)])?;
        }
        let mut base = if news.trees.is_empty() { None } else { newest_base(&tx)? };
        for (place, (oid, shards)) in news.trees.iter().enumerate() {
            keep_tree(&tx, oid, shards, place == 0, &mut base)?;
        }
        for (oid, folders) in &news.folders {
            tx.prepare_cached("INSERT OR IGNORE INTO folder VALUES(?1,?2)")?.execute([oid, folders])?;
        }
        for (folder, oid) in &news.logs {
            let oid = oid.as_deref().unwrap_or_default();
            tx.prepare_cached("INSERT OR IGNORE INTO log VALUES(?1,?2)")?.execute([folder.as_str(), oid])?;
        }
        for (shard, edges) in &news.related {
            tx.prepare_cached("INSERT OR IGNORE INTO related VALUES(?1,?2)")?.execute([shard, edges])?;
        }
        if let Some((tree, completions)) = &news.completions {
            tx.execute("DELETE FROM completion WHERE tree <> ?1", [tree])?;
            for (task, at) in completions {
                let at = at.map(Time::millis);
                tx.prepare_cached("INSERT OR IGNORE INTO completion VALUES(?1,?2,?3)")?.execute(params![
                    tree,
                    task.to_string(),
                    at
                ])?;
            }
        }
        for (log, state) in &news.states {
            let text = serde_json::to_string(state).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
            tx.prepare_cached("INSERT OR IGNORE INTO state VALUES(?1,?2)")?.execute([log, &text])?;
        }
        tx.commit()
    }
}

/// The number of the newest base, and its shards.
type Base = Option<(i64, Shards)>;

fn newest_base(tx: &Transaction) -> rusqlite::Result<Base> {
    let newest: Option<i64> = tx.query_row("SELECT max(n) FROM tree WHERE n = base", [], |row| row.get(0))?;
    let Some(n) = newest else { return Ok(None) };
    let mut statement = tx.prepare("SELECT shard, oid FROM base WHERE n = ?1")?;
    let shards = statement.query_map([n], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    Ok(Some((n, shards)))
}

/// Stores a tree as its difference from the newest base. It becomes a base if there is none, or if `may_be_base` and it
/// differs much.
fn keep_tree(tx: &Transaction, oid: &str, shards: &Shards, may_be_base: bool, base: &mut Base) -> rusqlite::Result<()> {
    if tx.prepare_cached("SELECT n FROM tree WHERE oid = ?1")?.exists([oid])? {
        return Ok(());
    }
    let mut add = tx.prepare_cached("INSERT INTO tree(oid, base) VALUES(?1, ?2)")?;
    if let Some((n, whole)) = base.as_ref() {
        let gone = whole.keys().filter(|shard| !shards.contains_key(*shard)).map(|shard| (shard, ""));
        let other = shards.iter().filter(|(shard, oid)| whole.get(*shard) != Some(oid));
        let differing: Vec<(&String, &str)> = other.map(|(shard, oid)| (shard, oid.as_str())).chain(gone).collect();
        if !may_be_base || differing.len() <= FAR {
            let tree = add.insert(params![oid, n])?;
            for (shard, oid) in differing {
                tx.prepare_cached("INSERT INTO differs VALUES(?1,?2,?3)")?.execute(params![shard, tree, oid])?;
            }
            return Ok(());
        }
    }
    let n = add.insert(params![oid, 0])?;
    tx.execute("UPDATE tree SET base = n WHERE n = ?1", [n])?;
    for (shard, oid) in shards {
        tx.prepare_cached("INSERT INTO base VALUES(?1,?2,?3)")?.execute(params![shard, n, oid])?;
    }
    *base = Some((n, shards.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(list: &[(&str, &str)]) -> Shards {
        list.iter().map(|(shard, oid)| ((*shard).to_owned(), (*oid).to_owned())).collect()
    }

    #[test]
    fn a_tree_is_what_it_was_whatever_its_base() {
        let mut facts = Facts::at(None, "boot");
        let trees = [
            ("one", shards(&[("AA", "1"), ("BB", "2")])),
            ("two", shards(&[("AA", "1"), ("CC", "3")])),
            ("three", shards(&[("BB", "4")])),
        ];
        let named = |(oid, shards): &(&str, Shards)| ((*oid).to_owned(), shards.clone());
        facts.keep(&NewFacts { trees: trees.iter().map(named).collect(), ..NewFacts::default() });
        for (oid, shards) in &trees {
            let (n, base) = facts.tree(oid).unwrap();
            for shard in ["AA", "BB", "CC", "DD"] {
                let there = facts.shard(shard);
                let found = there.get(&n).or_else(|| there.get(&base)).cloned().flatten();
                assert_eq!(found.as_ref(), shards.get(shard), "{oid} {shard}");
            }
        }
    }

    #[test]
    fn a_far_tree_becomes_the_next_base() {
        let mut facts = Facts::at(None, "boot");
        let many = |mark: &str| (0..400).map(|n| (format!("{n:03}"), format!("{mark}{n}"))).collect::<Shards>();
        for mark in ["a", "b"] {
            facts.keep(&NewFacts { trees: vec![(mark.to_owned(), many(mark))], ..NewFacts::default() });
        }
        for mark in ["a", "b"] {
            let (n, base) = facts.tree(mark).unwrap();
            assert_eq!(n, base);
        }
        assert_eq!(facts.shard("007").len(), 2);
    }
}
