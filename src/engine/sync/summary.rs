//! The changes that a sync carries, task by task, and its commit message.
//!
//! Leaves to others: how the change of a task is found (`reports::change`).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::LosingEdit;
use super::Sync;
use crate::engine::view::archives::TreeArchives;
use crate::engine::view::read;
use crate::error::Result;
use crate::git::Oid;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::plain::inert_in_commit;
use crate::model::task::{Status, Task};
use crate::reports::view::ConflictEnd;
use crate::rules::fold::fold;
use crate::rules::lost::{Counts, lost};
use crate::store::layout::{entity_below, is_in_archives};
use crate::store::log::Log;

/// Maximum number of tasks that a commit message names.
const MAX_LINES: usize = 20;

/// The kind of change that brings a task.
pub(super) const CREATED: &str = "created";

/// How one task changes.
#[derive(Clone, Debug, Serialize, JsonSchema, PartialEq)]
pub struct TaskChange {
    /// The task.
    pub task: Id,
    /// Its handle.
    pub handle: String,
    /// Its title afterwards.
    pub title: String,
    /// The kind of change: created, completed, cancelled, archived, reopened, started, moved or updated.
    pub what: &'static str,
    /// Number of its new events.
    pub events: usize,
}

impl Sync<'_> {
    /// The tasks that differ between two plans.
    pub(crate) fn task_changes(&self, old: Option<Oid>, new: Option<Oid>) -> Result<Vec<TaskChange>> {
        let changed = self.objects.changes(old, new)?;
        let (before, now) = (self.archives(old)?, self.archives(new)?);
        let mut tasks: BTreeSet<Id> = changed
            .iter()
            .filter_map(|change| match entity_below(&change.path) {
                Some((Entity::Task(id), true)) => Some(id),
                _ => None,
            })
            .collect();
        let archived = before.differing(&self.objects, &now)?;
        tasks.extend(&archived);
        let mut found = Vec::with_capacity(tasks.len());
        for id in tasks {
            let (before, known) = self.state(id, old, &before)?;
            let (after, events) = self.state(id, new, &now)?;
            let Some(after) = after else { continue };
            // A compaction moves a task and changes nothing.
            if archived.contains(&id) && events == known {
                continue;
            }
            found.push(TaskChange {
                task: id,
                handle: id.handle(crate::model::id::HANDLE_MIN),
                title: after.fields.title.clone(),
                what: what(before.as_ref(), &after),
                events: usize::try_from(events.saturating_sub(known)).unwrap_or(usize::MAX),
            });
        }
        Ok(found)
    }

    /// Whether the archives of two plans differ.
    pub(crate) fn is_compacted(&self, old: Option<Oid>, new: Option<Oid>) -> Result<bool> {
        Ok(self.objects.changes(old, new)?.iter().any(|change| is_in_archives(&change.path)))
    }

    /// Local values that lost to concurrent fetched ones.
    pub(crate) fn lost_edits(
        &self,
        incoming: &[TaskChange],
        own: Option<Oid>,
        new: Option<Oid>,
    ) -> Result<Vec<LosingEdit>> {
        let mut losers = Vec::new();
        for change in incoming {
            let before = self.entries(change.task, own)?;
            let known: BTreeSet<Id> = lost(change.task, &before).iter().map(|edit| edit.lost.event).collect();
            let local: BTreeSet<Id> = before.iter().map(|entry| entry.event.id).collect();
            let after = self.entries(change.task, new)?;
            let (all, task) = (lost(change.task, &after), fold(change.task, &after).0);
            let counts = Counts::of(&all);
            let holder = read::other_holder(self.ws, &task, &after)?;
            for edit in all.iter().filter(|edit| local.contains(&edit.lost.event) && !known.contains(&edit.lost.event))
            {
                losers.push(LosingEdit {
                    task: change.task,
                    handle: change.handle.clone(),
                    field: edit.field.clone(),
                    yours: edit.lost.value.clone(),
                    agent: edit.lost.agent.clone(),
                    now: edit.won.value.clone(),
                    by: edit.won.agent.clone(),
                    event: edit.lost.event,
                    end: ConflictEnd::of(&task, edit, counts.is_alone(edit), holder.as_deref()),
                });
            }
        }
        Ok(losers)
    }

    pub(crate) fn entries(&self, id: Id, plan: Option<Oid>) -> Result<Vec<Entry>> {
        Ok(self.log_in(plan, &Entity::Task(id))?.entries)
    }

    /// The archives of a plan. Those that the work tree has too are read there.
    pub(crate) fn archives(&self, plan: Option<Oid>) -> Result<TreeArchives> {
        TreeArchives::at(&self.objects, plan)?.with_files_of(&self.objects, &self.ws.store)
    }

    /// The log of a task or an agent in a plan, which is empty where there is none; for a caller that asks once.
    pub(crate) fn log_in(&self, plan: Option<Oid>, entity: &Entity) -> Result<Log> {
        Ok(self.archives(plan)?.log(&self.objects, plan, entity)?.unwrap_or_default())
    }

    fn state(&self, id: Id, plan: Option<Oid>, archives: &TreeArchives) -> Result<(Option<Task>, u64)> {
        let log = archives.log(&self.objects, plan, &Entity::Task(id))?.unwrap_or_default();
        let task = fold(id, &log.entries).0;
        let version = task.version;
        Ok(((version > 0).then_some(task), version))
    }
}

fn what(before: Option<&Task>, after: &Task) -> &'static str {
    let Some(before) = before else { return CREATED };
    match after.status {
        now if now == before.status => "updated",
        Status::Completed => "completed",
        Status::Cancelled => "cancelled",
        Status::Archived => "archived",
        Status::InProgress => "started",
        Status::Open if before.status.is_finished() => "reopened",
        Status::Open | Status::Blocked => "moved",
    }
}

/// The message of a commit of the plan: counts, or the handle of the only task, in the subject, and tasks below. Titles are
/// quoted so that no forge acts on them.
pub(crate) fn message(changes: &[TaskChange], messages: usize, is_compacted: bool) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for change in changes {
        match counts.iter_mut().find(|(word, _)| *word == change.what) {
            Some((_, n)) => *n += 1,
            None => counts.push((change.what, 1)),
        }
    }
    let subject = match changes {
        [] if messages == 1 => "plan: 1 message".to_owned(),
        [] if messages > 0 => format!("plan: {messages} messages"),
        [] if is_compacted => "plan: compacted".to_owned(),
        [] => "plan: settings".to_owned(),
        [only] => format!("plan: {} {}", only.what, only.handle),
        _ => {
            let words: Vec<String> = counts.iter().map(|(word, n)| format!("{n} {word}")).collect();
            format!("plan: {}", words.join(", "))
        }
    };
    let mut text = subject + "\n";
    if !changes.is_empty() {
        text.push('\n');
        for change in changes.iter().take(MAX_LINES) {
            text.push_str(&format!("{} {} “{}”\n", change.handle, change.what, inert_in_commit(&change.title)));
        }
        if changes.len() > MAX_LINES {
            text.push_str(&format!("and {} more\n", changes.len() - MAX_LINES));
        }
    }
    text
}
