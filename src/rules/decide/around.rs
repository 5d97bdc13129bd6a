//! The tasks around one on a stage, and what follows for it: what it waits for, its unfinished children, why it is not ready.
//!
//! Leaves to others: which edges count (`rules::surroundings`), and what a command makes of it.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::error::Result;
use crate::model::id::Id;
use crate::model::payload::TaskStatusChanged;
use crate::model::relationship::RelationType;
use crate::model::settings::Overlap;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::readiness::{
    Blocker, BlockerRules, BlockerState, Facts, Missing, OpenChildren, Reason, add_notes, reasons,
};
use crate::rules::stage::Stage;
use crate::rules::surroundings::{self, Neighborhood, Records, Surroundings as _, holding_parent};

/// The tasks of a stage as readiness asks for them.
struct OnStage<'a>(&'a mut dyn Stage);

impl Records for OnStage<'_> {
    fn rules(&self) -> BlockerRules {
        BlockerRules::of(self.0.settings())
    }

    fn task(&mut self, id: Id) -> Result<Option<Rc<Task>>> {
        if self.0.exists(id)? { self.0.task(id).map(Some) } else { Ok(None) }
    }

    fn state(&mut self, id: Id) -> Result<Option<BlockerState>> {
        match self.task(id)? {
            Some(task) => Ok(Some(BlockerState::from(&*task))),
            None => Ok(self.0.is_dropped(id)?.then_some(BlockerState::DROPPED)),
        }
    }

    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool> {
        self.0.has_landed(id, at)
    }

    fn all_children(&mut self, id: Id) -> Result<Vec<Id>> {
        self.0.children(id)
    }

    fn dependents(&mut self, id: Id) -> Result<Vec<Id>> {
        self.0.dependents(id)
    }

    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>> {
        self.0.void()
    }
}

/// The tasks that a task waits for, with what is missing of each.
pub fn waits(stage: &mut dyn Stage, task: &Task) -> Result<Vec<Blocker>> {
    Neighborhood::of(&mut OnStage(stage)).waits(task)
}

/// What is missing of a blocker.
pub fn missing_of(stage: &mut dyn Stage, blocker: Id) -> Result<Option<Missing>> {
    surroundings::missing_of(&mut OnStage(stage), blocker)
}

/// The tasks that a task waits for.
pub fn open_blockers(stage: &mut dyn Stage, task: &Task) -> Result<Vec<Id>> {
    Ok(waits(stage, task)?.into_iter().map(|blocker| blocker.id).collect())
}

/// The unfinished children of a task, those whose review is required and missing included.
pub fn unfinished_children(stage: &mut dyn Stage, id: Id) -> Result<Vec<Id>> {
    Neighborhood::of(&mut OnStage(stage)).children(id)
}

/// The numbers of children that count as unfinished.
pub fn count_children(stage: &mut dyn Stage, children: &[Id]) -> Result<OpenChildren> {
    let finished = children.iter().map(|child| Ok(stage.task(*child)?.status.is_finished()));
    Ok(OpenChildren::count(finished.collect::<Result<Vec<bool>>>()?))
}

/// Why a task that no agent works on is not ready for the actor, apart from other branches and the remote.
pub fn unready(stage: &mut dyn Stage, task: &Task) -> Result<Vec<Reason>> {
    let blockers = waits(stage, task)?;
    let children = unfinished_children(stage, task.id)?;
    let children = count_children(stage, &children)?;
    let now = stage.now();
    let lease = stage.lease(task.id)?.lease;
    let parent = holding_parent(&mut Neighborhood::of(&mut OnStage(stage)), task.id, now)?;
    let refuses = stage.settings().claim.overlap == Overlap::Refuse;
    let overlaps = if refuses { stage.overlaps(task.id, &task.fields.files)? } else { Vec::new() };
    let lease = lease.as_ref();
    let facts = Facts { blockers: &blockers, children, lease, parent, overlaps: &overlaps };
    let mut reasons = reasons(&task.brief(), facts, &stage.viewer()?, now);
    add_notes(&mut reasons, task);
    Ok(reasons)
}

/// A plain change of status.
pub fn move_to(from: Status, to: Status) -> TaskStatusChanged {
    TaskStatusChanged { from, to, owner: None, changed_at: None, forced: Vec::new() }
}
