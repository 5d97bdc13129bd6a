//! The client: typed calls, and changes that happen once whatever becomes of their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use agentpm::client::{Client, entry, step};
use agentpm::error::Code;
use agentpm::model::args::{OptionalTaskRef, Ref, TaskRef, Text, Title};
use agentpm::model::command::{
    AgentRegister, Batch, Claim, LeaseAcquire, TaskCreate, TaskRelate, TaskTransition, TaskUpdate, ThreadOpen,
    ThreadReply, ThreadResolve,
};
use agentpm::model::context::ContextType;
use agentpm::model::message_args::{TaskMessage, ThreadMessage};
use agentpm::model::query::{TaskList, ThreadList};
use agentpm::model::relationship::RelationType;
use agentpm::model::task::Status;
use agentpm::model::thread::Resolution;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, rounds, wait_for};
use crate::server::Server;

#[path = "../../fixtures/sdk/program.rs"]
mod program;

fn titled(title: &str) -> TaskCreate {
    TaskCreate { title: Title(Text(title.into())), ..TaskCreate::default() }
}

/// The texts of the entries or the progress items of a task.
fn texts(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| item["content"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_program_of_the_documentation_plans_claims_and_completes() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let completed = program::work(server.socket.to_str().unwrap()).unwrap();
    assert_eq!(completed, ["Write the parser", "Document the parser"]);
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sdk.md")).unwrap();
    assert!(page.contains(include_str!("../../fixtures/sdk/program.rs")), "docs/sdk.md shows another program");
    room.is_clean();
}

#[test]
fn a_completed_task_to_review_is_no_task_to_work_on() {
    let room = Sandbox::new();
    room.run(&["config", "set", "review.required", "true"]).data();
    let id = room.task("one", &[]);
    room.run(&["--agent", "ada", "claim", &id]).data();
    room.run(&["--agent", "ada", "done", &id]).data();
    let server = Server::start(&room, &[]);
    let client = Client::at_socket(&server.socket).unwrap().as_agent("bob").unwrap();
    let claimed = client.next(&Claim::default()).unwrap().unwrap();
    let review = claimed.review.expect("a review");
    assert_eq!((review.completed_by.as_deref(), claimed.lease.is_none()), (Some("ada"), true));
    assert!(review.more["accept"].as_str().unwrap().contains("verify"), "{:?}", review.more);
}

#[test]
fn a_call_that_is_put_off_to_the_end_names_its_key() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--rate", "1"]);
    let client = Client::at_socket(&server.socket).unwrap().as_agent("ada").unwrap().trying(1);
    let refused = std::iter::repeat_with(|| client.create_task(&titled("one"))).take(50).find_map(Result::err);
    let refused = refused.expect("a limit");
    assert_eq!(refused.code, Code::RateLimit);
    assert!(refused.details["idempotency_key"].is_string(), "{refused:?}");
}

#[test]
fn events_that_no_program_writes_are_not_taken() {
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let client = Client::at_socket(&server.socket).unwrap().as_agent("ada").unwrap();
    client.create_task(&titled("one")).unwrap();
    let first = client.pull_events(None, Some(10)).unwrap().items[0].clone();
    let event = |field: &str, value: Value| {
        let mut event = first.clone();
        let changes = [
            ("id", json!("01ZZZZZZZZ0000000000000077")),
            ("lamport", json!(9)),
            ("parents", json!([first["id"]])),
            ("type", json!("TaskUpdated")),
            ("payload", json!({ "set": { "priority": 1 } })),
        ];
        changes.into_iter().chain([(field, value)]).for_each(|(field, value)| event[field] = value);
        event
    };
    for (field, value) in [("parents", json!([])), ("lamport", json!(1_u64 << 40)), ("lamport", json!(0))] {
        let refused = client.push_events(&[event(field, value)]).unwrap_err();
        assert_eq!(refused.code, Code::Validation, "{field}: {refused:?}");
    }
    assert_eq!(client.push_events(&[event("lamport", json!(9))]).unwrap().taken, 1);
}

