//! The plan after a plain `git merge`: what git leaves is no finding where it means nothing, and what follows from both branches
//! is recorded.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", message]).text();
}

/// A merge of two branches, each of which changed `task`.
fn merged_notes() -> (Sandbox, String) {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    commit(&room, "begin");
    room.git(&["switch", "-q", "-c", "side"]).text();
    room.run(&["note", &task, "--content", "by side"]).data();
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["note", &task, "--content", "by main"]).data();
    commit(&room, "main");
    let driver = format!("merge.agentpm.driver='{}' merge-driver %O %A %B %P", env!("CARGO_BIN_EXE_agentpm"));
    room.git(&["-c", &driver, "merge", "-q", "--no-edit", "side"]).text();
    (room, task)
}

/// The Lamport times of a log, line by line.
fn lamports(room: &Sandbox, task: &str) -> Vec<u64> {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let lamport = |line: &str| serde_json::from_str::<Value>(line).unwrap()["lamport"].as_u64().unwrap();
    log.lines().map(lamport).collect()
}

#[test]
fn lines_in_another_order_are_no_finding() {
    let (room, task) = merged_notes();
    assert!(!lamports(&room, &task).is_sorted(), "git's union leaves the order of the merge");
    room.is_clean();
    let path = format!(".agentpm/tasks/{}/{task}/events.jsonl", &task[task.len() - 2..]);
    let log = fs::read(room.log_of(&task)).unwrap();
    for report in
        [room.run(&["lint", "--base", "HEAD^1"]).data(), room.feed(&["lint", "--stdin", "--path", &path], &log).data()]
    {
        assert_eq!(report["findings"], json!([]), "{report:#}");
    }
    let review = room.run(&["review", "HEAD^1..HEAD"]).data();
    assert!(review["findings"].as_array().is_none_or(Vec::is_empty), "{review:#}");
    let doctor = room.run(&["doctor"]).data();
    let plan = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "plan").unwrap();
    assert!(plan["found"].as_str().unwrap().contains("0 warnings"), "{plan}");
    // The whole file, staged in yet another order.
    let mut lines: Vec<&str> = std::str::from_utf8(&log).unwrap().lines().collect();
    lines.reverse();
    fs::write(room.log_of(&task), lines.join("\n") + "\n").unwrap();
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).data()["findings"], json!([]));
}

#[test]
fn resolve_sorts_a_log_without_a_word() {
    let (room, task) = merged_notes();
    let answer = room.run(&["resolve"]);
    assert_eq!((&answer.data()["items"], answer.stderr.as_str()), (&json!([]), ""));
    assert!(lamports(&room, &task).is_sorted());
}

#[test]
fn the_next_write_of_a_task_sorts_its_log() {
    let (room, task) = merged_notes();
    let answer = room.run(&["note", &task, "--content", "after the merge"]);
    answer.data();
    assert_eq!(answer.stderr, "");
    assert!(lamports(&room, &task).is_sorted() && lamports(&room, &task).len() == 4);
}

#[test]
fn a_log_that_resolve_sorts_within_a_merge_is_staged() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.repo().join("code"), "begin\n").unwrap();
    commit(&room, "begin");
    for branch in ["side", "main"] {
        let _ = room.git(&["switch", "-q", "-c", branch]);
        room.git(&["switch", "-q", branch]).text();
        room.run(&["note", &task, "--content", branch]).data();
        fs::write(room.repo().join("code"), branch).unwrap();
        commit(&room, branch);
    }
    assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0, "the code is in conflict");
    room.run(&["resolve"]).data();
    assert!(lamports(&room, &task).is_sorted());
    let unstaged = room.git(&["diff", "--name-only", "--", ".agentpm"]);
    assert_eq!(unstaged.text(), "");
}
