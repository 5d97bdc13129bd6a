//! What a sparse checkout leaves out of the work tree, and whether the log of a task is there.
//!
//! Guarantees that a file which git does not look at counts as left out, never as removed.

use std::collections::BTreeSet;

use super::Workspace;
use crate::git::NotLookedAt;
use crate::model::id::Id;
use crate::store::layout::{LOG, entity_below, task_dir};

impl Workspace {
    /// The store's files that git was told not to look at; none where its index cannot be read.
    pub(super) fn not_looked_at(&self) -> NotLookedAt {
        let objects = self.repo.as_ref().and_then(|repo| repo.objects().ok());
        objects.and_then(|objects| objects.not_looked_at(&self.store.name).ok()).unwrap_or_default()
    }

    /// Warns of tasks that a sparse checkout leaves out of the work tree: no list holds them.
    pub(super) fn warn_of_left_out(&self) {
        let Some(repo) = self.repo.as_ref().filter(|repo| repo.has_sparse_patterns()) else { return };
        let Some(objects) = repo.objects().ok().filter(|objects| objects.flag("core.sparseCheckout")) else { return };
        let files = objects.files_left_out(&repo.git_dir.join("index"), &self.store.name).unwrap_or_default();
        let prefix = format!("{}/", self.store.name);
        let entities = files.iter().filter_map(|(path, _)| entity_below(path.strip_prefix(&prefix)?));
        let tasks: BTreeSet<Id> =
            entities.filter_map(|(entity, _)| entity.task()).filter(|id| !self.has_log(*id)).collect();
        let count = match tasks.len() {
            0 => return,
            1 => "1 task is".to_owned(),
            n => format!("{n} tasks are"),
        };
        let hint = format!("git sparse-checkout add {} shows the whole plan", self.store.name);
        self.notice(format!("{count} left out of this work tree by a sparse checkout and missing here; {hint}"));
    }

    /// Where a task's log belongs, as messages and git name it.
    pub(super) fn log_path(&self, id: Id) -> String {
        self.store.shown(task_dir(id).join(LOG))
    }

    /// Whether something lies where a task's log belongs. What is no file is named elsewhere.
    pub(super) fn has_log(&self, id: Id) -> bool {
        !self.store.dir.kind(task_dir(id).join(LOG)).is_ok_and(|kind| kind.is_none())
    }
}
