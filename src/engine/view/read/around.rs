//! Reads what surrounds one task: blockers, children, lease, score, and whether the caller can claim it.
//!
//! Leaves to others: what readiness means (`rules::readiness`), and the whole plan at once (`plan`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::actors::{lease_record, viewer_with_rights};
use super::reference::{handle, is_dropped};
use super::task::load_task;
use crate::engine::context::Workspace;
use crate::engine::view::claimed_files;
use crate::engine::view::landed::DefaultBranch;
use crate::engine::view::other_branches::OtherBranches;
use crate::error::Result;
use crate::model::agent::Lease;
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::settings::Overlap;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::reports::extent::Extent;
use crate::reports::ready::{Score, Scored};
use crate::reports::view::{Around, TaskView};
use crate::rules::graph::{void_edges, void_pairs};
use crate::rules::readiness::{self, Blocker, BlockerRules, BlockerState, Facts, OpenChildren, Reason};
use crate::rules::surroundings::{Neighborhood, Records, Surroundings as _, depth, holding_parent};
use crate::store::index::Index;

/// A task as JSON with bounded lists and texts.
///
/// Errors: `ERR_IO` if its context cannot be read.
pub(crate) fn show_task_elsewhere(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
) -> Result<TaskView> {
    show_task_to(ws, task, index, elsewhere, Extent::Bounded)
}

/// As [`show_task_elsewhere`], bounded or not.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn show_task_to(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
    extent: Extent,
) -> Result<TaskView> {
    let around = around(ws, task, index, elsewhere)?;
    Ok(TaskView::new(task, &around, extent))
}

/// A new task as JSON. No other task refers to it yet, so the index is not queried.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn show_new_task(ws: &Workspace, task: &Task, blocked_by: Vec<Blocker>) -> Result<TaskView> {
    let score = scored(task, 0).score(&ws.settings.score, ws.env.now());
    let mut around = Around { handle: handle(ws, task.id)?, blocked_by, score: Some(score.score), ..Around::default() };
    // The task is not visible to other processes yet.
    around.ready = reasons(ws, task, &around, None, None)?.is_empty();
    Ok(TaskView::new(task, &around, Extent::Bounded))
}

/// What a single task's view needs from outside its log.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn around(ws: &Workspace, task: &Task, index: &Index, elsewhere: &mut OtherBranches) -> Result<Around> {
    let mut indexed = Indexed::new(ws, index);
    let mut near = Neighborhood::of(&mut indexed);
    let blocked_by = near.waits(task)?;
    let children = near.all_children(task.id)?;
    let mut children_done = 0;
    for child in &children {
        children_done += u64::from(!is_open_child(ws, index, *child)?);
    }
    let now = ws.env.now();
    let lease = lease_record(ws, task.id, index)?.lease;
    let mut around = Around {
        handle: handle(ws, task.id)?,
        blocked_by,
        children: children.len() as u64,
        children_done,
        lease: lease.clone().filter(|lease| lease.is_live(now)),
        awaits_review: ws.settings.review.required && task.is_unreviewed(),
        blocking: near.waiting(task.id)?.len(),
        ..Around::default()
    };
    if ws.settings.claim.overlap == Overlap::Refuse {
        around.overlaps = claimed_files::overlaps(ws, index, task.id, &task.fields.files)?;
    }
    if !task.status.is_finished() {
        let depth = depth(&mut Indexed::new(ws, index), task.id)?;
        around.score = Some(scored(task, depth).score(&ws.settings.score, now).score);
        around.ready =
            reasons(ws, task, &around, lease.as_ref(), Some(index))?.is_empty() && elsewhere.taken(task.id)?.is_none();
    }
    Ok(around)
}

/// The terms of a task's score; without an index, those that do not depend on other tasks.
///
/// Errors: `ERR_IO` where the index cannot be read.
pub(crate) fn score_terms(ws: &Workspace, task: &Task, index: Option<&Index>) -> Result<Score> {
    let depth = index.map_or(Ok(0), |index| depth(&mut Indexed::new(ws, index), task.id))?;
    Ok(scored(task, depth).score(&ws.settings.score, ws.env.now()))
}

fn scored(task: &Task, depth: u64) -> Scored {
    Scored { priority: task.fields.priority, created_at: task.created_at, due: task.fields.due, depth }
}

/// Why the caller cannot claim a task, by this work tree and the leases.
///
/// Errors: `ERR_IO` where the index cannot be read.
pub(crate) fn why_not_ready(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
) -> Result<Vec<Reason>> {
    let around = around(ws, task, index, elsewhere)?;
    let mut found = reasons(ws, task, &around, around.lease.as_ref(), Some(index))?;
    if found.is_empty() {
        found.extend(elsewhere.taken(task.id)?);
    }
    Ok(found)
}

