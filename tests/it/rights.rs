//! Who may do what: each operation as each role, on the command line and in the gate of a branch.
//!
//! `fixtures/rights/matrix.txt` says who may. A refused operation is carried out again by an agent that may; the events that it
//! left, forged in a branch by the one who may not, must be refused by the gate for the same right.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use agentpm::api::{Kind, OPERATIONS};
use serde_json::Value;

use crate::operations::{Plan, asked, copy_folder};
use crate::sandbox::{Answer, Sandbox, cases};

const MATRIX: &str = include_str!("../../fixtures/rights/matrix.txt");
const ROLES: &str = include_str!("../../fixtures/rights/roles.yml");

/// The agent of all operations, in any role.
const ALL: &str = "agents:\n  ada: {perms: [admin]}\n";

/// A row of the matrix: the right that a refusal names, and what each role may.
struct Row<'a> {
    right: &'a str,
    cells: BTreeMap<&'a str, &'a str>,
}

fn matrix() -> BTreeMap<&'static str, Row<'static>> {
    let mut lines = MATRIX.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let roles: Vec<&str> = lines.next().unwrap().split_whitespace().skip(2).collect();
    let row = |line: &'static str| {
        let mut cells = line.split_whitespace();
        let (name, right) = (cells.next().unwrap(), cells.next().unwrap());
        (name, Row { right, cells: roles.iter().copied().zip(cells).collect() })
    };
    lines.map(row).collect()
}

#[test]
fn the_matrix_names_every_operation_with_the_right_of_the_table() {
    let matrix = matrix();
    let names: Vec<&str> = matrix.keys().copied().collect();
    let mut operations: Vec<&str> = OPERATIONS.iter().map(|operation| operation.name).collect();
    operations.sort_unstable();
    assert_eq!(names, operations);
    for operation in OPERATIONS.iter() {
        let right = matrix[operation.name].right;
        let named = match operation.permission {
            Some(verb) => verb.as_str() == right,
            None if operation.depends.is_empty() => right == "-",
            None => right == "-" || operation.depends.iter().any(|verb| verb.as_str() == right),
        };
        assert!(named, "{}: {right}, {:?}, {:?}", operation.name, operation.permission, operation.depends);
        assert!(operation.kind != Kind::Query || right == "-", "{} is a query", operation.name);
    }
}

/// A plan of an agent in a role, with a value that lost, and the commands of the operations that `asked` leaves out.
struct Stage {
    plan: Plan,
    lost: String,
}

impl Stage {
    fn of(role: &str) -> Self {
        let plan = Plan::new();
        let room = &plan.room;
        let task = room.task("contested", &[]);
        commit(room, &room.repo(), "before");
        room.git(&["switch", "-q", "-c", "side"]).text();
        let lost = event_of(room, &task, &["task", "update", &task, "--priority", "1"]);
        commit(room, &room.repo(), "side");
        room.git(&["switch", "-q", "main"]).text();
        room.run(&["note", &task, "--content", "later"]).data();
        room.run(&["task", "update", &task, "--priority", "2"]).data();
        commit(room, &room.repo(), "main");
        let _ = room.git(&["merge", "-q", "--no-edit", "side"]);
        room.run(&["resolve"]).data();
        commit(room, &room.repo(), "merged");
        assert_eq!(room.run(&["conflicts"]).data()["total"], 1);
        if role != "none" {
            room.run(&["agent", "register", "--role", role]).data();
        }
        fs::write(room.store().join("roles.yml"), ROLES).unwrap();
        commit(room, &room.repo(), "base");
        // It is copied for each change: few files.
        room.git(&["gc", "-q"]).text();
        fs::remove_dir_all(room.repo().join(".git/hooks")).unwrap();
        Stage { plan, lost }
    }

    fn words(&self, operation: &str) -> Vec<String> {
        let words = match operation {
            "conflicts.restore" => vec!["conflicts", "restore", &self.lost],
            "conflicts.keep" => vec!["conflicts", "keep", &self.lost],
            "sync" => vec!["sync", "--no-push"],
            "agent.register" => vec!["agent", "register", "--role", "night-shift"],
            other => return asked(&self.plan, other).0,
        };
        words.into_iter().map(str::to_owned).collect()
    }

    fn run(&self, copy: &Path, operation: &str) -> Answer {
        let args = self.words(operation);
        Answer::from(self.plan.room.agentpm_in(copy).args(args).output().unwrap())
    }
}

