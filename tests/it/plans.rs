//! Plan files: what an apply changes and what it leaves, plan show, and splitting a task.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

const PLAN: &str = "\
plan: storage
tasks:
  - key: locks
    title: Locks that hold
    children:
      - key: order
        title: One order of locking
        intent: No deadlock.
        labels: [core]
        acceptance: [no deadlock]
        progress: [find all callers]
      - key: docs
        title: Describe it
        blocked_by: [order]
";

fn feed(room: &Sandbox, plan: &str, more: &[&str]) -> Answer {
    room.feed(&[&["plan", "apply", "-"][..], more].concat(), plan.as_bytes())
}

fn apply(room: &Sandbox, plan: &str, more: &[&str]) -> Value {
    feed(room, plan, more).data()
}

/// The id of a task of the plan.
fn id(report: &Value, key: &str) -> String {
    let items = report["items"].as_array().unwrap();
    items.iter().find(|item| item["key"] == key).unwrap()["id"].as_str().unwrap().to_owned()
}

/// Field and reason of each conflict.
fn conflicts(report: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    report["conflicts"].as_array().unwrap().iter().map(|c| (text(&c["field"]), text(&c["reason"]))).collect()
}

fn update(room: &Sandbox, id: &str, args: &[&str]) {
    room.run(&[&["task", "update", id][..], args].concat()).data();
}

#[test]
fn applying_the_same_file_again_keeps_local_changes() {
    let room = Sandbox::new();
    let made = apply(&room, PLAN, &[]);
    let (order, docs) = (id(&made, "order"), id(&made, "docs"));
    let other = room.task("Another unit", &[]);
    update(&room, &order, &["--add-label", "one", "--add-label", "two", "--add-acceptance", "a local criterion"]);
    room.run(&["task", "verify", &order, "--criterion", "a local criterion"]).data();
    update(&room, &docs, &["--parent", &other, "--title", "Describe it locally"]);
    room.run(&["task", "unblock", &docs]).data();
    let before = (room.get(&order), room.get(&docs));
    let again = apply(&room, PLAN, &[]);
    assert_eq!((&again["changes"], &again["conflicts"]), (&Value::Null, &Value::Null), "{again:#}");
    assert_eq!((room.get(&order), room.get(&docs)), before);
    room.is_clean();
}

#[test]
fn lists_are_merged_by_entry() {
    let room = Sandbox::new();
    let order = id(&apply(&room, PLAN, &[]), "order");
    update(&room, &order, &["--add-label", "local", "--add-acceptance", "a local criterion"]);
    room.run(&["task", "verify", &order, "--all"]).data();
    let changed = PLAN.replace("[core]", "[urgent]").replace("[no deadlock]", "[no deadlock, no races]");
    apply(&room, &changed, &[]);
    let task = room.get(&order);
    assert_eq!(task["labels"], json!(["local", "urgent"]), "{task:#}");
    let criteria: Vec<&Value> = task["acceptance"].as_array().unwrap().iter().map(|c| &c["criterion"]).collect();
    assert_eq!(criteria, ["no deadlock", "a local criterion", "no races"]);
    let met = task["acceptance"].as_array().unwrap().iter().filter(|c| !c["met_at"].is_null()).count();
    assert_eq!(met, 2, "{task:#}");
}

#[test]
fn a_value_that_both_changed_stays_and_is_listed_until_it_is_forced() {
    let room = Sandbox::new();
    let order = id(&apply(&room, PLAN, &[]), "order");
    update(&room, &order, &["--title", "Local title", "--priority", "2"]);
    let changed = PLAN.replace("One order of locking", "A title of the file").replace("No deadlock.", "None at all.");
    for _ in 0..2 {
        let report = apply(&room, &changed, &[]);
        assert_eq!(conflicts(&report), [("title".to_owned(), "both_changed".to_owned())], "{report:#}");
        let task = room.get(&order);
        assert_eq!((&task["title"], &task["intent"]), (&json!("Local title"), &json!("None at all.")));
    }
    let forced = apply(&room, &changed, &["--force"]);
    assert_eq!(forced["conflicts"], Value::Null);
    let task = room.get(&order);
    assert_eq!((&task["title"], &task["priority"]), (&json!("A title of the file"), &json!(2)));
    assert_eq!(apply(&room, &changed, &[])["changes"], Value::Null);
}

