//! What follows from several tasks, for what is staged: the plan of the index compared with the plan of the parent commit.
//!
//! Guarantees: reports only what the commit would bring about. Where nothing is staged that could bring such a thing about, no more
//! than what is staged is read; else every log once, and only those with relationships, and those that these name, are taken
//! apart. A task that is staged as removed stays, since its removal is what is wrong then.
//! Leaves to others: the work tree.

use std::collections::{BTreeMap, BTreeSet};

use super::task::completed_by_force;
use super::{Staging, TaskLinks, across, line_of};
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::rules::fold::fold;

/// Tasks by id, and those among them that were completed by force.
#[derive(Default)]
struct Plan {
    tasks: BTreeMap<Id, TaskLinks>,
    forced: BTreeSet<Id>,
}

impl Plan {
    fn put(&mut self, id: Id, entries: &[Entry]) {
        self.take(id, tied(id, entries));
    }

    /// Adds a task, or leaves it out if it has no events.
    fn take(&mut self, id: Id, task: Option<(TaskLinks, bool)>) {
        self.tasks.remove(&id);
        self.forced.remove(&id);
        let Some((task, is_forced)) = task else { return };
        if is_forced {
            self.forced.insert(id);
        }
        self.tasks.insert(id, task);
    }

    fn judge(&self, store: &str) -> Vec<Finding> {
        across(store, &self.tasks, &|id| self.forced.contains(&id))
    }

    /// The tasks that relationships name.
    fn named(&self) -> BTreeSet<Id> {
        self.tasks.values().flat_map(TaskLinks::named).collect()
    }
}

/// A task with these events, and whether it was completed by force.
fn tied(id: Id, entries: &[Entry]) -> Option<(TaskLinks, bool)> {
    if entries.is_empty() {
        return None;
    }
    let task = fold(id, entries).0;
    Some((TaskLinks::of(&task, entries), completed_by_force(entries)))
}

/// Whether a task that became another could break what holds among several.
fn may_break(old: Option<&TaskLinks>, new: &TaskLinks) -> bool {
    let Some(old) = old else { return !new.edges.is_empty() };
    let (was, is) = (old.status, new.status);
    let finished = was.is_finished() != is.is_finished() || (was != is && new.is_completed());
    let edges = |task: &TaskLinks| task.edges.iter().map(|edge| edge.stamp.id).collect::<BTreeSet<Id>>();
    finished || (was != is && is == Status::Blocked) || edges(old) != edges(new)
}

impl Staging<'_> {
    /// What follows from several tasks and did not before the commit.
    pub(crate) fn together(&self) -> Result<Vec<Finding>> {
        // A plan in conflict is no plan yet.
        if !self.unmerged.is_empty() {
            return Ok(Vec::new());
        }
        let (mut before, mut after) = (Plan::default(), Plan::default());
        let mut staged = BTreeSet::new();
        for entity in self.entities() {
            let Entity::Task(id) = entity else { continue };
            let (old, new) = self.entries(&entity)?;
            before.put(id, &old);
            after.put(id, if new.is_empty() { &old } else { &new });
            staged.insert(id);
        }
        if !after.tasks.iter().any(|(id, task)| may_break(before.tasks.get(id), task)) {
            return Ok(Vec::new());
        }
        self.fill(&staged, &mut before, &mut after)?;
        let name = &self.place.name;
        let key = |finding: &Finding| (finding.rule, finding.task, finding.message.clone());
        let had: BTreeSet<(Rule, Option<Id>, String)> = before.judge(name).iter().map(key).collect();
        let mut found = after.judge(name);
        found.retain(|finding| !had.contains(&key(finding)));
        for finding in &mut found {
            let sides = finding.task.map(|id| self.sides(&Entity::Task(id), None)).transpose()?.flatten();
            let bytes = sides.and_then(|sides| sides.new).unwrap_or_default();
            finding.line = finding.spot.as_ref().and_then(|spot| line_of(&String::from_utf8_lossy(&bytes), spot));
        }
        Ok(found)
    }

    /// Adds what is not staged, as far as it has to do with others.
    fn fill(&self, staged: &BTreeSet<Id>, before: &mut Plan, after: &mut Plan) -> Result<()> {
        let mut logs = self.logs()?;
        logs.retain(|id, _| !staged.contains(id));
        let mut plain = BTreeMap::new();
        for (id, oid, task) in self.each_related(logs, tied)? {
            match task {
                Some(task) => put_both(before, after, id, task),
                None => drop(plain.insert(id, oid)),
            }
        }
        for id in before.named().into_iter().chain(after.named()).collect::<BTreeSet<Id>>() {
            if let Some(oid) = plain.get(&id) {
                let entries = crate::engine::lint::staged::read(Some(&self.objects.blob(*oid)?))?.entries;
                put_both(before, after, id, tied(id, &entries));
            }
        }
        Ok(())
    }
}

fn put_both(before: &mut Plan, after: &mut Plan, id: Id, task: Option<(TaskLinks, bool)>) {
    before.take(id, task.clone());
    after.take(id, task);
}
