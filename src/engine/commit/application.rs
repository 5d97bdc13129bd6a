//! Applies a plan file or another source to the tasks that came from it.
//!
//! Guarantees that only what changed in the source since it was applied last is changed, and that a value which both changed
//! stays unless the caller forces it.
//! Leaves to others: reading the source, and the comparison of one value (`rules::sources`).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::{Value, json};

use super::plan::{FieldChange, KeptBecause, PlanChange, PlanConflict};
use super::plan_base::{Base, base_of};
use super::transaction::Transaction;
use crate::error::{Error, Result};
use crate::model::args::{OptionalTaskRef, Ref, TaskRef, TaskTexts, Text};
use crate::model::command::{ChildrenOfCancelled, Command, Guard, ProgressAdd, TaskBlock, TaskTransition, TaskUnblock};
use crate::model::event::Entity;
use crate::model::id::{Id, quoted};
use crate::model::job::PlanApply;
use crate::model::payload::{Fields, Payload, SourceApplied};
use crate::model::plain::shell_word;
use crate::model::plan::{PLAN_ORIGIN, PlanFile, PlanItem};
use crate::model::task::{Status, Task};
use crate::rules::decide::{decide, undo_with};
use crate::rules::event_rules::status_of;
use crate::rules::fields;
use crate::rules::sources::{Merged, merge, registers, said_value};
use crate::rules::stage::{Draft, Stage};

/// One application of a plan, or of another source, to a stage.
pub(crate) struct Application<'a> {
    plan: &'a PlanFile,
    job: &'a PlanApply,
    source: String,
    /// A refused change of one task is listed and does not refuse the others: a tracker cannot be corrected as a plan can.
    lists_refusals: bool,
    /// The tasks by their keys in the source.
    pub ids: BTreeMap<String, Id>,
    /// Those that were there before.
    known: HashSet<Id>,
    /// The tasks that were dropped from the archives, by their keys in the source: they are closed, and nothing changes about them.
    dropped: BTreeMap<String, Id>,
    pub changes: Vec<PlanChange>,
    pub conflicts: Vec<PlanConflict>,
    /// Key and title of the unfinished tasks whose keys left the file.
    pub missing: Vec<(String, String)>,
    /// The keys of tasks that are cancelled, by the undo that cancelled them, if one did.
    cancelled: BTreeMap<Option<String>, Vec<String>>,
}

impl<'a> Application<'a> {
    pub fn new(
        plan: &'a PlanFile,
        job: &'a PlanApply,
        ids: BTreeMap<String, Id>,
        dropped: BTreeMap<String, Id>,
    ) -> Self {
        let source = format!("{PLAN_ORIGIN}{}", plan.plan);
        Application { lists_refusals: false, ..Self::of_source(plan, job, source, ids, dropped) }
    }

    /// An application of another source, of this name.
    pub fn of_source(
        plan: &'a PlanFile,
        job: &'a PlanApply,
        source: String,
        ids: BTreeMap<String, Id>,
        dropped: BTreeMap<String, Id>,
    ) -> Self {
        let known = ids.values().copied().collect();
        Application {
            plan,
            job,
            source,
            lists_refusals: true,
            ids,
            known,
            dropped,
            changes: Vec::new(),
            conflicts: Vec::new(),
            missing: Vec::new(),
            cancelled: BTreeMap::new(),
        }
    }

    /// Says of the tasks that are cancelled that no apply opens them, and what does.
    pub fn cancelled_words(&self) -> impl Iterator<Item = String> {
        self.cancelled.iter().map(|(undo, keys)| {
            let tasks = match &keys[..] {
                [key] => format!("task {} of the plan is cancelled and stays so", quoted(key)),
                keys => format!("{} tasks of the plan are cancelled and stay so", keys.len()),
            };
            match undo {
                Some(undo) => format!("{tasks}; agentpm undo {undo} brings back what was undone"),
                None => format!("{tasks}; agentpm task reopen ID --reason TEXT opens one"),
            }
        })
    }

    /// Carries out the change of one value. Returns why the value stays, if it does.
    fn change(&self, tx: &mut Transaction, command: &Command) -> Result<Option<KeptBecause>> {
        match decide(tx, command) {
            Ok(_) => Ok(None),
            Err(e) => match KeptBecause::of(&e).filter(|_| self.lists_refusals) {
                Some(reason) => Ok(Some(reason)),
                None => Err(e),
            },
        }
    }

