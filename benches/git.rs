//! What git has to carry and how long it takes, beside what git alone does with as much.
//!
//! The store: N tasks, 5 events each, a third with 1 to 3 blockers, 60 % closed, committed and packed. All times are medians of
//! whole processes on warm files, ours and the floor in turn on the same disk, so that the ratio means something on a noisy
//! machine.
//!
//! ```text
//! cargo bench --bench git               10 000 tasks
//! cargo bench --bench git -- 1000       another size of the store
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark stands outside the program and drives it")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How large everything is, and how often it is measured.
struct Size {
    tasks: usize,
    /// Branches besides the one that is checked out.
    branches: usize,
    /// Tasks changed on each side of a sync.
    changed: usize,
    /// Rounds of what is short, and of what is long.
    rounds: usize,
    syncs: usize,
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    // `cargo test --benches` only asks whether the benchmark works.
    let size = match std::env::args().any(|arg| arg == "--test") {
        true => Size { tasks: 40, branches: 5, changed: 4, rounds: 2, syncs: 1 },
        false => Size { tasks: asked.unwrap_or(10_000), branches: 500, changed: 200, rounds: 21, syncs: 5 },
    };
    let folder = tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| "target".into()))
        .expect("a folder on the disk that is measured");
    let base = folder.path().join("base");
    std::fs::create_dir(&base).expect("a folder for the repository");
    git(&base, &["init", "-q", "-b", "main", "."]);
    run(agentpm(&base, "bench").arg("init"));
    fill(&base, size.tasks);
    git(&base, &["add", "-A"]);
    git(&base, &["commit", "-q", "-m", "the plan"]);
    git(&base, &["gc", "-q"]);

    println!(
        "store of {} tasks, {} rounds ({} of sync), medians of whole processes",
        size.tasks, size.rounds, size.syncs
    );
    println!("{:<58} {:>10} {:>10} {:>7} {:>8}", "", "ours", "floor", "ratio", "at most");
    bytes(folder.path(), &base);
    branches(folder.path(), &base, &size);
    conflicts(folder.path(), &base, &size);
    status(&base, &size);
}

/// What committing one changed task adds to the loose objects, by `sync` and by git itself.
fn bytes(folder: &Path, base: &Path) {
    let (ours, plain) = (copy(base, &folder.join("bytes")), copy(base, &folder.join("plain")));
    let (mut by_sync, mut by_git) = (Vec::new(), Vec::new());
    for task in open_tasks(base).iter().take(9) {
        for repo in [&ours, &plain] {
            run(agentpm(repo, "bench").args(["context", "add", task, "--content", "a decision of some words"]));
        }
        let before = loose(&ours);
        run(agentpm(&ours, "bench").args(["sync", "--no-push"]));
        by_sync.push(loose(&ours) - before);
        let before = loose(&plain);
        git(&plain, &["add", ".agentpm"]);
        git(&plain, &["commit", "-q", "-m", "plan"]);
        by_git.push(loose(&plain) - before);
    }
    let (ours, plain) = (median(by_sync), median(by_git));
    let ratio = ours as f64 / plain as f64;
    let what = "bytes that one changed task adds: sync / git commit";
    println!("{what:<58} {ours:>8} B {plain:>8} B {ratio:>7.2} {:>8}", "16384 B");
}

/// `next` where many branches have each changed a task, against the same with one branch.
fn branches(folder: &Path, base: &Path, size: &Size) {
    let (one, many) = (copy(base, &folder.join("one")), copy(base, &folder.join("many")));
    branch_off(&many, size.branches);
    let next = |repo: &Path| time(agentpm(repo, "bench").arg("next"));
    let (ours, floor) = in_turn(size.rounds, || next(&many), || next(&one));
    show(&format!("next with {} branches / with one", size.branches), ours, floor, "1.50");
}

/// `sync` of tasks that were changed on both sides, against git with as many files changed on both sides, each on one only.
fn conflicts(folder: &Path, base: &Path, size: &Size) {
    let remote = folder.join("remote.git");
    git(folder, &["clone", "-q", "--bare", "base", "remote.git"]);
    let clone = |name: &str| {
        git(folder, &["clone", "-q", "remote.git", name]);
        folder.join(name)
    };
    let (ada, bob, plain) = (clone("ada"), clone("bob"), clone("git"));
    let tasks = open_tasks(base);
    let (changed, others) = (&tasks[..size.changed], &tasks[size.changed..2 * size.changed]);
    change(&bob, "bob", changed);
    run(agentpm(&bob, "bob").arg("sync"));
    change(&ada, "ada", changed);
    // The same kind of change to other tasks, so that git has nothing to settle.
    change(&plain, "git", others);
    git(&plain, &["add", "-A"]);
    git(&plain, &["commit", "-q", "-m", "as many files"]);

    let fresh = |from: &Path, name: &str| {
        let (repo, theirs) = (folder.join(name), folder.join(format!("{name}.git")));
        for old in [&repo, &theirs] {
            let _ = std::fs::remove_dir_all(old);
        }
        copy(&remote, &theirs);
        copy(from, &repo);
        git(&repo, &["remote", "set-url", "origin", &theirs.display().to_string()]);
        // What was copied just now must not be flushed by what is measured.
        run(command("sync", folder).arg("-f").arg(folder));
        repo
    };
    let ours = || {
        let repo = fresh(&ada, "ours");
        time(agentpm(&repo, "ada").arg("sync"))
    };
    let floor = || {
        let repo = fresh(&plain, "floor");
        time(command("git", &repo).args(["pull", "-q", "--rebase"])) + time(command("git", &repo).args(["push", "-q"]))
    };
    let (ours, floor) = in_turn(size.syncs, ours, floor);
    let what = format!("sync of {} tasks changed on both sides / git pull, push", size.changed);
    show(&what, ours, floor, "2.00");
}

