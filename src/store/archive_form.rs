//! The canonical form of an archive: the event lines of tasks, sorted by task, Lamport time and id, each once.
//!
//! Guarantees that a line which is no event of a task is kept, after all others. Conflict markers of git are dropped, and so is a text
//! that a redaction in the same archive names.
//! Leaves to others: which tasks belong in it.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};

use crate::env::files::read_line;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entry, MAX_LINE, Stamp, parse_line};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::Payload;
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

fn bytes_of(lines: Vec<Line>) -> Vec<u8> {
    lines.into_iter().flat_map(|(_, _, line)| line.into_iter().chain([b'\n'])).collect()
}

/// Lines in canonical form: sorted, each once, without the texts that redactions among them name.
pub(super) fn canonical(mut lines: Vec<Line>) -> Vec<Line> {
    let entry = |line: &[u8]| {
        let text = std::str::from_utf8(line).ok()?;
        Some(Entry { event: parse_line(text).ok()?, line: text.into() })
    };
    // Most archives hold no redaction, so that no line is parsed again.
    let may_redact = |line: &[u8]| std::str::from_utf8(line).is_ok_and(|text| text.contains("\"ContextRedacted\""));
    let mut redacted = BTreeSet::new();
    for (_, place, line) in lines.iter().filter(|(_, _, line)| may_redact(line)) {
        if let (Some((task, _)), Some(Payload::ContextRedacted(p))) = (place, entry(line).map(|e| e.event.payload)) {
            redacted.insert((*task, p.entry));
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

fn line_of(line: &[u8]) -> Line {
    let plain = line.strip_suffix(b"\r").unwrap_or(line);
    let event = std::str::from_utf8(plain).ok().and_then(|text| parse_line(text).ok());
    let place = event.and_then(|event| Some((event.entity.task()?, event.stamp())));
    (place.is_none(), place, Box::from(if place.is_some() { plain } else { line }))
}

/// The lines of an archive. Conflict markers of git and empty lines are left out.
///
/// Errors: `ERR_IO`; `ERR_CORRUPT` for a line that is too long to be kept.
pub(super) fn lines_of(store: &Store, path: &str) -> Result<Vec<Line>> {
    let failed = |e: std::io::Error| Error::io("read", &store.path().join(path), &e);
    let mut reader = BufReader::new(store.dir.open_file(path).map_err(failed)?);
    let (mut lines, mut line) = (Vec::new(), Vec::new());
    loop {
        let (length, is_ended) = read_line(&mut reader, &mut line, MAX_LINE + 2).map_err(failed)?;
        if length > line.len() as u64 {
            return Err(Error::new(Code::Corrupt, format!("{} holds a line of {length} bytes", store.shown(path)))
                .hint("an event holds less; move that line elsewhere with an editor"));
        }
        if !line.is_empty() && !is_marker(&line) {
            lines.push(line_of(&line));
        }
        if !is_ended {
            return Ok(lines);
        }
    }
}
