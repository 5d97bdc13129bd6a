//! Imports plans of other tools, and exports of agentpm: nothing lost, nothing doubled.
//!
//! A plan of another tool is one record in the journal. Every task keeps `metadata.origin` with the format it came from and the id it had there, and what its source said last.
//! Importing the file again changes only what changed in it (`follow`).
//! Leaves to others: reading the formats of other tools (`source` and the modules of the formats).

pub(crate) mod arbeit;
pub(crate) mod backlog;
pub(crate) mod beads;
mod broken_rules;
mod collector;
mod create;
mod document;
mod follow;
pub(crate) mod github;
mod ours;
mod parts;
mod sections;
pub(crate) mod source;
mod steps_and_notes;
pub(crate) mod taskmaster;

use std::collections::{BTreeMap, HashSet};
use std::io::{Cursor, Read, Seek};

use schemars::JsonSchema;
use serde::Serialize;

use parts::Parts;
use source::PackedImport;
pub use source::{Import, ImportedTask};

use crate::engine::commit::application::Application;
use crate::engine::commit::plan::{DRY_RUN, PlanChange, PlanConflict, dropped_words};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::progress::Progress;
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::job::{self, PlanApply};
use crate::model::plan::PlanFile;
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::rules::decide::Subject;
use crate::store::dropped;

/// The formats that can be imported.
pub const FORMATS: [&str; 6] = ["arbeit", "taskmaster", "beads", "backlog", "github", ours::FORMAT];

/// The largest file of another tool that is read, in bytes. Its tasks are held while their edges are not known.
const MAX_SOURCE: u64 = 1 << 30;

/// Reads a plan of another tool.
///
/// Errors: `ERR_USAGE` for an unknown format, `ERR_VALIDATION` for a text that is not of it.
fn parse(from: &str, source: &mut dyn Read) -> Result<PackedImport> {
    let read = match from {
        "arbeit" => arbeit::parse,
        "taskmaster" => taskmaster::parse,
        "beads" => beads::parse,
        "github" => github::parse,
        backlog::FORMAT => return Err(is_no_source("a plan of Backlog.md is a folder, not a file")),
        other => {
            return Err(Error::usage(format!("{} is no format that can be imported", quoted(other)))
                .hint(format!("use one of {}", FORMATS.join(", "))));
        }
    };
    let mut bounded = source.take(MAX_SOURCE);
    let plan = read(&mut bounded);
    if bounded.limit() == 0 {
        return Err(is_too_large());
    }
    plan
}

fn is_too_large() -> Error {
    Error::validation(format!("the source is larger than {} MB", MAX_SOURCE >> 20))
}

fn is_no_source(why: &str) -> Error {
    Error::usage(why).hint("agentpm import --from backlog backlog, or --from another format with a file")
}

/// As [`import`], for a file of any size, which may be read twice.
///
/// Errors: as [`import`].
pub fn import_file(ws: &Workspace, from: &str, source: &mut (impl Read + Seek), dry_run: bool) -> Result<ImportReport> {
    match from {
        ours::FORMAT | "json" => ours::import(ws, source, dry_run),
        _ => import_plan(ws, parse(from, source)?, dry_run),
    }
}

/// Gives the text of a file of a folder, by its path there.
pub type ReadFile<'r> = &'r mut dyn FnMut(&str) -> Result<String>;

/// As [`import`], for a folder of any size.
///
/// Errors: as [`import`], and those of `read`.
pub fn import_folder(
    ws: &Workspace,
    from: &str,
    paths: &[String],
    read: ReadFile<'_>,
    dry_run: bool,
) -> Result<ImportReport> {
    if from != backlog::FORMAT {
        return Err(is_no_source("only a plan of Backlog.md is a folder"));
    }
    let mut left = MAX_SOURCE;
    let mut bounded = |path: &str| {
        let text = read(path)?;
        left = left.checked_sub(text.len() as u64).ok_or_else(is_too_large)?;
        Ok(text)
    };
    import_plan(ws, backlog::parse(paths, &mut bounded)?, dry_run)
}

/// When a task comes back that its source put off without a date: 2100-01-01.
const PUT_OFF: i64 = 4_102_444_800_000;

