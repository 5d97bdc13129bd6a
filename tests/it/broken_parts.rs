//! One broken file never stops the rest: settings, roles, runtime records and damaged lines are named and stepped around.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use fs2::FileExt as _;
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

const CONFLICT: &str =
    "format = 1\n<<<<<<< HEAD\n[lease]\nttl_seconds = 60\n=======\n[lease]\nttl_seconds = 90\n>>>>>>> side\n";

fn runtime(room: &Sandbox) -> PathBuf {
    room.repo().join(".git/agentpm")
}

/// Every question answers, with a warning that names the file.
fn reads_go_on(room: &Sandbox, id: &str, file: &str) {
    for args in [
        &["task", "list"][..],
        &["ready"],
        &["next"],
        &["task", "get", id],
        &["brief", id],
        &["stats"],
        &["log"],
        &["prime"],
        &["lease", "list"],
        &["session", "list"],
        &["stale"],
        &["conflicts"],
        &["graph"],
        &["export", "--format", "html"],
    ] {
        let answer = room.run(args);
        answer.text();
        assert!(file.is_empty() || answer.stderr.contains(file), "{args:?}: {answer:?}");
    }
}

#[test]
fn a_conflict_in_the_settings_stops_no_question_and_names_the_way_out() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    fs::write(room.store().join("config.toml"), CONFLICT).unwrap();
    reads_go_on(&room, &id, ".agentpm/config.toml:2");
    let refused = room.run(&["task", "create", "--title", "two"]).error("ERR_CORRUPT", 8);
    let message = refused["message"].as_str().unwrap();
    assert!(message.starts_with(".agentpm/config.toml:2:") && message.contains("nothing was written"), "{message}");
    assert_eq!(refused["details"]["line"], 2);
    let doctor = room.run(&["doctor"]);
    assert_eq!(doctor.code, 1, "{doctor:?}");
    room.run(&["resolve"]).data();
    assert_eq!(room.finding_codes(), ["config-invalid"]);
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    room.task("two", &[]);
}

#[test]
fn garbage_in_the_settings_stops_no_question() {
    for garbage in [&b"\xFF\xFE\x00garbage"[..], b"x = [", &[b'#'; 300 * 1024]] {
        let room = Sandbox::new();
        let id = room.task("one", &[]);
        fs::write(room.store().join("config.toml"), garbage).unwrap();
        reads_go_on(&room, &id, ".agentpm/config.toml");
        room.run(&["resolve"]).data();
        room.run(&["claim", &id]).error("ERR_CORRUPT", 8);
        assert_eq!(room.run(&["doctor"]).code, 1);
    }
}

#[test]
fn a_value_of_the_wrong_kind_stops_only_what_it_could_forbid() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    fs::write(room.store().join("config.toml"), "format = 1\n[list]\nmax_bytes = \"many\"\n").unwrap();
    let noted = room.run(&["note", &id, "--content", "x"]);
    noted.data();
    assert!(noted.stderr.contains("config.toml:3"), "{noted:?}");
    fs::write(room.store().join("config.toml"), "format = 1\n[lease]\nremote = 3\n").unwrap();
    room.run(&["note", &id, "--content", "x"]).error("ERR_CORRUPT", 8);
    reads_go_on(&room, &id, "config.toml:3");
}

#[test]
fn roles_that_cannot_be_read_permit_no_change_and_stop_no_question() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    fs::write(room.store().join("roles.yml"), "agents: [\n").unwrap();
    reads_go_on(&room, &id, "roles.yml");
    let refused = room.run(&["note", &id, "--content", "x"]).error("ERR_CORRUPT", 8);
    assert!(refused["message"].as_str().unwrap().contains("roles.yml"), "{refused}");
    room.run(&["resolve"]).data();
    assert_eq!(room.run(&["doctor"]).code, 1);
}

