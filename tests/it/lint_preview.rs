//! `lint` foretells what recording a hand edit or a new file would refuse: all of it, with lines, and writing nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// Puts one text for another in a task's file; an empty one stands for its end.
#[track_caller]
fn edit(room: &Sandbox, task: &str, edits: &[(&str, &str)]) {
    let path = room.yaml_of(task);
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "no {from:?} in\n{text}");
        text = if from.is_empty() { text + to } else { text.replacen(from, to, 1) };
    }
    fs::write(path, text).unwrap();
}

/// What an answer found: the key concerned, the code of the refusal, and the line.
#[track_caller]
fn refused(answer: &Answer) -> Vec<(String, String, u64)> {
    let report = answer.json();
    let findings = report["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = findings.iter().filter(|f| !f["refusal"].is_null());
    refused
        .map(|f| (word(&f["refusal"]["details"]["key"]), word(&f["refusal"]["code"]), f["line"].as_u64().unwrap_or(0)))
        .collect()
}

fn line_of(path: &Path, words: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap();
    1 + text.lines().position(|line| line.contains(words)).unwrap_or_else(|| panic!("{words}: {text}")) as u64
}

/// All files below a folder with what they hold, but for those that only save work.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else if !name.to_str().unwrap().contains(".db") && name != "index.seen" {
            found.insert(path.clone(), fs::read(path).unwrap());
        }
    }
    found
}

fn commit(room: &Sandbox) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "words"]).text();
}

#[test]
fn lint_lists_every_refusal_and_writes_nothing() {
    let room = Sandbox::new();
    let task = room.task("one", &["--priority", "1"]);
    room.run(&["progress", "add", &task, "--content", "a step"]).data();
    edit(
        &room,
        &task,
        &[
            ("title: one", "title: better"),
            ("priority: 1", "priority: 70"),
            ("status: open", "status: complete"),
            ("", "context:\n  - good\n  - {type: nonsense, content: x}\n  - ''\nprioritty: 3\nestimate: 0x10\n"),
        ],
    );
    let before = files(&room.repo());
    let plain = room.run(&["lint"]);
    assert_eq!(plain.code, 1);
    let path = room.yaml_of(&task);
    let at = |key: &str, words: &str| (key.to_owned(), "ERR_VALIDATION".to_owned(), line_of(&path, words));
    let mut found = refused(&plain);
    found.sort();
    let mut expected = vec![
        at("context", "nonsense"),
        at("context", "- ''"),
        at("estimate", "0x10"),
        at("priority", "priority: 70"),
        at("prioritty", "prioritty: 3"),
        at("status", "status: complete"),
    ];
    expected.sort();
    assert_eq!(found, expected, "{plain:?}");
    let text = room.run(&["lint", "--format", "text"]).stdout;
    assert!(text.contains("-5 to 5") && text.contains("use one of open, in_progress"), "{text}");
    let github = room.run(&["lint", "--format", "github"]).stdout;
    let lines = github.lines().filter(|line| line.contains("not recorded: ERR_VALIDATION")).count();
    assert_eq!(lines, 6, "{github}");
    let sarif: Value = serde_json::from_str(&room.run(&["lint", "--format", "sarif"]).stdout).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let begins: Vec<&Value> =
        results.iter().map(|r| &r["locations"][0]["physicalLocation"]["region"]["startLine"]).collect();
    assert!(begins.contains(&&json!(line_of(&path, "nonsense"))), "{begins:?}");
    let status = plain.json()["data"]["findings"].as_array().unwrap().clone();
    let status = status.iter().find(|f| f["refusal"]["details"]["key"] == "status").unwrap().clone();
    assert!(status["refusal"]["details"]["allowed"].as_array().unwrap().contains(&json!("completed")), "{status:#}");
    assert_eq!(files(&room.repo()), before);

    // One that would be recorded keeps its finding.
    room.git(&["init", "-q", "."]).text();
    let other = room.task("two", &[]);
    edit(&room, &other, &[("title: two", "title: three")]);
    let report = room.run(&["lint"]).json();
    let fine = report["data"]["findings"].as_array().unwrap().iter().find(|f| f["task"] == json!(other)).unwrap();
    assert_eq!((&fine["message"], &fine["refusal"]), (&json!("it was edited by hand: title"), &Value::Null));
}

#[test]
fn lint_lists_some_of_many_refusals_and_counts_the_rest() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let entries: String = (0..25).map(|n| format!("  - {{type: nonsense{n}, content: x}}\n")).collect();
    edit(&room, &task, &[("", &format!("context:\n{entries}"))]);
    let answer = room.run(&["lint"]);
    assert_eq!(refused(&answer).len(), 10);
    assert_eq!(answer.stdout.matches("; 15 more of this file would be refused").count(), 1, "{}", answer.stdout);
    // One reason in the way of every key is one refusal.
    let held = room.task("held", &["--label", "x"]);
    room.run_as("bob", &["claim", &held]).data();
    edit(&room, &held, &[("title: held", "title: mine"), ("- x", "- y"), ("status: in_progress", "status: open")]);
    let answer = room.run(&["lint"]);
    let held: Vec<_> = refused(&answer).into_iter().filter(|(_, code, _)| code == "ERR_LEASE_HELD").collect();
    assert_eq!(held.len(), 1, "{answer:?}");
    // Its holder may do it.
    let fine = room.run_as("bob", &["lint"]);
    assert!(refused(&fine).iter().all(|(_, code, _)| code == "ERR_VALIDATION"), "{fine:?}");
}

