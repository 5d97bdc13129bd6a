//! Who asks a server: what a token is good for, what is judged first, and whose places others cannot take.

use std::net::TcpStream;

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, wait_for};
use crate::server::Server;

/// A server on both of its addresses, and the token of the agent `bob` in a header.
fn with_bob(room: &Sandbox) -> (Server, String) {
    let server = Server::start(room, &["--tcp", "127.0.0.1:0"]);
    for name in ["bob", "eve"] {
        room.run(&["agent", "register", "--name", name, "--role", "executor"]).data();
    }
    let token = room.run(&["agent", "token", "bob", "--quiet"]).text().to_owned();
    (server, format!("Authorization: Bearer {token}"))
}

#[test]
fn a_token_gives_nothing_of_another_agent() {
    let room = Sandbox::new();
    let (server, bob) = with_bob(&room);
    let ask = |path: &str, body: Value| server.ask_tcp("POST", path, &[&bob], Some(&body));
    ask("/ops/agent.token", json!({ "name": "eve" })).error(403, "ERR_UNAUTHORIZED");
    ask("/ops/agent.token", json!({ "name": "eve", "revoke": true })).error(403, "ERR_UNAUTHORIZED");
    ask("/ops/agent.new_key", json!({ "name": "eve" })).error(403, "ERR_UNAUTHORIZED");
    let made = ask("/agents/register", json!({ "name": "mia", "role": "executor" })).data();
    assert!(made.get("token").is_none(), "{made}");
    // On the socket too: who sends a token is its agent.
    let over_socket = server.ask_with("POST", "/ops/agent.token", &[&bob], Some(&json!({ "name": "eve" })));
    over_socket.error(403, "ERR_UNAUTHORIZED");
    // Without one, a program of this user may name any agent, as at the command line.
    assert!(server.ask("POST", "/ops/agent.token", Some(&json!({ "name": "eve" }))).data()["token"].is_string());
    let roles = "agents:\n  bob:\n    perms: [register]\n  eve:\n    perms: [create]\n";
    std::fs::write(room.store().join("roles.yml"), roles).unwrap();
    assert!(
        ask("/ops/agent.token", json!({ "name": "eve" })).data()["token"].is_string(),
        "roles decide where there are any"
    );
    std::fs::remove_file(room.store().join("roles.yml")).unwrap();
    let own = ask("/ops/agent.token", json!({ "name": "bob" })).data();
    assert!(own["token"].as_str().unwrap().starts_with("bob."));
    ask("/ops/agent.token", json!({ "name": "bob" })).error(401, "ERR_UNAUTHORIZED");
}

#[test]
fn with_a_token_an_agent_acts_for_no_other() {
    let room = Sandbox::new();
    let (server, bob) = with_bob(&room);
    let task = room.task("one", &[]);
    let started = room.run_as("eve", &["session", "start"]).data();
    let session = started["id"].as_str().unwrap();
    let ask = |path: &str, body: Value| server.ask_tcp("POST", path, &[&bob], Some(&body));
    ask("/agents/register", json!({ "name": "eve", "role": "planner" })).error(403, "ERR_UNAUTHORIZED");
    ask("/leases", json!({ "task_id": task, "agent_id": "eve" })).error(403, "ERR_UNAUTHORIZED");
    ask("/sessions/start", json!({ "agent_id": "eve" })).error(403, "ERR_UNAUTHORIZED");
    ask(&format!("/sessions/{session}/heartbeat"), json!({})).error(403, "ERR_UNAUTHORIZED");
    let steps = json!({ "ops": [{ "op": "session.start", "args": { "agent_id": "eve" } }] });
    ask("/batch", steps).error(403, "ERR_UNAUTHORIZED");
    // What changes nothing of another agent, and what concerns the agent itself, is done.
    ask("/agents/register", json!({ "name": "eve", "role": "executor" })).data();
    ask("/agents/register", json!({ "name": "bob", "role": "planner" })).data();
    ask("/leases", json!({ "task_id": task, "agent_id": "bob" })).data();
}

#[test]
fn work_that_is_asked_for_twice_at_once_with_one_key_is_done_once() {
    let room = Sandbox::new();
    let (server, _) = with_bob(&room);
    for n in 0..10 {
        let key = format!("Idempotency-Key: {n}");
        let ask = || {
            let headers = ["X-Agentpm-Agent: ada", &key];
            server.ask_with("POST", "/ops/agent.token", &headers, Some(&json!({ "name": "eve" }))).data()
        };
        let both = std::thread::scope(|scope| [scope.spawn(ask), scope.spawn(ask)].map(|one| one.join().unwrap()));
        let tokens: Vec<&str> = both.iter().filter_map(|answer| answer["token"].as_str()).collect();
        assert_eq!(tokens.len(), 1, "{both:?}");
        let bearer = format!("Authorization: Bearer {}", tokens[0]);
        server.ask_tcp("GET", "/ready", &[&bearer], None).data();
    }
    let locks = std::fs::read_dir(room.repo().join(".git/agentpm/locks")).unwrap();
    let left = locks.filter(|lock| lock.as_ref().unwrap().file_name().to_string_lossy().starts_with("key-"));
    assert_eq!(left.count(), 0, "no lock stays behind");
}

