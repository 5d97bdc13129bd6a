//! Rebuilds runtime records from the journals if their files are damaged.
//!
//! Guarantees that a damaged file loses nothing that was acknowledged on this machine. What was last seen at a remote is not
//! in the journals; it is asked for again.

use crate::env::files::Dir;
use crate::error::Result;
use crate::model::agent::{LeaseRecord, Session};
use crate::model::event::{Entity, Event};
use crate::model::id::Id;
use crate::rules;
use crate::runtime::journal::KeyRecord;
use crate::runtime::journals::Journals;

/// The leases of a task.
///
/// Errors: `ERR_IO` if a journal cannot be read.
pub fn lease(runtime: &Dir, task: Id) -> Result<LeaseRecord> {
    let mut record = LeaseRecord::default();
    each_event(runtime, |event| event.entity == Entity::Task(task), |event| rules::lease::apply(&mut record, event))?;
    Ok(record)
}

/// A session by its id.
///
/// Errors: as [`lease`].
pub fn session(runtime: &Dir, id: Id) -> Result<Option<Session>> {
    let mut known = None;
    let concerned = |event: &Event| rules::session::concerned(event).any(|of| of == id);
    each_event(runtime, concerned, |event| known = rules::session::after(known.take(), id, event))?;
    Ok(known)
}

/// The last call that used a wanted idempotency key.
///
/// Errors: as [`lease`].
pub fn key(runtime: &Dir, wanted: impl Fn(&KeyRecord) -> bool) -> Result<Option<KeyRecord>> {
    let mut found = None;
    Journals::open(runtime)?
        .each(|_, _| None::<()>, |_, commit| found = commit.key.filter(|known| wanted(known)).or(found.take()))?;
    Ok(found)
}

/// Applies the wanted events of this machine, in order of arrival.
fn each_event(runtime: &Dir, wanted: impl Fn(&Event) -> bool, mut apply: impl FnMut(&Event)) -> Result<()> {
    Journals::open(runtime)?.each(
        |entry, _| wanted(&entry.event).then_some(entry.event),
        |events, commit| {
            if !commit.is_foreign() {
                events.iter().for_each(&mut apply);
            }
        },
    )
}
