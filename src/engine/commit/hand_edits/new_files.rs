//! Creates tasks from files that a person wrote below `tasks`.
//!
//! Guarantees that a file becomes exactly one task, even if the command is killed and repeated. The file is removed only after its
//! task is recorded, and only if it did not change meanwhile. A refused file stays, with line and reason.
//! Leaves to others: what the keys may hold (`rules::decide::edit`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::record::{Comments, comment_lost, placed, refuse_bare};
use crate::engine::commit::idempotency::{Action, Key, Order};
use crate::engine::commit::transaction::Transaction;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::env::files::Kind;
use crate::error::{Code, Error, Result};
use crate::model::args::Title;
use crate::model::command::{Command, TaskCreate};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Refusal, Rule};
use crate::model::id::{Id, is_shard_part};
use crate::rules::decide::Subject;
use crate::rules::decide::edit::{Doc, begin};
use crate::runtime::records::digest;
use crate::store::comments::{Comment, comments};
use crate::store::entity::{MAX_YAML, read_log};
use crate::store::layout::{InvalidPath, TASKS, task_dir};
use crate::store::place::{line_of_key, not_text};
use crate::store::yaml;

/// A file that may become a task.
#[derive(Clone, Debug)]
pub(crate) struct NewFile {
    /// Its path below the store.
    pub path: PathBuf,
    /// The id that its folder gives it.
    pub id: Option<Id>,
    /// The task whose file it copies; a copy does not become a task.
    pub copy_of: Option<Id>,
}

/// The content of a new file.
#[derive(Debug)]
pub(crate) struct NewFileText {
    /// Its path, for messages.
    pub path: String,
    text: String,
    doc: Doc,
    comments: Vec<Comment>,
}

/// The files below `tasks` without events: folders of tasks without a log, and YAML files elsewhere.
pub(crate) fn new_files(ws: &Workspace, folders: &[Id], odd: &[InvalidPath]) -> Vec<NewFile> {
    let made = |path: PathBuf, id: Option<Id>| {
        let bytes = ws.store.dir.read(&path, MAX_YAML).unwrap_or_default();
        let copy_of = origin(&bytes, id, &|id| folders.binary_search(&id).is_ok())?;
        Some(NewFile { path, id, copy_of })
    };
    let at_home = folders.iter().map(|id| (task_dir(*id).join("task.yaml"), *id));
    let unlogged = at_home.filter_map(|(path, id)| {
        let there = |path: &Path| ws.store.dir.kind(path).ok().flatten();
        let log = path.with_file_name(crate::store::layout::LOG);
        (there(&log).is_none() && there(&path) == Some(Kind::File)).then(|| made(path, Some(id)))?
    });
    let elsewhere = odd.iter().filter_map(|(path, kind)| match kind {
        Kind::File if is_yaml(path) => Some(path.clone()),
        Kind::Dir => {
            let inside = path.join("task.yaml");
            (ws.store.dir.kind(&inside).ok().flatten() == Some(Kind::File)).then_some(inside)
        }
        _ => None,
    });
    unlogged.chain(elsewhere.filter_map(|path| made(path, None))).collect()
}

/// The finding for a new file.
pub(crate) fn new_file_finding(ws: &Workspace, new: &NewFile) -> Finding {
    let bytes = new.copy_of.and_then(|_| ws.store.dir.read(&new.path, MAX_YAML).ok()).unwrap_or_default();
    found(ws.store.shown(&new.path), new.id, new.copy_of, &bytes)
}

