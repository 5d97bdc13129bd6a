//! A sealed room for a story: its own HOME, an empty environment, hermetic git settings, ids from a seed.

use std::cell::Cell;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::machine::Deadline;

/// The folders below `tasks` that a task lies in, such as `P/8`.
pub fn shard(id: &str) -> String {
    let (x, y) = id[id.len() - 2..].split_at(1);
    format!("{x}/{y}")
}

/// A throw-away repository with everything around it.
pub struct Sandbox {
    // Before the folder: what still runs in it is ended first.
    _deadline: Deadline,
    folder: tempfile::TempDir,
    seed: Cell<u64>,
    /// Fixed clock of the next commands; `None` for the real one.
    clock: Cell<Option<&'static str>>,
}

/// What a command answered.
#[must_use = "an answer must be checked"]
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn from(output: Output) -> Self {
        Answer {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The envelope, which every answer to a pipe must be.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON document ({e}): {self:?}"))
    }

    /// The data of a success.
    #[track_caller]
    pub fn data(&self) -> Value {
        assert_eq!(self.code, 0, "{self:?}");
        let json = self.json();
        assert_eq!(json["ok"], true, "{self:?}");
        json["data"].clone()
    }

    /// The error of a failure, after a look at its code and exit code.
    #[track_caller]
    pub fn error(&self, code: &str, exit: i32) -> Value {
        let json = self.json();
        assert_eq!((json["error"]["code"].as_str(), self.code), (Some(code), exit), "{self:?}");
        assert_eq!(json["ok"], false);
        json["error"].clone()
    }

    /// The printed text of a success, without the last newline.
    #[track_caller]
    pub fn text(&self) -> &str {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim_end_matches('\n')
    }
}

impl Sandbox {
    /// A repository without a store.
    pub fn bare_repo() -> Self {
        static REPOSITORY: OnceLock<Template> = OnceLock::new();
        let repository = REPOSITORY.get_or_init(|| {
            let made = Self::nothing();
            made.git(&["init", "-q", "-b", "main", "."]).text();
            Template::of(&made.repo())
        });
        let sandbox = Self::nothing();
        repository.write(&sandbox.repo());
        sandbox
    }

    /// A folder that is no repository.
    pub fn nothing() -> Self {
        let folder = crate::machine::folder();
        fs::create_dir(folder.path().join("home")).expect("a home");
        fs::create_dir(folder.path().join("repo")).expect("a folder for the repository");
        Sandbox { _deadline: Deadline::of(folder.path()), folder, seed: Cell::new(0), clock: Cell::new(None) }
    }

    /// A repository with an empty store, and without the merge driver: stories say themselves how git merges.
    pub fn new() -> Self {
        static STORE: OnceLock<Template> = OnceLock::new();
        let store = STORE.get_or_init(|| {
            let made = Self::bare_repo();
            made.run(&["init", "--no-driver"]).data();
            Template::of(&made.repo())
        });
        let sandbox = Self::nothing();
        store.write(&sandbox.repo());
        // The ids that follow are those after `init`.
        sandbox.seed.set(1);
        sandbox
    }

    /// Fixes the clock of the commands that follow.
    pub fn at(&self, clock: &'static str) -> &Self {
        self.clock.set(Some(clock));
        self
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Top of the work tree.
    pub fn repo(&self) -> PathBuf {
        self.folder.path().join("repo")
    }

    /// A path beside the repository.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.repo().join(".agentpm")
    }

    /// The folder of a task.
    pub fn task_dir(&self, id: &str) -> PathBuf {
        self.store().join("tasks").join(shard(id)).join(id)
    }

    pub fn log_of(&self, id: &str) -> PathBuf {
        self.task_dir(id).join("events.jsonl")
    }

    pub fn yaml_of(&self, id: &str) -> PathBuf {
        self.task_dir(id).join("task.yaml")
    }

    /// A program with nothing of the outer world.
    pub fn sealed(&self, program: impl AsRef<std::ffi::OsStr>, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(sealed_vars(&self.home())).current_dir(dir).stdin(Stdio::null());
        command
    }

    /// agentpm as agent `ada` in a folder, ready to be started.
    pub fn agentpm_in(&self, dir: &Path) -> Command {
        self.as_ada(env!("CARGO_BIN_EXE_agentpm"), dir)
    }

