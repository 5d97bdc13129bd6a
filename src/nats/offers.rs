//! The queue of a plan's ready tasks: each offer goes to one of the clients that ask for one, and to another one if it is not accepted.
//!
//! Guarantees that a task has at most one offer at a time. An offer is a hint: one that is lost costs time and nothing else, so the
//! queue is kept in memory, on one server.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, RetentionPolicy, StorageType};
use async_nats::jetstream::{AckKind, Message};
use futures_util::StreamExt as _;

use super::{Connection, PATIENCE, Trouble};

/// The consumer that all clients share.
const AGENTS: &str = "agents";
/// How long a client may keep an offer before another one gets it.
const KEPT: Duration = Duration::from_secs(5);
/// How long an offer stands.
const STANDS: Duration = Duration::from_secs(600);

/// The queue.
pub struct OfferQueue<'a> {
    connection: &'a Connection,
    name: String,
}

/// An offer. Another client gets it unless it is accepted in time.
pub struct Offer(Message);

impl<'a> OfferQueue<'a> {
    /// The queue with this name.
    pub fn new(connection: &'a Connection, name: String) -> Self {
        OfferQueue { connection, name }
    }

    /// Makes the queue where it is missing.
    ///
    /// Errors: why the server did not answer, or does not make it.
    pub fn make(&self, subjects: String) -> Result<(), Trouble> {
        let config = stream::Config {
            name: self.name.clone(),
            subjects: vec![subjects],
            retention: RetentionPolicy::WorkQueue,
            max_age: STANDS,
            storage: StorageType::Memory,
            ..stream::Config::default()
        };
        let context = &self.connection.context;
        self.connection.wait(PATIENCE, context.get_or_create_stream(config)).map(drop)
    }

    /// Offers what a subject names, unless it is offered already, or was lately under this id. Returns whether it did.
    ///
    /// Errors: why the server did not answer, or refused.
    pub fn offer(&self, subject: String, id: &str) -> Result<bool, Trouble> {
        let message =
            PublishMessage::build().message_id(id).expected_stream(&self.name).expected_last_subject_sequence(0);
        let context = &self.connection.context;
        self.connection.wait(PATIENCE, async {
            let ack = match context.send_publish(subject, message).await {
                Ok(ack) => ack.await,
                Err(e) => Err(e),
            };
            match ack {
                Ok(ack) => Ok(!ack.duplicate),
                Err(e) if e.kind() == PublishErrorKind::WrongLastSequence => Ok(false),
                Err(e) => Err(e),
            }
        })
    }

    /// Withdraws the offer of what a subject names.
    ///
    /// Errors: why the server did not answer.
    pub fn withdraw(&self, subject: &str) -> Result<(), Trouble> {
        let context = &self.connection.context;
        self.connection.wait(PATIENCE, async {
            let stream = context.get_stream_no_info(&self.name).await.map_err(|e| e.to_string())?;
            stream.purge().filter(subject).await.map(drop).map_err(|e| e.to_string())
        })
    }

    /// Waits for an offer; `None` if there is none in time.
    ///
    /// Errors: why the server did not answer.
    pub fn next(&self, most: Duration) -> Result<Option<Offer>, Trouble> {
        let config = pull::Config {
            durable_name: Some(AGENTS.into()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: KEPT,
            ..pull::Config::default()
        };
        let context = &self.connection.context;
        self.connection.wait(most + PATIENCE, async {
            let agents: PullConsumer =
                context.create_consumer_on_stream(config, &self.name).await.map_err(|e| e.to_string())?;
            let offers = agents.batch().max_messages(1).expires(most).messages().await;
            let offer = offers.map_err(|e| e.to_string())?.next().await;
            offer.transpose().map(|offer| offer.map(Offer)).map_err(|e| e.to_string())
        })
    }

    /// Ends an offer that was accepted, or passes it on to another client.
    ///
    /// Errors: why the server did not answer.
    pub fn answer(&self, offer: &Offer, is_accepted: bool) -> Result<(), Trouble> {
        let kind = if is_accepted { AckKind::Ack } else { AckKind::Nak(None) };
        self.connection.wait(PATIENCE, offer.0.double_ack_with(kind))
    }
}

impl Offer {
    /// What names the offered task.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }
}
