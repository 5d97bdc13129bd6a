//! A NATS server for a story, and a client that sends it any bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::sandbox::{Sandbox, WAIT, wait_for};

/// A server with JetStream on a free port of loopback, ended when this is dropped.
pub struct Nats {
    child: Option<Child>,
    pub port: u16,
    folder: PathBuf,
    more: Vec<String>,
    /// Which of the servers of the story it is.
    program: PathBuf,
    home: PathBuf,
}

impl Nats {
    pub fn start(room: &Sandbox) -> Self {
        Self::start_with(room, &[])
    }

    /// A server with more options.
    pub fn start_with(room: &Sandbox, more: &[&str]) -> Self {
        let port = free_port();
        let folder = room.beside(&format!("nats-{port}"));
        let program = Path::new(crate::machine::path()).join("nats-server");
        let more = more.iter().map(|one| (*one).to_owned()).collect();
        let mut nats = Nats { child: None, port, folder, more, program, home: room.home() };
        nats.run();
        nats
    }

    /// Starts it again, on the same port and with what it stored.
    pub fn run(&mut self) {
        let mut command = std::process::Command::new(&self.program);
        command.env_clear().envs(crate::sandbox::sealed_vars(&self.home)).current_dir(&self.home);
        command
            .args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd"])
            .arg(&self.folder)
            .args(&self.more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nats-server starts"));
        wait_for("the NATS server answers", || Client::try_connect(self.port).is_some());
    }

    /// Ends it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it answer nothing until it goes on.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        kill_process(pid.expect("the server runs"), signal).expect("the server runs");
    }

    /// Three servers of one cluster, which have agreed on a leader.
    pub fn cluster(room: &Sandbox) -> Vec<Self> {
        let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
        let server = |(n, port): (usize, &u16)| {
            let name = format!("n{n}");
            let own = format!("nats://127.0.0.1:{port}");
            let more = [
                "-cluster_name",
                "story",
                "-server_name",
                name.as_str(),
                "-cluster",
                own.as_str(),
                "-routes",
                all.as_str(),
            ];
            Self::start_with(room, &more)
        };
        let servers: Vec<Self> = routes.iter().enumerate().map(server).collect();
        // Without a leader there is no answer at all.
        wait_for("the cluster has a leader", || {
            let client = Client::connect_for(servers[0].port, std::time::Duration::from_secs(1));
            client.and_then(|mut client| client.try_ask("$JS.API.INFO", &[], b"")).is_some()
        });
        servers
    }

    /// Removes all that it stored.
    pub fn wipe(&self) {
        std::fs::remove_dir_all(&self.folder).expect("its folder");
    }

    /// Copies all that it stored, while it does not run.
    pub fn save(&self) -> PathBuf {
        let saved = self.folder.with_extension("saved");
        copy(&self.folder, &saved);
        saved
    }

    /// Replaces all that it stored by a copy from before, while it does not run.
    pub fn set_back(&self, saved: &Path) {
        self.wipe();
        copy(saved, &self.folder);
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn client(&self) -> Client {
        Client::try_connect(self.port).expect("the server answers")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for one in std::fs::read_dir(from).expect("its folder").map(|one| one.expect("an entry").path()) {
        let there = to.join(one.file_name().expect("a name"));
        if one.is_dir() {
            copy(&one, &there);
        } else {
            std::fs::copy(&one, &there).expect("a copy");
        }
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// A client that speaks the protocol itself.
pub struct Client {
    stream: BufReader<TcpStream>,
    requests: u32,
}

impl Client {
    fn try_connect(port: u16) -> Option<Self> {
        Self::connect_for(port, WAIT)
    }

    /// A client that waits so long for each answer.
    fn connect_for(port: u16, patience: std::time::Duration) -> Option<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(patience)).ok()?;
        let mut client = Client { stream: BufReader::new(stream), requests: 0 };
        client.line().filter(|line| line.starts_with("INFO"))?;
        client.send(b"CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nPING\r\n")?;
        client.line().filter(|line| line == "PONG")?;
        Some(client)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    }

    fn send(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.get_mut().write_all(bytes).ok()
    }

    /// Sends a message with headers and gives the answer.
    pub fn ask_with(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Value {
        self.try_ask(subject, headers, payload).expect("the server answers")
    }

    fn try_ask(&mut self, subject: &str, headers: &[(&str, &str)], payload: &[u8]) -> Option<Value> {
        self.requests += 1;
        let inbox = format!("_INBOX.story.{}", self.requests);
        let head: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("NATS/1.0\r\n{head}\r\n");
        let mut bytes = format!("SUB {inbox} {}\r\n", self.requests).into_bytes();
        let (one, all) = (head.len(), head.len() + payload.len());
        bytes.extend(format!("HPUB {subject} {inbox} {one} {all}\r\n{head}").bytes());
        bytes.extend(payload);
        bytes.extend(b"\r\n");
        self.send(&bytes)?;
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["MSG" | "HMSG", .., length] => {
                    let mut body = vec![0; length.parse::<usize>().expect("a length") + 2];
                    self.stream.read_exact(&mut body).ok()?;
                    return Some(serde_json::from_slice(&body).unwrap_or(Value::Null));
                }
                ["PING"] => self.send(b"PONG\r\n")?,
                _ => {}
            }
        }
    }

    /// Publishes a message, which a stream must take. Gives its sequence number.
    #[track_caller]
    pub fn publish(&mut self, subject: &str, payload: &[u8]) -> u64 {
        let ack = self.ask_with(subject, &[], payload);
        ack["seq"].as_u64().unwrap_or_else(|| panic!("{subject} was not taken: {ack}"))
    }

    /// Asks for something of JetStream.
    pub fn ask(&mut self, what: &str, body: &Value) -> Value {
        let payload = if body.is_null() { String::new() } else { body.to_string() };
        self.ask_with(&format!("$JS.API.{what}"), &[], payload.as_bytes())
    }

    /// The names of all streams.
    pub fn streams(&mut self) -> Vec<String> {
        let names = self.ask("STREAM.NAMES", &Value::Null);
        names["streams"].as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect()
    }

    /// The number of messages of a stream.
    pub fn messages(&mut self, stream: &str) -> u64 {
        self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null)["state"]["messages"].as_u64().unwrap_or(0)
    }

    /// The subjects and the bodies of all messages of a stream.
    pub fn all(&mut self, stream: &str) -> Vec<(String, Vec<u8>)> {
        let state = self.ask(&format!("STREAM.INFO.{stream}"), &Value::Null)["state"].clone();
        let (first, last) = (state["first_seq"].as_u64().unwrap_or(1), state["last_seq"].as_u64().unwrap_or(0));
        let mut found = Vec::new();
        for sequence in first..=last {
            let got = self.ask(&format!("STREAM.MSG.GET.{stream}"), &json!({ "seq": sequence }));
            let Some(subject) = got["message"]["subject"].as_str() else { continue };
            found.push((subject.to_owned(), unbase64(got["message"]["data"].as_str().unwrap_or_default())));
        }
        found
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut out, mut held, mut bits) = (Vec::new(), 0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        held = held << 6 | u32::from(digit(c));
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((held >> bits & 0xff) as u8);
        }
    }
    out
}
