//! The server: each operation answers over HTTP as on the command line, and what no client may do to it.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::thread;

use agentpm::api::{Kind, Method, OPERATIONS, Operation};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::operations::{Plan, asked, copy_folder, is_of_a_place, shape};
use crate::sandbox::{Answer, Sandbox, rounds, wait_for};
use crate::server::{Server, exchange, read_reply, request, serve};

/// The request of an operation at its own route.
fn at_route(operation: &Operation, mut args: Value) -> Option<(&'static str, String, Option<Value>)> {
    let route = operation.route?;
    let mut path = route.path.to_owned();
    if path.contains("{id}") {
        let map = args.as_object_mut().unwrap();
        let id = map.shift_remove(operation.id_argument()).or_else(|| map.shift_remove("id"))?;
        path = path.replace("{id}", id.as_str().unwrap());
    }
    let method = match route.method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Patch => "PATCH",
        Method::Delete => "DELETE",
    };
    if matches!(route.method, Method::Get | Method::Delete) {
        let pairs = args.as_object().unwrap().iter();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let query: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", text(value))).collect();
        return Some((method, format!("{path}?{}", query.join("&")), None));
    }
    Some((method, path, Some(args)))
}

#[test]
fn every_operation_answers_over_http_as_on_the_command_line() {
    let mut wrong = Vec::new();
    let plan = Plan::new();
    for operation in OPERATIONS.iter() {
        let (words, args) = asked(&plan, operation.name);
        if words.is_empty() {
            continue;
        }
        let copy = |name: &str| {
            let copy = plan.room.beside(&format!("{name}-{}", operation.name));
            copy_folder(&plan.room.repo(), &copy);
            copy
        };
        let by_line = Answer::from(plan.room.agentpm_in(&copy("line")).args(&words).output().unwrap()).data();
        let by_name = ("POST", format!("/ops/{}", operation.name), Some(args.clone()));
        let requests = [Some(("named", by_name)), at_route(operation, args).map(|request| ("routed", request))];
        for (name, (method, path, body)) in requests.into_iter().flatten() {
            let server = Server::start_in(&plan.room, &copy(name), &[]);
            let reply = server.ask(method, &path, body.as_ref());
            let mut data = reply.json()["data"].clone();
            if operation.name == "agent.register" {
                assert!(data.as_object_mut().unwrap().remove("token").is_some(), "{reply:?}");
            }
            let same = operation.kind == Kind::Query && !is_of_a_place(operation.name);
            if reply.status != 200 || shape(&data) != shape(&by_line) || (same && data != by_line) {
                wrong.push(format!("{method} {path}: {reply:?} and {by_line}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_status_belongs_to_its_codes() {
    let room = Sandbox::new();
    std::fs::write(room.store().join("config.toml"), "format = 1\n[lock]\nwait_ms = 50\n").unwrap();
    let id = room.task("one", &[]);
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let task = format!("/tasks/{id}");
    server.ask("GET", &task, None).data();
    server.ask("POST", "/tasks", Some(&json!({ "titel": "x" }))).error(400, "ERR_USAGE");
    server.ask_with("POST", "/tasks", &[], Some(&json!({ "title": "x" }))).error(400, "ERR_USAGE");
    server.ask_tcp("GET", &task, &[], None).error(401, "ERR_UNAUTHORIZED");
    server.ask("GET", "/tasks/ZZZZZZ", None).error(404, "ERR_NOT_FOUND");
    server.ask("GET", "/nowhere", None).error(404, "ERR_NOT_FOUND");
    let near = server.ask("GET", "/task/ZZZZZZ/notes", None).error(404, "ERR_NOT_FOUND");
    assert!(near["hint"].as_str().unwrap().contains("GET /tasks/{id}"), "{near}");
    server.ask("PATCH", "/ready", None).error(405, "ERR_USAGE");
    let stale =
        server.ask_with("PATCH", &task, &["X-Agentpm-Agent: ada", "If-Match: \"9\""], Some(&json!({ "priority": 2 })));
    stale.error(409, "ERR_CONFLICT");
    server.ask("POST", "/tasks", Some(&json!({ "title": "x".repeat(2 << 20) }))).error(413, "ERR_VALIDATION");
    server.ask("PATCH", &task, Some(&json!({ "priority": "high" }))).error(422, "ERR_VALIDATION");
    server.ask("POST", &format!("{task}/archive"), Some(&json!({}))).error(422, "ERR_INVALID_STATE");
    {
        let lock = std::fs::File::open(room.repo().join(".git/agentpm/locks/store.lock")).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let busy = server.ask("PATCH", &task, Some(&json!({ "priority": 2 })));
        busy.error(503, "ERR_BUSY");
        assert_eq!(busy.header("retry-after"), Some("1"));
    }
    std::fs::write(room.store().join("roles.yml"), "agents:\n  ada:\n    perms: [comment]\n").unwrap();
    server.ask("PATCH", &task, Some(&json!({ "priority": 2 }))).error(403, "ERR_UNAUTHORIZED");
    std::fs::write(room.store().join("roles.yml"), "agents: [\n").unwrap();
    server.ask("PATCH", &task, Some(&json!({ "priority": 2 }))).error(500, "ERR_CORRUPT");
    server.ask("GET", &task, None).data();
}

#[test]
fn an_agent_that_asks_too_much_is_put_off() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--rate", "3"]);
    let replies: Vec<_> = (0..20).map(|_| server.ask("GET", "/ready", None)).collect();
    let refused = replies.iter().find(|reply| reply.status == 429).expect("one of them is refused");
    refused.error(429, "ERR_RATE_LIMIT");
    assert_eq!(refused.header("retry-after"), Some("1"));
    server.ask_with("GET", "/ready", &["X-Agentpm-Agent: bob"], None).data();
}

#[test]
fn a_change_by_the_server_or_by_the_command_line_is_seen_by_the_other_at_once() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    for n in 0..5 {
        let made = server.ask("POST", "/tasks", Some(&json!({ "title": format!("served {n}") }))).data();
        let id = made["id"].as_str().unwrap();
        assert_eq!(room.get(id)["title"], format!("served {n}"));
        room.run(&["task", "update", id, "--priority", "3"]).data();
        let seen = server.ask("GET", &format!("/tasks/{id}"), None);
        assert_eq!((&seen.data()["priority"], seen.header("etag")), (&json!(3), Some("\"2\"")));
        let listed = server.ask("GET", "/tasks?limit=1&status=open,blocked", None).data();
        assert_eq!(listed["total"], n + 1);
    }
    let paged = server.ask("GET", "/tasks?limit=2&offset=3", None).data();
    assert_eq!(paged["items"].as_array().unwrap().len(), 2);
    // Settings count for the server as soon as they are on the disk.
    std::fs::write(room.store().join("config.toml"), "format = 1\n[claim]\nmax_attempts = 1\n").unwrap();
    let first = server.ask("POST", "/next", Some(&json!({}))).data()["task"]["id"].as_str().unwrap().to_owned();
    server.ask("POST", "/ops/release", Some(&json!({ "id": first }))).data();
    assert_ne!(server.ask("POST", "/next", Some(&json!({}))).data()["task"]["id"], first.as_str());
    room.is_clean();
}

#[test]
fn a_key_and_a_version_guard_a_change() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let keyed = |title: &str| {
        server.ask_with(
            "POST",
            "/tasks",
            &["X-Agentpm-Agent: ada", "Idempotency-Key: k"],
            Some(&json!({ "title": title })),
        )
    };
    let first = keyed("one");
    assert_eq!(keyed("one").data(), first.data());
    keyed("other").error(409, "ERR_CONFLICT");
    assert_eq!(room.run(&["task", "list"]).data()["total"], 1);
    let task = format!("/tasks/{}", first.data()["id"].as_str().unwrap());
    let version = first.header("etag").unwrap();
    let guarded = |version: &str, priority: u64| {
        let headers = ["X-Agentpm-Agent: ada", &format!("If-Match: {version}")];
        server.ask_with("PATCH", &task, &headers, Some(&json!({ "priority": priority })))
    };
    let changed = guarded(version, 2);
    assert_eq!(changed.data()["changed"]["priority"]["to"], 2);
    guarded(version, 3).error(409, "ERR_CONFLICT");
    guarded(changed.header("etag").unwrap(), 3).data();
    let log = server.ask_with("GET", &format!("{task}/history"), &["X-Correlation-Id: c-1"], None).data();
    assert_eq!(log["items"].as_array().unwrap().len(), 3);
    let linked = ["X-Agentpm-Agent: ada", "X-Correlation-Id: c-1", "X-Plan-Id: p-1"];
    server
        .ask_with("POST", "/contexts", &linked, Some(&json!({ "task_id": first.data()["id"], "content": "x" })))
        .data();
    let log = room.run(&["log", first.data()["id"].as_str().unwrap()]).data();
    let last = log["items"].as_array().unwrap().iter().find(|event| event["type"] == "ContextAdded").unwrap();
    assert_eq!(
        (&last["agent"], &last["correlation_id"], &last["plan_id"]),
        (&json!("ada"), &json!("c-1"), &json!("p-1"))
    );
}

/// Reads the next event of a stream: its id and its data.
fn next_event(stream: &mut impl BufRead) -> (String, Value) {
    let (mut id, mut data) = (None, None);
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).expect("an event within the deadline") > 0, "the stream ended");
        let line = line.trim_end();
        match line.split_once(": ") {
            Some(("id", text)) => id = Some(text.to_owned()),
            Some(("data", text)) => data = Some(serde_json::from_str(text).unwrap()),
            _ => {}
        }
        // What has no id is no event.
        if line.is_empty()
            && let (Some(id), Some(data)) = (id.take(), data.take())
        {
            return (id, data);
        }
    }
}
/// The lines of a stream of events, after its head.
fn listen(server: &Server, since: Option<&str>) -> BufReader<UnixStream> {
    let header = since.map(|id| format!("Last-Event-ID: {id}"));
    let headers: Vec<&str> = header.iter().map(String::as_str).collect();
    crate::server::listen(server.connect(), "/events/stream", "localhost", &headers)
}

