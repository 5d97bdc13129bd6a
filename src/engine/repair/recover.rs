//! Finds and restores acknowledged events that every branch and worktree has lost.
//!
//! Guarantees that an event counts as lost only if no log contains it: in a worktree, a branch, a remote-tracking branch, a tag
//! or a stash. The same events are restored, with their ids and ancestors. The journal does not change, and restoring twice
//! changes nothing.
//! Leaves to others: whether they were discarded on purpose, which only the caller knows.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::look_after_git;
use crate::engine::commit::hand_edits::record;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::read::{self, one_of};
use crate::engine::view::ref_logs::{self, RefLogs};
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry, MAX_CLOCK};
use crate::model::id::{ABBREVIATION_MIN, Id, quoted};
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::event_rules::status_of;
use crate::rules::fold;
use crate::runtime::journals::Journals;
use crate::runtime::{journal, waiting};
use crate::store::archive;
use crate::store::entity::read_log;
use crate::store::layout::{Store, home};
use crate::store::project::check_home;

/// Maximum number of rounds of searching ancestors.
const MAX_ROUNDS: usize = 10_000;

/// Events that no log contains.
#[derive(Debug, Default)]
pub struct UnreachableEvents {
    /// The events, in order.
    pub events: Vec<Entry>,
    /// Titles of their tasks, if a log or the events contain them.
    pub titles: BTreeMap<Id, String>,
    /// Why branches could not be searched; some of the events may be there.
    pub warning: Option<String>,
    redactions: BTreeMap<Id, Id>,
}

/// The events of this store in the journals.
#[derive(Default)]
struct Acknowledged {
    /// Their ids, by log.
    events: BTreeMap<Entity, BTreeSet<Id>>,
    /// When a task was last brought to a status other than archived.
    opened: BTreeMap<Entity, Time>,
    /// Redacted context entries, with the redactions.
    redactions: BTreeMap<Id, Id>,
}

/// Which events to restore.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These, by ids, prefixes or handles.
    Events(Vec<Ref>),
    /// All of one task.
    Task(Ref),
    /// All.
    All,
}

/// What was restored.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Restored {
    /// The events, in their order: the requested ones and their ancestors.
    #[serde(rename = "items")]
    pub events: Vec<Id>,
    /// Their number.
    pub total: usize,
    /// The tasks and agents they belong to.
    #[schemars(with = "Vec<String>")]
    pub entities: Vec<Entity>,
    /// Ancestors of these events that this clone does not know.
    pub missing: Vec<Id>,
}

/// The acknowledged events of this store that no log contains.
///
/// Errors: `ERR_IO` if the journal or the files cannot be read.
pub fn unreachable_events(ws: &Workspace) -> Result<UnreachableEvents> {
    let Acknowledged { events: mut left, opened, redactions } = acknowledged(ws)?;
    let in_flight = in_flight(ws)?;
    let archived = archive::archived(&ws.store)?;
    let dropped_at = |id| archived.dropped.get(&id).filter(|_| !read::is_there(ws, id));
    let was_opened = |entity: &Entity, at: Time| opened.get(entity).is_some_and(|opened| *opened > at);
    left.retain(|entity, _| entity.task().and_then(dropped_at).is_none_or(|at| was_opened(entity, *at)));
    left.values_mut().for_each(|ids| ids.retain(|id| !in_flight.contains(id)));
    let drop_known = |ids: &mut BTreeSet<Id>, entries: &[Entry]| {
        entries.iter().for_each(|e| {
            ids.remove(&e.event.id);
        });
    };
    let mut stores = vec![None];
    stores.extend(other_stores(ws)?.into_iter().map(Some));
    for store in &stores {
        let known: Vec<(Entity, BTreeSet<Id>)> = left.into_iter().collect();
        let rests = parallel::map(&known, |(entity, ids)| {
            let mut ids = ids.clone();
            drop_known(&mut ids, &read_log(store.as_ref().unwrap_or(&ws.store), entity)?.entries);
            Ok(ids)
        })?;
        let rests = known.into_iter().zip(rests).map(|((entity, _), rest)| (entity, rest));
        left = rests.filter(|(_, rest)| !rest.is_empty()).collect();
    }
    let mut found = UnreachableEvents { redactions, ..UnreachableEvents::default() };
    if left.is_empty() {
        return Ok(found);
    }
    match RefLogs::open(ws) {
        Ok(Some(kept)) => {
            for (entity, ids) in &mut left {
                for log in kept.logs(entity) {
                    drop_known(ids, &log.entries);
                    found.learn_title(entity, &log.entries);
                }
            }
            left.retain(|_, ids| !ids.is_empty());
        }
        Ok(None) => {}
        Err(e) => found.warning = Some(format!("branches were not searched: {}", e.message)),
    }
    found.events = ref_logs::known_events(ws, &left.values().flatten().copied().collect())?;
    for entity in left.keys() {
        let own = found.events.iter().filter(|e| e.event.entity == *entity);
        let mut all: Vec<Entry> = own.cloned().collect();
        all.extend(read_log(&ws.store, entity)?.entries);
        found.learn_title(entity, &all);
    }
    Ok(found)
}

