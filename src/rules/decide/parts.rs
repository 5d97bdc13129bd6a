//! Decides commands on progress items and context entries.
//!
//! A note is a message and not a change of the task: any agent may add one to a task that another holds. Progress is the
//! holder's own account, and requires the lease like every other change.
//! Leaves to others: the checks before them (`guard`).

use serde_json::Value;

use super::guard::{held_task, permit_id};
use super::notes::note;
use super::{Subject, decides, index, nothing};
use crate::error::{Code, Error, Result};
use crate::model::args::{OptionalTaskRef, Ref, Refs, listed_numbers};
use crate::model::command::{
    ContextAdd, ContextRedact, ContextSupersede, Guard, ProgressAdd, ProgressComplete, ProgressReopen,
};
use crate::model::id::Id;
use crate::model::payload::{
    ContextAdded, ContextRedacted, ContextSuperseded, Payload, ProgressItemAdded, ProgressItemCompleted,
    ProgressItemReopened,
};
use crate::model::plain::is_blank;
use crate::rules::conditions::check_words;
use crate::rules::roles::Verb;
use crate::rules::stage::{Part, Stage};

decides! {
    ProgressAdd: nothing => progress_add,
    ProgressComplete: index => progress_complete,
    ProgressReopen: index => progress_reopen,
    ContextAdd: nothing => context_add,
    ContextSupersede: index => context_supersede,
    ContextRedact: index => context_redact,
}

/// `progress add`
pub fn progress_add(stage: &mut dyn Stage, c: &ProgressAdd) -> Result<Subject> {
    let task = held_task(stage, &c.what.task_id)?;
    let permit = permit_id(stage, task, &c.guard, Verb::Comment)?;
    if c.what.content.is_empty() {
        return Err(Error::validation("a progress item needs a text"));
    }
    let completed_at = c.done.then(|| stage.now());
    let mut items = Vec::new();
    for content in &c.what.content {
        check_words(&content.0, "a progress item")?;
        let event = ProgressItemAdded { content: content.0.clone(), completed_at, created_at: None };
        items.push(permit.emit(stage, Payload::ProgressItemAdded(event))?);
    }
    Ok(Subject::Progress(permit.id, items))
}

/// `progress complete`
fn progress_complete(stage: &mut dyn Stage, c: &ProgressComplete) -> Result<Subject> {
    let (task, items) = steps(stage, &c.id)?;
    let permit = permit_id(stage, task, &c.guard, Verb::Comment)?;
    for item in &items {
        if stage.task(task)?.progress.get(item).is_some_and(|i| !i.completed) {
            permit.emit(stage, Payload::ProgressItemCompleted(ProgressItemCompleted { item: *item }))?;
        }
    }
    Ok(Subject::Progress(task, items))
}

/// `progress reopen`
fn progress_reopen(stage: &mut dyn Stage, c: &ProgressReopen) -> Result<Subject> {
    let (task, items) = steps(stage, &c.id)?;
    let permit = permit_id(stage, task, &c.guard, Verb::Comment)?;
    for item in &items {
        if stage.task(task)?.progress.get(item).is_some_and(|i| i.completed) {
            permit.emit(stage, Payload::ProgressItemReopened(ProgressItemReopened { item: *item }))?;
        }
    }
    Ok(Subject::Progress(task, items))
}

/// The named progress items of one task. A first reference that names a task, and no item, is that task.
fn steps(stage: &mut dyn Stage, references: &Refs) -> Result<(Id, Vec<Id>)> {
    let Some(first) = references.0.first() else {
        return Err(Error::usage("no progress item is named").hint("agentpm brief shows the items with their ids"));
    };
    let mut parts = Vec::new();
    let (task, rest) = match steps_of(stage, first, None) {
        Ok(found) => {
            parts.extend(found);
            (None, &references.0[1..])
        }
        Err(unknown) if unknown.code == Code::NotFound => match (stage.task_id(first), &references.0[1..]) {
            (Ok(task), []) => {
                return Err(
                    unknown.hint(format!("it is a task; name its item too: agentpm progress complete {task} N"))
                );
            }
            (Ok(task), rest) => (Some(task), rest),
            (Err(_), _) => return Err(unknown),
        },
        Err(refused) => return Err(refused),
    };
    for reference in rest {
        parts.extend(steps_of(stage, reference, task)?);
    }
    let Some(task) = task.or_else(|| parts.first().map(|(task, _)| *task)) else {
        return Err(Error::usage("no progress item is named"));
    };
    if let Some((other, item)) = parts.iter().find(|(other, _)| *other != task) {
        return Err(Error::usage(format!("item {item} belongs to task {other}, and others to task {task}"))
            .hint("name the items of one task at a time"));
    }
    Ok((task, parts.into_iter().map(|(_, item)| item).collect()))
}

