//! A plan in memory, for unit tests of decisions: logs that are folded again for each question, and no files.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::{Subject, decide, unready};
use crate::error::{Code, Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, RemoteRecord, Session};
use crate::model::args::Ref;
use crate::model::command::Command;
use crate::model::event::{Author, ENVELOPE_VERSION, Entity, Entry, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::overlap::FileClaim;
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::rules::graph::{Edge, void_edges, void_pairs};
use crate::rules::held::is_held;
use crate::rules::readiness::Viewer;
use crate::rules::roles::{Grant as Granted, Rights, Roles, Verb};
use crate::rules::stage::{Draft, Grant, Part, Stage, TaskElsewhere};
use crate::rules::{fold, lease, session};

/// The whole plan of one clone. Ids are whole: nothing is abbreviated here.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The time of the next command.
    pub now: Time,
    /// The settings in force.
    pub settings: Settings,
    /// Where else tasks are taken, in words.
    pub elsewhere: BTreeMap<Id, String>,
    /// Tasks whose completion is not on the default branch of the remote.
    pub not_landed: BTreeSet<Id>,
    rights: Rights,
    me: Author,
    entries: Vec<Entry>,
    leases: BTreeMap<Id, LeaseRecord>,
    sessions: BTreeMap<Id, Session>,
    names: BTreeMap<String, Id>,
    warnings: Vec<String>,
    clone: u128,
    made: u128,
}

impl Plan {
    /// An empty plan, at noon.
    pub fn new() -> Self {
        Plan {
            now: Time::from_millis(1_795_000_000_000),
            settings: Settings::default(),
            elsewhere: BTreeMap::new(),
            not_landed: BTreeSet::new(),
            rights: Rights::default(),
            me: Author::default(),
            entries: Vec::new(),
            leases: BTreeMap::new(),
            sessions: BTreeMap::new(),
            names: BTreeMap::new(),
            warnings: Vec::new(),
            clone: 1,
            made: 0,
        }
    }

    /// What an agent may do. An agent that is not named may do nothing from then on.
    pub fn permit(&mut self, agent: &str, perms: &[&str]) {
        let roles = self.rights.0.get_or_insert_with(Roles::default);
        let perms = perms.iter().map(|perm| (*perm).to_owned()).collect();
        roles.agents.insert(agent.to_owned(), Granted { perms, precedence: 0 });
    }

    /// Lets time pass.
    pub fn minutes_pass(&mut self, minutes: i64) {
        self.now = self.now.plus(minutes * 60_000);
    }

    /// Decides one command of an agent. A refusal leaves the plan as it was.
    pub fn run(&mut self, agent: &str, op: &str, args: Value) -> Result<Subject> {
        let command = Command::from_json(op, args)?;
        let mut stage = self.clone();
        stage.me = Author { agent: agent.to_owned(), ..Author::default() };
        stage.warnings.clear();
        let subject = decide(&mut stage, &command)?;
        *self = stage;
        Ok(subject)
    }

    /// The same for a command that must be accepted.
    #[track_caller]
    pub fn accept(&mut self, agent: &str, op: &str, args: Value) -> Subject {
        self.run(agent, op, args).unwrap_or_else(|e| panic!("{op} by {agent}: {e:?}"))
    }

    /// The code of the refusal of a command, which must leave no event.
    #[track_caller]
    pub fn refusal(&mut self, agent: &str, op: &str, args: Value) -> Code {
        let before = self.entries.len();
        let refused = self.run(agent, op, args).expect_err("the command is refused");
        assert_eq!(self.entries.len(), before);
        refused.code
    }

    /// Creates a task as `ada`.
    #[track_caller]
    pub fn add(&mut self, title: &str) -> Id {
        self.add_with(title, json!({}))
    }

    /// The same with more fields.
    #[track_caller]
    pub fn add_with(&mut self, title: &str, mut fields: Value) -> Id {
        fields["title"] = json!(title);
        self.accept("ada", "task.create", fields).id().expect("a task was made")
    }

    /// A task as it stands.
    pub fn get(&self, id: Id) -> Task {
        fold::fold(id, &self.entries).0
    }

    /// The kinds of the events of a task from some number on.
    pub fn kinds(&self, id: Id, from: usize) -> Vec<&str> {
        self.of(id).skip(from).map(|entry| entry.event.payload.kind()).collect()
    }

