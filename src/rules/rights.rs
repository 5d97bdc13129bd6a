//! The right that an event in a log requires: that of the command that writes it.
//!
//! Guarantees that an event is checked by what its author had seen, not by what the event claims. A move that no command
//! makes (`moves`) is reported as well. An event that requires no right by this view requires one if it changes the result of
//! the known events alone. If several commands write an event, the right of any of them suffices. What agentpm adds by itself
//! requires none: a task that is open again because its blockers are finished, a lease of the log that its holder releases. An event
//! that bypasses another agent's lease requires an override. Effective events of one log by one agent at one time count as
//! one command: completing may mark criteria and add an outcome, importing may add parts.
//! Leaves to others: who has which right (`roles`), where the log was read, and whether the name in an event is true.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::Value;

use super::event_rules::{EventRules, is_fenced, rights_to, status_of, verb_for};
use super::fold::{fold, redactions};
use super::lease_bypasses::{lease_bypasses, needs_lease, repeats_import};
use super::register::parent_edges;
use super::roles::Verb;
use super::seen::{Needs, Resolving, SeenState, Times, completes, effective, granted_again, states, takes_over};
use super::{graph, moves, review};
use crate::model::agent::MAX_TTL;
use crate::model::context::ContextType;
use crate::model::event::{Entity, Entry, Event};
use crate::model::id::{Id, quoted};
use crate::model::payload::{Fields, LeaseAcquired, Payload, RelationshipAdded, TaskStatusChanged};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::model::time::Time;

/// Rights of which one suffices. The first is the one that the usual command requires.
pub type AnyOf = Vec<Verb>;

/// What else the same command did in the same log.
#[derive(Clone, Copy, Default)]
struct Command {
    creates: bool,
    /// It imports a task.
    imports: bool,
    /// It adds parts of a task.
    adds: bool,
    completes: bool,
    archives: bool,
    takes: bool,
    /// It rejects the completion of a task.
    rejects: bool,
}

/// The events of another task of the same plan.
pub type Other<'a> = &'a dyn Fn(Id) -> Vec<Entry>;

/// A log with the facts about which command wrote what.
pub struct RightsCheck<'a> {
    before: BTreeMap<Id, SeenState>,
    /// The creation of a new task.
    begins: Option<Id>,
    /// The greatest fence that the log grants, and all leases that it grants.
    granted: u64,
    leases: BTreeSet<Id>,
    commands: BTreeMap<(&'a str, Time), Command>,
    parents: BTreeSet<Id>,
    /// The grants that renewed a grant to its holder.
    again: BTreeSet<Id>,
    /// The events that bypass a lease.
    passed: BTreeSet<Id>,
    /// The context entries whose text was removed.
    redacted: BTreeSet<Id>,
    /// The task that results from the known events alone, if any.
    alone: Option<Task>,
    /// The holder to whom the known events grant the greatest fence.
    holder: Option<&'a str>,
    /// The event that sets the status.
    decides: Option<Id>,
    times: Times,
    other: Other<'a>,
    /// The tasks that were asked for so far.
    others: RefCell<BTreeMap<Id, Rc<OtherTask>>>,
    /// Whether the task waits for these blockers.
    waits: RefCell<BTreeMap<Id, bool>>,
}

/// What the rules ask about another task.
struct OtherTask {
    is_finished: bool,
    was_finished: bool,
    is_imported: bool,
    was_never_accepted: bool,
    blockers: Vec<Id>,
}

impl OtherTask {
    fn of(id: Id, log: &[Entry]) -> Self {
        let (task, (effective, _)) = (fold(id, log).0, effective(&Entity::Task(id), log));
        let ends = |event: &Event| status_of(event).is_some_and(Status::is_finished);
        OtherTask {
            is_finished: task.status.is_finished(),
            was_finished: log.iter().any(|entry| ends(&entry.event) && effective.contains(&entry.event.id)),
            is_imported: task.fields.metadata.contains_key("origin"),
            was_never_accepted: review::was_never_accepted(log, |id| effective.contains(&id)),
            blockers: task.blockers(),
        }
    }
}

