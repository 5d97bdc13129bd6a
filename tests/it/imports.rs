//! An import of what was imported before changes only what the source changed, and keeps what was decided here.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// A tracker of another tool: issues by id.
struct Tracker(Vec<Value>);

impl Tracker {
    /// Three issues: the second is part of the first and waits for the third.
    fn new() -> Self {
        let on = |id: &str, other: &str, kind: &str| json!({ "issue_id": id, "depends_on_id": other, "type": kind });
        Tracker(vec![
            json!({ "id": "bk-1", "title": "Lending", "status": "open", "priority": 2, "issue_type": "epic" }),
            json!({ "id": "bk-2", "title": "Scan a card", "description": "Read it.", "status": "open", "priority": 2,
                "issue_type": "task", "labels": ["desk"],
                "dependencies": [on("bk-2", "bk-1", "parent-child"), on("bk-2", "bk-3", "blocks"), on("bk-2", "bk-1", "related")] }),
            json!({ "id": "bk-3", "title": "Buy a scanner", "status": "open", "priority": 2, "issue_type": "task" }),
        ])
    }

    fn set(&mut self, n: usize, field: &str, value: Value) {
        self.0[n - 1][field] = value;
    }

    fn import(&self, room: &Sandbox) -> Value {
        let text: String = self.0.iter().map(|issue| format!("{issue}\n")).collect();
        room.feed(&["import", "--from", "beads", "-"], text.as_bytes()).data()
    }
}

