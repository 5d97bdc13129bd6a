//! Choosing work: the score, due times, tasks below others, and what a cancelled parent leaves.

use std::collections::BTreeMap;
use std::fs;

use agentpm::engine::{self, Options};
use agentpm::env::Env;
use agentpm::model::args::Title;
use agentpm::model::command::{Command, TaskCreate};
use agentpm::reports::changed::{Changed, TaskAnswer};
use agentpm::rules::held::NamedTask;
use serde_json::{Value, json};

use crate::hostile::bounded;
use crate::lost::Twins;
use crate::sandbox::{Sandbox, sealed_vars};

fn titles(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["title"].as_str().unwrap()).collect()
}

fn score(room: &Sandbox, id: &str) -> Value {
    let ready = room.run(&["ready", "--explain"]).data();
    ready["items"].as_array().unwrap().iter().find(|item| item["id"] == id).unwrap()["terms"].clone()
}

#[test]
fn an_old_plan_does_not_hide_an_urgent_new_task() {
    let room = Sandbox::new();
    room.at("2026-06-01T10:00:00Z");
    let old = room.task("from June", &["--priority", "-1"]);
    room.at("2026-11-20T10:00:00Z");
    let new = room.task("outage", &["--priority", "5"]);
    let terms = score(&room, &old);
    assert_eq!((&terms["age"], &terms["age_capped"], &terms["score"]), (&5.0.into(), &true.into(), &4.0.into()));
    assert!(score(&room, &new)["age_capped"].is_null());
    let next = room.run(&["next", "--explain", "--format", "table"]);
    assert!(next.stdout.contains("score 5: priority 5, age 0, depth 0, due 0"), "{next:?}");
    assert_eq!(room.run(&["next"]).data()["task"]["title"], "outage");
    fs::write(room.store().join("config.toml"), "format = 1\n[score]\nage_cap = 0\n").unwrap();
    let terms = score(&room, &old);
    assert!(terms["age"].as_f64().unwrap() > 400.0 && terms["age_capped"].is_null(), "{terms}");
    assert_eq!(room.run(&["next"]).data()["task"]["title"], "from June");
}

#[test]
fn a_due_time_raises_the_score() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let late = room.task("late", &["--due", "2026-11-20T10:59:00+01:00"]);
    let soon = room.task("soon", &["--due", "2h"]);
    let tonight = room.task("tonight", &["--due", "22:45"]);
    let later = room.task("later", &["--due", "+3d"]);
    room.task("never", &[]);
    let due = |id: &str| score(&room, id)["due"].as_f64().unwrap();
    assert_eq!([&late, &soon, &tonight, &later].map(|id| due(id)), [5.0, 2.0, 2.0, 0.0]);
    assert_eq!(room.get(&tonight)["due"], "2026-11-20T22:45:00Z");
    assert_eq!(room.get(&later)["due"], "2026-11-23T10:00:00Z");
    assert_eq!(room.get(&soon)["score"], 2.0);
    let list = |query: &str| titles(&room.run(&["ls", "--query", query]).data()).join(" ");
    assert_eq!(list("is:overdue"), "late");
    assert_eq!(list("due:<+1d sort:due"), "late soon tonight");
    assert_eq!(list("due:2026-11-23"), "later");
    assert_eq!(list("-due:.."), "never", "a task without a due time is in no range");
    assert_eq!(list("sort:due"), "late soon tonight later never");
    assert_eq!(list("sort:-due"), "never later tonight soon late");
    room.run(&["task", "update", &later, "--due", "1h", "--defer-until", "+30d"]).data();
    assert_eq!(room.get(&later)["due"], "2026-11-20T11:00:00Z");
    // A batch takes the same forms.
    let steps = r#"{"ops":[{"op":"task.create","args":{"title":"by batch","due":"+1d"}}]}"#;
    room.feed(&["batch", "--file", "-"], steps.as_bytes()).data();
    assert_eq!(list("due:2026-11-21"), "by batch");
    for args in ["task create --title x --due soon".to_owned(), format!("task update {late} --defer-until 3")] {
        let refused = room.run(&args.split(' ').collect::<Vec<_>>());
        assert!(refused.code != 0, "{refused:?}");
        for form in ["2026-11-20", "+01:00", "+3d", "2h", "22:45"] {
            assert!(refused.stdout.contains(form), "{form}: {refused:?}");
        }
    }
    assert!(room.run(&["ls", "--query", "due:soon"]).error("ERR_VALIDATION", 4)["message"].to_string().contains("+3d"));
}

