//! The canonical YAML of `task.yaml` and `agent.yaml`.
//!
//! Guarantees that one task has one sequence of bytes. Any Unicode text is preserved by every YAML 1.1 and 1.2 parser, and
//! prose of several lines is a literal block that a reviewer can read. Nothing that could deceive a terminal or an editor
//! (control, bidirectional and invisible characters) is written raw.
//! Leaves to others: the path of the file.

use serde_json::Value;

use super::yaml_text::{Writer, scalar};
use crate::model::agent::Agent;
use crate::model::plan::{PlanFile, PlanTask};
use crate::model::relationship::RelationType;
use crate::model::task::Task;
use crate::model::thread::{Message, Thread};

/// The fields that have a place of their own in `task.yaml`. The others follow the parent, in the order of their table.
const PLACED: [&str; 6] = ["title", "priority", "labels", "type", "intent", "acceptance"];

/// Renders `task.yaml`.
///
/// The order of the keys suits plain three-way merges. Lines that never change (`id`, `created_at`, `created_by`) separate
/// those that often do, so that changes of different fields never touch neighboring lines.
pub fn render_task(task: &Task) -> String {
    let mut out = Writer::default();
    let f = &task.fields;
    out.text("title", &f.title);
    out.line("id", &scalar(&task.id.to_string()));
    standing(&mut out, task);
    out.line("created_at", &task.created_at.to_string());
    if f.priority != 0 {
        out.line("priority", &f.priority.to_string());
    }
    out.text("created_by", &task.created_by);
    out.list("labels", &f.labels);
    out.text("type", f.kind.as_str());
    out.some_text("intent", f.intent.as_deref());
    let parent = task.parent_edge();
    out.some_text("parent", parent.map(|edge| edge.from.to_string()).as_deref());
    for (field, value) in f.entries().filter(|(field, _)| !PLACED.contains(&field.name)) {
        out.field(field.name, value);
    }
    for (name, value) in &f.extra {
        out.value(name, value);
    }
    relationships(&mut out, task);
    acceptance(&mut out, task);
    progress(&mut out, task);
    context(&mut out, task);
    threads(&mut out, task);
    out.buffer
}

/// Renders status and owner, with what is written together with them.
fn standing(out: &mut Writer, task: &Task) {
    out.line("status", task.status.as_str());
    out.some_text("owner", task.owner.as_deref());
    out.some("completed_at", task.completed_at);
    out.some("cancelled_at", task.cancelled_at);
    out.some("archived_at", task.archived_at);
    if let Some(v) = &task.verified {
        out.open("verified");
        out.line("passed", &v.passed.to_string());
        out.line("at", &v.at.to_string());
        out.text("by", &v.by);
        out.close();
    }
}

fn acceptance(out: &mut Writer, task: &Task) {
    if task.fields.acceptance.is_empty() {
        return;
    }
    out.open("acceptance");
    for criterion in &task.fields.acceptance {
        out.item();
        out.text("criterion", criterion);
        if let Some(met) = task.met.get(criterion) {
            out.line("met_at", &met.at.to_string());
            out.text("met_by", &met.by);
        }
        out.end_item();
    }
    out.close();
}

fn relationships(out: &mut Writer, task: &Task) {
    let parent = task.parent_edge().map(|edge| edge.id);
    // The parent has a key of its own.
    let edges: Vec<_> =
        task.relationships.values().filter(|edge| Some(edge.id) != parent || !edge.metadata.is_null()).collect();
    if edges.is_empty() {
        return;
    }
    out.open("relationships");
    for edge in edges {
        out.item();
        out.line("id", &scalar(&edge.id.to_string()));
        out.line("type", edge.kind.as_str());
        match edge.kind {
            RelationType::ParentOf | RelationType::Blocks => out.line("from", &scalar(&edge.from.to_string())),
            RelationType::RelatesTo | RelationType::Duplicates => out.line("to", &scalar(&edge.to.to_string())),
        }
        if !edge.metadata.is_null() {
            out.value("metadata", &edge.metadata);
        }
        out.line("created_at", &edge.created_at.to_string());
        out.end_item();
    }
    out.close();
}

fn progress(out: &mut Writer, task: &Task) {
    if task.progress.is_empty() {
        return;
    }
    out.open("progress");
    for item in task.progress.values() {
        out.item();
        out.line("id", &scalar(&item.id.to_string()));
        out.text("content", &item.content);
        out.line("completed", &item.completed.to_string());
        out.line("created_at", &item.created_at.to_string());
        out.some("completed_at", item.completed_at);
        out.end_item();
    }
    out.close();
}

