//! Notices in answers: who holds a task, which leases changed, and which command comes next.

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};
use crate::sync::Clones;

const TEN: &str = "2026-11-20T10:00:00Z";

fn within(room: &Sandbox, agent: &str, session: &str, args: &[&str]) -> Answer {
    room.run_as(agent, &[args, &["--session", session]].concat())
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{word:?} is not in:\n{text}");
    }
}

#[track_caller]
fn page(answer: &Answer) -> String {
    answer.data()["text"].as_str().unwrap().to_owned()
}

/// Clones whose leases the remote confirms.
fn confirmed(names: &[&str]) -> (Clones, String) {
    let (clones, task) = Clones::new(names);
    let home = clones.room.home().join(".agentpm");
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("config.toml"), "[lease]\nremote = \"origin\"\n").unwrap();
    (clones, task)
}

#[test]
fn sync_reports_changed_leases_in_words() {
    let (clones, task) = confirmed(&["ann", "bob"]);
    let handle = &task[20..];
    let (hub, away) = (clones.room.beside("remote.git"), clones.room.beside("away.git"));
    std::fs::rename(&hub, &away).unwrap();
    let alone = clones.run("ann", &["claim", &task, "--format", "table"]);
    says(alone.text(), &["not confirmed: agentpm sync asks the remote again"]);
    clones.run("bob", &["claim", &task]).data();
    std::fs::rename(&away, &hub).unwrap();
    let first = clones.run("ann", &["sync", "--format", "table"]);
    says(first.text(), &[&format!("confirmed  {handle}")]);
    let second = clones.run("bob", &["sync", "--format", "table"]);
    says(second.text(), &[&format!("lost  {handle}  bob's lease: ann took the task")]);

    // The lists name the task, whose lease it is, and where.
    let own = clones.run("ann", &["lease", "list"]).data()["items"][0].clone();
    assert_eq!(
        (&own["title"], &own["handle"], &own["elsewhere"], &own["mine"], &own["task"]),
        (&json!("shared"), &json!(handle), &json!(false), &json!(true), &json!(task))
    );
    for (name, mine) in [("ann", true), ("bob", false)] {
        let there = clones.run(name, &["lease", "list", "--remote"]).data()["items"][0].clone();
        assert_eq!((&there["mine"], &there["elsewhere"]), (&json!(mine), &json!(!mine)), "{there:#}");
        assert_eq!((&there["title"], &there["handle"]), (&json!("shared"), &json!(handle)));
    }
    let there = clones.run("ann", &["lease", "list", "--remote", "--all", "--format", "table"]);
    says(there.text(), &["state", "held", "shared"]);

    // Bob's page says who has it now, and not how to finish.
    let text = page(&clones.run("bob", &["brief", &task]));
    says(&text, &["ann has it in another clone", "your lease of it passed on", "agentpm next --claim"]);
    assert!(!text.contains("agentpm done") && !text.contains("lease renew"), "{text}");
    let claimed = clones.run("ann", &["claim", &task, "--format", "table"]);
    says(claimed.text(), &["confirmed by the remote"]);

    clones.room.git_in(&clones.dir("ann"), &["remote", "rename", "origin", "hub"]).text();
    let sick = clones.run("ann", &["doctor"]);
    assert_eq!(sick.code, 1);
    let sick = sick.json()["data"].clone();
    let check = sick["checks"].as_array().unwrap().iter().find(|check| check["check"] == "leases").unwrap().clone();
    assert_eq!((&sick["healthy"], &check["ok"]), (&json!(false), &json!(false)), "{check:#}");
    says(&check.to_string(), &["origin", "no such remote", "git remote -v"]);
}

