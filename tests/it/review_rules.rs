//! `review` holds a branch to the rules of its base, whatever lies in the work tree, and names each thing so that it is found.

use std::fs;

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const ROLES: &str = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [claim, comment]}\n";

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "--allow-empty", "-m", message]).text();
}

/// Commits the base, and sets out on a branch.
fn set_out(room: &Sandbox) {
    commit(room, "base");
    room.git(&["switch", "-q", "-c", "feature"]).text();
}

/// Commits the branch, goes back to the base, and reviews the branch from there: what a review fails on, and the findings.
fn reviewed(room: &Sandbox) -> (Value, Vec<Value>) {
    commit(room, "the branch");
    room.git(&["switch", "-q", "main"]).text();
    let answer = room.run(&["review", "main..feature", "--fail-on", "error", "--all"]);
    let data = answer.json()["data"].clone();
    assert_eq!(answer.code, i32::from(data["failed"] != Value::Null), "{answer:?}");
    (data["failed"].clone(), data["findings"].as_array().unwrap().clone())
}

fn codes(findings: &[Value]) -> Vec<&str> {
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

fn page(room: &Sandbox) -> String {
    room.run(&["review", "main..feature", "--format", "md"]).text().to_owned()
}

#[test]
fn a_branch_is_held_to_the_roles_of_its_base() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    set_out(&room);
    room.run_as("bob", &["note", &task, "--content", "a word"]).data();
    room.run(&["task", "update", &task, "--priority", "1"]).data();
    assert_eq!(reviewed(&room), (Value::Null, vec![]), "all that is permitted");

    room.git(&["switch", "-q", "feature"]).text();
    fs::write(room.store().join("roles.yml"), ROLES.replace("claim, ", "claim, update, ")).unwrap();
    room.run_as("bob", &["task", "update", &task, "--priority", "5"]).data();
    let (failed, found) = reviewed(&room);
    assert_eq!((failed, codes(&found)), (json!(["error"]), vec!["not-permitted"]));
    assert_eq!((found[0]["task"].as_str(), found[0]["severity"].as_str()), (Some(task.as_str()), Some("error")));
    assert!(found[0]["path"].is_string() && found[0]["line"].is_u64(), "{found:#?}");
}

#[test]
fn a_branch_is_held_to_the_signatures_of_its_base() {
    let room = Sandbox::new();
    room.run(&["agent", "register", "--new-key"]).data();
    let id = room.task("signed", &[]);
    fs::write(room.store().join("roles.yml"), format!("require_signatures: true\n{ROLES}")).unwrap();
    set_out(&room);
    room.run(&["task", "update", &id, "--priority", "2"]).data();
    assert_eq!(reviewed(&room), (Value::Null, vec![]), "ada signs");
    room.git(&["switch", "-q", "feature"]).text();
    room.run_as("bob", &["note", &id, "--content", "from bob"]).data();
    let (failed, found) = reviewed(&room);
    assert_eq!((failed, codes(&found)), (json!(["error"]), vec!["signature-missing"]));
}

#[test]
fn review_shows_a_role_taken_on_the_branch() {
    let room = Sandbox::new();
    room.run_as("bob", &["agent", "register", "--role", "worker"]).data();
    let roles =
        "agents: {ada: {perms: [admin]}}\nroles:\n  worker: {perms: [register]}\n  reviewer: {perms: [verify]}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    set_out(&room);
    room.run_as("bob", &["agent", "register", "--role", "reviewer"]).data();
    let (failed, found) = reviewed(&room);
    assert_eq!((failed, codes(&found)), (Value::Null, vec!["rules-changed"]));
    let page = page(&room);
    assert!(page.contains("1 finding\n") && page.contains(".agentpm/agents/bob/events.jsonl:2"), "{page}");
}

#[test]
fn a_log_that_was_rewritten_fails_a_review() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["note", &task, "--content", "a word"]).data();
    set_out(&room);
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    fs::write(room.log_of(&task), log.replace("a word", "a wurd")).unwrap();
    let (failed, found) = reviewed(&room);
    assert_eq!(failed, json!(["error"]));
    assert!(codes(&found).contains(&"log-rewritten"), "{found:#?}");
}

