//! What `sync` says of hand edits: before it does anything, and after.

use std::fs;

use serde_json::{Value, json};

use crate::sync::Clones;

fn edit(clones: &Clones, name: &str, task: &str, from: &str, to: &str) {
    let path = clones.log(name, task).with_file_name("task.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

fn place(clones: &Clones, name: &str, path: &str, text: &str) {
    fs::write(clones.dir(name).join(".agentpm/tasks").join(path), text).unwrap();
}

/// What of a report must be the same before and after.
fn said(report: &Value) -> Value {
    let without_task = |entry: &Value| {
        let mut entry = entry.clone();
        if entry["what"] == "a new task" {
            entry.as_object_mut().unwrap().remove("task");
        }
        entry
    };
    let list = |key: &str| -> Vec<Value> { report[key].as_array().into_iter().flatten().map(without_task).collect() };
    let outgoing: Vec<Value> =
        report["outgoing"].as_array().unwrap().iter().map(|c| json!([c["title"], c["what"], c["events"]])).collect();
    json!({ "recorded": list("recorded"), "refused": list("refused"), "outgoing": outgoing })
}

#[test]
fn sync_dry_run_shows_what_sync_does() {
    let (clones, task) = Clones::new(&["ann"]);
    let other = clones.run("ann", &["task", "create", "--title", "other", "--quiet"]).text().to_owned();
    clones.run("ann", &["sync"]).data();
    edit(&clones, "ann", &task, "title: shared", "title: by hand");
    edit(&clones, "ann", &other, "status: open", "status: completed");
    place(&clones, "ann", "new.yaml", "title: new\n");
    place(&clones, "ann", "odd.yaml", "title: odd\npriority: 77\n");
    let before = clones.everything("ann");
    let planned = clones.run("ann", &["sync", "--plan"]);
    let plan = planned.data();
    assert_eq!(clones.everything("ann"), before, "a plan changes nothing");
    assert_eq!(plan["recorded"].as_array().unwrap().len(), 2, "{plan:#}");
    assert_eq!(plan["recorded"][1], json!({ "task": task, "path": plan["recorded"][1]["path"], "what": "title" }));
    let refused = plan["refused"].as_array().unwrap();
    assert_eq!(refused.len(), 2, "{plan:#}");
    assert_eq!(
        (&refused[0]["key"], &refused[0]["line"], &refused[0]["code"]),
        (&json!("priority"), &json!(2), &json!("ERR_VALIDATION"))
    );
    assert_eq!((&refused[1]["task"], &refused[1]["key"]), (&json!(other), &json!("status")));
    assert_eq!(refused[1]["allowed"], json!(["in_progress", "blocked", "cancelled"]), "{plan:#}");
    assert!(refused[1]["line"].as_u64() > Some(1) && refused[1]["message"].as_str().unwrap().contains("cannot go"));
    assert!(planned.stderr.contains("would stay in its file"), "{planned:?}");
    assert!(plan["would_commit"] == true && plan["outgoing"].as_array().unwrap().len() == 2, "{plan:#}");
    let synced = clones.run("ann", &["sync"]);
    assert_eq!(said(&synced.data()), said(&plan));
    assert!(!synced.stderr.contains("does not belong"), "{synced:?}");
    // A recorded edit is not reported again; a refused one stays.
    let again = clones.run("ann", &["sync", "--plan"]).data();
    assert!(again["recorded"] == Value::Null && again["outgoing"] == Value::Null, "{again:#}");
    assert_eq!(again["refused"].as_array().unwrap().len(), 2);
}

#[test]
fn edits_that_come_from_others_are_judged_before_they_come() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let other = clones.run("ann", &["task", "create", "--title", "other", "--quiet"]).text().to_owned();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["task", "update", &task, "--priority", "2"]).data();
    edit(&clones, "ann", &task, "title: shared", "title: by ann");
    edit(&clones, "ann", &other, "status: open", "status: completed");
    clones.git("ann", &["commit", "-qa", "--no-verify", "-m", "raw"]).text();
    clones.git("ann", &["push", "-q"]).text();
    let plan = clones.run("bob", &["sync", "--plan"]).data();
    assert_eq!(
        (&plan["recorded"][0]["task"], &plan["recorded"][0]["what"]),
        (&json!(task), &json!("title")),
        "{plan:#}"
    );
    assert_eq!(
        (&plan["refused"][0]["task"], &plan["refused"][0]["key"]),
        (&json!(other), &json!("status")),
        "{plan:#}"
    );
    assert_eq!(plan["outgoing"][0]["task"], json!(task), "{plan:#}");
    let report = clones.run("bob", &["sync"]).data();
    assert_eq!(said(&report), said(&plan));
}

