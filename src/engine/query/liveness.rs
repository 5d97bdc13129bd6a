//! Liveness: which sessions there are, whose work has gone silent, and which of it others may take over.
//!
//! Guarantees: a session that is heard of counts as alive, whatever the state of its leases; a lease that still runs counts
//! too. Looks only; what is silent is closed by the write path.
//! Leaves to others: when silence is too long (`rules::session`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::agent::{Lease, Session};
use crate::model::id::Id;
use crate::model::query::{SessionList, Stale};
use crate::model::task::{Brief, Status};
use crate::model::time::Time;
use crate::reports::list::List;
use crate::reports::next::{AbandonedTask, OtherSessionTask};
use crate::reports::ready::Plan;
use crate::rules::held::NamedTask;
use crate::rules::lease::is_holder;
use crate::rules::readiness::Viewer;
use crate::rules::session::{is_over, word};
use crate::runtime::records;
use crate::store::index::Index;

/// A task in progress whose agent has fallen silent, or one that a review sent back and its owner has not taken up again.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StaleTask {
    /// The task.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// The agent that works on it.
    pub owner: Option<String>,
    /// The reviewer that sent it back; nothing where it is in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_back_by: Option<String>,
    /// The session of its lease.
    pub session: Option<Id>,
    /// Whether that is `active`, `silent` or `closed`.
    pub session_status: Option<&'static str>,
    /// When its agent was last heard of.
    pub last_sign_at: Time,
    /// The seconds since then.
    pub silent_seconds: i64,
    /// When its lease expired.
    pub lease_expired_at: Option<Time>,
    /// The command that goes on with it, where it is the caller's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub go_on: Option<String>,
}

/// A session, and the tasks it holds.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct SessionView {
    /// Its id.
    pub id: Id,
    /// Its agent.
    pub agent: String,
    /// Whether it is `active`, `silent` or `closed`.
    pub status: &'static str,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub ended_at: Option<Time>,
    /// Whether it was closed for its silence.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fell_silent: bool,
    /// Its last sign of life.
    pub last_heartbeat_at: Time,
    /// Data that the agent keeps with it.
    pub metadata: Value,
    /// The handles of its tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub handle: Vec<String>,
    /// Their titles; `null` where a task is not in this work tree.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub title: Vec<Option<String>>,
    /// Their ids.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Id>,
}

fn status_word(ws: &Workspace, session: Option<&Session>) -> Option<&'static str> {
    session.map(|session| word(session, ws.env.now(), ws.settings.session.limit_ms()))
}

/// The session of a lease, as far as known.
fn session_of(ws: &Workspace, lease: Option<&Lease>) -> Result<Option<Session>> {
    let id = lease.and_then(|lease| lease.session);
    Ok(id.map(|id| read::session_record(ws, id)).transpose()?.flatten())
}

/// When an agent at a task was last heard of.
fn last_sign(updated_at: Time, lease: Option<&Lease>, session: Option<&Session>) -> Time {
    let signs = [lease.map(|lease| lease.updated_at), session.map(|session| session.last_heartbeat_at)];
    signs.into_iter().flatten().fold(updated_at, Time::max)
}

/// `stale`
pub fn stale(ws: &Workspace, q: &Stale) -> Result<List<StaleTask>> {
    let index = read::index(ws)?;
    let now = ws.env.now();
    let span = q.span.map_or(ws.settings.session.limit_ms(), |span| span.millis);
    let own = match ws.author() {
        Ok(_) => own_work(ws, &index)?,
        Err(_) => BTreeMap::new(),
    };
    let mut items = Vec::new();
    // A task that was sent back is its owner's: no other agent is offered it.
    let is_sent_back = |brief: &Brief| brief.sent_back && brief.owner.is_some();
    let may_stand = |brief: &Brief| brief.status == Status::InProgress || is_sent_back(brief);
    for brief in index.briefs()?.into_iter().filter(may_stand) {
        let lease = read::lease_record(ws, brief.id, &index)?.lease;
        let Some(task) = index.task(brief.id)? else { continue };
        let session = session_of(ws, lease.as_ref())?;
        let last = last_sign(task.updated_at, lease.as_ref(), session.as_ref());
        // A lease that expired says it by itself, unless its session is heard of; where a span is asked for, that counts.
        let is_heard = status_word(ws, session.as_ref()) == Some("active");
        let ran_out = lease.is_some() && q.span.is_none() && !is_heard;
        if lease.as_ref().is_some_and(|lease| lease.is_live(now)) || (!ran_out && now.since(last) < span) {
            continue;
        }
        items.push(StaleTask {
            id: brief.id,
            handle: read::handle(ws, brief.id)?,
            title: brief.title,
            owner: brief.owner,
            sent_back_by: (brief.status != Status::InProgress).then(|| task.verified.map(|review| review.by)).flatten(),
            session: lease.as_ref().and_then(|lease| lease.session),
            session_status: status_word(ws, session.as_ref()),
            last_sign_at: last,
            silent_seconds: now.since(last) / 1_000,
            lease_expired_at: lease.map(|lease| lease.expires_at),
            go_on: own.get(&brief.id).cloned(),
        });
    }
    Ok(List::whole(items))
}

