//! The plan after a plain `git merge`: what git leaves is no finding where it means nothing, what follows from both branches is
//! recorded, and the driver and the hooks of the clone do the rest.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", message]).text();
}

/// A merge of two branches, each of which changed `task`.
fn merged_notes() -> (Sandbox, String) {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    commit(&room, "begin");
    room.git(&["switch", "-q", "-c", "side"]).text();
    room.run(&["note", &task, "--content", "by side"]).data();
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["note", &task, "--content", "by main"]).data();
    commit(&room, "main");
    let driver = format!("merge.agentpm.driver={}", driver_command());
    room.git(&["-c", &driver, "merge", "-q", "--no-edit", "side"]).text();
    (room, task)
}

/// The Lamport times of a log, line by line.
fn lamports(room: &Sandbox, task: &str) -> Vec<u64> {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let lamport = |line: &str| serde_json::from_str::<Value>(line).unwrap()["lamport"].as_u64().unwrap();
    log.lines().map(lamport).collect()
}

#[test]
fn lines_in_another_order_are_no_finding() {
    let (room, task) = merged_notes();
    assert!(!lamports(&room, &task).is_sorted(), "git's union leaves the order of the merge");
    room.is_clean();
    let path = room.log_of(&task).strip_prefix(room.repo()).unwrap().display().to_string();
    let log = fs::read(room.log_of(&task)).unwrap();
    for report in
        [room.run(&["lint", "--base", "HEAD^1"]).data(), room.feed(&["lint", "--stdin", "--path", &path], &log).data()]
    {
        assert_eq!(report["findings"], json!([]), "{report:#}");
    }
    let review = room.run(&["review", "HEAD^1..HEAD"]).data();
    assert!(review["findings"].as_array().is_none_or(Vec::is_empty), "{review:#}");
    let doctor = room.run(&["doctor"]).data();
    let plan = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "plan").unwrap();
    assert!(plan["found"].as_str().unwrap().contains("0 warnings"), "{plan}");
    // The whole file, staged in yet another order.
    let mut lines: Vec<&str> = std::str::from_utf8(&log).unwrap().lines().collect();
    lines.reverse();
    fs::write(room.log_of(&task), lines.join("\n") + "\n").unwrap();
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).data()["findings"], json!([]));
}

#[test]
fn resolve_sorts_a_log_and_counts_it() {
    let (room, task) = merged_notes();
    let answer = room.run(&["resolve"]);
    assert_eq!((&answer.data()["items"], answer.stderr.as_str()), (&json!([]), ""));
    assert_eq!(answer.data()["sorted"], 1);
    assert!(lamports(&room, &task).is_sorted());
    assert_eq!(room.run(&["resolve", "--format", "table"]).text(), "nothing to repair");
}

#[test]
fn the_next_write_of_a_task_sorts_its_log() {
    let (room, task) = merged_notes();
    let answer = room.run(&["note", &task, "--content", "after the merge"]);
    answer.data();
    assert_eq!(answer.stderr, "");
    assert!(lamports(&room, &task).is_sorted() && lamports(&room, &task).len() == 4);
}

#[test]
fn a_log_that_resolve_sorts_within_a_merge_is_staged() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.repo().join("code"), "begin\n").unwrap();
    commit(&room, "begin");
    for branch in ["side", "main"] {
        let _ = room.git(&["switch", "-q", "-c", branch]);
        room.git(&["switch", "-q", branch]).text();
        room.run(&["note", &task, "--content", branch]).data();
        fs::write(room.repo().join("code"), branch).unwrap();
        commit(&room, branch);
    }
    assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0, "the code is in conflict");
    room.run(&["resolve"]).data();
    assert!(lamports(&room, &task).is_sorted());
    let unstaged = room.git(&["diff", "--name-only", "--", ".agentpm"]);
    assert_eq!(unstaged.text(), "");
}

/// Two blockers and the tasks that wait for both.
struct Waiting {
    blockers: [String; 2],
    tasks: Vec<String>,
}

fn waiting(room: &Sandbox, tasks: usize) -> Waiting {
    let blockers = ["first", "second"].map(|title| room.task(title, &[]));
    let [one, two] = &blockers;
    let task = |n| room.task(&format!("waits {n}"), &["--blocked-by", one, "--blocked-by", two]);
    let tasks = (0..tasks).map(task).collect();
    Waiting { blockers, tasks }
}