#[test]
fn what_left_the_file_is_emptied_and_unblocked() {
    let room = Sandbox::new();
    let made = apply(&room, PLAN, &[]);
    let changed = PLAN.replace("        intent: No deadlock.\n", "").replace("        blocked_by: [order]\n", "");
    let report = apply(&room, &changed, &[]);
    assert_eq!(report["conflicts"], Value::Null);
    assert!(room.get(&id(&made, "order"))["intent"].is_null());
    assert_eq!(room.get(&id(&made, "docs"))["status"], "open", "{report:#}");
}

#[test]
fn a_closed_task_is_not_changed() {
    let room = Sandbox::new();
    let order = id(&apply(&room, PLAN, &[]), "order");
    update(&room, &order, &["--add-label", "local"]);
    room.run(&["claim", &order]).data();
    room.run(&["done", &order, "--all-met"]).data();
    let before = room.get(&order);
    let changed = PLAN
        .replace("One order of locking", "Another title")
        .replace("[core]", "[other]")
        .replace("[no deadlock]", "[another]")
        .replace("[find all callers]", "[find all callers, more]");
    for more in [&[][..], &["--force"]] {
        let report = apply(&room, &changed, more);
        let kept = conflicts(&report);
        assert!(kept.len() == 4 && kept.iter().all(|(_, reason)| reason == "closed"), "{report:#}");
        assert_eq!(report["changes"], Value::Null);
        assert_eq!(room.get(&order), before);
    }
}

#[test]
fn a_key_that_left_the_file_is_reported_and_pruned_on_request() {
    let room = Sandbox::new();
    let docs = id(&apply(&room, PLAN, &[]), "docs");
    let shorter = PLAN.split("      - key: docs").next().unwrap();
    let report = apply(&room, shorter, &[]);
    assert_eq!((&report["missing"][0]["key"], &report["missing"][0]["id"]), (&json!("docs"), &json!(docs)));
    assert_eq!(room.get(&docs)["status"], "blocked");
    apply(&room, shorter, &["--prune"]);
    assert_eq!(room.get(&docs)["status"], "cancelled");
    let log = room.run(&["log", &docs]).data();
    assert!(log.to_string().contains("it left the plan storage"), "{log:#}");
    assert_eq!(apply(&room, shorter, &[])["missing"], Value::Null);
}

#[test]
fn a_dry_run_shows_whole_texts_by_key_and_a_receipt_names_each_task_once() {
    let room = Sandbox::new();
    apply(&room, PLAN, &[]);
    let long = "A long title that is shown as a whole, since a reader must see all of what is about to change here";
    let changed = PLAN.replace("One order of locking", long).replace("[find all callers]", "[find all callers, test]");
    for more in [&["--dry-run", "--format", "table"][..], &["--format", "table"]] {
        let words = feed(&room, &changed, more).text().to_owned();
        assert!(words.contains(&format!("title: \"One order of locking\" -> \"{long}\"")), "{words}");
        assert_eq!(words.lines().filter(|line| line.starts_with("update  order")).count(), 1, "{words}");
    }
}

#[test]
fn a_value_that_yaml_cuts_off_is_warned_about_with_its_line() {
    let room = Sandbox::new();
    let plan = "plan: p  # a comment\ntasks:\n  - key: a\n    title: Fix #12\n  - key: b\n    title: 'Fix #13'\n";
    let warnings = apply(&room, plan, &[])["warnings"].clone();
    assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings:#}");
    assert!(warnings[0].as_str().unwrap().starts_with("line 4: "), "{warnings:#}");
}

