//! The terms of `--query`: which tasks to find, and in which order.
//!
//! Guarantees that a parsed query can be answered: every key is known and every value fits its key. Only [`text`] defines
//! which texts are searched and when one matches.
//! Leaves to others: the plan. The caller defines `me`, readiness, and which task a reference means.

mod read;
pub mod text;

use crate::model::args::Ref;
use crate::model::task::Status;

pub use read::{check, read};

/// A parsed query: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// The conditions.
    pub terms: Vec<Term>,
    /// The requested order.
    pub sort: Option<Sort>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Whether it is negated.
    pub not: bool,
    /// The condition.
    pub what: What,
}

/// A condition. One of several values suffices.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The task contains this text, folded by [`text::folded`].
    Text(String),
    /// Its status is one of these.
    Status(Vec<Status>),
    /// Its type is one of these.
    Type(Vec<String>),
    /// It has one of these labels.
    Label(Vec<String>),
    /// Its owner is one of these.
    Owner(Vec<Owner>),
    /// Its parent is one of these; `None` matches no parent.
    Parent(Vec<Option<Ref>>),
    /// It is one of these.
    Id(Vec<Ref>),
    /// It is in one of these states.
    Is(Vec<State>),
    /// Its priority is in one of these ranges.
    Priority(Vec<Range>),
    /// It was created then, in milliseconds since 1970.
    Created(Vec<Range>),
    /// It last changed then, in milliseconds since 1970.
    Updated(Vec<Range>),
    /// It is due then, in milliseconds since 1970.
    Due(Vec<Range>),
}

/// The owner of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    /// No owner.
    None,
    /// The caller.
    Me,
    /// An agent.
    Agent(String),
}

impl From<&str> for Owner {
    fn from(word: &str) -> Self {
        match word {
            "none" => Owner::None,
            "me" => Owner::Me,
            name => Owner::Agent(name.to_owned()),
        }
    }
}

/// The present state of a task, by the rules of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It can be worked on now.
    Ready,
    /// It waits for an unfinished task.
    Blocked,
    /// An agent holds a lease of it.
    Claimed,
    /// It is deferred.
    Deferred,
    /// It is unfinished after its due time.
    Overdue,
    /// A thread about it is open.
    Discussed,
    /// It is finished.
    Closed,
    /// It is in any state, finished or not.
    Any,
    /// Its completion is on the default branch of the remote.
    Landed,
    /// It is completed, and no other agent accepted that.
    Unreviewed,
}

impl State {
    const WORDS: [(&'static str, State); 10] = [
        ("ready", State::Ready),
        ("blocked", State::Blocked),
        ("claimed", State::Claimed),
        ("deferred", State::Deferred),
        ("overdue", State::Overdue),
        ("discussed", State::Discussed),
        ("closed", State::Closed),
        ("any", State::Any),
        ("landed", State::Landed),
        ("unreviewed", State::Unreviewed),
    ];
}

/// A range of whole numbers, both ends included; `None` is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub from: Option<i64>,
    /// The greatest.
    pub to: Option<i64>,
}

/// An order of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort {
    /// The sort key.
    pub by: SortBy,
    /// Whether the order is reversed.
    pub reverse: bool,
}

/// What tasks are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// The score of `next`, best first; closed tasks have none and come last.
    Score,
    /// The last change, newest first.
    Updated,
    /// The creation, newest first.
    Created,
    /// The priority, highest first.
    Priority,
    /// The due time, earliest first; tasks without one come last.
    Due,
    /// The title, alphabetically.
    Title,
}

impl SortBy {
    /// All of them with their names.
    pub const WORDS: [(&'static str, SortBy); 6] = [
        ("score", SortBy::Score),
        ("updated", SortBy::Updated),
        ("created", SortBy::Created),
        ("priority", SortBy::Priority),
        ("due", SortBy::Due),
        ("title", SortBy::Title),
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, by)| *by == self).map_or("", |(word, _)| word)
    }
}

impl Search {
    /// Whether it names closed tasks, so that a list must not omit them. `is:any` adds them to any query.
    pub fn names_closed(&self) -> bool {
        self.terms.iter().filter(|term| !term.not).any(|term| match &term.what {
            What::Status(_) | What::Id(_) => true,
            What::Is(states) => states
                .iter()
                .any(|state| matches!(state, State::Closed | State::Any | State::Landed | State::Unreviewed)),
            _ => false,
        })
    }
}
