//! Finds events of this clone in its journals, branches, tags and stash.
//!
//! Guarantees that an event has the bytes that were acknowledged or committed. Git is read in process.
//! Leaves to others: whether an event should be restored.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::archives::TreeArchives;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::runtime::journals::Journals;
use crate::store::layout::{AGENTS, LOG, TASKS};
use crate::store::log::Log;

/// The events with these ids, in order, from the journals and then from the logs in branches, tags and the stash. Unknown ids
/// are skipped.
///
/// Errors: `ERR_IO` if a journal cannot be read.
pub fn known_events(ws: &Workspace, wanted: &BTreeSet<Id>) -> Result<Vec<Entry>> {
    known_events_by(ws, wanted, RefLogs::open)
}

/// As [`known_events`], without fetching for a partial clone. For callers that hold the lock.
///
/// Errors: as [`known_events`].
pub fn events_known_here(ws: &Workspace, wanted: &BTreeSet<Id>) -> Result<Vec<Entry>> {
    known_events_by(ws, wanted, RefLogs::open_local)
}

fn known_events_by(
    ws: &Workspace,
    wanted: &BTreeSet<Id>,
    open: impl Fn(&Workspace) -> Result<Option<RefLogs>>,
) -> Result<Vec<Entry>> {
    let mut found: BTreeMap<Id, Entry> = BTreeMap::new();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(runtime) = ws.runtime() {
        let keep = |entry: Entry, _| wanted.contains(&entry.event.id).then_some(entry);
        Journals::open(runtime)?.each(keep, |entries, _| {
            for entry in entries {
                found.entry(entry.event.id).or_insert(entry);
            }
        })?;
    }
    if found.len() < wanted.len() {
        match open(ws) {
            Ok(Some(kept)) => kept.find(wanted, &mut found),
            Ok(None) => {}
            Err(e) => tracing::debug!(error = %e, "branches were not searched"),
        }
    }
    let mut entries: Vec<Entry> = found.into_values().collect();
    entries.sort_by_key(|e| e.event.stamp());
    Ok(entries)
}

/// The logs of a store in git's references: HEAD, branches, remote-tracking branches, tags and the stash.
pub(crate) struct RefLogs {
    objects: Objects,
    /// The distinct trees of the store's folder.
    trees: BTreeSet<Oid>,
    /// The subfolders of the listed folders, by the path of the folder below the store.
    below: RefCell<BTreeMap<String, BTreeMap<String, BTreeSet<Oid>>>>,
    archives: OnceCell<TreeArchives>,
}

impl RefLogs {
    /// Reads all references; `None` without a repository.
    ///
    /// Errors: `ERR_GIT` if the format of references or objects is unknown.
    pub fn open(ws: &Workspace) -> Result<Option<Self>> {
        let Some(repo) = &ws.repo else { return Ok(None) };
        Self::looked_up(ws, repo.objects_with(&ws.env)?).map(Some)
    }

    /// As [`RefLogs::open`], without fetching for a partial clone.
    fn open_local(ws: &Workspace) -> Result<Option<Self>> {
        let Some(repo) = &ws.repo else { return Ok(None) };
        Self::looked_up(ws, repo.objects()?).map(Some)
    }

    fn looked_up(ws: &Workspace, objects: Objects) -> Result<Self> {
        let mut commits: BTreeSet<Oid> = objects.references("refs/")?.into_iter().map(|(_, id)| id).collect();
        commits.extend(objects.head().ok().and_then(|head| head.commit));
        for stashed in objects.stashes() {
            commits.insert(stashed);
            // The second parent of a stash contains git's index, the third one untracked files.
            commits.extend(objects.commit(stashed).map(|commit| commit.parents).unwrap_or_default());
        }
        let mut trees = BTreeSet::new();
        let mut roots = BTreeSet::new();
        for commit in commits {
            // A tag may name a file, and a shallow clone lacks commits.
            let Ok(commit) = objects.commit(commit) else { continue };
            if roots.insert(commit.tree)
                && let Ok(Some(Item { mode: Mode::Tree, oid })) = objects.item(commit.tree, &ws.store.name)
            {
                trees.insert(oid);
            }
        }
        Ok(RefLogs { objects, trees, below: RefCell::default(), archives: OnceCell::new() })
    }

