//! The issues of Beads: JSON Lines, one issue a line, as that tool reads them.
//!
//! Guarantees what Beads checks: a priority from 0 to 4, one of its types, and `closed_at` for closed issues alone. An issue
//! that came from Beads keeps its id.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::args::Duration;
use crate::model::context::{ContextEntry, ContextType};
use crate::model::id::Id;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task, TaskType};
use crate::model::time::Time;

#[derive(Serialize)]
struct Issue<'a> {
    id: String,
    title: &'a str,
    description: &'a str,
    #[serde(skip_serializing_if = "String::is_empty")]
    design: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    acceptance_criteria: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    notes: String,
    status: &'static str,
    priority: i64,
    issue_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    assignee: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_minutes: Option<i64>,
    created_at: Time,
    updated_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<Time>,
    #[serde(skip_serializing_if = "String::is_empty")]
    close_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    defer_until: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    labels: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dependencies: Vec<Dependency>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<Comment<'a>>,
}

#[derive(Serialize)]
struct Dependency {
    issue_id: String,
    depends_on_id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    created_at: Time,
}

#[derive(Serialize)]
struct Comment<'a> {
    id: usize,
    issue_id: String,
    author: &'a str,
    text: String,
    created_at: Time,
}

/// The ids that the tasks have in Beads.
#[derive(Debug)]
pub struct Names {
    origins: BTreeMap<Id, String>,
}

impl Names {
    /// The names of a plan in which these tasks came from Beads.
    pub fn new(origins: BTreeMap<String, Id>) -> Self {
        Names { origins: origins.into_iter().map(|(origin, id)| (id, origin)).collect() }
    }

    fn of(&self, id: Id) -> String {
        self.origins.get(&id).cloned().unwrap_or_else(|| format!("ap-{}", id.to_string().to_ascii_lowercase()))
    }
}

/// The line of a task; `status` is the one that counts.
pub fn issue(task: &Task, status: Status, names: &Names) -> String {
    let id = names.of(task.id);
    let closed_at = task.completed_at.or(task.cancelled_at).or(task.archived_at).unwrap_or(task.updated_at);
    let kept = |key: &str| task.fields.metadata.get(key).and_then(|value| value.as_str());
    let issue = Issue {
        title: &task.fields.title,
        description: task.fields.intent.as_deref().unwrap_or_default(),
        design: joined(texts(task, ContextType::Decision)),
        acceptance_criteria: criteria(task),
        notes: notes(task),
        status: match status {
            Status::Open => "open",
            Status::InProgress => "in_progress",
            Status::Blocked => "blocked",
            Status::Completed | Status::Cancelled | Status::Archived => "closed",
        },
        priority: priority(task.fields.priority),
        issue_type: kept("issue_type").filter(|word| is_type(word)).unwrap_or(type_of(&task.fields.kind)),
        assignee: task.owner.as_deref(),
        estimated_minutes: task.fields.estimate.as_deref().and_then(minutes),
        created_at: task.created_at,
        updated_at: task.updated_at,
        closed_at: status.is_finished().then_some(closed_at),
        close_reason: if status.is_finished() { close_reason(task) } else { String::new() },
        due_at: task.fields.due,
        defer_until: task.fields.defer_until,
        external_ref: kept("external_ref"),
        labels: &task.fields.labels,
        dependencies: task.relationships.values().map(|edge| dependency(edge, names)).collect(),
        comments: comments(task, &id, status),
        id,
    };
    // A struct of plain values has nothing that JSON cannot say.
    serde_json::to_string(&issue).expect("plain data") + "\n"
}

/// Beads counts from 0, the highest, to 4.
fn priority(ours: i64) -> i64 {
    match ours {
        3.. => 0,
        1..=2 => 1,
        0 => 2,
        -2..=-1 => 3,
        _ => 4,
    }
}

fn is_type(word: &str) -> bool {
    matches!(word, "bug" | "feature" | "task" | "epic" | "chore")
}

fn type_of(kind: &TaskType) -> &'static str {
    match kind {
        TaskType::Feature => "feature",
        TaskType::Bugfix => "bug",
        TaskType::Ops => "chore",
        TaskType::Refactor | TaskType::Docs | TaskType::Other(_) => "task",
    }
}

