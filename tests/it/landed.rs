//! A completed task has landed once its completion is on the default branch of the remote.

use serde_json::json;

use crate::sync::Clones;

#[test]
fn a_completion_lands_with_the_push() {
    let (clones, task) = Clones::new(&["ada"]);
    let run = |args: &[&str]| clones.run("ada", args).data();
    let landed = || run(&["ls", "--query", "is:landed"])["total"].clone();
    assert_eq!(run(&["task", "get", &task]).get("landed"), None);
    run(&["claim", &task]);
    run(&["done", &task, "--all-met"]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(false), json!(0)));
    run(&["sync"]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(true), json!(1)));
    run(&["task", "archive", &task]);
    assert_eq!((&run(&["task", "get", &task])["landed"], landed()), (&json!(true), json!(1)));
}

/// Two clones of a plan in which a second task waits for the first, which `ada` completed and did not push.
fn completed_here() -> (Clones, String, String) {
    let (clones, first) = Clones::new(&["ada", "bob"]);
    let run = |args: &[&str]| clones.run("ada", args).data();
    let config = clones.dir("ada").join(".agentpm/config.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(config, format!("{before}\n[claim]\nblockers = \"landed\"\n")).unwrap();
    let second = run(&["add", "build on it", "--blocked-by", &first])["id"].as_str().unwrap().to_owned();
    run(&["sync"]);
    clones.run("bob", &["sync"]).data();
    run(&["claim", &first]);
    run(&["done", &first, "--all-met"]);
    (clones, first, second)
}

#[test]
fn a_dependent_waits_until_the_completion_has_landed() {
    let (clones, first, second) = completed_here();
    let run = |name: &str, args: &[&str]| clones.run(name, args).data();
    assert_eq!(run("ada", &["task", "get", &second])["status"], "blocked");
    assert!(run("ada", &["next"]).is_null());
    let ready = run("ada", &["ready", "--explain"]);
    assert_eq!((&ready["total"], &ready["not_ready"]["counts"]), (&json!(0), &json!({ "not_landed": 1 })));
    let reasons = &ready["explained"]["items"][0]["reasons"][0];
    assert_eq!(reasons, &json!({ "reason": "not_landed", "by": [first], "total": 1 }));
    let error = clones.run("ada", &["claim", &second]).error("ERR_INVALID_STATE", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("(shared) is on the default branch of the remote"), "{message}");
    assert!(clones.run("ada", &["brief", &second]).stdout.contains("not on the default branch of the remote yet"));
    let codes = run("ada", &["lint"])["findings"].to_string();
    assert!(!codes.contains("blocked-without-blocker"), "{codes}");
    run("ada", &["sync"]);
    assert_eq!(run("ada", &["next"])["task"]["id"], json!(second));
    run("bob", &["sync"]);
    assert_eq!(run("bob", &["next", "--claim"])["task"]["id"], json!(second));
}

#[test]
fn a_task_completed_anew_has_not_landed() {
    let (clones, first, second) = completed_here();
    let run = |args: &[&str]| clones.run("ada", args).data();
    run(&["sync"]);
    assert_eq!(run(&["next"])["task"]["id"], json!(second));
    run(&["task", "reopen", &first, "--reason", "it does not hold"]);
    run(&["claim", &first]);
    run(&["done", &first]);
    assert_eq!(run(&["task", "get", &first])["landed"], json!(false));
    assert!(run(&["next"]).is_null());
    run(&["sync"]);
    assert_eq!(run(&["next"])["task"]["id"], json!(second));
}

#[test]
fn a_cancelled_blocker_and_a_clone_without_a_remote_wait_for_no_push() {
    let (clones, first, second) = completed_here();
    clones.git("ada", &["remote", "remove", "origin"]).text();
    let run = |args: &[&str]| clones.run("ada", args).data();
    assert_eq!(run(&["next"])["task"]["id"], json!(second));
    let bob = |args: &[&str]| clones.run("bob", args).data();
    assert_eq!(bob(&["next"])["task"]["id"], json!(first), "bob does not know of the completion");
    bob(&["cancel", &first]);
    assert_eq!(bob(&["next"])["task"]["id"], json!(second));
}
