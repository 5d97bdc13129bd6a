//! Merging by plain git, without a driver: different fields never touch neighboring lines.

use std::fs;
use std::path::Path;

use agentpm::model::context::{ContextEntry, ContextType, ProgressItem};
use agentpm::model::id::Id;
use agentpm::model::task::{Status, Task, TaskType};
use agentpm::model::time::Time;
use agentpm::model::yaml::render_task;
use serde_json::Value;

use crate::sandbox::Sandbox;

fn id(n: u128) -> Id {
    Id::from_parts(1_700_000_000_000, n)
}

fn now() -> Time {
    "2026-11-20T10:00:00Z".parse().unwrap()
}

fn add_step(task: &mut Task, n: u128) {
    let item = ProgressItem {
        id: id(n),
        content: format!("step {n}"),
        completed: false,
        created_at: now(),
        completed_at: None,
    };
    task.progress.insert(item.id, item);
}

fn add_note(task: &mut Task, n: u128) {
    let entry = ContextEntry {
        id: id(n),
        kind: ContextType::Note,
        content: format!("note {n}"),
        author: "ada".into(),
        metadata: Value::Null,
        superseded_by: None,
        redacted: false,
        created_at: now(),
    };
    task.context.insert(entry.id, entry);
}

/// A task with a step and a note, and with all or none of the fields that a task may leave out.
fn task(full: bool) -> Task {
    let mut task = Task::blank(id(1));
    task.fields.title = "one".into();
    task.created_by = "ada".into();
    task.created_at = now();
    if full {
        task.fields.priority = 1;
        task.fields.labels = vec!["a".into(), "b".into()];
        task.fields.intent = Some("first\nlast\n".into());
        task.owner = Some("ada".into());
        task.status = Status::InProgress;
    }
    add_step(&mut task, 10);
    add_note(&mut task, 20);
    task
}

type Change = fn(&mut Task);

const CHANGES: &[(&str, Change)] = &[
    ("title", |task| task.fields.title = "two".into()),
    ("status with owner", |task| {
        task.status = Status::Completed;
        task.owner = Some("bob".into());
        task.completed_at = Some(now());
    }),
    ("priority", |task| task.fields.priority = 3),
    ("labels", |task| task.fields.labels = vec!["c".into()]),
    ("intent", |task| task.fields.intent = Some("first\nsecond\n".into())),
    ("a step more", |task| add_step(task, 11)),
    ("a note more", |task| add_note(task, 21)),
];

/// Merges as git does without a driver. Gives the result and how many conflicts it holds.
fn merge_file(room: &Sandbox, [ours, base, theirs]: [&str; 3]) -> (String, i32) {
    for (name, text) in [("ours", ours), ("base", base), ("theirs", theirs)] {
        fs::write(room.repo().join(name), text).unwrap();
    }
    let merged = room.git(&["merge-file", "-p", "ours", "base", "theirs"]);
    (merged.stdout.clone(), merged.code)
}

#[test]
fn changes_of_two_fields_merge_without_a_driver() {
    let room = Sandbox::bare_repo();
    for full in [true, false] {
        for (n, (one, change)) in CHANGES.iter().enumerate() {
            for (other, more) in CHANGES.iter().skip(n + 1) {
                let [mut ours, mut theirs, mut both] = [task(full), task(full), task(full)];
                change(&mut ours);
                more(&mut theirs);
                change(&mut both);
                more(&mut both);
                let [ours, base, theirs] = [&ours, &task(full), &theirs].map(render_task);
                let (merged, conflicts) = merge_file(&room, [&ours, &base, &theirs]);
                assert_eq!((conflicts, merged), (0, render_task(&both)), "{one} and {other}, full: {full}\n{base}");
            }
        }
    }
}

/// Each of the changes that a branch makes to every task, as a command.
fn change_all(room: &Sandbox, tasks: &[String], args: &[&str]) {
    for task in tasks {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "ID" { task } else { *arg }).collect();
        room.run(&args).data();
    }
    room.git(&["commit", "-qam", "changes"]).text();
}

/// Takes the merge driver out of the clone's settings, where it was set.
fn without_driver(room: &Sandbox) {
    let unset = room.git(&["config", "--unset-all", "merge.agentpm.driver"]);
    assert!([0, 5].contains(&unset.code), "{unset:?}");
}

fn plan_with(count: usize) -> (Sandbox, Vec<String>) {
    let room = Sandbox::new();
    without_driver(&room);
    let tasks: Vec<String> = (0..count).map(|n| room.task(&format!("task {n}"), &[])).collect();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    room.git(&["branch", "other"]).text();
    (room, tasks)
}

