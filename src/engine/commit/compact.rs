//! `compact`: moves closed tasks that were archived long ago from their folders into archives.
//!
//! Guarantees that it happens as a whole: the journal notes it before the first file changes, and the next writer completes what a
//! killed one began. The plan itself does not change, so it has no events.
//! Leaves to others: the files (`store::compact`).

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::{project, write};
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::compaction::{Compaction, DropOrder};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::job::Compact;
use crate::model::time::Time;
use crate::rules::roles::Verb;
use crate::runtime::journal::Commit;
use crate::store::archive;
use crate::store::compact::{self, Move, Moves};
use crate::store::entity::load_task;
use crate::store::project::check_home;

/// What a compaction moved.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CompactReport {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Tasks that were archived until this time were moved.
    pub until: Time,
    /// The number of moved tasks.
    pub tasks: usize,
    /// The number of their events.
    pub events: usize,
    /// The archives that they moved into, by path below the store.
    pub archives: Vec<String>,
    /// The number of files that were removed.
    pub files: usize,
    /// How much less room the plan takes on the disk, in bytes.
    pub reclaimed_bytes: i64,
    /// Tasks that are old enough and were left where they are.
    pub left: Vec<LeftTask>,
    /// What was dropped from the archives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropped: Option<DropReport>,
    /// What is left to the next change.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// What was dropped from the archives.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct DropReport {
    /// The number of dropped tasks.
    pub tasks: usize,
    /// The number of their events.
    pub events: usize,
    /// The bytes of their lines.
    pub bytes: u64,
}

/// A task that was not moved.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeftTask {
    /// The task.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// Why it was left.
    pub why: &'static str,
}

/// Moves the tasks that were archived longer ago than the retention; shows with `dry_run` which ones they are.
///
/// Errors: those of any change.
pub(crate) fn compact(ws: &Workspace, q: &Compact) -> Result<CompactReport> {
    let span = q.older_than.map_or_else(|| ws.settings.compact.retention_ms(), |span| span.millis);
    let (now, author) = (ws.env.now(), ws.author()?);
    let drop = q.drop_before.map(|until| DropOrder { until, at: now, by: author.agent.clone() });
    let order = Compaction { until: now.plus(-span), drop };
    let role = if ws.rights.0.is_some() { read::agent_record(ws, &author.agent)?.role } else { None };
    ws.rights.require(&author.agent, role.as_deref(), Verb::Archive)?;
    if order.drop.is_some() {
        ws.rights.require(&author.agent, role.as_deref(), Verb::Admin)?;
    }
    if q.dry_run {
        return report(ws, &order, true, &compact::moves_until(&ws.store, order.until)?);
    }
    ws.check_safe_to_change()?;
    write::under_lock(ws, &format!("{} (compact)", author.agent), |runtime, lock, journal| {
        (ws.after_git)(ws, journal, runtime)?;
        let moves = compact::moves_until(&ws.store, order.until)?;
        let mut report = report(ws, &order, false, &moves)?;
        if moves.tasks.is_empty() && report.dropped.as_ref().is_none_or(|dropped| dropped.tasks == 0) {
            return Ok(report);
        }
        for one in &moves.tasks {
            check_home(&ws.store, &Entity::Task(one.id))?;
        }
        lock.check(runtime)?;
        let commit = Commit { compact: Some(order.clone()), ..project::commit_line(ws, 0, journal.lamport())? };
        let size_of = || -> Result<u64> {
            Ok(archive::archived_now(&ws.store)?.archives.iter().map(|archive| archive.mark.size).sum())
        };
        let old = size_of()?;
        journal.append(&[], &commit)?;
        // It has happened by now; what fails is completed by the next change.
        let mut completed = || {
            compact::apply(&ws.store, &moves.tasks)?;
            if let Some(drop) = &order.drop {
                compact::drop_tasks(&ws.store, &compact::drops_until(&ws.store, drop)?)?;
            }
            journal.mark_projected(ws)?;
            size_of()
        };
        match completed() {
            Ok(new) => report.reclaimed_bytes = room(&moves) - (new as i64 - old as i64),
            Err(e) => {
                report.warnings.push(format!("not all files are written yet: {}; the next change does", e.message));
            }
        }
        read::logs_were_written(ws);
        Ok(report)
    })
}

/// The room that the folders of the moved tasks take, in bytes.
fn room(moves: &Moves) -> i64 {
    moves.tasks.iter().map(|one| one.room as i64).sum()
}

fn report(ws: &Workspace, order: &Compaction, dry_run: bool, moves: &Moves) -> Result<CompactReport> {
    let left = |(id, why): &(Id, &'static str)| {
        let title = load_task(&ws.store, *id, &[])?.task.fields.title;
        Ok(LeftTask { id: *id, handle: read::handle(ws, *id)?, title, why })
    };
    let drops = order.drop.as_ref().map(|drop| compact::drops_until(&ws.store, drop)).transpose()?;
    // What moves now may be old enough to be dropped at once.
    let is_old = |one: &&Move| order.drop.as_ref().is_some_and(|drop| one.archived_at <= drop.until);
    let dropped = drops.map(|drops| {
        let moved = || moves.tasks.iter().filter(is_old);
        DropReport {
            tasks: drops.iter().map(|one| one.tasks.len()).sum::<usize>() + moved().count(),
            events: drops.iter().map(|one| one.events).sum::<usize>() + moved().map(|one| one.events).sum::<usize>(),
            bytes: drops.iter().map(|one| one.bytes).sum::<u64>() + moved().map(|one| one.log_bytes).sum::<u64>(),
        }
    });
    Ok(CompactReport {
        dry_run,
        until: order.until,
        dropped,
        tasks: moves.tasks.len(),
        events: moves.tasks.iter().map(|one| one.events).sum(),
        archives: moves.tasks.iter().map(|one| one.archive.clone()).collect::<BTreeSet<_>>().into_iter().collect(),
        files: moves.tasks.iter().map(|one| one.files).sum(),
        reclaimed_bytes: room(moves) - moves.tasks.iter().map(|one| one.log_bytes as i64).sum::<i64>(),
        left: moves.left.iter().map(left).collect::<Result<_>>()?,
        warnings: Vec::new(),
    })
}
