//! What a command does, counted by strace and not timed: so that a regression is seen on a busy machine too.
//!
//! The store is the one the benchmark measures, of 3,000 tasks or, in full rounds, 10,000, committed, the index warm. All counts are of the whole process, its
//! start and the libraries it loads included. Bytes of files that are mapped into memory are not counted.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::process::Stdio;

use crate::sandbox::{Sandbox, plays_all};
use crate::standard_store as store;

/// The size of a small store.
const SMALL: usize = 1_000;
/// Large enough that its first reading takes a while.
const MEDIUM: usize = 5_000;

/// The size of a large one.
fn large() -> usize {
    if plays_all() { 10_000 } else { 3_000 }
}

/// At most so much at 10 000 tasks: about 1.3 times what it was when this was written. Where a figure goes down, so does its ceiling.
#[rustfmt::skip]
const CEILINGS: &[(&str, Counts)] = &[
    // Every task's log is asked for its size and time, folder by folder: the index is trusted only where the files are as it read them.
    // Of the index the columns that ranking needs are read, of all unfinished tasks.
    ("next",     Counts { opened: 2_700, looked_at: 13_000, read: 5_200_000, written:   1_500, flushed: 0, started: 0 }),
    // Of other tasks only the family and the blockers are looked at, by the index.
    ("task get", Counts { opened:   120, looked_at:    200, read: 1_300_000, written:   2_000, flushed: 0, started: 0 }),
    ("brief",    Counts { opened:   120, looked_at:    200, read: 1_300_000, written:   2_000, flushed: 0, started: 0 }),
    // The libraries, the settings, the lock, the journal, its mark and the new task's files; for similar tasks the index as it is, of
    // which the titles of the newest tasks are read. Nothing that grows with the store.
    ("create",   Counts { opened:    48, looked_at:     82, read:   300_000, written:   2_600, flushed: 1, started: 0 }),
    // Who waits for the task is asked of the index, which takes in what commands did since it was asked last, and looks at no other
    // file. SQLite collects up to 200 pages of such changes (800 KB) before it puts them in their place, and the process that opens the index
    // reads what is collected.
    ("done",     Counts { opened:    90, looked_at:    150, read: 1_300_000, written: 1_100_000, flushed: 1, started: 0 }),
    // As next, with who made each task ready, and the record of the agent. Of the journal and the logs only what is new.
    ("inbox",    Counts { opened: 2_700, looked_at: 13_000, read: 7_000_000, written:   1_500, flushed: 0, started: 0 }),
    ("next, unread", Counts { opened: 2_700, looked_at: 13_000, read: 7_200_000, written: 1_500, flushed: 0, started: 0 }),
    // The number at the last look, and what came since.
    ("note, unread", Counts { opened:  52, looked_at:     66, read:   100_000, written:   2_800, flushed: 1, started: 0 }),
];

/// What a command did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Counts {
    /// Files and folders opened.
    opened: u64,
    /// Files and folders whose size and time were asked for.
    looked_at: u64,
    /// Bytes read.
    read: u64,
    /// Bytes written.
    written: u64,
    /// Waits for the disk: fsync, fdatasync, syncfs.
    flushed: u64,
    /// Other processes started; threads are none.
    started: u64,
}