#[test]
fn pages_of_ready_work_join_while_scores_pass_each_other() {
    for args in [["ready"].as_slice(), &["ls", "--query", "sort:score"], &["ls", "--query", "sort:-score"]] {
        let room = Sandbox::new();
        let mut wanted = Vec::new();
        room.at("2026-11-18T10:00:00Z");
        for n in 0..4 {
            wanted.push(room.task(&format!("old {n}"), &["--priority", &n.to_string()]));
        }
        room.at("2026-11-20T10:00:00Z");
        for n in 0..4 {
            wanted.push(room.task(&format!("due {n}"), &["--due", &format!("2026-11-2{}T09:00:00Z", n + 1)]));
        }
        wanted.sort();
        let clocks = ["2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-22T10:00:00Z", "2026-11-24T10:00:00Z"];
        let mut seen = Vec::new();
        let mut cursor: Option<String> = None;
        for clock in clocks {
            room.at(clock);
            let mut args = [args, &["--limit", "2"]].concat();
            args.extend(cursor.iter().flat_map(|cursor| ["--cursor", cursor]));
            let page = room.run(&args).data();
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            cursor = page["next_cursor"].as_str().map(str::to_owned);
        }
        assert_eq!(cursor, None);
        seen.sort();
        assert_eq!(seen, wanted, "{args:?}");
    }
}

/// Whether `ready`, `next`, `claim`, a list and the task itself agree on what is ready: these titles and no others.
#[track_caller]
fn assert_ready(room: &Sandbox, wanted: &[&str]) {
    assert_eq!(titles(&room.run(&["ready"]).data()), wanted);
    let mut listed = room.run(&["ls", "--query", "is:ready sort:score"]).data();
    assert_eq!(titles(&listed), wanted);
    for task in room.run(&["ls", "--all"]).data()["items"].as_array_mut().unwrap() {
        let id = task["id"].as_str().unwrap();
        let is_ready = wanted.contains(&task["title"].as_str().unwrap());
        assert_eq!(task["ready"] == true, is_ready, "{task}");
        assert_eq!(room.get(id)["ready"] == true, is_ready, "{task}");
        if !is_ready && task["status"] == "open" {
            room.run(&["claim", id]).error("ERR_INVALID_STATE", 4);
        }
    }
    listed["items"].as_array_mut().unwrap().truncate(1);
    let next = room.run(&["next"]).data();
    assert_eq!(next["task"]["title"].as_str(), wanted.first().copied());
}

#[test]
fn a_child_of_a_deferred_or_blocked_parent_is_not_ready() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let first = room.task("first", &["--priority", "1"]);
    let epic = room.task("epic", &["--blocked-by", &first]);
    let part = room.task("part", &["--parent", &epic]);
    let leaf = room.task("leaf", &["--parent", &part]);
    let later = room.task("later", &["--defer-until", "+1d"]);
    let created = room.run(&["task", "create", "--title", "of later", "--parent", &later]).data();
    assert_ne!(created["ready"], true, "{created}");
    let of_later = created["id"].as_str().unwrap().to_owned();
    assert_ready(&room, &["first"]);
    let refused = room.run(&["claim", &leaf]).error("ERR_INVALID_STATE", 4);
    let epic_handle = &epic[epic.len() - 6..];
    let message = refused["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("part of {epic_handle}, which is blocked")), "{refused}");
    let refused = room.run(&["claim", &of_later]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("which is deferred until 2026-11-21"), "{refused}");
    let why = room.run(&["next", "--explain"]).data()["reasons"]["others"]["explained"]["items"].clone();
    let reasons = why.as_array().unwrap().iter().find(|item| item["task"] == leaf.as_str()).unwrap()["reasons"].clone();
    assert_eq!(reasons[0]["reason"], "parent", "{reasons}");
    assert_eq!(reasons[0]["parent"], epic.as_str());
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    assert_ready(&room, &["leaf"]);
    room.at("2026-11-22T10:00:00Z");
    assert_ready(&room, &["of later", "leaf"]);
}

