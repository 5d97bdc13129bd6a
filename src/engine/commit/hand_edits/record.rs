//! Records hand edits through the write path, under the rules of commands.
//!
//! Guarantees that the new events follow the events from which the file was rendered, so that later events of others are
//! concurrent, and a losing value is kept like any other. An edit is recorded whole, or stays in its file with line and reason.
//! A comment is only dropped on request.
//! Leaves to others: which values a key accepts (`rules::decide::edit`), and what counts as an edit (`judge`).

use std::cell::OnceCell;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::judge::Comparison;
use super::lineage::Lineage;
use crate::engine::commit::transaction::Transaction;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::view::history::Place;
use crate::env::files::Dir;
use crate::error::{Code, Error, Remedy, Result};
use crate::model::context::ContextType;
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Severity};
use crate::model::id::{Id, quoted};
use crate::model::payload::{ContextAdded, Payload};
use crate::model::yaml::render_task;
use crate::rules::copies::HAND_EDIT;
use crate::rules::decide::edit::{self, Doc, Misfit};
use crate::rules::decide::{Subject, expire_threads, note};
use crate::rules::lost::{Lost, lost};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage as _;
use crate::runtime::rendered::{self, Rendered};
use crate::store::bare::{Bare, bare};
use crate::store::comments::Comment;
use crate::store::edited::{Readable, place_in};
use crate::store::entity::{LoadedTask, is_odd, load_task, read_log, read_yaml, yaml_path};
use crate::store::index::Index;
use crate::store::layout::task_dir;
use crate::store::place::{line_of_entry, line_of_key, not_text};
use crate::store::project::{project_log, project_onto};
use crate::store::yaml::line_in;

/// Maximum number of values that gave way which are listed for one task, and most characters of one.
const SHOWN: usize = 3;
const MOST_WORDS: usize = 60;

/// How to treat the comments of a file that is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    /// A file with comments is refused.
    Refuse,
    /// Comments become a note.
    Keep,
    /// Comments are dropped.
    Drop,
}

/// An edit to record.
#[derive(Clone, Debug)]
pub(crate) struct HandEdit {
    /// The task.
    pub id: Id,
    /// The edited text, if it is not in the file.
    pub draft: Option<Draft>,
    /// How to treat comments.
    pub comments: Comments,
}

/// The text of a task's file in an editor or in a commit.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub text: String,
    /// The text of the file in the work tree.
    pub current: String,
    pub place: Place,
}

/// Records the hand edit of a task's file. Returns the names of the changed fields; empty if there is no edit, or if it is
/// recorded already.
///
/// Errors: `ERR_CORRUPT` if the file cannot be read, and the refusals of the commands that would have made the change,
/// with `path` and `line` in the details.
pub fn absorb(ws: &Workspace, id: Id, comments: Comments) -> Result<String> {
    record(ws, HandEdit { id, draft: None, comments })
}

/// As [`absorb`], for a `text` from an editor. `current` is the text from which the editor started: if the file changed since,
/// nothing is written.
///
/// Errors: as [`absorb`], and `ERR_CONFLICT` if the file was edited meanwhile.
pub fn absorb_text(ws: &Workspace, id: Id, text: &str, current: &str) -> Result<String> {
    let draft = Some(Draft { text: text.to_owned(), current: current.to_owned(), place: Place::WorkTree });
    record(ws, HandEdit { id, draft, comments: Comments::Keep })
}

/// As [`absorb`]. Returns all tasks whose edits were recorded, since a task that this one blocks or unblocks may be edited too,
/// and for each the changed fields and lost values, for display.
pub(crate) fn absorb_in_words(ws: &Workspace, id: Id, comments: Comments) -> Result<Vec<(Id, String)>> {
    let had: BTreeSet<(Id, String)> = lost_in(ws, id)?.into_iter().map(|lost| (lost.lost.event, lost.field)).collect();
    let nothing = BTreeSet::new();
    let all = record_with_others(ws, HandEdit { id, draft: None, comments })?;
    let words = |(task, what): (Id, String)| {
        let did = match what.is_empty() {
            true => "its edit was recorded already".to_owned(),
            false => {
                let given = given_way(ws, task, if task == id { &had } else { &nothing })?;
                format!("recorded the edit of {what}{given}")
            }
        };
        Ok((task, did))
    };
    all.into_iter().map(words).collect()
}

fn lost_in(ws: &Workspace, id: Id) -> Result<Vec<Lost>> {
    Ok(lost(id, &load_task(&ws.store, id, &[])?.log.entries))
}

