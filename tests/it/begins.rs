//! Every way to begin a task asks for the one definition of readiness, and only the right to update gives a task to another agent.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, cases};

const ROLES: &str = "agents:
  ada: {perms: [admin], precedence: 10}
  bob: {perms: [claim, complete, comment]}
";

/// What withholds a task, how that comes about, and the code of the refusal.
type Withheld = (fn(&Sandbox, &str), &'static str);

fn with_roles(room: &Sandbox) {
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
}

fn events(room: &Sandbox, task: &str) -> Vec<Value> {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn last_of(room: &Sandbox, task: &str, kind: &str) -> String {
    let all = events(room, task);
    all.iter().rev().find(|event| event["type"] == kind).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Replaces a text in the file of a task.
fn edit(room: &Sandbox, task: &str, from: &str, to: &str) {
    let page = fs::read_to_string(room.yaml_of(task)).unwrap();
    assert!(page.contains(from), "{page}");
    fs::write(room.yaml_of(task), page.replacen(from, to, 1)).unwrap();
}

/// Has an agent record the edits; gives the refusal of the first that is refused.
#[track_caller]
fn refusal(room: &Sandbox, agent: &str) -> Value {
    let by = |args: &[&str]| {
        let report = room.run_as(agent, args).json();
        let findings = report["data"]["findings"].as_array().unwrap_or_else(|| panic!("{report:#}")).clone();
        let refused = findings.iter().find(|finding| finding["code"] == "task-yaml-edited");
        refused.unwrap_or_else(|| panic!("{findings:#?}"))["refusal"].clone()
    };
    let foretold = by(&["lint"]);
    let refused = by(&["lint", "--fix"]);
    assert_eq!(foretold, refused, "lint says what recording it says");
    refused
}

cases! { no_way_begins_a_withheld_task by is_withheld {
    by_a_thread: (
        |room, task| drop(room.run(&["thread", "open", task, "--body", "wait"]).data()),
        "ERR_INVALID_STATE",
    ),
    by_a_deferral: (
        |room, task| drop(room.run(&["task", "update", task, "--defer-until", "+3d"]).data()),
        "ERR_INVALID_STATE",
    ),
    by_an_unfinished_part: (|room, task| drop(room.task("a part", &["--parent", task])), "ERR_INVALID_STATE"),
    by_a_deferred_parent: (
        |room, task| {
            let parent = room.task("the whole", &["--defer-until", "+3d"]);
            room.run(&["task", "update", task, "--parent", &parent]).data();
        },
        "ERR_INVALID_STATE",
    ),
    by_its_attempts: (
        |room, task| {
            let config = room.store().join("config.toml");
            let before = fs::read_to_string(&config).unwrap();
            fs::write(config, format!("{before}\n[claim]\nmax_attempts = 1\n")).unwrap();
            room.run(&["claim", task]).data();
            room.run(&["release", task]).data();
        },
        "ERR_INVALID_STATE",
    ),
    by_a_precedence: (
        |room, task| {
            room.run(&["task", "update", task, "--need-precedence", "20"]).data();
            with_roles(room);
        },
        "ERR_UNAUTHORIZED",
    ),
    by_a_right: (
        |room, task| {
            room.run(&["task", "update", task, "--need-perm", "ship"]).data();
            fs::write(room.store().join("roles.yml"), ROLES.replace("admin", "claim, comment")).unwrap();
        },
        "ERR_UNAUTHORIZED",
    ),
    by_a_blocker: (
        |room, task| drop(room.run(&["task", "block", task, "--by", &room.task("first", &[])]).data()),
        "ERR_INVALID_STATE",
    ),
}}

fn is_withheld(what: &str, (withhold, code): Withheld) {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    withhold(&room, &task);
    let exit = if code == "ERR_UNAUTHORIZED" { 6 } else { 4 };
    let before = events(&room, &task);
    room.run(&["claim", &task]).error(code, exit);
    room.run(&["task", "transition", &task, "--status", "in_progress"]).error(code, exit);
    room.run(&["task", "transition", &task, "--status", "in_progress", "--override", "now"]).error(code, exit);
    let step = json!({"ops": [{"op": "task.transition", "args": {"id": task, "status": "in_progress"}}]});
    room.feed(&["batch", "--file", "-"], step.to_string().as_bytes()).error(code, exit);
    let status = room.get(&task)["status"].as_str().unwrap().to_owned();
    for owner in ["", "owner: ada\n"] {
        edit(&room, &task, &format!("status: {status}\n"), &format!("status: in_progress\n{owner}"));
        let refused = refusal(&room, "ada");
        assert_eq!(refused["code"], code, "{what}: {refused:#}");
        edit(&room, &task, &format!("status: in_progress\n{owner}"), &format!("status: {status}\n"));
    }
    assert_eq!(events(&room, &task), before, "{what}: nothing is recorded");
}

#[test]
fn an_undo_begins_no_withheld_task() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["claim", &task]).data();
    room.run(&["release", &task]).data();
    let released = last_of(&room, &task, "TaskStatusChanged");
    room.run(&["thread", "open", &task, "--body", "wait"]).data();
    let error = room.run(&["undo", &released]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("withheld by the open thread"), "{error}");
    room.run(&["undo", &released, "--force", "agreed"]).data();
    assert_eq!(events(&room, &task).last().unwrap()["payload"]["forced"], json!(["thread"]));
}

#[test]
fn force_begins_a_withheld_task_and_records_what_it_overrides() {
    let room = Sandbox::new();
    let task = room.task("the task", &["--defer-until", "+3d"]);
    room.task("a part", &["--parent", &task]);
    room.run(&["thread", "open", &task, "--body", "wait"]).data();
    let begin = ["task", "transition", &task, "--status", "in_progress", "--force", "agreed with all"];
    room.run(&begin).data();
    let last = events(&room, &task).pop().unwrap();
    assert_eq!(last["payload"]["forced"], json!(["children", "thread", "deferral"]));
    assert_eq!((&last["why"], &last["payload"]["owner"]), (&json!("agreed with all"), &json!("ada")));
    room.is_clean();
    // The holder goes on, and a right or a precedence that the task needs is not overridden.
    with_roles(&room);
    let other = room.task("for others", &["--need-precedence", "20"]);
    room.run(&["task", "transition", &other, "--status", "in_progress", "--force", "now"]).error("ERR_UNAUTHORIZED", 6);
}

#[test]
fn a_transition_takes_no_task_that_belongs_to_another() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["task", "update", &task, "--owner", "carol"]).data();
    for args in [&["claim", &task][..], &["task", "transition", &task, "--status", "in_progress"]] {
        let error = room.run(args).error("ERR_LEASE_HELD", 5);
        assert!(error["message"].as_str().unwrap().contains("belongs to carol"), "{args:?}: {error}");
    }
}

