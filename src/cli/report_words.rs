//! Reports in words: what a sync, a plan, an import, an undo or a repair did.
//!
//! Guarantees that a report of any size is bounded where it lists tasks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::table::object;
use crate::engine::commit::plan::{FieldChange, KeptBecause, PlanChange, PlanReport, PlannedTask};
use crate::engine::commit::saga::SagaReport;
use crate::engine::import::ImportReport;
use crate::engine::{CompactReport, LeaseNews, MigrationReport, RepairReport, Restored, SyncReport};
use crate::model::id::HANDLE_MIN;
use crate::model::plain::{counted, escape, shell_word};
use crate::reports::event_words::shortened;

/// Most tasks that a sync names to people.
const MAX_LINES: usize = 30;

/// The command that undoes a request.
pub fn undo_line(correlation_id: &str) -> String {
    format!("undo all of it: agentpm undo --correlation-id {}\n", escape(&shell_word(correlation_id)))
}

/// What undoing a request changed, and what stays.
pub fn request_undone(report: &SagaReport) -> String {
    let id = report.correlation_id.as_ref().or(report.plan_id.as_ref());
    let id = escape(id.map_or("", String::as_str));
    let mut out = String::new();
    for task in &report.tasks {
        out.push_str(&format!("  {}  {}\n", task.handle, escape(&task.title)));
    }
    if report.total > report.tasks.len() {
        out.push_str(&format!("  … and {} more tasks\n", report.total - report.tasks.len()));
    }
    for left in report.left.iter().take(MAX_LINES) {
        out.push_str(&format!("left  {}  {} {}: {}\n", left.handle, escape(&left.kind), left.event, escape(&left.why)));
    }
    if report.left.len() > MAX_LINES {
        out.push_str(&format!(
            "… and {} more that cannot be undone; all of them with --json\n",
            report.left.len() - MAX_LINES
        ));
    }
    for kept in report.of_agents.iter().take(MAX_LINES) {
        out.push_str(&format!("stays  {} {} of agent {}\n", escape(&kept.kind), kept.event, escape(&kept.agent)));
    }
    if report.undone == 0 && report.left.is_empty() {
        return out + &format!("{id} is undone already\n");
    }
    if report.undone == 0 {
        return out + &format!("no more of {id} can be undone\n");
    }
    let verb = if report.dry_run { "would undo" } else { "undid" };
    let kept = match report.kept {
        0 => String::new(),
        1 => "; 1 record stays".into(),
        n => format!("; {n} records stay"),
    };
    out + &format!("{verb} {} of {id} in {}{kept}\n", counted(report.undone, "event"), counted(report.total, "task"))
}

/// What a plan changed: each task once, by key and handle, with its changes below it as whole texts.
pub fn planned(report: &PlanReport) -> String {
    let mut out = String::new();
    let all = report.items.iter().chain(&report.missing);
    let known: BTreeMap<&str, &PlannedTask> = all.map(|item| (item.key.as_str(), item)).collect();
    let mut keys: Vec<&str> = Vec::new();
    for key in report.changes.iter().map(PlanChange::key).chain(report.conflicts.iter().map(|c| c.key.as_str())) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    for key in &keys {
        let changes: Vec<&PlanChange> = report.changes.iter().filter(|change| change.key() == *key).collect();
        let verb = match changes.first() {
            Some(PlanChange::Create { .. }) => "create",
            Some(PlanChange::Cancel { .. }) => "cancel",
            Some(_) => "update",
            None => "keep",
        };
        let handle = known.get(key).and_then(|item| item.handle.as_deref()).map(|handle| format!("  {handle}"));
        let title = known.get(key).map(|item| item.title.as_str()).unwrap_or_default();
        out.push_str(&format!("{verb:<6}  {}{}  {}\n", escape(key), handle.unwrap_or_default(), escape(title)));
        changes.iter().for_each(|change| out.push_str(&change_lines(change)));
        for kept in report.conflicts.iter().filter(|kept| kept.key == *key) {
            let why = match kept.reason {
                KeptBecause::BothChanged => "changed in the store too; --force takes the file's value",
                KeptBecause::NoRecord => "changed in the store; --force takes the file's value",
                KeptBecause::Closed => "the task is closed",
                KeptBecause::Held => "another agent holds the task",
                KeptBecause::NotAllowed => "the state of the plan does not allow it",
            };
            out.push_str(&escape(&format!("  kept {}: {} (file: {}): {why}", kept.field, kept.store, kept.file)));
            out.push('\n');
        }
    }
    for gone in &report.missing {
        let handle = gone.handle.as_deref().unwrap_or_default();
        out.push_str(&format!(
            "left    {}  {handle}  {}: not in the file any more; --prune cancels it\n",
            escape(&gone.key),
            escape(&gone.title)
        ));
    }
    let verb = if report.dry_run { "would change" } else { "changed" };
    let changed: BTreeSet<&str> = report.changes.iter().map(PlanChange::key).collect();
    let kept = match report.conflicts.len() {
        0 => String::new(),
        more => format!(", {} kept", counted(more, "value")),
    };
    out.push_str(&format!("{}, {} {verb}{kept}\n", counted(report.total, "task"), changed.len()));
    out + &report.correlation_id.as_deref().map(undo_line).unwrap_or_default()
}