fn finish(room: &Sandbox, task: &str) {
    room.run(&["claim", task]).data();
    room.run(&["done", task]).data();
}

/// A merge of two branches of which each finished one blocker of the same tasks.
fn merged_ends(tasks: usize) -> (Sandbox, Waiting) {
    let room = Sandbox::new();
    let plan = waiting(&room, tasks);
    commit(&room, "begin");
    room.git(&["switch", "-q", "-c", "side"]).text();
    finish(&room, &plan.blockers[0]);
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    finish(&room, &plan.blockers[1]);
    commit(&room, "main");
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    assert_eq!(room.finding_codes(), ["blocked-without-blocker"]);
    (room, plan)
}

/// The events of a task that say it is open again.
fn unblockings(log: &std::path::Path) -> Vec<Value> {
    let log = fs::read_to_string(log).unwrap();
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    events.filter(|event| event["payload"]["from"] == "blocked" && event["payload"]["to"] == "open").collect()
}

#[test]
fn resolve_unblocks_what_both_branches_freed() {
    let (room, plan) = merged_ends(2);
    let answer = room.run(&["resolve"]).data();
    for (item, task) in answer["items"].as_array().unwrap().iter().zip(&plan.tasks) {
        let did = json!(["unblocked: nothing unfinished blocks it"]);
        assert_eq!((&item["entity"], &item["did"]), (&json!(format!("task/{task}")), &did), "{answer}");
        let events = unblockings(&room.log_of(task));
        assert_eq!((events.len(), &events[0]["agent"]), (1, &json!("ada")));
        assert_eq!(events[0]["why"], "all its blockers are finished");
    }
    assert_eq!(answer["items"].as_array().unwrap().len(), 2);
    room.is_clean();
    assert_eq!(room.run(&["resolve"]).data()["items"], json!([]), "a second run changes nothing");
    assert_eq!(unblockings(&room.log_of(&plan.tasks[0])).len(), 1);
}

#[test]
fn lint_fix_unblocks_what_both_branches_freed() {
    let (room, plan) = merged_ends(1);
    let report = room.run(&["lint", "--fix"]).data();
    let words = format!("task {}: unblocked: nothing unfinished blocks it", plan.tasks[0]);
    assert_eq!((&report["fixed"], &report["findings"]), (&json!([words]), &json!([])), "{report:#}");
    assert_eq!(room.run(&["lint", "--fix"]).data()["fixed"], Value::Null);
    assert_eq!(unblockings(&room.log_of(&plan.tasks[0])).len(), 1);
}

#[test]
fn a_task_that_cannot_be_unblocked_keeps_no_other_from_it() {
    let (room, plan) = merged_ends(3);
    let [edited, broken, free] = &plan.tasks[..] else { panic!() };
    let text = fs::read_to_string(room.yaml_of(edited)).unwrap();
    fs::write(room.yaml_of(edited), text.replace("status: blocked\n", "status: blocked\npriority: 99\n")).unwrap();
    let log = fs::read_to_string(room.log_of(broken)).unwrap();
    fs::write(room.log_of(broken), format!("{log}{}\n", "x".repeat(400_000))).unwrap();
    let answer = room.run(&["resolve"]);
    let done: Vec<Value> =
        answer.data()["items"].as_array().unwrap().iter().map(|item| item["entity"].clone()).collect();
    assert_eq!(done, [json!(format!("task/{free}"))], "{answer:?}");
    for task in [edited, broken] {
        assert!(answer.stderr.contains(&format!("task {task} was passed over")), "{answer:?}");
        assert_eq!(unblockings(&room.log_of(task)).len(), 0);
    }
    assert!(fs::read_to_string(room.yaml_of(edited)).unwrap().contains("priority: 99"));
}

#[test]
fn a_task_that_another_agent_holds_stays_blocked() {
    let room = Sandbox::new();
    let [blocker, task] = ["blocker", "held"].map(|title| room.task(title, &[]));
    commit(&room, "begin");
    room.git(&["switch", "-q", "-c", "side"]).text();
    finish(&room, &blocker);
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    room.run_as("bob", &["lease", "acquire", &task]).data();
    room.run(&["task", "block", &task, "--by", &blocker, "--override", "it needs that first"]).data();
    commit(&room, "main");
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    let answer = room.run(&["resolve"]);
    assert_eq!(answer.data()["items"], json!([]));
    assert!(answer.stderr.contains(&format!("task {task} stays blocked: bob holds it")), "{answer:?}");
    assert_eq!(room.run(&["lint", "--fix"]).data()["fixed"], Value::Null);
    // The holder's own next command records it.
    let did = room.run_as("bob", &["resolve"]).data();
    assert_eq!(did["items"][0]["entity"], format!("task/{task}"));
    room.is_clean();
}

