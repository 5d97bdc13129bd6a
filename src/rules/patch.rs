//! What a JSON Patch (RFC 6902) may do to a task: change its plain fields.
//!
//! Guarantees that a patch changes the fields that `task update` writes and no other, whole or not at all, and that its size
//! bounds the work and the result. Its tests may look at all that `task.yaml` shows.
//! Leaves to others: what each operation does (the crate `json-patch`), whether the values are allowed (`rules::fields`), and
//! who may change them.

use json_patch::jsonptr::Pointer;
use json_patch::{Patch, PatchErrorKind, PatchOperation};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Code, Error, Result};
use crate::model::event::MAX_LINE;
use crate::model::field::{FIELDS, Form, field};
use crate::model::id::quoted;
use crate::model::payload::Fields;
use crate::model::relationship::Relationship;
use crate::model::task::Task;
use crate::model::thread::{Message, Thread};
use crate::model::time::{Time, When};
use crate::rules::fields;

/// The values that a patch gives the plain fields of a task, as an event writes them; empty if it changes nothing.
///
/// Errors: `ERR_VALIDATION` if it is no patch, names another path, or gives a value that no command writes; `ERR_CONFLICT`
/// with the operation that does not apply.
pub fn apply(task: &Task, patch: &Value) -> Result<Fields> {
    let operations = read(patch)?;
    let mut before = plain_fields(task);
    if operations.iter().any(|one| matches!(one, PatchOperation::Test(op) if !is_in_a_field(&op.path))) {
        add_parts(&mut before, task);
    }
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

/// The patch that sets a field to a value, written as `field=value`. A time may be relative to `now`.
///
/// Errors: `ERR_USAGE` and `ERR_VALIDATION`, naming the field.
pub fn set(assignments: &[String], now: Time) -> Result<Value> {
    let one = |text: &String| {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| Error::usage(format!("{} is not field=value", quoted(text))).hint("--set priority=3"))?;
        let (path, value) = match name.split_once('.') {
            Some(("metadata", key)) => (format!("/metadata/{}", escape(key)), any_json(value)),
            _ => (format!("/{}", escape(name)), value_of(name, value, now)?),
        };
        let op = if name.contains('.') { "add" } else { "replace" };
        Ok(json!({ "op": op, "path": path, "value": value }))
    };
    assignments.iter().map(one).collect::<Result<Vec<Value>>>().map(Value::Array)
}

