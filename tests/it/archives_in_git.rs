//! Archives in git: compactions on several branches, late changes, reverts, renames, `sync`, and the gate.

use std::fs;

use serde_json::{Value, json};

use crate::compaction::{Closed, commit};
use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

/// How git merges: with the attributes of the store, or as a hosting site does, without.
const WAYS: [bool; 2] = [true, false];

fn closed(attributes: bool) -> Closed {
    let room = Sandbox::new();
    if !attributes {
        fs::create_dir_all(room.repo().join(".git/info")).unwrap();
        fs::write(room.repo().join(".git/info/attributes"), ".agentpm/** -merge\n.agentpm/** merge\n").unwrap();
    }
    Closed::in_room(room)
}

fn branch(room: &Sandbox, name: &str) {
    room.git(&["checkout", "-q", "-b", name, "main"]).text();
}

fn switch(room: &Sandbox, name: &str) {
    room.git(&["checkout", "-q", name]).text();
}

/// Merges a branch, resolves what is in conflict, and commits.
fn merge(room: &Sandbox, name: &str) {
    let merged = room.git(&["merge", "-q", "--no-edit", name]);
    let resolved = room.run(&["resolve"]);
    resolved.data();
    if merged.code != 0 {
        assert_eq!(room.git(&["ls-files", "--unmerged"]).text(), "", "{merged:?} {resolved:?}");
        room.git(&["commit", "-q", "--no-edit"]).text();
    }
    if !room.git(&["status", "--porcelain"]).text().is_empty() {
        commit(room, "resolve");
    }
}

/// The number of events that each task has, and its status.
fn counts(room: &Sandbox) -> Vec<(String, String, u64)> {
    let listed = room.run(&["ls", "--all"]).data();
    let of = |task: &Value| {
        let id = task["id"].as_str().unwrap();
        let whole = room.get(id);
        let text = |key: &str| whole[key].as_str().unwrap().to_owned();
        let events = room.run(&["log", id, "--all"]).data()["items"].as_array().unwrap().len() as u64;
        (text("title"), text("status"), events)
    };
    let mut all: Vec<_> = listed["items"].as_array().unwrap().iter().map(of).collect();
    all.sort();
    all
}

/// The events that files hold, each once; none is in two archives.
fn is_sorted(room: &Sandbox) {
    let mut seen = std::collections::BTreeSet::new();
    for entry in fs::read_dir(room.store().join("archive")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut last = None;
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
            let key = (event["entity"].to_string(), event["lamport"].as_u64(), event["id"].to_string());
            assert!(seen.insert(key.2.clone()), "{line} twice");
            assert!(last <= Some(key.clone()), "{line}");
            last = Some(key);
        }
    }
}

#[test]
fn two_branches_compact_at_once() {
    for attributes in WAYS {
        let closed = closed(attributes);
        let room = &closed.room;
        let before = counts(room);
        branch(room, "other");
        room.run(&["task", "archive", &closed.done]).data();
        room.run(&["compact", "--older-than", "0s"]).data();
        commit(room, "compact more");
        switch(room, "main");
        closed.compact();
        commit(room, "compact");
        merge(room, "other");
        is_sorted(room);
        room.is_clean();
        let after = counts(room);
        let total = |all: &[(String, String, u64)]| all.iter().map(|(.., events)| events).sum::<u64>();
        assert_eq!((after.len(), total(&after)), (before.len(), total(&before) + 1), "{after:?}");
        assert_eq!(fs::read_dir(room.store().join("archive")).unwrap().count(), 2);
    }
}

#[test]
fn a_change_beside_a_compaction_brings_the_task_back() {
    for (attributes, into_main) in [(true, true), (true, false), (false, true), (false, false)] {
        let closed = closed(attributes);
        let room = &closed.room;
        let events = fs::read_to_string(room.log_of(&closed.first)).unwrap().lines().count();
        branch(room, "late");
        room.run(&["task", "reopen", &closed.first, "--reason", "it broke"]).data();
        room.run(&["task", "update", &closed.first, "--title", "late title"]).data();
        commit(room, "late");
        switch(room, "main");
        closed.compact();
        commit(room, "compact");
        let (ours, theirs) = if into_main { ("main", "late") } else { ("late", "main") };
        switch(room, ours);
        merge(room, theirs);
        let task = room.get(&closed.first);
        assert_eq!(
            (&task["status"], &task["title"]),
            (&json!("open"), &json!("late title")),
            "{attributes} {into_main}"
        );
        assert_eq!(fs::read_to_string(room.log_of(&closed.first)).unwrap().lines().count(), events + 2);
        assert!(!room.task_dir(&closed.second).exists() && closed.archive().exists());
        room.is_clean();
        assert_eq!(room.run(&["lint", "--base", "HEAD^1"]).data()["errors"], 0);
    }
}

