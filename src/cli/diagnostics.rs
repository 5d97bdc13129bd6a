//! `diagnostics export`: what helps to find a fault, on standard output or as an archive.

use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::output::{Output, escape};
use crate::api::{self, Answer, Call};
use crate::engine::Workspace;
use crate::env::outside::Replacement;
use crate::error::{Code, Error, Result};
use crate::model::query::{Diagnostics, Query};

#[derive(Subcommand, Debug)]
pub enum DiagnosticsVerb {
    /// Collect versions, the last events, settings, measurements, what git, doctor and lint say; without texts, names and paths
    #[command(
        after_help = "Examples:\n  agentpm diagnostics export\n  agentpm diagnostics export --path diagnostics.tar.gz --last 50"
    )]
    Export(DiagnosticsExport),
}

#[derive(Args, Debug)]
pub struct DiagnosticsExport {
    #[command(flatten)]
    what: Diagnostics,
    /// Archive to write, as tar.gz (default: print the files on standard output)
    #[arg(long, short_alias = 'o', alias = "output", value_name = "FILE")]
    path: Option<PathBuf>,
}

/// Prints the files, or writes them into an archive.
pub fn diagnostics(ws: &Workspace, verb: DiagnosticsVerb) -> Result<Output> {
    let DiagnosticsVerb::Export(DiagnosticsExport { what, path }) = verb;
    let answered = api::call(ws, &Call::Query(Query::Diagnostics(what)))?;
    let Answer::Diagnostics(bundle) = answered.data else {
        return Err(Error::new(Code::Io, "diagnostics have no other answer"));
    };
    let Some(file) = path else {
        let human = bundle.files.iter().map(|file| format!("==> {} <==\n{}\n", file.name, file.text)).collect();
        return Ok(Output { data: api::without_empty(&bundle), human, ..Output::default() });
    };
    let path = ws.env.cwd().join(&file);
    let archive = bundle.archive()?;
    let write = || {
        let mut file = Replacement::begin(&path)?;
        file.write_all(&archive)?;
        file.finish()
    };
    write().map_err(|e| Error::io("write", &path, &e))?;
    let shown = file.display().to_string();
    let names: Vec<&str> = bundle.files.iter().map(|file| file.name.as_str()).collect();
    Ok(Output {
        data: json!({ "redacted": bundle.redacted, "output": shown, "files": names }),
        human: format!("wrote {}: {}\n", escape(&shown), names.join(", ")),
        quiet: Some(shown),
        ..Output::default()
    })
}
