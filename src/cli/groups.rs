//! Changes as commands of their groups.
//!
//! Guarantees that a change named `group.verb` is a command, with the summary, the example and the arguments that stand with it.
//! Leaves to others: queries, and the commands that say more than the arguments of a change (`verbs`).

use std::marker::PhantomData;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Error, FromArgMatches, Subcommand};

use crate::api::Call;
use crate::model::command::{self as c, Command};

/// A change as a command of its group: `task.block` is `task block`.
#[derive(Debug)]
pub struct Changes<G>(Box<Command>, PhantomData<G>);

/// A group of commands.
pub trait Group {
    /// What the names of its operations begin with.
    const NAME: &'static str;
    /// The changes with a command of their own in `verbs`, which says more than their arguments.
    const OTHERS: &'static [&'static str] = &[];
}

/// A change: its name, what describes its arguments, and what reads them.
type Parser = (&'static str, fn(clap::Command) -> clap::Command, fn(&mut ArgMatches) -> Result<Command, Error>);

macro_rules! parsers {
    ($(#[$doc:meta])* $kind:ident { $($change:ident = $op:literal,)* }) => {
        const PARSERS: &[Parser] = &[$((
            $op,
            c::$change::augment_args,
            |matches| c::$change::from_arg_matches_mut(matches).map(Command::$change),
        )),*];
    };
}
c::commands!(parsers);

impl<G: Group> Changes<G> {
    fn parsers() -> impl Iterator<Item = (&'static str, &'static Parser)> {
        let verb = |op: &'static str| op.strip_prefix(G::NAME)?.strip_prefix('.');
        let all = PARSERS.iter().filter_map(move |parser| Some((verb(parser.0)?, parser)));
        all.filter(|(verb, _)| !G::OTHERS.contains(verb))
    }

    pub fn call(self) -> Call {
        Call::Change(*self.0)
    }
}

impl<G: Group> Subcommand for Changes<G> {
    fn augment_subcommands(group: clap::Command) -> clap::Command {
        let add = |group: clap::Command, (verb, (_, describe, _)): (&'static str, &Parser)| {
            group.subcommand(describe(clap::Command::default().name(verb)))
        };
        Self::parsers().fold(group, add)
    }

    fn augment_subcommands_for_update(group: clap::Command) -> clap::Command {
        Self::augment_subcommands(group)
    }

    fn has_subcommand(name: &str) -> bool {
        Self::parsers().any(|(verb, _)| verb == name)
    }
}

impl<G: Group> FromArgMatches for Changes<G> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        let (name, mut args) = matches.remove_subcommand().unwrap_or_default();
        let found = Self::parsers().find(|(verb, _)| *verb == name);
        let (_, (_, _, read)) = found.ok_or_else(|| Error::new(ErrorKind::InvalidSubcommand))?;
        read(&mut args).map(|command| Changes(Box::new(command), PhantomData))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        Self::from_arg_matches(matches).map(|read| *self = read)
    }
}

macro_rules! groups {
    ($($group:ident = $name:literal $(besides $others:expr)?,)*) => {$(
        #[derive(Debug)]
        pub struct $group;

        impl Group for $group {
            const NAME: &'static str = $name;
            $(const OTHERS: &'static [&'static str] = $others;)?
        }
    )*};
}

groups! {
    TaskGroup = "task" besides &["create", "update", "split"],
    ProgressGroup = "progress",
    ContextGroup = "context" besides &["add"],
    ThreadGroup = "thread",
    SessionGroup = "session",
    LeaseGroup = "lease",
}
