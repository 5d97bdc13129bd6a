//! The trackers, filled with the same plan, and the commands with which each does the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::room::{Repo, Room, agentpm, command, git};
use crate::run::{printed, run};

/// What each tracker is asked to do. Tasks are named by their place in the plan.
#[derive(Clone, Copy, Debug)]
pub enum Op<'a> {
    Create(&'a str),
    Show(usize),
    Retitle(usize, &'a str),
    Label(usize, &'a str),
    /// All unfinished tasks with their titles and labels.
    List,
    Ready,
    Validate,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Agentpm,
    Markdown,
    Taskwarrior,
    Backlog,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Agentpm, Kind::Markdown, Kind::Taskwarrior, Kind::Backlog];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Agentpm => "agentpm",
            Kind::Markdown => "Markdown",
            Kind::Taskwarrior => "Taskwarrior",
            Kind::Backlog => "Backlog.md",
        }
    }

    fn program(self) -> &'static str {
        match self {
            Kind::Agentpm => env!("CARGO_BIN_EXE_agentpm"),
            Kind::Markdown => "sh",
            Kind::Taskwarrior => "task",
            Kind::Backlog => "backlog",
        }
    }

    /// The version of the program; `None` if it is not installed.
    pub fn version(self) -> Option<String> {
        if self == Kind::Markdown {
            return Some("a script of 50 lines".into());
        }
        let output = command(self.program(), Path::new("/"), &["--version"]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| text.split_whitespace().last().unwrap_or_default().to_owned())
    }
}

/// One task, as the export of agentpm has it.
#[derive(Deserialize)]
struct Task {
    id: String,
    title: String,
    intent: String,
    status: String,
    #[serde(default)]
    priority: usize,
    #[serde(default)]
    labels: Vec<String>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

/// A blocker: the standard store has no other kind.
#[derive(Deserialize)]
struct Relationship {
    from: String,
}

impl Task {
    fn is_closed(&self) -> bool {
        self.status == "completed"
    }
}

/// The standard store as other trackers take it: the present state without the history.
pub struct Plan {
    tasks: Vec<Task>,
    places: HashMap<String, usize>,
}

impl Plan {
    fn of(repo: &Repo) -> Self {
        #[derive(Deserialize)]
        struct Line {
            task: Task,
        }
        let export = printed(agentpm(&repo.path, "bench", &["export", "--format", "jsonl"]));
        let task = |line| serde_json::from_str::<Line>(line).expect("a task").task;
        let tasks: Vec<Task> = export.lines().map(task).collect();
        let places = tasks.iter().enumerate().map(|(n, task)| (task.id.clone(), n)).collect();
        Plan { tasks, places }
    }

    /// The places of the tasks that a task waits for.
    fn blockers(&self, task: &Task) -> impl Iterator<Item = usize> {
        task.relationships.iter().map(|relationship| self.places[&relationship.from])
    }

    /// The places of the tasks that are ready.
    pub fn ready(&self) -> Vec<usize> {
        let is_ready = |task: &Task| !task.is_closed() && self.blockers(task).all(|b| self.tasks[b].is_closed());
        (0..self.tasks.len()).filter(|n| is_ready(&self.tasks[*n])).collect()
    }

    pub fn count(&self) -> usize {
        self.tasks.len()
    }

    pub fn count_unfinished(&self) -> usize {
        self.tasks.iter().filter(|task| !task.is_closed()).count()
    }
}

/// A repository with a tracker in it, committed.
pub struct Tracker {
    pub kind: Kind,
    pub path: PathBuf,
    ids: Vec<String>,
    /// agentpm's own repository, which is removed when this is dropped.
    _repo: Option<Repo>,
}

impl Tracker {
    /// All trackers of these kinds with the standard plan, agentpm first.
    pub fn fill(room: &Room, kinds: &[Kind], tasks: usize, name: &str) -> (Plan, Vec<Self>) {
        let repo = room.standard_as(tasks, name);
        let plan = Plan::of(&repo);
        let ids = plan.tasks.iter().map(|task| task.id.clone()).collect();
        let mut trackers = vec![Tracker { kind: Kind::Agentpm, path: repo.path.clone(), ids, _repo: Some(repo) }];
        for kind in kinds.iter().filter(|kind| **kind != Kind::Agentpm) {
            let path = room.at(&format!("{name}-{}", kind.name()));
            std::fs::create_dir(&path).expect("a folder for the repository");
            run(git(&path, &["init", "-q", "-b", "main", "."]));
            let id: fn(usize) -> String = match kind {
                Kind::Taskwarrior => uuid,
                Kind::Backlog => |n| format!("task-{}", n + 1),
                Kind::Markdown | Kind::Agentpm => |n| (n + 1).to_string(),
            };
            let ids = (0..plan.count()).map(id).collect();
            let tracker = Tracker { kind: *kind, path, ids, _repo: None };
            match kind {
                Kind::Taskwarrior => tracker.fill_taskwarrior(&plan),
                Kind::Backlog => tracker.fill_backlog(&plan),
                Kind::Markdown | Kind::Agentpm => tracker.fill_markdown(&plan),
            }
            tracker.commit();
            trackers.push(tracker);
        }
        room.settle();
        (plan, trackers)
    }

