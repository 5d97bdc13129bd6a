//! Keeps records of worktrees that could not be reached for projection, until one of their commands projects them.
//!
//! Guarantees that the journal's mark never passes a record that is neither in its logs nor here. Each worktree has one file,
//! in the journal's format.

use std::io::ErrorKind;

use crate::env::files::{Dir, is_no_regular_file};
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::runtime::journal::{Record, read_records, record_bytes};

const FOLDER: &str = "waiting";

fn name(worktree: Id) -> String {
    format!("{FOLDER}/{worktree}.jsonl")
}

/// The records that wait for a worktree.
///
/// Errors: `ERR_IO` if they cannot be read. A missing file is not an error.
pub fn read(runtime: &Dir, worktree: Id) -> Result<Vec<Record>> {
    let shown = runtime.path().join(name(worktree));
    match runtime.open_file(name(worktree)) {
        Ok(file) => Ok(read_records(&file, 0).map_err(|e| Error::io("read", &shown, &e))?.0),
        // What is not a file or folder of ours keeps nothing.
        Err(e) if e.kind() == ErrorKind::NotFound || is_no_regular_file(&e) => Ok(Vec::new()),
        Err(e) => Err(Error::io("open", &shown, &e)),
    }
}

/// Adds records of a worktree, and flushes them.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then the earlier records still wait.
pub fn add<'a>(runtime: &Dir, worktree: Id, records: impl Iterator<Item = &'a Record>) -> Result<()> {
    let mut all = read(runtime, worktree)?;
    for record in records {
        if all.iter().all(|known| known.commit.commit != record.commit.commit) {
            all.push(record.clone());
        }
    }
    replace(runtime, worktree, all.iter())
}

/// Replaces the records of a worktree, and flushes them.
///
/// Errors: as [`add`].
pub fn replace<'a>(runtime: &Dir, worktree: Id, records: impl Iterator<Item = &'a Record>) -> Result<()> {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(record_bytes(&record.entries, &record.commit)?);
    }
    if bytes.is_empty() {
        let shown = runtime.path().join(name(worktree));
        return runtime.remove(name(worktree)).map_err(|e| Error::io("remove", &shown, &e));
    }
    let write = || {
        runtime.make_dir(FOLDER)?;
        runtime.replace_synced(name(worktree), &bytes, 0o666)
    };
    write().map_err(|e| Error::io("keep records in", &runtime.path().join(name(worktree)), &e))
}

/// The worktrees that have waiting records.
///
/// Errors: `ERR_IO` if they cannot be listed.
pub fn worktrees(runtime: &Dir) -> Result<Vec<Id>> {
    let listed = match runtime.dir(FOLDER) {
        Ok(dir) => dir.list(),
        Err(e) if e.kind() == ErrorKind::NotFound || is_no_regular_file(&e) => return Ok(Vec::new()),
        Err(e) => Err(e),
    };
    let names = listed.map_err(|e| Error::io("list", &runtime.path().join(FOLDER), &e))?;
    Ok(names.iter().filter_map(|(name, _)| name.strip_suffix(".jsonl")?.parse().ok()).collect())
}