fn commit(room: &Sandbox, dir: &Path, message: &str) {
    room.git_in(dir, &["add", "-A"]).text();
    room.git_in(dir, &["commit", "-q", "--no-verify", "--allow-empty", "-m", message]).text();
}

/// The id of the newest event of a task after a command.
fn event_of(room: &Sandbox, task: &str, args: &[&str]) -> String {
    room.run(args).data();
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    last["id"].as_str().unwrap().to_owned()
}

fn obeys(_: &str, role: &str) {
    let (stage, matrix) = (Stage::of(role), matrix());
    let wrong: Vec<String> =
        OPERATIONS.iter().filter_map(|operation| judge(&stage, operation.name, role, &matrix).err()).collect();
    assert!(wrong.is_empty(), "{role}:\n{}", wrong.join("\n"));
}

/// Carries out one operation in a copy of the plan.
fn judge(stage: &Stage, name: &str, role: &str, matrix: &BTreeMap<&str, Row<'_>>) -> Result<(), String> {
    let (room, row) = (&stage.plan.room, &matrix[name]);
    if OPERATIONS.iter().any(|operation| operation.name == name && operation.kind == Kind::Query) {
        let answer = stage.run(&room.repo(), name);
        return if answer.code == 0 && row.cells[role] == "yes" { Ok(()) } else { Err(format!("{name}: {answer:?}")) };
    }
    let copy: PathBuf = room.beside(&format!("{name}.{role}"));
    copy_folder(&room.repo(), &copy);
    let answer = stage.run(&copy, name);
    let refused = is_unauthorized(&answer);
    if refused != (row.cells[role] != "yes") {
        return Err(format!("{name}: refused {refused}: {answer:?}"));
    }
    if refused {
        let error = answer.json()["error"].clone();
        if !error["message"].as_str().unwrap_or_default().ends_with(&format!("may not {} here", row.right))
            || !error["hint"].as_str().unwrap_or_default().contains("roles.yml grants it to ")
        {
            return Err(format!("{name}: {error}"));
        }
        fs::write(copy.join(".agentpm/roles.yml"), ALL).unwrap();
        let forged = stage.run(&copy, name);
        if forged.code != 0 {
            return Err(format!("{name}: with all rights: {forged:?}"));
        }
        fs::write(copy.join(".agentpm/roles.yml"), ROLES).unwrap();
    } else if answer.code != 0 {
        return Err(format!("{name}: {answer:?}"));
    }
    if name == "config.set" {
        // A file of settings has no author that the gate could judge: review lists its changes.
        return Ok(());
    }
    if room.git_in(&copy, &["status", "--porcelain", "--", ".agentpm"]).text().is_empty() {
        // A token is no part of the plan, and the call of sync push gives events that are here already. The calls of compact and
        // migrate are dry runs.
        let is_of_plan = refused && !matches!(name, "agent.token" | "sync.push" | "compact" | "migrate");
        return if is_of_plan { Err(format!("{name}: refused, and writes nothing")) } else { Ok(()) };
    }
    room.git_in(&copy, &["add", "-A"]).text();
    let lint = Answer::from(room.agentpm_in(&copy).args(["lint", "--base", "main"]).output().unwrap()).json();
    let findings = lint["data"]["findings"].as_array().ok_or_else(|| format!("{name}: {lint}"))?;
    let missed: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["code"] == "not-permitted")
        .map(|finding| finding["message"].as_str().unwrap())
        .collect();
    let says = |message: &&str| message.contains(&format!("\"ada\" may not {} ", row.right));
    let alike = if row.cells[role] == "-" { missed.iter().any(says) } else { missed.is_empty() };
    fs::remove_dir_all(&copy).unwrap();
    if alike { Ok(()) } else { Err(format!("{name}: refused {refused}, and the gate says {missed:#?}")) }
}

fn is_unauthorized(answer: &Answer) -> bool {
    serde_json::from_str::<Value>(&answer.stdout).is_ok_and(|answer| answer["error"]["code"] == "ERR_UNAUTHORIZED")
}

cases! { each_role_may_what_the_matrix_says by obeys {
    planner: "planner",
    executor: "executor",
    reviewer: "reviewer",
    coordinator: "coordinator",
    an_agent_without_a_role: "none",
}}