    pub fn apply(&mut self, tx: &mut Transaction, flat: &[PlanItem]) -> Result<()> {
        let known: BTreeSet<String> = self.ids.keys().cloned().collect();
        for one in flat.iter().filter(|one| !known.contains(&one.key)) {
            self.create(tx, one).map_err(|e| of_task(e, &one.key))?;
        }
        for one in flat {
            let id = self.ids[&one.key];
            let task = tx.task(id)?;
            let base = if known.contains(&one.key) {
                self.base(tx, &task, one.task.as_of.as_deref())?
            } else {
                Base::default()
            };
            let mut said = one.said();
            if known.contains(&one.key) {
                self.update(tx, one, &task, &base, &mut said).map_err(|e| of_task(e, &one.key))?;
            }
            self.add_steps(tx, id, one, &base).map_err(|e| of_task(e, &one.key))?;
            self.change_blockers(tx, id, one, &base, &mut said)?;
            if !task.status.is_finished() {
                self.remember(tx, id, one, &base, said)?;
            } else if task.cancelled_at.is_some() {
                let history = tx.history(id)?;
                let last = history.iter().rev().find(|entry| status_of(&entry.event) == Some(Status::Cancelled));
                let undo = last.and_then(|entry| undo_with(&entry.event));
                let undo = undo.map(|undo| format!("{} {}", undo.option(), shell_word(undo.id())));
                self.cancelled.entry(undo).or_default().push(one.key.clone());
            }
        }
        self.handle_missing(tx, flat)
    }

    pub fn base(&self, tx: &mut Transaction, task: &Task, as_of: Option<&str>) -> Result<Base> {
        let mut base = base_of(tx, task, &self.source, as_of)?;
        // A key may have left the file since, and a blocker may be no key but an id.
        base.parent = self.parent_of(base.parent_key.as_ref()).or(base.parent);
        // A parent that is no task of this plan is none of its business.
        let is_own = |parent: &Id| self.known.contains(parent) || self.dropped.values().any(|id| id == parent);
        base.parent = base.parent.filter(is_own);
        let blockers: Vec<Id> = base.blocker_keys.iter().filter_map(|key| self.id_of(tx, key).ok()).collect();
        base.blockers.extend(blockers);
        Ok(base)
    }

    fn id_of(&self, tx: &mut Transaction, key: &str) -> Result<Id> {
        let known = self.ids.get(key).or_else(|| self.dropped.get(key));
        known.copied().map_or_else(|| tx.task_id(&Ref(key.to_owned())), Ok)
    }

    fn parent_of(&self, key: Option<&String>) -> Option<Id> {
        key.and_then(|key| self.ids.get(key).or_else(|| self.dropped.get(key))).copied()
    }

    fn create(&mut self, tx: &mut Transaction, one: &PlanItem) -> Result<()> {
        let mut args = one.task.plain();
        let parent = one.parent.as_ref().and_then(|key| self.ids.get(key));
        args.extend(parent.map(|parent| ("parent".to_owned(), json!(parent))));
        let metadata = args.entry("metadata").or_insert_with(|| json!({}));
        metadata["origin"] = json!({ "format": "plan", "id": format!("{}:{}", self.plan.plan, one.key) });
        let subject = decide(tx, &Command::from_json("task.create", Value::Object(args))?)?;
        let id = subject.id().ok_or_else(|| Error::state("a created task has no id"))?;
        self.ids.insert(one.key.clone(), id);
        self.changes.push(PlanChange::Create { key: one.key.clone(), title: one.task.title.clone() });
        Ok(())
    }

    /// Changes what the file changed. What the store keeps is put back into `said`, so that it is compared again next time.
    pub fn update(
        &mut self,
        tx: &mut Transaction,
        one: &PlanItem,
        task: &Task,
        base: &Base,
        said: &mut Fields,
    ) -> Result<()> {
        let (mut args, mut clear, mut entries) = (Fields::new(), Vec::new(), Fields::new());
        for name in registers(&base.fields, &one.task.fields) {
            let (old, new) = (said_value(&base.fields, &name), said_value(said, &name));
            let stored = fields::value_of(&task.fields, &name);
            let merged = self.merged(task, base, &name, (&old, &new, &stored));
            let value = match merged {
                Ok(None) => continue,
                Ok(Some(value)) => value,
                Err(reason) => {
                    self.keep(one, task, (&name, new, stored), reason);
                    // Without a record, what the file says now is the base from here on.
                    if reason == KeptBecause::BothChanged {
                        put(said, &name, old);
                    }
                    continue;
                }
            };
            match name.strip_prefix("metadata.") {
                Some(key) => drop(entries.insert(key.to_owned(), value)),
                None if value == said_value(&Fields::new(), &name) && name != "title" => clear.push(name),
                None => drop(args.insert(name, value)),
            }
        }
        if !entries.is_empty() {
            args.insert("metadata".into(), Value::Object(entries));
        }
        let is_changed = self.set_fields(tx, one, task, base, said, (args, clear))?;
        let (mut args, mut clear) = (Fields::new(), Vec::new());
        self.move_to_parent(one, task, base, said, &mut args, &mut clear);
        let is_moved = self.set_fields(tx, one, task, base, said, (args, clear))?;
        if is_changed || is_moved {
            let after = tx.task(task.id)?;
            let fields = self.changed(task, &after);
            self.changes.push(PlanChange::Update { key: one.key.clone(), id: task.id, fields });
        }
        Ok(())
    }

