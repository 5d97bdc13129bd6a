//! Answers queries from the files. Takes no lock, writes nothing below the work tree.
//!
//! Errors are `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, and `ERR_IO` where the store cannot be read.

pub(crate) mod agents;
pub(crate) mod board;
pub(crate) mod brief;
pub(crate) mod check;
pub(crate) mod conflicts;
pub(crate) mod diagnostics;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod export;
pub(crate) mod find;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod inbox;
pub(crate) mod leases;
pub(crate) mod lists;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod page;
pub(crate) mod plan_page;
pub(crate) mod ready;
pub(crate) mod review;
pub(crate) mod reviews;
pub(crate) mod status;
pub(crate) mod threads;
pub(crate) mod unreachable_events;

pub use export::Exported;
pub use graph::Drawing;
pub use log::newest_undoable;
pub use review::review_dropped;

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::commit::hand_edits::record;
use crate::engine::context::Workspace;
use crate::engine::view::held_task::named_or_held;
use crate::engine::view::landed;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::{read, sparse};
use crate::error::Result;
use crate::model::args::Ref;
use crate::model::id::Id;
use crate::model::query::{TaskGet, TaskPath};
use crate::reports::extent::Extent;
use crate::reports::view::TaskView;
use crate::rules::held::NamedTask;
use crate::store::database;
use crate::store::layout::task_dir;

/// The path of the file of a task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TaskFile {
    /// The task.
    pub id: Id,
    /// The path.
    pub path: String,
}

/// `task get`, with the remarks on the task's files.
pub fn task(ws: &Workspace, q: &TaskGet) -> Result<(TaskView, Vec<String>)> {
    let extent = Extent::of(q.full);
    if let Some(point) = &q.at {
        // A task that is named may be gone by now.
        let named = q.id.0.clone().map_or_else(|| named_or_held(ws, &q.id).map(|id| id.to_string()), Ok)?;
        let shown = history::task_at(ws, &Ref(named), point, extent)?;
        let remarks = read::load_task(ws, shown.id).map_or_else(|_| Vec::new(), |loaded| record::remarks(ws, &loaded));
        return Ok((shown, remarks));
    }
    let id = named_or_held(ws, &q.id)?;
    let loaded = read::load_task(ws, id)?;
    let task = &loaded.task;
    let mut elsewhere = OtherBranches::new(ws);
    sparse::warn_of_left_out(ws);
    // A question about one task does not look at the files of all others. Its own count whatever changed them.
    let index = read::index_for_write(ws)?;
    if index.version(id)? != Some(task.version) {
        index.overlay(&ws.store, &[id], &read::tasks_of(read::pending(ws)?), read::tick())?;
    }
    let shown = read::show_task_to(ws, task, &index, &mut elsewhere, extent)?;
    let mut names = Vec::new();
    for other in shown.named() {
        if let Some(title) = index.title(other)? {
            names.push(NamedTask::new(other, read::handle(ws, other)?, &title));
        }
    }
    let branches = elsewhere.states(task.id)?;
    elsewhere.warn();
    let landed = landed::has_landed(ws, task.id, task.status, task.completed_at)?;
    Ok((TaskView { branches, landed, names, ..shown }, record::remarks(ws, &loaded)))
}

/// `task path`
pub fn path(ws: &Workspace, q: &TaskPath) -> Result<TaskFile> {
    let id = named_or_held(ws, &q.id)?;
    Ok(TaskFile { id, path: ws.store.path().join(task_dir(id)).join("task.yaml").display().to_string() })
}

/// Asks once more with a new read model where the one at hand is damaged, which shows only where it is read.
///
/// Errors: those of the question.
pub fn retry_on_damaged_index<T>(ws: &Workspace, ask: impl Fn() -> Result<T>) -> Result<T> {
    match ask() {
        Err(e) if database::is_damaged(&e) => {
            read::discard_index(ws, &e);
            ask()
        }
        other => other,
    }
}
