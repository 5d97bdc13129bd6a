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

use async_nats::jetstream::{self, Context};
use tokio::runtime::Runtime;

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
