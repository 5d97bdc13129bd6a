//! The description of the HTTP interface, made from the operation table.
//!
//! Guarantees that it names every route of the table with the schemas of its arguments and its answer.
//! Leaves to others: serving it (`server`).

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::table::{Method, OPERATIONS, OTHER_NAMES, Operation, Route};
use crate::error::Code;

/// Headers of any request.
const HEADERS: &[(&str, &str)] = &[
    ("X-Agentpm-Agent", "The agent that acts; with a token of its own only that agent"),
    ("X-Agentpm-Session", "The session of the agent"),
    ("X-Correlation-Id", "Links the events of one request"),
    ("X-Plan-Id", "Links the events of one plan"),
];

/// The OpenAPI document (3.1).
pub fn document() -> &'static Value {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(made);
    &DOCUMENT
}

fn made() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut shared = Map::new();
    for operation in OPERATIONS.iter() {
        let by_name = Route { method: Method::Post, path: "/ops/" };
        if let Some(route) = operation.route {
            let described = describe(operation, route, operation.name, &mut shared);
            add(&mut paths, route.path.to_owned(), route.method, described);
        }
        let described = describe(operation, by_name, &format!("ops.{}", operation.name), &mut shared);
        add(&mut paths, format!("/ops/{}", operation.name), Method::Post, described);
    }
    for (path, summary, kind, parameters) in [
        ("/events/stream", "Stream the events as they arrive", "text/event-stream", of_stream()),
        ("/metrics", "Measurements of the server and the plan, as Prometheus text", "text/plain", Vec::new()),
        (
            "/diagnostics/bundle",
            "The files of diagnostics.export as an archive, tar.gz",
            "application/gzip",
            Vec::new(),
        ),
        ("/openapi.json", "This document", "application/json", Vec::new()),
        ("/healthz", "Whether the server can read the store", "application/json", Vec::new()),
    ] {
        let responses = responses(kind, json!({}), false);
        let described = json!({ "summary": summary, "parameters": parameters, "responses": responses });
        add(&mut paths, path.to_owned(), Method::Get, described);
    }
    shared.insert("Error".into(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": { "title": "agentpm", "version": env!("CARGO_PKG_VERSION"), "description": "The operations of a plan, over HTTP" },
        "servers": [{ "url": "http://localhost" }],
        "security": [{}, { "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": shared,
        },
    })
}

fn add(paths: &mut Map<String, Value>, path: String, method: Method, described: Value) {
    paths.entry(path).or_insert_with(|| json!({}))[method.as_str().to_lowercase()] = described;
}

/// The parameters of the stream of events.
fn of_stream() -> Vec<Value> {
    let id = || json!({ "type": "string" });
    let last = "The last event that the client saw; the stream continues after it";
    vec![
        parameter("Last-Event-ID", "header", last, false, id()),
        parameter("since_event_id", "query", "As Last-Event-ID, which comes first", false, id()),
        parameter("inbox", "query", "Send the inbox of the agent instead", false, json!({ "type": "boolean" })),
    ]
}

fn describe(operation: &Operation, route: Route, id: &str, shared: &mut Map<String, Value>) -> Value {
    let header = |(name, about): &(&str, &str)| parameter(name, "header", about, false, json!({ "type": "string" }));
    let mut parameters: Vec<Value> = HEADERS.iter().map(header).collect();
    if operation.changes() {
        let about = "Makes the change once, however often it is repeated with this key within 30 days";
        let key = json!({ "type": "string", "minLength": 1 });
        parameters.push(parameter("Idempotency-Key", "header", about, false, key));
    }
    if operation.has_argument("expected_version") {
        let about = "The version that the task must have, in double quotes, as the ETag of an answer has it";
        parameters.push(parameter("If-Match", "header", about, false, json!({ "type": "string" })));
    }
    let mut arguments = json!(operation.arguments);
    hoist(&mut arguments, operation.name, shared);
    if let Some(map) = arguments.as_object_mut() {
        map.remove("$schema");
    }
    if route.path.contains("{id}") {
        parameters.push(parameter(
            "id",
            "path",
            "The id, a unique prefix of it, or the handle",
            true,
            json!({ "type": "string" }),
        ));
        let named = operation.id_argument();
        if let Some(required) = arguments.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| name != named);
        }
        if let Some(properties) = arguments.get_mut("properties").and_then(Value::as_object_mut) {
            properties.shift_remove(named);
        }
    }
    let answer = envelope(operation, shared);
    let is_versioned = is_versioned(&answer["properties"]["data"], shared);
    let answers = responses("application/json", answer, is_versioned);
    let mut described = json!({ "operationId": id, "summary": operation.summary(), "responses": answers });
    if matches!(route.method, Method::Get | Method::Delete) {
        for (name, schema) in arguments["properties"].as_object().into_iter().flatten() {
            let about = schema["description"].as_str().unwrap_or_default();
            let other = OTHER_NAMES.iter().find(|(op, _, ours)| *op == operation.name && ours == name);
            let names = [Some(name.as_str()), other.map(|(_, theirs, _)| *theirs)];
            let named = |name| parameter(name, "query", about, false, schema.clone());
            parameters.extend(names.into_iter().flatten().map(named));
        }
    } else {
        let is_required = arguments["required"].as_array().is_some_and(|names| !names.is_empty());
        described["requestBody"] =
            json!({ "required": is_required, "content": { "application/json": { "schema": arguments } } });
    }
    if operation.name == "task.list" {
        let about = "Items to pass over; needs limit";
        parameters.push(parameter("offset", "query", about, false, json!({ "type": "integer", "minimum": 0 })));
    }
    if operation.changes() {
        let about = "Answer with all of what was changed, and not with a receipt";
        parameters.push(parameter("full", "query", about, false, json!({ "type": "boolean" })));
    }
    described["parameters"] = json!(parameters);
    described
}

