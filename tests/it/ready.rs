//! One definition of readiness: what `next` shows `claim` takes, and what it does not show has a reason.

use std::fs;

use agentpm::env::Env;
use serde_json::{Value, json};

use crate::claims::run_at;
use crate::lost::Twins;
use crate::sandbox::{Sandbox, rounds};
use crate::sync::Clones;

/// Chance from a seed, through the seam.
struct Dice(Env);

impl Dice {
    fn new(seed: u64) -> Self {
        let vars = [("AGENTPM_SEED".to_owned(), format!("ready-{seed}"))];
        Dice(Env::new(vars.into_iter().collect(), "/".into()).unwrap())
    }

    fn below(&self, n: usize) -> usize {
        usize::try_from(self.0.chance().unwrap() % n as u64).unwrap()
    }

    fn pick<'a>(&self, from: &'a [String]) -> &'a str {
        &from[self.below(from.len())]
    }
}

const ROLES: &str = "\
agents:
  ada: {perms: [admin], precedence: 40}
  bob: {perms: [admin], precedence: 30}
  eve: {perms: [claim, complete, comment], precedence: 10}
";

/// A plan that two clones changed without seeing each other, brought together: with circles of blockers and of parents, tasks that
/// need rights, tasks for later, tasks at work, and another branch.
fn tangled(dice: &Dice) -> (Twins, Vec<String>) {
    let mut ids = Vec::new();
    let twins = Twins::new(|room| {
        ids = (0..10).map(|n| room.task(&format!("task {n}"), &[])).collect();
        fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    });
    for n in 0..14 {
        let (one, other) = (dice.pick(&ids), dice.pick(&ids));
        let args: Vec<&str> = match dice.below(9) {
            0..=2 => vec!["task", "block", one, "--by", other],
            3 | 4 => vec!["task", "update", one, "--parent", other],
            5 => vec!["claim", one],
            6 => vec!["task", "update", one, "--need-perm", "ship"],
            7 => vec!["task", "update", one, "--need-precedence", "20"],
            _ => vec!["task", "update", one, "--defer-until", "2026-12-24"],
        };
        // What the rules refuse is no part of the plan.
        let _ = if n % 2 == 0 { twins.ada(&args) } else { twins.bob(&args) };
    }
    twins.merge();
    twins.ada(&["resolve"]).data();
    twins.room.git(&["add", "-A"]).text();
    twins.room.git(&["commit", "-q", "--allow-empty", "-m", "brought together"]).text();
    // On another branch one is finished.
    twins.room.git(&["switch", "-q", "-c", "elsewhere"]).text();
    let _ = twins.ada(&["task", "transition", dice.pick(&ids), "--status", "cancelled", "--override", "a try"]);
    twins.room.git(&["add", "-A"]).text();
    twins.room.git(&["commit", "-q", "--allow-empty", "-m", "elsewhere"]).text();
    twins.room.git(&["switch", "-q", "main"]).text();
    (twins, ids)
}

fn eve(room: &Sandbox, args: &[&str]) -> crate::sandbox::Answer {
    room.run_as("eve", args)
}

#[test]
fn claim_takes_the_task_that_next_shows() {
    let rounds = rounds(60) as u64;
    let (mut taken, mut reasons) = (0, 0);
    for seed in 0..rounds {
        let dice = Dice::new(seed);
        let (twins, ids) = tangled(&dice);
        let room = &twins.room;
        for _ in 0..=ids.len() {
            let next = eve(room, &["next"]).data();
            if next.is_null() || next["task"].is_null() {
                break;
            }
            let id = next["task"]["id"].as_str().unwrap();
            assert_eq!(next["task"]["ready"], true, "seed {seed}: {next}");
            let claimed = eve(room, &["claim", id]);
            assert_eq!(claimed.code, 0, "seed {seed}: next shows {id} and claim refuses it: {claimed:?}");
            taken += 1;
        }
        // The three agree that there is nothing more.
        let nothing = eve(room, &["next", "--claim", "--explain"]);
        assert!(nothing.data().is_null(), "seed {seed}: {nothing:?}");
        assert_eq!(eve(room, &["ready"]).data()["total"], 0, "seed {seed}");
        let why = nothing.json()["reasons"].clone();
        let named = |id: &Value| {
            let lists = [&why["explained"]["items"], &why["elsewhere"]];
            lists.iter().any(|list| list.as_array().is_some_and(|items| items.iter().any(|item| item["task"] == *id)))
        };
        for task in eve(room, &["ls"]).data()["items"].as_array().unwrap() {
            assert!(named(&task["id"]), "seed {seed}: no reason for {task}: {why}");
            reasons += 1;
            // And the claim of one gives a reason too.
            if task["status"] != "in_progress" {
                let refused = eve(room, &["claim", task["id"].as_str().unwrap()]);
                assert_ne!(refused.code, 0, "seed {seed}: {task} was not shown, and is taken: {why}");
            }
        }
    }
    assert!(taken >= rounds && reasons >= 2 * rounds, "{taken} were taken and {reasons} had a reason");
}

