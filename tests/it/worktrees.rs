//! One holder at work in several worktrees of a clone, leases that ran out, and who may act for whom.

use std::fs;

use serde_json::{Value, json};

use crate::lost::Twins;
use crate::sandbox::{Answer, Sandbox};

/// A clone with a second worktree on a branch of its own.
fn two_worktrees() -> (Sandbox, String, std::path::PathBuf) {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    let second = room.beside("second");
    room.git(&["worktree", "add", "-q", "-b", "second", second.to_str().unwrap()]).text();
    (room, task, second)
}

#[test]
fn a_claim_holds_in_every_worktree() {
    for end in ["done", "claim"] {
        let (room, task, second) = two_worktrees();
        room.run(&["claim", &task]).data();
        let brief = room.run_in(&second, &["brief"]);
        assert_eq!(brief.data()["task"]["id"], task.as_str(), "{brief:?}");
        if end == "claim" {
            assert_eq!(room.run_in(&second, &["claim", &task]).data()["task"]["status"], "in_progress");
        }
        let done = room.run_in(&second, &["done"]).data();
        assert_eq!((&done["status"], &done["owner"]), (&json!("completed"), &json!("ada")));
        assert_eq!(room.run_in(&second, &["lint"]).data()["findings"], json!([]));
        // Its commit stands for itself.
        room.git_in(&second, &["add", "-A"]).text();
        room.git_in(&second, &["commit", "-q", "-m", "done"]).text();
        assert_eq!(room.run_in(&second, &["lint", "--base", "main"]).data()["errors"], 0);
        // The lease is over in both.
        assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
        room.run(&["claim", &task]).error("ERR_INVALID_STATE", 4);
    }
}

#[test]
fn every_worktree_names_the_holder() {
    let (room, task, second) = two_worktrees();
    room.run(&["claim", &task]).data();
    let mut bob = room.agentpm_in(&second);
    let refused = Answer::from(bob.env("AGENTPM_AGENT", "bob").args(["done", &task]).output().unwrap());
    assert_eq!(refused.error("ERR_LEASE_HELD", 5)["details"]["holder"], "ada");
}

#[test]
fn a_lease_released_in_one_worktree_is_gone_in_the_other() {
    let (room, task, second) = two_worktrees();
    room.run(&["claim", &task]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "claimed"]).text();
    room.git_in(&second, &["merge", "-q", "main"]).text();
    room.run(&["release", &task]).data();
    for dir in [room.repo(), second] {
        assert_eq!(room.run_in(&dir, &["lease", "list"]).data()["items"], json!([]));
    }
}

#[test]
fn the_live_lease_of_another_clone_is_listed() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("one", &[]));
    twins.bob(&["claim", &id]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    let listed = twins.ada(&["lease", "list"]).data();
    assert_eq!((&listed["items"][0]["agent"], &listed["items"][0]["elsewhere"]), (&json!("bob"), &json!(true)));
}

#[test]
fn a_late_holder_finishes_a_task_not_taken_over() {
    let room = Sandbox::new();
    let (task, other) = (room.task("one", &[]), room.task("two", &[]));
    room.at("2026-11-20T10:00:00Z");
    let lease = room.run(&["claim", &task]).data()["lease"]["id"].as_str().unwrap().to_owned();
    room.run_as("bob", &["claim", &other]).data();
    room.at("2026-11-20T10:12:00Z");
    let stale = room.run(&["stale"]).data();
    let ids: Vec<&Value> = stale["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&json!(task), &json!(other)], "a lease that ran out is stale at once");
    // Who names the lease asks for just that one.
    room.run(&["done", &task, "--lease-id", &lease]).error("ERR_LEASE_EXPIRED", 5);
    room.run(&["task", "update", &task, "--title", "late"]).data();
    assert_eq!(room.run(&["done", &task]).data()["status"], "completed");
    room.run(&["claim", &other]).data();
    room.run_as("bob", &["done", &other]).error("ERR_LEASE_LOST", 5);
}

#[test]
fn a_shorter_renewal_keeps_the_time_and_warns() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("one", &[]);
    room.run(&["claim", &task, "--ttl", "1h"]).data();
    let renewed = room.run(&["lease", "renew", &task, "--ttl", "15"]);
    assert_eq!(renewed.data()["expires_at"], "2026-11-20T11:00:00Z");
    assert!(renewed.stderr.contains("already holds until 2026-11-20T11:00:00Z"), "{renewed:?}");
}

