//! The event stream of the server: events, ready tasks and inbox items, until the client leaves or its token is revoked.

use std::io::{BufRead, Read as _, Write as _};

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, wait_for};
use crate::server::{Server, listen, request, serve};

/// The data of the next message of this kind.
fn next(stream: &mut impl BufRead, kind: &str) -> Value {
    let mut found = false;
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("a message within the deadline") > 0, "the stream ended");
        match line.trim_end().split_once(": ") {
            Some(("event", text)) => found = text == kind,
            Some(("data", text)) if found => return serde_json::from_str(text).unwrap(),
            _ => {}
        }
    }
}

#[test]
fn a_task_that_became_ready_is_announced_to_the_stream() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let first = room.task("first", &[]);
    let second = room.task("second", &["--blocked-by", &first]);
    let mut stream = listen(server.connect(), "/events/stream", "localhost", &[]);
    room.run(&["claim", &first]).data();
    let done = room.run(&["done", &first]).data();
    let ready = next(&mut stream, "TaskReady");
    assert_eq!(ready["task"], json!(second), "{done}");
    let inbox = room.run_as("bob", &["inbox"]).data();
    let item = inbox["items"].as_array().unwrap().iter().find(|item| item["task"] == json!(second));
    assert!(item.is_none_or(|item| item["id"] == ready["cause"]), "{inbox}");
}

#[test]
fn an_inbox_is_streamed_to_its_agent_until_it_is_acknowledged() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    room.run_as("bob", &["agent", "register", "--name", "bob", "--role", "executor"]).data();
    server.ask_with("GET", "/events/stream?inbox=true", &[], None).error(400, "ERR_USAGE");
    let open = || listen(server.connect(), "/events/stream?inbox=true", "localhost", &["X-Agentpm-Agent: bob"]);
    let mut stream = open();
    room.run(&["broadcast", "--body", "to all but bob", "--to", "eve"]).data();
    room.run(&["broadcast", "--body", "hello bob", "--to", "bob"]).data();
    let item = next(&mut stream, "InboxItem");
    assert_eq!((&item["kind"], item["summary"].as_str().unwrap().contains("hello bob")), (&json!("broadcast"), true));
    assert_eq!(next(&mut open(), "InboxItem"), item, "it is sent again");
    room.run_as("bob", &["inbox", "ack", item["id"].as_str().unwrap()]).data();
    let mut stream = open();
    room.run(&["broadcast", "--body", "and again", "--to", "bob"]).data();
    assert!(next(&mut stream, "InboxItem")["summary"].as_str().unwrap().contains("and again"));
}

#[test]
fn a_stream_ends_with_the_token_that_opened_it() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    room.run(&["agent", "register", "--name", "bob", "--role", "executor"]).data();
    let token = room.run(&["agent", "token", "bob", "--quiet"]).text().to_owned();
    let bearer = format!("Authorization: Bearer {token}");
    let host = server.tcp.unwrap().to_string();
    let mut stream = listen(server.connect_tcp(), "/events/stream", &host, &[&bearer]);
    let seen = room.task("seen", &[]);
    assert!(next(&mut stream, "TaskCreated").to_string().contains(&seen));
    room.run(&["agent", "token", "bob", "--revoke"]).data();
    let hidden = room.task("hidden", &[]);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains(&hidden), "{rest}");
}

#[test]
fn a_wait_claims_nothing_for_a_client_that_is_gone_or_whose_token_is_revoked() {
    let room = Sandbox::new();
    let mut command = serve(&room, &room.repo(), &["--tcp", "127.0.0.1:0"]);
    let server = Server::spawn(command.env("AGENTPM_LOG_LEVEL", "debug")).expect("the server starts");
    room.run(&["agent", "register", "--name", "bob", "--role", "executor"]).data();
    let token = room.run(&["agent", "token", "bob", "--quiet"]).text().to_owned();
    let (bearer, host) = (format!("Authorization: Bearer {token}"), server.tcp.unwrap().to_string());
    let wait = json!({ "wait": "60s", "claim": true });
    let waits = || server.printed().matches("waiting for work").count();
    let mut gone = server.connect();
    let asked = request("POST", "/ops/next.wait", "localhost", &["X-Agentpm-Agent: ada"], Some(&wait));
    gone.write_all(asked.as_bytes()).unwrap();
    wait_for("the first request waits", || waits() > 0);
    drop(gone);
    let before = waits();
    let mut revoked = server.connect_tcp();
    revoked.write_all(request("POST", "/ops/next.wait", &host, &[&bearer], Some(&wait)).as_bytes()).unwrap();
    wait_for("the second request waits", || waits() > before);
    room.run(&["agent", "token", "bob", "--revoke"]).data();
    let created = room.task("for whom", &[]);
    let mut answer = String::new();
    revoked.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let task = room.run(&["task", "get", &created]).data();
    assert_eq!(task["status"], "open", "{task}");
}

