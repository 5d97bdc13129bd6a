//! Where `[review] required` is set, a completed task holds those that wait for it until another agent accepts it.

use std::fs;

use serde_json::{Value, json};

use crate::lost::Twins;
use crate::sandbox::Sandbox;
use crate::sync::Clones;

fn configure(room: &Sandbox, more: &str) {
    let path = room.store().join("config.toml");
    let before = fs::read_to_string(&path).unwrap();
    fs::write(path, format!("{before}\n[review]\nrequired = true\n{more}\n")).unwrap();
}

/// A room where `ada` completed the first of two tasks, and the second waits for it.
fn completed(more: &str) -> (Sandbox, String, String) {
    let room = Sandbox::new();
    configure(&room, more);
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first]);
    room.run(&["claim", &first]).data();
    let receipt = room.run_short(&["done", &first, "--outcome", "it holds"]).data();
    assert_eq!((&receipt["awaits_review"], receipt.get("ready")), (&json!(true), None), "{receipt}");
    (room, first, second)
}

fn commit(room: &Sandbox, message: &str) {
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", message]).text();
}

#[test]
fn dependents_wait_until_another_agent_accepts() {
    let (room, first, second) = completed("");
    assert_eq!(room.get(&second)["status"], "blocked");
    assert_eq!(room.get(&first)["awaits_review"], true);
    let ready = room.run(&["ready", "--explain"]).data();
    assert_eq!((&ready["total"], &ready["not_ready"]["counts"]), (&json!(0), &json!({ "blocked_by_review": 1 })));
    assert_eq!(
        ready["explained"]["items"][0]["reasons"][0],
        json!({ "reason": "awaiting_review", "by": [first], "total": 1 })
    );
    let error = room.run(&["claim", &second]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("waits for the review of "), "{error}");
    assert!(room.run(&["next", "--claim"]).data().is_null(), "ada may not review her own work");
    assert!(room.run(&["brief", &second]).stdout.contains("completed, awaits review"));
    assert!(room.run(&["brief", &first]).stdout.contains("it awaits review by another agent than ada"));
    assert_eq!(room.run(&["ls", "--query", "is:unreviewed"]).data()["items"][0]["id"], json!(first));
    room.is_clean();
    let receipt = room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    assert_eq!((&receipt["verified"]["by"], receipt.get("awaits_review")), (&json!("bob"), None));
    assert_eq!(room.get(&second)["status"], "open");
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], json!(second));
    assert_eq!(room.run(&["ls", "--query", "is:unreviewed"]).data()["total"], json!(0));
    room.is_clean();
}

#[test]
fn the_first_judgement_decides() {
    let (room, first, _) = completed("");
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    let error =
        room.run_as("eve", &["task", "verify", &first, "--reject", "--why", "no"]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("first judgement decides"), "{error}");
    assert_eq!(room.get(&first)["status"], "completed");
}

/// The id of the last event of a type in the log of a task.
fn last_of(room: &Sandbox, task: &str, kind: &str) -> String {
    let log = fs::read_to_string(room.log_of(task)).unwrap();
    let events = log.lines().rev().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut of_kind = events.filter(|event| event["type"] == kind);
    of_kind.next().unwrap_or_else(|| panic!("no {kind}: {log}"))["id"].as_str().unwrap().to_owned()
}

#[test]
fn an_acceptance_stands_until_the_task_is_reopened() {
    for setting in ["required = true", "required = false"] {
        let room = Sandbox::new();
        let config = room.store().join("config.toml");
        let before = fs::read_to_string(&config).unwrap();
        fs::write(config, format!("{before}\n[review]\n{setting}\n")).unwrap();
        let first = room.task("lay the ground", &["--acceptance", "it holds"]);
        let second = room.task("build on it", &["--blocked-by", &first]);
        let finish = |task: &str| {
            room.run(&["claim", task]).data();
            room.run(&["done", task, "--all-met"]).data();
        };
        finish(&first);
        // An earlier rejection, to which an undo could lead back.
        room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "not yet"]).data();
        finish(&first);
        room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
        finish(&second);
        let log = || fs::read_to_string(room.log_of(&first)).unwrap();
        let accepted = log();
        let refused = |agent: &str, args: &[&str]| {
            let error = room.run_as(agent, args).error("ERR_INVALID_STATE", 4);
            assert!(error["hint"].as_str().unwrap().contains("agentpm task reopen "), "{args:?}: {error}");
        };
        refused("eve", &["task", "verify", &first, "--fail"]);
        refused("bob", &["task", "verify", &first, "--fail"]);
        refused("eve", &["task", "verify", &first, "--reject", "--why", "no"]);
        refused("eve", &["task", "verify", &first, "--criterion", "1", "--unmet"]);
        refused("bob", &["undo", &last_of(&room, &first, "TaskVerified")]);
        refused("ada", &["undo", &last_of(&room, &first, "TaskStatusChanged")]);
        refused("ada", &["undo", &last_of(&room, &first, "AcceptanceMet")]);
        refused("ada", &["task", "update", &first, "--add-acceptance", "it is small"]);
        let page = fs::read_to_string(room.yaml_of(&first)).unwrap();
        fs::write(room.yaml_of(&first), page.replace("passed: true", "passed: false")).unwrap();
        assert_eq!(room.run_as("eve", &["lint", "--fix"]).code, 1, "nor does a hand edit");
        fs::write(room.yaml_of(&first), page).unwrap();
        // To judge it as it was judged needs no event, by whichever agent.
        room.run_as("eve", &["task", "verify", &first, "--accept"]).data();
        room.run_as("eve", &["task", "verify", &first]).data();
        assert_eq!(log(), accepted);
        room.run(&["task", "archive", &first]).data();
        refused("eve", &["task", "verify", &first, "--fail"]);
        room.run(&["undo", &last_of(&room, &first, "TaskArchived")]).data();
        assert_eq!(
            room.run(&["ls", "--all", "--query", "is:unreviewed"]).data()["items"],
            json!(unreviewed(&room, &second))
        );
        room.run(&["task", "reopen", &first, "--reason", "it does not hold after all"]).data();
        assert_eq!(room.get(&first)["status"], "open");
        room.is_clean();
    }
}

