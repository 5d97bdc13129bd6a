//! `sync`: two clones become one plan, and nothing of the user's is touched.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, cases, shard};

/// A bare remote and clones of it beside each other, each used by an agent of its own name.
pub struct Clones {
    pub room: Sandbox,
}

impl Clones {
    /// A remote with a store and one task in it, cloned as often as named.
    pub fn new(names: &[&str]) -> (Self, String) {
        let room = Sandbox::new();
        std::fs::write(room.repo().join("code.txt"), "one\ntwo\nthree\nfour\nfive\nsix\n").unwrap();
        let task = room.task("shared", &["--acceptance", "it works"]);
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "-m", "begin"]).text();
        let remote = room.beside("remote.git").display().to_string();
        room.git(&["init", "-q", "--bare", "-b", "main", &remote]).text();
        room.git(&["remote", "add", "origin", &remote]).text();
        room.git(&["push", "-q", "-u", "origin", "main"]).text();
        for name in names {
            room.git(&["clone", "-q", &remote, &room.beside(name).display().to_string()]).text();
        }
        (Clones { room }, task)
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        self.room.beside(name)
    }

    pub fn run(&self, name: &str, args: &[&str]) -> Answer {
        let mut command = self.room.agentpm_in(&self.dir(name));
        Answer::from(command.env("AGENTPM_AGENT", name).args(args).output().expect("agentpm starts"))
    }

    pub fn git(&self, name: &str, args: &[&str]) -> Answer {
        self.room.git_in(&self.dir(name), args)
    }

    pub fn write(&self, name: &str, file: &str, text: &str) {
        std::fs::write(self.dir(name).join(file), text).unwrap();
    }

    pub fn commit_code(&self, name: &str, file: &str, text: &str) {
        self.write(name, file, text);
        self.git(name, &["add", file]).text();
        self.git(name, &["commit", "-q", "-m", "code", "--", file]).text();
    }

    /// All that git and the file system know of what is the user's.
    pub fn users(&self, name: &str) -> BTreeMap<&'static str, String> {
        let git = |args: &[&str]| self.git(name, args).text().to_owned();
        let with = |args: &[&str]| git(&[args, &["--", ".", ":(exclude).agentpm"]].concat());
        let file = |file: &str| std::fs::read_to_string(self.dir(name).join(file)).unwrap_or_default();
        BTreeMap::from([
            ("index", with(&["ls-files", "--stage"])),
            ("staged", with(&["diff", "--cached"])),
            ("dirty", with(&["diff"])),
            ("untracked", with(&["ls-files", "--others"])),
            ("stash", git(&["stash", "list", "--format=%H"])),
            ("others", git(&["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads/other", "refs/tags"])),
            ("code", file("code.txt")),
            ("notes", file("notes.txt")),
            ("new", file("new.txt")),
        ])
    }

    /// A staged hunk, a dirty file, an untracked file, a stash and another branch.
    pub fn make_a_mess(&self, name: &str) {
        self.git(name, &["branch", "other"]).text();
        self.git(name, &["tag", "v1"]).text();
        self.write(name, "code.txt", "stashed\n");
        self.git(name, &["stash", "-q"]).text();
        self.write(name, "code.txt", "one\nstaged\nthree\nfour\nfive\nsix\n");
        self.git(name, &["add", "code.txt"]).text();
        self.write(name, "code.txt", "one\nstaged\nthree\nfour\nfive\ndirty\n");
        self.write(name, "new.txt", "untracked\n");
    }

    /// The whole of a clone: references, HEAD, index, and every file outside `.git`.
    pub fn everything(&self, name: &str) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for (what, args) in [
            (
                "heads",
                &["for-each-ref", "--format=%(refname) %(objectname)", "refs/heads", "refs/tags", "refs/stash"][..],
            ),
            ("index", &["ls-files", "--stage"]),
            ("settings", &["config", "--local", "--list"]),
        ] {
            all.insert(what.into(), self.git(name, args).text().to_owned());
        }
        all.insert("HEAD".into(), std::fs::read_to_string(self.dir(name).join(".git/HEAD")).unwrap());
        all.extend(tree(&self.dir(name)));
        all
    }
}

