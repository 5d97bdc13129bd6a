//! The fold: computes a task from the events of its log.
//!
//! Guarantees that it is total, pure, and independent of the order in which the events are given. An event counts whole or
//! not at all, and each one that does not count has a finding. Of several writers of a value, `rules::writers` selects the
//! one that counts. Nothing here fails or reads the clock.
//! Leaves to others: files, other tasks, and whether a command would have been allowed.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::model::agent::Agent;
use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::event::{Entity, Entry, Event, MAX_LAMPORT, MAX_LAMPORT_JUMP};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::{self, Payload};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Met, Status, Task, Verified};
use crate::model::time::Time;
use crate::rules::copies::{HandEdits, first, is_hand_edit};
use crate::rules::fields::{self, Loose};
use crate::rules::lease;
use crate::rules::register;
use crate::rules::writers::{AppliedEvent, Effect, Registers, contests};

/// The events of one log in their order, without those that cannot count.
#[derive(Debug, Default)]
pub struct EventOrder<'a> {
    /// Events that may have an effect, in order, each id once.
    pub events: Vec<&'a Entry>,
    /// The findings about the excluded events.
    pub findings: Vec<Finding>,
    /// The ids of all events of the log, including excluded ones.
    pub ids: BTreeSet<Id>,
}

/// Sorts the events of one entity's log.
///
/// Excludes copies of the same line, and lines that share an id but differ, unless one is the redaction of the other.
/// Excludes events of other entities, and events whose Lamport time is out of bounds.
pub fn order<'a>(entity: &Entity, entries: impl IntoIterator<Item = &'a Entry>) -> EventOrder<'a> {
    let mut out = EventOrder::default();
    let mut by_id: Vec<&Entry> = entries.into_iter().collect();
    by_id.sort_by_key(|entry| entry.event.id);
    out.ids = by_id.iter().map(|entry| entry.event.id).collect();
    let redacted = redactions(by_id.iter().copied());
    let mut kept: Vec<&Entry> = Vec::with_capacity(by_id.len());
    for copies in by_id.chunk_by(|a, b| a.event.id == b.event.id) {
        let id = &copies[0].event.id;
        match choose(copies, redacted.contains(id)) {
            Some(entry) => kept.push(entry),
            None => out.findings.push(
                Finding::new(Rule::EventConflict, format!("{} different events have the id {id}", copies.len()))
                    .event(*id),
            ),
        }
    }
    kept.retain(|entry| {
        let here = entry.event.entity == *entity;
        if !here {
            let message = format!("event {} belongs to {}, not to {entity}", entry.event.id, entry.event.entity);
            out.findings.push(Finding::new(Rule::EventMisplaced, message).event(entry.event.id));
        }
        here
    });
    kept.sort_by_key(|entry| entry.event.stamp());
    quarantine(&mut kept, &mut out.findings);
    out.events = kept;
    out
}

/// Context entries whose text was removed.
fn redactions<'a>(entries: impl Iterator<Item = &'a Entry>) -> BTreeSet<Id> {
    entries
        .filter_map(|entry| match &entry.event.payload {
            Payload::ContextRedacted(p) => Some(p.entry),
            _ => None,
        })
        .collect()
}

/// The copy of an event that counts: all copies are equal, or one is the other without its text.
fn choose<'a>(copies: &[&'a Entry], redacted: bool) -> Option<&'a Entry> {
    let first = copies[0];
    if copies.iter().all(|c| c.line == first.line) {
        return Some(first);
    }
    if !redacted {
        return None;
    }
    copies.iter().copied().find(|c| matches!(&c.event.payload, Payload::ContextAdded(p) if p.content.is_empty()))
}

