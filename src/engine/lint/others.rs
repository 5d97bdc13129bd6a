//! What the rules ask about other logs than the one whose events they judge.
//!
//! Guarantees that the logs of a branch are read as they will be once it is merged.
//! Leaves to others: the judgement (`permitted`).

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::base::Branch;
use super::permitted::Gate;
use super::source::LintSource;
use super::staged::Staging;
use crate::engine::view::history::{repo_around, united};
use crate::env::parallel;
use crate::error::Result;
use crate::git::{Oid, Repo};
use crate::model::event::{Entity, Entry, Event, parse_line};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::model::time::Time;
use crate::store::layout::{LOG, is_archive};

/// The other logs of a plan.
pub(crate) trait Others {
    /// The events of a task or an agent.
    fn entries(&self, entity: &Entity) -> Result<Vec<Entry>>;

    /// Whether any task has a thread.
    fn has_thread(&self, thread: Id) -> Result<bool>;

    /// Whether the command that wrote an event added parts to its task.
    fn splits(&self, event: &Event) -> Result<bool>;
}

/// The logs of a commit or a branch, with what its commits hold and its tip lacks.
pub(crate) struct Merged<'a> {
    pub source: LintSource<'a>,
    pub gate: &'a Gate<'a>,
    pub branch: Option<&'a Branch<'a>>,
}

impl Others for Merged<'_> {
    fn entries(&self, entity: &Entity) -> Result<Vec<Entry>> {
        let entries = self.source.entries(entity)?;
        let Some(branch) = self.branch else { return Ok(entries) };
        Ok(united([self.gate.vanished.with(entity, entries), branch.base_entries(entity)?]))
    }

    fn has_thread(&self, thread: Id) -> Result<bool> {
        let threads = found_once(&self.gate.facts.threads, || self.threads())?;
        Ok(threads.as_ref().is_none_or(|threads| threads.contains(&thread)))
    }

    fn splits(&self, event: &Event) -> Result<bool> {
        let splits = found_once(&self.gate.facts.splits, || self.all_splits())?;
        Ok(event.entity.task().is_some_and(|task| splits.contains(&(task, event.author.agent.clone(), event.at))))
    }
}

/// What was found in all logs of a plan, for the first event that depends on it.
#[derive(Default)]
pub(crate) struct PlanFacts {
    /// All threads; `None` where not all logs are here.
    threads: OnceCell<Option<BTreeSet<Id>>>,
    splits: OnceCell<BTreeSet<Split>>,
}

/// A command that added a part to a task: its agent and time.
type Split = (Id, String, Time);

fn found_once<T>(cell: &OnceCell<T>, find: impl FnOnce() -> Result<T>) -> Result<&T> {
    match cell.get() {
        Some(found) => Ok(found),
        None => find().map(|found| cell.get_or_init(|| found)),
    }
}

impl Merged<'_> {
    fn threads(&self) -> Result<Option<BTreeSet<Id>>> {
        let more = match self.source {
            LintSource::Branch(branch, _) => in_commits(branch)?,
            LintSource::Index(staging, _) => Some(in_index(staging)?),
            // Their events are not judged.
            LintSource::WorkTree(..) | LintSource::Text(_) => None,
        };
        let Some(mut threads) = more else { return Ok(None) };
        for entity in self.source.entities() {
            threads.extend(self.entries(&entity)?.iter().filter_map(|entry| opened(&entry.event)));
        }
        Ok(Some(threads))
    }

    fn all_splits(&self) -> Result<BTreeSet<Split>> {
        let mut splits = BTreeSet::new();
        for entity in self.source.entities() {
            let entries = self.entries(&entity)?;
            let parts = entries.iter().filter_map(|entry| Some((added_to(&entry.event)?, &entry.event)));
            splits.extend(parts.map(|(task, event)| (task, event.author.agent.clone(), event.at)));
        }
        Ok(splits)
    }
}

/// Whether an event adds a part to the task of another one, by the same command.
#[cfg(feature = "bus")]
pub(crate) fn adds_part(event: &Event, of: &Event) -> bool {
    let is_part = added_to(event).is_some_and(|task| Some(task) == of.entity.task());
    is_part && (&event.author.agent, event.at) == (&of.author.agent, of.at)
}

/// The task that an event adds a part to.
fn added_to(event: &Event) -> Option<Id> {
    let Payload::RelationshipAdded(p) = &event.payload else { return None };
    (p.kind == RelationType::ParentOf).then_some(p.from)
}

/// The thread that an event opens.
pub(crate) fn opened(event: &Event) -> Option<Id> {
    matches!(event.payload, Payload::ThreadOpened(_)).then_some(event.id)
}

fn in_commits(branch: &Branch<'_>) -> Result<Option<BTreeSet<Id>>> {
    // Reading all logs of a partial clone would fetch them all.
    if branch.objects.is_partial() {
        return Ok(None);
    }
    let mut logs = Vec::new();
    for top in [branch.base_tree, branch.head_tree] {
        let files = branch.objects.changes(None, branch.store_at(top)?)?.into_iter();
        let files = files.filter(|change| change.path.ends_with(LOG) || is_archive(&change.path));
        logs.extend(files.filter_map(|change| Some(change.new?.oid)));
    }
    logs.sort_unstable();
    logs.dedup();
    in_blobs(repo_around(branch.ws)?, &logs).map(Some)
}

fn in_index(staging: &Staging<'_>) -> Result<BTreeSet<Id>> {
    let logs: Vec<Oid> = staging.logs()?.into_values().collect();
    let mut threads = in_blobs(&staging.place.repo, &logs)?;
    for task in staging.archived_tasks()? {
        threads.extend(staging.entries(&Entity::Task(task))?.1.iter().filter_map(|entry| opened(&entry.event)));
    }
    Ok(threads)
}

fn in_blobs(repo: &Repo, logs: &[Oid]) -> Result<BTreeSet<Id>> {
    let found = parallel::map_with(
        logs,
        || repo.objects_for_many(),
        |objects, oid| {
            let bytes = objects.blob(*oid)?;
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            let events = lines.filter(|line| line.contains("ThreadOpened")).filter_map(|line| parse_line(line).ok());
            Ok(events.filter_map(|event| opened(&event)).collect::<Vec<_>>())
        },
    )?;
    Ok(found.into_iter().flatten().collect())
}