/// Every file below a folder but git's own, by path.
pub fn tree(folder: &Path) -> BTreeMap<String, String> {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != ".git")
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().display().to_string();
            (name, String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned())
        })
        .collect()
}

/// The plan's files of a clone.
pub fn plan(clones: &Clones, name: &str) -> BTreeMap<String, String> {
    tree(&clones.dir(name).join(".agentpm"))
}

#[test]
fn a_plan_goes_from_clone_to_clone_and_what_is_the_users_stays() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.make_a_mess("ada");
    clones.run("ada", &["task", "update", &task, "--title", "by ada", "--priority", "2"]).data();
    clones.run("bob", &["note", &task, "--content", "by bob"]).data();
    clones.commit_code("bob", "bob.txt", "code\n");
    let before = clones.users("ada");

    let first = clones.run("ada", &["sync"]).data();
    assert_eq!((first["pushed"].clone(), first["outgoing"][0]["what"].clone()), (json!(true), json!("updated")));
    assert_eq!(clones.users("ada"), before);
    let second = clones.run("bob", &["sync"]).data();
    assert_eq!(second["incoming"][0]["title"], "by ada");
    clones.run("ada", &["sync"]).data();

    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
    let mut after = clones.users("ada");
    assert!(after["index"].contains("bob.txt"), "bob's code came along");
    after.insert("index", before["index"].clone());
    assert_eq!(after, before);
    assert_eq!(clones.git("ada", &["status", "--porcelain", ".agentpm"]).text(), "");
    let seen = clones.run("ada", &["task", "get", &task]).data();
    assert_eq!((seen["title"].clone(), seen["context"][0]["content"].clone()), (json!("by ada"), json!("by bob")));
    let changed = clones.git("ada", &["log", "-1", "--format=", "--name-only"]);
    assert!(changed.text().lines().all(|path| path.starts_with(".agentpm/")), "{changed:?}");
    assert_eq!(clones.run("ada", &["sync"]).data()["committed"], Value::Null, "nothing is left to do");
}

#[test]
fn a_plan_of_a_sync_changes_nothing() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.run("ada", &["task", "update", &task, "--title", "by ada"]).data();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["task", "update", &task, "--title", "by bob"]).data();
    let before = clones.everything("bob");
    let said = clones.run("bob", &["sync", "--plan"]).data();
    assert_eq!(said["dry_run"], true);
    assert_eq!(
        (said["incoming"][0]["task"].as_str(), said["outgoing"][0]["task"].as_str()),
        (Some(&*task), Some(&*task))
    );
    assert_eq!(clones.everything("bob"), before);
    assert_eq!(clones.git("bob", &["rev-parse", "origin/main"]).text().len(), 40);
}

#[test]
fn without_pushing_the_plan_is_committed_and_brought_together() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.run("ada", &["note", &task, "--content", "by ada"]).data();
    clones.run("ada", &["sync"]).data();
    let remote = clones.git("ada", &["rev-parse", "origin/main"]).text().to_owned();
    clones.run("bob", &["note", &task, "--content", "by bob"]).data();
    let said = clones.run("bob", &["sync", "--no-push"]).data();
    assert_eq!((said["pushed"].clone(), said["incoming"][0]["events"].clone()), (json!(false), json!(1)));
    assert_eq!(clones.git("bob", &["ls-remote", "origin", "main"]).text().split('\t').next(), Some(&*remote));
    assert_eq!(clones.git("bob", &["status", "--porcelain"]).text(), "");
    assert_eq!(clones.git("bob", &["merge-base", "HEAD", "origin/main"]).text(), remote);
}

