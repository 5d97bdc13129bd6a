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
fn a_precedence_out_of_bounds_is_refused_where_the_roles_are_read() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin], precedence: 1001}\n").unwrap();
    let refused = room.run(&["task", "update", &id, "--priority", "1"]);
    assert!(refused.stdout.contains("1001 is not within -1000 to 1000"), "{refused:?}");
}
