//! Hand edits of the plain fields, the parent and the owner: emits what `task update` writes.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::{Map, Value, json};

use super::{Edit, EditResult, guard, in_quotes, list, misfit, words};
use crate::error::{Error, Result};
use crate::model::args::OptionalTaskRef;
use crate::model::command::{Command, TaskUpdate};
use crate::model::field::{Form, field};
use crate::model::id::{Id, quoted};
use crate::model::payload::{Fields, Payload, TaskUpdated};
use crate::rules::conditions::refuse_new_criteria;
use crate::rules::decide::tasks;
use crate::rules::fields;
use crate::rules::roles::Verb;

impl Edit<'_> {
    /// Updates fields, parent and owner with one event. An owner that changes with the status is left to the status.
    pub(super) fn fields(&mut self) -> EditResult {
        let mut args = json!({ "id": self.id });
        let mut clear = Vec::new();
        let with_status = self.is_changed("status");
        let mut any = false;
        for key in self.changed {
            let ours = fields::NAMES.contains(&key.as_str()) || key == "parent" || (key == "owner" && !with_status);
            if !ours {
                continue;
            }
            let at = misfit(key, None);
            let one = self.argument(key).map_err(&at)?;
            // Each field alone first, so that a refusal names the field it is about.
            if let Some(value) = &one {
                let mut alone = json!({ "id": self.id });
                alone[key.as_str()] = value.clone();
                as_update(self.id, alone).and_then(|update| check(key, &update, value)).map_err(&at)?;
            }
            match one {
                Some(Value::Array(list)) if key == "acceptance" && same_criteria(&list, self.old.get(key)) => continue,
                Some(value) if key == "acceptance" => {
                    let task = self.stage.task(self.id).map_err(&at)?;
                    refuse_new_criteria(&task, &Fields::from_iter([(key.clone(), value.clone())])).map_err(&at)?;
                    args[key.as_str()] = value;
                }
                Some(value) => args[key.as_str()] = value,
                None if matches!(key.as_str(), "title" | "type") => {
                    return Err(at(Error::validation(format!("{key} cannot be removed"))
                        .hint("restore it, or write another value")));
                }
                None if key == "metadata" => args[key.as_str()] = metadata(self.old.get(key), None),
                None => clear.push(key.clone()),
            }
            any = true;
        }
        if !any {
            return Ok(());
        }
        let first = self.changed.first().map_or("title", String::as_str).to_owned();
        args["clear"] = json!(clear);
        let update = as_update(self.id, args).map_err(misfit(&first, None))?;
        // Only the whole change can still be refused: no lease, no right, or an impossible parent.
        let key = if self.is_changed("parent") { "parent" } else { &first };
        tasks::update(self.stage, &update).map(|_| ()).map_err(misfit(key, None))
    }

    /// The argument of `task update` for a key; `None` to clear it.
    pub(super) fn argument(&self, key: &str) -> Result<Option<Value>> {
        let Some(value) = self.new.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
        let texts = |entries: &[Value]| {
            let one = |entry| {
                words(entry)
                    .ok_or_else(|| Error::validation(format!("{key} must be a list of words{}", in_quotes(entry))))
            };
            entries.iter().map(one).collect::<Result<Vec<String>>>().map(|texts| json!(texts))
        };
        Ok(Some(match field(key).map(|field| field.form) {
            Some(Form::Map) => match value {
                Value::Object(map) => {
                    let old = self.old.get(key).and_then(Value::as_object);
                    let empty =
                        map.iter().find(|(k, v)| v.is_null() && old.is_none_or(|old| !old.contains_key(k.as_str())));
                    if let Some((name, _)) = empty {
                        return Err(Error::validation(format!("{} under {key} has no value", quoted(name)))
                            .hint("remove it, or write a value; '' is an empty text"));
                    }
                    metadata(self.old.get(key), Some(value))
                }
                _ => return Err(Error::validation(format!("{key} must be a mapping of names to values"))),
            },
            Some(Form::Criteria) => criteria(value)?,
            Some(Form::Words | Form::Agents) => texts(&list(Some(value)))?,
            Some(Form::Priority | Form::Number) => value.clone(),
            Some(Form::Title | Form::Line | Form::Prose | Form::Type | Form::Time) | None => match words(value) {
                Some(text) => json!(text),
                None => return Err(Error::validation(format!("{key} must be a text{}", in_quotes(value)))),
            },
        }))
    }

    /// Keeps keys that this version does not know.
    pub(super) fn unknown(&mut self) -> EditResult {
        let unknown = |key: &&String| fields::is_unknown(key) && key.as_str() != super::BLOCKED_BY;
        let set: Fields = self
            .changed
            .iter()
            .filter(unknown)
            .map(|key| (key.clone(), self.new.get(key).cloned().unwrap_or(Value::Null)))
            .collect();
        let Some(first) = set.keys().next().cloned() else { return Ok(()) };
        let emit = |edit: &mut Self| {
            let permit = edit.permit(Verb::Update)?;
            permit.emit(edit.stage, Payload::TaskUpdated(TaskUpdated::new(set.clone())))
        };
        emit(self).map(|_: Id| ()).map_err(misfit(&first, None))
    }
}