/// What was imported.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ImportReport {
    /// The format.
    pub format: &'static str,
    /// Whether nothing was changed because only the changes were asked for.
    pub dry_run: bool,
    /// How much was new.
    pub added: Count,
    /// The tasks of the source.
    pub items: Vec<PlacedTask>,
    /// Their number.
    pub total: usize,
    /// What the source changed since it was imported last.
    pub changes: Vec<PlanChange>,
    /// What the source changed and the store keeps.
    pub conflicts: Vec<PlanConflict>,
    /// What could not be taken as it was.
    pub warnings: Vec<String>,
}

/// A task of the source, and where it went.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PlacedTask {
    /// Its id there.
    pub origin: String,
    /// Its id here; `null` where it would be created.
    pub id: Option<Id>,
    /// Whether it is new.
    pub new: bool,
}

/// How much was new.
#[derive(Clone, Copy, Debug, Default, Serialize, JsonSchema)]
pub struct Count {
    /// Tasks.
    pub tasks: usize,
    /// Edges between tasks.
    pub relationships: usize,
    /// Steps.
    pub progress: usize,
    /// Context entries.
    pub context: usize,
    /// Events, of all kinds.
    pub events: usize,
}

/// Imports a plan of another tool, all of it or nothing; a large one in parts. Returns what was new, and where each task went.
///
/// Errors: `ERR_USAGE` for an unknown format, `ERR_VALIDATION` for a text that is not of it, and those of any change.
pub fn import(ws: &Workspace, job: &job::Import) -> Result<ImportReport> {
    if job.files.is_empty() {
        return import_file(ws, &job.from, &mut Cursor::new(job.text.as_bytes()), job.dry_run);
    }
    let (paths, mut read) = (job.files.keys().cloned().collect::<Vec<_>>(), |path: &str| Ok(job.files[path].clone()));
    import_folder(ws, &job.from, &paths, &mut read, job.dry_run)
}

fn import_plan(ws: &Workspace, mut plan: PackedImport, dry_run: bool) -> Result<ImportReport> {
    let index = read::index(ws)?;
    let mut ids =
        KnownIds { dropped: dropped::origins(&ws.store, &format!("{}/", plan.format))?, ..KnownIds::default() };
    for task in &plan.tasks {
        if let Some(id) = index.by_origin(&format!("{}/{}", plan.format, task.origin))? {
            ids.known.insert(task.origin.to_string(), id);
        }
    }
    drop(index);
    ids.dropped.retain(|origin, _| !ids.known.contains_key(origin));
    leave_out_dropped(&mut plan, &ids.dropped);
    let mut report = ImportReport {
        format: plan.format,
        dry_run,
        added: Count::default(),
        items: Vec::new(),
        total: plan.tasks.len(),
        changes: Vec::new(),
        conflicts: Vec::new(),
        warnings: std::mem::take(&mut plan.warnings),
    };
    let is_known = |origin: &str| ids.known.contains_key(origin) || ids.dropped.contains_key(origin);
    let Parts { tasks, late } = if dry_run {
        let (parts, uncounted) = parts::cut_for_dry_run(plan, is_known);
        report.added.relationships += uncounted;
        report.added.events += uncounted;
        parts
    } else {
        parts::cut(plan, is_known)
    };
    let progress = Progress::of("importing tasks", report.total);
    for part in tasks {
        let part = part.open();
        let done = import_part(ws, &part, &mut ids, dry_run).map_err(|e| after_others(e, &report))?;
        part.tasks.iter().for_each(|_| progress.step());
        report.items.extend(done.items);
        report.changes.extend(done.changes);
        report.add(done.added, done.conflicts, done.warnings);
    }
    let new: HashSet<String> = report.items.iter().filter(|item| item.new).map(|item| item.origin.clone()).collect();
    for part in late {
        let mut done = import_part(ws, &part.open(), &mut ids, dry_run).map_err(|e| after_others(e, &report))?;
        // The edges of new tasks are new, and no changes.
        let (edges, changes): (Vec<PlanChange>, Vec<PlanChange>) =
            done.changes.into_iter().partition(|change| new.contains(change.key()));
        done.added.relationships += edges.len();
        report.items.extend(done.items.into_iter().filter(|item| !new.contains(&item.origin)));
        report.changes.extend(changes);
        report.add(done.added, done.conflicts, done.warnings);
    }
    Ok(report)
}

/// The tasks of a source that were imported before, by their ids there.
#[derive(Default)]
struct KnownIds {
    known: BTreeMap<String, Id>,
    /// Those that were dropped from the archives.
    dropped: BTreeMap<String, Id>,
}

