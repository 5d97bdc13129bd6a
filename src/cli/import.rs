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
use crate::env::outside::{self, Folder};
use crate::error::{Error, Result};
use crate::model::job::{self, Job};

/// Imports a plan.
pub fn import(ws: &Workspace, args: Import, global: &Global) -> Result<Output> {
    let Import { from, file, dry_run } = args;
    let folder = if outside::is_folder(file.as_ref()) { Some(list_folder(&file)?) } else { None };
    let answered = match (folder, ws.request.idempotency_key.is_some()) {
        (None, false) => api::import_file(ws, &from, &mut open(&file)?, dry_run)?,
        (Some(folder), false) => {
            let mut read = |path: &str| folder.text(path).map_err(failure("read", &file));
            api::import_folder(ws, &from, &folder.paths(), &mut read, dry_run)?
        }
        // An idempotency key stands for the whole text.
        (folder, true) => {
            let text = if folder.is_none() { read_input(&file)? } else { String::new() };
            let files =
                folder.map_or_else(|| Ok(BTreeMap::new()), |folder| folder.texts()).map_err(failure("read", &file))?;
            api::call(ws, &Call::Job(Job::Import(job::Import { from, text, files, dry_run })))?
        }
    };
    words::output(ws, answered, global)
}

/// Opens a file that is read twice; standard input is kept in a temporary file.
fn open(path: &str) -> Result<File> {
    let fail = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {path}")),
        _ => failure("read", path)(e),
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
fn list_folder(path: &str) -> Result<Folder> {
    let is_wanted = |name: &str| name.ends_with(".md") || name.ends_with("config.yml");
    Folder::list(path.as_ref(), is_wanted).map_err(failure("list", path))
}

/// What could not be done to a path.
fn failure(verb: &'static str, path: &str) -> impl Fn(std::io::Error) -> Error {
    move |e| Error::io(verb, Path::new(path), &e)
}
