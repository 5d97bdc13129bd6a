//! Threads: discussions of a task, proposals, and who may accept them.

use serde_json::{Value, json};

use crate::lost::Twins;
use crate::sandbox::{Answer, Sandbox};

fn id_of(answer: &Answer) -> String {
    answer.data()["id"].as_str().unwrap().to_owned()
}

/// Opens a thread as an agent; gives its id.
#[track_caller]
fn open_as(room: &Sandbox, agent: &str, task: &str, more: &[&str]) -> String {
    id_of(&room.run_as(agent, &[&["thread", "open", task, "--body", "what about this?"], more].concat()))
}

fn why_not(answer: &Answer) -> Value {
    answer.json()["reasons"]["counts"].clone()
}

const ROLES: &str = "agents:
  ada: {perms: [admin], precedence: 10}
  bob: {perms: [claim, update, comment, discuss, reply], precedence: 20}
  eve: {perms: [discuss, reply, resolve], precedence: 50}
  joe: {perms: [discuss, reply, resolve], precedence: 5}
  pat: {perms: [comment]}
";

#[test]
fn a_proposal_changes_the_task_only_when_it_is_accepted() {
    let room = Sandbox::new();
    let task = room.task("Fix the lock", &["--priority", "1"]);
    let opened =
        room.run_as("bob", &["thread", "open", &task, "--body", "Is this urgent?", "--set", "priority=3"]).data();
    let thread = opened["id"].as_str().unwrap();
    assert_eq!((&opened["thread"], &opened["status"], &opened["task"]), (&opened["id"], &json!("open"), &json!(task)));
    assert_eq!(room.get(&task)["priority"], 1);
    let counter = room.run(&["thread", "reply", thread, "--body", "rather 2", "--set", "priority=2"]).data();
    assert_eq!((&counter["thread"], counter["id"] != counter["thread"]), (&json!(thread), true));
    room.run_as("bob", &["thread", "reply", thread, "--body", "fine", "--parent", counter["id"].as_str().unwrap()])
        .data();
    let yaml = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
    assert!(yaml.contains("threads:\n") && yaml.contains("    body: Is this urgent?\n"), "{yaml}");
    let resolved = room.run(&["thread", "resolve", thread, "--resolution", "accept", "--why", "agreed"]).data();
    assert_eq!(
        (&resolved["status"], &resolved["changed"]["priority"]),
        (&json!("accepted"), &json!({"from": 1, "to": 2}))
    );
    assert_eq!(room.get(&task)["priority"], 2);
    let log = room.run(&["log", &task]).data();
    let event = log["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&event["type"], &event["why"]), (&json!("ThreadResolved"), &json!("agreed")));
    assert_eq!(event["payload"]["set"], json!({"priority": 2}));
    assert_eq!(event["payload"]["patch"], json!([{"op": "replace", "path": "/priority", "value": 2}]));
    assert_eq!(event["payload"]["message"], counter["id"]);
    room.run(&["thread", "resolve", thread, "--resolution", "reject"]).error("ERR_INVALID_STATE", 4);
    room.run(&["thread", "reply", thread, "--body", "late"]).error("ERR_INVALID_STATE", 4);
    // An accepted change is undone like any other.
    room.run(&["undo", event["id"].as_str().unwrap()]).data();
    assert_eq!(room.get(&task)["priority"], 1);
    room.is_clean();
}

#[test]
fn any_proposal_of_the_thread_can_be_accepted_and_another_patch_too() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &["--set", "priority=3"]);
    let reply = id_of(&room.run(&["thread", "reply", &thread, "--body", "or so", "--set", "estimate=2h"]));
    let text = room.run(&["thread", "reply", &thread, "--body", "no change"]);
    room.run(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &id_of(&text)])
        .error("ERR_VALIDATION", 4);
    let other = open_as(&room, "bob", &task, &[]);
    room.run(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &other]).error("ERR_NOT_FOUND", 3);
    room.run(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &thread]).data();
    assert_eq!((&room.get(&task)["priority"], &room.get(&task)["estimate"]), (&json!(3), &Value::Null));
    assert_ne!(reply, thread);
    room.run(&["thread", "resolve", &other, "--resolution", "accept"]).error("ERR_VALIDATION", 4);
    std::fs::write(room.repo().join("patch"), r#"[{"op":"add","path":"/labels/-","value":"seen"}]"#).unwrap();
    room.run(&["thread", "resolve", &other, "--resolution", "accept", "--patch", "patch"]).data();
    assert_eq!(room.get(&task)["labels"], json!(["seen"]));
}

#[test]
fn a_patch_that_no_longer_applies_is_a_conflict_and_writes_nothing() {
    let room = Sandbox::new();
    let task = room.task("x", &["--priority", "1"]);
    let patch = r#"[{"op":"replace","path":"/estimate","value":"1d"},{"op":"test","path":"/priority","value":1}]"#;
    std::fs::write(room.repo().join("patch"), patch).unwrap();
    let thread = open_as(&room, "bob", &task, &["--patch", "patch"]);
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    let before = std::fs::read(room.log_of(&task)).unwrap();
    let error = room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).error("ERR_CONFLICT", 5);
    assert_eq!((&error["details"]["operation"], &error["details"]["failed"]["op"]), (&json!(2), &json!("test")));
    assert_eq!(std::fs::read(room.log_of(&task)).unwrap(), before);
}

#[test]
fn proposals_of_what_no_update_writes_are_refused_by_name() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    for (set, named) in
        [("owner=eve", "owner"), ("status=completed", "status"), ("priority=9", "priority"), ("x", "field=value")]
    {
        let refused = room.run(&["thread", "open", &task, "--body", "x", "--set", set]);
        assert!(refused.code == 4 || refused.code == 2, "{refused:?}");
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains(named), "{refused:?}");
    }
    for path in ["", "/", "title", "/../../etc/passwd", "/context/0/content", "/~2", "/id", "/metadata~1x"] {
        let patch = json!([{"op": "replace", "path": path, "value": "x"}]).to_string();
        let refused = room.feed(&["thread", "open", &task, "--body", "x", "--patch", "-"], patch.as_bytes());
        refused.error("ERR_VALIDATION", 4);
    }
    assert_eq!(room.run(&["thread", "list"]).data()["total"], 0);
}

