//! What must hold of a task for an event to be added to it: one definition for the commands, which then emit
//! the event, and for the gate, which asks by the task as the author saw it.
//!
//! Guarantees that each answer follows from the event and its task alone.
//! Leaves to others: rights (`rights`), leases (`lease_bypasses`), moves between states (`moves`), and other tasks.

use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::model::event::Event;
use crate::model::id::{HANDLE_MIN, Id, check_agent_name, quoted};
use crate::model::payload::{Fields, ThreadEscalated, ThreadOpened, ThreadReplied, ThreadResolved};
use crate::model::plain::is_blank;
use crate::model::task::{Status, Task};
use crate::model::thread::{Message, Resolution, Thread};
use crate::rules::event_rules::{Condition, EventRules};
use crate::rules::{fields, patch};

/// Refuses an event that no command adds to a task as it is.
///
/// Errors: those of the command.
pub fn check(task: &Task, event: &Event) -> Result<()> {
    match EventRules::of(&event.payload).condition {
        Condition::Nothing => Ok(()),
        Condition::Text(text, what) => check_words(text, what),
        Condition::Move(to) => check_wait(task, to),
        Condition::Opening(p) => check_opening(task, p),
        Condition::Reply(p) => check_reply(task, p),
        Condition::Resolution(p) => check_resolution(task, p),
        Condition::Escalation(p) => check_escalation(task, p),
    }
}

/// Refuses an empty text. `what` names what has it.
///
/// Errors: `ERR_VALIDATION`.
pub fn check_words(text: &str, what: &str) -> Result<()> {
    if is_blank(text) {
        return Err(Error::validation(format!("{what} needs a text")));
    }
    if text.contains('\0') {
        return Err(Error::validation(format!("{what} must not contain a NUL character")));
    }
    Ok(())
}

/// Refuses to block a task that has no blocker. Whether one is unfinished is for the caller to ask.
fn check_wait(task: &Task, to: Status) -> Result<()> {
    let begins = to == Status::Blocked && task.status != Status::Blocked;
    if begins && task.blockers().is_empty() { Err(unblocked(task)) } else { Ok(()) }
}

/// The refusal to block a task that no unfinished task blocks.
pub fn unblocked(task: &Task) -> Error {
    Error::state(format!("no unfinished task blocks task {}", task.id))
}

/// Refuses to open a thread.
///
/// Errors: `ERR_VALIDATION`; `ERR_CONFLICT` where its proposal does not apply.
pub fn check_opening(task: &Task, p: &ThreadOpened) -> Result<()> {
    check_words(&p.body, "a thread")?;
    let needs = [("need_perm", json!(p.need_perm)), ("need_precedence", json!(p.need_precedence))];
    fields::check(&needs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())?;
    if p.ttl.is_some_and(|ttl| ttl.millis <= 0) {
        return Err(Error::validation("a thread needs a positive time to live"));
    }
    check_proposal(task, &p.patch)
}

/// Refuses a message of a thread.
///
/// Errors: `ERR_VALIDATION`; `ERR_NOT_FOUND`, `ERR_INVALID_STATE` where the thread is not there or resolved; `ERR_CONFLICT` where
/// its proposal does not apply.
pub fn check_reply(task: &Task, p: &ThreadReplied) -> Result<()> {
    let thread = open_thread(task, p.thread)?;
    check_words(&p.body, "a message")?;
    p.parent.map_or(Ok(()), |parent| check_message(thread, parent))?;
    check_proposal(task, &p.patch)
}

/// Refuses a patch that does not apply to the task as it is; `null` is no proposal.
fn check_proposal(task: &Task, patch: &Value) -> Result<()> {
    if patch.is_null() { Ok(()) } else { patch::apply(task, patch).map(|_| ()) }
}

fn check_resolution(task: &Task, p: &ThreadResolved) -> Result<()> {
    let thread = open_thread(task, p.thread)?;
    check_names_successor(p.resolution, p.by.is_some())?;
    check_successor(p)?;
    p.message.map_or(Ok(()), |message| check_message(thread, message))?;
    if p.resolution != Resolution::Accept {
        let is_plain = p.message.is_none() && p.patch.is_null() && p.set.is_empty();
        return if is_plain { Ok(()) } else { Err(Error::validation("only an accepted proposal changes the task")) };
    }
    if p.patch.is_null() && !is_answered(thread) {
        return Err(Error::validation("it names no change"));
    }
    let mut again = ThreadResolved::new(p.thread, p.resolution);
    accept(task, &mut again, p.message, Some(&p.patch).filter(|patch| !patch.is_null()))?;
    if again.set != p.set {
        return Err(Error::validation("the values that it writes are not those of its patch"));
    }
    Ok(())
}

/// Refuses a resolution that names no other thread where one takes the place of the resolved one, or names one where none does.
///
/// Errors: `ERR_USAGE`.
pub fn check_names_successor(resolution: Resolution, names: bool) -> Result<()> {
    if (resolution == Resolution::Supersede) == names {
        return Ok(());
    }
    Err(Error::usage("--by names the thread that takes its place, with --resolution supersede only"))
}

/// Refuses a thread that takes its own place.
///
/// Errors: `ERR_VALIDATION`.
pub fn check_successor(p: &ThreadResolved) -> Result<()> {
    if p.by == Some(p.thread) { Err(Error::validation("a thread cannot take its own place")) } else { Ok(()) }
}

