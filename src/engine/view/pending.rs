//! Acknowledged events that no file holds yet: their writer died, or the disk failed, between the commit point and projection.
//!
//! Guarantees that every query sees them, and that lint and doctor report those that no running command will project.
//! Leaves to others: projecting them (`commit::project`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::engine::context::Workspace;
use crate::engine::context::open::Place;
use crate::engine::context::runtime_place::RUNTIME;
use crate::env::Env;
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::runtime::journal::{self, Record};
use crate::runtime::waiting;
use crate::runtime::worktree::{self, StoreKey};
use crate::store::layout::{LOG, home, shown};

/// How often, and how far apart, pending records are checked before they count as left behind. A running writer projects its
/// record within milliseconds.
const LOOKS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// Maximum number of logs that findings name.
const NAMED: usize = 20;

/// The records of a store that may not be projected yet.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn records(runtime: &Dir, key: &StoreKey, boot: &str) -> Result<Vec<Record>> {
    let mut records = waiting::read(runtime, key.worktree)?;
    let projected = journal::projected(runtime, boot);
    if projected != Some(journal::length(runtime)) {
        records.extend(journal::look(runtime, projected.unwrap_or(0))?.0);
    }
    records.retain(|record| record.commit.store == *key && !record.commit.arrived);
    Ok(records)
}

/// The records of this store that may not be projected yet.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn pending_records(ws: &Workspace) -> Result<Vec<Record>> {
    match (ws.runtime(), ws.store_key()) {
        (Some(runtime), Some(key)) => records(runtime, key, ws.env.boot()),
        _ => Ok(Vec::new()),
    }
}

/// The number of acknowledged events that are in no file of this store and that no running command will project.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn left_behind(ws: &Workspace) -> Result<usize> {
    Ok(lasting(|| pending_records(ws))?.values().sum())
}

pub(crate) fn left_behind_found(ws: &Workspace) -> Result<Vec<Finding>> {
    Ok(findings(&ws.store.name, &lasting(|| pending_records(ws))?))
}

/// As [`left_behind_found`], for a store that may not be in the work tree.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn left_behind_at(env: &Env, place: &Place) -> Result<Vec<Finding>> {
    let Some(runtime) = &place.runtime else { return Ok(Vec::new()) };
    let own = match runtime.path().starts_with(&place.repo.common_dir) {
        true => Dir::open(&place.repo.git_dir.join(RUNTIME)).ok().and_then(|own| worktree::read(&own)),
        false => worktree::read(runtime),
    };
    let Some(own) = own else { return Ok(Vec::new()) };
    let key = StoreKey { worktree: own.id, store: place.name.clone() };
    Ok(findings(&place.name, &lasting(|| records(runtime, &key, env.boot()))?))
}

/// The number of lasting pending events of each entity: those of records that are pending at every check.
fn lasting(look: impl Fn() -> Result<Vec<Record>>) -> Result<BTreeMap<Entity, usize>> {
    let mut records = look()?;
    for _ in 0..LOOKS {
        if records.is_empty() {
            break;
        }
        std::thread::sleep(PAUSE);
        let now: BTreeSet<Id> = look()?.iter().map(|record| record.commit.commit).collect();
        records.retain(|record| now.contains(&record.commit.commit));
    }
    let mut counts = BTreeMap::new();
    let entries = records.into_iter().flat_map(|record| record.entries);
    for entry in entries.filter(|entry| home(&entry.event.entity).is_some() && !entry.event.payload.journal_only()) {
        *counts.entry(entry.event.entity).or_default() += 1;
    }
    Ok(counts)
}

/// A finding for each log that lacks acknowledged events: at most [`NAMED`], and one that counts the others.
fn findings(store: &str, counts: &BTreeMap<Entity, usize>) -> Vec<Finding> {
    let path = |entity: &Entity| home(entity).map(|(folder, _)| shown(store, folder.join(LOG))).unwrap_or_default();
    let one = |(entity, events): (&Entity, &usize)| {
        let (plural, verb) = if *events == 1 { ("", "stands") } else { ("s", "stand") };
        let message = format!(
            "{events} acknowledged event{plural} of {entity} {verb} in the journal of this clone and in no file yet"
        );
        let finding = Finding::new(Rule::EventsPending, message).at(path(entity), None);
        entity.task().map_or(finding.clone(), |id| finding.task(id))
    };
    let mut findings: Vec<Finding> = counts.iter().take(NAMED).map(one).collect();
    if counts.len() > NAMED {
        let message = format!("acknowledged events of {} more tasks are in no file yet", counts.len() - NAMED);
        findings.push(Finding::new(Rule::EventsPending, message));
    }
    findings
}
