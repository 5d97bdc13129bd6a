//! Decides `task split`: a task becomes a planning unit, and its parts become its children.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::guard::permit_held;
use super::parts::progress_add;
use super::status::return_to_open;
use super::tasks::{block, create_as};
use super::{Subject, decides, index};
use crate::error::{Error, Result};
use crate::model::args::{OptionalTaskRef, Ref, TaskTexts, Text};
use crate::model::command::{Command, Guard, ProgressAdd, TaskBlock, TaskSplit};
use crate::model::id::{Id, quoted};
use crate::model::plan::{PlanTask, flatten};
use crate::model::task::{Status, Task};
use crate::rules::fields::value_of;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

decides! {
    TaskSplit: index => split,
}

/// What a part takes from its parent if it does not say otherwise.
const INHERITED: [&str; 3] = ["type", "priority", "labels"];

/// `task split`
fn split(stage: &mut dyn Stage, c: &TaskSplit) -> Result<Subject> {
    let permit = permit_held(stage, &c.id, &c.guard, Verb::Split)?;
    let task = stage.task(permit.id)?;
    if task.status.is_finished() {
        return Err(Error::state(format!("task {} is {} and cannot be split", task.id, task.status))
            .with(json!({ "task": task.id, "status": task.status }))
            .hint_command(format!("reopen it first: agentpm task reopen {} --reason TEXT", task.id)));
    }
    let titled = |title: &Text| PlanTask { title: title.0.clone(), ..PlanTask::default() };
    let parts: Vec<PlanTask> = c.title.iter().map(titled).chain(c.into.iter().cloned()).collect();
    if parts.is_empty() {
        return Err(Error::validation("a split needs at least one part").hint("pass --title TITLE or --into FILE"));
    }
    // A parent is a planning unit, which no agent works on.
    if task.status == Status::InProgress {
        return_to_open(stage, &permit, false)?;
    } else {
        permit.give_back(stage)?;
    }
    let items = flatten(&parts)?;
    let mut ids: BTreeMap<&str, Id> = BTreeMap::new();
    let mut done = vec![(None, Subject::Task(permit.id))];
    for item in &items {
        let parent = item.parent.as_ref().map_or(permit.id, |key| ids[key.as_str()]);
        let id = create_part(stage, item.task, parent, c.guard.why.as_ref())?;
        ids.insert(&item.key, id);
        done.push((Some(item.key.clone()), Subject::Task(id)));
    }
    for item in &items {
        let by = item.task.blocked_by.iter();
        let by: Vec<Ref> = by.map(|key| Ref(ids.get(key.as_str()).map_or(key.clone(), Id::to_string))).collect();
        if !by.is_empty() {
            let id = OptionalTaskRef(Some(ids[item.key.as_str()].to_string()));
            block(stage, &TaskBlock { id, by, guard: Guard::default() }).map_err(|e| name_parts(e, &ids))?;
        }
    }
    Ok(Subject::Batch(done))
}

/// The refusal of an edge with the keys of the parts in place of their ids, which no task has then.
fn name_parts(mut e: Error, ids: &BTreeMap<&str, Id>) -> Error {
    for (key, id) in ids {
        e.message = e.message.replace(&id.to_string(), &quoted(key));
        put_key(&mut e.details, *id, key);
    }
    e
}

fn put_key(value: &mut Value, id: Id, key: &str) {
    match value {
        Value::String(text) if *text == id.to_string() => key.clone_into(text),
        Value::Array(list) => list.iter_mut().for_each(|value| put_key(value, id, key)),
        Value::Object(map) => map.values_mut().for_each(|value| put_key(value, id, key)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn create_part(stage: &mut dyn Stage, part: &PlanTask, parent: Id, why: Option<&Text>) -> Result<Id> {
    let from: std::rc::Rc<Task> = stage.task(parent)?;
    let mut args = part.plain();
    for name in INHERITED {
        args.entry(name).or_insert_with(|| value_of(&from.fields, name));
    }
    args.insert("parent".into(), json!(parent));
    args.extend(why.map(|why| ("why".to_owned(), json!(why))));
    let Command::TaskCreate(create) = Command::from_json("task.create", Value::Object(args))? else {
        return Err(Error::state("task.create is another command"));
    };
    let id = create_as(stage, &create, None)?.id().ok_or_else(|| Error::state("a created task has no id"))?;
    if !part.progress.is_empty() {
        let what = TaskTexts::new(id, part.progress.iter().cloned().map(Text).collect());
        progress_add(stage, &ProgressAdd { what, done: false, guard: Guard::default() })?;
    }
    Ok(id)
}
