//! JSON Patch (RFC 6902) on the plain fields of a task.
//!
//! Guarantees that a patch changes the fields that `task update` writes and no other, whole or not at all, and that its size
//! bounds the work and the result.
//! Leaves to others: whether the values are allowed (`rules::fields`), and who may change them.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::model::event::MAX_LINE;
use crate::model::field::{FIELDS, Form, field};
use crate::model::id::quoted;
use crate::model::payload::Fields;
use crate::model::task::Task;
use crate::rules::fields;

/// One operation of a patch.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Operation {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

impl Operation {
    fn paths(&self) -> impl Iterator<Item = &str> {
        let (from, path) = match self {
            Operation::Add { path, .. }
            | Operation::Remove { path }
            | Operation::Replace { path, .. }
            | Operation::Test { path, .. } => (None, path),
            Operation::Move { from, path } | Operation::Copy { from, path } => (Some(from), path),
        };
        from.into_iter().chain([path]).map(String::as_str)
    }
}

/// The values that a patch gives the plain fields of a task, as an event writes them; empty if it changes nothing.
///
/// Errors: `ERR_VALIDATION` if it is no patch, names another path, or gives a value that no command writes; `ERR_CONFLICT`
/// with the operation that does not apply.
pub fn apply(task: &Task, patch: &Value) -> Result<Fields> {
    let operations = read(patch)?;
    let before = document(task);
    let mut after = before.clone();
    let mut room = MAX_LINE;
    for (n, operation) in operations.iter().enumerate() {
        step(&mut after, operation, &mut room).map_err(|why| {
            let said = &patch[n];
            let word = said["op"].as_str().unwrap_or_default();
            let path = said["path"].as_str().unwrap_or_default();
            Error::new(
                Code::Conflict,
                format!("operation {} of the patch does not apply: {word} {}: {why}", n + 1, quoted(path)),
            )
            .with(json!({ "task": task.id, "operation": n + 1, "failed": said, "why": why }))
            .hint(format!("agentpm task get {} shows the present values; propose a change of them", task.id))
        })?;
    }
    let set = difference(&before, &after);
    fields::check(&set)?;
    Ok(set)
}

/// The patch that sets a field to a value, written as `field=value`.
///
/// Errors: `ERR_USAGE` and `ERR_VALIDATION`, naming the field.
pub fn set(assignments: &[String]) -> Result<Value> {
    let one = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("{} is not field=value", quoted(text))).hint("--set priority=3"))?;
        let (path, value) = match name.split_once('.') {
            Some(("metadata", key)) => (format!("/metadata/{}", escape(key)), any_json(value)),
            _ => (format!("/{}", escape(name)), value_of(name, value)?),
        };
        let op = if name.contains('.') { "add" } else { "replace" };
        Ok(json!({ "op": op, "path": path, "value": value }))
    };
    assignments.iter().map(one).collect::<Result<Vec<Value>>>().map(Value::Array)
}

fn value_of(name: &str, text: &str) -> Result<Value> {
    let field = field(name).ok_or_else(|| not_a_field(name))?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(match field.form {
        Form::Priority | Form::Number | Form::Map => any_json(text),
        Form::Words | Form::Agents | Form::Criteria if text.starts_with('[') => any_json(text),
        Form::Words | Form::Agents => text.split(',').map(str::trim).collect(),
        Form::Criteria => json!([text]),
        Form::Title | Form::Line | Form::Prose | Form::Type | Form::Time => json!(text),
    })
}

/// A value as JSON, or else as a text.
fn any_json(text: &str) -> Value {
    crate::model::json::parse(text).unwrap_or_else(|_| json!(text))
}

fn not_a_field(name: &str) -> Error {
    let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
    Error::validation(format!("a proposal cannot change {}", quoted(name)))
        .with(json!({ "field": name, "allowed": names }))
        .hint(format!("it may change {}", names.join(", ")))
}

fn read(patch: &Value) -> Result<Vec<Operation>> {
    if patch.to_string().len() > MAX_LINE {
        return Err(Error::validation(format!("a patch holds at most {MAX_LINE} bytes")));
    }
    let operations: Vec<Operation> = Deserialize::deserialize(patch).map_err(|e| {
        Error::validation(format!("it is not a JSON Patch: {}", crate::model::json::plain_words(&e.to_string())))
            .hint("a JSON Patch is a list such as [{\"op\": \"replace\", \"path\": \"/priority\", \"value\": 3}]")
    })?;
    for path in operations.iter().flat_map(Operation::paths) {
        let parts = parts(path).ok_or_else(|| Error::validation(format!("{} is not a JSON Pointer", quoted(path))))?;
        let name = parts.first().map_or("", String::as_str);
        if field(name).is_none() {
            return Err(not_a_field(if name.is_empty() { path } else { name }));
        }
    }
    Ok(operations)
}

