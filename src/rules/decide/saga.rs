//! Undoes all events of a request or a plan: emits new events that revert what they changed, newest first.
//!
//! Guarantees that a value which another request wrote since stays, and that undoing again changes nothing. A task that the
//! request created is cancelled, unless others built on it. Records such as notes stay.
//! Leaves to others: finding the tasks of a request, and whether a part may be left (`engine::commit::saga`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::guard::{Permit, block_if_waiting, permit_id, unblock_if_free};
use super::origin::{Origin, undo_with};
use super::put::{PutOptions, put, verb};
use super::status::cancel;
use super::undo::{EffectiveEvents, Forced, follows_blockers, is_change, put_back, revert_edge, seen_by};
use crate::error::{Code, Error, Result};
use crate::model::command::Guard;
use crate::model::event::{Entry, Event, Stamp};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::rules::event_rules::{EventRules, UndoRule};
use crate::rules::fold::fold;
use crate::rules::register;
use crate::rules::roles::Verb;
use crate::rules::stage::Stage;

/// What becomes of an event of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is undone.
    Undone,
    /// It is undone already, or has no effect.
    Already,
    /// It is a record, which stays.
    Kept,
    /// It cannot be undone, for this reason.
    Left(String),
}

/// An event of the request, with what becomes of it.
#[derive(Clone, Debug)]
pub struct SagaEvent {
    /// Its task.
    pub task: Id,
    /// The event.
    pub event: Id,
    /// Its place in the order of events.
    stamp: Stamp,
    /// The type of the event.
    pub kind: String,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What is to be done to one task.
struct TaskPlan {
    task: Id,
    /// The events of the request, newest first.
    events: Vec<SagaEvent>,
    /// Its turn, the latest first: all that the request did later is undone by then, so that the earlier state of the task is
    /// possible again.
    turn: Stamp,
    /// Values to write, with the state before the oldest event that wrote one of them, and what was overridden for it.
    values: Vec<(String, Value)>,
    before: Option<Task>,
    forced: Option<Forced>,
    /// What follows from the blockers of the task, if the request wrote that.
    follows: Option<Follows>,
    /// Events that added or removed an edge, newest first, each with the state before it.
    edges: Vec<(Event, Task)>,
    cancels: bool,
}

/// That a task was opened or blocked, as its blockers demand. It is no decision of its own: it is looked at again once they are
/// undone, and is never a reason to refuse.
struct Follows {
    /// The status of the task before the undo.
    was: Status,
    /// The events that only recorded this.
    events: Vec<Id>,
}

/// Tasks to leave, each with the refusal of its earlier values or of the change.
pub type Refusals = BTreeMap<Id, String>;

/// Undoes the events of a request on these tasks. What cannot be undone is among the verdicts and is not touched. Where a rule
/// refuses the earlier values of a task, or another agent holds it, it is added to `refused`; the caller throws the stage away and
/// decides again.
///
/// Errors: `ERR_UNAUTHORIZED`, and what refuses an earlier value.
pub fn undo_all(
    stage: &mut dyn Stage,
    origin: &Origin,
    tasks: &[Id],
    why: Option<&str>,
    refused: &mut Refusals,
) -> Result<Vec<SagaEvent>> {
    let mut plans = Vec::new();
    for task in tasks {
        plans.extend(plan_of(stage, origin, *task)?);
    }
    for plan in &mut plans {
        if let Some(why) = refused.get(&plan.task) {
            plan.leave_all(why);
        }
    }
    plans.sort_by_key(|plan| Reverse(plan.turn));
    leave_what_others_need(stage, &mut plans)?;
    let kind = match origin {
        Origin::Request(_) => "request",
        Origin::Plan(_) => "plan",
    };
    let why = format!("undo of {kind} {}{}", origin.id(), why.map(|why| format!(": {why}")).unwrap_or_default());
    let mut held = Vec::new();
    for plan in &plans {
        let outcome = if plan.cancels { cancel_new(stage, plan, &why) } else { carry_out(stage, plan, &why) };
        if let Some(why) = outcome.inspect_err(|e| plan.refuse(e, refused))? {
            held.push((plan.task, why));
        }
    }
    if !held.is_empty() {
        // What needs a task that is left may have to be left too.
        refused.extend(held);
        return Err(Error::new(Code::Conflict, "another agent holds a task of the request"));
    }
    for plan in &mut plans {
        follow_blockers(stage, plan, &why)?;
    }
    let mut events: Vec<SagaEvent> = plans.into_iter().flat_map(|plan| plan.events).collect();
    events.sort_by_key(|event| Reverse(event.stamp));
    Ok(events)
}

/// Reverts edges and values of one task; returns why it is left if another agent holds it.
fn carry_out(stage: &mut dyn Stage, plan: &TaskPlan, why: &str) -> Result<Option<String>> {
    if plan.values.is_empty() && plan.edges.is_empty() {
        return Ok(None);
    }
    for (name, value) in &plan.values {
        stage.require(verb(name, value))?;
    }
    let status = plan.values.iter().find(|(name, _)| name == "status").or(plan.values.first());
    let right = status.map_or(Verb::Relate, |(name, value)| verb(name, value));
    let permit = match held_permit(stage, plan, right, why)? {
        Ok(permit) => permit,
        Err(left) => return Ok(Some(left)),
    };
    for (event, before) in &plan.edges {
        revert_edge(stage, &permit, event, before)?;
    }
    let how = PutOptions { before: plan.before.as_ref(), ..PutOptions::default() };
    put_back(stage, &permit, &plan.values, plan.forced.as_ref(), how)?;
    Ok(None)
}

/// As [`carry_out`], cancels a task that the request created; one that it finished too is opened again first.
fn cancel_new(stage: &mut dyn Stage, plan: &TaskPlan, why: &str) -> Result<Option<String>> {
    stage.require(Verb::Cancel)?;
    let permit = match held_permit(stage, plan, Verb::Cancel, why)? {
        Ok(permit) => permit,
        Err(left) => return Ok(Some(left)),
    };
    if stage.task(plan.task)?.status.is_finished() {
        put(stage, &permit, &[("status".to_owned(), json!(Status::Open))], PutOptions::default())?;
    }
    cancel(stage, &permit, None)?;
    Ok(None)
}

/// Opens or blocks a task again, as its blockers demand after the undo. An actor without the right leaves it to others, as
/// with every such consequence.
fn follow_blockers(stage: &mut dyn Stage, plan: &mut TaskPlan, why: &str) -> Result<()> {
    let Some(Follows { was, events }) = plan.follows.take() else { return Ok(()) };
    if stage.may_follow(plan.task) {
        block_if_waiting(stage, plan.task, why)?;
        unblock_if_free(stage, plan.task)?;
    }
    if stage.task(plan.task)?.status != was {
        events.into_iter().for_each(|event| plan.judge(event, Verdict::Undone));
    }
    Ok(())
}

/// The permit for a change of a task, or why there is none: another agent holds it.
fn held_permit(
    stage: &mut dyn Stage,
    plan: &TaskPlan,
    right: Verb,
    why: &str,
) -> Result<std::result::Result<Permit, String>> {
    match permit_id(stage, plan.task, &Guard::default(), right) {
        Ok(permit) => Ok(Ok(permit.because(Some(why)))),
        Err(e) if matches!(e.code, Code::LeaseHeld | Code::LeaseLost | Code::LeaseExpired | Code::LeaseRequired) => {
            Ok(Err(e.message))
        }
        Err(e) => Err(e),
    }
}

impl TaskPlan {
    /// Marks those events that would be undone as left, for one reason.
    fn leave(&mut self, why: &str) {
        for event in self.events.iter_mut().filter(|event| event.verdict == Verdict::Undone) {
            event.verdict = Verdict::Left(why.to_owned());
        }
    }