#[test]
fn brief_names_the_holder_and_the_next_steps() {
    let room = Sandbox::new();
    room.at(TEN);
    let task = room.task("one", &[]);
    let handle = &task[20..];
    room.run(&["claim", &task]).data();
    let mine = page(&room.run(&["brief", &task]));
    says(&mine, &["ada until 2026-11-20T10:10:00Z", "agentpm lease renew", &format!("agentpm done {handle}")]);

    let others = page(&room.run_as("bob", &["brief", &task]));
    says(&others, &["ada has it until 2026-11-20T10:10:00Z", "agentpm next --claim", "agentpm note"]);
    assert!(!others.contains("agentpm done") && !others.contains("lease renew"), "{others}");

    room.at("2026-11-20T10:20:00Z");
    let mine = page(&room.run(&["brief", &task]));
    says(&mine, &["yours, expired at 2026-11-20T10:10:00Z", "agentpm lease renew"]);
    let others = page(&room.run_as("bob", &["brief", &task]));
    says(&others, &["ada had it, expired at 2026-11-20T10:10:00Z", &format!("take it over: agentpm claim {handle}")]);
    assert!(!others.contains("agentpm done"), "{others}");

    // The reasons do not call that work either.
    let why = room.run_as("bob", &["ready", "--explain"]).data()["explained"]["items"][0].clone();
    says(why["words"][0].as_str().unwrap(), &["in_progress by ada, whose lease expired at 2026-11-20T10:10:00Z"]);
    assert_eq!(why["reasons"][0]["lease_expired_at"], "2026-11-20T10:10:00Z");

    room.run(&["lease", "renew", &task]).data();
    room.run(&["lease", "release", &task]).data();
    let others = page(&room.run_as("bob", &["brief", &task]));
    says(&others, &["ada works on it", "agentpm next --claim"]);
}

#[test]
fn commands_without_a_task_use_the_one_of_their_session() {
    let room = Sandbox::new();
    room.at(TEN);
    let start = || room.run(&["session", "start", "--quiet"]).text().to_owned();
    let (first, second) = (start(), start());
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    within(&room, "ada", &first, &["claim", &one]).data();
    within(&room, "ada", &second, &["claim", &two]).data();
    // Each session's page is that of its own task, as done would take it.
    for (session, task) in [(&first, &one), (&second, &two)] {
        assert_eq!(within(&room, "ada", session, &["brief"]).data()["task"]["id"], task.as_str());
    }
    for words in [&["brief"][..], &["show"], &["task", "update", "--priority", "1"]] {
        room.run(words).error("ERR_AMBIGUOUS_ID", 3);
        room.run_as("bob", words).error("ERR_NOT_FOUND", 3);
    }
    let held = |words: &[&str]| within(&room, "ada", &first, words);
    assert_eq!(held(&["show"]).data()["id"], json!(one));
    assert_eq!(held(&["task", "path"]).data()["id"], json!(one));
    assert_eq!(held(&["task", "update", "--priority", "1", "--acceptance", "it works"]).data()["id"], json!(one));
    assert!(held(&["blame"]).data()["items"].as_array().unwrap().iter().any(|item| item["value"] == 1));
    assert_eq!(held(&["task", "verify", "--criterion", "1"]).data()["id"], json!(one));
    assert_eq!(room.run_as("ada", &["work", "--session", &first, "--", "true"]).code, 0);
    // What it holds is its own work, which another agent judges.
    let refused = held(&["task", "verify", "--accept"]).error("ERR_USAGE", 2);
    says(refused["message"].as_str().unwrap(), &[&one[20..], "(one)", "agentpm done"]);
    says(refused["hint"].as_str().unwrap(), &["is:unreviewed"]);

    let listed = room.run(&["session", "list"]).data();
    let listed = listed["items"].as_array().unwrap().iter().find(|item| item["id"] == first.as_str()).unwrap();
    assert_eq!((&listed["handle"], &listed["title"]), (&json!([&one[20..]]), &json!(["one"])));
    let table = room.run(&["session", "list", "--format", "table"]);
    assert!(table.text().trim_start().starts_with("handle"), "{table:?}");
    let table = room.run(&["lease", "list", "--format", "table"]);
    assert!(table.text().trim_start().starts_with("handle"), "{table:?}");
    says(table.text(), &["one", "two"]);

    room.at("2026-11-20T10:05:00Z");
    let beat = within(&room, "ada", &first, &["session", "heartbeat"]).data();
    assert_eq!((&beat["id"], &beat["last_heartbeat_at"]), (&json!(first), &json!("2026-11-20T10:05:00Z")));
    let shown = within(&room, "ada", &first, &["session", "heartbeat", "--format", "table"]);
    says(shown.text(), &["last heartbeat at 2026-11-20T10:05:00Z"]);
    for _ in 0..2 {
        let ended = within(&room, "ada", &first, &["session", "end"]).data();
        assert_eq!((&ended["id"], &ended["status"]), (&json!(first), &json!("closed")));
    }
    within(&room, "ada", &first, &["session", "heartbeat"]).error("ERR_INVALID_STATE", 4);
    let refused = room.run(&["session", "heartbeat"]).error("ERR_USAGE", 2);
    says(refused["hint"].as_str().unwrap(), &["AGENTPM_SESSION"]);
    within(&room, "ada", "01K5R4XJ7Z0000000000000001", &["session", "end"]).error("ERR_NOT_FOUND", 3);
}

