//! Append-only: every event that a log held is still there, with the same bytes.
//!
//! Guarantees: compares sets of events, whatever the order of lines. A redaction may have removed text, and an event in the log of
//! another entity may have been moved to its own.
//! Leaves to others: whether the events are permitted (`permitted`).

use std::collections::{BTreeMap, BTreeSet};

use super::source::{LintSource, Subject};
use crate::error::Result;
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::log::Log;
use crate::store::project::without_text;

/// Most events of one log that are named one by one.
const NAMED: usize = 20;

/// The findings about events that a log no longer holds. A task without a log is missing as a whole.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    if subject.has_log || subject.entity.task().is_none() {
        let elsewhere = |other: &Entity| source.entries(other);
        let Subject { entity, log_path, before, log, .. } = subject;
        found.extend(rewritten(entity, log_path, &before.entries, log, &elsewhere)?);
    }
    Ok(())
}

/// The findings about events that are gone from a log, or have other bytes. `elsewhere` gives the present log of another entity.
fn rewritten(
    entity: &Entity,
    path: &str,
    before: &[Entry],
    log: &Log,
    elsewhere: &dyn Fn(&Entity) -> Result<Vec<Entry>>,
) -> Result<Vec<Finding>> {
    let now = &log.entries;
    if now.is_empty() && !before.is_empty() {
        let message = match before.len() {
            1 => format!("the log of {entity} is gone, with 1 event"),
            n => format!("the log of {entity} is gone, with {n} events"),
        };
        return Ok(vec![Finding::new(Rule::LogRewritten, message).at(path, None)]);
    }
    let lines: BTreeSet<(Id, &str)> = now.iter().map(|e| (e.event.id, &*e.line)).collect();
    let mut lost: BTreeMap<Id, &Entry> = BTreeMap::new();
    for entry in before.iter().filter(|e| !lines.contains(&(e.event.id, &e.line))) {
        let id = entry.event.id;
        // Only one of two lines with the same id can be valid; removing the other repaired the log.
        let replaced =
            before.iter().any(|e| e.event.id == id && e.line != entry.line && lines.contains(&(id, &e.line)));
        if replaced || is_redacted(entry, now) {
            continue;
        }
        let home = &entry.event.entity;
        if home != entity && elsewhere(home)?.iter().any(|e| e.line == entry.line) {
            continue;
        }
        lost.insert(id, entry);
    }
    let mut findings: Vec<Finding> = lost
        .values()
        .take(NAMED)
        .map(|entry| {
            let event = &entry.event;
            let line = log.line_of(event.id);
            let how =
                if now.iter().any(|e| e.event.id == event.id) { "has other bytes than it had" } else { "is gone" };
            let message = format!("{} {} by {} {how}", event.payload.kind(), event.id, event.author.agent);
            Finding::new(Rule::LogRewritten, message).event(event.id).at(path, line)
        })
        .collect();
    if lost.len() > NAMED {
        let message = format!("{} more events of {entity} are missing or changed", lost.len() - NAMED);
        findings.push(Finding::new(Rule::LogRewritten, message).at(path, None));
    }
    Ok(findings)
}

/// The findings about events whose id belongs to another line of the log as it was before.
pub(crate) fn otherwise(path: &str, before: &[Entry], log: &Log) -> Vec<Finding> {
    let mut had: BTreeMap<Id, Vec<&Entry>> = BTreeMap::new();
    for entry in before {
        had.entry(entry.event.id).or_default().push(entry);
    }
    let mut found = BTreeMap::new();
    for (n, entry) in log.entries.iter().enumerate() {
        let id = entry.event.id;
        let Some(lines) = had.get(&id) else { continue };
        let same =
            |old: &&Entry| old.line == entry.line || is_without_text(entry, old) || is_redacted(old, &log.entries);
        if !lines.iter().any(same) {
            let kind = entry.event.payload.kind();
            let message = format!("{kind} {id} by {} has the id of another event", entry.event.author.agent);
            let line = log.lines.get(n).copied();
            found.entry(id).or_insert(Finding::new(Rule::EventConflict, message).event(id).at(path, line));
        }
    }
    found.into_values().take(NAMED).collect()
}

/// Whether an event lost only its text, and perhaps its signature, to a redaction.
fn is_redacted(before: &Entry, now: &[Entry]) -> bool {
    let id = before.event.id;
    let is_named = now.iter().any(|e| e.event.payload.redacts() == Some(id));
    is_named && now.iter().any(|e| e.event.id == id && is_without_text(before, e))
}

/// Whether a line equals another without its text. The signature, which no longer matches, may be gone too.
fn is_without_text(before: &Entry, now: &Entry) -> bool {
    let mut bare = before.clone();
    if !without_text(&mut bare).unwrap_or_default() {
        return false;
    }
    let unsigned = || Event { sig: None, ..bare.event.clone() }.to_line();
    bare.line == now.line || unsigned().is_ok_and(|line| *line == *now.line)
}
