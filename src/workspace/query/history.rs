//! What became of one task: how it stood at a point, and which event set which field.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::point::Point;
use crate::model::query::Blame;
use crate::model::words::Ref;
use crate::reports::view;
use crate::rules::fields;
use crate::rules::fold;
use crate::rules::lost::{Lost, is_alone, lost};
use crate::rules::register;
use crate::workspace::Workspace;

/// `task get --at`: the fold of what had happened by then. What depends on other tasks or on the present is left open.
pub fn task_at(ws: &Workspace, reference: &Ref, point: &Point) -> Result<Value> {
    let past = ws.past(Some(point))?;
    let id = past.resolve(reference)?;
    let task = fold::fold(id, &past.entries(id)?).0;
    if task.version == 0 {
        return Err(Error::not_found(format!("task {id} had not begun at {point}"))
            .hint(format!("agentpm log {id} shows when it began")));
    }
    let mut at = past.describe();
    at["lamport"] = json!(task.lamport);
    at["time"] = json!(task.updated_at);
    Ok(view::task_at(&task, ws.handle(id)?, at))
}

/// `blame`
pub fn blame(ws: &Workspace, q: &Blame) -> Result<Value> {
    let loaded = ws.load_task(ws.resolve(&Ref(q.id.0.clone()))?)?;
    let task = &loaded.task;
    let ordered = fold::order(&Entity::Task(task.id), &loaded.log.entries).events;
    let creation = ordered.iter().find(|e| e.event.payload.kind() == "TaskCreated");
    let mut items = Vec::new();
    let registers = fields::NAMES.iter().copied().chain(["status", "owner", "parent"]).map(str::to_owned);
    let others = task.stamps.keys().filter(|name| !fields::NAMES.contains(&name.as_str())).cloned();
    let mut names: Vec<String> = registers.collect();
    names.extend(others.filter(|name| !["status", "owner", "parent"].contains(&name.as_str())));
    let lost = lost(task.id, &loaded.log.entries);
    for edit in &lost {
        if !names.contains(&edit.field) {
            names.push(edit.field.clone());
        }
    }
    for name in names {
        let value = match name.as_str() {
            "verified" => json!(task.verified),
            other => register::value(task, other),
        };
        let beat: Vec<Value> = lost.iter().filter(|edit| edit.field == name).map(|edit| beaten(&lost, edit)).collect();
        let writer = match task.stamps.get(&name) {
            Some(stamp) => ordered.iter().find(|e| e.event.id == stamp.id),
            None if !beat.is_empty() => creation,
            None if name == "metadata" || is_default(&value) => None,
            None => creation,
        };
        if let Some(entry) = writer {
            let event = &entry.event;
            let mut item = json!({
                "field": name, "value": value, "event": event.id, "type": event.payload.kind(), "lamport": event.lamport,
                "agent": event.author.agent, "at": event.at, "why": event.why,
            });
            if !beat.is_empty() {
                item["beat"] = json!(beat);
            }
            items.push(item);
        }
    }
    let total = items.len();
    Ok(json!({ "task": task.id, "items": items, "total": total, "truncated": false, "next_cursor": Value::Null }))
}

/// A value that a field's present one beat, in few words.
fn beaten(all: &[Lost], edit: &Lost) -> Value {
    let restore = view::restore_command(edit, is_alone(all, edit));
    json!({
        "value": edit.lost.value, "agent": edit.lost.agent, "at": edit.lost.at, "event": edit.lost.event,
        "rule": edit.rule, "restore": restore,
    })
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        other => *other == json!(0),
    }
}
