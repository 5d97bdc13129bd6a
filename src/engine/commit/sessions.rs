//! The session of the caller: whether it may still act, and its sign of life.
//!
//! Guarantees: a change in a session that is over or unknown is refused, a question is answered with a warning; a question leaves
//! the time of the session's file as its sign, in the git folder alone, and never fails for it. A session that was closed for its
//! silence continues with its agent's next change.
//! Leaves to others: when silence is too long (`rules::session`).

use serde_json::json;

use super::write;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::error::{Error, Result};
use crate::model::agent::{Session, SessionStatus};
use crate::model::command::Command;
use crate::model::event::Author;
use crate::model::id::{Id, quoted};
use crate::rules::decide::Subject;
use crate::rules::roles::Verb;
use crate::rules::session::{self, is_its_own, is_over};
use crate::runtime::records;

/// How many signs a reader leaves at most within the limit of silence.
const SIGNS: i64 = 10;

/// The author of a command, whose session may act; and a warning where it is another agent's.
///
/// Errors: `ERR_NOT_FOUND` for a session that is unknown here, `ERR_INVALID_STATE` for one that is over.
pub(crate) fn in_session(
    ws: &Workspace,
    author: Author,
    command: Option<&Command>,
    runtime: &Dir,
) -> Result<(Author, Option<String>)> {
    let Some(id) = author.session else { return Ok((author, None)) };
    let known = records::session(runtime, id)?;
    let starts = matches!(command, Some(Command::SessionStart(_)));
    match refusal(id, known.as_ref(), &author.agent) {
        // A caller that starts a session does not continue the silent one.
        None if starts && known.as_ref().is_some_and(|session| session.fell_silent) => {
            return Ok((Author { session: None, ..author }, None));
        }
        None => {}
        // A session that is over must not prevent the start or end of another.
        Some(_) if starts || matches!(command, Some(Command::SessionEnd(c)) if c.session_id.0.is_some()) => {
            return Ok((Author { session: None, ..author }, None));
        }
        // What is over may be ended once more.
        Some(_) if known.is_some() && matches!(command, Some(Command::SessionEnd(_))) => {}
        Some(refused) => return Err(refused),
    }
    if known.as_ref().is_some_and(|session| session.agent != author.agent) && ws.rights.0.is_some() {
        let role = read::agent_record(ws, &author.agent)?.role;
        ws.rights.require(&author.agent, role.as_deref(), Verb::Override)?;
    }
    let warning = known.and_then(|session| not_yours(&session, &author.agent));
    Ok((author, warning))
}

/// Records a sign of life of the caller's session, at most ten times within the limit of silence. Returns the session's fault.
pub fn sign_of_life(ws: &Workspace) -> Option<String> {
    let said = ws.said("session_id").filter(|text| !text.is_empty())?;
    let Ok(id) = said.parse::<Id>() else { return Some(format!("{} is no id of a session", quoted(&said))) };
    let known = read::session_record(ws, id).ok()?;
    let agent = ws.agent_name()?;
    if let Some(refused) = refusal(id, known.as_ref(), &agent) {
        return Some(format!("{}; {}", refused.message, refused.hint.unwrap_or_default()));
    }
    let session = known?;
    if session.fell_silent {
        return Some(format!(
            "session {id} was closed for its silence, last heard of at {}; your next change in it, or agentpm session \
                 heartbeat {id}, lets it go on",
            session.last_heartbeat_at
        ));
    }
    if !is_its_own(&session, &agent) {
        return not_yours(&session, &agent);
    }
    let (now, limit) = (ws.env.now(), ws.settings.session.limit_ms());
    let due = now.since(session.last_heartbeat_at) >= limit / SIGNS && now > session.last_heartbeat_at;
    if due
        && ws.runtime_is_shared()
        && let Some(runtime) = ws.runtime()
    {
        // A disk that cannot be written must not prevent reading.
        let _ = records::note_sign(runtime, id, now);
    }
    None
}

/// Closes the sessions of this clone that have been silent for too long, as claims do by the way. Takes the lock only where there
/// is one.
///
/// Errors: those of any change.
pub fn close_silent(ws: &Workspace) -> Result<()> {
    let Some(runtime) = ws.runtime() else { return Ok(()) };
    let (now, limit) = (ws.env.now(), ws.settings.session.limit_ms());
    let is_silent =
        |id: &Id| matches!(records::session(runtime, *id), Ok(Some(known)) if session::is_silent(&known, now, limit));
    if !records::active_sessions(runtime)?.iter().any(is_silent) {
        return Ok(());
    }
    write::carry_out(ws, ws.author()?, "closing of silent sessions", &[], |tx| {
        tx.close_silent().map(|()| Subject::Batch(Vec::new()))
    })
    .map(drop)
}

/// Why an agent can do nothing in a session, if so.
fn refusal(id: Id, known: Option<&Session>, agent: &str) -> Option<Error> {
    match known {
        None => Some(
            Error::not_found(format!("there is no session {id} in this clone"))
                .with(json!({ "session": id }))
                .hint("begin one: agentpm session start"),
        ),
        Some(session) if is_over(session) || (session.status == SessionStatus::Closed && session.agent != agent) => {
            let ended = session.ended_at.map(|at| format!(" since {at}")).unwrap_or_default();
            Some(
                Error::state(format!("session {id} is closed{ended}; it was last active at {}", session.last_heartbeat_at))
                    .with(json!({ "session": id, "ended_at": session.ended_at, "last_heartbeat_at": session.last_heartbeat_at }))
                    .hint("begin another: agentpm session start"),
            )
        }
        Some(_) => None,
    }
}

fn not_yours(session: &Session, agent: &str) -> Option<String> {
    let other = session.agent != agent;
    other.then(|| {
        format!("session {} is {}'s, not {agent}'s, and is not kept alive by this command", session.id, session.agent)
    })
}
