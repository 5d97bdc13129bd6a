//! Every change of the operation table that dies, or is refused by the disk, at each of its system calls: the plan is as before or as
//! after, what was acknowledged is there, and the next command works.
//!
//! Leaves to others: what a half of some change would be, and kills of `sync` (`crash`, `sync_crash`).

use std::fmt::{self, Display, Formatter};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentpm::api::{Kind, OPERATIONS};
use serde_json::json;

use crate::crash::{CHANGING, Call, Case, FULL, REFUSED, calls_of, for_each, trace_of};
use crate::operations::{Plan, asked};
use crate::sandbox::{Answer, Sandbox, rounds};

/// A change, its plan, and how many events the plan has before and after.
struct Change {
    name: &'static str,
    /// Kept for its folder, which vanishes with it.
    _plan: Mutex<Plan>,
    repo: PathBuf,
    args: Vec<String>,
    before: u64,
    after: u64,
}

struct Point<'a> {
    change: &'a Change,
    case: Case,
}

impl Display for Point<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.change.name, self.case)
    }
}

/// How many events a plan has. That it can be read is asserted too.
fn events(room: &Sandbox) -> u64 {
    room.run(&["log", "--limit", "1"]).data()["total"].as_u64().unwrap()
}

fn copy(of: &Path) -> Sandbox {
    let room = Sandbox::nothing();
    // A little later than the plan: ids that are made at the same time would be the same.
    room.at("2026-11-20T10:00:01Z");
    let copied = room.sealed("cp", of).arg("-a").arg(of.join(".")).arg(room.repo()).output().expect("cp starts");
    Answer::from(copied).text();
    room
}

impl Change {
    fn of(name: &'static str) -> Option<(Self, Vec<Call>)> {
        let plan = Plan::new();
        let (args, _) = asked(&plan, name);
        if args.is_empty() {
            return None;
        }
        let before = events(&plan.room);
        let repo = plan.room.repo();
        let mut change = Change { name, _plan: Mutex::new(plan), repo, args, before, after: before };
        let room = copy(&change.repo);
        let trace = format!("trace={}", CHANGING.iter().map(|name| format!("?{name}")).collect::<Vec<_>>().join(","));
        change.under_strace(&room, &["-e".to_owned(), trace]).expect("no process was killed").data();
        let calls = calls_of(&std::fs::read_to_string(trace_of(&room)).expect("a trace"));
        change.after = events(&room);
        Some((change, calls))
    }

    /// Runs the command under strace; `None` where it was killed.
    fn under_strace(&self, room: &Sandbox, options: &[String]) -> Option<Answer> {
        let mut command: Command = room.agentpm_like("strace");
        command.args(["-f", "-qq", "-o"]).arg(trace_of(room)).args(options);
        let output = command.arg("--").arg(env!("CARGO_BIN_EXE_agentpm")).args(&self.args).output().expect("strace");
        // strace ends as its child did.
        (output.status.signal() != Some(9)).then(|| Answer::from(output))
    }

    fn meets(&self, case: &Case) -> bool {
        let room = copy(&self.repo);
        let answer = self.under_strace(&room, &case.options());
        let seen = events(&room);
        assert!(seen == self.before || seen == self.after, "{seen} events of {} or {}", self.before, self.after);
        let is_acknowledged = answer.as_ref().is_some_and(|answer| answer.code == 0);
        if let Some(answer) = &answer {
            let happened = self.before == self.after || (seen == self.after) == is_acknowledged;
            assert!(happened, "{seen} events of {} or {}: {answer:?}", self.before, self.after);
            if answer.code != 0 {
                answer.error(if case.what == FULL { "ERR_NO_SPACE" } else { "ERR_IO" }, 10);
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
    crate::machine::needs!("strace");
    let only = std::env::var("FAULTS_OF").ok();
    let names = OPERATIONS.iter().filter(|operation| operation.kind != Kind::Query).map(|operation| operation.name);
    let names = names.filter(|name| only.as_deref().is_none_or(|only| only == *name));
    let changes: Vec<(Change, Vec<Call>)> = names.filter_map(Change::of).collect();
    fn points((change, calls): &(Change, Vec<Call>)) -> Vec<Point<'_>> {
        let refused = calls.iter().filter(|call| REFUSED.contains(&&*call.name));
        let refused = refused.flat_map(|call| [call.with(FULL), call.with("error=EIO")]);
        let cases = calls.iter().map(|call| call.with("signal=SIGKILL")).chain(refused);
        cases.map(|case| Point { change, case }).collect()
    }
    let all: Vec<Point> = changes.iter().flat_map(points).collect();
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
        stopped.fetch_add(usize::from(point.change.meets(&point.case)), Ordering::Relaxed);
    });
    let stopped = stopped.into_inner();
    println!("{} of {total} points of {} changes; {stopped} changes did not end", played.len(), changes.len());
    assert!(stopped > 0, "a call must count");
}
