//! The stage of one command: the plan as its files record it, with the events that the command has emitted so far.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

use super::confirmation::RemoteReplies;
use super::keys;
use crate::engine::context::Workspace;
use crate::engine::view::elsewhere::Elsewhere;
use crate::engine::view::events;
use crate::engine::view::read::{self, one_of, touched_since};
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, RemoteRecord, Seen, Session};
use crate::model::args::Ref;
use crate::model::event::{Author, ENVELOPE_VERSION, Entity, Entry, Event, MAX_CLOCK, MAX_LAMPORT};
use crate::model::finding::Rule;
use crate::model::id::{ABBREVIATION_MIN, HANDLE_MIN, Id, is_part, quoted};
use crate::model::payload::{Payload, SessionEnded};
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::decide::unready;
use crate::rules::graph::{void_edges, void_pairs};
use crate::rules::readiness::{Reason, Viewer, leased};
use crate::rules::roles::Verb;
use crate::rules::signature::SecretKey;
use crate::rules::stage::{Draft, Grant, Part, Stage, TaskElsewhere};
use crate::rules::{fold, lease, session};
use crate::runtime::records;
use crate::store::entity::{LoadedTask, load_agent, load_task};
use crate::store::index::{Index, Pending};
use crate::store::log::Log;

/// Maximum number of parents that one event names.
const MAX_PARENTS: usize = 500;

/// A task on the stage: its state after the emitted events, and its log as it was read.
pub(crate) struct OnStage {
    pub task: Rc<Task>,
    pub log: Log,
    pub changed: bool,
}

/// A read model taken before the lock, and how long the journal was then.
pub(crate) struct PreparedIndex {
    pub index: Index,
    pub journal_end: u64,
    /// The ready tasks, best first, for a claim of any.
    pub ranking: Vec<Id>,
    /// The event that the command names, with its task.
    pub event: Option<(Id, Id)>,
}

/// A plan that is not, or not only, in the files of the work tree.
pub(crate) trait Source {
    /// A task with its log; with no events where there is none.
    fn load(&self, id: Id) -> Result<LoadedTask>;
    /// The task that a whole id, a part of one or a handle means.
    fn resolve(&self, reference: &Ref) -> Result<Id>;
    /// The tasks that have this one as parent; `None` where the read model knows them.
    fn children(&self, id: Id) -> Result<Option<Vec<Id>>>;
    /// The tasks that this one blocks; `None` where the read model knows them.
    fn dependents(&self, id: Id) -> Result<Option<Vec<Id>>>;
}

/// The stage of a command that runs under the lock, or of one that is only tried.
pub(crate) struct Transaction<'a> {
    pub(crate) ws: &'a Workspace,
    pub runtime: &'a Dir,
    me: Author,
    /// The key that signs the actor's events, once it was looked for.
    key: Option<Option<SecretKey>>,
    pub(crate) role: Option<Option<String>>,
    /// Where the plan is, if not in the files of the work tree alone.
    pub source: Option<&'a dyn Source>,
    now: Time,
    lamport: u64,
    pub tasks: BTreeMap<Id, OnStage>,
    pub agents: BTreeMap<String, (Agent, Log)>,
    pub leases: BTreeMap<Id, LeaseRecord>,
    pub sessions: BTreeMap<Id, Session>,
    /// All that was emitted, in order.
    pub entries: Vec<Entry>,
    /// Warnings.
    pub warnings: Vec<String>,
    names: BTreeMap<String, Id>,
    /// The relationships that were emitted, by their parent and by their blocker.
    pub children: BTreeMap<Id, BTreeSet<Id>>,
    pub dependents: BTreeMap<Id, BTreeSet<Id>>,
    pub prepared: Option<PreparedIndex>,
    pub elsewhere: Elsewhere<'a>,
    /// The read model was updated with the writes of others since it was prepared.
    pub caught_up: bool,
    /// The replies of the confirming remote so far; `None` if no remote is to be asked.
    pub said: Option<RemoteReplies>,
    /// What the actor has seen of a task's log, where that is less than all of it: the events a hand edit follows upon.
    pub seen: BTreeMap<Id, Vec<Id>>,
    /// Tasks that are not handed out, because their files hold words that must not be overwritten.
    pub passed_over: BTreeSet<Id>,
    /// Tasks into which nothing is written that only follows from a change of others, and those where that came up.
    pub left_alone: BTreeSet<Id>,
    pub left_out: BTreeMap<Id, Option<Error>>,
    /// Hand edits that were recorded: the bytes of the file, and what was changed, in words.
    pub taken_in: BTreeMap<Id, (Vec<u8>, String)>,
    /// The bytes of files that hold no words of a person.
    pub unedited: BTreeMap<Id, Vec<u8>>,
    /// The leases under which something happened, with the time until which they hold.
    pub under: BTreeMap<Id, Time>,
    /// Kind and ends of the edges that do not count, once they were asked for.
    void: Option<Rc<BTreeSet<(RelationType, Id, Id)>>>,
    /// Why tasks that were ready before the lock were not handed out.
    pub passed: BTreeMap<Id, Reason>,
    /// A lease that is known from the remote kept a task from being handed out.
    pub waits_for_remote: bool,
}

