//! The fold: computes a task from the events of its log.
//!
//! Guarantees that it is total, pure, and independent of the order in which the events are given. An event counts whole or
//! not at all, and each one that does not count has a finding. Of several writers of a value, `rules::writers` selects the
//! one that counts. Nothing here fails or reads the clock.
//! Leaves to others: files, other tasks, and whether a command would have been allowed.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::model::agent::Agent;
use crate::model::event::{Entity, Entry, Event, MAX_LAMPORT, MAX_LAMPORT_JUMP};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::{self, Payload};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::rules::attempts;
use crate::rules::copies::{HandEdits, is_hand_edit};
use crate::rules::effect::{
    Pending, Skip, continues_completion, effect, set_met, set_progress, set_resolution, set_status, set_verified, stamp,
};
use crate::rules::event_rules::{EventRules, status_of};
use crate::rules::fields::{self, Loose};
use crate::rules::review::{Completions, may_restore, restored};
use crate::rules::writers::{AppliedEvent, Effect, Reason, Registers, contests, resolutions};

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
pub fn redactions<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> BTreeSet<Id> {
    entries.into_iter().filter_map(|entry| entry.event.payload.redacts()).collect()
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
    let is_empty = |c: &&Entry| matches!(&c.event.payload, Payload::ContextAdded(p) if p.content.is_empty());
    let bare = copies.iter().copied().find(is_empty)?;
    // An empty entry under the id of another event would take that one away.
    copies.iter().all(|c| c.differs_by_text_alone(bare)).then_some(bare)
}

/// Why the log of an entity would not be sound with events that arrive, the ones that `is_new` names: a second event of one id, parents
/// that do not come before them, a Lamport time out of bounds.
pub fn unfit<'a>(
    entity: &Entity,
    entries: impl IntoIterator<Item = &'a Entry>,
    is_new: impl Fn(Id) -> bool,
) -> Option<Finding> {
    let ordered = order(entity, entries);
    let is_created = ordered.events.iter().any(|entry| matches!(entry.event.payload, Payload::TaskCreated(_)));
    let without_parents = if is_created { rootless(&ordered.events) } else { Vec::new() };
    ordered.findings.into_iter().chain(without_parents).find(|finding| finding.event.is_some_and(&is_new))
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
    folding.resolve_threads();
    findings.extend(folding.overruled());
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
    completions: Completions<'e>,
    hand_edits: HandEdits,
}

impl<'e> Folding<'e> {
    /// Begins with a task of which only the id is known.
    pub fn new(id: Id) -> Self {
        let (heads, pending, hand_edits) = (BTreeSet::new(), Pending::default(), HandEdits::default());
        let (taken, completions) = (Vec::new(), Completions::default());
        Folding { task: Task::blank(id), heads, pending, taken, completions, hand_edits }
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
        let effect = effect_of(finding.as_ref());
        if effect == Effect::Counts
            && let Some(completion) = self.completions.add(event)
        {
            credit(&mut self.task, completion);
        }
        self.taken.push(AppliedEvent { event, effect });
        finding
    }

    /// Applies events in order, and decides between concurrent resolutions of a thread.
    pub fn of(id: Id, ordered: &[&'e Entry]) -> Self {
        let mut folding = Folding::new(id);
        for entry in ordered {
            folding.apply(&entry.event);
        }
        folding.resolve_threads();
        folding
    }

    /// Sets the resolution of each thread that has several to the one that counts; the others have no effect.
    fn resolve_threads(&mut self) {
        if !self.task.forked || self.task.threads.is_empty() {
            return;
        }
        for resolution in resolutions(&self.taken, &self.task.copies) {
            if let Some(thread) = self.task.threads.get_mut(&resolution.thread) {
                set_resolution(thread, self.taken[resolution.winner].event);
                thread.overruled = resolution.concurrent.iter().map(|place| self.taken[*place].event.id).collect();
            }
            for place in resolution.overruled {
                self.taken[place].effect = Effect::Overruled;
            }
        }
    }

    /// The findings about resolutions that do not count, since another one of their thread does that says otherwise.
    fn overruled(&self) -> Vec<Finding> {
        let says = |event: &'e Event| {
            let Payload::ThreadResolved(p) = &event.payload else { return None };
            Some((p.resolution, p.by, &p.set))
        };
        let differs = |event: &&'e Event| self.counting_resolution(event).and_then(says) != says(event);
        let lost = self.taken.iter().filter(|one| one.effect == Effect::Overruled).map(|one| one.event).filter(differs);
        let finding = |event: &Event| {
            let (id, author) = (event.id, &event.author.agent);
            let counting = self.counting_resolution(event);
            let which = counting.map_or_else(
                || "another resolution of the thread".to_owned(),
                |other| {
                    let by =
                        if other.weight() > event.weight() { "the higher precedence" } else { "its place in order" };
                    format!("{} by {}, by {by}", other.id, other.author.agent)
                },
            );
            let message = format!("ThreadResolved {id} by {author} has no effect: what counts is {which}");
            Finding::new(Rule::EventIneffective, message).event(id)
        };
        lost.map(finding).collect()
    }

