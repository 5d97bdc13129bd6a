//! Lists the events that no log holds any more.

use schemars::JsonSchema;
use serde::Serialize;

use super::page::Page;
use crate::engine::context::Workspace;
use crate::engine::repair::recover::{self, UnreachableEvents};
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::event::{Entity, Stamp};
use crate::model::id::{Id, quoted};
use crate::model::query::Unheld;
use crate::model::time::Time;
use crate::reports::event_words::{deed, describe, own_text, part_text};
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
    /// The handle of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// The title of the task.
    pub title: Option<String>,
    /// What the event does, in words, with the beginning of its text.
    pub what: String,
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
        let what = match found.is_redacted(event.id) {
            true => deed(&event.payload),
            false => describe(&event.payload, |part| text_of(ws, &found, task?, part)),
        };
        let item = LostEvent {
            id: event.id,
            kind: event.payload.kind().to_owned(),
            entity: event.entity.clone(),
            task,
            handle: task.map(|id| read::handle(ws, id)).transpose()?,
            title: title.cloned(),
            what,
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

/// The text of a step or context entry, which may be lost itself.
fn text_of(ws: &Workspace, found: &UnreachableEvents, task: Id, part: Id) -> Option<String> {
    if found.is_redacted(part) {
        return None;
    }
    let lost = found.events.iter().find(|entry| entry.event.id == part);
    let own = lost.and_then(|entry| own_text(&entry.event.payload)).map(str::to_owned);
    // Its task may be lost as a whole.
    own.or_else(|| part_text(&read::load_task(ws, task).ok()?.task, part))
}
