//! The stream of a plan's leases: the last message of a subject is the record, and a message replaces it only if its sequence number is
//! the expected one.
//!
//! Guarantees that the server alone decides, by `Nats-Expected-Last-Subject-Sequence`, and that records are read from the server that
//! decides. The stream that is made drops nothing by age or size; of one that does, the limits are named.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, LastRawMessageErrorKind, RawMessageErrorKind, RetentionPolicy, StorageType};
use futures_util::StreamExt as _;
use futures_util::future::try_join;

use super::events::{age, size};
use super::{Connection, Trouble, landmark};
use crate::model::subject::Landmark;

/// How many records of a subject are kept, so that the one before can be restored.
const KEPT: i64 = 8;
/// Records that are asked for at once.
const AT_ONCE: usize = 1_000;

/// A record in the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence number.
    pub sequence: u64,
    /// When the server took it, in milliseconds of its clock.
    pub at: i64,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// What is known of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStreamFacts {
    /// When it was made: another one of the same name has another time.
    pub made: String,
    /// The sequence number of its last message.
    pub last: u64,
    /// Its last message, if it has any.
    pub landmark: Option<Landmark>,
    /// Whether it has another message where the known landmark stood.
    pub is_other: bool,
    /// The limits by which it may lose records.
    pub loses: Vec<String>,
}

/// The outcome of sending a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// It is in place, with this sequence number.
    Taken(u64),
    /// Another record was there.
    Lost,
    /// The server refused it.
    Refused(String),
    /// The server was not reached.
    NotSent(String),
    /// No answer in time.
    Unknown(String),
}

/// The stream of a plan's leases.
pub struct LeaseStream {
    connection: Connection,
    name: String,
    subjects: String,
    replicas: usize,
    patience: Duration,
}

impl LeaseStream {
    /// The stream with this name, whose requests may each take so long.
    pub fn new(connection: Connection, name: String, subjects: String, replicas: usize, patience: Duration) -> Self {
        LeaseStream { connection, name, subjects, replicas, patience }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stream as it is, compared with the one that had the landmark `known`; made where it is missing.
    ///
    /// Errors: why the server did not answer, or does not make it.
    pub fn facts(&self, known: Option<Landmark>) -> Result<LeaseStreamFacts, Trouble> {
        let config = stream::Config {
            name: self.name.clone(),
            subjects: vec![self.subjects.clone()],
            max_messages_per_subject: KEPT,
            max_bytes: -1,
            num_replicas: self.replicas,
            storage: StorageType::File,
            deny_delete: true,
            deny_purge: true,
            ..stream::Config::default()
        };
        let context = &self.connection.context;
        self.connection.wait(self.patience, async {
            let stream = context.get_or_create_stream(config).await.map_err(|e| e.to_string())?;
            let found = stream.get_info().await.map_err(|e| e.to_string())?;
            Ok::<_, String>(LeaseStreamFacts {
                made: found.created.to_string(),
                last: found.state.last_sequence,
                landmark: landmark(&found.state),
                is_other: self.connection.differs(&self.name, &found.state, known).await?,
                loses: losses(&found.config),
            })
        })
    }

    /// The message with a sequence number as a landmark, if it is still there.
    ///
    /// Errors: why the server did not answer.
    pub fn landmark(&self, sequence: u64) -> Result<Option<Landmark>, Trouble> {
        self.connection.wait(self.patience, self.connection.landmark(&self.name, sequence))
    }

    /// The record of a subject.
    ///
    /// Errors: why the server did not answer.
    pub fn last(&self, subject: &str) -> Result<Option<LeaseMessage>, Trouble> {
        self.connection.wait(self.patience, self.ask_last(subject))
    }

    /// The records of two subjects, which are asked for at the same time.
    ///
    /// Errors: why the server did not answer.
    pub fn last_of(&self, one: &str, two: &str) -> Result<(Option<LeaseMessage>, Option<LeaseMessage>), Trouble> {
        self.connection.wait(self.patience, try_join(self.ask_last(one), self.ask_last(two)))
    }

    async fn ask_last(&self, subject: &str) -> Result<Option<LeaseMessage>, String> {
        let stream = self.connection.context.get_stream_no_info(&self.name).await.map_err(|e| e.to_string())?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(lease_message(message))),
            Err(e) if matches!(e.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(e) => Err(e.to_string()),
        }
    }

