//! The nonces of the lease records that this clone sent to the remote. A record there is this clone's own only if it carries
//! one.
//!
//! Guarantees that a nonce is on disk before its record is sent. A clone id alone does not suffice: copies of a clone share
//! it, and their inodes too if a disk was copied. From the first record that a copy sends, the remote distinguishes them.

use std::io::ErrorKind;

use std::io::Write as _;

use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::id::Id;

const FOLDER: &str = "nonces";
/// Size in bytes at which a file is rewritten with only its newest nonces.
const MAX_FILE: u64 = 64 * 1024;
/// The number of nonces that a rewritten file keeps.
const KEPT: usize = 64;

fn name(task: Id) -> String {
    format!("{FOLDER}/{task}")
}

/// The nonces sent for a task, oldest first.
///
/// Errors: `ERR_IO` if they cannot be read. A missing file is not an error.
pub fn sent(runtime: &Dir, task: Id) -> Result<Vec<String>> {
    match runtime.read(name(task), 2 * MAX_FILE) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(Error::io("read", &runtime.path().join(name(task)), &e)),
    }
}

/// Records that a lease record with this nonce is about to be sent.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`; then it must not be sent.
pub fn note(runtime: &Dir, task: Id, nonce: &str) -> Result<()> {
    let append = || -> std::io::Result<()> {
        let mut file = runtime.open_append(name(task), 0o666)?;
        file.write_all(format!("{nonce}\n").as_bytes())?;
        file.sync_data()
    };
    let grown = runtime.mark(name(task)).ok().flatten().is_some_and(|mark| mark.size > MAX_FILE);
    let written = if grown {
        let known = sent(runtime, task)?;
        let kept = known.iter().rev().take(KEPT).rev().map(String::as_str).chain([nonce]);
        runtime.replace_synced(name(task), (kept.collect::<Vec<_>>().join("\n") + "\n").as_bytes(), 0o666)
    } else {
        runtime.make_dir(FOLDER).and_then(|_| append())
    };
    written.map_err(|e| Error::io("write", &runtime.path().join(name(task)), &e))
}