/// The items of a list of one task.
fn unreviewed(room: &Sandbox, task: &str) -> Vec<Value> {
    let all = room.run(&["ls", "--all", "--query", "is:unreviewed"]).data()["items"].as_array().unwrap().clone();
    all.into_iter().filter(|item| item["id"] == task).collect()
}

#[test]
fn an_undo_of_a_request_leaves_an_acceptance_and_what_was_accepted() {
    let (room, first, second) = completed("");
    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "not yet"]).data();
    let ops = json!({"ops": [{"op": "claim", "args": {"id": first}}, {"op": "done", "args": {"id": first}}]});
    let done = room.feed(&["batch", "--file", "-", "--correlation-id", "work"], ops.to_string().as_bytes()).data();
    assert_eq!(done["correlation_id"], "work", "{done}");
    room.run_as("bob", &["task", "verify", &first, "--accept", "--correlation-id", "review"]).data();
    room.run(&["claim", &second]).data();
    for request in ["work", "review"] {
        let error = room.run_short(&["undo", "--correlation-id", request]).error("ERR_CONFLICT", 5);
        assert!(
            error.to_string().contains("accepted task") || error.to_string().contains("waited for it"),
            "{error:#}"
        );
    }
    assert_eq!(room.get(&first)["awaits_review"], Value::Null);
}

#[test]
fn an_acceptance_names_the_tasks_that_became_ready() {
    let (room, first, second) = completed("");
    let mut bob = room.agentpm();
    let answer = bob.env("AGENTPM_AGENT", "bob").args(["task", "verify", &first, "--accept"]).output().unwrap();
    let receipt: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(receipt["data"]["ready"][0]["id"], json!(second), "{receipt}");
}

#[test]
fn a_rejection_opens_the_task_again_for_its_owner() {
    let (room, first, second) = completed("");
    let usage = room.run_as("bob", &["task", "verify", &first, "--reject"]).error("ERR_USAGE", 2);
    assert!(usage["message"].as_str().unwrap().contains("--why"), "{usage}");
    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "it does not hold"]).data();
    let view = room.get(&first);
    assert_eq!((&view["status"], &view["owner"]), (&json!("open"), &json!("ada")));
    let log = room.run(&["log", &first]).stdout;
    assert!(log.contains("TaskReopened") && log.contains("it does not hold"), "{log}");
    assert_eq!(room.get(&second)["status"], "blocked");
    assert_eq!(room.run(&["next", "--claim"]).data()["task"]["id"], json!(first));
    room.run(&["done", &first]).data();
    assert_eq!(room.get(&second)["status"], "blocked", "the new completion is reviewed anew");
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    assert_eq!(room.get(&second)["status"], "open");
    room.is_clean();
}

#[test]
fn no_agent_reviews_its_own_work() {
    let (room, first, second) = completed("");
    for verdict in [&["--accept"][..], &["--reject", "--why", "no"], &["--fail"], &[]] {
        let error = room.run(&[&["task", "verify", &first], verdict].concat()).error("ERR_UNAUTHORIZED", 6);
        assert!(error["message"].as_str().unwrap().starts_with("ada completed task"), "{verdict:?}: {error}");
    }
    let yaml = room.yaml_of(&first);
    let text = fs::read_to_string(&yaml).unwrap();
    fs::write(&yaml, text.replace("status: completed\n", "status: completed\nverified:\n  passed: true\n")).unwrap();
    assert_eq!(room.run(&["lint", "--fix"]).code, 1, "a hand edit accepts no own work either");
    assert_eq!(room.get(&second)["status"], "blocked");
}

#[test]
fn who_repeats_a_completion_has_not_completed_the_task() {
    let (room, first, second) = completed("");
    let log = fs::read_to_string(room.log_of(&first)).unwrap();
    let entries: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (last, completion) =
        (entries.last().unwrap(), entries.iter().rfind(|e| e["payload"]["to"] == "completed").unwrap());
    let event = |id: &str, lamport: u64, parent: &Value, kind: &str, agent: &str, payload: Value| {
        json!({"v": 1, "id": id, "lamport": last["lamport"].as_u64().unwrap() + lamport, "type": kind,
            "entity": last["entity"], "parents": [parent], "agent": agent, "at": "2026-11-20T10:00:00Z", "payload": payload})
    };
    let repeats = "01M7W6C380REPEATS000000001";
    // carl repeats the status, so that ada could judge a completion by carl.
    let again =
        event(repeats, 1, &last["id"], "TaskStatusChanged", "carl", json!({"from": "completed", "to": "completed"}));
    let own = event(
        "01M7W6C380REPEATS000000002",
        2,
        &json!(repeats),
        "TaskVerified",
        "ada",
        json!({"passed": true, "completion": repeats}),
    );
    fs::write(room.log_of(&first), format!("{log}{again}\n{own}\n")).unwrap();
    assert_eq!(room.get(&second)["status"], "blocked");
    // The review of the completion itself stands beside the repetition.
    let accepted = event(
        "01M7W6C380REPEATS000000003",
        2,
        &json!(repeats),
        "TaskVerified",
        "bob",
        json!({"passed": true, "completion": completion["id"]}),
    );
    fs::write(room.log_of(&first), format!("{log}{again}\n{accepted}\n")).unwrap();
    assert_eq!(room.get(&second)["ready"], true, "{}", room.get(&second));
}

#[test]
fn only_a_completed_task_is_judged() {
    let room = Sandbox::new();
    configure(&room, "");
    let task = room.task("open", &[]);
    let error = room.run_as("bob", &["task", "verify", &task, "--accept"]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("is open, not completed"), "{error}");
    room.run(&["task", "verify", &task]).data();
}

