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
        description: "Note `content` on a task (default: yours): type decision, attempt, outcome, note or step. Or complete its steps `done`.",
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
    // Many clients write null for an argument of the tool that they do not give.
    let own =
        TOOLS.iter().find(|definition| definition.name == tool).map_or(&[][..], |definition| definition.arguments);
    arguments.retain(|name, value| !(value.is_null() && (name == "op" || own.iter().any(|(own, ..)| own == name))));
    let op = match arguments.remove("op") {
        Some(Value::String(op)) => op,
        Some(other) => return Err(Error::usage(format!("op is the name of an operation, not {other}"))),
        None => usual(tool, &mut arguments).to_owned(),
    };
    if !operations(tool).any(|offered| offered == op) {
        let offered = operations(tool).collect::<Vec<_>>().join(", ");
        return Err(Error::usage(format!("the tool {tool} does not offer {op:?}")).hint(format!("it offers {offered}")));
    }
    in_its_form(tool, &op, &mut arguments)?;
    Call::from_json(&op, Value::Object(arguments))
}

/// Puts the arguments of a tool into the form of the operation.
fn in_its_form(tool: &str, op: &str, arguments: &mut JsonObject) -> Result<()> {
    match (tool, op) {
        ("next", "claim" | "next") if arguments.get("claim").is_some_and(|claim| *claim == json!(op == "claim")) => {
            arguments.remove("claim");
        }
        ("record", "progress.complete" | "progress.reopen") => {
            if arguments.contains_key("content") {
                return Err(Error::usage("record takes content or done, not both").hint("use it twice"));
            }
            if let Some(steps) = arguments.remove("done") {
                let steps = if let Value::Array(steps) = steps { steps } else { vec![steps] };
                let task = arguments.remove("task_id");
                arguments.insert("id".into(), task.into_iter().chain(steps).collect());
            }
        }
        ("record", "progress.add") if arguments.get("type").is_some_and(|kind| kind == "step") => {
            arguments.remove("type");
        }
        ("inbox", "inbox.ack") => {
            if let Some(items) = arguments.remove("ack") {
                arguments.insert("items".into(), items);
            }
        }
        _ => {}
    }
    Ok(())
}

/// The operation that the arguments mean. A wait claims, unless they say that it does not.
fn usual(tool: &str, arguments: &mut JsonObject) -> &'static str {
    if tool == "next" && arguments.contains_key("wait") {
        arguments.entry("claim").or_insert(json!(true));
        return "next.wait";
    }
    let has = |name: &str| arguments.contains_key(name);
    match tool {
        "next" if arguments.get("claim").is_some_and(|claim| *claim == json!(false)) => "next",
        "next" => "claim",
        "brief" => "brief",
        "find" if has("id") => "task.get",
        "find" => "task.list",
        "plan" if has("ops") => "batch",
        "plan" if has("title") => "task.create",
        "plan" => "plan.apply",
        "update" if has("status") => "task.transition",
        "update" => "task.update",
        "record" if has("done") => "progress.complete",
        "record" if arguments.get("type").is_some_and(|kind| kind == "step") => "progress.add",
        "record" => "context.add",
        "finish" => "done",
        "discuss" if has("resolution") => "thread.resolve",
        "discuss" if has("thread") && has("body") => "thread.reply",
        "discuss" if has("thread") => "thread.show",
        "discuss" if has("body") => "thread.open",
        "discuss" => "thread.list",
        "inbox" if has("ack") => "inbox.ack",
        "inbox" if has("wait") => "inbox.wait",
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
            ("record", json!({ "op": "progress.complete", "done": ["ABCDEF"] }), "progress.complete"),
            ("record", json!({ "op": "progress.reopen", "done": "ABCDEF" }), "progress.reopen"),
            ("record", json!({ "op": "progress.add", "content": "first this", "type": "step" }), "progress.add"),
            ("record", json!({ "content": "so it is", "done": null }), "context.add"),
            ("next", json!({ "op": "claim", "claim": true }), "claim"),
            ("next", json!({ "op": "next", "claim": false }), "next"),
            ("next", json!({ "op": null, "wait": null }), "claim"),
            ("inbox", json!({ "op": "inbox.ack", "ack": ["ABCDEF"] }), "inbox.ack"),
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
        assert!(name("next", json!({ "op": "next", "claim": true })).is_err());
        let both = name("record", json!({ "content": "so it is", "done": ["ABCDEF"] }));
        assert!(both.unwrap_err().message.contains("not both"));
    }

    #[test]
    fn steps_are_completed_on_the_task_that_is_named() {
        let steps = call("record", object(json!({ "task_id": "ABCDEF", "done": ["1", "2"] }))).unwrap();
        let Call::Change(command) = steps else { panic!("no change: {steps:?}") };
        assert_eq!(command.to_json()["id"], json!(["ABCDEF", "1", "2"]));
    }
}
