//! Collects what is to be repaired after git changed the store, and the events that are missing.
//!
//! Guarantees that it only reads. It finds every version of a log in git's index, and every event that history contains or
//! that another event has as ancestor, if this clone knows it.
//! Leaves to others: the repair itself.

use std::collections::{BTreeMap, BTreeSet};

use super::Work;
use crate::engine::context::Workspace;
use crate::engine::repair;
use crate::engine::view::archives::TreeArchives;
use crate::engine::view::removed_commits::{self, MAX_COMMITS, is_file};
use crate::engine::view::{last_scan, read, ref_logs};
use crate::error::Result;
use crate::git::{Item, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::store::archive;
use crate::store::dropped;
use crate::store::entity::read_log;
use crate::store::layout::{entity_below, home, is_archive};
use crate::store::log::Log;

/// Collects conflicted files of git's index; all their versions are merged.
pub(super) fn collect_unmerged(ws: &Workspace, objects: &Objects, work: &mut Work) -> Result<()> {
    for (path, stage, item) in objects.index_below(&ws.store.name)? {
        if stage == 0 {
            continue;
        }
        if repair::is_archive_of(ws, &path) {
            work.archives = true;
            work.unmerged.insert(path);
            continue;
        }
        let Some((entity, is_log)) = repair::entity_of(ws, &path) else {
            let left = format!("{path}: in conflict, and not made from a log; resolve it by hand and git add it");
            if !work.left.contains(&left) {
                work.left.push(left);
            }
            continue;
        };
        work.entities.insert(entity);
        work.unmerged.insert(path);
        if is_log && is_file(item.mode) {
            add_events(&mut work.events, &objects.blob(item.oid)?);
        }
    }
    Ok(())
}

/// Collects, for commits that are new to this worktree, the changed entities and the events that only a parent has.
pub(super) fn collect_history(ws: &Workspace, objects: &Objects, work: &mut Work) -> Result<()> {
    let Some(head) = objects.head()?.commit else { return Ok(()) };
    let seen = last_scan::read(ws).unwrap_or_default();
    work.whole = seen.whole.contains(&head);
    if work.whole {
        return Ok(());
    }
    let folder = |commit: Oid| removed_commits::plan_in(ws, objects, commit);
    if let Some(last) = seen.last.filter(|last| objects.has(*last)) {
        let changed = objects.changes(folder(last)?, folder(head)?)?;
        work.entities.extend(changed.iter().filter_map(|change| entity_below(&change.path)).map(|(e, _)| e));
        let archives = |plan| TreeArchives::at(objects, plan)?.with_files_of(objects, &ws.store);
        let (before, now) = (archives(folder(last)?)?, archives(folder(head)?)?);
        work.entities.extend(before.differing(objects, &now)?.into_iter().map(Entity::Task));
    }
    let mut missing = Missing::from(ws, objects, folder(head)?)?;
    for commit in removed_commits::history(ws, objects, head, seen)? {
        let Some(new) = folder(commit)? else { continue };
        let parents = objects.commit(commit)?.parents;
        let merged = parents.len() > 1;
        for parent in parents {
            // A shallow clone lacks some parents.
            let Ok(Some(old)) = folder(parent) else { continue };
            let changes = match objects.changes(Some(old), Some(new)) {
                // A clone without trees lacks most of its history.
                Err(_) if objects.is_partial() => continue,
                other => other?,
            };
            for change in changes {
                if merged && is_archive(&change.path) {
                    work.archives = true;
                }
                let Some(was) = change.old else { continue };
                match entity_below(&change.path) {
                    Some((entity, false)) if merged => drop(work.merged.insert(entity)),
                    Some((_, true)) => missing.collect(was, change.new)?,
                    None if is_archive(&change.path) => missing.collect(was, change.new)?,
                    _ => {}
                }
            }
        }
    }
    work.whole = true;
    let archived = archive::archived(&ws.store)?;
    for (entity, lost) in missing.events {
        let dropped_at = |id| archived.dropped.get(&id).filter(|_| !read::is_there(ws, id));
        let events = lost.iter().map(|entry| &entry.event);
        if !entity.task().and_then(dropped_at).is_some_and(|at| dropped::explains(*at, events)) {
            work.whole = false;
            work.events.entry(entity).or_default().extend(lost);
        }
    }
    Ok(())
}

/// The events that the logs of a later tree of the store's folder lack.
///
/// Errors: `ERR_GIT` if git's objects cannot be read.
pub(crate) fn lost_between(
    ws: &Workspace,
    objects: &Objects,
    old: Option<Oid>,
    new: Option<Oid>,
) -> Result<Vec<Entry>> {
    let changes = objects.changes(old, new)?;
    let items = changes.iter().flat_map(|change| [change.old, change.new]).flatten();
    objects.fetch_missing(items.map(|item| item.oid))?;
    let mut missing = Missing::from(ws, objects, new)?;
    for change in changes {
        let is_log = matches!(entity_below(&change.path), Some((_, true))) || is_archive(&change.path);
        if let Some(was) = change.old.filter(|_| is_log) {
            missing.collect(was, change.new)?;
        }
    }
    Ok(missing.events.into_values().flatten().collect())
}

/// Collects events in the log of another entity, as git's rename detection leaves them. They are moved to their own log if the
/// entity is of this store; copied events stay, and lint reports them.
pub(super) fn collect_misplaced(ws: &Workspace, work: &mut Work) -> Result<()> {
    let mut homes: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for entity in &work.entities {
        for entry in read_log(&ws.store, entity)?.entries {
            if entry.event.entity != *entity {
                homes.entry(entry.event.entity.clone()).or_default().push(entry);
            }
        }
    }
    for (entity, entries) in homes {
        if is_of_this_store(ws, &entity, &entries)? {
            work.entities.insert(entity.clone());
            work.events.entry(entity).or_default().extend(entries);
        }
    }
    Ok(())
}

fn is_of_this_store(ws: &Workspace, entity: &Entity, entries: &[Entry]) -> Result<bool> {
    let begins = |e: &Entry| matches!(e.event.payload, Payload::TaskCreated(_) | Payload::AgentRegistered(_));
    Ok(home(entity).is_some() && (entries.iter().any(begins) || !read_log(&ws.store, entity)?.entries.is_empty()))
}

/// Collects missing ancestors of events.
pub(super) fn collect_gaps(ws: &Workspace, work: &mut Work) -> Result<()> {
    // Each round finds the parents of the last one's events, until none is missing.
    for _ in 0..MAX_COMMITS {
        let mut wanted = BTreeSet::new();
        for entity in &work.entities {
            let log = read_log(&ws.store, entity)?;
            let more = work.events.get(entity).map_or(&[][..], Vec::as_slice);
            let here: BTreeSet<Id> = log.entries.iter().chain(more).map(|e| e.event.id).collect();
            let parents = log.entries.iter().chain(more).flat_map(|e| e.event.parents.iter().copied());
            wanted.extend(parents.filter(|parent| !here.contains(parent)));
        }
        let found = ref_logs::events_known_here(ws, &wanted)?;
        if found.is_empty() {
            break;
        }
        for entry in found {
            work.events.entry(entry.event.entity.clone()).or_default().push(entry);
        }
    }
    Ok(())
}

fn add_events(events: &mut BTreeMap<Entity, Vec<Entry>>, bytes: &[u8]) {
    for entry in Log::of(bytes).entries {
        events.entry(entry.event.entity.clone()).or_default().push(entry);
    }
}

/// The events that earlier logs hold and a later tree of the store's folder lacks.
struct Missing<'a> {
    objects: &'a Objects,
    tree: Option<Oid>,
    archives: TreeArchives,
    events: BTreeMap<Entity, Vec<Entry>>,
}