#[test]
fn a_reviewer_is_handed_reviews_first() {
    let (room, first, _) = completed("");
    let other = room.task("unrelated", &["--priority", "5"]);
    for args in [&["next"][..], &["next", "--claim"]] {
        let next = room.run_as("bob", args).data();
        assert_eq!(next["task"]["id"], json!(first), "{args:?}");
        let handle = &first[20..];
        assert_eq!(next["review"]["accept"], json!(format!("agentpm task verify {handle} --accept")));
        assert_eq!((&next["review"]["completed_by"], &next["lease"]), (&json!("ada"), &Value::Null));
    }
    assert_eq!(room.run_as("bob", &["next", "--no-reviews", "--claim"]).data()["task"]["id"], json!(other));
    assert!(room.run_as("bob", &["next"]).data().get("review").is_none(), "an agent finishes what it holds first");
    let status = room.run_as("eve", &["status"]).data();
    assert_eq!((&status["reviews"][0]["title"], &status["awaiting_review"]), (&json!("lay the ground"), &json!(1)));
    assert!(room.run(&["prime"]).stdout.contains("agentpm next --no-reviews"));
    let mine = room.run(&["status"]).data();
    assert_eq!((mine.get("reviews"), &mine["awaiting_review"]), (None, &json!(1)));
}

#[test]
fn the_settings_say_who_may_review() {
    let (room, first, _) = completed("need_perm = \"release\"\nneed_precedence = 20\n");
    let roles = "agents:\n  ada: {perms: [admin], precedence: 50}\n  bob: {perms: [verify, claim], precedence: 50}\n  eve: {perms: \
                 [verify, release], precedence: 10}\n  kim: {perms: [verify, release], precedence: 20}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    for (agent, lacks) in [("bob", "the right release"), ("eve", "precedence 20")] {
        let error = room.run_as(agent, &["task", "verify", &first, "--accept"]).error("ERR_UNAUTHORIZED", 6);
        assert!(error["message"].as_str().unwrap().contains(lacks), "{error}");
        assert!(room.run_as(agent, &["next"]).data().is_null(), "{agent} is offered no review");
    }
    assert_eq!(room.run_as("kim", &["next"]).data()["task"]["id"], json!(first));
    // A rejection needs no other right than that to verify.
    room.run_as("kim", &["task", "verify", &first, "--reject", "--why", "no"]).data();
    assert_eq!(room.get(&first)["status"], "open");
}

#[test]
fn a_task_that_awaits_review_is_not_archived() {
    let (room, first, _) = completed("");
    let error = room.run(&["task", "archive", &first]).error("ERR_INVALID_STATE", 4);
    assert!(error["hint"].as_str().unwrap().contains("--accept"), "{error}");
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    room.run(&["task", "archive", &first]).data();
}

#[test]
fn a_cancelled_blocker_needs_no_review() {
    let room = Sandbox::new();
    configure(&room, "");
    let first = room.task("not wanted", &[]);
    let second = room.task("go on", &["--blocked-by", &first]);
    room.run(&["cancel", &first]).data();
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(second));
}

#[test]
fn without_the_setting_a_completion_suffices() {
    let room = Sandbox::new();
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first]);
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    assert_eq!(room.run_as("bob", &["next"]).data()["task"]["id"], json!(second));
    room.run(&["task", "verify", &first]).data();
    assert_eq!(room.get(&first)["verified"]["passed"], true);
}

/// Three clones that have seen ada complete a task which awaits review, and a second task that waits for it.
fn completed_before_three_clones() -> (Clones, String, String) {
    let names = ["ada", "bob", "eve"];
    let (clones, first) = Clones::new(&names);
    let config = clones.dir("ada").join(".agentpm/config.toml");
    let before = fs::read_to_string(&config).unwrap();
    fs::write(config, format!("{before}\n[review]\nrequired = true\n")).unwrap();
    for name in names {
        clones.run(name, &["sync"]).data();
    }
    let added = clones.run("ada", &["add", "build on it", "--blocked-by", &first]).data();
    clones.run("ada", &["claim", &first]).data();
    clones.run("ada", &["done", &first, "--all-met"]).data();
    for name in names {
        clones.run(name, &["sync"]).data();
    }
    (clones, first, added["id"].as_str().unwrap().to_owned())
}

/// An acceptance in one clone and a rejection in another, merged in either order.
#[test]
fn an_acceptance_and_a_rejection_meet() {
    for order in [["bob", "eve"], ["eve", "bob"]] {
        let (clones, first, second) = completed_before_three_clones();
        let run = |name: &str, args: &[&str]| clones.run(name, args).data();
        run("bob", &["task", "verify", &first, "--accept"]);
        run("eve", &["task", "verify", &first, "--reject", "--why", "no"]);
        for name in order {
            run(name, &["sync"]);
        }
        for name in ["ada", "bob", "eve"] {
            run(name, &["sync"]);
            let view = run(name, &["task", "get", &first]);
            assert_eq!(view["status"], "open", "{name}: a reopening that saw the end begins anew: {view}");
            assert_eq!(run(name, &["task", "get", &second])["ready"], false, "{name}");
        }
    }
}

#[test]
fn what_began_on_an_acceptance_that_lost_to_a_rejection_is_named() {
    let (clones, first, second) = completed_before_three_clones();
    let run = |name: &str, args: &[&str]| clones.run(name, args).data();
    run("bob", &["inbox"]);
    run("eve", &["task", "verify", &first, "--reject", "--why", "no"]);
    run("bob", &["task", "verify", &first, "--accept"]);
    run("bob", &["claim", &second]);
    for name in ["bob", "eve", "bob"] {
        run(name, &["sync"]);
    }
    for name in ["bob", "eve"] {
        let findings = run(name, &["lint"])["findings"].clone();
        assert_eq!(findings[0]["code"], "built-on-rejected", "{name}: {findings}");
        assert_eq!(findings[0]["task"], json!(second), "{name}: {findings}");
    }
    let heard = run("bob", &["inbox"]).to_string();
    assert!(heard.contains("eve rejected what you accepted: no"), "{heard}");
    run("ada", &["sync"]);
    run("ada", &["claim", &first]);
    run("ada", &["done", &first]);
    assert_eq!(run("ada", &["lint"])["findings"], json!([]));
}