#[test]
fn those_who_wait_for_their_inbox_hold_up_no_other_request() {
    let room = Sandbox::new();
    let mut command = serve(&room, &room.repo(), &[]);
    let server = Server::spawn(command.env("AGENTPM_LOG_LEVEL", "debug")).expect("the server starts");
    let wait = json!({ "wait": "60s" });
    let asked = request("POST", "/ops/inbox.wait", "localhost", &["X-Agentpm-Agent: bob"], Some(&wait));
    // As many as wait at once may; twice as many as operations run.
    let mut waiting: Vec<_> = (0..40).map(|_| server.connect()).collect();
    waiting.iter_mut().for_each(|one| one.write_all(asked.as_bytes()).unwrap());
    wait_for("all of them wait", || server.printed().matches("waiting for work").count() >= 40);
    server.ask("GET", "/healthz", None).data();
    server.ask("POST", "/ops/inbox.wait", Some(&wait)).error(429, "ERR_RATE_LIMIT");
    room.run(&["broadcast", "--body", "hello bob", "--to", "bob"]).data();
    let mut answer = String::new();
    waiting.pop().unwrap().read_to_string(&mut answer).unwrap();
    assert!(answer.contains("hello bob"), "{answer}");
}

#[test]
fn a_client_that_was_cut_off_before_the_first_event_goes_on_from_where_it_began() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    room.task("before", &[]);
    let mut stream = listen(server.connect(), "/events/stream", "localhost", &[]);
    let mut begin = String::new();
    while !begin.starts_with("id: ") {
        begin.clear();
        assert!(stream.read_line(&mut begin).unwrap() > 0, "the stream ended");
    }
    drop(stream);
    room.task("meanwhile", &[]);
    let last = format!("Last-Event-ID: {}", begin.trim_end().trim_start_matches("id: "));
    let mut again = listen(server.connect(), "/events/stream", "localhost", &[&last]);
    assert_eq!(next(&mut again, "TaskCreated")["payload"]["title"], "meanwhile");
}

#[test]
fn the_text_of_an_event_forges_no_other_one() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let task = room.task("one", &[]);
    let line = std::fs::read_to_string(room.log_of(&task)).unwrap();
    let mut event: Value = serde_json::from_str(&line).unwrap();
    let id = event["id"].as_str().unwrap().to_owned();
    event["parents"] = json!([id]);
    event["lamport"] = json!(2);
    event["id"] = json!(format!("{}ZZ", &id[..24]));
    event["type"] =
        json!("X\ndata: {}\n\nid: 01K5R4XJ7Z0000000000000000\nevent: TaskArchived\ndata: {\"forged\":true}");
    event["payload"] = json!({});
    let mut stream = listen(server.connect(), "/events/stream", "localhost", &[]);
    // Where a file has CR between the parts of a line, so has the event.
    let pushed = event.to_string().replacen(",\"lamport\"", ",\r\"lamport\"", 1);
    assert_eq!(room.feed(&["sync", "push", "--file", "-"], pushed.as_bytes()).data()["taken"], 1);
    room.run(&["note", &task, "--content", "later"]).data();
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|kind| kind != "ContextAdded") {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        kinds.extend(line.trim_end().strip_prefix("event: ").map(str::to_owned));
        if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).expect("a whole event");
            assert!(data.get("forged").is_none(), "{data}");
        }
    }
    assert_eq!(kinds, ["Unknown", "ContextAdded"]);
}
