//! Merging two states of one task without their logs: what git's merge driver has in its hands.
//!
//! Promises: the answer is what folding the union of both logs gives, or no answer. Registers by the stamp of their last writer, sets
//! by id, a removal beats everything, heads as a three-way merge of sets.
//! Refuses to know: files, and how a state was read.
//!
//! A state keeps the last writer of a register and not those before it. So where the last writer turns out to be void, because
//! the other side granted a higher fence before it in order, the value that stands is in the logs alone, and there is no answer.

use std::collections::BTreeSet;

use crate::model::event::Stamp;
use crate::model::id::Id;
use crate::model::task::Task;
use crate::rules::fields;

/// Why two states cannot be merged without their logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclear(pub String);

/// Merges two states of one task that both come from `base`; `None` where they have no common state.
///
/// Errors: [`Unclear`] where only the logs can tell.
pub fn merge(base: Option<&Task>, ours: &Task, theirs: &Task) -> Result<Task, Unclear> {
    same("id", ours.id, theirs.id)?;
    same("created_at", ours.created_at, theirs.created_at)?;
    same("created_by", &ours.created_by, &theirs.created_by)?;
    let mut merged = ours.clone();
    let registers: BTreeSet<&String> = ours.stamps.keys().chain(theirs.stamps.keys()).collect();
    for register in registers.iter().filter(|r| r.as_str() != "parent") {
        let (a, b) = (ours.stamps.get(*register), theirs.stamps.get(*register));
        let (winner, other) = if a >= b { (ours, theirs) } else { (theirs, ours) };
        if a != b {
            check_fences(base, winner, other, register)?;
        }
        if a < b {
            write(&mut merged, theirs, register);
            merged.stamps.insert((*register).clone(), theirs.stamps[*register]);
            match theirs.fences.get(*register) {
                Some(fence) => merged.fences.insert((*register).clone(), *fence),
                None => merged.fences.remove(*register),
            };
        }
    }
    merge_metadata(&mut merged, ours, theirs);
    merge_parts(&mut merged, theirs)?;
    merge_edges(&mut merged, theirs)?;
    merge_grants(&mut merged, theirs);
    merged.heads = merge_heads(base, ours, theirs);
    check_unstamped(&merged, ours, theirs)?;
    Ok(merged)
}

fn same<T: PartialEq>(what: &str, ours: T, theirs: T) -> Result<(), Unclear> {
    if ours == theirs { Ok(()) } else { Err(Unclear(format!("{what} differs though nothing changed it"))) }
}

/// Whether the last writer of a register stands against the grants of the side that does not know it.
fn check_fences(base: Option<&Task>, winner: &Task, other: &Task, register: &str) -> Result<(), Unclear> {
    let (Some(stamp), Some(fence)) = (winner.stamps.get(register), winner.fences.get(register)) else { return Ok(()) };
    let void = || Unclear(format!("{register} was changed under fence {fence}, and fence {} was granted", other.fence));
    if base.and_then(|base| base.stamps.get(register)) == Some(stamp) {
        // The other side knows this change and shows an older one: there it is void.
        return Err(void());
    }
    let untouched = base.is_some_and(|base| base.heads == other.heads);
    let Some(granted) = other.granted.filter(|_| !untouched && other.fence > *fence) else { return Ok(()) };
    // Of all grants only the greatest is known; any between might lie before the change, and be new though the greatest is not.
    if granted > *stamp && other.fence == *fence + 1 { Ok(()) } else { Err(void()) }
}

/// Takes one register over from another state.
fn write(to: &mut Task, from: &Task, register: &str) {
    match register {
        "status" => {
            to.status = from.status;
            to.completed_at = from.completed_at;
            to.cancelled_at = from.cancelled_at;
            to.archived_at = from.archived_at;
        }
        "owner" => to.owner.clone_from(&from.owner),
        "verified" => to.verified.clone_from(&from.verified),
        // Metadata is put together from several registers further below; parts and edges are sets.
        "metadata" | "parent" => {}
        name => match name.split_once('.') {
            Some(("metadata" | "progress" | "context", _)) => {}
            Some(("met", criterion)) => match from.met.get(criterion) {
                Some(met) => drop(to.met.insert(criterion.to_owned(), met.clone())),
                None => drop(to.met.remove(criterion)),
            },
            _ => {
                let value = fields::value_of(&from.fields, name);
                let set = std::iter::once((name.to_owned(), value)).collect();
                // What one state holds another can hold.
                drop(fields::write(&mut to.fields, &set));
            }
        },
    }
}

