//! Where else a task is taken or finished: in other worktrees by their files, on other branches by their commits.
//!
//! Guarantees: what counts is what others know and this work tree does not; a state that another one has left behind does not.
//! Looks at nothing before it is asked, and at each thing once.
//! Leaves to others: how branches are read.

use std::collections::{BTreeSet, HashSet};

use super::branches::{Branches, state_of};
use super::{read, sparse};
use crate::engine::context::Workspace;
use crate::engine::context::runtime_place::OtherWorktree;
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::task::Status;
use crate::reports::view::ElsewhereState;
use crate::rules::lease;
use crate::rules::readiness::Reason;
use crate::runtime::records;
use crate::store::entity::{load_task, read_log};
use crate::store::facts::State;
use crate::store::layout::Store;

/// Most places that are shown of one task.
const SHOWN: usize = 20;

/// Where a state was found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Worktree(String),
    /// The branches, sorted.
    Branches(Vec<String>),
}

/// A task as another place knows it.
#[derive(Clone, Debug)]
struct Variant {
    place: Place,
    state: State,
    /// The event that gave the status is here too, so that what is here has gone on from it.
    is_seen: bool,
}

impl Variant {
    fn is_taken(&self) -> bool {
        !self.is_seen && (self.state.status == Status::InProgress || self.state.status.is_finished())
    }
}

/// The other worktrees and branches of a clone, looked at when they are first asked about.
pub(crate) struct Elsewhere<'a> {
    ws: &'a Workspace,
    worktrees: Option<Vec<(String, Store)>>,
    branches: Option<Option<Branches>>,
    warning: Option<String>,
    /// The tasks of which there is a record of a lease.
    leased: Option<HashSet<Id>>,
    /// Only what is here counts.
    blind: bool,
    /// What a partial clone left at its remote is fetched.
    fetches: bool,
}

/// The other worktrees and branches. Nothing is looked at yet.
pub(crate) fn elsewhere(ws: &Workspace) -> Elsewhere<'_> {
    Elsewhere { ws, worktrees: None, branches: None, warning: None, leased: None, blind: false, fetches: false }
}

/// As [`elsewhere`] for one who asked to look at this branch and this worktree alone.
pub(crate) fn nowhere_else(ws: &Workspace) -> Elsewhere<'_> {
    Elsewhere { blind: true, ..elsewhere(ws) }
}

