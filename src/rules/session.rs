//! Sessions: how events change their records, and when one counts as silent.
//!
//! Guarantees that every event of a session is a sign of life. An ended session stays ended. A session that was closed for
//! its silence resumes with its next event.
//! Leaves to others: where records are kept, and signs of life that leave no event.

use crate::model::agent::{Session, SessionStatus};
use crate::model::event::{Entity, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::time::Time;

/// The sessions that an event concerns: the one it is about, and the one it was written in.
pub fn concerned(event: &Event) -> impl Iterator<Item = Id> {
    let of = if let Entity::Session(id) = event.entity { Some(id) } else { None };
    let within = event.author.session.filter(|id| Some(*id) != of);
    of.into_iter().chain(within)
}

/// A session after one more event; `None` if none is known.
pub fn after(known: Option<Session>, id: Id, event: &Event) -> Option<Session> {
    let own = event.entity == Entity::Session(id);
    if let (true, Payload::SessionStarted(p)) = (own, &event.payload) {
        return Some(Session {
            id,
            agent: p.agent.clone(),
            status: SessionStatus::Active,
            started_at: event.at,
            ended_at: None,
            fell_silent: false,
            last_heartbeat_at: event.at,
            metadata: p.metadata.clone(),
        });
    }
    let session = known?;
    if let (true, Payload::SessionEnded(p)) = (own, &event.payload) {
        let fell_silent = p.silent == Some(true);
        return Some(Session { status: SessionStatus::Closed, ended_at: Some(event.at), fell_silent, ..session });
    }
    let is_heartbeat = own && matches!(event.payload, Payload::SessionHeartbeat(_));
    let is_sign = event.author.session == Some(id) && is_its_own(&session, &event.author.agent);
    Some(if is_heartbeat || is_sign { heard(session, event.at) } else { session })
}

/// Whether what this agent does in the session is a sign of life: the session has not ended, and belongs to the agent.
pub fn is_its_own(session: &Session, agent: &str) -> bool {
    !is_over(session) && session.agent == agent
}

/// Whether a session was ended, and not only closed for its silence.
pub fn is_over(session: &Session) -> bool {
    session.status == SessionStatus::Closed && !session.fell_silent
}

fn heard(session: Session, at: Time) -> Session {
    let last_heartbeat_at = session.last_heartbeat_at.max(at);
    if is_over(&session) {
        return Session { last_heartbeat_at, ..session };
    }
    Session { status: SessionStatus::Active, ended_at: None, fell_silent: false, last_heartbeat_at, ..session }
}

/// The warning for an event that resumed a session that had been closed for its silence.
pub fn came_back(before: &Session, after: &Session) -> Option<String> {
    let (true, SessionStatus::Active, Some(closed)) = (before.fell_silent, after.status, before.ended_at) else {
        return None;
    };
    let minutes = closed.since(before.last_heartbeat_at) / 60_000;
    Some(format!("session {} had been closed after {minutes} minutes of silence; it is active again", after.id))
}

/// Whether a session that has not ended was silent for the limit, in milliseconds.
pub fn is_silent(session: &Session, now: Time, limit: i64) -> bool {
    session.status == SessionStatus::Active && now.since(session.last_heartbeat_at) >= limit
}

/// The state of a session: `active`, `silent` or `closed`.
pub fn word(session: &Session, now: Time, limit: i64) -> &'static str {
    match session.status {
        SessionStatus::Closed => "closed",
        SessionStatus::Active if is_silent(session, now, limit) => "silent",
        SessionStatus::Active => "active",
    }
}
