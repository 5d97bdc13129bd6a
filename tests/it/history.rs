//! What happened: taken back by new events, and the plan as it was at some point.

use std::fs;

use serde_json::{Value, json};

use crate::lost::{Twins, last_event};
use crate::sandbox::Sandbox;

/// The id of the newest event of a type in a task's log.
fn event(room: &Sandbox, task: &str, kind: &str) -> String {
    let log = room.run(&["log", task, "--type", kind, "--all"]).data();
    log["items"].as_array().unwrap().last().unwrap_or_else(|| panic!("no {kind}"))["id"].as_str().unwrap().to_owned()
}

/// Undoes the newest event of a type; gives the task.
#[track_caller]
fn undo(room: &Sandbox, task: &str, kind: &str) -> Value {
    let event = event(room, task, kind);
    let undone = room.run(&["undo", &event]).data();
    assert_eq!(undone["id"], task);
    assert!(fs::read_to_string(room.log_of(task)).unwrap().contains(&format!(r#""why":"undo of {event}""#)));
    room.is_clean();
    undone
}

#[test]
fn an_update_is_taken_back_field_by_field() {
    let room = Sandbox::new();
    let id = room.task("before", &["--label", "a", "--metadata", r#"{"keep": 1}"#]);
    let change = [
        "--title",
        "after",
        "--priority",
        "2",
        "--label",
        "b",
        "--metadata",
        r#"{"keep": 2, "new": 3}"#,
        "--owner",
        "bob",
    ];
    room.run(&[&["task", "update", &id][..], &change].concat()).data();
    let task = undo(&room, &id, "TaskUpdated");
    assert_eq!((&task["title"], &task["priority"], &task["labels"]), (&json!("before"), &json!(0), &json!(["a"])));
    assert_eq!((&task["metadata"], &task["owner"]), (&json!({"keep": 1}), &Value::Null));
    let again = undo(&room, &id, "TaskUpdated");
    assert_eq!((&again["title"], &again["owner"]), (&json!("after"), &json!("bob")), "an undo can be undone");
}

#[test]
fn undo_leaves_and_names_a_field_written_again() {
    let room = Sandbox::new();
    let id = room.task("x", &[]);
    room.run(&["task", "update", &id, "--priority", "1", "--estimate", "2h"]).data();
    let first = event(&room, &id, "TaskUpdated");
    room.run_as("bob", &["task", "update", &id, "--priority", "5"]).data();
    let answer = room.run(&["undo", &first, "--why", "guessed"]);
    assert_eq!((&answer.data()["priority"], &answer.data()["estimate"]), (&json!(5), &Value::Null));
    assert!(answer.stderr.contains("priority was written again by bob"), "{answer:?}");
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().contains(&format!("undo of {first}: guessed")));
    let refused = room.run(&["undo", &first]).error("ERR_CONFLICT", 5);
    assert_eq!(refused["details"]["left"].as_array().unwrap().len(), 2, "{refused}");
    room.run(&["undo", "ZZZZ"]).error("ERR_NOT_FOUND", 3);
    room.run(&["undo", "Z"]).error("ERR_NOT_FOUND", 3);
    let tail = &event(&room, &id, "TaskUpdated")[18..];
    assert_eq!(room.run(&["undo", tail]).data()["estimate"], "2h");
}

#[test]
fn undo_reverts_a_status_by_allowed_moves() {
    let room = Sandbox::new();
    let id = room.task("x", &["--acceptance", "it works"]);
    room.run(&["claim", &id]).data();
    let claimed = event(&room, &id, "TaskStatusChanged");
    room.run(&["done", &id, "--all-met"]).data();
    let done = event(&room, &id, "TaskStatusChanged");
    let task = room.run(&["undo", &done]).data();
    assert_eq!(
        (&task["status"], &task["owner"], &task["completed_at"]),
        (&json!("in_progress"), &json!("ada"), &Value::Null)
    );
    room.run(&["undo", &claimed]).error("ERR_CONFLICT", 5);

    room.at("2026-11-20T10:00:00Z").run(&["done", &id]).data();
    room.at("2026-11-21T10:00:00Z").run(&["task", "reopen", &id, "--reason", "no"]).data();
    let task = undo(&room, &id, "TaskReopened");
    assert_eq!((&task["status"], &task["completed_at"]), (&json!("completed"), &json!("2026-11-20T10:00:00Z")));
    room.run(&["task", "archive", &id]).data();
    let task = undo(&room, &id, "TaskArchived");
    assert_eq!((&task["status"], &task["archived_at"]), (&json!("completed"), &Value::Null));
    assert_eq!(task["completed_at"], "2026-11-20T10:00:00Z");

    let open = room.task("y", &[]);
    room.run(&["claim", &open]).data();
    let task = undo(&room, &open, "TaskStatusChanged");
    assert_eq!((&task["status"], &task["owner"], &task["lease_holder"]), (&json!("open"), &Value::Null, &Value::Null));
    assert_eq!(undo(&room, &open, "TaskCreated")["status"], "cancelled", "what should not have begun is cancelled");
    assert_eq!(undo(&room, &open, "TaskStatusChanged")["status"], "open");
    room.run(&["undo", &event(&room, &open, "LeaseAcquired")]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn undo_writes_nothing_if_the_rules_refuse_a_step() {
    let room = Sandbox::new();
    let (id, first) = (room.task("x", &[]), room.task("first", &[]));
    room.run(&["claim", &id]).data();
    room.run(&["done", &id]).data();
    room.run(&["task", "reopen", &id, "--reason", "no"]).data();
    let reopened = event(&room, &id, "TaskReopened");
    room.run(&["task", "update", &id, "--add-acceptance", "it works"]).data();
    let refused = room.run(&["undo", &reopened]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("1 unmet criterion"), "{refused}");
    let task = room.run(&["undo", &reopened, "--force", "it did work"]).data();
    assert_eq!(task["status"], "completed");
    assert!(fs::read_to_string(room.log_of(&id)).unwrap().contains(r#""forced":["acceptance"]"#));

    let other = room.task("y", &[]);
    room.run(&["task", "update", &other, "--priority", "1"]).data();
    let update = event(&room, &other, "TaskUpdated");
    room.run_as("bob", &["claim", &other]).data();
    room.run(&["undo", &update]).error("ERR_LEASE_HELD", 5);
    assert_eq!(room.run_as("bob", &["undo", &update]).data()["priority"], 0);
    room.run(&["undo", &event(&room, &other, "TaskStatusChanged"), "--override", "bob is gone"]).data();
    assert_eq!(room.get(&other)["status"], "open");

    room.run_as("bob", &["task", "block", &other, "--by", &first]).data();
    assert_eq!(room.get(&other)["status"], "blocked");
    let blocked = event(&room, &other, "TaskStatusChanged");
    room.run(&["undo", &blocked]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn undo_restores_and_removes_relationships() {
    let room = Sandbox::new();
    let (id, one, two) = (room.task("x", &[]), room.task("one", &[]), room.task("two", &[]));
    room.run(&["task", "block", &id, "--by", &one]).data();
    let task = undo(&room, &id, "RelationshipAdded");
    assert_eq!((&task["status"], &task["relationships"]), (&json!("open"), &json!([])));
    let task = undo(&room, &id, "RelationshipRemoved");
    assert_eq!((&task["status"], &task["relationships"][0]["from"]), (&json!("blocked"), &json!(one)));
    room.run(&["task", "unblock", &id]).data();

    room.run(&["task", "update", &id, "--parent", &one]).data();
    room.run(&["task", "update", &id, "--parent", &two]).data();
    let moved = event(&room, &id, "RelationshipAdded");
    assert_eq!(room.run(&["undo", &moved]).data()["parent"], json!(one), "back to where it was moved from");
    assert_eq!(undo(&room, &id, "RelationshipAdded")["parent"], json!(two));
    room.run(&["task", "update", &id, "--clear", "parent"]).data();
    assert_eq!(undo(&room, &id, "RelationshipRemoved")["parent"], json!(two));
    room.run(&["task", "relate", &id, "--to", &one, "--type", "duplicates"]).data();
    assert_eq!(undo(&room, &id, "RelationshipAdded")["relationships"].as_array().unwrap().len(), 1);
}

#[test]
fn undo_reverts_parts_of_a_task_if_possible() {
    let room = Sandbox::new();
    let id = room.task("x", &["--acceptance", "a"]);
    let item = room.run(&["progress", "add", &id, "--content", "step", "-q"]).text().to_owned();
    room.run(&["progress", "complete", &item]).data();
    assert_eq!(undo(&room, &id, "ProgressItemCompleted")["progress"]["done"], 0);
    assert_eq!(undo(&room, &id, "ProgressItemReopened")["progress"]["done"], 1);
    room.run(&["task", "verify", &id, "--all"]).data();
    assert_eq!(undo(&room, &id, "AcceptanceMet")["acceptance"][0]["met"], false);
    undo(&room, &id, "AcceptanceMet");
    room.run(&["task", "verify", &id]).data();
    let refused = room.run(&["undo", &event(&room, &id, "TaskVerified")]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("no review before"), "{refused}");
    room.run(&["task", "verify", &id, "--fail"]).data();
    assert_eq!(undo(&room, &id, "TaskVerified")["verified"]["passed"], true);

    let note = room.run(&["note", &id, "--content", "a thought", "-q"]).text().to_owned();
    let refused = room.run(&["undo", &note]).error("ERR_INVALID_STATE", 4);
    assert!(refused["hint"].as_str().unwrap().contains("context supersede"), "{refused}");
    room.run(&["context", "supersede", &note, "--content", "a better one"]).data();
    room.run(&["undo", &event(&room, &id, "ContextSuperseded")]).error("ERR_INVALID_STATE", 4);
    room.run(&["undo", &item]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn an_event_that_lost_is_not_undone() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &[]));
    twins.ada(&["task", "update", &id, "--priority", "3", "--estimate", "1h"]).data();
    twins.bob(&["note", &id, "--content", "later"]).data();
    twins.bob(&["task", "update", &id, "--priority", "4"]).data();
    twins.merge();
    let event = last_event(&twins.room, &twins.room.repo(), &id, "ada");
    let answer = twins.ada(&["undo", &event]);
    assert_eq!((&answer.data()["priority"], &answer.data()["estimate"]), (&json!(4), &Value::Null));
    assert!(answer.stderr.contains("priority was written again by bob"), "{answer:?}");
}

#[test]
fn a_task_is_shown_as_it_was() {
    let room = Sandbox::new();
    let id = room.at("2026-11-20T10:00:00Z").task("first words", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "one"]).text();
    room.git(&["tag", "v1"]).text();
    room.at("2026-11-21T10:00:00Z").run(&["task", "update", &id, "--title", "second words"]).data();
    room.at("2026-11-22T10:00:00Z").run(&["claim", &id]).data();
    for point in ["1", "2026-11-20T10:00:00Z", "2026-11-21", "HEAD", "v1", "main"] {
        let then = room.run(&["task", "get", &id, "--at", point]).data();
        assert_eq!(
            (&then["title"], &then["version"], &then["status"]),
            (&json!("first words"), &json!(1), &json!("open")),
            "{point}"
        );
        assert_eq!(then["at"]["lamport"], 1);
        for now in ["ready", "score", "lease_holder", "blocking_count"] {
            assert_eq!(then[now], Value::Null, "{now} is of the present");
        }
    }
    assert_eq!(room.run(&["show", &id, "--at", "2"]).data()["title"], "second words");
    assert_eq!(room.run(&["task", "get", &id, "--at", "99"]).data()["status"], "in_progress");
    assert_eq!(room.run(&["task", "get", &id, "--at", "v1"]).data()["at"]["point"], "v1");
    assert!(room.run(&["task", "get", &id, "--at", "1", "--format", "table"]).text().contains("as of"));
    room.run(&["task", "get", &id, "--at", "0"]).error("ERR_NOT_FOUND", 3);
    room.run(&["task", "get", &id, "--at", "2026-11-19"]).error("ERR_NOT_FOUND", 3);
    room.run(&["task", "get", &id, "--at", "no-such-branch"]).error("ERR_NOT_FOUND", 3);
    room.run(&["task", "get", &id, "--at", "--upload-pack=x"]).error("ERR_USAGE", 2);
    // As it was so long ago, and at a time today.
    room.at("2026-11-22T12:00:00Z");
    for (point, title) in
        [("3d", ""), ("30h", "first words"), ("+1d", "second words"), ("2h", "second words"), ("00:00", "second words")]
    {
        let then = room.run(&["task", "get", &id, "--at", point]);
        match title {
            "" => drop(then.error("ERR_NOT_FOUND", 3)),
            title => assert_eq!(then.data()["title"], title, "{point}"),
        }
    }
    assert_eq!(room.run(&["task", "get", &id, "--at", "00:00"]).data()["status"], "open");
    assert_eq!(room.run(&["task", "get", &id, "--at", "10:00"]).data()["status"], "in_progress");
    let changed = room.run(&["diff", "00:00"]).data();
    assert_eq!(
        (&changed["total"], &changed["from"]["point"]),
        (&json!(1), &json!("2026-11-22T00:00:00Z")),
        "{changed}"
    );
    assert_eq!(room.run(&["diff", "36h", "12h"]).data()["items"][0]["changes"][0]["field"], "title");
    room.run(&["diff", "12h", "36h"]).error("ERR_USAGE", 2);
    fs::remove_dir_all(room.task_dir(&id)).unwrap();
    let kept = room.run(&["task", "get", &id[18..], "--at", "HEAD"]).data();
    assert_eq!(kept["title"], "first words", "git has what the work tree lost");
}

fn change<'a>(item: &'a Value, field: &str) -> &'a Value {
    let found = item["changes"].as_array().unwrap().iter().find(|c| c["field"] == field);
    found.unwrap_or_else(|| panic!("no change of {field} in {item:#}"))
}

#[test]
fn two_points_are_compared_task_by_task() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (id, other) = (room.task("old", &["--metadata", r#"{"k": 1}"#]), room.task("untouched", &[]));
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "one"]).text();
    room.at("2026-11-21T10:00:00Z");
    room.run(&["task", "update", &id, "--title", "new", "--metadata", r#"{"k": 2}"#, "--why", "clearer"]).data();
    room.run_as("bob", &["claim", &id]).data();
    room.run_as("bob", &["progress", "add", &id, "--content", "half of it"]).data();
    room.run_as("bob", &["note", &id, "--content", "hard"]).data();
    let late = room.task("late", &["--blocked-by", &id]);
    let last = room.run(&["log"]).data()["total"].to_string();
    for (a, b) in [
        ("2", Some(last.as_str())),
        ("2", None),
        ("2026-11-20T10:00:00Z", Some("2026-11-22")),
        ("HEAD", None),
        ("HEAD", Some(&last)),
    ] {
        let args: Vec<&str> = ["diff", a].into_iter().chain(b).collect();
        let answer = room.run(&args).data();
        assert_eq!(answer["total"], 2, "{args:?}: {answer:#}");
        let items = answer["items"].as_array().unwrap();
        let one = items.iter().find(|i| i["task"] == json!(id)).unwrap();
        let title = change(one, "title");
        assert_eq!(
            (&title["from"], &title["to"], &title["by"], &title["why"]),
            (&json!("old"), &json!("new"), &json!("ada"), &json!("clearer"))
        );
        assert_eq!(change(one, "metadata.k")["to"], 2);
        assert_eq!(
            (&change(one, "status")["to"], &change(one, "status")["by"]),
            (&json!("in_progress"), &json!("bob"))
        );
        let kinds: Vec<&str> = one["changes"].as_array().unwrap().iter().filter_map(|c| c["change"].as_str()).collect();
        assert_eq!(kinds, ["status", "field", "field", "field", "progress_added", "context_added"]);
        let new = items.iter().find(|i| i["task"] == json!(late)).unwrap();
        assert_eq!((&new["created"], &new["title"]), (&json!(true), &json!("late")));
        assert!(!answer.to_string().contains(&other), "nothing became of the other");
    }
    let text = room.run(&["diff", "2", "--format", "table"]);
    assert!(text.text().contains("title: old -> new — by ada: clearer"), "{text:?}");
    assert!(text.text().contains("+ step [ ] half of it — by bob"), "{text:?}");
    let one = room.run(&["diff", "2", "--task-id", &late]).data();
    assert_eq!(one["items"].as_array().unwrap().len(), 1);
    let first = room.run(&["diff", "2", "--limit", "1"]).data();
    let rest = room.run(&["diff", "2", "--cursor", first["next_cursor"].as_str().unwrap()]).data();
    assert_eq!((first["total"].as_u64(), rest["items"][0]["task"] != first["items"][0]["task"]), (Some(2), true));
    assert_eq!(room.run(&["diff", &last]).data()["total"], 0);
    assert_eq!(room.run(&["diff", "HEAD", "main"]).data()["total"], 0);
    room.run(&["diff", "3", "2"]).error("ERR_USAGE", 2);
    room.run(&["diff", "no-such-branch"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn a_review_says_what_a_branch_does_to_the_plan_and_what_must_be_decided() {
    let room = Sandbox::new();
    let (id, done) = (room.task("the lock", &["--acceptance", "it holds"]), room.task("the docs", &[]));
    let commit = |message: &str| {
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "-m", message]).text();
    };
    commit("the plan");
    room.git(&["checkout", "-q", "-b", "feature"]).text();
    room.run(&["task", "update", &id, "--priority", "3", "--why", "`@all` it <b>burns</b>"]).data();
    room.run(&["claim", &id]).data();
    room.run(&["done", &id, "--force", "no time"]).data();
    room.run_as("bob", &["claim", &done]).data();
    room.run(&["task", "update", &done, "--estimate", "1h", "--override", "bob is away"]).data();
    let new = room.task("# a new\u{202e}task", &["--parent", &done]);
    commit("the work");
    room.git(&["checkout", "-q", "main"]).text();
    room.task("meanwhile on main", &[]);
    commit("meanwhile");

    let answer = room.run(&["review", "main..feature"]).data();
    assert_eq!(answer["total"], 3, "{answer:#}");
    let counts = &answer["summary"];
    assert_eq!(
        (&counts["created"], &counts["completed"], &counts["forced"], &counts["overrides"]),
        (&json!(1), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(answer["findings"], json!([]));
    let items = answer["items"].as_array().unwrap();
    assert_eq!(items[2]["task"], json!(new), "what must be decided comes first, what is new last");
    let one = items.iter().find(|i| i["task"] == json!(id)).unwrap();
    assert_eq!((&change(one, "status")["from"], &change(one, "status")["to"]), (&json!("open"), &json!("completed")));
    let text = room.run(&["review", "main...feature", "--format", "table"]);
    for words in ["To decide", "past acceptance", "no time", "overrode the lease of bob", "priority 0 → 3"] {
        assert!(text.text().contains(words), "{words} is not in {text:?}");
    }
    let md = room.run(&["review", "main..feature", "--format", "md"]);
    assert!(md.text().starts_with("## `main..feature`: 3 tasks changed"), "{md:?}");
    assert!(md.text().contains("`` `@all` it <b>burns</b> ``") && !md.text().contains('\u{202e}'), "{md:?}");
    assert_eq!(room.run(&["review", "feature..main"]).data()["total"], 1);
    room.git(&["checkout", "-q", "feature"]).text();
    assert_eq!(room.run(&["review", "main"]).data()["total"], 3, "the head is what is checked out");
    assert_eq!(room.run(&["review", "main..", "-q"]).text().lines().count(), 3);
    assert_eq!(room.run(&["review", "feature..feature"]).data()["total"], 0);
    room.run(&["review", "no-such-branch..main"]).error("ERR_NOT_FOUND", 3);
    room.run(&["review", ".."]).error("ERR_USAGE", 2);
    room.git(&["checkout", "-q", "--orphan", "alone"]).text();
    room.git(&["commit", "-q", "--allow-empty", "-m", "alone"]).text();
    room.run(&["review", "main..alone"]).error("ERR_GIT", 9);
}

#[test]
fn a_review_names_what_the_branch_breaks_and_not_what_was_broken_before() {
    let mut ids = Vec::new();
    let twins = Twins::new(|room| ids = vec![room.task("one", &[]), room.task("two", &[]), room.task("three", &[])]);
    let room = &twins.room;
    let old = fs::read_to_string(room.yaml_of(&ids[2])).unwrap();
    fs::write(room.yaml_of(&ids[2]), old.replace("title: three", "title: by hand")).unwrap();
    room.git(&["commit", "-q", "-am", "an unrecorded edit"]).text();
    room.git(&["checkout", "-q", "-b", "feature"]).text();
    room.git(&["pull", "-q", "--no-rebase", "--no-edit", twins.other.to_str().unwrap(), "main"]).text();
    twins.ada(&["task", "block", &ids[0], "--by", &ids[1]]).data();
    twins.ada(&["task", "update", &ids[0], "--priority", "2"]).data();
    twins.bob(&["task", "block", &ids[1], "--by", &ids[0]]).data();
    twins.bob(&["note", &ids[0], "--content", "x"]).data();
    twins.bob(&["task", "update", &ids[0], "--priority", "3"]).data();
    twins.merge();
    let answer = twins.ada(&["review", "main..feature"]).data();
    let codes: Vec<&str> = answer["findings"].as_array().unwrap().iter().filter_map(|f| f["code"].as_str()).collect();
    assert!(codes.contains(&"cycle-blocks") && !codes.contains(&"task-yaml-edited"), "{codes:?}");
    assert_eq!(answer["summary"]["lost"], 1, "{answer:#}");
    let text = twins.ada(&["review", "main..feature", "--format", "table"]);
    assert!(text.text().contains("priority: 2 by ada lost to 3 by bob"), "{text:?}");
}

#[test]
fn an_undo_without_an_event_names_the_newest_change_of_the_caller() {
    let room = Sandbox::new();
    let refused = room.run(&["undo"]).error("ERR_USAGE", 2);
    assert!(refused["hint"].as_str().unwrap().starts_with("agentpm undo EVENT"), "{refused}");
    let id = room.task("x", &[]);
    room.run(&["task", "update", &id, "--priority", "1"]).data();
    let mine = event(&room, &id, "TaskUpdated");
    room.run(&["note", &id, "a note cannot be undone"]).data();
    room.run_as("bob", &["task", "update", &id, "--estimate", "2h"]).data();
    let hint = || room.run(&["undo"]).error("ERR_USAGE", 2)["hint"].as_str().unwrap().to_owned();
    assert_eq!(hint(), format!("your newest change: agentpm undo {mine} (set priority, {} (x))", &id[20..]));
    room.run(&["undo", &mine]).data();
    let created = event(&room, &id, "TaskCreated");
    assert!(hint().contains(&created), "what was undone, and the undo, are not proposed: {}", hint());
}

#[test]
fn a_second_undo_names_the_first() {
    let room = Sandbox::new();
    let (id, other) = (room.task("x", &[]), room.task("y", &[]));
    room.run(&["task", "update", &id, "--priority", "1"]).data();
    let update = event(&room, &id, "TaskUpdated");
    room.run_as("bob", &["undo", &update]).data();
    let undo = event(&room, &id, "TaskUpdated");
    let refused = room.run(&["undo", &update]).error("ERR_CONFLICT", 5);
    let words = format!("priority was undone already by bob (event {undo})");
    assert!(refused["message"].as_str().unwrap().contains(&words), "{refused}");
    room.run(&["task", "relate", &id, "--to", &other, "--type", "relates_to"]).data();
    let edge = event(&room, &id, "RelationshipAdded");
    room.run(&["undo", &edge]).data();
    let undo = event(&room, &id, "RelationshipRemoved");
    let refused = room.run(&["undo", &edge]).error("ERR_CONFLICT", 5);
    let words = format!("ada undid it already (event {undo})");
    assert!(refused["message"].as_str().unwrap().contains(&words), "{refused}");
}

#[test]
fn a_creation_is_not_undone_where_others_built_on_the_task() {
    let others: [&[&[&str]]; 4] = [
        &[&["task", "create", "--title", "below", "--parent", "TASK"]],
        &[&["task", "create", "--title", "after", "--blocked-by", "TASK"]],
        &[&["task", "update", "TASK", "--priority", "2"]],
        &[&["claim", "TASK"], &["release", "TASK"]],
    ];
    for (commands, words) in others.iter().zip(["is below it", "waits for it", "bob changed", "bob changed"]) {
        let room = Sandbox::new();
        let task = room.task("a task", &[]);
        for command in *commands {
            let args: Vec<&str> = command.iter().map(|arg| if *arg == "TASK" { task.as_str() } else { *arg }).collect();
            room.run_as("bob", &args).data();
        }
        let created = event(&room, &task, "TaskCreated");
        let before = fs::read_to_string(room.log_of(&task)).unwrap();
        let refused = room.run(&["undo", &created]).error("ERR_CONFLICT", 5);
        assert!(refused["message"].as_str().unwrap().contains(words), "{refused}");
        assert_eq!(fs::read_to_string(room.log_of(&task)).unwrap(), before);
        assert_eq!(room.get(&task)["status"], "open");
    }
    // One's own changes are no reason.
    let room = Sandbox::new();
    let task = room.task("a task", &[]);
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    room.run_as("bob", &["note", &task, "--content", "a remark"]).data();
    assert_eq!(undo(&room, &task, "TaskCreated")["status"], "cancelled");
}

#[test]
fn the_undo_of_a_value_that_won_a_conflict_leaves_the_other_one() {
    let mut id = String::new();
    let twins = Twins::new(|room| id = room.task("x", &["--acceptance", "it works", "--metadata", r#"{"k": 0}"#]));
    twins.bob(&["task", "update", &id, "--priority", "5", "--metadata", r#"{"k": 5}"#, "--owner", "bob"]).data();
    twins.ada(&["note", &id, "--content", "so that her event is the later one"]).data();
    let change = ["--priority", "3", "--metadata", r#"{"k": 3}"#, "--owner", "ada", "--estimate", "1h"];
    twins.ada(&[&["task", "update", &id][..], &change].concat()).data();
    let won = last_event(&twins.room, &twins.room.repo(), &id, "ada");
    twins.merge();
    twins.ada(&["resolve"]).data();
    assert_eq!(twins.room.get(&id)["priority"], 3);
    assert_ne!(twins.ada(&["conflicts"]).data()["total"], 0);
    let task = twins.ada(&["undo", &won]).data();
    assert_eq!((&task["priority"], &task["metadata"], &task["owner"]), (&json!(5), &json!({"k": 5}), &json!("bob")));
    assert_eq!(task.get("estimate"), Some(&Value::Null));
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 0);
    twins.room.is_clean();
}
