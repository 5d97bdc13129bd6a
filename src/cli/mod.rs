//! The command line: words in, words out.
//!
//! Guarantees one JSON document on stdout for success and for failure; logs, warnings and errors for people on stderr;
//! exit codes as documented. Colour and tables only where stdout is a terminal.
//! Leaves to others: the rules of the plan.

mod args;
#[cfg(feature = "bus")]
mod bus;
mod changes;
mod deferred;
mod diagnostics;
mod documents;
mod exchange;
mod export;
mod global;
mod groups;
mod help;
mod import;
mod input;
mod lint;
mod next_words;
mod options;
mod output;
mod page;
mod report_words;
mod reserved;
mod respond;
mod review;
mod run;
mod sarif;
#[cfg(feature = "server")]
mod serve;
mod table;
mod task_words;
mod text;
mod threads;
mod usage;
mod verbs;
mod words;
mod work;

use std::process::ExitCode;

pub use output::escape;

/// Runs the program with the process's arguments and environment.
pub fn main() -> ExitCode {
    run::run(std::env::args_os().collect())
}
