//! Where it is measured: a folder on the disk, the stores in it, and programs in clean surroundings.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::asked::Asked;
use crate::run::run;
use crate::store;

/// A folder that vanishes at the end, and what was asked for.
pub struct Room {
    folder: tempfile::TempDir,
    pub asked: &'static Asked,
    begun: Instant,
}

/// A repository with the standard store, committed, all caches warm. It vanishes when it is dropped.
pub struct Repo {
    pub path: PathBuf,
    pub tasks: usize,
    /// Tasks that can be begun, in an order of no meaning.
    pub open: Vec<String>,
}

impl Drop for Repo {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

impl Room {
    /// An empty one, on the disk that holds the build.
    pub fn new(asked: &Asked) -> Self {
        let near = option_env!("CARGO_TARGET_TMPDIR").map_or_else(|| "target".into(), PathBuf::from);
        std::fs::create_dir_all(&near).expect("a folder for what is built");
        let folder = tempfile::tempdir_in(near).expect("a folder on the disk that is measured");
        // It lives as long as the program.
        Room { folder, asked: Box::leak(Box::new(asked.clone())), begun: Instant::now() }
    }

    /// A path in it.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Says on standard error where a long run is.
    pub fn tell(&self, what: &str) {
        if !self.asked.small {
            eprintln!("{:>5} s  {what}", self.begun.elapsed().as_secs());
        }
    }

    /// A repository with an empty store, its `.gitignore` and settings as `init` makes them.
    pub fn empty(&self, name: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir(&path).expect("a folder for the repository");
        run(git(&path, &["init", "-q", "-b", "main", "."]));
        run(agentpm(&path, "bench", &["init"]));
        path
    }

    /// The standard store.
    pub fn standard(&self, tasks: usize) -> Repo {
        self.standard_as(tasks, &format!("of-{tasks}"))
    }

    /// The standard store, in a folder of this name.
    pub fn standard_as(&self, tasks: usize, name: &str) -> Repo {
        self.tell(&format!("making the store of {tasks} tasks"));
        let path = self.empty(name);
        store::write(&path, tasks);
        store::commit(&path, |args| git(&path, args));
        self.settle();
        let open = store::open_tasks(tasks);
        let repo = Repo { path, tasks, open };
        run(agentpm(&repo.path, "bench", &["next"]));
        repo
    }

    /// A copy of a repository, with git's and our knowledge of its files brought up to date.
    pub fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.at(name);
        copy(from, &to);
        run(git(&to, &["update-index", "-q", "--refresh"]));
        run(agentpm(&to, "bench", &["next"]));
        to
    }

    /// Brings to the disk what was written, so that what is measured next has not to.
    pub fn settle(&self) {
        if !self.asked.small {
            run(command("sync", self.folder.path(), &["-f", "."]));
        }
    }
}

/// A copy of a folder, as it is.
pub fn copy(from: &Path, to: &Path) {
    let mut copy = command("cp", Path::new("/"), &["-a"]);
    copy.arg(from).arg(to);
    run(copy);
}

/// A program in clean surroundings.
pub fn command(program: impl AsRef<std::ffi::OsStr>, dir: &Path, args: &[&str]) -> Command {
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
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null());
    command
}

/// Git.
pub fn git(dir: &Path, args: &[&str]) -> Command {
    command("git", dir, args)
}

/// The floor of what reads: git looking at every file, with its index warm and nobody who watches for it.
pub fn git_status(dir: &Path) -> Command {
    git(dir, &["-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "status", "--porcelain"])
}

/// The program that is measured, as an agent.
pub fn agentpm(dir: &Path, agent: &str, args: &[&str]) -> Command {
    let mut command = command(env!("CARGO_BIN_EXE_agentpm"), dir, args);
    command.env("AGENTPM_AGENT", agent);
    command
}

/// Changes two fields of each of these tasks, by one batch.
pub fn change(repo: &Path, agent: &str, tasks: &[String]) {
    let op = |(n, task): (usize, &String)| serde_json::json!({ "op": "task.update", "args": { "id": task, "title": format!("{agent} {n}"), "estimate": "2h" } });
    let ops: Vec<serde_json::Value> = tasks.iter().enumerate().map(op).collect();
    let file = repo.with_extension("ops.json");
    std::fs::write(&file, serde_json::Value::from(ops).to_string()).expect("the batch is written");
    run(agentpm(repo, agent, &["batch", "--file", &file.display().to_string()]));
}
