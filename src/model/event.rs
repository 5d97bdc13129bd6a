//! The event: one JSON object, one line, written once and never changed.
//!
//! Guarantees that keys have one order and absent ones are omitted. [`parse_line`] refuses a line rather than guess; an
//! unknown type is kept unchanged. Only [`Stamp`] defines the order of events.
//! Leaves to others: the effect of an event on a task (the fold) and where it is stored.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::error::{Code, Error, Result};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::json;
use crate::model::payload::{KINDS, Payload};
use crate::model::time::Time;

/// The version of the event envelope that this program writes.
pub const ENVELOPE_VERSION: u32 = 1;
/// The longest event line, in bytes without the newline.
pub const MAX_LINE: usize = 256 * 1024;
/// The greatest Lamport time that every JSON parser represents exactly.
pub const MAX_LAMPORT: u64 = (1 << 53) - 1;
/// The limit up to which a clone's clock follows others. Honest clocks never come near it. A greater time is forged, and
/// following it would put every new task out of bounds.
pub const MAX_CLOCK: u64 = 1 << 31;
/// The most by which a Lamport time may exceed its parents'.
pub const MAX_LAMPORT_JUMP: u64 = 1 << 32;

/// The lowest and highest precedence of an agent.
pub const PRECEDENCE: std::ops::RangeInclusive<i64> = -1000..=1000;

/// The position of an event in the one order of events: Lamport time first, then id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// The Lamport time.
    pub lamport: u64,
    /// The event's id, which decides between equal times.
    pub id: Id,
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.lamport, self.id)
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Stamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (lamport, id) =
            text.split_once('.').ok_or_else(|| Error::validation(format!("{} is not a stamp", quoted(text))))?;
        let lamport = lamport.parse().map_err(|_| Error::validation(format!("{} is not a stamp", quoted(text))))?;
        Ok(Stamp { lamport, id: id.parse()? })
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.message))
    }
}

/// What an event is about, which determines the log it belongs to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Entity {
    /// A task; `task/<ULID>`.
    Task(Id),
    /// An agent; `agent/<name>`.
    Agent(String),
    /// A session; `session/<ULID>`. Its events stay in the journal.
    Session(Id),
}

impl Entity {
    /// The task, if it is one.
    pub fn task(&self) -> Option<Id> {
        match self {
            Entity::Task(id) => Some(*id),
            Entity::Agent(_) | Entity::Session(_) => None,
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entity::Task(id) => write!(f, "task/{id}"),
            Entity::Agent(name) => write!(f, "agent/{name}"),
            Entity::Session(id) => write!(f, "session/{id}"),
        }
    }
}

impl FromStr for Entity {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('/') {
            Some(("task", id)) => Ok(Entity::Task(id.parse()?)),
            Some(("session", id)) => Ok(Entity::Session(id.parse()?)),
            Some(("agent", name)) => check_agent_name(name).map(|()| Entity::Agent(name.to_owned())),
            _ => Err(Error::validation(format!("{} is not an entity", quoted(text)))),
        }
    }
}

impl Serialize for Entity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Entity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e: Error| serde::de::Error::custom(e.message))
    }
}

impl JsonSchema for Entity {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Entity".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(task|agent|session)/", "description": "task/<ULID>, agent/<name> or session/<ULID>"})
    }
}

/// The actor and its context, which a command adds to each of its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Author {
    /// The agent's name.
    pub agent: String,
    /// Its session, if any.
    pub session: Option<Id>,
    /// Connects the events of one request.
    pub correlation_id: Option<String>,
    /// Connects the events of one plan.
    pub plan_id: Option<String>,
}

/// A parsed event. Its exact bytes are in an [`Entry`].
#[derive(Clone, Debug)]
pub struct Event {
    /// The version of the envelope.
    pub v: u32,
    /// The event's id; also the id of what the event adds (progress item, context entry, relationship).
    pub id: Id,
    /// The Lamport time: one more than the greatest that its author's clone knew.
    pub lamport: u64,
    /// The entity whose log it belongs to.
    pub entity: Entity,
    /// The heads of that log that the author had seen.
    pub parents: Vec<Id>,
    /// Its author, with session, request and plan.
    pub author: Author,
    /// The wall-clock time, for display.
    pub at: Time,
    /// The fence of the lease under which it was done.
    pub fence: Option<u64>,
    /// The precedence of its author by `roles.yml`, if there is one.
    pub precedence: Option<i64>,
    /// The reason given.
    pub why: Option<String>,
    /// What happened.
    pub payload: Payload,
    /// The signature over the rest, if the agent has a key.
    pub sig: Option<String>,
}

