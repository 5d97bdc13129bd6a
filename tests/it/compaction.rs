//! Compaction: closed tasks move into archives and are read as before, on any clone, after any history of git.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const LONG_AGO: &str = "2026-03-10T10:00:00Z";
const NOW: &str = "2026-11-20T10:00:00Z";

/// A repository with tasks that were archived long ago, an open task that waited for the first of them, and one that is only completed.
pub struct Closed {
    pub room: Sandbox,
    pub first: String,
    pub second: String,
    pub done: String,
}

impl Closed {
    pub fn new() -> Self {
        Self::in_room(Sandbox::new())
    }

    pub fn in_room(room: Sandbox) -> Self {
        room.at(LONG_AGO);
        let first = room.task("first of the closed", &["--label", "old"]);
        room.task("waits for the first", &["--blocked-by", &first]);
        let second = room.task("second of the closed", &[]);
        let done = room.task("only completed", &[]);
        room.run(&["note", &first, "--content", "a remarkable note"]).data();
        for id in [&first, &second, &done] {
            room.run(&["claim", id]).data();
            room.run(&["done", id, "--outcome", "it holds"]).data();
        }
        for id in [&first, &second] {
            room.run(&["task", "archive", id]).data();
        }
        commit(&room, "plan");
        room.at(NOW);
        Closed { room, first, second, done }
    }

    pub fn archive(&self) -> PathBuf {
        self.room.store().join("archive/2026-03.jsonl")
    }

    pub fn compact(&self) -> Value {
        self.room.run(&["compact"]).data()
    }
}

pub fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", message]).text();
}

/// Everything that is asked about the plan, without what names files.
fn answers(room: &Sandbox, first: &str) -> Vec<Value> {
    let asks: &[&[&str]] = &[
        &["task", "get", first, "--full"],
        &["show", first],
        &["log", first, "--all"],
        &["log", "--all"],
        &["ls", "--all"],
        &["ls", "--query", "label:old", "--all"],
        &["ls", "--query", "remarkable", "--all"],
        &["brief", first],
        &["blame", first],
        &["ready"],
        &["next"],
        &["stats"],
        &["graph"],
        &["task", "get", &first[20..]],
        &["task", "get", &first[..22]],
        &["lint"],
    ];
    asks.iter().map(|ask| json!([ask, room.run(ask).json()["data"]])).collect()
}

#[test]
fn an_archived_task_is_read_as_before() {
    let closed = Closed::new();
    let (room, before) = (&closed.room, answers(&closed.room, &closed.first));
    let report = closed.compact();
    assert_eq!((&report["tasks"], &report["files"]), (&json!(2), &json!(4)), "{report}");
    assert_eq!(report["archives"], json!(["archive/2026-03.jsonl"]));
    assert!(report["reclaimed_bytes"].as_i64().unwrap() > 0, "{report}");
    assert!(!room.task_dir(&closed.first).exists() && room.task_dir(&closed.done).exists());
    for is_committed in [false, true] {
        for (then, now) in before.iter().zip(answers(room, &closed.first)) {
            assert_eq!(*then, now);
        }
        if is_committed {
            break;
        }
        commit(room, "compact");
        fs::remove_file(room.repo().join(".git/agentpm/index.db")).unwrap();
        let _ = fs::remove_file(room.repo().join(".git/agentpm/index.archives"));
    }
    room.is_clean();
}

#[test]
fn lines_of_an_archive_are_sorted_events() {
    let closed = Closed::new();
    closed.compact();
    let text = fs::read_to_string(closed.archive()).unwrap();
    let keys: Vec<(String, u64, String)> = text
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            (text("entity"), event["lamport"].as_u64().unwrap(), text("id"))
        })
        .collect();
    assert!(keys.is_sorted() && !keys.is_empty(), "{keys:?}");
    assert_eq!(closed.compact()["tasks"], 0, "a second time there is nothing to do");
    assert_eq!(fs::read_to_string(closed.archive()).unwrap(), text);
}