#[test]
fn local_commits_are_replayed_and_merges_are_kept() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.commit_code("ada", "ada.txt", "ada\n");
    clones.run("ada", &["note", &task, "--content", "by ada"]).data();
    clones.run("ada", &["sync"]).data();
    clones.commit_code("bob", "one.txt", "1\n");
    clones.run("bob", &["note", &task, "--content", "by bob"]).data();
    clones.git("bob", &["commit", "-q", "-am", "plan and all"]).text();
    clones.run("bob", &["sync"]).data();
    assert_eq!(clones.git("bob", &["log", "--format=%s%n%an", "-2"]).text(), "plan and all\nTest\ncode\nTest");
    assert_eq!(clones.git("bob", &["rev-list", "--merges", "--count", "HEAD"]).text(), "0");

    clones.run("ada", &["note", &task, "--content", "ada again"]).data();
    clones.run("ada", &["sync"]).data();
    clones.git("bob", &["switch", "-q", "-c", "side", "HEAD~1"]).text();
    clones.commit_code("bob", "side.txt", "side\n");
    clones.git("bob", &["switch", "-q", "main"]).text();
    clones.git("bob", &["merge", "-q", "--no-ff", "-m", "a merge", "side"]).text();
    clones.run("bob", &["sync"]).data();
    assert!(clones.git("bob", &["log", "--format=%s", "HEAD"]).text().contains("a merge"));
    clones.run("ada", &["sync"]).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
    assert!(clones.dir("ada").join("side.txt").exists() && clones.dir("bob").join("ada.txt").exists());
}

/// What keeps a sync from happening, the words of its answer, and its next safe step.
struct Failure {
    prepare: fn(&Clones, &str),
    says: &'static str,
    hints: &'static str,
}

