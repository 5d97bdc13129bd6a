//! The effect of each event on a task.
//!
//! Guarantees that an event takes effect whole or not at all, and then says why not. No match on the type has a default.
//! Leaves to others: the order of events, and which of several writers of a register counts (`rules::fold`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::event::Event;
use crate::model::id::Id;
use crate::model::payload::{self, Payload};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Met, SourceMemory, Status, Task, Verified};
use crate::model::thread::{Escalated, Message, Resolution, Resolved, Thread};
use crate::model::time::Time;
use crate::rules::copies::first;
use crate::rules::event_rules::status_of;
use crate::rules::fields::{self, Loose};
use crate::rules::lease;

/// What is derived once, after the last event.
#[derive(Clone, Copy, Default)]
pub struct Pending {
    /// The maps that were written.
    pub fields: Loose,
    /// A parent edge was removed, so that the parent must be chosen from the remaining ones.
    pub parent: bool,
    /// The event has seen all earlier ones, although the log is forked.
    pub sees_all: bool,
}

/// Why an event has no effect.
pub enum Skip {
    /// This version does not know its type.
    Unknown,
    /// For this reason.
    Because(String),
}

impl From<String> for Skip {
    fn from(why: String) -> Self {
        Skip::Because(why)
    }
}

/// Applies an event to a task, or leaves the task as it is.
pub fn effect(task: &mut Task, event: &Event, pending: &mut Pending) -> Result<(), Skip> {
    match &event.payload {
        Payload::TaskCreated(p) => created(task, event, p, &mut pending.fields),
        Payload::TaskUpdated(p) => updated(task, event, p, &mut pending.fields),
        Payload::TaskStatusChanged(p) => status_changed(task, event, p),
        Payload::TaskArchived(_) => archived(task, event),
        Payload::TaskReopened(p) => reopened(task, event, p),
        Payload::RelationshipAdded(p) => relationship_added(task, event, p),
        Payload::RelationshipRemoved(p) => relationship_removed(task, p, pending),
        Payload::ProgressItemAdded(p) => progress_added(task, event, p),
        Payload::ProgressItemCompleted(p) => progress_moved(task, event, p.item, true),
        Payload::ProgressItemReopened(p) => progress_moved(task, event, p.item, false),
        Payload::ContextAdded(p) => context_added(task, event, p),
        Payload::ContextSuperseded(p) => context_superseded(task, event, p),
        Payload::ContextRedacted(p) => context_redacted(task, p),
        Payload::AcceptanceMet(p) => acceptance_met(task, event, p),
        Payload::TaskVerified(_) => verified(task, event),
        Payload::SourceApplied(p) => source_applied(task, event, p),
        Payload::LeaseAcquired(p) => lease_acquired(task, p),
        Payload::LeaseReleased(_) | Payload::LeaseOverride(_) => Ok(()),
        Payload::ThreadOpened(p) => thread_opened(task, event, p),
        Payload::ThreadReplied(p) => thread_replied(task, event, p),
        Payload::ThreadResolved(p) => thread_resolved(task, event, p, pending),
        Payload::ThreadEscalated(p) => thread_escalated(task, event, p),
        Payload::Unknown { .. } => Err(Skip::Unknown),
        Payload::AgentRegistered(_)
        | Payload::AgentUpdated(_)
        | Payload::Broadcast(_)
        | Payload::LeaseRenewed(_)
        | Payload::SessionStarted(_)
        | Payload::SessionHeartbeat(_)
        | Payload::SessionEnded(_) => Err(Skip::Because("it does not belong in a task's log".into())),
    }
}

/// Notes the last writer of a register.
pub fn stamp(task: &mut Task, register: &str, event: &Event) {
    task.stamps.insert(register.to_owned(), event.stamp());
}

fn created(task: &mut Task, event: &Event, p: &payload::TaskCreated, loose: &mut Loose) -> Result<(), Skip> {
    if task.created {
        return Err(Skip::Because("the task was created before".into()));
    }
    let mut set = p.fields.clone();
    let created_at = take::<Time>(&mut set, "created_at")?;
    take::<Status>(&mut set, "status")?;
    let owner = take::<String>(&mut set, "owner")?;
    refuse_reserved(&set)?;
    fields::write_loosely(&mut task.fields, &set, loose)?;
    // Fields from before the creation in order are older and are overwritten, field by field.
    task.stamps.retain(|register, _| !set.contains_key(register));
    set_status(task, event);
    task.owner = owner;
    task.created = true;
    task.created_at = created_at.unwrap_or(event.at);
    task.created_by = event.author.agent.clone();
    Ok(())
}

