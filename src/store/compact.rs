//! Moves closed tasks from their folders into archives.
//!
//! Guarantees that an archive is on disk before the folder that it replaces is removed, and that at every moment the union of archives
//! and folders holds every event. So it can be interrupted anywhere, and repeated.
//! Leaves to others: when it is done, and the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::env::files::{Kind, Mark};
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Code, Error, Result};
use crate::model::compaction::DropOrder;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::fold::fold;
use crate::store::archive::{self, Archived};
use crate::store::archive_form::{Line, OpenArchive, bytes_of, canonical};
use crate::store::dropped::{self, DroppedTasks};
use crate::store::entity::{read_log, read_own_log, read_yaml};
use crate::store::layout::{ARCHIVE, DROPPED, LOG, Store, is_archive, task_dir};
use crate::store::project::{is_temporary, render};

/// The readable file of a task.
const YAML: &str = "task.yaml";
/// The size in which disks hand out room, in bytes.
const BLOCK: u64 = 4096;

/// What a compaction moves.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    /// The tasks, by id.
    pub tasks: Vec<Move>,
    /// Tasks that are old enough and stay, with the reason.
    pub left: Vec<(Id, &'static str)>,
}

/// A task that moves into an archive.
#[derive(Clone, Debug)]
pub struct Move {
    /// The task.
    pub id: Id,
    /// The path of the archive, below the store.
    pub archive: String,
    /// When it was archived.
    pub archived_at: Time,
    /// The number of its events.
    pub events: usize,
    /// The room that its folder takes on the disk, in bytes.
    pub room: u64,
    /// The size of its events in the archive, in bytes.
    pub log_bytes: u64,
    /// The number of its files.
    pub files: usize,
}

/// The tasks with a folder that were archived until a time.
///
/// Errors: `ERR_IO` if the store cannot be read.
pub fn moves_until(store: &Store, before: Time) -> Result<Moves> {
    let folders = store.task_folders()?.0;
    let progress = Progress::of("reading the plan", folders.len());
    let judged = parallel::map(&folders, |id| {
        progress.step();
        judge(store, *id, before)
    })?;
    let mut moves = Moves::default();
    let mut usable: BTreeMap<String, bool> = BTreeMap::new();
    for (id, judged) in folders.into_iter().zip(judged) {
        match judged {
            Some(Ok(one)) => match usable.entry(one.archive.clone()).or_insert_with(|| can_take(store, &one.archive)) {
                true => moves.tasks.push(one),
                false => moves.left.push((id, "its archive cannot be read and replaced")),
            },
            Some(Err(why)) => moves.left.push((id, why)),
            None => {}
        }
    }
    Ok(moves)
}

/// Whether an archive can take tasks: a compaction that has begun must come to its end.
fn can_take(store: &Store, archive: &str) -> bool {
    let can_replace = match store.dir.dir(ARCHIVE) {
        Ok(dir) => dir.is_writable(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    };
    can_replace
        && match store.dir.kind(archive) {
            Ok(None) => true,
            Ok(Some(Kind::File)) => OpenArchive::open(store, archive).is_ok(),
            Ok(Some(_)) | Err(_) => false,
        }
}

/// Whether a task moves, or why it stays; `None` if it is not old enough.
fn judge(store: &Store, id: Id, before: Time) -> Result<Option<Result<Move, &'static str>>> {
    let entity = Entity::Task(id);
    let log = read_log(store, &entity)?;
    let task = fold(id, &log.entries).0;
    let Some(at) = task.archived_at.filter(|at| task.status == Status::Archived && *at <= before) else {
        return Ok(None);
    };
    let archive = archive_of(at);
    if !is_archive(&archive) {
        return Ok(Some(Err("the year in which it was archived has more than four digits")));
    }
    let is_strange = log.entries.iter().any(|entry| entry.event.entity != entity);
    if log.fixed || log.torn.is_some() || !log.foreign.is_empty() || is_strange {
        return Ok(Some(Err("its log holds lines that are not its events")));
    }
    let yaml = match read_yaml(store, &entity) {
        Ok(yaml) => yaml,
        Err(_) => return Ok(Some(Err("its task.yaml cannot be read"))),
    };
    if yaml.as_ref().is_some_and(|bytes| bytes != render(&entity, &log.entries).as_bytes()) {
        return Ok(Some(Err("its task.yaml differs from its log")));
    }
    let dir = task_dir(id);
    let failed = |e: std::io::Error| Error::io("list", &store.path().join(&dir), &e);
    let files = store.dir.dir(&dir).and_then(|dir| dir.list()).map_err(failed)?;
    let belongs =
        |(name, kind): &(String, Kind)| *kind == Kind::File && (matches!(&**name, LOG | YAML) || is_temporary(name));
    if !files.iter().all(belongs) {
        return Ok(Some(Err("its folder holds other files")));
    }
    let mut room = BLOCK;
    for (name, _) in &files {
        let mark = store.dir.mark(dir.join(name)).map_err(failed)?.unwrap_or_default();
        room += mark.size.next_multiple_of(BLOCK);
    }
    let log_bytes = log.entries.iter().map(|entry| entry.line.len() as u64 + 1).sum();
    Ok(Some(Ok(Move { id, archive, archived_at: at, events: log.entries.len(), room, log_bytes, files: files.len() })))
}

