//! The journal: every event acknowledged on this machine, in order of arrival, and the commit point of every command.
//!
//! A record is the lines of one command's events, as they will stand in their logs, and after them one commit line:
//!
//! ```text
//! {"v":1,"id":"01K…", … }                                                an event
//! {"commit":"01K…","n":1,"lamport":42,"root":"/home/a/p/.agentpm", … }   the record is whole
//! ```
//!
//! Promises: what [`Journal::write`] wrote counts once it is flushed, and a record that leans on one which a power loss took goes
//! with it; once [`Journal::append`] returns, the record is on disk; when either fails, no reader takes it for written. Lines
//! without a commit line never happened. The mark beside it says how far the logs have been brought up to it.
//! Refuses to know: how events are brought into logs, and who flushes for whom.
//!
//! The mark is good within one start of the machine. What was projected before a power loss may be gone from the logs,
//! so after a new start everything since the last `syncfs` is projected again; that is idempotent by event id.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use serde::{Deserialize, Serialize};

use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entry, parse_line};
use crate::model::id::Id;
use crate::model::words::Ref;

/// The journal's name, below the runtime folder.
pub const JOURNAL: &str = "journal.jsonl";
/// The mark's name.
const MARK: &str = "mark.json";
/// Up to where the journal was flushed by who could not bring it into the logs: never cut off, whatever fails later.
const FLUSHED: &str = "flushed.json";
/// Bytes of journal after which the projections are flushed to disk, so that a crash leaves little to do again.
const SYNC_EVERY: u64 = 4 * 1024 * 1024;
/// Bytes after which a journal is put aside and a new one begun.
const ROTATE_AT: u64 = 64 * 1024 * 1024;
/// Longest that the kernel holds written pages back, with room to spare, in milliseconds.
const HELD_BACK_MS: u64 = 120_000;
/// Longest commit line that is read.
const MAX_JOURNAL_LINE: u64 = 16 * 1024 * 1024;

/// The last line of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The command's id.
    pub commit: Id,
    /// How many event lines the record has.
    pub n: usize,
    /// The greatest Lamport time this clone has given out.
    pub lamport: u64,
    /// The store it was written for.
    pub root: String,
    /// What was checked out in its work tree: the contents of git's HEAD.
    #[serde(default)]
    pub head: String,
    /// The record before it, where that was perhaps not on disk yet when this one was decided upon it: they last together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Id>,
    /// The events came by git and stand in the logs already: they are noted here only so that those who look on see them
    /// in their turn.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arrived: bool,
    /// The idempotency key of the call, with what it asked for and what it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRecord>,
}

/// A call that must not happen twice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The caller's key.
    pub key: String,
    /// Digest of what was asked for.
    pub request: String,
    /// The entity it made.
    pub result: Ref,
}

/// A whole record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its events.
    pub entries: Vec<Entry>,
    /// Its commit line.
    pub commit: Commit,
}

/// How far projection has come.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
struct Mark {
    /// The start of the machine in which `offset` is good.
    boot: String,
    /// Everything before it is in the logs.
    offset: u64,
    /// Everything before it is in the logs and on disk.
    synced: u64,
    /// The greatest Lamport time given out or seen.
    lamport: u64,
}

/// The journal, opened by the one who holds the lock.
#[derive(Debug)]
pub struct Journal<'a> {
    runtime: &'a Dir,
    file: File,
    inode: u64,
    mark_file: File,
    mark: Mark,
    end: u64,
    boot: String,
    /// The machine was started anew since the mark was written.
    restarted: bool,
    /// The last of the records that may not be on disk yet.
    last: Option<Id>,
}

/// A record that was written, and perhaps not flushed.
#[derive(Debug)]
pub struct Written {
    file: File,
    inode: u64,
    from: u64,
    until: u64,
    bytes: Vec<u8>,
}

impl Written {
    /// Waits until it is on disk, for who does not get the lock to settle it.
    ///
    /// Errors: those of the disk; then nobody knows what is there.
    pub fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// Notes that it is on disk: it is not taken back when a later flush fails.
    pub fn note_flushed(&self, runtime: &Dir) {
        let until = self.until.max(flushed(runtime, self.inode));
        let noted = format!("[{},{until}]\n", self.inode);
        if let Err(e) = runtime.replace(FLUSHED, noted.as_bytes(), 0o644) {
            tracing::warn!(error = %e, "what is on disk could not be noted");
        }
    }
}

