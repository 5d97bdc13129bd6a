//! Answers: each question of [`Query`] put to the files, as JSON.

mod alive;
mod brief;
mod conflicts;
mod diff;
mod doctor;
mod graph;
mod history;
mod leases;
mod lists;
mod review;
mod unheld;

pub use graph::{dot, mermaid, tree};
pub use review::review_dropped;

use serde_json::{Value, json};

use super::Workspace;
use crate::error::Result;
use crate::model::query::{Query, TaskGet, TaskList};
use crate::model::words::Ref;
use crate::reports::view;

/// The shape of a task in JSON, read off one that has everything: so it cannot say something else than the answers.
pub fn task_schema() -> Value {
    let sample = view::sample();
    let shape = |value: &Value| match value {
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(n) if n.is_f64() => json!({ "type": ["number", "null"] }),
        Value::Number(_) => json!({ "type": ["integer", "null"] }),
        Value::String(_) => json!({ "type": ["string", "null"] }),
        Value::Array(_) => json!({ "type": "array" }),
        Value::Object(map) => json!({ "type": ["object", "null"], "keys": map.keys().collect::<Vec<_>>() }),
    };
    let properties: serde_json::Map<String, Value> =
        sample.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), shape(value))).collect();
    json!({ "type": "object", "properties": properties })
}

impl Workspace {
    /// `task list` for whoever wants its items one by one: gives `take` each as a document and as its text, and answers with
    /// what stands beside them (`total`, `truncated`, `next_cursor`). Holds no more than a few thousand tasks at once.
    ///
    /// Errors: as [`Workspace::query`].
    pub fn list(&self, query: &TaskList, take: &mut dyn FnMut(Value, String)) -> Result<Value> {
        lists::list(self, query, take)
    }

    /// Answers a question. Takes no lock, writes nothing below the work tree.
    ///
    /// Errors: `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, `ERR_IO` where the store cannot be read.
    pub fn query(&self, query: &Query) -> Result<Value> {
        match query {
            Query::TaskGet(TaskGet { id, at: Some(point) }) => history::task_at(self, &Ref(id.0.clone()), point),
            Query::TaskGet(q) => {
                let task = self.load_task(self.resolve(&Ref(q.id.0.clone()))?)?.task;
                let mut elsewhere = self.elsewhere();
                let mut shown = self.show_task_beside(&task, &self.index()?, &mut elsewhere)?;
                let branches = elsewhere.states(task.id)?;
                if !branches.is_empty() {
                    shown["branches"] = json!(branches);
                }
                Ok(shown)
            }
            Query::TaskPath(q) => {
                let id = self.resolve(&Ref(q.id.0.clone()))?;
                let path = self.store.path().join(crate::store::layout::task_dir(id)).join("task.yaml");
                Ok(json!({ "id": id, "path": path.display().to_string() }))
            }
            Query::TaskList(q) => {
                let mut items = Vec::new();
                let beside = self.list(q, &mut |item, _| items.push(item))?;
                Ok(lists::whole(items, &beside))
            }
            Query::Ready(q) => lists::ready(self, q),
            Query::Next(q) => lists::next(self, q),
            Query::Stale(q) => alive::stale(self, q),
            Query::SessionList(q) => alive::sessions(self, q),
            Query::AgentList => lists::agents(self),
            Query::LeaseList(q) => leases::leases(self, q),
            Query::Brief(q) => brief::brief(self, q),
            Query::Log(q) => history::log(self, q),
            Query::Blame(q) => history::blame(self, q),
            Query::Conflicts(q) => conflicts::conflicts(self, q),
            Query::Diff(q) => diff::diff(self, q),
            Query::Review(q) => review::review(self, q),
            Query::Graph(q) => graph::graph(self, q),
            Query::Unheld(q) => unheld::unheld(self, q),
            Query::Stats => doctor::stats(self),
            Query::Doctor => doctor::doctor(self),
            Query::Lint => self.lint().map(|report| json!(report)),
        }
    }
}