/// The path of the archive of the tasks that were archived at a time, below the store.
pub fn archive_of(archived_at: Time) -> String {
    format!("{ARCHIVE}/{}.jsonl", archived_at.to_string().chars().take(7).collect::<String>())
}

/// Moves tasks into their archives.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then a repetition completes what was begun.
pub fn apply(store: &Store, moves: &[Move]) -> Result<()> {
    let to: BTreeMap<Id, &str> = moves.iter().map(|one| (one.id, one.archive.as_str())).collect();
    file(store, &to)?;
    let progress = Progress::of("removing folders", moves.len());
    parallel::for_each(moves.iter().map(|one| one.id).collect(), |id| {
        progress.step();
        remove_folder(store, id)
    })
}

/// Writes all events of these tasks into the archives named, and takes them out of any other.
fn file(store: &Store, to: &BTreeMap<Id, &str>) -> Result<()> {
    let archived = archive::archived_now(store)?;
    let mut targets: BTreeMap<&str, BTreeSet<Id>> = BTreeMap::new();
    for (id, path) in to {
        targets.entry(path).or_default().insert(*id);
    }
    let progress = Progress::of("writing archives", to.len());
    for (path, tasks) in &targets {
        write(store, &archived, path, tasks, &BTreeSet::new(), &progress)?;
    }
    // Only now are all of their events in the archives named.
    for archive in &archived.archives {
        let moved: BTreeSet<Id> =
            archive.tasks().filter(|id| to.get(id).is_some_and(|path| *path != archive.path)).collect();
        if !moved.is_empty() {
            let archived = archive::archived_now(store)?;
            write(store, &archived, &archive.path, &BTreeSet::new(), &moved, &progress)?;
        }
    }
    Ok(())
}

/// What would be dropped of the archives: the tasks without a folder that were archived until a time, by archive.
///
/// Errors: `ERR_IO` if an archive cannot be read.
pub fn drops_until(store: &Store, order: &DropOrder) -> Result<Vec<DroppedTasks>> {
    let archived = archive::archived_now(store)?;
    let newest = archive_of(order.until);
    let mut drops = Vec::new();
    for archive in archived.archives.iter().filter(|archive| archive.path <= newest) {
        let tasks: Vec<Id> = archive.tasks().collect();
        // Of a task that is old enough, its origin, if it has one.
        let judged = parallel::map(&tasks, |id| {
            if store.dir.kind(task_dir(*id)).is_ok_and(|kind| kind.is_some()) {
                return Ok(None);
            }
            let task = fold(*id, &archive::entries(store, *id)?).0;
            let is_old = task.status == Status::Archived && task.archived_at.is_some_and(|at| at <= order.until);
            Ok(is_old.then(|| task.origin()))
        })?;
        let old: Vec<(Id, Option<String>)> =
            tasks.into_iter().zip(judged).filter_map(|(id, origin)| Some((id, origin?))).collect();
        let tasks: Vec<Id> = old.iter().map(|(id, _)| *id).collect();
        if tasks.is_empty() {
            continue;
        }
        let open = OpenArchive::open(store, &archive.path)?;
        let (mut digest, mut events, mut bytes) = (Sha256::new(), 0, 0);
        for task in &tasks {
            for (_, _, line) in open.lines(*task)? {
                digest.update(&line);
                digest.update(b"\n");
                events += 1;
                bytes += line.len() as u64 + 1;
            }
        }
        drops.push(DroppedTasks {
            archive: archive.path.clone(),
            at: order.at,
            by: order.by.clone(),
            events,
            bytes,
            sha256: digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            tasks,
            origins: old.into_iter().filter_map(|(id, origin)| Some((origin?, id))).collect(),
        });
    }
    Ok(drops)
}