#[test]
fn a_file_that_is_no_task_yet_and_a_task_whose_files_are_gone_fail_a_review() {
    let room = Sandbox::new();
    let (gone, half) = (room.task("gone", &[]), room.task("half", &[]));
    set_out(&room);
    fs::write(room.store().join("tasks/mine.yaml"), "title: Mine\n").unwrap();
    let (failed, found) = reviewed(&room);
    assert_eq!((failed, codes(&found)), (json!(["error"]), vec!["task-new"]));
    assert_eq!(found[0]["path"], ".agentpm/tasks/mine.yaml");
    assert!(page(&room).contains(".agentpm/tasks/mine.yaml:1"), "{}", page(&room));

    room.git(&["switch", "-q", "feature"]).text();
    room.git(&["rm", "-q", "-r", room.store().join("tasks/mine.yaml").to_str().unwrap()]).text();
    fs::remove_dir_all(room.task_dir(&gone)).unwrap();
    fs::remove_file(room.log_of(&half)).unwrap();
    let (failed, found) = reviewed(&room);
    assert_eq!(failed, json!(["error"]));
    let deleted = found.iter().find(|f| f["code"] == "task-deleted").unwrap_or_else(|| panic!("{found:#?}"));
    assert_eq!(deleted["task"], json!(gone));
    assert!(deleted["path"].as_str().unwrap().ends_with(&gone), "{deleted:#}");
    assert!(found.iter().any(|f| f["code"] == "log-missing" && f["task"] == json!(half)), "{found:#?}");
}

#[test]
fn a_finding_names_its_task_where_nothing_else_of_it_changed() {
    let room = Sandbox::new();
    let task = room.task("Order the locks", &[]);
    set_out(&room);
    let yaml = fs::read_to_string(room.yaml_of(&task)).unwrap();
    fs::write(room.yaml_of(&task), yaml.replace("Order the locks", "Order the clocks")).unwrap();
    let (failed, found) = reviewed(&room);
    assert_eq!((failed, codes(&found)), (json!(["error"]), vec!["task-yaml-edited"]));
    let handle = room.get(&task)["handle"].as_str().unwrap().to_owned();
    for form in ["md", "table"] {
        let page = room.run(&["review", "main..feature", "--format", form]).text().replace('`', "");
        assert!(page.contains(&format!("{handle} Order the locks: error task-yaml-edited")), "{page}");
    }
}

#[test]
fn review_shows_the_difference_of_long_values() {
    let room = Sandbox::new();
    let long = "word ".repeat(60);
    let task = room.task("the task", &["--intent", &format!("{long}red {long}")]);
    let perms: Vec<String> = (0..30).map(|n| format!("perm{n}")).collect();
    let roles =
        |perms: &[String]| format!("agents:\n  ada: {{perms: [admin]}}\n  bob: {{perms: [{}]}}\n", perms.join(", "));
    fs::write(room.store().join("roles.yml"), roles(&perms)).unwrap();
    set_out(&room);
    room.run(&["task", "update", &task, "--intent", &format!("{long}blue {long}")]).data();
    let given = [&perms[1..], &["admin".to_owned()]].concat();
    fs::write(room.store().join("roles.yml"), roles(&given)).unwrap();
    reviewed(&room);
    for form in ["md", "table"] {
        let page = room.run(&["review", "main..feature", "--format", form]).text().replace('`', "");
        assert!(page.contains("+admin, −perm0"), "{page}");
        let line = page.lines().find(|line| line.contains("intent")).unwrap();
        assert!(line.contains("red word") && line.contains("blue word") && line.chars().count() < 250, "{line}");
    }
}

#[test]
fn a_right_that_is_gained_is_not_hidden_among_harmless_words() {
    let room = Sandbox::new();
    room.task("the task", &[]);
    let roles = |of: &str, role: &dyn Fn(usize) -> String| {
        let roles: String = (0..12).map(|n| format!("  role{n:02}: {{perms: [{}]}}\n", role(n))).collect();
        format!("agents:\n  ada: {{perms: [admin]}}\n  zoe: {{perms: [{of}]}}\nroles:\n{roles}")
    };
    fs::write(room.store().join("roles.yml"), roles("claim", &|_| "claim".into())).unwrap();
    set_out(&room);
    let harmless: String = (0..30).map(|n| format!("word{n}, ")).collect();
    let now = roles(&format!("claim, {harmless}admin"), &|n| format!("claim, other{n}"));
    fs::write(room.store().join("roles.yml"), now).unwrap();
    reviewed(&room);
    let page = page(&room);
    assert!(page.contains("+`admin`") && page.contains("more keys"), "{page}");
}

