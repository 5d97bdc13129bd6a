//! A person saves a file after a command has read it and before it writes it. strace stops the command at the flush of its
//! journal, which lies in between.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::sandbox::{Answer, Sandbox};

/// Starts a command that is stopped at its first flush of the journal.
fn start(room: &Sandbox, args: &[&str]) -> Child {
    let mut command = room.sealed("strace", &room.repo());
    command.env("AGENTPM_AGENT", "ada").args(["-qq", "-o", "/dev/null", "-e", "trace=fdatasync"]);
    command.args(["-e", "inject=fdatasync:signal=SIGSTOP:when=1", "--", env!("CARGO_BIN_EXE_agentpm")]).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("strace starts")
}

/// Runs a command, and saves a text into a file once the journal holds what it decided and the file does not yet.
fn save_within(room: &Sandbox, args: &[&str], id: &str, text: &str) -> Answer {
    let journal = room.repo().join(".git/agentpm/journal.jsonl");
    let before = fs::metadata(&journal).unwrap().len();
    let mut child = start(room, args);
    // The record is there, and what follows waits for the flush, which waits for us.
    while !fs::read(&journal).unwrap()[before as usize..].windows(10).any(|part| part == b"{\"commit\":") {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote");
        std::thread::yield_now();
    }
    fs::write(room.yaml_of(id), text).unwrap();
    let group = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    while child.try_wait().unwrap().is_none() {
        // The signal that stops it may come after this one.
        let _ = kill_process_group(group, Signal::CONT);
        std::thread::yield_now();
    }
    Answer::from(child.wait_with_output().unwrap())
}

#[test]
fn a_save_during_a_command_is_recorded_next() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    let saved = text.replace("title: one", "title: saved meanwhile");
    save_within(&room, &["task", "update", &id, "--priority", "2"], &id, &saved).data();
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), saved);
    assert_eq!(room.finding_codes(), ["task-yaml-edited"]);
    room.run(&["lint", "--fix"]).data();
    let task = room.get(&id);
    assert_eq!((&task["title"], &task["priority"]), (&json!("saved meanwhile"), &json!(2)));
    room.is_clean();
}

#[test]
fn an_edit_that_is_saved_again_while_it_is_recorded_is_recorded_once() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    let first = text + "progress:\n  - first\ncontext:\n  - a note\n";
    fs::write(room.yaml_of(&id), &first).unwrap();
    let saved = first.replace("  - first\n", "  - first\n  - second\n");
    let answer = save_within(&room, &["lint", "--fix"], &id, &saved);
    assert!(answer.stdout.contains("recorded the edit of"), "{answer:?}");
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), saved);
    room.run(&["lint", "--fix"]).data();
    let task = room.get(&id);
    let steps: Vec<&str> =
        task["progress"]["items"].as_array().unwrap().iter().filter_map(|step| step["content"].as_str()).collect();
    assert_eq!((steps, task["context"].as_array().unwrap().len()), (vec!["first", "second"], 1), "{task:#}");
    room.is_clean();
}

#[test]
fn done_accepts_a_completion_typed_into_the_file() {
    for lint_first in [false, true] {
        let room = Sandbox::new();
        let id = room.task("one", &[]);
        room.run(&["claim", &id]).data();
        let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
        fs::write(room.yaml_of(&id), text.replace("status: in_progress", "status: completed")).unwrap();
        if lint_first {
            room.run(&["lint", "--fix"]).data();
        }
        let done = room.run(&["done", &id, "--outcome", "it holds"]);
        let data = done.data();
        assert_eq!(
            (&data["status"], &data["context"][0]["content"]),
            (&json!("completed"), &json!("it holds")),
            "{done:?}"
        );
        assert_eq!(done.stderr.contains("recorded the hand edit"), !lint_first, "{done:?}");
        room.is_clean();
        // An item that another agent completed is treated differently.
        room.run_as("bob", &["done", &id]).error("ERR_INVALID_STATE", 4);
    }
}

#[test]
fn a_refused_edit_gets_hints_that_fit_an_edit() {
    let room = Sandbox::new();
    let id = room.task("one", &["--acceptance", "it works"]);
    room.run(&["claim", &id]).data();
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), text.replace("status: in_progress", "status: completed")).unwrap();
    let message = room.run(&["lint", "--fix"]).json()["data"]["findings"][0]["mend"].as_str().unwrap().to_owned();
    assert!(message.contains("restore the old value and pass --force"), "{message}");
    fs::write(room.yaml_of(&id), text.replace("title: one", "title: two")).unwrap();
    let answer = room.run_as("bob", &["lint", "--fix"]);
    let message = answer.json()["data"]["findings"][0]["mend"].as_str().unwrap().to_owned();
    assert!(message.contains("can wait in its file") && !message.contains("other work"), "{message}");
}
