//! What a decision needs from the remote before it takes effect.
//!
//! Leaves to others: asking for it (`replies`), and whether the remote agrees (`rules::confirm`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::commit::transaction::Transaction;
use crate::error::{Error, Result};
use crate::model::agent::{LeaseRecord, RemoteState, Seen};
use crate::model::event::{Author, Entity, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::confirm::{self, Goal, KnownEnds, LeaseRequest};
use crate::rules::event_rules::status_of;
use crate::rules::lease;
use crate::rules::stage::Stage as _;
use crate::runtime::records;

/// How a command asks for leases.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    /// For this task only; an expired lease of another holder may be taken over.
    pub explicit: bool,
    /// Regardless of events of other clones that are not here.
    pub here: bool,
}

/// What a decision needs from the remote before it takes effect.
pub(crate) enum Need {
    /// A lease, the record last seen in its place, and the highest fence granted here before.
    Acquire(Box<LeaseRequest>, Option<Seen>, u64),
    /// More time for a lease at the remote: its new end, the time now, and the Lamport time.
    Renew(Seen, Time, Time, u64),
    /// Confirmation that a lease is still at the remote.
    Verify(Seen),
    /// Confirmation that no other agent holds a task that starts or ends without a lease.
    Look(Id),
}

impl Need {
    /// The refusal where this record at the remote rules it out.
    pub(super) fn refusal(&self, seen: &Seen, now: Time) -> Error {
        let (task, r, held) = (self.task(), &seen.record, lease::at_remote(seen));
        let knows_ends = match self {
            Need::Acquire(wish, ..) => r.ends.iter().all(|end| wish.known.events.contains(end)),
            Need::Renew(..) | Need::Verify(_) | Need::Look(_) => true,
        };
        match r.state {
            RemoteState::Held if knows_ends || held.is_live(now) => {
                lease::refusal(task, &LeaseRecord::default(), &held, &self.holder())
            }
            RemoteState::Released if knows_ends => lease::behind(task, r.fence),
            RemoteState::Held | RemoteState::Released | RemoteState::Finished => lease::unseen_end(task, r, seen.ours),
        }
    }

    fn holder(&self) -> Author {
        match self {
            Need::Acquire(wish, ..) => wish.holder.clone(),
            Need::Renew(mine, ..) | Need::Verify(mine) => {
                Author { agent: mine.record.agent.clone(), session: mine.record.session, ..Author::default() }
            }
            Need::Look(_) => Author::default(),
        }
    }

    pub(super) fn task(&self) -> Id {
        match self {
            Need::Acquire(wish, ..) => wish.task,
            Need::Renew(seen, ..) | Need::Verify(seen) => seen.record.task,
            Need::Look(task) => *task,
        }
    }
}

