//! Reading a `task.yaml` back into the task it was written from.
//!
//! Promises: what [`crate::model::yaml::render_task`] wrote comes back such that writing it again gives the same bytes.
//! Refuses to know: the log. How many events there are and when the last was written is not in the file.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::model::context::{ContextEntry, ContextType, ProgressItem};
use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Met, Status, Task, Verified};
use crate::model::time::Time;
use crate::rules::fields;
use crate::store::yaml;

/// Reads a task's file.
///
/// Errors: a sentence that says what cannot be understood, with line and column where the form is at fault.
pub fn parse_task(text: &str) -> Result<Task, String> {
    let value = yaml::read_value(text)?;
    let Value::Object(mut doc) = value else { return Err("it is no mapping".into()) };
    let mut task = Task::blank(need(&mut doc, "id")?);
    task.created = true;
    task.status = need::<Status>(&mut doc, "status")?;
    task.owner = take(&mut doc, "owner")?;
    task.created_at = need(&mut doc, "created_at")?;
    task.created_by = need(&mut doc, "created_by")?;
    task.completed_at = take(&mut doc, "completed_at")?;
    task.cancelled_at = take(&mut doc, "cancelled_at")?;
    task.archived_at = take(&mut doc, "archived_at")?;
    task.verified = take::<Verified>(&mut doc, "verified")?;
    let criteria: Vec<Criterion> = list(&mut doc, "acceptance")?;
    let parent: Option<Id> = take(&mut doc, "parent")?;
    let edges: Vec<Edge> = list(&mut doc, "relationships")?;
    let progress: Vec<ProgressItem> = list(&mut doc, "progress")?;
    let context: Vec<Entry> = list(&mut doc, "context")?;
    let foot: Foot = need(&mut doc, "log")?;
    if !criteria.is_empty() {
        let words = criteria.iter().map(|c| Value::from(c.criterion.clone())).collect();
        doc.insert("acceptance".into(), Value::Array(words));
    }
    fields::write(&mut task.fields, &doc)?;
    task.met = criteria.into_iter().chain(foot.met).filter_map(Criterion::met).collect();
    task.relationships = relationships(task.id, edges, parent, foot.stamps.get("parent").copied())?;
    task.progress = progress.into_iter().map(|item| (item.id, item)).collect();
    task.context = context.into_iter().map(|entry| (entry.id, entry.into_entry())).collect();
    task.heads = foot.heads;
    task.stamps = foot.stamps;
    task.fences = foot.fences;
    task.fence = foot.fence;
    task.granted = foot.granted;
    task.removed = foot.removed.into_iter().collect();
    Ok(task)
}

#[derive(Deserialize)]
struct Foot {
    heads: Vec<Id>,
    #[serde(default)]
    stamps: BTreeMap<String, Stamp>,
    #[serde(default)]
    fences: BTreeMap<String, u64>,
    #[serde(default)]
    fence: u64,
    #[serde(default)]
    granted: Option<Stamp>,
    #[serde(default)]
    removed: Vec<Id>,
    #[serde(default)]
    met: Vec<Criterion>,
}

#[derive(Deserialize)]
struct Criterion {
    criterion: String,
    #[serde(default)]
    met_at: Option<Time>,
    #[serde(default)]
    met_by: Option<String>,
}

impl Criterion {
    fn met(self) -> Option<(String, Met)> {
        Some((self.criterion, Met { at: self.met_at?, by: self.met_by? }))
    }
}

#[derive(Deserialize)]
struct Edge {
    id: Id,
    #[serde(rename = "type")]
    kind: RelationType,
    #[serde(default)]
    from: Option<Id>,
    #[serde(default)]
    to: Option<Id>,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    created_at: Time,
    lamport: u64,
}

#[derive(Deserialize)]
struct Entry {
    id: Id,
    #[serde(rename = "type")]
    kind: ContextType,
    #[serde(default)]
    content: String,
    author: String,
    #[serde(default)]
    metadata: Value,
    #[serde(default)]
    superseded_by: Option<Id>,
    #[serde(default)]
    redacted: bool,
    created_at: Time,
}

impl Entry {
    fn into_entry(self) -> ContextEntry {
        let Entry { id, kind, content, author, metadata, superseded_by, redacted, created_at } = self;
        ContextEntry { id, kind, content, author, metadata, superseded_by, redacted, created_at }
    }
}

fn relationships(
    task: Id,
    edges: Vec<Edge>,
    parent: Option<Id>,
    stamp: Option<Stamp>,
) -> Result<BTreeMap<Id, Relationship>, String> {
    let mut all = BTreeMap::new();
    for edge in edges {
        let created_at = if edge.kind == RelationType::ParentOf { Time::default() } else { edge.created_at };
        let (from, to) = (edge.from.unwrap_or(task), edge.to.unwrap_or(task));
        let edge = Relationship {
            id: edge.id,
            kind: edge.kind,
            from,
            to,
            metadata: edge.metadata,
            created_at,
            lamport: edge.lamport,
        };
        all.insert(edge.id, edge);
    }
    match (parent, stamp) {
        (None, _) => {}
        (Some(_), None) => return Err("parent: its stamp is missing".into()),
        (Some(from), Some(stamp)) => {
            all.entry(stamp.id).or_insert(Relationship {
                id: stamp.id,
                kind: RelationType::ParentOf,
                from,
                to: task,
                metadata: Value::Null,
                created_at: Time::default(),
                lamport: stamp.lamport,
            });
        }
    }
    Ok(all)
}

fn take<T: DeserializeOwned>(doc: &mut Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    match doc.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|e| format!("{name}: {e}")),
    }
}

fn need<T: DeserializeOwned>(doc: &mut Map<String, Value>, name: &str) -> Result<T, String> {
    take(doc, name)?.ok_or_else(|| format!("{name} is missing"))
}

fn list<T: DeserializeOwned>(doc: &mut Map<String, Value>, name: &str) -> Result<Vec<T>, String> {
    take(doc, name).map(Option::unwrap_or_default)
}
