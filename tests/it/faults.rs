//! Every change of the operation table that dies, or is refused by the disk, at each of its system calls, or whose disk takes only a part
//! of a write: the plan is as before or as after, what was acknowledged is there, and the next command works.
//!
//! Leaves to others: what a half of some change would be, and kills of `sync` (`crash`, `sync_crash`).

use std::fmt::{self, Display, Formatter};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentpm::api::{Kind, OPERATIONS};
use serde_json::json;

use crate::crash::{CHANGING, Case, FULL, REFUSED, calls_of, for_each, trace_of};
use crate::operations::{Plan, asked, copied};
use crate::sandbox::{Answer, Sandbox, rounds};

/// A change, the repository of the plan, and how many events the plan has before and after.
struct Change {
    name: &'static str,
    repo: PathBuf,
    args: Vec<String>,
    before: u64,
    after: u64,
}

/// What is done to a change.
enum Fault {
    /// A system call is taken by strace.
    Call(Case),
    Short(ShortWrite),
}

/// A write that takes only half of its bytes, and whether the disk is then full.
struct ShortWrite {
    nth: usize,
    file: String,
    then_full: bool,
}

impl Fault {
    /// The answer of a command that is refused.
    fn refusal(&self) -> Option<&'static str> {
        match self {
            Fault::Call(case) if case.what == FULL => Some("ERR_NO_SPACE"),
            Fault::Call(_) => Some("ERR_IO"),
            Fault::Short(write) => write.then_full.then_some("ERR_NO_SPACE"),
        }
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Call(case) => case.fmt(f),
            Fault::Short(ShortWrite { nth, file, then_full: false }) => write!(f, "short write {nth}, to {file}"),
            Fault::Short(ShortWrite { nth, file, .. }) => write!(f, "short write {nth}, to {file}: then full"),
        }
    }
}

struct Point<'a> {
    change: &'a Change,
    fault: Fault,
}

impl Display for Point<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.change.name, self.fault)
    }
}

/// How many events a plan has. That it can be read is asserted too.
fn events(room: &Sandbox) -> u64 {
    room.run(&["log", "--limit", "1"]).data()["total"].as_u64().unwrap()
}

/// The library that makes writes short. It is preloaded into agentpm, not into git.
struct Library {
    folder: tempfile::TempDir,
}

impl Library {
    fn build() -> Self {
        let library = Library { folder: crate::machine::folder() };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/short_write.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(library.path()).arg(source).output();
        Answer::from(built.expect("cc starts")).text();
        library
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("short_write.so")
    }

    /// Preloads it into a command, whose writes are counted in a file.
    fn preload(&self, room: &Sandbox, command: &mut Command) -> PathBuf {
        let count = room.beside("writes");
        std::fs::write(&count, "").expect("a file that counts");
        command.env("LD_PRELOAD", self.path()).env("SHORT_WRITES", &count);
        count
    }
}

impl Change {
    fn of(name: &'static str, plan: &Plan, library: &Library) -> Option<(Self, Vec<Fault>)> {
        let (args, _) = asked(plan, name);
        if args.is_empty() {
            return None;
        }
        let before = events(&plan.room);
        let mut change = Change { name, repo: plan.room.repo(), args, before, after: before };
        let room = copied(&change.repo);
        let trace = format!("trace={}", CHANGING.iter().map(|name| format!("?{name}")).collect::<Vec<_>>().join(","));
        change.under_strace(&room, &["-e".to_owned(), trace]).expect("no process was killed").data();
        let calls = calls_of(&std::fs::read_to_string(trace_of(&room)).expect("a trace"));
        change.after = events(&room);
        let refused = calls.iter().filter(|call| REFUSED.contains(&&*call.name));
        let refused = refused.flat_map(|call| [call.with(FULL), call.with("error=EIO")]);
        let faults = calls.iter().map(|call| call.with("signal=SIGKILL")).chain(refused).map(Fault::Call);
        let faults = faults.chain(change.short_writes(library)).collect();
        Some((change, faults))
    }

