//! The gate lets pass what commands did: random work of several agents on branches that are merged.

use std::fs;

use agentpm::env::Env;
use serde_json::Value;

use crate::sandbox::{Sandbox, rounds};

/// Chance from a seed, through the seam.
struct Dice(Env);

impl Dice {
    fn new(seed: usize) -> Self {
        let vars = [("AGENTPM_SEED".to_owned(), format!("honest-{seed}"))];
        Dice(Env::new(vars.into_iter().collect(), "/".into()).unwrap())
    }

    fn below(&self, n: usize) -> usize {
        usize::try_from(self.0.chance().unwrap() % n as u64).unwrap()
    }

    fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// No agent may override: what passes anything by is refused, and so is never asked for.
const ROLES: &str = "agents:\n  ada: {perms: [ALL], precedence: 20}\n  bob: {perms: [ALL], precedence: 20}\n  \
                     eve: {perms: [ALL, review], precedence: 40}\n";
const ALL: &str = "create, split, update, comment, claim, complete, cancel, verify, archive, relate, register";
const AGENTS: [&str; 3] = ["ada", "bob", "eve"];
const STATES: [&str; 6] = ["open", "in_progress", "blocked", "completed", "cancelled", "archived"];

/// Ids of the events of a task.
fn events(room: &Sandbox, task: &str) -> Vec<String> {
    let log = fs::read_to_string(room.log_of(task)).unwrap_or_default();
    let id = |line: &str| Some(serde_json::from_str::<Value>(line).ok()?["id"].as_str()?.to_owned());
    log.lines().filter_map(id).collect()
}

/// Lets an agent try something at random.
fn act(room: &Sandbox, dice: &Dice, tasks: &[String]) -> String {
    let (agent, task, other) = (*dice.pick(&AGENTS), dice.pick(tasks).as_str(), dice.pick(tasks).as_str());
    let (owner, state): (&str, &str) = (*dice.pick(&AGENTS), *dice.pick(&STATES));
    let known = events(room, task);
    let event = if known.is_empty() { "" } else { dice.pick(&known).as_str() };
    let mut args: Vec<&str> = match dice.below(30) {
        0..=3 => vec!["claim", task],
        4 => vec!["claim", task, "--here", "--ttl", "1m"],
        5 => vec!["next", "--claim"],
        6..=7 => vec!["done", task, "--all-met", "--outcome", "it is done"],
        8 => vec!["done", task],
        9 => vec!["release", task],
        10..=11 => vec!["task", "transition", task, "--status", state],
        12 => vec!["task", "update", task, "--owner", owner],
        13 => vec!["task", "update", task, "--title", "another title", "--acceptance", "it is fast"],
        14 => vec!["task", "verify", task, "--all"],
        15 => vec!["task", "block", task, "--by", other],
        16 => vec!["task", "unblock", task],
        17 => vec!["task", "relate", task, "--to", other, "--type", "relates_to"],
        18 => vec!["task", "archive", task],
        19 => vec!["task", "reopen", task, "--reason", "not yet"],
        20..=21 => vec!["undo", event],
        22 => vec!["conflicts", "restore", event],
        23 => vec!["conflicts", "keep", event],
        24 => vec!["lease", if dice.below(2) == 0 { "acquire" } else { "release" }, task],
        25 => vec!["progress", "add", task, "--content", "a step"],
        26..=27 => vec!["task", "verify", task, "--accept"],
        28 => vec!["task", "verify", task, "--reject", "--why", "it does not hold"],
        _ => {
            let page = fs::read_to_string(room.yaml_of(task)).unwrap_or_default();
            let status = |state: &str| format!("\nstatus: {state}\n");
            let to = state;
            let state = STATES.iter().find(|state| page.contains(&status(state))).unwrap_or(&"open");
            fs::write(room.yaml_of(task), page.replace(&status(state), &status(to))).unwrap();
            let done = room.run_as(agent, &["lint", "--fix"]);
            if room.finding_codes().iter().any(|code| code.starts_with("task-yaml")) {
                fs::write(room.yaml_of(task), page).unwrap();
                let _ = room.run_as(agent, &["lint", "--fix"]);
            }
            return format!("{agent} edits {task}: {}", done.code);
        }
    };
    if dice.below(8) == 0 {
        args.extend(["--why", "so it is"]);
    }
    let done = room.run_as(agent, &args);
    format!("{agent} {} -> {}", args.join(" "), done.code)
}

fn commit(room: &Sandbox) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", "work"]).text();
}

/// Works for a while, at a time that goes on.
fn work(room: &Sandbox, dice: &Dice, tasks: &[String], minute: &mut usize, said: &mut Vec<String>) {
    for _ in 0..4 + dice.below(12) {
        *minute += [0, 1, 1, 4, 12, 40][dice.below(6)];
        let clock = format!("2026-11-20T{:02}:{:02}:00Z", 8 + *minute / 60, *minute % 60);
        room.at(Box::leak(clock.into_boxed_str()));
        said.push(act(room, dice, tasks));
    }
    commit(room);
}

#[test]
fn a_branch_of_commands_alone_passes_the_gate() {
    for seed in 0..rounds(60) {
        let (room, dice, mut minute, mut said) = (Sandbox::new(), Dice::new(seed), 0, Vec::new());
        fs::write(room.store().join("roles.yml"), ROLES.replace("ALL", ALL)).unwrap();
        if seed % 2 == 1 {
            fs::write(room.store().join("config.toml"), "format = 1\n[review]\nrequired = true\n").unwrap();
        }
        room.at("2026-11-20T08:00:00Z");
        let mut tasks =
            vec![room.task("one", &["--acceptance", "it works"]), room.task("two", &["--need-perm", "review"])];
        tasks.push(room.task("three", &["--blocked-by", &tasks[0]]));
        tasks.push(room.task("four", &["--parent", &tasks[0], "--need-precedence", "30"]));
        commit(&room);
        if dice.below(2) == 0 {
            work(&room, &dice, &tasks, &mut minute, &mut said);
        }
        room.git(&["branch", "other"]).text();
        room.git(&["switch", "-q", "-c", "feature"]).text();
        work(&room, &dice, &tasks, &mut minute, &mut said);
        for (branch, base) in [("other", "feature"), ("main", "feature")] {
            room.git(&["switch", "-q", branch]).text();
            said.push(format!("on {branch}"));
            work(&room, &dice, &tasks, &mut minute, &mut said);
            room.git(&["switch", "-q", base]).text();
            if dice.below(2) == 0 {
                said.push(format!("merges {branch}"));
                let _ = room.git(&["merge", "-q", "--no-edit", branch]);
                let _ = room.run(&["resolve"]);
                commit(&room);
            }
            said.push(format!("on {base}"));
            work(&room, &dice, &tasks, &mut minute, &mut said);
        }
        let findings = room.run(&["lint", "--base", "main"]).json()["data"]["findings"].clone();
        let codes = ["not-permitted", "event-parents", "log-gap"];
        let refused = |f: &&Value| codes.iter().any(|code| f["code"] == *code);
        let found: Vec<&Value> = findings.as_array().unwrap().iter().filter(refused).collect();
        assert!(found.is_empty(), "seed {seed}: {found:#?}\n{}\n{}", said.join("\n"), room.store().display());
    }
}
