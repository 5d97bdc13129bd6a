//! Looking back over everything: the newest events of all, what arrived in which order, and what the plan comes to.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Adds a line to a task's log, past every rule.
fn append(room: &Sandbox, task: &str, line: &str) {
    let mut log = fs::OpenOptions::new().append(true).open(room.log_of(task)).unwrap();
    writeln!(log, "{line}").unwrap();
}

fn items(answer: &Value) -> Vec<Value> {
    answer["items"].as_array().unwrap().clone()
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", message]).text();
}

/// Two merged branches, one of which has more events and so a clock that is ahead; and damaged logs.
fn merged() -> (Sandbox, String) {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    commit(&room, "begin");
    room.git(&["switch", "-q", "-c", "side"]).text();
    for n in 0..7 {
        room.run_as("bob", &["note", &one, "--content", &format!("side {n}")]).data();
    }
    commit(&room, "side");
    room.git(&["switch", "-q", "main"]).text();
    // As in another clone: this one's clock does not know of the other branch.
    fs::remove_dir_all(room.repo().join(".git/agentpm")).unwrap();
    for n in 0..3 {
        room.run(&["note", &two, "--content", &format!("late {n}")]).data();
    }
    commit(&room, "main");
    room.git(&["merge", "-q", "--no-edit", "side"]).text();
    let log = fs::read_to_string(room.log_of(&one)).unwrap();
    let (first, last) = (log.lines().next().unwrap(), log.lines().last().unwrap());
    // Twice in its own log, once more in another's, and there again with the same stamp and other words.
    append(&room, &one, first);
    append(&room, &two, last);
    append(&room, &two, &last.replace("side 6", "forged"));
    append(&room, &two, &last.replace("side 6", "about"));
    (room, one)
}

#[test]
fn newest_events_end_the_log() {
    let (room, one) = merged();
    for of in [&[][..], &[one.as_str()][..], &["--type", "ContextAdded"][..], &["--by", "bob"][..]] {
        let log = |more: &[&str]| room.run(&[&["log"][..], of, more].concat()).data();
        let all = items(&log(&["--all"]));
        let place =
            |item: &Value| (item["lamport"].as_u64(), item["id"].as_str().unwrap().to_owned(), item.to_string());
        assert!(all.is_sorted_by_key(place), "{all:?}");
        assert_eq!(all.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), all.len(), "each once: {all:?}");
        for limit in 0..=all.len() + 1 {
            let some = log(&["--limit", &limit.to_string()]);
            assert_eq!(items(&some), all[all.len().saturating_sub(limit)..]);
            assert_eq!((&some["total"], &some["truncated"]), (&json!(all.len()), &json!(limit < all.len())));
        }
    }
    let all = items(&room.run(&["log", "--all"]).data());
    let count = |words: &str| all.iter().filter(|item| item["payload"]["content"] == *words).count();
    assert_eq!(["side 6", "forged", "about", "late 2"].map(count), [1, 1, 1, 1]);
}

