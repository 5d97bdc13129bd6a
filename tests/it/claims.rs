//! Claims across clones: the remote decides, and where it cannot be reached the answer says so.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::sandbox::{Answer, Sandbox, rounds};
use crate::sync::{self, Clones, plan};

/// Clones whose leases the remote confirms.
pub fn confirmed(names: &[&str]) -> (Clones, String) {
    with_settings(names, "[lease]\nremote = \"origin\"\n")
}

pub fn with_settings(names: &[&str], settings: &str) -> (Clones, String) {
    let (clones, task) = Clones::new(names);
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), settings).unwrap();
    (clones, task)
}

pub fn hub(clones: &Clones) -> PathBuf {
    clones.room.beside("remote.git")
}

/// A hook of the remote.
pub fn hook(clones: &Clones, name: &str, script: &str) {
    sync::hook(&hub(clones).join("hooks"), name, script);
}

pub fn record(clones: &Clones, task: &str) -> Value {
    let text = clones.room.git_in(&hub(clones), &["cat-file", "-p", &format!("refs/agentpm/leases/{task}")]);
    serde_json::from_str(text.text()).unwrap()
}

pub fn refs(clones: &Clones) -> Vec<String> {
    let all = clones.room.git_in(&hub(clones), &["for-each-ref", "--format=%(refname)", "refs/agentpm"]);
    all.text().lines().map(str::to_owned).collect()
}

pub fn start(clones: &Clones, name: &str, args: &[&str]) -> Child {
    let mut command = clones.room.agentpm_in(&clones.dir(name));
    command.env("AGENTPM_AGENT", name).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("agentpm starts")
}

pub fn end(child: Child) -> Answer {
    Answer::from(child.wait_with_output().unwrap())
}

/// As another command of an agent, at another time.
pub fn run_at(clones: &Clones, name: &str, clock: &str, args: &[&str]) -> Answer {
    let mut command = clones.room.agentpm_in(&clones.dir(name));
    command.env("AGENTPM_AGENT", name).env("AGENTPM_CLOCK", clock);
    Answer::from(command.args(args).output().expect("agentpm starts"))
}

pub fn warning(answer: &Answer, words: &str) -> bool {
    answer.stderr.contains(words)
}

#[test]
fn eight_clones_race_for_one_task_and_each_round_has_one_winner() {
    let names = ["a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8"];
    let (clones, task) = with_settings(&names, "[lease]\nremote = \"origin\"\n[claim]\nmax_attempts = 0\n");
    let rounds = rounds(200);
    let mut last = 0;
    for round in 0..rounds {
        let racers: Vec<Child> = names.iter().map(|name| start(&clones, name, &["claim", &task])).collect();
        let answers: Vec<Answer> = racers.into_iter().map(end).collect();
        let won: Vec<usize> = (0..names.len()).filter(|i| answers[*i].code == 0).collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:#?}");
        let lease = answers[won[0]].data()["lease"].clone();
        assert_eq!(lease["confirmed"], true, "round {round}");
        let fence = lease["fence"].as_u64().unwrap();
        assert!(fence > last, "round {round}: fence {fence} after {last}");
        last = fence;
        for (i, answer) in answers.iter().enumerate().filter(|(i, _)| *i != won[0]) {
            let error = answer.error("ERR_LEASE_HELD", 5);
            assert_eq!(error["details"]["holder"], names[won[0]], "round {round}, {}: {answers:#?}", names[i]);
        }
        assert_eq!(record(&clones, &task)["agent"], names[won[0]]);
        clones.run(names[won[0]], &["release", &task]).data();
    }
}

#[test]
fn clones_that_ask_for_work_at_once_get_different_tasks() {
    let names = ["a1", "a2", "a3", "a4"];
    let (clones, _) = confirmed(&names);
    for title in ["two", "three", "four"] {
        clones.run("a1", &["add", "--title", title]).data();
    }
    for name in ["a1", "a2", "a3", "a4"] {
        clones.run(name, &["sync"]).data();
    }
    let askers: Vec<Child> = names.iter().map(|name| start(&clones, name, &["next", "--claim"])).collect();
    let answers: Vec<Value> = askers.into_iter().map(|child| end(child).data()).collect();
    let mut tasks: Vec<&str> = answers.iter().map(|data| data["task"]["id"].as_str().unwrap()).collect();
    assert!(answers.iter().all(|data| data["lease"]["confirmed"] == true), "{answers:#?}");
    tasks.sort_unstable();
    tasks.dedup();
    assert_eq!(tasks.len(), 4);
    let nothing = clones.run("a1", &["next", "--claim"]);
    assert!(nothing.data().is_null() || nothing.data()["task"].is_null(), "{nothing:?}");
}

#[test]
fn release_and_completion_reach_other_clones_before_sync() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    clones.run("ann", &["release", &task]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    clones.run("bob", &["done", "--all-met"]).data();
    let error = clones.run("ann", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().starts_with("bob finished task"), "{error}");
    // The plan catches up, and the record goes.
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["sync"]).data();
    assert_eq!(refs(&clones), ["refs/agentpm/finished", "refs/agentpm/floor"]);
    // Opened again, it begins above all fences there ever were.
    let before = clones.run("bob", &["task", "reopen", &task, "--reason", "not done"]).data();
    assert_eq!(before["status"], "open");
    let again = clones.run("bob", &["claim", &task]).data();
    assert_eq!(again["lease"]["confirmed"], true);
    assert!(again["lease"]["fence"].as_u64().unwrap() > 4, "{again}");
}

#[test]
fn an_expired_lease_passes_on_and_the_old_holder_is_warned() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:09:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
    // Ann's clock stood still, so her lease looks alive to her; what ends the work asks the remote.
    let error =
        run_at(&clones, "ann", "2026-11-20T10:01:00Z", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "bob");
    // What she knows now she knows without the remote.
    std::fs::rename(hub(&clones), clones.room.beside("gone.git")).unwrap();
    run_at(&clones, "ann", "2026-11-20T10:01:00Z", &["task", "update", &task, "--title", "mine"])
        .error("ERR_LEASE_LOST", 5);
    // Notes are always welcome.
    run_at(&clones, "ann", "2026-11-20T10:01:00Z", &["note", &task, "--content", "I got this far"]).data();
}

#[test]
fn an_expired_lease_continues_where_the_remote_knows_no_other() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:11:00Z", &["task", "update", &task, "--title", "late"]).data();
    assert_eq!(record(&clones, &task)["expires_at"], "2026-11-20T10:21:00Z");
    run_at(&clones, "bob", "2026-11-20T10:12:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["release", &task]).data();

    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    let error = run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["task", "update", &task, "--title", "late"])
        .error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "bob");
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["lease", "renew", &task]).error("ERR_LEASE_LOST", 5);
}

#[test]
fn an_expired_lease_ends_no_task_that_another_clone_had_since() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    // Bob's lease is over too. Ann has heard of it from no one.
    let error =
        run_at(&clones, "ann", "2026-11-20T10:30:00Z", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "bob", "{error}");
    run_at(&clones, "bob", "2026-11-20T10:31:00Z", &["done", &task, "--all-met"]).data();
}

