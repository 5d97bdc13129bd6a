//! Tasks that a person writes as files, and files of tasks that a person removes.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;
use crate::sync::Clones;

fn tasks(room: &Sandbox) -> Vec<Value> {
    room.run(&["task", "list", "--all"]).data()["items"].as_array().unwrap().clone()
}

/// Writes a file beneath `tasks`.
fn write(room: &Sandbox, path: &str, text: &str) {
    let path = room.store().join("tasks").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// What lint says of the one new file, after a try to take it in.
fn refusal(room: &Sandbox) -> Value {
    let report = room.run(&["lint", "--fix"]);
    assert_eq!(report.code, 1, "{report:?}");
    let found = report.json()["data"]["findings"].clone();
    assert_eq!(found[0]["code"], "task-new", "{found}");
    found[0].clone()
}

#[test]
fn a_file_with_just_a_title_becomes_a_task() {
    for path in
        ["fix-lock.yaml", "fix-lock.yml", "fix-lock/task.yaml", "AB/fix-lock/task.yaml", "A/B/fix-lock/task.yaml"]
    {
        let room = Sandbox::new();
        write(&room, path, "title: Fix the lock\n");
        assert_eq!(room.finding_codes(), ["task-new"], "{path}");
        assert!(tasks(&room).is_empty(), "it is no task before it is recorded");
        room.run(&["lint", "--fix"]).data();
        let all = tasks(&room);
        assert_eq!((all.len(), &all[0]["title"]), (1, &json!("Fix the lock")), "{path}");
        assert!(!room.store().join("tasks").join(path).exists(), "{path}: its words are recorded");
        let event = room.run(&["log", all[0]["id"].as_str().unwrap()]).data()["items"][0].clone();
        assert_eq!((&event["type"], &event["why"]), (&json!("TaskCreated"), &json!("hand edit")), "{path}");
        room.is_clean();
        assert!(!room.store().join("tasks/fix-lock").exists(), "{path}: nor is its folder left");
    }
}

#[test]
fn a_file_in_a_folder_of_its_own_keeps_its_id() {
    let room = Sandbox::new();
    let id = "01K5R4XJ7Z0000000000000001";
    write(&room, &format!("0/1/{id}/task.yaml"), &format!("id: {id}\ntitle: mine\nstatus: open\n"));
    assert_eq!(room.finding_codes(), ["task-new"]);
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(id)["title"], "mine");
    room.is_clean();
}

#[test]
fn a_new_file_may_have_every_field_that_commands_set() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (parent, blocker) = (room.task("parent", &[]), room.task("blocker", &[]));
    write(
        &room,
        "rich.yaml",
        &format!(
            "title: 'Rich'\nintent: >-\n  folded\n  prose\ntype: docs\npriority: -1\nparent: {parent}\nlabels: [a, b]\n\
             watchers: codex-1\nacceptance:\n- first\n- criterion: second\n  met: true\nestimate: 3\nfiles: [src/**]\n\
             metadata:\n  k: {{x: 1}}\nblocked_by: [{blocker}]\nprogress:\n- one\n- {{content: two, completed: true}}\n\
             context:\n- type: decision\n  content: so\nrelationships:\n- {{type: relates_to, to: {parent}}}\n# remember\n"
        ),
    );
    room.run(&["lint", "--fix"]).data();
    let id = tasks(&room).iter().find(|t| t["title"] == "Rich").unwrap()["id"].as_str().unwrap().to_owned();
    let task = room.get(&id);
    assert_eq!(task["intent"], "folded prose");
    assert_eq!((&task["type"], &task["priority"], &task["status"]), (&json!("docs"), &json!(-1), &json!("blocked")));
    assert_eq!((&task["parent"], &task["labels"]), (&json!(parent), &json!(["a", "b"])));
    assert_eq!((&task["watchers"], &task["estimate"]), (&json!(["codex-1"]), &json!("3")));
    assert_eq!(task["acceptance"][0]["met"], false);
    assert_eq!(task["acceptance"][1]["met"], true);
    assert_eq!(task["metadata"], json!({"k": {"x": 1}}));
    assert_eq!(task["progress"]["done"], 1);
    let notes: Vec<&Value> = task["context"].as_array().unwrap().iter().map(|c| &c["content"]).collect();
    assert!(notes[0] == "so" && notes[1].as_str().unwrap().contains("remember"), "{notes:?}");
    assert_eq!(task["relationships"].as_array().unwrap().len(), 3);
    room.is_clean();
}

