//! Describes the arguments of a command to the parser only when the command is used.
//!
//! Guarantees that parsing, help and completion are the same as without it. Fifty commands have hundreds of arguments;
//! describing all of them costs more time than most commands take.

use clap::builder::Resettable;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, Subcommand};

use super::global::Global;

/// The arguments of a command, described when they are needed.
#[derive(Debug)]
pub struct Deferred<T>(pub T);

/// The help of a command: the options of every command are one line.
pub const TEMPLATE: &str = "\
{about-with-newline}
{usage-heading} {usage}

{all-args}{after-help}

Options of every command: agentpm help options
";

/// A flag without a value may be given twice: it says the same.
fn may_repeat(arg: Arg) -> Arg {
    let id = arg.get_id().clone();
    if matches!(arg.get_action(), ArgAction::SetTrue) { arg.overrides_with(id) } else { arg }
}

/// Words that agents use for one another: where a command has one as an option, the other means the same.
const SAME: [(&str, &str); 4] = [("why", "reason"), ("reason", "why"), ("content", "body"), ("body", "content")];

fn with_other_words(mut command: Command) -> Command {
    for (word, other) in SAME {
        let takes = |command: &Command, long: &str| {
            let is_it = |arg: &Arg| {
                arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|all| all.contains(&long))
            };
            command.get_arguments().find(|arg| is_it(arg)).map(|arg| arg.get_id().clone())
        };
        if let (Some(id), None) = (takes(&command, word), takes(&command, other)) {
            command = command.mut_arg(id, |arg| arg.alias(other));
        }
    }
    command
}

/// Adds the options of every command.
///
/// The parser itself would copy global options into each of its commands, used or not.
fn with_global(command: Command) -> Command {
    let options = Global::augment_args(Command::default());
    options.get_arguments().fold(command, |command, option| {
        let has_it = command.get_arguments().any(|own| own.get_id() == option.get_id());
        if has_it { command } else { command.arg(option.clone().global(true)) }
    })
}

/// Describes the arguments of a command, which keeps its own summary.
fn keep_about(command: Command, augment: impl FnOnce(Command) -> Command) -> Command {
    let (about, long) = (command.get_about().cloned(), command.get_long_about().cloned());
    let once = |command: Command| with_other_words(command.help_template(TEMPLATE).mut_args(may_repeat));
    let command = with_global(once(augment(command))).mut_subcommands(once);
    match about {
        Some(about) => command.about(about).long_about(long.map_or(Resettable::Reset, Resettable::Value)),
        None => command,
    }
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Deferred)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Deferred)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }

    fn update_from_arg_matches_mut(&mut self, matches: &mut ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches_mut(matches)
    }
}

impl<T: Args> Args for Deferred<T> {
    fn group_id() -> Option<clap::Id> {
        T::group_id()
    }

    fn augment_args(command: Command) -> Command {
        command.defer(|command| keep_about(command, T::augment_args))
    }

    fn augment_args_for_update(command: Command) -> Command {
        command.defer(|command| keep_about(command, T::augment_args_for_update))
    }
}

impl<T: Subcommand> Subcommand for Deferred<T> {
    fn augment_subcommands(command: Command) -> Command {
        command.defer(|command| keep_about(command, T::augment_subcommands))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        command.defer(|command| keep_about(command, T::augment_subcommands_for_update))
    }

    fn has_subcommand(name: &str) -> bool {
        T::has_subcommand(name)
    }
}
