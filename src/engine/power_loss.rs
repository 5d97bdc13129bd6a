//! A power loss before and after the commit point, on a seed: machines that exchange events, with disks that lose what was not flushed.
//! The write path is the real one, on real files; only the loss is made here.
//!
//! What the journal flushed stays. Of the record that was being appended any part is there, and of every other file any state of the
//! last two minutes, of a log any part of what was appended. The next command finds a machine in such a state, or as a kill leaves it. Then
//! everything acknowledged is in its log, a record is there as a whole or not at all, no id, fence or Lamport time is given out
//! twice, and a call that is repeated with its key happened once.
//! Leaves to others: whether the calls that flush are made (`durability`, `crash`).
//! `SEED` plays one seed, `SEEDS` so many.
#![expect(clippy::disallowed_methods, reason = "a test prepares files directly")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::commit::idempotency::Key;
use super::commit::write::{execute, execute_keyed, under_lock};
use super::feed::stream::push_events;
use super::{Options, Request, Workspace, init, open};
use crate::env::Env;
use crate::error::Result;
use crate::model::command::Command;
use crate::model::event::{Entity, Event, parse_line};
use crate::model::id::Id;
use crate::model::time::Time;
use crate::model::yaml::render_task;
use crate::rules::fold::fold;
use crate::store::log::Log;

/// The commands of one seed.
const STEPS: usize = 40;
/// The seeds of an ordinary run.
const SEEDS: u64 = 8;
/// The most tasks of a plan.
const MAX_TASKS: usize = 5;
/// After so long the kernel has written a page, in milliseconds.
const WRITTEN_BACK: u64 = 120_000;
const BEGIN: i64 = 1_795_000_000_000;
const JOURNAL: &str = ".git/agentpm/journal.jsonl";
const MARK: &str = ".git/agentpm/mark.json";

/// The files of a machine, by path. Caches of an earlier boot are never read, so they are left out, and so is the lock.
type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// Chance from a seed.
struct Dice(Env);

impl Dice {
    fn below(&self, n: usize) -> usize {
        usize::try_from(self.0.chance().unwrap() % n.max(1) as u64).unwrap()
    }

    fn one<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// What befalls a command.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Acknowledged,
    /// Power is lost while the record is appended, or later.
    LosesPowerBeforeFlush,
    LosesPowerAfterFlush,
    KilledBeforeFlush,
    KilledAfterFlush,
}

struct Machine {
    folder: tempfile::TempDir,
    boot: usize,
    now: i64,
    /// As its clock, but no one sets it.
    up: u64,
    /// The states of the disk after each command, newest last. The first is flushed.
    history: Vec<(u64, Disk)>,
    /// The events that must stay, and those that must not come back.
    kept: BTreeSet<Id>,
    gone: BTreeSet<Id>,
    fences: BTreeSet<(Entity, u64)>,
    lamport: u64,
}

/// A command, or the arrival of events.
enum Act {
    Command(Box<Command>, Key),
    Push(String),
}

impl Act {
    fn run(&self, ws: &Workspace) -> Result<()> {
        match self {
            Act::Command(command, key) => execute_keyed(ws, command, Some(key)).map(drop),
            Act::Push(lines) => push_events(ws, lines).map(drop),
        }
    }
}

fn env(seed: &str, now: i64, cwd: &Path) -> Env {
    let clock = Time::from_millis(now).to_string();
    let vars = [("AGENTPM_SEED", seed), ("AGENTPM_CLOCK", clock.as_str())];
    Env::new(vars.map(|(name, value)| (name.to_owned(), value.to_owned())).into(), cwd.to_owned()).unwrap()
}

fn events_in(lines: &[u8]) -> Vec<Event> {
    String::from_utf8_lossy(lines).lines().filter_map(|line| parse_line(line).ok()).collect()
}