/// The caller's own work in progress, with the command that goes on with it: what it holds, and what it has in other sessions.
fn own_work(ws: &Workspace, index: &Index) -> Result<BTreeMap<Id, String>> {
    let held = read::held(ws, index)?;
    let brief = |id: Id| Ok((id, format!("agentpm brief {}", read::handle(ws, id)?)));
    let mut own = held.into_iter().map(brief).collect::<Result<BTreeMap<_, _>>>()?;
    own.extend(other_sessions(ws, index)?.into_iter().map(|other| (other.task.id, other.take_over)));
    Ok(own)
}

/// The tasks that the caller has in progress in other sessions. Without a session it holds them all.
pub fn other_sessions(ws: &Workspace, index: &Index) -> Result<Vec<OtherSessionTask>> {
    let Some(me) = ws.author().ok().filter(|me| me.session.is_some()) else { return Ok(Vec::new()) };
    let leased = ws.runtime().map(records::leased_tasks).transpose()?.unwrap_or_default();
    let mut others = Vec::new();
    for id in leased {
        let lease = read::lease_record(ws, id, index)?.lease;
        let is_own = |lease: &Lease| lease.agent == me.agent && !lease.elsewhere && !is_holder(lease, &me);
        let Some(lease) = lease.filter(is_own) else { continue };
        let Some(task) = index.task(id)?.filter(|task| !task.status.is_finished()) else { continue };
        let session = session_of(ws, Some(&lease))?;
        let session_status = status_word(ws, session.as_ref());
        let handle = read::handle(ws, id)?;
        let claim = format!("agentpm claim {handle}");
        // A session that fell silent may go on while its lease is live.
        let may_go_on = session.as_ref().is_some_and(|session| !is_over(session)) && lease.is_live(ws.env.now());
        let take_over = match lease.session {
            Some(session) if may_go_on || session_status == Some("active") => {
                format!("agentpm session end {session} && {claim}")
            }
            _ => claim,
        };
        let task = NamedTask::new(id, handle, &task.fields.title);
        others.push(OtherSessionTask { task, session: lease.session, session_status, take_over });
    }
    Ok(others)
}

/// `session list`
pub fn sessions(ws: &Workspace, q: &SessionList) -> Result<List<SessionView>> {
    let Some(runtime) = ws.runtime() else { return Ok(List::whole(Vec::new())) };
    let index = read::index(ws)?;
    let mut held: BTreeMap<Id, Vec<Id>> = BTreeMap::new();
    for task in records::leased_tasks(runtime)? {
        let lease = read::lease_record(ws, task, &index)?.lease.filter(|lease| !lease.elsewhere);
        if let Some(session) = lease.and_then(|lease| lease.session) {
            held.entry(session).or_default().push(task);
        }
    }
    let mut items = Vec::new();
    for id in records::sessions(runtime)? {
        let Some(session) = records::session(runtime, id)? else { continue };
        let tasks = held.remove(&id).unwrap_or_default();
        let status = word(&session, ws.env.now(), ws.settings.session.limit_ms());
        if !q.all && status == "closed" && tasks.is_empty() {
            continue;
        }
        let titles = tasks.iter().map(|task| Ok(index.task(*task)?.map(|task| task.fields.title)));
        items.push(SessionView {
            id: session.id,
            agent: session.agent,
            status,
            started_at: session.started_at,
            ended_at: session.ended_at,
            fell_silent: session.fell_silent,
            last_heartbeat_at: session.last_heartbeat_at,
            metadata: session.metadata,
            handle: tasks.iter().map(|task| read::handle(ws, *task)).collect::<Result<_>>()?,
            title: titles.collect::<Result<_>>()?,
            tasks,
        });
    }
    Ok(List::whole(items))
}

/// How many sessions were not ended and silent for longer than the limit, and how much work has gone silent.
pub fn silence(ws: &Workspace) -> Result<(usize, usize)> {
    let Some(runtime) = ws.runtime() else { return Ok((0, 0)) };
    let mut silent = 0;
    for id in records::active_sessions(runtime)? {
        let session = records::session(runtime, id)?;
        silent += usize::from(status_word(ws, session.as_ref()) == Some("silent"));
    }
    Ok((silent, stale(ws, &Stale::default())?.items.len()))
}

/// Work in progress whose lease expired and whose session is silent: its owner, and how to take it over.
pub fn abandoned(ws: &Workspace, index: &Index, plan: &Plan, viewer: &Viewer) -> Result<Vec<AbandonedTask>> {
    let now = ws.env.now();
    let mut items = Vec::new();
    let in_progress = |task: &&Brief| task.status == Status::InProgress;
    for brief in plan.tasks.values().filter(in_progress) {
        let Some(lease) = read::lease_record(ws, brief.id, index)?.lease.filter(|lease| !lease.is_live(now)) else {
            continue;
        };
        let session = session_of(ws, Some(&lease))?;
        let status = status_word(ws, session.as_ref());
        if status == Some("active") {
            continue;
        }
        let handle = read::handle(ws, brief.id)?;
        items.push(AbandonedTask {
            task: brief.id,
            take_over: format!("agentpm claim {handle}"),
            handle,
            title: brief.title.clone(),
            owner: brief.owner.clone(),
            session: lease.session,
            session_status: status,
            mine: brief.owner.as_deref() == viewer.name(),
            last_sign_at: last_sign(lease.updated_at, Some(&lease), session.as_ref()),
            lease_expired_at: lease.expires_at,
        });
    }
    Ok(items)
}
