//! Accepts proposals, and decides what becomes of threads past their time to live.
//!
//! Leaves to others: the commands on threads (`threads`), and when one is looked for (`engine::commit`).

use serde_json::{Value, json};

use super::notes::note;
use super::refusals::refuse_new_criteria;
use crate::error::{Error, Result};
use crate::model::event::Entity;
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::payload::{Payload, ThreadEscalated, ThreadResolved};
use crate::model::settings::OnExpiry;
use crate::model::task::Task;
use crate::model::thread::{EXPIRED, Resolution, Thread};
use crate::rules::event_rules::ESCALATE;
use crate::rules::patch;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Stage};

/// Records what the settings say about each thread of a task that is past its time to live. An actor without the right leaves
/// this to others.
pub fn expire_threads(stage: &mut dyn Stage, id: Id) -> Result<()> {
    let (task, now) = (stage.task(id)?, stage.now());
    for thread in task.threads.values().filter(|thread| thread.is_expired(now)) {
        let accepts = stage.settings().thread.on_expiry == OnExpiry::AcceptHighest;
        if accepts && stage.require(Verb::Resolve).is_ok() && accept_highest(stage, id, thread)? {
            continue;
        }
        if ESCALATE.iter().any(|verb| stage.require(*verb).is_ok()) {
            let escalated = ThreadEscalated { thread: thread.id, to: escalated_to(stage, &task) };
            note(stage, id, Payload::ThreadEscalated(escalated), Some(EXPIRED.into()))?;
        }
    }
    Ok(())
}

/// Accepts the proposal whose author has the highest precedence, of several the newest. Returns whether one applied.
fn accept_highest(stage: &mut dyn Stage, id: Id, thread: &Thread) -> Result<bool> {
    let viewer = stage.viewer()?;
    let mut best = None;
    for message in thread.messages().into_iter().filter(|message| !message.patch.is_null()) {
        let role = stage.agent(&message.author)?.role;
        let weight = viewer.rights.precedence(&message.author, role.as_deref());
        best = best.max(Some((weight, message.id)));
    }
    let Some((_, message)) = best else { return Ok(false) };
    let mut resolved = ThreadResolved::new(thread.id, Resolution::Accept);
    if accept(&*stage.task(id)?, &mut resolved, Some(message), None).is_err() {
        return Ok(false);
    }
    let payload = Payload::ThreadResolved(resolved);
    stage.emit(Draft { entity: Entity::Task(id), payload, why: Some(EXPIRED.into()), fence: None })?;
    Ok(true)
}

/// The agent that is to decide an escalated thread.
pub fn escalated_to(stage: &dyn Stage, task: &Task) -> Option<String> {
    let settings = &stage.settings().thread;
    task.owner.clone().or_else(|| Some(settings.escalate_to.clone()).filter(|name| !name.is_empty()))
}

/// Adds the accepted proposal, and the values that it gives the task.
pub fn accept(task: &Task, resolved: &mut ThreadResolved, named: Option<Id>, other: Option<&Value>) -> Result<()> {
    let thread = thread_of(task, resolved.thread)?;
    let fits = |message: &crate::model::thread::Message| named.is_none_or(|named| named == message.id);
    let messages = thread.messages();
    let newest = messages.iter().rev().find(|message| fits(message) && (named.is_some() || !message.patch.is_null()));
    let own = newest.map(|message| &message.patch).filter(|patch| !patch.is_null());
    let Some(patch) = other.or(own) else {
        return Err(Error::validation(format!("thread {} proposes no change there", thread.id.handle(HANDLE_MIN)))
            .with(json!({ "task": task.id, "thread": thread.id, "message": named }))
            .hint("name a message with a proposal by --message, or give the change with --patch"));
    };
    resolved.set = patch::apply(task, patch)?;
    refuse_new_criteria(task, &resolved.set)?;
    resolved.patch = patch.clone();
    resolved.message = newest.map(|message| message.id);
    Ok(())
}

/// A thread of a task on the stage.
pub fn thread_of(task: &Task, id: Id) -> Result<&Thread> {
    task.threads.get(&id).ok_or_else(|| Error::not_found(format!("there is no thread {id}")))
}
