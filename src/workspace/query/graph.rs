//! `graph`: the plan drawn as a tree, or as a diagram for mermaid or dot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::super::read::handles;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::query::Graph;
use crate::model::task::Line;
use crate::model::words::Ref;
use crate::workspace::Workspace;

/// `graph`
pub fn graph(ws: &Workspace, q: &Graph) -> Result<Value> {
    let index = ws.index()?;
    let plan = ws.plan(&index)?;
    let ids = index.all_ids()?;
    let handles = handles(&ids);
    let mut lines = index.lines(ids.into_iter())?;
    lines.retain(|line| line.version > 0 && (q.all || !line.status.is_finished()));
    if let Some(reference) = &q.id.0 {
        let shown = descendants(&lines, ws.resolve(&Ref(reference.clone()))?);
        lines.retain(|line| shown.contains(&line.id));
    }
    let shown: BTreeSet<Id> = lines.iter().map(|line| line.id).collect();
    let node = |line: &Line| {
        let status = plan.tasks.get(&line.id).map_or(line.status, |brief| plan.status(brief));
        json!({
            "id": line.id, "handle": handles.get(&line.id), "title": line.title, "status": status, "parent": line.parent,
            "owner": line.owner, "priority": line.priority,
        })
    };
    let nodes: Vec<Value> = lines.iter().map(node).collect();
    let mut edges = Vec::new();
    for edge in index.edges()?.into_iter().filter(|edge| shown.contains(&edge.from) && shown.contains(&edge.to)) {
        let void = plan.void.contains(&edge.stamp);
        edges.push(json!({ "from": edge.from, "to": edge.to, "type": edge.kind, "void": void }));
    }
    let total = nodes.len();
    Ok(json!({ "nodes": nodes, "edges": edges, "total": total }))
}

/// A task and all that are beneath it.
fn descendants(lines: &[Line], root: Id) -> BTreeSet<Id> {
    let mut children: BTreeMap<Option<Id>, Vec<Id>> = BTreeMap::new();
    for line in lines {
        children.entry(line.parent).or_default().push(line.id);
    }
    let (mut shown, mut open) = (BTreeSet::from([root]), vec![root]);
    while let Some(id) = open.pop() {
        let fresh = children.get(&Some(id)).into_iter().flatten().filter(|child| shown.insert(**child));
        open.extend(fresh);
    }
    shown
}

/// Draws the answer of `graph` as an indented tree.
pub fn tree(graph: &Value) -> String {
    let nodes = graph["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let known: BTreeSet<&str> = nodes.iter().filter_map(|n| n["id"].as_str()).collect();
    let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in graph["edges"].as_array().into_iter().flatten().filter(|e| e["type"] == "blocks") {
        if let (Some(from), Some(to)) = (edge["from"].as_str(), edge["to"].as_str()) {
            waits.entry(to).or_default().push(from);
        }
    }
    let handles: BTreeMap<&str, &str> =
        nodes.iter().filter_map(|n| Some((n["id"].as_str()?, n["handle"].as_str()?))).collect();
    let mut beneath: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for node in nodes {
        beneath.entry(node["parent"].as_str().unwrap_or_default()).or_default().push(node);
    }
    let mut out = String::new();
    let is_root = |n: &&Value| n["parent"].as_str().is_none_or(|parent| !known.contains(parent));
    let mut open: Vec<(&Value, usize)> = nodes.iter().filter(is_root).map(|n| (n, 0)).collect();
    open.reverse();
    let mut drawn = BTreeSet::new();
    while let Some((node, depth)) = open.pop() {
        let id = node["id"].as_str().unwrap_or_default();
        if !drawn.insert(id) {
            continue;
        }
        let waiting = waits.get(id).map(|from| {
            let names: Vec<&str> = from.iter().filter_map(|f| handles.get(f).copied()).collect();
            format!("  (waits for {})", names.join(", "))
        });
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let _ = writeln!(
            out,
            "{}{} {} {}{}",
            "  ".repeat(depth),
            mark(text("status")),
            text("handle"),
            text("title"),
            waiting.unwrap_or_default()
        );
        let children = beneath.get(id).into_iter().flatten().rev();
        open.extend(children.map(|child| (*child, depth + 1)));
    }
    out
}

fn mark(status: &str) -> &'static str {
    match status {
        "open" => "[ ]",
        "in_progress" => "[>]",
        "blocked" => "[!]",
        "completed" => "[x]",
        "cancelled" => "[-]",
        _ => "[.]",
    }
}

/// Draws the answer of `graph` for mermaid.
pub fn mermaid(graph: &Value) -> String {
    let mut out = String::from("graph TD\n");
    for node in graph["nodes"].as_array().into_iter().flatten() {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let _ = writeln!(out, "  {}[\"{} {}\"]:::{}", text("id"), text("handle"), label(text("title")), text("status"));
    }
    for edge in graph["edges"].as_array().into_iter().flatten() {
        let arrow = match edge["type"].as_str() {
            Some("blocks") => "-->|blocks|",
            Some("parent_of") => "---",
            _ => "-.-",
        };
        let text = |key: &str| edge[key].as_str().unwrap_or_default();
        let _ = writeln!(out, "  {} {arrow} {}", text("from"), text("to"));
    }
    out.push_str("  classDef completed fill:#cfc\n  classDef in_progress fill:#ffc\n  classDef blocked fill:#fcc\n");
    out
}

/// Draws the answer of `graph` for dot.
pub fn dot(graph: &Value) -> String {
    let mut out = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
    for node in graph["nodes"].as_array().into_iter().flatten() {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        let _ = writeln!(
            out,
            "  \"{}\" [label=\"{} {}\\n{}\"];",
            text("id"),
            text("handle"),
            label(text("title")),
            text("status")
        );
    }
    for edge in graph["edges"].as_array().into_iter().flatten() {
        let style = if edge["type"] == "blocks" { "" } else { " [style=dashed]" };
        let text = |key: &str| edge[key].as_str().unwrap_or_default();
        let _ = writeln!(out, "  \"{}\" -> \"{}\"{style};", text("from"), text("to"));
    }
    out.push_str("}\n");
    out
}

/// A title that cannot end the quotes it stands in.
fn label(title: &str) -> String {
    title
        .chars()
        .map(|c| if matches!(c, '"' | '\\' | '\n' | '<' | '>' | '[' | ']' | '`') { ' ' } else { c })
        .take(60)
        .collect()
}
