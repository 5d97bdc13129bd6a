//! Reads one task with its log and findings.
//!
//! Leaves to others: what surrounds it (`around`), and what its view looks like (`reports::view`).

use serde_json::json;

use super::current::{folding, pending};
use crate::engine::context::Workspace;
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::store::entity::{self, LoadedTask};

/// A task with its log and findings.
///
/// Errors: `ERR_NOT_FOUND` if there is none.
pub fn load_task(ws: &Workspace, id: Id) -> Result<LoadedTask> {
    let pending = pending(ws)?.remove(&Entity::Task(id)).unwrap_or_default();
    let loaded = folding(ws, || entity::load_task(&ws.store, id, &pending))?;
    if let Some(odd) = loaded.findings.iter().find(|f| f.rule == Rule::OddFile) {
        let path = odd.path.clone().unwrap_or_default();
        return Err(Error::new(Code::Corrupt, format!("{path}: {}", odd.message))
            .with(json!({ "task": id, "path": path }))
            .hint("agentpm follows no links in a store; look at that path"));
    }
    if loaded.task.version == 0 && loaded.log.foreign.is_empty() {
        return Err(Error::not_found(format!("there is no task {id}")).hint("agentpm task list --all shows all tasks"));
    }
    Ok(loaded)
}
