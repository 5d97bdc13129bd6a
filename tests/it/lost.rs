//! Lost edits: two clones that did not see each other, what was kept of the side that lost, and how it comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use agentpm::model::event::{Entity, Entry, Event, parse_line};
use agentpm::model::finding::{Finding, Rule};
use agentpm::model::id::Id;
use agentpm::model::payload::Payload;
use agentpm::model::task::Status;
use agentpm::model::time::Time;
use agentpm::rules::event_rules::{status_of, writes};
use agentpm::rules::fold::{apply, fold, is_plain, order};
use agentpm::rules::lost::{Reason, is_forked, lost};
use agentpm::rules::register;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, rounds};

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
fn the_loser_sees_and_restores_its_lost_value() {
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
    assert_eq!((&edit["handle"], &edit["what"]), (&json!(id[20..]), &json!("priority: 3 by ada lost to -2 by bob")));
    let words = twins.ada(&["conflicts", "--format", "table"]).text().to_owned();
    assert!(words.contains("Fix the lock") && words.contains("priority: 3 by ada lost to -2 by bob"), "{words}");
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
    assert_eq!(twins.ada(&["conflicts", "--quiet"]).text(), event, "one command ends both");
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
    let twins = Twins::new(|room| ids = vec![room.task("blocked by ada", &[]), room.task("cancelled by ada", &[])]);
    let (one, two) = (ids[0].as_str(), ids[1].as_str());
    twins.ada(&["task", "block", one, "--by", two]).data();
    twins.ada(&["task", "transition", two, "--status", "cancelled"]).data();
    twins.ada(&["task", "block", one, "--by", &twins.room.task("another", &[])]).data();
    for _ in 0..4 {
        twins.bob(&["note", one, "--content", "busy"]).data();
    }
    twins.bob(&["claim", one]).data();
    twins.bob(&["release", one]).data();
    twins.bob(&["claim", two]).data();
    twins.bob(&["done", two]).data();
    twins.merge();
    let edits = items(&twins.ada(&["conflicts", "--by", "ada"]));
    let status = |task: &str| {
        let edit =
            edits.iter().find(|e| e["task"] == task && e["field"] == "status").unwrap_or_else(|| panic!("{edits:#?}"));
        (edit["lost"]["value"].clone(), edit["rule"].clone(), edit["lost"]["event"].as_str().unwrap().to_owned())
    };
    let is_of_one = |edit: &&Value| edit["task"] == one && edit["field"] == "status";
    assert!(!edits.iter().any(|edit| is_of_one(&edit)), "it waits, whatever is recorded: {edits:#?}");
    assert_eq!(twins.room.get(one)["ready"], false);
    let (value, rule, event) = status(two);
    assert_eq!((value, rule), (json!("cancelled"), json!("rank")));
    let refused = twins.ada(&["conflicts", "restore", &event, "--field", "status"]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("cannot go from completed to cancelled"), "{refused}");
    assert_eq!(twins.room.get(two)["status"], "completed", "nothing was written");
}

#[test]
fn a_claim_that_lost_is_confirmed_as_lost_and_never_restored() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("claimed twice", &[]));
    twins.ada(&["claim", &id]).data();
    twins.bob(&["claim", &id]).data();
    twins.bob(&["done", &id, "--outcome", "it holds"]).data();
    twins.merge();
    let edits = items(&twins.ada(&["conflicts", "--by", "ada"]));
    let edit = edits.iter().find(|edit| edit["field"] == "status").unwrap_or_else(|| panic!("{edits:#?}"));
    let event = edit["lost"]["event"].as_str().unwrap();
    assert_eq!((&edit["lost"]["value"], edit.get("restore")), (&json!("in_progress"), None), "{edit:#}");
    assert!(edit["keep"].as_str().unwrap().starts_with(&format!("agentpm conflicts keep {event}")), "{edit:#}");
    for field in [&[][..], &["--field", "owner"]] {
        let refused = twins.ada(&[&["conflicts", "restore", event], field].concat()).error("ERR_INVALID_STATE", 4);
        assert!(refused["hint"].as_str().unwrap().contains("agentpm conflicts keep"), "{refused}");
    }
    let now = twins.room.get(&id);
    assert_eq!((&now["status"], &now["owner"]), (&json!("completed"), &json!("bob")));
    twins.ada(&["conflicts", "keep", event]).data();
    assert_eq!(items(&twins.ada(&["conflicts"])), [] as [Value; 0]);
}

