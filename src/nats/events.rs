//! The stream of a plan's events: made where it is missing, published to, and read from a sequence number on.
//!
//! Guarantees that a stream that is there is used as it is, whatever its limits, and that what distinguishes it from the wanted one is
//! named.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull};
use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, DiscardPolicy, Info, RawMessageErrorKind, StorageType};
use futures_util::StreamExt as _;

use super::{Connection, PATIENCE, Trouble, landmark, nanos};
use crate::model::subject::Landmark;

/// How long the server drops an event that it has already.
const DUPLICATES: Duration = Duration::from_secs(600);
/// The largest message that a stream takes which the bridge makes: an event and its headers.
const MAX_MESSAGE: i32 = 512 * 1024;
/// How long the server remembers a reader that does not ask.
const IDLE: Duration = Duration::from_secs(60);
/// The header that says how many events of the same command follow.
const MORE: &str = "Agentpm-More";

/// What a stream may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size in bytes; 0 for any.
    pub bytes: u64,
    /// Maximum age of a message; zero for any.
    pub age: Duration,
    /// On how many servers each message is kept.
    pub replicas: usize,
    /// Whether a full stream refuses new messages instead of dropping old ones.
    pub refuse_when_full: bool,
}

/// What is known of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// When it was made: another one of the same name has another time.
    pub made: String,
    /// The sequence number of the first message that it still has.
    pub first: u64,
    /// The sequence number of its last message.
    pub last: u64,
    /// Its last message, if it has any.
    pub landmark: Option<Landmark>,
    /// Whether it has another message where the known landmark stood.
    pub is_other: bool,
    /// What distinguishes it from the wanted one.
    pub differs: Vec<String>,
    /// The wanted subjects that it does not take.
    pub lacks: Vec<String>,
}

/// A message to publish.
pub struct Sent {
    /// Its subject.
    pub subject: String,
    /// Its id, by which the server knows repetitions.
    pub id: String,
    /// The id that it gets where another message has its id. Without one, it is left out then.
    pub spare_id: Option<String>,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// How many of the messages that follow belong to it.
    pub more: usize,
}

/// A message that was read.
pub struct Received {
    /// Its sequence number.
    pub sequence: u64,
    /// When the server took it, in nanoseconds of its clock.
    pub at: i64,
    /// Its subject.
    pub subject: String,
    /// Its bytes.
    pub payload: Vec<u8>,
    /// How many events of the same command follow, as its sender says.
    pub more: usize,
    /// The id of the message, as its sender says.
    pub id: Option<String>,
}

/// The outcome of publishing a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is in the stream, with this sequence number; also where it was before.
    Kept(u64),
    /// It was refused for good: the server or the stream takes none of this size.
    TooLarge,
}

/// The stream of a plan's events.
pub struct EventStream<'a> {
    connection: &'a Connection,
    name: String,
    subjects: Vec<String>,
    limits: Limits,
    reader: Option<PullConsumer>,
}

impl<'a> EventStream<'a> {
    /// The stream with this name.
    pub fn new(connection: &'a Connection, name: String, subjects: Vec<String>, limits: Limits) -> Self {
        EventStream { connection, name, subjects, limits, reader: None }
    }

