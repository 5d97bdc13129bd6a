//! Lists the events that no log holds any more.

use schemars::JsonSchema;
use serde::Serialize;

use super::lists::Page;
use crate::engine::context::Workspace;
use crate::engine::repair::recover;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Stamp};
use crate::model::id::{Id, quoted};
use crate::model::query::Unheld;
use crate::model::time::Time;
use crate::reports::list::List;

/// Events that no branch or worktree holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LostEvents {
    /// The events.
    #[serde(flatten)]
    pub list: List<LostEvent>,
    /// Warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// An event that no branch or worktree holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LostEvent {
    /// The event.
    pub id: Id,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its entity.
    #[schemars(with = "String")]
    pub entity: Entity,
    /// The task, where it is the event of one.
    pub task: Option<Id>,
    /// The title of the task.
    pub title: Option<String>,
    /// Its author.
    pub agent: String,
    /// When it was written.
    pub at: Time,
    /// The reason given for it.
    pub why: Option<String>,
}

/// `recover` without events to restore
pub fn unreachable_events(ws: &Workspace, q: &Unheld) -> Result<LostEvents> {
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
        let item = LostEvent {
            id: event.id,
            kind: event.payload.kind().to_owned(),
            entity: event.entity.clone(),
            task,
            title: title.cloned(),
            agent: event.author.agent.clone(),
            at: event.at,
            why: event.why.clone(),
        };
        if !page.push(item) {
            more = true;
            break;
        }
        last = Some(event.stamp());
    }
    let next = last.filter(|_| more).map(|stamp| stamp.to_string());
    let list = page.finish(found.events.len() as u64, next);
    Ok(LostEvents { list, warnings: found.warning.into_iter().collect() })
}