impl<'a> Missing<'a> {
    fn from(ws: &Workspace, objects: &'a Objects, tree: Option<Oid>) -> Result<Self> {
        let archives = TreeArchives::at(objects, tree)?.with_files_of(objects, &ws.store)?;
        Ok(Missing { objects, tree, archives, events: BTreeMap::new() })
    }

    /// Adds the events that a log or an archive has lost on the way from `was` to `now`. They may have moved into an archive of the
    /// tree, or out of one.
    fn collect(&mut self, was: Item, now: Option<Item>) -> Result<()> {
        if !is_file(was.mode) {
            return Ok(());
        }
        // Objects that a partial clone never had contain no event acknowledged here.
        let Some(before) = self.objects.blob_within_reach(was.oid)? else { return Ok(()) };
        let now = now.filter(|item| is_file(item.mode)).map(|item| self.objects.blob_within_reach(item.oid));
        let now = now.transpose()?.flatten().unwrap_or_default();
        if now.starts_with(&before) {
            return Ok(());
        }
        let still: BTreeSet<Id> = Log::of(&now).entries.iter().map(|e| e.event.id).collect();
        let mut gone: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
        for entry in Log::of(&before).entries.into_iter().filter(|e| !still.contains(&e.event.id)) {
            gone.entry(entry.event.entity.clone()).or_default().push(entry);
        }
        // A compaction takes away most logs of a plan, so only what is missing is kept.
        for (entity, mut entries) in gone {
            let there = self.archives.log(self.objects, self.tree, &entity)?.unwrap_or_default();
            let there: BTreeSet<Id> = there.entries.iter().map(|e| e.event.id).collect();
            entries.retain(|entry| !there.contains(&entry.event.id));
            if !entries.is_empty() {
                self.events.entry(entity).or_default().append(&mut entries);
            }
        }
        Ok(())
    }
}
