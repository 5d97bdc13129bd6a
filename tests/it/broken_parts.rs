//! One broken file never stops the rest: settings, roles, runtime records and damaged lines are named and stepped around.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use fs2::FileExt as _;
use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

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
    reads_go_on(&room, &room.run(&["task", "list", "--quiet"]).text().to_owned(), "config.toml");
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
    let keys: Vec<_> = fs::read_dir(runtime(&room).join("idempotency")).unwrap().map(|e| e.unwrap().path()).collect();
    fs::write(&keys[0], "").unwrap();
    assert_eq!(room.task("one", &["--idempotency-key", "k"]), id);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
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
fn what_came_by_git_arrives_once_though_the_lock_was_held_when_it_came() {
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