/// What an import added and changed, and what the store keeps.
pub fn imported(report: &ImportReport) -> String {
    let mut out = object(&json!(report.added));
    for change in &report.changes {
        out.push_str(&format!("update  {}\n{}", escape(change.key()), change_lines(change)));
    }
    for kept in &report.conflicts {
        let words = format!("kept    {}  {}: {} (source: {})", kept.key, kept.field, kept.store, kept.file);
        out.push_str(&format!("{}\n", escape(&words)));
    }
    out + if report.dry_run { "nothing was changed\n" } else { "" }
}

fn change_lines(change: &PlanChange) -> String {
    match change {
        PlanChange::Create { .. } | PlanChange::Cancel { .. } => String::new(),
        PlanChange::Update { fields, .. } => {
            let line = |f: &FieldChange| format!("  {}\n", escape(&format!("{}: {} -> {}", f.field, f.from, f.to)));
            fields.iter().map(line).collect()
        }
        PlanChange::Progress { steps, .. } => format!("  {} added\n", counted(*steps, "step")),
        PlanChange::Block { by, .. } => format!("  blocked by {}\n", escape(by)),
        PlanChange::Unblock { by, .. } => format!("  no longer blocked by {}\n", escape(by)),
    }
}

pub fn restored_words(restored: &Restored) -> String {
    let entities: String = restored.entities.iter().map(|entity| format!("{entity}\n")).collect();
    format!("{entities}restored {}\n", counted(restored.total, "event"))
}

pub fn compacted_words(report: &CompactReport) -> String {
    let CompactReport { dry_run, until, tasks, events, files, reclaimed_bytes, archives, left, dropped, .. } = report;
    let would = if *dry_run { "would move" } else { "moved" };
    let mut out = match tasks {
        0 => format!("no task with a folder was archived until {until}\n"),
        _ => format!(
            "{would} {} with {} into {}: {} fewer, {} less on the disk\n",
            counted(*tasks, "task"),
            counted(*events, "event"),
            archives.join(", "),
            counted(*files, "file"),
            size_words(*reclaimed_bytes)
        ),
    };
    if let Some(dropped) = dropped {
        let would = if *dry_run { "would drop" } else { "dropped" };
        let (tasks, events) = (counted(dropped.tasks, "task"), counted(dropped.events, "event"));
        out.push_str(&format!("{would} {tasks} with {events} from the archives; a record of them stays\n"));
    }
    for one in left {
        out.push_str(&format!("left: {} {}: {}\n", one.handle, escape(&one.title), one.why));
    }
    out
}

