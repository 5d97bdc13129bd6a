//! What was seen lately, in bounded memory.

use std::collections::BTreeSet;

/// How many are remembered at least.
const REMEMBERED: usize = 100_000;

/// At least the last 100,000 that were noted.
pub(super) struct Recent<T> {
    now: BTreeSet<T>,
    before: BTreeSet<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent { now: BTreeSet::new(), before: BTreeSet::new() }
    }
}

impl<T: Ord> Recent<T> {
    pub fn note_all(&mut self, all: impl IntoIterator<Item = T>) {
        all.into_iter().for_each(|one| self.note(one));
    }

    fn note(&mut self, one: T) {
        if self.now.len() == REMEMBERED {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(one);
    }

    pub fn forget(&mut self) {
        *self = Recent::default();
    }

    pub fn has(&self, one: &T) -> bool {
        self.now.contains(one) || self.before.contains(one)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_events_are_remembered_and_old_ones_forgotten() {
        let mut recent = Recent::default();
        recent.note_all(0..3 * REMEMBERED);
        assert!((2 * REMEMBERED..3 * REMEMBERED).all(|n| recent.has(&n)));
        assert!(!recent.has(&0));
    }
}
