//! The read path: references, snapshots and lists.
//!
//! Takes no lock. Acknowledged events that are not projected yet are read from the journal, so that a reader sees a command
//! whole or not at all.
//! Leaves to others: what the answers look like (`reports::view`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use serde_json::json;

use super::landed::DefaultBranch;
use super::last_scan::mark_text;
use super::other_branches::OtherBranches;
use super::{claimed_files, pending, sparse};
use crate::engine::context::Workspace;
use crate::env::files::{Dir, Kind};
use crate::error::{Code, Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, Session};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry};
use crate::model::finding::Rule;
use crate::model::id::{HANDLE_MIN, Id, is_part, quoted, shard_of};
use crate::model::relationship::RelationType;
use crate::model::settings::Overlap;
use crate::model::task::{Brief, Status, Task};
use crate::model::time::Time;
use crate::reports::extent::Extent;
use crate::reports::ready::{Plan, Score, Scored};
use crate::reports::view::{Around, TaskView};
use crate::rules::graph::{void_edges, void_pairs};
use crate::rules::held::is_held;
use crate::rules::lease::{self, LoggedGrant};
use crate::rules::readiness::{
    self, Blocker, BlockerRules, BlockerState, Facts, Missing, Reason, Surroundings, Viewer, holding_parent,
};
use crate::runtime::{journal, records};
use crate::store::archive::{self, Archive};
use crate::store::database;
use crate::store::entity::{self, LoadedTask, is_odd, load_agent};
use crate::store::index::{Index, Pending};
use crate::store::layout::{AGENTS, DROPPED, TASKS, task_dir};

/// Maximum number of stale tasks that a change overlays; more are written into the index.
const MOST_LAID: usize = 24;

/// Maximum size of the journal's tail that is read instead of checking every file, in bytes.
const MOST_BEHIND: u64 = 1 << 20;

/// The state of git and of the journal up to which the index is current.
struct ChangeMarker {
    /// The mark of git's index.
    git: String,
    /// Which journal it is.
    journal: u64,
    /// The offset up to which its events are projected.
    offset: u64,
}

impl ChangeMarker {
    /// The offset in the journal of the events since then; `None` if every file must be checked.
    fn since(&self, then: &ChangeMarker) -> Option<u64> {
        let same = self.git == then.git && self.journal == then.journal;
        let behind = self.offset.checked_sub(then.offset)?;
        (same && behind <= MOST_BEHIND).then_some(then.offset)
    }
}

impl fmt::Display for ChangeMarker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.journal, self.offset, self.git)
    }
}

impl FromStr for ChangeMarker {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut words = text.splitn(3, ' ');
        let mut number = || words.next().unwrap_or_default().parse();
        let (journal, offset) = (number()?, number()?);
        Ok(ChangeMarker { journal, offset, git: words.next().unwrap_or_default().to_owned() })
    }
}

/// The system's time in nanoseconds since 1970, to compare with the times of files. The fixed clock of tests does not apply to
/// files.
pub(crate) fn tick() -> i64 {
    crate::env::system_nanos()
}

/// Acknowledged events of this store that may not be projected yet.
///
/// Errors: `ERR_IO` if the journal cannot be read.
pub(crate) fn pending(ws: &Workspace) -> Result<BTreeMap<Entity, Vec<Entry>>> {
    let mut pending: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for record in pending::pending_records(ws)? {
        for entry in record.entries.into_iter().filter(|e| !e.event.payload.journal_only()) {
            pending.entry(entry.event.entity.clone()).or_default().push(entry);
        }
    }
    Ok(pending)
}

/// The index, updated from the files and the journal.
///
/// Errors: `ERR_IO` if the store cannot be read.
pub fn index(ws: &Workspace) -> Result<Index> {
    sparse::warn_of_left_out(ws);
    match index_as_it_is(ws) {
        Err(e) if database::is_damaged(&e) => {
            discard_index(ws, &e);
            index_as_it_is(ws)
        }
        other => other,
    }
}

fn index_as_it_is(ws: &Workspace) -> Result<Index> {
    let mut index = Index::open(ws.index_path().as_deref(), ws.env.boot())?;
    let now = marker(ws);
    let pending = tasks_of(pending(ws)?);
    if folding(ws, || index.refresh(&ws.store, &pending, tick()))?
        && let Some(now) = now
    {
        index.save_change_marker(&now.to_string());
    }
    Ok(index)
}

