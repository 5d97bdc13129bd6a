//! Laws of merging, over random histories of several replicas: the union of logs gives the same state in any order, and merging
//! files by their fields loses no line and conflicts in no more than both sides changed. A failing case prints its seed.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use agentpm::model::event::{Entry, parse_line};
use agentpm::model::id::Id;
use agentpm::model::task::Task;
use agentpm::model::yaml::render_task;
use agentpm::rules::fold::fold;
use agentpm::store::edited::{differing_parts, names_of, parse};
use agentpm::store::log::Log;
use agentpm::store::merge;
use proptest::prelude::*;
use serde_json::{Value, json};

const TASK: &str = "01K5R4XJ7Z0000000000000000";

fn task() -> Id {
    TASK.parse().unwrap()
}

/// Chance from a seed (SplitMix64, Steele and others 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

const TEXTS: &[&str] = &[
    "plain",
    "",
    "yes",
    "a: b",
    "two\nlines\n",
    "日本語 🦀",
    "- x",
    "#",
    " lead",
    "tab\there",
    "\u{202E}",
    "1e3",
    "null",
];

/// One clone: the lines of its log, and its clock.
#[derive(Clone, Default)]
struct Replica {
    log: BTreeMap<String, Entry>,
    clock: u64,
}

impl Replica {
    fn entries(&self) -> Vec<Entry> {
        self.log.values().cloned().collect()
    }

    fn state(&self) -> Task {
        fold(task(), &self.entries()).0
    }

    fn text(&self) -> String {
        render_task(&self.state())
    }

    fn add(&mut self, line: &str) {
        let entry = Entry { event: parse_line(line).unwrap(), line: line.into() };
        self.clock = self.clock.max(entry.event.lamport);
        self.log.insert(line.to_owned(), entry);
    }

    /// As a writer does it: parents are the heads, the clock stands above all that was seen.
    fn write(&mut self, dice: &mut Dice, agent: &str, kind: &str, payload: &Value) {
        let state = self.state();
        let jump = if dice.one_in(5) { dice.below(6) as u64 } else { 0 };
        let millis = dice.below(1 << 20) as u64;
        let id = Id::from_parts(1_700_000_000_000 + millis, u128::from(dice.roll()));
        let mut event = json!({"v": 1, "id": id, "lamport": self.clock.max(state.lamport) + 1 + jump, "type": kind,
            "entity": format!("task/{TASK}"), "parents": state.heads, "agent": agent, "at": "2026-11-20T10:00:00Z",
            "payload": payload});
        if state.fence > 0 && dice.one_in(3) {
            event["fence"] = json!(state.fence - u64::from(dice.one_in(6)));
        }
        self.add(&event.to_string());
    }

    /// The text of an entry leaves the log as soon as its redaction is in it.
    fn redact(&mut self, entry: Id) {
        let old = self.log.values().find(|e| e.event.id == entry && e.event.payload.kind() == "ContextAdded").cloned();
        if let Some(old) = old {
            self.log.remove(&*old.line);
            let mut event: Value = serde_json::from_str(&old.line).unwrap();
            event["payload"]["content"] = json!("");
            event["payload"].as_object_mut().unwrap().remove("metadata");
            self.add(&event.to_string());
        }
    }

    /// What union does to a log, and the next writer's care for redacted text.
    fn union(&self, other: &Replica) -> Replica {
        let mut both = self.clone();
        both.clock = both.clock.max(other.clock);
        both.log.extend(other.log.clone());
        both
    }

    /// What both knew before they went apart: entries that one side redacted since stand there with their text.
    fn common(&self, other: &Replica) -> Replica {
        let ids = |r: &Replica| r.log.values().map(|e| e.event.id).collect::<BTreeSet<Id>>();
        let both: BTreeSet<Id> = ids(self).intersection(&ids(other)).copied().collect();
        let mut longest: BTreeMap<Id, Entry> = BTreeMap::new();
        for entry in self.log.values().chain(other.log.values()).filter(|e| both.contains(&e.event.id)) {
            let known = longest.entry(entry.event.id).or_insert_with(|| entry.clone());
            if entry.line.len() > known.line.len() {
                *known = entry.clone();
            }
        }
        Replica { log: longest.into_values().map(|e| (e.line.to_string(), e)).collect(), clock: 0 }
    }
}

