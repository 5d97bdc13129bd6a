//! Decides commands on agents and sessions.
//!
//! Leaves to others: keeping the records (`runtime`).

use serde_json::Value;

use super::{Needs, Subject, decides, nothing};
use crate::error::{Error, Result};
use crate::model::agent::Session;
use crate::model::args::{Object, OptionalSessionRef, Ref};
use crate::model::command::{AgentRegister, Broadcast, SessionEnd, SessionHeartbeat, SessionStart};
use crate::model::event::Entity;
use crate::model::id::{check_agent_name, quoted};
use crate::model::payload::{self, AgentRegistered, Payload, SessionEnded, SessionStarted};
use crate::model::signature::check_public;
use crate::rules::conditions::check_words;
use crate::rules::roles::Verb;
use crate::rules::session::is_over;
use crate::rules::stage::{Draft, Stage};

decides! {
    AgentRegister: nothing => agent_register,
    Broadcast: nothing => broadcast,
    SessionStart: session_needs => session_start,
    SessionHeartbeat: session_needs => session_heartbeat,
    SessionEnd: session_needs => session_end,
}

fn session_needs<C>(_: &C) -> Needs<'_> {
    Needs { sessions: true, ..Needs::default() }
}

fn value(object: Option<&Object>) -> Value {
    object.map_or(Value::Null, |o| Value::Object(o.0.clone()))
}

/// `agent register`
fn agent_register(stage: &mut dyn Stage, c: &AgentRegister) -> Result<Subject> {
    stage.require(Verb::Register)?;
    let name = c.name.clone().unwrap_or_else(|| stage.me().agent.clone());
    check_agent_name(&name)?;
    c.public_key.as_deref().map_or(Ok(()), check_public)?;
    let known = stage.agent(&name)?;
    let said = AgentRegistered {
        role: c.role.clone().filter(|role| known.role.as_ref() != Some(role)),
        metadata: Some(value(c.metadata.as_ref())).filter(|m| *m != known.metadata).unwrap_or_default(),
        public_key: c.public_key.clone().filter(|key| known.public_key.as_ref() != Some(key)),
    };
    let news = said.role.is_some() || !said.metadata.is_null() || said.public_key.is_some();
    if known.created_at.is_some() && news && name != stage.me().agent {
        stage.require_for(&name, Verb::Register)?;
    }
    let payload = match known.created_at {
        None => Some(Payload::AgentRegistered(said)),
        Some(_) if news => Some(Payload::AgentUpdated(said)),
        Some(_) => None,
    };
    if let Some(payload) = payload {
        stage.emit(Draft { entity: Entity::Agent(name.clone()), payload, why: None, fence: None })?;
    }
    Ok(Subject::Agent(name))
}

/// `broadcast`
fn broadcast(stage: &mut dyn Stage, c: &Broadcast) -> Result<Subject> {
    stage.require(Verb::Broadcast)?;
    if c.to.is_some() && c.role.is_some() {
        return Err(Error::usage("a message goes to an agent or to a role, not to both")
            .hint("leave out --to or --role; without both it goes to all agents"));
    }
    if let Some(to) = &c.to {
        check_agent_name(to)?;
        if stage.agent(to)?.created_at.is_none() {
            let role =
                if stage.has_role(to)? { format!("; to the agents of that role: --role {to}") } else { String::new() };
            stage
                .warn(format!("no agent {} is registered here{role}; agentpm agent list shows the agents", quoted(to)));
        }
    }
    if let Some(role) = &c.role
        && !stage.has_role(role)?
    {
        stage.warn(format!(
            "no agent is registered here with the role {}; agentpm agent list shows the agents",
            quoted(role)
        ));
    }
    let sender = stage.me().agent.clone();
    check_words(&c.body.0.0, "a message")?;
    let sent = payload::Broadcast { body: c.body.0.0.clone(), to: c.to.clone(), role: c.role.clone() };
    let draft = Draft {
        entity: Entity::Agent(sender.clone()),
        payload: Payload::Broadcast(sent.clone()),
        why: None,
        fence: None,
    };
    Ok(Subject::Broadcast(stage.emit(draft)?, sent))
}

/// `session start`
fn session_start(stage: &mut dyn Stage, c: &SessionStart) -> Result<Subject> {
    let agent = c.agent_id.clone().unwrap_or_else(|| stage.me().agent.clone());
    check_agent_name(&agent)?;
    if agent != stage.me().agent {
        stage.require_for(&agent, Verb::Override)?;
    }
    let id = stage.new_id()?;
    let metadata = value(c.metadata.as_ref());
    let payload = Payload::SessionStarted(SessionStarted { agent, metadata });
    stage.emit(Draft { entity: Entity::Session(id), payload, why: None, fence: None })?;
    Ok(Subject::Session(id))
}

/// The session that a command refers to: the one named, or the actor's own. Another agent's asks for the right to override.
fn meant(stage: &mut dyn Stage, named: &OptionalSessionRef) -> Result<Session> {
    let reference = named.0.clone().or_else(|| stage.me().session.map(|id| id.to_string())).ok_or_else(|| {
        Error::usage("no session is named").hint("name one, pass --session ID, or set AGENTPM_SESSION")
    })?;
    let session = stage.session(&Ref(reference))?;
    if session.agent != stage.me().agent {
        stage.require_for(&session.agent, Verb::Override)?;
    }
    Ok(session)
}

/// `session heartbeat`
fn session_heartbeat(stage: &mut dyn Stage, c: &SessionHeartbeat) -> Result<Subject> {
    let session = meant(stage, &c.session_id)?;
    if is_over(&session) {
        return Err(
            Error::state(format!("session {} is closed", session.id)).hint("start another: agentpm session start")
        );
    }
    let payload = Payload::SessionHeartbeat(crate::model::payload::SessionHeartbeat {});
    stage.emit(Draft { entity: Entity::Session(session.id), payload, why: None, fence: None })?;
    Ok(Subject::Session(session.id))
}

/// `session end`
fn session_end(stage: &mut dyn Stage, c: &SessionEnd) -> Result<Subject> {
    let session = meant(stage, &c.session_id)?;
    if !is_over(&session) {
        let payload = Payload::SessionEnded(SessionEnded { silent: None });
        stage.emit(Draft { entity: Entity::Session(session.id), payload, why: None, fence: None })?;
    }
    let held = stage.held_in(session.id)?;
    if !held.is_empty() {
        let ids: Vec<String> = held.iter().map(ToString::to_string).collect();
        stage.warn(format!(
            "session {} still holds {}; agentpm release ID releases a task, otherwise other agents may claim it after its lease expires",
            session.id,
            ids.join(", ")
        ));
    }
    Ok(Subject::Session(session.id))
}