#[test]
fn an_open_thread_withholds_its_task_from_new_holders() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &[]);
    let next = room.run(&["next"]);
    assert_eq!((&next.data(), &why_not(&next)), (&Value::Null, &json!({"withheld_by_thread": 1})));
    assert_eq!(room.run(&["ready"]).data()["total"], 0);
    assert_eq!(room.get(&task)["ready"], false);
    let refused = room.run(&["claim", &task]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("agentpm thread show"), "{refused}");
    assert_eq!(refused["details"]["thread"], json!(thread));
    room.run_as("bob", &["thread", "resolve", &thread, "--resolution", "reject"]).data();
    room.run(&["claim", &task]).data();
    // The holder goes on working; another agent does not take over.
    open_as(&room, "bob", &task, &[]);
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    let free = room.task("free", &[]);
    open_as(&room, "bob", &free, &["--no-hold"]);
    assert_eq!(room.run(&["next"]).data()["task"]["id"], json!(free));
}

#[test]
fn the_holder_decides_or_an_agent_above_the_holder() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.run_as("bob", &["claim", &task]).data();
    let open = || open_as(&room, "joe", &task, &["--set", "priority=2"]);
    let resolve =
        |agent: &str, thread: &str, how: &str| room.run_as(agent, &["thread", "resolve", thread, "--resolution", how]);
    let first = open();
    resolve("pat", &first, "reject").error("ERR_UNAUTHORIZED", 6);
    resolve("joe", &first, "accept").error("ERR_UNAUTHORIZED", 6);
    let refused = resolve("ada", &first, "accept").error("ERR_UNAUTHORIZED", 6);
    assert!(refused["message"].as_str().unwrap().contains("bob decides"), "{refused}");
    resolve("bob", &first, "accept").data();
    let second = open();
    resolve("eve", &second, "accept").data();
    resolve("joe", &open(), "reject").data();
    let reserved = open_as(&room, "joe", &task, &["--need-precedence", "40"]);
    resolve("bob", &reserved, "reject").error("ERR_UNAUTHORIZED", 6);
    resolve("eve", &reserved, "reject").data();
    room.run_as("pat", &["thread", "open", &task, "--body", "x"]).error("ERR_UNAUTHORIZED", 6);
    // Pat has written nothing.
    assert_eq!(room.finding_codes(), ["agent-unregistered"]);
}

#[test]
fn the_gate_judges_a_resolution_like_the_command() {
    for (agent, more, refused) in [
        ("joe", &[][..], Some("\"bob\" decides it, or an agent of higher precedence")),
        ("eve", &[][..], None),
        ("bob", &["--need-precedence", "40"][..], Some("that needs precedence 40")),
    ] {
        let room = Sandbox::new();
        let task = room.task("x", &[]);
        std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
        room.run_as("bob", &["claim", &task]).data();
        let thread = open_as(&room, "ada", &task, &[&["--set", "priority=2"], more].concat());
        room.git(&["add", "-A"]).text();
        room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
        let resolve = || room.run_as(agent, &["thread", "resolve", &thread, "--resolution", "accept"]);
        if refused.is_some() {
            resolve().error("ERR_UNAUTHORIZED", 6);
            // The branch changes the weight of bob's word for itself.
            let path = room.store().join("roles.yml");
            let weights = if agent == "bob" { "precedence: 40" } else { "precedence: 0" };
            std::fs::write(&path, ROLES.replace("precedence: 20", weights)).unwrap();
            resolve().data();
            std::fs::write(&path, ROLES).unwrap();
        } else {
            resolve().data();
        }
        room.git(&["add", "-A"]).text();
        let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
        let said: Vec<&str> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|finding| finding["code"] == "not-permitted")
            .map(|finding| finding["message"].as_str().unwrap())
            .filter(|words| words.contains("resolves thread"))
            .collect();
        match refused {
            Some(why) => assert!(said.len() == 1 && said[0].contains(why), "{agent}: {report:#}"),
            None => assert!(said.is_empty(), "{agent}: {report:#}"),
        }
    }
}

#[test]
fn the_gate_names_a_resolution_and_a_missing_review_of_one_task() {
    let room = Sandbox::new();
    let (roles, config) = (room.store().join("roles.yml"), room.store().join("config.toml"));
    let free = std::fs::read_to_string(&config).unwrap();
    let write = |words: &str, settings: &str| {
        std::fs::write(&roles, words).unwrap();
        std::fs::write(&config, format!("{free}{settings}")).unwrap();
    };
    let required = "\n[review]\nrequired = true\n";
    write(ROLES, required);
    let task = room.task("x", &[]);
    let thread = open_as(&room, "ada", &task, &["--no-hold", "--need-precedence", "40"]);
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    // The branch makes rules of its own for both.
    write(&ROLES.replace("precedence: 5}", "precedence: 60}"), "");
    room.run_as("joe", &["thread", "resolve", &thread, "--resolution", "reject"]).data();
    room.run(&["task", "archive", &task]).data();
    write(ROLES, required);
    let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
    for words in ["resolves thread", "although it awaits review"] {
        let is_it = |finding: &&Value| finding["message"].as_str().unwrap().contains(words);
        assert_eq!(report["findings"].as_array().unwrap().iter().filter(is_it).count(), 1, "{words}: {report:#}");
    }
}

#[test]
fn a_thread_gives_way_to_another() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let (old, new) = (open_as(&room, "ada", &task, &[]), open_as(&room, "ada", &task, &[]));
    room.run(&["thread", "resolve", &old, "--resolution", "supersede"]).error("ERR_USAGE", 2);
    room.run(&["thread", "resolve", &old, "--resolution", "supersede", "--by", &old]).error("ERR_VALIDATION", 4);
    room.run(&["thread", "resolve", &old, "--resolution", "supersede", "--by", &new]).data();
    let shown = room.run(&["thread", "show", &old]).data();
    assert_eq!((&shown["status"], &shown["resolution"]["superseded_by"]), (&json!("superseded"), &json!(new)));
    assert_eq!(room.run(&["thread", "list", "--open"]).data()["items"][0]["id"], json!(new));
}

