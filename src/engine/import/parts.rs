//! Cuts a large plan into parts that are imported one after the other, so that memory does not grow with the plan.
//!
//! Guarantees that a task comes with its parent and its blockers or after them, as far as they allow an order. An edge to a later
//! task comes at the end. Whatever interrupts the import, the parts before are a plan, and the same import finishes it.
//! Leaves to others: the import of a part, which is all or nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::source::{ImportedEdge, PackedImport, PackedTask};
use crate::model::relationship::RelationType;

/// The most tasks of one part, and the most bytes of their texts where there are several.
const AT_ONCE: usize = 1_000;
const BYTES_AT_ONCE: usize = 4 * 1024 * 1024;

/// A plan in parts.
pub(super) struct Parts {
    /// The tasks, each once, apart from known ones with an edge to a later one.
    pub(super) tasks: Vec<PackedImport>,
    /// The tasks with an edge to a later one, with all their edges.
    pub(super) late: Vec<PackedImport>,
}

/// Cuts a plan into parts; a small one stays whole. A known task is in one part alone: a source that says less of it than before
/// would change it.
pub(super) fn cut(plan: PackedImport, is_known: impl Fn(&str) -> bool) -> Parts {
    cut_at(plan, AT_ONCE, is_known)
}

/// As [`cut`], for a dry run, in which a part knows none of the tasks of another one. Also returns the number of edges of new tasks that
/// no part counts therefore. A plan in which a known task names a new one stays whole: what that means is decided with both at hand.
pub(super) fn cut_for_dry_run(plan: PackedImport, is_known: impl Fn(&str) -> bool) -> (Parts, usize) {
    let is_new = |edge: &&ImportedEdge| !is_known(home_of(edge));
    if plan.edges.iter().any(|edge| is_known(home_of(edge)) && !is_known(other_of(edge))) {
        return (Parts { tasks: vec![plan], late: Vec::new() }, 0);
    }
    let edges = plan.edges.iter().filter(is_new).count();
    let mut parts = cut(plan, &is_known);
    for part in &mut parts.late {
        part.tasks.retain(|task| is_known(&task.origin));
        part.edges.retain(|edge| is_known(home_of(edge)));
    }
    parts.late.retain(|part| !part.tasks.is_empty());
    let counted = parts.tasks.iter().map(|part| {
        let own: HashSet<&str> = part.tasks.iter().map(|task| &*task.origin).collect();
        let is_here = |edge: &&ImportedEdge| is_known(other_of(edge)) || own.contains(other_of(edge));
        part.edges.iter().filter(is_new).filter(is_here).count()
    });
    let uncounted = edges - counted.sum::<usize>();
    (parts, uncounted)
}

fn cut_at(plan: PackedImport, most: usize, is_known: impl Fn(&str) -> bool) -> Parts {
    if plan.tasks.len() <= most {
        return Parts { tasks: vec![plan], late: Vec::new() };
    }
    let PackedImport { format, tasks, edges, warnings: _ } = plan;
    let order = in_order(&tasks, &edges);
    let part = |tasks: Vec<PackedTask>| PackedImport { format, tasks, edges: Vec::new(), warnings: Vec::new() };
    let mut tasks: Vec<Option<PackedTask>> = tasks.into_iter().map(Some).collect();
    let ordered = order.iter().filter_map(|n| tasks[*n].take()).collect();
    let mut parts: Vec<PackedImport> = chunks(ordered, most).into_iter().map(part).collect();
    let places =
        parts.iter().enumerate().flat_map(|(n, part)| part.tasks.iter().map(move |t| (t.origin.to_string(), n)));
    let places: HashMap<String, usize> = places.collect();
    // A task that was dropped here is in no part.
    let is_late = |edge: &&ImportedEdge| places.get(other_of(edge)).is_some_and(|other| *other > places[home_of(edge)]);
    let homes: HashSet<String> = edges.iter().filter(is_late).map(|edge| home_of(edge).to_owned()).collect();
    let again = parts.iter().flat_map(|part| &part.tasks).filter(|task| homes.contains(&*task.origin));
    let mut late: Vec<PackedImport> = chunks(again.cloned().collect(), most).into_iter().map(part).collect();
    for one in &mut late {
        let own: HashSet<&str> = one.tasks.iter().map(|task| &*task.origin).collect();
        one.edges = edges.iter().filter(|edge| own.contains(home_of(edge))).cloned().collect();
    }
    let is_put_off = |origin: &str| homes.contains(origin) && is_known(origin);
    for edge in edges.into_iter().filter(|edge| !is_late(&edge) && !is_put_off(home_of(edge))) {
        parts[places[home_of(&edge)]].edges.push(edge);
    }
    parts.iter_mut().for_each(|part| part.tasks.retain(|task| !is_put_off(&task.origin)));
    Parts { tasks: parts, late }
}