#[test]
fn a_new_file_that_was_committed_goes_once_its_task_is_there() {
    let (clones, _) = Clones::new(&["ann", "bob"]);
    fs::create_dir(clones.dir("ann").join(".agentpm/tasks/folder")).unwrap();
    place(&clones, "ann", "folder/task.yaml", "title: in a folder\n");
    place(&clones, "ann", "new.yaml", "title: new\n");
    clones.git("ann", &["add", "-A"]).text();
    clones.git("ann", &["commit", "-qm", "raw"]).text();
    let synced = clones.run("ann", &["sync"]);
    synced.data();
    assert!(!synced.stderr.contains("does not belong"), "{synced:?}");
    assert!(!clones.git("ann", &["ls-files"]).text().contains("new.yaml"), "it is not recorded again");
    clones.run("bob", &["sync"]).data();
    let items = clones.run("bob", &["ls"]).data()["items"].clone();
    let titles: Vec<&str> = items.as_array().unwrap().iter().filter_map(|t| t["title"].as_str()).collect();
    assert_eq!(titles.iter().filter(|t| **t == "new").count(), 1, "{titles:?}");
    assert_eq!(clones.run("bob", &["lint"]).data()["findings"], json!([]));
}

/// Ann commits and pushes an edit as she made it, and the others pull it.
fn pulled_raw(names: &[&str], edits: &[(&str, &str)]) -> (Clones, String) {
    let (clones, task) = Clones::new(names);
    let step = ["progress", "add", &task, "--content", "an old step"];
    clones.run("ann", &step).data();
    clones.run("ann", &["note", &task, "--content", "an old note"]).data();
    for name in names {
        clones.run(name, &["sync"]).data();
    }
    for (from, to) in edits {
        edit(&clones, "ann", &task, from, to);
    }
    clones.git("ann", &["commit", "-qa", "--no-verify", "-m", "raw"]).text();
    clones.git("ann", &["push", "-q"]).text();
    for name in names.iter().filter(|name| **name != "ann") {
        clones.git(name, &["pull", "-q"]).text();
    }
    (clones, task)
}

const EDITS: [(&str, &str); 5] = [
    ("title: shared", "title: by hand\npriority: 2"),
    ("status: open", "status: cancelled"),
    ("completed: false", "completed: true"),
    ("context:\n", "context:\n  - {type: decision, content: so be it}\n"),
    ("progress:\n", "progress:\n  - ask\n  - {content: done at once, completed: true}\n"),
];

#[test]
fn an_edit_that_several_clones_pulled_is_recorded_once() {
    let (clones, task) = pulled_raw(&["ann", "bob", "eve"], &EDITS);
    clones.run("bob", &["sync"]).data();
    // Eve does not know of Bob's recording, and finds the same edit in the same commit.
    let plan = clones.run("eve", &["sync", "--plan"]).data();
    assert!(plan["recorded"] == Value::Null && plan["refused"] == Value::Null, "{plan:#}");
    let report = clones.run("eve", &["sync"]).data();
    assert!(report["recorded"] == Value::Null && report["refused"] == Value::Null, "{report:#}");
    clones.run("ann", &["sync"]).data();
    for name in ["bob", "eve"] {
        clones.run(name, &["sync"]).data();
    }
    let seen = clones.run("ann", &["task", "get", &task]).data();
    assert_eq!((&seen["progress"]["total"], &seen["progress"]["done"]), (&json!(3), &json!(2)), "{seen:#}");
    assert_eq!(seen["context"].as_array().unwrap().len(), 2, "{seen:#}");
    assert_eq!((&seen["title"], &seen["status"]), (&json!("by hand"), &json!("cancelled")));
    for name in ["bob", "eve"] {
        assert_eq!(crate::sync::plan(&clones, "ann"), crate::sync::plan(&clones, name), "{name}");
        assert_eq!(clones.run(name, &["lint"]).data()["findings"], json!([]));
    }
}

#[test]
fn sync_records_what_exceeds_a_recorded_edit() {
    let (clones, task) = pulled_raw(&["ann", "bob", "eve"], &EDITS[3..]);
    clones.run("bob", &["sync"]).data();
    edit(&clones, "eve", &task, "  - ask\n", "  - ask\n  - and thank\n");
    clones.git("eve", &["commit", "-qa", "--no-verify", "-m", "more"]).text();
    let report = clones.run("eve", &["sync"]).data();
    assert_eq!(report["recorded"][0]["what"], "progress", "{report:#}");
    let seen = clones.run("eve", &["task", "get", &task]).data();
    assert_eq!(seen["progress"]["total"], 4, "{seen:#}");
    assert_eq!(seen["context"].as_array().unwrap().len(), 2, "{seen:#}");
}

#[test]
fn new_words_for_an_entry_that_several_pulled_make_one_newer_entry() {
    let (clones, task) = pulled_raw(&["ann", "bob", "eve"], &[("content: an old note", "content: a better note")]);
    for name in ["bob", "eve", "ann", "bob"] {
        let report = clones.run(name, &["sync"]).data();
        assert!(report["refused"] == Value::Null, "{name}: {report:#}");
    }
    let seen = clones.run("ann", &["task", "get", &task]).data();
    assert_eq!(seen["context"].as_array().unwrap().len(), 2, "{seen:#}");
}

