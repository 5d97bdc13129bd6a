//! What a decision can see and say.
//!
//! A decision reads the plan through a [`Stage`] and emits drafts onto it. The stage shows each draft's effect to what is
//! decided after it, so that a batch, a plan and an import are nothing but many decisions; a refusal throws all of it away.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::model::agent::{Agent, Lease, LeaseRecord, RemoteRecord, Session};
use crate::model::event::{Author, Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::RelationType;
use crate::model::settings::Settings;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::model::words::Ref;
use crate::rules::readiness::Asker;
use crate::rules::roles::Verb;

/// An event to be: what the decision says of it. Id, clock, parents and author are added by the stage.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Whose log it goes to.
    pub entity: Entity,
    /// What happens.
    pub payload: Payload,
    /// The reason given.
    pub why: Option<String>,
    /// The fence of the lease under which it happens.
    pub fence: Option<u64>,
}

/// That a task is taken or finished somewhere else.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Where, by whom and how, in words.
    pub words: String,
    /// The same as JSON.
    pub facts: Value,
}

/// What the remote said when it was asked for a lease.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The id of the lease that was asked for.
    pub lease: Id,
    /// The fence it agreed to; `None` where it did not answer or did not want to.
    pub fence: Option<u64>,
}

/// Which kind of part of a task a reference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A progress item.
    Progress,
    /// A context entry.
    Context,
}

/// The plan as a decision sees it, and where it puts its drafts.
pub trait Stage {
    /// The time of the command.
    fn now(&self) -> Time;
    /// Who acts.
    fn me(&self) -> &Author;
    /// The settings in force.
    fn settings(&self) -> &Settings;
    /// Refuses with `ERR_UNAUTHORIZED` what the roles of the store do not permit the actor.
    fn require(&mut self, verb: Verb) -> Result<()>;
    /// A fresh id.
    fn new_id(&mut self) -> Result<Id>;

    /// The task that a whole id, prefix, handle or `$name` means. `ERR_NOT_FOUND` or `ERR_AMBIGUOUS_ID` otherwise.
    fn task_id(&mut self, reference: &Ref) -> Result<Id>;
    /// The task and the part of it that a reference means.
    fn part(&mut self, reference: &Ref, part: Part) -> Result<(Id, Id)>;
    /// A task that exists. `ERR_NOT_FOUND` otherwise.
    fn task(&mut self, id: Id) -> Result<Rc<Task>>;
    /// Whether a task exists.
    fn exists(&mut self, id: Id) -> Result<bool>;
    /// The tasks that have this one as parent.
    fn children(&mut self, id: Id) -> Result<Vec<Id>>;
    /// The tasks that this one blocks.
    fn dependents(&mut self, id: Id) -> Result<Vec<Id>>;
    /// Kind and ends of the edges among unfinished tasks that do not count because they close a circle.
    fn void(&mut self) -> Result<Rc<BTreeSet<(RelationType, Id, Id)>>>;
    /// The actor, as far as choosing work asks for it.
    fn asker(&mut self) -> Result<Asker>;
    /// Whether what follows from a change may be recorded in this other task, which nobody named. Where it may not, readers see
    /// it all the same, and the next write that meets the task records it.
    fn may_follow(&mut self, id: Id) -> bool;

    /// The task in whose log an event stands, and the event that a whole id, prefix or end of an id means.
    fn event(&mut self, reference: &Ref) -> Result<(Id, Id)>;
    /// The events of a task, those emitted so far among them, in no certain order.
    fn history(&mut self, task: Id) -> Result<Vec<Entry>>;

    /// What is known of a task's leases.
    fn lease(&mut self, task: Id) -> Result<LeaseRecord>;
    /// Whether leases are to be confirmed by a remote.
    fn asks_remote(&self) -> bool;
    /// What the remote said to the lease of this task; `None` where it was not asked.
    fn grant(&mut self, task: Id) -> Option<Grant>;
    /// What the remote says of who finished a task by an event that is not here, if anyone did, and whether this clone told it.
    fn finished_elsewhere(&mut self, task: Id) -> Result<Option<(RemoteRecord, bool)>>;
    /// The highest fence of a task that its log knows.
    fn known_fence(&mut self, task: Id) -> Result<u64>;
    /// Whether the log of a task grants another lease as high as this one: by a clone that could not ask who has it.
    fn is_contested(&mut self, task: Id, lease: &Lease) -> Result<bool>;
    /// The task whose lease, or which itself, a reference means.
    fn leased_task(&mut self, reference: &Ref) -> Result<Id>;
    /// The tasks whose lease was granted in a session and not given back, live or not.
    fn held_in(&mut self, session: Id) -> Result<Vec<Id>>;
    /// The tasks in progress of which the actor holds a live lease.
    fn held(&mut self) -> Result<Vec<Id>>;
    /// The best task the actor may claim now, if any; `here` where only this branch and worktree count.
    fn best_ready(&mut self, here: bool) -> Result<Option<Id>>;

    /// The refusal for a lease of the actor's that passed to somebody else, if there is one.
    fn lost(&mut self) -> Result<Option<Error>>;

    /// Where else the task is already taken or finished: in another worktree, or on another branch.
    fn taken_elsewhere(&mut self, task: Id) -> Result<Option<Taken>>;

    /// What is known of an agent.
    fn agent(&mut self, name: &str) -> Result<Agent>;
    /// The session a reference means.
    fn session(&mut self, reference: &Ref) -> Result<Session>;

    /// Lets later references `$name` mean `id`. `ERR_USAGE` where the name is taken.
    fn name(&mut self, name: &str, id: Id) -> Result<()>;
    /// Tells the caller something besides the answer.
    fn warn(&mut self, warning: String);
    /// Lets a draft happen on this stage. Gives the event's id.
    fn emit(&mut self, draft: Draft) -> Result<Id>;
}