#[test]
fn whoever_confirms_a_completion_has_not_completed_the_task() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("claimed twice", &[]));
    twins.bob(&["claim", &id]).data();
    twins.bob(&["done", &id, "--outcome", "it holds"]).data();
    // Later than the completion in the order of events.
    for n in 0..6 {
        twins.ada(&["note", &id, "--content", &n.to_string()]).data();
    }
    twins.ada(&["claim", &id]).data();
    twins.merge();
    let edits = items(&twins.ada(&["conflicts", "--by", "ada"]));
    let edit = edits.iter().find(|edit| edit["field"] == "status").unwrap_or_else(|| panic!("{edits:#?}"));
    twins.ada(&["conflicts", "keep", edit["lost"]["event"].as_str().unwrap()]).data();
    twins.ada(&["config", "set", "review.required", "true"]).data();
    twins.room.run_as("bob", &["task", "verify", &id, "--accept"]).error("ERR_UNAUTHORIZED", 6);
    twins.ada(&["task", "verify", &id, "--accept"]).data();
    let unreviewed = twins.ada(&["ls", "--query", "is:unreviewed"]).data();
    assert_eq!(unreviewed["total"], 0, "{unreviewed}");
    twins.room.is_clean();
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
    let end = |page: Value| page["items"][0].clone();
    assert!(end(twins.ada(&["conflicts"]).data())["restore"].as_str().unwrap().contains(&event));
    twins.room.run_as("eve", &["claim", &id]).data();
    twins.ada(&["conflicts", "restore", &event]).error("ERR_LEASE_HELD", 5);
    let offered = end(twins.ada(&["conflicts"]).data());
    let commands = (offered.get("restore"), offered.get("keep"));
    assert_eq!((&offered["held_by"], commands), (&json!("eve"), (None, None)), "{offered:#}");
    let brief = twins.ada(&["brief", &id]).data();
    assert!(brief["text"].as_str().unwrap().contains("eve has the task, and restores it"), "{brief:#}");
    let hers = end(twins.room.run_as("eve", &["conflicts"]).data());
    assert!(hers["restore"].is_string(), "its holder is offered the command: {hers:#}");
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

/// What a step says that a person wrote into the file.
const BY_HAND: &str = "by hand";

/// One step in the life of some replicas of a task.
#[derive(Clone, Debug)]
enum Step {
    /// This replica writes, with these keys of the event besides.
    Write(usize, &'static str, Value, Value),
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
        set("title"),
        (
            select(vec!["open", "in_progress", "cancelled", "completed"]),
            select(vec![json!(null), json!("ada"), json!("bob")])
        )
            .prop_map(|(to, owner)| ("TaskStatusChanged", json!({"from": "open", "to": to, "owner": owner}))),
        select(vec!["in_progress", "cancelled", "completed"])
            .prop_map(|to| ("TaskStatusChanged", json!({"from": "open", "to": to}))),
        Just(("TaskStatusChanged", json!({"from": "blocked", "to": "open"}))),
        select(vec!["completed", "cancelled"]).prop_map(|end| {
            let at = format!("{end}_at");
            ("TaskArchived", json!({"from": end, at: "2026-11-20T10:00:00Z"}))
        }),
        Just(("TaskReopened", json!({"from": "completed", "to": "open"}))),
        select(vec!["ada", "bob"]).prop_map(|name| ("TaskUpdated", json!({"set": {"owner": name}}))),
        any::<bool>().prop_map(|passed| ("TaskVerified", json!({"passed": passed}))),
        (1u64..4).prop_map(|fence| (
            "LeaseAcquired",
            json!({"lease": id(90), "holder": "ada", "fence": fence, "expires_at": "2026-11-20T11:00:00Z"})
        )),
        any::<bool>().prop_map(|met| ("AcceptanceMet", json!({"criterion": "it holds", "met": met}))),
        (10usize..13).prop_map(|n| ("RelationshipAdded", json!({"type": "parent_of", "from": id(n), "to": TASK}))),
        (2usize..8).prop_map(|n| ("RelationshipRemoved", json!({"relationship": id(n)}))),
        Just(("ProgressItemCompleted", json!({"item": id(1)}))),
        Just(("ProgressItemReopened", json!({"item": id(1)}))),
        Just(("ContextAdded", json!({"type": "note", "content": "x"}))),
        Just(("ProgressItemAdded", json!({"content": BY_HAND}))),
        (2usize..8).prop_map(|n| ("ProgressItemCompleted", json!({"item": id(n)}))),
    ];
    let more = (
        prop_oneof![3 => Just(Value::Null), 1 => (0u64..4).prop_map(Value::from)],
        prop_oneof![3 => Just(Value::Null), 1 => select(vec![-7i64, 0, 7, 1000, 1001]).prop_map(Value::from)],
    )
        .prop_map(|(fence, precedence)| json!({"fence": fence, "precedence": precedence}));
    prop_oneof![
        3 => (0..replicas, says, more).prop_map(|(at, (kind, payload), more)| Step::Write(at, kind, payload, more)),
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
        let first = life.write(0, "TaskCreated", &json!({"title": "x", "acceptance": ["it holds"]}), &json!({}));
        let item = life.write(0, "ProgressItemAdded", &json!({"content": "step"}), &json!({}));
        life.known.iter_mut().for_each(|known| known.extend([first, item]));
        for step in steps {
            match step {
                Step::Write(at, kind, payload, more) => {
                    life.write(*at, kind, payload, more);
                }
                Step::Merge(to, from) => {
                    let more = life.known[*from].clone();
                    life.known[*to].extend(more);
                }
            }
        }
        life
    }

