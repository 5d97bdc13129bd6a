//! Keys of a plan that several unfinished tasks have, as where two clones applied the plan before either saw the tasks of the other.
//!
//! Leaves to others: what an application of the plan does about them (`commit::plan`).

use std::collections::BTreeMap;

use super::Found;
use super::work_tree::WorkTree;
use crate::error::Result;
use crate::model::finding::{Finding, Rule};
use crate::model::id::{HANDLE_MIN, Id, quoted};
use crate::model::plan::PLAN_ORIGIN;
use crate::model::task::Task;
use crate::store::layout::{shown, task_dir};

/// The plan and the key of an unfinished task that a plan created.
pub(crate) fn plan_key(task: &Task) -> Option<String> {
    let origin = task.origin().filter(|_| !task.status.is_finished())?;
    origin.strip_prefix(PLAN_ORIGIN).map(str::to_owned)
}

/// A finding for each task whose key an older task has too.
pub(crate) fn check(tree: &WorkTree<'_>, found: &mut Found) -> Result<()> {
    let mut first: BTreeMap<&str, Id> = BTreeMap::new();
    found.plan_keys.sort();
    for (key, id) in &found.plan_keys {
        let kept = *first.entry(key).or_insert(*id);
        if kept != *id {
            let message = format!(
                "it has the key {} of a plan, as task {} does, which follows the plan",
                quoted(key),
                kept.handle(HANDLE_MIN)
            );
            let path = shown(&tree.ws.store.name, task_dir(*id).join("task.yaml"));
            found.findings.push(Finding::new(Rule::PlanKeyDoubled, message).task(*id).at(path, None));
        }
    }
    Ok(())
}
