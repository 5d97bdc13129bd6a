//! One request and its answer, on a connection of its own.
//!
//! Guarantees that an answer counts only if all of it arrived.
//! Leaves to others: when a request is repeated.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Code, Error};

/// The largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 256 * 1024 * 1024;
/// The most headers of an answer.
const MAX_HEADERS: usize = 32;

/// Where a server answers.
#[derive(Clone, Debug)]
pub enum Place {
    Socket(PathBuf),
    Tcp(SocketAddr),
}

/// A request.
pub struct Exchange<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'static str, String)],
    pub body: Option<&'a Value>,
    /// How long the answer may take.
    pub most: Duration,
}

/// Why there is no answer that counts.
pub enum Failure {
    /// The connection failed, or the answer did not arrive whole.
    Lost(io::Error),
    /// The server asks to try again later.
    Refused(Error),
}

impl Failure {
    /// The error for the caller, after the last try.
    pub fn into_error(self, path: &str, key: &str) -> Error {
        match self {
            Failure::Refused(mut e) => {
                // The first of several tries may still be carried out.
                if let Value::Object(details) = &mut *e.details {
                    details.insert("idempotency_key".into(), json!(key));
                    return e;
                }
                e.with(json!({ "idempotency_key": key }))
            }
            Failure::Lost(e) => Error::new(Code::Io, format!("{path}: the server did not answer: {e}"))
                .with(json!({ "idempotency_key": key }))
                .hint("check that the server is running: agentpm serve; a change may have happened"),
        }
    }
}

impl Exchange<'_> {
    /// Sends the request and reads the answer, which is an envelope.
    pub fn carry_out(&self, place: &Place) -> Result<Value, Failure> {
        self.attempt(place).map_err(Failure::Lost)
    }

    fn attempt(&self, place: &Place) -> io::Result<Value> {
        let until = Instant::now() + self.most;
        match place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_write_timeout(Some(self.most))?;
                self.on(stream, "localhost", until, |stream, left| stream.set_read_timeout(Some(left)))
            }
            Place::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, self.most)?;
                stream.set_write_timeout(Some(self.most))?;
                self.on(stream, &address.to_string(), until, |stream, left| stream.set_read_timeout(Some(left)))
            }
        }
        .and_then(|bytes| answer(&bytes))
    }

    fn on<S: Read + Write>(
        &self,
        mut stream: S,
        host: &str,
        until: Instant,
        limit: impl Fn(&S, Duration) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        // A server that refuses the request may answer without reading all of it.
        let sent = stream.write_all(&self.head_and_body(host)).and_then(|()| stream.flush());
        let mut bytes = Vec::new();
        let mut part = [0; 16 * 1024];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            limit(&stream, left)?;
            match stream.read(&mut part) {
                Ok(0) if bytes.is_empty() => return sent.and(Err(io::ErrorKind::UnexpectedEof.into())),
                Ok(0) => return Ok(bytes),
                Ok(n) => bytes.extend_from_slice(&part[..n]),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // What arrived before may be a whole answer.
                Err(_) if !bytes.is_empty() => return Ok(bytes),
                Err(e) => return Err(e),
            }
            if bytes.len() as u64 > MAX_ANSWER {
                return Err(io::Error::other("the answer is too large"));
            }
        }
    }

    fn head_and_body(&self, host: &str) -> Vec<u8> {
        let body = self.body.map(Value::to_string).unwrap_or_default();
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.body.is_some() {
            head.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        format!("{head}\r\n{body}").into_bytes()
    }
}

/// The envelope of an answer that is whole.
fn answer(bytes: &[u8]) -> io::Result<Value> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Response::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Err(e) => return Err(broken(&format!("the answer is not HTTP: {e}"))),
    };
    let declared = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let declared = declared.and_then(|header| std::str::from_utf8(header.value).ok()?.trim().parse::<usize>().ok());
    let body = &bytes[length..];
    let declared = declared.ok_or_else(|| broken("the answer has no length"))?;
    if body.len() < declared {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let envelope: Value = serde_json::from_slice(&body[..declared]).map_err(|e| broken(&e.to_string()))?;
    if envelope["ok"].is_boolean() { Ok(envelope) } else { Err(broken("the answer is no envelope")) }
}
