//! Reads git's index of this worktree: its entries, conflicts, and the paths that git does not compare with it.
//!
//! Leaves to others: changing the index, which only the git program does.

use std::collections::{BTreeMap, BTreeSet};

use gix::bstr::ByteSlice as _;

use super::{Item, Mode, Objects, Oid, failed};
use crate::error::Result;

/// Files that git does not compare with the index.
#[derive(Debug, Default)]
pub struct HiddenPaths {
    /// Excluded by a sparse checkout; a folder ends in a slash.
    left_out: BTreeSet<String>,
    /// Assumed to be unchanged.
    taken_as_read: BTreeSet<String>,
}

impl HiddenPaths {
    /// Whether a sparse checkout excludes a file from the work tree.
    pub fn leaves_out(&self, path: &str) -> bool {
        let mut above = path.match_indices('/').map(|(at, _)| &path[..=at]);
        self.left_out.contains(path) || above.any(|folder| self.left_out.contains(folder))
    }

    /// The files, for either reason.
    pub fn files(&self) -> impl Iterator<Item = &String> {
        self.left_out.iter().chain(&self.taken_as_read).filter(|path| !path.ends_with('/'))
    }
}

impl Objects {
    /// The unconflicted entries of this worktree's index, by path.
    ///
    /// Errors: `ERR_GIT` if the index cannot be read.
    pub fn index_entries(&self) -> Result<BTreeMap<String, Item>> {
        let index = self.repo.index_or_empty().map_err(|e| failed("read git's index", e))?;
        let entries = index.entries().iter().filter(|entry| entry.stage_raw() == 0);
        let item = |entry: &gix::index::Entry| {
            let mode = Mode::of(entry.mode.to_tree_entry_mode()?.kind());
            Some((entry.path(&index).to_str_lossy().into_owned(), Item { mode, oid: Oid(entry.id) }))
        };
        Ok(entries.filter_map(item).collect())
    }

    /// The entries of this worktree's index below a folder: path, stage (0 if unconflicted), mode and object.
    ///
    /// Errors: `ERR_GIT` if the index cannot be read.
    pub fn index_below(&self, folder: &str) -> Result<Vec<(String, u32, Item)>> {
        let index = self.repo.index_or_empty().map_err(|e| failed("read git's index", e))?;
        let prefix = format!("{folder}/");
        let Some(range) = index.prefixed_entries_range(prefix.as_str().into()) else { return Ok(Vec::new()) };
        let path_of = |entry: &gix::index::Entry| entry.path(&index).to_str_lossy().into_owned();
        let kind = |entry: &gix::index::Entry| entry.mode.to_tree_entry_mode().map(|mode| Mode::of(mode.kind()));
        let entries = index.entries()[range].iter().filter_map(|entry| {
            Some((path_of(entry), entry.stage_raw(), Item { mode: kind(entry)?, oid: Oid(entry.id) }))
        });
        Ok(entries.collect())
    }

    /// Paths below a folder that git does not compare with the index: excluded by a sparse checkout (which may exclude a
    /// whole folder), or assumed to be unchanged.
    ///
    /// Errors: `ERR_GIT` if the index cannot be read.
    pub fn hidden_paths(&self, folder: &str) -> Result<HiddenPaths> {
        let index = self.repo.index_or_empty().map_err(|e| failed("read git's index", e))?;
        let mut found = HiddenPaths::default();
        let below = format!("{folder}/");
        for entry in index.entries() {
            let path = entry.path(&index).to_str_lossy();
            let is_folder = entry.mode.is_sparse();
            let is_above = is_folder && below.starts_with(&*path);
            if !path.starts_with(&below) && !is_above {
                continue;
            }
            if entry.flags.contains(gix::index::entry::Flags::SKIP_WORKTREE) {
                found.left_out.insert(path.into_owned());
            } else if entry.flags.contains(gix::index::entry::Flags::ASSUME_VALID) {
                found.taken_as_read.insert(path.into_owned());
            }
        }
        Ok(found)
    }

    /// Conflicted paths of this worktree's index, except those below a folder.
    ///
    /// Errors: `ERR_GIT` if the index cannot be read.
    pub fn unmerged(&self, but: &str) -> Result<Vec<String>> {
        let index = self.repo.index_or_empty().map_err(|e| failed("read git's index", e))?;
        let below = format!("{but}/");
        let paths = index.entries().iter().filter(|entry| entry.stage_raw() != 0);
        let mut paths: Vec<String> = paths.map(|entry| entry.path(&index).to_str_lossy().into_owned()).collect();
        paths.retain(|path| !path.starts_with(&below));
        paths.dedup();
        Ok(paths)
    }

    /// The other side's files in this worktree's index, for its conflicted paths.
    ///
    /// Errors: `ERR_GIT` if the index cannot be read.
    pub fn theirs_in_conflict(&self) -> Result<Vec<(String, Oid)>> {
        let index = self.repo.index_or_empty().map_err(|e| failed("read git's index", e))?;
        let theirs = index.entries().iter().filter(|entry| entry.stage_raw() == 3);
        Ok(theirs.map(|entry| (entry.path(&index).to_str_lossy().into_owned(), Oid(entry.id))).collect())
    }
}
