//! Lists the events that no log holds any more.

use serde_json::{Value, json};

use super::lists::Page;
use crate::engine::context::Workspace;
use crate::engine::repair::recover;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Stamp};
use crate::model::id::{Id, quoted};
use crate::model::query::Unheld;

/// `recover` without events to restore
pub fn unreachable_events(ws: &Workspace, q: &Unheld) -> Result<Value> {
    let found = recover::unreachable_events(ws)?;
    let refused = |text: &String| {
        Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
    };
    let after: Option<Stamp> = q.cursor.as_ref().map(|text| text.parse().map_err(|_| refused(text))).transpose()?;
    let mut page = Page::new(ws, q.limit, false);
    let mut last = after;
    let mut more = false;
    for entry in found.events.iter().filter(|e| after.is_none_or(|after| e.event.stamp() > after)) {
        let event = &entry.event;
        let task: Option<Id> = if let Entity::Task(id) = event.entity { Some(id) } else { None };
        let title = task.and_then(|id| found.titles.get(&id)).filter(|title| !title.is_empty());
        let item = json!({
            "id": event.id, "type": event.payload.kind(), "entity": event.entity, "task": task, "title": title,
            "agent": event.author.agent, "at": event.at, "why": event.why,
        });
        if !page.push(item) {
            more = true;
            break;
        }
        last = Some(event.stamp());
    }
    let next = last.filter(|_| more).map(|stamp| stamp.to_string());
    let mut answer = page.finish(found.events.len() as u64, next);
    if let Some(warning) = found.warning {
        answer["warnings"] = json!([warning]);
    }
    Ok(answer)
}
