//! All journals of a clone, the current one and the rotated ones, for readers without the lock.
//!
//! Guarantees that records come in order of arrival, one in memory at a time, with no more of their events than the caller
//! asks for. An event can be read again by its spot.
//! Leaves to others: how journals are written, and how far they are projected (`journal`).

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::env::files::{Dir, read_line};
use crate::error::{Code, Error, Result};
use crate::model::event::{Entry, parse_line};
use crate::runtime::journal::{Commit, JOURNAL, MAX_JOURNAL_LINE, Record, is_whole, visit_kept};

/// All journals as they were when they were opened.
#[derive(Debug, Default)]
pub struct Journals {
    files: Vec<(String, File)>,
    folder: PathBuf,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The inode of the journal, which it keeps when it is rotated.
    pub journal: u64,
    /// The bytes before it.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.journal, self.offset)
    }
}

impl FromStr for Position {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let (journal, offset) = text.split_once('-').unwrap_or((text, ""));
        Ok(Position { journal: u64::from_str_radix(journal, 16)?, offset: u64::from_str_radix(offset, 16)? })
    }
}

/// The place of an event's line among all journals.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    file: u32,
    length: u32,
    at: u64,
}

impl Journals {
    /// Opens them, without the lock. A journal that is rotated in the meantime may appear twice.
    ///
    /// Errors: `ERR_IO` if one cannot be opened. A missing journal is not an error.
    pub fn open(runtime: &Dir) -> Result<Self> {
        let fail = |name: &str, e: &std::io::Error| Error::io("read", &runtime.path().join(name), e);
        // The current journal is opened before the others are listed: if it is rotated in between, both names lead to it.
        let current = match runtime.open_file(JOURNAL) {
            Ok(file) => Some((JOURNAL.to_owned(), file)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(fail(JOURNAL, &e)),
        };
        let names = runtime.list().map_err(|e| Error::io("list", runtime.path(), &e))?;
        let number = |name: &str| name.strip_prefix("journal.")?.strip_suffix(".jsonl")?.parse::<u64>().ok();
        let mut aside: Vec<(u64, String)> =
            names.into_iter().filter_map(|(name, _)| number(&name).map(|number| (number, name))).collect();
        aside.sort();
        let mut files = Vec::new();
        for (_, name) in aside {
            let file = runtime.open_file(&name).map_err(|e| fail(&name, &e))?;
            files.push((name, file));
        }
        files.extend(current);
        Ok(Journals { files, folder: runtime.path().to_owned() })
    }

    /// Visits each whole record: the results of `keep` for its events, and its commit line. One record is in memory at a
    /// time, and of its events only those results. `keep` also sees events of records that are not whole.
    ///
    /// Errors: `ERR_IO` if one cannot be read.
    pub fn each<T>(
        &self,
        keep: impl Fn(Entry, Spot) -> Option<T>,
        mut visit: impl FnMut(Vec<T>, Commit),
    ) -> Result<()> {
        self.each_from(None, keep, |kept, commit, _| visit(kept, commit)).map(drop)
    }

    /// As [`Journals::each`], from a position on; from the first record on where no journal has it. `visit` also receives where
    /// the record ends. Returns where the last whole record ends.
    ///
    /// Errors: as [`Journals::each`].
    pub fn each_from<T>(
        &self,
        from: Option<Position>,
        keep: impl Fn(Entry, Spot) -> Option<T>,
        mut visit: impl FnMut(Vec<T>, Commit, Position),
    ) -> Result<Option<Position>> {
        let (first, begin) = from.and_then(|from| self.rank(from)).unwrap_or_default();
        let mut end = None;
        for (n, (name, file)) in self.files.iter().enumerate().skip(first) {
            let spot = |(at, length): (u64, usize)| Spot { file: n as u32, length: length as u32, at };
            let keep = |entry, place| keep(entry, spot(place));
            let failed = |e: std::io::Error| self.failed(name, &e);
            let journal = file.metadata().map_err(failed)?.ino();
            let at = if n == first { begin } else { 0 };
            let whole =
                visit_kept(file, at, keep, |kept, commit, offset| visit(kept, commit, Position { journal, offset }));
            end = Some(Position { journal, offset: whole.map_err(failed)? });
        }
        Ok(end)
    }

    /// A position as a number of the journal and an offset in it, which compare in order of arrival; `None` for one that no
    /// journal has.
    pub fn rank(&self, position: Position) -> Option<(usize, u64)> {
        let is_it = |file: &File| {
            file.metadata().is_ok_and(|data| data.ino() == position.journal && data.len() >= position.offset)
        };
        let n = self.files.iter().position(|(_, file)| is_it(file))?;
        Some((n, position.offset))
    }

    /// The event at a spot.
    ///
    /// Errors: `ERR_IO` if it cannot be read, `ERR_CORRUPT` if there is no event any more.
    pub fn read(&self, spot: Spot) -> Result<Entry> {
        let (name, file) = &self.files[spot.file as usize];
        let mut line = vec![0; spot.length as usize];
        file.read_exact_at(&mut line, spot.at).map_err(|e| self.failed(name, &e))?;
        let line = String::from_utf8(line)
            .map_err(|e| Error::new(Code::Corrupt, format!("{}: {e}", self.folder.join(name).display())))?;
        Ok(Entry { event: parse_line(&line)?, line: line.into() })
    }

    fn failed(&self, name: &str, e: &std::io::Error) -> Error {
        Error::io("read", &self.folder.join(name), e)
    }
}

/// The first damaged line of the journals: its file, its number from 1, and how many more there are. A line that a writer
/// left unfinished is not damage.
///
/// Errors: `ERR_IO` if a journal cannot be read.
pub fn first_damaged(runtime: &Dir) -> Result<Option<(String, usize, usize)>> {
    let journals = Journals::open(runtime)?;
    let (mut first, mut all) = (None, 0);
    for (name, file) in &journals.files {
        let mut reader = BufReader::new(file);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            let (_, is_ended) =
                read_line(&mut reader, &mut line, MAX_JOURNAL_LINE).map_err(|e| journals.failed(name, &e))?;
            if !is_ended {
                break;
            }
            number += 1;
            if !is_whole(&line) {
                all += 1;
                first.get_or_insert((name.clone(), number));
            }
        }
    }
    Ok(first.map(|(name, number)| (name, number, all - 1)))
}

/// Visits each whole record of all journals, without the lock and with one in memory at a time. A record may appear twice if
/// a journal is rotated in the meantime.
///
/// Errors: `ERR_IO` if one cannot be read. A missing journal is not an error.
pub fn each(runtime: &Dir, mut visit: impl FnMut(Record)) -> Result<()> {
    Journals::open(runtime)?.each(|entry, _| Some(entry), |entries, commit| visit(Record { entries, commit, end: 0 }))
}
