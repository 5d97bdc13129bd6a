//! Events that every branch has lost are named, and brought back as they were.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, shard};

fn commit(room: &Sandbox, words: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", words]).text();
}

/// A room with one task on main, committed.
fn room_of_one() -> (Sandbox, String) {
    let room = Sandbox::new();
    let id = room.task("kept", &[]);
    commit(&room, "the plan");
    (room, id)
}

/// What doctor says of lost events.
#[track_caller]
fn doctor(room: &Sandbox) -> Value {
    let checks = room.run(&["doctor"]).json()["data"]["checks"].clone();
    checks.as_array().unwrap().iter().find(|c| c["check"] == "events").unwrap_or_else(|| panic!("{checks}")).clone()
}

#[track_caller]
fn lost(room: &Sandbox) -> Vec<Value> {
    let list = room.run(&["recover"]).data();
    let items = list["items"].as_array().unwrap().clone();
    assert_eq!((&list["total"], &list["truncated"]), (&json!(items.len()), &json!(false)));
    items
}

#[track_caller]
fn nothing_is_lost(room: &Sandbox) {
    assert_eq!(lost(room), Vec::<Value>::new());
    assert!(doctor(room)["found"].as_str().unwrap().starts_with("every event of the journal is in a log"));
}

#[test]
fn a_hard_reset_is_named_by_doctor_and_taken_back_by_recover() {
    let (room, kept) = room_of_one();
    let gone = room.task("gone", &["--acceptance", "it works"]);
    room.run(&["context", "add", &kept, "--type", "decision", "--content", "flock"]).data();
    room.run(&["agent", "register", "--name", "ada", "--role", "executor"]).data();
    nothing_is_lost(&room);
    commit(&room, "more");
    nothing_is_lost(&room);
    let (whole, readable) = (fs::read(room.log_of(&kept)).unwrap(), fs::read(room.yaml_of(&gone)).unwrap());
    room.git(&["reset", "-q", "--hard", "HEAD~1"]).text();
    assert!(!room.task_dir(&gone).exists());

    let said = doctor(&room);
    let words = said["found"].as_str().unwrap();
    assert!(words.starts_with("no branch or worktree holds 3 acknowledged events"), "{words}");
    assert!(words.contains(&gone[20..]) && words.contains(&kept[20..]) && words.contains("agent/ada"), "{words}");
    assert!(said["mend"].as_str().unwrap().starts_with("agentpm recover"));
    let items = lost(&room);
    let kinds: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["TaskCreated", "ContextAdded", "AgentRegistered"]);
    assert_eq!(
        (&items[0]["task"], &items[0]["title"], &items[0]["agent"]),
        (&json!(gone), &json!("gone"), &json!("ada"))
    );
    assert_eq!((&items[1]["task"], &items[1]["title"]), (&json!(kept), &json!("kept")));
    assert_eq!((&items[1]["handle"], &items[0]["what"]), (&json!(kept[20..]), &json!("created the task “gone”")));
    assert_eq!(items[1]["what"], "added a context entry (decision) “flock”");
    let words = room.run(&["recover", "--format", "table"]).text().to_owned();
    assert!(words.contains(&kept[20..]) && words.contains("(decision) “flock”"), "{words}");

    // One task, named by its handle though its folder is gone.
    let back = room.run(&["recover", "--task", &gone[20..]]).data();
    assert_eq!((&back["total"], &back["entities"]), (&json!(1), &json!([format!("task/{gone}")])));
    assert_eq!(fs::read(room.yaml_of(&gone)).unwrap(), readable);
    room.is_clean();
    let back = room.run(&["recover", "--all"]).data();
    assert_eq!((&back["total"], &back["missing"]), (&json!(2), &Value::Null));
    assert_eq!(fs::read(room.log_of(&kept)).unwrap(), whole);
    room.is_clean();
    nothing_is_lost(&room);
    // What comes after stands after what was brought back.
    room.run(&["progress", "add", &kept, "--content", "step"]).data();
    room.is_clean();
}

#[test]
fn recovering_twice_changes_nothing() {
    let (room, kept) = room_of_one();
    room.run(&["task", "update", &kept, "--priority", "2"]).data();
    room.git(&["checkout", "-q", "--", ".agentpm"]).text();
    let event = lost(&room)[0]["id"].as_str().unwrap().to_owned();
    let journal = fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
    assert_eq!(room.run(&["recover", &event]).data()["items"], json!([event]));
    assert_eq!(room.get(&kept)["priority"], 2);
    let after = fs::read(room.log_of(&kept)).unwrap();
    for again in [&["recover", &event][..], &["recover", "--task", &kept], &["recover", "--all"]] {
        assert_eq!(room.run(again).data()["total"], 0, "{again:?}");
    }
    assert_eq!(fs::read(room.log_of(&kept)).unwrap(), after);
    assert_eq!(fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap(), journal, "the journal knows them");
    room.run(&["recover", "01K5R4XJ7Z0000000000000000"]).error("ERR_NOT_FOUND", 3);
    room.run(&["recover", "--task", "ZZZZZZ"]).error("ERR_NOT_FOUND", 3);
    room.is_clean();
}

