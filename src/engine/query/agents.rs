//! `agent list` and `agent show`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::agent::Agent;
use crate::model::id::quoted;
use crate::model::time::Time;
use crate::reports::list::List;
use crate::runtime::records;

/// An agent, and when it was last heard of in this clone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentView {
    /// The agent.
    #[serde(flatten)]
    pub agent: Agent,
    /// The last sign of life of its sessions.
    pub last_seen_at: Option<Time>,
}

/// `agent show`
///
/// Errors: `ERR_NOT_FOUND` if no agent has that name.
pub fn agent(ws: &Workspace, name: &str) -> Result<AgentView> {
    let found = agents(ws)?.items.into_iter().find(|view| view.agent.name == name);
    found.ok_or_else(|| {
        Error::not_found(format!("no agent {} is registered", quoted(name)))
            .with(json!({ "agent": name }))
            .hint("agentpm agent list names them")
    })
}

/// `agent list`
pub fn agents(ws: &Workspace) -> Result<List<AgentView>> {
    let mut last_seen = BTreeMap::new();
    if let Some(runtime) = ws.runtime() {
        for id in records::sessions(runtime)? {
            if let Some(session) = records::session(runtime, id)? {
                let seen = last_seen.entry(session.agent).or_insert(session.last_heartbeat_at);
                *seen = (*seen).max(session.last_heartbeat_at);
            }
        }
    }
    let view = |agent: Agent| AgentView { last_seen_at: last_seen.get(&agent.name).copied(), agent };
    Ok(List::whole(read::agents(ws)?.into_iter().map(view).collect()))
}
