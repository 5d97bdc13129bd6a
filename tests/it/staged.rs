//! `lint --staged` from git's own hooks: the index that git commits from is judged, in a linked worktree too, and nothing at all
//! is written; findings about several tasks are reported if the commit changes one of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, shard};

/// A plan with one task, a linked worktree, and a pre-commit hook that lists all files of both before and after its look.
fn watched() -> (Sandbox, String) {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["claim", &task]).data();
    commit(&room, "a plan");
    let linked = room.beside("linked");
    room.git(&["worktree", "add", "-q", "-b", "linked", linked.to_str().unwrap()]).text();
    // Reading once fills no cache that the hook could then do without.
    let notes = room.beside("notes");
    let hooks = room.beside("hooks");
    fs::create_dir_all(&notes).unwrap();
    fs::create_dir_all(&hooks).unwrap();
    let hook = format!(
        "#!/bin/sh\nlist() {{ find '{repo}' '{linked}' -printf '%p %y %m %i %s %T@ %C@\\n' | sort\n\
         find '{repo}' '{linked}' -type f -exec sha256sum {{}} + | sort; }}\n\
         env | grep '^GIT_' | sort > '{notes}/env'\nlist > '{notes}/before'\n\
         '{program}' lint --staged > '{notes}/said'; code=$?\nlist > '{notes}/after'\nexit $code\n",
        repo = room.repo().display(),
        linked = linked.display(),
        notes = notes.display(),
        program = env!("CARGO_BIN_EXE_agentpm"),
    );
    fs::write(hooks.join("pre-commit"), hook).unwrap();
    fs::set_permissions(hooks.join("pre-commit"), fs::Permissions::from_mode(0o755)).unwrap();
    room.git(&["config", "core.hooksPath", hooks.to_str().unwrap()]).text();
    (room, task)
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

/// Lets git commit, and gives the codes that its hook found. The hook has written nothing anywhere.
#[track_caller]
fn hooked(room: &Sandbox, dir: &Path, args: &[&str]) -> Vec<String> {
    let mut git = room.agentpm_like("git");
    let answer = Answer::from(git.current_dir(dir).args(["commit", "-q", "-m", "words"]).args(args).output().unwrap());
    let note = |name: &str| fs::read_to_string(room.beside("notes").join(name)).unwrap();
    let env = note("env");
    assert!(env.contains("GIT_INDEX_FILE="), "{env}");
    assert!(env.contains("GIT_DIR=") || !dir.starts_with(room.beside("linked")), "{env}");
    assert!(note("before").contains("/.git/agentpm/journal.jsonl"));
    assert_eq!(note("before"), note("after"));
    let said: Value = serde_json::from_str(&note("said")).unwrap();
    let findings = said["data"]["findings"].as_array().unwrap();
    let codes: Vec<String> = findings.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    assert_eq!(answer.code == 0, codes.is_empty(), "{answer:?} {said:#}");
    codes
}

#[test]
fn the_index_that_git_commits_from_is_judged_and_nothing_is_written() {
    crate::machine::needs!("find");
    let (room, task) = watched();
    for dir in [room.repo(), room.beside("linked")] {
        let below = room.task_dir(&task);
        let page = dir.join(below.strip_prefix(room.repo()).unwrap()).join("task.yaml");
        let git = |args: &[&str]| room.git_in(&dir, args).text().to_owned();
        room.run_in(&dir, &["note", &task, "--content", "a good change"]).data();
        git(&["add", "-A"]);
        let good = fs::read_to_string(&page).unwrap();
        let bad = good.replace("title: the task", "title: by hand");

        // The work tree is bad, the index is good.
        fs::write(&page, &bad).unwrap();
        fs::write(dir.join(".agentpm/tasks/stray.txt"), "x").unwrap();
        assert!(hooked(&room, &dir, &[]).is_empty());
        // The index is bad, the work tree is good.
        git(&["add", page.to_str().unwrap()]);
        fs::write(&page, &good).unwrap();
        assert_eq!(hooked(&room, &dir, &[]), ["task-yaml-edited"]);
        git(&["reset", "-q"]);
        // An index made for the occasion: of all files, of one, and of one besides what is staged.
        fs::write(&page, &bad).unwrap();
        assert_eq!(hooked(&room, &dir, &["-a"]), ["task-yaml-edited"]);
        assert_eq!(hooked(&room, &dir, &["--", page.to_str().unwrap()]), ["task-yaml-edited"]);
        git(&["add", page.to_str().unwrap()]);
        fs::write(dir.join("code.txt"), dir.to_str().unwrap()).unwrap();
        git(&["add", "-N", "code.txt"]);
        assert!(hooked(&room, &dir, &["--", "code.txt"]).is_empty());
        git(&["reset", "-q", "--hard"]);
        // From a folder below the top.
        let deep = dir.join("deep/er");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("code.txt"), "x").unwrap();
        git(&["add", "deep"]);
        assert!(hooked(&room, &deep, &[]).is_empty());
    }
}

