//! Hints of a refused hand edit: a step that works while the edit stands, or after it is taken back.

use std::fs;

use serde_json::Value;

use crate::sandbox::Sandbox;

/// The first refusal of what stands in a file.
#[track_caller]
fn refusal(room: &Sandbox) -> Value {
    let answer = room.run(&["lint", "--fix"]);
    let findings = answer.json()["data"]["findings"].clone();
    let all = findings.as_array().unwrap();
    all.iter().find(|f| !f["refusal"].is_null()).unwrap_or_else(|| panic!("{answer:?}"))["refusal"].clone()
}

#[track_caller]
fn edit(room: &Sandbox, id: &str, from: &str, to: &str) -> Value {
    let text = fs::read_to_string(room.yaml_of(id)).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(room.yaml_of(id), text.replacen(from, to, 1)).unwrap();
    let refusal = refusal(room);
    fs::write(room.yaml_of(id), text).unwrap();
    refusal
}

#[track_caller]
fn hints(refusal: &Value, words: &[&str]) {
    let hint = refusal["hint"].as_str().unwrap_or_else(|| panic!("{refusal:#}"));
    for word in words {
        assert!(hint.contains(word), "{word}: {refusal:#}");
    }
    // A command that the edit refuses too comes after the edit is gone.
    for command in ["agentpm claim", "agentpm task", "agentpm release", "agentpm done"] {
        let back = hint.find("restore the old value").unwrap_or(usize::MAX);
        assert!(hint.find(command).is_none_or(|at| back < at), "{command}: {refusal:#}");
    }
}

#[test]
fn hint_names_a_step_that_works_with_the_edit_in_place() {
    let room = Sandbox::new();
    let id = room.task("one", &["--acceptance", "it works"]);
    let waits = room.task("two", &["--blocked-by", &id]);
    hints(&edit(&room, &id, "status: open", "status: completed"), &["status: in_progress"]);
    let opened = edit(&room, &waits, "status: blocked", "status: open");
    hints(&opened, &["restore the old value", "finish them", "agentpm task unblock"]);
    assert!(!opened["hint"].as_str().unwrap().contains("can wait"), "{opened}");
    hints(&edit(&room, &waits, "status: blocked", "status: in_progress"), &["finish them"]);
    room.run(&["claim", &id]).data();
    hints(&edit(&room, &id, "status: in_progress", "status: completed"), &["met: true"]);
    hints(&edit(&room, &id, "owner: ada\n", ""), &["restore the old value, then", "agentpm release"]);
    room.run(&["task", "verify", &id, "--all"]).data();
    room.run(&["done", &id]).data();
    hints(&edit(&room, &id, "status: completed", "status: open"), &["restore the old value, then", "task reopen"]);
}

#[test]
fn refusal_of_a_new_file_names_no_missing_task() {
    for (text, message, hint) in [
        ("title: x\nstatus: completed\n", "a new task cannot go", "status: in_progress"),
        ("title: x\ncreated_by: eve\n", "created_by of a new task", "remove created_by"),
        ("title: x\nmetadata: {e: ~}\n", "has no value", "remove it"),
        ("title: x\npriority: high\n", "priority is not allowed: expected a whole number", "correct priority"),
        ("title: x\npriority: 44\n", "not within", "whole number"),
        ("title: x\nneed_perm: [qa]\n", "not a list", "correct need_perm"),
    ] {
        let room = Sandbox::new();
        room.task("another", &[]);
        fs::write(room.store().join("tasks/new.yaml"), text).unwrap();
        let refusal = refusal(&room);
        let said = refusal["message"].as_str().unwrap();
        assert!(said.contains(message) && !said.contains("a field does not fit"), "{refusal:#}");
        hints(&refusal, &[hint]);
        assert!(!refusal.to_string().contains("task 01"), "{refusal:#}");
    }
}

#[test]
fn refusals_name_the_value_and_its_fault() {
    let room = Sandbox::new();
    let id = room.task("one", &["--acceptance", "it works", "--metadata", r#"{"num": 1, "f": 1e30, "t": "x"}"#]);
    room.run(&["progress", "add", &id, "--content", "a step"]).data();
    room.run(&["task", "verify", &id, "--all"]).data();
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    let created = text.lines().rfind(|line| line.starts_with("    created_at:")).unwrap();
    for (from, to, said) in [
        ("num: 1\n", "num: 007\n", "007 would be read as 7"),
        ("num: 1\n", "num: 0x10\n", "0x10 would be read as 16"),
        ("num: 1\n", "num: 1_000\n", "1_000 would be read as 1000"),
        ("num: 1\n", "num: 123456789012345678901234567890\n", "would be read as"),
        ("num: 1\n", "num: 1\n  e: ~\n", "has no value"),
        ("progress:\n", "progress:\n  - 1.50\n", "quote a number"),
        ("progress:\n", "context: [1.50]\nprogress:\n", "quote a number"),
        ("progress:\n", "relationships: [{type: related, to: X}]\nprogress:\n", "did you mean relates_to?"),
        (created, "", "created_at of a progress item"),
        ("criterion: it works", "criterion: it really works", "is a new one and not met"),
    ] {
        let refusal = edit(&room, &id, from, to);
        let all = format!("{} {}", refusal["message"], refusal["hint"]);
        assert!(all.contains(said), "{to}: {refusal:#}");
    }
    // Numbers that agentpm wrote itself are accepted.
    fs::write(room.yaml_of(&id), text.replace("title: one", "title: two")).unwrap();
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(&id)["metadata"]["f"], 1e30);
}

#[test]
fn crlf_is_a_formatting_finding() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), text.replace('\n', "\r\n")).unwrap();
    assert_eq!(room.finding_codes(), ["task-yaml-form"]);
    room.run(&["lint", "--fix"]).data();
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), text);
}

#[test]
fn hint_to_an_edit_of_a_held_task_is_to_wait() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run_as("bob", &["claim", &id]).data();
    hints(&edit(&room, &id, "title: one", "title: two"), &["the edit can wait in its file until the task is free"]);
    room.run_as("bob", &["lease", "release", &id]).data();
    let hint = edit(&room, &id, "title: one", "title: two")["hint"].clone();
    let expected = "ask its owner to release it; only a command overrides that: \
                    restore the old value and pass --override REASON";
    assert_eq!(hint, expected);
}
