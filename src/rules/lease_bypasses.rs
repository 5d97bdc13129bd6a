//! The events of a log that bypass another agent's lease, whatever they claim.
//!
//! Guarantees that only the log decides. A fence belongs to the agent it was granted to. A grant holds until the time it
//! names, since renewals only extend it, unless it was released or the task ended. An author is not blamed for what it could
//! not have seen.
//! Leaves to others: who may do that (`rights`), and whether the times in events are true.

use std::collections::{BTreeMap, BTreeSet};

use super::ancestry::Ancestry;
use super::copies::is_hand_edit;
use super::event_rules::{EventRules, LeaseRule, status_of};
use super::fold::{Folding, order};
use super::writers::Effect;
use crate::model::event::{Entity, Entry, Event, Stamp};
use crate::model::id::Id;
use crate::model::payload::{LeaseAcquired, Payload};
use crate::model::task::Status;
use crate::model::time::Time;

/// The leases in a log.
struct Leases<'a> {
    now: Option<Time>,
    /// Of all events, also those without an effect, since ancestry leads through them.
    ancestry: Ancestry<'a>,
    grants: Vec<(&'a LeaseAcquired, &'a Event)>,
    by_lease: BTreeMap<Id, Holders<'a>>,
    by_fence: BTreeMap<u64, Holders<'a>>,
    /// The greatest fence, with an agent that was granted it, and the greatest that was granted to any other agent.
    highest: Option<(u64, &'a str)>,
    highest_of_others: Option<u64>,
    /// The events by which a lease may be over.
    ends: Vec<&'a Event>,
    /// The task came from an import.
    is_imported: bool,
    /// The imports that added to it: agent and time.
    repeated_imports: BTreeSet<(&'a str, Time)>,
}

/// The agents that were granted a lease or a fence, and the first of them.
struct Holders<'a> {
    first: &'a str,
    all: BTreeSet<&'a str>,
}

/// The grants by what `key` names.
fn holders<'a, K: Ord>(
    grants: &[(&'a LeaseAcquired, &'a Event)],
    key: impl Fn(&LeaseAcquired) -> K,
) -> BTreeMap<K, Holders<'a>> {
    let mut found: BTreeMap<K, Holders> = BTreeMap::new();
    for (p, _) in grants {
        let first = p.holder.as_str();
        found.entry(key(p)).or_insert_with(|| Holders { first, all: BTreeSet::new() }).all.insert(first);
    }
    found
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
    let grants: Vec<(&LeaseAcquired, &Event)> = events.iter().filter_map(|event| grant(event)).collect();
    let highest = grants.iter().map(|(p, _)| (p.fence, p.holder.as_str())).max();
    let of_others = |(p, _): &&(&LeaseAcquired, &Event)| highest.is_some_and(|(_, holder)| p.holder != holder);
    let highest_of_others = grants.iter().filter(of_others).map(|(p, _)| p.fence).max();
    let ends = events.iter().copied().filter(|event| may_end(event)).collect();
    let is_imported = folding.clone().finish().fields.metadata.contains_key("origin");
    let repeats = events.iter().filter(|event| is_imported && repeats_import(event));
    let repeated_imports = repeats.map(|event| (event.author.agent.as_str(), event.at)).collect();
    let leases = Leases {
        now,
        ancestry: Ancestry::of(log),
        by_lease: holders(&grants, |p| p.lease),
        by_fence: holders(&grants, |p| p.fence),
        grants,
        highest,
        highest_of_others,
        ends,
        is_imported,
        repeated_imports,
    };
    events.into_iter().filter_map(|event| Some((event.id, leases.bypassed_holder(event)?))).collect()
}

fn grant(event: &Event) -> Option<(&LeaseAcquired, &Event)> {
    Some((event.payload.grant()?, event))
}