#[test]
fn two_clones_accept_different_proposals_and_one_counts() {
    let (mut task, mut thread, mut other) = (String::new(), String::new(), String::new());
    let twins = Twins::new(|room| {
        task = room.task("x", &[]);
        thread = open_as(room, "ada", &task, &["--set", "priority=3"]);
        other = id_of(&room.run(&["thread", "reply", &thread, "--body", "or", "--set", "estimate=2h"]));
    });
    twins.ada(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &thread]).data();
    twins.bob(&["note", &task, "--content", "my clock runs ahead"]).data();
    twins.bob(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &other]).data();
    twins.merge();
    let now = twins.ada(&["task", "get", &task, "--full"]).data();
    assert_eq!((&now["priority"], &now["estimate"]), (&json!(3), &Value::Null), "the first in order counts");
    let shown = twins.ada(&["thread", "show", &thread]).data();
    assert_eq!((&shown["resolution"]["by"], shown["overruled"].as_array().unwrap().len()), (&json!("ada"), 1));
    let findings = twins.room.findings();
    let overruled: Vec<&Value> = findings.iter().filter(|f| f["code"] == "event-ineffective").collect();
    assert!(
        overruled.len() == 1 && overruled[0]["message"].as_str().unwrap().ends_with("by ada, by its place in order"),
        "{findings:?}"
    );
    let lost = twins.ada(&["conflicts"]).data()["items"].clone();
    assert_eq!(
        (&lost[0]["field"], &lost[0]["rule"], &lost[1]),
        (&json!("estimate"), &json!("resolution"), &Value::Null)
    );
    twins.ada(&["task", "update", &task, "--estimate", "2h"]).data();
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 0);
}

#[test]
fn a_proposal_adds_no_criterion_to_a_completed_task() {
    let room = Sandbox::new();
    let task = room.task("x", &["--acceptance", "it works"]);
    let thread = open_as(&room, "bob", &task, &["--no-hold", "--set", "acceptance=[\"it works\",\"it is small\"]"]);
    room.run(&["claim", &task]).data();
    room.run(&["done", &task, "--all-met"]).data();
    let accept = ["thread", "resolve", &thread, "--resolution", "accept"];
    let error = room.run(&accept).error("ERR_INVALID_STATE", 4);
    assert!(error["message"].as_str().unwrap().contains("the new criterion \"it is small\""), "{error}");
    assert!(error["hint"].as_str().unwrap().contains("agentpm task reopen "), "{error}");
    room.is_clean();
    room.run(&["task", "reopen", &task, "--reason", "it must be small"]).data();
    room.run(&accept).data();
    assert_eq!(room.get(&task)["acceptance"][1]["criterion"], "it is small");
}

#[test]
fn a_criterion_that_is_accepted_elsewhere_during_the_completion_is_found() {
    for ahead in ["ada", "bob"] {
        let (mut task, mut thread) = (String::new(), String::new());
        let twins = Twins::new(|room| {
            task = room.task("x", &[]);
            thread = open_as(room, "bob", &task, &["--no-hold", "--set", "acceptance=it is small"]);
        });
        let run = |agent: &str, args: &[&str]| match agent {
            "ada" => twins.ada(args),
            _ => twins.bob(args),
        };
        for _ in 0..9 {
            run(ahead, &["note", &task, "--content", "my clock runs ahead"]).data();
        }
        twins.ada(&["claim", &task]).data();
        twins.ada(&["done", &task]).data();
        twins.bob(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
        twins.merge();
        twins.ada(&["resolve"]).data();
        let findings = twins.room.findings();
        let said: Vec<&Value> = findings.iter().map(|finding| &finding["message"]).collect();
        assert_eq!(said, ["it is completed despite 1 unmet criterion"], "{ahead}");
        twins.ada(&["task", "verify", &task, "--all"]).data();
        twins.room.is_clean();
    }
}

#[test]
fn an_acceptance_merges_with_a_concurrent_change_like_any_event() {
    let (mut task, mut thread) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        task = room.task("x", &[]);
        thread = open_as(room, "ada", &task, &["--set", "priority=3", "--set", "estimate=2h"]);
    });
    twins.ada(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    twins.bob(&["thread", "reply", &thread, "--body", "wait for me"]).data();
    twins.bob(&["task", "update", &task, "--priority", "-1"]).data();
    twins.merge();
    let now = twins.ada(&["task", "get", &task, "--full"]).data();
    assert_eq!((&now["priority"], &now["estimate"]), (&json!(-1), &json!("2h")));
    assert_eq!(twins.ada(&["conflicts"]).data()["items"][0]["lost"]["value"], 3);
    // The late reply is kept and shown.
    let shown = twins.ada(&["thread", "show", &thread]).data();
    assert_eq!((&shown["status"], &shown["messages"][0]["body"]), (&json!("accepted"), &json!("wait for me")));
    twins.ada(&["resolve"]).data();
    twins.room.is_clean();
}

#[test]
fn both_clones_escalate_and_the_first_counts() {
    let (mut task, mut thread) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        task = room.task("x", &[]);
        thread = open_as(room, "ada", &task, &[]);
    });
    twins.ada(&["thread", "escalate", &thread, "--to", "lead"]).data();
    twins.bob(&["note", &task, "--content", "my clock runs ahead"]).data();
    twins.bob(&["thread", "escalate", &thread, "--to", "eve"]).data();
    twins.merge();
    let shown = twins.ada(&["thread", "show", &thread]).data();
    assert_eq!((&shown["status"], &shown["escalated"]["to"]), (&json!("open"), &json!("lead")));
    twins.ada(&["thread", "escalate", &thread]).error("ERR_INVALID_STATE", 4);
    twins.ada(&["resolve"]).data();
    twins.room.is_clean();
}

#[test]
fn a_closed_task_can_be_discussed() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    room.run(&["claim", &task]).data();
    room.run(&["done", &task]).data();
    let thread = open_as(&room, "bob", &task, &["--set", "labels=late,known"]);
    room.run(&["task", "archive", &task]).data();
    room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    assert_eq!(
        (&room.get(&task)["status"], &room.get(&task)["labels"]),
        (&json!("archived"), &json!(["late", "known"]))
    );
    room.is_clean();
}

