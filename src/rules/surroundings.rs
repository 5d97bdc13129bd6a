//! The tasks around one, by the edges that count: what it waits for, its unfinished children, and what is above it.
//!
//! Guarantees one definition for the read model, for the stage of a command and for the files.
//! Leaves to others: what follows for a task (`readiness`), and where tasks are read ([`Records`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::mem;
use std::rc::Rc;

use crate::error::{Code, Result};
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::graph::{find_circles, longest_chain};
use crate::rules::readiness::{
    Blocker, BlockerRules, BlockerState, HoldingParent, Missing, counting_status, is_open_child, missing,
};

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

    /// A task above another one, with none between them that is deferred or blocked.
    fn above(&mut self, id: Id) -> Result<Option<Id>> {
        self.parent(id)
    }

    /// Whether a task waits for another one.
    fn is_blocked(&mut self, id: Id) -> Result<bool> {
        Ok(!self.blockers(id)?.is_empty())
    }

    /// Whether a blocker of `parent` waits for `task`, which is below it.
    fn awaits(&mut self, parent: Id, task: Id) -> Result<bool>;
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

    /// The parent of a task.
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        Ok(self.task(id)?.and_then(|task| task.parent()))
    }

    /// The time until which a task is deferred.
    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(self.task(id)?.and_then(|task| task.fields.defer_until))
    }
}

/// Recorded tasks by the edges that count. Only where a chain of edges leads in a circle are the edges of the whole plan searched; what
/// one question finds out about that serves the next ones, so that a search costs no more than the edges that it meets.
pub struct Neighborhood<'a, R: ?Sized> {
    records: &'a mut R,
    /// Tasks from which no chain of parents leads in a circle.
    above: BTreeMap<Id, u64>,
    /// Tasks from which no chain of dependents leads in a circle.
    after: BTreeMap<Id, u64>,
    void: Option<Rc<BTreeSet<(RelationType, Id, Id)>>>,
    circles: Circles,
}

impl<'a, R: Records + ?Sized> Neighborhood<'a, R> {
    /// The neighborhood in these records.
    pub fn of(records: &'a mut R) -> Self {
        let (above, after) = (BTreeMap::new(), BTreeMap::new());
        Neighborhood { records, above, after, void: None, circles: Circles::default() }
    }

    /// The tasks that a task waits for, with what is missing of each.
    pub fn waits(&mut self, task: &Task) -> Result<Vec<Blocker>> {
        let mut left = Vec::new();
        for id in task.blockers() {
            if let Some(missing) = missing_of(self.records, id)?
                && self.counts(RelationType::Blocks, id, task.id)?
            {
                left.push(Blocker { id, missing });
            }
        }
        Ok(left)
    }

    /// The unfinished tasks that wait for a task.
    pub fn waiting(&mut self, id: Id) -> Result<Vec<Id>> {
        let mut left = Vec::new();
        if missing_of(self.records, id)?.is_some() {
            for other in waiting(self.records, id)? {
                if self.counts(RelationType::Blocks, id, other)? {
                    left.push(other);
                }
            }
        }
        Ok(left)
    }

    /// The status of a task as it counts; `None` if it is not here.
    pub fn status(&mut self, id: Id) -> Result<Option<Status>> {
        let Some(state) = self.records.state(id)? else { return Ok(None) };
        let blockers = if state.status == Status::Blocked { self.blockers(id)?.len() } else { 0 };
        Ok(Some(counting_status(state.status, blockers)))
    }

    /// The children of a task, the finished ones included.
    pub fn all_children(&mut self, id: Id) -> Result<Vec<Id>> {
        let mut children = Vec::new();
        for child in self.records.all_children(id)? {
            if self.counts(RelationType::ParentOf, id, child)? {
                children.push(child);
            }
        }
        Ok(children)
    }

    /// Whether an edge is none of those that do not count.
    fn counts(&mut self, kind: RelationType, from: Id, to: Id) -> Result<bool> {
        if self.void.is_none() {
            if self.leads_to_an_end(kind, to)? {
                return Ok(true);
            }
            self.void = Some(self.records.void()?);
        }
        Ok(self.void.as_ref().is_none_or(|void| !void.contains(&(kind, from, to))))
    }

    /// Whether no chain of edges of a kind leads from a task in a circle. An edge of a circle has such a chain at its end.
    fn leads_to_an_end(&mut self, kind: RelationType, id: Id) -> Result<bool> {
        let records = &mut *self.records;
        let longest = match kind {
            RelationType::ParentOf => longest_chain(id, &mut self.above, |id| Ok(Vec::from_iter(records.parent(id)?)))?,
            _ => longest_chain(id, &mut self.after, |id| records.dependents(id))?,
        };
        Ok(longest.is_some())
    }
}

