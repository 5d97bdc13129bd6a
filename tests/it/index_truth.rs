//! The read model is never trusted against the files: whatever commands, git, people and accidents do behind its back, each
//! answer is the one of an index that is made from nothing.
//!
//! `SEED` and `STEPS` set the dice and how many steps are played. Undetectable changes are not played: bytes that change behind
//! the file system's back, or on one that keeps no time of an inode's change, where size, time and inode stay; and a piece
//! of index.db written over in place, of which SQLite sees only what breaks its own order, with an older copy of itself too: then an
//! answer must come, and the index is gone before the next step.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use crate::sandbox::{Answer, Sandbox, rounds};

/// Chance from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % n
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const WORDS: [&str; 6] = ["alpha", "beta", "Gamma", "délta", "同期", "omega"];

struct World {
    room: Sandbox,
    dice: Dice,
    /// Copies of index.db that were set aside.
    kept: Vec<PathBuf>,
    steps: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let room = Sandbox::new();
        room.at("2026-11-20T10:00:00Z");
        let mut world = World { room, dice: Dice(seed), kept: Vec::new(), steps: 0 };
        for n in 0..10 {
            let title = world.words();
            world.room.task(&title, &["--label", WORDS[n % 3], "--priority", &(n % 4).to_string()]);
        }
        world.commit();
        // Another clone, with an index of its own.
        let other = world.room.beside("other");
        world.room.git(&["clone", "-q", ".", &other.display().to_string()]).text();
        world.room.task("later", &[]);
        world.room.run_in(&other, &["ls", "--query", "alpha"]).data();
        world
    }

    fn words(&mut self) -> String {
        self.steps += 1;
        format!("{} {} n{}", self.dice.one(&WORDS), self.dice.one(&WORDS), self.steps)
    }

    fn index(&self) -> PathBuf {
        self.room.repo().join(".git/agentpm/index.db")
    }

    fn folders(&self) -> Vec<PathBuf> {
        let tasks = walkdir::WalkDir::new(self.room.store().join("tasks")).min_depth(3).max_depth(3);
        let entries = tasks.into_iter().filter_map(Result::ok).filter(|entry| entry.file_type().is_dir());
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.into_path()).collect();
        all.sort();
        all
    }

    fn folder(&mut self) -> Option<PathBuf> {
        let folders = self.folders();
        (!folders.is_empty()).then(|| self.dice.one(&folders).clone())
    }

    fn id(&mut self) -> String {
        self.folder()
            .map_or_else(|| "ZZZZZZ".into(), |folder| folder.file_name().unwrap().to_string_lossy().into_owned())
    }

    fn log(&mut self) -> Option<PathBuf> {
        self.folder().map(|folder| folder.join("events.jsonl")).filter(|log| log.is_file())
    }

    fn commit(&self) {
        let _ = self.room.git(&["add", "-A"]);
        let _ = self.room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", "step"]);
    }

    /// One command of the program; it may be refused.
    fn command(&mut self) -> String {
        let (id, other, words) = (self.id(), self.id(), self.words());
        let args: Vec<&str> = match self.dice.below(9) {
            0 => vec!["task", "create", "--title", &words],
            1 => vec!["task", "update", &id, "--title", &words],
            2 => vec!["task", "update", &id, "--add-label", "beta"],
            3 => vec!["done", &id, "--force", "it is"],
            4 => vec!["next", "--claim"],
            5 => vec!["task", "block", &id, "--by", &other],
            6 => vec!["note", &id, "--content", &words],
            7 => vec!["progress", "add", &id, "--content", &words],
            _ => vec!["release", &id],
        };
        let _ = self.room.run(&args);
        args.join(" ")
    }

    fn git(&mut self) -> String {
        let branch = format!("b{}", self.dice.below(3));
        let merge = ["merge", "-q", "--no-edit", &branch];
        let rebase = ["rebase", "-q", &branch];
        let args: &[&str] = match self.dice.below(10) {
            0 => &["checkout", "-q", "-f", "-B", &branch],
            1 => &["checkout", "-q", "-f", &branch],
            2 => &["checkout", "-q", "-f", "main"],
            3 => &["reset", "-q", "--hard", "HEAD~1"],
            4 => &["stash", "-q", "-u"],
            5 => &["stash", "pop", "-q"],
            6 => &merge,
            7 => &rebase,
            8 => &["revert", "--no-edit", "HEAD"],
            _ => &["clean", "-q", "-fdx"],
        };
        if self.dice.below(2) == 0 {
            self.commit();
        }
        let _ = self.room.git(args);
        let words = args.join(" ");
        if self.dice.below(2) == 0 {
            // What was left in the middle is given up, or stays for the steps that follow.
            for what in ["merge", "rebase", "revert"] {
                let _ = self.room.git(&[what, "--abort"]);
            }
            return format!("git {words}, given up where it stopped");
        }
        format!("git {words}")
    }

    /// A person, another program or a tool changes a log or a folder.
    fn hand(&mut self) -> String {
        let (Some(log), Some(folder)) = (self.log(), self.folder()) else { return "nothing there".into() };
        let name = log.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&log).unwrap();
        let time = fs::metadata(&log).unwrap().modified().unwrap();
        let set_back = |path: &Path, to: SystemTime| {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_modified(to).unwrap();
        };
        // Another text of the same length, as a search-and-replace over the files makes it.
        let other: Vec<u8> = String::from_utf8_lossy(&bytes).replace("alpha", "ALPHA").replace("beta", "alph").into();
        let same_size = String::from_utf8_lossy(&bytes).replace("omega", "OMEGA").replace("beta", "BETA").into_bytes();
        let step = match self.dice.below(13) {
            0 => {
                fs::write(&log, &same_size).unwrap();
                set_back(&log, time);
                "same size, time set back"
            }
            1 => {
                let beside = log.with_extension("new");
                fs::write(&beside, &same_size).unwrap();
                set_back(&beside, time);
                fs::rename(&beside, &log).unwrap();
                "replaced by rename, same size and time"
            }
            2 => {
                fs::write(&log, &other).unwrap();
                set_back(&log, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
                "another text, an old time"
            }
            3 => {
                fs::write(&log, &same_size).unwrap();
                set_back(&log, SystemTime::now() + Duration::from_secs(100_000));
                "a time of tomorrow"
            }
            4 => {
                fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
                "cut off"
            }
            5 => {
                fs::write(&log, "").unwrap();
                "emptied"
            }
            6 => {
                let mut file = fs::File::options().append(true).open(&log).unwrap();
                let line = bytes.split(|byte| *byte == b'\n').find(|line| !line.is_empty()).unwrap_or_default();
                file.write_all(line).unwrap();
                file.write_all(b"\n{\"v\":1}\n").unwrap();
                "lines appended"
            }
            7 => {
                fs::remove_dir_all(&folder).unwrap();
                "a folder removed"
            }
            8 => {
                let away = self.room.beside("away");
                let _ = fs::remove_dir_all(&away);
                fs::rename(&folder, &away).unwrap();
                copy(&away, &folder);
                "a folder moved away and copied back"
            }
            9 => {
                let wrong = folder.with_file_name("01AAAAAAAAAAAAAAAAAAAAAAAA");
                copy(&folder, &wrong);
                "a folder copied under another name"
            }
            10 => {
                let swap = self.log().unwrap_or_else(|| log.clone());
                let (a, b) = (fs::read(&log).unwrap(), fs::read(&swap).unwrap());
                fs::write(&log, b).unwrap();
                fs::write(&swap, a).unwrap();
                "two logs swapped"
            }
            11 => {
                let yaml = log.with_file_name("task.yaml");
                let text = fs::read_to_string(&yaml).unwrap_or_default();
                fs::write(&yaml, text.replace("title: ", "title: edited ")).unwrap();
                "a task.yaml edited"
            }
            _ => {
                let _ = fs::remove_file(&log);
                "a log removed"
            }
        };
        format!("{step} ({name})")
    }

    /// Something happens to the index itself.
    fn accident(&mut self) -> String {
        let index = self.index();
        let beside = |tail: &str| PathBuf::from(format!("{}{tail}", index.display()));
        let bytes = fs::read(&index).unwrap_or_default();
        match self.dice.below(11) {
            0 => {
                for tail in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(beside(tail));
                }
                "index.db deleted".to_owned()
            }
            1 => {
                let _ = fs::remove_file(&index);
                "index.db deleted, its log left".to_owned()
            }
            2 => {
                let _ = fs::write(&index, &bytes[..bytes.len() * 2 / 3]);
                "index.db cut off".to_owned()
            }
            3 => {
                // From the first byte all of it, or a piece in the middle, whose damage is not detected; then no more is asked than an answer.
                let at = self.dice.below(2) * self.dice.below(bytes.len().max(1));
                let length = if at == 0 { bytes.len() } else { 5_000 };
                let mut bytes = bytes;
                bytes.iter_mut().skip(at).take(length).for_each(|byte| *byte = 0x5A);
                let _ = fs::write(&index, &bytes);
                if at > 0 {
                    for question in [&["next"][..], &["ls", "--query", "alpha"], &["graph", "--all"], &["ls", "--all"]]
                    {
                        let answer = self.room.run(question);
                        assert_eq!(answer.code, 0, "index.db spoilt from byte {at}: {question:?} {answer:?}");
                    }
                    for tail in ["", "-wal", "-shm"] {
                        let _ = fs::remove_file(beside(tail));
                    }
                }
                format!("index.db spoilt from byte {at}")
            }
            4 => {
                let _ = fs::write(&index, "no database at all, but a text that is long enough\n".repeat(100));
                "index.db is a text".to_owned()
            }
            5 => {
                let _ = fs::write(&index, "");
                "index.db emptied".to_owned()
            }
            6 => {
                let copy = self.room.beside(&format!("kept{}.db", self.kept.len()));
                if fs::copy(&index, &copy).is_ok() {
                    self.kept.push(copy);
                }
                "index.db copied away".to_owned()
            }
            7 => {
                let other = self.room.beside("other/.git/agentpm/index.db");
                let from = if self.kept.is_empty() { other } else { self.dice.one(&self.kept).clone() };
                let _ = fs::remove_file(&index);
                let _ = fs::copy(from, &index);
                "index.db replaced by an older copy, the log left".to_owned()
            }
            8 => {
                let other = self.room.beside("other/.git/agentpm");
                for tail in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(beside(tail));
                    let _ = fs::copy(other.join(format!("index.db{tail}")), beside(tail));
                }
                "index.db of another clone".to_owned()
            }
            9 => {
                if let Ok(db) = rusqlite::Connection::open(&index) {
                    let _ = db.execute_batch(
                        "PRAGMA user_version=3; DROP TABLE IF EXISTS edge; CREATE TABLE IF NOT EXISTS odd(x);",
                    );
                }
                "index.db of another version".to_owned()
            }
            _ => {
                // Killed somewhere on the way, with whatever it had written by then.
                let _ = fs::remove_file(self.room.repo().join(".git/agentpm/index.db-shm"));
                let mut command = self.room.agentpm();
                command.args(["ls", "--query", "alpha"]).stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = command.spawn().unwrap();
                let begun = Instant::now();
                let micros = self.dice.below(30_000);
                while begun.elapsed().as_micros() < micros as u128 {
                    std::hint::spin_loop();
                }
                let _ = child.kill();
                child.wait().unwrap();
                format!("a writer killed after {micros} us")
            }
        }
    }

    fn two_at_once(&mut self) -> String {
        let words = [self.words(), self.words(), self.words()];
        let id = self.id();
        let all: [&[&str]; 4] = [
            &["task", "create", "--title", &words[0]],
            &["note", &id, "--content", &words[1]],
            &["ls", "--query", "alpha"],
            &["task", "create", "--title", &words[2]],
        ];
        let started: Vec<_> = all
            .iter()
            .map(|args| self.room.agentpm().args(*args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
            .collect();
        for mut child in started {
            child.wait().unwrap();
        }
        "four at once".to_owned()
    }

    fn step(&mut self) -> String {
        match self.dice.below(10) {
            0..3 => self.command(),
            3..5 => self.git(),
            5..7 => self.hand(),
            7..9 => self.accident(),
            _ => self.two_at_once(),
        }
    }

    /// Every answer is that of an index made from nothing.
    fn compare(&mut self) -> Result<(), String> {
        let (id, word) = (self.id(), self.dice.one(&WORDS).to_owned());
        let without = format!("-{word} sort:updated");
        let questions: [&[&str]; 10] = [
            &["ls", "--query", word],
            &["next", "--explain"],
            &["ready", "--explain"],
            &["task", "list", "--all"],
            &["ls", "--all", &format!("--query={without}")],
            &["ls", "--query", "同期"],
            &["brief", &id],
            &["task", "get", &id],
            &["log", &id],
            &["graph", "--all", "--json"],
        ];
        for question in questions {
            let ask = |index: Option<&str>| {
                let mut command = self.room.agentpm();
                command.args(question);
                if let Some(index) = index {
                    command.env("AGENTPM_DB", index);
                }
                Answer::from(command.output().unwrap())
            };
            // Where nothing can be written, each answer is made from nothing.
            let (with, without) = (ask(None), ask(Some("/dev/null/none")));
            if (with.code, &with.stdout) != (without.code, &without.stdout) {
                return Err(format!("{question:?}\n  with the index: {with:?}\n  from nothing: {without:?}"));
            }
            if with.code == 10 {
                return Err(format!("{question:?}: {with:?}"));
            }
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn no_answer_differs_from_that_of_an_index_made_from_nothing() {
    let seed = number("SEED").unwrap_or(20_261_122);
    let steps = number("STEPS").unwrap_or(rounds(300) as u64);
    println!("SEED={seed} STEPS={steps}");
    let mut played = 0;
    for round in 0.. {
        if played >= steps {
            break;
        }
        let seed = seed.wrapping_mul(1_000_003).wrapping_add(round);
        let mut world = World::new(seed);
        let mut history = Vec::new();
        for _ in 0..20.min(steps - played) {
            played += 1;
            let step = world.step();
            history.push(step);
            // Some steps come without a look in between.
            if world.dice.below(4) == 0 {
                continue;
            }
            if let Err(wrong) = world.compare() {
                panic!(
                    "SEED={} ROUND={round} after:\n  {}\n{wrong}",
                    number("SEED").unwrap_or(20_261_122),
                    history.join("\n  ")
                );
            }
        }
    }
}