/// What `lint --staged` finds: code, severity, the file's name and line, of this task.
#[track_caller]
fn staged(room: &Sandbox) -> Vec<(String, String, String, Option<u64>)> {
    let answer = room.run(&["lint", "--staged"]);
    let findings = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    let word = |f: &Value, key: &str| f[key].as_str().unwrap_or_default().to_owned();
    let place = |f: &Value| word(f, "path").trim_start_matches(".agentpm/tasks/").to_owned();
    findings.iter().map(|f| (word(f, "code"), word(f, "severity"), place(f), f["line"].as_u64())).collect()
}

fn one(code: &str, severity: &str, place: String, line: usize) -> Vec<(String, String, String, Option<u64>)> {
    vec![(code.into(), severity.into(), place, (line > 0).then_some(line as u64))]
}

fn page(task: &str) -> String {
    format!("{}/{task}/task.yaml", shard(task))
}

fn line(room: &Sandbox, task: &str, begin: &str) -> usize {
    let text = fs::read_to_string(room.yaml_of(task)).unwrap();
    text.lines().position(|line| line.trim_start().starts_with(begin)).unwrap() + 1
}

fn stage(room: &Sandbox, task: &str) {
    room.git(&["add", "-A", room.task_dir(task).to_str().unwrap()]).text();
}

fn merge(room: &Sandbox, branch: &str) {
    let _ = room.git(&["merge", "-q", "--no-edit", "--no-commit", branch]);
    room.run(&["resolve"]).data();
    room.git(&["add", "-A"]).text();
}

#[test]
fn a_relationship_with_a_task_that_is_not_staged_leads_nowhere() {
    let room = Sandbox::new();
    let (task, other) = (room.task("the task", &[]), room.task("another", &[]));
    room.git(&["add", "-A", ".agentpm/config.toml"]).text();
    stage(&room, &task);
    room.git(&["commit", "-q", "-m", "a plan"]).text();
    room.run(&["task", "relate", &task, "--to", &other, "--type", "relates_to"]).data();
    stage(&room, &task);
    let edge = line(&room, &task, "relationships:") + 1;
    assert_eq!(staged(&room), one("dangling-reference", "error", page(&task), edge));
    stage(&room, &other);
    assert_eq!(staged(&room), []);
    // It is the index that counts: what lies about is of no use, and what was thrown away does no harm.
    let files = room.task_dir(&other);
    fs::rename(&files, room.beside("away")).unwrap();
    assert_eq!(staged(&room), []);
    fs::rename(room.beside("away"), &files).unwrap();
    room.git(&["reset", "-q", files.to_str().unwrap()]).text();
    // Once it is in a commit all the same, it is held against no other.
    room.git(&["commit", "-q", "--no-verify", "-m", "by force"]).text();
    room.run(&["task", "block", &task, "--by", &room.task("a third", &[])]).data();
    stage(&room, &task);
    assert_eq!(staged(&room).len(), 1, "the new one alone");
}

#[test]
fn lint_staged_names_the_effects_of_a_merge() {
    let room = Sandbox::new();
    let (one_task, two) = (room.task("one", &[]), room.task("two", &[]));
    let parent = room.task("whole", &[]);
    let child = room.task("part", &[]);
    commit(&room, "a plan");
    room.git(&["switch", "-q", "-c", "theirs"]).text();
    room.run(&["task", "block", &one_task, "--by", &two]).data();
    room.run(&["task", "update", &child, "--parent", &parent]).data();
    commit(&room, "theirs");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["task", "block", &two, "--by", &one_task]).data();
    commit(&room, "ours");
    merge(&room, "theirs");
    let [(code, severity, place, line)] = &staged(&room)[..] else { panic!("{:?}", staged(&room)) };
    assert_eq!((code.as_str(), severity.as_str()), ("cycle-blocks", "error"));
    assert!([page(&one_task), page(&two)].contains(place) && line.is_some());
    commit(&room, "merged all the same");

    room.git(&["switch", "-q", "-c", "again"]).text();
    room.git(&["switch", "-q", "-c", "done"]).text();
    room.run(&["claim", &child]).data();
    room.run(&["done", &child]).data();
    room.run(&["claim", &parent]).data();
    room.run(&["done", &parent]).data();
    // Only the parent's end is staged, not the child's.
    stage(&room, &parent);
    let status = self::line(&room, &parent, "status:");
    assert_eq!(staged(&room), one("completed-early", "error", page(&parent), status));
    stage(&room, &child);
    assert_eq!(staged(&room), []);
}

