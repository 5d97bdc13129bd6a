//! The archives in a tree of git, and the log of a task wherever the tree holds its events.
//!
//! Guarantees that a task is read from a commit as from the work tree: the union of its log and of its lines in any archive. An
//! archive that is the one of the work tree is read there, a task at a time; git gives any other one only whole.
//! Leaves to others: which tree is read.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;
use std::sync::Arc;

use crate::env::files::read_line;
use crate::error::{Code, Error, Result};
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entity, Entry, MAX_LINE, parse_line, written_id};
use crate::model::id::Id;
use crate::store::archive::{Archive, Place, archived, archived_now, entries_in, places, places_of};
use crate::store::archive_form::without;
use crate::store::layout::{ARCHIVE, LOG, Store, home, is_archive};
use crate::store::log::Log;

/// The most bytes of archives that stay in memory.
const MAX_HELD: usize = 64 * 1024 * 1024;

/// The archives of one tree, each read when a task is looked up first.
#[derive(Default)]
pub(crate) struct TreeArchives {
    /// By path below the store.
    blobs: BTreeMap<String, Oid>,
    /// Files of the work tree that may be the same.
    files: RefCell<HashMap<Oid, (File, Archive)>>,
    places: RefCell<HashMap<Oid, Arc<[Place]>>>,
    held: RefCell<HashMap<Oid, Bytes>>,
}

/// Where the bytes of an archive are.
#[derive(Clone)]
enum Bytes {
    Memory(Rc<Vec<u8>>),
    /// A file of the work tree with the same bytes. It is replaced and not written, so an open one stays as it is.
    File(Rc<File>),
}

impl Bytes {
    fn at(&self, place: &Place) -> std::io::Result<Vec<u8>> {
        let length = place.length as usize;
        match self {
            Bytes::Memory(all) => {
                let begin = usize::try_from(place.at).unwrap_or(usize::MAX);
                Ok(all.get(begin..begin.saturating_add(length)).unwrap_or_default().to_vec())
            }
            Bytes::File(file) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, place.at).map(|()| bytes)
            }
        }
    }

    /// Visits each line, without its newline.
    fn each_line(&self, mut visit: impl FnMut(&[u8])) -> std::io::Result<()> {
        match self {
            Bytes::Memory(all) => all.split(|byte| *byte == b'\n').for_each(visit),
            Bytes::File(file) => {
                let mut reader = BufReader::with_capacity(64 * 1024, &**file);
                reader.rewind()?;
                let mut line = Vec::new();
                // A longer line is no event.
                while read_line(&mut reader, &mut line, MAX_LINE + 2)?.1 || !line.is_empty() {
                    visit(&line);
                }
            }
        }
        Ok(())
    }
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

    /// The same, read from the files of a store where these have the same bytes.
    ///
    /// Errors: `ERR_IO` if the archives of the store cannot be read.
    pub fn with_files_of(self, objects: &Objects, store: &Store) -> Result<Self> {
        if self.is_empty() {
            return Ok(self);
        }
        let here = archived(store)?;
        for (path, blob) in &self.blobs {
            // Those of several trees are named with their objects.
            let path = path.split(' ').next().unwrap_or_default();
            let Some(archive) = here.archives.iter().find(|archive| archive.path == path) else { continue };
            if objects.size(*blob).is_ok_and(|size| size == archive.mark.size)
                && let Ok(file) = store.dir.open_file(path)
                // It may have been replaced since.
                && store.dir.mark(path).is_ok_and(|mark| mark == Some(archive.mark))
            {
                self.files.borrow_mut().insert(*blob, (file, archive.clone()));
            }
        }
        Ok(self)
    }

    /// The events with these ids.
    pub fn find(&self, objects: &Objects, wanted: &BTreeSet<Id>) -> Vec<Entry> {
        let mut found = Vec::new();
        let mut visit = |line: &[u8]| {
            let text = std::str::from_utf8(line).ok();
            let text = text.filter(|line| written_id(line).is_none_or(|id| wanted.contains(&id)));
            let entry = text.and_then(|line| Some(Entry { event: parse_line(line).ok()?, line: line.into() }));
            found.extend(entry.filter(|entry| wanted.contains(&entry.event.id)));
        };
        for blob in self.blobs.values() {
            if let Err(e) = self.bytes(objects, *blob).and_then(|bytes| bytes.each_line(&mut visit).map_err(unread)) {
                tracing::debug!(error = %e, "an archive was not searched");
            }
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

    fn bytes(&self, objects: &Objects, blob: Oid) -> Result<Bytes> {
        if let Some(held) = self.held.borrow().get(&blob) {
            return Ok(held.clone());
        }
        if let Some((file, archive)) = self.files.borrow_mut().remove(&blob)
            && objects.name_of_stream(&file, archive.mark.size).is_ok_and(|name| name == blob)
        {
            self.places.borrow_mut().insert(blob, Arc::clone(&archive.places));
            let bytes = Bytes::File(Rc::new(file));
            self.held.borrow_mut().insert(blob, bytes.clone());
            return Ok(bytes);
        }
        let bytes = Rc::new(objects.blob(blob)?);
        let mut held = self.held.borrow_mut();
        let in_memory = held.values().map(|held| if let Bytes::Memory(held) = held { held.len() } else { 0 });
        if in_memory.sum::<usize>() + bytes.len() > MAX_HELD {
            held.retain(|_, held| matches!(held, Bytes::File(_)));
        }
        held.insert(blob, Bytes::Memory(Rc::clone(&bytes)));
        Ok(Bytes::Memory(bytes))
    }

    fn places(&self, objects: &Objects, blob: Oid) -> Result<Arc<[Place]>> {
        if let Some(known) = self.places.borrow().get(&blob) {
            return Ok(Arc::clone(known));
        }
        let found: Arc<[Place]> = match self.bytes(objects, blob)? {
            Bytes::Memory(bytes) => places(&bytes[..]).map_err(unread)?.into(),
            // They came with the file.
            Bytes::File(_) => return self.places(objects, blob),
        };
        self.places.borrow_mut().insert(blob, Arc::clone(&found));
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
        let mut lines = Vec::new();
        for place in own {
            lines.extend(bytes.at(place).map_err(unread)?);
        }
        Ok(lines)
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
                archives.push((path.clone(), without(&objects.blob(*blob)?, tasks)));
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
            let file = store.dir.open_file(&archive.path);
            let file = file.map_err(|e| Error::io("read", &store.path().join(&archive.path), &e))?;
            match self.blobs.get(&archive.path) {
                Some(blob) if objects.name_of_stream(file, archive.mark.size)? == *blob => {
                    same.insert(&archive.path);
                }
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

fn unread(e: std::io::Error) -> Error {
    Error::new(Code::Git, format!("cannot read an archive: {e}"))
}

/// The log of a task or an agent in one tree of the store's folder, for a caller that asks once.
///
/// Errors: `ERR_GIT` if an object cannot be read.
pub(crate) fn log_in(objects: &Objects, plan: Option<Oid>, entity: &Entity) -> Result<Option<Log>> {
    TreeArchives::at(objects, plan)?.log(objects, plan, entity)
}
