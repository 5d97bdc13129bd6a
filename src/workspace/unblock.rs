//! Blocked tasks whose blockers are all finished: that they are open again is recorded, where no single change could.
//!
//! Guarantees: one question to the read model where there is nothing to record. A task that cannot be changed stays as it is, with
//! a warning, and keeps no other from being recorded.
//! Leaves to others: a change that finishes the last blocker itself records what it unblocks (`rules::decide`).

use super::Workspace;
use crate::error::{Code, Result};
use crate::model::command::Command;
use crate::model::event::Author;
use crate::model::id::Id;
use crate::rules::decide::{Subject, unblock_freed};

/// What is done to such a task, in the answers that name it.
pub(super) const UNBLOCKED: &str = "unblocked: nothing unfinished blocks it";

impl Workspace {
    /// Records of every blocked task without an unfinished blocker that it is open. Gives these tasks; why others stay blocked
    /// becomes a notice.
    pub(super) fn record_unblocked(&self) -> Vec<Id> {
        let freed = self.index_to_change().and_then(|index| index.freed());
        let found = freed.and_then(|freed| match freed.is_empty() {
            true => Ok(freed),
            false => self.author().map(|author| self.unblock_or_notice(&author, &freed)),
        });
        found.unwrap_or_else(|e| {
            self.notice(format!("tasks whose blockers are all finished stay blocked: {}", e.message));
            Vec::new()
        })
    }

    fn unblock_or_notice(&self, author: &Author, ids: &[Id]) -> Vec<Id> {
        match self.unblock(author, ids) {
            Ok(unblocked) => unblocked,
            // One task that cannot be changed keeps no other from it.
            Err(e) if ids.len() > 1 && !matches!(e.code, Code::Busy | Code::NoSpace) => {
                ids.iter().flat_map(|id| self.unblock_or_notice(author, &[*id])).collect()
            }
            Err(e) => {
                let more = if ids.len() > 1 { format!(" and {} more", ids.len() - 1) } else { String::new() };
                self.notice(format!("task {}{more} stays blocked: {}", ids[0], e.message));
                Vec::new()
            }
        }
    }

    fn unblock(&self, author: &Author, ids: &[Id]) -> Result<Vec<Id>> {
        let reply =
            self.carry_out(author.clone(), &Command::Batch(Vec::new()), &[], |scene| unblock_freed(scene, ids))?;
        let known = self.warnings();
        reply.warnings.into_iter().filter(|warning| !known.contains(warning)).for_each(|warning| self.notice(warning));
        let Subject::Batch(steps) = reply.subject else { return Ok(Vec::new()) };
        Ok(steps.into_iter().filter_map(|(_, subject)| subject.id()).collect())
    }
}