impl<R: Records + ?Sized> Surroundings for Neighborhood<'_, R> {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let Some(parent) = self.records.parent(id)? else { return Ok(None) };
        match self.records.state(parent) {
            Ok(Some(state)) if !state.status.is_finished() => {}
            Ok(_) => return Ok(None),
            // Nothing is known of a task whose log cannot be read, and the caller does not change it.
            Err(e) if e.code == Code::Corrupt => return Ok(None),
            Err(e) => return Err(e),
        }
        Ok(self.counts(RelationType::ParentOf, parent, id)?.then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        self.records.defer_until(id)
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        // A blocker may be unknown here; then nothing is known of what it waits for.
        let Some(task) = self.records.task(id)? else { return Ok(Vec::new()) };
        Ok(self.waits(&task)?.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let mut open = Vec::new();
        for child in self.records.all_children(id)? {
            if is_open_child(self.records.state(child)?, self.records.rules())
                && self.counts(RelationType::ParentOf, id, child)?
            {
                open.push(child);
            }
        }
        Ok(open)
    }

    fn awaits(&mut self, parent: Id, task: Id) -> Result<bool> {
        let mut circles = mem::take(&mut self.circles);
        circles.search(self, parent)?;
        self.circles = circles;
        Ok(self.circles.awaits(parent, task))
    }
}

/// What is missing of a blocker. One that is unknown here counts as unfinished.
pub fn missing_of<R: Records + ?Sized>(records: &mut R, blocker: Id) -> Result<Option<Missing>> {
    missing(records.state(blocker)?, records.rules(), |at| records.has_landed(blocker, at))
}

/// The length of the longest chain of unfinished tasks that wait for a task.
pub fn depth<R: Records + ?Sized>(records: &mut R, id: Id) -> Result<u64> {
    if let Some(depth) = longest_chain(id, &mut BTreeMap::new(), |task| waiting(records, task))? {
        return Ok(depth);
    }
    let void = records.void()?;
    let depth = longest_chain(id, &mut BTreeMap::new(), |task| {
        let mut counting = waiting(records, task)?;
        counting.retain(|other| !void.contains(&(RelationType::Blocks, task, *other)));
        Ok(counting)
    })?;
    Ok(depth.unwrap_or_default())
}

/// The unfinished tasks that wait for a task, by all edges.
fn waiting<R: Records + ?Sized>(records: &mut R, id: Id) -> Result<Vec<Id>> {
    let mut waiting = Vec::new();
    for task in records.dependents(id)? {
        if !records.state(task)?.is_some_and(|state| state.status.is_finished()) {
            waiting.push(task);
        }
    }
    Ok(waiting)
}

/// What has to happen with a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Its blockers are finished.
    Unblock(Id),
    /// It begins: it is unblocked, and the task above it has begun.
    Begin(Id),
    /// It ends: it has begun, and its children have ended.
    End(Id),
}

/// The steps that wait for each other, by the number of their circle, of those that searches have met.
#[derive(Debug, Default)]
pub struct Circles(HashMap<Step, usize>);

impl Circles {
    /// Searches all that the blockers of a task wait for: their blockers, their children, and the blockers of the tasks above them.
    pub fn search<S: Surroundings + ?Sized>(&mut self, around: &mut S, parent: Id) -> Result<()> {
        find_circles(Step::Unblock(parent), &mut self.0, |step| {
            Ok(match step {
                Step::Unblock(id) => around.blockers(id)?.into_iter().map(Step::End).collect(),
                Step::Begin(id) => {
                    let above = around.parent(id)?.map(Step::Begin);
                    above.into_iter().chain([Step::Unblock(id)]).collect()
                }
                Step::End(id) => {
                    let children = around.children(id)?.into_iter().map(Step::End);
                    children.chain([Step::Begin(id)]).collect()
                }
            })
        })
    }

    /// Whether a blocker of a task that was searched waits for another task below that. As the other one cannot begin before its parent
    /// is unblocked, each of the two then waits for the other.
    pub fn awaits(&self, parent: Id, task: Id) -> bool {
        self.0.get(&Step::End(task)).is_some_and(|circle| self.0.get(&Step::Unblock(parent)) == Some(circle))
    }
}

/// The nearest deferred or blocked task above a task. One whose blockers wait for the task itself does not keep it from
/// beginning, or neither could ever begin.
pub fn holding_parent<S: Surroundings + ?Sized>(around: &mut S, id: Id, now: Time) -> Result<Option<HoldingParent>> {
    // A stage that knows a part of the plan may not know which edge of a circle is void.
    let (mut child, mut above) = (id, BTreeSet::new());
    while let Some(parent) = around.above(child)?.filter(|parent| above.insert(*parent)) {
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
