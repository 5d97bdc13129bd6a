//! The files that tasks in progress claim.
//!
//! Guarantees that only tasks in progress are looked at: those of this work tree, and those with a live lease from another
//! worktree or clone.
//! Leaves to others: which patterns overlap (`model::overlap`).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::read;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::overlap::{FileClaim, matches};
use crate::model::settings::Overlap;
use crate::reports::ready::Plan;
use crate::runtime::records;
use crate::store::entity::load_task;
use crate::store::index::Index;

/// A path that another agent's task in progress claims.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ClaimedPath {
    /// The path, from the top of the work tree.
    pub path: String,
    /// The task, with those of its files that match.
    #[serde(flatten)]
    pub claim: FileClaim,
}

/// The files that other agents' tasks in progress claim.
///
/// Errors: `ERR_IO` if the index or a lease cannot be read.
pub(crate) fn of_others(ws: &Workspace, index: &Index) -> Result<Vec<FileClaim>> {
    let me = ws.author().ok().map(|me| me.agent);
    let leases = read::live_leases(ws, index)?;
    let in_progress: BTreeSet<Id> = index.in_progress()?.into_iter().chain(leases.keys().copied()).collect();
    let mut claims = Vec::new();
    for task in in_progress {
        let Some(mut claim) = index.files(task)? else { continue };
        if let Some(lease) = leases.get(&task) {
            claim.holder.clone_from(&lease.agent);
        }
        if me.as_ref() != Some(&claim.holder) {
            claims.push(claim);
        }
    }
    Ok(claims)
}

/// As [`of_others`], by the live leases that this clone knows alone: the index is neither read nor written.
///
/// Errors: `ERR_IO` if a lease or a task cannot be read.
pub(crate) fn of_others_by_leases(ws: &Workspace) -> Result<Vec<FileClaim>> {
    let me = ws.author().ok().map(|me| me.agent);
    let Some(runtime) = ws.runtime() else { return Ok(Vec::new()) };
    let mut claims = Vec::new();
    for id in records::leased_tasks(runtime)? {
        let Some(lease) = records::lease(runtime, id)?.lease.filter(|lease| lease.is_live(ws.env.now())) else {
            continue;
        };
        if me.as_ref() == Some(&lease.agent) {
            continue;
        }
        let task = load_task(&ws.store, id, &[])?.task;
        if !task.status.is_finished() && !task.fields.files.is_empty() {
            let (title, files) = (task.fields.title, task.fields.files);
            claims.push(FileClaim { task: id, title, holder: lease.agent, files });
        }
    }
    Ok(claims)
}

/// Adds to a plan which of its tasks overlap with work in progress of others.
///
/// Errors: as [`of_others`].
pub(crate) fn add_overlaps(ws: &Workspace, index: &Index, plan: &mut Plan) -> Result<()> {
    if ws.settings.claim.overlap == Overlap::Off {
        return Ok(());
    }
    let claims = of_others(ws, index)?;
    if claims.is_empty() {
        return Ok(());
    }
    let overlaps = index.unfinished_files()?.into_iter().filter_map(|(id, files)| {
        let found: Vec<FileClaim> =
            claims.iter().filter(|claim| claim.task != id).filter_map(|claim| claim.overlap(&files)).collect();
        (!found.is_empty()).then_some((id, found))
    });
    plan.set_overlaps(overlaps.collect(), &ws.settings.claim);
    Ok(())
}

/// The work in progress of others that a task's files overlap with.
///
/// Errors: as [`of_others`].
pub(crate) fn overlaps(ws: &Workspace, index: &Index, task: Id, files: &[String]) -> Result<Vec<FileClaim>> {
    if files.is_empty() || ws.settings.claim.overlap == Overlap::Off {
        return Ok(Vec::new());
    }
    let claims = of_others(ws, index)?;
    Ok(claims.iter().filter(|claim| claim.task != task).filter_map(|claim| claim.overlap(files)).collect())
}

/// The claims on a path.
pub(crate) fn claims_on(claims: &[FileClaim], path: &str, is_folder: bool) -> Vec<ClaimedPath> {
    let on_path = |claim: &FileClaim| {
        let files: Vec<String> = claim.files.iter().filter(|file| matches(file, path, is_folder)).cloned().collect();
        (!files.is_empty()).then(|| ClaimedPath { path: path.to_owned(), claim: FileClaim { files, ..claim.clone() } })
    };
    claims.iter().filter_map(on_path).collect()
}

/// The claims on some path that a pattern matches.
pub(crate) fn claims_of_pattern(claims: &[FileClaim], pattern: &str) -> Vec<ClaimedPath> {
    let files = [pattern.to_owned()];
    let overlap = |claim: &FileClaim| Some(ClaimedPath { path: pattern.to_owned(), claim: claim.overlap(&files)? });
    claims.iter().filter_map(overlap).collect()
}
