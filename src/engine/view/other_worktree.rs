//! Where a task or a part of one is that this work tree does not have: in another worktree of the clone, by its journal.
//!
//! Leaves to others: tasks of other branches that are committed (`other_branches`).

use crate::engine::context::Workspace;
use crate::model::id::is_part;
use crate::runtime::journal;

/// How many bytes of the journal are searched, from its end. What is older has most likely been committed.
const MOST: u64 = 1 << 20;

/// The hint for a reference that means nothing here, if another worktree wrote what it means: to get it from there.
pub(crate) fn hint(ws: &Workspace, reference: &str) -> Option<String> {
    let text = reference.to_ascii_uppercase();
    let runtime = ws.runtime().filter(|_| is_part(&text))?;
    let records = journal::look(runtime, journal::length(runtime).saturating_sub(MOST)).ok()?.0;
    let wrote = |record: &&journal::Record| {
        let mut ids = record.entries.iter().flat_map(|entry| [Some(entry.event.id), entry.event.entity.task()]);
        Some(&record.commit.store) != ws.store_key() && ids.any(|id| id.is_some_and(|id| id.has_part(&text)))
    };
    let worktree = records.iter().rev().find(wrote)?.commit.store.worktree;
    let there = ws.other_worktrees().ok()?.into_iter().find(|other| other.id == Some(worktree))?;
    let (top, branch) = (there.top.display(), there.head.trim().strip_prefix("ref: refs/heads/"));
    Some(match branch {
        Some(branch) => format!("it is in the worktree {top}; commit it there, then run git merge {branch} here"),
        None => format!("it is in the worktree {top}; commit it there on a branch, then merge that branch here"),
    })
}
