//! The guard at the commit: what is staged is judged and not what lies about; work under a lost lease, a rewritten log and a
//! forged trailer are named where they would enter history.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

/// How many events were forged.
static FORGED: AtomicUsize = AtomicUsize::new(1);

/// git with real hooks, as an agent.
fn git_as(room: &Sandbox, dir: &Path, agent: &str, args: &[&str]) -> Answer {
    let mut git = room.agentpm_like("git");
    Answer::from(git.current_dir(dir).env("AGENTPM_AGENT", agent).args(args).output().unwrap())
}

fn run_as(room: &Sandbox, dir: &Path, agent: &str, args: &[&str]) -> Answer {
    Answer::from(room.agentpm_in(dir).env("AGENTPM_AGENT", agent).args(args).output().unwrap())
}

/// Stages all and commits it.
fn commit_all(room: &Sandbox, message: &str) -> Answer {
    room.git(&["add", "-A"]).text();
    git_as(room, &room.repo(), "ada", &["commit", "-q", "-m", message])
}

/// The codes that `lint` finds with these flags, sorted, each once; its exit code must agree with what it says.
#[track_caller]
fn codes(room: &Sandbox, flags: &[&str]) -> Vec<String> {
    let (codes, _) = found(room, flags);
    codes
}

#[track_caller]
fn found(room: &Sandbox, flags: &[&str]) -> (Vec<String>, Value) {
    let answer = room.run(&[&["lint"], flags].concat());
    let report = answer.json()["data"].clone();
    assert_eq!(answer.code, i32::from(report["errors"] != 0), "{answer:?}");
    let findings = report["findings"].as_array().unwrap();
    let mut codes: Vec<String> = findings.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect();
    codes.sort();
    codes.dedup();
    (codes, report)
}

/// A plan with hooks, a task that ada holds under fence 1 since ten, and a second worktree.
fn held_by_ada() -> (Sandbox, String, PathBuf) {
    let room = Sandbox::new();
    room.run(&["init", "--hooks"]).data();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("the lock", &[]);
    room.run(&["claim", &task]).data();
    commit_all(&room, "ada begins").text();
    let second = room.beside("second");
    room.git(&["worktree", "add", "-q", "-b", "second", second.to_str().unwrap()]).text();
    (room, task, second)
}

/// Writes an event into a log as no command would, and task.yaml to fit.
fn forge(room: &Sandbox, task: &str, fence: Option<u64>, kind: &str, payload: &Value) {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let mut event = json!({
        "v": 1, "id": format!("01ZZZZZZZZ00000000000000{:02}", FORGED.fetch_add(1, Ordering::Relaxed)), "lamport": last["lamport"].as_u64().unwrap() + 1, "type": kind,
        "entity": format!("task/{task}"), "parents": [last["id"]], "agent": "ada", "at": "2026-11-20T10:05:00Z",
        "payload": payload,
    });
    if let Some(fence) = fence {
        event["fence"] = json!(fence);
    }
    fs::write(room.log_of(task), format!("{log}{event}\n")).unwrap();
    room.run(&["lint", "--fix"]).data();
}

