//! Lost edits: two clones that did not see each other, what was kept of the side that lost, and how it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use agentpm::model::event::{Entity, Entry, parse_line};
use agentpm::model::id::Id;
use agentpm::rules::fold::{fold, order};
use agentpm::rules::lost::{is_forked, lost};
use agentpm::rules::register;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// A repository and a clone of it that works offline: ada in the first, bob in the second.
pub struct Twins {
    pub room: Sandbox,
    pub other: PathBuf,
}

impl Twins {
    /// Both with the same tasks, which `prepare` makes.
    pub fn new(prepare: impl FnOnce(&Sandbox)) -> Self {
        let room = Sandbox::new();
        room.at("2026-11-20T10:00:00Z");
        prepare(&room);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "-m", "the plan"]).text();
        let other = room.beside("other");
        room.git(&["clone", "-q", ".", other.to_str().expect("a UTF-8 path")]).text();
        Twins { room, other }
    }

    pub fn ada(&self, args: &[&str]) -> Answer {
        self.room.run(args)
    }

    pub fn bob(&self, args: &[&str]) -> Answer {
        let mut command = self.room.agentpm_in(&self.other);
        Answer::from(command.env("AGENTPM_AGENT", "bob").args(args).output().expect("agentpm starts"))
    }

    /// What bob did comes to ada by plain git: logs merge by union, a readable file in conflict is taken as it was here.
    pub fn merge(&self) {
        for (dir, who) in [(&self.room.repo(), "ada"), (&self.other, "bob")] {
            self.room.git_in(dir, &["add", "-A"]).text();
            self.room.git_in(dir, &["commit", "-q", "--allow-empty", "-m", who]).text();
        }
        let other = self.other.to_str().expect("a UTF-8 path");
        let merged = self.room.git(&["pull", "-q", "--no-rebase", "--no-edit", other, "main"]);
        if merged.code != 0 {
            self.room.git(&["checkout", "--ours", "."]).text();
            self.room.git(&["add", "-A"]).text();
            self.room.git(&["commit", "-q", "-m", "merged"]).text();
        }
    }
}

/// The newest event of a task that one agent wrote.
pub fn last_event(room: &Sandbox, dir: &Path, task: &str, agent: &str) -> String {
    let log = room.run_in(dir, &["log", task, "--by", agent, "--all"]).data();
    log["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

fn items(answer: &Answer) -> Vec<Value> {
    answer.data()["items"].as_array().unwrap().clone()
}

#[test]
fn the_loser_is_told_what_lost_to_whom_and_puts_it_back() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("Fix the lock", &["--priority", "1"]));
    assert_eq!(items(&twins.ada(&["conflicts"])), [] as [Value; 0]);
    twins.ada(&["task", "update", &id, "--priority", "3", "--why", "customers wait"]).data();
    twins.bob(&["task", "update", &id, "--estimate", "2h"]).data();
    twins.bob(&["task", "update", &id, "--priority", "-2"]).data();
    twins.merge();

    let all = twins.ada(&["conflicts"]).data();
    assert_eq!((all["total"].as_u64(), all["truncated"].as_bool()), (Some(1), Some(false)), "{all:#}");
    let edit = &all["items"][0];
    assert_eq!((&edit["field"], &edit["rule"], &edit["task"]), (&json!("priority"), &json!("later"), &json!(id)));
    assert_eq!((&edit["lost"]["value"], &edit["lost"]["agent"]), (&json!(3), &json!("ada")));
    assert_eq!((&edit["lost"]["lamport"], &edit["lost"]["why"]), (&json!(2), &json!("customers wait")));
    assert_eq!(
        (&edit["won"]["value"], &edit["won"]["agent"], &edit["won"]["lamport"]),
        (&json!(-2), &json!("bob"), &json!(3))
    );
    assert_eq!(items(&twins.ada(&["conflicts", &id, "--by", "ada"])).len(), 1);
    assert_eq!(items(&twins.ada(&["conflicts", "--by", "bob"])).len(), 0);

    let brief = twins.ada(&["brief", &id]).data();
    assert_eq!(brief["lost_edits"][0]["yours"], 3);
    let text = brief["text"].as_str().unwrap();
    assert!(text.contains("priority: yours 3, now -2 by bob") && text.contains("agentpm conflicts restore"), "{text}");
    assert!(twins.bob(&["brief", &id]).data().get("lost_edits").is_none(), "bob lost nothing");
    let blame = items(&twins.ada(&["blame", &id]));
    let beat = &blame.iter().find(|i| i["field"] == "priority").unwrap()["beat"];
    assert_eq!((&beat[0]["value"], &beat[0]["agent"]), (&json!(3), &json!("ada")));
    assert!(twins.ada(&["blame", &id, "--format", "table"]).text().contains("3 by ada"));

    let words: Vec<String> = edit["restore"].as_str().unwrap().split(' ').skip(1).map(str::to_owned).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let task = twins.ada(&words).data();
    assert_eq!((&task["priority"], &task["estimate"]), (&json!(3), &json!("2h")));
    assert_eq!(items(&twins.ada(&["conflicts"])), [] as [Value; 0], "she has seen both now");
    assert!(twins.ada(&["brief", &id]).data().get("lost_edits").is_none());
    twins.ada(&words).error("ERR_INVALID_STATE", 4);
    twins.room.is_clean();
}

