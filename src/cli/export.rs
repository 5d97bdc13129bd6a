//! `export`: the plan in another format, on standard output or in a file.

use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::args::{Export, Global};
use super::output::{Output, escape};
use crate::api::{self, Answer, Call};
use crate::engine::Workspace;
use crate::env::files;
use crate::error::{Code, Error, Result};
use crate::model::id::quoted;
use crate::model::query::{self, ExportFormat, Query};

/// Prints the plan, or writes it into a file.
pub fn export(ws: &Workspace, args: &Export, global: &Global) -> Result<Output> {
    let Some(word) = global.format.as_deref() else {
        return Err(Error::usage("export needs a format")
            .hint("add --format html; agentpm plan show prints the plan as a file for plan apply"));
    };
    let format = ExportFormat::from_str(word, true)
        .map_err(|_| Error::usage(format!("export has no format {}", quoted(word))).hint("use --format html"))?;
    let answered = api::call(ws, &Call::Query(Query::Export(query::Export { format })))?;
    let warnings = answered.warnings;
    let Answer::Exported(exported) = answered.data else {
        return Err(Error::new(Code::Io, "an export has no other answer"));
    };
    let Some(output) = &args.output else {
        // The document alone, so that it can be redirected; it is not held twice.
        let data = if global.json { json!(exported) } else { Value::Null };
        return Ok(Output { data, human: exported.text, document: true, warnings, ..Output::default() });
    };
    let path = ws.env.cwd().join(output);
    files::write_outside(&path, exported.text.as_bytes()).map_err(|e| Error::io("write", &path, &e))?;
    let shown = output.display().to_string();
    let tasks = if exported.total == 1 { "task" } else { "tasks" };
    Ok(Output {
        data: json!({ "format": format, "total": exported.total, "output": shown }),
        human: format!("wrote {}: {} {tasks}\n", escape(&shown), exported.total),
        quiet: Some(shown),
        warnings,
        ..Output::default()
    })
}
