//! `undo`: emits new events that revert the changes of one event.
//!
//! The changes of an event are known exactly: each register it wrote had a value among the events its author had seen. A
//! register that was written again since is skipped and reported.
//! Leaves to others: undoing all events of a request (`saga`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::guard::{Permit, permit_id, unblock_if_free};
use super::put::{PutOptions, put, verb};
use super::status::cancel;
use super::tasks::{add_edge, block_if_bound, check_waits};
use super::{Needs, PlanNeed, Subject, decides};
use crate::error::{Code, Error, Result};
use crate::model::args::{Ref, Text};
use crate::model::command::Undo;
use crate::model::event::{Entity, Entry, Event};
use crate::model::id::{Id, quoted};
use crate::model::payload::{Payload, RelationshipRemoved};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::rules::event_rules::{EventRules, UndoRule, is_undo_of, undo_reason, writes};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;
use crate::rules::writers::{AppliedEvent, Contest, Effect, Registers, contests};
use crate::rules::{fold, register};

decides! {
    Undo: undo_needs => undo,
}

fn undo_needs(c: &Undo) -> Needs<'_> {
    Needs { plan: PlanNeed::Index, event: Some(&c.event), ..Needs::default() }
}

/// `undo`
fn undo(stage: &mut dyn Stage, c: &Undo) -> Result<Subject> {
    let (task, id) = stage.event(&Ref(c.event.0.clone()))?;
    let why = undo_reason(id, c.guard.why.as_ref().map(|why| why.0.as_str()));
    let right = stage.history(task)?.iter().find(|e| e.event.id == id).map_or(Verb::Update, |e| right(&e.event));
    let permit = permit_id(stage, task, &c.guard, right)?.because(Some(why));
    let history = stage.history(task)?;
    let effective = EffectiveEvents::of(task, &history);
    let event = effective.effective(id)?;
    refuse_what_cannot_be_undone(task, event)?;
    let before = fold::fold(task, &register::below(&history, &seen_by(&history, event))).0;
    let recorded = Forced::of(task, &register::below(&history, &seen_by(&history, event)));
    let (force, overlaps) = (c.force.as_ref(), c.guard.override_reason.as_ref());
    let how = PutOptions { force, overlaps, before: Some(&before) };
    let (values, mut left) = effective.values_before(&before, &*stage.task(task)?, event);
    for (name, value) in &values {
        stage.require(verb(name, value))?;
    }
    let creates = matches!(event.payload, Payload::TaskCreated(_));
    let edge = (creates && revert_creation(stage, &permit, event, &effective)?)
        || revert_edge(stage, &permit, event, &before)?;
    put_back(stage, &permit, &values, recorded.as_ref(), how)?;
    if values.is_empty() && !edge {
        if left.is_empty() {
            let undo = history.iter().rev().map(|entry| &entry.event).find(|other| is_undo_of(other, id));
            left.push(match undo {
                Some(undo) => format!("{} undid it already (event {})", undo.author.agent, undo.id),
                None => "everything already has its value from before".into(),
            });
        }
        return Err(Error::new(
            Code::Conflict,
            format!("undoing event {id} would change nothing: {}", left.join("; ")),
        )
        .with(json!({ "task": task, "event": id, "left": left }))
        .hint(format!("agentpm log {task} shows the later events; agentpm blame {task} shows which values count")));
    }
    for words in left {
        stage.warn(words);
    }
    Ok(Subject::Task(task))
}

/// What the move to a status of a task overrode, with the reason that was given.
pub(super) struct Forced {
    reason: Text,
    checks: Vec<String>,
}

impl Forced {
    /// The override by which a task got its status, if there was one; `history` ends there.
    pub fn of(task: Id, history: &[Entry]) -> Option<Self> {
        let effective = EffectiveEvents::of(task, history);
        let event = effective.counting_writer("status")?;
        let Payload::TaskStatusChanged(p) = &event.payload else { return None };
        let reason = Text(event.why.clone().filter(|_| !p.forced.is_empty())?);
        Some(Forced { reason, checks: p.forced.clone() })
    }
}

