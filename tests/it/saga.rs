//! Undoing all events of a request or a plan: what is reverted, what stays, and what others have built on.

use std::fs;

use serde_json::{Value, json};

use crate::lost::Twins;
use crate::sandbox::{Answer, Sandbox};

/// Makes several changes as one; gives the id that links them.
#[track_caller]
fn batch(room: &Sandbox, agent: &str, ops: &Value, more: &[&str]) -> (String, Value) {
    let file = room.repo().join("ops.json");
    fs::write(&file, ops.to_string()).unwrap();
    let answer = room.run_as(agent, &[&["batch", "--file", "ops.json"], more].concat()).data();
    fs::remove_file(file).unwrap();
    (answer["correlation_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned(), answer)
}

fn undo(room: &Sandbox, id: &str, more: &[&str]) -> Answer {
    room.run_short(&[&["undo", "--correlation-id", id], more].concat())
}

/// The log of a task, as text.
fn log(room: &Sandbox, task: &str) -> String {
    fs::read_to_string(room.log_of(task)).unwrap()
}

/// The records of the journal: commit lines.
fn records(room: &Sandbox) -> usize {
    let journal = fs::read_to_string(room.repo().join(".git/agentpm/journal.jsonl")).unwrap();
    journal.lines().filter(|line| line.starts_with("{\"commit\"")).count()
}

#[test]
fn a_batch_is_undone_as_one_change_and_only_once() {
    let room = Sandbox::new();
    let old = room.task("old", &["--priority", "1"]);
    let blocker = room.task("blocker", &[]);
    let ops = json!([
        {"op": "task.create", "as": "a", "args": {"title": "new", "priority": 3}},
        {"op": "task.create", "args": {"title": "below it", "parent": "$a"}},
        {"op": "task.update", "args": {"id": old, "priority": 2, "add_labels": ["x"]}},
        {"op": "task.update", "args": {"id": old, "priority": 4}},
        {"op": "task.block", "args": {"id": old, "by": [blocker]}},
        {"op": "context.add", "args": {"task_id": old, "type": "note", "content": "why"}},
    ]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    let (new, child) = (answer["items"][0]["id"].as_str().unwrap(), answer["items"][1]["id"].as_str().unwrap());
    assert_eq!((&room.get(&old)["status"], &room.get(&old)["priority"]), (&json!("blocked"), &json!(4)));
    assert!(log(&room, new).contains(&format!("\"correlation_id\":\"{id}\"")));

    let before = log(&room, &old);
    let shown = undo(&room, &id, &["--dry-run"]).data();
    assert_eq!((&shown["dry_run"], &shown["total"], &shown["kept"]), (&json!(true), &json!(3), &json!(1)), "{shown}");
    assert_eq!(log(&room, &old), before, "a dry run writes nothing");
    let written = records(&room);
    let undone = undo(&room, &id, &["--why", "wrong plan"]).data();
    assert_eq!(records(&room), written + 1, "one record");
    assert_eq!((&undone["undo_id"], &undone["left"]), (&json!(format!("undo:{id}")), &Value::Null), "{undone}");
    let task = room.get(&old);
    assert_eq!(
        (&task["status"], &task["priority"], &task["labels"]),
        (&json!("open"), &json!(1), &json!([])),
        "{task}"
    );
    assert_eq!(task["context"][0]["content"], "why", "a note stays");
    assert_eq!((&room.get(new)["status"], &room.get(child)["status"]), (&json!("cancelled"), &json!("cancelled")));
    assert!(log(&room, &old).contains(&format!("undo of request {id}: wrong plan")));

    let again = undo(&room, &id, &[]).data();
    assert_eq!((&again["undone"], &again["events"]), (&json!(0), &json!(0)), "{again}");
    assert!(room.run_short(&["undo", "--correlation-id", &id, "--format", "table"]).text().contains("undone already"));
    assert_eq!(records(&room), written + 1);
    room.is_clean();

    // Undoing the undo brings it back, and then it can be undone again.
    undo(&room, &format!("undo:{id}"), &[]).data();
    assert_eq!((&room.get(&old)["priority"], &room.get(new)["status"]), (&json!(4), &json!("open")));
    assert_eq!(room.get(&old)["status"], "blocked");
    undo(&room, &id, &[]).data();
    assert_eq!((&room.get(&old)["priority"], &room.get(new)["status"]), (&json!(1), &json!("cancelled")));
    room.is_clean();
}

#[test]
fn what_others_built_on_refuses_all_or_is_left() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    let ops = json!([
        {"op": "task.update", "args": {"id": one, "priority": 3, "estimate": "2h"}},
        {"op": "task.update", "args": {"id": two, "priority": 3}},
        {"op": "task.create", "as": "a", "args": {"title": "claimed since"}},
        {"op": "task.create", "as": "b", "args": {"title": "has a part of others"}},
        {"op": "task.create", "as": "c", "args": {"title": "others wait for it"}},
    ]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    let item = |n: usize| answer["items"][n]["id"].as_str().unwrap().to_owned();
    let (claimed, parent, blocker) = (item(2), item(3), item(4));
    room.run_as("bob", &["task", "update", &one, "--priority", "5"]).data();
    room.run_as("bob", &["claim", &claimed]).data();
    room.run_as("bob", &["task", "create", "--title", "part", "--parent", &parent]).data();
    room.run_as("bob", &["task", "create", "--title", "waits", "--blocked-by", &blocker]).data();
    let logs = || [&one, &two, &claimed, &parent, &blocker].map(|task| log(&room, task));
    let before = logs();
    let error = undo(&room, &id, &[]).error("ERR_CONFLICT", 5);
    let left = error["details"]["left"].as_array().unwrap();
    let why =
        |task: &str| left.iter().find(|left| left["task"] == task).map_or("", |left| left["why"].as_str().unwrap());
    assert!(why(&one).contains("priority was written again by bob"), "{error:#}");
    assert!(why(&claimed).contains("bob changed the task since"), "{error:#}");
    assert!(why(&parent).contains("is below it") && why(&blocker).contains("waits for it"), "{error:#}");
    assert_eq!(left.len(), 4, "{error:#}");
    assert!(error["hint"].as_str().unwrap().contains("--partial"));
    assert_eq!(logs(), before, "nothing was written");

    let partial = undo(&room, &id, &["--partial"]).data();
    assert_eq!(partial["left"].as_array().unwrap().len(), 4, "{partial}");
    assert_eq!((&room.get(&one)["priority"], &room.get(&one)["estimate"]), (&json!(5), &Value::Null));
    assert_eq!(room.get(&two)["priority"], 0);
    assert_eq!(room.get(&claimed)["status"], "in_progress");
    room.is_clean();
}

#[test]
fn a_plan_that_was_applied_is_undone_by_its_id_or_by_the_id_of_the_apply() {
    let room = Sandbox::new();
    let text = "plan: p\ntasks:\n  - key: a\n    title: a\n    children:\n      - {key: b, title: b}\n      \
                - {key: c, title: c, blocked_by: [b], progress: [one step]}\n";
    fs::write(room.repo().join("plan.yml"), text).unwrap();
    let applied = room.run(&["plan", "apply", "plan.yml", "--plan-id", "storage"]).data();
    let id = applied["correlation_id"].as_str().unwrap().to_owned();
    assert!(room.run(&["plan", "apply", "plan.yml"]).data().get("correlation_id").is_none(), "nothing was written");
    fs::write(room.repo().join("plan.yml"), text.replace("title: b", "title: better")).unwrap();
    let changed = room.run(&["plan", "apply", "plan.yml", "--plan-id", "storage"]).data();
    let second = changed["correlation_id"].as_str().unwrap().to_owned();
    assert_ne!(id, second);
    let titles = || {
        let list = room.run(&["ls", "--all"]).data()["items"].clone();
        let mut titles: Vec<String> = list
            .as_array()
            .unwrap()
            .iter()
            .map(|task| format!("{} {}", task["title"].as_str().unwrap(), task["status"].as_str().unwrap()))
            .collect();
        titles.sort();
        titles
    };
    undo(&room, &second, &[]).data();
    assert_eq!(titles(), ["a open", "b open", "c blocked"]);
    let undone = room.run_short(&["undo", "--plan-id", "storage"]).data();
    assert_eq!((&undone["plan_id"], &undone["total"]), (&json!("storage"), &json!(3)), "{undone}");
    assert_eq!(titles(), ["a cancelled", "b cancelled", "c cancelled"]);
    let again = room.run_short(&["undo", "--plan-id", "storage"]).data();
    assert_eq!(again["events"], 0, "{again}");
    room.is_clean();
}

#[test]
fn the_moves_of_a_request_are_taken_back_and_its_lease_returned() {
    let room = Sandbox::new();
    let task = room.task("x", &["--acceptance", "it works"]);
    let ops = json!([
        {"op": "claim", "args": {"id": task}},
        {"op": "progress.add", "args": {"task_id": task, "content": ["a step"]}},
        {"op": "done", "args": {"id": task, "all_met": true, "outcome": "it does"}},
    ]);
    let (id, _) = batch(&room, "ada", &ops, &["--correlation-id", "nightly 7"]);
    assert_eq!((&id, &room.get(&task)["status"]), (&"nightly 7".to_owned(), &json!("completed")));
    undo(&room, &id, &[]).data();
    let now = room.get(&task);
    assert_eq!(
        (&now["status"], &now["owner"], &now["acceptance"][0]["met"]),
        (&json!("open"), &Value::Null, &json!(false))
    );
    assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
    room.run_as("bob", &["claim", &task]).data();
    room.is_clean();
}

#[test]
fn steps_that_are_made_each_by_itself_are_one_request_too() {
    let room = Sandbox::new();
    let ops = json!({"atomic": false, "ops": [
        {"op": "task.create", "args": {"title": "one"}},
        {"op": "task.create", "args": {"title": ""}},
        {"op": "task.create", "args": {"title": "two"}},
    ]});
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    assert_eq!((&answer["items"][1]["ok"], &answer["events"]), (&json!(false), &json!(2)));
    assert_eq!(undo(&room, &id, &[]).data()["total"], 2);
}

#[test]
fn an_undo_needs_an_id_that_some_event_has_and_the_rights_of_its_changes() {
    let room = Sandbox::new();
    let task = room.task("x", &["--correlation-id", "r", "--priority", "1"]);
    undo(&room, "no such", &[]).error("ERR_NOT_FOUND", 3);
    room.run(&["undo"]).error("ERR_USAGE", 2);
    room.run(&["undo", "--correlation-id", "r", "--plan-id", "p"]).error("ERR_USAGE", 2);
    room.run(&["undo", "--correlation-id", "r", "--force", "x"]).error("ERR_USAGE", 2);
    let event: Value = serde_json::from_str(log(&room, &task).lines().next().unwrap()).unwrap();
    room.run(&["undo", event["id"].as_str().unwrap(), "--partial"]).error("ERR_USAGE", 2);
    fs::write(room.store().join("roles.yml"), "agents: {ada: {perms: [update]}, bob: {perms: [cancel]}}\n").unwrap();
    let refused = undo(&room, "r", &[]).error("ERR_UNAUTHORIZED", 6);
    assert!(refused["hint"].as_str().unwrap().contains("grants it to bob"), "{refused}");
    room.run_as("bob", &["undo", "--correlation-id", "r"]).data();
    let answer = room.run_as("bob", &["undo", "--correlation-id", "r"]);
    assert_eq!(answer.data()["already"], 1);
    assert_eq!(room.get(&task)["status"], "cancelled");
}

#[test]
fn two_clones_undo_one_request_and_converge() {
    let (mut old, mut id) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        old = room.task("old", &["--priority", "1"]);
        let ops = json!([
            {"op": "task.create", "args": {"title": "new"}},
            {"op": "task.update", "args": {"id": old, "priority": 4}},
        ]);
        id = batch(room, "ada", &ops, &[]).0;
    });
    let undo = ["undo", "--correlation-id", &id];
    assert_eq!(twins.ada(&undo).data()["undone"], 2);
    assert_eq!(twins.bob(&undo).data()["undone"], 2);
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!((&twins.room.get(&old)["priority"], &twins.ada(&["ls"]).data()["total"]), (&json!(1), &json!(1)));
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 0);
    assert_eq!(twins.ada(&undo).data()["events"], 0);
    twins.room.is_clean();
}