    pub fn commit(&self) {
        run(git(&self.path, &["add", "-A"]));
        run(git(&self.path, &["commit", "-q", "-m", "plan"]));
    }

    fn fill_markdown(&self, plan: &Plan) {
        std::fs::create_dir(self.path.join("tasks")).expect("a folder");
        std::fs::write(self.path.join(SCRIPT), include_str!("tracker.sh")).expect("the script is written");
        for (n, task) in plan.tasks.iter().enumerate() {
            let blockers: Vec<String> = plan.blockers(task).map(|b| (b + 1).to_string()).collect();
            let text = format!(
                "---\ntitle: {}\nstatus: {}\npriority: {}\nblocked_by: {}\nlabels: {}\n---\n\n{}\n",
                task.title,
                if task.is_closed() { "done" } else { "open" },
                task.priority,
                blockers.join(" "),
                task.labels.join(" "),
                task.intent
            );
            std::fs::write(self.path.join(format!("tasks/{}.md", n + 1)), text).expect("a task is written");
        }
    }

    fn fill_taskwarrior(&self, plan: &Plan) {
        const ENTERED: &str = "20250101T000000Z";
        let data = self.path.join("data");
        let settings = format!("data.location={}\nconfirmation=no\nverbose=nothing\n", data.display());
        std::fs::create_dir(&data).expect("a folder");
        std::fs::write(self.path.join("taskrc"), settings).expect("the settings are written");
        let task = |(n, task): (usize, &Task)| {
            let mut value = json!({
                "uuid": uuid(n),
                "description": task.title,
                "entry": ENTERED,
                "status": if task.is_closed() { "completed" } else { "pending" },
                "tags": task.labels,
                "depends": plan.blockers(task).map(uuid).collect::<Vec<_>>(),
                "annotations": [{ "entry": ENTERED, "description": task.intent }],
            });
            if task.is_closed() {
                value["end"] = json!(ENTERED);
            }
            if task.priority > 0 {
                value["priority"] = json!(["L", "M", "H", "H"][task.priority - 1]);
            }
            value
        };
        let file = self.path.with_extension("json");
        let tasks: Vec<Value> = plan.tasks.iter().enumerate().map(task).collect();
        std::fs::write(&file, Value::from(tasks).to_string()).expect("the plan is written");
        run(self.run_program(&["import", &file.display().to_string()]));
    }

    fn fill_backlog(&self, plan: &Plan) {
        run(self.run_program(&["init", "peers", "--defaults", "--integration-mode", "none"]));
        let list = |key: &str, items: Vec<String>| match items.is_empty() {
            true => format!("{key}: []\n"),
            false => items.iter().fold(format!("{key}:\n"), |text, item| text + &format!("  - {item}\n")),
        };
        for (n, task) in plan.tasks.iter().enumerate() {
            let (id, title, status) = (n + 1, &task.title, if task.is_closed() { "Done" } else { "To Do" });
            let labels = list("labels", task.labels.clone());
            let blockers = list("dependencies", plan.blockers(task).map(|b| format!("TASK-{}", b + 1)).collect());
            let priority = match task.priority {
                0 => String::new(),
                n => format!("priority: {}\n", ["low", "medium", "high", "high"][n - 1]),
            };
            let text = format!(
                "---\nid: TASK-{id}\ntitle: {title}\nstatus: {status}\nassignee: []\ncreated_date: '2025-01-01 00:00'\n\
                 {labels}{blockers}{priority}ordinal: {id}000\n---\n\n## Description\n\n\
                 <!-- SECTION:DESCRIPTION:BEGIN -->\n{}\n<!-- SECTION:DESCRIPTION:END -->\n",
                task.intent
            );
            let name = format!("backlog/tasks/task-{id} - {}.md", title.replace(' ', "-"));
            std::fs::write(self.path.join(name), text).expect("a task is written");
        }
    }

