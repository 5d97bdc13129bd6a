//! Ways in which a promise was broken once, each with the step that must hold it now.

use std::fs;

use serde_json::json;

use crate::sandbox::Sandbox;

fn batch(room: &Sandbox, ops: &serde_json::Value) -> crate::sandbox::Answer {
    fs::write(room.repo().join("ops.json"), ops.to_string()).unwrap();
    room.run(&["batch", "--file", "ops.json"])
}

#[test]
fn an_unreadable_event_is_never_acknowledged() {
    let room = Sandbox::new();
    for depth in 20..34 {
        let metadata = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let answer = room.run(&["task", "create", "--title", "deep", "--metadata", &metadata, "--quiet"]);
        if answer.code == 0 {
            assert_eq!(room.get(answer.text())["title"], "deep", "depth {depth}");
        } else {
            assert!([2, 4].contains(&answer.code), "depth {depth}: {answer:?}");
        }
    }
    room.is_clean();
}

#[test]
fn a_forged_chain_of_clocks_does_not_carry_new_tasks_away() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let head = room.run(&["log", &id]).data()["items"][0]["id"].as_str().unwrap().to_owned();
    let line = |id: &str, lamport: u64, parent: &str, task: &str| {
        json!({"v": 1, "id": id, "lamport": lamport, "type": "TaskUpdated", "entity": format!("task/{task}"), "parents": [parent],
            "agent": "ada", "at": "2026-11-20T10:00:00Z", "payload": {"set": {"priority": 1}}})
        .to_string()
    };
    let (first, second) = ("01K5R4XJ7Z0000000000000001", "01K5R4XJ7Z0000000000000002");
    let text = fs::read_to_string(room.log_of(&id)).unwrap();
    let forged = format!("{text}{}\n{}\n", line(first, 1 << 32, &head, &id), line(second, 1 << 33, first, &id));
    fs::write(room.log_of(&id), forged).unwrap();
    room.git(&["add", "-A"]).text();
    let new = room.task("new", &[]);
    assert_eq!(room.get(&new)["title"], "new");
    room.run(&["context", "add", &id, "--content", "x"]).data();
    let newer = room.task("newer", &[]);
    assert_eq!(room.get(&newer)["title"], "newer");
}

#[test]
fn a_lost_mark_costs_no_hand_edit() {
    let room = Sandbox::new();
    let id = room.task("before", &[]);
    let yaml = fs::read_to_string(room.yaml_of(&id)).unwrap().replace("title: before", "title: by hand");
    fs::write(room.yaml_of(&id), &yaml).unwrap();
    fs::remove_file(room.repo().join(".git/agentpm/mark.json")).unwrap();
    room.task("another", &[]);
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), yaml);
}

#[test]
fn a_reboot_projects_no_branch_into_another() {
    let room = Sandbox::new();
    room.task("on main", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "main"]).text();
    room.git(&["checkout", "-qb", "feature"]).text();
    let there = room.task("on feature", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "feature"]).text();
    room.git(&["checkout", "-q", "main"]).text();
    let mark = room.repo().join(".git/agentpm/mark.json");
    let text = fs::read_to_string(&mark).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(&mark, text.replace(boot.trim(), "another-start-of-the-machine")).unwrap();
    room.task("after the start", &[]);
    assert!(!room.task_dir(&there).exists(), "it belongs to the other branch");
    room.git(&["checkout", "-q", "feature"]).text();
    assert_eq!(room.get(&there)["title"], "on feature");
}

#[test]
fn a_redaction_in_the_same_batch_leaves_nothing() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let ops = json!([
        {"op": "context.add", "as": "n", "args": {"task_id": id, "type": "note", "content": "SECRETX"}},
        {"op": "context.redact", "args": {"id": "$n", "reason": "a secret"}},
    ]);
    batch(&room, &ops).data();
    for path in [room.log_of(&id), room.yaml_of(&id)] {
        assert!(!fs::read_to_string(path).unwrap().contains("SECRETX"));
    }
    room.is_clean();
}

#[test]
fn only_the_holder_takes_text_away() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    let note = room.run(&["context", "add", &id, "--content", "mine", "--quiet"]);
    room.run_as("bob", &["context", "redact", note.text(), "--reason", "x"]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_finished_task_is_not_made_to_wait() {
    let room = Sandbox::new();
    let (done, other) = (room.task("done", &[]), room.task("other", &[]));
    room.run(&["claim", &done]).data();
    room.run(&["done", &done]).data();
    room.run(&["task", "relate", &other, "--to", &done, "--type", "blocks"]).error("ERR_INVALID_STATE", 4);
    room.run(&["task", "create", "--title", "late part", "--parent", &done]).error("ERR_INVALID_STATE", 4);
    room.is_clean();
}

#[test]
fn a_lease_is_named_by_four_characters_at_least() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    for short in ["", "0", "01"] {
        room.run(&["lease", "release", short]).error("ERR_LEASE_LOST", 5);
    }
    assert_eq!(room.run(&["lease", "list"]).data()["total"], 1);
}

#[test]
fn work_in_progress_is_its_owners_even_without_a_lease() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["task", "transition", &id, "--status", "in_progress"]).data();
    room.run_as("bob", &["done", &id]).error("ERR_LEASE_HELD", 5);
    room.run_as("bob", &["lease", "acquire", &id]).error("ERR_LEASE_HELD", 5);
    room.run_as("bob", &["task", "update", &id, "--priority", "1", "--override", "ada left"]).data();
    room.run(&["done", &id]).data();
    room.is_clean();
}

