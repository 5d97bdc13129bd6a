//! `graph`: the plan rendered as a tree, or as a diagram: SVG, or for mermaid or dot.
//!
//! Guarantees an answer that is bounded like a list, in the order of the tree: a task comes before its children. An edge is on the page
//! of the task it leads to.
//! Leaves to others: where the boxes of a drawing stand (`reports::board`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::page::Page;
use crate::engine::commit::hand_edits::record::UnrecordedEdits;
use crate::engine::context::Workspace;
use crate::engine::view::read::{self, handles};
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::id::{HANDLE_MIN, Id, quoted};
use crate::model::plain::{escape, first_of};
use crate::model::query::Graph;
use crate::model::relationship::RelationType;
use crate::model::task::{Line, Status};
use crate::reports::board::graph::{self, Place};
use crate::reports::list::{List, Rest, edits_words};
use crate::reports::ready::Plan;
use crate::rules::readiness::Missing;
use crate::store::index::Index;

/// The plan as tasks and edges: a large one fits into memory so, and not as a JSON document.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Drawing {
    nodes: Vec<Node>,
    edges: Vec<Link>,
    /// The handles of what a task waits for, by edges that count, wherever that is shown; of many the first.
    #[serde(skip)]
    waits_for: HashMap<Id, String>,
    #[serde(flatten)]
    rest: Rest,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Node {
    id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<String>,
    title: String,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<Id>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    priority: i64,
    /// Whether it has an open thread.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    discussed: bool,
    /// What is missing of a completed task before those that wait for it may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<Missing>,
    /// Whether its task.yaml was edited by hand, and that is not recorded: the values are from before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    unrecorded_edit: bool,
}

/// The most tasks that the tree names as those that one waits for.
const MAX_NAMED: usize = 20;

impl Node {
    /// What else there is to say about it, each with its separator.
    fn notes(&self, before: &str, after: &str) -> String {
        let notes = [
            self.missing.and_then(Missing::words),
            self.discussed.then_some("discussed"),
            self.unrecorded_edit.then_some("*"),
        ];
        notes.into_iter().flatten().map(|note| format!("{before}{note}{after}")).collect()
    }
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Link {
    from: Id,
    to: Id,
    #[serde(rename = "type")]
    kind: RelationType,
    void: bool,
}

/// `graph`
pub fn graph(ws: &Workspace, q: &Graph) -> Result<Drawing> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let ids = index.all_ids()?;
    let mut handles = handles(&ids);
    let mut lines = index.lines(ids.into_iter())?;
    // Before the closed tasks are left out: those below them may be open.
    if let Some(reference) = &q.id.0 {
        let shown = descendants(&lines, read::resolve(ws, &Ref(reference.clone()))?);
        lines.retain(|line| shown.contains(&line.id));
    }
    let missing = missing(ws, &index, &plan)?;
    let is_open = |line: &Line| !line.status.is_finished() || missing.contains_key(&line.id);
    lines.retain(|line| line.version > 0 && (q.all || is_open(line)));
    let shown: HashSet<Id> = lines.iter().map(|line| line.id).collect();
    let discussed: HashSet<Id> = index.tasks_under_discussion()?.into_iter().collect();
    let waits_for = lines.iter().filter_map(|line| Some((line.id, names(plan.blockers(line.id), &handles)?))).collect();
    let node = |line: Line| Node {
        id: line.id,
        handle: handles.remove(&line.id),
        title: line.title,
        status: plan.tasks.get(&line.id).map_or(line.status, |brief| plan.status(brief)),
        parent: line.parent,
        owner: line.owner,
        priority: line.priority,
        discussed: discussed.contains(&line.id),
        missing: missing.get(&line.id).copied(),
        unrecorded_edit: false,
    };
    let nodes: Vec<Node> = in_tree_order(lines.into_iter().map(node).collect());
    let mut edges: HashMap<Id, Vec<Link>> = HashMap::new();
    for edge in index.edges()?.into_iter().filter(|edge| shown.contains(&edge.from) && shown.contains(&edge.to)) {
        let void = plan.void.contains(&edge.stamp);
        edges.entry(edge.to).or_default().push(Link { from: edge.from, to: edge.to, kind: edge.kind, void });
    }
    Ok(Drawing { waits_for, ..page(ws, q, nodes, edges, &UnrecordedEdits::new(ws, &index))? })
}