/// The tracker, imported once, and the tasks.
fn imported() -> (Sandbox, Tracker, Vec<String>) {
    let (room, tracker) = (Sandbox::new(), Tracker::new());
    let report = tracker.import(&room);
    let ids = report["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    (room, tracker, ids)
}

fn events(room: &Sandbox) -> usize {
    room.run(&["stats"]).data()["events"].as_u64().unwrap() as usize
}

#[test]
fn an_unchanged_source_changes_nothing() {
    let (room, tracker, _) = imported();
    let before = events(&room);
    let again = tracker.import(&room);
    assert_eq!((&again["changes"], &again["conflicts"]), (&Value::Null, &Value::Null));
    assert_eq!(events(&room), before);
    room.is_clean();
}

#[test]
fn what_was_decided_here_stays() {
    let (room, tracker, ids) = imported();
    let task = &ids[1];
    room.run(&["task", "unblock", task]).data();
    room.run(&["task", "update", task, "--clear", "parent", "--title", "Read a card", "--remove-label", "desk"]).data();
    let related = room.get(task)["relationships"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["task", "unrelate", "--relationship", &related]).data();
    let before = events(&room);
    let again = tracker.import(&room);
    assert_eq!((&again["changes"], &again["added"]["relationships"]), (&Value::Null, &json!(0)), "{again}");
    assert_eq!(events(&room), before);
    let view = room.get(task);
    assert_eq!((&view["parent"], &view["relationships"], &view["labels"]), (&Value::Null, &json!([]), &json!([])));
}

#[test]
fn edits_of_the_source_arrive_where_nothing_changed_here() {
    let (room, mut tracker, ids) = imported();
    room.run(&["task", "update", &ids[1], "--priority", "4"]).data();
    tracker.set(2, "title", json!("Scan any card"));
    tracker.set(2, "labels", json!(["desk", "cards"]));
    tracker.set(2, "dependencies", json!([{ "issue_id": "bk-2", "depends_on_id": "bk-1", "type": "parent-child" }]));
    let again = tracker.import(&room);
    assert_eq!(again["conflicts"], Value::Null, "{again}");
    let view = room.get(&ids[1]);
    assert_eq!((&view["title"], &view["labels"]), (&json!("Scan any card"), &json!(["desk", "cards"])));
    assert_eq!((&view["priority"], &view["status"]), (&json!(4), &json!("open")), "the blocker left the source");
    let before = events(&room);
    tracker.import(&room);
    assert_eq!(events(&room), before);
    room.is_clean();
}

#[test]
fn a_value_that_both_changed_is_listed() {
    let (room, mut tracker, ids) = imported();
    room.run(&["task", "update", &ids[2], "--title", "Rent a scanner"]).data();
    tracker.set(3, "title", json!("Buy two scanners"));
    let again = tracker.import(&room);
    let clash = &again["conflicts"][0];
    assert_eq!(
        (&clash["key"], &clash["field"], &clash["reason"]),
        (&json!("bk-3"), &json!("title"), &json!("both_changed"))
    );
    assert_eq!((&clash["file"], &clash["store"]), (&json!("Buy two scanners"), &json!("Rent a scanner")));
    assert_eq!(room.get(&ids[2])["title"], "Rent a scanner");
    assert_eq!(tracker.import(&room)["conflicts"].as_array().unwrap().len(), 1, "it stays until one side gives way");
    let words = room.feed(&["import", "--from", "beads", "-", "--format", "table"], {
        let text: String = tracker.0.iter().map(|issue| format!("{issue}\n")).collect();
        text.into_bytes().leak()
    });
    assert!(words.stdout.contains("kept    bk-3  title"), "{words:?}");
}

#[test]
fn an_end_in_the_source_arrives() {
    let (room, mut tracker, ids) = imported();
    tracker.set(3, "status", json!("closed"));
    let again = tracker.import(&room);
    assert_eq!(again["conflicts"], Value::Null, "{again}");
    assert_eq!(room.get(&ids[2])["status"], "completed");
    assert_eq!(room.get(&ids[1])["status"], "open", "its blocker is finished");
    // What was begun here is not ended from outside.
    room.run_as("bob", &["claim", &ids[1]]).data();
    tracker.set(2, "status", json!("closed"));
    let again = tracker.import(&room);
    assert_eq!(
        (&again["conflicts"][0]["field"], &room.get(&ids[1])["status"]),
        (&json!("status"), &json!("in_progress"))
    );
    room.is_clean();
}

#[test]
fn a_task_that_is_closed_here_stays_closed() {
    let (room, mut tracker, ids) = imported();
    room.run(&["cancel", &ids[2], "--why", "not needed"]).data();
    tracker.set(3, "title", json!("Buy two scanners"));
    let again = tracker.import(&room);
    assert_eq!(again["conflicts"][0]["reason"], "closed", "{again}");
    let view = room.get(&ids[2]);
    assert_eq!((&view["status"], &view["title"]), (&json!("cancelled"), &json!("Buy a scanner")));
}

fn on(id: &str, other: &str, kind: &str) -> Value {
    json!({ "issue_id": id, "depends_on_id": other, "type": kind })
}

fn issue(id: &str, status: &str, dependencies: &[Value]) -> Value {
    json!({ "id": id, "title": id, "status": status, "priority": 2, "issue_type": "task", "dependencies": dependencies })
}

#[test]
fn what_a_plan_forbids_is_kept_as_metadata() {
    let room = Sandbox::new();
    let tracker = Tracker(vec![
        issue("whole", "closed", &[on("whole", "later", "blocks")]),
        issue(
            "part",
            "open",
            &[on("part", "whole", "parent-child"), on("part", "whole", "blocks"), on("part", "other", "parent-child")],
        ),
        issue(
            "other",
            "open",
            &[on("other", "gone", "blocks"), on("other", "one", "blocks"), on("other", "one", "blocks")],
        ),
        issue("one", "open", &[on("one", "two", "blocks")]),
        issue("two", "open", &[on("two", "three", "blocks")]),
        issue("three", "open", &[on("three", "one", "blocks"), on("three", "up", "parent-child")]),
        issue("up", "open", &[on("up", "three", "parent-child")]),
        issue("later", "open", &[]),
    ]);
    let report = tracker.import(&room);
    let warnings: Vec<&str> = report["warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    let expected = [
        ("whole", "part", "it would close a cycle, because \"whole\" waits for \"part\""),
        ("other", "part", "\"whole\" is the parent of \"part\" already"),
        ("gone", "other", "\"gone\" is not among the imported tasks"),
        ("one", "other", "it was there before"),
        ("one", "three", "it would close a cycle, because \"one\" waits for \"two\", then \"three\""),
        ("three", "up", "it would close a cycle, because \"up\" waits for \"three\""),
    ];
    for (from, to, reason) in expected {
        let words =
            [format!("\"{from}\" "), format!(" \"{to}\" is left out: {reason}; it is kept in the metadata of ")];
        assert!(warnings.iter().any(|w| words.iter().all(|part| w.contains(part))), "{words:?}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    assert!(room.findings().is_empty(), "{:#?}", room.findings());
    let id = |origin: &str| {
        let items = report["items"].as_array().unwrap();
        items.iter().find(|item| item["origin"] == origin).unwrap()["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(room.get(&id("part"))["metadata"]["dependencies"].as_array().unwrap().len(), 2);
    let log = room.run(&["log", &id("whole"), "--type", "TaskStatusChanged"]).data();
    assert_eq!(log["items"][0]["payload"]["forced"], json!(["blockers", "children"]), "{log}");
    assert_eq!(log["items"][0]["why"], "it was completed in the source of the import");
    let before = events(&room);
    let again = tracker.import(&room);
    assert_eq!(
        (&again["changes"], &again["conflicts"], events(&room)),
        (&Value::Null, &Value::Null, before),
        "{again}"
    );
}

#[test]
fn a_dry_run_shows_the_changes_and_makes_none() {
    let (room, mut tracker, _) = imported();
    tracker.set(2, "title", json!("Scan any card"));
    tracker.0.push(issue("bk-4", "open", &[]));
    let text: String = tracker.0.iter().map(|issue| format!("{issue}\n")).collect();
    let before = events(&room);
    let dry = room.feed(&["import", "--from", "beads", "-", "--dry-run"], text.as_bytes()).data();
    assert_eq!((&dry["dry_run"], &dry["changes"][0]["fields"][0]["to"]), (&json!(true), &json!("Scan any card")));
    let new = &dry["items"][3];
    assert_eq!((&new["new"], &new["id"], &dry["added"]["tasks"]), (&json!(true), &Value::Null, &json!(1)));
    assert_eq!(events(&room), before);
    assert_eq!(tracker.import(&room)["added"], dry["added"]);
}

#[test]
fn a_task_that_another_agent_holds_keeps_its_values() {
    let (room, mut tracker, ids) = imported();
    room.run_as("bob", &["claim", &ids[2]]).data();
    tracker.set(3, "title", json!("Buy two scanners"));
    tracker.set(1, "title", json!("Lending and returning"));
    let report = tracker.import(&room);
    let kept = &report["conflicts"][0];
    assert_eq!((&kept["key"], &kept["field"], &kept["reason"]), (&json!("bk-3"), &json!("title"), &json!("held")));
    assert_eq!(room.get(&ids[2])["title"], "Buy a scanner");
    assert_eq!(room.get(&ids[0])["title"], "Lending and returning", "others are not held up");
    room.run_as("bob", &["release", &ids[2]]).data();
    assert_eq!(tracker.import(&room)["conflicts"], Value::Null);
    assert_eq!(room.get(&ids[2])["title"], "Buy two scanners");
}

#[test]
fn an_edge_that_a_local_one_forbids_is_listed() {
    let (room, mut tracker) = (Sandbox::new(), Tracker(vec![issue("a", "open", &[]), issue("b", "open", &[])]));
    let report = tracker.import(&room);
    let id = |n: usize| report["items"][n]["id"].as_str().unwrap().to_owned();
    room.run(&["task", "block", &id(1), "--by", &id(0)]).data();
    tracker.set(1, "dependencies", json!([on("a", "b", "blocks"), on("a", "c", "parent-child")]));
    tracker.0.push(issue("c", "open", &[]));
    let report = tracker.import(&room);
    let kept = |n: usize| {
        (&report["conflicts"][n]["field"], &report["conflicts"][n]["file"], &report["conflicts"][n]["reason"])
    };
    assert_eq!(kept(0), (&json!("blocked_by"), &json!("b"), &json!("not_allowed")), "{report}");
    assert_eq!(room.get(&id(0))["parent"], report["items"][2]["id"], "the rest arrives");
    room.is_clean();
    room.run(&["task", "unblock", &id(1)]).data();
    assert_eq!(tracker.import(&room)["changes"][0]["by"], "b");
}

#[test]
fn a_large_plan_arrives_in_parts() {
    let room = Sandbox::new();
    let last = 1_100;
    let mut issues: Vec<Value> = (0..=last).map(|n| issue(&format!("i-{n}"), "open", &[])).collect();
    // Its parent and its blocker come last in the file; one edge has no order that suits it.
    issues[0] = issue("i-0", "blocked", &[on("i-0", "i-1100", "parent-child"), on("i-0", "i-1099", "blocks")]);
    issues[1] = issue("i-1", "open", &[on("i-1", "i-1098", "related")]);
    issues[2] = issue("i-2", "closed", &[on("i-2", "i-3", "blocks")]);
    issues[3] = issue("i-3", "open", &[on("i-3", "i-2", "parent-child")]);
    let mut tracker = Tracker(issues);
    let report = tracker.import(&room);
    assert_eq!((&report["added"]["tasks"], &report["total"]), (&json!(1_101), &json!(1_101)));
    assert_eq!(
        (&report["added"]["relationships"], &report["changes"]),
        (&json!(5), &Value::Null),
        "{}",
        report["warnings"]
    );
    let id = |origin: &str| {
        let items = report["items"].as_array().unwrap();
        items.iter().find(|item| item["origin"] == origin).unwrap()["id"].as_str().unwrap().to_owned()
    };
    let first = room.get(&id("i-0"));
    assert_eq!((&first["parent"], &first["status"]), (&json!(id("i-1100")), &json!("blocked")));
    assert_eq!(room.get(&id("i-1"))["relationships"][0]["to"], json!(id("i-1098")));
    let errors: Vec<Value> = room.findings().into_iter().filter(|f| f["severity"] == "error").collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let before = events(&room);
    let again = tracker.import(&room);
    assert_eq!((&again["changes"], &again["conflicts"], events(&room)), (&Value::Null, &Value::Null, before));
    tracker.set(2, "title", json!("another title"));
    let again = tracker.import(&room);
    assert_eq!((again["changes"].as_array().unwrap().len(), events(&room)), (1, before + 2), "{}", again["changes"]);
}

#[test]
fn what_cannot_be_seen_is_no_label() {
    let room = Sandbox::new();
    let labels = json!(["\u{200b}", "x", "\u{7}"]);
    let issue = json!({"id": "a", "title": "one", "priority": 2, "labels": labels});
    let report = room.feed(&["import", "--from", "beads", "-"], format!("{issue}\n").as_bytes()).data();
    assert_eq!(room.get(report["items"][0]["id"].as_str().unwrap())["labels"], json!(["x"]));
    room.is_clean();
}

/// The contents of the notes of a task that nothing superseded, in order.
fn notes(room: &Sandbox, task: &str) -> Vec<String> {
    let view = room.get(task);
    let current = view["context"].as_array().unwrap().iter().filter(|note| note["superseded_by"].is_null());
    current.map(|note| note["content"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_note_that_was_written_between_two_others_arrives_and_neither_comes_twice() {
    let (room, mut tracker, ids) = imported();
    tracker.set(2, "notes", json!("cards are old"));
    tracker.import(&room);
    tracker.set(2, "design", json!("a scanner at the desk"));
    tracker.import(&room);
    assert_eq!(notes(&room, &ids[1]), ["cards are old", "a scanner at the desk"]);
    let before = events(&room);
    tracker.import(&room);
    assert_eq!(events(&room), before, "nothing changed");
    tracker.set(2, "notes", json!("cards are old, and some are torn"));
    tracker.import(&room);
    assert_eq!(
        notes(&room, &ids[1]),
        ["a scanner at the desk", "cards are old, and some are torn"],
        "an edit supersedes"
    );
}

#[test]
fn an_import_that_was_undone_and_repeated_has_each_note_once() {
    let room = Sandbox::new();
    let mut tracker = Tracker::new();
    tracker.set(2, "notes", json!("cards are old"));
    tracker.set(2, "comments", json!([{ "id": 1, "text": "a comment", "created_at": "2026-01-01T00:00:00Z" }]));
    let first: String = tracker.0.iter().map(|issue| format!("{issue}\n")).collect();
    let args = ["import", "--from", "beads", "-", "--correlation-id", "first"];
    let report = room.feed(&args, first.as_bytes()).data();
    let task = report["items"][1]["id"].as_str().unwrap().to_owned();
    let both = notes(&room, &task);
    assert_eq!(both.len(), 2, "{both:?}");
    room.run(&["undo", "--correlation-id", "first"]).data();
    for _ in 0..2 {
        tracker.import(&room);
        assert_eq!(notes(&room, &task), both);
    }
}

#[test]
fn a_note_that_was_redacted_here_does_not_come_back() {
    let (room, mut tracker, ids) = imported();
    tracker.set(2, "notes", json!("the password is hunter2"));
    tracker.import(&room);
    let entry = room.get(&ids[1])["context"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "a secret"]).data();
    tracker.set(2, "design", json!("a scanner at the desk"));
    let again = tracker.import(&room);
    assert_eq!(again["added"]["context"], json!(1), "{again:#}");
    assert!(notes(&room, &ids[1]).iter().all(|note| !note.contains("hunter2")));
}

#[test]
fn a_note_that_was_redacted_does_not_come_back_after_an_undo_of_its_import() {
    let room = Sandbox::new();
    let mut tracker = Tracker::new();
    tracker.set(2, "notes", json!("the password is hunter2"));
    tracker.set(2, "comments", json!([{ "id": 1, "text": "hunter2 again", "created_at": "2026-01-01T00:00:00Z" }]));
    let text: String = tracker.0.iter().map(|issue| format!("{issue}\n")).collect();
    let report = room.feed(&["import", "--from", "beads", "-", "--correlation-id", "first"], text.as_bytes()).data();
    let task = report["items"][1]["id"].as_str().unwrap().to_owned();
    for note in room.get(&task)["context"].as_array().unwrap() {
        room.run(&["context", "redact", note["id"].as_str().unwrap(), "--reason", "a secret"]).data();
    }
    room.run(&["undo", "--correlation-id", "first"]).data();
    tracker.import(&room);
    assert!(!room.get(&task).to_string().contains("hunter2"));
}
