//! Paths among tasks: who waits for whom, and what would close a circle.
//!
//! A task waits for its blockers and a parent waits for its children, so the two kinds of edge are walked together: a circle
//! of both kinds can no more be finished than one of one kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::relationship::RelationType;

/// The chain of tasks from `from` to `to`, each waiting for the next; `None` where there is none.
///
/// `next` gives the tasks that a task waits for. Errors are `next`'s.
pub fn path(from: Id, to: Id, mut next: impl FnMut(Id) -> Result<Vec<Id>>) -> Result<Option<Vec<Id>>> {
    let mut came_from: BTreeMap<Id, Id> = BTreeMap::new();
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(task) = open.pop() {
        if task == to {
            let mut chain = vec![to];
            while let Some(before) = came_from.get(&chain[chain.len() - 1]) {
                chain.push(*before);
            }
            chain.reverse();
            return Ok(Some(chain));
        }
        for other in next(task)? {
            if seen.insert(other) {
                came_from.insert(other, task);
                open.push(other);
            }
        }
    }
    Ok(None)
}

/// One edge of the plan as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// When it was added, in the order of events.
    pub stamp: Stamp,
    /// `parent_of` or `blocks`.
    pub kind: RelationType,
    /// The parent or blocker.
    pub from: Id,
    /// The child or blocked task.
    pub to: Id,
}

/// The edges that do not count because they close a circle among edges of their own kind.
///
/// Edges are taken in the order of events; one that would close a circle with those that count already is left out. So the
/// answer depends on the set of edges alone.
pub fn void_edges(edges: &[Edge]) -> BTreeSet<Stamp> {
    let mut in_order: Vec<&Edge> = edges.iter().collect();
    in_order.sort();
    let mut counting: BTreeMap<(RelationType, Id), Vec<Id>> = BTreeMap::new();
    let mut void = BTreeSet::new();
    for edge in in_order {
        let reaches =
            path(edge.from, edge.to, |task| Ok(counting.get(&(edge.kind, task)).cloned().unwrap_or_default()));
        // Only `next` can fail here, and this one does not.
        if edge.from == edge.to || matches!(reaches, Ok(Some(_))) {
            void.insert(edge.stamp);
        } else {
            counting.entry((edge.kind, edge.to)).or_default().push(edge.from);
        }
    }
    void
}

/// The edges that lie on some circle of their own kind, or between two; empty for a sound plan. Linear in the edges.
pub fn on_circles(edges: &[Edge]) -> Vec<Edge> {
    // What nothing leads to cannot lie on a circle, nor what leads nowhere: both are peeled off to the end (Kahn, 1962).
    let led_to = peel(edges, |e| (e.kind, e.from), |e| (e.kind, e.to));
    peel(&led_to, |e| (e.kind, e.to), |e| (e.kind, e.from))
}

type Node = (RelationType, Id);

fn peel(edges: &[Edge], tail: impl Fn(&Edge) -> Node, head: impl Fn(&Edge) -> Node) -> Vec<Edge> {
    let mut into: BTreeMap<Node, usize> = BTreeMap::new();
    let mut out_of: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    for edge in edges {
        *into.entry(head(edge)).or_default() += 1;
        into.entry(tail(edge)).or_default();
        out_of.entry(tail(edge)).or_default().push(head(edge));
    }
    let mut free: Vec<Node> = into.iter().filter(|(_, count)| **count == 0).map(|(node, _)| *node).collect();
    let mut gone = BTreeSet::new();
    while let Some(node) = free.pop() {
        gone.insert(node);
        for next in out_of.get(&node).into_iter().flatten() {
            if let Some(count) = into.get_mut(next) {
                *count -= 1;
                if *count == 0 {
                    free.push(*next);
                }
            }
        }
    }
    edges.iter().filter(|e| !gone.contains(&tail(e))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> Id {
        Id::from_parts(1, n)
    }

    fn edge(n: u64, from: u128, to: u128) -> Edge {
        Edge {
            stamp: Stamp { lamport: n, id: id(u128::from(n)) },
            kind: RelationType::Blocks,
            from: id(from),
            to: id(to),
        }
    }

    #[test]
    fn the_latest_edge_of_a_circle_does_not_count() {
        let edges = [edge(3, 3, 1), edge(1, 1, 2), edge(2, 2, 3), edge(4, 3, 4)];
        assert_eq!(void_edges(&edges).into_iter().map(|s| s.lamport).collect::<Vec<_>>(), [3]);
        assert_eq!(on_circles(&edges).len(), 3);
        assert!(on_circles(&edges[1..]).is_empty());
    }

    #[test]
    fn a_chain_is_named_from_end_to_end() {
        let next = |task: Id| Ok(if task == id(9) { vec![] } else { vec![id(task_number(task) + 1)] });
        assert_eq!(path(id(1), id(4), next).unwrap().unwrap().len(), 4);
        assert_eq!(path(id(5), id(4), next).unwrap(), None);
    }

    fn task_number(task: Id) -> u128 {
        (1..20).find(|n| id(*n) == task).unwrap()
    }
}