/// A member of one of the sets of a task, or now and then something that is none.
fn part(dice: &mut Dice, ids: impl Iterator<Item = Id>) -> Id {
    let ids: Vec<Id> = ids.collect();
    if ids.is_empty() || dice.one_in(12) { Id::from_parts(1, u128::from(dice.roll())) } else { dice.pick(&ids) }
}

fn step(replica: &mut Replica, dice: &mut Dice, agent: &str) {
    let state = replica.state();
    let text = dice.pick(TEXTS);
    let other = Id::from_parts(1, 500 + dice.below(4) as u128);
    let status = ["open", "in_progress", "blocked", "completed", "cancelled"];
    let owner = [json!(null), json!("ada"), json!("bob")];
    let value = dice.pick(&[json!(1), json!("x"), json!(null), json!({"z": 1, "a": [2]}), json!(1.5)]);
    let key = dice.pick(&["k", "a", "z.y"]);
    let (kind, payload) = match dice.below(24) {
        0 => ("TaskUpdated", json!({"set": {"title": text}})),
        1 => ("TaskUpdated", json!({"set": {"intent": text, "priority": dice.below(9)}})),
        2 => ("TaskUpdated", json!({"set": {"labels": [text], "severity": value}})),
        3 => ("TaskUpdated", json!({"set": {format!("metadata.{key}"): value}})),
        4 => ("TaskUpdated", json!({"set": {"metadata": {"z": text, "k": value}}})),
        5 => (
            "TaskUpdated",
            json!({"set": {"acceptance": dice.pick(&[json!(["a"]), json!(["b", "a"]), json!([]), json!(["c"])])}}),
        ),
        6 => ("TaskUpdated", json!({"set": {"owner": dice.pick(&owner), "due": "2026-12-01T00:00:00Z"}})),
        7 => ("TaskUpdated", json!({"set": {"title": 7}})),
        8..=10 => {
            let mut p = json!({"from": "open", "to": dice.pick(&status)});
            if dice.one_in(2) {
                p["owner"] = dice.pick(&owner);
            }
            ("TaskStatusChanged", p)
        }
        11 => ("TaskArchived", json!({"from": "completed", "completed_at": "2026-11-19T10:00:00Z"})),
        12 => ("TaskReopened", json!({"from": "completed", "to": dice.pick(&["open", "blocked", "completed"])})),
        13 => ("RelationshipAdded", json!({"type": dice.pick(&["parent_of", "blocks"]), "from": other, "to": TASK})),
        14 => ("RelationshipAdded", json!({"type": "relates_to", "from": TASK, "to": other, "metadata": value})),
        15 => ("RelationshipAdded", json!({"type": "parent_of", "from": other, "to": TASK, "metadata": value})),
        16 => ("RelationshipRemoved", json!({"relationship": part(dice, state.relationships.keys().copied())})),
        17 => ("ProgressItemAdded", json!({"content": text})),
        18 => {
            let item = part(dice, state.progress.keys().copied());
            (dice.pick(&["ProgressItemCompleted", "ProgressItemReopened"]), json!({"item": item}))
        }
        19 => ("ContextAdded", json!({"type": "note", "content": text, "metadata": value})),
        20 => {
            let entry = part(dice, state.context.keys().copied());
            if dice.one_in(2) {
                replica.write(dice, agent, "ContextRedacted", &json!({"entry": entry}));
                return replica.redact(entry);
            }
            ("ContextSuperseded", json!({"entry": entry, "by": other}))
        }
        21 => ("AcceptanceMet", json!({"criterion": dice.pick(&["a", "b", "c"]), "met": !dice.one_in(3)})),
        22 => match dice.below(3) {
            0 => ("TaskVerified", json!({"passed": dice.one_in(2)})),
            1 => ("TaskDreamed", json!({"of": text})),
            _ => ("LeaseReleased", json!({"lease": other})),
        },
        _ => {
            let fence = state.fence + 1 + u64::from(dice.one_in(4));
            (
                "LeaseAcquired",
                json!({"lease": other, "holder": agent, "fence": fence, "expires_at": "2026-11-20T11:00:00Z"}),
            )
        }
    };
    replica.write(dice, agent, kind, &payload);
}

