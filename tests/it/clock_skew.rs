//! Clocks that are wrong, remotes that lose answers: a hundred thousand rounds of clones that claim, renew, give back and clean up,
//! each by its own clock, against one remote. No fence is ever confirmed to two holders, and nothing that was finished is
//! confirmed to a clone that has not seen it.

use std::collections::{BTreeMap, BTreeSet};

use agentpm::env::Env;
use agentpm::model::agent::{RemoteRecord, RemoteState, Seen};
use agentpm::model::event::Author;
use agentpm::model::id::Id;
use agentpm::model::time::Time;
use agentpm::rules::confirm::{self, Answer, Goal, KnownEnds, LeaseRemote, LeaseRequest, Notes, Swap, Trouble};

const HOUR: i64 = 3_600_000;
const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
const BEGIN: i64 = 1_763_632_800_000;
const TTL: i64 = 600_000;

/// Chance from a seed, through the seam.
struct Dice(Env);

impl Dice {
    fn new(seed: u64) -> Self {
        let vars = BTreeMap::from([
            ("AGENTPM_SEED".to_owned(), format!("skew-{seed}")),
            ("AGENTPM_CLOCK".to_owned(), "2026-11-20T10:00:00Z".to_owned()),
        ]);
        Dice(Env::new(vars, "/".into()).unwrap())
    }

    fn below(&self, n: u64) -> u64 {
        self.0.chance().unwrap() % n
    }

    fn within(&self, most: i64) -> i64 {
        i64::try_from(self.below(2 * most.unsigned_abs() + 1)).unwrap() - most
    }
}

/// The remote: one record a task, replaced only where it is still the one that was expected.
#[derive(Default)]
struct Hub {
    records: BTreeMap<Id, (String, RemoteRecord)>,
    floor: u64,
    finished: BTreeMap<Id, BTreeMap<Id, String>>,
    /// All records that ever stood there, by their names.
    kept: BTreeMap<String, RemoteRecord>,
    named: u64,
    /// Pushes that are still on their way though their senders have given up.
    late: Vec<(Id, Option<String>, RemoteRecord)>,
}

impl Hub {
    fn apply(&mut self, task: Id, expected: Option<&str>, record: &RemoteRecord) -> Option<String> {
        if self.records.get(&task).map(|(oid, _)| oid.as_str()) != expected {
            return None;
        }
        // Equal records have equal names, as in git.
        let oid = format!("{record:?}");
        self.named += 1;
        self.records.insert(task, (oid.clone(), record.clone()));
        self.kept.insert(oid.clone(), record.clone());
        Some(oid)
    }
}

/// The way from one clone to the remote, with all that can happen on it.
struct Wire<'a> {
    hub: &'a mut Hub,
    dice: &'a Dice,
    /// Which of the clones asks; one of them is a copy of another and has its id.
    who: usize,
    now: Time,
}

impl Wire<'_> {
    /// The nonces of a clone begin with its number, so that it knows those it sent.
    fn is_ours(&self, record: &RemoteRecord) -> bool {
        record.nonce.starts_with(&format!("{}-", self.who))
    }
}

impl LeaseRemote for Wire<'_> {
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble> {
        if self.dice.below(20) == 0 {
            return Err(Trouble::Unreachable("cut".into()));
        }
        self.others_come_first();
        let found = self.hub.records.get(&task).cloned();
        Ok(found.map(|(oid, record)| Seen { oid, at: self.now, ours: self.is_ours(&record), over: 0, record }))
    }

    fn swap(&mut self, task: Id, expected: Option<&str>, record: &mut RemoteRecord) -> Swap {
        record.nonce = format!("{}-{}", self.who, self.dice.0.chance().unwrap());
        self.others_come_first();
        match self.dice.below(30) {
            0 => return Swap::NotSent("cut".into()),
            1 => return Swap::Refused("no".into()),
            2 => return Swap::Unknown("lost on the way".into()),
            3 => {
                self.hub.late.push((task, expected.map(str::to_owned), record.clone()));
                return Swap::Unknown("still on the way".into());
            }
            _ => {}
        }
        match self.hub.apply(task, expected, record) {
            Some(_) if self.dice.below(20) == 0 => Swap::Unknown("the answer was lost".into()),
            Some(oid) => Swap::Taken(oid),
            None => Swap::Lost,
        }
    }

    fn restore(&mut self, task: Id, expected: &str, oid: &str) -> Swap {
        self.others_come_first();
        if self.dice.below(30) == 0 {
            return Swap::NotSent("cut".into());
        }
        let Some(record) = self.hub.kept.get(oid).cloned() else { return Swap::Refused("it is gone".into()) };
        match self.hub.apply(task, Some(expected), &record) {
            Some(oid) => Swap::Taken(oid),
            None => Swap::Lost,
        }
    }

    fn notes(&mut self, task: Id) -> Result<Notes, Trouble> {
        if self.dice.below(20) == 0 {
            return Err(Trouble::Unreachable("cut".into()));
        }
        Ok(Notes { floor: self.hub.floor, finished: self.hub.finished.get(&task).cloned().unwrap_or_default() })
    }
}