/// The index for a change of the plan, and for a question about one task: updated from the journal, and from the files only if git changed any. So the cost of a
/// change does not depend on the size of the plan. A log that was edited by hand since the last query is not noticed; such a
/// change can miss a blocked task or a child, which lint reports.
///
/// Errors: as [`index`].
pub(crate) fn index_for_write(ws: &Workspace) -> Result<Index> {
    let (Some(runtime), Some(now)) = (ws.runtime(), marker(ws)) else { return index(ws) };
    let mut index = Index::open(ws.index_path().as_deref(), ws.env.boot())?;
    let since =
        index.change_marker()?.and_then(|words| words.parse::<ChangeMarker>().ok()).and_then(|then| now.since(&then));
    let touched = since.map(|offset| touched_since(ws, runtime, offset)).transpose()?.flatten();
    match touched {
        Some(ids) => {
            let pending = tasks_of(pending(ws)?);
            let known = pending.keys().copied().filter(|id| !ids.contains(id));
            let ids: Vec<Id> = ids.iter().copied().chain(known).collect();
            // Writing the index costs about as much as the rest of a change.
            if ids.len() <= MOST_LAID {
                folding(ws, || index.overlay(&ws.store, &ids, &pending, tick()))?;
            } else {
                folding(ws, || index.refresh_some(&ws.store, &ids, &pending, tick()))?;
                index.save_change_marker(&now.to_string());
            }
            Ok(index)
        }
        None => {
            let pending = tasks_of(pending(ws)?);
            folding(ws, || index.refresh(&ws.store, &pending, tick()))?;
            index.save_change_marker(&now.to_string());
            Ok(index)
        }
    }
}

/// Reads and folds logs, and counts how long that took.
fn folding<T>(ws: &Workspace, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    ws.env.meter().count_fold(start.elapsed());
    done
}

/// Reports that logs were written without the journal and git, so that the next change checks every file.
pub(crate) fn logs_were_written(ws: &Workspace) {
    if let Ok(index) = Index::open(ws.index_path().as_deref(), ws.env.boot()) {
        index.save_change_marker("");
    }
}

/// Where in the journal stands what the read model does not have yet; `None` if that is not known.
pub(crate) fn current_to(ws: &Workspace, index: &Index) -> Result<Option<u64>> {
    let then = index.change_marker()?.and_then(|words| words.parse::<ChangeMarker>().ok());
    Ok(then.filter(|then| ws.runtime().map(journal::inode) == Some(then.journal)).map(|then| then.offset))
}

fn marker(ws: &Workspace) -> Option<ChangeMarker> {
    let runtime = ws.runtime()?;
    let offset = journal::projected(runtime, ws.env.boot())?;
    let git = ws.repo.as_ref().map(mark_text).unwrap_or_default();
    Some(ChangeMarker { git, journal: journal::inode(runtime), offset })
}

/// Deletes the index, so that the next query rebuilds it.
pub(crate) fn discard_index(ws: &Workspace, why: &Error) {
    tracing::debug!(error = %why, "the index is damaged and is rebuilt");
    if let Some(path) = ws.index_path() {
        database::discard(&path);
    }
}

/// A task with its log and findings.
///
/// Errors: `ERR_NOT_FOUND` if there is none.
pub fn load_task(ws: &Workspace, id: Id) -> Result<LoadedTask> {
    let pending = pending(ws)?.remove(&Entity::Task(id)).unwrap_or_default();
    let loaded = folding(ws, || entity::load_task(&ws.store, id, &pending))?;
    if let Some(odd) = loaded.findings.iter().find(|f| f.rule == Rule::OddFile) {
        let path = odd.path.clone().unwrap_or_default();
        return Err(Error::new(Code::Corrupt, format!("{path}: {}", odd.message))
            .with(json!({ "task": id, "path": path }))
            .hint("agentpm follows no links in a store; look at that path"));
    }
    if loaded.task.version == 0 && loaded.log.foreign.is_empty() {
        return Err(Error::not_found(format!("there is no task {id}")).hint("agentpm task list --all shows all tasks"));
    }
    Ok(loaded)
}