    fn config(&self) -> stream::Config {
        stream::Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            max_bytes: if self.limits.bytes == 0 { -1 } else { i64::try_from(self.limits.bytes).unwrap_or(i64::MAX) },
            max_age: self.limits.age,
            max_message_size: MAX_MESSAGE,
            num_replicas: self.limits.replicas,
            discard: if self.limits.refuse_when_full { DiscardPolicy::New } else { DiscardPolicy::Old },
            storage: StorageType::File,
            duplicate_window: if self.limits.age.is_zero() { DUPLICATES } else { DUPLICATES.min(self.limits.age) },
            allow_direct: true,
            ..stream::Config::default()
        }
    }

    /// The stream as it is, compared with the one that had the landmark `known`; made where it is missing.
    ///
    /// Errors: why the server did not answer, or does not make it.
    pub fn facts(&self, known: Option<Landmark>) -> Result<StreamFacts, Trouble> {
        let wanted = self.config();
        let context = &self.connection.context;
        self.connection.wait(PATIENCE, async {
            let stream = context.get_or_create_stream(wanted.clone()).await.map_err(|e| not_made(&e))?;
            let found = stream.get_info().await.map_err(|e| e.to_string())?;
            let is_other = self.connection.differs(&self.name, &found.state, known).await?;
            Ok::<_, String>(StreamFacts { is_other, ..facts(&found, &wanted) })
        })
    }

    /// Publishes messages in order. Returns the outcomes of the first ones; and why the next one was not published.
    pub fn publish(&self, messages: &[Sent]) -> (Vec<Published>, Option<Trouble>) {
        let context = &self.connection.context;
        let mut done = Vec::with_capacity(messages.len());
        let sent = self.connection.wait(4 * PATIENCE, async {
            let mut acks = Vec::with_capacity(messages.len());
            for sent in messages {
                acks.push(context.send_publish(sent.subject.clone(), self.message(sent, &sent.id)).await);
            }
            for (sent, ack) in messages.iter().zip(acks) {
                let ack = match ack {
                    Ok(ack) => ack.await,
                    Err(e) => Err(e),
                };
                let ack = match (ack, &sent.spare_id) {
                    // A message of another sender under the id of an event must not keep the event from the others.
                    (Ok(ack), Some(spare)) if ack.duplicate && !self.holds(ack.sequence, &sent.payload).await? => {
                        tracing::warn!(
                            id = sent.id,
                            "another message has the id of an event; it is published under another one"
                        );
                        match context.send_publish(sent.subject.clone(), self.message(sent, spare)).await {
                            Ok(ack) => ack.await,
                            Err(e) => Err(e),
                        }
                    }
                    (ack, _) => ack,
                };
                match ack {
                    Ok(ack) => done.push(Published::Kept(ack.sequence)),
                    Err(e) if is_too_large(&e) => done.push(Published::TooLarge),
                    Err(e) => return Err(e.to_string()),
                }
            }
            Ok(())
        });
        (done, sent.err())
    }

    fn message(&self, sent: &Sent, id: &str) -> PublishMessage {
        let message = PublishMessage::build().payload(sent.payload.clone().into()).message_id(id);
        let message = message.expected_stream(&self.name);
        if sent.more > 0 { message.header(MORE, sent.more.to_string().as_str()) } else { message }
    }

    /// Whether the message with a sequence number has these bytes.
    async fn holds(&self, sequence: u64, payload: &[u8]) -> Result<bool, String> {
        let context = &self.connection.context;
        let stream = context.get_stream_no_info(&self.name).await.map_err(|e| e.to_string())?;
        match stream.get_raw_message(sequence).await {
            Ok(message) => Ok(message.payload == payload),
            Err(e) if matches!(e.kind(), RawMessageErrorKind::NoMessageFound) => Ok(false),
            Err(e) => Err(e.to_string()),
        }
    }

    /// Reads messages from a sequence number on: waits at most `wait` for the first, and takes as many as there are then, at most
    /// `most`.
    ///
    /// Errors: why the server did not answer. The next call begins where its caller says.
    pub fn read(&mut self, from: u64, most: usize, wait: Duration) -> Result<Vec<Received>, Trouble> {
        let read = self.try_to_read(from, most, wait);
        if read.is_err() {
            self.reader = None;
        }
        read
    }

    /// Lets the next call of [`EventStream::read`] begin where its caller says.
    pub fn reset(&mut self) {
        self.reader = None;
    }

    fn try_to_read(&mut self, from: u64, most: usize, wait: Duration) -> Result<Vec<Received>, Trouble> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.open_reader(from)?,
        };
        let read = self.connection.wait(wait + PATIENCE, async {
            let mut found = Vec::new();
            let mut now = reader.fetch().max_messages(most).messages().await.map_err(|e| e.to_string())?;
            while let Some(message) = now.next().await {
                found.push(received(message.map_err(|e| e.to_string())?)?);
            }
            if found.is_empty() && !wait.is_zero() {
                let waiting = reader.batch().max_messages(1).expires(wait).messages().await;
                let mut waiting = waiting.map_err(|e| e.to_string())?;
                while let Some(message) = waiting.next().await {
                    found.push(received(message.map_err(|e| e.to_string())?)?);
                }
            }
            Ok::<_, String>(found)
        })?;
        self.reader = Some(reader);
        Ok(read)
    }

    fn open_reader(&self, from: u64) -> Result<PullConsumer, Trouble> {
        let config = pull::Config {
            deliver_policy: match from {
                0 | 1 => DeliverPolicy::All,
                from => DeliverPolicy::ByStartSequence { start_sequence: from },
            },
            ack_policy: AckPolicy::None,
            inactive_threshold: IDLE,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let context = &self.connection.context;
        self.connection.wait(PATIENCE, context.create_consumer_on_stream(config, &self.name))
    }
}

