//! Writes objects: blobs, trees, and commits of agentpm's own.
//!
//! Guarantees that no reference reaches what it writes until another module moves one.

use super::{Item, Objects, Oid, failed};
use crate::error::Result;

impl Objects {
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

    /// The object name that the bytes of a reader, of this length, would have as a blob. They are not in memory at once.
    ///
    /// Errors: `ERR_GIT` if it does not read so many.
    pub fn name_of_stream(&self, mut bytes: impl std::io::Read, length: u64) -> Result<Oid> {
        let (hash, kind) = (self.repo.object_hash(), gix::objs::Kind::Blob);
        let (mut progress, never) = (gix::progress::Discard, std::sync::atomic::AtomicBool::new(false));
        gix::objs::compute_stream_hash(hash, kind, &mut bytes, length, &mut progress, &never)
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
}
