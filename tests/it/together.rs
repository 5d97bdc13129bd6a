//! Writers that wait for each other share a flush: nothing is drawn before it, nothing is lost when it fails. A test lets writers
//! believe that somebody waits for the lock, and stops them when they have given it back and would take it again.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use fs2::FileExt as _;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;

use crate::sandbox::{Answer, Sandbox};

fn hold(room: &Sandbox, name: &str) -> File {
    let path = room.repo().join(".git/agentpm/locks").join(name);
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    file.lock_exclusive().unwrap();
    file
}

/// Starts a command; strace writes down its flushes and does something to one of its calls.
fn start(room: &Sandbox, dir: &Path, agent: &str, inject: Option<&str>, args: &[&str], notes: &str) -> Child {
    let mut command = room.sealed("strace", dir);
    command.env("AGENTPM_AGENT", agent).args(["-f", "-qq", "-e", "signal=none", "-e", "trace=fdatasync,flock", "-o"]);
    command.arg(room.beside(notes));
    command.args(inject.map(|what| format!("--inject={what}")));
    command.args(["--", env!("CARGO_BIN_EXE_agentpm")]).args(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    command.spawn().expect("strace is needed for this test: install it")
}

/// Starts a writer that stands still once it has written its record and given the lock back.
fn write(room: &Sandbox, dir: &Path, agent: &str, args: &[&str], notes: &str) -> Child {
    let before = records(room);
    let queue = hold(room, "queue.lock");
    // It takes the lock, looks whether others wait, and takes the lock again.
    let mut child = start(room, dir, agent, Some("flock:error=EAGAIN:signal=SIGSTOP:when=3"), args, notes);
    while records(room) == before || fs::read_to_string(room.beside(notes)).unwrap().matches("flock(").count() < 3 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it wrote");
        std::thread::yield_now();
    }
    drop(queue);
    child
}

/// Lets such a one go on.
fn end(mut child: Child) -> Answer {
    let group = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    while child.try_wait().unwrap().is_none() {
        // The signal that stops it may come after this one.
        let _ = kill_process_group(group, Signal::CONT);
        std::thread::yield_now();
    }
    answer(child)
}

fn records(room: &Sandbox) -> usize {
    let journal = fs::read(room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
    journal.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{\"commit\":")).count()
}

fn flushes(room: &Sandbox, notes: &str) -> usize {
    fs::read_to_string(room.beside(notes)).unwrap().lines().filter(|line| line.contains("fdatasync(")).count()
}

fn answer(child: Child) -> Answer {
    Answer::from(child.wait_with_output().unwrap())
}

fn files(room: &Sandbox) -> usize {
    let all = walkdir::WalkDir::new(room.store().join("tasks")).into_iter().flatten();
    all.filter(|file| file.file_name() == "task.yaml").count()
}

#[test]
fn eight_writers_need_one_flush() {
    let room = Sandbox::new();
    room.task("the first", &[]);
    let note = |n: usize| format!("flushes-{n}");
    let title = |n: usize| format!("task {n}");
    let create = |n| write(&room, &room.repo(), "ada", &["task", "create", "--title", &title(n)], &note(n));
    let writers: Vec<Child> = (0..8).map(create).collect();
    // The plan's files tell of nothing that a power loss could take back; who reads it sees what is on the way.
    assert_eq!(files(&room), 1);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 9);
    let made: Vec<String> = writers.into_iter().map(|w| end(w).data()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((0..8).map(|n| flushes(&room, &note(n))).sum::<usize>(), 1);
    assert_eq!(files(&room), 9);
    for (n, id) in made.iter().enumerate() {
        assert_eq!(room.get(id)["title"], title(n));
    }
    room.is_clean();
}

#[test]
fn a_change_sees_what_others_have_written_and_nobody_has_flushed() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let here = room.repo();
    let first = write(&room, &here, "ada", &["claim", &id], "first");
    // Bob is refused at once: that promises him nothing.
    let refused = room.run_as("bob", &["claim", &id]).error("ERR_LEASE_HELD", 5);
    assert_eq!(refused["details"]["holder"], "ada");
    let second = write(&room, &here, "ada", &["task", "update", &id, "--title", "two"], "second");
    let third = write(&room, &here, "ada", &["done", &id], "third");
    for child in [third, first, second] {
        end(child).data();
    }
    assert_eq!(["first", "second", "third"].map(|notes| flushes(&room, notes)), [0, 0, 1]);
    let task = room.get(&id);
    assert_eq!((&task["title"], &task["status"], &task["owner"]), (&json!("two"), &json!("completed"), &json!("ada")));
    assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    let mut last = serde_json::Value::Null;
    for line in log.lines() {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(last.is_null() || event["parents"] == json!([last]), "{log}");
        last = event["id"].clone();
    }
    room.is_clean();
}

