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

mod standard;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use standard::{agentpm, change, command, fill, git, in_turn, median, open_tasks, run, show, time};

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
