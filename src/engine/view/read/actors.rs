//! Reads agents, sessions and leases: who there is, and who holds what.
//!
//! Leaves to others: what a lease permits (`rules::lease`), and the leases at a remote (`commit::remote`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::context::Workspace;
use crate::env::files::Kind;
use crate::error::{Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, Session};
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::task::{Status, Task};
use crate::rules::held::is_held;
use crate::rules::lease::{self, LoggedGrant, Standing};
use crate::rules::readiness::Viewer;
use crate::runtime::records;
use crate::store::entity::{LoadedTask, is_odd, load_agent};
use crate::store::index::Index;
use crate::store::layout::AGENTS;

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

/// The refusal for the first task that the caller lost to another agent and was not informed of.
///
/// Errors: as [`held`].
pub(crate) fn lost(ws: &Workspace, index: &Index) -> Result<Option<Error>> {
    let me = ws.author()?;
    for id in ws.runtime().map(records::leased_tasks).transpose()?.unwrap_or_default() {
        let refusal = lease::lost_refusal(id, &lease_record(ws, id, index)?, &me);
        if refusal.is_some() && index.status(id)?.is_some_and(|status| !status.is_finished()) {
            return Ok(refusal);
        }
    }
    Ok(None)
}

/// The other agent for which an unfinished task is withheld from changes by the caller: its holder, even if the lease expired, or its
/// owner at work without a lease.
///
/// Errors: as [`lease_record`].
pub(crate) fn other_holder(ws: &Workspace, task: &Task, entries: &[Entry]) -> Result<Option<String>> {
    if task.status.is_finished() {
        return Ok(None);
    }
    let record = lease_record_with(ws, task.id, lease::find_logged_grant(task, entries.iter()))?;
    let owner = || task.owner.clone().filter(|_| task.status == Status::InProgress);
    Ok(match standing(ws, &record) {
        Some(Standing::Others(lease) | Standing::OthersExpired(lease)) => Some(lease.agent),
        Some(Standing::Free) => owner().filter(|owner| ws.agent_name().as_ref() != Some(owner)),
        Some(Standing::Mine(_) | Standing::MineExpired(_)) | None => None,
    })
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
        let is_over = |grant: LoggedGrant| grant.lease.fence > lease.fence || grant.shows_the_end_of(&lease);
        if !grant.is_some_and(is_over) {
            live.insert(task, lease);
        }
    }
    Ok(live)
}

/// The leases of some tasks, live or expired.
pub(super) fn leases(ws: &Workspace, index: &Index, among: impl Fn(Id) -> bool) -> Result<BTreeMap<Id, Lease>> {
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

/// The caller's standing towards a lease, for messages.
pub fn standing(ws: &Workspace, record: &LeaseRecord) -> Option<lease::Standing> {
    let author = ws.author().ok()?;
    Some(lease::standing(record, &author, ws.env.now()))
}
