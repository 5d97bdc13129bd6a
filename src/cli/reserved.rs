//! A command's name where a text is expected: `note list` asks for a list, and `add help` for help.
//!
//! Leaves to others: texts of several words, which are texts.

use clap::{ArgMatches, CommandFactory as _};

use super::args::Cli;
use crate::error::Error;
use crate::model::args::{LITERAL, Text};
use crate::model::id::quoted;

/// A command that takes a text: its words, the group whose commands are meant, the command that lists, and the flag of the text.
type TakesText = (&'static [&'static str], &'static str, &'static str, &'static str);

const TAKE_TEXTS: &[TakesText] = &[
    (&["add"], "task", "ls", "--title"),
    (&["task", "create"], "task", "ls", "--title"),
    (&["note"], "context", "show", "--content"),
    (&["context", "add"], "context", "show", "--content"),
    (&["progress", "add"], "progress", "show", "--content"),
    (&["broadcast"], "broadcast", "log --type Broadcast", "--body"),
    (&["thread", "open"], "thread", "thread list", "--body"),
];

/// The refusal of a text that is a single word, and that a command's name.
pub fn refusal(matches: &ArgMatches) -> Option<Error> {
    let (mut leaf, mut path) = (matches, Vec::new());
    while let Some((name, inner)) = leaf.subcommand() {
        path.push(name);
        leaf = inner;
    }
    let (_, group, list, flag) = TAKE_TEXTS.iter().find(|(words, ..)| *words == path)?;
    let word = lone_word(leaf)?;
    let command = path.join(" ");
    let meant = match word {
        "help" => format!("{command} --help"),
        "list" => (*list).to_owned(),
        _ => command_named(group, word)?,
    };
    let title = quoted(word);
    Some(Error::usage(format!("{title} alone is the name of a command")).hint(format!(
        "use agentpm {meant}; as a text: agentpm {command} {flag} {word}, or agentpm {command} -- {word}"
    )))
}

/// The only text of a command, if it is one word without a flag.
fn lone_word(leaf: &ArgMatches) -> Option<&str> {
    let is_given = |name: &&str| leaf.try_contains_id(name).unwrap_or(false);
    if ["second", "content", "body", LITERAL].iter().any(&is_given) {
        return None;
    }
    let first = ["positional", "first"].into_iter().find(is_given)?;
    let text = leaf.try_get_one::<Text>(first).ok().flatten().map(|text| text.0.as_str());
    // To describe all commands takes as long as most of them: most texts cannot be the name of one.
    text.filter(|text| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
}

/// The command of a group, or else of the program, with this name.
fn command_named(group: &str, word: &str) -> Option<String> {
    let mut root = Cli::command();
    root.build();
    let has =
        |command: &clap::Command| command.get_subcommands().any(|one| one.get_name() == word && !one.is_hide_set());
    if root.find_subcommand(group).is_some_and(has) {
        return Some(format!("{group} {word}"));
    }
    has(&root).then(|| word.to_owned())
}
