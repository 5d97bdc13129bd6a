//! Tasks whose removal was committed: named, brought back, ended on request; and what only looks like a removal.

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, shard};
use crate::sync::Clones;

/// A repository with a committed plan of two tasks, the first of which the second waits for.
fn plan() -> (Sandbox, String, String) {
    let room = Sandbox::new();
    let gone = room.task("gone", &[]);
    let other = room.task("other", &["--blocked-by", &gone]);
    commit(&room, "plan");
    (room, gone, other)
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", message]).text();
}

/// Removes a task's files in a commit. Gives its name.
fn remove(room: &Sandbox, id: &str) -> String {
    room.git(&["rm", "-rq", &room.task_dir(id).display().to_string()]).text();
    room.git(&["commit", "-qm", "tidy up"]).text();
    room.git(&["rev-parse", "--short", "HEAD"]).text().to_owned()
}

fn reports(room: &Sandbox) -> Vec<Value> {
    room.findings().into_iter().filter(|f| f["code"] == "task-deleted").collect()
}

fn names_it(answer: &Answer, id: &str, commit: &str) -> bool {
    answer.stderr.lines().any(|line| line.contains("removed") && line.contains(id) && line.contains(commit))
}

#[test]
fn a_committed_removal_is_found_by_lint_and_reached_by_its_fix() {
    for (how, status) in [(&["lint", "--fix"][..], "open"), (&["lint", "--fix", "--deleted", "cancelled"], "cancelled")]
    {
        let (room, gone, _) = plan();
        let commit = remove(&room, &gone);
        let found = reports(&room);
        assert_eq!((found.len(), &found[0]["task"]), (1, &json!(gone)), "{found:?}");
        assert!(found[0]["message"].as_str().unwrap().contains(&commit), "{found:?}");
        assert_eq!(room.finding_codes(), ["task-deleted"], "and nothing else is wrong");
        let fixed = room.run(how).data()["fixed"].clone();
        assert!(fixed[0].as_str().unwrap().contains("files restored"), "{fixed}");
        assert_eq!(room.get(&gone)["status"], status);
        room.is_clean();
    }
}

#[test]
fn every_command_that_restores_a_removed_task_reports_it() {
    let (room, gone, other) = plan();
    let commit = remove(&room, &gone);
    let noted = room.run(&["note", &other, "--content", "hm"]);
    noted.data();
    assert!(names_it(&noted, &gone, &commit), "{noted:?}");
    assert_eq!(room.get(&gone)["status"], "open");
    assert!(reports(&room).is_empty(), "it does not stand any more");
    assert!(!names_it(&room.run(&["note", &other, "--content", "again"]), &gone, &commit), "reported once");
    // The end of the task can still be recorded, since no other event changed it.
    let fixed = room.run(&["lint", "--fix", "--deleted", "cancelled"]).data()["fixed"].clone();
    assert!(fixed[0].as_str().unwrap().contains("cancelled"), "{fixed}");
    assert_eq!((&room.get(&gone)["status"], &room.get(&other)["status"]), (&json!("cancelled"), &json!("open")));
    room.is_clean();
}