#[test]
fn undoing_an_undo_leaves_work_that_was_completed_at_the_same_time() {
    let (mut task, mut id) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        let (correlation, answer) = batch(room, "ada", &json!([{"op": "task.create", "args": {"title": "new"}}]), &[]);
        task = answer["items"][0]["id"].as_str().unwrap().to_owned();
        id = correlation;
    });
    twins.bob(&["claim", &task]).data();
    twins.bob(&["done", &task, "--outcome", "it works"]).data();
    // The cancellation comes last in order, and still loses to the completion.
    for n in 0..9 {
        twins.ada(&["note", &task, "--content", &n.to_string()]).data();
    }
    undo(&twins.room, &id, &[]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!(twins.room.get(&task)["status"], "completed");
    let again = undo(&twins.room, &format!("undo:{id}"), &[]).data();
    assert_eq!((&again["undone"], &again["events"]), (&json!(0), &json!(0)), "{again}");
    assert_eq!(twins.room.get(&task)["status"], "completed");
    let error = undo(&twins.room, &id, &[]).error("ERR_CONFLICT", 5);
    assert!(error["details"]["left"][0]["why"].as_str().unwrap().contains("bob changed the task since"), "{error:#}");
    // The completion counts, so it can be undone although the cancellation comes after it.
    let moves = twins.ada(&["log", &task, "--by", "bob", "--type", "TaskStatusChanged"]).data()["items"].clone();
    twins.ada(&["undo", moves.as_array().unwrap().last().unwrap()["id"].as_str().unwrap()]).data();
    assert_eq!(twins.room.get(&task)["status"], "in_progress");
}

