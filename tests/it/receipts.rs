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

#[test]
fn a_cancellation_names_the_children_that_it_cancels() {
    let room = Sandbox::new();
    let whole = room.task("whole", &[]);
    let part = room.task("part", &["--parent", &whole]);
    let done = room.task("done", &["--parent", &whole]);
    let before = room.task("cancelled before", &["--parent", &whole]);
    room.run(&["cancel", &before, "--why", "no need"]).data();
    room.run(&["claim", &done]).data();
    room.run(&["done", &done]).data();
    let receipt = room.run_short(&["cancel", &whole, "--why", "no need", "--children", "cancel"]).data();
    let named: Vec<&Value> = receipt["cancelled"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
    assert_eq!(named, [&json!(part)], "{receipt:#}");
    let many = room.task("many", &[]);
    let ops: Vec<Value> = (0..300)
        .map(|n| json!({ "op": "task.create", "args": { "title": format!("part {n}"), "parent": many } }))
        .collect();
    room.feed(&["batch", "--file", "-"], Value::from(ops).to_string().as_bytes()).data();
    let receipt = room.run_short(&["cancel", &many, "--why", "no need", "--children", "cancel"]).data();
    assert_eq!((receipt["cancelled"].as_array().unwrap().len(), &receipt["cancelled_total"]), (20, &json!(300)));
    let alone = room.run_short(&["cancel", &room.task("alone", &[]), "--why", "no need"]).data();
    assert!(alone.get("cancelled").is_none(), "{alone}");
}

#[test]
fn an_escalation_names_the_agent_and_keeps_its_reason() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let thread = room.run(&["thread", "open", &task, "--body", "so?", "--quiet"]).text().to_owned();
    let receipt = room.run_short(&["thread", "escalate", &thread, "--to", "bob", "--why", "no answer"]).data();
    assert_eq!(receipt["escalated_to"], "bob");
    let log = room.run(&["log", &task, "--type", "ThreadEscalated"]).data();
    assert_eq!(log["items"][0]["why"], "no answer");
}