#[test]
fn a_cycle_is_refused_by_the_keys_of_the_plan() {
    let room = Sandbox::new();
    let plan = "plan: p\ntasks:\n  - {key: first, title: A, blocked_by: [second]}\n  - {key: second, title: B, blocked_by: [first]}\n";
    let error = feed(&room, plan, &[]).json()["error"].clone();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("first") && message.contains("second") && !message.contains("01M"), "{error:#}");
    let cycle = error["details"]["cycle"].as_array().unwrap();
    assert!(cycle.iter().all(|key| ["first", "second"].contains(&key.as_str().unwrap())), "{error:#}");
}

#[test]
fn a_plan_without_a_record_keeps_local_changes() {
    let room = Sandbox::new();
    let made = |key: &str, title: &str, more: &[&str]| {
        let origin = json!({ "origin": { "format": "plan", "id": format!("storage:{key}") } }).to_string();
        room.task(title, &[&["--metadata", &origin][..], more].concat())
    };
    let locks = made("locks", "Locks that hold", &[]);
    let order = made("order", "One order", &["--intent", "No deadlock.", "--label", "core", "--parent", &locks]);
    update(&room, &order, &["--title", "Local title", "--add-label", "local"]);
    let report = apply(&room, PLAN, &[]);
    let task = room.get(&order);
    assert_eq!((&task["title"], &task["labels"]), (&json!("Local title"), &json!(["core", "local"])), "{report:#}");
    assert_eq!(task["acceptance"][0]["criterion"], "no deadlock", "what was never written follows the file");
    assert!(conflicts(&report).iter().all(|(_, reason)| reason == "no_record"), "{report:#}");
    let again = apply(&room, PLAN, &[]);
    assert_eq!((&again["changes"], &again["conflicts"]), (&Value::Null, &Value::Null));
    assert_eq!(room.get(&order)["labels"], json!(["core", "local"]));
}