/// An acceptance with work on top of it in one clone, and a rejection in another. Which of them has the greater Lamport time decides
/// nothing.
#[test]
fn lint_says_the_same_of_two_judgements_in_either_order() {
    for ends in [&["claim"][..], &["claim", "done"]] {
        for ahead in ["bob", "eve"] {
            let (clones, first, second) = completed_before_three_clones();
            let run = |name: &str, args: &[&str]| clones.run(name, args).data();
            for _ in 0..9 {
                run(ahead, &["note", &second, "--content", "my clock runs ahead"]);
            }
            run("bob", &["task", "verify", &first, "--accept"]);
            for end in ends {
                run("bob", &[*end, second.as_str()]);
            }
            run("eve", &["task", "verify", &first, "--reject", "--why", "no"]);
            for name in ["bob", "eve", "bob"] {
                run(name, &["sync"]);
            }
            for name in ["bob", "eve"] {
                let findings = clones.run(name, &["lint"]).json()["data"]["findings"].clone();
                let said: Vec<(&Value, &Value)> =
                    findings.as_array().unwrap().iter().map(|f| (&f["code"], &f["severity"])).collect();
                assert_eq!(said, [(&json!("built-on-rejected"), &json!("warning"))], "{ahead} {name} {findings:#}");
            }
        }
    }
}

/// A task that is opened again in one clone, next to the completion of one that waits for it in another.
#[test]
fn a_reopened_blocker_counts_against_no_completion_in_either_order() {
    for ahead in ["bob", "eve"] {
        let (clones, first, second) = completed_before_three_clones();
        let run = |name: &str, args: &[&str]| clones.run(name, args).data();
        run("bob", &["task", "verify", &first, "--accept"]);
        for name in ["bob", "eve"] {
            run(name, &["sync"]);
        }
        for _ in 0..9 {
            run(ahead, &["note", &second, "--content", "my clock runs ahead"]);
        }
        run("bob", &["claim", &second]);
        run("bob", &["done", &second]);
        run("eve", &["task", "reopen", &first, "--reason", "a part is missing"]);
        for name in ["bob", "eve", "bob"] {
            run(name, &["sync"]);
        }
        assert_eq!(clones.run("bob", &["lint"]).json()["data"]["findings"], json!([]), "{ahead}");
    }
}

/// A parent with one child, which `ada` completed.
fn completed_child() -> (Sandbox, String, String) {
    let room = Sandbox::new();
    configure(&room, "");
    let parent = room.task("the whole", &[]);
    let child = room.task("a part", &["--parent", &parent]);
    room.run(&["claim", &child]).data();
    let receipt = room.run_short(&["done", &child]).data();
    assert_eq!(receipt.get("ready"), None, "{receipt}");
    (room, parent, child)
}

#[test]
fn a_child_that_awaits_review_is_unfinished_for_its_parent() {
    let (room, parent, child) = completed_child();
    let ready = room.run(&["ready", "--explain"]).data();
    assert_eq!(
        (&ready["total"], &ready["not_ready"]["counts"]),
        (&json!(0), &json!({ "planning_units": 1 })),
        "{ready}"
    );
    assert_eq!(room.get(&parent)["child_progress"], json!({ "done": 0, "total": 1 }));
    assert_eq!(room.run(&["ls"]).data()["items"][0]["child_progress"], json!({ "done": 0, "total": 1 }));
    assert!(room.run(&["brief", &parent]).stdout.contains("(completed, awaits review)"));
    let refused = room.run(&["claim", &parent]).error("ERR_INVALID_STATE", 4);
    assert!(
        refused["message"].as_str().unwrap().contains("a planning unit with 1 part that awaits review"),
        "{refused}"
    );
    assert!(refused["hint"].as_str().unwrap().contains("another agent judges them first"), "{refused}");
    let graph = room.run(&["graph", "--format", "tree"]);
    let line = format!("[x] {} a part  (completed, awaits review)", &child[20..]);
    assert!(graph.text().contains(&line), "{graph:?}");
    room.run(&["task", "transition", &parent, "--status", "in_progress", "--force", "I look at it"]).data();
    let error = room.run(&["done", &parent]).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("1 child that awaits review"), "{error}");
    let hint = error["hint"].as_str().unwrap();
    let judges = format!("an agent other than ada accepts {0} first: agentpm task verify {0} --accept", &child[20..]);
    assert!(hint.starts_with(&judges) && !hint.contains("--force") && !hint.contains("--all-met"), "{hint}");
    room.run_as("bob", &["task", "verify", &child, "--accept"]).data();
    room.run(&["done", &parent]).data();
    room.run_as("bob", &["task", "verify", &parent, "--accept"]).data();
    room.is_clean();
}

#[test]
fn a_parent_is_not_accepted_while_a_child_awaits_review() {
    let (room, parent, child) = completed_child();
    let config = room.store().join("config.toml");
    let with = fs::read_to_string(&config).unwrap();
    fs::write(&config, "format = 1\n").unwrap();
    room.run(&["claim", &parent]).data();
    room.run(&["done", &parent]).data();
    fs::write(&config, with).unwrap();
    let error = room.run_as("bob", &["task", "verify", &parent, "--accept"]).error("ERR_INVALID_STATE", 4);
    assert_eq!(error["details"]["children"], json!([child]), "{error}");
    room.run_as("bob", &["task", "verify", &child, "--reject", "--why", "no"]).data();
    let findings = room.findings();
    assert_eq!((findings.len(), &findings[0]["code"]), (1, &json!("built-on-rejected")), "{findings:?}");
    assert!(findings[0]["message"].as_str().unwrap().contains("its child"), "{findings:?}");
}

