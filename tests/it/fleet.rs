//! Many agents at once: no task is handed out twice, and no acknowledged change is lost when processes are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, RandomState};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox, plays_all, rounds};

const AGENTS: usize = 32;
/// How many tasks each agent takes.
const FULL: usize = 50;

#[test]
fn thirty_two_agents_in_four_worktrees_never_get_the_same_task() {
    let room = Sandbox::new();
    let tasks: Vec<Value> = (0..AGENTS * rounds(FULL)).map(|n| create(&format!("task {n}"))).collect();
    batch(&room, &tasks);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    let mut trees = vec![room.repo()];
    for name in ["second", "third", "fourth"] {
        let tree = room.beside(name);
        room.git(&["worktree", "add", "-q", "-b", name, tree.to_str().expect("a UTF-8 path")]).text();
        trees.push(tree);
    }

    let taken = thread::scope(|scope| {
        let agents: Vec<_> = (0..AGENTS)
            .map(|n| {
                let name = format!("agent-{n:02}");
                let next = claimer(&room, &trees[n % trees.len()], &name);
                scope.spawn(move || (name, claims(next)))
            })
            .collect();
        agents.into_iter().map(|agent| agent.join().expect("every claim was answered")).collect::<Vec<_>>()
    });

    let mut holders = BTreeMap::new();
    for (agent, tasks) in &taken {
        for task in tasks {
            let other = holders.insert(task.clone(), agent.clone());
            assert_eq!(other, None, "{task} was handed to {agent} too");
        }
    }
    assert_eq!(holders.len(), AGENTS * rounds(FULL), "every task was handed out");
    for tree in &trees {
        nothing_is_left_and_the_answer_names_who_holds_what(&room, tree, &holders);
        let report = room.run_in(tree, &["lint"]).data();
        assert_eq!(report["findings"], json!([]), "{}: {report:#}", tree.display());
    }
}

/// `next --claim` of one agent, ready to be started again and again.
fn claimer(room: &Sandbox, tree: &Path, agent: &str) -> Command {
    let mut next = room.agentpm_in(tree);
    next.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", agent).args(["next", "--claim", "--another"]);
    next
}

/// The tasks an agent is given in its rounds, one process for each.
fn claims(mut next: Command) -> Vec<String> {
    (0..rounds(FULL)).map(|_| id_of(&Answer::from(next.output().expect("agentpm starts")).data()["task"])).collect()
}

fn nothing_is_left_and_the_answer_names_who_holds_what(
    room: &Sandbox,
    tree: &Path,
    holders: &BTreeMap<String, String>,
) {
    let late = Answer::from(claimer(room, tree, "late").output().expect("agentpm starts"));
    assert_eq!(late.data(), Value::Null);
    let reasons = late.json()["reasons"].clone();
    assert_eq!(reasons["unfinished"], AGENTS * rounds(FULL));
    assert_eq!(reasons["counts"]["leased"], AGENTS * rounds(FULL), "{reasons:#}");
    let named = reasons["leased"].as_array().expect("a list of holders");
    assert!(!named.is_empty());
    for one in named {
        assert_eq!(one["holder"].as_str(), holders.get(&id_of(&one["task"])).map(String::as_str), "{one}");
    }
}

const WORKERS: usize = 16;
const CHANGES: usize = 500;
/// Changes of one batch; a worker makes every other change with a process of its own.
const BATCH: usize = 10;

