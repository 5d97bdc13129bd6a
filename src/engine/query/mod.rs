//! Answers each [`Query`] from the files, as JSON.

pub(crate) mod brief;
pub(crate) mod conflicts;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod find;
pub(crate) mod graph;
pub(crate) mod history;
pub(crate) mod leases;
pub(crate) mod lists;
pub(crate) mod liveness;
pub(crate) mod log;
pub(crate) mod review;
pub(crate) mod unreachable_events;

pub use graph::Drawing;
pub use review::review_dropped;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::engine::context::Workspace;
use crate::engine::lint;
use crate::engine::view::{elsewhere, read};
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::id::Id;
use crate::model::query::{Graph, Log, Query, TaskGet, TaskList};
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

/// `task list` for a caller that wants its items one by one: `gather` is given each as JSON text. Answers with
/// what was gathered and the fields besides the items (`total`, `truncated`, `next_cursor`). Holds no more than a few
/// thousand tasks at once.
///
/// Errors: as [`query`].
pub fn list<T: Default>(ws: &Workspace, query: &TaskList, gather: impl Fn(&mut T, String)) -> Result<(T, Value)> {
    retry_on_damaged_index(ws, || {
        let mut gathered = T::default();
        let fields = lists::list(ws, query, &mut |item| gather(&mut gathered, item))?;
        Ok((gathered, fields))
    })
}

/// `graph` for a caller that renders it.
///
/// Errors: as [`query`].
pub fn drawing(ws: &Workspace, query: &Graph) -> Result<Drawing> {
    retry_on_damaged_index(ws, || graph::graph(ws, query))
}

/// `log` for a caller that wants its events one by one: `show` is given each, the newest last. Answers with the fields
/// besides (`total`, `truncated`, `next_cursor`). Holds no more than a few thousand events at once.
///
/// Errors: as [`query`].
pub fn log(ws: &Workspace, query: &Log, show: &mut dyn FnMut(&Value)) -> Result<Value> {
    log::log(ws, query, show)
}

/// Why a claim of any task found none; `passed` are those that it passed over.
///
/// Errors: `ERR_IO` where the store cannot be read.
pub fn why_nothing(ws: &Workspace, passed: &BTreeMap<Id, Reason>, explained: bool) -> Result<Value> {
    lists::nothing_claimed(ws, passed, explained)
}

/// Answers a question. Takes no lock, writes nothing below the work tree.
///
/// Errors: `ERR_NOT_FOUND` and `ERR_AMBIGUOUS_ID` for references, `ERR_IO` where the store cannot be read.
pub fn query(ws: &Workspace, query: &Query) -> Result<Value> {
    retry_on_damaged_index(ws, || answer(ws, query))
}

/// Damage within the read model shows only where it is read.
fn retry_on_damaged_index<T>(ws: &Workspace, ask: impl Fn() -> Result<T>) -> Result<T> {
    match ask() {
        Err(e) if database::is_damaged(&e) => {
            read::discard_index(ws, &e);
            ask()
        }
        other => other,
    }
}

fn answer(ws: &Workspace, query: &Query) -> Result<Value> {
    match query {
        Query::TaskGet(q @ TaskGet { at: Some(point), .. }) => {
            history::task_at(ws, &Ref(q.id.0.clone()), point, extent(q.full))
        }
        Query::TaskGet(q) => {
            let task = read::load_task(ws, read::resolve(ws, &Ref(q.id.0.clone()))?)?.task;
            let mut elsewhere = elsewhere::elsewhere(ws);
            let mut shown = read::show_task_to(ws, &task, &read::index(ws)?, &mut elsewhere, extent(q.full))?;
            let branches = elsewhere.states(task.id)?;
            elsewhere.warn();
            if !branches.is_empty() {
                shown["branches"] = json!(branches);
            }
            Ok(shown)
        }
        Query::TaskPath(q) => {
            let id = read::resolve(ws, &Ref(q.id.0.clone()))?;
            let path = ws.store.path().join(crate::store::layout::task_dir(id)).join("task.yaml");
            Ok(json!({ "id": id, "path": path.display().to_string() }))
        }
        Query::TaskList(q) => {
            let (items, fields) = list(ws, q, |items: &mut Vec<String>, item| items.push(item))?;
            // What was written just now is read again: it is a page, and the text is what most interfaces want.
            let items = items.iter().map(|item| serde_json::from_str(item)).collect::<Result<_, _>>();
            Ok(lists::whole(items.map_err(|e| Error::new(Code::Io, format!("an item is no JSON: {e}")))?, &fields))
        }
        Query::Ready(q) => lists::ready(ws, q),
        Query::Next(q) => lists::next(ws, q),
        Query::Stale(q) => liveness::stale(ws, q),
        Query::SessionList(q) => liveness::sessions(ws, q),
        Query::AgentList(_) => lists::agents(ws),
        Query::LeaseList(q) => leases::leases(ws, q),
        Query::Brief(q) => brief::brief(ws, q),
        Query::Log(q) => {
            let mut items = Vec::new();
            let fields = log(ws, q, &mut |item| items.push(item.clone()))?;
            Ok(lists::whole(items, &fields))
        }
        Query::Blame(q) => history::blame(ws, q),
        Query::Conflicts(q) => conflicts::conflicts(ws, q),
        Query::Diff(q) => diff::diff(ws, q),
        Query::Review(q) => review::review(ws, q),
        Query::Graph(q) => graph::graph(ws, q).map(|drawing| json!(drawing)),
        Query::Unheld(q) => unreachable_events::unreachable_events(ws, q),
        Query::Stats(_) => doctor::stats(ws),
        Query::Doctor(_) => doctor::doctor(ws),
        Query::Lint(_) => lint::lint(ws).map(|report| json!(report)),
    }
}
