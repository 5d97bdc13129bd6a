//! One change, acknowledged when it is on the disk, beside a program that appends 300 bytes and flushes them.

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm};
use crate::run::{Round, Rounds, in_turn, run, time};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["create", "note", "done"];

/// The changes, on one store. They make it larger by a little.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    let some = |n: usize| repo.open[n % repo.open.len()].as_str();
    let here = &repo.path;
    let create = |_| time(agentpm(here, "bench", &["task", "create", "--title", "one more task", "--quiet"]));
    let note = |n| {
        let args =
            ["context", "add", some(n), "--type", "decision", "--content", "a decision of some words", "--quiet"];
        time(agentpm(here, "bench", &args))
    };
    let done = |n| {
        run(agentpm(here, "bench", &["claim", some(n), "--quiet"]));
        time(agentpm(here, "bench", &["done", some(n), "--outcome", "it holds", "--quiet"]))
    };
    let all: [(&'static str, &str, f64, Round); 3] = [
        ("create", "`task create`", 2.0, &create),
        ("note", "`context add`", 2.0, &note),
        ("done", "`done`", 2.5, &done),
    ];
    let file = room.at("floor.dat").display().to_string();
    for (name, what, most, ours) in all {
        if !room.asked.wants(name) {
            continue;
        }
        room.tell(&format!("{name} at {}", repo.tasks));
        // Each done takes a task that nobody has.
        let rounds = Rounds { most: Rounds::MANY.most.min(repo.open.len() - 1), ..Rounds::MANY };
        let rounds = if room.asked.small { Rounds::ONE } else { rounds };
        let (ours, floor) = in_turn(rounds, ours, |_| time(as_floor("append", here, &[&file])));
        report.lines.push(Line {
            name,
            what: what.into(),
            tasks: Some(repo.tasks),
            beside: "append 300 bytes, `fdatasync`".into(),
            most: Most::Times(most),
            unit: Unit::Ms,
            ours,
            floor: Some(floor),
            cold: None,
        });
    }
}
