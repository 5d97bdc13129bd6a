//! The small records of the runtime folder: leases, sessions, idempotency keys.
//!
//! Guarantees that each is one JSON file, which the holder of the lock replaces as a whole. A stale or damaged file is
//! rebuilt from the journals, so that one broken file stops nothing. A lease file keeps the last fence of its task for ever.
//! Leaves to others: who may hold a lease (`rules`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::env::files::{Dir, is_no_regular_file};
use crate::error::{Code, Error, Result};
use crate::model::agent::{LeaseRecord, Session, SessionStatus};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::runtime::journal::KeyRecord;
use crate::runtime::rebuild;

/// The largest record that is read, in bytes.
const MAX_RECORD: u64 = 1024 * 1024;

/// The result of reading a record.
#[derive(Debug)]
pub enum Found<T> {
    /// There is none.
    Missing,
    /// The record.
    Whole(T),
    /// Why it cannot be read.
    Damaged(String),
}

/// Reads a record of at most so many bytes.
pub(super) fn read_within<T: DeserializeOwned>(runtime: &Dir, path: impl AsRef<Path>, most: u64) -> Found<T> {
    match runtime.read(path, most) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_or_else(|e| Found::Damaged(e.to_string()), Found::Whole),
        Err(e) if e.kind() == ErrorKind::NotFound => Found::Missing,
        // Whatever prevents reading it, the journal has its contents.
        Err(e) => Found::Damaged(e.to_string()),
    }
}

fn read<T: DeserializeOwned>(runtime: &Dir, path: &PathBuf) -> Found<T> {
    read_within(runtime, path, MAX_RECORD)
}

/// As [`read`], rebuilt from the journals if it is damaged.
fn read_or_rebuild<T: DeserializeOwned>(
    runtime: &Dir,
    path: &PathBuf,
    rebuild: impl FnOnce() -> Result<Option<T>>,
) -> Result<Option<T>> {
    match read(runtime, path) {
        Found::Whole(record) => Ok(Some(record)),
        Found::Missing => Ok(None),
        Found::Damaged(why) => {
            tracing::warn!(path = %runtime.path().join(path).display(), why, "a damaged record is rebuilt from the journal");
            rebuild()
        }
    }
}

fn write<T: Serialize>(runtime: &Dir, folder: &str, path: &PathBuf, record: &T) -> Result<()> {
    let shown = runtime.path().join(path);
    let bytes = serde_json::to_vec(record).map_err(|e| Error::new(Code::Io, format!("{}: {e}", shown.display())))?;
    // Not flushed: a power loss may leave an empty file, which is rebuilt like any damaged one.
    match runtime.replace(path, &bytes, 0o666) {
        Err(e) if e.kind() == ErrorKind::NotFound => runtime
            .make_dir(folder)
            .and_then(|_| runtime.replace(path, &bytes, 0o666))
            .map_err(|e| Error::io("write", &shown, &e)),
        other => other.map_err(|e| Error::io("write", &shown, &e)),
    }
}

/// Checks that records of these kinds can be written.
///
/// Errors: `ERR_IO` naming the folder that this process cannot write.
pub fn check_writable(runtime: &Dir, leases: bool, sessions: bool, keys: bool) -> Result<()> {
    let folders = [(leases, LEASES), (sessions, SESSIONS), (sessions, CLOSED), (keys, KEYS)];
    for (_, folder) in folders.into_iter().filter(|(is_written, _)| *is_written) {
        match runtime.check_writable(folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Error::io("write", &runtime.path().join(folder), &e)
                    .hint("nothing was written; make it writable for this user, then run the same command again"));
            }
            _ => {}
        }
    }
    Ok(())
}

fn names(runtime: &Dir, folder: &str) -> Result<Vec<String>> {
    let dir = match runtime.dir(folder) {
        Ok(dir) => dir,
        Err(e) if e.kind() == ErrorKind::NotFound || is_no_regular_file(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", &runtime.path().join(folder), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    Ok(names.into_iter().map(|(name, _)| name).filter(|name| name.ends_with(".json")).collect())
}

fn ids(runtime: &Dir, folder: &str) -> Result<Vec<Id>> {
    Ok(names(runtime, folder)?.iter().filter_map(|name| name.strip_suffix(".json")?.parse().ok()).collect())
}

const LEASES: &str = "leases";
const KEYS: &str = "idempotency";

fn lease_path(task: Id) -> PathBuf {
    PathBuf::from(format!("{LEASES}/{task}.json"))
}

/// The lease record of a task.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn lease(runtime: &Dir, task: Id) -> Result<LeaseRecord> {
    let rebuild = || rebuild::lease(runtime, task).map(Some);
    Ok(read_or_rebuild(runtime, &lease_path(task), rebuild)?.unwrap_or_default())
}

/// Replaces the lease record of a task.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_lease(runtime: &Dir, task: Id, record: &LeaseRecord) -> Result<()> {
    write(runtime, LEASES, &lease_path(task), record)
}

