//! `export`: the plan in another format, on standard output or in a file.

use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write};
use std::path::Path;

use clap::ValueEnum as _;
use serde_json::json;

use super::global::Global;
use super::options::Export;
use super::output::{Output, escape, for_terminal};
use crate::api::{self, Answer, Call};
use crate::engine::Workspace;
use crate::env::outside::Replacement;
use crate::error::{Code, Error, Result};
use crate::model::id::quoted;
use crate::model::query::{self, ExportFormat, Query};

/// Prints the plan, or writes it into a file.
pub fn export(ws: &Workspace, args: &Export, global: &Global) -> Result<Output> {
    let formats = "--format json, jsonl, csv, markdown, beads or html";
    let Some(word) = global.format.as_deref() else {
        return Err(Error::usage("export needs a format")
            .hint(format!("add {formats}; agentpm plan show prints the plan as a file for plan apply")));
    };
    let format = ExportFormat::from_str(word, true)
        .map_err(|_| Error::usage(format!("export has no format {}", quoted(word))).hint(format!("use {formats}")))?;
    match &args.output {
        Some(output) => write_file(ws, format, output),
        None if global.json => envelope(ws, format),
        None => print(ws, format),
    }
}

/// The document within a JSON answer.
fn envelope(ws: &Workspace, format: ExportFormat) -> Result<Output> {
    let answered = api::call(ws, &Call::Query(Query::Export(query::Export { format })))?;
    let Answer::Exported(exported) = answered.data else {
        return Err(Error::new(Code::Io, "an export has no other answer"));
    };
    Ok(Output { data: api::without_empty(&exported), document: true, warnings: answered.warnings, ..Output::default() })
}

/// The document alone, so that it can be redirected.
fn print(ws: &Workspace, format: ExportFormat) -> Result<Output> {
    let stdout = std::io::stdout();
    let is_json = matches!(format, ExportFormat::Json | ExportFormat::Jsonl | ExportFormat::Beads);
    let shows = is_json && stdout.is_terminal();
    let mut out = BufWriter::new(stdout.lock());
    let mut gone = false;
    let written = api::export(ws, format, &mut |piece| {
        let piece = if shows { for_terminal(piece.to_owned()) } else { piece.to_owned() };
        out.write_all(piece.as_bytes()).map_err(|e| {
            gone = e.kind() == ErrorKind::BrokenPipe;
            Error::io("write", Path::new("standard output"), &e)
        })
    });
    let flushed = out.flush();
    let warnings = match written {
        // The reader closed the pipe and has read enough.
        Err(_) if gone => Vec::new(),
        Err(e) => return Err(e),
        Ok(end) => {
            flushed
                .or_else(|e| if e.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(e) })
                .map_err(|e| Error::io("write", Path::new("standard output"), &e))?;
            end.warnings
        }
    };
    Ok(Output { is_printed: true, warnings, ..Output::default() })
}

fn write_file(ws: &Workspace, format: ExportFormat, output: &Path) -> Result<Output> {
    let path = ws.env.cwd().join(output);
    let fail = |e: std::io::Error| Error::io("write", &path, &e);
    let mut file = Replacement::begin(&path).map_err(fail)?;
    let end = api::export(ws, format, &mut |piece| file.write_all(piece.as_bytes()).map_err(fail))?;
    file.finish().map_err(fail)?;
    let shown = output.display().to_string();
    let tasks = if end.total == 1 { "task" } else { "tasks" };
    Ok(Output {
        data: json!({ "format": format, "total": end.total, "output": shown }),
        human: format!("wrote {}: {} {tasks}\n", escape(&shown), end.total),
        quiet: Some(shown),
        warnings: end.warnings,
        ..Output::default()
    })
}
