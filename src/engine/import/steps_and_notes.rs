//! Adds the steps and notes of a task of the source that the task here does not have.
//!
//! Guarantees that each becomes one step or note, however its place in the source changes and after an undo of the import, and that a
//! text which was redacted here does not come back.
//! Leaves to others: tasks, their fields and their edges (`create`, `follow`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::Count;
use super::source::{ImportedItem, ImportedNote, ImportedTask};
use crate::engine::commit::transaction::Transaction;
use crate::error::Result;
use crate::model::context::ContextEntry;
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::model::payload::{ContextAdded, ContextSuperseded, Fields, Payload, ProgressItemAdded, TaskUpdated};
use crate::rules::stage::{Draft, Stage};

/// Adds the steps and notes that are not there yet, and remembers which of ours each became.
pub(super) fn add_steps_and_notes(tx: &mut Transaction, id: Id, task: &ImportedTask, count: &mut Count) -> Result<()> {
    let now = tx.task(id)?;
    let mut origin = now.fields.metadata.get("origin").cloned().unwrap_or_default();
    let mut steps = Known::new(&origin, "progress", &now.progress);
    for item in &task.progress {
        let step = match steps.find(item.origin.as_deref(), |step| step.content == item.content) {
            Some(found) => found,
            None => {
                let ImportedItem { content, completed_at, created_at, .. } = item.clone();
                count.progress += 1;
                emit(tx, id, Payload::ProgressItemAdded(ProgressItemAdded { content, completed_at, created_at }))?
            }
        };
        if let Some(name) = &item.origin {
            steps.remember(name, step);
        }
    }
    let mut notes = Known::new(&origin, "context", &now.context);
    add_notes(tx, id, task, &mut notes, count)?;
    supersede(tx, id, task, &notes.ids)?;
    if steps.is_changed || notes.is_changed {
        for (name, map) in [("progress", steps.ids), ("context", notes.ids)] {
            if !map.is_empty() {
                origin[name] = Value::Object(map);
            }
        }
        let set = Fields::from_iter([("metadata.origin".to_owned(), origin)]);
        emit(tx, id, Payload::TaskUpdated(TaskUpdated::new(set)))?;
    }
    Ok(())
}

/// Adds the notes that are not there yet. A text of the source that was edited there supersedes what it was before.
fn add_notes(
    tx: &mut Transaction,
    id: Id,
    task: &ImportedTask,
    notes: &mut Known<'_, ContextEntry>,
    count: &mut Count,
) -> Result<()> {
    let same = |note: &ImportedNote, entry: &ContextEntry| entry.kind == note.kind && entry.content == note.content;
    // What stayed is found before what was edited, so that a new text between two others takes the place of neither.
    let found: Vec<Option<Id>> =
        task.context.iter().map(|note| notes.find(note.origin.as_deref(), |entry| same(note, entry))).collect();
    let redacted = redacted_names(tx, id)?;
    for (place, (note, found)) in task.context.iter().zip(found).enumerate() {
        let name = note.origin.clone().unwrap_or_else(|| place_of(&task.context[..=place], note));
        if let Some(found) = found {
            notes.remember(&name, found);
            continue;
        }
        let place = format!("#{}", place + 1);
        // A text that was redacted here is not wanted back. Which of several texts with one key it was is not known.
        let of_key = format!("#{}", key_of(note));
        if redacted
            .iter()
            .any(|known| *known == name || *known == place || (note.origin.is_none() && is_of(known, &of_key)))
        {
            continue;
        }
        let before = note.origin.is_none().then(|| notes.take(&[&name, &place])).flatten();
        let ImportedNote { kind, content, metadata, created_at, .. } = note.clone();
        let added = emit(tx, id, Payload::ContextAdded(ContextAdded { kind, content, metadata, created_at }))?;
        count.context += 1;
        if let Some(entry) = before.filter(|entry| entry.superseded_by.is_none()) {
            emit(tx, id, Payload::ContextSuperseded(ContextSuperseded { entry: entry.id, by: added }))?;
        }
        notes.name(&name, added);
    }
    Ok(())
}