impl<'a> Transaction<'a> {
    pub fn new(
        ws: &'a Workspace,
        runtime: &'a Dir,
        me: Author,
        lamport: u64,
        prepared: Option<PreparedIndex>,
        elsewhere: Elsewhere<'a>,
    ) -> Self {
        Transaction {
            ws,
            runtime,
            me,
            key: None,
            role: None,
            source: None,
            now: ws.env.now(),
            lamport,
            tasks: BTreeMap::new(),
            agents: BTreeMap::new(),
            leases: BTreeMap::new(),
            sessions: BTreeMap::new(),
            entries: Vec::new(),
            warnings: Vec::new(),
            names: BTreeMap::new(),
            children: BTreeMap::new(),
            dependents: BTreeMap::new(),
            prepared,
            elsewhere,
            caught_up: false,
            said: None,
            seen: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            left_alone: BTreeSet::new(),
            left_out: BTreeMap::new(),
            taken_in: BTreeMap::new(),
            unedited: BTreeMap::new(),
            under: BTreeMap::new(),
            void: None,
            passed: BTreeMap::new(),
            waits_for_remote: false,
        }
    }

    /// Adds the replies of the remote.
    pub fn merge_replies(&mut self, said: RemoteReplies) {
        self.now = said.now;
        self.lamport = self.lamport.max(said.lamport());
        self.said = Some(said);
    }

    /// The greatest Lamport time given out.
    pub fn lamport(&self) -> u64 {
        self.lamport
    }

    /// The present read model: created if there is none yet, or updated with the writes of others since it was prepared.
    fn index(&mut self) -> Result<&Index> {
        if self.prepared.is_none() {
            let index = read::index_for_write(self.ws)?;
            self.prepared = Some(PreparedIndex { index, journal_end: 0, ranking: Vec::new(), event: None });
            self.caught_up = true;
        }
        let (ws, runtime) = (self.ws, self.runtime);
        // Made just above where it was missing.
        let prepared = self.prepared.as_mut().expect("the index is prepared");
        if !self.caught_up {
            let touched = touched_since(ws, runtime, prepared.journal_end)?;
            match touched {
                Some(ids) => prepared.index.overlay(&ws.store, &ids, &Pending::new(), read::tick())?,
                None => prepared.index = read::index_for_write(ws)?,
            }
            self.caught_up = true;
        }
        Ok(&prepared.index)
    }

    fn key(&mut self) -> Result<Option<&SecretKey>> {
        if self.key.is_none() {
            self.key = Some(keys::key_of(self.ws, &self.me.agent, self.runtime)?);
        }
        Ok(self.key.as_ref().and_then(Option::as_ref))
    }

