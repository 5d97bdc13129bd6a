//! Work that is taken on another branch is not handed out here; and what looking at branches costs.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, shard};

/// A room with two tasks, the first of them more urgent, committed on main.
fn room_of_two() -> (Sandbox, String, String) {
    let room = Sandbox::new();
    let first = room.task("first", &["--priority", "3"]);
    let second = room.task("second", &[]);
    commit(&room, "the plan");
    (room, first, second)
}

fn commit(room: &Sandbox, words: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", words]).text();
}

/// Commits what `bob` does to a task on a branch of its own, and comes back to main. The lease is given back, so that only the
/// branch tells of it.
fn on_branch(room: &Sandbox, branch: &str, steps: &[&[&str]]) {
    room.git(&["checkout", "-q", "-b", branch]).text();
    for step in steps {
        room.run_as("bob", step).data();
    }
    commit(room, branch);
    room.git(&["checkout", "-q", "main"]).text();
    room.git(&["clean", "-qfd"]).text();
}

fn next_id(room: &Sandbox, args: &[&str]) -> Value {
    room.run(args).data()["task"]["id"].clone()
}

/// What looking at other branches cost, as the log tells.
#[track_caller]
fn cost(room: &Sandbox, args: &[&str]) -> (Value, Value) {
    let output = room.agentpm().env("AGENTPM_LOG_LEVEL", "agentpm=debug").args(args).output().unwrap();
    let answer = Answer::from(output);
    let lines = answer.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let said = lines.map(|line| line["fields"].clone()).find(|f| f["message"] == "looked at other branches");
    (answer.data(), said.unwrap_or_else(|| panic!("{answer:?}")))
}

fn read(cost: &Value) -> Value {
    json!([cost["commits"], cost["trees"], cost["logs"]])
}