/// Up to where somebody noted that this journal is on disk.
fn flushed(runtime: &Dir, inode: u64) -> u64 {
    let noted = runtime.read(FLUSHED, 4096).ok().and_then(|text| serde_json::from_slice::<(u64, u64)>(&text).ok());
    noted.filter(|(of, _)| *of == inode).map_or(0, |(_, until)| until)
}

impl<'a> Journal<'a> {
    /// Opens the journal. The caller holds the lock.
    ///
    /// Errors: `ERR_IO` where it cannot be opened or made.
    pub fn open(runtime: &'a Dir, boot: &str) -> Result<Self> {
        let shown = runtime.path().join(JOURNAL);
        let opened = || -> std::io::Result<_> {
            let file = runtime.open_rw(JOURNAL, 0o644)?;
            let metadata = file.metadata()?;
            let mark_file = runtime.open_rw(MARK, 0o644)?;
            Ok((file, metadata, mark_file))
        };
        let (file, metadata, mark_file) = opened().map_err(|e| Error::io("open", &shown, &e))?;
        let (end, inode) = (metadata.len(), metadata.ino());
        let mut text = [0u8; 512];
        let read = mark_file.read_at(&mut text, 0).map_err(|e| Error::io("read", &shown, &e))?;
        // A mark that cannot be read was cut by a power loss: everything is projected again, which does no harm.
        let mut mark: Mark = serde_json::from_slice(&text[..read]).unwrap_or_default();
        let restarted = mark.boot != boot || boot.is_empty();
        if restarted {
            mark.offset = mark.synced;
            mark.boot = boot.to_owned();
        }
        if mark.offset > end {
            mark.offset = 0;
            mark.synced = 0;
        }
        Ok(Journal { runtime, file, inode, mark_file, mark, end, boot: boot.to_owned(), restarted, last: None })
    }

    /// The greatest Lamport time given out on this clone.
    pub fn lamport(&self) -> u64 {
        self.mark.lamport
    }

    /// Lifts the clock above a Lamport time that was seen in a log.
    pub fn saw(&mut self, lamport: u64) {
        self.mark.lamport = self.mark.lamport.max(lamport);
    }

    /// Whether the last writer left nothing undone.
    pub fn is_settled(&self) -> bool {
        self.mark.offset == self.end
    }

    /// Whether the machine was started anew since, so that records may have been projected and thrown away on purpose before.
    pub fn restarted(&self) -> bool {
        self.restarted
    }

    /// Whether a record that was written here is in the logs.
    ///
    /// Errors: `ERR_IO` where somebody could not flush it and took it back.
    pub fn has_settled(&self, written: &Written) -> Result<bool> {
        let mut there = vec![0; written.bytes.len()];
        if written.file.read_exact_at(&mut there, written.from).is_err() || there != written.bytes {
            let shown = self.runtime.path().join(JOURNAL);
            return Err(Error::new(Code::Io, format!("{} could not be flushed; nothing was written", shown.display()))
                .hint("look after the disk, then run the same command again"));
        }
        // A journal is only put aside when all of it is in the logs.
        Ok(self.inode != written.inode || self.mark.offset >= written.until)
    }

    /// The records that are not in their logs yet; the writers of the last ones may be waiting for the disk. What follows the
    /// last whole record never happened and is cut off.
    ///
    /// Errors: `ERR_IO` where the journal cannot be read or cut.
    pub fn tail(&mut self) -> Result<Vec<Record>> {
        let (records, whole) = read_records(&self.file, self.mark.offset).map_err(|e| self.io("read", &e))?;
        if whole < self.end {
            self.file.set_len(whole).map_err(|e| self.io("cut the unfinished record off", &e))?;
            self.end = whole;
        }
        for record in &records {
            self.mark.lamport = self.mark.lamport.max(record.commit.lamport);
        }
        self.last = records.last().map(|record| record.commit.commit);
        Ok(records)
    }