#[test]
fn acknowledged_changes_survive_killed_agents() {
    let seed: u64 = match std::env::var_os("FLEET_SEED") {
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).expect("FLEET_SEED is a number"),
        None => RandomState::new().hash_one("fleet"),
    };
    println!("FLEET_SEED={seed}");
    let room = Sandbox::new();
    let shared: Vec<String> = (0..WORKERS).map(|n| room.task(&format!("shared {n}"), &[])).collect();

    let workers: Vec<Worker> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|n| {
                let worker = Worker::new(n, seed, &room, &shared);
                scope.spawn(move || worker.work())
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("every change was answered")).collect()
    });

    let killed: usize = workers.iter().map(|w| w.killed).sum();
    let facts: usize = workers.iter().map(|w| w.facts.len()).sum();
    println!("{killed} processes were killed, {facts} facts are to be found again");
    // A quick machine ends most commands of a short run before their kill.
    assert!(killed > WORKERS || !plays_all(), "{killed} processes were killed");
    assert!(facts > WORKERS * rounds(CHANGES) / 2, "{facts} facts");
    assert_eq!(room.run(&["task", "list"]).code, 0, "a reader comes first");
    room.task("and then a writer", &[]);
    room.is_clean();
    let plan = Plan::read(&room.store());
    for worker in &workers {
        worker.facts.iter().for_each(|fact| plan.holds(fact));
        worker.batches.iter().for_each(|batch| plan.has_all_or_none(batch));
    }
}

/// Something that an acknowledged change made true for ever.
#[derive(Debug)]
enum Fact {
    Task { id: String, title: String },
    Label { task: String, label: String },
    Step { task: String, content: String },
    Ticked { task: String, step: String },
    Note { task: String, content: String },
    Claimed { task: String, by: String },
    Completed { task: String },
    Blocked { task: String, by: String },
}

/// One agent with its plan of changes. It alone touches the tasks it makes; the shared ones are everybody's.
struct Worker {
    name: String,
    chance: Chance,
    start: Start,
    shared: Vec<String>,
    /// Tasks of its own that are open and free, in the order they were made.
    free: Vec<String>,
    /// Steps on shared tasks that are not ticked off, with their tasks.
    steps: Vec<(String, String)>,
    made: usize,
    killed: usize,
    facts: Vec<Fact>,
    /// Titles of each batch, also of those whose process was killed.
    batches: Vec<Vec<String>>,
}

impl Worker {
    fn new(number: usize, seed: u64, room: &Sandbox, shared: &[String]) -> Self {
        let name = format!("worker-{number:02}");
        Worker {
            chance: Chance(seed.wrapping_add(number as u64)),
            start: Start { agentpm: room.agentpm(), name: name.clone(), file: room.beside(&format!("{name}.json")) },
            name,
            shared: shared.to_vec(),
            free: Vec::new(),
            steps: Vec::new(),
            made: 0,
            killed: 0,
            facts: Vec::new(),
            batches: Vec::new(),
        }
    }

    fn work(mut self) -> Self {
        while self.made < rounds(CHANGES) {
            match self.chance.below(20) {
                0..3 => self.creates(),
                3..6 => self.labels(),
                6..8 => self.adds_a_step(),
                8..10 => self.ticks_a_step_off(),
                10..12 => self.notes(),
                12..15 => self.claims_and_finishes(),
                15..17 => self.blocks(),
                _ => self.sends_a_batch(),
            }
        }
        self
    }

    /// Runs one change; `None` where its process was killed before it ended. Any other failure is one of the story.
    fn change(&mut self, args: &[&str]) -> Option<Value> {
        self.made += 1;
        self.acknowledged(args)
    }

    fn acknowledged(&mut self, args: &[&str]) -> Option<Value> {
        // One in twelve is killed, at a moment that is counted in looks at it.
        let looks = (self.chance.below(12) == 0).then(|| self.chance.below(4_000));
        let answer = self.start.run(args, looks);
        self.killed += usize::from(answer.is_none());
        answer.map(|answer| answer.data())
    }

    fn word(&self, what: &str) -> String {
        format!("{what} {} of {}", self.made, self.name)
    }

    fn any_shared(&mut self) -> String {
        let n = self.chance.below(self.shared.len());
        self.shared[n].clone()
    }

    fn creates(&mut self) {
        let title = self.word("task");
        if let Some(task) = self.change(&["task", "create", "--title", &title]) {
            let id = id_of(&task["id"]);
            self.free.push(id.clone());
            self.facts.push(Fact::Task { id, title });
        }
    }

