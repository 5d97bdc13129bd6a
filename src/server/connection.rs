//! Connections: how many there are, and how long each may take.
//!
//! Guarantees that a client that is slow to send a request, or does not read its answer, is dropped.
//! Leaves to others: what is answered (`routes`).

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Sleep;

use super::guard::Peer;
use super::reply::{Refusal, failed_inside, message_of, refused};

/// How long the headers of a request may take, and how long a connection may be idle.
const HEADERS: Duration = Duration::from_secs(10);
/// How long a client may leave an answer unread.
const UNREAD: Duration = Duration::from_secs(20);
/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1_024;
/// The answer to a connection for which there is no place.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 152\r\nretry-after: 1\r\n\
connection: close\r\n\r\n{\"ok\":false,\"data\":null,\"error\":{\"code\":\"ERR_BUSY\",\"message\":\"the server has no place for another \
connection\",\"details\":null,\"hint\":\"try again later\"}}\n";

/// A stream that fails where the other end reads nothing for too long.
struct Hurried<S> {
    stream: S,
    unread: Option<Pin<Box<Sleep>>>,
}

impl<S> Hurried<S> {
    fn within<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.unread = None;
            return written;
        }
        let unread = self.unread.get_or_insert_with(|| Box::pin(tokio::time::sleep(UNREAD)));
        unread.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Hurried<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Hurried<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.within(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.within(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, shut)
    }
}

/// A connection that was accepted: the stream, and what attends to it.
pub struct Accepted<S, F> {
    stream: S,
    serve: F,
}

/// Answers the requests of a connection until it ends, or until the server stops and the request at hand is answered.
pub fn attend<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    router: Router,
    mut stopping: watch::Receiver<bool>,
) -> Accepted<S, impl FnOnce(S) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static> {
    let serve = move |stream: S| -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let router = TowerToHyperService::new(router);
            let answer = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer);
                unless_it_panics(router.call(request))
            });
            let io = TokioIo::new(Hurried { stream, unread: None });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS)
                .max_buf_size(MAX_HEAD)
                .serve_connection(io, answer);
            let mut connection = std::pin::pin!(connection);
            let stopped = async {
                // Without a sender the server is gone.
                let _ = stopping.wait_for(|stopping| *stopping).await;
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(e) = ended {
                tracing::debug!(error = %e, "a connection ended early");
            }
        })
    };
    Accepted { stream, serve }
}

/// The answer of a handler; a refusal where it panics, so that the client gets an answer then too.
async fn unless_it_panics(
    answer: impl Future<Output = Result<Response<Body>, Infallible>>,
) -> Result<Response<Body>, Infallible> {
    let mut answer = std::pin::pin!(answer);
    let caught = std::future::poll_fn(|cx| {
        // After a panic the handler is not polled again, and what requests share stands behind locks that bear one.
        match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    });
    caught.await.unwrap_or_else(|panic| Ok(refused(Refusal::from(failed_inside(&*panic)).closing())))
}

/// Logs a task that ended by a panic.
pub fn report_panic(ended: Result<(), JoinError>) {
    if let Err(e) = ended
        && let Ok(panic) = e.try_into_panic()
    {
        tracing::error!(panic = message_of(&*panic), "a connection failed inside the server");
    }
}

/// Attends to a connection where there is a place for it, and refuses it otherwise.
pub fn admit<S, F>(places: &Arc<Semaphore>, connections: &mut JoinSet<()>, accepted: Accepted<S, F>)
where
    S: AsyncWrite + Unpin + Send + 'static,
    F: FnOnce(S) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + 'static,
{
    let Accepted { mut stream, serve } = accepted;
    match Arc::clone(places).try_acquire_owned() {
        Ok(place) => {
            connections.spawn(async move {
                serve(stream).await;
                drop(place);
            });
        }
        Err(_) => {
            connections.spawn(async move {
                // Whether it is read or not, the connection is closed.
                let refusal = async { stream.write_all(FULL).await.and(stream.shutdown().await) };
                let _ = tokio::time::timeout(Duration::from_secs(1), refusal).await;
            });
        }
    }
}

/// Waits where no connection can be accepted, such as for lack of file descriptors.
pub async fn rest(e: &io::Error) {
    tracing::warn!(error = %e, "a connection was not accepted");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::AsyncReadExt as _;

    use super::*;

    async fn begins_to_wait() {
        tokio::task::yield_now().await;
        panic!("planted");
    }

    #[tokio::test]
    async fn a_handler_that_panics_is_answered_as_a_failure() {
        let router = Router::new().route("/", get(begins_to_wait));
        let (_stop, stopping) = watch::channel(false);
        let (mut client, stream) = tokio::io::duplex(4_096);
        let Accepted { stream, serve } = attend(stream, Peer::Socket, router, stopping);
        let served = tokio::spawn(serve(stream));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        served.await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&body["ok"], &body["error"]["code"]), (&false.into(), &"ERR_IO".into()), "{body}");
    }
}