/// The newly lost values of a task, for display; empty if there are none.
fn given_way(ws: &Workspace, id: Id, had: &BTreeSet<(Id, String)>) -> Result<String> {
    let mut all = lost_in(ws, id)?;
    all.retain(|lost| !had.contains(&(lost.lost.event, lost.field.clone())));
    let one = |lost: &Lost| {
        let (mine, theirs) = (&lost.lost, &lost.won);
        let (was, is) = (brief(&mine.value), brief(&theirs.value));
        format!("{} {was} of {} gave way to {is} of {}", lost.field, mine.agent, theirs.agent)
    };
    let words: Vec<String> = all.iter().take(SHOWN).map(one).collect();
    let more = match all.len().saturating_sub(SHOWN) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    Ok(match words.is_empty() {
        true => String::new(),
        false => format!("; {}{more}; agentpm conflicts {id} shows both sides", words.join("; ")),
    })
}

/// Records one edit. Returns the names of the changed fields.
pub(crate) fn record(ws: &Workspace, edit: HandEdit) -> Result<String> {
    let id = edit.id;
    let taken_in = record_with_others(ws, edit)?;
    Ok(taken_in.into_iter().filter(|(task, _)| *task == id).map(|(_, what)| what).collect::<Vec<_>>().join(", "))
}

fn record_with_others(ws: &Workspace, edit: HandEdit) -> Result<Vec<(Id, String)>> {
    let id = edit.id;
    let reply = write::carry_out(ws, ws.author()?, "recording of a hand edit", &[edit], |_| Ok(Subject::Task(id)))?;
    Ok(reply.taken_in)
}

/// A warning for the reader of a task with an unrecorded hand edit.
pub fn unrecorded(ws: &Workspace, id: Id) -> Option<String> {
    edit_words(ws, id, &judge_file(ws, &lineage(ws), id).ok().flatten()?)
}

/// What a reader of a task must know besides: an edit of its file that is not recorded, and damaged lines of its log.
pub fn remarks(ws: &Workspace, loaded: &LoadedTask) -> Vec<String> {
    let entity = Entity::Task(loaded.task.id);
    let bytes = read_yaml(&ws.store, &entity).ok().flatten();
    // Nearly every file is as its log renders it.
    let other = bytes.filter(|bytes| *bytes != render_task(&loaded.task).as_bytes());
    let edited = other.and_then(|bytes| edit_of(ws, &entity, &bytes));
    edited.into_iter().chain(damaged_lines(loaded)).collect()
}

/// The words for the edit in a file of a task. What is acknowledged and not yet in its log is not in its file either.
fn edit_of(ws: &Workspace, entity: &Entity, bytes: &[u8]) -> Option<String> {
    let Entity::Task(id) = entity else { return None };
    let entries = read_log(&ws.store, entity).ok()?.entries;
    edit_words(ws, *id, &lineage(ws).judge(Place::WorkTree, entity, &entries, &entries, bytes))
}

fn edit_words(ws: &Workspace, id: Id, compared: &Comparison) -> Option<String> {
    let Readable::Edited(what) = &compared.how else { return None };
    let (path, what) = (ws.store.shown(task_dir(id).join("task.yaml")), what.join(", "));
    Some(format!(
        "{path} was edited by hand ({what}) and that is not recorded yet; agentpm lint judges it, and lint --fix records it"
    ))
}

/// Finds the tasks of a list whose files hold hand edits that are not recorded.
pub(crate) struct UnrecordedEdits<'a> {
    ws: &'a Workspace,
    index: &'a Index,
    lineage: OnceCell<Lineage<'a>>,
}

impl<'a> UnrecordedEdits<'a> {
    /// For tasks as this index has them.
    pub fn new(ws: &'a Workspace, index: &'a Index) -> Self {
        UnrecordedEdits { ws, index, lineage: OnceCell::new() }
    }

    /// The tasks among these whose files hold such an edit. A file that is as the index read it is not opened.
    ///
    /// Errors: `ERR_IO` if the index cannot be read.
    pub fn among(&self, ids: &[Id]) -> Result<BTreeSet<Id>> {
        let mut found = self.index.maybe_edited(&self.ws.store, ids)?;
        found.retain(|id| {
            let compared = judge_file(self.ws, self.lineage.get_or_init(|| lineage(self.ws)), *id);
            compared.ok().flatten().is_some_and(|found| matches!(found.how, Readable::Edited(_)))
        });
        Ok(found.into_iter().collect())
    }

    /// As [`Self::among`], for one task.
    ///
    /// Errors: as there.
    pub fn has(&self, id: Id) -> Result<bool> {
        Ok(!self.among(&[id])?.is_empty())
    }
}