#[test]
fn work_in_the_second_half_of_a_lease_renews_it_at_the_remote() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:06:00Z", &["progress", "add", &task, "--content", "on"]).data();
    assert_eq!(record(&clones, &task)["expires_at"], "2026-11-20T10:16:00Z");
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["note", &task, "--content", "a note too"]).data();
    assert_eq!(record(&clones, &task)["expires_at"], "2026-11-20T10:22:00Z");
    let listed = clones.run("ann", &["lease", "list", "--remote"]).data();
    assert_eq!(listed["items"][0]["agent"], "ann");
    run_at(&clones, "bob", "2026-11-20T10:17:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn two_clones_that_could_not_ask_agree_on_one_winner_after_both_have_synced() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    for name in ["ann", "bob"] {
        let claimed = clones.run(name, &["claim", &task]);
        assert_eq!(claimed.data()["lease"]["confirmed"], false);
        assert!(warning(&claimed, "not confirmed"), "{claimed:?}");
    }
    clones.run("bob", &["progress", "add", &task, "--content", "bob began"]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    let first = clones.run("ann", &["sync"]).data();
    assert_eq!(first["leases"]["confirmed"][0], task.as_str(), "{first}");
    let second = clones.run("bob", &["sync"]).data();
    assert_eq!(
        (&second["leases"]["lost"][0]["agent"], &second["leases"]["lost"][0]["to"]),
        (&"bob".into(), &"ann".into())
    );
    clones.run("ann", &["sync"]).data();
    for name in ["ann", "bob"] {
        let seen = clones.run(name, &["task", "get", &task]).data();
        assert_eq!((&seen["owner"], &seen["status"]), (&"ann".into(), &"in_progress".into()), "{name}: {seen}");
    }
    assert_eq!(plan(&clones, "ann"), plan(&clones, "bob"));
    let error = clones.run("bob", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "ann");
    clones.run("ann", &["done", &task, "--all-met"]).data();
}

#[test]
fn without_a_remote_for_leases_two_clones_agree_by_their_events_alone() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        assert_eq!(clones.run(name, &["claim", &task]).data()["lease"]["confirmed"], false);
    }
    for name in ["ann", "bob", "ann"] {
        clones.run(name, &["sync"]).data();
    }
    let owner = clones.run("ann", &["task", "get", &task]).data()["owner"].as_str().unwrap().to_owned();
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["owner"], owner.as_str());
    let loser = if owner == "ann" { "bob" } else { "ann" };
    let error = clones.run(loser, &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], owner.as_str());
    clones.run(&owner, &["done", &task, "--all-met"]).data();
}

#[test]
fn an_unconfirmed_claim_gives_way_to_a_confirmed_one() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-20T10:00:00Z", &["sync"]).data();
    // Bob is cut off and believes that the lease he knows of ran out; Ann has renewed it.
    run_at(&clones, "ann", "2026-11-20T10:08:00Z", &["lease", "renew", &task]).data();
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    let taken = run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], false);
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["task", "update", &task, "--estimate", "bob's"]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    let synced = run_at(&clones, "bob", "2026-11-20T10:12:00Z", &["sync"]).data();
    assert_eq!(synced["leases"]["lost"][0]["to"], "ann", "{synced}");
    let synced = run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["sync"]).data();
    assert!(synced["leases"]["lost"].as_array().is_none_or(Vec::is_empty), "{synced}");
    run_at(&clones, "ann", "2026-11-20T10:13:00Z", &["task", "update", &task, "--estimate", "ann's"]).data();
    for _ in 0..3 {
        run_at(&clones, "bob", "2026-11-20T10:13:00Z", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    }
    run_at(&clones, "ann", "2026-11-20T10:13:00Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-20T10:13:00Z", &["sync"]).data();
    for name in ["ann", "bob"] {
        let seen = clones.run(name, &["task", "get", &task]).data();
        assert_eq!((&seen["owner"], &seen["estimate"]), (&"ann".into(), &"ann's".into()), "{name}");
    }
}

#[test]
fn a_remote_that_refuses_is_named_and_work_goes_on_unconfirmed_unless_that_is_forbidden() {
    let (clones, task) = confirmed(&["ann"]);
    hook(&clones, "pre-receive", "echo 'only branches here' >&2; exit 1");
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false);
    assert!(warning(&claimed, "the remote refused") && warning(&claimed, "only branches here"), "{claimed:?}");
    clones.run("ann", &["release", &task]).data();
    std::fs::write(
        clones.room.home().join(".agentpm/config.toml"),
        "[lease]\nremote = \"origin\"\nconfirmed_only = true\n",
    )
    .unwrap();
    clones.run("ann", &["claim", &task]).error("ERR_SYNC", 9);
    assert_eq!(clones.run("ann", &["task", "get", &task]).data()["status"], "open");
}

#[test]
fn a_lease_that_the_remote_does_not_confirm_becomes_no_longer_by_syncs() {
    let (clones, task) = confirmed(&["ada"]);
    hook(&clones, "update", "case $1 in refs/agentpm/*) exit 1;; esac");
    let claimed = clones.run("ada", &["claim", &task]).data();
    assert_eq!(claimed["lease"]["confirmed"], false);
    for _ in 0..2 {
        clones.run("ada", &["sync"]).data();
    }
    let listed = clones.run("ada", &["lease", "list"]).data();
    assert_eq!(listed["items"][0]["expires_at"], claimed["lease"]["expires_at"], "{listed}");
}

#[test]
fn a_hanging_remote_is_left_at_the_deadline_and_asked_again() {
    let (clones, task) = with_settings(&["ann", "bob"], "[lease]\nremote = \"origin\"\nremote_seconds = 3\n");
    // The remote takes the push and never says so.
    let pipe = clones.room.beside("never");
    clones.room.sealed("mkfifo", &clones.room.repo()).arg(&pipe).status().unwrap();
    hook(&clones, "post-receive", &format!("cat '{}'", pipe.display()));
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], true, "{claimed:?}");
    assert_eq!(record(&clones, &task)["agent"], "ann");
    std::fs::remove_file(hub(&clones).join("hooks/post-receive")).unwrap();
    clones.run("ann", &["release", &task]).data();
    // The remote hangs before it takes it.
    hook(&clones, "pre-receive", &format!("cat '{}'", pipe.display()));
    let claimed = clones.run("bob", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false, "{claimed:?}");
    assert!(warning(&claimed, "is not known"), "{claimed:?}");
    assert_eq!(record(&clones, &task)["state"], "released");
    // Later the remote answers again.
    std::fs::remove_file(hub(&clones).join("hooks/pre-receive")).unwrap();
    assert_eq!(clones.run("bob", &["lease", "renew", &task]).data()["confirmed"], true);
    assert_eq!(record(&clones, &task)["agent"], "bob");
}

#[test]
fn a_remote_that_dies_during_a_push_is_asked_again() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    hook(&clones, "pre-receive", "kill -9 $PPID");
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false, "{claimed:?}");
    assert!(refs(&clones).is_empty());
    std::fs::remove_file(hub(&clones).join("hooks/pre-receive")).unwrap();
    hook(&clones, "post-receive", "kill -9 $PPID");
    // Dead after it took it: the answer is that it took it.
    let claimed = clones.run("bob", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], true, "{claimed:?}");
    std::fs::remove_file(hub(&clones).join("hooks/post-receive")).unwrap();
    let synced = clones.run("ann", &["sync"]).data();
    assert_eq!(synced["leases"]["lost"][0]["to"], "bob", "{synced}");
}

#[test]
fn a_claim_that_fails_here_is_given_back_there() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let yaml = PathBuf::from(clones.run("ann", &["task", "path", &task]).data()["path"].as_str().unwrap());
    let text = std::fs::read_to_string(&yaml).unwrap();
    std::fs::write(&yaml, text.replace("created_by: ", "created_by: not-")).unwrap();
    clones.run("ann", &["claim", &task]).error("ERR_VALIDATION", 4);
    assert_eq!(record(&clones, &task)["state"], "released");
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
}

#[test]
fn a_batch_that_meets_one_taken_task_gives_the_others_back() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let other = clones.run("ann", &["add", "--title", "other", "--quiet"]).text().to_owned();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("bob", &["claim", &task]).data();
    let ops = clones.room.beside("ops.json");
    std::fs::write(
        &ops,
        format!(r#"[{{"op":"claim","args":{{"id":"{other}"}}}},{{"op":"claim","args":{{"id":"{task}"}}}}]"#),
    )
    .unwrap();
    clones.run("ann", &["batch", "--file", &ops.display().to_string()]).error("ERR_LEASE_HELD", 5);
    assert_eq!(record(&clones, &other)["state"], "released");
    assert_eq!(clones.run("ann", &["task", "get", &other]).data()["status"], "open");
}