/// The whole map by its last writer, and over it each key that was written since.
fn merge_metadata(merged: &mut Task, ours: &Task, theirs: &Task) {
    let whole = |task: &Task| task.stamps.get("metadata").copied();
    let base = if whole(ours) >= whole(theirs) { ours } else { theirs };
    let since = whole(base);
    merged.fields.metadata.clone_from(&base.fields.metadata);
    let keys: Vec<(String, Stamp)> = merged
        .stamps
        .iter()
        .filter_map(|(register, stamp)| Some((register.strip_prefix("metadata.")?.to_owned(), *stamp)))
        .filter(|(_, stamp)| Some(*stamp) > since)
        .collect();
    for (key, stamp) in keys {
        let register = format!("metadata.{key}");
        let source = if ours.stamps.get(&register) == Some(&stamp) { ours } else { theirs };
        let set = std::iter::once((register.clone(), fields::value_of(&source.fields, &register))).collect();
        // A key of a map takes any value.
        drop(fields::write(&mut merged.fields, &set));
    }
}

/// Progress items and context entries.
fn merge_parts(merged: &mut Task, theirs: &Task) -> Result<(), Unclear> {
    for (id, item) in &theirs.progress {
        let register = format!("progress.{id}");
        match merged.progress.get_mut(id) {
            None => drop(merged.progress.insert(*id, item.clone())),
            Some(own) => {
                same("a progress item", (&own.content, own.created_at), (&item.content, item.created_at))?;
                // The stamps are merged already: where theirs stands there, theirs is the later tick.
                if merged.stamps.get(&register) == theirs.stamps.get(&register) {
                    own.completed = item.completed;
                    own.completed_at = item.completed_at;
                }
            }
        }
    }
    for (id, entry) in &theirs.context {
        let register = format!("context.{id}");
        match merged.context.get_mut(id) {
            None => drop(merged.context.insert(*id, entry.clone())),
            Some(own) => {
                let redacted = own.redacted || entry.redacted;
                if redacted {
                    own.content.clear();
                    own.metadata = serde_json::Value::Null;
                    own.redacted = true;
                } else {
                    same("a context entry", (&own.content, &own.metadata), (&entry.content, &entry.metadata))?;
                }
                let written = |e: &crate::model::context::ContextEntry| (e.kind, e.author.clone(), e.created_at);
                same("a context entry", written(own), written(entry))?;
                if merged.stamps.get(&register) == theirs.stamps.get(&register) {
                    own.superseded_by = entry.superseded_by;
                }
            }
        }
    }
    Ok(())
}

fn merge_edges(merged: &mut Task, theirs: &Task) -> Result<(), Unclear> {
    merged.removed.extend(&theirs.removed);
    for (id, edge) in &theirs.relationships {
        match merged.relationships.get(id) {
            Some(own) => same("a relationship", own, edge)?,
            None => drop(merged.relationships.insert(*id, edge.clone())),
        }
    }
    let removed = &merged.removed;
    merged.relationships.retain(|id, _| !removed.contains(id));
    match merged.parent_edge().map(crate::model::relationship::Relationship::stamp) {
        Some(stamp) => drop(merged.stamps.insert("parent".into(), stamp)),
        None => drop(merged.stamps.remove("parent")),
    }
    Ok(())
}

/// The greatest fence, and of those who granted it the first in order.
fn merge_grants(merged: &mut Task, theirs: &Task) {
    if theirs.fence > merged.fence {
        merged.granted = theirs.granted;
    } else if theirs.fence == merged.fence {
        merged.granted = merged.granted.into_iter().chain(theirs.granted).min();
    }
    merged.fence = merged.fence.max(theirs.fence);
}

/// A head stays where both have it, or where the other side has never seen it. One that only one side still has, though both
/// come from it, was built upon by the other.
fn merge_heads(base: Option<&Task>, ours: &Task, theirs: &Task) -> Vec<Id> {
    let set = |task: &Task| task.heads.iter().copied().collect::<BTreeSet<Id>>();
    let (a, b) = (set(ours), set(theirs));
    let base = base.map(set).unwrap_or_default();
    a.union(&b).filter(|head| (a.contains(head) && b.contains(head)) || !base.contains(head)).copied().collect()
}

/// Fields that nobody wrote since the task was created must say the same on both sides: what differs was edited by hand.
fn check_unstamped(merged: &Task, ours: &Task, theirs: &Task) -> Result<(), Unclear> {
    let extra = ours.fields.extra.keys().chain(theirs.fields.extra.keys()).map(String::as_str);
    for name in fields::NAMES.iter().copied().chain(extra) {
        let equal = || fields::value_of(&ours.fields, name) == fields::value_of(&theirs.fields, name);
        if name != "metadata" && !merged.stamps.contains_key(name) && !equal() {
            return Err(Unclear(format!("{name} differs though nothing changed it")));
        }
    }
    for (name, equal) in [("status", ours.status == theirs.status), ("owner", ours.owner == theirs.owner)] {
        if !merged.stamps.contains_key(name) && !equal {
            return Err(Unclear(format!("{name} differs though nothing changed it")));
        }
    }
    Ok(())
}