fn value_of(name: &str, text: &str, now: Time) -> Result<Value> {
    let field = field(name).ok_or_else(|| not_a_field(name))?;
    if text.is_empty() {
        return Ok(Value::Null);
    }
    Ok(match field.form {
        Form::Priority | Form::Number | Form::Map => any_json(text),
        Form::Words | Form::Agents | Form::Criteria if text.starts_with('[') => any_json(text),
        Form::Words | Form::Agents => text.split(',').map(str::trim).collect(),
        Form::Criteria => json!([text]),
        Form::Time => json!(text.parse::<When>()?.from(now)),
        Form::Title | Form::Line | Form::Prose | Form::Type => json!(text),
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

fn read(patch: &Value) -> Result<Patch> {
    if patch.to_string().len() > MAX_LINE {
        return Err(Error::validation(format!("a patch holds at most {MAX_LINE} bytes")));
    }
    let operations = Patch::deserialize(patch).map_err(|e| {
        Error::validation(format!("it is not a JSON Patch: {}", crate::model::json::plain_words(&e.to_string())))
            .hint("a JSON Patch is a list such as [{\"op\": \"replace\", \"path\": \"/priority\", \"value\": 3}]")
    })?;
    if let Some(path) = operations.iter().flat_map(changing_paths).find(|path| !is_in_a_field(path)) {
        let name = first_part(path);
        return Err(not_a_field(if name.is_empty() { path.as_str() } else { &name }));
    }
    Ok(operations)
}

fn first_part(path: &Pointer) -> String {
    path.first().map(|first| first.decoded().into_owned()).unwrap_or_default()
}

/// Whether a path leads to a plain field.
fn is_in_a_field(path: &Pointer) -> bool {
    field(&first_part(path)).is_some()
}

/// The places from which and to which an operation takes a value; none of a test.
fn changing_paths(operation: &PatchOperation) -> impl Iterator<Item = &Pointer> {
    let place = (!matches!(operation, PatchOperation::Test(_))).then(|| operation.path());
    [source(operation), place].into_iter().flatten()
}

/// The place that an operation takes a value from.
fn source(operation: &PatchOperation) -> Option<&Pointer> {
    match operation {
        PatchOperation::Move(op) => Some(&op.from),
        PatchOperation::Copy(op) => Some(&op.from),
        PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Replace(_) | PatchOperation::Test(_) => {
            None
        }
    }
}

/// The plain fields of a task, each with a value, so that `replace` and `test` find what is empty.
fn plain_fields(task: &Task) -> Value {
    task.fields.entries().map(|(field, value)| (field.name.to_owned(), value.to_json())).collect()
}

/// Adds the rest of what `task.yaml` shows, which only tests may look at.
fn add_parts(document: &mut Value, task: &Task) {
    let edge = |edge: &Relationship| json!({ "id": edge.id, "type": edge.kind, "from": edge.from, "to": edge.to });
    let parts = json!({
        "id": task.id, "status": task.status, "owner": task.owner, "parent": task.parent(),
        "created_at": task.created_at, "created_by": task.created_by, "completed_at": task.completed_at,
        "cancelled_at": task.cancelled_at, "archived_at": task.archived_at, "verified": task.verified,
        "relationships": task.relationships.values().map(edge).collect::<Vec<Value>>(),
        "progress": task.progress.values().collect::<Vec<_>>(),
        "context": task.context.values().collect::<Vec<_>>(),
        "threads": task.threads.values().flat_map(messages).collect::<Vec<Value>>(),
    });
    if let (Value::Object(document), Value::Object(parts)) = (document, parts) {
        document.extend(parts);
    }
}

/// A thread and its replies.
fn messages(thread: &Thread) -> Vec<Value> {
    let message = |message: &Message| {
        let mut shown = json!({ "id": message.id, "author": message.author, "body": message.body });
        match message.id == thread.id {
            true => shown["status"] = json!(thread.status()),
            false => shown["thread"] = json!(thread.id),
        }
        shown
    };
    thread.messages().iter().map(message).collect()
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

fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// Applies one operation. `room` bounds the bytes that are written: copies of copies grow faster than the patch.
fn step(doc: &mut Value, operation: &PatchOperation, room: &mut usize) -> std::result::Result<(), String> {
    if let Some(value) = written(doc, operation) {
        let bytes = value.to_string().len();
        *room = room.checked_sub(bytes).ok_or_else(|| format!("it writes more than {MAX_LINE} bytes"))?;
    }
    if is_same_number(doc, operation) {
        return Ok(());
    }
    // A failed operation may leave part of a move behind, which the caller throws away with the document.
    json_patch::patch(doc, std::slice::from_ref(operation)).map_err(|e| match (e.kind, operation) {
        (PatchErrorKind::TestFailed, PatchOperation::Test(op)) => {
            let found = doc.pointer(op.path.as_str()).unwrap_or(&Value::Null);
            format!("it is {}, not {}", quoted(&found.to_string()), quoted(&op.value.to_string()))
        }
        (PatchErrorKind::InvalidPointer, _) => "there is no such value or place".into(),
        (PatchErrorKind::InvalidFromPointer, _) => {
            format!("there is no value at {}", quoted(source(operation).map_or("", |from| from.as_str())))
        }
        (PatchErrorKind::CannotMoveInsideItself, _) => "a value cannot be moved into itself".into(),
        (other, _) => other.to_string(),
    })
}

/// The value that an operation writes.
fn written<'v>(doc: &'v Value, operation: &'v PatchOperation) -> Option<&'v Value> {
    match operation {
        PatchOperation::Add(op) => Some(&op.value),
        PatchOperation::Replace(op) => Some(&op.value),
        PatchOperation::Move(_) | PatchOperation::Copy(_) => doc.pointer(source(operation)?.as_str()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    }
}

/// Whether a test compares two forms of one number, such as 1 and 1.0: equal by the standard, different by the crate.
fn is_same_number(doc: &Value, operation: &PatchOperation) -> bool {
    let PatchOperation::Test(op) = operation else { return false };
    match (doc.pointer(op.path.as_str()), &op.value) {
        (Some(Value::Number(a)), Value::Number(b)) => (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64(),
        _ => false,
    }
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
            json!([{"op": "move", "from": "/metadata/k", "path": "/metadata/none/n"}]),
            json!([{"op": "remove", "path": "/labels/-"}]),
            json!([{"op": "add", "path": "/title/x", "value": "x"}]),
            json!([{"op": "copy", "from": "/metadata/none", "path": "/intent"}]),
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
    fn a_test_may_look_at_all_of_the_task_but_nothing_else_may() {
        let test = |path: &str, value: Value| json!([{"op": "test", "path": path, "value": value}, {"op": "replace", "path": "/priority", "value": 2}]);
        for (path, value) in [("/status", json!("open")), ("/owner", Value::Null), ("/progress", json!([]))] {
            assert_eq!(outcome(test(path, value)), Ok(json!({"priority": 2})), "{path}");
        }
        assert_eq!(outcome(test("/status", json!("blocked"))), Err(Code::Conflict));
        assert_eq!(outcome(test("/nothing", json!(1))), Err(Code::Conflict));
    }

    #[test]
    fn a_patch_that_doubles_a_value_again_and_again_is_stopped() {
        let double = |n: u32| json!({"op": "copy", "from": "/metadata", "path": format!("/metadata/x{n}")});
        assert_eq!(outcome((0..60).map(double).collect()), Err(Code::Conflict));
    }

    #[test]
    fn a_failed_patch_says_which_operation_failed_and_why() {
        let patch = json!([
            {"op": "remove", "path": "/labels/0"},
            {"op": "test", "path": "/priority", "value": 2},
        ]);
        let error = apply(&task(), &patch).unwrap_err();
        assert!(error.message.contains("operation 2") && error.message.contains("it is \"1\", not \"2\""), "{error:?}");
        assert_eq!((&error.details["operation"], &error.details["failed"]["op"]), (&json!(2), &json!("test")));
    }

    #[test]
    fn names_that_mean_something_elsewhere_are_plain_entries_of_the_metadata() {
        for name in ["__proto__", "constructor", "..", "-", "0"] {
            let patch = json!([{"op": "add", "path": format!("/metadata/{name}"), "value": {"x": 1}}]);
            assert_eq!(outcome(patch), Ok(json!({ (format!("metadata.{name}")): {"x": 1} })), "{name}");
        }
    }

    #[test]
    fn assignments_make_a_patch() {
        let now = Time::from_millis(0);
        let texts = ["priority=3", "labels=x, y", "estimate=", "metadata.k=[1]", "due=+3d"].map(str::to_owned);
        let patch = set(&texts, now);
        let applied = apply(&task(), &patch.unwrap()).unwrap();
        assert_eq!(
            json!(applied),
            json!({"priority": 3, "labels": ["x", "y"], "metadata.k": [1], "due": "1970-01-04T00:00:00Z"})
        );
        for refused in ["owner=eve", "priority", "due=soon"] {
            assert!(set(&[refused.to_owned()], now).is_err(), "{refused}");
        }
    }
}
