//! A store that disks, editors and people have damaged: it is read without a panic, the damage is named, no other task is
//! hidden, reading changes nothing, and mending drops no line that it does not understand.
//!
//! `SEED` and `ROUNDS` choose what is played, `ROUND` one case of it. What no log stands behind (settings, roles) may say something else and still be
//! right; of those only an unreadable one must be named. Git's own files in the store are a person's to write.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use agentpm::engine::{self, Comments, Deleted, Fix, LintReport, Options, Workspace};
use agentpm::env::Env;
use agentpm::model::event::{MAX_LINE, parse_line};
use agentpm::model::finding::Finding;
use agentpm::model::yaml::render_task;

use crate::sandbox::{Sandbox, sealed_vars};

/// Megabytes of address space that a command on a damaged store may take.
const MEMORY: u64 = 256;
/// Every so many cases are put to the real binary, and so many to `lint --fix` in process.
const BY_BINARY: u64 = 50;
const BY_FIX: u64 = 10;

/// Chance from a seed.
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }

    pub fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    File(Vec<u8>),
    Dir,
    Link(PathBuf),
    Fifo,
}

type Tree = BTreeMap<PathBuf, Thing>;

/// All that lies beneath a folder, by its path from there.
fn tree(top: &Path) -> Tree {
    let (mut found, mut open) = (Tree::new(), vec![top.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let kind = fs::symlink_metadata(&path).unwrap().file_type();
            let thing = match () {
                () if kind.is_dir() => {
                    open.push(path.clone());
                    Thing::Dir
                }
                () if kind.is_symlink() => Thing::Link(fs::read_link(&path).unwrap()),
                () if kind.is_file() => Thing::File(fs::read(&path).unwrap()),
                () => Thing::Fifo,
            };
            found.insert(path.strip_prefix(top).unwrap().to_owned(), thing);
        }
    }
    found
}

