//! Hand edits: what a person changed in a task's file is recorded by the one write path, under the rules of the commands that
//! would have changed it.
//!
//! Promises: the difference is taken against the events the file was made from (the heads at its foot), and the new events
//! follow upon just these: what others wrote meanwhile is concurrent, and whatever loses is kept like any other lost edit. An
//! edit is taken in whole or stays in its file untouched, with the line and the reason. A comment is never dropped unasked.
//! Refuses to know: what the keys may hold (`rules::decide::edit`).

use serde_json::{Value, json};

use super::Workspace;
use super::stage::{OnStage, Scene};
use crate::error::{Code, Error, Result};
use crate::model::command::Command;
use crate::model::context::ContextType;
use crate::model::event::{Entity, Entry, Event};
use crate::model::finding::{Finding, Severity};
use crate::model::id::{Id, quoted};
use crate::model::payload::{ContextAdded, Payload};
use crate::model::yaml::is_as_written;
use crate::rules::decide::edit::{self, Doc, Misfit, WHY};
use crate::rules::decide::{Subject, note};
use crate::rules::roles::Verb;
use crate::rules::stage::Stage as _;
use crate::store::bare::{Bare, bare};
use crate::store::comments::{Comment, comments};
use crate::store::edited::{FORM, NO_FOOT, Readable, Sides, among_below, compare, examine, heads};
use crate::store::entity::{is_odd, load_task, read_yaml};
use crate::store::layout::task_dir;
use crate::store::place::{line_of_entry, line_of_key, not_text};
use crate::store::project::render;
use crate::store::yaml::{self, line_in};

/// What becomes of the comments of a file that is written anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comments {
    /// A file that holds some is left as it is.
    Refuse,
    /// They become a note.
    Keep,
    /// They are dropped.
    Drop,
}

/// An edit that is to be taken in.
#[derive(Clone, Debug)]
pub(super) struct HandEdit {
    /// The task.
    pub id: Id,
    /// What its file is to say and what it says now, where that is not the same: a draft made elsewhere.
    pub draft: Option<(String, String)>,
    /// What becomes of comments.
    pub comments: Comments,
}

impl Workspace {
    /// Records what was edited by hand in a task's file. Gives the names of the changed fields; empty where it was not edited, or
    /// where somebody else's recording of the same edit came in before.
    ///
    /// Errors: `ERR_CORRUPT` where the file cannot be read, and the refusals of the commands that would have made the change,
    /// with `path` and `line` in the details.
    pub fn absorb(&self, id: Id, comments: Comments) -> Result<String> {
        self.record(HandEdit { id, draft: None, comments })
    }

    /// As [`Workspace::absorb`], for a `text` that was made of the file elsewhere, in an editor. `current` is what the file held
    /// then: where it holds something else by now, somebody edited it meanwhile, and nothing is written.
    ///
    /// Errors: as [`Workspace::absorb`], and `ERR_CONFLICT` where the file was edited meanwhile.
    pub fn absorb_text(&self, id: Id, text: &str, current: &str) -> Result<String> {
        let draft = Some((text.to_owned(), current.to_owned()));
        self.record(HandEdit { id, draft, comments: Comments::Keep })
    }

    /// As [`Workspace::absorb`]. Gives all tasks whose edits were recorded with it, and the names of the changed fields.
    pub(super) fn absorb_with_others(&self, id: Id, comments: Comments) -> Result<Vec<(Id, String)>> {
        self.record_with_others(HandEdit { id, draft: None, comments })
    }

    /// Records one edit. Gives the names of the changed fields.
    pub(super) fn record(&self, edit: HandEdit) -> Result<String> {
        let id = edit.id;
        let taken_in = self.record_with_others(edit)?;
        Ok(taken_in.into_iter().filter(|(task, _)| *task == id).map(|(_, what)| what).collect::<Vec<_>>().join(", "))
    }

    fn record_with_others(&self, edit: HandEdit) -> Result<Vec<(Id, String)>> {
        let id = edit.id;
        let reply = self.carry_out(self.author()?, &Command::Batch(Vec::new()), &[edit], |_| Ok(Subject::Task(id)))?;
        Ok(reply.taken_in)
    }

