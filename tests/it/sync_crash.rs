//! A sync that dies at any of its system calls, alone or together with the git it started: the repository is usable, nothing
//! is lost, no operation is left in progress, and the next sync ends what was begun.
//!
//! strace kills agentpm on entry of a call; the git it started goes on as an orphan, and is waited for by a pipe that it
//! holds open. In the other story git dies first, at a call that leaves something half done, and takes agentpm with it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::crash::{Call, all_calls_of, for_each};
use crate::sandbox::{Answer, Sandbox, plays_all, some};
use crate::sync::{Clones, plan, tree};

/// Calls by which agentpm changes something, starts a program or waits for one.
const CALLS: &str = "?open,openat,openat2,?creat,write,pwrite64,fdatasync,?fsync,syncfs,ftruncate,rename,renameat,renameat2,\
                     link,linkat,mkdir,mkdirat,unlink,unlinkat,fchmod,fchown,flock,clone3,?vfork,?clone,poll,ppoll,wait4,\
                     waitid,exit_group";
/// Calls by which git changes something.
const GITS: &str = "openat,rename,link,unlink,ftruncate,exit_group";
/// How many of agentpm's calls are tried besides those around other programs.
const SAMPLES: usize = 32;
/// How many of git's calls are tried.
const GIT_SAMPLES: usize = 24;

#[test]
fn a_sync_killed_at_any_call_lost_nothing_and_the_next_one_ends_it() {
    crate::machine::needs!("strace");
    let scene = Scene::new();
    let cases = some(scene.points());
    println!("{} points", cases.len());
    let killed = AtomicUsize::new(0);
    for_each(&cases, |case| {
        let clones = scene.copy();
        let died = scene.dies_at(&clones, case);
        killed.fetch_add(usize::from(died), Ordering::Relaxed);
        scene.nothing_is_lost(&clones);
        assert_eq!(locks(&clones), Vec::<PathBuf>::new(), "git ended and holds no lock");
        scene.the_next_sync_ends_it(&clones);
    });
    let killed = killed.into_inner();
    println!("{killed} of {} were killed in time", cases.len());
    // Of few the ones that come too late weigh more.
    let least = if plays_all() { 9 } else { 6 };
    assert!(killed * 10 > cases.len() * least, "{killed} of {} were killed in time", cases.len());
}

#[test]
fn a_sync_killed_together_with_its_git_says_which_lock_is_left_and_goes_on_without_it() {
    crate::machine::needs!("strace");
    let scene = Scene::new();
    let cases = some(scene.points_of_git());
    println!("{} points", cases.len());
    let stuck = AtomicUsize::new(0);
    for_each(&cases, |case| {
        let clones = scene.copy();
        scene.dies_with_git_at(&clones, case);
        scene.nothing_is_lost(&clones);
        for _ in 0..3 {
            let left = locks(&clones);
            if left.is_empty() {
                break;
            }
            let answer = clones.run("ada", &["sync"]);
            if answer.code == 0 {
                break;
            }
            stuck.fetch_add(1, Ordering::Relaxed);
            let error = answer.error("ERR_SYNC", 9);
            let path =
                PathBuf::from(error["details"]["lock"].as_str().unwrap_or_else(|| panic!("{left:?} {answer:?}")));
            assert!(error["message"].as_str().unwrap().contains(path.to_str().unwrap()), "{error}");
            assert!(left.contains(&path), "{path:?} of {left:?}");
            assert_eq!(locks(&clones), left, "a lock of git's was removed");
            scene.nothing_is_lost(&clones);
            // As the message asks the user to do.
            std::fs::remove_file(path).unwrap();
        }
        scene.the_next_sync_ends_it(&clones);
    });
    assert!(stuck.into_inner() > 0, "at least the index's own lock must have been met");
}

