//! The journal: every event acknowledged on this machine, in order of arrival. Appending to it is the commit point of every
//! command.
//!
//! A record is the lines of one command's events, as they will stand in their logs, and after them one commit line:
//!
//! ```text
//! {"v":1,"id":"01K…", … }                                                             an event
//! {"commit":"01K…","n":1,"lamport":42,"worktree":"01K…","store":".agentpm", … }       the record is whole
//! ```
//!
//! Guarantees that a record is on disk once [`Journal::append`] returns. When it fails, its own bytes are cut off again and
//! no earlier byte is touched. Event lines without their commit line never happened; readers skip them. The mark file says
//! how far the records have been projected into the logs.
//! Leaves to others: how events are projected.
//!
//! The mark is valid within one boot. A power loss may take what was projected before it from the logs. So after a reboot
//! every record since the last `syncfs` is projected again, which is idempotent by event id.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::env::files::{Dir, read_line};
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::compaction::Compaction;
use crate::model::event::{Entry, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::rules::decide::Subject;
use crate::runtime::worktree::StoreKey;

/// The journal's name, below the runtime folder.
pub const JOURNAL: &str = "journal.jsonl";
/// The mark's name.
const MARK: &str = "mark.json";
/// Ends a line that a writer left unfinished, so that the line cannot be parsed.
const TORN: &[u8] = b"~ torn\n";
/// Bytes of journal after which the projected files are flushed, so that a crash leaves little to repeat.
const SYNC_EVERY: u64 = 4 * 1024 * 1024;
/// Size in bytes at which the journal is rotated.
const ROTATE_AT: u64 = 64 * 1024 * 1024;
/// The longest time for which the kernel holds written pages back, with a margin, in milliseconds.
const HELD_BACK_MS: u64 = 120_000;
/// A record that is in its files only so long after it was appended, in milliseconds, is flushed there at once.
const LATE_MS: u64 = 10_000;
/// The longest line that is read, in bytes: twice the longest event.
pub(super) const MAX_JOURNAL_LINE: usize = 2 * MAX_LINE;

/// The last line of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Commit {
    /// The command's id.
    pub commit: Id,
    /// How many event lines the record has.
    pub n: usize,
    /// The greatest Lamport time this clone has given out.
    pub lamport: u64,
    /// When it was appended, in milliseconds since the boot: the clock may jump.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<u64>,
    /// The store it was written for.
    #[serde(flatten)]
    pub store: StoreKey,
    /// What was checked out in its work tree: the contents of git's HEAD.
    #[serde(default)]
    pub head: String,
    /// The events came by git and are in the logs already. They are in the journal only so that readers of the feed see them
    /// in order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub arrived: bool,
    /// What carried the events here, if no command of this clone wrote them and git did not bring them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Carrier>,
    /// Which closed tasks move into the archives of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact: Option<Compaction>,
    /// The idempotency key of the call, with its request and its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyRecord>,
}

impl Commit {
    /// Whether commands of other clones wrote the events. They change nothing that this clone holds: leases, sessions.
    pub fn is_foreign(&self) -> bool {
        self.arrived || self.carrier.is_some()
    }
}

/// What the journal must know of its machine.
pub trait Machine {
    /// Milliseconds since the boot.
    fn up(&self) -> u64;

    /// Flushes every disk that holds something which is projected from the journal. Returns whether all were flushed: one that only another
    /// worktree uses may fail.
    ///
    /// Errors: `ERR_IO`.
    fn flush(&self) -> Result<bool>;
}

/// What carries events between clones besides git.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// A caller that pushed them.
    Push,
    /// The message bus, which needs not be sent them again.
    Bus,
}

/// A call that must not happen twice. A key counts for one agent and one operation in this clone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The caller's key.
    pub key: String,
    /// The digest of the request.
    pub request: String,
    /// The entity that the call created or changed; empty where it has no id.
    pub result: Ref,
    /// The caller.
    #[serde(default)]
    pub agent: String,
    /// The operation.
    #[serde(default)]
    pub op: String,
    /// When it was called.
    #[serde(default)]
    pub at: Time,
    /// What it created or changed; `None` for work on the store itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Its short answer.
    #[serde(default)]
    pub receipt: Value,
}

/// A whole record.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its events.
    pub entries: Vec<Entry>,
    /// Its commit line.
    pub commit: Commit,
    /// Where it ends in its file, in bytes.
    pub end: u64,
}

/// How far the journal has been projected.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq)]
struct Mark {
    /// The boot of the machine in which `offset` is valid.
    boot: String,
    /// Everything before it is in the logs.
    offset: u64,
    /// Everything before it is in the logs and on disk.
    synced: u64,
    /// The greatest Lamport time issued or seen.
    lamport: u64,
}

