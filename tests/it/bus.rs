//! The bridge to the message bus, with a real server: clones that exchange events, and what stops them for a while.

mod announced;
mod fleet;
mod hostile;
mod leases;
mod partitions;
mod servers;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::machine::needs;
use crate::nats::Nats;
use crate::sandbox::{Answer, rounds, wait_for};
use crate::sync::{Clones, plan};

/// A bridge that runs until it is dropped.
pub struct Bridge {
    child: Child,
    /// What it printed at first.
    pub begun: Value,
}

impl Bridge {
    pub fn start(clones: &Clones, name: &str, nats: &Nats, args: &[&str]) -> Self {
        Self::start_at(clones, name, &nats.url(), args)
    }

    pub fn start_at(clones: &Clones, name: &str, url: &str, args: &[&str]) -> Self {
        let mut command = clones.room.agentpm_in(&clones.dir(name));
        command.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", name).args(["bus", "--url", url]).args(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("agentpm starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let begun: Value = serde_json::from_str(&line).unwrap_or_default();
        assert_eq!(begun["ok"], true, "{line}");
        Bridge { child, begun: begun["data"].clone() }
    }

    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Ends it as a service manager does.
    fn stop(mut self) -> Option<i32> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).expect("the bridge runs");
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a bridge until everything is exchanged.
pub fn once(clones: &Clones, name: &str, nats: &Nats) -> Answer {
    let mut command = clones.room.agentpm_in(&clones.dir(name));
    command.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", name).args(["bus", "--once", "--url", &nats.url()]);
    Answer::from(command.output().expect("agentpm starts"))
}

/// The check of `doctor` that is about the bridge.
pub fn doctor(clones: &Clones, name: &str) -> Value {
    let report = clones.run(name, &["doctor"]).json();
    let checks = report["data"]["checks"].as_array().expect("checks").clone();
    checks.into_iter().find(|check| check["check"] == "bus").unwrap_or_default()
}

fn title(clones: &Clones, name: &str, task: &str) -> String {
    let got = clones.run(name, &["task", "get", task]).json();
    got["data"]["title"].as_str().unwrap_or_default().to_owned()
}

/// The stream of the events of the plan.
fn stream(nats: &Nats) -> String {
    nats.client().streams().into_iter().find(|name| name.ends_with("_EVENTS")).expect("a stream")
}

#[test]
fn events_go_from_clone_to_clone_and_git_brings_none_of_them_twice() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    clones.run("ada", &["task", "update", &task, "--title", "by ada"]).data();
    clones.run("bob", &["note", &task, "--content", "by bob"]).data();
    let first = once(&clones, "ada", &nats).data();
    assert_eq!((first["published"].clone(), first["taken"].clone()), (json!(1), json!(0)), "{first}");
    let second = once(&clones, "bob", &nats).data();
    assert_eq!((second["published"].clone(), second["taken"].clone()), (json!(1), json!(1)), "{second}");
    once(&clones, "ada", &nats).data();
    assert_eq!(title(&clones, "bob", &task), "by ada");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
    assert_eq!(doctor(&clones, "ada")["ok"], true);
    let status = clones.run("ada", &["status"]).data();
    assert_eq!((status["bus"]["to_publish"].clone(), status["bus"]["to_take"].clone()), (json!(0), json!(0)));

    for name in ["ada", "bob", "ada"] {
        clones.run(name, &["sync"]).data();
    }
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
    for name in ["ada", "bob"] {
        let again = once(&clones, name, &nats).data();
        assert_eq!((again["published"].clone(), again["taken"].clone()), (json!(0), json!(0)), "{again}");
    }
    assert_eq!(nats.client().messages(&stream(&nats)), 2);
    assert_eq!(clones.run("ada", &["lint"]).data()["findings"], json!([]));
}