#[test]
fn acting_for_another_needs_the_right_to_override() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let session = room.run(&["session", "start"]).data()["id"].as_str().unwrap().to_owned();
    fs::write(
        room.store().join("roles.yml"),
        "agents:\n  ada: {perms: [claim]}\n  bob: {perms: [claim]}\n  eve: {perms: [claim, override]}\n",
    )
    .unwrap();
    room.run_as("bob", &["lease", "acquire", &task, "--agent-id", "ada"]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("bob", &["--session", &session, "claim", &task]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("bob", &["session", "end", "--session-id", &session]).error("ERR_UNAUTHORIZED", 6);
    assert_eq!(room.run_as("eve", &["lease", "acquire", &task, "--agent-id", "ada"]).data()["agent"], "ada");
    room.run_as("eve", &["session", "end", "--session-id", &session]).data();
}

#[test]
fn different_git_names_give_different_agents() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let as_named = |name: &str, args: &[&str]| {
        let mut command = room.agentpm();
        command.env_remove("AGENTPM_AGENT");
        let config = room.home().join("name.gitconfig");
        fs::write(&config, format!("[user]\n\tname = {name}\n\temail = x@example.org\n")).unwrap();
        Answer::from(command.env("GIT_CONFIG_GLOBAL", &config).args(args).output().unwrap())
    };
    let _ = room.git(&["config", "--unset", "user.name"]);
    let claimed = as_named("甲 Dev", &["claim", &task, "--full"]).data();
    assert!(claimed["task"]["owner"].as_str().unwrap().starts_with("dev-"), "{claimed}");
    assert_ne!(as_named("乙 Dev", &["done", &task]).code, 0, "another one may not finish it");
    let mine = as_named("开发者", &["add", "--title", "mine"]).data();
    assert!(mine["created_by"].as_str().is_none_or(|name| name.starts_with("agent-")), "{mine}");
    as_named("甲 Dev", &["done", &task]).data();
}

#[test]
fn conflicts_keep_ends_a_conflict() {
    let mut ids = Vec::new();
    let twins = Twins::new(|room| ids = vec![room.task("one", &[]), room.task("two", &[]), room.task("three", &[])]);
    let (one, two) = (ids[0].as_str(), ids[1].as_str());
    twins.ada(&["task", "update", one, "--title", "Ada's", "--priority", "3", "--parent", &ids[2]]).data();
    twins.ada(&["task", "block", one, "--by", two]).data();
    twins.bob(&["note", one, "--content", "later"]).data();
    twins.bob(&["task", "update", one, "--title", "Bob's", "--priority", "2"]).data();
    twins.bob(&["claim", one]).data();
    twins.bob(&["release", one]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    let list = || twins.ada(&["conflicts", one]).data()["items"].as_array().unwrap().clone();
    let before = twins.room.get(one);
    let fields: Vec<String> = list().iter().map(|edit| edit["field"].as_str().unwrap().to_owned()).collect();
    assert!(fields.contains(&"title".to_owned()) && fields.contains(&"priority".to_owned()), "{fields:?}");
    let lost = list().into_iter().find(|edit| edit["field"] == "title").unwrap()["lost"]["event"].clone();
    twins.ada(&["conflicts", "keep", lost.as_str().unwrap(), "--field", "title"]).data();
    assert!(list().iter().all(|edit| edit["field"] != "title"), "{:?}", list());
    while let Some(edit) = list().first() {
        let left = list().len();
        twins.ada(&["conflicts", "keep", edit["won"]["event"].as_str().unwrap()]).data();
        assert!(list().len() < left, "keeping {edit} ended nothing");
    }
    let after = twins.room.get(one);
    for field in ["title", "priority", "status", "parent", "owner", "acceptance"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    twins.ada(&["conflicts", "keep", lost.as_str().unwrap()]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn keeping_a_status_keeps_its_owner() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("one", &[]));
    twins.ada(&["task", "transition", &id, "--status", "cancelled"]).data();
    twins.bob(&["claim", &id]).data();
    twins.bob(&["done", &id]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!((&twins.room.get(&id)["status"], &twins.room.get(&id)["owner"]), (&json!("completed"), &json!("bob")));
    let edit = twins.ada(&["conflicts", &id]).data()["items"][0].clone();
    twins.room.run_as("cid", &["conflicts", "keep", edit["won"]["event"].as_str().unwrap()]).data();
    assert_eq!((&twins.room.get(&id)["status"], &twins.room.get(&id)["owner"]), (&json!("completed"), &json!("bob")));
    assert_eq!(twins.ada(&["conflicts", &id]).data()["items"], json!([]));
}

#[test]
fn an_agents_own_merge_of_finished_work_is_no_conflict() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "done"]).text();
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["claim", &task, "--here"]).data();
    room.run(&["release", &task]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "tried"]).text();
    let _ = room.git(&["merge", "-q", "--no-edit", "feature"]);
    room.run(&["resolve"]).data();
    assert_eq!(room.get(&task)["status"], "completed");
    assert_eq!(room.run(&["conflicts"]).data()["items"], json!([]));
}

#[test]
fn status_names_the_work_of_others_in_another_worktree() {
    let (room, task, second) = two_worktrees();
    let mut bob = room.agentpm_in(&second);
    Answer::from(bob.env("AGENTPM_AGENT", "bob").args(["claim", &task]).output().unwrap()).data();
    let status = room.run(&["status"]).data();
    assert_eq!((&status["others_total"], &status["others"][0]["owner"]), (&json!(1), &json!("bob")), "{status}");
    let words = room.run(&["status", "--format", "table"]);
    assert!(words.text().contains(&format!("In progress (1)\n  {}  one  by bob  until ", &task[20..])), "{words:?}");
}