cases! { failure by changes_nothing_and_says_why {
    no_remote: Failure {
        prepare: |c, _| drop(c.git("ada", &["remote", "remove", "origin"])),
        says: "no remote",
        hints: "agentpm sync --no-push",
    },
    no_upstream: Failure {
        prepare: |c, _| drop(c.git("ada", &["branch", "--unset-upstream"])),
        says: "no upstream",
        hints: "agentpm sync --set-upstream",
    },
    a_protected_branch: Failure {
        prepare: |c, _| hook(&c.dir("remote.git/hooks"), "pre-receive", "echo 'main is protected' >&2; exit 1"),
        says: "refused main",
        hints: "git switch -c",
    },
    an_unreachable_remote: Failure {
        prepare: |c, _| drop(c.git("ada", &["remote", "set-url", "origin", "/nowhere/at/all.git"])),
        says: "could not be read",
        hints: "--no-push",
    },
    a_remote_that_runs_commands: Failure {
        prepare: |c, _| drop(c.git("ada", &["remote", "set-url", "origin", "ext::sh -c touch% pwned"])),
        says: "could not be read",
        hints: "--no-push",
    },
    a_conflict_in_the_users_own_files: Failure {
        prepare: |c, _| {
            c.commit_code("ada", "code.txt", "ada\n");
        },
        says: "the same lines of code.txt",
        hints: "git pull --rebase",
    },
    settings_changed_on_both_sides: Failure {
        prepare: |c, _| {
            c.write("ada", ".agentpm/config.toml", "format = 1\n[list]\nmax_bytes = 9000\n");
            c.write("bob", ".agentpm/config.toml", "format = 1\n[list]\nmax_bytes = 8000\n");
            c.run("bob", &["sync"]).data();
        },
        says: "both changed .agentpm/config.toml",
        hints: "git pull --rebase",
    },
    a_merge_in_progress: Failure {
        prepare: |c, _| {
            c.git("ada", &["switch", "-q", "-c", "side"]).text();
            c.commit_code("ada", "code.txt", "side\n");
            c.git("ada", &["switch", "-q", "main"]).text();
            c.commit_code("ada", "code.txt", "main\n");
            let _ = c.git("ada", &["merge", "side"]);
        },
        says: "git merge is in progress",
        hints: "git merge --continue",
    },
    a_detached_head: Failure {
        prepare: |c, _| drop(c.git("ada", &["switch", "-q", "--detach"])),
        says: "detached",
        hints: "git switch",
    },
    an_unborn_branch: Failure {
        prepare: |c, _| drop(c.git("ada", &["symbolic-ref", "HEAD", "refs/heads/fresh"])),
        says: "no commit yet",
        hints: "first commit",
    },
    a_dirty_file_in_the_way: Failure {
        prepare: |c, _| c.write("ada", "code.txt", "not committed\n"),
        says: "overwrite your uncommitted work",
        hints: "commit or stash",
    },
    an_untracked_file_in_the_way: Failure {
        prepare: |c, _| c.write("ada", "fresh.txt", "mine\n"),
        says: "write over fresh.txt, which git does not know",
        hints: "move these files away",
    },
    an_ignored_file_in_the_way: Failure {
        prepare: |c, _| {
            std::fs::write(c.dir("ada/.git/info/exclude"), "fresh.txt\n").unwrap();
            c.write("ada", "fresh.txt", "mine\n");
        },
        says: "write over fresh.txt, which git does not know",
        hints: "move these files away",
    },
    an_ignored_folder_in_the_way: Failure {
        prepare: |c, _| {
            std::fs::write(c.dir("ada/.git/info/exclude"), "fresh.txt\n").unwrap();
            std::fs::create_dir(c.dir("ada/fresh.txt")).unwrap();
            c.write("ada", "fresh.txt/precious", "mine\n");
        },
        says: "write over fresh.txt, which git does not know",
        hints: "move these files away",
    },
    a_plan_that_git_ignores: Failure {
        prepare: |c, _| std::fs::write(c.dir("ada/.git/info/exclude"), ".agentpm/\n").unwrap(),
        says: "would never be committed",
        hints: "take that rule out",
    },
    an_upstream_branch_that_is_gone: Failure {
        prepare: |c, _| {
            c.room.git_in(&c.dir("remote.git"), &["update-ref", "-d", "refs/heads/main"]).text();
        },
        says: "main is gone at the remote",
        hints: "--set-upstream-to",
    },
    a_pre_push_hook_that_refuses: Failure {
        prepare: |c, _| hook(&c.dir("ada/.git/hooks"), "pre-push", "echo 'no push today' >&2; exit 1"),
        says: "your pre-push hook refused: no push today",
        hints: "then agentpm sync",
    },
    a_hook_that_refuses: Failure {
        prepare: |c, _| hook(&c.dir("ada/.git/hooks"), "pre-commit", "echo 'no plans on Fridays'; exit 1"),
        says: "no plans on Fridays",
        hints: "then agentpm sync",
    },
    a_hook_that_never_ends: Failure {
        prepare: |c, _| {
            c.write("ada", "home.toml", "");
            hook(&c.dir("ada/.git/hooks"), "commit-msg", "exec tail -f /dev/null");
            std::fs::create_dir_all(c.room.home().join(".agentpm")).unwrap();
            std::fs::write(c.room.home().join(".agentpm/config.toml"), "[sync]\nstep_seconds = 1\n").unwrap();
        },
        says: "did not end in time",
        hints: "then agentpm sync",
    },
    a_signature_that_fails: Failure {
        prepare: |c, _| {
            c.git("ada", &["config", "commit.gpgSign", "true"]).text();
            c.git("ada", &["config", "gpg.program", "false"]).text();
        },
        says: "could not be made",
        hints: "signing",
    },
}}

