//! What the bridge to the message bus notes in its worktree: how far it came in both directions, what waits, what it refused.
//!
//! Guarantees that a record is replaced as a whole. One that is lost or damaged only makes the bridge begin again, which repeats work
//! and changes nothing, since events are known by their ids.
//! Leaves to others: the bus, and what an event means.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::event::{Entry, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::subject::Landmark;
use crate::model::time::Time;
use crate::runtime::journals::Position;

const FOLDER: &str = "bus";
const RECORD: &str = "bus/bridge.json";
const LEASES: &str = "bus/leases.json";
const PLAN: &str = "bus/plan.json";
const WAITING: &str = "bus/waiting.jsonl";
const MISSED: &str = "bus/missed";
const REFUSED: &str = "bus/refused.jsonl";
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Bytes of refused messages that are kept; from then on the oldest half is dropped.
const MAX_REFUSED: u64 = 8 * 1024 * 1024;

/// How far the bridge came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BridgeRecord {
    /// The name of the plan on the bus.
    pub plan: String,
    /// Everything before it in the journals was published.
    pub published_to: Option<Position>,
    /// The stream from which events are taken: when it was made, which distinguishes it from one of the same name.
    pub stream: String,
    /// The sequence number of the last message that was dealt with.
    pub taken_to: u64,
    /// The last sequence number of the stream, when it was last seen.
    pub last: u64,
    /// The last message of the stream that was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmark: Option<Landmark>,
    /// Events that the server does not take, since they are too large for it.
    pub too_large: u64,
    /// A digest of the settings and roles at the upstream, when the bridge last looked.
    pub settings: String,
    /// When the server last answered.
    pub seen_at: Option<Time>,
    /// Why nothing is published.
    pub cannot_publish: Option<String>,
    /// Why nothing is taken in.
    pub cannot_take: Option<String>,
    /// What distinguishes the stream from the one that the bridge would make.
    pub differs: Vec<String>,
}

/// A message that was refused.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefusedMessage {
    /// Its sequence number in the stream.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// When it was refused.
    pub at: Time,
    /// Why.
    pub why: String,
    /// The event, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Id>,
    /// Its text, as far as it can be shown.
    pub text: String,
}

/// The record of the bridge; `None` if there has been none, or if it cannot be read.
pub fn read(own: &Dir) -> Option<BridgeRecord> {
    let bytes = own.read(RECORD, MAX_FILE).ok()?;
    match serde_json::from_slice(&bytes) {
        Ok(record) => Some(record),
        Err(e) => {
            tracing::warn!(error = %e, "the record of the bridge cannot be read; it begins again");
            None
        }
    }
}

/// Replaces the record.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn write(own: &Dir, record: &BridgeRecord) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|e| Error::io("write", own.path(), &e.into()))?;
    replace(own, RECORD, &bytes)
}

fn replace(own: &Dir, name: &str, bytes: &[u8]) -> Result<()> {
    let written = own.make_dir(FOLDER).and_then(|_| own.replace(name, bytes, 0o600));
    written.map_err(|e| Error::io("write", &own.path().join(name), &e))
}

/// The name of a plan on the bus.
#[derive(Serialize, Deserialize)]
struct PlanRecord {
    store: String,
    plan: String,
}

/// The name on the bus that this clone noted for the plan in a store; `None` if there is none.
pub fn noted_plan(runtime: &Dir, store: &str) -> Option<String> {
    let record: PlanRecord = serde_json::from_slice(&runtime.read(PLAN, MAX_FILE).ok()?).ok()?;
    (record.store == store).then_some(record.plan)
}

/// Notes the name of the plan in a store.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn note_plan(runtime: &Dir, store: &str, plan: &str) -> Result<()> {
    let record = PlanRecord { store: store.to_owned(), plan: plan.to_owned() };
    let bytes = serde_json::to_vec(&record).map_err(|e| Error::io("write", runtime.path(), &e.into()))?;
    replace(runtime, PLAN, &bytes)
}

/// The stream of leases that this clone knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseStreamRecord {
    /// The name of the plan on the bus.
    pub plan: String,
    /// When the stream was made.
    pub made: String,
    /// The last sequence number that was seen; 0 if nothing ever stood in it.
    #[serde(default = "unknown_number")]
    pub last: u64,
    /// The last message that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landmark: Option<Landmark>,
    /// The sequence number of the note on when it began.
    #[serde(default)]
    pub begun: u64,
    /// The limits by which it may lose leases, so that none is confirmed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// What ends the limits of a stream of leases.
pub const LEASE_STREAM_LIMITS: &str = "lift the limits, as with nats stream edit; a stream in memory, or with another retention, must \
    give way to the one that the next claim makes";

impl LeaseStreamRecord {
    /// Why no lease is confirmed.
    pub fn losses(&self) -> String {
        format!("the stream of leases may lose some: {}", self.loses.join(", "))
    }
}

/// The number of a record that notes none: the stream held something, nothing more is known.
fn unknown_number() -> u64 {
    1
}

/// The stream of a plan's leases that this clone knows; `None` if it knows none.
pub fn lease_stream(runtime: &Dir, plan: &str) -> Option<LeaseStreamRecord> {
    known_lease_stream(runtime).filter(|record| record.plan == plan)
}