fn remove(path: &Path) {
    match fs::symlink_metadata(path).map(|m| m.is_dir()) {
        Ok(true) => fs::remove_dir_all(path).unwrap(),
        Ok(false) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// Makes the store as it was.
fn restore(top: &Path, good: &Tree) {
    let now = tree(top);
    // What is below comes first, so that a folder in the place of a file is gone with all it holds.
    for (path, thing) in now.iter().rev().filter(|(path, thing)| good.get(*path) != Some(*thing)) {
        match thing {
            Thing::Dir => remove(&top.join(path)),
            _ if matches!(good.get(path), Some(Thing::File(_))) && matches!(thing, Thing::File(_)) => {}
            _ => remove(&top.join(path)),
        }
    }
    for (path, thing) in good.iter().filter(|(path, thing)| now.get(*path) != Some(*thing)) {
        match thing {
            Thing::Dir => fs::create_dir_all(top.join(path)).unwrap(),
            Thing::File(bytes) => fs::write(top.join(path), bytes).unwrap(),
            other => panic!("a good store holds no {other:?}"),
        }
    }
}

/// A store with something of everything. Gives the ids of its tasks.
fn rich() -> (Sandbox, Vec<String>) {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let top =
        room.task("Ship the reader", &["--type", "feature", "--intent", "So that logs can be read: fast, \"safe\"."]);
    let more = ["--parent", &top, "--label", "core", "--acceptance", "reads a line", "--acceptance", "bounds memory"];
    let first = room.task("Read a line", &[&more[..], &["--priority", "1", "--file", "src/log.rs"]].concat());
    let second = room.task("Wörter – 漢字 🎈", &["--parent", &top, "--blocked-by", &first, "--label", "später"]);
    let third = room.task("Write the page", &["--blocked-by", &first, "--blocked-by", &second]);
    let done = room.task("Choose a format", &[]);
    let dropped = room.task("Write our own parser", &[]);
    let gone = room.task("Old work", &[]);
    let forked = room.task("Changed on two branches", &[]);
    let ahead = room.task("Written by a newer program", &[]);
    let all = vec![top, first, second, third, done, dropped, gone, forked, ahead];
    let [top, first, second, third, done, dropped, gone, forked, ahead] = &all[..] else { unreachable!() };
    let say = |args: &[&str]| drop(room.run(args).data());
    say(&["agent", "register", "--name", "ada", "--role", "coder"]);
    say(&["agent", "register", "--name", "bob", "--role", "reviewer"]);
    say(&["claim", first]);
    say(&["progress", "add", first, "--content", "open the file"]);
    say(&["progress", "add", first, "--content", "split at newlines"]);
    let item = room.get(first)["progress"]["items"][0]["id"].as_str().unwrap().to_owned();
    say(&["progress", "complete", &item]);
    say(&["note", first, "--content", "Files come with CRLF too.\nKeep them."]);
    say(&["context", "add", "--task-id", first, "--type", "decision", "--content", "one buffer"]);
    say(&["task", "relate", third, "--to", done, "--type", "relates_to"]);
    say(&["task", "update", second, "--priority", "3", "--intent=- not a list\n# not a comment\n'quoted'"]);
    for id in [done, gone] {
        say(&["claim", id]);
        say(&["done", id, "--force", "for the story"]);
    }
    say(&["task", "archive", gone]);
    say(&["task", "transition", dropped, "--status", "cancelled"]);
    say(&["note", top, "--content", "the whole of it"]);
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [create, update, claim, complete]}\n").unwrap();
    fs::write(
        room.store().join("config.toml"),
        "format = 1\n\n[lint.severity]\n# one rule\nevent-time = \"warning\"\n",
    )
    .unwrap();

    // Two branches change one value, and a merge brings them together.
    let commit = |word: &str| {
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", word]).text();
    };
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    commit("plan");
    room.git(&["checkout", "-q", "-b", "side"]).text();
    say(&["task", "update", forked, "--priority", "1", "--title", "As the side says"]);
    commit("side");
    room.git(&["checkout", "-q", "main"]).text();
    say(&["task", "update", forked, "--priority", "4", "--title", "As main says"]);
    commit("main");
    let _ = room.git(&["merge", "-q", "--no-edit", "side"]);
    say(&["resolve"]);
    // A program of a later year was here.
    let log = fs::read_to_string(room.log_of(ahead)).unwrap();
    let mut event: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    event["parents"] = serde_json::json!([event["id"]]);
    event["id"] = serde_json::json!("01KZZZZZZZ0000000000000000");
    event["lamport"] = serde_json::json!(event["lamport"].as_u64().unwrap() + 500);
    event["type"] = serde_json::json!("TaskDreamt");
    event["payload"] = serde_json::json!({ "of": ["sheep", 1, null] });
    fs::write(room.log_of(ahead), format!("{log}{event}\n")).unwrap();
    say(&["lint", "--fix"]);
    fs::write(
        room.store().join("roles.yml"),
        "agents:\n  ada: {perms: [create, update, comment, claim, complete, archive, relate, cancel], precedence: 3}\n  bob: {perms: [verify]}\n",
    )
    .unwrap();
    commit("all of it");
    let findings = room.findings();
    assert!(findings.iter().all(|f| f["code"] == "event-unknown"), "{findings:#?}");
    (room, all)
}

const HOSTILE: &[&[u8]] = &[
    b"\0\0\0\0\0\0\0\0",
    b"\xFF\xFE\xFF\xFE",
    b"99999999999999999999999999",
    b"18446744073709551616",
    b"-1",
    b"1e999999",
    b"&a [*a, *a]",
    b"*nowhere",
    b"!!binary AAAA",
    b"!!python/object:os.system x",
    b"\x1b[31m\x1b]0;title\x07",
    b"\xE2\x80\xAE",
    b"\n---\n",
    b"\n...\n",
    b"\t",
    b"<<<<<<< ours\n",
    b"\n=======\n",
    b"\n>>>>>>> theirs\n",
    b"\r",
    b"\xEF\xBB\xBF",
    b"null",
    b"\"",
    b"'",
    b" #",
    b": ",
    b"\n\n",
    b"{\"v\":1}\n",
    b"<<: {a: b}\n",
    b"%YAML 9.9\n",
    b"../../../etc/passwd",
    b"\xF0\x9F\x8E\x88",
    b"\xC3\x28",
];

/// Spoils the bytes of a file. Says how.
pub fn spoil(dice: &mut Dice, bytes: &mut Vec<u8>) -> String {
    let at = dice.below(bytes.len().max(1)).min(bytes.len());
    let put = |bytes: &mut Vec<u8>, at: usize, over: usize, run: &[u8]| {
        let end = (at + over).min(bytes.len());
        bytes.splice(at..end, run.iter().copied());
    };
    match dice.below(16) {
        0..=2 if !bytes.is_empty() => {
            let times = 1 + dice.below(3);
            for _ in 0..times {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            format!("{times} bits flipped")
        }
        3 | 4 => {
            let run = *dice.of(HOSTILE);
            let over = if dice.below(2) == 0 { 0 } else { run.len() };
            put(bytes, at, over, run);
            format!("{:?} at {at}", String::from_utf8_lossy(run))
        }
        5 => {
            let byte = *dice.of(b"[{(\"' \nx&\0");
            let length = *dice.of(&[300, 5_000, 70_000, 300_000]);
            put(bytes, at, 0, &vec![byte; length]);
            format!("{length} times {:?} at {at}", char::from(byte))
        }
        6 | 7 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        8 => {
            bytes.clear();
            "emptied".into()
        }
        9 => {
            *bytes = String::from_utf8_lossy(bytes).replace('\n', "\r\n").into_bytes();
            "CR LF".into()
        }
        10 => {
            bytes.splice(0..0, *b"\xEF\xBB\xBF");
            "a byte-order mark".into()
        }
        11 if bytes.iter().any(u8::is_ascii_digit) => {
            let digits: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
            let at = *dice.of(&digits);
            let run = *dice.of(&[&b"9"[..], b"0", b"4503599627370496", b"9223372036854775807", b"1.5"]);
            put(bytes, at, 1, run);
            format!("a number made {:?} at {at}", String::from_utf8_lossy(run))
        }
        12 => {
            // A key stands there twice.
            match bytes.first() {
                Some(b'{') => put(bytes, 1, 0, br#""lamport":7,"#),
                _ => put(bytes, 0, 0, b"title: twice\n"),
            }
            "a key twice".into()
        }
        13 => {
            // One word in the place of another.
            let words = [
                ("open", "done"),
                ("ada", "eve"),
                ("true", "false"),
                ("Task", "Text"),
                ("01K", "01J"),
                ("\"why\"", "\"who\""),
                (":", ";"),
                ("20", "99"),
            ];
            let (from, to) = *dice.of(&words);
            let text = String::from_utf8_lossy(bytes).replacen(from, to, 1 + dice.below(2));
            *bytes = text.into_bytes();
            format!("{from} made {to}")
        }
        _ => {
            let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
            if lines.is_empty() {
                return "nothing to shuffle".into();
            }
            let (one, two) = (dice.below(lines.len()), dice.below(lines.len()));
            let how = match dice.below(4) {
                0 => {
                    lines.remove(one);
                    "taken out"
                }
                1 => {
                    let line = lines[one].clone();
                    lines.insert(two, line);
                    "doubled"
                }
                2 => {
                    lines[one].retain(|b| *b != b'\n');
                    "joined to the next"
                }
                _ => {
                    lines.swap(one, two);
                    "swapped"
                }
            };
            *bytes = lines.concat();
            format!("line {} {how}, with {}", one + 1, two + 1)
        }
    }
}

/// Damages the store in one place. Says what was done.
fn damage(dice: &mut Dice, top: &Path, good: &Tree) -> String {
    let is_gits = |path: &Path| path.to_str().unwrap().starts_with(".git");
    let files: Vec<&PathBuf> =
        good.iter().filter(|(path, thing)| **thing != Thing::Dir && !is_gits(path)).map(|(path, _)| path).collect();
    let victim = *dice.of(&files);
    let path = top.join(victim);
    let shown = victim.display();
    let other = *dice.of(&files);
    // An earlier damage may have taken the folder.
    let Some(parent) = path.parent().filter(|parent| parent.is_dir()) else {
        return format!("{shown} is gone already");
    };
    match dice.below(24) {
        0 | 1 => {
            let (Ok(a), Ok(b)) = (plain(&path), plain(&top.join(other))) else { return "nothing to swap".into() };
            fs::write(&path, b).unwrap();
            fs::write(top.join(other), a).unwrap();
            format!("{shown} swapped with {}", other.display())
        }
        2 => {
            let Ok(bytes) = plain(&top.join(other)) else { return "nothing to copy".into() };
            remove(&path);
            fs::write(&path, bytes).unwrap();
            format!("{shown} is a copy of {}", other.display())
        }
        3 => {
            remove(&path);
            let what = match dice.below(4) {
                0 => {
                    fs::create_dir(&path).unwrap();
                    "a folder"
                }
                1 => {
                    symlink("/etc/passwd", &path).unwrap();
                    "a link out"
                }
                2 => {
                    symlink(path.file_name().unwrap(), &path).unwrap();
                    "a link to itself"
                }
                _ => {
                    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
                    "a FIFO"
                }
            };
            format!("{shown} is {what}")
        }
        4 => {
            remove(&path);
            format!("{shown} removed")
        }
        5 => {
            let name =
                *dice.of(&["task.yaml.orig", "TASK.YAML", "x", "\u{1b}[2J", "events.jsonl~", " ", "01K", "task.yml"]);
            let at = [top.to_owned(), parent.to_owned(), parent.parent().unwrap_or(top).to_owned()];
            let at = dice.of(&at).clone();
            if !at.starts_with(top) {
                return "nowhere to put it".into();
            }
            let at = at.join(name);
            if fs::symlink_metadata(&at).is_err() {
                let bytes = *dice.of(&[&b"title: a new one\n"[..], b"", b"\xFF\0", b"[", b"title: [\n"]);
                fs::write(&at, bytes).unwrap();
            }
            format!("{} put there", at.strip_prefix(top).unwrap().display())
        }
        6 => {
            // A folder with a name that is no id, or of another place.
            if victim.components().count() < 3 || victim.components().count() > 4 || !parent.exists() {
                return "no folder to rename".into();
            }
            let name =
                *dice.of(&["not an id", "00000000000000000000000000", "ZZZZZZZZZZZZZZZZZZZZZZZZZZ", ".hidden", "a\nb"]);
            let to = parent.with_file_name(name);
            if fs::symlink_metadata(&to).is_ok() {
                return "there already".into();
            }
            fs::rename(parent, &to).unwrap();
            format!("{} renamed to {name:?}", victim.parent().unwrap().display())
        }
        _ => match plain(&path) {
            Ok(mut bytes) => {
                let how = spoil(dice, &mut bytes);
                fs::write(&path, bytes).unwrap();
                format!("{shown}: {how}")
            }
            Err(_) => format!("{shown} is no file any more"),
        },
    }
}

/// The bytes of what is a regular file.
fn plain(path: &Path) -> std::io::Result<Vec<u8>> {
    match fs::symlink_metadata(path)?.is_file() {
        true => fs::read(path),
        false => Err(std::io::ErrorKind::InvalidInput.into()),
    }
}

/// The folder of the entity that a path of the store belongs to, or the path itself.
fn home(path: &Path) -> PathBuf {
    let parts: Vec<_> = path.components().collect();
    match parts.first().and_then(|part| part.as_os_str().to_str()) {
        Some("tasks") if parts.len() > 4 => parts[..4].iter().collect(),
        Some("agents") if parts.len() > 2 => parts[..2].iter().collect(),
        _ => path.to_owned(),
    }
}

/// Whether a finding names a path of the store: itself, what it lies in, or the other file of the same task.
fn names(finding: &Finding, path: &Path) -> bool {
    let Some(named) = finding.path.as_deref().and_then(|named| named.strip_prefix(".agentpm")) else { return false };
    let named = Path::new(named.trim_start_matches('/'));
    named.starts_with(home(path)) || path.starts_with(named)
}

fn key(finding: &Finding) -> (Option<String>, &'static str, String) {
    (finding.path.clone(), finding.rule.code(), finding.message.clone())
}

/// The paths that are not as they were.
fn changed(good: &Tree, now: &Tree) -> BTreeSet<PathBuf> {
    good.keys().chain(now.keys()).filter(|path| good.get(*path) != now.get(*path)).cloned().collect()
}

fn is_event(line: &[u8]) -> bool {
    std::str::from_utf8(line).is_ok_and(|text| parse_line(text).is_ok())
}

/// The lines of a log without what its form adds to them, and whether each is an event.
fn lines(bytes: &[u8]) -> Vec<(&[u8], bool)> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let all = bytes.split(|b| *b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let marker = |line: &[u8]| {
        line == b"=======" || [&b"<<<<<<< "[..], b">>>>>>> ", b"||||||| "].iter().any(|m| line.starts_with(m))
    };
    all.filter(|line| !line.is_empty() && !marker(line)).map(|line| (line, is_event(line))).collect()
}

fn open(room: &Sandbox, repo: &Path) -> agentpm::error::Result<Workspace> {
    let mut vars: BTreeMap<String, String> =
        sealed_vars(&room.home()).into_iter().map(|(k, v)| (k.to_owned(), v.into_string().unwrap())).collect();
    vars.insert("AGENTPM_AGENT".into(), "ada".into());
    vars.insert("AGENTPM_SEED".into(), "fuzzed".into());
    engine::open(Env::new(vars, repo.to_owned()).unwrap(), Options::default())
}

/// What is the same in every case.
struct Stage<'a> {
    room: &'a Sandbox,
    ids: &'a [String],
    good: Tree,
    /// What lint says of the undamaged store.
    before: BTreeSet<(Option<String>, &'static str, String)>,
    /// The undamaged tasks as they are written.
    tasks: BTreeMap<String, String>,
}

impl Stage<'_> {
    fn whole(&self, ws: &Workspace) -> BTreeMap<String, String> {
        let index = engine::index(ws).unwrap();
        let tasks = index.all_ids().unwrap().into_iter().map(|id| index.task(id).unwrap().unwrap());
        let with_events = tasks.filter(|task| task.version > 0);
        with_events.map(|task| (task.id.to_string(), render_task(&task))).collect()
    }

    /// Whether a task's folder is as it was.
    fn is_untouched(&self, id: &str, changed: &BTreeSet<PathBuf>) -> bool {
        let own = self.room.task_dir(id);
        let own = own.strip_prefix(self.room.store()).unwrap();
        !changed.iter().any(|path| path.starts_with(own) || own.starts_with(path))
    }

    /// Reads the damaged store in process. Gives what is wrong with what came of it.
    fn read(&self, now: &Tree, changed: &BTreeSet<PathBuf>) -> Vec<String> {
        let mut wrong = Vec::new();
        let ws = match open(self.room, &self.room.repo()) {
            Ok(ws) => ws,
            Err(e) => {
                let refusal = format!("{} {}", e.message, e.details);
                let settings = changed.iter().filter(|path| path.components().count() == 1);
                if !settings.clone().any(|path| refusal.contains(&path.display().to_string())) {
                    wrong.push(format!("it was not opened, and no file is named: {refusal}"));
                }
                return wrong;
            }
        };
        let report = match engine::lint(&ws) {
            Ok(report) => report,
            Err(e) => {
                wrong.push(format!("lint failed: {} {}", e.code.as_str(), e.message));
                return wrong;
            }
        };
        let fresh = |report: &LintReport| -> Vec<Finding> {
            report.findings.iter().filter(|f| !self.before.contains(&key(f))).cloned().collect()
        };
        let found = fresh(&report);
        let mut since = None;
        for path in changed {
            if found.iter().any(|f| names(f, path)) || !self.must_be_named(path, now) {
                continue;
            }
            // A line may have become another whose effect is the same: only history knows.
            let since = since.get_or_insert_with(|| engine::lint_since(&ws, "HEAD").map(|report| fresh(&report)));
            if !since.as_ref().is_ok_and(|found| found.iter().any(|f| names(f, path))) {
                wrong.push(format!("{} is not named", path.display()));
            }
        }
        let tasks = self.whole(&ws);
        for id in self.ids.iter().filter(|id| self.is_untouched(id, changed)) {
            if tasks.get(id) != self.tasks.get(id) {
                wrong.push(format!("task {id}, which was not damaged, is {:?}", tasks.get(id)));
            }
        }
        // What lint says nothing of is as it was.
        if found.is_empty() && tasks != self.tasks {
            wrong.push("lint is silent, and the plan is another".into());
        }
        if tree(&self.room.store()) != *now {
            wrong.push("reading changed the store".into());
        }
        wrong
    }

    fn must_be_named(&self, path: &Path, now: &Tree) -> bool {
        let is_file = matches!(now.get(path), Some(Thing::File(_)));
        let is_setting = path.components().count() == 1 && self.good.contains_key(path);
        // Git keeps no empty folders; the files of a folder are checked instead.
        let is_folder = matches!((self.good.get(path), now.get(path)), (Some(Thing::Dir), None));
        // The order of the lines of a log says nothing.
        let lines = |tree: &Tree| match tree.get(path) {
            Some(Thing::File(bytes)) if path.ends_with("events.jsonl") && bytes.ends_with(b"\n") => {
                let mut lines: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
                lines.sort();
                Some(lines)
            }
            _ => None,
        };
        let is_order = lines(now).is_some_and(|now| Some(now) == lines(&self.good));
        !(is_setting && (is_file || !now.contains_key(path)) || is_folder || is_order)
    }

    /// Mends a copy of the damaged store in process.
    fn mend(&self, now: &Tree, changed: &BTreeSet<PathBuf>) -> Vec<String> {
        let copy = self.copy();
        let Ok(ws) = open(self.room, &copy.path().join("repo")) else { return Vec::new() };
        match engine::lint_fix(&ws, Fix { comments: Comments::Keep, deleted: Deleted::Restore }) {
            Ok(_) => self.nothing_dropped(copy.path(), now, changed),
            Err(e) => vec![format!("lint --fix failed: {} {}", e.code.as_str(), e.message)],
        }
    }

    /// The damaged repository, copied with all that is in it.
    fn copy(&self) -> tempfile::TempDir {
        let copy = crate::machine::folder();
        let done = Command::new("cp").arg("-a").arg(self.room.repo()).arg(copy.path().join("repo")).status().unwrap();
        assert!(done.success());
        copy
    }

    /// After mending: each line that was in a log is still in one, or set aside.
    fn nothing_dropped(&self, copy: &Path, now: &Tree, changed: &BTreeSet<PathBuf>) -> Vec<String> {
        let mut wrong = Vec::new();
        let is_log = |path: &Path| path.file_name().is_some_and(|name| name == "events.jsonl");
        let after = tree(&copy.join("repo/.agentpm"));
        let logs = after.iter().filter(|(path, _)| is_log(path)).map(|(_, thing)| thing.clone());
        let aside = copy.join("repo/.git/agentpm/set-aside");
        let aside = if aside.exists() { tree(&aside) } else { Tree::new() };
        let mut kept = Vec::new();
        for thing in logs.chain(aside.into_values()) {
            if let Thing::File(bytes) = thing {
                kept.extend(bytes);
                kept.push(b'\n');
            }
        }
        // A log that could not be mended begins as it did.
        let there: BTreeSet<&[u8]> = kept
            .split(|b| *b == b'\n')
            .map(|line| line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line))
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
            .collect();
        for (path, thing) in now.iter().filter(|(path, _)| is_log(path)) {
            let Thing::File(bytes) = thing else { continue };
            for (line, is_event) in lines(bytes).into_iter().filter(|(line, _)| !there.contains(line)) {
                // A line may have been joined by what stood around it.
                if is_event || line.len() > MAX_LINE || !kept.windows(line.len()).any(|part| part == line) {
                    let shown = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
                    wrong.push(format!("mending dropped a line of {}: {shown:?}", path.display()));
                }
            }
        }
        for id in self.ids.iter().filter(|id| self.is_untouched(id, changed)) {
            let own = self.room.log_of(id);
            let own = own.strip_prefix(self.room.store()).unwrap();
            let (Some(Thing::File(old)), Some(Thing::File(new))) = (self.good.get(own), after.get(own)) else {
                wrong.push(format!("mending took the log of task {id}"));
                continue;
            };
            if !new.starts_with(old) {
                wrong.push(format!("mending rewrote the log of task {id}, which was not damaged"));
            }
        }
        wrong
    }

    /// Puts a copy of the damaged store to the real program, whose memory is bounded and who is ended when it hangs. Gives
    /// what is wrong, and the longest that a command took.
    fn by_program(&self, dice: &mut Dice, now: &Tree, changed: &BTreeSet<PathBuf>) -> (Vec<String>, Duration) {
        let mut wrong = Vec::new();
        let copy = self.copy();
        let repo = copy.path().join("repo");
        let _ = fs::remove_file(repo.join(".git/agentpm/index.db"));
        let mut longest = Duration::ZERO;
        let (one, two) = (dice.of(self.ids).clone(), dice.of(self.ids).clone());
        let program = self.room.agentpm_in(&repo);
        let mut run = |args: &[&str]| {
            let mut command = self.room.sealed("timeout", &repo);
            let given = program.get_envs().filter_map(|(name, value)| Some((name, value?)));
            command.envs(given).args(["10", "prlimit", &format!("--as={}", MEMORY << 20)]);
            let begin = Instant::now();
            let output = command.arg(program.get_program()).args(args).output().expect("timeout and prlimit start");
            longest = longest.max(begin.elapsed());
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            let is_json = || serde_json::from_slice::<serde_json::Value>(&output.stdout).is_ok();
            if !code.is_some_and(|code| (0..=10).contains(&code)) || said.contains("panicked") || !is_json() {
                wrong.push(format!("agentpm {args:?}: {code:?} {said} {}", String::from_utf8_lossy(&output.stdout)));
            }
        };
        for args in [
            &["lint"][..],
            &["task", "list", "--all"],
            &["ready", "--explain"],
            &["task", "get", &one],
            &["brief", "--task-id", &two],
            &["log", "--task-id", &one],
            &["doctor"],
        ] {
            run(args);
        }
        let is_as_it_was = tree(&repo.join(".agentpm")) == *now;
        // A FIFO is nothing git would take.
        let _ = self.room.git_in(&repo, &["add", "-A"]);
        run(&["lint", "--staged"]);
        let _ = self.room.git_in(&repo, &["commit", "-q", "--no-verify", "--allow-empty", "-m", "damaged"]);
        run(&["review", "HEAD~1..HEAD"]);
        run(&["lint", "--base", "HEAD~1"]);
        run(&["lint", "--fix"]);
        if !is_as_it_was {
            wrong.push("a question changed the store".into());
        }
        if open(self.room, &repo).is_ok() {
            wrong.extend(self.nothing_dropped(copy.path(), now, changed));
        }
        (wrong, longest)
    }
}

#[test]
fn a_damaged_store_is_read_and_repaired_without_loss() {
    crate::machine::needs!("prlimit");
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("SEED").unwrap_or(20_261_121);
    let rounds = crate::sandbox::rounds(600) as u64;
    println!("SEED={seed} ROUNDS={rounds}");
    let (room, ids) = rich();
    let mut stage =
        Stage { room: &room, ids: &ids, good: tree(&room.store()), before: BTreeSet::new(), tasks: BTreeMap::new() };
    let ws = open(&room, &room.repo()).unwrap();
    stage.before = engine::lint(&ws).unwrap().findings.iter().map(key).collect();
    stage.tasks = stage.whole(&ws);
    assert_eq!(stage.tasks.len(), ids.len());
    drop(ws);
    let (mut in_process, mut by_program) = (Duration::ZERO, Duration::ZERO);
    let (mut failed, mut played) = (Vec::new(), 0);
    // One case alone: ROUND=n.
    let only = number("ROUND");
    for round in (0..rounds).filter(|round| only.is_none_or(|only| only == *round)) {
        let mut dice = Dice(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let mut what = Vec::new();
        for _ in 0..=dice.below(4) {
            what.push(damage(&mut dice, &room.store(), &stage.good));
        }
        let now = tree(&room.store());
        let changed = changed(&stage.good, &now);
        let begin = Instant::now();
        let mut wrong = caught(|| stage.read(&now, &changed));
        in_process = in_process.max(begin.elapsed());
        if round.is_multiple_of(BY_FIX) {
            wrong.extend(caught(|| stage.mend(&now, &changed)));
        }
        if round % BY_BINARY == 1 {
            let (found, longest) = stage.by_program(&mut dice, &now, &changed);
            wrong.extend(found);
            by_program = by_program.max(longest);
        }
        if !wrong.is_empty() {
            failed.push(format!("SEED={seed} ROUND={round}\n  {}\n  -> {}", what.join("\n  "), wrong.join("\n  -> ")));
        }
        if failed.len() > 20 {
            break;
        }
        played += usize::from(!changed.is_empty());
        restore(&room.store(), &stage.good);
    }
    println!("{played} damaged stores; the longest reading {in_process:?}, the longest command {by_program:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A panic is one more thing that is wrong.
fn caught(play: impl FnOnce() -> Vec<String>) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(play)).unwrap_or_else(|_| vec!["it panicked".into()])
}
