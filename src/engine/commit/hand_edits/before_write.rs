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

use super::judge::Comparison;
use super::lineage::Lineage;
use super::record::{self, Comments, HandEdit, ahead};
use crate::engine::commit::transaction::{PreparedIndex, Transaction};
use crate::engine::context::Workspace;
use crate::engine::view::history::Place;
use crate::engine::view::other_branches::OtherBranches;
use crate::error::{Code, Error, Result};
use crate::model::event::Entity;
use crate::model::id::Id;
use crate::rules::decide::{Subject, expire_threads};
use crate::store::edited::Readable;
use crate::store::entity::{MAX_YAML, is_odd, read_yaml};
use crate::store::layout::task_dir;
use crate::store::log::{Log, check_growth};
use crate::store::project::render;

/// Decides after recording hand edits and expired threads of the tasks that the decision changes, or that it read if it refuses.
/// `edits` are those that the caller requires; the refusal of another edit only matters if its task would be changed.
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
        let failed = edits.iter().enumerate().find_map(|(n, edit)| Some((n, tx.record_edit(edit).err()?)));
        if let Some((n, e)) = failed {
            if n < asked {
                return Err(e);
            }
            refused.insert(edits.remove(n).id, e);
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
        let looked_at: BTreeSet<Id> = match &decided {
            Ok(_) => tx.changed().filter(new).collect(),
            Err(_) => tx.tasks.keys().chain(tx.resting.keys()).copied().filter(new).collect(),
        };
        let more = find_edits(ws, &lineage, &mut tx, looked_at)?;
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
        if let Some((id, e)) = refused_of(ws, &tx, &refused)? {
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
        for (id, broken) in std::mem::take(&mut tx.left_out) {
            passed_over.extend(broken.or_else(|| left_alone.remove(&id)).map(|e| (id, e)));
        }
        warn(&mut tx, &passed_over, &edits[asked..]);
        return Ok((tx, subject));
    }
}

/// The edits of the files of these tasks. Keeps the bytes of the unedited ones.
fn find_edits(
    ws: &Workspace,
    lineage: &Lineage<'_>,
    tx: &mut Transaction,
    tasks: BTreeSet<Id>,
) -> Result<Vec<HandEdit>> {
    let (mut edits, mut unedited) = (Vec::new(), BTreeMap::new());
    for id in tasks {
        let Some((judged, bytes)) = compared(ws, lineage, id, &*tx.log(id)?) else { continue };
        if judged.how.holds_words() {
            edits.push(HandEdit { id, draft: None, comments: Comments::Refuse });
        } else if matches!(judged.how, Readable::Clean) && !tx.resting.contains_key(&id) {
            unedited.insert(id, bytes);
        }
    }
    tx.unedited = unedited;
    Ok(edits)
}

/// Warns of tasks that were passed over, and of edits that were recorded on the way.
fn warn(tx: &mut Transaction, passed_over: &BTreeMap<Id, Error>, edits: &[HandEdit]) {
    for (id, e) in passed_over {
        // This holds for its own file in any case.
        let why = e.message.trim_end_matches("; nothing was written");
        tx.warnings.push(format!("task {id} was passed over: {why}"));
    }
    for (id, (_, what)) in tx.taken_in.iter().filter(|(id, _)| edits.iter().any(|e| e.id == **id)) {
        tx.warnings.push(match what.is_empty() {
            true => format!("the hand edit of task {id} was recorded already"),
            false => format!("recorded the hand edit of task {id}: {what}"),
        });
    }
}

/// The first changed task whose file must not be overwritten, with the reason.
fn refused_of(ws: &Workspace, tx: &Transaction, refused: &BTreeMap<Id, Error>) -> Result<Option<(Id, Error)>> {
    let changed: BTreeSet<Id> = tx.changed().collect();
    if let Some(id) = changed.iter().find(|id| refused.contains_key(id)) {
        return Ok(refused.get(id).map(|e| (*id, e.clone())));
    }
    let new = tx.emitted_by_task();
    let lineage = record::lineage(ws);
    let mut over_edit = None;
    for id in &changed {
        let log = tx.log(*id)?;
        let growth = check_growth(*id, &log.entries, new.get(id).map_or(&[][..], Vec::as_slice)).err();
        let is_new = log.entries.is_empty();
        let too_large = growth.or_else(|| if is_new { None } else { too_large_to_read(ws, *id) });
        if let Some(e) = too_large {
            return Ok(Some((*id, e)));
        }
        // A single changed task is checked just before its file is written.
        if changed.len() > 1 && over_edit.is_none() && !tx.taken_in.contains_key(id) {
            over_edit = refuse_over_edit(ws, &lineage, *id, &log).err().map(|e| (*id, e));
        }
    }
    Ok(over_edit)
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
    let (mut clean, mut unedited) = (std::mem::take(&mut tx.unedited), BTreeMap::new());
    for id in tx.changed().filter(|id| !tx.taken_in.contains_key(id)) {
        // What was compared for the decision is compared again only if it is another file now.
        let is_same = |bytes: &Vec<u8>| read_yaml(&ws.store, &Entity::Task(id)).ok().flatten().as_ref() == Some(bytes);
        let bytes = match clean.remove(&id).filter(is_same) {
            Some(bytes) => Some(bytes),
            None => {
                let log = tx.log(id)?;
                let bytes = refuse_over_edit(ws, &lineage, id, &log)?;
                // The rendering of the log of a task that rests can be made again.
                let is_rendered = |bytes: &Vec<u8>| render(&Entity::Task(id), &log.entries).as_bytes() == bytes;
                bytes.filter(|bytes| !tx.resting.contains_key(&id) || !is_rendered(bytes))
            }
        };
        unedited.extend(bytes.map(|bytes| (id, bytes)));
    }
    tx.unedited = unedited;
    Ok(())
}

/// Refuses to overwrite a hand-edited `task.yaml`. Returns the bytes of an unedited one.
fn refuse_over_edit(ws: &Workspace, lineage: &Lineage<'_>, id: Id, log: &Log) -> Result<Option<Vec<u8>>> {
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
    let judged = lineage.judge(Place::WorkTree, &entity, &log.entries, &log.entries, &bytes);
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

/// The `task.yaml` of a task in the transaction, compared with the log; `None` if it is missing or cannot be read.
fn compared(ws: &Workspace, lineage: &Lineage<'_>, id: Id, log: &Log) -> Option<(Comparison, Vec<u8>)> {
    let entity = Entity::Task(id);
    let bytes = read_yaml(&ws.store, &entity).ok().flatten()?;
    Some((lineage.judge(Place::WorkTree, &entity, &log.entries, &log.entries, &bytes), bytes))
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