#[test]
fn a_refusal_reports_the_restored_task() {
    let (room, gone, other) = plan();
    let commit = remove(&room, &gone);
    let refused = room.run(&["done", &other]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(names_it(&refused, &gone, &commit), "{refused:?}");
    room.run(&["note", &gone, "--content", "still wanted"]).data();
    room.run(&["lint", "--fix", "--deleted", "cancelled"]).data();
    assert_eq!(room.get(&gone)["status"], "open");
}

#[test]
fn resolve_names_the_restored_task_and_its_commit() {
    let (room, gone, _) = plan();
    let commit = remove(&room, &gone);
    let healed = room.run(&["resolve"]).data();
    assert_eq!(healed["brought_back"], json!([{ "task": gone, "commit": commit }]), "{healed}");
    let did = healed["items"].to_string();
    assert!(did.contains("a commit had removed"), "{did}");
}

#[test]
fn sync_restores_and_names_tasks_removed_by_others() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let folder = clones.log("ann", &task).parent().unwrap().display().to_string();
    clones.git("ann", &["rm", "-rq", &folder]).text();
    clones.git("ann", &["commit", "-qm", "tidy up"]).text();
    let planned = clones.run("ann", &["sync", "--plan"]);
    assert!(planned.stderr.contains("restore them"), "{planned:?}");
    clones.git("ann", &["push", "-q"]).text();
    clones.git("bob", &["pull", "-q"]).text();
    let synced = clones.run("bob", &["sync"]);
    assert_eq!(synced.data()["brought_back"][0]["task"], task.as_str(), "{synced:?}");
    assert!(synced.stderr.contains(&task), "{synced:?}");
    let again = clones.run("ann", &["sync"]);
    assert_eq!(clones.run("ann", &["task", "get", &task]).data()["status"], "open", "{again:?}");
    assert!(clones.run("bob", &["sync"]).data()["brought_back"] == Value::Null);
}

#[test]
fn a_revert_and_a_branch_that_never_had_the_task_are_no_removal() {
    let (room, ..) = plan();
    room.git(&["branch", "early"]).text();
    let late = room.task("late", &[]);
    commit(&room, "late");
    room.git(&["switch", "-q", "early"]).text();
    assert!(reports(&room).is_empty(), "never there");
    room.task("of early", &[]);
    commit(&room, "early");
    room.git(&["switch", "-q", "main"]).text();
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    assert!(reports(&room).is_empty(), "a revert takes no task away");
    let answer = room.run(&["resolve"]);
    assert!(answer.data()["brought_back"].is_null(), "{answer:?}");
    assert_eq!(room.get(&late)["status"], "open", "absence deletes nothing");
}

#[test]
fn a_reverted_removal_and_an_uninstall_are_not_reported() {
    let (room, gone, _) = plan();
    remove(&room, &gone);
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    room.is_clean();
    room.git(&["rm", "-rq", ".agentpm"]).text();
    room.git(&["commit", "-qm", "uninstall"]).text();
    room.run(&["init"]).data();
    commit(&room, "anew");
    assert!(reports(&room).is_empty());
}

#[test]
fn a_sparse_checkout_removes_no_task() {
    let room = Sandbox::new();
    let gone = room.task("gone", &[]);
    room.task("other", &[]);
    commit(&room, "plan");
    let shard = format!("!/.agentpm/tasks/{}/", shard(&gone));
    room.git(&["sparse-checkout", "set", "--no-cone", "/*", &shard]).text();
    assert!(!room.log_of(&gone).exists());
    let before = room.git(&["status", "--porcelain"]).text().to_owned();
    for how in [&["lint"][..], &["lint", "--base", "HEAD"], &["lint", "--fix", "--deleted", "cancelled"]] {
        let report = room.run(how).data();
        let codes: Vec<&str> =
            report["findings"].as_array().unwrap().iter().filter_map(|f| f["code"].as_str()).collect();
        assert!(!codes.contains(&"task-deleted") && !codes.contains(&"log-rewritten"), "{how:?}: {report:#}");
    }
    assert_eq!((room.log_of(&gone).exists(), room.git(&["status", "--porcelain"]).text()), (false, before.as_str()));
}

#[test]
fn a_refused_archiving_of_a_removed_task_fails_lint_fix() {
    let (room, gone, _) = plan();
    std::fs::remove_dir_all(room.task_dir(&gone)).unwrap();
    let fixed = room.run(&["lint", "--fix", "--deleted", "archived"]);
    assert_eq!(fixed.code, 1, "{fixed:?}");
    let refused = &fixed.json()["data"]["refused"][0];
    assert_eq!((&refused["task"], &refused["code"]), (&json!(gone), &json!("ERR_INVALID_STATE")), "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("was not closed"), "{refused}");
}
