//! Compaction: closed tasks move into archives and are read as before, on any clone, after any history of git.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, cases};

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
fn an_undo_finds_the_events_of_archived_tasks() {
    let room = Sandbox::new();
    room.at(LONG_AGO);
    let task = room.task("closed", &[]);
    room.run(&["task", "update", &task, "--priority", "2", "--correlation-id", "r"]).data();
    room.run(&["task", "update", &task, "--label", "x", "--plan-id", "p"]).data();
    room.run(&["task", "transition", &task, "--status", "cancelled"]).data();
    room.run(&["task", "archive", &task]).data();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let archiving: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    commit(&room, "plan");
    room.at(NOW);
    for undo in [
        &["undo", "--correlation-id", "r"][..],
        &["undo", "--plan-id", "p"],
        &["undo", archiving["id"].as_str().unwrap()],
    ] {
        assert_eq!(room.run(&["compact"]).data()["tasks"], 1);
        room.run(undo).data();
        assert!(room.task_dir(&task).exists(), "{undo:?} brings the task back");
        room.is_clean();
    }
    let now = room.get(&task);
    assert_eq!((&now["priority"], &now["labels"], &now["status"]), (&json!(0), &json!([]), &json!("cancelled")));
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

/// A plan of which the closed tasks were dropped.
fn dropped() -> Closed {
    let closed = Closed::new();
    let room = &closed.room;
    closed.compact();
    commit(room, "compact");
    let asked = room.run(&["compact", "--drop-before", "2026-06-01", "--dry-run"]).data();
    assert_eq!(asked["dropped"]["tasks"], 2, "{asked}");
    assert!(closed.archive().exists(), "a dry run drops nothing");
    let report = room.run(&["compact", "--drop-before", "2026-06-01"]).data();
    assert_eq!(report["dropped"], asked["dropped"]);
    closed
}

#[test]
fn a_dropped_task_leaves_a_record_and_blocks_no_other() {
    let closed = dropped();
    let room = &closed.room;
    assert!(!closed.archive().exists());
    let record = fs::read_to_string(room.store().join("archive/dropped.jsonl")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((record["tasks"].as_array().unwrap().len(), &record["by"]), (2, &json!("ada")), "{record}");
    assert_eq!(
        (record["archive"].as_str(), record["sha256"].as_str().unwrap().len()),
        (Some("archive/2026-03.jsonl"), 64)
    );
    let error = room.run(&["task", "get", &closed.first]).error("ERR_NOT_FOUND", 3);
    assert_eq!(error["details"]["dropped"], true, "{error}");
    assert_eq!(room.run(&["ls", "--all"]).data()["items"].as_array().unwrap().len(), 2);
    room.is_clean();
    let next = room.run(&["next"]).data();
    assert_eq!(next["title"].as_str().or(next["task"]["title"].as_str()), Some("waits for the first"), "{next}");
    room.run(&["next", "--claim"]).data();
    assert_eq!(room.run(&["recover"]).data()["items"], json!([]), "what was dropped is not lost");
    commit(room, "drop");
    room.run(&["resolve"]).data();
    room.run(&["note", &closed.done, "--content", "a change looks after git"]).data();
    assert!(room.run(&["task", "get", &closed.first]).code != 0 && !room.task_dir(&closed.first).exists());
    room.is_clean();
}

#[test]
fn an_import_brings_no_dropped_task_back() {
    let closed = Closed::new();
    let room = &closed.room;
    let export = room.run_short(&["export", "--format", "jsonl"]).stdout;
    closed.compact();
    room.run(&["compact", "--drop-before", "2026-06-01"]).data();
    for more in [&["--dry-run"][..], &[]] {
        let report = room.feed(&[&["import", "--from", "jsonl", "-"], more].concat(), export.as_bytes()).data();
        assert_eq!((&report["added"]["events"], &report["total"]), (&json!(0), &json!(2)), "{report}");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains(&closed.first) && warnings.contains(&closed.second), "{warnings}");
    }
    room.is_clean();
}

#[test]
fn a_source_creates_no_task_again_that_was_dropped() {
    let room = Sandbox::new();
    room.at(LONG_AGO);
    let on = |id: &str, other: &str, kind: &str| json!({"issue_id": id, "depends_on_id": other, "type": kind});
    let issue = |id: &str, status: &str, dependencies: Value| {
        let line = json!({"id": id, "title": id, "status": status, "priority": 2, "issue_type": "task",
            "dependencies": dependencies});
        format!("{line}\n")
    };
    let mut beads = [
        issue("old", "closed", json!([])),
        issue("part", "open", json!([on("part", "old", "parent-child"), on("part", "old", "blocks")])),
    ]
    .concat();
    let plan = "plan: p\ntasks:\n- {key: old, title: Old}\n- {key: new, title: New, blocked_by: [old]}\n";
    let import = |text: &str| room.feed(&["import", "--from", "beads", "-"], text.as_bytes()).data();
    let apply = || room.feed(&["plan", "apply", "-"], plan.as_bytes()).data();
    let (imported, applied) = (import(&beads), apply());
    let ids = [&imported["items"][0]["id"], &applied["items"][0]["id"]].map(|id| id.as_str().unwrap().to_owned());
    room.run(&["claim", &ids[1]]).data();
    room.run(&["done", &ids[1]]).data();
    for id in &ids {
        room.run(&["task", "archive", id]).data();
    }
    commit(&room, "plan");
    room.at(NOW);
    room.run(&["compact"]).data();
    room.run(&["compact", "--drop-before", "2026-06-01"]).data();
    let events = || room.run(&["stats"]).data()["events"].clone();
    let before = events();
    // Another issue that names it is imported without the edge.
    for added in [0, 1] {
        let report = import(&beads);
        assert_eq!((&report["added"]["tasks"], &report["changes"]), (&json!(added), &Value::Null), "{report}");
        assert!(report["warnings"].to_string().contains(&ids[0]), "{report}");
        let report = apply();
        assert_eq!(report["changes"], Value::Null, "{report}");
        assert!(report["warnings"].to_string().contains(&ids[1]), "{report}");
        assert!(added == 1 || events() == before, "the same source again changes nothing");
        beads.push_str(&issue("late", "blocked", json!([on("late", "old", "blocks"), on("late", "old", "related")])));
    }
    room.is_clean();
}

#[test]
fn a_drop_is_named_by_the_gate_and_a_second_one_drops_nothing() {
    let closed = dropped();
    let room = &closed.room;
    let again = room.run(&["compact", "--drop-before", "2026-06-01"]).data();
    assert_eq!(again["dropped"]["tasks"], 0);
    room.git(&["checkout", "-q", "-b", "work"]).text();
    commit(room, "drop");
    let answer = room.run(&["lint", "--base", "main"]);
    assert!(answer.code == 1 && answer.stdout.contains("log-rewritten"), "a person decides about that: {answer:?}");
}

#[test]
fn doctor_suggests_a_compaction_where_it_is_worthwhile() {
    let room = Sandbox::new();
    room.at(LONG_AGO);
    let create: Vec<Value> = (0..200)
        .map(|n| json!({ "op": "task.create", "as": format!("t{n}"), "args": { "title": format!("task {n}") } }))
        .collect();
    let close = |op: &str, more: Value| -> Vec<Value> {
        let args = |n: usize| {
            let mut args = json!({ "id": format!("$t{n}") });
            args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({ "op": op, "args": args })
        };
        (0..200).map(args).collect()
    };
    let ops =
        [create, close("task.transition", json!({ "status": "cancelled" })), close("task.archive", json!({}))].concat();
    fs::write(room.repo().join("ops.json"), json!(ops).to_string()).unwrap();
    room.run(&["batch", "--file", "ops.json"]).data();
    let suggested = || {
        let health = room.run(&["doctor"]).data();
        health["checks"].as_array().unwrap().iter().any(|check| check["check"] == "archives")
    };
    assert!(!suggested(), "they are too new");
    room.at(NOW);
    assert!(suggested());
    assert_eq!(room.run(&["compact"]).data()["tasks"], 200);
    assert!(!suggested());
}

#[test]
fn a_damaged_archive_hides_no_whole_line() {
    type Damage = fn(&str) -> Vec<u8>;
    let damages: &[(&str, Damage)] = &[
        ("garbage between the lines", |text| {
            let lines: Vec<Vec<u8>> = text.lines().map(|line| line.as_bytes().to_vec()).collect();
            lines.join(&b"\n\xff\xfe\0 no event {\n"[..])
        }),
        ("a line that is too long", |text| [vec![b'x'; 1 << 20], b"\n".to_vec(), text.as_bytes().to_vec()].concat()),
        ("conflict markers", |text| format!("<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n").into_bytes()),
        ("lines of a stranger", |text| {
            format!("{}\n{text}", text.lines().next().unwrap().replace("task/", "agent/")).into_bytes()
        }),
        ("CR LF and a cut-off end", |text| text.replace('\n', "\r\n").into_bytes()[..text.len() - 40].to_vec()),
    ];
    for (what, damage) in damages {
        let closed = Closed::new();
        let room = &closed.room;
        closed.compact();
        let text = fs::read_to_string(closed.archive()).unwrap();
        fs::write(closed.archive(), damage(&text)).unwrap();
        let first = room.run(&["task", "get", text.split("task/").nth(1).unwrap().get(..26).unwrap()]);
        assert_eq!(first.code, 0, "{what}: {first:?}");
        assert_ne!(room.run(&["lint"]).json()["data"]["findings"], json!([]), "{what}");
        room.run(&["ls", "--all"]).data();
        room.run(&["note", &closed.done, "--content", "goes on"]).data();
        room.run(&["resolve"]).json();
        assert_eq!(room.run(&["ls", "--all"]).data()["items"].as_array().unwrap().len(), 4, "{what}");
    }
}

#[test]
fn what_is_no_archive_is_reported_and_not_followed() {
    let closed = Closed::new();
    let room = &closed.room;
    closed.compact();
    let text = fs::read_to_string(closed.archive()).unwrap();
    fs::write(room.beside("elsewhere"), &text).unwrap();
    fs::remove_file(closed.archive()).unwrap();
    std::os::unix::fs::symlink(room.beside("elsewhere"), closed.archive()).unwrap();
    room.run(&["task", "get", &closed.first]).error("ERR_NOT_FOUND", 3);
    assert!(room.finding_codes().contains(&"odd-file".to_owned()));
    fs::remove_dir_all(room.store().join("archive")).unwrap();
    fs::write(room.store().join("archive"), "a file").unwrap();
    assert!(room.finding_codes().contains(&"odd-file".to_owned()));
    room.run(&["ls", "--all"]).data();
    room.run(&["note", &closed.done, "--content", "goes on"]).data();
}

cases!(an_archive_that_cannot_be_used by takes_no_tasks_and_holds_up_no_change {
    a_file_in_the_place_of_the_folder: |closed| fs::write(closed.room.store().join("archive"), "").unwrap(),
    a_folder_in_the_place_of_the_archive: |closed| fs::create_dir_all(closed.archive()).unwrap(),
    a_line_that_is_too_long: |closed| {
        fs::create_dir_all(closed.room.store().join("archive")).unwrap();
        fs::write(closed.archive(), format!("{}\n", "x".repeat(300_000))).unwrap();
    },
});

fn takes_no_tasks_and_holds_up_no_change(_: &str, spoil: fn(&Closed)) {
    let closed = Closed::new();
    let room = &closed.room;
    spoil(&closed);
    let before = room.run(&["task", "get", &closed.first]).data();
    let report = room.run(&["compact", "--older-than", "0s"]).data();
    assert_eq!(report["tasks"], 0, "{report}");
    assert!(report["left"].to_string().contains("archive cannot be read"), "{report}");
    assert_eq!(room.run(&["task", "get", &closed.first]).data(), before);
    room.run(&["add", "goes on"]).data();
}