    /// The distinct logs of an entity.
    pub fn logs(&self, entity: &Entity) -> Vec<Log> {
        let folders: BTreeSet<Oid> = match entity {
            Entity::Task(id) => {
                let shards = self.folders(&format!("{TASKS}/{}", id.shard()));
                shards.into_iter().filter_map(|shard| self.folder(shard, &id.to_string())).collect()
            }
            Entity::Agent(name) => self.folders(&format!("{AGENTS}/{name}")),
            Entity::Session(_) => BTreeSet::new(),
        };
        let file = |folder: Oid| file_of(self.objects.item(folder, LOG).ok()??);
        let blobs: BTreeSet<Oid> = folders.into_iter().filter_map(file).collect();
        let archived = self.archives().completed(&self.objects, entity, None).ok().flatten();
        blobs.into_iter().filter_map(|blob| self.log(blob)).chain(archived).collect()
    }

    /// The archives of all trees.
    fn archives(&self) -> &TreeArchives {
        self.archives.get_or_init(|| TreeArchives::in_any(&self.objects, &self.trees))
    }

    fn folder(&self, tree: Oid, path: &str) -> Option<Oid> {
        let item = self.objects.item(tree, path).ok()??;
        (item.mode == Mode::Tree).then_some(item.oid)
    }

    /// The distinct trees of a folder at a path below the store. Each tree above it is listed once.
    fn folders(&self, path: &str) -> BTreeSet<Oid> {
        let Some((above, name)) = path.rsplit_once('/') else {
            return self.trees.iter().filter_map(|tree| self.folder(*tree, path)).collect();
        };
        if let Some(listed) = self.below.borrow().get(above) {
            return listed.get(name).cloned().unwrap_or_default();
        }
        let mut listed: BTreeMap<String, BTreeSet<Oid>> = BTreeMap::new();
        for tree in self.folders(above) {
            for (name, item) in self.objects.items(tree).unwrap_or_default() {
                if item.mode == Mode::Tree {
                    listed.entry(name).or_default().insert(item.oid);
                }
            }
        }
        let found = listed.get(name).cloned().unwrap_or_default();
        self.below.borrow_mut().insert(above.to_owned(), listed);
        found
    }

    /// Searches all logs for the events that are not found yet.
    fn find(&self, wanted: &BTreeSet<Id>, found: &mut BTreeMap<Id, Entry>) {
        if self.objects.is_partial() {
            let logs = self.trees.iter().filter_map(|tree| self.objects.changes(None, Some(*tree)).ok()).flatten();
            let logs = logs.filter(|change| change.path.ends_with(LOG)).filter_map(|change| Some(change.new?.oid));
            if let Err(e) = self.objects.fetch_missing(logs) {
                tracing::debug!(error = %e, "not all logs of other branches are here");
            }
        }
        let mut seen = BTreeSet::new();
        for tree in &self.trees {
            // A partial clone also lacks the trees above the logs.
            for (folder, depth) in [(TASKS, 3), (AGENTS, 1)] {
                let Ok(Some(Item { mode: Mode::Tree, oid })) = self.objects.item(*tree, folder) else { continue };
                self.find_below(oid, depth, wanted, found, &mut seen);
            }
        }
        if found.len() < wanted.len() {
            for entry in self.archives().find(&self.objects, wanted) {
                found.entry(entry.event.id).or_insert(entry);
            }
        }
    }

    fn find_below(
        &self,
        tree: Oid,
        depth: u8,
        wanted: &BTreeSet<Id>,
        found: &mut BTreeMap<Id, Entry>,
        seen: &mut BTreeSet<Oid>,
    ) {
        for (name, item) in self.objects.items(tree).unwrap_or_default() {
            if found.len() >= wanted.len() {
                return;
            }
            if !seen.insert(item.oid) {
                continue;
            }
            match item.mode {
                Mode::Tree if depth > 0 => self.find_below(item.oid, depth - 1, wanted, found, seen),
                Mode::Tree => {}
                _ if name == LOG => {
                    let log = file_of(item).and_then(|blob| self.log(blob)).unwrap_or_default();
                    for entry in log.entries.into_iter().filter(|e| wanted.contains(&e.event.id)) {
                        found.entry(entry.event.id).or_insert(entry);
                    }
                }
                _ => {}
            }
        }
    }

    fn log(&self, blob: Oid) -> Option<Log> {
        Log::read(&self.objects.blob(blob).ok()?[..]).ok()
    }
}

fn file_of(item: Item) -> Option<Oid> {
    matches!(item.mode, Mode::File | Mode::Executable).then_some(item.oid)
}