#[test]
fn a_thousand_messages_are_shown_in_bounds() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "ada", &task, &[]);
    let step = |n: u32| json!({"op": "thread.reply", "args": {"thread": thread, "body": format!("message {n} {}", "x".repeat(100))}});
    let ops = json!({ "ops": (0..1_000).map(step).collect::<Vec<Value>>() }).to_string();
    room.feed(&["batch", "--file", "-"], ops.as_bytes()).data();
    let shown = room.run(&["thread", "show", &thread]);
    assert!(shown.stdout.len() < 40_000, "{}", shown.stdout.len());
    assert!(shown.data()["left_out"]["messages"].as_u64().unwrap() > 800);
    let whole = room.run(&["thread", "show", &thread, "--full"]).data();
    assert_eq!(whole["messages"].as_array().unwrap().len(), 1_000);
    room.is_clean();
}

#[test]
fn what_others_wrote_reaches_no_terminal_and_no_page_raw() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let body = "\u{1b}]52;c;x\u{7} \u{202E}\n</details><script>alert(1)</script>\n```\n::error::x";
    let thread = id_of(&room.run(&["thread", "open", &task, "--body", body]));
    let first = id_of(&room.run(&["thread", "reply", &thread, "--body", "one"]));
    room.run(&["thread", "reply", &thread, "--body", "two", "--parent", &first]).data();
    for form in ["table", "md"] {
        let shown = room.run(&["thread", "show", &thread, "--format", form]);
        let text = shown.text();
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202E}']) && !text.contains("\n::error"), "{text}");
        assert!(text.find("one").unwrap() < text.find("two").unwrap());
    }
    let md = room.run(&["thread", "show", &thread, "--format", "md"]);
    assert_eq!(md.text().matches("<details open>").count(), 3, "{md:?}");
    assert_eq!(room.run(&["thread", "show", &thread]).data()["body"], json!(body));
    room.is_clean();
}

#[test]
fn threads_are_not_changed_by_hand() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    open_as(&room, "bob", &task, &[]);
    let yaml = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
    std::fs::write(room.yaml_of(&task), yaml.replace("what about this?", "nothing")).unwrap();
    let finding = &room.findings()[0];
    assert_eq!(finding["code"], "task-yaml-edited", "{finding}");
    assert!(finding["refusal"]["message"].as_str().unwrap().contains("threads"), "{finding}");
    std::fs::write(room.yaml_of(&task), yaml).unwrap();
    room.is_clean();
}

#[test]
fn lists_show_what_concerns_an_agent() {
    let room = Sandbox::new();
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    room.run(&["task", "update", &two, "--owner", "eve"]).data();
    let first = open_as(&room, "bob", &one, &["--set", "priority=1"]);
    let second = open_as(&room, "joe", &two, &["--ttl", "2h"]);
    let ids = |agent: &str, more: &[&str]| {
        let list = room.run_as(agent, &[&["thread", "list"], more].concat()).data();
        list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("ada", &[]), [first.as_str(), second.as_str()]);
    assert_eq!(ids("bob", &["--mine"]), [first.as_str()]);
    assert_eq!(ids("eve", &["--mine"]), [second.as_str()]);
    assert_eq!(ids("ada", &["--task", &two]), [second.as_str()]);
    let page = room.run(&["thread", "list", "--limit", "1"]).data();
    assert_eq!((&page["total"], &page["truncated"]), (&json!(2), &json!(true)));
    assert_eq!(ids("ada", &["--cursor", page["next_cursor"].as_str().unwrap()]), [second.as_str()]);
    assert!(room.run(&["thread", "list", "--format", "table"]).text().contains("what about this?"));
    room.run(&["thread", "show", "ZZZZZZ"]).error("ERR_NOT_FOUND", 3);
    assert_eq!(room.run(&["thread", "show", &second[20..]]).data()["id"], json!(second));
}

#[test]
fn a_thread_past_its_time_is_escalated_by_the_next_write_that_meets_it() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &["--ttl", "2h", "--no-hold"]);
    std::fs::write(room.store().join("config.toml"), "[thread]\nescalate_to = \"lead\"\n").unwrap();
    room.at("2026-11-20T11:59:59Z");
    room.run(&["task", "update", &task, "--priority", "1"]).data();
    assert!(room.run(&["thread", "show", &thread]).data().get("escalated").is_none());
    room.at("2026-11-20T12:00:00Z");
    room.run(&["task", "update", &task, "--priority", "2"]).data();
    let shown = room.run(&["thread", "show", &thread]).data();
    assert_eq!(shown["escalated"], json!({"to": "lead", "at": "2026-11-20T12:00:00Z"}));
    room.run(&["task", "update", &task, "--priority", "3"]).data();
    let log = room.run(&["log", &task, "--type", "ThreadEscalated"]).data();
    assert_eq!((&log["total"], &log["items"][0]["why"]), (&json!(1), &json!("its time to live is over")));
    assert_eq!(room.run_as("lead", &["thread", "list", "--mine"]).data()["total"], 1);
}

#[test]
fn the_proposal_of_highest_precedence_is_accepted_where_the_settings_say_so() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    std::fs::write(room.store().join("config.toml"), "[thread]\nttl = \"1h\"\non_expiry = \"accept_highest\"\n")
        .unwrap();
    let thread = open_as(&room, "eve", &task, &["--set", "priority=4"]);
    room.run_as("bob", &["thread", "reply", &thread, "--body", "no", "--set", "priority=1"]).data();
    room.at("2026-11-20T11:00:00Z");
    // The thread withheld the task; its expiry frees it.
    room.run(&["claim", &task]).data();
    let shown = room.run(&["thread", "show", &thread]).data();
    assert_eq!((&shown["status"], &room.get(&task)["priority"]), (&json!("accepted"), &json!(4)));
    let unfit = open_as(&room, "eve", &task, &["--set", "priority=5", "--set", "estimate=1d"]);
    let text = open_as(&room, "eve", &task, &[]);
    room.at("2026-11-20T12:30:00Z");
    room.run(&["task", "update", &task, "--title", "y"]).data();
    assert_eq!(room.run(&["thread", "show", &unfit]).data()["status"], "accepted");
    let shown = room.run(&["thread", "show", &text]).data();
    assert_eq!((&shown["status"], &shown["escalated"]["to"]), (&json!("open"), &json!("ada")));
}

