//! `graph`: the plan drawn as a tree, or as a diagram for mermaid or dot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::error::Result;
use crate::model::id::Id;
use crate::model::query::Graph;
use crate::model::task::Task;
use crate::model::words::Ref;
use crate::workspace::Workspace;

/// `graph`
pub fn graph(ws: &Workspace, q: &Graph) -> Result<Value> {
    let index = ws.index()?;
    let plan = ws.plan(&index)?;
    let tasks: BTreeMap<Id, Task> = index.tasks(!q.all)?.into_iter().map(|task| (task.id, task)).collect();
    let root = q.id.0.as_ref().map(|reference| ws.resolve(&Ref(reference.clone()))).transpose()?;
    let shown = match root {
        None => tasks.keys().copied().collect(),
        Some(root) => descendants(&tasks, root),
    };
    let mut nodes = Vec::new();
    let mut edges = Vec::new();
    for task in tasks.values().filter(|task| shown.contains(&task.id)) {
        let status = plan.tasks.get(&task.id).map_or(task.status, |brief| plan.status(brief));
        nodes.push(json!({
            "id": task.id, "handle": ws.handle(task.id)?, "title": task.fields.title, "status": status, "parent": task.parent(),
            "owner": task.owner, "priority": task.fields.priority,
        }));
        for edge in task.relationships.values().filter(|edge| shown.contains(&edge.from) && shown.contains(&edge.to)) {
            let void = plan.void.contains(&edge.stamp());
            edges.push(json!({ "from": edge.from, "to": edge.to, "type": edge.kind, "void": void }));
        }
    }
    Ok(json!({ "nodes": nodes, "edges": edges, "total": nodes.len() }))
}

fn descendants(tasks: &BTreeMap<Id, Task>, root: Id) -> BTreeSet<Id> {
    let mut shown = BTreeSet::from([root]);
    loop {
        let before = shown.len();
        let more: Vec<Id> =
            tasks.values().filter(|t| t.parent().is_some_and(|p| shown.contains(&p))).map(|t| t.id).collect();
        shown.extend(more);
        if shown.len() == before {
            return shown;
        }
    }
}

/// Draws the answer of `graph` as an indented tree.
pub fn tree(graph: &Value) -> String {
    let nodes = graph["nodes"].as_array().cloned().unwrap_or_default();
    let known: BTreeSet<&str> = nodes.iter().filter_map(|n| n["id"].as_str()).collect();
    let mut waits: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for edge in graph["edges"].as_array().into_iter().flatten().filter(|e| e["type"] == "blocks") {
        if let (Some(from), Some(to)) = (edge["from"].as_str(), edge["to"].as_str()) {
            waits.entry(to).or_default().push(from);
        }
    }
    let handles: BTreeMap<&str, &str> =
        nodes.iter().filter_map(|n| Some((n["id"].as_str()?, n["handle"].as_str()?))).collect();
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
        let children = nodes.iter().filter(|n| n["parent"].as_str() == Some(id));
        let children: Vec<(&Value, usize)> = children.map(|n| (n, depth + 1)).collect();
        open.extend(children.into_iter().rev());
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