#[test]
fn a_rejection_stands_on_top_of_the_brief_and_done_warns_where_nothing_was_recorded() {
    let room = Sandbox::new();
    configure(&room, "");
    let first = room.task("lay the ground", &["--acceptance", "it holds"]);
    room.run(&["claim", &first]).data();
    room.run(&["done", &first, "--all-met"]).data();
    let rejected = room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "it does not hold"]);
    assert!(rejected.stderr.contains("the criterion is marked as met"), "{rejected:?}");
    room.run(&["note", &first, "--content", &"long ".repeat(3_000)]).data();
    let page = room.run(&["brief", &first]).data()["text"].as_str().unwrap().to_owned();
    let second_line = page.lines().filter(|line| !line.is_empty()).nth(2).unwrap();
    assert_eq!(second_line, "**sent back by bob**: it does not hold (the criterion is marked as met)", "{page}");
    room.run(&["claim", &first]).data();
    let quick = room.run(&["done", &first]);
    assert!(!quick.stderr.contains("sent this task back"), "ada noted something: {quick:?}");

    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "still not"]).data();
    room.run(&["claim", &first]).data();
    let quick = room.run(&["done", &first]);
    assert!(quick.stderr.contains("bob sent this task back (still not), and nothing was recorded on it since"));
    assert!(!room.run(&["brief", &first]).stdout.contains("sent back by"), "it is completed anew");
}

/// The findings of the gate on a branch.
fn refused(room: &Sandbox) -> Vec<String> {
    room.git(&["add", "-A"]).text();
    let answer = room.run(&["lint", "--base", "base"]);
    let findings = answer.json()["data"]["findings"].as_array().unwrap().clone();
    let refused = findings.into_iter().filter(|f| f["code"] == "not-permitted");
    refused.map(|f| f["message"].as_str().unwrap().to_owned()).collect()
}

/// A base where the first task is in progress, and a copy of the settings that a branch could not change.
fn begun() -> (Sandbox, String, String) {
    let room = Sandbox::new();
    configure(&room, "need_precedence = 5");
    let roles = "agents:\n  ada: {perms: [admin], precedence: 50}\n  bob: {perms: [verify, claim, complete], precedence: 5}\n  eve: \
                 {perms: [verify], precedence: 1}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first]);
    room.run(&["claim", &first]).data();
    commit(&room, "base");
    room.git(&["tag", "base"]).text();
    (room, first, second)
}

#[test]
fn the_gate_accepts_a_reviewed_branch() {
    let (room, first, second) = begun();
    room.run(&["done", &first]).data();
    assert_eq!(refused(&room), [""; 0], "a completion that awaits review");
    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "no"]).data();
    room.run(&["claim", &first]).data();
    room.run(&["done", &first]).data();
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    room.run(&["claim", &second]).data();
    room.run(&["done", &second]).data();
    assert_eq!(refused(&room), [""; 0]);
}

#[test]
fn the_gate_finds_what_evades_the_review() {
    let (room, first, second) = begun();
    let config = room.store().join("config.toml");
    let with = fs::read_to_string(&config).unwrap();
    // The branch turns the setting off, goes on, and hides that.
    fs::write(&config, "format = 1\n").unwrap();
    room.run(&["done", &first]).data();
    room.run(&["claim", &second]).data();
    fs::write(&config, &with).unwrap();
    let found = refused(&room);
    assert!(found.len() == 1 && found[0].contains("although its blocker") && found[0].contains(&first), "{found:?}");

    let (room, first, _) = begun();
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    room.run(&["done", &first]).data();
    room.run(&["task", "verify", &first]).data();
    room.run(&["task", "archive", &first]).data();
    fs::write(room.store().join("config.toml"), &with).unwrap();
    let found = refused(&room);
    assert!(found.len() == 1 && found[0].contains("reviews its own work"), "{found:?}");
    assert!(found[0].contains("1 more"), "the archive is another: {found:?}");

    let (room, first, _) = begun();
    room.run(&["done", &first]).data();
    fs::write(room.store().join("config.toml"), "format = 1\n").unwrap();
    room.run_as("eve", &["task", "verify", &first, "--accept"]).data();
    fs::write(room.store().join("config.toml"), &with).unwrap();
    let found = refused(&room);
    assert!(found.len() == 1 && found[0].contains("needs precedence 5"), "{found:?}");
}

/// Adds events to the log of a task as no command would write them.
fn forge(room: &Sandbox, task: &str, agent: &str, events: &[(&str, Value)]) {
    for (n, (kind, payload)) in events.iter().enumerate() {
        let log = fs::read_to_string(room.log_of(task)).unwrap();
        let last: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        let event = json!({"v": 1, "id": format!("01ZZZZZZZZ000000000000000{n}"), "lamport": last["lamport"].as_u64().unwrap() + 1,
            "type": kind, "entity": last["entity"], "parents": [last["id"]], "agent": agent,
            "at": "2026-11-20T10:05:00Z", "payload": payload});
        fs::write(room.log_of(task), format!("{log}{event}\n")).unwrap();
    }
    let _ = room.run(&["resolve"]);
}

#[test]
fn the_gate_lets_no_event_end_an_acceptance() {
    let judged =
        |passed: bool, completion: &Value| ("TaskVerified", json!({"passed": passed, "completion": completion}));
    let reopened = || ("TaskReopened", json!({"from": "completed", "to": "open"}));
    for (with_roles, required) in [(true, true), (true, false), (false, true), (false, false)] {
        for n in 0..4 {
            let room = Sandbox::new();
            if required {
                configure(&room, "");
            }
            if with_roles {
                let roles = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [verify]}\n";
                fs::write(room.store().join("roles.yml"), roles).unwrap();
            }
            let first = room.task("lay the ground", &[]);
            room.run(&["claim", &first]).data();
            room.run(&["done", &first]).data();
            room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
            let verified = last_of(&room, &first, "TaskVerified");
            let log = fs::read_to_string(room.log_of(&first)).unwrap();
            let accepted = log.lines().find(|line| line.contains(&verified)).unwrap();
            let completion = serde_json::from_str::<Value>(accepted).unwrap()["payload"]["completion"].clone();
            commit(&room, "base");
            room.git(&["tag", "base"]).text();
            let forged = match n {
                0 => vec![judged(false, &completion), reopened()],
                1 => vec![judged(false, &Value::Null)],
                2 => vec![judged(true, &json!("01ZZZZZZZZ0000000000000099"))],
                _ => vec![judged(true, &completion)],
            };
            forge(&room, &first, "bob", &forged);
            let found = refused(&room);
            let is_named = found.iter().any(|message| message.contains("which \"bob\" had accepted"));
            assert_eq!(is_named, n < 3, "{n} {with_roles} {required}: {found:?}");
            let may_not = found.iter().any(|message| message.contains("\"bob\" may not update"));
            assert_eq!(may_not, n == 0 && with_roles, "{n} {with_roles} {required}: {found:?}");
        }
    }
}