impl<'a> RightsCheck<'a> {
    /// Examines a log of which these events are known already, whether the authors of the others had seen them or not.
    /// `other` reads the events of other tasks.
    pub fn of(entity: &Entity, log: &'a [Entry], known: &BTreeSet<Id>, times: Times, other: Other<'a>) -> Self {
        let (effective, decides) = effective(entity, log);
        let mut before = states(entity, log, known, &effective, times);
        before.retain(|event, _| effective.contains(event));
        let mut commands: BTreeMap<(&str, Time), Command> = BTreeMap::new();
        let is_new = !log.iter().any(|entry| known.contains(&entry.event.id));
        let mut begins = None;
        // A known event belongs to no command that writes a new one.
        let is_of_command = |event: &&Event| effective.contains(&event.id) && !known.contains(&event.id);
        for event in log.iter().map(|entry| &entry.event).filter(is_of_command) {
            let command = commands.entry((&event.author.agent, event.at)).or_default();
            if let (Payload::TaskCreated(p), true) = (&event.payload, is_new) {
                begins = Some(event.id);
                command.creates = true;
                command.imports |= p.fields.get("metadata").is_some_and(has_origin);
            }
            let imported = before.get(&event.id).is_some_and(|before| before.imported);
            command.adds |= imported && repeats_import(event);
            command.completes |= completes(event);
            command.archives |= matches!(event.payload, Payload::TaskArchived(_));
            if let (Payload::TaskVerified(p), Some(before)) = (&event.payload, before.get(&event.id)) {
                let is_last = p.completion.is_some() && p.completion == before.completion;
                let is_own = before.completed_by.as_ref() == Some(&event.author.agent);
                command.rejects |= !p.passed && is_last && !is_own && before.accepted_by.is_none();
            }
        }
        let again = granted_again(log, &effective);
        for event in log.iter().map(|entry| &entry.event).filter(is_of_command).filter(|e| again.contains(&e.id)) {
            commands.entry((&event.author.agent, event.at)).or_default().takes = true;
        }
        let grants = || log.iter().filter_map(|entry| entry.event.payload.grant());
        let leases = grants().map(|p| p.lease).collect();
        let passed = lease_bypasses(entity, log, Some(times.now)).into_keys().collect();
        let (granted, parents) =
            (grants().map(|p| p.fence).max().unwrap_or(0), parent_edges(log.iter().map(|entry| &entry.event)));
        let old = || log.iter().filter(|entry| known.contains(&entry.event.id));
        let alone = entity.task().filter(|_| !is_new).map(|id| fold(id, old()).0);
        let last = old().filter_map(|entry| entry.event.payload.grant()).max_by_key(|p| p.fence);
        let holder = last.map(|p| p.holder.as_str());
        let redacted = redactions(log);
        RightsCheck {
            before,
            begins,
            granted,
            leases,
            commands,
            parents,
            again,
            passed,
            redacted,
            alone,
            holder,
            decides,
            times,
            other,
            others: RefCell::default(),
            waits: RefCell::default(),
        }
    }

    /// The greatest fence that the log grants, if an event claims a greater one.
    pub fn ungranted(&self, event: &Event) -> Option<u64> {
        event.fence.filter(|fence| *fence > self.granted && is_fenced(&event.payload)).map(|_| self.granted)
    }

    /// The rights that an event of the log requires: one of each entry.
    pub fn by(&self, event: &Event) -> Vec<AnyOf> {
        let mut asked = self.by_kind(event);
        let for_another = matches!(&event.payload, Payload::LeaseAcquired(p) if p.holder != event.author.agent);
        if for_another || self.takes_away(event) || self.forces(event) || self.passed.contains(&event.id) {
            asked.push(vec![Verb::Override]);
        }
        if self.assigns(event) {
            asked.push(vec![Verb::Update, Verb::Override]);
        }
        asked
    }

    /// Whether an event gives its task to an agent that is neither its author nor the owner, begins it for another agent, or takes it
    /// from its owner without a lease.
    fn assigns(&self, event: &Event) -> bool {
        if self.command(event).imports {
            return false;
        }
        let author = event.author.agent.as_str();
        if let Payload::TaskCreated(p) = &event.payload {
            return p.fields.get("owner").and_then(Value::as_str).is_some_and(|owner| owner != author);
        }
        let Payload::TaskStatusChanged(p) = &event.payload else { return false };
        let Some(before) = self.before.get(&event.id) else { return false };
        let begins = p.to == Status::InProgress && before.status != Status::InProgress;
        let owner = p.owner.as_ref().map_or(before.owner.as_deref(), Option::as_deref);
        let takes = begins && !before.granted && before.owner.as_deref().is_some_and(|had| Some(had) != owner);
        takes || owner.is_some_and(|owner| owner != author && (begins || before.owner.as_deref() != Some(owner)))
    }

