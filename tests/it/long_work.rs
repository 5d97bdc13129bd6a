//! Long work: a terminal shows how far it is, and whatever interrupts it leaves a plan that the next command works with.

use std::fs;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Stdio;

use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGKILL};

use crate::call_counts::before_a_terminal;
use crate::compaction::commit;
use crate::memory::bring;
use crate::sandbox::{Sandbox, cases, wait_for};

const CLOCK: &str = "2026-11-20T10:00:00Z";
/// So many that progress is shown.
const MANY: usize = 4_100;
/// One more than an import records at once.
const TWO_PARTS: usize = 1_001;

#[test]
fn a_terminal_shows_the_progress_of_work_on_the_whole_plan() {
    crate::sandbox::needs_all_rounds!();
    crate::machine::needs!("script");
    let room = Sandbox::new();
    room.at(CLOCK);
    bring(&room, MANY, 10, true);
    for (args, shown) in [
        ("ls --all --query task", "reading the plan"),
        ("lint", "judging tasks"),
        ("export --format markdown --output ../plan.md", "exporting tasks"),
        ("export --format jsonl --output ../plan.jsonl", "exporting tasks"),
        ("compact", "writing archives"),
    ] {
        let seen = before_a_terminal(&room, args);
        assert!(seen.contains(shown) && seen.contains("of 4,100"), "{args}: {seen:?}");
    }
    let copy = Sandbox::new();
    let plan = room.beside("plan.jsonl").display().to_string();
    let seen = before_a_terminal(&copy, &format!("import --from jsonl {plan}"));
    assert!(seen.contains("importing tasks") && seen.contains("of 4,100"), "{seen:?}");
}

cases!(an_interrupted_import by is_finished_by_another {
    of_beads: ("beads", SIGINT),
    of_github: ("github", SIGKILL),
    of_arbeit: ("arbeit", SIGINT),
    of_taskmaster: ("taskmaster", SIGKILL),
});

/// Issues in the form of a tool, each of which waits for the one before.
fn source(format: &str, count: usize) -> String {
    let url = |n: usize| format!("https://github.com/lib/desk/issues/{n}");
    let title = |n: usize| format!("issue {n}");
    let all = 1..=count;
    match format {
        "beads" => all
            .map(|n| {
                let on = json!([{ "issue_id": format!("b-{n}"), "depends_on_id": format!("b-{}", n - 1), "type": "blocks" }]);
                let on = if n == 1 { json!([]) } else { on };
                json!({ "id": format!("b-{n}"), "title": title(n), "priority": 2, "dependencies": on }).to_string() + "\n"
            })
            .collect(),
        "github" => Value::from_iter(all.map(|n| {
            let on = if n == 1 { json!([]) } else { json!([{ "url": url(n - 1) }]) };
            json!({ "number": n, "url": url(n), "title": title(n), "state": "OPEN", "blockedBy": on })
        }))
        .to_string(),
        "arbeit" => {
            let tasks = Value::from_iter(all.clone().map(|n| json!({ "id": format!("a-{n}"), "title": title(n) })));
            let edge = |n: usize| json!({ "from_task_id": format!("a-{}", n - 1), "to_task_id": format!("a-{n}"), "type": "blocks" });
            // The edges may come before the tasks.
            json!({ "relationships": Value::from_iter(all.skip(1).map(edge)), "tasks": tasks }).to_string()
        }
        _ => {
            let task = |n: usize| json!({ "id": n, "title": title(n), "dependencies": if n == 1 { vec![] } else { vec![n - 1] } });
            json!({ "master": { "tasks": Value::from_iter(all.map(task)) } }).to_string()
        }
    }
}

/// An import is ended as soon as its first part is recorded. The plan is clean, and the same import finishes it.
fn is_finished_by_another(name: &str, (format, signal): (&str, i32)) {
    if matches!(format, "arbeit" | "taskmaster") {
        crate::sandbox::needs_all_rounds!();
    }
    let room = Sandbox::new();
    let file = room.beside(name).display().to_string();
    fs::write(&file, source(format, TWO_PARTS)).unwrap();
    let journal = room.repo().join(".git/agentpm/journal.jsonl");
    let before = fs::metadata(&journal).map_or(0, |journal| journal.len());
    let mut child = room.agentpm();
    child.args(["import", "--from", format, &file]).stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = child.spawn().unwrap();
    wait_for("the first part", || fs::metadata(&journal).map_or(0, |journal| journal.len()) > before);
    let pid = rustix::process::Pid::from_child(&child);
    let by = if signal == SIGINT { rustix::process::Signal::INT } else { rustix::process::Signal::KILL };
    rustix::process::kill_process(pid, by).unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(ended.signal(), Some(signal), "{ended:?}");
    let first = room.run(&["stats"]).data()["tasks"].as_u64().unwrap() as usize;
    assert!(first == 0 || first == TWO_PARTS - 1 || first == TWO_PARTS, "{first} tasks are no whole parts");
    room.task("the next one", &[]);
    room.is_clean();
    let again = room.run(&["import", "--from", format, &file]).data();
    assert_eq!(again["added"]["tasks"], TWO_PARTS - first, "{}", again["added"]);
    assert_eq!(room.run(&["stats"]).data()["tasks"], TWO_PARTS + 1);
    assert_eq!(room.run(&["ready"]).data()["total"], 2, "each issue but the first waits for another");
    assert_eq!(room.run(&["import", "--from", format, &file]).data()["added"]["events"], 0);
    room.is_clean();
}

#[test]
fn an_interrupted_compaction_is_completed_by_another() {
    let room = Sandbox::new();
    room.at(CLOCK);
    bring(&room, 600, 10, true);
    commit(&room, "plan");
    let folders = || walkdir::WalkDir::new(room.store().join("tasks")).min_depth(3).max_depth(3).into_iter().count();
    let mut child = room.agentpm();
    child.arg("compact").stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = child.spawn().unwrap();
    // Some folders are gone, and most are not.
    wait_for("the first folder to go", || folders() < 600);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::INT).unwrap();
    child.wait().unwrap();
    assert_eq!(room.run(&["ls", "--all", "--limit", "1"]).data()["total"], 600);
    room.task("a change completes it", &[]);
    assert_eq!(folders(), 1);
    room.is_clean();
    assert_eq!(room.run(&["stats"]).data()["events"], 600 * 3 + 1);
}

#[test]
fn an_interrupted_export_leaves_the_old_file_and_no_other() {
    crate::machine::needs!("strace");
    let room = Sandbox::new();
    room.task("one", &[]);
    fs::write(room.repo().join("plan.csv"), "old").unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(room.repo()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let mut command = room.agentpm_like("strace");
    // The document is written, and gets its name next.
    command.args(["-f", "-qq", "-e", "trace=linkat", "-e", "inject=linkat:signal=SIGINT:error=EINTR", "--"]);
    command.arg(env!("CARGO_BIN_EXE_agentpm")).args(["export", "--format", "csv", "--output", "plan.csv"]);
    let output = command.output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    assert_eq!((names(), fs::read_to_string(room.repo().join("plan.csv")).unwrap().as_str()), (before, "old"));
}
