//! Judges single events that arrive from other clones by the commit that is checked out, as a branch is judged by its base.
//!
//! Guarantees the rules of `permitted` and `signed`; events of one command are judged together. What is permitted only with an event of
//! another log waits for that event.
//! Leaves to others: what becomes of a refused event.

use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, BTreeSet};

use super::others::{Others, adds_part, opened};
use super::permitted::RolesAt;
use super::signed::{self, Asks, Keys};
use super::source::log_path;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::Result;
use crate::git::Objects;
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::Severity;
use crate::model::id::Id;
use crate::model::time::Time;
use crate::rules::fold::unfit;
use crate::store::entity::read_log;
use crate::store::index::Index;
use crate::store::log::Log;

/// The events of a clone, and those that arrive with the ones that are judged.
pub(crate) struct Arrivals<'f> {
    /// The log of an entity, with what arrives.
    pub log: &'f dyn Fn(&Entity) -> Result<Vec<Entry>>,
    /// Whether any event that arrives is like that.
    pub brings: &'f dyn Fn(IsLike<'_>) -> bool,
}

/// What an event must be like.
type IsLike<'t> = &'t dyn Fn(&Event) -> bool;

/// The logs of a clone that may lack some of what an author had seen.
struct Here<'f> {
    gate: &'f ArrivalGate<'f>,
    arrivals: &'f Arrivals<'f>,
    /// Whether events of other logs that are not here count as if they were.
    assumes: bool,
    /// One of them was asked for.
    lacks: Cell<bool>,
}

impl Here<'_> {
    fn or_assumed(&self, is_here: bool) -> bool {
        self.lacks.set(self.lacks.get() || !is_here);
        is_here || self.assumes
    }
}

impl Others for Here<'_> {
    fn entries(&self, entity: &Entity) -> Result<Vec<Entry>> {
        (self.arrivals.log)(entity)
    }

    fn has_thread(&self, thread: Id) -> Result<bool> {
        let is_here = (self.arrivals.brings)(&|event| opened(event) == Some(thread))
            || self.gate.index()?.parts("thread", &thread.to_string())?.iter().any(|(id, _)| *id == thread);
        Ok(self.or_assumed(is_here))
    }

    fn splits(&self, event: &Event) -> Result<bool> {
        let mut is_here = (self.arrivals.brings)(&|other| adds_part(other, event));
        let parts = match event.entity.task().filter(|_| !is_here) {
            Some(task) => self.gate.index()?.children(task)?,
            None => Vec::new(),
        };
        for part in parts {
            let log = self.entries(&Entity::Task(part))?;
            is_here |= log.iter().any(|entry| adds_part(&entry.event, event));
        }
        Ok(self.or_assumed(is_here))
    }
}

/// What may not be recorded of the new events of a log.
#[derive(Default)]
pub(crate) struct Verdicts {
    /// The events that are refused, with the reasons.
    pub refused: BTreeMap<Id, String>,
    /// Those that are permitted with an event of another log that is not here.
    pub waiting: BTreeSet<Id>,
}

enum Fault {
    Refused(String),
    Waits,
}

/// The rules of the commit that is checked out.
pub(crate) struct ArrivalGate<'a> {
    ws: &'a Workspace,
    roles: RolesAt<'a>,
    /// The keys of the work tree, for a plan without roles; read when a signed event arrives.
    keys: OnceCell<Keys>,
    /// Opened for the first event that depends on one of another log.
    index: OnceCell<Index>,
}

impl<'a> ArrivalGate<'a> {
    /// Reads the rules. Before the first commit every agent has all rights.
    ///
    /// Errors: `ERR_GIT` if the commit cannot be read.
    pub fn open(ws: &'a Workspace, objects: &'a Objects) -> Result<Self> {
        let head = objects.head()?.commit;
        let tree = head.map(|commit| objects.commit(commit)).transpose()?.map(|info| info.tree);
        let mut roles = RolesAt::read(objects, tree, &ws.store.name, "HEAD", ws.env.now())?;
        roles.judge_precedence_alone(Vec::new());
        Ok(ArrivalGate { ws, roles, keys: OnceCell::new(), index: OnceCell::new() })
    }