    /// As [`Journal::tail`], once all of it is on disk. Without those that need no second look after a new start of the machine.
    ///
    /// Errors: as [`Journal::tail`], and where it cannot be flushed: then what nobody has flushed is taken back.
    pub fn unsettled(&mut self) -> Result<Vec<Record>> {
        let mut records = self.tail()?;
        if !records.is_empty() {
            // Its writer may have died between writing and flushing: nothing is drawn from what a power loss could still take.
            self.sync().map_err(|e| self.cut_off(self.mark.offset.max(flushed(self.runtime, self.inode)), &e))?;
        }
        if self.restarted {
            // What is older than this was on disk before the machine went down: the kernel holds nothing back that long.
            let last = records.last().map_or(0, |record| record.commit.commit.millis());
            records.retain(|record| record.commit.commit.millis() + HELD_BACK_MS >= last);
        }
        Ok(records)
    }

    /// Writes one record without waiting for the disk.
    ///
    /// Errors: `ERR_NO_SPACE` or `ERR_IO`; then the record is cut off again and nothing happened. Where even that fails the
    /// message says that the outcome is not known.
    pub fn write(&mut self, entries: &[Entry], commit: &Commit) -> Result<Written> {
        let mut bytes = Vec::with_capacity(entries.iter().map(|e| e.line.len() + 1).sum::<usize>() + 200);
        for entry in entries {
            bytes.extend_from_slice(entry.line.as_bytes());
            bytes.push(b'\n');
        }
        let commit = Commit { after: self.last, ..commit.clone() };
        serde_json::to_writer(&mut bytes, &commit)
            .map_err(|e| Error::new(Code::Io, format!("cannot write the commit line: {e}")))?;
        bytes.push(b'\n');
        if self.file.metadata().map_err(|e| self.io("look at", &e))?.len() != self.end {
            return Err(Error::new(Code::Busy, "the journal was written by somebody else; nothing was written")
                .hint("run the same command again"));
        }
        let from = self.end;
        let written = self.file.write_all_at(&bytes, from).and_then(|()| self.file.try_clone());
        let file = written.map_err(|e| self.cut_off(from, &e))?;
        self.end += bytes.len() as u64;
        self.mark.lamport = self.mark.lamport.max(commit.lamport);
        self.last = Some(commit.commit);
        Ok(Written { file, inode: self.inode, from, until: self.end, bytes })
    }

    /// Writes one record and waits until it is on disk: the commit point. The caller has left nothing undone before.
    ///
    /// Errors: as [`Journal::write`].
    pub fn append(&mut self, entries: &[Entry], commit: &Commit) -> Result<()> {
        let written = self.write(entries, commit)?;
        self.flush(&written)
    }

    /// Waits until a record is on disk that was written just now, upon a journal that left nothing undone.
    ///
    /// Errors: as [`Journal::write`].
    pub fn flush(&mut self, written: &Written) -> Result<()> {
        self.last = None;
        self.sync().map_err(|e| self.cut_off(written.from, &e))
    }

    fn sync(&self) -> std::io::Result<()> {
        self.file.sync_data()?;
        match self.mark.offset {
            // The first records of a journal: that the file is there at all must be on disk as well.
            0 => self.runtime.sync_disk(),
            _ => Ok(()),
        }
    }

    /// The kernel may already have dropped what it could not write: a failed flush is never tried again.
    fn cut_off(&mut self, at: u64, failure: &std::io::Error) -> Error {
        let error = self.io("write", failure);
        match self.file.set_len(at) {
            Ok(()) => {
                self.end = at;
                error
            }
            Err(_) => error.hint("the outcome is not known; run agentpm doctor before you try again"),
        }
    }

    /// Notes that everything appended so far is in the logs. Flushes the disk and begins a new journal now and then.
    ///
    /// Errors: `ERR_IO`; the command itself has happened by then.
    pub fn settle(&mut self, store: &Dir) -> Result<()> {
        self.mark.offset = self.end;
        self.last = None;
        if self.end - self.mark.synced.min(self.end) >= SYNC_EVERY {
            store.sync_disk().map_err(|e| self.io("flush the files of", &e))?;
            self.mark.synced = self.end;
        }
        if self.end >= ROTATE_AT {
            self.rotate(store)?;
        }
        self.write_mark()
    }

