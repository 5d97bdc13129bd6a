//! Code that is not committed is named where a task is finished or shared, and a branch that completes tasks without code too.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::sync::Clones;

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

/// A repository with code, and a task that names some of it.
fn room(files: &[&str]) -> (Sandbox, String) {
    let room = Sandbox::new();
    fs::create_dir_all(room.repo().join("src/git")).unwrap();
    for file in ["src/lib.rs", "src/git/mod.rs", "src/git/packs.rs", "README.md"] {
        fs::write(room.repo().join(file), "one\n").unwrap();
    }
    let names: Vec<&str> = files.iter().flat_map(|file| ["--file", file]).collect();
    let task = room.task("the task", &names);
    commit(&room, "begin");
    room.run(&["claim", &task]).data();
    (room, task)
}

fn change(room: &Sandbox, file: &str) {
    fs::write(room.repo().join(file), "two\n").unwrap();
}

#[test]
fn done_warns_of_files_of_the_task_that_are_not_committed() {
    let (room, _) = room(&["src/git/*.rs", "src/new.rs", "src/lib.rs"]);
    for file in ["src/git/mod.rs", "src/new.rs", "README.md"] {
        change(&room, file);
    }
    fs::remove_file(room.repo().join("src/lib.rs")).unwrap();
    let done = room.run(&["done"]);
    let expected = "3 files outside .agentpm are not committed: src/git/mod.rs, src/new.rs, src/lib.rs";
    assert!(done.stderr.contains(expected), "{done:?}");
    assert_eq!(done.data()["status"], "completed");
}

#[test]
fn done_says_nothing_of_committed_files_and_of_tasks_without_any() {
    let (room, _) = room(&["src/git", "docs/*.md", "none.rs"]);
    change(&room, "README.md");
    change(&room, "src/git/mod.rs");
    room.git(&["commit", "-q", "-m", "code", "src/git/mod.rs"]).text();
    assert!(!room.run(&["done"]).stderr.contains("not committed"));
    let (room, _) = self::room(&[]);
    change(&room, "README.md");
    assert!(!room.run(&["done"]).stderr.contains("not committed"));
}

#[test]
fn sync_warns_of_all_files_that_are_not_committed() {
    let (clones, _) = Clones::new(&["ada"]);
    let warnings = || {
        let answer = clones.run("ada", &["sync"]);
        answer.data();
        answer.stderr
    };
    assert!(!warnings().contains("not committed"));
    clones.write("ada", "code.txt", "changed\n");
    for n in 0..4 {
        clones.write("ada", &format!("new{n}.txt"), "new\n");
    }
    let said = warnings();
    let named = "5 files outside .agentpm are not committed: code.txt, new0.txt, new1.txt and 2 more\n";
    assert!(said.contains(named), "{said}");
    clones.git("ada", &["add", "-A"]).text();
    assert!(warnings().contains("5 files"), "what is only staged is not committed");
    clones.git("ada", &["commit", "-q", "-m", "code"]).text();
    assert!(!warnings().contains("not committed"));
}

fn completed_without_code(room: &Sandbox) -> Vec<Value> {
    let answer = room.run(&["lint", "--base", "base"]);
    let findings = answer.json()["data"]["findings"].as_array().unwrap().clone();
    findings.into_iter().filter(|f| f["code"] == "completed-without-code").collect()
}

#[test]
fn the_gate_warns_of_a_completion_without_code() {
    let (room, task) = room(&[]);
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run(&["done", &task]).data();
    assert_eq!(completed_without_code(&room), [] as [Value; 0], "nothing is committed yet");
    commit(&room, "plan");
    let found = completed_without_code(&room);
    assert_eq!((found.len(), &found[0]["severity"], &found[0]["task"]), (1, &json!("warning"), &json!(task)));
    change(&room, "src/lib.rs");
    commit(&room, "code");
    assert_eq!(completed_without_code(&room), [] as [Value; 0]);
}
