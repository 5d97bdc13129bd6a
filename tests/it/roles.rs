//! Who may do what, and what is kept from those who may not.

use std::fs;

use serde_json::{Value, json};

use crate::lost::Twins;
use crate::sandbox::Sandbox;

const ROLES: &str = "\
agents:
  ada: {perms: [create, split, update, relate, comment], precedence: 40}
  bob: {perms: [claim, complete, comment], precedence: 30}
roles:
  reviewer: {perms: [verify, claim, ship], precedence: 50}
";

fn with_roles() -> Sandbox {
    let room = Sandbox::new();
    room.run_as("eve", &["agent", "register", "--role", "reviewer"]).data();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room
}

#[test]
fn a_missing_right_refuses_and_writes_nothing() {
    let room = with_roles();
    let id = room.task("one", &[]);
    let before = fs::read(room.log_of(&id)).unwrap();
    room.run_as("bob", &["task", "create", "--title", "two"]).error("ERR_UNAUTHORIZED", 6);
    room.run(&["claim", &id]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("mallory", &["context", "add", &id, "--content", "x"]).error("ERR_UNAUTHORIZED", 6);
    assert_eq!(fs::read(room.log_of(&id)).unwrap(), before);
    room.run_as("bob", &["claim", &id]).data();
    room.run_as("bob", &["done", &id]).data();
    // No task asks for "ship".
    assert_eq!(room.finding_codes(), ["config-key"]);
}

#[test]
fn a_task_is_handed_out_only_to_those_it_needs() {
    let room = with_roles();
    let ship = room.task("ship it", &["--need-perm", "ship"]);
    let high = room.task("decide it", &["--need-precedence", "45", "--priority", "-1"]);
    let nothing = room.run_as("bob", &["next", "--claim"]);
    assert!(nothing.data().is_null());
    assert_eq!(nothing.json()["reasons"]["counts"]["not_permitted"], 2);
    assert_eq!(room.run_as("eve", &["next", "--claim"]).data()["task"]["id"], ship.as_str());
    assert_eq!(room.run_as("eve", &["next"]).data()["task"]["id"], high.as_str());
}

#[test]
fn unreadable_roles_permit_nothing() {
    let room = Sandbox::new();
    for bad in
        ["agents: {ada: {perms: [create]}, ada: {perms: [admin]}}\n", "agents: &a {}\n", "agent: {}\n", "- ada\n"]
    {
        fs::write(room.store().join("roles.yml"), bad).unwrap();
        room.run(&["task", "create", "--title", "x"]).error("ERR_CORRUPT", 8);
    }
}

#[test]
fn every_event_records_the_precedence_of_its_author_and_the_higher_one_counts() {
    let mut id = String::new();
    let twins = Twins::new(|room| {
        id = room.task("x", &[]);
        let roles = "agents:\n  ada: {perms: [admin], precedence: 30}\n  bob: {perms: [admin], precedence: -5}\n";
        fs::write(room.store().join("roles.yml"), roles).unwrap();
    });
    twins.ada(&["task", "update", &id, "--title", "Ada's"]).data();
    twins.bob(&["note", &id, "--content", "later"]).data();
    twins.bob(&["task", "update", &id, "--title", "Bob's"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!(twins.room.get(&id)["title"], "Ada's");
    let log = fs::read_to_string(twins.room.log_of(&id)).unwrap();
    let of = |agent: &str| {
        let events =
            log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|e| e["agent"] == agent);
        events.collect::<Vec<_>>().pop().unwrap()["precedence"].clone()
    };
    assert_eq!((of("ada"), of("bob")), (json!(30), json!(-5)));
    let lost = twins.ada(&["conflicts"]).data()["items"].clone();
    assert_eq!((&lost[0]["lost"]["value"], &lost[0]["rule"]), (&json!("Bob's"), &json!("precedence")));
}

#[test]
fn the_role_that_an_agent_registers_with_gives_its_rights() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    fs::write(
        room.store().join("roles.yml"),
        "agents:\n  ada: {perms: [register]}\nroles:\n  reviewer: {perms: [verify], precedence: 50}\n",
    )
    .unwrap();
    let refused = room.run_as("eve", &["task", "verify", &id]).error("ERR_UNAUTHORIZED", 6);
    assert_eq!(refused["details"], json!({"agent": "eve", "verb": "verify"}));
    assert!(refused["hint"].as_str().unwrap().contains("roles.yml grants it to the role reviewer"), "{refused}");
    room.run_as("eve", &["agent", "register", "--role", "reviewer"]).error("ERR_UNAUTHORIZED", 6);
    room.run(&["agent", "register", "--name", "eve", "--role", "reviewer"]).data();
    room.run_as("eve", &["task", "verify", &id]).data();
    let log = fs::read_to_string(room.log_of(&id)).unwrap();
    assert!(log.lines().last().unwrap().contains("\"precedence\":50"), "{log}");
    room.run(&["agent", "register", "--name", "eve", "--role", "planner"]).data();
    room.run_as("eve", &["task", "verify", &id]).error("ERR_UNAUTHORIZED", 6);
}

#[test]
fn events_of_others_are_taken_in_only_from_an_agent_with_all_rights() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let events = room.run(&["sync", "pull"]).data()["items"].clone();
    let mut forged = events.as_array().unwrap().last().unwrap().clone();
    forged["id"] = serde_json::json!("01M7W6C3806BY31X58W0ZZZZZZ");
    let file = room.beside("events.json");
    std::fs::write(&file, serde_json::json!([forged]).to_string()).unwrap();
    let roles = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [comment]}\n";
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    let error = room.run_as("bob", &["sync", "push", "--file", file.to_str().unwrap()]).error("ERR_UNAUTHORIZED", 6);
    assert!(error["message"].as_str().unwrap().contains("bob may not admin here"), "{error}");
    assert_eq!(room.get(&task)["version"], 1);
}

