//! Append-only: every event that a log held is still there, with the same bytes.
//!
//! Promises: judged on the set of events, not on the order of lines. Text may go where a redaction says so, and an event that
//! stood in another's log may have moved home.
//! Refuses to know: where either side was read.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::store::log::Log;

/// Most events of one log that are named one by one.
const NAMED: usize = 20;

/// The events of a log that are gone from it, or have other bytes. `elsewhere` gives the log of another entity as it is now.
pub(super) fn rewritten(
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
        // Of two lines with one id only one can be true; whoever took the other out mended the log.
        let settled = before.iter().any(|e| e.event.id == id && e.line != entry.line && lines.contains(&(id, &e.line)));
        if settled || is_redacted(id, now) {
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
        let message = format!("{} more events of {entity} are gone or have other bytes", lost.len() - NAMED);
        findings.push(Finding::new(Rule::LogRewritten, message).at(path, None));
    }
    Ok(findings)
}

/// Whether an event lost its text, and nothing else, to a redaction.
fn is_redacted(id: Id, now: &[Entry]) -> bool {
    let named = |e: &Entry| matches!(&e.event.payload, Payload::ContextRedacted(p) if p.entry == id);
    let bare = |e: &Entry| matches!(&e.event.payload, Payload::ContextAdded(p) if p.content.is_empty());
    now.iter().any(named) && now.iter().any(|e| e.event.id == id && bare(e))
}
