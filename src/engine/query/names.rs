//! Handles and titles in place of ids, in what people read.
//!
//! Guarantees that only ids of tasks that are here are replaced, and none within a path. The details of an error keep the ids.

use serde_json::{Value, json};

use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Code, Error};
use crate::model::id::Id;
use crate::rules::held::NamedTask;

/// The characters of an id.
const LENGTH: usize = 26;

/// Most tasks that an unknown reference is taken for.
const MAX_MEANT: usize = 3;

/// The error with handle and title for each task that its message names by id. A hint holds commands, so it gets the handle alone.
pub fn name_tasks(ws: &Workspace, error: Error) -> Error {
    let message = replace_ids(ws, &error.message, NamedTask::words);
    let hint = error.hint.as_ref().map(|hint| replace_ids(ws, hint, |task| task.handle.clone()));
    let error = Error { message, hint, ..error };
    match error.code {
        Code::AmbiguousId => name_candidates(ws, error),
        Code::NotFound => name_meant(ws, error),
        _ => error,
    }
}

/// Names the tasks that an unknown reference to a task may mean: those of that title, or of that key in a plan that was applied.
fn name_meant(ws: &Workspace, mut error: Error) -> Error {
    let Some(reference) = error.details["reference"].as_str() else { return error };
    // What cannot be looked for is not proposed.
    let found = read::index(ws).and_then(|index| index.called(reference, MAX_MEANT)).unwrap_or_default();
    let meant: Vec<NamedTask> = found.into_iter().filter_map(|id| named(ws, id)).collect();
    if !meant.is_empty() {
        let words: Vec<String> = meant.iter().map(NamedTask::words).collect();
        error.hint = Some(format!("a task is named by its id or handle; it may be {}", words.join(" or ")));
        error.details["meant"] = json!(meant);
    }
    error
}

/// A text with handle and title for each task that it names by id.
pub fn name_tasks_in(ws: &Workspace, text: &str) -> String {
    replace_ids(ws, text, NamedTask::words)
}

/// A task that is here, by its names.
fn named(ws: &Workspace, id: Id) -> Option<NamedTask> {
    let title = read::load_task(ws, id).ok()?.task.fields.title;
    Some(NamedTask::new(id, read::handle(ws, id).ok()?, &title))
}

/// Adds handle and title to the candidates of an ambiguous reference, where they are tasks.
fn name_candidates(ws: &Workspace, mut error: Error) -> Error {
    let ids = error.details["candidates"].as_array().cloned().unwrap_or_default();
    let task = |id: &Value| named(ws, id.as_str()?.parse().ok()?);
    let Some(tasks) = ids.iter().map(task).collect::<Option<Vec<NamedTask>>>().filter(|tasks| !tasks.is_empty()) else {
        return error;
    };
    let mut words: Vec<String> = tasks.iter().map(|task| format!("{} {}", task.handle, task.title)).collect();
    let more = error.details["total"].as_u64().unwrap_or(0).saturating_sub(tasks.len() as u64);
    words.extend((more > 0).then(|| format!("and {more} more")));
    error.message = format!("{}: {}", error.message, words.join("; "));
    error.details["candidates"] = json!(tasks);
    error
}

fn replace_ids(ws: &Workspace, text: &str, words: impl Fn(&NamedTask) -> String) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let end = rest[begin..].find(|c: char| !c.is_ascii_alphanumeric()).map_or(rest.len(), |length| begin + length);
        let word = &rest[begin..end];
        let before = rest[..begin].chars().next_back().or_else(|| out.chars().next_back());
        let is_in_path = before == Some('/') || rest[end..].starts_with('/');
        let id = word.parse::<Id>().ok().filter(|_| word.len() == LENGTH && !is_in_path);
        out.push_str(&rest[..begin]);
        match id.and_then(|id| named(ws, id)) {
            Some(task) => out.push_str(&words(&task)),
            None => out.push_str(word),
        }
        rest = &rest[end..];
    }
    out + rest
}
