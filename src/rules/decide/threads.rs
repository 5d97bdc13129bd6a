//! Decides commands on threads: opening, replying, resolving, escalating.
//!
//! A message is no change of the task, so any agent with the right may write one. An accepted proposal is a change like any
//! other: its patch becomes values here, so that the fold needs no patch.
//! Leaves to others: what the resolutions of several clones come to (`rules::fold`).

use serde_json::{Value, json};

use super::expiry::escalated_to;
use super::guard::{held_task, permit_id};
use super::notes::note;
use super::{Subject, decides, index};
use crate::error::{Code, Error, Result};
use crate::model::args::Ref;
use crate::model::command::{Guard, Proposal, ThreadEscalate, ThreadOpen, ThreadReply, ThreadResolve};
use crate::model::event::Entity;
use crate::model::id::{HANDLE_MIN, Id, check_agent_name};
use crate::model::payload::{Payload, ThreadEscalated, ThreadOpened, ThreadReplied, ThreadResolved};
use crate::model::task::Task;
use crate::model::thread::{Resolution, Thread};
use crate::model::time::Time;
use crate::rules::conditions::{
    accept, check_escalation, check_message, check_names_successor, check_opening, check_reply, check_successor,
    open_thread, thread_of,
};
use crate::rules::event_rules::ESCALATE;
use crate::rules::lease::{self, Standing};
use crate::rules::patch;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Part, Stage};

decides! {
    ThreadOpen: index => open,
    ThreadReply: index => reply,
    ThreadResolve: index => resolve,
    ThreadEscalate: index => escalate,
}

/// `thread open`
fn open(stage: &mut dyn Stage, c: &ThreadOpen) -> Result<Subject> {
    stage.require(Verb::Discuss)?;
    let id = held_task(stage, &c.what.task_id)?;
    let opened = ThreadOpened {
        body: c.what.body.0.clone(),
        patch: proposed(&c.proposal, stage.now())?,
        ttl: Some(c.ttl.unwrap_or(stage.settings().thread.ttl)),
        need_perm: c.need_perm.clone(),
        need_precedence: c.need_precedence,
        no_hold: c.no_hold,
    };
    check_opening(&*stage.task(id)?, &opened)?;
    let thread = note(stage, id, Payload::ThreadOpened(opened), None)?;
    Ok(Subject::Thread(id, thread))
}

/// The patch of a proposal; `null` for a message without one.
fn proposed(proposal: &Proposal, now: Time) -> Result<Value> {
    match (&proposal.patch, &proposal.set[..]) {
        (None, []) => Ok(Value::Null),
        (Some(patch), []) => Ok(patch.0.clone()),
        (None, assignments) => patch::set(assignments, now),
        (Some(_), _) => Err(Error::usage("a proposal has a patch or assignments, not both")),
    }
}

/// Finds an open thread, and its task.
fn find_open(stage: &mut dyn Stage, reference: &str) -> Result<(Id, Id)> {
    let (task, id) = stage.part(&Ref(reference.to_owned()), Part::Thread)?;
    open_thread(&*stage.task(task)?, id)?;
    Ok((task, id))
}

/// Finds a message.
fn message(stage: &mut dyn Stage, reference: &Ref) -> Result<Id> {
    stage.part(reference, Part::Message).map(|(_, message)| message)
}

/// `thread reply`
fn reply(stage: &mut dyn Stage, c: &ThreadReply) -> Result<Subject> {
    reply_in(stage, c, None)
}

/// As `thread reply`, for this reason.
pub fn reply_in(stage: &mut dyn Stage, c: &ThreadReply, why: Option<String>) -> Result<Subject> {
    stage.require(Verb::Reply)?;
    let (id, thread) = find_open(stage, &c.what.thread.0)?;
    let parent = c.parent.as_ref().map(|parent| message(stage, parent)).transpose()?;
    let patch = proposed(&c.proposal, stage.now())?;
    let replied = ThreadReplied { thread, parent, body: c.what.body.0.clone(), patch };
    check_reply(&*stage.task(id)?, &replied)?;
    let message = note(stage, id, Payload::ThreadReplied(replied), why)?;
    Ok(Subject::Thread(id, message))
}

/// `thread resolve`
fn resolve(stage: &mut dyn Stage, c: &ThreadResolve) -> Result<Subject> {
    let resolution = c.resolution.0;
    let accepts = resolution == Resolution::Accept;
    if !accepts && (c.message.is_some() || c.patch.is_some()) {
        return Err(Error::usage("--message and --patch belong to --resolution accept"));
    }
    check_names_successor(resolution, c.by.is_some())?;
    let (id, thread_id) = find_open(stage, &c.thread.0)?;
    let task = stage.task(id)?;
    let thread = thread_of(&task, thread_id)?;
    let authority = authority(stage, &task, thread, resolution)?;
    let by = c.by.as_ref().map(|by| stage.part(by, Part::Thread)).transpose()?.map(|(_, by)| by);
    let mut resolved = ThreadResolved { by, ..ThreadResolved::new(thread_id, resolution) };
    check_successor(&resolved)?;
    let named = c.message.as_ref().map(|named| message(stage, named)).transpose()?;
    named.map_or(Ok(()), |named| check_message(thread, named))?;
    let why = c.why.as_ref().map(|why| why.0.clone());
    let mut fence = None;
    if accepts {
        if let Authority::Decider(verb) = authority {
            // The change of the task is the decider's own, under the lease.
            fence = permit_id(stage, id, &Guard::default(), verb)?.lease.map(|lease| lease.fence);
        }
        accept(&*stage.task(id)?, &mut resolved, named, c.patch.as_ref().map(|patch| &patch.0))?;
    }
    stage.emit(Draft { entity: Entity::Task(id), payload: Payload::ThreadResolved(resolved), why, fence })?;
    Ok(Subject::Thread(id, thread_id))
}

