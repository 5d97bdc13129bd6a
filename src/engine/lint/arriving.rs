//! Judges single events that arrive from other clones by the commit that is checked out, as a branch is judged by its base.
//!
//! Guarantees the rules of `permitted` and `signed`; events of one command are judged together.
//! Leaves to others: what becomes of a refused event.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::others::Others;
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
use crate::store::log::Log;

/// The events of a clone.
type Logs<'f> = &'f dyn Fn(&Entity) -> Result<Vec<Entry>>;

/// The logs of a clone that may lack some of what an author had seen.
struct Here<'f>(Logs<'f>);

impl Others for Here<'_> {
    fn entries(&self, entity: &Entity) -> Result<Vec<Entry>> {
        (self.0)(entity)
    }

    fn has_thread(&self, _thread: Id) -> Result<bool> {
        Ok(true)
    }

    fn splits(&self, _event: &Event) -> Result<bool> {
        Ok(true)
    }
}

/// The rules of the commit that is checked out.
pub(crate) struct ArrivalGate<'a> {
    ws: &'a Workspace,
    roles: RolesAt<'a>,
    /// The keys of the work tree, for a plan without roles; read when a signed event arrives.
    keys: OnceCell<Keys>,
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
        Ok(ArrivalGate { ws, roles, keys: OnceCell::new() })
    }

    /// The new events of a log that are refused, with the reasons. `here` holds the events that are here already.
    ///
    /// Errors: `ERR_IO`, `ERR_GIT` if rules or other logs cannot be read.
    pub fn refusals(
        &self,
        entity: &Entity,
        here: &[Entry],
        new: &[Entry],
        other: Logs<'_>,
    ) -> Result<BTreeMap<Id, String>> {
        if self.fault(entity, here, new, other)?.is_none() {
            return Ok(BTreeMap::new());
        }
        let mut commands: Vec<((&str, Time), Vec<Entry>)> = Vec::new();
        for entry in new {
            let key = (entry.event.author.agent.as_str(), entry.event.at);
            match commands.iter_mut().find(|(other, _)| *other == key) {
                Some((_, events)) => events.push(entry.clone()),
                None => commands.push((key, vec![entry.clone()])),
            }
        }
        let mut accepted = here.to_vec();
        let mut refused = BTreeMap::new();
        for (_, events) in commands {
            match self.fault(entity, &accepted, &events, other)? {
                None => accepted.extend(events),
                Some(why) => refused.extend(events.iter().map(|entry| (entry.event.id, why.clone()))),
            }
        }
        Ok(refused)
    }

    fn fault(&self, entity: &Entity, here: &[Entry], new: &[Entry], other: Logs<'_>) -> Result<Option<String>> {
        let known: BTreeSet<Id> = here.iter().map(|entry| entry.event.id).collect();
        let log = Log { entries: here.iter().chain(new).cloned().collect(), ..Log::default() };
        if let Some(finding) = unfit(entity, &log.entries, |id| !known.contains(&id)) {
            return Ok(Some(finding.message));
        }
        let path = log_path(&self.ws.store.name, entity);
        let mut found = self.roles.judge(entity, &path, &log, &known, &Here(other))?;
        if !self.roles.any() && new.iter().any(|entry| entry.event.sig.is_some()) {
            found.extend(signed::judge(entity, &path, &log, &known, self.keys()?, Asks::Nothing));
        }
        Ok(found.into_iter().find(|finding| finding.severity == Severity::Error).map(|finding| finding.message))
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
