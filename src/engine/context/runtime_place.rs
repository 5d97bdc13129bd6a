//! Where the runtime state of a clone lies, and which worktree asks.
//!
//! Guarantees one place for all processes of a clone, whatever each of them may write: the place is where the journal is; where
//! there is none yet, what `[runtime] place` says. A process that cannot write there refuses changes, it never takes another.
//! Leaves to others: what lies there (`runtime`).

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Workspace;
use crate::env::Env;
use crate::env::files::{Dir, Kind};
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::git::Repo;
use crate::model::id::Id;
use crate::model::settings::RuntimePlace;
use crate::runtime::journal::{JOURNAL, Machine};
use crate::runtime::waiting;
use crate::runtime::worktree::{self, StoreKey};
use crate::store::layout::{FORMAT, LOCAL, STORE, Store};

/// Name of the runtime folder in the git folder.
pub(crate) const RUNTIME: &str = "agentpm";

/// Another worktree of the clone whose files can be reached.
pub(crate) struct OtherWorktree {
    /// Its id, if a change was made there.
    pub id: Option<Id>,
    /// Top of its work tree.
    pub top: PathBuf,
    /// What is checked out there: the contents of git's HEAD.
    pub head: String,
}

/// The runtime folder of a store's clone; the folder may not exist yet.
pub(crate) fn runtime_path(repo: Option<&Repo>, store: &Store, place: RuntimePlace) -> PathBuf {
    let local = store.path().join(LOCAL);
    let Some(repo) = repo else { return local };
    let shared = repo.common_dir.join(RUNTIME);
    if has_journal(store.dir.dir(LOCAL)) {
        return local;
    }
    if has_journal(Dir::open(&shared)) {
        return shared;
    }
    match place {
        RuntimePlace::Worktree => local,
        RuntimePlace::Git if is_in_other_worktrees(repo, &store.name) => local,
        RuntimePlace::Git => shared,
    }
}

/// Whether a runtime folder lies in the store and git tracks files in it: state that came with a commit is never opened.
pub(crate) fn is_tracked(env: &Env, repo: &Repo, store: &Store, path: &Path) -> bool {
    let tracked = || repo.objects()?.is_in_index(&repo.index_in_force(env), &store.shown(LOCAL));
    path.starts_with(store.path()) && tracked().unwrap_or(true)
}

/// Whether a journal is in a folder. One that this process may not look into is taken to have one: another user's state must not
/// be passed over.
fn has_journal(dir: std::io::Result<Dir>) -> bool {
    match dir.and_then(|dir| dir.kind(JOURNAL)) {
        Ok(kind) => kind == Some(Kind::File),
        Err(e) => e.kind() == ErrorKind::PermissionDenied,
    }
}

/// Whether another worktree keeps its runtime state in its store: then the whole clone does.
fn is_in_other_worktrees(repo: &Repo, store: &str) -> bool {
    let git_dirs = repo.other_git_dirs().unwrap_or_default();
    let mut tops = git_dirs.iter().filter_map(|git_dir| repo.top_of(git_dir, None));
    tops.any(|top| has_journal(Dir::open(&top.join(store).join(LOCAL))))
}

impl Workspace {
    /// Where the runtime folder is, or would be.
    pub(crate) fn runtime_path(&self) -> &Path {
        &self.runtime_path
    }

    /// The runtime folder, where there was one when the store was opened.
    pub fn runtime(&self) -> Option<&Dir> {
        self.runtime.get()
    }

    /// Makes the runtime folder where it is missing and can be made, for a request that stays long enough to see what others put
    /// there.
    pub(crate) fn choose_runtime_place(&self) {
        // A disk that cannot be written holds nothing that could change.
        if self.runtime().is_none()
            && let Ok(runtime) = self.runtime_to_write()
        {
            // Another request may have been first; it made the same folder.
            let _ = self.runtime.set(runtime);
        }
    }

    /// The runtime folder, made where it is missing, for a caller that is about to write. This worktree has an id from then on.
    ///
    /// Errors: `ERR_IO` where this process cannot write it, `ERR_INVALID_STATE` for a store of another format, `ERR_CORRUPT` where git tracks
    /// the folder.
    pub(crate) fn runtime_to_write(&self) -> Result<Dir> {
        if self.settings.format != FORMAT {
            return Err(self.other_format());
        }
        self.runtime_of_any_format()
    }

    /// The refusal to write a store of another format.
    pub(crate) fn other_format(&self) -> Error {
        let format = self.settings.format;
        let hint = match format > FORMAT {
            true => "use a newer agentpm; reading works with this one",
            false => "agentpm migrate --dry-run shows what changes; agentpm migrate changes it, in one commit",
        };
        Error::state(format!("this store has format {format}, this agentpm writes format {FORMAT}")).hint(hint)
    }