/// The journal, opened by the holder of the lock.
#[derive(Debug)]
pub struct Journal<'a> {
    runtime: &'a Dir,
    file: File,
    mark_file: File,
    mark: Mark,
    end: u64,
    boot: String,
    /// Whether the machine was rebooted since the mark was written.
    restarted: bool,
    /// How far the journal was projected before the reboot.
    was_projected: u64,
    /// When the last record was appended, in milliseconds since the boot.
    appended: Option<u64>,
}

impl<'a> Journal<'a> {
    /// Opens the journal. The caller holds the lock.
    ///
    /// Errors: `ERR_IO` if it cannot be opened or created.
    pub fn open(runtime: &'a Dir, boot: &str) -> Result<Self> {
        let shown = runtime.path().join(JOURNAL);
        let opened = || -> std::io::Result<_> {
            let file = runtime.open_rw(JOURNAL, 0o666)?;
            let end = file.metadata()?.len();
            let mark_file = runtime.open_rw(MARK, 0o666)?;
            Ok((file, end, mark_file))
        };
        let (file, end, mark_file) = opened()
            .map_err(|e| Error::io("open", &shown, &e).hint("nothing was written; make it writable for this user"))?;
        let mut text = [0u8; 512];
        let read = mark_file.read_at(&mut text, 0).map_err(|e| Error::io("read", &shown, &e))?;
        // A power loss can cut the mark short. Then everything is projected again, which does no harm.
        let mut mark: Mark = serde_json::from_slice(&text[..read]).unwrap_or_default();
        let mut was_projected = mark.offset;
        // If the journal is shorter than its mark, it was cut: the rest of it has been projected.
        let cut = mark.offset > end;
        let restarted = cut || mark.boot != boot || boot.is_empty();
        if cut {
            (mark.synced, was_projected) = (0, end);
        }
        if restarted {
            mark.offset = mark.synced;
            mark.boot = boot.to_owned();
        }
        let (boot, appended) = (boot.to_owned(), None);
        Ok(Journal { runtime, file, mark_file, mark, end, boot, restarted, was_projected, appended })
    }

    /// The greatest Lamport time issued on this clone.
    pub fn lamport(&self) -> u64 {
        self.mark.lamport
    }

    /// Raises the clock to a Lamport time that was seen in a log.
    pub fn saw(&mut self, lamport: u64) {
        self.mark.lamport = self.mark.lamport.max(lamport);
    }

    /// Whether every record is in the logs.
    pub fn is_projected(&self) -> bool {
        self.mark.offset == self.end
    }

    /// Whether a record was projected before a reboot. It is projected again only because the power loss may have undone
    /// that; the user may have discarded the change on purpose since.
    pub fn is_projected_again(&self, record: &Record) -> bool {
        self.restarted && record.end <= self.was_projected
    }

    /// The records that are not in their logs yet, after they are flushed: their writer may have died before it flushed them.
    /// After a reboot, records that the kernel had flushed long before are left out.
    ///
    /// Errors: `ERR_IO` or `ERR_NO_SPACE` if the journal cannot be read or flushed. Nothing is cut off: some of these records
    /// were acknowledged.
    pub fn unprojected(&mut self) -> Result<Vec<Record>> {
        let (mut records, _) = read_records(&self.file, self.mark.offset).map_err(|e| self.io("read", &e))?;
        for record in &records {
            self.mark.lamport = self.mark.lamport.max(record.commit.lamport);
        }
        self.rewrite_tail().and_then(|()| self.flush()).map_err(|e| {
            self.io("flush", &e).hint("this command saved nothing; check the disk, then run the command again")
        })?;
        if self.restarted {
            // Older records were on disk before the machine went down: the kernel holds nothing back that long.
            let last = records.iter().filter_map(|record| record.commit.up).max().unwrap_or(0);
            let last_id = records.last().map_or(0, |record| record.commit.commit.millis());
            let is_old = |record: &Record| match record.commit.up {
                Some(up) => up + HELD_BACK_MS < last,
                // Of a program that did not note it yet.
                None => record.commit.commit.millis() + HELD_BACK_MS < last_id,
            };
            let again = |record: &Record| self.is_projected_again(record);
            records.retain(|record| !(again(record) && is_old(record)));
        }
        Ok(records)
    }

