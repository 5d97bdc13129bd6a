//! From a request to the arguments of an operation: its path, its query and its body.
//!
//! Guarantees that a value of a query has the type that the schema of the operation says.
//! Leaves to others: who asks (`guard`).

use serde_json::{Map, Value, json};

use crate::api::{OTHER_NAMES, Operation};
use crate::error::{Error, Result};
use crate::model::id::quoted;

/// The pairs of a query, decoded.
///
/// Errors: `ERR_USAGE` for text that is not UTF-8.
pub fn pairs(query: Option<&str>) -> Result<Vec<(String, String)>> {
    let parts = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    parts
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

fn decoded(text: &str) -> Result<String> {
    let wrong = || Error::usage(format!("{} is not the text of a query", quoted(text)));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().ok_or_else(wrong)?, rest.next().ok_or_else(wrong)?];
                let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
                u8::from_str_radix(digits, 16).map_err(|_| wrong())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// The arguments that a query gives.
///
/// Errors: `ERR_USAGE` for a value that is not of the type of its argument.
pub fn of_query(operation: &Operation, pairs: Vec<(String, String)>) -> Result<Map<String, Value>> {
    let mut args = Map::new();
    for (name, text) in pairs {
        let property = &operation.arguments.get("properties").unwrap_or(&Value::Null)[renamed(operation, &name)];
        let value = if is_a(property, "array") {
            let mut items = args.remove(&name).and_then(|value| value.as_array().cloned()).unwrap_or_default();
            items.extend(text.split(',').filter(|item| !item.is_empty()).map(|item| json!(item)));
            Value::Array(items)
        } else if is_a(property, "boolean") {
            json!(truth(&name, &text)?)
        } else if !is_a(property, "string") && (is_a(property, "integer") || is_a(property, "number")) {
            let number = text.parse::<i64>();
            json!(number.map_err(|_| Error::usage(format!("{name} is a number, not {}", quoted(&text))))?)
        } else {
            json!(text)
        };
        if args.insert(name.clone(), value).is_some() {
            return Err(Error::usage(format!("{name} is given twice")));
        }
    }
    Ok(args)
}

/// A value of a query that is true or false; its name alone says that it is true.
///
/// Errors: `ERR_USAGE` for anything else.
pub fn truth(name: &str, text: &str) -> Result<bool> {
    match text {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::usage(format!("{name} is true or false, not {}", quoted(text)))),
    }
}

/// Whether a schema allows a type.
fn is_a(property: &Value, kind: &str) -> bool {
    let names = |value: &Value| *value == kind || value.as_array().is_some_and(|kinds| kinds.iter().any(|k| k == kind));
    names(&property["type"]) || property["anyOf"].as_array().is_some_and(|any| any.iter().any(|one| is_a(one, kind)))
}

fn renamed<'a>(operation: &Operation, name: &'a str) -> &'a str {
    let other = OTHER_NAMES.iter().find(|(op, theirs, _)| *op == operation.name && *theirs == name);
    other.map_or(name, |(_, _, ours)| ours)
}

/// The arguments under the names that the operation knows.
///
/// Errors: `ERR_USAGE` where an argument is given under both of its names.
pub fn in_our_names(operation: &Operation, args: Map<String, Value>) -> Result<Map<String, Value>> {
    let mut ours = Map::new();
    for (theirs, value) in args {
        let name = renamed(operation, &theirs).to_owned();
        if ours.insert(name.clone(), value).is_some() {
            return Err(Error::usage(format!("{name} is given twice, once as {}", quoted(&theirs))));
        }
    }
    Ok(ours)
}

/// Puts the id of the path in its place.
///
/// Errors: `ERR_USAGE` where the request names another one too.
pub fn put_id(args: &mut Map<String, Value>, name: &str, id: String) -> Result<()> {
    match args.insert(name.to_owned(), json!(id)) {
        Some(other) if other != json!(id) => {
            Err(Error::usage(format!("{name} is {} in the path, and {other} in the request", quoted(&id))))
        }
        _ => Ok(()),
    }
}

/// The arguments that a body gives.
///
/// Errors: `ERR_USAGE` for a body that is no JSON object.
pub fn of_body(operation: &Operation, body: &[u8]) -> Result<Map<String, Value>> {
    let text = std::str::from_utf8(body).map_err(|_| Error::usage("the body of the request is not UTF-8"))?;
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    let parsed = crate::model::json::parse(text);
    if operation.name == "sync.push" && !matches!(&parsed, Ok(Value::Object(map)) if map.contains_key("events")) {
        // An array of events, an answer of GET /events, or one event a line.
        return Ok(Map::from_iter([("events".to_owned(), json!(text))]));
    }
    match parsed.map_err(|e| Error::usage(format!("the body of the request is not JSON: {e}")))? {
        Value::Object(mut args) => {
            if operation.name == "sync.push"
                && let Some(events) = args.get_mut("events").filter(|events| events.is_array())
            {
                *events = json!(events.to_string());
            }
            Ok(args)
        }
        Value::Array(ops) if operation.name == "batch" => Ok(Map::from_iter([("ops".to_owned(), Value::Array(ops))])),
        _ => Err(Error::usage("the body of the request is not a JSON object")),
    }
}
