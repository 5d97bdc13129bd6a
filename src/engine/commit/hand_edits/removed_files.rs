//! Tasks whose files a person removed by hand.
//!
//! Guarantees: removing files is no way to end a task: what the commit that is checked out holds or one of its history held until
//! another removed it, and what was acknowledged here upon it, can be restored, and is ended by a command where that is wanted.
//! Leaves to others: what git itself removed, which `repair` restores.

use std::collections::{BTreeMap, BTreeSet};

use super::record;
use crate::engine::commit::{project, write};
use crate::engine::context::Workspace;
use crate::engine::view::removed_commits::{self, Removal};
use crate::engine::view::{history, read, sparse};
use crate::error::Result;
use crate::model::args::{TaskRef, Text};
use crate::model::command::{ChildrenOfCancelled, Command, Guard, TaskArchive, TaskTransition};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule, SkippedFix};
use crate::model::id::Id;
use crate::model::job::Deleted;
use crate::model::point::Point;
use crate::model::task::{Status, Task};
use crate::rules::fold::fold;
use crate::runtime::journals;
use crate::store::archive;
use crate::store::dropped;
use crate::store::entity::read_log;
use crate::store::layout::{shown, task_dir};

/// The tasks whose files are not here though they should be; with the commit that removed them, where one did.
pub(crate) type RemovedTasks = BTreeMap<Id, Option<Removal>>;

/// The finding for a task whose files were removed; `store` is the store's name.
pub(crate) fn found(store: &str, id: Id) -> Finding {
    let message = format!("the files of task {id} were removed, and the commit that is checked out has them");
    Finding::new(Rule::TaskDeleted, message).task(id).at(shown(store, task_dir(id)), None)
}

/// The notice about a task whose removal by a commit was reverted.
pub(crate) fn brought_back(id: Id, commit: &str) -> String {
    format!(
        "the files of task {id}, which commit {commit} had removed, are back: removing files ends no task; where it is not \
         wanted any more: agentpm lint --fix --deleted cancelled"
    )
}

/// The tasks that have no event here though the commit that is checked out has them, or one of its history did until another
/// removed it.
pub(crate) fn deleted(ws: &Workspace) -> Result<RemovedTasks> {
    let pending = read::pending(ws)?;
    let (mut left_out, archived) = (None, archive::archived(&ws.store)?);
    let mut gone = |id: &Id| {
        let is_gone = !sparse::has_log(ws, *id) && !archived.holds(*id) && !pending.contains_key(&Entity::Task(*id));
        is_gone && !left_out.get_or_insert_with(|| sparse::hidden_paths(ws)).leaves_out(&sparse::log_path(ws, *id))
    };
    let committed = committed_tasks(ws).unwrap_or_default();
    let mut all: RemovedTasks = committed.into_iter().filter(&mut gone).map(|id| (id, None)).collect();
    let removed = removed_commits::removed_by_commits(ws, true)?.into_iter().filter(|(id, _)| gone(id));
    all.extend(removed.map(|(id, removal)| (id, Some(removal))));
    let mut recorded: RemovedTasks = all.extract_if(.., |id, _| archived.dropped.contains_key(id)).collect();
    let events = events_of(ws, &recorded)?;
    recorded.retain(|id, _| {
        let known = events.get(id).into_iter().flatten().map(|entry| &entry.event);
        !archived.dropped.get(id).is_some_and(|at| dropped::explains(*at, known))
    });
    all.extend(recorded);
    all.extend(emptied(ws)?);
    Ok(all)
}

/// The tasks with a log that was emptied or overwritten, so that it has no event, though the commit that is checked out has them.
pub(crate) fn emptied(ws: &Workspace) -> Result<RemovedTasks> {
    let mut empty = read::index(ws)?.without_events()?;
    if empty.is_empty() {
        return Ok(RemovedTasks::new());
    }
    let (pending, committed) = (read::pending(ws)?, committed_tasks(ws).unwrap_or_default());
    empty.retain(|id| sparse::has_log(ws, *id) && committed.contains(id) && !pending.contains_key(&Entity::Task(*id)));
    Ok(empty.into_iter().map(|id| (id, None)).collect())
}

fn committed_tasks(ws: &Workspace) -> Option<BTreeSet<Id>> {
    // Where there is no commit yet, or git keeps its objects in a form that is not known, nothing can be missed.
    ws.repo.as_ref()?.objects().ok()?.head().ok()?.commit?;
    history::plan_at(ws, Some(&Point::Revision("HEAD".into()))).ok()?.tasks().ok()
}

/// Such tasks as they were last committed.
pub(crate) fn committed(ws: &Workspace, gone: &RemovedTasks) -> Result<BTreeMap<Id, Task>> {
    Ok(events_of(ws, gone)?.into_iter().map(|(id, entries)| (id, fold(id, &entries).0)).collect())
}

fn events_of(ws: &Workspace, gone: &RemovedTasks) -> Result<BTreeMap<Id, Vec<Entry>>> {
    let in_head = gone.values().any(Option::is_none);
    let head = in_head.then(|| history::plan_at(ws, Some(&Point::Revision("HEAD".into())))).transpose()?;
    let entries = |id: &Id, removal: &Option<Removal>| match (removal, &head) {
        (Some(removal), _) => Ok(removal.log.clone()),
        (None, Some(head)) => head.entries(*id),
        (None, None) => Ok(Vec::new()),
    };
    gone.iter().map(|(id, removal)| Ok((*id, entries(id, removal)?))).collect()
}

