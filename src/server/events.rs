//! The stream of events: server-sent events, each with the id from which a client goes on after a reconnect.
//!
//! Guarantees that a client which reconnects with the last id it saw misses nothing and sees nothing twice, and that one which does
//! not read, or may not ask any more, is dropped.
//! Leaves to others: which events there are (`engine::feed`), and what concerns an agent (`engine::inbox`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use http_body::Frame;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::app::App;
use super::arguments::{pairs, truth};
use super::guard::{self, Peer};
use super::reply::{Refusal, refused};
use super::routes::peer_of;
use crate::engine::feed::stream::{self as feed, Shown};
use crate::engine::{Workspace, inbox};
use crate::error::{Code, Error, Result};
use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::KINDS;

/// Events that wait for a client to read them.
const WAITING: usize = 64;
/// How often a client that is sent nothing else is sent a comment.
const ALIVE: Duration = Duration::from_secs(15);
/// How often a client hears which tasks became ready, at most: a look takes as long as `ready`.
const READY_EVERY: Duration = Duration::from_secs(1);

/// `GET /events/stream`
pub async fn stream(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        let peer = peer_of(&parts)?;
        let headers = parts.headers.clone();
        let ws = app.run(move |app| Ok::<_, Refusal>(app.workspace(guard::caller(app, peer, &headers)?)?)).await?;
        let mut since = guard::text_of(&parts.headers, "last-event-id")?;
        let mut is_inbox = false;
        for (name, value) in pairs(parts.uri.query())? {
            match name.as_str() {
                "since_event_id" => since = since.or(Some(value)),
                "inbox" => is_inbox = truth("inbox", &value)?,
                _ => return Err(Error::usage(format!("the stream has no option {name:?}")).into()),
            }
        }
        if is_inbox && ws.request.agent.is_none() {
            let unknown = Error::usage("the agent whose inbox it is is not known");
            return Err(unknown.hint("name it in the header X-Agentpm-Agent, or send its token").into());
        }
        // What an inbox has is sent until it is acknowledged, wherever a client was.
        let since = since.filter(|_| !is_inbox).map(|id| id.parse::<Id>()).transpose()?;
        let busy = || Error::new(Code::RateLimit, "too many clients listen already").hint("wait a second");
        let place = Arc::clone(&app.waiting).try_acquire_owned().map_err(|_| busy())?;
        let (send, events) = mpsc::channel(WAITING);
        let (begin, begun) = oneshot::channel();
        let server = Arc::clone(&app);
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let headers = parts.headers;
            let client = Client { app: server, peer, headers, send, begin: Some(begin), spoken: Instant::now() };
            if is_inbox { send_inbox(&ws, client) } else { send_events(&ws, since, client) }
        });
        // The client may count on what happens from its answer on.
        begun.await.map_err(|_| Error::new(Code::Io, "the stream ended before it began"))??;
        let mut response = Response::new(Body::new(Events(events)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Ok(response)
    };
    answer.await.unwrap_or_else(refused)
}

/// A client of the stream, on the thread that watches for it.
struct Client {
    app: Arc<App>,
    peer: Peer,
    headers: HeaderMap,
    send: mpsc::Sender<Bytes>,
    /// Says that from now on nothing is missed.
    begin: Option<oneshot::Sender<Result<()>>>,
    spoken: Instant,
}

impl Client {
    fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // Where the client is gone, so is the receiver of what follows.
            let _ = begin.send(Ok(()));
        }
    }

    /// Whether the client listens and may still ask: its token may have been revoked.
    fn is_there(&self) -> bool {
        !self.send.is_closed() && !self.app.is_stopping() && guard::caller(&self.app, self.peer, &self.headers).is_ok()
    }

    /// Sends a message; whether the client still listens.
    fn write(&mut self, text: String) -> bool {
        self.spoken = Instant::now();
        self.is_there() && self.send.blocking_send(Bytes::from(text)).is_ok()
    }

    /// Sends a comment from time to time; whether the client still listens.
    fn stay(&mut self) -> bool {
        if self.spoken.elapsed() >= ALIVE { self.write(": still here\n\n".to_owned()) } else { self.is_there() }
    }

    fn end(self, e: Error) {
        match self.begin {
            Some(begin) => drop(begin.send(Err(e))),
            None => tracing::warn!(error = %e, "a stream of events ended"),
        }
    }
}

/// Sends each event, and after those of a moment which tasks became ready.
fn send_events(ws: &Workspace, since: Option<Id>, mut client: Client) {
    let mut ready = Ready { known: None, is_stale: true, looked: None };
    // Those that are ready before the client listens became so before.
    ready.look(ws);
    let watched = feed::watch(ws, since, None, |shown| match shown {
        Shown::Begin(last) => {
            client.begin();
            // So that a client which lost the connection before the first event goes on from here.
            last.is_none_or(|id| client.write(format!("id: {id}\n\n")))
        }
        Shown::Event(Entry { event, line }) => {
            ready.is_stale = true;
            client.write(message(event, line))
        }
        Shown::Nothing => ready.look(ws).into_iter().all(|text| client.write(text)) && client.stay(),
    });
    if let Err(e) = watched {
        client.end(e);
    }
}

/// The message of an event. What others wrote of it cannot end its lines: a type that is not known may be any text, and between
/// the parts of a line of JSON there may be a CR.
fn message(event: &Event, line: &str) -> String {
    let kind = event.payload.kind();
    let kind = if KINDS.contains(&kind) { kind } else { "Unknown" };
    format!("id: {}\nevent: {kind}\ndata: {}\n\n", event.id, line.replace('\r', " "))
}

/// Sends each unread item of the inbox of the agent that asks, and each further one as it comes.
fn send_inbox(ws: &Workspace, mut client: Client) {
    if let Err(e) = inbox::begin(ws) {
        client.end(e);
        return;
    }
    client.begin();
    let client = RefCell::new(client);
    let watched = inbox::watch(ws, None, &|| client.borrow_mut().stay(), |one| {
        let item = inbox::item(ws, one)?;
        Ok(client.borrow_mut().write(format!("id: {}\nevent: InboxItem\ndata: {}\n\n", item.id, json!(item))))
    });
    if let Err(e) = watched {
        client.into_inner().end(e);
    }
}

/// The tasks that were ready at the last look for a client of the stream.
struct Ready {
    known: Option<BTreeMap<Id, String>>,
    /// Whether events arrived since.
    is_stale: bool,
    looked: Option<Instant>,
}

impl Ready {
    /// The messages about tasks that became ready. They have no id: a client goes on from the last event.
    fn look(&mut self, ws: &Workspace) -> Vec<String> {
        if !self.is_stale || self.looked.is_some_and(|looked| looked.elapsed() < READY_EVERY) {
            return Vec::new();
        }
        self.looked = Some(Instant::now());
        let now = match inbox::ready_now(ws) {
            Ok(now) => now,
            // Looked again with the next tick.
            Err(e) => {
                tracing::debug!(error = %e, "which tasks became ready is not known");
                return Vec::new();
            }
        };
        self.is_stale = false;
        let before = self.known.replace(now);
        let Some((before, now)) = before.as_ref().zip(self.known.as_ref()) else { return Vec::new() };
        let message =
            |(task, cause)| format!("event: TaskReady\ndata: {}\n\n", json!({ "task": task, "cause": cause }));
        inbox::newly_ready(before, now).into_iter().map(message).collect()
    }
}

/// The events of a stream as the body of an answer.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