#[test]
fn next_gives_the_true_reasons_for_no_task() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.run(&["task", "block", &two, "--by", &one]).data();
    room.run(&["claim", &one]).data();
    let nothing = room.run_as("bob", &["next", "--claim", "--format", "table"]);
    assert!(nothing.stdout.contains("1 blocked") && nothing.stdout.contains("1 leased"), "{nothing:?}");
    let json = room.run(&["next", "--claim"]).json();
    assert!(json["data"].is_null());
    assert_eq!(json["reasons"]["held"][0]["id"], one.as_str(), "{json}");
    let empty = Sandbox::new();
    let nothing = empty.run(&["next", "--claim", "--format", "table"]);
    assert!(nothing.stdout.contains("the plan has no unfinished task"), "{nothing:?}");
}

#[test]
fn a_claim_says_which_rule_stands_in_the_way() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let unit = room.task("unit", &[]);
    room.task("part", &["--parent", &unit]);
    let later = room.task("later", &["--defer-until", "2026-12-24"]);
    let refused = room.run(&["claim", &unit]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("a planning unit with 1 unfinished part"), "{refused}");
    let refused = room.run(&["claim", &later]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("deferred until 2026-12-24"), "{refused}");
}

#[test]
fn a_task_that_needs_a_right_is_not_taken_by_any_command() {
    let room = Sandbox::new();
    let right = room.task("needs a right", &["--need-perm", "ship"]);
    let high = room.task("needs precedence", &["--need-precedence", "20"]);
    fs::write(room.store().join("roles.yml"), ROLES.replace("[claim,", "[update, claim,")).unwrap();
    for id in [&right, &high] {
        for args in [
            vec!["claim", id.as_str()],
            vec!["lease", "acquire", id.as_str()],
            vec!["task", "transition", id.as_str(), "--status", "in_progress"],
        ] {
            let refused = eve(&room, &args).error("ERR_UNAUTHORIZED", 6);
            assert!(refused["message"].as_str().unwrap().contains("which eve lacks"), "{args:?}: {refused}");
        }
    }
    room.run(&["claim", &right]).data();
}

#[test]
fn next_offers_nothing_without_the_right_to_claim() {
    let room = Sandbox::new();
    room.task("one", &[]);
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  yan: {perms: [comment]}\n").unwrap();
    for name in ["yan", "unlisted"] {
        let next = room.run_as(name, &["next"]);
        assert!(next.data().is_null() || next.data()["task"].is_null(), "{next:?}");
        assert_eq!(next.json()["reasons"]["counts"]["not_permitted"], 1, "{next:?}");
        assert_eq!(room.run_as(name, &["ready"]).data()["total"], 0);
        assert_ne!(room.run_as(name, &["ls"]).data()["items"][0]["ready"], true);
        room.run_as(name, &["next", "--claim"]).error("ERR_UNAUTHORIZED", 6);
    }
}

#[test]
fn a_list_shows_as_ready_only_what_no_branch_has() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "the plan"]).text();
    room.git(&["switch", "-q", "-c", "other"]).text();
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "done"]).text();
    room.git(&["switch", "-q", "main"]).text();
    assert_ne!(room.run_as("bob", &["ls"]).data()["items"][0]["ready"], true);
}