#[test]
fn lint_names_the_slips_in_roles() {
    let room = Sandbox::new();
    room.run_as("code_bot", &["agent", "register"]).data();
    let roles = |text: &str| fs::write(room.store().join("roles.yml"), text).unwrap();
    roles("agents:\n  code_bott: {perms: [claim]}\n  ada: {perms: [admin]}\n  code_bot: {perms: [verfy]}\n");
    room.task("ada has written an event", &[]);
    let said: Vec<(String, String)> = room
        .findings()
        .iter()
        .map(|f| (f["code"].as_str().unwrap().to_owned(), f["message"].as_str().unwrap().to_owned()))
        .collect();
    assert!(said.len() == 2, "{said:?}");
    assert!(said.iter().any(|(code, words)| code == "agent-unregistered" && words.ends_with("; code_bot is meant?")));
    assert!(said.iter().any(|(code, words)| code == "config-key" && words.contains("verify is meant?")), "{said:?}");
    roles("agents:\n  ada: {perms: [admin], precedence: -1001}\n");
    let finding = &room.findings()[0];
    assert_eq!(finding["code"], "config-invalid", "{finding}");
    assert!(finding["message"].as_str().unwrap().contains("-1001 is not within -1000 to 1000"), "{finding}");
}

/// Bob's later value gives way to ada's, by precedence.
fn overruled() -> (Twins, String) {
    let mut id = String::new();
    let twins = Twins::new(|room| {
        id = room.task("x", &[]);
        let roles = "agents:\n  ada: {perms: [admin], precedence: 30}\n  bob: {perms: [admin], precedence: -5}\n";
        fs::write(room.store().join("roles.yml"), roles).unwrap();
    });
    twins.ada(&["task", "update", &id, "--title", "Ada's"]).data();
    twins.bob(&["note", &id, "--content", "later"]).data();
    twins.bob(&["task", "update", &id, "--title", "Bob's"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    (twins, id)
}

#[test]
fn each_interface_names_the_rule_that_decided() {
    let (twins, id) = overruled();
    let room = &twins.room;
    assert!(room.run(&["conflicts", "--format", "table"]).text().contains("precedence"));
    let blamed = room.run(&["blame", &id]).data();
    let title = blamed["items"].as_array().unwrap().iter().find(|item| item["field"] == "title").unwrap().clone();
    assert_eq!((&title["agent"], &title["beat"][0]["rule"]), (&json!("ada"), &json!("precedence")));
    assert!(room.run(&["blame", &id, "--format", "table"]).text().contains("Bob's by bob (precedence)"));
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--allow-empty", "-m", "resolved"]).text();
    // From where ada and bob began.
    let root = room.git(&["rev-list", "--max-parents=0", "HEAD"]).text().to_owned();
    let review = room.run(&["review", &format!("{root}..HEAD")]).data();
    assert_eq!(review["items"][0]["lost"][0]["rule"], "precedence", "{review:#}");
    let words = room.run(&["review", &format!("{root}..HEAD"), "--format", "md"]);
    assert!(words.text().contains("by `ada` (precedence)"), "{words:?}");
    assert!(words.text().contains("title `x` → `Ada's` by `ada`"), "{words:?}");
}

#[test]
fn lint_names_a_decision_that_a_higher_precedence_overruled() {
    let (twins, id) = overruled();
    let finding = &twins.room.findings()[0];
    assert_eq!(
        (&finding["code"], &finding["severity"], &finding["task"]),
        (&json!("overruled"), &json!("warning"), &json!(id))
    );
    let said = finding["message"].as_str().unwrap();
    assert!(said.contains("by bob lost to") && said.ends_with("by ada, who has the higher precedence"), "{said}");
    twins.ada(&["conflicts", "keep", finding["event"].as_str().unwrap()]).data();
    twins.room.is_clean();
}

#[test]
fn a_precedence_that_the_base_does_not_give_is_refused_by_the_gate() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    let roles = |precedence: i64| {
        let text = format!("agents:\n  ada: {{perms: [admin], precedence: {precedence}}}\n");
        fs::write(room.store().join("roles.yml"), text).unwrap();
    };
    roles(30);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "base"]).text();
    roles(900);
    room.run(&["task", "update", &id, "--priority", "5"]).data();
    room.git(&["add", "-A"]).text();
    let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
    let found = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "not-permitted").unwrap().clone();
    let said = found["message"].as_str().unwrap();
    assert!(said.contains("\"ada\" has precedence 30") && said.contains("records precedence 900"), "{said}");
}

#[test]
fn a_precedence_out_of_bounds_is_refused_where_the_roles_are_read() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin], precedence: 1001}\n").unwrap();
    let refused = room.run(&["task", "update", &id, "--priority", "1"]);
    assert!(refused.stdout.contains("1001 is not within -1000 to 1000"), "{refused:?}");
}