/// The last stream of leases that this clone met.
pub fn known_lease_stream(runtime: &Dir) -> Option<LeaseStreamRecord> {
    serde_json::from_slice(&runtime.read(LEASES, MAX_FILE).ok()?).ok()
}

/// Notes which stream of leases this clone knows.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn write_lease_stream(runtime: &Dir, record: &LeaseStreamRecord) -> Result<()> {
    let bytes = serde_json::to_vec(record).map_err(|e| Error::io("write", runtime.path(), &e.into()))?;
    replace(runtime, LEASES, &bytes)
}

/// Messages that the stream dropped before they were taken in, since the last sync.
pub fn missed(own: &Dir) -> u64 {
    let bytes = own.read(MISSED, MAX_FILE).unwrap_or_default();
    String::from_utf8(bytes).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Adds to the messages that the stream dropped.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn add_missed(own: &Dir, messages: u64) -> Result<()> {
    replace(own, MISSED, missed(own).saturating_add(messages).to_string().as_bytes())
}

/// Forgets the messages that the stream dropped: git brought what they held.
///
/// Errors: `ERR_IO`.
pub fn forget_missed(own: &Dir) -> Result<()> {
    own.remove(MISSED).map_err(|e| Error::io("remove", &own.path().join(MISSED), &e))
}

/// What a file of lines holds, and the lines of it that cannot be read, as after a disk was full.
#[derive(Debug)]
pub struct Lines<T> {
    /// What can be read.
    pub found: Vec<T>,
    /// What cannot.
    pub damaged: Vec<Vec<u8>>,
}

/// The events that wait for others, with the sequence numbers of their messages.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn waiting(own: &Dir) -> Result<Lines<(u64, Entry)>> {
    lines(own, WAITING, |line| {
        let Waiting { sequence, event } = serde_json::from_str(line).ok()?;
        let parsed = parse_line(event.get()).ok()?;
        Some((sequence, Entry { event: parsed, line: event.get().into() }))
    })
}

/// Replaces the events that wait.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn write_waiting(own: &Dir, waiting: &[(u64, Entry)]) -> Result<()> {
    if waiting.is_empty() && matches!(own.kind(WAITING), Ok(None)) {
        return Ok(());
    }
    let lines =
        waiting.iter().map(|(sequence, entry)| format!("{{\"sequence\":{sequence},\"event\":{}}}\n", entry.line));
    replace(own, WAITING, lines.collect::<String>().as_bytes())
}

#[derive(Deserialize)]
struct Waiting {
    sequence: u64,
    event: Box<RawValue>,
}

/// Adds messages to those that were refused.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn refuse(own: &Dir, messages: &[RefusedMessage]) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let shown = own.path().join(REFUSED);
    let fail = |e: std::io::Error| Error::io("write", &shown, &e);
    own.make_dir(FOLDER).map_err(fail)?;
    // A line that was cut off, as by a full disk, must not take the next one with it.
    let mut text = if ends_in_a_line(own).map_err(fail)? { String::new() } else { "\n".to_owned() };
    for message in messages {
        text.push_str(&serde_json::to_string(message).map_err(|e| fail(e.into()))?);
        text.push('\n');
    }
    let mut file = own.open_append(REFUSED, 0o600).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    if file.metadata().map_err(fail)?.len() > MAX_REFUSED {
        let all = refused(own)?.found;
        let kept = all.iter().skip(all.len() / 2).filter_map(|message| serde_json::to_string(message).ok());
        replace(own, REFUSED, kept.map(|line| line + "\n").collect::<String>().as_bytes())?;
    }
    Ok(())
}

/// Whether what is added to the file of refused messages begins a line.
fn ends_in_a_line(own: &Dir) -> std::io::Result<bool> {
    let mut file = match own.open_file(REFUSED) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(true),
        Err(e) => return Err(e),
    };
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// The messages that were refused, oldest first.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn refused(own: &Dir) -> Result<Lines<RefusedMessage>> {
    lines(own, REFUSED, |line| serde_json::from_str(line).ok())
}

/// The ids of the events among them.
///
/// Errors: as [`refused`].
pub fn refused_events(own: &Dir) -> Result<BTreeSet<Id>> {
    Ok(refused(own)?.found.into_iter().filter_map(|message| message.event).collect())
}

/// Where refused messages are kept, below the folder.
pub fn refused_name() -> &'static str {
    REFUSED
}

/// The lines of a file, as far as `read` can read them.
fn lines<T>(own: &Dir, name: &str, read: impl Fn(&str) -> Option<T>) -> Result<Lines<T>> {
    let mut all = Lines { found: Vec::new(), damaged: Vec::new() };
    let file = match own.open_file(name) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(all),
        Err(e) => return Err(Error::io("read", &own.path().join(name), &e)),
    };
    for line in BufReader::new(file).split(b'\n') {
        let line = line.map_err(|e| Error::io("read", &own.path().join(name), &e))?;
        let text = std::str::from_utf8(&line).ok().filter(|text| text.len() <= 4 * MAX_LINE);
        match text.and_then(&read) {
            Some(found) => all.found.push(found),
            None if line.is_empty() => {}
            None => all.damaged.push(line),
        }
    }
    Ok(all)
}
