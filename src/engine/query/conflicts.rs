//! `conflicts`: every value that lost to one written at the same time, and the command that restores it.
//!
//! The read model knows which tasks have any, so a plan in which nothing was concurrent is not looked through.
//! Leaves to others: which value counts (`rules::lost`).

use super::page::Page;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::event::Stamp;
use crate::model::id::{Id, quoted};
use crate::model::query::Conflicts;
use crate::reports::extent::beginning;
use crate::reports::list::List;
use crate::reports::view::{ConflictEnd, LostView};
use crate::rules::lost::{Counts, Lost, lost};
use crate::store::index::Index;

/// Longest title, in bytes.
const MAX_TITLE: usize = 1_000;

/// `conflicts`
pub fn conflicts(ws: &Workspace, q: &Conflicts) -> Result<List<LostView>> {
    let tasks = match &q.task_id.0 {
        Some(reference) => vec![read::resolve(ws, &Ref(reference.clone()))?],
        None => read::index(ws)?.tasks_with_lost_edits()?,
    };
    let after = q.cursor.as_deref().map(read_cursor).transpose()?;
    let mut page = Page::new(ws, q.limit, false);
    let (mut total, mut full, mut next) = (0, false, None);
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    for task in tasks {
        let loaded = read::load_task(ws, task)?;
        let handle = read::handle(ws, task)?;
        let all = lost(task, &loaded.log.entries);
        let counts = Counts::of(&all);
        let holder = read::other_holder(ws, &loaded.task, &loaded.log.entries)?;
        for edit in &all {
            if q.by.as_ref().is_some_and(|agent| *agent != edit.lost.agent) {
                continue;
            }
            total += 1;
            if full || after.as_ref().is_some_and(|after| place(task, edit) <= *after) {
                continue;
            }
            let title = beginning(&loaded.task.fields.title, MAX_TITLE).to_owned();
            let end = ConflictEnd::of(&loaded.task, edit, counts.is_alone(edit), holder.as_deref());
            full = !page.push(LostView::new(&loaded.task, handle.clone(), title, edit, end));
            if full {
                next = Some(last.clone());
            } else {
                last = format!("{task}:{}:{}", stamp(edit), edit.field);
            }
        }
    }
    Ok(page.finish(total, next))
}

/// The number of all values that lost to concurrent ones.
pub(super) fn count_conflicts(ws: &Workspace, index: &Index) -> Result<usize> {
    let count = |task| Ok(lost(task, &read::load_task(ws, task)?.log.entries).len());
    index.tasks_with_lost_edits()?.into_iter().map(count).sum()
}

/// The cursor of a page that took nothing yet.
const START: &str = "start";

/// Where an edit stands in the list: its task, its field, the event that lost. `None` before all.
type Place = Option<(Id, String, Stamp)>;

fn place(task: Id, edit: &Lost) -> Place {
    Some((task, edit.field.clone(), stamp(edit)))
}

fn stamp(edit: &Lost) -> Stamp {
    Stamp { lamport: edit.lost.lamport, id: edit.lost.event }
}

fn read_cursor(text: &str) -> Result<Place> {
    if text == START {
        return Ok(None);
    }
    let read = || {
        let mut parts = text.splitn(3, ':');
        let (task, stamp) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some((task, parts.next()?.to_owned(), stamp))
    };
    read().map(Some).ok_or_else(|| {
        Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
    })
}