#[test]
fn a_task_blocked_again_is_not_handed_out() {
    let room = Sandbox::new();
    let blocker = room.task("blocker", &[]);
    let id = room.task("waits", &["--blocked-by", &blocker]);
    for task in [&blocker, &id] {
        room.run(&["claim", task]).data();
        if task == &blocker {
            room.run(&["done", task]).data();
        }
    }
    room.run(&["task", "reopen", &blocker, "--reason", "it did not hold"]).data();
    assert_eq!(room.run(&["release", &id]).data()["status"], "blocked");
    room.run_as("bob", &["claim", &id]).error("ERR_INVALID_STATE", 4);
    room.is_clean();
}

#[test]
fn claim_refuses_a_task_completed_in_another_worktree() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    let there = room.beside("there");
    room.git(&["worktree", "add", "-q", there.to_str().unwrap()]).text();
    room.run_in(&there, &["claim", &id]).data();
    room.run_in(&there, &["done", &id]).data();
    for refused in
        [&["claim", &id][..], &["lease", "acquire", &id], &["task", "transition", &id, "--status", "in_progress"]]
    {
        room.run(refused).error("ERR_INVALID_STATE", 4);
    }
    assert_eq!(room.get(&id)["ready"], false);
    assert_eq!(room.run(&["next"]).json()["reasons"]["counts"]["taken_elsewhere"], 1);
}

#[test]
fn a_key_within_a_batch_is_refused_and_one_of_another_branch_is_named() {
    let room = Sandbox::new();
    let ops = json!([{"op": "task.create", "args": {"title": "x", "idempotency_key": "k"}}]);
    batch(&room, &ops).error("ERR_USAGE", 2);
    room.task("first", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    let there = room.beside("there");
    room.git(&["worktree", "add", "-q", there.to_str().unwrap()]).text();
    room.task("keyed", &["--idempotency-key", "k1"]);
    let again = room.run_in(&there, &["task", "create", "--title", "keyed", "--idempotency-key", "k1"]);
    again.error("ERR_CONFLICT", 5);
}

#[test]
fn a_file_that_is_no_index_of_ours_is_left_alone() {
    let room = Sandbox::new();
    room.task("one", &[]);
    let file = room.beside("diary.txt");
    fs::write(&file, "dear diary").unwrap();
    let list = room.agentpm().env("AGENTPM_DB", &file).arg("ls").output().unwrap();
    assert_eq!(crate::sandbox::Answer::from(list).data()["total"], 1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "dear diary");
}

#[test]
fn a_lost_line_is_named_and_not_taken_for_an_edit() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    for content in ["a", "b"] {
        room.run(&["progress", "add", &id, "--content", content]).data();
    }
    let whole = fs::read_to_string(room.log_of(&id)).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    for lost in 1..3 {
        let kept: String =
            lines.iter().enumerate().filter(|(n, _)| *n != lost).map(|(_, l)| format!("{l}\n")).collect();
        fs::write(room.log_of(&id), kept).unwrap();
        let report = room.run(&["lint"]).json();
        let codes: Vec<&str> =
            report["data"]["findings"].as_array().unwrap().iter().filter_map(|f| f["code"].as_str()).collect();
        assert!(codes.contains(&"log-gap"), "line {lost}: {report:#}");
    }
}

#[test]
fn a_field_of_a_newer_version_is_kept() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let yaml = fs::read_to_string(room.yaml_of(&id)).unwrap() + "severity: high\n";
    fs::write(room.yaml_of(&id), yaml).unwrap();
    let report = room.run(&["lint"]).data();
    assert_eq!((&report["errors"], &report["findings"][0]["code"]), (&json!(0), &json!("task-yaml-field")));
    room.run(&["lint", "--fix"]).data();
    room.run(&["task", "update", &id, "--priority", "1"]).data();
    assert!(fs::read_to_string(room.yaml_of(&id)).unwrap().contains("\nseverity: high\n"));
    assert_eq!(room.get(&id)["severity"], "high");
}

#[test]
fn an_edit_made_while_another_is_taken_in_is_not_lost() {
    use agentpm::engine::{self, Options};
    use agentpm::env::Env;

    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let before = fs::read_to_string(room.yaml_of(&id)).unwrap();
    let (draft, meanwhile) =
        (before.replace("title: one", "title: draft"), before.replace("title: one", "title: meanwhile"));
    fs::write(room.yaml_of(&id), &meanwhile).unwrap();
    let vars = [("AGENTPM_AGENT".to_owned(), "ada".to_owned())].into();
    let ws = engine::open(Env::new(vars, room.repo()).unwrap(), Options::default()).unwrap();
    let refused = engine::absorb_text(&ws, id.parse().unwrap(), &draft, &before).unwrap_err();
    assert_eq!(refused.code.as_str(), "ERR_CONFLICT");
    assert_eq!(fs::read_to_string(room.yaml_of(&id)).unwrap(), meanwhile);
    engine::absorb_text(&ws, id.parse().unwrap(), &meanwhile, &meanwhile).unwrap();
    assert_eq!(room.get(&id)["title"], "meanwhile");
}
