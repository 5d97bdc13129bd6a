//! `import`: reads the plan of another tool from a file, a folder or standard input.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek as _, copy};
use std::path::Path;

use super::global::Global;
use super::input::read_input;
use super::options::Import;
use super::output::Output;
use super::words;
use crate::api::{self, Call};
use crate::engine::Workspace;
use crate::engine::import::is_ours;
use crate::env::outside;
use crate::error::{Error, Result};
use crate::model::job::{self, Job};

/// Imports a plan.
pub fn import(ws: &Workspace, args: Import, global: &Global) -> Result<Output> {
    let Import { from, file, dry_run } = args;
    // An idempotency key stands for the whole text.
    if is_ours(&from) && ws.request.idempotency_key.is_none() {
        let answered = api::import_export(ws, &mut open(&file)?, dry_run)?;
        return words::output(ws, answered, global);
    }
    let (text, files) = match outside::is_folder(file.as_ref()) {
        true => (String::new(), read_folder(&file)?),
        false => (read_input(&file)?, BTreeMap::new()),
    };
    let call = Call::Job(Job::Import(job::Import { from, text, files, dry_run }));
    words::output(ws, api::call(ws, &call)?, global)
}

/// Opens a file that is read twice; standard input is kept in a temporary file.
fn open(path: &str) -> Result<File> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {path}")),
        _ => Error::io("read", Path::new(path), &e),
    };
    if path != "-" {
        return outside::open(path.as_ref()).map_err(fail);
    }
    let mut file = tempfile::tempfile().map_err(fail)?;
    copy(&mut std::io::stdin().lock(), &mut file).map_err(fail)?;
    file.rewind().map_err(fail)?;
    Ok(file)
}

/// The Markdown files of a folder, and its settings.
fn read_folder(path: &str) -> Result<BTreeMap<String, String>> {
    let is_wanted = |name: &str| name.ends_with(".md") || name.ends_with("config.yml");
    outside::read_folder(path.as_ref(), is_wanted).map_err(|e| Error::io("read", Path::new(path), &e))
}