#[test]
fn an_invalid_remote_record_is_named_and_blocks_no_claim() {
    let (clones, task) = confirmed(&["ann"]);
    let bad = clones.room.beside("bad");
    std::fs::write(&bad, "\u{1b}[31m{\"v\":1}").unwrap();
    let oid = clones.room.git_in(&hub(&clones), &["hash-object", "-w", &bad.display().to_string()]);
    let name = format!("refs/agentpm/leases/{task}");
    clones.room.git_in(&hub(&clones), &["update-ref", &name, oid.text()]).text();
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false);
    assert!(warning(&claimed, "holds no lease"), "{claimed:?}");
    let listed = clones.run("ann", &["lease", "list", "--remote"]).data();
    assert_eq!(listed["items"][0]["state"], "unreadable");
    // The branch is not the lease's business.
    clones.run("ann", &["sync"]).data();
}

#[test]
fn a_force_push_that_drops_the_branch_with_the_claim_does_not_free_the_task() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let before = clones.git("ann", &["rev-parse", "HEAD"]).text().to_owned();
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["sync"]).data();
    clones.git("ann", &["push", "-q", "--force", "origin", &format!("{before}:main")]).text();
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["status"], "open");
    let none = clones.run("bob", &["next", "--claim"]);
    assert!(none.data().is_null() || none.data()["task"].is_null(), "{none:?}");
    clones.run("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    // Nor in the clone itself, where the branch is put back too.
    clones.git("ann", &["reset", "-q", "--hard", &before]).text();
    let mut other = clones.room.agentpm_in(&clones.dir("ann"));
    let refused = Answer::from(other.env("AGENTPM_AGENT", "carl").args(["claim", &task]).output().unwrap());
    refused.error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_claim_in_one_worktree_is_seen_in_the_other_at_once() {
    let (clones, task) = Clones::new(&["ann"]);
    let other = clones.room.beside("other");
    clones.git("ann", &["worktree", "add", "-q", &other.display().to_string()]).text();
    clones.run("ann", &["claim", &task]).data();
    let there = |args: &[&str]| {
        let mut command = clones.room.agentpm_in(&other);
        Answer::from(command.env("AGENTPM_AGENT", "bob").args(args).output().unwrap())
    };
    there(&["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert_eq!(there(&["lease", "list"]).data()["items"][0]["agent"], "ann");
    let ready = there(&["ready"]).data();
    assert_eq!(ready["total"], 0, "{ready}");
}

#[test]
fn a_holder_on_the_same_machine_under_the_same_name_is_another_holder() {
    let (clones, task) = confirmed(&["one", "two"]);
    let claim = |dir: &str| {
        let mut command = clones.room.agentpm_in(&clones.dir(dir));
        Answer::from(command.env("AGENTPM_AGENT", "ada").args(["claim", &task]).output().unwrap())
    };
    claim("one").data();
    let error = claim("two").error("ERR_LEASE_HELD", 5);
    assert!(error["message"].as_str().unwrap().contains("in another clone"), "{error}");
    // The same clone asks again: that is its own.
    assert_eq!(claim("one").data()["lease"]["confirmed"], true);
}

#[test]
fn a_clone_without_that_remote_says_so() {
    let (clones, task) = with_settings(&["ann"], "[lease]\nremote = \"elsewhere\"\n");
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false);
    assert!(warning(&claimed, "this clone has no remote"), "{claimed:?}");
    clones.run("ann", &["lease", "list", "--remote"]).error("ERR_SYNC", 9);
}

#[test]
fn changes_of_a_holder_survive_a_claim_that_did_not_see_them() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    for step in ["one", "two", "three", "four"] {
        clones.run("ann", &["progress", "add", &task, "--content", step]).data();
    }
    clones.run("ann", &["task", "update", &task, "--title", "better"]).data();
    clones.run("ann", &["release", &task]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    for name in ["ann", "bob", "ann"] {
        clones.run(name, &["sync"]).data();
    }
    for name in ["ann", "bob"] {
        let seen = clones.run(name, &["task", "get", &task]).data();
        assert_eq!((&seen["title"], &seen["owner"]), (&"better".into(), &"bob".into()), "{name}");
    }
    assert_eq!(clones.run("ann", &["lint"]).data()["findings"], serde_json::json!([]));
}

#[test]
fn an_offline_claim_is_confirmed_before_completion() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    clones.run("ann", &["claim", &task]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    let error = clones.run("ann", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "bob");
}

#[test]
fn renewal_neither_shortens_nor_unconfirms_a_lease() {
    let (clones, task) = confirmed(&["ann"]);
    let lease = clones.run("ann", &["claim", &task, "--ttl", "1h"]).data()["lease"].clone();
    let renewed = clones.run("ann", &["lease", "renew"]).data();
    assert_eq!((&renewed["fence"], &renewed["confirmed"]), (&lease["fence"], &true.into()));
    assert!(renewed["expires_at"].as_str() >= lease["expires_at"].as_str());
    clones.run("ann", &["lease", "release", &task]).data();
    assert_eq!(record(&clones, &task)["state"], "released");
}

#[test]
fn next_skips_an_expired_lease_of_another_clone() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    let none = run_at(&clones, "bob", "2026-11-20T11:00:00Z", &["next", "--claim"]);
    assert!(none.data().is_null() || none.data()["task"].is_null(), "{none:?}");
    assert!(warning(&none, "the lease of ann") && warning(&none, "takes it over"), "{none:?}");
    let counts = run_at(&clones, "bob", "2026-11-20T11:00:00Z", &["ready"]).data()["not_ready"]["counts"].clone();
    assert_eq!((&counts["lease_expired"], counts.get("leased")), (&1.into(), None), "{counts}");
    let taken = run_at(&clones, "bob", "2026-11-20T11:00:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
}

#[test]
fn next_asks_again_before_it_believes_that_a_task_is_still_held() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task, "--ttl", "2h"]).data();
    let none = clones.run("bob", &["next", "--claim"]);
    assert!(none.data().is_null() || none.data()["task"].is_null(), "{none:?}");
    clones.run("ann", &["release", &task]).data();
    assert_eq!(clones.run("bob", &["next", "--claim"]).data()["task"]["id"], task.as_str());
}

#[test]
fn the_old_holder_is_warned_after_the_new_one_released() {
    for settings in ["[lease]\nremote = \"origin\"\n", ""] {
        for last in ["release", "done"] {
            let (clones, task) = with_settings(&["ann"], settings);
            let run = |who: &str, clock: &str, args: &[&str]| {
                let mut command = clones.room.agentpm_in(&clones.dir("ann"));
                command.env("AGENTPM_AGENT", who).env("AGENTPM_CLOCK", clock);
                Answer::from(command.args(args).output().unwrap())
            };
            for (who, clock) in [("ann", "2026-11-20T10:00:00Z"), ("eve", "2026-11-20T11:00:00Z")] {
                run(who, clock, &["claim", &task]).data();
            }
            run("bob", "2026-11-20T12:00:00Z", &["claim", &task]).data();
            let more: &[&str] = if last == "done" { &["done", "--all-met"] } else { &["release"] };
            run("bob", "2026-11-20T12:00:00Z", more).data();
            for who in ["ann", "eve"] {
                let stale = ["task", "update", &task, "--title", "stale"];
                let error = run(who, "2026-11-20T12:01:00Z", &stale).error("ERR_LEASE_LOST", 5);
                assert_eq!(error["details"]["taken_by"], "bob", "{settings:?} {last} {who}");
            }
        }
    }
}

#[test]
fn a_task_finished_in_a_lost_clone_can_be_claimed_again() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    std::fs::remove_dir_all(clones.dir("ann")).unwrap();
    let error = clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(error["hint"].as_str().unwrap().contains("--here"), "{error}");
    let taken = clones.run("bob", &["claim", &task, "--here"]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
}