/// The ids of all events of this store in the journals. One pass, which keeps only ids in memory.
fn acknowledged(ws: &Workspace) -> Result<Acknowledged> {
    let mut all = Acknowledged::default();
    let Some(runtime) = ws.runtime() else { return Ok(all) };
    let keep = |entry: Entry| {
        let event = entry.event;
        let redaction = event.payload.redacts();
        let counts = !event.payload.journal_only() && home(&event.entity).is_some();
        let opened = status_of(&event).filter(|status| *status != Status::Archived).map(|_| event.at);
        (counts || redaction.is_some()).then_some((event.id, counts.then_some(event.entity), redaction, opened))
    };
    Journals::open(runtime)?.each(
        |entry, _| keep(entry),
        |kept, commit| {
            // In any worktree.
            if commit.store.store != ws.store.name {
                return;
            }
            for (event, entity, redaction, opened) in kept {
                all.redactions.extend(redaction.map(|redacted| (redacted, event)));
                if let Some(entity) = entity {
                    if let Some(at) = opened {
                        let last = all.opened.entry(entity.clone()).or_insert(at);
                        *last = at.max(*last);
                    }
                    all.events.entry(entity).or_default().insert(event);
                }
            }
        },
    )?;
    Ok(all)
}

/// Events that a running writer in any worktree may not have projected yet.
fn in_flight(ws: &Workspace) -> Result<BTreeSet<Id>> {
    let Some(runtime) = ws.runtime() else { return Ok(BTreeSet::new()) };
    let (mut records, _) = journal::look(runtime, journal::projected(runtime, ws.env.boot()).unwrap_or(0))?;
    for worktree in ws.waiting_worktrees()? {
        records.extend(waiting::read(runtime, worktree)?);
    }
    Ok(records.iter().flat_map(|record| &record.entries).map(|e| e.event.id).collect())
}

fn other_stores(ws: &Workspace) -> Result<Vec<Store>> {
    let others = ws.other_worktrees()?.into_iter();
    Ok(others.filter_map(|other| Store::at(&other.top.join(&ws.store.name), &other.top).ok().flatten()).collect())
}

/// Restores lost events in the logs of this worktree, with their missing ancestors.
///
/// Errors: `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, `ERR_BUSY` if the lock was not acquired, `ERR_IO` where
/// the files cannot be written; doing it again ends what was begun.
pub fn restore_events(ws: &Workspace, wanted: &Selection) -> Result<Restored> {
    write::under_lock(ws, "agentpm recover", |runtime, lock, journal| {
        look_after_git(ws, journal, runtime)?;
        let unreachable_events = unreachable_events(ws)?;
        let (chosen, redactions) = choose(ws, wanted, unreachable_events)?;
        let (events, missing) = with_ancestors(ws, chosen, &redactions)?;
        let mut by_entity: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
        for entry in &events {
            by_entity.entry(entry.event.entity.clone()).or_default().push(entry.clone());
        }
        by_entity.keys().try_for_each(|entity| check_home(&ws.store, entity))?;
        lock.check(runtime)?;
        read::logs_were_written(ws);
        for (entity, entries) in &by_entity {
            record::project_unedited(ws, &record::lineage(ws), entity, entries, runtime)?;
        }
        if !events.is_empty() {
            // The journal does not project them again after a power loss.
            ws.flush_disks()?;
            journal.saw(events.iter().map(|e| e.event.lamport).max().unwrap_or(0).min(MAX_CLOCK));
            journal.mark_projected(ws)?;
        }
        Ok(Restored {
            total: events.len(),
            events: events.iter().map(|e| e.event.id).collect(),
            entities: by_entity.into_keys().collect(),
            missing,
        })
    })
}