#[test]
fn a_child_that_its_parents_blocker_waits_for_is_ready() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    // An epic blocked by its own child.
    let epic = room.task("epic", &[]);
    let own = room.task("own", &["--parent", &epic]);
    room.task("other", &["--parent", &epic]);
    room.run(&["task", "block", &epic, "--by", &own]).data();
    assert_ready(&room, &["own"]);
    // Two epics, each blocked by a child of the other.
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let (a, b) = (room.task("a", &[]), room.task("b", &[]));
    let of_a = room.task("of a", &["--parent", &a]);
    let of_b = room.task("of b", &["--parent", &b]);
    room.run(&["task", "block", &a, "--by", &of_b]).data();
    room.run(&["task", "block", &b, "--by", &of_a]).data();
    assert_ready(&room, &["of a", "of b"]);
}

#[test]
fn cancelling_a_parent_asks_what_becomes_of_its_children() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let epic = room.task("epic", &[]);
    let part = room.task("part", &["--parent", &epic]);
    let leaf = room.task("leaf", &["--parent", &part]);
    let held = room.task("held", &["--parent", &epic]);
    let status = |id: &str| room.get(id)["status"].as_str().unwrap().to_owned();
    let cancel =
        |id: &str, more: &[&str]| room.run(&[&["task", "transition", id, "--status", "cancelled"], more].concat());
    let refused = cancel(&epic, &[]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("3 open descendants"), "{refused}");
    assert!(refused["hint"].as_str().unwrap().contains("--children cancel"), "{refused}");
    room.run_as("bob", &["claim", &held]).data();
    // Each is checked like a command: what another agent holds is not cancelled, and then nothing is.
    cancel(&epic, &["--children", "cancel"]).error("ERR_LEASE_HELD", 5);
    assert_eq!([&epic, &part, &leaf].map(|id| status(id)), ["open", "open", "open"]);
    room.run_as("bob", &["release", &held]).data();
    cancel(&part, &["--children", "keep"]).data();
    assert_eq!([&part, &leaf].map(|id| status(id)), ["cancelled", "open"]);
    let before = room.run(&["stats"]).data()["events"].as_u64();
    cancel(&epic, &["--children", "cancel", "--why", "no longer wanted"]).data();
    assert_eq!([&epic, &leaf, &held].map(|id| status(id)), ["cancelled", "cancelled", "cancelled"]);
    assert_eq!(room.run(&["stats"]).data()["events"].as_u64(), before.map(|events| events + 3));
    room.run(&["task", "transition", &epic, "--status", "archived", "--children", "keep"]).error("ERR_USAGE", 2);
    // A batch says it with a key of the step.
    let parent = room.task("parent", &[]);
    let child = room.task("child", &["--parent", &parent]);
    let step =
        |more: &str| format!(r#"[{{"op":"task.transition","args":{{"id":"{parent}","status":"cancelled"{more}}}}}]"#);
    room.feed(&["batch", "--file", "-"], step("").as_bytes()).error("ERR_INVALID_STATE", 4);
    room.feed(&["batch", "--file", "-"], step(r#","children":"cancel""#).as_bytes()).data();
    assert_eq!(status(&child), "cancelled");
}

#[test]
fn a_new_task_names_open_ones_with_a_similar_title() {
    let room = Sandbox::new();
    let sealed =
        sealed_vars(&room.home()).into_iter().map(|(name, value)| (name.to_owned(), value.into_string().unwrap()));
    let mut vars: BTreeMap<String, String> = sealed.collect();
    vars.insert("AGENTPM_AGENT".into(), "ada".into());
    let create = |title: &str| -> Vec<NamedTask> {
        let ws = engine::open(Env::new(vars.clone(), room.repo()).unwrap(), Options::default()).unwrap();
        let command = Command::TaskCreate(TaskCreate { title: Title(title.into()), ..TaskCreate::default() });
        match engine::execute(&ws, &command).unwrap().data {
            Changed::Task(TaskAnswer::Receipt(receipt)) => receipt.similar,
            other => panic!("{other:?}"),
        }
    };
    let named = |title: &str| create(title).into_iter().map(|task| task.title).collect::<Vec<_>>();
    assert_eq!(named("Fix the login timeout"), [""; 0]);
    assert_eq!(named("fix login timeouts"), ["Fix the login timeout"], "no read model yet");
    room.run(&["ls", "--query", "login"]).data();
    assert_eq!(named("Fix the login timeout!").len(), 2, "from the full text");
    assert_eq!(named("Fix the login page"), [""; 0]);
    let gone = room.task("Write chapter 3", &[]);
    assert_eq!(named("Write chapter 4"), [""; 0], "a series");
    assert_eq!(named("Write the chapter 3"), ["Write chapter 3"]);
    room.run(&["task", "transition", &gone, "--status", "cancelled"]).data();
    assert_eq!(named("Write chapter 3"), ["Write the chapter 3"], "closed ones are no duplicates");
    assert_eq!((named("同期が遅い"), named("同期が遅い")), (vec![], vec!["同期が遅い".to_owned()]));
    for _ in 0..4 {
        room.task("Tune the cache", &[]);
    }
    let similar = create("Tune the Cache!");
    assert_eq!(similar.len(), 3);
    assert!(similar[0].id.to_string().ends_with(&similar[0].handle));
}

#[test]
fn a_task_that_was_given_back_comes_after_others_for_the_agent_that_gave_it_back() {
    let room = Sandbox::new();
    let (first, second) = (room.task("first", &["--priority", "3"]), room.task("second", &[]));
    let next = |who: &str| room.run_as(who, &["next"]).data()["task"]["id"].as_str().unwrap().to_owned();
    room.run(&["claim", &first]).data();
    room.run(&["release", &first, "--why", "needs a decision"]).data();
    assert_eq!((next("ada"), next("bob")), (second.clone(), first.clone()));
    let ready = room.run(&["ready"]).data();
    assert_eq!((&ready["items"][1]["id"], &ready["items"][1]["given_back"]), (&json!(first), &json!(true)), "{ready}");
    assert!(ready["items"][0].get("given_back").is_none());
    let named = json!([{ "id": first, "handle": first[20..], "title": "first" }]);
    assert_eq!(room.run(&["next"]).data()["reasons"]["given_back"], named);
    let line = format!("{}  first: you gave it back, so it comes after the others\n", &first[20..]);
    for command in ["next", "ready"] {
        let words = room.run(&[command, "--format", "table"]).stdout;
        assert!(words.contains(&line), "{command}: {words}");
        assert!(!room.run_as("bob", &[command, "--format", "table"]).stdout.contains("gave it back"), "{command}");
    }
    room.run(&["next", "--claim"]).data();
    room.run(&["done", &second]).data();
    assert_eq!(next("ada"), first, "unless it is the only one");
    // What it asks for changed, so the attempt does not count any more.
    room.task("third", &[]);
    room.run(&["task", "update", &first, "--intent", "it is decided"]).data();
    assert_eq!(next("ada"), first);
    room.is_clean();
}

#[test]
fn status_and_ready_count_alike() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let config = std::fs::read_to_string(room.store().join("config.toml")).unwrap();
    std::fs::write(room.store().join("config.toml"), format!("{config}\n[review]\nrequired = true\n")).unwrap();
    let (done, open) = (room.task("done", &[]), room.task("open", &[]));
    room.task("waits for a review", &["--blocked-by", &done]);
    room.task("waits for work", &["--blocked-by", &open]);
    room.task("deferred", &["--defer-until", "2027-01-01"]);
    let (held, parent) = (room.task("held by bob", &[]), room.task("parent", &[]));
    room.task("child", &["--parent", &parent]);
    room.run(&["claim", &done]).data();
    room.run(&["done", &done]).data();
    room.run_as("bob", &["claim", &held]).data();
    let own = room.task("mine", &[]);
    room.run(&["claim", &own]).data();
    for who in ["ada", "bob", "eve"] {
        let (status, ready) = (room.run_as(who, &["status"]).data(), room.run_as(who, &["ready"]).data());
        let counts = &ready["not_ready"]["counts"];
        assert_eq!((&status["not_ready"], &status["ready_total"]), (counts, &ready["total"]), "{who}");
        let sum: u64 = counts.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(sum + ready["total"].as_u64().unwrap(), status["unfinished"].as_u64().unwrap(), "{who}: {counts}");
        assert_eq!((&status["blocked"], &counts["blocked_by_review"]), (&json!(1), &json!(1)), "{who}: {counts}");
        let words = room.run_as(who, &["status", "--format", "table"]);
        assert!(words.text().contains("1 blocked, 1 blocked by review, 1 deferred"), "{words:?}");
    }
}

#[test]
fn every_answer_counts_the_longest_chain_that_waits() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let first = room.task("first", &[]);
    let second = room.task("second", &["--blocked-by", &first]);
    let third = room.task("third", &["--blocked-by", &second, "--blocked-by", &first]);
    room.task("fourth", &["--blocked-by", &third, "--blocked-by", &first]);
    assert_eq!(score(&room, &first)["depth"], 1.5);
    let list = room.run(&["ls", "--query", "first"]).data();
    assert_eq!((&list["items"][0]["score"], &room.get(&first)["score"]), (&json!(1.5), &json!(1.5)));
    let next = room.run(&["next"]).data();
    assert_eq!((&next["task"]["score"], &next["reasons"]["terms"]["score"]), (&json!(1.5), &json!(1.5)), "{next}");
    let claimed = room.run(&["claim", &first]).data();
    assert_eq!(claimed["reasons"]["terms"]["depth"], 1.5, "{claimed}");
}