impl Elsewhere<'_> {
    /// Where else a task is taken or finished, by events that this work tree does not have.
    ///
    /// Errors: `ERR_IO` where the other worktrees cannot be read.
    pub fn taken(&mut self, id: Id) -> Result<Option<Reason>> {
        let taken = self.variants(id)?.into_iter().find(Variant::is_taken);
        if taken.is_none() && !self.blind {
            return self.finished_at_remote(id);
        }
        Ok(taken.map(|variant| {
            let (worktree, branch) = match variant.place {
                Place::Worktree(name) => (Some(name), None),
                Place::Branches(names) => (None, names.into_iter().next()),
            };
            Reason::Elsewhere { worktree, branch, status: variant.state.status, owner: variant.state.owner }
        }))
    }

    /// Whether the remote that confirms leases was last seen to say that a task is finished, by an event that is not here.
    fn finished_at_remote(&mut self, id: Id) -> Result<Option<Reason>> {
        let Some(runtime) = self.ws.runtime().filter(|_| self.ws.lease_remote().is_some()) else { return Ok(None) };
        if self.leased.is_none() {
            self.leased = Some(records::leased_tasks(runtime)?.into_iter().collect());
        }
        if !self.leased.as_ref().is_some_and(|leased| leased.contains(&id)) {
            return Ok(None);
        }
        let record = records::lease(runtime, id)?;
        if lease::finished_elsewhere(&record, |_| false).is_none() {
            return Ok(None);
        }
        let here = load_task(&self.ws.store, id, &[])?.log.entries;
        let knows = |event: Id| here.iter().any(|entry| entry.event.id == event);
        Ok(lease::finished_elsewhere(&record, knows).map(|end| Reason::Finished { by: end.agent.clone() }))
    }

    /// The states of a task in other places that know events which are not here: one item for each place.
    ///
    /// Errors: as [`Elsewhere::taken`].
    pub fn states(&mut self, id: Id) -> Result<Vec<ElsewhereState>> {
        let mut items = Vec::new();
        for Variant { place, state, .. } in self.variants(id)? {
            let places: Vec<(Option<String>, Option<String>)> = match place {
                Place::Worktree(name) => vec![(Some(name), None)],
                Place::Branches(names) => names.into_iter().map(|name| (None, Some(name))).collect(),
            };
            items.extend(places.into_iter().map(|(worktree, branch)| ElsewhereState {
                worktree,
                branch,
                status: state.status,
                owner: state.owner.clone(),
                lamport: state.lamport,
                updated_at: state.updated_at,
            }));
        }
        items.truncate(SHOWN);
        Ok(items)
    }

    /// Looks at the branches now, for a change that takes work: nothing need be read under the lock, and what a partial clone
    /// left at its remote is fetched first.
    pub fn look(&mut self) {
        sparse::warn_of_left_out(self.ws);
        self.fetches = true;
        self.branches();
    }

    /// Why branches were not looked at, or not all of them.
    pub fn warning(&self) -> Option<String> {
        let looked_at = self.branches.as_ref().and_then(Option::as_ref);
        self.warning.clone().or_else(|| looked_at?.warning(&self.ws.store.name))
    }

    /// Adds the warning to the answer of the command.
    pub fn warn(&self) {
        if let Some(warning) = self.warning() {
            self.ws.notice(warning);
        }
    }

    /// What other places know of a task beyond what is here; worktrees first, and none that another one has left behind.
    fn variants(&mut self, id: Id) -> Result<Vec<Variant>> {
        let mut found = Vec::new();
        if self.blind {
            return Ok(found);
        }
        for (name, store) in self.worktrees()? {
            let log = read_log(store, &Entity::Task(id))?;
            if !log.entries.is_empty() {
                let state = state_of(id, &log.entries);
                found.push(Variant { place: Place::Worktree(name.clone()), state, is_seen: false });
            }
        }
        if let Some(branches) = self.branches() {
            let states = branches.states(id).into_iter();
            let variant = |(names, state)| Variant { place: Place::Branches(names), state, is_seen: false };
            found.extend(states.map(variant));
        }
        if found.is_empty() {
            return Ok(found);
        }
        let pending = read::pending(self.ws)?.remove(&Entity::Task(id)).unwrap_or_default();
        let here = load_task(&self.ws.store, id, &pending)?.log.entries;
        let here: BTreeSet<Id> = here.iter().map(|e| e.event.id).collect();
        found.retain(|variant| variant.state.heads.iter().any(|head| !here.contains(head)));
        for variant in &mut found {
            variant.is_seen = variant.state.since.is_none_or(|event| here.contains(&event));
        }
        let mut left_behind = left_behind(&found).into_iter();
        found.retain(|_| !left_behind.next().unwrap_or_default());
        // A branch that is checked out in a worktree says the same there.
        let mut known: Vec<Vec<Id>> = Vec::new();
        found.retain(|variant| match variant.place {
            Place::Worktree(_) => {
                known.push(variant.state.heads.clone());
                true
            }
            Place::Branches(_) => !known.contains(&variant.state.heads),
        });
        Ok(found)
    }

    fn worktrees(&mut self) -> Result<&[(String, Store)]> {
        if self.worktrees.is_none() {
            let mut stores = Vec::new();
            for OtherWorktree { top, .. } in self.ws.other_worktrees()? {
                let Ok(Some(store)) = Store::at(&top.join(&self.ws.store.name), &top) else { continue };
                let name =
                    top.file_name().map_or_else(|| top.display().to_string(), |n| n.to_string_lossy().into_owned());
                stores.push((name, store));
            }
            self.worktrees = Some(stores);
        }
        Ok(self.worktrees.as_deref().unwrap_or_default())
    }

    fn branches(&mut self) -> Option<&mut Branches> {
        if self.branches.is_none() {
            let wanted = &self.ws.settings.branches;
            let repo =
                self.ws.repo.as_ref().filter(|_| wanted.local || wanted.remote || self.ws.lease_remote().is_some());
            let opened = repo.map(|repo| Branches::open(self.ws, repo, self.fetches));
            self.branches = Some(match opened {
                Some(Ok(branches)) => Some(branches),
                Some(Err(e)) => {
                    self.warning = Some(format!("other branches were not looked at: {}", e.message));
                    None
                }
                None => None,
            });
        }
        self.branches.as_mut()?.as_mut()
    }
}

/// Of each variant, whether another one knows all of it, and more.
fn left_behind(variants: &[Variant]) -> Vec<bool> {
    let known: Vec<HashSet<Id>> = variants.iter().map(|v| v.state.events.iter().copied().collect()).collect();
    let knows = |by: usize, of: usize| variants[of].state.heads.iter().all(|head| known[by].contains(head));
    let places = 0..variants.len();
    places.clone().map(|one| places.clone().any(|other| knows(other, one) && !knows(one, other))).collect()
}