#[test]
fn doctor_counts_silent_sessions_and_stale_tasks() {
    let room = Sandbox::new();
    room.at(TEN);
    let session = room.run(&["session", "start", "--quiet"]).text().to_owned();
    let task = room.task("one", &[]);
    within(&room, "ada", &session, &["claim", &task]).data();
    let check = || {
        let report = room.run(&["doctor"]).data();
        report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "leases").unwrap().clone()
    };
    assert_eq!((&check()["found"], &check()["mend"]), (&json!("1 live, 0 over"), &Value::Null));
    room.at("2026-11-20T12:00:00Z");
    let found = check();
    assert_eq!(found["ok"], true);
    says(found["found"].as_str().unwrap(), &["1 session silent", "1 task in progress"]);
    says(found["mend"].as_str().unwrap(), &["agentpm session list", "agentpm stale"]);
    says(&room.run(&["doctor", "--format", "table"]).stdout, &["agentpm stale"]);
}

#[test]
fn next_explain_gives_reasons_in_json_and_in_words() {
    let room = Sandbox::new();
    let (one, _) = (room.task("one", &[]), room.task("two", &["--priority", "-5"]));
    room.run(&["claim", &one]).data();
    let found = room.run_as("bob", &["next", "--explain", "--format", "table"]);
    says(found.text(), &["two", "score", "Not ready", &one[20..], "ada holds it"]);
    room.run_as("bob", &["next", "--claim", "--explain"]).data();
    for args in [&["next", "--explain"][..], &["next", "--claim", "--explain"]] {
        let nothing = room.run_as("cara", args).json();
        assert_eq!(nothing["data"], Value::Null);
        assert_eq!(nothing["reasons"]["explained"]["items"].as_array().unwrap().len(), 2, "{args:?}: {nothing:#}");
        let words = room.run_as("cara", &[args, &["--format", "table"]].concat());
        says(words.text(), &["nothing is ready", "one: ada holds it", "two: bob holds it"]);
    }
    let plain = room.run_as("cara", &["next", "--claim"]).json();
    assert!(plain["reasons"].get("explained").is_none(), "{plain:#}");
    let page = room.run(&["prime"]);
    says(page.text(), &["agentpm session start", "AGENTPM_SESSION"]);
    assert!(page.text().len() as f64 / 3.5 < 1_500.0);
}

#[test]
fn a_finding_about_a_trailer_names_its_commit() {
    let room = Sandbox::new();
    room.git(&["add", "-A"]).text();
    room.git(&["commit", "-q", "-m", "base"]).text();
    room.git(&["tag", "base"]).text();
    room.git(&["commit", "-q", "--allow-empty", "-m", "work\n\nAgentpm-Lease: ZZZZZZ@1"]).text();
    let finding = room.run(&["lint", "--base", "base"]).json()["data"]["findings"][0].clone();
    let commit = finding["commit"].as_str().unwrap();
    assert!(room.git(&["rev-parse", "HEAD"]).text().starts_with(commit), "{finding:#}");
}