    /// The message with a sequence number, if it is still there.
    ///
    /// Errors: why the server did not answer.
    pub fn at(&self, sequence: u64) -> Result<Option<LeaseMessage>, Trouble> {
        let context = &self.connection.context;
        self.connection.wait(self.patience, async {
            let stream = context.get_stream_no_info(&self.name).await.map_err(|e| e.to_string())?;
            match stream.get_raw_message(sequence).await {
                Ok(message) => Ok(Some(lease_message(message))),
                Err(e) if matches!(e.kind(), RawMessageErrorKind::NoMessageFound) => Ok(None),
                Err(e) => Err(e.to_string()),
            }
        })
    }

    /// The records of all subjects.
    ///
    /// Errors: why the server did not answer.
    pub fn all(&self) -> Result<Vec<LeaseMessage>, Trouble> {
        let config = pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            filter_subject: self.subjects.clone(),
            ack_policy: AckPolicy::None,
            inactive_threshold: Duration::from_secs(10),
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let context = &self.connection.context;
        self.connection.wait(self.patience, async {
            let reader: PullConsumer =
                context.create_consumer_on_stream(config, &self.name).await.map_err(|e| e.to_string())?;
            let mut all = Vec::new();
            loop {
                let before = all.len();
                let mut some = reader.fetch().max_messages(AT_ONCE).messages().await.map_err(|e| e.to_string())?;
                while let Some(message) = some.next().await {
                    let message = message.map_err(|e| e.to_string())?;
                    let info = message.info().map_err(|e| e.to_string())?;
                    all.push(LeaseMessage {
                        subject: message.subject.to_string(),
                        sequence: info.stream_sequence,
                        at: millis(info.published.unix_timestamp_nanos()),
                        payload: message.payload.to_vec(),
                    });
                }
                if all.len() == before {
                    return Ok::<_, String>(all);
                }
            }
        })
    }

    /// Replaces the record of a subject if its sequence number is `expected`; 0 expects none.
    pub fn replace(&self, subject: &str, expected: u64, payload: Vec<u8>) -> Replaced {
        let message = PublishMessage::build()
            .payload(payload.into())
            .expected_stream(&self.name)
            .expected_last_subject_sequence(expected);
        let context = &self.connection.context;
        let subject = subject.to_owned();
        let sent = self.connection.wait(self.patience, async {
            let ack = match context.send_publish(subject, message).await {
                Ok(ack) => ack.await,
                Err(e) => Err(e),
            };
            Ok::<_, String>(ack)
        });
        match sent {
            Ok(Ok(ack)) => Replaced::Taken(ack.sequence),
            Ok(Err(e)) => refused(&e),
            Err(Trouble(why)) => Replaced::Unknown(why),
        }
    }
}

/// What lets a stream lose a record that no other one has replaced.
fn losses(is: &stream::Config) -> Vec<String> {
    let of_a_subject = is.max_messages_per_subject;
    let limits = [
        (!is.max_age.is_zero(), format!("its maximum age is {}", age(is.max_age))),
        (is.max_bytes > 0, format!("its maximum size is {}", size(is.max_bytes))),
        (is.max_messages > 0, format!("its maximum number of messages is {}", size(is.max_messages))),
        (
            (1..KEPT).contains(&of_a_subject),
            format!("its maximum number of messages of a subject is {of_a_subject}, not {KEPT}"),
        ),
        (is.storage != StorageType::File, "it is kept in memory".to_owned()),
        (is.retention != RetentionPolicy::Limits, format!("its retention is {:?}", is.retention)),
        (!is.deny_delete, "messages can be deleted from it".to_owned()),
        (!is.deny_purge, "it can be purged".to_owned()),
    ];
    limits.into_iter().filter_map(|(is_set, what)| is_set.then_some(what)).collect()
}

fn refused(e: &PublishError) -> Replaced {
    match e.kind() {
        PublishErrorKind::WrongLastSequence => Replaced::Lost,
        PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe => Replaced::Unknown(e.to_string()),
        PublishErrorKind::StreamNotFound | PublishErrorKind::MaxAckPending => Replaced::NotSent(e.to_string()),
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::Other => {
            Replaced::Refused(e.to_string())
        }
    }
}

fn lease_message(message: async_nats::jetstream::message::StreamMessage) -> LeaseMessage {
    LeaseMessage {
        subject: message.subject.to_string(),
        sequence: message.sequence,
        at: millis(message.time.unix_timestamp_nanos()),
        payload: message.payload.to_vec(),
    }
}

fn millis(nanos: i128) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(i64::MAX)
}