/// Merges a replica into another: the logs as a union, and the files by their fields. Gives how many fields were in conflict.
fn merge(into: &mut Replica, from: &Replica) -> Result<usize, TestCaseError> {
    let base = into.common(from).text();
    let (ours, theirs) = (into.text(), from.text());
    let union = into.union(from);
    let merged = merge::merge(&base, &ours, &theirs);
    let context = format!("\nbase\n{base}\nours\n{ours}\ntheirs\n{theirs}\nmerged\n{}", merged.text);
    let [was, a, b] = [&base, &ours, &theirs].map(|text| parse(text).unwrap());
    let changed_by_both: BTreeSet<String> = {
        let [one, other] =
            [&a, &b].map(|side| names_of(&differing_parts(side, &was)).into_iter().collect::<BTreeSet<_>>());
        one.intersection(&other).cloned().collect()
    };
    for key in &merged.conflicts {
        // The order of a mapping's keys is text, and says nothing.
        prop_assert!(changed_by_both.contains(key) || key == "metadata", "{} is in conflict{}", key, context);
    }
    if merged.conflicts.is_empty() {
        let doc = parse(&merged.text).map_err(|why| TestCaseError::fail(format!("{why}{context}")))?;
        for (side, other) in [(&a, &b), (&b, &a)] {
            for part in differing_parts(side, &was).iter().filter(|part| !changed_by_both.contains(&part.key)) {
                let value = agentpm::store::edited::value_of(side, part);
                prop_assert_eq!(agentpm::store::edited::value_of(&doc, part), value, "{}{}{:?}", part, context, other);
            }
        }
    }
    let back = merge::merge(&base, &theirs, &ours);
    prop_assert_eq!(back.conflicts.len(), merged.conflicts.len(), "the sides are not alike{}", context);
    *into = union;
    // The next writer takes the text of redacted entries out of the log.
    let redacted: Vec<Id> = into.state().context.values().filter(|e| e.redacted).map(|e| e.id).collect();
    redacted.into_iter().for_each(|entry| into.redact(entry));
    Ok(merged.conflicts.len())
}

/// Plays a history. Gives how many fields were in conflict.
fn play(seed: u64) -> Result<usize, TestCaseError> {
    let mut dice = Dice(seed);
    let mut first = Replica::default();
    first.write(
        &mut dice,
        "ada",
        "TaskCreated",
        &json!({"title": "t", "acceptance": ["a", "b"], "metadata": {"z": 1, "k": 2}}),
    );
    let mut replicas = vec![first; 2 + dice.below(4)];
    let mut conflicts = 0;
    for _ in 0..4 + dice.below(20) {
        let at = dice.below(replicas.len());
        if dice.one_in(4) {
            let from = replicas[dice.below(replicas.len())].clone();
            conflicts += merge(&mut replicas[at], &from)?;
        } else {
            step(&mut replicas[at], &mut dice, ["ada", "bob", "cyd", "dan", "eve"][at]);
        }
    }
    let mut forth = replicas[0].clone();
    for other in &replicas[1..] {
        conflicts += merge(&mut forth, other)?;
    }
    let mut back = replicas.pop().unwrap();
    while let Some(other) = replicas.pop() {
        conflicts += merge(&mut back, &other)?;
    }
    prop_assert_eq!(forth.text(), back.text());
    let plain = |r: &Replica| {
        let lines: String = r.log.keys().map(|line| format!("{line}\n")).collect();
        Log::read(lines.as_bytes()).unwrap().canonical(&[])
    };
    prop_assert_eq!(plain(&forth), plain(&back), "equal events, different logs");
    Ok(conflicts)
}

#[test]
fn replicas_converge_and_files_merge_by_their_fields() {
    let config = ProptestConfig {
        cases: crate::sandbox::rounds(10_000) as u32,
        failure_persistence: None,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    };
    let conflicts = Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let result = runner.run(&any::<u64>(), |seed| {
        conflicts.set(conflicts.get() + play(seed)?);
        Ok(())
    });
    result.unwrap_or_else(|e| panic!("{e}"));
    assert!(conflicts.get() > 0, "no field was ever changed on both sides");
}