impl Wire<'_> {
    /// A delayed push of a replica that has given up arrives.
    fn others_come_first(&mut self) {
        while !self.hub.late.is_empty() && self.dice.below(4) == 0 {
            let which = usize::try_from(self.dice.below(self.hub.late.len() as u64)).unwrap();
            let (task, expected, record) = self.hub.late.swap_remove(which);
            self.hub.apply(task, expected.as_deref(), &record);
        }
    }
}

struct Clone {
    id: Id,
    /// How far its clock is off, in milliseconds.
    off: i64,
    /// By task: what it last saw there, and its own lease if it believes to have one.
    seen: BTreeMap<Id, Seen>,
    held: BTreeMap<Id, Seen>,
    /// The highest fence its log knows, and the ends; logs travel late.
    known: BTreeMap<Id, u64>,
    log: BTreeSet<Id>,
    /// Records it listed to take away, before it went to sleep.
    to_remove: Vec<(Id, Seen)>,
}

impl Clone {
    /// The time by its own clock, through the seam.
    fn now(&self, time: i64) -> Time {
        let clock = Time::from_millis(time + self.off).to_string();
        Env::new(BTreeMap::from([("AGENTPM_CLOCK".to_owned(), clock)]), "/".into()).unwrap().now()
    }
}

#[test]
fn no_fence_is_ever_confirmed_to_two_holders_whatever_the_clocks_say() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261_121);
    let rounds = crate::sandbox::rounds(100_000);
    println!("SEED={seed}");
    let dice = Dice::new(seed);
    let id = |n: u64| Id::from_parts(1_000, u128::from(n));
    let tasks = [id(1), id(2), id(3)];
    let mut hub = Hub::default();
    let mut clones: Vec<Clone> = (0..6)
        .map(|n| Clone {
            id: id(100 + n.min(4)),
            off: 0,
            seen: BTreeMap::new(),
            held: BTreeMap::new(),
            known: BTreeMap::new(),
            log: BTreeSet::new(),
            to_remove: Vec::new(),
        })
        .collect();
    // Clocks are off from an hour to ten years, either way; one is right.
    for clone in clones.iter_mut().skip(1) {
        let most = [HOUR, 24 * HOUR, 365 * 24 * HOUR, TEN_YEARS][usize::try_from(dice.below(4)).unwrap()];
        clone.off = dice.within(most);
    }
    let mut time = BEGIN;
    let mut confirmed: BTreeMap<(Id, u64), Id> = BTreeMap::new();
    let mut highest: BTreeMap<Id, u64> = BTreeMap::new();
    let mut leases = 10_000;
    // By task: the event by which it is finished, and all that was written and pushed.
    let mut ended: BTreeMap<Id, Id> = BTreeMap::new();
    let mut pushed: BTreeSet<Id> = BTreeSet::new();
    let (mut grants, mut takeovers, mut removals, mut unknown) = (0, 0, 0, 0);
    let (mut ends, mut kept_out, mut taken_back) = (0, 0, 0);
    for round in 0..rounds {
        time += i64::try_from(dice.below(400_000)).unwrap();
        let who = usize::try_from(dice.below(clones.len() as u64)).unwrap();
        let task = tasks[usize::try_from(dice.below(tasks.len() as u64)).unwrap()];
        let clone = &mut clones[who];
        match dice.below(200) {
            0 => clone.off = dice.within(TEN_YEARS),
            1 => clone.off -= HOUR,
            // The machine sleeps, and all that it knows grows old.
            2 => time += TTL * 20,
            _ => {}
        }
        let now = clone.now(time);
        let mut wire = Wire { hub: &mut hub, dice: &dice, who, now };
        let answer = match dice.below(10) {
            0..=4 => {
                leases += 1;
                let known = clone.known.get(&task).copied().unwrap_or(0);
                let held = clone.held.get(&task).map_or(0, |seen| seen.record.fence);
                let wish = LeaseRequest {
                    task,
                    goal: Goal::Hold,
                    lease: id(leases),
                    holder: Author { agent: format!("agent-{who}"), ..Author::default() },
                    clone: clone.id,
                    explicit: dice.below(5) > 0,
                    lamport: 0,
                    fence: known.max(held) + 2,
                    known: KnownEnds { events: clone.log.clone(), in_spite: false },
                    expires_at: now.plus(TTL),
                    now,
                };
                let before = wire.hub.records.get(&task).cloned();
                let answer = confirm::acquire(&mut wire, &wish, clone.seen.get(&task).cloned());
                if let (Answer::Confirmed(_), Some((_, old))) = (&answer, before) {
                    takeovers += usize::from(old.clone != clone.id && old.state == RemoteState::Held);
                }
                Some(answer)
            }
            5 | 6 => clone.held.get(&task).cloned().map(|mine| confirm::renew(&mut wire, mine, now.plus(TTL), now, 0)),
            7 if dice.below(2) == 0 => {
                if let Some(mine) = clone.held.remove(&task) {
                    // A lease that cannot be reported expires.
                    let _ = confirm::release(&mut wire, mine, now, 0);
                }
                None
            }
            // An agent finishes a task, with a lease or without.
            7 => {
                leases += 1;
                let mine = clone.held.remove(&task);
                let event = id(1_000_000 + leases);
                let wish = LeaseRequest {
                    task,
                    goal: Goal::Finish { event, anyway: false },
                    lease: mine.as_ref().map_or(event, |mine| mine.record.lease),
                    holder: Author { agent: format!("agent-{who}"), ..Author::default() },
                    clone: clone.id,
                    explicit: true,
                    lamport: 0,
                    fence: mine.as_ref().map_or(0, |mine| mine.record.fence),
                    known: KnownEnds { events: clone.log.clone(), in_spite: false },
                    expires_at: now,
                    now,
                };
                match confirm::acquire(&mut wire, &wish, mine.or_else(|| clone.seen.get(&task).cloned())) {
                    // It dies before it writes that down.
                    Answer::Confirmed(_) if dice.below(5) == 0 => {}
                    Answer::Confirmed(_) => {
                        clone.log.insert(event);
                        ended.insert(task, event);
                        ends += 1;
                    }
                    Answer::Held(seen) => drop(clone.seen.insert(task, seen)),
                    Answer::Gone | Answer::Unconfirmed(_) => {}
                }
                None
            }
            // A clean-up in two steps, with everything in between.
            8 => {
                // What this clone knows to be finished, and what was given back.
                let knows = |r: &RemoteRecord| r.ends.iter().all(|end| clone.log.contains(end));
                let finished = wire.hub.records.iter().filter(|(_, (_, r))| r.state != RemoteState::Held && knows(r));
                clone.to_remove = finished
                    .map(|(task, (oid, record))| {
                        let record = record.clone();
                        (*task, Seen { oid: oid.clone(), at: now, ours: false, over: 0, record })
                    })
                    .collect();
                let most = clone.to_remove.iter().map(|(_, seen)| seen.record.fence).max().unwrap_or(0);
                wire.hub.floor = wire.hub.floor.max(most);
                for (task, seen) in &clone.to_remove {
                    let agent = seen.record.agent.clone();
                    let ends = seen.record.ends.iter().map(|end| (*end, agent.clone()));
                    wire.hub.finished.entry(*task).or_default().extend(ends);
                }
                None
            }
            _ => {
                for (task, seen) in std::mem::take(&mut clone.to_remove) {
                    if wire.hub.records.get(&task).is_some_and(|(oid, _)| *oid == seen.oid) {
                        wire.hub.records.remove(&task);
                        removals += 1;
                    }
                }
                // A sync withdraws what this clone reported to the remote and never wrote.
                let records = wire.hub.records.clone();
                for (oid, record) in records.into_values() {
                    let is_end = record.state == RemoteState::Finished && wire.is_ours(&record);
                    if is_end && record.ends.last().is_some_and(|end| !clone.log.contains(end)) {
                        let seen = Seen { oid, at: now, ours: true, over: 0, record };
                        taken_back += usize::from(confirm::not_finished(&mut wire, &seen, now).is_ok());
                    }
                }
                // Now and then a log arrives.
                let most = highest.get(&task).copied().unwrap_or(0);
                if dice.below(3) == 0 {
                    pushed.extend(&clone.log);
                    clone.log.extend(&pushed);
                    clone.known.insert(task, most);
                }
                None
            }
        };
        match answer {
            Some(Answer::Confirmed(seen)) => {
                let (fence, lease) = (seen.record.fence, seen.record.lease);
                if let Some(event) = ended.get(&task).filter(|_| seen.record.state == RemoteState::Held) {
                    assert!(
                        clone.log.contains(event),
                        "SEED={seed} round {round}: {task} was finished by {event} and is confirmed to a clone that has not seen it"
                    );
                }
                let first = *confirmed.entry((task, fence)).or_insert(lease);
                assert_eq!(first, lease, "SEED={seed} round {round}: fence {fence} of {task} has two holders");
                let last = highest.entry(task).or_insert(0);
                if first == lease && fence > *last {
                    *last = fence;
                    grants += 1;
                }
                clone.seen.insert(task, seen.clone());
                clone.held.insert(task, seen);
            }
            Some(Answer::Held(seen)) => {
                kept_out += usize::from(seen.record.state == RemoteState::Finished);
                clone.held.remove(&task);
                clone.seen.insert(task, seen);
            }
            Some(Answer::Gone) => {
                clone.held.remove(&task);
            }
            Some(Answer::Unconfirmed(_)) => unknown += 1,
            None => {}
        }
    }
    println!("{grants} grants, {takeovers} taken over, {removals} records taken away, {unknown} not confirmed");
    println!("{ends} ends, {kept_out} claims of what was finished unseen, {taken_back} ends taken back");
    if rounds >= 100_000 {
        assert!(grants > 1_000 && takeovers > 100 && removals > 100 && unknown > 100, "the rounds reached too little");
        assert!(ends > 500 && kept_out > 100 && taken_back > 50, "the rounds finished too little");
    }
}