#[test]
fn recover_restores_an_event_with_its_ancestors_only() {
    let (room, kept) = room_of_one();
    let gone = room.task("gone", &[]);
    room.run(&["progress", "add", &gone, "--content", "one"]).data();
    let two = room.run(&["progress", "add", &gone, "--content", "two"]).data()["id"].as_str().unwrap().to_owned();
    room.run(&["progress", "add", &gone, "--content", "three"]).data();
    room.run(&["context", "add", &kept, "--type", "note", "--content", "not asked for"]).data();
    room.git(&["checkout", "-q", "--", "."]).text();
    room.git(&["clean", "-qfd"]).text();
    assert_eq!(lost(&room).len(), 5);
    assert_eq!(room.run(&["recover", &two]).data()["total"], 3);
    let steps = room.get(&gone)["progress"]["items"].clone();
    assert_eq!((steps.as_array().unwrap().len(), &steps[1]["content"]), (2, &json!("two")));
    assert_eq!(lost(&room).len(), 2);
    room.is_clean();
}

#[test]
fn events_of_any_ref_or_worktree_are_not_lost() {
    let (room, kept) = room_of_one();
    let note = |content: &str| room.run(&["context", "add", &kept, "--type", "note", "--content", content]).data();
    let throw_away = || room.git(&["checkout", "-q", "--", "."]).text().to_owned();

    room.git(&["checkout", "-q", "-b", "side"]).text();
    note("on a branch");
    commit(&room, "side");
    room.git(&["checkout", "-q", "main"]).text();
    nothing_is_lost(&room);
    let event =
        room.git(&["show", &format!("side:.agentpm/tasks/{}/{kept}/events.jsonl", shard(&kept))]).text().to_owned();
    let event: Value = serde_json::from_str(event.lines().last().unwrap()).unwrap();
    room.run(&["recover", event["id"].as_str().unwrap()]).error("ERR_INVALID_STATE", 4);
    room.git(&["tag", "-a", "-m", "kept", "kept-by-tag", "side"]).text();
    room.git(&["branch", "-q", "-D", "side"]).text();
    nothing_is_lost(&room);
    room.git(&["update-ref", "refs/remotes/origin/side", "kept-by-tag^{commit}"]).text();
    room.git(&["tag", "-d", "kept-by-tag"]).text();
    nothing_is_lost(&room);
    room.git(&["update-ref", "-d", "refs/remotes/origin/side"]).text();
    assert_eq!(lost(&room).len(), 1);
    room.run(&["recover", "--all"]).data();
    commit(&room, "back");

    // Two stashes, one of them with a task that git did not know.
    note("in the first stash");
    room.git(&["stash", "-q"]).text();
    let stashed = room.task("in the second stash", &[]);
    room.git(&["stash", "-q", "-u"]).text();
    assert!(!room.task_dir(&stashed).exists());
    nothing_is_lost(&room);
    room.git(&["stash", "drop", "-q", "stash@{1}"]).text();
    assert_eq!(lost(&room).len(), 1);
    room.git(&["stash", "clear"]).text();
    assert_eq!(lost(&room).len(), 2);
    room.run(&["recover", "--all"]).data();
    commit(&room, "back again");

    // A worktree holds what it has not committed; when it is gone, so is that.
    let there = room.beside("there");
    room.git(&["worktree", "add", "-q", "-b", "wt", there.to_str().unwrap()]).text();
    room.run_in(&there, &["context", "add", &kept, "--type", "note", "--content", "over there"]).data();
    nothing_is_lost(&room);
    room.git(&["worktree", "remove", "--force", there.to_str().unwrap()]).text();
    assert_eq!(lost(&room).len(), 1);
    room.run(&["recover", "--all"]).data();
    note("not committed");
    throw_away();
    assert_eq!(lost(&room).len(), 2);
    room.run(&["recover", "--all"]).data();
    assert_eq!(room.get(&kept)["context"].as_array().unwrap().len(), 4);
    room.is_clean();
}

#[test]
fn a_merge_that_took_ours_and_a_dropped_commit_lose_nothing_for_good() {
    let (room, kept) = room_of_one();
    room.git(&["checkout", "-q", "-b", "side"]).text();
    let made = room.task("made on the side", &[]);
    commit(&room, "side");
    room.git(&["checkout", "-q", "main"]).text();
    room.git(&["commit", "-q", "--allow-empty", "-m", "meanwhile"]).text();
    room.git(&["merge", "-q", "-s", "ours", "-m", "ours", "side"]).text();
    room.git(&["branch", "-q", "-D", "side"]).text();
    assert_eq!(lost(&room)[0]["task"], made.as_str());
    room.run(&["recover", "--all"]).data();
    nothing_is_lost(&room);
    assert_eq!(room.get(&made)["title"], "made on the side");
    commit(&room, "back");

    room.run(&["task", "update", &kept, "--priority", "4"]).data();
    commit(&room, "to be dropped");
    room.run(&["progress", "add", &kept, "--content", "stays"]).data();
    commit(&room, "stays");
    let rebased = room.git(&["rebase", "-q", "--onto", "HEAD~2", "HEAD~1"]);
    if rebased.code != 0 {
        // Without the merge driver git leaves task.yaml in conflict; its log knows what is here.
        room.run(&["resolve"]).data();
        room.git(&["add", "-A"]).text();
        room.git(&["-c", "core.editor=true", "rebase", "--continue"]).text();
    }
    room.run(&["recover", "--all"]).data();
    nothing_is_lost(&room);
    assert_eq!((&room.get(&kept)["priority"], &room.get(&kept)["progress"]["total"]), (&json!(4), &json!(1)));
    room.is_clean();
}