#[test]
fn applying_what_plan_show_printed_changes_nothing() {
    let room = Sandbox::new();
    let made = apply(&room, PLAN, &[]);
    let (order, docs) = (id(&made, "order"), id(&made, "docs"));
    let other = room.task("Not of the plan: #1", &["--intent", "two\nlines", "--priority", "-2"]);
    update(&room, &order, &["--title", "Local title", "--add-label", "local"]);
    room.run(&["task", "block", &docs, "--by", &other]).data();
    for name in [&["storage"][..], &[]] {
        let shown = room.run(&[&["plan", "show"][..], name].concat());
        assert!(shown.text().starts_with("plan: "), "{shown:?}");
        let before = room.run(&["log"]).data();
        let report = apply(&room, shown.text(), &[]);
        for part in ["changes", "conflicts", "missing", "warnings"] {
            assert_eq!(report[part], Value::Null, "{part} of {name:?}: {report:#}");
        }
        assert_eq!(room.run(&["log"]).data(), before, "no event was written");
    }
    // A change of the printed file is made, although the store had changed since the last apply of the plan.
    let edited = room.run(&["plan", "show"]).text().replace("Local title", "Edited title");
    update(&room, &docs, &["--priority", "3"]);
    assert_eq!(apply(&room, &edited, &[])["conflicts"], Value::Null);
    assert_eq!((&room.get(&order)["title"], &room.get(&docs)["priority"]), (&json!("Edited title"), &json!(3)));
    room.run(&["plan", "show", "missing"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn a_task_is_split_into_children_that_inherit_from_it() {
    let room = Sandbox::new();
    let whole = room.task("Whole", &["--type", "bugfix", "--priority", "3", "--label", "core"]);
    room.run(&["claim", &whole]).data();
    let answer = room.run(&["task", "split", &whole, "--title", "One", "--title", "Two"]).data();
    assert_eq!(answer["total"], 3, "{answer:#}");
    let task = room.get(&whole);
    assert_eq!((&task["status"], &task["owner"]), (&json!("open"), &Value::Null));
    assert_eq!(task["child_progress"]["total"], 2);
    assert_eq!(room.run(&["lease", "list"]).data()["total"], 0);
    let part = room.get(answer["items"][1]["id"].as_str().unwrap());
    let inherited = json!([part["title"], part["type"], part["priority"], part["labels"], part["parent"]]);
    assert_eq!(inherited, json!(["One", "bugfix", 3, ["core"], whole]));
    room.is_clean();
}

#[test]
fn a_task_is_split_by_a_file() {
    let room = Sandbox::new();
    let whole = room.task("Whole", &["--priority", "3"]);
    let file =
        "- {key: a, title: A, priority: 1, progress: [step]}\n- {title: B, blocked_by: [a], children: [{title: C}]}\n";
    let answer = room.feed(&["task", "split", &whole, "--into", "-"], file.as_bytes()).data();
    let part = |n: usize| room.get(answer["items"][n]["id"].as_str().unwrap());
    assert_eq!((&part(1)["priority"], &part(1)["progress"]["total"]), (&json!(1), &json!(1)));
    assert_eq!((&part(2)["status"], &part(2)["priority"]), (&json!("blocked"), &json!(3)));
    assert_eq!(part(3)["parent"], part(2)["id"]);
    room.feed(&["task", "split", &whole, "--into", "-"], b"- {titel: A}\n").error("ERR_VALIDATION", 4);
}

#[test]
fn a_split_in_a_batch_names_its_parts() {
    for atomic in [true, false] {
        let room = Sandbox::new();
        let whole = room.task("Whole", &[]);
        let ops = json!({"atomic": atomic, "ops": [
            {"op": "task.split", "as": "s", "args": {"id": whole, "title": ["One", "Two"]}},
            {"op": "task.update", "args": {"id": "$s", "priority": 2}},
        ]});
        let answer = room.feed(&["batch", "--file", "-"], ops.to_string().as_bytes()).data();
        let step = &answer["items"][0];
        assert_eq!((&step["as"], &step["id"], &step["title"]), (&json!("s"), &json!(whole), &json!("Whole")), "{step}");
        let parts = step["parts"].as_array().unwrap_or_else(|| panic!("{answer:#}"));
        let titles: Vec<Value> = parts.iter().map(|part| room.get(part.as_str().unwrap())["title"].clone()).collect();
        assert_eq!(titles, ["One", "Two"]);
        assert_eq!(room.get(&whole)["priority"], 2);
        assert_eq!(answer["items"][1].get("parts"), None);
    }
}

#[test]
fn a_split_that_a_cycle_refuses_names_its_parts_by_their_keys() {
    let room = Sandbox::new();
    let whole = room.task("Whole", &[]);
    let file = "- {key: a, title: A, blocked_by: [b]}\n- {key: b, title: B, blocked_by: [a]}\n";
    let refused = room.feed(&["task", "split", &whole, "--into", "-"], file.as_bytes()).error("ERR_INVALID_STATE", 4);
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("\"a\" waits for \"b\"") || message.contains("\"b\" waits for \"a\""), "{refused:#}");
    let cycle = refused["details"]["cycle"].as_array().unwrap();
    assert!(cycle.iter().all(|step| ["a", "b"].contains(&step.as_str().unwrap())), "{refused:#}");
    assert_eq!(room.run(&["ls", "--all"]).data()["total"], 1);
}

#[test]
fn a_closed_task_and_one_that_another_holds_are_not_split() {
    let room = Sandbox::new();
    let (held, closed) = (room.task("Held", &[]), room.task("Closed", &[]));
    room.run_as("bob", &["claim", &held]).data();
    room.run(&["task", "split", &held, "--title", "One"]).error("ERR_LEASE_HELD", 5);
    room.run(&["cancel", &closed]).data();
    let refused = room.run(&["task", "split", &closed, "--title", "One"]).json()["error"].clone();
    assert_eq!(refused["code"], "ERR_INVALID_STATE", "{refused:#}");
    assert_eq!(room.run(&["task", "list", "--all"]).data()["total"], 2);
}

#[test]
fn plans_and_batches_fit_their_schemas() {
    let room = Sandbox::nothing();
    let schema = |name: &str| room.run(&["schema", name]).data();
    let validator = |name: &str| jsonschema::draft202012::new(&schema(name)).unwrap();
    let plan = validator("plan");
    plan.validate(&agentpm::store::yaml::read_value(PLAN).unwrap()).unwrap();
    assert!(!plan.is_valid(&json!({ "plan": "p", "tasks": [{ "title": "a", "titel": "b" }] })));
    assert!(!plan.is_valid(&json!({ "plan": "p", "tasks": [{ "key": "a" }] })));
    let batch = validator("batch");
    batch.validate(&json!({ "ops": [{ "op": "task.create", "as": "a", "args": { "title": "x" } }] })).unwrap();
    assert!(!batch.is_valid(&json!({ "ops": [{ "op": "task.create", "args": { "priority": "high" } }] })));
    assert!(!batch.is_valid(&json!({ "ops": [{ "op": "nonsense", "args": {} }] })));
}

#[test]
fn a_refusal_names_the_task_of_the_plan() {
    let room = Sandbox::new();
    let plan = "plan: p\ntasks:\n- {key: one, title: One}\n- {key: two, title: Two, priority: 9}\n";
    let refused = feed(&room, plan, &[]).error("ERR_VALIDATION", 4);
    assert_eq!(refused["message"], "task \"two\": priority 9 is not within -5 to 5");
}

#[test]
fn the_name_of_a_plan_has_no_colon_which_ends_it_in_the_keys_of_its_tasks() {
    let room = Sandbox::new();
    feed(&room, "plan: a\ntasks:\n- {key: one, title: One}\n", &[]).data();
    feed(&room, "plan: 'a:b'\ntasks:\n- {key: one, title: Two}\n", &[]).error("ERR_VALIDATION", 4);
}

#[test]
fn of_two_tasks_with_one_key_the_unfinished_one_follows_the_plan() {
    let (clones, _) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.write(name, "p.yaml", "plan: p\ntasks:\n- {key: a, title: A}\n");
        clones.run(name, &["plan", "apply", "p.yaml"]).data();
    }
    for name in ["ann", "bob", "ann"] {
        clones.run(name, &["sync"]).data();
    }
    let listed = clones.run("ann", &["task", "list"]).data();
    let items = listed["items"].as_array().unwrap().iter().filter(|item| item["title"] == "A");
    let mut both: Vec<&str> = items.map(|item| item["id"].as_str().unwrap()).collect();
    both.sort_unstable();
    clones.run("ann", &["cancel", both[0], "--why", "work began in the other"]).data();
    clones.write("ann", "p.yaml", "plan: p\ntasks:\n- {key: a, title: A again}\n");
    clones.run("ann", &["plan", "apply", "p.yaml"]).data();
    assert_eq!(clones.run("ann", &["task", "get", both[1]]).data()["title"], "A again");
}

#[test]
fn a_plan_that_two_clones_applied_is_reported_until_each_key_has_one_task() {
    let (clones, _) = Clones::new(&["ann", "bob"]);
    for name in ["ann", "bob"] {
        clones.write(name, "p.yaml", "plan: p\ntasks:\n- {key: a, title: A}\n- {key: b, title: B}\n");
        clones.run(name, &["plan", "apply", "p.yaml"]).data();
    }
    let doubled = |sync: &Answer| sync.stderr.contains("2 keys of a plan have several tasks");
    let synced = ["ann", "bob", "ann", "ann"].map(|name| doubled(&clones.run(name, &["sync"])));
    assert_eq!(synced, [false, true, true, false], "a sync says it that brings it about");
    let warnings = |count: usize| {
        let report = clones.run("ann", &["plan", "apply", "p.yaml"]).data();
        let warnings = report["warnings"].as_array().cloned().unwrap_or_default();
        assert_eq!(warnings.len(), count, "{report:#}");
        warnings
    };
    for warning in warnings(2) {
        let words = warning.as_str().unwrap().to_owned();
        let other = words.split("agentpm cancel ").nth(1).unwrap().split(' ').next().unwrap();
        clones.run("ann", &["cancel", other, "--why", "the same"]).data();
    }
    warnings(0);
}

#[test]
fn a_plan_that_is_applied_by_several_at_once_makes_each_task_once() {
    let room = Sandbox::new();
    let tasks: String = (0..40).map(|n| format!("  - key: k{n}\n    title: task {n}\n")).collect();
    std::fs::write(room.repo().join("plan.yml"), format!("plan: p\ntasks:\n{tasks}")).unwrap();
    let issues: String = (0..40).map(|n| format!("{{\"id\":\"b-{n}\",\"title\":\"issue {n}\"}}\n")).collect();
    std::fs::write(room.repo().join("issues.jsonl"), issues).unwrap();
    for args in [&["plan", "apply", "plan.yml"][..], &["import", "--from", "beads", "issues.jsonl"]] {
        let start = |_| room.agentpm().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let all = [0; 6].map(start).map(|one| Answer::from(one.wait_with_output().unwrap()).data());
        let made =
            |answer: &Value| answer["items"].as_array().unwrap().iter().filter(|item| item["new"] == true).count();
        assert_eq!(all.iter().map(made).sum::<usize>(), 40, "{args:?}");
    }
    assert_eq!(room.run(&["task", "list"]).data()["total"], 80);
    assert_eq!(room.finding_codes(), [""; 0]);
}

#[test]
fn a_printed_plan_takes_back_nothing_that_another_clone_brings_before_it_is_applied() {
    let (clones, _) = Clones::new(&["ann", "bob"]);
    clones.write("ann", "p.yaml", "plan: p\ntasks:\n- {key: a, title: A, priority: 1}\n");
    let made = clones.run("ann", &["plan", "apply", "p.yaml"]).data();
    let task = id(&made, "a");
    for name in ["ann", "bob"] {
        clones.run(name, &["sync"]).data();
    }
    // Ann's clone is far ahead in Lamport time when she prints the plan, and does not have Bob's change.
    for n in 0..5 {
        clones.run("ann", &["task", "create", &format!("Other {n}")]).data();
    }
    clones.run("bob", &["task", "update", &task, "--priority", "4"]).data();
    clones.run("bob", &["sync"]).data();
    clones.run("ann", &["task", "update", &task, "--title", "A, as Ann says"]).data();
    let shown = clones.run("ann", &["plan", "show", "p"]).text().to_owned();
    clones.run("ann", &["sync"]).data();
    clones.write("ann", "p.yaml", &shown.replace("A, as Ann says", "A, edited"));
    let report = clones.run("ann", &["plan", "apply", "p.yaml"]).data();
    let after = clones.run("ann", &["task", "get", &task]).data();
    assert_eq!((&after["title"], &after["priority"]), (&json!("A, edited"), &json!(4)), "{report:#}\n{shown}");
}

#[test]
fn a_plan_is_shown_as_deep_as_it_is_read() {
    let room = Sandbox::new();
    let mut above = room.task("level 1", &[]);
    for level in 2..=17 {
        above = room.task(&format!("level {level}"), &["--parent", &above, "--label", "deep"]);
    }
    let text = room.run(&["plan", "show"]).stdout;
    assert_eq!(apply(&room, &text, &["--dry-run"])["changes"], Value::Null);
    let deepest = room.task("level 18", &["--parent", &above]);
    let error = room.run(&["plan", "show"]).error("ERR_VALIDATION", 4);
    assert_eq!(
        error["message"],
        format!("task {} (level 18) is on level 18; a plan file has at most 17", &deepest[20..])
    );
    let deeper = format!("{text}{0}children:\n{0}  - title: level 18\n", " ".repeat(4 * 17));
    feed(&room, &deeper, &["--dry-run"]).error("ERR_VALIDATION", 4);
    let steps: Vec<Value> = (0..3_000)
        .map(|n| {
            let parent = if n == 0 { deepest.clone() } else { format!("$deep-{}", n - 1) };
            json!({ "op": "task.create", "as": format!("deep-{n}"), "args": { "title": format!("deep-{n}"), "parent": parent } })
        })
        .collect();
    room.feed(&["batch", "--file", "-"], json!({ "ops": steps }).to_string().as_bytes()).data();
    room.run(&["plan", "show"]).error("ERR_VALIDATION", 4);
}
