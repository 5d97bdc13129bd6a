//! Errors, warnings and reports name tasks by handle and title; the details keep the ids.

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn a_refusal_names_tasks_by_handle_and_title() {
    let room = Sandbox::new();
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first, "--acceptance", "it stands"]);
    let error = room.run(&["claim", &second]).error("ERR_INVALID_STATE", 4);
    let (one, two) = (&first[20..], &second[20..]);
    let message = format!("task {two} (build on it) still waits for {one} (lay the ground)");
    assert_eq!((&error["message"], &error["details"]["blockers"]), (&json!(message), &json!([first])));
    room.run(&["claim", &first]).data();
    room.run_as("bob", &["done", &first]).error("ERR_LEASE_HELD", 5);
    let held = room.run_as("bob", &["task", "update", &first, "--priority", "1"]).error("ERR_LEASE_HELD", 5);
    assert!(held["message"].as_str().unwrap().starts_with(&format!("ada holds task {one} (lay the ground) until")));
    room.run(&["done", &first]).data();
    room.run(&["claim", &second]).data();
    let error = room.run(&["done", &second]).error("ERR_INVALID_STATE", 4);
    assert_eq!(error["message"], json!(format!("task {two} (build on it) cannot be completed: 1 unmet criterion")));
    let hint = error["hint"].as_str().unwrap();
    assert!(hint.contains(&format!("agentpm done {two} --all-met")) && !hint.contains(&second), "{hint}");
}

#[test]
fn a_title_cannot_pass_for_a_part_of_the_message() {
    let room = Sandbox::new();
    let first = room.task("one", &[]);
    let task = room.task(&format!("see {first}"), &[]);
    let error = room.run(&["task", "reopen", &task, "--reason", "x"]).error("ERR_INVALID_STATE", 4);
    let message = format!("task {} (see {first}) is open, not closed", &task[20..]);
    assert_eq!(error["message"], json!(message), "the id in a title is the title's");
}

#[test]
fn the_candidates_of_an_ambiguous_reference_have_titles() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    let error = room.run(&["show", &one[..6]]).error("ERR_AMBIGUOUS_ID", 3);
    for (id, title) in [(&one, "one"), (&two, "two")] {
        let named = json!({ "id": id, "handle": id[20..], "title": title });
        assert!(error["details"]["candidates"].as_array().unwrap().contains(&named), "{error}");
        assert!(error["message"].as_str().unwrap().contains(&format!("{} {title}", &id[20..])), "{error}");
    }
}

#[test]
fn relationships_are_shown_with_handle_and_title() {
    let room = Sandbox::new();
    let (whole, first) = (room.task("the whole", &[]), room.task("lay the ground", &[]));
    let task = room.task("build on it", &["--parent", &whole, "--blocked-by", &first]);
    let names = room.run(&["show", &task]).data()["names"].clone();
    assert_eq!(names.as_array().unwrap().len(), 2, "{names}");
    let words = room.run(&["show", &task, "--format", "table"]).stdout;
    let line = format!("{} (lay the ground) blocks {}", &first[20..], &task[20..]);
    assert!(words.contains(&line), "{words}");
}

#[test]
fn all_commands_and_reasons_name_tasks_alike() {
    let room = Sandbox::new();
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first]);
    let (one, two) = (&first[20..], &second[20..]);
    let answer = room.run(&["work", &second, "--", "true"]);
    let words = format!("task {two} (build on it) still waits for {one} (lay the ground)");
    assert!(answer.stderr.contains(&words) || answer.stdout.contains(&words), "{answer:?}");
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    room.run(&["task", "reopen", &first, "--reason", "not yet"]).data();
    let page = room.run(&["brief", &second]).data()["text"].as_str().unwrap().to_owned();
    assert!(page.contains(&format!("its blocker {one} (lay the ground) was reopened")), "{page}");
}

#[test]
fn an_unknown_reference_that_is_a_title_or_a_key_names_the_task() {
    let room = Sandbox::new();
    let alpha = room.task("Alpha", &[]);
    let named = json!([{ "id": alpha, "handle": alpha[20..], "title": "Alpha" }]);
    for command in [&["add", "--title", "x", "--parent", "Alpha"][..], &["show", "Alpha"], &["claim", "Alpha"]] {
        let refused = room.run(command).error("ERR_NOT_FOUND", 3);
        let hint = format!("a task is named by its id or handle; it may be {} (Alpha)", &alpha[20..]);
        assert_eq!((&refused["hint"], &refused["details"]["meant"]), (&json!(hint), &named), "{command:?}");
    }
    let plan = b"plan: book\ntasks:\n  - key: chlog\n    title: Write the changelog\n";
    room.feed(&["plan", "apply", "-"], plan).data();
    let refused = room.run(&["task", "block", &alpha, "--by", "chlog"]).error("ERR_NOT_FOUND", 3);
    assert!(refused["hint"].as_str().unwrap().ends_with("(Write the changelog)"), "{refused}");
    for unknown in ["alph", "log", "%"] {
        let refused = room.run(&["show", unknown]).error("ERR_NOT_FOUND", 3);
        assert!(refused["details"].get("meant").is_none(), "{refused}");
    }
}