#[test]
fn a_stream_of_events_misses_and_repeats_nothing_over_a_reconnect() {
    const CHANGES: usize = 40;
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    room.task("before", &[]);
    let mut stream = listen(&server, None);
    let seen = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen: Vec<String> = Vec::new();
            while seen.len() < CHANGES {
                seen.push(next_event(&mut stream).0);
                if seen.len().is_multiple_of(7) {
                    stream = listen(&server, seen.last().map(String::as_str));
                }
            }
            seen
        });
        for n in 0..CHANGES {
            if n % 2 == 0 {
                room.task(&format!("task {n}"), &[]);
            } else {
                server.ask("POST", "/tasks", Some(&json!({ "title": format!("task {n}") }))).data();
            }
        }
        reader.join().unwrap()
    });
    let pulled = room.run(&["sync", "pull"]).data();
    let all: Vec<&str> =
        pulled["items"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(all[1..], seen, "from the first change after the stream began");
    let unknown = server.ask_with("GET", "/events/stream", &["Last-Event-ID: 01K5R4XJ7Z0000000000000001"], None);
    unknown.error(404, "ERR_NOT_FOUND");
}

#[test]
fn the_socket_is_private_and_has_one_server() {
    let room = Sandbox::new();
    let mut server = Server::start(&room, &[]);
    assert_eq!(server.socket, room.repo().canonicalize().unwrap().join(".git/agentpm/agentpm.sock"));
    assert_eq!(server.socket.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(server.socket.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let second = Server::spawn(&mut serve(&room, &room.repo(), &[])).expect_err("a second server is refused");
    second.error("ERR_BUSY", 7);
    server.ask("GET", "/healthz", None).data();
    // A dead socket is replaced.
    server.signal(Signal::KILL);
    server.wait();
    assert!(server.socket.exists());
    let mut next = Server::start(&room, &[]);
    next.ask("GET", "/healthz", None).data();
    next.signal(Signal::TERM);
    assert_eq!(next.wait(), Some(0));
    assert!(!next.socket.exists());
}

#[test]
fn what_stands_in_the_place_of_the_socket_and_is_none_stays() {
    let room = Sandbox::new();
    room.task("a task", &[]);
    let place = room.repo().join(".git/agentpm/agentpm.sock");
    // As a device would be, which root could remove.
    rustix::fs::mknodat(rustix::fs::CWD, &place, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let refused = Server::spawn(&mut serve(&room, &room.repo(), &[])).expect_err("that is no socket");
    refused.error("ERR_UNAUTHORIZED", 6);
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&place.symlink_metadata().unwrap().file_type()));
}

#[test]
fn a_signal_right_after_the_start_ends_the_server_in_order() {
    let room = Sandbox::new();
    for _ in 0..rounds(100) {
        let mut server = Server::start(&room, &[]);
        server.signal(Signal::TERM);
        assert_eq!(server.wait(), Some(0), "{}", server.printed());
        assert!(!server.socket.exists());
    }
}

#[test]
fn requests_that_find_a_copied_index_at_once_are_all_answered() {
    let room = Sandbox::new();
    for n in 0..20 {
        room.task(&format!("task {n}"), &[]);
    }
    room.run(&["ready"]).data();
    for n in 0..rounds(200) {
        // The index of a copy is replaced by whichever request finds it first.
        let copy = room.beside(&format!("copy-{n}"));
        copy_folder(&room.repo(), &copy);
        let server = Server::start_in(&room, &copy, &[]);
        let ready = thread::scope(|scope| {
            let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| server.ask("GET", "/ready?limit=1", None))).collect();
            asked.into_iter().map(|reply| reply.join().unwrap().data()).collect::<Vec<_>>()
        });
        assert!(ready.iter().all(|ready| ready["total"] == 20), "{ready:?}");
        drop(server);
        std::fs::remove_dir_all(copy).unwrap();
    }
}

