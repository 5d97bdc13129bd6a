//! The canonical form of an archive: the event lines of tasks, sorted by task, Lamport time and id, each once.
//!
//! Guarantees that a line which is no event of a task is kept, after all others. Conflict markers of git are dropped, and so is a text
//! that a redaction in the same archive names.
//! Leaves to others: which tasks belong in it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use crate::env::files::read_line;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entry, MAX_LINE, Stamp, parse_line};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::archive::{Place, places_of};
use crate::store::layout::Store;
use crate::store::log::is_marker;
use crate::store::project::without_text;

/// The most findings about one archive.
const MAX_FINDINGS: usize = 1_000;

/// A line of an archive, by its place in it. Lines that are no events of a task come last.
pub(super) type Line = (bool, Option<(Id, Stamp)>, Box<[u8]>);

/// What is wrong with the form of an archive, by line: what git left, lines that are no events of a task, another order.
///
/// Errors: only those of the reader.
pub fn findings(reader: impl Read) -> std::io::Result<Vec<Finding>> {
    let mut reader = BufReader::with_capacity(64 * 1024, reader);
    let (mut found, mut line, mut last, mut number) = (Vec::new(), Vec::new(), None::<Line>, 0);
    let mut is_sorted = true;
    loop {
        let (length, is_ended) = read_line(&mut reader, &mut line, MAX_LINE + 2)?;
        if length == 0 && !is_ended {
            return Ok(found);
        }
        number += 1;
        let now = line_of(&line);
        let wrong = match &now {
            _ if is_marker(&line) => Some((Rule::LogMarkers, "a conflict marker of git")),
            _ if line.is_empty() => Some((Rule::LogForm, "an empty line")),
            (true, ..) => Some((Rule::LogLine, "not an event of a task")),
            _ if last.as_ref() == Some(&now) => Some((Rule::LogDuplicate, "the same event as in the line before")),
            _ if line.ends_with(b"\r") => Some((Rule::LogForm, "the line ends with CR LF")),
            _ if !is_ended => Some((Rule::LogForm, "no newline after the last event")),
            _ if is_sorted && last.as_ref() > Some(&now) => {
                is_sorted = false;
                Some((Rule::ArchiveForm, "its lines are not sorted by task, Lamport time and id"))
            }
            _ => None,
        };
        let of_line = |(rule, why)| Finding { line: Some(number), ..Finding::new(rule, why) };
        found.extend(wrong.map(of_line).filter(|_| found.len() < MAX_FINDINGS));
        last = Some(now);
        if !is_ended {
            return Ok(found);
        }
    }
}

/// An archive that was changed on two sides, in canonical form: the lines of both, without those that one side took out.
pub fn merged(base: &[u8], ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    fn lines(bytes: &[u8]) -> BTreeSet<&[u8]> {
        bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty() && !is_marker(line)).collect()
    }
    let (base, ours, theirs) = (lines(base), lines(ours), lines(theirs));
    let is_kept = |line: &&&[u8]| !base.contains(**line) || (ours.contains(**line) && theirs.contains(**line));
    bytes_of(canonical(ours.union(&theirs).filter(is_kept).map(|line| line_of(line)).collect()))
}

/// An archive without the lines of these tasks.
pub fn without(bytes: &[u8], tasks: &BTreeSet<Id>) -> Vec<u8> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line_of);
    bytes_of(lines.filter(|(_, place, _)| !place.is_some_and(|(task, _)| tasks.contains(&task))).collect())
}

pub(super) fn bytes_of(lines: Vec<Line>) -> Vec<u8> {
    lines.into_iter().flat_map(|(_, _, line)| line.into_iter().chain([b'\n'])).collect()
}

