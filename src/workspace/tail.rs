//! What others have written into the journal that is not in the files yet: its writers wait for the disk.
//!
//! Promises: a decision that sees it decides as if it were in the files already, and its record leans on theirs: they last
//! together or not at all.
//! Refuses to know: who flushes, and when it gets into the files (`workspace::settle`).

use std::collections::BTreeSet;

use crate::env::files::Dir;
use crate::error::Result;
use crate::model::agent::{LeaseRecord, Session};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::rules::{lease, session};
use crate::runtime::journal::Record;
use crate::runtime::records;
use crate::store::entity::{read_log, understand};
use crate::store::index::Pending;
use crate::store::layout::Store;

/// The events of such records, in order.
#[derive(Debug, Default)]
pub(super) struct Tail {
    entries: Vec<Entry>,
    records: usize,
}

impl Tail {
    /// Of these records; `None` where a command had better wait until they are in the files: they are of another worktree, or
    /// change more than tasks, or one of them used an idempotency key and this command has one too.
    pub fn of(records: Vec<Record>, root: &str, has_key: bool) -> Option<Self> {
        let (mut entries, count) = (Vec::new(), records.len());
        for record in records {
            let apart = record.commit.root != root || record.commit.arrived || (has_key && record.commit.key.is_some());
            if apart || record.entries.iter().any(|e| e.event.entity.task().is_none()) {
                return None;
            }
            entries.extend(record.entries);
        }
        Some(Tail { entries, records: count })
    }

    /// Whether there is nothing of the kind.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records
    }

    fn of_task(&self, id: Id) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.event.entity == Entity::Task(id))
    }

    /// What will be in the log of a task.
    pub fn log_of(&self, id: Id) -> Vec<Entry> {
        self.of_task(id).filter(|e| !e.event.payload.journal_only()).cloned().collect()
    }

    /// What will be in the logs of all tasks.
    pub fn logs(&self) -> Pending {
        let ids: BTreeSet<Id> = self.entries.iter().filter_map(|e| e.event.entity.task()).collect();
        ids.into_iter().map(|id| (id, self.log_of(id))).collect()
    }

    /// What is known of a task's leases.
    ///
    /// Errors: `ERR_CORRUPT` or `ERR_IO` where it cannot be read.
    pub fn lease(&self, store: &Store, runtime: &Dir, task: Id) -> Result<LeaseRecord> {
        lease_after(store, runtime, task, &self.of_task(task).collect::<Vec<_>>())
    }

    /// The tasks whose lease was granted.
    pub fn leased_tasks(&self) -> impl Iterator<Item = Id> {
        let granted = self.entries.iter().filter(|e| matches!(e.event.payload, Payload::LeaseAcquired(_)));
        granted.filter_map(|e| e.event.entity.task())
    }

    /// A session by its id.
    ///
    /// Errors: `ERR_CORRUPT` or `ERR_IO` where it cannot be read.
    pub fn session(&self, runtime: &Dir, id: Id) -> Result<Option<Session>> {
        let known = records::session(runtime, id)?;
        let concerned = self.entries.iter().filter(|e| session::concerned(&e.event).any(|other| other == id));
        Ok(concerned.fold(known, |known, entry| session::after(known, id, &entry.event)))
    }
}

/// What is known of a task's leases after more of its events, as the commands that wrote them saw it.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where it cannot be read.
pub(super) fn lease_after(store: &Store, runtime: &Dir, task: Id, new: &[&Entry]) -> Result<LeaseRecord> {
    let mut record = records::lease(runtime, task)?;
    if !new.iter().any(|e| e.event.payload.is_of_lease()) {
        return Ok(record);
    }
    let mut log = read_log(store, &Entity::Task(task))?;
    log.entries.retain(|known| new.iter().all(|e| e.event.id != known.event.id));
    let before = understand(&store.name, task, log);
    for entry in new {
        lease::heed_log(&mut record, &before.task, before.log.entries.iter(), entry.event.at);
        lease::apply(&mut record, &entry.event);
        lease::heed_remote(&mut record);
    }
    Ok(record)
}
