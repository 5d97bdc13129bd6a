//! Many changes by one command, beside a program that writes as many files of the same names and sizes and calls syncfs once.

use crate::floor::{as_floor, list_files};
use crate::room::{Room, agentpm};
use crate::run::{Rounds, in_turn, run, time};
use crate::table::{Line, Most, Report, Unit};

/// A batch of creates into a fresh store each round.
pub fn measure(room: &Room, report: &mut Report) {
    let tasks = if room.asked.small { 50 } else { 10_000 };
    room.tell(&format!("batch of {tasks} creates"));
    let steps: Vec<String> =
        (0..tasks).map(|n| format!(r#"{{"op":"task.create","args":{{"title":"task number {n}"}}}}"#)).collect();
    let ops = room.at("batch.json").display().to_string();
    std::fs::write(&ops, format!("[{}]", steps.join(","))).expect("the batch is written");

    let example = room.empty("example");
    run(agentpm(&example, "bench", &["batch", "--file", &ops]));
    let list = room.at("batch.list").display().to_string();
    std::fs::write(&list, list_files(&example.join(".agentpm"))).expect("the list is written");

    let ours = |n: usize| {
        let repo = room.empty(&format!("batch-{n}"));
        room.settle();
        let took = time(agentpm(&repo, "bench", &["batch", "--file", &ops]));
        let _ = std::fs::remove_dir_all(repo);
        took
    };
    let floor = |n: usize| {
        let folder = room.at(&format!("files-{n}"));
        std::fs::create_dir(&folder).expect("a folder");
        room.settle();
        let took = time(as_floor("files", &folder, &[&list, "."]));
        let _ = std::fs::remove_dir_all(folder);
        took
    };
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds { least: 3, ..Rounds::SOME } };
    let (ours, floor) = in_turn(rounds, ours, floor);
    let _ = std::fs::remove_dir_all(example);
    report.lines.push(Line {
        name: "batch",
        what: format!("`batch` of {tasks} creates"),
        tasks: None,
        beside: "write the same files, `syncfs`".into(),
        most: Most::Times(1.0),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}
