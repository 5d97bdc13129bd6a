//! Reads and repairs one `events.jsonl`.
//!
//! Guarantees that every line that is an event is read, whatever surrounds it, and that nothing is skipped without a finding.
//! Memory is bounded by the longest line allowed. [`Log::canonical`] keeps every line that it does not understand.
//! Leaves to others: what the events mean, and who may write.

use std::collections::{BTreeSet, HashMap};
use std::io::{BufReader, Read};

use crate::env::files::read_line;
use crate::error::{Error, Result};
use crate::model::event::{Entry, MAX_LAMPORT_JUMP, MAX_LINE, Stamp, parse_line};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::rules::fold::redactions;

/// The largest log that is read, in bytes.
pub const MAX_LOG: u64 = 128 * 1024 * 1024;

/// The size to which commands may let the log of one task grow freely, in bytes.
pub const MAX_GROWN: usize = 6 * 1024 * 1024;
/// The most bytes that one change adds to a larger log, which branches have merged: enough to add a note, or to finish the
/// task.
const MAX_ADDED: usize = 64 * 1024;
/// The size from which nothing is added to a log: a larger one takes too much memory to fold.
const MAX_MERGED: usize = 48 * 1024 * 1024;

/// Refuses a change that would let the log of a task grow too large.
///
/// Errors: `ERR_VALIDATION` with what to do instead.
pub fn check_growth(task: Id, old: &[Entry], new: &[&Entry]) -> Result<()> {
    let length = |entry: &Entry| entry.line.len();
    let added = new.iter().map(|entry| length(entry)).sum::<usize>();
    let bytes = old.iter().map(length).sum::<usize>() + added;
    if bytes <= MAX_GROWN || (added <= MAX_ADDED && bytes <= MAX_MERGED) {
        return Ok(());
    }
    Err(Error::validation(format!("the log of task {task} would grow to {bytes} bytes; the maximum is {MAX_GROWN}"))
        .with(serde_json::json!({ "task": task, "bytes": bytes, "most": MAX_GROWN }))
        .hint("continue in a new task, or keep large content in files of the repository"))
}

/// The most bytes of foreign lines, and the most findings, that are kept of one log.
const MAX_FOREIGN: usize = 16 * 1024 * 1024;
const MAX_FINDINGS: usize = 1_000;

/// One log as read.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The events, in the order of the file.
    pub entries: Vec<Entry>,
    /// The line of each event that was read, from 1. Events that were added later have none.
    pub lines: Vec<usize>,
    /// Lines that are not events, with their numbers from 1. Lines longer than an event can be are cut.
    pub foreign: Vec<(usize, Vec<u8>)>,
    /// Findings with their line numbers, without a path yet.
    pub findings: Vec<Finding>,
    /// The file ends in the middle of a line that is not an event: the rest of a cut-off write.
    pub torn: Option<Vec<u8>>,
    /// The file ends with an event and without the newline after it.
    pub unended: bool,
    /// The file is not in its canonical form: each event once, one newline after each, nothing else.
    pub rough: bool,
    /// The lines are not in the order of the events. That is not a finding: state depends on the set of events, and git's
    /// union leaves such files. The next write sorts them.
    pub unsorted: bool,
    /// An archive holds events that the file lacks, so a change writes the whole log.
    pub partial: bool,
    /// Entries without text here, of which an archive holds a line with the text.
    pub unredacted: Vec<Id>,
    /// Part of the file is not in memory (a line too long, too many foreign lines, a file too large), so rewriting it would
    /// lose something.
    pub fixed: bool,
}

impl Log {
    /// Parses a log in memory.
    pub fn of(bytes: &[u8]) -> Self {
        // Reading from memory does not fail.
        Self::read(bytes).unwrap_or_default()
    }

