//! The leases at the remote: one reference a task, a record behind each.
//!
//! Promises: nothing is taken from a record that does not make sense; each question is answered within the time that all of a
//! command's questions have together.
//! Refuses to know: who may have a lease (`rules::confirm`), and when to ask (`workspace::confirm`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::Workspace;
use crate::env::Env;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::git::{Objects, Oid, Push, RemoteRefs};
use crate::model::agent::{MAX_FENCE, RemoteRecord, Seen};
use crate::model::id::{Id, check_agent_name};
use crate::model::time::Time;
use crate::rules::confirm::{LeaseRemote, Swap, Trouble};
use crate::runtime::nonces;

/// Where the references are.
const LEASES: &str = "refs/agentpm/leases/";
/// Points at the floor: the greatest fence of any record that was taken away.
const FLOOR: &str = "refs/agentpm/floor";
/// Largest record that is read, in bytes.
const MAX_RECORD: u64 = 16 * 1024;

/// A lease at the remote, or what stands in its place and is none.
pub(super) type Listed = std::result::Result<Seen, String>;

/// The leases at the remote.
pub(super) struct Remote<'a> {
    refs: RemoteRefs<'a>,
    objects: &'a Objects,
    clone: Id,
    now: Time,
    ws: &'a Workspace,
    /// Where nonces come from.
    chance: Env,
}

fn name_of(task: Id) -> String {
    format!("{LEASES}{task}")
}

/// Why there is no answer.
fn silent(e: Error) -> Trouble {
    Trouble::Unreachable(e.message)
}

impl Workspace {
    /// The remote that confirms leases, by name; `None` where none is set.
    pub fn lease_remote(&self) -> Option<&str> {
        Some(self.settings.lease.remote.as_str()).filter(|name| !name.is_empty())
    }

    /// What is needed to ask the remote.
    ///
    /// Errors: `ERR_GIT` where the store lies in no repository, or in one that cannot be read in process.
    pub(super) fn objects_to_ask(&self) -> Result<Objects> {
        let repo = self.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        repo.objects()
    }
}

impl<'a> Remote<'a> {
    /// The leases at the remote `name`, for this clone.
    ///
    /// Errors: `ERR_GIT` where there is no such remote or no git.
    pub fn open(ws: &'a Workspace, objects: &'a Objects, name: &str, clone: Id) -> Result<Self> {
        let span = Duration::from_secs(ws.settings.lease.remote_seconds.max(1).into());
        let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        let refs = RemoteRefs::new(repo.program(&ws.env, span)?, objects, name, span)?;
        Ok(Remote { refs, objects, clone, now: ws.env.now(), ws, chance: ws.env.again() })
    }

    /// Tasks of which something was seen there before.
    pub fn seen_before(&self) -> Vec<Id> {
        // What cannot be read here is not forgotten either.
        self.ws.seen_before().unwrap_or_default()
    }

    /// All leases that stand there, by task. One that makes no sense is told as what is wrong with it.
    ///
    /// Errors: why the remote did not answer.
    pub fn all(&self) -> Result<BTreeMap<Id, Listed>, Trouble> {
        let found = self.refs.read(&format!("{LEASES}*")).map_err(silent)?;
        let named = found.into_iter().filter_map(|(name, oid)| Some((name.strip_prefix(LEASES)?.parse().ok()?, oid)));
        Ok(named.map(|(task, oid)| (task, self.record(task, oid))).collect())
    }

    /// Takes away records of finished tasks that are still what was seen, after raising the floor to their fences. Gives how many.
    ///
    /// Errors: why the remote did not do it.
    pub fn remove(&mut self, records: &[Seen]) -> Result<usize, Trouble> {
        let Some(highest) = records.iter().map(|seen| seen.record.fence).max() else { return Ok(0) };
        self.raise_floor(highest)?;
        let names: Vec<String> = records.iter().map(|seen| name_of(seen.record.task)).collect();
        let mut changes = Vec::with_capacity(records.len());
        for (seen, name) in records.iter().zip(&names) {
            changes.push((name.as_str(), Some(seen.oid.parse().map_err(silent)?), None));
        }
        let came = self.refs.push(&changes).map_err(silent)?;
        Ok(came.iter().filter(|push| **push == Push::Taken).count())
    }

