//! What the author of an event had seen: the events that are reachable from it by `parents` within the log.
//!
//! Guarantees that the log is indexed once, so that a question costs no more than a visit of the events that it finds.
//! Leaves to others: what follows from these events.

use std::collections::HashMap;

use crate::model::event::Entry;
use crate::model::id::Id;

/// The events of a log, by their parents.
pub struct Ancestry<'a> {
    entries: &'a [Entry],
    /// The number of the id of each line.
    places: Vec<usize>,
    /// The number of each id, from 0.
    numbers: HashMap<Id, usize>,
    /// By number: the numbers of the parents that are here. Of several events with one id the last one counts.
    parents: Vec<Vec<usize>>,
    /// By number: an ancestor of the event is not here.
    lacks_any: Vec<bool>,
}

/// The events that some events follow, and these.
pub struct Past(Vec<bool>);

impl<'a> Ancestry<'a> {
    /// Indexes a log.
    pub fn of(entries: &'a [Entry]) -> Self {
        let mut numbers = HashMap::with_capacity(entries.len());
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            let next = numbers.len();
            places.push(*numbers.entry(entry.event.id).or_insert(next));
        }
        let (mut parents, mut lacks_any) = (vec![Vec::new(); numbers.len()], vec![false; numbers.len()]);
        for (entry, number) in entries.iter().zip(places.iter().copied()) {
            let known = &entry.event.parents;
            parents[number] = known.iter().filter_map(|parent| numbers.get(parent).copied()).collect();
            lacks_any[number] |= parents[number].len() < known.len();
        }
        let mut ancestry = Ancestry { entries, places, numbers, parents, lacks_any };
        ancestry.spread_lack();
        ancestry
    }

    /// Marks the events below those whose parents are not here.
    fn spread_lack(&mut self) {
        let mut open: Vec<usize> = (0..self.lacks_any.len()).filter(|number| self.lacks_any[*number]).collect();
        if open.is_empty() {
            return;
        }
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.parents.len()];
        for (number, parents) in self.parents.iter().enumerate() {
            parents.iter().for_each(|parent| children[*parent].push(number));
        }
        while let Some(number) = open.pop() {
            for child in &children[number] {
                if !std::mem::replace(&mut self.lacks_any[*child], true) {
                    open.push(*child);
                }
            }
        }
    }

    /// The events that are among `heads` or their ancestors, as far as they are here.
    pub fn past(&self, heads: &[Id]) -> Past {
        let mut seen = vec![false; self.parents.len()];
        let mut open: Vec<usize> = heads.iter().filter_map(|head| self.numbers.get(head).copied()).collect();
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut seen[number], true) {
                open.extend(self.parents[number].iter().filter(|parent| !seen[**parent]));
            }
        }
        Past(seen)
    }

    /// Whether an event is among them.
    pub fn is_in(&self, past: &Past, event: Id) -> bool {
        self.numbers.get(&event).is_some_and(|number| past.0[*number])
    }

    /// Their lines, in the order of the log.
    pub fn entries<'p>(&'p self, past: &'p Past) -> impl Iterator<Item = &'a Entry> + use<'a, 'p> {
        self.entries.iter().zip(&self.places).filter(|(_, number)| past.0[**number]).map(|(entry, _)| entry)
    }

    /// The lines of the events that are among `heads` or their ancestors.
    pub fn below(&self, heads: &[Id]) -> Vec<&'a Entry> {
        let past = self.past(heads);
        self.entries(&past).collect()
    }

    /// Whether these events and all their ancestors are here.
    pub fn is_whole(&self, heads: &[Id]) -> bool {
        heads.iter().all(|head| self.numbers.get(head).is_some_and(|number| !self.lacks_any[*number]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::model::event::parse_line;
    use crate::rules::register::among_below;

    fn id(n: usize) -> Id {
        Id::from_parts(1, n as u128)
    }

    fn entry(n: usize, parents: &[usize]) -> Entry {
        let parents: Vec<String> = parents.iter().map(|n| format!("\"{}\"", id(*n))).collect();
        let line = format!(
            r#"{{"v":1,"id":"{}","lamport":{n},"type":"Odd","entity":"task/{}","parents":[{}],"agent":"a","at":"2026-11-20T10:00:00Z","payload":{{}}}}"#,
            id(n),
            id(0),
            parents.join(",")
        );
        Entry { event: parse_line(&line).unwrap(), line: line.into() }
    }

    /// By definition: the heads, their parents, and so on.
    fn naive(entries: &[Entry], heads: &[Id]) -> BTreeSet<Id> {
        let parents: BTreeMap<Id, &[Id]> = entries.iter().map(|e| (e.event.id, &e.event.parents[..])).collect();
        let mut seen = BTreeSet::new();
        let mut open = heads.to_vec();
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(parents.get(&id).copied().unwrap_or_default());
            }
        }
        seen
    }

    #[test]
    fn the_past_of_an_event_is_what_its_parents_lead_to() {
        let mut seed = 7_u64;
        let mut below = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        for _ in 0..200 {
            let count = 1 + below(12);
            // Some parents are not here, some come later, and some events have one id.
            let entries: Vec<Entry> = (0..count)
                .map(|n| {
                    let parents: Vec<usize> = (0..below(4)).map(|_| below(count + 1)).collect();
                    entry(if below(8) == 0 { below(count) } else { n }, &parents)
                })
                .collect();
            let ancestry = Ancestry::of(&entries);
            for _ in 0..5 {
                let heads: Vec<Id> = (0..below(3)).map(|_| id(below(count + 1))).collect();
                let expected = naive(&entries, &heads);
                let past = ancestry.past(&heads);
                let here: BTreeSet<Id> = entries.iter().map(|entry| entry.event.id).collect();
                assert!(here.iter().all(|id| ancestry.is_in(&past, *id) == expected.contains(id)));
                let lines = |entries: Vec<&Entry>| entries.iter().map(|e| e.line.clone()).collect::<Vec<_>>();
                assert_eq!(lines(ancestry.below(&heads)), lines(among_below(&entries, &heads)));
                let is_single = here.len() == entries.len();
                assert!(!is_single || ancestry.is_whole(&heads) == expected.is_subset(&here));
            }
        }
    }
}