#[test]
fn a_sync_that_died_before_its_branch_moved_is_ended_though_the_upstream_went_on() {
    crate::machine::needs!("strace");
    let scene = Scene::new();
    let clones = scene.copy();
    let script = "case \"$*\" in *update-ref*) kill -KILL $PPID;; *) exec $git \"$@\";; esac";
    assert_eq!(run_to_the_end(&clones, &[], &[instead_of_git(&clones, script)]), None, "it was killed");
    assert_eq!(clones.git("ada", &["rev-parse", "HEAD"]).text(), scene.before.head);
    scene.nothing_is_lost(&clones);

    // What ada's files already hold is changed again, in the same lines.
    clones.run("bob", &["sync"]).data();
    clones.commit_code("bob", "lib.txt", "lib by bob, again\n");
    clones.run("bob", &["note", &scene.task, "--content", "bob again"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ada", &["note", &scene.task, "--content", "ada again"]).data();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
    let now = Seen::of(&clones);
    assert_eq!(now.mine, scene.before.mine);
    assert_eq!(now.theirs_here[0].as_deref(), Some("lib by bob, again\n"));
    assert_eq!(clones.git("ada", &["log", "--format=%an", "--", "lib.txt"]).text().lines().count(), 3);
}

/// Two clones that have both gone on, the remote with one of them, and what is the user's.
struct Scene {
    /// Kept for its folder, which vanishes with it.
    _room: Mutex<Sandbox>,
    folder: PathBuf,
    task: String,
    /// What a sync that nothing disturbs leaves.
    before: Seen,
    after: Seen,
}

/// What must be one or the other: as before the sync, or as after it.
struct Seen {
    mine: BTreeMap<&'static str, String>,
    /// The upstream's files in the work tree.
    theirs_here: [Option<String>; 2],
    head: String,
    theirs: String,
    events: BTreeSet<String>,
    remote: BTreeSet<String>,
}

impl Scene {
    fn new() -> Self {
        let (clones, task) = Clones::new(&["ada", "bob"]);
        clones.commit_code("bob", "lib.txt", "lib\n");
        clones.git("bob", &["push", "-q"]).text();
        clones.run("ada", &["sync"]).data();

        clones.commit_code("bob", "bob.txt", "bob\n");
        clones.commit_code("bob", "lib.txt", "lib by bob\n");
        clones.write("bob", ".agentpm/config.toml", "format = 1\n[list]\nmax_bytes = 9000\n");
        clones.run("bob", &["task", "update", &task, "--title", "by bob", "--priority", "1"]).data();
        clones.run("bob", &["note", &task, "--content", "by bob"]).data();
        clones.run("bob", &["task", "create", "--title", "bob's own"]).data();
        clones.run("bob", &["sync"]).data();

        clones.commit_code("ada", "ada.txt", "ada\n");
        clones.commit_code("ada", "notes.txt", "notes\n");
        clones.make_a_mess("ada");
        clones.write("ada", "notes.txt", "notes, dirty\n");
        clones.run("ada", &["task", "update", &task, "--title", "by ada", "--label", "mine"]).data();
        clones.run("ada", &["note", &task, "--content", "by ada"]).data();
        clones.run("ada", &["task", "create", "--title", "ada's own"]).data();

        let before = Seen::of(&clones);
        let done = copy_of(&clones.dir("."));
        done.run("ada", &["sync"]).data();
        let after = Seen::of(&done);
        assert_eq!(before.mine, after.mine);
        assert!(before.events.is_subset(&after.events) && before.remote.is_subset(&after.events));
        let folder = clones.dir(".");
        Scene { folder, _room: Mutex::new(clones.room), task, before, after }
    }

    fn copy(&self) -> Clones {
        copy_of(&self.folder)
    }

    /// The calls at which agentpm is killed: all around other programs, and a sample of the rest.
    fn points(&self) -> Vec<Point> {
        let clones = self.copy();
        let trace = clones.dir("trace");
        let options = ["-e".to_owned(), format!("trace={CALLS}"), "-o".to_owned(), trace.display().to_string()];
        assert_eq!(run_to_the_end(&clones, &options, &[]), Some(0));
        let calls = all_calls_of(&std::fs::read_to_string(trace).unwrap());
        let is_start = |call: &Call| call.line.contains("CLONE_VFORK") || call.name == "vfork";
        let is_wait = |call: &Call| ["ppoll", "wait4", "waitid"].contains(&&*call.name);
        let is_thread = |call: &Call| call.name.starts_with("clone") && !is_start(call);
        let (around, rest): (Vec<Call>, Vec<Call>) = calls
            .into_iter()
            .filter(|call| call.matters() && !is_thread(call) && call.name != "poll" && call.name != "wait4")
            .partition(|call| is_start(call) || is_wait(call));
        assert!(around.len() > 20, "{around:?}");
        around
            .into_iter()
            .chain(sample(rest, SAMPLES))
            .map(|call| Point { git: 0, what: String::new(), call })
            .collect()
    }

    /// The calls of each git at which it is killed, and agentpm with it.
    fn points_of_git(&self) -> Vec<Point> {
        let clones = self.copy();
        let traces = clones.dir("traces");
        std::fs::create_dir(&traces).unwrap();
        let script = format!(
            "echo \"$@\" > {to}/$n.words\nexec strace -qq -e trace={GITS} -o {to}/$n -- $git \"$@\"",
            to = traces.display()
        );
        assert_eq!(run_to_the_end(&clones, &[], &[instead_of_git(&clones, &script)]), Some(0));
        let mut points = Vec::new();
        for git in 1.. {
            let Ok(trace) = std::fs::read_to_string(traces.join(git.to_string())) else { break };
            let words = std::fs::read_to_string(traces.join(format!("{git}.words"))).unwrap();
            let what = words.trim().rsplit("%P ").next().unwrap_or_default().to_owned();
            let calls = all_calls_of(&trace).into_iter().filter(Call::matters);
            let is_lock = |call: &Call| call.line.contains(".lock") || call.line.contains(".txt");
            points.extend(calls.map(|call| (is_lock(&call), Point { git, what: what.clone(), call })));
        }
        let (locks, rest): (Vec<_>, Vec<_>) = points.into_iter().partition(|(is_lock, _)| *is_lock);
        let points = |list: Vec<(bool, Point)>| -> Vec<Point> { list.into_iter().map(|(_, point)| point).collect() };
        let (locks, rest) = (points(locks), points(rest));
        assert!(locks.len() > 5, "git takes locks: {}", locks.len());
        sample(locks, GIT_SAMPLES * 3 / 4).into_iter().chain(sample(rest, GIT_SAMPLES / 4)).collect()
    }

    /// Runs a sync that is killed on entry of a call. Says whether it was, and waits for all that it started.
    fn dies_at(&self, clones: &Clones, point: &Point) -> bool {
        let Call { name, nth, .. } = &point.call;
        let options = [
            "-e".to_owned(),
            format!("trace={name}"),
            "-e".to_owned(),
            format!("inject={name}:signal=SIGKILL:when={nth}"),
            "-o".to_owned(),
            "/dev/null".to_owned(),
        ];
        run_to_the_end(clones, &options, &[]).is_none()
    }

    /// Runs a sync whose git, one of many, is killed on entry of a call, and then all of it.
    fn dies_with_git_at(&self, clones: &Clones, point: &Point) {
        let Call { name, nth, .. } = &point.call;
        let script = format!(
            "[ $n = {} ] || exec $git \"$@\"
strace -qq -o /dev/null -e trace={name} -e inject={name}:signal=SIGKILL:when={nth} -- $git \"$@\"
kill -KILL $PPID
kill -KILL -- -$$",
            point.git
        );
        assert_eq!(run_to_the_end(clones, &[], &[instead_of_git(clones, &script)]), None, "it was killed");
    }

    fn nothing_is_lost(&self, clones: &Clones) {
        clones.git("ada", &["status", "--porcelain"]).text();
        clones.git("ada", &["fsck", "--no-dangling"]).text();
        for left in ["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply", "sequencer"] {
            assert!(!clones.dir("ada/.git").join(left).exists(), "{left}");
        }
        let now = Seen::of(clones);
        assert_eq!(now.mine, self.before.mine);
        assert!(self.before.events.is_subset(&now.events), "an event is gone here");
        assert!(self.before.remote.is_subset(&now.remote), "an event is gone at the remote");
        assert!(now.head == self.before.head || now.theirs != self.before.theirs, "{}", now.head);
        assert!(now.theirs == self.before.theirs || self.before.events.is_subset(&now.remote), "pushed by halves");
        assert!(
            now.head == self.before.head || now.remote.is_subset(&events(clones, "ada", "HEAD")),
            "moved by halves"
        );
    }

    fn the_next_sync_ends_it(&self, clones: &Clones) {
        clones.run("ada", &["sync"]).data();
        clones.run("bob", &["sync"]).data();
        assert_eq!(plan(clones, "ada"), plan(clones, "bob"));
        let head = clones.git("ada", &["rev-parse", "HEAD"]).text().to_owned();
        assert_eq!(clones.git("bob", &["rev-parse", "HEAD"]).text(), head);
        let now = Seen::of(clones);
        assert_eq!(now.theirs, head);
        assert_eq!(now.mine, self.before.mine);
        assert_eq!(now.theirs_here, self.after.theirs_here);
        assert_eq!(now.events, self.after.events);
        assert_eq!(now.remote, self.after.remote);
        assert_eq!(clones.git("ada", &["log", "--format=%s%n%an", "--", "ada.txt"]).text(), "code\nTest");
        assert_eq!(clones.git("ada", &["status", "--porcelain", ".agentpm"]).text(), "");
        for name in ["ada", "bob"] {
            assert_eq!(clones.run(name, &["lint"]).data()["findings"], json!([]), "{name}");
        }
        let task = clones.run("ada", &["task", "get", &self.task]).data();
        assert_eq!(
            (&task["title"], &task["priority"], &task["labels"]),
            (&json!("by ada"), &json!(1), &json!(["mine"]))
        );
        assert_eq!(clones.run("ada", &["stats"]).data()["tasks"], 3);
    }
}

impl Seen {
    fn of(clones: &Clones) -> Self {
        let mut mine = clones.users("ada");
        // Only of what is the user's own: the upstream's files may be on their way.
        const FILES: [&str; 4] = ["code.txt", "notes.txt", "ada.txt", "new.txt"];
        for (what, args) in [
            ("index", &["ls-files", "--stage", "--"][..]),
            ("staged", &["diff", "--cached", "--"]),
            ("dirty", &["diff", "--"]),
            ("untracked", &["ls-files", "--others", "--"]),
        ] {
            mine.insert(what, clones.git("ada", &[args, &FILES].concat()).text().to_owned());
        }
        let text = |file: &str| std::fs::read_to_string(clones.dir("ada").join(file)).ok();
        let theirs_here = ["lib.txt", "bob.txt"].map(text);
        let events = tree(&clones.dir("ada/.agentpm")).iter().flat_map(|(path, text)| ids(path, text)).collect();
        let head = clones.git("ada", &["rev-parse", "HEAD"]).text().to_owned();
        let theirs = clones.git("remote.git", &["rev-parse", "main"]).text().to_owned();
        let remote = self::events(clones, "remote.git", "main");
        Seen { mine, theirs_here, head, theirs, events, remote }
    }
}

/// The ids of the events in all logs of a commit.
fn events(clones: &Clones, name: &str, commit: &str) -> BTreeSet<String> {
    let said = clones.git(name, &["grep", "-h", "", commit, "--", ".agentpm/*/events.jsonl"]);
    said.text().lines().flat_map(|line| ids("events.jsonl", line)).collect()
}

fn ids(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().filter(|_| path.ends_with("events.jsonl"));
    lines
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).map_or_else(|_| line.to_owned(), |e| e["id"].to_string())
        })
        .collect()
}