/// The id of the task that an id, a unique prefix or a handle refers to.
///
/// Errors: `ERR_NOT_FOUND`, or `ERR_AMBIGUOUS_ID` with the candidates.
pub fn resolve(ws: &Workspace, reference: &Ref) -> Result<Id> {
    let text = reference.0.to_ascii_uppercase();
    let unknown = || {
        if let Some(id) = dropped(ws, &text) {
            return Error::not_found(format!("task {id} was dropped from the archives"))
                .with(json!({ "task": id, "dropped": true }))
                .hint(format!("{} records it; git history may still hold its events", ws.store.shown(DROPPED)));
        }
        Error::not_found(format!("no task is called {}", quoted(&reference.0)))
            .hint("agentpm task list --all shows ids and handles; a part of an id needs at least 4 characters")
    };
    if !is_part(&text) {
        return Err(unknown());
    }
    let mut found: BTreeSet<Id> = if text.len() == 26 {
        text.parse().ok().filter(|id| is_there(ws, *id)).into_iter().collect()
    } else {
        let mut found = in_shard(ws, &shard_of(&text))?;
        found.retain(|id| id.to_string().ends_with(&text));
        // Ids begin with their time, so until the year 3084 only what begins with 0 can be a prefix.
        if text.starts_with('0') || found.is_empty() {
            let all = archive::all_tasks(&ws.store)?;
            found.extend(all.into_iter().filter(|id| id.to_string().starts_with(&text)));
        }
        found
    };
    if found.is_empty() {
        found = tasks_of(pending(ws)?).into_keys().filter(|id| id.has_part(&text)).collect();
    }
    one_of(found, reference)?.ok_or_else(unknown)
}

/// Whether the events of a task were dropped from the archives.
pub(crate) fn is_dropped(ws: &Workspace, id: Id) -> bool {
    archive::archived(&ws.store).is_ok_and(|archived| archived.dropped.contains(&id))
}

/// The only dropped task that a reference can mean.
fn dropped(ws: &Workspace, text: &str) -> Option<Id> {
    let archived = archive::archived(&ws.store).ok().filter(|_| is_part(text))?;
    let mut found = archived.dropped.iter().filter(|id| id.has_part(text));
    found.next().filter(|_| found.next().is_none()).copied()
}

/// Whether there is a task of this id, in its folder or in an archive.
pub(crate) fn is_there(ws: &Workspace, id: Id) -> bool {
    matches!(ws.store.dir.kind(task_dir(id)), Ok(Some(Kind::Dir)))
        || archive::archived(&ws.store).is_ok_and(|archived| archived.holds(id))
}