    /// The resolution that counts of the thread that an event resolves.
    fn counting_resolution(&self, event: &Event) -> Option<&'e Event> {
        let Payload::ThreadResolved(p) = &event.payload else { return None };
        let counting = self.task.threads.get(&p.thread)?.resolved.as_ref()?.event;
        self.taken.iter().map(|one| one.event).find(|event| event.id == counting)
    }

    /// The status that results from the events so far.
    pub fn status(&self) -> Status {
        if self.task.forked { self.clone().finish().status } else { self.task.status }
    }

    /// The events that were applied, each with its effect.
    pub fn taken(&self) -> &[AppliedEvent<'e>] {
        &self.taken
    }

    /// The task that results from the events.
    pub fn finish(mut self) -> Task {
        self.resolve_threads();
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
/// which of several owners counts, and grants no lease while owners compete. And it is not a hand edit that another clone may have recorded
/// too, nor may it put back an earlier completion.
pub fn is_plain(task: &Task, event: &Event) -> bool {
    let sees_all = task.heads.iter().all(|head| event.parents.contains(head));
    let is_of_claims = status_of(event).is_some() || matches!(event.payload, Payload::LeaseAcquired(_));
    let needs_others = (task.forked && is_of_claims) || is_hand_edit(event) || may_restore(event);
    sees_all && !needs_others
}

/// Applies the next event in order, of those that [need no others](is_plain). Always leaves a consistent task; returns a
/// finding if it had no effect. [`Folding`] applies any event.
pub fn apply(task: &mut Task, event: &Event) -> Option<Finding> {
    task.heads = vec![event.id];
    let mut pending = Pending { sees_all: true, ..Pending::default() };
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
        match contest.winner {
            Some(winner) => {
                let event = taken[winner.place].event;
                assign(task, &contest.register, &winner.value, event, &mut loose);
                if contest.register == "status" && continues_completion(event) {
                    set_completion(task, &taken[..winner.place]);
                } else if contest.register == "status" && may_restore(event) {
                    credit(task, original(event, &taken[..winner.place]));
                }
            }
            None if contest.losers.iter().any(|(_, why)| *why == Reason::Resolution) => {
                let set = payload::Fields::from_iter([(contest.register.clone(), Value::Null)]);
                // A task without a title has no beginning; it keeps the one that a resolution gave it.
                let _ = fields::write_loosely(&mut task.fields, &set, &mut loose);
                task.stamps.remove(&contest.register);
            }
            None => {}
        }
    }
    fields::sort_maps(&mut task.fields, loose);
}

/// Sets by which event a task was completed, of those before the one that continues its completion: a concurrent change of the
/// status between both in order has not undone it.
fn set_completion(task: &mut Task, before: &[AppliedEvent<'_>]) {
    let reopens =
        |one: &AppliedEvent<'_>| one.effect == Effect::Counts && matches!(one.event.payload, Payload::TaskReopened(_));
    let round = before.iter().rposition(reopens).map_or(0, |n| n + 1);
    let completes = |one: &&AppliedEvent<'_>| {
        let status = status_of(one.event) == Some(Status::Completed);
        one.effect == Effect::Counts && status && !continues_completion(one.event)
    };
    let completions = before[round..].iter().filter(completes).map(|one| one.event);
    if let Some(completion) = completions.max_by_key(|event| (event.weight(), event.stamp())) {
        credit(task, original(completion, before));
    }
}

/// The event that completed the task first, where this one puts its completion back.
fn original<'e>(event: &'e Event, taken: &[AppliedEvent<'e>]) -> &'e Event {
    let counting = taken.iter().filter(|one| one.effect == Effect::Counts).map(|one| one.event);
    restored(event, counting.filter(|earlier| earlier.stamp() < event.stamp())).unwrap_or(event)
}

/// Names the event that completed a task, and its author.
fn credit(task: &mut Task, completion: &Event) {
    (task.completed_by, task.completion) = (Some(completion.author.agent.clone()), Some(completion.id));
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
    // The stamp of the whole metadata covers one of its entries.
    let is_whole = matches!(&event.payload, Payload::TaskUpdated(p) if !p.set.contains_key(register) && p.set.contains_key("metadata"));
    if is_whole || matches!(event.payload, Payload::TaskCreated(_)) {
        task.stamps.remove(register);
    } else {
        stamp(task, register, event);
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
    if let Some(fence) =
        event.fence.filter(|fence| *fence < task.fence && EventRules::of(&event.payload).lease.is_void_once_lost())
    {
        let message = format!(
            "{} by {} under fence {fence} came after fence {} was granted",
            event.payload.kind(),
            event.author.agent,
            task.fence
        );
        return Some(Finding::new(Rule::EventFenced, message).event(event.id));
    }
    let (attempts, attempt_by) = attempts::after(task, event);
    let applied = effect(task, event, pending);
    if applied.is_ok() {
        (task.attempts, task.attempt_by) = (attempts, attempt_by);
    }
    match applied {
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
        if let Some(p) = event.payload.registration() {
            agent.learn(p, event.stamp(), event.at);
        } else if !matches!(event.payload, Payload::Broadcast(_)) {
            let message = format!("{} {} has no effect on an agent", event.payload.kind(), event.id);
            findings.push(Finding::new(Rule::EventIneffective, message).event(event.id));
        }
    }
    agent.heads = heads.into_iter().collect();
    (agent, findings)
}