#[test]
fn records_deleted_at_the_remote_are_forgotten() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task, "--ttl", "3d"]).data();
    clones.run("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let name = format!("refs/agentpm/leases/{task}");
    clones.room.git_in(&hub(&clones), &["update-ref", "-d", &name]).text();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    let error = clones.run("ann", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "bob");
    // Without another holder in between, the holder's record is restored.
    let other = clones.run("ann", &["add", "--title", "other", "--quiet"]).text().to_owned();
    clones.run("ann", &["claim", &other]).data();
    let name = format!("refs/agentpm/leases/{other}");
    clones.room.git_in(&hub(&clones), &["update-ref", "-d", &name]).text();
    clones.run("ann", &["sync"]).data();
    assert_eq!(clones.run("ann", &["lease", "renew", &other]).data()["confirmed"], true);
    assert_eq!(record(&clones, &other)["agent"], "ann");
}

#[test]
fn a_clock_that_is_years_ahead_holds_a_task_no_longer_than_its_time() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2036-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:00:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    run_at(&clones, "bob", "2026-11-20T10:05:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
    // In its own clone too: no lease lives longer than a lease may.
    let mut other = clones.room.agentpm_in(&clones.dir("ann"));
    other.env("AGENTPM_AGENT", "carl").env("AGENTPM_CLOCK", "2026-11-20T10:12:00Z");
    let held = Answer::from(other.args(["claim", &task]).output().unwrap());
    assert_eq!(held.error("ERR_LEASE_HELD", 5)["details"]["holder"], "bob");
}

#[test]
fn transition_refuses_a_task_held_in_another_clone() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    for status in ["in_progress", "cancelled"] {
        let error = clones.run("bob", &["task", "transition", &task, "--status", status]).error("ERR_LEASE_HELD", 5);
        assert_eq!(error["details"]["holder"], "ann");
    }
}

/// A copy of a clone, made with everything in it.
fn copy_of_ann(clones: &Clones, name: &str) -> PathBuf {
    let copy = clones.room.beside(name);
    clones.room.sealed("cp", &clones.room.repo()).arg("-a").arg(clones.dir("ann")).arg(&copy).status().unwrap();
    copy
}

fn as_ann(clones: &Clones, dir: &Path, args: &[&str]) -> Answer {
    let mut command = clones.room.agentpm_in(dir);
    Answer::from(command.env("AGENTPM_AGENT", "ann").args(args).output().unwrap())
}

#[test]
fn the_first_of_a_clone_and_its_copy_to_ask_keeps_the_lease() {
    for copy_asks_first in [false, true] {
        let (clones, task) = confirmed(&["ann"]);
        clones.run("ann", &["claim", &task]).data();
        let (ann, copy) = (clones.dir("ann"), copy_of_ann(&clones, "copy"));
        let (first, second) = if copy_asks_first { (&copy, &ann) } else { (&ann, &copy) };
        assert_eq!(as_ann(&clones, first, &["claim", &task]).data()["lease"]["confirmed"], true);
        let refused = as_ann(&clones, second, &["claim", &task]);
        assert_eq!(refused.code, 5, "{refused:?}");
        let refused = as_ann(&clones, second, &["done", &task, "--all-met"]);
        assert_eq!(refused.code, 5, "{refused:?}");
        as_ann(&clones, first, &["done", &task, "--all-met"]).data();
    }
}

#[test]
fn only_one_of_a_clone_and_its_copy_finishes_a_claimed_task() {
    let (clones, task) = confirmed(&["ann"]);
    clones.run("ann", &["claim", &task]).data();
    let copy = copy_of_ann(&clones, "copy");
    as_ann(&clones, &copy, &["done", &task, "--all-met"]).data();
    let refused = as_ann(&clones, &clones.dir("ann"), &["done", &task, "--all-met"]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().starts_with("ann finished task"), "{refused}");
}

