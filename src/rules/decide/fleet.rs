//! A fleet in memory, on a seed: two to seven replicas decide 200 commands and exchange what they know late, twice and out of order,
//! over links that break. Some die before a command is recorded or acknowledged, clocks are years off, and one may be of an older version.
//!
//! Replicas with the same events hold the same bytes at any time; in the end all have the same, and everything acknowledged.
//! `SEED` plays one seed, `SEEDS` so many.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::memory::Plan;
use crate::error::Code;
use crate::model::event::{Entry, parse_line};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::model::yaml::render_task;
use crate::rules::fold::fold;

/// The commands of one seed.
const STEPS: usize = 200;
/// The seeds of an ordinary run.
const SEEDS: u64 = 60;
/// The most tasks of a fleet, so that its members meet.
const MAX_TASKS: usize = 6;
/// A day, in minutes.
const DAY: i64 = 24 * 60;

/// Chance from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((x ^ (x >> 31)) % n.max(1) as u64).unwrap()
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A clone of the plan.
struct Replica {
    plan: Plan,
    /// It knows no threads: what it does not understand it keeps.
    is_older: bool,
}

impl Replica {
    /// Takes in lines as they arrive.
    fn receive(&mut self, lines: &BTreeMap<Id, Box<str>>) {
        let entry = |line: &str| {
            let mut event = parse_line(line).expect("it was written as an event");
            if self.is_older && event.payload.kind().starts_with("Thread") {
                let raw = serde_json::value::RawValue::from_string("{}".into()).unwrap();
                event.payload = Payload::Unknown { kind: event.payload.kind().to_owned(), raw };
            }
            Entry { event, line: line.into() }
        };
        self.plan.add_entries(lines.values().map(|line| entry(line)).collect::<Vec<_>>());
    }

    fn lines(&self) -> BTreeMap<Id, Box<str>> {
        self.plan.logged().map(|entry| (entry.event.id, entry.line.clone())).collect()
    }

    /// The bytes of every task. Of a log read from the end too, which must give the same.
    fn files(&self) -> Vec<String> {
        let entries: Vec<Entry> = self.plan.logged().cloned().collect();
        let reversed: Vec<Entry> = entries.iter().rev().cloned().collect();
        let file = |id: Id| {
            let text = render_task(&fold(id, &entries).0);
            assert_eq!(render_task(&fold(id, &reversed).0), text, "the order of lines counts");
            text
        };
        self.plan.ids().into_iter().map(file).collect()
    }
}

/// What one replica sent to another, and the step in which it arrives.
struct Parcel {
    to: usize,
    at: usize,
    lines: BTreeMap<Id, Box<str>>,
}

