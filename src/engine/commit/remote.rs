//! The leases at the remote: one reference a task, a record behind each.
//!
//! Guarantees that an invalid record is ignored and reported, and that all requests of a command share one time limit.
//! Leaves to others: who may have a lease (`rules::confirm`), and when to ask (`engine::commit::confirmation`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::confirmation;
use crate::engine::context::Workspace;
use crate::engine::view::branches::SEEN;
use crate::env::Env;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::git::{Item, Mode, Objects, Oid, Push, RemoteRefs};
use crate::model::agent::{MAX_FENCE, RemoteRecord, Seen};
use crate::model::id::{Id, check_agent_name};
use crate::model::time::Time;
use crate::rules::confirm::{LeaseRemote, Notes, Swap, Trouble};
use crate::runtime::nonces;
use crate::store::layout::{TASKS, task_dir};

/// The prefix of the references.
const LEASES: &str = "refs/agentpm/leases/";
/// Points at the floor: the greatest fence of any record that was taken away.
const FLOOR: &str = "refs/agentpm/floor";
/// Points at a commit whose tree lists the finished tasks whose records were removed, each in a file of its own with
/// the events that finished it and the fences of their records. It only grows.
const FINISHED: &str = "refs/agentpm/finished";
/// Maximum size of a record, in bytes.
const MAX_RECORD: u64 = 16 * 1024;

/// A lease at the remote, or why the record in its place is none.
pub(crate) type LeaseEntry = std::result::Result<Seen, String>;

/// The leases at the remote.
pub(crate) struct Remote<'a> {
    refs: RemoteRefs<'a>,
    name: String,
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