#[test]
fn a_clone_and_its_copy_are_never_both_confirmed() {
    let (clones, _) = confirmed(&["ann"]);
    let tasks: Vec<String> = (0..4)
        .map(|n| clones.run("ann", &["task", "create", "--title", &format!("task {n}"), "--quiet"]).text().to_owned())
        .collect();
    let copies = [clones.dir("ann"), copy_of_ann(&clones, "one"), copy_of_ann(&clones, "two")];
    for task in &tasks {
        let claims: Vec<Child> = copies
            .iter()
            .map(|dir| {
                let mut command = clones.room.agentpm_in(dir);
                command.env("AGENTPM_AGENT", "ann").env_remove("AGENTPM_SEED").args(["claim", task]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        let confirmed = claims
            .into_iter()
            .map(end)
            .filter(|answer| answer.code == 0 && answer.json()["data"]["lease"]["confirmed"] == true);
        assert_eq!(confirmed.count(), 1, "{task}");
    }
}

#[test]
fn a_copy_made_during_a_claim_is_not_confirmed() {
    let (clones, task) = confirmed(&["ann"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["release", &task]).data();
    let before = copy_of_ann(&clones, "copy");
    clones.run("ann", &["claim", &task]).data();
    // The claim had noted its nonce, and nothing else, when the copy was made.
    let nonces = |dir: &Path| dir.join(".git/agentpm/nonces").join(&task);
    std::fs::copy(nonces(&clones.dir("ann")), nonces(&before)).unwrap();
    let mut eve = clones.room.agentpm_in(&before);
    Answer::from(eve.env("AGENTPM_AGENT", "eve").args(["claim", &task]).output().unwrap()).error("ERR_LEASE_HELD", 5);
    clones.run("ann", &["done", &task, "--all-met"]).data();
}

#[test]
fn a_granted_fence_that_is_too_high_is_ignored() {
    let (clones, task) = confirmed(&["ann"]);
    let log = clones.run("ann", &["task", "path", &task]).data()["path"].as_str().unwrap().to_owned();
    let log = log.replace("task.yaml", "events.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let line = format!(
        r#"{{"v":1,"id":"01KAGB9R800JDYC9S306ZDBZPW","lamport":40,"type":"LeaseAcquired","entity":"task/{task}","agent":"mallory","at":"2025-11-20T10:00:00Z","fence":9007199254740989,"payload":{{"lease":"01KAGB9R800JDYC9S306ZDBZPX","holder":"mallory","fence":9007199254740989,"expires_at":"2099-11-20T10:00:00Z"}}}}"#
    );
    std::fs::write(&log, format!("{text}{line}\n")).unwrap();
    clones.run("ann", &["resolve"]).data();
    let lease = clones.run("ann", &["claim", &task]).data()["lease"].clone();
    assert_eq!((&lease["confirmed"], &lease["fence"]), (&true.into(), &2.into()));
    assert!(clones.run("ann", &["lint"]).stdout.contains("too far above"));
}
#[test]
fn a_commit_that_ends_a_task_another_clone_has_by_the_remote_is_refused() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["init", "--hooks"]).data();
    let commit = |message: &str| {
        clones.git("ann", &["add", "-A"]).text();
        let mut git = clones.room.agentpm_like("git");
        git.current_dir(clones.dir("ann")).env("AGENTPM_AGENT", "ann");
        Answer::from(git.args(["commit", "-q", "-m", message]).output().unwrap())
    };
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    assert_eq!(clones.run("ann", &["claim", &task]).data()["lease"]["confirmed"], false);
    clones.run("ann", &["task", "update", &task, "--title", "ann's"]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    let bobs = clones.run("bob", &["claim", &task]).data();
    assert_eq!(bobs["lease"]["confirmed"], true);
    // What was changed in good faith may be committed still, but not the end of what bob is at work on.
    std::fs::rename(hub(&clones), &away).unwrap();
    clones.run("ann", &["done", &task, "--all-met"]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    // A sync learns of bob, and fails for another reason.
    hook(&clones, "update", "case $1 in refs/heads/*) exit 1;; esac");
    clones.run("ann", &["sync"]).error("ERR_SYNC", 9);
    std::fs::remove_file(hub(&clones).join("hooks/update")).unwrap();
    let refused = commit("ann is done");
    assert_ne!(refused.code, 0);
    let words = ["lease-lost", &task, "complete", "bob holds it now in another clone under fence 2"];
    for word in words {
        assert!(refused.stderr.contains(word), "{word}: {refused:?}");
    }
    assert_eq!(refused.stderr.matches("lease-lost").count(), 1, "the new title stands: {refused:?}");
    // Given back by bob, it is still bob's clone that has it last.
    clones.run("bob", &["release", &task]).data();
    clones.run("ann", &["lease", "acquire", &task]).error("ERR_INVALID_STATE", 4);
    assert_ne!(commit("ann is done").code, 0);
    // A sync brings both clones' events together and is not held up; work that is done stays done.
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["sync"]).data();
    for name in ["ann", "bob"] {
        assert_eq!(clones.run(name, &["task", "get", &task]).data()["status"], "completed", "{name}");
    }
}

#[test]
fn a_commit_under_a_lease_that_gave_way_to_a_confirmed_one_is_refused_however_high_its_fence() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    for name in ["ann", "bob"] {
        run_at(&clones, name, "2026-11-20T10:00:00Z", &["sync"]).data();
    }
    // Ann renews what she has; what bob, who is cut off, takes meanwhile stands higher until he can ask.
    run_at(&clones, "ann", "2026-11-20T10:08:00Z", &["lease", "renew", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:08:00Z", &["release", &task]).data();
    let again = run_at(&clones, "ann", "2026-11-20T10:09:00Z", &["claim", &task]).data()["lease"].clone();
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    let bob = |args: &[&str]| run_at(&clones, "bob", "2026-11-20T10:11:00Z", args).data();
    bob(&["claim", &task]);
    bob(&["lease", "release", &task]);
    bob(&["claim", &task]);
    bob(&["lease", "release", &task]);
    let mine = bob(&["claim", &task])["lease"].clone();
    assert!(mine["fence"].as_u64() > again["fence"].as_u64(), "{mine} {again}");
    std::fs::rename(&away, hub(&clones)).unwrap();
    let log = clones.log("bob", &task);
    let error = run_at(&clones, "bob", "2026-11-20T10:12:00Z", &["lease", "renew", &task]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "ann");
    // An event that ends it all the same is not committed.
    let text = std::fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let forged = serde_json::json!({
        "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": last["lamport"].as_u64().unwrap() + 1,
        "type": "TaskStatusChanged", "entity": format!("task/{task}"), "parents": [last["id"]], "agent": "bob",
        "at": "2026-11-20T10:12:00Z", "fence": mine["fence"],
        "payload": { "from": "in_progress", "to": "completed", "forced": ["acceptance"] },
    });
    std::fs::write(&log, format!("{text}{forged}\n")).unwrap();
    clones.run("bob", &["lint", "--fix"]).data();
    clones.git("bob", &["add", "-A"]).text();
    let report = clones.run("bob", &["lint", "--staged"]).json()["data"].clone();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{report:#}");
    assert_eq!(findings[0]["code"], "lease-lost");
    assert!(findings[0]["message"].as_str().unwrap().contains("ann holds it now in another clone"), "{report:#}");
}

#[test]
fn completion_and_release_survive_a_late_confirmation() {
    for end in [&["done", "--all-met"][..], &["release"]] {
        let (clones, task) = confirmed(&["ann", "bob"]);
        clones.run("ann", &["claim", &task]).data();
        clones.run("ann", &["release", &task]).data();
        let away = clones.room.beside("away.git");
        std::fs::rename(hub(&clones), &away).unwrap();
        clones.run("bob", &["claim", &task]).data();
        std::fs::rename(&away, hub(&clones)).unwrap();
        let last = if end[0] == "done" { "completed" } else { "open" };
        clones.run("bob", &[&[end[0], &task], &end[1..]].concat()).data();
        for name in ["ann", "bob", "ann", "bob"] {
            clones.run(name, &["sync"]).data();
        }
        for name in ["ann", "bob"] {
            let seen = clones.run(name, &["task", "get", &task]).data();
            assert_eq!(seen["status"], last, "{end:?} {name}");
        }
    }
}

#[test]
fn a_warned_loser_cannot_complete_an_unseen_task() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["release", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    let error = run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["done", &task, "--all-met"]);
    assert_eq!(error.error("ERR_INVALID_STATE", 4)["details"]["behind"], true);
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:12:00Z", &["done", &task, "--all-met"]).data();
}

#[test]
fn a_clock_once_years_ahead_blocks_no_claim() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2036-01-01T00:00:00Z", &["claim", &task]).data();
    let renewed = run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["lease", "renew", &task]);
    let renewed = renewed.json();
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:01:00Z", &["task", "update", &task, "--title", "right"]).data();
    run_at(&clones, "bob", "2026-11-20T10:02:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-20T10:20:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true, "{renewed}");
}

#[test]
fn an_absurd_fence_at_the_remote_blocks_no_claim() {
    let (clones, task) = confirmed(&["ann"]);
    let high = clones.room.beside("high");
    std::fs::write(&high, "8589934592\n").unwrap();
    let oid = clones.room.git_in(&hub(&clones), &["hash-object", "-w", &high.display().to_string()]);
    clones.room.git_in(&hub(&clones), &["update-ref", "refs/agentpm/floor", oid.text()]).text();
    let claimed = clones.run("ann", &["claim", &task]);
    assert_eq!(claimed.data()["lease"]["confirmed"], false);
    assert!(warning(&claimed, "too far above"), "{claimed:?}");
    clones.run("ann", &["done", &task, "--all-met"]).data();
}

#[test]
fn a_deleted_record_still_counts_for_fences() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let first = clones.run("ann", &["claim", &task]).data()["lease"]["fence"].as_u64().unwrap();
    clones.run("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let name = format!("refs/agentpm/leases/{task}");
    clones.room.git_in(&hub(&clones), &["update-ref", "-d", &name]).text();
    let second = clones.run("bob", &["claim", &task]).data()["lease"]["fence"].as_u64().unwrap();
    assert!(second > first, "{second} after {first}");
}

#[test]
fn work_ends_when_another_clone_had_the_task() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["task", "verify", &task, "--criterion", "1"]).data();
    let clock = clones.room.beside("clock");
    std::fs::write(&clock, "2026-11-20T10:00:00Z").unwrap();
    let mut command = clones.room.agentpm_in(&clones.dir("ann"));
    command.env("AGENTPM_AGENT", "ann").env("AGENTPM_CLOCK", format!("@{}", clock.display()));
    command.args(["work", &task, "--done", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    let mut working = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(working.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut String::new()).unwrap();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["release", &task]).data();
    std::fs::write(clones.room.beside("new"), "2026-11-20T10:12:00Z").unwrap();
    std::fs::rename(clones.room.beside("new"), &clock).unwrap();
    let answer = Answer::from(working.wait_with_output().unwrap());
    assert_eq!(answer.code, 5, "{answer:?}");
    assert!(answer.stderr.contains("ERR_LEASE_LOST"), "{answer:?}");
}

#[test]
fn a_lost_lease_is_not_confirmed_after_the_winner_finished_and_the_task_was_reopened() {
    let (clones, task) = confirmed(&["ann", "bob", "eve"]);
    let run = |name: &str, args: &[&str]| clones.run(name, args).data();
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    assert_eq!(run("bob", &["claim", &task])["lease"]["confirmed"], false);
    std::fs::rename(&away, hub(&clones)).unwrap();
    run("ann", &["claim", &task]);
    run("ann", &["done", &task, "--all-met"]);
    run("ann", &["sync"]);
    run("eve", &["sync"]);
    run("eve", &["task", "verify", &task, "--reject", "--why", "no test"]);
    run("eve", &["sync"]);
    let synced = run("bob", &["sync"]);
    assert_eq!(synced["leases"]["confirmed"], serde_json::Value::Null, "{synced}");
    assert_eq!(run("bob", &["lease", "list"])["total"], 0);
    let log = run("bob", &["log", &task, "--type", "LeaseAcquired", "--json"]);
    assert_eq!(log["items"].as_array().unwrap().len(), 2, "{log}");
    let view = run("bob", &["task", "get", &task]);
    assert_eq!((&view["status"], &view["owner"]), (&"open".into(), &"ann".into()), "{view}");
}

#[test]
fn a_lost_lease_is_reported_once_and_refuses_the_next_change() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.run(name, &["claim", &task]).data();
    }
    let reports: Vec<Value> = ["ann", "bob", "ann"].map(|name| clones.run(name, &["sync"]).data()).into();
    let owner = clones.run("ann", &["task", "get", &task]).data()["owner"].as_str().unwrap().to_owned();
    let loser = if owner == "ann" { "bob" } else { "ann" };
    let lost: Vec<&Value> = reports.iter().filter_map(|report| report["leases"]["lost"].get(0)).collect();
    assert_eq!((lost.len(), &lost[0]["agent"], &lost[0]["to"]), (1, &loser.into(), &owner.as_str().into()));
    let kept: Vec<&Value> = reports.iter().filter_map(|report| report["leases"]["contested"].get(0)).collect();
    assert_eq!((kept.len(), &kept[0]["agent"], &kept[0]["other"]), (1, &owner.as_str().into(), &loser.into()));
    for name in ["ann", "bob"] {
        assert!(clones.run(name, &["sync"]).data().get("leases").is_none(), "said once");
    }
    let error = clones.run(loser, &["done", &task, "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], owner.as_str());
}

/// Who has a task that ann and bob claimed at once, and who lost it, after both have heard of each other.
fn settled(clones: &Clones, task: &str) -> (&'static str, &'static str) {
    for name in ["ann", "bob", "ann"] {
        clones.run(name, &["sync"]).data();
    }
    let owner = clones.run("ann", &["task", "get", task]).data()["owner"].clone();
    if owner == "ann" { ("ann", "bob") } else { ("bob", "ann") }
}

#[test]
fn a_lost_lease_is_forgotten_once_the_task_is_finished() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let other = clones.run("ann", &["add", "--title", "another task", "--quiet"]).stdout.trim().to_owned();
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
        clones.run(name, &["claim", &task]).data();
    }
    let (owner, loser) = settled(&clones, &task);
    clones.run(owner, &["done", &task, "--all-met"]).data();
    clones.run(owner, &["sync"]).data();
    clones.run(loser, &["sync"]).data();
    assert_eq!(clones.run(loser, &["lease", "list"]).data()["items"], serde_json::json!([]), "the task is finished");
    // A later lease ends the one that the loser learned of.
    clones.run(owner, &["task", "reopen", &task, "--reason", "not yet"]).data();
    clones.run(owner, &["claim", &task]).data();
    clones.run(owner, &["done", &task, "--all-met"]).data();
    clones.run(owner, &["sync"]).data();
    clones.run(loser, &["sync"]).data();
    assert_eq!(clones.run(loser, &["lease", "list"]).data()["items"], serde_json::json!([]), "and finished again");
    clones.run(loser, &["claim", &other]).data();
    clones.run(loser, &["done", "--all-met"]).data();
    let error = clones.run(loser, &["note", "one more thing"]).error("ERR_NOT_FOUND", 3);
    assert!(error["message"].as_str().unwrap().contains("holds no task"), "{error}");
}