/// All tasks that ever had a lease.
///
/// Errors: `ERR_IO`.
pub fn leased_tasks(runtime: &Dir) -> Result<Vec<Id>> {
    ids(runtime, LEASES)
}

/// The folder of active sessions. Ended sessions are in [`CLOSED`], so that no command searches them in vain.
const SESSIONS: &str = "sessions";
const CLOSED: &str = "sessions/closed";

fn session_path(folder: &str, session: Id) -> PathBuf {
    PathBuf::from(format!("{folder}/{session}.json"))
}

/// A session by its id. Its last sign of life is the later of its record and the time of its file, which readers update
/// ([`note_sign`]).
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn session(runtime: &Dir, session: Id) -> Result<Option<Session>> {
    let rebuild = || rebuild::session(runtime, session);
    if let Some(closed) = read_or_rebuild(runtime, &session_path(CLOSED, session), rebuild)? {
        return Ok(Some(closed));
    }
    let path = session_path(SESSIONS, session);
    let Some(mut known) = read_or_rebuild::<Session>(runtime, &path, rebuild)? else { return Ok(None) };
    if let Ok(Some(mark)) = runtime.mark(&path) {
        let sign = Time::from_millis(mark.mtime.div_euclid(1_000_000));
        known.last_heartbeat_at = known.last_heartbeat_at.max(sign);
    }
    Ok(Some(known))
}

/// Updates the last sign of life of a session without writing its record: sets the time of its file.
///
/// Errors: those of the disk.
pub fn note_sign(runtime: &Dir, session: Id, at: Time) -> std::io::Result<()> {
    runtime.touch(session_path(SESSIONS, session), at)
}

/// Replaces the record of a session.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_session(runtime: &Dir, session: &Session) -> Result<()> {
    let (folder, other) = match session.status {
        SessionStatus::Active => (SESSIONS, CLOSED),
        SessionStatus::Closed => (CLOSED, SESSIONS),
    };
    write(runtime, folder, &session_path(folder, session.id), session)?;
    let path = session_path(other, session.id);
    runtime.remove(&path).map_err(|e| Error::io("remove", &runtime.path().join(&path), &e))?;
    if session.status == SessionStatus::Active {
        // The file's own time is a sign of life too, and must not be later than the one in the record. If it cannot be set,
        // the sign is that the record was written just now, which is true.
        let _ = note_sign(runtime, session.id, session.last_heartbeat_at);
    }
    Ok(())
}

/// The sessions of this clone that have not ended.
///
/// Errors: `ERR_IO`.
pub fn active_sessions(runtime: &Dir) -> Result<Vec<Id>> {
    ids(runtime, SESSIONS)
}

/// All sessions of this clone, by start time.
///
/// Errors: `ERR_IO`.
pub fn sessions(runtime: &Dir) -> Result<Vec<Id>> {
    let mut all = ids(runtime, SESSIONS)?;
    all.extend(ids(runtime, CLOSED)?);
    all.sort();
    all.dedup();
    Ok(all)
}

/// The id by which a remote knows this clone's records. A copy of the clone has it too: see `nonces`.
#[derive(Serialize, serde::Deserialize)]
struct CloneName {
    id: Id,
}

fn clone_path() -> PathBuf {
    PathBuf::from("clone.json")
}

/// The id of this clone, if it has one yet.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn clone_id(runtime: &Dir) -> Result<Option<Id>> {
    // Under another id, this clone's earlier records count as another clone's until they expire.
    Ok(read_or_rebuild::<CloneName>(runtime, &clone_path(), || Ok(None))?.map(|clone| clone.id))
}

/// Sets the id of this clone.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_clone_id(runtime: &Dir, id: Id) -> Result<()> {
    let bytes = serde_json::to_vec(&CloneName { id }).map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let path = clone_path();
    runtime.replace_synced(&path, &bytes, 0o666).map_err(|e| Error::io("write", &runtime.path().join(&path), &e))
}

/// How long a key counts, in milliseconds.
const KEY_COUNTS: i64 = 30 * 24 * 3_600_000;
/// The span of the keys in one folder, in milliseconds. A folder is removed when no key in it counts any more.
const KEY_SPAN: i64 = 16 * 24 * 3_600_000;

fn key_folder(number: i64) -> String {
    format!("{KEYS}/{number}")
}

