//! What the same work costs in agentpm and in other trackers, on the same plan, disk and machine: the tables of docs/peers.md.
//!
//! Each operation is a whole process. The trackers take turns, so that noise of the machine meets all of them. A tracker that is not
//! on PATH is skipped.
//!
//! ```text
//! cargo bench --bench peers                              everything, printed
//! cargo bench --bench peers -- --only create,merge       some of it, by name
//! cargo bench --bench peers -- --write                   also into docs/
//! cargo test --bench peers                               all of it very small: that it works, not how fast
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark stands outside the program and drives it")]

mod page;
mod together;
mod tracker;

#[path = "../speed/asked.rs"]
#[expect(dead_code, reason = "shared with the benchmark of speed")]
mod asked;
#[path = "../speed/docs.rs"]
mod docs;
#[path = "../speed/picture.rs"]
#[expect(dead_code, reason = "shared with the benchmark of speed")]
mod picture;
#[path = "../speed/room.rs"]
#[expect(dead_code, reason = "shared with the benchmark of speed")]
mod room;
#[path = "../speed/run.rs"]
#[expect(dead_code, reason = "shared with the benchmark of speed")]
mod run;
#[path = "../speed/store.rs"]
mod store;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use asked::Asked;
use page::{Cell, Report};
use room::Room;
use run::{Rounds, ms, printed};
use tracker::{Kind, Op, Plan, Tracker};

/// A process that takes longer is ended, and the table says so.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The operations, by the names of their rows.
pub const OPS: [&str; 6] = ["create", "show", "update", "list", "ready", "validate"];

fn main() {
    let asked = Asked::from_args(&[40, 80], &[1_000, 10_000]);
    let room = Room::new(&asked);
    let mut report = Report::new(&asked.sizes);
    for kind in Kind::ALL {
        match kind.version() {
            Some(version) => report.kinds.push((kind, version)),
            None => {
                eprintln!("{} is not installed, and is skipped", kind.name());
                report.missing.push(kind);
            }
        }
    }
    let kinds: Vec<Kind> = report.kinds.iter().map(|(kind, _)| *kind).collect();
    if asked.wants_any(&[&OPS]) {
        for tasks in &asked.sizes {
            let (plan, trackers) = Tracker::fill(&room, &kinds, *tasks, &format!("of-{tasks}"));
            if *tasks == asked.sizes[0] {
                check_same_plan(&plan, &trackers);
            }
            for op in OPS.iter().filter(|op| asked.wants(op)) {
                room.tell(&format!("{op} at {tasks}"));
                report.cells.extend(measure(&room, &plan, &trackers, op));
            }
        }
    }
    if asked.wants("writers") {
        report.writers = together::write_at_once(&room, &kinds);
    }
    if asked.wants("merge") {
        report.merges = together::merge_branches(&room, &kinds);
    }
    let page = page::render(&report);
    if asked.small {
        page::check(&report, asked.is_everything());
        println!("{} cells, too small to mean anything", report.cells.len());
    } else {
        print!("{page}");
    }
    if asked.write {
        assert!(asked.is_everything(), "only a run of everything is written down");
        page::write(&report);
    }
}

/// All trackers find the same unfinished and the same ready tasks, by their titles.
fn check_same_plan(plan: &Plan, trackers: &[Tracker]) {
    for tracker in trackers {
        let count = |op| printed(tracker.command(op)).matches("of the plan").count();
        assert_eq!(count(Op::List), plan.count_unfinished(), "list of {}", tracker.kind.name());
        assert_eq!(count(Op::Ready), plan.ready().len(), "ready of {}", tracker.kind.name());
    }
}

/// One operation in all trackers in turn. A tracker leaves the turns once it has had its time.
fn measure(room: &Room, plan: &Plan, trackers: &[Tracker], name: &'static str) -> Vec<Cell> {
    let rounds = Rounds { least: 3, most: 21, within: Duration::from_secs(2) };
    let rounds = if room.asked.small { Rounds::ONE } else { rounds };
    let ready = plan.ready();
    let mut cells: Vec<Cell> = trackers.iter().map(|tracker| Cell::new(name, plan.count(), tracker.kind)).collect();
    room.settle();
    for round in 0..=rounds.most {
        let (task, title) = (ready[round % ready.len()], format!("another title {round}"));
        let op = match name {
            "create" => Op::Create("one more task"),
            "show" => Op::Show(task),
            "update" => Op::Retitle(task, &title),
            "list" => Op::List,
            "ready" => Op::Ready,
            _ => Op::Validate,
        };
        for (tracker, cell) in trackers.iter().zip(&mut cells) {
            let is_enough = cell.ms.len() >= rounds.least && cell.ms.iter().sum::<f64>() >= ms(rounds.within);
            if is_enough || cell.is_over {
                continue;
            }
            match time_within(tracker.command(op), LIMIT) {
                // The first round warms up. What takes so long counts at once.
                Ended::Well(took) if round > 0 || took > rounds.within => cell.ms.push(ms(took)),
                Ended::Well(_) => {}
                Ended::Badly(status) => {
                    assert!(tracker.kind != Kind::Agentpm, "{op:?}: {status}");
                    cell.failed += 1;
                }
                Ended::AtLimit => cell.is_over = true,
            }
        }
    }
    cells
}

/// How a process ended.
enum Ended {
    Well(Duration),
    Badly(ExitStatus),
    AtLimit,
}

/// Runs a whole process. At the limit it is ended, with the processes that it started.
fn time_within(mut command: Command, limit: Duration) -> Ended {
    let begun = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn().expect("the program starts");
    let group = rustix::process::Pid::from_child(&child);
    let (ended, wait_for_end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let watch = scope.spawn(move || {
            let is_late = wait_for_end.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if is_late {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            is_late
        });
        let status = child.wait().expect("the program ends");
        let took = begun.elapsed();
        drop(ended);
        match status.success() {
            _ if watch.join().expect("the watch ends") => Ended::AtLimit,
            true => Ended::Well(took),
            false => Ended::Badly(status),
        }
    })
}
