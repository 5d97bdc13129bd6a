//! Finished is finished: no clone that has not seen a completion claims the task with the word of the remote, and none undoes it.

use std::time::{Duration, Instant};

use crate::claims::{confirmed, end, hook, hub, record, refs, run_at, start, warning, with_settings};
use crate::sandbox::wait_for;
use crate::sync::Clones;

fn status(clones: &Clones, name: &str, task: &str) -> String {
    clones.run(name, &["task", "get", task]).data()["status"].as_str().unwrap().to_owned()
}

/// Both clones come to the same, and find nothing to complain about.
fn agree(clones: &Clones, task: &str, is: &str) {
    for name in ["ann", "bob", "ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    for name in ["ann", "bob"] {
        assert_eq!(status(clones, name, task), is, "{name}");
        assert_eq!(clones.run(name, &["lint"]).data()["findings"], serde_json::json!([]), "{name}");
    }
}

/// Runs a command that is killed between what it tells the remote and what it writes.
fn is_killed_once_the_remote_is_told(clones: &Clones, name: &str, args: &[&str]) {
    let (reported, go_on) = (clones.room.beside("reported"), clones.room.beside("go-on"));
    let waits = format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done", reported.display(), go_on.display());
    hook(clones, "post-receive", &waits);
    let mut command = start(clones, name, args);
    wait_for("the report to the remote", || reported.exists());
    command.kill().unwrap();
    command.wait().unwrap();
    std::fs::remove_file(hub(clones).join("hooks/post-receive")).unwrap();
    std::fs::write(go_on, "").unwrap();
}

#[test]
fn next_skips_a_task_completed_at_the_remote() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["next", "--claim"]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.run("ann", &["sync"]).data();
    // Its record is gone there, and the list keeps what it said.
    assert_eq!(refs(&clones), ["refs/agentpm/finished", "refs/agentpm/floor"]);
    let nothing = clones.run("bob", &["next", "--claim"]);
    assert!(nothing.data().is_null(), "{nothing:?}");
    assert!(warning(&nothing, "origin/main has changes of the plan that are not here; agentpm sync"), "{nothing:?}");
    clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert_eq!(status(&clones, "bob", &task), "open", "nothing was written");
    let page = clones.run("bob", &["brief", &task]).data()["text"].as_str().unwrap().to_owned();
    assert!(!page.contains("agentpm claim"), "it offers what is refused: {page}");
    agree(&clones, &task, "completed");
}

#[test]
fn next_skips_a_task_finished_at_the_remote() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let other = clones.run("ann", &["add", "--title", "another", "--priority", "-3"]).data()["id"].clone();
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.run("ann", &["sync"]).data();
    let handed = clones.run("bob", &["next", "--claim"]).data();
    assert_eq!((&handed["task"]["id"], &handed["lease"]["confirmed"]), (&other, &true.into()));
    agree(&clones, &task, "completed");
}

#[test]
fn a_lease_that_ran_out_after_the_completion_is_no_way_to_claim_it() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:01:00Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-20T10:02:00Z", &["sync"]).data();
    run_at(&clones, "ann", "2026-11-20T10:03:00Z", &["done", &task, "--all-met"]).data();
    let refused = run_at(&clones, "bob", "2026-11-20T12:00:00Z", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().starts_with("ann finished task"), "{refused}");
    agree(&clones, &task, "completed");
}

#[test]
fn a_task_finished_or_cancelled_without_a_lease_says_so_at_the_remote_first() {
    let ends: [(&[&str], &[&str], &str); 2] =
        [(&["done"], &["--all-met"], "completed"), (&["task", "transition"], &["--status", "cancelled"], "cancelled")];
    for (begin, rest, is) in ends {
        let (clones, task) = confirmed(&["ann", "bob"]);
        clones.run("ann", &["claim", &task]).data();
        clones.run("ann", &["lease", "release", &task]).data();
        assert_eq!(record(&clones, &task)["state"], "released");
        clones.run("ann", &[begin, &[task.as_str()], rest].concat()).data();
        assert_eq!(record(&clones, &task)["state"], "finished");
        clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
        assert!(clones.run("bob", &["next", "--claim"]).data().is_null());
        agree(&clones, &task, is);
    }
}

