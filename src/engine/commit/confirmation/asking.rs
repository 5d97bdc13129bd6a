//! The connection to the remote that confirms leases, opened when it is first asked.

use std::cell::OnceCell;

use crate::engine::commit::remote::{self, Remote};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::git::Objects;
use crate::model::id::Id;
use crate::rules::confirm::Trouble;
use crate::runtime::records;

/// A remote that is opened when it is first asked.
pub(crate) struct Asking<'a> {
    ws: &'a Workspace,
    objects: OnceCell<Result<Objects>>,
    name: &'a str,
    clone: Id,
}

impl<'a> Asking<'a> {
    pub fn new(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        Ok(Asking { ws, objects: OnceCell::new(), name, clone: clone_id(ws)? })
    }

    /// As [`Asking::new`], without writing: a clone without an id is not given one.
    pub fn to_read(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        let known = ws.runtime().map(records::clone_id).transpose()?.flatten();
        Ok(Asking { ws, objects: OnceCell::new(), name, clone: known.unwrap_or(Id::from_parts(0, 0)) })
    }

    pub fn clone_id(&self) -> Id {
        self.clone
    }

    /// Opens the remote, with a new time limit.
    pub fn remote(&self) -> Result<Remote<'_>, Trouble> {
        let objects = self.objects.get_or_init(|| remote::objects_to_ask(self.ws));
        let objects = objects.as_ref().map_err(|e| Trouble::Unreachable(e.message.clone()))?;
        Remote::open(self.ws, objects, self.name, self.clone).map_err(|e| Trouble::Unreachable(e.message))
    }
}

/// The id of this clone; created if it has none.
fn clone_id(ws: &Workspace) -> Result<Id> {
    let runtime = ws.runtime_to_write()?;
    if let Some(id) = records::clone_id(&runtime)? {
        return Ok(id);
    }
    write::under_lock(ws, "agentpm, naming this clone", |runtime, _, _| match records::clone_id(runtime)? {
        Some(id) => Ok(id),
        None => {
            let id = ws.env.new_id()?;
            records::write_clone_id(runtime, id)?;
            Ok(id)
        }
    })
}