    /// Reads a log to its end. Bytes beyond [`MAX_LOG`] are not read; that is a finding.
    ///
    /// Errors: only those of the reader.
    pub fn read(reader: impl Read) -> std::io::Result<Self> {
        let mut log = Log::default();
        let mut reader = BufReader::with_capacity(16 * 1024, reader.take(MAX_LOG));
        let mut number = 0;
        let mut line = Vec::new();
        loop {
            let (length, ended) = read_line(&mut reader, &mut line, MAX_LINE + 2)?;
            if length == 0 && !ended {
                break;
            }
            number += 1;
            log.take_line(number, &line, length, ended);
            if !ended {
                break;
            }
        }
        log.check_lines();
        if reader.get_ref().limit() == 0 {
            log.fixed = true;
            let why = format!("the file is larger than {MAX_LOG} bytes; the rest is not read");
            log.findings.insert(0, Finding { line: Some(number), ..Finding::new(Rule::LogLine, why) });
        }
        Ok(log)
    }

    fn take_line(&mut self, number: usize, bytes: &[u8], length: u64, ended: bool) {
        let mut plain = bytes;
        if number == 1 && plain.starts_with(b"\xEF\xBB\xBF") {
            plain = &plain[3..];
            self.note(Rule::LogForm, number, "a byte-order mark before the first event");
        }
        // A conversion of line ends that is made twice leaves two.
        let end = plain.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
        if end < plain.len() {
            plain = &plain[..end];
            if !self.findings.iter().any(|f| f.message.starts_with("lines end with CR")) {
                self.note(Rule::LogForm, number, "lines end with CR LF");
            }
        }
        if length > MAX_LINE as u64 + 1 {
            self.fixed = true;
            return self.set_aside(
                number,
                bytes,
                format!("a line of {length} bytes; an event holds at most {MAX_LINE}"),
            );
        }
        if plain.is_empty() {
            return self.note(Rule::LogForm, number, "an empty line");
        }
        if is_marker(plain) {
            if self.findings.iter().any(|f| f.rule == Rule::LogMarkers) {
                return;
            }
            return self.note(Rule::LogMarkers, number, "a conflict marker of git");
        }
        let parsed = match std::str::from_utf8(plain) {
            Err(e) => Err(format!("not valid UTF-8 after {} bytes", e.valid_up_to())),
            Ok(text) => parse_line(text).map(|event| Entry { event, line: text.into() }).map_err(|e| e.message),
        };
        match parsed {
            Ok(entry) => {
                if !ended {
                    self.unended = true;
                    self.note(Rule::LogForm, number, "no newline after the last event");
                }
                self.entries.push(entry);
                self.lines.push(number);
            }
            Err(_) if !ended => {
                self.torn = Some(bytes.to_owned());
                self.note(Rule::LogTorn, number, "the last line is cut off");
            }
            Err(why) => self.set_aside(number, bytes, why),
        }
    }

