//! Finds files that a sparse checkout excludes from the work tree, and whether a task's log exists.
//!
//! Guarantees that a file which git does not compare counts as excluded, never as removed.

use std::collections::BTreeSet;

use crate::engine::context::Workspace;
use crate::git::HiddenPaths;
use crate::model::id::Id;
use crate::store::layout::{LOG, entity_below, task_dir};

/// The store's files that git does not compare; none if its index cannot be read.
pub(crate) fn hidden_paths(ws: &Workspace) -> HiddenPaths {
    let objects = ws.repo.as_ref().and_then(|repo| repo.objects().ok());
    objects.and_then(|objects| objects.hidden_paths(&ws.store.name).ok()).unwrap_or_default()
}

/// Warns of tasks that a sparse checkout excludes, since no list contains them.
pub(crate) fn warn_of_left_out(ws: &Workspace) {
    let Some(repo) = ws.repo.as_ref().filter(|repo| repo.has_sparse_patterns()) else { return };
    let Some(objects) = repo.objects().ok().filter(|objects| objects.flag("core.sparseCheckout")) else { return };
    let files = objects.files_left_out(&repo.git_dir.join("index"), &ws.store.name).unwrap_or_default();
    let prefix = format!("{}/", ws.store.name);
    let entities = files.iter().filter_map(|(path, _)| entity_below(path.strip_prefix(&prefix)?));
    let tasks: BTreeSet<Id> = entities.filter_map(|(entity, _)| entity.task()).filter(|id| !has_log(ws, *id)).collect();
    let count = match tasks.len() {
        0 => return,
        1 => "1 task is".to_owned(),
        n => format!("{n} tasks are"),
    };
    let hint = format!("git sparse-checkout add {} shows the whole plan", ws.store.name);
    ws.notice(format!("{count} left out of this work tree by a sparse checkout and missing here; {hint}"));
}

/// The path of a task's log below the top of the work tree.
pub(crate) fn log_path(ws: &Workspace, id: Id) -> String {
    ws.store.shown(task_dir(id).join(LOG))
}

/// Whether anything exists at the path of a task's log. Lint reports anything but a file.
pub(crate) fn has_log(ws: &Workspace, id: Id) -> bool {
    !ws.store.dir.kind(task_dir(id).join(LOG)).is_ok_and(|kind| kind.is_none())
}
