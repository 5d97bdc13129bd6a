//! The operation table: everything that can be asked of a plan or done to it, whichever interface a request came through.
//!
//! Guarantees one entry for each operation: name, arguments, permission, route, and how it is carried out.
//! Leaves to others: words and forms (the interfaces), and what an operation does (`engine`).

mod next;
mod table;

use serde_json::{Value, json};

pub use self::next::{claim, show as next};
pub use self::table::{Kind, Method, OPERATIONS, Operation, Route, find};
use crate::engine::commit::{keys, plan, write};
use crate::engine::feed::stream;
use crate::engine::lint::{base, fix};
use crate::engine::repair::recover::{self, Selection};
use crate::engine::{Comments, Deleted, Fix, Reply, Workspace, import, query, repair, sync};
use crate::error::Result;
use crate::model::args::Ref;
use crate::model::command::Command;
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::job::{Job, Recover};
use crate::model::operation::unknown;
use crate::model::query::Query;
use crate::rules::decide::Subject;

/// An operation with its arguments.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a request holds one")]
pub enum Call {
    /// A change of the plan.
    Change(Command),
    /// A query about it.
    Query(Query),
    /// A job on the store itself.
    Job(Job),
}

/// The answer to a call.
#[derive(Debug, Default)]
pub struct CallAnswer {
    /// The answer as JSON.
    pub data: Value,
    /// The events that the call wrote.
    pub events: Vec<Id>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The object that a change created or changed.
    pub subject: Option<Subject>,
    /// Why there is no data.
    pub reasons: Option<Value>,
}

impl Call {
    /// Builds a call from the name of an operation and a JSON object of arguments.
    ///
    /// Errors: `ERR_USAGE` for an unknown name or key, `ERR_VALIDATION` for a value that does not fit.
    pub fn from_json(name: &str, args: Value) -> Result<Self> {
        match find(name).map(|operation| operation.kind) {
            Some(table::Kind::Change) => Command::from_json(name, args).map(Call::Change),
            Some(table::Kind::Query) => Query::from_json(name, args).map(Call::Query),
            Some(table::Kind::Job) => Job::from_json(name, args).map(Call::Job),
            None => Err(unknown(name, &OPERATIONS.iter().map(|operation| operation.name).collect::<Vec<_>>())),
        }
    }

    /// The name of the operation.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Change(command) => command.op(),
            Call::Query(query) => query.op(),
            Call::Job(job) => job.op(),
        }
    }
}

/// Carries out a call.
///
/// Errors: those of the operation; a change that is refused wrote nothing.
pub fn call(ws: &Workspace, call: &Call) -> Result<CallAnswer> {
    match call {
        Call::Change(Command::Claim(asked)) => next::claim(ws, asked, false),
        Call::Change(command) => write::execute(ws, command).map(CallAnswer::from),
        Call::Query(Query::Next(asked)) => next::show(ws, asked),
        Call::Query(asked) => query::query(ws, asked).map(CallAnswer::of),
        Call::Job(job) => run(ws, job),
    }
}

impl CallAnswer {
    fn of(data: Value) -> Self {
        CallAnswer { data, ..CallAnswer::default() }
    }
}

impl From<Reply> for CallAnswer {
    fn from(reply: Reply) -> Self {
        let Reply { subject, data, events, warnings, taken_in: _, passed: _ } = reply;
        CallAnswer { data, events, warnings, subject: Some(subject), reasons: None }
    }
}

fn run(ws: &Workspace, job: &Job) -> Result<CallAnswer> {
    Ok(match job {
        Job::NextWait(q) => next::wait(ws, q)?,
        Job::Sync(options) => {
            let report = sync::sync(ws, options)?;
            CallAnswer { data: json!(report), warnings: report.warnings, ..CallAnswer::default() }
        }
        Job::SyncPull(q) => {
            let mut items: Vec<Value> = Vec::new();
            let fields = stream::pull_events(ws, q.since_event_id, q.limit, |entry: &Entry| {
                items.push(serde_json::from_str(&entry.line).unwrap_or_default());
            })?;
            CallAnswer::of(query::lists::whole(items, &fields))
        }
        Job::SyncPush(q) => CallAnswer::of(stream::push_events(ws, &q.events)?),
        Job::Resolve(q) => CallAnswer::of(json!(repair::repair_all(ws, q.staged)?)),
        Job::Recover(q) => {
            let back = recover::restore_events(ws, &wanted(q))?;
            CallAnswer::of(json!({
                "items": back.events, "total": back.events.len(), "entities": back.entities, "missing": back.missing,
            }))
        }
        Job::LintFix(q) => {
            let comments = if q.drop_comments { Comments::Drop } else { Comments::Keep };
            CallAnswer::of(json!(fix::lint_fix(ws, Fix { comments, deleted: Deleted::default() })?))
        }
        Job::LintSince(q) => CallAnswer::of(json!(base::lint_since(ws, &q.base)?)),
        Job::Import(q) => CallAnswer::of(import::import(ws, &q.from, &q.text)?),
        Job::PlanApply(q) => CallAnswer::of(plan::plan_apply(ws, &q.plan, q.dry_run)?),
        Job::NewKey(q) => keys::register_with_new_key(ws, q.agent.clone()).map(CallAnswer::from)?,
    })
}

fn wanted(q: &Recover) -> Selection {
    match &q.task {
        Some(task) => Selection::Task(Ref(task.clone())),
        None if q.all => Selection::All,
        None => Selection::Events(q.events.iter().cloned().map(Ref).collect()),
    }
}
