//! Keeps the index up to the files and the journal, and reads what is acknowledged and not projected yet.
//!
//! Guarantees that a reader sees a command whole or not at all.
//! Leaves to others: what the index holds (`store::index`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::engine::context::Workspace;
use crate::engine::view::last_scan::mark_text;
use crate::engine::view::{pending, sparse};
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::runtime::journal;
use crate::store::database;
use crate::store::index::{Index, Pending};

/// Maximum number of stale tasks that a change overlays; more are written into the index. Each is read and folded again by every
/// command until then, and writing costs about as much as reading eight.
const MOST_LAID: usize = 8;
/// Maximum size of the journal's tail that is read instead of checking every file, in bytes.
const MOST_BEHIND: u64 = 1 << 20;

/// The state of git and of the journal up to which the index is current.
struct ChangeMarker {
    /// The mark of git's index.
    git: String,
    /// Which journal it is.
    journal: u64,
    /// The offset up to which its events are projected.
    offset: u64,
}

impl ChangeMarker {
    /// The offset in the journal of the events since then; `None` if every file must be checked.
    fn since(&self, then: &ChangeMarker) -> Option<u64> {
        let same = self.git == then.git && self.journal == then.journal;
        let behind = self.offset.checked_sub(then.offset)?;
        (same && behind <= MOST_BEHIND).then_some(then.offset)
    }
}

impl fmt::Display for ChangeMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.journal, self.offset, self.git)
    }
}

impl FromStr for ChangeMarker {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.splitn(3, ' ');
        let mut number = || words.next().unwrap_or_default().parse();
        let (journal, offset) = (number()?, number()?);
        Ok(ChangeMarker { journal, offset, git: words.next().unwrap_or_default().to_owned() })
    }
}

/// The system's time in nanoseconds since 1970, to compare with the times of files. The fixed clock of tests does not apply to
/// files.
pub(crate) fn tick() -> i64 {
    crate::env::system_nanos()
}

/// Acknowledged events of this store that may not be projected yet.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn pending(ws: &Workspace) -> Result<BTreeMap<Entity, Vec<Entry>>> {
    let mut pending: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for record in pending::pending_records(ws)? {
        for entry in record.entries.into_iter().filter(|e| !e.event.payload.journal_only()) {
            pending.entry(entry.event.entity.clone()).or_default().push(entry);
        }
    }
    Ok(pending)
}

/// The index, updated from the files and the journal.
///
/// Errors: `ERR_IO` if the store cannot be read.
pub fn index(ws: &Workspace) -> Result<Index> {
    sparse::warn_of_left_out(ws);
    match index_as_it_is(ws) {
        Err(e) if database::is_damaged(&e) => {
            discard_index(ws, &e);
            index_as_it_is(ws)
        }
        other => other,
    }
}

fn index_as_it_is(ws: &Workspace) -> Result<Index> {
    let mut index = Index::open(ws.index_path().as_deref(), ws.env.boot())?;
    let now = marker(ws);
    let pending = tasks_of(pending(ws)?);
    if folding(ws, || index.refresh(&ws.store, &pending, tick()))?
        && let Some(now) = now
    {
        index.save_change_marker(&now.to_string());
    }
    Ok(index)
}

/// The index for a change of the plan, and for a question about one task: updated from the journal, and from the files only if git changed any. So the cost of a
/// change does not depend on the size of the plan. A log that was edited by hand since the last query is not noticed; such a
/// change can miss a blocked task or a child, which lint reports.
///
/// Errors: as [`index`].
pub(crate) fn index_for_write(ws: &Workspace) -> Result<Index> {
    let (Some(runtime), Some(now)) = (ws.runtime(), marker(ws)) else { return index(ws) };
    let mut index = Index::open(ws.index_path().as_deref(), ws.env.boot())?;
    let since =
        index.change_marker()?.and_then(|words| words.parse::<ChangeMarker>().ok()).and_then(|then| now.since(&then));
    let touched = since.map(|offset| touched_since(ws, runtime, offset)).transpose()?.flatten();
    // What is overlaid may have to be written; where it cannot be, the whole index is made in memory.
    match touched.filter(|ids| ids.is_empty() || index.is_writable()) {
        Some(ids) => {
            let pending = tasks_of(pending(ws)?);
            let known = pending.keys().copied().filter(|id| !ids.contains(id));
            let ids: Vec<Id> = ids.iter().copied().chain(known).collect();
            // Writing the index costs about as much as the rest of a change.
            if ids.len() <= MOST_LAID {
                folding(ws, || index.overlay(&ws.store, &ids, &pending, tick()))?;
            } else {
                folding(ws, || index.refresh_some(&ws.store, &ids, &pending, tick()))?;
                index.save_change_marker(&now.to_string());
            }
            Ok(index)
        }
        None => {
            let pending = tasks_of(pending(ws)?);
            folding(ws, || index.refresh(&ws.store, &pending, tick()))?;
            index.save_change_marker(&now.to_string());
            Ok(index)
        }
    }
}

/// Reads and folds logs, and counts how long that took.
pub(super) fn folding<T>(ws: &Workspace, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    ws.env.meter().count_fold(start.elapsed());
    done
}

/// Reports that logs were written without the journal and git, so that the next change checks every file.
pub(crate) fn logs_were_written(ws: &Workspace) {
    if let Ok(index) = Index::open(ws.index_path().as_deref(), ws.env.boot()) {
        index.save_change_marker("");
    }
}

/// Where in the journal stands what the read model does not have yet; `None` if that is not known.
pub(crate) fn current_to(ws: &Workspace, index: &Index) -> Result<Option<u64>> {
    let then = index.change_marker()?.and_then(|words| words.parse::<ChangeMarker>().ok());
    Ok(then.filter(|then| ws.runtime().map(journal::inode) == Some(then.journal)).map(|then| then.offset))
}

fn marker(ws: &Workspace) -> Option<ChangeMarker> {
    let runtime = ws.runtime()?;
    let journal = journal::inode(runtime);
    // Until the first change of a clone there is no journal, and nothing to project.
    let offset = if journal == 0 { 0 } else { journal::projected(runtime, ws.env.boot())? };
    let git = ws.repo.as_ref().map(mark_text).unwrap_or_default();
    Some(ChangeMarker { git, journal, offset })
}

/// Deletes the index, so that the next query rebuilds it.
pub(crate) fn discard_index(ws: &Workspace, why: &Error) {
    tracing::debug!(error = %why, "the index is damaged and is rebuilt");
    if let Some(path) = ws.index_path() {
        database::discard(&path);
    }
}

/// The pending events of tasks alone.
pub(crate) fn tasks_of(pending: BTreeMap<Entity, Vec<Entry>>) -> Pending {
    pending
        .into_iter()
        .filter_map(|(entity, entries)| match entity {
            Entity::Task(id) => Some((id, entries)),
            _ => None,
        })
        .collect()
}

/// The tasks of this store that changed since the journal had this length; `None` if the journal was replaced since.
pub(crate) fn touched_since(ws: &Workspace, runtime: &Dir, end: u64) -> Result<Option<Vec<Id>>> {
    if journal::length(runtime) < end {
        return Ok(None);
    }
    let (records, _) = journal::look(runtime, end)?;
    let mut ids = BTreeSet::new();
    for record in records.iter().filter(|record| Some(&record.commit.store) == ws.store_key()) {
        ids.extend(record.entries.iter().filter_map(|e| match e.event.entity {
            Entity::Task(id) => Some(id),
            _ => None,
        }));
    }
    Ok(Some(ids.into_iter().collect()))
}
