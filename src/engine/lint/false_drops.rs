//! Tasks that a branch records as dropped although their events are there once it is merged: later their files could vanish without a
//! finding.
//!
//! Leaves to others: events that are gone (`rewritten`), and lines of the record that cannot be read (`files`).

use std::collections::BTreeSet;

use super::Found;
use super::base::Branch;
use super::permitted::Gate;
use crate::error::Result;
use crate::git::Oid;
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::store::dropped::{tasks, tasks_in};
use crate::store::layout::DROPPED;

/// The findings about the new lines of the record.
pub(crate) fn check(branch: &Branch<'_>, _: &Gate<'_>, found: &mut Found) -> Result<()> {
    let path = branch.ws.store.shown(DROPPED);
    let at = |tree: Oid| -> Result<BTreeSet<Id>> {
        let text = branch.objects.file(tree, &path)?.unwrap_or_default();
        Ok(tasks_in(&String::from_utf8_lossy(&text)).into_keys().collect())
    };
    let mut recorded: BTreeSet<Id> = match branch.is_here() {
        true => tasks(&branch.ws.store)?.into_keys().collect(),
        false => at(branch.head_tree)?,
    };
    for tree in branch.began.iter().chain([&branch.base_tree]) {
        let known = at(*tree)?;
        recorded.retain(|id| !known.contains(id));
    }
    for id in recorded {
        let entity = Entity::Task(id);
        let is_here = || Ok(branch.log(&entity)?.is_some_and(|log| !log.entries.is_empty()));
        // What the branch had and lost itself is reported as that.
        let is_merged = || Ok(!branch.base_entries(&entity)?.is_empty() && !branch.began_with(&entity)?);
        if is_here()? || is_merged()? {
            let message = "the branch records it as dropped, and its events are there";
            let fix = format!(
                "take the line out of {path}; agentpm compact --drop-before drops tasks, on the default branch"
            );
            let finding = Finding { fix: fix.into(), ..Finding::new(Rule::LogRewritten, message).task(id) };
            found.findings.push(finding.at(path.clone(), None));
        }
    }
    Ok(())
}