#[test]
fn an_agent_that_finished_first_hears_that_another_worked_on_the_task_too() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.run(name, &["claim", &task]).data();
    }
    clones.run("ann", &["done", &task, "--all-met"]).data();
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    let synced = clones.run("ann", &["sync"]).data();
    let contested = &synced["leases"]["contested"];
    assert_eq!((&contested[0]["agent"], &contested[0]["other"]), (&"ann".into(), &"bob".into()), "{synced}");
    clones.run("bob", &["note", &task, "--content", "I had begun too"]).data();
    clones.run("bob", &["sync"]).data();
    assert!(clones.run("ann", &["sync"]).data().get("leases").is_none(), "said once");
}

#[test]
fn a_lease_that_ended_with_its_task_holds_nobody_up_once_the_task_is_given_away_and_opened_again() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.run(name, &["claim", &task]).data();
    }
    let (owner, loser) = settled(&clones, &task);
    clones.run(owner, &["done", &task, "--all-met"]).data();
    clones.run(owner, &["task", "update", &task, "--owner", loser]).data();
    clones.run(owner, &["sync"]).data();
    clones.run(loser, &["sync"]).data();
    assert_eq!(clones.run(loser, &["lease", "list"]).data()["items"], serde_json::json!([]), "the task is finished");
    // Who opens a finished task again need not hear first that it once lost it.
    let opened = clones.run(loser, &["task", "reopen", &task, "--reason", "not yet"]);
    assert!(opened.stderr.contains("the criterion is marked as met"), "{opened:?}");
    assert!(!opened.stderr.contains("belongs to"), "it is the loser's own: {opened:?}");
    assert_eq!(clones.run(loser, &["lease", "list"]).data()["items"], serde_json::json!([]));
    assert_eq!(clones.run(loser, &["claim", &task]).data()["lease"]["fence"], 2);
    clones.run(loser, &["sync"]).data();
    clones.run(owner, &["sync"]).data();
    assert_eq!(clones.run(owner, &["lease", "list"]).data()["items"][0]["agent"], loser);
}

#[test]
fn a_note_or_a_message_of_the_holder_renews_a_lease_that_expired_or_soon_will() {
    let says: [&[&str]; 3] =
        [&["note", "TASK", "x"], &["context", "add", "TASK", "--content", "x"], &["thread", "open", "TASK", "x"]];
    for words in says {
        for (minute, end) in [("10:02", "10:10"), ("10:06", "10:16"), ("10:30", "10:40")] {
            let room = Sandbox::new();
            room.at("2026-11-20T10:00:00Z");
            let task = room.task("a task", &[]);
            room.run(&["claim", &task]).data();
            let at: &'static str = format!("2026-11-20T{minute}:00Z").leak();
            room.at(at);
            let words: Vec<&str> =
                words.iter().map(|word| if *word == "TASK" { task.as_str() } else { word }).collect();
            room.run(&words).data();
            let lease = room.run(&["lease", "list"]).data()["items"][0].clone();
            assert_eq!(lease["expires_at"], format!("2026-11-20T{end}:00Z"), "{words:?} at {minute}");
            room.run(&["note", &task, "again"]).data();
        }
    }
}

#[test]
fn a_task_that_is_given_to_another_agent_leaves_the_lease_of_its_holder() {
    for by_hand in [false, true] {
        let room = Sandbox::new();
        let task = room.task("a task", &[]);
        room.run(&["claim", &task]).data();
        if by_hand {
            let text = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
            std::fs::write(room.yaml_of(&task), text.replace("owner: ada", "owner: bob")).unwrap();
            room.run(&["resolve"]).data();
        } else {
            room.run(&["task", "update", &task, "--owner", "bob", "--priority", "1"]).data();
        }
        assert_eq!(room.run(&["lease", "list"]).data()["items"], serde_json::json!([]), "by hand: {by_hand}");
        room.run_as("bob", &["task", "update", &task, "--title", "bob's"]).data();
        room.run(&["release", &task]).error("ERR_LEASE_HELD", 5);
        assert_eq!(room.run(&["next", "--claim"]).json()["data"], Value::Null);
        assert_eq!(room.run_as("bob", &["claim", &task]).data()["lease"]["fence"], 2);
        assert_eq!(room.get(&task)["owner"], "bob");
        room.is_clean();
    }
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.run("ann", &["task", "update", &task, "--owner", "bob"]).data();
    assert_eq!(record(&clones, &task)["state"], "released");
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);
    clones.run("bob", &["done", &task, "--all-met"]).data();
}

