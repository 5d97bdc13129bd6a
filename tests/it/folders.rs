//! The folders above a task: two levels, named by the last two characters of its id.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, shard};

/// Most bytes of loose objects that committing one changed task may add.
const MOST_BYTES: u64 = 6 * 1024;

/// Bytes of all files below a folder.
fn bytes_in(folder: &Path) -> u64 {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    files.filter(|file| file.file_type().is_file()).map(|file| file.metadata().expect("its size").len()).sum()
}

fn commit(room: &Sandbox) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
}

/// Bytes of the objects that committing one more note adds.
fn added_by(room: &Sandbox, task: &str, commit: impl Fn()) -> u64 {
    room.run(&["note", task, "--content", "a decision of some words"]).data();
    let objects = room.repo().join(".git/objects");
    let before = bytes_in(&objects);
    commit();
    bytes_in(&objects) - before
}

#[test]
fn committing_one_changed_task_among_2_000_adds_few_bytes() {
    let room = Sandbox::new();
    room.git(&["config", "gc.auto", "0"]).text();
    let ops: Vec<Value> =
        (0..2_000).map(|n| json!({ "op": "task.create", "args": { "title": format!("task {n}") } })).collect();
    room.feed(&["batch", "--file", "-"], Value::from(ops).to_string().as_bytes()).data();
    commit(&room);
    let task = room.run(&["next"]).data()["task"]["id"].as_str().expect("an id").to_owned();
    let by_git = added_by(&room, &task, || commit(&room));
    assert!((1_000..=MOST_BYTES).contains(&by_git), "{by_git} bytes by git, at most {MOST_BYTES}");
    let by_sync = added_by(&room, &task, || drop(room.run(&["sync", "--no-push"]).data()));
    assert!((1_000..=MOST_BYTES).contains(&by_sync), "{by_sync} bytes by sync, at most {MOST_BYTES}");
}

/// A plan with one task, whose folder was moved to `place` below `tasks`. Gives the id and the folder.
fn moved_to(place: impl Fn(&str) -> String) -> (Sandbox, String, PathBuf) {
    let room = Sandbox::new();
    let id = room.task("moved", &[]);
    let folder = room.store().join("tasks").join(place(&id));
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::rename(room.task_dir(&id), &folder).unwrap();
    (room, id, folder)
}

fn below(room: &Sandbox, path: &Path) -> String {
    path.strip_prefix(room.repo()).unwrap().display().to_string()
}

/// A finding's rule, path and advice.
fn parts(finding: &Value) -> [&str; 3] {
    ["code", "path", "mend"].map(|key| finding[key].as_str().unwrap_or_default())
}

#[track_caller]
fn a_misplaced_task_is_named_with_its_place(place: impl Fn(&str) -> String) {
    let (room, id, folder) = moved_to(place);
    let advice = format!("move the folder to .agentpm/tasks/{}/{id}", shard(&id));
    let at = below(&room, &folder);
    assert!(room.findings().iter().any(|f| parts(f) == ["path-mismatch", &at, &advice]), "{:?}", room.findings());
    assert!(room.findings().iter().all(|f| f["code"] == "path-mismatch"), "{:?}", room.findings());

    let log = format!("{at}/events.jsonl");
    let text = fs::read(folder.join("events.jsonl")).unwrap();
    let stdin = room.feed(&["lint", "--stdin", "--path", &log], &text).json();
    assert_eq!(parts(&stdin["data"]["findings"][0]), ["path-mismatch", &log, &advice]);

    room.git(&["add", "-A"]).text();
    let staged = room.run(&["lint", "--staged"]).json()["data"]["findings"].as_array().unwrap().clone();
    let expected = ["events.jsonl", "task.yaml"].map(|file| format!("{at}/{file}"));
    let expected: Vec<[&str; 3]> = expected.iter().map(|path| ["path-mismatch", path, &advice]).collect();
    assert_eq!(staged.iter().map(parts).collect::<Vec<_>>(), expected);

    assert_eq!(room.run(&["task", "list", "--all"]).data()["total"], 0);
    assert_eq!(room.run(&["lint", "--fix"]).code, 1);
    assert!(folder.join("events.jsonl").is_file(), "nothing but its owner moves it");
    fs::create_dir_all(room.task_dir(&id).parent().unwrap()).unwrap();
    fs::rename(&folder, room.task_dir(&id)).unwrap();
    room.is_clean();
    assert_eq!(room.get(&id)["title"], "moved");
}

#[test]
fn a_task_in_one_level_of_folders_is_misplaced() {
    a_misplaced_task_is_named_with_its_place(|id| format!("{}/{id}", &id[24..]));
}

#[test]
fn a_task_in_no_folder_is_misplaced() {
    a_misplaced_task_is_named_with_its_place(|id| id.to_owned());
}

#[test]
fn a_task_in_the_first_level_is_misplaced() {
    a_misplaced_task_is_named_with_its_place(|id| format!("{}/{id}", &id[24..25]));
}

#[test]
fn a_task_in_the_shard_of_others_is_misplaced() {
    a_misplaced_task_is_named_with_its_place(|id| if id.ends_with("ZZ") { "0/0" } else { "Z/Z" }.to_owned() + "/" + id);
}

#[test]
fn a_task_in_folders_of_other_names_is_misplaced() {
    a_misplaced_task_is_named_with_its_place(|id| format!("{}0/{}/{id}", &id[24..25], &id[25..]));
}

#[test]
fn other_files_among_task_folders_are_odd() {
    let room = Sandbox::new();
    room.task("one", &[]);
    for path in ["x.txt", "A/x.txt", "A/B/x.txt", "new/x.txt", "new/mine/x.txt", "A/B/events.jsonl", "A/events.jsonl"] {
        let file = room.store().join("tasks").join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "x").unwrap();
        let odd: Vec<Value> = room.findings();
        assert_eq!(
            odd.iter().map(|f| parts(f)[..2].to_vec()).collect::<Vec<_>>(),
            [["odd-file", &below(&room, &file)]]
        );
        room.git(&["add", "-A"]).text();
        let staged = room.run(&["lint", "--staged"]).json()["data"]["findings"][0].clone();
        assert_eq!(parts(&staged)[..2], ["odd-file", &below(&room, &file)]);
        fs::remove_file(&file).unwrap();
    }
    // Below the level of the tasks the folder is named, not what lies in it.
    let folder = room.store().join("tasks/A/B/notes");
    fs::create_dir_all(folder.join("deep")).unwrap();
    fs::write(folder.join("deep/x.txt"), "x").unwrap();
    assert_eq!(parts(&room.findings()[0])[..2], ["odd-file", &below(&room, &folder)]);
}

#[test]
fn empty_folders_are_ignored() {
    let room = Sandbox::new();
    let (gone, stays) = (room.task("gone", &[]), room.task("stays", &[]));
    fs::remove_dir_all(room.task_dir(&gone)).unwrap();
    for folder in ["A", "A/B", "new/mine"] {
        fs::create_dir_all(room.store().join("tasks").join(folder)).unwrap();
    }
    assert!(room.task_dir(&gone).parent().unwrap().is_dir());
    room.is_clean();
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
    assert_eq!(room.run(&["next"]).data()["task"]["id"], stays.as_str());
    room.run(&["task", "get", &gone]).error("ERR_NOT_FOUND", 3);
    commit(&room);
    room.git(&["clean", "-fdq"]).text();
    room.is_clean();
    room.task("another", &[]);
    room.is_clean();
}