#[test]
fn branches_that_change_different_fields_merge_and_lint_has_nothing_to_say() {
    let (room, tasks) = plan_with(12);
    change_all(&room, &tasks, &["task", "update", "ID", "--title", "renamed"]);
    room.git(&["switch", "-q", "other"]).text();
    change_all(&room, &tasks, &["task", "update", "ID", "--priority", "3"]);
    assert_eq!(room.git(&["merge", "-q", "--no-edit", "main"]).code, 0);
    room.is_clean();
    for task in &tasks {
        let merged = room.get(task);
        assert_eq!((merged["title"].as_str(), merged["priority"].as_i64()), (Some("renamed"), Some(3)));
    }
}

#[test]
fn a_change_of_one_field_is_one_line_of_each_file() {
    let (room, tasks) = plan_with(1);
    room.run(&["task", "update", &tasks[0], "--priority", "1"]).data();
    room.git(&["commit", "-qam", "a priority"]).text();
    for args in [&["--priority", "2"][..], &["--title", "renamed"], &["--type", "ops"]] {
        room.run(&[&["task", "update", &tasks[0]][..], args].concat()).data();
        let changed = room.git(&["diff", "--numstat"]).text().to_owned();
        let counts: Vec<&str> = changed.lines().map(|line| line.rsplit_once('\t').unwrap().0).collect();
        assert_eq!(counts, ["1\t0", "1\t1"], "{args:?}: {changed}");
        room.git(&["commit", "-qam", "one field"]).text();
    }
}

#[test]
fn a_field_changed_on_both_sides_is_resolved_by_resolve_or_any_command() {
    for mend in [&["resolve"][..], &["task", "update", "ID", "--label", "x"]] {
        let (room, tasks) = plan_with(1);
        change_all(&room, &tasks, &["task", "update", "ID", "--title", "ours"]);
        room.git(&["switch", "-q", "other"]).text();
        change_all(&room, &tasks, &["task", "update", "ID", "--title", "theirs"]);
        assert_eq!(room.git(&["merge", "-q", "--no-edit", "main"]).code, 1);
        let args: Vec<&str> = mend.iter().map(|arg| if *arg == "ID" { &tasks[0] } else { *arg }).collect();
        room.run(&args).data();
        room.is_clean();
        assert_eq!(room.run(&["conflicts", &tasks[0]]).data()["total"], 1);
        room.git(&["commit", "-q", "--no-edit"]).text();
    }
}

/// The bytes of all files of the tasks of a clone.
fn bytes_of(room: &Sandbox, dir: &Path, tasks: &[String]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let at = |path: std::path::PathBuf| fs::read(dir.join(path.strip_prefix(room.repo()).unwrap())).unwrap();
    tasks.iter().map(|task| (at(room.yaml_of(task)), at(room.log_of(task)))).collect()
}

#[test]
fn a_merge_that_takes_one_side_of_each_conflict_ends_in_the_same_bytes_in_every_clone() {
    for side in ["ours", "theirs"] {
        let room = Sandbox::new();
        without_driver(&room);
        let blockers = [room.task("first", &[]), room.task("second", &[])];
        let task = room.task("one", &["--blocked-by", &blockers[0]]);
        for step in ["a", "b", "c"] {
            room.run(&["progress", "add", &task, "--content", step]).data();
        }
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-qm", "the plan"]).text();
        room.git(&["switch", "-qc", "branch"]).text();
        room.run(&["task", "update", &task, "--title", "renamed"]).data();
        room.git(&["commit", "-qam", "a title"]).text();
        room.git(&["switch", "-q", "main"]).text();
        room.run(&["task", "block", &task, "--by", &blockers[1]]).data();
        room.git(&["commit", "-qam", "a blocker"]).text();
        assert_eq!(room.git(&["merge", "-q", "--no-edit", "-X", side, "branch"]).code, 0);
        // A fresh clone knows the merge from its commits alone.
        let clone = room.repo().with_file_name("clone");
        room.git(&["clone", "-q", ".", &clone.display().to_string()]).text();
        let tasks = [task.clone()];
        for dir in [room.repo(), clone.clone()] {
            let answer = room.run_in(&dir, &["resolve"]);
            assert_eq!(answer.code, 0, "{side}: {answer:?}");
        }
        assert_eq!(bytes_of(&room, &room.repo(), &tasks), bytes_of(&room, &clone, &tasks), "{side}");
        let noted = room.run_in(&clone, &["task", "update", &task, "--priority", "2"]);
        assert_eq!(noted.data()["priority"], 2, "{side}");
        let lint = room.run_in(&clone, &["lint"]);
        assert_eq!(lint.json()["data"]["findings"], serde_json::json!([]), "{side}: {lint:?}");
        let merged = room.get(&task);
        assert_eq!(
            (merged["title"].as_str(), merged["blocked_by_count"].as_u64()),
            (Some("renamed"), Some(2)),
            "{side}"
        );
    }
}