    /// The id of the newest event of a task.
    pub fn newest(&self, id: Id) -> Id {
        self.of(id).last().expect("the task has events").event.id
    }

    /// The last event of a type of a task.
    pub fn newest_of(&self, id: Id, kind: &str) -> Id {
        self.of(id).filter(|entry| entry.event.payload.kind() == kind).last().expect("the task has one").event.id
    }

    /// Who holds the lease of a task, and its fence.
    pub fn holder(&self, id: Id) -> Option<(String, u64)> {
        let lease = self.leases.get(&id)?.lease.as_ref()?;
        Some((lease.agent.clone(), lease.fence))
    }

    /// The id of the lease of a task.
    pub fn lease_id(&self, id: Id) -> Id {
        self.leases[&id].lease.as_ref().expect("a lease").id
    }

    /// What the last command warned of.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// A second clone that knows all of this and no lease.
    pub fn fork(&self) -> Self {
        Plan { clone: self.clone + 1, leases: BTreeMap::new(), ..self.clone() }
    }

    /// Takes in the events of another clone.
    pub fn merge(&mut self, other: &Plan) {
        self.add_entries(other.entries.iter().cloned());
    }

    /// Takes in events of other clones, those that are new.
    pub fn add_entries(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut known: BTreeSet<Id> = self.entries.iter().map(|entry| entry.event.id).collect();
        self.entries.extend(entries.into_iter().filter(|entry| known.insert(entry.event.id)));
    }

    /// The events that other clones get.
    pub fn logged(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.event.payload.journal_only())
    }

    /// The ids of all tasks.
    pub fn ids(&self) -> Vec<Id> {
        let ids: BTreeSet<Id> = self.entries.iter().filter_map(|entry| entry.event.entity.task()).collect();
        ids.into_iter().collect()
    }

    /// Forgets what happened since an earlier state, and gives out none of its ids again.
    pub fn die_back_to(&mut self, before: Plan) {
        *self = Plan { made: self.made, ..before };
    }

    fn of(&self, id: Id) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |e| e.event.entity == Entity::Task(id) && !e.event.payload.journal_only())
    }

    fn tasks(&self) -> Vec<Task> {
        self.ids().into_iter().map(|id| self.get(id)).collect()
    }

    fn ids_where(&self, holds: impl Fn(&Task) -> bool) -> Vec<Id> {
        self.tasks().into_iter().filter(|task| holds(task)).map(|task| task.id).collect()
    }

    fn role(&self) -> Option<String> {
        self.agent_as_it_is(&self.me.agent).role
    }

    fn agent_as_it_is(&self, name: &str) -> Agent {
        let entries = self.entries.iter().filter(|e| e.event.entity == Entity::Agent(name.to_owned()));
        fold::fold_agent(name, entries).0
    }
}

fn unknown(what: &Ref) -> Error {
    Error::not_found(format!("nothing is called {what}"))
}

impl Stage for Plan {
    fn now(&self) -> Time {
        self.now
    }

    fn me(&self) -> &Author {
        &self.me
    }

    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn require(&mut self, verb: Verb) -> Result<()> {
        self.rights.require(&self.me.agent, self.role().as_deref(), verb)
    }

    fn require_for(&mut self, _: &str, verb: Verb) -> Result<()> {
        self.require(verb)
    }

    fn new_id(&mut self) -> Result<Id> {
        self.made += 1;
        Ok(Id::from_parts(self.now.millis().unsigned_abs(), (self.made << 8) | self.clone))
    }

    fn task_id(&mut self, reference: &Ref) -> Result<Id> {
        let id = match reference.0.strip_prefix('$') {
            Some(name) => self.names.get(name).copied(),
            None => reference.0.parse().ok(),
        };
        id.filter(|id| self.of(*id).next().is_some()).ok_or_else(|| unknown(reference))
    }

    fn part(&mut self, reference: &Ref, part: Part) -> Result<(Id, Id)> {
        let id: Id = reference.0.parse()?;
        let has = |task: &Task| match part {
            Part::Progress => task.progress.contains_key(&id),
            Part::Context => task.context.contains_key(&id),
            Part::Thread => task.threads.contains_key(&id),
            Part::Message => task.message_ids().any(|message| message == id),
            Part::Relationship => task.relationships.contains_key(&id),
        };
        let task = self.ids_where(has).first().copied().ok_or_else(|| unknown(reference))?;
        Ok((task, id))
    }

