//! The tools: their definitions, and the call that a use of one stands for.
//!
//! Guarantees that every operation which the table gives to a tool can be called through it: the usual one by its arguments alone,
//! the others by their name in `op`.
//! Leaves to others: what an operation does (`api`), and the protocol (`super`).

use std::borrow::Cow;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};

use crate::api::{self, Call};
use crate::error::{Error, Result};

/// A tool as the client sees it, without what follows from the operation table.
struct Definition {
    name: &'static str,
    description: &'static str,
    /// Its usual arguments: name, JSON type, and what else must be said.
    arguments: &'static [(&'static str, &'static str, &'static str)],
    /// It changes nothing.
    reads: bool,
    /// To use it twice is to use it once.
    repeats: bool,
}

/// In the order in which an agent meets them. All of them together must fit into 1,500 tokens.
const TOOLS: [Definition; 10] = [
    Definition {
        name: "next",
        description: "Claim the best ready task (default), task `id`, or only show it (claim false). `wait`, as 10m, waits.",
        arguments: &[
            ("id", "string", ""),
            ("claim", "boolean", ""),
            ("wait", "string", ""),
            ("another", "boolean", ""),
        ],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "brief",
        description: "All you need to know about a task (default: yours).",
        arguments: &[("task_id", "string", ""), ("max_tokens", "integer", "")],
        reads: true,
        repeats: true,
    },
    Definition {
        name: "find",
        description: "Show task `id`, or list tasks by `query`: words, status:open, owner:me, is:ready, label:x. Other lists by `op`.",
        arguments: &[
            ("id", "string", ""),
            ("query", "string", ""),
            ("limit", "integer", ""),
            ("cursor", "string", ""),
            ("all", "boolean", ""),
        ],
        reads: true,
        repeats: true,
    },
    Definition {
        name: "plan",
        description: "Create a task by `title`, apply a whole `plan` (YAML), or `ops` in one step.",
        arguments: &[
            ("title", "string", ""),
            ("intent", "string", ""),
            ("acceptance", "array", ""),
            ("blocked_by", "array", ""),
            ("plan", "string", ""),
            ("ops", "array", ""),
        ],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "update",
        description: "Set fields of a task, or its `status`.",
        arguments: &[
            ("id", "string", ""),
            ("status", "string", ""),
            ("priority", "integer", ""),
            ("why", "string", ""),
        ],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "record",
        description: "Note `content` on a task (default: yours): type decision, attempt, outcome, note or step; `done`: steps completed.",
        arguments: &[
            ("task_id", "string", ""),
            ("content", "string", ""),
            ("type", "string", ""),
            ("done", "array", ""),
        ],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "finish",
        description: "Complete your task with its `outcome`. all_met: every criterion holds. op release gives it back.",
        arguments: &[("task_id", "string", ""), ("outcome", "string", ""), ("all_met", "boolean", "")],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "discuss",
        description: "Open a thread on a task, answer `thread`, or resolve it (resolution accept, reject). `set` proposes field=value.",
        arguments: &[
            ("task_id", "string", ""),
            ("thread", "string", ""),
            ("body", "string", ""),
            ("set", "array", ""),
            ("resolution", "string", ""),
        ],
        reads: false,
        repeats: false,
    },
    Definition {
        name: "inbox",
        description: "What concerns you and is unread. `ack`, a cursor or ids of items, marks it read. `wait`, as 10m, waits.",
        arguments: &[("ack", "array", ""), ("wait", "string", "")],
        reads: false,
        repeats: true,
    },
    Definition {
        name: "sync",
        description: "Commit the plan, merge the upstream, push. plan true only shows.",
        arguments: &[("plan", "boolean", "")],
        reads: false,
        repeats: true,
    },
];

/// The names of the operations that a tool offers, in the order of the table.
fn operations(tool: &str) -> impl Iterator<Item = &'static str> {
    api::OPERATIONS.iter().filter(move |operation| operation.tool == Some(tool)).map(|operation| operation.name)
}

/// The tools, in a fixed order.
pub(super) fn list() -> Vec<Tool> {
    TOOLS.iter().map(tool).collect()
}

fn tool(definition: &Definition) -> Tool {
    let Definition { name, description, arguments, reads, repeats } = definition;
    let mut properties = JsonObject::new();
    for (name, kind, description) in *arguments {
        let mut schema = json!({ "type": kind });
        if !description.is_empty() {
            schema["description"] = json!(description);
        }
        properties.insert((*name).to_owned(), schema);
    }
    let ops: Vec<&str> = operations(name).collect();
    if ops.len() > 1 {
        properties.insert("op".into(), json!({ "enum": ops }));
    }
    let mut annotations = ToolAnnotations::new();
    if *reads {
        annotations = annotations.read_only(true);
    } else {
        annotations = annotations.destructive(false);
        if *repeats {
            annotations = annotations.idempotent(true);
        }
    }
    let input = object(json!({ "type": "object", "properties": properties }));
    Tool::new(Cow::from(*name), Cow::from(*description), Arc::new(input))
        .with_raw_output_schema(Arc::new(object(json!({ "type": "object" }))))
        .with_annotations(annotations)
}

fn object(value: Value) -> JsonObject {
    match value {
        Value::Object(map) => map,
        _ => JsonObject::new(),
    }
}

