//! What the parser of arguments refuses, as an error of ours; help and version as answers.
//!
//! Leaves to others: which arguments there are (`args`).

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::process::ExitCode;

use super::help;
use super::output::{Form, Out, print_error};
use crate::error::{Code, Error};
use crate::model::id::quoted;

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
    if let Some(ours) = foreign(e) {
        return print_error(&ours, Form::Json, Out::Stdout);
    }
    let message = match e.kind() {
        DisplayHelpOnMissingArgumentOrSubcommand => "a subcommand is missing".to_owned(),
        _ => {
            let said: Vec<&str> =
                whole.lines().take_while(|l| !l.starts_with("Usage:") && !l.trim_start().starts_with("tip:")).collect();
            said.iter()
                .map(|l| l.trim())
                .filter(|l| !l.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
                .trim_start_matches("error: ")
                .to_owned()
        }
    };
    let tip = whole.lines().find(|line| line.trim_start().starts_with("tip:")).map(|line| format!("{}; ", line.trim()));
    let hint = format!("{}see agentpm --help and the --help of the command", tip.unwrap_or_default());
    print_error(&Error::usage(message).hint(hint), Form::Json, Out::Stdout)
}

/// Our command for another tool's word, or for an option that is a command here.
fn foreign(e: &clap::Error) -> Option<Error> {
    if let Some(clap::error::ContextValue::String(word)) = e.get(clap::error::ContextKind::InvalidArg) {
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
    let (_, ours) = help::OTHER_WORDS.iter().find(|(words, _)| words.contains(&word))?;
    Some(Error::usage(format!("there is no command {}", quoted(word))).hint(format!("use {ours}")))
}
