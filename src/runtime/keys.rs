//! Secret keys of agents, in the git folder of this clone.
//!
//! Guarantees that only the owner of a key can read it, that it is created once, and that it never leaves the runtime folder.
//! Leaves to others: what is signed with it.

use std::io::ErrorKind;

use crate::env::files::Dir;
use crate::error::{Error, Result};

/// The largest key file, in bytes.
const MAX_KEY: u64 = 1_024;

fn path_of(agent: &str) -> String {
    format!("keys/{agent}")
}

/// Whether this clone has a key of any agent.
///
/// Errors: `ERR_IO` if the folder cannot be read.
pub fn any(runtime: &Dir) -> Result<bool> {
    let found = runtime.kind("keys");
    found.map(|kind| kind.is_some()).map_err(|e| Error::io("read", &runtime.path().join("keys"), &e))
}

/// The text of an agent's key; `None` if this clone has none.
///
/// Errors: `ERR_IO` if it cannot be read.
pub fn read(runtime: &Dir, agent: &str) -> Result<Option<String>> {
    match runtime.read(path_of(agent), MAX_KEY) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &runtime.path().join(path_of(agent)), &e)),
    }
}

/// Removes a key. A missing key is not an error.
///
/// Errors: `ERR_IO` if it cannot be removed.
pub fn remove(runtime: &Dir, agent: &str) -> Result<()> {
    runtime.remove(path_of(agent)).map_err(|e| Error::io("remove", &runtime.path().join(path_of(agent)), &e))
}

/// Saves a key, replacing an earlier one, and flushes it: its public half is registered next.
///
/// Errors: `ERR_IO` if it cannot be written.
pub fn write(runtime: &Dir, agent: &str, text: &str) -> Result<()> {
    let keep = || {
        runtime.make_dir_synced("keys")?;
        runtime.replace_synced(path_of(agent), text.as_bytes(), 0o600)
    };
    keep().map_err(|e| Error::io("write", &runtime.path().join(path_of(agent)), &e))
}
