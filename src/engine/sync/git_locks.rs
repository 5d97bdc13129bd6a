//! Waits for git's lock files, and reports one that is not released. No lock is removed.
//!
//! Another git process may hold a lock, or a killed one may have left it. The file does not distinguish the two, so only the
//! user may remove it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::{Sync, refusal};
use crate::env::outside;
use crate::env::process::{Outcome, pause};
use crate::error::{Error, Result};

/// Number of retries while a lock is held.
const TRIES: u64 = 40;

fn wait_before(round: u64) {
    pause(Duration::from_millis(5 * round.min(20)));
}

/// The lock file that git's message names.
pub(crate) fn held(stderr: &str) -> Option<&str> {
    let (_, rest) = stderr.split_once("Unable to create '")?;
    rest.split_once("': File exists").map(|(path, _)| path)
}

/// The refusal for a held lock file.
pub(crate) fn is_held(path: &Path) -> Error {
    let shown = path.display();
    refusal(
        format!("another git holds {shown}, or one was killed and left it; nothing was changed"),
        format!("wait until no git runs in this repository; if none does, remove {shown} yourself; then agentpm sync"),
    )
    .with(json!({ "lock": shown.to_string() }))
}

/// The refusal for a held lock file at the remote.
pub(crate) fn is_held_there(path: &str) -> Error {
    refusal(
        format!("another git holds {path} at the remote, or one was killed and left it; nothing was changed"),
        "run agentpm sync again; if that does not help, the administrator of the remote must remove that file",
    )
    .with(json!({ "lock": path }))
}

impl Sync<'_> {
    /// Runs git, and retries while another git process holds a lock of this repository.
    ///
    /// Errors: `ERR_SYNC` with the lock if it is not released.
    pub(crate) fn run_with_retry(&self, args: &[&str], index: Option<&Path>, input: &[u8]) -> Result<Outcome> {
        let mut round = 0;
        loop {
            round += 1;
            let outcome = self.git.call(args, index, input.to_vec())?;
            match held(&outcome.stderr).filter(|_| outcome.code != Some(0)) {
                Some(lock) if round >= TRIES => return Err(is_held(lock.as_ref())),
                Some(_) => wait_before(round),
                None => return Ok(outcome),
            }
        }
    }

    /// Waits until neither the index nor the branch is locked.
    ///
    /// Errors: `ERR_SYNC` with the lock if it is not released.
    pub(crate) fn check_locks(&self) -> Result<()> {
        let lock = |folder: &Path, name: &str| folder.join(format!("{name}.lock"));
        let locks: [PathBuf; 3] = [
            lock(&self.repo.git_dir, "index"),
            lock(&self.repo.git_dir, "HEAD"),
            lock(&self.repo.common_dir, &self.branch),
        ];
        let mut round = 0;
        loop {
            round += 1;
            match locks.iter().find(|path| outside::metadata(path).is_ok()) {
                Some(lock) if round >= TRIES => return Err(is_held(lock)),
                Some(_) => wait_before(round),
                None => return Ok(()),
            }
        }
    }
}