/// Where the list of finished tasks has a task: fanned out as the tasks of a store are.
fn place_of(task: Id) -> String {
    task_dir(task).strip_prefix(TASKS).map_or_else(|_| task.to_string(), |place| place.display().to_string())
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
    /// The leases at the remote `name`, for this clone.
    ///
    /// Errors: `ERR_GIT` if there is no such remote or no git.
    pub fn open(ws: &'a Workspace, objects: &'a Objects, name: &str, clone: Id) -> Result<Self> {
        let span = Duration::from_secs(ws.settings.lease.remote_seconds.max(1).into());
        let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        let refs = RemoteRefs::new(repo.program(&ws.env, span)?, objects, name, span)?;
        Ok(Remote { refs, name: name.to_owned(), objects, clone, now: ws.env.now(), ws, chance: ws.env.fork() })
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
        let found = self.refs.read(&format!("{LEASES}*")).map_err(unreachable)?;
        let named = found.into_iter().filter_map(|(name, oid)| Some((name.strip_prefix(LEASES)?.parse().ok()?, oid)));
        Ok(named.map(|(task, oid)| (task, self.record(task, oid))).collect())
    }

    /// Removes unchanged records of finished tasks, after raising the floor to their fences and adding the
    /// events that finished them to the list. Returns how many.
    ///
    /// Errors: why the remote did not do it.
    pub fn remove(&mut self, records: &[(Seen, Vec<Id>)]) -> Result<usize, Trouble> {
        let Some(highest) = records.iter().map(|(seen, _)| seen.record.fence).max() else { return Ok(0) };
        self.raise_floor(highest)?;
        self.list_finished(records)?;
        let names: Vec<String> = records.iter().map(|(seen, _)| name_of(seen.record.task)).collect();
        let mut changes = Vec::with_capacity(records.len());
        for ((seen, _), name) in records.iter().zip(&names) {
            changes.push((name.as_str(), Some(seen.oid.parse().map_err(unreachable)?), None));
        }
        let came = self.refs.push(&changes).map_err(unreachable)?;
        Ok(came.iter().filter(|push| **push == Push::Taken).count())
    }

    fn list_finished(&mut self, records: &[(Seen, Vec<Id>)]) -> Result<(), Trouble> {
        for _ in 0..20 {
            let old = self.refs.read(FINISHED).map_err(unreachable)?.get(FINISHED).copied();
            let base =
                old.map(|commit| self.objects.commit(commit)).transpose().map_err(unreachable)?.map(|info| info.tree);
            let mut changes = Vec::with_capacity(records.len());
            for (seen, ends) in records {
                let place = place_of(seen.record.task);
                let before =
                    base.map(|tree| self.objects.file(tree, &place)).transpose().map_err(unreachable)?.flatten();
                let mut text = String::from_utf8_lossy(&before.unwrap_or_default()).into_owned();
                let new: Vec<&Id> = ends.iter().filter(|end| !text.contains(&end.to_string())).collect();
                for end in new {
                    text.push_str(&format!("{end} {} {}\n", seen.record.fence, seen.record.agent));
                }
                let item =
                    Item { mode: Mode::File, oid: self.objects.write_blob(text.as_bytes()).map_err(unreachable)? };
                changes.push((place, Some(item)));
            }
            let tree = self.objects.write_tree(base, &changes).map_err(unreachable)?;
            if Some(tree) == base {
                return Ok(());
            }
            let seconds = self.now.millis() / 1_000;
            let new = self.objects.write_commit(tree, old, "finished tasks\n", seconds).map_err(unreachable)?;
            match self.refs.swap(FINISHED, old, Some(new)).map_err(unreachable)? {
                Push::Taken => return Ok(()),
                Push::Lost => {}
                Push::Refused(why) => return Err(Trouble::Refused(why)),
                Push::NotSent(why) => return Err(Trouble::Unreachable(why)),
                Push::Unknown(why) => return Err(Trouble::Unknown(why)),
            }
        }
        Err(Trouble::Refused("others keep changing the list of finished tasks".into()))
    }

    /// Fetches, in one call, the remote's other notes and the positions of its branches.
    ///
    /// Errors: why the remote did not answer.
    pub fn look(&self) -> Result<(), Trouble> {
        let here = format!("{SEEN}{}", self.name);
        let note = |name: &str| {
            let last = name.rsplit('/').next().unwrap_or_default();
            (format!("{name}*"), format!("{here}/{last}*"))
        };
        let mut patterns = vec![note(FLOOR), note(FINISHED)];
        for from in self.refs.branches() {
            let to = from.replacen("refs/heads/", &format!("{here}/heads/"), 1);
            patterns.push((from, to));
        }
        self.refs.mirror(&patterns).map_err(unreachable)
    }

    fn raise_floor(&mut self, to: u64) -> Result<(), Trouble> {
        for _ in 0..20 {
            let (oid, floor) = self.read_floor()?;
            if floor >= to {
                return Ok(());
            }
            let new = self.objects.write_blob(format!("{to}\n").as_bytes()).map_err(unreachable)?;
            match self.refs.swap(FLOOR, oid, Some(new)).map_err(unreachable)? {
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
        let oid = self.refs.read(FLOOR).map_err(unreachable)?.get(FLOOR).copied();
        Ok((oid, self.floor_at(oid)?))
    }

    fn floor_at(&self, oid: Option<Oid>) -> Result<u64, Trouble> {
        let Some(oid) = oid else { return Ok(0) };
        let odd = || Trouble::Refused(format!("{FLOOR} holds no number"));
        let text = self.text(oid).map_err(|_| odd())?;
        let floor: u64 = text.trim().parse().map_err(|_| odd())?;
        if floor >= MAX_FENCE { Err(odd()) } else { Ok(floor) }
    }

    fn text(&self, oid: Oid) -> Result<String> {
        if self.objects.size(oid)? > MAX_RECORD {
            return Err(Error::new(Code::Corrupt, format!("it is larger than {MAX_RECORD} bytes")));
        }
        String::from_utf8(self.objects.blob(oid)?).map_err(|_| Error::new(Code::Corrupt, "it is no UTF-8"))
    }

    fn record(&self, task: Id, oid: Oid) -> LeaseEntry {
        let odd = |why: String| format!("{} holds no lease: {why}", name_of(task));
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
        // Unreadable notes are ignored.
        let sent = Dir::open(self.ws.runtime_path()).ok().and_then(|runtime| nonces::sent(&runtime, task).ok());
        sent.iter().flatten().any(|known| known == nonce)
    }
}

/// Whether a record that was sent under a name was accepted.
fn swapped(pushed: Result<Push>, oid: Oid) -> Swap {
    match pushed {
        Ok(Push::Taken) => Swap::Taken(oid.to_string()),
        Ok(Push::Lost) => Swap::Lost,
        Ok(Push::Refused(why)) => Swap::Refused(why),
        Ok(Push::NotSent(why)) => Swap::NotSent(why),
        Ok(Push::Unknown(why)) => Swap::Unknown(why),
        Err(e) => Swap::NotSent(e.message),
    }
}

impl LeaseRemote for Remote<'_> {
    fn read(&mut self, task: Id) -> Result<Option<Seen>, Trouble> {
        let name = name_of(task);
        let found = self.refs.read(&name).map_err(unreachable)?;
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
        swapped(self.refs.swap(&name_of(task), expected, Some(new)), new)
    }

    fn restore(&mut self, task: Id, expected: &str, oid: &str) -> Swap {
        let parsed = expected.parse::<Oid>().and_then(|expected| Ok((expected, oid.parse::<Oid>()?)));
        let (expected, oid) = match parsed {
            Ok(names) => names,
            Err(e) => return Swap::Refused(e.message),
        };
        if !self.objects.has(oid) {
            return Swap::Refused("the record that stood there is not to be had any more".into());
        }
        swapped(self.refs.swap(&name_of(task), Some(expected), Some(oid)), oid)
    }

    fn notes(&mut self, task: Id) -> Result<Notes, Trouble> {
        self.look()?;
        let at = |last: &str| self.objects.reference(&format!("{SEEN}{}/{last}", self.name));
        let floor = self.floor_at(at("floor"))?;
        let odd = || Trouble::Refused(format!("{FINISHED} holds no list of tasks"));
        let tree = at("finished").map(|commit| self.objects.commit(commit)).transpose().map_err(|_| odd())?;
        let file = tree.map(|info| self.objects.file(info.tree, &place_of(task))).transpose().map_err(|_| odd())?;
        let text = String::from_utf8(file.flatten().unwrap_or_default()).map_err(|_| odd())?;
        let event = |line: &str| {
            let mut parts = line.split(' ');
            let id = parts.next().unwrap_or_default().parse().map_err(|_| odd())?;
            let agent = parts.nth(1).filter(|name| check_agent_name(name).is_ok()).ok_or_else(odd)?;
            Ok((id, agent.to_owned()))
        };
        let finished = text.lines().map(event).collect::<Result<_, _>>()?;
        Ok(Notes { floor, finished })
    }
}