    /// As [`TaskPlan::leave`]; nothing of the task changes.
    fn leave_all(&mut self, why: &str) {
        self.leave(why);
        self.values.clear();
        self.edges.clear();
        self.cancels = false;
    }

    /// Notes that a rule refuses the earlier values of the task. Other errors refuse the whole undo.
    fn refuse(&self, e: &Error, refused: &mut Refusals) {
        if matches!(e.code, Code::InvalidState | Code::Validation | Code::Conflict | Code::NotFound) {
            refused.insert(self.task, e.message.clone());
        }
    }

    /// The earlier status that the task gets, if it gets one.
    fn status(&self) -> Option<Status> {
        let value = self.values.iter().find(|(name, _)| name == "status");
        value.and_then(|(_, value)| value.as_str()).and_then(Status::from_word)
    }

    /// Sets the verdict of an event, unless it has a stronger one: what is left stays left, what is undone is not already so.
    fn judge(&mut self, id: Id, verdict: Verdict) {
        let Some(event) = self.events.iter_mut().find(|event| event.event == id) else { return };
        let is_weaker = |old: &Verdict| match old {
            Verdict::Left(_) => false,
            Verdict::Undone => matches!(verdict, Verdict::Left(_)),
            Verdict::Already | Verdict::Kept => true,
        };
        if is_weaker(&event.verdict) {
            event.verdict = verdict;
        }
    }
}

/// What is to be done to a task; `None` if it has no event of the request.
fn plan_of(stage: &mut dyn Stage, origin: &Origin, task: Id) -> Result<Option<TaskPlan>> {
    let history = stage.history(task)?;
    let effective = EffectiveEvents::of(task, &history);
    let is_own = |event: &Event| origin.depth(event) == Some(0);
    let own: Vec<&Event> = history.iter().map(|entry| &entry.event).filter(|event| is_own(event)).collect();
    let Some(newest) = own.iter().max_by_key(|event| event.stamp()).copied() else { return Ok(None) };
    let creation = effective.events.iter().find(|e| is_own(e) && matches!(e.payload, Payload::TaskCreated(_)));
    let verdict = |event: &Event| {
        if !effective.events.iter().any(|one| one.id == event.id) {
            return Verdict::Already;
        }
        match EventRules::of(&event.payload).undo {
            UndoRule::With(_) => Verdict::Already,
            UndoRule::Record(_) => Verdict::Kept,
            // It ends with the task.
            UndoRule::Refused(_) if creation.is_some() => Verdict::Already,
            UndoRule::Refused(hint) => {
                let hint = hint.replace("{event}", &event.id.to_string()).replace("{task}", &task.to_string());
                Verdict::Left(format!("{} cannot be undone; {hint}", event.payload.kind()))
            }
        }
    };
    let mut events: Vec<SagaEvent> = own
        .iter()
        .map(|event| {
            let kind = event.payload.kind().to_owned();
            SagaEvent { task, event: event.id, stamp: event.stamp(), kind, verdict: verdict(event) }
        })
        .collect();
    events.sort_by_key(|event| Reverse(event.stamp));
    let mut plan = TaskPlan {
        task,
        events,
        turn: creation.map_or(newest.stamp(), |event| event.stamp()),
        values: Vec::new(),
        before: None,
        forced: None,
        follows: None,
        edges: Vec::new(),
        cancels: false,
    };
    let now = stage.task(task)?;
    let log = Log { origin, history: &history, effective: &effective, now: &now };
    match creation {
        Some(creation) => log.plan_cancelling(creation.id, &mut plan),
        None => {
            log.plan_edges(&mut plan);
            log.plan_values(&mut plan);
        }
    }
    Ok(Some(plan))
}

/// The log of one task, as the undo of a request reads it.
struct Log<'a> {
    origin: &'a Origin,
    history: &'a [Entry],
    effective: &'a EffectiveEvents<'a>,
    now: &'a Task,
}

