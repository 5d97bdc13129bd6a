//! Sessions: every command is a heartbeat, a silent session is closed, and no work is lost with it.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::sandbox::{Answer, Sandbox};

const TEN: &str = "2026-11-20T10:00:00Z";

fn start(room: &Sandbox, agent: &str) -> String {
    room.run(&["session", "start", "--agent-id", agent, "--quiet"]).text().to_owned()
}

/// Runs a command of an agent in a session.
fn within(room: &Sandbox, agent: &str, session: &str, args: &[&str]) -> Answer {
    room.run_as(agent, &[args, &["--session", session]].concat())
}

#[track_caller]
fn session(room: &Sandbox, id: &str) -> Value {
    let list = room.run(&["session", "list", "--all"]).data();
    list["items"].as_array().unwrap().iter().find(|item| item["id"] == id).expect("the session is listed").clone()
}

fn runtime(room: &Sandbox) -> PathBuf {
    room.repo().join(".git/agentpm")
}

#[test]
fn every_command_of_a_session_is_a_sign_of_life() {
    let room = Sandbox::new();
    room.at(TEN);
    let id = start(&room, "ada");
    assert_eq!(session(&room, &id)["last_heartbeat_at"], TEN);

    room.at("2026-11-20T10:05:00Z");
    within(&room, "ada", &id, &["task", "create", "--title", "x"]).data();
    let after = session(&room, &id);
    assert_eq!((&after["last_heartbeat_at"], &after["status"]), (&json!("2026-11-20T10:05:00Z"), &json!("active")));

    // One who only reads leaves the time of a file, in the git folder; the record itself stays as it was.
    let record = runtime(&room).join("sessions").join(format!("{id}.json"));
    let before = fs::read(&record).unwrap();
    let tree = room.git(&["status", "--porcelain", "--ignored"]).stdout;
    room.at("2026-11-20T10:10:00Z");
    within(&room, "ada", &id, &["task", "list"]).data();
    assert_eq!(session(&room, &id)["last_heartbeat_at"], "2026-11-20T10:10:00Z");
    assert_eq!((fs::read(&record).unwrap(), room.git(&["status", "--porcelain", "--ignored"]).stdout), (before, tree));

    // Not with each question: a tenth of the limit must have passed.
    room.at("2026-11-20T10:11:00Z");
    within(&room, "ada", &id, &["ready"]).data();
    assert_eq!(session(&room, &id)["last_heartbeat_at"], "2026-11-20T10:10:00Z");

    // Others do not speak for it.
    room.at("2026-11-20T10:20:00Z");
    let other = within(&room, "bob", &id, &["task", "list"]);
    assert!(other.stderr.contains("is ada's, not bob's"), "{other:?}");
    let other = within(&room, "bob", &id, &["task", "create", "--title", "y"]);
    assert!(other.stderr.contains("is ada's, not bob's"), "{other:?}");
    assert_eq!(session(&room, &id)["last_heartbeat_at"], "2026-11-20T10:10:00Z");
}

#[test]
fn a_sign_of_life_survives_a_crash_between_journal_and_record() {
    let room = Sandbox::new();
    room.at(TEN);
    let id = start(&room, "ada");
    let files = [runtime(&room).join("mark.json"), runtime(&room).join("sessions").join(format!("{id}.json"))];
    let before = files.clone().map(|file| (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().modified().unwrap()));
    room.at("2026-11-20T10:05:00Z");
    within(&room, "ada", &id, &["task", "create", "--title", "x"]).data();
    let record = fs::read(&files[1]).unwrap();
    for (file, (bytes, time)) in files.iter().zip(before) {
        fs::write(file, bytes).unwrap();
        fs::File::options().write(true).open(file).unwrap().set_modified(time).unwrap();
    }
    room.at("2026-11-20T10:06:00Z");
    room.task("for the next agent", &[]);
    assert_eq!(fs::read(&files[1]).unwrap(), record);
}