    /// As [`Workspace::runtime_to_write`], for a store of any format.
    ///
    /// Errors: as there.
    pub(crate) fn runtime_of_any_format(&self) -> Result<Dir> {
        if self.runtime_tracked {
            return Err(tracked(&self.store.shown(LOCAL)));
        }
        let dir = self.make_runtime(&self.runtime_path)?;
        if self.store_key.get().is_none() {
            let own_path = self.own_runtime_path();
            let linked = if own_path == self.runtime_path { None } else { Some(self.make_runtime(&own_path)?) };
            let own = linked.as_ref().unwrap_or(&dir);
            let top = self.repo.as_ref().map_or(self.store.path(), |repo| &repo.work_dir);
            // From a chance of its own: what a command names must not depend on whether it is the first.
            let worktree = worktree::ensure(own, top, || self.env.fork().new_id())?;
            // Another thread may have been first; it read the same file.
            let _ = self.store_key.set(self.key_in(worktree));
        }
        Ok(dir)
    }

    fn make_runtime(&self, path: &Path) -> Result<Dir> {
        let shared = self.repo.as_ref().filter(|_| self.runtime_is_shared()).map_or(0, Repo::shared_mode);
        let made = match Dir::open(path) {
            Ok(dir) => Ok(dir.sharing(shared)),
            Err(_) => outside::make_dirs(path).and_then(|()| Dir::open(path)).and_then(|dir| {
                let dir = dir.sharing(shared);
                dir.share().map(|()| dir)
            }),
        };
        match made {
            Ok(dir) if dir.is_writable() => Ok(dir),
            Ok(_) => Err(self.not_writable(path, "permission denied, or a read-only disk")),
            Err(e) => Err(self.not_writable(path, &e.to_string())),
        }
    }