#[test]
fn an_offline_completion_reaches_the_remote_before_the_plan() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    clones.run("ann", &["claim", &task]).data();
    let done = clones.run("ann", &["done", &task, "--all-met"]);
    assert!(warning(&done, "this is not confirmed") || warning(&done, "not confirmed"), "{done:?}");
    std::fs::rename(&away, hub(&clones)).unwrap();
    // The plan is held up at the remote, but not what it says of the task.
    hook(&clones, "update", "case $1 in refs/heads/*) exit 1;; esac");
    clones.run("ann", &["sync"]).error("ERR_SYNC", 9);
    assert_eq!(record(&clones, &task)["state"], "finished");
    clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    std::fs::remove_file(hub(&clones).join("hooks/update")).unwrap();
    agree(&clones, &task, "completed");
}

#[test]
fn confirmed_only_refuses_an_unconfirmed_completion() {
    let (clones, task) = with_settings(&["ann"], "[lease]\nremote = \"origin\"\nconfirmed_only = true\n");
    clones.run("ann", &["claim", &task]).data();
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    clones.run("ann", &["done", &task, "--all-met"]).error("ERR_SYNC", 9);
    assert_eq!(status(&clones, "ann", &task), "in_progress");
    std::fs::rename(&away, hub(&clones)).unwrap();
    clones.run("ann", &["done", &task, "--all-met"]).data();
}

#[test]
fn a_completion_that_was_killed_before_it_was_written_is_taken_back() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    is_killed_once_the_remote_is_told(&clones, "ann", &["done", &task, "--all-met"]);
    assert_eq!(record(&clones, &task)["state"], "finished");
    assert_eq!(status(&clones, "ann", &task), "in_progress");
    let synced = clones.run("ann", &["sync"]).data();
    // Ann holds it as before, and may finish it.
    assert!(synced["leases"]["lost"].as_array().is_none_or(Vec::is_empty), "{synced}");
    assert_eq!(record(&clones, &task)["state"], "held");
    clones.run("ann", &["done", &task, "--all-met"]).data();
    agree(&clones, &task, "completed");
}

#[test]
fn an_override_finishes_what_another_clone_holds() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("bob", &["claim", &task]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("ann", &["done", &task, "--all-met"]).error("ERR_LEASE_HELD", 5);
    clones.run("ann", &["done", &task, "--all-met", "--override", "it is done by hand"]).data();
    let lost = clones.run("bob", &["task", "update", &task, "--status", "open"]);
    assert_ne!(lost.code, 0);
    agree(&clones, &task, "completed");
}

#[test]
fn a_reopened_task_is_claimed_only_after_sync() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("ann", &["task", "reopen", &task, "--reason", "not yet"]).data();
    // Bob has seen neither.
    clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert_eq!(clones.run("ann", &["claim", &task]).data()["lease"]["confirmed"], true);
    clones.run("ann", &["release", &task]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    agree(&clones, &task, "in_progress");
}

#[test]
fn next_skips_a_task_taken_on_a_remote_branch() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.git("ann", &["switch", "-q", "-c", "feature"]).text();
    // Without the remote's word, as an older clone would.
    std::fs::write(clones.room.home().join(".agentpm/config.toml"), "").unwrap();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.git("ann", &["add", "-A"]).text();
    clones.git("ann", &["commit", "-q", "-m", "done"]).text();
    clones.git("ann", &["push", "-q", "origin", "feature"]).text();
    std::fs::write(clones.room.home().join(".agentpm/config.toml"), "[lease]\nremote = \"origin\"\n").unwrap();
    assert!(clones.run("bob", &["next", "--claim"]).data().is_null());
    let refused = clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("origin/feature"), "{refused}");
    // The lease that was granted before the branch was looked at is given back.
    assert_eq!(record(&clones, &task)["state"], "released");
    let taken = clones.run("bob", &["claim", &task, "--here"]).data();
    assert_eq!(taken["lease"]["confirmed"], true, "asked for in spite of it");
    // The user's own remote-tracking branches stay as they were.
    assert_ne!(clones.git("bob", &["rev-parse", "-q", "--verify", "refs/remotes/origin/feature"]).code, 0);
}

#[test]
fn wait_notices_a_push_of_another_clone() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    let waits = start(&clones, "bob", &["next", "--claim", "--wait", "60s"]);
    let looked = clones.dir("bob").join(".git/refs/agentpm/remotes/origin/heads/main");
    wait_for("bob looks at the remote", || looked.exists());
    clones.run("ann", &["add", "--title", "new work"]).data();
    clones.run("ann", &["sync"]).data();
    let began = Instant::now();
    let answer = end(waits);
    assert!(began.elapsed() < Duration::from_secs(45), "it waited to the end");
    assert!(answer.data().is_null() && warning(&answer, "agentpm sync merges them"), "{answer:?}");
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["next", "--claim"]).data()["task"]["title"], "new work");
}

