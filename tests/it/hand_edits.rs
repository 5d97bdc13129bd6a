//! Files that were changed without agentpm: an edit is never lost, and never taken for something else.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, wait_for};

/// Changes a task's file by hand.
fn edit(room: &Sandbox, id: &str, from: &str, to: &str) {
    let path = room.yaml_of(id);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn codes(room: &Sandbox) -> Vec<String> {
    let report = room.run(&["lint"]);
    let report = report.json();
    let findings = report["data"]["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_edit_is_named_kept_and_recorded_on_request() {
    let room = Sandbox::new();
    let id = room.task("Fix the lock", &["--label", "old"]);
    edit(&room, &id, "title: Fix the lock\n", "title: Fix both locks\n");
    edit(&room, &id, "type: feature\n", "type: bugfix\npriority: 2\n");
    edit(&room, &id, "  - old\n", "  - new\n");
    let edited = fs::read(room.yaml_of(&id)).unwrap();

    assert_eq!(codes(&room), ["task-yaml-edited"]);
    assert_eq!(fs::read(room.yaml_of(&id)).unwrap(), edited, "looking writes nothing");
    room.run(&["lint", "--fix"]).data();
    let task = room.get(&id);
    assert_eq!((task["title"].as_str(), task["type"].as_str()), (Some("Fix both locks"), Some("bugfix")));
    assert_eq!((task["priority"].as_i64(), task["labels"][0].as_str()), (Some(2), Some("new")));
    let events = room.run(&["log", &id, "--type", "TaskUpdated"]).data();
    assert_eq!(events["items"][0]["why"], "hand edit");
    room.is_clean();
}

#[test]
fn an_edit_follows_the_events_that_its_file_showed() {
    let room = Sandbox::new();
    let id = room.task("Fix the lock", &[]);
    let shown = room.run(&["log", &id]).data()["items"][0].clone();
    edit(&room, &id, "title: Fix the lock\n", "title: Fix both locks\n");
    // Meanwhile an event of another clone arrives; the file keeps the edit, so it does not show the event.
    let arrived = json!({
        "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": 99, "type": "TaskUpdated", "entity": format!("task/{id}"),
        "parents": [shown["id"]], "agent": "bob", "at": "2026-11-20T10:00:00Z", "payload": {"set": {"title": "Fix it"}}});
    room.feed(&["sync", "push", "--file", "-"], arrived.to_string().as_bytes()).data();
    room.run(&["lint", "--fix"]).data();

    let events = room.run(&["log", &id, "--type", "TaskUpdated"]).data();
    let edits: Vec<&Value> = events["items"].as_array().unwrap().iter().filter(|e| e["why"] == "hand edit").collect();
    assert_eq!((edits.len(), &edits[0]["parents"]), (1, &json!([shown["id"]])), "{events:#}");
    assert_eq!(room.get(&id)["title"], "Fix both locks", "of two that saw nothing of each other, the later");
    let lost = room.run(&["conflicts"]).data();
    assert!(lost.to_string().contains("Fix it"), "{lost:#}");
    room.is_clean();
}

#[test]
fn an_edit_that_only_a_command_may_make_stays_where_it_is() {
    let room = Sandbox::new();
    let id = room.task("Fix the lock", &[]);
    edit(&room, &id, "status: open\n", "status: completed\n");
    let edited = fs::read(room.yaml_of(&id)).unwrap();
    let report = room.run(&["lint", "--fix"]);
    assert_eq!(report.code, 1);
    assert!(report.json()["data"]["findings"][0]["message"].as_str().unwrap().contains("status"), "{report:?}");
    assert_eq!(fs::read(room.yaml_of(&id)).unwrap(), edited);
    assert_eq!(room.get(&id)["status"], "open", "only events change anything");
}

#[test]
fn another_form_of_the_same_words_is_no_edit() {
    let room = Sandbox::new();
    let id = room.task("Fix the lock", &[]);
    edit(&room, &id, "title: Fix the lock\n", "title: 'Fix the lock'   # soon\n");
    assert_eq!(codes(&room), ["task-yaml-comment"]);
    room.run(&["note", &id, "--content", "on"]).error("ERR_CONFLICT", 5);
    room.run(&["lint", "--fix"]).data();
    let notes = room.get(&id)["context"].to_string();
    assert!(notes.contains("line 1: soon"), "{notes}");
    room.is_clean();
}

#[test]
fn a_file_that_is_missing_or_in_conflict_is_rendered_again() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let old = fs::read(room.yaml_of(&id)).unwrap();
    room.run(&["task", "update", &id, "--title", "two"]).data();
    let now = fs::read(room.yaml_of(&id)).unwrap();
    fs::remove_file(room.yaml_of(&id)).unwrap();
    assert_eq!(codes(&room), ["task-yaml-missing"]);
    room.run(&["lint", "--fix"]).data();
    assert_eq!(fs::read(room.yaml_of(&id)).unwrap(), now);
    let conflict = [b"<<<<<<< ours\n", &now[..], b"=======\n", &now[..], b">>>>>>> theirs\n"].concat();
    for mend in [&["lint", "--fix"][..], &["progress", "add", &id, "--content", "on"]] {
        fs::write(room.yaml_of(&id), &conflict).unwrap();
        assert_eq!(codes(&room), ["task-yaml-conflict"]);
        room.run(mend).data();
        room.is_clean();
    }
    assert_ne!(old, now);
}

#[test]
fn a_file_that_git_left_behind_its_log_is_rendered_again() {
    for mend in [&["lint", "--fix"][..], &["resolve"], &["note", "ID", "--content", "on"]] {
        let room = Sandbox::new();
        let id = room.task("one", &[]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-qm", "the plan"]).text();
        room.git(&["switch", "-qc", "other"]).text();
        room.run(&["task", "update", &id, "--title", "two"]).data();
        room.git(&["commit", "-qam", "a title"]).text();
        room.git(&["switch", "-q", "-"]).text();
        for title in ["three", "four"] {
            room.run(&["task", "update", &id, "--title", title]).data();
        }
        room.git(&["commit", "-qam", "another title"]).text();
        // The newer title is the one that the merge drops from the file.
        room.git(&["merge", "-q", "--no-edit", "-X", "theirs", "other"]).text();
        assert_eq!(codes(&room), ["task-yaml-stale"]);
        let args: Vec<&str> = mend.iter().map(|arg| if *arg == "ID" { &id } else { *arg }).collect();
        room.run(&args).data();
        assert_eq!(room.get(&id)["title"], "four");
        room.is_clean();
    }
}

#[test]
fn an_edit_back_to_an_older_value_is_an_edit() {
    let room = Sandbox::new();
    let id = room.task("one", &["--priority", "1"]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    room.run(&["task", "update", &id, "--title", "two"]).data();
    edit(&room, &id, "title: two\n", "title: one\n");
    assert_eq!(codes(&room), ["task-yaml-edited"]);
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(&id)["title"], "one");
    room.is_clean();
}

#[test]
fn deliberately_discarded_changes_stay_discarded() {
    let room = Sandbox::new();
    let id = room.task("kept", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    room.run(&["task", "update", &id, "--title", "thrown away"]).data();
    room.git(&["checkout", "--", "."]).text();
    room.task("another", &[]);
    assert_eq!(room.get(&id)["title"], "kept");
    room.is_clean();
}

#[test]
fn a_file_committed_without_its_log_is_reported_as_not_restored() {
    let room = Sandbox::new();
    room.task("first", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    let id = room.task("second", &[]);
    room.git(&["add", &room.yaml_of(&id).display().to_string()]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "half of it"]).text();
    room.git(&["switch", "-qc", "other"]).text();
    room.git(&["stash", "-q", "-u"]).text();
    let fixed = room.run(&["lint", "--fix"]).json();
    assert!(!fixed.to_string().contains("files restored"), "{fixed:#}");
    let refused = fixed["data"]["refused"][0].clone();
    assert!(
        refused["task"] == id.as_str() && refused["message"].as_str().unwrap().contains("without its log"),
        "{fixed:#}"
    );
}

#[test]
fn lists_mark_tasks_whose_edits_are_not_recorded() {
    let room = Sandbox::new();
    let (edited, other) = (room.task("before", &["--priority", "2"]), room.task("other", &[]));
    let lists: [&[&str]; 5] = [&["ls"], &["ready"], &["search", "before"], &["graph"], &["status"]];
    for args in lists {
        let answer = room.run_short(args).stdout;
        assert!(!answer.contains("unrecorded_edit"), "{args:?}: {answer}");
    }
    // Files that were compared once are not read again, but a later edit is seen.
    let written = fs::metadata(room.yaml_of(&other)).unwrap().modified().unwrap();
    wait_for("the files are older than the grain of a clock", || written.elapsed().unwrap().as_millis() > 20);
    room.run(&["ls"]).data();
    edit(&room, &edited, "before", "after");
    for args in lists {
        let data = room.run_short(args).data();
        assert_eq!(data["unrecorded_edits"], 1, "{args:?}: {data}");
        let items = ["items", "nodes", "ready"].into_iter().find_map(|key| data[key].as_array()).unwrap();
        let marked: Vec<&Value> = items.iter().filter(|item| item["unrecorded_edit"] == true).collect();
        assert!(marked.len() == 1 && marked[0]["title"] == "before", "{args:?}: {data}");
        let words = room.run(&[args, &["--format", if args[0] == "graph" { "tree" } else { "table" }]].concat());
        assert!(words.text().contains("* 1 task was edited by hand"), "{words:?}");
        assert!(args[0] == "graph" || words.text().contains(&format!("{}*", &edited[20..])), "{words:?}");
    }
    let next = room.run(&["next"]);
    assert!(next.stdout.contains("was edited by hand (title)"), "{next:?}");
    assert_eq!(room.run_short(&["next"]).data()["task"]["unrecorded_edit"], true);
    // One that only touches the file is none.
    let text = fs::read(room.yaml_of(&other)).unwrap();
    fs::write(room.yaml_of(&other), text).unwrap();
    assert_eq!(room.run(&["ls"]).data()["unrecorded_edits"], 1);
    room.run(&["lint", "--fix"]).data();
    assert!(room.run(&["ls"]).data().get("unrecorded_edits").is_none());
    assert_eq!(room.run(&["ls"]).data()["items"][0]["title"], "after");
}