/// Whether the server, or the stream as it is, takes no message of this size.
fn is_too_large(e: &PublishError) -> bool {
    let answer = e.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    e.kind() == PublishErrorKind::MaxPayloadExceeded
        || answer.is_some_and(|answer| answer.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM)
}

/// Why a stream was not made, and what its maker can do about it.
fn not_made(e: &CreateStreamError) -> String {
    match e.kind() {
        CreateStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED => {
            format!("the server has not the room for the stream ({why}); agentpm bus --max-bytes asks for less")
        }
        _ => e.to_string(),
    }
}

fn received(message: async_nats::jetstream::Message) -> Result<Received, String> {
    let info = message.info().map_err(|e| e.to_string())?;
    let (sequence, at) = (info.stream_sequence, nanos(info.published.unix_timestamp_nanos()));
    let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str().to_owned());
    Ok(Received {
        sequence,
        at,
        subject: message.subject.to_string(),
        payload: message.payload.to_vec(),
        more: header(MORE).and_then(|text| text.parse().ok()).unwrap_or(0),
        id: header("Nats-Msg-Id"),
    })
}

fn facts(found: &Info, wanted: &stream::Config) -> StreamFacts {
    let is = &found.config;
    let mut differs = Vec::new();
    let mut compare = |what: &str, is: String, wanted: String| {
        if is != wanted {
            differs.push(format!("{what} is {is}, not {wanted}"));
        }
    };
    compare("its subjects", is.subjects.join(" "), wanted.subjects.join(" "));
    compare("its maximum size", size(is.max_bytes), size(wanted.max_bytes));
    compare("its maximum number of messages", size(is.max_messages), size(-1));
    compare("its maximum number of messages of a subject", size(is.max_messages_per_subject), size(-1));
    compare("its maximum size of a message", size(is.max_message_size.into()), size(wanted.max_message_size.into()));
    compare("its maximum age", age(is.max_age), age(wanted.max_age));
    compare("its number of replicas", is.num_replicas.to_string(), wanted.num_replicas.to_string());
    compare("what a full stream drops", drops(is.discard).into(), drops(wanted.discard).into());
    compare("its retention", format!("{:?}", is.retention), format!("{:?}", wanted.retention));
    let lacks = wanted.subjects.iter().filter(|wanted| !is.subjects.iter().any(|is| covers(is, wanted)));
    let (lacks, state) = (lacks.cloned().collect(), &found.state);
    StreamFacts {
        made: found.created.to_string(),
        first: state.first_sequence,
        last: state.last_sequence,
        landmark: landmark(state),
        is_other: false,
        differs,
        lacks,
    }
}

/// Whether a subject with wildcards has every subject that another one has.
fn covers(is: &str, wanted: &str) -> bool {
    let (mut is, mut wanted) = (is.split('.'), wanted.split('.'));
    loop {
        match (is.next(), wanted.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(part)) if part != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

pub(super) fn size(n: i64) -> String {
    if n <= 0 { "unlimited".into() } else { n.to_string() }
}

pub(super) fn age(span: Duration) -> String {
    if span.is_zero() { "unlimited".into() } else { format!("{} s", span.as_secs()) }
}

fn drops(policy: DiscardPolicy) -> &'static str {
    match policy {
        DiscardPolicy::Old => "old messages",
        DiscardPolicy::New => "new messages",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_what_it_matches_and_no_wider_subject() {
        for is in ["a.p.task.>", "a.p.>", "a.*.task.>", ">", "*.p.*.>"] {
            assert!(covers(is, "a.p.task.>"), "{is}");
        }
        for is in ["a.p.agent.>", "a.p.task.*", "a.p.task.x", "a.p.task", "a.q.>"] {
            assert!(!covers(is, "a.p.task.>"), "{is}");
        }
    }
}