impl Machine {
    fn new(n: usize, dice: &Dice) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        for name in ["objects", "refs"] {
            std::fs::create_dir_all(folder.path().join(".git").join(name)).unwrap();
        }
        std::fs::write(folder.path().join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        // One clock is days off.
        let now = BEGIN + [0, 3, -70_000_000, 500_000_000][dice.below(4)] + n as i64;
        let (kept, gone, fences) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut machine = Machine { folder, boot: 0, now, up: 0, history: Vec::new(), kept, gone, fences, lamport: 0 };
        init(&env("init", now, machine.path()), &Options::default(), None, false).unwrap();
        // The first record flushes the whole disk.
        let first = Command::from_json("task.create", json!({ "title": "the first" })).unwrap();
        execute(&machine.open(&format!("first {n}"), "ada"), &first).unwrap();
        let disk = machine.disk();
        machine.keep(&disk[Path::new(JOURNAL)], usize::MAX);
        machine.history.push((0, disk));
        machine
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn wait(&mut self, millis: u32) {
        self.now += i64::from(millis);
        self.up += u64::from(millis);
    }

    fn open(&self, seed: &str, agent: &str) -> Workspace {
        let env = env(seed, self.now, self.path()).in_boot(format!("boot {}", self.boot), self.up);
        let request = Request { agent: Some(agent.to_owned()), ..Request::default() };
        open(env, Options { request, ..Options::default() }).unwrap()
    }

    fn disk(&self) -> Disk {
        let files = walkdir::WalkDir::new(self.path()).into_iter().map(Result::unwrap);
        let files = files.filter(|file| file.file_type().is_file());
        let read = files.map(|file| {
            let place = file.path().strip_prefix(self.path()).unwrap().to_owned();
            (place, std::fs::read(file.path()).unwrap())
        });
        let is_kept = |place: &Path| {
            let text = place.to_string_lossy();
            !["index.", "branches.db", "/locks/"].iter().any(|name| text.contains(name))
        };
        read.filter(|(place, _)| is_kept(place)).collect()
    }

    fn put(&self, disk: &Disk) {
        let now = self.disk();
        for place in now.keys().filter(|place| !disk.contains_key(*place)) {
            std::fs::remove_file(self.path().join(place)).unwrap();
            // A folder is on the disk where one of its files is.
            place
                .ancestors()
                .skip(1)
                .take_while(|folder| std::fs::remove_dir(self.path().join(folder)).is_ok())
                .count();
        }
        for (place, bytes) in disk.iter().filter(|(place, bytes)| now.get(*place) != Some(bytes)) {
            std::fs::create_dir_all(self.path().join(place).parent().unwrap()).unwrap();
            std::fs::write(self.path().join(place), bytes).unwrap();
        }
    }

    /// What a power loss leaves of all but the journal.
    fn lose_power(&mut self, dice: &Dice) -> Disk {
        let mut states = std::mem::take(&mut self.history);
        let flushed = states.iter().rposition(|(at, _)| *at + WRITTEN_BACK <= self.up).unwrap_or(0);
        let states: Vec<Disk> = states.drain(flushed..).map(|(_, disk)| disk).collect();
        let places: BTreeSet<&PathBuf> = states.iter().flat_map(BTreeMap::keys).collect();
        let taste = dice.below(4);
        let mut left = Disk::new();
        for place in places {
            let bytes_in = |n: usize| states.get(n).and_then(|disk| disk.get(place)).map(Vec::as_slice);
            let is_log = place.ends_with("events.jsonl");
            let is_appended = is_log || place.ends_with("rendered");
            let extends = |n: usize| bytes_in(n).unwrap_or_default().starts_with(bytes_in(n - 1).unwrap_or_default());
            // A log that is replaced is flushed.
            let first = (1..states.len()).rev().find(|n| is_log && !extends(*n)).unwrap_or(0);
            let n = match taste {
                0 => first,
                1 => states.len() - 1,
                _ => first + dice.below(states.len() - first),
            };
            let bytes = bytes_in(n);
            let more = bytes_in(n + 1).filter(|_| is_appended && extends(n + 1));
            let more = more.map_or(&[][..], |more| &more[bytes.map_or(0, <[u8]>::len)..]);
            // The name of a file that was replaced may be there before its bytes.
            let is_replaced = !is_appended && bytes != bytes_in(0) && !place.ends_with("mark.json");
            let left_of = match is_replaced && dice.below(6) == 0 {
                true => bytes.map(|_| Vec::new()),
                false if more.is_empty() => bytes.map(<[u8]>::to_vec),
                false => Some([bytes.unwrap_or_default(), &more[..dice.below(more.len())]].concat()),
            };
            left.extend(left_of.map(|bytes| (place.clone(), bytes)));
        }
        self.boot += 1;
        left
    }
}

struct Machines {
    dice: Dice,
    seed: u64,
    made: usize,
    machines: Vec<Machine>,
    fates: BTreeSet<String>,
}

impl Machines {
    fn new(seed: u64) -> Self {
        let dice = Dice(env(&format!("power {seed}"), BEGIN, Path::new("/")));
        let machines = (0..2 + dice.below(2)).map(|n| Machine::new(n, &dice)).collect();
        Machines { dice, seed, made: 0, machines, fates: BTreeSet::new() }
    }