#[test]
fn effects_of_one_file_count_for_the_next() {
    let room = Sandbox::new();
    let (first, second) = (room.task("first", &[]), room.task("second", &[]));
    let (first, second) = if room.yaml_of(&first) < room.yaml_of(&second) { (first, second) } else { (second, first) };
    room.run(&["task", "block", &second, "--by", &first]).data();
    room.run(&["claim", &first]).data();
    edit(&room, &second, &[("status: blocked", "status: in_progress")]);
    assert_eq!(refused(&room.run(&["lint"])).len(), 1);
    edit(&room, &first, &[("status: in_progress", "status: completed")]);
    let foretold = room.run(&["lint"]);
    assert_eq!(refused(&foretold), [], "{foretold:?}");
    commit(&room);
    assert_eq!(room.run(&["lint", "--fix"]).data()["fixed"].as_array().unwrap().len(), 2);
    assert_eq!(room.get(&second)["status"], "in_progress");
}

#[test]
fn lint_staged_uses_the_roles_of_head_and_the_committer() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    const ROLES: &str = "agents:\n  ada:\n    perms: [update]\n  bob:\n    perms: [comment]\n";
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    commit(&room);
    edit(&room, &task, &[("title: one", "title: two")]);
    room.git(&["add", "-A"]).text();
    // The work tree gives everybody everything, and has another edit.
    fs::write(room.store().join("roles.yml"), ROLES.replace("[comment]", "[comment, update]")).unwrap();
    edit(&room, &task, &[("title: two", "title: ''")]);
    assert_eq!(refused(&room.run(&["lint", "--staged"])), []);
    let bob = room.run_as("bob", &["lint", "--staged"]);
    assert_eq!(refused(&bob), [("title".to_owned(), "ERR_UNAUTHORIZED".to_owned(), 1)], "{bob:?}");
    assert_eq!(refused(&room.run_as("bob", &["lint"])), [("title".to_owned(), "ERR_VALIDATION".to_owned(), 1)]);
    // Without an agent name the edit is reported and not judged.
    let mut unnamed = room.agentpm();
    unnamed.env_remove("AGENTPM_AGENT").env("GIT_CONFIG_GLOBAL", "/dev/null");
    let answer = Answer::from(unnamed.args(["lint", "--staged"]).output().unwrap());
    assert_eq!((answer.code, refused(&answer)), (1, Vec::new()), "{answer:?}");
}

#[test]
fn a_new_file_is_judged_before_it_is_taken_in() {
    let room = Sandbox::new();
    let path = room.store().join("tasks/new.yaml");
    let text = "title: new\npriority: 99\ntype: nonsense\nparent: 01K5R4XJ7Z0000000000000001\n";
    fs::write(&path, text).unwrap();
    let expected = |file: &str| {
        vec![
            ("parent".to_owned(), "ERR_NOT_FOUND".to_owned(), line_of(Path::new(file), "parent")),
            ("priority".to_owned(), "ERR_VALIDATION".to_owned(), 2),
            ("type".to_owned(), "ERR_VALIDATION".to_owned(), 3),
        ]
    };
    let sorted = |answer: &Answer| {
        let mut all = refused(answer);
        all.sort();
        all
    };
    let shown = path.to_str().unwrap();
    assert_eq!(sorted(&room.run(&["lint"])), expected(shown));
    assert_eq!(sorted(&room.feed(&["lint", "--stdin", "--path", shown], text.as_bytes())), expected(shown));
    room.git(&["add", "-A"]).text();
    assert_eq!(sorted(&room.run(&["lint", "--staged"])), expected(shown));
    let good = room.feed(&["lint", "--stdin", "--path", shown], b"title: new\n");
    assert_eq!((good.json()["data"]["findings"][0]["code"].as_str(), refused(&good)), (Some("task-new"), Vec::new()));
    let torn = room.feed(&["lint", "--stdin", "--path", shown], b"title: [new\n");
    assert_eq!(refused(&torn)[0].1, "ERR_CORRUPT", "{torn:?}");
    // A file of another kind is no task.
    let odd = room.feed(&["lint", "--stdin", "--path", &shown.replace(".yaml", ".txt")], b"title: new\n");
    assert_eq!(odd.json()["data"]["findings"][0]["code"], "odd-file");
}