    /// Another program at the top of the work tree, in the surroundings that agentpm would have.
    pub fn agentpm_like(&self, program: &str) -> Command {
        self.as_ada(program, &self.repo())
    }

    fn as_ada(&self, program: &str, dir: &Path) -> Command {
        let mut command = self.sealed(program, dir);
        self.seed.set(self.seed.get() + 1);
        command.env("AGENTPM_AGENT", "ada").env("AGENTPM_SEED", format!("test-{}", self.seed.get()));
        if let Some(clock) = self.clock.get() {
            command.env("AGENTPM_CLOCK", clock);
        }
        command
    }

    pub fn agentpm(&self) -> Command {
        self.agentpm_in(&self.repo())
    }

    /// Runs agentpm as `ada` at the top of the work tree.
    pub fn run(&self, args: &[&str]) -> Answer {
        Answer::from(self.agentpm().args(whole(args)).output().expect("agentpm starts"))
    }

    /// The same, with the short answer that a change gives by default.
    pub fn run_short(&self, args: &[&str]) -> Answer {
        Answer::from(self.agentpm().args(args).output().expect("agentpm starts"))
    }

    /// The same as another agent.
    pub fn run_as(&self, agent: &str, args: &[&str]) -> Answer {
        Answer::from(self.agentpm().env("AGENTPM_AGENT", agent).args(whole(args)).output().expect("agentpm starts"))
    }

    /// The same in another folder.
    pub fn run_in(&self, dir: &Path, args: &[&str]) -> Answer {
        Answer::from(self.agentpm_in(dir).args(whole(args)).output().expect("agentpm starts"))
    }

    pub fn git(&self, args: &[&str]) -> Answer {
        self.git_in(&self.repo(), args)
    }

    pub fn git_in(&self, dir: &Path, args: &[&str]) -> Answer {
        Answer::from(self.sealed("git", dir).args(args).output().expect("git starts"))
    }

    /// Creates a task and gives its id.
    #[track_caller]
    pub fn task(&self, title: &str, more: &[&str]) -> String {
        let mut args = vec!["task", "create", "--title", title, "--quiet"];
        args.extend(more);
        self.run(&args).text().to_owned()
    }

    /// A task as it now stands.
    #[track_caller]
    pub fn get(&self, id: &str) -> Value {
        self.run(&["task", "get", id, "--full"]).data()
    }

    /// Runs agentpm with bytes on its standard input.
    pub fn feed(&self, args: &[&str], input: &[u8]) -> Answer {
        let mut command = self.agentpm();
        let mut child = command
            .args(whole(args))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("agentpm starts");
        // A program that refuses before it has read everything is fine.
        let _ = child.stdin.take().expect("a pipe").write_all(input);
        Answer::from(child.wait_with_output().expect("agentpm ends"))
    }

    /// What lint finds, good or bad; its exit code must agree with it.
    #[track_caller]
    pub fn findings(&self) -> Vec<Value> {
        let answer = self.run(&["lint"]);
        let report = answer.json()["data"].clone();
        let findings = report["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
        let bad = findings.iter().any(|f| f["severity"] == "error");
        assert_eq!(answer.code, i32::from(bad), "{answer:?}");
        findings
    }

    /// The codes of what lint finds, sorted, each once.
    #[track_caller]
    pub fn finding_codes(&self) -> Vec<String> {
        let mut codes: Vec<String> =
            self.findings().iter().map(|f| f["code"].as_str().expect("a code").to_owned()).collect();
        codes.sort();
        codes.dedup();
        codes
    }

    /// Asserts that lint finds nothing at all.
    #[track_caller]
    pub fn is_clean(&self) {
        let report = self.run(&["lint"]).data();
        assert_eq!(report["findings"], serde_json::json!([]), "{report:#}");
    }
}

/// What a new repository consists of: made once, and written for every story that begins with it.
struct Template(Vec<(PathBuf, Option<Vec<u8>>)>);

impl Template {
    fn of(folder: &Path) -> Self {
        let found = walkdir::WalkDir::new(folder).min_depth(1).into_iter().map(|entry| {
            let entry = entry.expect("a file of the template");
            let bytes = entry.file_type().is_file().then(|| fs::read(entry.path()).expect("its bytes"));
            let place = entry.path().strip_prefix(folder).expect("a path in the template").to_owned();
            (place, bytes)
        });
        Template(found.collect())
    }

