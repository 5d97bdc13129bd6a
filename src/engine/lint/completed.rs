//! Tasks that a branch completes although its commits change nothing but the plan.
//!
//! Leaves to others: files that are not committed (`sync` and `done` warn of them).

use super::Found;
use super::base::Branch;
use super::permitted::Gate;
use crate::error::Result;
use crate::git::Oid;
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule, Spot};
use crate::store::layout::{shown, task_dir};

/// The findings about a branch that is checked out.
pub(crate) fn check(branch: &Branch<'_>, _: &Gate<'_>, found: &mut Found) -> Result<()> {
    if !branch.is_here() || touches_other_files(branch)? {
        return Ok(());
    }
    for entity in &branch.entities {
        let Entity::Task(id) = entity else { continue };
        if branch.commits_complete(*id)? {
            let message = format!("the branch completes it and changes nothing outside {}", branch.ws.store.name);
            let path = shown(&branch.ws.store.name, task_dir(*id).join("task.yaml"));
            let finding = Finding::new(Rule::CompletedWithoutCode, message).task(*id).at(path, None);
            found.findings.push(finding.on(Spot::Key("status".into())));
        }
    }
    Ok(())
}

/// Whether a file outside the store differs between the head and each commit where the branch began.
fn touches_other_files(branch: &Branch<'_>) -> Result<bool> {
    for began in &branch.began {
        if !differ_outside(branch, *began)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn differ_outside(branch: &Branch<'_>, began: Oid) -> Result<bool> {
    let (mut old, mut new) = (Some(began), Some(branch.head_tree));
    for name in branch.ws.store.name.split('/') {
        let items = |tree: Option<Oid>| tree.map(|tree| branch.objects.items(tree)).transpose();
        let (mut before, mut after) = (items(old)?.unwrap_or_default(), items(new)?.unwrap_or_default());
        (old, new) = (before.remove(name).map(|item| item.oid), after.remove(name).map(|item| item.oid));
        if before != after {
            return Ok(true);
        }
    }
    Ok(false)
}