    /// The event as its line, signed where the actor has a key. What a key signs is bound to the event that registered it.
    fn signed(&mut self, event: Event) -> Result<Entry> {
        if event.payload.journal_only() {
            return Entry::new(event);
        }
        if self.key()?.is_none() {
            let next = match &event.payload {
                Payload::AgentRegistered(p) | Payload::AgentUpdated(p) => p.public_key.as_deref(),
                _ => None,
            };
            let own = next.filter(|_| event.entity == Entity::Agent(self.me.agent.clone()));
            let next = own.map(|key| keys::kept_key(&self.me.agent, self.runtime, key)).transpose()?.flatten();
            return next.map_or_else(|| Entry::new(event.clone()), |key| key.sign(event.clone(), event.id));
        }
        let agent = self.agent(&self.me.agent.clone())?;
        let Some(key) = self.key()? else { return Entry::new(event) };
        let registered = agent.key_since.filter(|_| agent.public_key.as_ref() == Some(&key.public()));
        let id = event.id;
        key.sign(event, registered.map_or(id, |stamp| stamp.id))
    }

    fn role(&mut self) -> Result<Option<String>> {
        if self.role.is_none() {
            self.role = Some(load_agent(&self.ws.store, &self.me.agent)?.0.role);
        }
        Ok(self.role.clone().flatten())
    }

    /// What the actor's word counts, for its events to record.
    fn precedence(&mut self) -> Result<Option<i64>> {
        if self.ws.rights.0.is_none() {
            return Ok(None);
        }
        let role = self.role()?;
        Ok(self.ws.rights.precedence(&self.me.agent, role.as_deref()))
    }

    /// Brings a task onto the stage that must be there.
    pub(crate) fn load_known(&mut self, id: Id) -> Result<()> {
        self.task(id).map(|_| ())
    }

    fn load(&mut self, id: Id) -> Result<bool> {
        if self.tasks.contains_key(&id) {
            return Ok(true);
        }
        let loaded = match self.source {
            Some(source) => source.load(id)?,
            None => load_task(&self.ws.store, id, &[])?,
        };
        if loaded.task.version == 0 && loaded.log.entries.is_empty() && !loaded.log.fixed {
            return Ok(false);
        }
        if loaded.log.fixed {
            let finding = loaded.findings.iter().find(|f| matches!(f.rule, Rule::LogLine | Rule::OddFile));
            let (path, line) = finding.map_or((None, None), |f| (f.path.as_deref(), f.line));
            let place = format!("{}{}", path.unwrap_or("its log"), line.map(|n| format!(":{n}")).unwrap_or_default());
            let why = finding.map_or("it cannot be read whole", |f| &f.message);
            return Err(Error::new(Code::Corrupt, format!("{place} keeps task {id} from being changed: {why}"))
                .with(json!({ "task": id, "path": path, "line": line }))
                .hint("agentpm lint lists all faults; nothing was changed"));
        }
        self.tasks.insert(id, OnStage { task: Rc::new(loaded.task), log: loaded.log, changed: false });
        Ok(true)
    }

    /// Tasks that an index answer and the stage's own changes give together, if `holds` is still true of them.
    fn merged(
        &mut self,
        from_index: Vec<Id>,
        on_stage: Option<BTreeSet<Id>>,
        holds: impl Fn(&Task) -> bool,
    ) -> Vec<Id> {
        let all: BTreeSet<Id> = from_index.into_iter().chain(on_stage.into_iter().flatten()).collect();
        all.into_iter().filter(|id| self.tasks.get(id).is_none_or(|slot| holds(&slot.task))).collect()
    }