    fn task(&mut self, id: Id) -> Result<Rc<Task>> {
        let task = self.exists(id)?.then(|| Rc::new(self.get(id)));
        task.ok_or_else(|| unknown(&Ref(id.to_string())))
    }

    fn exists(&mut self, id: Id) -> Result<bool> {
        Ok(self.of(id).next().is_some())
    }

    fn is_dropped(&mut self, _: Id) -> Result<bool> {
        Ok(false)
    }

    fn has_landed(&mut self, id: Id, _at: Time) -> Result<bool> {
        Ok(!self.not_landed.contains(&id))
    }

    fn children(&mut self, id: Id) -> Result<Vec<Id>> {
        Ok(self.ids_where(|task| task.parent() == Some(id)))
    }

    fn dependents(&mut self, id: Id) -> Result<Vec<Id>> {
        Ok(self.ids_where(|task| task.blockers().contains(&id)))
    }

    fn overlaps(&mut self, _task: Id, _files: &[String]) -> Result<Vec<FileClaim>> {
        Ok(Vec::new())
    }

    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>> {
        let open: Vec<Task> = self.tasks().into_iter().filter(|task| !task.status.is_finished()).collect();
        let counts = |kind| matches!(kind, RelationType::Blocks | RelationType::ParentOf);
        let mut edges = Vec::new();
        for relationship in open.iter().flat_map(|task| task.relationships.values()) {
            if counts(relationship.kind) && open.iter().any(|task| task.id == relationship.from) {
                let made = self.entries.iter().find(|entry| entry.event.id == relationship.id);
                let stamp = made.ok_or_else(|| unknown(&Ref(relationship.id.to_string())))?.event.stamp();
                edges.push(Edge { stamp, kind: relationship.kind, from: relationship.from, to: relationship.to });
            }
        }
        Ok(Rc::new(void_pairs(&edges, &void_edges(&edges))))
    }

    fn viewer(&mut self) -> Result<Viewer> {
        Ok(Viewer { me: Some(self.me.clone()), role: self.role(), rights: self.rights.clone(), max_attempts: 5 })
    }

    fn may_follow(&mut self, _id: Id) -> bool {
        true
    }

    fn event(&mut self, reference: &Ref) -> Result<(Id, Id)> {
        let id: Id = reference.0.parse()?;
        let entry = self.entries.iter().find(|entry| entry.event.id == id);
        let task = entry.and_then(|entry| entry.event.entity.task());
        Ok((task.ok_or_else(|| unknown(reference))?, id))
    }

    fn history(&mut self, task: Id) -> Result<Vec<Entry>> {
        Ok(self.of(task).cloned().collect())
    }

    fn lease(&mut self, task: Id) -> Result<LeaseRecord> {
        Ok(self.leases.get(&task).cloned().unwrap_or_default())
    }

    fn asks_remote(&self) -> bool {
        false
    }

    fn grant(&mut self, _task: Id) -> Option<Grant> {
        None
    }

    fn unseen_holder(&mut self, _task: Id) -> Result<Option<String>> {
        Ok(None)
    }

    fn finished_elsewhere(&mut self, _task: Id) -> Result<Option<(RemoteRecord, bool)>> {
        Ok(None)
    }

    fn known_fence(&mut self, task: Id) -> Result<u64> {
        Ok(lease::highest_fence(task, self.of(task)))
    }

    fn is_contested(&mut self, task: Id, lease: &Lease) -> Result<bool> {
        Ok(lease::is_contested(lease, self.of(task)))
    }

    fn leased_task(&mut self, reference: &Ref) -> Result<Id> {
        let is_meant = |record: &LeaseRecord| record.lease.as_ref().is_some_and(|l| l.id.to_string() == reference.0);
        let found = self.leases.iter().find(|(_, record)| is_meant(record)).map(|(task, _)| *task);
        found.map_or_else(|| self.task_id(reference), Ok)
    }

