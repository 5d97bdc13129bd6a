//! `plan show`: a plan as a file that `plan apply` reads.
//!
//! Guarantees that applying the file as it was written changes nothing.
//! Leaves to others: reading a plan (`commit::plan`).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::plan::{MAX_LEVELS, PlanFile, PlanTask, handle_of, keys_of};
use crate::model::query::PlanShow;
use crate::model::task::Task;
use crate::model::yaml::render_plan;
use crate::rules::sources::fields_of;

/// A plan as a file.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanPage {
    /// The name of the plan.
    pub plan: String,
    /// The file, in YAML.
    pub text: String,
    /// The number of tasks.
    pub total: usize,
}

/// The name of the plan that all open tasks form.
const ALL_OPEN: &str = "open";

/// `plan show`
pub fn plan_show(ws: &Workspace, q: &PlanShow) -> Result<PlanPage> {
    let index = read::index(ws)?;
    let mut keys: BTreeMap<Id, String> = BTreeMap::new();
    match &q.name {
        Some(name) => {
            let origins = index.origins(&keys_of(name))?;
            if origins.is_empty() {
                return Err(Error::not_found(format!("no task comes from a plan {}", quoted(name)))
                    .hint("agentpm plan show without a name prints all open tasks"));
            }
            keys.extend(origins.into_iter().map(|(key, id)| (id, key)));
        }
        None => keys.extend(index.all_ids()?.into_iter().map(|id| (id, id.to_string()))),
    }
    let mut tasks = BTreeMap::new();
    for id in keys.keys() {
        let task = index.task(*id)?.filter(|task| task.created && (q.name.is_some() || !task.status.is_finished()));
        tasks.extend(task.map(|task| (*id, task)));
    }
    keys.retain(|id, _| tasks.contains_key(id));
    let plan = q.name.clone().unwrap_or_else(|| ALL_OPEN.to_owned());
    let file = PlanFile { plan, tasks: Nesting::new(&tasks, &keys).tasks()? };
    Ok(PlanPage { text: render_plan(&file), plan: file.plan, total: tasks.len() })
}

/// Tasks below their parents. Parents that form a cycle, as a merge may leave them, are broken up at the oldest task.
struct Nesting<'a> {
    tasks: &'a BTreeMap<Id, Task>,
    keys: &'a BTreeMap<Id, String>,
    children: BTreeMap<Id, Vec<Id>>,
    done: BTreeSet<Id>,
}

impl<'a> Nesting<'a> {
    fn new(tasks: &'a BTreeMap<Id, Task>, keys: &'a BTreeMap<Id, String>) -> Self {
        let mut children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
        for (id, task) in tasks {
            if let Some(parent) = task.parent().filter(|parent| tasks.contains_key(parent)) {
                children.entry(parent).or_default().push(*id);
            }
        }
        Nesting { tasks, keys, children, done: BTreeSet::new() }
    }

    fn tasks(mut self) -> Result<Vec<PlanTask>> {
        let is_root = |task: &Task| task.parent().is_none_or(|parent| !self.tasks.contains_key(&parent));
        let roots = self.tasks.iter().filter(|(_, task)| is_root(task)).map(|(id, _)| *id);
        let in_order: Vec<Id> = roots.chain(self.tasks.keys().copied()).collect();
        in_order.into_iter().filter_map(|id| self.task(id, 1).transpose()).collect()
    }

    /// A task of a level with those below it; `None` for one that was given already.
    fn task(&mut self, id: Id, level: usize) -> Result<Option<PlanTask>> {
        let Some(task) = self.tasks.get(&id).filter(|_| self.done.insert(id)) else { return Ok(None) };
        if level > MAX_LEVELS {
            return Err(Error::validation(format!(
                "task {id} is on level {level}; a plan file has at most {MAX_LEVELS}"
            ))
            .hint("agentpm graph shows tasks on any level"));
        }
        let mut fields = fields_of(&task.fields);
        let title = fields.shift_remove("title");
        let children = self.children.remove(&id).unwrap_or_default();
        let children = children.into_iter().filter_map(|child| self.task(child, level + 1).transpose());
        let children = children.collect::<Result<Vec<PlanTask>>>()?;
        Ok(Some(PlanTask {
            key: self.keys.get(&id).cloned(),
            as_of: Some(task.heads.iter().map(|head| handle_of(*head)).collect::<Vec<_>>().join(" ")),
            title: title.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned(),
            fields,
            progress: task.progress.values().map(|item| item.content.clone()).collect(),
            blocked_by: task.blockers().iter().map(|by| self.keys.get(by).cloned().unwrap_or(by.to_string())).collect(),
            children,
        }))
    }
}