#[test]
fn a_completion_that_claims_to_repeat_one_awaits_review_and_is_refused() {
    let (room, first, second) = begun();
    forge(&room, &first, "ada", &[("TaskStatusChanged", json!({"from": "completed", "to": "completed"}))]);
    assert_eq!(room.get(&second)["status"], "blocked");
    assert_eq!(room.get(&first)["awaits_review"], true);
    let found = refused(&room);
    assert!(found.iter().any(|message| message.contains("as if it had been completed before")), "{found:?}");
}

#[test]
fn an_override_goes_on_without_a_review() {
    let (room, first, second) = begun();
    room.run(&["done", &first]).data();
    room.run(&["task", "transition", &second, "--status", "in_progress", "--force", "agreed with bob"]).data();
    assert_eq!(refused(&room), [""; 0]);
}

#[test]
fn a_branch_from_before_the_setting_breaks_no_rule() {
    let room = Sandbox::new();
    let first = room.task("lay the ground", &[]);
    let second = room.task("build on it", &["--blocked-by", &first]);
    commit(&room, "before");
    room.git(&["switch", "-q", "-c", "work"]).text();
    for task in [&first, &second] {
        room.run(&["claim", task]).data();
        room.run(&["done", task]).data();
    }
    commit(&room, "work");
    room.git(&["switch", "-q", "main"]).text();
    configure(&room, "");
    commit(&room, "reviews are required from now on");
    room.git(&["tag", "base"]).text();
    room.git(&["switch", "-q", "work"]).text();
    assert_eq!(refused(&room), [] as [&str; 0]);
    // With the setting merged, it counts for the branch too.
    room.git(&["merge", "-q", "--no-edit", "main"]).text();
    let third = room.task("build on that", &["--blocked-by", &second]);
    let dir = room.task_dir(&third);
    assert!(dir.exists());
    assert_eq!(refused(&room).len(), 1, "the second task was completed on top of one that awaits review");
}

#[test]
fn the_review_of_a_branch_says_what_awaits_review() {
    let (room, first, _) = begun();
    room.git(&["switch", "-q", "-c", "feature"]).text();
    room.run(&["done", &first]).data();
    commit(&room, "done");
    let report = room.run(&["review", "base..feature"]).data();
    assert_eq!(
        (&report["summary"]["awaiting_review"], &report["items"][0]["awaits_review"]),
        (&json!(1), &json!(true))
    );
    let page = room.run(&["review", "base..feature", "--format", "md"]).stdout;
    assert!(page.contains("1 awaiting review") && page.contains("; awaits review"), "{page}");
}

#[test]
fn a_reviewer_that_lost_the_task_before_judges_it_at_once() {
    let room = Sandbox::new();
    configure(&room, "");
    let task = room.task("lay the ground", &[]);
    let run = |who: &str, clock: &'static str, args: &[&str]| room.at(clock).run_as(who, args);
    run("bob", "2026-11-20T10:00:00Z", &["claim", &task]).data();
    run("ada", "2026-11-20T11:00:00Z", &["claim", &task]).data();
    run("ada", "2026-11-20T11:00:00Z", &["done", &task]).data();
    run("bob", "2026-11-20T11:01:00Z", &["task", "verify", &task, "--accept"]).data();
    let update = ["task", "update", &task, "--title", "still mine?"];
    run("bob", "2026-11-20T11:02:00Z", &update).error("ERR_LEASE_LOST", 5);
}

#[test]
fn a_review_that_is_required_from_now_on_counts_for_what_comes_with_the_setting() {
    let (clones, first) = Clones::new(&["ada", "bob"]);
    let second = clones.run("ada", &["add", "built on it", "--blocked-by", &first, "--quiet"]).text().to_owned();
    clones.run("ada", &["sync"]).data();
    clones.run("bob", &["sync"]).data();
    clones.write("ada", ".agentpm/config.toml", "format = 1\n[review]\nrequired = true\n");
    clones.run("ada", &["claim", &first]).data();
    clones.run("ada", &["done", &first, "--all-met"]).data();
    clones.run("ada", &["sync"]).data();
    for _ in 0..2 {
        clones.run("bob", &["sync"]).data();
        let task = clones.run("bob", &["task", "get", &second]).data();
        assert_eq!(task["status"], "blocked", "{task:#}");
    }
}

/// A room where `ada` completed these tasks, which await review.
fn awaiting(titles: &[&str]) -> (Sandbox, Vec<String>) {
    let room = Sandbox::new();
    configure(&room, "");
    room.at("2026-11-20T10:00:00Z");
    for name in ["bob", "eve"] {
        room.run_as(name, &["agent", "register", "--name", name, "--role", "reviewer"]).data();
    }
    let complete = |title: &&str| {
        let task = room.task(title, &[]);
        room.run(&["claim", &task]).data();
        room.run(&["done", &task]).data();
        task
    };
    let tasks = titles.iter().map(complete).collect();
    (room, tasks)
}

fn heard(room: &Sandbox, agent: &str, kind: &str) -> Vec<Value> {
    let items = room.run_as(agent, &["inbox"]).data()["items"].as_array().unwrap().clone();
    items.into_iter().filter(|item| item["kind"] == kind).collect()
}