fn choose(
    ws: &Workspace,
    wanted: &Selection,
    unreachable_events: UnreachableEvents,
) -> Result<(Vec<Entry>, BTreeMap<Id, Id>)> {
    let lost = unreachable_events.events;
    let chosen = match wanted {
        Selection::All => lost,
        Selection::Task(reference) => {
            let tasks = lost.iter().filter_map(|e| task_of(&e.event.entity)).filter(|id| fits(*id, reference));
            let task = match one_of(tasks.collect(), reference)? {
                Some(task) => task,
                // An existing task without lost events is not an error.
                None => read::resolve(ws, reference)?,
            };
            lost.into_iter().filter(|e| task_of(&e.event.entity) == Some(task)).collect()
        }
        Selection::Events(references) => {
            let mut chosen = Vec::new();
            for reference in references {
                let ids = lost.iter().map(|e| e.event.id).filter(|id| fits(*id, reference)).collect();
                match one_of(ids, reference)? {
                    Some(id) => chosen.extend(lost.iter().filter(|e| e.event.id == id).cloned()),
                    None => expect_here(ws, reference)?,
                }
            }
            chosen
        }
    };
    Ok((chosen, unreachable_events.redactions))
}

/// Accepts an event that is not lost but present.
fn expect_here(ws: &Workspace, reference: &Ref) -> Result<()> {
    let wanted = reference.0.parse::<Id>().map(|id| BTreeSet::from([id])).unwrap_or_default();
    let known = ref_logs::known_events(ws, &wanted)?.into_iter().find(|e| home(&e.event.entity).is_some());
    let Some(entry) = known else {
        return Err(Error::not_found(format!("no lost event is called {}", quoted(&reference.0)))
            .hint("agentpm recover lists the lost events; a part of an id needs at least 4 characters"));
    };
    let log = read_log(&ws.store, &entry.event.entity)?;
    if log.entries.iter().any(|e| e.event.id == entry.event.id) {
        return Ok(());
    }
    Err(Error::state(format!("event {} is not lost: another branch or worktree holds it", entry.event.id))
        .with(json!({ "event": entry.event.id, "entity": entry.event.entity }))
        .hint("merge that branch, or git cherry-pick its commit"))
}

/// The missing ones of these events with their missing ancestors, and the ids of unknown ancestors. Redacted text is only
/// restored together with its redaction.
fn with_ancestors(ws: &Workspace, chosen: Vec<Entry>, redactions: &BTreeMap<Id, Id>) -> Result<(Vec<Entry>, Vec<Id>)> {
    let mut here: BTreeMap<Entity, BTreeSet<Id>> = BTreeMap::new();
    let mut taken: BTreeMap<Id, Entry> = BTreeMap::new();
    let mut missing = BTreeSet::new();
    let mut round = chosen;
    for _ in 0..MAX_ROUNDS {
        let mut wanted = BTreeSet::new();
        for entry in round {
            let entity = entry.event.entity.clone();
            let known = match here.entry(entity) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => {
                    let log = read_log(&ws.store, place.key())?;
                    place.insert(log.entries.iter().map(|e| e.event.id).collect())
                }
            };
            if known.insert(entry.event.id) {
                wanted.extend(redactions.get(&entry.event.id).filter(|id| !known.contains(id)));
                wanted.extend(entry.event.parents.iter().filter(|parent| !known.contains(parent)));
                taken.insert(entry.event.id, entry);
            }
        }
        wanted.retain(|id| !taken.contains_key(id) && !missing.contains(id));
        if wanted.is_empty() {
            break;
        }
        round = ref_logs::known_events(ws, &wanted)?;
        let found: BTreeSet<Id> = round.iter().map(|e| e.event.id).collect();
        missing.extend(wanted.into_iter().filter(|id| !found.contains(id)));
    }
    let mut events: Vec<Entry> = taken.into_values().collect();
    events.sort_by_key(|e| e.event.stamp());
    Ok((events, missing.into_iter().collect()))
}

impl UnreachableEvents {
    /// Whether an event is a context entry whose text was removed.
    pub fn is_redacted(&self, event: Id) -> bool {
        self.redactions.contains_key(&event)
    }

    fn learn_title(&mut self, entity: &Entity, entries: &[Entry]) {
        if let Some(id) = task_of(entity)
            && self.titles.get(&id).is_none_or(String::is_empty)
        {
            self.titles.insert(id, fold::fold(id, entries).0.fields.title);
        }
    }
}

fn task_of(entity: &Entity) -> Option<Id> {
    if let Entity::Task(id) = entity { Some(*id) } else { None }
}

/// Whether a reference means an id: whole, or by its beginning or end.
fn fits(id: Id, reference: &Ref) -> bool {
    reference.0.len() >= ABBREVIATION_MIN && id.has_part(&reference.0.to_ascii_uppercase())
}
