//! Archives and `sync`: a compaction meets late events, redactions and drops of another clone.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::sandbox::shard;
use crate::sync::{Clones, plan};

/// Two clones of a plan, and the task they share.
struct Pair {
    clones: Clones,
    shared: String,
}

impl Pair {
    fn new() -> Self {
        let (clones, shared) = Clones::new(&["bob", "eve"]);
        Pair { clones, shared }
    }

    /// As `new`, where both have seen bob archive the task with a note.
    fn archived() -> Self {
        let pair = Self::new();
        pair.run("bob", &["note", &pair.shared, "--content", "a remarkable note"]);
        pair.archive("bob");
        pair.sync("bob");
        pair.sync("eve");
        pair
    }

    fn run(&self, name: &str, args: &[&str]) -> Value {
        self.clones.run(name, args).data()
    }

    fn sync(&self, name: &str) -> Value {
        self.run(name, &["sync"])
    }

    fn archive(&self, name: &str) {
        self.run(name, &["claim", &self.shared]);
        self.run(name, &["done", &self.shared, "--force", "no tests"]);
        self.run(name, &["task", "archive", &self.shared]);
    }

    fn compact(&self, name: &str) {
        assert_eq!(self.run(name, &["compact", "--older-than", "0s"])["tasks"], 1);
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.clones.dir(name).join(".agentpm/tasks").join(shard(&self.shared)).join(&self.shared)
    }

    /// Both clones have the same plan, all of it committed, and lint finds nothing.
    fn are_alike(&self) {
        assert_eq!(plan(&self.clones, "bob"), plan(&self.clones, "eve"));
        for name in ["bob", "eve"] {
            assert_eq!(self.clones.git(name, &["status", "--porcelain"]).text(), "", "{name}");
            assert_eq!(self.run(name, &["lint"])["findings"], json!([]), "{name}");
        }
    }

    /// Whether the pushed plan holds a text.
    fn is_pushed(&self, text: &str) -> bool {
        self.clones.git("bob", &["fetch", "-q"]).text();
        self.clones.git("bob", &["grep", "-q", text, "origin/main", "--", ".agentpm"]).code == 0
    }
}

#[test]
fn an_archive_that_a_sparse_checkout_leaves_out_loses_nothing() {
    let pair = Pair::archived();
    pair.compact("bob");
    pair.sync("bob");
    pair.sync("eve");
    pair.clones.git("eve", &["sparse-checkout", "set", "--no-cone", "/*", "!/.agentpm/archive/"]).text();
    let other = pair.clones.run("bob", &["add", "other", "--quiet"]).text().to_owned();
    for args in [&["claim", &other][..], &["done", &other, "--force", "no tests"], &["task", "archive", &other]] {
        pair.run("bob", args);
    }
    pair.compact("bob");
    pair.sync("bob");
    pair.sync("eve");
    pair.run("eve", &["add", "of eve"]);
    pair.sync("eve");
    pair.sync("bob");
    pair.clones.git("eve", &["sparse-checkout", "disable"]).text();
    let archives = |name: &str| pair.clones.git(name, &["rev-parse", "HEAD:.agentpm/archive"]).text().to_owned();
    assert_eq!(archives("bob"), archives("eve"));
    for id in [&pair.shared, &other] {
        assert_eq!(pair.run("bob", &["task", "get", id])["status"], "archived");
    }
    assert_eq!(pair.run("eve", &["lint"])["findings"], json!([]));
}

#[test]
fn a_sync_that_brings_events_and_their_compaction_leaves_no_folder() {
    for is_replayed in [false, true] {
        let pair = Pair::new();
        pair.run("bob", &["task", "update", &pair.shared, "--title", "renamed"]);
        pair.archive("bob");
        pair.compact("bob");
        pair.sync("bob");
        if is_replayed {
            pair.run("eve", &["task", "create", "--title", "of eve"]);
        }
        pair.sync("eve");
        assert!(!pair.folder("eve").exists(), "{is_replayed}");
        pair.sync("eve");
        pair.sync("bob");
        assert_eq!(pair.run("eve", &["task", "get", &pair.shared])["status"], "archived");
        pair.are_alike();
    }
}