#[test]
fn nothing_but_a_dead_socket_of_ours_is_replaced() {
    let room = Sandbox::new();
    let own = room.beside("own");
    std::fs::create_dir(&own).unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700)).unwrap();
    let refused = |path: &std::path::Path, code: &str, exit: i32| {
        let mut command = serve(&room, &room.repo(), &[]);
        let answer = Server::spawn(command.env("AGENTPM_SOCKET", path)).expect_err("it is refused");
        answer.error(code, exit);
    };
    let target = room.beside("precious");
    std::fs::write(&target, "words").unwrap();
    std::os::unix::fs::symlink(&target, own.join("link.sock")).unwrap();
    refused(&own.join("link.sock"), "ERR_UNAUTHORIZED", 6);
    std::fs::write(own.join("file.sock"), "words").unwrap();
    refused(&own.join("file.sock"), "ERR_UNAUTHORIZED", 6);
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "words");
    assert_eq!(std::fs::read_to_string(own.join("file.sock")).unwrap(), "words");
    std::os::unix::fs::symlink(&own, room.beside("linked")).unwrap();
    refused(&room.beside("linked").join("a.sock"), "ERR_IO", 10);
    let shared = room.beside("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).unwrap();
    refused(&shared.join("a.sock"), "ERR_UNAUTHORIZED", 6);
    refused(&own.join("x".repeat(120)), "ERR_USAGE", 2);
    let foreign = std::os::unix::net::UnixListener::bind(own.join("used.sock")).unwrap();
    refused(&own.join("used.sock"), "ERR_BUSY", 7);
    drop(foreign);
    let mut command = serve(&room, &room.repo(), &[]);
    let server = Server::spawn(command.env("AGENTPM_SOCKET", own.join("used.sock"))).expect("a dead one is replaced");
    server.ask("GET", "/healthz", None).data();
    let made = room.beside("made");
    let server = Server::spawn(serve(&room, &room.repo(), &[]).env("AGENTPM_SOCKET", made.join("a.sock"))).unwrap();
    assert_eq!(made.metadata().unwrap().mode() & 0o777, 0o700);
    server.ask("GET", "/healthz", None).data();
}

