//! The fuzz targets as ordinary tests: their functions over the committed corpus, and over inputs that are spoiled from a seed.
//!
//! `SEED` and `ROUNDS` choose what is played. A crasher of a fuzz target becomes a file of the corpus.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

#[cfg_attr(not(feature = "server"), expect(dead_code, reason = "a request needs a server"))]
#[path = "../../fuzz/src/targets.rs"]
mod targets;

use targets::Repository;

use crate::fuzzed::{Dice, spoil};
use crate::sandbox::{Sandbox, rounds, sealed_vars};

/// The files of a corpus, by name.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = crate::tidy::root().join("fuzz/corpus").join(target);
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
    };
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(file).collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// Gives a function each file of a corpus, and so many spoiled ones.
fn play(target: &str, most: usize, act: impl Fn(&[u8])) {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_130);
    let (files, mut dice, mut failed) = (corpus(target), Dice(seed), Vec::new());
    let mut holds = |what: String, bytes: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| act(bytes))).is_err() {
            failed.push(format!("{what}: {:.400}", format!("{:?}", String::from_utf8_lossy(bytes))));
        }
    };
    for (name, bytes) in &files {
        holds(name.clone(), bytes);
    }
    for round in 0..rounds(most) {
        let (name, mut bytes) = dice.of(&files).clone();
        let how: Vec<String> = (0..=dice.below(3)).map(|_| spoil(&mut dice, &mut bytes)).collect();
        holds(format!("SEED={seed} round {round}, {name}: {}", how.join(", ")), &bytes);
    }
    let count = failed.len();
    failed.truncate(5);
    assert!(failed.is_empty(), "{count} failed: {failed:#?}");
}

#[test]
fn log_line() {
    play("log_line", 20_000, targets::log_line);
}

#[test]
fn log() {
    play("log", 3_000, targets::log);
}

#[test]
fn journal() {
    play("journal", 1_000, targets::journal);
}

#[test]
fn task_yaml() {
    play("task_yaml", 5_000, targets::task_yaml);
}

#[test]
fn roles() {
    play("roles", 10_000, targets::roles);
}

#[test]
fn merge() {
    play("merge", 1_000, targets::merge);
}

#[test]
fn query() {
    play("query", 20_000, targets::query);
}

#[test]
fn json_patch() {
    play("json_patch", 10_000, targets::json_patch);
}

#[test]
fn review() {
    let room = Sandbox::new();
    room.task("a task", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-qm", "plan"]).text();
    let vars =
        sealed_vars(&room.home()).into_iter().map(|(name, value)| (name.to_owned(), value.into_string().unwrap()));
    let repository = Repository { top: room.repo(), vars: vars.collect() };
    play("review", 100, |bytes| targets::review(&repository, bytes));
}

#[cfg(feature = "server")]
#[test]
fn http_request() {
    let room = Sandbox::new();
    let server = crate::server::Server::start(&room, &["--rate", "1000000"]);
    play("http_request", 2_000, |bytes| targets::http_request(&server.socket, bytes));
}

/// Every target has a test of its name here, a program in `fuzz`, and a corpus.
#[test]
fn every_target_is_played() {
    let (root, here) = (crate::tidy::root(), include_str!("corpus.rs"));
    let names = |folder: &str| -> Vec<String> {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = fs::read_dir(root.join(folder)).unwrap().map(name).collect();
        names.sort();
        names
    };
    let targets = names("fuzz/fuzz_targets");
    assert_eq!(names("fuzz/corpus"), targets);
    for target in targets {
        assert!(here.contains(&format!("#[test]\nfn {target}() {{")), "{target} is not played");
    }
}
