//! Histories made by plain git: each operation after each other, with our merge driver, without it, and with attributes
//! ignored as hosting sites do. After the next command of agentpm nothing is in conflict, nothing is lost, lint is content,
//! and the bytes are the same in all three ways.
//!
//! `PLAIN_GIT='merge rebase'` plays that pair alone.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, plays_all, sealed_vars};
use crate::sync::tree;

/// How git meets the plan's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The clone has our merge driver.
    Driver,
    /// The attributes name a driver that this clone does not have.
    NoDriver,
    /// As on a hosting site: neither `union` nor the driver.
    NoAttributes,
}

const WAYS: [Way; 3] = [Way::Driver, Way::NoDriver, Way::NoAttributes];

/// A repository that is being worked on by plain git and agentpm in turn.
struct Play {
    home: PathBuf,
    repo: PathBuf,
    tasks: Vec<String>,
    edits: Cell<u32>,
}

impl Play {
    fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(sealed_vars(&self.home)).current_dir(dir).stdin(Stdio::null());
        command.env("GIT_EDITOR", "true").env("AGENTPM_AGENT", "ada").env("AGENTPM_CLOCK", "2026-11-20T10:00:00Z");
        command.env("GIT_COMMITTER_DATE", "2026-11-20T10:00:00Z").env("GIT_AUTHOR_DATE", "2026-11-20T10:00:00Z");
        command
    }

    fn try_git(&self, args: &[&str]) -> Answer {
        Answer::from(self.command("git", &self.repo).args(args).output().unwrap())
    }

    #[track_caller]
    fn git(&self, args: &[&str]) -> String {
        self.try_git(args).text().to_owned()
    }

    fn agentpm(&self, dir: &Path, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_agentpm"), dir);
        command.env("AGENTPM_SEED", self.edits.get().to_string()).args(args);
        command
    }

    /// One command that changes all tasks, and is committed by the caller.
    #[track_caller]
    fn edit_in(&self, dir: &Path, word: &str) {
        self.edits.set(self.edits.get() + 1);
        let mut ops = vec![json!({"op": "task.create", "args": {"title": format!("new by {word}")}})];
        for task in &self.tasks {
            ops.push(json!({"op": "task.update", "args": {"id": task, "title": format!("by {word}"), "metadata": {word: 1}}}));
            ops.push(json!({"op": "context.add", "args": {"task_id": task, "type": "note", "content": format!("{word} was here")}}));
        }
        let file = self.home.join("ops.json");
        std::fs::write(&file, json!(ops).to_string()).unwrap();
        let answer =
            Answer::from(self.agentpm(dir, &["batch", "--file", &file.display().to_string()]).output().unwrap());
        answer.data();
    }

    fn edit(&self, word: &str) {
        self.edit_in(&self.repo, word);
    }

    #[track_caller]
    fn commit(&self, word: &str) {
        self.edit(word);
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", word]);
    }

    #[track_caller]
    fn resolve(&self) {
        Answer::from(self.agentpm(&self.repo, &["resolve"]).output().unwrap()).data();
    }

    /// Runs an operation; where it stops in a conflict, resolves and goes on as a person would.
    #[track_caller]
    fn operate(&self, args: &[&str], go_on: &[&str]) {
        self.go_on(self.try_git(args), go_on);
    }

    #[track_caller]
    fn go_on(&self, mut answer: Answer, go_on: &[&str]) {
        for _ in 0..12 {
            let said = format!("{}{}", answer.stdout, answer.stderr);
            if answer.code == 0 {
                return;
            }
            let skip = said.contains("is now empty") || said.contains("nothing to commit");
            if skip && go_on.last() == Some(&"--continue") {
                answer = self.try_git(&[go_on[0], "--skip"]);
                continue;
            }
            assert!(
                said.contains("CONFLICT") || said.contains("onflict") || said.contains("needs merge"),
                "{answer:?}"
            );
            self.resolve();
            let left = self.git(&["ls-files", "--unmerged"]);
            assert_eq!(left, "", "resolve left conflicts in the index");
            answer = self.try_git(go_on);
        }
        panic!("it does not end: {answer:?}");
    }

    fn merge(&self, args: &[&str]) {
        self.operate(&[&["merge", "-q", "--no-edit"], args].concat(), &["commit", "-q", "--no-edit"]);
    }

    /// A branch with these commits, begun at the present one; main is checked out again afterwards.
    fn branch(&self, name: &str, commits: &[&str]) {
        self.git(&["switch", "-q", "-c", name]);
        commits.iter().for_each(|word| self.commit(word));
        self.git(&["switch", "-q", "main"]);
    }

    /// Every event of every log at every commit that HEAD reaches.
    fn reachable(&self) -> BTreeMap<String, String> {
        let mut events = BTreeMap::new();
        let mut wanted = String::new();
        for commit in self.git(&["rev-list", "HEAD"]).lines() {
            for path in self.git(&["ls-tree", "-r", "--name-only", commit, ".agentpm/tasks"]).lines() {
                if path.ends_with("events.jsonl") {
                    wanted.push_str(&format!("{commit}:{path}\n"));
                }
            }
        }
        let mut child = self
            .command("git", &self.repo)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, wanted.as_bytes()).unwrap());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Ok(event) = serde_json::from_str::<Value>(line) {
                events.insert(event["id"].as_str().unwrap().to_owned(), event["entity"].as_str().unwrap().to_owned());
            }
        }
        events
    }

    /// The plan as it stands, after the next command.
    fn end(&self) -> BTreeMap<String, String> {
        self.resolve();
        let plan = tree(&self.repo.join(".agentpm"));
        for (path, text) in &plan {
            let marked = text.lines().any(|l| l.starts_with("<<<<<<<") || l.starts_with(">>>>>>>") || l == "=======");
            assert!(!marked, "a marker in {path}:\n{text}");
        }
        let mut here: BTreeMap<String, String> = BTreeMap::new();
        for (path, text) in plan.iter().filter(|(path, _)| path.ends_with("events.jsonl")) {
            for line in text.lines() {
                let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{path}: {e}"));
                let entity = event["entity"].as_str().unwrap().to_owned();
                assert!(path.contains(&entity[5..]), "{entity} in {path}");
                here.insert(event["id"].as_str().unwrap().to_owned(), entity);
            }
        }
        let lost: BTreeSet<_> = self.reachable().into_keys().filter(|id| !here.contains_key(id)).collect();
        assert!(lost.is_empty(), "lost: {lost:?}");
        let lint = Answer::from(self.agentpm(&self.repo, &["lint"]).output().unwrap()).data();
        assert_eq!(lint["findings"], json!([]), "{lint:#}");
        plan.into_iter().filter(|(path, _)| path.starts_with("tasks/")).collect()
    }
}

