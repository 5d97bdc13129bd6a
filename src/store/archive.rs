//! The archives: the event lines of closed tasks that `compact` moved out of their folders.
//!
//! Guarantees that a task is the union of its log and of its lines in any archive, and that each archive is read again when its file
//! changed. Where the lines of each task stand is kept in a cache, which can be deleted at any moment.
//! Leaves to others: which tasks are moved (`compact`).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};

use crate::env::files::{Dir, Kind, Mark, is_no_regular_file, read_line};
use crate::env::outside;
use crate::env::system_nanos;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Entry, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::store::dropped;
use crate::store::layout::{ARCHIVE, Store, is_archive};

/// The version of the cache's form.
const FORM: u32 = 1;
/// The bytes of one place in the cache: the task, the offset, the length.
const RECORD: usize = 16 + 8 + 4;
/// The largest cache that is read.
const MAX_CACHE: u64 = 512 * 1024 * 1024;
/// The coarsest resolution of a file system's clock that is allowed for, in nanoseconds.
const GRAIN: i64 = 20_000_000;
/// Times that an archive is read again because it was replaced meanwhile.
const LOOKS: usize = 20;

/// Lines of one task that stand one after the other in an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The task.
    pub task: Id,
    /// Where they begin.
    pub at: u64,
    /// Their length in bytes.
    pub length: u32,
}

/// One archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Its path below the store.
    pub path: String,
    /// The mark of its file.
    pub mark: Mark,
    /// Where the lines of each task stand, by task.
    pub places: Arc<[Place]>,
    /// When it was read.
    pub read_at: i64,
}

impl Archive {
    /// Whether the file may have changed since it was read, without a trace in its mark.
    pub fn is_racy(&self) -> bool {
        self.mark.mtime.max(self.mark.ctime).saturating_add(GRAIN) > self.read_at
    }

    /// The tasks of which it holds lines, sorted.
    pub fn tasks(&self) -> impl Iterator<Item = Id> {
        self.places.chunk_by(|a, b| a.task == b.task).map(|places| places[0].task)
    }

    /// Where the lines of a task stand.
    pub fn places_of(&self, task: Id) -> &[Place] {
        places_of(&self.places, task)
    }
}

/// Where the lines of a task stand, among sorted places.
pub fn places_of(places: &[Place], task: Id) -> &[Place] {
    let begin = places.partition_point(|place| place.task < task);
    let end = begin + places[begin..].partition_point(|place| place.task == task);
    &places[begin..end]
}

/// The archives of a store at one moment, by path.
#[derive(Debug, Default)]
pub struct Archived {
    /// The archives, by path.
    pub archives: Vec<Archive>,
    /// The tasks that were dropped from them, and when.
    pub dropped: BTreeMap<Id, Time>,
    folder: Mark,
    read_at: i64,
    /// Whether an archive was read that the cache does not have.
    is_new: bool,
}

impl Archived {
    /// Whether an archive holds lines of a task.
    pub fn holds(&self, task: Id) -> bool {
        self.archives.iter().any(|archive| !archive.places_of(task).is_empty())
    }

    /// All tasks of which an archive holds lines.
    pub fn tasks(&self) -> BTreeSet<Id> {
        self.archives.iter().flat_map(Archive::tasks).collect()
    }
}

/// What is known of the archives of a store, and where it is cached.
#[derive(Debug, Default)]
pub struct Archives {
    known: Mutex<Option<Arc<Archived>>>,
    writing: Mutex<()>,
    cache: OnceLock<Cache>,
}

/// The file of the cache, and the boot of the machine in which it is valid: it is never flushed.
#[derive(Debug)]
struct Cache {
    path: PathBuf,
    boot: String,
}

impl Archives {
    /// Caches what is known in a file of this clone. Without it, each process reads the archives.
    pub fn cache_in(&self, path: PathBuf, boot: &str) {
        // A second call names the same file.
        let _ = self.cache.set(Cache { path, boot: boot.to_owned() });
    }