#[test]
fn sync_records_what_expired() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &["--ttl", "1h"]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    room.at("2026-11-20T12:00:00Z");
    room.run(&["sync", "--no-push"]).data();
    assert_eq!(room.run(&["thread", "show", &thread]).data()["escalated"]["at"], "2026-11-20T12:00:00Z");
    assert!(room.git(&["show", "HEAD"]).text().contains("ThreadEscalated"));
}

#[test]
fn a_review_and_a_search_show_discussions() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    room.task("other", &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    let thread = open_as(&room, "bob", &task, &["--set", "priority=2"]);
    room.run(&["thread", "reply", &thread, "--body", "a needle in the answer"]).data();
    assert_eq!(room.run(&["search", "needle"]).data()["items"][0]["id"], json!(task));
    assert_eq!(room.run(&["ls", "--query", "is:discussed"]).data()["total"], 1);
    assert_eq!(room.get(&task)["open_threads"], 1);
    room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    assert_eq!(room.run(&["ls", "--query", "is:discussed"]).data()["total"], 0);
    let kinds = |data: Value| -> Vec<String> {
        let changes = data["items"][0]["changes"].as_array().unwrap().clone();
        changes.iter().map(|change| change["change"].as_str().unwrap().to_owned()).collect()
    };
    let expected = ["field", "thread_opened", "thread_replied", "thread_resolved"];
    assert_eq!(kinds(room.run(&["diff", "HEAD"]).data()), expected);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "discussed"]).text();
    let words = room.run(&["review", "HEAD~1..HEAD", "--format", "md"]);
    let text = words.text();
    assert!(text.contains("thread opened with a proposal: ") && text.contains("1 answer"), "{text}");
}

/// Two clones in which a thread of ada's expired, each by its own next change of the task.
fn both_expire(settings: &str, more: &[&str]) -> (Twins, String, String) {
    let (mut task, mut thread) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        task = room.task("x", &[]);
        std::fs::write(room.store().join("config.toml"), format!("[thread]\nttl = \"1h\"\n{settings}")).unwrap();
        std::fs::write(room.store().join("roles.yml"), ROLES.replace("claim, update", "admin")).unwrap();
        thread = open_as(room, "ada", &task, more);
    });
    twins.room.at("2026-11-20T12:00:00Z");
    twins.ada(&["task", "update", &task, "--title", "by ada"]).data();
    twins.room.at("2026-11-20T13:00:00Z");
    twins.bob(&["note", &task, "--content", "my clock runs ahead"]).data();
    twins.bob(&["task", "update", &task, "--estimate", "1d"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    (twins, task, thread)
}

#[test]
fn both_clones_escalate_an_expired_thread_and_the_first_counts() {
    let (twins, task, thread) = both_expire("escalate_to = \"lead\"\n", &["--set", "priority=2"]);
    let shown = twins.ada(&["thread", "show", &thread]).data();
    let first = json!({"to": "lead", "at": "2026-11-20T12:00:00Z"});
    assert_eq!((&shown["status"], &shown["escalated"]), (&json!("open"), &first));
    assert_eq!(twins.ada(&["log", &task, "--type", "ThreadEscalated"]).data()["total"], 2);
    // The next change does not record it a third time.
    twins.ada(&["note", &task, "--content", "later"]).data();
    assert_eq!(twins.ada(&["log", &task, "--type", "ThreadEscalated"]).data()["total"], 2);
}

#[test]
fn both_clones_accept_the_highest_proposal_of_an_expired_thread_and_one_event_counts() {
    let (twins, task, thread) = both_expire("on_expiry = \"accept_highest\"\n", &["--set", "priority=2"]);
    let now = twins.room.get(&task);
    assert_eq!((&now["priority"], &now["title"], &now["estimate"]), (&json!(2), &json!("by ada"), &json!("1d")));
    let shown = twins.ada(&["thread", "show", &thread]).data();
    assert_eq!((&shown["status"], shown["overruled"].as_array().unwrap().len()), (&json!("accepted"), 1));
    // Bob has the higher precedence.
    assert_eq!(shown["resolution"]["by"], "bob");
    let codes = twins.room.finding_codes();
    assert!(!codes.contains(&"event-ineffective".to_owned()), "both say the same: {codes:?}");
    assert_eq!(twins.ada(&["conflicts"]).data()["total"], 0, "both set the same values");
}

#[test]
fn a_thread_on_a_task_that_ends_elsewhere_meanwhile_goes_on() {
    for end in ["completed", "archived"] {
        let (mut task, mut thread) = (String::new(), String::new());
        let twins = Twins::new(|room| {
            task = room.task("x", &[]);
            thread = open_as(room, "eve", &task, &["--set", "labels=seen", "--no-hold"]);
        });
        twins.ada(&["thread", "reply", &thread, "--body", "not yet"]).data();
        twins.bob(&["claim", &task]).data();
        twins.bob(&["done", &task]).data();
        if end == "archived" {
            twins.bob(&["task", "archive", &task]).data();
        }
        twins.merge();
        twins.ada(&["resolve"]).data();
        assert_eq!(twins.room.get(&task)["status"], end);
        let shown = twins.ada(&["thread", "show", &thread]).data();
        assert_eq!((&shown["status"], &shown["messages"][0]["body"]), (&json!("open"), &json!("not yet")));
        let accept = ["thread", "resolve", &thread, "--resolution", "accept", "--why", "for the record"];
        twins.room.run_as("bob", &accept).data();
        assert_eq!(
            (&twins.room.get(&task)["status"], &twins.room.get(&task)["labels"]),
            (&json!(end), &json!(["seen"]))
        );
        twins.room.is_clean();
    }
}

#[test]
fn a_thread_of_a_task_whose_files_are_gone_is_not_found_and_comes_back_with_them() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &[]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "plan"]).text();
    std::fs::remove_dir_all(room.task_dir(&task)).unwrap();
    for args in [
        &["thread", "show", &thread][..],
        &["thread", "reply", &thread, "--body", "x"],
        &["thread", "resolve", &thread, "--resolution", "reject"],
        &["thread", "escalate", &thread],
    ] {
        room.run(args).error("ERR_NOT_FOUND", 3);
    }
    assert_eq!(room.run(&["thread", "list"]).data()["total"], 0);
    assert_eq!(room.finding_codes(), ["task-deleted"]);
    room.run(&["lint", "--fix"]).data();
    room.run(&["thread", "reply", &thread, "--body", "here again"]).data();
    room.is_clean();
}

