//! The archives in a tree of git, and the log of a task wherever the tree holds its events.
//!
//! Guarantees that a task is read from a commit as from the work tree: the union of its log and of its lines in any archive.
//! Leaves to others: which tree is read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::error::{Code, Error, Result};
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry, parse_line, written_id};
use crate::model::id::Id;
use crate::store::archive::{Place, archived_now, entries_in, places, places_of};
use crate::store::archive_form::without;
use crate::store::layout::{ARCHIVE, LOG, Store, home, is_archive};
use crate::store::log::Log;

/// The largest archive that is compared with one of a commit, in bytes.
const MAX_ARCHIVE: u64 = 512 * 1024 * 1024;

/// The most bytes of archives that stay in memory.
const MAX_HELD: usize = 64 * 1024 * 1024;

/// The archives of one tree, each read when a task is looked up first.
#[derive(Default)]
pub(crate) struct TreeArchives {
    /// By path below the store.
    blobs: BTreeMap<String, Oid>,
    places: RefCell<HashMap<Oid, Rc<[Place]>>>,
    held: RefCell<HashMap<Oid, Rc<[u8]>>>,
}

impl TreeArchives {
    /// The archives in a tree of the store's folder.
    ///
    /// Errors: `ERR_GIT` if the tree cannot be read.
    pub fn at(objects: &Objects, plan: Option<Oid>) -> Result<Self> {
        let folder = plan.map(|plan| objects.item(plan, ARCHIVE)).transpose()?.flatten();
        let Some(folder) = folder.filter(|item| item.mode == Mode::Tree) else { return Ok(Self::default()) };
        let items = objects
            .items(folder.oid)?
            .into_iter()
            .filter(|(_, item)| matches!(item.mode, Mode::File | Mode::Executable));
        Ok(Self::of(items.map(|(name, item)| (format!("{ARCHIVE}/{name}"), item.oid))))
    }

    /// These archives, by path below the store.
    pub fn of(blobs: impl IntoIterator<Item = (String, Oid)>) -> Self {
        let blobs = blobs.into_iter().filter(|(path, _)| is_archive(path)).collect();
        TreeArchives { blobs, ..Self::default() }
    }

    /// The archives in any of these trees; those that cannot be read are left out.
    pub fn in_any(objects: &Objects, plans: &BTreeSet<Oid>) -> Self {
        let mut blobs = BTreeMap::new();
        for archives in plans.iter().filter_map(|plan| Self::at(objects, Some(*plan)).ok()) {
            blobs.extend(archives.blobs.into_iter().map(|(path, blob)| (format!("{path} {blob}"), blob)));
        }
        TreeArchives { blobs, ..Self::default() }
    }

    /// The events with these ids.
    pub fn find(&self, objects: &Objects, wanted: &BTreeSet<Id>) -> Vec<Entry> {
        let mut found = Vec::new();
        for blob in self.blobs.values() {
            let Ok(bytes) = self.bytes(objects, *blob) else { continue };
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            let lines = lines.filter(|line| written_id(line).is_none_or(|id| wanted.contains(&id)));
            let parsed = lines.filter_map(|line| Some(Entry { event: parse_line(line).ok()?, line: line.into() }));
            found.extend(parsed.filter(|entry| wanted.contains(&entry.event.id)));
        }
        found
    }

