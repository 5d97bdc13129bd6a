//! Hand edits that two clones recorded: each found the same edit in the same commit before it saw the events of the other.
//!
//! Guarantees that of several events that record one edit the first in order adds the entry, and that the others stand for it.
//! Leaves to others: which edits a file holds (`engine::commit::hand_edits`), and what an event does (`rules::fold`).

use std::collections::{BTreeMap, HashMap};

use crate::model::event::Event;
use crate::model::id::Id;
use crate::model::payload::Payload;

/// The reason that events of a hand edit carry.
pub const HAND_EDIT: &str = "hand edit";

/// The hand edits of a log, taken in the order of events: the first of each, by what makes it one.
#[derive(Clone, Debug, Default)]
pub struct HandEdits(HashMap<(Vec<Id>, String), Id>);

impl HandEdits {
    /// Takes the next event in order. Where it repeats an earlier one, that is: it has the same payload and the same parents, both
    /// with each copy replaced by its first, the first is noted in `copies`. Says whether it is a copy that must not add its entry
    /// again.
    pub fn repeats(&mut self, event: &Event, copies: &mut BTreeMap<Id, Id>) -> bool {
        if !is_hand_edit(event) {
            return false;
        }
        let mut parents: Vec<Id> = event.parents.iter().map(|id| first(copies, *id)).collect();
        parents.sort_unstable();
        let mut payload = format!("{} {}", event.payload.kind(), event.payload.to_raw());
        for (copy, first) in copies.iter() {
            payload = payload.replace(&copy.to_string(), &first.to_string());
        }
        let first = *self.0.entry((parents, payload)).or_insert(event.id);
        if first == event.id {
            return false;
        }
        copies.insert(event.id, first);
        matches!(event.payload, Payload::ProgressItemAdded(_) | Payload::ContextAdded(_))
    }
}

/// Whether an event records a hand edit.
pub fn is_hand_edit(event: &Event) -> bool {
    event.why.as_deref() == Some(HAND_EDIT)
}

/// The event that an id stands for: the first of its copies.
pub fn first(copies: &BTreeMap<Id, Id>, id: Id) -> Id {
    copies.get(&id).copied().unwrap_or(id)
}
