//! `undo --correlation-id` and `undo --plan-id`: undoes all events of a request or a plan.
//!
//! Guarantees that all of it is one record of the journal, and that nothing is written where a part cannot be undone, unless
//! the caller asks for the rest.
//! Leaves to others: what undoing means for each event (`rules::decide`).

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::events::tasks_with;
use crate::engine::view::read;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Event};
use crate::model::id::{Id, quoted};
use crate::model::job::UndoRequest;
use crate::rules::decide::{Origin, Refusals, SagaEvent, Subject, Verdict, undo_all};
use crate::rules::held::NamedTask;
use crate::store::entity::read_log_with;

/// What undoing a request or a plan did, or would do.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SagaReport {
    /// The correlation id of the request.
    pub correlation_id: Option<String>,
    /// The id of the plan.
    pub plan_id: Option<String>,
    /// Whether nothing was changed because only the changes were asked for.
    pub dry_run: bool,
    /// The number of its events that are undone now.
    pub undone: usize,
    /// The number of those that were undone before, or have no effect.
    pub already: usize,
    /// The number of records that stay, such as notes.
    pub kept: usize,
    /// Those that cannot be undone.
    pub left: Vec<LeftEvent>,
    /// Those of agents, such as registrations, which stay and are among the records; the first of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub of_agents: Vec<AgentEvent>,
    /// The tasks that are changed; the first of many.
    pub tasks: Vec<NamedTask>,
    /// The number of those tasks.
    pub total: usize,
    /// The number of events that were written.
    pub events: usize,
    /// The correlation id or plan id of these events: undoing it brings the changes back.
    pub undo_id: String,
}

/// An event that cannot be undone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeftEvent {
    /// The event.
    pub event: Id,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its task.
    pub task: Id,
    /// The handle of the task.
    pub handle: String,
    /// Why it cannot be undone.
    pub why: String,
}

/// An event of an agent, which stays.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentEvent {
    /// The event.
    pub event: Id,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The agent in whose log it stands.
    pub agent: String,
}

/// The most tasks that an answer names.
const MAX_TASKS: usize = 20;
/// The most events that cannot be undone that a refusal lists.
const MAX_LEFT: usize = 50;

/// Undoes a request or a plan.
///
/// Errors: `ERR_NOT_FOUND` for an id that no event has; `ERR_CONFLICT` with the events that cannot be undone, unless the rest is
/// asked for; and those of any change. Nothing was written then.
pub fn undo_request(ws: &Workspace, job: &UndoRequest) -> Result<SagaReport> {
    let origin = match (&job.correlation_id, &job.plan_id) {
        (Some(id), None) => Origin::Request(id.clone()),
        (None, Some(id)) => Origin::Plan(id.clone()),
        _ => {
            return Err(Error::usage("name either a request or a plan")
                .hint("agentpm undo --correlation-id ID, or agentpm undo --plan-id ID"));
        }
    };
    let tasks = tasks_with(ws, origin.id())?;
    let why = job.why.as_ref().map(|why| why.0.as_str());
    let mut events: Vec<SagaEvent>;
    let mut stops: bool;
    let author = origin.undoer(ws.author()?);
    let mut refusals = Refusals::new();
    let outcome = loop {
        (events, stops) = (Vec::new(), false);
        let known = refusals.len();
        let outcome = write::execute_as(ws, author.clone(), "undo.request", &[], None, |tx| {
            events = undo_all(tx, &origin, &tasks, why, &mut refusals)?;
            let is_left = events.iter().any(|event| matches!(event.verdict, Verdict::Left(_)));
            stops = job.dry_run || events.is_empty() || (is_left && !job.partial);
            // What was decided on the stage is thrown away by a refusal.
            if stops { Err(Error::usage("nothing is to be written")) } else { Ok(Subject::Batch(Vec::new())) }
        });
        // Each round leaves one more task.
        if refusals.len() == known {
            break outcome;
        }
    };
    let written = match outcome {
        Ok(reply) => reply.events.len(),
        Err(_) if stops => 0,
        Err(e) => return Err(e),
    };
    if events.is_empty() {
        return Err(unknown(&origin));
    }
    let report = report(ws, job, events, written, &origin)?;
    if !job.dry_run && !job.partial && !report.left.is_empty() {
        return Err(refused(&origin, &report));
    }
    Ok(report)
}