#[test]
fn a_message_has_the_name_of_its_event_and_no_text() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let nats = Nats::start(&clones.room);
    let task = clones.run("ada", &["add", "a secret > title", "--quiet"]).text().to_owned();
    once(&clones, "ada", &nats).data();
    let all = nats.client().all(&stream(&nats));
    let (subject, body) = &all[0];
    let words: Vec<&str> = subject.split('.').collect();
    assert_eq!((words[0], words[2], words[3], words[4]), ("agentpm", "task", &*task, "TaskCreated"), "{subject}");
    let log = clones.dir("ada").join(".agentpm/tasks").join(crate::sandbox::shard(&task)).join(&task);
    let log = std::fs::read_to_string(log.join("events.jsonl")).unwrap();
    assert_eq!(String::from_utf8_lossy(body), log.lines().next().unwrap(), "the line of the log, byte for byte");
}

#[test]
fn running_bridges_carry_events_at_once_and_survive_kills_of_themselves_and_of_the_server() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let mut nats = Nats::start(&clones.room);
    let (ada, bob) = (Bridge::start(&clones, "ada", &nats, &[]), Bridge::start(&clones, "bob", &nats, &[]));
    assert_eq!(ada.begun["server"], json!(nats.url()));
    assert_eq!(ada.begun["plan"], bob.begun["plan"]);
    clones.run("ada", &["task", "update", &task, "--title", "while both run"]).data();
    wait_for("bob has the title", || title(&clones, "bob", &task) == "while both run");

    nats.kill();
    clones.run("ada", &["task", "update", &task, "--title", "without a server"]).data();
    wait_for("the bridge says that it gets no answer", || doctor(&clones, "ada")["ok"] == false);
    nats.run();
    wait_for("bob has the title from before the restart", || title(&clones, "bob", &task) == "without a server");

    ada.kill();
    bob.kill();
    clones.run("ada", &["task", "update", &task, "--title", "without bridges"]).data();
    let (ada, _bob) = (Bridge::start(&clones, "ada", &nats, &[]), Bridge::start(&clones, "bob", &nats, &[]));
    wait_for("bob has the title from before the bridges", || title(&clones, "bob", &task) == "without bridges");
    wait_for("nothing is left to do", || doctor(&clones, "ada")["ok"] == true);
    assert_eq!(ada.stop(), Some(0), "SIGTERM ends it");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn a_caller_that_waits_for_work_gets_what_the_bus_brings() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    clones.run("ada", &["claim", &task]).data();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    let _bridges = ["ada", "bob"].map(|name| Bridge::start(&clones, name, &nats, &[]));
    let mut waits = clones.room.agentpm_in(&clones.dir("bob"));
    waits.env("AGENTPM_AGENT", "bob").args(["next", "--claim", "--wait", "60", "--quiet"]).stdout(Stdio::piped());
    let waits = waits.spawn().expect("agentpm starts");
    let new = clones.run("ada", &["add", "for bob", "--quiet"]).text().to_owned();
    let got = Answer::from(waits.wait_with_output().expect("it ends"));
    assert_eq!(got.text(), new);
    wait_for("ada sees who has it", || {
        clones.run("ada", &["task", "get", &new]).json()["data"]["owner"] == json!("bob")
    });
}

#[test]
fn what_git_brought_to_one_clone_the_bus_brings_to_the_others() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob", "cyd"]);
    let nats = Nats::start(&clones.room);
    for name in ["ada", "bob"] {
        once(&clones, name, &nats).data();
    }
    // cyd has no bridge.
    clones.run("cyd", &["task", "update", &task, "--title", "by cyd"]).data();
    clones.run("cyd", &["sync"]).data();
    clones.run("ada", &["sync"]).data();
    once(&clones, "ada", &nats).data();
    once(&clones, "bob", &nats).data();
    assert_eq!(title(&clones, "bob", &task), "by cyd");
    let published = once(&clones, "bob", &nats).data()["published"].clone();
    clones.run("bob", &["sync"]).data();
    let again = once(&clones, "bob", &nats).data();
    assert_eq!((published, again["published"].clone()), (json!(0), json!(0)), "bob has nothing of its own");
}