/// The plain fields of a task, each with a value, so that `replace` and `test` find what is empty.
fn document(task: &Task) -> Value {
    Value::Object(task.fields.entries().map(|(field, value)| (field.name.to_owned(), value.to_json())).collect())
}

fn difference(before: &Value, after: &Value) -> Fields {
    let mut set = Fields::new();
    for name in fields::NAMES {
        match (&before[*name], after.get(*name).unwrap_or(&Value::Null)) {
            (old, new) if old == new => {}
            (Value::Object(old), Value::Object(new)) => entries(old, new, &mut set),
            (Value::Object(old), Value::Null) => entries(old, &Map::new(), &mut set),
            (_, new) => drop(set.insert((*name).to_owned(), new.clone())),
        }
    }
    set
}

/// Each entry of the metadata is a register.
fn entries(old: &Map<String, Value>, new: &Map<String, Value>, set: &mut Fields) {
    let gone = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key, &Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
    set.extend(changed.chain(gone).map(|(key, value)| (format!("metadata.{key}"), value.clone())));
}

/// The parts of a JSON Pointer (RFC 6901), unescaped.
fn parts(path: &str) -> Option<Vec<String>> {
    Some(path.strip_prefix('/')?.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Applies one operation. `room` bounds the bytes that are written.
fn step(doc: &mut Value, operation: &Operation, room: &mut usize) -> std::result::Result<(), String> {
    match operation {
        Operation::Add { path, value } => add(doc, path, value.clone(), room),
        Operation::Remove { path } => remove(doc, path).map(|_| ()),
        Operation::Replace { path, value } => {
            let at = doc.pointer_mut(path).ok_or("there is no such value")?;
            take_room(value, room)?;
            *at = value.clone();
            Ok(())
        }
        Operation::Move { from, path } => {
            if path.starts_with(&format!("{from}/")) {
                return Err("a value cannot be moved into itself".into());
            }
            let value = remove(doc, from)?;
            add(doc, path, value, room)
        }
        Operation::Copy { from, path } => {
            let value = doc.pointer(from).ok_or("there is no such value")?.clone();
            add(doc, path, value, room)
        }
        Operation::Test { path, value } => match doc.pointer(path) {
            Some(found) if same(found, value) => Ok(()),
            Some(found) => Err(format!("it is {}, not {}", quoted(&found.to_string()), quoted(&value.to_string()))),
            None => Err("there is no such value".into()),
        },
    }
}

/// Numbers are equal if their values are.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => one == other,
    }
}

fn take_room(value: &Value, room: &mut usize) -> std::result::Result<(), String> {
    let bytes = value.to_string().len();
    *room = room.checked_sub(bytes).ok_or_else(|| format!("it writes more than {MAX_LINE} bytes"))?;
    Ok(())
}

/// The value that holds the last part of a path, and that part.
fn holder<'d>(doc: &'d mut Value, path: &str) -> std::result::Result<(&'d mut Value, String), String> {
    let (above, last) = path.rsplit_once('/').ok_or("it is not a JSON Pointer")?;
    let last = last.replace("~1", "/").replace("~0", "~");
    doc.pointer_mut(above).map(|holder| (holder, last)).ok_or_else(|| "there is no such value".into())
}

fn add(doc: &mut Value, path: &str, value: Value, room: &mut usize) -> std::result::Result<(), String> {
    take_room(&value, room)?;
    match holder(doc, path)? {
        (Value::Object(map), key) => drop(map.insert(key, value)),
        (Value::Array(list), place) => {
            let at = if place == "-" { Some(list.len()) } else { index(&place) };
            let at = at.filter(|at| *at <= list.len()).ok_or("there is no such place in the list")?;
            list.insert(at, value);
        }
        _ => return Err("it is not within a list or an object".into()),
    }
    Ok(())
}

fn remove(doc: &mut Value, path: &str) -> std::result::Result<Value, String> {
    let removed = match holder(doc, path)? {
        (Value::Object(map), key) => map.shift_remove(&key),
        (Value::Array(list), place) => index(&place).filter(|at| *at < list.len()).map(|at| list.remove(at)),
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_), _) => None,
    };
    removed.ok_or_else(|| "there is no such value".into())
}

