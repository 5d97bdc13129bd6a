//! Answers: each question of [`Query`] put to the files, as JSON.

mod alive;
mod brief;
mod conflicts;
mod diff;
mod doctor;
mod find;
mod graph;
mod history;
mod leases;
mod lists;
mod log;
mod review;
mod unheld;

pub use graph::Drawing;
pub use review::review_dropped;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Workspace;
use crate::error::{Code, Error, Result};
use crate::model::id::Id;
use crate::model::query::{Graph, Log, Query, TaskGet, TaskList};
use crate::model::words::Ref;
use crate::reports::extent::Extent;
use crate::reports::view;
use crate::rules::readiness::Reason;
use crate::store::database;

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

fn extent(full: bool) -> Extent {
    if full { Extent::Full } else { Extent::Bounded }
}

impl Workspace {
    /// `task list` for whoever wants its items one by one: `gather` is given each as JSON text. Answers with
    /// what was gathered and what stands beside the items (`total`, `truncated`, `next_cursor`). Holds no more than a few
    /// thousand tasks at once.
    ///
    /// Errors: as [`Workspace::query`].
    pub fn list<T: Default>(&self, query: &TaskList, gather: impl Fn(&mut T, String)) -> Result<(T, Value)> {
        self.asked_twice(|| {
            let mut gathered = T::default();
            let beside = lists::list(self, query, &mut |item| gather(&mut gathered, item))?;
            Ok((gathered, beside))
        })
    }

    /// `graph` for whoever draws it.
    ///
    /// Errors: as [`Workspace::query`].
    pub fn drawing(&self, query: &Graph) -> Result<Drawing> {
        self.asked_twice(|| graph::graph(self, query))
    }

    /// `log` for whoever wants its events one by one: `show` is given each, the newest last. Answers with what stands beside
    /// them (`total`, `truncated`, `next_cursor`). Holds no more than a few thousand events at once.
    ///
    /// Errors: as [`Workspace::query`].
    pub fn log(&self, query: &Log, show: &mut dyn FnMut(&Value)) -> Result<Value> {
        log::log(self, query, show)
    }

    /// Why a claim of any task found none; `passed` are those that it passed over.
    ///
    /// Errors: `ERR_IO` where the store cannot be read.
    pub fn why_nothing(&self, passed: &BTreeMap<Id, Reason>, explained: bool) -> Result<Value> {
        lists::nothing_claimed(self, passed, explained)
    }

    /// Answers a question. Takes no lock, writes nothing below the work tree.
    ///
    /// Errors: `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, `ERR_IO` where the store cannot be read.
    pub fn query(&self, query: &Query) -> Result<Value> {
        self.asked_twice(|| self.answer(query))
    }

    /// Damage within the read model shows only where it is read.
    fn asked_twice<T>(&self, ask: impl Fn() -> Result<T>) -> Result<T> {
        match ask() {
            Err(e) if database::is_damaged(&e) => {
                self.discard_index(&e);
                ask()
            }
            other => other,
        }
    }

    fn answer(&self, query: &Query) -> Result<Value> {
        match query {
            Query::TaskGet(q @ TaskGet { at: Some(point), .. }) => {
                history::task_at(self, &Ref(q.id.0.clone()), point, extent(q.full))
            }
            Query::TaskGet(q) => {
                let task = self.load_task(self.resolve(&Ref(q.id.0.clone()))?)?.task;
                let mut elsewhere = self.elsewhere();
                let mut shown = self.show_task_to(&task, &self.index()?, &mut elsewhere, extent(q.full))?;
                let branches = elsewhere.states(task.id)?;
                elsewhere.warn();
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
                let (items, beside) = self.list(q, |items: &mut Vec<String>, item| items.push(item))?;
                // What was written just now is read again: it is a page, and the text is what most doors want.
                let items = items.iter().map(|item| serde_json::from_str(item)).collect::<Result<_, _>>();
                Ok(lists::whole(items.map_err(|e| Error::new(Code::Io, format!("an item is no JSON: {e}")))?, &beside))
            }
            Query::Ready(q) => lists::ready(self, q),
            Query::Next(q) => lists::next(self, q),
            Query::Stale(q) => alive::stale(self, q),
            Query::SessionList(q) => alive::sessions(self, q),
            Query::AgentList => lists::agents(self),
            Query::LeaseList(q) => leases::leases(self, q),
            Query::Brief(q) => brief::brief(self, q),
            Query::Log(q) => {
                let mut items = Vec::new();
                let beside = self.log(q, &mut |item| items.push(item.clone()))?;
                Ok(lists::whole(items, &beside))
            }
            Query::Blame(q) => history::blame(self, q),
            Query::Conflicts(q) => conflicts::conflicts(self, q),
            Query::Diff(q) => diff::diff(self, q),
            Query::Review(q) => review::review(self, q),
            Query::Graph(q) => graph::graph(self, q).map(|drawing| json!(drawing)),
            Query::Unheld(q) => unheld::unheld(self, q),
            Query::Stats => doctor::stats(self),
            Query::Doctor => doctor::doctor(self),
            Query::Lint => self.lint().map(|report| json!(report)),
        }
    }
}
