//! Hand edits that two clones recorded: each found the same edit in the same commit before it saw the events of the other.
//!
//! Guarantees that of several events that record one edit, the first in order adds the entry, and the others stand for it.
//! Leaves to others: which edits a file contains (`engine::commit::hand_edits`), and the effect of an event (`rules::fold`).

use std::collections::{BTreeMap, HashMap};

use crate::model::event::Event;
use crate::model::id::Id;
use crate::rules::event_rules::EventRules;

/// The reason of events that record a hand edit.
pub const HAND_EDIT: &str = "hand edit";

/// The first event of each hand edit of a log, by its parents and payload.
#[derive(Clone, Debug, Default)]
pub struct HandEdits(HashMap<(Vec<Id>, String), Id>);

impl HandEdits {
    /// Adds the next event in order. It repeats an earlier one if it has the same payload and parents, both with each copy
    /// replaced by its first. Then the first is noted in `copies`. Returns whether it is a copy that must not add its entry
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
        EventRules::of(&event.payload).adds_entry
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
