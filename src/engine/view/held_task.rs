//! The task that a question or a run means: the one it names, or the only one that the caller holds.
//!
//! Leaves to others: which tasks an agent holds, and what is said where it is not one (`rules::held`).

use super::read;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::model::args::{OptionalTaskRef, Ref};
use crate::model::id::Id;
use crate::rules::held::{NamedTask, only_one};

/// The task named, or the one held.
///
/// Errors: those of a reference; `ERR_AMBIGUOUS_ID` where the caller holds several; where it holds none, `ERR_LEASE_LOST` if it
/// lost one and was not informed, else `ERR_NOT_FOUND`.
pub fn named_or_held(ws: &Workspace, named: &OptionalTaskRef) -> Result<Id> {
    if let Some(reference) = &named.0 {
        return read::resolve(ws, &Ref(reference.clone()));
    }
    // A question about one task does not look at the files of all others.
    let index = read::index_for_write(ws)?;
    let title = |id| Ok(index.task(id)?.map(|task| task.fields.title).unwrap_or_default());
    let name = |id| Ok(NamedTask::new(id, read::handle(ws, id)?, &title(id)?));
    let held = read::held(ws, &index)?;
    if held.is_empty()
        && let Some(lost) = read::lost(ws, &index)?
    {
        return Err(lost.hint_other_work("what you recorded before is kept; "));
    }
    only_one(&ws.author()?.agent, &held, name)
}
