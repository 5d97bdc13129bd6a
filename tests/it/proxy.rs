//! A proxy between a program and a server on loopback: it can cut the connections, hold everything back, or lose answers.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

const PASSING: u8 = 0;
/// Nothing gets through, in either direction; connections stay open.
const HOLDING: u8 = 1;
/// Connections are closed, and new ones too.
const CUT: u8 = 2;
/// Of a connection on which a lease was asked for or a task offered, the answers are lost from then on.
const DEAF: u8 = 3;

/// How often a connection looks at what the proxy is to do.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A proxy, ended when this is dropped.
pub struct Proxy {
    pub port: u16,
    mode: Arc<AtomicU8>,
    ended: Arc<AtomicBool>,
}

impl Proxy {
    /// One to a server at this port.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let (mode, ended) = (Arc::new(AtomicU8::new(PASSING)), Arc::new(AtomicBool::new(false)));
        let (its_mode, its_end) = (Arc::clone(&mode), Arc::clone(&ended));
        std::thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if its_end.load(Ordering::SeqCst) {
                    return;
                }
                if its_mode.load(Ordering::SeqCst) != CUT
                    && let Ok(server) = TcpStream::connect(("127.0.0.1", server))
                {
                    connect(&client, &server, &its_mode);
                }
            }
        });
        Proxy { port, mode, ended }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Lets everything through.
    pub fn pass(&self) {
        self.mode.store(PASSING, Ordering::SeqCst);
    }

    /// Holds everything back, as a network does that drops packets.
    pub fn hold(&self) {
        self.mode.store(HOLDING, Ordering::SeqCst);
    }

    /// Closes every connection.
    pub fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
    }

    /// Lets requests for leases and offers of tasks through and loses the answers.
    pub fn lose_answers(&self) {
        self.mode.store(DEAF, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn connect(client: &TcpStream, server: &TcpStream, mode: &Arc<AtomicU8>) {
    let deaf = Arc::new(AtomicBool::new(false));
    for (from, to, is_request) in [(client, server, true), (server, client, false)] {
        let (from, to) = (from.try_clone().expect("a socket"), to.try_clone().expect("a socket"));
        let (mode, deaf) = (Arc::clone(mode), Arc::clone(&deaf));
        std::thread::spawn(move || pump(from, to, is_request, &mode, &deaf));
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, is_request: bool, mode: &AtomicU8, deaf: &AtomicBool) {
    let mut bytes = [0; 16 * 1024];
    let _ = from.set_read_timeout(Some(LOOK_EVERY));
    loop {
        let read = match mode.load(Ordering::SeqCst) {
            CUT => break,
            HOLDING => {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            _ => from.read(&mut bytes),
        };
        let some = match read {
            Ok(0) => break,
            Ok(read) => &bytes[..read],
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if is_request && mode.load(Ordering::SeqCst) == DEAF && asks_for_decision(some) {
            deaf.store(true, Ordering::SeqCst);
        }
        if (is_request || !deaf.load(Ordering::SeqCst)) && to.write_all(some).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

fn asks_for_decision(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let is_decided = text.contains(".lease.") || text.contains(".ready.");
    text.contains("Nats-Expected-Last-Subject-Sequence") && is_decided
}