#[test]
fn a_wiped_stream_is_filled_again_from_the_journals() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let mut nats = Nats::start(&clones.room);
    clones.run("ada", &["task", "update", &task, "--title", "before"]).data();
    once(&clones, "ada", &nats).data();
    nats.kill();
    nats.wipe();
    nats.run();
    clones.run("ada", &["note", &task, "--content", "after"]).data();
    let metrics = clones.run("ada", &["stats", "--format", "prometheus"]);
    assert!(metrics.stdout.contains("\nagentpm_bus_to_publish 1\n"), "{metrics:?}");
    let again = once(&clones, "ada", &nats).data();
    assert_eq!(again["published"], 2, "{again}");
    once(&clones, "bob", &nats).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn a_stream_that_is_there_is_used_as_it_is_and_named() {
    needs!("nats-server");
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    once(&clones, "ada", &nats).data();
    let name = stream(&nats);
    let mut client = nats.client();
    let mut config = client.ask(&format!("STREAM.INFO.{name}"), &Value::Null)["config"].clone();
    assert_eq!((config["max_bytes"].clone(), config["num_replicas"].clone()), (json!(1 << 30), json!(1)));
    config["max_msgs"] = json!(3);
    config["discard"] = json!("new");
    assert!(client.ask(&format!("STREAM.UPDATE.{name}"), &config)["error"].is_null());

    let bridge = Bridge::start(&clones, "ada", &nats, &["--max-bytes", "5000000", "--max-age", "1h"]);
    let differs = bridge.begun["differs"].to_string();
    for part in ["maximum size is 1073741824, not 5000000", "maximum age is 2592000 s, not 3600 s", "messages is 3"] {
        assert!(differs.contains(part), "{differs}");
    }
    for n in 0..5 {
        clones.run("ada", &["note", &task, "--content", &format!("note {n}")]).data();
    }
    wait_for("the bridge says that the stream is full", || doctor(&clones, "ada")["ok"] == false);
    let full = doctor(&clones, "ada");
    assert!(full["found"].as_str().unwrap().contains("maximum messages exceeded"), "{full}");
    assert!(full["found"].as_str().unwrap().starts_with("2 events to publish"), "{full}");
    once(&clones, "bob", &nats).data();
    config["max_msgs"] = json!(100);
    assert!(client.ask(&format!("STREAM.UPDATE.{name}"), &config)["error"].is_null());
    wait_for("the rest is published", || doctor(&clones, "ada")["found"].as_str().unwrap().starts_with("0 events"));
    once(&clones, "bob", &nats).data();
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

/// Clones of `ada`, who published three notes, and of `bob`, who was not there; the stream has dropped the first two.
fn with_dropped() -> (Clones, Nats) {
    let (clones, task) = Clones::new(&["ada", "bob"]);
    let nats = Nats::start(&clones.room);
    clones.run("ada", &["note", &task, "--content", "zero"]).data();
    once(&clones, "ada", &nats).data();
    once(&clones, "bob", &nats).data();
    for text in ["one", "two", "three"] {
        clones.run("ada", &["note", &task, "--content", text]).data();
    }
    once(&clones, "ada", &nats).data();
    nats.client().ask(&format!("STREAM.PURGE.{}", stream(&nats)), &json!({ "keep": 1 }));
    (clones, nats)
}

#[test]
fn what_a_stream_dropped_before_it_was_read_is_reported_and_comes_by_git() {
    needs!("nats-server");
    let (clones, nats) = with_dropped();
    let taken = once(&clones, "bob", &nats).data();
    assert_eq!((taken["taken"].clone(), taken["waiting"].clone()), (json!(0), json!(1)), "its parents are missing");
    let found = doctor(&clones, "bob");
    assert!(found["found"].as_str().unwrap().contains("the stream dropped 2 messages"), "{found}");
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    assert_eq!(once(&clones, "bob", &nats).data()["waiting"], 0);
    assert_eq!(clones.run("bob", &["status"]).data()["bus"]["waiting"], 0, "what git brought does not wait");
    assert_eq!(plan(&clones, "ada"), plan(&clones, "bob"));
}

#[test]
fn the_server_is_named_by_the_caller_the_environment_or_the_user_and_never_by_the_repository() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let nats = Nats::start(&clones.room);
    let settings = format!("format = 1\n[bus]\nurl = \"{}\"\n", nats.url());
    clones.write("ada", ".agentpm/config.toml", &settings);
    let run = |vars: &[(&str, String)]| {
        let mut command = clones.room.agentpm_in(&clones.dir("ada"));
        command.env_remove("AGENTPM_SEED").envs(vars.iter().cloned()).args(["bus", "--once"]);
        Answer::from(command.output().unwrap())
    };
    run(&[]).error("ERR_USAGE", 2);
    let lint = clones.run("ada", &["lint"]).json();
    assert!(lint.to_string().contains("bus.url is read from ~/.agentpm/config.toml alone"), "{lint}");
    run(&[("AGENTPM_BUS_URL", nats.url())]).data();
    std::fs::create_dir_all(clones.room.home().join(".agentpm")).unwrap();
    std::fs::write(clones.room.home().join(".agentpm/config.toml"), &settings).unwrap();
    run(&[]).data();
    let port = crate::nats::free_port();
    let refused = run(&[("AGENTPM_BUS_URL", format!("nats://ada:hush@127.0.0.1:{port}"))]).error("ERR_SYNC", 9);
    assert!(!refused.to_string().contains("hush"), "{refused}");
}

