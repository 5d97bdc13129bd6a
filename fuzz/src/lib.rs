//! The functions of the fuzz targets, and the places that they need.

mod targets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use agentpm::engine::{self, Options};
use agentpm::env::Env;
use agentpm::server::{RATE, Serving, serve};

pub use targets::{
    Repository, http_request, journal, json_patch, log, log_line, merge, query, review, roles, task_yaml,
};

/// A repository with an empty plan, which stays until the system clears its temporary files.
pub fn repository() -> Repository {
    let folder = tempfile::tempdir().expect("a folder").keep();
    let top = folder.join("repo");
    std::fs::create_dir(&top).expect("a folder");
    let home = folder.display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let vars = [
        ("PATH", path.as_str()),
        ("HOME", &home),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@example.invalid"),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@example.invalid"),
        ("AGENTPM_AGENT", "ada"),
    ];
    let vars = BTreeMap::from(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let repository = Repository { top, vars };
    repository.git(&["init", "-q", "-b", "main", "."]);
    engine::init(&environment(&repository), &Options::default(), None, false).expect("a plan");
    repository.git(&["add", "-A"]);
    repository.git(&["commit", "-q", "-m", "plan"]);
    repository
}

fn environment(repository: &Repository) -> Env {
    Env::new(repository.vars.clone(), repository.top.clone()).expect("an environment")
}

/// Serves a new plan as long as the process lives. Returns the path of the socket.
pub fn server() -> PathBuf {
    let (say, hear) = mpsc::channel();
    thread::spawn(move || {
        let ready = |addresses: &agentpm::server::Addresses| drop(say.send(addresses.socket.clone()));
        serve(environment(&repository()), Options::default(), Serving { tcp: None, rate: RATE * 1_000 }, ready)
    });
    hear.recv().expect("the server answers")
}