    /// Writes the unprojected bytes again, in place. After a failed flush the kernel marks pages as clean that never reached
    /// the disk, and a second flush alone would succeed without them. An unfinished last line is ended.
    fn rewrite_tail(&mut self) -> std::io::Result<()> {
        let mut from = self.mark.offset;
        let mut chunk = vec![0; 1 << 20];
        let mut last = b'\n';
        while from < self.end {
            let length = self.file.read_at(&mut chunk, from)?;
            if length == 0 {
                break;
            }
            self.file.write_all_at(&chunk[..length], from)?;
            last = chunk[length - 1];
            from += length as u64;
        }
        if last != b'\n' {
            self.file.write_all_at(TORN, self.end)?;
            self.end += TORN.len() as u64;
        }
        Ok(())
    }

    /// Appends one record and flushes it: the commit point. The caller has projected every earlier record.
    ///
    /// Errors: `ERR_NO_SPACE` or `ERR_IO`; then the record is cut off again and nothing happened. If even that fails, the
    /// message says that the outcome is unknown. `ERR_BUSY` if another process wrote without the lock.
    pub fn append(&mut self, entries: &[Entry], commit: &Commit) -> Result<()> {
        let bytes = record_bytes(entries, commit)?;
        let begin = self.end;
        if self.file.metadata().map_err(|e| self.io("inspect", &e))?.len() != begin {
            return Err(Error::new(Code::Busy, "another process wrote to the journal; nothing was written")
                .hint("run the same command again"));
        }
        let written = self.file.write_all_at(&bytes, begin).and_then(|()| self.flush());
        written.map_err(|e| self.cut_back(begin, &e))?;
        self.end += bytes.len() as u64;
        self.appended = commit.up;
        self.mark.lamport = self.mark.lamport.max(commit.lamport);
        Ok(())
    }

    fn flush(&self) -> std::io::Result<()> {
        self.file.sync_data()?;
        match self.mark.offset {
            // The first records of a journal: its name in the folder must be on disk as well.
            0 => self.runtime.sync_disk(),
            _ => Ok(()),
        }
    }

    /// Cuts off what this command wrote from `begin` on, and nothing before it. A failed flush is never retried: the kernel
    /// may have dropped what it could not write.
    fn cut_back(&self, begin: u64, failure: &std::io::Error) -> Error {
        let error = self.io("write", failure);
        match self.file.set_len(begin) {
            Ok(()) => error.hint("nothing was saved; check the disk, then run the same command again"),
            Err(_) => error.hint("the outcome is unknown; run agentpm doctor before you try again"),
        }
    }

    /// Notes that every record so far is in the logs. Flushes the disk and rotates the journal from time to time.
    ///
    /// Errors: `ERR_IO`; the command itself has happened by then.
    pub fn mark_projected(&mut self, machine: &impl Machine) -> Result<()> {
        // A record whose writer was stopped is older than the files that it wrote.
        let is_late = self.appended.is_some_and(|at| machine.up().saturating_sub(at) > LATE_MS);
        self.mark_flushed_after(machine, if is_late { 0 } else { SYNC_EVERY })
    }

    /// As [`Journal::mark_projected`], for records that another command appended, and always flushes. A power loss may undo what was
    /// projected just now, and by then the records may be older than what [`Journal::unprojected`] returns.
    ///
    /// Errors: as [`Journal::mark_projected`].
    pub fn mark_projected_late(&mut self, machine: &impl Machine) -> Result<()> {
        self.mark_flushed_after(machine, 0)
    }

    fn mark_flushed_after(&mut self, machine: &impl Machine, bytes: u64) -> Result<()> {
        self.mark.offset = self.end;
        if self.end - self.mark.synced.min(self.end) >= bytes && machine.flush()? {
            self.mark.synced = self.end;
        }
        if self.end >= ROTATE_AT {
            self.rotate(machine)?;
        }
        self.write_mark()
    }

    /// Saves the Lamport clock.
    ///
    /// Errors: `ERR_IO`.
    pub fn note_clock(&mut self) -> Result<()> {
        self.write_mark()
    }