fn take<T: serde::de::DeserializeOwned>(set: &mut payload::Fields, name: &str) -> Result<Option<T>, Skip> {
    match set.shift_remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value).map(Some).map_err(|e| Skip::Because(format!("{name}: {e}"))),
    }
}

/// Names that have a key of their own in the file cannot be fields as well.
fn refuse_reserved(set: &payload::Fields) -> Result<(), Skip> {
    match set.keys().find(|name| fields::RESERVED.contains(&name.as_str())) {
        Some(name) => Err(Skip::Because(format!("{name} is not a plain field"))),
        None => Ok(()),
    }
}

fn updated(task: &mut Task, event: &Event, p: &payload::TaskUpdated, loose: &mut Loose) -> Result<(), Skip> {
    let mut set = p.set.clone();
    let owner = set.shift_remove("owner");
    refuse_reserved(&set)?;
    let owner = match owner {
        None => None,
        Some(Value::Null) => Some(None),
        Some(Value::String(name)) => Some(Some(name)),
        Some(other) => return Err(Skip::Because(format!("owner: {other} is not a name"))),
    };
    fields::write_loosely(&mut task.fields, &set, loose)?;
    if set.contains_key("metadata") {
        // Metadata written as a whole keeps no earlier entries.
        task.stamps.retain(|register, _| !register.starts_with("metadata."));
    }
    for register in set.keys() {
        stamp(task, register, event);
    }
    if let Some(owner) = owner {
        task.owner = owner;
        stamp(task, "owner", event);
    }
    Ok(())
}

fn status_changed(task: &mut Task, event: &Event, p: &payload::TaskStatusChanged) -> Result<(), Skip> {
    if p.to == Status::Archived {
        return Err(Skip::Because("a task is archived by TaskArchived".into()));
    }
    set_status(task, event);
    stamp(task, "status", event);
    if let Some(owner) = &p.owner {
        task.owner.clone_from(owner);
        stamp(task, "owner", event);
    }
    Ok(())
}

/// Whether an event repeats the status of a completed task, takes it out of the archive or puts it there: its author has not completed
/// it, and its review stands.
pub fn continues_completion(event: &Event) -> bool {
    let again = |p: &payload::TaskStatusChanged| {
        p.to == Status::Completed && matches!(p.from, Status::Completed | Status::Archived)
    };
    matches!(&event.payload, Payload::TaskStatusChanged(p) if again(p))
        || matches!(&event.payload, Payload::TaskArchived(p) if p.completed_at.is_some())
}

/// Sets the status of an event, and the times that depend on it.
pub fn set_status(task: &mut Task, event: &Event) {
    (task.completed_at, task.cancelled_at, task.archived_at) = (None, None, None);
    let (completed_by, completion) = (task.completed_by.take(), task.completion.take());
    if let Payload::TaskStatusChanged(p) = &event.payload {
        let at = p.changed_at.unwrap_or(event.at);
        task.completed_at = (p.to == Status::Completed).then_some(at);
        let repeats = continues_completion(event) && completion.is_some();
        (task.completed_by, task.completion) = match p.to {
            Status::Completed if repeats => (completed_by.clone(), completion),
            Status::Completed => (Some(event.author.agent.clone()), Some(event.id)),
            Status::Open | Status::InProgress | Status::Blocked | Status::Cancelled | Status::Archived => (None, None),
        };
        task.cancelled_at = (p.to == Status::Cancelled).then_some(at);
    }
    if let Payload::TaskArchived(p) = &event.payload {
        (task.completed_at, task.cancelled_at, task.archived_at) = (p.completed_at, p.cancelled_at, Some(event.at));
        if p.completed_at.is_some() {
            (task.completed_by, task.completion) = (completed_by, completion);
        }
    }
    task.status = status_of(event).unwrap_or_default();
}

fn archived(task: &mut Task, event: &Event) -> Result<(), Skip> {
    set_status(task, event);
    stamp(task, "status", event);
    Ok(())
}

fn reopened(task: &mut Task, event: &Event, p: &payload::TaskReopened) -> Result<(), Skip> {
    if !matches!(p.to, Status::Open | Status::Blocked) {
        return Err(Skip::Because(format!("a task cannot be reopened as {}", p.to)));
    }
    set_status(task, event);
    stamp(task, "status", event);
    Ok(())
}

