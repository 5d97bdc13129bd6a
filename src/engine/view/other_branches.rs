//! Tasks as other branches have them by their commits, and other worktrees of the clone by their files.
//!
//! Guarantees that only events which this work tree lacks count, and that a state is ignored if another place has gone on from
//! it. Nothing is read before it is needed, and everything once.
//! Leaves to others: how branches are read (`branches`).

use std::collections::{BTreeSet, HashSet};

use super::branches::{Branches, state_of};
use super::{read, sparse};
use crate::engine::context::Workspace;
use crate::engine::context::runtime_place::OtherWorktree;
use crate::error::Result;
use crate::model::agent::RemoteState;
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

/// Maximum number of places that are shown for one task.
const SHOWN: usize = 20;

/// The place of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
enum StatePlace {
    Worktree(String),
    /// The branches, sorted.
    Branches(Vec<String>),
}

/// A task in another place.
#[derive(Clone, Debug)]
struct Variant {
    place: StatePlace,
    state: State,
    /// Whether the event that gave the status is here too, so that the state here follows it.
    is_known_here: bool,
}

impl Variant {
    fn is_taken(&self) -> bool {
        !self.is_known_here && (self.state.status == Status::InProgress || self.state.status.is_finished())
    }
}

/// The other branches and worktrees of a clone, each read when it is first needed.
pub(crate) struct OtherBranches<'a> {
    ws: &'a Workspace,
    worktrees: Option<Vec<(String, Store)>>,
    branches: Option<Option<Branches>>,
    warning: Option<String>,
    /// The tasks with a lease record.
    leased: Option<HashSet<Id>>,
    /// Whether only this branch and this worktree count.
    is_ignored: bool,
    /// Whether objects that a partial clone lacks are fetched.
    fetches: bool,
}

impl<'a> OtherBranches<'a> {
    /// The other branches and worktrees. Nothing is read yet.
    pub fn new(ws: &'a Workspace) -> Self {
        OtherBranches {
            ws,
            worktrees: None,
            branches: None,
            warning: None,
            leased: None,
            is_ignored: false,
            fetches: false,
        }
    }

    /// As [`OtherBranches::new`], for a caller that considers only this branch and this worktree.
    pub fn ignored(ws: &'a Workspace) -> Self {
        OtherBranches { is_ignored: true, ..Self::new(ws) }
    }

    /// Whether a task is taken or finished in another place, by events that this work tree lacks.
    ///
    /// Errors: `ERR_IO` if the other worktrees cannot be read.
    pub fn taken(&mut self, id: Id) -> Result<Option<Reason>> {
        let taken = self.variants(id)?.into_iter().find(Variant::is_taken);
        if taken.is_none() && !self.is_ignored {
            return self.finished_at_remote(id);
        }
        Ok(taken.map(|variant| {
            let (worktree, branch) = match variant.place {
                StatePlace::Worktree(name) => (Some(name), None),
                StatePlace::Branches(names) => (None, names.into_iter().next()),
            };
            Reason::Elsewhere { worktree, branch, status: variant.state.status, owner: variant.state.owner }
        }))
    }

    /// Whether the confirming remote had a task as finished when it was last seen, by an event that is not here.
    fn finished_at_remote(&mut self, id: Id) -> Result<Option<Reason>> {
        let Some(runtime) = self.ws.runtime().filter(|_| self.ws.lease_remote().is_some()) else { return Ok(None) };
        if self.leased.is_none() {
            self.leased = Some(records::leased_tasks(runtime)?.into_iter().collect());
        }
        if !self.leased.as_ref().is_some_and(|leased| leased.contains(&id)) {
            return Ok(None);
        }
        let mut record = records::lease(runtime, id)?;
        // A task that is held again is withheld by its lease.
        record.remote.take_if(|seen| seen.record.state == RemoteState::Held);
        if lease::finished_elsewhere(&record, |_| false).is_none() {
            return Ok(None);
        }
        let here = load_task(&self.ws.store, id, &[])?.log.entries;
        let knows = |event: Id| here.iter().any(|entry| entry.event.id == event);
        Ok(lease::finished_elsewhere(&record, knows).map(|end| Reason::Finished { by: end.agent.clone() }))
    }

    /// The states of a task in other places with events that are not here: one item for each place.
    ///
    /// Errors: as [`Elsewhere::taken`].
    pub fn states(&mut self, id: Id) -> Result<Vec<ElsewhereState>> {
        let mut items = Vec::new();
        for Variant { place, state, .. } in self.variants(id)? {
            let places: Vec<(Option<String>, Option<String>)> = match place {
                StatePlace::Worktree(name) => vec![(Some(name), None)],
                StatePlace::Branches(names) => names.into_iter().map(|name| (None, Some(name))).collect(),
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

    /// Reads the branches before a claim takes the lock, and fetches what a partial clone lacks.
    pub fn read_ahead(&mut self) {
        sparse::warn_of_left_out(self.ws);
        self.fetches = true;
        self.branches();
    }

    /// Why branches could not be read, or not all of them.
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

    /// The states of a task in places with events that are not here, worktrees first, without those that another place has gone
    /// on from.
    fn variants(&mut self, id: Id) -> Result<Vec<Variant>> {
        let mut found = Vec::new();
        if self.is_ignored {
            return Ok(found);
        }
        for (name, store) in self.worktrees()? {
            let log = read_log(store, &Entity::Task(id))?;
            if !log.entries.is_empty() {
                let state = state_of(id, &log.entries);
                found.push(Variant { place: StatePlace::Worktree(name.clone()), state, is_known_here: false });
            }
        }
        if let Some(branches) = self.branches() {
            let states = branches.states(id).into_iter();
            let variant = |(names, state)| Variant { place: StatePlace::Branches(names), state, is_known_here: false };
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
            variant.is_known_here = variant.state.since.is_none_or(|event| here.contains(&event));
        }
        let mut outdated = are_outdated(&found).into_iter();
        found.retain(|_| !outdated.next().unwrap_or_default());
        // A branch that is checked out in a worktree has the same state there.
        let mut known: Vec<Vec<Id>> = Vec::new();
        found.retain(|variant| match variant.place {
            StatePlace::Worktree(_) => {
                known.push(variant.state.heads.clone());
                true
            }
            StatePlace::Branches(_) => !known.contains(&variant.state.heads),
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
                self.ws.repo.as_ref().filter(|_| wanted.local || wanted.remote || self.ws.lease_git_remote().is_some());
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

/// For each variant, whether another one has all of its events, and more.
fn are_outdated(variants: &[Variant]) -> Vec<bool> {
    let known: Vec<HashSet<Id>> = variants.iter().map(|v| v.state.events.iter().copied().collect()).collect();
    let knows = |by: usize, of: usize| variants[of].state.heads.iter().all(|head| known[by].contains(head));
    let places = 0..variants.len();
    places.clone().map(|one| places.clone().any(|other| knows(other, one) && !knows(one, other))).collect()
}
