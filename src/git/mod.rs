//! The repository that contains a store: its location and its user.
//!
//! Guarantees discovery as git does it (linked worktrees, `.git` as a file, submodules), regardless of `GIT_DIR` and similar
//! variables. A repository of another user is refused as git refuses it. Only this module uses the git library.
//! Leaves to others: what is in `.agentpm`.

mod lookup;
mod objects;
mod packs;
mod program;
mod promisor;
mod refs;
mod reftable;
mod remote_refs;
mod staged;

pub use objects::{Change, CommitInfo, Head, HiddenPaths, Item, Mode, Objects, Oid};
pub use program::{Git, driver_command, quoted, words};
pub use refs::Tips;
pub use remote_refs::{Push, RemoteRefs, is_race, server_words};
pub use staged::Staged;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use gix::discover::upwards::{self, Options};
use gix::discover::{repository, upwards_opts};

use reftable::{PLACEHOLDER, Target};

use crate::env::files;
use crate::env::outside;
use crate::error::{Code, Error, Result};

/// A git work tree and the git folders behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    /// The top of the work tree.
    pub work_dir: PathBuf,
    /// The git folder of this worktree.
    pub git_dir: PathBuf,
    /// The git folder that all worktrees of the clone share.
    pub common_dir: PathBuf,
}

/// Finds the work tree that contains `start`; `None` if there is no repository, or one without a work tree.
///
/// Errors: `ERR_GIT` if the repository belongs to another user or cannot be read.
pub fn discover(start: &Path) -> Result<Option<Repo>> {
    Ok(find(start)?.filter(|repo| !repo.work_dir.as_os_str().is_empty()))
}

/// Fails if `start` is in a bare repository; the error names its worktrees.
///
/// Errors: one of that code; otherwise as [`discover`].
pub fn refuse_bare(start: &Path, code: Code) -> Result<()> {
    let Some(bare) = find(start)?.filter(|repo| repo.work_dir.as_os_str().is_empty()) else { return Ok(()) };
    let message = format!("{} is in a bare repository, which has no work tree", start.display());
    let tops = bare.other_git_dirs()?.into_iter().filter_map(|git_dir| bare.top_of(&git_dir, None));
    let hint = match tops.min() {
        Some(top) => format!("change to one of its worktrees, such as {} (git worktree list shows all)", top.display()),
        None => "add a worktree with git worktree add PATH BRANCH, and run agentpm in it".into(),
    };
    Err(Error::new(code, message).hint(hint))
}

/// The repository that contains `start`; its `work_dir` is empty if it has none.
fn find(start: &Path) -> Result<Option<Repo>> {
    let start = outside::canonical(start).map_err(|e| Error::io("find the folder", start, &e))?;
    let found = match upwards_opts(&start, Options::default()) {
        Ok((path, gix::sec::Trust::Full)) => path,
        Ok((path, _)) => {
            trusted_after_all(&start)?;
            path
        }
        Err(e) if nothing_found(&e) => return Ok(None),
        Err(e) => return Err(Error::new(Code::Git, format!("cannot read the repository at {}: {e}", start.display()))),
    };
    let (work_dir, git_dir) = match found {
        repository::Path::WorkTree(work_dir) => {
            let git_dir = work_dir.join(".git");
            (work_dir, git_dir)
        }
        repository::Path::LinkedWorkTree { work_dir, git_dir } => (work_dir, git_dir),
        repository::Path::Repository(git_dir) => (PathBuf::new(), git_dir),
    };
    let canonical = |path: &Path| outside::canonical(path).map_err(|e| Error::io("find the git folder", path, &e));
    let dot_git_is_file = outside::metadata(&work_dir.join(".git")).is_ok_and(|m| m.is_file());
    let git_dir = canonical(&git_dir)?;
    let common_dir = canonical(&common_dir(&git_dir)?)?;
    let has_no_work_tree = work_dir.as_os_str().is_empty()
        || (git_dir == common_dir && may_be_bare(&git_dir, dot_git_is_file) && is_bare(&git_dir));
    let work_dir = if has_no_work_tree { PathBuf::new() } else { canonical(&work_dir)? };
    Ok(Some(Repo { work_dir, git_dir, common_dir }))
}

/// Whether the configuration must be read to know if a repository is bare: not for one that has an index and is a folder
/// `.git`.
fn may_be_bare(git_dir: &Path, dot_git_is_file: bool) -> bool {
    dot_git_is_file || outside::metadata(&git_dir.join("index")).is_err()
}

/// Whether git's configuration says that a repository has no work tree, as `git clone --bare` sets it. A `.git` file next to
/// its worktrees may lead to such a repository.
fn is_bare(git_dir: &Path) -> bool {
    gix::open(git_dir).is_ok_and(|repo| {
        let config = repo.config_snapshot();
        config.boolean("core.bare") == Some(true) && config.string("core.worktree").is_none()
    })
}

fn nothing_found(error: &gix::Error) -> bool {
    matches!(
        error.downcast_any_ref::<upwards::Error>(),
        Some(
            upwards::Error::NoGitRepository { .. }
                | upwards::Error::NoGitRepositoryWithinCeiling { .. }
                | upwards::Error::NoGitRepositoryWithinFs { .. }
        )
    )
}