#[test]
fn a_lease_from_a_clock_that_was_years_ahead_is_renewed() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.at("2036-11-20T10:00:00Z");
    let lease = room.run(&["claim", &one]).data()["lease"]["id"].as_str().unwrap().to_owned();
    room.run(&["claim", &two]).data();
    room.at("2026-11-20T10:00:00Z");
    let change = ["task", "update", &one, "--priority", "1", "--lease-id", &lease];
    let expired = room.run(&change).error("ERR_LEASE_EXPIRED", 5);
    assert!(expired["hint"].as_str().unwrap().contains("lease renew"), "{expired}");
    assert_eq!(room.run(&["lease", "renew", &one]).data()["expires_at"], "2026-11-20T10:10:00Z");
    room.run(&change).data();
    // A change renews it too.
    room.run(&["task", "update", &two, "--priority", "1"]).data();
    let live = room.run(&["lease", "list"]).data();
    assert_eq!(
        (&live["total"], &live["items"][1]["expires_at"]),
        (&2.into(), &"2026-11-20T10:10:00Z".into()),
        "{live}"
    );
    room.run_as("bob", &["claim", &two]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_lease_of_a_task_that_was_finished_and_reopened_unseen_refuses_a_claim() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let ann = |args: &[&str]| run_at(&clones, "ann", "2026-11-20T10:00:00Z", args).data();
    ann(&["claim", &task]);
    ann(&["done", &task, "--all-met"]);
    ann(&["task", "reopen", &task, "--reason", "not yet"]);
    ann(&["claim", &task]);
    let before = record(&clones, &task);
    assert_eq!((&before["state"], before["ends"].as_array().unwrap().len()), (&"held".into(), 1));
    let held = run_at(&clones, "bob", "2026-11-20T10:05:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert_eq!(held["details"]["holder"], "ann");
    // Nor does an override get past the end that bob has not seen.
    let cancel = ["task", "transition", &task, "--status", "cancelled", "--override", "not needed"];
    run_at(&clones, "bob", "2026-11-20T10:05:00Z", &cancel).error("ERR_LEASE_HELD", 5);
    for args in [&["claim", &task][..], &["lease", "acquire", &task], &cancel] {
        let refused = run_at(&clones, "bob", "2026-11-20T10:30:00Z", args).error("ERR_INVALID_STATE", 4);
        assert_eq!(refused["details"]["finished_elsewhere"], true, "{args:?}: {refused}");
        assert!(refused["message"].as_str().unwrap().contains("finished and opened again"), "{refused}");
    }
    assert_eq!(record(&clones, &task), before);
    let here = run_at(&clones, "bob", "2026-11-20T10:30:00Z", &["claim", &task, "--here"]).data();
    assert_eq!(here["lease"]["confirmed"], true);
}

#[test]
fn an_override_ends_a_task_that_another_clone_had_unseen_and_is_recorded() {
    for given_back in [true, false] {
        let (clones, task) = confirmed(&["ann", "bob"]);
        clones.run("ann", &["claim", &task]).data();
        if given_back {
            clones.run("ann", &["release", &task]).data();
        }
        let cancel = ["task", "transition", &task, "--status", "cancelled", "--override", "not needed"];
        let ended = clones.run("bob", &cancel);
        assert_eq!((&ended.data()["status"], warning(&ended, "confirmed")), (&"cancelled".into(), false), "{ended:?}");
        assert_eq!(record(&clones, &task)["state"], "finished");
        let log = clones.run("bob", &["log", &task, "--type", "LeaseOverride", "--json"]);
        assert_eq!(log.data()["items"][0]["payload"]["holder"], "ann", "{given_back}: {log:?}");
    }
}

#[test]
fn a_completion_above_the_fence_of_an_unseen_holder_is_refused() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    for name in ["ann", "bob"] {
        run_at(&clones, name, "2026-11-20T10:00:00Z", &["sync"]).data();
    }
    run_at(&clones, "ann", "2026-11-20T10:08:00Z", &["lease", "renew", &task]).data();
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    let taken = run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    assert_eq!((&taken["lease"]["confirmed"], &taken["lease"]["fence"]), (&false.into(), &3.into()));
    std::fs::rename(&away, hub(&clones)).unwrap();
    let before = record(&clones, &task);
    let done = ["done", &task, "--all-met"];
    let error = run_at(&clones, "bob", "2026-11-20T10:12:00Z", &done).error("ERR_LEASE_LOST", 5);
    assert_eq!(error["details"]["holder"], "ann");
    assert_eq!(record(&clones, &task), before);
    assert_eq!(clones.run("bob", &["task", "get", &task]).data()["status"], "in_progress");
    run_at(&clones, "ann", "2026-11-20T10:13:00Z", &done).data();
}