fn key_path(number: i64, agent: &str, op: &str, key: &str) -> PathBuf {
    // Neither an agent nor an operation has a line break in its name.
    PathBuf::from(format!("{}/{}.json", key_folder(number), digest(&format!("{agent}\n{op}\n{key}"))))
}

fn path_of_key(record: &KeyRecord) -> PathBuf {
    key_path(record.at.millis().div_euclid(KEY_SPAN), &record.agent, &record.op, &record.key)
}

/// The folders of keys, by their numbers.
fn key_folders(runtime: &Dir) -> Result<Vec<i64>> {
    let dir = match runtime.dir(KEYS) {
        Ok(dir) => dir,
        Err(e) if e.kind() == ErrorKind::NotFound || is_no_regular_file(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", &runtime.path().join(KEYS), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    Ok(names.into_iter().filter_map(|(name, _)| name.parse().ok()).collect())
}

/// The SHA-256 of a text in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The call in which an agent used an idempotency key for an operation, if that still counts.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn key(runtime: &Dir, agent: &str, op: &str, key: &str, now: Time) -> Result<Option<KeyRecord>> {
    let newest = now.millis().div_euclid(KEY_SPAN);
    for number in (0..=KEY_COUNTS.div_euclid(KEY_SPAN) + 1).map(|back| newest - back) {
        let path = key_path(number, agent, op, key);
        let found = read_or_rebuild(runtime, &path, || rebuild::key(runtime, |known| path_of_key(known) == path))?;
        if let Some(record) = found {
            return Ok(Some(record).filter(|record: &KeyRecord| now.since(record.at) < KEY_COUNTS));
        }
    }
    Ok(None)
}

/// Records the use of an idempotency key, and removes the keys that no longer count.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_key(runtime: &Dir, record: &KeyRecord) -> Result<()> {
    let number = record.at.millis().div_euclid(KEY_SPAN);
    write(runtime, &key_folder(number), &path_of_key(record), record)?;
    for old in key_folders(runtime)?.into_iter().filter(|old| old + KEY_COUNTS.div_euclid(KEY_SPAN) + 1 < number) {
        if let Err(e) = remove_folder(runtime, &key_folder(old)) {
            tracing::warn!(folder = key_folder(old), error = %e, "old idempotency keys could not be removed");
        }
    }
    Ok(())
}

fn remove_folder(runtime: &Dir, folder: &str) -> std::io::Result<()> {
    let dir = runtime.dir(folder)?;
    dir.list()?.iter().try_for_each(|(name, _)| dir.remove(name))?;
    runtime.remove_empty(folder)
}

/// Damaged records, by their paths below the runtime folder, and why each cannot be read. With `repair`, sets them aside and
/// rebuilds them from the journals; the caller then holds the lock.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn damaged(runtime: &Dir, repair: bool) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    for task in leased_tasks(runtime)? {
        let path = lease_path(task);
        if let Found::Damaged(why) = read::<LeaseRecord>(runtime, &path) {
            if repair {
                let record = rebuild::lease(runtime, task)?;
                set_aside(runtime, &path)?;
                write_lease(runtime, task, &record)?;
            }
            found.push((path, why));
        }
    }
    for id in sessions(runtime)? {
        for folder in [SESSIONS, CLOSED] {
            let path = session_path(folder, id);
            if let Found::Damaged(why) = read::<Session>(runtime, &path) {
                if repair {
                    let known = rebuild::session(runtime, id)?;
                    set_aside(runtime, &path)?;
                    known.map_or(Ok(()), |session| write_session(runtime, &session))?;
                }
                found.push((path, why));
            }
        }
    }
    let mut keys = Vec::new();
    for folder in key_folders(runtime)?.into_iter().map(key_folder) {
        keys.extend(names(runtime, &folder)?.into_iter().map(|name| PathBuf::from(&folder).join(name)));
    }
    for path in keys {
        if let Found::Damaged(why) = read::<KeyRecord>(runtime, &path) {
            // If the journals do not have it either, the file stays: it proves that a key was used.
            let known = if repair { rebuild::key(runtime, |known| path_of_key(known) == path)? } else { None };
            if let Some(record) = &known {
                set_aside(runtime, &path)?;
                write_key(runtime, record)?;
            }
            if !repair || known.is_some() {
                found.push((path, why));
            }
        }
    }
    Ok(found)
}

fn set_aside(runtime: &Dir, path: &PathBuf) -> Result<()> {
    let name = path.display().to_string().replace('/', "-");
    let moved = runtime.make_dir("set-aside").and_then(|_| runtime.rename(path, format!("set-aside/{name}")));
    moved.map_err(|e| Error::io("set aside", &runtime.path().join(path), &e))
}
