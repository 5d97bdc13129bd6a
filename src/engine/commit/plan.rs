//! `plan apply`: a nested plan in YAML becomes tasks, once.
//!
//! A task of the plan is known by its `key`; where it has none, by its title under its parent's key. Applying the same plan
//! again changes nothing; applying a changed one changes what changed. Tasks that are not in the plan stay as they are.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::plan_task::PlanTask;
use super::transaction::Transaction;
use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::args::{Ref, TaskRef, TaskTexts, Text};
use crate::model::command::{Batch, Command, Guard, ProgressAdd, TaskBlock};
use crate::model::id::{Id, quoted};
use crate::model::task::Task;
use crate::rules::decide::{Subject, decide};
use crate::rules::fields;
use crate::rules::stage::Stage;
use crate::store::yaml;

/// A plan file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanFile {
    /// Sets this plan's keys apart from other plans'.
    plan: String,
    tasks: Vec<PlanTask>,
}

/// A task of the plan with its key and its parent's.
struct Flat<'a> {
    key: String,
    parent: Option<String>,
    task: &'a PlanTask,
}

/// What applying a plan changed, or would change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanReport {
    /// The name of the plan.
    pub plan: String,
    /// Whether nothing was changed because only the changes were asked for.
    pub dry_run: bool,
    /// The changes.
    pub changes: Vec<PlanChange>,
    /// The tasks of the plan.
    pub items: Vec<PlannedTask>,
    /// Their number.
    pub total: usize,
}

/// A task of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedTask {
    /// Its key.
    pub key: String,
    /// Its id; `null` where it would be created.
    pub id: Option<Id>,
    /// Its title.
    pub title: String,
    /// Whether it is new.
    pub new: bool,
}

/// A change that a plan makes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum PlanChange {
    /// A task is created.
    Create {
        /// The key of the task.
        key: String,
        /// Its title.
        title: String,
    },
    /// Fields are changed.
    Update {
        /// The key of the task.
        key: String,
        /// Its id.
        id: Id,
        /// The fields.
        fields: Vec<FieldChange>,
    },
    /// Steps are added.
    Progress {
        /// The key of the task.
        key: String,
        /// The number of steps.
        steps: usize,
    },
    /// A blocker is added.
    Block {
        /// The key of the blocked task.
        key: String,
        /// The key of the blocker.
        by: String,
    },
}

/// A field that a plan changes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FieldChange {
    /// The field.
    pub field: String,
    /// Its value before.
    pub from: Value,
    /// Its value after.
    pub to: Value,
}

/// Applies a plan, all of it or nothing. `dry_run` says what would change and changes nothing.
///
/// Errors: `ERR_VALIDATION` for a text that is no plan, and those of any change.
pub fn plan_apply(ws: &Workspace, text: &str, dry_run: bool) -> Result<PlanReport> {
    let plan: PlanFile = yaml::read(text).map_err(|e| {
        Error::validation(format!("not a plan: {e}"))
            .hint("a plan has the keys plan (a name) and tasks (a list of title, key, intent, children, blocked_by, …)")
    })?;
    let flat = flatten(&plan)?;
    let index = read::index(ws)?;
    let mut ids = BTreeMap::new();
    for one in &flat {
        if let Some(id) = index.by_origin(&format!("plan/{}:{}", plan.plan, one.key))? {
            ids.insert(one.key.clone(), id);
        }
    }
    let known = ids.clone();
    let mut changes = Vec::new();
    let outcome = write::execute_as(ws, ws.author()?, &Command::Batch(Batch::default()), &[], None, |tx| {
        (ids, changes) = (known.clone(), Vec::new());
        apply(tx, &plan.plan, &flat, &mut ids, &mut changes)?;
        if dry_run {
            // Whatever was decided on the stage is thrown away by a refusal.
            return Err(Error::usage(DRY_RUN));
        }
        Ok(Subject::Batch(Vec::new()))
    });
    match outcome {
        Err(e) if dry_run && e.message.starts_with(DRY_RUN) => {}
        Err(e) => return Err(e),
        Ok(_) => {}
    }
    let item = |one: &Flat| PlannedTask {
        key: one.key.clone(),
        id: if dry_run { known.get(&one.key) } else { ids.get(&one.key) }.copied(),
        title: one.task.title.clone(),
        new: !known.contains_key(&one.key),
    };
    let items = flat.iter().map(item).collect();
    Ok(PlanReport { plan: plan.plan.clone(), dry_run, changes, items, total: flat.len() })
}

const DRY_RUN: &str = "a dry run changes nothing";