    /// Held while an archive is written by one of several threads.
    pub(super) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Archived>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The archives as they are. Within one process a file that is written in place is noticed by [`archived_now`] only.
///
/// Errors: `ERR_IO` if an archive cannot be read.
pub fn archived(store: &Store) -> Result<Arc<Archived>> {
    look(store, false)
}

/// As [`archived`], after looking at the mark of each file.
///
/// Errors: as [`archived`].
pub fn archived_now(store: &Store) -> Result<Arc<Archived>> {
    look(store, true)
}

fn look(store: &Store, at_files: bool) -> Result<Arc<Archived>> {
    let failed = |e: std::io::Error| Error::io("inspect", &store.path().join(ARCHIVE), &e);
    let Some(folder) = store.dir.mark(ARCHIVE).map_err(failed)? else { return Ok(Arc::default()) };
    let mut known = store.archives.lock();
    if let Some(known) = known.as_ref().filter(|known| known.folder == folder) {
        let is_racy = folder.mtime.max(folder.ctime).saturating_add(GRAIN) > known.read_at;
        if !at_files && !is_racy {
            return Ok(Arc::clone(known));
        }
    }
    let read_at = system_nanos();
    let (before, was_new) = match known.take() {
        Some(known) => (known.archives.clone(), known.is_new),
        None => (store.archives.cache.get().and_then(read_cache).unwrap_or_default(), false),
    };
    let mut archives = Vec::new();
    let mut is_new = was_new;
    for path in list(store)? {
        let Some(mark) = store.dir.mark(&path).map_err(failed)? else { continue };
        let same = before.iter().find(|one| one.path == path && one.mark == mark && !one.is_racy());
        match same {
            Some(same) => archives.push(same.clone()),
            None => {
                is_new = true;
                archives.extend(scan(store, path, mark, read_at)?);
            }
        }
    }
    let dropped = dropped::tasks(store)?;
    let archived = Arc::new(Archived { archives, dropped, folder, read_at, is_new });
    *known = Some(Arc::clone(&archived));
    Ok(archived)
}

/// Caches what was read of the archives for later commands.
pub fn save(store: &Store, archived: &Archived) {
    if let Some(cache) = store.archives.cache.get().filter(|_| archived.is_new) {
        write_cache(cache, &archived.archives);
    }
}

/// The paths of the archives below the store, sorted.
///
/// Errors: `ERR_IO` if the folder cannot be read.
pub fn list(store: &Store) -> Result<Vec<String>> {
    let names = match store.dir.dir(ARCHIVE).and_then(|dir| dir.list()) {
        Ok(names) => names,
        // What is in the place of the folder is reported by lint.
        Err(e) if e.kind() == ErrorKind::NotFound || is_no_regular_file(&e) => Vec::new(),
        Err(e) => return Err(Error::io("list", &store.path().join(ARCHIVE), &e)),
    };
    let paths = names.into_iter().filter(|(_, kind)| *kind == Kind::File).map(|(name, _)| format!("{ARCHIVE}/{name}"));
    Ok(paths.filter(|path| is_archive(path)).collect())
}

fn scan(store: &Store, path: String, mark: Mark, read_at: i64) -> Result<Option<Archive>> {
    let read = |e: std::io::Error| Error::io("read", &store.path().join(&path), &e);
    let file = match store.dir.open_file(&path) {
        Ok(file) => file,
        // Lint reports a file that this user may not read.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(None),
        Err(e) if is_no_regular_file(&e) => return Ok(None),
        Err(e) => return Err(read(e)),
    };
    let places = places(file).map_err(read)?.into();
    Ok(Some(Archive { path, mark, places, read_at }))
}

/// Where the lines of each task stand in an archive, sorted. Lines that are no events of a task are left out.
///
/// Errors: only those of the reader.
pub fn places(reader: impl Read) -> std::io::Result<Vec<Place>> {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let (mut places, mut line, mut at): (Vec<Place>, _, u64) = (Vec::new(), Vec::new(), 0);
    loop {
        let (length, is_ended) = read_line(&mut reader, &mut line, MAX_LINE + 2)?;
        if length == 0 && !is_ended {
            break;
        }
        if let Some(task) = task_of(&line) {
            let whole = length + u64::from(is_ended);
            let last = places.last_mut().filter(|last| last.task == task && last.at + u64::from(last.length) == at);
            match (last, u32::try_from(whole)) {
                (Some(last), Ok(more)) if let Some(sum) = last.length.checked_add(more) => last.length = sum,
                (_, Ok(length)) => places.push(Place { task, at, length }),
                // A line of this length is no event.
                (_, Err(_)) => {}
            }
        }
        at += length + u64::from(is_ended);
        if !is_ended {
            break;
        }
    }
    places.sort();
    Ok(places)
}

/// The task of an event line. The form that agentpm writes is not parsed as a whole.
fn task_of(line: &[u8]) -> Option<Id> {
    const KEY: &str = "\",\"entity\":\"task/";
    let text = std::str::from_utf8(line).ok()?;
    // Up to the entity no value of the canonical form can contain a quotation mark.
    if text.starts_with("{\"v\":1,\"id\":\"")
        && let Some((before, after)) = text.split_once(KEY)
        && before.matches('"').count() == 11
        && let Some(id) = after.get(..26).and_then(|id| id.parse().ok())
    {
        return Some(id);
    }
    parse_line(text).ok()?.entity.task()
}

/// The events of a task among bytes of an archive.
pub fn entries_in(task: Id, bytes: &[u8]) -> Vec<Entry> {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
    let lines = lines.map(|line| line.strip_suffix('\r').unwrap_or(line));
    let parsed = lines.filter_map(|line| Some(Entry { event: parse_line(line).ok()?, line: line.into() }));
    parsed.filter(|entry| entry.event.entity == Entity::Task(task)).collect()
}

/// The events that the archives hold of a task; each distinct line once.
///
/// Errors: `ERR_IO` if an archive cannot be read.
pub fn entries(store: &Store, task: Id) -> Result<Vec<Entry>> {
    for look in 0..LOOKS {
        let archived = if look == 0 { archived(store)? } else { archived_now(store)? };
        if let Some(entries) = entries_at(store, task, &archived)? {
            return Ok(entries);
        }
    }
    Err(Error::io("read", &store.path().join(ARCHIVE), &std::io::Error::other("it changes all the time")))
}

/// As [`entries`]; `None` if an archive changed since.
fn entries_at(store: &Store, task: Id, archived: &Archived) -> Result<Option<Vec<Entry>>> {
    let mut entries: Vec<Entry> = Vec::new();
    for archive in &archived.archives {
        let places = archive.places_of(task);
        if places.is_empty() {
            continue;
        }
        let failed = |e: std::io::Error| Error::io("read", &store.path().join(&archive.path), &e);
        let file = match store.dir.open_file(&archive.path) {
            Ok(file) => file,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let mut read = Vec::new();
        for place in places {
            let mut bytes = vec![0; place.length as usize];
            match file.read_exact_at(&mut bytes, place.at) {
                Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                other => other.map_err(failed)?,
            }
            read.extend(entries_in(task, &bytes));
        }
        if store.dir.mark(&archive.path).map_err(failed)? != Some(archive.mark) {
            return Ok(None);
        }
        entries.extend(read);
    }
    entries.sort_by(|a, b| (a.event.stamp(), &a.line).cmp(&(b.event.stamp(), &b.line)));
    entries.dedup_by(|a, b| a.line == b.line);
    Ok(Some(entries))
}

/// The tasks of which a line in an archive contains a text.
///
/// Errors: `ERR_IO` if an archive cannot be read.
pub fn mentioning(store: &Store, text: &str) -> Result<BTreeSet<Id>> {
    let mut tasks = BTreeSet::new();
    for archive in &archived(store)?.archives {
        let failed = |e: std::io::Error| Error::io("read", &store.path().join(&archive.path), &e);
        let mut reader = BufReader::with_capacity(64 * 1024, store.dir.open_file(&archive.path).map_err(failed)?);
        let mut line = Vec::new();
        loop {
            let (_, is_ended) = read_line(&mut reader, &mut line, MAX_LINE + 2).map_err(failed)?;
            if std::str::from_utf8(&line).is_ok_and(|line| line.contains(text)) {
                tasks.extend(task_of(&line));
            }
            if !is_ended {
                break;
            }
        }
    }
    Ok(tasks)
}

/// All tasks of a store, sorted: those that have a folder, and those of which an archive holds lines.
///
/// Errors: `ERR_IO` if a folder or an archive cannot be read.
pub fn all_tasks(store: &Store) -> Result<Vec<Id>> {
    let (folders, _) = store.task_folders()?;
    let archived = archived(store)?;
    if archived.archives.is_empty() {
        return Ok(folders);
    }
    let mut all = archived.tasks();
    all.extend(folders);
    Ok(all.into_iter().collect())
}

/// The first line of the cache; after it the places of each archive follow.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    form: u32,
    boot: String,
    archives: Vec<Known>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Known {
    path: String,
    size: u64,
    mtime: i64,
    ctime: i64,
    inode: u64,
    read_at: i64,
    places: usize,
}

/// What the cache holds; `None` if it is of another form or boot, or damaged.
fn read_cache(cache: &Cache) -> Option<Vec<Archive>> {
    let bytes = outside::read(&cache.path, MAX_CACHE).ok()?;
    let end = memchr::memchr(b'\n', &bytes)?;
    let header: Header = serde_json::from_slice(&bytes[..end]).ok()?;
    if header.form != FORM || header.boot != cache.boot || cache.boot.is_empty() {
        return None;
    }
    let mut rest = &bytes[end + 1..];
    let mut archives = Vec::new();
    for known in header.archives {
        let (own, after) = rest.split_at_checked(known.places.checked_mul(RECORD)?)?;
        rest = after;
        let places = places_from(own)?;
        let Known { path, size, mtime, ctime, inode, read_at, .. } = known;
        let mark = Mark { size, mtime, ctime, inode };
        archives.push(Archive { path, mark, places: places.into(), read_at });
    }
    rest.is_empty().then_some(archives)
}

/// Sorted places as bytes.
pub(super) fn bytes_of_places(places: &[Place]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(places.len() * RECORD);
    for place in places {
        bytes.extend_from_slice(&place.task.to_bytes());
        bytes.extend_from_slice(&place.at.to_le_bytes());
        bytes.extend_from_slice(&place.length.to_le_bytes());
    }
    bytes
}

/// The places that bytes hold; `None` if they are not sorted.
pub(super) fn places_from(bytes: &[u8]) -> Option<Vec<Place>> {
    let places: Option<Vec<Place>> = bytes.chunks_exact(RECORD).map(place_from).collect();
    places.filter(|places| places.is_sorted())
}

fn place_from(record: &[u8]) -> Option<Place> {
    Some(Place {
        task: Id::from_bytes(record.get(..16)?.try_into().ok()?),
        at: u64::from_le_bytes(record.get(16..24)?.try_into().ok()?),
        length: u32::from_le_bytes(record.get(24..28)?.try_into().ok()?),
    })
}

/// Writes the cache. A failure only costs the next process the reading.
fn write_cache(cache: &Cache, archives: &[Archive]) {
    let known = |archive: &Archive| {
        let Mark { size, mtime, ctime, inode } = archive.mark;
        let (path, read_at, places) = (archive.path.clone(), archive.read_at, archive.places.len());
        Known { path, size, mtime, ctime, inode, read_at, places }
    };
    let header = Header { form: FORM, boot: cache.boot.clone(), archives: archives.iter().map(known).collect() };
    let Ok(mut bytes) = serde_json::to_vec(&header) else { return };
    bytes.push(b'\n');
    archives.iter().for_each(|archive| bytes.extend(bytes_of_places(&archive.places)));
    let (Some(folder), Some(name)) = (cache.path.parent(), cache.path.file_name()) else { return };
    let written = Dir::open(folder).and_then(|dir| dir.replace(Path::new(name), &bytes, 0o666));
    if let Err(e) = written {
        tracing::debug!(path = %cache.path.display(), error = %e, "what is known of the archives was not cached");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, task: &str, lamport: u64) -> String {
        format!(
            r#"{{"v":1,"id":"{id}","lamport":{lamport},"type":"TaskCreated","entity":"task/{task}","agent":"a","at":"2026-11-20T10:00:00Z","payload":{{"title":"a \"quoted\",\"entity\":\"task/01K5R4XJ7Z0000000000000009\""}}}}"#
        )
    }

    #[test]
    fn lines_are_found_in_any_order_and_between_other_lines() {
        let (one, two) = ("01K5R4XJ7Z0000000000000001", "01K5R4XJ7Z0000000000000002");
        let lines = [
            event("01K5R4XJ7Z0000000000000011", two, 1),
            event("01K5R4XJ7Z0000000000000012", two, 2),
            "<<<<<<< ours".to_owned(),
            event("01K5R4XJ7Z0000000000000013", one, 1),
            event("01K5R4XJ7Z0000000000000014", two, 3).replace("\"v\":1,", " \"v\": 1, "),
        ];
        let bytes = lines.join("\n");
        let places = places(bytes.as_bytes()).unwrap();
        assert_eq!(places.len(), 3);
        let of = |task: &str| -> Vec<u64> {
            let task: Id = task.parse().unwrap();
            let entries = places_of(&places, task)
                .iter()
                .flat_map(|place| entries_in(task, &bytes.as_bytes()[place.at as usize..][..place.length as usize]));
            entries.map(|entry| entry.event.lamport).collect()
        };
        assert_eq!((of(one), of(two)), (vec![1], vec![1, 2, 3]));
        assert!(of("01K5R4XJ7Z0000000000000009").is_empty());
    }
}
