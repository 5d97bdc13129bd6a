//! Events that a commit of a branch holds and its tip lacks: `repair` restores them once the branch is merged.
//!
//! Guarantees: judges them as if the tip had them too. A permitted change stays permitted after a revert.
//! Leaves to others: how an event is judged.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::context::Workspace;
use crate::engine::repair::collect;
use crate::engine::view::history::united;
use crate::engine::view::removed_commits;
use crate::error::Result;
use crate::git::{Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::rules::fold::fold;
use crate::store::log::Log;

/// The events that a commit of a branch holds and a later one lacks, by log, each with a commit that holds it.
#[derive(Default)]
pub(crate) struct VanishedEvents(BTreeMap<Entity, Vec<(Oid, Entry)>>);

impl VanishedEvents {
    /// Compares the commits that are reachable from `head` and not from `base` with their parents.
    ///
    /// Errors: `ERR_GIT` where history cannot be read.
    pub fn between(ws: &Workspace, objects: &Objects, base: Oid, head: Oid) -> Result<Self> {
        let (mut vanished, mut lines) = (VanishedEvents::default(), BTreeSet::new());
        // Events of a store that was removed as a whole count too: they come back with later commits.
        for commit in objects.walk(&[head], &[base], usize::MAX)? {
            for parent in objects.commit(commit)?.parents {
                // A shallow clone does not have all parents.
                let Ok(old) = removed_commits::plan_in(ws, objects, parent) else { continue };
                for entry in collect::lost_between(ws, objects, old, removed_commits::plan_in(ws, objects, commit)?)? {
                    if lines.insert(entry.line.clone()) {
                        vanished.0.entry(entry.event.entity.clone()).or_default().push((parent, entry));
                    }
                }
            }
        }
        Ok(vanished)
    }

    /// The logs that such events belong to.
    pub fn entities(&self) -> impl Iterator<Item = &Entity> {
        self.0.keys()
    }

    /// The events of a log and those that it lacks.
    pub fn with(&self, entity: &Entity, mut entries: Vec<Entry>) -> Vec<Entry> {
        entries.extend(self.lacking(entity, &entries).into_iter().map(|(_, entry)| entry.clone()));
        entries
    }

    fn lacking(&self, entity: &Entity, entries: &[Entry]) -> Vec<&(Oid, Entry)> {
        let there: BTreeSet<Id> = entries.iter().map(|entry| entry.event.id).collect();
        self.0.get(entity).into_iter().flatten().filter(|(_, entry)| !there.contains(&entry.event.id)).collect()
    }

    /// The findings about a log as it is, and about the log with the events that it lacks. `base` are the events of the base's log.
    pub fn judge(
        &self,
        entity: &Entity,
        path: &str,
        (log, base): (&Log, &[Entry]),
        judge: &dyn Fn(&Log) -> Result<Vec<Finding>>,
    ) -> Result<Vec<Finding>> {
        let mut found = judge(log)?;
        let lacking = self.lacking(entity, &log.entries);
        if lacking.is_empty() {
            return Ok(found);
        }
        let mut whole = Log { entries: log.entries.clone(), lines: log.lines.clone(), ..Log::default() };
        whole.entries.extend(lacking.iter().map(|(_, entry)| entry.clone()));
        let known: BTreeSet<_> = found.iter().map(|f| (f.rule, f.event)).collect();
        let mut held_by: BTreeMap<Id, Oid> = BTreeMap::new();
        for (commit, entry) in &lacking {
            held_by.entry(entry.event.id).or_insert(*commit);
        }
        let at_base: BTreeSet<Id> = base.iter().map(|entry| entry.event.id).collect();
        let parents = entity.task().map(|id| wrong_parents(id, path, &united([whole.entries.clone(), base.to_vec()])));
        let is_lacking = |event: &Id| held_by.contains_key(event) && !at_base.contains(event);
        let parents = parents.into_iter().flatten().filter(|f| f.event.as_ref().is_some_and(is_lacking));
        let new = judge(&whole)?.into_iter().filter(|f| !known.contains(&(f.rule, f.event)));
        for mut finding in new.chain(parents) {
            if let Some(commit) = finding.event.and_then(|event| held_by.get(&event)) {
                finding.message += &format!("; commit {} holds it, and it comes back with that", commit.short());
            }
            found.push(finding);
        }
        Ok(found)
    }
}

/// The findings about events whose parents are missing, or cannot be what their authors saw.
fn wrong_parents(task: Id, path: &str, entries: &[Entry]) -> Vec<Finding> {
    let of_parents = |f: &Finding| matches!(f.rule, Rule::EventParents | Rule::LogGap);
    fold(task, entries).1.into_iter().filter(of_parents).map(|f| f.at(path, None)).collect()
}