    fn put_task(&mut self, id: Id, entry: Entry) -> Result<()> {
        if !self.load(id)? {
            self.tasks.insert(id, OnStage { task: Rc::new(Task::blank(id)), log: Log::default(), changed: false });
        }
        // Loaded or made just above.
        let slot = self.tasks.get_mut(&id).expect("the task is on the stage");
        let finding = if fold::is_plain(&slot.task, &entry.event) {
            fold::apply(Rc::make_mut(&mut slot.task), &entry.event)
        } else {
            let is_here = |e: &&Entry| e.event.entity == entry.event.entity && !e.event.payload.journal_only();
            let new = self.entries.iter().filter(is_here).chain([&entry]);
            let (task, findings) = fold::fold(id, slot.log.entries.iter().chain(new));
            slot.task = Rc::new(task);
            findings.into_iter().find(|one| one.event == Some(entry.event.id) && one.rule != Rule::LogGap)
        };
        if let Some(finding) = finding.filter(|finding| finding.rule != Rule::EventTime) {
            return Err(Error::state(finding.message).with(json!({ "task": id })));
        }
        slot.changed = true;
        match &entry.event.payload {
            Payload::RelationshipAdded(p) if p.kind == RelationType::ParentOf => {
                self.children.entry(p.from).or_default().insert(p.to);
            }
            Payload::RelationshipAdded(p) if p.kind == RelationType::Blocks => {
                self.dependents.entry(p.from).or_default().insert(p.to);
            }
            _ => {}
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Parents of the next event of an entity, and the Lamport time below which it may not be.
    fn heads(&mut self, entity: &Entity) -> Result<(Vec<Id>, u64)> {
        match entity {
            Entity::Task(id) => {
                let known = self.load(*id)?;
                let slot = known.then(|| self.tasks.get(id)).flatten();
                // A log with more ends than an event can name is brought together by several events.
                let some = |slot: &OnStage| slot.task.heads.iter().rev().take(MAX_PARENTS).rev().copied().collect();
                Ok(slot.map_or((Vec::new(), 0), |slot| (some(slot), slot.task.lamport)))
            }
            Entity::Agent(name) => {
                let agent = self.agent(name)?;
                Ok((agent.heads, agent.lamport))
            }
            Entity::Session(_) => Ok((Vec::new(), 0)),
        }
    }

    fn session_by_id(&mut self, id: Id) -> Result<Option<Session>> {
        if let Some(session) = self.sessions.get(&id) {
            return Ok(Some(session.clone()));
        }
        records::session(self.runtime, id)
    }

    /// All tasks of which a lease was ever granted.
    fn leased_tasks(&self) -> Result<BTreeSet<Id>> {
        Ok(records::leased_tasks(self.runtime)?.into_iter().collect())
    }

    /// Applies an event to the sessions that it names.
    fn put_sessions(&mut self, event: &Event) -> Result<()> {
        for id in session::concerned(event) {
            let known = self.session_by_id(id)?;
            if let Some(session) = session::after(known, id, event) {
                self.sessions.insert(id, session);
            }
        }
        Ok(())
    }

    /// Ends the sessions that have not been heard of for too long. The one that asks is alive.
    pub fn close_silent(&mut self) -> Result<()> {
        let limit = self.ws.settings.session.limit_ms();
        for id in records::active_sessions(self.runtime)? {
            // A record that cannot be read is doctor's to name; it must not keep others from their work.
            let Ok(Some(known)) = self.session_by_id(id) else { continue };
            if Some(id) != self.me.session && session::is_silent(&known, self.now, limit) {
                let payload = Payload::SessionEnded(SessionEnded { silent: Some(true) });
                self.emit(Draft { entity: Entity::Session(id), payload, why: None, fence: None })?;
            }
        }
        Ok(())
    }
}

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
            && self.tasks.contains_key(&id)
        {
            return Ok(id);
        }
        self.source.map_or_else(|| read::resolve(self.ws, reference), |source| source.resolve(reference))
    }