/// Drops events whose Lamport time exceeds JSON's integers, or is too far above their parents' (0 if none is here). Reports
/// those that are not above a parent. `kept` is sorted, so that a parent is checked before its children.
fn quarantine(kept: &mut Vec<&Entry>, findings: &mut Vec<Finding>) {
    let mut sound: HashMap<Id, u64> = HashMap::with_capacity(kept.len());
    let mut ahead = Vec::new();
    kept.retain(|entry| {
        let event = &entry.event;
        ahead.extend(
            event.parents.iter().filter(|parent| !sound.contains_key(parent)).map(|parent| (event.id, *parent)),
        );
        let base = event.parents.iter().filter_map(|p| sound.get(p)).max().copied().unwrap_or(0);
        if event.lamport <= MAX_LAMPORT && event.lamport - base.min(event.lamport) <= MAX_LAMPORT_JUMP {
            sound.insert(event.id, event.lamport);
            return true;
        }
        let message = format!("event {} has the Lamport time {}, too far above its parents", event.id, event.lamport);
        findings.push(Finding::new(Rule::EventQuarantined, message).event(event.id));
        false
    });
    findings.extend(ahead.into_iter().filter(|(_, parent)| sound.contains_key(parent)).map(|(event, parent)| {
        let message = format!("event {event} names {parent} as its parent, which does not come before it");
        Finding::new(Rule::EventParents, message).event(event)
    }));
}

/// Folds the events of one task.
pub fn fold<'a>(id: Id, entries: impl IntoIterator<Item = &'a Entry>) -> (Task, Vec<Finding>) {
    let ordered = order(&Entity::Task(id), entries);
    let mut folding = Folding::new(id);
    let mut findings = ordered.findings;
    for entry in &ordered.events {
        findings.extend(folding.apply(&entry.event));
    }
    let task = folding.finish();
    let headless = !task.created && task.version > 0;
    // The parents of the first event are what a log without its beginning lacks.
    findings.extend(gaps(&ordered.events[usize::from(headless)..], &ordered.ids));
    if task.created {
        findings.extend(rootless(&ordered.events));
    }
    if headless {
        findings.push(Finding::new(Rule::LogHeadless, format!("the log of task {id} has no TaskCreated")));
    }
    for finding in &mut findings {
        finding.task = Some(id);
    }
    (task, findings)
}

/// Events whose parents are not here: events between them were lost. Excluded events are not lost.
fn gaps(events: &[&Entry], here: &BTreeSet<Id>) -> Vec<Finding> {
    let lost = |event: &Event| event.parents.iter().find(|parent| !here.contains(parent)).copied();
    let gap = |event: &Event, parent: Id| {
        Finding::new(Rule::LogGap, format!("event {} follows {parent}, which is not in this log", event.id))
            .event(event.id)
    };
    events.iter().filter_map(|entry| lost(&entry.event).map(|parent| gap(&entry.event, parent))).collect()
}

/// Events without parents that do not create the task: what their authors had seen cannot be determined.
fn rootless(events: &[&Entry]) -> Vec<Finding> {
    let events = events.iter().map(|entry| &entry.event);
    let rootless = events.filter(|event| event.parents.is_empty() && !matches!(event.payload, Payload::TaskCreated(_)));
    let finding = |event: &Event| {
        Finding::new(
            Rule::EventParents,
            format!("event {} has no parents, although its task was created before", event.id),
        )
        .event(event.id)
    };
    rootless.map(finding).collect()
}

/// The earliest wall-clock time that does not indicate a broken clock: 2000-01-01.
const SANE_FROM: i64 = 946_684_800_000;
/// The latest wall-clock time that does not indicate a broken clock: 2200-01-01.
const SANE_TO: i64 = 7_258_118_400_000;

/// A fold in progress. The cost of applying an event does not grow with the number of earlier ones.
#[derive(Clone)]
pub struct Folding<'e> {
    task: Task,
    heads: BTreeSet<Id>,
    pending: Pending,
    taken: Vec<AppliedEvent<'e>>,
    hand_edits: HandEdits,
}

