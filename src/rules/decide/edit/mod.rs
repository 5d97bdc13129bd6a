//! Hand edits: what a person wrote into a task's file becomes the events of the commands that would have written it.
//!
//! Promises: every difference between what the file said and what it says now is either decided by the rules of its command, or
//! refused with the key it stands under and what would be allowed; nothing is passed over. A key that follows from others
//! (`completed_at`, the order of the parts) is not for a person to write and makes no event.
//! Refuses to know: files, lines, and which events the writer had seen (the stage knows).

mod begin;
mod edges;
mod entries;
mod names;
mod plain;
mod state;

pub use begin::begin;
pub use entries::step;
pub use names::{is_foreign, is_text};

use self::names::check_entry;

use serde_json::{Map, Value, json};

use super::guard::{Permit, permit_id};
use crate::error::{Code, Error};
use crate::model::command::Guard;
use crate::model::id::{Id, quoted};
use crate::model::words::Text;
use crate::rules::copies::HAND_EDIT;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// Keys that no task has but that a person may write for short: tasks that must be finished first.
pub const BLOCKED_BY: &str = "blocked_by";

/// How long a day is in words, `2026-11-20`.
const DATE: usize = 10;

/// A document by its keys.
pub type Doc = Map<String, Value>;

/// Why an edit is refused, and where it stands.
#[derive(Debug)]
pub struct Misfit {
    /// The key at the top of the file.
    pub key: String,
    /// Which entry of the list beneath it, from 0.
    pub entry: Option<usize>,
    /// The refusal.
    pub error: Error,
}

/// What comes of a part of an edit.
pub type Judged<T = ()> = Result<T, Box<Misfit>>;

/// Makes the events that lead from `old` to `new`, both a task's file by its keys, on the stage. Gives the keys that differ.
///
/// Errors: the first thing that the rules do not allow; whatever was emitted before it must then be thrown away.
pub fn edit(stage: &mut dyn Stage, id: Id, old: &Doc, new: &Doc) -> Judged<Vec<String>> {
    let changed: Vec<String> = changed_keys(old, new);
    for key in &changed {
        check_key(key, &changed, old, new).map_err(misfit(key, None))?;
    }
    let mut edit = Edit { stage, id, old, new, changed: &changed };
    edit.fields()?;
    edit.edges()?;
    edit.progress()?;
    edit.context()?;
    edit.criteria()?;
    edit.verified()?;
    edit.status()?;
    edit.unknown()?;
    Ok(changed)
}

/// The keys under which two documents say something different, in the order of the newer one, then those that are gone.
fn changed_keys(old: &Doc, new: &Doc) -> Vec<String> {
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    new.keys().chain(gone).filter(|key| differs(key, old.get(*key), new.get(*key))).cloned().collect()
}

/// Whether two values of a key say something different. Parts that have ids are a set: their order says nothing.
pub fn differs(key: &str, old: Option<&Value>, new: Option<&Value>) -> bool {
    let by_id = |value: &Value| {
        let mut parts: Vec<Value> = value.as_array().cloned().unwrap_or_default();
        parts.sort_by_key(|part| part["id"].as_str().map(str::to_owned));
        parts
    };
    match (key, old, new) {
        ("relationships" | "progress" | "context", Some(Value::Array(_)), Some(Value::Array(_))) => {
            old.map(by_id) != new.map(by_id)
        }
        // An empty list or word is no value.
        (_, None | Some(Value::Null), None | Some(Value::Null)) => false,
        (_, None, Some(Value::Array(list))) | (_, Some(Value::Array(list)), None) => !list.is_empty(),
        _ => old != new,
    }
}