#[test]
fn a_dropped_task_stays_dropped_after_a_sync() {
    for (eve_compacts, is_replayed) in [(false, false), (false, true), (true, true)] {
        let pair = Pair::archived();
        pair.compact("bob");
        pair.run("bob", &["compact", "--drop-before", "2099-01-01"]);
        pair.sync("bob");
        if eve_compacts {
            pair.compact("eve");
        }
        if is_replayed {
            pair.run("eve", &["task", "create", "--title", "of eve"]);
        }
        pair.sync("eve");
        pair.sync("bob");
        for name in ["bob", "eve"] {
            let error = pair.clones.run(name, &["task", "get", &pair.shared]).error("ERR_NOT_FOUND", 3);
            assert_eq!(error["details"]["dropped"], true, "{name} {eve_compacts} {is_replayed}: {error}");
            assert!(!pair.folder(name).exists());
        }
        pair.are_alike();
    }
}

#[test]
fn a_late_note_brings_back_a_task_that_another_clone_dropped() {
    let pair = Pair::archived();
    pair.compact("bob");
    pair.run("bob", &["compact", "--drop-before", "2099-01-01"]);
    pair.sync("bob");
    pair.run("eve", &["note", &pair.shared, "--content", "a late note"]);
    pair.sync("eve");
    pair.sync("bob");
    for name in ["bob", "eve"] {
        let task = pair.run(name, &["task", "get", &pair.shared]);
        assert!(task.to_string().contains("a late note") && task.to_string().contains("remarkable"), "{task}");
    }
    pair.are_alike();
}

#[test]
fn a_clone_that_never_saw_a_task_closed_takes_its_drop_over_and_misses_nothing() {
    for has_own_commit in [false, true] {
        let (clones, task) = Clones::new(&["bob", "eve"]);
        let run = |name: &str, args: &[&str]| clones.run(name, args).data();
        run("bob", &["sync"]);
        // Eve completes it, so that her journal knows it, and nothing later.
        run("eve", &["sync"]);
        run("eve", &["claim", &task]);
        run("eve", &["done", &task, "--force", "no tests"]);
        run("eve", &["sync"]);
        run("bob", &["sync"]);
        run("bob", &["task", "archive", &task]);
        run("bob", &["compact", "--older-than", "0s"]);
        run("bob", &["compact", "--drop-before", "2099-01-01"]);
        run("bob", &["sync"]);
        if has_own_commit {
            run("eve", &["task", "create", "--title", "of eve"]);
        }
        run("eve", &["sync"]);
        for name in ["eve", "bob"] {
            run(name, &["sync"]);
            let error = clones.run(name, &["task", "get", &task]).error("ERR_NOT_FOUND", 3);
            assert_eq!(error["details"]["dropped"], true, "{name} {has_own_commit}: {error}");
            assert_eq!(run(name, &["recover"])["total"], 0, "{name} {has_own_commit}");
        }
    }
}

#[test]
fn a_task_that_was_dropped_and_opened_again_is_lost_to_nobody_who_removes_its_files() {
    let pair = Pair::archived();
    pair.compact("bob");
    pair.run("bob", &["compact", "--drop-before", "2099-01-01"]);
    pair.sync("bob");
    pair.run("eve", &["task", "reopen", &pair.shared, "--reason", "it broke"]);
    pair.sync("eve");
    pair.sync("bob");
    let lint = |name: &str| pair.clones.run(name, &["lint"]).json()["data"]["findings"].to_string();
    for commits in [false, true] {
        std::fs::remove_dir_all(pair.folder("bob")).unwrap();
        if commits {
            pair.clones.git("bob", &["commit", "-qam", "without it", "--no-verify"]).text();
        }
        assert!(lint("bob").contains("task-deleted"), "{}", lint("bob"));
        pair.sync("bob");
        pair.sync("eve");
        for name in ["bob", "eve"] {
            assert_eq!(pair.run(name, &["task", "get", &pair.shared])["status"], "open", "{name} {commits}");
        }
    }
    // What only this clone knew of it is not hidden either.
    pair.run("bob", &["note", &pair.shared, "--content", "of bob alone"]);
    pair.clones.git("bob", &["checkout", "-q", "--", "."]).text();
    assert!(pair.run("bob", &["recover"]).to_string().contains("of bob alone"));
}

