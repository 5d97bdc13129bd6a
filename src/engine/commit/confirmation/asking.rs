//! The connection to the remote that confirms leases, opened when it is first asked.

use std::cell::OnceCell;

#[cfg(feature = "bus")]
use crate::engine::commit::remote::LeaseBus;
use crate::engine::commit::remote::{self, Remote};
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::git::Objects;
use crate::model::id::Id;
use crate::model::settings::BUS;
use crate::rules::confirm::Trouble;
use crate::runtime::records;

/// A remote that is opened when it is first asked.
pub(crate) struct Asking<'a> {
    ws: &'a Workspace,
    place: Place<'a>,
    clone: Id,
}

/// What confirms leases.
enum Place<'a> {
    /// The git remote of this name.
    Git(&'a str, Box<OnceCell<Result<Objects>>>),
    /// The message bus.
    #[cfg(feature = "bus")]
    Bus(Box<OnceCell<Result<LeaseBus, Trouble>>>),
    /// The message bus, which this build does not know.
    #[cfg(not(feature = "bus"))]
    Bus,
}

impl<'a> Place<'a> {
    fn named(name: &'a str) -> Self {
        match name {
            #[cfg(feature = "bus")]
            BUS => Place::Bus(Box::new(OnceCell::new())),
            #[cfg(not(feature = "bus"))]
            BUS => Place::Bus,
            name => Place::Git(name, Box::new(OnceCell::new())),
        }
    }
}

impl<'a> Asking<'a> {
    pub fn new(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        Ok(Asking { ws, place: Place::named(name), clone: clone_id(ws)? })
    }

    /// As [`Asking::new`], without writing: a clone without an id is not given one.
    pub fn to_read(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        let known = ws.runtime().map(records::clone_id).transpose()?.flatten();
        Ok(Asking { ws, place: Place::named(name), clone: known.unwrap_or(Id::from_parts(0, 0)) })
    }

    pub fn clone_id(&self) -> Id {
        self.clone
    }

    /// Opens the remote, with a new time limit.
    pub fn remote(&self) -> Result<Remote<'_>, Trouble> {
        match &self.place {
            Place::Git(name, objects) => {
                let objects = objects.get_or_init(|| remote::objects_to_ask(self.ws));
                let objects = objects.as_ref().map_err(|e| Trouble::Unreachable(e.message.clone()))?;
                Remote::in_git(self.ws, objects, name, self.clone).map_err(|e| Trouble::Unreachable(e.message))
            }
            #[cfg(feature = "bus")]
            Place::Bus(bus) => {
                let bus = bus.get_or_init(|| LeaseBus::open(self.ws)).as_ref().map_err(Clone::clone)?;
                Ok(Remote::on_bus(self.ws, bus, self.clone))
            }
            #[cfg(not(feature = "bus"))]
            Place::Bus => Err(Trouble::Unreachable("this agentpm was built without the feature bus".into())),
        }
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
