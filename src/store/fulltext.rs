//! The full-text index, part of the read model: finds the tasks that contain a text.
//!
//! Guarantees that only text searches pay for it: the first one builds it and each later one brings it up to date. A
//! document's number is never reused. Documents above the mark are not indexed yet, and are read directly if the index cannot
//! be written; removed numbers are not found. The trigram tables only narrow the search down: each match is compared with the
//! text.
//! Leaves to others: the text of a task, and when one text contains another (`model::search::text`).

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params, params_from_iter};

use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::model::search::text::text_of;
use crate::store::database::{failed, is_unwritable};
use crate::store::index::Index;

/// The tables, which extend those of the read model: `doc(n, task, doc)` exists.
///
/// Trigrams and not words, so that parts of words are found, and scripts without spaces are supported. Neither positions nor
/// the text are stored with them, since the texts themselves are at hand.
pub(super) const TABLES: &str = "
CREATE TABLE text(n INTEGER PRIMARY KEY, task TEXT NOT NULL, folded TEXT NOT NULL);
CREATE VIRTUAL TABLE letters USING fts5(
  folded, content='', contentless_delete=1, detail=none, tokenize='trigram case_sensitive 1'
);
CREATE TABLE text_gone(n INTEGER PRIMARY KEY);
";

/// Runs when a document is removed, with its task as `?1`, so that the next text search removes its text too.
pub(super) const ON_DELETE: &str = "INSERT OR IGNORE INTO text_gone SELECT n FROM doc WHERE task = ?1
  AND n <= (SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'text')";

/// Documents that are held in memory before they are written.
const AT_ONCE: i64 = 2_048;
/// A shorter text has no trigram.
const LETTERS: usize = 3;
/// More trigrams do not narrow a search down any further.
const MOST_LETTERS: usize = 24;

impl Index {
    /// The tasks that contain all of these folded texts, by id.
    ///
    /// Errors: `ERR_IO` if the index cannot be read.
    pub fn with_texts(&self, texts: &[String]) -> Result<BTreeSet<Id>> {
        let db = self.connection()?;
        // A database in memory is gone after this answer, so tables for it would be useless.
        if self.is_kept() {
            match index_texts(db) {
                Err(Failure::Index(e)) if is_unwritable(&e) => {
                    tracing::debug!(error = %e, "the full text cannot be written, reading the documents");
                }
                Err(Failure::Index(e)) => return Err(failed(e)),
                Err(Failure::Doc(e)) => return Err(e),
                Ok(()) => {}
            }
        }
        // One snapshot for both halves, so that no document is missed between them.
        let tx = Transaction::new_unchecked(db, TransactionBehavior::Deferred).map_err(failed)?;
        let mark = mark(&tx).map_err(failed)?;
        let mut found = if mark > 0 { look(&tx, texts).map_err(failed)? } else { BTreeSet::new() };
        let mut from = mark;
        loop {
            let docs = docs_after(&tx, from).map_err(failed)?;
            let Some((last, ..)) = docs.last() else { break };
            from = *last;
            for (_, id, text) in read_all(&docs)? {
                if texts.iter().all(|wanted| text.contains(wanted.as_str())) {
                    found.insert(id);
                }
            }
        }
        Ok(found)
    }
}

/// The most titles that the full text gives for one.
const MOST_TITLES: i64 = 200;
/// The newest tasks, whose titles are compared in any case: the full text may be behind, or not there.
const NEWEST: i64 = 200;
/// The most words of a title that are looked for.
const MOST_WORDS: usize = 6;

impl Index {
    /// The titles of unfinished tasks that may be like a folded title: of the newest ones, and by the full text as far as it is
    /// there. Brings nothing up to date.
    ///
    /// Errors: `ERR_IO` if the index cannot be read.
    pub fn titles_like(&self, title: &str) -> Result<Vec<(Id, String)>> {
        let db = self.connection()?;
        let ask = || -> rusqlite::Result<Vec<(Id, String)>> {
            let titles = |sql: &str, values: [rusqlite::types::Value; 2]| -> rusqlite::Result<Vec<(Id, String)>> {
                db.prepare_cached(sql)?
                    .query_map(params_from_iter(values), |row| Ok((super::index::id_of(row, 0)?, row.get(1)?)))?
                    .collect()
            };
            let mut found = titles(
                "SELECT id, title FROM (SELECT id, title, finished FROM task ORDER BY id DESC LIMIT ?2) WHERE finished = ?1",
                [0.into(), NEWEST.into()],
            )?;
            let words = all_but_one(title);
            if mark(db)? > 0 && !words.is_empty() {
                found.extend(titles(
                    "SELECT task.id, task.title FROM letters JOIN text ON text.n = letters.rowid
                     JOIN task ON task.id = text.task
                     WHERE letters MATCH ?1 AND task.finished = 0 ORDER BY letters.rowid DESC LIMIT ?2",
                    [words.into(), MOST_TITLES.into()],
                )?);
            }
            Ok(found)
        };
        ask().map_err(failed)
    }
}