    fn write(&mut self, at: usize, kind: &str, payload: &Value, more: &Value) -> usize {
        let known: Vec<&Entry> = self.known[at].iter().map(|n| &self.all[*n]).collect();
        let followed: BTreeSet<Id> = known.iter().flat_map(|e| e.event.parents.clone()).collect();
        let heads: Vec<Id> = known.iter().map(|e| e.event.id).filter(|id| !followed.contains(id)).collect();
        let lamport = known.iter().map(|e| e.event.lamport).max().unwrap_or(0) + 1;
        let n = self.all.len();
        let mut line = json!({"v": 1, "id": id(n), "lamport": lamport, "type": kind, "entity": format!("task/{TASK}"),
            "parents": heads, "agent": format!("agent-{at}"), "at": "2026-11-20T10:00:00Z", "payload": payload});
        for (key, value) in more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            line[key] = value.clone();
        }
        if payload["content"] == BY_HAND {
            line["why"] = json!("hand edit");
        }
        let line = line.to_string();
        self.all.push(Entry { event: parse_line(&line).unwrap(), line: line.into() });
        self.known[at].insert(n);
        n
    }

    fn text(&self) -> String {
        self.all.iter().map(|entry| format!("{}\n", entry.line)).collect()
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

/// The rule for concurrent writers, as plainly as it can be written down.
struct Naive<'a> {
    events: Vec<&'a Event>,
    ancestors: BTreeMap<Id, BTreeSet<Id>>,
    parents: BTreeSet<Id>,
    void: BTreeSet<Id>,
    none: BTreeSet<Id>,
}

impl<'a> Naive<'a> {
    fn of(life: &'a Replicas) -> Self {
        let (_, findings) = fold(TASK.parse().unwrap(), &life.all);
        let by = |void: bool| {
            let is = move |f: &&Finding| (f.rule == Rule::EventFenced) == void;
            findings.iter().filter(is).filter_map(|f| f.event).collect::<BTreeSet<Id>>()
        };
        let ordered = order(&Entity::Task(TASK.parse().unwrap()), &life.all).events;
        Naive {
            events: ordered.into_iter().map(|e| &e.event).collect(),
            ancestors: life.ancestors(),
            parents: register::parent_edges(life.all.iter().map(|e| &e.event)),
            void: by(true),
            none: by(false),
        }
    }

    fn counts(&self, event: &Event) -> bool {
        !self.void.contains(&event.id) && !self.none.contains(&event.id)
    }

    fn saw(&self, event: &Event, other: &Event) -> bool {
        self.ancestors[&event.id].contains(&other.id)
    }