#[test]
fn a_closed_or_unknown_session_writes_nothing() {
    let room = Sandbox::new();
    room.at(TEN);
    let id = start(&room, "ada");
    room.run(&["session", "end", &id]).data();
    assert_eq!(session(&room, &id)["status"], "closed");
    let unknown = "01K5R4XJ7Z0000000000000001";
    for (session, code, exit) in [(id.as_str(), "ERR_INVALID_STATE", 4), (unknown, "ERR_NOT_FOUND", 3)] {
        let refused = within(&room, "ada", session, &["task", "create", "--title", "x"]);
        assert!(refused.error(code, exit)["hint"].as_str().unwrap().contains("agentpm session start"));
        let read = within(&room, "ada", session, &["task", "list"]);
        assert_eq!(read.data()["total"], 0);
        assert!(read.stderr.contains(session) && read.stderr.contains("agentpm session start"), "{read:?}");
        // It does not prevent the start of another.
        within(&room, "ada", session, &["session", "start"]).data();
    }
    room.run(&["session", "heartbeat", &id]).error("ERR_INVALID_STATE", 4);
    room.run(&["session", "end", &id]).data();
}

#[test]
fn session_end_names_the_tasks_it_holds() {
    let room = Sandbox::new();
    room.at(TEN);
    let (id, task) = (start(&room, "ada"), room.task("one", &[]));
    within(&room, "ada", &id, &["claim", &task]).data();
    assert_eq!(session(&room, &id)["tasks"], json!([task]));
    let ended = within(&room, "ada", &id, &["session", "end", &id]);
    assert_eq!(ended.data()["status"], "closed");
    assert!(ended.stderr.contains(&task[20..]) && ended.stderr.contains("agentpm release"), "{ended:?}");
    // It is listed for as long as it holds something.
    assert_eq!(room.run(&["session", "list"]).data()["total"], 1);

    // The same agent continues in another session; no other agent may.
    let next = start(&room, "ada");
    room.run_as("bob", &["claim", &task]).error("ERR_LEASE_HELD", 5);
    let mine = within(&room, "ada", &next, &["task", "update", &task, "--priority", "1"]).error("ERR_LEASE_HELD", 5);
    assert!(mine["hint"].as_str().unwrap().contains(&format!("agentpm claim {}", &task[20..])), "{mine}");
    within(&room, "ada", &next, &["claim", &task]).data();
    within(&room, "ada", &next, &["done", &task]).data();
    assert_eq!(room.run(&["session", "list"]).data()["items"][0]["id"], next);
}