#[test]
fn the_inbox_of_a_reviewer_announces_what_awaits_its_review() {
    let (room, tasks) = awaiting(&["one", "two"]);
    let items = heard(&room, "bob", "to_review");
    assert_eq!(items.len(), 2, "{items:?}");
    assert_eq!(items[0]["summary"], "ada completed it, and it awaits your review");
    assert_eq!(items[0]["command"], json!(format!("agentpm brief {}", &tasks[0][20..])));
    assert!(heard(&room, "ada", "to_review").is_empty(), "no agent reviews its own work");
    assert!(room.run_as("bob", &["prime"]).stdout.contains(" 2 await your review (agentpm next --reviews)."));
    room.run_as("eve", &["task", "verify", &tasks[0], "--accept"]).data();
    room.run_as("eve", &["task", "verify", &tasks[1], "--reject", "--why", "no"]).data();
    assert!(heard(&room, "bob", "to_review").is_empty(), "another agent judged it");
    room.run(&["claim", &tasks[1]]).data();
    room.run(&["done", &tasks[1]]).data();
    assert_eq!(heard(&room, "bob", "to_review").len(), 1, "the new completion awaits review anew");
    room.run_as("bob", &["inbox", "ack", "--all"]).data();
    assert!(heard(&room, "bob", "to_review").is_empty());
}

#[test]
fn a_reviewer_of_other_work_takes_no_hand_out_away() {
    let (room, mut tasks) = awaiting(&["one", "three"]);
    tasks.sort();
    let bobs = room.task("two", &[]);
    room.run_as("bob", &["claim", &bobs]).data();
    room.run_as("bob", &["done", &bobs]).data();
    let next = |who: &str| room.run_as(who, &["next", "--claim"]).data()["task"]["id"].as_str().unwrap().to_owned();
    let first = next("eve");
    assert_eq!(next("ada"), bobs, "the others are her own work");
    assert_ne!(next("joe"), first);
}

#[test]
fn two_reviewers_that_ask_at_once_are_handed_different_reviews() {
    let (room, mut tasks) = awaiting(&["one", "two"]);
    tasks.sort();
    let next = |who: &str, args: &[&str]| room.run_as(who, args).data()["task"]["id"].as_str().unwrap().to_owned();
    let claim = ["next", "--claim"];
    assert_eq!(next("bob", &claim), tasks[0]);
    assert_eq!(next("bob", &claim), tasks[0], "its own again, until it judges");
    assert_eq!(next("eve", &["next"]), tasks[1]);
    assert_eq!(next("eve", &claim), tasks[1]);
    assert_eq!(next("joe", &claim), tasks[0], "where there are no more, the first");
    room.at("2026-11-20T10:11:00Z");
    assert_eq!(next("eve", &claim), tasks[0], "handed out for the time of a lease");
    room.run_as("eve", &["task", "verify", &tasks[0], "--accept"]).data();
    assert_eq!(next("bob", &claim), tasks[1]);
    room.run_as("bob", &["task", "verify", &tasks[1], "--accept"]).data();
    assert!(room.run_as("bob", &claim).data().is_null());
    let other = room.task("work", &[]);
    let reviews = ["next", "--claim", "--reviews"];
    let nothing = room.run_as("bob", &reviews).json();
    assert!(
        nothing["data"].is_null() && nothing["reasons"]["hint"].to_string().contains("awaits a review"),
        "{nothing}"
    );
    let words = room.run_as("bob", &[&reviews[..], &["--format", "table"]].concat());
    assert!(words.text().starts_with("no completed task awaits a review that you may give"), "{words:?}");
    // It reviews although it holds a task.
    room.run_as("bob", &["claim", &other]).data();
    let third = room.task("three", &[]);
    room.run(&["claim", &third]).data();
    room.run(&["done", &third]).data();
    assert_eq!(next("bob", &reviews), third);
    room.run_as("bob", &["next", "--reviews", "--no-reviews"]).error("ERR_USAGE", 2);
}

#[test]
fn a_task_that_was_sent_back_and_not_taken_up_is_stale() {
    let (room, tasks) = awaiting(&["one"]);
    room.run_as("bob", &["task", "verify", &tasks[0], "--reject", "--why", "no"]).data();
    let stale = |clock: &'static str| room.at(clock).run_as("bob", &["stale"]).data();
    assert_eq!(stale("2026-11-20T10:10:00Z")["total"], 0);
    let later = stale("2026-11-20T10:20:00Z");
    let item = &later["items"][0];
    assert_eq!((&item["id"], &item["owner"], &item["sent_back_by"]), (&json!(tasks[0]), &json!("ada"), &json!("bob")));
    assert_eq!(room.run_as("bob", &["status"]).data()["stale"], 1);
    room.run(&["claim", &tasks[0]]).data();
    assert_eq!(stale("2026-11-20T10:21:00Z")["total"], 0);
}

#[test]
fn the_gate_reports_a_reviewer_without_the_right_once() {
    let (room, first, _) = completed("");
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [comment]}\n").unwrap();
    commit(&room, "base");
    room.git(&["switch", "-q", "-c", "side"]).text();
    fs::write(room.store().join("roles.yml"), "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [verify]}\n").unwrap();
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    commit(&room, "bob accepts");
    let lint = room.run(&["lint", "--base", "main"]).json();
    let findings = lint["data"]["findings"].as_array().unwrap();
    let refused: Vec<&Value> = findings.iter().filter(|finding| finding["code"] == "not-permitted").collect();
    assert_eq!(refused.len(), 1, "{refused:#?}");
}

#[test]
fn what_a_rejected_completion_stated_is_not_what_the_task_came_to() {
    let (room, tasks) = awaiting(&["one"]);
    let next = room.task("next", &["--blocked-by", &tasks[0]]);
    room.run_as("bob", &["task", "verify", &tasks[0], "--reject", "--why", "no"]).data();
    room.run(&["claim", &tasks[0]]).data();
    room.run(&["context", "add", &tasks[0], "--type", "outcome", "--content", "read from app.ini"]).data();
    room.run(&["done", &tasks[0], "--outcome", "it is read from app.toml"]).data();
    room.run_as("bob", &["task", "verify", &tasks[0], "--reject", "--why", "not yet"]).data();
    room.run(&["claim", &tasks[0]]).data();
    room.run(&["done", &tasks[0], "--outcome", "it is read from both"]).data();
    room.run_as("bob", &["task", "verify", &tasks[0], "--accept"]).data();
    let brief = room.run(&["brief", &next]).data();
    let text = brief["text"].as_str().unwrap();
    assert!(text.contains("read from both") && !text.contains("app.toml") && !text.contains("app.ini"), "{text}");
}