#[test]
fn a_rebase_over_a_compaction_keeps_the_late_change() {
    for attributes in WAYS {
        let closed = closed(attributes);
        let room = &closed.room;
        branch(room, "late");
        room.run(&["note", &closed.first, "--content", "late note"]).data();
        commit(room, "late");
        switch(room, "main");
        closed.compact();
        commit(room, "compact");
        switch(room, "late");
        if room.git(&["rebase", "-q", "main"]).code != 0 {
            room.run(&["resolve"]).data();
            room.git(&["-c", "core.editor=true", "rebase", "--continue"]).text();
        }
        room.run(&["resolve"]).data();
        assert_eq!(room.get(&closed.first)["context"].as_array().unwrap().len(), 3);
        room.is_clean();
    }
}

#[test]
fn a_revert_of_a_compaction_is_harmless() {
    let closed = Closed::new();
    let room = &closed.room;
    let before = counts(room);
    closed.compact();
    commit(room, "compact");
    branch(room, "aside");
    fs::write(room.repo().join("code.txt"), "x").unwrap();
    commit(room, "code");
    switch(room, "main");
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    assert_eq!(counts(room), before);
    room.run(&["note", &closed.done, "--content", "a change looks after git"]).data();
    assert!(room.task_dir(&closed.first).exists() && !closed.archive().exists());
    room.is_clean();
    commit(room, "note");
    merge(room, "aside");
    room.is_clean();
    let mut expected = before.clone();
    expected.iter_mut().filter(|(title, ..)| title == "only completed").for_each(|(.., events)| *events += 1);
    assert_eq!(counts(room), expected);
    assert_eq!(room.run(&["compact"]).data()["tasks"], 2);
    room.is_clean();
    assert_eq!(counts(room), expected);
}

#[test]
fn a_rename_guessed_by_git_moves_no_edit_into_another_task() {
    for (attributes, driver) in [(true, true), (true, false), (false, false)] {
        let closed = closed(attributes);
        let room = &closed.room;
        if driver {
            room.run(&["init"]).data();
        }
        branch(room, "late");
        room.run(&["task", "update", &closed.first, "--label", "late", "--priority", "3"]).data();
        commit(room, "late");
        switch(room, "main");
        closed.compact();
        let twin = room.task("first of the closed", &["--label", "old"]);
        room.run(&["claim", &twin]).data();
        room.run(&["done", &twin, "--outcome", "it holds"]).data();
        room.run(&["task", "archive", &twin]).data();
        commit(room, "compact, and a task like the first");
        let before = (room.get(&twin), fs::read(room.yaml_of(&twin)).unwrap());
        merge(room, "late");
        assert_eq!((room.get(&twin), fs::read(room.yaml_of(&twin)).unwrap()), before, "{attributes} {driver}");
        let late = room.get(&closed.first);
        assert_eq!((&late["priority"], &late["status"]), (&json!(3), &json!("archived")), "{attributes} {driver}");
        room.is_clean();
    }
}

#[test]
fn the_driver_keeps_the_file_of_a_new_task_that_git_takes_for_a_renamed_one() {
    let intent: String = (0..60).map(|n| format!("line {n} of an intent that tasks of a kind share\n")).collect();
    for late_merges in [false, true] {
        let closed = Closed::new();
        let room = &closed.room;
        room.run(&["init"]).data();
        room.at("2026-03-10T10:00:00Z");
        let task = room.task("add the endpoint of users", &["--intent", &intent]);
        room.run(&["claim", &task]).data();
        room.run(&["done", &task]).data();
        room.run(&["task", "archive", &task]).data();
        commit(room, "one more");
        room.at("2026-11-20T10:00:00Z");
        branch(room, "late");
        room.run(&["note", &task, "late"]).data();
        commit(room, "late");
        switch(room, "main");
        closed.compact();
        let twin = room.task("add the endpoint of groups", &["--intent", &intent]);
        commit(room, "compact, and a task like the one");
        let before = fs::read_to_string(room.yaml_of(&twin)).unwrap();
        if late_merges {
            switch(room, "late");
        }
        merge(room, if late_merges { "main" } else { "late" });
        assert_eq!(fs::read_to_string(room.yaml_of(&twin)).unwrap(), before, "{late_merges}");
        room.run(&["task", "update", &twin, "--priority", "1"]).data();
        let late = room.get(&task);
        assert!(late["context"].to_string().contains("late"), "{late}");
        room.is_clean();
    }
}

