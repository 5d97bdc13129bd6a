//! From a reference to the id of a task, and from an id to its handle.
//!
//! Leaves to others: references to events (`view::events`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::current::{pending, tasks_of};
use crate::engine::context::Workspace;
use crate::engine::view::other_worktree;
use crate::env::files::Kind;
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::id::{HANDLE_MIN, Id, is_part, quoted, shard_of};
use crate::store::archive::{self, Archive};
use crate::store::layout::{DROPPED, TASKS, task_dir};

/// The id of the task that an id, a unique prefix or a handle refers to.
///
/// Errors: `ERR_NOT_FOUND`, or `ERR_AMBIGUOUS_ID` with the candidates.
pub fn resolve(ws: &Workspace, reference: &Ref) -> Result<Id> {
    let text = reference.0.to_ascii_uppercase();
    let unknown = || {
        if let Some(id) = dropped(ws, &text) {
            return Error::not_found(format!("task {id} was dropped from the archives"))
                .with(json!({ "task": id, "dropped": true }))
                .hint(format!("{} records it; git history may still hold its events", ws.store.shown(DROPPED)));
        }
        Error::not_found(format!("no task is called {}", quoted(&reference.0)))
            .with(json!({ "reference": reference.0 }))
            .hint(other_worktree::hint(ws, &text).unwrap_or_else(|| {
                "agentpm task list --all shows ids and handles; a part of an id needs at least 4 characters".into()
            }))
    };
    if !is_part(&text) {
        return Err(unknown());
    }
    let mut found: BTreeSet<Id> = if text.len() == 26 {
        text.parse().ok().filter(|id| is_there(ws, *id)).into_iter().collect()
    } else {
        let mut found = in_shard(ws, &shard_of(&text))?;
        found.retain(|id| id.to_string().ends_with(&text));
        // Ids begin with their time, so until the year 3084 only what begins with 0 can be a prefix.
        if text.starts_with('0') || found.is_empty() {
            let all = archive::all_tasks(&ws.store)?;
            found.extend(all.into_iter().filter(|id| id.to_string().starts_with(&text)));
        }
        found
    };
    if found.is_empty() {
        found = tasks_of(pending(ws)?).into_keys().filter(|id| id.has_part(&text)).collect();
    }
    one_of(found, reference)?.ok_or_else(unknown)
}

/// Whether the events of a task were dropped from the archives.
pub(crate) fn is_dropped(ws: &Workspace, id: Id) -> bool {
    archive::archived(&ws.store).is_ok_and(|archived| archived.dropped.contains_key(&id))
}

/// The only dropped task that a reference can mean.
fn dropped(ws: &Workspace, text: &str) -> Option<Id> {
    let archived = archive::archived(&ws.store).ok().filter(|_| is_part(text))?;
    let mut found = archived.dropped.keys().filter(|id| id.has_part(text));
    found.next().filter(|_| found.next().is_none()).copied()
}

/// Whether there is a task of this id, in its folder or in an archive.
pub(crate) fn is_there(ws: &Workspace, id: Id) -> bool {
    matches!(ws.store.dir.kind(task_dir(id)), Ok(Some(Kind::Dir)))
        || archive::archived(&ws.store).is_ok_and(|archived| archived.holds(id))
}

/// The tasks in a shard, and the archived ones that belong there.
fn in_shard(ws: &Workspace, shard: &str) -> Result<BTreeSet<Id>> {
    let archived = archive::archived(&ws.store)?;
    let mut found: BTreeSet<Id> =
        archived.archives.iter().flat_map(Archive::tasks).filter(|id| id.is_in_shard(shard)).collect();
    let path = std::path::Path::new(TASKS).join(shard);
    let dir = match ws.store.dir.dir(&path) {
        Ok(dir) => dir,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(Error::io("open", &ws.store.path().join(&path), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    found.extend(names.iter().filter_map(|(name, _)| name.parse::<Id>().ok()));
    Ok(found)
}

/// The shortest unique handle of a task, of at least six characters.
///
/// Errors: `ERR_IO` if the shard cannot be read.
pub fn handle(ws: &Workspace, id: Id) -> Result<String> {
    Ok(shortest_handle(id, in_shard(ws, &id.shard())?.iter()))
}

/// The only candidate, or `None`. Several candidates are `ERR_AMBIGUOUS_ID`.
pub(crate) fn one_of(found: BTreeSet<Id>, reference: &Ref) -> Result<Option<Id>> {
    if found.len() > 1 {
        return Err(Error::new(Code::AmbiguousId, format!("{} fits {} ids", quoted(&reference.0), found.len()))
            .with(json!({ "candidates": found.iter().take(20).collect::<Vec<_>>(), "total": found.len() }))
            .hint("give more characters of the id"));
    }
    Ok(found.first().copied())
}

/// The shortest end of `id`, of at least six characters, that no other of `all` shares.
fn shortest_handle<'a>(id: Id, all: impl Iterator<Item = &'a Id>) -> String {
    let text = id.to_string();
    let shared =
        |other: &Id| other.to_string().bytes().rev().zip(text.bytes().rev()).take_while(|(a, b)| a == b).count();
    let longest = all.filter(|other| **other != id).map(shared).max().unwrap_or(0);
    id.handle((longest + 1).max(HANDLE_MIN))
}

/// The shortest handles of all of these ids, as [`shortest_handle`] gives them.
pub(crate) fn handles(ids: &[Id]) -> BTreeMap<Id, String> {
    // Sorted by their reversed text, ids with the longest common suffix are neighbors.
    let mut ends: Vec<(Vec<u8>, Id)> = ids.iter().map(|id| (id.to_string().bytes().rev().collect(), *id)).collect();
    ends.sort_unstable();
    let shared = |a: usize, b: usize| ends[a].0.iter().zip(&ends[b].0).take_while(|(a, b)| a == b).count();
    let handle = |n: usize| {
        let before = if n > 0 { shared(n, n - 1) } else { 0 };
        let after = if n + 1 < ends.len() { shared(n, n + 1) } else { 0 };
        (ends[n].1, ends[n].1.handle((before.max(after) + 1).max(HANDLE_MIN)))
    };
    (0..ends.len()).map(handle).collect()
}