#[test]
fn sync_names_a_comment() {
    let (clones, task) = Clones::new(&["ann"]);
    edit(&clones, "ann", &task, "title: shared", "title: shared # not to be lost");
    for how in [&["sync", "--plan"][..], &["sync"]] {
        let report = clones.run("ann", how).data();
        let refused = report["refused"].as_array().unwrap();
        assert_eq!(
            (refused.len(), &refused[0]["task"], &refused[0]["line"]),
            (1, &json!(task), &json!(1)),
            "{report:#}"
        );
        assert!(refused[0]["message"].as_str().unwrap().contains("comment"), "{report:#}");
    }
}

#[test]
fn a_task_whose_files_were_removed_is_named_before_and_after() {
    let (clones, task) = Clones::new(&["ann"]);
    fs::remove_dir_all(clones.log("ann", &task).parent().unwrap()).unwrap();
    for how in [&["sync", "--plan"][..], &["sync"]] {
        assert_eq!(clones.run("ann", how).data()["brought_back"], json!([{ "task": task }]));
    }
    let report = clones.run("ann", &["sync"]).data();
    assert_eq!([&report["brought_back"], &report["recorded"], &report["refused"]], [&Value::Null; 3]);
}

#[test]
fn sync_commits_files_marked_assume_unchanged() {
    for bit in ["--skip-worktree", "--assume-unchanged"] {
        let (clones, task) = Clones::new(&["ann", "bob"]);
        let log = clones.log("ann", &task);
        let yaml = log.with_file_name("task.yaml");
        clones.git("ann", &["update-index", bit, log.to_str().unwrap(), yaml.to_str().unwrap()]).text();
        clones.run("ann", &["task", "update", &task, "--title", "changed"]).data();
        assert_eq!(clones.run("ann", &["sync"]).data()["pushed"], true);
        clones.run("bob", &["sync"]).data();
        assert_eq!(clones.run("bob", &["task", "get", &task]).data()["title"], "changed", "{bit}");
    }
}

/// Two clones; ann holds the task, and bob edited its title by hand, which must wait. Then ann changes and releases the task.
fn waiting_edit() -> (Clones, String) {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    edit(&clones, "bob", &task, "title: shared", "title: by hand");
    clones.run("ann", &["task", "update", &task, "--priority", "5", "--intent", "of ann"]).data();
    clones.run("ann", &["note", &task, "a note of ann"]).data();
    clones.run("ann", &["release", &task]).data();
    clones.run("ann", &["sync"]).data();
    let first = clones.run("bob", &["sync"]).data();
    assert_eq!((&first["recorded"], first["refused"].as_array().unwrap().len()), (&Value::Null, 1), "{first:#}");
    (clones, task)
}

fn state(clones: &Clones, name: &str, task: &str) -> Value {
    let task = clones.run(name, &["task", "get", task]).data();
    json!([
        task["title"],
        task["priority"],
        task["intent"],
        task["status"],
        task["owner"],
        task["context"][0]["content"]
    ])
}

#[test]
fn an_edit_that_had_to_wait_takes_nothing_back_that_came_meanwhile() {
    let (clones, task) = waiting_edit();
    let lint = clones.run("bob", &["lint"]).json();
    assert_eq!(lint["data"]["findings"][0]["code"], "task-yaml-edited", "{lint:#}");
    let second = clones.run("bob", &["sync"]).data();
    assert_eq!(second["recorded"][0]["what"], "title", "{second:#}");
    clones.run("ann", &["sync"]).data();
    for name in ["ann", "bob"] {
        let expected = json!(["by hand", 5, "of ann", "open", Value::Null, "a note of ann"]);
        assert_eq!(state(&clones, name, &task), expected);
    }
}

#[test]
fn an_edit_that_had_to_wait_can_be_taken_back() {
    let (clones, task) = waiting_edit();
    edit(&clones, "bob", &task, "title: by hand", "title: shared");
    let second = clones.run("bob", &["sync"]).data();
    assert_eq!((&second["recorded"], &second["refused"]), (&Value::Null, &Value::Null), "{second:#}");
    assert_eq!(state(&clones, "bob", &task), json!(["shared", 5, "of ann", "open", Value::Null, "a note of ann"]));
    clones.run("bob", &["note", &task, "one of bob"]).data();
}

#[test]
fn a_value_that_both_sides_wrote_while_an_edit_waited_is_a_lost_edit() {
    let (clones, task) = waiting_edit();
    clones.run("ann", &["task", "update", &task, "--title", "of ann"]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    let lost = clones.run("bob", &["conflicts"]).data();
    assert_eq!(lost["items"][0]["field"], "title", "{lost:#}");
}

#[test]
fn a_comment_in_a_file_takes_nothing_back_that_came_meanwhile() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    edit(&clones, "bob", &task, "title: shared\n", "title: shared\n# a remark\n");
    clones.run("ann", &["task", "update", &task, "--priority", "5", "--intent", "of ann"]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("bob", &["lint", "--fix", "--drop-comments"]).data();
    assert_eq!(state(&clones, "bob", &task), json!(["shared", 5, "of ann", "open", Value::Null, Value::Null]));
}
