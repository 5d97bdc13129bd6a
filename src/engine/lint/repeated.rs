//! Events of different logs with the same id: the part that one adds could be mistaken for that of the other.
//!
//! Guarantees that an event in the log of another entity is not reported here; another rule reports it.
//! Leaves to others: two events of one log with one id (`rules::fold`).

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use super::base::Branch;
use super::source::{LintSource, log_path};
use crate::engine::view::history;
use crate::env::parallel;
use crate::error::Result;
use crate::git::Item;
use crate::model::event::{Entity, Entry, parse_line, written_id};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::layout::{LOG, entity_below};
use crate::store::log::Log;

/// The events of a log that belong there.
pub(crate) fn own_ids(entity: &Entity, entries: &[Entry]) -> Vec<Id> {
    entries.iter().filter(|entry| entry.event.entity == *entity).map(|entry| entry.event.id).collect()
}

/// The findings about events of different entities with the same id.
pub(crate) fn check(source: LintSource<'_>, found: &mut Found) -> Result<()> {
    found.findings.extend(match source {
        LintSource::WorkTree(tree, _) => among(&tree.ws.store.name, &found.ids),
        LintSource::Branch(branch, gate) => {
            let mut new = gate.new.borrow_mut();
            // The logs of a work tree are compared with one another as a whole.
            if !branch.is_here() {
                new.record_base(branch)?;
            }
            new.repeated(source.store())
        }
        LintSource::Index(..) | LintSource::Text(_) => Vec::new(),
    });
    Ok(())
}

/// The findings about ids that several of these entities have: all of them but one for each id.
fn among(store: &str, logs: &[(Entity, Vec<Id>)]) -> Vec<Finding> {
    let mut ids: Vec<(Id, usize)> =
        logs.iter().enumerate().flat_map(|(n, (_, ids))| ids.iter().map(move |id| (*id, n))).collect();
    ids.sort_unstable();
    let pairs = ids.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| (pair[0].0, pair[0].1, pair[1].1));
    let found = pairs.map(|(id, one, other)| (id, &logs[one].0, &logs[other].0)).filter(|(_, one, other)| one != other);
    found.map(|(id, one, other)| finding(store, id, other, one)).collect()
}

fn finding(store: &str, id: Id, entity: &Entity, other: &Entity) -> Finding {
    let message = format!("event {id} of {entity} has the id of an event of {other}");
    let found = Finding::new(Rule::EventConflict, message).event(id).at(log_path(store, entity), None);
    Finding { task: entity.task(), ..found }
}

/// The new events of a branch and the entities they belong to, and the same of the events that its base has in the same logs.
#[derive(Default)]
pub(crate) struct NewEvents {
    new: BTreeSet<(Id, Entity)>,
    base: BTreeMap<Id, Entity>,
}

impl NewEvents {
    /// Records the events of a log that are not among the known ones, and those that the base has of it.
    pub fn record(&mut self, entity: &Entity, log: &Log, known: &BTreeSet<Id>, base: &[Entry]) {
        let new = own_ids(entity, &log.entries).into_iter().filter(|id| !known.contains(id));
        self.new.extend(new.map(|id| (id, entity.clone())));
        self.base.extend(own_ids(entity, base).into_iter().map(|id| (id, entity.clone())));
    }

    /// Those with the id of an event of another entity, in the base or among themselves.
    fn repeated(&self, store: &str) -> Vec<Finding> {
        let of_another = self.new.iter().filter_map(|(id, entity)| Some((id, entity, self.base.get(id)?)));
        let of_another = of_another.filter(|(_, entity, other)| entity != other);
        let mut found: Vec<Finding> =
            of_another.map(|(id, entity, other)| finding(store, *id, entity, other)).collect();
        let alone: Vec<(Entity, Vec<Id>)> = self.new.iter().map(|(id, entity)| (entity.clone(), vec![*id])).collect();
        found.extend(among(store, &alone));
        found
    }

    /// Records the events with these ids in all other logs of the base.
    fn record_base(&mut self, branch: &Branch<'_>) -> Result<()> {
        let wanted: BTreeSet<Id> = self.new.iter().map(|(id, _)| *id).collect();
        // Reading all logs of a partial clone would fetch them all.
        if wanted.is_empty() || branch.objects.is_partial() {
            return Ok(());
        }
        let files = branch.objects.changes(None, branch.store_at(branch.base_tree)?)?.into_iter();
        let logs: Vec<(Entity, Item)> = files
            .filter(|change| change.path.ends_with(LOG))
            .filter_map(|change| Some((entity_below(&change.path)?.0, change.new?)))
            .collect();
        let repo = history::repo_around(branch.ws)?;
        let had = parallel::map_with(
            &logs,
            || repo.objects_for_many(),
            |objects, (entity, item)| {
                let bytes = objects.blob(item.oid)?;
                let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
                let is_here = |line: &&str| written_id(line).is_none_or(|id| wanted.contains(&id));
                let events = lines.filter(is_here).filter_map(|line| parse_line(line).ok());
                let own = events.filter(|event| event.entity == *entity && wanted.contains(&event.id));
                Ok(own.map(|event| (event.id, entity.clone())).collect::<Vec<_>>())
            },
        )?;
        self.base.extend(had.into_iter().flatten());
        Ok(())
    }
}
