//! What git calls: the merge driver of `task.yaml`, and the text that `git diff` shows of a log.
//!
//! Promises: the driver's result is what folding both logs gives; where it is not sure it leaves a conflict that holds both
//! files whole, and never drops a line.
//! Refuses to know: which store, branch or repository the files are of.

use std::path::Path;

use crate::env::{Env, files};
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::task::Task;
use crate::model::yaml::{is_as_written, render_task};
use crate::rules::merge::{Unclear, merge};
use crate::store::entity::MAX_YAML;
use crate::store::log::Log;
use crate::store::readable::parse_task;

/// Merges three versions of one `task.yaml` as git's merge drivers do: the result is written over `ours`. Gives the reason
/// where a conflict was left.
///
/// Errors: `ERR_IO` where a file cannot be read or written.
pub fn merge_driver(env: &Env, base: &Path, ours: &Path, theirs: &Path) -> Result<Option<String>> {
    let at = |path: &Path| env.cwd().join(path);
    let read = |path: &Path| files::read_outside(&at(path), MAX_YAML).map_err(|e| Error::io("read", path, &e));
    let (base, mine, other) = (read(base)?, read(ours)?, read(theirs)?);
    let (text, unclear) = match merge_texts(&base, &mine, &other) {
        Ok(text) => (text.into_bytes(), None),
        Err(Unclear(why)) => (conflict(&mine, &other), Some(why)),
    };
    files::write_outside(&at(ours), &text).map_err(|e| Error::io("write", ours, &e))?;
    Ok(unclear)
}

/// The merge of three versions of one `task.yaml`.
///
/// Errors: [`Unclear`] where a version cannot be read, was edited by hand, or where only the logs can tell.
pub fn merge_texts(base: &[u8], ours: &[u8], theirs: &[u8]) -> Result<String, Unclear> {
    let (ours, theirs) = (as_written("ours", ours)?, as_written("theirs", theirs)?);
    // Git's own merged ancestors may hold conflicts; a missing ancestor is empty.
    let base = as_written("the ancestor", base).ok();
    merge(base.as_ref(), &ours, &theirs).map(|task| render_task(&task))
}

fn as_written(which: &str, bytes: &[u8]) -> Result<Task, Unclear> {
    let text = std::str::from_utf8(bytes).map_err(|_| Unclear(format!("{which} is not valid UTF-8")))?;
    match is_as_written(text) {
        Some(true) => parse_task(text).map_err(|why| Unclear(format!("{which} cannot be read: {why}"))),
        Some(false) => Err(Unclear(format!("{which} was edited by hand"))),
        None => Err(Unclear(format!("{which} carries no sum"))),
    }
}

fn conflict(ours: &[u8], theirs: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ours.len() + theirs.len() + 64);
    for (mark, side) in [("<<<<<<< ours", ours), ("=======", theirs)] {
        out.extend_from_slice(mark.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(side);
        if !side.ends_with(b"\n") {
            out.push(b'\n');
        }
    }
    out.extend_from_slice(b">>>>>>> theirs\n");
    out
}

/// A log as lines that people read: when, who, what, why. A line that is no event is shown as it is.
///
/// Errors: `ERR_IO` where the file cannot be read.
pub fn textconv(env: &Env, path: &Path) -> Result<String> {
    let bytes = files::read_outside(&env.cwd().join(path), crate::store::log::MAX_LOG)
        .map_err(|e| Error::io("read", path, &e))?;
    let log = Log::read(&bytes[..]).map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let mut lines: Vec<String> = log.entries.iter().map(in_words).collect();
    lines.extend(log.foreign.iter().map(|(_, line)| String::from_utf8_lossy(line).into_owned()));
    Ok(lines.join("\n") + "\n")
}

fn in_words(entry: &Entry) -> String {
    let event = &entry.event;
    let id = event.id.to_string();
    let about = match &event.entity {
        Entity::Agent(name) => format!(" {name}"),
        _ => String::new(),
    };
    let why = event.why.as_ref().map(|why| format!("  ({why})")).unwrap_or_default();
    let payload = event.payload.to_raw();
    format!(
        "{} {} {}{about} {}{why}  [{}]",
        event.at,
        event.author.agent,
        event.payload.kind(),
        payload.get(),
        &id[20..]
    )
}