#[test]
fn a_task_is_not_opened_again_under_what_others_built_on_it() {
    let room = Sandbox::new();
    let parent = room.task("the whole", &[]);
    let ops = json!([{"op": "task.create", "args": {"title": "a part", "parent": parent}}]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    let part = answer["items"][0]["id"].as_str().unwrap().to_owned();
    undo(&room, &id, &[]).data();
    room.run_as("bob", &["claim", &parent]).data();
    room.run_as("bob", &["done", &parent]).data();
    let error = undo(&room, &format!("undo:{id}"), &[]).error("ERR_CONFLICT", 5);
    assert!(error["details"]["left"][0]["why"].as_str().unwrap().contains("of which it is a part"), "{error:#}");
    assert_eq!(room.get(&part)["status"], "cancelled");

    let first = room.task("the ground", &[]);
    let second = room.task("waits", &["--blocked-by", &first]);
    let ops = json!([{"op": "claim", "args": {"id": first}}, {"op": "done", "args": {"id": first}}]);
    let (id, _) = batch(&room, "ada", &ops, &[]);
    room.run_as("bob", &["claim", &second]).data();
    let error = undo(&room, &id, &[]).error("ERR_CONFLICT", 5);
    let left = error["details"]["left"].as_array().unwrap();
    assert!(left.iter().any(|one| one["why"].as_str().unwrap().contains("waited for it and is in_progress")));
    assert_eq!(room.get(&first)["status"], "completed");
    room.is_clean();
}

#[test]
fn a_part_of_an_undo_that_a_rule_refuses_is_left_alone() {
    let room = Sandbox::new();
    let (task, other) = (room.task("x", &[]), room.task("y", &[]));
    let ops = json!([
        {"op": "claim", "args": {"id": task}},
        {"op": "done", "args": {"id": task}},
        {"op": "task.update", "args": {"id": other, "priority": 3}},
    ]);
    let (id, _) = batch(&room, "ada", &ops, &[]);
    undo(&room, &id, &[]).data();
    assert_eq!((&room.get(&task)["status"], &room.get(&other)["priority"]), (&json!("open"), &json!(0)));
    room.run_as("bob", &["task", "update", &task, "--add-acceptance", "it works"]).data();
    let again = format!("undo:{id}");
    let error = undo(&room, &again, &[]).error("ERR_CONFLICT", 5);
    assert!(error["message"].as_str().unwrap().contains("1 unmet criterion"), "{error:#}");
    let partial = undo(&room, &again, &["--partial"]).data();
    assert!(!partial["left"].as_array().unwrap().is_empty(), "{partial}");
    assert_eq!((&room.get(&task)["status"], &room.get(&other)["priority"]), (&json!("open"), &json!(3)));
    room.is_clean();
}

#[test]
fn the_name_of_a_plan_undoes_all_its_applies_and_an_apply_afterwards_says_what_stays_cancelled() {
    let room = Sandbox::new();
    let text = "plan: storage\ntasks:\n  - {key: a, title: a}\n  - {key: b, title: b}\n";
    fs::write(room.repo().join("plan.yml"), text).unwrap();
    let ids = room.run(&["plan", "apply", "plan.yml", "--quiet"]);
    assert_eq!(ids.text().lines().map(str::len).collect::<Vec<_>>(), [26, 26], "{ids:?}");
    let undone = room.run_short(&["undo", "--plan-id", "storage"]).data();
    assert_eq!(undone["total"], 2, "{undone}");
    let again = room.run(&["plan", "apply", "plan.yml"]);
    assert_eq!(again.data()["changes"], Value::Null);
    let words = "2 tasks of the plan are cancelled and stay so; agentpm undo --plan-id 'undo:storage' brings back";
    assert!(again.stderr.contains(words), "{again:?}");
    room.run_short(&["undo", "--plan-id", "undo:storage"]).data();
    assert_eq!(room.run(&["ls"]).data()["total"], 2);
}

#[test]
fn the_log_of_a_request_or_a_plan_is_selected_by_its_id() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    room.run(&["task", "update", &task, "--priority", "1", "--correlation-id", "r", "--plan-id", "p"]).data();
    room.run(&["task", "update", &task, "--priority", "2", "--correlation-id", "s"]).data();
    for (args, total) in [
        (&["log", "--correlation-id", "r"][..], 1),
        (&["log", &task, "--correlation-id", "s"], 1),
        (&["log", "--plan-id", "p"], 1),
        (&["log", "--correlation-id", "none"], 0),
        (&["log", &task], 3),
    ] {
        assert_eq!(room.run(args).data()["total"], total, "{args:?}");
    }
}