#[test]
fn a_commit_that_completes_a_task_under_a_lost_lease_is_refused() {
    let (room, task, second) = held_by_ada();
    room.at("2026-11-20T10:30:00Z");
    run_as(&room, &second, "bob", &["claim", &task]).data();
    room.run(&["done", &task]).error("ERR_LEASE_LOST", 5);
    // Leaving the fence out is no way around.
    let completed = json!({ "from": "in_progress", "to": "completed" });
    forge(&room, &task, None, "TaskStatusChanged", &completed);
    let refused = commit_all(&room, "ada is done");
    assert!(refused.code != 0 && refused.stderr.contains("without a lease: bob holds it now"), "{refused:?}");
    room.git(&["reset", "-q", "--hard"]).text();
    forge(&room, &task, Some(1), "TaskStatusChanged", &completed);
    room.is_clean();
    fs::write(room.repo().join("code.txt"), "work of ada\n").unwrap();

    let refused = commit_all(&room, "ada is done");
    assert_ne!(refused.code, 0);
    for word in ["lease-lost", &task, "complete", "fence 1", "bob holds it now under fence 2"] {
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    // A commit made with an index of its own is judged by that.
    let refused = git_as(&room, &room.repo(), "ada", &["commit", "-q", "-m", "past the index", "--", ".agentpm"]);
    assert!(refused.stderr.contains("lease-lost"), "{refused:?}");
    let code = git_as(&room, &room.repo(), "ada", &["commit", "-q", "-m", "the code alone", "--", "code.txt"]);
    code.text();
    // Forced into history, it is in the merged log like other finished work; the merge is not reported.
    git_as(&room, &room.repo(), "ada", &["commit", "-q", "--no-verify", "-m", "by force"]).text();
    git_as(&room, &second, "bob", &["commit", "-q", "-a", "-m", "bob takes over"]).text();
    let _ = git_as(&room, &second, "bob", &["merge", "-q", "--no-edit", "--no-commit", "main"]);
    run_as(&room, &second, "bob", &["resolve"]).data();
    git_as(&room, &second, "bob", &["commit", "-q", "-a", "-m", "both sides"]).text();
    let merged = run_as(&room, &second, "bob", &["task", "get", &task]).data();
    assert_eq!((&merged["status"], &merged["owner"]), (&json!("completed"), &json!("bob")));
}

#[test]
fn changes_under_a_live_lease_may_be_committed_later() {
    let (room, task, second) = held_by_ada();
    room.at("2026-11-20T10:01:00Z");
    room.run(&["task", "update", &task, "--title", "the lock, renamed"]).data();
    room.at("2026-11-20T10:30:00Z");
    run_as(&room, &second, "bob", &["claim", &task, "--here"]).data();
    commit_all(&room, "ada's new title").text();

    forge(&room, &task, Some(1), "TaskUpdated", &json!({ "set": { "title": "forged" } }));
    let refused = commit_all(&room, "a forged title");
    assert!(refused.code != 0 && refused.stderr.contains("would change task"), "{refused:?}");

    // Where the log itself holds the grant, the order of events decides.
    let shared = room.task("shared", &[]);
    room.run(&["claim", &shared]).data();
    room.run(&["task", "update", &shared, "--priority", "2"]).data();
    room.at("2026-11-20T11:30:00Z");
    room.run_as("bob", &["claim", &shared]).data();
    room.git(&["reset", "-q"]).text();
    room.git(&["add", room.task_dir(&shared).to_str().unwrap()]).text();
    git_as(&room, &room.repo(), "bob", &["commit", "-q", "-m", "both of them"]).text();
    forge(&room, &shared, Some(1), "TaskStatusChanged", &json!({ "from": "in_progress", "to": "completed" }));
    room.git(&["add", room.task_dir(&shared).to_str().unwrap()]).text();
    assert_eq!(codes(&room, &["--staged"]), ["lease-lost"]);
}

#[test]
fn the_index_is_judged_and_not_the_work_tree() {
    let room = Sandbox::new();
    room.run(&["init", "--hooks"]).data();
    let task = room.task("one", &[]);
    let other = room.task("two", &[]);
    let good = fs::read_to_string(room.yaml_of(&task)).unwrap();
    let bad = good.replace("status: open", "status: completed");

    room.git(&["add", "-A"]).text();
    fs::write(room.yaml_of(&task), &bad).unwrap();
    fs::write(room.store().join("config.toml"), "format = [").unwrap();
    let (clean, report) = found(&room, &["--staged"]);
    assert_eq!((clean, &report["checked"]), (vec![], &json!(2)), "the first commit is judged too");
    git_as(&room, &room.repo(), "ada", &["commit", "-q", "-m", "a good index"]).text();
    room.git(&["checkout", "-q", "--", ".agentpm/config.toml"]).text();

    room.git(&["add", "-A"]).text();
    fs::write(room.yaml_of(&task), &good).unwrap();
    room.is_clean();
    assert_eq!(codes(&room, &["--staged"]), ["task-yaml-edited"]);
    let refused = git_as(&room, &room.repo(), "ada", &["commit", "-q", "-m", "a bad index"]);
    assert!(refused.code != 0 && refused.stderr.contains("task-yaml-edited"), "{refused:?}");
    room.git(&["reset", "-q"]).text();

    // A log without its task.yaml, the other way round, and what belongs nowhere.
    room.run(&["note", &task, "--content", "a word"]).data();
    room.git(&["add", room.log_of(&task).to_str().unwrap()]).text();
    assert_eq!(codes(&room, &["--staged"]), ["task-yaml-stale"]);
    room.git(&["reset", "-q"]).text();
    room.git(&["add", room.yaml_of(&task).to_str().unwrap()]).text();
    assert_eq!(codes(&room, &["--staged"]), ["log-gap"]);
    room.git(&["reset", "-q"]).text();
    fs::write(room.task_dir(&other).join("notes.txt"), "x").unwrap();
    std::os::unix::fs::symlink("/etc/hostname", room.store().join("roles.yml")).unwrap();
    room.git(&["add", "-A"]).text();
    let (odd, report) = found(&room, &["--staged"]);
    assert_eq!((odd, &report["errors"]), (vec!["odd-file".to_owned()], &json!(2)), "{report:#}");
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    fs::write(room.store().join("config.toml"), "format = [").unwrap();
    room.git(&["rm", "-q", "-f", "--cached", ".agentpm/roles.yml", "-r", room.task_dir(&other).to_str().unwrap()])
        .text();
    room.git(&["add", ".agentpm/config.toml"]).text();
    assert_eq!(codes(&room, &["--staged"]), ["config-invalid", "task-deleted"]);
    room.run(&["lint", "--staged", "--fix"]).error("ERR_USAGE", 2);
}

#[test]
fn files_in_conflict_and_markers_stop_a_commit() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    commit_all(&room, "base").text();
    for branch in ["a", "b"] {
        room.git(&["switch", "-q", "-c", branch, "main"]).text();
        room.run(&["task", "update", &task, "--title", branch]).data();
        commit_all(&room, branch).text();
    }
    assert_ne!(room.git(&["merge", "-q", "a"]).code, 0, "git alone cannot merge task.yaml");
    assert_eq!(codes(&room, &["--staged"]), ["index-unmerged"]);
    room.git(&["add", "-A"]).text();
    assert!(codes(&room, &["--staged"]).contains(&"task-yaml-conflict".to_owned()));
    room.run(&["resolve"]).data();
    room.git(&["add", "-A"]).text();
    assert_eq!(codes(&room, &["--staged"]), [""; 0]);

    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    fs::write(room.log_of(&task), format!("<<<<<<< ours\n{log}=======\n>>>>>>> theirs\n")).unwrap();
    room.git(&["add", "-A"]).text();
    assert_eq!(codes(&room, &["--staged"]), ["log-markers"]);
}