/// Creates a task from a new file. Returns its id.
///
/// Errors: `ERR_CORRUPT` if the file cannot be read, and the refusals of the commands that would have made the task, with
/// `path` and `line` in the details.
pub(crate) fn adopt(ws: &Workspace, new: &NewFile, remarks: Comments) -> Result<Id> {
    // Before the file is read: another command may have recorded and removed it by then.
    let mark = ws.store.dir.mark(&new.path).ok().flatten().unwrap_or_default();
    let words = read_new_file(ws, new, remarks)?;
    // A command that is repeated after a kill, or that another agent began too, makes the same task; a file of another time is another
    // task.
    let key = format!("file {} {} {} {}", words.path, mark.ctime, mark.inode, digest(&words.text));
    let title = words.doc.get("title").and_then(Value::as_str).unwrap_or_default();
    let command = Command::TaskCreate(TaskCreate { title: Title(title.into()), ..TaskCreate::default() });
    let key = Key::new(&digest(&key), "task.create", &command.to_json())?.of_anyone();
    let order = Order { action: Action::Command(&command), key: Some(&key) };
    let reply = write::carry_out(ws, ws.author()?, order, &[], |tx| {
        let id = tx.create_from_file(new, &words, remarks)?;
        if new.id.is_some() {
            tx.taken_in.insert(id, (words.text.clone().into_bytes(), "a new task".into()));
        }
        Ok(Subject::Task(id))
    })?;
    let id = reply.subject.id().ok_or_else(|| corrupt(&words.path, "no task was made of it"))?;
    if new.id.is_none() {
        remove_recorded(ws, &new.path, words.text.as_bytes())?;
    }
    Ok(id)
}

/// Reads a new file.
///
/// Errors: `ERR_CORRUPT` if the file cannot be read, `ERR_CONFLICT` if it holds comments that are not to be lost.
pub(crate) fn read_new_file(ws: &Workspace, new: &NewFile, remarks: Comments) -> Result<NewFileText> {
    let path = ws.store.shown(&new.path);
    if let Some(task) = new.copy_of {
        let mut e = copied(task);
        e.message = format!("{path}: {}", e.message);
        return Err(e);
    }
    let bytes =
        ws.store.dir.read(&new.path, MAX_YAML).map_err(|e| Error::io("read", &ws.store.path().join(&new.path), &e))?;
    let (text, value) = read(&path, &bytes)?;
    let found = comments(&text, &value);
    if let (Comments::Refuse, Some(comment)) = (remarks, found.first()) {
        return Err(comment_lost(&path, comment).with(json!({ "path": path, "line": comment.0 })));
    }
    refuse_bare(new.id, &path, &text, &value).map_err(|mut e| {
        e.message = e.message.replacen("the edit of ", "", 1);
        e
    })?;
    match value {
        Value::Object(doc) => Ok(NewFileText { path, text, doc, comments: found }),
        _ => Err(corrupt(&path, "it is no mapping of keys to values")),
    }
}

/// Removes a file whose words are recorded, and the folders that are empty without it.
fn remove_recorded(ws: &Workspace, path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Error::io("remove", &ws.store.path().join(path), &e);
    match ws.store.dir.read(path, MAX_YAML) {
        Ok(now) if now == bytes => {}
        // A file that was edited meanwhile is another new file.
        Ok(_) => return Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    ws.store.dir.dir(folder).and_then(|dir| dir.remove(name)).map_err(failed)?;
    for folder in folder.ancestors().take_while(|folder| *folder != Path::new(TASKS)) {
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else { break };
        // A folder of the fan-out stays, since another process may be creating a task in it.
        if name.to_str().is_some_and(is_shard_part) {
            break;
        }
        // A folder with other files stays too.
        if ws.store.dir.dir(above).and_then(|dir| dir.remove_empty(name)).is_err() {
            break;
        }
    }
    Ok(())
}

impl Transaction<'_> {
    /// Creates a task from the content of a new file, in this transaction. Returns its id.
    ///
    /// Errors: the refusals of the commands that would have made the task, with `path` and `line` in the details.
    pub(crate) fn create_from_file(&mut self, new: &NewFile, words: &NewFileText, remarks: Comments) -> Result<Id> {
        let NewFileText { path, text, doc, comments } = words;
        if let Some(id) = new.id
            && !read_log(&self.ws.store, &Entity::Task(id))?.entries.is_empty()
        {
            return Err(Error::new(Code::Conflict, format!("{path}: its log exists now; nothing was written"))
                .hint("run agentpm lint again"));
        }
        let id = begin(self, new.id, doc).map_err(|misfit| {
            let mut error = placed(*misfit, new.id, path, text);
            error.message = error.message.replacen("the edit of ", "", 1);
            error
        })?;
        if remarks == Comments::Keep && !comments.is_empty() {
            self.keep_comments(id, comments)?;
        }
        Ok(id)
    }
}

