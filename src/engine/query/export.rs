//! `export`: the plan as a document, written piece by piece.
//!
//! Guarantees that of a plan of any size only some tasks are held at once, besides their titles where the order needs them.
//! Leaves to others: the pieces (`reports::export`), the page of the board, and where the document goes.

use std::collections::HashSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::{board, graph};
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::query::{Export, ExportFormat};
use crate::model::task::{Status, Task};
pub use crate::reports::board::Take;
use crate::reports::export::{beads, csv, markdown, ours};
use crate::reports::ready::Plan;
use crate::rules::fold;
use crate::store::database;
use crate::store::entity::{read_log_with, read_yaml};
use crate::store::index::Index;
use crate::store::log::Log;
use crate::store::project::render;

/// How many tasks are held at once.
const AT_ONCE: usize = 1_000;
/// How many bytes of their records, besides those of one.
const BYTES_AT_ONCE: usize = 16 * 1024 * 1024;

/// The plan in another format.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Exported {
    /// The format.
    pub format: ExportFormat,
    /// The number of tasks.
    pub total: usize,
    /// The document.
    pub text: String,
    /// What the document does not hold.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// What was written of a plan.
#[derive(Debug, Default)]
pub struct ExportEnd {
    /// The number of tasks.
    pub total: usize,
    /// What the document does not hold.
    pub warnings: Vec<String>,
}

/// `export`
pub fn export(ws: &Workspace, q: &Export) -> Result<Exported> {
    let mut text = String::new();
    let end = export_to(ws, q.format, &mut |piece| {
        text.push_str(piece);
        Ok(())
    })?;
    Ok(Exported { format: q.format, total: end.total, text, warnings: end.warnings })
}

/// As [`export`], for a document that may be too long to be held.
///
/// Errors: those of `take`, and `ERR_IO` if the store cannot be read.
pub fn export_to(ws: &Workspace, format: ExportFormat, take: Take<'_>) -> Result<ExportEnd> {
    let mut has_given = false;
    let first = write_document(ws, format, &mut |piece| {
        has_given = true;
        take(piece)
    });
    match first {
        // What was given already cannot be taken back.
        Err(e) if !has_given && database::is_damaged(&e) => {
            read::discard_index(ws, &e);
            write_document(ws, format, take)
        }
        other => other,
    }
}

fn write_document(ws: &Workspace, format: ExportFormat, take: Take<'_>) -> Result<ExportEnd> {
    match format {
        ExportFormat::Html => {
            let page = board::board(ws, false)?;
            let total = page.total();
            page.write(take)?;
            Ok(ExportEnd { total, warnings: Vec::new() })
        }
        ExportFormat::Json | ExportFormat::Jsonl => records(ws, format == ExportFormat::Json, take),
        ExportFormat::Csv => tasks(ws, &csv::head(), take, csv::row),
        ExportFormat::Beads => {
            let names = beads::Names::new(read::index(ws)?.origins("beads/")?);
            tasks(ws, "", take, |task, status| beads::issue(task, status, &names))
        }
        ExportFormat::Markdown => outline(ws, take),
    }
}

/// Our own formats: the records of the agents and of the tasks, as one document or one on each line.
fn records(ws: &Workspace, is_document: bool, take: Take<'_>) -> Result<ExportEnd> {
    let ids = read::index(ws)?.all_ids()?;
    let pending = read::pending(ws)?;
    let pending = |entity: &Entity| pending.get(entity).map_or(&[][..], Vec::as_slice);
    let agents: Vec<Entity> = read::agent_names(ws)?.into_iter().map(Entity::Agent).collect();
    let tasks: Vec<Entity> = ids.into_iter().map(Entity::Task).collect();
    let progress = Progress::of("exporting tasks", tasks.len());
    let mut end = ExportEnd { total: tasks.len(), warnings: Vec::new() };
    if is_document {
        take(&format!("{{\"format\":\"{}\",\"version\":{},\"agents\":[", ours::NAME, ours::VERSION))?;
    }
    for (kind, entities) in [("", agents), ("],\"tasks\":[", tasks)] {
        if is_document {
            take(kind)?;
        }
        let mut is_first = true;
        let read = |entity: &Entity| {
            progress.step();
            let log = read_log_with(&ws.store, entity, pending(entity))?;
            let unrecorded = if pending(entity).is_empty() { unrecorded(ws, entity, &log) } else { None };
            let warnings: Vec<String> = left_out(entity, &log).into_iter().chain(unrecorded).collect();
            let record = record(entity, &log);
            let size = record.len();
            Ok(((record, warnings), size))
        };
        parallel::in_order(&entities, (AT_ONCE, BYTES_AT_ONCE), read, |(record, warnings)| {
            take(match (is_document, is_first) {
                (true, true) => "\n",
                (true, false) => ",\n",
                (false, _) => "",
            })?;
            is_first = false;
            take(&record)?;
            end.warnings.extend(warnings);
            take(if is_document { "" } else { "\n" })
        })?;
    }
    if is_document {
        take("]}\n")?;
    }
    Ok(end)
}