#[test]
fn the_whole_task_is_asked_for_in_the_query_or_in_the_body() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let task = room.task("one", &[]);
    let whole = server.ask("GET", &format!("/tasks/{task}?full=true"), None).data();
    assert_eq!(server.ask("POST", "/ops/task.get", Some(&json!({ "id": task, "full": true }))).data(), whole);
    assert_ne!(server.ask("POST", "/ops/task.get", Some(&json!({ "id": task }))).data(), whole);
}

#[test]
fn an_answer_says_how_much_is_unread() {
    let room = Sandbox::new();
    let (server, _) = with_bob(&room);
    room.run(&["broadcast", "--body", "hello", "--to", "bob"]).data();
    let made = server.ask_with("POST", "/tasks", &["X-Agentpm-Agent: bob"], Some(&json!({ "title": "one" })));
    assert_eq!(made.json()["unread"], 1, "{made:?}");
}

#[test]
fn a_server_answers_at_each_address_on_loopback() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.2:0"]);
    assert_eq!(server.tcp.unwrap().ip().to_string(), "127.0.0.2");
    server.ask_tcp("GET", "/healthz", &[], None).data();
}

#[test]
fn with_a_token_an_agent_pushes_only_what_it_did() {
    let room = Sandbox::new();
    let (server, bob) = with_bob(&room);
    let task = room.task("one", &[]);
    let line = std::fs::read_to_string(room.log_of(&task)).unwrap();
    let event = |id: &str, agent: &str| {
        let mut event: Value = serde_json::from_str(&line).unwrap();
        let known = event["id"].as_str().unwrap().to_owned();
        event["parents"] = json!([known]);
        event["lamport"] = json!(event["lamport"].as_u64().unwrap() + 1);
        event["id"] = json!(format!("{}{id}", &known[..24]));
        event["type"] = json!("ContextAdded");
        event["payload"] = json!({ "type": "note", "content": format!("by {agent}") });
        event["agent"] = json!(agent);
        event
    };
    let push = |events: Value| server.ask_tcp("POST", "/events/push", &[&bob], Some(&json!({ "events": events })));
    let refused = push(json!([event("Z1", "bob"), event("Z2", "eve")]));
    refused.error(403, "ERR_UNAUTHORIZED");
    assert_eq!(std::fs::read_to_string(room.log_of(&task)).unwrap(), line, "none of both was recorded");
    assert_eq!(push(json!([event("Z1", "bob")])).data()["taken"], 1);
    // A program without a token of an agent brings what a whole clone wrote.
    let all = json!({ "events": [event("Z1", "bob"), event("Z2", "eve")] });
    assert_eq!(server.ask("POST", "/events/push", Some(&all)).data()["taken"], 1);
    assert_eq!(push(json!([event("Z2", "eve")])).data()["known"], 1, "what is here already changes nothing");
}

#[test]
fn a_token_of_the_server_is_void_once_its_file_is_gone() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let printed = || room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    let ask = |token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        server.ask_tcp("GET", "/ready", &[&bearer], None)
    };
    let first = printed();
    ask(&first).data();
    std::fs::remove_file(room.repo().join(".git/agentpm/token")).unwrap();
    ask(&first).error(401, "ERR_UNAUTHORIZED");
    let second = printed();
    assert_ne!(first, second);
    ask(&second).data();
    ask(&first).error(401, "ERR_UNAUTHORIZED");
}

#[test]
fn an_address_with_another_name_than_the_host_is_refused() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let own = server.tcp.unwrap();
    server.ask_tcp("GET", &format!("http://{own}/healthz"), &[], None).data();
    server.ask_tcp("GET", "http://plan.example/healthz", &[], None).error(403, "ERR_UNAUTHORIZED");
    server.ask("GET", "http://plan.example/healthz", None).error(403, "ERR_UNAUTHORIZED");
}

#[test]
fn a_token_is_issued_once_under_its_key_and_kept_nowhere() {
    let room = Sandbox::new();
    let (server, _) = with_bob(&room);
    let ask = |name: &str| {
        let headers = ["X-Agentpm-Agent: ada", "Idempotency-Key: k"];
        server.ask_with("POST", "/ops/agent.token", &headers, Some(&json!({ "name": name })))
    };
    let token = ask("bob").data()["token"].as_str().unwrap().to_owned();
    let again = ask("bob");
    assert_eq!((&again.data()["agent"], again.data().get("token")), (&json!("bob"), None), "{again:?}");
    assert!(again.json()["warnings"][0].as_str().unwrap().contains("shown once"), "{again:?}");
    ask("eve").error(409, "ERR_CONFLICT");
    let bearer = format!("Authorization: Bearer {token}");
    server.ask_tcp("GET", "/ready", &[&bearer], None).data();
    for file in
        walkdir::WalkDir::new(room.repo()).into_iter().filter_map(Result::ok).filter(|f| f.file_type().is_file())
    {
        let bytes = std::fs::read(file.path()).unwrap();
        let has = bytes.windows(token.len()).any(|part| part == token.as_bytes());
        assert!(!has, "{} holds the token", file.path().display());
    }
}

