//! Idempotency keys: a change that is repeated with its key happens once and gets the first answer.

use std::fs;
use std::path::Path;

use agentpm::api::{Kind, OPERATIONS};
use serde_json::{Value, json};

use crate::operations::{Plan, asked, copy_folder};
use crate::sandbox::{Answer, Sandbox, some};

/// The commit lines of the journal.
fn records(repo: &Path) -> usize {
    let journal = fs::read_to_string(repo.join(".git/agentpm/journal.jsonl")).unwrap();
    journal.lines().filter(|line| line.starts_with(r#"{"commit":"#)).count()
}

/// An answer without the other tasks that only the first answer names.
fn without_others(mut answer: Value) -> Value {
    for place in ["", "/task"] {
        if let Some(Value::Object(map)) = answer.pointer_mut(place) {
            map.retain(|key, _| key != "ready" && key != "similar");
        }
    }
    answer
}

#[test]
fn every_change_that_is_repeated_with_its_key_happens_once() {
    let mut wrong = Vec::new();
    let plan = Plan::new();
    for operation in OPERATIONS.iter().filter(|operation| operation.changes() && operation.name != "agent.token") {
        let (words, _) = asked(&plan, operation.name);
        if words.is_empty() {
            continue;
        }
        let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
        if operation.name == "next.wait" {
            words.push("--claim");
        }
        words.extend(["--idempotency-key", "k"]);
        let copy = plan.room.beside(operation.name);
        copy_folder(&plan.room.repo(), &copy);
        let run = |more: &[&str]| {
            Answer::from(plan.room.agentpm_in(&copy).args(&words).args(more).output().expect("agentpm starts"))
        };
        let first = run(&[]).data();
        let before = records(&copy);
        let again = run(&[]).data();
        if records(&copy) != before {
            wrong.push(format!("{}: it happened twice", operation.name));
        }
        if without_others(first.clone()) != without_others(again.clone()) {
            wrong.push(format!("{}: {first} and {again}", operation.name));
        }
        if operation.kind == Kind::Change && !matches!(operation.name, "task.unrelate" | "lease.release") {
            assert!(!run(&["--quiet"]).text().is_empty(), "{} names what it changed", operation.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_key_counts_for_one_agent_one_operation_and_one_set_of_arguments() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let keyed = |agent: &str, words: &[&str]| {
        let words = [words, &["--idempotency-key", "k"]].concat();
        Answer::from(room.agentpm().env("AGENTPM_AGENT", agent).args(words).output().unwrap())
    };
    let first = keyed("ada", &["note", &id, "a thought"]).data();
    assert_eq!(keyed("ada", &["context", "add", &id, "a thought"]).data(), first, "two spellings of one call");
    keyed("ada", &["note", &id, "another thought"]).error("ERR_CONFLICT", 5);
    assert_ne!(keyed("bob", &["note", &id, "a thought"]).data(), first);
    keyed("ada", &["progress", "add", &id, "a step"]).data();
    assert_eq!(room.get(&id)["context"].as_array().unwrap().len(), 2);
}

#[test]
fn a_refused_change_uses_no_key_and_a_change_of_nothing_does() {
    let room = Sandbox::new();
    let id = room.task("one", &["--priority", "3"]);
    let stale = ["task", "update", &id, "--priority", "1", "--expected-version", "9", "--idempotency-key", "a"];
    room.run_short(&stale).error("ERR_CONFLICT", 5);
    room.run_short(&["task", "update", &id, "--priority", "2", "--idempotency-key", "a"]).data();
    let same = ["task", "update", &id, "--priority", "2", "--idempotency-key", "b"];
    room.run_short(&same).data();
    room.run_short(&["task", "update", &id, "--priority", "1"]).data();
    room.run_short(&same).data();
    assert_eq!(room.get(&id)["priority"], 1, "the repetition does not undo what another change did meanwhile");
    let empty = Sandbox::new();
    let next = ["next", "--claim", "--idempotency-key", "c"];
    assert_eq!(empty.run_short(&next).data(), Value::Null);
    let made = empty.task("now there is one", &[]);
    assert_eq!(empty.run_short(&next).data()["task"]["id"], made.as_str());
    assert_eq!(empty.run_short(&next).data()["task"]["id"], made.as_str(), "the claim that was made is repeated");
    room.run_short(&["note", &id, "x", "--idempotency-key", ""]).error("ERR_USAGE", 2);
}

#[test]
fn a_preview_uses_no_key() {
    let plan = Plan::new();
    for name in ["import", "plan.apply"] {
        let (words, _) = asked(&plan, name);
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--idempotency-key", "k"]).collect();
        plan.room.run_short(&[&words[..], &["--dry-run"]].concat()).data();
        plan.room.run_short(&words).data();
    }
}

#[test]
fn a_key_is_forgotten_after_thirty_days() {
    let room = Sandbox::new();
    let id = room.at("2026-11-01T10:00:00Z").task("one", &[]);
    let note = ["note", &id, "a thought", "--idempotency-key", "k"];
    let first = room.run_short(&note).data();
    room.at("2026-12-01T09:59:00Z");
    assert_eq!(room.run_short(&note).data(), first);
    room.at("2026-12-01T10:01:00Z");
    assert_ne!(room.run_short(&note).data()["id"], first["id"]);
    room.at("2027-06-01T10:00:00Z").run_short(&note).data();
    let folders = fs::read_dir(room.repo().join(".git/agentpm/idempotency")).unwrap().count();
    assert_eq!(folders, 1, "old keys are removed");
}

#[test]
fn a_batch_of_single_steps_is_made_once() {
    let room = Sandbox::new();
    let steps = json!({ "atomic": false, "ops": [
        { "op": "task.create", "as": "a", "args": { "title": "one" } },
        { "op": "task.update", "args": { "id": "nothing" } },
        { "op": "context.add", "args": { "task": "$a", "content": "x" } },
    ]});
    let run =
        |text: &Value| room.feed(&["batch", "--file", "-", "--idempotency-key", "k"], text.to_string().as_bytes());
    let first = run(&steps).data();
    assert_eq!(first["items"][1]["ok"], false);
    assert_eq!(run(&steps).data(), first);
    run(&json!({ "atomic": false, "ops": [] })).error("ERR_CONFLICT", 5);
    // Killed before its answer was recorded: the steps that were made are not made again.
    for file in walkdir::WalkDir::new(room.repo().join(".git/agentpm/idempotency")).into_iter().map(Result::unwrap) {
        if file.file_type().is_file() && fs::read_to_string(file.path()).unwrap().contains(r#""op":"batch""#) {
            fs::remove_file(file.path()).unwrap();
        }
    }
    assert_eq!(run(&steps).data()["items"], first["items"]);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
}

#[test]
fn a_change_killed_at_any_call_happens_once_when_it_is_repeated() {
    crate::machine::needs!("strace");
    let mut at = 0;
    for call in ["pwrite64", "fdatasync", "renameat", "write", "mkdirat"] {
        for n in some((1..40).collect::<Vec<usize>>()) {
            let room = Sandbox::new();
            let id = room.task("one", &[]);
            let note = ["note", &id, "a thought", "--idempotency-key", "k"];
            let mut traced = room.agentpm_like("strace");
            let inject = format!("inject={call}:signal=KILL:when={n}");
            traced.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
            traced.arg(env!("CARGO_BIN_EXE_agentpm")).args(note);
            at += usize::from(!traced.output().unwrap().status.success());
            let entry = room.run_short(&note).data();
            assert_eq!(room.run_short(&note).data(), entry);
            let whole = room.get(&id);
            assert_eq!(whole["context"].as_array().unwrap().len(), 1, "{call} {n}: {whole}");
        }
    }
    assert!(at >= 3, "killed only {at} times");
}
