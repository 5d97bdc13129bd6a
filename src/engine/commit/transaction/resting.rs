//! Tasks that a long command is done with: only what other tasks may ask of them is held.
//!
//! Guarantees that a task which is needed again is read again, with the events that the command emitted of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{OnStage, Transaction};
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::fold;
use crate::store::entity::read_log;
use crate::store::log::Log;

/// The most tasks that are held before those that are finished rest.
pub(super) const MOST_HELD: usize = 256;

/// A finished task that rests.
#[derive(Debug)]
pub(crate) struct RestingTask {
    pub title: String,
    pub(super) parent: Option<Id>,
    pub(super) blockers: Vec<Id>,
}

impl Transaction<'_> {
    /// Lets the finished tasks that were changed rest, and drops those that were only read, where many are held.
    pub(super) fn rest(&mut self) {
        // A task with a hand edit is compared with its file until it is written.
        if self.tasks.len() < self.rests_at
            || self.source.is_some()
            || !self.taken_in.is_empty()
            || !self.seen.is_empty()
        {
            return;
        }
        for (id, slot) in std::mem::take(&mut self.tasks) {
            let task = &slot.task;
            if slot.changed && task.status.is_finished() {
                let resting = RestingTask {
                    title: task.fields.title.clone(),
                    parent: task.parent(),
                    blockers: task.blockers().into_iter().collect(),
                };
                self.resting.insert(id, resting);
            } else if slot.changed {
                self.tasks.insert(id, slot);
            }
        }
        // Those that are left are looked through again when they are twice as many.
        self.rests_at = MOST_HELD.max(2 * self.tasks.len());
    }

    /// Reads a resting task again, if it is one.
    pub(super) fn wake(&mut self, id: Id) -> Result<bool> {
        if self.resting.remove(&id).is_none() {
            return Ok(false);
        }
        let log = read_log(&self.ws.store, &Entity::Task(id))?;
        let task = Rc::new(fold::fold(id, log.entries.iter().chain(self.emitted(id))).0);
        self.tasks.insert(id, OnStage { task, log, changed: true });
        Ok(true)
    }

    /// The events of a task's log that were emitted.
    pub(super) fn emitted(&self, id: Id) -> impl Iterator<Item = &Entry> {
        let is_its_own = move |e: &&Entry| e.event.entity == Entity::Task(id) && !e.event.payload.journal_only();
        self.entries.iter().filter(is_its_own)
    }

    /// The changed tasks.
    pub(crate) fn changed(&self) -> impl Iterator<Item = Id> {
        self.tasks.iter().filter(|(_, slot)| slot.changed).map(|(id, _)| *id).chain(self.resting.keys().copied())
    }

    /// The log of a task of this transaction, without the emitted events.
    ///
    /// Errors: `ERR_IO` where it cannot be read again.
    pub(crate) fn log(&self, id: Id) -> Result<Cow<'_, Log>> {
        match self.tasks.get(&id) {
            Some(slot) => Ok(Cow::Borrowed(&slot.log)),
            None => read_log(&self.ws.store, &Entity::Task(id)).map(Cow::Owned),
        }
    }

    /// The emitted events of each task.
    pub(crate) fn emitted_by_task(&self) -> BTreeMap<Id, Vec<&Entry>> {
        let mut new: BTreeMap<Id, Vec<&Entry>> = BTreeMap::new();
        for entry in &self.entries {
            if let Entity::Task(id) = entry.event.entity {
                new.entry(id).or_default().push(entry);
            }
        }
        new
    }
}