    fn note(&mut self, rule: Rule, line: usize, message: &str) {
        self.rough = true;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(Finding { line: Some(line), ..Finding::new(rule, message) });
        }
    }

    fn set_aside(&mut self, line: usize, bytes: &[u8], why: String) {
        let held = || self.foreign.iter().map(|(_, line)| line.len()).sum::<usize>();
        if self.foreign.len() >= MAX_FINDINGS || held() + bytes.len() > MAX_FOREIGN {
            if !self.fixed {
                let why = format!("line {line} and later lines are not events either; not all of them are listed");
                self.findings.push(Finding { line: Some(line), ..Finding::new(Rule::LogLine, why) });
            }
            self.fixed = true;
            return;
        }
        self.findings.push(Finding { line: Some(line), ..Finding::new(Rule::LogLine, why) });
        self.foreign.push((line, bytes.to_owned()));
    }

    fn check_lines(&mut self) {
        let mut seen = BTreeSet::new();
        let (mut copies, mut last) = (Vec::new(), None);
        for (entry, line) in self.entries.iter().zip(&self.lines) {
            if !seen.insert((entry.event.id, &*entry.line)) {
                copies.push((entry.event.id, *line));
                continue;
            }
            self.unsorted |= last.is_some_and(|last| place(entry) < last);
            last = last.max(Some(place(entry)));
        }
        self.rough |= !copies.is_empty();
        for (id, line) in copies {
            let copy = Finding::new(Rule::LogDuplicate, format!("event {id} occurs twice")).event(id);
            self.findings.push(Finding { line: Some(line), ..copy });
        }
    }

    /// Whether it holds an event.
    pub fn holds(&self, event: Id) -> bool {
        self.entries.iter().any(|entry| entry.event.id == event)
    }

    /// Adds the events that an archive holds of the same entity.
    pub fn add_archived(&mut self, archived: Vec<Entry>) {
        let known: HashMap<Id, &Entry> = self.entries.iter().map(|entry| (entry.event.id, entry)).collect();
        let mut more = Vec::new();
        for entry in archived {
            match known.get(&entry.event.id) {
                Some(known) if known.line == entry.line => {}
                // A redaction removes the text from the log first.
                Some(known) if known.event.is_redacted() => self.unredacted.push(entry.event.id),
                _ => more.push(entry),
            }
        }
        self.partial |= !more.is_empty();
        self.entries.extend(more);
    }

    /// The context entries whose text a redaction removed and another line, or an archive, still holds.
    pub fn redacted_texts(&self) -> BTreeSet<Id> {
        let named = redactions(&self.entries);
        let holds_text = |entry: &&Entry| {
            matches!(entry.event.payload, Payload::ContextAdded(_))
                && named.contains(&entry.event.id)
                && !entry.event.is_redacted()
        };
        let in_log = self.entries.iter().filter(holds_text).map(|entry| entry.event.id);
        in_log.chain(self.unredacted.iter().copied()).collect()
    }

    /// The line of an event; the first of several copies.
    pub fn line_of(&self, event: Id) -> Option<usize> {
        let at = self.entries.iter().position(|e| e.event.id == event)?;
        self.lines.get(at).copied()
    }

    /// The canonical form of this log with `more` events: sorted, each line once, foreign lines at the end.
    pub fn canonical(&self, more: &[Entry]) -> Vec<u8> {
        let mut entries: Vec<&Entry> = self.entries.iter().chain(more).collect();
        entries.sort_by(|a, b| (place(a), &a.line).cmp(&(place(b), &b.line)));
        entries.dedup_by(|a, b| a.line == b.line);
        let mut out = Vec::new();
        for entry in entries {
            out.extend_from_slice(entry.line.as_bytes());
            out.push(b'\n');
        }
        for (_, line) in &self.foreign {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out
    }
}

/// Those of `more` that a log which holds `known` lacks ([`Entry::is_copy_of`]).
pub fn absent<'a>(known: &[Entry], more: &'a [Entry]) -> impl Iterator<Item = &'a Entry> {
    let mut by_id: HashMap<Id, Vec<&Entry>> = HashMap::with_capacity(known.len());
    known.iter().for_each(|entry| by_id.entry(entry.event.id).or_default().push(entry));
    more.iter().filter(move |entry| {
        !by_id.get(&entry.event.id).is_some_and(|copies| copies.iter().any(|copy| copy.is_copy_of(entry)))
    })
}

/// The union of two versions of a log, in canonical form. If one of them cannot be held whole, it is each distinct line
/// unchanged, so that nothing of either is lost.
pub fn union(one: &[u8], other: &[u8]) -> Vec<u8> {
    let (mut log, more) = (Log::of(one), Log::of(other));
    if !log.fixed && !more.fixed {
        log.foreign.extend(more.foreign);
        log.foreign.extend(log.torn.take().into_iter().chain(more.torn).map(|torn| (0, torn)));
        log.foreign.sort_by(|a, b| a.1.cmp(&b.1));
        log.foreign.dedup_by(|a, b| a.1 == b.1);
        return log.canonical(&more.entries);
    }
    let lines = |bytes: &'_ [u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (ours, theirs) = (lines(one), lines(other));
    let known: BTreeSet<&Vec<u8>> = ours.iter().collect();
    let more = theirs.iter().filter(|line| !known.contains(line));
    let all = ours.iter().chain(more).filter(|line| !line.is_empty());
    all.flat_map(|line| line.iter().copied().chain([b'\n'])).collect()
}

