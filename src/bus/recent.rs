//! The events that were seen lately, in bounded memory.

use std::collections::BTreeSet;

use crate::model::id::Id;

/// How many are remembered at least.
const REMEMBERED: usize = 100_000;

/// At least the last 100,000 events that were noted.
#[derive(Default)]
pub(super) struct Recent {
    now: BTreeSet<Id>,
    before: BTreeSet<Id>,
}

impl Recent {
    pub fn note_all(&mut self, events: impl IntoIterator<Item = Id>) {
        events.into_iter().for_each(|event| self.note(event));
    }

    fn note(&mut self, event: Id) {
        if self.now.len() == REMEMBERED {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(event);
    }

    pub fn forget(&mut self) {
        *self = Recent::default();
    }

    pub fn has(&self, event: Id) -> bool {
        self.now.contains(&event) || self.before.contains(&event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_remembered_and_old_ones_forgotten() {
        let id = |n: usize| Id::from_parts(1, n as u128);
        let mut recent = Recent::default();
        (0..3 * REMEMBERED).for_each(|n| recent.note(id(n)));
        assert!((2 * REMEMBERED..3 * REMEMBERED).all(|n| recent.has(id(n))));
        assert!(!recent.has(id(0)));
    }
}
