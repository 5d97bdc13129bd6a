//! Records hand edits of the tasks that a command changes, and that their threads are past their time to live, before it changes
//! them.
//!
//! Guarantees that an unrecorded hand edit is never overwritten: it is recorded first, or the command is refused, or it chooses
//! other work. Only an edit of a task that the command names refuses it; consequences for other tasks are left to a later
//! write, with a warning.
//! Leaves to others: what an edit may say (`engine::commit::hand_edits::record`), and how a decision becomes durable (`engine::commit::write`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::json;

use super::lineage::Lineage;
use super::record::{self, Comments, HandEdit, ahead};
use crate::engine::commit::transaction::{OnStage, PreparedIndex, Transaction};
use crate::engine::context::Workspace;
use crate::engine::view::history::Place;
use crate::engine::view::other_branches::OtherBranches;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::rules::decide::{Subject, expire_threads};
use crate::store::edited::Readable;
use crate::store::entity::{MAX_YAML, is_odd, read_yaml};
use crate::store::layout::task_dir;
use crate::store::log::check_growth;

/// Decides after recording hand edits and expired threads of the tasks that the decision changes, or that it read if it refuses. `edits` are those
/// that the caller requires; the refusal of another edit only matters if its task would be changed.
pub(crate) fn decide_over_edits<'a>(
    ws: &Workspace,
    claims_any: bool,
    edits: &[HandEdit],
    mut tx: Transaction<'a>,
    stage: &impl Fn(Option<PreparedIndex>, OtherBranches<'a>) -> Transaction<'a>,
    mut decision: impl FnMut(&mut Transaction) -> Result<Subject>,
) -> Result<(Transaction<'a>, Subject)> {
    let lineage = record::lineage(ws);
    let mut edits = edits.to_vec();
    let asked = edits.len();
    let (mut refused, mut passed_over): (BTreeMap<Id, Error>, BTreeMap<Id, Error>) = Default::default();
    let mut left_alone: BTreeMap<Id, Error> = BTreeMap::new();
    let mut expired: BTreeSet<Id> = BTreeSet::new();
    let again = |tx: Transaction<'a>, passed_over: &BTreeMap<Id, Error>, left_alone: &BTreeMap<Id, Error>| {
        let mut tx = stage(tx.prepared, tx.elsewhere);
        tx.passed_over = passed_over.keys().copied().collect();
        tx.left_alone = left_alone.keys().copied().collect();
        tx
    };
    loop {
        let (passed, left) = (tx.passed_over.clone(), tx.left_alone.clone());
        for id in expired.iter().filter(|id| !passed.contains(id) && !left.contains(id)) {
            expire_threads(&mut tx, *id)?;
        }
        let failed = edits.iter().position(|edit| match tx.record_edit(edit) {
            Ok(_) => false,
            Err(e) => {
                refused.insert(edit.id, e);
                true
            }
        });
        if let Some(n) = failed {
            let id = edits.remove(n).id;
            match refused.remove(&id) {
                Some(e) if n < asked => return Err(e),
                Some(e) => drop(refused.insert(id, e)),
                None => {}
            }
            tx = again(tx, &passed_over, &left_alone);
            continue;
        }
        let decided = decision(&mut tx);
        // Decided once more, since an accepted proposal changes what is decided upon.
        let unrecorded = tx.unrecorded_expiries(decided.is_err());
        if !unrecorded.is_subset(&expired) {
            expired.extend(unrecorded);
            tx = again(tx, &passed_over, &left_alone);
            continue;
        }
        let known = tx.taken_in.keys().copied().collect::<BTreeSet<Id>>();
        let new = |id: &Id| !known.contains(id) && !refused.contains_key(id) && edits.iter().all(|edit| edit.id != *id);
        let looked_at = tx.tasks.iter().filter(|(id, slot)| (decided.is_err() || slot.changed) && new(id));
        let more: Vec<HandEdit> = looked_at
            .filter(|(id, slot)| is_in_the_way(ws, &lineage, **id, slot))
            .map(|(id, _)| HandEdit { id: *id, draft: None, comments: Comments::Refuse })
            .collect();
        if !more.is_empty() {
            edits.extend(more);
            tx = again(tx, &passed_over, &left_alone);
            continue;
        }
        let subject = match decided {
            Ok(subject) => subject,
            Err(e) => match unreadable(&e).filter(|id| claims_any && !passed_over.contains_key(id)) {
                Some(id) => {
                    passed_over.insert(id, e);
                    tx = again(tx, &passed_over, &left_alone);
                    continue;
                }
                None => return Err(with_edit_notes(e, &edits[asked..], &refused)),
            },
        };
        if let Some((id, e)) = refused_of(ws, &tx, &refused) {
            match left_alone.contains_key(&id) {
                // A mere consequence of a change of another task can wait.
                false => left_alone.insert(id, e),
                // A claim of any task passes over a file that must not be overwritten.
                true if claims_any => passed_over.insert(id, e),
                true => return Err(e),
            };
            tx = again(tx, &passed_over, &left_alone);
            continue;
        }
        let left_out = std::mem::take(&mut tx.left_out);
        for (id, broken) in &left_out {
            passed_over.extend(broken.as_ref().or(left_alone.get(id)).map(|e| (*id, e.clone())));
        }
        for (id, e) in &passed_over {
            // This holds for its own file in any case.
            let why = e.message.trim_end_matches("; nothing was written");
            tx.warnings.push(format!("task {id} was passed over: {why}"));
        }
        for (id, (_, what)) in tx.taken_in.iter().filter(|(id, _)| edits[asked..].iter().any(|e| e.id == **id)) {
            tx.warnings.push(match what.is_empty() {
                true => format!("the hand edit of task {id} was recorded already"),
                false => format!("recorded the hand edit of task {id}: {what}"),
            });
        }
        return Ok((tx, subject));
    }
}