impl Log<'_> {
    fn before(&self, event: &Event) -> Task {
        fold(self.now.id, &register::below(self.history, &seen_by(self.history, event))).0
    }

    /// The request created the task: it is cancelled, and its other changes of the task with it.
    fn plan_cancelling(&self, creation: Id, plan: &mut TaskPlan) {
        let moved = self.effective.counting_writer("status");
        let is_undone = moved.and_then(|event| self.origin.depth(event)).is_some_and(|depth| depth % 2 == 1);
        if is_undone || self.now.cancelled_at.is_some() {
            return;
        }
        let changes: Vec<Id> = plan.events.iter().map(|event| event.event).collect();
        for event in changes {
            let is_record = plan.events.iter().any(|e| e.event == event && e.verdict == Verdict::Kept);
            if !is_record {
                plan.judge(event, Verdict::Undone);
            }
        }
        let built_on = self.effective.events.iter().find(|event| self.is_of_others(event));
        if let Some(event) = built_on {
            plan.leave(&format!("{} changed the task since (event {})", event.author.agent, event.id));
        }
        plan.cancels = plan.events.iter().any(|e| e.event == creation && e.verdict == Verdict::Undone);
    }

    /// Whether another request changed a value with an event, beyond what follows from the blockers of the task.
    fn is_of_others(&self, event: &Event) -> bool {
        is_change(event) && self.origin.depth(event).is_none() && undo_with(event).is_none()
    }

    fn plan_edges(&self, plan: &mut TaskPlan) {
        let mut touched: BTreeMap<Ends, Vec<&Event>> = BTreeMap::new();
        for event in &self.effective.events {
            if let Some(ends) = self.edge_of(event) {
                touched.entry(ends).or_default().push(event);
            }
        }
        for (ends, events) in touched {
            let depth = |event: &Event| self.origin.depth(event);
            let own = || events.iter().copied().filter(|event| depth(event) == Some(0));
            let (Some(first), Some(last)) = (own().next(), events.iter().rposition(|e| depth(e) == Some(0))) else {
                continue;
            };
            let has = |task: &Task| task.relationships.values().any(|edge| ends_of(edge) == ends);
            let (was, is) = (has(&self.before(first)), has(self.now));
            let undone = events[last + 1..].iter().rev().find_map(|event| depth(event));
            let verdict = if undone.is_some_and(|depth| depth % 2 == 1) || was == is {
                Verdict::Already
            } else if let Some(other) = events[last + 1..].iter().find(|event| depth(event).is_none()) {
                let (agent, id) = (&other.author.agent, other.id);
                Verdict::Left(format!("the relationship was changed again by {agent} (event {id})"))
            } else {
                let adds = |event: &Event| matches!(event.payload, Payload::RelationshipAdded(_));
                let is_current = |event: &Event| match adds(event) {
                    true => self.now.relationships.contains_key(&event.id),
                    false => !is,
                };
                let reverted = events.iter().rev().find(|event| is_current(event));
                plan.edges.extend(reverted.map(|event| ((*event).clone(), self.before(event))));
                Verdict::Undone
            };
            own().for_each(|event| plan.judge(event.id, verdict.clone()));
        }
        plan.edges.sort_by_key(|(event, _)| Reverse(event.stamp()));
    }

    /// The edge that an event adds or removes, other than a parent, which is a register.
    fn edge_of(&self, event: &Event) -> Option<Ends> {
        let added = if let Payload::RelationshipRemoved(p) = &event.payload {
            self.history.iter().map(|entry| &entry.event).find(|event| event.id == p.relationship)?
        } else {
            event
        };
        let Payload::RelationshipAdded(p) = &added.payload else { return None };
        (p.kind != RelationType::ParentOf).then_some((p.kind.as_str(), p.from, p.to))
    }

    fn plan_values(&self, plan: &mut TaskPlan) {
        let own = || self.effective.events.iter().copied().filter(|event| self.origin.depth(event) == Some(0));
        let is_entry = |event: &Event| EventRules::of(&event.payload).adds_entry;
        let mut writers: BTreeMap<String, Vec<&Event>> = BTreeMap::new();
        for event in own().filter(|event| !is_entry(event)) {
            for name in self.effective.registers(event) {
                writers.entry(name).or_default().push(event);
            }
        }
        let mut befores: BTreeMap<Id, Task> = BTreeMap::new();
        let mut oldest: Option<&Event> = None;
        for (name, mine) in &writers {
            let (first, verdict) = self.judge_register(name, &mut befores);
            let Some(first) = first else { continue };
            let mut value = self.earlier(name, &befores[&first.id]);
            if name == "status" && verdict != Verdict::Already {
                let before = befores[&first.id].status;
                let forced = Forced::of(self.now.id, &register::below(self.history, &seen_by(self.history, first)));
                if self.follows(before, &verdict, forced.is_some(), mine, plan) {
                    continue;
                }
                if verdict == Verdict::Undone {
                    (plan.turn, plan.forced) = (first.stamp(), forced);
                    // Whether it is blocked then is seen at the end.
                    if before == Status::Blocked {
                        value = json!(Status::Open);
                    }
                }
            }
            let verdict = match verdict {
                Verdict::Undone => match self.why_not(name, &value) {
                    Some(why) => Verdict::Left(why),
                    None => Verdict::Undone,
                },
                other => other,
            };
            if verdict == Verdict::Undone {
                plan.values.push((name.clone(), value));
                oldest = oldest.into_iter().chain([first]).min_by_key(|event| event.stamp());
            }
            for event in mine {
                plan.judge(event.id, verdict.clone());
            }
        }
        plan.before = oldest.map(|event| befores[&event.id].clone());
    }

    /// Whether the earlier status follows from the blockers, and notes what does. One that was forced does not.
    fn follows(&self, before: Status, verdict: &Verdict, forced: bool, mine: &[&Event], plan: &mut TaskPlan) -> bool {
        let (was, is_undone) = (self.now.status, *verdict == Verdict::Undone);
        let waits = |status| matches!(status, Status::Open | Status::Blocked);
        let only = mine.iter().all(|event| follows_blockers(event));
        let follows = (only || (is_undone && waits(was) && waits(before))) && !(is_undone && forced);
        if follows {
            plan.follows = Some(Follows { was, events: mine.iter().map(|event| event.id).collect() });
        } else if is_undone && before == Status::Blocked {
            plan.follows = Some(Follows { was, events: Vec::new() });
        }
        follows
    }

    /// What becomes of a register that the request wrote, and the first event of its last run of writes: later than any other
    /// writer. What undid the request earlier counts as its own.
    fn judge_register<'e>(&'e self, name: &str, befores: &mut BTreeMap<Id, Task>) -> (Option<&'e Event>, Verdict) {
        let written = self.effective.counting_writers(name);
        let depth = |event: &Event| self.origin.depth(event);
        let Some(last) = written.iter().rposition(|event| depth(event) == Some(0)) else {
            return (None, Verdict::Already);
        };
        let run = written[..=last].iter().rev().take_while(|event| depth(event).is_some());
        let first = run.filter(|event| depth(event) == Some(0)).last().copied();
        let Some(first) = first else { return (None, Verdict::Already) };
        let before = befores.entry(first.id).or_insert_with(|| self.before(first));
        let undone = written[last + 1..].iter().rev().find_map(|event| depth(event));
        if undone.is_some_and(|depth| depth % 2 == 1) || self.earlier(name, before) == register::value(self.now, name) {
            return (Some(first), Verdict::Already);
        }
        match written[last + 1..].iter().rev().find(|event| depth(event).is_none()) {
            Some(other) => {
                let why = format!("{name} was written again by {} (event {})", other.author.agent, other.id);
                (Some(first), Verdict::Left(why))
            }
            None => (Some(first), Verdict::Undone),
        }
    }

    /// The value that a register has without the request: as before it, unless one that lost to the request's counts then.
    fn earlier(&self, name: &str, before: &Task) -> Value {
        let moves = || self.effective.counting_writer("status").is_some_and(|event| self.origin.depth(event).is_some());
        let lost = if name == "owner" && moves() {
            None
        } else {
            self.effective.value_without(name, |event| self.origin.depth(event).is_some())
        };
        lost.unwrap_or_else(|| register::value(before, name))
    }

    /// Why a register cannot have an earlier value again.
    fn why_not(&self, name: &str, value: &Value) -> Option<String> {
        let begin = name.split('.').next().unwrap_or_default();
        match begin {
            "context" if value.is_null() => Some("a context entry that was superseded stays so".into()),
            "verified" if value.is_null() => Some("there was no review before, and a review cannot be removed".into()),
            "owner" if value.is_null() && self.now.status == Status::InProgress => {
                let moves = self.judge_register("status", &mut BTreeMap::new()).1 == Verdict::Undone;
                (!moves).then(|| "a task in progress has an owner".into())
            }
            _ => None,
        }
    }
}

