//! Adds events to the stage: composes, signs and folds them.
//!
//! Guarantees that an event counts for the state of its task as it will when its log is read, or is refused. Its parents are
//! the events that the actor has seen.
//! Leaves to others: which events a command emits (`rules::decide`).

use std::rc::Rc;

use serde_json::json;

use super::{OnStage, Transaction};
use crate::engine::commit::keys;
use crate::error::{Error, Result};
use crate::model::event::{ENVELOPE_VERSION, Entity, Entry, Event, MAX_CLOCK, MAX_LAMPORT};
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::model::payload::{Payload, SessionEnded};
use crate::model::relationship::RelationType;
use crate::model::signature::SecretKey;
use crate::model::task::Task;
use crate::rules::stage::{Draft, Stage as _};
use crate::rules::{fold, lease, session};
use crate::runtime::records;
use crate::store::log::Log;

/// Maximum number of parents that one event names.
const MAX_PARENTS: usize = 500;

impl Transaction<'_> {
    /// Adds an event to the stage, with its effect on task, lease, agent and sessions.
    ///
    /// Errors: those of the fold, if the event does not count.
    pub(super) fn append(&mut self, draft: Draft) -> Result<Id> {
        self.rest();
        let announced = self.announced_id(&draft);
        let event = self.compose(draft, announced)?;
        let (id, lamport) = (event.id, event.lamport);
        let entry = self.signed(event)?;
        if lamport <= MAX_CLOCK {
            self.lamport = lamport;
        }
        self.put_sessions(&entry.event)?;
        match entry.event.entity.clone() {
            Entity::Task(task) => {
                self.put_lease(task, &entry.event)?;
                if entry.event.payload.journal_only() {
                    self.entries.push(entry);
                } else {
                    self.put_task(task, entry)?;
                    if let Some(seen) = self.seen.get_mut(&task) {
                        *seen = vec![id];
                    }
                }
            }
            Entity::Agent(name) => self.put_agent(&name, entry)?,
            Entity::Session(_) => self.entries.push(entry),
        }
        Ok(id)
    }

    /// The id under which the end of a task was sent to the remote, unless another event has it already. A record that was sent and not
    /// confirmed may arrive later, and must then name an event that exists.
    fn announced_id(&self, draft: &Draft) -> Option<Id> {
        let task = draft.entity.task().filter(|_| lease::is_end(&draft.payload))?;
        let replies = self.replies.as_ref()?;
        let sent = replies.chosen.get(&task).or_else(|| replies.unheard.get(&task)).copied()?;
        (!self.entries.iter().any(|e| e.event.id == sent)).then_some(sent)
    }

    fn compose(&mut self, draft: Draft, announced: Option<Id>) -> Result<Event> {
        let (heads, least) = self.heads(&draft.entity)?;
        let seen = draft.entity.task().and_then(|id| self.seen.get(&id).cloned());
        let lamport = self.lamport.max(least) + 1;
        if lamport > MAX_LAMPORT {
            return Err(Error::state("the Lamport clock of this clone has reached its maximum"));
        }
        Ok(Event {
            v: ENVELOPE_VERSION,
            id: announced.map_or_else(|| self.ws.env.new_id(), Ok)?,
            lamport,
            parents: if draft.payload.journal_only() { Vec::new() } else { seen.unwrap_or(heads) },
            entity: draft.entity,
            author: self.me.clone(),
            at: self.now,
            fence: draft.fence,
            precedence: self.precedence()?,
            why: draft.why.filter(|why| !why.is_empty()),
            payload: draft.payload,
            sig: None,
        })
    }

    /// Applies an event to the lease of its task.
    fn put_lease(&mut self, task: Id, event: &Event) -> Result<()> {
        let mut record = self.lease(task)?;
        let before = record.clone();
        lease::apply(&mut record, event);
        lease::merge_remote_record(&mut record);
        if lease::is_end(&event.payload) {
            let confirmed = self.replies.as_ref().and_then(|replies| replies.chosen.get(&task));
            let is_unreported = confirmed != Some(&event.id) && self.ws.lease_remote().is_some() && self.is_old(task);
            record.ended = is_unreported.then_some(event.id);
        }
        let lease = record.lease.as_ref().or(before.lease.as_ref());
        if let Some(lease) = lease.filter(|lease| event.fence == Some(lease.fence)) {
            self.used_leases.insert(lease.id, lease.expires_at);
        }
        if record != before {
            self.leases.insert(task, record);
        }
        Ok(())
    }

    /// Adds an event of an agent, and folds its log again.
    fn put_agent(&mut self, name: &str, entry: Entry) -> Result<()> {
        self.agent(name)?;
        self.entries.push(entry);
        if let Some((agent, log)) = self.agents.get_mut(name) {
            let entity = Entity::Agent(name.to_owned());
            let all = log.entries.iter().chain(&self.entries);
            *agent = fold::fold_agent(name, all.filter(|e| e.event.entity == entity).collect::<Vec<_>>()).0;
        }
        Ok(())
    }

    fn key(&mut self) -> Result<Option<&SecretKey>> {
        if self.key.is_none() {
            self.key = Some(keys::key_of(self.ws, &self.me.agent, self.runtime)?);
        }
        Ok(self.key.as_ref().and_then(Option::as_ref))
    }

    /// The event as its line, signed where the actor has a key. What a key signs is bound to the event that registered it.
    fn signed(&mut self, event: Event) -> Result<Entry> {
        if event.payload.journal_only() {
            return Entry::new(event);
        }
        if self.key()?.is_none() {
            let next = event.payload.registration().and_then(|p| p.public_key.as_deref());
            let own = next.filter(|_| event.entity == Entity::Agent(self.me.agent.clone()));
            let next = own.map(|key| keys::kept_key(&self.me.agent, self.runtime, key)).transpose()?.flatten();
            return next.map_or_else(|| Entry::new(event.clone()), |key| key.sign(event.clone(), event.id));
        }
        let agent = self.agent(&self.me.agent.clone())?;
        let Some(key) = self.key()? else { return Entry::new(event) };
        let registered = agent.key_since.filter(|_| agent.public_key.as_ref() == Some(&key.public()));
        let id = event.id;
        key.sign(event, registered.map_or(id, |stamp| stamp.id))
    }

    /// The actor's precedence, which its events record.
    fn precedence(&mut self) -> Result<Option<i64>> {
        if self.ws.rights.0.is_none() {
            return Ok(None);
        }
        let role = self.role()?;
        Ok(self.ws.rights.precedence(&self.me.agent, role.as_deref()))
    }

    fn put_task(&mut self, id: Id, entry: Entry) -> Result<()> {
        if !self.load(id)? {
            self.tasks.insert(id, OnStage { task: Rc::new(Task::blank(id)), log: Log::default(), changed: false });
        }
        // It was loaded or created just above.
        let slot = self.tasks.get_mut(&id).expect("the task is on the stage");
        let finding = if fold::is_plain(&slot.task, &entry.event) {
            fold::apply(Rc::make_mut(&mut slot.task), &entry.event)
        } else {
            let is_here = |e: &&Entry| e.event.entity == entry.event.entity && !e.event.payload.journal_only();
            let new = self.entries.iter().filter(is_here).chain([&entry]);
            let (task, findings) = fold::fold(id, slot.log.entries.iter().chain(new));
            slot.task = Rc::new(task);
            findings.into_iter().find(|one| one.event == Some(entry.event.id) && one.rule != Rule::LogGap)
        };
        if let Some(finding) = finding.filter(|finding| finding.rule != Rule::EventTime) {
            return Err(Error::state(finding.message).with(json!({ "task": id })));
        }
        slot.changed = true;
        if let Payload::RelationshipAdded(p) = &entry.event.payload {
            let others = match p.kind {
                RelationType::ParentOf => Some(&mut self.children),
                RelationType::Blocks => Some(&mut self.dependents),
                RelationType::RelatesTo | RelationType::Duplicates => None,
            };
            others.map(|others| others.entry(p.from).or_default().insert(p.to));
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Parents of the next event of an entity, and the Lamport time below which it may not be.
    fn heads(&mut self, entity: &Entity) -> Result<(Vec<Id>, u64)> {
        match entity {
            Entity::Task(id) => {
                let known = self.load(*id)?;
                let slot = known.then(|| self.tasks.get(id)).flatten();
                // If a log has more heads than an event can name, several events join them.
                let some = |slot: &OnStage| slot.task.heads.iter().rev().take(MAX_PARENTS).rev().copied().collect();
                Ok(slot.map_or((Vec::new(), 0), |slot| (some(slot), slot.task.lamport)))
            }
            Entity::Agent(name) => {
                let agent = self.agent(name)?;
                Ok((agent.heads, agent.lamport))
            }
            Entity::Session(_) => Ok((Vec::new(), 0)),
        }
    }

    /// Applies an event to the sessions that it names.
    fn put_sessions(&mut self, event: &Event) -> Result<()> {
        for id in session::concerned(event) {
            let known = self.session_by_id(id)?;
            if let Some(session) = session::after(known, id, event) {
                self.sessions.insert(id, session);
            }
        }
        Ok(())
    }

    /// Ends sessions that have been silent for too long, except that of the caller.
    pub fn close_silent(&mut self) -> Result<()> {
        let limit = self.ws.settings.session.limit_ms();
        for id in records::active_sessions(self.runtime)? {
            // Doctor reports an unreadable record; it must not prevent other work.
            let Ok(Some(known)) = self.session_by_id(id) else { continue };
            if Some(id) != self.me.session && session::is_silent(&known, self.now, limit) {
                let payload = Payload::SessionEnded(SessionEnded { silent: Some(true) });
                self.emit(Draft { entity: Entity::Session(id), payload, why: None, fence: None })?;
            }
        }
        Ok(())
    }
}