#[test]
fn a_silent_session_is_closed_and_its_task_is_handed_out() {
    let room = Sandbox::new();
    room.at(TEN);
    let (silent, alive) = (start(&room, "bob"), start(&room, "cara"));
    let (one, two) = (room.task("one", &["--priority", "1"]), room.task("two", &[]));
    within(&room, "bob", &silent, &["claim", &one]).data();
    within(&room, "cara", &alive, &["claim", &two]).data();

    // Cara's lease runs out, but she is heard of.
    room.at("2026-11-20T10:14:00Z");
    within(&room, "cara", &alive, &["task", "list"]).data();
    room.at("2026-11-20T10:20:00Z");
    for args in [&["next"][..], &["next", "--claim"]] {
        let nothing = room.run(args).json();
        assert_eq!(nothing["data"], Value::Null);
        let abandoned = nothing["reasons"]["abandoned"].as_array().unwrap();
        assert_eq!(abandoned.len(), 1, "{nothing:#}");
        assert_eq!(
            (&abandoned[0]["task"], &abandoned[0]["owner"], &abandoned[0]["session"], &abandoned[0]["last_sign_at"]),
            (&json!(one), &json!("bob"), &json!(silent), &json!(TEN))
        );
        let take = abandoned[0]["take_over"].as_str().unwrap();
        assert_eq!(take.strip_prefix("agentpm claim ").unwrap(), &one[20..]);
    }
    assert!(room.run(&["next", "--format", "table"]).stdout.contains("abandoned by bob"));

    // The claim closed the silent session, in the journal alone.
    assert_eq!(
        (session(&room, &silent)["status"].as_str(), session(&room, &alive)["status"].as_str()),
        (Some("closed"), Some("active"))
    );
    let journal = fs::read_to_string(runtime(&room).join("journal.jsonl")).unwrap();
    let ended: Vec<&str> = journal.lines().filter(|line| line.contains("SessionEnded")).collect();
    assert_eq!(ended.len(), 1);
    assert!(ended[0].contains(&silent) && ended[0].contains(r#""silent":true"#), "{ended:?}");

    let stale = room.run(&["stale"]).data();
    assert_eq!(stale["total"], 1, "{stale:#}");
    let item = &stale["items"][0];
    assert_eq!(
        (&item["id"], &item["owner"], &item["session_status"], &item["silent_seconds"], &item["lease_expired_at"]),
        (&json!(one), &json!("bob"), &json!("closed"), &json!(1200), &json!("2026-11-20T10:10:00Z"))
    );

    let taken = room.run(&["claim", &one]);
    assert_eq!(
        taken.data()["taken_over"],
        json!({ "agent": "bob", "session": silent, "last_sign_at": TEN, "lease_expired_at": "2026-11-20T10:10:00Z" })
    );
    assert!(taken.stderr.contains("was in progress by bob") && taken.stderr.contains(&silent), "{taken:?}");
    assert!(room.run(&["claim", &one]).data()["taken_over"].is_null(), "it is taken over once");
    room.run_as("bob", &["task", "update", &one, "--priority", "3"]).error("ERR_LEASE_LOST", 5);
    room.is_clean();
}

#[test]
fn a_late_heartbeat_keeps_a_silent_session() {
    let room = Sandbox::new();
    room.at(TEN);
    let (id, other) = (start(&room, "ada"), start(&room, "bob"));
    room.at("2026-11-20T11:00:00Z");
    assert_eq!(session(&room, &id)["status"], "silent");
    room.run(&["session", "heartbeat", &id]).data();
    assert_eq!(session(&room, &id)["status"], "active");
    assert_eq!(session(&room, &other)["status"], "closed");
}

#[test]
fn the_silence_limit_applies_to_owners_without_a_lease() {
    let room = Sandbox::new();
    fs::write(room.store().join("config.toml"), "format = 1\n[session]\nlimit_seconds = 60\n").unwrap();
    room.at(TEN);
    let (id, task) = (start(&room, "ada"), room.task("one", &[]));
    room.run(&["claim", &task]).data();
    room.run(&["lease", "release", &task]).data();
    room.at("2026-11-20T10:00:59Z");
    assert_eq!(
        (room.run(&["stale"]).data()["total"].as_u64(), session(&room, &id)["status"].as_str()),
        (Some(0), Some("active"))
    );
    room.at("2026-11-20T10:01:00Z");
    let stale = room.run(&["stale"]).data();
    assert_eq!((&stale["items"][0]["owner"], &stale["items"][0]["session"]), (&json!("ada"), &Value::Null));
    assert_eq!(session(&room, &id)["status"], "silent");
    assert_eq!(room.run(&["stale", "--for", "1h"]).data()["total"], 0);
    let table = room.run(&["stale", "--format", "table"]).stdout;
    assert!(table.contains("session status") && table.contains("ada"), "{table}");
    let table = room.run(&["session", "list", "--format", "table"]).stdout;
    assert!(table.contains("last heartbeat at") && table.contains("silent"), "{table}");
}

#[test]
fn a_session_that_was_closed_for_its_silence_goes_on_when_it_is_heard_again() {
    let room = Sandbox::new();
    room.at(TEN);
    let silent = start(&room, "bob");
    let (one, two) = (room.task("one", &[]), room.task("two", &[]));
    within(&room, "bob", &silent, &["claim", &one]).data();
    within(&room, "bob", &silent, &["claim", &two]).data();
    room.at("2026-11-20T10:40:00Z");
    room.run(&["claim", &one]).data();
    let closed = session(&room, &silent);
    assert_eq!((&closed["status"], &closed["fell_silent"]), (&json!("closed"), &json!(true)));
    let record = |folder: &str| runtime(&room).join(folder).join(format!("{silent}.json"));
    assert!(record("sessions/closed").exists() && !record("sessions").exists());

    // A read names the way to continue; no other agent may use the session; starting another leaves it closed.
    let asked = within(&room, "bob", &silent, &["task", "list"]);
    assert!(asked.stderr.contains(&format!("agentpm session heartbeat {silent}")), "{asked:?}");
    within(&room, "ada", &silent, &["note", &one, "--content", "not bob"]).error("ERR_INVALID_STATE", 4);
    let next = within(&room, "bob", &silent, &["session", "start", "--quiet"]).text().to_owned();
    room.run(&["session", "end", &next]).data();
    assert_eq!(session(&room, &silent)["status"], "closed");

    // The rules of leases report what was taken over; notes are kept, and the session continues.
    let lost = within(&room, "bob", &silent, &["done", &one]).error("ERR_LEASE_LOST", 5);
    assert_eq!(lost["details"]["holder"], "ada");
    let files = [runtime(&room).join("mark.json"), record("sessions/closed")];
    let before = files.clone().map(|file| fs::read(&file).unwrap());
    let note = within(&room, "bob", &silent, &["note", &one, "--content", "how far I came"]);
    note.data();
    let words = format!("session {silent} had been closed after 40 minutes of silence");
    assert_eq!(note.stderr.matches(&words).count(), 1, "{note:?}");
    let open = session(&room, &silent);
    assert_eq!(
        (&open["status"], &open["ended_at"], &open["fell_silent"]),
        (&json!("active"), &Value::Null, &Value::Null)
    );
    assert!(record("sessions").exists() && !record("sessions/closed").exists());
    assert_eq!(room.get(&one)["context"][0]["content"], "how far I came");

    // The same when a crash came between the journal and the record.
    let written = fs::read(record("sessions")).unwrap();
    fs::remove_file(record("sessions")).unwrap();
    for (file, bytes) in files.iter().zip(before) {
        fs::write(file, bytes).unwrap();
    }
    room.task("for the next agent", &[]);
    assert_eq!(fs::read(record("sessions")).unwrap(), written);
    assert!(!record("sessions/closed").exists());

    // Bob may still renew the lease that no agent took over.
    within(&room, "bob", &silent, &["lease", "renew", &two]).data();
    let quiet = within(&room, "bob", &silent, &["done", &two]);
    quiet.data();
    assert!(!quiet.stderr.contains("silence"), "{quiet:?}");

    // By a heartbeat too; and what fell silent can be ended for good.
    room.at("2026-11-20T11:40:00Z");
    let other = start(&room, "cara");
    assert_eq!(session(&room, &silent)["status"], "closed");
    let beat = room.run_as("bob", &["session", "heartbeat", &silent]);
    assert_eq!(beat.data()["status"], "active");
    assert!(beat.stderr.contains("60 minutes of silence"), "{beat:?}");
    room.at("2026-11-20T12:40:00Z");
    start(&room, "dan");
    assert_eq!(session(&room, &other)["status"], "closed");
    assert_eq!(room.run_as("bob", &["session", "end", &silent]).data()["status"], "closed");
    within(&room, "bob", &silent, &["note", &one, "--content", "too late"]).error("ERR_INVALID_STATE", 4);
}

#[test]
fn a_session_for_another_agent_asks_for_the_right_to_override() {
    let room = Sandbox::new();
    fs::write(
        room.store().join("roles.yml"),
        "agents:\n  ada: {perms: [admin]}\n  bob: {perms: [claim, override]}\n  cid: {perms: [claim]}\n",
    )
    .unwrap();
    room.run_as("cid", &["session", "start", "--agent-id", "ada"]).error("ERR_UNAUTHORIZED", 6);
    room.run_as("cid", &["session", "start", "--agent-id", "cid"]).data();
    room.run_as("bob", &["session", "start", "--agent-id", "cid"]).data();
}

#[test]
fn the_session_of_another_agent_is_kept_alive_and_ended_with_the_right_to_override() {
    let room = Sandbox::new();
    let id = start(&room, "ada");
    fs::write(
        room.store().join("roles.yml"),
        "agents:
  ada: {perms: [admin]}
  bob: {perms: [claim, override]}
  cid: {perms: [claim]}
",
    )
    .unwrap();
    for verb in ["heartbeat", "end"] {
        room.run_as("cid", &["session", verb, &id]).error("ERR_UNAUTHORIZED", 6);
        room.run_as("bob", &["session", verb, &id]).data();
    }
}

#[test]
fn a_new_session_hears_of_the_work_of_the_old_one() {
    let room = Sandbox::new();
    room.at(TEN);
    let (old, task) = (start(&room, "ada"), room.task("half done", &[]));
    let other = room.task("something else", &[]);
    within(&room, "ada", &old, &["claim", &task]).data();
    let new = start(&room, "ada");
    let claim = format!("agentpm claim {}", &task[20..]);
    // While the old session may still work, the new one is told to end it first.
    let status = within(&room, "ada", &new, &["status"]).data();
    let found = &status["other_sessions"][0];
    assert_eq!(
        (&found["id"], &found["session"], &found["session_status"]),
        (&json!(task), &json!(old), &json!("active"))
    );
    assert_eq!(found["take_over"], format!("agentpm session end {old} && {claim}"));
    assert_eq!((&status["mine"], &status["others"]), (&Value::Null, &Value::Null));

    room.at("2026-11-20T10:20:00Z");
    let words = format!("{} (half done): yours in session {old} (silent); go on: {claim}", &task[20..]);
    for args in [&["prime"][..], &["status", "--format", "table"], &["next", "--format", "table"]] {
        let answer = within(&room, "ada", &new, args);
        assert!(answer.text().contains(&words), "{args:?}: {answer:?}");
    }
    let stale = within(&room, "ada", &new, &["stale"]).data();
    assert_eq!((&stale["items"][0]["id"], &stale["items"][0]["go_on"]), (&json!(task), &json!(claim)));
    let next = within(&room, "ada", &new, &["next", "--claim"]).data();
    assert_eq!(
        (&next["task"]["id"], &next["reasons"]["other_sessions"][0]["take_over"]),
        (&json!(other), &json!(claim))
    );
    within(&room, "ada", &new, &["claim", &task]).data();
    let status = within(&room, "ada", &new, &["status"]).data();
    assert_eq!((status["mine"].as_array().unwrap().len(), status.get("other_sessions")), (2, None));
    // Another agent's session is its own affair, and without a session the agent holds its tasks in all of them.
    let eve = start(&room, "eve");
    assert_eq!(within(&room, "eve", &eve, &["status"]).data().get("other_sessions"), None);
    assert_eq!(room.run(&["status"]).data()["mine"].as_array().unwrap().len(), 2);
}

#[test]
fn a_command_without_a_task_reports_a_lost_lease_once() {
    let room = Sandbox::new();
    let task = room.at(TEN).task("one", &[]);
    room.run(&["claim", &task]).data();
    room.at("2026-11-20T10:11:00Z").run_as("bob", &["claim", &task]).data();
    let lost = room.run(&["done", "--all-met"]).error("ERR_LEASE_LOST", 5);
    assert_eq!(lost["details"]["holder"], "bob");
    for words in [&["done", "--all-met"][..], &["note", "late"], &["brief"]] {
        room.run(words).error("ERR_NOT_FOUND", 3);
    }
    room.run(&["done", &task]).error("ERR_LEASE_HELD", 5);
}

#[test]
fn a_silent_session_keeps_its_lease_until_it_expires() {
    let room = Sandbox::new();
    room.at(TEN);
    let (old, task) = (start(&room, "ada"), room.task("long work", &[]));
    within(&room, "ada", &old, &["claim", &task, "--ttl", "2h"]).data();
    let new = start(&room, "ada");
    room.at("2026-11-20T10:30:00Z");
    let held = within(&room, "ada", &new, &["claim", &task]).error("ERR_LEASE_HELD", 5);
    assert!(held["hint"].as_str().unwrap().contains(&format!("session end {old}")), "{held}");
    // The claim of another task closes the silent session.
    let other = room.task("another", &[]);
    within(&room, "ada", &new, &["claim", &other]).data();
    assert_eq!(session(&room, &old)["fell_silent"], true);
    within(&room, "ada", &new, &["claim", &task]).error("ERR_LEASE_HELD", 5);
    within(&room, "ada", &new, &["lease", "acquire", &task]).error("ERR_LEASE_HELD", 5);
    let claim = format!("agentpm claim {}", &task[20..]);
    let status = within(&room, "ada", &new, &["status"]).data();
    assert_eq!(status["other_sessions"][0]["take_over"], format!("agentpm session end {old} && {claim}"));
    // It goes on with its own lease.
    within(&room, "ada", &old, &["task", "update", &task, "--priority", "1"]).data();
    // An ended session gives way at once, a silent one when its lease is over.
    room.at("2026-11-20T11:40:00Z");
    room.run(&["session", "end", &old]).data();
    within(&room, "ada", &new, &["claim", &task]).data();
    within(&room, "ada", &old, &["task", "update", &task, "--priority", "2"]).error("ERR_INVALID_STATE", 4);
}