#[test]
fn review_draws_edges_between_existing_tasks() {
    let room = Sandbox::new();
    let ids: Vec<String> = (0..5).map(|n| room.task(&format!("Old {n}"), &[])).collect();
    room.run(&["task", "block", &ids[4], "--by", &ids[0]]).data();
    set_out(&room);
    for n in 1..4 {
        room.run(&["task", "block", &ids[n], "--by", &ids[0]]).data();
    }
    room.run(&["task", "unblock", &ids[4], "--by", &ids[0]]).data();
    reviewed(&room);
    let page = page(&room);
    assert!(page.contains("### Dependencies (4)\n```mermaid"), "{page}");
    assert_eq!(page.matches(" Old 0\"]").count(), 1, "{page}");
    assert_eq!(page.matches("-- blocks -->").count(), 3, "{page}");
    assert_eq!(page.matches("blocks no more").count(), 1, "{page}");
}

#[test]
fn review_uses_the_singular_for_one() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["note", &task, "--content", "a word"]).data();
    room.run_as("bob", &["claim", &task]).data();
    set_out(&room);
    room.run(&["task", "update", &task, "--priority", "4", "--override", "bob is on holiday"]).data();
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    reviewed(&room);
    assert!(page(&room).contains(", 1 override\n"), "{}", page(&room));
    room.git(&["switch", "-q", "feature"]).text();
    let lines: Vec<&str> = log.lines().filter(|line| !line.contains("a word")).collect();
    assert_eq!(lines.len() + 1, log.lines().count(), "{log}");
    fs::write(room.log_of(&task), lines.join("\n") + "\n").unwrap();
    reviewed(&room);
    assert!(page(&room).contains("1 of its events is missing"), "{}", page(&room));
}

/// The findings of `review` about a branch, and of `lint --base` in a clone that has it checked out.
fn told_of(room: &Sandbox) -> (Vec<String>, Vec<String>) {
    let (_, found) = reviewed(room);
    room.git(&["switch", "-q", "feature"]).text();
    let answer = room.run(&["lint", "--base", "main"]);
    let lint = answer.json()["data"]["findings"].as_array().unwrap_or_else(|| panic!("{answer:?}")).clone();
    let said = |found: &[Value]| {
        let errors = found.iter().filter(|f| f["severity"] == "error");
        errors.map(|f| f["message"].as_str().unwrap().to_owned()).collect()
    };
    (said(&found), said(&lint))
}

/// Takes back what the newest commits did to the plan, with git alone.
fn take_back(room: &Sandbox, to: &str, message: &str) {
    room.git(&["rm", "-rqf", ".agentpm"]).text();
    room.git(&["checkout", "-q", to, "--", ".agentpm"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

#[test]
fn review_judges_reverted_commits_of_the_branch() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["claim", &task]).data();
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    set_out(&room);
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("bob", &["task", "update", &task, "--priority", "5", "--override", "mine"]).data();
    let made = room.run_as("bob", &["task", "create", "--title", "out of nowhere", "--quiet"]).text().to_owned();
    commit(&room, "what bob may not");
    take_back(&room, "main", "as if nothing had been");
    let (review, mut lint) = told_of(&room);
    lint.retain(|message| !message.contains("were removed by commit"));
    for said in [review, lint] {
        for words in ["may not override", "may not update", "may not create"] {
            let one = said.iter().filter(|message| message.contains(words)).count();
            assert_eq!(one, 1, "{words}: {said:#?}");
        }
        assert!(said.iter().all(|message| message.contains("comes back")), "{said:#?}");
    }
    // What is said comes true.
    room.git(&["switch", "-q", "main"]).text();
    room.git(&["merge", "-q", "--no-edit", "--no-ff", "feature"]).text();
    room.run(&["resolve"]).data();
    assert_eq!(room.get(&task)["priority"], 5);
    assert_eq!(room.get(made.trim())["title"], "out of nowhere");
}

#[test]
fn review_judges_events_dropped_by_a_merge() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    set_out(&room);
    room.git(&["switch", "-q", "-c", "aside"]).text();
    fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.run_as("bob", &["task", "update", &task, "--priority", "5"]).data();
    commit(&room, "what bob may not");
    room.git(&["switch", "-q", "feature"]).text();
    room.git(&["merge", "-q", "--no-edit", "--no-ff", "-s", "ours", "aside"]).text();
    let (review, lint) = told_of(&room);
    for said in [review, lint] {
        assert!(said.len() == 1 && said[0].contains("may not update"), "{said:#?}");
    }
}

