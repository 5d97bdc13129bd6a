//! What a commit made now would contain: compares git's index with the commit that is checked out.
//!
//! Guarantees that it works in process. Folders that the index knows to equal the commit are not opened, so the cost grows
//! with what is staged. In a hook it reads the index that git commits from.
//! Leaves to others: what a path means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gix::bstr::ByteSlice as _;
use gix::index::entry::Flags;
use gix::index::extension::Tree as Cached;
use gix::index::{Entry, File, decode};

use super::objects::failed;
use super::{Change, Item, Mode, Objects, Oid, Repo};
use crate::env::{Env, outside};
use crate::error::Result;

/// The longest of git's small files that is read, in bytes.
const MAX_NOTE: u64 = 64 * 1024;

/// What is staged below a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Staged {
    /// The files that differ from the commit, by path below the top of the work tree.
    pub changes: Vec<Change>,
    /// The paths in conflict.
    pub unmerged: BTreeSet<String>,
}

impl Repo {
    /// The index that git would commit from. While git runs a hook it may differ from the worktree's own: `commit -a` and
    /// `commit PATH` create a temporary one and name it to the hook.
    pub fn index_in_force(&self, env: &Env) -> PathBuf {
        let place = |name: &str| env.var(name).map(|path| env.cwd().join(path));
        // A hook of another repository names that repository's index.
        let here = place("GIT_DIR").is_none_or(|dir| outside::canonical(&dir).is_ok_and(|dir| dir == self.git_dir));
        match env.var("GIT_INDEX_FILE").filter(|_| here) {
            Some(path) => self.work_dir.join(path),
            None => self.git_dir.join("index"),
        }
    }

    /// The commits that a merge in progress merges.
    pub fn merging(&self) -> Vec<Oid> {
        let bytes = outside::read(&self.git_dir.join("MERGE_HEAD"), MAX_NOTE).unwrap_or_default();
        String::from_utf8_lossy(&bytes).lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// The commits whose changes git is applying to the index: of a merge (also one that is squashed or about to run its
    /// hook), a cherry-pick, a revert or a rebase.
    pub fn incoming_commits(&self, env: &Env) -> Vec<Oid> {
        let text = |name: &str| {
            let bytes = outside::read(&self.git_dir.join(name), MAX_NOTE).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let notes =
            ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "rebase-apply/original-commit"].map(text);
        let squashed = text("SQUASH_MSG");
        let squashed = squashed.lines().filter_map(|line| line.strip_prefix("commit "));
        let lines = notes.iter().flat_map(|note| note.lines()).chain(squashed);
        let names = lines.chain(env.names_after("GITHEAD_"));
        let mut commits: Vec<Oid> = names.filter_map(|name| name.trim().parse().ok()).collect();
        commits.dedup();
        commits
    }
}

impl Objects {
    /// Whether an index holds an entry at or below a folder.
    ///
    /// Errors: `ERR_GIT` if it cannot be read.
    pub fn is_in_index(&self, index: &Path, folder: &str) -> Result<bool> {
        let index = self.read_index(index)?;
        let inside = index.prefixed_entries_range(format!("{folder}/").as_str().into()).is_some();
        let itself = index.entry_by_path(folder.into()).is_some();
        Ok(inside || itself || self.collapsed(&index, folder)?.flatten().is_some())
    }

    /// The submodules that an index holds below a folder, by path below the top of the work tree.
    ///
    /// Errors: `ERR_GIT` if it cannot be read.
    pub fn repositories_in_index(&self, index: &Path, folder: &str) -> Result<Vec<String>> {
        let index = self.read_index(index)?;
        if let Some(tree) = self.collapsed(&index, folder)? {
            let is_repository = |change: &Change| change.new.is_some_and(|item| item.mode == Mode::Submodule);
            let found = self.changes(None, tree)?.into_iter().filter(is_repository);
            return Ok(found.map(|change| format!("{folder}/{}", change.path)).collect());
        }
        let range = index.prefixed_entries_range(format!("{folder}/").as_str().into()).unwrap_or(0..0);
        let found = index.entries()[range].iter().filter(|entry| entry.mode.is_submodule());
        Ok(found.map(|entry| entry.path(&index).to_str_lossy().into_owned()).collect())
    }