/// The finding for such a task.
pub(crate) fn deleted_found(ws: &Workspace, id: Id, removal: Option<&Removal>) -> Finding {
    let finding = found(&ws.store.name, id);
    match removal {
        Some(Removal { commit, .. }) => {
            let message = format!("the files of task {id} were removed by commit {commit}, and it was never closed");
            Finding { message, ..finding }
        }
        None => finding,
    }
}

/// Brings the files of tasks back, as they were last committed together with what was acknowledged here since on the same
/// branch; and ends them where that is wanted, those too that were restored before and that were not changed since. Says
/// what was done, and what was refused.
///
/// Errors: `ERR_BUSY`, `ERR_IO`, `ERR_GIT`.
pub(crate) fn restore_deleted(
    ws: &Workspace,
    gone: &RemovedTasks,
    wanted: Deleted,
) -> Result<(Vec<String>, Vec<SkippedFix>)> {
    let (mut done, mut refused) = (Vec::new(), Vec::new());
    let before = brought_back_before(ws, wanted)?;
    if !gone.is_empty() {
        let mut events = acknowledged_upon_head(ws, &gone.keys().copied().collect())?;
        for (id, entries) in events_of(ws, gone)? {
            events.entry(id).or_default().extend(entries);
        }
        events.retain(|_, entries| !entries.is_empty());
        write::under_lock(ws, "agentpm lint --fix", |runtime, _, _| {
            read::logs_were_written(ws);
            let lineage = record::lineage(ws);
            for (id, entries) in &mut events {
                entries.sort_by_key(|entry| entry.event.stamp());
                entries.dedup_by_key(|entry| entry.event.id);
                record::project_unedited(ws, &lineage, &Entity::Task(*id), entries, runtime)?;
            }
            Ok(())
        })?;
    }
    let mut here = Vec::new();
    let mut logless = Vec::new();
    for id in gone.keys() {
        let is_logless = read_log(&ws.store, &Entity::Task(*id))?.entries.is_empty();
        if is_logless { logless.push(id) } else { here.push(id) }
    }
    refused.extend(logless.into_iter().map(|id| SkippedFix {
        task: Some(*id),
        message: format!("task {id} was committed without its log, which this clone does not hold"),
        hint: Some("fetch the branch that has it, or remove its folder from the commit".into()),
        ..SkippedFix::default()
    }));
    for id in here.into_iter().chain(&before) {
        if gone.contains_key(id) {
            done.push(format!("task {id}: files restored"));
        }
        match end(ws, *id, wanted) {
            Ok(Some(what)) => done.push(format!("task {id}: {what}")),
            Ok(None) => {}
            Err(e) => {
                let what = format!("task {id} is restored and was not closed: ");
                refused.push(SkippedFix { task: Some(*id), ..SkippedFix::of(&e, &what) });
            }
        }
    }
    Ok((done, refused))
}

/// Tasks that a commit removed, that are here again, that nothing has happened to since and that are not ended as wanted.
fn brought_back_before(ws: &Workspace, wanted: Deleted) -> Result<Vec<Id>> {
    if wanted == Deleted::Restore {
        return Ok(Vec::new());
    }
    let mut before = Vec::new();
    for (id, removal) in removed_commits::removed_by_commits(ws, true)? {
        let log = read_log(&ws.store, &Entity::Task(id))?.entries;
        let known: BTreeSet<Id> = removal.log.iter().map(|entry| entry.event.id).collect();
        let status = fold(id, &log).0.status;
        let ended = status == Status::Archived || (wanted == Deleted::Cancelled && status.is_finished());
        if !log.is_empty() && !ended && log.iter().all(|entry| known.contains(&entry.event.id)) {
            before.push(id);
        }
    }
    Ok(before)
}

fn end(ws: &Workspace, id: Id, wanted: Deleted) -> Result<Option<&'static str>> {
    let guard = Guard { why: Some(Text("its files were removed by hand".into())), ..Guard::default() };
    let (command, what) = match wanted {
        Deleted::Restore => return Ok(None),
        Deleted::Cancelled => (
            Command::TaskTransition(TaskTransition {
                children: Some(ChildrenOfCancelled::Keep),
                id: TaskRef(id.to_string()),
                status: Status::Cancelled,
                force: None,
                guard,
            }),
            "cancelled",
        ),
        Deleted::Archived => (Command::TaskArchive(TaskArchive { id: TaskRef(id.to_string()), guard }), "archived"),
    };
    write::execute(ws, &command).map(|_| Some(what))
}

/// Events of these tasks that were acknowledged in this work tree while the same branch was checked out.
fn acknowledged_upon_head(ws: &Workspace, ids: &BTreeSet<Id>) -> Result<BTreeMap<Id, Vec<Entry>>> {
    let mut events: BTreeMap<Id, Vec<Entry>> = BTreeMap::new();
    let Some(runtime) = ws.runtime() else { return Ok(events) };
    let (own, head) = (ws.store_key(), project::head(ws));
    journals::each(runtime, |record| {
        if Some(&record.commit.store) != own || record.commit.head != head {
            return;
        }
        for entry in record.entries.into_iter().filter(|entry| !entry.event.payload.journal_only()) {
            if let Some(id) = entry.event.entity.task().filter(|id| ids.contains(id)) {
                events.entry(id).or_default().push(entry);
            }
        }
    })?;
    Ok(events)
}