/// Tasks in their order, in groups of at most so many and at most [`BYTES_AT_ONCE`].
fn chunks(tasks: Vec<PackedTask>, most: usize) -> Vec<Vec<PackedTask>> {
    let (mut chunks, mut bytes): (Vec<Vec<PackedTask>>, usize) = (Vec::new(), 0);
    for task in tasks {
        bytes += task.size();
        match chunks.last_mut().filter(|last| last.len() < most && bytes <= BYTES_AT_ONCE) {
            Some(last) => last.push(task),
            None => {
                bytes = task.size();
                chunks.push(vec![task]);
            }
        }
    }
    chunks
}

/// The task whose log holds an edge.
pub(super) fn home_of(edge: &ImportedEdge) -> &str {
    match edge.kind {
        RelationType::ParentOf | RelationType::Blocks => &edge.to,
        RelationType::RelatesTo | RelationType::Duplicates => &edge.from,
    }
}

/// The other end of an edge.
fn other_of(edge: &ImportedEdge) -> &str {
    if home_of(edge) == edge.to { &edge.from } else { &edge.to }
}

/// The places of the tasks: parents and blockers before their tasks, and otherwise as in the file.
fn in_order(tasks: &[PackedTask], edges: &[ImportedEdge]) -> Vec<usize> {
    let places: HashMap<&str, usize> = tasks.iter().enumerate().map(|(n, task)| (&*task.origin, n)).collect();
    let mut awaits = vec![0_usize; tasks.len()];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    let is_ordered = |edge: &&ImportedEdge| {
        matches!(edge.kind, RelationType::ParentOf | RelationType::Blocks) && places.contains_key(other_of(edge))
    };
    for edge in edges.iter().filter(is_ordered) {
        after[places[other_of(edge)]].push(places[home_of(edge)]);
        awaits[places[home_of(edge)]] += 1;
    }
    let mut free: BTreeSet<usize> = (0..tasks.len()).filter(|n| awaits[*n] == 0).collect();
    let mut left: BTreeSet<usize> = (0..tasks.len()).collect();
    let mut order = Vec::with_capacity(tasks.len());
    // A part may hold up its whole, which has no order: then the first in the file comes first.
    while let Some(n) = free.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&n) {
            continue;
        }
        order.push(n);
        for next in &after[n] {
            awaits[*next] -= 1;
            if awaits[*next] == 0 {
                free.insert(*next);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::engine::import::source::ImportedTask;

    fn edge(kind: RelationType, from: &str, to: &str) -> ImportedEdge {
        let (from, to) = (from.to_owned(), to.to_owned());
        ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None }
    }

    #[test]
    fn a_task_comes_after_what_it_names() {
        let task = |origin: &str| PackedTask::of(ImportedTask { origin: origin.into(), ..ImportedTask::default() });
        let tasks = ["a", "b", "c", "d", "e"].map(task).to_vec();
        let edges = vec![
            edge(RelationType::ParentOf, "e", "a"),
            edge(RelationType::Blocks, "d", "e"),
            // A part that holds up its whole.
            edge(RelationType::ParentOf, "b", "c"),
            edge(RelationType::Blocks, "c", "b"),
            edge(RelationType::RelatesTo, "d", "a"),
        ];
        let plan = || PackedImport { format: "test", tasks: tasks.clone(), edges: edges.clone(), warnings: Vec::new() };
        let Parts { tasks, late } = cut_at(plan(), 2, |_| false);
        let names =
            |part: &PackedImport| part.tasks.iter().map(|task| task.origin.to_string()).collect::<Vec<_>>().join(" ");
        let ends =
            |part: &PackedImport| part.edges.iter().map(|edge| format!("{}{}", edge.from, edge.to)).collect::<Vec<_>>();
        assert_eq!(tasks.iter().map(names).collect::<Vec<_>>(), ["d e", "a b", "c"]);
        assert_eq!(tasks.iter().map(ends).collect::<Vec<_>>(), [vec!["de"], vec!["ea"], vec!["bc"]]);
        assert_eq!(late.iter().map(names).collect::<Vec<_>>(), ["d b"]);
        assert_eq!(late.iter().map(ends).collect::<Vec<_>>(), [["cb", "da"]]);
        let again = cut_at(plan(), 2, |origin| origin == "d");
        assert_eq!(again.tasks.iter().map(names).collect::<Vec<_>>(), ["e", "a b", "c"]);
        assert_eq!(again.late.iter().map(names).collect::<Vec<_>>(), ["d b"]);
    }
}