    /// Describes how an event evades a review: it ends an acceptance that its author had seen, or completes a task as if it had
    /// been completed before.
    pub fn evades_review(&self, event: &Event) -> Option<String> {
        let before = self.before.get(&event.id)?;
        let task = &event.entity;
        if let Payload::TaskVerified(p) = &event.payload {
            let by = before.accepted_by.as_ref()?;
            let is_own = before.completed_by.as_ref() == Some(&event.author.agent);
            let confirms = p.passed && p.completion == before.completion && !is_own;
            return (!confirms).then(|| format!("judges {task} again, which {} had accepted,", quoted(by)));
        }
        let Payload::TaskStatusChanged(p) = &event.payload else { return None };
        let repeats = p.to == Status::Completed && matches!(p.from, Status::Completed | Status::Archived);
        let is_true = before.status.is_finished() || self.command(event).imports;
        (repeats && !is_true).then(|| format!("completes {task} as if it had been completed before"))
    }

    /// Why no command adds an event to its task as the author saw it. An import keeps what its source has.
    pub fn refused(&self, event: &Event) -> Option<&str> {
        let refused = self.before.get(&event.id)?.refused.as_deref()?;
        let command = self.command(event);
        let imports = command.imports || (command.adds && EventRules::of(&event.payload).adds_entry);
        (!imports && !self.redacted.contains(&event.id)).then_some(refused)
    }

    /// Whether an event gives a task back, which the right to split permits where the same command adds parts to it.
    pub fn gives_back(&self, event: &Event) -> bool {
        let Payload::TaskStatusChanged(p) = &event.payload else { return false };
        let is_begun = self.before.get(&event.id).is_some_and(|before| before.status == Status::InProgress);
        is_begun && matches!(p.to, Status::Open | Status::Blocked) && p.owner == Some(None)
    }

    /// The thread of another task that takes the place of the one that an event resolves.
    pub fn successor_elsewhere(&self, event: &Event) -> Option<Id> {
        let Payload::ThreadResolved(p) = &event.payload else { return None };
        let before = self.before.get(&event.id)?;
        p.by.filter(|_| !before.has_successor)
    }

    /// Describes what an event does that no command does.
    pub fn unmade(&self, event: &Event) -> Option<String> {
        if let (Payload::Broadcast(_), Entity::Agent(name)) = (&event.payload, &event.entity) {
            return (*name != event.author.agent).then(|| format!("sends a message in the log of {name}"));
        }
        let before = self.before.get(&event.id).filter(|_| !self.command(event).imports)?;
        let too_long = |p: &&LeaseAcquired| p.expires_at > event.at.min(self.times.now).plus(MAX_TTL);
        if let Some(p) = event.payload.grant().filter(too_long) {
            return Some(format!("holds {} until {}", event.entity, p.expires_at));
        }
        let to = status_of(event).filter(|_| !matches!(event.payload, Payload::TaskCreated(_)))?;
        if let Payload::TaskStatusChanged(p) = &event.payload
            && to == before.status
            && to != Status::InProgress
        {
            if to == Status::Completed && p.from != before.status {
                return Some(format!("completes {}, which was completed", event.entity));
            }
            let owner = p.owner.as_ref().is_some_and(|owner| *owner != before.owner);
            let at =
                p.changed_at.is_some_and(|at| before.times != (Some(at), None) && before.times != (None, Some(at)));
            let what = if owner { "owner" } else { "time" };
            return (owner || at)
                .then(|| format!("changes the {what} of {} with a status it has already", event.entity));
        }
        let was_finished = before.status.is_finished();
        if let Payload::TaskArchived(p) = &event.payload
            && was_finished
        {
            let same = (p.completed_at, p.cancelled_at) == before.times;
            return (!same).then(|| format!("archives {} with another end than it had", event.entity));
        }
        let reopens = matches!(event.payload, Payload::TaskReopened(_));
        let is_move = || moves::is_made(before.status, to, before.was_completed, before.end);
        let is_made = if reopens { was_finished } else { is_move() };
        (!is_made).then(|| format!("moves {} from {} to {to}", event.entity, before.status))
    }

