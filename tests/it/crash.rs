//! A change that dies, or is refused by the disk, at each of its system calls: it happened whole or not at all.
//!
//! A call is taken by strace: killed on entry, so that what is on disk is what all calls before it left there, or
//! answered with an error and not made. Calls that change nothing are left out: around them the disk is the same.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, plays_all, some};

#[test]
fn a_create_killed_at_any_call_happened_or_did_not() {
    crate::machine::needs!("strace");
    Story::of_a_create().is_killed_at_each(CHANGING);
}

#[test]
fn a_done_killed_at_any_call_completed_and_unblocked_or_neither() {
    crate::machine::needs!("strace");
    Story::of_a_done().is_killed_at_each(CHANGING);
}

#[test]
fn a_batch_killed_at_any_call_is_all_there_or_not_at_all() {
    crate::machine::needs!("strace");
    Story::of_a_batch().is_killed_at_each(CHANGING);
}

#[test]
fn hand_edits_of_a_killed_command_are_recorded_once() {
    crate::machine::needs!("strace");
    Story::of_hand_edits().is_killed_at_each(WRITING);
}

#[test]
fn a_create_on_a_failing_disk_is_refused_or_happened() {
    crate::machine::needs!("strace");
    Story::of_a_create().meets_a_failing_disk_at_every_call();
}

#[test]
fn a_done_on_a_failing_disk_is_refused_or_happened() {
    crate::machine::needs!("strace");
    Story::of_a_done().meets_a_failing_disk_at_every_call();
}

#[test]
fn a_batch_on_a_failing_disk_is_refused_or_happened() {
    crate::machine::needs!("strace");
    Story::of_a_batch().meets_a_failing_disk_at_every_call();
}

#[test]
fn a_compaction_killed_at_any_call_moved_all_or_none() {
    crate::machine::needs!("strace");
    Story::of_a_compaction().is_killed_at_each(CHANGING);
}

#[test]
fn a_compaction_on_a_failing_disk_is_refused_or_happened() {
    crate::machine::needs!("strace");
    Story::of_a_compaction().meets_a_failing_disk_at_every_call();
}

/// Calls by which a program changes files or gives locks back. Those that are not made are not asked for.
pub const CHANGING: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "creat",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fdatasync",
    "fsync",
    "syncfs",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
    "fchown",
    "fchmod",
    "flock",
    "close",
    "exit_group",
];
/// Those of them that put something on the disk: for a command that reads much and writes little.
const WRITING: &[&str] =
    &["write", "pwrite64", "fdatasync", "ftruncate", "renameat", "renameat2", "mkdirat", "unlinkat", "exit_group"];
/// Those of them that a disk can refuse.
pub const REFUSED: &[&str] = &[
    "open",
    "openat",
    "openat2",
    "write",
    "writev",
    "pwrite64",
    "pwritev",
    "fdatasync",
    "fsync",
    "syncfs",
    "ftruncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
];

/// A prepared repository, a command, and how to see whether it happened.
struct Story {
    /// Kept for its folder, which vanishes with it.
    _room: Mutex<Sandbox>,
    repo: PathBuf,
    args: Vec<String>,
    kept: String,
    happened: Box<dyn Fn(&Sandbox) -> bool + Sync>,
}

impl Story {
    fn of_a_create() -> Self {
        let (room, kept) = a_repository_in_use();
        let args = ["task", "create", "--title", "the new one"].map(str::to_owned);
        Story::new(room, kept, &args, |room| all_or_none(room, &["the new one"]))
    }

    fn of_a_batch() -> Self {
        const TITLES: [&str; 5] = ["part 1", "part 2", "part 3", "part 4", "part 5"];
        let (room, kept) = a_repository_in_use();
        let ops = TITLES.map(|title| json!({ "op": "task.create", "args": { "title": title } }));
        std::fs::write(room.repo().join("batch.json"), json!(ops).to_string()).expect("the batch is written");
        let args = ["batch", "--file", "batch.json"].map(str::to_owned);
        Story::new(room, kept, &args, |room| all_or_none(room, &TITLES))
    }

    fn of_a_done() -> Self {
        let (room, kept) = a_repository_in_use();
        let first = room.task("first", &[]);
        let second = room.task("second", &["--blocked-by", &first]);
        room.run(&["claim", &first]).data();
        let args = ["done", &first, "--outcome", "it holds"].map(str::to_owned);
        Story::new(room, kept, &args, move |room| {
            let (done, waiting) = (room.get(&first), room.get(&second));
            match (done["status"].as_str(), waiting["status"].as_str(), outcomes(&done)) {
                (Some("in_progress"), Some("blocked"), 0) => false,
                (Some("completed"), Some("open"), 1) => true,
                half => panic!("half done: {half:?}"),
            }
        })
    }

