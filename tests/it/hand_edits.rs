//! Files that were changed without agentpm: an edit is never lost, and never taken for something else.

use std::fs;

use crate::sandbox::Sandbox;

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
    assert!(notes.contains("line 2: soon"), "{notes}");
    room.is_clean();
}

#[test]
fn a_file_that_is_missing_behind_or_in_conflict_is_drawn_again() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let old = fs::read(room.yaml_of(&id)).unwrap();
    room.run(&["task", "update", &id, "--title", "two"]).data();
    let mut now = fs::read(room.yaml_of(&id)).unwrap();
    let conflict = [b"<<<<<<< ours\n", &old[..], b"=======\n", &now[..], b">>>>>>> theirs\n"].concat();
    for (state, code) in
        [(None, "task-yaml-missing"), (Some(old), "task-yaml-stale"), (Some(conflict), "task-yaml-conflict")]
    {
        match &state {
            None => fs::remove_file(room.yaml_of(&id)).unwrap(),
            Some(bytes) => fs::write(room.yaml_of(&id), bytes).unwrap(),
        }
        assert_eq!(codes(&room), [code]);
        room.run(&["lint", "--fix"]).data();
        assert_eq!(fs::read(room.yaml_of(&id)).unwrap(), now);
        if let Some(bytes) = state {
            fs::write(room.yaml_of(&id), bytes).unwrap();
            room.run(&["progress", "add", &id, "--content", "on"]).data();
            room.is_clean();
            now = fs::read(room.yaml_of(&id)).unwrap();
        }
    }
}

#[test]
fn what_was_thrown_away_on_purpose_stays_thrown_away() {
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