    fn part(&mut self, reference: &Ref, part: Part) -> Result<(Id, Id)> {
        let (kind, called) = match part {
            Part::Progress => ("progress", "progress item"),
            Part::Context => ("context", "context entry"),
        };
        let text = match reference.0.strip_prefix('$') {
            Some(_) => self.task_id(reference)?.to_string(),
            None => reference.0.to_ascii_uppercase(),
        };
        let unknown = || {
            Error::not_found(format!("no {called} is called {}", quoted(&reference.0)))
                .hint("agentpm task get shows the ids of its parts")
        };
        if !is_part(&text) {
            return Err(unknown());
        }
        let fits = |id: &Id| id.to_string().starts_with(&text) || id.to_string().ends_with(&text);
        let mut found: BTreeMap<Id, Id> = self.index()?.parts(kind, &text)?.into_iter().collect();
        for slot in self.tasks.values() {
            let ids: Vec<Id> = match part {
                Part::Progress => slot.task.progress.keys().copied().collect(),
                Part::Context => slot.task.context.keys().copied().collect(),
            };
            found.extend(ids.into_iter().filter(&fits).map(|id| (id, slot.task.id)));
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

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        let from_index = match self.source.map(|source| source.children(id)).transpose()?.flatten() {
            Some(ids) => ids,
            None => self.index()?.children(id)?,
        };
        let on_stage = self.children.get(&id).cloned();
        Ok(self.merged(from_index, on_stage, |task| task.parent() == Some(id)))
    }

    fn dependents(&mut self, id: Id) -> Result<Vec<Id>> {
        let from_index = match self.source.map(|source| source.dependents(id)).transpose()?.flatten() {
            Some(ids) => ids,
            None => self.index()?.dependents(id)?,
        };
        let on_stage = self.dependents.get(&id).cloned();
        Ok(self.merged(from_index, on_stage, |task| task.blockers().contains(&id)))
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
        Ok(Viewer { me: Some(self.me.clone()), role, rights: self.ws.rights.clone() })
    }

    fn may_follow(&mut self, id: Id) -> bool {
        let broken = match self.left_alone.contains(&id) {
            true => None,
            false => match self.load(id) {
                Err(e) if e.code == Code::Corrupt => Some(e),
                // Anything else is reported by its reader.
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
        let new = self.entries.iter().filter(|e| !e.event.payload.journal_only());
        entries.extend(new.filter(|e| e.event.entity == Entity::Task(task)).cloned());
        Ok(entries)
    }

    fn lease(&mut self, task: Id) -> Result<LeaseRecord> {
        if let Some(record) = self.leases.get(&task) {
            return Ok(record.clone());
        }
        let mut record = records::lease(self.runtime, task)?;
        if let Some(slot) = self.tasks.get(&task) {
            lease::merge_log_grants(&mut record, &slot.task, slot.log.entries.iter(), self.now);
        }
        if self.said.as_ref().is_some_and(|said| said.gone.contains(&task)) {
            lease::forget(&mut record);
        }
        if let Some(seen) = self.said.as_ref().and_then(|said| said.seen.get(&task)) {
            // What stood there before stands since then.
            let old = record.remote.as_ref().filter(|old| old.oid == seen.oid);
            let (at, over) = old.map_or((seen.at, seen.over), |old| (old.at, old.over.max(seen.over)));
            record.remote = Some(Seen { at, over, ..seen.clone() });
        }
        lease::merge_remote_record(&mut record);
        Ok(record)
    }

    fn asks_remote(&self) -> bool {
        self.said.is_some()
    }

    fn grant(&mut self, task: Id) -> Option<Grant> {
        self.said.as_ref()?.grants.get(&task).cloned()
    }

    fn finished_elsewhere(&mut self, task: Id) -> Result<Option<(RemoteRecord, bool)>> {
        let record = self.lease(task)?;
        let known = self.load(task)?.then(|| self.tasks.get(&task)).flatten();
        // What this command has reported to the remote is about to be written.
        let chosen = self.said.as_ref().and_then(|said| said.chosen.get(&task)).copied();
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
        let mut found = BTreeMap::new();
        for task in self.leased_tasks()? {
            if let Some(lease) = self.lease(task)?.lease {
                let text = lease.id.to_string();
                let part = reference.0.to_ascii_uppercase();
                if text.starts_with(&part) || text.ends_with(&part) {
                    found.insert(lease.id, task);
                }
            }
        }
        let lease = one_of(found.keys().copied().collect(), reference)?.ok_or_else(gone)?;
        Ok(found[&lease])
    }

    fn held(&mut self) -> Result<Vec<Id>> {
        let me = self.me.clone();
        let (mut held, mut owned) = (Vec::new(), Vec::new());
        for task in self.index()?.in_progress_of(&me.agent)? {
            let record = self.lease(task)?;
            if matches!(
                lease::standing(&record, &me, self.now),
                lease::Standing::Mine(_) | lease::Standing::MineExpired(_)
            ) {
                held.push(task);
            } else if record.lease.is_none() {
                owned.push(task);
            }
        }
        if held.is_empty() {
            // What was claimed in another worktree is in progress there, by files that are not here.
            for task in self.leased_tasks()? {
                let is_mine = matches!(
                    lease::standing(&self.lease(task)?, &me, self.now),
                    lease::Standing::Mine(_) | lease::Standing::MineExpired(_)
                );
                if is_mine && self.load(task)? && !self.tasks[&task].task.status.is_finished() {
                    held.push(task);
                }
            }
        }
        Ok(if held.is_empty() { owned } else { held })
    }

    fn lost(&mut self) -> Result<Option<Error>> {
        let me = self.me.clone();
        for task in self.leased_tasks()? {
            self.load(task)?;
            let record = self.lease(task)?;
            if lease::is_lost(&record, &me) {
                return Ok(Some(match &record.lease {
                    Some(holder) => lease::refusal(task, &record, holder, &me),
                    None => lease::lost_and_gone(task, &record),
                }));
            }
        }
        Ok(None)
    }

    fn best_ready(&mut self, here: bool) -> Result<Option<Id>> {
        let ranking = self.prepared.as_ref().map(|p| p.ranking.clone()).unwrap_or_default();
        if let Some(id) = self.first_free(&ranking, here)? {
            return Ok(Some(id));
        }
        // Others took all of them, or opened new ones, since the ranking was made: look again, now that no other process can.
        self.index()?;
        let (ws, now) = (self.ws, self.now);
        let ranking = match &self.prepared {
            Some(prepared) => {
                let plan = read::plan_to_claim(ws, &prepared.index)?;
                let viewer = read::viewer_with_rights(ws)?;
                plan.rank(&viewer, &ws.settings.score, now).into_iter().map(|ranked| ranked.id).collect()
            }
            None => Vec::new(),
        };
        self.first_free(&ranking, here)
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
                let fits = |id: &Id| id.to_string().starts_with(&reference.0) || id.to_string().ends_with(&reference.0);
                one_of(all.into_iter().filter(fits).collect(), reference)?.ok_or_else(unknown)?
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
        let (heads, least) = self.heads(&draft.entity)?;
        let seen = draft.entity.task().and_then(|id| self.seen.get(&id).cloned());
        let parents = seen.unwrap_or(heads);
        let lamport = self.lamport.max(least) + 1;
        if lamport > MAX_LAMPORT {
            return Err(Error::state("the Lamport clock of this clone has reached its maximum"));
        }
        // An event that was announced to the remote keeps the announced id.
        let ends = draft.entity.task().filter(|_| lease::is_end(&draft.payload));
        let chosen = ends.and_then(|task| self.said.as_ref()?.chosen.get(&task).copied());
        let chosen = chosen.filter(|id| !self.entries.iter().any(|e| e.event.id == *id));
        let event = Event {
            v: ENVELOPE_VERSION,
            id: chosen.map_or_else(|| self.ws.env.new_id(), Ok)?,
            lamport,
            entity: draft.entity,
            parents: if draft.payload.journal_only() { Vec::new() } else { parents },
            author: self.me.clone(),
            at: self.now,
            fence: draft.fence,
            precedence: self.precedence()?,
            why: draft.why.filter(|why| !why.is_empty()),
            payload: draft.payload,
            sig: None,
        };
        let id = event.id;
        let entry = self.signed(event)?;
        if lamport <= MAX_CLOCK {
            self.lamport = lamport;
        }
        self.put_sessions(&entry.event)?;
        match entry.event.entity.clone() {
            Entity::Task(task) => {
                let mut record = self.lease(task)?;
                let before = record.clone();
                lease::apply(&mut record, &entry.event);
                lease::merge_remote_record(&mut record);
                if lease::is_end(&entry.event.payload) {
                    let unheard = chosen.is_none() && self.ws.lease_remote().is_some() && self.is_old(task);
                    record.ended = unheard.then_some(id);
                }
                let lease = record.lease.as_ref().or(before.lease.as_ref());
                if let Some(lease) = lease.filter(|lease| entry.event.fence == Some(lease.fence)) {
                    self.under.insert(lease.id, lease.expires_at);
                }
                if record != before {
                    self.leases.insert(task, record);
                }
                if entry.event.payload.journal_only() {
                    self.entries.push(entry);
                } else {
                    self.put_task(task, entry)?;
                    if let Some(seen) = self.seen.get_mut(&task) {
                        *seen = vec![id];
                    }
                }
            }
            Entity::Agent(name) => {
                self.agent(&name)?;
                if let Some((agent, log)) = self.agents.get_mut(&name) {
                    let entries: Vec<&Entry> = log
                        .entries
                        .iter()
                        .chain(&self.entries)
                        .chain([&entry])
                        .filter(|e| e.event.entity == Entity::Agent(name.clone()))
                        .collect();
                    *agent = fold::fold_agent(&name, entries).0;
                }
                self.entries.push(entry);
            }
            Entity::Session(_) => self.entries.push(entry),
        }
        Ok(id)
    }
}

impl Transaction<'_> {
    /// The first of these tasks that is ready still, by its own files and lease; and, unless only what is `here` counts, in the
    /// other worktrees and on the other branches.
    fn first_free(&mut self, ranking: &[Id], here: bool) -> Result<Option<Id>> {
        for id in ranking {
            if self.passed_over.contains(id) {
                continue;
            }
            match self.in_the_way(*id, here) {
                Ok(None) => return Ok(Some(*id)),
                Ok(Some(reason)) => drop(self.passed.insert(*id, reason)),
                // One damaged task is not in the way of others.
                Err(e) if matches!(e.code, Code::Corrupt | Code::Io) => {
                    self.warn(format!("task {} was passed over: {}", id.handle(HANDLE_MIN), e.message));
                    self.passed_over.insert(*id);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Why a task may not be handed out.
    fn in_the_way(&mut self, id: Id, here: bool) -> Result<Option<Reason>> {
        if !self.load(id)? {
            return Ok(Some(Reason::Status { status: Status::Archived, owner: None, lease_expired_at: None }));
        }
        let now = self.now;
        if let Some(lease) = self.lease(id)?.lease.filter(|lease| lease.elsewhere && lease::withholds(lease, now)) {
            self.waits_for_remote |= lease.confirmed;
            return Ok(Some(leased(&lease, now)));
        }
        if !here && let Some((end, _)) = self.finished_elsewhere(id)? {
            self.waits_for_remote = true;
            return Ok(Some(Reason::Finished { by: end.agent }));
        }
        let task = self.task(id)?;
        if let Some(reason) = unready(self, &task)?.into_iter().next() {
            return Ok(Some(reason));
        }
        if here { Ok(None) } else { self.elsewhere.taken(id) }
    }
}
