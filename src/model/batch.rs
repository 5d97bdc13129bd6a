//! Several changes as one.
//!
//! Guarantees that a step is read like the operation it names, and that an error names the step by its number.
//! Leaves to others: deciding the steps (`rules::decide`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::command::Command;
use crate::model::id::quoted;

/// Make several changes at once: all of them or none
#[derive(clap::Args, Clone, Debug, Serialize, JsonSchema)]
pub struct Batch {
    /// The changes, in their order
    #[arg(skip)]
    pub ops: Vec<BatchOp>,
    /// Whether all of them are made or none; if not, each is made by itself and has an answer of its own
    #[arg(skip = true)]
    #[serde(default = "atomic")]
    pub atomic: bool,
    /// The steps that cannot be read, by their places among all, where each step is made by itself.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(skip)]
    #[arg(skip)]
    pub malformed: BTreeMap<usize, MalformedStep>,
}

/// A step of a batch that cannot be read.
#[derive(Clone, Debug, Serialize)]
pub struct MalformedStep {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Why.
    pub error: Error,
}

fn atomic() -> bool {
    true
}

impl Default for Batch {
    fn default() -> Self {
        Batch { ops: Vec::new(), atomic: true, malformed: BTreeMap::new() }
    }
}

/// One step of a batch.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(with = "Step")]
pub struct BatchOp {
    /// The name by which later steps refer to what this step creates, as `$name`.
    pub name: Option<String>,
    /// The change.
    pub command: Command,
}

/// A step of a batch as JSON.
#[derive(Serialize, JsonSchema)]
struct Step {
    /// The operation, such as task.create
    op: &'static str,
    /// The name by which later steps refer to what this step creates, as $name
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Its arguments
    args: Value,
}

impl Serialize for BatchOp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Step { op: self.command.op(), name: self.name.clone(), args: self.command.to_json() }.serialize(serializer)
    }
}

impl Batch {
    /// Reads a batch: an array of steps, or an object with `ops`.
    ///
    /// Errors: `ERR_USAGE` and `ERR_VALIDATION` with the number of the step; where each step is made by itself, it is the answer
    /// of that step alone.
    pub fn from_json(value: &Value) -> Result<Self> {
        let (steps, atomic) = match value {
            Value::Array(steps) => (steps, true),
            Value::Object(map) => {
                if let Some(key) = map.keys().find(|key| !["ops", "atomic"].contains(&key.as_str())) {
                    return Err(
                        Error::usage(format!("a batch has no key {}", quoted(key))).hint("its keys are ops and atomic")
                    );
                }
                let no_list = || Error::usage("there is no list \"ops\"").hint("see agentpm batch --help");
                let atomic = match map.get("atomic") {
                    None => true,
                    Some(Value::Bool(atomic)) => *atomic,
                    Some(_) => return Err(Error::usage("atomic is not true or false")),
                };
                (map.get("ops").and_then(Value::as_array).ok_or_else(no_list)?, atomic)
            }
            _ => return Err(Error::usage("it holds no operations").hint("see agentpm batch --help")),
        };
        let mut batch = Batch { atomic, ..Batch::default() };
        for (n, step) in steps.iter().enumerate() {
            match BatchOp::from_json(n + 1, step) {
                Ok(op) => batch.ops.push(op),
                Err(error) if !atomic => {
                    let name = step["as"].as_str().map(str::to_owned);
                    batch.malformed.insert(n, MalformedStep { name, error });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(batch)
    }
}

impl BatchOp {
    fn from_json(number: usize, step: &Value) -> Result<Self> {
        let wrong =
            |what: &str| Error::usage(format!("step {number}: {what}")).hint("a step has op, args and, if wanted, as");
        let map = step.as_object().ok_or_else(|| wrong("it is no object"))?;
        if let Some(key) = map.keys().find(|key| !["op", "as", "args", "data"].contains(&key.as_str())) {
            return Err(wrong(&format!("it has an unknown key {key:?}")));
        }
        let op = map.get("op").and_then(Value::as_str).ok_or_else(|| wrong("op is missing"))?;
        let name = map.get("as").map(|name| name.as_str().map(str::to_owned).ok_or_else(|| wrong("as is no name")));
        let args = map.get("args").or_else(|| map.get("data")).cloned();
        let args = args.unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        if map.contains_key("args") && map.contains_key("data") {
            return Err(wrong("args and data mean the same; it has both"));
        }
        let (op, args) = in_our_words(op, args);
        let command = match op {
            "batch" => return Err(wrong("a batch holds no other batch")),
            op => Command::from_json(op, args).map_err(|mut e| {
                e.message = format!("step {number}: {}", e.message);
                e
            })?,
        };
        Ok(BatchOp { name: name.transpose()?, command })
    }
}

/// The operation and arguments that other names for them stand for.
fn in_our_words(op: &str, mut args: Value) -> (&str, Value) {
    let known = [
        ("create_task", "task.create"),
        ("update_task", "task.update"),
        ("transition_task", "task.transition"),
        ("add_relationship", "task.relate"),
        ("remove_relationship", "task.unrelate"),
        ("add_progress", "progress.add"),
        ("complete_progress", "progress.complete"),
        ("add_context", "context.add"),
        ("acquire_lease", "lease.acquire"),
        ("renew_lease", "lease.renew"),
        ("release_lease", "lease.release"),
    ];
    let Some((theirs, ours)) = known.iter().find(|(theirs, _)| *theirs == op) else { return (op, args) };
    let key = match *theirs {
        "add_relationship" => Some(("from", "id")),
        "remove_relationship" => Some(("id", "relationship")),
        _ => None,
    };
    if let (Some((from, to)), Some(map)) = (key, args.as_object_mut())
        && !map.contains_key(to)
        && let Some(value) = map.shift_remove(from)
    {
        map.insert(to.to_owned(), value);
    }
    (ours, args)
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Batch::from_json(&Value::deserialize(deserializer)?).map_err(|e| serde::de::Error::custom(e.message))
    }
}