#[test]
fn a_conflict_in_the_settings_is_what_sync_names() {
    let room = Sandbox::new();
    room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    let hub = room.beside("hub.git");
    room.git(&["init", "-q", "--bare", hub.to_str().unwrap()]).text();
    room.git(&["remote", "add", "origin", hub.to_str().unwrap()]).text();
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    let config = room.store().join("config.toml");
    room.git(&["switch", "-q", "-c", "side"]).text();
    fs::write(&config, "format = 1\n[lease]\nttl_seconds = 60\n").unwrap();
    room.git(&["commit", "-q", "-am", "side"]).text();
    room.git(&["switch", "-q", "main"]).text();
    fs::write(&config, "format = 1\n[lease]\nttl_seconds = 90\n").unwrap();
    room.git(&["commit", "-q", "-am", "main"]).text();
    assert_eq!(room.git(&["merge", "side"]).code, 1);
    let refused = room.run(&["sync"]);
    refused.error("ERR_SYNC", 9);
    assert!(refused.stderr.contains(".agentpm/config.toml:"), "{refused:?}");
    assert!(room.run(&["resolve"]).data()["left"].to_string().contains("config.toml"));
    reads_go_on(&room, room.run(&["task", "list", "--quiet"]).text(), "config.toml");
    // A conflict that was committed: sync runs, and says what is wrong.
    room.git(&["commit", "-q", "-am", "with markers"]).text();
    let synced = room.run(&["sync"]);
    synced.data();
    assert!(synced.stderr.contains("config.toml"), "{synced:?}");
}

#[test]
fn a_damaged_lease_is_read_from_the_journal() {
    for garbage in [&b""[..], b"{", b"\x00\x00\x00", b"[1,2]"] {
        let room = Sandbox::new();
        let (id, other) = (room.task("one", &[]), room.task("two", &[]));
        room.run(&["claim", &id]).data();
        fs::write(runtime(&room).join(format!("leases/{id}.json")), garbage).unwrap();
        reads_go_on(&room, &id, "");
        room.run_as("bob", &["claim", &id]).error("ERR_LEASE_HELD", 5);
        room.run_as("bob", &["claim", &other]).data();
        let doctor = room.run(&["doctor"]);
        assert!(doctor.code == 1 && doctor.stdout.contains(&format!("leases/{id}.json")), "{doctor:?}");
        let resolved = room.run(&["resolve"]).data();
        assert_eq!(resolved["rebuilt"], json!([format!("leases/{id}.json")]));
        assert_eq!(room.run(&["doctor"]).code, 0);
        room.run(&["done", &id, "--all-met"]).data();
    }
}

#[test]
fn a_damaged_lease_of_a_finished_task_keeps_its_fence() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.run(&["claim", &id]).data();
    room.run(&["release", &id]).data();
    fs::write(runtime(&room).join(format!("leases/{id}.json")), "").unwrap();
    assert_eq!(room.run(&["claim", &id]).data()["lease"]["fence"], 2);
}

#[test]
fn a_damaged_session_is_read_from_the_journal() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let session = room.run(&["session", "start", "--quiet"]).text().to_owned();
    fs::write(runtime(&room).join(format!("sessions/{session}.json")), "garbage").unwrap();
    reads_go_on(&room, &id, "");
    let listed = room.run(&["session", "list"]).data();
    assert_eq!(listed["items"][0]["id"], session.as_str(), "{listed}");
    room.run(&["note", &id, "--content", "x", "--session", &session]).data();
    room.run(&["session", "end", &session]).data();
}

#[test]
fn a_damaged_idempotency_record_makes_no_second_task() {
    let room = Sandbox::new();
    let id = room.task("one", &["--idempotency-key", "k"]);
    let inside = |folder: &std::path::Path| fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let keys = [inside(&inside(&runtime(&room).join("idempotency")))];
    fs::write(&keys[0], "").unwrap();
    assert_eq!(room.task("one", &["--idempotency-key", "k"]), id);
    room.run(&["resolve"]).data();
    assert!(fs::metadata(&keys[0]).unwrap().len() > 0, "it is written again");
    assert_eq!(room.task("one", &["--idempotency-key", "k"]), id);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
}

#[test]
fn sync_commits_no_settings_that_cannot_be_read() {
    for (file, text) in [("config.toml", CONFLICT), ("config.toml", "x = ["), ("roles.yml", "agents: [\n")] {
        let (clones, _) = Clones::new(&["ann", "bob"]);
        clones.run("ann", &["task", "create", "--title", "new"]).data();
        fs::write(clones.dir("ann").join(".agentpm").join(file), text).unwrap();
        let synced = clones.run("ann", &["sync"]);
        synced.data();
        assert!(synced.stderr.contains(&format!("{file} was not committed")), "{synced:?}");
        clones.run("bob", &["sync"]).data();
        assert_eq!(clones.run("bob", &["task", "list"]).data()["total"], 2);
        clones.run("bob", &["task", "create", "--title", "goes on"]).data();
    }
}

