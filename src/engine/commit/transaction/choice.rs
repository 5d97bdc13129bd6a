//! Chooses the task for a claim of any.
//!
//! Guarantees that the task is ready by its own files and lease, read under the lock; the index alone decides nothing.
//! Leaves to others: the order of ready tasks (`rules::readiness`).

use super::Transaction;
use crate::engine::view::read;
use crate::error::{Code, Result};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::task::Status;
use crate::rules::decide::unready;
use crate::rules::lease;
use crate::rules::readiness::{Reason, leased};
use crate::rules::stage::Stage as _;

impl Transaction<'_> {
    /// The best ready task; with `here`, whatever other worktrees and branches say.
    pub(super) fn choose(&mut self, here: bool) -> Result<Option<Id>> {
        let ranking = self.prepared.as_ref().map(|p| p.ranking.clone()).unwrap_or_default();
        if let Some(id) = self.first_free(&ranking, here)? {
            return Ok(Some(id));
        }
        // Other processes claimed all of them, or opened new ones, before the lock: rank again under the lock.
        self.index()?;
        let (ws, now) = (self.ws, self.now);
        let ranking = match &self.prepared {
            Some(prepared) => {
                let plan = read::plan_to_claim(ws, &prepared.index)?;
                let viewer = read::viewer_with_rights(ws)?;
                plan.rank(&viewer, &ws.settings.score, now).into_iter().map(|ranked| ranked.id).collect()
            }
            None => Vec::new(),
        };
        self.first_free(&ranking, here)
    }

    /// The first of these tasks that is ready still, by its own files and lease; and, unless only what is `here` counts, in the
    /// other worktrees and on the other branches.
    fn first_free(&mut self, ranking: &[Id], here: bool) -> Result<Option<Id>> {
        for id in ranking {
            if self.passed_over.contains(id) {
                continue;
            }
            match self.in_the_way(*id, here) {
                Ok(None) => return Ok(Some(*id)),
                Ok(Some(reason)) => drop(self.passed.insert(*id, reason)),
                // A damaged task does not prevent the claim of another one.
                Err(e) if matches!(e.code, Code::Corrupt | Code::Io) => {
                    self.warn(format!("task {} was passed over: {}", id.handle(HANDLE_MIN), e.message));
                    self.passed_over.insert(*id);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Why a task may not be handed out.
    fn in_the_way(&mut self, id: Id, here: bool) -> Result<Option<Reason>> {
        if !self.load(id)? {
            return Ok(Some(Reason::Status { status: Status::Archived, owner: None, lease_expired_at: None }));
        }
        let now = self.now;
        if let Some(lease) = self.lease(id)?.lease.filter(|lease| lease.elsewhere && lease::withholds(lease, now)) {
            self.waits_for_remote |= lease.confirmed;
            return Ok(Some(leased(&lease, now)));
        }
        if !here && let Some((end, _)) = self.finished_elsewhere(id)? {
            self.waits_for_remote = true;
            return Ok(Some(Reason::Finished { by: end.agent }));
        }
        let task = self.task(id)?;
        if let Some(reason) = unready(self, &task)?.into_iter().next() {
            return Ok(Some(reason));
        }
        if here { Ok(None) } else { self.elsewhere.taken(id) }
    }
}