/// Makes many branches at once.
fn import(room: &Sandbox, script: &str) {
    let mut git = room.sealed("git", &room.repo());
    let mut child = git.args(["fast-import", "--quiet", "--force"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// Seconds since 1970 at which the last commit was made.
fn now(room: &Sandbox) -> i64 {
    room.git(&["log", "-1", "--format=%ct"]).text().parse().unwrap()
}

#[test]
fn next_passes_over_a_task_taken_on_another_branch() {
    let (room, first, second) = room_of_two();
    on_branch(&room, "bobs/work", &[&["claim", &first], &["lease", "release", &first]]);

    let explained = room.run(&["next", "--explain"]).data();
    assert_eq!(explained["task"]["id"], second.as_str());
    let why = &explained["reasons"]["others"]["elsewhere"][0];
    assert_eq!(
        why["why"],
        json!({ "reason": "elsewhere", "branch": "bobs/work", "status": "in_progress", "owner": "bob" })
    );
    assert_eq!(why["words"], "in_progress by bob on the branch bobs/work");
    let ready = room.run(&["ready"]).data();
    assert_eq!((&ready["total"], &ready["items"][0]["id"]), (&json!(1), &json!(second)));
    assert_eq!(room.run(&["ls", "--ready"]).data()["total"], 1);

    assert_eq!(next_id(&room, &["next", "--claim"]), second.as_str());
    let nothing = room.run(&["next", "--claim"]);
    assert_eq!((nothing.data(), &nothing.json()["reasons"]["counts"]["taken_elsewhere"]), (Value::Null, &json!(1)));
    for refused in [
        &["claim", &first][..],
        &["lease", "acquire", &first],
        &["task", "transition", &first, "--status", "in_progress"],
    ] {
        let error = room.run(refused).error("ERR_INVALID_STATE", 4);
        assert!(error["message"].as_str().unwrap().contains("bobs/work"), "{error}");
        assert_eq!(error["details"]["why"]["branch"], "bobs/work");
    }
    // Bob gets the same answer: his work is on the other branch.
    room.run_as("bob", &["claim", &first]).error("ERR_INVALID_STATE", 4);
    room.is_clean();
}

#[test]
fn task_and_brief_show_the_state_on_other_branches() {
    let (room, first, second) = room_of_two();
    on_branch(&room, "side", &[&["claim", &first], &["done", &first]]);
    let shown = room.get(&first);
    assert_eq!((&shown["ready"], shown["branches"].as_array().unwrap().len()), (&json!(false), 1));
    let there = &shown["branches"][0];
    assert_eq!(
        (&there["branch"], &there["status"], &there["owner"]),
        (&json!("side"), &json!("completed"), &json!("bob"))
    );
    assert!(there["lamport"].as_u64().unwrap() > 0 && there["updated_at"].is_string(), "{there}");
    let brief = room.run(&["brief", &first]).data();
    assert!(brief["text"].as_str().unwrap().contains("- branch side: completed by bob"), "{brief}");
    let words = room.run(&["show", &first, "--format", "table"]);
    assert!(words.text().contains("branch side: completed by bob"), "{words:?}");
    assert!(room.get(&second).get("branches").is_none(), "no branch has more events of the other task");

    // Brought in, nothing is elsewhere any more.
    room.git(&["merge", "-q", "side"]).text();
    assert!(room.get(&first).get("branches").is_none());
}

#[test]
fn here_considers_only_this_branch() {
    let (room, first, second) = room_of_two();
    on_branch(&room, "side", &[&["claim", &first], &["lease", "release", &first]]);
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    let here = room.run(&["next", "--here"]).data();
    assert_eq!((&here["task"]["id"], &here["task"]["ready"]), (&json!(first), &json!(true)));
    assert_eq!(room.run(&["ready", "--here"]).data()["total"], 2);
    room.run(&["claim", &first]).error("ERR_INVALID_STATE", 4);
    room.run(&["claim", &first, "--here"]).data();
    room.run(&["release", &first]).data();
    assert_eq!(next_id(&room, &["--agent", "bob", "next", "--claim", "--here"]), first.as_str());
}

#[test]
fn a_remote_tracking_branch_counts_as_soon_as_it_is_fetched() {
    let (room, first, second) = room_of_two();
    let origin = room.beside("origin.git");
    room.git(&["clone", "-q", "--bare", ".", origin.to_str().unwrap()]).text();
    room.git(&["remote", "add", "origin", origin.to_str().unwrap()]).text();
    let far = room.beside("far");
    room.git(&["clone", "-q", origin.to_str().unwrap(), far.to_str().unwrap()]).text();
    room.git_in(&far, &["checkout", "-q", "-b", "x"]).text();
    room.run_in(&far, &["claim", &first]).data();
    room.run_in(&far, &["done", &first]).data();
    room.git_in(&far, &["add", "-A"]).text();
    room.git_in(&far, &["commit", "-qm", "done"]).text();
    room.git_in(&far, &["push", "-q", "origin", "x"]).text();

    assert_eq!(next_id(&room, &["next"]), first.as_str());
    room.git(&["fetch", "-q", "origin"]).text();
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    let error = room.run(&["claim", &first]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("completed by ada on the branch origin/x"), "{error}");

    fs::write(room.store().join("config.toml"), "format = 1\n[branches]\nremote = false\n").unwrap();
    assert_eq!(next_id(&room, &["next"]), first.as_str());
}

#[test]
fn an_inactive_branch_does_not_count() {
    let (room, first, second) = room_of_two();
    on_branch(&room, "old", &[&["claim", &first], &["lease", "release", &first]]);
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    let long_ago = format!("{} +0000", now(&room) - 60 * 86_400);
    let mut amend = room.sealed("git", &room.repo());
    room.git(&["checkout", "-q", "old"]).text();
    assert!(
        amend
            .env("GIT_COMMITTER_DATE", &long_ago)
            .args(["commit", "-q", "--amend", "--no-edit"])
            .status()
            .unwrap()
            .success()
    );
    room.git(&["checkout", "-q", "main"]).text();
    assert_eq!(next_id(&room, &["next"]), first.as_str());

    fs::write(room.store().join("config.toml"), "format = 1\n[branches]\nactive_days = 90\n").unwrap();
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    fs::write(room.store().join("config.toml"), "format = 1\n[branches]\nactive_days = 90\nlocal = false\n").unwrap();
    assert_eq!(next_id(&room, &["next"]), first.as_str());
    fs::write(room.store().join("config.toml"), "format = 1\n[branches]\nactive_day = 90\n").unwrap();
    assert!(room.findings().iter().any(|f| f["message"].as_str().unwrap().contains("branches.active_days")));
}

#[test]
fn a_released_task_is_free_despite_an_older_branch() {
    let (room, first, _) = room_of_two();
    on_branch(&room, "taken", &[&["claim", &first]]);
    room.git(&["checkout", "-q", "taken"]).text();
    room.git(&["checkout", "-q", "-b", "given-back"]).text();
    room.run_as("bob", &["release", &first]).data();
    commit(&room, "given back");
    room.git(&["checkout", "-q", "main"]).text();
    assert_eq!(next_id(&room, &["next"]), first.as_str());
    let shown = room.get(&first)["branches"].clone();
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["branch"]), (1, &json!("given-back")), "{shown}");
}

#[test]
fn a_force_push_that_drops_the_claim_does_not_free_it_while_the_lease_lives() {
    let (room, first, second) = room_of_two();
    let origin = room.beside("origin.git");
    room.git(&["clone", "-q", "--bare", ".", origin.to_str().unwrap()]).text();
    room.git(&["remote", "add", "origin", origin.to_str().unwrap()]).text();
    on_branch(&room, "side", &[&["claim", &first]]);
    room.git(&["push", "-q", "origin", "side"]).text();
    room.git(&["push", "-q", "--force", "origin", "main:side"]).text();
    room.git(&["branch", "-q", "-D", "side"]).text();
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    room.run(&["claim", &first]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn five_hundred_branches_are_read_once_and_equal_ones_together() {
    let (room, first, second) = room_of_two();
    let main = room.git(&["rev-parse", "main"]).text().to_owned();
    let when = now(&room);
    let mut script = String::new();
    for n in 0..500 {
        script += &format!(
            "commit refs/heads/many/{n}\ncommitter Test <t@example.invalid> {when} +0000\ndata 2\n{:02}\n",
            n % 100
        );
        script += &format!("from {main}\nM 100644 inline note-{n}\ndata 1\nx\n");
    }
    import(&room, &script);
    // Other files, the same plan: each commit and its root once, the store once for its tasks and once for its archives, its tasks never, for they are those checked out here.
    let (answer, first_look) = cost(&room, &["next"]);
    assert_eq!(answer["task"]["id"], first.as_str());
    assert_eq!(read(&first_look), json!([501, 503, 0]), "{first_look}");
    let (_, second_look) = cost(&room, &["next"]);
    assert_eq!((read(&second_look), &second_look["opened"]), (json!([0, 0, 0]), &json!(false)), "{second_look}");
    room.git(&["pack-refs", "--all"]).text();
    let (_, packed) = cost(&room, &["next"]);
    assert_eq!(read(&packed), json!([0, 0, 0]), "{packed}");

    // Five hundred branches on which bob took the first task, all with one and the same plan.
    on_branch(&room, "bob", &[&["claim", &first], &["lease", "release", &first]]);
    let bob = room.git(&["rev-parse", "bob"]).text().to_owned();
    let script: String = (0..500).map(|n| format!("reset refs/heads/many/{n}\nfrom {bob}\n\n")).collect();
    import(&room, &script);
    let (answer, moved) = cost(&room, &["next"]);
    assert_eq!((&answer["task"]["id"], &moved["branches"]), (&json!(second), &json!(501)));
    // One commit; its root, its store (for the tasks and for the archives) and its tasks; the tasks here; two folders of shards here and one that differs there; one shard
    // here and one there; one folder and one log there.
    assert_eq!(moved["commits"], 1, "{moved}");
    assert!(moved["trees"].as_u64().unwrap() <= 11 && moved["logs"] == 1, "{moved}");
    let (_, again) = cost(&room, &["next"]);
    assert_eq!((read(&again), &again["branches"]), (json!([0, 0, 0]), &json!(501)), "{again}");

    // One branch moves: that costs what changed on it, and its store once more for its archives.
    room.git(&["checkout", "-q", "many/7"]).text();
    room.run_as("bob", &["context", "add", &first, "--type", "note", "--content", "half done"]).data();
    commit(&room, "a note");
    room.git(&["checkout", "-q", "main"]).text();
    let (_, one) = cost(&room, &["next"]);
    assert_eq!((&one["commits"], &one["logs"]), (&json!(1), &json!(1)), "{one}");
    assert!(one["trees"].as_u64().unwrap() <= 7, "{one}");

    // The cache may vanish at any moment, and what is no cache is put right.
    let cache = room.repo().join(".git/agentpm/branches.db");
    for tail in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{tail}", cache.display()));
    }
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    fs::write(&cache, "no database").unwrap();
    assert_eq!(next_id(&room, &["next"]), second.as_str());
}

#[test]
fn worktrees_share_the_cache_of_branches() {
    let (room, first, second) = room_of_two();
    on_branch(&room, "side", &[&["claim", &first], &["lease", "release", &first]]);
    let there = room.beside("there");
    room.git(&["worktree", "add", "-q", "-b", "other", there.to_str().unwrap()]).text();
    assert_eq!(next_id(&room, &["next"]), second.as_str());
    let output = room.agentpm_in(&there).env("AGENTPM_LOG_LEVEL", "agentpm=debug").arg("next").output().unwrap();
    let answer = Answer::from(output);
    assert_eq!(answer.data()["task"]["id"], second.as_str());
    assert!(answer.stderr.contains(r#""commits":0,"trees":0,"logs":0"#), "{}", answer.stderr);
}

#[test]
fn branches_of_every_shape_do_not_break_next() {
    let (room, first, _) = room_of_two();
    // Detached, beside a branch without a store, one with a file in its place, and one whose name is a path.
    room.git(&["checkout", "-q", "--detach"]).text();
    let when = now(&room);
    import(
        &room,
        &format!(
            "commit refs/heads/no/store\ncommitter T <t@example.invalid> {when} +0000\ndata 1\nx\nM 100644 inline a\ndata 1\nx\n\n\
             commit refs/heads/file\ncommitter T <t@example.invalid> {when} +0000\ndata 1\nx\nM 100644 inline .agentpm\ndata 1\nx\n\n\
             commit refs/heads/odd\ncommitter T <t@example.invalid> {when} +0000\ndata 1\nx\n\
             M 100644 inline .agentpm/tasks/{}/{first}\ndata 1\nx\nM 100644 inline .agentpm/tasks/Z/Z/junk/events.jsonl\ndata 1\nx\n\n",
            shard(&first)
        ),
    );
    fs::write(room.repo().join(".git/refs/heads/broken"), "0123456789012345678901234567890123456789\n").unwrap();
    fs::write(room.repo().join(".git/refs/heads/empty"), "").unwrap();
    let answer = room.run(&["next"]);
    assert_eq!(answer.data()["task"]["id"], first.as_str());
    assert!(answer.stderr.contains("could not be read"), "{answer:?}");
    fs::remove_file(room.repo().join(".git/refs/heads/broken")).unwrap();
    assert_eq!(room.run(&["next"]).stderr, "");

    // A shallow clone knows little history and hands out work all the same.
    let shallow = room.beside("shallow");
    let from = format!("file://{}", room.repo().display());
    room.git(&["clone", "-q", "--depth", "1", "-b", "main", &from, shallow.to_str().unwrap()]).text();
    assert_eq!(room.run_in(&shallow, &["next"]).data()["task"]["id"], first.as_str());
}

#[test]
fn a_branch_with_a_damaged_folder_of_shards_is_named_and_read_again_when_it_is_whole() {
    let room = Sandbox::new();
    // Tasks in all folders of the first level, so that damage to one of them leaves others to read.
    let tasks: Vec<String> = (0..40).map(|n| room.task(&format!("task {n}"), &["--priority", "0"])).collect();
    commit(&room, "the plan");
    let first = room.run(&["next"]).data()["task"]["id"].as_str().unwrap().to_owned();
    let other = tasks.iter().find(|id| shard(id)[..1] != shard(&first)[..1]).unwrap();
    let steps: Vec<Vec<&str>> =
        [&first, other].into_iter().flat_map(|id| [vec!["claim", id], vec!["lease", "release", id]]).collect();
    on_branch(&room, "side", &steps.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let tree = room.git(&["rev-parse", &format!("side:.agentpm/tasks/{}", &shard(&first)[..1])]).text().to_owned();
    let object = room.repo().join(".git/objects").join(&tree[..2]).join(&tree[2..]);
    let aside = room.beside("aside");
    fs::rename(&object, &aside).unwrap();

    for _ in 0..2 {
        let answer = room.run(&["next"]);
        assert_eq!(answer.data()["task"]["id"], first.as_str(), "what cannot be read does not count");
        assert!(answer.stderr.contains("1 object of other branches could not be read"), "{answer:?}");
        room.run(&["claim", other]).error("ERR_INVALID_STATE", 4);
    }
    fs::rename(&aside, &object).unwrap();
    let answer = room.run(&["next"]);
    assert!(answer.data()["task"]["id"] != first.as_str() && answer.stderr.is_empty(), "{answer:?}");
}

#[test]
fn a_repository_with_reftable_hands_out_work() {
    let room = Sandbox::nothing();
    if room.git(&["init", "-q", "--ref-format=reftable", "."]).code != 0 {
        return;
    }
    room.run(&["init"]).data();
    let id = room.task("one", &[]);
    let answer = room.run(&["next"]);
    assert_eq!(answer.data()["task"]["id"], id.as_str());
    assert_eq!(answer.stderr, "");
    assert_eq!(next_id(&room, &["next", "--claim"]), id.as_str());
}