    fn open(&mut self, n: usize) -> Workspace {
        self.made += 1;
        let agent = *self.dice.one(&["ada", "bob"]);
        self.machines[n].open(&format!("{} {}", self.seed, self.made), agent)
    }

    fn step(&mut self) {
        let n = self.dice.below(self.machines.len());
        let pause = *self.dice.one(&[10, 1_000, 20_000, 70_000, 400_000]);
        self.machines[n].wait(pause);
        if self.dice.below(20) == 0 {
            // The clock is set.
            self.machines[n].now += *self.dice.one(&[600_000, -600_000, 90_000_000]);
        }
        let act = match self.dice.below(6) {
            0 => Act::Push(self.lines_of(self.dice.below(self.machines.len()))),
            _ => self.command(n),
        };
        let fate = match self.dice.below(10) {
            0 => Fate::LosesPowerBeforeFlush,
            1 => Fate::LosesPowerAfterFlush,
            2 => Fate::KilledBeforeFlush,
            3 => Fate::KilledAfterFlush,
            _ => Fate::Acknowledged,
        };
        self.act(n, &act, fate);
    }

    fn lines_of(&self, n: usize) -> String {
        let disk = self.machines[n].disk();
        let logs = disk.iter().filter(|(place, _)| place.ends_with("events.jsonl"));
        logs.map(|(_, bytes)| String::from_utf8(bytes.clone()).unwrap()).collect()
    }

    fn command(&mut self, n: usize) -> Act {
        self.made += 1;
        let dice = &self.dice;
        let disk = self.machines[n].disk();
        let logs = disk.keys().filter(|place| place.starts_with(".agentpm/tasks") && place.ends_with("events.jsonl"));
        let ids: Vec<&str> = logs.filter_map(|log| log.parent()?.file_name()?.to_str()).collect();
        let create = json!({ "title": format!("task {}", self.made), "acceptance": ["it works"] });
        let (op, args): (&str, Value) = if ids.is_empty() || (ids.len() < MAX_TASKS && dice.below(6) == 0) {
            ("task.create", create)
        } else {
            let (id, other) = (*dice.one(&ids), *dice.one(&ids));
            match dice.below(10) {
                0 => {
                    ("task.update", json!({ "id": id, "priority": dice.below(5), "title": format!("t {}", self.made) }))
                }
                1 | 2 => ("claim", json!({ "id": id, "another": true })),
                3 => ("done", json!({ "id": id, "force": "enough" })),
                4 => ("release", json!({ "id": id })),
                5 => ("progress.add", json!({ "id": id, "content": ["one", "two", "three"] })),
                6 => ("task.block", json!({ "id": id, "by": other })),
                7 => ("task.archive", json!({ "id": id })),
                8 if ids.len() < MAX_TASKS => {
                    let note = json!({ "task_id": id, "content": "in a batch" });
                    let ops = json!([{ "op": "context.add", "args": note }, { "op": "task.create", "args": create }]);
                    ("batch", json!({ "ops": ops }))
                }
                _ => ("context.add", json!({ "task_id": id, "content": format!("note {}", self.made) })),
            }
        };
        let command = Command::from_json(op, args.clone()).unwrap_or_else(|e| panic!("{op} {args}: {e:?}"));
        let key = Key::new(&format!("call {}", self.made), command.op(), &args).unwrap();
        Act::Command(Box::new(command), key)
    }