    /// Whether an event changes what another agent has in progress, without a lease of it.
    fn takes_away(&self, event: &Event) -> bool {
        let Some(before) = self.before.get(&event.id).filter(|before| before.of_another) else { return false };
        // A repeated import records what it added.
        let records = before.imported && repeats_import(event);
        let needs_lease = || needs_lease(&event.payload, before.imported, self.command(event).adds) && !before.granted;
        !records && (event.payload.grant().is_some() || needs_lease())
    }

    /// Whether an event bypasses what must be finished or met first, whether it says so or not.
    fn forces(&self, event: &Event) -> bool {
        // A task arrives from its source as it was there: nothing here is bypassed.
        if self.command(event).imports {
            return false;
        }
        let before = self.before.get(&event.id);
        if let Payload::TaskVerified(p) = &event.payload {
            return p.passed && before.is_some_and(|before| before.unmet);
        }
        let Payload::TaskStatusChanged(p) = &event.payload else { return false };
        let Some(before) = before else { return !p.forced.is_empty() };
        let is_unmet = p.to == Status::Completed && !before.status.is_finished() && before.unmet;
        let mut blockers = before.blockers.iter();
        !p.forced.is_empty()
            || is_unmet
            || before.is_withheld
            || (moves::needs_blockers(before.status, p.to)
                && blockers.any(|blocker| self.is_waited_for(event, *blocker)))
    }

    /// Whether the task of an event waits for a blocker that was never finished: an author may have seen an end that was
    /// undone since. In a cycle of blockers, one edge does not count.
    fn is_waited_for(&self, event: &Event, blocker: Id) -> bool {
        if let Some(known) = self.waits.borrow().get(&blocker) {
            return *known;
        }
        let waits = event.entity.task().filter(|_| !self.task(blocker).was_finished).is_some_and(|task| {
            let waits_for = |id: Id| Ok(if id == task { Vec::new() } else { self.task(id).blockers.clone() });
            !graph::path(blocker, task, waits_for).is_ok_and(|cycle| cycle.is_some())
        });
        self.waits.borrow_mut().insert(blocker, waits);
        waits
    }

    /// The blocker that an event begins or ends its task without, although no agent accepted it. An override is another matter.
    pub fn unreviewed_blocker(&self, event: &Event) -> Option<Id> {
        let before = self.before.get(&event.id).filter(|_| !self.command(event).imports)?;
        let Payload::TaskStatusChanged(p) = &event.payload else { return None };
        let begins = matches!(p.to, Status::InProgress | Status::Completed);
        if !begins || !p.forced.is_empty() || !moves::needs_blockers(before.status, p.to) {
            return None;
        }
        before.blockers.iter().copied().find(|blocker| self.task(*blocker).was_never_accepted)
    }

    /// Whether an event archives a task that no agent accepted.
    pub fn archives_unreviewed(&self, event: &Event) -> bool {
        let is_unreviewed = self.before.get(&event.id).is_some_and(|before| before.is_unreviewed);
        is_unreviewed && matches!(event.payload, Payload::TaskArchived(_))
    }

    fn task(&self, id: Id) -> Rc<OtherTask> {
        if let Some(known) = self.others.borrow().get(&id) {
            return Rc::clone(known);
        }
        let task = Rc::new(OtherTask::of(id, &(self.other)(id)));
        self.others.borrow_mut().insert(id, Rc::clone(&task));
        task
    }