#[test]
fn a_message_that_no_line_can_hold_is_refused_and_nothing_is_written() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &[]);
    let before = std::fs::read(room.log_of(&task)).unwrap();
    let long = "x".repeat(300_000);
    room.feed(&["thread", "reply", &thread, "--body", "-"], long.as_bytes()).error("ERR_VALIDATION", 4);
    let patch = |value: Value| json!([{"op": "add", "path": "/metadata/k", "value": value}]).to_string();
    let mut deep = json!(1);
    (0..31).for_each(|_| deep = json!([deep]));
    for patch in [patch(json!(long)), patch(deep), format!("[{}]", "[".repeat(100_000)), "{\"op\":\"add\"}".into()] {
        let refused = room.feed(&["thread", "reply", &thread, "--body", "x", "--patch", "-"], patch.as_bytes());
        assert!(refused.code == 4 || refused.code == 2, "{}: {refused:?}", &patch[..40]);
    }
    assert_eq!(std::fs::read(room.log_of(&task)).unwrap(), before);
}

#[test]
fn hostile_patches_change_what_they_name_and_reach_no_terminal_raw() {
    let room = Sandbox::new();
    let task = room.task("x", &["--metadata", r#"{"kept":1}"#]);
    let patch = json!([
        {"op": "add", "path": "/metadata/__proto__", "value": {"admin": true}},
        {"op": "add", "path": "/metadata/constructor", "value": "\u{202E}\u{1b}[2J"},
        {"op": "add", "path": "/labels/-", "value": "\u{202E}label"},
        {"op": "test", "path": "/metadata/kept", "value": 1.0},
    ]);
    std::fs::write(room.repo().join("patch"), patch.to_string()).unwrap();
    let thread = open_as(&room, "bob", &task, &["--patch", "patch"]);
    room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    let now = room.get(&task);
    assert_eq!(now["metadata"], json!({"__proto__": {"admin": true}, "constructor": "\u{202E}\u{1b}[2J", "kept": 1}));
    assert_eq!((&now["status"], &now["owner"], &now["parent"]), (&json!("open"), &Value::Null, &Value::Null));
    for args in [&["thread", "show", &thread][..], &["show", &task], &["log", &task], &["brief", &task], &["graph"]] {
        for form in ["table", "md"] {
            let shown = room.run(&[args, &["--format", form]].concat());
            assert!(!shown.stdout.contains(['\u{1b}', '\u{202E}']), "{args:?} {form}: {shown:?}");
        }
    }
    room.is_clean();
}

#[test]
fn a_graph_marks_the_tasks_under_discussion() {
    let room = Sandbox::new();
    let (task, other) = (room.task("talked about", &[]), room.task("quiet", &[]));
    let thread = open_as(&room, "bob", &task, &[]);
    let marked = |form: &str| {
        let drawn = room.run(&["graph", "--format", form]);
        let lines = drawn.text().lines().filter(|line| line.contains("discussed"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    for form in ["tree", "mermaid", "dot"] {
        let lines = marked(form);
        assert!(lines.len() == 1 && lines[0].contains("talked about"), "{form}: {lines:?}");
    }
    let nodes = room.run(&["graph"]).data()["nodes"].clone();
    let discussed = |id: &str| nodes.as_array().unwrap().iter().find(|n| n["id"] == id).unwrap()["discussed"].clone();
    assert_eq!((discussed(&task), discussed(&other)), (json!(true), Value::Null));
    room.run_as("bob", &["thread", "resolve", &thread, "--resolution", "reject"]).data();
    ["tree", "mermaid", "dot"].into_iter().for_each(|form| assert_eq!(marked(form), [] as [String; 0]));
}

#[test]
fn a_claim_that_a_thread_refuses_records_its_expiry() {
    for claim in [&["next", "--claim"][..], &["claim"]] {
        let room = Sandbox::new();
        room.at("2026-11-20T10:00:00Z");
        let task = room.task("x", &[]);
        std::fs::write(room.store().join("config.toml"), "[thread]\nttl = \"1h\"\non_expiry = \"accept_highest\"\n")
            .unwrap();
        let patch = json!([{ "op": "test", "path": "/priority", "value": 0 }, { "op": "replace", "path": "/priority", "value": 3 }]);
        std::fs::write(room.repo().join("patch"), patch.to_string()).unwrap();
        let thread = open_as(&room, "bob", &task, &["--patch", "patch"]);
        // The proposal does not apply any more.
        room.run(&["task", "update", &task, "--priority", "1"]).data();
        room.at("2026-11-20T12:00:00Z");
        let args = if claim.len() == 1 { vec!["claim", &task] } else { claim.to_vec() };
        let answer = room.run(&args);
        assert!(answer.code != 0 || answer.data().is_null(), "the thread still withholds the task: {answer:?}");
        let shown = room.run(&["thread", "show", &thread]).data();
        assert_eq!((&shown["status"], &shown["escalated"]["at"]), (&json!("open"), &json!("2026-11-20T12:00:00Z")));
    }
}

#[test]
fn a_thread_of_a_task_without_an_owner_needs_the_right_to_resolve() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    let thread = open_as(&room, "ada", &task, &["--set", "priority=2"]);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    let resolve = |agent: &str| room.run_as(agent, &["thread", "resolve", &thread, "--resolution", "accept"]);
    let refused = resolve("bob").error("ERR_UNAUTHORIZED", 6);
    assert!(refused["message"].as_str().unwrap().contains("resolve"), "{refused}");
    // The gate judges alike.
    std::fs::remove_file(room.store().join("roles.yml")).unwrap();
    resolve("bob").data();
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.git(&["add", "-A"]).text();
    let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
    assert!(report.to_string().contains("that needs the right resolve"), "{report:#}");
    room.git(&["checkout", "-q", "HEAD", "--", "."]).text();
    room.run(&["resolve"]).data();
    let thread = open_as(&room, "ada", &task, &["--set", "priority=3"]);
    room.run_as("joe", &["thread", "resolve", &thread, "--resolution", "accept"]).data();
}

#[test]
fn an_answer_that_comes_too_late_records_what_refuses_it() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("config.toml"), "[thread]\nttl = \"1h\"\non_expiry = \"accept_highest\"\n")
        .unwrap();
    let thread = open_as(&room, "bob", &task, &["--set", "priority=3"]);
    room.at("2026-11-20T12:00:00Z");
    let refused = room.run(&["thread", "reply", &thread, "rather not"]).error("ERR_INVALID_STATE", 4);
    assert!(refused["message"].as_str().unwrap().contains("accepted"), "{refused}");
    assert_eq!(room.run(&["thread", "show", &thread]).data()["status"], "accepted");
    assert_eq!(room.get(&task)["priority"], 3);
}

#[test]
fn every_change_of_a_task_first_records_what_expired() {
    for change in [
        &["note", "TASK", "one"][..],
        &["context", "supersede", "NOTE", "--content", "two"],
        &["thread", "open", "TASK", "--body", "y", "--no-hold"],
        &["thread", "reply", "OTHER", "--body", "y"],
        &["lease", "acquire", "--task-id", "TASK"],
        &["progress", "add", "TASK", "a step"],
        &["lint", "--fix"],
        &["resolve"],
    ] {
        let room = Sandbox::new();
        room.at("2026-11-01T10:00:00Z");
        let task = room.task("x", &[]);
        let note = id_of(&room.run(&["note", &task, "n"]));
        let other = open_as(&room, "ada", &task, &["--no-hold", "--ttl", "100h"]);
        let thread = open_as(&room, "bob", &task, &["--set", "priority=1"]);
        room.at("2026-11-03T10:00:00Z");
        if ["lint", "resolve"].contains(&change[0]) {
            let yaml = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
            std::fs::write(room.yaml_of(&task), yaml.replace("title: x", "title: by hand")).unwrap();
        }
        let words = change.iter().map(|word| match *word {
            "TASK" => task.as_str(),
            "NOTE" => note.as_str(),
            "OTHER" => other.as_str(),
            word => word,
        });
        let answer = room.run(&words.collect::<Vec<_>>());
        assert_eq!(answer.code, 0, "{change:?}: {answer:?}");
        let log = std::fs::read_to_string(room.log_of(&task)).unwrap();
        let types: Vec<Value> =
            log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].clone()).collect();
        let escalated = types.iter().filter(|one| **one == "ThreadEscalated").count();
        assert_eq!((escalated, &types[4]), (1, &json!("ThreadEscalated")), "{change:?}: {types:?}");
        assert_eq!(room.run(&["thread", "show", &thread]).data()["escalated"]["at"], "2026-11-03T10:00:00Z");
        room.is_clean();
    }
}

