//! A fleet works off a plan over the bus while agents, bridges, the server and the network break.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agentpm::model::time::Time;
use serde_json::{Value, json};

use super::Bridge;
use super::leases::leasing;
use crate::machine::needs;
use crate::proxy::Proxy;
use crate::sandbox::{Answer, plays_all, sealed_vars, shard, wait_at_most};
use crate::sync::{Clones, plan};

/// Random numbers of a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// How far a clock of the fleet may be off, in milliseconds.
const YEARS: i64 = 5 * 365 * 24 * 3_600_000;
/// How long nothing happens until what is left is taken over.
const STANDSTILL: Duration = Duration::from_secs(40);
/// How long a lease lasts that is not renewed.
const LEASE: Duration = Duration::from_secs(600);

/// An agent in a clone.
struct Agent {
    name: String,
    dir: PathBuf,
    url: String,
    home: PathBuf,
    /// How far the clock of its clone is off, in milliseconds.
    off: i64,
    chance: Chance,
}

impl Agent {
    /// Runs a command. One in twenty is killed on the way; then there is no answer.
    fn run(&mut self, args: &[&str]) -> Option<Answer> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentpm"));
        command.env_clear().envs(sealed_vars(&self.home)).current_dir(&self.dir).args(args);
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().expect("a clock").as_millis()).expect("a time");
        command.env("AGENTPM_AGENT", &self.name).env("AGENTPM_BUS_URL", &self.url);
        command.env("AGENTPM_CLOCK", Time::from_millis(now + self.off).to_string());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("agentpm starts");
        if self.chance.below(20) == 0 {
            std::thread::sleep(Duration::from_millis(self.chance.below(60)));
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        Some(Answer::from(child.wait_with_output().expect("it ends")))
    }
}

impl Agent {
    /// A task that the agent holds.
    fn own_task(&mut self) -> Option<String> {
        let list = self.run(&["task", "list", "--status", "in_progress", "--all", "--json"])?;
        let list = Some(list).filter(|list| list.code == 0)?.json();
        let mut mine = list["data"]["items"].as_array()?.iter().filter(|task| task["owner"] == json!(self.name));
        Some(mine.next()?["id"].as_str()?.to_owned())
    }
}

/// A claim that was answered as confirmed.
struct Claim {
    task: String,
    agent: String,
    fence: u64,
    asked: Instant,
    answered: Instant,
}

/// The answers that agents got.
#[derive(Default)]
struct Answers {
    confirmed: Mutex<Vec<Claim>>,
    /// Task and agent of each acknowledged completion.
    ended: Mutex<Vec<(String, String)>>,
    killed: AtomicUsize,
    unconfirmed: AtomicUsize,
}

fn work(mut agent: Agent, answers: &Answers, is_over: &AtomicBool) {
    while !is_over.load(Ordering::SeqCst) {
        let asked = Instant::now();
        let Some(next) = agent.run(&["next", "--claim", "--full", "--json"]) else {
            answers.killed.fetch_add(1, Ordering::SeqCst);
            continue;
        };
        // A busy store, or a lease that was lost, is no fault.
        if next.code != 0 {
            continue;
        }
        let got = next.json()["data"].clone();
        // A claim that was killed may have happened: then the agent goes on with its own task.
        let task = got["task"]["id"].as_str().map(str::to_owned).or_else(|| agent.own_task());
        let Some(task) = task else {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        };
        match &got["lease"]["confirmed"] {
            Value::Bool(true) => answers.confirmed.lock().unwrap().push(Claim {
                task: task.clone(),
                agent: agent.name.clone(),
                fence: got["lease"]["fence"].as_u64().expect("a fence"),
                asked,
                answered: Instant::now(),
            }),
            Value::Bool(false) => drop(answers.unconfirmed.fetch_add(1, Ordering::SeqCst)),
            _ => {}
        }
        match agent.run(&["done", &task, "--force", "tried"]) {
            None => drop(answers.killed.fetch_add(1, Ordering::SeqCst)),
            Some(done) if done.code == 0 => answers.ended.lock().unwrap().push((task, agent.name.clone())),
            Some(_) => {}
        }
    }
}