#[test]
fn without_a_token_nothing_of_a_request_is_judged() {
    let room = Sandbox::new();
    let (server, bob) = with_bob(&room);
    for (method, path, body) in [
        ("POST", "/ops/next.wait", json!({ "wait": "soon" })),
        ("POST", "/ops/next.wait", json!({ "wait": "1s", "titel": 1 })),
        ("POST", "/ops/nothing", json!({})),
        ("POST", "/tasks", json!({ "titel": "x" })),
        ("GET", "/tasks?limit=many", Value::Null),
        ("GET", "/events/stream?sinse=x", Value::Null),
        ("GET", "/diagnostics/bundle?lst=x", Value::Null),
        ("GET", "/nowhere", Value::Null),
    ] {
        let body = (!body.is_null()).then_some(&body);
        server.ask_tcp(method, path, &[], body).error(401, "ERR_UNAUTHORIZED");
        let known = server.ask_tcp(method, path, &[&bob], body);
        assert!(matches!(known.status, 400 | 404 | 422), "{method} {path}: {known:?}");
    }
}

#[test]
fn idle_connections_over_tcp_take_no_place_on_the_socket() {
    let room = Sandbox::new();
    let (server, bob) = with_bob(&room);
    let idle: Vec<TcpStream> = (0..64).map(|_| server.connect_tcp()).collect();
    wait_for("no place over TCP is left", || server.ask_tcp("GET", "/ready", &[&bob], None).status == 503);
    for _ in 0..8 {
        server.ask("GET", "/ready", None).data();
    }
    drop(idle);
    wait_for("a place over TCP is free again", || server.ask_tcp("GET", "/ready", &[&bob], None).status == 200);
}

#[test]
fn a_list_below_a_task_has_its_children_or_all_that_descend_from_it() {
    let room = Sandbox::new();
    let top = room.task("top", &[]);
    let child = room.task("child", &["--parent", &top]);
    room.task("grandchild", &["--parent", &child]);
    room.task("other", &[]);
    let server = Server::start(&room, &[]);
    let titles = |query: &str| {
        let listed = server.ask("GET", &format!("/tasks?parent_id={top}{query}"), None).data();
        let items = listed["items"].as_array().unwrap();
        let mut titles: Vec<String> = items.iter().map(|task| task["title"].as_str().unwrap().to_owned()).collect();
        titles.sort();
        titles
    };
    assert_eq!(titles(""), ["child"]);
    assert_eq!(titles("&include_children=false"), ["child"]);
    assert_eq!(titles("&include_children=true"), ["child", "grandchild"]);
    for odd in ["limit=1&limit=2", &format!("parent={top}&parent_id={top}"), "full=perhaps", "include_children=some"] {
        server.ask("GET", &format!("/tasks?{odd}"), None).error(400, "ERR_USAGE");
    }
    let listed = room.run(&["ls", "--parent", &top, "--include-children", "--all"]).data();
    assert_eq!(listed["total"], 2);
}

#[test]
fn what_a_request_gives_twice_or_empty_is_refused() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let id = room.task("a task", &[]);
    let path = format!("/tasks/{id}");
    let with = |method: &str, path: &str, header: &str, body: Value| {
        server.ask_with(method, path, &["X-Agentpm-Agent: ada", header], Some(&body))
    };
    // A variable of a shell without a value would lose what it was to guard.
    with("POST", "/tasks", "Idempotency-Key:", json!({ "title": "twice" })).error(400, "ERR_USAGE");
    with("PATCH", &path, "If-Match:", json!({ "priority": 1 })).error(400, "ERR_USAGE");
    let both = |header: &str| with("PATCH", &path, header, json!({ "priority": 1, "expected_version": 1 }));
    both("If-Match: 7").error(400, "ERR_USAGE");
    both("If-Match: 1").data();
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
}

#[test]
fn every_refusal_is_an_envelope_whatever_the_path() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    for (method, path) in [("GET", "/tasks/%ff"), ("GET", "/agents/%ff"), ("POST", "/ops/%ff")] {
        server.ask(method, path, None).error(400, "ERR_USAGE");
    }
}

#[test]
fn events_to_restore_are_named_in_a_list() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let unknown = json!({ "events": ["01K5R4XJ7Z0000000000000001"] });
    server.ask("POST", "/ops/recover", Some(&unknown)).error(404, "ERR_NOT_FOUND");
}