/// Undoes a request, and gives the number of records that it took.
#[track_caller]
fn undo_whole(room: &Sandbox, id: &str) -> Value {
    let written = records(room);
    let undone = undo(room, id, &[]).data();
    let is_whole = undone["left"].as_array().is_none_or(Vec::is_empty);
    assert_eq!((records(room), is_whole), (written + 1, true), "{undone}");
    undone
}

#[test]
fn the_end_of_a_blocker_is_taken_back_with_what_it_opened() {
    for end in [&["done"][..], &["cancel"]] {
        let room = Sandbox::new();
        let ground = room.task("ground", &[]);
        let waits = room.task("waits", &["--blocked-by", &ground]);
        room.run(&["claim", &ground]).data();
        room.run(&[end, &[&ground, "--correlation-id", "c"]].concat()).data();
        assert_eq!(room.get(&waits)["status"], "open");
        let states = || (room.get(&ground)["status"].clone(), room.get(&waits)["status"].clone());
        undo_whole(&room, "c");
        assert_eq!(states(), (json!("in_progress"), json!("blocked")));
        room.is_clean();
        undo_whole(&room, "undo:c");
        assert_eq!(states().1, "open", "{end:?}");
        undo_whole(&room, "c");
        assert_eq!(states(), (json!("in_progress"), json!("blocked")));
        room.is_clean();
    }
}