#[test]
fn without_the_driver_no_value_of_a_removed_task_becomes_a_hand_edit_of_a_new_one() {
    let intent: String = (0..60).map(|n| format!("line {n} of an intent that tasks of a kind share\n")).collect();
    for late_merges in [false, true] {
        let closed = Closed::new();
        let room = &closed.room;
        room.at("2026-03-10T10:00:00Z");
        let more = ["--intent", &intent, "--label", "old", "--estimate", "1d"];
        let task = room.task("add the endpoint", &more);
        room.run(&["task", "transition", &task, "--status", "cancelled"]).data();
        room.run(&["task", "archive", &task]).data();
        commit(room, "one more");
        room.at("2026-11-20T10:00:00Z");
        branch(room, "late");
        room.run(&["task", "update", &task, "--add-label", "late", "--estimate", "9d"]).data();
        commit(room, "late");
        switch(room, "main");
        closed.compact();
        let twin = room.task("add the endpoint", &more);
        commit(room, "compact, and a task like the one");
        let before = (room.get(&twin), fs::read_to_string(room.log_of(&twin)).unwrap());
        if late_merges {
            switch(room, "late");
        }
        room.git(&["merge", "-q", "--no-edit", if late_merges { "main" } else { "late" }]).text();
        let merged = fs::read_to_string(room.yaml_of(&twin)).unwrap();
        assert!(
            merged.contains("9d") && merged.contains("- late"),
            "git takes the one for the other renamed: {merged}"
        );
        room.run(&["resolve"]).data();
        room.run(&["lint", "--fix"]).data();
        let log = fs::read_to_string(room.log_of(&twin)).unwrap();
        assert_eq!((room.get(&twin), log), before, "{late_merges}");
        assert_eq!(room.get(&task)["estimate"], "9d");
        room.is_clean();
    }
}

#[test]
fn a_branch_that_began_before_sees_that_another_one_finished_and_compacted_a_task() {
    let room = Sandbox::new();
    let task = room.task("the only one", &[]);
    commit(&room, "plan");
    branch(&room, "stale");
    let other = room.task("of the branch", &["--priority", "-3"]);
    commit(&room, "a task");
    switch(&room, "main");
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    room.run(&["task", "archive", &task]).data();
    room.run(&["compact", "--older-than", "0s"]).data();
    commit(&room, "compact");
    switch(&room, "stale");
    for _ in 0..2 {
        let next = room.run(&["next"]).data();
        assert_eq!(next["id"].as_str().or(next["task"]["id"].as_str()), Some(&*other), "{next}");
        let refused = room.run(&["claim", &task]);
        assert!(refused.code != 0 && refused.stdout.contains("main"), "{refused:?}");
    }
    merge(&room, "main");
    assert_eq!(room.get(&task)["status"], "archived");
    room.is_clean();
}

#[test]
fn a_review_follows_the_edges_of_archived_tasks() {
    let closed = Closed::new();
    let room = &closed.room;
    let waits = room.task("closed, and names another", &["--blocked-by", &closed.done]);
    room.run(&["claim", &waits]).data();
    room.run(&["done", &waits]).data();
    room.run(&["task", "archive", &waits]).data();
    room.run(&["compact", "--older-than", "0s"]).data();
    commit(room, "compact");
    branch(room, "work");
    fs::remove_dir_all(room.task_dir(&closed.done)).unwrap();
    commit(room, "without the blocker");
    let review = room.run(&["review", "main..work"]).data();
    let named = |finding: &Value| finding["code"] == "dangling-reference" && finding["task"] == json!(waits);
    assert!(review["findings"].as_array().unwrap().iter().any(named), "{review}");
}