    /// The agent that an event gives the task to, and what the task requires of it.
    pub fn taken_by<'e>(&'e self, event: &'e Event) -> Option<(&'e str, &'e Needs)> {
        let (before, author) = (self.before.get(&event.id)?, event.author.agent.as_str());
        let is_in_progress = before.status == Status::InProgress;
        let taker = if let Payload::TaskStatusChanged(p) = &event.payload {
            let begins = p.to == Status::InProgress && (!is_in_progress || p.owner.is_some());
            let named = p.owner.as_ref().map_or(before.owner.as_deref(), |owner| owner.as_deref());
            let taker = named.unwrap_or(author);
            let again = is_in_progress && taker == author && self.command(event).takes;
            Some(taker).filter(|_| begins && !again)
        } else if let Payload::TaskUpdated(p) = &event.payload {
            p.set.get("owner").and_then(Value::as_str).filter(|_| is_in_progress)
        } else {
            event.payload.grant().filter(|_| !self.again.contains(&event.id)).map(|p| p.holder.as_str())
        };
        Some((taker?, &before.needs))
    }

    /// What an event that resolves a thread needs of its author, besides the right.
    pub fn resolving(&self, event: &Event) -> Option<&Resolving> {
        self.before.get(&event.id)?.resolving.as_ref()
    }

    /// What else the command did that wrote an event.
    fn command(&self, event: &Event) -> Command {
        self.commands.get(&(event.author.agent.as_str(), event.at)).copied().unwrap_or_default()
    }

    /// The rights that the command requires which wrote an event: the usual ones of its type, with these exceptions.
    fn by_kind(&self, event: &Event) -> Vec<AnyOf> {
        let command = self.command(event);
        let any = |verbs: &[Verb]| if verbs.is_empty() { Vec::new() } else { vec![verbs.to_vec()] };
        let before = self.before.get(&event.id);
        let rules = EventRules::of(&event.payload);
        match &event.payload {
            Payload::TaskCreated(p) if self.begins == Some(event.id) => created(&p.fields),
            // No command creates a task that its author has seen. Two clones that adopt one file create the same task.
            Payload::TaskCreated(p) if event.parents.is_empty() => {
                let mut asked = created(&p.fields);
                asked.extend(self.before.contains_key(&event.id).then(|| vec![Verb::Update]));
                asked
            }
            Payload::TaskCreated(_) => any(&[Verb::Admin]),
            _ if command.imports && rules.imported => any(&[Verb::Create]),
            Payload::ProgressItemAdded(_) | Payload::ContextAdded(_) | Payload::ContextSuperseded(_)
                if command.adds =>
            {
                any(&[Verb::Create, Verb::Comment])
            }
            Payload::TaskUpdated(_) if repeats_import(event) && before.is_some_and(|before| before.imported) => {
                any(&[Verb::Create, Verb::Update])
            }
            Payload::TaskUpdated(p)
                if takes_over(event, p.set.iter()) && before.is_some_and(|before| before.granted) =>
            {
                any(&[Verb::Claim, Verb::Update])
            }
            Payload::TaskArchived(p) => {
                let end = moves::end(p.completed_at, p.cancelled_at);
                match before.map(|before| before.end) {
                    Some(had) if had.is_none() || end.is_some_and(|end| had != Some(end)) => {
                        vec![vec![Verb::Archive], vec![verb_for(end.unwrap_or(closed(p.from)))]]
                    }
                    _ => any(rules.rights),
                }
            }
            Payload::TaskStatusChanged(p) => match self.moved(event, p, before) {
                asked if asked.is_empty() => self.displaced(event, p),
                asked => asked,
            },
            Payload::TaskReopened(_) if command.rejects => any(&[&[Verb::Verify], rules.rights].concat()),
            Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf => {
                any(if command.creates { &[Verb::Split] } else { rules.rights })
            }
            Payload::RelationshipAdded(p)
                if command.creates || (has_origin(&p.metadata) && self.is_among_imported(p, before)) =>
            {
                any(&[Verb::Create, Verb::Relate])
            }
            Payload::RelationshipRemoved(p) if self.parents.contains(&p.relationship) => {
                any(&[Verb::Update, Verb::Relate])
            }
            Payload::ContextAdded(p) if command.completes && p.kind == ContextType::Outcome => {
                any(&[Verb::Complete, Verb::Comment])
            }
            Payload::AcceptanceMet(_) if command.completes => any(&[Verb::Complete, Verb::Verify]),
            // An author may withdraw a proposal.
            Payload::ThreadResolved(_) if self.resolving(event).is_some_and(|resolving| resolving.withdraws) => {
                any(&[Verb::Resolve, Verb::Update, Verb::Discuss])
            }
            Payload::LeaseAcquired(p)
                if self.again.contains(&event.id) && self.holder.is_none_or(|holder| holder == p.holder) =>
            {
                Vec::new()
            }
            // Granted on another branch, to an agent that had the right to take the task, or was given it.
            Payload::LeaseReleased(p) if !self.leases.contains(&p.lease) => {
                any(&[Verb::Claim, Verb::Complete, Verb::Override])
            }
            payload => any(EventRules::of(payload).rights),
        }
    }

    /// Whether an edge connects two imported tasks.
    fn is_among_imported(&self, p: &RelationshipAdded, before: Option<&SeenState>) -> bool {
        let here = |id: Id| p.kind.home(p.from, p.to) == id;
        let is = |id: Id| if here(id) { before.is_some_and(|before| before.imported) } else { self.is_imported(id) };
        is(p.from) && is(p.to)
    }

    fn is_imported(&self, id: Id) -> bool {
        self.task(id).is_imported
    }

    /// The rights required of an event that requires none by itself, if it replaces the status that the known events alone
    /// give.
    fn displaced(&self, event: &Event, p: &TaskStatusChanged) -> Vec<AnyOf> {
        let Some(alone) = self.alone.as_ref().filter(|_| self.decides == Some(event.id)) else { return Vec::new() };
        match p.to {
            Status::InProgress if alone.status != p.to || alone.owner.as_ref() != Some(&event.author.agent) => {
                vec![vec![Verb::Claim]]
            }
            Status::Open if !matches!(alone.status, Status::Open | Status::Blocked) => vec![Verb::OPENING.to_vec()],
            _ => Vec::new(),
        }
    }

    fn moved(&self, event: &Event, p: &TaskStatusChanged, before: Option<&SeenState>) -> Vec<AnyOf> {
        let mut command = self.command(event);
        // An agent that takes a task again names itself as the owner.
        command.takes &= p.owner.as_ref().is_none_or(|owner| owner.as_ref() == Some(&event.author.agent));
        let opens = p.from == Status::Blocked && p.to == Status::Open;
        let mut blockers = before.into_iter().flat_map(|before| &*before.blockers);
        if opens && is_plain(p) && blockers.any(|blocker| !self.task(*blocker).is_finished) {
            // Its blocker may be open again since. An agent with any of these rights may have finished it or begun it again.
            let asked = moved(p, command, before);
            return if asked.is_empty() { vec![Verb::OPENING.to_vec()] } else { asked };
        }
        moved(p, command, before)
    }
}

