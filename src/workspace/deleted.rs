//! Tasks whose files somebody removed by hand.
//!
//! Promises: removing files is no way to end a task: what the commit that is checked out holds, and what was acknowledged upon
//! it here, can be brought back, and is ended by a command where that is wanted.
//! Refuses to know: what git itself took away, which `heal` puts right.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;

use super::Workspace;
use crate::error::Result;
use crate::model::command::{Command, Guard, TaskArchive, TaskTransition};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::point::Point;
use crate::model::task::{Status, Task};
use crate::model::words::{TaskRef, Text};
use crate::rules::fold::fold;
use crate::runtime::journal;
use crate::store::layout::{shown, task_dir};
use crate::store::project::project;

/// What becomes of a task whose files were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Deleted {
    /// Its files are written again.
    #[default]
    Restore,
    /// And it is cancelled.
    Cancelled,
    /// And it is archived, where it is completed or cancelled.
    Archived,
}

/// What lint says of a task whose files were removed; `store` is the store's name.
pub(super) fn found(store: &str, id: Id) -> Finding {
    let message = format!("the files of task {id} were removed, and the commit that is checked out has them");
    Finding::new(Rule::TaskDeleted, message).task(id).at(shown(store, task_dir(id)), None)
}

impl Workspace {
    /// The tasks of the commit that is checked out which have no log here.
    pub(super) fn deleted(&self) -> Result<BTreeSet<Id>> {
        let Some(committed) = self.committed_tasks() else { return Ok(BTreeSet::new()) };
        let pending = self.pending()?;
        let gone = |id: &Id| {
            let log = task_dir(*id).join(crate::store::layout::LOG);
            let there = self.store.dir.kind(&log).map(|kind| kind.is_some());
            // What is there but no file is named elsewhere.
            there.is_ok_and(|there| !there) && !pending.contains_key(&Entity::Task(*id))
        };
        Ok(committed.into_iter().filter(gone).collect())
    }

    fn committed_tasks(&self) -> Option<BTreeSet<Id>> {
        // Where there is no commit yet, or git keeps its objects in a form that is not known, nothing can be missed.
        self.repo.as_ref()?.objects().ok()?.head().ok()?.commit?;
        self.past(Some(&Point::Revision("HEAD".into()))).ok()?.tasks().ok()
    }

    /// Tasks as the commit that is checked out has them.
    pub(super) fn committed(&self, ids: &BTreeSet<Id>) -> Result<BTreeMap<Id, Task>> {
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let head = self.past(Some(&Point::Revision("HEAD".into())))?;
        ids.iter().map(|id| Ok((*id, fold(*id, &head.entries(*id)?).0))).collect()
    }

    /// What lint says of such a task.
    pub(super) fn deleted_found(&self, id: Id) -> Finding {
        found(&self.store.name, id)
    }

    /// Brings the files of tasks back, as the commit that is checked out has them together with what was acknowledged here
    /// since on the same branch; and ends them where that is wanted. Says what was done, and what was refused.
    ///
    /// Errors: `ERR_BUSY`, `ERR_IO`, `ERR_GIT`.
    pub(super) fn bring_back_deleted(&self, ids: &BTreeSet<Id>, wanted: Deleted) -> Result<(Vec<String>, Vec<String>)> {
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        if ids.is_empty() {
            return Ok((done, refused));
        }
        let mut events = self.acknowledged_upon_head(ids)?;
        let head = self.past(Some(&Point::Revision("HEAD".into())))?;
        for id in ids {
            events.entry(*id).or_default().extend(head.entries(*id)?);
        }
        self.under_lock("agentpm lint --fix", |runtime, _, _| {
            for (id, entries) in &mut events {
                entries.sort_by_key(|entry| entry.event.stamp());
                entries.dedup_by_key(|entry| entry.event.id);
                project(&self.store, &Entity::Task(*id), entries, runtime)?;
            }
            Ok(())
        })?;
        for id in ids {
            done.push(format!("task {id}: its files are back"));
            match self.end(*id, wanted) {
                Ok(Some(what)) => done.push(format!("task {id}: {what}")),
                Ok(None) => {}
                Err(e) => refused.push(format!("task {id} is back and was not ended: {}", e.message)),
            }
        }
        Ok((done, refused))
    }

    fn end(&self, id: Id, wanted: Deleted) -> Result<Option<&'static str>> {
        let guard = Guard { why: Some(Text("its files were removed by hand".into())), ..Guard::default() };
        let (command, what) = match wanted {
            Deleted::Restore => return Ok(None),
            Deleted::Cancelled => (
                Command::TaskTransition(TaskTransition {
                    id: TaskRef(id.to_string()),
                    status: Status::Cancelled,
                    force: None,
                    guard,
                }),
                "cancelled",
            ),
            Deleted::Archived => (Command::TaskArchive(TaskArchive { id: TaskRef(id.to_string()), guard }), "archived"),
        };
        self.execute(&command).map(|_| Some(what))
    }

    /// Events of these tasks that were acknowledged in this work tree while the same branch was checked out.
    fn acknowledged_upon_head(&self, ids: &BTreeSet<Id>) -> Result<BTreeMap<Id, Vec<Entry>>> {
        let mut events: BTreeMap<Id, Vec<Entry>> = BTreeMap::new();
        let Some(runtime) = self.runtime() else { return Ok(events) };
        let (root, head) = (self.root(), self.head());
        journal::each(runtime, |record| {
            if record.commit.root != root || record.commit.head != head {
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
}