#[test]
fn a_circle_counts_by_the_edges_that_do() {
    let (mut first, mut one, mut two) = (String::new(), String::new(), String::new());
    let twins = Twins::new(|room| {
        first = room.task("first", &[]);
        one = room.task("one", &["--blocked-by", &first]);
        two = room.task("two", &[]);
    });
    twins.ada(&["task", "block", &two, "--by", &one]).data();
    twins.bob(&["task", "block", &one, "--by", &two]).data();
    twins.merge();
    let depth = score(&twins.room, &first)["depth"].clone();
    assert_eq!(twins.room.run(&["claim", &first]).data()["reasons"]["terms"]["depth"], depth);
}

/// Creates tasks by one batch; each step may name those before it.
fn create(room: &Sandbox, steps: Vec<Value>) -> Vec<String> {
    let ops: Vec<Value> =
        steps.into_iter().map(|step| json!({ "op": "task.create", "as": step["title"], "args": step })).collect();
    let made = room.feed(&["batch", "--file", "-", "--quiet"], json!({ "ops": ops }).to_string().as_bytes());
    made.text().lines().map(str::to_owned).collect()
}

#[test]
fn parents_that_wait_for_each_other_are_searched_once() {
    let room = Sandbox::new();
    let mut steps = Vec::new();
    for n in 0..3_000 {
        let blockers = if n == 0 { Vec::new() } else { vec![format!("$epic-{}", n - 1)] };
        steps.push(json!({ "title": format!("epic-{n}"), "blocked_by": blockers }));
        steps.push(json!({ "title": format!("part-{n}"), "parent": format!("$epic-{n}") }));
    }
    create(&room, steps);
    let ready = bounded(&room, 512, &["ready"]).data();
    assert_eq!(titles(&ready), ["part-0"]);
    let counts = json!({ "blocked": 2_999, "held_by_parent": 2_999, "planning_units": 1 });
    assert_eq!(ready["not_ready"]["counts"], counts);
}

#[test]
fn a_task_below_thousands_of_others_is_looked_at_in_one_walk() {
    let room = Sandbox::new();
    let step = |n: usize| match n {
        0 => json!({ "title": "level-0", "defer_until": "2999-01-01" }),
        n => json!({ "title": format!("level-{n}"), "parent": format!("$level-{}", n - 1) }),
    };
    let ids = create(&room, (0..3_000).map(step).collect());
    let leaf = ids.last().unwrap();
    assert_eq!(bounded(&room, 512, &["task", "get", leaf]).data()["ready"], false);
    assert_eq!(bounded(&room, 512, &["next"]).data(), Value::Null);
    let brief = bounded(&room, 512, &["brief", leaf]).data();
    let words = format!("part of {}, which is deferred until 2999-01-01", &ids[0][20..]);
    assert!(brief["text"].as_str().unwrap().contains(&words), "{brief}");
}
