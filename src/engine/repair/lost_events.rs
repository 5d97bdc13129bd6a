//! Reports acknowledged events that vanished from the files since the last command: after a reset, a checkout, or a write while
//! a hook framework had stashed the work tree.
//!
//! Guarantees that the first command after git touched the worktree reports such events once, if no log, branch or stash
//! contains them.
//! Leaves to others: listing all of them and restoring them (`recover`).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::engine::commit::project;
use crate::engine::context::Workspace;
use crate::engine::view::archives::TreeArchives;
use crate::engine::view::last_scan::mark_text;
use crate::engine::view::read;
use crate::engine::view::ref_logs::RefLogs;
use crate::engine::view::removed_commits;
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::plain::{counted, first_of};
use crate::runtime::journal::{self, Record};
use crate::runtime::records::digest;
use crate::store::archive;
use crate::store::dropped;
use crate::store::entity::read_log;
use crate::store::layout::{STORE, home};

/// Maximum size of a note, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// Maximum number of events that are remembered as reported.
const MAX_REPORTED: usize = 500;
/// Maximum number of tasks that are named.
const NAMED: usize = 5;

/// Maximum size of the journal's tail that is searched, in bytes. Older uncommitted events are left to `doctor`.
const MOST: u64 = 1 << 20;

/// The extent of the last search. A missing or damaged note only causes a longer one.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct ScanNote {
    /// The mark of git's index, and the text of HEAD.
    git: String,
    /// The inode of the journal.
    journal: u64,
    /// The offset before which every event is committed or reported.
    offset: u64,
    /// Events that were reported.
    reported: BTreeSet<Id>,
}

/// Reports, in the answer of this command, acknowledged events that are lost. If git did nothing since, only the mark of its
/// index is read.
pub fn notice_vanished(ws: &Workspace) {
    match look_for_vanished(ws) {
        Ok(Some(words)) => ws.notice(words),
        Ok(None) => {}
        Err(e) => tracing::debug!(error = %e, "vanished events were not looked for"),
    }
}

fn look_for_vanished(ws: &Workspace) -> Result<Option<String>> {
    let (Some(repo), Some(runtime), Some(own)) = (&ws.repo, ws.runtime(), ws.store_key()) else {
        return Ok(None);
    };
    let path = ws.own_runtime_path();
    let linked = match path == runtime.path() {
        true => None,
        false => Some(Dir::open(&path).map_err(|e| Error::io("open", &path, &e))?),
    };
    let folder = linked.as_ref().unwrap_or(runtime);
    let name = looked_name(ws);
    let text = folder.read(&name, MAX_FILE).unwrap_or_default();
    let before: ScanNote = serde_json::from_slice(&text).unwrap_or_default();
    let git = format!("{} {}", mark_text(repo), project::head(ws));
    if before.git == git {
        return Ok(None);
    }
    let inode = journal::inode(runtime);
    let length = journal::length(runtime);
    let known = if before.journal == inode { before.offset.min(length) } else { 0 };
    let from = known.max(length.saturating_sub(MOST));
    let mut records = journal::look(runtime, from)?.0;
    records.retain(|record| record.commit.store == *own);
    let pending: BTreeSet<Id> = read::pending(ws)?.into_values().flatten().map(|entry| entry.event.id).collect();
    let mut open = projected_events(&records, &pending);
    let is_new = |id: &Id| !before.reported.contains(id);
    let all: BTreeSet<Id> = open.values().flatten().copied().collect();
    let archived = archive::archived(&ws.store)?;
    let of = |entity: &Entity| {
        let events = records.iter().flat_map(|record| &record.entries).map(|entry| &entry.event);
        events.filter(|event| event.entity == *entity).collect::<Vec<_>>()
    };
    let dropped_at = |id| archived.dropped.get(&id).filter(|_| !read::is_there(ws, id));
    open.retain(|entity, _| !entity.task().and_then(dropped_at).is_some_and(|at| dropped::explains(*at, of(entity))));
    let mut vanished = open.clone();
    drop_held(ws, &mut vanished)?;
    let reported: BTreeSet<Id> = vanished.values().flatten().copied().collect();
    vanished.values_mut().for_each(|ids| ids.retain(is_new));
    vanished.retain(|_, ids| !ids.is_empty());
    drop_committed(ws, &mut open)?;
    // Uncommitted events can still vanish.
    let waits = open.values().flatten().chain(&pending).copied().filter(|id| !reported.contains(id));
    let waits: BTreeSet<Id> = waits.collect();
    let is_waiting = |record: &&Record| record.entries.iter().any(|entry| waits.contains(&entry.event.id));
    let offset = records.iter().take_while(|record| !is_waiting(record)).last().map_or(from, |record| record.end);
    let reported = before.reported.iter().filter(|id| !all.contains(id)).chain(&reported).copied();
    let reported: BTreeSet<Id> = reported.collect::<BTreeSet<Id>>().into_iter().rev().take(MAX_REPORTED).collect();
    let note = serde_json::to_vec(&ScanNote { git, journal: inode, offset, reported }).unwrap_or_default();
    // On a read-only disk the next command searches again.
    let _ = folder.replace(&name, &note, 0o666);
    Ok((!vanished.is_empty()).then(|| words(&vanished)))
}

