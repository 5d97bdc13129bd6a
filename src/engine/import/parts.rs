//! Cuts a large plan into parts that are imported one after the other, so that memory does not grow with the plan.
//!
//! Guarantees that a task comes with its parent and its blockers or after them, as far as they allow an order. An edge to a later
//! task comes at the end. Whatever interrupts the import, the parts before are a plan, and the same import finishes it.
//! Leaves to others: the import of a part, which is all or nothing.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::source::{Import, ImportedEdge, ImportedTask};
use crate::model::relationship::RelationType;

/// The most tasks of one part.
const AT_ONCE: usize = 1_000;

/// A plan in parts.
pub(super) struct Parts {
    /// The tasks, each once, apart from known ones with an edge to a later one.
    pub(super) tasks: Vec<Import>,
    /// The tasks with an edge to a later one, with all their edges.
    pub(super) late: Vec<Import>,
}

/// Cuts a plan into parts; a small one stays whole. A known task is in one part alone: a source that says less of it than before
/// would change it.
pub(super) fn cut(plan: Import, is_known: impl Fn(&str) -> bool) -> Parts {
    cut_at(plan, AT_ONCE, is_known)
}

fn cut_at(plan: Import, most: usize, is_known: impl Fn(&str) -> bool) -> Parts {
    if plan.tasks.len() <= most {
        return Parts { tasks: vec![plan], late: Vec::new() };
    }
    let Import { format, tasks, edges, warnings: _ } = plan;
    let order = in_order(&tasks, &edges);
    let part = |tasks: Vec<ImportedTask>| Import { format, tasks, edges: Vec::new(), warnings: Vec::new() };
    let mut tasks: Vec<Option<ImportedTask>> = tasks.into_iter().map(Some).collect();
    let mut parts: Vec<Import> =
        order.chunks(most).map(|some| part(some.iter().filter_map(|n| tasks[*n].take()).collect())).collect();
    let places = parts.iter().enumerate().flat_map(|(n, part)| part.tasks.iter().map(move |t| (t.origin.clone(), n)));
    let places: HashMap<String, usize> = places.collect();
    let is_late = |edge: &&ImportedEdge| places[other_of(edge)] > places[home_of(edge)];
    let homes: HashSet<&str> = edges.iter().filter(is_late).map(home_of).collect();
    let again = parts.iter().flat_map(|part| &part.tasks).filter(|task| homes.contains(task.origin.as_str()));
    let again: Vec<ImportedTask> = again.cloned().collect();
    let mut late: Vec<Import> = again.chunks(most).map(|some| part(some.to_vec())).collect();
    for one in &mut late {
        let own: HashSet<&str> = one.tasks.iter().map(|task| task.origin.as_str()).collect();
        one.edges = edges.iter().filter(|edge| own.contains(home_of(edge))).cloned().collect();
    }
    let is_put_off = |origin: &str| homes.contains(origin) && is_known(origin);
    for edge in edges.iter().filter(|edge| !is_late(edge) && !is_put_off(home_of(edge))) {
        parts[places[home_of(edge)]].edges.push(edge.clone());
    }
    parts.iter_mut().for_each(|part| part.tasks.retain(|task| !is_put_off(&task.origin)));
    Parts { tasks: parts, late }
}

/// The task whose log holds an edge.
fn home_of(edge: &ImportedEdge) -> &str {
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
fn in_order(tasks: &[ImportedTask], edges: &[ImportedEdge]) -> Vec<usize> {
    let places: HashMap<&str, usize> = tasks.iter().enumerate().map(|(n, task)| (task.origin.as_str(), n)).collect();
    let mut awaits = vec![0_usize; tasks.len()];
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); tasks.len()];
    for edge in edges.iter().filter(|edge| matches!(edge.kind, RelationType::ParentOf | RelationType::Blocks)) {
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

    fn edge(kind: RelationType, from: &str, to: &str) -> ImportedEdge {
        let (from, to) = (from.to_owned(), to.to_owned());
        ImportedEdge { origin: None, kind, from, to, metadata: Value::Null, created_at: None }
    }

    #[test]
    fn a_task_comes_after_what_it_names() {
        let task = |origin: &str| ImportedTask { origin: origin.into(), ..ImportedTask::default() };
        let tasks = ["a", "b", "c", "d", "e"].map(task).to_vec();
        let edges = vec![
            edge(RelationType::ParentOf, "e", "a"),
            edge(RelationType::Blocks, "d", "e"),
            // A part that holds up its whole.
            edge(RelationType::ParentOf, "b", "c"),
            edge(RelationType::Blocks, "c", "b"),
            edge(RelationType::RelatesTo, "d", "a"),
        ];
        let plan = || Import { format: "test", tasks: tasks.clone(), edges: edges.clone(), warnings: Vec::new() };
        let Parts { tasks, late } = cut_at(plan(), 2, |_| false);
        let names = |part: &Import| part.tasks.iter().map(|task| task.origin.clone()).collect::<Vec<_>>().join(" ");
        let ends =
            |part: &Import| part.edges.iter().map(|edge| format!("{}{}", edge.from, edge.to)).collect::<Vec<_>>();
        assert_eq!(tasks.iter().map(names).collect::<Vec<_>>(), ["d e", "a b", "c"]);
        assert_eq!(tasks.iter().map(ends).collect::<Vec<_>>(), [vec!["de"], vec!["ea"], vec!["bc"]]);
        assert_eq!(late.iter().map(names).collect::<Vec<_>>(), ["d b"]);
        assert_eq!(late.iter().map(ends).collect::<Vec<_>>(), [["cb", "da"]]);
        let again = cut_at(plan(), 2, |origin| origin == "d");
        assert_eq!(again.tasks.iter().map(names).collect::<Vec<_>>(), ["e", "a b", "c"]);
        assert_eq!(again.late.iter().map(names).collect::<Vec<_>>(), ["d b"]);
    }
}