impl Counts {
    fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("files opened", self.opened),
            ("files looked at", self.looked_at),
            ("bytes read", self.read),
            ("bytes written", self.written),
            ("flushes", self.flushed),
            ("processes started", self.started),
        ]
    }

    /// Of a trace that `strace -f` wrote.
    fn of(trace: &str) -> Self {
        let mut counts = Counts::default();
        for line in trace.lines() {
            // Where several processes are followed, each line begins with a number.
            let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
            let begun = line.strip_prefix("<... ");
            let name = begun.unwrap_or(line).split(['(', ' ']).next().unwrap_or_default();
            // A call that another interrupts stands on two lines: its arguments on the first, its result on the second.
            if begun.is_none()
                && matches!(name, "clone" | "clone3" | "fork" | "vfork")
                && !line.contains("CLONE_THREAD")
            {
                counts.started += 1;
            }
            let result = line.rsplit_once(" = ").and_then(|(_, r)| r.split(' ').next()?.parse::<u64>().ok());
            let Some(result) = result else { continue };
            match name {
                "open" | "openat" | "openat2" | "creat" => counts.opened += 1,
                "stat" | "lstat" | "fstat" | "newfstatat" | "statx" => counts.looked_at += 1,
                "read" | "readv" | "pread64" | "preadv" | "preadv2" => counts.read += result,
                "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" | "sendfile" | "copy_file_range" => {
                    counts.written += result;
                }
                "fsync" | "fdatasync" | "syncfs" | "sync_file_range" => counts.flushed += 1,
                _ => {}
            }
        }
        counts
    }
}

impl Display for Counts {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let words: Vec<String> = self.parts().iter().map(|(what, n)| format!("{n} {what}")).collect();
        f.write_str(&words.join(", "))
    }
}

/// A store of so many tasks, committed.
fn standard(tasks: usize) -> Sandbox {
    let room = Sandbox::new();
    store::write(&room.repo(), tasks);
    store::commit(&room.repo(), |args| {
        let mut git = room.sealed("git", &room.repo());
        git.args(args);
        git
    });
    room
}

