//! Random hand edits in one clone, while another changes the same task by commands: merged both ways the plans are equal, and
//! no value vanishes without being reported.
//!
//! `SEED=…` and `ROUNDS=…` choose which days and how many.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agentpm::env::Env;
use serde_json::{Value, json};

use crate::sync::{Clones, plan};

/// How an edit is taken in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// At once, by `lint --fix`.
    Fix,
    /// By the next command that changes the task.
    Command,
    /// By `sync`.
    Sync,
    /// After the other clone's events arrived in the log beneath it.
    Behind,
    /// After it was committed as it is, and merged by git.
    Committed,
}

const WAYS: [Way; 5] = [Way::Fix, Way::Command, Way::Sync, Way::Behind, Way::Committed];

struct Day {
    clones: Clones,
    task: String,
    dice: Env,
    /// What was written to each register, and what was added.
    written: Vec<(String, Value)>,
    added: Vec<String>,
    /// The steps that there were when the clones parted.
    steps: Vec<String>,
}

impl Day {
    fn new(seed: u64, driver: bool) -> Self {
        let (clones, task) = Clones::new(&["ann", "bob"]);
        let vars = BTreeMap::from([("AGENTPM_SEED".to_owned(), format!("hands-{seed}"))]);
        let dice = Env::new(vars, "/".into()).unwrap();
        if driver {
            clones.run("ann", &["init", "--hooks"]).data();
            clones.run("bob", &["init", "--hooks"]).data();
        }
        let mut day = Day { clones, task, dice, written: Vec::new(), added: Vec::new(), steps: Vec::new() };
        for n in 0..day.below(4) {
            let step = day.clones.run("ann", &["progress", "add", &day.task, "--content", &format!("step {n}")]).data();
            day.steps.push(step["id"].as_str().unwrap().to_owned());
        }
        if day.below(2) == 0 {
            day.clones
                .run("ann", &["task", "update", &day.task, "--priority", "1", "--label", "x", "--estimate", "1h"])
                .data();
        }
        day.clones.run("ann", &["sync"]).data();
        day.clones.run("bob", &["sync"]).data();
        day
    }

    fn below(&self, n: u64) -> usize {
        usize::try_from(self.dice.chance().unwrap() % n).unwrap()
    }

    fn yaml(&self) -> PathBuf {
        self.clones.log("ann", &self.task).with_file_name("task.yaml")
    }

    /// Ann edits the file.
    fn edit(&mut self, round: usize) {
        let mut text = std::fs::read_to_string(self.yaml()).unwrap();
        let mut edited = std::collections::BTreeSet::new();
        for _ in 0..=self.below(3) {
            let kind = self.below(9);
            if !edited.insert(kind) {
                continue;
            }
            let name = format!("ann {round}");
            match kind {
                0 => text = self.set(&text, "title", json!(name)),
                1 => text = self.set(&text, "priority", json!(self.below(4) + 2)),
                2 => text = self.set(&text, "estimate", json!(name)),
                3 => text = self.set(&text, "type", json!("ops")),
                4 => text = self.set(&text, "need_perm", json!(name)),
                5 => {
                    let labels = json!([name]);
                    text = self.set(&text, "labels", labels);
                }
                6 => {
                    let new = format!("  - {{type: attempt, content: \"{name}\"}}\n");
                    text = match text.contains("\ncontext:\n") {
                        true => text.replacen("\ncontext:\n", &format!("\ncontext:\n{new}"), 1),
                        false => text + "context:\n" + &new,
                    };
                    self.added.push(name);
                }
                7 if !self.steps.is_empty() => {
                    let id = self.steps[self.below(self.steps.len() as u64)].clone();
                    let at = text.find(&id).unwrap();
                    let (head, tail) = text.split_at(at);
                    text = format!("{head}{}", tail.replacen("completed: false", "completed: true", 1));
                    self.written.push((format!("progress.{id}"), json!(true)));
                }
                8 if text.contains("- criterion: it works\n") && !text.contains("met_at") => {
                    text = text.replacen("- criterion: it works\n", "- criterion: it works\n    met: true\n", 1);
                    self.written.push(("met.it works".into(), json!(true)));
                }
                _ => {}
            }
        }
        std::fs::write(self.yaml(), text).unwrap();
    }