#[test]
fn that_all_is_so_already_is_answered_once_that_is_sure() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let before = records(&room);
    let same = ["task", "update", &id, "--priority", "2"];
    let first = write(&room, &room.repo(), "ada", &same, "first");
    // It flushes and draws what the first one wrote, and does not wait for anybody.
    assert_eq!(answer(start(&room, &room.repo(), "bob", None, &same, "second")).data()["priority"], 2);
    assert_eq!(flushes(&room, "second"), 1);
    assert!(fs::read_to_string(room.yaml_of(&id)).unwrap().contains("priority: 2"));
    end(first).data();
    assert_eq!(flushes(&room, "first"), 0);
    assert_eq!(records(&room), before + 1);
    room.is_clean();
}

#[test]
fn a_writer_that_is_killed_while_it_waits_has_written() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let mut first = write(&room, &room.repo(), "ada", &["context", "add", &id, "--content", "written"], "first");
    kill_process_group(Pid::from_raw(first.id().try_into().unwrap()).unwrap(), Signal::KILL).unwrap();
    first.wait().unwrap();
    room.run(&["context", "add", &id, "--content", "after it"]).data();
    let notes: Vec<_> = room.get(&id)["context"].as_array().unwrap().iter().map(|n| n["content"].clone()).collect();
    assert_eq!(notes, [json!("written"), json!("after it")]);
    room.is_clean();
}

#[test]
fn a_flush_that_fails_takes_back_all_that_waited_for_it() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let before = records(&room);
    let first = write(&room, &room.repo(), "ada", &["context", "add", &id, "--content", "first"], "first");
    // The read model learns of it, and must not keep it.
    assert_eq!(room.run(&["task", "list"]).data()["items"][0]["version"], 2);
    let add = ["context", "add", &id, "--content", "second"];
    let second = start(&room, &room.repo(), "bob", Some("fdatasync:error=EIO:when=1"), &add, "second");
    answer(second).error("ERR_IO", 10);
    let told = end(first).error("ERR_IO", 10);
    assert!(told["message"].as_str().unwrap().contains("nothing was written"), "{told}");
    assert_eq!(records(&room), before);
    assert_eq!(room.get(&id)["context"], json!([]));
    assert_eq!(room.run(&["task", "list"]).data()["items"][0]["version"], 1);
    room.run(&["context", "add", &id, "--content", "third"]).data();
    assert_eq!(room.get(&id)["context"].as_array().unwrap().len(), 1);
    room.is_clean();
}

#[test]
fn who_cannot_come_back_flushes_for_itself_and_no_failure_of_others_takes_that_back() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\n[lock]\nwait_ms = 50\n").unwrap();
    let id = room.task("one", &[]);
    let first = write(&room, &room.repo(), "ada", &["context", "add", &id, "--content", "first"], "first");
    let held = hold(&room, "store.lock");
    let saved = end(first);
    assert!(saved.stderr.contains("saved, but not all files are up to it yet"), "{saved:?}");
    saved.data();
    assert_eq!(flushes(&room, "first"), 1);
    drop(held);
    let add = ["context", "add", &id, "--content", "second"];
    let second = start(&room, &room.repo(), "bob", Some("fdatasync:error=EIO:when=1"), &add, "second");
    answer(second).error("ERR_IO", 10);
    room.run(&["context", "add", &id, "--content", "third"]).data();
    let notes: Vec<_> = room.get(&id)["context"].as_array().unwrap().iter().map(|n| n["content"].clone()).collect();
    assert_eq!(notes, [json!("first"), json!("third")]);
    room.is_clean();
}

#[test]
fn one_worktree_draws_what_another_one_wrote() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    let other = room.beside("other");
    room.git(&["worktree", "add", "-q", "-b", "other", other.to_str().unwrap()]).text();
    room.run_in(&other, &["context", "add", &id, "--content", "before"]).data();
    let there = write(&room, &other, "bob", &["task", "create", "--title", "there"], "there");
    // Another worktree's records are drawn before anything is decided here.
    let here = write(&room, &room.repo(), "ada", &["task", "create", "--title", "here"], "here");
    assert_eq!(flushes(&room, "here"), 1);
    let (there, here) = (end(there).data(), end(here).data());
    assert_eq!((flushes(&room, "there"), flushes(&room, "here")), (0, 2));
    let of = |dir: &Path, id: &serde_json::Value| room.run_in(dir, &["task", "get", id.as_str().unwrap()]).data();
    assert_eq!(of(&other, &there["id"])["title"], "there");
    assert_eq!(of(&room.repo(), &here["id"])["title"], "here");
    room.run_in(&other, &["lint"]).data();
    room.is_clean();
}
