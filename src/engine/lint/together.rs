//! Several tasks together, in git's index: the plan of the index compared with the plan of the parent commit.
//!
//! Guarantees: reports only what the commit introduces. If no staged change can introduce such a finding, only the staged files are
//! read; else every log once, and only those with relationships, and those that these name, are parsed. A task whose removal is
//! staged stays in the plan, since the removal is reported itself.
//! Leaves to others: findings about one task (`task`).

use std::collections::{BTreeMap, BTreeSet};

use super::staged::{Staging, read};
use super::{TaskLinks, across};
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::task::Status;
use crate::rules::fold::fold;
use crate::rules::readiness::BlockerRules;

/// Tasks by id.
type Plan = BTreeMap<Id, TaskLinks>;

/// A task with these events, if there are any.
fn links(id: Id, entries: &[Entry]) -> Option<TaskLinks> {
    (!entries.is_empty()).then(|| TaskLinks::of(&fold(id, entries).0, entries))
}

/// Whether a change of a task can introduce a finding about several tasks.
fn may_break(old: Option<&TaskLinks>, new: &TaskLinks) -> bool {
    let Some(old) = old else { return !new.edges.is_empty() };
    let (was, is) = (old.status, new.status);
    let finished = was.is_finished() != is.is_finished() || (was != is && new.is_completed());
    let edges = |task: &TaskLinks| task.edges.iter().map(|edge| edge.stamp.id).collect::<BTreeSet<Id>>();
    finished || (was != is && is == Status::Blocked) || edges(old) != edges(new)
}

impl Staging<'_> {
    /// The findings about several tasks that the parent commit did not have.
    pub(crate) fn together(&self) -> Result<Vec<Finding>> {
        // A plan with unmerged files is incomplete.
        if !self.unmerged.is_empty() {
            return Ok(Vec::new());
        }
        let (mut before, mut after) = (Plan::default(), Plan::default());
        let mut staged = BTreeSet::new();
        for entity in self.entities() {
            let Entity::Task(id) = entity else { continue };
            let (old, new) = self.entries(&entity)?;
            after.extend(links(id, if new.is_empty() { &old } else { &new }).map(|task| (id, task)));
            before.extend(links(id, &old).map(|task| (id, task)));
            staged.insert(id);
        }
        if !after.iter().any(|(id, task)| may_break(before.get(id), task)) {
            return Ok(Vec::new());
        }
        self.fill(&staged, &mut before, &mut after)?;
        let name = &self.place.name;
        let rules = self.settings_staged()?.map(|settings| BlockerRules::of(&settings)).unwrap_or_default();
        let key = |finding: &Finding| (finding.rule, finding.task, finding.message.clone());
        let had: BTreeSet<(Rule, Option<Id>, String)> = across(name, &before, rules).iter().map(key).collect();
        let mut found = across(name, &after, rules);
        found.retain(|finding| !had.contains(&key(finding)));
        Ok(found)
    }

    /// Adds the tasks that are not staged and have relationships, or are named by one.
    fn fill(&self, staged: &BTreeSet<Id>, before: &mut Plan, after: &mut Plan) -> Result<()> {
        let mut logs = self.logs()?;
        logs.retain(|id, _| !staged.contains(id));
        let mut plain = BTreeMap::new();
        let mut others = Plan::new();
        for (id, oid, task) in self.each_related(logs, links)? {
            match task {
                Some(task) => others.extend(task.map(|task| (id, task))),
                None => drop(plain.insert(id, oid)),
            }
        }
        let named = [&*before, &*after, &others].into_iter().flat_map(BTreeMap::values).flat_map(TaskLinks::named);
        for id in named.collect::<BTreeSet<Id>>() {
            let entries = match plain.get(&id) {
                Some(oid) => read(Some(&self.objects.blob(*oid)?))?.entries,
                None if others.contains_key(&id) || staged.contains(&id) => continue,
                // An archive may hold it.
                None => self.entries(&Entity::Task(id))?.1,
            };
            others.extend(links(id, &entries).map(|task| (id, task)));
        }
        before.extend(others.clone());
        after.extend(others);
        Ok(())
    }
}
