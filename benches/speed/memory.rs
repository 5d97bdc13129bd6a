//! How much memory each command takes on the largest store, with the time it took: those that read first, a compaction last.

use std::path::Path;

use agentpm::store::layout::{LOG, STORE, task_dir};

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm, command, git};
use crate::run::{Figures, printed, run};
use crate::store::{self, State};
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
        &["doctor"],
        &["lint"],
        &["lint", "--staged"],
    ];
    let writing: &[&[&str]] = &[
        &["init"],
        &["watch", "--for", "1s"],
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
        note(room, repo, report, args, &shown(args, &ids));
    }
    commit(repo);
    note(room, repo, report, &["note", a, "--content", "one more"], "the first change after a commit");
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(here.join(format!(".git/agentpm/index.db{ending}")));
    }
    note(room, repo, report, &["next"], "`next`, index from nothing");
    compaction(room, repo, report, a);
    for (limit, what) in [(MOST, "any command"), (MOST_OF_WHOLE, "`import`, `export`, `compact`, `search` and `lint`")]
    {
        let of_limit = report.peaks.iter().filter(|peak| (limit_of(&peak.command) - limit).abs() < 1.0);
        let Some(most) = of_limit.max_by(|a, b| a.megabytes.total_cmp(&b.megabytes)) else { continue };
        let figure = Figures { median: most.megabytes, p10: most.megabytes, p90: most.megabytes, rounds: 1 };
        report.lines.push(Line {
            name: "memory",
            what: format!("memory of {what}, most by {}", most.command),
            tasks: Some(repo.tasks),
            beside: "–".into(),
            most: Most::Flat(limit),
            unit: Unit::Megabytes,
            ours: figure,
            floor: None,
            cold: None,
        });
    }
}

/// What a command may take, and one that reads or writes the whole plan, in megabytes.
const MOST: f64 = 150.0;
const MOST_OF_WHOLE: f64 = 300.0;

/// What the command of a row may take.
pub fn limit_of(row: &str) -> f64 {
    let is_whole =
        ["import", "export", "compact", "search", "lint"].iter().any(|verb| row.starts_with(&format!("`{verb}")));
    if is_whole { MOST_OF_WHOLE } else { MOST }
}

/// Archives all closed tasks by one batch and moves them into an archive.
fn compaction(room: &Room, repo: &Repo, report: &mut Report, open: &str) {
    let ops = room.at("archive.json").display().to_string();
    let closed = (0..repo.tasks).filter(|n| store::state(*n) == State::Closed).map(store::id);
    let steps: Vec<String> = closed.map(|id| format!(r#"{{"op":"task.archive","args":{{"id":"{id}"}}}}"#)).collect();
    std::fs::write(&ops, format!("[{}]", steps.join(","))).expect("the batch is written");
    let batch = format!("`batch` of {} archivings", steps.len());
    note(room, repo, report, &["batch", "--file", &ops], &batch);
    commit(repo);
    note(room, repo, report, &["compact", "--older-than", "0s"], &format!("`compact` of {} tasks", steps.len()));
    commit(repo);
    note(room, repo, report, &["note", open, "--content", "one more"], "the first change after a compaction");
    note(room, repo, report, &["lint"], "`lint` after a compaction");
}

/// Commits the plan.
fn commit(repo: &Repo) {
    run(git(&repo.path, &["add", "-A"]));
    run(git(&repo.path, &["commit", "-qm", "plan", "--allow-empty"]));
}

/// Measures a command and adds its row.
fn note(room: &Room, repo: &Repo, report: &mut Report, args: &[&str], row: &str) {
    room.tell(&format!("memory of {row} at {}", repo.tasks));
    let (megabytes, ms) = peak(room, repo, args);
    report.peaks.push(Peak { command: row.to_owned(), megabytes, ms });
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