#[test]
fn a_dry_run_changes_nothing_and_the_retention_counts() {
    let closed = Closed::new();
    let room = &closed.room;
    let report = room.run(&["compact", "--dry-run"]).data();
    assert_eq!((&report["tasks"], &report["dry_run"]), (&json!(2), &json!(true)), "{report}");
    assert!(!closed.archive().exists());
    assert_eq!(room.run(&["compact", "--older-than", "300d"]).data()["tasks"], 0);
    fs::write(room.store().join("config.toml"), "format = 1\n[compact]\nretention_days = 300\n").unwrap();
    assert_eq!(closed.compact()["tasks"], 0);
    assert_eq!(room.run(&["compact", "--older-than", "200d"]).data()["tasks"], 2);
}

#[test]
fn a_late_change_brings_a_task_back_whole() {
    let changes: &[&[&str]] =
        &[&["task", "reopen", "ID", "--reason", "it broke"], &["note", "ID", "--content", "seen again"]];
    for change in changes {
        let closed = Closed::new();
        let room = &closed.room;
        let log = fs::read_to_string(room.log_of(&closed.first)).unwrap();
        closed.compact();
        commit(room, "compact");
        let change: Vec<&str> = change.iter().map(|word| if *word == "ID" { &*closed.first } else { word }).collect();
        room.run(&change).data();
        let now = fs::read_to_string(room.log_of(&closed.first)).unwrap();
        assert!(now.starts_with(&log) && now.len() > log.len(), "{now}");
        assert!(!room.task_dir(&closed.second).exists());
        let listed = room.run(&["ls", "--all"]).data();
        assert_eq!(listed["items"].as_array().unwrap().len(), 4, "{listed}");
        let events = room.run(&["log", &closed.first, "--all"]).data();
        assert_eq!(events["items"].as_array().unwrap().len(), now.lines().count(), "no event is doubled");
        room.is_clean();
        if change[0] == "note" {
            assert_eq!(closed.compact()["tasks"], 1, "the next compaction moves it again");
            assert!(!room.task_dir(&closed.first).exists());
            assert!(fs::read_to_string(closed.archive()).unwrap().contains("seen again"));
        } else {
            assert_eq!(room.get(&closed.first)["status"], "open");
            assert_eq!(closed.compact()["tasks"], 0);
        }
        room.is_clean();
    }
}

#[test]
fn a_redaction_reaches_the_archive() {
    let closed = Closed::new();
    let room = &closed.room;
    let note = room.get(&closed.first)["context"][0]["id"].as_str().unwrap().to_owned();
    let events = fs::read_to_string(room.log_of(&closed.first)).unwrap().lines().count();
    closed.compact();
    room.run(&["context", "redact", &note, "--reason", "a secret"]).data();
    for file in [closed.archive(), room.log_of(&closed.first)] {
        assert!(!fs::read_to_string(&file).unwrap().contains("remarkable"), "{}", file.display());
    }
    assert_eq!(room.run(&["log", &closed.first, "--all"]).data()["items"].as_array().unwrap().len(), events + 1);
    room.is_clean();
}

#[test]
fn what_is_not_whole_or_was_edited_stays() {
    let closed = Closed::new();
    let room = &closed.room;
    let yaml = fs::read_to_string(room.yaml_of(&closed.first)).unwrap();
    fs::write(room.yaml_of(&closed.first), yaml.replace("first of", "1st of")).unwrap();
    fs::write(room.task_dir(&closed.second).join("mine.txt"), "x").unwrap();
    let report = closed.compact();
    assert_eq!((&report["tasks"], report["left"].as_array().unwrap().len()), (&json!(0), 2), "{report}");
    assert!(room.task_dir(&closed.first).exists() && room.task_dir(&closed.second).join("mine.txt").exists());
}

#[test]
fn a_compaction_needs_the_right_to_archive() {
    let closed = Closed::new();
    let room = &closed.room;
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [create]}\n").unwrap();
    room.run(&["compact"]).error("ERR_UNAUTHORIZED", 6);
    assert!(!closed.archive().exists());
}