#[test]
fn a_stopping_server_answers_what_it_began() {
    let room = Sandbox::new();
    let mut server = Server::start(&room, &[]);
    let mut waiting = server.connect();
    let body = json!({ "wait": "10m", "claim": true });
    waiting
        .write_all(request("POST", "/ops/next.wait", "localhost", &["X-Agentpm-Agent: ada"], Some(&body)).as_bytes())
        .unwrap();
    let mut stream = listen(&server, None);
    room.task("seen by the stream", &["--defer-until", "2099-01-01"]);
    next_event(&mut stream);
    server.signal(Signal::TERM);
    assert_eq!(read_reply(&mut waiting).data(), Value::Null);
    assert_eq!(server.wait(), Some(0));
    assert!(UnixStream::connect(&server.socket).is_err());
}

#[test]
fn a_wait_for_work_ends_when_there_is_some() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let body = json!({ "wait": "60s", "claim": true });
    let id = thread::scope(|scope| {
        let waits = scope.spawn(|| server.ask("POST", "/ops/next.wait", Some(&body)).data());
        let id = room.task("some work", &[]);
        assert_eq!(waits.join().unwrap()["task"]["id"], id.as_str());
        id
    });
    assert_eq!(room.get(&id)["owner"], "ada");
}

#[test]
fn an_agent_with_a_token_acts_as_itself_alone() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let answer = server.ask("POST", "/agents/register", Some(&json!({ "name": "bob", "role": "executor" }))).data();
    let token = answer["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("bob.") && token.len() == 4 + 64, "{token}");
    let again = server.ask("POST", "/agents/register", Some(&json!({ "name": "bob", "role": "reviewer" }))).data();
    assert!(again.get("token").is_none(), "a token is shown once");
    let kept = room.repo().join(".git/agentpm/tokens/bob");
    assert_eq!(kept.metadata().unwrap().mode() & 0o777, 0o600);
    assert!(!std::fs::read_to_string(&kept).unwrap().contains(&token[4..]), "its hash alone is kept");
    let bearer = format!("Authorization: Bearer {token}");
    let made = server.ask_tcp("POST", "/tasks", &[&bearer], Some(&json!({ "title": "by bob" }))).data();
    let log = room.run(&["log", made["id"].as_str().unwrap()]).data();
    assert_eq!(log["items"][0]["agent"], "bob");
    let as_ada = [bearer.as_str(), "X-Agentpm-Agent: ada"];
    server.ask_tcp("POST", "/tasks", &as_ada, Some(&json!({ "title": "x" }))).error(403, "ERR_UNAUTHORIZED");
    server.ask_with("POST", "/tasks", &as_ada, Some(&json!({ "title": "x" }))).error(403, "ERR_UNAUTHORIZED");
    for wrong in [
        "Bearer bob.0000",
        "Bearer ../token",
        "Bearer x",
        "Basic eDp4",
        &format!("Bearer {}", &token[..token.len() - 1]),
    ] {
        server.ask_tcp("GET", "/ready", &[&format!("Authorization: {wrong}")], None).error(401, "ERR_UNAUTHORIZED");
    }
    // The server's own token names any agent, until roles say who may do what.
    let own = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    assert_eq!(own.len(), 64);
    assert_eq!(room.repo().join(".git/agentpm/token").metadata().unwrap().mode() & 0o777, 0o600);
    let own = format!("Authorization: Bearer {own}");
    let as_eve = [own.as_str(), "X-Agentpm-Agent: eve"];
    server.ask_tcp("POST", "/tasks", &as_eve, Some(&json!({ "title": "by eve" }))).data();
    std::fs::write(room.store().join("roles.yml"), "agents:\n  bob:\n    perms: [admin]\n  eve:\n    perms: [admin]\n")
        .unwrap();
    server.ask_tcp("POST", "/tasks", &as_eve, Some(&json!({ "title": "x" }))).error(403, "ERR_UNAUTHORIZED");
    server.ask_tcp("GET", "/ready", &[&own], None).data();
    server.ask_tcp("POST", "/tasks", &[&bearer], Some(&json!({ "title": "by bob again" }))).data();
    // A token is replaced by another one, and revoked.
    let newer = room.run_as("bob", &["agent", "token", "bob", "--quiet"]).text().to_owned();
    server.ask_tcp("GET", "/ready", &[&bearer], None).error(401, "ERR_UNAUTHORIZED");
    let newer = format!("Authorization: Bearer {newer}");
    server.ask_tcp("GET", "/ready", &[&newer], None).data();
    room.run_as("bob", &["agent", "token", "bob", "--revoke"]).data();
    server.ask_tcp("GET", "/ready", &[&newer], None).error(401, "ERR_UNAUTHORIZED");
}