pub fn hook(folder: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn changes_nothing_and_says_why(name: &str, failure: Failure) {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    // The upstream is ahead, in code and in plan, so that there is something to bring in.
    clones.write("bob", "fresh.txt", "bob\n");
    clones.commit_code("bob", "code.txt", "bob\n");
    clones.git("bob", &["add", "fresh.txt"]).text();
    clones.git("bob", &["commit", "-q", "-m", "more"]).text();
    clones.run("bob", &["note", &task, "--content", "by bob"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["task", "update", &task, "--title", "by ada"]).data();
    (failure.prepare)(&clones, &task);
    let before = clones.everything("ada");
    let answer = clones.run("ada", &["sync"]);
    let error = answer.error("ERR_SYNC", 9);
    let said = error["message"].as_str().unwrap();
    assert!(said.contains(failure.says), "{name}: {said}");
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains(failure.hints), "{name}: {hint}");
    for dangerous in ["--hard", "--force", "rm ", "clean", "-f "] {
        assert!(!hint.contains(dangerous), "{name}: {hint}");
    }
    assert_eq!(clones.everything("ada"), before, "{name}");
    assert!(!clones.dir("ada").join("pwned").exists());
    assert_eq!(clones.run("ada", &["task", "get", &task]).code, 0, "{name}");
}

#[test]
fn sync_offline_commits_the_plan() {
    let (clones, task) = Clones::new(&["ada"]);
    clones.run("ada", &["note", &task, "--content", "offline"]).data();
    clones.git("ada", &["remote", "set-url", "origin", "/nowhere/at/all.git"]).text();
    let error = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(error["hint"].as_str().unwrap().contains("agentpm sync --no-push"));
    let answer = clones.run("ada", &["sync", "--no-push"]);
    assert!(answer.data()["committed"].is_string() && answer.stderr.contains("could not be read"), "{answer:?}");
    assert_eq!(clones.git("ada", &["status", "--porcelain"]).text(), "");
}

#[test]
fn sync_names_other_commits_it_pushes() {
    let (clones, _) = Clones::new(&["ada", "bob"]);
    clones.commit_code("ada", "code.txt", "of ada\n");
    let said = clones.run("ada", &["sync", "--plan"]).data();
    assert_eq!((said["commits_out"].clone(), said["commits_in"].clone()), (json!(1), json!(0)));
    assert_eq!(said["committed"], Value::Null);
    assert_eq!(clones.run("ada", &["sync"]).data()["commits_out"], 1);
    assert_eq!(clones.run("bob", &["sync"]).data()["commits_in"], 1);
}

#[test]
fn a_branch_without_upstream_gets_one_on_request() {
    let (clones, task) = Clones::new(&["ada"]);
    clones.git("ada", &["switch", "-q", "-c", "work"]).text();
    clones.run("ada", &["note", &task, "--content", "on a branch"]).data();
    clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    clones.run("ada", &["sync", "--set-upstream"]).data();
    assert_eq!(clones.git("ada", &["rev-parse", "--abbrev-ref", "work@{u}"]).text(), "origin/work");
    assert_eq!(
        clones.git("ada", &["rev-parse", "work"]).text(),
        clones.git("ada", &["rev-parse", "origin/work"]).text()
    );
}

#[test]
fn a_plan_that_is_younger_than_its_upstream_is_pushed() {
    let room = Sandbox::bare_repo();
    room.git(&["commit", "-q", "--allow-empty", "-m", "first"]).text();
    let remote = room.beside("remote.git").display().to_string();
    room.git(&["init", "-q", "--bare", "-b", "main", &remote]).text();
    room.git(&["remote", "add", "origin", &remote]).text();
    room.git(&["push", "-q", "-u", "origin", "main"]).text();
    let other = room.beside("other");
    room.git(&["clone", "-q", &remote, &other.display().to_string()]).text();
    std::fs::write(other.join("code.txt"), "one\n").unwrap();
    room.git_in(&other, &["add", "-A"]).text();
    room.git_in(&other, &["commit", "-q", "-m", "code"]).text();
    room.git_in(&other, &["push", "-q"]).text();
    room.run(&["init"]).data();
    let task = room.task("new", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan begins"]).text();
    assert_eq!(room.run(&["sync"]).data()["pushed"], true);
    room.git_in(&other, &["pull", "-q"]).text();
    assert_eq!(room.run_in(&other, &["task", "get", &task]).data()["title"], "new");
    // Whoever had it and removed it is refused.
    room.git_in(&other, &["rm", "-rq", ".agentpm"]).text();
    room.git_in(&other, &["commit", "-q", "-m", "no plan"]).text();
    room.git_in(&other, &["push", "-q"]).text();
    let error = room.run(&["sync"]).error("ERR_SYNC", 9);
    assert!(error["message"].as_str().unwrap().contains("removed all of .agentpm"), "{error}");
}

#[test]
fn a_shallow_clone_syncs_where_it_can_and_says_where_it_cannot() {
    let (clones, task) = Clones::new(&["bob"]);
    for n in 0..3 {
        clones.commit_code("bob", "code.txt", &format!("{n}\n"));
    }
    clones.run("bob", &["sync"]).data();
    let url = format!("file://{}", clones.dir("remote.git").display());
    clones.room.git(&["clone", "-q", "--depth", "1", &url, &clones.dir("ada").display().to_string()]).text();
    clones.run("ada", &["note", &task, "--content", "shallow"]).data();
    assert_eq!(clones.run("ada", &["sync"]).data()["pushed"], true);
    clones.run("bob", &["sync"]).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));

    // The remote's history is written anew from before where the clone begins.
    clones.git("bob", &["reset", "-q", "--hard", "HEAD~3"]).text();
    clones.commit_code("bob", "code.txt", "another way\n");
    clones.git("bob", &["push", "-q", "--force", "origin", "main"]).text();
    clones.run("ada", &["note", &task, "--content", "again"]).data();
    let before = clones.everything("ada");
    let error = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
    assert!(error["message"].as_str().unwrap().contains("shallow"), "{error}");
    assert_eq!(clones.everything("ada"), before);
}