#[test]
fn a_log_only_grows() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.run(&["note", &task, "--content", "a word"]).data();
    room.run(&["note", &task, "--content", "the token 1234"]).data();
    commit_all(&room, "base").text();
    room.git(&["switch", "-q", "-c", "work"]).text();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let rewrite = |text: &str| {
        fs::write(room.log_of(&task), text).unwrap();
        room.git(&["add", "-A"]).text();
    };

    rewrite(&log.replace("a word", "another word"));
    for flags in [&["--staged"][..], &["--base", "main"]] {
        let (codes, report) = found(&room, flags);
        assert!(codes.contains(&"log-rewritten".to_owned()), "{flags:?}: {report:#}");
        let finding = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "log-rewritten").unwrap();
        assert!(finding["message"].as_str().unwrap().contains("other bytes") && finding["line"] == 2, "{finding:#}");
    }
    let first = log.lines().next().unwrap();
    rewrite(&format!("{first}\n"));
    for flags in [&["--staged"][..], &["--base", "main"]] {
        let (codes, report) = found(&room, flags);
        assert!(codes.contains(&"log-rewritten".to_owned()), "{flags:?}: {report:#}");
    }
    // The order of lines is nothing, and a redaction may take text.
    let mut lines: Vec<&str> = log.lines().collect();
    lines.reverse();
    rewrite(&format!("{}\n", lines.join("\n")));
    assert_eq!(codes(&room, &["--staged"]), [""; 0]);
    assert_eq!(codes(&room, &["--base", "main"]), [""; 0]);
    rewrite(&log);
    let entry = room.get(&task)["context"][1]["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "held a token"]).data();
    room.git(&["add", "-A"]).text();
    assert!(!fs::read_to_string(room.log_of(&task)).unwrap().contains("1234"));
    for flags in [&["--staged"][..], &["--base", "main"]] {
        assert_eq!(codes(&room, flags), [""; 0], "{flags:?}");
    }
    // What main got meanwhile is not missed on a branch that set out before.
    git_as(&room, &room.repo(), "ada", &["commit", "-q", "-m", "redacted"]).text();
    room.git(&["switch", "-q", "main"]).text();
    room.run(&["note", &task, "--content", "on main"]).data();
    commit_all(&room, "main goes on").text();
    room.git(&["switch", "-q", "work"]).text();
    assert_eq!(codes(&room, &["--base", "main"]), [""; 0]);
    let unknown = room.run(&["lint", "--base", "no-such"]).error("ERR_NOT_FOUND", 3);
    assert!(unknown["hint"].is_string());
}

