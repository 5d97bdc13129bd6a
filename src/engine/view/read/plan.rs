//! Reads the unfinished part of the plan at once, to rank its tasks and to explain why they wait.
//!
//! Leaves to others: which tasks are ready, and in which order (`reports::ready`).

use std::collections::{BTreeMap, BTreeSet};

use super::actors::leases;
use crate::engine::context::Workspace;
use crate::engine::view::claimed_files;
use crate::engine::view::landed::DefaultBranch;
use crate::error::Result;
use crate::model::agent::Lease;
use crate::model::id::Id;
use crate::model::task::{Brief, Status};
use crate::reports::ready::Plan;
use crate::rules::readiness::{self, BlockerRules};
use crate::store::index::Index;

/// The unfinished part of the plan.
///
/// Errors: `ERR_IO` if it cannot be read.
pub fn plan(ws: &Workspace, index: &Index) -> Result<Plan> {
    let briefs = index.briefs()?;
    let known: BTreeSet<Id> = briefs.iter().map(|brief| brief.id).collect();
    let leases = leases(ws, index, |task| known.contains(&task))?;
    plan_of(ws, index, briefs, leases)
}

/// As [`plan`], with the leases of ready tasks only: enough to choose a task, but not to explain why others are not ready.
///
/// Errors: `ERR_IO` if it cannot be read.
pub(crate) fn plan_to_claim(ws: &Workspace, index: &Index) -> Result<Plan> {
    let briefs = index.briefs()?;
    let waits = |brief: &&Brief| matches!(brief.status, Status::Open | Status::Blocked);
    let known: BTreeSet<Id> = briefs.iter().filter(waits).map(|brief| brief.id).collect();
    let mut leases = leases(ws, index, |task| known.contains(&task))?;
    // Leases of other clones may have changed since they were seen; they are checked for the chosen task.
    leases.retain(|_, lease| !lease.elsewhere);
    plan_of(ws, index, briefs, leases)
}

fn plan_of(ws: &Workspace, index: &Index, tasks: Vec<Brief>, leases: BTreeMap<Id, Lease>) -> Result<Plan> {
    let mut edges = index.open_edges()?;
    let mut missing = BTreeMap::new();
    let rules = BlockerRules::of(&ws.settings);
    if rules.hold_completed() {
        let mut branch = DefaultBranch::new(ws);
        for (state, edge) in index.finished_blockers()? {
            let has_landed = |at| branch.has_landed(edge.from, at);
            if let Some(what) = readiness::missing(Some(state), rules, has_landed)? {
                missing.insert(edge.from, what);
                edges.push(edge);
            }
        }
    }
    let mut plan = Plan::new(tasks, &edges, leases);
    plan.set_missing(missing);
    if rules.reviewed {
        plan.add_open_children(index.unreviewed_children()?);
    }
    claimed_files::add_overlaps(ws, index, &mut plan)?;
    Ok(plan)
}

/// The tasks recorded as blocked that wait for no task, by id.
///
/// Errors: `ERR_IO` if the index cannot be read.
pub(crate) fn freed(ws: &Workspace, index: &Index) -> Result<Vec<Id>> {
    let mut freed = index.freed()?;
    if BlockerRules::of(&ws.settings).hold_completed() && !freed.is_empty() {
        let plan = plan(ws, index)?;
        freed.retain(|id| plan.blockers(*id).is_empty());
    }
    Ok(freed)
}