/// Drops tasks from the archives. The record is on disk before the first line is gone.
///
/// Errors: as [`apply`].
pub fn drop_tasks(store: &Store, drops: &[DroppedTasks]) -> Result<()> {
    if drops.is_empty() {
        return Ok(());
    }
    let mut lines = dropped::lines(store)?;
    for drop in drops {
        let line = serde_json::to_string(drop)
            .map_err(|e| Error::new(Code::Io, format!("cannot write the record of dropped tasks: {e}")))?;
        // A drop that was interrupted is in the record already.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    let lines = lines.into_iter().map(|line| (true, None, line.into_bytes().into())).collect();
    replace(store, DROPPED, &BTreeSet::new(), |_| Ok(Vec::new()), lines)?;
    for drop in drops {
        let archived = archive::archived_now(store)?;
        let tasks = drop.tasks.iter().copied().collect();
        write(store, &archived, &drop.archive, &BTreeSet::new(), &tasks, &Progress::of("", 0))?;
    }
    Ok(())
}

/// Takes the lines of a task out of the archives: its log holds them, one of them without the text that was redacted.
///
/// Errors: as [`apply`].
pub fn take_out(store: &Store, task: Id) -> Result<()> {
    // The tasks of a batch are projected at the same time.
    let _one_at_a_time = store.archives.writing();
    let archived = archive::archived_now(store)?;
    for archive in archived.archives.iter().filter(|archive| !archive.places_of(task).is_empty()) {
        write(store, &archived, &archive.path, &BTreeSet::new(), &BTreeSet::from([task]), &Progress::of("", 0))?;
    }
    Ok(())
}

/// Writes an archive in its canonical form: with all events of the tasks `add`, without those of the tasks `drop`.
fn write(
    store: &Store,
    archived: &Archived,
    path: &str,
    add: &BTreeSet<Id>,
    drop: &BTreeSet<Id>,
    progress: &Progress,
) -> Result<()> {
    let is_there = archived.archives.iter().any(|one| one.path == path);
    let kind = store.dir.kind(path).map_err(|e| Error::io("inspect", &store.path().join(path), &e))?;
    if !is_there && kind.is_some() {
        let what = format!("{} cannot be read, so nothing takes its place", store.shown(path));
        return Err(Error::new(Code::Corrupt, what).hint("agentpm lint names what is wrong with it"));
    }
    let mut old = if is_there { Some(OpenArchive::open(store, path)?) } else { None };
    let rest = old.as_mut().map(|old| std::mem::take(&mut old.rest)).unwrap_or_default();
    let mut tasks: BTreeSet<Id> = old.iter().flat_map(OpenArchive::tasks).filter(|task| !drop.contains(task)).collect();
    tasks.extend(add);
    let lines = |task: Id| match old.as_ref().filter(|_| !add.contains(&task)) {
        Some(old) => old.canonical(task),
        // The log of an added task has all of its lines, without a text that was redacted.
        None => {
            progress.step();
            let entries = read_log(store, &Entity::Task(task))?.entries.into_iter();
            let lines = entries.map(|e| (false, Some((task, e.event.stamp())), e.line.into_boxed_bytes()));
            Ok(bytes_of(canonical(lines.collect())))
        }
    };
    replace(store, path, &tasks, lines, rest)
}

/// Replaces an archive by the lines of these tasks, one task in memory at a time, and the lines that are no events of a task.
fn replace(
    store: &Store,
    path: &str,
    tasks: &BTreeSet<Id>,
    lines: impl Fn(Id) -> Result<Vec<u8>>,
    rest: Vec<Line>,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("write", &store.path().join(path), &e);
    if tasks.is_empty() && rest.is_empty() {
        return store.dir.remove(path).map_err(failed);
    }
    store.dir.make_dir(ARCHIVE).map_err(failed)?;
    let mut unread = None;
    let fill = |out: &mut dyn std::io::Write| {
        for task in tasks {
            let lines = lines(*task).map_err(|e| {
                let error = std::io::Error::other(e.message.clone());
                unread = Some(e);
                error
            })?;
            out.write_all(&lines)?;
        }
        out.write_all(&bytes_of(canonical(rest)))
    };
    let replaced = store.dir.replace_filled(path, 0o666, fill);
    replaced.map_err(|e| unread.unwrap_or_else(|| failed(e)))
}

/// Brings archives into their canonical form: sorted, each line once, each task that has no folder in the archive of its month,
/// nothing of a task whose log redacted a text. Returns the paths of those that were written.
///
/// Errors: as [`apply`].
pub fn sort(store: &Store) -> Result<Vec<String>> {
    let marks = |archived: &Archived| -> BTreeMap<String, Mark> {
        archived.archives.iter().map(|archive| (archive.path.clone(), archive.mark)).collect()
    };
    let archived = archive::archived_now(store)?;
    let before = marks(&archived);
    for archive in &archived.archives {
        let mut open = OpenArchive::open(store, &archive.path)?;
        if !open.is_sorted || open.bytes != archive.mark.size || open.holds_redacted()? {
            let (tasks, rest) = (open.tasks().collect(), std::mem::take(&mut open.rest));
            replace(store, &archive.path, &tasks, |task| open.canonical(task), rest)?;
        }
    }
    let mut written = Vec::new();
    if store.dir.kind(DROPPED).is_ok_and(|kind| kind == Some(Kind::File)) {
        let record = OpenArchive::open(store, DROPPED)?;
        if !record.is_sorted {
            replace(store, DROPPED, &BTreeSet::new(), |_| Ok(Vec::new()), record.rest)?;
            written.push(DROPPED.to_owned());
        }
    }
    put_in_place(store)?;
    let archived = archive::archived_now(store)?;
    let now = marks(&archived);
    let paths: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    written.extend(paths.into_iter().filter(|path| before.get(*path) != now.get(*path)).cloned());
    Ok(written)
}

/// Moves the tasks that are in several archives into that of their month, and takes out those whose log redacted a text, which a merge
/// may have left in an archive.
fn put_in_place(store: &Store) -> Result<()> {
    let archived = archive::archived_now(store)?;
    let mut homes: BTreeMap<Id, usize> = BTreeMap::new();
    for task in archived.archives.iter().flat_map(|archive| archive.tasks()) {
        *homes.entry(task).or_default() += 1;
    }
    let mut to: BTreeMap<Id, String> = BTreeMap::new();
    for (id, homes) in homes {
        if store.dir.kind(task_dir(id).join(LOG)).is_ok_and(|kind| kind.is_some()) {
            let log = read_log(store, &Entity::Task(id))?;
            if !log.partial && redacts(&log.entries) {
                take_out(store, id)?;
            }
        } else if homes > 1 {
            let task = fold(id, &archive::entries(store, id)?).0;
            to.extend(task.archived_at.map(|at| (id, archive_of(at))).filter(|(_, path)| is_archive(path)));
        }
    }
    if to.is_empty() { Ok(()) } else { file(store, &to.iter().map(|(id, path)| (*id, path.as_str())).collect()) }
}

/// Whether one of these events redacts a text.
pub fn redacts(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.event.payload.redacts().is_some())
}