    /// Writes a key at the top of the file, in place of what stood there.
    fn set(&mut self, text: &str, key: &str, value: Value) -> String {
        self.written.push((key.to_owned(), value.clone()));
        let line = format!("{key}: {value}\n");
        let begins = |line: &str| line.starts_with(&format!("{key}:"));
        let Some(at) = text.lines().position(begins) else {
            return text.replacen("\ncreated_at:", &format!("\n{line}created_at:"), 1);
        };
        let begin: usize = text.split_inclusive('\n').take(at).map(str::len).sum();
        let rest = &text[begin..];
        let end: usize = rest
            .split_inclusive('\n')
            .enumerate()
            .take_while(|(n, line)| *n == 0 || line.starts_with(' '))
            .map(|(_, line)| line.len())
            .sum();
        format!("{}{line}{}", &text[..begin], &rest[end..])
    }

    /// Bob changes the task by commands.
    fn command(&mut self, round: usize) {
        let name = format!("bob {round}");
        for _ in 0..=self.below(3) {
            let (key, value, args): (String, Value, Vec<String>) = match self.below(7) {
                0 => ("title".into(), json!(name), vec!["--title".into(), name.clone()]),
                1 => {
                    let n = self.below(5) as i64 - 5;
                    ("priority".into(), json!(n), vec!["--priority".into(), n.to_string()])
                }
                2 => ("estimate".into(), json!(name), vec!["--estimate".into(), name.clone()]),
                3 => ("type".into(), json!("docs"), vec!["--type".into(), "docs".into()]),
                4 => ("labels".into(), json!([name]), vec!["--label".into(), name.clone()]),
                5 => {
                    self.clones.run("bob", &["note", &self.task, "--content", &name]).data();
                    self.added.push(name.clone());
                    continue;
                }
                _ if !self.steps.is_empty() => {
                    let id = self.steps[self.below(self.steps.len() as u64)].clone();
                    self.clones.run("bob", &["progress", "complete", &id]).data();
                    self.written.push((format!("progress.{id}"), json!(true)));
                    continue;
                }
                _ => continue,
            };
            // A second write has seen the first.
            let mine = |(register, value): &(String, Value)| *register == key && value.to_string().contains("bob");
            self.written.retain(|written| !mine(written));
            if key == "priority" || key == "type" {
                if self.written.iter().any(|(register, _)| register == &format!("bob {key}")) {
                    continue;
                }
                self.written.push((format!("bob {key}"), Value::Null));
            }
            self.written.push((key, value));
            let args: Vec<&str> =
                ["task", "update", &self.task].into_iter().chain(args.iter().map(String::as_str)).collect();
            self.clones.run("bob", &args).data();
        }
    }

    fn commit(&self, name: &str, verify: &[&str]) {
        self.clones.git(name, &["add", "-A"]).text();
        let _ = self.clones.git(name, &[&["commit", "-q", "-m", "plan"], verify].concat());
    }

    fn take_in(&mut self, way: Way, context: &str) {
        let ok = |answer: crate::sandbox::Answer| assert_eq!(answer.code, 0, "{context}: {answer:?}");
        match way {
            Way::Fix => ok(self.clones.run("ann", &["lint", "--fix"])),
            Way::Command => ok(self.clones.run("ann", &["progress", "add", &self.task, "--content", "on it"])),
            Way::Sync => ok(self.clones.run("ann", &["sync"])),
            Way::Behind => {
                let theirs = std::fs::read_to_string(self.clones.log("bob", &self.task)).unwrap();
                let ours = std::fs::read_to_string(self.clones.log("ann", &self.task)).unwrap();
                let more: String = theirs.split_inclusive('\n').filter(|line| !ours.contains(*line)).collect();
                std::fs::write(self.clones.log("ann", &self.task), ours + &more).unwrap();
                ok(self.clones.run("ann", &["lint", "--fix"]));
            }
            Way::Committed => {
                self.commit("ann", &["--no-verify"]);
                self.commit("bob", &["--no-verify"]);
                self.clones.git("ann", &["fetch", "-q", &self.clones.dir("bob").display().to_string(), "main"]).text();
                let _ = self.clones.git("ann", &["merge", "-q", "-m", "merge", "--no-verify", "FETCH_HEAD"]);
                ok(self.clones.run("ann", &["resolve"]));
                ok(self.clones.run("ann", &["lint", "--fix"]));
            }
        }
        self.commit("ann", &["--no-verify"]);
        self.commit("bob", &["--no-verify"]);
    }

