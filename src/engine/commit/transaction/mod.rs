//! The transaction of one command: the plan as its files record it, with the events that the command has emitted so far.
//!
//! Guarantees that nothing is written: a refusal throws the transaction away. Each task, agent and lease is read once.
//! Leaves to others: what a command emits (`rules::decide`), and the commit point (`engine::commit::write`).

mod choice;
mod emit;
mod resting;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

pub(crate) use self::resting::RestingTask;
use super::confirmation::RemoteReplies;
use crate::engine::context::Workspace;
use crate::engine::view::landed::DefaultBranch;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read::{self, touched_since};
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::agent::{Agent, LeaseRecord, Session};
use crate::model::args::Ref;
use crate::model::event::{Author, Entry};
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::model::relationship::RelationType;
use crate::model::signature::SecretKey;
use crate::model::task::Task;
use crate::model::thread::EXPIRED;
use crate::model::time::Time;
use crate::rules::fold::fold;
use crate::rules::readiness::Reason;
use crate::rules::stage::Stage as _;
use crate::runtime::records;
use crate::store::entity::{LoadedTask, load_agent, load_task};
use crate::store::index::{Index, Pending};
use crate::store::log::Log;

/// A task on the stage: its state after the emitted events, and its log as it was read.
pub(crate) struct OnStage {
    pub task: Rc<Task>,
    pub log: Log,
    pub changed: bool,
}

/// An index updated before the lock, and the length of the journal at that time.
pub(crate) struct PreparedIndex {
    pub index: Index,
    pub journal_end: u64,
    /// The ready tasks, best first, for a claim of any.
    pub ranking: Vec<Id>,
    /// The event that the command names, with its task.
    pub event: Option<(Id, Id)>,
}

/// Another source of the plan than the files of the work tree.
pub(crate) trait Source {
    /// A task with its log, which is empty if there is no such task.
    fn load(&self, id: Id) -> Result<LoadedTask>;
    /// The task that an id, a part of one or a handle refers to.
    fn resolve(&self, reference: &Ref) -> Result<Id>;
    /// The tasks that have this one as parent; `None` if the index has them.
    fn children(&self, id: Id) -> Result<Option<Vec<Id>>>;
    /// The tasks that this one blocks; `None` if the index has them.
    fn dependents(&self, id: Id) -> Result<Option<Vec<Id>>>;
}

/// The transaction of a command under the lock, or of a dry run.
pub(crate) struct Transaction<'a> {
    pub(crate) ws: &'a Workspace,
    pub runtime: &'a Dir,
    me: Author,
    /// The key that signs the actor's events, once it is loaded.
    key: Option<Option<SecretKey>>,
    pub(crate) role: Option<Option<String>>,
    /// The source of the plan, if it is not the work tree.
    pub source: Option<&'a dyn Source>,
    now: Time,
    lamport: u64,
    pub tasks: BTreeMap<Id, OnStage>,
    /// Changed tasks that are not held any more. None of them is among `tasks`.
    pub resting: BTreeMap<Id, RestingTask>,
    /// The number of held tasks at which the next ones rest.
    rests_at: usize,
    pub agents: BTreeMap<String, (Agent, Log)>,
    pub leases: BTreeMap<Id, LeaseRecord>,
    pub sessions: BTreeMap<Id, Session>,
    /// The emitted events, in order.
    pub entries: Vec<Entry>,
    /// Warnings.
    pub warnings: Vec<String>,
    names: BTreeMap<String, Id>,
    /// The emitted relationships, by parent and by blocker.
    pub children: BTreeMap<Id, BTreeSet<Id>>,
    pub dependents: BTreeMap<Id, BTreeSet<Id>>,
    pub prepared: Option<PreparedIndex>,
    pub elsewhere: OtherBranches<'a>,
    /// The default branch of the remote.
    default_branch: DefaultBranch<'a>,
    /// Whether the index includes the writes of other processes since it was prepared.
    pub caught_up: bool,
    /// The replies of the confirming remote so far; `None` if no remote is to be asked.
    pub replies: Option<RemoteReplies>,
    /// The events of a task that the actor has seen, if not all: those that a hand edit follows.
    pub seen: BTreeMap<Id, Vec<Id>>,
    /// Tasks that a claim passes over, since a hand edit of their file must not be overwritten.
    pub passed_over: BTreeSet<Id>,
    /// Tasks to which consequences of other changes are not written, and those where that was needed, with the error if any.
    pub left_alone: BTreeSet<Id>,
    pub left_out: BTreeMap<Id, Option<Error>>,
    /// Recorded hand edits: the bytes of the file, and the changed fields.
    pub taken_in: BTreeMap<Id, (Vec<u8>, String)>,
    /// The bytes of files without hand edits.
    pub unedited: BTreeMap<Id, Vec<u8>>,
    /// The leases under which events were written, with their expiry.
    pub used_leases: BTreeMap<Id, Time>,
    /// Kind and ends of void edges, once they are computed.
    void: Option<Rc<BTreeSet<(RelationType, Id, Id)>>>,
    /// Why tasks that were ready before the lock were passed over.
    pub passed: BTreeMap<Id, Reason>,
    /// A lease known from the remote prevented the claim of a task.
    pub waits_for_remote: bool,
}

