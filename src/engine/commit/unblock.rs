//! Records that blocked tasks whose blockers are all finished are open again, where no single change could record it.
//!
//! Guarantees one query of the read model if there is nothing to record. A task that cannot be changed stays as it is, with a
//! warning, and does not prevent the others.
//! Leaves to others: a change that finishes the last blocker itself records what it unblocks (`rules::decide`).

use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Code, Result};
use crate::model::event::Author;
use crate::model::id::Id;
use crate::rules::decide::{Subject, unblock_freed};

/// What is done to such a task, in the answers that name it.
pub(crate) const UNBLOCKED: &str = "unblocked: nothing unfinished blocks it";

/// Records of every blocked task without an unfinished blocker that it is open. Returns these tasks; why others stay blocked
/// becomes a notice.
pub(crate) fn record_unblocked(ws: &Workspace) -> Vec<Id> {
    let freed = read::index_for_write(ws).and_then(|index| read::freed(ws, &index));
    let found = freed.and_then(|freed| match freed.is_empty() {
        true => Ok(freed),
        false => ws.author().map(|author| unblock_or_notice(ws, &author, &freed)),
    });
    found.unwrap_or_else(|e| {
        ws.notice(format!("tasks whose blockers are all finished stay blocked: {}", e.message));
        Vec::new()
    })
}

fn unblock_or_notice(ws: &Workspace, author: &Author, ids: &[Id]) -> Vec<Id> {
    match unblock(ws, author, ids) {
        Ok(unblocked) => unblocked,
        // One task that cannot be changed keeps no other from it.
        Err(e) if ids.len() > 1 && !matches!(e.code, Code::Busy | Code::NoSpace) => {
            ids.iter().flat_map(|id| unblock_or_notice(ws, author, &[*id])).collect()
        }
        Err(e) => {
            let more = if ids.len() > 1 { format!(" and {} more", ids.len() - 1) } else { String::new() };
            ws.notice(format!("task {}{more} stays blocked: {}", ids[0], e.message));
            Vec::new()
        }
    }
}

fn unblock(ws: &Workspace, author: &Author, ids: &[Id]) -> Result<Vec<Id>> {
    let reply = write::carry_out(ws, author.clone(), "unblocking", &[], |tx| unblock_freed(tx, ids))?;
    let known = write::warnings(ws);
    reply.warnings.into_iter().filter(|warning| !known.contains(warning)).for_each(|warning| ws.notice(warning));
    let Subject::Batch(steps) = reply.subject else { return Ok(Vec::new()) };
    Ok(steps.into_iter().filter_map(|(_, subject)| subject.id()).collect())
}
