//! Events of different logs with the same id: the part that one adds could be taken for that of the other.
//!
//! Guarantees that an event in the log of another entity is not reported here; another rule reports it.
//! Leaves to others: two events of one log with one id (`rules::fold`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::context::Workspace;
use crate::engine::view::history;
use crate::env::parallel;
use crate::error::Result;
use crate::git::{Item, Mode, Objects, Oid};
use crate::model::event::{Entity, Entry, parse_line};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::layout::{LOG, entity_below, home, shown};
use crate::store::log::Log;

/// The events of a log that belong there.
pub(crate) fn own_ids(entity: &Entity, entries: &[Entry]) -> Vec<Id> {
    entries.iter().filter(|entry| entry.event.entity == *entity).map(|entry| entry.event.id).collect()
}

/// Ids that several of these entities have. Of each, all but one are named.
pub(crate) fn among(store: &str, logs: &[(Entity, Vec<Id>)]) -> Vec<Finding> {
    let mut ids: Vec<(Id, usize)> =
        logs.iter().enumerate().flat_map(|(n, (_, ids))| ids.iter().map(move |id| (*id, n))).collect();
    ids.sort_unstable();
    let pairs = ids.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].0, pair[0].1, pair[1].1));
    let found = pairs.map(|(id, one, other)| (id, &logs[one].0, &logs[other].0)).filter(|(_, one, other)| one != other);
    found.map(|(id, one, other)| finding(store, id, other, one)).collect()
}

fn finding(store: &str, id: Id, entity: &Entity, other: &Entity) -> Finding {
    let path = home(entity).map(|(folder, _)| shown(store, folder.join(LOG))).unwrap_or_default();
    let message = format!("event {id} of {entity} has the id of an event of {other}");
    let found = Finding::new(Rule::EventConflict, message).event(id).at(path, None);
    entity.task().map_or(found.clone(), |task| found.task(task))
}

/// The new events of a branch, and whose they are.
#[derive(Default)]
pub(crate) struct NewEvents(BTreeSet<(Id, Entity)>);

impl NewEvents {
    /// Records the events of a log that are not among the known ones.
    pub fn record(&mut self, entity: &Entity, log: &Log, known: &BTreeSet<Id>) {
        let new = own_ids(entity, &log.entries).into_iter().filter(|id| !known.contains(id));
        self.0.extend(new.map(|id| (id, entity.clone())));
    }

    /// Those that have the id of an event of another entity, which `had` gives, or of one another.
    pub fn repeated(&self, store: &str, had: &BTreeMap<Id, Entity>) -> Vec<Finding> {
        let of_another = self.0.iter().filter_map(|(id, entity)| Some((id, entity, had.get(id)?)));
        let mut found: Vec<Finding> = of_another
            .filter(|(_, entity, other)| entity != other)
            .map(|(id, entity, other)| finding(store, *id, entity, other))
            .collect();
        let alone: Vec<(Entity, Vec<Id>)> = self.0.iter().map(|(id, entity)| (entity.clone(), vec![*id])).collect();
        found.extend(among(store, &alone));
        found
    }

    /// Those that have the id of an event of another entity in a commit, by its top tree, or of one another.
    ///
    /// Errors: `ERR_GIT` where the commit cannot be read.
    pub fn repeated_in(&self, ws: &Workspace, objects: &Objects, top: Oid) -> Result<Vec<Finding>> {
        let wanted: BTreeSet<Id> = self.0.iter().map(|(id, _)| *id).collect();
        let store = objects.item(top, &ws.store.name)?.filter(|item| item.mode == Mode::Tree).map(|item| item.oid);
        // Reading all logs of a partial clone would fetch them all.
        let files =
            if wanted.is_empty() || objects.is_partial() { Vec::new() } else { objects.changes(None, store)? };
        let logs: Vec<(Entity, Item)> = files
            .into_iter()
            .filter(|change| change.path.ends_with(LOG))
            .filter_map(|change| Some((entity_below(&change.path)?.0, change.new?)))
            .collect();
        let repo = history::repo_around(ws)?;
        let had = parallel::map_with(
            &logs,
            || repo.objects_for_many(),
            |objects, (entity, item)| {
                let bytes = objects.blob(item.oid)?;
                let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
                let is_here = |line: &&str| id_of(line).is_none_or(|id| wanted.contains(&id));
                let events = lines.filter(is_here).filter_map(|line| parse_line(line).ok());
                let own = events.filter(|event| event.entity == *entity && wanted.contains(&event.id));
                Ok(own.map(|event| (event.id, entity.clone())).collect::<Vec<_>>())
            },
        )?;
        Ok(self.repeated(&ws.store.name, &had.into_iter().flatten().collect()))
    }
}

/// The id of a line in the form that agentpm writes; of others it takes parsing the line.
fn id_of(line: &str) -> Option<Id> {
    line.strip_prefix("{\"v\":1,\"id\":\"")?.get(..26)?.parse().ok()
}