#[test]
fn one_event_may_lose_several_fields_and_each_comes_back_alone() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.ada(&["task", "update", &id, "--title", "ada's", "--metadata", r#"{"a b": 1, "same": true}"#]).data();
    twins.bob(&["note", &id, "--content", "my clock runs ahead"]).data();
    twins.bob(&["task", "update", &id, "--title", "bob's", "--metadata", r#"{"a b": 2, "same": true}"#]).data();
    twins.merge();
    let event = last_event(&twins.room, &twins.room.repo(), &id, "ada");
    let edits = items(&twins.ada(&["conflicts"]));
    assert_eq!(edits.iter().map(|e| e["field"].as_str().unwrap()).collect::<Vec<_>>(), ["metadata.a b", "title"]);
    assert_eq!(edits[0]["restore"], format!("agentpm conflicts restore {event} --field 'metadata.a b'"));
    let first = twins.ada(&["conflicts", "--limit", "1"]).data();
    assert_eq!((first["total"].as_u64(), first["truncated"].as_bool()), (Some(2), Some(true)));
    let rest = twins.ada(&["conflicts", "--cursor", first["next_cursor"].as_str().unwrap()]);
    assert_eq!(items(&rest)[0]["field"], "title");

    twins.ada(&["conflicts", "restore", &event, "--field", "status"]).error("ERR_NOT_FOUND", 3);
    twins.ada(&["conflicts", "restore", "ZZZZ"]).error("ERR_NOT_FOUND", 3);
    let tail = &event[event.len() - 8..];
    assert_eq!(
        twins.ada(&["conflicts", "restore", tail, "--field", "title", "--why", "hers was right"]).data()["title"],
        "ada's"
    );
    assert_eq!(items(&twins.ada(&["conflicts"])).len(), 1);
    let log = twins.ada(&["log", &id]).data();
    assert_eq!(log["items"].as_array().unwrap().last().unwrap()["why"], "hers was right");
}

#[test]
fn a_lost_status_comes_back_only_where_the_task_may_go() {
    let mut ids = Vec::new();
    let twins = Twins::new(|room| ids = vec![room.task("cancelled by ada", &[]), room.task("done by ada", &[])]);
    let (one, two) = (ids[0].as_str(), ids[1].as_str());
    twins.ada(&["task", "transition", one, "--status", "cancelled"]).data();
    twins.ada(&["claim", two]).data();
    twins.ada(&["done", two]).data();
    for id in [one, two] {
        for _ in 0..4 {
            twins.bob(&["note", id, "--content", "busy"]).data();
        }
        twins.bob(&["claim", id]).data();
        twins.bob(&["release", id]).data();
    }
    twins.merge();
    let edits = items(&twins.ada(&["conflicts", "--by", "ada"]));
    let status = |task: &str| {
        let edit =
            edits.iter().find(|e| e["task"] == task && e["field"] == "status").unwrap_or_else(|| panic!("{edits:#?}"));
        (edit["lost"]["value"].clone(), edit["lost"]["event"].as_str().unwrap().to_owned())
    };
    let (value, event) = status(one);
    assert_eq!(value, "cancelled");
    assert_eq!(twins.ada(&["conflicts", "restore", &event, "--field", "status"]).data()["status"], "cancelled");
    let (value, event) = status(two);
    assert_eq!(value, "completed");
    let refused = twins.ada(&["conflicts", "restore", &event, "--field", "status"]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("cannot go from open to completed"), "{refused}");
    assert_eq!(twins.room.get(two)["status"], "open", "nothing was written");
}

#[test]
fn a_restored_value_asks_for_the_lease_like_every_change() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.ada(&["task", "update", &id, "--priority", "3"]).data();
    twins.bob(&["note", &id, "--content", "first"]).data();
    twins.bob(&["task", "update", &id, "--priority", "4"]).data();
    twins.merge();
    let event = last_event(&twins.room, &twins.room.repo(), &id, "ada");
    twins.room.run_as("eve", &["claim", &id]).data();
    twins.ada(&["conflicts", "restore", &event]).error("ERR_LEASE_HELD", 5);
    twins.ada(&["conflicts", "restore", &event, "--override", "eve is away"]).data();
    let log = fs::read_to_string(twins.room.log_of(&id)).unwrap();
    assert!(log.contains("LeaseOverride") && log.contains(&format!("restored from {event}")), "{log}");
    let step = json!([{"op": "conflicts.restore", "args": {"event": event}}]).to_string();
    twins.room.feed(&["batch", "--file", "-"], step.as_bytes()).error("ERR_INVALID_STATE", 4);
}

const TASK: &str = "01K5R4XJ7Z0000000000000000";

fn id(n: usize) -> String {
    format!("01K5R4XJ7Z{n:016}")
}

/// One step in the life of some replicas of a task.
#[derive(Clone, Debug)]
enum Step {
    /// This replica writes.
    Write(usize, &'static str, Value),
    /// The first takes in all that the second has.
    Merge(usize, usize),
}

fn step(replicas: usize) -> impl Strategy<Value = Step> {
    let set = |name: &'static str| (0..3).prop_map(move |v| ("TaskUpdated", json!({"set": {name: v}})));
    let says = prop_oneof![
        set("priority"),
        set("metadata.a"),
        set("metadata.b"),
        select(vec![json!({}), json!({"a": 1}), json!({"b": 2, "c": 0})])
            .prop_map(|map| ("TaskUpdated", json!({"set": {"metadata": map}}))),
        select(vec!["open", "in_progress", "cancelled"])
            .prop_map(|to| ("TaskStatusChanged", json!({"from": "open", "to": to}))),
        any::<bool>().prop_map(|met| ("AcceptanceMet", json!({"criterion": "it holds", "met": met}))),
        (10usize..13).prop_map(|n| ("RelationshipAdded", json!({"type": "parent_of", "from": id(n), "to": TASK}))),
        (2usize..8).prop_map(|n| ("RelationshipRemoved", json!({"relationship": id(n)}))),
        Just(("ProgressItemCompleted", json!({"item": id(1)}))),
        Just(("ProgressItemReopened", json!({"item": id(1)}))),
        Just(("ContextAdded", json!({"type": "note", "content": "x"}))),
    ];
    prop_oneof![
        3 => (0..replicas, says).prop_map(|(at, (kind, payload))| Step::Write(at, kind, payload)),
        1 => (0..replicas, 0..replicas).prop_map(|(to, from)| Step::Merge(to, from)),
    ]
}

/// Replicas that each know some of the events, as indices of one growing list.
struct Replicas {
    all: Vec<Entry>,
    known: Vec<BTreeSet<usize>>,
}

impl Replicas {
    fn live(replicas: usize, steps: &[Step]) -> Self {
        let mut life = Replicas { all: Vec::new(), known: vec![BTreeSet::new(); replicas] };
        let first = life.write(0, "TaskCreated", &json!({"title": "x", "acceptance": ["it holds"]}));
        let item = life.write(0, "ProgressItemAdded", &json!({"content": "step"}));
        life.known.iter_mut().for_each(|known| known.extend([first, item]));
        for step in steps {
            match step {
                Step::Write(at, kind, payload) => {
                    life.write(*at, kind, payload);
                }
                Step::Merge(to, from) => {
                    let more = life.known[*from].clone();
                    life.known[*to].extend(more);
                }
            }
        }
        life
    }

    fn write(&mut self, at: usize, kind: &str, payload: &Value) -> usize {
        let known: Vec<&Entry> = self.known[at].iter().map(|n| &self.all[*n]).collect();
        let followed: BTreeSet<Id> = known.iter().flat_map(|e| e.event.parents.clone()).collect();
        let heads: Vec<Id> = known.iter().map(|e| e.event.id).filter(|id| !followed.contains(id)).collect();
        let lamport = known.iter().map(|e| e.event.lamport).max().unwrap_or(0) + 1;
        let n = self.all.len();
        let line = json!({"v": 1, "id": id(n), "lamport": lamport, "type": kind, "entity": format!("task/{TASK}"),
            "parents": heads, "agent": format!("agent-{at}"), "at": "2026-11-20T10:00:00Z", "payload": payload})
        .to_string();
        self.all.push(Entry { event: parse_line(&line).unwrap(), line: line.into() });
        self.known[at].insert(n);
        n
    }

    /// All that each event's writer had seen, by the plainest means there are.
    fn ancestors(&self) -> BTreeMap<Id, BTreeSet<Id>> {
        let mut all: BTreeMap<Id, BTreeSet<Id>> = BTreeMap::new();
        for entry in &self.all {
            let mut seen = BTreeSet::new();
            for parent in &entry.event.parents {
                seen.insert(*parent);
                seen.extend(&all[parent]);
            }
            all.insert(entry.event.id, seen);
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_one_replica_wrote_alone_is_never_lost(steps in prop::collection::vec(step(1), 0..20)) {
        let life = Replicas::live(1, &steps);
        prop_assert!(!is_forked(&life.all));
        prop_assert_eq!(lost(TASK.parse().unwrap(), &life.all), []);
    }

    #[test]
    fn the_list_is_the_same_for_every_order_of_lines_and_says_what_is_so(
        (steps, seed) in (prop::collection::vec(step(4), 0..30), any::<u64>())
    ) {
        let task: Id = TASK.parse().unwrap();
        let life = Replicas::live(4, &steps);
        let found = lost(task, &life.all);
        let mut shuffled = life.all.clone();
        let len = shuffled.len();
        (0..len).for_each(|n| shuffled.swap(n, (seed as usize).wrapping_mul(n + 7) % len));
        shuffled.extend(life.all.iter().take(3).cloned());
        prop_assert_eq!(&lost(task, &shuffled), &found);

        let state = fold(task, &life.all).0;
        let ancestors = life.ancestors();
        let parents = register::parent_edges(&life.all);
        for edit in &found {
            let holds = register::value(&state, &edit.field);
            prop_assert_eq!(&edit.won.value, &holds, "{:?}", edit);
            prop_assert_ne!(&edit.lost.value, &holds, "{:?}", edit);
            let writer = life.all.iter().find(|e| e.event.id == edit.lost.event).unwrap();
            let wrote = register::writes(&writer.event, &parents);
            let key = edit.field.strip_prefix("metadata.").unwrap_or_default();
            let said = wrote.iter().any(|(name, value)| {
                (*name == edit.field && *value == edit.lost.value)
                    || (name == "metadata" && value.get(key).cloned().unwrap_or_default() == edit.lost.value)
            });
            prop_assert!(said, "nobody wrote {:?}", edit);
            prop_assert!(!ancestors[&edit.won.event].contains(&edit.lost.event), "it was seen: {:?}", edit);
            prop_assert!(!ancestors[&edit.lost.event].contains(&edit.won.event), "it saw: {:?}", edit);
        }
        // And nothing is missing: whatever plain field somebody wrote last of all he knew is there, or listed, or was seen.
        let events = order(&Entity::Task(task), &life.all).events;
        let writes = |e: &Entry, field: &str| register::writes(&e.event, &parents).into_iter().find(|(name, _)| name == field);
        for entry in &events {
            let Some((_, value)) = writes(entry, "priority") else { continue };
            let seen = events.iter().any(|e| writes(e, "priority").is_some() && ancestors[&e.event.id].contains(&entry.event.id));
            let listed = found.iter().any(|l| l.field == "priority" && l.lost.event == entry.event.id);
            prop_assert_eq!(listed, !seen && value != register::value(&state, "priority"));
        }
    }
}
