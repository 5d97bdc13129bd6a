//! The small records of the runtime folder: leases, sessions, idempotency keys.
//!
//! Promises: each is one JSON file, replaced as a whole by whoever holds the lock, and made again from the journal if it is
//! behind. A lease file keeps the last fence of its task for ever.
//! Refuses to know: who may have what (`rules`).

use std::io::ErrorKind;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::env::files::{self, Dir};
use crate::error::{Code, Error, Result};
use crate::model::agent::{LeaseRecord, Seen, Session, SessionStatus};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::runtime::journal::KeyRecord;

/// Largest record that is read, in bytes.
const MAX_RECORD: u64 = 1024 * 1024;

fn read<T: DeserializeOwned>(runtime: &Dir, path: &PathBuf) -> Result<Option<T>> {
    let shown = runtime.path().join(path);
    match runtime.read(path, MAX_RECORD) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            Error::new(Code::Corrupt, format!("{} cannot be read: {e}", shown.display()))
                .hint("it is runtime state; agentpm doctor tells what to do")
        }),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &shown, &e)),
    }
}

fn write<T: Serialize>(runtime: &Dir, folder: &str, path: &PathBuf, record: &T) -> Result<()> {
    let shown = runtime.path().join(path);
    let bytes = serde_json::to_vec(record).map_err(|e| Error::new(Code::Io, format!("{}: {e}", shown.display())))?;
    match runtime.replace(path, &bytes, 0o644) {
        Err(e) if e.kind() == ErrorKind::NotFound => runtime
            .make_dir(folder)
            .and_then(|_| runtime.replace(path, &bytes, 0o644))
            .map_err(|e| Error::io("write", &shown, &e)),
        other => other.map_err(|e| Error::io("write", &shown, &e)),
    }
}

fn ids(runtime: &Dir, folder: &str) -> Result<Vec<Id>> {
    let dir = match runtime.dir(folder) {
        Ok(dir) => dir,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", &runtime.path().join(folder), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    Ok(names.iter().filter_map(|(name, _)| name.strip_suffix(".json")?.parse().ok()).collect())
}

fn lease_path(task: Id) -> PathBuf {
    PathBuf::from(format!("leases/{task}.json"))
}

/// What is known of a task's leases.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the file cannot be read.
pub fn lease(runtime: &Dir, task: Id) -> Result<LeaseRecord> {
    Ok(read(runtime, &lease_path(task))?.unwrap_or_default())
}

/// Replaces what is known of a task's leases.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_lease(runtime: &Dir, task: Id, record: &LeaseRecord) -> Result<()> {
    write(runtime, "leases", &lease_path(task), record)
}

/// All tasks of which a lease was ever granted.
///
/// Errors: `ERR_IO`.
pub fn leased_tasks(runtime: &Dir) -> Result<Vec<Id>> {
    ids(runtime, "leases")
}

/// Where the sessions are that go on; those that ended lie in [`CLOSED`], so that nobody looks through them in vain.
const SESSIONS: &str = "sessions";
const CLOSED: &str = "sessions/closed";

fn session_path(folder: &str, session: Id) -> PathBuf {
    PathBuf::from(format!("{folder}/{session}.json"))
}

/// A session by its id. Its last sign of life is the later of what was written and the time of its file, which those who only
/// read leave behind ([`note_sign`]).
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the file cannot be read.
pub fn session(runtime: &Dir, session: Id) -> Result<Option<Session>> {
    if let Some(closed) = read(runtime, &session_path(CLOSED, session))? {
        return Ok(Some(closed));
    }
    let path = session_path(SESSIONS, session);
    let Some(mut known) = read::<Session>(runtime, &path)? else { return Ok(None) };
    if let Ok(Some(mark)) = runtime.mark(&path) {
        let sign = Time::from_millis(mark.mtime.div_euclid(1_000_000));
        known.last_heartbeat_at = known.last_heartbeat_at.max(sign);
    }
    Ok(Some(known))
}

/// Leaves a sign of life of a session without writing its record: the time of its file.
///
/// Errors: those of the disk.
pub fn note_sign(runtime: &Dir, session: Id, at: Time) -> std::io::Result<()> {
    runtime.touch(session_path(SESSIONS, session), at)
}

/// Replaces what is known of a session.
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
        // The file's own time is a sign of life too, and must not be a later one than the record tells of. Where it cannot be
        // set, the sign is that it was written just now, which is true.
        let _ = note_sign(runtime, session.id, session.last_heartbeat_at);
    }
    Ok(())
}

/// The sessions of this clone that nobody ended.
///
/// Errors: `ERR_IO`.
pub fn active_sessions(runtime: &Dir) -> Result<Vec<Id>> {
    ids(runtime, SESSIONS)
}

/// All sessions of this clone, by when they began.
///
/// Errors: `ERR_IO`.
pub fn sessions(runtime: &Dir) -> Result<Vec<Id>> {
    let mut all = ids(runtime, SESSIONS)?;
    all.extend(ids(runtime, CLOSED)?);
    all.sort();
    all.dedup();
    Ok(all)
}

/// What tells this clone from others at the remote that confirms leases.
#[derive(Serialize, serde::Deserialize)]
struct CloneName {
    id: Id,
    /// The folder it lies in: a copy of it is another clone.
    #[serde(default)]
    place: String,
}

fn clone_path() -> PathBuf {
    PathBuf::from("clone.json")
}

/// The id of this clone, if it has one yet. A copy of a clone has none until it is given one.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the file cannot be read.
pub fn clone_id(runtime: &Dir) -> Result<Option<Id>> {
    let place = place(runtime)?;
    Ok(read::<CloneName>(runtime, &clone_path())?.filter(|clone| clone.place == place).map(|clone| clone.id))
}

/// Gives this clone its id. Leases that a copy brought along are not its own: they go.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_clone_id(runtime: &Dir, id: Id) -> Result<()> {
    if read::<CloneName>(runtime, &clone_path())?.is_some() {
        for task in leased_tasks(runtime)? {
            let record = lease(runtime, task)?;
            let remote = record.remote.clone().map(|seen| Seen { ours: false, ..seen });
            write_lease(
                runtime,
                task,
                &LeaseRecord { lease: None, lost: Vec::new(), lost_to: None, remote, ..record },
            )?;
        }
    }
    write(runtime, "", &clone_path(), &CloneName { id, place: place(runtime)? })
}

fn place(runtime: &Dir) -> Result<String> {
    let path = runtime.path();
    let metadata = files::metadata(path).map_err(|e| Error::io("look at", path, &e))?;
    // A folder keeps this number when it is moved; a copy has another.
    Ok(std::os::unix::fs::MetadataExt::ino(&metadata).to_string())
}

fn key_path(key: &str) -> PathBuf {
    PathBuf::from(format!("idempotency/{}.json", digest(key)))
}

/// The SHA-256 of a text in hexadecimal.
pub fn digest(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The call that used an idempotency key.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the file cannot be read.
pub fn key(runtime: &Dir, key: &str) -> Result<Option<KeyRecord>> {
    read(runtime, &key_path(key))
}

/// Notes that an idempotency key was used.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub fn write_key(runtime: &Dir, record: &KeyRecord) -> Result<()> {
    write(runtime, "idempotency", &key_path(&record.key), record)
}