    /// A word for who looks at a task whose file says something that its events do not.
    pub fn unrecorded(&self, id: Id) -> Option<String> {
        let what = self.edited(id).ok().flatten()?;
        let path = self.store.shown(task_dir(id).join("task.yaml"));
        Some(format!("{path} was edited by hand ({what}) and that is not recorded yet; agentpm lint --fix records it"))
    }

    /// The lines of a task's log that cannot be read, or have no effect because they are damaged.
    pub fn damaged_lines(&self, id: Id) -> Vec<String> {
        const NAMED: usize = 5;
        let Ok(loaded) = self.load_task(id) else { return Vec::new() };
        let damaged: Vec<_> = loaded.findings.iter().filter(|f| f.severity == Severity::Error).collect();
        let placed = |f: &&Finding| {
            let line = f.line.map(|n| format!(":{n}")).unwrap_or_default();
            format!("{}{line}: {}", f.path.as_deref().unwrap_or("its log"), f.message)
        };
        let mut words: Vec<String> = damaged.iter().take(NAMED).map(placed).collect();
        if damaged.len() > NAMED {
            words
                .push(format!("{} more lines of this log are damaged; agentpm lint names them", damaged.len() - NAMED));
        }
        words
    }

    /// Whether a task's file says something that its events do not.
    ///
    /// Errors: `ERR_IO` where its files cannot be read.
    pub(super) fn is_edited(&self, id: Id) -> Result<bool> {
        self.edited(id).map(|what| what.is_some())
    }

    /// Whether a task's file holds words that are in no event: an edit, or a comment.
    ///
    /// Errors: `ERR_IO` where its files cannot be read.
    pub(super) fn holds_words(&self, id: Id) -> Result<bool> {
        let Ok(Some(bytes)) = read_yaml(&self.store, &Entity::Task(id)) else { return Ok(false) };
        let is_plain = std::str::from_utf8(&bytes).is_ok_and(|text| is_as_written(text) == Some(true));
        Ok(!is_plain && (self.is_edited(id)? || !comments_in(&bytes).is_empty()))
    }

    fn edited(&self, id: Id) -> Result<Option<String>> {
        let entity = Entity::Task(id);
        let Ok(Some(bytes)) = read_yaml(&self.store, &entity) else { return Ok(None) };
        if std::str::from_utf8(&bytes).is_ok_and(|text| is_as_written(text) == Some(true)) {
            return Ok(None);
        }
        let entries = load_task(&self.store, id, &[])?.log.entries;
        Ok(match compare(&entity, &entries, &bytes) {
            Readable::Edited(what) if what != FORM => Some(what),
            _ => None,
        })
    }

    /// Whether a readable file on the stage holds words that are in no event: an edit, or a comment.
    pub(super) fn is_in_the_way(&self, id: Id, slot: &OnStage) -> bool {
        let entity = Entity::Task(id);
        let Ok(Some(bytes)) = read_yaml(&self.store, &entity) else { return false };
        match compare(&entity, &slot.log.entries, &bytes) {
            Readable::Edited(what) if what == FORM => !comments_in(&bytes).is_empty(),
            Readable::Edited(_) => true,
            _ => false,
        }
    }
}

/// The comments of a readable file.
pub(super) fn comments_in(bytes: &[u8]) -> Vec<Comment> {
    let Some(text) = std::str::from_utf8(bytes).ok().filter(|text| text.contains('#')) else { return Vec::new() };
    yaml::read_value(text).map(|value| comments(text, &value)).unwrap_or_default()
}