#[test]
fn what_follows_is_no_reason_to_refuse() {
    let room = Sandbox::new();
    let (ground, waits) = (room.task("ground", &[]), room.task("waits", &[]));
    room.run(&["task", "block", &waits, "--by", &ground]).data();
    room.run(&["claim", &ground]).data();
    room.run(&["done", &ground, "--correlation-id", "c"]).data();
    // Nothing that bob did with the opened task stands any more.
    room.run_as("bob", &["claim", &waits]).data();
    room.run_as("bob", &["release", &waits]).data();
    undo_whole(&room, "c");
    assert_eq!((&room.get(&ground)["status"], &room.get(&waits)["status"]), (&json!("in_progress"), &json!("blocked")));
    room.is_clean();
}

#[test]
fn a_split_is_undone_whole_also_as_a_step_of_a_batch() {
    let room = Sandbox::new();
    let task = room.task("whole", &[]);
    room.run(&["claim", &task]).data();
    let split = room.run(&["task", "split", &task, "--title", "a", "--title", "b", "--correlation-id", "s"]).data();
    undo_whole(&room, "s");
    assert_eq!((&room.get(&task)["status"], &room.get(&task)["owner"]), (&json!("in_progress"), &json!("ada")));
    let part = split["items"][1]["id"].as_str().unwrap();
    assert_eq!(room.get(part)["status"], "cancelled");
    undo_whole(&room, "undo:s");
    assert_eq!((&room.get(&task)["status"], &room.get(part)["status"]), (&json!("open"), &json!("open")));
    undo_whole(&room, "s");

    let ops = json!([
        {"op": "task.split", "args": {"id": task, "title": ["c", "d"]}},
        {"op": "task.update", "args": {"id": task, "priority": 2}},
    ]);
    let (id, _) = batch(&room, "ada", &ops, &[]);
    undo_whole(&room, &id);
    assert_eq!((&room.get(&task)["status"], &room.get(&task)["priority"]), (&json!("in_progress"), &json!(0)));
    room.is_clean();
}

