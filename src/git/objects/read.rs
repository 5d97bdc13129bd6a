//! Reads commits, trees and files at any revision.
//!
//! Guarantees that equal subtrees are not opened when trees are compared.
//! Leaves to others: objects that are missing here (`lookup`, `promisor`).

use std::collections::{BTreeMap, BTreeSet};

use gix::bstr::ByteSlice as _;
use gix::objs::Kind;

use super::{Change, CommitInfo, Item, Mode, Objects, Oid, failed};
use crate::error::Result;

/// The largest blob that is read, in bytes.
const MAX_BLOB: u64 = 130 * 1024 * 1024;

impl Objects {
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
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
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
}