/// What is derived once, after the last event.
#[derive(Clone, Copy, Default)]
struct Pending {
    fields: Loose,
    /// A parent edge was removed, so that the parent must be chosen from the remaining ones.
    parent: bool,
}

impl<'e> Folding<'e> {
    /// Begins with a task of which only the id is known.
    pub fn new(id: Id) -> Self {
        let (heads, pending, hand_edits) = (BTreeSet::new(), Pending::default(), HandEdits::default());
        Folding { task: Task::blank(id), heads, pending, taken: Vec::new(), hand_edits }
    }

    /// Applies the next event in order; returns a finding if it had no effect.
    pub fn apply(&mut self, event: &'e Event) -> Option<Finding> {
        for parent in &event.parents {
            self.heads.remove(parent);
        }
        self.task.forked |= !self.heads.is_empty();
        self.heads.insert(event.id);
        if self.hand_edits.repeats(event, &mut self.task.copies) {
            count(&mut self.task, event);
            self.taken.push(AppliedEvent { event, effect: Effect::None });
            return None;
        }
        let finding = take_event(&mut self.task, event, &mut self.pending);
        self.taken.push(AppliedEvent { event, effect: effect_of(finding.as_ref()) });
        finding
    }

    /// The events that were applied, each with its effect.
    pub fn taken(&self) -> &[AppliedEvent<'e>] {
        &self.taken
    }

    /// The task that results from the events.
    pub fn finish(mut self) -> Task {
        self.task.heads = self.heads.into_iter().collect();
        derive_rest(&mut self.task, &self.pending);
        // Otherwise the last writer is the one that counts.
        if self.task.forked {
            decide(&mut self.task, &self.taken);
        }
        self.task
    }
}

/// The effect of an event, by the finding that it left.
fn effect_of(finding: Option<&Finding>) -> Effect {
    match finding.map(|finding| finding.rule) {
        None | Some(Rule::EventTime) => Effect::Counts,
        Some(Rule::EventFenced) => Effect::Fenced,
        Some(_) => Effect::None,
    }
}

/// Whether an event can be applied without the others. It has seen all events of the task. It sets no status that may decide
/// which of several owners counts. And it is not a hand edit that another clone may have recorded too.
pub fn is_plain(task: &Task, event: &Event) -> bool {
    let sees_all = task.heads.iter().all(|head| event.parents.contains(head));
    sees_all && !(task.forked && register::status_of(event).is_some()) && !is_hand_edit(event)
}

/// Applies the next event in order, of those that [need no others](is_plain). Always leaves a consistent task; returns a
/// finding if it had no effect. [`Folding`] applies any event.
pub fn apply(task: &mut Task, event: &Event) -> Option<Finding> {
    task.heads = vec![event.id];
    let mut pending = Pending::default();
    let finding = take_event(task, event, &mut pending);
    derive_rest(task, &pending);
    finding
}

fn derive_rest(task: &mut Task, pending: &Pending) {
    fields::sort_maps(&mut task.fields, pending.fields);
    if pending.parent {
        let edges = task.relationships.values().filter(|edge| edge.kind == RelationType::ParentOf);
        match edges.map(Relationship::stamp).max() {
            Some(stamp) => task.stamps.insert("parent".into(), stamp),
            None => task.stamps.remove("parent"),
        };
    }
}

