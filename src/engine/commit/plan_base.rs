//! What a plan file said of a task before: the base of the comparison.
//!
//! Leaves to others: the comparison itself (`plan`, `engine::import`).

use std::collections::BTreeMap;

use serde_json::Value;

use super::transaction::Transaction;
use crate::error::Result;
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::payload::Fields;
use crate::model::plan::{PlanItem, handle_of};
use crate::model::task::{SourceMemory, Task};
use crate::rules::fold::fold;
use crate::rules::register::{among_below, below};
use crate::rules::sources::{fields_of, registers, said_value};
use crate::rules::stage::Stage;

/// What the file said of a task before.
#[derive(Default)]
pub(crate) struct Base {
    pub fields: Fields,
    pub parent: Option<Id>,
    pub parent_key: Option<String>,
    pub blockers: Vec<Id>,
    pub blocker_keys: Vec<String>,
    pub steps: Vec<String>,
    /// Whether it is known what the file said.
    pub is_recorded: bool,
    /// Whether it is the store at the time when the file was written from it.
    is_snapshot: bool,
}

/// The base of a task: what the last apply recorded, or the store that `plan show` wrote the file from, if that is later.
///
/// A task of an older version has `metadata.origin` and no record. An apply of that version may have changed it as well as a
/// person, so the base is the task itself, and `is_recorded` is false: a field that was never written since the creation
/// follows the file, one that was written since keeps its value and is reported. Lists of the store thus lose no entry.
///
/// Events that reached this clone after the file was written are not in that store, however old they are: otherwise the file would
/// take back what it never showed.
pub(crate) fn base_of(tx: &mut Transaction, task: &Task, source: &str, as_of: Option<&str>) -> Result<Base> {
    let memory = task.sources.get(source);
    if let Some(as_of) = as_of {
        let history = tx.history(task.id)?;
        let heads: Vec<Id> = as_of.split(' ').filter_map(|handle| named(&history, handle)).collect();
        let is_later =
            |memory: &SourceMemory| among_below(&history, &[memory.event]).iter().any(|e| heads.contains(&e.event.id));
        if !heads.is_empty() && !memory.is_some_and(|memory| !heads.contains(&memory.event) && is_later(memory)) {
            return Ok(Base {
                is_recorded: true,
                is_snapshot: true,
                ..of_task(&fold(task.id, &below(&history, &heads)).0)
            });
        }
    }
    Ok(memory.map_or_else(|| of_task(task), of_memory))
}

/// The event that a file of `plan show` names, if it is here.
fn named(history: &[Entry], handle: &str) -> Option<Id> {
    history.iter().map(|entry| entry.event.id).find(|id| handle_of(*id) == handle)
}

fn of_task(task: &Task) -> Base {
    Base {
        fields: fields_of(&task.fields),
        parent: task.parent(),
        blockers: task.blockers(),
        steps: task.progress.values().map(|item| item.content.clone()).collect(),
        ..Base::default()
    }
}

fn of_memory(memory: &SourceMemory) -> Base {
    let mut fields = memory.said.clone();
    let texts = |value: Option<Value>| match value {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    let parent_key = fields.shift_remove("parent").and_then(|key| key.as_str().map(str::to_owned));
    let blocker_keys = texts(fields.shift_remove("blocked_by"));
    let steps = texts(fields.shift_remove("progress"));
    Base { fields, parent_key, blocker_keys, steps, is_recorded: true, ..Base::default() }
}

impl Base {
    /// Whether the file still says what `plan show` wrote, so that nothing needs to be recorded.
    pub fn is_same(&self, one: &PlanItem, ids: &BTreeMap<String, Id>) -> bool {
        let said = one.task.plain();
        let same = |name: &String| said_value(&self.fields, name) == said_value(&said, name);
        let blockers = one.task.blocked_by.iter().map(|key| ids.get(key).copied().or_else(|| key.parse().ok()));
        let blockers: Option<Vec<Id>> = blockers.collect();
        self.is_snapshot
            && registers(&self.fields, &said).iter().all(same)
            && self.parent == one.parent.as_ref().and_then(|key| ids.get(key)).copied()
            && blockers.is_some_and(|list| {
                list.len() == self.blockers.len() && list.iter().all(|id| self.blockers.contains(id))
            })
            && self.steps == one.task.progress
    }
}