fn is_plain(p: &TaskStatusChanged) -> bool {
    p.owner.is_none() && p.changed_at.is_none() && p.forced.is_empty()
}

/// A task may be created in a later state, though no command allows it: that requires the rights that lead there.
fn created(fields: &Fields) -> Vec<AnyOf> {
    let mut asked = vec![vec![Verb::Create]];
    let status = fields.get("status").and_then(Value::as_str).and_then(Status::from_word);
    match status {
        None | Some(Status::Open | Status::Blocked) => {}
        Some(status) => asked.push(vec![verb_for(status)]),
    }
    asked
}

fn moved(p: &TaskStatusChanged, command: Command, before: Option<&SeenState>) -> Vec<AnyOf> {
    let plain = is_plain(p);
    let from = before.map_or(p.from, |before| before.status);
    let archives_again = command.archives && before.is_some_and(|before| before.archived_before);
    match (from, p.to) {
        // The agent that finishes the last blocker opens the task. The holder repeats the move if the remote confirmed late.
        (Status::Blocked, Status::Open) if plain && p.from == Status::Blocked => Vec::new(),
        (Status::Open, Status::Open) if plain && p.from == Status::Blocked => vec![Verb::OPENING.to_vec()],
        (Status::InProgress, Status::InProgress) if command.takes => Vec::new(),
        // Archiving again what was archived goes through the state before it.
        (_, Status::Completed) if archives_again => vec![vec![Verb::Complete, Verb::Archive]],
        (_, Status::Cancelled) if archives_again => vec![vec![Verb::Cancel, Verb::Archive]],
        (from, Status::Open) if from.is_finished() => vec![vec![Verb::Update]],
        (Status::InProgress, Status::Blocked) if p.owner.is_some() => vec![vec![Verb::Claim, Verb::Relate]],
        (Status::InProgress, Status::Blocked) => vec![vec![Verb::Relate, Verb::Claim]],
        (_, to) => vec![rights_to(to).to_vec()],
    }
}

/// The state in which a task was closed, for an event that archives it.
fn closed(from: Status) -> Status {
    if from == Status::Cancelled { Status::Cancelled } else { Status::Completed }
}

fn has_origin(metadata: &Value) -> bool {
    metadata.get("origin").is_some()
}