    fn labels(&mut self) {
        let Some(task) = self.free.last().cloned() else { return self.creates() };
        let label = format!("label-{}", self.made);
        if self.change(&["task", "update", &task, "--add-label", &label]).is_some() {
            self.facts.push(Fact::Label { task, label });
        }
    }

    fn adds_a_step(&mut self) {
        let (task, content) = (self.any_shared(), self.word("step"));
        if let Some(step) = self.change(&["progress", "add", &task, "--content", &content]) {
            self.steps.push((task.clone(), id_of(&step["id"])));
            self.facts.push(Fact::Step { task, content });
        }
    }

    fn ticks_a_step_off(&mut self) {
        let Some((task, step)) = self.steps.pop() else { return self.adds_a_step() };
        if self.change(&["progress", "complete", &step]).is_some() {
            self.facts.push(Fact::Ticked { task, step });
        }
    }

    fn notes(&mut self) {
        let (task, content) = (self.any_shared(), self.word("note"));
        if self.change(&["context", "add", &task, "--type", "decision", "--content", &content]).is_some() {
            self.facts.push(Fact::Note { task, content });
        }
    }

    fn claims_and_finishes(&mut self) {
        let Some(task) = self.free.pop() else { return self.creates() };
        if self.change(&["claim", &task]).is_none() {
            return;
        }
        self.facts.push(Fact::Claimed { task: task.clone(), by: self.name.clone() });
        if self.change(&["done", &task, "--outcome", "it works"]).is_some() {
            self.facts.push(Fact::Completed { task });
        }
    }

    fn blocks(&mut self) {
        let Some(task) = self.free.pop() else { return self.creates() };
        // The other one has no owner and no blocker, so there is never a cycle.
        let by = self.any_shared();
        if self.change(&["task", "block", &task, "--by", &by]).is_some() {
            self.facts.push(Fact::Blocked { task, by });
        }
    }

    fn sends_a_batch(&mut self) {
        let titles: Vec<String> = (0..BATCH - 2).map(|n| self.word(&format!("part {n} of batch"))).collect();
        let (task, step, note) = (self.any_shared(), self.word("step"), self.word("note"));
        let mut ops: Vec<Value> = titles.iter().map(|title| create(title)).collect();
        ops.push(json!({ "op": "progress.add", "args": { "task_id": task, "content": [step] } }));
        ops.push(json!({ "op": "context.add", "args": { "task_id": task, "type": "note", "content": note } }));
        self.made += BATCH;
        let file = self.start.written(&ops);
        if let Some(made) = self.acknowledged(&["batch", "--file", &file]) {
            let ids = made["items"].as_array().expect("a list of what was made");
            for (title, item) in titles.iter().zip(ids) {
                self.facts.push(Fact::Task { id: id_of(&item["id"]), title: title.clone() });
            }
            self.facts.push(Fact::Step { task: task.clone(), content: step });
            self.facts.push(Fact::Note { task, content: note });
        }
        self.batches.push(titles);
    }
}

/// How a worker starts its processes.
struct Start {
    agentpm: Command,
    name: String,
    file: PathBuf,
}

impl Start {
    fn written(&self, ops: &[Value]) -> String {
        std::fs::write(&self.file, json!(ops).to_string()).expect("the batch is written");
        self.file.to_str().expect("a UTF-8 path").to_owned()
    }