#[test]
fn an_event_that_git_moved_into_an_archive_wakes_the_task() {
    let closed = Closed::new();
    let room = &closed.room;
    let log = room.log_of(&closed.first);
    let before = fs::read_to_string(&log).unwrap();
    room.run(&["task", "reopen", &closed.first, "--reason", "it broke"]).data();
    let late = fs::read_to_string(&log).unwrap()[before.len()..].to_owned();
    room.git(&["checkout", "-q", "--", "."]).text();
    closed.compact();
    let archive = fs::read_to_string(closed.archive()).unwrap();
    fs::write(closed.archive(), late.clone() + &archive).unwrap();
    assert_eq!(room.get(&closed.first)["status"], "open", "it is read where it is");
    assert!(room.finding_codes().contains(&"archive-form".to_owned()), "{:?}", room.finding_codes());
    room.run(&["resolve"]).data();
    assert_eq!(fs::read_to_string(&log).unwrap(), before + &late);
    room.is_clean();
}

#[test]
fn a_redaction_beside_a_compaction_reaches_the_archive() {
    for attributes in WAYS {
        let closed = closed(attributes);
        let room = &closed.room;
        let note = room.get(&closed.first)["context"][0]["id"].as_str().unwrap().to_owned();
        closed.compact();
        commit(room, "compact");
        branch(room, "work");
        room.run(&["context", "redact", &note, "--reason", "a secret"]).data();
        commit(room, "redact");
        switch(room, "main");
        // The same archive grows.
        room.at("2026-03-20T10:00:00Z");
        room.run(&["task", "archive", &closed.done]).data();
        room.at("2026-11-20T10:00:00Z");
        closed.compact();
        commit(room, "compact more");
        merge(room, "work");
        for file in [closed.archive(), room.log_of(&closed.first)] {
            assert!(!fs::read_to_string(&file).unwrap().contains("remarkable"), "{attributes}: {}", file.display());
        }
        room.is_clean();
    }
}

/// Two clones that have seen bob archive the task they share.
fn archived_before_two_clones() -> (Clones, String) {
    let (clones, shared) = Clones::new(&["bob", "eve"]);
    clones.run("bob", &["claim", &shared]).data();
    clones.run("bob", &["done", &shared, "--force", "no tests"]).data();
    clones.run("bob", &["task", "archive", &shared]).data();
    for name in ["bob", "eve"] {
        clones.run(name, &["sync"]).data();
    }
    (clones, shared)
}

#[test]
fn sync_carries_archives_both_ways() {
    let (clones, shared) = archived_before_two_clones();
    let run = |name: &str, args: &[&str]| -> Value { clones.run(name, args).data() };
    let folder =
        |name: &str| clones.dir(name).join(".agentpm/tasks").join(crate::sandbox::shard(&shared)).join(&shared);
    // Only one of them compacts.
    run("bob", &["compact", "--older-than", "0s"]);
    run("bob", &["sync"]);
    assert!(!folder("bob").exists() && folder("eve").exists());
    run("eve", &["sync"]);
    assert!(!folder("eve").exists());
    for name in ["bob", "eve"] {
        assert_eq!(run(name, &["task", "get", &shared])["status"], "archived");
        assert_eq!(run(name, &["lint"])["findings"], json!([]));
        assert_eq!(clones.git(name, &["status", "--porcelain"]).text(), "");
    }
    // One reopens it, while the other compacts once more.
    let more = run("eve", &["task", "create", "--title", "more"])["id"].as_str().unwrap().to_owned();
    run("eve", &["task", "transition", &more, "--status", "cancelled"]);
    run("eve", &["task", "archive", &more]);
    run("eve", &["compact", "--older-than", "0s"]);
    run("bob", &["task", "reopen", &shared, "--reason", "it broke"]);
    run("bob", &["sync"]);
    run("eve", &["sync"]);
    run("bob", &["sync"]);
    for name in ["bob", "eve"] {
        assert!(folder(name).exists());
        assert_eq!(run(name, &["task", "get", &shared])["status"], "open");
        assert_eq!(run(name, &["task", "get", &more])["status"], "archived");
        assert_eq!(run(name, &["lint"])["findings"], json!([]));
        assert_eq!(clones.git(name, &["status", "--porcelain"]).text(), "");
    }
    assert_eq!(crate::sync::plan(&clones, "bob"), crate::sync::plan(&clones, "eve"));
}

