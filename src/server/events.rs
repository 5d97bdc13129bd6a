//! The stream of events: server-sent events, each with the id from which a client goes on after a reconnect.
//!
//! Guarantees that a client which reconnects with the last id it saw misses nothing and sees nothing twice, and that one which does
//! not read is dropped.
//! Leaves to others: which events there are (`engine::feed`).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Response, header};
use http_body::Frame;
use tokio::sync::{mpsc, oneshot};

use super::app::App;
use super::arguments::pairs;
use super::guard;
use super::reply::{Refusal, refused};
use super::routes::peer_of;
use crate::engine::feed::stream as feed;
use crate::error::{Code, Error, Result};
use crate::model::event::Entry;
use crate::model::id::Id;

/// Events that wait for a client to read them.
const WAITING: usize = 64;
/// How often a client that is sent nothing else is sent a comment.
const ALIVE: Duration = Duration::from_secs(15);

/// `GET /events/stream`
pub async fn stream(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        let peer = peer_of(&parts)?;
        let headers = parts.headers.clone();
        let ws = app.run(move |app| Ok::<_, Refusal>(app.workspace(guard::caller(app, peer, &headers)?)?)).await?;
        let mut since = guard::text_of(&parts.headers, "last-event-id")?;
        for (name, value) in pairs(parts.uri.query())? {
            match name.as_str() {
                "since_event_id" => since = since.or(Some(value)),
                _ => return Err(Error::usage(format!("the stream has no option {name:?}")).into()),
            }
        }
        let since = since.map(|id| id.parse::<Id>()).transpose()?;
        let busy = || Error::new(Code::RateLimit, "too many clients listen already").hint("wait a second");
        let place = Arc::clone(&app.waiting).try_acquire_owned().map_err(|_| busy())?;
        let (send, events) = mpsc::channel(WAITING);
        let (begin, begun) = oneshot::channel();
        let server = Arc::clone(&app);
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let mut listener = Listener { app: server, send, begin: Some(begin), spoken: Instant::now() };
            if let Err(e) = feed::watch(&ws, since, None, |entry| listener.take(entry)) {
                listener.end(e);
            }
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
struct Listener {
    app: Arc<App>,
    send: mpsc::Sender<Bytes>,
    /// Says that from now on nothing is missed.
    begin: Option<oneshot::Sender<Result<()>>>,
    spoken: Instant,
}

impl Listener {
    /// Sends an event, or from time to time a comment; whether the client still listens.
    fn take(&mut self, entry: Option<&Entry>) -> bool {
        if let Some(begin) = self.begin.take() {
            // Where the client is gone, so is the receiver of what follows.
            let _ = begin.send(Ok(()));
        }
        let text = match entry {
            Some(Entry { event, line }) => {
                format!("id: {}\nevent: {}\ndata: {line}\n\n", event.id, event.payload.kind())
            }
            None if self.spoken.elapsed() >= ALIVE => ": still here\n\n".to_owned(),
            None => return !self.send.is_closed() && !self.app.is_stopping(),
        };
        self.spoken = Instant::now();
        self.send.blocking_send(Bytes::from(text)).is_ok() && !self.app.is_stopping()
    }

    fn end(self, e: Error) {
        match self.begin {
            Some(begin) => drop(begin.send(Err(e))),
            None => tracing::warn!(error = %e, "a stream of events ended"),
        }
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
