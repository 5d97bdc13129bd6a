//! The tasks around one, by the edges that count: what it waits for, its unfinished children, and what is above it.
//!
//! Guarantees one definition for the read model, for the stage of a command and for the files.
//! Leaves to others: what follows for a task (`readiness`), and where tasks are read ([`Records`]).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::error::{Code, Result};
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::rules::graph::longest_chain;
use crate::rules::readiness::{Blocker, BlockerRules, BlockerState, HoldingParent, Missing, is_open_child, missing};

/// The most tasks above one that are looked at: a stage that knows a part of the plan may not know which edge of a circle is void.
const MAX_ABOVE: usize = 1_000;

/// The unfinished tasks around one, by edges that count.
pub trait Surroundings {
    /// The unfinished parent of a task.
    fn parent(&mut self, id: Id) -> Result<Option<Id>>;
    /// The time until which a task is deferred.
    fn defer_until(&mut self, id: Id) -> Result<Option<Time>>;
    /// The tasks that a task waits for.
    fn blockers(&mut self, id: Id) -> Result<Vec<Id>>;
    /// The unfinished children of a task.
    fn children(&mut self, id: Id) -> Result<Vec<Id>>;

    /// Whether a task waits for another one.
    fn is_blocked(&mut self, id: Id) -> Result<bool> {
        Ok(!self.blockers(id)?.is_empty())
    }

    /// Whether a blocker of `parent` waits for `task`.
    fn awaits(&mut self, parent: Id, task: Id) -> Result<bool> {
        Ok(awaited_by_blockers(self, parent)?.contains(&task))
    }
}

/// What is recorded of tasks, whether an edge counts or not.
pub trait Records {
    /// What the settings require of blockers.
    fn rules(&self) -> BlockerRules;
    /// A task; `None` if it is not here.
    fn task(&mut self, id: Id) -> Result<Option<Rc<Task>>>;
    /// What decides whether those that wait for a task may begin; `None` if it is not here.
    fn state(&mut self, id: Id) -> Result<Option<BlockerState>>;
    /// Whether the completion of a task at this time is on the default branch of the remote; true without such a branch.
    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool>;
    /// The tasks that have this one as parent.
    fn all_children(&mut self, id: Id) -> Result<Vec<Id>>;
    /// The tasks that this one blocks.
    fn dependents(&mut self, id: Id) -> Result<Vec<Id>>;
    /// Type and ends of the edges among unfinished tasks that do not count because they close a cycle.
    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>>;
}