#[test]
fn lint_staged_judges_a_plan_that_is_only_in_the_index() {
    let room = Sandbox::bare_repo();
    for flags in [&["lint", "--staged"][..], &["lint", "--staged", "--format", "table"]] {
        let answer = room.run(flags);
        assert_eq!((answer.code, answer.stdout.as_str(), answer.stderr.as_str()), (0, "", ""));
    }
    room.run(&["init"]).data();
    let task = room.task("one", &[]);
    let yaml = fs::read_to_string(room.yaml_of(&task)).unwrap();
    fs::write(room.yaml_of(&task), yaml.replace("one", "two")).unwrap();
    room.git(&["add", "-A"]).text();
    fs::remove_dir_all(room.store()).unwrap();
    assert_eq!(codes(&room, &["--staged"]), ["task-yaml-edited"]);
    room.git(&["rm", "-q", "-r", "--cached", ".agentpm"]).text();
    assert_eq!(room.run(&["lint", "--staged"]).text(), "");
}

#[test]
fn a_plan_that_a_sparse_index_keeps_as_one_entry_is_judged_too() {
    let room = Sandbox::new();
    room.task("one", &[]);
    fs::create_dir(room.repo().join("code")).unwrap();
    fs::write(room.repo().join("code/main.c"), "x\n").unwrap();
    commit_all(&room, "base").text();
    room.git(&["sparse-checkout", "set", "--cone", "--sparse-index", "code"]).text();
    let entries = room.git(&["ls-files", "--sparse"]);
    assert!(entries.text().contains(".agentpm/\n"), "{entries:?}");
    let (clean, report) = found(&room, &["--staged"]);
    assert_eq!((clean, &report["checked"]), (vec![], &json!(0)));
    let bare = room.git(&["commit-tree", "-m", "before the plan", "HEAD:code"]);
    room.git(&["update-ref", "HEAD", bare.text()]).text();
    let (clean, report) = found(&room, &["--staged"]);
    assert_eq!((clean, &report["checked"]), (vec![], &json!(1)));
}

#[test]
fn a_commit_names_the_leases_it_was_made_under() {
    let room = Sandbox::new();
    room.run(&["init", "--hooks"]).data();
    assert_eq!(room.run(&["init", "--hooks"]).data()["created"], Value::Null);
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.run(&["claim", &one]).data();
    commit_all(&room, "a commit without trailers").text();
    let body = |rev: &str| room.git(&["log", "-1", "--format=%B", rev]).text().to_owned();
    assert!(!body("HEAD").contains("Agentpm-Lease"));
    room.git(&["tag", "base"]).text();

    fs::write(room.store().join("config.toml"), "format = 1\n[hooks]\ntrailer = true\n").unwrap();
    let line =
        |task: &str, fence: u64| format!("Agentpm-Lease: {}@{fence}", room.get(task)["handle"].as_str().unwrap());
    room.run(&["claim", &two]).data();
    commit_all(&room, "two is begun").text();
    assert_eq!(body("HEAD"), format!("two is begun\n\n{}", line(&two, 1)), "only what the commit touches");
    fs::write(room.repo().join("code.txt"), "x\n").unwrap();
    commit_all(&room, "code alone").text();
    assert!(body("HEAD").contains(&line(&one, 1)) && body("HEAD").contains(&line(&two, 1)), "{}", body("HEAD"));
    git_as(&room, &room.repo(), "ada", &["commit", "-q", "--amend", "--no-edit"]).text();
    assert_eq!(body("HEAD").matches("Agentpm-Lease").count(), 2, "{}", body("HEAD"));
    room.run(&["done", &one]).data();
    commit_all(&room, "one is done").text();
    assert_eq!(body("HEAD"), format!("one is done\n\n{}", line(&one, 1)), "its lease was given back by then");
    room.run(&["done", &two]).data();
    git_as(&room, &room.repo(), "bob", &["commit", "-q", "-a", "-m", "not bob's work"]).text();
    assert!(!body("HEAD").contains("Agentpm-Lease"), "{}", body("HEAD"));
    assert_eq!(codes(&room, &["--base", "base"]), ["rules-changed"], "the settings, and nothing about leases");

    // Commits that are made again keep the words they had.
    let three = room.task("three", &[]);
    room.run(&["claim", &three]).data();
    commit_all(&room, "three is begun").text();
    room.git(&["switch", "-q", "-c", "elsewhere", "HEAD~1"]).text();
    for number in ["one", "two"] {
        let message = format!("elsewhere {number}");
        room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", &message]).text();
        let plain = ["-c", "core.hooksPath=/dev/null", "commit", "-q", "--amend", "--allow-empty", "-m", &message];
        room.git(&plain).text();
    }
    git_as(&room, &room.repo(), "ada", &["rebase", "-q", "main"]).text();
    git_as(&room, &room.repo(), "ada", &["cherry-pick", "--allow-empty", "HEAD~1"]).text();
    assert_eq!([body("HEAD"), body("HEAD~1")], ["elsewhere one", "elsewhere two"]);
    assert!(body("HEAD~3").contains(&line(&three, 1)));

    // What goes wrong with it is said and stops nothing.
    fs::write(room.store().join("config.toml"), "trailer = [").unwrap();
    let commit = git_as(&room, &room.repo(), "ada", &["commit", "-q", "--allow-empty", "-m", "all the same"]);
    assert!(commit.code == 0 && commit.stderr.contains("config.toml:1"), "{commit:?}");
}