#[test]
fn each_call_has_a_typed_answer() {
    let room = Sandbox::new();
    let server = Server::start(&room, &["--tcp", "127.0.0.1:0"]);
    let client = Client::at_socket(&server.socket).unwrap().as_agent("ada").unwrap();
    let registered =
        client.register_agent(&AgentRegister { role: Some("planner".into()), ..AgentRegister::default() }).unwrap();
    let client = Client::at_address(server.tcp.unwrap(), &registered.token.unwrap()).unwrap();
    let session = client.start_session().unwrap();
    let client = client.in_session(session.id).unwrap().linked_by("c-1", Some("p-1")).unwrap();
    assert_eq!(client.heartbeat(session.id).unwrap().agent, "ada");

    let one = client.create_task(&titled("one")).unwrap();
    let other = client.create_task(&titled("other")).unwrap();
    let id = one.id.to_string();
    let change = TaskUpdate { id: OptionalTaskRef(Some(id.clone())), priority: Some(3), ..TaskUpdate::default() };
    assert_eq!(client.update_task(&change).unwrap().more["changed"]["priority"]["to"], 3);
    let edge = TaskRelate {
        id: TaskRef(id.clone()),
        to: Ref(other.id.to_string()),
        kind: RelationType::RelatesTo,
        metadata: None,
        guard: Default::default(),
    };
    let edge = client.add_relationship(&edge).unwrap();
    assert_eq!(client.remove_relationship(edge.id).unwrap().task, one.id);
    assert_eq!(client.add_context(&entry(&id, "why", ContextType::Decision)).unwrap().task, one.id);
    let item = client.add_progress(&step(&id, "a step")).unwrap();
    assert!(client.complete_progress(item.id).unwrap().completed);
    let mut several = step(&id, "one");
    several.what.content.push("other".into());
    assert_eq!(client.add_progress(&several).unwrap_err().code, Code::Usage, "nothing is added that has no answer");
    let lease =
        client.acquire_lease(&LeaseAcquire { task_id: TaskRef(id.clone()), ..LeaseAcquire::default() }).unwrap();
    assert_eq!(client.renew_lease(&id).unwrap().id, lease.id);
    assert_eq!(client.release_lease(&id).unwrap().task, one.id);
    let thread = client.open_thread(&ThreadOpen {
        what: TaskMessage { task_id: OptionalTaskRef(Some(id.clone())), body: "is it urgent?".into() },
        ..ThreadOpen::default()
    });
    let thread = thread.unwrap().thread.to_string();
    let reply = ThreadReply {
        what: ThreadMessage { thread: serde_json::from_value(json!(thread)).unwrap(), body: "no".into() },
        ..ThreadReply::default()
    };
    assert_eq!(client.reply(&reply).unwrap().task, one.id);
    assert_eq!(client.threads(&ThreadList { open: true, ..ThreadList::default() }).unwrap().items[0].author, "ada");
    let resolve: ThreadResolve =
        serde_json::from_value(json!({ "thread": thread, "resolution": Resolution::Reject })).unwrap();
    client.resolve_thread(&resolve).unwrap();
    let claimed = client.next(&Claim { id: OptionalTaskRef(Some(id.clone())), ..Claim::default() }).unwrap().unwrap();
    assert_eq!((claimed.task.id, claimed.lease.is_some()), (one.id, true));
    assert!(client.brief(&id).unwrap().text.contains("one"));
    assert_eq!(client.release_task(&id).unwrap().status, Status::Open);
    let cancel: TaskTransition = serde_json::from_value(json!({ "id": other.id, "status": "cancelled" })).unwrap();
    assert_eq!(client.transition_task(&cancel).unwrap().status, Status::Cancelled);
    let batch = Batch::from_json(&json!([{ "op": "task.create", "as": "t", "args": { "title": "third" } }])).unwrap();
    let made = client.batch(&batch).unwrap();
    assert_eq!((made.total, made.items[0].name.as_deref()), (1, Some("t")));
    let listed = client.list_tasks(&TaskList { limit: Some(1), ..TaskList::default() }).unwrap();
    assert_eq!((listed.items.len(), listed.total, listed.truncated), (1, 2, true));
    let whole = client.get_task(&id).unwrap();
    assert_eq!((whole.title.as_str(), whole.more["context"].as_array().unwrap().len()), ("one", 1));
    let events = client.pull_events(None, Some(1_000)).unwrap();
    assert!(events.items.iter().any(|event| event["correlation_id"] == "c-1" && event["plan_id"] == "p-1"));
    let pushed = client.push_events(&events.items).unwrap();
    assert_eq!((pushed.taken, pushed.known > 5), (0, true));
    assert!(client.wait_for_next(Duration::from_secs(1)).unwrap().is_some());
    client.end_session(session.id).unwrap();

    let refused = client.get_task("ZZZZZZ").unwrap_err();
    assert_eq!(refused.code, Code::NotFound);
    assert!(client.as_agent("ada\r\nX: y").is_err(), "a name cannot add a header");
    let gone = Client::at_socket(room.beside("nothing.sock")).unwrap().as_agent("ada").unwrap().trying(2);
    let error = gone.create_task(&titled("x")).unwrap_err();
    assert_eq!(error.code, Code::Io);
    assert!(error.details["idempotency_key"].is_string());
}