fn reasons(
    ws: &Workspace,
    task: &Task,
    around: &Around,
    lease: Option<&Lease>,
    index: Option<&Index>,
) -> Result<Vec<Reason>> {
    let viewer = viewer_with_rights(ws)?;
    let parent = match (task.parent(), index) {
        (None, _) => None,
        (Some(_), Some(index)) => {
            holding_parent(&mut Neighborhood::of(&mut Indexed::new(ws, index)), task.id, ws.env.now())?
        }
        (Some(_), None) => {
            let written = BTreeMap::new();
            let mut around = AroundNew { ws, written: &written, branch: DefaultBranch::new(ws) };
            holding_parent(&mut Neighborhood::of(&mut around), task.id, ws.env.now())?
        }
    };
    let children = match index {
        Some(index) if around.children > around.children_done => open_children(ws, task.id, index)?,
        _ => OpenChildren::default(),
    };
    let facts = Facts { blockers: &around.blocked_by, children, lease, parent, overlaps: &around.overlaps };
    let mut reasons = readiness::reasons(&task.brief(), facts, &viewer, ws.env.now());
    readiness::add_notes(&mut reasons, task);
    Ok(reasons)
}

/// The tasks that a new task waits for, by the files; `written` are those that its command changed.
///
/// Errors: `ERR_GIT` if the default branch of the remote must be read and cannot be.
pub(crate) fn blockers_of_new(ws: &Workspace, task: &Task, written: &BTreeMap<Id, Rc<Task>>) -> Result<Vec<Blocker>> {
    Neighborhood::of(&mut AroundNew { ws, written, branch: DefaultBranch::new(ws) }).waits(task)
}

/// Whether a child counts as unfinished for its parent.
pub(crate) fn is_open_child(ws: &Workspace, index: &Index, child: Id) -> Result<bool> {
    Ok(readiness::is_open_child(index.blocker(child)?, BlockerRules::of(&ws.settings)))
}

/// The numbers of the children of a task that count as unfinished, by edges that count.
fn open_children(ws: &Workspace, id: Id, index: &Index) -> Result<OpenChildren> {
    let mut finished = Vec::new();
    for child in Neighborhood::of(&mut Indexed::new(ws, index)).children(id)? {
        finished.push(index.status(child)?.is_some_and(Status::is_finished));
    }
    Ok(OpenChildren::count(finished))
}

/// The tasks of the read model.
pub(crate) struct Indexed<'a> {
    ws: &'a Workspace,
    index: &'a Index,
    branch: DefaultBranch<'a>,
}

impl<'a> Indexed<'a> {
    pub fn new(ws: &'a Workspace, index: &'a Index) -> Self {
        Indexed { ws, index, branch: DefaultBranch::new(ws) }
    }
}

impl Records for Indexed<'_> {
    fn rules(&self) -> BlockerRules {
        BlockerRules::of(&self.ws.settings)
    }

    fn task(&mut self, id: Id) -> Result<Option<Rc<Task>>> {
        Ok(self.index.task(id)?.map(Rc::new))
    }

    fn state(&mut self, id: Id) -> Result<Option<BlockerState>> {
        self.index.blocker(id)
    }

    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool> {
        self.branch.has_landed(id, at)
    }

    fn all_children(&mut self, id: Id) -> Result<Vec<Id>> {
        self.index.children(id)
    }

    fn dependents(&mut self, id: Id) -> Result<Vec<Id>> {
        self.index.dependents(id)
    }

    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>> {
        let edges = self.index.open_edges()?;
        Ok(Rc::new(void_pairs(&edges, &void_edges(&edges))))
    }

    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        self.index.parent(id)
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        self.index.defer_until(id)
    }
}

/// The tasks around a new one, as its command left them, or else from their files. None can wait for it yet but those above it.
struct AroundNew<'a> {
    ws: &'a Workspace,
    written: &'a BTreeMap<Id, Rc<Task>>,
    branch: DefaultBranch<'a>,
}

impl Records for AroundNew<'_> {
    fn rules(&self) -> BlockerRules {
        BlockerRules::of(&self.ws.settings)
    }

    fn task(&mut self, id: Id) -> Result<Option<Rc<Task>>> {
        // What cannot be read counts as what is not here.
        let read = || load_task(self.ws, id).ok().map(|loaded| Rc::new(loaded.task));
        Ok(self.written.get(&id).cloned().or_else(read))
    }

    fn state(&mut self, id: Id) -> Result<Option<BlockerState>> {
        let dropped = || is_dropped(self.ws, id).then_some(BlockerState::DROPPED);
        Ok(self.task(id)?.map(|task| BlockerState::from(&*task)).or_else(dropped))
    }

    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool> {
        self.branch.has_landed(id, at)
    }

    fn all_children(&mut self, _: Id) -> Result<Vec<Id>> {
        Ok(Vec::new())
    }

    fn dependents(&mut self, _: Id) -> Result<Vec<Id>> {
        Ok(Vec::new())
    }

    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>> {
        Ok(Rc::default())
    }
}