    /// The files that differ between an index and a tree, by path. `None` is the empty tree.
    ///
    /// Errors: as [`Objects::staged`].
    pub fn all_staged(&self, index: &Path, tree: Option<Oid>) -> Result<Vec<Change>> {
        let index = self.read_index(index)?;
        let mut look = Look { objects: self, index: &index, found: Staged::default() };
        look.folder("", tree, index.tree(), index.entries())?;
        Ok(look.found.changes)
    }

    /// The differences between an index and a tree below a folder. `None` is the empty tree.
    ///
    /// Errors: `ERR_GIT` if the index or a tree cannot be read.
    pub fn staged(&self, index: &Path, tree: Option<Oid>, folder: &str) -> Result<Staged> {
        let index = self.read_index(index)?;
        let item = tree.map(|tree| self.item(tree, folder)).transpose()?.flatten();
        let before = item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid);
        if let Some(after) = self.collapsed(&index, folder)? {
            let changes = self.changes(before, after)?.into_iter();
            let changes = changes.map(|c| Change { path: format!("{folder}/{}", c.path), ..c }).collect();
            return Ok(Staged { changes, unmerged: BTreeSet::new() });
        }
        let prefix = format!("{folder}/");
        let range = index.prefixed_entries_range(prefix.as_str().into()).unwrap_or(0..0);
        let known = folder.split('/').try_fold(index.tree(), |cached, name| Some(child(cached, name)));
        let mut look = Look { objects: self, index: &index, found: Staged::default() };
        look.folder(&prefix, before, known.flatten(), &index.entries()[range])?;
        Ok(look.found)
    }

    /// The unconflicted files of an index below a folder, by path below the top of the work tree.
    ///
    /// Errors: `ERR_GIT` if the index or a tree that it names cannot be read.
    pub fn files_in_index(&self, index: &Path, folder: &str) -> Result<Vec<(String, Oid)>> {
        self.files_where(index, folder, |_| true)
    }

    /// As [`Objects::files_in_index`], for the files that a sparse checkout excludes from the work tree.
    ///
    /// Errors: as [`Objects::files_in_index`].
    pub fn files_left_out(&self, index: &Path, folder: &str) -> Result<Vec<(String, Oid)>> {
        self.files_where(index, folder, |entry| entry.flags.contains(Flags::SKIP_WORKTREE))
    }

    fn files_where(&self, index: &Path, folder: &str, wanted: impl Fn(&Entry) -> bool) -> Result<Vec<(String, Oid)>> {
        let index = self.read_index(index)?;
        let mut files = Vec::new();
        let mut whole = |path: &str, tree: Option<Oid>| -> Result<()> {
            let inside = self.changes(None, tree)?.into_iter();
            files.extend(inside.filter_map(|c| Some((format!("{path}/{}", c.path), c.new?.oid))));
            Ok(())
        };
        if let Some(tree) = self.collapsed(&index, folder)? {
            whole(folder, tree)?;
            return Ok(files);
        }
        let range = index.prefixed_entries_range(format!("{folder}/").as_str().into()).unwrap_or(0..0);
        let mut single = Vec::with_capacity(range.len());
        for entry in index.entries()[range].iter().filter(|entry| entry.stage_raw() == 0 && wanted(entry)) {
            let path = entry.path(&index).to_str_lossy();
            match path.strip_suffix('/') {
                Some(path) => whole(path, Some(Oid(entry.id)))?,
                None if entry.flags.contains(Flags::INTENT_TO_ADD) => {}
                None => single.push((path.into_owned(), Oid(entry.id))),
            }
        }
        files.extend(single);
        Ok(files)
    }

    /// The tree of a folder if a sparse index keeps it, or a folder above it, as one entry.
    fn collapsed(&self, index: &File, folder: &str) -> Result<Option<Option<Oid>>> {
        for whole in Path::new(folder).ancestors().filter_map(Path::to_str).filter(|path| !path.is_empty()) {
            let Some(entry) = index.entry_by_path(format!("{whole}/").as_str().into()) else { continue };
            let tree = match folder[whole.len()..].trim_start_matches('/') {
                "" => Some(Oid(entry.id)),
                rest => self.item(Oid(entry.id), rest)?.filter(|item| item.mode == Mode::Tree).map(|item| item.oid),
            };
            return Ok(Some(tree));
        }
        Ok(None)
    }

