//! The merge driver as git calls it: what it answers where git names both sides, and where it does not.

use std::fs;

use serde_json::json;

use crate::sandbox::{Answer, Sandbox};

/// A plan with one task, in a clone whose merge driver is set.
fn clone_with_driver() -> (Sandbox, String) {
    with_plan(Sandbox::new())
}

fn with_plan(room: Sandbox) -> (Sandbox, String) {
    room.run(&["init", "--hooks"]).data();
    let task = room.task("one", &["--priority", "1", "--label", "a"]);
    room.run(&["progress", "add", &task, "--content", "a step"]).data();
    commit(&room, "the plan");
    (room, task)
}

fn commit(room: &Sandbox, subject: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", subject]).text();
}

/// Changes the same fields on two branches: `other`, and `main`, which is checked out afterwards.
fn diverge(room: &Sandbox, task: &str) {
    room.git(&["switch", "-qc", "other"]).text();
    for (title, step) in [("theirs", "their step"), ("theirs again", "their other step")] {
        room.run_as("bob", &["task", "update", task, "--title", title, "--priority", "2"]).data();
        room.run_as("bob", &["progress", "add", task, "--content", step]).data();
        commit(room, title);
    }
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["task", "update", task, "--title", "ours", "--label", "b"]).data();
    room.run(&["progress", "add", task, "--content", "our step"]).data();
    commit(room, "ours");
}

/// That git left no conflict, and that the file is already what its log says.
fn is_settled(room: &Sandbox, task: &str, answer: &Answer, what: &str) {
    assert_eq!(answer.code, 0, "{what}: {answer:?}");
    let text = fs::read_to_string(room.yaml_of(task)).unwrap();
    assert!(!text.contains("<<<<<<<"), "{what}:\n{text}");
    room.is_clean();
    assert_eq!(room.run(&["resolve"]).data()["items"], json!([]), "{what}");
}

#[test]
fn every_way_to_merge_renders_the_merged_log() {
    let ways: &[(&str, &[&str])] = &[
        ("a merge", &["merge", "-q", "--no-edit", "--no-verify", "other"]),
        ("a merge of a commit", &["merge", "-q", "--no-edit", "--no-verify", "other~0"]),
        ("a rebase", &["rebase", "-q", "--no-verify", "other"]),
        ("a cherry-pick", &["cherry-pick", "other~1"]),
        ("two cherry-picks", &["cherry-pick", "other~2..other"]),
        ("a squash", &["merge", "-q", "--squash", "other"]),
    ];
    for (what, args) in ways {
        let (room, task) = clone_with_driver();
        diverge(&room, &task);
        let answer = room.git(args);
        is_settled(&room, &task, &answer, what);
    }
}

#[test]
fn the_sides_are_found_in_a_reftable_too() {
    for way in [&["merge", "-q", "--no-edit", "--no-verify", "other"][..], &["rebase", "-q", "--no-verify", "other"]] {
        let room = Sandbox::nothing();
        room.git(&["init", "-q", "-b", "main", "--ref-format=reftable", "."]).text();
        let (room, task) = with_plan(room);
        diverge(&room, &task);
        let answer = room.git(way);
        is_settled(&room, &task, &answer, "a reftable");
    }
}

#[test]
fn a_stash_is_taken_out_over_other_changes() {
    let (room, task) = clone_with_driver();
    diverge(&room, &task);
    room.run(&["task", "update", &task, "--title", "stashed"]).data();
    room.git(&["stash", "-q"]).text();
    room.git(&["merge", "-q", "--no-edit", "--no-verify", "other"]).text();
    let answer = room.git(&["stash", "pop", "-q"]);
    is_settled(&room, &task, &answer, "a stash");
    assert_eq!(room.get(&task)["title"], "stashed");
}

#[test]
fn the_driver_merges_events_under_different_fences() {
    let (room, task) = clone_with_driver();
    room.git(&["switch", "-qc", "other"]).text();
    room.run_as("bob", &["claim", &task]).data();
    room.run_as("bob", &["task", "update", &task, "--title", "theirs"]).data();
    commit(&room, "theirs");
    room.run_as("bob", &["release", &task]).data();
    room.run_as("eve", &["claim", &task]).data();
    room.run_as("eve", &["task", "update", &task, "--title", "the next"]).data();
    room.git(&["stash", "-q"]).text();
    room.git(&["switch", "-q", "main"]).text();
    room.run_as("eve", &["task", "update", &task, "--priority", "4", "--override", "a test"]).data();
    commit(&room, "ours");
    let answer = room.git(&["merge", "-q", "--no-edit", "--no-verify", "other"]);
    is_settled(&room, &task, &answer, "fences");
}

/// Edits the task's file by hand on two branches and merges them.
fn merge_edits(main: (&str, &str), other: (&str, &str)) -> (Sandbox, String, Answer) {
    let (room, task) = clone_with_driver();
    for (branch, (from, to)) in [("other", other), ("main", main)] {
        if branch == "other" {
            room.git(&["switch", "-qc", "other"]).text();
        } else {
            room.git(&["switch", "-q", "main"]).text();
        }
        let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(room.yaml_of(&task), text.replacen(from, to, 1)).unwrap();
        commit(&room, branch);
    }
    let answer = room.git(&["merge", "-q", "--no-edit", "--no-verify", "other"]);
    (room, task, answer)
}