impl Scene<'_> {
    /// Takes an edit in, on the stage. Gives the names of the changed fields.
    ///
    /// Errors: as [`Workspace::absorb`].
    pub(super) fn take_in(&mut self, hand: &HandEdit) -> Result<String> {
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
        if let Some((_, expected)) = &hand.draft
            && current != expected.as_bytes()
        {
            return Err(Error::new(Code::Conflict, format!("{path} was edited meanwhile; nothing was written"))
                .hint("look at it again, then run the same command"));
        }
        let bytes = hand.draft.as_ref().map_or(current.clone(), |(text, _)| text.clone().into_bytes());
        let text = String::from_utf8(bytes).map_err(|e| unreadable(id, &path, &not_text(e.as_bytes())))?;
        self.load_known(id)?;
        let Some(apart) = apart(id, &path, &self.tasks[&id].log.entries, &text)? else { return Ok(String::new()) };
        let Apart { seen, old, new, left, remarks, kept, recorded } = apart;
        if let (Comments::Refuse, Some((line, words))) = (hand.comments, remarks.first()) {
            return Err(
                comment_lost(&path, &(*line, words.clone())).with(json!({ "task": id, "path": path, "line": line }))
            );
        }
        refuse_bare(Some(id), &path, &text, &Value::Object(new.clone()))?;
        let remarks = if kept { Vec::new() } else { remarks };
        self.seen.insert(id, seen);
        let emitted = self.entries.len();
        let names = edit::edit(self, id, &old, &left).map_err(|misfit| placed(*misfit, Some(id), &path, &text))?;
        if hand.comments == Comments::Keep && !remarks.is_empty() {
            self.keep_comments(id, &remarks)?;
        }
        // From here on the actor has seen everything.
        self.seen.remove(&id);
        let mut what = names;
        if !remarks.is_empty() {
            what.push(if hand.comments == Comments::Keep { "comments".into() } else { "comments (dropped)".into() });
        }
        let what = match what.is_empty() {
            // Somebody recorded the same edit of the same file before.
            _ if recorded && self.entries.len() == emitted => String::new(),
            true => FORM.to_owned(),
            false => what.join(", "),
        };
        self.taken_in.insert(id, (current, what.clone()));
        Ok(what)
    }

    /// Keeps comments as a note.
    pub(super) fn keep_comments(&mut self, id: Id, remarks: &[Comment]) -> Result<()> {
        self.require(Verb::Comment)?;
        let added = ContextAdded {
            kind: ContextType::Note,
            content: kept_words(remarks),
            metadata: Value::Null,
            created_at: None,
        };
        note(self, id, Payload::ContextAdded(added), Some(WHY.into())).map(|_| ())
    }
}

/// What a file said and what it says now.
pub(super) struct Apart {
    /// The events it was made from.
    pub seen: Vec<Id>,
    pub old: Doc,
    pub new: Doc,
    /// What of `new` nobody has recorded yet.
    pub left: Doc,
    pub remarks: Vec<Comment>,
    /// Whether the comments were kept by somebody who recorded the same edit.
    pub kept: bool,
    /// Whether somebody recorded an edit of the same file.
    pub recorded: bool,
}

/// Takes an edited file apart; `None` for one that nobody edited.
///
/// Errors: `ERR_CORRUPT` where it cannot be told what was edited.
pub(super) fn apart(id: Id, path: &str, entries: &[Entry], text: &str) -> Result<Option<Apart>> {
    let entity = Entity::Task(id);
    let corrupt =
        |why: &str| Error::new(Code::Corrupt, format!("{path}: {why}")).with(json!({ "task": id, "path": path }));
    let sides = match examine(&entity, entries, text.as_bytes()) {
        (Readable::Edited(what), None) if what == NO_FOOT => None,
        (Readable::Edited(what), None) => {
            return Err(unreadable(id, path, what.trim_start_matches("it cannot be read: ")));
        }
        (Readable::Edited(_), sides) => sides,
        (Readable::Ahead(lost), _) => return Err(ahead(id, path, lost)),
        _ => return Ok(None),
    };
    let (sides, seen) = sides.and_then(|sides| heads(&sides.now).map(|seen| (sides, seen))).ok_or_else(|| {
        corrupt("its foot is gone, so that it cannot be told what it was made from")
            .hint("put the lines from log: downwards back, as git show HEAD:<path> has them; keep your changes above")
    })?;
    let Sides { now: found, before } = sides;
    let doc = |value: Value| if let Value::Object(doc) = value { doc } else { Doc::new() };
    let said = |heads: &[Id]| {
        yaml::read_value(&render(&entity, among_below(entries, heads))).map(doc).map_err(|why| corrupt(&why))
    };
    let (old, remarks) = (doc(before), comments(text, &found));
    let new = doc(found);
    let recordings = edit::recordings(entries, &seen);
    let mut left = new.clone();
    for recording in &recordings {
        let then = said(&[recording.last().map_or(id, |event| event.id)])?;
        left = edit::beyond(recording, &old, &then, &left);
    }
    let kept = |event: &&Event| matches!(&event.payload, Payload::ContextAdded(p) if p.content == kept_words(&remarks));
    let (kept, recorded) = (recordings.iter().flatten().any(kept), !recordings.is_empty());
    Ok(Some(Apart { seen, old, new, left, remarks, kept, recorded }))
}