#[test]
fn a_batch_that_works_off_a_chain_is_undone() {
    let room = Sandbox::new();
    let first = room.task("first", &[]);
    let second = room.task("second", &["--blocked-by", &first]);
    let third = room.task("third", &["--blocked-by", &second]);
    let ops = json!([
        {"op": "claim", "args": {"id": first}},
        {"op": "done", "args": {"id": first}},
        {"op": "claim", "args": {"id": second, "another": true}},
        {"op": "done", "args": {"id": second}},
        {"op": "task.create", "as": "new", "args": {"title": "done at once"}},
        {"op": "claim", "args": {"id": "$new", "another": true}},
        {"op": "done", "args": {"id": "$new"}},
        {"op": "claim", "args": {"id": third, "another": true}},
    ]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    let new = answer["items"][4]["id"].as_str().unwrap();
    let states = || [&first, &second, &third, new].map(|task| room.get(task)["status"].as_str().unwrap().to_owned());
    assert_eq!(states(), ["completed", "completed", "in_progress", "completed"]);
    undo_whole(&room, &id);
    assert_eq!(states(), ["open", "blocked", "blocked", "cancelled"]);
    assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
    room.is_clean();
    undo_whole(&room, &format!("undo:{id}"));
    assert_eq!(states(), ["completed", "completed", "in_progress", "completed"]);
    undo_whole(&room, &id);
    assert_eq!(states(), ["open", "blocked", "blocked", "cancelled"]);
    room.is_clean();
}

#[test]
fn a_task_that_is_taken_out_again_does_not_keep_its_new_parent() {
    let room = Sandbox::new();
    let old = room.task("old", &[]);
    let ops = json!([
        {"op": "task.create", "as": "p", "args": {"title": "new parent"}},
        {"op": "task.update", "args": {"id": old, "parent": "$p"}},
    ]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    undo_whole(&room, &id);
    let parent = answer["items"][0]["id"].as_str().unwrap();
    assert_eq!((&room.get(&old)["parent"], &room.get(parent)["status"]), (&Value::Null, &json!("cancelled")));
    room.is_clean();
}

#[test]
fn an_override_that_was_undone_is_brought_back_with_its_reason_and_no_more() {
    let room = Sandbox::new();
    let task = room.task("x", &["--acceptance", "it works"]);
    room.run(&["claim", &task]).data();
    room.run(&["done", &task, "--force", "good enough", "--correlation-id", "c"]).data();
    undo_whole(&room, "c");
    undo_whole(&room, "undo:c");
    assert_eq!(room.get(&task)["status"], "completed");
    let events = room.run(&["log", &task, "--type", "TaskStatusChanged"]).data()["items"].clone();
    let last = events.as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["why"], &last["payload"]["forced"]), (&json!("good enough"), &json!(["acceptance"])));
    // The reason was not given for what came later.
    undo_whole(&room, "c");
    let part = room.task("came later", &["--parent", &task]);
    let error = undo(&room, "undo:c", &[]).error("ERR_CONFLICT", 5);
    assert!(error["message"].as_str().unwrap().contains("override its children"), "{error:#}");
    room.run(&["cancel", &part]).data();
    undo_whole(&room, "undo:c");
    // One event is brought back alike.
    let reopened = room.run(&["task", "reopen", &task, "--reason", "look again"]).data();
    assert_eq!(reopened["status"], "open");
    let event = room.run(&["log", &task, "--type", "TaskReopened"]).data()["items"].clone();
    room.run(&["undo", event.as_array().unwrap().last().unwrap()["id"].as_str().unwrap()]).data();
    assert_eq!(room.get(&task)["status"], "completed");
    room.is_clean();
}