#[test]
fn a_copy_of_a_tasks_file_is_called_a_copy_wherever_it_lies() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.run(&["progress", "add", &task, "--content", "a step"]).data();
    commit(&room);
    let text = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let own = "0/1/01K5R4XJ7Z0000000000000001/task.yaml";
    for place in ["copy.yaml", "AB/copy.yaml", "A/B/copy.yaml", "copy/task.yaml", own] {
        let path = room.store().join("tasks").join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &text).unwrap();
        let shown = path.to_str().unwrap();
        room.git(&["add", "-A"]).text();
        for answer in [
            room.run(&["lint"]),
            room.run(&["lint", "--staged"]),
            room.feed(&["lint", "--stdin", "--path", shown], text.as_bytes()),
            room.run(&["lint", "--fix"]),
        ] {
            let report = answer.json();
            let [found] = &report["data"]["findings"].as_array().unwrap()[..] else { panic!("{place}: {report:#}") };
            let words = found["message"].as_str().unwrap();
            let begin =
                format!("a copy of the file of task {task}; for a new task leave out id, created_at, created_by");
            assert!(words.starts_with(&begin) && found["code"] == "task-new", "{place}: {words}");
            assert!(found["mend"].as_str().unwrap().ends_with("otherwise remove the file"), "{found}");
            assert_eq!((&found["line"], answer.code), (&json!(2), 1), "{place}");
        }
        // Without what is the other's it is a task of its own.
        let plain: String = text
            .lines()
            .filter(|line| !["id:", "created_at:", "created_by:"].iter().any(|key| line.starts_with(key)))
            .map(|line| {
                if line.trim_start().starts_with("- id:") {
                    "  - content: a step\n".into()
                } else {
                    format!("{line}\n")
                }
            })
            .filter(|line| !line.starts_with("    "))
            .collect();
        fs::write(&path, plain).unwrap();
        let fixed = room.run(&["lint", "--fix"]);
        assert_eq!(fixed.code, 0, "{place}: {fixed:?}");
        room.is_clean();
        commit(&room);
    }
}

#[test]
fn lint_fix_prints_replaced_values_and_refusals() {
    let room = Sandbox::new();
    let task = room.task("one", &["--priority", "1"]);
    // The edit was committed before what the other branch brings was known.
    commit(&room);
    room.git(&["switch", "-qc", "other"]).text();
    room.run_as("bob", &["task", "update", &task, "--title", "theirs"]).data();
    commit(&room);
    room.git(&["switch", "-q", "-"]).text();
    edit(&room, &task, &[("title: one", "title: mine")]);
    room.git(&["commit", "-qam", "an edit"]).text();
    room.git(&["merge", "-q", "--no-edit", "--no-verify", "-X", "ours", "other"]).text();
    let text = room.run(&["lint", "--fix", "--format", "text"]);
    let expected = format!(
        "fixed: task {task}: recorded the edit of title; title \"theirs\" of bob gave way to \"mine\" of ada; agentpm \
         conflicts {task} shows both sides\n"
    );
    assert!(text.code == 0 && text.stdout.starts_with(&expected), "{text:?}");
    assert_eq!(room.run(&["conflicts", &task]).data()["total"], 1);
    // Known findings are not reported again.
    edit(&room, &task, &[("priority: 1", "priority: 2")]);
    let text = room.run(&["lint", "--fix", "--format", "text"]).stdout;
    assert!(text.contains(&format!("fixed: task {task}: recorded the edit of priority\n")), "{text}");
    // A task that is put back may not be ended as it was asked.
    edit(&room, &task, &[("status: open", "status: completed")]);
    let refused = room.run(&["lint", "--fix", "--format", "text"]);
    let line = line_of(&room.yaml_of(&task), "status:");
    assert!(refused.stdout.contains(&format!("task.yaml:{line}: error task-yaml-edited: ")), "{refused:?}");
    assert!(refused.code == 1 && refused.stdout.contains("not recorded: ERR_INVALID_STATE"), "{refused:?}");
    edit(&room, &task, &[("status: completed", "status: open")]);
    room.run(&["lint", "--fix"]).data();
    commit(&room);
    room.run_as("bob", &["claim", &task]).data();
    commit(&room);
    fs::remove_dir_all(room.task_dir(&task)).unwrap();
    let refused = room.run(&["lint", "--fix", "--deleted", "cancelled", "--format", "text"]);
    assert!(refused.stdout.contains("refused: ERR_LEASE_HELD: task"), "{refused:?}");
}

#[test]
fn all_comments_are_named_before_they_are_kept() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    let old = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let remarked =
        old.replacen("title: one", "title: one # first", 1).replacen("status: open", "status: open # second", 1);
    fs::write(room.yaml_of(&task), &remarked).unwrap();
    let message = |room: &Sandbox| room.findings()[0]["message"].as_str().unwrap().to_owned();
    assert_eq!(message(&room), r#"comments would be lost: "first" (line 1), "second" (line 3)"#);
    fs::write(room.yaml_of(&task), remarked.replace("title: one", "title: two")).unwrap();
    assert!(
        message(&room).ends_with(r#"title; it also holds comments: "first" (line 1), "second" (line 3)"#),
        "{}",
        message(&room)
    );
}
