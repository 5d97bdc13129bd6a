//! The rows of one task: reads its log, and writes, removes and reads back what the index keeps of it.
//!
//! Guarantees that a document is the whole folded task; the columns hold what questions select and sort by.
//! Leaves to others: when a task is read again (`refresh`).

use rusqlite::{Row, Transaction, params};
use serde_json::json;

use super::refresh::{form_of, has_folder, is_racy, mark_of, yaml_mark};
use crate::env::files::Mark;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::finding::Severity;
use crate::model::id::Id;
use crate::model::search::text::composed;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::model::yaml::render_task;
use crate::rules::lease::{LoggedGrant, find_logged_grant};
use crate::rules::lost::lost;
use crate::rules::notices::Waker;
use crate::store::entity::{load_task, read_yaml};
use crate::store::fulltext;
use crate::store::layout::Store;

/// The longest title in a list, in bytes; commands accept less.
const MAX_TITLE: usize = 1_000;

/// The result of reading one task.
#[derive(Debug)]
pub(super) struct Reading {
    mark: Mark,
    /// The mark of its task.yaml, if that is the rendering of the log.
    rendered: Option<Mark>,
    /// Whether it has no folder: all its events are in archives, whose marks show a change.
    is_archived: bool,
    pub(super) task: Task,
    /// The serialized task.
    doc: Vec<u8>,
    /// The number of findings that are errors.
    errors: usize,
    /// The number of values that lost to a concurrent one.
    lost: usize,
    /// The lease that its log grants.
    pub(super) granted: Option<LoggedGrant>,
    /// The last event that may have made it ready, and the last one that moved it.
    wakers: (Option<Waker>, Option<Waker>),
}

impl Reading {
    /// The memory that its texts take, in bytes.
    pub(super) fn size(&self) -> usize {
        // The task holds them besides the document.
        2 * self.doc.len()
    }

    pub(super) fn of(store: &Store, id: Id, pending: &[Entry]) -> Result<Self> {
        // The mark is taken before the bytes, so that a change in between is seen the next time. Events that are in no file
        // yet may be lost if the disk fails, so their task is always read again.
        let mark = if pending.is_empty() { mark_of(store, id)? } else { Mark { size: u64::MAX, ..Mark::default() } };
        let is_archived = mark == Mark::default() && !has_folder(store, id)?;
        let loaded = load_task(store, id, pending)?;
        let errors = loaded.findings.iter().filter(|f| f.severity == Severity::Error).count();
        let lost = lost(id, &loaded.log.entries).len();
        let granted = find_logged_grant(&loaded.task, loaded.log.entries.iter());
        let wakers = Waker::of(id, &loaded.log.entries);
        // A large log and its document are not held at the same time.
        drop(loaded.log);
        let task = loaded.task;
        let doc = serde_json::to_vec(&task)
            .map_err(|e| Error::new(Code::Io, format!("task {id} cannot be kept in the index: {e}")))?;
        let rendered = if pending.is_empty() { rendered_mark(store, &task) } else { None };
        Ok(Reading { mark, rendered, is_archived, doc, errors, lost, granted, wakers, task })
    }
}

/// The mark of the task.yaml of a task, if that is the rendering of the task. The mark is taken before the bytes.
fn rendered_mark(store: &Store, task: &Task) -> Option<Mark> {
    let mark = yaml_mark(store, task.id)?;
    let bytes = read_yaml(store, &Entity::Task(task.id)).ok()??;
    (bytes == render_task(task).as_bytes()).then_some(mark)
}

pub(super) fn forget(tx: &Transaction, id: Id) -> rusqlite::Result<()> {
    let id = id.to_string();
    tx.prepare_cached(fulltext::ON_DELETE)?.execute([&id])?;
    tx.prepare_cached("DELETE FROM task WHERE id = ?1")?.execute([&id])?;
    for table in ["file", "doc", "granted", "edge", "part", "label", "waker"] {
        tx.prepare_cached(&format!("DELETE FROM {table} WHERE task = ?1"))?.execute([&id])?;
    }
    Ok(())
}

pub(super) fn remember(tx: &Transaction, reading: &Reading, now_ns: i64) -> rusqlite::Result<()> {
    let Reading { mark, rendered, is_archived, task, doc, errors, lost, granted, wakers } = reading;
    let id = task.id.to_string();
    // For lists; the document has the whole title.
    let title = &task.fields.title[..task.fields.title.floor_char_boundary(MAX_TITLE)];
    let origin = task.origin();
    let labels = Some(&task.fields.labels).filter(|labels| !labels.is_empty()).map(|labels| json!(labels).to_string());
    tx.prepare_cached(
        "INSERT INTO task VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23,?24,?25,?26,?27,?28,?29,?30,?31,?32,?33)",
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
        task.completed_at.map(Time::millis),
        task.completed_by,
        task.is_unreviewed(),
        task.attempts as i64,
        Some(&task.fields.files).filter(|files| !files.is_empty()).map(|files| json!(files).to_string()),
        task.threads.len() as i64,
        task.open_threads() as i64,
        task.holding_thread().map(|id| id.to_string()),
        task.attempt_by,
        task.is_sent_back(),
    ])?;
    // Only an unfinished task becomes ready, and only a finished one makes others so.
    let (woken, moved) = wakers;
    let waker = if task.status.is_finished() { (None, moved.as_ref()) } else { (woken.as_ref(), None) };
    tx.prepare_cached("INSERT INTO waker VALUES(?1,?2,?3)")?.execute(params![
        id,
        waker.0.map(ToString::to_string),
        waker.1.map(ToString::to_string)
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
    if !is_archived {
        let (size, inode) = (mark.size as i64, mark.inode as i64);
        // One written in the same tick in which it was read may have changed again without a trace.
        let rendered = rendered.filter(|mark| !is_racy(mark, now_ns)).map(form_of);
        tx.prepare_cached("INSERT INTO file VALUES(?1,?2,?3,?4,?5,?6,?7)")?
            .execute(params![id, size, mark.mtime, mark.ctime, inode, now_ns, rendered])?;
    }
    tx.prepare_cached("INSERT OR REPLACE INTO unnoted VALUES(?1,?2)")?.execute(params![id, now_ns])?;
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
    let parts = parts.chain(task.threads.values().flat_map(|thread| {
        std::iter::once((&thread.id, "thread")).chain(thread.replies.keys().map(|message| (message, "message")))
    }));
    for (part, kind) in parts {
        tx.prepare_cached("INSERT INTO part VALUES(?1,?2,?3)")?.execute(params![part.to_string(), id, kind])?;
    }
    for label in &task.fields.labels {
        tx.prepare_cached("INSERT OR IGNORE INTO label VALUES(?1,?2)")?.execute(params![composed(label), id])?;
    }
    Ok(())
}

pub(in crate::store) fn id_of(row: &Row, column: usize) -> rusqlite::Result<Id> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse()
        .map_err(|e: Error| rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(e)))
}

pub(super) fn granted_of(row: &rusqlite::Row) -> rusqlite::Result<LoggedGrant> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(e));
    serde_json::from_str(row.get_ref(0)?.as_str()?).map_err(wrong)
}

pub(in crate::store) fn read_doc(doc: &[u8]) -> rusqlite::Result<Task> {
    let wrong = |e| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(e));
    serde_json::from_slice(doc).map_err(wrong)
}
