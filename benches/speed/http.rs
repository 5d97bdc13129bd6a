//! The server, beside a handler that answers a constant and beside one flush of the disk. Its clients keep their connections.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;

use crate::floor::as_floor;
use crate::room::{Repo, Room, agentpm};
use crate::run::{Figures, Rounds, in_turn, ms};
use crate::table::{Line, Most, Report, Unit};

/// The names of these lines.
pub const NAMES: &[&str] = &["http-get", "http-change"];
/// Connections that ask at once.
const CONNECTIONS: usize = 8;

/// A server, ended when this is dropped.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `GET /tasks/{id}` on eight connections, and a change on one.
pub fn measure(room: &Room, repo: &Repo, report: &mut Report) {
    let socket = room.at("ours.sock");
    let mut command = agentpm(&repo.path, "bench", &["serve", "--rate", "4000000000", "--json"]);
    let ours = start(command.env("AGENTPM_SOCKET", &socket));
    if room.asked.wants("http-get") {
        gets(room, repo, &socket, report);
    }
    if room.asked.wants("http-change") {
        change(room, repo, &socket, report);
    }
    drop(ours);
}

fn gets(room: &Room, repo: &Repo, socket: &Path, report: &mut Report) {
    room.tell(&format!("http-get at {}", repo.tasks));
    let paths: Vec<String> = repo.open.iter().take(1_000).map(|id| format!("/tasks/{id}")).collect();
    let answer = Connection::to(socket).get(&paths[0]);
    let (bytes, constant) = (room.at("constant"), room.at("constant.sock"));
    std::fs::write(&bytes, &answer).expect("the constant is written");
    let words = [&constant, &bytes].map(|path| path.display().to_string());
    let floor = start(&mut as_floor("constant", &repo.path, &[&words[0], &words[1]]));
    let each = if room.asked.small { 5 } else { 200 };
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds { least: 5, most: 15, ..Rounds::MANY } };
    let mut slowest = Vec::new();
    let (ours, least) = in_turn(
        rounds,
        |_| {
            let (took, all) = ask(socket, &paths, each);
            slowest.push(all[(all.len() - 1) * 99 / 100]);
            took
        },
        |_| ask(&constant, &paths, each).0,
    );
    drop(floor);
    let line = |what: &str, beside: &str, most, ours, floor| Line {
        name: "http-get",
        what: what.into(),
        tasks: Some(repo.tasks),
        beside: beside.into(),
        most,
        unit: Unit::Ms,
        ours,
        floor,
        cold: None,
    };
    let what = format!("{} × `GET /tasks/{{id}}`, {CONNECTIONS} connections", CONNECTIONS * each);
    report.lines.push(line(&what, "a handler that answers a constant", Most::Times(2.0), ours, Some(least)));
    let p99 = Figures::of(slowest);
    report.lines.push(line("`GET /tasks/{id}`, slowest but 1 %", "–", Most::Flat(10.0), p99, None));
}

fn change(room: &Room, repo: &Repo, socket: &Path, report: &mut Report) {
    room.tell(&format!("http-change at {}", repo.tasks));
    let mut connection = Connection::to(socket);
    let mut file = std::fs::File::create(room.at("flushed")).expect("a file");
    let rounds = if room.asked.small { Rounds::ONE } else { Rounds::MANY };
    let (ours, floor) = in_turn(
        rounds,
        |n| {
            let begun = Instant::now();
            connection.post("/tasks", &format!(r#"{{"title":"served {n}"}}"#));
            begun.elapsed()
        },
        |_| {
            let begun = Instant::now();
            file.write_all(&[b'x'; 300]).expect("the file is written");
            file.sync_data().expect("the file is flushed");
            begun.elapsed()
        },
    );
    report.lines.push(Line {
        name: "http-change",
        what: "`POST /tasks`, acknowledged".into(),
        tasks: Some(repo.tasks),
        beside: "append 300 bytes, `fdatasync`, in a warm process".into(),
        most: Most::Times(1.2),
        unit: Unit::Ms,
        ours,
        floor: Some(floor),
        cold: None,
    });
}

/// Asks on all connections at once; how long that took, and each request in milliseconds, sorted.
fn ask(socket: &Path, paths: &[String], each: usize) -> (Duration, Vec<f64>) {
    let begun = Instant::now();
    let mut all: Vec<f64> = std::thread::scope(|scope| {
        let asking = |n: usize| {
            let mut connection = Connection::to(socket);
            let one = move |k: usize| {
                let begun = Instant::now();
                connection.get(&paths[(n * each + k) % paths.len()]);
                ms(begun.elapsed())
            };
            (0..each).map(one).collect::<Vec<_>>()
        };
        let asked: Vec<_> = (0..CONNECTIONS).map(|n| scope.spawn(move || asking(n))).collect();
        asked.into_iter().flat_map(|one| one.join().expect("a client ends well")).collect()
    });
    let took = begun.elapsed();
    all.sort_by(f64::total_cmp);
    (took, all)
}

/// Starts a server, which prints a line once it answers.
fn start(command: &mut std::process::Command) -> Served {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a server starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("a server answers");
    assert!(!line.is_empty(), "a server answers");
    Served(child)
}

/// A connection that is kept.
struct Connection(BufReader<UnixStream>);

impl Connection {
    fn to(socket: &Path) -> Self {
        Connection(BufReader::new(UnixStream::connect(socket).expect("a server listens")))
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Agentpm-Agent: bench\r\n\r\n"))
    }

    fn post(&mut self, path: &str, body: &str) -> Vec<u8> {
        let head = "Host: localhost\r\nX-Agentpm-Agent: bench\r\nContent-Type: application/json\r\n";
        self.exchange(&format!("POST {path} HTTP/1.1\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    }

    fn exchange(&mut self, request: &str) -> Vec<u8> {
        self.0.get_mut().write_all(request.as_bytes()).expect("the server reads");
        let (mut line, mut length, mut first) = (String::new(), 0, true);
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).expect("the server answers") > 0, "the server closed the connection");
            assert!(!first || line.contains(" 200 "), "{line}");
            first = false;
            if line.trim_end().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).expect("the whole answer");
        body
    }
}

/// Answers every request on a socket with these bytes.
pub fn constant(socket: &Path, bytes: PathBuf) {
    let bytes = axum::body::Bytes::from(std::fs::read(bytes).expect("the constant"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let listener = UnixListener::bind(socket).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::UnixListener::from_std(listener).expect("a socket");
        let router: Router = Router::new().route("/{*path}", any(move || std::future::ready(bytes.clone())));
        println!("ready");
        loop {
            let (stream, _) = listener.accept().await.expect("a connection");
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
}
