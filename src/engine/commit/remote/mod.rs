//! The leases at the remote: one record a task, in a place that replaces a record only if it is the expected one.
//!
//! Guarantees that an invalid record is ignored and reported, whatever keeps it.
//! Leaves to others: who may have a lease (`rules::confirm`), when to ask (`engine::commit::confirmation`), and how the place keeps
//! records: references of a git remote (`git_refs`), or the message bus (`bus`).

#[cfg(feature = "bus")]
mod bus;
mod git_refs;

use std::collections::BTreeMap;

#[cfg(feature = "bus")]
pub(crate) use self::bus::LeaseBus;
use self::git_refs::GitRefs;
use super::confirmation;
use crate::engine::context::Workspace;
use crate::env::Env;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::git::Objects;
use crate::model::agent::{MAX_FENCE, RemoteRecord, Seen};
use crate::model::id::{Id, check_agent_name};
use crate::model::time::Time;
use crate::rules::confirm::{LeaseRemote, Notes, Swap, Trouble};
use crate::runtime::{nonces, records};

/// Maximum size of a record, in bytes.
const MAX_RECORD: u64 = 16 * 1024;

/// A lease at the remote, or why the record in its place is none.
pub(crate) type LeaseEntry = std::result::Result<Seen, String>;

/// A place that keeps one record per task.
trait RecordStore {
    /// The records of all tasks.
    fn all(&self) -> Result<BTreeMap<Id, StoredRecord>, Trouble>;
    /// The record of a task.
    fn read(&mut self, task: Id) -> Result<Option<StoredRecord>, Trouble>;
    /// Replaces the record of a task if its name is `expected`; `None` expects no record.
    fn swap(&mut self, task: Id, expected: Option<&str>, record: &[u8]) -> Swap;
    /// Restores the earlier record with this name, if `expected` is in place now.
    fn restore(&mut self, task: Id, expected: &str, name: &str) -> Swap;
    /// What is kept apart from the records.
    fn notes(&mut self, task: Id) -> Result<Notes, Trouble>;
    /// Removes unchanged records of finished tasks, with the events that finished them, after noting their fences and the events.
    /// Returns how many.
    fn remove(&mut self, records: &[(Seen, Vec<Id>)]) -> Result<usize, Trouble>;
    /// Fetches the state of branches and notes, where the place has them.
    fn look(&self) -> Result<(), Trouble>;
}

/// A record as a place keeps it.
struct StoredRecord {
    /// The name that the next change must expect.
    name: String,
    /// Its text, or why that cannot be read.
    text: std::result::Result<String, String>,
    /// Where it is, for messages.
    place: String,
}

/// The leases at the remote.
pub(crate) struct Remote<'a> {
    records: Box<dyn RecordStore + 'a>,
    clone: Id,
    now: Time,
    ws: &'a Workspace,
    /// Where nonces come from.
    chance: Env,
}

/// The reason for a missing answer.
fn unreachable(e: Error) -> Trouble {
    Trouble::Unreachable(e.message)
}

/// The objects of the repository, for requests to the remote.
///
/// Errors: `ERR_GIT` if the store is in no repository, or in an unreadable one.
pub(crate) fn objects_to_ask(ws: &Workspace) -> Result<Objects> {
    let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
    repo.objects()
}

impl<'a> Remote<'a> {
    /// The leases at the git remote `name`, for this clone.
    ///
    /// Errors: `ERR_GIT` if there is no such remote or no git.
    pub fn in_git(ws: &'a Workspace, objects: &'a Objects, name: &str, clone: Id) -> Result<Self> {
        Ok(Self::of(ws, Box::new(GitRefs::open(ws, objects, name)?), clone))
    }

    /// The leases on the message bus, for this clone.
    #[cfg(feature = "bus")]
    pub fn on_bus(ws: &'a Workspace, leases: &'a LeaseBus, clone: Id) -> Self {
        Self::of(ws, Box::new(leases), clone)
    }