/// Descriptions of unreadable or void lines in a task's log.
fn damaged_lines(loaded: &LoadedTask) -> Vec<String> {
    const NAMED: usize = 5;
    let damaged: Vec<_> = loaded.findings.iter().filter(|f| f.severity == Severity::Error).collect();
    let placed = |f: &&Finding| {
        let line = f.line.map(|n| format!(":{n}")).unwrap_or_default();
        format!("{}{line}: {}", f.path.as_deref().unwrap_or("its log"), f.message)
    };
    let mut words: Vec<String> = damaged.iter().take(NAMED).map(placed).collect();
    if damaged.len() > NAMED {
        words.push(format!("{} more lines of this log are damaged; agentpm lint names them", damaged.len() - NAMED));
    }
    words
}

/// Compares the file of a task in the work tree with its log; `None` if it is missing or no regular file.
///
/// Errors: `ERR_IO`, `ERR_GIT`.
pub(crate) fn judge_file(ws: &Workspace, lineage: &Lineage<'_>, id: Id) -> Result<Option<Comparison>> {
    let entity = Entity::Task(id);
    let Ok(Some(bytes)) = read_yaml(&ws.store, &entity) else { return Ok(None) };
    let entries = read_log(&ws.store, &entity)?.entries;
    Ok(Some(lineage.judge(Place::WorkTree, &entity, &entries, &entries, &bytes)))
}

/// Adds events to the log of an entity and renders its file, unless that has a hand edit. Returns whether it was rendered.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`, `ERR_GIT`.
pub(crate) fn project_unedited(
    ws: &Workspace,
    lineage: &Lineage<'_>,
    entity: &Entity,
    new: &[Entry],
    runtime: &Dir,
) -> Result<bool> {
    let log = read_log(&ws.store, entity)?;
    let bytes = read_yaml(&ws.store, entity).ok().flatten();
    if let Some(bytes) = &bytes {
        // The file of a log that was lost shows the events that come back.
        let all = if log.entries.is_empty() { new } else { &log.entries };
        let judged = lineage.judge(Place::WorkTree, entity, &log.entries, all, bytes);
        if judged.how.holds_words() {
            return project_log(&ws.store, entity, log, new, runtime).map(|()| false);
        }
        notice_unclear(ws, entity, &judged);
    }
    match project_onto(&ws.store, entity, log, new, runtime, bytes.as_deref())? {
        Some(heads) => note_rendered(ws, runtime, &[(entity.clone(), heads.into())]).map(|()| true),
        None => Ok(false),
    }
}

/// Reports values of unknown origin that rendering a file overwrites.
pub(crate) fn notice_unclear(ws: &Workspace, entity: &Entity, judged: &Comparison) {
    for unclear in &judged.unclear {
        ws.notice(format!("{entity}: {}", unclear.in_words()));
    }
}

/// The versions that the files of this work tree come from.
pub(crate) fn lineage(ws: &Workspace) -> Lineage<'_> {
    let noted = (ws.own_runtime_path(), ws.runtime_path().to_owned());
    Lineage::new(&ws.env, ws.repo.as_ref(), &ws.store.name).with_records(noted.0, noted.1)
}

/// Stores from which events files were rendered.
///
/// Errors: `ERR_IO` or `ERR_NO_SPACE`.
pub(crate) fn note_rendered(ws: &Workspace, runtime: &Dir, files: &[(Entity, Rendered)]) -> Result<()> {
    let path = |entity: &Entity| yaml_path(entity).map(|path| ws.store.shown(path));
    let notes: Vec<(String, &Rendered)> =
        files.iter().filter_map(|(entity, rendered)| Some((path(entity)?, rendered))).collect();
    let own_path = ws.own_runtime_path();
    let own = if own_path == runtime.path() { None } else { Dir::open(&own_path).ok() };
    rendered::note(own.as_ref().unwrap_or(runtime), notes.iter().map(|(path, rendered)| (path.as_str(), *rendered)))
}