/// The position of an event in a file: by its stamp. Events whose clock no honest writer can reach come first, so that what
/// is appended after them is in order.
fn place(entry: &Entry) -> Stamp {
    let stamp = entry.event.stamp();
    if stamp.lamport > MAX_LAMPORT_JUMP { Stamp { lamport: 0, ..stamp } } else { stamp }
}

/// Whether a line is a conflict marker of git.
pub(super) fn is_marker(line: &[u8]) -> bool {
    line == b"=======" || [&b"<<<<<<< "[..], b">>>>>>> ", b"||||||| "].iter().any(|marker| line.starts_with(marker))
}

/// Whether the bytes of a log may contain relationships; a word that is written with escapes may be any.
pub fn may_relate(log: &[u8]) -> bool {
    let text = String::from_utf8_lossy(log);
    text.contains("\"RelationshipAdded\"") || text.contains("\\u")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: u8) -> String {
        format!(
            r#"{{"v":1,"id":"01K5R4XJ7Z00000000000000{n:02}","lamport":{n},"type":"TaskCreated","entity":"task/01K5R4XJ7Z0000000000000000","agent":"a","at":"2026-11-20T10:00:00Z","payload":{{"title":"x"}}}}"#
        )
    }

    #[test]
    fn nothing_hides_behind_a_bad_line() {
        let long = "x".repeat(MAX_LINE + 50_000);
        let text = format!(
            "\u{FEFF}{}\r\n\n<<<<<<< ours\n{}\n=======\nnot json\n{}\n{long}\n>>>>>>> theirs\n{}\n{}",
            event(1),
            event(3),
            event(2),
            event(3),
            &event(4)[..40]
        );
        let log = Log::read(text.as_bytes()).unwrap();
        assert_eq!(log.entries.len(), 4);
        assert_eq!(log.foreign.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [6, 8]);
        assert!(log.torn.is_some() && log.rough && log.fixed);
        let codes: BTreeSet<_> = log.findings.iter().map(|f| f.rule).collect();
        for rule in [Rule::LogForm, Rule::LogMarkers, Rule::LogLine, Rule::LogDuplicate, Rule::LogTorn] {
            assert!(codes.contains(&rule), "{rule:?}");
        }
    }

    #[test]
    fn a_union_keeps_what_cannot_be_held() {
        let long = "x".repeat(2 * MAX_LINE);
        let (one, other) = (format!("{}\n{long}\n", event(1)), format!("{}\n{}\nhello", event(1), event(2)));
        for (one, other) in [(&one, &other), (&other, &one)] {
            let both = String::from_utf8(union(one.as_bytes(), other.as_bytes())).unwrap();
            let mut lines: Vec<&str> = both.lines().collect();
            lines.sort_unstable();
            let mut expected = vec![event(1), event(2), "hello".to_owned(), long.clone()];
            expected.sort_unstable();
            assert_eq!(lines, expected);
        }
        let both = union(event(2).as_bytes(), format!("{}\nhello\n", event(1)).as_bytes());
        assert_eq!(String::from_utf8(both).unwrap(), format!("{}\n{}\nhello\n", event(1), event(2)));
    }

    #[test]
    fn another_order_of_lines_is_no_finding() {
        let log = Log::read(format!("{}\n{}\n", event(2), event(1)).as_bytes()).unwrap();
        assert!(log.unsorted && !log.rough && log.findings.is_empty());
    }

    #[test]
    fn the_plain_form_is_plain() {
        let log = Log::read(format!("{}\r\n{}", event(2), event(1)).as_bytes()).unwrap();
        assert!(log.rough && log.unsorted);
        let again = Log::read(&log.canonical(&[])[..]).unwrap();
        assert!(!again.rough && !again.unsorted && again.findings.is_empty() && again.entries.len() == 2);
    }
}
