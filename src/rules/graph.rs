//! Paths among tasks: which task waits for which, and what would close a cycle.
//!
//! A task waits for its blockers and a parent waits for its children, so the two kinds of edge are followed together. A cycle
//! of both kinds can be finished no more than one of one kind.
//! Leaves to others: which edges count (`rules::fold`, `rules::readiness`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;

use crate::error::Result;
use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::relationship::RelationType;

/// The chain of tasks from `from` to `to`, each waiting for the next; `None` if there is none.
///
/// `next` returns the tasks that a task waits for. Errors are those of `next`.
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

/// The length of the longest chain from a task; `None` if a chain leads in a circle. `depths` are those known, and take in those
/// of all tasks on the way.
///
/// `next` returns the tasks that follow one. Errors are those of `next`.
pub fn longest_chain<L: AsRef<[Id]>>(
    start: Id,
    depths: &mut BTreeMap<Id, u64>,
    mut next: impl FnMut(Id) -> Result<L>,
) -> Result<Option<u64>> {
    if let Some(known) = depths.get(&start) {
        return Ok(Some(*known));
    }
    let mut on_path = BTreeSet::from([start]);
    let mut path = vec![(start, next(start)?, 0, 0)];
    while let Some((task, following, place, deepest)) = path.last_mut() {
        let Some(follower) = following.as_ref().get(*place).copied() else {
            depths.insert(*task, *deepest);
            on_path.remove(task);
            path.pop();
            continue;
        };
        if let Some(depth) = depths.get(&follower) {
            *deepest = (*deepest).max(depth + 1);
            *place += 1;
        } else if on_path.insert(follower) {
            path.push((follower, next(follower)?, 0, 0));
        } else {
            return Ok(None);
        }
    }
    Ok(depths.get(&start).copied())
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

/// The edges that do not count because they close a cycle among edges of their own kind.
///
/// Edges are added in the order of events; one that would close a cycle with earlier ones that count is left out. So the
/// answer depends only on the set of edges.
pub fn void_edges(edges: &[Edge]) -> BTreeSet<Stamp> {
    // An edge that is on no cycle closes none.
    let mut in_order = on_cycles(edges);
    in_order.sort();
    let mut counting = Counting::default();
    let mut void = BTreeSet::new();
    for edge in &in_order {
        let (tail, head) = (counting.number((edge.kind, edge.from)), counting.number((edge.kind, edge.to)));
        if counting.leads(head, tail) {
            void.insert(edge.stamp);
        } else {
            counting.forward[tail].push(head);
            counting.backward[head].push(tail);
        }
    }
    void
}

/// Type and ends of the edges that do not count, unless another of the same type and ends does.
pub fn void_pairs(edges: &[Edge], void: &BTreeSet<Stamp>) -> BTreeSet<(RelationType, Id, Id)> {
    let pair = |edge: &Edge| (edge.kind, edge.from, edge.to);
    let mut pairs: BTreeSet<_> = edges.iter().filter(|edge| void.contains(&edge.stamp)).map(pair).collect();
    if !pairs.is_empty() {
        edges.iter().filter(|edge| !void.contains(&edge.stamp)).for_each(|edge| {
            pairs.remove(&pair(edge));
        });
    }
    pairs
}

/// The edges that count so far, from both ends.
#[derive(Default)]
struct Counting {
    numbers: HashMap<Node, usize>,
    forward: Vec<Vec<usize>>,
    backward: Vec<Vec<usize>>,
    /// The last search that reached a node, from either end.
    met: Vec<[u32; 2]>,
    searches: u32,
}

impl Counting {
    fn number(&mut self, node: Node) -> usize {
        let next = self.forward.len();
        let number = *self.numbers.entry(node).or_insert(next);
        if number == next {
            self.forward.push(Vec::new());
            self.backward.push(Vec::new());
            self.met.push([0; 2]);
        }
        number
    }

    /// Whether a chain of edges leads from one node to another. The search alternates between both ends, so its cost is that
    /// of the smaller side: chains that grow at either end, or are joined, stay cheap.
    fn leads(&mut self, from: usize, to: usize) -> bool {
        if from == to {
            return true;
        }
        self.searches += 1;
        let mut ends = [vec![(from, 0)], vec![(to, 0)]];
        self.met[from][0] = self.searches;
        self.met[to][1] = self.searches;
        let mut answer = None;
        while answer.is_none() {
            answer = self.step(0, &mut ends[0]).or_else(|| self.step(1, &mut ends[1]));
        }
        answer == Some(true)
    }

    /// Follows one edge from one end; returns the answer if that decides it.
    fn step(&mut self, side: usize, open: &mut Vec<(usize, usize)>) -> Option<bool> {
        let Some((node, followed)) = open.last_mut() else { return Some(false) };
        let edges = if side == 0 { &self.forward[*node] } else { &self.backward[*node] };
        let Some(next) = edges.get(*followed).copied() else {
            open.pop();
            return None;
        };
        *followed += 1;
        if self.met[next][1 - side] == self.searches {
            return Some(true);
        }
        if self.met[next][side] != self.searches {
            self.met[next][side] = self.searches;
            open.push((next, 0));
        }
        None
    }
}

/// The edges on some cycle of their own kind, or between two; empty for a sound plan. Linear in the edges.
pub fn on_cycles(edges: &[Edge]) -> Vec<Edge> {
    // A node without incoming or without outgoing edges cannot be on a cycle: both are removed repeatedly (Kahn, 1962).
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

/// Adds to `found` the nodes that `start` leads to, each with the number of its circle: nodes have the same number if each of them
/// leads to the other. A node that is there already is not followed again, so all searches with one `found` are linear together
/// (Tarjan, 1972).
///
/// `next` returns the nodes that follow one. Errors are those of `next`.
pub fn find_circles<N: Copy + Eq + Hash>(
    start: N,
    found: &mut HashMap<N, usize>,
    mut next: impl FnMut(N) -> Result<Vec<N>>,
) -> Result<()> {
    if found.contains_key(&start) {
        return Ok(());
    }
    // The nodes whose circle is not known yet, in the order in which they were reached, and the place of each there.
    let (mut open, mut places) = (vec![start], HashMap::from([(start, 0)]));
    // Each with what is left to follow, its place, and the first place that it leads back to.
    let mut path = vec![(next(start)?, 0, 0)];
    while let Some((following, place, first)) = path.last_mut() {
        if let Some(other) = following.pop() {
            if found.contains_key(&other) {
                continue;
            }
            if let Some(reached) = places.get(&other) {
                *first = (*first).min(*reached);
                continue;
            }
            let place = open.len();
            places.insert(other, place);
            open.push(other);
            path.push((next(other)?, place, place));
            continue;
        }
        let (place, first) = (*place, *first);
        path.pop();
        if first == place {
            let circle = found.len();
            found.extend(open.drain(place..).map(|node| (node, circle)));
        } else if let Some((_, _, above)) = path.last_mut() {
            *above = (*above).min(first);
        }
    }
    Ok(())
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
    fn the_latest_edge_of_a_cycle_does_not_count() {
        let edges = [edge(3, 3, 1), edge(1, 1, 2), edge(2, 2, 3), edge(4, 3, 4)];
        assert_eq!(void_edges(&edges).into_iter().map(|s| s.lamport).collect::<Vec<_>>(), [3]);
        assert_eq!(on_cycles(&edges).len(), 3);
        assert!(on_cycles(&edges[1..]).is_empty());
    }

    #[test]
    fn a_chain_is_named_from_end_to_end() {
        let next = |task: Id| Ok(if task == id(9) { vec![] } else { vec![id(task_number(task) + 1)] });
        assert_eq!(path(id(1), id(4), next).unwrap().unwrap().len(), 4);
        assert_eq!(path(id(5), id(4), next).unwrap(), None);
    }

    #[test]
    fn nodes_that_lead_to_each_other_are_one_circle_and_each_is_followed_once() {
        let next =
            |node: usize| [vec![], vec![2], vec![3, 6], vec![1, 4], vec![5], vec![4], vec![], vec![1]][node].clone();
        let (mut found, mut followed) = (HashMap::new(), Vec::new());
        for start in [6, 1, 7, 5] {
            find_circles(start, &mut found, |node| {
                followed.push(node);
                Ok(next(node))
            })
            .unwrap();
        }
        let together = |a: usize, b: usize| found[&a] == found[&b];
        assert!(together(1, 2) && together(2, 3) && together(4, 5));
        assert!([4, 6, 7].iter().all(|other| !together(1, *other)) && !together(6, 7));
        followed.sort_unstable();
        assert_eq!(followed, [1, 2, 3, 4, 5, 6, 7]);
    }

    fn task_number(task: Id) -> u128 {
        (1..20).find(|n| id(*n) == task).unwrap()
    }
}