pub fn migrated_words(report: &MigrationReport) -> String {
    let MigrationReport { dry_run, from, to, steps, written, removed, commit } = report;
    if from == to {
        return format!("the store has format {to} already\n");
    }
    let would = if *dry_run { "would write" } else { "wrote" };
    let mut out = format!("format {from} to {to}: {would} {}, {removed} removed\n", counted(*written, "file"));
    for step in steps {
        out.push_str(&format!("  {}\n", escape(step)));
    }
    if let Some(commit) = commit {
        out.push_str(&format!("committed as {commit}; git revert brings the older store back\n"));
    }
    out
}

/// A number of bytes, in the unit that fits.
fn size_words(bytes: i64) -> String {
    let tenths = |unit: i64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        ..1_000_000 => format!("{} kB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

pub fn repaired(report: &RepairReport) -> String {
    let mut out = String::new();
    for item in &report.items {
        out.push_str(&format!("{}: {}\n", escape(&item.entity.to_string()), item.did.join("; ")));
    }
    for path in &report.archives {
        out.push_str(&format!("{}: sorted\n", escape(path)));
    }
    if report.sorted > 0 {
        out.push_str(&format!("{} sorted\n", counted(report.sorted, "log")));
    }
    for left in &report.left {
        out.push_str(&format!("unchanged: {}\n", escape(left)));
    }
    if report.projected > 0 {
        out.push_str(&format!("{} written\n", counted(report.projected, "acknowledged event")));
    }
    for path in &report.rebuilt {
        out.push_str(&format!("{}: damaged; rewritten from the journal\n", escape(path)));
    }
    if out.is_empty() { "nothing to repair\n".into() } else { out }
}

/// What was done for leases, a line each.
fn lease_lines(news: &LeaseNews) -> String {
    let mut out = String::new();
    for lost in &news.lost {
        let handle = lost.task.handle(HANDLE_MIN);
        let place = if lost.to == lost.agent { " in another clone" } else { "" };
        out.push_str(&format!(
            "  lost  {handle}  {}'s lease: {} took the task{place}\n",
            escape(&lost.agent),
            escape(&lost.to)
        ));
    }
    for contested in &news.contested {
        let (handle, other) = (contested.task.handle(HANDLE_MIN), escape(&contested.other));
        out.push_str(&format!("  kept  {handle}  {}'s lease: {other} claimed it too\n", escape(&contested.agent)));
    }
    for task in &news.confirmed {
        out.push_str(&format!("  confirmed  {}  the remote agreed to its lease\n", task.handle(HANDLE_MIN)));
    }
    if news.reported > 0 {
        out.push_str(&format!("  reported {} to the remote\n", counted(news.reported, "released lease")));
    }
    if news.removed > 0 {
        out.push_str(&format!("  removed {} of finished tasks at the remote\n", counted(news.removed, "record")));
    }
    out
}

pub fn sync(report: &SyncReport) -> String {
    let mut out = format!("{} on {}\n", report.words(), escape(&report.branch));
    for (arrow, changes) in [("in ", &report.incoming), ("out", &report.outgoing)] {
        for change in changes.iter().take(MAX_LINES) {
            out.push_str(&format!("  {arrow}  {}  {:<9}  {}\n", change.handle, change.what, escape(&change.title)));
        }
        if changes.len() > MAX_LINES {
            out.push_str(&format!("  … and {} more {arrow}; all of them with --json\n", changes.len() - MAX_LINES));
        }
    }
    let (loses, gives_way) = if report.dry_run { ("would lose", "would give way") } else { ("lost", "gave way") };
    for edit in &report.lost {
        out.push_str(&format!(
            "  {loses} {}  {}: {}'s {gives_way} to {}'s; {}\n",
            edit.handle,
            escape(&edit.field),
            escape(&edit.agent),
            escape(&edit.by),
            escape(&edit.end.words())
        ));
    }
    for message in report.messages.iter().take(MAX_LINES) {
        let route = escape(&message.route());
        out.push_str(&format!("  message from {route}: {}\n", escape(&shortened(&message.body))));
    }
    for task in report.unblocked.iter().take(MAX_LINES) {
        out.push_str(&format!("  unblocked  {} {}  no unfinished blocker\n", task.handle, escape(&task.title)));
    }
    out.push_str(&lease_lines(&report.leases));
    out
}