impl Event {
    /// Whether it is a context entry without any text: what a redaction leaves of one.
    pub fn is_redacted(&self) -> bool {
        let is_empty =
            matches!(&self.payload, Payload::ContextAdded(p) if p.content.is_empty() && p.metadata.is_null());
        let Author { correlation_id, plan_id, .. } = &self.author;
        is_empty && self.why.is_none() && correlation_id.is_none() && plan_id.is_none()
    }

    /// Removes what a redaction removes from a context entry: its text, its reason and its tracing ids. Returns whether it is one.
    pub fn remove_text(&mut self) -> bool {
        let Payload::ContextAdded(added) = &mut self.payload else { return false };
        added.content.clear();
        added.metadata = serde_json::Value::Null;
        self.why = None;
        (self.author.correlation_id, self.author.plan_id) = (None, None);
        true
    }

    /// Its position in the order of events.
    pub fn stamp(&self) -> Stamp {
        Stamp { lamport: self.lamport, id: self.id }
    }

    /// The weight of its author's precedence between concurrent writers; 0 if it is missing or out of bounds.
    pub fn weight(&self) -> i64 {
        self.precedence.filter(|precedence| PRECEDENCE.contains(precedence)).unwrap_or(0)
    }

    /// The line of this event, without the newline.
    ///
    /// Errors: `ERR_VALIDATION` if it would be longer than [`MAX_LINE`].
    pub fn to_line(&self) -> Result<String> {
        let payload = self.payload.to_raw();
        let wire = WireOut {
            v: self.v,
            id: self.id,
            lamport: self.lamport,
            kind: self.payload.kind(),
            entity: &self.entity,
            parents: &self.parents,
            agent: &self.author.agent,
            session: self.author.session,
            at: self.at,
            fence: self.fence,
            precedence: self.precedence,
            correlation_id: self.author.correlation_id.as_deref(),
            plan_id: self.author.plan_id.as_deref(),
            why: self.why.as_deref(),
            payload: &payload,
            sig: self.sig.as_deref(),
        };
        let line = serde_json::to_string(&wire)
            .map_err(|e| Error::validation(format!("event {} cannot be written as JSON: {e}", self.id)))?;
        if line.len() > MAX_LINE {
            return Err(Error::validation(format!(
                "{} {} takes {} bytes; an event holds at most {MAX_LINE}",
                self.payload.kind(),
                self.id,
                line.len()
            ))
            .hint("store large content in a file of the repository and refer to it"));
        }
        Ok(line)
    }
}

/// An event with the exact bytes of its line, without the newline.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The parsed event.
    pub event: Event,
    /// Its line.
    pub line: Box<str>,
}

impl Entry {
    /// Serializes an event.
    ///
    /// Errors: `ERR_VALIDATION` if it would be too long, or could not be parsed again.
    pub fn new(event: Event) -> Result<Self> {
        let line = event.to_line()?;
        // What could not be parsed again must never be acknowledged.
        let event = parse_line(&line).map_err(|e| {
            Error::validation(format!("{} cannot be recorded: {}", event.payload.kind(), e.message))
                .hint("store deeply nested or unusual values in a file of the repository and refer to it")
        })?;
        Ok(Entry { event, line: line.into_boxed_str() })
    }

    /// Whether a log that holds one of the two needs the other no more: they have the same line, or one is what a redaction
    /// left. Other lines with one id contradict each other; a log keeps both, and neither counts.
    pub fn is_copy_of(&self, other: &Entry) -> bool {
        let is_redaction =
            || (self.event.is_redacted() || other.event.is_redacted()) && self.differs_by_text_alone(other);
        self.event.id == other.event.id && (self.line == other.line || is_redaction())
    }

    /// Whether the two differ at most in what a redaction removes. The signature, which no longer matches then, may be missing.
    pub fn differs_by_text_alone(&self, other: &Entry) -> bool {
        let bare = |entry: &Entry| {
            let mut event = Event { sig: None, ..entry.event.clone() };
            event.remove_text().then(|| event.to_line().ok()).flatten()
        };
        bare(self).is_some_and(|line| bare(other) == Some(line))
    }
}

#[derive(Serialize)]
struct WireOut<'a> {
    v: u32,
    id: Id,
    lamport: u64,
    #[serde(rename = "type")]
    kind: &'a str,
    entity: &'a Entity,
    #[serde(skip_serializing_if = "<[Id]>::is_empty")]
    parents: &'a [Id],
    agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Id>,
    at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    fence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    precedence: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    payload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    sig: Option<&'a str>,
}

