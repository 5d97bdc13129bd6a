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
