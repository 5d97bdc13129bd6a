//! The id of a worktree, which identifies the worktree that a record was written for.
//!
//! Guarantees that the id stays the same when the repository is moved, or seen under several paths. A path identifies
//! nothing, and device and inode are equal in copies of a disk.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::id::Id;

/// The file's name, below the runtime folder of the worktree.
const FILE: &str = "worktree.json";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024;

/// The store that a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoreKey {
    /// The worktree.
    pub worktree: Id,
    /// The store's path below the top of the worktree: `.agentpm`, or `sub/.agentpm`.
    pub store: String,
}

/// What a worktree notes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worktree {
    /// Its id.
    pub id: Id,
    /// Where its top was at the last change. Other worktrees use it as a hint, since git cannot always give it.
    pub top: PathBuf,
}

/// Reads the notes of the worktree with this runtime folder; `None` if it has made no change yet, or if the file is damaged.
pub fn read(own: &Dir) -> Option<Worktree> {
    serde_json::from_slice(&own.read(FILE, MAX_FILE).ok()?).ok()
}

/// The id of the worktree with this runtime folder, created with `new` if there is none. Notes where its top is now.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE` if it cannot be written; those of `new`.
pub fn ensure(own: &Dir, top: &Path, new: impl FnOnce() -> Result<Id>) -> Result<Id> {
    let known = read(own);
    if let Some(known) = known.as_ref().filter(|known| known.top == top) {
        return Ok(known.id);
    }
    let fail = |e: std::io::Error| Error::io("write", &own.path().join(FILE), &e);
    let bytes = |id| serde_json::to_vec(&Worktree { id, top: top.to_owned() }).map_err(|e| fail(e.into()));
    if let Some(Worktree { id, .. }) = known {
        own.replace_synced(FILE, &bytes(id)?, 0o666).map_err(fail)?;
        return Ok(id);
    }
    let id = new()?;
    match own.create_synced(FILE, &bytes(id)?, 0o666) {
        Ok(()) => Ok(id),
        // Another process was first.
        Err(e) if e.kind() == ErrorKind::AlreadyExists => match read(own) {
            Some(known) => Ok(known.id),
            // A damaged file names no worktree; records that carry its old id stay in the journal.
            None => own.replace_synced(FILE, &bytes(id)?, 0o666).map(|()| id).map_err(fail),
        },
        Err(e) => Err(fail(e)),
    }
}