/// A call of agentpm's (`git` is 0), or of one of the gits that it starts.
struct Point {
    git: usize,
    what: String,
    call: Call,
}

impl Display for Point {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Call { name, nth, line } = &self.call;
        let who = if self.git == 0 { "agentpm".to_owned() } else { format!("git {} {}", self.git, self.what) };
        write!(f, "{who} killed at {name} {nth}: {line}")
    }
}

/// So many of them, spread evenly.
fn sample<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let len = all.len().max(1);
    let chosen = |place: usize| place * most / len != (place + 1) * most / len;
    all.into_iter().enumerate().filter(|(place, _)| len <= most || chosen(*place)).map(|(_, one)| one).collect()
}

/// Files of git that lock something, here and at the remote.
fn locks(clones: &Clones) -> Vec<PathBuf> {
    let below =
        |name: &str| walkdir::WalkDir::new(clones.dir(name)).into_iter().map(|entry| entry.unwrap().into_path());
    let mut found: Vec<PathBuf> = below("ada/.git").chain(below("remote.git")).collect();
    found.retain(|path| {
        path.extension().is_some_and(|ext| ext == "lock") && !path.to_string_lossy().contains("agentpm")
    });
    found
}

/// The same rooms in another folder.
fn copy_of(folder: &Path) -> Clones {
    let room = Sandbox::nothing();
    let to = room.beside(".");
    Answer::from(room.sealed("cp", folder).arg("-a").arg(folder).arg(&to).output().unwrap()).text();
    for name in ["repo", "ada", "bob"] {
        let config = room.beside(name).join(".git/config");
        let text = std::fs::read_to_string(&config).unwrap();
        let here = |folder: &Path| folder.join("remote.git").display().to_string().replace("/./", "/");
        std::fs::write(&config, text.replace(&here(folder), &here(&to))).unwrap();
    }
    Clones { room }
}

