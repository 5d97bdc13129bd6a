//! Tasks as resources: `agentpm://task/<id>`.
//!
//! Leaves to others: what a task's document holds (`task.get`).

use std::collections::BTreeMap;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{ListResourcesResult, ReadResourceResult, Resource, ResourceContents, ResourceTemplate};
use serde_json::{Value, json};

use super::Connection;
use crate::api::Call;

const SCHEME: &str = "agentpm://task/";
const JSON: &str = "application/json";
/// Tasks in a page of the list.
const PAGE: u64 = 50;
/// How often those are looked at that a client has subscribed to.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The id in the address of a task.
pub(super) fn task_of(uri: &str) -> Option<&str> {
    uri.strip_prefix(SCHEME).filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

pub(super) fn template() -> ResourceTemplate {
    ResourceTemplate::new(format!("{SCHEME}{{id}}"), "task")
        .with_description("A task of the plan, by id or handle")
        .with_mime_type(JSON)
}

fn ask(connection: &Connection, op: &str, arguments: Value) -> Result<Value, ErrorData> {
    let refused = |error: &Value| {
        let message = error["message"].as_str().unwrap_or_default().to_owned();
        match error["code"].as_str() {
            Some("ERR_NOT_FOUND" | "ERR_AMBIGUOUS_ID") => ErrorData::resource_not_found(message, Some(error.clone())),
            _ => ErrorData::internal_error(message, Some(error.clone())),
        }
    };
    let call = Call::from_json(op, arguments).map_err(|e| refused(&json!(e)))?;
    connection.carry_out(&call, None, None).map_err(|envelope| refused(&envelope["error"]))
}

/// A page of the unfinished tasks, most urgent first.
pub(super) fn list(connection: &Connection, cursor: Option<String>) -> Result<ListResourcesResult, ErrorData> {
    let answer = ask(connection, "task.list", json!({ "limit": PAGE, "cursor": cursor }))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let resource = |task: &Value| {
        Resource::new(format!("{SCHEME}{}", text(&task["id"])), text(&task["handle"]))
            .with_title(text(&task["title"]))
            .with_mime_type(JSON)
    };
    let items = answer["data"]["items"].as_array().into_iter().flatten().map(resource).collect();
    let mut page = ListResourcesResult::with_all_items(items);
    page.next_cursor = answer["data"]["next_cursor"].as_str().map(str::to_owned);
    Ok(page)
}

pub(super) fn read(connection: &Connection, uri: &str) -> Result<ReadResourceResult, ErrorData> {
    let Some(id) = task_of(uri) else {
        return Err(ErrorData::resource_not_found(format!("there is no resource {uri:?}"), None));
    };
    let answer = ask(connection, "task.get", json!({ "id": id }))?;
    let text = if answer["data"].is_null() { answer.to_string() } else { answer["data"].to_string() };
    Ok(ReadResourceResult::new(vec![ResourceContents::text(text, uri).with_mime_type(JSON)]))
}

/// The versions of tasks as a subscriber saw them last.
#[derive(Clone, Default)]
pub(super) struct Seen {
    versions: BTreeMap<String, Value>,
}

impl Seen {
    /// The addresses of the tasks that changed since, and what is seen now. A task that cannot be read now has not changed.
    pub(super) fn look(&self, connection: &Connection, uris: &[String]) -> (Vec<String>, Seen) {
        let mut now = self.clone();
        let mut changed = Vec::new();
        for uri in uris {
            let Some(id) = task_of(uri) else { continue };
            let Ok(answer) = ask(connection, "task.get", json!({ "id": id })) else { continue };
            let version = answer["data"]["version"].clone();
            match now.versions.insert(uri.clone(), version.clone()) {
                Some(before) if before != version => changed.push(uri.clone()),
                _ => {}
            }
        }
        (changed, now)
    }
}
