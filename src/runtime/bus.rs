//! What the bridge to the message bus notes in its worktree: how far it came in both directions, what waits, what it refused.
//!
//! Guarantees that a record is replaced as a whole. One that is lost or damaged only makes the bridge begin again, which repeats work
//! and changes nothing, since events are known by their ids.
//! Leaves to others: the bus, and what an event means.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::event::{Entry, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::runtime::journals::Position;

const FOLDER: &str = "bus";
const RECORD: &str = "bus/bridge.json";
const LEASES: &str = "bus/leases.json";
const PLAN: &str = "bus/plan.json";
const WAITING: &str = "bus/waiting.jsonl";
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
    /// Messages that the stream dropped before they were taken.
    pub missed: u64,
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
#[derive(Serialize, Deserialize)]
struct LeaseStreamRecord {
    plan: String,
    made: String,
}

/// When the stream of a plan's leases was made that this clone knows; `None` if it knows none.
pub fn lease_stream(runtime: &Dir, plan: &str) -> Option<String> {
    let record: LeaseStreamRecord = serde_json::from_slice(&runtime.read(LEASES, MAX_FILE).ok()?).ok()?;
    (record.plan == plan).then_some(record.made)
}

/// Notes which stream of leases this clone knows.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`.
pub fn write_lease_stream(runtime: &Dir, plan: &str, made: &str) -> Result<()> {
    let record = LeaseStreamRecord { plan: plan.to_owned(), made: made.to_owned() };
    let bytes = serde_json::to_vec(&record).map_err(|e| Error::io("write", runtime.path(), &e.into()))?;
    replace(runtime, LEASES, &bytes)
}

/// The events that wait for their parents, with the sequence numbers of their messages.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn waiting(own: &Dir) -> Result<Vec<(u64, Entry)>> {
    let mut found = Vec::new();
    each_line(own, WAITING, |line| {
        let Ok(Waiting { sequence, event }) = serde_json::from_str(line) else { return };
        if let Ok(parsed) = parse_line(event.get()) {
            found.push((sequence, Entry { event: parsed, line: event.get().into() }));
        }
    })?;
    Ok(found)
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
    let mut text = String::new();
    for message in messages {
        text.push_str(&serde_json::to_string(message).map_err(|e| fail(e.into()))?);
        text.push('\n');
    }
    own.make_dir(FOLDER).map_err(fail)?;
    let mut file = own.open_append(REFUSED, 0o600).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    if file.metadata().map_err(fail)?.len() > MAX_REFUSED {
        let all = refused(own)?;
        let kept = all.iter().skip(all.len() / 2).filter_map(|message| serde_json::to_string(message).ok());
        replace(own, REFUSED, kept.map(|line| line + "\n").collect::<String>().as_bytes())?;
    }
    Ok(())
}

/// The messages that were refused, oldest first.
///
/// Errors: `ERR_IO` if the file cannot be read.
pub fn refused(own: &Dir) -> Result<Vec<RefusedMessage>> {
    let mut found = Vec::new();
    each_line(own, REFUSED, |line| found.extend(serde_json::from_str::<RefusedMessage>(line)))?;
    Ok(found)
}

/// The ids of the events among them.
///
/// Errors: as [`refused`].
pub fn refused_events(own: &Dir) -> Result<BTreeSet<Id>> {
    Ok(refused(own)?.into_iter().filter_map(|message| message.event).collect())
}

/// Where refused messages are kept, below the folder.
pub fn refused_name() -> &'static str {
    REFUSED
}

fn each_line(own: &Dir, name: &str, mut visit: impl FnMut(&str)) -> Result<()> {
    let file = match own.open_file(name) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Error::io("read", &own.path().join(name), &e)),
    };
    for line in BufReader::new(file).lines() {
        let line = line.map_err(|e| Error::io("read", &own.path().join(name), &e))?;
        if line.len() <= 4 * MAX_LINE {
            visit(&line);
        }
    }
    Ok(())
}
