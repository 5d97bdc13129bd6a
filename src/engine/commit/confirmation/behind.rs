//! Whether the branch at hand lacks changes of the plan that the confirming remote has.
//!
//! Leaves to others: merging them (`engine::sync`).

use super::asking::Asking;
use crate::engine::commit::remote;
use crate::engine::context::Workspace;
use crate::engine::view::branches::branch_seen;

/// Fetches the branches of the confirming remote and returns how this branch is behind; `None` if there is no such remote, or if it
/// does not answer.
pub fn look_for_more(ws: &Workspace) -> Option<Behind> {
    let asking = Asking::to_read(ws, ws.lease_git_remote()?).ok()?;
    asking.remote().ok()?.look().ok()?;
    behind(ws)
}

/// Whether the confirming remote had, when it was last fetched, changes of the plan on this branch that are not here.
pub fn behind(ws: &Workspace) -> Option<Behind> {
    let name = ws.lease_git_remote()?;
    let objects = remote::objects_to_ask(ws).ok()?;
    let head = objects.head().ok()?;
    let (commit, branch) = (head.commit?, head.branch?);
    let branch = branch.strip_prefix("refs/heads/")?.to_owned();
    let of = |key: &str| objects.setting(&format!("branch.{branch}.{key}"));
    let upstream = of("merge").filter(|_| of("remote").as_deref() == Some(name));
    let upstream = upstream.and_then(|merge| Some(merge.strip_prefix("refs/heads/")?.to_owned())).unwrap_or(branch);
    let tip = branch_seen(&objects, name, &upstream)?;
    let base = objects.merge_base(commit, tip).ok()?.unwrap_or(commit);
    let plan = |commit| {
        let tree = objects.commit(commit).ok()?.tree;
        objects.item(tree, &ws.store.name).ok()?.map(|item| item.oid)
    };
    (plan(base) != plan(tip)).then(|| Behind { branch: format!("{name}/{upstream}") })
}

/// A branch of the remote with changes of the plan that are not here.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The branch, with its remote.
    pub branch: String,
}

impl Behind {
    /// The warning.
    pub fn words(&self) -> String {
        format!("{} has changes of the plan that are not here; agentpm sync merges them", self.branch)
    }
}
