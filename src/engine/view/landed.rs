//! Whether the completion of a task is on the default branch of the remote, as it was last fetched.
//!
//! Guarantees that only git's objects are read. Leaves to others: fetching.

use super::history::{self, PlanAt};
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::task::Status;
use crate::rules::fold;

/// The remote that is asked where no other is set.
const ORIGIN: &str = "origin";

/// The default branch of the remote.
pub(crate) struct DefaultBranch<'a>(PlanAt<'a>);

impl<'a> DefaultBranch<'a> {
    /// The branch that the remote's HEAD names, or else its main or master; `None` without a repository or such a branch.
    ///
    /// Errors: `ERR_GIT` if the repository or the commit cannot be read.
    pub fn open(ws: &'a Workspace) -> Result<Option<Self>> {
        if ws.repo.is_none() {
            return Ok(None);
        }
        let objects = history::objects(ws)?;
        let remote = ws.lease_remote().unwrap_or(ORIGIN);
        let names = ["HEAD", "main", "master"].map(|name| format!("refs/remotes/{remote}/{name}"));
        let tip = names.iter().find_map(|name| objects.reference(name));
        tip.map(|tip| history::plan_at_commit(ws, tip).map(DefaultBranch)).transpose()
    }

    /// Whether a task is completed there.
    ///
    /// Errors: `ERR_GIT` if its log there cannot be read.
    pub fn has_completed(&self, id: Id) -> Result<bool> {
        Ok(fold::fold(id, &self.0.entries(id)?).0.completed_at.is_some())
    }
}

/// Whether a completed task has landed; `None` for another task, or without a default branch.
///
/// Errors: `ERR_GIT` if the branch cannot be read.
pub(crate) fn has_landed(ws: &Workspace, id: Id, status: Status, is_completed: bool) -> Result<Option<bool>> {
    if !is_completed || !status.is_finished() {
        return Ok(None);
    }
    DefaultBranch::open(ws)?.map(|branch| branch.has_completed(id)).transpose()
}