#[test]
fn a_sync_pushes_the_whole_log_of_a_task_reopened_there_and_noted_and_compacted_here() {
    for is_noted_first in [false, true] {
        let pair = Pair::archived();
        pair.compact("bob");
        pair.sync("bob");
        pair.sync("eve");
        let reopen = || pair.run("bob", &["task", "reopen", &pair.shared, "--reason", "it broke"]);
        let note = || {
            pair.run("eve", &["note", &pair.shared, "--content", "a note before the compaction"]);
            pair.compact("eve");
        };
        match is_noted_first {
            true => {
                note();
                pair.sync("eve");
                reopen();
                pair.sync("bob");
            }
            false => {
                reopen();
                pair.sync("bob");
                note();
                pair.sync("eve");
            }
        }
        let path = pair.folder("bob").join("events.jsonl");
        let path = path.strip_prefix(pair.clones.dir("bob")).unwrap().display().to_string();
        pair.clones.git("bob", &["fetch", "-q"]).text();
        let log = pair.clones.git("bob", &["show", &format!("origin/main:{path}")]);
        assert!(log.text().contains("before the compaction") && log.text().contains("TaskReopened"), "{log:?}");
        pair.sync("eve");
        pair.sync("bob");
        assert_eq!(pair.run("eve", &["task", "get", &pair.shared])["status"], "open");
        pair.are_alike();
    }
}

#[test]
fn a_sync_pushes_no_redacted_text() {
    // Who syncs first; whether the task is in an archive before; whether the redacted task is compacted too.
    for (redacts_first, was_compacted, compacts_both) in
        [(true, false, false), (false, false, false), (true, true, false), (true, false, true), (false, false, true)]
    {
        let case = format!("{redacts_first} {was_compacted} {compacts_both}");
        let pair = Pair::archived();
        if was_compacted {
            pair.compact("bob");
            pair.sync("bob");
            pair.sync("eve");
            // In the later month it moves into another archive.
            pair.run("eve", &["note", &pair.shared, "--content", "one more"]);
        }
        let note = pair.run("bob", &["task", "get", &pair.shared])["context"][0]["id"].as_str().unwrap().to_owned();
        pair.run("bob", &["context", "redact", &note, "--reason", "a secret"]);
        if compacts_both {
            pair.compact("bob");
        }
        pair.compact("eve");
        let (first, second) = if redacts_first { ("bob", "eve") } else { ("eve", "bob") };
        pair.sync(first);
        pair.sync(second);
        assert!(!pair.is_pushed("remarkable"), "{case}");
        pair.sync(first);
        let task = pair.run("eve", &["task", "get", &pair.shared]);
        assert_eq!((&task["context"][0]["redacted"], &task["status"]), (&json!(true), &json!("archived")), "{case}");
        pair.are_alike();
    }
}

#[test]
fn a_redacted_text_in_an_archive_is_named_and_taken_out() {
    for is_compacted in [false, true] {
        let pair = Pair::archived();
        pair.compact("bob");
        let archive = fs::read_dir(pair.clones.dir("bob").join(".agentpm/archive")).unwrap().next().unwrap();
        let archive = archive.unwrap().path();
        let with_text = fs::read_to_string(&archive).unwrap();
        let note = pair.run("bob", &["task", "get", &pair.shared])["context"][0]["id"].as_str().unwrap().to_owned();
        pair.run("bob", &["context", "redact", &note, "--reason", "a secret"]);
        if is_compacted {
            pair.compact("bob");
        }
        let rest = fs::read_to_string(&archive).unwrap_or_default();
        fs::write(&archive, with_text + &rest).unwrap();
        let found = pair.clones.run("bob", &["lint"]).json()["data"].to_string();
        assert!(found.contains("text-redacted") && found.contains(&note), "{is_compacted}: {found}");
        pair.run("bob", &["resolve"]);
        assert!(!fs::read_to_string(&archive).unwrap_or_default().contains("remarkable"), "{is_compacted}");
        assert_eq!(pair.run("bob", &["lint"])["findings"], json!([]), "{is_compacted}");
    }
}

#[test]
fn a_sync_that_leaves_an_archive_out_keeps_the_tasks_that_are_in_it() {
    let pair = Pair::archived();
    pair.compact("bob");
    let folder = fs::read_dir(pair.clones.dir("bob").join(".agentpm/archive")).unwrap();
    let archive = folder.map(|one| one.unwrap().path()).next().expect("an archive");
    // More than is read of one.
    fs::File::options().write(true).open(&archive).unwrap().set_len((128 << 20) + 1).unwrap();
    let synced = pair.clones.run("bob", &["sync"]);
    assert!(synced.stderr.contains("was not committed"), "{synced:?}");
    let path = format!(".agentpm/tasks/{}/{}/events.jsonl", shard(&pair.shared), pair.shared);
    let kept = pair.clones.git("bob", &["cat-file", "-e", &format!("origin/main:{path}")]);
    assert_eq!(kept.code, 0, "{kept:?}");
}
