//! Compares what a source says of a task with what it said last and with what the task has.
//!
//! A source is a plan file or an import. Its memory is in the task (`Task::sources`), so it travels and merges with git.
//! Guarantees that only what the source changed since then is changed, and that a value that both changed stays.
//! Leaves to others: reading the source, and making the changes.

use serde_json::{Value, json};

use crate::model::field::TaskFields;
use crate::model::payload::Fields;
use crate::rules::fields::{NAMES, value_of};

/// The result for one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Merged {
    /// The task keeps its value.
    Keep,
    /// The task gets this value.
    Set(Value),
    /// Both changed it; the task keeps its value.
    Conflict,
}

/// Compares three values: what the source said last, what it says now, and what the task has. Lists are compared by entry:
/// what the source added is added, what it removed is removed, and what others added stays.
pub fn merge(base: &Value, said: &Value, stored: &Value) -> Merged {
    if said == base || said == stored {
        return Merged::Keep;
    }
    match (base, said, stored) {
        (Value::Array(base), Value::Array(said), Value::Array(stored)) => {
            let stays = |entry: &&Value| !base.contains(entry) || said.contains(entry);
            let is_new = |entry: &&Value| !base.contains(entry) && !stored.contains(entry);
            let merged: Vec<&Value> = stored.iter().filter(stays).chain(said.iter().filter(is_new)).collect();
            if merged.iter().copied().eq(stored) { Merged::Keep } else { Merged::Set(json!(merged)) }
        }
        _ if stored == base => Merged::Set(said.clone()),
        _ => Merged::Conflict,
    }
}

/// A plain field of what a source said; the value of an empty field if it said nothing. `metadata.<name>` is an entry.
pub fn said_value(said: &Fields, name: &str) -> Value {
    let given = match name.strip_prefix("metadata.") {
        Some(key) => said.get("metadata").and_then(|map| map.get(key)),
        None => said.get(name),
    };
    given.cloned().unwrap_or_else(|| value_of(&TaskFields::default(), name))
}

/// The registers of the plain fields that either of two statements may set: every entry of the metadata is one.
pub fn registers(one: &Fields, other: &Fields) -> Vec<String> {
    let mut names: Vec<String> = NAMES.iter().filter(|name| **name != "metadata").map(ToString::to_string).collect();
    let entries = [one, other].into_iter().filter_map(|said| said.get("metadata")?.as_object());
    for key in entries.flat_map(|map| map.keys()) {
        let name = format!("metadata.{key}");
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The plain fields of a task that are not empty, as a source would say them.
pub fn fields_of(fields: &TaskFields) -> Fields {
    let empty = TaskFields::default();
    let mut said = Fields::new();
    for name in NAMES {
        let value = value_of(fields, name);
        if value != value_of(&empty, name) {
            said.insert((*name).to_owned(), value);
        }
    }
    // Where the task comes from is not what its source says of it.
    if let Some(metadata) = said.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("origin");
        if metadata.is_empty() {
            said.shift_remove("metadata");
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_source_changed_is_changed() {
        for (base, said, stored, merged) in [
            (json!("a"), json!("a"), json!("b"), Merged::Keep),
            (json!("a"), json!("b"), json!("b"), Merged::Keep),
            (json!("a"), json!("b"), json!("a"), Merged::Set(json!("b"))),
            (json!("a"), json!("b"), json!("c"), Merged::Conflict),
            (json!("a"), json!(null), json!("a"), Merged::Set(json!(null))),
        ] {
            assert_eq!(merge(&base, &said, &stored), merged, "{base} {said} {stored}");
        }
    }

    #[test]
    fn lists_are_merged_by_entry() {
        for (base, said, stored, merged) in [
            (json!(["a"]), json!(["a"]), json!(["a", "x"]), Merged::Keep),
            (json!(["a"]), json!(["a", "b"]), json!(["a", "x"]), Merged::Set(json!(["a", "x", "b"]))),
            (json!(["a", "b"]), json!(["b"]), json!(["a", "b", "x"]), Merged::Set(json!(["b", "x"]))),
            (json!(["a", "b"]), json!(["b", "a"]), json!(["b"]), Merged::Keep),
            (json!([]), json!(["a"]), json!(["a", "x"]), Merged::Keep),
        ] {
            assert_eq!(merge(&base, &said, &stored), merged, "{base} {said} {stored}");
        }
    }
}