#[test]
fn a_file_that_does_not_fit_stays_and_says_why() {
    let copy = |room: &Sandbox| fs::read_to_string(room.yaml_of(&room.task("other", &[]))).unwrap();
    type Text = fn(&Sandbox) -> String;
    let cases: &[(&str, Text, u64, &str)] = &[
        ("no title", |_| "intent: x\n".into(), 1, "needs a title"),
        ("no mapping", |_| "- title: x\n".into(), 1, "no mapping"),
        ("no YAML", |_| "title: x\n  y: [\n".into(), 2, "cannot be read"),
        ("a slip", |_| "title: x\nlable: [a]\n".into(), 2, "did you mean labels"),
        ("a bad value", |_| "title: x\n\npriority: 12\n".into(), 3, "-5 to 5"),
        ("an id", |_| "title: x\nid: 01K5R4XJ7Z0000000000000001\n".into(), 2, "remove id"),
        ("a creator", |_| "title: x\ncreated_by: eve\n".into(), 2, "of a new task is written"),
        ("a strange blocker", |_| "title: x\nblocked_by:\n- 7XK2Q1\n".into(), 3, "7XK2Q1"),
        ("done already", |_| "title: x\nstatus: completed\n".into(), 2, "allowed from there"),
    ];
    for (what, text, line, why) in cases {
        let room = Sandbox::new();
        let text = text(&room);
        write(&room, "new.yaml", &text);
        let found = refusal(&room);
        assert!(found.to_string().contains(why), "{what}: {found}");
        assert_eq!(found["line"], *line, "{what}: {found}");
        assert_eq!(fs::read_to_string(room.store().join("tasks/new.yaml")).unwrap(), text, "{what}");
        assert!(tasks(&room).is_empty(), "{what}");
    }
    // A copy of another task's file is none, and is called a copy.
    let room = Sandbox::new();
    let text = copy(&room);
    write(&room, "copy.yaml", &text);
    assert!(refusal(&room)["message"].as_str().unwrap().starts_with("a copy of the file of task"));
    assert_eq!(fs::read_to_string(room.store().join("tasks/copy.yaml")).unwrap(), text);
    assert_eq!(tasks(&room).len(), 1);
}

#[test]
fn a_file_that_lies_behind_a_link_is_left_alone() {
    let room = Sandbox::new();
    fs::create_dir_all(room.beside("outside")).unwrap();
    fs::write(room.beside("outside").join("task.yaml"), "title: outside\n").unwrap();
    fs::create_dir_all(room.store().join("tasks")).unwrap();
    std::os::unix::fs::symlink(room.beside("outside"), room.store().join("tasks/linked")).unwrap();
    std::os::unix::fs::symlink(room.beside("outside").join("task.yaml"), room.store().join("tasks/new.yaml")).unwrap();
    let _ = room.run(&["lint", "--fix"]);
    assert!(tasks(&room).is_empty());
    assert!(room.beside("outside").join("task.yaml").exists());
}

#[test]
fn sync_takes_new_files_in_and_brings_removed_ones_back() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let home = clones.log("ann", &task).parent().unwrap().to_path_buf();
    fs::remove_dir_all(&home).unwrap();
    fs::write(clones.dir("ann").join(".agentpm/tasks/new.yaml"), "title: by ann\n").unwrap();
    fs::write(clones.dir("ann").join(".agentpm/tasks/bad.yaml"), "title: bad # look\n").unwrap();
    let planned = clones.run("ann", &["sync", "--plan"]);
    assert!(planned.stderr.contains("create a task from it") && planned.stderr.contains("restore them"), "{planned:?}");
    assert!(!home.exists() && clones.dir("ann").join(".agentpm/tasks/new.yaml").exists(), "a plan changes nothing");
    let synced = clones.run("ann", &["sync"]);
    synced.data();
    assert!(synced.stderr.contains("became task") && synced.stderr.contains("comment would be lost"), "{synced:?}");
    assert!(clones.log("ann", &task).exists());
    clones.run("bob", &["sync"]).data();
    let titles = clones.run("bob", &["ls"]).data()["items"].to_string();
    assert!(titles.contains("by ann") && titles.contains("shared"), "{titles}");
}

