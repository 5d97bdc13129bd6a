//! References of a repository in git's reftable format (`git init --ref-format=reftable`), read from its tables.
//!
//! Guarantees that every read sees the stack of tables as of one moment, even while git compacts it. A truncated or malformed
//! table is an error, never a missing reference.
//! Leaves to others: reflogs and all writing, which the git program does.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::objects::failed;
use super::{Oid, Repo};
use crate::env::outside;
use crate::error::{Error, Result};

/// The largest table that is read, in bytes.
const MAX_TABLE: u64 = 256 * 1024 * 1024;
/// The longest list of tables that is read, in bytes.
const MAX_LIST: u64 = 1024 * 1024;
/// How often the stack is read again because git has compacted it in the meantime.
const READS: usize = 20;
/// The longest chain of symbolic references that is followed, as in git.
const MAX_DEPTH: usize = 5;
/// What git writes into HEAD of such a repository, for programs that only read files.
pub(super) const PLACEHOLDER: &str = "ref: refs/heads/.invalid";

/// What a reference holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// An object; for an annotated tag also the object it peels to.
    Object { id: Oid, peeled: Option<Oid> },
    /// Another reference, by its full name.
    Symbolic(String),
}

/// All references that one worktree sees, by their full names.
#[derive(Clone, Debug, Default)]
pub(super) struct TableRefs(pub(super) BTreeMap<String, Target>);

impl TableRefs {
    /// The object that a reference resolves to, through symbolic references and annotated tags.
    pub(super) fn object(&self, name: &str) -> Option<Oid> {
        let mut name = name;
        for _ in 0..MAX_DEPTH {
            match self.0.get(name)? {
                Target::Object { id, peeled } => return Some(peeled.unwrap_or(*id)),
                Target::Symbolic(next) => name = next,
            }
        }
        None
    }
}

impl Repo {
    /// Whether references are stored as a reftable.
    pub(super) fn has_reftable(&self) -> bool {
        self.head_file() == PLACEHOLDER
    }

    /// All references of a repository with a reftable.
    ///
    /// Errors: `ERR_GIT` for a malformed table, `ERR_IO` if one cannot be read.
    pub(super) fn table_refs(&self) -> Result<TableRefs> {
        let mut refs = stack(&self.common_dir.join("reftable"))?;
        if self.git_dir != self.common_dir {
            refs.retain(|name, _| !is_of_one_worktree(name));
            refs.extend(stack(&self.git_dir.join("reftable"))?);
        }
        Ok(TableRefs(refs))
    }
}

/// Whether each worktree has its own reference of this name.
fn is_of_one_worktree(name: &str) -> bool {
    let own = ["refs/bisect/", "refs/worktree/", "refs/rewritten/"];
    !name.starts_with("refs/") || own.iter().any(|prefix| name.starts_with(prefix))
}

/// The references of a stack of tables, later tables over earlier ones.
fn stack(folder: &Path) -> Result<BTreeMap<String, Target>> {
    let list = folder.join("tables.list");
    let mut last = None;
    for _ in 0..READS {
        let names = outside::read(&list, MAX_LIST).map_err(|e| Error::io("read", &list, &e))?;
        match merged(folder, &String::from_utf8_lossy(&names)) {
            // Compaction writes a new list before it removes the tables of the old one.
            Err(e) if e.kind() == ErrorKind::NotFound => last = Some(e),
            other => return other.map_err(|e| failed(format!("read references in {}", folder.display()), e)),
        }
    }
    let e = last.unwrap_or_else(|| ErrorKind::NotFound.into());
    Err(Error::io("read the tables of", &list, &e))
}

fn merged(folder: &Path, names: &str) -> std::io::Result<BTreeMap<String, Target>> {
    let mut refs = BTreeMap::new();
    for name in names.lines() {
        let bytes = outside::read(&folder.join(name), MAX_TABLE)?;
        let records = table(&bytes).ok_or_else(|| std::io::Error::other(format!("the table {name} is malformed")))?;
        for (name, target) in records {
            match target {
                Some(target) => drop(refs.insert(name, target)),
                None => drop(refs.remove(&name)),
            }
        }
    }
    Ok(refs)
}

/// Reads fields in order; `None` at the end of the bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        Some(self.take(bytes)?.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)))
    }

    /// A number in git's variable width: seven bits a byte, the first byte highest, each further byte adds one.
    fn varint(&mut self) -> Option<usize> {
        let mut byte = self.take(1)?[0];
        let mut n = usize::from(byte & 0x7f);
        while byte & 0x80 != 0 {
            byte = self.take(1)?[0];
            n = n.checked_add(1)?.checked_mul(128)? | usize::from(byte & 0x7f);
        }
        Some(n)
    }

    fn oid(&mut self, bytes: usize) -> Option<Oid> {
        gix::ObjectId::try_from(self.take(bytes)?).ok().map(Oid)
    }
}

type Record = (String, Option<Target>);

/// The records of one table, with no target for a removed reference; `None` for a malformed table.
fn table(bytes: &[u8]) -> Option<Vec<Record>> {
    let mut header = Fields(bytes);
    (header.take(4)? == b"REFT").then_some(())?;
    let version = header.number(1)?;
    let block_size = header.number(3)?;
    header.take(16)?;
    let (header_len, hash_len) = match version {
        1 => (24, 20),
        2 if header.take(4)? == b"s256" => (28, 32),
        2 => (28, 20),
        _ => return None,
    };
    // The footer repeats the header; five positions and a checksum follow it.
    let footer = bytes.len().checked_sub(header_len + 44)?;
    (bytes[footer..].starts_with(&bytes[..header_len])).then_some(())?;
    let mut records = Vec::new();
    let mut start = 0;
    while start < footer {
        let skipped = if start == 0 { header_len } else { 0 };
        let mut block = Fields(bytes.get(start + skipped..footer)?);
        // References come first; indexes and reflogs follow them.
        if block.take(1).is_none_or(|kind| kind != b"r") {
            break;
        }
        let len = block.number(3)?;
        block_records(bytes.get(start + skipped + 4..start.checked_add(len)?)?, hash_len, &mut records)?;
        let next = start + len;
        // A block is padded with zeros up to the block size, unless the table was written without padding.
        let is_padded = next < footer && bytes[next] == 0 && len < block_size;
        start = if is_padded { start + block_size } else { next };
    }
    Some(records)
}

/// The records of a block, from after its length to its end.
fn block_records(block: &[u8], hash_len: usize, records: &mut Vec<Record>) -> Option<()> {
    let restarts = Fields(block.get(block.len().checked_sub(2)?..)?).number(2)?;
    let mut fields = Fields(&block[..block.len().checked_sub(2 + 3 * restarts)?]);
    let mut name: Vec<u8> = Vec::new();
    while !fields.0.is_empty() {
        let kept = fields.varint()?;
        let rest = fields.varint()?;
        (kept <= name.len()).then(|| name.truncate(kept))?;
        name.extend_from_slice(fields.take(rest >> 3)?);
        fields.varint()?;
        let target = match rest & 7 {
            0 => None,
            1 => Some(Target::Object { id: fields.oid(hash_len)?, peeled: None }),
            2 => Some(Target::Object { id: fields.oid(hash_len)?, peeled: Some(fields.oid(hash_len)?) }),
            3 => {
                let len = fields.varint()?;
                Some(Target::Symbolic(String::from_utf8_lossy(fields.take(len)?).into_owned()))
            }
            _ => return None,
        };
        records.push((String::from_utf8_lossy(&name).into_owned(), target));
    }
    Some(())
}