/// An operation of plain git, begun and ended on main with nothing in progress.
struct Operation {
    name: &'static str,
    play: fn(&Play, &str),
}

const OPERATIONS: &[Operation] = &[
    Operation { name: "merge", play: |p, n| diverge(p, n, |p, side| p.merge(&[side])) },
    Operation {
        name: "merge-the-other-way",
        play: |p, n| {
            diverge(p, n, |p, side| {
                p.git(&["switch", "-q", side]);
                p.merge(&["main"]);
                p.git(&["switch", "-q", "main"]);
                p.git(&["merge", "-q", "--ff-only", side]);
            });
        },
    },
    Operation { name: "merge-X-ours", play: |p, n| diverge(p, n, |p, side| p.merge(&["-X", "ours", side])) },
    Operation { name: "merge-X-theirs", play: |p, n| diverge(p, n, |p, side| p.merge(&["-X", "theirs", side])) },
    Operation {
        name: "octopus",
        play: |p, n| {
            let (one, two) = (format!("{n}-one"), format!("{n}-two"));
            p.branch(&one, &["one"]);
            p.branch(&two, &["two"]);
            p.commit("main");
            if p.try_git(&["merge", "-q", "--no-edit", &one, &two]).code != 0 {
                // Git itself cannot do an octopus with conflicts and says so; what it left is put right and taken back.
                let _ = p.try_git(&["merge", "--abort"]);
                p.git(&["reset", "-q", "--merge"]);
                p.merge(&[&one]);
                p.merge(&[&two]);
            }
        },
    },
    Operation { name: "rebase", play: |p, n| diverge(p, n, |p, side| rebase(p, side, "true")) },
    Operation { name: "rebase-drop", play: |p, n| diverge(p, n, |p, side| rebase(p, side, "sed -i 1d")) },
    Operation {
        name: "rebase-reorder",
        play: |p, n| diverge(p, n, |p, side| rebase(p, side, "sed -i -e '1{h;d}' -e '2G'")),
    },
    Operation {
        name: "rebase-squash",
        play: |p, n| diverge(p, n, |p, side| rebase(p, side, "sed -i -e '2,$s/^pick/squash/'")),
    },
    Operation {
        name: "cherry-pick",
        play: |p, n| diverge(p, n, |p, side| p.operate(&["cherry-pick", side], &["cherry-pick", "--continue"])),
    },
    Operation {
        name: "cherry-pick-twice",
        play: |p, n| {
            diverge(p, n, |p, side| {
                for _ in 0..2 {
                    p.operate(&["cherry-pick", side], &["cherry-pick", "--continue"]);
                }
            });
        },
    },
    Operation {
        name: "squash-merge-and-on",
        play: |p, n| {
            diverge(p, n, |p, side| {
                p.operate(&["merge", "-q", "--squash", side], &["commit", "-q", "-m", "squashed"]);
                let _ = p.try_git(&["commit", "-q", "-m", "squashed"]);
                p.git(&["switch", "-q", side]);
                p.commit("going on");
                p.git(&["switch", "-q", "main"]);
                p.merge(&[side]);
            });
        },
    },
    Operation {
        name: "amend-after-push",
        play: |p, n| {
            let remote = format!("{}-{n}.git", p.repo.display());
            p.git(&["init", "-q", "--bare", &remote]);
            p.commit("pushed");
            p.git(&["push", "-q", &remote, "main"]);
            p.edit("amended");
            p.git(&["commit", "-q", "-a", "--amend", "--no-edit"]);
            let pulled = p.try_git(&["pull", "-q", "--no-rebase", "--no-edit", &remote, "main"]);
            p.go_on(pulled, &["commit", "-q", "--no-edit"]);
        },
    },
    Operation {
        name: "revert",
        play: |p, _| {
            p.commit("good");
            p.commit("bad");
            p.commit("later");
            p.operate(&["revert", "--no-edit", "HEAD~1"], &["revert", "--continue"]);
            p.operate(&["revert", "--no-edit", "HEAD"], &["revert", "--continue"]);
        },
    },
    Operation {
        name: "stash-and-pop",
        play: |p, n| {
            p.branch(&format!("{n}-side"), &["side"]);
            p.edit("stashed");
            p.git(&["stash", "-q", "-u"]);
            p.git(&["merge", "-q", "--ff-only", &format!("{n}-side")]);
            let popped = p.try_git(&["stash", "pop", "-q"]);
            if popped.code != 0 {
                p.resolve();
                assert_eq!(p.git(&["ls-files", "--unmerged"]), "");
            }
            p.git(&["add", "-A"]);
            p.git(&["commit", "-q", "-m", "popped"]);
        },
    },
    Operation {
        name: "autocrlf",
        play: |p, n| {
            p.git(&["config", "core.autocrlf", "true"]);
            // Another work tree shows what git makes of the files under this setting.
            p.git(&["rm", "-q", "-r", "--cached", "."]);
            p.git(&["reset", "-q", "--hard"]);
            diverge(p, n, |p, side| p.merge(&[side]));
            p.git(&["config", "--unset", "core.autocrlf"]);
        },
    },
    Operation {
        name: "shallow",
        play: |p, n| {
            let (remote, shallow) =
                (format!("{}-{n}.git", p.repo.display()), format!("{}-{n}-shallow", p.repo.display()));
            p.git(&["init", "-q", "--bare", "-b", "main", &remote]);
            p.git(&["push", "-q", &remote, "main"]);
            p.git(&["clone", "-q", "--depth", "1", &format!("file://{remote}"), &shallow]);
            p.edit_in(Path::new(&shallow), "shallow");
            p.git(&["-C", &shallow, "add", "-A"]);
            p.git(&["-C", &shallow, "commit", "-q", "-m", "shallow"]);
            p.git(&["-C", &shallow, "push", "-q", "origin", "main"]);
            p.commit("deep");
            let pulled = p.try_git(&["pull", "-q", "--no-rebase", "--no-edit", &remote, "main"]);
            p.go_on(pulled, &["commit", "-q", "--no-edit"]);
        },
    },
    Operation {
        name: "worktree",
        play: |p, n| {
            let (folder, side) = (format!("{}-{n}-tree", p.repo.display()), format!("{n}-tree"));
            p.git(&["worktree", "add", "-q", "-b", &side, &folder]);
            p.edit_in(Path::new(&folder), "worktree");
            p.git(&["-C", &folder, "add", "-A"]);
            p.git(&["-C", &folder, "commit", "-q", "-m", "worktree"]);
            p.commit("main");
            p.git(&["worktree", "remove", "--force", &folder]);
            p.merge(&[&side]);
        },
    },
    Operation {
        name: "gc",
        play: |p, n| {
            diverge(p, n, |p, side| {
                p.merge(&[side]);
                p.git(&["branch", "-q", "-D", side]);
                p.git(&["reflog", "expire", "--expire=now", "--all"]);
                p.git(&["gc", "-q", "--prune=now"]);
            });
        },
    },
];