/// The first changed task whose file must not be overwritten, with the reason.
fn refused_of(ws: &Workspace, tx: &Transaction, refused: &BTreeMap<Id, Error>) -> Option<(Id, Error)> {
    let changed: Vec<(&Id, &OnStage)> = tx.tasks.iter().filter(|(_, slot)| slot.changed).collect();
    if let Some((id, e)) = changed.iter().find_map(|(id, _)| refused.get(id).map(|e| (**id, e.clone()))) {
        return Some((id, e));
    }
    let mut new: BTreeMap<Id, Vec<&Entry>> = BTreeMap::new();
    for entry in &tx.entries {
        if let Entity::Task(id) = entry.event.entity {
            new.entry(id).or_default().push(entry);
        }
    }
    let too_large = |(id, slot): &(&Id, &OnStage)| {
        let new = new.get(*id).map_or(&[][..], Vec::as_slice);
        let e = check_growth(**id, &slot.log.entries, new).err();
        let is_new = slot.log.entries.is_empty();
        e.or_else(|| if is_new { None } else { too_large_to_read(ws, **id) }).map(|e| (**id, e))
    };
    if let Some(found) = changed.iter().find_map(too_large) {
        return Some(found);
    }
    let lineage = record::lineage(ws);
    // A single changed task is checked just before its file is written.
    let others = changed.iter().filter(|(id, _)| changed.len() > 1 && !tx.taken_in.contains_key(id));
    others.into_iter().find_map(|(id, slot)| refuse_over_edit(ws, &lineage, **id, slot).err().map(|e| (**id, e)))
}

/// The refusal of a `task.yaml` larger than agentpm writes: it is neither compared with its log nor overwritten.
fn too_large_to_read(ws: &Workspace, id: Id) -> Option<Error> {
    let below = task_dir(id).join("task.yaml");
    let size = ws.store.dir.mark(&below).ok().flatten()?.size;
    let path = ws.store.shown(below);
    (size > MAX_YAML).then(|| {
        Error::new(Code::Corrupt, format!("{path} has {size} bytes; the maximum is {MAX_YAML}"))
            .with(json!({ "task": id, "path": path, "bytes": size }))
            .hint("move it away; agentpm lint --fix writes it again from its log")
    })
}

