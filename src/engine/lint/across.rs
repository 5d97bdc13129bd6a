//! Findings about several tasks together: dangling relationships, cycles, and tasks completed too early.
//!
//! Leaves to others: the tasks of git's index (`together`).

use std::collections::{BTreeMap, BTreeSet};

use super::Found;
use super::source::LintSource;
use super::task::{begun_by_force, completed_by_force};
use crate::error::Result;
use crate::model::event::{Entry, Event, Stamp};
use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::Id;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::rules::event_rules::status_of;
use crate::rules::graph::{Edge, void_edges};
use crate::rules::readiness::BlockerRules;
use crate::rules::review::rejection;
use crate::store::layout::{shown, task_dir};

/// The part of a task that matters to others: no more than is needed, since a plan may hold a hundred thousand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskLinks {
    pub(crate) status: Status,
    /// When it was first finished, even if it was opened again since.
    ended: Option<Stamp>,
    /// When it was completed, even if it was archived since.
    completed: Option<Stamp>,
    /// Its completion states that it overrides unfinished blockers or children.
    is_forced: bool,
    is_unreviewed: bool,
    /// It is open again since an agent rejected its completion.
    is_rejected: bool,
    /// Its last start or completion states that it overrides unfinished blockers or children.
    overrides: bool,
    parent: Option<Id>,
    pub(crate) edges: Box<[Edge]>,
}

impl TaskLinks {
    /// The links of a task with these events.
    pub(crate) fn of(task: &Task, entries: &[Entry]) -> Self {
        let completes = |event: &&Event| status_of(event) == Some(Status::Completed);
        let last = || entries.iter().map(|entry| &entry.event).filter(completes).map(Event::stamp).max();
        let links = TaskLinks::from(task);
        let is_archived = task.status == Status::Archived && task.completed_at.is_some();
        let completed = if is_archived { last() } else { links.completed };
        let is_rejected = !task.status.is_finished() && rejection(entries).is_some();
        let ends = |event: &&Event| status_of(event).is_some_and(Status::is_finished);
        TaskLinks {
            ended: entries.iter().map(|entry| &entry.event).filter(ends).map(Event::stamp).min(),
            completed,
            is_forced: completed_by_force(entries),
            is_rejected,
            overrides: begun_by_force(entries),
            ..links
        }
    }

    /// Its relationships.
    pub(crate) fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Whether it was completed, even if it was archived since.
    pub(crate) fn is_completed(&self) -> bool {
        self.completed.is_some()
    }

    /// The tasks that its relationships name, itself among them.
    pub(crate) fn named(&self) -> impl Iterator<Item = Id> {
        self.edges.iter().flat_map(|edge| [edge.from, edge.to])
    }

    /// Those of a task whose events were dropped from the archives: it was closed.
    pub fn dropped() -> Self {
        TaskLinks {
            status: Status::Archived,
            ended: None,
            completed: None,
            is_forced: false,
            is_unreviewed: false,
            is_rejected: false,
            overrides: false,
            parent: None,
            edges: Box::default(),
        }
    }

    fn blocking(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(|edge| edge.kind == RelationType::Blocks)
    }
}

impl From<&Task> for TaskLinks {
    fn from(task: &Task) -> Self {
        let since = task.stamps.get("status").copied();
        let edge = |e: &Relationship| Edge { stamp: e.stamp(), kind: e.kind, from: e.from, to: e.to };
        TaskLinks {
            status: task.status,
            ended: None,
            completed: since.filter(|_| task.status == Status::Completed),
            is_forced: false,
            is_unreviewed: task.is_unreviewed(),
            is_rejected: false,
            overrides: false,
            parent: task.parent(),
            edges: task.relationships.values().map(edge).collect(),
        }
    }
}

/// The findings about several tasks: all of the work tree, or those that a commit introduces. `review` compares both sides of a branch
/// itself.
pub(crate) fn check(source: LintSource<'_>, found: &mut Found) -> Result<()> {
    found.findings.extend(match source {
        LintSource::WorkTree(tree, _) => {
            let links = std::mem::take(&mut found.links).into_iter().collect();
            across(source.store(), &links, BlockerRules::of(&tree.ws.settings))
        }
        LintSource::Index(staging, _) => staging.together()?,
        LintSource::Branch(..) | LintSource::Text(_) => Vec::new(),
    });
    Ok(())
}

