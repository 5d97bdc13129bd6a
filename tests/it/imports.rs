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
    assert_eq!((&again["changes"], &again["conflicts"]), (&json!([]), &json!([])));
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
    assert_eq!((&again["changes"], &again["added"]["relationships"]), (&json!([]), &json!(0)), "{again}");
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
    assert_eq!(again["conflicts"], json!([]), "{again}");
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
    assert_eq!(again["conflicts"], json!([]), "{again}");
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
