//! Hand edits: turns the changes that a person made to a task's file into the events of the commands that would have made
//! them.
//!
//! Guarantees that every difference is either decided by the rules of its command, or refused with its key and what would be
//! allowed; none is skipped. A key that follows from others (`completed_at`, the order of the parts) cannot be edited and
//! makes no event.
//! Leaves to others: files, lines, and which events the writer had seen (the stage knows).

mod begin;
mod edges;
mod entries;
mod names;
mod plain;
mod state;
mod threads;

pub use begin::begin;
pub use entries::step;
pub use names::{is_foreign, is_text};

use self::names::check_entry;

use serde_json::{Map, Value, json};

use super::guard::{Permit, permit_id};
use crate::error::{Code, Error};
use crate::model::args::Text;
use crate::model::command::Guard;
use crate::model::id::{Id, quoted};
use crate::rules::copies::HAND_EDIT;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// A key that no task has, but that a person may write for short: tasks that must be finished first.
pub const BLOCKED_BY: &str = "blocked_by";

/// The length of a date as text, `2026-11-20`.
const DATE: usize = 10;

/// A document by its keys.
pub type Doc = Map<String, Value>;

/// Why an edit is refused, and where it is in the file.
#[derive(Debug)]
pub struct Misfit {
    /// The key at the top of the file.
    pub key: String,
    /// The entry of its list, from 0.
    pub entry: Option<usize>,
    /// The refusal.
    pub error: Error,
}

/// The result of deciding a part of an edit.
pub type EditResult<T = ()> = Result<T, Box<Misfit>>;

/// Emits the events that lead from `old` to `new`, both a task's file by its keys. Returns the keys that differ.
///
/// Errors: the first refusal of the rules; the caller must then discard what was emitted before.
pub fn edit(stage: &mut dyn Stage, id: Id, old: &Doc, new: &Doc) -> EditResult<Vec<String>> {
    let changed: Vec<String> = changed_keys(old, new);
    for key in &changed {
        check_key(key, &changed, old, new).map_err(misfit(key, None))?;
    }
    let mut edit = Edit { stage, id, old, new, changed: &changed };
    edit.fields()?;
    edit.edges()?;
    edit.progress()?;
    edit.context()?;
    edit.threads()?;
    edit.criteria()?;
    edit.verified()?;
    edit.status()?;
    edit.unknown()?;
    Ok(changed)
}

/// The keys whose values differ, in the order of the newer document, then the removed ones.
fn changed_keys(old: &Doc, new: &Doc) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    new.keys().chain(gone).filter(|key| differs(key, old.get(*key), new.get(*key))).cloned().collect()
}

/// Whether two values of a key differ. Parts with ids are a set: their order has no meaning.
pub fn differs(key: &str, old: Option<&Value>, new: Option<&Value>) -> bool {
    let by_id = |value: &Value| {
        let mut parts: Vec<Value> = value.as_array().cloned().unwrap_or_default();
        parts.sort_by_key(|part| part["id"].as_str().map(str::to_owned));
        parts
    };
    match (key, old, new) {
        ("relationships" | "progress" | "context" | "threads", Some(Value::Array(_)), Some(Value::Array(_))) => {
            old.map(by_id) != new.map(by_id)
        }
        // An empty list or text equals no value.
        (_, None | Some(Value::Null), None | Some(Value::Null)) => false,
        (_, None, Some(Value::Array(list))) | (_, Some(Value::Array(list)), None) => !list.is_empty(),
        _ => old != new,
    }
}

/// Refuses keys that cannot be edited.
fn check_key(key: &str, changed: &[String], old: &Doc, new: &Doc) -> Result<(), Error> {
    let follows = |from: &str| changed.iter().any(|key| key == from);
    match key {
        "id" => Err(Error::validation("id cannot be changed: it is the name of the task's folder and log")
            .hint("restore the old id; write another task in a file of its own")),
        "created_at" | "created_by" => Err(Error::validation(format!("{key} cannot be changed"))
            .hint("restore the old value; other facts fit under metadata")),
        "completed_at" | "cancelled_at" | "archived_at" if !follows("status") => {
            Err(Error::validation(format!("{key} follows from the status and cannot be changed alone"))
                .hint("restore the old value, or change the status"))
        }
        // A key that was kept before stays allowed.
        key if new.contains_key(key) && !old.contains_key(key) => names::check(key),
        _ => Ok(()),
    }
}