#[test]
fn a_sync_brings_a_change_and_a_compaction_together() {
    let (clones, shared) = archived_before_two_clones();
    let run = |name: &str, args: &[&str]| -> Value { clones.run(name, args).data() };
    run("bob", &["compact", "--older-than", "0s"]);
    run("eve", &["task", "reopen", &shared, "--reason", "it broke"]);
    run("bob", &["sync"]);
    run("eve", &["sync"]);
    run("bob", &["sync"]);
    for name in ["bob", "eve"] {
        assert_eq!(run(name, &["task", "get", &shared])["status"], "open");
        assert_eq!(run(name, &["lint"])["findings"], json!([]));
        assert_eq!(clones.git(name, &["status", "--porcelain"]).text(), "");
    }
    assert_eq!(crate::sync::plan(&clones, "bob"), crate::sync::plan(&clones, "eve"));
}

/// A branch with a compaction that was tampered with.
fn tampered(tamper: impl Fn(&Closed, &str) -> String) -> (Closed, Answer) {
    let closed = Closed::new();
    branch(&closed.room, "work");
    closed.compact();
    let archive = fs::read_to_string(closed.archive()).unwrap();
    fs::write(closed.archive(), tamper(&closed, &archive)).unwrap();
    commit(&closed.room, "compact");
    let answer = closed.room.run(&["lint", "--base", "main"]);
    (closed, answer)
}