/// A place in a list: digits without leading zeros.
fn index(text: &str) -> Option<usize> {
    let is_plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::Id;

    fn task() -> Task {
        let mut task = Task::blank(Id::from_parts(0, 1));
        let set = json!({"title": "t", "priority": 1, "labels": ["a", "b"], "metadata": {"k": {"n": 1}, "a/b": 2}});
        fields::write(&mut task.fields, set.as_object().unwrap()).unwrap();
        task
    }

    fn outcome(patch: Value) -> std::result::Result<Value, Code> {
        apply(&task(), &patch).map(Value::Object).map_err(|e| e.code)
    }

    #[test]
    fn each_operation_does_what_the_standard_says() {
        for (patch, expected) in [
            (json!([]), json!({})),
            (json!([{"op": "replace", "path": "/priority", "value": 3}]), json!({"priority": 3})),
            (json!([{"op": "test", "path": "/priority", "value": 1.0}]), json!({})),
            (json!([{"op": "test", "path": "/estimate", "value": null}]), json!({})),
            (json!([{"op": "add", "path": "/labels/-", "value": "c"}]), json!({"labels": ["a", "b", "c"]})),
            (json!([{"op": "add", "path": "/labels/0", "value": "c"}]), json!({"labels": ["c", "a", "b"]})),
            (json!([{"op": "remove", "path": "/labels/0"}]), json!({"labels": ["b"]})),
            (json!([{"op": "remove", "path": "/metadata/a~1b"}]), json!({"metadata.a/b": null})),
            (json!([{"op": "replace", "path": "/metadata/k/n", "value": 2}]), json!({"metadata.k": {"n": 2}})),
            (
                json!([{"op": "move", "from": "/metadata/k/n", "path": "/metadata/m"}]),
                json!({"metadata.k": {}, "metadata.m": 1}),
            ),
            (json!([{"op": "copy", "from": "/title", "path": "/intent"}]), json!({"intent": "t"})),
            (json!([{"op": "remove", "path": "/metadata"}]), json!({"metadata.k": null, "metadata.a/b": null})),
        ] {
            assert_eq!(outcome(patch.clone()), Ok(expected), "{patch}");
        }
    }

    #[test]
    fn what_does_not_apply_is_a_conflict_and_what_is_not_allowed_is_refused() {
        for patch in [
            json!([{"op": "test", "path": "/priority", "value": 2}]),
            json!([{"op": "remove", "path": "/labels/2"}]),
            json!([{"op": "add", "path": "/labels/01", "value": "x"}]),
            json!([{"op": "replace", "path": "/metadata/none", "value": 1}]),
            json!([{"op": "move", "from": "/metadata/k", "path": "/metadata/k/n"}]),
        ] {
            assert_eq!(outcome(patch.clone()), Err(Code::Conflict), "{patch}");
        }
        for patch in [
            json!({}),
            json!([{"op": "merge", "path": "/title"}]),
            json!([{"op": "add", "path": "", "value": {}}]),
            json!([{"op": "add", "path": "title", "value": "x"}]),
            json!([{"op": "replace", "path": "/status", "value": "completed"}]),
            json!([{"op": "replace", "path": "/owner", "value": "eve"}]),
            json!([{"op": "copy", "from": "/context/0", "path": "/intent"}]),
            json!([{"op": "replace", "path": "/priority", "value": 99}]),
            json!([{"op": "remove", "path": "/title"}]),
            json!([{"op": "replace", "path": "/title", "value": "a\nb"}]),
        ] {
            assert_eq!(outcome(patch.clone()), Err(Code::Validation), "{patch}");
        }
    }

    #[test]
    fn a_patch_that_doubles_a_value_again_and_again_is_stopped() {
        let double = |n: u32| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/x{n}")});
        assert_eq!(outcome((0..60).map(double).collect()), Err(Code::Conflict));
    }

    #[test]
    fn assignments_make_a_patch() {
        let patch = set(&["priority=3".into(), "labels=x, y".into(), "estimate=".into(), "metadata.k=[1]".into()]);
        let applied = apply(&task(), &patch.unwrap()).unwrap();
        assert_eq!(json!(applied), json!({"priority": 3, "labels": ["x", "y"], "metadata.k": [1]}));
        assert!(set(&["owner=eve".into()]).is_err() && set(&["priority".into()]).is_err());
    }
}
