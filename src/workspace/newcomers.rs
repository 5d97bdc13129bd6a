//! Tasks that somebody wrote by hand: a file beneath `tasks` that no event tells of yet.
//!
//! Promises: a file becomes one task, also when the program is killed in the middle and asked again; it is removed only after
//! its words are recorded, and only while it still holds them. What does not fit stays where it is, with line and reason.
//! Refuses to know: what the keys may hold (`rules::decide::edit`).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Workspace;
use super::absorb::{Comments, comment_lost, placed};
use super::stage::Scene;
use crate::env::files::Kind;
use crate::error::{Code, Error, Result};
use crate::model::command::{Command, TaskCreate};
use crate::model::event::Entity;
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::words::Text;
use crate::rules::decide::Subject;
use crate::rules::decide::edit::{Doc, begin};
use crate::runtime::records::digest;
use crate::store::comments::{Comment, comments};
use crate::store::edited::heads;
use crate::store::entity::{MAX_YAML, read_log};
use crate::store::layout::{Odd, TASKS, task_dir};
use crate::store::yaml;

/// A file that may become a task.
#[derive(Clone, Debug)]
pub(super) struct Newcomer {
    /// Its path below the store.
    pub path: PathBuf,
    /// The id that its folder gives it.
    pub id: Option<Id>,
}

/// What a newcomer says.
#[derive(Debug)]
pub(super) struct NewWords {
    /// Its path, for people.
    pub path: String,
    text: String,
    doc: Doc,
    said: Vec<Comment>,
}

impl Workspace {
    /// The files beneath `tasks` that no event tells of: folders of tasks without a log, and what lies elsewhere in YAML.
    pub(super) fn newcomers(&self, folders: &[Id], odd: &[Odd]) -> Vec<Newcomer> {
        let at_home = folders.iter().map(|id| Newcomer { path: task_dir(*id).join("task.yaml"), id: Some(*id) });
        let unlogged = at_home.filter(|new| {
            let there = |path: &Path| self.store.dir.kind(path).ok().flatten();
            let log = new.path.with_file_name(crate::store::layout::LOG);
            there(&log).is_none() && there(&new.path) == Some(Kind::File) && !self.has_foot(&new.path)
        });
        let elsewhere = odd.iter().filter_map(|(path, kind)| match kind {
            Kind::File if is_yaml(path) => Some(path.clone()),
            Kind::Dir => {
                let inside = path.join("task.yaml");
                (self.store.dir.kind(&inside).ok().flatten() == Some(Kind::File)).then_some(inside)
            }
            _ => None,
        });
        let elsewhere = elsewhere.filter(|path| !self.has_foot(path)).map(|path| Newcomer { path, id: None });
        unlogged.chain(elsewhere).collect()
    }

    /// Whether a file was made from events, so that it is no newcomer but one that lost its way.
    fn has_foot(&self, path: &Path) -> bool {
        is_from_events(&self.store.dir.read(path, MAX_YAML).unwrap_or_default())
    }

    /// What lint says of a newcomer.
    pub(super) fn newcomer_found(&self, new: &Newcomer) -> Finding {
        found(self.store.shown(&new.path), new.id)
    }

    /// Makes a task of a newcomer. Gives its id.
    ///
    /// Errors: `ERR_CORRUPT` where the file cannot be read, and the refusals of the commands that would have made the task, with
    /// `path` and `line` in the details.
    pub(super) fn adopt(&self, new: &Newcomer, remarks: Comments) -> Result<Id> {
        let words = self.read_newcomer(new, remarks)?;
        let mark = self.store.dir.mark(&new.path).ok().flatten().unwrap_or_default();
        // The same file asked about again, after a kill, is the same task; a file of another time is another.
        let key = format!("file {} {} {} {}", words.path, mark.mtime, mark.inode, digest(&words.text));
        let title = words.doc.get("title").and_then(Value::as_str).unwrap_or_default();
        let command = Command::TaskCreate(TaskCreate {
            title: Text(title.to_owned()),
            idempotency_key: Some(key),
            ..TaskCreate::default()
        });
        let reply = self.carry_out(self.author()?, &command, &[], |scene| {
            let id = scene.begin_newcomer(new, &words, remarks)?;
            if new.id.is_some() {
                scene.taken_in.insert(id, (words.text.clone().into_bytes(), "a new task".into()));
            }
            Ok(Subject::Task(id))
        })?;
        let id = reply.subject.id().ok_or_else(|| corrupt(&words.path, "no task was made of it"))?;
        if new.id.is_none() {
            self.remove_recorded(&new.path, words.text.as_bytes())?;
        }
        Ok(id)
    }

