//! The note of a move of index and work tree, so that the next sync can finish an interrupted one.
//!
//! Guarantees: the note is written before the first file moves and removed after the branch has moved. A sync that was killed
//! between leaves the user's files half at one commit and half at another; only this note distinguishes them from files that a person edited.
//! Leaves to others: how files are moved.

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::Sync;
use crate::error::{Error, Result};
use crate::git::Oid;

/// Largest note that is read, in bytes.
const MAX_NOTE: u64 = 64 * 1024;

/// A move of a branch with its index and work tree.
#[derive(Debug, Serialize, Deserialize)]
struct SyncState {
    branch: String,
    before: String,
    own: String,
    new: String,
}

impl Sync<'_> {
    fn note(&self) -> String {
        format!("{}.begun", crate::engine::sync::name_of(self.repo))
    }

    /// Finishes what the last sync of this worktree began, if the branch is still where that sync found it.
    ///
    /// Errors: as the move itself.
    pub(crate) fn resume_interrupted(&self) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let bytes = match runtime.read(self.note(), MAX_NOTE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("read", &runtime.path().join(self.note()), &e)),
        };
        // A note that cannot be read says nothing; the files then show as much of it as they can.
        let Ok(begun) = serde_json::from_slice::<SyncState>(&bytes) else { return self.clear_state() };
        if begun.branch != self.branch {
            // Its index and files went with the switch; it waits until its branch is back.
            return Ok(());
        }
        if let (Ok(before), Ok(own), Ok(new)) = (begun.before.parse(), begun.own.parse(), begun.new.parse())
            && self.tip()? == before
            && [own, new].iter().all(|commit| self.objects.has(*commit))
        {
            self.end_half_written(before, new)?;
            self.check_move(before, new)?;
            self.bring_home(before, own, new)?;
        }
        self.clear_state()
    }

    /// Writes the note.
    pub(crate) fn begin(&self, before: Oid, own: Oid, new: Oid) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let [before, own, new] = [before, own, new].map(|oid| oid.to_string());
        let begun = SyncState { branch: self.branch.clone(), before, own, new };
        let bytes = serde_json::to_vec(&begun).map_err(|e| Error::state(e.to_string()))?;
        runtime
            .replace(self.note(), &bytes, 0o666)
            .map_err(|e| Error::io("write", &runtime.path().join(self.note()), &e))
    }

    /// Removes the note.
    pub(crate) fn clear_state(&self) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        runtime.remove(self.note()).map_err(|e| Error::io("remove", &runtime.path().join(self.note()), &e))
    }
}