#[test]
fn a_shallow_clone_reports_a_value_that_it_cannot_date_with_both() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "the plan"]).text();
    room.run(&["task", "update", &task, "--title", "two"]).data();
    room.git(&["commit", "-qam", "another title"]).text();
    let yaml = fs::read_to_string(room.yaml_of(&task)).unwrap();
    fs::write(room.yaml_of(&task), yaml.replace("title: two", "title: one")).unwrap();
    room.git(&["commit", "-qam", "back to the first title"]).text();
    let clone = room.repo().with_file_name("shallow");
    let url = format!("file://{}", room.repo().display());
    room.git(&["clone", "-q", "--depth", "1", &url, &clone.display().to_string()]).text();
    let lint = room.run_in(&clone, &["lint"]);
    let findings = lint.json()["data"]["findings"].to_string();
    assert!(
        findings.contains("task-yaml-astray") && findings.contains("one") && findings.contains("two"),
        "{findings}"
    );
    // The whole clone knows that the last commit changed the title and its log did not.
    assert_eq!(room.finding_codes(), ["task-yaml-edited"]);
}

/// Pairs that docs/git.md lists as conflicting.
const CONFLICTS: &[(&str, Change, &str, Change)] = &[
    ("one title", |t| t.fields.title = "two".into(), "another title", |t| t.fields.title = "three".into()),
    ("the first step", |t| add_step(t, 11), "the first note", |t| add_note(t, 21)),
    (
        "the first step",
        |t| add_step(t, 11),
        "the last line of the intent",
        |t| {
            t.fields.intent = Some("first\nsecond\n".into());
        },
    ),
    ("the type", |t| t.fields.kind = TaskType::Ops, "an intent of one line", |t| t.fields.intent = Some("new".into())),
    ("the first label", |t| t.fields.labels = vec!["x".into()], "the type", |t| t.fields.kind = TaskType::Ops),
    (
        "the owner",
        |t| t.owner = Some("bob".into()),
        "a completion",
        |t| {
            t.status = Status::Completed;
            t.completed_at = Some(now());
        },
    ),
    ("a due date", |t| t.fields.due = Some(now()), "an estimate", |t| t.fields.estimate = Some("2h".into())),
    (
        "a due date",
        |t| t.fields.due = Some(now()),
        "the last line of the intent",
        |t| {
            t.fields.intent = Some("first\nsecond\n".into());
        },
    ),
    ("the first criterion", |t| t.fields.acceptance = vec!["c".into()], "the first step", |t| add_step(t, 11)),
    ("an estimate", |t| t.fields.estimate = Some("2h".into()), "the first note", |t| add_note(t, 21)),
];

/// The same in a task that has labels and a step.
const CONFLICTS_IN_LISTS: &[(&str, Change, &str, Change)] = &[
    ("one more label", |t| t.fields.labels.push("c".into()), "the type", |t| t.fields.kind = TaskType::Ops),
    (
        "one more step",
        |t| add_step(t, 11),
        "ticking the last step",
        |t| {
            t.progress.values_mut().for_each(|step| (step.completed, step.completed_at) = (true, Some(now())));
        },
    ),
];

#[test]
fn the_pairs_that_the_documentation_lists_conflict() {
    let room = Sandbox::bare_repo();
    let bare = || {
        let mut task = task(false);
        task.fields.intent = Some("first\nlast\n".into());
        task.owner = Some("ada".into());
        task.progress.clear();
        task.context.clear();
        task
    };
    let pairs = CONFLICTS.iter().map(|pair| (pair, bare()));
    let in_lists = CONFLICTS_IN_LISTS.iter().map(|pair| (pair, task(true)));
    for ((one, change, other, more), base) in pairs.chain(in_lists) {
        let [mut ours, mut theirs] = [base.clone(), base.clone()];
        change(&mut ours);
        more(&mut theirs);
        let [ours, base, theirs] = [&ours, &base, &theirs].map(render_task);
        let (merged, conflicts) = merge_file(&room, [&ours, &base, &theirs]);
        assert_eq!(conflicts, 1, "{one} and {other}\n{merged}");
        // By fields only the same field on both sides conflicts.
        let by_fields = agentpm::store::merge::merge(&base, &ours, &theirs).conflicts;
        assert_eq!(by_fields.len(), usize::from(*other == "another title"), "{one} and {other}: {by_fields:?}");
    }
}
