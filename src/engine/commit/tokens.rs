//! Tokens with which agents authenticate to a server of this clone.
//!
//! Guarantees that only the hash of a token is kept, that an agent has one token at a time, and that an agent without the right to
//! register agents gets none for another one.
//! Leaves to others: what a request with a token may do (`server`).

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::id::{check_agent_name, quoted};
use crate::model::job::AgentToken;
use crate::rules::roles::Verb;
use crate::runtime::tokens;

/// A token of an agent, shown once.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct IssuedToken {
    /// The agent.
    pub agent: String,
    /// The token; nothing where it was revoked.
    pub token: Option<String>,
    /// Whether the agent has no token any more.
    pub revoked: bool,
}

impl IssuedToken {
    /// What is kept of it for a repeated call: not the token.
    pub fn receipt(&self) -> Self {
        IssuedToken { token: None, ..self.clone() }
    }
}

/// Issues a token for an agent, or revokes it.
///
/// Errors: `ERR_NOT_FOUND` for an agent that is not registered, `ERR_UNAUTHORIZED` without the right to register agents.
pub fn issue(ws: &Workspace, asked: &AgentToken) -> Result<IssuedToken> {
    check_agent_name(&asked.name)?;
    ws.check_safe_to_change()?;
    let me = ws.author()?.agent;
    if me != asked.name {
        require_other(ws, &me, &asked.name)?;
    }
    let runtime = ws.runtime_to_write()?;
    if asked.revoke {
        tokens::revoke(&runtime, &asked.name)?;
        return Ok(IssuedToken { agent: asked.name.clone(), token: None, revoked: true });
    }
    if !read::agent_names(ws)?.contains(&asked.name) {
        return Err(Error::not_found(format!("no agent {} is registered", quoted(&asked.name)))
            .hint(format!("register it first: agentpm agent register --name {}", asked.name)));
    }
    let token = tokens::issue(&runtime, &asked.name, ws.env.secret()?)?;
    Ok(IssuedToken { agent: asked.name.clone(), token: Some(token), revoked: false })
}

/// Checks that an agent may get the token or the key of another one.
///
/// Errors: `ERR_UNAUTHORIZED`.
pub(crate) fn require_other(ws: &Workspace, me: &str, other: &str) -> Result<()> {
    ws.check_may_act_for(me, other)?;
    let role = read::agent_record(ws, me)?.role;
    ws.rights.require(me, role.as_deref(), Verb::Register)
}

/// The agent whose token this is.
///
/// Errors: `ERR_IO` if the record cannot be read.
#[cfg(feature = "server")]
pub fn agent_of(ws: &Workspace, token: &str) -> Result<Option<String>> {
    ws.runtime().map_or(Ok(None), |runtime| tokens::agent_of(runtime, token))
}

/// Whether this is the token of the server.
///
/// Errors: `ERR_IO` if it cannot be read, `ERR_UNAUTHORIZED` if other users can read it.
#[cfg(feature = "server")]
pub fn is_of_server(ws: &Workspace, token: &str) -> Result<bool> {
    ws.runtime().map_or(Ok(false), |runtime| tokens::is_of_server(runtime, token))
}

/// Whether an agent has a token.
#[cfg(feature = "server")]
pub fn has_token(ws: &Workspace, agent: &str) -> bool {
    ws.runtime().is_some_and(|runtime| tokens::has_token(runtime, agent))
}

/// The token of the server of this clone, which it makes at its first start.
///
/// Errors: `ERR_IO` if it cannot be read or written, `ERR_UNAUTHORIZED` if other users can read it.
#[cfg(feature = "server")]
pub fn server_token(ws: &Workspace) -> Result<String> {
    tokens::server_token(&ws.runtime_to_write()?, || ws.env.secret())
}