#[test]
fn forged_and_lost_trailers_are_named() {
    let (room, task, second) = held_by_ada();
    let handle = room.get(&task)["handle"].as_str().unwrap().to_owned();
    room.git(&["tag", "base"]).text();
    let says = |trailer: &str, base: &str| {
        let message = format!("work\n\nAgentpm-Lease: {trailer}\n");
        room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", &message]).text();
        let (codes, report) = found(&room, &["--base", base]);
        let review = room.run(&["review", &format!("{base}..HEAD"), "--format", "json"]).data();
        let in_review: Vec<&Value> =
            review["findings"].as_array().unwrap().iter().filter(|f| f["code"] == "lease-trailer").collect();
        let in_lint: Vec<&Value> = report["findings"].as_array().unwrap().iter().collect();
        assert_eq!(in_review, in_lint, "review reports the same");
        room.git(&["reset", "-q", "--soft", "HEAD~1"]).text();
        match codes[..] {
            [] => ("good".to_owned(), String::new()),
            [ref code] if code == "lease-trailer" => {
                let finding = &report["findings"][0];
                (finding["severity"].as_str().unwrap().to_owned(), finding["message"].as_str().unwrap().to_owned())
            }
            _ => panic!("{report:#}"),
        }
    };
    assert_eq!(says(&format!("{handle}@1"), "base").0, "good");
    assert_eq!(says(&format!("{}@1", &task[..20]), "base").0, "good", "a beginning is a name too");
    assert_eq!(says("nothing", "base").0, "warning");
    let (severity, message) = says("ZZZZZZ@1", "base");
    assert!(severity == "error" && message.contains("no task"), "{message}");
    let (severity, message) = says(&format!("{handle}@7"), "base");
    assert!(severity == "error" && message.contains("the greatest is 1"), "{message}");

    room.at("2026-11-20T10:30:00Z");
    run_as(&room, &second, "bob", &["claim", &task]).data();
    assert_eq!(says(&format!("{handle}@2"), "base").0, "good", "granted in this clone, if not in this worktree");
    git_as(&room, &second, "bob", &["commit", "-q", "-a", "-m", "bob takes over"]).text();
    let (severity, message) = says(&format!("{handle}@1"), "second");
    assert_eq!(severity, "error");
    for word in ["made under a lost lease of ada", "bob was granted fence 2", &task] {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_message_from_an_editor_keeps_its_subject_and_an_empty_one_stops_the_commit() {
    crate::machine::needs!("sed");
    let room = Sandbox::new();
    room.run(&["init", "--hooks"]).data();
    fs::write(room.store().join("config.toml"), "format = 1\n[hooks]\ntrailer = true\n").unwrap();
    let task = room.task("one", &[]);
    room.run(&["claim", &task]).data();
    room.git(&["add", "-A"]).text();
    let commit = |editor: &str| {
        let mut git = room.agentpm_like("git");
        git.env("AGENTPM_AGENT", "ada").env("GIT_EDITOR", editor).args(["commit", "-q"]);
        Answer::from(git.output().unwrap())
    };
    assert_ne!(commit("true").code, 0);
    assert_eq!(commit("sed -i '1s/.*/My subject/'").code, 0);
    let line = format!("Agentpm-Lease: {}@1", room.get(&task)["handle"].as_str().unwrap());
    assert_eq!(room.git(&["log", "-1", "--format=%s"]).text(), "My subject");
    assert_eq!(room.git(&["log", "-1", "--format=%(trailers)"]).text().trim(), line);
}

/// Changes the lines of a log one by one.
fn edit(room: &Sandbox, task: &str, change: impl Fn(&mut Value)) {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let edited = log.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        let before = event.clone();
        change(&mut event);
        if event == before { format!("{line}\n") } else { format!("{event}\n") }
    });
    fs::write(room.log_of(task), edited.collect::<String>()).unwrap();
    // It is rendered from the changed log.
    fs::remove_file(room.yaml_of(task)).unwrap();
}