    /// Carries out an act, with what befalls it, and what the next commands find then.
    fn act(&mut self, n: usize, act: &Act, fate: Fate) {
        let ws = self.open(n);
        let before = self.machines[n].disk();
        let done = act.run(&ws);
        let after = self.machines[n].disk();
        let journal = |disk: &Disk| disk.get(Path::new(JOURNAL)).cloned().unwrap_or_default();
        let (old, whole) = (journal(&before), journal(&after));
        let record = whole.strip_prefix(&*old).expect("a journal grows");
        let machine = &mut self.machines[n];
        if fate == Fate::Acknowledged || record.is_empty() {
            machine.history.push((machine.up, after));
            machine.keep(record, record.len());
            return;
        }
        self.fates.insert(format!("{fate:?}"));
        let is_torn = matches!(fate, Fate::LosesPowerBeforeFlush | Fate::KilledBeforeFlush);
        let length = if is_torn { self.dice.below(record.len()) } else { record.len() };
        let mut left = match fate {
            Fate::KilledBeforeFlush | Fate::KilledAfterFlush => before,
            Fate::LosesPowerBeforeFlush => machine.lose_power(&self.dice),
            Fate::Acknowledged | Fate::LosesPowerAfterFlush => {
                machine.history.push((machine.up, after));
                machine.lose_power(&self.dice)
            }
        };
        let mut bytes = [&old, &record[..length]].concat();
        if fate == Fate::LosesPowerBeforeFlush && self.dice.below(4) == 0 {
            // The length was written, and the bytes were not.
            bytes.resize(old.len() + record.len(), 0);
        }
        left.insert(JOURNAL.into(), bytes);
        machine.put(&left);
        machine.history.push((machine.up, left));
        let is_whole = machine.keep(record, length);
        self.recover(n, &ws, act, done.is_ok() && is_whole);
    }

    /// The first commands after a crash: one of another caller, and the interrupted one again.
    fn recover(&mut self, n: usize, interrupted: &Workspace, act: &Act, happened: bool) {
        let pause = *self.dice.one(&[10, 10, 30_000, 300_000]);
        self.machines[n].wait(pause);
        under_lock(&self.open(n), "the next command", |_, _, _| Ok(())).unwrap();
        let machine = &mut self.machines[n];
        let disk = machine.disk();
        let mark: Value = serde_json::from_slice(&disk[Path::new(MARK)]).unwrap();
        if mark["synced"] == disk[Path::new(JOURNAL)].len() {
            machine.history.clear();
        }
        machine.history.push((machine.up, disk));
        machine.check();
        machine.wait(10);
        self.made += 1;
        let args = json!({ "title": format!("after a crash {}", self.made) });
        let create = Command::from_json("task.create", args.clone()).unwrap();
        let key = Key::new(&format!("call {}", self.made), create.op(), &args).unwrap();
        self.act(n, &Act::Command(Box::new(create), key), Fate::Acknowledged);
        self.machines[n].check();
        let before = self.machines[n].disk();
        let agent = interrupted.author().unwrap().agent;
        self.made += 1;
        let ws = self.machines[n].open(&format!("{} {}", self.seed, self.made), &agent);
        let again = act.run(&ws);
        let machine = &mut self.machines[n];
        let after = machine.disk();
        let record = after[Path::new(JOURNAL)].strip_prefix(&*before[Path::new(JOURNAL)]).expect("a journal grows");
        assert!(!happened || (again.is_ok() && record.is_empty()), "it happened twice: {again:?}");
        machine.history.push((machine.up, after.clone()));
        machine.keep(record, record.len());
        machine.check();
    }