fn corrupt(path: &str, why: &str) -> Error {
    Error::new(Code::Corrupt, format!("{path}: {why}")).with(json!({ "path": path }))
}

/// Reads the text of a new file, which must be a mapping.
///
/// Errors: `ERR_CORRUPT` with path and line.
pub(crate) fn read(path: &str, bytes: &[u8]) -> Result<(String, Value)> {
    let corrupt = |why: String, line: usize| {
        Error::new(Code::Corrupt, format!("{path}: {why}")).with(json!({ "path": path, "line": line }))
    };
    let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
        let why = not_text(bytes);
        let line = yaml::line_in(&why).unwrap_or(1);
        corrupt(why, line)
    })?;
    match yaml::read_value(&text) {
        Ok(value) if value.is_object() => Ok((text, value)),
        Ok(_) => Err(corrupt("it is no mapping of keys to values".into(), 1)),
        Err(why) => Err(corrupt(format!("it cannot be read: {why}"), yaml::line_in(&why).unwrap_or(1))),
    }
}

/// Where a new file comes from: `None` if it was rendered from events and lost its place or its log; otherwise the task whose
/// file it copies, if any. `home` is the id that its folder gives it.
pub(crate) fn origin(bytes: &[u8], home: Option<Id>, is_there: &dyn Fn(Id) -> bool) -> Option<Option<Id>> {
    let value = std::str::from_utf8(bytes).ok().and_then(|text| yaml::read_value(text).ok()).unwrap_or_default();
    // Only a rendered file has both keys.
    let rendered = value["id"].as_str().and_then(|id| id.parse::<Id>().ok()).filter(|_| !value["created_at"].is_null());
    let Some(named) = rendered else { return Some(None) };
    (Some(named) != home && is_there(named)).then_some(Some(named))
}

/// The finding for a file that may become a task, or was copied from that of another.
pub(crate) fn found(path: String, id: Option<Id>, copy_of: Option<Id>, bytes: &[u8]) -> Finding {
    let finding = match copy_of {
        None => Finding::new(Rule::TaskNew, "a task written by hand that is not recorded yet").at(path, Some(1)),
        Some(task) => {
            let error = copied(task);
            let line = std::str::from_utf8(bytes).ok().and_then(|text| line_of_key(text, "id"));
            let hint = error.hint.clone().unwrap_or_default();
            let message = format!("{}; {hint}", error.message);
            let refusal =
                Refusal { code: error.code, message: error.message, details: *error.details, hint: error.hint };
            let finding = Finding::new(Rule::TaskNew, message).at(path, line.or(Some(1)));
            Finding { refusal: Some(Box::new(refusal)), fix: hint.to_string().into(), ..finding }
        }
    };
    id.map_or(finding.clone(), |id| finding.task(id))
}

/// The refusal of a file that was copied from a task's.
fn copied(task: Id) -> Error {
    Error::validation(format!("a copy of the file of task {task}")).with(json!({ "copy_of": task })).hint(
        "for a new task leave out id, created_at, created_by, and the ids of its entries; otherwise remove the file",
    )
}

/// Whether a file at a path below the store may become a task. It lies in `tasks`, in a folder of the first or the second level, or is
/// the `task.yaml` of a folder of its own at any of these places. A folder that is named after a task is searched for `task.yaml` only.
pub(crate) fn may_become_task(below: &str) -> bool {
    let [_, folders @ .., name] = &below.split('/').collect::<Vec<_>>()[..] else { return false };
    let has_its_own = *name == "task.yaml" && folders.len() <= 3;
    let is_in_place = match folders.iter().position(|folder| folder.parse::<Id>().is_ok()) {
        Some(place) => has_its_own && place + 1 == folders.len(),
        None => has_its_own || folders.len() <= 2,
    };
    is_yaml(Path::new(below)) && is_in_place
}

fn is_yaml(path: &Path) -> bool {
    path.starts_with(TASKS) && path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml")
}