/// Lines in canonical form: sorted, each once, without the texts that redactions among them name.
pub(super) fn canonical(mut lines: Vec<Line>) -> Vec<Line> {
    let entry = |line: &[u8]| {
        let text = std::str::from_utf8(line).ok()?;
        Some(Entry { event: parse_line(text).ok()?, line: text.into() })
    };
    let mut redacted = BTreeSet::new();
    for (_, place, line) in lines.iter().filter(|(_, _, line)| may_redact(line)) {
        if let (Some((task, _)), Some(entry)) = (place, entry(line)) {
            redacted.extend(entry.event.payload.redacts().map(|redacted| (*task, redacted)));
        }
    }
    if !redacted.is_empty() {
        for (_, _, line) in
            lines.iter_mut().filter(|(_, place, _)| place.is_some_and(|(task, at)| redacted.contains(&(task, at.id))))
        {
            if let Some(mut entry) = entry(line).filter(|entry| !entry.event.is_redacted())
                && without_text(&mut entry).unwrap_or_default()
            {
                *line = entry.line.into_boxed_bytes();
            }
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

/// Whether a line may redact a text. Most archives hold no such line, so that none is parsed again.
fn may_redact(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| text.contains("\"ContextRedacted\""))
}

fn line_of(line: &[u8]) -> Line {
    let plain = line.strip_suffix(b"\r").unwrap_or(line);
    let event = std::str::from_utf8(plain).ok().and_then(|text| parse_line(text).ok());
    let place = event.and_then(|event| Some((event.entity.task()?, event.stamp())));
    (place.is_none(), place, Box::from(if place.is_some() { plain } else { line }))
}

/// An archive that is read a task at a time. Conflict markers of git and empty lines are left out.
pub(super) struct OpenArchive {
    file: File,
    path: PathBuf,
    /// Where the lines of each task stand, sorted.
    places: Vec<Place>,
    /// The tasks of which a line may redact a text.
    redacting: BTreeSet<Id>,
    /// Whether the lines of all tasks are sorted, each once, in the form that is written.
    pub is_sorted: bool,
    /// The bytes of all lines.
    pub bytes: u64,
    /// The lines that are no events of a task.
    pub rest: Vec<Line>,
}

impl OpenArchive {
    /// Reads an archive to its end.
    ///
    /// Errors: `ERR_IO`; `ERR_CORRUPT` for a line that is too long to be kept.
    pub fn open(store: &Store, below: &str) -> Result<Self> {
        let path = store.path().join(below);
        let failed = |e: std::io::Error| Error::io("read", &path, &e);
        let file = store.dir.open_file(below).map_err(failed)?;
        let mut reader = BufReader::with_capacity(64 * 1024, file.try_clone().map_err(failed)?);
        let (mut places, mut redacting, mut rest): (Vec<Place>, _, _) = (Vec::new(), BTreeSet::new(), Vec::new());
        let (mut line, mut last, mut at, mut bytes, mut is_sorted) = (Vec::new(), None::<Line>, 0, 0, true);
        loop {
            let (length, is_ended) = read_line(&mut reader, &mut line, MAX_LINE + 2).map_err(failed)?;
            if length > line.len() as u64 {
                let error = Error::new(Code::Corrupt, format!("{} holds a line of {length} bytes", store.shown(below)));
                return Err(error.hint("an event holds less; move that line elsewhere with an editor"));
            }
            let whole = length + u64::from(is_ended);
            if !line.is_empty() && !is_marker(&line) {
                let now = line_of(&line);
                bytes += now.2.len() as u64 + 1;
                is_sorted &= last.as_ref().is_none_or(|last| *last < now) && is_ended && now.2.len() == line.len();
                match &now.1 {
                    Some((task, _)) => {
                        // A line is shorter than 4 GiB, and so are those of a task that stand together.
                        let length = u32::try_from(whole).unwrap_or(u32::MAX);
                        match places
                            .last_mut()
                            .filter(|place| place.task == *task && place.at + u64::from(place.length) == at)
                        {
                            Some(place) if place.length.checked_add(length).is_some() => place.length += length,
                            _ => places.push(Place { task: *task, at, length }),
                        }
                        if may_redact(&now.2) {
                            redacting.insert(*task);
                        }
                    }
                    None => rest.push(now.clone()),
                }
                last = Some(now);
            }
            at += whole;
            if !is_ended {
                break;
            }
        }
        places.sort();
        Ok(OpenArchive { file, path, places, redacting, is_sorted, bytes, rest })
    }

    /// The tasks of which it holds lines, sorted.
    pub fn tasks(&self) -> impl Iterator<Item = Id> {
        self.places.chunk_by(|a, b| a.task == b.task).map(|places| places[0].task)
    }

    /// The lines of a task, sorted, each once.
    ///
    /// Errors: `ERR_IO`.
    pub fn lines(&self, task: Id) -> Result<Vec<Line>> {
        let bytes = self.read(task)?;
        let mut lines: Vec<Line> =
            bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line_of).collect();
        lines.sort();
        lines.dedup();
        Ok(lines)
    }

    /// The lines of a task in canonical form.
    ///
    /// Errors: `ERR_IO`.
    pub fn canonical(&self, task: Id) -> Result<Vec<u8>> {
        match self.is_sorted && !self.redacting.contains(&task) {
            true => self.read(task),
            false => Ok(bytes_of(canonical(self.lines(task)?))),
        }
    }

    /// Whether it holds a text that one of its lines redacts.
    ///
    /// Errors: `ERR_IO`.
    pub fn holds_redacted(&self) -> Result<bool> {
        for task in &self.redacting {
            let lines = self.lines(*task)?;
            if canonical(lines.clone()) != lines {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn read(&self, task: Id) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for place in places_of(&self.places, task) {
            let begin = bytes.len();
            bytes.resize(begin + place.length as usize, 0);
            let read = self.file.read_exact_at(&mut bytes[begin..], place.at);
            read.map_err(|e| Error::io("read", &self.path, &e))?;
            if bytes.last() != Some(&b'\n') {
                bytes.push(b'\n');
            }
        }
        Ok(bytes)
    }
}