impl Transaction<'_> {
    /// Records an edit in this transaction. Returns the names of the changed fields.
    ///
    /// Errors: as [`absorb`].
    pub(crate) fn record_edit(&mut self, hand: &HandEdit) -> Result<String> {
        let (id, entity) = (hand.id, Entity::Task(hand.id));
        let store = &self.ws.store;
        let path = store.shown(task_dir(id).join("task.yaml"));
        let corrupt =
            |why: &str| Error::new(Code::Corrupt, format!("{path}: {why}")).with(json!({ "task": id, "path": path }));
        let current = match read_yaml(store, &entity) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(corrupt("it is missing").hint("agentpm lint --fix writes it from its log")),
            Err(e) if is_odd(&e) => return Err(corrupt(&format!("it is not a regular file: {e}"))),
            Err(e) => return Err(Error::io("read", &store.path().join(task_dir(id)), &e)),
        };
        if hand.draft.as_ref().is_some_and(|draft| current != draft.current.as_bytes()) {
            return Err(Error::new(Code::Conflict, format!("{path} was edited meanwhile; nothing was written"))
                .hint("read it again, then run the same command"));
        }
        let bytes = hand.draft.as_ref().map_or(current.clone(), |draft| draft.text.clone().into_bytes());
        let text = String::from_utf8(bytes).map_err(|e| unreadable(id, &path, &not_text(e.as_bytes())))?;
        self.load_known(id)?;
        let entries = self.tasks[&id].log.entries.clone();
        let place = hand.draft.as_ref().map_or(Place::WorkTree, |draft| draft.place);
        let judged = lineage(self.ws).judge(place, &entity, &entries, &entries, text.as_bytes());
        match &judged.how {
            Readable::Invalid(why) => {
                return Err(unreadable(id, &path, why.trim_start_matches("it cannot be read: ")));
            }
            Readable::Ahead(lost) => return Err(ahead(id, &path, *lost)),
            _ => {}
        }
        if !judged.how.holds_words() {
            if hand.draft.is_some() || judged.how.is_outdated() {
                self.taken_in.insert(id, (current, String::new()));
            }
            return Ok(String::new());
        }
        let remarks = &judged.remarks;
        if let (Comments::Refuse, Some((line, words))) = (hand.comments, remarks.first()) {
            return Err(
                comment_lost(&path, &(*line, words.clone())).with(json!({ "task": id, "path": path, "line": line }))
            );
        }
        refuse_bare(Some(id), &path, &text, &Value::Object(judged.doc.clone()))?;
        let mut what: Vec<String> = Vec::new();
        // What has expired follows from all events, and not from what the person had seen.
        expire_threads(self, id)?;
        for one in &judged.edits {
            self.seen.insert(id, one.heads.clone());
            let names = edit::edit(self, id, &one.old, &one.new)
                .map_err(|misfit| placed(in_file(*misfit, &judged.doc, &one.new), Some(id), &path, &text))?;
            what.extend(names);
        }
        if hand.comments == Comments::Keep && !remarks.is_empty() && !is_kept(&entries, remarks) {
            self.keep_comments(id, remarks)?;
        }
        // The next events follow all others.
        self.seen.remove(&id);
        notice_unclear(self.ws, &entity, &judged);
        if !remarks.is_empty() {
            what.push(if hand.comments == Comments::Keep { "comments".into() } else { "comments (dropped)".into() });
        }
        what.dedup();
        let what = what.join(", ");
        self.taken_in.insert(id, (current, what.clone()));
        Ok(what)
    }

    /// Keeps comments as a note.
    pub(crate) fn keep_comments(&mut self, id: Id, remarks: &[Comment]) -> Result<()> {
        self.require(Verb::Comment)?;
        let added = ContextAdded {
            kind: ContextType::Note,
            content: kept_words(remarks),
            metadata: Value::Null,
            created_at: None,
        };
        note(self, id, Payload::ContextAdded(added), Some(HAND_EDIT.into())).map(|_| ())
    }
}

/// A shortened value.
fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.chars().count() > MOST_WORDS {
        true => text.chars().take(MOST_WORDS).chain(['…']).collect(),
        false => text,
    }
}

/// The refusal of an edit, with the entry's position in the file.
pub(crate) fn in_file(misfit: Misfit, file: &Doc, new: &Doc) -> Misfit {
    let Misfit { key, entry, error } = misfit;
    let entry = entry.and_then(|n| place_in(file, &key, new.get(&key)?.as_array()?.get(n)?));
    Misfit { key, entry, error }
}

/// Whether the comments became a note when the same edit was recorded before.
pub(crate) fn is_kept(entries: &[Entry], remarks: &[Comment]) -> bool {
    let words = kept_words(remarks);
    entries.iter().any(|entry| matches!(&entry.event.payload, Payload::ContextAdded(p) if p.content == words))
}

/// Refuses bare words that would be recorded otherwise than they stand.
pub(crate) fn refuse_bare(id: Option<Id>, path: &str, text: &str, value: &Value) -> Result<()> {
    bare_words(id, path, text, value).into_iter().next().map_or(Ok(()), Err)
}