    /// Each write of a run that nothing disturbs, both ways.
    fn short_writes(&self, library: &Library) -> impl Iterator<Item = Fault> + use<> {
        let room = copied(&self.repo);
        let mut command = room.agentpm();
        let count = library.preload(&room, &mut command);
        Answer::from(command.args(&self.args).output().expect("agentpm starts")).data();
        let writes = std::fs::read_to_string(count).expect("a line for each write");
        assert!(self.before == self.after || writes.contains("journal.jsonl"), "a write to the journal: {writes}");
        let files: Vec<String> = writes.lines().map(|line| line.trim_end().to_owned()).collect();
        files.into_iter().enumerate().flat_map(|(n, file)| {
            [false, true].map(|then_full| Fault::Short(ShortWrite { nth: n + 1, file: file.clone(), then_full }))
        })
    }

    /// Runs the command under strace; `None` where it was killed.
    fn under_strace(&self, room: &Sandbox, options: &[String]) -> Option<Answer> {
        let mut command: Command = room.agentpm_like("strace");
        command.args(["-f", "-qq", "-o"]).arg(trace_of(room)).args(options);
        let output = command.arg("--").arg(env!("CARGO_BIN_EXE_agentpm")).args(&self.args).output().expect("strace");
        // strace ends as its child did.
        (output.status.signal() != Some(9)).then(|| Answer::from(output))
    }

    fn with_short_write(&self, room: &Sandbox, write: &ShortWrite, library: &Library) -> Answer {
        let mut command = room.agentpm();
        library.preload(room, &mut command);
        command.env("SHORT_NTH", write.nth.to_string());
        if write.then_full {
            command.env("SHORT_FULL", "1");
        }
        Answer::from(command.args(&self.args).output().expect("agentpm starts"))
    }

    /// Whether it kept the change from being acknowledged.
    fn meets(&self, fault: &Fault, library: &Library) -> bool {
        let room = copied(&self.repo);
        let answer = match fault {
            Fault::Call(case) => self.under_strace(&room, &case.options()),
            Fault::Short(write) => Some(self.with_short_write(&room, write, library)),
        };
        let seen = events(&room);
        assert!(seen == self.before || seen == self.after, "{seen} events of {} or {}", self.before, self.after);
        let is_acknowledged = answer.as_ref().is_some_and(|answer| answer.code == 0);
        if let Some(answer) = &answer {
            let happened = self.before == self.after || (seen == self.after) == is_acknowledged;
            assert!(happened, "{seen} events of {} or {}: {answer:?}", self.before, self.after);
            if answer.code != 0 {
                answer.error(fault.refusal().unwrap_or_else(|| panic!("{answer:?}")), 10);
            }
        }
        room.task("the next one", &[]);
        assert_eq!(events(&room), seen + 1, "the next command changed what a reader had seen");
        room.run(&["lease", "list"]).data();
        room.run(&["session", "list"]).data();
        let findings = room.run(&["lint"]).data()["findings"].clone();
        assert_eq!(findings, json!([]), "{findings:#}");
        !is_acknowledged
    }
}

#[test]
fn every_change_happened_or_did_not_whatever_call_fails() {
    crate::machine::needs!("strace", "cc");
    let (plan, library) = (Plan::new(), Library::build());
    let only = std::env::var("FAULTS_OF").ok();
    let names = OPERATIONS.iter().filter(|operation| operation.kind != Kind::Query).map(|operation| operation.name);
    let names = names.filter(|name| only.as_deref().is_none_or(|only| only == *name));
    let changes: Vec<(Change, Vec<Fault>)> = names.filter_map(|name| Change::of(name, &plan, &library)).collect();
    let (changes, faults): (Vec<Change>, Vec<Vec<Fault>>) = changes.into_iter().unzip();
    let all = changes.iter().zip(faults);
    let all = all.flat_map(|(change, faults)| faults.into_iter().map(move |fault| Point { change, fault }));
    let kind = std::env::var("FAULTS").unwrap_or_default();
    let all: Vec<Point> = all.filter(|point| point.fault.to_string().contains(&kind)).collect();
    let total = all.len();
    let most = rounds(500);
    let played: Vec<Point> = all
        .into_iter()
        .enumerate()
        .filter(|(n, _)| n * most / total != (n + 1) * most / total)
        .map(|(_, point)| point)
        .collect();
    let stopped = AtomicUsize::new(0);
    for_each(&played, |point| {
        stopped.fetch_add(usize::from(point.change.meets(&point.fault, &library)), Ordering::Relaxed);
    });
    let stopped = stopped.into_inner();
    println!("{} of {total} points of {} changes; {stopped} changes did not end", played.len(), changes.len());
    assert!(stopped > 0, "a call must count");
}
