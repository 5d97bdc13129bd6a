//! Whether the completion of a task is on the default branch of the remote, as it was last fetched.
//!
//! Guarantees that only git's objects are read, that nothing is opened before it is asked, and that no log is read twice: what a
//! tree of tasks says is cached by the name of the tree. Leaves to others: fetching.

use std::collections::HashMap;

use super::branches::facts_path;
use super::history::{self, PlanAt};
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::fold;
use crate::store::facts::{Facts, NewFacts};

/// The remote that is asked where no other is set.
const ORIGIN: &str = "origin";

/// The default branch of the remote, opened when it is first asked.
pub(crate) struct DefaultBranch<'a> {
    ws: &'a Workspace,
    opened: Option<Option<Tip<'a>>>,
}

/// The tasks of its tip, and when those were completed there of which this is known.
struct Tip<'a> {
    plan: PlanAt<'a>,
    facts: Facts,
    /// The name of the tree of the plan; empty for none.
    tree: String,
    known: HashMap<Id, Option<Time>>,
    news: Vec<(Id, Option<Time>)>,
}

impl<'a> DefaultBranch<'a> {
    /// The branch that the remote's HEAD names, or else its main or master. Nothing is read yet.
    pub fn new(ws: &'a Workspace) -> Self {
        DefaultBranch { ws, opened: None }
    }

    /// Whether the completion of a task at this time is there; `None` without a repository or such a branch.
    ///
    /// Errors: `ERR_GIT` if the branch cannot be read.
    pub fn has_completed(&mut self, id: Id, at: Time) -> Result<Option<bool>> {
        if self.opened.is_none() {
            self.opened = Some(Tip::open(self.ws)?);
        }
        let Some(tip) = self.opened.as_mut().and_then(Option::as_mut) else { return Ok(None) };
        Ok(Some(tip.completed_at(id)? == Some(at)))
    }

    /// The same for readiness: without such a branch a completion suffices.
    ///
    /// Errors: as [`DefaultBranch::has_completed`].
    pub fn has_landed(&mut self, id: Id, at: Time) -> Result<bool> {
        Ok(self.has_completed(id, at)?.unwrap_or(true))
    }
}

impl<'a> Tip<'a> {
    fn open(ws: &'a Workspace) -> Result<Option<Self>> {
        let Some(repo) = &ws.repo else { return Ok(None) };
        let remote = ws.lease_git_remote().unwrap_or(ORIGIN);
        // To see that the remote has no branch here takes less time than to open the repository.
        let of_remote = format!("refs/remotes/{remote}/");
        if !repo.tips()?.branches.keys().any(|name| name.starts_with(&of_remote)) {
            return Ok(None);
        }
        let objects = history::objects(ws)?;
        let names = ["HEAD", "main", "master"].map(|name| format!("refs/remotes/{remote}/{name}"));
        let Some(tip) = names.iter().find_map(|name| objects.reference(name)) else { return Ok(None) };
        let plan = history::plan_at_commit(ws, tip)?;
        let facts = Facts::at(facts_path(ws), ws.env.boot());
        let tree = plan.tree_of_plan().map(|oid| oid.to_string()).unwrap_or_default();
        let known = facts.completions(&tree);
        Ok(Some(Tip { plan, facts, tree, known, news: Vec::new() }))
    }

    fn completed_at(&mut self, id: Id) -> Result<Option<Time>> {
        if let Some(known) = self.known.get(&id) {
            return Ok(*known);
        }
        let at = fold::fold(id, &self.plan.entries(id)?).0.completed_at;
        self.known.insert(id, at);
        self.news.push((id, at));
        Ok(at)
    }
}

impl Drop for Tip<'_> {
    /// Caches what was read for later commands.
    fn drop(&mut self) {
        if !self.news.is_empty() {
            let completions = Some((std::mem::take(&mut self.tree), std::mem::take(&mut self.news)));
            self.facts.keep(&NewFacts { completions, ..NewFacts::default() });
        }
    }
}

/// Whether a completed task has landed; `None` for another task, or without a default branch.
///
/// Errors: `ERR_GIT` if the branch cannot be read.
pub(crate) fn has_landed(ws: &Workspace, id: Id, status: Status, completed_at: Option<Time>) -> Result<Option<bool>> {
    match completed_at.filter(|_| status.is_finished()) {
        Some(at) => DefaultBranch::new(ws).has_completed(id, at),
        None => Ok(None),
    }
}