impl<'a> Transaction<'a> {
    pub fn new(
        ws: &'a Workspace,
        runtime: &'a Dir,
        me: Author,
        lamport: u64,
        prepared: Option<PreparedIndex>,
        elsewhere: OtherBranches<'a>,
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
            resting: BTreeMap::new(),
            rests_at: resting::MOST_HELD,
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
            default_branch: DefaultBranch::new(ws),
            caught_up: false,
            replies: None,
            seen: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            left_alone: BTreeSet::new(),
            left_out: BTreeMap::new(),
            taken_in: BTreeMap::new(),
            unedited: BTreeMap::new(),
            used_leases: BTreeMap::new(),
            void: None,
            passed: BTreeMap::new(),
            waits_for_remote: false,
        }
    }

    /// Adds the replies of the remote.
    pub fn merge_replies(&mut self, replies: RemoteReplies) {
        self.now = replies.now;
        self.lamport = self.lamport.max(replies.lamport());
        self.replies = Some(replies);
    }

    /// The greatest Lamport time given out.
    pub fn lamport(&self) -> u64 {
        self.lamport
    }

    /// The tasks of which this transaction records that a thread is past its time to live.
    pub fn expired(&self) -> BTreeSet<Id> {
        let events = self.entries.iter().map(|entry| &entry.event);
        events.filter(|event| event.why.as_deref() == Some(EXPIRED)).filter_map(|event| event.entity.task()).collect()
    }

    /// The tasks with a thread that was past its time to live before this transaction: those that it changes, or all that it
    /// read.
    pub fn unrecorded_expiries(&self, all: bool) -> BTreeSet<Id> {
        let is_met = |(_, slot): &(&Id, &OnStage)| (all || slot.changed) && !slot.task.threads.is_empty();
        let is_expired = |(id, slot): &(&Id, &OnStage)| {
            let before = fold(**id, &slot.log.entries).0;
            before.threads.values().any(|thread| thread.is_expired(self.now))
        };
        self.tasks.iter().filter(is_met).filter(is_expired).map(|(id, _)| *id).collect()
    }

    /// The index, created if needed, and updated with the writes of other processes since it was prepared.
    fn index(&mut self) -> Result<&Index> {
        if self.prepared.is_none() {
            let index = read::index_for_write(self.ws)?;
            self.prepared = Some(PreparedIndex { index, journal_end: 0, ranking: Vec::new(), event: None });
            self.caught_up = true;
        }
        let (ws, runtime) = (self.ws, self.runtime);
        // It was created just above if it was missing.
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

    /// Loads a task that must exist.
    pub(crate) fn load_known(&mut self, id: Id) -> Result<()> {
        self.task(id).map(|_| ())
    }

    fn load(&mut self, id: Id) -> Result<bool> {
        if self.tasks.contains_key(&id) || self.wake(id)? {
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

    fn role(&mut self) -> Result<Option<String>> {
        if self.role.is_none() {
            self.role = Some(load_agent(&self.ws.store, &self.me.agent)?.0.role);
        }
        Ok(self.role.clone().flatten())
    }

    /// The union of tasks from the index and from this transaction for which it is still true: `holds` for one that is held,
    /// `held` for one that rests.
    fn merged(
        &self,
        from_index: Vec<Id>,
        on_stage: Option<BTreeSet<Id>>,
        holds: impl Fn(&Task) -> bool,
        held: impl Fn(&RestingTask) -> bool,
    ) -> Vec<Id> {
        let all: BTreeSet<Id> = from_index.into_iter().chain(on_stage.into_iter().flatten()).collect();
        let is_so = |id: &Id| match self.resting.get(id) {
            Some(resting) => held(resting),
            None => self.tasks.get(id).is_none_or(|slot| holds(&slot.task)),
        };
        all.into_iter().filter(is_so).collect()
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
}
