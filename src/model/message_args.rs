//! The arguments of messages: the text of a broadcast or of a thread, with the task or thread that it is about.
//!
//! Guarantees that on the command line a text needs no flag, and that in JSON each argument has a key of its own.
//! Leaves to others: what a task or a thread refers to.

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::args::{LITERAL, OptionalTaskRef, Text, ThreadRef, literal_texts, positional_text};
use crate::model::thread::Resolution;

/// Implements the traits of clap by two functions: one that adds the arguments, and one that reads them.
macro_rules! args {
    ($name:ident, $augment:path, $read:path) => {
        impl Args for $name {
            fn augment_args(cmd: clap::Command) -> clap::Command {
                $augment(cmd)
            }
            fn augment_args_for_update(cmd: clap::Command) -> clap::Command {
                $augment(cmd)
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                $read(matches)
            }
            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = $read(matches)?;
                Ok(())
            }
        }
    };
}

/// The text of a message, as the first positional argument or as a flag.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Body(pub Text);

/// A task and the text of a message about it: `[ID] TEXT`, or `--task-id` and `--body`. Without an id it is the task that the
/// caller holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskMessage {
    /// The task (default: the one you hold)
    #[serde(default)]
    pub task_id: OptionalTaskRef,
    /// Text of the first message
    pub body: Text,
}

/// A thread and the text of a message in it: `THREAD TEXT`, or `--thread` and `--body`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ThreadMessage {
    /// Thread
    pub thread: ThreadRef,
    /// Text of the message
    pub body: Text,
}

/// How a thread is resolved: `--resolution WORD`, or a flag of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ResolutionChoice(pub Resolution);

/// Why a closed task is opened again: `--reason`; `--why` alone means the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ReopenReason(pub Text);

args!(ReopenReason, reason_args, read_reason);
args!(Body, body_args, read_body);
args!(TaskMessage, task_message_args, read_task_message);
args!(ThreadMessage, thread_message_args, read_thread_message);
args!(ResolutionChoice, resolution_args, read_resolution);

fn reason_args(cmd: clap::Command) -> clap::Command {
    let reason = Arg::new("reason").long("reason").value_name("TEXT").allow_hyphen_values(true);
    let reason = reason.help("Reason why the task is not done").value_parser(clap::value_parser!(Text));
    cmd.arg(reason.required_unless_present("why"))
}

fn read_reason(matches: &ArgMatches) -> Result<ReopenReason, clap::Error> {
    Ok(ReopenReason(text(matches, "reason").or_else(|| text(matches, "why")).unwrap_or_default()))
}

fn body_flag() -> Arg {
    let flag = Arg::new("body").long("body").value_name("TEXT").allow_hyphen_values(true);
    flag.help("The text, as a flag").value_parser(clap::value_parser!(Text))
}

fn positional(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value).help(help).allow_hyphen_values(true).value_parser(positional_text())
}

fn body_args(cmd: clap::Command) -> clap::Command {
    cmd.arg(positional("first", "TEXT", "Text of the message").required_unless_present_any(["body", LITERAL]))
        .arg(body_flag().conflicts_with_all(["first", LITERAL]))
        .arg(literal_texts().num_args(1).conflicts_with("first"))
}

fn read_body(matches: &ArgMatches) -> Result<Body, clap::Error> {
    Ok(Body(["body", "first", LITERAL].into_iter().find_map(|name| text(matches, name)).unwrap_or_default()))
}

fn task_message_args(cmd: clap::Command) -> clap::Command {
    cmd.arg(positional("first", "ID", "The task, if it is not the one you hold"))
        .arg(positional("second", "TEXT", "Text of the first message; alone, it is about the task you hold"))
        .arg(Arg::new("flag").long("task-id").visible_alias("id").value_name("ID").help("The task, as a flag"))
        .arg(body_flag())
        .arg(literal_texts().num_args(1..))
}

fn read_task_message(matches: &ArgMatches) -> Result<TaskMessage, clap::Error> {
    let (task, body) = about(matches)?;
    Ok(TaskMessage { task_id: OptionalTaskRef(task), body })
}

fn thread_message_args(cmd: clap::Command) -> clap::Command {
    let thread = "Its id, a unique prefix of it, or its end (4 characters or more)";
    cmd.arg(positional("first", "THREAD", thread).required_unless_present("flag"))
        .arg(positional("second", "TEXT", "Text of the message"))
        .arg(Arg::new("flag").long("thread").visible_alias("id").value_name("THREAD").help("The thread, as a flag"))
        .arg(body_flag())
        .arg(literal_texts().num_args(1..))
}

fn read_thread_message(matches: &ArgMatches) -> Result<ThreadMessage, clap::Error> {
    let (thread, body) = about(matches)?;
    Ok(ThreadMessage { thread: ThreadRef(thread.ok_or_else(|| refused("the thread is missing"))?), body })
}

/// What a message is about, and its text. A positional argument alone is the text, unless a flag gives that.
fn about(matches: &ArgMatches) -> Result<(Option<String>, Text), clap::Error> {
    let literal = matches.get_many::<Text>(LITERAL).into_iter().flatten().cloned();
    let given = [text(matches, "first"), text(matches, "second")].into_iter().flatten().chain(literal);
    let (mut about, mut body) = (matches.get_one::<String>("flag").cloned(), text(matches, "body"));
    let positional: Vec<Text> = given.collect();
    let missing = usize::from(body.is_none());
    let mut rest = positional.into_iter();
    if about.is_none() && rest.len() > missing {
        about = rest.next().map(|first| first.0);
    }
    body = body.or_else(|| rest.next());
    match (body, rest.next()) {
        (Some(body), None) => Ok((about, body)),
        (None, _) => Err(refused("the text is missing")),
        (Some(_), Some(_)) => Err(refused("the text is there twice")),
    }
}

fn resolution_args(cmd: clap::Command) -> clap::Command {
    let word = Arg::new("resolution").long("resolution").value_name("RESOLUTION");
    let word = word.value_parser(clap::value_parser!(Resolution)).help("Resolution: accept, reject or supersede");
    let flags = [("accept", "The same as --resolution accept"), ("reject", "The same as --resolution reject")];
    let flag = |(name, help): (&'static str, &'static str)| {
        let flag = Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
        flag.conflicts_with("resolution")
    };
    let [accept, reject] = flags.map(flag);
    cmd.arg(word.required_unless_present_any(["accept", "reject"])).arg(accept.conflicts_with("reject")).arg(reject)
}

fn read_resolution(matches: &ArgMatches) -> Result<ResolutionChoice, clap::Error> {
    let flag = |name: &str, resolution| matches.get_flag(name).then_some(resolution);
    let word = matches.get_one::<Resolution>("resolution").copied();
    let given = word.or(flag("accept", Resolution::Accept)).or(flag("reject", Resolution::Reject));
    given.map(ResolutionChoice).ok_or_else(|| refused("the resolution is missing"))
}

fn text(matches: &ArgMatches, name: &str) -> Option<Text> {
    matches.get_one::<Text>(name).cloned()
}

fn refused(why: &str) -> clap::Error {
    clap::Error::raw(ErrorKind::ValueValidation, why)
}
