//! The view of a decision: what it can read and emit.
//!
//! A decision reads the plan through a [`Stage`] and emits drafts onto it. The stage shows each draft's effect to later
//! decisions, so a batch, a plan and an import are only many decisions. A refusal discards all of it.
//! Leaves to others: reading the plan (`engine::commit::transaction`, `decide::memory`).

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, RemoteRecord, Session};
use crate::model::args::Ref;
use crate::model::event::{Author, Entity, Entry};
use crate::model::id::Id;
use crate::model::overlap::FileClaim;
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::rules::readiness::Viewer;
use crate::rules::roles::Verb;

/// A draft of an event. The stage adds id, clock, parents and author.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The entity whose log it goes to.
    pub entity: Entity,
    /// What happens.
    pub payload: Payload,
    /// The reason given.
    pub why: Option<String>,
    /// The fence of the lease under which it happens.
    pub fence: Option<u64>,
}

/// Where a task is taken or finished elsewhere.
#[derive(Clone, Debug)]
pub struct TaskElsewhere {
    /// Where, by which agent and how, as text.
    pub words: String,
    /// The same as JSON.
    pub facts: Value,
}

/// The answer of the remote to a request for a lease.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The id of the requested lease.
    pub lease: Id,
    /// The confirmed fence; `None` if the remote did not answer or refused.
    pub fence: Option<u64>,
}

/// The kind of part that a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A progress item.
    Progress,
    /// A context entry.
    Context,
    /// A thread.
    Thread,
    /// A message of a thread, the first one included.
    Message,
    /// A relationship, in the task whose log holds it.
    Relationship,
}

/// The plan as a decision sees it, and the receiver of its drafts.
pub trait Stage {
    /// The time of the command.
    fn now(&self) -> Time;
    /// The actor.
    fn me(&self) -> &Author;
    /// The settings in force.
    fn settings(&self) -> &Settings;
    /// Refuses with `ERR_UNAUTHORIZED` if the roles of the store do not permit the actor the verb.
    fn require(&mut self, verb: Verb) -> Result<()>;

    /// Refuses an actor without a right that acts for another agent, or that proved to be one agent where no roles say what else it may.
    ///
    /// Errors: `ERR_UNAUTHORIZED`.
    fn require_for(&mut self, other: &str, verb: Verb) -> Result<()>;
    /// Creates an id.
    fn new_id(&mut self) -> Result<Id>;

    /// The task that a whole id, prefix, handle or `$name` means. `ERR_NOT_FOUND` or `ERR_AMBIGUOUS_ID` otherwise.
    fn task_id(&mut self, reference: &Ref) -> Result<Id>;
    /// The task and the part of it that a reference means.
    fn part(&mut self, reference: &Ref, part: Part) -> Result<(Id, Id)>;
    /// A task that exists. `ERR_NOT_FOUND` otherwise.
    fn task(&mut self, id: Id) -> Result<Rc<Task>>;
    /// Whether a task exists.
    fn exists(&mut self, id: Id) -> Result<bool>;
    /// Whether the events of a task were dropped from the archives.
    fn is_dropped(&mut self, id: Id) -> Result<bool>;
    /// Whether the completion of a task at this time is on the default branch of the remote; true without such a branch.
    fn has_landed(&mut self, id: Id, at: Time) -> Result<bool>;
    /// The tasks that have this one as parent.
    fn children(&mut self, id: Id) -> Result<Vec<Id>>;
    /// The tasks that this one blocks.
    fn dependents(&mut self, id: Id) -> Result<Vec<Id>>;
    /// Type and ends of the edges among unfinished tasks that do not count because they close a cycle.
    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>>;
    /// The actor, with what the choice of work needs to know.
    fn viewer(&mut self) -> Result<Viewer>;
    /// Whether a consequence of a change may be recorded in this other task, which the caller did not name. If not, readers
    /// see the consequence all the same, and the next write to the task records it.
    fn may_follow(&mut self, id: Id) -> bool;

    /// The task whose log contains an event, and the event that a whole id, prefix or suffix means.
    fn event(&mut self, reference: &Ref) -> Result<(Id, Id)>;
    /// The events of a task, including those emitted so far, in no particular order.
    fn history(&mut self, task: Id) -> Result<Vec<Entry>>;

    /// The lease record of a task.
    fn lease(&mut self, task: Id) -> Result<LeaseRecord>;
    /// Whether a remote confirms leases.
    fn asks_remote(&self) -> bool;
    /// The agent of another clone that the remote showed with a later grant than the task's log has, or whose record this command
    /// replaced by an override.
    fn unseen_holder(&mut self, task: Id) -> Result<Option<String>>;
    /// The remote's answer about the lease of this task; `None` if it was not asked.
    fn grant(&mut self, task: Id) -> Option<Grant>;
    /// The remote's record that a task was finished by an event that is not here, and whether this clone sent it.
    fn finished_elsewhere(&mut self, task: Id) -> Result<Option<(RemoteRecord, bool)>>;
    /// The highest fence of a task in its log.
    fn known_fence(&mut self, task: Id) -> Result<u64>;
    /// Whether the log of a task grants another lease with a fence as high: by a clone that could not ask for the holder.
    fn is_contested(&mut self, task: Id, lease: &Lease) -> Result<bool>;
    /// The task that a reference means, directly or by its lease.
    fn leased_task(&mut self, reference: &Ref) -> Result<Id>;
    /// The tasks whose lease was granted in a session and not released, live or not.
    fn held_in(&mut self, session: Id) -> Result<Vec<Id>>;
    /// The tasks that the actor holds, by [`crate::rules::held`].
    fn held(&mut self) -> Result<Vec<Id>>;
    /// The shortest unique handle of a task.
    fn handle(&mut self, id: Id) -> Result<String>;
    /// The work in progress of other agents that these files of a task overlap with.
    fn overlaps(&mut self, task: Id, files: &[String]) -> Result<Vec<FileClaim>>;
    /// The best task that the actor may claim now, if any; with `here` only this branch and worktree count.
    fn best_ready(&mut self, here: bool) -> Result<Option<Id>>;

    /// The refusal for a lease that the actor lost to another agent, if there is one.
    fn lost(&mut self) -> Result<Option<Error>>;

    /// Where else the task is already taken or finished: in another worktree, or on another branch.
    fn taken_elsewhere(&mut self, task: Id) -> Result<Option<TaskElsewhere>>;

    /// The state of an agent.
    fn agent(&mut self, name: &str) -> Result<Agent>;
    /// Whether an agent is registered with this role.
    fn has_role(&mut self, role: &str) -> Result<bool>;
    /// The session that a reference means.
    fn session(&mut self, reference: &Ref) -> Result<Session>;

    /// Binds `$name` to `id` for later references. `ERR_USAGE` if the name is in use.
    fn name(&mut self, name: &str, id: Id) -> Result<()>;
    /// Adds a warning to the answer.
    fn warn(&mut self, warning: String);
    /// Emits a draft onto this stage. Returns the event's id.
    fn emit(&mut self, draft: Draft) -> Result<Id>;
}
