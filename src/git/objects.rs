//! Reads git's objects: commits, trees, files at any revision, branches. Writes objects that no reference reaches yet.
//!
//! Guarantees that it works in process, except for what the library cannot do ([`Repo::objects_with`]). It moves no branch
//! and changes no work tree or index.
//! Leaves to others: what a path means.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use gix::bstr::ByteSlice as _;
use gix::objs::Kind;
use gix::objs::tree::EntryKind;
use gix::prelude::ObjectIdExt as _;

use super::lookup::Reopening;
use super::promisor::Fetcher;
use super::reftable::{TableRefs, Target};
use super::{Git, Repo};
use crate::env::{Env, files};
use crate::error::{Code, Error, Result};
use crate::model::id::quoted;

/// The name of an object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Oid(pub(super) gix::ObjectId);

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Oid {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        gix::ObjectId::from_hex(text.trim().as_bytes())
            .map(Oid)
            .map_err(|e| Error::new(Code::Git, format!("{} is not an object: {e}", quoted(text))))
    }
}

impl Oid {
    /// The first characters of the name, for display.
    pub fn short(self) -> String {
        self.0.to_hex_with_len(10).to_string()
    }
}

/// The kind of an entry in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A regular file.
    File,
    /// An executable regular file.
    Executable,
    /// A folder.
    Tree,
    /// A symbolic link.
    Link,
    /// A commit of another repository.
    Submodule,
}

impl Mode {
    fn kind(self) -> EntryKind {
        match self {
            Mode::File => EntryKind::Blob,
            Mode::Executable => EntryKind::BlobExecutable,
            Mode::Tree => EntryKind::Tree,
            Mode::Link => EntryKind::Link,
            Mode::Submodule => EntryKind::Commit,
        }
    }

    pub(super) fn of(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Blob => Mode::File,
            EntryKind::BlobExecutable => Mode::Executable,
            EntryKind::Tree => Mode::Tree,
            EntryKind::Link => Mode::Link,
            EntryKind::Commit => Mode::Submodule,
        }
    }

    /// Its octal form, as git's plumbing writes it.
    pub fn octal(self) -> &'static str {
        match self {
            Mode::File => "100644",
            Mode::Executable => "100755",
            Mode::Tree => "040000",
            Mode::Link => "120000",
            Mode::Submodule => "160000",
        }
    }
}

/// An entry of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    /// Its kind.
    pub mode: Mode,
    /// Its object.
    pub oid: Oid,
}

/// A file that differs between two trees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path below the top of the trees.
    pub path: String,
    /// Its entry in the first tree, if any.
    pub old: Option<Item>,
    /// Its entry in the second tree, if any.
    pub new: Option<Item>,
}

/// The contents of a commit.
#[derive(Clone, Debug)]
pub struct CommitInfo {
    /// Its tree.
    pub tree: Oid,
    /// Its parents.
    pub parents: Vec<Oid>,
    /// The commit time, in seconds since 1970.
    pub seconds: i64,
    /// The author as git writes it: `Name <mail> seconds offset`, in the commit's encoding.
    pub author: Vec<u8>,
    /// The encoding of author and message, if it is not UTF-8.
    pub encoding: Option<String>,
    /// The whole message.
    pub message: Vec<u8>,
}

/// What is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The full name of the branch, `refs/heads/…`; `None` if HEAD is detached.
    pub branch: Option<String>,
    /// Its commit; `None` if the branch has none yet.
    pub commit: Option<Oid>,
}

/// A repository opened for reading objects.
pub struct Objects {
    pub(super) repo: gix::Repository,
    /// The repository opened again, where a missing object was looked for once more.
    pub(super) reopened: RefCell<Option<Reopening>>,
    /// Whether each object that is read is verified against its name.
    pub(super) verifies_names: bool,
    /// The repository, if its references are a reftable, which the library does not read.
    tables: Option<Repo>,
    /// Runs the git program for what the library cannot do; `None` if no program may run.
    pub(super) fetcher: Option<Fetcher>,
}

pub(super) fn failed(what: impl fmt::Display, e: impl fmt::Display) -> Error {
    Error::new(Code::Git, format!("cannot {what}: {e}"))
}

/// Deadline for a question that the git program answers from this clone alone.
const QUICK: Duration = Duration::from_secs(10);
/// The longest reflog that is read, in bytes.
const MAX_REFLOG: u64 = 4 * 1024 * 1024;
/// The largest blob that is read, in bytes.
const MAX_BLOB: u64 = 130 * 1024 * 1024;