/// Refuses bare words that would be recorded otherwise than they stand.
pub(super) fn refuse_bare(id: Option<Id>, path: &str, text: &str, value: &Value) -> Result<()> {
    bare_words(id, path, text, value).into_iter().next().map_or(Ok(()), Err)
}

/// The refusals of all such words.
pub(super) fn bare_words(id: Option<Id>, path: &str, text: &str, value: &Value) -> Vec<Error> {
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
pub(super) fn placed(misfit: Misfit, id: Option<Id>, path: &str, text: &str) -> Error {
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
        error.hint = Some(format!("mend {key} in the file"));
    }
    if let Some(hint) = error.hint.take() {
        let hint = for_hand(error.code, &hint);
        error = error.hint(hint);
    }
    error.with(details)
}

/// Commands that take an edit in before they do anything, and so are refused by what refuses it.
const WRITERS: &[&str] = &[
    "claim",
    "done",
    "release",
    "note",
    "progress",
    "context",
    "next",
    "task reopen",
    "task update",
    "task verify",
    "task unblock",
    "task block",
    "task transition",
];

/// What to do next, of a command's refusal, in words for who edits a file: it takes no other work, has no place for a reason, and
/// keeps commands from the task until the old value is back.
fn for_hand(code: Code, hint: &str) -> String {
    let by_command = |flag: &str| {
        format!("; with a reason only a command passes over that: put the old value back and give it {flag}")
    };
    let waits = match code {
        Code::LeaseHeld => "the edit can wait in its file until the task is free; agentpm lint --fix records it then",
        _ => "put the old value back",
    };
    let hint = hint
        .replace("take other work with agentpm next --claim", waits)
        .replace(", or give --force REASON", &by_command("--force REASON"))
        .replace(", or give --override REASON if it must be", &by_command("--override REASON"));
    let writes = WRITERS.iter().any(|name| hint.contains(&format!("agentpm {name}")));
    match writes && !hint.contains("put the old value back") {
        true => format!("put the old value back, then {hint}"),
        false => hint,
    }
}

/// The refusal to write a file anew that holds a comment.
pub(super) fn comment_lost(path: &str, (line, words): &Comment) -> Error {
    let message = format!("{path}:{line}: a comment would be lost ({}); nothing was written", quoted(words));
    Error::new(Code::Conflict, message).hint("agentpm lint --fix keeps comments as a note and records the rest")
}

/// The refusal of a file that was made from events its log does not hold.
pub(super) fn ahead(id: Id, path: &str, lost: Id) -> Error {
    Error::new(Code::Corrupt, format!("{path} was made from event {lost}, which its log has lost"))
        .with(json!({ "task": id, "path": path, "event": lost }))
        .hint("restore events.jsonl from git history; agentpm lint names the file and line")
}

fn unreadable(id: Id, path: &str, why: &str) -> Error {
    let line = line_in(why);
    let place = line.map(|line| format!(":{line}")).unwrap_or_default();
    Error::new(Code::Corrupt, format!("{path}{place}: it cannot be read: {why}"))
        .with(json!({ "task": id, "path": path, "line": line }))
        .hint("mend it by hand, or take it from git; its log still holds the task")
}