/// The handles of the first of these tasks, for one that is not here the end of its id; `None` for no task.
fn names(ids: &[Id], handles: &BTreeMap<Id, String>) -> Option<String> {
    let handle = |id: &Id| handles.get(id).cloned().unwrap_or_else(|| id.handle(HANDLE_MIN));
    (!ids.is_empty()).then(|| first_of(ids.iter().map(handle), MAX_NAMED, ids.len()))
}

/// What is missing of completed tasks before those that wait for them may begin.
fn missing(ws: &Workspace, index: &Index, plan: &Plan) -> Result<HashMap<Id, Missing>> {
    let waits = plan.tasks.keys().flat_map(|id| plan.waits(*id)).filter(|blocker| blocker.missing != Missing::End);
    let mut missing: HashMap<Id, Missing> = waits.map(|blocker| (blocker.id, blocker.missing)).collect();
    if ws.settings.review.required {
        missing.extend(index.unreviewed()?.into_iter().map(|task| (task.id, Missing::Review)));
    }
    Ok(missing)
}

/// As many of the tasks as fit, each with the edges that lead to it.
fn page(
    ws: &Workspace,
    q: &Graph,
    nodes: Vec<Node>,
    mut edges: HashMap<Id, Vec<Link>>,
    edits: &UnrecordedEdits<'_>,
) -> Result<Drawing> {
    let total = nodes.len();
    let begin = match q.cursor.as_deref().filter(|cursor| *cursor != START) {
        None => 0,
        Some(text) => {
            let last = nodes.iter().position(|node| node.id.to_string() == text);
            let unknown = || {
                Error::usage(format!("{} is no cursor of this graph", quoted(text)))
                    .hint("use next_cursor of the previous answer, and ask for the same tasks")
            };
            last.ok_or_else(unknown)? + 1
        }
    };
    let (mut page, mut next) = (Page::new(ws, q.limit, q.all), None);
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    for mut node in nodes.into_iter().skip(begin) {
        node.unrecorded_edit = edits.has(node.id)?;
        let (id, links) = (node.id, edges.remove(&node.id).unwrap_or_default());
        if !page.push(Part { node, links }) {
            next = Some(last);
            break;
        }
        last = id.to_string();
    }
    let List { items, rest } = page.finish(total as u64, next);
    let edited = items.iter().filter(|part| part.node.unrecorded_edit).count();
    let rest = rest.with_unrecorded_edits(edited as u64);
    let (nodes, links): (Vec<Node>, Vec<Vec<Link>>) = items.into_iter().map(|part| (part.node, part.links)).unzip();
    Ok(Drawing { nodes, edges: links.into_iter().flatten().collect(), waits_for: HashMap::new(), rest })
}

/// The cursor of a page that took nothing yet.
const START: &str = "start";

/// A task with the edges that lead to it, as it is measured for a page.
#[derive(Serialize)]
struct Part {
    node: Node,
    links: Vec<Link>,
}

/// The tasks in the order of the tree: each before its children.
fn in_tree_order(nodes: Vec<Node>) -> Vec<Node> {
    let parents: Vec<(Id, Option<Id>)> = nodes.iter().map(|node| (node.id, node.parent)).collect();
    let order: Vec<usize> = walk(&parents).into_iter().map(|(n, _)| n).collect();
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    order.into_iter().filter_map(|n| nodes[n].take()).collect()
}

/// The places of tasks, each given with its parent, in the order of the tree, each with its depth. A circle of parents, as a merge may
/// leave it, comes last and begins with its first task.
pub(super) fn walk(tasks: &[(Id, Option<Id>)]) -> Vec<(usize, usize)> {
    let known: HashSet<Id> = tasks.iter().map(|(id, _)| *id).collect();
    let mut children: HashMap<Id, Vec<usize>> = HashMap::new();
    for (n, parent) in tasks.iter().enumerate().filter_map(|(n, (_, parent))| Some((n, (*parent)?))) {
        children.entry(parent).or_default().push(n);
    }
    let is_root = |n: &usize| tasks[*n].1.is_none_or(|parent| !known.contains(&parent));
    let roots = (0..tasks.len()).rev().filter(is_root);
    let mut open: Vec<(usize, usize)> = (0..tasks.len()).rev().chain(roots).map(|n| (n, 0)).collect();
    let (mut order, mut seen) = (Vec::new(), HashSet::new());
    while let Some((n, depth)) = open.pop() {
        if seen.insert(n) {
            order.push((n, depth));
            let below = children.get(&tasks[n].0).into_iter().flatten().rev();
            open.extend(below.map(|child| (*child, depth + 1)));
        }
    }
    order
}