impl Repo {
    /// Opens the repository's objects and branches, to read them in process only.
    ///
    /// Errors: `ERR_GIT` if this program does not know the repository's format.
    pub fn objects(&self) -> Result<Objects> {
        let mut repo = gix::open(&self.git_dir)
            .map_err(|e| failed(format!("open the repository at {}", self.git_dir.display()), e))?;
        repo.object_cache_size_if_unset(4 * 1024 * 1024);
        let is_set = |key| repo.config_snapshot().integer(key).is_some();
        if !is_set("core.looseCompression") && !is_set("core.compression") {
            // At git's default of 1 the library writes trees a tenth larger than git does.
            repo.objects.loose_compression = gix::zlib::Compression::DEFAULT;
        }
        let tables = self.has_reftable().then(|| self.clone());
        Ok(Objects { repo, reopened: RefCell::default(), verifies_names: false, tables, fetcher: None })
    }

    /// As [`Repo::objects`], with the git program for what the library cannot do: revisions of a reftable, and objects that a
    /// partial clone left at its remote.
    ///
    /// Errors: as [`Repo::objects`].
    pub fn objects_with(&self, env: &Env) -> Result<Objects> {
        Ok(Objects { fetcher: Some(Fetcher::new(env, self)), ..self.objects()? })
    }
}

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
    /// What this worktree has checked out.
    ///
    /// Errors: `ERR_GIT` if HEAD cannot be read.
    pub fn head(&self) -> Result<Head> {
        if let Some(refs) = self.table_refs()? {
            let branch = match refs.0.get("HEAD") {
                Some(Target::Symbolic(name)) => Some(name.clone()),
                Some(Target::Object { .. }) => None,
                None => return Err(failed("read HEAD", "the reftable has none")),
            };
            return Ok(Head { branch, commit: refs.object("HEAD") });
        }
        let mut head = self.repo.head().map_err(|e| failed("read HEAD", e))?;
        let branch = head.referent_name().map(|name| name.as_bstr().to_string());
        let commit = match head.is_unborn() {
            true => None,
            false => Some(Oid(head.peel_to_commit().map_err(|e| failed("read HEAD", e))?.id)),
        };
        Ok(Head { branch, commit })
    }

    /// Resolves a revision to a commit.
    ///
    /// Errors: `ERR_NOT_FOUND` if it names none.
    pub fn commit_named(&self, revision: &str) -> Result<Oid> {
        let unknown = || {
            Error::not_found(format!("{} is not a commit", quoted(revision)))
                .hint("name a branch, a tag, a commit id, or a revision such as HEAD~2")
        };
        if revision.is_empty() || revision.starts_with('-') {
            return Err(unknown());
        }
        if let Some(repo) = &self.tables {
            return self.ask_for_commit(repo, revision)?.ok_or_else(unknown);
        }
        let id = self.repo.rev_parse_single(revision).map_err(|_| unknown())?;
        let object = id.object().map_err(|e| failed(format!("read {}", quoted(revision)), e))?;
        object.peel_to_commit().map(|commit| Oid(commit.id)).map_err(|_| unknown())
    }

    /// The commit that a reference resolves to, by its full name; `None` if there is no such reference.
    pub fn reference(&self, name: &str) -> Option<Oid> {
        if self.tables.is_some() {
            return self.table_refs().ok().flatten()?.object(name);
        }
        let mut found = self.repo.try_find_reference(name).ok().flatten()?;
        found.peel_to_id().ok().map(|id| Oid(id.detach()))
    }

    /// The references, if they are stored as a reftable. They are read again each time, since git may have moved them.
    fn table_refs(&self) -> Result<Option<TableRefs>> {
        self.tables.as_ref().map(Repo::table_refs).transpose()
    }

    /// Resolves a revision with the git program, since its syntax depends on references and reflogs.
    fn ask_for_commit(&self, repo: &Repo, revision: &str) -> Result<Option<Oid>> {
        let wanted = format!("{revision}^{{commit}}");
        let args = ["rev-parse", "--verify", "--quiet", "--end-of-options", &wanted];
        let outcome = self.program(repo)?.call(&args, None, Vec::new())?;
        Ok(String::from_utf8_lossy(&outcome.stdout).trim().parse().ok().filter(|_| outcome.code == Some(0)))
    }

    fn program<'a>(&'a self, repo: &'a Repo) -> Result<Git<'a>> {
        let fetcher = self.fetcher.as_ref().ok_or_else(|| Error::state("the git program may not run here"))?;
        repo.program(&fetcher.env, QUICK)
    }

    /// The commits of all stashes, newest first. The reference names only the newest; its reflog names the others.
    pub fn stashes(&self) -> Vec<Oid> {
        let names = |text: &str| -> Vec<Oid> { text.lines().filter_map(|line| line.parse().ok()).collect() };
        if let Some(repo) = &self.tables {
            let asked = self.program(repo).and_then(|git| git.ask(&["rev-list", "-g", "refs/stash", "--"]));
            return asked.map(|text| names(&text)).unwrap_or_default();
        }
        let log = files::read_outside(&self.repo.common_dir().join("logs/refs/stash"), MAX_REFLOG).unwrap_or_default();
        let text = String::from_utf8_lossy(&log);
        let mut found: Vec<Oid> = text.lines().filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        found.reverse();
        found
    }

    /// Reads a commit.
    ///
    /// Errors: `ERR_GIT` if it is missing or malformed.
    pub fn commit(&self, id: Oid) -> Result<CommitInfo> {
        let broken = |e: gix::Error| failed(format!("read commit {id}"), e);
        self.look(id, |repo| {
            let commit = repo.find_commit(id.0).map_err(broken)?;
            let decoded = commit.decode().map_err(broken)?;
            Ok(CommitInfo {
                tree: Oid(decoded.tree()),
                parents: commit.parent_ids().map(|id| Oid(id.detach())).collect(),
                seconds: commit.time().map_err(broken)?.seconds,
                author: decoded.author.to_vec(),
                encoding: decoded.encoding.map(|name| name.to_str_lossy().into_owned()),
                message: decoded.message.to_vec(),
            })
        })
    }

    /// The entry at a path below a tree; `None` if the path leads through an entry that is not a tree.
    ///
    /// Errors: `ERR_GIT` if the tree cannot be read.
    pub fn item(&self, tree: Oid, path: &str) -> Result<Option<Item>> {
        let mut at = Item { mode: Mode::Tree, oid: tree };
        for name in path.split('/') {
            if at.mode != Mode::Tree {
                return Ok(None);
            }
            let broken = |e: gix::Error| failed(format!("read tree {}", at.oid), e);
            let found = self.look(at.oid, |repo| {
                let tree = repo.find_tree(at.oid.0).map_err(broken)?;
                self.is_itself(at.oid, Kind::Tree, &tree.data)?;
                let entry = tree.lookup_entry([name.as_bytes()]).map_err(broken)?;
                Ok(entry.map(|entry| Item { mode: Mode::of(entry.mode().kind()), oid: Oid(entry.oid().to_owned()) }))
            });
            match found? {
                Some(item) => at = item,
                None => return Ok(None),
            }
        }
        Ok(Some(at))
    }

    /// The entries of a tree.
    ///
    /// Errors: `ERR_GIT` if the tree cannot be read.
    pub fn items(&self, tree: Oid) -> Result<BTreeMap<String, Item>> {
        let broken = |e: gix::Error| failed(format!("read tree {tree}"), e);
        let named = |entry: &gix::objs::tree::EntryRef<'_>| {
            let item = Item { mode: Mode::of(entry.mode.kind()), oid: Oid(entry.oid.to_owned()) };
            (entry.filename.to_str_lossy().into_owned(), item)
        };
        self.look(tree, |repo| {
            let found = repo.find_tree(tree.0).map_err(broken)?;
            self.is_itself(tree, Kind::Tree, &found.data)?;
            Ok(found.decode().map_err(broken)?.entries.iter().map(named).collect())
        })
    }

    /// The bytes of a blob.
    ///
    /// Errors: `ERR_GIT` if it is missing, not a blob, or larger than 130 MB.
    pub fn blob(&self, id: Oid) -> Result<Vec<u8>> {
        let broken = |e: gix::Error| failed(format!("read object {id}"), e);
        let size = self.size(id)?;
        if size > MAX_BLOB {
            return Err(failed(format!("read object {id}"), format!("it has {size} bytes")));
        }
        self.look(id, |repo| {
            let data = repo.find_blob(id.0).map_err(broken)?.take_data();
            self.is_itself(id, Kind::Blob, &data)?;
            Ok(data)
        })
    }

    /// The size of an object in bytes.
    ///
    /// Errors: `ERR_GIT` if it is missing.
    pub fn size(&self, id: Oid) -> Result<u64> {
        let broken = |e: gix::Error| failed(format!("inspect object {id}"), e);
        self.look(id, |repo| repo.find_header(id.0).map(|header| header.size()).map_err(broken))
    }

    /// The bytes of the file at a path below a tree; `None` if there is no regular file.
    ///
    /// Errors: `ERR_GIT` if it cannot be read.
    pub fn file(&self, tree: Oid, path: &str) -> Result<Option<Vec<u8>>> {
        match self.item(tree, path)? {
            Some(Item { mode: Mode::File | Mode::Executable, oid }) => self.blob(oid).map(Some),
            _ => Ok(None),
        }
    }

    /// The files that differ between two trees, by path. Equal subtrees are not opened. `None` is the empty tree.
    ///
    /// Errors: `ERR_GIT` if a tree cannot be read.
    pub fn changes(&self, old: Option<Oid>, new: Option<Oid>) -> Result<Vec<Change>> {
        let mut found = Vec::new();
        self.compare("", old, new, &mut found)?;
        Ok(found)
    }

    fn compare(&self, prefix: &str, old: Option<Oid>, new: Option<Oid>, found: &mut Vec<Change>) -> Result<()> {
        if old == new {
            return Ok(());
        }
        let read = |tree: Option<Oid>| tree.map_or_else(|| Ok(BTreeMap::new()), |tree| self.items(tree));
        let (old, new) = (read(old)?, read(new)?);
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let (a, b) = (old.get(name).copied(), new.get(name).copied());
            if a == b {
                continue;
            }
            let path = format!("{prefix}{name}");
            let tree = |item: Option<Item>| item.filter(|i| i.mode == Mode::Tree).map(|i| i.oid);
            let leaf = |item: Option<Item>| item.filter(|i| i.mode != Mode::Tree);
            if leaf(a) != leaf(b) {
                found.push(Change { path: path.clone(), old: leaf(a), new: leaf(b) });
            }
            self.compare(&format!("{path}/"), tree(a), tree(b), found)?;
        }
        Ok(())
    }

    /// References below a prefix such as `refs/heads/`, with the commits they resolve to. One that resolves to none is left
    /// out.
    ///
    /// Errors: `ERR_GIT` if the references cannot be read.
    pub fn references(&self, prefix: &str) -> Result<Vec<(String, Oid)>> {
        if let Some(refs) = self.table_refs()? {
            let names = refs.0.keys().filter(|name| name.starts_with(prefix));
            return Ok(names.filter_map(|name| Some((name.clone(), refs.object(name)?))).collect());
        }
        let broken = |e: &dyn fmt::Display| failed(format!("list {prefix}"), e);
        let platform = self.repo.references().map_err(|e| broken(&e))?;
        let mut found = Vec::new();
        for reference in platform.prefixed(prefix).map_err(|e| broken(&e))? {
            let Ok(mut reference) = reference else { continue };
            let name = reference.name().as_bstr().to_string();
            if let Ok(id) = reference.peel_to_id() {
                found.push((name, Oid(id.detach())));
            }
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    /// The best common ancestor of two commits; `None` if there is none, or if a shallow clone lacks it.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn merge_base(&self, one: Oid, two: Oid) -> Result<Option<Oid>> {
        match self.repo.merge_base(one.0, two.0) {
            Ok(found) => Ok(found.map(|id| Oid(id.detach()))),
            Err(_) if self.is_shallow() => Ok(None),
            Err(e) => Err(failed("find a common ancestor", e)),
        }
    }

    /// All best common ancestors of two commits: several after criss-cross merges.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn merge_bases(&self, one: Oid, two: Oid) -> Result<Vec<Oid>> {
        match self.repo.merge_bases_many(one.0, &[two.0]) {
            Ok(found) => Ok(found.into_iter().map(|id| Oid(id.detach())).collect()),
            Err(_) if self.is_shallow() => Ok(Vec::new()),
            Err(e) => Err(failed("find a common ancestor", e)),
        }
    }

    /// The commits that the tips reach and the hidden ones do not, newest first, at most `most`.
    ///
    /// Errors: `ERR_GIT` if history cannot be read.
    pub fn walk(&self, tips: &[Oid], hidden: &[Oid], most: usize) -> Result<Vec<Oid>> {
        use gix::revision::walk::Sorting;
        use gix::traverse::commit::simple::CommitTimeOrder;
        let known = |id: &&Oid| self.repo.find_header(id.0).is_ok();
        let walk = self
            .repo
            .rev_walk(tips.iter().map(|id| id.0))
            .with_hidden(hidden.iter().filter(known).map(|id| id.0))
            .sorting(Sorting::ByCommitTime(CommitTimeOrder::NewestFirst))
            .all()
            .map_err(|e| failed("walk through history", e))?;
        let mut found = Vec::new();
        for info in walk.take(most) {
            found.push(Oid(info.map_err(|e| failed("walk through history", e))?.id));
        }
        Ok(found)
    }

    /// Whether the clone is shallow, so that its history ends early.
    pub fn is_shallow(&self) -> bool {
        self.repo.is_shallow().unwrap_or(false)
    }

    /// The git operation in progress, in words; `None` if there is none.
    pub fn in_progress(&self) -> Option<&'static str> {
        use gix::state::InProgress;
        // Files of other repositories are references in a reftable.
        if let Ok(Some(refs)) = self.table_refs() {
            let pending = [("CHERRY_PICK_HEAD", "git cherry-pick"), ("REVERT_HEAD", "git revert")];
            if let Some((_, words)) = pending.iter().find(|(name, _)| refs.0.contains_key(*name))
                && self.repo.state().is_none()
            {
                return Some(words);
            }
        }
        Some(match self.repo.state()? {
            InProgress::ApplyMailbox | InProgress::ApplyMailboxRebase => "git am",
            InProgress::Bisect => "git bisect",
            InProgress::CherryPick | InProgress::CherryPickSequence => "git cherry-pick",
            InProgress::Merge => "git merge",
            InProgress::Rebase | InProgress::RebaseInteractive => "git rebase",
            InProgress::Revert | InProgress::RevertSequence => "git revert",
        })
    }

    /// A git setting, such as `branch.main.remote`.
    pub fn setting(&self, key: &str) -> Option<String> {
        self.repo.config_snapshot().string(key).map(|value| value.to_string())
    }

    /// All values of a git setting that may occur more than once.
    pub fn settings(&self, key: &str) -> Vec<String> {
        let all = self.repo.config_snapshot().strings(key).unwrap_or_default();
        all.into_iter().map(|value| value.to_string()).collect()
    }

    /// A boolean git setting.
    pub fn flag(&self, key: &str) -> bool {
        self.repo.config_snapshot().boolean(key).unwrap_or(false)
    }

    /// The names of the remotes, sorted.
    pub fn remotes(&self) -> Vec<String> {
        self.repo.remote_names().iter().map(|name| name.to_string()).collect()
    }

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

    /// The null object name, as long as the names of this repository.
    pub fn no_object(&self) -> Oid {
        Oid(gix::ObjectId::null(self.repo.object_hash()))
    }

    /// Writes bytes as a blob.
    ///
    /// Errors: `ERR_GIT` if the object folder cannot be written.
    pub fn write_blob(&self, bytes: &[u8]) -> Result<Oid> {
        self.repo.write_blob(bytes).map(|id| Oid(id.detach())).map_err(|e| failed("write an object", e))
    }

    /// The object name that bytes would have as a blob.
    pub fn name_of(&self, bytes: &[u8]) -> Result<Oid> {
        gix::objs::compute_hash(self.repo.object_hash(), gix::objs::Kind::Blob, bytes)
            .map(Oid)
            .map_err(|e| failed("hash a file", e))
    }

    /// Writes the tree that results from `base` by setting and removing files. `None` is the empty tree.
    ///
    /// Errors: `ERR_GIT` if a tree cannot be read or written.
    pub fn write_tree(&self, base: Option<Oid>, changes: &[(String, Option<Item>)]) -> Result<Oid> {
        let broken = |e: gix::Error| failed("write a tree", e);
        let base = base.map_or_else(|| self.repo.empty_tree().id, |tree| tree.0);
        if changes.is_empty() {
            return Ok(Oid(base));
        }
        let mut editor = self.repo.edit_tree(base).map_err(broken)?;
        for (path, item) in changes {
            match item {
                Some(item) => editor.upsert(path.as_str(), item.mode.kind(), item.oid.0).map_err(broken)?,
                None => editor.remove(path.as_str()).map_err(broken)?,
            };
        }
        Ok(Oid(editor.write().map_err(broken)?.detach()))
    }

    /// Writes a commit of agentpm's own, which no branch of the user contains.
    ///
    /// Errors: `ERR_GIT` if the object folder cannot be written.
    pub fn write_commit(&self, tree: Oid, parent: Option<Oid>, message: &str, seconds: i64) -> Result<Oid> {
        let by = gix::actor::Signature {
            name: "agentpm".into(),
            email: "agentpm@localhost".into(),
            time: gix::date::Time::new(seconds, 0),
        };
        let commit = gix::objs::Commit {
            tree: tree.0,
            parents: parent.map(|parent| parent.0).into_iter().collect(),
            author: by.clone(),
            committer: by,
            encoding: None,
            message: message.into(),
            extra_headers: Vec::new(),
        };
        self.repo.write_object(&commit).map(|id| Oid(id.detach())).map_err(|e| failed("write an object", e))
    }

    /// The short, unambiguous name of a commit.
    pub fn short(&self, id: Oid) -> String {
        id.0.attach(&self.repo).shorten_or_id().to_string()
    }
}