/// Refuses keys that nobody writes by hand.
fn check_key(key: &str, changed: &[String], old: &Doc, new: &Doc) -> Result<(), Error> {
    let follows = |from: &str| changed.iter().any(|key| key == from);
    match key {
        "id" => Err(Error::validation("id cannot be changed: it is the name of the task's folder and log")
            .hint("put the old id back; for another task write a file of its own")),
        "created_at" | "created_by" => Err(Error::validation(format!("{key} cannot be changed: it was so"))
            .hint("put the old value back; what else is worth knowing fits under metadata")),
        "completed_at" | "cancelled_at" | "archived_at" if !follows("status") => {
            Err(Error::validation(format!("{key} follows from the status and cannot be changed alone"))
                .hint("put the old value back, or change the status"))
        }
        // One that was kept before is there to stay.
        key if new.contains_key(key) && !old.contains_key(key) => names::check(key),
        _ => Ok(()),
    }
}

/// One edit on its way.
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

    /// The task under the actor's lease, for a change that asks for this right.
    fn permit(&mut self, verb: Verb) -> Result<Permit, Error> {
        permit_id(self.stage, self.id, &guard(), verb)
    }

    /// Refuses times and names that a person wrote where agentpm writes who records it and when. Such as say the same may stand,
    /// and so may those that stood there before.
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
                    format!("when it is recorded, {now}"),
                ),
                false => (text == me, format!("who records it, here {me}")),
            };
            if !same {
                let other =
                    if times.contains(key) { "say another time in a note" } else { "give another with --agent" };
                return Err(Error::validation(format!("{key} is {what}, and not for a hand edit to say"))
                    .with(json!({ "key": key }))
                    .hint(format!("leave {key} out; {other}")));
            }
        }
        Ok(())
    }

    /// The entries of a list before and now. One entry alone is a list too.
    fn lists(&self, key: &str) -> (Vec<Value>, Vec<Value>) {
        (list(self.old.get(key)), list(self.new.get(key)))
    }
}

/// The entries of a list. One entry alone is a list too.
pub fn list(value: Option<&Value>) -> Vec<Value> {
    match value {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(one) => vec![one.clone()],
    }
}

/// What a change made by hand carries besides.
fn guard() -> Guard {
    Guard { why: Some(Text(HAND_EDIT.into())), ..Guard::default() }
}

/// Puts a refusal where it belongs.
fn misfit(key: &str, entry: Option<usize>) -> impl Fn(Error) -> Box<Misfit> {
    let key = key.to_owned();
    move |error| Box::new(Misfit { key: key.clone(), entry, error })
}

/// A value as text: a number or truth value that a person wrote bare where words belong.
pub fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        // A fraction does not come back as it was written: 1.10 is 1.1.
        Value::Number(number) if !number.is_f64() => Some(value.to_string()),
        Value::Bool(_) => Some(value.to_string()),
        _ => None,
    }
}

/// What helps where a text belongs and something else stands.
fn in_quotes(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "; put a number in quotes",
        Value::Array(_) => ", not a list",
        _ => ", not a mapping",
    }
}

/// The words of an entry; none where it has none.
fn content(value: Option<&Value>) -> Result<String, Error> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(String::new()) };
    words(value).ok_or_else(|| match value {
        Value::Number(_) => Error::validation(format!("{value} may stand there otherwise than it would come back"))
            .hint("put a number in quotes"),
        _ => Error::validation(format!("an entry must be a text{}", in_quotes(value))),
    })
}

/// An entry whose id the task does not have.
fn unknown_id(id: &Value) -> Error {
    let said = id.as_str().map_or_else(|| id.to_string(), quoted);
    Error::new(Code::NotFound, format!("no entry here has the id {said}"))
        .hint("leave the id out of a new entry: agentpm gives it one")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_parts_and_an_empty_list_say_nothing() {
        let doc = |value: Value| value.as_object().unwrap().clone();
        let old = doc(json!({"progress": [{"id": "1"}, {"id": "2"}], "labels": ["a", "b"]}));
        let new = doc(json!({"progress": [{"id": "2"}, {"id": "1"}], "labels": ["b", "a"], "files": []}));
        assert_eq!(changed_keys(&old, &new), ["labels"]);
    }
}
