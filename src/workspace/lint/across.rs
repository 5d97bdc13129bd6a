//! What follows from several tasks together: edges that lead nowhere or in a circle, a task that is finished too early.
//!
//! Promises: judged over whatever tasks it is given.
//! Refuses to know: where they were read.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::finding::{Finding, Rule, Spot};
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::rules::graph::{Edge, on_circles, void_edges};
use crate::store::layout::{shown, task_dir};

/// What follows from several tasks; `store` is the store's name, for messages.
pub(in crate::workspace) fn across(
    store: &str,
    tasks: &BTreeMap<Id, Task>,
    was_forced: &dyn Fn(Id) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut edges = Vec::new();
    let mut unfinished_children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    let path = |id: Id| shown(store, task_dir(id).join("task.yaml"));
    for task in tasks.values() {
        for edge in task.relationships.values() {
            for other in [edge.from, edge.to] {
                if !tasks.contains_key(&other) {
                    let message = format!("{} {} names task {other}, which is not here", edge.kind.as_str(), edge.id);
                    let finding = Finding::new(Rule::DanglingReference, message).task(task.id);
                    findings.push(finding.at(path(task.id), None).on(spot(edge.kind, edge.id)));
                }
            }
            if matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf) {
                edges.push(Edge { stamp: edge.stamp(), kind: edge.kind, from: edge.from, to: edge.to });
            }
        }
        if let Some(parent) = task.parent().filter(|_| !task.status.is_finished()) {
            unfinished_children.entry(parent).or_default().push(task.id);
        }
    }
    let void = if on_circles(&edges).is_empty() { BTreeSet::new() } else { void_edges(&edges) };
    for edge in edges.iter().filter(|edge| void.contains(&edge.stamp)) {
        let rule = if edge.kind == RelationType::Blocks { Rule::CycleBlocks } else { Rule::CycleParents };
        let message =
            format!("{} {} from {} closes a cycle and does not count", edge.kind.as_str(), edge.stamp.id, edge.from);
        let finding = Finding::new(rule, message).task(edge.to).at(path(edge.to), None);
        findings.push(finding.on(spot(edge.kind, edge.stamp.id)));
    }
    for task in tasks.values() {
        let is_open = |id: &Id| tasks.get(id).is_some_and(|other| !other.status.is_finished());
        // What was opened again after this one was completed is no fault of this one.
        let was_open =
            |id: &Id| tasks.get(id).is_some_and(|other| other.stamps.get("status") < task.stamps.get("status"));
        let counts = |id: &Id| {
            task.relationships
                .values()
                .any(|e| e.kind == RelationType::Blocks && e.from == *id && !void.contains(&e.stamp()))
        };
        let blockers: Vec<Id> = task.blockers().into_iter().filter(|id| is_open(id) && counts(id)).collect();
        // A blocker that is not here, or whose edge closes a cycle, was named above.
        let is_named = task
            .relationships
            .values()
            .any(|e| e.kind == RelationType::Blocks && (!tasks.contains_key(&e.from) || void.contains(&e.stamp())));
        if task.status == Status::Blocked && blockers.is_empty() && !is_named {
            findings.push(
                Finding::new(Rule::BlockedFreely, "it is blocked, but nothing unfinished blocks it")
                    .task(task.id)
                    .at(path(task.id), None)
                    .on(Spot::Key("status".into())),
            );
        }
        let children = unfinished_children.get(&task.id).map_or(&[][..], Vec::as_slice);
        let blockers: Vec<Id> = blockers.into_iter().filter(was_open).collect();
        let children: Vec<Id> = children.iter().filter(|id| was_open(id)).copied().collect();
        if task.status == Status::Completed && !(blockers.is_empty() && children.is_empty()) && !was_forced(task.id) {
            let message = format!(
                "it is completed over {} unfinished blockers and {} unfinished children",
                blockers.len(),
                children.len()
            );
            findings.push(
                Finding::new(Rule::CompletedEarly, message)
                    .task(task.id)
                    .at(path(task.id), None)
                    .on(Spot::Key("status".into())),
            );
        }
    }
    findings
}

/// Where a relationship stands in the file of the task whose log holds it: a parent has a key of its own.
fn spot(kind: RelationType, edge: Id) -> Spot {
    match kind {
        RelationType::ParentOf => Spot::Key("parent".into()),
        _ => Spot::Edge(edge),
    }
}