#[test]
fn unblocking_is_left_to_agents_that_may_move_tasks() {
    let (room, plan) = merged_ends(1);
    room.run(&["agent", "register", "--name", "eve"]).data();
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  eve: {perms: [comment]}\n").unwrap();
    commit(&room, "roles");
    room.run_as("eve", &["resolve"]).data();
    assert!(unblockings(&room.log_of(&plan.tasks[0])).is_empty());
    assert_eq!(room.run(&["ready"]).data()["total"], 1, "it counts as open all the same");
    room.run(&["resolve"]).data();
    assert_eq!(unblockings(&room.log_of(&plan.tasks[0]))[0]["agent"], "ada");
    commit(&room, "unblocked");
    assert_eq!(room.run(&["lint", "--base", "HEAD^"]).data()["findings"], json!([]));
}

/// Finishes one blocker on each of two branches, which also change the same line of the code.
fn finish_on_two_branches(room: &Sandbox, plan: &Waiting) {
    for (branch, blocker) in ["side", "main"].into_iter().zip(&plan.blockers) {
        let _ = room.git(&["switch", "-q", "-c", branch]);
        room.git(&["switch", "-q", branch]).text();
        finish(room, blocker);
        fs::write(room.repo().join("code"), branch).unwrap();
        commit(room, branch);
    }
}

#[test]
fn resolve_within_a_merge_stages_what_it_unblocks() {
    let room = Sandbox::new();
    let plan = waiting(&room, 1);
    commit(&room, "begin");
    finish_on_two_branches(&room, &plan);
    assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0, "the code is in conflict");
    room.run(&["resolve"]).data();
    commit(&room, "merged");
    assert_eq!(unblockings(&room.log_of(&plan.tasks[0])).len(), 1);
    assert_eq!(room.run(&["lint", "--base", "HEAD^1"]).data()["findings"], json!([]));
}

/// Two clones of a plan in which a task waits for two others, and each clone finished one of these.
fn clones_that_ended_one_each() -> (Clones, Waiting) {
    let (clones, _) = Clones::new(&["ada", "bob"]);
    let plan = waiting(&clones.room, 1);
    commit(&clones.room, "plan");
    clones.room.git(&["push", "-q"]).text();
    for (name, blocker) in ["ada", "bob"].into_iter().zip(&plan.blockers) {
        clones.git(name, &["pull", "-q"]).text();
        clones.run(name, &["claim", blocker]).data();
        clones.run(name, &["done", blocker]).data();
    }
    (clones, plan)
}

#[test]
fn sync_unblocks_what_its_own_merge_freed_and_pushes_that() {
    let (clones, plan) = clones_that_ended_one_each();
    let task = &plan.tasks[0];
    assert_eq!(clones.run("ada", &["sync"]).data()["unblocked"], Value::Null);
    let before = clones.everything("bob");
    clones.run("bob", &["sync", "--plan"]).data();
    assert_eq!(clones.everything("bob"), before, "a plan of a sync writes nothing");

    let report = clones.run("bob", &["sync"]).data();
    assert_eq!(report["unblocked"][0]["id"], json!(task), "{report:#}");
    assert!(report["outgoing"].as_array().unwrap().iter().any(|change| change["task"] == **task), "{report:#}");
    assert_eq!(clones.git("bob", &["status", "--porcelain"]).text(), "");
    assert_eq!(
        clones.git("bob", &["rev-parse", "HEAD", "origin/main"]).text().lines().collect::<BTreeSet<_>>().len(),
        1
    );
    assert!(clones.git("bob", &["log", "-1", "--format=%s"]).text().contains("moved"));

    let report = clones.run("ada", &["sync"]).data();
    assert_eq!(report["unblocked"], Value::Null, "bob recorded it already");
    for name in ["ada", "bob"] {
        assert_eq!(clones.run(name, &["task", "get", task]).data()["status"], "open");
        assert_eq!(clones.run(name, &["lint"]).data()["findings"], json!([]));
        assert_eq!(clones.run(name, &["sync"]).data()["committed"], Value::Null, "a second run changes nothing");
    }
    assert_eq!(unblockings(&clones.log("ada", task)).len(), 1);
    assert_eq!(crate::sync::plan(&clones, "ada"), crate::sync::plan(&clones, "bob"));
}