#[test]
fn damaged_lines_of_the_journal_are_named() {
    let room = Sandbox::new();
    room.task("one", &[]);
    room.task("two", &[]);
    let journal = runtime(&room).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let first = text.lines().next().unwrap().to_owned();
    fs::write(&journal, text.replace(&first, "garbage{")).unwrap();
    let doctor = room.run(&["doctor"]);
    assert!(doctor.code == 1 && doctor.stdout.contains("journal.jsonl:1"), "{doctor:?}");
    assert_eq!(room.run(&["task", "list"]).data()["total"], 2);
    room.task("three", &[]);
}

#[test]
fn something_else_in_the_place_of_a_runtime_file_or_folder_hangs_and_stops_nothing() {
    for name in ["leases", "sessions", "idempotency", "waiting"] {
        let room = Sandbox::new();
        let id = room.task("one", &[]);
        let _ = fs::remove_dir_all(runtime(&room).join(name));
        fs::write(runtime(&room).join(name), "a file").unwrap();
        reads_go_on(&room, &id, "");
        room.run(&["note", &id, "--content", name]).data();
        room.run(&["resolve"]).data();
    }
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let seen = runtime(&room).join("index.seen");
    let _ = fs::remove_file(&seen);
    assert!(room.sealed("mkfifo", &room.repo()).arg(&seen).status().unwrap().success());
    let mut noted = room.sealed("timeout", &room.repo());
    noted.env("AGENTPM_AGENT", "ada").arg("60").arg(room.agentpm().get_program());
    let noted = Answer::from(noted.args(["note", &id, "--content", "x"]).output().unwrap());
    assert_eq!(noted.code, 0, "{noted:?}");
}

#[test]
fn a_long_chain_in_one_batch_is_carried_out_in_linear_time() {
    let ops = |n: usize| {
        let create =
            |i: usize| json!({ "op": "task.create", "as": format!("t{i}"), "args": { "title": format!("{i}") } });
        let block = |i: usize| json!({ "op": "task.block", "args": { "id": format!("$t{i}"), "by": [format!("$t{}", i - 1)] } });
        (0..n).map(create).chain((1..n).map(block)).collect::<Vec<_>>()
    };
    let room = Sandbox::new();
    fs::write(room.beside("ops.json"), json!(ops(2_000)).to_string()).unwrap();
    let mut batch = room.sealed("timeout", &room.repo());
    batch.env("AGENTPM_AGENT", "ada").arg("120").arg(room.agentpm().get_program());
    let batch = Answer::from(batch.args(["batch", "--file"]).arg(room.beside("ops.json")).output().unwrap());
    assert_eq!(batch.code, 0, "{} bytes", batch.stdout.len());
    assert_eq!(room.run(&["stats"]).data()["by_status"]["blocked"], 1_999);
}

#[test]
fn doctor_fails_where_something_is_wrong() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    assert_eq!(room.run(&["doctor"]).code, 0);
    let log = room.log_of(&id);
    fs::write(&log, fs::read_to_string(&log).unwrap() + "garbage\n").unwrap();
    let doctor = room.run(&["doctor"]);
    assert_eq!((doctor.code, &doctor.json()["data"]["healthy"]), (1, &json!(false)));
}

#[test]
fn damaged_lines_are_named_where_their_task_is_shown() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let log = room.log_of(&id);
    fs::write(&log, fs::read_to_string(&log).unwrap() + "garbage\n").unwrap();
    for args in [&["show", &id][..], &["brief", &id]] {
        let answer = room.run(args);
        answer.data();
        assert!(answer.stderr.contains("events.jsonl:2"), "{args:?}: {answer:?}");
    }
}

// Looking on without the lock

fn total(answer: &Answer) -> u64 {
    answer.data()["total"].as_u64().unwrap()
}