/// `next` against `git status` of the same work tree.
fn status(base: &Path, size: &Size) {
    let ours = || time(agentpm(base, "bench").arg("next"));
    let (ours, floor) = in_turn(size.rounds, ours, || time(command("git", base).args(["status", "--porcelain"])));
    show("next / git status", ours, floor, "0.50");
}

fn show(what: &str, ours: Duration, floor: Duration, most: &str) {
    let ratio = ms(ours) / ms(floor);
    println!("{what:<58} {:>7.1} ms {:>7.1} ms {ratio:>7.2} {most:>8}", ms(ours), ms(floor));
}

/// Medians of two things done in turn, after one round that warms both.
fn in_turn(rounds: usize, ours: impl Fn() -> Duration, floor: impl Fn() -> Duration) -> (Duration, Duration) {
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
fn fill(repo: &Path, tasks: usize) {
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
fn change(repo: &Path, agent: &str, tasks: &[String]) {
    let op = |(n, task): (usize, &String)| json!({ "op": "task.update", "args": { "id": task, "title": format!("{agent} {n}"), "estimate": "2h" } });
    batch(repo, agent, &tasks.iter().enumerate().map(op).collect::<Vec<Value>>());
}

fn batch(repo: &Path, agent: &str, ops: &[Value]) {
    let file = repo.with_extension("ops.json");
    std::fs::write(&file, Value::from(ops).to_string()).expect("the batch is written");
    run(agentpm(repo, agent).args(["batch", "--file"]).arg(&file));
}

/// The ids of tasks that can be changed, in an order of no meaning.
fn open_tasks(repo: &Path) -> Vec<String> {
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

/// Branches that have each begun another task.
fn branch_off(repo: &Path, branches: usize) {
    let tasks = open_tasks(repo);
    let mut stream = String::new();
    for n in 0..branches {
        let task = &tasks[n % tasks.len()];
        let path = format!(".agentpm/tasks/{}/{task}/events.jsonl", &task[task.len() - 2..]);
        let log = std::fs::read_to_string(repo.join(&path)).expect("a log");
        let last: Value = serde_json::from_str(log.lines().last().expect("an event")).expect("an event");
        let id = format!("{}{n:04}", &task[..22]);
        let event = json!({
            "v": 1, "id": id, "lamport": last["lamport"].as_u64().unwrap_or(1) + 1, "type": "TaskStatusChanged",
            "entity": last["entity"], "parents": [last["id"]], "agent": "elsewhere", "at": last["at"],
            "payload": { "from": "open", "to": "in_progress", "owner": "elsewhere" }
        });
        let log = format!("{log}{event}\n");
        let _ = write!(
            stream,
            "commit refs/heads/branch-{n}\ncommitter B <b@example.invalid> {} +0000\ndata 5\nbegun\nfrom refs/heads/main^0\n\
             M 100644 inline {path}\ndata {}\n{log}\n",
            seconds() - n as u64,
            log.len()
        );
    }
    let mut child = command("git", repo).args(["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().expect("git");
    child.stdin.take().expect("a pipe").write_all(stream.as_bytes()).expect("git reads");
    assert!(child.wait().expect("git ends").success());
    git(repo, &["pack-refs", "--all"]);
}

fn seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs()
}

/// A copy of a repository, with git's and our knowledge of its files brought up to date.
fn copy(from: &Path, to: &Path) -> PathBuf {
    run(command("cp", from).arg("-a").arg(from).arg(to));
    if to.join(".git").exists() {
        git(to, &["update-index", "-q", "--refresh"]);
        run(agentpm(to, "bench").arg("next"));
    }
    to.to_owned()
}

/// Bytes of all loose objects.
fn loose(repo: &Path) -> u64 {
    let objects = walkdir::WalkDir::new(repo.join(".git/objects")).into_iter().filter_map(Result::ok);
    let is_loose = |path: &Path| path.parent().and_then(Path::file_name).is_some_and(|name| name.len() == 2);
    objects
        .filter(|o| o.file_type().is_file() && is_loose(o.path()))
        .map(|o| o.metadata().expect("its size").len())
        .sum()
}

fn git(dir: &Path, args: &[&str]) {
    run(command("git", dir).args(args));
}

fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
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

fn agentpm(dir: &Path, agent: &str) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_agentpm"), dir);
    command.env("AGENTPM_AGENT", agent);
    command
}

fn run(command: &mut Command) {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the program starts");
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).join("\n");
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    run(command);
    begun.elapsed()
}

fn median<T: Ord + Copy>(mut all: Vec<T>) -> T {
    all.sort();
    all[all.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
