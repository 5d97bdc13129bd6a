//! The events of a log that bypass another agent's lease, whatever they claim.
//!
//! Guarantees that only the log decides. A fence belongs to the agent it was granted to. A grant holds until the time it
//! names, since renewals only extend it, unless it was released or the task ended. An author is not blamed for what it could
//! not have seen.
//! Leaves to others: who may do that (`rights`), and whether the times in events are true.

use std::collections::{BTreeMap, BTreeSet};

use super::copies::is_hand_edit;
use super::event_rules::{EventRules, LeaseRule, status_of};
use super::fold::{Folding, order};
use super::lease;
use super::writers::Effect;
use crate::model::event::{Entity, Entry, Event};
use crate::model::id::Id;
use crate::model::payload::{LeaseAcquired, Payload};
use crate::model::task::Status;
use crate::model::time::Time;

/// The leases in a log.
struct Leases<'a> {
    now: Option<Time>,
    /// All events, also those without an effect, since ancestry leads through them.
    events: BTreeMap<Id, &'a Event>,
    /// Those with an effect.
    effective: BTreeSet<Id>,
    grants: Vec<(&'a LeaseAcquired, &'a Event)>,
    /// The task came from an import.
    is_imported: bool,
    /// The imports that added to it: agent and time.
    repeated_imports: BTreeSet<(&'a str, Time)>,
}

/// Whether an event is a change for which its command requires the lease of the task. A repeated import adds edges and steps to an
/// imported task without it; `repeats_import` says whether its command is one.
pub fn needs_lease(payload: &Payload, is_imported: bool, repeats_import: bool) -> bool {
    let rules = EventRules::of(payload);
    let is_edge = matches!(payload, Payload::RelationshipAdded(p) if p.metadata.get("origin").is_some());
    let is_import = is_edge || (repeats_import && rules.adds_entry);
    let is_free = matches!(rules.lease, LeaseRule::Free | LeaseRule::Optional);
    !(is_free || is_imported && is_import)
}

/// Whether an event records what a repeated import added to an imported task.
pub fn repeats_import(event: &Event) -> bool {
    let Payload::TaskUpdated(p) = &event.payload else { return false };
    p.set.len() == 1 && p.set.contains_key("metadata.origin")
}

/// The effective events that bypass a lease, each with the holder; `None` if that fence was granted to no agent. If the time
/// is known, later events count as of that time.
pub fn lease_bypasses<'a>(entity: &Entity, log: &'a [Entry], now: Option<Time>) -> BTreeMap<Id, Option<&'a str>> {
    let is_lease =
        |entry: &&Entry| matches!(entry.event.payload, Payload::LeaseAcquired(_) | Payload::LeaseReleased(_));
    let (Some(id), Some(_)) = (entity.task(), log.iter().find(is_lease)) else { return BTreeMap::new() };
    let folding = Folding::of(id, &order(entity, log).events);
    let counts = folding.taken().iter().filter(|one| one.effect == Effect::Counts);
    let events: Vec<&Event> = counts.map(|one| one.event).collect();
    let grants = events.iter().filter_map(|event| grant(event)).collect();
    let all = log.iter().map(|entry| (entry.event.id, &entry.event)).collect();
    let effective = events.iter().map(|event| event.id).collect();
    let is_imported = folding.clone().finish().fields.metadata.contains_key("origin");
    let repeats = events.iter().filter(|event| is_imported && repeats_import(event));
    let repeated_imports = repeats.map(|event| (event.author.agent.as_str(), event.at)).collect();
    let leases = Leases { now, events: all, effective, grants, is_imported, repeated_imports };
    events.into_iter().filter_map(|event| Some((event.id, leases.bypassed_holder(event)?))).collect()
}

fn grant(event: &Event) -> Option<(&LeaseAcquired, &Event)> {
    Some((event.payload.grant()?, event))
}