#[test]
fn a_claim_for_another_agent_asks_for_the_right_to_update() {
    for (from, to) in [
        ("status: open\n", "status: in_progress\nowner: ada\n"),
        ("status: open\nowner: ada\n", "status: in_progress\nowner: ada\n"),
        ("status: open\nowner: ada\n", "status: in_progress\nowner: bob\n"),
        ("status: in_progress\nowner: bob\n", "status: open\nowner: ada\n"),
    ] {
        let room = Sandbox::new();
        with_roles(&room);
        let task = room.task("the task", &[]);
        if from.contains("owner: ada") {
            room.run(&["task", "update", &task, "--owner", "ada"]).data();
        }
        if from.contains("owner: bob") {
            room.run_as("bob", &["claim", &task]).data();
        }
        let before = events(&room, &task);
        edit(&room, &task, from, to);
        let refused = refusal(&room, "bob");
        assert_eq!(refused["code"], "ERR_UNAUTHORIZED", "{from} -> {to}: {refused:#}");
        let message = refused["message"].as_str().unwrap();
        assert!(message.ends_with("bob may not update here"), "{from} -> {to}: {message}");
        assert_eq!(events(&room, &task), before);
        let roles = fs::read_to_string(room.store().join("roles.yml")).unwrap();
        fs::write(room.store().join("roles.yml"), roles.replace("claim,", "claim, update,")).unwrap();
        assert_eq!(room.run_as("bob", &["lint", "--fix"]).code, 0, "{from} -> {to}");
    }
}

