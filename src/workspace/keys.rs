//! The keys with which this clone signs what its agents do.
//!
//! Promises: a new key is on disk before its public half is registered, and signs only after that; the registration itself is
//! signed with the key before it, or with the new key where there was none. A kill in between loses no key.
//! Refuses to know: what a signature is (`rules::signature`).

use serde_json::json;

use super::Workspace;
use super::write::Reply;
use crate::env::files::{self, Dir};
use crate::error::{Error, Result};
use crate::model::command::{AgentRegister, Command};
use crate::model::id::check_agent_name;
use crate::rules::signature::SecretKey;
use crate::runtime::keys;
use crate::store::entity::load_agent;

/// Largest file of a key, in bytes.
const MAX_KEY: u64 = 1_024;

impl Workspace {
    /// The key that signs what an agent does here: of the file that `AGENTPM_KEY` names, else the one in the git folder.
    ///
    /// Errors: `ERR_VALIDATION` for a file that holds no key, `ERR_IO` where it cannot be read.
    pub(super) fn key_of(&self, agent: &str, runtime: &Dir) -> Result<Option<SecretKey>> {
        if let Some(path) = self.env.var("AGENTPM_KEY") {
            let path = self.env.cwd().join(path);
            let bytes = files::read_outside(&path, MAX_KEY).map_err(|e| Error::io("read", &path, &e))?;
            return SecretKey::from_text(&String::from_utf8_lossy(&bytes)).map(Some);
        }
        let held = keys::read(runtime, agent)?.map(|text| self.read_key(agent, &text)).transpose()?;
        // Somebody was killed between registering a new key and putting it in the place of the old one.
        let Some(next) = keys::read(runtime, &next(agent))? else { return Ok(held) };
        let next = self.read_key(agent, &next)?;
        let registered = load_agent(&self.store, agent)?.0.public_key;
        Ok(if registered.as_ref() == Some(&next.public()) { Some(next) } else { held })
    }

    /// The key that is about to be registered for an agent, where it has this public half.
    ///
    /// Errors: as [`Workspace::key_of`].
    pub(super) fn next_key(&self, agent: &str, runtime: &Dir, public: &str) -> Result<Option<SecretKey>> {
        let next = keys::read(runtime, &next(agent))?.map(|text| self.read_key(agent, &text)).transpose()?;
        Ok(next.filter(|key| key.public() == public))
    }

    fn read_key(&self, agent: &str, text: &str) -> Result<SecretKey> {
        SecretKey::from_text(text).map_err(|e| {
            Error::validation(format!("the key of {agent} in the git folder cannot be used: {}", e.message))
                .with(json!({ "agent": agent }))
                .hint(format!("agentpm agent register --name {agent} --new-key makes another"))
        })
    }

    /// Registers an agent with a new key that stays in this clone.
    ///
    /// Errors: as [`Workspace::execute`].
    pub fn register_with_new_key(&self, what: AgentRegister) -> Result<Reply> {
        let name = what.name.clone().map_or_else(|| self.author().map(|me| me.agent), Ok)?;
        check_agent_name(&name)?;
        let runtime = self.runtime_to_write()?;
        let key = SecretKey::new(self.env.secret()?);
        keys::write(&runtime, &next(&name), &key.to_text())?;
        let register = AgentRegister { name: Some(name.clone()), public_key: Some(key.public()), ..what };
        let mut reply = self.execute(&Command::AgentRegister(register))?;
        let placed = keys::write(&runtime, &name, &key.to_text()).and_then(|()| keys::remove(&runtime, &next(&name)));
        if let Err(e) = placed {
            reply.warnings.push(format!("registered, but the key could not be put in its place yet: {}", e.message));
        }
        Ok(reply)
    }
}

/// The name under which a key waits to be registered; no agent can be called so.
fn next(agent: &str) -> String {
    format!("{agent}+next")
}
