//! Messages to other agents: who gets them, how they travel, and where they are shown.

use serde_json::json;

use crate::lost::Twins;
use crate::sandbox::{Answer, Sandbox};

#[test]
fn a_message_is_an_event_in_the_log_of_its_sender() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let sent = room.run(&["broadcast", "--body", "main is frozen", "--role", "executor"]).data();
    assert_eq!(sent, json!({ "id": sent["id"], "role": "executor" }));
    let log = std::fs::read_to_string(room.store().join("agents/ada/events.jsonl")).unwrap();
    let event: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((&event["type"], &event["id"], &event["agent"]), (&json!("Broadcast"), &sent["id"], &json!("ada")));
    assert_eq!(event["payload"], json!({ "body": "main is frozen", "role": "executor" }));
    let words = room.run(&["log", "--type", "Broadcast", "--format", "table"]);
    assert!(words.text().contains("main is frozen"), "{words:?}");
    room.is_clean();
}

#[test]
fn a_message_needs_a_text_and_one_receiver() {
    let room = Sandbox::new();
    room.run(&["broadcast", "--body", " "]).error("ERR_USAGE", 2);
    room.run(&["broadcast", "--body", "x", "--to", "Not A Name"]).error("ERR_VALIDATION", 4);
    room.run(&["broadcast", "--body", "x", "--to", "bob", "--role", "executor"]).error("ERR_USAGE", 2);
    let unknown = room.run(&["broadcast", "--body", "x", "--to", "bob"]);
    assert!(unknown.code == 0 && unknown.stderr.contains("no agent"), "{unknown:?}");
    room.run_as("bob", &["agent", "register"]).data();
    assert_eq!(room.run(&["broadcast", "--body", "x", "--to", "bob"]).stderr, "");
    let unknown = room.run(&["broadcast", "--body", "x", "--role", "executer"]);
    assert!(unknown.code == 0 && unknown.stderr.contains("with the role \"executer\""), "{unknown:?}");
    room.run_as("bob", &["agent", "register", "--role", "executor"]).data();
    assert_eq!(room.run(&["broadcast", "--body", "x", "--role", "executor"]).stderr, "");
}

#[test]
fn roles_say_who_may_send_one() {
    let room = Sandbox::new();
    let roles = "agents:\n  ada: {perms: [broadcast]}\n  bob: {perms: [comment]}\n";
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    room.run(&["broadcast", "--body", "x"]).data();
    let refused = room.run_as("bob", &["broadcast", "--body", "x"]).error("ERR_UNAUTHORIZED", 6);
    assert!(refused["message"].as_str().unwrap().contains("broadcast"), "{refused}");
}

#[test]
fn the_gate_asks_for_the_right_that_the_command_asks_for() {
    let room = Sandbox::new();
    let roles = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [comment]}\n";
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "roles"]).text();
    room.git(&["switch", "-q", "-c", "side"]).text();
    std::fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("bob", &["broadcast", "--body", "x"]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "a message"]).text();
    let found = room.run(&["lint", "--base", "main", "--json"]).json();
    let words = found["data"].to_string() + &found["error"].to_string();
    assert!(words.contains("may not broadcast"), "{found:#}");
}

#[test]
fn the_gate_refuses_a_message_in_the_log_of_another_agent() {
    let room = Sandbox::new();
    let roles = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [broadcast]}\n";
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "roles"]).text();
    room.git(&["switch", "-q", "-c", "side"]).text();
    room.run(&["broadcast", "--body", "by ada"]).data();
    let log = room.store().join("agents/ada/events.jsonl");
    let line = std::fs::read_to_string(&log).unwrap();
    std::fs::write(&log, line.replace("\"agent\":\"ada\"", "\"agent\":\"bob\"")).unwrap();
    room.git(&["add", "-A"]).text();
    let report = room.run(&["lint", "--base", "main"]).json()["data"].clone();
    let found = report["findings"].as_array().unwrap().iter().find(|f| f["code"] == "not-permitted");
    let message = found.unwrap_or_else(|| panic!("{report:#}"))["message"].as_str().unwrap();
    assert!(message.contains("sends a message in the log of ada"), "{message}");
}

#[test]
fn messages_of_two_clones_merge_without_a_conflict_and_are_shown() {
    let twins = Twins::new(|room| drop(room.task("x", &[])));
    twins.ada(&["broadcast", "--body", "from ada"]).data();
    twins.bob(&["broadcast", "--body", "from bob", "--to", "ada"]).data();
    twins.merge();
    let types = twins.ada(&["log", "--type", "Broadcast"]).data();
    assert_eq!(types["total"], 2, "{types:#}");
    let review = twins.ada(&["review", "HEAD~2..HEAD"]).data();
    let bodies: Vec<&str> = review["messages"].as_array().unwrap().iter().filter_map(|m| m["body"].as_str()).collect();
    assert!(bodies.contains(&"from bob"), "{review:#}");
    let words = twins.ada(&["review", "HEAD~2..HEAD", "--format", "table"]);
    assert!(words.text().contains("message by bob to ada: from bob"), "{words:?}");
    let md = twins.ada(&["review", "HEAD~2..HEAD", "--format", "md"]);
    assert!(md.text().contains("`from bob`"), "{md:?}");
    twins.room.is_clean();
}

#[test]
fn sync_carries_messages_and_says_so() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "begin"]).text();
    let hub = room.beside("hub.git");
    let hub = hub.to_str().unwrap();
    room.git(&["init", "-q", "--bare", "-b", "main", hub]).text();
    room.git(&["remote", "add", "origin", hub]).text();
    room.run(&["sync", "--set-upstream"]).data();
    let other = room.beside("other");
    room.git(&["clone", "-q", hub, other.to_str().unwrap()]).text();
    room.run(&["broadcast", "--body", "main is frozen"]).data();
    room.run(&["sync"]).data();
    assert!(room.git(&["log", "-1", "--format=%s"]).text().starts_with("plan: 1 message"), "the subject says it");
    let came = room.run_in(&other, &["sync"]).data();
    assert_eq!((&came["messages"][0]["by"], &came["messages"][0]["body"]), (&json!("ada"), &json!("main is frozen")));
    room.run(&["broadcast", "--body", "and open again"]).data();
    room.run(&["sync"]).data();
    let words = room.run_in(&other, &["sync", "--format", "table"]);
    assert!(words.text().contains("message from ada to all agents: and open again"), "{words:?}");
    room.run(&["broadcast", "--body", "for eve", "--to", "eve"]).data();
    room.run(&["broadcast", "--body", "for bob", "--to", "bob"]).data();
    room.run(&["sync"]).data();
    let came = Answer::from(room.agentpm_in(&other).env("AGENTPM_AGENT", "bob").arg("sync").output().unwrap()).data();
    assert_eq!((came["messages"].as_array().unwrap().len(), &came["messages"][0]["body"]), (1, &json!("for bob")));
}