/// The tasks in a shard, and the archived ones that belong there.
fn in_shard(ws: &Workspace, shard: &str) -> Result<BTreeSet<Id>> {
    let archived = archive::archived(&ws.store)?;
    let mut found: BTreeSet<Id> =
        archived.archives.iter().flat_map(Archive::tasks).filter(|id| id.is_in_shard(shard)).collect();
    let path = std::path::Path::new(TASKS).join(shard);
    let dir = match ws.store.dir.dir(&path) {
        Ok(dir) => dir,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        Err(e) => return Err(Error::io("open", &ws.store.path().join(&path), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?;
    found.extend(names.iter().filter_map(|(name, _)| name.parse::<Id>().ok()));
    Ok(found)
}

/// The shortest unique handle of a task, of at least six characters.
///
/// Errors: `ERR_IO` if the shard cannot be read.
pub fn handle(ws: &Workspace, id: Id) -> Result<String> {
    Ok(shortest_handle(id, in_shard(ws, &id.shard())?.iter()))
}

/// The state of an agent.
///
/// Errors: `ERR_IO` if its log cannot be read.
pub fn agent_record(ws: &Workspace, name: &str) -> Result<Agent> {
    Ok(load_agent(&ws.store, name)?.0)
}

/// All registered agents, by name.
///
/// Errors: `ERR_IO` if the folder cannot be read.
pub fn agents(ws: &Workspace) -> Result<Vec<Agent>> {
    agent_names(ws)?.iter().map(|name| agent_record(ws, name)).collect()
}

/// The names of the agents that have a folder, sorted.
///
/// Errors: `ERR_IO` if it cannot be read.
pub(crate) fn agent_names(ws: &Workspace) -> Result<Vec<String>> {
    let dir = match ws.store.dir.dir(AGENTS) {
        Ok(dir) => dir,
        // Only a folder registers an agent; lint reports anything else.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || is_odd(&e) => return Ok(Vec::new()),
        Err(e) => return Err(Error::io("open", &ws.store.path().join(AGENTS), &e)),
    };
    let names = dir.list().map_err(|e| Error::io("list", dir.path(), &e))?.into_iter();
    let named = names.filter(|(name, kind)| *kind == Kind::Dir && crate::model::id::check_agent_name(name).is_ok());
    Ok(named.map(|(name, _)| name).collect())
}

/// The state of a session.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` if its record cannot be read.
pub fn session_record(ws: &Workspace, id: Id) -> Result<Option<Session>> {
    Ok(ws.runtime().map(|runtime| records::session(runtime, id)).transpose()?.flatten())
}

/// The lease record of a task: from the journal, with the leases of other clones from its log.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` if the record cannot be read.
pub fn lease_record(ws: &Workspace, task: Id, index: &Index) -> Result<LeaseRecord> {
    lease_record_with(ws, task, index.granted(task)?)
}

/// As [`lease_record`], for a task whose log is loaded.
///
/// Errors: as [`lease_record`].
pub fn lease_record_by_log(ws: &Workspace, loaded: &LoadedTask) -> Result<LeaseRecord> {
    lease_record_with(ws, loaded.task.id, lease::find_logged_grant(&loaded.task, loaded.log.entries.iter()))
}

/// As [`lease_record`], from the journal alone.
///
/// Errors: as [`lease_record`].
pub fn recorded_lease(ws: &Workspace, task: Id) -> Result<LeaseRecord> {
    lease_record_with(ws, task, None)
}

fn lease_record_with(ws: &Workspace, task: Id, granted: Option<LoggedGrant>) -> Result<LeaseRecord> {
    let mut record = ws.runtime().map(|runtime| records::lease(runtime, task)).transpose()?.unwrap_or_default();
    if let Some(granted) = granted {
        lease::merge_grant(&mut record, granted, ws.env.now());
    }
    lease::merge_remote_record(&mut record);
    Ok(record)
}

/// The tasks that the caller holds, by [`crate::rules::held`].
///
/// Errors: `ERR_USAGE` where no agent asks; `ERR_CORRUPT` or `ERR_IO` where a record cannot be read.
pub(crate) fn held(ws: &Workspace, index: &Index) -> Result<Vec<Id>> {
    let me = ws.author()?;
    let owned: BTreeSet<Id> = index.in_progress_of(&me.agent)?.into_iter().collect();
    // What was claimed in another worktree is in progress there, by files that are not here.
    let leased = ws.runtime().map(records::leased_tasks).transpose()?.unwrap_or_default();
    let mut held = Vec::new();
    for id in owned.iter().copied().chain(leased).collect::<BTreeSet<Id>>() {
        let Some(status) = index.status(id)?.filter(|status| !status.is_finished()) else { continue };
        let owner = owned.contains(&id).then_some(me.agent.as_str());
        if is_held(status, owner, &lease_record(ws, id, index)?, &me, ws.env.now()) {
            held.push(id);
        }
    }
    Ok(held)
}

/// All live leases, by task.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` if a record cannot be read.
pub fn live_leases(ws: &Workspace, index: &Index) -> Result<BTreeMap<Id, Lease>> {
    let now = ws.env.now();
    let mut live = BTreeMap::new();
    for (task, lease) in leases(ws, index, |_| true)?.into_iter().filter(|(_, lease)| lease.is_live(now)) {
        // The list of what logs grant leaves out finished tasks; the end of a lease of another clone is in the log alone.
        let grant = if lease.elsewhere { index.granted(task)? } else { None };
        if !grant.is_some_and(|grant| grant.over && grant.lease.id == lease.id) {
            live.insert(task, lease);
        }
    }
    Ok(live)
}

/// The leases of some tasks, live or expired.
fn leases(ws: &Workspace, index: &Index, among: impl Fn(Id) -> bool) -> Result<BTreeMap<Id, Lease>> {
    let recorded = ws.runtime().map(records::leased_tasks).transpose()?.unwrap_or_default();
    let mut granted = index.all_granted()?;
    let tasks: BTreeSet<Id> = recorded.into_iter().chain(granted.keys().copied()).collect();
    let mut leases = BTreeMap::new();
    for task in tasks.into_iter().filter(|task| among(*task)) {
        let record = lease_record_with(ws, task, granted.remove(&task))?;
        leases.extend(record.lease.map(|lease| (task, lease)));
    }
    Ok(leases)
}

/// The unfinished part of the plan.
///
/// Errors: `ERR_IO` if it cannot be read.
pub fn plan(ws: &Workspace, index: &Index) -> Result<Plan> {
    let briefs = index.briefs()?;
    let known: BTreeSet<Id> = briefs.iter().map(|brief| brief.id).collect();
    let leases = leases(ws, index, |task| known.contains(&task))?;
    plan_of(ws, index, briefs, leases)
}

/// As [`plan`], with the leases of ready tasks only: enough to choose a task, but not to explain why others are not ready.
///
/// Errors: `ERR_IO` if it cannot be read.
pub(crate) fn plan_to_claim(ws: &Workspace, index: &Index) -> Result<Plan> {
    let briefs = index.briefs()?;
    let waits = |brief: &&Brief| matches!(brief.status, Status::Open | Status::Blocked);
    let known: BTreeSet<Id> = briefs.iter().filter(waits).map(|brief| brief.id).collect();
    let mut leases = leases(ws, index, |task| known.contains(&task))?;
    // Leases of other clones may have changed since they were seen; they are checked for the chosen task.
    leases.retain(|_, lease| !lease.elsewhere);
    plan_of(ws, index, briefs, leases)
}

fn plan_of(ws: &Workspace, index: &Index, tasks: Vec<Brief>, leases: BTreeMap<Id, Lease>) -> Result<Plan> {
    let mut edges = index.open_edges()?;
    let mut missing = BTreeMap::new();
    let rules = BlockerRules::of(&ws.settings);
    if rules.hold_completed() {
        let mut branch = DefaultBranch::new(ws);
        for (state, edge) in index.finished_blockers()? {
            let has_landed = |at| branch.has_landed(edge.from, at);
            if let Some(what) = readiness::missing(Some(state), rules, has_landed)? {
                missing.insert(edge.from, what);
                edges.push(edge);
            }
        }
    }
    let mut plan = Plan::new(tasks, &edges, leases);
    plan.set_missing(missing);
    if rules.reviewed {
        plan.add_open_children(index.unreviewed_children()?);
    }
    Ok(plan)
}

/// The tasks recorded as blocked that wait for no task, by id.
///
/// Errors: `ERR_IO` if the index cannot be read.
pub(crate) fn freed(ws: &Workspace, index: &Index) -> Result<Vec<Id>> {
    let mut freed = index.freed()?;
    if BlockerRules::of(&ws.settings).hold_completed() && !freed.is_empty() {
        let plan = plan(ws, index)?;
        freed.retain(|id| plan.blockers(*id).is_empty());
    }
    Ok(freed)
}

/// The caller, with role and rights.
///
/// Errors: `ERR_IO` if the agent's log cannot be read.
pub fn viewer_with_rights(ws: &Workspace) -> Result<Viewer> {
    let me = ws.author().ok();
    let role = match (&me, &ws.rights.0) {
        (Some(me), Some(_)) => agent_record(ws, &me.agent)?.role,
        _ => None,
    };
    Ok(Viewer { me, role, rights: ws.rights.clone(), max_attempts: ws.settings.claim.max_attempts })
}

/// A task as JSON with bounded lists and texts.
///
/// Errors: `ERR_IO` if its context cannot be read.
pub(crate) fn show_task_elsewhere(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
) -> Result<TaskView> {
    show_task_to(ws, task, index, elsewhere, Extent::Bounded)
}

/// As [`show_task_elsewhere`], bounded or not.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn show_task_to(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
    extent: Extent,
) -> Result<TaskView> {
    let around = around(ws, task, index, elsewhere)?;
    Ok(TaskView::new(task, &around, extent))
}

/// A new task as JSON. No other task refers to it yet, so the index is not queried.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn show_new_task(ws: &Workspace, task: &Task, blocked_by: Vec<Blocker>) -> Result<TaskView> {
    let score = scored(task, 0).score(&ws.settings.score, ws.env.now());
    let mut around = Around { handle: handle(ws, task.id)?, blocked_by, score: Some(score.score), ..Around::default() };
    // The task is not visible to other processes yet.
    around.ready = reasons(ws, task, &around, None, None)?.is_empty();
    Ok(TaskView::new(task, &around, Extent::Bounded))
}

/// What a single task's view needs from outside its log.
///
/// Errors: as [`show_task_elsewhere`].
pub(crate) fn around(ws: &Workspace, task: &Task, index: &Index, elsewhere: &mut OtherBranches) -> Result<Around> {
    let blocked_by = open_blockers(ws, task, index)?;
    let children = counting_children(task.id, index)?;
    let mut children_done = 0;
    for child in &children {
        children_done += u64::from(!is_open_child(ws, index, *child)?);
    }
    let now = ws.env.now();
    let lease = lease_record(ws, task.id, index)?.lease;
    let mut around = Around {
        handle: handle(ws, task.id)?,
        blocked_by,
        children: children.len() as u64,
        children_done,
        lease: lease.clone().filter(|lease| lease.is_live(now)),
        awaits_review: ws.settings.review.required && task.is_unreviewed(),
        ..Around::default()
    };
    let is_over = task.status.is_finished() && !around.awaits_review;
    let waiting = if is_over { Vec::new() } else { index.dependents(task.id)? };
    for waiting in waiting {
        around.blocking += usize::from(!index.status(waiting)?.is_some_and(Status::is_finished));
    }
    if ws.settings.claim.overlap == Overlap::Refuse {
        around.overlaps = claimed_files::overlaps(ws, index, task.id, &task.fields.files)?;
    }
    if !task.status.is_finished() {
        let depth = depth(task.id, index)?;
        around.score = Some(scored(task, depth).score(&ws.settings.score, now).score);
        around.ready =
            reasons(ws, task, &around, lease.as_ref(), Some(index))?.is_empty() && elsewhere.taken(task.id)?.is_none();
    }
    Ok(around)
}

/// The terms of a task's score; without an index, those that do not depend on other tasks.
///
/// Errors: `ERR_IO` where the index cannot be read.
pub(crate) fn score_terms(ws: &Workspace, task: &Task, index: Option<&Index>) -> Result<Score> {
    let depth = index.map_or(Ok(0), |index| depth(task.id, index))?;
    Ok(scored(task, depth).score(&ws.settings.score, ws.env.now()))
}

fn scored(task: &Task, depth: u64) -> Scored {
    Scored { priority: task.fields.priority, created_at: task.created_at, due: task.fields.due, depth }
}

/// Why the caller cannot claim a task, by this work tree and the leases.
///
/// Errors: `ERR_IO` where the index cannot be read.
pub(crate) fn why_not_ready(
    ws: &Workspace,
    task: &Task,
    index: &Index,
    elsewhere: &mut OtherBranches,
) -> Result<Vec<Reason>> {
    let around = around(ws, task, index, elsewhere)?;
    let mut found = reasons(ws, task, &around, around.lease.as_ref(), Some(index))?;
    if found.is_empty() {
        found.extend(elsewhere.taken(task.id)?);
    }
    Ok(found)
}

fn reasons(
    ws: &Workspace,
    task: &Task,
    around: &Around,
    lease: Option<&Lease>,
    index: Option<&Index>,
) -> Result<Vec<Reason>> {
    let viewer = viewer_with_rights(ws)?;
    let parent = match (task.parent(), index) {
        (None, _) => None,
        (Some(_), Some(index)) => holding_parent(&mut Indexed { ws, index }, task.id, ws.env.now())?,
        (Some(_), None) => holding_parent(&mut AboveNew(ws), task.id, ws.env.now())?,
    };
    let children = around.children - around.children_done;
    let facts = Facts { blockers: &around.blocked_by, children, lease, parent, overlaps: &around.overlaps };
    let mut reasons = readiness::reasons(&task.brief(), facts, &viewer, ws.env.now());
    readiness::add_notes(&mut reasons, task);
    Ok(reasons)
}

/// The tasks that a task waits for, by edges that count.
pub(crate) fn open_blockers(ws: &Workspace, task: &Task, index: &Index) -> Result<Vec<Blocker>> {
    let (rules, mut branch) = (BlockerRules::of(&ws.settings), DefaultBranch::new(ws));
    let mut open = waits(task.blockers(), |id| {
        let state = index.blocker(id)?;
        readiness::missing(state, rules, |at| branch.has_landed(id, at))
    })?;
    if !open.is_empty() && leads_back(task.id, |id| index.dependents(id))? {
        let void = void(index)?;
        open.retain(|blocker| !void.contains(&(RelationType::Blocks, blocker.id, task.id)));
    }
    Ok(open)
}

/// Those of these tasks of which something is missing.
fn waits(ids: Vec<Id>, mut missing: impl FnMut(Id) -> Result<Option<Missing>>) -> Result<Vec<Blocker>> {
    let blocker = |id: Id| Ok(missing(id)?.map(|missing| Blocker { id, missing }));
    ids.into_iter().map(blocker).filter_map(Result::transpose).collect()
}

/// The tasks that a new task waits for, by the files; `written` are those that its command changed.
///
/// Errors: `ERR_GIT` if the default branch of the remote must be read and cannot be.
pub(crate) fn blockers_of_new(
    ws: &Workspace,
    task: &Task,
    written: &BTreeMap<Id, std::rc::Rc<Task>>,
) -> Result<Vec<Blocker>> {
    let (rules, mut branch) = (BlockerRules::of(&ws.settings), DefaultBranch::new(ws));
    waits(task.blockers(), |id| {
        let read = || match load_task(ws, id) {
            Ok(loaded) => Some(BlockerState::from(&loaded.task)),
            Err(_) => is_dropped(ws, id).then_some(BlockerState::DROPPED),
        };
        let state = written.get(&id).map(|task| BlockerState::from(&**task)).or_else(read);
        readiness::missing(state, rules, |at| branch.has_landed(id, at))
    })
}

/// Whether a child counts as unfinished for its parent.
pub(crate) fn is_open_child(ws: &Workspace, index: &Index, child: Id) -> Result<bool> {
    Ok(readiness::is_open_child(index.blocker(child)?, BlockerRules::of(&ws.settings)))
}

/// The children of a task, by edges that count.
fn counting_children(id: Id, index: &Index) -> Result<Vec<Id>> {
    let mut children = index.children(id)?;
    if !children.is_empty() && leads_back(id, |id| index.children(id))? {
        let void = void(index)?;
        children.retain(|child| !void.contains(&(RelationType::ParentOf, id, *child)));
    }
    Ok(children)
}

fn void(index: &Index) -> Result<BTreeSet<(RelationType, Id, Id)>> {
    let edges = index.open_edges()?;
    Ok(void_pairs(&edges, &void_edges(&edges)))
}

/// The tasks of the read model as readiness asks for them.
struct Indexed<'a> {
    ws: &'a Workspace,
    index: &'a Index,
}