/// A proxy on the way to a server, that loses requests and answers by chance.
struct Proxy {
    socket: PathBuf,
    /// What was lost: requests, answers, and the ends of answers.
    lost: Arc<[AtomicU64; 3]>,
}

impl Proxy {
    fn new(room: &Sandbox, server: &Path, seed: u64) -> Self {
        let socket = room.beside("proxy.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let lost: Arc<[AtomicU64; 3]> = Arc::default();
        let (server, losses) = (server.to_owned(), Arc::clone(&lost));
        thread::spawn(move || {
            let mut chance = seed;
            for stream in listener.incoming().map_while(Result::ok) {
                // Marsaglia's xorshift: chance enough to lose things by.
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                let (server, losses, fate) = (server.clone(), Arc::clone(&losses), chance % 15);
                thread::spawn(move || {
                    // A client or server that is gone is what this is about.
                    let _ = pass(&stream, &server, &losses, fate);
                });
            }
        });
        Proxy { socket, lost }
    }
}

fn pass(mut client: &UnixStream, server: &Path, lost: &[AtomicU64; 3], fate: u64) -> std::io::Result<()> {
    let note = |n: usize| lost[n].fetch_add(1, Ordering::Relaxed);
    if fate == 0 {
        note(0);
        return client.shutdown(Shutdown::Both);
    }
    let mut request = Vec::new();
    let mut part = [0; 4096];
    let is_whole = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse::<usize>().ok());
        body.len() >= length.unwrap_or(0)
    };
    while !is_whole(&request) {
        let n = client.read(&mut part)?;
        if n == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..n]);
    }
    let mut onward = UnixStream::connect(server)?;
    onward.write_all(&request)?;
    let mut answer = Vec::new();
    onward.read_to_end(&mut answer)?;
    match fate {
        1 => drop(note(1)),
        2 => {
            note(2);
            client.write_all(&answer[..answer.len() / 2])?;
        }
        _ => client.write_all(&answer)?,
    }
    client.shutdown(Shutdown::Both)
}