    fn raise_floor(&mut self, to: u64) -> Result<(), Trouble> {
        for _ in 0..20 {
            let (oid, floor) = self.read_floor()?;
            if floor >= to {
                return Ok(());
            }
            let new = self.objects.write_blob(format!("{to}\n").as_bytes()).map_err(silent)?;
            match self.refs.swap(FLOOR, oid, Some(new)).map_err(silent)? {
                Push::Taken => return Ok(()),
                Push::Lost => {}
                Push::Refused(why) => return Err(Trouble::Refused(why)),
                Push::NotSent(why) => return Err(Trouble::Unreachable(why)),
                Push::Unknown(why) => return Err(Trouble::Unknown(why)),
            }
        }
        Err(Trouble::Refused("others keep changing the floor".into()))
    }

    fn read_floor(&self) -> Result<(Option<Oid>, u64), Trouble> {
        let found = self.refs.read(FLOOR).map_err(silent)?;
        let Some(oid) = found.get(FLOOR).copied() else { return Ok((None, 0)) };
        let odd = || Trouble::Refused(format!("what stands at {FLOOR} is no number"));
        let text = self.text(oid).map_err(|_| odd())?;
        let floor: u64 = text.trim().parse().map_err(|_| odd())?;
        if floor >= MAX_FENCE { Err(odd()) } else { Ok((Some(oid), floor)) }
    }

    fn text(&self, oid: Oid) -> Result<String> {
        if self.objects.size(oid)? > MAX_RECORD {
            return Err(Error::new(Code::Corrupt, format!("it is larger than {MAX_RECORD} bytes")));
        }
        String::from_utf8(self.objects.blob(oid)?).map_err(|_| Error::new(Code::Corrupt, "it is no UTF-8"))
    }

    fn record(&self, task: Id, oid: Oid) -> Listed {
        let odd = |why: String| format!("what stands at {} is no lease: {why}", name_of(task));
        let text = self.text(oid).map_err(|e| odd(e.message))?;
        let record: RemoteRecord = serde_json::from_str(&text).map_err(|e| odd(e.to_string()))?;
        if record.v != 1 {
            return Err(odd(format!("it has version {}; use a newer agentpm", record.v)));
        }
        if record.task != task || record.fence >= MAX_FENCE {
            return Err(odd("it does not fit its place".into()));
        }
        check_agent_name(&record.agent).map_err(|e| odd(e.message))?;
        let ours = record.clone == self.clone && self.has_sent(task, &record.nonce);
        Ok(Seen { oid: oid.to_string(), at: self.now, ours, over: 0, record })
    }

    fn has_sent(&self, task: Id, nonce: &str) -> bool {
        // Notes that cannot be read claim nothing.
        let sent = Dir::open(self.ws.runtime_path()).ok().and_then(|runtime| nonces::sent(&runtime, task).ok());
        sent.iter().flatten().any(|known| known == nonce)
    }
}

impl LeaseRemote for Remote<'_> {
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble> {
        let name = name_of(task);
        let found = self.refs.read(&name).map_err(silent)?;
        let Some(oid) = found.get(&name).copied() else { return Ok(None) };
        self.record(task, oid).map(Some).map_err(Trouble::Refused)
    }

    fn swap(&mut self, task: Id, expected: Option<&str>, record: &mut RemoteRecord) -> Swap {
        let stamped = self.chance.new_id().and_then(|nonce| {
            record.nonce = nonce.to_string();
            nonces::note(&self.ws.runtime_to_write()?, task, &record.nonce)
        });
        let new = stamped
            .and_then(|()| serde_json::to_vec(record).map_err(|e| Error::new(Code::Io, e.to_string())))
            .and_then(|mut bytes| {
                bytes.push(b'\n');
                self.objects.write_blob(&bytes)
            })
            .and_then(|oid| Ok((oid, expected.map(str::parse::<Oid>).transpose()?)));
        let (new, expected) = match new {
            Ok(parts) => parts,
            Err(e) => return Swap::Refused(e.message),
        };
        match self.refs.swap(&name_of(task), expected, Some(new)) {
            Ok(Push::Taken) => Swap::Taken(new.to_string()),
            Ok(Push::Lost) => Swap::Lost,
            Ok(Push::Refused(why)) => Swap::Refused(why),
            Ok(Push::NotSent(why)) => Swap::NotSent(why),
            Ok(Push::Unknown(why)) => Swap::Unknown(why),
            Err(e) => Swap::NotSent(e.message),
        }
    }

    fn floor(&mut self) -> Result<u64, Trouble> {
        self.read_floor().map(|(_, floor)| floor)
    }
}