/// The findings about several tasks; `store` is the store's name, for messages. Whether a completion has landed is not
/// known here: by rules that require it, a completed task may hold those that wait for it.
pub(crate) fn across(store: &str, tasks: &BTreeMap<Id, TaskLinks>, rules: BlockerRules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut edges = Vec::new();
    let mut unfinished_children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    let path = |id: Id| shown(store, task_dir(id).join("task.yaml"));
    for (id, task) in tasks {
        for edge in &task.edges {
            for other in [edge.from, edge.to] {
                if !tasks.contains_key(&other) {
                    let (kind, named) = (edge.kind.as_str(), edge.stamp.id);
                    let message = format!("{kind} {named} names task {other}, which is not here");
                    let finding = Finding::new(Rule::DanglingReference, message).task(*id);
                    findings.push(finding.at(path(*id), None).on(spot(edge.kind, named)));
                }
            }
            if matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf) {
                edges.push(*edge);
            }
        }
        if let Some(parent) = task.parent.filter(|_| !task.status.is_finished()) {
            unfinished_children.entry(parent).or_default().push(*id);
        }
    }
    let void = void_edges(&edges);
    for edge in edges.iter().filter(|edge| void.contains(&edge.stamp)) {
        let rule = if edge.kind == RelationType::Blocks { Rule::CycleBlocks } else { Rule::CycleParents };
        let message =
            format!("{} {} from {} closes a cycle and does not count", edge.kind.as_str(), edge.stamp.id, edge.from);
        let finding = Finding::new(rule, message).task(edge.to).at(path(edge.to), None);
        findings.push(finding.on(spot(edge.kind, edge.stamp.id)));
    }
    for (id, task) in tasks {
        let of_status = |rule, message: String| {
            Finding::new(rule, message).task(*id).at(path(*id), None).on(Spot::Key("status".into()))
        };
        let is_open = |id: &Id| tasks.get(id).is_some_and(|other| !other.status.is_finished());
        let was_open = |other: &Id| tasks.get(other).is_some_and(|links| was_open((*id, task), (*other, links)));
        let counting = task.blocking().filter(|edge| !void.contains(&edge.stamp));
        let blockers: BTreeSet<Id> = counting.map(|edge| edge.from).filter(is_open).collect();
        // A blocker that is not here, or whose edge closes a cycle, is reported above.
        let is_named = task.blocking().any(|edge| !tasks.contains_key(&edge.from) || void.contains(&edge.stamp));
        let may_hold =
            |blocker: &TaskLinks| (rules.reviewed && blocker.is_unreviewed) || (rules.landed && blocker.is_completed());
        let is_held = task.blocking().any(|edge| tasks.get(&edge.from).is_some_and(may_hold));
        if task.status == Status::Blocked && blockers.is_empty() && !is_named && !is_held {
            findings.push(of_status(Rule::BlockedFreely, "it is blocked, but nothing unfinished blocks it".into()));
        }
        let all_children = unfinished_children.get(id).map_or(&[][..], Vec::as_slice);
        let blockers: Vec<Id> = blockers.into_iter().filter(was_open).collect();
        let children: Vec<Id> = all_children.iter().filter(|id| was_open(id)).copied().collect();
        let early: BTreeSet<Id> = blockers.iter().chain(&children).copied().collect();
        if task.is_completed() && !(blockers.is_empty() && children.is_empty()) && !task.is_forced {
            let message = format!("it is completed despite {}", unfinished(blockers.len(), children.len()));
            findings.push(of_status(Rule::CompletedEarly, message));
        }
        let is_begun = task.is_completed() || task.status == Status::InProgress;
        if is_begun && !task.overrides {
            let waits = task.blocking().filter(|edge| !void.contains(&edge.stamp)).map(|edge| edge.from);
            let parts = all_children.iter().copied().filter(|_| task.is_completed());
            let is_rejected = |id: &Id| tasks.get(id).is_some_and(|other| other.is_rejected) && !early.contains(id);
            let rejected: BTreeSet<Id> = waits.chain(parts).filter(is_rejected).collect();
            for other in rejected {
                let what = if all_children.contains(&other) { "its child" } else { "its blocker" };
                let begun = if task.is_completed() { "completed" } else { "in progress" };
                let message = format!("it is {begun} although {what} {other} was rejected and is open again");
                findings.push(of_status(Rule::BuiltOnRejected, message));
            }
        }
    }
    findings
}

/// Whether a task was open when another one, which waits for it or has it as a part, was completed. One that was finished before,
/// or before it was named, and is open again was not: whether the other could see it open depends on no order between the two logs.
fn was_open((id, task): (Id, &TaskLinks), (other, links): (Id, &TaskLinks)) -> bool {
    let names = |edge: &&Edge| match edge.kind {
        RelationType::Blocks => (edge.from, edge.to) == (other, id),
        RelationType::ParentOf => (edge.from, edge.to) == (id, other),
        RelationType::RelatesTo | RelationType::Duplicates => false,
    };
    let Some(end) = links.ended else { return true };
    let named = task.edges.iter().chain(&links.edges).filter(names).map(|edge| edge.stamp).max();
    task.completed.is_some() && Some(end) >= task.completed.max(named)
}

/// The numbers of unfinished blockers and children; zero is omitted.
fn unfinished(blockers: usize, children: usize) -> String {
    let blockers = match blockers {
        0 => None,
        1 => Some("1 unfinished blocker".to_owned()),
        n => Some(format!("{n} unfinished blockers")),
    };
    let children = match children {
        0 => None,
        1 => Some("1 unfinished child".to_owned()),
        n => Some(format!("{n} unfinished children")),
    };
    blockers.into_iter().chain(children).collect::<Vec<_>>().join(" and ")
}

/// The part of the task's file that shows a relationship: a parent has its own key.
fn spot(kind: RelationType, edge: Id) -> Spot {
    if kind == RelationType::ParentOf { Spot::Key("parent".into()) } else { Spot::Edge(edge) }
}