    /// The program with these words, in the repository of the tracker.
    fn run_program(&self, args: &[&str]) -> Command {
        if self.kind == Kind::Agentpm {
            return agentpm(&self.path, "bench", args);
        }
        let mut command = command(self.kind.program(), &self.path, args);
        command.env("TASKRC", self.path.join("taskrc"));
        command
    }

    pub fn command(&self, op: Op) -> Command {
        use Kind::{Agentpm, Backlog, Markdown, Taskwarrior};
        use Op::{Create, Label, List, Ready, Retitle, Show, Validate};

        let id = |n: usize| self.ids[n].as_str();
        let tag = if let Label(_, label) = op { format!("+{label}") } else { String::new() };
        let args = match (self.kind, op) {
            (Agentpm, Create(title)) => vec!["task", "create", "--title", title],
            (Agentpm, Show(n)) => vec!["task", "get", id(n)],
            (Agentpm, Retitle(n, title)) => vec!["task", "update", id(n), "--title", title],
            (Agentpm, Label(n, label)) => vec!["task", "update", id(n), "--add-label", label],
            (Agentpm, List) => vec!["task", "list", "--limit", "1000000"],
            (Agentpm, Ready) => vec!["ready", "--limit", "1000000"],
            (Agentpm, Validate) => vec!["lint"],
            (Markdown, Create(title)) => vec![SCRIPT, "create", title],
            (Markdown, Show(n)) => vec![SCRIPT, "show", id(n)],
            (Markdown, Retitle(n, title)) => vec![SCRIPT, "retitle", id(n), title],
            (Markdown, Label(n, label)) => vec![SCRIPT, "label", id(n), label],
            (Markdown, List) => vec![SCRIPT, "list"],
            (Markdown, Ready) => vec![SCRIPT, "ready"],
            (Markdown, Validate) => vec![SCRIPT, "validate"],
            (Taskwarrior, Create(title)) => vec!["add", title],
            (Taskwarrior, Show(n)) => vec![id(n), "info"],
            (Taskwarrior, Retitle(n, title)) => vec![id(n), "modify", title],
            (Taskwarrior, Label(n, _)) => vec![id(n), "modify", &tag],
            (Taskwarrior, List) => vec!["status:pending", "export"],
            (Taskwarrior, Ready) => vec!["+READY", "export"],
            (Taskwarrior, Validate) => vec!["diagnostics"],
            (Backlog, Create(title)) => vec!["task", "create", title, "--plain"],
            (Backlog, Show(n)) => vec!["task", "view", id(n), "--plain"],
            (Backlog, Retitle(n, title)) => vec!["task", "edit", id(n), "--title", title, "--plain"],
            (Backlog, Label(n, label)) => vec!["task", "edit", id(n), "--add-label", label, "--plain"],
            (Backlog, List) => vec!["task", "list", "--exclude-status", "Done", "--json"],
            (Backlog, Ready) => vec!["task", "list", "--ready", "--json"],
            (Backlog, Validate) => vec!["doctor"],
        };
        self.run_program(&args)
    }

    /// Values that lost to a concurrent one and that the tracker offers to restore; agentpm alone has such a list.
    pub fn count_listed_conflicts(&self) -> usize {
        match self.kind {
            Kind::Agentpm => {
                let answer = printed(self.run_program(&["conflicts"]));
                let answer: Value = serde_json::from_str(&answer).expect("JSON");
                answer["data"]["total"].as_u64().expect("a number") as usize
            }
            _ => 0,
        }
    }
}

/// The Markdown tracker, which lies in the repository of its tasks.
const SCRIPT: &str = "tracker.sh";

/// The identity of a task in Taskwarrior.
fn uuid(n: usize) -> String {
    format!("00000000-0000-4000-8000-{:012}", n + 1)
}