/// The note's name, below the runtime folder of the worktree, which may hold several stores.
fn looked_name(ws: &Workspace) -> String {
    match ws.store.name.as_str() {
        STORE => "looked.json".to_owned(),
        other => format!("looked-{}.json", &digest(other)[..8]),
    }
}

/// Drops the events that HEAD contains.
fn drop_committed(ws: &Workspace, left: &mut BTreeMap<Entity, BTreeSet<Id>>) -> Result<()> {
    let Some(objects) = ws.repo.as_ref().and_then(|repo| repo.objects().ok()) else { return Ok(()) };
    let Some(commit) = objects.head()?.commit else { return Ok(()) };
    let plan = removed_commits::plan_in(ws, &objects, commit)?;
    let archives = TreeArchives::at(&objects, plan)?.with_files_of(&objects, &ws.store)?;
    for (entity, ids) in left.iter_mut() {
        for entry in archives.log(&objects, plan, entity)?.unwrap_or_default().entries {
            ids.remove(&entry.event.id);
        }
    }
    left.retain(|_, ids| !ids.is_empty());
    Ok(())
}

/// Drops the events that some log of this clone contains.
fn drop_held(ws: &Workspace, left: &mut BTreeMap<Entity, BTreeSet<Id>>) -> Result<()> {
    for (entity, ids) in left.iter_mut() {
        for entry in read_log(&ws.store, entity)?.entries {
            ids.remove(&entry.event.id);
        }
    }
    left.retain(|_, ids| !ids.is_empty());
    if left.is_empty() {
        return Ok(());
    }
    let kept = RefLogs::open(ws)?;
    for (entity, ids) in left.iter_mut() {
        for log in kept.iter().flat_map(|kept| kept.logs(entity)) {
            for entry in log.entries {
                ids.remove(&entry.event.id);
            }
        }
    }
    left.retain(|_, ids| !ids.is_empty());
    Ok(())
}

/// The projected events of these records that belong in logs, by entity.
fn projected_events(records: &[Record], pending: &BTreeSet<Id>) -> BTreeMap<Entity, BTreeSet<Id>> {
    let mut events: BTreeMap<Entity, BTreeSet<Id>> = BTreeMap::new();
    for event in records.iter().flat_map(|record| &record.entries).map(|entry| &entry.event) {
        if !event.payload.journal_only() && home(&event.entity).is_some() && !pending.contains(&event.id) {
            events.entry(event.entity.clone()).or_default().insert(event.id);
        }
    }
    events
}

fn words(left: &BTreeMap<Entity, BTreeSet<Id>>) -> String {
    let events: usize = left.values().map(BTreeSet::len).sum();
    let named = left.keys().map(|entity| entity.task().map_or_else(|| entity.to_string(), |id| id.handle(HANDLE_MIN)));
    let (verb, object) = if events == 1 { ("is", "it") } else { ("are", "them") };
    format!(
        "{} of {} {verb} in no file, branch or stash any more; agentpm recover lists {object} and brings back what is wanted",
        counted(events, "acknowledged event"),
        first_of(named, NAMED, left.len()),
    )
}
