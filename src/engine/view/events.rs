//! Finds an event by its id in the logs of all tasks.
//!
//! Events are not indexed: commands name them rarely, and every reader would pay for the list.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use super::read::{self, one_of, tasks_of};
use crate::engine::context::Workspace;
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::id::{Id, is_part, quoted};
use crate::store::archive;
use crate::store::entity::{is_odd, load_task};
use crate::store::layout::{LOG, task_dir};
use crate::store::log::MAX_LOG;

/// The task and the event that an id, or a unique prefix or suffix of one, refers to.
///
/// Errors: `ERR_NOT_FOUND`, or `ERR_AMBIGUOUS_ID` with the candidates.
pub fn find_event(ws: &Workspace, reference: &Ref) -> Result<(Id, Id)> {
    let unknown = || {
        Error::not_found(format!("no event of a task is called {}", quoted(&reference.0)))
            .hint("agentpm log --json shows the ids of events; a part of an id needs at least 4 characters")
    };
    let text = reference.0.to_ascii_uppercase();
    if !is_part(&text) {
        return Err(unknown());
    }
    let pending = tasks_of(read::pending(ws)?);
    let mut found: BTreeMap<Id, Id> = BTreeMap::new();
    for task in mentioning(ws, &pending, &text)? {
        let more = pending.get(&task).map_or(&[][..], Vec::as_slice);
        let events = load_task(&ws.store, task, more)?.log.entries;
        let own = events.iter().map(|e| &e.event).filter(|e| e.entity == Entity::Task(task)).map(|e| e.id);
        found.extend(own.filter(|id| id.has_part(&text)).map(|id| (id, task)));
    }
    let id = one_of(found.keys().copied().collect(), reference)?.ok_or_else(unknown)?;
    Ok((found[&id], id))
}

/// The tasks whose logs contain a text in JSON quotes, such as the correlation id of an event.
///
/// Errors: `ERR_IO`.
pub fn tasks_with(ws: &Workspace, text: &str) -> Result<Vec<Id>> {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    Ok(mentioning(ws, &tasks_of(read::pending(ws)?), &quoted)?.into_iter().collect())
}

/// The tasks whose logs contain a text, in their folders, in archives and in the journal.
fn mentioning(ws: &Workspace, pending: &BTreeMap<Id, Vec<Entry>>, text: &str) -> Result<BTreeSet<Id>> {
    let folders = ws.store.task_folders()?.0;
    let mentions = parallel::map(&folders, |task| log_mentions(ws, *task, text))?;
    let mut tasks: BTreeSet<Id> =
        folders.into_iter().zip(mentions).filter(|(_, found)| *found).map(|(id, _)| id).collect();
    tasks.extend(archive::mentioning(&ws.store, text)?);
    let is_pending = |(_, entries): &(&Id, &Vec<Entry>)| entries.iter().any(|e| e.line.contains(text));
    tasks.extend(pending.iter().filter(is_pending).map(|(id, _)| *id));
    Ok(tasks)
}

/// Whether a log contains a text. Searching its bytes is much cheaper than parsing its events.
fn log_mentions(ws: &Workspace, task: Id, text: &str) -> Result<bool> {
    let path = task_dir(task).join(LOG);
    match ws.store.dir.read(&path, MAX_LOG) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).contains(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        // For a file that is too large or irregular, reading its events reports the error.
        Err(e) if e.kind() == ErrorKind::FileTooLarge || is_odd(&e) => Ok(true),
        Err(e) => Err(Error::io("read", &ws.store.path().join(&path), &e)),
    }
}