/// The kind of an edge, and its ends.
type Ends = (&'static str, Id, Id);

fn ends_of(edge: &Relationship) -> Ends {
    (edge.kind.as_str(), edge.from, edge.to)
}

/// Leaves what others have built on: created tasks that open tasks of others need, as parts or as blockers, and finished tasks
/// that would be open again although tasks that waited for them have begun; and so on upwards.
fn leave_what_others_need(stage: &mut dyn Stage, plans: &mut [TaskPlan]) -> Result<()> {
    let own: BTreeSet<Id> = plans.iter().flat_map(|plan| plan.events.iter().map(|event| event.event)).collect();
    loop {
        let cancelled: BTreeSet<Id> = plans.iter().filter(|plan| plan.cancels).map(|plan| plan.task).collect();
        let is_taken_out = |plan: &&TaskPlan| plan.values.iter().any(|(name, _)| name == "parent");
        let taken_out: BTreeSet<Id> = plans.iter().filter(is_taken_out).map(|plan| plan.task).collect();
        let mut needed = None;
        for (n, plan) in plans.iter().enumerate().filter(|(_, plan)| plan.cancels) {
            let children = stage.children(plan.task)?.into_iter();
            for child in children.filter(|child| !cancelled.contains(child) && !taken_out.contains(child)) {
                if !stage.task(child)?.status.is_finished() {
                    needed = Some((n, format!("task {child} is below it and stays open")));
                }
            }
            for other in stage.dependents(plan.task)?.into_iter().filter(|other| !cancelled.contains(other)) {
                let waiting = stage.task(other)?;
                let mut edges = waiting.relationships.values().filter(|edge| edge.kind == RelationType::Blocks);
                if !waiting.status.is_finished() && edges.any(|e| e.from == plan.task && !own.contains(&e.id)) {
                    needed = Some((n, format!("task {other} waits for it")));
                }
            }
        }
        if needed.is_none() {
            needed = built_on(stage, plans)?;
        }
        let Some((n, why)) = needed else { return Ok(()) };
        plans[n].leave_all(&why);
    }
}

/// A finished task that would be open again, although a task that waited for it has begun or its parent is completed, and why.
fn built_on(stage: &mut dyn Stage, plans: &[TaskPlan]) -> Result<Option<(usize, String)>> {
    let moved: BTreeSet<Id> =
        plans.iter().filter(|plan| plan.cancels || plan.status().is_some()).map(|plan| plan.task).collect();
    for (n, plan) in plans.iter().enumerate() {
        let task = stage.task(plan.task)?;
        if !task.status.is_finished() || plan.status().is_none_or(Status::is_finished) {
            continue;
        }
        for other in stage.dependents(plan.task)?.into_iter().filter(|other| !moved.contains(other)) {
            let waiting = stage.task(other)?;
            if waiting.status == Status::InProgress || waiting.completed_at.is_some() {
                return Ok(Some((n, format!("task {other} waited for it and is {}", waiting.status))));
            }
        }
        let Some(parent) = task.parent().filter(|parent| !moved.contains(parent)) else { continue };
        if stage.exists(parent)? && stage.task(parent)?.completed_at.is_some() {
            return Ok(Some((n, format!("task {parent}, of which it is a part, is completed"))));
        }
    }
    Ok(None)
}
