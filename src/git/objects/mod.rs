//! Git's objects and references, read in process.
//!
//! Guarantees that it works in process, except for what the library cannot do ([`Repo::objects_with`]). It moves no branch
//! and changes no work tree or index.
//! Leaves to others: what a path means.

mod index;
mod read;
mod revisions;
mod write;

pub use index::HiddenPaths;

use std::cell::RefCell;
use std::fmt;
use std::str::FromStr;

use gix::objs::tree::EntryKind;
use gix::prelude::ObjectIdExt as _;

use super::Repo;
use super::lookup::Reopening;
use super::promisor::Fetcher;
use crate::env::Env;
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

impl Objects {
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

    /// The null object name, as long as the names of this repository.
    pub fn no_object(&self) -> Oid {
        Oid(gix::ObjectId::null(self.repo.object_hash()))
    }

    /// The short, unambiguous name of a commit.
    pub fn short(&self, id: Oid) -> String {
        id.0.attach(&self.repo).shorten_or_id().to_string()
    }
}
