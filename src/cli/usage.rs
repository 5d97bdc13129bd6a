//! What the parser of arguments refuses, as an error of ours; help and version as answers.
//!
//! Leaves to others: which arguments there are (`args`).

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::CommandFactory as _;

use super::args::Cli;
use super::help;
use super::output::{Form, Out, print_error};
use crate::error::{Code, Error};
use crate::model::id::quoted;
use crate::model::suggest;

/// Help and version are answers; anything else that clap refuses is `ERR_USAGE` in the requested form.
pub fn usage(e: &clap::Error, argv: &[OsString]) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(e.kind(), DisplayHelp | DisplayVersion) {
        // The reader may have closed the pipe already.
        let _ = e.print();
        return ExitCode::SUCCESS;
    }
    let said = |flag: &str| argv.iter().any(|arg| arg == flag);
    if std::io::stdout().is_terminal() && !said("--json") {
        let _ = e.print();
        return ExitCode::from(Code::Usage.exit());
    }
    let whole = e.render().to_string();
    let asked = Asked::of(&whole, argv);
    if let Some(ours) = foreign(e, &asked) {
        return print_error(&ours, Form::Json, Out::Stdout);
    }
    let message = match e.kind() {
        DisplayHelpOnMissingArgumentOrSubcommand => format!("{} needs a subcommand", asked.command),
        _ => {
            let is_ours = |l: &&str| !l.starts_with("Usage:") && !l.trim_start().starts_with("tip:");
            let said = whole.lines().take_while(is_ours).map(str::trim);
            let said: Vec<&str> = said.filter(|l| !l.is_empty() && !l.starts_with("For more information")).collect();
            // The code of an error within an argument is not that of the answer.
            said.join(" ").trim_start_matches("error: ").replace("ERR_VALIDATION: ", "")
        }
    };
    let meant = meant(e).map(|meant| format!("did you mean {meant}?"));
    let hint: Vec<String> =
        meant.into_iter().chain(asked.form).chain([format!("see {} --help", asked.command)]).collect();
    print_error(&Error::usage(message).hint(hint.join("; ")), Form::Json, Out::Stdout)
}

/// The command that the parser was at when it refused.
struct Asked {
    /// As it is typed.
    command: String,
    /// What it takes: its subcommands, or its usage.
    form: Option<String>,
}

impl Asked {
    /// From the text of the refusal, whose usage names the command, or else from the words that were typed.
    fn of(refusal: &str, argv: &[OsString]) -> Self {
        let usage = refusal.lines().find_map(|line| line.strip_prefix("Usage: "));
        let typed = argv.iter().skip(1).filter_map(|word| word.to_str());
        let words: Vec<&str> = usage.map_or_else(|| typed.collect(), |usage| usage.split(' ').skip(1).collect());
        let mut root = Cli::command();
        // The arguments of a command are made when it is asked for.
        root.build();
        let (mut command, mut names) = (&root, vec!["agentpm"]);
        for word in words {
            match command.find_subcommand(word) {
                Some(inner) => {
                    command = inner;
                    names.push(inner.get_name());
                }
                None if names.len() > 1 => break,
                // An option of the program, or its value.
                None => {}
            }
        }
        let inner: Vec<&str> =
            command.get_subcommands().filter(|one| !one.is_hide_set()).map(|one| one.get_name()).collect();
        let form = match (inner.is_empty(), names.len()) {
            (true, _) => usage.map(|usage| format!("usage: {usage}")),
            // The program itself has more commands than a hint can hold.
            (false, 1) => None,
            (false, _) => Some(format!("its subcommands: {}", inner.join(", "))),
        };
        Asked { command: names.join(" "), form }
    }

    /// The group of commands, if it is one.
    fn group(&self) -> Option<&str> {
        self.command.strip_prefix("agentpm ")
    }
}

/// The known words that are near the unknown one.
fn meant(e: &clap::Error) -> Option<String> {
    use clap::error::ContextKind::{InvalidArg, InvalidSubcommand, SuggestedArg, SuggestedSubcommand};
    use clap::error::ContextValue::{String as One, Strings as Many};
    let [unknown, suggested] = [(InvalidArg, InvalidSubcommand), (SuggestedArg, SuggestedSubcommand)]
        .map(|(arg, word)| e.get(arg).or(e.get(word)));
    let (Some(One(unknown)), Some(suggested)) = (unknown, suggested) else { return None };
    let suggested = match suggested {
        One(word) => std::slice::from_ref(word),
        Many(words) => words.as_slice(),
        _ => return None,
    };
    // What shares a beginning alone is another word.
    let bare = |word: &str| word.trim_start_matches('-').to_owned();
    let is_near = |known: &&String| suggest::slip(&bare(unknown), std::iter::once(&*bare(known))).is_some();
    let near: Vec<&str> = suggested.iter().filter(is_near).map(String::as_str).collect();
    (!near.is_empty()).then(|| near.join(" or "))
}

/// Our command for another tool's word, or for an option that is a command here.
fn foreign(e: &clap::Error, asked: &Asked) -> Option<Error> {
    if let Some(clap::error::ContextValue::String(word)) = e.get(clap::error::ContextKind::InvalidArg) {
        let is_option = word.starts_with('-');
        let form = help::OTHER_FORMS.iter().find(|(command, option, _)| {
            asked.group() == Some(command) && if is_option { word == option } else { option.is_empty() }
        });
        if let Some((_, _, ours)) = form.filter(|_| e.kind() == clap::error::ErrorKind::UnknownArgument) {
            return Some(
                Error::usage(format!("{} does not take {}", asked.command, quoted(word))).hint(format!("use {ours}")),
            );
        }
        let takes_one = asked.form.as_deref().is_some_and(|form| form.ends_with("[ID]") || form.ends_with("<ID>"));
        if takes_one && !word.starts_with('-') {
            let command = &asked.command;
            return Some(Error::usage(format!("{command} takes one task, and not also {}", quoted(word))).hint(
                "run it once for each task, or change several in one step with agentpm batch; agentpm schema batch has its form",
            ));
        }
        let option = word.split('=').next().unwrap_or_default();
        let (_, ours) = help::OTHER_OPTIONS
            .iter()
            .find(|(other, _)| *other == option && e.kind() == clap::error::ErrorKind::UnknownArgument)?;
        return Some(Error::usage(format!("there is no option {option} here")).hint(format!("use {ours}")));
    }
    let word = match e.get(clap::error::ContextKind::InvalidSubcommand)? {
        clap::error::ContextValue::String(word) => word.as_str(),
        _ => return None,
    };
    let no_command = || Error::usage(format!("there is no command {}", quoted(word)));
    let in_group =
        help::OTHER_GROUP_WORDS.iter().find(|(group, words, _)| asked.group() == Some(group) && words.contains(&word));
    if let Some((_, _, ours)) = in_group {
        return Some(no_command().hint(format!("use {ours}")));
    }
    if asked.group().is_some() && Cli::command().find_subcommand(word).is_some_and(|known| !known.is_hide_set()) {
        return Some(no_command().hint(format!("use agentpm {word}")));
    }
    // What another group calls so has nothing to do with tasks.
    asked.group().is_none_or(|group| group == "task").then_some(())?;
    let (_, ours) = help::OTHER_WORDS.iter().find(|(words, _)| words.contains(&word))?;
    Some(no_command().hint(format!("use {ours}")))
}