#[test]
fn every_change_happens_once_through_a_proxy_that_loses_requests_and_answers() {
    const CLIENTS: usize = 4;
    let seed = u64::from(std::process::id()) * 2_654_435_761 + 1;
    println!("seed {seed}");
    let calls = rounds(10_000);
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let proxy = Proxy::new(&room, &server.socket, seed);
    thread::scope(|scope| {
        for n in 0..CLIENTS {
            let socket = &proxy.socket;
            scope.spawn(move || {
                let client = Client::at_socket(socket).unwrap().as_agent(&format!("agent-{n}")).unwrap().trying(30);
                let task = client.create_task(&titled(&format!("of {n}"))).unwrap().id.to_string();
                for call in 0..calls / CLIENTS {
                    match call % 4 {
                        0 => drop(client.add_progress(&step(&task, &format!("{call}"))).unwrap()),
                        1 => drop(client.create_task(&titled(&format!("of {n}: {call}"))).unwrap()),
                        _ => drop(client.add_context(&entry(&task, &format!("{call}"), ContextType::Note)).unwrap()),
                    }
                }
            });
        }
    });
    let lost: Vec<u64> = proxy.lost.iter().map(|lost| lost.load(Ordering::Relaxed)).collect();
    assert!(lost.iter().all(|lost| *lost > 0), "nothing was lost: {lost:?}");
    let per_client = calls / CLIENTS;
    let of = |rest: usize| (0..per_client).filter(|call| call % 4 == rest).count();
    let listed = room.run(&["task", "list", "--all"]).data();
    assert_eq!(listed["total"], CLIENTS * (1 + of(1)), "seed {seed}");
    for task in listed["items"].as_array().unwrap().iter().filter(|task| !task["title"].as_str().unwrap().contains(':'))
    {
        let whole = room.get(task["id"].as_str().unwrap());
        let (notes, steps) = (texts(&whole["context"]), texts(&whole["progress"]["items"]));
        assert_eq!(notes.len(), of(2) + of(3), "seed {seed}");
        assert_eq!(notes.iter().collect::<BTreeSet<_>>().len(), notes.len(), "seed {seed}");
        assert_eq!(steps.len(), of(0), "seed {seed}");
    }
    room.is_clean();
}

#[test]
fn no_acknowledged_change_is_lost_while_the_server_is_killed() {
    const CLIENTS: usize = 16;
    let room = Sandbox::new();
    let tasks: Vec<String> = (0..4).map(|n| room.task(&format!("task {n}"), &[])).collect();
    let mut server = Server::start(&room, &[]);
    let socket = server.socket.clone();
    let calls = rounds(500) / 5;
    let acknowledged: Mutex<BTreeMap<String, BTreeSet<String>>> = Mutex::default();
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (socket, tasks, acknowledged) = (&socket, &tasks, &acknowledged);
                scope.spawn(move || {
                    let client = Client::at_socket(socket).unwrap().as_agent(&format!("agent-{n}")).unwrap().trying(40);
                    for call in 0..calls {
                        let task = &tasks[(n + call) % tasks.len()];
                        let text = format!("{n} {call}");
                        match call % 3 {
                            0 => drop(client.add_progress(&step(task, &text)).unwrap()),
                            1 => drop(client.add_context(&entry(task, &text, ContextType::Note)).unwrap()),
                            _ => {
                                client.get_task(task).unwrap();
                                client.add_context(&entry(task, &text, ContextType::Attempt)).unwrap();
                            }
                        }
                        acknowledged.lock().unwrap().entry(task.clone()).or_default().insert(text);
                    }
                })
            })
            .collect();
        let mut kills = 0;
        let are_done = || clients.iter().all(thread::ScopedJoinHandle::is_finished);
        let heard = || acknowledged.lock().unwrap().values().map(BTreeSet::len).sum::<usize>();
        while !are_done() {
            let next = (kills + 1) * CLIENTS * calls / 4;
            wait_for("more changes are acknowledged", || heard() >= next || are_done());
            server.signal(Signal::KILL);
            server.wait();
            server = Server::start(&room, &[]);
            kills += 1;
        }
        assert!(kills > 1, "the server was killed {kills} times");
    });
    for (task, expected) in acknowledged.into_inner().unwrap() {
        let whole = room.get(&task);
        let there = [texts(&whole["context"]), texts(&whole["progress"]["items"])].concat();
        assert_eq!(there.len(), expected.len(), "each once");
        assert_eq!(there.into_iter().collect::<BTreeSet<_>>(), expected);
    }
    room.is_clean();
}
