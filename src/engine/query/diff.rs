//! `diff`: what changed in the plan between two points, task by task.
//!
//! Leaves to others: what changed in one task (`reports::change`).

use schemars::JsonSchema;
use serde::Serialize;

use super::page::Page;
use crate::engine::context::Workspace;
use crate::engine::view::{history, read};
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::point::Point;
use crate::model::query::Diff;
use crate::model::task::Status;
use crate::reports::change::{Change, Kind, Steps, TaskChange, between};
use crate::reports::extent::{Bounds, Cuts, Entry, Extent, LeftOut, Shown};
use crate::reports::list::List;
use crate::reports::review::Matter;
use crate::reports::view::PointView;
use crate::rules::lost::Lost;

/// What changed in the plan between two points.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlanDiff {
    /// The tasks that changed.
    #[serde(flatten)]
    pub list: List<ChangedTask>,
    /// The earlier point.
    pub from: PointView,
    /// The later point.
    pub to: PointView,
}

/// What changed in a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangedTask {
    /// The task.
    pub task: Id,
    /// Its title, as it is now, or was.
    pub title: String,
    /// Its status now.
    pub status: Status,
    /// It is completed and awaits the review of another agent; known to `review` alone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaits_review: bool,
    /// Whether it was created between the two.
    pub created: bool,
    /// Whether it has lost all its events.
    pub gone: bool,
    /// How many events are new.
    pub events: usize,
    /// How many events are missing.
    pub missing: usize,
    /// Its parent now.
    pub parent: Option<Id>,
    /// Its steps now.
    pub steps: Steps,
    /// What changed.
    pub changes: Vec<Shown<ChangeToDecide>>,
    /// Values that lost to a concurrent one, and had not before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<Shown<Lost>>,
    /// Its handle.
    pub handle: String,
    /// What a bounded view does not show: entries of each list, and bytes of each text.
    #[serde(skip_serializing_if = "LeftOut::is_empty")]
    pub left_out: LeftOut,
}

/// A change, and why a reviewer must look at it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ChangeToDecide {
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// Why a reviewer must look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decide: Option<Matter>,
}

impl Entry for ChangeToDecide {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.value("from", &mut self.change.from);
        cuts.value("to", &mut self.change.to);
        self.change.why.iter_mut().for_each(|why| cuts.text("why", why));
        cuts.text("field", &mut self.change.field);
    }
}

/// `diff`
pub fn diff(ws: &Workspace, q: &Diff) -> Result<PlanDiff> {
    let now = ws.env.now();
    let reversed = match (q.a.seen_from(now), q.b.as_ref().map(|b| b.seen_from(now))) {
        (Point::Lamport(a), Some(Point::Lamport(b))) => a > b,
        (Point::Time(a), Some(Point::Time(b))) => a > b,
        _ => false,
    };
    if reversed {
        return Err(Error::usage("the first point is later than the second").hint("name the earlier point first"));
    }
    let (before, after) = (history::plan_at(ws, Some(&q.a))?, history::plan_at(ws, q.b.as_ref())?);
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
    Ok(PlanDiff { list: page.finish(total, next), from: before.describe(), to: after.describe() })
}

/// Tasks that are compared at once.
const AT_ONCE: usize = 2_048;
/// The cursor of a page that took nothing yet.
const START: &str = "start";

/// A task's changes, with its handle and what of each must be decided. Of many changes those that must be decided are shown
/// first; what a bounded view leaves out is counted.
pub fn view(
    ws: &Workspace,
    change: &TaskChange,
    extent: Extent,
    decide: impl Fn(&Change) -> Option<Matter>,
) -> Result<ChangedTask> {
    let mut bounds = Bounds::new(extent);
    let single = |one: &Change| ChangeToDecide { change: one.clone(), decide: decide(one) };
    let rank = |single: &ChangeToDecide| match single.change.change {
        Kind::Created | Kind::Status => 0,
        _ if single.decide.is_some() => 0,
        Kind::ProgressAdded | Kind::ContextAdded | Kind::RelationshipAdded | Kind::ThreadReplied => 2,
        _ => 1,
    };
    Ok(ChangedTask {
        task: change.task,
        title: bounds.text("title", change.title.clone()),
        status: change.status,
        awaits_review: false,
        created: change.created,
        gone: change.gone,
        events: change.events,
        missing: change.missing,
        parent: change.parent,
        steps: change.steps,
        changes: bounds.list("changes", change.changes.iter().map(single), rank),
        lost: bounds.list("lost", change.lost.iter().cloned(), |_| 0),
        handle: read::handle(ws, change.task)?,
        left_out: bounds.finish(),
    })
}
