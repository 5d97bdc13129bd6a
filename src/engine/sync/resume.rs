//! Records an update of index and work tree, so that the next sync can finish an interrupted one.
//!
//! Guarantees that the record is written before the first file changes and removed after the branch has moved. A sync killed in
//! between leaves the user's files at two commits; only this record distinguishes them from edited files.
//! Leaves to others: how files are updated (`checkout`).

use std::io::ErrorKind;

use serde::{Deserialize, Serialize};

use super::Sync;
use crate::error::{Error, Result};
use crate::git::Oid;

/// Maximum size of a note, in bytes.
const MAX_NOTE: u64 = 64 * 1024;

/// An update of a branch with its index and work tree.
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

    /// Finishes the interrupted update of this worktree, if the branch is still at its first commit.
    ///
    /// Errors: as the update itself.
    pub(crate) fn resume_interrupted(&self) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let bytes = match runtime.read(self.note(), MAX_NOTE) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("read", &runtime.path().join(self.note()), &e)),
        };
        // An unreadable record is ignored; files with their new contents are recognized without it.
        let Ok(begun) = serde_json::from_slice::<SyncState>(&bytes) else { return self.clear_state() };
        if begun.branch != self.branch {
            // Another branch is checked out; the record applies once its branch is checked out again.
            return Ok(());
        }
        if let (Ok(before), Ok(own), Ok(new)) = (begun.before.parse(), begun.own.parse(), begun.new.parse())
            && self.tip()? == before
            && [own, new].iter().all(|commit| self.objects.has(*commit))
        {
            self.complete_partial_files(before, new)?;
            self.check_move(before, own, new)?;
            self.apply_result(before, own, new)?;
        }
        self.clear_state()
    }

    /// Writes the record, and flushes it: a power loss keeps it where it keeps what was done after it.
    pub(crate) fn begin(&self, before: Oid, own: Oid, new: Oid) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let [before, own, new] = [before, own, new].map(|oid| oid.to_string());
        let begun = SyncState { branch: self.branch.clone(), before, own, new };
        let bytes = serde_json::to_vec(&begun).map_err(|e| Error::state(e.to_string()))?;
        runtime
            .replace_synced(self.note(), &bytes, 0o666)
            .map_err(|e| Error::io("write", &runtime.path().join(self.note()), &e))
    }

    /// Removes the record.
    pub(crate) fn clear_state(&self) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        runtime.remove(self.note()).map_err(|e| Error::io("remove", &runtime.path().join(self.note()), &e))
    }
}