    fn rotate(&mut self, machine: &impl Machine) -> Result<()> {
        if !machine.flush()? {
            return Ok(());
        }
        let aside =
            (1..).map(|n| format!("journal.{n}.jsonl")).find(|name| matches!(self.runtime.kind(name), Ok(None)));
        // The iterator never ends, so there always is a name.
        let aside = aside.unwrap_or_else(|| JOURNAL.to_owned());
        let renamed = self.runtime.rename(JOURNAL, &aside).and_then(|()| self.runtime.open_rw(JOURNAL, 0o666));
        self.file = renamed.map_err(|e| self.io("begin a new", &e))?;
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

/// The bytes of a record in a journal.
///
/// Errors: `ERR_VALIDATION` for a commit line that no reader would accept.
pub(super) fn record_bytes(entries: &[Entry], commit: &Commit) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(entries.iter().map(|e| e.line.len() + 1).sum::<usize>() + 200);
    for entry in entries {
        bytes.extend_from_slice(entry.line.as_bytes());
        bytes.push(b'\n');
    }
    let line =
        serde_json::to_vec(commit).map_err(|e| Error::new(Code::Io, format!("cannot write the commit line: {e}")))?;
    if line.len() > MAX_JOURNAL_LINE {
        return Err(
            Error::validation(format!("the idempotency key is longer than {MAX_LINE} bytes")).hint("use a shorter key")
        );
    }
    bytes.extend_from_slice(&line);
    bytes.push(b'\n');
    Ok(bytes)
}

/// Reads whole records from `offset` on. Returns them and where the last whole one ends.
pub(super) fn read_records(file: &File, offset: u64) -> std::io::Result<(Vec<Record>, u64)> {
    let mut records = Vec::new();
    let whole = visit_records(file, offset, |record| records.push(record))?;
    Ok((records, whole))
}

/// Visits each whole record from `offset` on, with one in memory at a time. Returns where the last whole one ends.
fn visit_records(file: &File, offset: u64, mut visit: impl FnMut(Record)) -> std::io::Result<u64> {
    visit_kept(file, offset, |entry, _| Some(entry), |entries, commit, end| visit(Record { entries, commit, end }))
}

/// As `visit_records`, but keeps of each event only the result of `keep` and its line's place and length. `keep` also sees
/// events of records that are not whole. `visit` receives where the record ends.
///
/// A record is the `n` event lines right before its commit line: what a writer left unfinished before them is not part of it.
pub(super) fn visit_kept<T>(
    file: &File,
    offset: u64,
    mut keep: impl FnMut(Entry, (u64, usize)) -> Option<T>,
    mut visit: impl FnMut(Vec<T>, Commit, u64),
) -> std::io::Result<u64> {
    let mut reader = BufReader::new(file.try_clone()?);
    reader.seek(SeekFrom::Start(offset))?;
    // The events since the last line that was not an event, each with its number among them.
    let (mut kept, mut events, mut at, mut whole) = (Vec::new(), 0usize, offset, offset);
    let mut line = Vec::new();
    loop {
        let (length, is_ended) = read_line(&mut reader, &mut line, MAX_JOURNAL_LINE)?;
        if !is_ended {
            return Ok(whole);
        }
        let place = (at, line.len());
        at += length + 1;
        // A line that is too long was cut, so it is not JSON either.
        let text = std::str::from_utf8(&line).unwrap_or_default();
        if let Ok(event) = parse_line(text) {
            events += 1;
            kept.extend(keep(Entry { event, line: text.into() }, place).map(|one| (events, one)));
        } else {
            let (kept, events) = (std::mem::take(&mut kept), std::mem::take(&mut events));
            let Ok(commit) = serde_json::from_str::<Commit>(text) else { continue };
            if let Some(before) = events.checked_sub(commit.n) {
                let own = kept.into_iter().filter(|(number, _)| *number > before).map(|(_, one)| one);
                visit(own.collect(), commit, at);
            }
            whole = at;
        }
    }
}

/// Whether a line is an event or a commit line, or was left unfinished by a writer and ended by the next.
pub(super) fn is_whole(line: &[u8]) -> bool {
    line.ends_with(TORN.trim_ascii_end())
        || std::str::from_utf8(line)
            .is_ok_and(|text| parse_line(text).is_ok() || serde_json::from_str::<Commit>(text).is_ok())
}

/// Reads the whole records of the current journal from `offset` on, without the lock, for readers of the feed.
///
/// Errors: `ERR_IO` if it cannot be read. A missing journal is not an error.
pub fn look(runtime: &Dir, offset: u64) -> Result<(Vec<Record>, u64)> {
    let shown = runtime.path().join(JOURNAL);
    match runtime.open_file(JOURNAL) {
        Ok(file) => read_records(&file, offset).map_err(|e| Error::io("read", &shown, &e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok((Vec::new(), 0)),
        Err(e) => Err(Error::io("open", &shown, &e)),
    }
}

/// How far the journal has been projected into the logs, according to the mark; `None` if the mark is not valid.
pub fn projected(runtime: &Dir, boot: &str) -> Option<u64> {
    let text = runtime.read(MARK, 4096).ok()?;
    let mark: Mark = serde_json::from_slice(&text).ok()?;
    Some(if mark.boot == boot && !boot.is_empty() { mark.offset } else { mark.synced })
}

/// The inode of the current journal; 0 if there is none.
pub fn inode(runtime: &Dir) -> u64 {
    runtime.mark(JOURNAL).ok().flatten().map_or(0, |mark| mark.inode)
}

/// The length of the current journal in bytes; 0 if there is none.
pub fn length(runtime: &Dir) -> u64 {
    runtime.mark(JOURNAL).ok().flatten().map_or(0, |mark| mark.size)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests prepare files directly")]
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
            up: None,
            store: StoreKey { worktree: Id::from_parts(1, 0), store: ".agentpm".into() },
            head: String::new(),
            arrived: false,
            carrier: None,
            compact: None,
            key: None,
        }
    }

    /// A machine that is up for so long, and counts its flushes, which reach every disk or not.
    #[derive(Default)]
    struct Up(u64, std::cell::Cell<u32>, bool);

    impl Machine for Up {
        fn up(&self) -> u64 {
            self.0
        }

        fn flush(&self) -> Result<bool> {
            self.1.set(self.1.get() + 1);
            Ok(!self.2)
        }
    }

    #[test]
    fn a_record_that_is_projected_late_is_flushed_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        for (up, flushes) in [(1_000, 0), (1_000 + LATE_MS, 0), (1_001 + LATE_MS, 1)] {
            let mut journal = Journal::open(&dir, "boot").unwrap();
            journal.append(&[entry(1)], &Commit { up: Some(1_000), ..commit(1) }).unwrap();
            let machine = Up(up, Default::default(), false);
            journal.mark_projected(&machine).unwrap();
            assert_eq!(machine.1.get(), flushes, "{up}");
        }
    }

