//! What looks at the whole store, beside reading every file of it once.

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm, command};
use crate::run::{Round, Rounds, in_turn, time};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["index", "lint", "lint-one-core"];

/// The read model from nothing, and lint.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    let here = &repo.path;
    let index = |_| {
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(here.join(format!(".git/agentpm/index.db{ending}")));
        }
        // Of all questions this one asks the index alone.
        time(agentpm(here, "bench", &["task", "list", "--limit", "1"]))
    };
    let lint = |_| time(agentpm(here, "bench", &["lint"]));
    let core = first_core();
    let one_core = |_| time(command("taskset", here, &["-c", &core, env!("CARGO_BIN_EXE_agentpm"), "lint"]));
    let all: [(&'static str, &str, Most, Round); 3] = [
        ("index", "index from nothing", Most::Times(2.5), &index),
        ("lint", "`lint`, whole store", Most::Times(2.0), &lint),
        ("lint-one-core", "`lint` on one core", Most::Anything, &one_core),
    ];
    let store = here.join(".agentpm").display().to_string();
    for (name, what, most, ours) in all {
        if !room.asked.wants(name) {
            continue;
        }
        room.tell(&format!("{name} at {}", repo.tasks));
        let rounds = if room.asked.small { Rounds::ONE } else { Rounds::SOME };
        let (ours, floor) = in_turn(rounds, ours, |_| time(as_floor("read", here, &[&store])));
        report.lines.push(Line {
            name,
            what: what.into(),
            tasks: Some(repo.tasks),
            beside: "read every file once".into(),
            most,
            unit: Unit::Ms,
            ours,
            floor: Some(floor),
            cold: None,
        });
    }
}

/// A core that this process may run on.
fn first_core() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or("0").trim();
    allowed.split(['-', ',']).next().unwrap_or("0").to_owned()
}