    /// Both merge what the other has, each its own way.
    fn merge_both_ways(&self, context: &str) {
        let tips = ["ann", "bob"].map(|name| self.clones.git(name, &["rev-parse", "HEAD"]).text().to_owned());
        for (name, other, tip) in [("ann", "bob", &tips[1]), ("bob", "ann", &tips[0])] {
            self.clones.git(name, &["fetch", "-q", &self.clones.dir(other).display().to_string(), tip]).text();
            let _ = self.clones.git(name, &["merge", "-q", "-m", "merge", "--no-verify", tip]);
            let resolved = self.clones.run(name, &["resolve"]);
            assert_eq!(resolved.code, 0, "{context}: {resolved:?}");
            self.commit(name, &["--no-verify"]);
            let clean = self.clones.run(name, &["lint"]);
            assert_eq!(clean.code, 0, "{context}: {name} {clean:?}");
        }
    }

    fn judge(&self, context: &str) {
        let (ann, bob) = (plan(&self.clones, "ann"), plan(&self.clones, "bob"));
        let tasks = |plan: &BTreeMap<String, String>| -> BTreeMap<String, String> {
            plan.iter().filter(|(path, _)| path.contains("tasks/")).map(|(a, b)| (a.clone(), b.clone())).collect()
        };
        assert_eq!(tasks(&ann), tasks(&bob), "{context}");
        let task = self.clones.run("ann", &["task", "get", &self.task]).data();
        let conflicts = self.clones.run("ann", &["conflicts", &self.task]).data();
        let lost: Vec<(String, Value)> = conflicts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["field"].as_str().unwrap().to_owned(), item["lost"]["value"].clone()))
            .collect();
        for (register, value) in self.written.iter().filter(|(register, _)| !register.starts_with("bob ")) {
            let now = match register.split_once('.') {
                Some(("progress", id)) => {
                    let items = task["progress"]["items"].as_array().unwrap();
                    items.iter().find(|item| item["id"] == id).unwrap()["completed"].clone()
                }
                Some(("met", _)) => task["acceptance"][0]["met"].clone(),
                _ => task[register.as_str()].clone(),
            };
            let is_listed = lost.iter().any(|(field, gone)| field == register && gone == value);
            assert!(
                now == *value || is_listed,
                "{context}: {register} was {value}, is {now}, and is not in {conflicts}"
            );
        }
        let notes = task["context"].to_string();
        assert!(self.added.iter().all(|note| notes.contains(note.as_str())), "{context}: {:?} in {notes}", self.added);
    }
}

#[test]
fn concurrent_hand_edits_and_commands_all_survive() {
    let number = |name: &str, usual: u64| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (seed, rounds) = (number("SEED", 1), crate::sandbox::rounds(40) as u64);
    for round in seed..seed + rounds {
        let way = WAYS[round as usize % WAYS.len()];
        let driver = (round / WAYS.len() as u64).is_multiple_of(2);
        let context = format!("SEED={round} ROUNDS=1 ({way:?}, driver: {driver})");
        let mut day = Day::new(round, driver);
        day.edit(round as usize);
        day.command(round as usize);
        day.take_in(way, &context);
        day.merge_both_ways(&context);
        day.judge(&context);
    }
}