/// Two commits on a side branch and one on main, brought together.
fn diverge(play: &Play, name: &str, together: fn(&Play, &str)) {
    let side = format!("{name}-side");
    play.branch(&side, &["first", "second"]);
    play.commit("main");
    together(play, &side);
}

fn rebase(play: &Play, side: &str, todo: &str) {
    play.git(&["switch", "-q", side]);
    let editor = format!("sequence.editor={todo}");
    play.operate(&["-c", &editor, "rebase", "-q", "-i", "main"], &["rebase", "--continue"]);
    play.git(&["switch", "-q", "main"]);
    play.git(&["merge", "-q", "--ff-only", side]);
}

/// A repository with a plan to copy from.
fn template() -> (Sandbox, Vec<String>) {
    let room = Sandbox::new();
    let tasks = ["first", "second"].map(|title| room.task(title, &["--label", "plan"])).to_vec();
    std::fs::write(room.repo().join("code.txt"), "code\n").unwrap();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    (room, tasks)
}

/// A copy of a repository, for the next operation to be played on.
fn copy(of: &Path, to: &Path, tasks: &[String], edits: u32) -> Play {
    let (repo, home) = (to.join("repo"), to.join("home"));
    std::fs::create_dir_all(&home).unwrap();
    assert!(Command::new("cp").arg("-a").arg(of).arg(&repo).status().unwrap().success());
    Play { home, repo, tasks: tasks.to_vec(), edits: Cell::new(edits) }
}