#[test]
fn a_sparse_checkout_keeps_what_it_does_not_show() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    std::fs::create_dir_all(clones.dir("bob/docs")).unwrap();
    clones.commit_code("bob", "docs/page.md", "a page\n");
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["sync"]).data();
    clones.git("ada", &["sparse-checkout", "set", ".agentpm"]).text();
    assert!(!clones.dir("ada").join("docs/page.md").exists());
    clones.run("ada", &["note", &task, "--content", "sparse"]).data();
    clones.commit_code("bob", "docs/page.md", "a better page\n");
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["sync"]).data();
    assert_eq!(clones.git("ada", &["show", "HEAD:docs/page.md"]).text(), "a better page");
    assert!(!clones.dir("ada").join("docs/page.md").exists());
    assert_eq!(clones.git("ada", &["status", "--porcelain"]).text(), "");
}

#[test]
fn a_touched_file_does_not_stop_sync() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    clones.commit_code("bob", "code.txt", "by bob\n");
    clones.git("bob", &["push", "-q"]).text();
    clones.run("ada", &["note", &task, "--content", "by ada"]).data();
    let file = std::fs::File::options().append(true).open(clones.dir("ada").join("code.txt")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    clones.run("ada", &["sync"]).data();
    assert_eq!(std::fs::read_to_string(clones.dir("ada").join("code.txt")).unwrap(), "by bob\n");
}

#[test]
fn hooks_are_asked_and_may_word_the_message() {
    crate::machine::needs!("grep");
    let (clones, task) = Clones::new(&["ada"]);
    let hooks = clones.dir("ada/.git/hooks");
    hook(
        &hooks,
        "pre-commit",
        "git diff --cached --name-only | grep -q '^.agentpm/' || exit 1; ! git diff --cached --name-only | grep -qv '^.agentpm/'",
    );
    hook(&hooks, "commit-msg", "echo 'Reviewed-by: hook' >> \"$1\"");
    clones.make_a_mess("ada");
    let before = clones.users("ada");
    clones.run("ada", &["note", &task, "--content", "x"]).data();
    clones.run("ada", &["sync"]).data();
    assert!(clones.git("ada", &["log", "-1", "--format=%B"]).text().contains("Reviewed-by: hook"));
    assert_eq!(clones.users("ada"), before);
}

#[test]
fn sync_records_hand_edits_and_keeps_refused_ones_local() {
    let (clones, task) = Clones::new(&["ada"]);
    let other = clones.run("ada", &["task", "create", "--title", "other", "--quiet"]).text().to_owned();
    clones.run("ada", &["sync"]).data();
    let yaml = |task: &str| clones.log("ada", task).with_file_name("task.yaml");
    let edit = |task: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(yaml(task)).unwrap();
        std::fs::write(yaml(task), text.replace(from, to)).unwrap();
    };
    edit(&task, "title: shared", "title: edited by hand");
    edit(&other, "status: open", "status: completed");
    let answer = clones.run("ada", &["sync"]);
    answer.data();
    assert!(answer.stderr.contains("stays in its file"), "{answer:?}");
    assert_eq!(clones.run("ada", &["task", "get", &task]).data()["title"], "edited by hand");
    assert!(std::fs::read_to_string(yaml(&other)).unwrap().contains("status: completed"));
    let path = format!("HEAD:.agentpm/tasks/{}/{other}/task.yaml", shard(&other));
    assert!(clones.git("ada", &["show", &path]).text().contains("status: open"));
}