    /// Their objects, by path.
    pub fn blobs(&self) -> &BTreeMap<String, Oid> {
        &self.blobs
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    fn bytes(&self, objects: &Objects, blob: Oid) -> Result<Rc<[u8]>> {
        if let Some(held) = self.held.borrow().get(&blob) {
            return Ok(Rc::clone(held));
        }
        let bytes: Rc<[u8]> = objects.blob(blob)?.into();
        let mut held = self.held.borrow_mut();
        if held.values().map(|held| held.len()).sum::<usize>() + bytes.len() > MAX_HELD {
            held.clear();
        }
        held.insert(blob, Rc::clone(&bytes));
        Ok(bytes)
    }

    fn places(&self, objects: &Objects, blob: Oid) -> Result<Rc<[Place]>> {
        if let Some(known) = self.places.borrow().get(&blob) {
            return Ok(Rc::clone(known));
        }
        let bytes = self.bytes(objects, blob)?;
        let found = places(&bytes[..]).map_err(|e| Error::new(Code::Git, format!("cannot read an archive: {e}")))?;
        let found: Rc<[Place]> = found.into();
        self.places.borrow_mut().insert(blob, Rc::clone(&found));
        Ok(found)
    }

    /// The lines of a task, as they stand.
    fn lines(&self, objects: &Objects, blob: Oid, task: Id) -> Result<Vec<u8>> {
        let places = self.places(objects, blob)?;
        let own = places_of(&places, task);
        if own.is_empty() {
            return Ok(Vec::new());
        }
        let bytes = self.bytes(objects, blob)?;
        let range = |place: &Place| {
            let begin = usize::try_from(place.at).unwrap_or(usize::MAX);
            bytes.get(begin..begin.saturating_add(place.length as usize)).unwrap_or_default()
        };
        Ok(own.iter().flat_map(range).copied().collect())
    }

    /// The events of a task, each distinct line once.
    pub fn entries(&self, objects: &Objects, task: Id) -> Result<Vec<Entry>> {
        let mut entries: Vec<Entry> = Vec::new();
        for blob in self.blobs.values() {
            for entry in entries_in(task, &self.lines(objects, *blob, task)?) {
                if !entries.iter().any(|known| known.event.id == entry.event.id && known.line == entry.line) {
                    entries.push(entry);
                }
            }
        }
        entries.sort_by_key(|entry| entry.event.stamp());
        Ok(entries)
    }

    /// Whether they hold lines of a task.
    pub fn holds(&self, objects: &Objects, task: Id) -> Result<bool> {
        for blob in self.blobs.values() {
            if !places_of(&self.places(objects, *blob)?, task).is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The archives that hold lines of these tasks, without those lines.
    pub fn without(&self, objects: &Objects, tasks: &BTreeSet<Id>) -> Result<Vec<(String, Vec<u8>)>> {
        let mut archives = Vec::new();
        for (path, blob) in self.blobs.iter().filter(|_| !tasks.is_empty()) {
            if self.places(objects, *blob)?.iter().any(|place| tasks.contains(&place.task)) {
                archives.push((path.clone(), without(&self.bytes(objects, *blob)?, tasks)));
            }
        }
        Ok(archives)
    }

    /// The tasks of which they hold lines.
    pub fn tasks(&self, objects: &Objects) -> Result<BTreeSet<Id>> {
        let mut tasks = BTreeSet::new();
        for blob in self.blobs.values() {
            tasks.extend(self.places(objects, *blob)?.iter().map(|place| place.task));
        }
        Ok(tasks)
    }

    /// The tasks whose lines are not the same in the archives of another tree.
    pub fn differing(&self, objects: &Objects, other: &TreeArchives) -> Result<BTreeSet<Id>> {
        let mut tasks = BTreeSet::new();
        let paths: BTreeSet<&String> = self.blobs.keys().chain(other.blobs.keys()).collect();
        for path in paths {
            let (old, new) = (self.blobs.get(path), other.blobs.get(path));
            if old == new {
                continue;
            }
            let of = |side: &TreeArchives, blob: Option<&Oid>| -> Result<BTreeSet<Id>> {
                let places = blob.map(|blob| side.places(objects, *blob)).transpose()?;
                Ok(places.iter().flat_map(|places| places.iter()).map(|place| place.task).collect())
            };
            for task in of(self, old)?.union(&of(other, new)?) {
                let lines = |side: &TreeArchives, blob: Option<&Oid>| {
                    blob.map(|blob| side.lines(objects, *blob, *task)).transpose()
                };
                if lines(self, old)?.unwrap_or_default() != lines(other, new)?.unwrap_or_default() {
                    tasks.insert(*task);
                }
            }
        }
        Ok(tasks)
    }

    /// The tasks with lines in archives that are not byte for byte those of a store's folder.
    ///
    /// Errors: `ERR_GIT` if an object cannot be read, `ERR_IO` if a file cannot be.
    pub fn differing_from(&self, objects: &Objects, store: &Store) -> Result<BTreeSet<Id>> {
        let (here, mut tasks) = (archived_now(store)?, BTreeSet::new());
        let mut same = BTreeSet::new();
        for archive in &here.archives {
            let bytes = store.dir.read(&archive.path, MAX_ARCHIVE);
            let bytes = bytes.map_err(|e| Error::io("read", &store.path().join(&archive.path), &e))?;
            match self.blobs.get(&archive.path) {
                Some(blob) if objects.name_of(&bytes)? == *blob => drop(same.insert(&archive.path)),
                _ => tasks.extend(archive.tasks()),
            }
        }
        for (_, blob) in self.blobs.iter().filter(|(path, _)| !same.contains(path)) {
            tasks.extend(self.places(objects, *blob)?.iter().map(|place| place.task));
        }
        Ok(tasks)
    }

    /// The log of a task or an agent in the tree that these archives are of; `None` if the tree has nothing of it.
    ///
    /// Errors: `ERR_GIT` if an object cannot be read.
    pub fn log(&self, objects: &Objects, plan: Option<Oid>, entity: &Entity) -> Result<Option<Log>> {
        let path = home(entity).unwrap_or_default().0.join(LOG).display().to_string();
        let bytes = plan.map(|plan| objects.file(plan, &path)).transpose()?.flatten();
        self.completed(objects, entity, bytes.as_deref())
    }

    /// A log with these bytes, if there is such a file, and with what the archives hold of the same task.
    pub fn completed(&self, objects: &Objects, entity: &Entity, bytes: Option<&[u8]>) -> Result<Option<Log>> {
        let mut log = bytes.map(Log::of);
        if let Entity::Task(id) = entity
            && !self.is_empty()
        {
            let archived = self.entries(objects, *id)?;
            if !archived.is_empty() {
                log.get_or_insert_default().add_archived(archived);
            }
        }
        Ok(log)
    }
}

/// The log of a task or an agent in one tree of the store's folder, for a caller that asks once.
///
/// Errors: `ERR_GIT` if an object cannot be read.
pub(crate) fn log_in(objects: &Objects, plan: Option<Oid>, entity: &Entity) -> Result<Option<Log>> {
    TreeArchives::at(objects, plan)?.log(objects, plan, entity)
}
