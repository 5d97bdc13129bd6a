//! The keys with which this clone signs what its agents do.
//!
//! Guarantees that a new key is on disk before its public half is registered, and signs only after that; a refused registration
//! leaves none. The registration itself
//! is signed with the key before it, or with the new key if there was none. No key is lost, neither by a kill nor if a branch
//! registers another. The key that the agent's present log registers signs.
//! Leaves to others: what a signature is (`model::signature`).

use serde_json::json;

use super::answer::Reply;
use super::tokens;
use super::write::{self};
use crate::engine::context::Workspace;
use crate::env::files::Dir;
use crate::env::outside;
use crate::error::{Code, Error, Result};
use crate::model::command::{AgentRegister, Command};
use crate::model::id::check_agent_name;
use crate::model::signature::SecretKey;
use crate::runtime::keys;
use crate::store::entity::load_agent;

/// Largest file of a key, in bytes.
const MAX_KEY: u64 = 1_024;

/// The key that signs what an agent does here: of the file that `AGENTPM_KEY` names, else the one in the git folder.
///
/// Errors: `ERR_VALIDATION` for a file that holds no key, `ERR_IO` if it cannot be read.
pub(crate) fn key_of(ws: &Workspace, agent: &str, runtime: &Dir) -> Result<Option<SecretKey>> {
    if let Some(path) = ws.env.var("AGENTPM_KEY") {
        let path = ws.env.cwd().join(path);
        let bytes = outside::read(&path, MAX_KEY).map_err(|e| Error::io("read", &path, &e))?;
        return SecretKey::from_text(&String::from_utf8_lossy(&bytes)).map(Some);
    }
    if !keys::any(runtime)? {
        return Ok(None);
    }
    let latest = keys::read(runtime, agent)?.map(|text| read_key(agent, &text)).transpose()?;
    let Some(public) = load_agent(&ws.store, agent)?.0.public_key else { return Ok(latest) };
    match latest {
        Some(key) if key.public() == public => Ok(Some(key)),
        latest => Ok(kept_key(agent, runtime, &public)?.or(latest)),
    }
}

/// The key of an agent that is kept under this public half: one before the latest, or one that is about to be registered.
///
/// Errors: as [`key_of`].
pub(crate) fn kept_key(agent: &str, runtime: &Dir, public: &str) -> Result<Option<SecretKey>> {
    let kept = keys::read(runtime, &name_of(agent, public))?;
    let key = kept.map(|text| read_key(agent, &text)).transpose()?;
    Ok(key.filter(|key| key.public() == public))
}

fn read_key(agent: &str, text: &str) -> Result<SecretKey> {
    SecretKey::from_text(text).map_err(|e| {
        Error::validation(format!("the key of {agent} in the git folder cannot be used: {}", e.message))
            .with(json!({ "agent": agent }))
            .hint(format!("agentpm agent register --name {agent} --new-key makes another"))
    })
}

/// Registers an agent with a new key that stays in this clone.
///
/// Errors: as `write::execute`.
pub fn register_with_new_key(ws: &Workspace, what: AgentRegister) -> Result<Reply> {
    let name = what.name.clone().map_or_else(|| ws.author().map(|me| me.agent), Ok)?;
    check_agent_name(&name)?;
    if ws.request.authenticated {
        let me = ws.author()?.agent;
        if me != name {
            tokens::require_other(ws, &me, &name)?;
        }
    }
    let runtime = ws.runtime_to_write()?;
    let key = SecretKey::new(ws.env.secret()?);
    keys::write(&runtime, &name_of(&name, &key.public()), &key.to_text())?;
    let register = AgentRegister { name: Some(name.clone()), public_key: Some(key.public()), ..what };
    let mut reply = write::execute(ws, &Command::AgentRegister(register)).inspect_err(|e| {
        // After a failure of the disk, the registration might be there after all.
        if !matches!(e.code, Code::Io | Code::NoSpace) {
            let _ = keys::remove(&runtime, &name_of(&name, &key.public()));
        }
    })?;
    if let Err(e) = replace_key(&runtime, &name, &key) {
        reply.warnings.push(format!(
            "the key is registered and signs, but it could not be written as {name}'s latest key: {}",
            e.message
        ));
    }
    Ok(reply)
}

/// Makes a key the agent's latest one. The one before is kept under its public half, since other branches still register it.
fn replace_key(runtime: &Dir, agent: &str, key: &SecretKey) -> Result<()> {
    if let Some(text) = keys::read(runtime, agent)?
        && let Ok(before) = SecretKey::from_text(&text)
    {
        keys::write(runtime, &name_of(agent, &before.public()), &text)?;
    }
    keys::write(runtime, agent, &key.to_text())?;
    keys::remove(runtime, &name_of(agent, &key.public()))
}

/// The name under which a key with this public half is kept; no agent can be called so.
fn name_of(agent: &str, public: &str) -> String {
    format!("{agent}+{}", public.rsplit(':').next().unwrap_or_default())
}
