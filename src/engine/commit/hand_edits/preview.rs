//! Previews the recording of hand edits, in transactions that are discarded.
//!
//! Guarantees the same decisions as in recording, one after the other, and that nothing is written.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::new_files::{self, NewFile};
use super::record::{Comments, HandEdit};
use crate::engine::commit::transaction::{OnStage, Transaction};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::fold::fold;
use crate::store::log::Log;

/// A file that was written by hand.
pub(crate) enum HandWork {
    /// An edit; with the events that its task will have at that point, if they differ from those here.
    Edit(HandEdit, Option<Vec<Entry>>),
    /// A new file.
    New(NewFile, Comments),
}

/// The outcome of recording such files.
#[derive(Default)]
pub(crate) struct EditPreview {
    /// For each file, the task and the changed fields, or the refusal.
    pub outcomes: Vec<Result<(Id, String)>>,
    /// The events that would be recorded.
    pub entries: BTreeMap<Entity, Vec<Entry>>,
}

/// Previews recording these files, in this order.
///
/// Errors: `ERR_BUSY` if the lock was not acquired in time, `ERR_IO`.
pub(crate) fn preview(ws: &Workspace, written: &[HandWork]) -> Result<EditPreview> {
    if written.is_empty() {
        return Ok(EditPreview::default());
    }
    let author = ws.author()?;
    write::under_lock(ws, "agentpm sync --plan", |runtime, _, journal| {
        let lamport = journal.lamport();
        let stage = || Transaction::new(ws, runtime, author.clone(), lamport, None, OtherBranches::new(ws));
        let (mut tx, mut taken) = (stage(), Vec::new());
        let mut preview = EditPreview::default();
        for one in written {
            let outcome = tx.dry_run(one);
            if outcome.is_ok() {
                taken.push(one);
            } else {
                // The transaction may contain events of the refused edit, so it is replaced.
                tx = stage();
                taken.iter().try_for_each(|one| tx.dry_run(one).map(drop))?;
            }
            preview.outcomes.push(outcome);
        }
        for entry in tx.entries.into_iter().filter(|entry| !entry.event.payload.journal_only()) {
            preview.entries.entry(entry.event.entity.clone()).or_default().push(entry);
        }
        Ok(preview)
    })
}

impl Transaction<'_> {
    fn dry_run(&mut self, written: &HandWork) -> Result<(Id, String)> {
        match written {
            HandWork::Edit(edit, entries) => {
                if let Some(entries) = entries {
                    let log = Log { entries: entries.clone(), ..Log::default() };
                    let slot = OnStage { task: Rc::new(fold(edit.id, entries).0), log, changed: false };
                    self.tasks.insert(edit.id, slot);
                }
                self.record_edit(edit).map(|what| (edit.id, what))
            }
            HandWork::New(new, remarks) => {
                let words = new_files::read_new_file(self.ws, new, *remarks)?;
                self.create_from_file(new, &words, *remarks).map(|id| (id, "a new task".into()))
            }
        }
    }
}