/// The refusals of all such words.
pub(crate) fn bare_words(id: Option<Id>, path: &str, text: &str, value: &Value) -> Vec<Error> {
    // A number of one's own is to stay as it stands, but for the way a fraction is written.
    let own = |bare: &Bare| {
        let word = &bare.word;
        let is_decimal = word.parse::<f64>().is_ok() && !word.contains(['e', 'E']);
        bare.path.first().is_some_and(|key| key == "metadata")
            && word.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_digit())
            && (is_decimal || word.contains(['x', 'o', 'b', '_']))
    };
    let found = bare(text, value).into_iter().filter(|bare| edit::is_text(&bare.path) || own(bare));
    found.map(|bare| bare_word(id, path, bare)).collect()
}

fn bare_word(id: Option<Id>, path: &str, bare: Bare) -> Error {
    let Bare { word, becomes, line, path: keys } = bare;
    let key = keys.first().map_or("", String::as_str);
    let message = format!("{path}:{line}: the edit of {key} is not allowed: {word} would be read as {becomes}");
    Error::validation(message)
        .with(json!({ "task": id, "path": path, "line": line, "key": key }))
        .hint(format!("put it in quotes: \"{word}\"; or write {becomes}"))
}

/// The note that keeps comments.
fn kept_words(remarks: &[Comment]) -> String {
    let lines: Vec<String> = remarks.iter().map(|(line, words)| format!("line {line}: {words}")).collect();
    format!("Comments that stood in task.yaml:\n{}", lines.join("\n"))
}

/// A refusal with the place it is about.
pub(crate) fn placed(misfit: Misfit, id: Option<Id>, path: &str, text: &str) -> Error {
    let Misfit { key, entry, mut error } = misfit;
    let line = match entry {
        Some(entry) => line_of_entry(text, &key, entry),
        None => line_of_key(text, &key),
    };
    // A key that was taken out stands nowhere; the file begins where it would be looked for.
    let line = line.unwrap_or(1);
    let doubled = format!("a field does not fit: {key}: ");
    let why = error.message.strip_prefix(&doubled).unwrap_or(&error.message);
    error.message = format!("{path}:{line}: the edit of {key} is not allowed: {why}");
    let mut details = json!({ "task": id, "path": path, "line": line, "key": key });
    if let Some(more) = error.details.as_object() {
        for (name, value) in more.iter().filter(|(name, _)| !["task", "path", "line", "key"].contains(&name.as_str())) {
            details[name.as_str()] = value.clone();
        }
    }
    if error.hint.is_none() && error.code == Code::Validation {
        error.hint = Some(format!("correct {key} in the file"));
    }
    if let (Some(hint), Some(remedy)) = (&error.hint, error.remedy) {
        let hint = hint_for_edit(error.code, remedy, hint);
        error = error.hint(hint);
    }
    error.with(details)
}

/// The hint of a refusal for the author of an edit, who takes no other work and has no place for a reason.
fn hint_for_edit(code: Code, remedy: Remedy, hint: &str) -> String {
    match remedy {
        Remedy::Command => format!("restore the old value, then {hint}"),
        Remedy::OtherWork { .. } if code == Code::LeaseHeld => {
            "the edit can wait in its file until the task is free; agentpm lint --fix records it then".to_owned()
        }
        Remedy::OtherWork { before } => format!("{before}restore the old value"),
        Remedy::Override { steps, flag } => {
            format!("{steps}; only a command overrides that: restore the old value and pass {flag} REASON")
        }
    }
}

/// The refusal to rewrite a file that holds a comment.
pub(crate) fn comment_lost(path: &str, (line, words): &Comment) -> Error {
    let message = format!("{path}:{line}: a comment would be lost ({}); nothing was written", quoted(words));
    Error::new(Code::Conflict, message).hint("agentpm lint --fix keeps comments as a note and records the rest")
}

/// The refusal of a file that shows an event its log does not hold.
pub(crate) fn ahead(id: Id, path: &str, lost: Id) -> Error {
    Error::new(Code::Corrupt, format!("{path} shows event {lost}, which its log has lost"))
        .with(json!({ "task": id, "path": path, "event": lost }))
        .hint("agentpm resolve restores it if this clone has it; else fetch the branch that has it; a new entry has no id")
}

/// The refusal of a file that cannot be read.
pub(crate) fn unreadable(id: Id, path: &str, why: &str) -> Error {
    let line = line_in(why);
    let place = line.map(|line| format!(":{line}")).unwrap_or_default();
    Error::new(Code::Corrupt, format!("{path}{place}: it cannot be read: {why}"))
        .with(json!({ "task": id, "path": path, "line": line }))
        .hint("correct it by hand, or restore it from git; its log still holds the task")
}