fn flatten(plan: &PlanFile) -> Result<Vec<Flat<'_>>> {
    let mut flat = Vec::new();
    let mut open: Vec<(&PlanTask, Option<String>)> = plan.tasks.iter().rev().map(|task| (task, None)).collect();
    while let Some((task, parent)) = open.pop() {
        let key = task.key.clone().unwrap_or_else(|| match &parent {
            Some(parent) => format!("{parent}/{}", task.title),
            None => task.title.clone(),
        });
        if flat.iter().any(|other: &Flat| other.key == key) {
            return Err(Error::validation(format!("two tasks of the plan have the key {}", quoted(&key)))
                .hint("give each its own key"));
        }
        open.extend(task.children.iter().rev().map(|child| (child, Some(key.clone()))));
        flat.push(Flat { key, parent, task });
    }
    Ok(flat)
}

fn apply(
    tx: &mut Transaction,
    plan: &str,
    flat: &[Flat],
    ids: &mut BTreeMap<String, Id>,
    changes: &mut Vec<PlanChange>,
) -> Result<()> {
    for one in flat {
        let parent = one.parent.as_ref().and_then(|key| ids.get(key)).copied();
        match ids.get(&one.key) {
            None => {
                let subject = decide(tx, &command(plan, one, None, parent)?)?;
                let id = subject.id().ok_or_else(|| Error::state("a created task has no id"))?;
                ids.insert(one.key.clone(), id);
                changes.push(PlanChange::Create { key: one.key.clone(), title: one.task.title.clone() });
            }
            Some(id) => {
                let before = tx.task(*id)?;
                decide(tx, &command(plan, one, Some(*id), parent)?)?;
                let after = tx.task(*id)?;
                if before.version != after.version {
                    let fields = changed(&before, &after);
                    changes.push(PlanChange::Update { key: one.key.clone(), id: *id, fields });
                }
            }
        }
    }
    for one in flat {
        add_steps(tx, ids[&one.key], one, changes)?;
        add_blockers(tx, ids, one, changes)?;
    }
    Ok(())
}

/// What an update changed, field by field.
fn changed(before: &Task, after: &Task) -> Vec<FieldChange> {
    let value = |task: &Task, name: &str| match name {
        "parent" => json!(task.parent()),
        other => fields::value_of(&task.fields, other),
    };
    let written = after.stamps.iter().filter(|(name, stamp)| before.stamps.get(*name) != Some(stamp));
    let change = |name: &String| FieldChange { field: name.clone(), from: value(before, name), to: value(after, name) };
    written.map(|(name, _)| change(name)).collect()
}

/// The command that creates a task, or updates the one with an id. An update sets the fields that the plan gives; other fields
/// keep the values they have by now.
fn command(plan: &str, one: &Flat, id: Option<Id>, parent: Option<Id>) -> Result<Command> {
    let mut args = one.task.fields.clone();
    args.insert("title".into(), json!(one.task.title));
    args.extend(parent.map(|parent| ("parent".to_owned(), json!(parent))));
    if let Some(id) = id {
        args.insert("id".into(), json!(id));
        return Command::from_json("task.update", Value::Object(args));
    }
    let metadata = args.entry("metadata").or_insert_with(|| json!({}));
    metadata["origin"] = json!({ "format": "plan", "id": format!("{plan}:{}", one.key) });
    Command::from_json("task.create", Value::Object(args))
}

fn add_steps(tx: &mut Transaction, id: Id, one: &Flat, changes: &mut Vec<PlanChange>) -> Result<()> {
    let now = tx.task(id)?;
    let missing: Vec<Text> = one
        .task
        .progress
        .iter()
        .filter(|step| !now.progress.values().any(|item| item.content == **step))
        .map(|step| Text(step.clone()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    changes.push(PlanChange::Progress { key: one.key.clone(), steps: missing.len() });
    let add = ProgressAdd { what: TaskTexts::new(id, missing), done: false, guard: Guard::default() };
    decide(tx, &Command::ProgressAdd(add)).map(|_| ())
}

fn add_blockers(
    tx: &mut Transaction,
    ids: &BTreeMap<String, Id>,
    one: &Flat,
    changes: &mut Vec<PlanChange>,
) -> Result<()> {
    let id = ids[&one.key];
    for key in &one.task.blocked_by {
        let blocker = match ids.get(key) {
            Some(id) => *id,
            None => tx.task_id(&Ref(key.clone())).map_err(|_| {
                Error::not_found(format!(
                    "{} waits for {}, which is no key of this plan and no task",
                    quoted(&one.key),
                    quoted(key)
                ))
            })?,
        };
        if !tx.task(id)?.blockers().contains(&blocker) && !tx.task(id)?.status.is_finished() {
            changes.push(PlanChange::Block { key: one.key.clone(), by: key.clone() });
            let by = vec![Ref(blocker.to_string())];
            let block = TaskBlock { id: TaskRef(id.to_string()), by, guard: Guard::default() };
            decide(tx, &Command::TaskBlock(block))?;
        }
    }
    Ok(())
}
