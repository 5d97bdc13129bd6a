//! Finds tasks whose files a commit in the history of this branch removed.
//!
//! Guarantees that it only reads, and gives the commit and the log before it. A merge that took one side, a revert of the commit
//! that added a task, and a branch that never had it are not removals.
//! Leaves to others: how such a task is treated.

use std::collections::BTreeMap;

use super::archives::TreeArchives;
use super::last_scan::{self, LastScan};
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::store::layout::{LOG, entity_below, home};
use crate::store::log::Log;

/// Maximum number of commits whose changes are searched for removed logs.
pub(crate) const MAX_COMMITS: usize = 5_000;
/// The same in a worktree that was never searched, which may be a new clone of a long history.
const FIRST_COMMITS: usize = 1_000;
/// The beginning of git's message for a revert.
const REVERTS: &str = "This reverts commit ";

/// The removal of a task by a commit.
#[derive(Clone, Debug)]
pub(crate) struct Removal {
    /// The abbreviated commit.
    pub commit: String,
    /// The task's events before it.
    pub log: Vec<Entry>,
}

/// Tasks that a commit in the history removed and that HEAD does not contain, with the newest such commit. With `fetches`,
/// logs that a partial clone lacks are fetched, so the caller must not hold the lock.
///
/// Errors: `ERR_GIT` if history cannot be read.
pub(crate) fn removed_by_commits(ws: &Workspace, fetches: bool) -> Result<BTreeMap<Id, Removal>> {
    // History cannot be read if the format of git's objects is unknown.
    let Some(repo) = &ws.repo else { return Ok(BTreeMap::new()) };
    let Ok(objects) = repo.objects() else { return Ok(BTreeMap::new()) };
    let Some(head) = objects.head()?.commit else { return Ok(BTreeMap::new()) };
    let seen = last_scan::read(ws).unwrap_or_default();
    if seen.whole.contains(&head) {
        return Ok(BTreeMap::new());
    }
    let Some(now) = plan_in(ws, &objects, head)? else { return Ok(BTreeMap::new()) };
    let candidates = match candidates(ws, &objects, head, seen, now) {
        // A clone without trees is searched no further than a shallow one.
        Err(e) if objects.is_partial() => {
            tracing::debug!(error = %e, "history was not looked through for removed tasks");
            return Ok(BTreeMap::new());
        }
        other => other?,
    };
    let objects = if fetches && !candidates.is_empty() { repo.objects_with(&ws.env)? } else { objects };
    let absent = objects.fetch_missing(candidates.iter().map(|(_, _, log)| *log)).err();
    let mut removed = BTreeMap::new();
    for (id, commit, log) in candidates {
        if removed.contains_key(&id) {
            continue;
        }
        if let Some(e) = absent.as_ref().filter(|_| !objects.has(log)) {
            ws.notice(format!(
                    "whether task {id} was ended before commit {} removed it is not known: {}; git cat-file -e {log} fetches its log",
                    objects.short(commit), e.message
                ));
            continue;
        }
        let log = Log::of(&objects.blob(log)?).entries;
        if !log.is_empty() {
            removed.insert(id, Removal { commit: objects.short(commit), log });
        }
    }
    Ok(removed)
}

/// Removed logs that the present plan does not contain: task, commit and log, newest commit first.
fn candidates(ws: &Workspace, objects: &Objects, head: Oid, seen: LastScan, now: Oid) -> Result<Vec<(Id, Oid, Oid)>> {
    let archives = TreeArchives::at(objects, Some(now))?.with_files_of(objects, &ws.store)?;
    let mut found = Vec::new();
    for commit in history(ws, objects, head, seen)? {
        for (id, log) in removed_in(ws, objects, commit)? {
            if !is_in(objects, now, id)? && !archives.holds(objects, id)? {
                found.push((id, commit, log));
            }
        }
    }
    Ok(found)
}

/// The logs that one commit removed, by task.
fn removed_in(ws: &Workspace, objects: &Objects, commit: Oid) -> Result<Vec<(Id, Oid)>> {
    let info = objects.commit(commit)?;
    let [parent] = info.parents[..] else { return Ok(Vec::new()) };
    // A commit that removes the whole store uninstalls agentpm. A shallow clone lacks some parents.
    let (Some(new), Ok(Some(old))) = (plan_in(ws, objects, commit)?, plan_in(ws, objects, parent)) else {
        return Ok(Vec::new());
    };
    let changes = objects.changes(Some(old), Some(new))?;
    let gone = changes.iter().filter_map(|change| match (entity_below(&change.path), change.old, change.new) {
        (Some((Entity::Task(id), true)), Some(was), None) if is_file(was.mode) => Some((id, was.oid)),
        _ => None,
    });
    let gone: Vec<(Id, Oid)> = gone.collect();
    let reverts = || String::from_utf8_lossy(&info.message).lines().any(|line| line.starts_with(REVERTS));
    Ok(if gone.is_empty() || reverts() { Vec::new() } else { gone })
}

/// The commits to search, newest first: those not known to be complete, back to the removal of the whole store, which is an
/// uninstall.
pub(crate) fn history(ws: &Workspace, objects: &Objects, head: Oid, seen: LastScan) -> Result<Vec<Oid>> {
    let most = if seen.last.is_some() { MAX_COMMITS } else { FIRST_COMMITS };
    let mut hidden = whole_before(objects, seen.whole, head)?;
    let commits = objects.walk(&[head], &hidden, most)?;
    let known = hidden.len();
    for commit in &commits {
        if plan_in(ws, objects, *commit)?.is_some() {
            continue;
        }
        let mut parents = objects.commit(*commit)?.parents.into_iter();
        // A shallow clone lacks some parents.
        if parents.any(|parent| matches!(plan_in(ws, objects, parent), Ok(Some(_)))) {
            hidden.push(*commit);
        }
    }
    if hidden.len() == known { Ok(commits) } else { objects.walk(&[head], &hidden, most) }
}

/// The store's folder in a commit; also `None` if a clone without trees lacks it.
pub(crate) fn plan_in(ws: &Workspace, objects: &Objects, commit: Oid) -> Result<Option<Oid>> {
    let top = objects.commit(commit)?.tree;
    if !objects.is_within_reach(top) {
        return Ok(None);
    }
    let item = objects.item(top, &ws.store.name)?;
    Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
}

/// The commits known to be complete that are ancestors of a commit. One of them proves nothing about its own ancestors, which may
/// be checked out now.
fn whole_before(objects: &Objects, whole: Vec<Oid>, head: Oid) -> Result<Vec<Oid>> {
    let mut behind = Vec::new();
    for whole in whole {
        if objects.has(whole) && objects.merge_base(whole, head)? == Some(whole) {
            behind.push(whole);
        }
    }
    Ok(behind)
}

pub(crate) fn is_file(mode: Mode) -> bool {
    matches!(mode, Mode::File | Mode::Executable)
}

fn is_in(objects: &Objects, plan: Oid, id: Id) -> Result<bool> {
    let Some((folder, _)) = home(&Entity::Task(id)) else { return Ok(false) };
    Ok(objects.item(plan, &folder.join(LOG).display().to_string())?.is_some())
}