/// Sets the registers that have several concurrent writers to the value that counts.
fn decide(task: &mut Task, taken: &[AppliedEvent<'_>]) {
    let mut loose = Loose::default();
    for contest in contests(taken, task, Registers::Decided) {
        if let Some(winner) = contest.winner {
            assign(task, &contest.register, &winner.value, taken[winner.place].event, &mut loose);
        }
    }
    fields::sort_maps(&mut task.fields, loose);
}

/// Sets one register to the value that an event wrote.
fn assign(task: &mut Task, register: &str, value: &Value, event: &Event, loose: &mut Loose) {
    match register {
        "status" => set_status(task, event),
        "owner" => task.owner = value.as_str().map(str::to_owned),
        "verified" => set_verified(task, event),
        "parent" if value.is_null() => return,
        "parent" => {}
        other => {
            if !assign_part(task, other, value, event) {
                let set = payload::Fields::from_iter([(other.to_owned(), value.clone())]);
                // The value fitted when the event was applied, so it fits again.
                let _ = fields::write_loosely(&mut task.fields, &set, loose);
            }
        }
    }
    let is_whole = |p: &payload::TaskUpdated| !p.set.contains_key(register) && p.set.contains_key("metadata");
    match &event.payload {
        Payload::TaskCreated(_) => drop(task.stamps.remove(register)),
        // The stamp of the whole metadata covers this one.
        Payload::TaskUpdated(p) if is_whole(p) => drop(task.stamps.remove(register)),
        _ => stamp(task, register, event),
    }
}

/// Sets a register of a part of the task. Returns whether the register is one.
fn assign_part(task: &mut Task, register: &str, value: &Value, event: &Event) -> bool {
    let Some((begin, rest)) = register.split_once('.') else { return false };
    match begin {
        "progress" => {
            let item = rest.parse().ok().and_then(|id| task.progress.get_mut(&id));
            if let Some(item) = item {
                set_progress(item, event, value == &Value::Bool(true));
            }
        }
        "context" => {
            let entry = rest.parse().ok().and_then(|id| task.context.get_mut(&id));
            if let Some(entry) = entry {
                entry.superseded_by = value.as_str().and_then(|id| id.parse().ok());
            }
        }
        "met" => set_met(task, rest, event, value == &Value::Bool(true)),
        _ => return false,
    }
    true
}

/// Updates what every event changes, with an effect or without.
fn count(task: &mut Task, event: &Event) {
    task.version += 1;
    task.lamport = task.lamport.max(event.lamport);
    task.updated_at = event.at;
}

fn take_event(task: &mut Task, event: &Event, pending: &mut Pending) -> Option<Finding> {
    count(task, event);
    if let Some(fence) = event.fence.filter(|fence| *fence < task.fence && is_void_when_lost(&event.payload)) {
        let message = format!(
            "{} by {} under fence {fence} came after fence {} was granted",
            event.payload.kind(),
            event.author.agent,
            task.fence
        );
        return Some(Finding::new(Rule::EventFenced, message).event(event.id));
    }
    match effect(task, event, pending) {
        Ok(()) if !(SANE_FROM..SANE_TO).contains(&event.at.millis()) => {
            Some(Finding::new(Rule::EventTime, format!("event {} is dated {}", event.id, event.at)).event(event.id))
        }
        Ok(()) => None,
        Err(Skip::Unknown) => {
            let message = format!("event {} has the unknown type {:?}", event.id, event.payload.kind());
            Some(Finding::new(Rule::EventUnknown, message).event(event.id))
        }
        Err(Skip::Because(why)) => {
            let message = format!("{} {} has no effect: {why}", event.payload.kind(), event.id);
            Some(Finding::new(Rule::EventIneffective, message).event(event.id))
        }
    }
}

/// Why an event has no effect.
enum Skip {
    Unknown,
    Because(String),
}

impl From<String> for Skip {
    fn from(why: String) -> Self {
        Skip::Because(why)
    }
}

/// Whether an event is a change that a holder makes under its lease, unlike one that any agent may make, such as a note.
pub fn is_fenced(payload: &Payload) -> bool {
    matches!(
        payload,
        Payload::TaskUpdated(_)
            | Payload::TaskStatusChanged(_)
            | Payload::TaskArchived(_)
            | Payload::TaskReopened(_)
            | Payload::AcceptanceMet(_)
            | Payload::TaskVerified(_)
    )
}

/// Whether an event is void under a lost lease. Finished work counts: a completion and a met criterion stay, as notes and
/// progress do.
pub fn is_void_when_lost(payload: &Payload) -> bool {
    let is_done = match payload {
        Payload::TaskStatusChanged(p) => p.to == Status::Completed,
        Payload::AcceptanceMet(p) => p.met,
        _ => false,
    };
    is_fenced(payload) && !is_done
}

fn effect(task: &mut Task, event: &Event, pending: &mut Pending) -> Result<(), Skip> {
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
        Payload::LeaseAcquired(p) => lease_acquired(task, p),
        Payload::LeaseReleased(_) | Payload::LeaseOverride(_) => Ok(()),
        Payload::Unknown { .. } => Err(Skip::Unknown),
        Payload::AgentRegistered(_)
        | Payload::AgentUpdated(_)
        | Payload::LeaseRenewed(_)
        | Payload::SessionStarted(_)
        | Payload::SessionHeartbeat(_)
        | Payload::SessionEnded(_)
        | Payload::TaskReady(_) => Err(Skip::Because("it does not belong in a task's log".into())),
    }
}