#[test]
fn a_task_whose_files_were_removed_is_brought_back_or_ended() {
    for (how, status) in [(&["lint", "--fix"][..], "open"), (&["lint", "--fix", "--deleted", "cancelled"], "cancelled")]
    {
        let room = Sandbox::new();
        let id = room.task("here", &["--label", "x"]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-qm", "plan"]).text();
        // Acknowledged after the commit, and so no less there.
        room.run(&["note", &id, "--content", "since then"]).data();
        fs::remove_dir_all(room.task_dir(&id)).unwrap();
        assert_eq!(room.finding_codes(), ["task-deleted"]);
        room.run(&["task", "get", &id]).error("ERR_NOT_FOUND", 3);
        room.run(how).data();
        let task = room.get(&id);
        assert_eq!((&task["status"], &task["context"][0]["content"]), (&json!(status), &json!("since then")));
        room.is_clean();
    }
    let room = Sandbox::new();
    let id = room.task("open yet", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    fs::remove_dir_all(room.task_dir(&id)).unwrap();
    let report = room.run(&["lint", "--fix", "--deleted", "archived"]).json()["data"].clone();
    assert!(
        report["refused"][0]["message"].as_str().unwrap().contains("only a completed or cancelled task"),
        "{report}"
    );
    assert_eq!(room.get(&id)["status"], "open", "back, and not ended");
}

#[test]
fn a_log_alone_that_was_removed_is_written_again() {
    let room = Sandbox::new();
    let id = room.task("here", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    let log = fs::read(room.log_of(&id)).unwrap();
    fs::remove_file(room.log_of(&id)).unwrap();
    assert_eq!(room.finding_codes(), ["log-missing"]);
    room.run(&["lint", "--fix"]).data();
    assert_eq!(fs::read(room.log_of(&id)).unwrap(), log);
    room.is_clean();
}

#[test]
fn queries_warn_of_an_unrecorded_edit() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
    fs::write(room.yaml_of(&id), text.replace("title: one", "title: two")).unwrap();
    for looks in [&["task", "get", &id][..], &["brief", "--task-id", &id]] {
        let answer = room.run(looks);
        answer.data();
        assert!(answer.stderr.contains("edited by hand") && answer.stderr.contains("title"), "{answer:?}");
    }
    room.run(&["claim", &id]).data();
    assert!(!room.run(&["task", "get", &id]).stderr.contains("edited by hand"));
}

/// Commits a file as it was edited, and pushes it past agentpm.
fn push_raw(clones: &Clones, name: &str, task: &str, from: &str, to: &str) {
    let path = clones.log(name, task).with_file_name("task.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
    clones.git(name, &["commit", "-q", "-a", "--no-verify", "-m", "raw"]).text();
    clones.git(name, &["push", "-q"]).text();
}

#[test]
fn an_edit_that_was_committed_as_it_is_is_recorded_by_sync() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    push_raw(&clones, "ann", &task, "title: shared", "title: by ann");
    clones.run("ann", &["sync"]).data();
    assert_eq!(clones.run("ann", &["task", "get", &task]).data()["title"], "by ann");
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["title"], "by ann");
    assert_eq!(clones.run("bob", &["lint"]).data()["errors"], 0);
}

#[test]
fn a_fetched_edit_is_recorded_and_not_overwritten() {
    for own in [None, Some("priority"), Some("title")] {
        let (clones, task) = Clones::new(&["ann", "bob"]);
        push_raw(&clones, "ann", &task, "title: shared", "title: by ann");
        if let Some(own) = own {
            let (from, to) = match own {
                "title" => ("title: shared", "title: by bob"),
                _ => ("status: open", "status: open\npriority: 2"),
            };
            let path = clones.log("bob", &task).with_file_name("task.yaml");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            clones.git("bob", &["commit", "-q", "-a", "--no-verify", "-m", "raw"]).text();
        }
        let synced = clones.run("bob", &["sync"]);
        synced.data();
        let seen = clones.run("bob", &["task", "get", &task]).data();
        let conflicts = clones.run("bob", &["conflicts", &task]).data();
        match own {
            Some("title") => {
                let lost = conflicts["items"][0]["lost"]["value"].clone();
                let both = [seen["title"].clone(), lost];
                assert!(both.contains(&json!("by ann")) && both.contains(&json!("by bob")), "{seen} {conflicts}");
            }
            _ => assert_eq!(seen["title"], "by ann", "{own:?}: {synced:?}"),
        }
        assert_eq!(seen["priority"], if own == Some("priority") { 2 } else { 0 });
        for name in ["ann", "bob", "ann"] {
            clones.run(name, &["sync"]).data();
        }
        assert_eq!(crate::sync::plan(&clones, "ann"), crate::sync::plan(&clones, "bob"), "{own:?}");
        assert_eq!(clones.run("ann", &["lint"]).data()["errors"], 0);
    }
}

#[test]
fn an_edit_of_others_that_is_not_allowed_stands_in_the_file() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    push_raw(&clones, "ann", &task, "status: open", "status: completed");
    clones.run("bob", &["note", &task, "--content", "meanwhile"]).data();
    let synced = clones.run("bob", &["sync"]);
    synced.data();
    assert!(synced.stderr.contains("stands in its file"), "{synced:?}");
    let path = clones.log("bob", &task).with_file_name("task.yaml");
    assert!(fs::read_to_string(path).unwrap().contains("status: completed"));
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["status"], "open");
}