/// The query for the texts that have the beginnings of all longer words of a title, or of all but one where there are several.
fn all_but_one(title: &str) -> String {
    let words = title.split(|c: char| !c.is_alphanumeric()).filter(|word| word.chars().count() >= LETTERS);
    let words: BTreeSet<&str> = words.collect();
    let mut words: Vec<&str> = words.into_iter().collect();
    // The longest are the rarest.
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    words.truncate(MOST_WORDS);
    let begins: Vec<String> = words.iter().map(|word| letters(&[word.chars().take(LETTERS + 1).collect()])).collect();
    if begins.len() < 3 {
        return begins.join(" AND ");
    }
    let without = |left_out: usize| {
        let others = begins.iter().enumerate().filter(|(n, _)| *n != left_out).map(|(_, begin)| begin.as_str());
        format!("({})", others.collect::<Vec<_>>().join(" AND "))
    };
    (0..begins.len()).map(without).collect::<Vec<_>>().join(" OR ")
}

enum Failure {
    Index(rusqlite::Error),
    Doc(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Self {
        Failure::Index(e)
    }
}

/// The last document that was indexed; 0 if none was.
fn mark(db: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'text'";
    Ok(db.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn is_behind(db: &Connection, mark: i64) -> rusqlite::Result<bool> {
    Ok(db.prepare_cached("SELECT 1 FROM doc WHERE n > ?1 LIMIT 1")?.exists([mark])?
        || db.prepare_cached("SELECT 1 FROM text_gone LIMIT 1")?.exists([])?)
}

/// Indexes the texts of new documents.
fn index_texts(db: &Connection) -> Result<(), Failure> {
    if !is_behind(db, mark(db)?)? {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(db, TransactionBehavior::Immediate)?;
    tx.execute("DELETE FROM letters WHERE rowid IN (SELECT n FROM text_gone)", [])?;
    tx.execute("DELETE FROM text WHERE n IN (SELECT n FROM text_gone)", [])?;
    tx.execute("DELETE FROM text_gone", [])?;
    let mut mark = mark(&tx)?;
    loop {
        let docs = docs_after(&tx, mark)?;
        let Some((last, ..)) = docs.last() else { break };
        mark = *last;
        for (n, id, text) in read_all(&docs).map_err(Failure::Doc)? {
            tx.prepare_cached("INSERT INTO letters(rowid, folded) VALUES(?1,?2)")?.execute(params![n, text])?;
            tx.prepare_cached("INSERT INTO text VALUES(?1,?2,?3)")?.execute(params![n, id.to_string(), text])?;
        }
    }
    tx.execute("INSERT OR REPLACE INTO meta VALUES('text', CAST(?1 AS TEXT))", [mark])?;
    tx.commit()?;
    Ok(())
}

type Doc = (i64, Id, Vec<u8>);

fn docs_after(db: &Connection, mark: i64) -> rusqlite::Result<Vec<Doc>> {
    db.prepare_cached("SELECT n, task, doc FROM doc WHERE n > ?1 ORDER BY n LIMIT ?2")?
        .query_map([mark, AT_ONCE], |row| Ok((row.get(0)?, super::index::id_of(row, 1)?, row.get(2)?)))?
        .collect()
}

fn read_all(docs: &[Doc]) -> Result<Vec<(i64, Id, String)>> {
    parallel::map(docs, |(n, id, doc)| Ok((*n, *id, text_of(&super::index::read_doc(doc).map_err(failed)?))))
}

fn look(db: &Connection, texts: &[String]) -> rusqlite::Result<BTreeSet<Id>> {
    let mut sql =
        "SELECT text.task FROM text WHERE EXISTS (SELECT 1 FROM doc WHERE doc.task = text.task AND doc.n = text.n)"
            .to_owned();
    let mut values = Vec::new();
    let letters = letters(texts);
    if !letters.is_empty() {
        sql += " AND text.n IN (SELECT rowid FROM letters WHERE letters MATCH ?)";
        values.push(letters);
    }
    for text in texts {
        sql += " AND instr(text.folded, ?)";
        values.push(text.clone());
    }
    db.prepare_cached(&sql)?.query_map(params_from_iter(&values), |row| super::index::id_of(row, 0))?.collect()
}

/// The query for the trigram table; empty if the texts are too short for it.
fn letters(texts: &[String]) -> String {
    let mut all: BTreeSet<String> = BTreeSet::new();
    for text in texts {
        let text: Vec<char> = text.chars().collect();
        all.extend(text.windows(LETTERS).map(|three| three.iter().collect()));
    }
    let step = all.len().div_ceil(MOST_LETTERS).max(1);
    let some: Vec<String> =
        all.into_iter().step_by(step).map(|three| format!("\"{}\"", three.replace('"', "\"\""))).collect();
    some.join(" AND ")
}