impl<'a> Leases<'a> {
    fn bypassed_holder(&self, event: &Event) -> Option<Option<&'a str>> {
        // The holder among the grants that match, if it is another agent.
        let of_another = |fits: &dyn Fn(&LeaseAcquired) -> bool| {
            let mut holders = self.grants.iter().filter(|(p, _)| fits(p)).map(|(p, _)| p.holder.as_str()).peekable();
            let first = holders.peek().copied();
            (!holders.any(|holder| holder == event.author.agent)).then_some(first)
        };
        if let Payload::LeaseReleased(p) = &event.payload {
            // A lease that was granted on another branch, and by no event here, cannot be released here.
            return of_another(&|grant| grant.lease == p.lease).filter(Option::is_some);
        }
        if let Some(p) = event.payload.grant() {
            // Whether a lease is taken for another agent is checked by `rights`.
            return self.live_before(event, &p.holder).map(Some);
        }
        let repeats_import = self.repeated_imports.contains(&(event.author.agent.as_str(), event.at));
        if !needs_lease(&event.payload, self.is_imported, repeats_import) {
            return None;
        }
        let Some(fence) = event.fence else {
            // Consequences for a task are written by the agent that changes the other tasks.
            let is_consequence = matches!(&event.payload, Payload::TaskStatusChanged(p)
                if p.owner.is_none() && waits(p.from) && waits(p.to));
            return if is_consequence { None } else { self.live_before(event, &event.author.agent).map(Some) };
        };
        // A fence that the log does not grant at all is reported as such.
        if self.grants.iter().all(|(p, _)| p.fence < fence) {
            return None;
        }
        of_another(&|grant| grant.fence == fence).or_else(|| self.superseded(event, fence).map(Some))
    }

    /// The agent to which the task had passed under a greater fence, as far as the author of an event had seen.
    fn superseded(&self, event: &Event, fence: u64) -> Option<&'a str> {
        let passed = |(p, _): &&(&LeaseAcquired, &Event)| p.fence > fence && p.holder != event.author.agent;
        if !self.grants.iter().any(|grant| passed(&grant)) {
            return None;
        }
        let before = self.before(event);
        let known = self.grants.iter().filter(|(_, given)| before.contains(&given.id));
        known.filter(passed).map(|(p, _)| p.holder.as_str()).next()
    }

    /// The holder as far as the author of an event had seen, if that is another agent than `me`.
    fn live_before(&self, event: &Event, me: &str) -> Option<&'a str> {
        let at = self.now.map_or(event.at, |now| event.at.min(now));
        let may_live = |(p, given): &(&LeaseAcquired, &Event)| {
            p.holder != me && p.expires_at > at && given.stamp() < event.stamp()
        };
        if !self.grants.iter().any(may_live) {
            return None;
        }
        let holder = self.live_among(&self.before(event), me, at);
        if !is_hand_edit(event) {
            return holder;
        }
        // A person had seen the file, but the edit is recorded later, perhaps once the lease is over.
        let earlier = self.events.values().filter(|other| other.stamp() < event.stamp());
        holder.filter(|_| self.live_among(&earlier.map(|other| other.id).collect(), me, at).is_some())
    }

    /// The holder by these events, if that is another agent than `me`.
    fn live_among(&self, before: &BTreeSet<Id>, me: &str, at: Time) -> Option<&'a str> {
        let known: Vec<_> = self.grants.iter().filter(|(_, given)| before.contains(&given.id)).collect();
        let highest = known.iter().map(|(p, _)| p.fence).max()?;
        let top = || known.iter().filter(|(p, _)| p.fence == highest);
        // Of several equal fences, one may be the author's, or the one that counted is over.
        let is_free = |(p, given): &(&LeaseAcquired, &Event)| {
            p.holder == me || p.expires_at <= at || self.ended(p, given, me, before)
        };
        if top().any(|grant| is_free(grant)) { None } else { top().next().map(|(p, _)| p.holder.as_str()) }
    }

    /// Whether a lease was over by then: released by its holder, overridden openly, or its task ended.
    fn ended(&self, p: &LeaseAcquired, given: &Event, me: &str, before: &BTreeSet<Id>) -> bool {
        let later = before.intersection(&self.effective).filter_map(|id| self.events.get(id));
        let later = later.filter(|event| event.stamp() > given.stamp());
        later.into_iter().any(|event| {
            let is_override = matches!(event.payload, Payload::LeaseOverride(_)) && event.author.agent == me;
            is_override || lease::gives_back(event, p) || status_of(event).is_some_and(Status::is_finished)
        })
    }

    /// The ancestors of an event.
    fn before(&self, event: &Event) -> BTreeSet<Id> {
        let (mut found, mut next) = (BTreeSet::new(), event.parents.clone());
        while let Some(id) = next.pop() {
            if found.insert(id) {
                next.extend(self.events.get(&id).into_iter().flat_map(|event| &event.parents));
            }
        }
        found
    }
}

fn waits(status: Status) -> bool {
    matches!(status, Status::Open | Status::Blocked)
}