    /// Sets fields and clears others. Says whether that was done; what is refused is listed and put back into `said`.
    fn set_fields(
        &mut self,
        tx: &mut Transaction,
        one: &PlanItem,
        task: &Task,
        base: &Base,
        said: &mut Fields,
        (mut args, clear): (Fields, Vec<String>),
    ) -> Result<bool> {
        if args.is_empty() && clear.is_empty() {
            return Ok(false);
        }
        let entries = args.get("metadata").and_then(Value::as_object).into_iter().flat_map(|map| map.keys());
        let mut names: Vec<String> = entries.map(|key| format!("metadata.{key}")).collect();
        names.extend(args.keys().filter(|name| *name != "metadata").cloned());
        names.extend(clear.iter().cloned());
        if !clear.is_empty() {
            args.insert("clear".into(), json!(clear));
        }
        args.insert("id".into(), json!(task.id));
        let Some(reason) = self.change(tx, &Command::from_json("task.update", Value::Object(args))?)? else {
            return Ok(true);
        };
        for name in names {
            let (file, store, old) = if name == "parent" {
                let parent = one.parent.as_ref().and_then(|key| self.ids.get(key)).copied();
                (self.name_of(parent), self.name_of(task.parent()), self.name_of(base.parent))
            } else {
                (said_value(said, &name), fields::value_of(&task.fields, &name), said_value(&base.fields, &name))
            };
            self.keep(one, task, (&name, file, store), reason);
            put(said, &name, old);
        }
        Ok(false)
    }

    /// The new value of a register, if it gets one; or why it keeps the old one although the file changed it.
    fn merged(
        &self,
        task: &Task,
        base: &Base,
        name: &str,
        (old, new, stored): (&Value, &Value, &Value),
    ) -> std::result::Result<Option<Value>, KeptBecause> {
        let is_written = || task.stamps.contains_key(name) || task.stamps.contains_key(root(name));
        let merged = match merge(old, new, stored) {
            // Without a record, a value that changed since the creation may be a local change: it is not written over.
            _ if !base.is_recorded && is_written() && new != stored => Merged::Conflict,
            merged => merged,
        };
        match merged {
            Merged::Keep => Ok(None),
            _ if task.status.is_finished() => Err(KeptBecause::Closed),
            Merged::Set(value) => Ok(Some(value)),
            Merged::Conflict if self.job.how.force => Ok(Some(new.clone())),
            Merged::Conflict if base.is_recorded => Err(KeptBecause::BothChanged),
            Merged::Conflict => Err(KeptBecause::NoRecord),
        }
    }

    fn move_to_parent(
        &mut self,
        one: &PlanItem,
        task: &Task,
        base: &Base,
        said: &mut Fields,
        args: &mut Fields,
        clear: &mut Vec<String>,
    ) {
        let parent = self.parent_of(one.parent.as_ref());
        let stored = task.parent();
        // Without a record, a parent that differs may have been chosen locally.
        let touched = if base.is_recorded { parent != base.parent } else { parent.is_some() };
        let is_dropped = one.parent.as_ref().is_some_and(|key| self.dropped.contains_key(key));
        if !touched || parent == stored || is_dropped {
            return;
        }
        let reason = match () {
            () if task.status.is_finished() => Some(KeptBecause::Closed),
            () if self.job.how.force => None,
            () if !base.is_recorded => Some(KeptBecause::NoRecord),
            () if stored != base.parent => Some(KeptBecause::BothChanged),
            () => None,
        };
        if let Some(reason) = reason {
            let (file, store) = (self.name_of(parent), self.name_of(stored));
            self.keep(one, task, ("parent", file, store), reason);
            if reason == KeptBecause::BothChanged {
                put(said, "parent", self.name_of(base.parent));
            }
            return;
        }
        match parent {
            Some(parent) => drop(args.insert("parent".into(), json!(parent))),
            None => clear.push("parent".into()),
        }
    }

