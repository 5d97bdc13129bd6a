//! Hand edits of progress and context: emits what `progress add`, `progress complete`, `context add` and `context supersede`
//! write.
//!
//! Leaves to others: finding out what was edited (`engine::commit::hand_edits`).

use serde_json::{Value, json};

use super::{Doc, Edit, EditResult, check_entry, content as said, guard, misfit, unknown_id};
use crate::error::{Error, Result};
use crate::model::args::{TaskTexts, Text};
use crate::model::command::ProgressAdd;
use crate::model::context::ContextType;
use crate::model::id::Id;
use crate::model::payload::{ContextAdded, ContextSuperseded, Payload, ProgressItemCompleted, ProgressItemReopened};
use crate::rules::conditions::check_words;
use crate::rules::copies::HAND_EDIT;
use crate::rules::decide::Subject;
use crate::rules::decide::{notes, parts};
use crate::rules::roles::Verb;

const PROGRESS: &str = "progress";
const CONTEXT: &str = "context";

impl Edit<'_> {
    /// Completes, reopens and adds steps. A step cannot be removed, and its text cannot change.
    pub(super) fn progress(&mut self) -> EditResult {
        if !self.is_changed(PROGRESS) {
            return Ok(());
        }
        let (old, new) = self.lists(PROGRESS);
        refuse_gone(&old, &new, "a progress item cannot be removed; mark it as completed if it is done")
            .map_err(misfit(PROGRESS, None))?;
        let mut added: Vec<(usize, String, bool)> = Vec::new();
        for (n, item) in new.iter().enumerate() {
            let at = misfit(PROGRESS, Some(n));
            match known(&old, item).map_err(&at)? {
                Some(was) if was == item => {}
                Some(was) => self.tick(was, item).map_err(&at)?,
                None => {
                    let (content, completed) = step(item).map_err(&at)?;
                    if let Some(map) = item.as_object() {
                        self.check_recorded(map, None, &["created_at", "completed_at"], &[]).map_err(&at)?;
                    }
                    added.push((n, content, completed));
                }
            }
        }
        let Some((first, ..)) = added.first() else { return Ok(()) };
        let add = ProgressAdd {
            what: TaskTexts::new(self.id, added.iter().map(|(_, content, _)| Text(content.clone())).collect()),
            done: false,
            guard: guard(),
        };
        let at = misfit(PROGRESS, Some(*first));
        let Subject::Progress(_, ids) = parts::progress_add(self.stage, &add).map_err(&at)? else { return Ok(()) };
        for (id, (..)) in ids.into_iter().zip(&added).filter(|(_, (_, _, completed))| *completed) {
            self.complete(id, true).map_err(&at)?;
        }
        Ok(())
    }

    fn tick(&mut self, was: &Value, item: &Value) -> Result<()> {
        check_entry(
            item.as_object().unwrap_or(&Doc::new()),
            &["id", "content", "completed", "created_at", "completed_at"],
        )?;
        if was["created_at"] != item["created_at"] {
            return Err(
                Error::validation("created_at of a progress item cannot be changed").hint("restore the old value")
            );
        }
        if was["content"] != item["content"] {
            return Err(Error::validation("the text of a progress item cannot be changed")
                .hint("restore its text and add another item"));
        }
        let (before, now) = (was["completed"] == true, truth(&item["completed"])?);
        if before == now {
            return Err(Error::validation("completed_at follows from completed and cannot be changed alone")
                .hint("restore the old value, or change completed"));
        }
        if let Some(map) = item.as_object() {
            self.check_recorded(map, was.as_object(), &["completed_at"], &[])?;
        }
        self.complete(item["id"].as_str().unwrap_or_default().parse()?, now)
    }

    fn complete(&mut self, item: Id, completed: bool) -> Result<()> {
        let permit = self.permit(Verb::Comment)?;
        let is = self.stage.task(self.id)?.progress.get(&item).is_some_and(|item| item.completed);
        if is != completed {
            permit.emit(
                self.stage,
                match completed {
                    true => Payload::ProgressItemCompleted(ProgressItemCompleted { item }),
                    false => Payload::ProgressItemReopened(ProgressItemReopened { item }),
                },
            )?;
        }
        Ok(())
    }

    /// Adds entries, and supersedes entries whose text changed.
    pub(super) fn context(&mut self) -> EditResult {
        if !self.is_changed(CONTEXT) {
            return Ok(());
        }
        let (old, new) = self.lists(CONTEXT);
        refuse_gone(&old, &new, "a context entry cannot be removed from the file").map_err(|e| {
            misfit(CONTEXT, None)(
                e.hint("restore it; agentpm context redact removes its text from the plan, with a reason"),
            )
        })?;
        for (n, entry) in new.iter().enumerate() {
            let at = misfit(CONTEXT, Some(n));
            match known(&old, entry).map_err(&at)? {
                Some(was) if was == entry => {}
                Some(was) => self.supersede(was, entry).map_err(&at)?,
                None => self.note(entry).map_err(&at)?,
            }
        }
        Ok(())
    }

    fn note(&mut self, entry: &Value) -> Result<()> {
        self.stage.require(Verb::Comment)?;
        let (kind, content, metadata) = match entry {
            Value::Object(map) => {
                check_entry(map, &["type", "content", "author", "metadata", "created_at"])?;
                self.check_recorded(map, None, &["created_at"], &["author"])?;
                let kind = match map.get("type") {
                    None => ContextType::Note,
                    Some(kind) => serde_json::from_value(kind.clone()).map_err(|_| not_a_type(kind))?,
                };
                let metadata = map.get("metadata").cloned().unwrap_or_default();
                (kind, said(map.get("content"))?, metadata)
            }
            other => (ContextType::Note, said(Some(other))?, Value::Null),
        };
        if !(metadata.is_null() || metadata.is_object()) {
            return Err(Error::validation("metadata must be a mapping of names to values"));
        }
        check_words(&content, "a context entry")?;
        let added = ContextAdded { kind, content, metadata, created_at: None };
        notes::note(self.stage, self.id, Payload::ContextAdded(added), Some(HAND_EDIT.into())).map(|_| ())
    }

    /// Supersedes an entry with a newer one that has the new text.
    fn supersede(&mut self, was: &Value, entry: &Value) -> Result<()> {
        let (Some(old), Some(new)) = (was.as_object(), entry.as_object()) else {
            return Err(Error::validation("a context entry must be a mapping"));
        };
        let other = |key: &&String| key.as_str() != "content" && old.get(*key) != new.get(*key);
        if let Some(key) = old.keys().chain(new.keys()).find(other) {
            return Err(Error::validation(format!("{key} of a context entry cannot be changed"))
                .hint("restore the old value; a new text under content makes a newer entry"));
        }
        let content = said(new.get("content"))?;
        check_words(&content, "a context entry")?;
        self.stage.require(Verb::Comment)?;
        let id: Id = was["id"].as_str().unwrap_or_default().parse()?;
        let task = self.stage.task(self.id)?;
        let Some(known) = task.context.get(&id) else { return Err(unknown_id(&was["id"])) };
        if let Some(by) = known.superseded_by {
            return Err(Error::state(format!("this entry was superseded by {by}"))
                .hint("restore its text and change the newer one"));
        }
        let added = ContextAdded { kind: known.kind, content, metadata: Value::Null, created_at: None };
        let why = Some(HAND_EDIT.to_owned());
        let by = notes::note(self.stage, self.id, Payload::ContextAdded(added), why.clone())?;
        let superseded = Payload::ContextSuperseded(ContextSuperseded { entry: id, by });
        notes::note(self.stage, self.id, superseded, why).map(|_| ())
    }
}

