//! `brief`: what its page holds, in which order, within which bound; and the one task that commands mean where none is named.

use serde_json::json;

use crate::lost::Twins;
use crate::sandbox::Sandbox;

#[track_caller]
fn page(room: &Sandbox, args: &[&str]) -> String {
    room.run(&[&["brief"][..], args].concat()).data()["text"].as_str().unwrap().to_owned()
}

/// Asserts that a text has these parts, in this order.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut from = 0;
    for part in parts {
        let at = text[from..].find(part).unwrap_or_else(|| panic!("{part:?} is not where it belongs in:\n{text}"));
        from += at + part.len();
    }
}

#[test]
fn a_brief_says_each_thing_once_within_its_bound() {
    let room = Sandbox::new();
    let id = room.task("Order the locks", &["--intent", "the intent of it"]);
    let note = format!("the note of it {}", "words ".repeat(40_000));
    room.feed(&["note", &id, "--content", "-"], note.as_bytes()).data();
    let answer = room.run(&["brief", &id]);
    assert!(answer.stdout.len() < 10_000, "{} bytes", answer.stdout.len());
    for once in ["the intent of it", "the note of it"] {
        assert_eq!(answer.stdout.matches(once).count(), 1, "{once}");
    }
    let data = answer.data();
    let version = room.get(&id)["version"].clone();
    let task =
        json!({ "id": id, "handle": id[20..], "title": "Order the locks", "status": "open", "version": version });
    assert_eq!(data["task"], task);
    assert!(data["left_out"]["context_bytes"].as_u64() > Some(200_000), "{}", data["left_out"]);
    let text = data["text"].as_str().unwrap();
    assert!(text.contains("context bytes") && text.contains(&format!("agentpm show {} --full", &id[20..])), "{text}");
    assert!(page(&room, &[&id, "--max-tokens", "20000"]).len() > 15_000);
}

#[test]
fn a_page_goes_from_what_to_do_to_the_next_commands() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let epic = room.task("Storage that holds", &["--intent", "no data is lost"]);
    let part = room.task("Locking", &["--parent", &epic, "--intent", "one writer at a time"]);
    let blocker = room.task("Find the callers", &["--parent", &part]);
    let sibling = room.task("Describe the files", &["--parent", &part]);
    for (id, outcome) in [(&blocker, "seven callers in three files"), (&sibling, "the files are described")] {
        room.run(&["claim", id]).data();
        room.run(&["done", id, "--outcome", outcome]).data();
    }
    let task = room.task(
        "Order the locks",
        &["--parent", &part, "--blocked-by", &blocker, "--intent", "no deadlock", "--acceptance", "1000 rounds"],
    );
    room.task("A part of it", &["--parent", &task]);
    room.run(&["task", "update", &task, "--priority", "2", "--why", "customers wait"]).data();
    let step = room.run(&["progress", "add", &task, "--content", "a finished step"]).data()["id"].clone();
    room.run(&["progress", "complete", step.as_str().unwrap()]).data();
    room.run(&["progress", "add", &task, "--content", "an open step"]).data();
    room.run(&["context", "add", &task, "--type", "decision", "--content", "by inode"]).data();
    room.run(&["note", &task, "--content", "a newer note"]).data();
    let text = page(&room, &[&task]);
    let (done, beside) = (format!("{} Find the callers", &blocker[20..]), format!("{} Describe", &sibling[20..]));
    in_order(
        &text,
        &[
            "# Order the locks",
            "## Intent (by ada)",
            "no deadlock",
            "1. [ ] 1000 rounds",
            "## Part of",
            "one writer at a time",
            "no data is lost",
            &done,
            "outcome by ada",
            "seven callers in three files",
            &beside,
            "the files are described",
            "A part of it",
            "an open step",
            "a finished step",
            "by inode",
            "a newer note",
            "## History",
            "customers wait",
            "## Next steps",
        ],
    );
    // A short page keeps what serves the task most.
    let text = page(&room, &[&task, "--max-tokens", "220"]);
    in_order(&text, &["# Order the locks", "no deadlock", "1000 rounds", "one writer at a time", "left out"]);
    assert!(!text.contains("## History") && !text.contains("the files are described"), "{text}");
    // The criteria stay on the shortest.
    in_order(&page(&room, &[&task, "--max-tokens", "150"]), &["# Order the locks", "1000 rounds"]);
}