#[test]
fn waiting_for_the_inbox_notices_a_push_of_another_clone() {
    let (clones, _) = confirmed(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    assert_eq!(clones.run("bob", &["inbox"]).data()["total"], 0);
    let waits = start(&clones, "bob", &["inbox", "--wait", "60s"]);
    let looked = clones.dir("bob").join(".git/refs/agentpm/remotes/origin/heads/main");
    wait_for("bob looks at the remote", || looked.exists());
    clones.run("ann", &["broadcast", "--body", "hello"]).data();
    clones.run("ann", &["sync"]).data();
    let began = Instant::now();
    let answer = end(waits);
    assert!(began.elapsed() < Duration::from_secs(45), "it waited to the end");
    assert!(warning(&answer, "agentpm sync merges them"), "{answer:?}");
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["inbox"]).data()["items"][0]["summary"], "ann: hello");
}

#[test]
fn sync_names_the_local_values_that_lost() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let as_cara = |args: &[&str]| {
        let mut command = clones.room.agentpm_in(&clones.dir("ann"));
        crate::sandbox::Answer::from(command.env("AGENTPM_AGENT", "cara").args(args).output().unwrap())
    };
    as_cara(&["claim", &task]).data();
    as_cara(&["task", "update", &task, "--title", "cara's"]).data();
    for step in ["one", "two", "three", "four"] {
        clones.run("bob", &["note", &task, "--content", step]).data();
    }
    clones.run("bob", &["task", "update", &task, "--title", "bob's"]).data();
    clones.run("bob", &["claim", &task]).data();
    clones.run("bob", &["done", &task, "--all-met"]).data();
    clones.run("bob", &["sync"]).data();
    let report = clones.run("ann", &["sync"]).data();
    let lost = report["lost"].as_array().unwrap();
    for (field, yours, now) in [("title", "cara's", "bob's"), ("status", "in_progress", "completed")] {
        let edit = lost.iter().find(|edit| edit["field"] == field).unwrap_or_else(|| panic!("{report:#}"));
        assert_eq!((&edit["yours"], &edit["now"], &edit["agent"]), (&yours.into(), &now.into(), &"cara".into()));
    }
}

