//! Memory: what reads or changes many tasks holds few of them at once.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::compaction::commit;
use crate::hostile::bounded;
use crate::sandbox::{Sandbox, cases, shard};

/// The address space that a command gets, in megabytes. The program itself takes half of it.
const ENOUGH: u64 = 288;

const CLOCK: &str = "2026-11-20T10:00:00Z";

/// Writes the logs of so many tasks, with texts of this length, as git brings them: completed, and archived if so wanted. Returns
/// their ids.
pub fn bring(room: &Sandbox, tasks: usize, length: usize, is_archived: bool) -> Vec<String> {
    let text = "x".repeat(length);
    let ids = (0..tasks).map(|n| {
        let id = format!("01K5R4XJ7Z00000000000{n:05}");
        let folder = room.store().join("tasks").join(shard(&id)).join(&id);
        fs::create_dir_all(&folder).unwrap();
        let (mut log, mut parent) = (String::new(), None::<String>);
        let payloads = [
            ("TaskCreated", json!({ "title": format!("task {n}"), "intent": text })),
            ("TaskStatusChanged", json!({ "from": "open", "to": "completed", "owner": "bob" })),
            ("TaskArchived", json!({ "from": "completed" })),
        ];
        for (k, (kind, payload)) in payloads.iter().take(if is_archived { 3 } else { 2 }).enumerate() {
            let event = format!("01K5R4XJ7Z0000000000{}{n:05}", 1 + k);
            let mut line =
                json!({ "v": 1, "id": event, "lamport": 2 * n + k + 1, "type": kind, "entity": format!("task/{id}") });
            if let Some(parent) = parent.replace(event) {
                line["parents"] = json!([parent]);
            }
            line["agent"] = json!("bob");
            line["at"] = json!("2026-03-10T10:00:00Z");
            line["payload"] = payload.clone();
            writeln!(log, "{line}").unwrap();
        }
        fs::write(folder.join("events.jsonl"), log).unwrap();
        id
    });
    ids.collect()
}

#[test]
fn what_git_brought_is_looked_through_a_few_logs_at_a_time() {
    crate::machine::needs!("prlimit");
    let room = Sandbox::new();
    room.at(CLOCK);
    room.run(&["inbox"]).data();
    bring(&room, 5_000, 25_000, false);
    bounded(&room, ENOUGH, &["ready"]).data();
    assert_eq!(bounded(&room, ENOUGH, &["stats"]).data()["tasks"], 5_000);
}

#[test]
fn a_long_batch_holds_few_of_the_tasks_that_it_closed() {
    crate::sandbox::needs_all_rounds!();
    crate::machine::needs!("prlimit");
    let room = Sandbox::new();
    room.at(CLOCK);
    let ids = bring(&room, 600, 40_000, false);
    let ops = room.beside("ops.json");
    // The first task is needed again at the end.
    let archiving = |id: &String| json!({ "op": "task.archive", "args": { "id": id } });
    let mut steps: Vec<Value> = ids.iter().map(archiving).collect();
    steps.push(json!({ "op": "context.add", "args": { "id": ids[0], "content": "archived with the others" } }));
    fs::write(&ops, Value::from(steps).to_string()).unwrap();
    let answer = bounded(&room, ENOUGH, &["batch", "--file", &ops.display().to_string()]).data();
    assert_eq!((&answer["total"], &answer["items"][3]["title"]), (&json!(601), &json!("task 3")));
    let counts = room.run(&["stats"]).data();
    assert_eq!(counts["by_status"], json!({ "archived": 600 }), "{counts}");
    let first = room.run(&["task", "get", &ids[0], "--full"]).data();
    assert_eq!((&first["status"], &first["version"]), (&json!("archived"), &json!(4)), "{first}");
    room.is_clean();
}

