//! A holder that is stopped beyond its time to live while another takes over, and then goes on.

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::sandbox::{Answer, rounds};
use crate::sync::{Clones, plan};

/// Works on a task until it is refused: a note and a change in turn; a line for each change that was acknowledged.
const WORKER: &str = r#"
n=0
while :; do
  n=$((n + 1))
  "$AGENTPM" note "$TASK" --content "note $n" > /dev/null 2>&1 && echo note >> "$OUT"
  "$AGENTPM" task update "$TASK" --estimate "$AGENTPM_AGENT $n" --json > "$OUT.last" 2> /dev/null || exit $?
  echo changed
done
"#;

struct Race {
    clones: Clones,
    task: String,
    clock: PathBuf,
    minutes: i64,
}

impl Race {
    fn new(settings: &str) -> Self {
        let (clones, task) = Clones::new(&["ann", "bob"]);
        let home = clones.room.home().join(".agentpm");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("config.toml"), settings).unwrap();
        let clock = clones.room.beside("clock");
        let race = Race { clones, task, clock, minutes: 0 };
        race.tick(0);
        race
    }

    /// All programs of the race share one clock; this moves it.
    fn tick(&self, minutes: i64) {
        let time = agentpm::model::time::Time::from_millis(1_763_632_800_000 + minutes * 60_000);
        let new = self.clock.with_extension("new");
        std::fs::write(&new, time.to_string()).unwrap();
        std::fs::rename(new, &self.clock).unwrap();
    }

    fn an_hour_later(&mut self) {
        self.minutes += 60;
        self.tick(self.minutes);
    }

    fn run(&self, dir: &Path, name: &str, args: &[&str]) -> Answer {
        let mut command = self.clones.room.agentpm_in(dir);
        command.env("AGENTPM_AGENT", name).env("AGENTPM_CLOCK", format!("@{}", self.clock.display()));
        Answer::from(command.args(args).output().expect("agentpm starts"))
    }

    fn worker(&self, dir: &Path, name: &str, out: &Path) -> Child {
        let mut command = self.clones.room.sealed("sh", dir);
        command.args(["-c", WORKER]).env("AGENTPM", env!("CARGO_BIN_EXE_agentpm")).env("AGENTPM_AGENT", name);
        command.env("AGENTPM_CLOCK", format!("@{}", self.clock.display())).env("TASK", &self.task).env("OUT", out);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0).spawn().expect("sh starts")
    }

    /// One holder works, is stopped, loses the task to another, and goes on. Gives how many notes it left.
    fn round(&mut self, round: usize, holder: (&Path, &str), taker: (&Path, &str)) -> usize {
        let out = self.clones.room.beside(&format!("out-{round}"));
        let mut worker = self.worker(holder.0, holder.1, &out);
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
        for _ in 0..=round % 3 {
            assert_eq!(lines.next().unwrap().unwrap(), "changed", "round {round}");
        }
        let group = Pid::from_raw(worker.id().try_into().unwrap()).unwrap();
        let claimed = loop {
            kill_process_group(group, Signal::STOP).unwrap();
            self.an_hour_later();
            let claimed = self.run(taker.0, taker.1, &["claim", &self.task]);
            if claimed.code != 7 {
                break claimed;
            }
            // It was stopped while it held the lock, so it may go on: no other agent has taken over.
            assert_eq!(claimed.json()["error"]["code"], "ERR_BUSY", "round {round}");
            kill_process_group(group, Signal::CONT).unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "changed", "round {round}");
        };
        claimed.data();
        let title = format!("round {round} by {}", taker.1);
        self.run(taker.0, taker.1, &["task", "update", &self.task, "--title", &title]).data();
        kill_process_group(group, Signal::CONT).unwrap();
        assert_eq!(worker.wait().unwrap().code(), Some(5), "round {round}");
        let last: Value = serde_json::from_slice(&std::fs::read(out.with_extension("last")).unwrap()).unwrap();
        assert_eq!(last["error"]["code"], "ERR_LEASE_LOST", "round {round}: {last}");
        assert_eq!(last["error"]["details"]["holder"], taker.1, "round {round}: {last}");
        // What was under way when it was stopped may have been acknowledged; nothing after that.
        assert!(lines.count() <= 2 + round % 3, "round {round}");
        let title = format!("round {round} by {}", taker.1);
        self.run(taker.0, taker.1, &["task", "update", &self.task, "--title", &title]).data();
        std::fs::read_to_string(&out).unwrap_or_default().lines().count()
    }
}

/// Notes of the two, and who owns the task under which title.
fn state(task: &Value) -> (usize, Value, Value) {
    let notes = task["context"].as_array().unwrap().iter().filter(|entry| entry["type"] == "note").count();
    (notes, task["title"].clone(), task["owner"].clone())
}

#[test]
fn a_stopped_holder_changes_nothing_after_another_clone_took_over() {
    let mut race = Race::new("[lease]\nremote = \"origin\"\n[lock]\nwait_ms = 300\n");
    let dirs = [race.clones.dir("ann"), race.clones.dir("bob")];
    let names = ["ann", "bob"];
    race.run(&dirs[0], "ann", &["claim", &race.task]).data();
    let mut notes = 0;
    let last = rounds(200);
    for round in 0..last {
        let (holder, taker) = (round % 2, (round + 1) % 2);
        notes += race.round(round, (&dirs[holder], names[holder]), (&dirs[taker], names[taker]));
        if round % 20 == 19 || round + 1 == last {
            for who in [0, 1, 0, 1] {
                race.run(&dirs[who], names[who], &["sync"]).data();
            }
            assert_eq!(plan(&race.clones, "ann"), plan(&race.clones, "bob"), "round {round}");
            let task = race.run(&dirs[0], "ann", &["task", "get", &race.task, "--full"]).data();
            let title = Value::from(format!("round {round} by {}", names[taker]));
            assert_eq!(state(&task), (notes, title, names[taker].into()), "round {round}");
            assert_eq!(task["status"], "in_progress");
        }
    }
}

#[test]
fn a_stopped_holder_changes_nothing_after_another_agent_of_its_clone_took_over() {
    let mut race = Race::new("[lock]\nwait_ms = 300\n");
    let other = race.clones.room.beside("other");
    race.clones.git("ann", &["worktree", "add", "-q", &other.display().to_string()]).text();
    let here = race.clones.dir("ann");
    race.run(&here, "ann", &["claim", &race.task]).data();
    let mut notes = 0;
    for round in 0..rounds(50) {
        let (holder, taker) = if round % 2 == 0 { ("ann", "bob") } else { ("bob", "ann") };
        notes += race.round(round, (&here, holder), (&here, taker));
    }
    let task = race.run(&here, "ann", &["task", "get", &race.task, "--full"]).data();
    assert_eq!(state(&task).0, notes);
    // The other worktree knows the holder at once, though it has none of these events.
    let held = race.run(&other, "carl", &["claim", &race.task]);
    held.error("ERR_LEASE_HELD", 5);
}