/// Sets registers to earlier values. A move that was forced is forced again for the reason that was recorded, and overrides no
/// more than it did.
pub(super) fn put_back(
    stage: &mut dyn Stage,
    permit: &Permit,
    values: &[(String, Value)],
    forced: Option<&Forced>,
    how: PutOptions,
) -> Result<()> {
    let Some(forced) = forced.filter(|_| how.force.is_none()) else { return put(stage, permit, values, how) };
    let known = stage.task(permit.id)?.lamport;
    put(stage, permit, values, PutOptions { force: Some(&forced.reason), ..how })?;
    for entry in stage.history(permit.id)?.iter().filter(|entry| entry.event.lamport > known) {
        let Payload::TaskStatusChanged(p) = &entry.event.payload else { continue };
        if let Some(check) = p.forced.iter().find(|check| !forced.checks.contains(check)) {
            let (id, reason) = (permit.id, quoted(&forced.reason.0));
            return Err(Error::state(format!("task {id} would override its {check}, which {reason} did not"))
                .with(json!({ "task": id, "check": check })));
        }
    }
    Ok(())
}

/// The right that undoing an event requires.
fn right(event: &Event) -> Verb {
    match EventRules::of(&event.payload).undo {
        UndoRule::With(verb) => verb,
        UndoRule::Refused(_) | UndoRule::Record(_) => Verb::Comment,
    }
}

/// The effective events of a task, in order.
pub(super) struct EffectiveEvents<'a> {
    task: Id,
    pub events: Vec<&'a Event>,
    parents: BTreeSet<Id>,
    copies: BTreeMap<Id, Id>,
    /// The writers that count of the registers with several.
    winners: BTreeMap<String, Id>,
    /// The registers of which a value lost to one that its writer had not seen.
    disputed: BTreeSet<String>,
    taken: Vec<AppliedEvent<'a>>,
    now: Task,
}

impl<'a> EffectiveEvents<'a> {
    pub fn of(id: Id, history: &'a [Entry]) -> Self {
        let folding = fold::Folding::of(id, &fold::order(&Entity::Task(id), history).events);
        let taken = folding.taken().to_vec();
        let events = taken.iter().filter(|one| one.effect == Effect::Counts).map(|one| one.event).collect();
        let parents = register::parent_edges(history.iter().map(|e| &e.event));
        let task = folding.finish();
        let winner = |contest: Contest| Some((contest.register, taken[contest.winner?.place].event.id));
        let contests = contests(&taken, &task, Registers::All);
        let is_disputed = |contest: &&Contest| contest.losers.iter().any(|(loser, _)| loser.void.is_none());
        let disputed = contests.iter().filter(is_disputed).map(|contest| contest.register.clone()).collect();
        let winners = contests.into_iter().filter_map(winner).collect();
        EffectiveEvents { task: id, events, parents, copies: task.copies.clone(), winners, disputed, taken, now: task }
    }

