//! What happened: taken back by new events, and the plan as it was at some point.

use std::fs;

use serde_json::{Value, json};

use crate::lost::{Twins, last_event};
use crate::sandbox::Sandbox;

/// The id of the newest event of a type in a task's log.
fn event(room: &Sandbox, task: &str, kind: &str) -> String {
    let log = room.run(&["log", task, "--type", kind, "--all"]).data();
    log["items"].as_array().unwrap().last().unwrap_or_else(|| panic!("no {kind}"))["id"].as_str().unwrap().to_owned()
}

/// Undoes the newest event of a type; gives the task.
#[track_caller]
fn undo(room: &Sandbox, task: &str, kind: &str) -> Value {
    let event = event(room, task, kind);
    let undone = room.run(&["undo", &event]).data();
    assert_eq!(undone["id"], task);
    assert!(fs::read_to_string(room.log_of(task)).unwrap().contains(&format!(r#""why":"undo of {event}""#)));
    room.is_clean();
    undone
}

#[test]
fn an_update_is_taken_back_field_by_field() {
    let room = Sandbox::new();
    let id = room.task("before", &["--label", "a", "--metadata", r#"{"keep": 1}"#]);
    let change = [
        "--title",
        "after",
        "--priority",
        "2",
        "--label",
        "b",
        "--metadata",
        r#"{"keep": 2, "new": 3}"#,
        "--owner",
        "bob",
    ];
    room.run(&[&["task", "update", &id][..], &change].concat()).data();
    let task = undo(&room, &id, "TaskUpdated");
    assert_eq!((&task["title"], &task["priority"], &task["labels"]), (&json!("before"), &json!(0), &json!(["a"])));
    assert_eq!((&task["metadata"], &task["owner"]), (&json!({"keep": 1}), &Value::Null));
    let again = undo(&room, &id, "TaskUpdated");
    assert_eq!((&again["title"], &again["owner"]), (&json!("after"), &json!("bob")), "an undo can be undone");
}

#[test]
fn what_was_written_again_since_stays_and_is_named() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    room.run(&["task", "update", &id, "--priority", "1", "--estimate", "2h"]).data();
    let first = event(&room, &id, "TaskUpdated");
    room.run_as("bob", &["task", "update", &id, "--priority", "5"]).data();
    let answer = room.run(&["undo", &first, "--why", "guessed"]);
    assert_eq!((&answer.data()["priority"], &answer.data()["estimate"]), (&json!(5), &Value::Null));
    assert!(answer.stderr.contains("priority was written again by bob"), "{answer:?}");
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().contains(&format!("undo of {first}: guessed")));
    let refused = room.run(&["undo", &first]).error("ERR_CONFLICT", 5);
    assert_eq!(refused["details"]["left"].as_array().unwrap().len(), 2, "{refused}");
    room.run(&["undo", "ZZZZ"]).error("ERR_NOT_FOUND", 3);
    room.run(&["undo", "Z"]).error("ERR_NOT_FOUND", 3);
    let tail = &event(&room, &id, "TaskUpdated")[18..];
    assert_eq!(room.run(&["undo", tail]).data()["estimate"], "2h");
}

#[test]
fn states_go_back_by_the_moves_they_have() {
    let room = Sandbox::new();
    let id = room.task("x", &["--acceptance", "it works"]);
    room.run(&["claim", &id]).data();
    let claimed = event(&room, &id, "TaskStatusChanged");
    room.run(&["done", &id, "--all-met"]).data();
    let done = event(&room, &id, "TaskStatusChanged");
    let task = room.run(&["undo", &done]).data();
    assert_eq!(
        (&task["status"], &task["owner"], &task["completed_at"]),
        (&json!("in_progress"), &json!("ada"), &Value::Null)
    );
    room.run(&["undo", &claimed]).error("ERR_CONFLICT", 5);

    room.at("2026-11-20T10:00:00Z").run(&["done", &id]).data();
    room.at("2026-11-21T10:00:00Z").run(&["task", "reopen", &id, "--reason", "no"]).data();
    let task = undo(&room, &id, "TaskReopened");
    assert_eq!((&task["status"], &task["completed_at"]), (&json!("completed"), &json!("2026-11-20T10:00:00Z")));
    room.run(&["task", "archive", &id]).data();
    let task = undo(&room, &id, "TaskArchived");
    assert_eq!((&task["status"], &task["archived_at"]), (&json!("completed"), &Value::Null));
    assert_eq!(task["completed_at"], "2026-11-20T10:00:00Z");

    let open = room.task("y", &[]);
    room.run(&["claim", &open]).data();
    let task = undo(&room, &open, "TaskStatusChanged");
    assert_eq!((&task["status"], &task["owner"], &task["lease_holder"]), (&json!("open"), &Value::Null, &Value::Null));
    assert_eq!(undo(&room, &open, "TaskCreated")["status"], "cancelled", "what should not have begun is cancelled");
    assert_eq!(undo(&room, &open, "TaskStatusChanged")["status"], "open");
    room.run(&["undo", &event(&room, &open, "LeaseAcquired")]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn where_the_rules_forbid_the_way_back_nothing_is_written() {
    let room = Sandbox::new();
    let (id, first) = (room.task("x", &[]), room.task("first", &[]));
    room.run(&["claim", &id]).data();
    room.run(&["done", &id]).data();
    room.run(&["task", "reopen", &id, "--reason", "no"]).data();
    let reopened = event(&room, &id, "TaskReopened");
    room.run(&["task", "update", &id, "--add-acceptance", "it works"]).data();
    let refused = room.run(&["undo", &reopened]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("1 unmet criteria"), "{refused}");
    let task = room.run(&["undo", &reopened, "--force", "it did work"]).data();
    assert_eq!(task["status"], "completed");
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().contains(r#""forced":["acceptance"]"#));

    let other = room.task("y", &[]);
    room.run(&["task", "update", &other, "--priority", "1"]).data();
    let update = event(&room, &other, "TaskUpdated");
    room.run_as("bob", &["claim", &other]).data();
    room.run(&["undo", &update]).error("ERR_LEASE_HELD", 5);
    assert_eq!(room.run_as("bob", &["undo", &update]).data()["priority"], 0);
    room.run(&["undo", &event(&room, &other, "TaskStatusChanged"), "--override", "bob is gone"]).data();
    assert_eq!(room.get(&other)["status"], "open");

    room.run_as("bob", &["task", "block", &other, "--by", &first]).data();
    assert_eq!(room.get(&other)["status"], "blocked");
    let blocked = event(&room, &other, "TaskStatusChanged");
    room.run(&["undo", &blocked]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn relationships_come_and_go_again() {
    let room = Sandbox::new();
    let (id, one, two) = (room.task("x", &[]), room.task("one", &[]), room.task("two", &[]));
    room.run(&["task", "block", &id, "--by", &one]).data();
    let task = undo(&room, &id, "RelationshipAdded");
    assert_eq!((&task["status"], &task["relationships"]), (&json!("open"), &json!([])));
    let task = undo(&room, &id, "RelationshipRemoved");
    assert_eq!((&task["status"], &task["relationships"][0]["from"]), (&json!("blocked"), &json!(one)));
    room.run(&["task", "unblock", &id]).data();

    room.run(&["task", "update", &id, "--parent", &one]).data();
    room.run(&["task", "update", &id, "--parent", &two]).data();
    let moved = event(&room, &id, "RelationshipAdded");
    assert_eq!(room.run(&["undo", &moved]).data()["parent"], json!(one), "back to where it was moved from");
    assert_eq!(undo(&room, &id, "RelationshipAdded")["parent"], json!(two));
    room.run(&["task", "update", &id, "--clear", "parent"]).data();
    assert_eq!(undo(&room, &id, "RelationshipRemoved")["parent"], json!(two));
    room.run(&["task", "relate", &id, "--to", &one, "--type", "duplicates"]).data();
    assert_eq!(undo(&room, &id, "RelationshipAdded")["relationships"].as_array().unwrap().len(), 1);
}

#[test]
fn parts_go_back_where_they_can() {
    let room = Sandbox::new();
    let id = room.task("x", &["--acceptance", "a"]);
    let item = room.run(&["progress", "add", &id, "--content", "step", "-q"]).text().to_owned();
    room.run(&["progress", "complete", &item]).data();
    assert_eq!(undo(&room, &id, "ProgressItemCompleted")["progress"]["done"], 0);
    assert_eq!(undo(&room, &id, "ProgressItemReopened")["progress"]["done"], 1);
    room.run(&["task", "verify", &id, "--all"]).data();
    assert_eq!(undo(&room, &id, "AcceptanceMet")["acceptance"][0]["met"], false);
    undo(&room, &id, "AcceptanceMet");
    room.run(&["task", "verify", &id]).data();
    let refused = room.run(&["undo", &event(&room, &id, "TaskVerified")]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("no review before"), "{refused}");
    room.run(&["task", "verify", &id, "--fail"]).data();
    assert_eq!(undo(&room, &id, "TaskVerified")["verified"]["passed"], true);

    let note = room.run(&["note", &id, "--content", "a thought", "-q"]).text().to_owned();
    let refused = room.run(&["undo", &note]).error("ERR_INVALID_STATE", 4);
    assert!(refused["hint"].as_str().unwrap().contains("context supersede"), "{refused}");
    room.run(&["context", "supersede", &note, "--content", "a better one"]).data();
    room.run(&["undo", &event(&room, &id, "ContextSuperseded")]).error("ERR_INVALID_STATE", 4);
    room.run(&["undo", &item]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn an_event_that_lost_is_not_undone() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.ada(&["task", "update", &id, "--priority", "3", "--estimate", "1h"]).data();
    twins.bob(&["note", &id, "--content", "later"]).data();
    twins.bob(&["task", "update", &id, "--priority", "4"]).data();
    twins.merge();
    let event = last_event(&twins.room, &twins.room.repo(), &id, "ada");
    let answer = twins.ada(&["undo", &event]);
    assert_eq!((&answer.data()["priority"], &answer.data()["estimate"]), (&json!(4), &Value::Null));
    assert!(answer.stderr.contains("priority was written again by bob"), "{answer:?}");
}
