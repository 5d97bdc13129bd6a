//! Tasks and agents of which a file is missing: without a log, written by hand, or removed.
//!
//! Leaves to others: files that are in a place where no file belongs (`files`).

use super::Found;
use super::source::{LintSource, Subject};
use crate::engine::commit::hand_edits::{new_files, removed_files};
use crate::engine::view::pending::left_behind_at;
use crate::error::Result;
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;

/// The fix for a task whose removal is staged.
const RESTORE_STAGED: &str = "agentpm lint --fix brings the files back, then git add them; to be done with the task: agentpm task \
                              transition --status cancelled, then agentpm task archive";
/// The fix for a task whose files a branch removed.
const RESTORE_COMMITTED: &str = "bring the files back from the commit where the branch began; to be done with the task: agentpm \
                                 task transition --status cancelled, then agentpm task archive";

/// The finding for an entity without a log.
pub(crate) fn check(source: LintSource<'_>, subject: &Subject<'_>, found: &mut Vec<Finding>) -> Result<()> {
    // The events that an agent's log lost are reported as rewritten.
    if subject.has_log || (subject.entity.task().is_none() && !subject.before.entries.is_empty()) {
        return Ok(());
    }
    let id = subject.entity.task();
    let is_new = id.is_some() && subject.before.entries.is_empty();
    let no_log = |message: String| Some(Finding::new(Rule::LogMissing, message).at(&subject.log_path, None));
    found.extend(match (source, subject.yaml()) {
        (LintSource::WorkTree(tree, _), _) => match id.filter(|id| tree.is_removed(*id)) {
            Some(id) => {
                let removal = tree.removed.get(&id).and_then(Option::as_ref);
                Some(removed_files::deleted_found(tree.ws, id, removal))
            }
            // The new files are found together with those that are in no task's folder.
            None if id.is_some_and(|id| tree.unlogged.contains(&id)) => None,
            None => id.and_then(|id| no_log(format!("task {id} has no log"))),
        },
        (LintSource::Index(..) | LintSource::Branch(..) | LintSource::Text(_), Some(bytes))
            if is_new && let Some(copy_of) = new_files::origin(bytes, id, &|task| source.has(task)) =>
        {
            Some(new_files::found(subject.yaml_path.clone(), id, copy_of, bytes))
        }
        (LintSource::Index(..), Some(_)) => no_log(format!("{} is staged without its log", subject.entity)),
        (LintSource::Branch(..), Some(_)) => no_log(format!("{} has no log", subject.entity)),
        (LintSource::Index(..), None) => {
            let removed = |id: Id| removed_files::found(source.store(), id);
            id.filter(|_| !is_new).map(|id| Finding { fix: RESTORE_STAGED.into(), ..removed(id) })
        }
        (LintSource::Branch(..), None) => id.filter(|_| !is_new).map(|id| {
            let message = format!("the files of task {id} are removed, and it was never closed");
            Finding { message, fix: RESTORE_COMMITTED.into(), ..removed_files::found(source.store(), id) }
        }),
        (LintSource::Text(_), _) => no_log(format!("{} has no event in its log", subject.entity)),
    });
    Ok(())
}

/// Acknowledged events that no file holds yet.
pub(crate) fn check_pending(source: LintSource<'_>, found: &mut Found) -> Result<()> {
    found.findings.extend(match source {
        LintSource::WorkTree(tree, _) => tree.left_behind.clone(),
        LintSource::Index(staging, _) => left_behind_at(staging.env, staging.place)?,
        LintSource::Branch(..) | LintSource::Text(_) => Vec::new(),
    });
    Ok(())
}