#[test]
fn one_bridge_serves_a_worktree() {
    needs!("nats-server");
    let (clones, _) = Clones::new(&["ada"]);
    let nats = Nats::start(&clones.room);
    let bridge = Bridge::start(&clones, "ada", &nats, &[]);
    once(&clones, "ada", &nats).error("ERR_BUSY", 7);
    bridge.kill();
    once(&clones, "ada", &nats).data();
}

#[test]
fn a_fleet_works_off_a_plan_while_bridges_and_the_server_are_killed() {
    needs!("nats-server");
    let names = ["ada", "bob", "cyd", "dan"];
    let (clones, _) = Clones::new(&names);
    let mut nats = Nats::start(&clones.room);
    let mut bridges: Vec<Option<Bridge>> =
        names.iter().map(|name| Some(Bridge::start(&clones, name, &nats, &[]))).collect();
    let turns = rounds(100).max(12);
    for turn in 0..turns {
        let name = names[turn % names.len()];
        let task = clones.run(name, &["add", &format!("task {turn}"), "--quiet"]).text().to_owned();
        clones.run(name, &["note", &task, "--content", "done soon"]).data();
        if turn % 5 == 2 {
            let killed = (turn / 5) % names.len();
            bridges[killed].take().expect("a bridge").kill();
            bridges[killed] = Some(Bridge::start(&clones, names[killed], &nats, &[]));
        }
        if turn % 7 == 6 {
            nats.kill();
            nats.run();
        }
    }
    let last = |name: &str| clones.run(name, &["stats"]).data()["tasks"].clone();
    for name in names {
        wait_for("every clone has all tasks", || last(name) == json!(turns + 1));
    }
    for name in names {
        wait_for("nothing is left to do", || {
            let status = clones.run(name, &["status"]).data()["bus"].clone();
            (status["to_publish"].clone(), status["to_take"].clone(), status["waiting"].clone())
                == (json!(0), json!(0), json!(0))
        });
    }
    wait_for("every clone has the same plan", || names.iter().all(|name| plan(&clones, name) == plan(&clones, "ada")));
    assert_eq!(clones.run("ada", &["lint"]).data()["findings"], json!([]));
}
