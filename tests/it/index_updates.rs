//! What a change knows of tasks it does not touch: what commands and git did to them, without looking at every file.

use std::fs;

use crate::sandbox::Sandbox;

/// A parent in progress whose plan has been looked at, all of it committed.
fn with_parent() -> (Sandbox, String) {
    let room = Sandbox::new();
    let parent = room.task("a parent", &[]);
    room.run(&["claim", &parent]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    room.run(&["next"]).data();
    (room, parent)
}

fn is_refused(room: &Sandbox, parent: &str) {
    let error = room.run(&["done", parent]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("child"), "{error}");
}

#[test]
fn a_child_made_by_a_command_is_known() {
    let (room, parent) = with_parent();
    let child = room.task("a child", &["--parent", &parent]);
    is_refused(&room, &parent);
    room.run(&["claim", &child]).data();
    room.run(&["done", &child]).data();
    room.run(&["done", &parent]).data();
    room.is_clean();
}

#[test]
fn a_child_brought_by_git_is_known() {
    let (room, parent) = with_parent();
    room.git(&["checkout", "-q", "-b", "other"]).text();
    let child = room.task("a child", &["--parent", &parent]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "a child"]).text();
    room.git(&["checkout", "-q", "-"]).text();
    room.run(&["next"]).data();
    room.run(&["task", "update", &parent, "--priority", "1"]).data();
    room.git(&["merge", "-q", "--no-edit", "other"]).text();
    is_refused(&room, &parent);
    room.run(&["task", "transition", &child, "--status", "cancelled"]).data();
    room.run(&["done", &parent]).data();
}

#[test]
fn a_recovered_child_is_known() {
    let (room, parent) = with_parent();
    let child = room.task("a child", &["--parent", &parent]);
    fs::remove_dir_all(room.task_dir(&child)).unwrap();
    room.run(&["next"]).data();
    room.run(&["recover", "--all"]).data();
    is_refused(&room, &parent);
}

#[test]
fn a_copied_child_is_seen_by_queries_and_lint() {
    let (room, parent) = with_parent();
    let child = room.task("a child", &["--parent", &parent]);
    let (folder, aside) = (room.task_dir(&child), room.beside("aside"));
    fs::create_dir(&aside).unwrap();
    for name in ["events.jsonl", "task.yaml"] {
        fs::rename(folder.join(name), aside.join(name)).unwrap();
    }
    fs::remove_dir(&folder).unwrap();
    room.run(&["next"]).data();
    fs::rename(&aside, &folder).unwrap();
    // A query has seen it, and so has a later change.
    assert_eq!(room.run(&["task", "list", "--parent", &parent]).data()["total"], 1);
    is_refused(&room, &parent);
}
