//! Where a run of lint reads the plan: the work tree, git's index, the commits of a branch, or the text of one file.
//!
//! Guarantees that every check reads a task or an agent in the same form, whichever source holds it.
//! Leaves to others: the findings (the checks), and how each source reads its files.

use std::collections::BTreeSet;

use super::base::Branch;
use super::permitted::Gate;
use super::staged::Staging;
use super::stdin::Text;
use super::work_tree::WorkTree;
use crate::engine::commit::hand_edits::lineage::Lineage;
use crate::engine::view::history::Place;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::finding::Finding;
use crate::model::id::Id;
use crate::model::task::Task;
use crate::rules::fold::{fold, fold_agent};
use crate::store::entity::{placed, read_log};
use crate::store::layout::{LOG, home, shown};
use crate::store::log::Log;

/// Where the plan is read. Checks match it without a default arm, so that a new source has to be considered in each.
#[derive(Clone, Copy)]
pub(crate) enum LintSource<'a> {
    /// The files of the work tree.
    WorkTree(&'a WorkTree<'a>, &'a Lineage<'a>),
    /// Git's index, compared with the commit that is checked out.
    Index(&'a Staging<'a>, &'a Gate<'a>),
    /// A branch, compared with the commit that it is to be merged into.
    Branch(&'a Branch<'a>, &'a Gate<'a>),
    /// The text of one file, in place of the file in the work tree.
    Text(&'a Text<'a>),
}

/// A task or an agent in a source.
pub(crate) struct Subject<'e> {
    pub entity: &'e Entity,
    /// The paths of its two files, as messages name them.
    pub log_path: String,
    pub yaml_path: String,
    pub log: Log,
    /// Whether the log is there; a task without one is new, incomplete or removed.
    pub has_log: bool,
    /// The state of a task.
    pub task: Option<Task>,
    /// The findings of the log and of its events.
    pub of_log: Vec<Finding>,
    /// The readable file, if there is one, or the finding that says why it cannot be read.
    pub yaml: Result<Option<Vec<u8>>, Box<Finding>>,
    /// Whether the readable file is to be compared with the log.
    pub compares: bool,
    /// The log that must still be contained in this one.
    pub before: Log,
    /// The log that this one is to be merged with.
    pub base: Vec<Entry>,
    /// The events that are not new.
    pub known: BTreeSet<Id>,
}

/// The path of a log, as messages and git name it.
pub(crate) fn log_path(store: &str, entity: &Entity) -> String {
    shown(store, home(entity).unwrap_or_default().0.join(LOG))
}

impl<'e> Subject<'e> {
    /// An entity with its log; `store` is the store's name. There is no readable file, and nothing to compare the log with.
    pub fn new(store: &str, entity: &'e Entity, mut log: Log) -> Self {
        let (folder, readable) = home(entity).unwrap_or_default();
        let (log_path, yaml_path) = (log_path(store, entity), shown(store, folder.join(readable)));
        let (task, folded) = match entity {
            Entity::Task(id) => {
                let (task, folded) = fold(*id, &log.entries);
                (Some(task), folded)
            }
            Entity::Agent(name) => (None, fold_agent(name, &log.entries).1),
            Entity::Session(_) => (None, Vec::new()),
        };
        let mut of_log = std::mem::take(&mut log.findings);
        of_log.iter_mut().for_each(|finding| finding.path = Some(log_path.clone()));
        of_log.extend(placed(&log, folded, &log_path));
        Subject {
            entity,
            log_path,
            yaml_path,
            log,
            has_log: true,
            task,
            of_log,
            yaml: Ok(None),
            compares: false,
            before: Log::default(),
            base: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// The bytes of the readable file.
    pub fn yaml(&self) -> Option<&[u8]> {
        self.yaml.as_ref().ok()?.as_deref()
    }

    /// Whether the log holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.log.entries.is_empty() && self.log.foreign.is_empty()
    }
}

impl LintSource<'_> {
    /// The name of the store.
    pub fn store(&self) -> &str {
        match self {
            LintSource::WorkTree(tree, _) => &tree.ws.store.name,
            LintSource::Index(staging, _) => &staging.place.name,
            LintSource::Branch(branch, _) => &branch.ws.store.name,
            LintSource::Text(text) => &text.store.name,
        }
    }

    /// The tasks and agents to check.
    pub fn entities(&self) -> Vec<Entity> {
        match self {
            LintSource::WorkTree(tree, _) => tree.entities(),
            LintSource::Index(staging, _) => staging.entities().into_iter().collect(),
            LintSource::Branch(branch, _) => branch.entities.iter().cloned().collect(),
            LintSource::Text(text) => text.entity().map(|(entity, _)| entity).into_iter().collect(),
        }
    }

    /// One of them, with its files.
    pub fn subject<'e>(&self, entity: &'e Entity) -> Result<Subject<'e>> {
        match self {
            LintSource::WorkTree(tree, _) => tree.subject(entity),
            LintSource::Index(staging, _) => staging.subject(entity),
            LintSource::Branch(branch, _) => branch.subject(entity),
            LintSource::Text(text) => text.subject(entity),
        }
    }

    /// The events of any task or agent.
    pub fn entries(&self, entity: &Entity) -> Result<Vec<Entry>> {
        match self {
            LintSource::WorkTree(tree, _) => Ok(read_log(&tree.ws.store, entity)?.entries),
            LintSource::Index(staging, _) => Ok(staging.entries(entity)?.1),
            LintSource::Branch(branch, _) => Ok(branch.log(entity)?.unwrap_or_default().entries),
            LintSource::Text(text) => Ok(read_log(text.store, entity)?.entries),
        }
    }

    /// Whether the settings require a review of completed tasks. Those of a branch are checked with its events.
    pub fn requires_review(&self) -> Result<bool> {
        Ok(match self {
            LintSource::WorkTree(tree, _) => tree.ws.settings.review.required,
            LintSource::Index(staging, _) => {
                staging.settings_staged()?.is_some_and(|settings| settings.review.required)
            }
            LintSource::Branch(..) | LintSource::Text(_) => false,
        })
    }

    /// Whether a task has events.
    pub fn has(&self, task: Id) -> bool {
        self.entries(&Entity::Task(task)).is_ok_and(|entries| !entries.is_empty())
    }

    /// Where its readable files are, and the versions that they come from; `None` where they are not compared.
    pub fn lineage(&self) -> Option<(Place, &Lineage<'_>)> {
        match self {
            LintSource::WorkTree(_, lineage) => Some((Place::WorkTree, lineage)),
            LintSource::Index(staging, _) => Some((Place::Index, &staging.lineage)),
            LintSource::Text(text) => Some((Place::WorkTree, &text.lineage)),
            LintSource::Branch(..) => None,
        }
    }
}