    /// Reads a newcomer.
    ///
    /// Errors: `ERR_CORRUPT` where the file cannot be read, `ERR_CONFLICT` where it holds comments that are not to be lost.
    pub(super) fn read_newcomer(&self, new: &Newcomer, remarks: Comments) -> Result<NewWords> {
        let path = self.store.shown(&new.path);
        let bytes = self
            .store
            .dir
            .read(&new.path, MAX_YAML)
            .map_err(|e| Error::io("read", &self.store.path().join(&new.path), &e))?;
        let text = String::from_utf8(bytes).map_err(|_| corrupt(&path, "it is not valid UTF-8"))?;
        let value = yaml::read_value(&text).map_err(|why| {
            let line = yaml::line_in(&why).unwrap_or(1);
            corrupt(&path, &format!("it cannot be read: {why}")).with(json!({ "path": path, "line": line }))
        })?;
        let said = comments(&text, &value);
        if let (Comments::Refuse, Some(comment)) = (remarks, said.first()) {
            return Err(comment_lost(&path, comment).with(json!({ "path": path, "line": comment.0 })));
        }
        match value {
            Value::Object(doc) => Ok(NewWords { path, text, doc, said }),
            _ => Err(corrupt(&path, "it is no mapping of keys to values")),
        }
    }

    /// Removes a file whose words are recorded, and its folder where that held nothing else.
    fn remove_recorded(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let failed = |e: std::io::Error| Error::io("remove", &self.store.path().join(path), &e);
        match self.store.dir.read(path, MAX_YAML) {
            Ok(now) if now == bytes => {}
            // Somebody wrote on meanwhile: the next look finds it as another newcomer.
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(failed(e)),
        }
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        self.store.dir.dir(folder).and_then(|dir| dir.remove(name)).map_err(failed)?;
        if let (Some(above), Some(name)) = (folder.parent(), folder.file_name())
            && folder != Path::new(TASKS)
        {
            // A folder that holds more stays.
            let _ = self.store.dir.dir(above).and_then(|dir| dir.remove_empty(name));
        }
        Ok(())
    }
}

impl Scene<'_> {
    /// Makes a task of a newcomer's words, on the stage. Gives its id.
    ///
    /// Errors: the refusals of the commands that would have made the task, with `path` and `line` in the details.
    pub(super) fn begin_newcomer(&mut self, new: &Newcomer, words: &NewWords, remarks: Comments) -> Result<Id> {
        let NewWords { path, text, doc, said } = words;
        if let Some(id) = new.id
            && !read_log(&self.ws.store, &Entity::Task(id))?.entries.is_empty()
        {
            return Err(Error::new(Code::Conflict, format!("{path}: its log is there now; nothing was written"))
                .hint("run agentpm lint again"));
        }
        let id = begin(self, new.id, doc).map_err(|misfit| {
            let mut error = placed(*misfit, new.id, path, text);
            error.message = error.message.replacen("the edit of ", "", 1);
            error
        })?;
        if remarks == Comments::Keep && !said.is_empty() {
            self.keep_comments(id, said)?;
        }
        Ok(id)
    }
}

fn corrupt(path: &str, why: &str) -> Error {
    Error::new(Code::Corrupt, format!("{path}: {why}")).with(json!({ "path": path }))
}

/// Whether a text tells of the events it was made from.
pub(super) fn is_from_events(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        yaml::read_value(text).is_ok_and(|value| heads(&value).is_some_and(|heads| !heads.is_empty()))
    })
}

/// What lint says of a file that may become a task.
pub(super) fn found(path: String, id: Option<Id>) -> Finding {
    let finding = Finding::new(Rule::TaskNew, "a task written by hand that is not recorded yet").at(path, Some(1));
    id.map_or(finding.clone(), |id| finding.task(id))
}

/// Whether a file below the store may become a task by its name.
pub(super) fn is_yaml(path: &Path) -> bool {
    path.starts_with(TASKS) && path.extension().is_some_and(|ext| ext == "yaml" || ext == "yml")
}