fn relationship_added(task: &mut Task, event: &Event, p: &payload::RelationshipAdded) -> Result<(), Skip> {
    if p.kind.home(p.from, p.to) != task.id {
        return Err(Skip::Because("the edge belongs in the other task's log".into()));
    }
    if p.from == p.to {
        return Err(Skip::Because("a task cannot be related to itself".into()));
    }
    if task.removed.contains(&event.id) {
        return Ok(());
    }
    let edge = Relationship {
        id: event.id,
        kind: p.kind,
        from: p.from,
        to: p.to,
        metadata: p.metadata.clone(),
        created_at: p.created_at.unwrap_or(event.at),
        lamport: event.lamport,
    };
    task.relationships.insert(edge.id, edge);
    if p.kind == RelationType::ParentOf {
        stamp(task, "parent", event);
    }
    Ok(())
}

fn relationship_removed(task: &mut Task, p: &payload::RelationshipRemoved, pending: &mut Pending) -> Result<(), Skip> {
    // A removal counts even before the edge is known: it wins over all concurrent events.
    task.removed.insert(p.relationship);
    let removed = task.relationships.remove(&p.relationship);
    pending.parent |= removed.is_some_and(|edge| edge.kind == RelationType::ParentOf);
    Ok(())
}

fn progress_added(task: &mut Task, event: &Event, p: &payload::ProgressItemAdded) -> Result<(), Skip> {
    let item = ProgressItem {
        id: event.id,
        content: p.content.clone(),
        completed: p.completed_at.is_some(),
        created_at: p.created_at.unwrap_or(event.at),
        completed_at: p.completed_at,
    };
    task.progress.insert(item.id, item);
    Ok(())
}

/// Completes or reopens a step, by an event that did so or added it.
pub fn set_progress(item: &mut ProgressItem, event: &Event, completed: bool) {
    item.completed = completed;
    item.completed_at = completed.then_some(event.at);
    if let Payload::ProgressItemAdded(p) = &event.payload {
        item.completed_at = p.completed_at.filter(|_| completed);
    }
}

fn progress_moved(task: &mut Task, event: &Event, item: Id, completed: bool) -> Result<(), Skip> {
    let item = first(&task.copies, item);
    let found =
        task.progress.get_mut(&item).ok_or_else(|| Skip::Because(format!("there is no progress item {item}")))?;
    set_progress(found, event, completed);
    stamp(task, &format!("progress.{item}"), event);
    Ok(())
}

fn context_added(task: &mut Task, event: &Event, p: &payload::ContextAdded) -> Result<(), Skip> {
    let entry = ContextEntry {
        id: event.id,
        kind: p.kind,
        content: p.content.clone(),
        author: event.author.agent.clone(),
        metadata: p.metadata.clone(),
        superseded_by: None,
        redacted: false,
        created_at: p.created_at.unwrap_or(event.at),
    };
    task.context.insert(entry.id, entry);
    Ok(())
}

fn context_entry(task: &mut Task, id: Id) -> Result<&mut ContextEntry, Skip> {
    let id = first(&task.copies, id);
    task.context.get_mut(&id).ok_or_else(|| Skip::Because(format!("there is no context entry {id}")))
}

fn context_superseded(task: &mut Task, event: &Event, p: &payload::ContextSuperseded) -> Result<(), Skip> {
    let by = first(&task.copies, p.by);
    if by == first(&task.copies, p.entry) || !task.context.contains_key(&by) {
        return Err(Skip::Because(format!("{by} is no newer entry")));
    }
    let entry = context_entry(task, p.entry)?;
    entry.superseded_by = Some(by);
    let register = format!("context.{}", entry.id);
    stamp(task, &register, event);
    Ok(())
}

fn context_redacted(task: &mut Task, p: &payload::ContextRedacted) -> Result<(), Skip> {
    let entry = context_entry(task, p.entry)?;
    entry.content.clear();
    entry.metadata = Value::Null;
    entry.redacted = true;
    Ok(())
}

/// Marks a criterion as met or unmet.
pub fn set_met(task: &mut Task, criterion: &str, event: &Event, met: bool) {
    if met {
        task.met.insert(criterion.to_owned(), Met { at: event.at, by: event.author.agent.clone() });
    } else {
        task.met.remove(criterion);
    }
}