#[test]
fn a_change_is_decided_upon_what_the_expiry_of_a_thread_made_of_the_task() {
    let room = Sandbox::new();
    room.at("2026-11-01T10:00:00Z");
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("config.toml"), "[thread]\non_expiry = \"accept_highest\"\n").unwrap();
    open_as(&room, "bob", &task, &["--set", "priority=3"]);
    room.at("2026-11-03T10:00:00Z");
    let proposal = r#"[{"op":"test","path":"/priority","value":3},{"op":"replace","path":"/priority","value":4}]"#;
    std::fs::write(room.repo().join("p.json"), proposal).unwrap();
    room.run(&["thread", "open", &task, "--body", "more", "--patch", "p.json"]).data();
    assert_eq!(room.get(&task)["priority"], 3);
}

#[test]
fn a_thread_is_answered_in_the_file() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &[]);
    let handle = &thread[20..];
    let yaml = || std::fs::read_to_string(room.yaml_of(&task)).unwrap();
    let append = |text: &str| std::fs::write(room.yaml_of(&task), yaml() + text).unwrap();
    let messages = || room.run(&["thread", "show", &thread]).data()["messages"].as_array().unwrap().clone();
    append(&format!("  - thread: {thread}\n    body: an answer\n"));
    assert!(room.run(&["lint", "--fix", "--format", "text"]).stdout.contains("recorded the edit of threads"));
    room.is_clean();
    assert_eq!((&messages()[0]["body"], &messages()[0]["author"]), (&json!("an answer"), &json!("ada")));
    // Where one thread is open, it need not be named; and an answer may propose a change.
    append("  - a plain text\n  - body: rather\n    patch: [{op: replace, path: /priority, value: 2}]\n");
    room.run(&["resolve"]).data();
    assert_eq!((messages().len(), &messages()[1]["body"]), (3, &json!("a plain text")));
    room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    assert_eq!(room.get(&task)["priority"], 2);
    let last = room.run(&["log", &task, "--type", "ThreadReplied"]).data()["items"][0].clone();
    assert_eq!(last["why"], "hand edit");

    // The rules are those of the command, and all else stays refused.
    let before = yaml();
    let refused = |text: String, why: &str| {
        std::fs::write(room.yaml_of(&task), text).unwrap();
        let report = room.run(&["lint", "--fix", "--format", "text"]);
        assert!(report.stdout.contains(why), "{why}: {report:?}");
        std::fs::write(room.yaml_of(&task), &before).unwrap();
    };
    refused(format!("{before}  - thread: {handle}\n    body: late\n"), "is accepted");
    refused(format!("{before}  - body: to whom?\n"), "no thread of the task is open");
    refused(before.replace("body: an answer", "body: another"), "cannot be changed by hand");
    refused(format!("{before}  - thread: {handle}\n    text: hm\n"), "did you mean body?");
    refused(format!("{before}  - thread: {handle}\n    author: eve\n    body: hm\n"), "the agent that records it");
    std::fs::write(room.store().join("roles.yml"), "agents: {ada: {perms: [update]}, bob: {perms: [admin]}}\n")
        .unwrap();
    let open = open_as(&room, "bob", &task, &[]);
    append(&format!("  - thread: {open}\n    body: may I?\n"));
    assert!(room.run(&["lint", "--fix", "--format", "text"]).stdout.contains("may not reply"));
}