#[test]
fn completion_in_the_second_half_of_a_lease_reaches_the_remote() {
    let ends: [&[&str]; 2] = [&["done", "--all-met"], &["task", "transition", "--status", "cancelled"]];
    for end_of_it in ends {
        let (clones, task) = confirmed(&["ann", "bob"]);
        run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
        run_at(&clones, "ann", "2026-11-20T10:06:00Z", &[end_of_it, &[&task]].concat()).data();
        assert_eq!(record(&clones, &task)["state"], "finished");
        run_at(&clones, "bob", "2026-11-20T10:07:00Z", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    }
}

#[test]
fn an_override_that_is_refused_leaves_the_holders_record() {
    let (clones, task) = confirmed(&["ann", "bob", "cid"]);
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    run_at(&clones, "bob", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["claim", &task]).data();
    let before = record(&clones, &task);
    // Under a limit that no log can grow to, whatever else it is refused for.
    hook(&clones, "update", "case $1 in refs/agentpm/*) exit 1;; esac");
    let refused =
        run_at(&clones, "bob", "2026-11-20T10:13:00Z", &["done", &task, "--all-met", "--expected-version", "99"]);
    assert_ne!(refused.code, 0);
    std::fs::remove_file(hub(&clones).join("hooks/update")).unwrap();
    assert_eq!(record(&clones, &task), before);
    run_at(&clones, "cid", "2026-11-20T10:14:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn an_override_that_died_before_it_was_written_gives_the_task_back_to_its_holder() {
    let (clones, task) = confirmed(&["ann", "bob", "cid"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    let held = record(&clones, &task);
    is_killed_once_the_remote_is_told(&clones, "bob", &["done", &task, "--all-met", "--override", "it is done"]);
    clones.run("bob", &["sync"]).data();
    assert_eq!(record(&clones, &task), held);
    clones.run("cid", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert_eq!(clones.run("ann", &["done", &task, "--all-met"]).data()["status"], "completed");
}

#[test]
fn a_reopened_task_needs_its_end_to_be_known() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.run("ann", &["task", "reopen", &task, "--reason", "not yet"]).data();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["release", &task]).data();
    for synced in [false, true] {
        if synced {
            clones.run("ann", &["sync"]).data();
        }
        clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    }
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    clones.run("bob", &["done", &task, "--all-met"]).data();
    agree(&clones, &task, "completed");
}

#[test]
fn override_refuses_an_unseen_completion() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    clones.run("ann", &["done", &task, "--all-met"]).data();
    let refused = clones.run("bob", &["done", &task, "--all-met", "--override", "late"]).error("ERR_INVALID_STATE", 4);
    assert_eq!(refused["details"]["finished_elsewhere"], true);
    assert!(refused["hint"].as_str().unwrap().contains("agentpm sync"), "{refused}");
}

#[test]
fn a_discarded_completion_is_left_to_recover() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.git("ann", &["add", "-A"]).text();
    clones.git("ann", &["commit", "-q", "--allow-empty", "-m", "before"]).text();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.git("ann", &["reset", "-q", "--hard"]).text();
    let refused = clones.run("ann", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(refused["hint"].as_str().unwrap().contains("agentpm recover"), "{refused}");
    // Or it is taken anew, and finished as any task is.
    assert_eq!(clones.run("ann", &["claim", &task, "--here"]).data()["lease"]["confirmed"], true);
    let synced = clones.run("ann", &["sync"]).data();
    assert!(synced["leases"]["lost"].as_array().is_none_or(Vec::is_empty), "{synced}");
    clones.run("ann", &["done", &task, "--all-met"]).data();
    agree(&clones, &task, "completed");
}

#[test]
fn branches_of_the_lease_remote_count_whatever_the_settings_say_of_remote_tracking_ones() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let config = clones.room.home().join(".agentpm/config.toml");
    clones.git("ann", &["switch", "-q", "-c", "feature"]).text();
    std::fs::write(&config, "").unwrap();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.git("ann", &["add", "-A"]).text();
    clones.git("ann", &["commit", "-q", "-m", "done"]).text();
    clones.git("ann", &["push", "-q", "origin", "feature"]).text();
    std::fs::write(&config, "[lease]\nremote = \"origin\"\n[branches]\nlocal = false\nremote = false\n").unwrap();
    clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(clones.run("bob", &["next", "--claim"]).data().is_null());
    assert!(clones.run("bob", &["next"]).data().is_null(), "next shows what claim takes");
    assert_eq!(clones.run("bob", &["claim", &task, "--here"]).data()["lease"]["confirmed"], true);
}

#[test]
fn a_closed_task_is_opened_again_past_a_lease_that_git_left_behind() {
    let room = crate::sandbox::Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("it", &[]);
    room.run(&["claim", &id]).data();
    room.run(&["done", &id]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "done"]).text();
    room.run(&["task", "reopen", &id, "--reason", "not yet"]).data();
    room.run(&["claim", &id]).data();
    room.git(&["reset", "-q", "--hard"]).text();
    assert_eq!(room.get(&id)["status"], "completed");
    for clock in ["2026-11-20T10:01:00Z", "2026-11-20T11:00:00Z"] {
        room.at(clock);
        room.run_as("bob", &["task", "reopen", &id, "--reason", "not yet"]).data();
        room.git(&["reset", "-q", "--hard"]).text();
    }
    room.run_as("bob", &["task", "reopen", &id, "--reason", "not yet"]).data();
    room.run_as("bob", &["claim", &id]).data();
    room.run_as("bob", &["done", &id]).data();
}

#[test]
fn a_conflict_of_a_closed_task_is_kept_past_the_lease_of_a_losing_claim() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    clones.run("bob", &["claim", &task]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(status(&clones, "bob", &task), "completed");
    let lost = clones.run("bob", &["conflicts", &task]).data();
    let event = lost["items"][0]["lost"]["event"].as_str().unwrap_or_else(|| panic!("{lost}")).to_owned();
    let mut cid = clones.room.agentpm_in(&clones.dir("bob"));
    cid.env("AGENTPM_AGENT", "cid").args(["conflicts", "keep", &event]);
    crate::sandbox::Answer::from(cid.output().unwrap()).data();
    assert_eq!(clones.run("bob", &["conflicts", &task]).data()["items"], serde_json::json!([]));
}

#[test]
fn a_killed_completion_is_repeated() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    is_killed_once_the_remote_is_told(&clones, "ann", &["done", &task, "--all-met"]);
    let again = clones.run("ann", &["done", &task, "--all-met"]);
    let synced = clones.run("ann", &["sync"]).data();
    assert!(synced["leases"]["lost"].as_array().is_none_or(Vec::is_empty), "{synced}");
    again.data();
    agree(&clones, &task, "completed");
}