#[test]
fn a_hand_edit_of_one_side_is_applied_on_top() {
    let (room, task, answer) = merge_edits(("title: one", "title: by hand"), ("priority: 1", "priority: 3"));
    assert_eq!(answer.code, 0, "{answer:?}");
    assert_eq!(room.finding_codes(), ["task-yaml-edited"]);
    room.run(&["lint", "--fix"]).data();
    let merged = room.get(&task);
    assert_eq!((&merged["title"], &merged["priority"]), (&json!("by hand"), &json!(3)));
    room.is_clean();
}

#[test]
fn two_hand_edits_of_one_field_conflict_in_that_field_alone() {
    let (room, task, answer) = merge_edits(("title: one", "title: mine"), ("title: one", "title: theirs"));
    assert_eq!(answer.code, 1, "{answer:?}");
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let within: Vec<&str> =
        text.lines().skip_while(|l| !l.starts_with("<<<")).take_while(|l| !l.starts_with(">>>")).collect();
    assert_eq!(within[1..], ["title: mine", "=======", "title: theirs"], "{text}");
    room.run(&["resolve"]).data();
    let conflicts = room.run(&["conflicts", &task]).data();
    let both = [room.get(&task)["title"].clone(), conflicts["items"][0]["lost"]["value"].clone()];
    assert!(both.contains(&json!("mine")) && both.contains(&json!("theirs")), "{both:?}");
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    assert_eq!(log.matches("\"hand edit\"").count(), 2, "{log}");
    room.is_clean();
}

/// A hand edit on the branch `other` and another title by a command on `main`, which is checked out.
fn edit_beside_a_command() -> (Sandbox, String) {
    let (room, task) = clone_with_driver();
    room.git(&["switch", "-qc", "other"]).text();
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let edited = text.replace("title: one", "title: by hand").replace("priority: 1", "priority: 3");
    fs::write(room.yaml_of(&task), edited).unwrap();
    commit(&room, "by hand");
    room.git(&["switch", "-q", "main"]).text();
    room.run_as("bob", &["task", "update", &task, "--title", "by command"]).data();
    commit(&room, "by command");
    (room, task)
}

#[test]
fn a_command_that_a_hand_edit_did_not_see_is_listed_however_git_brings_them_together() {
    let ways: [&[&str]; 4] = [
        &["merge", "-q", "--no-edit", "--no-verify", "other"],
        &["cherry-pick", "other"],
        &["rebase", "-q", "--no-verify", "main", "other"],
        &["merge", "--squash", "other"],
    ];
    for way in ways {
        let (room, task) = edit_beside_a_command();
        // Git may stop at the field that both changed.
        let _ = room.git(way);
        room.run(&["resolve"]).data();
        let conflicts = room.run(&["conflicts", &task]).data();
        let lost: Vec<&serde_json::Value> =
            conflicts["items"].as_array().unwrap().iter().map(|item| &item["lost"]["value"]).collect();
        assert_eq!(lost, [&json!("by command")], "{way:?}: {conflicts}");
        let merged = room.get(&task);
        assert_eq!((&merged["title"], &merged["priority"]), (&json!("by hand"), &json!(3)), "{way:?}");
        room.is_clean();
    }
}

#[test]
fn a_step_by_hand_and_the_commit_that_recorded_it_are_rebased_as_they_are() {
    let (room, task) = clone_with_driver();
    room.git(&["switch", "-qc", "other"]).text();
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    fs::write(room.yaml_of(&task), format!("{text}  - by hand\n")).unwrap();
    commit(&room, "by hand");
    room.run(&["lint", "--fix"]).data();
    commit(&room, "recorded");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["task", "update", &task, "--title", "by command"]).data();
    commit(&room, "by command");
    let answer = room.git(&["rebase", "-q", "--no-verify", "main", "other"]);
    is_settled(&room, &task, &answer, "a rebase");
    assert_eq!(room.get(&task)["progress"]["total"], 2);
}

#[test]
fn without_names_of_the_sides_it_merges_by_fields() {
    let room = Sandbox::bare_repo();
    let base = "title: one\nid: 1\npriority: 1\nprogress:\n  - id: B\n    completed: false\n";
    let ours = base.replace("title: one", "title: ours").replace("priority: 1", "priority: 2")
        + "  - id: C\n    completed: false\n";
    let theirs = base.replace("title: one", "title: theirs") + "  - id: D\n    completed: true\n";
    for labels in
        [&[][..], &["%S", "%X", "%Y"], &["parent of 1a2b3c4 (x)", "HEAD", "a bare subject"], &["", "nothing", "-x"]]
    {
        for (name, text) in [("base", base), ("ours", &ours), ("theirs", &theirs)] {
            fs::write(room.repo().join(name), text).unwrap();
        }
        let path = ".agentpm/tasks/0/0/01K5R4XJ7Z0000000000000000/task.yaml";
        let args =
            [&["merge-driver", "base", "ours", "theirs", path][..], &["--"][..labels.len().min(1)], labels].concat();
        let answer = room.run(&args);
        assert_eq!(answer.code, 1, "{labels:?}: {answer:?}");
        assert!(answer.stderr.contains("both sides changed title"), "{labels:?}: {answer:?}");
        assert_eq!(
            fs::read_to_string(room.repo().join("ours")).unwrap(),
            "<<<<<<< ours\ntitle: ours\n=======\ntitle: theirs\n>>>>>>> theirs\nid: 1\npriority: 2\nprogress:\n  - id: B\n    \
             completed: false\n  - id: C\n    completed: false\n  - id: D\n    completed: true\n",
            "{labels:?}"
        );
    }
}
