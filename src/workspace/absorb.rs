//! Hand edits: what a person changed in a `task.yaml` becomes the command that would have changed it.
//!
//! Promises: an edit goes through the same rules as a command, or stays in the file untouched with a reason.
//! Refuses to know: which fields may hold what (`rules::fields`).

use serde_json::{Map, Value, json};

use super::Workspace;
use crate::error::{Code, Error, Result};
use crate::model::command::{Command, Guard, TaskUpdate as Update};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::{Fields, Payload, TaskUpdated};
use crate::model::words::{TaskRef, Text};
use crate::rules::decide::decide;
use crate::rules::fields;
use crate::rules::stage::{Draft, Stage as _};
use crate::store::edited::{FORM, Readable, below, compare, heads};
use crate::store::entity::{load_task, read_yaml};
use crate::store::project::render;
use crate::store::yaml;

impl Workspace {
    /// Records what was edited by hand in a task's file. Gives the names of the changed fields.
    ///
    /// Errors: `ERR_CORRUPT` where the file cannot be read, `ERR_VALIDATION` for an edit that only a command can make, and
    /// the refusals of `task update`.
    pub fn absorb(&self, id: Id) -> Result<String> {
        let entity = Entity::Task(id);
        let corrupt = |why: String| Error::new(Code::Corrupt, format!("task.yaml of {id}: {why}"));
        let bytes = read_yaml(&self.store, &entity)
            .map_err(|e| Error::io("read", &self.store.path().join(crate::store::layout::task_dir(id)), &e))?
            .ok_or_else(|| corrupt("it is missing".into()))?;
        let text = String::from_utf8(bytes).map_err(|_| corrupt("it is not valid UTF-8".into()))?;
        self.absorb_text(id, &text, &text)
    }

    /// Whether a task's file says something that its events do not.
    ///
    /// Errors: `ERR_IO` where its files cannot be read.
    pub(super) fn is_edited(&self, id: Id) -> Result<bool> {
        let entity = Entity::Task(id);
        let Ok(Some(bytes)) = read_yaml(&self.store, &entity) else { return Ok(false) };
        let entries = load_task(&self.store, id, &[])?.log.entries;
        Ok(matches!(compare(&entity, &entries, &bytes), Readable::Edited(what) if what != FORM))
    }

    /// Records the difference between a task's file as it was written and `text`. `current` is what the file holds now: where it
    /// holds something else by then, somebody edited it meanwhile, and nothing is written.
    ///
    /// Errors: as [`Workspace::absorb`], and `ERR_CONFLICT` where the file was edited meanwhile.
    pub fn absorb_text(&self, id: Id, text: &str, current: &str) -> Result<String> {
        let entity = Entity::Task(id);
        let corrupt = |why: String| Error::new(Code::Corrupt, format!("task.yaml of {id}: {why}"));
        let found = yaml::read_value(text).map_err(corrupt)?;
        let log = load_task(&self.store, id, &[])?.log;
        let base = heads(&found).ok_or_else(|| corrupt("its heads are missing".into()))?;
        let written = render(&entity, &below(&log.entries, &base));
        let expected = yaml::read_value(&written).map_err(corrupt)?;
        let mut unknown = Fields::new();
        let update = as_update(id, &expected, &found, &mut unknown)?;
        let names = crate::store::edited::difference(&expected, &found).unwrap_or_default();
        let command = Command::TaskUpdate(update);
        self.execute_with(&command, true, |scene| {
            let now = read_yaml(&self.store, &entity).map_err(|e| corrupt(e.to_string()))?;
            if now.as_deref() != Some(current.as_bytes()) {
                return Err(Error::new(
                    Code::Conflict,
                    format!("task.yaml of {id} was edited meanwhile; nothing was written"),
                )
                .hint("look at it again, then run the same command"));
            }
            let subject = decide(scene, &command)?;
            if !unknown.is_empty() {
                let payload = Payload::TaskUpdated(TaskUpdated { set: unknown });
                scene.emit(Draft { entity: Entity::Task(id), payload, why: Some("hand edit".into()), fence: None })?;
            }
            Ok(subject)
        })?;
        Ok(names)
    }
}

/// The command that makes `found` of `expected`.
/// Fields of a newer version go into `unknown`.
fn as_update(id: Id, expected: &Value, found: &Value, unknown: &mut Fields) -> Result<Update> {
    let empty = Map::new();
    let (expected, found) = (expected.as_object().unwrap_or(&empty), found.as_object().unwrap_or(&empty));
    let mut args = json!({ "id": id });
    let mut clear: Vec<&str> = Vec::new();
    for key in expected.keys().chain(found.keys().filter(|key| !expected.contains_key(*key))) {
        let (old, new) = (expected.get(key), found.get(key));
        if old == new || key == "log" {
            continue;
        }
        match (key.as_str(), new) {
            ("metadata", new) => args["metadata"] = metadata_change(old, new),
            ("acceptance", Some(list)) => args["acceptance"] = criteria(list)?,
            ("parent" | "owner", Some(value)) => args[key] = value.clone(),
            (name, Some(value)) if fields::NAMES.contains(&name) => args[name] = as_text(name, value),
            (name, None) if fields::NAMES.contains(&name) || name == "parent" => clear.push(name),
            (name, value) if fields::is_unknown(name) => {
                unknown.insert(name.to_owned(), value.cloned().unwrap_or(Value::Null));
            }
            (name, _) => {
                return Err(Error::validation(format!("{name} cannot be changed in the file"))
                    .hint("use the command for it: task transition, progress, context, task block, task relate"));
            }
        }
    }
    args["clear"] = json!(clear);
    let update = Command::from_json("task.update", args)?;
    let Command::TaskUpdate(mut update) = update else {
        return Err(Error::validation("the edit is no update"));
    };
    update.id = TaskRef(id.to_string());
    update.guard = Guard { why: Some(Text("hand edit".into())), ..Guard::default() };
    Ok(update)
}

/// A number or truth value that a person wrote bare where text belongs.
fn as_text(name: &str, value: &Value) -> Value {
    match value {
        Value::Number(_) | Value::Bool(_) if !matches!(name, "priority" | "need_precedence") => {
            json!(value.to_string())
        }
        other => other.clone(),
    }
}

fn metadata_change(old: Option<&Value>, new: Option<&Value>) -> Value {
    let empty = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    let mut change: Map<String, Value> =
        new.iter().filter(|(k, v)| old.get(*k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    change.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    Value::Object(change)
}

fn criteria(list: &Value) -> Result<Value> {
    let items = list.as_array().ok_or_else(|| Error::validation("acceptance must be a list"))?;
    let words = items.iter().map(|item| match item {
        Value::String(text) => Ok(json!(text)),
        Value::Object(map) => Ok(map.get("criterion").cloned().unwrap_or(Value::Null)),
        other => Err(Error::validation(format!("{other} is no acceptance criterion"))),
    });
    words.collect::<Result<Vec<Value>>>().map(Value::Array)
}
