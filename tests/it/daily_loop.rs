//! The daily loop: take, read, note, finish; and what happens when two agents meet.

use crate::sandbox::Sandbox;

#[test]
fn an_agent_takes_a_task_works_and_finishes() {
    let room = Sandbox::new();
    let first = room.task("Fix the lock", &["--acceptance", "it holds"]);
    let second = room.task("Document it", &["--blocked-by", &first]);

    let taken = room.run(&["next", "--claim"]).data();
    assert_eq!(taken["task"]["id"], first.as_str());
    assert_eq!(taken["task"]["owner"], "ada");
    assert_eq!((taken["lease"]["fence"].as_u64(), taken["lease"]["confirmed"].as_bool()), (Some(1), Some(false)));

    room.run(&["progress", "add", &first, "--content", "found the cause"]).data();
    room.run(&["context", "add", &first, "--type", "decision", "--content", "flock"]).data();
    room.run(&["done"]).error("ERR_INVALID_STATE", 4);
    let done = room.run(&["done", "--all-met", "--outcome", "it holds now"]).data();
    assert_eq!(done["status"], "completed");

    assert_eq!(room.get(&second)["status"], "open", "its last blocker is finished");
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], second.as_str());
    room.is_clean();
}

#[test]
fn the_second_agent_gets_another_task() {
    let room = Sandbox::new();
    let first = room.task("one", &["--priority", "3"]);
    let second = room.task("two", &[]);
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], first.as_str());
    assert_eq!(room.run_as("bob", &["next", "--claim"]).data()["task"]["id"], second.as_str());
    let refused = room.run_as("bob", &["task", "update", &first, "--priority", "1"]).error("ERR_LEASE_HELD", 5);
    assert_eq!(refused["details"]["holder"], "ada");
    let nothing = room.run_as("eve", &["next", "--claim"]);
    assert_eq!(nothing.data(), serde_json::Value::Null);
    assert_eq!(nothing.json()["reasons"]["counts"]["leased"], 2);
}

#[test]
fn an_expired_lease_passes_on_only_by_a_claim() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("long", &[]);
    room.run(&["claim", &id]).data();
    room.at("2026-11-20T10:11:00Z");
    room.run_as("bob", &["task", "update", &id, "--priority", "1"]).error("ERR_LEASE_EXPIRED", 5);
    let taken = room.run_as("bob", &["claim", &id]).data();
    assert_eq!((taken["lease"]["fence"].as_u64(), taken["task"]["owner"].as_str()), (Some(2), Some("bob")));
    let refused = room.run(&["done", &id]).error("ERR_LEASE_LOST", 5);
    assert_eq!(refused["details"]["holder"], "bob");
    room.is_clean();
}

#[test]
fn an_override_is_possible_and_recorded() {
    let room = Sandbox::new();
    let id = room.task("held", &[]);
    room.run(&["claim", &id]).data();
    room.run_as("bob", &["task", "update", &id, "--priority", "2", "--override", "ada is away"]).data();
    let events = room.run(&["log", &id, "--type", "LeaseOverride"]).data();
    assert_eq!(events["items"][0]["why"], "ada is away");
    assert_eq!(events["items"][0]["payload"]["holder"], "ada");
}

#[test]
fn steps_are_named_by_their_task_and_their_numbers() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    for step in ["first", "second", "third, or 1,2"] {
        room.run(&["progress", "add", &id, step]).data();
    }
    let open = |expected: &[&str]| {
        let task = room.get(&id);
        let steps = task["progress"]["items"].as_array().unwrap().iter().filter(|step| step["completed"] != true);
        assert_eq!(steps.map(|step| step["content"].as_str().unwrap()).collect::<Vec<_>>(), expected);
    };
    room.run(&["progress", "complete", &id[20..], "1"]).data();
    open(&["second", "third, or 1,2"]);
    room.run(&["progress", "complete", &id, "2", "third, or 1,2"]).data();
    open(&[]);
    room.run(&["progress", "reopen", &id, "1,2"]).data();
    open(&["first", "second"]);
    let refused = room.run(&["progress", "complete", &id]).error("ERR_NOT_FOUND", 3);
    assert!(refused["hint"].as_str().unwrap().contains(&format!("progress complete {} N", &id[20..])), "{refused}");
    room.run(&["progress", "complete", &id, "4"]).error("ERR_NOT_FOUND", 3);
    room.run(&["progress", "complete", "1"]).error("ERR_NOT_FOUND", 3);
    room.run(&["claim", &id]).data();
    room.run(&["progress", "complete", "1,2"]).data();
    open(&[]);
}

#[test]
fn criteria_are_met_by_a_list_of_numbers() {
    let room = Sandbox::new();
    let id = room.task("one", &["--acceptance", "it holds", "--acceptance", "fast", "--acceptance", "3,4"]);
    let met = || room.get(&id)["acceptance"].as_array().unwrap().iter().filter(|one| one["met"] == true).count();
    room.run(&["task", "verify", &id, "--criterion", "3,4"]).data();
    assert_eq!(met(), 1, "a criterion of that text comes first");
    room.run(&["task", "verify", &id, "--criterion", "1,9"]).error("ERR_NOT_FOUND", 3);
    room.run(&["claim", &id]).data();
    let done = room.run(&["done", "--met", "1, 2"]).data();
    assert_eq!((&done["status"], met()), (&"completed".into(), 3));
}

#[test]
fn an_unclaimed_task_is_refused_for_what_keeps_it_from_a_claim() {
    let room = Sandbox::new();
    let whole = room.task("whole", &[]);
    let part = room.task("part", &["--parent", &whole]);
    let later = room.task("later", &["--blocked-by", &part]);
    for (task, words) in [(&whole, "a planning unit with 1 unfinished part"), (&later, "still waits for")] {
        for command in [&["done", task][..], &["task", "transition", task, "--status", "completed"]] {
            let refused = room.run(command).error("ERR_INVALID_STATE", 4);
            assert!(refused["message"].as_str().unwrap().contains(words), "{refused}");
            assert!(!refused["hint"].as_str().unwrap().contains("claim it first"), "{refused}");
        }
    }
    let refused = room.run(&["done", &part]).error("ERR_INVALID_STATE", 4);
    assert!(refused["hint"].as_str().unwrap().starts_with("claim it first"), "{refused}");
}