    fn not_writable(&self, path: &Path, why: &str) -> Error {
        let owner = match outside::owner(path) {
            Some(owner) => format!(", which belongs to user {owner} and"),
            None => ", which".to_owned(),
        };
        let hint = match outside::metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound && self.runtime_is_shared() => {
                "make the git folder writable for this user; or set place = \"worktree\" under [runtime] in \
                 .agentpm/config.toml"
            }
            _ => "make it writable for this user, then run the same command again",
        };
        Error::new(
            Code::Io,
            format!(
                "the runtime state of this clone is in {}{owner} cannot be written ({why}); nothing was written",
                path.display()
            ),
        )
        .with(json!({ "path": path.display().to_string() }))
        .hint(hint)
    }

    /// Why this process cannot use the runtime state of the clone, or may not know all of it; `None` where it can. A disk that is
    /// mounted read-only is no trouble.
    pub(crate) fn runtime_trouble(&self) -> Option<String> {
        let path = &self.runtime_path;
        if self.runtime_tracked {
            return Some(tracked(&self.store.shown(LOCAL)).message);
        }
        let opened = Dir::open(path);
        let refused = match &opened {
            Ok(dir) => {
                let named = [(path.clone(), "."), (path.join(JOURNAL), JOURNAL)].into_iter();
                named.filter_map(|(path, name)| Some((path, dir.check_writable(name).err()?))).next()
            }
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => Some((path.clone(), std::io::Error::from(e.kind()))),
        };
        if let Some((path, e)) = refused.filter(|(_, e)| e.kind() == ErrorKind::PermissionDenied) {
            let owner = outside::owner(&path).map(|owner| format!(" of user {owner}")).unwrap_or_default();
            return Some(format!("{}{owner} cannot be used by this user: {e}", path.display()));
        }
        let shared = self.repo.as_ref().map(|repo| repo.common_dir.join(RUNTIME));
        let other = shared.filter(|shared| shared != path && has_journal(Dir::open(shared)))?;
        Some(format!("{} is used, and {} holds state of this clone too", path.display(), other.display()))
    }

    /// Whether leases and locks are shared with the other worktrees of this clone.
    pub fn runtime_is_shared(&self) -> bool {
        !self.runtime_tracked && !self.runtime_path.starts_with(self.store.path())
    }

    /// The folder for what this worktree alone keeps: its id and its read model.
    pub(crate) fn own_runtime_path(&self) -> PathBuf {
        match &self.repo {
            Some(repo) if self.runtime_is_shared() => repo.git_dir.join(RUNTIME),
            _ => self.runtime_path.clone(),
        }
    }

    /// How the journal names this store; `None` where no change was made in this worktree yet.
    pub(crate) fn store_key(&self) -> Option<&StoreKey> {
        if self.store_key.get().is_none() {
            let own = Dir::open(&self.own_runtime_path()).ok()?;
            let known = worktree::read(&own)?;
            // Another thread may have been first; it read the same file.
            let _ = self.store_key.set(self.key_in(known.id));
        }
        self.store_key.get()
    }

    /// As [`Workspace::store_key`], for a caller that has been given the runtime folder to write.
    ///
    /// Errors: those of [`Workspace::runtime_to_write`].
    pub(crate) fn store_key_to_write(&self) -> Result<&StoreKey> {
        if self.store_key.get().is_none() {
            self.runtime_to_write()?;
        }
        self.store_key.get().ok_or_else(|| Error::new(Code::Io, "this worktree has no id; nothing was written"))
    }

    fn key_in(&self, worktree: Id) -> StoreKey {
        StoreKey { worktree, store: self.store.name.clone() }
    }

    /// The other worktrees of this clone whose files can be reached.
    ///
    /// Errors: `ERR_IO` where the list of worktrees cannot be read.
    pub(crate) fn other_worktrees(&self) -> Result<Vec<OtherWorktree>> {
        let Some(repo) = &self.repo else { return Ok(Vec::new()) };
        let known = |git_dir: &PathBuf| Dir::open(&git_dir.join(RUNTIME)).ok().and_then(|own| worktree::read(&own));
        let reached = repo.other_git_dirs()?.into_iter().filter_map(|git_dir| {
            let known = known(&git_dir);
            let top = repo.top_of(&git_dir, known.as_ref().map(|known| known.top.as_path()))?;
            let there = Repo { work_dir: top.clone(), git_dir, common_dir: repo.common_dir.clone() };
            Some(OtherWorktree { id: known.map(|known| known.id), top, head: there.head_text() })
        });
        Ok(reached.collect())
    }

    /// Flushes each disk on which something of this worktree's plan lies: files, git's folder and the records may lie on several.
    ///
    /// Errors: `ERR_IO`.
    pub(crate) fn flush_disks(&self) -> Result<()> {
        self.flush_own_disks().map(drop)
    }

    /// As [`Workspace::flush_disks`]. Returns the disks.
    fn flush_own_disks(&self) -> Result<BTreeSet<u64>> {
        let mut folders = vec![self.store.path(), &self.runtime_path];
        folders.extend(self.repo.iter().flat_map(|repo| [&*repo.work_dir, &*repo.common_dir, &*repo.git_dir]));
        let mut flushed = BTreeSet::new();
        for folder in folders {
            flush_once(folder, &mut flushed).map_err(|e| Error::io("flush the disk of", folder, &e))?;
        }
        Ok(flushed)
    }

    /// The worktrees of this clone, this one too, for which records wait. One that was removed is none any more.
    ///
    /// Errors: `ERR_IO` where they cannot be listed.
    pub(crate) fn waiting_worktrees(&self) -> Result<Vec<Id>> {
        let (Some(runtime), Some(repo)) = (self.runtime(), &self.repo) else { return Ok(Vec::new()) };
        let mut waiting = waiting::worktrees(runtime)?;
        if !waiting.is_empty() {
            let id = |git_dir: &PathBuf| worktree::read(&Dir::open(&git_dir.join(RUNTIME)).ok()?).map(|known| known.id);
            let mut there: Vec<Id> = repo.other_git_dirs()?.iter().filter_map(id).collect();
            there.extend(self.store_key().map(|key| key.worktree));
            waiting.retain(|id| there.contains(id));
        }
        Ok(waiting)
    }

    /// The store of a key in this worktree or another one that can be reached; `None` elsewhere. Only real stores count.
    pub(crate) fn store_of(&self, key: &StoreKey) -> Option<Store> {
        let own = self.store_key().is_some_and(|own| own.worktree == key.worktree);
        let top = match &self.repo {
            Some(repo) if own => repo.work_dir.clone(),
            _ => self.other_worktrees().ok()?.into_iter().find(|other| other.id == Some(key.worktree))?.top,
        };
        let path = top.join(&key.store);
        let is_inside = path.file_name() == Some(STORE.as_ref()) && !key.store.split('/').any(|part| part == "..");
        is_inside.then(|| Store::at(&path, &top).ok().flatten()).flatten()
    }
}

impl Machine for Workspace {
    fn up(&self) -> u64 {
        self.env.up()
    }

    /// What is projected into other worktrees counts too. A disk of theirs that fails does not hold up this one.
    fn flush(&self) -> Result<bool> {
        let mut flushed = self.flush_own_disks()?;
        let mut all = true;
        for other in self.other_worktrees()? {
            let store = other.top.join(&self.store.name);
            // A worktree that was removed, or has no plan, holds nothing.
            if let Err(e) = flush_once(&store, &mut flushed)
                && e.kind() != ErrorKind::NotFound
            {
                tracing::warn!(folder = %store.display(), error = %e, "the disk of another worktree was not flushed");
                all = false;
            }
        }
        Ok(all)
    }
}

/// Flushes the disk of a folder, unless it was flushed already.
fn flush_once(folder: &Path, flushed: &mut BTreeSet<u64>) -> std::io::Result<()> {
    let dir = Dir::open(folder)?;
    if flushed.insert(dir.device()?) { dir.sync_disk() } else { Ok(()) }
}

fn tracked(local: &str) -> Error {
    Error::new(
        Code::Corrupt,
        format!("git tracks files in {local}; runtime state that came with a commit is never opened"),
    )
    .with(json!({ "path": local }))
    .hint("move it away after looking at it; if this clone made it: git rm -r --cached .agentpm/.local")
}