#[test]
fn a_browser_reads_the_board_with_the_token_as_its_password_and_changes_nothing() {
    let room = Sandbox::new();
    room.task("shown on the board", &[]);
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let token = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    let asked = server.ask_tcp("GET", "/", &[], None);
    asked.error(401, "ERR_UNAUTHORIZED");
    assert!(asked.head.to_ascii_lowercase().contains("basic realm=\"agentpm\""), "{asked:?}");
    let password = base64(format!("me:{token}").as_bytes());
    let basic = format!("Authorization: Basic {password}");
    let page = server.ask_tcp("GET", "/", &[&basic], None);
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.head.to_ascii_lowercase().contains("text/html"), "{page:?}");
    assert!(page.body.contains("shown on the board") && page.body.contains("connect-src 'self'"), "{page:?}");
    let task = json!({ "title": "x" });
    server.ask_tcp("POST", "/tasks", &[&basic, "X-Agentpm-Agent: ada"], Some(&task)).error(401, "ERR_UNAUTHORIZED");
    assert!(server.ask("GET", "/", None).body.contains("shown on the board"), "on the socket no token is needed");
}

/// As a browser writes a name and a password.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |part: &[u8]| {
        let byte = |n: usize| u32::from(part.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        let letter = |n: usize| char::from(LETTERS[(bits >> (18 - 6 * n) & 63) as usize]);
        (0..4).map(|n| if n <= part.len() { letter(n) } else { '=' }).collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

#[test]
fn pages_of_other_sites_are_refused() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let token = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    let bearer = format!("Authorization: Bearer {token}");
    let port = server.tcp.unwrap().port();
    let task = json!({ "title": "x" });
    let ask = |host: &str, headers: &[&str]| {
        let headers = [headers, &[bearer.as_str(), "X-Agentpm-Agent: ada"]].concat();
        exchange(&mut server.connect_tcp(), &request("POST", "/tasks", host, &headers, Some(&task)))
    };
    // A name of another site that leads here.
    for host in
        ["evil.example", &format!("evil.example:{port}"), "127.0.0.1", &format!("127.0.0.1.evil.example:{port}"), ""]
    {
        ask(host, &[]).error(403, "ERR_UNAUTHORIZED");
    }
    let own = format!("127.0.0.1:{port}");
    for header in
        ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"]
    {
        ask(&own, &[header]).error(403, "ERR_UNAUTHORIZED");
    }
    ask(&own, &["Host: evil.example"]).error(403, "ERR_UNAUTHORIZED");
    ask(&own, &[&format!("Origin: http://{own}"), "Sec-Fetch-Site: same-origin"]).data();
    ask(&format!("localhost:{port}"), &[]).data();
    // What a form could send without asking.
    let form = request("POST", "/tasks", "localhost", &["X-Agentpm-Agent: ada"], Some(&task));
    let form = form.replace("application/json", "text/plain");
    exchange(&mut server.connect(), &form).error(400, "ERR_USAGE");
    server.ask("GET", &format!("/ready?token={token}"), None).error(400, "ERR_USAGE");
    let listen = room.run(&["serve", "--tcp", "0.0.0.0:0"]);
    listen.error("ERR_USAGE", 2);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 2);
}