    #[test]
    fn a_disk_that_cannot_be_flushed_keeps_the_records_and_holds_up_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        for (fails, again) in [(true, 1), (false, 0)] {
            let mut journal = Journal::open(&dir, "boot 1").unwrap();
            journal.append(&[entry(1)], &commit(1)).unwrap();
            journal.mark_projected_late(&Up(0, Default::default(), fails)).unwrap();
            assert!(Journal::open(&dir, "boot 1").unwrap().is_projected());
            assert_eq!(Journal::open(&dir, "boot 2").unwrap().unprojected().unwrap().len(), again, "{fails}");
        }
    }

    #[test]
    fn a_projected_journal_is_projected_again_only_after_a_reboot() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let mut journal = Journal::open(&dir, "boot 1").unwrap();
        journal.append(&[entry(1)], &commit(1)).unwrap();
        assert!(!journal.is_projected());
        journal.mark_projected(&Up::default()).unwrap();
        assert!(Journal::open(&dir, "boot 1").unwrap().is_projected());
        let mut later = Journal::open(&dir, "boot 2").unwrap();
        assert_eq!(later.unprojected().unwrap().len(), 1);
    }

    #[test]
    fn an_unfinished_record_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let whole = record_bytes(&[entry(1), entry(2)], &commit(2)).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(folder.path().join(JOURNAL), &whole[..cut]).unwrap();
            let mut journal = Journal::open(&dir, "boot").unwrap();
            assert!(journal.unprojected().unwrap().is_empty(), "cut at {cut}");
            journal.append(&[entry(3)], &commit(1)).unwrap();
            let records = Journal::open(&dir, "boot").unwrap().unprojected().unwrap();
            let ids: Vec<Id> = records.iter().flat_map(|r| &r.entries).map(|e| e.event.id).collect();
            assert_eq!(ids, [entry(3).event.id], "cut at {cut}");
        }
    }

    #[test]
    fn bytes_that_are_no_lines_hide_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let mut journal = Journal::open(&dir, "boot").unwrap();
        journal.append(&[entry(1)], &commit(1)).unwrap();
        let mut bytes = std::fs::read(folder.path().join(JOURNAL)).unwrap();
        bytes.extend(vec![0; 3 * MAX_JOURNAL_LINE]);
        bytes.extend(b"\xFF\xFE\n");
        std::fs::write(folder.path().join(JOURNAL), &bytes).unwrap();
        Journal::open(&dir, "boot").unwrap().append(&[entry(2)], &commit(1)).unwrap();
        assert_eq!(Journal::open(&dir, "boot").unwrap().unprojected().unwrap().len(), 2);
    }

    #[test]
    fn a_commit_line_that_no_reader_accepts_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Dir::open(folder.path()).unwrap();
        let key = KeyRecord { key: "k".repeat(MAX_JOURNAL_LINE), ..KeyRecord::default() };
        let refused = Journal::open(&dir, "boot").unwrap().append(&[], &Commit { key: Some(key), ..commit(0) });
        assert_eq!(refused.unwrap_err().code, Code::Validation);
    }
}
