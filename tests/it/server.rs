//! A server for a story, and a client that sends it any bytes.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use serde_json::Value;

use crate::sandbox::{Answer, Sandbox, WAIT, collect, wait_for};

/// A running server, ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub socket: PathBuf,
    pub tcp: Option<SocketAddr>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Open, so that the server may print.
    _stdout: BufReader<ChildStdout>,
}

/// A stream to a server.
pub trait Stream: Read + Write + Send {
    fn wait_at_most(&self, most: std::time::Duration);
}

impl Stream for UnixStream {
    fn wait_at_most(&self, most: std::time::Duration) {
        self.set_read_timeout(Some(most)).unwrap();
        self.set_write_timeout(Some(most)).unwrap();
    }
}

impl Stream for TcpStream {
    fn wait_at_most(&self, most: std::time::Duration) {
        self.set_read_timeout(Some(most)).unwrap();
        self.set_write_timeout(Some(most)).unwrap();
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("no JSON document ({e}): {self:?}"))
    }

    /// The data of a success.
    #[track_caller]
    pub fn data(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        assert_eq!((&json["ok"], &json["error"]), (&Value::Bool(true), &Value::Null), "{self:?}");
        json["data"].clone()
    }

    /// The error of a refusal, after a look at its status and code.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> Value {
        let json = self.json();
        assert_eq!((self.status, json["error"]["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(json["ok"], false);
        json["error"].clone()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let line = |line: &'_ str| line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name));
        self.head.lines().find(|text| line(text)).and_then(|text| text.split_once(": ")).map(|(_, value)| value)
    }
}

/// The program `agentpm serve` in a folder, with ids that no seed gives twice.
pub fn serve(room: &Sandbox, dir: &Path, args: &[&str]) -> Command {
    let mut command = room.agentpm_in(dir);
    command.env_remove("AGENTPM_SEED").env_remove("AGENTPM_AGENT").arg("serve").args(args);
    command
}

impl Server {
    pub fn start(room: &Sandbox, args: &[&str]) -> Self {
        Self::start_in(room, &room.repo(), args)
    }

    pub fn start_in(room: &Sandbox, dir: &Path, args: &[&str]) -> Self {
        Self::spawn(&mut serve(room, dir, args)).unwrap_or_else(|answer| panic!("the server did not start: {answer:?}"))
    }

    /// Starts a server; what it answered where it ended instead.
    pub fn spawn(command: &mut Command) -> Result<Self, Answer> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("agentpm starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        let Some(socket) = answer["data"]["socket"].as_str().map(PathBuf::from) else {
            let output = child.wait_with_output().expect("it ends");
            return Err(Answer { stdout: line, ..Answer::from(output) });
        };
        let tcp = answer["data"]["tcp"].as_str().map(|address| address.parse().unwrap());
        let stderr = collect(child.stderr.take().expect("a pipe"));
        Ok(Server { child, socket, tcp, stderr, _stdout: stdout })
    }

    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("the server listens");
        stream.wait_at_most(WAIT);
        stream
    }

    pub fn connect_tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp.unwrap()).expect("the server listens");
        stream.wait_at_most(WAIT);
        stream
    }

    /// A request over the socket as `ada`.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        self.ask_with(method, path, &["X-Agentpm-Agent: ada"], body)
    }

    /// A request over the socket with these headers.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Reply {
        let bytes = request(method, path, "localhost", headers, body);
        self.answered(&bytes, try_exchange(&mut self.connect(), &bytes))
    }

    /// A request over TCP with these headers.
    pub fn ask_tcp(&self, method: &str, path: &str, headers: &[&str], body: Option<&Value>) -> Reply {
        let host = self.tcp.unwrap().to_string();
        let bytes = request(method, path, &host, headers, body);
        self.answered(&bytes, try_exchange(&mut self.connect_tcp(), &bytes))
    }

    /// The answer to a request; where there is none, what became of the server.
    #[track_caller]
    fn answered(&self, request: &str, reply: Result<Reply, String>) -> Reply {
        reply.unwrap_or_else(|why| {
            let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
            // The process stays to be waited for. Its end may be seen later than that of its connections.
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let state = || waitid(WaitId::Pid(pid), look).expect("the server is our child");
            let states = (0..20).map(|_| {
                state().or_else(|| {
                    std::thread::sleep(std::time::Duration::from_millis(50));
                    None
                })
            });
            let state = states.flatten().next();
            let head = request.lines().next().unwrap_or_default();
            panic!("{head}: {why}; the server ended: {state:?}; it printed: {}", self.printed())
        })
    }

    /// What it printed on standard error.
    pub fn printed(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }

    /// A request over the socket as `ada`; nothing where none is answered.
    pub fn try_ask(&self, method: &str, path: &str) -> Option<Reply> {
        try_exchange(&mut self.connect(), &request(method, path, "localhost", &["X-Agentpm-Agent: ada"], None)).ok()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).expect("the server runs");
    }

    /// Waits until it ends, and says with which code.
    pub fn wait(&mut self) -> Option<i32> {
        let child = std::cell::RefCell::new(&mut self.child);
        let status = std::cell::Cell::new(None);
        wait_for("the server ends", || {
            status.set(child.borrow_mut().try_wait().expect("it can be waited for"));
            status.get().is_some()
        });
        status.get().and_then(|status| status.code())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a stream of events, and reads the head of the answer.
pub fn listen<S: Stream>(mut stream: S, path: &str, host: &str, headers: &[&str]) -> BufReader<S> {
    stream.write_all(request("GET", path, host, headers, None).as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200"), "{line}");
    while line.trim_end() != "" {
        line.clear();
        reader.read_line(&mut line).unwrap();
    }
    reader
}

/// The bytes of a request.
pub fn request(method: &str, path: &str, host: &str, headers: &[&str], body: Option<&Value>) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for header in headers {
        text.push_str(&format!("{header}\r\n"));
    }
    match body {
        None => format!("{text}\r\n"),
        Some(body) => {
            let body = body.to_string();
            format!("{text}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    }
}

/// Sends bytes and reads the answer.
#[track_caller]
pub fn exchange(stream: &mut (impl Stream + ?Sized), bytes: &str) -> Reply {
    try_exchange(stream, bytes).unwrap_or_else(|why| panic!("{why}"))
}

fn try_exchange(stream: &mut (impl Stream + ?Sized), bytes: &str) -> Result<Reply, String> {
    // A server that refuses a request may close before it has all of it.
    let _ = stream.write_all(bytes.as_bytes());
    try_reply(stream)
}

/// Reads an answer until the server closes the connection.
#[track_caller]
pub fn read_reply(stream: &mut (impl Stream + ?Sized)) -> Reply {
    try_reply(stream).unwrap_or_else(|why| panic!("{why}"))
}

fn try_reply(stream: &mut (impl Stream + ?Sized)) -> Result<Reply, String> {
    let mut bytes = Vec::new();
    let mut part = [0; 65536];
    loop {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(n) => bytes.extend_from_slice(&part[..n]),
            Err(e) if bytes.is_empty() => return Err(format!("no answer: {e}")),
            Err(_) => break,
        }
    }
    if bytes.is_empty() {
        return Err("the connection was closed without an answer".into());
    }
    let text = String::from_utf8(bytes).expect("an answer is UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Reply { status, head: head.to_owned(), body: body.to_owned() })
}