/// A command before a terminal of its own.
pub fn before_a_terminal(room: &Sandbox, args: &str) -> String {
    let mut command = room.agentpm_like("script");
    let line = format!("{} {args}", env!("CARGO_BIN_EXE_agentpm"));
    // Without the kind of terminal nothing is drawn.
    let output = command
        .env("TERM", "xterm")
        .args(["-qec", &line, "/dev/null"])
        .stdin(Stdio::null())
        .output()
        .expect("script, of bsdutils");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn of_a_store(tasks: usize) -> Vec<((usize, &'static str), Counts)> {
    let room = standard(tasks);
    let open = store::open_tasks(tasks);
    let commands: [(&'static str, &[&str]); 5] = [
        ("next", &["next"]),
        ("task get", &["task", "get", &open[0]]),
        ("brief", &["brief", &open[0]]),
        ("create", &["task", "create", "--title", "one more task"]),
        ("done", &["done", &open[1], "--outcome", "it holds"]),
    ];
    // The first command reads fresh files again, the first query indexes new ones, and the next one checkpoints the index. A store
    // in use is past all of this.
    room.run(&["next"]).data();
    for task in &open[2..4] {
        room.run(&["claim", task]).data();
        room.run(&["done", task]).data();
        for (_, args) in &commands[..3] {
            room.run(args).data();
        }
    }
    room.run(&["claim", &open[1]]).data();
    for _ in 0..2 {
        room.run(&["next"]).data();
    }
    let mut counted: Vec<_> = commands.iter().map(|(name, args)| ((tasks, *name), count(&room, args))).collect();
    // From its first look on an agent has an inbox. What another one did since is unread.
    room.run(&["inbox"]).data();
    room.run_as("bob", &["task", "create", "--title", "for ada"]).data();
    room.run_as("bob", &["broadcast", "--body", "hello"]).data();
    // Twice, as above: files that were read in the moment in which they were written are read once more.
    for _ in 0..2 {
        room.run(&["inbox"]).data();
    }
    let with_inbox: [(&'static str, &[&str]); 3] =
        [("inbox", &["inbox"]), ("next, unread", &["next"]), ("note, unread", &["note", &open[4], "--content", "x"])];
    counted.extend(with_inbox.iter().map(|(name, args)| ((tasks, *name), count(&room, args))));
    counted
}

/// Runs a command under strace.
fn count(room: &Sandbox, args: &[&str]) -> Counts {
    let trace = room.beside("trace");
    let calls = "trace=?open,?openat,?openat2,?creat,?stat,?lstat,?fstat,?newfstatat,?statx,?read,?readv,?pread64,?preadv,\
                 ?preadv2,?write,?writev,?pwrite64,?pwritev,?pwritev2,?sendfile,?copy_file_range,?fsync,?fdatasync,?syncfs,\
                 ?sync_file_range,?clone,?clone3,?fork,?vfork";
    let mut command = room.agentpm_like("strace");
    command.args(["-f", "-qq", "-e", calls, "-o"]).arg(&trace).arg("--").arg(env!("CARGO_BIN_EXE_agentpm")).args(args);
    let output = command.stderr(Stdio::piped()).output().expect("strace starts");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let counts = Counts::of(&std::fs::read_to_string(&trace).expect("a trace"));
    assert!(counts.opened > 5 && counts.read > 0, "a trace of the command: {counts}");
    counts
}

#[test]
fn no_command_does_more_than_it_needs_in_a_large_store() {
    crate::machine::needs!("strace");
    let large = large();
    let counted: BTreeMap<(usize, &str), Counts> = [SMALL, large].into_iter().flat_map(of_a_store).collect();
    let mut broken = Vec::new();
    for (command, ceiling) in CEILINGS {
        let seen = counted[&(large, *command)];
        for ((what, seen), (_, most)) in seen.parts().into_iter().zip(ceiling.parts()) {
            if seen > most {
                broken.push(format!("{command}: {seen} {what}, at most {most}"));
            }
        }
    }
    // Many times the tasks do not open ten times the files. Tasks lie in 1 024 folders at most, of which 1 000 tasks fill 640: who looks
    // at all of them opens each, and lists it. The 32 folders above these are all there at both sizes.
    const FOLDERS: u64 = 2 * (1_024 - 640);
    for (command, more) in [("create", 2), ("done", 2), ("brief", 2), ("task get", 2), ("next", FOLDERS)] {
        let (few, many) = (counted[&(SMALL, command)].opened, counted[&(large, command)].opened);
        if many > few + more + 40 {
            broken.push(format!("{command}: {few} files opened at {SMALL} tasks, {many} at {large}"));
        }
    }
    let all: Vec<String> = counted.iter().map(|((tasks, name), seen)| format!("{name} at {tasks}: {seen}")).collect();
    assert!(broken.is_empty(), "{}\n\nall that was counted:\n{}", broken.join("\n"), all.join("\n"));
}

#[test]
fn a_terminal_shows_progress() {
    crate::machine::needs!("script");
    let seen = before_a_terminal(&standard(MEDIUM), "next");
    assert!(seen.contains("reading the plan") && seen.contains("of 5,000"), "{seen:?}");
    // What was shown is gone again before the answer.
    let answer = seen.rsplit_once("\u{1b}[2K").map_or(seen.as_str(), |(_, rest)| rest);
    assert!(!answer.contains("reading the plan") && answer.contains("task"), "{seen:?}");
}

#[test]
fn the_standard_store_has_its_stated_shape() {
    let (room, again) = (standard(SMALL), Sandbox::new());
    store::write(&again.repo(), SMALL);
    room.is_clean();
    let (mut events, mut blocked) = (0, 0);
    for n in 0..SMALL {
        let id = store::id(n).to_string();
        let [log, yaml] = [room.log_of(&id), room.yaml_of(&id)].map(|path| std::fs::read(path).expect("a file"));
        let same = [again.log_of(&id), again.yaml_of(&id)].map(|path| std::fs::read(path).expect("a file"));
        assert!([&log, &yaml] == same.each_ref(), "task {n} is not the same twice");
        let log = String::from_utf8(log).expect("UTF-8");
        events += log.lines().count();
        blocked += usize::from(log.contains("\"type\":\"blocks\""));
    }
    assert_eq!(events, 5 * SMALL, "five events a task");
    assert!((300..370).contains(&blocked), "{blocked} of {SMALL} tasks wait for others, a third should");
    let closed = room.run(&["task", "list", "--status", "completed", "--limit", "1"]).data();
    assert_eq!(closed["total"], 600, "{closed:#}");
}
