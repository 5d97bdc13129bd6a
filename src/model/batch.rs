//! Several changes as one.
//!
//! Guarantees that a step is read like the operation it names, and that an error names the step by its number.
//! Leaves to others: deciding the steps (`rules::decide`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::command::Command;

/// Make several changes at once: all of them or none
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Batch {
    /// The changes, in their order
    pub ops: Vec<BatchOp>,
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
    /// Errors: `ERR_USAGE` and `ERR_VALIDATION` with the number of the step.
    pub fn from_json(value: &Value) -> Result<Self> {
        let steps = match value {
            Value::Array(steps) => steps,
            Value::Object(map) => map
                .get("ops")
                .and_then(Value::as_array)
                .ok_or_else(|| Error::usage("there is no list \"ops\"").hint("see agentpm batch --help"))?,
            _ => return Err(Error::usage("it holds no operations").hint("see agentpm batch --help")),
        };
        let ops = steps.iter().enumerate().map(|(n, step)| BatchOp::from_json(n + 1, step));
        ops.collect::<Result<_>>().map(|ops| Batch { ops })
    }
}

impl BatchOp {
    fn from_json(number: usize, step: &Value) -> Result<Self> {
        let wrong =
            |what: &str| Error::usage(format!("step {number}: {what}")).hint("a step has op, args and, if wanted, as");
        let map = step.as_object().ok_or_else(|| wrong("it is no object"))?;
        if let Some(key) = map.keys().find(|key| !["op", "as", "args"].contains(&key.as_str())) {
            return Err(wrong(&format!("it has an unknown key {key:?}")));
        }
        let op = map.get("op").and_then(Value::as_str).ok_or_else(|| wrong("op is missing"))?;
        let name = map.get("as").map(|name| name.as_str().map(str::to_owned).ok_or_else(|| wrong("as is no name")));
        let args = map.get("args").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
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

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Batch::from_json(&Value::deserialize(deserializer)?).map_err(|e| serde::de::Error::custom(e.message))
    }
}
