//! Many clients of a server at once, while the server is killed and clients die: what was acknowledged is there, once, and each task
//! is one register.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use agentpm::client::{Client, entry};
use agentpm::error::Code;
use agentpm::model::args::{OptionalTaskRef, Text, Title};
use agentpm::model::command::{Guard, TaskCreate, TaskUpdate};
use agentpm::model::context::ContextType;
use agentpm::model::query::TaskList;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::{Value, json};

use crate::machine::skip;
use crate::sandbox::{Sandbox, plays_all, wait_for};
use crate::server::{Server, request};

const CLIENTS: usize = 64;
/// Tasks that all clients change.
const SHARED: usize = 8;
/// The most memory of a server, in kilobytes.
const MEMORY: u64 = 400_000;

/// What all clients know of the tasks that they share.
struct Register {
    id: String,
    /// The greatest version that an answer showed before now.
    answered: AtomicUsize,
    /// Which client changed which version: two that changed the same one have not seen each other.
    changed: Mutex<BTreeMap<u64, String>>,
}

/// What answers said, and must be found.
#[derive(Default)]
struct Acknowledged {
    titles: Vec<String>,
    notes: Vec<(usize, String)>,
    changes: usize,
    lost_races: usize,
}

/// Reads a shared task: never an older version than one that an answer showed before.
fn read(client: &Client, register: &Register) -> u64 {
    let answered = register.answered.load(Ordering::SeqCst) as u64;
    let version = client.get_task(&register.id).unwrap().version;
    assert!(version >= answered, "{} was at {answered} and is read at {version}", register.id);
    register.answered.fetch_max(version as usize, Ordering::SeqCst);
    version
}

/// Changes a shared task that is at a version; who else did so at the same version must be refused.
fn change(client: &Client, register: &Register, version: u64, word: &str, kept: &mut Acknowledged) {
    let change = TaskUpdate {
        id: OptionalTaskRef(Some(register.id.clone())),
        add_labels: vec![word.to_owned()],
        guard: Guard { expected_version: Some(version), ..Guard::default() },
        ..TaskUpdate::default()
    };
    match client.update_task(&change) {
        Ok(receipt) => {
            let before = register.changed.lock().unwrap().insert(version, word.to_owned());
            assert!(before.is_none(), "{} and {before:?} both changed version {version}", word);
            register.answered.fetch_max(receipt.version as usize, Ordering::SeqCst);
            kept.changes += 1;
        }
        Err(e) if e.code == Code::Conflict => kept.lost_races += 1,
        Err(e) => panic!("{word}: {e:?}"),
    }
}

/// A client that dies with its request on the way: what it asked for happens once or not at all.
fn die(socket: &Path, word: &str) {
    let body = json!({ "title": word });
    let headers = ["X-Agentpm-Agent: dies"];
    let bytes = request("POST", "/tasks", "localhost", &headers, Some(&body));
    if let Ok(mut stream) = UnixStream::connect(socket) {
        let _ = stream.write_all(&bytes.as_bytes()[..bytes.len() - word.len() % 3]);
    }
}

fn work(client: &Client, socket: &Path, shared: &[Register], name: usize, each: usize) -> Acknowledged {
    let mut kept = Acknowledged::default();
    for k in 0..each {
        let (nth, word) = ((name + k) % SHARED, format!("c{name}-{k}"));
        let register = &shared[nth];
        match k % 6 {
            0 => {
                let title = Title(Text(word.clone()));
                client.create_task(&TaskCreate { title, ..TaskCreate::default() }).unwrap();
                kept.titles.push(word);
            }
            1 => {
                client.add_context(&entry(&register.id, &word, ContextType::Note)).unwrap();
                kept.notes.push((nth, word));
            }
            2 | 3 => {
                let version = read(client, register);
                change(client, register, version, &word, &mut kept);
            }
            4 => drop(client.list_tasks(&TaskList { limit: Some(5), ..TaskList::default() }).unwrap()),
            _ => die(socket, &format!("dying {word}")),
        }
    }
    kept
}

