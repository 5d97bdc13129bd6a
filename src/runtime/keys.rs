//! Secret keys of agents, in the git folder of this clone.
//!
//! Promises: a key is readable by its owner alone, is made once, and never leaves the runtime folder.
//! Refuses to know: what is signed with it.

use std::io::ErrorKind;

use crate::env::files::Dir;
use crate::error::{Error, Result};

/// Largest file of a key, in bytes.
const MAX_KEY: u64 = 1_024;

fn path_of(agent: &str) -> String {
    format!("keys/{agent}")
}

/// Whether this clone has a key of any agent.
///
/// Errors: `ERR_IO` where that cannot be read.
pub fn any(runtime: &Dir) -> Result<bool> {
    let found = runtime.kind("keys");
    found.map(|kind| kind.is_some()).map_err(|e| Error::io("read", &runtime.path().join("keys"), &e))
}

/// The text of an agent's key; `None` where this clone has none.
///
/// Errors: `ERR_IO` where it cannot be read.
pub fn read(runtime: &Dir, agent: &str) -> Result<Option<String>> {
    match runtime.read(path_of(agent), MAX_KEY) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("read", &runtime.path().join(path_of(agent)), &e)),
    }
}

/// Removes a key. A missing one is no error.
///
/// Errors: `ERR_IO` where it cannot be removed.
pub fn remove(runtime: &Dir, agent: &str) -> Result<()> {
    runtime.remove(path_of(agent)).map_err(|e| Error::io("remove", &runtime.path().join(path_of(agent)), &e))
}

/// Keeps a key, in place of the one there may be.
///
/// Errors: `ERR_IO` where it cannot be written.
pub fn write(runtime: &Dir, agent: &str, text: &str) -> Result<()> {
    let keep = || {
        runtime.make_dir("keys")?;
        runtime.replace(path_of(agent), text.as_bytes(), 0o600)
    };
    keep().map_err(|e| Error::io("write", &runtime.path().join(path_of(agent)), &e))
}