#[test]
fn a_blocker_that_is_finished_alone_leaves_a_task_blocked_freely() {
    let room = Sandbox::new();
    let blocker = room.task("first", &[]);
    let waiting = room.task("then", &["--blocked-by", &blocker]);
    commit(&room, "a plan");
    room.run(&["claim", &blocker]).data();
    room.run(&["done", &blocker]).data();
    stage(&room, &blocker);
    // Its own page lies in the work tree as it will be, and is judged as it is staged.
    let before = room.git(&["show", &format!("HEAD:.agentpm/tasks/{}", page(&waiting))]).text().to_owned();
    let status = before.lines().position(|line| line.starts_with("status:")).unwrap() + 1;
    assert_eq!(staged(&room), one("blocked-without-blocker", "warning", page(&waiting), status));
    stage(&room, &waiting);
    assert_eq!(staged(&room), []);
}

#[test]
fn lint_staged_hints_at_the_commands_for_files_by_hand() {
    let room = Sandbox::new();
    let (task, other) = (room.task("the task", &[]), room.task("another", &[]));
    room.run(&["task", "block", &task, "--by", &other]).data();
    commit(&room, "a plan");
    room.git(&["rm", "-q", "-r", "--cached", room.task_dir(&other).to_str().unwrap()]).text();
    let report = room.run(&["lint", "--staged"]).json()["data"].clone();
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report:#}");
    let finding = &report["findings"][0];
    assert_eq!((&finding["code"], &finding["task"]), (&json!("task-deleted"), &json!(other)));
    assert!(finding["mend"].as_str().unwrap().contains("agentpm task archive"), "{finding:#}");
    room.git(&["add", "-A"]).text();
    assert_eq!(staged(&room), []);
    room.git(&["rm", "-q", "--cached", room.log_of(&task).to_str().unwrap()]).text();
    let log = page(&task).replace("task.yaml", "events.jsonl");
    assert_eq!(staged(&room), one("log-missing", "error", log, 0));
    room.git(&["add", "-A"]).text();

    let new = "01M7W6N8701N97CCF07B3G3CKM";
    fs::create_dir_all(room.task_dir(new)).unwrap();
    fs::write(room.yaml_of(new), "title: in its own folder\n").unwrap();
    fs::write(room.store().join("tasks/new.yaml"), "title: anywhere\n").unwrap();
    room.git(&["add", "-A"]).text();
    let [first, second] = [page(new), "new.yaml".to_owned()].map(|place| one("task-new", "error", place, 1).remove(0));
    assert_eq!(staged(&room), [first, second]);
    room.run(&["lint", "--fix"]).data();
    room.git(&["add", "-A"]).text();
    assert_eq!(staged(&room), []);
}

#[test]
fn lint_staged_reads_only_logs_that_staged_changes_concern() {
    let room = Sandbox::new();
    let (task, other) = (room.task("the task", &[]), room.task("another", &[]));
    commit(&room, "a plan");
    let log = room.log_of(&other);
    let object = room.git(&["rev-parse", &format!("HEAD:{}", shown(&room, &log))]).text().to_owned();
    fs::remove_file(room.repo().join(".git/objects").join(&object[..2]).join(&object[2..])).unwrap();
    // Only what is named is added: git would write the lost object anew where it looks at its file again.
    let add = |id: &str| stage(&room, id);
    for args in
        [&["note", &task, "--content", "a word"][..], &["task", "update", &task, "--priority", "3"], &["claim", &task]]
    {
        room.run(args).data();
        add(&task);
        assert_eq!(staged(&room), []);
    }
    add(&room.task("a new one", &[]));
    assert_eq!(staged(&room), []);
    room.run(&["done", &task]).data();
    add(&task);
    // A finished task may have an unfinished part: now every log is read.
    let refused = room.run(&["lint", "--staged"]);
    assert!(refused.error("ERR_GIT", 9)["message"].as_str().unwrap().contains(&object), "{refused:?}");
}

fn shown(room: &Sandbox, path: &Path) -> String {
    path.strip_prefix(room.repo()).unwrap().display().to_string()
}