#[test]
fn odd_requests_are_refused() {
    let room = Sandbox::new();
    let id = room.task("one", &[]);
    let server = Server::start(&room, &[]);
    let send = |bytes: &str| exchange(&mut server.connect(), bytes);
    let huge = "POST /tasks HTTP/1.1\r\nHost: localhost\r\nX-Agentpm-Agent: ada\r\nContent-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n{";
    send(huge).error(413, "ERR_VALIDATION");
    let chunked = format!(
        "POST /tasks HTTP/1.1\r\nHost: localhost\r\nX-Agentpm-Agent: ada\r\nContent-Type: application/json\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        2 << 20,
        "x".repeat(2 << 20)
    );
    send(&chunked).error(413, "ERR_VALIDATION");
    // A body with two ends: what one of them makes the next request is not read.
    let body = r#"{"title":"outer"}"#;
    let inner =
        request("POST", "/tasks", "localhost", &["X-Agentpm-Agent: ada"], Some(&json!({ "title": "smuggled" })));
    let both = format!(
        "POST /tasks HTTP/1.1\r\nHost: localhost\r\nX-Agentpm-Agent: ada\r\nContent-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n{inner}",
        body.len() + inner.len(),
        body.len()
    );
    let reply = send(&both);
    assert_eq!((reply.data()["title"].as_str(), reply.body.matches("HTTP/1.1").count()), (Some("outer"), 0));
    for path in ["/tasks/..%2f..%2f..%2fetc%2fpasswd", "/tasks/%00", "/agents/..%2ftoken", "/tasks/%ff"] {
        let status = server.ask("GET", path, None).status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    for header in
        ["X-Agentpm-Agent: ada\rX: y", "X-Agentpm-Agent: a\0b", "X-Agentpm-Agent: ../ada", "X-Agentpm-Session: nothing"]
    {
        let reply = server.ask_with("POST", "/tasks", &[header], Some(&json!({ "title": "x" })));
        assert!(matches!(reply.status, 400 | 422), "{header:?}: {reply:?}");
    }
    let twice = ["X-Agentpm-Agent: ada", "X-Agentpm-Agent: bob"];
    server.ask_with("POST", "/tasks", &twice, Some(&json!({ "title": "x" }))).error(400, "ERR_USAGE");
    let long = format!("X-Correlation-Id: {}", "x".repeat(2_000));
    server
        .ask_with("POST", "/tasks", &["X-Agentpm-Agent: ada", &long], Some(&json!({ "title": "x" })))
        .error(400, "ERR_USAGE");
    server
        .ask("POST", &format!("/tasks/{id}/transition"), Some(&json!({ "id": "other", "status": "open" })))
        .error(400, "ERR_USAGE");
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let bytes = request("POST", "/tasks", "localhost", &["X-Agentpm-Agent: ada"], Some(&json!(null)));
    let bytes = bytes.replace("Content-Length: 4", &format!("Content-Length: {}", deep.len())).replace("null", &deep);
    exchange(&mut server.connect(), &bytes).error(400, "ERR_USAGE");
    assert!(send("nonsense\r\n\r\n").status == 400);
    assert_eq!(room.run(&["task", "list"]).data()["total"], 2);
    server.ask("GET", "/healthz", None).data();
}

#[test]
fn slow_and_idle_clients_lose_their_places() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let mut slow = server.connect();
    slow.write_all(b"GET /ready HTTP/1.1\r\nHost: local").unwrap();
    let mut idle: Vec<UnixStream> = (0..63).map(|_| server.connect()).collect();
    wait_for("no place is left", || {
        let reply = server.ask("GET", "/healthz", None);
        if reply.status == 503 {
            reply.error(503, "ERR_BUSY");
        }
        reply.status == 503
    });
    // The connection of a client that sends no whole request is closed, and the place is free again.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).expect("it is closed within the deadline");
    for stream in &mut idle {
        rest.clear();
        stream.read_to_end(&mut rest).expect("it is closed within the deadline");
    }
    server.ask("GET", "/healthz", None).data();
}