impl<'a> Leases<'a> {
    fn bypassed_holder(&self, event: &Event) -> Option<Option<&'a str>> {
        // The holder among those, if it is another agent.
        let of_another = |holders: Option<&Holders<'a>>| {
            let is_own = holders.is_some_and(|holders| holders.all.contains(event.author.agent.as_str()));
            (!is_own).then(|| holders.map(|holders| holders.first))
        };
        if let Payload::LeaseReleased(p) = &event.payload {
            // A lease that was granted on another branch, and by no event here, cannot be released here.
            let holder = of_another(self.by_lease.get(&p.lease)).filter(Option::is_some)?;
            return (!self.overrides(event, p.lease)).then_some(holder);
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
        if self.highest.is_none_or(|(highest, _)| highest < fence) {
            return None;
        }
        of_another(self.by_fence.get(&fence)).or_else(|| self.superseded(event, fence).map(Some))
    }

    /// Whether the author of an event overrode a lease openly before it.
    fn overrides(&self, event: &Event, lease: Id) -> bool {
        let overrides = |end: &&&Event| {
            let is_of_lease = matches!(&end.payload, Payload::LeaseOverride(p) if p.lease == Some(lease));
            is_of_lease && end.author.agent == event.author.agent && end.stamp() < event.stamp()
        };
        let mut own = self.ends.iter().filter(overrides).peekable();
        if own.peek().is_none() {
            return false;
        }
        let before = self.ancestry.past(&event.parents);
        own.any(|end| self.ancestry.is_in(&before, end.id))
    }

    /// The agent to which the task had passed under a greater fence, as far as the author of an event had seen.
    fn superseded(&self, event: &Event, fence: u64) -> Option<&'a str> {
        let passed = |(p, _): &&(&LeaseAcquired, &Event)| p.fence > fence && p.holder != event.author.agent;
        let (highest, holder) = self.highest?;
        let of_others = if holder == event.author.agent { self.highest_of_others? } else { highest };
        if of_others <= fence {
            return None;
        }
        let before = self.ancestry.past(&event.parents);
        let known = self.grants.iter().filter(|(_, given)| self.ancestry.is_in(&before, given.id));
        known.filter(passed).map(|(p, _)| p.holder.as_str()).next()
    }

    /// The holder as far as the author of an event had seen, if that is another agent than `me`.
    fn live_before(&self, event: &Event, me: &str) -> Option<&'a str> {
        let at = self.now.map_or(event.at, |now| event.at.min(now));
        let may_live = |(p, given): &(&LeaseAcquired, &Event)| {
            p.expires_at > at && given.stamp() < event.stamp() && p.holder != me
        };
        if !self.grants.iter().any(may_live) {
            return None;
        }
        let before = self.ancestry.past(&event.parents);
        let holder = self.live_among(&|other| self.ancestry.is_in(&before, other.id), me, at);
        if !is_hand_edit(event) {
            return holder;
        }
        // A person had seen the file, but the edit is recorded later, perhaps once the lease is over.
        holder.filter(|_| self.live_among(&|other| other.stamp() < event.stamp(), me, at).is_some())
    }

    /// The holder by the events that `before` names, if that is another agent than `me`.
    fn live_among(&self, before: &dyn Fn(&Event) -> bool, me: &str, at: Time) -> Option<&'a str> {
        let known: Vec<_> = self.grants.iter().filter(|(_, given)| before(given)).collect();
        let highest = known.iter().map(|(p, _)| p.fence).max()?;
        let top = || known.iter().filter(|(p, _)| p.fence == highest);
        let over = Over::of(self.ends.iter().copied().filter(|event| before(event)), me);
        // Of several equal fences, one may be the author's, or the one that counted is over.
        let is_free = |(p, given): &(&LeaseAcquired, &Event)| {
            p.holder == me || p.expires_at <= at || over.is_after(p, given.stamp())
        };
        if top().any(|grant| is_free(grant)) { None } else { top().next().map(|(p, _)| p.holder.as_str()) }
    }
}

/// Whether a lease may be over by an event.
fn may_end(event: &Event) -> bool {
    let is_of_lease = matches!(event.payload, Payload::LeaseOverride(_) | Payload::LeaseReleased(_));
    is_of_lease || status_of(event).is_some_and(Status::is_finished)
}

/// By when leases were over: released, overridden openly, or their task ended.
struct Over {
    /// The last event that ended all of them.
    all: Option<Stamp>,
    /// The last release of each lease.
    released: BTreeMap<Id, Stamp>,
}

impl Over {
    fn of<'a>(events: impl Iterator<Item = &'a Event>, me: &str) -> Self {
        let mut over = Over { all: None, released: BTreeMap::new() };
        for event in events {
            let stamp = event.stamp();
            if let Payload::LeaseReleased(p) = &event.payload {
                let last = over.released.entry(p.lease).or_insert(stamp);
                *last = stamp.max(*last);
            } else if !matches!(event.payload, Payload::LeaseOverride(_)) || event.author.agent == me {
                over.all = over.all.max(Some(stamp));
            }
        }
        over
    }

    /// Whether a lease that was granted at this place in the order was over.
    fn is_after(&self, p: &LeaseAcquired, given: Stamp) -> bool {
        let released = self.released.get(&p.lease);
        self.all > Some(given) || released.is_some_and(|released| *released > given)
    }
}