#[test]
fn sync_without_a_remote_commits_what_it_unblocks() {
    let (room, plan) = merged_ends(1);
    let report = room.run(&["sync", "--no-push"]).data();
    assert_eq!(report["unblocked"][0]["id"], json!(plan.tasks[0]), "{report:#}");
    assert_eq!(room.git(&["status", "--porcelain"]).text(), "");
    assert_eq!(room.git(&["rev-list", "--count", "HEAD@{1}..HEAD"]).text(), "1");
    assert_eq!(room.run(&["sync", "--no-push"]).data()["committed"], Value::Null);
    room.is_clean();
}

#[test]
fn two_clones_that_unblock_the_same_task_at_once_converge() {
    let (clones, plan) = clones_that_ended_one_each();
    let task = &plan.tasks[0];
    for name in ["ada", "bob"] {
        clones.git(name, &["add", "-A"]).text();
        clones.git(name, &["commit", "-q", "-m", name]).text();
    }
    // As a hosting site merges: both clones have the merge, and neither has what the other records after it.
    clones.git("ada", &["push", "-q"]).text();
    clones.git("bob", &["pull", "-q", "--no-rebase", "--no-edit"]).text();
    clones.git("bob", &["push", "-q"]).text();
    clones.git("ada", &["pull", "-q"]).text();
    for name in ["ada", "bob"] {
        let answer = clones.run(name, &["resolve"]).data();
        assert_eq!(answer["items"][0]["entity"], format!("task/{task}"), "{answer}");
    }
    for name in ["ada", "bob", "ada"] {
        clones.run(name, &["sync"]).data();
    }
    assert_eq!(crate::sync::plan(&clones, "ada"), crate::sync::plan(&clones, "bob"));
    for name in ["ada", "bob"] {
        assert_eq!(clones.run(name, &["task", "get", task]).data()["status"], "open");
        assert_eq!(clones.run(name, &["lint"]).data()["findings"], json!([]));
        assert_eq!(clones.run(name, &["conflicts"]).data()["total"], 0, "the same value twice is no conflict");
        assert_eq!(clones.run(name, &["sync"]).data()["committed"], Value::Null);
    }
}

/// What the settings of a clone call the merge driver.
fn driver(room: &Sandbox) -> String {
    room.git(&["config", "--local", "--default", "", "--get", "merge.agentpm.driver"]).text().to_owned()
}

fn driver_command() -> String {
    format!("'{}' merge-driver %O %A %B %P %S %X %Y", env!("CARGO_BIN_EXE_agentpm"))
}

#[test]
fn init_sets_the_drivers_of_the_clone_and_nothing_else_outside_the_store() {
    let room = Sandbox::bare_repo();
    let settings = ["merge.agentpm.name", "merge.agentpm.driver", "diff.agentpm.textconv"];
    let git = || {
        let mut files = crate::sync::tree(&room.repo());
        files.retain(|path, _| !path.starts_with(".agentpm/"));
        let hooks = fs::read_dir(room.repo().join(".git/hooks")).map_or(0, Iterator::count);
        let others = room.git(&["config", "--local", "--list"]).text().lines().map(str::to_owned).collect::<Vec<_>>();
        let others: Vec<String> = others.into_iter().filter(|line| !line.contains(".agentpm.")).collect();
        (files, hooks, others)
    };
    let before = git();
    let answer = room.run(&["init", "--format", "table"]);
    let words = format!("set in the git settings of this clone: {}", settings.join(", "));
    assert_eq!(answer.text().lines().last(), Some(&*words));
    assert_eq!(driver(&room), driver_command());
    assert_eq!(git(), before);
    // Doing it again changes and says nothing.
    let config = fs::read(room.repo().join(".git/config")).unwrap();
    assert_eq!(room.run(&["init"]).data()["git_settings"], Value::Null);
    assert_eq!(room.run(&["init", "--format", "table"]).text().lines().count(), 1);
    assert_eq!(fs::read(room.repo().join(".git/config")).unwrap(), config);
    // A clone of a plan has no settings yet.
    room.git(&["config", "--local", "--remove-section", "merge.agentpm"]).text();
    assert_eq!(room.run(&["init"]).data()["git_settings"], json!(settings[..2]));
}