/// Whether there is such a tool.
pub(super) fn exists(name: &str) -> bool {
    TOOLS.iter().any(|tool| tool.name == name)
}

/// The call that a use of a tool stands for.
///
/// Errors: `ERR_USAGE` for an operation that the tool does not offer, and those of [`Call::from_json`].
pub(super) fn call(tool: &str, mut arguments: JsonObject) -> Result<Call> {
    let op = match arguments.remove("op") {
        Some(Value::String(op)) => op,
        Some(other) => return Err(Error::usage(format!("op is the name of an operation, not {other}"))),
        None => usual(tool, &mut arguments).to_owned(),
    };
    if !operations(tool).any(|offered| offered == op) {
        let offered = operations(tool).collect::<Vec<_>>().join(", ");
        return Err(Error::usage(format!("the tool {tool} does not offer {op:?}")).hint(format!("it offers {offered}")));
    }
    Call::from_json(&op, Value::Object(arguments))
}

/// The operation that the arguments mean, which are put into its form.
fn usual(tool: &str, arguments: &mut JsonObject) -> &'static str {
    let has = |arguments: &JsonObject, name: &str| arguments.get(name).is_some_and(|value| !value.is_null());
    match tool {
        "next" if has(arguments, "wait") => {
            arguments.entry("claim").or_insert(json!(true));
            "next.wait"
        }
        "next" => match arguments.remove("claim") {
            Some(Value::Bool(false)) => "next",
            _ => "claim",
        },
        "brief" => "brief",
        "find" if has(arguments, "id") => "task.get",
        "find" => "task.list",
        "plan" if has(arguments, "ops") => "batch",
        "plan" if has(arguments, "title") => "task.create",
        "plan" => "plan.apply",
        "update" if has(arguments, "status") => "task.transition",
        "update" => "task.update",
        "record" if has(arguments, "done") => {
            let steps = arguments.remove("done").unwrap_or_default();
            arguments.insert("id".into(), steps);
            "progress.complete"
        }
        "record" if arguments.get("type").is_some_and(|kind| kind == "step") => {
            arguments.remove("type");
            "progress.add"
        }
        "record" => "context.add",
        "finish" => "done",
        "discuss" if has(arguments, "resolution") => "thread.resolve",
        "discuss" if has(arguments, "thread") && has(arguments, "body") => "thread.reply",
        "discuss" if has(arguments, "thread") => "thread.show",
        "discuss" if has(arguments, "body") => "thread.open",
        "discuss" => "thread.list",
        "inbox" if has(arguments, "ack") => {
            let items = arguments.remove("ack").unwrap_or_default();
            arguments.insert("items".into(), items);
            "inbox.ack"
        }
        "inbox" if has(arguments, "wait") => "inbox.wait",
        "inbox" => "inbox",
        _ => "sync",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_tools_are_those_of_the_table() {
        let named: BTreeSet<&str> = api::OPERATIONS.iter().filter_map(|operation| operation.tool).collect();
        let defined: BTreeSet<&str> = TOOLS.iter().map(|tool| tool.name).collect();
        assert_eq!(named, defined);
    }

    #[test]
    fn all_definitions_together_fit_into_1500_tokens() {
        let text = serde_json::to_string(&list()).unwrap();
        // JSON of short English words has more than three and a half bytes a token in the usual vocabularies.
        assert!(text.len() * 2 / 7 < 1_500, "{} bytes: {text}", text.len());
    }

    #[test]
    fn a_use_of_a_tool_is_the_operation_that_its_arguments_mean() {
        let name = |tool: &str, arguments: Value| call(tool, object(arguments)).map(|call| call.name().to_owned());
        for (tool, arguments, meant) in [
            ("next", json!({}), "claim"),
            ("next", json!({ "claim": false }), "next"),
            ("next", json!({ "wait": "10s" }), "next.wait"),
            ("find", json!({ "id": "ABCDEF" }), "task.get"),
            ("find", json!({ "query": "is:ready" }), "task.list"),
            ("find", json!({ "op": "status" }), "status"),
            ("plan", json!({ "title": "One" }), "task.create"),
            ("plan", json!({ "plan": "plan: a\ntasks: []" }), "plan.apply"),
            ("update", json!({ "id": "ABCDEF", "priority": 2 }), "task.update"),
            ("update", json!({ "id": "ABCDEF", "status": "blocked" }), "task.transition"),
            ("record", json!({ "content": "so it is", "type": "decision" }), "context.add"),
            ("record", json!({ "content": "first this", "type": "step" }), "progress.add"),
            ("record", json!({ "done": ["ABCDEF"] }), "progress.complete"),
            ("finish", json!({ "outcome": "it works" }), "done"),
            ("finish", json!({ "op": "release" }), "release"),
            ("discuss", json!({ "task_id": "ABCDEF", "body": "why?" }), "thread.open"),
            ("discuss", json!({ "thread": "ABCDEF", "body": "so" }), "thread.reply"),
            ("discuss", json!({ "thread": "ABCDEF", "resolution": "accept" }), "thread.resolve"),
            ("inbox", json!({}), "inbox"),
            ("sync", json!({ "plan": true }), "sync"),
        ] {
            assert_eq!(name(tool, arguments.clone()).unwrap(), meant, "{tool} {arguments}");
        }
        assert!(name("sync", json!({ "op": "claim" })).is_err());
    }
}
