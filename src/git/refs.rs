//! The tips of the branches, read from git's own files: listing them must cost less than opening the repository.
//!
//! Guarantees one pass over loose and packed references. A branch that is moved or packed in the meantime is seen at its old
//! or its new value. No mark of what was read is kept: some tools write references in place, which changes no folder.
//! Leaves to others: what a commit contains.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use super::reftable::{PLACEHOLDER, TableRefs, Target};
use super::{Oid, Repo};
use crate::env::files::{Dir, Kind};
use crate::env::outside;
use crate::error::{Error, Result};

/// The largest file of packed references that is read, in bytes.
const MAX_PACKED: u64 = 256 * 1024 * 1024;
/// The longest loose reference that is read, in bytes.
const MAX_LOOSE: u64 = 4096;

/// Branches by their full names, with their commits.
#[derive(Clone, Debug, Default)]
pub struct Tips {
    /// Local branches (`refs/heads/…`), remote-tracking ones (`refs/remotes/…`), and a remote's branches as of the last claim
    /// (`refs/agentpm/remotes/…/heads/…`). Symbolic ones are left out.
    pub branches: BTreeMap<String, Oid>,
    /// The commit that this worktree has checked out; `None` if there is none yet.
    pub head: Option<Oid>,
}

impl Repo {
    /// The tips of all local and remote-tracking branches.
    ///
    /// Errors: `ERR_IO` if references cannot be read, `ERR_GIT` for a malformed reftable.
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
        match outside::read(&packed, MAX_PACKED) {
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
                    // A folder that git removes because it became empty contains nothing to read.
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
