//! The connection to a NATS server with JetStream: streams, and messages in both directions.
//!
//! Guarantees that every call ends within its deadline, and that no other module needs to wait in an event loop: the calls block.
//! Only this layer names the NATS library.
//! Leaves to others: what a message means, and when to try again.

mod address;
mod events;
mod leases;
mod offers;

pub use self::address::Address;
pub use self::events::{EventStream, Limits, Published, Received, Sent, StreamFacts};
pub use self::leases::{LeaseMessage, LeaseStream, LeaseStreamFacts, Replaced};
pub use self::offers::{Offer, OfferQueue};

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::stream::{RawMessageErrorKind, State};
use async_nats::jetstream::{self, Context};
use tokio::runtime::Runtime;

use crate::model::subject::Landmark;

/// The longest time that a server takes to answer one request.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Why the server gave no answer, or refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble(pub String);

/// A connection. It is opened again by itself when it breaks.
pub struct Connection {
    runtime: Runtime,
    context: Context,
}

impl Connection {
    /// Connects to a server.
    ///
    /// Errors: why that failed within the deadline.
    pub fn open(address: &Address, patience: Duration) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|e| Trouble(format!("could not start a thread: {e}")))?;
        let options = address.options()?.connection_timeout(patience).request_timeout(Some(patience));
        let connecting = async { tokio::time::timeout(patience, options.connect(address.servers())).await };
        let client = match runtime.block_on(connecting) {
            Ok(Ok(client)) => client,
            Ok(Err(e)) => return Err(Trouble(format!("{}: {e}", address.shown()))),
            Err(_) => return Err(Trouble(format!("{} did not answer in time", address.shown()))),
        };
        let inside = runtime.enter();
        let mut context = jetstream::new(client);
        context.set_timeout(patience);
        drop(inside);
        Ok(Connection { runtime, context })
    }

    /// Whether a stream has another message where a landmark stood, as one that a backup replaced and that was written to since. A stream
    /// that dropped the message by its limits may be the same one.
    async fn differs(&self, stream: &str, now: &State, known: Option<Landmark>) -> Result<bool, String> {
        let Some(known) = known.filter(|known| known.sequence <= now.last_sequence) else { return Ok(known.is_some()) };
        let there = match landmark(now) {
            Some(last) if last.sequence == known.sequence => Some(last),
            _ => self.landmark(stream, known.sequence).await?,
        };
        Ok(there.is_some_and(|there| there != known))
    }

    /// The message of a stream with a sequence number, if it is still there.
    async fn landmark(&self, stream: &str, sequence: u64) -> Result<Option<Landmark>, String> {
        let stream = self.context.get_stream_no_info(stream).await.map_err(|e| e.to_string())?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(Some(Landmark { sequence, at: nanos(message.time.unix_timestamp_nanos()) })),
            Err(e) if matches!(e.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Waits for an answer, at most `patience`.
    fn wait<T, E: std::fmt::Display>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Trouble> {
        let bounded = async { tokio::time::timeout(patience, answer).await };
        match self.runtime.block_on(bounded) {
            Ok(answer) => answer.map_err(|e| Trouble(e.to_string())),
            Err(_) => Err(Trouble("the server did not answer in time".into())),
        }
    }
}

/// The last message of a stream, if it has one.
fn landmark(state: &State) -> Option<Landmark> {
    let at = nanos(state.last_timestamp.unix_timestamp_nanos());
    (state.messages > 0).then_some(Landmark { sequence: state.last_sequence, at })
}

fn nanos(at: i128) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}