impl Surroundings for Indexed<'_> {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let above = |id| Ok(self.index.task(id)?.and_then(|task| task.parent()).into_iter().collect());
        let Some(parent) = self.index.task(id)?.and_then(|task| task.parent()) else { return Ok(None) };
        if self.index.status(parent)?.is_none_or(Status::is_finished) {
            return Ok(None);
        }
        let counts = !leads_back(id, above)? || !void(self.index)?.contains(&(RelationType::ParentOf, parent, id));
        Ok(counts.then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(self.index.task(id)?.and_then(|task| task.fields.defer_until))
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        let Some(task) = self.index.task(id)? else { return Ok(Vec::new()) };
        Ok(open_blockers(self.ws, &task, self.index)?.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let mut open = Vec::new();
        for child in counting_children(id, self.index)? {
            if is_open_child(self.ws, self.index, child)? {
                open.push(child);
            }
        }
        Ok(open)
    }
}

/// The tasks above a new one, from their files. No task can wait for a new one yet, apart from those above it.
struct AboveNew<'a>(&'a Workspace);

impl Surroundings for AboveNew<'_> {
    fn parent(&mut self, id: Id) -> Result<Option<Id>> {
        let Some(parent) = load_task(self.0, id)?.task.parent() else { return Ok(None) };
        Ok((!load_task(self.0, parent)?.task.status.is_finished()).then_some(parent))
    }

    fn defer_until(&mut self, id: Id) -> Result<Option<Time>> {
        Ok(load_task(self.0, id)?.task.fields.defer_until)
    }

    fn blockers(&mut self, id: Id) -> Result<Vec<Id>> {
        let task = load_task(self.0, id)?.task;
        let open = blockers_of_new(self.0, &task, &BTreeMap::new())?;
        Ok(open.into_iter().map(|blocker| blocker.id).collect())
    }

    fn children(&mut self, _: Id) -> Result<Vec<Id>> {
        Ok(Vec::new())
    }

    fn awaits(&mut self, _: Id, _: Id) -> Result<bool> {
        Ok(false)
    }
}