/// What bob forges into the log of an open task on a branch, what it was prepared with, and the words that the gate says, if any.
type Forged = (fn(&Sandbox, &str), Value, &'static str);

#[test]
fn the_gate_judges_a_beginning_like_the_command() {
    let nothing: fn(&Sandbox, &str) = |_, _| {};
    let discussed: fn(&Sandbox, &str) = |room, task| {
        room.run(&["thread", "open", task, "--body", "wait"]).data();
    };
    let assigned: fn(&Sandbox, &str) = |room, task| {
        room.run(&["task", "update", task, "--owner", "carol"]).data();
    };
    let deferred: fn(&Sandbox, &str) = |room, task| {
        room.run(&["task", "update", task, "--defer-until", "2046-01-01"]).data();
    };
    let begun = |owner: &str| json!({"from": "open", "to": "in_progress", "owner": owner});
    let cases: Vec<Forged> = vec![
        (nothing, begun("bob"), ""),
        (nothing, begun("ada"), "\"bob\" may not update "),
        (assigned, json!({"from": "open", "to": "in_progress"}), "\"bob\" may not update "),
        (nothing, json!({"from": "open", "to": "open", "owner": "ada"}), "\"bob\" may not update "),
        (discussed, begun("bob"), "\"bob\" may not override "),
        (deferred, begun("bob"), "\"bob\" may not override "),
    ];
    for (prepare, payload, words) in cases {
        let room = Sandbox::new();
        let task = room.task("the task", &[]);
        prepare(&room, &task);
        with_roles(&room);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
        room.git(&["tag", "base"]).text();
        let last = events(&room, &task).pop().unwrap();
        let event = json!({
            "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": last["lamport"].as_u64().unwrap() + 1,
            "type": "TaskStatusChanged", "entity": last["entity"], "parents": [last["id"]], "agent": "bob",
            "at": "2026-11-20T10:05:00Z", "payload": payload,
        });
        let log = fs::read_to_string(room.log_of(&task)).unwrap();
        fs::write(room.log_of(&task), format!("{log}{event}\n")).unwrap();
        let _ = room.run(&["resolve"]);
        room.git(&["add", "-A"]).text();
        for flags in [&["lint", "--base", "base"][..], &["lint", "--staged"]] {
            let answer = room.run(flags).json();
            let findings = answer["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:#}")).clone();
            let mut said =
                findings.iter().filter(|f| f["code"] == "not-permitted").map(|f| f["message"].as_str().unwrap());
            match words {
                "" => assert_eq!(said.next(), None, "{payload}"),
                words => assert!(said.any(|message| message.starts_with(words)), "{flags:?} {payload}: {findings:#?}"),
            }
        }
    }
}

#[test]
fn a_lease_from_another_worktree_begins_no_withheld_task() {
    let room = Sandbox::new();
    let (withheld, free) = (room.task("withheld", &[]), room.task("free", &[]));
    room.run(&["thread", "open", &withheld, "--body", "wait"]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    let second = room.beside("second");
    room.git(&["worktree", "add", "-q", "-b", "second", second.to_str().unwrap()]).text();
    room.run(&["lease", "acquire", &withheld]).data();
    let error = room.run_in(&second, &["done", &withheld]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("withheld by the open thread"), "{error}");
    room.run(&["claim", &free]).data();
    room.run_in(&second, &["done", &free]).data();
}

#[test]
fn a_transition_overrides_files_that_overlap_as_a_claim_does() {
    let room = Sandbox::new();
    let config = room.store().join("config.toml");
    let before = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{before}\n[claim]\noverlap = \"refuse\"\n")).unwrap();
    let (one, other) = (room.task("one", &["--file", "src/**"]), room.task("other", &["--file", "src/a.rs"]));
    room.run_as("bob", &["claim", &one]).data();
    let begin = ["task", "transition", &other, "--status", "in_progress"];
    room.run(&begin).error("ERR_CONFLICT", 5);
    room.run(&[&begin[..], &["--override", "agreed with bob"]].concat()).data();
    assert_eq!(events(&room, &other)[1]["type"], "LeaseOverride");
    room.is_clean();
}