#[test]
fn the_undo_of_a_request_leaves_a_concurrent_value_that_had_lost() {
    let (mut id, mut request) = (String::new(), String::new());
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.bob(&["task", "update", &id, "--priority", "5"]).data();
    twins.ada(&["note", &id, "--content", "so that her event is the later one"]).data();
    let ops = json!([
        {"op": "task.update", "args": {"id": id, "priority": 2}},
        {"op": "task.update", "args": {"id": id, "priority": 3, "estimate": "1h"}},
    ]);
    request.push_str(&batch(&twins.room, "ada", &ops, &[]).0);
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!(twins.room.get(&id)["priority"], 3);
    undo_whole(&twins.room, &request);
    let task = twins.room.get(&id);
    assert_eq!((&task["priority"], &task["estimate"]), (&json!(5), &Value::Null));
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 0);
    twins.room.is_clean();
}

#[test]
fn a_part_that_a_lease_leaves_keeps_its_parent() {
    let room = Sandbox::new();
    let ops = json!([
        {"op": "task.create", "as": "p", "args": {"title": "whole"}},
        {"op": "task.create", "as": "c", "args": {"title": "part", "parent": "$p"}},
        {"op": "task.create", "args": {"title": "other"}},
    ]);
    let (id, answer) = batch(&room, "ada", &ops, &[]);
    let item = |n: usize| answer["items"][n]["id"].as_str().unwrap().to_owned();
    let (whole, part, other) = (item(0), item(1), item(2));
    room.run_as("bob", &["lease", "acquire", &part]).data();
    let shown = undo(&room, &id, &["--partial", "--dry-run"]).data();
    let partial = undo(&room, &id, &["--partial"]).data();
    assert_eq!((&partial["left"], &partial["undone"]), (&shown["left"], &shown["undone"]));
    let left = partial["left"].as_array().unwrap();
    let why = |task: &str| left.iter().find(|left| left["task"] == task).unwrap()["why"].as_str().unwrap();
    assert!(why(&part).contains("bob holds") && why(&whole).contains("is below it"), "{partial:#}");
    let status = |task: &str| room.get(task)["status"].clone();
    assert_eq!((status(&whole), status(&part), status(&other)), (json!("open"), json!("open"), json!("cancelled")));
    room.is_clean();
}

#[test]
fn threads_and_agents_of_a_request_stay_and_are_named() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let ops = json!([
        {"op": "agent.register", "args": {"name": "bob", "role": "coder"}},
        {"op": "task.update", "args": {"id": task, "priority": 2}},
        {"op": "thread.open", "args": {"task_id": task, "body": "why 2?"}},
    ]);
    let (id, _) = batch(&room, "ada", &ops, &[]);
    let undone = undo(&room, &id, &[]).data();
    assert_eq!((&undone["undone"], &undone["kept"], &undone["left"]), (&json!(1), &json!(2), &Value::Null), "{undone}");
    let kept = &undone["of_agents"];
    assert_eq!((&kept[0]["agent"], &kept[0]["type"]), (&json!("bob"), &json!("AgentRegistered")), "{undone}");
    assert_eq!((&room.get(&task)["priority"], &room.get(&task)["open_threads"]), (&json!(0), &json!(1)));
    let again = room.run(&["undo", "--correlation-id", &id, "--format", "table"]);
    assert!(again.text().contains("AgentRegistered") && again.text().contains("undone already"), "{again:?}");
    room.is_clean();
}
