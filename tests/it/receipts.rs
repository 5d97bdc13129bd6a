//! Short answers: a change answers with a receipt, and with all of what it changed only on request.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_change_names_the_changed_fields_with_both_values() {
    let room = Sandbox::new();
    let made = room.run_short(&["add", "Fix the lock", "--priority", "1"]).data();
    assert_eq!(keys(&made), ["id", "handle", "title", "status", "version"]);
    let id = made["id"].as_str().unwrap();
    let changed = room.run_short(&["task", "update", id, "--priority", "3", "--title", "Fix the locks"]).data();
    assert_eq!(
        changed["changed"],
        json!({ "title": { "from": "Fix the lock", "to": "Fix the locks" }, "priority": { "from": 1, "to": 3 } })
    );
    assert_eq!((&changed["title"], &changed["version"]), (&json!("Fix the locks"), &json!(2)));
    let same = room.run_short(&["task", "update", id, "--priority", "3"]).data();
    assert!(same.get("changed").is_none(), "{same}");
}

#[test]
fn a_receipt_is_short_whatever_the_task_holds() {
    let room = Sandbox::new();
    let id = room.task("long", &[]);
    for _ in 0..3 {
        let note = room.run_short(&["note", &id, &"word ".repeat(20_000)]);
        assert!(note.stdout.len() < 300, "{note:?}");
    }
    let receipt = room.run_short(&["task", "update", &id, "--priority", "2"]);
    assert!(receipt.stdout.len() < 400, "{receipt:?}");
    let claim = room.run_short(&["claim", &id]);
    assert!(claim.stdout.len() < 1_200, "{claim:?}");
    assert_eq!(claim.data()["lease"]["confirmed"], false);
    let whole = room.run_short(&["task", "update", &id, "--priority", "3", "--full"]).data();
    assert_eq!(whole["context"].as_array().unwrap().len(), 3);
}

#[test]
fn a_completion_names_the_tasks_that_became_ready_and_the_steps_left_open() {
    let room = Sandbox::new();
    let first = room.task("first", &[]);
    let waits = room.task("waits", &["--blocked-by", &first]);
    room.run_short(&["claim", &first]).data();
    room.run_short(&["progress", "add", "a step"]).data();
    room.run_short(&["progress", "add", "a done step", "--done"]).data();
    let done = room.run_short(&["done", "--outcome", "- a list item"]).data();
    assert_eq!((&done["status"], &done["unticked"]), (&json!("completed"), &json!(1)));
    assert_eq!(done["ready"][0]["id"], json!(waits));
    let words = room.run_short(&["claim", &waits, "--format", "table"]);
    assert!(words.text().contains("status: open -> in_progress"), "{words:?}");
}

#[test]
fn a_step_and_an_entry_answer_with_their_ids_alone() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let step = room.run_short(&["progress", "add", &id, "a step"]).data();
    assert_eq!((keys(&step), &step["completed"]), (vec!["id", "task", "handle", "completed"], &json!(false)));
    let ticked = room.run_short(&["progress", "complete", step["id"].as_str().unwrap()]).data();
    assert_eq!(ticked["completed"], true);
    let entry = room.run_short(&["context", "add", &id, "--type", "decision", "--content", "x"]).data();
    assert_eq!((keys(&entry), &entry["type"]), (vec!["id", "task", "handle", "type"], &json!("decision")));
}

#[test]
fn the_next_task_is_a_card() {
    let room = Sandbox::new();
    room.task("one", &["--intent", &"long ".repeat(2_000)]);
    let next = room.run_short(&["next"]);
    assert!(next.stdout.len() < 900, "{next:?}");
    assert_eq!(next.data()["task"]["title"], "one");
}