#[test]
fn init_leaves_the_settings_alone_on_request_and_works_without_git() {
    let room = Sandbox::bare_repo();
    let made = room.run(&["init", "--no-driver"]).data();
    assert_eq!((&made["git_settings"], driver(&room)), (&Value::Null, String::new()));
    room.run(&["init", "--no-driver", "--hooks"]).data();
    assert_eq!(driver(&room), "");
    let mut command = room.agentpm();
    let answer = Answer::from(command.env("PATH", room.home()).arg("init").output().unwrap());
    answer.data();
    assert!(answer.stderr.contains("the merge driver of this clone was not set"), "{answer:?}");
}

#[test]
fn git_may_be_a_link_on_path_but_not_a_file_of_the_work_tree() {
    for (folder, is_found) in [("bin", true), ("repo/bin", false)] {
        let room = Sandbox::bare_repo();
        let folder = room.beside(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let git = std::path::Path::new(crate::machine::path()).join("git").canonicalize().unwrap();
        std::os::unix::fs::symlink(git, folder.join("git")).unwrap();
        let mut command = room.agentpm();
        let answer = Answer::from(command.env("PATH", &folder).arg("init").output().unwrap());
        answer.data();
        assert_eq!(answer.stderr.contains("there is no program git"), !is_found, "{answer:?}");
    }
}

#[test]
fn a_driver_of_an_earlier_version_is_named_and_renewed() {
    let room = Sandbox::new();
    let found = || {
        let report = room.run(&["doctor"]).json()["data"].clone();
        let check =
            report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "driver").unwrap().clone();
        assert_eq!(check["ok"], true, "{check}");
        check["found"].as_str().unwrap().to_owned()
    };
    let primed = || room.run(&["prime"]).text().contains("run `agentpm init`");
    assert!(found().contains("not set; agentpm init sets it") && primed());
    let old = driver_command().replace(" %S %X %Y", "");
    room.git(&["config", "merge.agentpm.driver", &old]).text();
    assert!(found().contains("agentpm init renews it") && !primed());
    let renewed = room.run(&["init"]).data();
    assert!(renewed["git_settings"].as_array().unwrap().contains(&json!("merge.agentpm.driver")), "{renewed}");
    assert_eq!((driver(&room), found()), (driver_command(), "set in this clone".to_owned()));
    assert!(!primed());
}

#[test]
fn the_driver_takes_labels_and_does_without_them() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    let text = fs::read(room.yaml_of(&task)).unwrap();
    for labels in [&[][..], &["%S", "%X", "%Y"], &["", "HEAD", "side"], &["abc1234", "-x", "a b"]] {
        for name in ["o", "a", "b"] {
            fs::write(room.repo().join(name), &text).unwrap();
        }
        let answer = room.run(&[&["merge-driver", "o", "a", "b", "path/task.yaml"], labels].concat());
        assert_eq!(answer.code, 0, "{labels:?}: {answer:?}");
        assert_eq!(fs::read(room.repo().join("a")).unwrap(), text);
    }
}

/// Two branches that set the same field of a task, in a repository made by `init` with these flags.
fn two_titles(flags: &[&str]) -> (Sandbox, String) {
    let room = Sandbox::bare_repo();
    room.run(&[&["init"], flags].concat()).data();
    let task = room.task("the task", &[]);
    commit(&room, "begin");
    for branch in ["side", "main"] {
        let _ = room.git(&["switch", "-q", "-c", branch]);
        room.git(&["switch", "-q", branch]).text();
        room.run(&["task", "update", &task, "--title", branch]).data();
        commit(&room, branch);
    }
    (room, task)
}

#[test]
fn without_the_driver_the_same_field_on_two_branches_is_a_conflict() {
    let (room, _) = two_titles(&["--no-driver"]);
    assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0);
}

