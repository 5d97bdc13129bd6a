//! `review` tells what a branch brings about between tasks, wherever that is written, and reads no more than that takes.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

/// Adds an event to a log by hand: no command would.
fn write_event(room: &Sandbox, task: &str, n: u64, kind: &str, payload: Value) {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let event = json!({
        "v": 1, "id": format!("01KAM0000000000000000000{n:02}"), "lamport": 1_000 + n, "type": kind, "entity": format!("task/{task}"),
        "parents": [last["id"]], "agent": "ada", "at": "2026-11-21T10:00:00Z", "payload": payload,
    });
    fs::write(room.log_of(task), format!("{log}{event}\n")).unwrap();
}

fn set_status(room: &Sandbox, task: &str, n: u64, to: &str) {
    write_event(room, task, n, "TaskStatusChanged", json!({ "from": "open", "to": to }));
}

/// What a review says of several tasks together, and how it got to know who names whom, as the log tells.
fn reviewed(room: &Sandbox) -> (BTreeSet<(String, String)>, Option<Value>) {
    let args = ["review", "main..work", "--all"];
    let answer = Answer::from(room.agentpm().env("AGENTPM_LOG_LEVEL", "agentpm=debug").args(args).output().unwrap());
    let lines = answer.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let logged = lines.map(|line| line["fields"].clone()).find(|f| f["message"] == "looked at who names whom");
    let together =
        ["blocked-without-blocker", "completed-early", "cycle-blocks", "cycle-parents", "dangling-reference"];
    let data = answer.data();
    let found = data["findings"].as_array().unwrap().iter().filter(|f| together.contains(&f["code"].as_str().unwrap()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (found.map(|f| (text(&f["code"]), text(&f["task"]))).collect(), logged)
}

#[test]
fn review_shows_effects_on_unchanged_tasks() {
    let room = Sandbox::new();
    let parent = room.task("the parent", &[]);
    room.task("its child", &["--parent", &parent]);
    let (blocker, waits) = (room.task("the blocker", &[]), room.task("it waits", &[]));
    room.run(&["task", "block", &waits, "--by", &blocker]).data();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.run(&["task", "block", &two, "--by", &one]).data();
    let (gone, speaks) = (room.task("gone", &[]), room.task("it speaks of what is gone", &[]));
    room.run(&["task", "relate", &speaks, "--to", &gone, "--type", "relates_to"]).data();
    let idle = room.task("idle", &[]);
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "work"]).text();
    room.run(&["task", "update", &idle, "--title", "idle still"]).data();
    commit(&room, "nothing follows");
    assert_eq!(reviewed(&room), (BTreeSet::new(), None), "no task that is not touched is looked for");

    set_status(&room, &parent, 1, "completed");
    set_status(&room, &blocker, 2, "cancelled");
    write_event(&room, &one, 3, "RelationshipAdded", json!({ "type": "blocks", "from": two, "to": one }));
    fs::remove_dir_all(room.task_dir(&gone)).unwrap();
    commit(&room, "much follows");
    let expected: BTreeSet<(String, String)> = [
        ("completed-early", &parent),
        ("blocked-without-blocker", &waits),
        ("cycle-blocks", &one),
        ("dangling-reference", &speaks),
    ]
    .into_iter()
    .map(|(code, task)| (code.to_owned(), task.clone()))
    .collect();
    let (found, logged) = reviewed(&room);
    assert_eq!(found, expected);
    // The removed one has no log at the head; it may share its shard with another.
    assert!(matches!(logged.unwrap()["logs"].as_u64(), Some(8 | 9)), "every log is read once");
    let (again, logged) = reviewed(&room);
    assert_eq!((again, logged.unwrap()["logs"].clone()), (expected.clone(), json!(0)), "and kept");

    // Another branch from the same base asks for nothing new.
    set_status(&room, &waits, 4, "open");
    commit(&room, "it waits no more");
    let (found, logged) = reviewed(&room);
    let left = expected.iter().filter(|(code, _)| code != "blocked-without-blocker").cloned().collect();
    assert_eq!((found, logged.unwrap()["logs"].clone()), (left, json!(0)));
}
