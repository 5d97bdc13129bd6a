//! Decides what becomes of threads past their time to live.
//!
//! Leaves to others: the commands on threads (`threads`), and when one is looked for (`engine::commit`).

use super::notes::note;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::{Payload, ThreadEscalated, ThreadResolved};
use crate::model::settings::OnExpiry;
use crate::model::task::Task;
use crate::model::thread::{EXPIRED, Resolution, Thread};
use crate::rules::conditions::accept;
use crate::rules::event_rules::ESCALATE;
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

/// Accepts the proposal whose author has the highest precedence, of several the newest. Proposals of agents that may not decide the
/// thread by what it needs do not count. Returns whether one applied.
fn accept_highest(stage: &mut dyn Stage, id: Id, thread: &Thread) -> Result<bool> {
    let viewer = stage.viewer()?;
    let mut best = None;
    for message in thread.messages().into_iter().filter(|message| !message.patch.is_null()) {
        let role = stage.agent(&message.author)?.role;
        if viewer.rights.missing(thread, &message.author, role.as_deref()).is_some() {
            continue;
        }
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