#[test]
fn after_init_the_same_field_on_two_branches_merges_without_a_conflict() {
    for flags in [&[][..], &["--hooks"]] {
        let (room, task) = two_titles(flags);
        room.git(&["switch", "-q", "-c", "third", "side"]).text();
        fs::write(room.repo().join("code"), "third").unwrap();
        commit(&room, "third");
        room.git(&["switch", "-q", "main"]).text();
        for branch in ["side", "third"] {
            room.git(&["merge", "-q", "--no-edit", branch]).text();
            assert_eq!(room.git(&["status", "--porcelain"]).text(), "", "nothing is in the way of the next merge");
        }
        let merged = fs::read_to_string(room.yaml_of(&task)).unwrap();
        assert!(merged.contains("title: main") && !merged.contains("<<<<"), "{merged}");
        room.is_clean();
        assert_eq!(room.run(&["resolve"]).data()["items"], json!([]), "what was committed is what the events say");
    }
}

#[test]
fn with_hooks_the_commit_that_ends_a_merge_holds_what_follows_from_both_branches() {
    for all in [false, true] {
        let room = Sandbox::new();
        room.run(&["init", "--hooks"]).data();
        let plan = waiting(&room, 1);
        commit(&room, "begin");
        finish_on_two_branches(&room, &plan);
        fs::write(room.repo().join("notes"), "the user's own").unwrap();
        assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0, "the code is in conflict");
        fs::write(room.repo().join("code"), "both").unwrap();
        let end: &[&str] = if all { &["commit", "-q", "-a", "--no-edit"] } else { &["commit", "-q", "--no-edit"] };
        if !all {
            room.git(&["add", "code"]).text();
        }
        Answer::from(room.agentpm_like("git").args(end).output().unwrap()).text();
        assert_eq!(room.git(&["status", "--porcelain"]).text(), "?? notes", "all of the plan is committed");
        assert_eq!(unblockings(&room.log_of(&plan.tasks[0])).len(), 1);
        assert_eq!(room.run(&["lint", "--base", "HEAD^1"]).data()["findings"], json!([]));
    }
}

#[test]
fn resolve_stages_what_it_writes_and_nothing_else_of_the_user() {
    let (room, plan) = merged_ends(2);
    let [freed, edited] = &plan.tasks[..] else { panic!() };
    let other = room.task("staged in part", &[]);
    fs::write(room.repo().join("code"), "dirty").unwrap();
    room.git(&["add", &room.yaml_of(&other).display().to_string()]).text();
    let text = fs::read_to_string(room.yaml_of(edited)).unwrap();
    fs::write(room.yaml_of(edited), text.replace("status: blocked\n", "status: blocked\npriority: 99\n")).unwrap();

    let report = room.run(&["resolve", "--staged"]).data();
    let staged = room.git(&["diff", "--cached", "--name-only"]);
    let paths: BTreeSet<&str> = staged.text().lines().collect();
    let of = |task: &str, file: &str| {
        let path = room.task_dir(task).join(file);
        path.strip_prefix(room.repo()).unwrap().display().to_string()
    };
    let expected: Vec<String> =
        [freed, &other].iter().flat_map(|task| ["events.jsonl", "task.yaml"].map(|file| of(task, file))).collect();
    assert_eq!(paths, expected.iter().map(String::as_str).collect(), "{report}");
    assert_eq!(report["staged"], 3, "one was staged already");
    assert!(
        room.git(&["diff", "--name-only"]).text().contains(&of(edited, "task.yaml")),
        "the edit is the user's to stage"
    );
    assert_eq!(room.run(&["resolve", "--staged"]).data()["staged"], 0);
}

#[test]
fn hooks_are_silent_where_a_branch_has_no_plan() {
    let room = Sandbox::bare_repo();
    room.run(&["init", "--hooks"]).data();
    fs::remove_dir_all(room.store()).unwrap();
    fs::write(room.repo().join("code"), "begin").unwrap();
    commit(&room, "begin");
    for branch in ["side", "main"] {
        let _ = room.git(&["switch", "-q", "-c", branch]);
        room.git(&["switch", "-q", branch]).text();
        fs::write(room.repo().join("code"), branch).unwrap();
        commit(&room, branch);
    }
    assert_ne!(room.git(&["merge", "-q", "--no-edit", "side"]).code, 0, "the code is in conflict");
    room.git(&["add", "code"]).text();
    let ended = Answer::from(room.agentpm_like("git").args(["commit", "-q", "--no-edit"]).output().unwrap());
    assert_eq!((ended.text(), &*ended.stderr), ("", ""));
}
