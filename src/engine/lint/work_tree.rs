//! `lint`: the plan as the files of the work tree hold it.
//!
//! Guarantees: reads the files themselves, not a cache. The two files of a task are read again if another process may have written
//! between them.
//! Leaves to others: the checks, which are the same for every source.

use std::collections::{BTreeMap, BTreeSet};

use super::files::misplaced_in;
use super::signed::{Asks, Keys};
use super::source::Subject;
use crate::engine::commit::hand_edits::new_files::{self, NewFile};
use crate::engine::commit::hand_edits::removed_files::{self, RemovedTasks};
use crate::engine::context::Workspace;
use crate::engine::view::{pending, read};
use crate::error::{Code, Result};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::task::Task;
use crate::model::yaml::render_task;
use crate::store::archive;
use crate::store::entity::{is_odd, load_agent, read_log_with, read_yaml};
use crate::store::layout::{InvalidPath, LOG, home};

/// Most times that the files of a task are read again because a process wrote to them.
const LOOKS: usize = 20;

/// The work tree, listed.
pub(crate) struct WorkTree<'a> {
    pub ws: &'a Workspace,
    /// The tasks that have a folder, sorted.
    pub folders: Vec<Id>,
    /// The tasks that an archive holds and that have no folder, sorted.
    pub archived: Vec<Id>,
    /// The tasks that were dropped from the archives, without those that are here.
    pub dropped: BTreeSet<Id>,
    /// Everything else below `tasks`.
    pub invalid: Vec<InvalidPath>,
    pub new_files: Vec<NewFile>,
    /// The new files that are in the folder of a task.
    pub unlogged: BTreeSet<Id>,
    /// The findings about acknowledged events that no file holds and no running command is about to write.
    pub left_behind: Vec<Finding>,
    pub removed: RemovedTasks,
    /// The removed tasks as they were committed.
    pub committed: BTreeMap<Id, Task>,
    pending: BTreeMap<Entity, Vec<Entry>>,
    agents: Vec<String>,
    pub keys: Keys,
    pub asks: Asks,
}

impl<'a> WorkTree<'a> {
    /// Lists the files of a store.
    ///
    /// Errors: `ERR_IO` where the disk fails.
    pub fn open(ws: &'a Workspace) -> Result<Self> {
        let left_behind = pending::left_behind_found(ws)?;
        let (folders, invalid) = match ws.store.task_folders() {
            // The file in the place of the folder is a finding.
            Err(e) if e.code == Code::Corrupt && !misplaced_in(ws, "".as_ref())?.is_empty() => Default::default(),
            other => other?,
        };
        let archives = archive::archived_now(&ws.store)?;
        let mut archived = Vec::from_iter(archives.tasks());
        archived.retain(|id| folders.binary_search(id).is_err());
        let is_here = |id: &Id| folders.binary_search(id).is_ok() || archived.binary_search(id).is_ok();
        let dropped = archives.dropped.keys().filter(|id| !is_here(id)).copied().collect();
        let new_files = new_files::new_files(ws, &folders, &invalid);
        let unlogged = new_files.iter().filter_map(|new| new.id).collect();
        let removed = removed_files::deleted(ws)?;
        let committed = removed_files::committed(ws, &removed)?;
        let (pending, agents, mut keys) = (read::pending(ws)?, read::agent_names(ws)?, Keys::default());
        for name in &agents {
            keys.accept(name, &load_agent(&ws.store, name)?.1.entries);
        }
        // Older history needs no signature: only an agent that had a key has to sign.
        let required = ws.rights.0.as_ref().is_some_and(|roles| roles.require_signatures);
        let asks = if required { Asks::OfKeyHolders } else { Asks::Nothing };
        Ok(WorkTree {
            ws,
            folders,
            archived,
            dropped,
            invalid,
            new_files,
            unlogged,
            left_behind,
            removed,
            committed,
            pending,
            agents,
            keys,
            asks,
        })
    }

    pub fn entities(&self) -> Vec<Entity> {
        let removed = self.removed.keys().filter(|id| self.is_removed(**id));
        let tasks = self.folders.iter().chain(&self.archived).chain(removed).copied().map(Entity::Task);
        tasks.chain(self.agents.iter().cloned().map(Entity::Agent)).collect()
    }

    /// Whether an archive holds all of a task.
    pub fn is_archived(&self, id: Id) -> bool {
        self.archived.binary_search(&id).is_ok()
    }

    /// The number of tasks.
    pub fn count(&self) -> usize {
        self.folders.len() + self.archived.len()
    }

    /// Whether a task should be here and has no folder.
    pub fn is_removed(&self, id: Id) -> bool {
        self.removed.contains_key(&id) && self.folders.binary_search(&id).is_err()
    }

    /// A task or an agent, with acknowledged events that are not in its log yet.
    pub fn subject<'e>(&self, entity: &'e Entity) -> Result<Subject<'e>> {
        let pending = self.pending.get(entity).map_or(&[][..], Vec::as_slice);
        let log = home(entity).unwrap_or_default().0.join(LOG);
        let mark = || self.ws.store.dir.mark(&log).ok().flatten();
        let mut before = mark();
        let mut subject = self.read(entity, pending)?;
        for _ in 0..LOOKS {
            if !subject.compares {
                break;
            }
            let now = mark();
            if now == before && !read::pending(self.ws)?.contains_key(entity) {
                break;
            }
            before = now;
            subject = self.read(entity, pending)?;
        }
        Ok(subject)
    }

    fn read<'e>(&self, entity: &'e Entity, pending: &[Entry]) -> Result<Subject<'e>> {
        let store = &self.ws.store;
        let mut subject = Subject::new(&store.name, entity, read_log_with(store, entity, pending)?);
        subject.has_log = entity.task().is_none() || !subject.is_empty();
        if let Some(id) = entity.task().filter(|id| self.is_archived(*id))
            && let Some(archive) =
                archive::archived(store)?.archives.iter().find(|archive| !archive.places_of(id).is_empty())
        {
            subject.log_path = store.shown(&archive.path);
            subject.of_log.iter_mut().for_each(|found| found.path = Some(subject.log_path.clone()));
        }
        let wrong = |rule, why: String| Err(Box::new(Finding::new(rule, why).at(&subject.yaml_path, None)));
        subject.yaml = match read_yaml(store, entity) {
            Ok(bytes) => Ok(bytes),
            Err(e) if is_odd(&e) => wrong(Rule::OddFile, format!("not a regular file: {e}")),
            Err(e) => wrong(Rule::YamlInvalid, format!("it cannot be read: {e}")),
        };
        let is_rendered = |task| subject.yaml().is_some_and(|bytes| bytes == render_task(task).as_bytes());
        // Most files equal what their log renders to. With pending events, both files are still to be written.
        subject.compares = pending.is_empty()
            && subject.has_log
            && !entity.task().is_some_and(|id| self.is_archived(id))
            && !subject.task.as_ref().is_some_and(is_rendered);
        Ok(subject)
    }
}