impl Clones {
    pub fn log(&self, name: &str, task: &str) -> PathBuf {
        self.dir(name).join(".agentpm/tasks").join(shard(task)).join(task).join("events.jsonl")
    }
}

#[test]
fn eight_clones_under_fire_end_with_one_plan() {
    const NAMES: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
    let rounds = crate::sandbox::rounds(25);
    let (clones, task) = Clones::new(&NAMES);
    std::thread::scope(|scope| {
        for name in NAMES {
            let (dir, task, room) = (clones.dir(name), &task, clones.room.home());
            scope.spawn(move || {
                let run = |args: &[&str]| {
                    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_agentpm"));
                    command.env_clear().envs(crate::sandbox::sealed_vars(&room)).env("AGENTPM_AGENT", name);
                    Answer::from(command.current_dir(&dir).args(args).output().unwrap())
                };
                for round in 0..rounds {
                    run(&["note", task, "--content", &format!("{name} {round}")]).data();
                    run(&["task", "create", "--title", &format!("{name} task {round}")]).data();
                    run(&["task", "update", task, "--title", &format!("{name} {round}"), "--override", "fire"]).data();
                    let answer = run(&["sync"]);
                    assert_eq!(answer.code, 0, "{name} {round}: {answer:?}");
                }
            });
        }
    });
    NAMES.iter().for_each(|name| drop(clones.run(name, &["sync"]).data()));
    let first = plan(&clones, NAMES[0]);
    for name in NAMES {
        assert_eq!(plan(&clones, name), first, "{name}");
        assert_eq!(clones.git(name, &["status", "--porcelain"]).text(), "");
        assert_eq!(
            clones.git(name, &["rev-parse", "HEAD"]).text(),
            clones.git(NAMES[0], &["rev-parse", "HEAD"]).text()
        );
    }
    let shared = clones.run("c0", &["task", "get", &task, "--full"]).data();
    assert_eq!(shared["context"].as_array().unwrap().len(), NAMES.len() * rounds);
    assert_eq!(clones.run("c0", &["stats"]).data()["tasks"], json!(1 + NAMES.len() * rounds));
    assert_eq!(clones.run("c0", &["lint"]).data()["errors"], 0);
    let log = std::fs::read_to_string(clones.log("c0", &task)).unwrap();
    assert_eq!(log.lines().filter(|line| line.contains("TaskUpdated")).count(), NAMES.len() * rounds);
}

#[test]
fn an_upstream_cannot_bring_what_no_store_may_hold() {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let feed = |args: &[&str], input: String| {
        let mut command = clones.room.sealed("git", &clones.dir("bob"));
        let child = command.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = child.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        Answer::from(child.wait_with_output().unwrap()).text().to_owned()
    };
    let good = clones.git("bob", &["rev-parse", "HEAD"]).text().to_owned();
    let blob = feed(&["hash-object", "-w", "--stdin"], "[core]\n\tfsmonitor = \"touch pwned\"\n".into());
    let file = feed(&["mktree"], format!("100644 blob {blob}\tconfig\n"));
    let up = feed(&["mktree"], format!("040000 tree {file}\t..\n"));
    for odd in [
        format!("040000 tree {file}\t.git\n"),
        format!("040000 tree {file}\t.GIT\n"),
        format!("040000 tree {up}\tarchive\n"),
        format!("120000 blob {blob}\tlink\n"),
        format!("100644 blob {blob}\tb\u{202E}idi\n"),
    ] {
        let plan = clones.git("bob", &["ls-tree", "HEAD:.agentpm"]).text().to_owned();
        let plan = feed(&["mktree"], format!("{plan}\n{odd}"));
        let root = clones.git("bob", &["ls-tree", "HEAD"]).text().to_owned();
        let root: String = root.lines().filter(|l| !l.ends_with("\t.agentpm")).map(|l| format!("{l}\n")).collect();
        let root = feed(&["mktree"], format!("{root}040000 tree {plan}\t.agentpm\n"));
        let commit = clones.git("bob", &["commit-tree", "-p", &good, "-m", "evil", &root]).text().to_owned();
        clones.git("bob", &["push", "-q", "--force", "origin", &format!("{commit}:refs/heads/main")]).text();
        for changed in [false, true] {
            if changed {
                clones.run("ada", &["note", &task, "--content", "mine"]).data();
            }
            let before = clones.everything("ada");
            let error = clones.run("ada", &["sync"]).error("ERR_SYNC", 9);
            assert!(error["message"].as_str().unwrap().contains("the upstream's"), "{odd}: {error}");
            assert_eq!(clones.everything("ada"), before, "{odd}");
        }
    }
}