/// The names of the notes of a task that were redacted here, also those that an undo of their import took away.
fn redacted_names(tx: &mut Transaction, id: Id) -> Result<BTreeSet<String>> {
    let task = tx.task(id)?;
    if task.context.values().all(|entry| !entry.redacted) {
        return Ok(BTreeSet::new());
    }
    let mut names = BTreeSet::new();
    for entry in tx.history(id)? {
        let Payload::TaskUpdated(update) = &entry.event.payload else { continue };
        let notes = update.set.get("metadata.origin").and_then(|origin| origin.get("context")?.as_object());
        let is_redacted = |id: &Value| as_id(id).and_then(|id| task.context.get(&id)).is_some_and(|note| note.redacted);
        names.extend(notes.into_iter().flatten().filter(|(_, id)| is_redacted(id)).map(|(name, _)| name.clone()));
    }
    Ok(names)
}

/// The name of a note that has none in its source: the key of its text there, and which of the texts with that key it is.
fn place_of(until: &[ImportedNote], note: &ImportedNote) -> String {
    match until.iter().filter(|other| other.origin.is_none() && key_of(other) == key_of(note)).count() {
        0 | 1 => format!("#{}", key_of(note)),
        n => format!("#{} {n}", key_of(note)),
    }
}

/// The key of the text in the source that a note was made of.
fn key_of(note: &ImportedNote) -> &str {
    note.metadata.get("source").and_then(Value::as_str).unwrap_or("note")
}

/// Whether a name is that of a text with this key, whichever of them it is.
fn is_of(name: &str, of_key: &str) -> bool {
    name.strip_prefix(of_key).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
}

/// The steps or notes of a task that those of the source became.
struct Known<'t, P> {
    /// Their ids, by the names in the source. A name that begins with `#` is a place in it.
    ids: Map<String, Value>,
    /// Those that were not found in the source yet, without those that have another name there.
    free: BTreeMap<Id, &'t P>,
    is_changed: bool,
}

impl<'t, P> Known<'t, P> {
    fn new(origin: &Value, kind: &str, all: &'t BTreeMap<Id, P>) -> Self {
        let ids = origin.get(kind).and_then(Value::as_object).cloned().unwrap_or_default();
        let named: Vec<Id> =
            ids.iter().filter(|(name, _)| !name.starts_with('#')).filter_map(|(_, id)| as_id(id)).collect();
        let free = all.iter().filter(|(id, _)| !named.contains(id)).map(|(id, part)| (*id, part)).collect();
        Known { ids, free, is_changed: false }
    }

    /// The part here with this name in the source. Else one with the same words, since an undo takes the names away and leaves
    /// the parts.
    fn find(&mut self, name: Option<&str>, is_same: impl Fn(&P) -> bool) -> Option<Id> {
        let named = name.and_then(|name| as_id(self.ids.get(name)?));
        let found = named.or_else(|| self.free.iter().find(|(_, part)| is_same(part)).map(|(id, _)| *id))?;
        self.free.remove(&found);
        Some(found)
    }

    /// The part that was at the first of these places which has one, unless it was found elsewhere.
    fn take(&mut self, places: &[&str]) -> Option<&'t P> {
        let id = places.iter().find_map(|place| as_id(self.ids.get(*place)?))?;
        self.free.remove(&id)
    }

    fn name(&mut self, name: &str, id: Id) {
        self.ids.insert(name.to_owned(), json!(id));
        self.is_changed = true;
    }

    /// Names a part that has no name.
    fn remember(&mut self, name: &str, id: Id) {
        if self.ids.values().all(|known| as_id(known) != Some(id)) {
            self.name(name, id);
        }
    }
}

/// Writes one event of a task.
pub(super) fn emit(tx: &mut Transaction, task: Id, payload: Payload) -> Result<Id> {
    tx.emit(Draft { entity: Entity::Task(task), payload, why: None, fence: None })
}

fn as_id(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

fn supersede(tx: &mut Transaction, id: Id, task: &ImportedTask, notes: &Map<String, Value>) -> Result<()> {
    for note in &task.context {
        let ours = |origin: &Option<String>| as_id(notes.get(origin.as_ref()?)?);
        let (Some(entry), Some(by)) = (ours(&note.origin), ours(&note.superseded_by)) else { continue };
        if tx.task(id)?.context.get(&entry).is_some_and(|e| e.superseded_by.is_none()) {
            emit(tx, id, Payload::ContextSuperseded(ContextSuperseded { entry, by }))?;
        }
    }
    Ok(())
}