impl<R: Records + ?Sized> Surroundings for R {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let Some(parent) = parent_of(self, id)? else { return Ok(None) };
        match self.state(parent) {
            Ok(Some(state)) if !state.status.is_finished() => {}
            Ok(_) => return Ok(None),
            // Nothing is known of a task whose log cannot be read, and the caller does not change it.
            Err(e) if e.code == Code::Corrupt => return Ok(None),
            Err(e) => return Err(e),
        }
        let on_circle = leads_back(self, id, |around, id| Ok(parent_of(around, id)?.into_iter().collect()))?;
        Ok((!on_circle || !self.void()?.contains(&(RelationType::ParentOf, parent, id))).then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(self.task(id)?.and_then(|task| task.fields.defer_until))
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        // A blocker may be unknown here; then nothing is known of what it waits for.
        let Some(task) = self.task(id)? else { return Ok(Vec::new()) };
        Ok(waits(self, &task)?.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let children = self.all_children(id)?;
        let mut open = Vec::new();
        for child in children {
            if is_open_child(self.state(child)?, self.rules()) {
                open.push(child);
            }
        }
        counting(self, id, open)
    }
}

fn parent_of<R: Records + ?Sized>(around: &mut R, id: Id) -> Result<Option<Id>> {
    Ok(around.task(id)?.and_then(|task| task.parent()))
}

/// What is missing of a blocker. One that is unknown here counts as unfinished.
pub fn missing_of<R: Records + ?Sized>(around: &mut R, blocker: Id) -> Result<Option<Missing>> {
    missing(around.state(blocker)?, around.rules(), |at| around.has_landed(blocker, at))
}

/// The tasks that a task waits for, with what is missing of each.
pub fn waits<R: Records + ?Sized>(around: &mut R, task: &Task) -> Result<Vec<Blocker>> {
    let mut left = Vec::new();
    for id in task.blockers() {
        left.extend(missing_of(around, id)?.map(|missing| Blocker { id, missing }));
    }
    if !left.is_empty() && leads_back(around, task.id, |around, id| around.dependents(id))? {
        let void = around.void()?;
        left.retain(|blocker| !void.contains(&(RelationType::Blocks, blocker.id, task.id)));
    }
    Ok(left)
}

/// The length of the longest chain of unfinished tasks that wait for a task.
pub fn depth<R: Records + ?Sized>(around: &mut R, id: Id) -> Result<u64> {
    if let Some(depth) = longest_chain(id, &mut BTreeMap::new(), |task| waiting(around, task))? {
        return Ok(depth);
    }
    let void = around.void()?;
    let depth = longest_chain(id, &mut BTreeMap::new(), |task| {
        let mut counting = waiting(around, task)?;
        counting.retain(|other| !void.contains(&(RelationType::Blocks, task, *other)));
        Ok(counting)
    })?;
    Ok(depth.unwrap_or_default())
}

/// The unfinished tasks that wait for a task, by all edges.
fn waiting<R: Records + ?Sized>(around: &mut R, id: Id) -> Result<Vec<Id>> {
    let mut waiting = Vec::new();
    for task in around.dependents(id)? {
        if !around.state(task)?.is_some_and(|state| state.status.is_finished()) {
            waiting.push(task);
        }
    }
    Ok(waiting)
}

/// Those of these children of a task that are by edges that count.
pub fn counting<R: Records + ?Sized>(around: &mut R, id: Id, mut children: Vec<Id>) -> Result<Vec<Id>> {
    if !children.is_empty() && leads_back(around, id, |around, id| around.all_children(id))? {
        let void = around.void()?;
        children.retain(|child| !void.contains(&(RelationType::ParentOf, id, *child)));
    }
    Ok(children)
}

/// Whether a chain of edges from a task leads back to it. Only then is the whole plan searched.
fn leads_back<R: Records + ?Sized>(
    around: &mut R,
    id: Id,
    next: impl Fn(&mut R, Id) -> Result<Vec<Id>>,
) -> Result<bool> {
    let (mut open, mut seen) = (next(around, id)?, BTreeSet::new());
    while let Some(task) = open.pop() {
        if task == id {
            return Ok(true);
        }
        if seen.insert(task) {
            open.extend(next(around, task)?);
        }
    }
    Ok(false)
}

/// The blockers of a task and all that they wait for: their blockers, their children, and the blockers of the tasks above them.
pub fn awaited_by_blockers<S: Surroundings + ?Sized>(around: &mut S, id: Id) -> Result<BTreeSet<Id>> {
    let mut open = around.blockers(id)?;
    let (mut awaited, mut above) = (BTreeSet::new(), BTreeSet::new());
    while let Some(task) = open.pop() {
        if !awaited.insert(task) {
            continue;
        }
        open.extend(around.blockers(task)?);
        open.extend(around.children(task)?);
        let mut child = task;
        while let Some(parent) = around.parent(child)?.filter(|parent| above.insert(*parent)) {
            open.extend(around.blockers(parent)?);
            child = parent;
        }
    }
    Ok(awaited)
}

/// The nearest deferred or blocked task above a task. One whose blockers wait for the task itself does not keep it from
/// beginning, or neither could ever begin.
pub fn holding_parent<S: Surroundings + ?Sized>(around: &mut S, id: Id, now: Time) -> Result<Option<HoldingParent>> {
    let mut child = id;
    for _ in 0..MAX_ABOVE {
        let Some(parent) = around.parent(child)? else { break };
        if let Some(until) = around.defer_until(parent)?.filter(|until| *until > now) {
            return Ok(Some(HoldingParent { id: parent, until: Some(until) }));
        }
        if around.is_blocked(parent)? && !around.awaits(parent, id)? {
            return Ok(Some(HoldingParent { id: parent, until: None }));
        }
        child = parent;
    }
    Ok(None)
}