#[derive(Deserialize)]
struct WireIn<'a> {
    v: u32,
    id: Id,
    lamport: u64,
    #[serde(rename = "type")]
    kind: String,
    entity: Entity,
    #[serde(default)]
    parents: Vec<Id>,
    agent: String,
    #[serde(default)]
    session: Option<Id>,
    at: Time,
    #[serde(default)]
    fence: Option<u64>,
    #[serde(default)]
    precedence: Option<i64>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    plan_id: Option<String>,
    #[serde(default)]
    why: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    sig: Option<String>,
}

/// The id of a line in the form that agentpm writes; `None` if the line must be parsed.
pub fn written_id(line: &str) -> Option<Id> {
    line.strip_prefix("{\"v\":1,\"id\":\"")?.get(..26)?.parse().ok()
}

/// Parses one line of a log.
///
/// Errors: `ERR_CORRUPT` with the reason: too long, not JSON, nested too deep, duplicate keys, an invalid number, an invalid
/// id, a payload that does not fit its type. An unknown type or envelope version is not an error.
pub fn parse_line(line: &str) -> Result<Event> {
    let corrupt = |why: String| Error::new(Code::Corrupt, why);
    if line.len() > MAX_LINE {
        return Err(corrupt(format!("a line of {} bytes; an event holds at most {MAX_LINE}", line.len())));
    }
    if json::too_deep(line) {
        return Err(corrupt(format!("nested deeper than {} levels", json::MAX_DEPTH)));
    }
    let wire: WireIn = serde_json::from_str(line).map_err(|e| corrupt(format!("not an event: {e}")))?;
    check_agent_name(&wire.agent).map_err(|e| corrupt(e.message))?;
    let known = wire.v == ENVELOPE_VERSION && KINDS.contains(&wire.kind.as_str());
    let payload = if known {
        Payload::from_raw(&wire.kind, wire.payload.get()).map_err(|e| corrupt(format!("{}: {e}", wire.kind)))?
    } else {
        json::check(wire.payload.get()).map_err(|e| corrupt(format!("{}: {e}", quoted(&wire.kind))))?;
        Payload::Unknown { kind: wire.kind, raw: wire.payload.to_owned() }
    };
    Ok(Event {
        v: wire.v,
        id: wire.id,
        lamport: wire.lamport,
        entity: wire.entity,
        parents: wire.parents,
        author: Author {
            agent: wire.agent,
            session: wire.session,
            correlation_id: wire.correlation_id,
            plan_id: wire.plan_id,
        },
        at: wire.at,
        fence: wire.fence,
        precedence: wire.precedence,
        why: wire.why,
        payload,
        sig: wire.sig,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"v":1,"id":"01K5R4XJ7Z0000000000000001","lamport":1,"type":"TaskCreated","entity":"task/01K5R4XJ7Z0000000000000000","agent":"a","at":"2026-11-20T10:00:00Z","payload":{"title":"x"}}"#;

    #[test]
    fn a_line_survives_reading_and_writing() {
        assert_eq!(parse_line(LINE).unwrap().to_line().unwrap(), LINE);
        let unknown =
            LINE.replace("TaskCreated", "TaskDreamed").replace(r#"{"title":"x"}"#, r#"{"n": 1e400, "q":[ ]}"#);
        assert_eq!(parse_line(&unknown).unwrap().to_line().unwrap(), unknown);
    }

    #[test]
    fn hostile_lines_are_refused() {
        for (from, to) in [
            (r#""lamport":1"#, r#""lamport":1e3"#),
            (r#""lamport":1"#, r#""lamport":-1"#),
            (r#""lamport":1"#, r#""lamport":18446744073709551616"#),
            (r#""lamport":1"#, r#""lamport":1,"lamport":2"#),
            (r#""title":"x""#, r#""title":"x","title":"y""#),
            (r#""title":"x""#, r#""title":"x","metadata":{"a":1,"a":2}"#),
            (r#""agent":"a""#, r#""agent":"../a""#),
            ("task/01K5R4XJ7Z0000000000000000", "task/../../etc/passwd"),
            ("01K5R4XJ7Z0000000000000001", "81K5R4XJ7Z0000000000000001"),
        ] {
            let bad = LINE.replace(from, to);
            assert_ne!(bad, LINE);
            assert_eq!(parse_line(&bad).unwrap_err().code, Code::Corrupt, "{bad}");
        }
        let deep = LINE.replace(r#""x""#, &("[".repeat(40) + &"]".repeat(40)));
        assert!(parse_line(&deep).unwrap_err().message.contains("deeper"));
    }
}