/// Refuses to escalate a thread again, or to no agent.
///
/// Errors: `ERR_VALIDATION`; `ERR_NOT_FOUND`, `ERR_INVALID_STATE` where the thread is not there, resolved or escalated.
pub fn check_escalation(task: &Task, p: &ThreadEscalated) -> Result<()> {
    let thread = open_thread(task, p.thread)?;
    if let Some(escalated) = &thread.escalated {
        let to = escalated.to.as_deref().unwrap_or("no particular agent");
        let handle = thread.id.handle(HANDLE_MIN);
        return Err(Error::state(format!("thread {handle} was escalated to {to} at {}", escalated.at))
            .with(json!({ "task": task.id, "thread": thread.id }))
            .hint(format!("agentpm thread show {} shows it", thread.id)));
    }
    // A hand edit may have left an owner that is none.
    p.to.as_deref().filter(|to| task.owner.as_deref() != Some(*to)).map_or(Ok(()), check_agent_name)
}

/// A thread of a task.
///
/// Errors: `ERR_NOT_FOUND`.
pub fn thread_of(task: &Task, id: Id) -> Result<&Thread> {
    task.threads.get(&id).ok_or_else(|| Error::not_found(format!("there is no thread {id}")))
}

/// A thread of a task that no agent has resolved.
///
/// Errors: `ERR_NOT_FOUND`, `ERR_INVALID_STATE`.
pub fn open_thread(task: &Task, id: Id) -> Result<&Thread> {
    let thread = thread_of(task, id)?;
    let Some(resolved) = &thread.resolved else { return Ok(thread) };
    let status = resolved.resolution.status().as_str();
    let handle = id.handle(HANDLE_MIN);
    Err(Error::state(format!("thread {handle} is {status}: {} resolved it at {}", resolved.by, resolved.at))
        .with(json!({ "task": task.id, "thread": id, "resolution": resolved }))
        .hint(format!("agentpm thread show {id} shows it; agentpm thread open {} opens another", task.id)))
}

/// Refuses a message that is not in a thread.
///
/// Errors: `ERR_NOT_FOUND`.
pub fn check_message(thread: &Thread, message: Id) -> Result<()> {
    if message == thread.id || thread.replies.contains_key(&message) {
        return Ok(());
    }
    Err(Error::not_found(format!("message {message} is in another thread than {}", thread.id))
        .hint(format!("agentpm thread show {} shows the messages of the thread", thread.id)))
}

/// Whether a thread is a question that was answered: it has replies, and no message proposes a change.
fn is_answered(thread: &Thread) -> bool {
    thread.messages().iter().all(|message| message.patch.is_null()) && !thread.replies.is_empty()
}

/// Adds the accepted proposal, and the values that it gives the task: that of the named message, or of the newest one that has
/// one, or another one. Of a question it is the answer, the named or the newest one, which changes nothing.
///
/// Errors: `ERR_VALIDATION` where nothing is proposed, `ERR_CONFLICT` where it does not apply, `ERR_INVALID_STATE` where it asks
/// more of a completed task.
pub fn accept(task: &Task, resolved: &mut ThreadResolved, named: Option<Id>, other: Option<&Value>) -> Result<()> {
    let thread = thread_of(task, resolved.thread)?;
    let fits = |message: &Message| named.is_none_or(|named| named == message.id);
    let messages = thread.messages();
    let newest = messages.iter().rev().find(|message| fits(message) && (named.is_some() || !message.patch.is_null()));
    let own = newest.map(|message| &message.patch).filter(|patch| !patch.is_null());
    let Some(patch) = other.or(own) else {
        let answer = named.or(messages.last().map(|message| message.id)).filter(|answer| *answer != thread.id);
        if is_answered(thread) && answer.is_some() {
            resolved.message = answer;
            return Ok(());
        }
        return Err(Error::validation(format!("thread {} proposes no change there", thread.id.handle(HANDLE_MIN)))
            .with(json!({ "task": task.id, "thread": thread.id, "message": named }))
            .hint("name a message with a proposal by --message, or give the change with --patch; a question is accepted once it has an answer"));
    };
    resolved.set = patch::apply(task, patch)?;
    refuse_new_criteria(task, &resolved.set)?;
    resolved.patch = patch.clone();
    resolved.message = newest.map(|message| message.id);
    Ok(())
}

/// Refuses to add a criterion to a completed task: its completion stands for all that the task asked for.
///
/// Errors: `ERR_INVALID_STATE`.
pub fn refuse_new_criteria(task: &Task, set: &Fields) -> Result<()> {
    let asked = set.get("acceptance").and_then(Value::as_array);
    let is_new = |criterion: &&str| {
        !task.met.contains_key(*criterion) && !task.fields.acceptance.iter().any(|known| known == criterion)
    };
    let new: Vec<&str> = asked.into_iter().flatten().filter_map(Value::as_str).filter(is_new).collect();
    match new.first() {
        Some(first) if task.completed_at.is_some() => {
            Err(completed(task, &format!("it does not meet the new criterion {}", quoted(first))))
        }
        _ => Ok(()),
    }
}

/// The refusal of a change that a completed task must be opened again for.
pub fn completed(task: &Task, why: &str) -> Error {
    Error::state(format!("task {} is completed; {why}", task.id))
        .with(json!({ "task": task.id, "status": task.status }))
        .hint_command(format!("open it again first: agentpm task reopen {} --reason TEXT", task.id))
}

/// The owner that keeps another agent from taking its task: one without a lease that could expire. Work in progress that was
/// abandoned is left.
pub fn owner_before<'t>(
    task: &'t Task,
    agent: &str,
    has_lease: bool,
    is_abandoned: impl FnOnce() -> bool,
) -> Option<&'t str> {
    let owner = task.owner.as_deref().filter(|owner| *owner != agent && !has_lease)?;
    (task.status != Status::InProgress || !is_abandoned()).then_some(owner)
}