/// A folder for PATH with a `git` that runs this, `$git` being the real one and `$n` how many were started by then.
fn instead_of_git(clones: &Clones, script: &str) -> (&'static str, OsString) {
    let folder = clones.dir("bin");
    let real = Path::new(crate::machine::path()).join("git");
    let count = clones.dir("count");
    let head = format!(
        "git={}\nn=$(($(cat {count} 2>/dev/null || echo 0) + 1))\necho $n > {count}",
        real.display(),
        count = count.display()
    );
    crate::sync::hook(&folder, "git", &format!("{head}\n{script}"));
    ("PATH", crate::machine::path_after(&folder))
}

/// Runs `sync` of ada under strace, and waits until nothing that it started is left. `None` where a signal ended it.
fn run_to_the_end(clones: &Clones, options: &[String], vars: &[(&str, OsString)]) -> Option<i32> {
    let pipe = clones.dir("pipe");
    Answer::from(clones.room.sealed("mkfifo", &clones.dir(".")).arg(&pipe).output().unwrap()).text();
    let mut command = clones.room.sealed("sh", &clones.dir("ada"));
    command.env("AGENTPM_AGENT", "ada").envs(vars.iter().cloned()).stdout(Stdio::null()).stderr(Stdio::null());
    // What agentpm starts inherits the pipe, and so does what that starts.
    command.args(["-c", "exec \"$@\" 9>../pipe", "sh"]);
    if !options.is_empty() {
        command.args(["strace", "-qq"]).args(options).arg("--");
    }
    let mut child = command.arg(env!("CARGO_BIN_EXE_agentpm")).arg("sync").spawn().expect("sh starts");
    std::fs::File::open(&pipe).unwrap().read_to_end(&mut Vec::new()).unwrap();
    let status = child.wait().unwrap();
    std::fs::remove_file(&pipe).unwrap();
    (status.signal() != Some(9)).then(|| status.code().unwrap_or(-1))
}