#[test]
fn a_redacted_secret_is_not_lost_and_does_not_come_back() {
    let (room, kept) = room_of_one();
    let entry = room.run(&["context", "add", &kept, "--type", "note", "--content", "hunter2"]).data();
    let entry = entry["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "a password"]).data();
    nothing_is_lost(&room);
    room.git(&["checkout", "-q", "--", "."]).text();
    assert!(!room.run(&["recover"]).stdout.contains("hunter2"));
    // Asked for alone, it comes with what took its text out.
    assert_eq!(room.run(&["recover", &entry]).data()["total"], 2);
    assert!(!fs::read_to_string(room.log_of(&kept)).unwrap().contains("hunter2"));
    room.is_clean();
}

#[test]
fn recover_restores_events_of_the_named_store_only() {
    let (room, _) = room_of_one();
    fs::create_dir_all(room.repo().join("sub")).unwrap();
    room.run(&["init", "--store", "sub"]).data();
    let inner = room.run(&["task", "create", "--title", "inner", "--quiet", "--store", "sub"]).text().to_owned();
    fs::remove_dir_all(room.repo().join("sub/.agentpm/tasks")).unwrap();
    nothing_is_lost(&room);
    let list = room.run(&["recover", "--store", "sub"]).data();
    assert_eq!((&list["total"], &list["items"][0]["task"]), (&json!(1), &json!(inner)));
    room.run(&["recover", "--all", "--store", "sub"]).data();
    assert_eq!(room.run(&["show", &inner, "--store", "sub"]).data()["title"], "inner");
}

#[test]
fn the_list_is_a_page_that_goes_on() {
    let (room, kept) = room_of_one();
    for n in 0..5 {
        room.run(&["progress", "add", &kept, "--content", &n.to_string()]).data();
    }
    room.git(&["checkout", "-q", "--", "."]).text();
    let first = room.run(&["recover", "--limit", "2"]).data();
    assert_eq!((&first["total"], &first["truncated"]), (&json!(5), &json!(true)));
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = room.run(&["recover", "--limit", "9", "--cursor", cursor]).data();
    assert_eq!((second["items"].as_array().unwrap().len(), &second["next_cursor"]), (3, &Value::Null));
    room.run(&["recover", "--cursor", "x"]).error("ERR_USAGE", 2);
    // A journal that was put aside is searched too.
    let journal = room.repo().join(".git/agentpm/journal.jsonl");
    fs::rename(&journal, journal.with_file_name("journal.1.jsonl")).unwrap();
    assert_eq!(room.run(&["recover"]).data()["total"], 5);
    assert_eq!(room.run(&["recover", "--all"]).data()["total"], 5);
    room.is_clean();
}

#[test]
fn a_log_that_was_emptied_or_overwritten_comes_back_with_what_was_not_committed_and_its_file_stays() {
    for (text, stages) in
        [("", false), ("", true), ("garbage", true), ("garbage", false), ("garbage\n", false), ("garbage\n", true)]
    {
        for command in [&["lint", "--fix"][..], &["resolve"], &["sync", "--no-push"]] {
            let room = Sandbox::new();
            let task = room.task("One", &[]);
            room.git(&["add", "-A"]).text();
            room.git(&["commit", "-qm", "plan"]).text();
            room.run(&["task", "update", &task, "--priority", "2"]).data();
            room.run(&["note", &task, "not committed yet"]).data();
            let (log, file) = (fs::read(room.log_of(&task)).unwrap(), fs::read(room.yaml_of(&task)).unwrap());
            if stages {
                room.git(&["add", "-A"]).text();
            }
            fs::write(room.log_of(&task), text).unwrap();
            let answer = room.run(command);
            let (back, shown) = (fs::read(room.log_of(&task)).unwrap(), fs::read(room.yaml_of(&task)).unwrap());
            let case = format!("{text:?} {stages} {command:?} {answer:?}");
            assert_eq!(String::from_utf8_lossy(&shown), String::from_utf8_lossy(&file), "{case}");
            for line in log.split(|byte| *byte == b'\n') {
                assert!(back.windows(line.len().max(1)).any(|part| part == line) || line.is_empty(), "{case}");
            }
            assert_eq!(room.get(&task)["priority"], 2, "{case}");
        }
    }
}