/// Refuses a value that does not fit its field.
fn check(key: &str, update: &TaskUpdate, value: &Value) -> Result<()> {
    match key {
        "parent" | "metadata" => Ok(()),
        "owner" => update.owner.as_deref().map_or(Ok(()), crate::model::id::check_agent_name),
        _ => fields::check(&Fields::from_iter([(key.to_owned(), value.clone())])),
    }
}

fn as_update(id: Id, args: Value) -> Result<TaskUpdate> {
    let command = Command::from_json("task.update", args).map_err(|mut e| {
        e.message = e.message.trim_start_matches("task.update: ").to_owned();
        e
    })?;
    let Command::TaskUpdate(mut update) = command else {
        return Err(Error::validation("the edit is not an update"));
    };
    update.id = OptionalTaskRef(Some(id.to_string()));
    update.guard = guard();
    Ok(update)
}

/// The entries of the metadata that differ; `null` removes one.
fn metadata(old: Option<&Value>, new: Option<&Value>) -> Value {
    let empty = Map::new();
    let old = old.and_then(Value::as_object).unwrap_or(&empty);
    let new = new.and_then(Value::as_object).unwrap_or(&empty);
    let mut change: Map<String, Value> =
        new.iter().filter(|(k, v)| old.get(*k) != Some(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
    change.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    Value::Object(change)
}

/// The texts of acceptance criteria, with or without marks.
fn criteria(value: &Value) -> Result<Value> {
    let one = |entry: &Value| match entry {
        Value::Object(map) => match map.get("criterion").and_then(words) {
            Some(text) => Ok(text),
            None => Err(Error::validation("an acceptance criterion needs its text under criterion")),
        },
        other => words(other)
            .ok_or_else(|| Error::validation(format!("{other} is not an acceptance criterion{}", in_quotes(other)))),
    };
    let entries = list(Some(value));
    for map in entries.iter().filter_map(Value::as_object) {
        super::check_entry(map, &["criterion", "met", "met_at", "met_by"])?;
    }
    entries.iter().map(one).collect::<Result<Vec<String>>>().map(|texts| json!(texts))
}

/// Whether the texts of the criteria are unchanged, so that only marks change.
fn same_criteria(now: &[Value], before: Option<&Value>) -> bool {
    let before = before.and_then(|before| criteria(before).ok());
    before.as_ref().and_then(Value::as_array).is_some_and(|before| before == now)
}

/// A reference that a person wrote.
pub(super) fn reference(value: &Value) -> Result<crate::model::args::Ref> {
    match value {
        Value::String(text) => Ok(crate::model::args::Ref(text.clone())),
        // A handle that consists of digits.
        Value::Number(number) => Ok(crate::model::args::Ref(number.to_string())),
        other => Err(Error::validation(format!("{} is not the id of a task", quoted(&other.to_string())))),
    }
}