fn statuses(clones: &Clones, name: &str) -> Value {
    clones.run(name, &["stats"]).data()["by_status"].clone()
}

/// Ends what no agent may go on with: a claim that was killed after the remote confirmed it withholds its task from others, and takes
/// it from an agent that worked without a connection. It passes only to who claims it by name. Returns the number of such tasks.
fn take_over(clones: &Clones, name: &str, url: &str) -> usize {
    let late =
        Time::from_millis(i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap() + 2 * YEARS);
    let run = |args: &[&str]| {
        let mut command = clones.room.agentpm_in(&clones.dir(name));
        command.env("AGENTPM_AGENT", "heir").env("AGENTPM_BUS_URL", url).env("AGENTPM_CLOCK", late.to_string());
        Answer::from(command.args(args).output().expect("agentpm starts"))
    };
    let list = run(&["task", "list", "--status", "open,blocked,in_progress", "--all", "--json"]).data();
    let left: Vec<&str> = list["items"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap()).collect();
    for task in &left {
        run(&["claim", task]).data();
        run(&["done", task, "--force", "tried"]).data();
    }
    left.len()
}

fn remove_record(clone: &Path) {
    // The bridge then begins again, and is given every message once more.
    let _ = std::fs::remove_file(clone.join(".git/agentpm/bus/bridge.json"));
}

/// The numbers of clones, of agents in each, and of tasks: those of `FLEET`, as in `FLEET=16,4,2000`, which takes an hour on two cores.
fn size() -> (usize, usize, usize) {
    let asked = std::env::var("FLEET").ok();
    let numbers = asked.map(|text| text.split(',').map(|n| n.trim().parse().expect("a number")).collect::<Vec<_>>());
    match numbers.as_deref() {
        Some([clones, agents, tasks]) => (*clones, *agents, *tasks),
        Some(other) => panic!("FLEET has three numbers, not {}", other.len()),
        None if plays_all() => (4, 3, 150),
        None => (3, 2, 24),
    }
}

