//! How much memory each command takes on the largest store, with the time it took: those that read first.

use std::path::Path;

use agentpm::store::layout::{LOG, STORE, task_dir};

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm, command};
use crate::run::{Figures, printed, run};
use crate::table::{Line, Most, Peak, Report, Unit};

/// All commands, each once on a store that the ones before it have changed.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    report.peaks_at = repo.tasks;
    let here = &repo.path;
    // From the end: the first ones were changed by what was measured before.
    let ids: Vec<&str> = repo.open.iter().rev().map(String::as_str).collect();
    let [a, b, c, d, e, ..] = ids[..] else { panic!("a store has more open tasks") };
    run(agentpm(here, "memory", &["context", "add", a, "--type", "note", "--content", "to be taken back", "--quiet"]));
    run(agentpm(here, "memory", &["progress", "add", a, "--content", "to be ticked off", "--quiet"]));
    let item = last_event(repo, a);
    run(agentpm(here, "memory", &["task", "update", a, "--priority", "3", "--quiet"]));
    let change = last_event(repo, a);
    let ops = room.at("memory.json").display().to_string();
    let steps: Vec<String> =
        (0..100).map(|n| format!(r#"{{"op":"task.create","args":{{"title":"one of many {n}"}}}}"#)).collect();
    std::fs::write(&ops, format!("[{}]", steps.join(","))).expect("the batch is written");

    let reading: &[&[&str]] = &[
        &["--version"],
        &["help", "agents"],
        &["prime"],
        &["schema"],
        &["task", "get", a],
        &["task", "get", a, "--full"],
        &["task", "path", a],
        &["task", "list"],
        &["task", "list", "--query", "shorter"],
        &["task", "list", "--all", "--json"],
        &["next"],
        &["next", "--explain"],
        &["ready"],
        &["brief", a],
        &["stale"],
        &["stats"],
        &["graph", a],
        &["graph", "--all"],
        &["log"],
        &["log", "--limit", "100000"],
        &["log", a],
        &["blame", a],
        &["diff", "HEAD", "HEAD"],
        &["diff", "1"],
        &["review", "HEAD..HEAD"],
        &["conflicts"],
        &["conflicts", a],
        &["recover"],
        &["agent", "list"],
        &["session", "list"],
        &["lease", "list"],
        &["watch", "--for", "1s"],
        &["doctor"],
        &["lint"],
        &["lint", "--staged"],
    ];
    let writing: &[&[&str]] = &[
        &["init"],
        &["agent", "register", "--role", "executor"],
        &["task", "create", "--title", "one more"],
        &["task", "update", a, "--estimate", "2h"],
        &["task", "block", b, "--by", a],
        &["context", "add", a, "--content", "one more"],
        &["progress", "add", a, "--content", "one more"],
        &["progress", "complete", &item],
        &["undo", &change],
        &["claim", c],
        &["done", c],
        &["task", "archive", c],
        &["claim", d],
        &["release", d],
        &["next", "--claim"],
        &["work", e, "--", "true"],
        &["batch", "--file", &ops],
        &["lint", "--fix"],
        &["resolve"],
        &["sync", "--no-push"],
    ];
    for args in reading.iter().chain(writing) {
        room.tell(&format!("memory of {} at {}", shown(args, &ids), repo.tasks));
        let (megabytes, ms) = peak(room, repo, args);
        report.peaks.push(Peak { command: shown(args, &ids), megabytes, ms });
    }
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(here.join(format!(".git/agentpm/index.db{ending}")));
    }
    let (megabytes, ms) = peak(room, repo, &["next"]);
    report.peaks.push(Peak { command: "`next`, index from nothing".into(), megabytes, ms });

    let most = report.peaks.iter().max_by(|a, b| a.megabytes.total_cmp(&b.megabytes)).expect("some command");
    let figure = Figures { median: most.megabytes, p10: most.megabytes, p90: most.megabytes, rounds: 1 };
    report.lines.push(Line {
        name: "memory",
        what: format!("memory of any command, most by {}", most.command),
        tasks: Some(repo.tasks),
        beside: "–".into(),
        most: Most::Flat(300.0),
        unit: Unit::Megabytes,
        ours: figure,
        floor: None,
        cold: None,
    });
}

/// The most memory a command had at once, in megabytes, and how long it took, in milliseconds.
fn peak(room: &Room, repo: &Repo, args: &[&str]) -> (f64, f64) {
    let to = room.at("peak");
    let mut words = vec![to.to_str().expect("UTF-8"), env!("CARGO_BIN_EXE_agentpm")];
    words.extend(args);
    let mut measured = as_floor("peak", &repo.path, &words);
    measured.env("AGENTPM_AGENT", "memory");
    let begun = std::time::Instant::now();
    let output = measured.output().expect("the program starts");
    let ms = crate::run::ms(begun.elapsed());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {}: {said}", output.status);
    let bytes: f64 = std::fs::read_to_string(to).expect("the figure").parse().expect("a figure");
    (bytes / 1e6, ms)
}

/// A command as the table gives it.
fn shown(args: &[&str], ids: &[&str]) -> String {
    let word = |word: &&str| {
        if ids.contains(word) {
            "ID".to_owned()
        } else if word.len() == 26 {
            "EVENT".to_owned()
        } else if word.contains('/') {
            "FILE".to_owned()
        } else if word.contains(' ') {
            "…".to_owned()
        } else {
            (*word).to_owned()
        }
    };
    format!("`{}`", args.iter().map(word).collect::<Vec<_>>().join(" "))
}

/// The newest event of a task.
fn last_event(repo: &Repo, task: &str) -> String {
    let log = Path::new(STORE).join(task_dir(task.parse().expect("an id"))).join(LOG);
    let line = printed(command("tail", &repo.path, &["-n", "1", &log.display().to_string()]));
    agentpm::model::event::parse_line(line.trim_end()).expect("an event").id.to_string()
}
