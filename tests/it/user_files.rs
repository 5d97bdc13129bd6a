//! No command changes what is the user's: index, staged hunks, dirty, untracked and ignored files, stash, branches, tags, settings
//! are the same before and after each command that uses git.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;

use serde_json::Value;

use crate::sandbox::shard;
use crate::sync::Clones;

/// What a command may do to the branch that is checked out.
#[derive(Clone, Copy, PartialEq)]
enum Branch {
    Stays,
    Moves,
}
use Branch::{Moves, Stays};

/// Ids that the commands name.
struct Ids {
    shared: String,
    mine: String,
    free: String,
    event: String,
}

/// One test for each command: what it may do to the branch, its arguments, and what its answer contains if it did something.
macro_rules! commands {
    ($($name:ident: $branch:ident, $args:expr, $did:expr;)+) => {
        mod nothing_of_the_users_is_changed_by {
            use super::*;

            $(#[test] fn $name() { leaves_user_files(stringify!($name), $branch, $args, $did) })+
        }
    };
}

commands! {
    resolve: Stays, |_| vec!["resolve"], |data| !data["items"].as_array().unwrap().is_empty();
    sync_dry_run: Stays, |_| vec!["sync", "--plan"], |data| data["dry_run"] == true;
    sync_without_push: Moves, |_| vec!["sync", "--no-push"], |data| data["committed"].is_string();
    sync: Moves, |_| vec!["sync"], |data| data["pushed"] == true;
    sync_pull: Stays, |_| vec!["sync", "pull"], |data| !data["items"].as_array().unwrap().is_empty();
    next: Stays, |_| vec!["next"], Value::is_object;
    next_claim: Stays, |_| vec!["next", "--claim", "--another"], |data| data["lease"].is_object();
    ready_explain: Stays, |_| vec!["ready", "--explain"], Value::is_object;
    claim: Stays, |ids| vec!["claim", &ids.free], |data| data["lease"]["fence"].is_number();
    done: Stays, |ids| vec!["done", &ids.mine], |data| data["status"] == "completed";
    conflicts: Stays, |_| vec!["conflicts"], |data| data["items"].is_array();
    review: Stays, |_| vec!["review", "HEAD~1..origin/main"], Value::is_object;
    diff: Stays, |_| vec!["diff", "HEAD~1"], |data| !data["items"].as_array().unwrap().is_empty();
    task_get_at_a_revision: Stays, |ids| vec!["task", "get", &ids.shared, "--at", "HEAD~1"], Value::is_object;
    blame: Stays, |ids| vec!["blame", &ids.shared], Value::is_object;
    doctor: Stays, |_| vec!["doctor"], |data| data["checks"].is_array();
    recover: Stays, |_| vec!["recover", "--all"], |data| data["total"] == 1;
    lint_fix: Stays, |_| vec!["lint", "--fix"], |data| !data["fixed"].as_array().unwrap().is_empty();
    undo: Stays, |ids| vec!["undo", &ids.event], Value::is_object;
}

#[track_caller]
fn leaves_user_files(name: &str, branch: Branch, args: fn(&Ids) -> Vec<&str>, did: fn(&Value) -> bool) {
    let (clones, ids) = a_clone_in_use();
    if name == "resolve" {
        leave_a_conflict(&clones, &ids.shared);
    }
    clones.git("ada", &["status"]).text();
    let before = users_all(&clones, branch);
    let answer = clones.run("ada", &args(&ids));
    assert!(answer.code == 0 || name == "doctor", "{answer:?}");
    let data = answer.json()["data"].clone();
    assert!(did(&data), "{data:#}");
    let after = users_all(&clones, branch);
    for (what, was) in &before {
        assert_eq!(&after[what], was, "{what}");
    }
    assert_eq!(after.len(), before.len());
}

/// Two clones apart, one of them with something of everything that a user may have lying about.
fn a_clone_in_use() -> (Clones, Ids) {
    let (clones, shared) = Clones::new(&["ada", "bob"]);
    let create = |title: &str| clones.run("ada", &["task", "create", "--title", title, "--quiet"]).text().to_owned();
    let (mine, free, edited) = (create("mine"), create("free"), create("to be edited"));
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("bob", &["task", "update", &shared, "--title", "by bob"]).data();
    clones.run("bob", &["sync"]).data();

    // An event that a hard reset threw away, whose task no branch holds.
    create("gone");
    clones.git("ada", &["add", "-A"]).text();
    clones.git("ada", &["commit", "-q", "-m", "to be thrown away"]).text();
    clones.git("ada", &["reset", "-q", "--hard", "HEAD~1"]).text();
    clones.git("ada", &["fetch", "-q"]).text();

    clones.commit_code("ada", "notes.txt", "notes\n");
    clones.commit_code("ada", "trusted.txt", "trusted\n");
    clones.make_a_mess("ada");
    clones.write("ada", "notes.txt", "notes, dirty\n");
    clones.git("ada", &["update-index", "--assume-unchanged", "trusted.txt"]).text();
    clones.write("ada", "trusted.txt", "trusted, changed\n");
    clones.write("ada", "meant.txt", "meant to be added\n");
    clones.git("ada", &["add", "-N", "meant.txt"]).text();
    clones.write("ada", ".git/info/exclude", "ignored.txt\n");
    clones.write("ada", "ignored.txt", "ignored\n");
    clones.git("ada", &["tag", "-a", "v2", "-m", "a tag with words"]).text();

    clones.run("ada", &["task", "update", &shared, "--title", "by ada"]).data();
    clones.run("ada", &["claim", &mine]).data();
    let log = clones.run("ada", &["log", &shared, "--by", "ada", "--all"]).data();
    let event = log["items"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    let yaml = clones.log("ada", &edited).with_file_name("task.yaml");
    let text = std::fs::read_to_string(&yaml).unwrap();
    std::fs::write(&yaml, text.replace("title: to be edited", "title: edited by hand")).unwrap();
    (clones, Ids { shared, mine, free, event })
}

/// Leaves a log in git's index as a merge that conflicted would: without a merge, which no git begins on top of staged work.
fn leave_a_conflict(clones: &Clones, task: &str) {
    let path = format!(".agentpm/tasks/{}/{task}/events.jsonl", shard(task));
    let blob = |revision: &str| clones.git("ada", &["rev-parse", &format!("{revision}:{path}")]).text().to_owned();
    let (ours, theirs) = (blob("HEAD"), blob("origin/main"));
    let lines = format!("0 {}\t{path}\n100644 {ours} 2\t{path}\n100644 {theirs} 3\t{path}\n", "0".repeat(40));
    clones.write("ada", "../lines", &lines);
    let script = "git update-index --index-info < ../lines";
    let output = clones.room.sealed("sh", &clones.dir("ada")).args(["-c", script]).output().unwrap();
    crate::sandbox::Answer::from(output).text();
}

/// All that is the user's. Where a branch may not move, that is the whole of git's own state too.
fn users_all(clones: &Clones, branch: Branch) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        clones.users("ada").into_iter().map(|(what, text)| (what.to_owned(), text)).collect();
    let others: &[&str] = &["--", ".", ":(exclude).agentpm"];
    let mut ask = |what: &str, args: &[&str]| {
        all.insert(what.to_owned(), clones.git("ada", args).text().to_owned());
    };
    ask("flags", &[&["ls-files", "-v", "--stage"], others].concat());
    ask("meant", &[&["status", "--porcelain=v2", "--ignored", "--untracked-files=all"], others].concat());
    ask("settings", &["config", "--local", "--list"]);
    ask("symbolic", &["symbolic-ref", "HEAD"]);
    ask("tags", &["for-each-ref", "refs/tags", "refs/stash", "refs/heads/other"]);
    if branch == Stays {
        ask("references", &["for-each-ref", "refs/heads", "refs/tags", "refs/stash"]);
        ask("reflog", &["reflog", "--format=%H %gs"]);
    }
    for entry in walkdir::WalkDir::new(clones.dir("ada")).into_iter().filter_entry(|entry| {
        entry.depth() != 1 || ![".git", ".agentpm"].contains(&&*entry.file_name().to_string_lossy())
    }) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let seen = entry.metadata().unwrap();
            let mark = (seen.ino(), seen.mtime(), seen.mtime_nsec(), seen.mode(), seen.len());
            all.insert(entry.path().display().to_string(), format!("{mark:?}"));
        }
    }
    all
}
