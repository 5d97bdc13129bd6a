//! Records that threads are past their time to live, where no change of their tasks records it.
//!
//! Guarantees that a task that cannot be changed does not prevent the others.
//! Leaves to others: what the settings say about such a thread (`rules::decide`).

use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::id::Id;
use crate::rules::decide::{Subject, expire_threads};

/// Records it for every task; why it is not recorded becomes a notice.
pub(crate) fn record_expired(ws: &Workspace) {
    if let Err(e) = record(ws) {
        ws.notice(format!("threads past their time to live stay open: {}", e.message));
    }
}

fn record(ws: &Workspace) -> Result<()> {
    expired(ws)?.into_iter().for_each(|id| record_expired_of(ws, id));
    Ok(())
}

/// Records it for one task; why it is not recorded becomes a notice.
pub(crate) fn record_expired_of(ws: &Workspace, id: Id) {
    if let Err(e) = record_task(ws, id) {
        ws.notice(format!("threads of task {id} stay open past their time to live: {}", e.message));
    }
}

fn record_task(ws: &Workspace, id: Id) -> Result<()> {
    write::carry_out(ws, ws.author()?, "closing of expired threads", &[], |tx| {
        expire_threads(tx, id).map(|()| Subject::Task(id))
    })
    .map(drop)
}

/// The tasks with a thread whose expiry is not recorded.
fn expired(ws: &Workspace) -> Result<Vec<Id>> {
    let (index, now) = (read::index_for_write(ws)?, ws.env.now());
    let mut found = Vec::new();
    for id in index.tasks_under_discussion()? {
        if index.task(id)?.is_some_and(|task| task.threads.values().any(|thread| thread.is_expired(now))) {
            found.push(id);
        }
    }
    Ok(found)
}