/// Trusts a folder of another user only if git's `safe.directory` names it.
fn trusted_after_all(start: &Path) -> Result<()> {
    let options = gix::open::Options::default().bail_if_untrusted(true);
    match gix::discover_opts(start, Options::default(), options) {
        Ok(_) => Ok(()),
        Err(e) => {
            Err(Error::new(Code::Git, format!("the repository at {} belongs to another user: {e}", start.display()))
                .hint("if you trust it, run git config --global --add safe.directory PATH, as for git itself"))
        }
    }
}

/// The folder that a worktree's git folder shares with the others: named in its `commondir`, else itself.
fn common_dir(git_dir: &Path) -> Result<PathBuf> {
    let file = git_dir.join("commondir");
    match outside::read(&file, 4096) {
        Ok(bytes) => Ok(git_dir.join(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']))),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(git_dir.to_owned()),
        Err(e) => Err(Error::io("read", &file, &e)),
    }
}

impl Repo {
    /// `user.name` of the repository's configuration, if set.
    pub fn user_name(&self) -> Option<String> {
        let repo = gix::open(&self.git_dir).ok()?;
        let name = repo.config_snapshot().string("user.name")?;
        Some(name.to_string())
    }

    /// The contents of this worktree's HEAD, empty if it cannot be read.
    pub fn head_text(&self) -> String {
        let text = self.head_file();
        if text != PLACEHOLDER {
            return text;
        }
        let refs = self.table_refs().unwrap_or_default();
        match refs.0.get("HEAD") {
            Some(Target::Symbolic(name)) => format!("ref: {name}"),
            Some(Target::Object { id, .. }) => id.to_string(),
            None => String::new(),
        }
    }

    /// The file HEAD, whichever format the references have.
    fn head_file(&self) -> String {
        let bytes = outside::read(&self.git_dir.join("HEAD"), 4096).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// The permissions that files in the git folder get regardless of the umask (`core.sharedRepository`), such as 0o660; 0
    /// if the repository is not shared.
    pub fn shared_mode(&self) -> u32 {
        use std::os::unix::fs::PermissionsExt as _;
        // Git made the folder of a shared repository writable for its group.
        let group_writes = outside::metadata(&self.common_dir).is_ok_and(|dir| dir.permissions().mode() & 0o020 != 0);
        if !group_writes {
            return 0;
        }
        let config = self.common_dir.join("config");
        let config = gix::config::File::from_path_no_includes(config, gix::config::Source::Local);
        let value =
            config.ok().and_then(|config| config.string("core.sharedRepository").map(|value| value.to_string()));
        value.map_or(0, |value| shared_mode(&value))
    }

    /// Whether git may leave files out of this work tree: it has patterns of a sparse checkout, active or not.
    pub fn has_sparse_patterns(&self) -> bool {
        outside::metadata(&self.git_dir.join("info/sparse-checkout")).is_ok()
    }

    /// The mark of this worktree's index; git replaces the index whenever it changes files.
    pub fn index_mark(&self) -> files::Mark {
        outside::mark(&self.git_dir.join("index"))
    }

    /// The git folders of the other worktrees of this clone.
    ///
    /// Errors: `ERR_IO` if the list of worktrees cannot be read.
    pub fn other_git_dirs(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        if self.common_dir != self.git_dir {
            found.push(self.common_dir.clone());
        }
        let list = self.common_dir.join("worktrees");
        let dir = match files::Dir::open(&list) {
            Ok(dir) => dir,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(found),
            Err(e) => return Err(Error::io("read", &list, &e)),
        };
        let names = dir.list().map_err(|e| Error::io("read", &list, &e))?;
        found.extend(names.iter().map(|(name, _)| list.join(name)).filter(|git_dir| *git_dir != self.git_dir));
        Ok(found)
    }

    /// The top of the work tree of one of [`Repo::other_git_dirs`]; `None` if it cannot be reached from here. `hint` is its
    /// last known path: git does not note the main work tree of a separate git folder.
    pub fn top_of(&self, git_dir: &Path, hint: Option<&Path>) -> Option<PathBuf> {
        let noted = match git_dir == self.common_dir {
            true => git_dir.parent().map(Path::to_owned),
            false => outside::read(&git_dir.join("gitdir"), 4096).ok().and_then(|bytes| {
                let dot_git = git_dir.join(String::from_utf8_lossy(&bytes).trim_end());
                dot_git.parent().map(Path::to_owned)
            }),
        };
        let candidates = noted.into_iter().chain(hint.map(Path::to_owned));
        candidates.filter_map(|top| outside::canonical(&top).ok()).find(|top| is_top_of(top, git_dir))
    }
}

/// Whether a folder's `.git` is, or leads to, this git folder: the path alone may lead to another repository by now.
fn is_top_of(top: &Path, git_dir: &Path) -> bool {
    let dot_git = top.join(".git");
    let leads_to = match outside::read(&dot_git, 4096) {
        Ok(bytes) => match String::from_utf8_lossy(&bytes).trim_end().strip_prefix("gitdir:") {
            Some(path) => top.join(path.trim_start()),
            None => return false,
        },
        Err(_) => dot_git,
    };
    outside::canonical(&leads_to).is_ok_and(|path| path == *git_dir)
}

/// The value of `core.sharedRepository`, parsed as git does.
fn shared_mode(value: &str) -> u32 {
    match value.to_ascii_lowercase().as_str() {
        "umask" | "false" | "no" | "off" | "0" => 0,
        "group" | "true" | "yes" | "on" | "1" | "" => 0o660,
        "all" | "world" | "everybody" | "2" => 0o664,
        octal => u32::from_str_radix(octal, 8).map_or(0, |mode| mode & 0o666),
    }
}