/// The most memory that a server had at once, in kilobytes.
fn peak(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_many_clients_were_told_is_there_though_servers_and_clients_die() {
    let each = if plays_all() { 500 } else { 30 };
    let room = Sandbox::new();
    let shared: Vec<Register> = (0..SHARED)
        .map(|n| Register {
            id: room.task(&format!("shared {n}"), &[]),
            answered: AtomicUsize::new(1),
            changed: Mutex::default(),
        })
        .collect();
    let mut server = Some(Server::start(&room, &["--rate", "1000000"]));
    let socket = server.as_ref().unwrap().socket.clone();
    let kept: Vec<Acknowledged> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|name| {
                let (shared, socket) = (&shared, &socket);
                scope.spawn(move || {
                    let client =
                        Client::at_socket(socket).unwrap().as_agent(&format!("c{name}")).unwrap().trying(1_000);
                    work(&client, socket, shared, name, each)
                })
            })
            .collect();
        while !clients.iter().all(|client| client.is_finished()) {
            thread::sleep(Duration::from_millis(1_500));
            let mut running = server.take().unwrap();
            assert!(peak(&running) < MEMORY, "{} kB", peak(&running));
            running.signal(Signal::KILL);
            running.wait();
            server = Some(Server::start(&room, &["--rate", "1000000"]));
        }
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let listed = room.run_short(&["ls", "--all", "--json"]).data();
    let titles: Vec<&str> = listed["items"].as_array().unwrap().iter().map(|t| t["title"].as_str().unwrap()).collect();
    let count = |title: &str| titles.iter().filter(|known| **known == title).count();
    for title in kept.iter().flat_map(|kept| &kept.titles) {
        assert_eq!(count(title), 1, "{title} was acknowledged");
    }
    for title in titles.iter().filter(|title| title.starts_with("dying ")) {
        assert_eq!(count(title), 1, "{title} happened twice");
    }
    for (nth, register) in shared.iter().enumerate() {
        let task = room.get(&register.id);
        let texts = |key: &str| -> Vec<String> {
            let of = |item: &Value| item.as_str().or(item["content"].as_str()).unwrap().to_owned();
            task[key].as_array().unwrap().iter().map(of).collect()
        };
        let (notes, labels) = (texts("context"), texts("labels"));
        let wanted = kept.iter().flat_map(|kept| &kept.notes).filter(|(of, _)| *of == nth);
        for (_, note) in wanted {
            assert_eq!(notes.iter().filter(|known| *known == note).count(), 1, "{note} was acknowledged");
        }
        for word in register.changed.lock().unwrap().values() {
            assert!(labels.contains(word), "{word} was acknowledged");
        }
        assert!(task["version"].as_u64().unwrap() >= register.answered.load(Ordering::SeqCst) as u64);
    }
    let changes: usize = kept.iter().map(|kept| kept.changes).sum();
    assert!(
        changes >= CLIENTS,
        "{changes} changes, {} lost races",
        kept.iter().map(|kept| kept.lost_races).sum::<usize>()
    );
    let server = server.unwrap();
    assert!(peak(&server) < MEMORY, "{} kB", peak(&server));
    room.is_clean();
}

#[test]
fn ten_thousand_idle_connections_end_and_cost_no_memory() {
    const IDLE: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let enough = IDLE as u64 + 500;
    if limit.maximum.is_some_and(|most| most < enough) {
        return skip(&format!("{enough} open files"));
    }
    if limit.current.is_some_and(|now| now < enough) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(enough), ..limit }).unwrap();
    }
    let room = Sandbox::new();
    let server = Server::start(&room, &[]);
    let before = peak(&server);
    let idle: Vec<UnixStream> = (0..IDLE).map(|_| server.connect()).collect();
    // Those without a place are closed at once, the others when they have been idle for too long.
    wait_for("the server answers", || server.try_ask("GET", "/healthz").is_some_and(|reply| reply.status == 200));
    assert!(peak(&server) < before + 50_000, "{} kB, {before} before", peak(&server));
    drop(idle);
    server.ask("GET", "/ready", None).data();
}