    fn read_index(&self, path: &Path) -> Result<File> {
        let hash = self.repo.object_hash();
        if outside::metadata(path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
            return Ok(File::from_state(gix::index::State::new(hash), path.to_owned()));
        }
        File::at(path, hash, true, decode::Options::default())
            .map_err(|e| failed(format!("read the index {}", path.display()), e))
    }
}

fn child<'a>(cached: Option<&'a Cached>, name: &str) -> Option<&'a Cached> {
    cached?.children.iter().find(|child| child.name.as_slice() == name.as_bytes())
}

struct Look<'a> {
    objects: &'a Objects,
    index: &'a File,
    found: Staged,
}

impl Look<'_> {
    /// Compares one folder; `entries` are all that the index holds below it, in order.
    fn folder(&mut self, prefix: &str, before: Option<Oid>, cached: Option<&Cached>, entries: &[Entry]) -> Result<()> {
        // Git commits the cached trees too, where they are valid.
        if before.is_some() && cached.is_some_and(|c| c.num_entries.is_some() && Some(Oid(c.id)) == before) {
            return Ok(());
        }
        let mut old: BTreeMap<String, Item> =
            before.map(|tree| self.objects.items(tree)).transpose()?.unwrap_or_default();
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let path = first.path(self.index).to_str_lossy().into_owned();
            let below = path.get(prefix.len()..).unwrap_or_default();
            match below.split_once('/') {
                None => {
                    rest = &rest[1..];
                    self.file(&path, first, old.remove(below))?;
                }
                Some((name, deeper)) => {
                    let inner = format!("{prefix}{name}/");
                    let own = |entry: &&Entry| entry.path(self.index).starts_with(inner.as_bytes());
                    let (group, others) = rest.split_at(rest.iter().take_while(own).count().max(1));
                    rest = others;
                    let was = old.remove(name);
                    let tree = self.replaced(inner.trim_end_matches('/'), was);
                    if deeper.is_empty() {
                        // A sparse index keeps a whole folder as one entry.
                        self.found.changes.extend(
                            self.objects
                                .changes(tree, Some(Oid(first.id)))?
                                .into_iter()
                                .map(|c| Change { path: format!("{inner}{}", c.path), ..c }),
                        );
                    } else {
                        self.folder(&inner, tree, child(cached, name), group)?;
                    }
                }
            }
        }
        for (name, item) in old {
            self.gone(&format!("{prefix}{name}"), item)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &str, entry: &Entry, old: Option<Item>) -> Result<()> {
        if entry.stage_raw() != 0 {
            self.found.unmerged.insert(path.to_owned());
            return Ok(());
        }
        // An entry added with `git add -N` is not committed.
        let mode = entry.mode.to_tree_entry_mode().filter(|_| !entry.flags.contains(Flags::INTENT_TO_ADD));
        let new = mode.map(|mode| Item { mode: Mode::of(mode.kind()), oid: Oid(entry.id) });
        if let Some(tree) = old.filter(|item| item.mode == Mode::Tree) {
            self.gone(path, tree)?;
        }
        let old = old.filter(|item| item.mode != Mode::Tree);
        if old != new {
            self.found.changes.push(Change { path: path.to_owned(), old, new });
        }
        Ok(())
    }

    /// Reads the old tree of what is a folder now. A file that was there is removed.
    fn replaced(&mut self, path: &str, was: Option<Item>) -> Option<Oid> {
        let was = was?;
        if was.mode == Mode::Tree {
            return Some(was.oid);
        }
        self.found.changes.push(Change { path: path.to_owned(), old: Some(was), new: None });
        None
    }

    fn gone(&mut self, path: &str, item: Item) -> Result<()> {
        if item.mode != Mode::Tree {
            self.found.changes.push(Change { path: path.to_owned(), old: Some(item), new: None });
            return Ok(());
        }
        let inside = self.objects.changes(Some(item.oid), None)?;
        self.found.changes.extend(inside.into_iter().map(|c| Change { path: format!("{path}/{}", c.path), ..c }));
        Ok(())
    }
}