/// The old entry with the id of an entry; `None` for a new one.
pub(super) fn known<'a>(old: &'a [Value], entry: &Value) -> Result<Option<&'a Value>> {
    match entry.get("id") {
        None | Some(Value::Null) => Ok(None),
        Some(id) => old.iter().find(|old| old["id"] == *id).map(Some).ok_or_else(|| unknown_id(id)),
    }
}

pub(super) fn refuse_gone(old: &[Value], new: &[Value], why: &str) -> Result<()> {
    match old.iter().find(|old| !new.iter().any(|new| new["id"] == old["id"])) {
        None => Ok(()),
        Some(gone) => Err(Error::validation(format!("{why} ({})", gone["id"].as_str().unwrap_or_default()))
            .with(json!({ "id": gone["id"] }))
            .hint("restore it unchanged")),
    }
}

/// A new step: its text, and whether it is completed already.
pub fn step(item: &Value) -> Result<(String, bool)> {
    let (content, completed) = match item {
        Value::Object(map) => {
            check_entry(map, &["content", "completed", "created_at", "completed_at"])?;
            let done = map.get("completed").map_or(Ok(false), truth)?;
            if !done && map.get("completed_at").is_some_and(|at| !at.is_null()) {
                return Err(Error::validation("it has the time when it was completed, but not completed: true")
                    .hint("write completed: true, or remove completed_at"));
            }
            (said(map.get("content"))?, done)
        }
        other => (said(Some(other))?, false),
    };
    check_words(&content, "a progress item")?;
    Ok((content, completed))
}

/// The boolean that a person means.
fn truth(value: &Value) -> Result<bool> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Null => Ok(false),
        Value::String(word) if word == "yes" => Ok(true),
        Value::String(word) if word == "no" => Ok(false),
        other => Err(Error::validation(format!("{other} is neither true nor false"))),
    }
}

fn not_a_type(kind: &Value) -> Error {
    let words = ["decision", "rationale", "attempt", "outcome", "blocker", "note", "reference", "user_input"];
    Error::validation(format!("{kind} is not a type of context entry"))
        .with(json!({ "allowed": words }))
        .hint(format!("use one of {}", words.join(", ")))
}
