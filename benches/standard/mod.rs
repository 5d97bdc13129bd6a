//! What the benchmarks share: the standard store, programs in clean surroundings, and measuring two things in turn.
//!
//! The store: N tasks, 5 events each, a third with 1 to 3 blockers, 60 % closed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// A line of the report.
pub fn show(what: &str, ours: Duration, floor: Duration, most: &str) {
    let ratio = ms(ours) / ms(floor);
    println!("{what:<58} {:>7.1} ms {:>7.1} ms {ratio:>7.2} {most:>8}", ms(ours), ms(floor));
}

/// Medians of two things done in turn, after one round that warms both.
pub fn in_turn(rounds: usize, ours: impl Fn() -> Duration, floor: impl Fn() -> Duration) -> (Duration, Duration) {
    ours();
    floor();
    let times: Vec<(Duration, Duration)> = (0..rounds).map(|_| (ours(), floor())).collect();
    (median(times.iter().map(|t| t.0).collect()), median(times.iter().map(|t| t.1).collect()))
}

/// A number from a number, always the same, spread over all.
fn spread(n: usize) -> usize {
    let mixed = (n as u64).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    usize::try_from((mixed ^ (mixed >> 31)).wrapping_mul(0x94D0_49BB_1331_11EB) >> 33).unwrap_or(0)
}

fn is_closed(n: usize) -> bool {
    n % 5 < 3
}

/// The standard store, by one batch.
pub fn fill(repo: &Path, tasks: usize) {
    let mut ops: Vec<Value> = Vec::with_capacity(tasks * 5);
    for n in 0..tasks {
        let me = format!("$t{n}");
        // A closed task waits for closed ones only.
        let blockers: Vec<String> = (0..if spread(n).is_multiple_of(3) { 1 + spread(n + 7) % 3 } else { 0 })
            .filter_map(|k| {
                (0..50)
                    .map(|t| spread(n * 59 + k * 53 + t) % n.max(1))
                    .find(|b| *b < n && (!is_closed(n) || is_closed(*b)))
            })
            .map(|b| format!("$t{b}"))
            .collect();
        let intent =
            format!("What is to be done in step {n}, why it matters and how one can tell that it was done well.");
        let mut args = json!({ "title": format!("task number {n} of the plan"), "intent": intent });
        if !blockers.is_empty() {
            args["blocked_by"] = json!(blockers);
        }
        ops.push(json!({ "op": "task.create", "as": format!("t{n}"), "args": args }));
        ops.push(json!({ "op": "progress.add", "args": { "task_id": me, "content": ["the first step of it"] } }));
        ops.push(json!({ "op": "context.add", "args": { "task_id": me, "type": "decision", "content": "as the others do" } }));
        if is_closed(n) {
            ops.push(json!({ "op": "task.transition", "args": { "id": me, "status": "in_progress" } }));
            ops.push(json!({ "op": "task.transition", "args": { "id": me, "status": "completed" } }));
        } else {
            ops.push(json!({ "op": "task.update", "args": { "id": me, "priority": spread(n) % 5 } }));
            ops.push(json!({ "op": "task.update", "args": { "id": me, "labels": [format!("area-{}", n % 40)] } }));
        }
    }
    batch(repo, "bench", &ops);
}

/// Changes two fields of each task.
pub fn change(repo: &Path, agent: &str, tasks: &[String]) {
    let op = |(n, task): (usize, &String)| json!({ "op": "task.update", "args": { "id": task, "title": format!("{agent} {n}"), "estimate": "2h" } });
    batch(repo, agent, &tasks.iter().enumerate().map(op).collect::<Vec<Value>>());
}

fn batch(repo: &Path, agent: &str, ops: &[Value]) {
    let file = repo.with_extension("ops.json");
    std::fs::write(&file, Value::from(ops).to_string()).expect("the batch is written");
    run(agentpm(repo, agent).args(["batch", "--file"]).arg(&file));
}

/// The ids of tasks that can be changed, in an order of no meaning.
pub fn open_tasks(repo: &Path) -> Vec<String> {
    let list = agentpm(repo, "bench")
        .args(["task", "list", "--status", "open", "--limit", "100000", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .output()
        .expect("agentpm starts");
    let text = String::from_utf8(list.stdout).expect("UTF-8");
    let mut ids: Vec<String> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["id"].as_str().map(str::to_owned))
        .collect();
    ids.sort_by_key(|id| id.chars().rev().collect::<String>());
    assert!(ids.len() > 2, "{text}");
    ids
}

/// Git, which must succeed.
pub fn git(dir: &Path, args: &[&str]) {
    run(command("git", dir).args(args));
}

/// A program in clean surroundings.
pub fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/nonexistent")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        // No packing behind our back while something is measured.
        .envs([("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "gc.auto"), ("GIT_CONFIG_VALUE_0", "0")])
        .env("GIT_AUTHOR_NAME", "Bench")
        .env("GIT_AUTHOR_EMAIL", "bench@example.invalid")
        .env("GIT_COMMITTER_NAME", "Bench")
        .env("GIT_COMMITTER_EMAIL", "bench@example.invalid")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// The program that is measured, as an agent.
pub fn agentpm(dir: &Path, agent: &str) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_agentpm"), dir);
    command.env("AGENTPM_AGENT", agent);
    command
}

/// Runs to a good end.
pub fn run(command: &mut Command) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the program starts");
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n");
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// How long a whole process takes.
pub fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    run(command);
    begun.elapsed()
}

/// The middle one.
pub fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort();
    all[all.len() / 2]
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
