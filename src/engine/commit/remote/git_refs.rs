//! The records of leases as references of a git remote: one for each task, a blob behind each.
//!
//! Guarantees that all requests of a command share one time limit.
//! Leaves to others: what a record holds (`super`).

use std::collections::BTreeMap;
use std::time::Duration;

use super::{MAX_RECORD, RecordStore, StoredRecord, unreachable};
use crate::engine::context::Workspace;
use crate::engine::view::branches::SEEN;
use crate::error::{Code, Error, Result};
use crate::git::{Item, Mode, Objects, Oid, Push, RemoteRefs};
use crate::model::agent::{MAX_FENCE, Seen};
use crate::model::id::{Id, check_agent_name};
use crate::model::time::Time;
use crate::rules::confirm::{Notes, Swap, Trouble};
use crate::store::layout::{TASKS, task_dir};

/// The prefix of the references.
const LEASES: &str = "refs/agentpm/leases/";
/// Points at the floor: the greatest fence of any record that was taken away.
const FLOOR: &str = "refs/agentpm/floor";
/// Points at a commit whose tree lists the finished tasks whose records were removed, each in a file of its own with
/// the events that finished it and the fences of their records. It only grows.
const FINISHED: &str = "refs/agentpm/finished";
/// The references at a remote.
pub(super) struct GitRefs<'a> {
    refs: RemoteRefs<'a>,
    name: String,
    objects: &'a Objects,
    now: Time,
}

fn name_of(task: Id) -> String {
    format!("{LEASES}{task}")
}

/// Where the list of finished tasks has a task: fanned out as the tasks of a store are.
fn place_of(task: Id) -> String {
    task_dir(task).strip_prefix(TASKS).map_or_else(|_| task.to_string(), |place| place.display().to_string())
}

impl<'a> GitRefs<'a> {
    /// Those at the remote `name`.
    ///
    /// Errors: `ERR_GIT` if there is no such remote or no git.
    pub fn open(ws: &'a Workspace, objects: &'a Objects, name: &str) -> Result<Self> {
        let span = Duration::from_secs(ws.settings.lease.remote_seconds.max(1).into());
        let repo = ws.repo.as_ref().ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        let refs = RemoteRefs::new(repo.program(&ws.env, span)?, objects, name, span)?;
        Ok(GitRefs { refs, name: name.to_owned(), objects, now: ws.env.now() })
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
            if self.replace(FINISHED, old, new)? {
                return Ok(());
            }
        }
        Err(Trouble::Refused("others keep changing the list of finished tasks".into()))
    }

    fn raise_floor(&mut self, to: u64) -> Result<(), Trouble> {
        for _ in 0..20 {
            let (oid, floor) = self.read_floor()?;
            if floor >= to {
                return Ok(());
            }
            let new = self.objects.write_blob(format!("{to}\n").as_bytes()).map_err(unreachable)?;
            if self.replace(FLOOR, oid, new)? {
                return Ok(());
            }
        }
        Err(Trouble::Refused("others keep changing the floor".into()))
    }

    /// Moves a reference; `false` if it is another one by now.
    fn replace(&self, name: &str, old: Option<Oid>, new: Oid) -> Result<bool, Trouble> {
        match self.refs.swap(name, old, Some(new)).map_err(unreachable)? {
            Push::Taken => Ok(true),
            Push::Lost => Ok(false),
            Push::Refused(why) => Err(Trouble::Refused(why)),
            Push::NotSent(why) => Err(Trouble::Unreachable(why)),
            Push::Unknown(why) => Err(Trouble::Unknown(why)),
        }
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

    fn stored(&self, task: Id, oid: Oid) -> StoredRecord {
        let text = self.text(oid).map_err(|e| e.message);
        StoredRecord { name: oid.to_string(), text, place: name_of(task) }
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

impl RecordStore for GitRefs<'_> {
    fn all(&self) -> Result<BTreeMap<Id, StoredRecord>, Trouble> {
        let found = self.refs.read(&format!("{LEASES}*")).map_err(unreachable)?;
        let named = found.into_iter().filter_map(|(name, oid)| Some((name.strip_prefix(LEASES)?.parse().ok()?, oid)));
        Ok(named.map(|(task, oid)| (task, self.stored(task, oid))).collect())
    }

    fn read(&mut self, task: Id) -> Result<Option<StoredRecord>, Trouble> {
        let name = name_of(task);
        let found = self.refs.read(&name).map_err(unreachable)?;
        Ok(found.get(&name).map(|oid| self.stored(task, *oid)))
    }

    fn swap(&mut self, task: Id, expected: Option<&str>, record: &[u8]) -> Swap {
        let parts =
            self.objects.write_blob(record).and_then(|oid| Ok((oid, expected.map(str::parse::<Oid>).transpose()?)));
        match parts {
            Ok((new, expected)) => swapped(self.refs.swap(&name_of(task), expected, Some(new)), new),
            Err(e) => Swap::Refused(e.message),
        }
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

    fn remove(&mut self, records: &[(Seen, Vec<Id>)]) -> Result<usize, Trouble> {
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

    fn look(&self) -> Result<(), Trouble> {
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
}