    pub fn keep(
        &mut self,
        one: &PlanItem,
        task: &Task,
        (field, file, store): (&str, Value, Value),
        reason: KeptBecause,
    ) {
        let (key, field) = (one.key.clone(), field.to_owned());
        self.conflicts.push(PlanConflict { key, id: task.id, field, file, store, reason });
    }

    /// The key of a task, or its id.
    fn name_of(&self, id: Option<Id>) -> Value {
        let key = self.ids.iter().chain(&self.dropped).find(|(_, known)| Some(**known) == id).map(|(key, _)| key);
        key.map_or_else(|| json!(id), |key| json!(key))
    }

    /// What an update changed, field by field.
    fn changed(&self, before: &Task, after: &Task) -> Vec<FieldChange> {
        let value = |task: &Task, name: &str| match name {
            "parent" => self.name_of(task.parent()),
            other => fields::value_of(&task.fields, other),
        };
        let mut written: BTreeSet<&String> = after.stamps.keys().collect();
        written.extend(before.stamps.keys());
        let written = written.into_iter().filter(|name| before.stamps.get(*name) != after.stamps.get(*name));
        let change =
            |name: &String| FieldChange { field: name.clone(), from: value(before, name), to: value(after, name) };
        written.map(change).filter(|change| change.from != change.to).collect()
    }

    /// Adds the steps that are new in the file. Steps cannot be removed, so one that the store lacks was never there.
    fn add_steps(&mut self, tx: &mut Transaction, id: Id, one: &PlanItem, base: &Base) -> Result<()> {
        let now = tx.task(id)?;
        let has = |step: &String| base.steps.contains(step) || now.progress.values().any(|item| item.content == *step);
        let missing: Vec<Text> = one.task.progress.iter().filter(|step| !has(step)).cloned().map(Text).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if now.status.is_finished() {
            self.keep(one, &now, ("progress", json!(missing), Value::Null), KeptBecause::Closed);
            return Ok(());
        }
        self.changes.push(PlanChange::Progress { key: one.key.clone(), steps: missing.len() });
        let add = ProgressAdd { what: TaskTexts::new(id, missing), done: false, guard: Guard::default() };
        decide(tx, &Command::ProgressAdd(add)).map(|_| ())
    }

    pub fn change_blockers(
        &mut self,
        tx: &mut Transaction,
        id: Id,
        one: &PlanItem,
        base: &Base,
        said: &mut Fields,
    ) -> Result<()> {
        let mut wanted = BTreeMap::new();
        for key in &one.task.blocked_by {
            let blocker = self.id_of(tx, key).map_err(|_| {
                Error::not_found(format!(
                    "{} waits for {}, which is no key of this plan and no task",
                    quoted(&one.key),
                    quoted(key)
                ))
            })?;
            wanted.insert(blocker, key);
        }
        let task = tx.task(id)?;
        let stored = task.blockers();
        let guard = Guard::default;
        let by = |blocker: &Id| vec![Ref(blocker.to_string())];
        let is_closed = task.status.is_finished();
        let is_gone = |old: &&Id| !is_closed && !wanted.contains_key(old) && stored.contains(old);
        for blocker in base.blockers.iter().filter(is_gone) {
            let name = self.name_of(Some(*blocker)).as_str().unwrap_or_default().to_owned();
            let unblock = TaskUnblock { id: TaskRef(id.to_string()), by: by(blocker), guard: guard() };
            match self.change(tx, &Command::TaskUnblock(unblock))? {
                None => self.changes.push(PlanChange::Unblock { key: one.key.clone(), by: name }),
                Some(reason) => {
                    said_blockers(said).push(json!(name));
                    self.keep(one, &task, ("blocked_by", Value::Null, json!(name)), reason);
                }
            }
        }
        for (blocker, key) in &wanted {
            if base.blockers.contains(blocker) || stored.contains(blocker) || self.dropped.contains_key(*key) {
                continue;
            }
            let reason = match () {
                () if is_closed => Some(KeptBecause::Closed),
                // Without a record, the store may have lost this edge by a local change.
                () if !base.is_recorded && !task.removed.is_empty() && !self.job.how.force => {
                    Some(KeptBecause::NoRecord)
                }
                () => None,
            };
            if let Some(reason) = reason {
                self.keep(one, &task, ("blocked_by", json!(key), Value::Null), reason);
                continue;
            }
            let block = TaskBlock { id: OptionalTaskRef(Some(id.to_string())), by: by(blocker), guard: guard() };
            match self.change(tx, &Command::TaskBlock(block))? {
                None => self.changes.push(PlanChange::Block { key: one.key.clone(), by: (*key).clone() }),
                Some(reason) => {
                    said_blockers(said).retain(|other| other != *key);
                    self.keep(one, &task, ("blocked_by", json!(key), Value::Null), reason);
                }
            }
        }
        Ok(())
    }