/// Whether a chain of edges that begins at a task leads back to it.
fn leads_back(id: Id, next: impl Fn(Id) -> Result<Vec<Id>>) -> Result<bool> {
    let (mut open, mut seen) = (next(id)?, BTreeSet::new());
    while let Some(task) = open.pop() {
        if task == id {
            return Ok(true);
        }
        if seen.insert(task) {
            open.extend(next(task)?);
        }
    }
    Ok(false)
}

/// The longest chain of unfinished tasks that wait for a task.
fn depth(id: Id, index: &Index) -> Result<u64> {
    let (mut level, mut depth, mut seen) = (vec![id], 0, BTreeSet::from([id]));
    loop {
        let mut next = Vec::new();
        for task in &level {
            for waiting in index.dependents(*task)? {
                if !index.status(waiting)?.is_some_and(Status::is_finished) && seen.insert(waiting) {
                    next.push(waiting);
                }
            }
        }
        if next.is_empty() {
            return Ok(depth);
        }
        depth += 1;
        level = next;
    }
}

/// The caller's standing towards a lease, for messages.
pub fn standing(ws: &Workspace, record: &LeaseRecord) -> Option<lease::Standing> {
    let author = ws.author().ok()?;
    Some(lease::standing(record, &author, ws.env.now()))
}