struct Fleet {
    dice: Dice,
    replicas: Vec<Replica>,
    parcels: Vec<Parcel>,
    /// The step until which each link is broken.
    broken: BTreeMap<(usize, usize), usize>,
    acknowledged: BTreeSet<Id>,
    accepted: BTreeSet<String>,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(6);
        let older = dice.below(2 * count);
        let mut plan = Plan::new();
        plan.add("begun before all");
        let mut replicas = Vec::new();
        for n in 0..count {
            plan = plan.fork();
            let mut own = plan.clone();
            // A clock that is years off, one that is minutes off, or a good one.
            own.minutes_pass(*dice.one(&[0, 0, 7, -9, 900 * DAY, -400 * DAY]));
            replicas.push(Replica { plan: own, is_older: n == older });
        }
        let (parcels, broken) = (Vec::new(), BTreeMap::new());
        Fleet { dice, replicas, parcels, broken, acknowledged: BTreeSet::new(), accepted: BTreeSet::new() }
    }

    fn step(&mut self, now: usize) {
        let n = self.dice.below(self.replicas.len());
        match self.dice.below(10) {
            0 | 1 => self.send(n, now),
            2 => self.replicas[n].plan.minutes_pass(self.dice.below(90) as i64),
            3 => {
                let other = self.dice.below(self.replicas.len());
                self.broken.insert((n.min(other), n.max(other)), now + self.dice.below(60));
            }
            _ => self.act(n),
        }
        let (due, later) = std::mem::take(&mut self.parcels).into_iter().partition(|parcel| parcel.at <= now);
        self.parcels = later;
        for parcel in due {
            self.deliver(&parcel);
        }
    }

    /// Sends what a replica knows to another one: it may arrive late, and more than once.
    fn send(&mut self, from: usize, now: usize) {
        let to = self.dice.below(self.replicas.len());
        if self.broken.get(&(from.min(to), from.max(to))).is_some_and(|until| *until > now) {
            return;
        }
        let lines = self.replicas[from].lines();
        for _ in 0..=self.dice.below(2) {
            let at = now + *self.dice.one(&[0, 0, 1, 5, 40]);
            self.parcels.push(Parcel { to, at, lines: lines.clone() });
        }
    }

    fn deliver(&mut self, parcel: &Parcel) {
        self.replicas[parcel.to].receive(&parcel.lines);
        let here = self.replicas[parcel.to].lines();
        let same = |other: &&Replica| other.is_older == self.replicas[parcel.to].is_older && other.lines() == here;
        if let Some(other) =
            self.replicas.iter().enumerate().filter(|(n, _)| *n != parcel.to).map(|(_, r)| r).find(same)
        {
            assert_eq!(other.files(), self.replicas[parcel.to].files(), "the same events give other bytes");
        }
    }

    /// Carries out a command, and acknowledges it unless the replica dies first.
    fn act(&mut self, n: usize) {
        let before = self.replicas[n].plan.clone();
        let (op, args) = self.command(n);
        let agent = *self.dice.one(&["ada", "bob", "cara", "dan"]);
        let death = self.dice.below(20);
        let plan = &mut self.replicas[n].plan;
        match plan.run(agent, op, args.clone()) {
            Ok(_) => drop(self.accepted.insert(op.to_owned())),
            Err(e) => assert!(!matches!(e.code, Code::Usage | Code::Io), "{op} {args}: {e:?}"),
        }
        match death {
            // Before the record is on the disk; after that, before the caller hears of it.
            0 => plan.die_back_to(before),
            1 => {}
            _ => self.acknowledged.extend(plan.logged().skip(before.logged().count()).map(|entry| entry.event.id)),
        }
    }

    /// A command with what the replica knows. Many are refused.
    fn command(&mut self, n: usize) -> (&'static str, Value) {
        let Fleet { dice, replicas, .. } = self;
        let plan = &replicas[n].plan;
        let ids = plan.ids();
        if ids.len() < MAX_TASKS && dice.below(8) == 0 {
            let acceptance = if dice.below(2) == 0 { json!([]) } else { json!(["it works"]) };
            return ("task.create", json!({ "title": format!("task {}", dice.below(100)), "acceptance": acceptance }));
        }
        let (id, other, number) = (*dice.one(&ids), *dice.one(&ids), dice.below(9) as i64 - 4);
        let task = plan.get(id);
        let mut part = |ids: Vec<Id>| ids.get(dice.below(ids.len())).copied().unwrap_or(other);
        let item = part(task.progress.keys().copied().collect());
        let edge = part(task.relationships.keys().copied().collect());
        let thread = part(task.threads.keys().copied().collect());
        let event = part(plan.logged().map(|entry| entry.event.id).collect());
        match dice.below(26) {
            0 => ("task.update", json!({ "id": id, "title": format!("title {number}") })),
            1 => ("task.update", json!({ "id": id, "priority": number, "metadata": { "key": number } })),
            2 => ("task.update", json!({ "id": id, "parent": other })),
            3 => ("task.update", json!({ "id": id, "priority": number, "override": "urgent" })),
            4 | 5 => ("claim", json!({ "id": id, "another": true })),
            6 => ("claim", json!({})),
            7 => ("done", json!({ "id": id })),
            8 => ("done", json!({ "id": id, "force": "enough" })),
            9 => ("release", json!({ "id": id })),
            10 => ("task.block", json!({ "id": id, "by": other })),
            11 => ("task.unblock", json!({ "id": id, "by": [other] })),
            12 => ("task.relate", json!({ "id": id, "to": other, "type": "relates_to" })),
            13 => ("task.unrelate", json!({ "relationship": edge })),
            14 => ("context.add", json!({ "task_id": id, "type": "note", "content": format!("note {number}") })),
            15 => ("progress.add", json!({ "id": id, "content": [format!("step {number}")] })),
            16 => ("progress.complete", json!({ "id": [item] })),
            17 => ("task.verify", json!({ "id": id, "all": true })),
            18 => ("task.transition", json!({ "id": id, "status": Status::Cancelled, "children": "keep" })),
            19 => ("task.reopen", json!({ "id": id, "reason": "not yet" })),
            20 => ("task.archive", json!({ "id": id })),
            21 => ("thread.open", json!({ "task_id": id, "body": "why?", "set": [format!("priority={number}")] })),
            22 => ("thread.reply", json!({ "thread": thread, "body": "because" })),
            23 => ("thread.resolve", json!({ "thread": thread, "resolution": dice.one(&["accept", "reject"]) })),
            24 => (
                "agent.register",
                json!({ "name": dice.one(&["ada", "bob"]), "role": dice.one(&["coder", "reviewer"]) }),
            ),
            _ => ("conflicts.keep", json!({ "event": event })),
        }
    }

    /// Everything that was sent arrives, and each replica hears of all others.
    fn end(&mut self) {
        for parcel in std::mem::take(&mut self.parcels) {
            self.deliver(&parcel);
        }
        for _ in 0..2 {
            for from in 0..self.replicas.len() {
                let lines = self.replicas[from].lines();
                self.replicas.iter_mut().for_each(|replica| replica.receive(&lines));
            }
        }
        let all = self.replicas[0].lines();
        let lost: Vec<&Id> = self.acknowledged.iter().filter(|id| !all.contains_key(id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let files = self.replicas.iter().find(|replica| !replica.is_older).map(Replica::files);
        for replica in &self.replicas {
            assert_eq!(replica.lines(), all, "the replicas hold other events");
            assert!(replica.is_older || Some(replica.files()) == files, "the replicas hold other bytes");
        }
    }
}

/// Plays a seed. Gives all lines that were written, and which commands were accepted.
fn play(seed: u64) -> (Vec<Box<str>>, BTreeSet<String>) {
    let mut fleet = Fleet::new(seed);
    for now in 0..STEPS {
        fleet.step(now);
    }
    fleet.end();
    (fleet.replicas[0].lines().into_values().collect(), fleet.accepted)
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the caller of the tests names a seed")]
fn a_fleet_converges_and_loses_nothing_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let (mut accepted, mut failed) = (BTreeSet::new(), Vec::new());
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| {
            let first = play(seed);
            assert_eq!(play(seed).0, first.0, "the same seed gives another history");
            first.1
        });
        match played {
            Ok(ops) => accepted.extend(ops),
            Err(_) => failed.push(format!("SEED={seed}")),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    let expected = [
        "agent.register",
        "claim",
        "conflicts.keep",
        "context.add",
        "done",
        "progress.add",
        "progress.complete",
        "release",
        "task.archive",
        "task.block",
        "task.create",
        "task.relate",
        "task.reopen",
        "task.transition",
        "task.unblock",
        "task.unrelate",
        "task.update",
        "task.verify",
        "thread.open",
        "thread.reply",
        "thread.resolve",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|op| !accepted.contains(*op)).collect();
    assert!(seeds.end - seeds.start < SEEDS || missing.is_empty(), "never accepted: {missing:?}");
}