    /// Each machine hears of all others.
    fn end(&mut self) -> Vec<String> {
        let count = self.machines.len();
        for _ in 0..2 {
            for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
                let lines = self.lines_of(from);
                self.machines[to].wait(10);
                self.act(to, &Act::Push(lines), Fate::Acknowledged);
            }
        }
        let files = |machine: &Machine| {
            let mut disk = machine.disk();
            disk.retain(|place, _| place.starts_with(".agentpm"));
            disk
        };
        let first = files(&self.machines[0]);
        for n in 0..count {
            self.machines[n].check();
            assert!(files(&self.machines[n]) == first, "machines with the same events hold other bytes");
        }
        first.into_values().map(|bytes| String::from_utf8(bytes).unwrap()).collect()
    }
}

impl Machine {
    /// Notes what of the records that were appended must stay, where so many of their bytes are on the disk. Returns whether all of it is.
    fn keep(&mut self, records: &[u8], length: usize) -> bool {
        let (mut at, mut of_record) = (0, Vec::new());
        for line in records.split_inclusive(|byte| *byte == b'\n') {
            at += line.len();
            let mut events = events_in(line);
            if !events.is_empty() {
                of_record.append(&mut events);
                continue;
            }
            let commit: Value = serde_json::from_slice(line).unwrap_or_default();
            let own = std::mem::take(&mut of_record);
            if commit["commit"].is_null() {
                continue;
            }
            let is_own = commit["carrier"].is_null();
            if at > length {
                // What another machine wrote may arrive once more.
                self.gone.extend(own.iter().map(|event| event.id).filter(|_| is_own));
                continue;
            }
            if is_own {
                let first = own.iter().map(|event| event.lamport).min();
                assert!(first.is_none_or(|first| first > self.lamport), "a Lamport time is given out twice");
                let granted = own.iter().filter_map(|event| Some((event.entity.clone(), event.payload.grant()?.fence)));
                granted.for_each(|grant| assert!(self.fences.insert(grant), "a fence is given out twice"));
            }
            self.lamport = own.iter().map(|event| event.lamport).fold(self.lamport, u64::max);
            let logged = own.iter().filter(|event| !event.payload.journal_only());
            for id in logged.map(|event| event.id) {
                assert!(!self.gone.contains(&id), "an id is given out twice");
                self.kept.insert(id);
            }
        }
        length >= records.len()
    }

    /// That everything that must stay is in its log, nothing else came back, and each `task.yaml` is that of its log.
    fn check(&self) {
        let disk = self.disk();
        let mut here = BTreeSet::new();
        for (place, bytes) in disk.iter().filter(|(place, _)| place.ends_with("events.jsonl")) {
            let log = Log::of(bytes);
            assert!(!log.rough, "{} is not whole", place.display());
            here.extend(log.entries.iter().map(|entry| entry.event.id));
            let Some(id) = place.parent().and_then(|folder| folder.file_name()?.to_str()?.parse().ok()) else {
                continue;
            };
            let yaml = disk.get(&place.with_file_name("task.yaml")).map(|bytes| String::from_utf8_lossy(bytes));
            assert_eq!(yaml.as_deref(), Some(&*render_task(&fold(id, &log.entries).0)), "{}", place.display());
        }
        let lost: Vec<&Id> = self.kept.difference(&here).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let back: Vec<&Id> = self.gone.intersection(&here).collect();
        assert!(back.is_empty(), "a part of a record counts: {back:?}");
    }
}

/// Plays a seed. Returns the contents of all files, and what befell commands.
fn play(seed: u64) -> (Vec<String>, BTreeSet<String>) {
    let mut machines = Machines::new(seed);
    for _ in 0..STEPS {
        machines.step();
    }
    (machines.end(), machines.fates)
}

#[test]
fn a_machine_that_loses_power_loses_nothing_acknowledged() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEEDS").unwrap_or(SEEDS),
    };
    let (mut fates, mut failed) = (BTreeSet::new(), Vec::new());
    for seed in seeds.clone() {
        let played = std::panic::catch_unwind(|| {
            let first = play(seed);
            assert!(play(seed).0 == first.0, "the same seed gives another history");
            first.1
        });
        match played {
            Ok(seen) => fates.extend(seen),
            Err(_) => failed.push(format!("SEED={seed}")),
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
    assert!(seeds.end - seeds.start < SEEDS || fates.len() == 4, "only {fates:?}");
}