    fn held_in(&mut self, session: Id) -> Result<Vec<Id>> {
        let within = |record: &LeaseRecord| record.lease.as_ref().is_some_and(|l| l.session == Some(session));
        Ok(self.leases.iter().filter(|(_, record)| within(record)).map(|(task, _)| *task).collect())
    }

    fn held(&mut self) -> Result<Vec<Id>> {
        let is_mine = |task: &Task| {
            let record = self.leases.get(&task.id).cloned().unwrap_or_default();
            is_held(task.status, task.owner.as_deref(), &record, &self.me, self.now)
        };
        Ok(self.tasks().iter().filter(|task| is_mine(task)).map(|task| task.id).collect())
    }

    fn handle(&mut self, id: Id) -> Result<String> {
        Ok(id.handle(HANDLE_MIN))
    }

    fn best_ready(&mut self, _here: bool) -> Result<Option<Id>> {
        for task in self.tasks() {
            if unready(self, &task)?.is_empty() {
                return Ok(Some(task.id));
            }
        }
        Ok(None)
    }

    fn lost(&mut self) -> Result<Option<Error>> {
        let is_lost = |record: &LeaseRecord| lease::is_lost(record, &self.me);
        let lost: Vec<Id> = self.leases.iter().filter(|(_, record)| is_lost(record)).map(|(task, _)| *task).collect();
        for task in lost {
            if !self.task(task)?.status.is_finished() {
                return Ok(Some(lease::lost_and_gone(task, &self.leases[&task])));
            }
        }
        Ok(None)
    }

    fn taken_elsewhere(&mut self, task: Id) -> Result<Option<TaskElsewhere>> {
        Ok(self.elsewhere.get(&task).map(|words| TaskElsewhere { words: words.clone(), facts: Value::Null }))
    }

    fn agent(&mut self, name: &str) -> Result<Agent> {
        Ok(self.agent_as_it_is(name))
    }

    fn has_role(&mut self, role: &str) -> Result<bool> {
        let name = |entry: &Entry| match &entry.event.entity {
            Entity::Agent(name) => Some(name.clone()),
            Entity::Task(_) | Entity::Session(_) => None,
        };
        let names: Vec<String> = self.entries.iter().filter_map(name).collect();
        Ok(names.iter().any(|name| self.agent_as_it_is(name).role.as_deref() == Some(role)))
    }

    fn session(&mut self, reference: &Ref) -> Result<Session> {
        self.sessions.get(&reference.0.parse()?).cloned().ok_or_else(|| unknown(reference))
    }

    fn name(&mut self, name: &str, id: Id) -> Result<()> {
        match self.names.insert(name.to_owned(), id) {
            None => Ok(()),
            Some(_) => Err(Error::usage(format!("two steps are named {name}"))),
        }
    }

    fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    fn emit(&mut self, draft: Draft) -> Result<Id> {
        let parents = match &draft.entity {
            Entity::Task(id) if !draft.payload.journal_only() => self.get(*id).heads.to_vec(),
            Entity::Agent(name) => self.agent_as_it_is(name).heads,
            Entity::Task(_) | Entity::Session(_) => Vec::new(),
        };
        let entry = Entry::new(Event {
            v: ENVELOPE_VERSION,
            id: self.new_id()?,
            lamport: self.entries.iter().map(|entry| entry.event.lamport).max().unwrap_or_default() + 1,
            entity: draft.entity,
            parents,
            author: self.me.clone(),
            at: self.now,
            fence: draft.fence,
            precedence: self.rights.precedence(&self.me.agent, self.role().as_deref()),
            why: draft.why,
            payload: draft.payload,
            sig: None,
        })?;
        let event = entry.event.clone();
        for id in session::concerned(&event) {
            if let Some(session) = session::after(self.sessions.get(&id).cloned(), id, &event) {
                self.sessions.insert(id, session);
            }
        }
        self.entries.push(entry);
        if let Entity::Task(task) = event.entity {
            lease::apply(self.leases.entry(task).or_default(), &event);
            let (_, findings) = fold::fold(task, self.of(task));
            let is_refused =
                |f: &&Finding| f.event == Some(event.id) && !matches!(f.rule, Rule::LogGap | Rule::EventTime);
            if let Some(finding) = findings.iter().find(is_refused) {
                return Err(Error::state(finding.message.clone()));
            }
        }
        Ok(event.id)
    }
}
