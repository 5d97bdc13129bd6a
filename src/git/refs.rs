//! Where the branches stand, read from git's own files: listing them must cost less than opening the repository.
//!
//! Promises: one pass over loose and packed references; a branch that is moved or packed meanwhile is seen at its old or its
//! new place. No mark is kept of what was read: some tools write references in place, so that no folder tells of it.
//! Refuses to know: what a commit holds.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::reftable::{PLACEHOLDER, TableRefs, Target};
use super::{Oid, Repo};
use crate::env::files::{self, Dir, Kind};
use crate::error::{Error, Result};

/// Largest file of packed references that is read, in bytes.
const MAX_PACKED: u64 = 256 * 1024 * 1024;
/// Longest loose reference that is read, in bytes.
const MAX_LOOSE: u64 = 4096;

/// Branches by their whole names, with what they point at.
#[derive(Clone, Debug, Default)]
pub struct Tips {
    /// Local branches (`refs/heads/…`), remote-tracking ones (`refs/remotes/…`), and those of a remote as a claim last saw them
    /// (`refs/agentpm/remotes/…/heads/…`). Symbolic ones are left out.
    pub branches: BTreeMap<String, Oid>,
    /// What this worktree has checked out; `None` where there is no commit yet.
    pub head: Option<Oid>,
}

impl Repo {
    /// Where all local and remote-tracking branches stand.
    ///
    /// Errors: `ERR_IO` where references cannot be read, `ERR_GIT` for a malformed reftable.
    pub fn tips(&self) -> Result<Tips> {
        let head = self.head_file();
        if head == PLACEHOLDER {
            return Ok(self.table_refs()?.tips());
        }
        let mut branches = BTreeMap::new();
        let mut take = |name: &str, text: &str| {
            if let Ok(oid) = text.parse()
                && is_branch(name)
            {
                branches.entry(name.to_owned()).or_insert(oid);
            }
        };
        // Loose ones first: packing writes the packed file before it removes them, so that none is missed.
        for top in ["refs/heads", "refs/remotes", "refs/agentpm/remotes"] {
            self.loose(top, &mut take)?;
        }
        let packed = self.common_dir.join("packed-refs");
        match files::read_outside(&packed, MAX_PACKED) {
            Ok(bytes) => {
                for line in String::from_utf8_lossy(&bytes).lines() {
                    if let Some((oid, name)) = line.split_once(' ') {
                        take(name, oid);
                    }
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("read", &packed, &e)),
        }
        let head = match head.strip_prefix("ref:") {
            Some(name) => branches.get(name.trim()).copied(),
            None => head.parse().ok(),
        };
        Ok(Tips { branches, head })
    }

    fn loose(&self, top: &str, take: &mut impl FnMut(&str, &str)) -> Result<()> {
        let path = self.common_dir.join(top);
        let dir = match Dir::open(&path) {
            Ok(dir) => dir,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("open", &path, &e)),
        };
        let mut open = vec![(top.to_owned(), dir)];
        while let Some((prefix, dir)) = open.pop() {
            for (name, kind) in dir.list().map_err(|e| Error::io("list", dir.path(), &e))? {
                let whole = format!("{prefix}/{name}");
                match kind {
                    // A folder that git removes because it became empty holds nothing to read.
                    Kind::Dir => open.extend(dir.dir(&name).ok().map(|below| (whole, below))),
                    Kind::File if !name.ends_with(".lock") => {
                        let bytes = dir.read(&name, MAX_LOOSE).unwrap_or_default();
                        take(&whole, String::from_utf8_lossy(&bytes).trim_end());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn is_branch(name: &str) -> bool {
    let seen = name.strip_prefix("refs/agentpm/remotes/").is_some_and(|rest| rest.contains("/heads/"));
    seen || name.starts_with("refs/heads/") || name.starts_with("refs/remotes/")
}

impl TableRefs {
    fn tips(self) -> Tips {
        let head = self.object("HEAD");
        let branches =
            self.0.into_iter().filter(|(name, _)| is_branch(name)).filter_map(|(name, target)| match target {
                Target::Object { id, .. } => Some((name, id)),
                Target::Symbolic(_) => None,
            });
        Tips { branches: branches.collect(), head }
    }
}
