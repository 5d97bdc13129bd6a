//! The `agentpm` program. Everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    agentpm::cli::main()
}