#[test]
fn an_answer_in_the_file_that_two_clones_find_is_one_message() {
    let (mut task, mut thread) = (String::new(), String::new());
    let twins = Twins::new(|room| {
        task = room.task("x", &[]);
        thread = open_as(room, "bob", &task, &[]);
        let yaml = std::fs::read_to_string(room.yaml_of(&task)).unwrap();
        std::fs::write(room.yaml_of(&task), format!("{yaml}  - body: an answer\n")).unwrap();
    });
    twins.ada(&["resolve"]).data();
    twins.bob(&["resolve"]).data();
    twins.merge();
    twins.ada(&["resolve"]).data();
    let shown = twins.ada(&["thread", "show", &thread]).data();
    assert_eq!(shown["messages"].as_array().unwrap().len(), 1, "{shown:#}");
}

#[test]
fn an_expired_thread_accepts_only_who_may_decide_it() {
    let room = Sandbox::new();
    room.at("2026-11-20T10:00:00Z");
    let task = room.task("x", &[]);
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    std::fs::write(room.store().join("config.toml"), "[thread]\nttl = \"1h\"\non_expiry = \"accept_highest\"\n")
        .unwrap();
    let needs = ["--set", "title=hacked", "--need-precedence", "30"];
    let low = open_as(&room, "joe", &task, &needs);
    let high = open_as(&room, "bob", &task, &["--set", "priority=2", "--need-perm", "resolve", "--no-hold"]);
    room.run_as("eve", &["thread", "reply", &high, "--body", "rather", "--set", "priority=4"]).data();
    room.run(&["agent", "register", "--name", "pat"]).data();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    room.at("2026-11-20T11:00:00Z");
    room.run(&["task", "update", &task, "--estimate", "1d"]).data();
    let shown = room.run(&["thread", "show", &low]).data();
    assert_eq!((&shown["status"], shown.get("escalated").is_some()), (&json!("open"), true), "{shown}");
    let now = room.get(&task);
    assert_eq!((&now["title"], &now["priority"]), (&json!("x"), &json!(4)));
    assert_eq!(room.run(&["thread", "show", &high]).data()["status"], "accepted");
    room.git(&["add", "-A"]).text();
    let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
    assert_eq!(report["errors"], 0, "{report:#}");

    // The gate judges alike.
    room.git(&["reset", "-q", "--hard"]).text();
    std::fs::remove_file(room.store().join("roles.yml")).unwrap();
    let by_joe = room.run_as("joe", &["task", "update", &task, "--estimate", "1d"]);
    by_joe.data();
    assert_eq!(room.get(&task)["title"], "hacked", "without roles every agent may decide");
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.git(&["add", "-A"]).text();
    let report = room.run(&["lint", "--base", "HEAD"]).json()["data"].clone();
    assert!(report.to_string().contains("that needs precedence 30"), "{report:#}");
}

#[test]
fn a_thread_is_escalated_only_to_an_agent_that_may_decide_it() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    room.run(&["claim", &task]).data();
    let thread = open_as(&room, "bob", &task, &[]);
    let escalate = |to: &str| room.run_as("bob", &["thread", "escalate", &thread, "--to", to]);
    let refused = escalate("carl").error("ERR_UNAUTHORIZED", 6);
    assert!(refused["message"].as_str().unwrap().contains("ada decides it"), "{refused}");
    assert!(room.run(&["thread", "show", &thread]).data().get("escalated").is_none());
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    for (to, words) in [("joe", "ada decides it"), ("pat", "lacks the right resolve"), ("bob", "lacks the right")] {
        let refused = escalate(to).error("ERR_UNAUTHORIZED", 6);
        assert!(refused["message"].as_str().unwrap().contains(words), "{to}: {refused}");
    }
    escalate("Bad Name").error("ERR_VALIDATION", 4);
    escalate("eve").data();
    room.run_as("eve", &["thread", "resolve", &thread, "--resolution", "reject"]).data();
    let own = open_as(&room, "bob", &task, &["--need-precedence", "40"]);
    room.run_as("bob", &["thread", "escalate", &own, "--to", "ada"]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("bob", &["thread", "escalate", &own, "--to", "eve"]).data();
}

#[test]
fn an_answered_question_is_accepted_with_its_answer() {
    let room = Sandbox::new();
    let task = room.task("x", &[]);
    let thread = open_as(&room, "bob", &task, &[]);
    let accept = |more: &[&str]| room.run(&[&["thread", "resolve", &thread, "--resolution", "accept"], more].concat());
    let refused = accept(&[]).error("ERR_VALIDATION", 4);
    assert!(refused["hint"].as_str().unwrap().contains("once it has an answer"), "{refused}");
    let first = id_of(&room.run(&["thread", "reply", &thread, "--body", "yes"]));
    room.run(&["thread", "reply", &thread, "--body", "at least I think so"]).data();
    accept(&["--message", &thread]).error("ERR_VALIDATION", 4);
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "--no-verify", "-m", "base"]).text();
    let before = room.get(&task);
    accept(&["--message", &first, "--why", "thanks"]).data();
    let shown = room.run(&["thread", "show", &thread]).data();
    assert_eq!((&shown["status"], &shown["resolution"]["message"]), (&json!("accepted"), &json!(first)), "{shown}");
    assert_eq!((&room.get(&task)["title"], &room.get(&task)["priority"]), (&before["title"], &before["priority"]));
    std::fs::write(room.store().join("roles.yml"), ROLES).unwrap();
    room.git(&["add", "-A"]).text();
    assert_eq!(room.run(&["lint", "--base", "HEAD"]).json()["data"]["errors"], 0);
    std::fs::remove_file(room.store().join("roles.yml")).unwrap();
    room.is_clean();

    // The newest answer, unless one is named; not where a change is proposed.
    let thread = open_as(&room, "bob", &task, &[]);
    let answer = id_of(&room.run(&["thread", "reply", &thread, "--body", "no"]));
    room.run(&["thread", "resolve", &thread, "--resolution", "accept"]).data();
    assert_eq!(room.run(&["thread", "show", &thread]).data()["resolution"]["message"], answer);
    let thread = open_as(&room, "bob", &task, &["--set", "priority=2"]);
    let answer = id_of(&room.run(&["thread", "reply", &thread, "--body", "no"]));
    let refused = room.run(&["thread", "resolve", &thread, "--resolution", "accept", "--message", &answer]);
    refused.error("ERR_VALIDATION", 4);
    let heard = room.run_as("bob", &["inbox", "--all"]).stdout;
    assert!(heard.contains("ada accepted an answer"), "{heard}");
}