#[test]
fn pulling_and_watching_do_not_wait_for_the_lock() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let lock = fs::OpenOptions::new().write(true).open(runtime(&room).join("locks/store.lock")).unwrap();
    lock.lock_exclusive().unwrap();
    assert_eq!(total(&room.run(&["sync", "pull"])), 1);
    let first = room.run(&["sync", "pull", "--limit", "1", "--quiet"]).text().to_owned();
    assert_eq!(total(&room.run(&["sync", "pull", "--since-event-id", &first])), 0);
    assert_eq!(room.run(&["watch", "--for", "1s"]).text(), "");
    drop(lock);
    room.run(&["note", &id, "--content", "x"]).data();
    let watched = room.run(&["watch", "--since", &first, "--count", "1"]);
    assert!(watched.text().contains("ContextAdded"), "{watched:?}");
}

#[test]
fn events_from_git_arrive_once_after_a_held_lock() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let other = Sandbox::new();
    let theirs = other.task("theirs", &[]);
    let first = room.run(&["sync", "pull", "--quiet"]).text().to_owned();
    let to = room.task_dir(&theirs);
    fs::create_dir_all(&to).unwrap();
    for file in ["events.jsonl", "task.yaml"] {
        fs::copy(other.task_dir(&theirs).join(file), to.join(file)).unwrap();
    }
    let lock = fs::OpenOptions::new().write(true).open(runtime(&room).join("locks/store.lock")).unwrap();
    lock.lock_exclusive().unwrap();
    assert_eq!(total(&room.run(&["sync", "pull", "--since-event-id", &first])), 0);
    drop(lock);
    room.run(&["note", &id, "--content", "x"]).data();
    let arrived = room.run(&["sync", "pull", "--since-event-id", &first]).data();
    let types: Vec<&Value> = arrived["items"].as_array().unwrap().iter().map(|e| &e["type"]).collect();
    assert_eq!(types.len(), 2, "{arrived}");
    let last = arrived["next_cursor"].as_str().unwrap();
    assert_eq!(total(&room.run(&["sync", "pull", "--since-event-id", last])), 0);
}

#[test]
fn events_travel_from_one_replica_to_another_through_a_pipe() {
    let (from, to) = (Sandbox::new(), Sandbox::new());
    let id = from.task("one", &[]);
    let session = from.run(&["session", "start", "--quiet"]).text().to_owned();
    from.run(&["claim", &id, "--session", &session]).data();
    from.run(&["progress", "add", &id, "--content", "a step", "--session", &session]).data();
    for format in [&["sync", "pull"][..], &["sync", "pull", "--format", "jsonl"]] {
        let pulled = from.run(format);
        let mut push = to.agentpm();
        push.args(["sync", "push", "--file", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut push = push.spawn().unwrap();
        push.stdin.take().unwrap().write_all(pulled.stdout.as_bytes()).unwrap();
        let pushed = Answer::from(push.wait_with_output().unwrap()).data();
        assert!(pushed["skipped"].as_u64().unwrap() > 0, "what stays on its machine is skipped: {pushed}");
    }
    assert_eq!(fs::read(from.log_of(&id)).unwrap(), fs::read(to.log_of(&id)).unwrap());
    to.is_clean();
}

#[test]
fn sync_carries_damaged_lines_of_a_log_unchanged() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    let log_in = |name: &str| {
        let path = clones.room.log_of(&task);
        clones.dir(name).join(path.strip_prefix(clones.room.repo()).unwrap())
    };
    let garbage = [format!("{}\n", "x".repeat(300_000)), "hello\n".to_owned()];
    for (n, line) in garbage.iter().enumerate() {
        let log = log_in("ann");
        fs::write(&log, fs::read_to_string(&log).unwrap() + line).unwrap();
        clones.git("ann", &["commit", "-q", "--no-verify", "-am", "damaged"]).text();
        clones.git("ann", &["push", "-q", "--no-verify"]).text();
        clones.run("bob", &["note", &task, "--content", &format!("meanwhile {n}")]).json();
        clones.run("bob", &["sync"]).data();
        let whole = clones.git(
            "bob",
            &["show", &format!("origin/main:{}", log_in("bob").strip_prefix(clones.dir("bob")).unwrap().display())],
        );
        for line in &garbage[..=n] {
            assert!(whole.stdout.contains(line.trim_end()), "round {n}: committed");
            assert!(
                fs::read_to_string(log_in("bob")).unwrap().contains(line.trim_end()),
                "round {n}: in the work tree"
            );
        }
        clones.git("ann", &["pull", "-q", "--no-edit"]).text();
    }
}