    /// The writers of a register whose writing is not void, each with what it leaves there.
    fn writers(&self, field: &str) -> Vec<(&'a Event, Value)> {
        let whole = |value: Value| value.get(field.strip_prefix("metadata.")?).cloned().or(Some(Value::Null));
        let wrote = |event: &Event| {
            let writes = writes(event, &self.parents, &BTreeMap::new());
            let own = writes.iter().find(|(name, _)| name == field).map(|(_, value)| value.clone());
            own.or_else(|| writes.into_iter().find(|(name, _)| name == "metadata").and_then(|(_, value)| whole(value)))
        };
        let counts = self.events.iter().filter(|event| self.counts(event));
        counts.filter_map(|event| Some((*event, wrote(event)?))).collect()
    }

    fn unseen(&self, writers: Vec<(&'a Event, Value)>) -> Vec<(&'a Event, Value)> {
        let all = writers.clone();
        let is = |(event, _): &(&Event, Value)| !all.iter().any(|(other, _)| self.saw(other, event));
        writers.into_iter().filter(is).collect()
    }

    fn is_end(&self, event: &Event) -> bool {
        self.counts(event) && status_of(event).is_some_and(|status| status.is_finished())
    }

    fn round(&self, event: &Event) -> usize {
        let before = |id: &Id| self.events.iter().copied().find(|e| e.id == *id);
        let most = event.parents.iter().filter_map(before).map(|parent| self.round(parent)).max().unwrap_or(0);
        let reopens = event.payload.kind() == "TaskReopened" && self.counts(event);
        most + usize::from(reopens && self.events.iter().any(|end| self.is_end(end) && self.saw(event, end)))
    }

    fn rank(event: &Event) -> u8 {
        let payload: Value = serde_json::from_str(event.payload.to_raw().get()).unwrap();
        let says = |end: &str| payload["to"] == end || payload.get(format!("{end}_at")).is_some_and(|at| !at.is_null());
        if says("completed") { 2 } else { u8::from(says("cancelled")) }
    }

    fn precedence(event: &Event) -> i64 {
        event.precedence.filter(|p| (-1000..=1000).contains(p)).unwrap_or(0)
    }

    fn standing(&self, event: &Event) -> (usize, u8, i64, u64, Id) {
        (self.round(event), Self::rank(event), Self::precedence(event), event.lamport, event.id)
    }

    fn status(&self) -> (&'a Event, Value) {
        let left = self.unseen(self.writers("status")).into_iter();
        left.max_by_key(|(event, _)| self.standing(event)).expect("a task has a status")
    }

    /// Whether a status had given way to another by the time that the writer of `won` saw both.
    fn gave_way(&self, event: &Event, won: &Event) -> bool {
        let apart = |other: &Event| event.id != other.id && !self.saw(event, other) && !self.saw(other, event);
        let beats = |other: &Event| apart(other) && self.saw(won, other) && self.standing(other) > self.standing(event);
        self.writers("status").iter().any(|(other, _)| beats(other))
    }

    fn value(&self, field: &str) -> Option<Value> {
        let mut writers = self.writers(field);
        match field {
            "status" => return Some(self.status().1),
            "owner" => {
                let won = self.status().0;
                let is_move = |event: &Event| status_of(event).is_some();
                let counts = |event: &Event| event.id == won.id || (self.saw(won, event) && !self.gave_way(event, won));
                writers.retain(|(event, _)| !is_move(event) || counts(event));
            }
            "parent" => {
                let gone = |event: &Event| self.writers("parent").iter().any(|(other, _)| removes(other, event.id));
                writers.retain(|(event, value)| !value.is_null() && !gone(event));
            }
            _ => {}
        }
        let left = self.unseen(writers).into_iter();
        left.max_by_key(|(event, _)| (Self::precedence(event), event.lamport, event.id)).map(|(_, value)| value)
    }
}

fn removes(event: &Event, edge: Id) -> bool {
    matches!(&event.payload, Payload::RelationshipRemoved(p) if p.relationship == edge)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(5_000) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_plain_rule_decides_between_concurrent_writers(
        steps in prop::collection::vec(step(4), 0..30)
    ) {
        let life = Replicas::live(4, &steps);
        let naive = Naive::of(&life);
        let (state, _) = fold(TASK.parse().unwrap(), &life.all);
        for field in ["status", "owner", "title", "priority", "metadata.a", "metadata.b", "metadata.c", "parent", "verified",
            "met.it holds", &format!("progress.{}", id(1))] {
            if let Some(value) = naive.value(field) {
                prop_assert_eq!(register::value(&state, field), value, "{}\n{}", field, life.text());
            }
        }
        // What is over is over, and says since when.
        let at = |end: Status, time: &Option<Time>| (state.status != end) || time.is_some();
        prop_assert!(at(Status::Completed, &state.completed_at) && at(Status::Cancelled, &state.cancelled_at));
        prop_assert_eq!(state.status == Status::Archived, state.archived_at.is_some());
        // Applying each event to the state that its writer saw gives the same.
        for known in &life.known {
            let here: Vec<&Entry> = known.iter().map(|n| &life.all[*n]).collect();
            let whole = fold(TASK.parse().unwrap(), here.iter().copied()).0;
            if let Some((last, before)) = here.split_last() {
                let mut step = fold(TASK.parse().unwrap(), before.iter().copied()).0;
                let is_last = before.iter().all(|e| e.event.stamp() < last.event.stamp());
                if is_last && is_plain(&step, &last.event) {
                    apply(&mut step, &last.event);
                    prop_assert_eq!(step, whole);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: rounds(2_000) as u32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_of_a_single_replica_are_never_lost(steps in prop::collection::vec(step(1), 0..20)) {
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
        let parents = register::parent_edges(life.all.iter().map(|e| &e.event));
        for edit in &found {
            let holds = register::value(&state, &edit.field);
            prop_assert_eq!(&edit.won.value, &holds, "{:?}", edit);
            prop_assert_ne!(&edit.lost.value, &holds, "{:?}", edit);
            let writer = life.all.iter().find(|e| e.event.id == edit.lost.event).unwrap();
            let wrote = writes(&writer.event, &parents, &state.copies);
            let key = edit.field.strip_prefix("metadata.").unwrap_or_default();
            let said = wrote.iter().any(|(name, value)| {
                (*name == edit.field && *value == edit.lost.value)
                    || (name == "metadata" && value.get(key).cloned().unwrap_or_default() == edit.lost.value)
            });
            prop_assert!(said, "no event wrote {:?}", edit);
            prop_assert!(!ancestors[&edit.won.event].contains(&edit.lost.event), "it was seen: {:?}", edit);
            // What came with a status that gave way, or under a lost lease, is void whatever it saw.
            let void = matches!(edit.rule, Reason::Status | Reason::Fence);
            prop_assert!(void || !ancestors[&edit.lost.event].contains(&edit.won.event), "it saw: {:?}", edit);
        }
        let naive = Naive::of(&life);
        // And nothing is missing: the last value that each writer gave a plain field is present, listed, or was seen.
        let events = order(&Entity::Task(task), &life.all).events;
        let writes = |e: &Entry, field: &str| writes(&e.event, &parents, &BTreeMap::new()).into_iter().find(|(name, _)| name == field);
        for entry in &events {
            let Some((_, value)) = writes(entry, "priority") else { continue };
            let is_void = |e: &Entry| naive.void.contains(&e.event.id);
            let seen = events.iter().any(|e| {
                // What is void gives way to what is void too.
                let replaces = !is_void(e) || is_void(entry);
                writes(e, "priority").is_some() && replaces && ancestors[&e.event.id].contains(&entry.event.id)
            });
            let listed = found.iter().any(|l| l.field == "priority" && l.lost.event == entry.event.id);
            // Where each had seen all before it, what is void under a fence is a finding and no loss.
            let can_lose = is_forked(&life.all);
            prop_assert_eq!(listed, can_lose && !seen && value != register::value(&state, "priority"));
        }
    }
}

#[test]
fn the_overview_counts_the_values_that_conflicts_lists() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.ada(&["task", "update", &id, "--priority", "1", "--estimate", "1d"]).data();
    twins.bob(&["task", "update", &id, "--priority", "2", "--estimate", "2d"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 2);
    assert_eq!(twins.ada(&["status"]).data()["conflicts"], 2);
}
