//! `diff`: what changed in the plan between two points, task by task.

use serde_json::{Value, json};

use super::lists::Page;
use crate::engine::context::Workspace;
use crate::engine::view::{history, read};
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::point::Point;
use crate::model::query::Diff;
use crate::reports::change::{Change, Kind, TaskChange, between};
use crate::reports::extent::{Bounds, Extent};
use crate::reports::review::Matter;

/// `diff`
pub fn diff(ws: &Workspace, q: &Diff) -> Result<Value> {
    let reversed = match (&q.a, &q.b) {
        (Point::Lamport(a), Some(Point::Lamport(b))) => a > b,
        (Point::Time(a), Some(Point::Time(b))) => a > b,
        _ => false,
    };
    if reversed {
        return Err(Error::usage("the first point is later than the second").hint("name the earlier point first"));
    }
    let (before, after) = (history::past(ws, Some(&q.a))?, history::past(ws, q.b.as_ref())?);
    let tasks: Vec<Id> = match &q.task_id {
        Some(reference) => vec![after.resolve(reference).or_else(|_| before.resolve(reference))?],
        None => before.candidates(&after)?.into_iter().collect(),
    };
    let start: Option<Id> = match q.cursor.as_deref().filter(|cursor| *cursor != START) {
        Some(text) => Some(text.parse().map_err(|_| {
            Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
        })?),
        None => None,
    };
    let mut page = Page::new(ws, q.limit, false);
    let (mut total, mut full, mut next) = (0, false, None);
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    for some in tasks.chunks(AT_ONCE) {
        for change in before.compared(&after, some, between)?.into_iter().flatten() {
            total += 1;
            if full || start.is_some_and(|start| change.task <= start) {
                continue;
            }
            full = !page.push(view(ws, &change, Extent::Bounded, |_| None)?);
            if full {
                next = Some(last.clone());
            } else {
                last = change.task.to_string();
            }
        }
    }
    let mut answer = page.finish(total, next);
    answer["from"] = before.describe();
    answer["to"] = after.describe();
    Ok(answer)
}

/// Tasks that are compared at once.
const AT_ONCE: usize = 2_048;
/// The cursor of a page that took nothing yet.
const START: &str = "start";

/// A task's changes as JSON, with its handle and what of each must be decided. Of many changes those that must be decided are
/// shown first; what a bounded view leaves out is counted.
pub fn view(
    ws: &Workspace,
    change: &TaskChange,
    extent: Extent,
    decide: impl Fn(&Change) -> Option<Matter>,
) -> Result<Value> {
    let mut bounds = Bounds::new(extent);
    let one = |single: &Change| {
        let mut shown = json!(single);
        if let Some(matter) = decide(single) {
            shown["decide"] = json!(matter);
        }
        shown
    };
    let rank = |single: &Change| match single.change {
        Kind::Created | Kind::Status => 0,
        _ if decide(single).is_some() => 0,
        Kind::ProgressAdded | Kind::ContextAdded | Kind::RelationshipAdded => 2,
        _ => 1,
    };
    let changes = bounds.list("changes", &change.changes, rank, one);
    let lost = bounds.list("lost", &change.lost, |_| 0, |edit| json!(edit));
    let mut view = json!(change.head());
    view["changes"] = changes;
    if !change.lost.is_empty() {
        view["lost"] = lost;
    }
    view["handle"] = json!(read::handle(ws, change.task)?);
    if let Value::Object(view) = &mut view {
        bounds.finish(view);
    }
    Ok(view)
}