impl Transaction<'_> {
    /// What the remote must be asked before a decision takes effect.
    pub(crate) fn needs(&mut self, clone: Id, ask: Ask) -> Result<Vec<Need>> {
        let Some(replies) = self.replies.clone() else { return Ok(Vec::new()) };
        let mut needs: BTreeMap<Id, Need> = BTreeMap::new();
        let ends = self.entries.iter().filter(|entry| lease::is_end(&entry.event.payload));
        let ending: BTreeSet<Id> = ends.filter_map(|entry| entry.event.entity.task()).collect();
        for entry in self.entries.clone() {
            let event = &entry.event;
            let Entity::Task(task) = event.entity else { continue };
            if lease::is_end(&event.payload) {
                let asked = replies.chosen.contains_key(&task) || replies.unheard.contains_key(&task);
                if !asked && self.is_old(task) {
                    let wish = self.finishing(event, clone, ask)?;
                    let granted = records::lease(self.runtime, task)?.fence.max(self.known_fence(task)?);
                    needs.insert(task, Need::Acquire(Box::new(wish), self.lease(task)?.remote, granted));
                }
                continue;
            }
            // The record of the end covers the task.
            if ending.contains(&task) || replies.grants.contains_key(&task) || replies.answered.contains(&task) {
                continue;
            }
            let known = self.lease(task)?.remote;
            let seen = known.clone().filter(|seen| seen.ours && event.fence == Some(seen.record.fence));
            if let Some(p) = event.payload.grant() {
                let wish = LeaseRequest {
                    explicit: ask.explicit,
                    lamport: self.lamport(),
                    task,
                    goal: Goal::Hold,
                    lease: p.lease,
                    holder: Author { agent: p.holder.clone(), session: p.session, ..Author::default() },
                    clone,
                    fence: p.fence.saturating_add(confirm::STEP - 1),
                    known: self.known(task, ask)?,
                    expires_at: p.expires_at,
                    now: event.at,
                };
                needs.insert(task, Need::Acquire(Box::new(wish), known, p.fence.saturating_sub(1)));
            } else if let Some(seen) = seen {
                if let Payload::LeaseRenewed(p) = &event.payload {
                    if seen.record.lease == p.lease {
                        needs.insert(task, Need::Renew(seen, p.expires_at, event.at, event.lamport));
                    }
                } else if status_of(event).is_some() {
                    needs.entry(task).or_insert(Need::Verify(seen));
                }
            } else if let Payload::TaskStatusChanged(p) = &event.payload
                && event.fence.is_none()
                && p.from != Status::Blocked
                && !replies.fresh
                && self.is_old(task)
            {
                needs.entry(task).or_insert(Need::Look(task));
            }
        }
        Ok(needs.into_values().collect())
    }

    /// The request to record that an event of this command ends its task.
    fn finishing(&mut self, event: &Event, clone: Id, ask: Ask) -> Result<LeaseRequest> {
        let Some(task) = event.entity.task() else { return Err(Error::state("only a task is finished")) };
        // The lease of the event, which the same command releases.
        let mut here = self.entries.iter().filter(|entry| entry.event.entity == event.entity);
        let mine = here
            .clone()
            .filter(|entry| entry.event.fence == event.fence)
            .find_map(|entry| if let Payload::LeaseReleased(p) = &entry.event.payload { Some(p.lease) } else { None });
        let before = records::lease(self.runtime, task)?.lease.filter(|lease| !lease.elsewhere);
        let holds = before.is_some_and(|lease| Some(lease.fence) == event.fence && lease.is_live(event.at));
        let anyway = here.any(|entry| matches!(entry.event.payload, Payload::LeaseOverride(_)));
        Ok(LeaseRequest {
            task,
            goal: Goal::Finish { event: event.id, anyway },
            lease: mine.unwrap_or(event.id),
            holder: event.author.clone(),
            clone,
            explicit: holds,
            lamport: self.lamport(),
            fence: event.fence.unwrap_or(0).max(self.known_fence(task)?),
            known: self.known(task, ask)?,
            expires_at: event.at,
            now: event.at,
        })
    }

    fn known(&mut self, task: Id, ask: Ask) -> Result<KnownEnds> {
        self.load_known(task)?;
        let events = self.tasks[&task].log.entries.iter().map(|entry| entry.event.id).collect();
        Ok(KnownEnds { events, in_spite: ask.here })
    }

    /// Whether a task existed before this command.
    pub(crate) fn is_old(&self, task: Id) -> bool {
        self.tasks.get(&task).is_some_and(|slot| !slot.log.entries.is_empty())
    }

    /// The leases at the remote that the decision releases.
    pub(super) fn ends(&mut self) -> Result<Vec<Seen>> {
        let mut ends = Vec::new();
        for entry in self.entries.clone() {
            let (Entity::Task(task), Payload::LeaseReleased(p)) = (&entry.event.entity, &entry.event.payload) else {
                continue;
            };
            let is_held =
                |seen: &Seen| seen.ours && seen.record.lease == p.lease && seen.record.state == RemoteState::Held;
            ends.extend(self.lease(*task)?.remote.filter(is_held));
        }
        Ok(ends)
    }
}