fn minutes(estimate: &str) -> Option<i64> {
    estimate.parse::<Duration>().ok().map(|duration| duration.millis / 60_000)
}

/// An issue depends on its blocker, its parent and what it speaks of.
fn dependency(edge: &Relationship, names: &Names) -> Dependency {
    let (issue, other, kind) = match edge.kind {
        RelationType::Blocks => (edge.to, edge.from, "blocks"),
        RelationType::ParentOf => (edge.to, edge.from, "parent-child"),
        RelationType::RelatesTo => (edge.from, edge.to, "related"),
        RelationType::Duplicates => (edge.from, edge.to, "duplicates"),
    };
    Dependency { issue_id: names.of(issue), depends_on_id: names.of(other), kind, created_at: edge.created_at }
}

fn is_valid(entry: &&ContextEntry) -> bool {
    entry.superseded_by.is_none() && !entry.redacted
}

fn texts(task: &Task, kind: ContextType) -> impl Iterator<Item = &str> {
    task.context.values().filter(is_valid).filter(move |entry| entry.kind == kind).map(|entry| entry.content.as_str())
}

fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join("\n\n")
}

/// Whether a note was the field `notes` of an issue.
fn is_field(entry: &ContextEntry) -> bool {
    entry.kind == ContextType::Note && entry.metadata.get("source").is_some_and(|source| source == "notes")
}

fn criteria(task: &Task) -> String {
    let line =
        |criterion: &String| format!("- [{}] {criterion}\n", if task.met.contains_key(criterion) { "x" } else { " " });
    task.fields.acceptance.iter().map(line).collect()
}

/// The steps, and the notes that an issue had.
fn notes(task: &Task) -> String {
    let line = |content: &str, done: bool| format!("- [{}] {content}", if done { "x" } else { " " });
    let steps: Vec<String> = task.progress.values().map(|step| line(&step.content, step.completed)).collect();
    let steps = steps.join("\n");
    let fields = task.context.values().filter(is_valid).filter(|entry| is_field(entry));
    joined(
        Some(steps.as_str())
            .filter(|steps| !steps.is_empty())
            .into_iter()
            .chain(fields.map(|entry| entry.content.as_str())),
    )
}

fn close_reason(task: &Task) -> String {
    let outcome = joined(texts(task, ContextType::Outcome));
    match (task.cancelled_at.is_some(), outcome.is_empty()) {
        (true, true) => "cancelled".into(),
        (true, false) => format!("cancelled: {outcome}"),
        (false, _) => outcome,
    }
}

/// The other notes, and what was said in threads.
fn comments<'a>(task: &'a Task, id: &str, status: Status) -> Vec<Comment<'a>> {
    let is_elsewhere = |entry: &ContextEntry| match entry.kind {
        ContextType::Decision => true,
        ContextType::Outcome => status.is_finished(),
        ContextType::Note => is_field(entry),
        ContextType::Rationale
        | ContextType::Attempt
        | ContextType::Blocker
        | ContextType::Reference
        | ContextType::UserInput => false,
    };
    let notes = task.context.values().filter(is_valid).filter(|entry| !is_elsewhere(entry)).map(|entry| {
        let text = match entry.kind {
            ContextType::Note => entry.content.clone(),
            kind => format!("{}: {}", kind.as_str().replace('_', " "), entry.content),
        };
        let author = entry.metadata.get("author").and_then(|author| author.as_str());
        (author.unwrap_or(&entry.author), text, entry.created_at)
    });
    let said = task.threads.values().flat_map(|thread| {
        let first = (thread.author.as_str(), thread.body.clone(), thread.created_at);
        let more = thread.replies.values().map(|reply| (reply.author.as_str(), reply.body.clone(), reply.created_at));
        std::iter::once(first).chain(more)
    });
    let comment = |(n, (author, text, created_at)): (usize, (&'a str, String, Time))| Comment {
        id: n + 1,
        issue_id: id.to_owned(),
        author,
        text,
        created_at,
    };
    notes.chain(said).enumerate().map(comment).collect()
}