/// Notes the last writer of a register.
fn stamp(task: &mut Task, register: &str, event: &Event) {
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

/// Sets the status of an event, and the times that depend on it.
fn set_status(task: &mut Task, event: &Event) {
    (task.completed_at, task.cancelled_at, task.archived_at) = match &event.payload {
        Payload::TaskStatusChanged(p) => {
            let at = p.changed_at.unwrap_or(event.at);
            ((p.to == Status::Completed).then_some(at), (p.to == Status::Cancelled).then_some(at), None)
        }
        Payload::TaskArchived(p) => (p.completed_at, p.cancelled_at, Some(event.at)),
        _ => (None, None, None),
    };
    task.status = register::status_of(event).unwrap_or_default();
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
fn set_progress(item: &mut ProgressItem, event: &Event, completed: bool) {
    let added = match &event.payload {
        Payload::ProgressItemAdded(p) => p.completed_at,
        _ => Some(event.at),
    };
    item.completed = completed;
    item.completed_at = added.filter(|_| completed);
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

fn set_met(task: &mut Task, criterion: &str, event: &Event, met: bool) {
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

fn set_verified(task: &mut Task, event: &Event) {
    if let Payload::TaskVerified(p) = &event.payload {
        task.verified = Some(Verified { passed: p.passed, at: event.at, by: event.author.agent.clone() });
    }
}

fn verified(task: &mut Task, event: &Event) -> Result<(), Skip> {
    set_verified(task, event);
    stamp(task, "verified", event);
    Ok(())
}

fn lease_acquired(task: &mut Task, p: &payload::LeaseAcquired) -> Result<(), Skip> {
    if p.fence > task.fence && !lease::is_sound(p.fence, task.fence) {
        return Err(Skip::Because(format!("fence {} is too far above {}", p.fence, task.fence)));
    }
    task.fence = task.fence.max(p.fence);
    Ok(())
}

/// Folds the events of one agent.
pub fn fold_agent<'a>(name: &str, entries: impl IntoIterator<Item = &'a Entry>) -> (Agent, Vec<Finding>) {
    let ordered = order(&Entity::Agent(name.to_owned()), entries);
    let mut agent = Agent::blank(name);
    let mut findings = ordered.findings;
    let mut heads = BTreeSet::new();
    for entry in ordered.events {
        let event = &entry.event;
        for parent in &event.parents {
            heads.remove(parent);
        }
        heads.insert(event.id);
        agent.version += 1;
        agent.lamport = agent.lamport.max(event.lamport);
        match &event.payload {
            Payload::AgentRegistered(p) | Payload::AgentUpdated(p) => agent.learn(p, event.stamp(), event.at),
            other => {
                let message = format!("{} {} has no effect on an agent", other.kind(), event.id);
                findings.push(Finding::new(Rule::EventIneffective, message).event(event.id));
            }
        }
    }
    agent.heads = heads.into_iter().collect();
    (agent, findings)
}
