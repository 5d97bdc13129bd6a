//! The relationships of a plan in git: which tasks must be read to judge the effect of a change on several tasks.
//!
//! Guarantees that a relationship is found from both ends, though only one log records it. Each shard of tasks and each archive is read
//! once in the life of a clone, since the name of its object identifies its contents. Removed relationships are included: they only select
//! the tasks to read.
//! Leaves to others: what follows from relationships (`lint::across`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::branches;
use super::history::{self, PlanAt};
use crate::engine::context::Workspace;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::Result;
use crate::git::{Mode, Objects, Oid};
use crate::model::event::{Entry, Stamp};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::rules::graph::{Edge, on_cycles};
use crate::store::facts::{Facts, NewFacts};
use crate::store::layout::LOG;
use crate::store::log::{Log, may_relate};

/// The relationships of a plan, by both ends.
#[derive(Debug, Default)]
pub(crate) struct Related {
    edges: Vec<Edge>,
    naming: BTreeMap<Id, Vec<Id>>,
}

impl Related {
    /// Adds relationships.
    pub fn add(&mut self, edges: impl IntoIterator<Item = Edge>) {
        for edge in edges {
            for (one, other) in [(edge.from, edge.to), (edge.to, edge.from)] {
                self.naming.entry(one).or_default().push(other);
            }
            self.edges.push(edge);
        }
    }

    /// These tasks, and the tasks that have a relationship with one of them in either direction.
    pub fn around(&self, tasks: &BTreeSet<Id>) -> BTreeSet<Id> {
        let others = tasks.iter().flat_map(|id| self.naming.get(id)).flatten();
        tasks.iter().chain(others).copied().collect()
    }

    /// The tasks on a cycle of blocking and parent relationships, present or removed.
    pub fn on_cycles(&self) -> BTreeSet<Id> {
        let counts = |edge: &&Edge| matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf);
        let edges: Vec<Edge> = self.edges.iter().filter(counts).copied().collect();
        on_cycles(&edges).iter().flat_map(|edge| [edge.from, edge.to]).collect()
    }
}

/// The relationships of the tasks that are equal in two commits, that is, all but `but`.
///
/// Errors: `ERR_GIT` if a commit cannot be read.
pub(crate) fn related(ws: &Workspace, before: &PlanAt, after: &PlanAt, but: &BTreeSet<Id>) -> Result<Related> {
    let (mut related, mut unknown) = (Related::default(), Vec::new());
    let mut facts = Facts::at(branches::facts_path(ws), ws.env.boot());
    let (mut old, new) = (before.shards()?, after.shards()?);
    for (name, shard) in new {
        // Both sides contain the unchanged tasks; the earlier one is cached more often.
        let forms = [old.remove(&name).unwrap_or(shard), shard];
        match forms.iter().find_map(|form| facts.related(&form.to_string())) {
            Some(text) => related.read_lines(&text, but),
            None => unknown.push(forms[0]),
        }
    }
    // A task that moved into an archive is equal on both sides, and is found in the later one.
    let (mut archives, mut in_archives) = (Vec::new(), Vec::new());
    for archive in after.archives().into_values() {
        match facts.related(&archive.to_string()) {
            Some(text) => related.read_lines(&text, but),
            None => archives.push(archive),
        }
    }
    for archive in &archives {
        in_archives.push(relationships_of(&history::objects(ws)?.blob(*archive)?));
    }
    let (mut texts, logs) = if unknown.is_empty() { Default::default() } else { relationships_in(ws, &unknown)? };
    unknown.extend(archives);
    texts.extend(in_archives);
    texts.iter().for_each(|text| related.read_lines(text, but));
    tracing::debug!(shards = unknown.len(), logs, "looked at who names whom");
    if !unknown.is_empty() {
        let named = unknown.iter().map(Oid::to_string).zip(texts).collect();
        facts.keep(&NewFacts { related: named, ..NewFacts::default() });
    }
    Ok(related)
}

/// The relationships in each of these shards, and the number of logs read.
fn relationships_in(ws: &Workspace, shards: &[Oid]) -> Result<(Vec<String>, usize)> {
    let repo = history::repo_around(ws)?;
    let (objects, mut folders) = (repo.objects_for_many()?, Vec::new());
    for (place, shard) in shards.iter().enumerate() {
        let tasks = objects.items(*shard)?.into_iter().filter(|(_, item)| item.mode == Mode::Tree);
        folders.extend(tasks.filter_map(|(name, item)| Some((place, name.parse().ok()?, item.oid))));
    }
    if objects.is_partial() {
        let log = |folder: &Oid| objects.item(*folder, LOG).ok()?.map(|item| item.oid);
        history::objects(ws)?.fetch_missing(folders.iter().filter_map(|(_, _, folder)| log(folder)))?;
    }
    let progress = Progress::of("reading the plan", folders.len());
    let read = parallel::map_with(
        &folders,
        || repo.objects_for_many(),
        |objects, (_, id, folder)| {
            progress.step();
            relationships(objects, *id, *folder)
        },
    )?;
    let mut texts = vec![String::new(); shards.len()];
    for ((place, ..), text) in folders.iter().zip(read) {
        texts[*place] += &text;
    }
    Ok((texts, folders.len()))
}

impl Related {
    fn read_lines(&mut self, text: &str, but: &BTreeSet<Id>) {
        self.add(text.lines().filter_map(edge_in).filter(|edge| !but.contains(&edge.kind.home(edge.from, edge.to))));
    }
}

/// The relationships that a task's log ever recorded.
fn relationships(objects: &Objects, id: Id, folder: Oid) -> Result<String> {
    let bytes = objects.file(folder, LOG)?.unwrap_or_default();
    if !may_relate(&bytes) {
        return Ok(String::new());
    }
    // Reading from memory cannot fail.
    Ok(edges_of(&Log::of(&bytes).entries, |home| home == id))
}

/// The relationships of all tasks in an archive.
fn relationships_of(archive: &[u8]) -> String {
    let lines = archive.split(|byte| *byte == b'\n').filter(|line| may_relate(line));
    lines.map(|line| edges_of(&Log::of(line).entries, |_| true)).collect()
}

/// The relationships that events in the log of such a task record, one line each: kind, from, to.
fn edges_of(entries: &[Entry], is_home: impl Fn(Id) -> bool) -> String {
    let mut text = String::new();
    for entry in entries {
        if let Payload::RelationshipAdded(p) = &entry.event.payload
            && is_home(p.kind.home(p.from, p.to))
        {
            let _ = writeln!(text, "{} {} {}", p.kind.as_str(), p.from, p.to);
        }
    }
    text
}

/// An edge without its time, which is not needed here.
fn edge_in(line: &str) -> Option<Edge> {
    let [kind, from, to] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
    let kind = RelationType::ALL.into_iter().find(|one| one.as_str() == kind)?;
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    Some(Edge { stamp: Stamp { lamport: 0, id: to }, kind, from, to })
}