    /// Records what the file said, if the store cannot know it otherwise.
    pub fn remember(&self, tx: &mut Transaction, id: Id, one: &PlanItem, base: &Base, said: Fields) -> Result<()> {
        let task = tx.task(id)?;
        let is_same = |memory: &crate::model::task::SourceMemory| memory.key == one.key && memory.said == said;
        if task.sources.get(&self.source).is_some_and(is_same) || base.is_same(one, &self.ids) {
            return Ok(());
        }
        let payload = Payload::SourceApplied(SourceApplied { source: self.source.clone(), key: one.key.clone(), said });
        tx.emit(Draft { entity: Entity::Task(id), payload, why: None, fence: None }).map(|_| ())
    }

    /// Reports the unfinished tasks whose keys left the file, or cancels them: parts before their parents.
    fn handle_missing(&mut self, tx: &mut Transaction, flat: &[PlanItem]) -> Result<()> {
        let here: BTreeSet<&str> = flat.iter().map(|one| one.key.as_str()).collect();
        let mut gone: Vec<(Id, String)> =
            self.ids.iter().filter(|(key, _)| !here.contains(key.as_str())).map(|(k, id)| (*id, k.clone())).collect();
        gone.sort_by(|one, other| other.cmp(one));
        for (id, key) in gone {
            let task = tx.task(id)?;
            if task.status.is_finished() {
                continue;
            }
            let title = task.fields.title.clone();
            if !self.job.how.prune {
                self.missing.push((key, title));
                continue;
            }
            let why = Some(Text(format!("it left the plan {}", self.plan.plan)));
            let guard = Guard { why, ..Guard::default() };
            let cancel = TaskTransition {
                id: TaskRef(id.to_string()),
                status: Status::Cancelled,
                force: None,
                children: Some(ChildrenOfCancelled::Keep),
                guard,
            };
            decide(tx, &Command::TaskTransition(cancel))?;
            self.changes.push(PlanChange::Cancel { key, title });
        }
        Ok(())
    }

    /// Names the tasks of the plan by their keys in a refusal: the ids of new ones exist nowhere.
    pub fn name_keys(&self, mut e: Error) -> Error {
        let names = self.ids.iter().map(|(key, id)| (id.to_string(), key));
        for (id, key) in names {
            e.message = e.message.replace(&id, &quoted(key));
            name_in(&mut e.details, &id, key);
        }
        if e.details.get("cycle").is_some() {
            e = e.hint("change blocked_by or the nesting of these tasks in the plan");
        }
        e
    }
}

/// A refusal that names the task of the plan by its key.
fn of_task(mut e: Error, key: &str) -> Error {
    e.message = format!("task {}: {}", quoted(key), e.message);
    e
}

fn name_in(value: &mut Value, id: &str, key: &str) {
    match value {
        Value::String(text) if text == id => key.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| name_in(item, id, key)),
        Value::Object(map) => map.values_mut().for_each(|item| name_in(item, id, key)),
        _ => {}
    }
}

/// The blockers that a statement names.
fn said_blockers(said: &mut Fields) -> &mut Vec<Value> {
    let list = said.entry("blocked_by").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    list.as_array_mut().expect("it was made a list just above")
}

/// The field of a register.
fn root(name: &str) -> &str {
    name.split_once('.').map_or(name, |(field, _)| field)
}

/// Sets what a statement says of a register; an empty value is not said.
fn put(said: &mut Fields, name: &str, value: Value) {
    let (map, key) = match name.strip_prefix("metadata.") {
        Some(key) => {
            let metadata = said.entry("metadata").or_insert_with(|| json!({}));
            let Some(map) = metadata.as_object_mut() else { return };
            (map, key)
        }
        None => (said, name),
    };
    if value.is_null() || value == said_value(&Fields::new(), name) {
        map.shift_remove(key);
    } else {
        map.insert(key.to_owned(), value);
    }
}