#[test]
fn a_lease_known_only_from_the_log_withholds_its_task() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["lease", "acquire", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:00:10Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-20T10:00:20Z", &["sync"]).data();
    let bob = |clock: &str, args: &[&str]| run_at(&clones, "bob", clock, args);
    let live = "2026-11-20T10:01:00Z";
    assert_eq!(bob(live, &["ready"]).data()["total"], 0);
    let nothing = bob(live, &["next"]);
    assert!(nothing.data().is_null(), "{nothing:?}");
    let why = nothing.json()["reasons"].clone();
    assert_eq!((&why["counts"]["leased"], &why["leased"][0]["holder"]), (&json!(1), &json!("ann")), "{why}");
    let shown = bob(live, &["task", "get", &task]).data();
    assert_eq!((&shown["ready"], &shown["lease_holder"]), (&json!(false), &json!("ann")));
    assert_eq!(bob(live, &["lease", "list"]).data()["items"][0]["agent"], "ann");
    assert_eq!(bob(live, &["stats"]).data()["live_leases"], 1);
    bob(live, &["claim", &task]).error("ERR_LEASE_HELD", 5);
    // It runs out there as here.
    let over = "2026-11-20T10:20:00Z";
    assert_eq!(bob(over, &["ready"]).data()["total"], 1);
    assert_eq!(bob(over, &["next", "--claim"]).data()["task"]["id"], task.as_str());
}

#[test]
fn work_whose_lease_ran_out_is_stale_in_the_clone_that_knows_it_from_the_log() {
    let (clones, task) = Clones::new(&["ann", "bob"]);
    run_at(&clones, "ann", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run_at(&clones, "ann", "2026-11-20T10:00:10Z", &["sync"]).data();
    run_at(&clones, "bob", "2026-11-20T10:00:20Z", &["sync"]).data();
    assert_eq!(run_at(&clones, "bob", "2026-11-20T10:01:00Z", &["stale"]).data()["total"], 0);
    let over = "2026-11-20T10:11:00Z";
    let stale = run_at(&clones, "bob", over, &["stale"]).data();
    assert_eq!(stale["items"][0]["lease_expired_at"], "2026-11-20T10:10:00Z", "{stale}");
    let next = run_at(&clones, "bob", over, &["next"]).json();
    assert_eq!(next["reasons"]["abandoned"][0]["task"], task.as_str(), "{next}");
    run_at(&clones, "bob", over, &["claim", &task]).data();
}

#[test]
fn an_open_task_of_another_is_not_claimed_however_long_it_waits() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("for bob", &[]);
    let yaml = std::fs::read_to_string(room.yaml_of(&id)).unwrap();
    std::fs::write(room.yaml_of(&id), yaml.replace("status: open\n", "status: open\nowner: bob\n")).unwrap();
    room.run(&["lint", "--fix"]).data();
    assert_eq!(room.get(&id)["owner"], "bob");
    room.at("2026-11-21T10:00:00Z");
    assert!(room.run(&["next"]).data().is_null());
    let refused = room.run(&["claim", &id]).error("ERR_LEASE_HELD", 5);
    assert_eq!(refused["details"]["holder"], "bob");
    let hint = refused["hint"].as_str().unwrap();
    let ask: Vec<&str> = hint.rsplit("agentpm ").next().unwrap().split(' ').collect();
    room.run(&ask).data();
    room.run(&["claim", &id]).error("ERR_LEASE_HELD", 5);
    room.run_as("bob", &["claim", &id]).data();
}

#[test]
fn the_page_of_a_task_offers_a_claim_only_where_it_would_be_granted() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let whole = room.task("whole", &[]);
    let part = room.task("part", &["--parent", &whole]);
    let waits = room.task("waits", &["--blocked-by", &whole]);
    let later = room.task("later", &["--defer-until", "2027-01-01T00:00:00Z"]);
    for (id, why) in [
        (&whole, "not ready: a planning unit with 1 unfinished part"),
        (&waits, "not ready: waits for"),
        (&later, "not ready: deferred until 2027-01-01T00:00:00Z"),
    ] {
        let page = room.run(&["brief", id, "--format", "md"]);
        assert!(page.text().contains(why) && !page.text().contains("agentpm claim"), "{page:?}");
        room.run(&["claim", id]).error("ERR_INVALID_STATE", 4);
    }
    let page = room.run(&["brief", &part, "--format", "md"]);
    assert!(page.text().contains("agentpm claim"), "{page:?}");
    room.run(&["claim", &part]).data();
}
