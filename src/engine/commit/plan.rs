//! `plan apply`: a nested plan in YAML becomes tasks, and stays their source.
//!
//! A task of the plan is identified by its `key`; without one, by its title under its parent's key. A key that is the id of a
//! task means that task. Three things are compared: the file, what the file said when it was applied last, and the store.
//! Guarantees that only what changed in the file since then is changed, that a value which both changed stays unless the
//! caller forces it, and that a closed task is not changed.
//! Leaves to others: the comparison and the changes (`application`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::application::Application;
use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Code, Error, Result};
use crate::model::event::Author;
use crate::model::id::{Id, quoted};
use crate::model::job::PlanApply;
use crate::model::plan::{PlanFile, PlanItem, PlanTask, flatten, keys_of};
use crate::rules::decide::Subject;
use crate::store::{comments, dropped, yaml};

/// What applying a plan changed, or would change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanReport {
    /// The name of the plan.
    pub plan: String,
    /// Whether nothing was changed because only the changes were asked for.
    pub dry_run: bool,
    /// The changes.
    pub changes: Vec<PlanChange>,
    /// What the file changed and the store keeps.
    pub conflicts: Vec<PlanConflict>,
    /// The tasks of the plan.
    pub items: Vec<PlannedTask>,
    /// Unfinished tasks of the plan whose keys left the file.
    pub missing: Vec<PlannedTask>,
    /// Places of the file that YAML may read otherwise than they look.
    pub warnings: Vec<String>,
    /// The number of tasks of the plan.
    pub total: usize,
    /// The id that links the events of this apply, by which they are undone together; `null` where nothing was written.
    pub correlation_id: Option<String>,
}

/// A task of a plan.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlannedTask {
    /// Its key.
    pub key: String,
    /// Its id; `null` where it would be created.
    pub id: Option<Id>,
    /// Its handle; `null` where it would be created.
    pub handle: Option<String>,
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
    /// A blocker is removed.
    Unblock {
        /// The key of the blocked task.
        key: String,
        /// The key of the blocker, or its id.
        by: String,
    },
    /// A task is cancelled, since its key left the file.
    Cancel {
        /// The key of the task.
        key: String,
        /// Its title.
        title: String,
    },
}

impl PlanChange {
    /// The key of the task that is changed.
    pub fn key(&self) -> &str {
        match self {
            PlanChange::Create { key, .. }
            | PlanChange::Update { key, .. }
            | PlanChange::Progress { key, .. }
            | PlanChange::Block { key, .. }
            | PlanChange::Unblock { key, .. }
            | PlanChange::Cancel { key, .. } => key,
        }
    }
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

/// A value that the file changed and the store keeps.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanConflict {
    /// The key of the task.
    pub key: String,
    /// Its id.
    pub id: Id,
    /// The field.
    pub field: String,
    /// Its value in the file.
    pub file: Value,
    /// Its value in the store.
    pub store: Value,
    /// Why it stays.
    pub reason: KeptBecause,
}

/// Why a value of the store stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeptBecause {
    /// The file and the store changed it since the last apply.
    BothChanged,
    /// It changed since the task was created, and the store has no record of what the plan said.
    NoRecord,
    /// The task is closed.
    Closed,
    /// The change needs a lease that the caller does not have.
    Held,
    /// The state of the plan does not allow it: it would close a cycle, for example.
    NotAllowed,
}

impl KeptBecause {
    /// Why a value stays if the command that changes it is refused; `None` if the refusal is not about this task.
    pub fn of(refusal: &Error) -> Option<Self> {
        match refusal.code {
            Code::LeaseHeld | Code::LeaseLost | Code::LeaseExpired | Code::LeaseRequired => Some(KeptBecause::Held),
            Code::InvalidState => Some(KeptBecause::NotAllowed),
            _ => None,
        }
    }
}