    /// Runs agentpm to its end, or kills it after so many looks at it. `None` where the kill came first.
    fn run(&mut self, args: &[&str], looks: Option<usize>) -> Option<Answer> {
        let mut command = Command::new(self.agentpm.get_program());
        command.env_clear().current_dir(self.agentpm.get_current_dir().expect("a folder to work in"));
        command.envs(self.agentpm.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.env_remove("AGENTPM_SEED").env("AGENTPM_AGENT", &self.name).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("agentpm starts");
        if let Some(looks) = looks {
            let ended = (0..looks).any(|_| {
                thread::yield_now();
                child.try_wait().expect("a child to wait for").is_some()
            });
            if !ended {
                child.kill().expect("a child to kill");
            }
        }
        let output = child.wait_with_output().expect("a child to wait for");
        (output.status.signal() != Some(9)).then(|| Answer::from(output))
    }
}

/// All files of a store, each read by a parser that is not the store's own.
struct Plan {
    tasks: BTreeMap<String, yaml_serde::Value>,
    titles: BTreeSet<String>,
}

impl Plan {
    fn read(store: &Path) -> Self {
        let mut tasks = BTreeMap::new();
        for entry in walkdir::WalkDir::new(store.join("tasks")) {
            let path = entry.expect("a readable store").into_path();
            match path.file_name().and_then(|name| name.to_str()) {
                Some("task.yaml") => {
                    let task: yaml_serde::Value = yaml_serde::from_str(&text_of(&path)).expect("every task parses");
                    tasks.insert(word(&task["id"]), task);
                }
                Some("events.jsonl") => {
                    for line in text_of(&path).lines() {
                        let event: Value = serde_json::from_str(line).expect("every event parses");
                        assert!(event["id"].is_string() && event["type"].is_string(), "{line}");
                    }
                }
                _ => assert!(path.is_dir() || is_left_over(&path), "{} is no file of a store", path.display()),
            }
        }
        let titles = tasks.values().map(|task| word(&task["title"])).collect();
        Plan { tasks, titles }
    }

    #[track_caller]
    fn task(&self, id: &str) -> &yaml_serde::Value {
        self.tasks.get(id).unwrap_or_else(|| panic!("task {id} was acknowledged and is gone"))
    }

    /// Whether a list of a task has an entry with this value under this key.
    fn has(&self, task: &str, list: &str, key: &str, value: &str) -> bool {
        self.entry(task, list, key, value).is_some()
    }

    fn entry(&self, task: &str, list: &str, key: &str, value: &str) -> Option<&yaml_serde::Value> {
        self.task(task)[list].as_sequence()?.iter().find(|entry| entry[key].as_str() == Some(value))
    }

    #[track_caller]
    fn holds(&self, fact: &Fact) {
        let holds = match fact {
            Fact::Task { id, title } => self.task(id)["title"].as_str() == Some(title),
            Fact::Label { task, label } => {
                let labels = self.task(task)["labels"].as_sequence();
                labels.is_some_and(|labels| labels.iter().any(|one| one.as_str() == Some(label)))
            }
            Fact::Step { task, content } => self.has(task, "progress", "content", content),
            Fact::Ticked { task, step } => {
                self.entry(task, "progress", "id", step).is_some_and(|step| step["completed"].as_bool() == Some(true))
            }
            Fact::Note { task, content } => self.has(task, "context", "content", content),
            Fact::Claimed { task, by } => self.task(task)["owner"].as_str() == Some(by),
            Fact::Completed { task } => self.task(task)["status"].as_str() == Some("completed"),
            Fact::Blocked { task, by } => self.has(task, "relationships", "from", by),
        };
        assert!(holds, "acknowledged, and not there: {fact:?}");
    }

    #[track_caller]
    fn has_all_or_none(&self, titles: &[String]) {
        let there = titles.iter().filter(|title| self.titles.contains(*title)).count();
        assert!(there == 0 || there == titles.len(), "{there} of {} tasks of a batch: {titles:?}", titles.len());
    }
}

/// A temporary file whose writer was killed; git ignores such files.
fn is_left_over(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with('.') && name.ends_with(".tmp")
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn word(value: &yaml_serde::Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value:?}")).to_owned()
}

#[track_caller]
fn id_of(value: &Value) -> String {
    let id = if value.is_object() { &value["id"] } else { value };
    id.as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

fn create(title: &str) -> Value {
    json!({ "op": "task.create", "args": { "title": title } })
}

fn batch(room: &Sandbox, ops: &[Value]) {
    let file = room.beside("batch.json");
    std::fs::write(&file, json!(ops).to_string()).expect("the batch is written");
    room.run(&["batch", "--file", file.to_str().expect("a UTF-8 path")]).data();
}

/// Numbers from a seed (splitmix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % end as u64) as usize
    }
}