/// Removes the folder of a task whose events are all in an archive. Any other folder stays.
///
/// Errors: as [`apply`].
pub fn remove_folder(store: &Store, id: Id) -> Result<()> {
    remove_folder_of(store, id, &archive::entries(store, id)?)
}

/// Removes the folder of a task with no other events than these, unless its readable file was edited.
///
/// Errors: as [`apply`].
pub fn remove_folder_of(store: &Store, id: Id, known: &[Entry]) -> Result<()> {
    let folder = task_dir(id);
    let failed = |e: std::io::Error| Error::io("remove", &store.path().join(&folder), &e);
    let dir = match store.dir.dir(&folder) {
        Ok(dir) => dir,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let entity = Entity::Task(id);
    let mut log = read_own_log(store, &entity)?;
    let held: BTreeSet<&str> = known.iter().map(|entry| &*entry.line).collect();
    // A redaction among the known events removed the text of an earlier one.
    let redacted: BTreeSet<Id> = known.iter().filter(|e| e.event.is_redacted()).map(|e| e.event.id).collect();
    let is_known = |entry: &Entry| held.contains(&*entry.line) || redacted.contains(&entry.event.id);
    let is_held = log.entries.iter().all(is_known) && log.foreign.is_empty() && !log.fixed;
    let yaml = read_yaml(store, &entity).map_err(failed)?;
    // It was rendered from the log, or from later events that arrived with the archive.
    let is_edited = yaml.is_some_and(|bytes| {
        bytes != render(&entity, &log.entries).as_bytes() && {
            log.add_archived(known.to_vec());
            bytes != render(&entity, &log.entries).as_bytes()
        }
    });
    if !is_held || is_edited {
        return Ok(());
    }
    // A folder that is left with its log alone is removed by the next compaction.
    for (name, _) in dir.list().map_err(failed)?.into_iter().filter(|(name, _)| name == YAML || is_temporary(name)) {
        dir.remove(name).map_err(failed)?;
    }
    dir.remove(LOG).map_err(failed)?;
    for folder in folder.ancestors().take(3) {
        match store.dir.remove_empty(folder) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => break,
            Err(e) => return Err(Error::io("remove", &store.path().join(folder), &e)),
        }
    }
    Ok(())
}

/// Removes the temporary files that a dead writer left next to the archives. The caller holds the lock.
pub fn sweep(store: &Store) {
    crate::store::project::sweep_folder(store, Path::new(ARCHIVE));
}