    /// Closed tasks of two months, one of which is in an archive already; the next change continues after a kill.
    fn of_a_compaction() -> Self {
        let (room, kept) = a_repository_in_use();
        let closed: Vec<String> = ["2024-03-10T10:00:00Z", "2024-03-11T10:00:00Z", "2024-04-10T10:00:00Z"]
            .into_iter()
            .map(|day| {
                room.at(day);
                let id = room.task("closed", &[]);
                room.run(&["task", "transition", &id, "--status", "cancelled"]).data();
                room.run(&["task", "archive", &id]).data();
                if day.contains("03-10") {
                    room.run(&["compact", "--older-than", "0s"]).data();
                }
                id
            })
            .collect();
        let args = ["compact", "--older-than", "90d"].map(str::to_owned);
        Story::new(room, kept, &args, move |room| {
            for id in &closed {
                let events = room.run(&["log", id, "--all"]).data()["items"].as_array().unwrap().len();
                assert_eq!((room.get(id)["status"].as_str(), events), (Some("archived"), 3));
            }
            room.task("a change completes it", &[]);
            let folders = closed.iter().filter(|id| room.task_dir(id).exists()).count();
            let months = std::fs::read_dir(room.store().join("archive")).unwrap().count();
            match (folders, months) {
                (2, 1) => false,
                (0, 2) => true,
                half => panic!("half done: {half:?}"),
            }
        })
    }

    /// An edit and a new file; the next command continues after a kill.
    fn of_hand_edits() -> Self {
        let (room, kept) = a_repository_in_use();
        let edited = std::fs::read_to_string(room.yaml_of(&kept)).expect("the file of the task");
        let edited = edited.replace("type: feature", "type: ops") + "estimate: 2h\n";
        std::fs::write(room.yaml_of(&kept), edited).expect("the file is edited");
        std::fs::write(room.store().join("tasks/new.yaml"), "title: by hand\nprogress: [one]\n").expect("a new file");
        Story::new(room, kept.clone(), &["lint", "--fix"].map(str::to_owned), move |room| {
            room.run(&["lint", "--fix"]).data();
            let edits = room.run(&["log", &kept, "--type", "TaskUpdated"]).data();
            assert_eq!((room.get(&kept)["estimate"].as_str(), &edits["total"]), (Some("2h"), &json!(1)), "{edits}");
            let list = room.run(&["task", "list", "--all"]).data();
            let new: Vec<&Value> =
                list["items"].as_array().unwrap().iter().filter(|t| t["title"] == "by hand").collect();
            assert_eq!((new.len(), &new[0]["progress"]["total"]), (1, &json!(1)), "{list}");
            true
        })
    }

    fn new(room: Sandbox, kept: String, args: &[String], happened: impl Fn(&Sandbox) -> bool + Sync + 'static) -> Self {
        Story { repo: room.repo(), _room: Mutex::new(room), args: args.to_vec(), kept, happened: Box::new(happened) }
    }

    fn is_killed_at_each(&self, calls: &[&str]) {
        let cases: Vec<Case> = some(self.calls(calls).into_iter().map(|call| call.with("signal=SIGKILL")).collect());
        let killed = AtomicUsize::new(0);
        for_each(&cases, |case| {
            let room = self.copy();
            let outcome = self.under_strace(&room, &case.options());
            let acknowledged = outcome.is_some_and(|answer| answer.data() != Value::Null);
            killed.fetch_add(usize::from(!acknowledged), Ordering::Relaxed);
            let happened = self.is_whole_and_stays_so(&room);
            assert!(happened || !acknowledged, "acknowledged, and gone");
        });
        let killed = killed.into_inner();
        println!("{killed} of {} were killed in time", cases.len());
        // Of few the ones that come too late weigh more.
        let least = if plays_all() { 9 } else { 6 };
        assert!(killed * 10 > cases.len() * least, "{killed} of {} were killed in time", cases.len());
    }

    fn meets_a_failing_disk_at_every_call(&self) {
        let calls = self.calls(REFUSED);
        let all = |what| calls.iter().map(move |call| call.with(what));
        let cases: Vec<Case> = some(all(FULL).chain(all("error=EIO")).collect());
        let refused = AtomicUsize::new(0);
        for_each(&cases, |case| {
            let room = self.copy();
            let answer = self.under_strace(&room, &case.options()).expect("no process was killed");
            let happened = self.is_whole_and_stays_so(&room);
            if answer.code == 0 {
                assert!(answer.data() != Value::Null && happened, "acknowledged, and gone: {answer:?}");
            } else {
                answer.error(if case.what == FULL { "ERR_NO_SPACE" } else { "ERR_IO" }, 10);
                assert!(!happened, "refused, and it happened: {answer:?}");
                refused.fetch_add(1, Ordering::Relaxed);
            }
        });
        let refused = refused.into_inner();
        println!("{refused} of {} were refused", cases.len());
        assert!(refused > 0, "at least the journal's own write must count");
    }

    /// What a reader sees, what the next command does, and what a reader sees then.
    fn is_whole_and_stays_so(&self, room: &Sandbox) -> bool {
        let seen = (self.happened)(room);
        self.older_things_stand(room);
        room.task("the next one", &[]);
        assert_eq!((self.happened)(room), seen, "the next command changed what a reader had seen");
        self.older_things_stand(room);
        room.is_clean();
        seen
    }