/// Applies a plan, all of it or nothing.
///
/// Errors: `ERR_VALIDATION` for a text that is no plan, and those of any change.
pub fn plan_apply(ws: &Workspace, job: &PlanApply) -> Result<PlanReport> {
    let plan: PlanFile = yaml::read(&job.plan).map_err(|e| {
        Error::validation(format!("not a plan: {e}"))
            .hint("a plan has the keys plan (a name) and tasks (a list of title, key, intent, children, blocked_by, …)")
    })?;
    // The keys of `a` would be those of `a:b` too.
    if plan.plan.contains(':') {
        return Err(Error::validation(format!("{} is no name of a plan: a colon ends the name", quoted(&plan.plan)))
            .hint("use another sign in its place, such as -"));
    }
    let all = flatten(&plan.tasks)?;
    let (mut known, mut dropped) = (BTreeMap::new(), BTreeMap::new());
    let (mut gone, mut flat) = (Vec::new(), Vec::new());
    let mut done = Application::new(&plan, job, BTreeMap::new(), BTreeMap::new());
    let author = ws.linking_author()?;
    // The name of the plan links its applies, so that `undo --plan-id NAME` undoes all of them.
    let author = Author { plan_id: author.plan_id.or_else(|| Some(plan.plan.clone())), ..author };
    let linked = author.correlation_id.clone();
    let outcome = write::execute_as(ws, author, "plan.apply", &[], None, |tx| {
        // Under the lock: another apply may have made the tasks just now.
        known = known_ids(ws, &plan.plan, &all)?;
        dropped = dropped::origins(&ws.store, &keys_of(&plan.plan))?;
        dropped.retain(|key, _| !known.contains_key(key));
        (gone, flat) = all.iter().cloned().partition(|one: &PlanItem| dropped.contains_key(&one.key));
        done = Application::new(&plan, job, known.clone(), dropped.clone());
        done.apply(tx, &flat).map_err(|e| done.name_keys(e))?;
        if job.how.dry_run {
            // Whatever was decided on the stage is thrown away by a refusal.
            return Err(Error::usage(DRY_RUN));
        }
        Ok(Subject::Batch(Vec::new()))
    });
    let correlation_id = match outcome {
        Err(e) if job.how.dry_run && e.message.starts_with(DRY_RUN) => None,
        Err(e) => return Err(e),
        Ok(reply) => linked.filter(|_| !reply.events.is_empty()),
    };
    let ids = if job.how.dry_run { &known } else { &done.ids };
    let item = |key: &str, title: &str| {
        let id = ids.get(key).copied();
        let handle = id.map(|id| read::handle(ws, id)).transpose()?;
        Ok(PlannedTask { key: key.to_owned(), id, handle, title: title.to_owned(), new: !known.contains_key(key) })
    };
    let items = flat.iter().map(|one| item(&one.key, &one.task.title)).collect::<Result<_>>()?;
    let missing = done.missing.iter().map(|(key, title)| item(key, title)).collect::<Result<_>>()?;
    let gone = gone.iter().map(|one| dropped_words(&one.key, dropped[&one.key]));
    let doubled = doubled_words(ws, &plan.plan)?;
    let warnings = cut_values(&job.plan).into_iter().chain(done.cancelled_words()).chain(gone).chain(doubled).collect();
    Ok(PlanReport {
        plan: plan.plan.clone(),
        dry_run: job.how.dry_run,
        changes: done.changes,
        conflicts: done.conflicts,
        items,
        missing,
        warnings,
        total: flat.len(),
        correlation_id,
    })
}

/// Reads a list of tasks, each as in a plan.
///
/// Errors: `ERR_VALIDATION` for a text that is no such list.
pub fn read_tasks(text: &str) -> Result<Vec<PlanTask>> {
    yaml::read(text).map_err(|e| {
        Error::validation(format!("not a list of tasks: {e}"))
            .hint("the file holds a list of tasks as in a plan, which agentpm schema plan describes")
    })
}

/// Why a task of a source is left out that was dropped here.
pub(crate) fn dropped_words(key: &str, id: Id) -> String {
    format!("{} is left out: it was task {id}, which was dropped from the archives here", quoted(key))
}

/// Keys with several tasks, as where two clones applied a plan before they had seen each other's tasks.
fn doubled_words(ws: &Workspace, plan: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for (key, ids) in read::index(ws)?.shared_origins(&keys_of(plan))? {
        let handles = ids.iter().map(|id| read::handle(ws, *id)).collect::<Result<Vec<_>>>()?;
        let (kept, others) = (&handles[0], handles[1..].join(", "));
        words.push(format!(
            "{} has {} tasks, as where two clones applied the plan: only {kept} follows it; keep one of them: agentpm cancel {} --why \"the \
             same as {kept}\" ends {others}",
            quoted(&key),
            ids.len(),
            handles[1]
        ));
    }
    Ok(words)
}

/// The refusal that throws away what a dry run decided.
pub(crate) const DRY_RUN: &str = "a dry run changes nothing";

/// The tasks of the store by their keys in this plan, also those whose keys left the file.
fn known_ids(ws: &Workspace, plan: &str, flat: &[PlanItem]) -> Result<BTreeMap<String, Id>> {
    let index = read::index(ws)?;
    let mut known = index.origins(&keys_of(plan))?;
    for one in flat.iter().filter(|one| !known.contains_key(&one.key)).collect::<Vec<_>>() {
        if let Ok(id) = one.key.parse::<Id>()
            && index.task(id)?.is_some()
        {
            known.insert(one.key.clone(), id);
        }
    }
    Ok(known)
}

/// Values that YAML cuts off at an unquoted ` #`. Two spaces before the mark and one after it show that a comment is meant.
fn cut_values(text: &str) -> Vec<String> {
    let Ok(value) = yaml::read_value(text) else { return Vec::new() };
    let lines: Vec<&str> = text.lines().collect();
    let cut = |(line, words): (usize, String)| {
        let before = lines.get(line - 1)?.trim_end().strip_suffix(&words)?;
        let mark = before.trim_end();
        let value = mark.strip_suffix('#')?;
        let is_meant = value.ends_with("  ") && before.len() > mark.len();
        let is_plain =
            !value.trim_end().is_empty() && !value.trim_end().ends_with([':', '"', '\'', ']', '}', '|', '>']);
        (is_plain && !is_meant).then(|| {
            format!(
                "line {line}: YAML cuts the value off before {}; quote it to keep the rest",
                quoted(&format!("#{words}"))
            )
        })
    };
    comments::comments(text, &value).into_iter().filter_map(cut).collect()
}