#[test]
fn pages_go_back_to_the_first_event() {
    let (room, _) = merged();
    let mut page = room.run(&["log", "--limit", "2", "--until", "2026-11-20T10:00:00Z"]).data();
    let all = items(&room.run(&["log", "--all", "--until", "2026-11-20T10:00:00Z"]).data());
    let mut seen = items(&page);
    while let Some(cursor) = page["next_cursor"].as_str() {
        page = room.run(&["log", "--limit", "4", "--until", "2026-11-20T10:00:00Z", "--cursor", cursor]).data();
        seen.splice(0..0, items(&page));
    }
    // Those that share a stamp with a page's first event were not behind its cursor before, and are not now.
    let stamps = |some: &[Value]| some.iter().map(|item| item["id"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(stamps(&seen), stamps(&all));
    let table = room.run(&["log", "--limit", "3", "--format", "table"]);
    assert_eq!(table.text().lines().count(), 5, "{table:?}");
    assert!(table.text().starts_with("the newest 3 of "), "{table:?}");
}

#[test]
fn feed_keeps_the_order_of_arrival() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    room.run(&["note", &id, "--content", "a secret"]).data();
    let runtime = room.repo().join(".git/agentpm");
    fs::rename(runtime.join("journal.jsonl"), runtime.join("journal.1.jsonl")).unwrap();
    room.run(&["note", &id, "--content", "known to all"]).data();
    let entry = room.get(&id)["context"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["context", "redact", &entry, "--reason", "secret"]).data();
    let all = room.run(&["sync", "pull"]).data();
    let contents: Vec<Value> = items(&all).iter().map(|event| event["payload"]["content"].clone()).collect();
    assert_eq!(contents, [Value::Null, json!(""), json!("known to all"), Value::Null]);
    for n in 0..4 {
        let since = items(&all)[n]["id"].as_str().unwrap().to_owned();
        let rest = room.run(&["sync", "pull", "--since-event-id", &since]).data();
        assert_eq!(items(&rest), items(&all)[n + 1..]);
        let watched = room.run(&["watch", "--since", &since, "--for", "1ms"]);
        let lines = watched.text().lines().map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(lines.collect::<Vec<Value>>(), items(&rest));
    }
}

#[test]
fn stats_count_all_tasks() {
    let room = Sandbox::new();
    let ids: Vec<String> = (0..5).map(|n| room.task(&format!("task {n}"), &[])).collect();
    room.run(&["progress", "add", &ids[0], "--content", "one"]).data();
    room.run(&["progress", "add", &ids[0], "--content", "two"]).data();
    let step = room.get(&ids[0])["progress"]["items"][0]["id"].as_str().unwrap().to_owned();
    room.run(&["progress", "complete", &step]).data();
    room.run(&["note", &ids[1], "--content", "a word"]).data();
    for (agent, id) in [("bob", &ids[1]), ("bob", &ids[2]), ("eve", &ids[3]), ("eve", &ids[4])] {
        room.run_as(agent, &["claim", id]).data();
        room.run_as(agent, &["done", id]).data();
    }
    room.run(&["task", "archive", &ids[2]]).data();
    room.run(&["task", "reopen", &ids[4], "--reason", "not yet"]).data();
    let stats = room.run(&["stats"]).data();
    assert_eq!(stats["completed_by"], json!({ "bob": 2, "eve": 1 }));
    assert_eq!((&stats["progress"], &stats["context"]), (&json!({ "done": 1, "total": 2 }), &json!(1)));
    let events: u64 = ids.iter().map(|id| room.get(id)["version"].as_u64().unwrap()).sum();
    assert_eq!((&stats["tasks"], &stats["events"]), (&json!(5), &json!(events)));
    assert!(room.run(&["prime"]).text().contains("Tasks: 5 ("));
}

#[test]
fn a_log_until_a_date_includes_that_day() {
    let room = Sandbox::new();
    for (clock, title) in [("2026-11-19T23:59:59Z", "a"), ("2026-11-20T10:00:00Z", "b"), ("2026-11-21T00:00:00Z", "c")]
    {
        room.at(clock).task(title, &[]);
    }
    let total = |args: &[&str]| room.run(&[&["log"][..], args].concat()).data()["total"].clone();
    assert_eq!(total(&["--until", "2026-11-20"]), 2);
    assert_eq!(total(&["--since", "2026-11-20", "--until", "2026-11-20"]), 1);
    assert_eq!(total(&["--until", "2026-11-20T00:00:00Z"]), 1);
}

#[test]
fn a_page_of_no_items_is_not_the_last() {
    let room = Sandbox::new();
    let task = room.task("one", &[]);
    room.run_as("bob", &["thread", "open", &task, "--body", "what about this?"]).data();
    for args in [&["log"][..], &["thread", "list"]] {
        let empty = room.run(&[args, &["--limit", "0"]].concat()).data();
        assert_eq!((&empty["items"], &empty["truncated"]), (&json!([]), &json!(true)), "{empty}");
        let next = [args, &["--cursor", empty["next_cursor"].as_str().unwrap()]].concat();
        assert_eq!(room.run(&next).data(), room.run(args).data());
        let again = room.run(&[&next[..], &["--limit", "0"]].concat()).data();
        assert_eq!(again["next_cursor"], empty["next_cursor"]);
    }
}
