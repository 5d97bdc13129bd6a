//! What stands in the logs and did not come through the journal of this clone.
//!
//! Guarantees that an event which any worktree of the clone wrote or noted is no news, and that logs and journals are read again
//! only where they changed: the index keeps what is known of them.
//! Finds with it which logs hold an event by its id.
//! Leaves to others: noting it (`stream`), and what it means.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::env::parallel;
use crate::error::Result;
use crate::model::event::{Entity, Entry, Stamp};
use crate::model::id::Id;
use crate::runtime::journals::{Journals, Position};
use crate::store::entity::read_log;
use crate::store::index::{Index, NotedChange, NotedLog};
use crate::store::layout::{AGENTS, LOG};

/// Logs of which is held at once what the caller keeps.
const AT_ONCE: usize = 512;

/// What `keep` makes of the events that the logs hold and that no journal of this clone has, in their order. In a new clone these
/// are all events of the plan: a caller keeps little of each.
///
/// Errors: `ERR_IO` where the journal, the index or a log cannot be read.
pub(crate) fn unnoted<T: Send>(
    ws: &Workspace,
    index: &Index,
    journals: &Journals,
    keep: impl Fn(Entry) -> Option<T> + Sync,
) -> Result<Vec<(Stamp, T)>> {
    let from = index.noted_to()?;
    let begin = from.as_deref().and_then(|text| text.parse().ok()).filter(|at: &Position| journals.rank(*at).is_some());
    let mut known: BTreeMap<Entity, BTreeSet<Id>> = BTreeMap::new();
    let end = journals.each_from(
        begin,
        |entry, _| (!entry.event.payload.journal_only()).then_some((entry.event.entity, entry.event.id)),
        |events, commit, _| {
            if commit.store.store == ws.store.name {
                for (entity, id) in events {
                    known.entry(entity).or_default().insert(id);
                }
            }
        },
    )?;
    let mut change = NotedChange { from, to: end.map(|end| end.to_string()).unwrap_or_default(), ..Default::default() };
    let candidates = candidates(ws, index, begin.is_none())?;
    let mut fresh: Vec<(Stamp, T)> = Vec::new();
    for some in candidates.chunks(AT_ONCE) {
        let looked = parallel::map(some, |one| {
            let own = read_log(&ws.store, &one.entity)?.entries.into_iter().filter(|e| e.event.entity == one.entity);
            Ok(own.map(|entry| (entry.event.id, entry.event.stamp(), keep(entry))).collect::<Vec<_>>())
        })?;
        for (one, entries) in some.iter().zip(looked) {
            let mut log = if begin.is_some() { index.noted(&one.entity.to_string())? } else { NotedLog::default() };
            log.ids.extend(known.remove(&one.entity).unwrap_or_default());
            let mut is_clean = true;
            for (_, stamp, kept) in entries.into_iter().filter(|(id, ..)| !log.ids.contains(id)) {
                is_clean = false;
                fresh.extend(kept.map(|kept| (stamp, kept)));
            }
            change.clean.extend(one.entity.task().zip(one.read_at).filter(|_| is_clean));
            // An agent's log that holds news is looked through again.
            log.mark = if is_clean { one.mark.clone() } else { String::new() };
            change.logs.push((one.entity.to_string(), log));
        }
    }
    for (entity, ids) in known {
        let mut log = if begin.is_some() { index.noted(&entity.to_string())? } else { NotedLog::default() };
        log.ids.extend(ids);
        change.logs.push((entity.to_string(), log));
    }
    if !change.logs.is_empty() || change.from.as_ref() != Some(&change.to) {
        index.save_noted(&change)?;
    }
    // The sort is stable: of several with one stamp the last one counts.
    fresh.sort_by_key(|(stamp, _)| *stamp);
    fresh.reverse();
    fresh.dedup_by_key(|(stamp, _)| *stamp);
    fresh.reverse();
    Ok(fresh)
}

/// The logs that have an event with one of these ids.
pub(crate) fn taken_ids(ws: &Workspace, ids: impl Iterator<Item = Id>) -> Result<BTreeMap<Id, BTreeSet<Entity>>> {
    let ids: BTreeSet<Id> = ids.collect();
    let mut taken: BTreeMap<Id, BTreeSet<Entity>> = BTreeMap::new();
    if ids.is_empty() {
        return Ok(taken);
    }
    let index = read::index(ws)?;
    let runtime = Dir::open(&ws.runtime_path).ok();
    let journals = runtime.map_or_else(|| Ok(Journals::default()), |runtime| Journals::open(&runtime))?;
    let is_one = |entry: Entry| ids.contains(&entry.event.id).then_some((entry.event.id, entry.event.entity));
    let by_git = unnoted(ws, &index, &journals, is_one)?.into_iter().map(|(_, one)| one);
    for (id, entity) in index.noted_with(&ids)?.into_iter().chain(by_git) {
        taken.entry(id).or_default().insert(entity);
    }
    Ok(taken)
}

/// A log that may hold news.
struct Candidate {
    entity: Entity,
    /// When the index read it, of a task.
    read_at: Option<i64>,
    /// The mark of the file, of an agent.
    mark: String,
}

/// The logs that changed since they were looked through; all of them where nothing is known.
fn candidates(ws: &Workspace, index: &Index, all: bool) -> Result<Vec<Candidate>> {
    let task = |id, read_at| Candidate { entity: Entity::Task(id), read_at, mark: String::new() };
    let unnoted: BTreeMap<Id, i64> = index.unnoted()?.into_iter().collect();
    let tasks: Vec<Id> = if all { index.all_ids()? } else { unnoted.keys().copied().collect() };
    let mut found: Vec<Candidate> = tasks.into_iter().map(|id| task(id, unnoted.get(&id).copied())).collect();
    for name in read::agent_names(ws)? {
        let path = std::path::Path::new(AGENTS).join(&name).join(LOG);
        let mark = ws.store.dir.mark(&path).ok().flatten().map(|mark| format!("{mark:?}")).unwrap_or_default();
        let entity = Entity::Agent(name);
        if all || mark.is_empty() || index.noted(&entity.to_string())?.mark != mark {
            found.push(Candidate { entity, read_at: None, mark });
        }
    }
    Ok(found)
}
