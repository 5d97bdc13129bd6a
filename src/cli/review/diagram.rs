//! Dependencies that came and went, as a diagram.
//!
//! Guarantees that text of others is written as character references.
//! Leaves to others: tasks and their changes in words (`details`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::names::{Page, blocking, task_of};
use crate::cli::changes::{Paper, changes};
use crate::cli::page::{Room, Section};
use crate::model::id::Id;
use crate::reports::change::{Change, Kind};

/// Most tasks in the diagram.
const MOST_NODES: usize = 12;

impl Page<'_> {
    /// The diagram, in half of the room that is left where details wait for the rest.
    pub(super) fn diagram_with_limit(&self, details: &Section, room: &mut Room) -> (String, Option<String>) {
        let (lines, bytes) = if details.blocks.is_empty() { (0, 0) } else { (room.lines / 2, room.bytes / 2) };
        (room.lines, room.bytes) = (room.lines - lines, room.bytes - bytes);
        let diagram = self.diagram(room);
        (room.lines, room.bytes) = (room.lines + lines, room.bytes + bytes);
        diagram
    }

    /// Dependencies that came and went, as a diagram; and how many of them are left out.
    fn diagram(&self, room: &mut Room) -> (String, Option<String>) {
        let mut edges = Vec::new();
        for item in &self.report.list.items {
            for Change { change: kind, field, from, to, .. } in changes(item).map(|one| &one.change) {
                // Where a new task hangs is seen among the new tasks.
                let hangs = *kind == Kind::Field && field == "parent" && !item.created;
                let parent = |value: &Value| task_of(value).filter(|_| hangs).map(|parent| (parent, item.task));
                edges.extend(blocking(from).map(|ends| (ends, "-. \"blocks no more\" .->")));
                edges.extend(blocking(to).map(|ends| (ends, "-- blocks -->")));
                edges.extend(parent(from).map(|ends| (ends, "-. \"parent no more\" .->")));
                edges.extend(parent(to).map(|ends| (ends, "-- parent of -->")));
            }
        }
        let total = edges.len();
        // Tasks that did not change themselves are numbered after those that did.
        let mut numbers = self.numbers.clone();
        for id in edges.iter().flat_map(|((from, to), _)| [*from, *to]) {
            let next = numbers.len();
            numbers.entry(id).or_insert(next);
        }
        let left = |shown_edges: usize| {
            (shown_edges < total).then(|| format!("{} of {total} dependencies", total - shown_edges))
        };
        // Heading, fences, first line, and the blank lines around them.
        if edges.is_empty() || room.lines < 7 || !room.take(5, 120) {
            return (String::new(), left(0));
        }
        let (mut nodes, mut shown_edges) = (Vec::<usize>::new(), Vec::new());
        for ((from, to), arrow) in &edges {
            let ends = [*from, *to].map(|id| (numbers[&id], id));
            let new: BTreeSet<usize> = ends.into_iter().map(|(n, _)| n).filter(|n| !nodes.contains(n)).collect();
            if nodes.len() + new.len() > MOST_NODES || shown_edges.len() == MOST_NODES {
                continue;
            }
            let [from, to] = ends.map(|(n, id)| self.node(n, id, new.contains(&n)));
            let line = format!("  {from} {arrow} {to}");
            if !room.take(1, line.len() + 1) {
                break;
            }
            nodes.extend(new);
            shown_edges.push(line);
        }
        let count =
            if shown_edges.len() < total { format!("{} of {total}", shown_edges.len()) } else { total.to_string() };
        let text = format!("\n### Dependencies ({count})\n```mermaid\ngraph LR\n{}\n```\n", shown_edges.join("\n"));
        (text, left(shown_edges.len()))
    }

    /// A task in the diagram, with its name the first time.
    fn node(&self, number: usize, task: Id, first: bool) -> String {
        if !first {
            return format!("t{number}");
        }
        let text = Paper { md: false }.quote_most(self.title(task).unwrap_or_default(), 40);
        format!("t{number}[\"{} {}\"]", self.handle(task), referenced(&text))
    }
}

/// What a diagram would understand is written as character references.
fn referenced(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '.' | '-' | '…');
    text.chars().map(|c| if plain(c) { c.to_string() } else { format!("#{};", c as u32) }).collect()
}