/// A task and all its descendants.
fn descendants(lines: &[Line], root: Id) -> BTreeSet<Id> {
    let mut children: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for (parent, id) in lines.iter().filter_map(|line| Some((line.parent?, line.id))) {
        children.entry(parent).or_default().push(id);
    }
    let (mut shown, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = open.pop() {
        let fresh = children.get(&id).into_iter().flatten().filter(|child| shown.insert(**child));
        open.extend(fresh);
    }
    shown
}

impl Drawing {
    /// As an indented tree.
    pub fn tree(&self) -> String {
        let nodes = &self.nodes;
        let mut out = String::new();
        let parents: Vec<(Id, Option<Id>)> = nodes.iter().map(|node| (node.id, node.parent)).collect();
        for (n, depth) in walk(&parents) {
            let node = &nodes[n];
            let waiting = self.waits_for.get(&node.id).map(|names| format!("  (waits for {names})"));
            let _ = writeln!(
                out,
                "{}{} {} {}{}{}",
                "  ".repeat(depth),
                mark(node.status),
                node.handle.as_deref().unwrap_or_default(),
                escape(&node.title),
                waiting.unwrap_or_default(),
                node.notes("  (", ")")
            );
        }
        out.extend(self.more().map(|more| format!("{more}\n")));
        out
    }

    /// What the marks mean and what is not on the page, as lines.
    fn more(&self) -> impl Iterator<Item = String> {
        let cursor = self.rest.next_cursor.as_ref().filter(|_| self.rest.truncated);
        let (shown, total) = (self.nodes.len(), self.rest.total);
        let more = cursor.map(|cursor| format!("{shown} of {total}; continue with --cursor {cursor}"));
        edits_words(self.rest.unrecorded_edits).into_iter().chain(more)
    }

    /// For mermaid.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("graph TD\n");
        for node in &self.nodes {
            let handle = node.handle.as_deref().unwrap_or_default();
            let notes = node.notes(" (", ")");
            let _ = writeln!(out, "  {}[\"{handle} {}{notes}\"]:::{}", node.id, label(&node.title), node.status);
        }
        for edge in &self.edges {
            let arrow = match edge.kind {
                _ if edge.void => "-.->|void|",
                RelationType::Blocks => "-->|blocks|",
                RelationType::ParentOf => "---",
                _ => "-.-",
            };
            let _ = writeln!(out, "  {} {arrow} {}", edge.from, edge.to);
        }
        out.push_str("  classDef completed fill:#cfc\n  classDef in_progress fill:#ffc\n");
        out.push_str("  classDef blocked fill:#fcc\n");
        out.extend(self.more().map(|more| format!("%% {more}\n")));
        out
    }

    /// As a picture.
    pub fn svg(&self) -> String {
        let node = |node: &Node| graph::Node {
            id: node.id,
            handle: node.handle.clone().unwrap_or_default(),
            title: node.title.clone(),
            status: node.status,
            owner: node.owner.clone(),
            parent: node.parent,
        };
        let waits = self.edges.iter().filter(|edge| edge.kind == RelationType::Blocks && !edge.void);
        let pairs: Vec<(Id, Id)> = waits.map(|edge| (edge.from, edge.to)).collect();
        graph::svg(&self.nodes.iter().map(node).collect::<Vec<_>>(), &pairs, Place::File)
    }

    /// For dot.
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
        for node in &self.nodes {
            let handle = node.handle.as_deref().unwrap_or_default();
            let (title, status, notes) = (label(&node.title), node.status, node.notes(", ", ""));
            let _ = writeln!(out, "  \"{}\" [label=\"{handle} {title}\\n{status}{notes}\"];", node.id);
        }
        for edge in &self.edges {
            let style = match edge.kind {
                _ if edge.void => " [style=dotted label=\"void\"]",
                RelationType::Blocks => "",
                _ => " [style=dashed]",
            };
            let _ = writeln!(out, "  \"{}\" -> \"{}\"{style};", edge.from, edge.to);
        }
        out.push_str("}\n");
        out.extend(self.more().map(|more| format!("// {more}\n")));
        out
    }
}

fn mark(status: Status) -> &'static str {
    match status {
        Status::Open => "[ ]",
        Status::InProgress => "[>]",
        Status::Blocked => "[!]",
        Status::Completed => "[x]",
        Status::Cancelled => "[-]",
        Status::Archived => "[.]",
    }
}

/// A title that cannot end the quotes it stands in.
fn label(title: &str) -> String {
    let inert = |c: char| if matches!(c, '"' | '\\' | '<' | '>' | '[' | ']' | '`') { ' ' } else { c };
    escape(title).chars().map(inert).take(60).collect()
}