fn context(out: &mut Writer, task: &Task) {
    if task.context.is_empty() {
        return;
    }
    out.open("context");
    for entry in task.context.values() {
        out.item();
        out.line("id", &scalar(&entry.id.to_string()));
        out.line("type", entry.kind.as_str());
        if entry.redacted {
            out.line("redacted", "true");
        } else {
            out.text("content", &entry.content);
        }
        out.text("author", &entry.author);
        if !entry.metadata.is_null() {
            out.value("metadata", &entry.metadata);
        }
        out.some_text("superseded_by", entry.superseded_by.map(|id| id.to_string()).as_deref());
        out.line("created_at", &entry.created_at.to_string());
        out.end_item();
    }
    out.close();
}

/// Renders threads, each followed by its replies: one list, so that concurrent messages merge like other entries.
fn threads(out: &mut Writer, task: &Task) {
    if task.threads.is_empty() {
        return;
    }
    out.open("threads");
    for thread in task.threads.values() {
        out.item();
        thread_entry(out, thread);
        out.end_item();
        for message in thread.replies.values() {
            out.item();
            reply(out, thread, message);
            out.end_item();
        }
    }
    out.close();
}

fn thread_entry(out: &mut Writer, thread: &Thread) {
    out.line("id", &scalar(&thread.id.to_string()));
    out.line("status", thread.status().as_str());
    if let Some(resolved) = &thread.resolved {
        out.text("resolved_by", &resolved.by);
        out.line("resolved_at", &resolved.at.to_string());
        out.some_text("accepted", resolved.message.map(|id| id.to_string()).as_deref());
        out.some_text("superseded_by", resolved.superseded_by.map(|id| id.to_string()).as_deref());
        out.some_text("why", resolved.why.as_deref());
    }
    if let Some(escalated) = &thread.escalated {
        out.some_text("escalated_to", escalated.to.as_deref());
        out.line("escalated_at", &escalated.at.to_string());
    }
    out.text("author", &thread.author);
    out.text("body", &thread.body);
    if !thread.patch.is_null() {
        out.value("patch", &thread.patch);
    }
    if !thread.hold {
        out.line("hold", "false");
    }
    out.some("ttl", thread.ttl);
    out.some_text("need_perm", thread.need_perm.as_deref());
    out.some("need_precedence", thread.need_precedence);
    out.line("created_at", &thread.created_at.to_string());
}

fn reply(out: &mut Writer, thread: &Thread, message: &Message) {
    out.line("id", &scalar(&message.id.to_string()));
    out.line("thread", &scalar(&thread.id.to_string()));
    let parent = message.parent.filter(|parent| *parent != thread.id);
    out.some_text("parent", parent.map(|id| id.to_string()).as_deref());
    out.text("author", &message.author);
    out.text("body", &message.body);
    if !message.patch.is_null() {
        out.value("patch", &message.patch);
    }
    out.line("created_at", &message.created_at.to_string());
}

/// Renders `agent.yaml`.
pub fn render_agent(agent: &Agent) -> String {
    let mut out = Writer::default();
    out.text("name", &agent.name);
    out.some_text("role", agent.role.as_deref());
    if !agent.metadata.is_null() {
        out.value("metadata", &agent.metadata);
    }
    out.some_text("public_key", agent.public_key.as_deref());
    out.some("created_at", agent.created_at);
    out.buffer
}

/// Renders a plan file.
pub fn render_plan(plan: &PlanFile) -> String {
    let mut out = Writer::default();
    out.text("plan", &plan.plan);
    if plan.tasks.is_empty() {
        out.line("tasks", "[]");
    } else {
        plan_tasks(&mut out, "tasks", &plan.tasks);
    }
    out.buffer
}

fn plan_tasks(out: &mut Writer, name: &str, tasks: &[PlanTask]) {
    if tasks.is_empty() {
        return;
    }
    out.open(name);
    for task in tasks {
        out.item();
        out.some_text("key", task.key.as_deref());
        out.some_text("as_of", task.as_of.as_deref());
        for (name, value) in &task.plain() {
            out.value(name, value);
        }
        out.list("progress", &task.progress);
        out.list("blocked_by", &task.blocked_by);
        plan_tasks(out, "children", &task.children);
        out.end_item();
    }
    out.close();
}

/// Renders one value as a YAML document, to test the round trip.
pub fn render_value(name: &str, value: &Value) -> String {
    let mut out = Writer::default();
    out.value(name, value);
    out.buffer
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::field::{FIELDS, NAMES, TaskFields};
    use crate::model::id::Id;

    #[test]
    fn every_field_is_rendered_once() {
        let mut task = Task::blank(Id::from_parts(0, 0));
        for field in FIELDS {
            let samples = [json!("text"), json!(3), json!("2026-01-01T00:00:00Z"), json!(["one"]), json!({"one": 1})];
            let fits = |sample: &&Value| (field.read)(&mut TaskFields::default(), sample).is_ok();
            (field.read)(&mut task.fields, samples.iter().find(fits).unwrap()).unwrap();
        }
        let text = render_task(&task);
        for name in NAMES {
            assert_eq!(text.lines().filter(|line| line.starts_with(&format!("{name}:"))).count(), 1, "{name}\n{text}");
        }
    }
}