    /// The value that a register has without some events, where it is one that lost to theirs. `None` where none did, and for the
    /// status and the parent, which only moves restore.
    pub fn value_without(&self, name: &str, is_undone: impl Fn(&Event) -> bool) -> Option<Value> {
        if !self.disputed.contains(name) || matches!(name, "status" | "parent") {
            return None;
        }
        let without = |one: &AppliedEvent<'a>| match is_undone(one.event) {
            true => AppliedEvent { effect: Effect::None, ..*one },
            false => *one,
        };
        let taken: Vec<AppliedEvent> = self.taken.iter().map(without).collect();
        let left = contests(&taken, &self.now, Registers::All).into_iter().find(|contest| contest.register == name);
        if let Some(contest) = left {
            return contest.winner.map(|winner| winner.value);
        }
        let written = |one: &AppliedEvent| {
            let all = writes(one.event, &self.parents, &self.copies).into_iter();
            all.filter(|(other, _)| other == name).map(|(_, value)| value).next()
        };
        taken.iter().rev().filter(|one| one.effect == Effect::Counts).find_map(written)
    }

    fn effective(&self, id: Id) -> Result<&'a Event> {
        self.events.iter().copied().find(|event| event.id == id).ok_or_else(|| {
            Error::state(format!("event {id} has no effect, so there is nothing to undo"))
                .with(json!({ "task": self.task, "event": id }))
                .hint("agentpm lint reports why it has none")
        })
    }

    /// The earlier values of the registers that an event wrote, if they differ from the present ones; and messages about
    /// those that were written again since.
    fn values_before(&self, before: &Task, now: &Task, event: &Event) -> (Vec<(String, Value)>, Vec<String>) {
        let (mut values, mut left) = (Vec::new(), Vec::new());
        if matches!(event.payload, Payload::TaskCreated(_)) || EventRules::of(&event.payload).adds_entry {
            return (values, left);
        }
        let all = writes(event, &self.parents, &self.copies);
        let moves = all.iter().any(|(name, _)| name == "status");
        for (name, written) in all {
            // An owner that came with a status goes with it.
            let lost =
                if moves && name == "owner" { None } else { self.value_without(&name, |one| one.id == event.id) };
            let prior = lost.unwrap_or_else(|| register::value(before, &name));
            let again = self.counting_writer(&name).filter(|last| last.id != event.id);
            if let Some(last) = again {
                let (agent, id) = (&last.author.agent, last.id);
                let what = if is_undo_of(last, event.id) { "undone already" } else { "written again" };
                left.push(format!("{name} was {what} by {agent} (event {id}) and is skipped"));
            } else if prior != register::value(now, &name) && prior != written {
                values.push((name, prior));
            }
        }
        let moves = values.iter().any(|(name, _)| name == "status");
        if now.status == Status::InProgress && !moves {
            values.retain(|(name, prior)| {
                let keeps = name == "owner" && prior.is_null();
                if keeps {
                    left.push("owner is skipped, since a task in progress has one".into());
                }
                !keeps
            });
        }
        (values, left)
    }

    /// The registers that an event wrote.
    pub fn registers(&self, event: &Event) -> Vec<String> {
        writes(event, &self.parents, &self.copies).into_iter().map(|(name, _)| name).collect()
    }

    /// Whether an event wrote a register, or one that overlaps with it.
    pub fn has_written(&self, event: &Event, name: &str) -> bool {
        writes(event, &self.parents, &self.copies).iter().any(|(other, _)| register::overlap(name, other))
    }

    /// The writers of a register in order, up to the one that counts. Those after it had not seen it, and lost.
    pub fn counting_writers(&self, name: &str) -> Vec<&'a Event> {
        let mut written: Vec<&Event> =
            self.events.iter().copied().filter(|event| self.has_written(event, name)).collect();
        let winner = self.winners.get(name).and_then(|id| written.iter().position(|event| event.id == *id));
        written.truncate(winner.map_or(written.len(), |place| place + 1));
        written
    }

    /// The writer of a register that counts.
    pub fn counting_writer(&self, name: &str) -> Option<&'a Event> {
        self.counting_writers(name).pop()
    }
}

/// The events that the author of an event had seen. A new parent is set by removing the old one and adding the new one:
/// undoing the second step goes back to before the first.
pub(super) fn seen_by(history: &[Entry], event: &Event) -> Vec<Id> {
    let mut seen = event.parents.clone();
    let names_parent = matches!(&event.payload, Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf);
    let parents = register::parent_edges(history.iter().map(|e| &e.event));
    while names_parent && let [one] = seen[..] {
        let step = history.iter().map(|e| &e.event).find(|e| e.id == one).filter(|step| {
            let removes = matches!(&step.payload, Payload::RelationshipRemoved(p) if parents.contains(&p.relationship));
            removes && (step.at, &step.author, &step.why) == (event.at, &event.author, &event.why)
        });
        match step {
            Some(step) => seen.clone_from(&step.parents),
            None => break,
        }
    }
    seen
}

fn refuse_what_cannot_be_undone(task: Id, event: &Event) -> Result<()> {
    let (UndoRule::Refused(hint) | UndoRule::Record(hint)) = EventRules::of(&event.payload).undo else {
        return Ok(());
    };
    let hint = hint.replace("{event}", &event.id.to_string()).replace("{task}", &task.to_string());
    Err(Error::state(format!("{} {} cannot be undone", event.payload.kind(), event.id))
        .with(json!({ "task": task, "event": event.id, "type": event.payload.kind() }))
        .hint(hint))
}

