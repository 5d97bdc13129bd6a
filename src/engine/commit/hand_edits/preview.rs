//! What recording hand edits would do, found out on a stage that is thrown away.
//!
//! Promises: the same decisions as when they are recorded, one after the other; nothing is written.
//! Refuses to know: who asks, and what else would come before.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::new_files::{self, Newcomer};
use super::record::{Comments, HandEdit};
use crate::engine::commit::transaction::{OnStage, Scene};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::elsewhere;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::fold::fold;
use crate::store::log::Log;

/// Something written by hand.
pub(crate) enum Written {
    /// An edit; with the events that its task will have by then, where those are others than are here.
    Edit(HandEdit, Option<Vec<Entry>>),
    /// A new file.
    New(Newcomer, Comments),
}

/// What would come of what was written by hand.
#[derive(Default)]
pub(crate) struct Foreseen {
    /// Of each, the task and what would be recorded, in words; or the refusal.
    pub outcomes: Vec<Result<(Id, String)>>,
    /// The events that would be recorded.
    pub entries: BTreeMap<Entity, Vec<Entry>>,
}

/// Says what recording these would do, in this order.
///
/// Errors: `ERR_BUSY` where the lock was not had in time, `ERR_IO`.
pub(crate) fn foresee(ws: &Workspace, written: &[Written]) -> Result<Foreseen> {
    if written.is_empty() {
        return Ok(Foreseen::default());
    }
    let author = ws.author()?;
    write::under_lock(ws, "agentpm sync --plan", |runtime, _, journal| {
        let lamport = journal.lamport();
        let stage = || Scene::new(ws, runtime, author.clone(), lamport, None, elsewhere::elsewhere(ws));
        let (mut scene, mut taken) = (stage(), Vec::new());
        let mut foreseen = Foreseen::default();
        for one in written {
            let outcome = scene.try_out(one);
            if outcome.is_ok() {
                taken.push(one);
            } else {
                // What it emitted before it was refused goes with the stage.
                scene = stage();
                taken.iter().try_for_each(|one| scene.try_out(one).map(drop))?;
            }
            foreseen.outcomes.push(outcome);
        }
        for entry in scene.entries.into_iter().filter(|entry| !entry.event.payload.journal_only()) {
            foreseen.entries.entry(entry.event.entity.clone()).or_default().push(entry);
        }
        Ok(foreseen)
    })
}

impl Scene<'_> {
    fn try_out(&mut self, written: &Written) -> Result<(Id, String)> {
        match written {
            Written::Edit(edit, entries) => {
                if let Some(entries) = entries {
                    let log = Log { entries: entries.clone(), ..Log::default() };
                    let slot = OnStage { task: Rc::new(fold(edit.id, entries).0), log, changed: false };
                    self.tasks.insert(edit.id, slot);
                }
                self.take_in(edit).map(|what| (edit.id, what))
            }
            Written::New(new, remarks) => {
                let words = new_files::read_newcomer(self.ws, new, *remarks)?;
                self.begin_newcomer(new, &words, *remarks).map(|id| (id, "a new task".into()))
            }
        }
    }
}