#[test]
fn both_edits_of_a_conflict_that_was_committed_are_kept() {
    for (driver, first) in [(true, "lint"), (false, "lint"), (true, "command"), (false, "command")] {
        let room = Sandbox::new();
        if driver {
            room.run(&["init", "--hooks"]).data();
        }
        let id = room.task("one", &[]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "plan"]).text();
        let text = fs::read_to_string(room.yaml_of(&id)).unwrap();
        for (branch, title) in [("left", "by left"), ("right", "by right")] {
            room.git(&["switch", "-q", "-c", branch, "main"]).text();
            fs::write(room.yaml_of(&id), text.replace("title: one", &format!("title: {title}"))).unwrap();
            room.git(&["commit", "-q", "-a", "--no-verify", "-m", branch]).text();
        }
        let _ = room.git(&["merge", "-q", "--no-verify", "-m", "merge", "left"]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "markers"]).text();
        if first == "command" {
            room.run(&["task", "update", &id, "--priority", "2"]).data();
        }
        room.run(&["lint", "--fix"]).data();
        let conflicts = room.run(&["conflicts", &id]).data();
        let both = [room.get(&id)["title"].clone(), conflicts["items"][0]["lost"]["value"].clone()];
        assert!(both.contains(&json!("by left")) && both.contains(&json!("by right")), "{driver} {first}: {both:?}");
    }
}

#[test]
fn a_refused_edit_permits_other_work() {
    let room = Sandbox::new();
    let (first, second) = (room.task("first", &["--priority", "3"]), room.task("second", &[]));
    let text = fs::read_to_string(room.yaml_of(&first)).unwrap();
    fs::write(room.yaml_of(&first), text.replace("priority: 3", "priority: 44")).unwrap();
    let claimed = room.run(&["next", "--claim"]);
    assert_eq!(claimed.data()["task"]["id"], second.as_str());
    assert!(claimed.stderr.contains("passed over") && claimed.stderr.contains("priority"), "{claimed:?}");
    room.run(&["claim", &first]).error("ERR_VALIDATION", 4);
}

#[test]
fn a_number_that_would_come_back_otherwise_is_not_taken_for_a_word() {
    let room = Sandbox::new();
    write(&room, "new.yaml", "title: x\nlabels: [1.10]\n");
    let found = refusal(&room);
    assert!(found["message"].as_str().unwrap().contains("quote a number") && found["line"] == 2, "{found}");
    for word in ["007", "0x10", "1_000", "+5"] {
        write(&room, "new.yaml", &format!("title: x\nmetadata: {{n: 16}}\npriority: 3\nlabels: [{word}]\n"));
        let found = refusal(&room);
        assert!(
            found["message"].as_str().unwrap().contains(&format!("{word} would be read as")) && found["line"] == 4,
            "{word}: {found}"
        );
    }
}

#[test]
fn a_new_file_with_foreign_keys_gets_suggestions() {
    for (key, ours) in [
        ("name", "title"),
        ("description", "intent"),
        ("assignee", "owner"),
        ("state", "status"),
        ("depends_on", "blocked_by"),
        ("tags", "labels"),
        ("prioritty", "priority"),
    ] {
        let room = Sandbox::new();
        let title = if key == "name" { "" } else { "title: x\n" };
        write(&room, "new.yaml", &format!("squad: kept\n{key}: x\n{title}"));
        let found = refusal(&room);
        assert!(found["message"].as_str().unwrap().contains(&format!("did you mean {ours}?")), "{found}");
        assert_eq!(found["line"], 2, "{found}");
    }
    // An unknown value is kept as it is, in a new file as in an edit.
    let room = Sandbox::new();
    write(&room, "new.yaml", "title: x\nseverity: high\n");
    room.run(&["lint", "--fix"]).json();
    let id = tasks(&room)[0]["id"].as_str().unwrap().to_owned();
    assert!(fs::read_to_string(room.yaml_of(&id)).unwrap().contains("severity: high"));
}

#[test]
fn a_file_that_several_agents_find_at_once_becomes_one_task() {
    let room = Sandbox::new();
    for round in 0..4 {
        write(&room, &format!("new-{round}.yaml"), &format!("title: new {round}\n"));
        let start = |agent: &str| {
            let mut fix = room.agentpm();
            fix.env("AGENTPM_AGENT", agent).args(["lint", "--fix"]).stdout(Stdio::null()).stderr(Stdio::null());
            fix.spawn().unwrap()
        };
        let all = ["ann", "bob", "cee", "dan", "eve", "fay"].map(start);
        all.into_iter().for_each(|mut one| assert!(one.wait().is_ok()));
        assert_eq!(tasks(&room).len(), round + 1);
    }
}
