//! The words of `--query`: which tasks are looked for, and in which order.
//!
//! Promises: a query that was read can be answered: every key is known and every value is one of its key. What a text is
//! looked for in, and when it occurs there, is said in [`text`] alone.
//! Refuses to know: the plan. Who `me` is, what is ready and which task a reference means is for the asker to say.

mod read;
pub mod text;

use crate::model::task::Status;
use crate::model::words::Ref;

pub use read::{check, read};

/// What a query asks for: all terms hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Search {
    /// What must hold.
    pub terms: Vec<Term>,
    /// The order that is asked for.
    pub sort: Option<Sort>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    /// Whether it must not hold.
    pub not: bool,
    /// What.
    pub what: What,
}

/// What a term asks for. Of several values one is enough.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// This text occurs; folded by [`text::folded`].
    Text(String),
    /// It stands at one of these.
    Status(Vec<Status>),
    /// It is of one of these kinds of work.
    Type(Vec<String>),
    /// It has one of these labels.
    Label(Vec<String>),
    /// It belongs to one of these.
    Owner(Vec<Owner>),
    /// It is a part of one of these; of none where `None`.
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
}

/// Whose a task is.
#[derive(Clone, Debug, PartialEq)]
pub enum Owner {
    /// Nobody's.
    None,
    /// That of whoever asks.
    Me,
    /// An agent's.
    Agent(String),
}

/// What a task is at the moment, by the rules of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It could be worked on now.
    Ready,
    /// It waits for another task that is not finished.
    Blocked,
    /// Somebody holds a lease of it.
    Claimed,
    /// Its time has not come.
    Deferred,
    /// Nothing more is to be done.
    Closed,
}

impl State {
    const WORDS: [(&'static str, State); 5] = [
        ("ready", State::Ready),
        ("blocked", State::Blocked),
        ("claimed", State::Claimed),
        ("deferred", State::Deferred),
        ("closed", State::Closed),
    ];
}

/// Whole numbers from one to another, both included; without end where `None`.
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
    /// By what.
    pub by: SortBy,
    /// The other way round.
    pub reverse: bool,
}

/// What tasks are put in order by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// The score of `next`, best first; tasks that have none, because they are closed, come last.
    Score,
    /// The last change, newest first.
    Updated,
    /// The creation, newest first.
    Created,
    /// The priority, highest first.
    Priority,
    /// The title, by its letters.
    Title,
}

impl SortBy {
    /// All of them with their words.
    pub const WORDS: [(&'static str, SortBy); 5] = [
        ("score", SortBy::Score),
        ("updated", SortBy::Updated),
        ("created", SortBy::Created),
        ("priority", SortBy::Priority),
        ("title", SortBy::Title),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, by)| *by == self).map_or("", |(word, _)| word)
    }
}

impl Search {
    /// Whether closed tasks are among what it names, so that a list does not leave them out.
    pub fn names_closed(&self) -> bool {
        self.terms.iter().filter(|term| !term.not).any(|term| match &term.what {
            What::Status(_) | What::Id(_) => true,
            What::Is(states) => states.contains(&State::Closed),
            _ => false,
        })
    }
}