fn report(
    ws: &Workspace,
    job: &UndoRequest,
    events: Vec<SagaEvent>,
    written: usize,
    origin: &Origin,
) -> Result<SagaReport> {
    let count = |wanted: &Verdict| events.iter().filter(|event| event.verdict == *wanted).count();
    let (undone, already, kept) = (count(&Verdict::Undone), count(&Verdict::Already), count(&Verdict::Kept));
    let mut of_agents = of_agents(ws, origin)?;
    let kept = kept + of_agents.len();
    of_agents.truncate(MAX_LEFT);
    let mut changed: Vec<Id> =
        events.iter().filter(|event| event.verdict == Verdict::Undone).map(|event| event.task).collect();
    changed.sort_unstable();
    changed.dedup();
    let named = |id: &Id| Ok(NamedTask::new(*id, read::handle(ws, *id)?, &read::load_task(ws, *id)?.task.fields.title));
    let mut left = Vec::new();
    for event in events {
        if let Verdict::Left(why) = event.verdict {
            let handle = read::handle(ws, event.task)?;
            left.push(LeftEvent { event: event.event, kind: event.kind, task: event.task, handle, why });
        }
    }
    Ok(SagaReport {
        correlation_id: job.correlation_id.clone(),
        plan_id: job.plan_id.clone(),
        dry_run: job.dry_run,
        undone,
        already,
        kept,
        left,
        of_agents,
        tasks: changed.iter().take(MAX_TASKS).map(named).collect::<Result<_>>()?,
        total: changed.len(),
        events: written,
        undo_id: origin.undo_id(),
    })
}

/// The events of a request in the logs of agents.
fn of_agents(ws: &Workspace, origin: &Origin) -> Result<Vec<AgentEvent>> {
    let pending = read::pending(ws)?;
    let mut found = Vec::new();
    for agent in read::agent_names(ws)? {
        let entity = Entity::Agent(agent.clone());
        let log = read_log_with(&ws.store, &entity, pending.get(&entity).map_or(&[][..], Vec::as_slice))?;
        let own = log.entries.iter().map(|entry| &entry.event).filter(|e| e.entity == entity && origin.has_written(e));
        let named =
            |event: &Event| AgentEvent { event: event.id, kind: event.payload.kind().to_owned(), agent: agent.clone() };
        found.extend(own.map(named));
    }
    Ok(found)
}

fn unknown(origin: &Origin) -> Error {
    let (what, option) = match origin {
        Origin::Request(_) => ("correlation id", origin.option()),
        Origin::Plan(_) => ("plan id", origin.option()),
    };
    Error::not_found(format!("no event of a task has the {what} {}", quoted(origin.id()))).hint(format!(
        "agentpm log --json shows the ids of events; they come from {option} or from batch and plan apply"
    ))
}

fn refused(origin: &Origin, report: &SagaReport) -> Error {
    let n = report.left.len();
    let first = report.left.first().map(|left| format!("{} {}: {}", left.kind, left.event, left.why));
    let events = if n == 1 { "1 event".to_owned() } else { format!("{n} events") };
    let message = format!("{events} of {} cannot be undone: {}", quoted(origin.id()), first.unwrap_or_default());
    Error::new(Code::Conflict, message)
        .with(json!({
            "left": report.left.iter().take(MAX_LEFT).collect::<Vec<_>>(), "total": n,
            "undone": report.undone, "already": report.already, "kept": report.kept,
        }))
        .hint("nothing was written; --partial undoes the rest, --dry-run shows it")
}