/// Takes the tasks out of a plan that were dropped here. The edges by which others name them stay, and nothing waits for them.
fn leave_out_dropped(plan: &mut PackedImport, dropped: &BTreeMap<String, Id>) {
    let gone = plan.tasks.extract_if(.., |task| dropped.contains_key(&*task.origin));
    plan.warnings.extend(gone.map(|task| dropped_words(&task.origin, dropped[&*task.origin])));
    plan.edges.retain(|edge| !dropped.contains_key(parts::home_of(edge)));
    let blocking = plan.edges.iter().filter(|e| e.kind == RelationType::Blocks && !dropped.contains_key(&e.from));
    let waiting: HashSet<&str> = blocking.map(|edge| edge.to.as_str()).collect();
    for task in plan.tasks.iter_mut().filter(|task| task.status == Status::Blocked) {
        if !waiting.contains(&*task.origin) {
            task.status = Status::Open;
        }
    }
}

/// An error after the parts before were recorded.
fn after_others(e: Error, report: &ImportReport) -> Error {
    match report.items.len() {
        0 => e,
        n => e.hint(format!("{n} of {} tasks were imported before; run the same command again", report.total)),
    }
}

/// What the import of a part did.
struct PartReport {
    added: Count,
    items: Vec<PlacedTask>,
    changes: Vec<PlanChange>,
    conflicts: Vec<PlanConflict>,
    warnings: Vec<String>,
}

/// Imports a part of a plan, all of it or nothing. The ids of new tasks are added to the known ones, except in a dry run.
fn import_part(ws: &Workspace, plan: &Import, ids: &mut KnownIds, dry_run: bool) -> Result<PartReport> {
    let KnownIds { known, dropped } = ids;
    let (as_plan, options) = (PlanFile { plan: plan.format.into(), tasks: Vec::new() }, PlanApply::default());
    let begin = |known: &BTreeMap<String, Id>| {
        Application::of_source(&as_plan, &options, plan.format.to_owned(), known.clone(), dropped.clone())
    };
    let (mut application, mut added, mut warnings) = (begin(known), Count::default(), Vec::new());
    let outcome = write::execute_as(ws, ws.author()?, "import", &[], None, |tx| {
        // Under the lock: another import may have made the tasks just now.
        let index = read::index_for_write(ws)?;
        for task in plan.tasks.iter().filter(|task| !dropped.contains_key(&task.origin)) {
            if !known.contains_key(&task.origin)
                && let Some(id) = index.by_origin(&format!("{}/{}", plan.format, task.origin))?
            {
                known.insert(task.origin.clone(), id);
            }
        }
        drop(index);
        (application, added) = (begin(known), Count::default());
        warnings = create::create_tasks(tx, plan, known, &mut application.ids, &mut added)?;
        follow::follow(tx, plan, known, &mut application)?;
        create::set_statuses(tx, plan, known, &application.ids)?;
        added.events = tx.entries.len();
        if dry_run {
            // What was decided on the stage is thrown away by a refusal.
            return Err(Error::usage(DRY_RUN));
        }
        Ok(Subject::Batch(Vec::new()))
    });
    match outcome {
        Err(e) if !(dry_run && e.message.starts_with(DRY_RUN)) => return Err(e),
        _ => {}
    }
    let Application { ids, changes, conflicts, .. } = application;
    let is_new = |task: &ImportedTask| !known.contains_key(&task.origin);
    let item = |task: &ImportedTask| PlacedTask {
        origin: task.origin.clone(),
        id: ids.get(&task.origin).filter(|_| !dry_run || !is_new(task)).copied(),
        new: is_new(task),
    };
    let items = plan.tasks.iter().map(item).collect();
    if !dry_run {
        *known = ids;
    }
    Ok(PartReport { added, items, changes, conflicts, warnings })
}

impl ImportReport {
    /// Adds what a part did.
    fn add(&mut self, added: Count, conflicts: Vec<PlanConflict>, warnings: Vec<String>) {
        let Count { tasks, relationships, progress, context, events } = added;
        self.added.tasks += tasks;
        self.added.relationships += relationships;
        self.added.progress += progress;
        self.added.context += context;
        self.added.events += events;
        self.conflicts.extend(conflicts);
        self.warnings.extend(warnings);
    }
}