/// As whom an agent resolves a thread.
enum Authority {
    /// As the one whose decision it is, with this right: the lease holder, else the owner, else an agent with the right to
    /// resolve.
    Decider(Verb),
    /// As an agent that stands above the holder, or as the author of the thread.
    Other,
}

/// Refuses an agent that may not resolve a thread.
fn authority(stage: &mut dyn Stage, task: &Task, thread: &Thread, resolution: Resolution) -> Result<Authority> {
    let me = stage.me().clone();
    if resolution == Resolution::Reject && thread.author == me.agent && stage.require(Verb::Discuss).is_ok() {
        return Ok(Authority::Other);
    }
    let viewer = stage.viewer()?;
    let (name, role) = (me.agent.as_str(), viewer.role.as_deref());
    if let Some(lack) = viewer.rights.missing(thread, name, role) {
        return Err(unauthorized(task, thread, format!("it needs {lack}, which {name} lacks")));
    }
    let decider = decider(stage, task)?;
    if decider.as_ref() == Some(&me.agent) {
        let verb = if stage.require(Verb::Resolve).is_ok() { Verb::Resolve } else { Verb::Update };
        return match stage.require(verb) {
            Ok(()) => Ok(Authority::Decider(verb)),
            Err(_) => stage.require(Verb::Resolve).map(|()| Authority::Other),
        };
    }
    stage.require(Verb::Resolve)?;
    // Where no agent holds or owns the task, the right suffices.
    let Some(decider) = decider else { return Ok(Authority::Decider(Verb::Resolve)) };
    let their_role = stage.agent(&decider)?.role;
    let weight = |agent: &str, role: Option<&str>| viewer.rights.precedence(agent, role);
    if weight(name, role) > weight(&decider, their_role.as_deref()) {
        return Ok(Authority::Other);
    }
    Err(unauthorized(
        task,
        thread,
        format!("{decider} decides it, or an agent with the right resolve and a higher precedence than {decider}"),
    ))
}

/// The agent that decides the threads of a task: the lease holder, else the owner.
fn decider(stage: &mut dyn Stage, task: &Task) -> Result<Option<String>> {
    let (me, now) = (stage.me().clone(), stage.now());
    Ok(match lease::standing(&stage.lease(task.id)?, &me, now) {
        Standing::Mine(_) | Standing::MineExpired(_) => Some(me.agent),
        Standing::Others(other) | Standing::OthersExpired(other) if !task.status.is_finished() => Some(other.agent),
        Standing::Others(_) | Standing::OthersExpired(_) | Standing::Free => task.owner.clone(),
    })
}

/// Refuses to pass a thread on to an agent that may not resolve it.
fn refuse_undecided(stage: &mut dyn Stage, task: &Task, thread: &Thread, to: &str) -> Result<()> {
    check_agent_name(to)?;
    let (viewer, role, decider) = (stage.viewer()?, stage.agent(to)?.role, decider(stage, task)?);
    let (rights, role) = (&viewer.rights, role.as_deref());
    let may = |verb: Verb| rights.has_perm(to, role, verb.as_str());
    let is_decider = decider.as_deref() == Some(to);
    let has_right = may(Verb::Resolve) || (is_decider && may(Verb::Update));
    let why = if let Some(lack) = rights.missing(thread, to, role) {
        Some(format!("it needs {lack}, which {to} lacks"))
    } else if !has_right {
        Some(format!("{to} lacks the right resolve"))
    } else if let Some(other) = decider.as_ref().filter(|_| !is_decider) {
        let their_role = stage.agent(other)?.role;
        let is_above = rights.precedence(to, role) > rights.precedence(other, their_role.as_deref());
        (!is_above).then(|| format!("{other} decides it, or an agent with a higher precedence than {other}"))
    } else {
        None
    };
    let Some(why) = why else { return Ok(()) };
    let handle = thread.id.handle(HANDLE_MIN);
    Err(Error::new(Code::Unauthorized, format!("{to} may not resolve thread {handle}: {why}"))
        .with(json!({ "task": task.id, "thread": thread.id, "to": to }))
        .hint(format!("agentpm thread reply {} --body '@{to} …' asks {to} for an opinion", thread.id)))
}

fn unauthorized(task: &Task, thread: &Thread, why: String) -> Error {
    let handle = thread.id.handle(HANDLE_MIN);
    Error::new(Code::Unauthorized, format!("you may not resolve thread {handle}: {why}"))
        .with(json!({ "task": task.id, "thread": thread.id }))
        .hint(format!("agentpm thread escalate {} passes it on", thread.id))
}

/// `thread escalate`
fn escalate(stage: &mut dyn Stage, c: &ThreadEscalate) -> Result<Subject> {
    if !ESCALATE.iter().any(|verb| stage.require(*verb).is_ok()) {
        stage.require(Verb::Discuss)?;
    }
    let (id, thread) = find_open(stage, &c.thread.0)?;
    let task = stage.task(id)?;
    if let Some(to) = &c.to {
        refuse_undecided(stage, &task, thread_of(&task, thread)?, to)?;
    }
    let to = c.to.clone().or_else(|| escalated_to(stage, &task));
    let escalated = ThreadEscalated { thread, to };
    check_escalation(&task, &escalated)?;
    note(stage, id, Payload::ThreadEscalated(escalated), c.why.clone().map(|why| why.0))?;
    Ok(Subject::Thread(id, thread))
}
