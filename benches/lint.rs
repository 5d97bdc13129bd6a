//! What judging the plan costs: the whole of it, what a commit would add, and what a branch does to it.
//!
//! Of the whole store the floor is a program that reads every file once; of the others it is what git itself prints of the same
//! change. All times are medians of whole processes on warm files, ours and the floor in turn on the same disk.
//!
//! ```text
//! cargo bench --bench lint               10 000 tasks, 50 000 events
//! cargo bench --bench lint -- 1000       another size of the store
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark stands outside the program and drives it")]

mod standard;

use std::path::Path;

use standard::{agentpm, change, command, fill, git, in_turn, open_tasks, run, show, time};

const FLOOR: &str = "AGENTPM_BENCH_FLOOR";
/// Tasks that the branch changes.
const CHANGED: usize = 30;

fn main() {
    if let Some(path) = std::env::var_os(FLOOR) {
        return floor(Path::new(&path));
    }
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    // `cargo test --benches` only asks whether the benchmark works.
    let (tasks, rounds) =
        if std::env::args().any(|arg| arg == "--test") { (100, 1) } else { (asked.unwrap_or(10_000), 15) };
    let folder = tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| "target".into()))
        .expect("a folder on the disk that is measured");
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).expect("a folder for the repository");
    git(&repo, &["init", "-q", "-b", "main", "."]);
    run(agentpm(&repo, "bench").arg("init"));
    fill(&repo, tasks);
    git(&repo, &["add", "-A"]);
    git(&repo, &["commit", "-q", "-m", "the plan"]);
    git(&repo, &["gc", "-q"]);

    println!("store of {tasks} tasks, {rounds} rounds, medians of whole processes");
    println!("{:<58} {:>10} {:>10} {:>7} {:>8}", "", "ours", "floor", "ratio", "at most");
    let this = std::env::current_exe().expect("the path of this program");
    let read = || time(command(&this, &repo).env(FLOOR, repo.join(".agentpm")));
    let (ours, least) = in_turn(rounds, || time(agentpm(&repo, "bench").arg("lint")), read);
    show("lint / reading every file once", ours, least, "5.00");
    let one_core = || time(command("taskset", &repo).args(["-c", "0", env!("CARGO_BIN_EXE_agentpm"), "lint"]));
    let (ours, least) = in_turn(rounds, one_core, read);
    show("lint on one core / reading every file once", ours, least, "-");

    let ids = open_tasks(&repo);
    change(&repo, "bench", &ids[..1]);
    git(&repo, &["add", "-A"]);
    let (ours, least) = in_turn(
        rounds,
        || time(agentpm(&repo, "bench").args(["lint", "--staged"])),
        || time(command("git", &repo).args(["diff", "--cached"])),
    );
    show("lint --staged of one task / git diff --cached", ours, least, "-");

    git(&repo, &["checkout", "-q", "-b", "work"]);
    change(&repo, "bench", &ids[1..=CHANGED.min(ids.len() - 1)]);
    git(&repo, &["add", "-A"]);
    git(&repo, &["commit", "-q", "-m", "work on many tasks"]);
    let (ours, least) = in_turn(
        rounds,
        || time(agentpm(&repo, "bench").args(["review", "main..work"])),
        || time(command("git", &repo).args(["diff", "main..work"])),
    );
    show(&format!("review of {CHANGED} tasks / git diff"), ours, least, "-");
}

/// Reads every file once.
fn floor(top: &Path) {
    let files = walkdir::WalkDir::new(top).into_iter().map(|entry| entry.expect("an entry"));
    let bytes = files.filter(|e| e.file_type().is_file()).map(|e| std::fs::read(e.path()).expect("a file").len());
    println!("{}", bytes.sum::<usize>());
}