#[test]
fn a_clock_that_is_a_year_ahead_takes_no_live_lease() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let ahead = |time: &str, args: &[&str]| run_at(&clones, "bob", &format!("2027-11-20T{time}:00Z"), args);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    let held = ahead("10:00", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert_eq!(held["details"]["expires_at"], "2027-11-20T10:10:00Z", "by bob's clock");
    // Each renewal is a sign of life.
    run_at(&clones, "ann", "2026-11-20T10:06:00Z", &["lease", "renew", &task]).data();
    ahead("10:11", &["sync"]).data();
    let none = ahead("10:16", &["next", "--claim"]);
    assert!(none.data().is_null() && !warning(&none, "ran out"), "{none:?}");
    assert_eq!(ahead("10:20", &["lease", "list", "--remote"]).data()["items"][0]["live"], true);
    ahead("10:20", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    // Ann is gone: her lease was watched since the sync.
    assert_eq!(ahead("10:21", &["lease", "list", "--remote"]).data()["items"][0]["live"], false);
    let none = ahead("10:21", &["next", "--claim"]);
    assert!(none.data().is_null() && warning(&none, "ran out at 2027-11-20T10:21:00Z"), "{none:?}");
    assert_eq!(ahead("10:21", &["claim", &task]).data()["lease"]["confirmed"], true);
}

#[test]
fn an_abandoned_lease_that_is_first_seen_late_is_taken_after_its_time_to_live() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    let held = run_at(&clones, "bob", "2026-11-25T10:00:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert_eq!(held["details"]["expires_at"], "2026-11-25T10:10:00Z");
    run_at(&clones, "bob", "2026-11-25T10:09:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-25T10:10:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
}

#[test]
fn a_lease_that_was_first_seen_by_a_clock_ahead_is_taken_once_the_clock_is_right() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2036-11-20T10:00:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    run_at(&clones, "bob", "2026-11-20T10:05:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-20T10:11:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
    // Also where it is set right only days later.
    let (clones, task) = confirmed(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "bob", "2036-11-20T10:00:00Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-25T10:00:00Z", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let taken = run_at(&clones, "bob", "2026-11-25T10:10:00Z", &["claim", &task]).data();
    assert_eq!(taken["lease"]["confirmed"], true);
}

#[test]
fn a_late_confirmation_gives_a_lease_its_whole_time() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let away = clones.room.beside("away.git");
    std::fs::rename(hub(&clones), &away).unwrap();
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    let synced = run_at(&clones, "ann", "2026-11-20T10:09:45Z", &["sync"]).data();
    assert_eq!(synced["leases"]["confirmed"][0], task.as_str());
    assert_eq!(record(&clones, &task)["expires_at"], "2026-11-20T10:19:45Z");
    // Where another clone granted as high, the holder's next change does it.
    run_at(&clones, "bob", "2026-11-20T10:09:45Z", &["sync"]).data();
    run_at(&clones, "ann", "2026-11-20T10:18:00Z", &["lease", "renew", &task]).data();
    std::fs::rename(hub(&clones), &away).unwrap();
    run_at(&clones, "bob", "2026-11-20T10:20:00Z", &["claim", &task]).data();
    std::fs::rename(&away, hub(&clones)).unwrap();
    run_at(&clones, "bob", "2026-11-20T10:20:00Z", &["sync"]).data();
    clones.git("ann", &["pull", "-q", "--no-rebase"]).text();
    let before = record(&clones, &task)["fence"].as_u64();
    run_at(&clones, "ann", "2026-11-20T10:27:45Z", &["task", "update", &task, "--priority", "1"]).data();
    let again = record(&clones, &task);
    assert!(again["fence"].as_u64() > before, "{again}");
    assert_eq!(again["expires_at"], "2026-11-20T10:37:45Z");
}

#[test]
fn an_end_whose_record_arrives_late_stays_at_the_remote() {
    let cancel: &[&str] = &["task", "transition", "--status", "cancelled"];
    for (end, is_written) in [(&["done", "--all-met"][..], true), (cancel, true), (cancel, false)] {
        let (clones, task) = confirmed(&["ann", "bob"]);
        if end[0] == "done" {
            clones.run("ann", &["claim", &task]).data();
        }
        // The remote gets the record of the end and does not take it in time.
        let late = clones.room.beside("late");
        let script =
            "while read old new ref; do case $ref in refs/agentpm/*) git cat-file -p $new > LATE; exit 1;; esac; done";
        hook(&clones, "pre-receive", &script.replace("LATE", &late.display().to_string()));
        let ended = clones.run("ann", &[end, &[task.as_str()]].concat());
        assert!(warning(&ended, "not confirmed"), "{ended:?}");
        ended.data();
        std::fs::remove_file(hub(&clones).join("hooks/pre-receive")).unwrap();
        let mut arrived: Value = serde_json::from_str(&std::fs::read_to_string(&late).unwrap()).unwrap();
        assert_eq!(arrived["state"], "finished");
        let written = std::fs::read_to_string(clones.log("ann", &task)).unwrap();
        assert!(written.contains(arrived["ends"][0].as_str().unwrap()), "the record names the event: {arrived}");
        if !is_written {
            // It is of an earlier command, which died.
            arrived["ends"][0] = "01ZZZZZZZZ0000000000000001".into();
            std::fs::write(&late, arrived.to_string()).unwrap();
        }
        let oid = clones.room.git_in(&hub(&clones), &["hash-object", "-w", &late.display().to_string()]);
        let name = format!("refs/agentpm/leases/{task}");
        clones.room.git_in(&hub(&clones), &["update-ref", &name, oid.text()]).text();
        // What is finished is known to all, and its record is cleaned up.
        clones.run("ann", &["sync"]).data();
        assert!(!refs(&clones).contains(&name), "{end:?}, written: {is_written}");
        let refused = clones.run("bob", &["claim", &task]).error("ERR_INVALID_STATE", 4);
        assert!(refused["message"].as_str().unwrap().starts_with("ann finished task"), "{refused}");
    }
}

#[test]
fn a_remote_that_was_set_back_grants_no_fence_again() {
    let (clones, second) = confirmed(&["ann", "bob", "eve"]);
    let first = clones.run("ann", &["add", "--title", "first", "--priority", "1", "--quiet"]).text().to_owned();
    clones.run("ann", &["sync"]).data();
    clones.run("ann", &["claim", &second]).data();
    clones.run("ann", &["release", &second]).data();
    let name = format!("refs/agentpm/leases/{second}");
    let old = clones.room.git_in(&hub(&clones), &["rev-parse", &name]).text().to_owned();
    let fence = clones.run("eve", &["claim", &second]).data()["lease"]["fence"].as_u64();
    clones.run("eve", &["release", &second]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["claim", &first]).data();
    clones.room.git_in(&hub(&clones), &["update-ref", &name, &old]).text();
    // The first task is held, so bob reads all records and takes the second one.
    let taken = clones.run("bob", &["next", "--claim"]).data();
    assert_eq!((&taken["task"]["id"], &taken["lease"]["confirmed"]), (&second.as_str().into(), &true.into()));
    assert!(taken["lease"]["fence"].as_u64() > fence, "{fence:?}: {taken}");
}

/// Overrides bob's lease by a command that ends his work, which must give it back.
#[track_caller]
fn is_given_back(begin: &[&str], commands: &[&[&str]]) {
    let room = Sandbox::new();
    let task = room.task("a task", &[]);
    let run = |agent: &str, args: &[&str]| {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "TASK" { task.as_str() } else { *arg }).collect();
        room.run_as(agent, &args)
    };
    run("bob", begin).data();
    for command in commands {
        run("ada", command).data();
    }
    assert_eq!(room.run(&["lease", "list"]).data()["items"], serde_json::json!([]), "{commands:?}");
    assert!(room.get(&task).get("lease_holder").is_none_or(Value::is_null), "{commands:?}");
    room.is_clean();
    if room.run(&["ready"]).data()["items"][0]["id"] == task.as_str() {
        run("carl", &["claim", "TASK"]).data();
        assert_eq!(room.get(&task)["owner"], "carl", "{commands:?}");
    }
}

#[test]
fn an_override_that_ends_or_frees_a_task_gives_the_lease_back() {
    let claim = &["claim", "TASK"][..];
    let over = ["--override", "bob is gone"];
    let reopen = ["task", "reopen", "TASK", "--reason", "once more"];
    is_given_back(claim, &[&[&["release", "TASK"][..], &over].concat()]);
    is_given_back(&["lease", "acquire", "TASK"], &[&[&["release", "TASK"][..], &over].concat()]);
    is_given_back(claim, &[&[&["task", "split", "TASK", "--title", "a part"][..], &over].concat()]);
    is_given_back(claim, &[&[&["done", "TASK"][..], &over].concat(), &reopen]);
    is_given_back(claim, &[&[&["task", "transition", "TASK", "--status", "cancelled"][..], &over].concat(), &reopen]);

    let room = Sandbox::new();
    let task = room.task("a task", &[]);
    room.run_as("bob", &["claim", &task]).data();
    let log = room.run(&["log", &task, "--type", "TaskStatusChanged"]).data();
    let claimed = log["items"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["undo", &claimed, "--override", "bob is gone"]).data();
    room.run_as("carl", &["claim", &task]).data();
    // A new owner is not kept waiting either.
    room.run(&["task", "update", &task, "--owner", "dan", "--override", "dan goes on"]).data();
    assert_eq!(room.run_as("dan", &["claim", &task]).data()["task"]["owner"], "dan");
    room.is_clean();
}

#[test]
fn a_lease_that_was_given_back_by_an_override_is_over_in_other_clones_and_for_the_gate() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.room.run_in(&clones.dir("ann"), &["release", &task, "--override", "ann is gone"]).data();
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("bob", &["claim", &task]).data();

    // The remote hears of it at once.
    let (clones, task) = confirmed(&["ann", "bob"]);
    clones.run("ann", &["claim", &task]).data();
    clones.room.run_in(&clones.dir("ann"), &["release", &task, "--override", "ann is gone"]).data();
    assert_eq!(record(&clones, &task)["state"], "released");
    clones.run("ann", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.run("bob", &["claim", &task]).data()["lease"]["confirmed"], true);

    let room = Sandbox::new();
    let roles = crate::gate::ROLES.replace("comment, create", "claim, override");
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    let task = room.task("a task", &[]);
    room.run_as("carol", &["claim", &task]).data();
    crate::gate::commit(&room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run_as("bob", &["release", &task, "--override", "carol is gone"]).data();
    crate::gate::passes(&room);
    let review = room.run(&["review", "main..HEAD", "--all"]).data().to_string();
    assert_eq!(review.matches("\"change\":\"override\"").count(), 1, "{review}");
    room.git(&["switch", "-q", "-C", "main"]).text();
    room.git(&["switch", "-q", "-c", "next"]).text();
    let by_carol = "comment, create, claim";
    std::fs::write(room.store().join("roles.yml"), crate::gate::ROLES.replace("comment, create", by_carol)).unwrap();
    crate::gate::commit(&room, "bob may not override any more");
    room.git(&["switch", "-q", "-C", "main"]).text();
    room.git(&["switch", "-q", "-c", "last"]).text();
    room.run_as("bob", &["claim", &task]).data();
    crate::gate::passes(&room);
}