#[test]
fn a_client_that_reads_no_events_holds_up_nothing() {
    let room = Sandbox::new();
    let mut server = Server::start(&room, &[]);
    let unread: Vec<BufReader<UnixStream>> = (0..8).map(|_| listen(&server, None)).collect();
    for n in 0..20 {
        let ops: Vec<Value> = (0..50)
            .map(|_| json!({ "op": "task.create", "args": { "title": format!("{n}"), "intent": "x".repeat(4_000) } }))
            .collect();
        server.ask("POST", "/batch", Some(&json!({ "ops": ops }))).data();
    }
    assert_eq!(server.ask("GET", "/tasks?limit=1", None).data()["total"], 1_000);
    server.signal(Signal::TERM);
    assert_eq!(server.wait(), Some(0));
    drop(unread);
}

#[test]
fn the_description_names_every_route_and_its_references_lead_somewhere() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let served = server.ask("GET", "/openapi.json", None).json();
    let printed: Value = serde_json::from_str(&Sandbox::nothing().run_short(&["openapi"]).stdout).unwrap();
    assert_eq!(served, printed);
    for operation in OPERATIONS.iter() {
        assert!(printed["paths"][format!("/ops/{}", operation.name)]["post"].is_object(), "{}", operation.name);
        let Some(route) = operation.route else { continue };
        let method = format!("{:?}", route.method).to_lowercase();
        assert_eq!(printed["paths"][route.path][&method]["operationId"], operation.name);
    }
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&printed, &mut found);
    assert!(found.len() > 50);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(printed.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn the_description_names_the_headers_that_a_request_and_an_answer_may_have() {
    let printed: Value = serde_json::from_str(&Sandbox::nothing().run_short(&["openapi"]).stdout).unwrap();
    let names = |method: &str, path: &str| -> Vec<String> {
        let parameters = printed["paths"][path][method]["parameters"].as_array().unwrap();
        parameters.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    let has = |method: &str, path: &str, name: &str| names(method, path).iter().any(|known| known == name);
    assert!(has("patch", "/tasks/{id}", "If-Match") && has("patch", "/tasks/{id}", "Idempotency-Key"));
    assert!(!has("get", "/tasks/{id}", "If-Match") && !has("get", "/tasks/{id}", "Idempotency-Key"));
    assert_eq!(names("get", "/events/stream"), ["Last-Event-ID", "since_event_id", "inbox"]);
    let of = |method: &str, path: &str, what: &str| printed["paths"][path][method].pointer(what).cloned();
    for (method, path) in [("get", "/tasks/{id}"), ("post", "/tasks"), ("patch", "/tasks/{id}")] {
        assert!(of(method, path, "/responses/200/headers/ETag").is_some(), "{method} {path}");
    }
    assert!(of("get", "/tasks", "/responses/200/headers/ETag").is_none());
    assert!(of("post", "/tasks", "/responses/429/headers/Retry-After").is_some());
    assert!(of("post", "/tasks", "/responses/409/headers").is_none());
    assert_eq!(of("post", "/contexts", "/requestBody/required"), Some(json!(true)));
    assert_eq!(of("post", "/sessions/start", "/requestBody/required"), Some(json!(false)));
}

#[test]
fn the_metrics_count_requests_and_tasks() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    for title in ["one", "other", "third"] {
        server.ask("POST", "/tasks", Some(&json!({ "title": title }))).data();
    }
    server.ask("POST", "/tasks", Some(&json!({ "titel": "x" }))).error(400, "ERR_USAGE");
    let page = server.ask("GET", "/metrics", None);
    let has = |line: &str| assert!(page.body.lines().any(|known| known == line), "{line} in {}", page.body);
    has("agentpm_requests_total{op=\"task.create\",status=\"200\"} 3");
    has("agentpm_requests_total{op=\"task.create\",status=\"400\"} 1");
    has("agentpm_request_seconds_bucket{op=\"task.create\",le=\"+Inf\"} 4");
    has("agentpm_request_seconds_count{op=\"task.create\"} 4");
    has("agentpm_tasks{status=\"open\"} 3");
    for (queue, depth) in [("ready", 3), ("blocked", 0), ("in_progress", 0), ("threads", 0)] {
        has(&format!("agentpm_queue_depth{{queue=\"{queue}\"}} {depth}"));
    }
    has("agentpm_active_leases 0");
    has("agentpm_lock_wait_seconds_count 3");
    for line in page.body.lines() {
        let is_number = |text: &str| text.parse::<f64>().is_ok();
        assert!(line.starts_with("# ") || line.rsplit_once(' ').is_some_and(|(_, value)| is_number(value)), "{line}");
    }
}

#[test]
fn curl_speaks_with_the_server() {
    crate::machine::needs!("curl");
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let curl = |args: &[&str]| {
        let mut curl = room.sealed("curl", &room.repo());
        Answer::from(curl.args(["-sS", "--max-time", "30"]).args(args).output().unwrap()).json()
    };
    let socket = server.socket.to_str().unwrap();
    let body = ["-H", "Content-Type: Application/JSON", "-d", r#"{"title":"by curl"}"#];
    let made =
        curl(&[&["--unix-socket", socket, "-H", "X-Agentpm-Agent: ada", "http://localhost/tasks"], &body[..]].concat());
    let id = made["data"]["id"].as_str().unwrap();
    let token = room.run(&["serve", "--print-token", "--quiet"]).text().to_owned();
    let url = format!("http://{}/tasks/{id}", server.tcp.unwrap());
    let seen = curl(&["-H", &format!("Authorization: Bearer {token}"), &url]);
    assert_eq!(seen["data"]["title"], "by curl");
}

#[test]
fn the_server_closes_silent_sessions_and_expires_threads() {
    let room = Sandbox::new();
    std::fs::write(
        room.store().join("config.toml"),
        "format = 1\n[session]\nlimit_seconds = 60\n[thread]\nescalate_to = \"lead\"\n",
    )
    .unwrap();
    room.at("2026-11-20T10:00:00Z");
    let id = room.task("one", &[]);
    let session = room.run(&["session", "start"]).data()["id"].as_str().unwrap().to_owned();
    let thread =
        room.run(&["thread", "open", &id, "--body", "x", "--ttl", "1h"]).data()["id"].as_str().unwrap().to_owned();
    room.at("2026-11-20T12:00:00Z");
    let mut command = serve(&room, &room.repo(), &[]);
    let _server = Server::spawn(command.env("AGENTPM_AGENT", "keeper")).unwrap();
    let of = |list: Value, id: &str, key: &str| {
        let items = list["items"].as_array().unwrap().clone();
        items.into_iter().find(|item| item["id"] == id).map(|item| item[key].clone()).unwrap_or_default()
    };
    wait_for("the session is closed", || {
        of(room.run(&["session", "list", "--all"]).data(), &session, "status") == "closed"
    });
    wait_for("the thread is escalated", || of(room.run(&["thread", "list"]).data(), &thread, "escalated_to") == "lead");
}