fn codes(answer: &Answer) -> Vec<String> {
    let data = answer.json()["data"].clone();
    let mut codes: Vec<String> =
        data["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes.dedup();
    codes
}

#[test]
fn the_gate_accepts_a_compaction() {
    let (closed, answer) = tampered(|_, archive| archive.to_owned());
    assert_eq!((codes(&answer), answer.code), (Vec::new(), 0), "{answer:?}");
    let review = closed.room.run(&["review", "main..work"]).data();
    assert_eq!((&review["items"], &review["summary"]["missing"]), (&json!([]), &json!(0)), "{review}");
    assert_eq!(closed.room.run(&["diff", "main", "work"]).data()["items"], json!([]));
}

#[test]
fn the_gate_finds_what_a_compaction_drops() {
    let (_, answer) = tampered(|closed, archive| {
        let first = format!("task/{}", closed.first);
        archive.lines().filter(|line| !line.contains(&first)).map(|line| format!("{line}\n")).collect()
    });
    assert!(codes(&answer).contains(&"task-deleted".to_owned()) && answer.code == 1, "{answer:?}");
    let (_, answer) = tampered(|_, archive| {
        let kept = archive.lines().filter(|line| !line.contains("remarkable"));
        kept.map(|line| format!("{line}\n")).collect()
    });
    assert!(codes(&answer).contains(&"log-rewritten".to_owned()) && answer.code == 1, "{answer:?}");
}

#[test]
fn the_gate_finds_what_a_compaction_changes() {
    let (_, answer) = tampered(|_, archive| archive.replace("remarkable", "unremarkable"));
    assert!(codes(&answer).contains(&"log-rewritten".to_owned()) && answer.code == 1, "{answer:?}");
}

#[test]
fn the_gate_judges_a_new_event_in_an_archive() {
    let room = Sandbox::new();
    room.run(&["agent", "register", "--name", "ada", "--role", "planner"]).data();
    room.run(&["agent", "register", "--name", "eve", "--role", "reader"]).data();
    let closed = Closed::in_room(room);
    let room = &closed.room;
    let roles = "agents:\n  ada: {perms: [create, update, relate, comment, claim, complete, archive, admin]}\nroles:\n  reader: {perms: []}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    commit(room, "roles");
    branch(room, "work");
    // Roles are asked by the commands too, so the event is written without them.
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("eve", &["task", "reopen", &closed.first, "--reason", "mine"]).data();
    let late = fs::read_to_string(room.log_of(&closed.first)).unwrap().lines().last().unwrap().to_owned();
    room.git(&["checkout", "-q", "--", "."]).text();
    closed.compact();
    let archive = fs::read_to_string(closed.archive()).unwrap();
    fs::write(closed.archive(), format!("{archive}{late}\n")).unwrap();
    commit(room, "compact");
    let answer = room.run(&["lint", "--base", "main"]);
    assert!(codes(&answer).contains(&"not-permitted".to_owned()) && answer.code == 1, "{answer:?}");
    let review = room.run(&["review", "main..work"]).data();
    assert_eq!(review["items"].as_array().unwrap().len(), 1, "{review}");
}

/// A repository where eve may do nothing, on a branch of its own.
fn without_rights_for_eve() -> (Sandbox, String) {
    let room = Sandbox::new();
    room.run(&["agent", "register", "--name", "ada", "--role", "planner"]).data();
    room.run(&["agent", "register", "--name", "eve", "--role", "reader"]).data();
    let task = room.task("in its folder", &[]);
    let roles = "agents:\n  ada: {perms: [admin]}\nroles:\n  reader: {perms: []}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    commit(&room, "roles");
    branch(&room, "work");
    (room, task)
}

#[test]
fn the_gate_judges_a_line_in_an_archive_of_a_task_that_has_its_folder() {
    let (room, task) = without_rights_for_eve();
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("eve", &["cancel", &task, "--why", "mine"]).data();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let (before, late) = log.trim_end().rsplit_once('\n').unwrap();
    room.git(&["checkout", "-q", "--", "."]).text();
    fs::write(room.log_of(&task), format!("{before}\n")).unwrap();
    fs::create_dir_all(room.store().join("archive")).unwrap();
    fs::write(room.store().join("archive/2026-03.jsonl"), format!("{late}\n")).unwrap();
    room.git(&["add", "-A"]).text();
    let staged = room.run(&["lint", "--staged"]);
    assert!(codes(&staged).contains(&"not-permitted".to_owned()) && staged.code == 1, "{staged:?}");
    commit(&room, "late");
    let answer = room.run(&["lint", "--base", "main"]);
    assert!(codes(&answer).contains(&"not-permitted".to_owned()) && answer.code == 1, "{answer:?}");
}

#[test]
fn the_gate_finds_a_task_that_is_recorded_as_dropped_and_is_there() {
    let (room, task) = without_rights_for_eve();
    fs::create_dir_all(room.store().join("archive")).unwrap();
    let record = json!({"archive": "archive/2026-03.jsonl", "at": "2026-11-20T10:00:00Z", "by": "ada", "events": 1,
        "bytes": 1, "sha256": "00", "tasks": [task]});
    fs::write(room.store().join("archive/dropped.jsonl"), format!("{record}\n")).unwrap();
    commit(&room, "drop");
    let answer = room.run(&["lint", "--base", "main"]);
    assert!(codes(&answer).contains(&"log-rewritten".to_owned()) && answer.code == 1, "{answer:?}");
    assert!(answer.stdout.contains("records it as dropped"), "{answer:?}");
    let review = room.run(&["review", "main..work"]);
    assert!(review.stdout.contains("records it as dropped"), "{review:?}");
}

#[test]
fn a_staged_task_may_name_an_archived_one() {
    let closed = Closed::new();
    let room = &closed.room;
    closed.compact();
    commit(room, "compact");
    let new = room.task("a new one", &["--blocked-by", &closed.first]);
    room.run(&["task", "relate", &new, "--to", &closed.second, "--type", "relates_to"]).data();
    room.git(&["add", "-A"]).text();
    let answer = room.run(&["lint", "--staged"]);
    assert_eq!((codes(&answer), answer.code), (Vec::new(), 0), "{answer:?}");
    let yaml = fs::read_to_string(room.yaml_of(&new)).unwrap();
    fs::write(room.yaml_of(&new), yaml.replace("a new one", "renamed by hand")).unwrap();
    room.git(&["add", "-A"]).text();
    let answer = room.run(&["lint", "--staged"]);
    assert_eq!(codes(&answer), ["task-yaml-edited"], "{answer:?}");
    assert!(!answer.stdout.contains("refusal"), "{answer:?}");
}

#[test]
fn a_staged_compaction_passes_the_hook() {
    let closed = Closed::new();
    let room = &closed.room;
    closed.compact();
    room.git(&["add", "-A"]).text();
    let answer = room.run(&["lint", "--staged"]);
    assert_eq!((codes(&answer), answer.code), (Vec::new(), 0), "{answer:?}");
    let archive = fs::read_to_string(closed.archive()).unwrap();
    let kept: String = archive.lines().filter(|l| !l.contains("remarkable")).map(|l| format!("{l}\n")).collect();
    fs::write(closed.archive(), kept).unwrap();
    room.git(&["add", "-A"]).text();
    let answer = room.run(&["lint", "--staged"]);
    assert!(codes(&answer).contains(&"log-rewritten".to_owned()), "{answer:?}");
}
