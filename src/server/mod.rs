//! The HTTP server: the operations of the table over a Unix socket, and over TCP on loopback where that is asked for.
//!
//! Guarantees that one server answers at a socket, that a change is answered only once it is on disk, and that a stopping server
//! finishes the requests that it began. It owns nothing: the command line works at the same time on the same files.
//! Leaves to others: the rules of the plan, and what an operation means (`api`).

mod app;
mod arguments;
mod connection;
mod events;
mod guard;
mod rate;
mod reply;
mod routes;
mod socket;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use self::app::App;
use self::guard::Peer;
use crate::engine::{self, Options, Workspace};
use crate::env::Env;
use crate::error::{Code, Error, Result};

/// Requests per second of one agent, where nothing else is asked for.
pub const RATE: u32 = 1_000;
/// Connections at once, on the socket and over TCP each: idle ones of strangers take no place of an agent on the socket.
const MAX_CONNECTIONS: usize = 64;
/// How long a stopping server waits for the requests that it began.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often silent sessions and expired threads are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// Variables of the process that started the server, which say nothing of who asks.
const OF_ONE_CALLER: &[&str] = &["AGENTPM_AGENT", "AGENTPM_SESSION", "AGENTPM_CORRELATION_ID", "AGENTPM_PLAN_ID"];

/// Where and how to serve.
#[derive(Clone, Copy, Debug)]
pub struct Serving {
    /// The address on loopback, besides the socket.
    pub tcp: Option<SocketAddr>,
    /// Requests per second of one agent.
    pub rate: u32,
}

/// Where a server answers.
#[derive(Clone, Debug, Serialize)]
pub struct Addresses {
    /// The path of its socket.
    pub socket: PathBuf,
    /// Its address on loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
}

/// Serves until SIGTERM or SIGINT. Calls `ready` once it answers.
///
/// Errors: `ERR_USAGE` for an address that is not on loopback or a path that is too long, `ERR_BUSY` where another server has the
/// socket, `ERR_IO`, and those of opening the store.
pub fn serve(env: Env, options: Options, serving: Serving, ready: impl FnOnce(&Addresses)) -> Result<()> {
    let own_agent = env.var("AGENTPM_AGENT").map(str::to_owned);
    let ws = engine::open(env.without(OF_ONE_CALLER), options.clone())?;
    ws.choose_runtime_place();
    let place = socket::place(&ws)?;
    let tcp = serving.tcp.map(listen_on_loopback).transpose()?;
    if tcp.is_some() {
        engine::commit::tokens::server_token(&ws)?;
    }
    let (bound, listener) = socket::bind(&ws, &place)?;
    let addresses = Addresses { socket: place, tcp: tcp.as_ref().and_then(|listener| listener.local_addr().ok()) };
    let app = Arc::new(App::new(ws, options, own_agent, serving.rate));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(Code::Io, format!("could not start the threads of the server: {e}")))?;
    let served = runtime.block_on(async {
        let listeners = Listeners::new(listener, tcp)?;
        listeners.serve(&app, || ready(&addresses)).await
    });
    runtime.shutdown_timeout(PATIENCE);
    drop(bound);
    served
}

/// The token with which a program other than a registered agent authenticates over TCP.
///
/// Errors: `ERR_IO` if it cannot be read or made, and those of opening the store.
pub fn token(ws: &Workspace) -> Result<String> {
    engine::commit::tokens::server_token(ws)
}

fn listen_on_loopback(address: SocketAddr) -> Result<TcpListener> {
    if !address.ip().is_loopback() {
        return Err(Error::usage(format!("{address} is not an address on loopback"))
            .hint("use --tcp 127.0.0.1:PORT; for other machines, forward the port through ssh"));
    }
    let listen = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|e: std::io::Error| {
        Error::new(Code::Io, format!("could not listen on {address}: {e}")).hint("port 0 takes any free port")
    })
}

struct Listeners {
    unix: tokio::net::UnixListener,
    tcp: Option<tokio::net::TcpListener>,
}

impl Listeners {
    fn new(unix: UnixListener, tcp: Option<TcpListener>) -> Result<Self> {
        let failed = |e: std::io::Error| Error::new(Code::Io, format!("could not listen: {e}"));
        unix.set_nonblocking(true).map_err(failed)?;
        Ok(Listeners {
            unix: tokio::net::UnixListener::from_std(unix).map_err(failed)?,
            tcp: tcp.map(tokio::net::TcpListener::from_std).transpose().map_err(failed)?,
        })
    }

    /// Accepts connections until a signal, and then waits for those that are in use. Calls `ready` once a signal stops it so.
    async fn serve(self, app: &Arc<App>, ready: impl FnOnce()) -> Result<()> {
        let failed = |e: std::io::Error| Error::new(Code::Io, format!("could not listen for signals: {e}"));
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(failed)?;
        ready();
        let router = routes::router(Arc::clone(app));
        let (stop, stopping) = watch::channel(false);
        let places = || Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (socket_places, tcp_places) = (places(), places());
        let mut connections = JoinSet::new();
        let mut due = tokio::time::interval(HOUSEKEEPING);
        loop {
            tokio::select! {
                accepted = self.unix.accept() => match accepted {
                    Ok((stream, _)) if is_ours(&stream) => {
                        let attend = connection::attend(stream, Peer::Socket, router.clone(), stopping.clone());
                        connection::admit(&socket_places, &mut connections, attend);
                    }
                    Ok(_) => {}
                    Err(e) => connection::rest(&e).await,
                },
                accepted = accept(self.tcp.as_ref()) => match accepted {
                    Ok((stream, _)) => {
                        let peer = Peer::Tcp(self.tcp.as_ref().and_then(|tcp| tcp.local_addr().ok()));
                        let attend = connection::attend(stream, peer, router.clone(), stopping.clone());
                        connection::admit(&tcp_places, &mut connections, attend);
                    }
                    Err(e) => connection::rest(&e).await,
                },
                Some(ended) = connections.join_next() => connection::report_panic(ended),
                _ = due.tick() => app.keep_house(),
                _ = terminated.recv() => break,
                _ = interrupted.recv() => break,
            }
        }
        drop(self);
        app.stopping.store(true, Ordering::SeqCst);
        // Without a receiver no connection is left.
        let _ = stop.send(true);
        let end = async {
            while let Some(ended) = connections.join_next().await {
                connection::report_panic(ended);
            }
        };
        if tokio::time::timeout(PATIENCE, end).await.is_err() {
            tracing::warn!(connections = connections.len(), "closed while requests were still running");
        }
        Ok(())
    }
}

async fn accept(tcp: Option<&tokio::net::TcpListener>) -> std::io::Result<(tokio::net::TcpStream, SocketAddr)> {
    match tcp {
        Some(tcp) => tcp.accept().await,
        None => std::future::pending().await,
    }
}

/// Whether the other end of a connection is a process of this user.
fn is_ours(stream: &tokio::net::UnixStream) -> bool {
    let own = crate::env::outside::own_user();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == own)
}