    /// Notes how great the Lamport clock is.
    ///
    /// Errors: `ERR_IO`.
    pub fn note_clock(&mut self) -> Result<()> {
        self.write_mark()
    }

    fn rotate(&mut self, store: &Dir) -> Result<()> {
        store.sync_disk().map_err(|e| self.io("flush the files of", &e))?;
        let aside =
            (1..).map(|n| format!("journal.{n}.jsonl")).find(|name| matches!(self.runtime.kind(name), Ok(None)));
        // The iterator never ends, so there always is a name.
        let aside = aside.unwrap_or_else(|| JOURNAL.to_owned());
        let fresh = || -> std::io::Result<(File, u64)> {
            self.runtime.rename(JOURNAL, &aside)?;
            let file = self.runtime.open_rw(JOURNAL, 0o644)?;
            let inode = file.metadata()?.ino();
            Ok((file, inode))
        };
        (self.file, self.inode) = fresh().map_err(|e| self.io("begin a new", &e))?;
        self.end = 0;
        self.mark.offset = 0;
        self.mark.synced = 0;
        Ok(())
    }

    fn write_mark(&mut self) -> Result<()> {
        self.mark.boot.clone_from(&self.boot);
        // Padded, so that a shorter mark leaves nothing of a longer one behind.
        let text = serde_json::to_string(&self.mark)
            .map_err(|e| Error::new(Code::Io, format!("cannot write the mark: {e}")))?;
        self.mark_file.write_all_at(format!("{text:<255}\n").as_bytes(), 0).map_err(|e| self.io("mark", &e))
    }

    fn io(&self, what: &str, source: &std::io::Error) -> Error {
        Error::io(what, &self.runtime.path().join(JOURNAL), source)
    }
}

/// Reads whole records from `offset` on; gives them and where the last whole one ends.
fn read_records(file: &File, offset: u64) -> std::io::Result<(Vec<Record>, u64)> {
    let mut records = Vec::new();
    let whole = visit_records(file, offset, |record| records.push(record))?;
    Ok((records, whole))
}

/// Shows each whole record from `offset` on, holding one at a time; gives where the last whole one ends.
fn visit_records(file: &File, offset: u64, mut visit: impl FnMut(Record)) -> std::io::Result<u64> {
    visit_kept(file, offset, |entry, _| Some(entry), |entries, commit| visit(Record { entries, commit }))
}

/// As `visit_records`, holding of each event only what `keep` makes of it and its line's place and length. `keep` is asked about
/// events of records that are not whole too.
pub(super) fn visit_kept<T>(
    file: &File,
    offset: u64,
    mut keep: impl FnMut(Entry, (u64, usize)) -> Option<T>,
    mut visit: impl FnMut(Vec<T>, Commit),
) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file.try_clone()?);
    reader.seek(SeekFrom::Start(offset))?;
    let (mut kept, mut events, mut at, mut whole) = (Vec::new(), 0, offset, offset);
    // Something before could not be read, or leans on what could not be.
    let mut broken = false;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = std::io::Read::take(&mut reader, MAX_JOURNAL_LINE).read_until(b'\n', &mut line)?;
        if length == 0 || line.last() != Some(&b'\n') {
            return Ok(whole);
        }
        let place = (at, length - 1);
        at += length as u64;
        let Ok(text) = std::str::from_utf8(&line[..length - 1]) else {
            (kept, events, broken) = (Vec::new(), 0, true);
            continue;
        };
        if let Ok(event) = parse_line(text) {
            events += 1;
            kept.extend(keep(Entry { event, line: text.into() }, place));
        } else if let Ok(commit) = serde_json::from_str::<Commit>(text) {
            let kept = std::mem::take(&mut kept);
            let is_whole = commit.n == std::mem::take(&mut events);
            broken = !is_whole || (broken && commit.after.is_some());
            if !broken {
                visit(kept, commit);
            }
            whole = at;
        } else {
            broken = true;
        }
    }
}

