//! A task that no agent completes is parked after some attempts, and offered again when what it asks for changes.

use serde_json::json;

use crate::sandbox::Sandbox;

/// Claims a task and gives it back, some times.
#[track_caller]
fn fail(room: &Sandbox, task: &str, times: usize) {
    for _ in 0..times {
        let n = room.run(&["claim", task]).data()["task"]["attempts"].as_u64().unwrap() + 1;
        room.run(&["context", "add", task, "--type", "attempt", "--content", &format!("attempt {n} ends")]).data();
        room.run(&["release", task]).data();
    }
}

fn set(room: &Sandbox, settings: &str) {
    let path = room.store().join("config.toml");
    let before = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, format!("{before}\n{settings}")).unwrap();
}

#[test]
fn a_task_is_parked_after_five_attempts() {
    let room = Sandbox::new();
    let task = room.task("hopeless", &[]);
    fail(&room, &task, 4);
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(task));
    fail(&room, &task, 1);
    let view = room.get(&task);
    assert_eq!((&view["attempts"], &view["ready"]), (&json!(5), &json!(false)));
    let ready = room.run(&["ready", "--explain"]).data();
    assert_eq!((&ready["total"], &ready["not_ready"]["counts"]), (&json!(0), &json!({ "parked": 1 })));
    let reason = &ready["explained"]["items"][0]["reasons"][0];
    assert_eq!((&reason["reason"], &reason["attempts"]), (&json!("parked"), &json!(5)));
    let notes = reason["notes"].as_array().unwrap();
    assert!(notes.len() == 5 && notes.contains(&json!("attempt 5 ends")), "{reason}");
    assert!(room.run(&["next", "--claim"]).data().is_null());
    let error = room.run(&["claim", &task]).error("ERR_INVALID_STATE", 4);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("5 claims ended without completion: attempt "), "{message}");
    assert!(error["hint"].as_str().unwrap().contains("--unpark"), "{error}");
    assert!(!std::fs::read_to_string(room.yaml_of(&task)).unwrap().contains("attempts"));
    room.is_clean();
}

#[test]
fn unpark_offers_a_parked_task_again() {
    let room = Sandbox::new();
    let task = room.task("hopeless", &[]);
    fail(&room, &task, 5);
    let view = room.run(&["task", "update", &task, "--unpark"]).data();
    assert_eq!((&view["attempts"], &view["ready"]), (&json!(0), &json!(true)));
    room.run(&["claim", &task]).data();
    // Without an attempt to forget there is nothing to record.
    let other = room.task("new", &[]);
    assert_eq!(room.run(&["task", "update", &other, "--unpark"]).data()["version"], json!(1));
    room.is_clean();
}

#[test]
fn a_change_of_intent_or_acceptance_offers_a_parked_task_again() {
    for change in [["--intent", "smaller"], ["--acceptance", "half of it"], ["--add-acceptance", "half of it"]] {
        let room = Sandbox::new();
        let task = room.task("hopeless", &[]);
        fail(&room, &task, 5);
        room.run(&["task", "update", &task, "--priority", "5"]).data();
        assert!(room.run(&["next"]).data().is_null(), "a priority asks for nothing else");
        room.run(&[&["task", "update", &task], &change[..]].concat()).data();
        assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(task), "{change:?}");
    }
}

#[test]
fn a_takeover_counts_and_a_claim_in_progress_does_not() {
    let room = Sandbox::new();
    let task = room.task("slow", &[]);
    room.at("2026-11-20T10:00:00Z").run(&["claim", &task]).data();
    room.run(&["lease", "renew", &task]).data();
    assert_eq!(room.get(&task)["attempts"], json!(0));
    room.at("2026-11-20T11:00:00Z").run_as("bob", &["claim", &task]).data();
    assert_eq!(room.get(&task)["attempts"], json!(1));
    room.run_as("bob", &["done", &task]).data();
    assert_eq!(room.get(&task)["attempts"], json!(1), "a completion is no failed attempt");
}

#[test]
fn the_number_of_attempts_is_a_setting() {
    let room = Sandbox::new();
    let task = room.task("hopeless", &[]);
    set(&room, "[claim]\nmax_attempts = 1\n");
    fail(&room, &task, 1);
    let words = room.run(&["ready", "--explain"]).data()["explained"]["items"][0]["words"][0].clone();
    assert_eq!(words, "parked: 1 claim ended without completion: attempt 1 ends");
    let room = Sandbox::new();
    let task = room.task("stubborn", &[]);
    set(&room, "[claim]\nmax_attempts = 0\n");
    fail(&room, &task, 6);
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(task));
}

#[test]
fn an_accepted_proposal_offers_a_parked_task_again() {
    for (field, offers) in [("intent=smaller", true), ("priority=3", false)] {
        let room = Sandbox::new();
        let task = room.task("hopeless", &[]);
        fail(&room, &task, 5);
        let open = ["thread", "open", &task, "--body", "half of it will do", "--set", field, "--quiet"];
        let thread = room.run_as("bob", &open).text().to_owned();
        assert!(room.run(&["next"]).data().is_null(), "a proposal alone changes nothing");
        room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
        let next = room.run(&["next"]).data();
        assert_eq!(next["task"]["id"] == json!(task), offers, "{field}: {next}");
    }
}
