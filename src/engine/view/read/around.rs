//! Reads what surrounds one task: blockers, children, lease, score, and whether the caller can claim it.
//!
//! Leaves to others: what readiness means (`rules::readiness`), and the whole plan at once (`plan`).

use std::collections::{BTreeMap, BTreeSet};

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
use crate::rules::readiness::{
    self, Blocker, BlockerRules, BlockerState, Facts, Missing, OpenChildren, Reason, Surroundings, holding_parent,
};
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
    let blocked_by = open_blockers(ws, task, index)?;
    let children = counting_children(task.id, index)?;
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
        ..Around::default()
    };
    let is_over = task.status.is_finished() && !around.awaits_review;
    let waiting = if is_over { Vec::new() } else { index.dependents(task.id)? };
    for waiting in waiting {
        around.blocking += usize::from(!index.status(waiting)?.is_some_and(Status::is_finished));
    }
    if ws.settings.claim.overlap == Overlap::Refuse {
        around.overlaps = claimed_files::overlaps(ws, index, task.id, &task.fields.files)?;
    }
    if !task.status.is_finished() {
        let depth = depth(task.id, index)?;
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
    let depth = index.map_or(Ok(0), |index| depth(task.id, index))?;
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
        (Some(_), Some(index)) => holding_parent(&mut Indexed { ws, index }, task.id, ws.env.now())?,
        (Some(_), None) => holding_parent(&mut AboveNew(ws), task.id, ws.env.now())?,
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

/// The tasks that a task waits for, by edges that count.
pub(crate) fn open_blockers(ws: &Workspace, task: &Task, index: &Index) -> Result<Vec<Blocker>> {
    let (rules, mut branch) = (BlockerRules::of(&ws.settings), DefaultBranch::new(ws));
    let mut open = waits(task.blockers(), |id| {
        let state = index.blocker(id)?;
        readiness::missing(state, rules, |at| branch.has_landed(id, at))
    })?;
    if !open.is_empty() && leads_back(task.id, |id| index.dependents(id))? {
        let void = void(index)?;
        open.retain(|blocker| !void.contains(&(RelationType::Blocks, blocker.id, task.id)));
    }
    Ok(open)
}

/// Those of these tasks of which something is missing.
pub(super) fn waits(ids: Vec<Id>, mut missing: impl FnMut(Id) -> Result<Option<Missing>>) -> Result<Vec<Blocker>> {
    let blocker = |id: Id| Ok(missing(id)?.map(|missing| Blocker { id, missing }));
    ids.into_iter().map(blocker).filter_map(Result::transpose).collect()
}

/// The tasks that a new task waits for, by the files; `written` are those that its command changed.
///
/// Errors: `ERR_GIT` if the default branch of the remote must be read and cannot be.
pub(crate) fn blockers_of_new(
    ws: &Workspace,
    task: &Task,
    written: &BTreeMap<Id, std::rc::Rc<Task>>,
) -> Result<Vec<Blocker>> {
    let (rules, mut branch) = (BlockerRules::of(&ws.settings), DefaultBranch::new(ws));
    waits(task.blockers(), |id| {
        let read = || match load_task(ws, id) {
            Ok(loaded) => Some(BlockerState::from(&loaded.task)),
            Err(_) => is_dropped(ws, id).then_some(BlockerState::DROPPED),
        };
        let state = written.get(&id).map(|task| BlockerState::from(&**task)).or_else(read);
        readiness::missing(state, rules, |at| branch.has_landed(id, at))
    })
}

/// Whether a child counts as unfinished for its parent.
pub(crate) fn is_open_child(ws: &Workspace, index: &Index, child: Id) -> Result<bool> {
    Ok(readiness::is_open_child(index.blocker(child)?, BlockerRules::of(&ws.settings)))
}

/// The numbers of the children of a task that count as unfinished, by edges that count.
fn open_children(ws: &Workspace, id: Id, index: &Index) -> Result<OpenChildren> {
    let mut finished = Vec::new();
    for child in counting_children(id, index)? {
        if is_open_child(ws, index, child)? {
            finished.push(index.status(child)?.is_some_and(Status::is_finished));
        }
    }
    Ok(OpenChildren::count(finished))
}

/// The children of a task, by edges that count.
fn counting_children(id: Id, index: &Index) -> Result<Vec<Id>> {
    let mut children = index.children(id)?;
    if !children.is_empty() && leads_back(id, |id| index.children(id))? {
        let void = void(index)?;
        children.retain(|child| !void.contains(&(RelationType::ParentOf, id, *child)));
    }
    Ok(children)
}

fn void(index: &Index) -> Result<BTreeSet<(RelationType, Id, Id)>> {
    let edges = index.open_edges()?;
    Ok(void_pairs(&edges, &void_edges(&edges)))
}

/// The tasks of the read model as readiness asks for them.
struct Indexed<'a> {
    ws: &'a Workspace,
    index: &'a Index,
}

impl Surroundings for Indexed<'_> {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let above = |id| Ok(self.index.task(id)?.and_then(|task| task.parent()).into_iter().collect());
        let Some(parent) = self.index.task(id)?.and_then(|task| task.parent()) else { return Ok(None) };
        if self.index.status(parent)?.is_none_or(Status::is_finished) {
            return Ok(None);
        }
        let counts = !leads_back(id, above)? || !void(self.index)?.contains(&(RelationType::ParentOf, parent, id));
        Ok(counts.then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(self.index.task(id)?.and_then(|task| task.fields.defer_until))
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        let Some(task) = self.index.task(id)? else { return Ok(Vec::new()) };
        Ok(open_blockers(self.ws, &task, self.index)?.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let mut open = Vec::new();
        for child in counting_children(id, self.index)? {
            if is_open_child(self.ws, self.index, child)? {
                open.push(child);
            }
        }
        Ok(open)
    }
}

/// The tasks above a new one, from their files. No task can wait for a new one yet, apart from those above it.
struct AboveNew<'a>(&'a Workspace);

impl Surroundings for AboveNew<'_> {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let Some(parent) = load_task(self.0, id)?.task.parent() else { return Ok(None) };
        Ok((!load_task(self.0, parent)?.task.status.is_finished()).then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(load_task(self.0, id)?.task.fields.defer_until)
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        let task = load_task(self.0, id)?.task;
        let open = blockers_of_new(self.0, &task, &BTreeMap::new())?;
        Ok(open.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, _: Id) -> Result<Vec<Id>> {
        Ok(Vec::new())
    }

    fn awaits(&mut self, _: Id, _: Id) -> Result<bool> {
        Ok(false)
    }
}

/// Whether a chain of edges that begins at a task leads back to it.
fn leads_back(id: Id, next: impl Fn(Id) -> Result<Vec<Id>>) -> Result<bool> {
    let (mut open, mut seen) = (next(id)?, BTreeSet::new());
    while let Some(task) = open.pop() {
        if task == id {
            return Ok(true);
        }
        if seen.insert(task) {
            open.extend(next(task)?);
        }
    }
    Ok(false)
}

/// The longest chain of unfinished tasks that wait for a task.
fn depth(id: Id, index: &Index) -> Result<u64> {
    let (mut level, mut depth, mut seen) = (vec![id], 0, BTreeSet::from([id]));
    loop {
        let mut next = Vec::new();
        for task in &level {
            for waiting in index.dependents(*task)? {
                if !index.status(waiting)?.is_some_and(Status::is_finished) && seen.insert(waiting) {
                    next.push(waiting);
                }
            }
        }
        if next.is_empty() {
            return Ok(depth);
        }
        depth += 1;
        level = next;
    }
}