    /// What may not be recorded of the new events of a log. `here` holds the events that are here already.
    ///
    /// Errors: `ERR_IO`, `ERR_GIT` if rules or other logs cannot be read.
    pub fn judge(&self, entity: &Entity, here: &[Entry], new: &[Entry], arrivals: &Arrivals<'_>) -> Result<Verdicts> {
        let mut commands: Vec<Vec<Entry>> = Vec::new();
        let mut places: BTreeMap<(&str, Time), usize> = BTreeMap::new();
        for entry in new {
            let key = (entry.event.author.agent.as_str(), entry.event.at);
            let place = *places.entry(key).or_insert(commands.len());
            if place == commands.len() {
                commands.push(Vec::new());
            }
            commands[place].push(entry.clone());
        }
        let (mut accepted, mut verdicts) = (here.to_vec(), Verdicts::default());
        self.sift(entity, &mut accepted, &commands, arrivals, &mut verdicts)?;
        Ok(verdicts)
    }

    /// Adds what is permitted to a log: commands that break no rule together are not judged one by one.
    fn sift(
        &self,
        entity: &Entity,
        accepted: &mut Vec<Entry>,
        commands: &[Vec<Entry>],
        arrivals: &Arrivals<'_>,
        verdicts: &mut Verdicts,
    ) -> Result<()> {
        let events: Vec<Entry> = commands.iter().flatten().cloned().collect();
        let ids = events.iter().map(|entry| entry.event.id);
        match self.fault(entity, accepted, &events, arrivals)? {
            None => accepted.extend(events),
            Some(_) if commands.len() > 1 => {
                let (first, rest) = commands.split_at(commands.len() / 2);
                self.sift(entity, accepted, first, arrivals, verdicts)?;
                self.sift(entity, accepted, rest, arrivals, verdicts)?;
            }
            Some(Fault::Waits) => verdicts.waiting.extend(ids),
            Some(Fault::Refused(why)) => verdicts.refused.extend(ids.map(|id| (id, why.clone()))),
        }
        Ok(())
    }

    fn fault(&self, entity: &Entity, here: &[Entry], new: &[Entry], arrivals: &Arrivals<'_>) -> Result<Option<Fault>> {
        let known: BTreeSet<Id> = here.iter().map(|entry| entry.event.id).collect();
        let log = Log { entries: here.iter().chain(new).cloned().collect(), ..Log::default() };
        if let Some(finding) = unfit(entity, &log.entries, |id| !known.contains(&id)) {
            return Ok(Some(Fault::Refused(finding.message)));
        }
        let others = |assumes| Here { gate: self, arrivals, assumes, lacks: Cell::new(false) };
        let here = others(false);
        let Some(why) = self.refusal(entity, &log, &known, &here)? else { return Ok(None) };
        let waits = here.lacks.get() && self.refusal(entity, &log, &known, &others(true))?.is_none();
        Ok(Some(if waits { Fault::Waits } else { Fault::Refused(why) }))
    }

    fn refusal(&self, entity: &Entity, log: &Log, known: &BTreeSet<Id>, others: &Here<'_>) -> Result<Option<String>> {
        let path = log_path(&self.ws.store.name, entity);
        let mut found = self.roles.judge(entity, &path, log, known, others)?;
        let is_new = |entry: &Entry| !known.contains(&entry.event.id);
        if !self.roles.any() && log.entries.iter().any(|entry| is_new(entry) && entry.event.sig.is_some()) {
            found.extend(signed::judge(entity, &path, log, known, self.keys()?, Asks::Nothing));
        }
        Ok(found.into_iter().find(|finding| finding.severity == Severity::Error).map(|finding| finding.message))
    }

    fn index(&self) -> Result<&Index> {
        match self.index.get() {
            Some(index) => Ok(index),
            None => read::index(self.ws).map(|index| self.index.get_or_init(|| index)),
        }
    }

    fn keys(&self) -> Result<&Keys> {
        if let Some(keys) = self.keys.get() {
            return Ok(keys);
        }
        let mut keys = Keys::default();
        for name in read::agent_names(self.ws)? {
            keys.accept(&name, &read_log(&self.ws.store, &Entity::Agent(name.clone()))?.entries);
        }
        Ok(self.keys.get_or_init(|| keys))
    }
}