/// Progress items with their task: one by its id; or, of a task, by its number from 1 or its whole text, or several by a list of
/// numbers. Without a task it is the only one that the actor holds.
fn steps_of(stage: &mut dyn Stage, reference: &Ref, task: Option<Id>) -> Result<Vec<(Id, Id)>> {
    let unknown = match stage.part(reference, Part::Progress) {
        Err(e) if e.code == Code::NotFound => e,
        found => return Ok(vec![found?]),
    };
    let Some(task) = task.or_else(|| held_task(stage, &OptionalTaskRef(None)).ok()) else { return Err(unknown) };
    let whole = stage.task(task)?;
    if let Some(item) = whole.progress.values().find(|item| item.content == reference.0) {
        return Ok(vec![(task, item.id)]);
    }
    let by_number = |n: &str| whole.progress.keys().nth(n.parse::<usize>().ok()?.checked_sub(1)?);
    let items: Option<Vec<(Id, Id)>> =
        listed_numbers(&reference.0).into_iter().map(|n| Some((task, *by_number(n)?))).collect();
    items.ok_or(unknown)
}

/// `context add`
fn context_add(stage: &mut dyn Stage, c: &ContextAdd) -> Result<Subject> {
    stage.require(Verb::Comment)?;
    let task = held_task(stage, &c.what.task_id)?;
    let metadata = c.metadata.as_ref().map_or(Value::Null, |m| Value::Object(m.0.clone()));
    let [content] = &c.what.content[..] else {
        return Err(Error::usage("a context entry has one text").hint("put quotes around the text"));
    };
    check_words(&content.0, "a context entry")?;
    let event = ContextAdded { kind: c.kind, content: content.0.clone(), metadata, created_at: None };
    let entry = note(stage, task, Payload::ContextAdded(event), None)?;
    Ok(Subject::Context(task, entry))
}

/// `context supersede`
fn context_supersede(stage: &mut dyn Stage, c: &ContextSupersede) -> Result<Subject> {
    stage.require(Verb::Comment)?;
    let (task, entry) = stage.part(&Ref(c.id.0.clone()), Part::Context)?;
    let old = stage.task(task)?;
    let Some(old) = old.context.get(&entry) else {
        return Err(Error::not_found(format!("there is no context entry {entry}")));
    };
    if let Some(by) = old.superseded_by {
        return Err(Error::state(format!("context entry {entry} was superseded by {by}"))
            .hint_command(format!("supersede the newer one: agentpm context supersede {by}")));
    }
    check_words(&c.content.0, "a context entry")?;
    let event = ContextAdded { kind: old.kind, content: c.content.0.clone(), metadata: Value::Null, created_at: None };
    let by = note(stage, task, Payload::ContextAdded(event), None)?;
    note(stage, task, Payload::ContextSuperseded(ContextSuperseded { entry, by }), None)?;
    Ok(Subject::Context(task, by))
}

/// `context redact`
fn context_redact(stage: &mut dyn Stage, c: &ContextRedact) -> Result<Subject> {
    stage.require(Verb::Update)?;
    if is_blank(&c.reason.0) {
        return Err(Error::validation("redacting needs a reason"));
    }
    let (task, entry) = stage.part(&Ref(c.id.0.clone()), Part::Context)?;
    if !stage.task(task)?.context.get(&entry).is_some_and(|e| e.redacted) {
        // It removes something, so unlike a note it requires the lease.
        let permit = permit_id(stage, task, &Guard::default(), Verb::Update)?.because(Some(c.reason.0.clone()));
        // The lines of its copies hold the same text.
        let known = stage.task(task)?;
        let copies = known.copies.iter().filter(|(_, first)| **first == entry).map(|(copy, _)| *copy);
        for entry in std::iter::once(entry).chain(copies) {
            permit.emit(stage, Payload::ContextRedacted(ContextRedacted { entry }))?;
        }
    }
    Ok(Subject::Context(task, entry))
}