/// Undoes a creation. A task is never deleted but cancelled, unless others built on it. Returns whether anything changed.
fn revert_creation(
    stage: &mut dyn Stage,
    permit: &Permit,
    creation: &Event,
    effective: &EffectiveEvents,
) -> Result<bool> {
    if stage.task(permit.id)?.status.is_finished() {
        return Ok(false);
    }
    stage.require(Verb::Cancel)?;
    refuse_what_others_built(stage, creation, effective)?;
    cancel(stage, permit, None)?;
    Ok(true)
}

/// Refuses to undo the creation of a task that another agent changed, that has an open task below it, or that an unfinished one
/// waits for.
fn refuse_what_others_built(stage: &mut dyn Stage, creation: &Event, effective: &EffectiveEvents) -> Result<()> {
    let (id, me) = (effective.task, stage.me().agent.clone());
    let is_of_others =
        |event: &&&Event| is_change(event) && ![&me, &creation.author.agent].contains(&&event.author.agent);
    let mut why = effective
        .events
        .iter()
        .find(is_of_others)
        .map(|event| format!("{} changed the task since (event {})", event.author.agent, event.id));
    for child in stage.children(id)? {
        if why.is_none() && !stage.task(child)?.status.is_finished() {
            why = Some(format!("task {child} is below it and stays open"));
        }
    }
    for other in stage.dependents(id)? {
        let waiting = stage.task(other)?;
        if why.is_none() && !waiting.status.is_finished() && waiting.blockers().contains(&id) {
            why = Some(format!("task {other} waits for it"));
        }
    }
    let Some(why) = why else { return Ok(()) };
    Err(Error::new(Code::Conflict, format!("undoing event {} would cancel task {id}: {why}", creation.id))
        .with(json!({ "task": id, "event": creation.id, "left": [why] }))
        .hint_command(format!("agentpm cancel {id} --why TEXT cancels it for a reason")))
}

/// Whether an event changes a value by itself, beyond what follows from the blockers of the task.
pub(super) fn is_change(event: &Event) -> bool {
    matches!(EventRules::of(&event.payload).undo, UndoRule::With(_)) && !follows_blockers(event)
}

/// Whether an event only records that the blockers of a task are finished, or are not.
pub(super) fn follows_blockers(event: &Event) -> bool {
    matches!(&event.payload, Payload::TaskStatusChanged(p) if p.forced.is_empty()
        && matches!((p.from, p.to), (Status::Blocked, Status::Open) | (Status::Open, Status::Blocked)))
}

/// Undoes the addition or removal of a relationship, except for a parent, which is a register. Returns whether anything
/// changed.
pub(super) fn revert_edge(stage: &mut dyn Stage, permit: &Permit, event: &Event, before: &Task) -> Result<bool> {
    let now = stage.task(permit.id)?;
    if matches!(&event.payload, Payload::RelationshipAdded(p) if p.kind != RelationType::ParentOf) {
        if !now.relationships.contains_key(&event.id) {
            return Ok(false);
        }
        stage.require(Verb::Relate)?;
        permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship: event.id }))?;
        unblock_if_free(stage, permit.id)?;
        return Ok(true);
    }
    let Payload::RelationshipRemoved(p) = &event.payload else { return Ok(false) };
    let Some(old) = before.relationships.get(&p.relationship).filter(|e| e.kind != RelationType::ParentOf) else {
        return Ok(false);
    };
    let same = |e: &Relationship| (e.kind, e.from, e.to) == (old.kind, old.from, old.to);
    if now.relationships.values().any(same) {
        return Ok(false);
    }
    stage.require(Verb::Relate)?;
    stage.task(if old.from == permit.id { old.to } else { old.from })?;
    if old.kind == RelationType::Blocks {
        check_waits(&now)?;
    }
    add_edge(stage, permit, old.kind, old.from, old.to, old.metadata.clone())?;
    if old.kind == RelationType::Blocks {
        block_if_bound(stage, permit)?;
    }
    Ok(true)
}