    fn of(ws: &'a Workspace, records: Box<dyn RecordStore + 'a>, clone: Id) -> Self {
        Remote { records, clone, now: ws.env.now(), ws, chance: ws.env.fork() }
    }

    /// The clone that asks.
    pub fn clone_id(&self) -> Id {
        self.clone
    }

    /// Tasks with a record that was seen at the remote before.
    pub fn seen_before(&self) -> Vec<Id> {
        // A record that cannot be read here is not forgotten.
        confirmation::seen_before(self.ws).unwrap_or_default()
    }

    /// All leases at the remote, by task; for an invalid one the description of its fault.
    ///
    /// Errors: why the remote did not answer.
    pub fn all(&self) -> Result<BTreeMap<Id, LeaseEntry>, Trouble> {
        Ok(self.records.all()?.into_iter().map(|(task, stored)| (task, self.record(task, stored))).collect())
    }

    /// Removes unchanged records of finished tasks, after their fences and the events that finished them were noted. Returns how
    /// many.
    ///
    /// Errors: why the remote did not do it.
    pub fn remove(&mut self, records: &[(Seen, Vec<Id>)]) -> Result<usize, Trouble> {
        self.records.remove(records)
    }

    /// Fetches, in one call, the remote's other notes and the positions of its branches.
    ///
    /// Errors: why the remote did not answer.
    pub fn look(&self) -> Result<(), Trouble> {
        self.records.look()
    }

    fn record(&self, task: Id, stored: StoredRecord) -> LeaseEntry {
        let odd = |why: String| format!("{} holds no lease: {why}", stored.place);
        let text = stored.text.as_ref().map_err(|why| odd(why.clone()))?;
        let record: RemoteRecord = serde_json::from_str(text).map_err(|e| odd(e.to_string()))?;
        if record.v != 1 {
            return Err(odd(format!("it has version {}; use a newer agentpm", record.v)));
        }
        if record.task != task || record.fence >= MAX_FENCE {
            return Err(odd("it does not fit its place".into()));
        }
        check_agent_name(&record.agent).map_err(|e| odd(e.message))?;
        let ours = record.clone == self.clone && self.has_sent(task, &record.nonce);
        Ok(Seen { at: self.first_seen(&stored.name, &record), oid: stored.name, ours, over: 0, record })
    }

    /// When this clone first saw a record, as far as it remembers: by a clock that was set back since, now.
    fn first_seen(&self, name: &str, record: &RemoteRecord) -> Time {
        let known = self.ws.runtime().and_then(|runtime| records::lease(runtime, record.task).ok()?.remote);
        known
            .filter(|known| known.oid == name && known.record == *record)
            .map_or(self.now, |known| known.at.min(self.now))
    }

    fn has_sent(&self, task: Id, nonce: &str) -> bool {
        // Unreadable notes are ignored.
        let sent = Dir::open(self.ws.runtime_path()).ok().and_then(|runtime| nonces::sent(&runtime, task).ok());
        sent.iter().flatten().any(|known| known == nonce)
    }
}

impl LeaseRemote for Remote<'_> {
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble> {
        let stored = self.records.read(task)?;
        stored.map(|stored| self.record(task, stored).map_err(Trouble::Refused)).transpose()
    }

    fn swap(&mut self, task: Id, expected: Option<&str>, record: &mut RemoteRecord) -> Swap {
        let stamped = self.chance.new_id().and_then(|nonce| {
            record.nonce = nonce.to_string();
            nonces::note(&self.ws.runtime_to_write()?, task, &record.nonce)
        });
        let bytes = stamped.and_then(|()| serde_json::to_vec(record).map_err(|e| Error::new(Code::Io, e.to_string())));
        match bytes {
            Ok(bytes) => self.records.swap(task, expected, &[bytes, b"\n".to_vec()].concat()),
            Err(e) => Swap::Refused(e.message),
        }
    }

    fn restore(&mut self, task: Id, expected: &str, oid: &str) -> Swap {
        self.records.restore(task, expected, oid)
    }

    fn notes(&mut self, task: Id) -> Result<Notes, Trouble> {
        self.records.notes(task)
    }
}
