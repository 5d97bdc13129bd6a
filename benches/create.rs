//! What a `create` costs beside the least any program could do for it.
//!
//! The floor is a program that starts, appends 300 bytes to a file and calls fdatasync once. Both are whole processes, run in
//! turn on the same disk, so that the ratio means something on a noisy machine.
//!
//! ```text
//! cargo bench --bench create            1 000 tasks, 200 rounds
//! cargo bench --bench create -- 10000   another size of the store
//! ```
#![expect(clippy::disallowed_methods, reason = "a benchmark stands outside the program and drives it")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FLOOR: &str = "AGENTPM_BENCH_FLOOR";
const ROUNDS: usize = 200;

fn main() {
    if let Some(path) = std::env::var_os(FLOOR) {
        return floor(Path::new(&path));
    }
    let asked = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    // `cargo test --benches` only asks whether the benchmark works.
    let (tasks, rounds) =
        if std::env::args().any(|arg| arg == "--test") { (10, 2) } else { (asked.unwrap_or(1_000), ROUNDS) };
    let folder = tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_TMPDIR").unwrap_or_else(|| "target".into()))
        .expect("a folder on the disk that is measured");
    let repo = folder.path().join("repo");
    std::fs::create_dir(&repo).expect("a folder for the repository");
    run(command("git", &repo).args(["init", "-q", "."]));
    run(agentpm(&repo).arg("init"));
    fill(&repo, tasks);

    let this = std::env::current_exe().expect("the path of this program");
    let file = folder.path().join("floor.dat");
    let (mut ours, mut least, mut help) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        least.push(time(command(&this, &repo).env(FLOOR, &file)));
        ours.push(time(agentpm(&repo).args(["task", "create", "--title", "one more task", "--quiet"])));
        help.push(time(agentpm(&repo).arg("--version")));
    }
    let (ours, least, help) = (median(ours), median(least), median(help));
    println!("store of {tasks} tasks, {rounds} rounds, medians of whole processes");
    println!("floor (start, append 300 bytes, fdatasync)  {:>8.2} ms", ms(least));
    println!("agentpm --version                           {:>8.2} ms", ms(help));
    println!("agentpm task create, acknowledged           {:>8.2} ms", ms(ours));
    println!("ratio create / floor                        {:>8.2}", ms(ours) / ms(least));
}

fn floor(path: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the file opens");
    file.write_all(&[b'x'; 300]).expect("the file is written");
    file.sync_data().expect("the file is flushed");
}

fn fill(repo: &Path, tasks: usize) {
    let steps: Vec<String> =
        (0..tasks).map(|n| format!(r#"{{"op":"task.create","args":{{"title":"task number {n}"}}}}"#)).collect();
    let file = repo.join("ops.json");
    std::fs::write(&file, format!("[{}]", steps.join(","))).expect("the batch is written");
    run(agentpm(repo).args(["batch", "--file", "ops.json"]));
}

fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

fn agentpm(dir: &Path) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_agentpm"), dir);
    command.env("AGENTPM_AGENT", "bench");
    command
}

fn run(command: &mut Command) {
    let status = command.status().expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
}

fn time(command: &mut Command) -> Duration {
    let begun = Instant::now();
    run(command);
    begun.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