/// An edit that is being decided.
struct Edit<'a> {
    stage: &'a mut dyn Stage,
    id: Id,
    old: &'a Doc,
    new: &'a Doc,
    changed: &'a [String],
}

impl Edit<'_> {
    fn is_changed(&self, key: &str) -> bool {
        self.changed.iter().any(|changed| changed == key)
    }

    /// The task under the actor's lease, for a change that requires this right.
    fn permit(&mut self, verb: Verb) -> Result<Permit, Error> {
        permit_id(self.stage, self.id, &guard(), verb)
    }

    /// Refuses times and names that agentpm sets when it records the change. Equal values, and those that were there before,
    /// are allowed.
    fn check_recorded(&self, entry: &Doc, before: Option<&Doc>, times: &[&str], names: &[&str]) -> Result<(), Error> {
        let (now, me) = (self.stage.now().to_string(), self.stage.me().agent.clone());
        for key in times.iter().chain(names) {
            let Some(said) = entry.get(*key).filter(|said| !said.is_null()) else { continue };
            if before.and_then(|before| before.get(*key)) == Some(said) {
                continue;
            }
            let text = words(said).unwrap_or_default();
            let (same, what) = match times.contains(key) {
                true => (
                    text == now || (text.len() == DATE && now.starts_with(&text)),
                    format!("the time at which it is recorded, {now}"),
                ),
                false => (text == me, format!("the agent that records it, here {me}")),
            };
            if !same {
                let other = if times.contains(key) {
                    "write another time in a note"
                } else {
                    "choose another agent with --agent"
                };
                return Err(Error::validation(format!("{key} is {what}; a hand edit cannot set it"))
                    .with(json!({ "key": key }))
                    .hint(format!("remove {key}; {other}")));
            }
        }
        Ok(())
    }

    /// The old and new entries of a list. A single entry counts as a list.
    fn lists(&self, key: &str) -> (Vec<Value>, Vec<Value>) {
        (list(self.old.get(key)), list(self.new.get(key)))
    }
}

/// The entries of a list. A single entry counts as a list.
pub fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// The guard of a change made by hand.
fn guard() -> Guard {
    Guard { why: Some(Text(HAND_EDIT.into())), ..Guard::default() }
}

/// Adds the place in the file to a refusal.
fn misfit(key: &str, entry: Option<usize>) -> impl Fn(Error) -> Box<Misfit> {
    let key = key.to_owned();
    move |error| Box::new(Misfit { key: key.clone(), entry, error })
}

/// A value as text: a number or boolean that a person wrote unquoted in place of a text.
pub fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // A fraction is not written back as it was: 1.10 becomes 1.1.
        Value::Number(number) if !number.is_f64() => Some(value.to_string()),
        Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// Advice for a value that should be a text.
fn in_quotes(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "; quote a number",
        Value::Array(_) => ", not a list",
        _ => ", not a mapping",
    }
}

/// The text of an entry; empty if it has none.
fn content(value: Option<&Value>) -> Result<String, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(String::new()) };
    words(value).ok_or_else(|| match value {
        Value::Number(_) => {
            Error::validation(format!("{value} may be written back differently")).hint("quote a number")
        }
        _ => Error::validation(format!("an entry must be a text{}", in_quotes(value))),
    })
}

/// The refusal of an entry whose id the task does not have.
fn unknown_id(id: &Value) -> Error {
    let said = id.as_str().map_or_else(|| id.to_string(), quoted);
    Error::new(Code::NotFound, format!("no entry here has the id {said}"))
        .hint("remove the id of a new entry: agentpm chooses one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_parts_and_an_empty_list_have_no_meaning() {
        let doc = |value: Value| value.as_object().unwrap().clone();
        let old = doc(json!({"progress": [{"id": "1"}, {"id": "2"}], "labels": ["a", "b"]}));
        let new = doc(json!({"progress": [{"id": "2"}, {"id": "1"}], "labels": ["b", "a"], "files": []}));
        assert_eq!(changed_keys(&old, &new), ["labels"]);
    }
}