impl Way {
    fn set_up(self, play: &Play) {
        match self {
            Way::Driver => {
                let driver = format!("'{}' merge-driver %O %A %B %P %S %X %Y", env!("CARGO_BIN_EXE_agentpm"));
                play.git(&["config", "merge.agentpm.driver", &driver]);
            }
            Way::NoDriver => {}
            // These outrank what the repository says.
            Way::NoAttributes => {
                std::fs::create_dir_all(play.repo.join(".git/info")).unwrap();
                std::fs::write(play.repo.join(".git/info/attributes"), "* !merge !text !eol\n").unwrap();
            }
        }
    }
}

#[track_caller]
fn same(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>, what: &str) {
    for path in one.keys().chain(other.keys()) {
        let (a, b) = (one.get(path).map_or("", String::as_str), other.get(path).map_or("", String::as_str));
        let differing = a.lines().zip(b.lines()).find(|(a, b)| a != b);
        assert!(a == b, "{path} is another {what}: {differing:?}");
    }
}

/// Plays one operation, and after it each of the others. Gives the pairs that failed.
fn play_after(first: &Operation, from: &Path, tasks: &[String], only: Option<&str>) -> Vec<String> {
    let is_asked = |b: &&Operation| only.is_none_or(|only| only == format!("{} {}", first.name, b.name));
    // By default each operation comes first once, and second once.
    let nth = OPERATIONS.iter().position(|one| one.name == first.name).unwrap_or(0);
    let is_played = |(n, _): &(usize, &Operation)| plays_all() || only.is_some() || (n + nth) % OPERATIONS.len() == 0;
    let seconds = OPERATIONS.iter().enumerate().filter(is_played).map(|(_, second)| second).filter(is_asked);
    let seconds: Vec<&Operation> = seconds.collect();
    if seconds.is_empty() {
        return Vec::new();
    }
    let folders = WAYS.map(|_| crate::machine::folder());
    let begun: Vec<Play> = WAYS
        .iter()
        .zip(&folders)
        .map(|(way, folder)| {
            println!("{} ({way:?})", first.name);
            let play = copy(from, folder.path(), tasks, 0);
            way.set_up(&play);
            (first.play)(&play, "a");
            play
        })
        .collect();
    let mut failures = Vec::new();
    for second in seconds {
        let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let ends: Vec<_> = WAYS
                .iter()
                .zip(&begun)
                .map(|(way, before)| {
                    println!("{} then {} ({way:?})", first.name, second.name);
                    let folder = crate::machine::folder();
                    let play = copy(&before.repo, folder.path(), tasks, before.edits.get());
                    (second.play)(&play, "b");
                    play.end()
                })
                .collect();
            same(&ends[0], &ends[1], "without the driver");
            // A shallow clone does not have the side that a merge dropped, so its writer has seen less; nothing is lost all the same.
            if !(first.name.starts_with("merge-X") && second.name == "shallow") {
                same(&ends[0], &ends[2], "without attributes");
            }
        }));
        if played.is_err() {
            failures.push(format!("{} {}", first.name, second.name));
        }
    }
    failures
}

#[test]
fn any_two_operations_of_git_leave_one_plan() {
    crate::machine::needs!("sed");
    let only = std::env::var("PLAIN_GIT").ok();
    let (room, tasks) = template();
    let from = room.repo();
    let (todo, failures) = (Mutex::new(OPERATIONS.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = todo.lock().unwrap().next();
                    let Some(first) = next else { return };
                    let failed = play_after(first, &from, &tasks, only.as_deref());
                    failures.lock().unwrap().extend(failed);
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} pairs failed: {failures:#?}", failures.len());
}
