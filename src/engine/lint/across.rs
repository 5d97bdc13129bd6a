//! Findings that follow from several tasks: edges that lead nowhere or in a circle, a task that is completed too early.
//!
//! Guarantees: judged over whatever tasks it is given.
//! Leaves to others: where they were read.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::event::{Entry, Event, Stamp};
use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::Id;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::rules::event_rules::status_of;
use crate::rules::graph::{Edge, void_edges};
use crate::store::layout::{shown, task_dir};

/// What a task is to others: all that is asked of it here, for a plan may hold a hundred thousand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TaskLinks {
    pub(crate) status: Status,
    /// When its status was last set.
    since: Option<Stamp>,
    /// When it was completed, even if it was archived since.
    completed: Option<Stamp>,
    parent: Option<Id>,
    pub(crate) edges: Box<[Edge]>,
}

impl TaskLinks {
    /// What a task with these events is to others.
    pub(crate) fn of(task: &Task, entries: &[Entry]) -> Self {
        let completes = |event: &&Event| status_of(event) == Some(Status::Completed);
        let last = || entries.iter().map(|entry| &entry.event).filter(completes).map(Event::stamp).max();
        let tied = TaskLinks::from(task);
        let is_archived = task.status == Status::Archived && task.completed_at.is_some();
        TaskLinks { completed: if is_archived { last() } else { tied.completed }, ..tied }
    }
}

impl From<&Task> for TaskLinks {
    fn from(task: &Task) -> Self {
        let since = task.stamps.get("status").copied();
        let edge = |e: &Relationship| Edge { stamp: e.stamp(), kind: e.kind, from: e.from, to: e.to };
        TaskLinks {
            status: task.status,
            since,
            completed: since.filter(|_| task.status == Status::Completed),
            parent: task.parent(),
            edges: task.relationships.values().map(edge).collect(),
        }
    }
}

impl TaskLinks {
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

    fn blocking(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(|edge| edge.kind == RelationType::Blocks)
    }
}

/// What follows from several tasks; `store` is the store's name, for messages.
pub(crate) fn across(store: &str, tasks: &BTreeMap<Id, TaskLinks>, was_forced: &dyn Fn(Id) -> bool) -> Vec<Finding> {
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
        let is_open = |id: &Id| tasks.get(id).is_some_and(|other| !other.status.is_finished());
        // What was opened again after this one was completed is no fault of this one.
        let was_open = |id: &Id| tasks.get(id).is_some_and(|other| other.since < task.completed);
        let counting = task.blocking().filter(|edge| !void.contains(&edge.stamp));
        let blockers: BTreeSet<Id> = counting.map(|edge| edge.from).filter(is_open).collect();
        // A blocker that is not here, or whose edge closes a cycle, was named above.
        let is_named = task.blocking().any(|edge| !tasks.contains_key(&edge.from) || void.contains(&edge.stamp));
        if task.status == Status::Blocked && blockers.is_empty() && !is_named {
            findings.push(
                Finding::new(Rule::BlockedFreely, "it is blocked, but nothing unfinished blocks it")
                    .task(*id)
                    .at(path(*id), None)
                    .on(Spot::Key("status".into())),
            );
        }
        let children = unfinished_children.get(id).map_or(&[][..], Vec::as_slice);
        let blockers: Vec<Id> = blockers.into_iter().filter(was_open).collect();
        let children: Vec<Id> = children.iter().filter(|id| was_open(id)).copied().collect();
        if task.is_completed() && !(blockers.is_empty() && children.is_empty()) && !was_forced(*id) {
            let message = format!("it is completed despite {}", unfinished(blockers.len(), children.len()));
            findings.push(
                Finding::new(Rule::CompletedEarly, message)
                    .task(*id)
                    .at(path(*id), None)
                    .on(Spot::Key("status".into())),
            );
        }
    }
    findings
}

/// How many blockers and children are unfinished; a part that is zero is left out.
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

/// Where a relationship stands in the file of the task whose log holds it: a parent has a key of its own.
fn spot(kind: RelationType, edge: Id) -> Spot {
    match kind {
        RelationType::ParentOf => Spot::Key("parent".into()),
        _ => Spot::Edge(edge),
    }
}
