//! What the rules ask about other logs than the one whose events they judge.
//!
//! Guarantees that the logs of a branch are read as they will be once it is merged.
//! Leaves to others: the judgement (`permitted`).

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

    /// Few threads give way to one of another task, so that no index of threads is kept.
    fn has_thread(&self, thread: Id) -> Result<bool> {
        for entity in self.source.entities() {
            if self.entries(&entity)?.iter().any(|entry| opens(&entry.event, thread)) {
                return Ok(true);
            }
        }
        match self.source {
            LintSource::Branch(branch, _) => in_commits(branch, thread),
            LintSource::Index(staging, _) => in_index(staging, thread),
            // Their events are not judged.
            LintSource::WorkTree(..) | LintSource::Text(_) => Ok(true),
        }
    }

    fn splits(&self, event: &Event) -> Result<bool> {
        for entity in self.source.entities() {
            if self.entries(&entity)?.iter().any(|entry| adds_part(&entry.event, event)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Whether an event adds a part to the task of another one, by the same command.
fn adds_part(event: &Event, of: &Event) -> bool {
    let Payload::RelationshipAdded(p) = &event.payload else { return false };
    let is_part = p.kind == RelationType::ParentOf && Some(p.from) == of.entity.task();
    is_part && (&event.author.agent, event.at) == (&of.author.agent, of.at)
}

fn opens(event: &Event, thread: Id) -> bool {
    event.id == thread && matches!(event.payload, Payload::ThreadOpened(_))
}

fn in_commits(branch: &Branch<'_>, thread: Id) -> Result<bool> {
    // Reading all logs of a partial clone would fetch them all.
    if branch.objects.is_partial() {
        return Ok(true);
    }
    let mut logs = Vec::new();
    for top in [branch.base_tree, branch.head_tree] {
        let files = branch.objects.changes(None, branch.store_at(top)?)?.into_iter();
        let files = files.filter(|change| change.path.ends_with(LOG) || is_archive(&change.path));
        logs.extend(files.filter_map(|change| Some(change.new?.oid)));
    }
    logs.sort_unstable();
    logs.dedup();
    in_blobs(repo_around(branch.ws)?, &logs, thread)
}

fn in_index(staging: &Staging<'_>, thread: Id) -> Result<bool> {
    let logs: Vec<Oid> = staging.logs()?.into_values().collect();
    if in_blobs(&staging.place.repo, &logs, thread)? {
        return Ok(true);
    }
    for task in staging.archived_tasks()? {
        if staging.entries(&Entity::Task(task))?.1.iter().any(|entry| opens(&entry.event, thread)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn in_blobs(repo: &Repo, logs: &[Oid], thread: Id) -> Result<bool> {
    let id = thread.to_string();
    let found = parallel::map_with(
        logs,
        || repo.objects_for_many(),
        |objects, oid| {
            let bytes = objects.blob(*oid)?;
            let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
            let mut events = lines.filter(|line| line.contains(&id)).filter_map(|line| parse_line(line).ok());
            Ok(events.any(|event| opens(&event, thread)))
        },
    )?;
    Ok(found.contains(&true))
}