#[test]
fn an_archive_is_written_and_read_a_task_at_a_time() {
    crate::sandbox::needs_all_rounds!();
    crate::machine::needs!("prlimit");
    let room = Sandbox::new();
    room.at(CLOCK);
    bring(&room, 1_500, 40_000, true);
    commit(&room, "plan");
    assert_eq!(bounded(&room, ENOUGH, &["compact"]).data()["tasks"], 1_500);
    commit(&room, "plan: compact");
    bounded(&room, ENOUGH, &["add", "--title", "the first change"]).data();
    assert_eq!(bounded(&room, ENOUGH, &["lint"]).data()["checked"], 1_501);
    assert_eq!(bounded(&room, ENOUGH, &["resolve"]).data()["items"], json!([]));
    assert_eq!(bounded(&room, ENOUGH, &["diff", "HEAD"]).data()["total"], 1);
}

#[test]
fn a_sync_reads_the_archive_of_the_work_tree_a_task_at_a_time() {
    crate::sandbox::needs_all_rounds!();
    crate::machine::needs!("prlimit");
    let room = Sandbox::new();
    room.at(CLOCK);
    bring(&room, 300, 150_000, true);
    room.run(&["compact"]).data();
    commit(&room, "plan: compact");
    room.task("one", &[]);
    let synced = bounded(&room, ENOUGH, &["sync", "--no-push"]).data();
    assert_eq!(synced["outgoing"][0]["title"], "one", "{synced}");
}

/// A plan of another tool with so many tasks, each of which has a text of this length.
fn plan_of(format: &str, tasks: usize, length: usize) -> String {
    let text = "word ".repeat(length / 5);
    let all = 1..=tasks;
    match format {
        "beads" => all
            .map(|n| {
                json!({ "id": format!("b-{n}"), "title": "t", "priority": 2, "description": text }).to_string() + "\n"
            })
            .collect(),
        "github" => {
            let url = |n| format!("https://github.com/lib/desk/issues/{n}");
            Value::from_iter(all.map(|n| json!({ "url": url(n), "title": "t", "body": text }))).to_string()
        }
        "arbeit" => {
            let task = |n| json!({ "id": format!("a-{n}"), "title": "t", "intent": text });
            json!({ "tasks": Value::from_iter(all.map(task)) }).to_string()
        }
        _ => {
            let task = |n| json!({ "id": n, "title": "t", "details": text });
            json!({ "master": { "tasks": Value::from_iter(all.map(task)) } }).to_string()
        }
    }
}

cases!(an_import by holds_its_source_once {
    of_beads: "beads",
    of_github: "github",
    of_arbeit: "arbeit",
    of_taskmaster: "taskmaster",
    of_backlog: "backlog",
});

fn holds_its_source_once(name: &str, format: &str) {
    // The one of lines and the one of files stand for the others.
    if !matches!(format, "beads" | "backlog") {
        crate::sandbox::needs_all_rounds!();
    }
    crate::machine::needs!("prlimit");
    let (tasks, length) = (1_500, 40_000);
    let room = Sandbox::new();
    room.at(CLOCK);
    let source = room.beside(name);
    if format == "backlog" {
        let text = "word ".repeat(length / 5);
        fs::create_dir_all(source.join("tasks")).unwrap();
        for n in 1..=tasks {
            let front = format!("---\nid: task-{n}\ntitle: t\n---\n\n{text}\n");
            fs::write(source.join(format!("tasks/task-{n}.md")), front).unwrap();
        }
    } else {
        fs::write(&source, plan_of(format, tasks, length)).unwrap();
    }
    let source = source.display().to_string();
    let report = bounded(&room, ENOUGH, &["import", "--from", format, &source, "--dry-run"]).data();
    assert_eq!(report["added"]["tasks"], tasks, "{}", report["added"]);
}

#[test]
fn large_tasks_are_read_a_few_at_a_time() {
    crate::machine::needs!("prlimit");
    let room = Sandbox::new();
    room.at(CLOCK);
    bring(&room, 400, 200_000, false);
    bounded(&room, ENOUGH, &["add", "--title", "the first change"]).data();
    let exported = bounded(&room, ENOUGH, &["export", "--format", "jsonl", "--output", "../plan.jsonl", "--json"]);
    assert_eq!(exported.data()["total"], 401);
}