fn acceptance_met(task: &mut Task, event: &Event, p: &payload::AcceptanceMet) -> Result<(), Skip> {
    set_met(task, &p.criterion, event, p.met);
    stamp(task, &format!("met.{}", p.criterion), event);
    Ok(())
}

/// Records the review of an event.
pub fn set_verified(task: &mut Task, event: &Event) {
    if let Payload::TaskVerified(p) = &event.payload {
        let by = event.author.agent.clone();
        task.verified = Some(Verified { passed: p.passed, at: event.at, by, completion: p.completion });
    }
}

fn verified(task: &mut Task, event: &Event) -> Result<(), Skip> {
    set_verified(task, event);
    stamp(task, "verified", event);
    Ok(())
}

/// The last application in order counts as a whole: it is one statement of the source.
fn source_applied(task: &mut Task, event: &Event, p: &payload::SourceApplied) -> Result<(), Skip> {
    let memory = SourceMemory { key: p.key.clone(), said: p.said.clone(), event: event.id };
    task.sources.insert(p.source.clone(), memory);
    Ok(())
}

fn thread_opened(task: &mut Task, event: &Event, p: &payload::ThreadOpened) -> Result<(), Skip> {
    let thread = Thread {
        id: event.id,
        author: event.author.agent.clone(),
        body: p.body.clone(),
        patch: p.patch.clone(),
        hold: !p.no_hold,
        ttl: p.ttl,
        need_perm: p.need_perm.clone(),
        need_precedence: p.need_precedence,
        created_at: event.at,
        replies: BTreeMap::new(),
        resolved: None,
        overruled: Vec::new(),
        escalated: None,
    };
    task.threads.insert(thread.id, thread);
    Ok(())
}

fn thread(task: &mut Task, id: Id) -> Result<&mut Thread, Skip> {
    task.threads.get_mut(&id).ok_or_else(|| Skip::Because(format!("there is no thread {id}")))
}

fn thread_replied(task: &mut Task, event: &Event, p: &payload::ThreadReplied) -> Result<(), Skip> {
    let message = Message {
        id: event.id,
        parent: p.parent,
        author: event.author.agent.clone(),
        body: p.body.clone(),
        patch: p.patch.clone(),
        created_at: event.at,
    };
    thread(task, p.thread)?.replies.insert(message.id, message);
    Ok(())
}

/// Resolves a thread. Of resolutions that may not have seen each other, the fold chooses after the last event.
fn thread_resolved(
    task: &mut Task,
    event: &Event,
    p: &payload::ThreadResolved,
    pending: &mut Pending,
) -> Result<(), Skip> {
    let saw = pending.sees_all || !task.forked;
    if let Some(earlier) = thread(task, p.thread)?.resolved.as_ref().filter(|_| saw) {
        return Err(Skip::Because(format!("event {} resolved the thread before", earlier.event)));
    }
    if p.resolution == Resolution::Accept {
        refuse_reserved(&p.set)?;
        if p.set.contains_key("metadata") {
            return Err(Skip::Because("a proposal writes the entries of the metadata one by one".into()));
        }
        fields::write_loosely(&mut task.fields, &p.set, &mut pending.fields)?;
        for register in p.set.keys() {
            stamp(task, register, event);
        }
    }
    let thread = thread(task, p.thread)?;
    if thread.resolved.is_none() {
        set_resolution(thread, event);
    }
    Ok(())
}

/// Makes an event the resolution of a thread.
pub fn set_resolution(thread: &mut Thread, event: &Event) {
    if let Payload::ThreadResolved(p) = &event.payload {
        thread.resolved = Some(Resolved {
            event: event.id,
            resolution: p.resolution,
            by: event.author.agent.clone(),
            at: event.at,
            message: p.message,
            superseded_by: p.by,
            why: event.why.clone(),
        });
    }
}

/// The first escalation in order counts; two clones may record one each.
fn thread_escalated(task: &mut Task, event: &Event, p: &payload::ThreadEscalated) -> Result<(), Skip> {
    let thread = thread(task, p.thread)?;
    thread.escalated.get_or_insert_with(|| Escalated { to: p.to.clone(), at: event.at });
    Ok(())
}

fn lease_acquired(task: &mut Task, p: &payload::LeaseAcquired) -> Result<(), Skip> {
    if p.fence > task.fence && !lease::is_sound(p.fence, task.fence) {
        return Err(Skip::Because(format!("fence {} is too far above {}", p.fence, task.fence)));
    }
    task.fence = task.fence.max(p.fence);
    Ok(())
}
