//! What the rules of the plan ask of a transaction: tasks, leases, agents and sessions as they are after the emitted events.
//!
//! Leaves to others: adding events (`emit`) and choosing a task (`choice`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

use super::{RestingTask, Transaction};
use crate::engine::view::claimed_files;
use crate::engine::view::events;
use crate::engine::view::other_worktree;
use crate::engine::view::read::{self, one_of};
use crate::error::{Code, Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, RemoteRecord, Seen, Session};
use crate::model::args::Ref;
use crate::model::event::{Author, Entry};
use crate::model::id::{ABBREVIATION_MIN, Id, is_part, quoted};
use crate::model::overlap::FileClaim;
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::graph::{void_edges, void_pairs};
use crate::rules::held::is_held;
use crate::rules::lease;
use crate::rules::readiness::Viewer;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Grant, Part, Stage, TaskElsewhere};
use crate::runtime::records;
use crate::store::archive;
use crate::store::entity::load_agent;

impl Stage for Transaction<'_> {
    fn now(&self) -> Time {
        self.now
    }

    fn me(&self) -> &Author {
        &self.me
    }

    fn settings(&self) -> &Settings {
        &self.ws.settings
    }

    fn require(&mut self, verb: Verb) -> Result<()> {
        if self.ws.rights.0.is_none() {
            return Ok(());
        }
        let role = self.role()?;
        self.ws.rights.require(&self.me.agent, role.as_deref(), verb)
    }

    fn require_for(&mut self, other: &str, verb: Verb) -> Result<()> {
        self.ws.check_may_act_for(&self.me.agent, other)?;
        self.require(verb)
    }

    fn new_id(&mut self) -> Result<Id> {
        self.ws.env.new_id()
    }

    fn task_id(&mut self, reference: &Ref) -> Result<Id> {
        if let Some(name) = reference.0.strip_prefix('$') {
            return self.names.get(name).copied().ok_or_else(|| {
                Error::not_found(format!("no earlier step is named {}", quoted(name)))
                    .hint("a name is given with \"as\"")
            });
        }
        if let Ok(id) = reference.0.parse::<Id>()
            && (self.tasks.contains_key(&id) || self.resting.contains_key(&id))
        {
            return Ok(id);
        }
        self.source.map_or_else(|| read::resolve(self.ws, reference), |source| source.resolve(reference))
    }

    fn part(&mut self, reference: &Ref, part: Part) -> Result<(Id, Id)> {
        let (kind, called) = match part {
            Part::Progress => ("progress", "progress item"),
            Part::Context => ("context", "context entry"),
            Part::Thread => ("thread", "thread"),
            Part::Message => ("message", "message"),
            Part::Relationship => ("relationship", "relationship"),
        };
        let text = match reference.0.strip_prefix('$') {
            Some(_) => self.task_id(reference)?.to_string(),
            None => reference.0.to_ascii_uppercase(),
        };
        let ws = self.ws;
        let unknown = || {
            Error::not_found(format!("no {called} is called {}", quoted(&reference.0))).hint(
                other_worktree::hint(ws, &text).unwrap_or_else(|| "agentpm task get shows the ids of its parts".into()),
            )
        };
        if !is_part(&text) {
            return Err(unknown());
        }
        let mut found: BTreeMap<Id, Id> = self.index()?.parts(kind, &text)?.into_iter().collect();
        // The id of a new part is that of its event.
        let emitted = self.entries.iter().filter(|_| !self.resting.is_empty()).map(|entry| &entry.event);
        let resting: BTreeSet<Id> =
            emitted.filter(|event| event.id.has_part(&text)).filter_map(|event| event.entity.task()).collect();
        for id in resting {
            self.load(id)?;
        }
        for slot in self.tasks.values() {
            let ids: Vec<Id> = match part {
                Part::Progress => slot.task.progress.keys().copied().collect(),
                Part::Context => slot.task.context.keys().copied().collect(),
                Part::Thread => slot.task.threads.keys().copied().collect(),
                Part::Message => slot.task.message_ids().collect(),
                Part::Relationship => slot.task.relationships.keys().copied().collect(),
            };
            found.extend(ids.into_iter().filter(|id| id.has_part(&text)).map(|id| (id, slot.task.id)));
        }
        let id = one_of(found.keys().copied().collect(), reference)?.ok_or_else(unknown)?;
        Ok((found[&id], id))
    }

    fn task(&mut self, id: Id) -> Result<Rc<Task>> {
        if !self.load(id)? {
            return Err(
                Error::not_found(format!("there is no task {id}")).hint("agentpm task list --all shows all tasks")
            );
        }
        Ok(Rc::clone(&self.tasks[&id].task))
    }

    fn exists(&mut self, id: Id) -> Result<bool> {
        self.load(id)
    }

    fn is_dropped(&mut self, id: Id) -> Result<bool> {
        Ok(archive::archived(&self.ws.store)?.dropped.contains_key(&id))
    }

    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool> {
        self.default_branch.has_landed(id, at)
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let from_index = match self.source.map(|source| source.children(id)).transpose()?.flatten() {
            Some(ids) => ids,
            None => self.index()?.children(id)?,
        };
        let on_stage = self.children.get(&id).cloned();
        let held = |resting: &RestingTask| resting.parent == Some(id);
        Ok(self.merged(from_index, on_stage, |task| task.parent() == Some(id), held))
    }

    fn dependents(&mut self, id: Id) -> Result<Vec<Id>> {
        let from_index = match self.source.map(|source| source.dependents(id)).transpose()?.flatten() {
            Some(ids) => ids,
            None => self.index()?.dependents(id)?,
        };
        let on_stage = self.dependents.get(&id).cloned();
        let held = |resting: &RestingTask| resting.blockers.contains(&id);
        Ok(self.merged(from_index, on_stage, |task| task.blockers().contains(&id), held))
    }

    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>> {
        if let Some(void) = &self.void {
            return Ok(Rc::clone(void));
        }
        let edges = if self.source.is_some() { Vec::new() } else { self.index()?.open_edges()? };
        let void = Rc::new(void_pairs(&edges, &void_edges(&edges)));
        self.void = Some(Rc::clone(&void));
        Ok(void)
    }

    fn viewer(&mut self) -> Result<Viewer> {
        let role = if self.ws.rights.0.is_none() { None } else { self.role()? };
        Ok(Viewer {
            me: Some(self.me.clone()),
            role,
            rights: self.ws.rights.clone(),
            max_attempts: self.ws.settings.claim.max_attempts,
        })
    }

    fn may_follow(&mut self, id: Id) -> bool {
        let broken = match self.left_alone.contains(&id) {
            true => None,
            false => match self.load(id) {
                Err(e) if e.code == Code::Corrupt => Some(e),
                // The next reader of the task reports any other error.
                _ => return true,
            },
        };
        self.left_out.insert(id, broken);
        false
    }

    fn event(&mut self, reference: &Ref) -> Result<(Id, Id)> {
        match self.prepared.as_ref().and_then(|prepared| prepared.event) {
            Some(found) => Ok(found),
            None => events::find_event(self.ws, reference),
        }
    }

    fn history(&mut self, task: Id) -> Result<Vec<Entry>> {
        let known = self.load(task)?;
        let slot = known.then(|| self.tasks.get(&task)).flatten();
        let mut entries = slot.map(|slot| slot.log.entries.clone()).unwrap_or_default();
        entries.extend(self.emitted(task).cloned());
        Ok(entries)
    }

    fn lease(&mut self, task: Id) -> Result<LeaseRecord> {
        if let Some(record) = self.leases.get(&task) {
            return Ok(record.clone());
        }
        let mut record = records::lease(self.runtime, task)?;
        self.wake(task)?;
        if let Some(slot) = self.tasks.get(&task) {
            lease::merge_log_grants(&mut record, &slot.task, slot.log.entries.iter(), self.now);
        }
        if self.replies.as_ref().is_some_and(|replies| replies.gone.contains(&task)) {
            lease::forget(&mut record);
        }
        if let Some(seen) = self.replies.as_ref().and_then(|replies| replies.seen.get(&task)) {
            if record.remote.as_ref().is_some_and(|old| old.oid != seen.oid) {
                // A remote that was set back shows an older record; the fences after it were granted.
                lease::forget(&mut record);
            }
            // An unchanged record keeps the time at which it was first seen.
            let old = record.remote.as_ref().filter(|old| old.oid == seen.oid);
            let (at, over) = old.map_or((seen.at, seen.over), |old| (old.at.min(seen.at), old.over.max(seen.over)));
            record.remote = Some(Seen { at, over, ..seen.clone() });
        }
        lease::merge_remote_record(&mut record);
        Ok(record)
    }

    fn asks_remote(&self) -> bool {
        self.replies.is_some()
    }

    fn unseen_holder(&mut self, task: Id) -> Result<Option<String>> {
        let Some(replies) = &self.replies else { return Ok(None) };
        if let Some(holder) = replies.overridden.get(&task) {
            return Ok(Some(holder.clone()));
        }
        let Some(seen) = self.lease(task)?.remote.filter(|seen| !seen.ours) else { return Ok(None) };
        Ok((seen.record.fence > self.known_fence(task)?).then_some(seen.record.agent))
    }

    fn grant(&mut self, task: Id) -> Option<Grant> {
        self.replies.as_ref()?.grants.get(&task).cloned()
    }

    fn finished_elsewhere(&mut self, task: Id) -> Result<Option<(RemoteRecord, bool)>> {
        let record = self.lease(task)?;
        let known = self.load(task)?.then(|| self.tasks.get(&task)).flatten();
        // This command is about to write the end that it reported to the remote.
        let chosen = self.replies.as_ref().and_then(|replies| replies.chosen.get(&task)).copied();
        let knows = |event: Id| {
            chosen == Some(event) || known.is_some_and(|slot| slot.log.entries.iter().any(|e| e.event.id == event))
        };
        let Some(end) = lease::finished_elsewhere(&record, knows).cloned() else { return Ok(None) };
        let is_ours = records::clone_id(self.runtime)? == Some(end.clone);
        Ok(Some((end, is_ours)))
    }

    fn known_fence(&mut self, task: Id) -> Result<u64> {
        Ok(if self.load(task)? { lease::highest_fence(task, self.tasks[&task].log.entries.iter()) } else { 0 })
    }

    fn is_contested(&mut self, task: Id, lease: &Lease) -> Result<bool> {
        if !self.load(task)? {
            return Ok(false);
        }
        let log = &self.tasks[&task].log.entries;
        Ok(lease::is_contested(lease, log.iter().chain(&self.entries)))
    }

    fn held_in(&mut self, session: Id) -> Result<Vec<Id>> {
        let mut held = Vec::new();
        for task in self.leased_tasks()? {
            if self.lease(task)?.lease.is_some_and(|lease| lease.session == Some(session)) {
                held.push(task);
            }
        }
        Ok(held)
    }

    fn leased_task(&mut self, reference: &Ref) -> Result<Id> {
        match self.task_id(reference) {
            Err(e) if e.code == Code::NotFound => {}
            other => return other,
        }
        let gone = || {
            Error::new(Code::LeaseLost, format!("no lease or task is called {}", quoted(&reference.0)))
                .hint("agentpm lease list shows the live leases")
        };
        if reference.0.len() < ABBREVIATION_MIN {
            return Err(gone());
        }
        let part = reference.0.to_ascii_uppercase();
        let mut found = BTreeMap::new();
        for task in self.leased_tasks()? {
            if let Some(lease) = self.lease(task)?.lease.filter(|lease| lease.id.has_part(&part)) {
                found.insert(lease.id, task);
            }
        }
        let lease = one_of(found.keys().copied().collect(), reference)?.ok_or_else(gone)?;
        Ok(found[&lease])
    }

    fn held(&mut self) -> Result<Vec<Id>> {
        let me = self.me.clone();
        let mut among: BTreeSet<Id> = self.index()?.in_progress_of(&me.agent)?.into_iter().collect();
        // What was claimed in another worktree is in progress there, by files that are not here.
        among.extend(self.leased_tasks()?);
        among.extend(self.tasks.keys());
        let mut held = Vec::new();
        // A task that rests is finished.
        among.retain(|id| !self.resting.contains_key(id));
        for id in among {
            if !self.tasks.contains_key(&id) {
                // Few of the tasks that ever had a lease are read.
                let is_over = self.index()?.status(id)?.is_none_or(Status::is_finished);
                if is_over || self.lease(id)?.lease.is_some_and(|lease| !lease::is_holder(&lease, &me)) {
                    continue;
                }
                if !self.load(id)? {
                    continue;
                }
            }
            let (record, task) = (self.lease(id)?, &self.tasks[&id].task);
            if is_held(task.status, task.owner.as_deref(), &record, &me, self.now) {
                held.push(id);
            }
        }
        Ok(held)
    }

    fn handle(&mut self, id: Id) -> Result<String> {
        read::handle(self.ws, id)
    }

    fn lost(&mut self) -> Result<Option<Error>> {
        let me = self.me.clone();
        for task in self.leased_tasks()? {
            if self.resting.contains_key(&task) {
                continue;
            }
            self.load(task)?;
            let record = self.lease(task)?;
            let refusal = lease::lost_refusal(task, &record, &me);
            if refusal.is_some() && self.tasks.get(&task).is_none_or(|slot| !slot.task.status.is_finished()) {
                return Ok(refusal);
            }
        }
        Ok(None)
    }

    fn overlaps(&mut self, task: Id, files: &[String]) -> Result<Vec<FileClaim>> {
        let ws = self.ws;
        if files.is_empty() { Ok(Vec::new()) } else { claimed_files::overlaps(ws, self.index()?, task, files) }
    }

    fn best_ready(&mut self, here: bool) -> Result<Option<Id>> {
        self.choose(here)
    }

    fn taken_elsewhere(&mut self, task: Id) -> Result<Option<TaskElsewhere>> {
        let taken = self.elsewhere.taken(task)?;
        Ok(taken.map(|reason| TaskElsewhere { words: reason.words(), facts: json!(reason) }))
    }

    fn agent(&mut self, name: &str) -> Result<Agent> {
        if let Some((agent, _)) = self.agents.get(name) {
            return Ok(agent.clone());
        }
        let (agent, log, _) = load_agent(&self.ws.store, name)?;
        self.agents.insert(name.to_owned(), (agent.clone(), log));
        Ok(agent)
    }

    fn has_role(&mut self, role: &str) -> Result<bool> {
        for name in read::agent_names(self.ws)? {
            if self.agent(&name)?.role.as_deref() == Some(role) {
                return Ok(true);
            }
        }
        Ok(self.agents.values().any(|(agent, _)| agent.role.as_deref() == Some(role)))
    }

    fn session(&mut self, reference: &Ref) -> Result<Session> {
        let unknown = || {
            Error::not_found(format!("there is no session {}", quoted(&reference.0)))
                .hint("begin one: agentpm session start")
        };
        let id = match reference.0.parse::<Id>() {
            Ok(id) => id,
            Err(_) if reference.0.len() < ABBREVIATION_MIN => return Err(unknown()),
            Err(_) => {
                let all = records::sessions(self.runtime)?;
                one_of(all.into_iter().filter(|id| id.has_part(&reference.0)).collect(), reference)?
                    .ok_or_else(unknown)?
            }
        };
        self.session_by_id(id)?.ok_or_else(unknown)
    }

    fn name(&mut self, name: &str, id: Id) -> Result<()> {
        if self.names.insert(name.to_owned(), id).is_some() {
            return Err(Error::usage(format!("two steps are named {}", quoted(name))));
        }
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn emit(&mut self, draft: Draft) -> Result<Id> {
        self.append(draft)
    }
}