#[test]
fn a_fleet_loses_nothing_and_confirms_no_task_twice_whatever_breaks() {
    needs!("nats-server");
    let (clones_n, agents_n, tasks) = size();
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
        u64::from(std::process::id()) ^ std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
    });
    println!("SEED={seed}");
    let mut chance = Chance(seed);
    let names: Vec<String> = (0..clones_n).map(|n| format!("c{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (clones, first, mut nats) = leasing(&names);
    let ops: Vec<Value> =
        (1..tasks).map(|n| json!({ "op": "task.create", "args": { "title": format!("task {n}") } })).collect();
    let file = clones.room.beside("ops.json");
    std::fs::write(&file, Value::from(ops).to_string()).unwrap();
    clones.run(names[0], &["batch", "--file", &file.display().to_string()]).data();
    clones.run(names[0], &["sync"]).data();
    for name in &names[1..] {
        // The same settings come with the plan.
        clones.git(name, &["checkout", "-q", "--", "."]).text();
        clones.git(name, &["pull", "-q"]).text();
    }
    let proxies: Vec<Proxy> = names.iter().map(|_| Proxy::to(nats.port)).collect();
    let bridge = |n: usize| Bridge::start_at(&clones, names[n], &proxies[n].url(), &[]);
    let mut bridges: Vec<Option<Bridge>> = (0..names.len()).map(|n| Some(bridge(n))).collect();
    let (answers, is_over) = (Answers::default(), AtomicBool::new(false));
    let begun = Instant::now();
    let most = Duration::from_secs(120).max(Duration::from_secs(4) * u32::try_from(tasks).unwrap());
    let mut broken = [0; 4];
    std::thread::scope(|scope| {
        let clocks: Vec<i64> =
            names.iter().map(|_| i64::try_from(chance.below(2 * YEARS.unsigned_abs())).unwrap() - YEARS).collect();
        for n in 0..names.len() * agents_n {
            let (name, clone) = (format!("a{n}"), n / agents_n);
            let (dir, url, home) = (clones.dir(names[clone]), proxies[clone].url(), clones.room.home());
            let agent = Agent { name, dir, url, home, off: clocks[clone], chance: Chance(seed ^ n as u64) };
            let (answers, is_over) = (&answers, &is_over);
            scope.spawn(move || work(agent, answers, is_over));
        }
        let mut progress = (Value::Null, Instant::now());
        while progress.0 != json!(tasks) && progress.1.elapsed() < STANDSTILL && begun.elapsed() < most {
            let completed = statuses(&clones, names[0])["completed"].clone();
            if completed != progress.0 {
                progress = (completed, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(300 + chance.below(700)));
            let n = usize::try_from(chance.below(names.len() as u64)).unwrap();
            let what = usize::try_from(chance.below(8)).unwrap();
            match what {
                0 | 1 => {
                    bridges[n].take().expect("a bridge").kill();
                    if what == 1 {
                        remove_record(&clones.dir(names[n]));
                    }
                    proxies[n].pass();
                    bridges[n] = Some(bridge(n));
                    broken[0] += 1;
                }
                2 => {
                    nats.kill();
                    nats.run();
                    broken[1] += 1;
                }
                3 => proxies[n].hold(),
                4 => proxies[n].cut(),
                5 => proxies[n].lose_answers(),
                _ => proxies.iter().for_each(Proxy::pass),
            }
            if (3..6).contains(&what) {
                broken[what - 2] += 1;
            }
        }
        is_over.store(true, Ordering::SeqCst);
        proxies.iter().for_each(Proxy::pass);
    });
    let worked = begun.elapsed();
    let are_equal = || {
        let first = plan(&clones, names[0]);
        names[1..].iter().all(|name| plan(&clones, name) == first)
    };
    let become_equal = || wait_at_most(most, &format!("SEED={seed}: the clones become equal"), are_equal);
    become_equal();
    let left = take_over(&clones, names[0], &proxies[0].url());
    become_equal();
    let (confirmed, ended) = (answers.confirmed.into_inner().unwrap(), answers.ended.into_inner().unwrap());
    println!(
        "{} tasks, {} clones, {} agents: worked {worked:?}, equal after {:?}; {} confirmed claims, {} not confirmed, {} ends; \
         {left} taken over; killed: {} commands, {} bridges, {} servers; held, cut, deaf: {:?}",
        tasks,
        names.len(),
        names.len() * agents_n,
        begun.elapsed(),
        confirmed.len(),
        answers.unconfirmed.into_inner(),
        ended.len(),
        answers.killed.into_inner(),
        broken[0],
        broken[1],
        &broken[1..],
    );
    let mut claims: BTreeMap<&str, Vec<&Claim>> = BTreeMap::new();
    for claim in &confirmed {
        claims.entry(&claim.task).or_default().push(claim);
    }
    for (task, claims) in &mut claims {
        claims.sort_by_key(|claim| claim.fence);
        // An agent that was killed leaves a lease behind, which another agent gets when it is over, with a greater fence.
        for pair in claims.windows(2).filter(|pair| pair[0].agent != pair[1].agent) {
            let was_over = pair[1].answered >= pair[0].asked + LEASE;
            assert!(pair[0].fence < pair[1].fence && was_over, "SEED={seed}: {task} was confirmed twice");
        }
    }
    for (task, agent) in &ended {
        let log = clones.dir(names[0]).join(".agentpm/tasks").join(shard(task)).join(task).join("events.jsonl");
        let log = std::fs::read_to_string(log).unwrap();
        let has_end = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).any(|event| {
            event["type"] == "TaskStatusChanged"
                && event["payload"]["to"] == "completed"
                && event["agent"] == json!(agent)
        });
        assert!(has_end, "SEED={seed}: {agent} ended {task}, and its event is gone");
    }
    for name in &names {
        assert_eq!(statuses(&clones, name)["completed"], json!(tasks), "SEED={seed}: {name}, beginning with {first}");
    }
    // What a holder in a partition wrote after another clone had the lease confirmed is reported, and is no error.
    let findings = clones.run(names[0], &["lint"]).json()["data"]["findings"].clone();
    let is_fenced = |finding: &Value| finding["code"] == "event-fenced";
    assert!(findings.as_array().unwrap().iter().all(is_fenced), "SEED={seed}: {findings}");
}