/// The only candidate, or `None`. Several candidates are `ERR_AMBIGUOUS_ID`.
pub(crate) fn one_of(found: BTreeSet<Id>, reference: &Ref) -> Result<Option<Id>> {
    if found.len() > 1 {
        return Err(Error::new(Code::AmbiguousId, format!("{} fits {} ids", quoted(&reference.0), found.len()))
            .with(json!({ "candidates": found.iter().take(20).collect::<Vec<_>>(), "total": found.len() }))
            .hint("give more characters of the id"));
    }
    Ok(found.first().copied())
}

/// The shortest end of `id`, of at least six characters, that no other of `all` shares.
pub fn shortest_handle<'a>(id: Id, all: impl Iterator<Item = &'a Id>) -> String {
    let text = id.to_string();
    let shared =
        |other: &Id| other.to_string().bytes().rev().zip(text.bytes().rev()).take_while(|(a, b)| a == b).count();
    let longest = all.filter(|other| **other != id).map(shared).max().unwrap_or(0);
    id.handle((longest + 1).max(HANDLE_MIN))
}

/// The shortest handles of all of these ids, as [`shortest_handle`] gives them.
pub(crate) fn handles(ids: &[Id]) -> BTreeMap<Id, String> {
    // Sorted by their reversed text, ids with the longest common suffix are neighbors.
    let mut ends: Vec<(Vec<u8>, Id)> = ids.iter().map(|id| (id.to_string().bytes().rev().collect(), *id)).collect();
    ends.sort_unstable();
    let shared = |a: usize, b: usize| ends[a].0.iter().zip(&ends[b].0).take_while(|(a, b)| a == b).count();
    let handle = |n: usize| {
        let before = if n > 0 { shared(n, n - 1) } else { 0 };
        let after = if n + 1 < ends.len() { shared(n, n + 1) } else { 0 };
        (ends[n].1, ends[n].1.handle((before.max(after) + 1).max(HANDLE_MIN)))
    };
    (0..ends.len()).map(handle).collect()
}

/// The pending events of tasks alone.
pub(crate) fn tasks_of(pending: BTreeMap<Entity, Vec<Entry>>) -> Pending {
    pending
        .into_iter()
        .filter_map(|(entity, entries)| match entity {
            Entity::Task(id) => Some((id, entries)),
            _ => None,
        })
        .collect()
}

/// The tasks of this store that changed since the journal had this length; `None` if the journal was replaced since.
pub(crate) fn touched_since(ws: &Workspace, runtime: &Dir, end: u64) -> Result<Option<Vec<Id>>> {
    if journal::length(runtime) < end {
        return Ok(None);
    }
    let (records, _) = journal::look(runtime, end)?;
    let mut ids = BTreeSet::new();
    for record in records.iter().filter(|record| Some(&record.commit.store) == ws.store_key()) {
        ids.extend(record.entries.iter().filter_map(|e| match e.event.entity {
            Entity::Task(id) => Some(id),
            _ => None,
        }));
    }
    Ok(Some(ids.into_iter().collect()))
}