#[test]
fn results_that_no_longer_hold_are_not_passed_on() {
    let room = Sandbox::new();
    let blocker = room.task("first", &[]);
    let add = |content: &str| {
        let entry = room.run(&["context", "add", &blocker, "--type", "decision", "--content", content]).data();
        entry["id"].as_str().unwrap().to_owned()
    };
    let (old, secret) = (add("by path"), add("hunter2"));
    room.run(&["context", "supersede", &old, "--content", "by inode"]).data();
    room.run(&["context", "redact", &secret, "--reason", "a password"]).data();
    room.run(&["claim", &blocker]).data();
    let task = room.task("second", &["--blocked-by", &blocker]);
    in_order(&page(&room, &[&task]), &["## Waits for", "first (in_progress)"]);
    room.run(&["done", &blocker]).data();
    let text = page(&room, &[&task]);
    assert!(text.contains("by inode") && !text.contains("by path") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_part_knows_what_the_whole_asks_for_and_the_whole_what_its_parts_came_to() {
    let room = Sandbox::new();
    let whole = room.task("whole", &["--acceptance", "it is fast", "--file", "src/whole.rs", "--intent", "of ada"]);
    let part = room.task("part", &["--parent", &whole]);
    let next = room.task("next", &["--blocked-by", &part]);
    room.run_as("bob", &["task", "update", &whole, "--intent", "of bob", "--priority", "2"]).data();
    in_order(&page(&room, &[&part]), &["## Part of", "of bob", "criteria: it is fast", "files: src/whole.rs"]);
    in_order(&page(&room, &[&part]), &["## Waiting for it", "next (blocked)"]);
    room.run(&["claim", &part]).data();
    room.run(&["done", &part, "--outcome", "twice as fast"]).data();
    let text = page(&room, &[&whole]);
    in_order(
        &text,
        &[
            "## Intent (by bob)",
            "finished children",
            "twice as fast",
            "bob set intent to \"of bob\", set priority to 2",
        ],
    );
    // What one command did is one line.
    in_order(&page(&room, &[&part]), &["added a context entry (outcome), moved it from in_progress to completed"]);
    assert!(!page(&room, &[&next]).contains("Waiting for it"));
}

#[test]
fn one_rule_says_which_task_is_meant() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    let none = room.run(&["brief"]).error("ERR_NOT_FOUND", 3);
    assert!(none["hint"].as_str().unwrap().contains("agentpm next --claim"), "{none}");
    room.run(&["done"]).error("ERR_NOT_FOUND", 3);

    // A task in progress that no agent has a lease of is its owner's.
    room.run(&["claim", &one]).data();
    room.run(&["lease", "release", &one]).data();
    assert_eq!(room.run(&["brief"]).data()["task"]["id"], one.as_str());
    room.run(&["claim", &two]).data();
    for command in ["brief", "done", "release"] {
        let error = room.run(&[command]).error("ERR_AMBIGUOUS_ID", 3);
        let message = error["message"].as_str().unwrap();
        let candidates = error["details"]["candidates"].as_array().unwrap();
        for (id, title) in [(&one, "one"), (&two, "two")] {
            assert!(message.contains(&format!("{} {title}", &id[20..])), "{command}: {message}");
            let named = json!({ "id": id, "handle": id[20..], "title": title });
            assert!(candidates.contains(&named), "{command}: {candidates:?}");
        }
    }
    room.run(&["release", &one]).data();
    // An expired lease is its holder's until another agent takes the task over.
    room.at("2026-11-20T11:00:00Z");
    assert_eq!(room.run(&["brief"]).data()["task"]["id"], two.as_str());
    assert_eq!(room.run(&["done"]).data()["id"], two.as_str());
    assert_eq!(room.get(&one)["status"], "open");
}

#[test]
fn log_names_its_columns_and_refuses_a_misspelt_type() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let words = room.run(&["log", &id, "--format", "table"]).text().to_owned();
    in_order(words.lines().next().unwrap(), &["clock", "event", "at", "agent", "type", "task", "what"]);
    let error = room.run(&["log", "--type", "TaskStatusChange"]).error("ERR_USAGE", 2);
    assert!(error["message"].as_str().unwrap().contains("did you mean TaskStatusChanged?"), "{error}");
    assert_eq!(room.run(&["log", "--type", "taskcreated"]).data()["total"], 1);
}