#[test]
fn one_who_may_only_judge_names_what_became_ready_and_counts_agree() {
    let (room, tasks) = awaiting(&["one"]);
    let next = room.task("next", &["--blocked-by", &tasks[0]]);
    assert_eq!(room.get(&next)["status"], "blocked");
    let roles = "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [verify, comment]}\n";
    fs::write(room.store().join("roles.yml"), roles).unwrap();
    let accepted = room.run_short(&["--agent", "bob", "task", "verify", &tasks[0], "--accept"]).data();
    assert_eq!(accepted["ready"][0]["id"], json!(next), "{accepted:#}");
    let status = room.run(&["status"]).data();
    let stats = room.run(&["stats"]).data();
    assert_eq!((&status["blocked"], &stats["by_status"]["blocked"]), (&json!(0), &Value::Null), "{stats:#}");
    let prime = room.run_as("bob", &["prime"]).text().to_owned();
    assert!(prime.contains("Rights: verify, comment\n") && !prime.contains("blocked,"), "{prime}");
}

#[test]
fn a_coordinator_learns_how_to_free_what_was_sent_back() {
    let (room, tasks) = awaiting(&["one"]);
    room.run_as("bob", &["task", "verify", &tasks[0], "--reject", "--why", "no"]).data();
    let error = room.run_as("joe", &["release", &tasks[0]]).error("ERR_INVALID_STATE", 4);
    assert!(error["hint"].as_str().unwrap().contains("--clear owner"), "{error}");
    let me = room.run_as("joe", &["task", "update", &tasks[0], "--owner", "me"]).error("ERR_VALIDATION", 4);
    assert!(me["hint"].as_str().unwrap().contains("--owner joe"), "{me}");
    room.run_as("joe", &["task", "update", &tasks[0], "--clear", "owner"]).data();
    assert_eq!(room.run_as("joe", &["next", "--claim", "--no-reviews"]).data()["task"]["id"], json!(tasks[0]));
}

#[test]
fn an_undone_reopening_restores_the_completion_of_its_agent() {
    let (room, first, second) = completed("");
    let undo_reopening = |by: &str| {
        room.run_as("carl", &["task", "reopen", &first, "--reason", "a mistake"]).data();
        assert_eq!(room.get(&second)["status"], "blocked");
        room.run_as(by, &["undo", &last_of(&room, &first, "TaskReopened")]).data();
        assert_eq!(room.get(&first)["status"], "completed");
    };
    undo_reopening("dan");
    let error = room.run(&["task", "verify", &first, "--accept"]).error("ERR_UNAUTHORIZED", 6);
    assert!(error["message"].as_str().unwrap().starts_with("ada completed task"), "{error}");
    assert_eq!(room.get(&second)["status"], "blocked");
    room.run_as("dan", &["task", "verify", &first, "--accept"]).data();
    assert_eq!(room.get(&second)["status"], "open");

    // An acceptance counts again with the completion that it judged, however often.
    undo_reopening("eve");
    undo_reopening("dan");
    assert_eq!((&room.get(&first)["awaits_review"], &room.get(&second)["status"]), (&Value::Null, &json!("open")));
    assert_eq!(room.run(&["ls", "--all", "--query", "is:unreviewed"]).data()["total"], 0);
    fs::remove_file(room.repo().join(".git/agentpm/index.db")).unwrap();
    assert_eq!(room.run(&["ls", "--all", "--query", "is:unreviewed"]).data()["total"], 0);
    room.run(&["task", "archive", &first]).data();
    room.is_clean();
}

#[test]
fn an_undone_rejection_brings_back_no_acceptance() {
    let (room, first, second) = completed("");
    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "not yet"]).data();
    room.run_as("dan", &["undo", &last_of(&room, &first, "TaskReopened")]).data();
    assert_eq!((&room.get(&first)["status"], &room.get(&second)["status"]), (&json!("completed"), &json!("blocked")));
    assert_eq!(room.get(&first)["awaits_review"], true);
    room.run(&["task", "verify", &first, "--accept"]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("bob", &["task", "verify", &first, "--reject", "--why", "still not"]).data();
    let brief = room.run(&["brief", &first]).stdout;
    assert!(brief.contains("still not"), "{brief}");
    room.run(&["claim", &first]).data();
    // Her own completion after that is another one.
    let answer = room.run(&["done", &first]);
    answer.data();
    assert!(answer.stderr.contains("bob sent this task back (still not)"), "{answer:?}");
    room.run_as("bob", &["task", "verify", &first, "--accept"]).data();
    assert_eq!(room.get(&second)["status"], "open");
    room.is_clean();
}

#[test]
fn clones_agree_on_a_completion_that_was_put_back() {
    let mut task = String::new();
    let twins = Twins::new(|room| {
        configure(room, "");
        task = room.task("x", &[]);
        room.run(&["claim", &task]).data();
        room.run(&["done", &task]).data();
        room.run_as("carl", &["task", "verify", &task, "--accept"]).data();
        room.run_as("carl", &["task", "reopen", &task, "--reason", "a mistake"]).data();
    });
    twins.room.run_as("dan", &["undo", &last_of(&twins.room, &task, "TaskReopened")]).data();
    twins.bob(&["note", &task, "--content", "meanwhile"]).data();
    twins.bob(&["task", "update", &task, "--priority", "1"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    let view = twins.room.get(&task);
    assert_eq!((&view["status"], &view["priority"], view.get("awaits_review")), (&json!("completed"), &json!(1), None));
    twins.ada(&["task", "archive", &task]).data();
    twins.room.is_clean();
}