fn waits(status: Status) -> bool {
    matches!(status, Status::Open | Status::Blocked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;
    use crate::rules::lease;
    use crate::rules::register::among_below;

    const TASK: &str = "01K5R4XJ7Z0000000000000000";

    fn id(n: usize) -> Id {
        Id::from_parts(1, n as u128)
    }

    fn entry(n: usize, agent: &str, parents: &[usize], fence: Option<u64>, event: &str) -> Entry {
        let parents: Vec<String> = parents.iter().map(|n| format!("\"{}\"", id(*n))).collect();
        let fence = fence.map(|fence| format!("\"fence\":{fence},")).unwrap_or_default();
        let line = format!(
            r#"{{"v":1,"id":"{}","lamport":{n},{event},"entity":"task/{TASK}","parents":[{}],"agent":"{agent}","at":"2026-11-20T10:00:00Z",{fence}"n":0}}"#,
            id(n),
            parents.join(",")
        );
        Entry { event: parse_line(&line).unwrap(), line: line.into() }
    }

    fn grant_of(lease: usize, holder: &str, fence: u64, until: &str) -> String {
        let lease = id(lease);
        format!(
            r#""type":"LeaseAcquired","payload":{{"lease":"{lease}","fence":{fence},"holder":"{holder}","expires_at":"2026-11-20T{until}:00:00Z"}}"#
        )
    }

    fn release_of(lease: usize) -> String {
        format!(r#""type":"LeaseReleased","payload":{{"lease":"{}"}}"#, id(lease))
    }

    const UPDATE: &str = r#""type":"TaskUpdated","payload":{"set":{"priority":2}}"#;

    fn entity() -> Entity {
        Entity::Task(TASK.parse().unwrap())
    }

    /// The holder of another agent's lease that was live for the author of an event without a fence, by definition.
    fn live_before<'a>(log: &'a [Entry], effective: &BTreeSet<Id>, event: &Event) -> Option<&'a str> {
        let me = event.author.agent.as_str();
        let before = || {
            let seen = among_below(log, &event.parents).into_iter().map(|entry| &entry.event);
            seen.filter(|event| effective.contains(&event.id))
        };
        let grants: Vec<_> = log.iter().filter_map(|entry| grant(&entry.event)).collect();
        let known = || grants.iter().filter(|(_, given)| before().any(|seen| seen.id == given.id));
        let highest = known().map(|(p, _)| p.fence).max()?;
        let ended = |p: &LeaseAcquired, given: &Event| {
            before().filter(|event| event.stamp() > given.stamp()).any(|event| {
                let is_override = matches!(event.payload, Payload::LeaseOverride(_)) && event.author.agent == me;
                is_override || lease::gives_back(event, p) || status_of(event).is_some_and(Status::is_finished)
            })
        };
        let top = || known().filter(|(p, _)| p.fence == highest);
        let is_free =
            |(p, given): &(&LeaseAcquired, &Event)| p.holder == me || p.expires_at <= event.at || ended(p, given);
        if top().any(is_free) { None } else { top().next().map(|(p, _)| p.holder.as_str()) }
    }

    #[test]
    fn a_change_without_a_fence_bypasses_the_lease_that_its_author_saw() {
        let mut seed = 11_u64;
        let mut below = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        let (mut bypassed, mut free) = (0, 0);
        for _ in 0..400 {
            let created = r#""type":"TaskCreated","payload":{"title":"x"}"#;
            let mut log = vec![entry(1, "ada", &[], None, created)];
            for n in 2..2 + below(12) {
                let parents: Vec<usize> = if below(3) == 0 { vec![1 + below(n - 1)] } else { vec![n - 1] };
                let (agent, other) = (["ada", "bob", "eve"][below(3)], ["ada", "bob", "eve"][below(3)]);
                let event = match below(6) {
                    0 | 1 => {
                        grant_of(100 + below(4), other, 1 + below(3) as u64, ["09", "11"][usize::from(below(4) > 0)])
                    }
                    2 => release_of(100 + below(4)),
                    3 if below(3) == 0 => r#""type":"LeaseOverride","payload":{"holder":"eve"}"#.to_owned(),
                    4 if below(4) == 0 => {
                        r#""type":"TaskStatusChanged","payload":{"from":"open","to":"cancelled"}"#.to_owned()
                    }
                    _ => UPDATE.to_owned(),
                };
                log.push(entry(n, agent, &parents, None, &event));
            }
            let ordered = order(&entity(), &log).events;
            let folding = Folding::of(TASK.parse().unwrap(), &ordered);
            let counts = folding.taken().iter().filter(|one| one.effect == Effect::Counts);
            let effective: BTreeSet<Id> = counts.map(|one| one.event.id).collect();
            let found = lease_bypasses(&entity(), &log, None);
            for event in log.iter().map(|entry| &entry.event).filter(|event| effective.contains(&event.id)) {
                if !matches!(event.payload, Payload::TaskUpdated(_)) {
                    continue;
                }
                let expected = live_before(&log, &effective, event);
                assert_eq!(found.get(&event.id).copied().flatten(), expected, "{log:#?}");
                *(if expected.is_some() { &mut bypassed } else { &mut free }) += 1;
            }
        }
        assert!(bypassed > 50 && free > 50, "{bypassed} {free}");
    }

    /// Without an index of the grants this asks for thousands of millions of steps.
    #[test]
    fn thousands_of_leases_of_one_fence_are_judged() {
        let count = 600;
        let created = r#""type":"TaskCreated","payload":{"title":"x"}"#;
        let mut log = vec![entry(1, "ada", &[], None, created)];
        for n in 2..count {
            log.push(entry(n, "ada", &[n - 1], None, &grant_of(10_000 + n, &format!("h{n}"), 1, "11")));
        }
        for n in count..2 * count {
            log.push(entry(n, "bob", &[n - 1], None, UPDATE));
        }
        let found = lease_bypasses(&entity(), &log, None);
        let changes = found.iter().filter(|(event, _)| **event >= id(count));
        assert!(changes.clone().all(|(_, holder)| *holder == Some("h2")));
        assert_eq!(changes.count(), count);
    }
}
