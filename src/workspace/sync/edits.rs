//! Hand edits that lie in commits: of this clone, or of others who committed and pushed a file as they had edited it.
//!
//! Promises: an edit that comes with a commit is recorded like any hand edit, by the heads at its own foot, or stands in the file
//! with a reason; bringing commits together never draws over it.
//! Refuses to know: how an edit is judged (`workspace::absorb`).

use super::Sync;
use crate::error::{Error, Result};
use crate::git::{Mode, Oid};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::yaml::is_as_written;
use crate::store::edited::{FORM, Readable, compare};
use crate::store::entity::read_yaml;
use crate::store::layout::{LOG, task_dir};
use crate::store::log::Log;
use crate::workspace::absorb::{Comments, HandEdit};
use crate::workspace::heal::entity_below;

/// The text of a task's file, as somebody edited it.
pub(super) type Edited = (Id, String);

impl Sync<'_> {
    /// The edits in files that `theirs` changed since it parted from `own`.
    pub(super) fn edits_in(&self, own: Oid, theirs: Oid) -> Result<Vec<Edited>> {
        let top = |commit: Oid| self.objects.commit(commit).map(|commit| commit.tree);
        let base = self.objects.merge_base(own, theirs)?.map(top).transpose()?;
        let there = top(theirs)?;
        let folder = |tree: Oid| -> Result<Option<Oid>> {
            let item = self.objects.item(tree, &self.ws.store.name)?;
            Ok(item.filter(|item| item.mode == Mode::Tree).map(|item| item.oid))
        };
        let before = base.map(folder).transpose()?.flatten();
        let mut edits = Vec::new();
        for change in self.objects.changes(before, folder(there)?)? {
            let (Some((Entity::Task(id), false)), Some(item)) = (entity_below(&change.path), change.new) else {
                continue;
            };
            if !matches!(item.mode, Mode::File | Mode::Executable) {
                continue;
            }
            let Ok(text) = String::from_utf8(self.objects.blob(item.oid)?) else { continue };
            if is_as_written(&text) == Some(true) {
                continue;
            }
            let log = self.objects.file(there, &self.ws.store.shown(task_dir(id).join(LOG)))?.unwrap_or_default();
            let entries = Log::read(&log[..]).unwrap_or_default().entries;
            if matches!(compare(&Entity::Task(id), &entries, text.as_bytes()), Readable::Edited(what) if what != FORM) {
                edits.push((id, text));
            }
        }
        Ok(edits)
    }

    /// Records edits that came with commits. One that is not allowed is put into the file, where it stood. Says whether any was
    /// recorded.
    pub(super) fn record_edits(&self, edits: Vec<Edited>, warnings: &mut Vec<String>) -> Result<bool> {
        let mut recorded = false;
        for (id, text) in edits {
            let handle = self.ws.handle(id)?;
            let current = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten().unwrap_or_default();
            let draft = Some((text.clone(), String::from_utf8_lossy(&current).into_owned()));
            match self.ws.record(HandEdit { id, draft, comments: Comments::Keep }) {
                Ok(what) if what.is_empty() => {}
                Ok(what) => {
                    recorded = true;
                    warnings.push(format!("task {handle} came edited by hand; recorded: {what}"));
                }
                Err(e) => {
                    self.put_back(id, &text)?;
                    let why = e.message;
                    warnings.push(format!(
                        "task {handle} came edited by hand; the edit stands in its file and was not recorded: {why}"
                    ));
                }
            }
        }
        Ok(recorded)
    }

    /// Puts an edit into its file again, unless somebody else's words are there by now.
    pub(super) fn put_back(&self, id: Id, text: &str) -> Result<()> {
        self.ws.under_lock("agentpm sync", |_, _, _| {
            let path = task_dir(id).join("task.yaml");
            let now = read_yaml(&self.ws.store, &Entity::Task(id)).ok().flatten().unwrap_or_default();
            if std::str::from_utf8(&now).is_ok_and(|now| is_as_written(now) == Some(true)) {
                let failed = |e: std::io::Error| Error::io("write", &self.ws.store.path().join(&path), &e);
                self.ws.store.dir.replace(&path, text.as_bytes(), 0o644).map_err(failed)?;
            }
            Ok(())
        })
    }
}