#[test]
fn resolved_threads_stay_on_the_page_after_the_open_ones() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    let open = |text: &str| room.run(&["thread", "open", &id, text]).data()["id"].as_str().unwrap().to_owned();
    let (first, second) = (open("which lock?"), open("how long?"));
    room.run(&["thread", "reply", &first, "flock"]).data();
    room.run(&["thread", "resolve", &first, "--reject", "--why", "decided: flock"]).data();
    let text = page(&room, &[&id]);
    in_order(
        &text,
        &[
            "## Open threads",
            "how long?",
            "## Resolved threads",
            "rejected by ada",
            "which lock?",
            "flock",
            "decided: flock",
        ],
    );
    room.run(&["thread", "resolve", &second, "--reject"]).data();
    assert!(!page(&room, &[&id]).contains("## Open threads"));
}

#[test]
fn a_question_about_a_lost_task_names_it_and_its_holder() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("mine", &[]);
    room.run(&["claim", &id, "--ttl", "1m"]).data();
    room.at("2026-11-20T11:00:00Z");
    room.run_as("bob", &["claim", &id]).data();
    for question in [&["brief"][..], &["task", "get"], &["blame"]] {
        let refused = room.run(question).error("ERR_LEASE_LOST", 5);
        let message = format!("your lease of task {} (mine) is lost: bob took it over", &id[20..]);
        assert_eq!(refused["message"], json!(message), "{question:?}");
        assert!(!refused["hint"].as_str().unwrap().contains("this change"), "{refused}");
    }
    room.run(&["done"]).error("ERR_LEASE_LOST", 5);
    let refused = room.run(&["brief"]).error("ERR_NOT_FOUND", 3);
    assert_eq!(refused["message"], "ada holds no task", "a lost lease is reported until a change was refused for it");
}

#[test]
fn tasks_are_named_with_the_status_that_counts() {
    let (mut blocker, mut waiting, mut whole, mut next) = Default::default();
    let twins = Twins::new(|room| {
        blocker = room.task("blocker", &[]);
        whole = room.task("the whole", &[]);
        waiting = room.task("freed", &["--parent", &whole]);
        next = room.task("after it", &["--blocked-by", &waiting]);
    });
    let room = &twins.room;
    room.run(&["claim", &blocker]).data();
    room.run(&["done", &blocker]).data();
    twins.bob(&["task", "block", &waiting, "--by", &blocker]).data();
    twins.merge();
    assert!(std::fs::read_to_string(room.yaml_of(&waiting)).unwrap().contains("status: blocked"));
    let line = format!("- {} freed (open)\n", &waiting[20..]);
    in_order(&page(room, &[&next]), &["## Waits for", &line]);
    in_order(&page(room, &[&whole]), &["## Children", &line]);
    let done = page(room, &[&blocker]);
    assert!(!done.contains("## Waiting for it") && !done.contains("## Held by"), "{done}");
}

/// Two tasks that block each other after a merge: the one whose edge counts, and the one that waits for it.
pub fn blocked_by_each_other() -> (Twins, String, String) {
    let (mut one, mut two) = Default::default();
    let twins = Twins::new(|room| (one, two) = (room.task("one", &[]), room.task("two", &[])));
    twins.ada(&["task", "block", &one, "--by", &two]).data();
    twins.bob(&["task", "block", &two, "--by", &one]).data();
    twins.merge();
    let listed = twins.ada(&["ls"]).data();
    let waits = |id: &str| {
        let item = listed["items"].as_array().unwrap().iter().find(|item| item["id"] == id).unwrap();
        item["blocked_by_count"] == 1
    };
    assert_ne!(waits(&one), waits(&two), "{listed}");
    if waits(&one) { (twins, two, one) } else { (twins, one, two) }
}

#[test]
fn an_edge_that_does_not_count_makes_no_task_wait() {
    let (twins, first, second) = blocked_by_each_other();
    let (before, after) = (page(&twins.room, &[&first]), page(&twins.room, &[&second]));
    in_order(&before, &["## Waiting for it", &second[20..]]);
    assert!(!before.contains("## Waits for"), "{before}");
    in_order(
        &after,
        &["## Waits for", &format!("{} {} (open)", &first[20..], twins.room.get(&first)["title"].as_str().unwrap())],
    );
    assert!(!after.contains("## Waiting for it"), "{after}");
    let counts = |id: &str| {
        let (task, listed) = (twins.room.get(id), twins.ada(&["ls", "--query", &format!("id:{id}")]).data());
        assert_eq!(task["blocking_count"], listed["items"][0]["blocking_count"], "{task}");
        task["blocking_count"].clone()
    };
    assert_eq!((counts(&first), counts(&second)), (json!(1), json!(0)));
}