    fn write(&self, folder: &Path) {
        for (place, bytes) in &self.0 {
            let path = folder.join(place);
            match bytes {
                Some(bytes) => fs::write(path, bytes).expect("a file"),
                None => fs::create_dir(path).expect("a folder"),
            }
        }
    }
}

/// The variables of a sealed room with this home.
pub fn sealed_vars(home: &Path) -> Vec<(&'static str, std::ffi::OsString)> {
    crate::machine::starts_in(home);
    vec![
        ("PATH", crate::machine::path().to_owned()),
        ("HOME", home.into()),
        ("LC_ALL", "C".into()),
        ("GIT_CONFIG_NOSYSTEM", "1".into()),
        ("GIT_CONFIG_GLOBAL", concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/gitconfig").into()),
        ("GIT_AUTHOR_NAME", "Test".into()),
        ("GIT_AUTHOR_EMAIL", "test@example.invalid".into()),
        ("GIT_COMMITTER_NAME", "Test".into()),
        ("GIT_COMMITTER_EMAIL", "test@example.invalid".into()),
    ]
}

/// A table of cases as a module of tests: each case is a test of its own name, which a check gets with the case.
macro_rules! cases {
    ($group:ident by $check:ident { $($name:ident: $case:expr,)+ }) => {
        mod $group {
            use super::*;
            $(#[test] fn $name() { $check(stringify!($name), $case) })+
        }
    };
}
pub(crate) use cases;

/// How many rounds of a long test are played: a tenth of `full`, all where `AGENTPM_ROUNDS` is `full`, or as many as `ROUNDS` says.
pub fn rounds(full: usize) -> usize {
    let asked = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| if plays_all() { full } else { full.div_ceil(10) })
}

/// Whether long tests play all that they have.
pub fn plays_all() -> bool {
    std::env::var("AGENTPM_ROUNDS").is_ok_and(|rounds| rounds == "full")
}

/// Skips a test whose plan must be so large that it takes as long as dozens of others.
macro_rules! needs_all_rounds {
    () => {
        if !crate::sandbox::plays_all() {
            crate::machine::skip("AGENTPM_ROUNDS=full");
            return;
        }
    };
}
pub(crate) use needs_all_rounds;

/// The cases that are played: of many every tenth, or all.
pub fn some<T>(mut cases: Vec<T>) -> Vec<T> {
    let mut n = 0;
    if !plays_all() {
        cases.retain(|_| {
            n += 1;
            n % 10 == 1
        });
    }
    cases
}

/// What a program has printed so far.
#[cfg(any(feature = "server", feature = "mcp"))]
pub type Collected = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

/// What arrives through a pipe, which is never full.
#[cfg(any(feature = "server", feature = "mcp"))]
pub fn collect(mut pipe: impl std::io::Read + Send + 'static) -> Collected {
    let collected = Collected::default();
    let all = std::sync::Arc::clone(&collected);
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut part) {
            all.lock().unwrap().extend_from_slice(&part[..n]);
        }
    });
    collected
}

/// How long a story waits for one thing.
pub const WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Waits until something is so, and fails with what was waited for where it never is.
pub fn wait_for(what: &str, is_so: impl FnMut() -> bool) {
    wait_at_most(WAIT, what, is_so);
}

/// As [`wait_for`], for something that may take longer or shorter.
pub fn wait_at_most(most: std::time::Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + most;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The arguments of a command, and for a change `--full`: stories look at all of what a change did. `receipts` tests the short
/// answers.
fn whole<'a>(args: &[&'a str]) -> Vec<&'a str> {
    const CHANGES: &[&str] = &["add", "claim", "next", "done", "release", "note", "undo", "progress", "context"];
    const OF_TASKS: &[&str] =
        &["create", "update", "transition", "block", "unblock", "archive", "reopen", "verify", "relate", "unrelate"];
    let is_change = match args {
        ["task", verb, ..] => OF_TASKS.contains(verb),
        ["conflicts", verb, ..] => ["restore", "keep"].contains(verb),
        [verb, ..] => CHANGES.contains(verb),
        [] => false,
    };
    let mut args = args.to_vec();
    if is_change {
        // Before what a `--` may begin, and behind a verb that has verbs of its own.
        args.insert(if args[0] == "conflicts" { 2 } else { 1 }, "--full");
    }
    if args.first() == Some(&"next") && args.contains(&"--claim") {
        // Stories often let one agent hold several tasks.
        args.push("--another");
    }
    args
}