#[test]
fn a_revert_of_what_was_permitted_and_signed_is_no_fault() {
    let room = Sandbox::new();
    room.run(&["agent", "register", "--new-key"]).data();
    let task = room.task("the task", &[]);
    fs::write(room.store().join("roles.yml"), format!("require_signatures: true\n{ROLES}")).unwrap();
    set_out(&room);
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    room.run(&["task", "create", "--title", "another"]).data();
    commit(&room, "a change");
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    assert_eq!(told_of(&room), (vec![], vec![]));

    room.run_as("bob", &["note", &task, "--content", "not signed"]).data();
    commit(&room, "a word");
    room.git(&["revert", "--no-edit", "HEAD"]).text();
    let (review, lint) = told_of(&room);
    for said in [review, lint] {
        assert!(said.len() == 1 && said[0].contains("\"bob\" did not sign it; commit "), "{said:#?}");
    }
}

#[test]
fn review_shows_a_bypassed_lease() {
    let room = Sandbox::new();
    let task = room.task("the task", &[]);
    room.run(&["claim", &task]).data();
    set_out(&room);
    let log = fs::read_to_string(room.log_of(&task)).unwrap();
    let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    let event = json!({
        "v": 1, "id": "01ZZZZZZZZ0000000000000001", "lamport": last["lamport"].as_u64().unwrap() + 1,
        "type": "TaskUpdated", "entity": format!("task/{task}"), "parents": [last["id"]], "agent": "bob",
        "at": "2026-11-20T10:05:00Z", "fence": 1, "payload": {"set": {"owner": "bob"}},
    });
    fs::write(room.log_of(&task), format!("{log}{event}\n")).unwrap();
    commit(&room, "bob takes it over");
    room.git(&["switch", "-q", "main"]).text();
    let answer = room.run(&["review", "main..feature", "--fail-on", "override"]);
    let data = &answer.json()["data"];
    assert_eq!((answer.code, &data["summary"]["overrides"]), (1, &json!(1)), "{data:#}");
    assert!(page(&room).contains("overrode the lease of `ada` by `bob`"), "{}", page(&room));
}

#[test]
fn a_branch_that_has_something_else_in_the_place_of_the_plan_gets_its_review() {
    for kind in ["120000", "160000", "nothing"] {
        let room = Sandbox::new();
        room.task("the task", &[]);
        set_out(&room);
        commit(&room, "a plan");
        let head = room.git(&["rev-parse", "HEAD"]).text().trim().to_owned();
        fs::write(room.repo().join("target"), "elsewhere").unwrap();
        let link = room.git(&["hash-object", "-w", "target"]).text().trim().to_owned();
        fs::remove_file(room.repo().join("target")).unwrap();
        room.git(&["rm", "-rqf", ".agentpm"]).text();
        let _ = fs::remove_dir_all(room.store());
        if kind != "nothing" {
            let object = if kind == "120000" { &link } else { &head };
            room.git(&["update-index", "--add", "--cacheinfo", &format!("{kind},{object},.agentpm")]).text();
        }
        room.git(&["commit", "-q", "--no-verify", "-m", "no plan"]).text();
        room.git(&["checkout", "-q", "-f", "feature"]).text();
        let review = |room: &Sandbox| {
            let answer = room.run(&["review", "main..feature", "--fail-on", "error"]);
            let data = answer.json()["data"].clone();
            assert_eq!((answer.code, &data["failed"]), (1, &json!(["error"])), "{kind}: {answer:?}");
            assert!(data["findings"].to_string().contains("the plan is dropped: "), "{kind}: {data:#}");
            let page = room.run(&["review", "main..feature", "--format", "md", "--fail-on", "error"]);
            assert!(page.code == 1 && page.stdout.contains("the plan is dropped"), "{kind}: {page:?}");
        };
        review(&room);
        room.git(&["checkout", "-q", "-f", "main"]).text();
        review(&room);
    }
}