#[test]
fn two_lines_with_one_id_reach_every_clone_and_neither_counts() {
    let (clones, task) = Clones::new(&["anna", "bo", "cleo"]);
    clones.run("anna", &["task", "update", &task, "--priority", "1"]).data();
    let path = clones.room.task_dir(&task).join("events.jsonl");
    let path = path.strip_prefix(clones.room.repo()).unwrap();
    let log = std::fs::read_to_string(clones.dir("anna").join(path)).unwrap();
    let true_line = log.lines().last().unwrap();
    let false_line = true_line.replace("\"priority\":1", "\"priority\":9");
    assert_ne!(true_line, false_line);
    let forged = log.replace(true_line, &false_line);
    for name in ["bo", "cleo"] {
        std::fs::write(clones.dir(name).join(path), &forged).unwrap();
    }

    clones.run("anna", &["sync"]).data();
    clones.run("bo", &["sync"]).data();
    // By git alone too: cleo commits her log, and pulls.
    clones.git("cleo", &["commit", "-q", "-a", "-m", "forged"]).text();
    clones.git("cleo", &["pull", "-q", "--rebase"]).text();
    for name in ["anna", "bo", "cleo", "anna", "bo"] {
        clones.run(name, &["sync"]).data();
    }
    let tip = clones.git("anna", &["rev-parse", "origin/main"]).text().to_owned();
    for name in ["anna", "bo", "cleo"] {
        let log = std::fs::read_to_string(clones.dir(name).join(path)).unwrap();
        assert!(log.contains(true_line) && log.contains(&false_line), "{name}: {log}");
        let found = clones.run(name, &["lint", "--json"]);
        assert!(found.stdout.contains("event-id-conflict"), "{name}: {}", found.stdout);
        clones.run(name, &["sync"]).data();
    }
    clones.git("anna", &["fetch", "-q"]).text();
    assert_eq!(clones.git("anna", &["rev-parse", "origin/main"]).text(), tip, "nothing is left to commit");
}

#[test]
fn two_worktrees_of_one_clone_sync_at_the_same_time() {
    let (clones, task) = Clones::new(&["ada"]);
    clones.git("ada", &["config", "push.default", "upstream"]).text();
    let other = clones.dir("other").display().to_string();
    clones.git("ada", &["worktree", "add", "-q", "-b", "w2", &other, "--track", "origin/main"]).text();
    for round in 0..6 {
        let started = ["ada", "other"].map(|name| {
            clones.run(name, &["note", &task, "--content", &format!("{name} {round}")]).data();
            let mut command = clones.room.agentpm_in(&clones.dir(name));
            command.arg("sync").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        });
        for child in started {
            Answer::from(child.wait_with_output().unwrap()).data();
        }
    }
    clones.run("ada", &["sync"]).data();
    clones.run("other", &["sync"]).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "other"));
    let notes = clones.run("ada", &["task", "get", &task]).data()["context"].as_array().unwrap().len();
    assert_eq!(notes, 12);
}