/// Reads the whole records of the current journal from `offset` on, without the lock: for those who look on.
///
/// Errors: `ERR_IO` where it cannot be read. No journal is no error.
pub fn look(runtime: &Dir, offset: u64) -> Result<(Vec<Record>, u64)> {
    let shown = runtime.path().join(JOURNAL);
    match runtime.open_file(JOURNAL) {
        Ok(file) => read_records(&file, offset).map_err(|e| Error::io("read", &shown, &e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(e) => Err(Error::io("open", &shown, &e)),
    }
}

/// Up to where the journal has been brought into the logs, as far as the mark says; `None` where it says nothing.
pub fn settled(runtime: &Dir, boot: &str) -> Option<u64> {
    let text = runtime.read(MARK, 4096).ok()?;
    let mark: Mark = serde_json::from_slice(&text).ok()?;
    Some(if mark.boot == boot && !boot.is_empty() { mark.offset } else { mark.synced })
}

/// Which file the current journal is; 0 where there is none.
pub fn inode(runtime: &Dir) -> u64 {
    runtime.mark(JOURNAL).ok().flatten().map_or(0, |mark| mark.inode)
}

/// How long the current journal is now, in bytes; 0 where there is none.
pub fn length(runtime: &Dir) -> u64 {
    runtime.mark(JOURNAL).ok().flatten().map_or(0, |mark| mark.size)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests set the stage by hand")]
mod tests {
    use super::*;

    fn entry(n: u8) -> Entry {
        let line = format!(
            r#"{{"v":1,"id":"01K5R4XJ7Z00000000000000{n:02}","lamport":{n},"type":"TaskCreated","entity":"task/01K5R4XJ7Z0000000000000000","agent":"a","at":"2026-11-20T10:00:00Z","payload":{{"title":"x"}}}}"#
        );
        Entry { event: parse_line(&line).unwrap(), line: line.into() }
    }

    fn commit(n: usize) -> Commit {
        Commit {
            commit: Id::from_parts(1, n as u128),
            n,
            lamport: n as u64,
            root: "/r".into(),
            head: String::new(),
            after: None,
            arrived: false,
            key: None,
        }
    }

    #[test]
    fn a_record_counts_only_with_its_commit_line() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let mut journal = Journal::open(&dir, "boot").unwrap();
        journal.append(&[entry(1), entry(2)], &commit(2)).unwrap();
        let whole = std::fs::read(folder.path().join(JOURNAL)).unwrap();
        for cut in 0..whole.len() {
            std::fs::write(folder.path().join(JOURNAL), &whole[..cut]).unwrap();
            let mut journal = Journal::open(&dir, "boot").unwrap();
            assert!(journal.unsettled().unwrap().is_empty(), "cut at {cut}");
            journal.append(&[entry(3)], &commit(1)).unwrap();
            assert_eq!(journal.unsettled().unwrap().len(), 1);
        }
    }

    #[test]
    fn a_settled_journal_is_redone_only_after_a_new_start() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let mut journal = Journal::open(&dir, "boot 1").unwrap();
        journal.append(&[entry(1)], &commit(1)).unwrap();
        assert!(!journal.is_settled());
        journal.settle(&dir).unwrap();
        assert!(Journal::open(&dir, "boot 1").unwrap().is_settled());
        let mut later = Journal::open(&dir, "boot 2").unwrap();
        assert_eq!(later.unsettled().unwrap().len(), 1);
    }

    #[test]
    fn what_leans_on_a_record_that_is_lost_is_lost_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let mut journal = Journal::open(&dir, "boot").unwrap();
        let first = journal.write(&[entry(1)], &commit(1)).unwrap();
        journal.write(&[entry(2)], &commit(1)).unwrap();
        journal.write(&[entry(3)], &commit(1)).unwrap();
        assert_eq!(journal.unsettled().unwrap().len(), 3);
        journal.settle(&dir).unwrap();
        journal.append(&[entry(4)], &commit(1)).unwrap();

        // A power loss may keep a later page of a file and lose an earlier one.
        let path = folder.path().join(JOURNAL);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..usize::try_from(first.until / 2).unwrap()].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        let left = Journal::open(&dir, "another boot").unwrap().tail().unwrap();
        let left: Vec<Id> = left.iter().flat_map(|r| &r.entries).map(|e| e.event.id).collect();
        assert_eq!(left, [entry(4).event.id]);
    }
}
