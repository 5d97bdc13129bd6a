//! Which right an event asks for, once it stands in a log: the right of the command that writes it.
//!
//! Promises: where more than one command writes an event, the right of any of them will do; what agentpm adds by itself (a task
//! that is open again because its blockers are finished, a lease given back) asks for none. Events of one log by one agent at
//! one time are taken for one command: completing may mark criteria and leave an outcome, importing may bring parts along.
//! Refuses to know: who has which right (`roles`), where the log was read, and whether the name in an event is true.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::decide::verb_for;
use super::register::parent_edges;
use super::roles::Verb;
use crate::model::context::ContextType;
use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::{Fields, Payload, TaskStatusChanged};
use crate::model::relationship::RelationType;
use crate::model::task::Status;
use crate::model::time::Time;

/// Rights of which one is enough. The first is the one that the usual command asks for.
pub type AnyOf = Vec<Verb>;

/// What else one command did in the same log.
#[derive(Clone, Copy, Default)]
struct Command {
    creates: bool,
    /// It brings a task in.
    imports: bool,
    /// It brings parts of a task in.
    adds: bool,
    completes: bool,
    archives: bool,
    takes: bool,
}

/// A log as far as it says which command wrote what.
pub struct Asked<'a> {
    commands: BTreeMap<(&'a str, Time), Command>,
    parents: BTreeSet<Id>,
    /// The grants by which a holder was granted again what it held.
    again: BTreeSet<Id>,
}

impl<'a> Asked<'a> {
    /// Reads a log for it.
    pub fn of(log: &'a [Entry]) -> Self {
        let mut commands: BTreeMap<(&str, Time), Command> = BTreeMap::new();
        for event in log.iter().map(|entry| &entry.event) {
            let command = commands.entry((&event.author.agent, event.at)).or_default();
            match &event.payload {
                Payload::TaskCreated(p) => {
                    command.creates = true;
                    command.imports |= p.fields.get("metadata").is_some_and(has_origin);
                }
                Payload::TaskUpdated(p) => command.adds |= is_origin_alone(p.set.keys()),
                Payload::TaskStatusChanged(p) => command.completes |= p.to == Status::Completed,
                Payload::TaskArchived(_) => command.archives = true,
                _ => {}
            }
        }
        let again = granted_again(log);
        for event in log.iter().map(|entry| &entry.event).filter(|event| again.contains(&event.id)) {
            commands.entry((&event.author.agent, event.at)).or_default().takes = true;
        }
        Asked { commands, parents: parent_edges(log), again }
    }

    /// The rights that an event of the log asks for: of each entry one.
    pub fn by(&self, event: &Event) -> Vec<AnyOf> {
        let command = self.commands.get(&(event.author.agent.as_str(), event.at)).copied().unwrap_or_default();
        let any = |verbs: &[Verb]| vec![verbs.to_vec()];
        match &event.payload {
            Payload::LeaseReleased(_) => Vec::new(),
            Payload::LeaseOverride(_) => any(&[Verb::Override]),
            Payload::AgentRegistered(_) | Payload::AgentUpdated(_) => any(&[Verb::Register]),
            Payload::TaskCreated(p) => created(&p.fields),
            // What a newer version writes is judged by whoever may do everything.
            Payload::Unknown { .. } => any(&[Verb::Admin]),
            payload if payload.journal_only() => Vec::new(),
            _ if command.imports => any(&[Verb::Create]),
            Payload::TaskUpdated(p) if is_origin_alone(p.set.keys()) => any(&[Verb::Create, Verb::Update]),
            Payload::ProgressItemAdded(_) | Payload::ContextAdded(_) | Payload::ContextSuperseded(_)
                if command.adds =>
            {
                any(&[Verb::Create, Verb::Comment])
            }
            Payload::TaskUpdated(p) if takes_over(event, p.set.iter()) => any(&[Verb::Claim, Verb::Update]),
            Payload::TaskUpdated(_) | Payload::ContextRedacted(_) => any(&[Verb::Update]),
            Payload::TaskReopened(_) => any(&[Verb::Update, Verb::Claim, Verb::Relate]),
            Payload::TaskArchived(_) => any(&[Verb::Archive]),
            Payload::TaskStatusChanged(p) => moved(p, command),
            Payload::RelationshipAdded(p) => match p.kind {
                RelationType::ParentOf if command.creates => any(&[Verb::Split]),
                RelationType::ParentOf => any(&[Verb::Update, Verb::Relate]),
                _ if command.creates || has_origin(&p.metadata) => any(&[Verb::Create, Verb::Relate]),
                _ => any(&[Verb::Relate]),
            },
            Payload::RelationshipRemoved(p) if self.parents.contains(&p.relationship) => {
                any(&[Verb::Update, Verb::Relate])
            }
            Payload::RelationshipRemoved(_) => any(&[Verb::Relate]),
            Payload::ContextAdded(p) if command.completes && p.kind == ContextType::Outcome => {
                any(&[Verb::Complete, Verb::Comment])
            }
            Payload::ProgressItemAdded(_)
            | Payload::ProgressItemCompleted(_)
            | Payload::ProgressItemReopened(_)
            | Payload::ContextAdded(_)
            | Payload::ContextSuperseded(_) => any(&[Verb::Comment]),
            Payload::AcceptanceMet(_) if command.completes => any(&[Verb::Complete, Verb::Verify]),
            Payload::AcceptanceMet(_) | Payload::TaskVerified(_) => any(&[Verb::Verify]),
            Payload::LeaseAcquired(_) if self.again.contains(&event.id) => Vec::new(),
            Payload::LeaseAcquired(_) => any(&[Verb::Claim]),
            _ => Vec::new(),
        }
    }
}