fn parameter(name: &str, place: &str, about: &str, required: bool, schema: Value) -> Value {
    json!({ "name": name, "in": place, "description": about, "required": required, "schema": schema })
}

/// The schema of the answer of an operation.
fn envelope(operation: &Operation, shared: &mut Map<String, Value>) -> Value {
    let mut answer = json!((operation.answer)());
    hoist(&mut answer, &format!("{}.answer", operation.name), shared);
    if let Some(map) = answer.as_object_mut() {
        map.remove("$schema");
    }
    json!({
        "type": "object",
        "properties": {
            "ok": { "const": true },
            "data": answer,
            "error": { "type": "null" },
            "reasons": { "description": "Why no task is handed out" },
            "warnings": { "type": "array", "items": { "type": "string" } },
            "unread": { "type": "integer", "minimum": 1, "description": "Unread items in the inbox of the caller" },
        },
        "required": ["ok", "data", "error"],
    })
}

/// Whether an answer of this schema may have the version of a task.
fn is_versioned(schema: &Value, shared: &Map<String, Value>) -> bool {
    let named = schema["$ref"].as_str().and_then(|to| shared.get(to.strip_prefix("#/components/schemas/")?));
    let forms = ["anyOf", "oneOf"].into_iter().flat_map(|key| schema[key].as_array().into_iter().flatten());
    schema["properties"].get("version").is_some() || named.into_iter().chain(forms).any(|one| is_versioned(one, shared))
}

/// A success of this content, and all refusals.
fn responses(kind: &str, schema: Value, is_versioned: bool) -> Value {
    let mut all = Map::new();
    let mut ok = json!({ "description": "OK", "content": { kind: { "schema": schema } } });
    if is_versioned {
        let about = "The version of the task, in double quotes";
        ok["headers"] = json!({ "ETag": { "description": about, "schema": { "type": "string" } } });
    }
    all.insert("200".into(), ok);
    let mut statuses: Vec<u16> = Code::ALL.iter().map(|code| code.status()).chain([401, 413]).collect();
    statuses.sort_unstable();
    statuses.dedup();
    for status in statuses {
        let codes = Code::ALL.iter().filter(|code| code.status() == status).map(|code| code.as_str());
        let about = codes.collect::<Vec<_>>().join(", ");
        let about = match status {
            401 => "The token is missing or not known".to_owned(),
            413 => "The body is too large".to_owned(),
            _ => about,
        };
        let schema = json!({ "$ref": "#/components/schemas/Error" });
        let mut refusal = json!({ "description": about, "content": { "application/json": { "schema": schema } } });
        if [Code::RateLimit, Code::Busy].iter().any(|code| code.status() == status) {
            let about = "Seconds until the request may be repeated";
            refusal["headers"] = json!({ "Retry-After": { "description": about, "schema": { "type": "integer" } } });
        }
        all.insert(status.to_string(), refusal);
    }
    Value::Object(all)
}

fn error_schema() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "properties": {
            "ok": { "const": false },
            "data": { "type": "null" },
            "error": {
                "type": "object",
                "properties": {
                    "code": { "enum": codes },
                    "message": { "type": "string" },
                    "details": {},
                    "hint": { "type": ["string", "null"] },
                },
                "required": ["code", "message"],
            },
        },
        "required": ["ok", "error"],
    })
}

/// Moves the definitions of a schema to the shared ones; where another schema defines one of their names differently, under names
/// of its own.
fn hoist(schema: &mut Value, of: &str, shared: &mut Map<String, Value>) {
    let Some(Value::Object(definitions)) = schema.as_object_mut().and_then(|map| map.remove("$defs")) else {
        refer(schema, &Map::new());
        return;
    };
    // A name is free where nothing has it, or where all that it leads to is the same.
    let plain: Map<String, Value> = definitions.keys().map(|name| (name.clone(), json!(name))).collect();
    let moved = |definition: &Value, names: &Map<String, Value>| {
        let mut moved = definition.clone();
        refer(&mut moved, names);
        moved
    };
    let clashes =
        definitions.iter().any(|(name, one)| shared.get(name).is_some_and(|other| *other != moved(one, &plain)));
    let names = match clashes {
        false => plain,
        true => definitions.keys().map(|name| (name.clone(), json!(format!("{of}.{name}")))).collect(),
    };
    for (name, definition) in &definitions {
        shared.insert(names[name].as_str().unwrap_or(name).to_owned(), moved(definition, &names));
    }
    refer(schema, &names);
}

/// Points references at the shared definitions.
fn refer(schema: &mut Value, names: &Map<String, Value>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get_mut("$ref")
                && let Some(name) = to.strip_prefix("#/$defs/")
            {
                let name = names.get(name).and_then(Value::as_str).unwrap_or(name);
                *to = format!("#/components/schemas/{name}");
            }
            map.values_mut().for_each(|value| refer(value, names));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| refer(value, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