/// The events of a log that belong to its entity, in their order, each once.
fn own_events<'a>(entity: &Entity, log: &'a Log) -> Vec<&'a Entry> {
    let mut events: Vec<&Entry> = log.entries.iter().filter(|entry| entry.event.entity == *entity).collect();
    events.sort_by_key(|entry| entry.event.stamp());
    events.dedup_by_key(|entry| entry.event.id);
    events
}

fn record(entity: &Entity, log: &Log) -> String {
    let events = own_events(entity, log);
    match entity {
        Entity::Task(id) => ours::task(&fold::fold(*id, &log.entries).0, &events),
        Entity::Agent(name) => ours::agent(&fold::fold_agent(name, &log.entries).0, &events),
        // A session has no log.
        Entity::Session(_) => String::new(),
    }
}

/// A warning if part of a log is not in its record.
fn left_out(entity: &Entity, log: &Log) -> Option<String> {
    let others = log.entries.iter().filter(|entry| entry.event.entity != *entity).count();
    let lines = log.foreign.len() + usize::from(log.torn.is_some()) + others;
    (lines > 0 || log.fixed).then(|| {
        let what = if log.fixed { "cannot be read whole".to_owned() } else { format!("has {lines} damaged lines") };
        format!("the log of {entity} {what}, which the export leaves out; agentpm lint lists them")
    })
}

/// A warning if the readable file of an entity is not what its log gives: an edit of it is no event yet.
fn unrecorded(ws: &Workspace, entity: &Entity, log: &Log) -> Option<String> {
    let bytes = read_yaml(&ws.store, entity).ok().flatten()?;
    (bytes != render(entity, &log.entries).as_bytes()).then(|| {
        format!("the file of {entity} was edited, which the export leaves out; agentpm lint --fix records the edit")
    })
}

/// A piece for each task, in the order of their ids.
fn tasks(
    ws: &Workspace,
    head: &str,
    take: Take<'_>,
    piece: impl Fn(&Task, Status) -> String + Sync,
) -> Result<ExportEnd> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let ids = index.all_ids()?;
    let places: Vec<(Id, ())> = ids.into_iter().map(|id| (id, ())).collect();
    take(head)?;
    in_order(&index, &plan, &places, take, |task, status, ()| piece(task, status))
}

/// The tasks as a nested list.
fn outline(ws: &Workspace, take: Take<'_>) -> Result<ExportEnd> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let ids = index.all_ids()?;
    let lines = index.lines(ids.iter().copied())?;
    let finished = lines.iter().filter(|line| line.status.is_finished()).count();
    let parents: Vec<(Id, Option<Id>)> = lines.iter().map(|line| (line.id, line.parent)).collect();
    let mut places: Vec<(Id, usize)> =
        graph::walk(&parents).into_iter().map(|(n, depth)| (parents[n].0, depth)).collect();
    // Of a circle of parents some tasks come last.
    let seen: HashSet<Id> = places.iter().map(|(id, _)| *id).collect();
    places.extend(ids.into_iter().filter(|id| !seen.contains(id)).map(|id| (id, 0)));
    take(&markdown::head(places.len(), finished))?;
    in_order(&index, &plan, &places, take, markdown::item)
}

/// A piece for each task, in this order, each with what is known of its place.
fn in_order<P: Copy + Send + Sync>(
    index: &Index,
    plan: &Plan,
    places: &[(Id, P)],
    take: Take<'_>,
    piece: impl Fn(&Task, Status, P) -> String + Sync,
) -> Result<ExportEnd> {
    let progress = Progress::of("exporting tasks", places.len());
    let mut total = 0;
    for some in places.chunks(AT_ONCE) {
        let read = |(id, place): &(Id, P)| Ok(index.task(*id)?.map(|task| (task, *place)));
        let tasks: Vec<(Task, P)> = some.iter().map(read).filter_map(Result::transpose).collect::<Result<_>>()?;
        let pieces = parallel::map(&tasks, |(task, place)| {
            progress.step();
            // A blocked task that waits for nothing counts as open.
            let status = plan.tasks.get(&task.id).map_or(task.status, |brief| plan.status(brief));
            Ok(piece(task, status, *place))
        })?;
        total += pieces.len();
        pieces.iter().try_for_each(|piece| take(piece))?;
    }
    Ok(ExportEnd { total, warnings: Vec::new() })
}