/// A task may begin in a later state, though no command lets it: that asks for what would lead there.
fn created(fields: &Fields) -> Vec<AnyOf> {
    let mut asked = vec![vec![Verb::Create]];
    let status = fields.get("status").and_then(Value::as_str).and_then(Status::from_word);
    match status {
        None | Some(Status::Open | Status::Blocked) => {}
        Some(status) => asked.push(vec![verb_for(status)]),
    }
    asked
}

fn moved(p: &TaskStatusChanged, command: Command) -> Vec<AnyOf> {
    let plain = p.owner.is_none() && p.changed_at.is_none() && p.forced.is_empty();
    let mut asked = match (p.from, p.to) {
        // Whoever finishes its last blocker opens it, and whoever holds it says so once more where the remote agreed late.
        (Status::Blocked, Status::Open) if plain => return Vec::new(),
        (Status::InProgress, Status::InProgress) if command.takes => return Vec::new(),
        // Archiving again what was archived passes through the state before it.
        (_, Status::Completed) if command.archives => vec![vec![Verb::Complete, Verb::Archive]],
        (_, Status::Cancelled) if command.archives => vec![vec![Verb::Cancel, Verb::Archive]],
        (_, Status::Completed) => vec![vec![Verb::Complete]],
        (_, Status::Cancelled) => vec![vec![Verb::Cancel]],
        (_, Status::Archived) => vec![vec![Verb::Archive]],
        (_, Status::InProgress | Status::Open) => vec![vec![Verb::Claim]],
        (Status::InProgress, Status::Blocked) if p.owner.is_some() => vec![vec![Verb::Claim, Verb::Relate]],
        (Status::InProgress, Status::Blocked) => vec![vec![Verb::Relate, Verb::Claim]],
        // Reopening a blocker blocks what waits for it.
        (_, Status::Blocked) => vec![vec![Verb::Relate, Verb::Update, Verb::Claim]],
    };
    if !p.forced.is_empty() {
        asked.push(vec![Verb::Override]);
    }
    asked
}

/// Whether an update does no more than make its author the owner, under a lease.
fn takes_over<'v>(event: &Event, mut set: impl Iterator<Item = (&'v String, &'v Value)>) -> bool {
    let first = set.next();
    first.is_some_and(|(name, value)| name == "owner" && value.as_str() == Some(&event.author.agent))
        && set.next().is_none()
        && event.fence.is_some()
}

fn has_origin(metadata: &Value) -> bool {
    metadata.get("origin").is_some()
}

fn is_origin_alone<'v>(mut names: impl Iterator<Item = &'v String>) -> bool {
    names.next().is_some_and(|name| name == "metadata.origin") && names.next().is_none()
}

fn granted_again(log: &[Entry]) -> BTreeSet<Id> {
    let mut leases: Vec<&Event> = log.iter().map(|entry| &entry.event).collect();
    leases.retain(|event| matches!(event.payload, Payload::LeaseAcquired(_) | Payload::LeaseReleased(_)));
    leases.sort_by_key(|event| event.stamp());
    let mut again = BTreeSet::new();
    let mut holder: Option<&str> = None;
    for event in leases {
        let next = match &event.payload {
            Payload::LeaseAcquired(p) => Some(p.holder.as_str()),
            _ => None,
        };
        if next.is_some() && next == holder && next == Some(&event.author.agent) {
            again.insert(event.id);
        }
        holder = next;
    }
    again
}