    fn older_things_stand(&self, room: &Sandbox) {
        let kept = room.get(&self.kept);
        assert_eq!((&kept["title"], &kept["priority"]), (&json!("the old one"), &json!(3)));
        assert_eq!(kept["progress"]["items"][0]["content"], "a step");
        assert_eq!(kept["context"][0]["content"], "a decision");
    }

    /// The calls of a run that nothing disturbs.
    fn calls(&self, names: &[&str]) -> Vec<Call> {
        let room = self.copy();
        let trace = format!("trace={}", names.iter().map(|name| format!("?{name}")).collect::<Vec<_>>().join(","));
        let answer = self.under_strace(&room, &["-e".to_owned(), trace]).expect("no process was killed");
        assert_ne!(answer.data(), Value::Null);
        let calls = calls_of(&std::fs::read_to_string(trace_of(&room)).expect("a trace"));
        assert!(calls.len() > 10, "a trace of the command: {calls:?}");
        calls
    }

    fn copy(&self) -> Sandbox {
        let room = Sandbox::nothing();
        let from = self.repo.join(".");
        let copied = room.sealed("cp", &self.repo).arg("-a").arg(from).arg(room.repo()).output().expect("cp starts");
        Answer::from(copied).text();
        room
    }

    /// Runs the command under strace; `None` where it was killed.
    fn under_strace(&self, room: &Sandbox, options: &[String]) -> Option<Answer> {
        let mut command: Command = room.sealed("strace", &room.repo());
        command.env("AGENTPM_AGENT", "ada").args(["-f", "-qq", "-o"]).arg(trace_of(room)).args(options);
        command.arg("--").arg(env!("CARGO_BIN_EXE_agentpm")).args(&self.args);
        let output = command.output().expect("strace starts");
        // strace ends as its child did.
        (output.status.signal() != Some(9)).then(|| Answer::from(output))
    }
}

/// A repository with an old task that has something of everything. Gives its id.
fn a_repository_in_use() -> (Sandbox, String) {
    let room = Sandbox::new();
    let kept = room.task("the old one", &["--priority", "3"]);
    room.run(&["progress", "add", &kept, "--content", "a step"]).data();
    room.run(&["context", "add", &kept, "--type", "decision", "--content", "a decision"]).data();
    (room, kept)
}

fn all_or_none(room: &Sandbox, titles: &[&str]) -> bool {
    let list = room.run(&["task", "list", "--all"]).data();
    let items = list["items"].as_array().expect("a list of tasks");
    let there = titles.iter().filter(|title| items.iter().any(|task| task["title"] == **title)).count();
    assert!(there == 0 || there == titles.len(), "{there} of {}: {list:#}", titles.len());
    there > 0
}

fn outcomes(task: &Value) -> usize {
    let entries = task["context"].as_array().expect("a list of context entries");
    entries.iter().filter(|entry| entry["type"] == "outcome").count()
}

pub fn trace_of(room: &Sandbox) -> PathBuf {
    room.beside("trace")
}

/// One system call of a run: the nth of its name.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    pub nth: usize,
    pub line: String,
}

/// A disk without space.
pub const FULL: &str = "error=ENOSPC";

/// What is done to a call.
#[derive(Debug)]
pub struct Case {
    call: Call,
    pub what: &'static str,
}

impl Call {
    pub fn with(&self, what: &'static str) -> Case {
        Case { call: self.clone(), what }
    }

    /// Opening a file that must be there changes nothing. A refused answer on stdout is a story of its own.
    pub fn matters(&self) -> bool {
        (!self.name.starts_with("open") || self.line.contains("O_CREAT")) && !self.line.starts_with("write(1,")
    }
}

impl Display for Case {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} {}: {}", self.what, self.call.name, self.call.nth, self.call.line)
    }
}

impl Case {
    pub fn options(&self) -> Vec<String> {
        let Call { name, nth, .. } = &self.call;
        ["-e".to_owned(), format!("trace={name}"), "-e".to_owned(), format!("inject={name}:{}:when={nth}", self.what)]
            .into()
    }
}

/// The calls of a trace that matter. strace counts all of a name, so all are counted here.
pub fn calls_of(trace: &str) -> Vec<Call> {
    let mut calls = all_calls_of(trace);
    calls.retain(Call::matters);
    calls
}

/// All calls of a trace, each the nth of its name.
pub fn all_calls_of(trace: &str) -> Vec<Call> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    // Where several processes are followed, each line begins with a number.
    let lines = trace.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '));
    let mut calls = Vec::new();
    for line in lines.filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
        let name = line.split('(').next().unwrap_or_default();
        let nth = counts.entry(name).and_modify(|n| *n += 1).or_insert(1);
        calls.push(Call { name: name.to_owned(), nth: *nth, line: line.to_owned() });
    }
    calls
}

/// Tells every case's story, several at a time, and then all that went wrong.
pub fn for_each<C: Display + Sync>(cases: &[C], story: impl Fn(&C) + Sync) {
    let next = AtomicUsize::new(0);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| story(case))) {
                        let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        wrong.lock().expect("no thread panicked").push(format!("{case}\n{why}\n"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panicked");
    assert!(wrong.is_empty(), "{} of {} cases went wrong:\n\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