/// Refuses to write if a file changed since the decision. Keeps the bytes of those that may be rendered.
pub(crate) fn refuse_over_edits(ws: &Workspace, tx: &mut Transaction) -> Result<()> {
    for (id, (bytes, _)) in &tx.taken_in {
        if read_yaml(&ws.store, &Entity::Task(*id)).ok().flatten().as_ref() != Some(bytes) {
            return Err(Error::new(
                Code::Conflict,
                format!("the file of task {id} was edited meanwhile; nothing was written"),
            )
            .with(json!({ "task": id }))
            .hint("read it again, then run the same command"));
        }
    }
    let lineage = record::lineage(ws);
    let mut unedited = BTreeMap::new();
    for (id, slot) in tx.tasks.iter().filter(|(id, slot)| slot.changed && !tx.taken_in.contains_key(id)) {
        unedited.extend(refuse_over_edit(ws, &lineage, *id, slot)?.map(|bytes| (*id, bytes)));
    }
    tx.unedited = unedited;
    Ok(())
}

/// Refuses to overwrite a hand-edited `task.yaml`. Returns the bytes of an unedited one.
fn refuse_over_edit(ws: &Workspace, lineage: &Lineage<'_>, id: Id, slot: &OnStage) -> Result<Option<Vec<u8>>> {
    let entity = Entity::Task(id);
    let path = ws.store.shown(task_dir(id).join("task.yaml"));
    let bytes = match read_yaml(&ws.store, &entity) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(e) if is_odd(&e) => {
            return Err(Error::new(Code::Corrupt, format!("{path} is not a regular file; nothing was written"))
                .hint("agentpm follows no links in a store; look at that path"));
        }
        Err(e) => return Err(Error::io("read", Path::new(&path), &e)),
    };
    let judged = lineage.judge(Place::WorkTree, &entity, &slot.log.entries, &slot.log.entries, &bytes);
    if !judged.how.holds_words() {
        record::notice_unclear(ws, &entity, &judged);
        return Ok(Some(bytes));
    }
    let what = match judged.how {
        Readable::Edited(what) => format!("was edited by hand ({}) and not recorded", what.join(", ")),
        Readable::Ahead(lost) => return Err(ahead(id, &path, lost)),
        Readable::Invalid(why) => format!("holds what is not recorded: {why}"),
        _ => "holds comments that would be lost".to_owned(),
    };
    Err(Error::new(Code::Conflict, format!("{path} {what}; nothing was written"))
        .with(json!({ "task": id, "path": path }))
        .hint("agentpm lint --fix records the edit as events, or reports what is not allowed"))
}

/// Whether the `task.yaml` of a task in the transaction has an unrecorded edit or a comment.
fn is_in_the_way(ws: &Workspace, lineage: &Lineage<'_>, id: Id, slot: &OnStage) -> bool {
    let entity = Entity::Task(id);
    let Ok(Some(bytes)) = read_yaml(&ws.store, &entity) else { return false };
    let judged = lineage.judge(Place::WorkTree, &entity, &slot.log.entries, &slot.log.entries, &bytes);
    judged.how.holds_words()
}

/// The task that a decision could not read.
fn unreadable(e: &Error) -> Option<Id> {
    e.details["task"].as_str().filter(|_| e.code == Code::Corrupt)?.parse().ok()
}

/// Adds to a refusal the unrecorded edit that may be its cause.
fn with_edit_notes(mut e: Error, taken: &[HandEdit], refused: &BTreeMap<Id, Error>) -> Error {
    if let Some((id, edit)) = refused.iter().next() {
        e.message = format!(
            "{}; the file of task {id} was edited by hand and that could not be recorded: {}",
            e.message, edit.message
        );
    } else if !taken.is_empty() && e.code == Code::Conflict && !e.details["expected"].is_null() {
        e.message = format!("{} with the hand edit of its file", e.message);
        e.hint = Some("agentpm lint --fix records the edit; then look at the task again".into());
    }
    e
}