#[test]
fn a_redaction_takes_the_text_of_an_entry_and_no_other_event() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.run(&["task", "transition", &task, "--status", "cancelled"]).data();
    let note = room.run(&["note", &task, "--content", "a word"]).data()["id"].as_str().unwrap().to_owned();
    commit_all(&room, "base").text();
    room.git(&["switch", "-q", "-c", "work"]).text();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let moved = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let moved = { moved }.find(|event| event["type"] == "TaskStatusChanged").unwrap()["id"].clone();

    // An accepted event becomes an empty, redacted note.
    edit(&room, &task, |event| {
        if event["id"] == moved {
            event["type"] = json!("ContextAdded");
            event["payload"] = json!({"type": "note", "content": ""});
        }
    });
    forge(&room, &task, None, "ContextRedacted", &json!({"entry": moved}));
    room.git(&["add", "-A"]).text();
    for flags in [&["--staged"][..], &["--base", "main"]] {
        assert!(codes(&room, flags).contains(&"log-rewritten".to_owned()), "{flags:?}");
    }

    // A true redaction that lets another have written the entry.
    room.git(&["checkout", "-q", "main", "--", ".agentpm"]).text();
    room.run(&["context", "redact", &note, "--reason", "a token"]).data();
    assert_eq!(codes(&room, &["--base", "main"]), [""; 0]);
    edit(&room, &task, |event| {
        if event["id"] == note.as_str() {
            event["agent"] = json!("bob");
        }
    });
    let _ = room.run(&["resolve"]);
    assert!(codes(&room, &["--base", "main"]).contains(&"log-rewritten".to_owned()));
}

#[test]
fn a_branch_that_drops_the_plan_is_reported() {
    let room = Sandbox::new();
    room.task("one", &[]);
    commit_all(&room, "base").text();
    room.git(&["branch", "base"]).text();
    let is_missed = |how: &str| {
        let (said, report) = found(&room, &["--base", "base"]);
        assert_eq!(said, ["log-rewritten"], "{how}");
        let finding = &report["findings"][0];
        assert!(finding["message"].as_str().unwrap().contains("the plan is dropped"), "{how}: {finding:#}");
        assert_eq!(finding["path"], ".agentpm");
        assert_eq!(room.run(&["lint"]).stdout, "", "{how}: without a revision it is not reported");
    };
    room.git(&["mv", ".agentpm", "plan"]).text();
    is_missed("moved");
    room.git(&["rm", "-r", "-f", "-q", "plan"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "drop"]).text();
    is_missed("deleted");
    // Where the revision has none either, there is nothing to miss.
    let answer = room.run(&["lint", "--base", "HEAD"]);
    assert_eq!((answer.code, answer.stdout.as_str()), (0, ""));
}

#[test]
fn an_id_that_the_base_has_is_no_new_events() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    commit_all(&room, "base").text();
    room.git(&["branch", "side"]).text();
    room.run(&["task", "update", &task, "--priority", "4"]).data();
    commit_all(&room, "main goes on").text();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    room.git(&["switch", "-q", "side"]).text();
    assert_eq!(codes(&room, &["--base", "main"]), [""; 0]);
    forge(&room, &task, None, "TaskStatusChanged", &json!({"from": "open", "to": "cancelled"}));
    edit(&room, &task, |event| {
        if event["type"] == "TaskStatusChanged" {
            event["id"] = last["id"].clone();
        }
    });
    let _ = room.run(&["resolve"]);
    assert_eq!(codes(&room, &["--base", "main"]), ["event-id-conflict"]);
}
