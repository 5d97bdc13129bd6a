//! Decides commands: turns a command into events, or refuses it.
//!
//! Guarantees that a refusal leaves nothing behind, and that a command for one entity and the same step of a batch do the
//! same.
//! Leaves to others: files, locks, clocks; it sees the plan through a [`Stage`].

mod around;
pub mod edit;
mod expiry;
#[cfg(test)]
mod fleet;
mod grants;
mod guard;
mod judgement;
#[cfg(test)]
mod memory;
mod notes;
mod origin;
mod parts;
mod put;
mod refusals;
mod restore;
mod runtime;
mod saga;
mod split;
mod status;
mod tasks;
#[cfg(test)]
mod tests;
mod threads;
mod undo;
mod work;

pub use around::unready;
pub use expiry::expire_threads;
pub use guard::unblock_freed;
pub use notes::note;
pub use origin::{Origin, undo_with};
pub use saga::{Refusals, SagaEvent, Verdict, undo_all};
pub use tasks::check_no_cycle;
pub use work::confirm_again;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::args::EventRef;
use crate::model::command::{Batch, Command, commands};
use crate::model::id::Id;
use crate::model::payload::Broadcast;
use crate::rules::stage::Stage;

/// What a command created or changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A task.
    Task(Id),
    /// Progress items of one task.
    Progress(Id, Vec<Id>),
    /// A context entry of a task.
    Context(Id, Id),
    /// A thread, or a message of one: the task, and its id.
    Thread(Id, Id),
    /// A relationship: the task whose log holds it, and its id; `None` if it was removed.
    Relationship(Id, Option<Id>),
    /// A task that was claimed; `None` if none was ready.
    Claim(Option<Id>),
    /// The lease of a task.
    Lease(Id),
    /// An agent.
    Agent(String),
    /// A message to other agents.
    Broadcast(Id, Broadcast),
    /// A session.
    Session(Id),
    /// The steps of a batch, with their names.
    Batch(Vec<(Option<String>, Subject)>),
}

impl Subject {
    /// The task that was created or changed as a whole.
    pub fn task(&self) -> Option<Id> {
        match self {
            Subject::Task(id) => Some(*id),
            Subject::Claim(id) => *id,
            Subject::Progress(..)
            | Subject::Context(..)
            | Subject::Thread(..)
            | Subject::Relationship(..)
            | Subject::Lease(_)
            | Subject::Agent(_)
            | Subject::Broadcast(..)
            | Subject::Session(_)
            | Subject::Batch(_) => None,
        }
    }

    /// The task that it is or belongs to.
    pub fn concerns(&self) -> Option<Id> {
        match self {
            Subject::Task(task)
            | Subject::Progress(task, _)
            | Subject::Context(task, _)
            | Subject::Thread(task, _)
            | Subject::Relationship(task, _)
            | Subject::Lease(task) => Some(*task),
            Subject::Claim(task) => *task,
            // A split as a step of a batch.
            Subject::Batch(steps) => steps.first()?.1.concerns(),
            Subject::Agent(_) | Subject::Broadcast(..) | Subject::Session(_) => None,
        }
    }

    /// The id that a `$name` stands for.
    pub fn id(&self) -> Option<Id> {
        match self {
            Subject::Task(id)
            | Subject::Context(_, id)
            | Subject::Thread(_, id)
            | Subject::Broadcast(id, _)
            | Subject::Lease(id)
            | Subject::Session(id) => Some(*id),
            Subject::Relationship(_, id) | Subject::Claim(id) => *id,
            Subject::Progress(_, ids) => ids.first().copied(),
            Subject::Batch(steps) => steps.first()?.1.id(),
            Subject::Agent(_) => None,
        }
    }
}

/// What a decision needs to be read before the lock, and what is noticed by the way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// What it needs to know of other tasks.
    pub plan: PlanNeed,
    /// Whether it is refused if another worktree or branch has taken the task.
    pub branches: bool,
    /// Whether silent sessions are closed with it.
    pub sessions: bool,
    /// The event that it is about.
    pub event: Option<&'a EventRef>,
}

/// What a decision needs to know of other tasks than those it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlanNeed {
    /// Nothing.
    #[default]
    Nothing,
    /// The index.
    Index,
    /// The index and the ready tasks, best first: it chooses one.
    Ranking,
}

/// The arguments of a command that can be decided.
trait Decide {
    fn needs(&self) -> Needs<'_>;
    fn decide(&self, stage: &mut dyn Stage) -> Result<Subject>;
}

/// Names for each command of a module what it needs, and the function that decides it.
macro_rules! decides {
    ($($command:ident: $needs:ident => $decide:ident,)*) => {
        $(impl $crate::rules::decide::Decide for $command {
            fn needs(&self) -> $crate::rules::decide::Needs<'_> {
                $needs(self)
            }

            fn decide(&self, stage: &mut dyn Stage) -> Result<Subject> {
                $decide(stage, self)
            }
        })*
    };
}
use decides;

/// The needs of a command that names all it needs to know.
fn nothing<C>(_: &C) -> Needs<'_> {
    Needs::default()
}

/// The needs of a command whose tasks have others around them.
fn index<C>(_: &C) -> Needs<'_> {
    Needs { plan: PlanNeed::Index, ..Needs::default() }
}

macro_rules! decide_each {
    ($(#[$doc:meta])* $kind:ident { $($command:ident = $op:literal,)* }) => {
        /// Decides a command: emits its events onto the stage and returns what it created or changed.
        ///
        /// Errors: the refusal, with its code. The caller must then discard what was emitted before.
        pub fn decide(stage: &mut dyn Stage, command: &Command) -> Result<Subject> {
            match command {
                $(Command::$command(c) => c.decide(stage),)*
            }
        }

        /// What a command needs before it is decided.
        pub fn needs(command: &Command) -> Needs<'_> {
            match command {
                $(Command::$command(c) => c.needs(),)*
            }
        }
    };
}
commands!(decide_each);

decides! {
    Batch: nothing => batch,
}

fn batch(stage: &mut dyn Stage, c: &Batch) -> Result<Subject> {
    let mut done = Vec::with_capacity(c.ops.len());
    for (index, op) in c.ops.iter().enumerate() {
        let subject = decide(stage, &op.command).map_err(|mut e| {
            e.message = format!("step {} ({}): {}", index + 1, op.command.op(), e.message);
            e
        })?;
        if let (Some(name), Some(id)) = (&op.name, subject.id()) {
            stage.name(name, id)?;
        }
        done.push((op.name.clone(), subject));
    }
    Ok(Subject::Batch(done))
}
