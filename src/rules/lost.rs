//! Lost edits: values that were written and gave way to one written by somebody who had not seen them.
//!
//! Promises: concurrency comes from `parents` alone, never from a clock; the list is the same for every order of the same
//! events; a value that somebody overwrote who had seen it is not lost, it was replaced.
//! Refuses to know: whether a value should be put back (`rules::decide`).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::model::event::{Entity, Entry};
use crate::model::finding::Rule;
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::relationship::Relationship;
use crate::model::task::Task;
use crate::model::time::Time;
use crate::rules::{fold, register};

/// The rule by which one value stands and the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The greater Lamport time.
    Later,
    /// The same Lamport time and the greater id.
    Id,
    /// It was written under a lease that had passed to another.
    Fence,
    /// A parent that was set stands against the concurrent removal of an older one.
    Added,
}

impl Reason {
    /// The rule in words.
    pub fn words(self) -> &'static str {
        match self {
            Reason::Later => "the value with the greater Lamport time stands",
            Reason::Id => "the Lamport times are equal, and the greater event id stands",
            Reason::Fence => "it was written under a lease that had passed to another",
            Reason::Added => "a parent that was set stands against the concurrent removal of an older one",
        }
    }
}

/// One value of a register, and who wrote it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Written {
    /// The value; `null` where the register was emptied.
    pub value: Value,
    /// The event that wrote it.
    pub event: Id,
    /// Who wrote it.
    pub agent: String,
    /// When, by the writer's clock.
    pub at: Time,
    /// Its logical time.
    pub lamport: u64,
    /// The reason given for it.
    pub why: Option<String>,
}

/// A value that lost, and the one it lost to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lost {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// What lost.
    pub lost: Written,
    /// What stands; one value that thousands may have lost to.
    #[serde(serialize_with = "as_written")]
    pub won: Arc<Written>,
    /// Why.
    pub rule: Reason,
}

fn as_written<S: serde::Serializer>(won: &Arc<Written>, serializer: S) -> Result<S::Ok, S::Error> {
    won.as_ref().serialize(serializer)
}

/// Whether some event of a log did not see all that came before it: only then can anything have lost. Cheap; says yes in doubt.
pub fn is_forked(entries: &[Entry]) -> bool {
    let ids: HashSet<Id> = entries.iter().map(|e| e.event.id).collect();
    let (mut seen, mut followed, mut roots) = (HashSet::new(), HashSet::new(), 0);
    for entry in entries.iter().filter(|e| seen.insert(e.event.id)) {
        let event = &entry.event;
        roots += usize::from(!event.parents.iter().any(|parent| ids.contains(parent)));
        if roots > 1 || event.parents.iter().any(|parent| !followed.insert(*parent)) {
            return true;
        }
    }
    false
}

/// One writer of a register: its place in the order of events, what it wrote, and whether that was void.
#[derive(Clone)]
struct Writer {
    place: usize,
    value: Value,
    void: bool,
}

/// Every value of a task that lost to a concurrent one and that nobody has settled since, by register and order of events.
pub fn lost(id: Id, entries: &[Entry]) -> Vec<Lost> {
    if !is_forked(entries) {
        return Vec::new();
    }
    let events = fold::order(&Entity::Task(id), entries).events;
    let (task, registers) = replay(id, &events);
    let links = links(&events);
    let mut found = Vec::new();
    // Few registers at a time are spread out, so that memory grows with the log alone.
    for names in registers.contested().chunks(u64::BITS as usize) {
        let some: Vec<(&str, Vec<Writer>)> = names.iter().map(|name| (*name, registers.writers(name))).collect();
        let replaced = replaced(&some, &links);
        for (bit, (name, writers)) in some.into_iter().enumerate() {
            let Some(won) = winner(&task, name, &writers, &events).map(Arc::new) else { continue };
            let place = writers.iter().find(|w| events[w.place].event.id == won.event).map(|w| w.place);
            // Who took one of several parents away saw the one that is left, and meant it to stay.
            let seen = place.filter(|_| name == "parent").map(|won| followers(won, &links));
            let has_seen = |w: &Writer| seen.as_ref().is_some_and(|seen| seen[w.place]);
            let stands = |w: &Writer| replaced[w.place] & (1 << bit) == 0 && Some(w.place) != place;
            for writer in writers.into_iter().filter(|w| stands(w) && w.value != won.value && !has_seen(w)) {
                let void = writer.void;
                let lost = written(events[writer.place], writer.value);
                let rule = reason(void, &lost, &won);
                found.push(Lost { field: name.to_owned(), lost, won: Arc::clone(&won), rule });
            }
        }
    }
    found
}

/// How many values each event lost.
pub struct Counts(HashMap<Id, usize>);

impl Counts {
    /// Counts the lost edits of one task.
    pub fn of(all: &[Lost]) -> Self {
        let mut counts = HashMap::new();
        for edit in all {
            *counts.entry(edit.lost.event).or_default() += 1;
        }
        Counts(counts)
    }

    /// Whether the event of a lost edit lost nothing else.
    pub fn is_alone(&self, edit: &Lost) -> bool {
        self.0.get(&edit.lost.event) == Some(&1)
    }
}

/// Who wrote each register of a task, in the order of events.
struct Registers {
    own: BTreeMap<String, Vec<Writer>>,
    /// Writers of the whole metadata: each writes every entry of it, those that are not in it too.
    whole: Vec<Writer>,
    /// The entries of metadata that any of them or any other event wrote.
    keys: BTreeSet<String>,
}

impl Registers {
    fn new(mut own: BTreeMap<String, Vec<Writer>>) -> Self {
        let whole = own.remove("metadata").unwrap_or_default();
        let mut keys = BTreeSet::new();
        if !whole.is_empty() {
            keys.extend(own.keys().filter(|name| name.starts_with(METADATA)).cloned());
            let maps = whole.iter().filter_map(|w| w.value.as_object());
            keys.extend(maps.flat_map(|map| map.keys()).map(|key| format!("{METADATA}{key}")));
        }
        Registers { own, whole, keys }
    }

    /// The registers of which a value can have lost, by name.
    fn contested(&self) -> Vec<&str> {
        let several = |writers: &[Writer]| writers.len() > 1 || writers.iter().any(|w| w.void);
        let own = self.own.iter().filter(|(name, writers)| !self.keys.contains(*name) && several(writers));
        let mut names: Vec<&str> = own.map(|(name, _)| name.as_str()).collect();
        if several(&self.whole) || !self.own.is_empty() {
            names.extend(self.keys.iter().map(String::as_str));
        }
        names.sort_unstable();
        names
    }

    fn writers(&self, name: &str) -> Vec<Writer> {
        let mut writers = self.own.get(name).cloned().unwrap_or_default();
        if let Some(key) = name.strip_prefix(METADATA).filter(|_| self.keys.contains(name)) {
            let own: BTreeSet<usize> = writers.iter().map(|w| w.place).collect();
            let entry = |w: &Writer| Writer { value: w.value.get(key).cloned().unwrap_or_default(), ..*w };
            writers.extend(self.whole.iter().filter(|w| !own.contains(&w.place)).map(entry));
            writers.sort_by_key(|w| w.place);
        }
        writers
    }
}

const METADATA: &str = "metadata.";

/// Folds the events and notes who wrote what. What has no effect wrote nothing; what is void is kept as such.
fn replay(id: Id, events: &[&Entry]) -> (Task, Registers) {
    let parents = register::parent_edges(events.iter().copied());
    let mut folding = fold::Folding::new(id);
    let mut registers: BTreeMap<String, Vec<Writer>> = BTreeMap::new();
    for (place, entry) in events.iter().enumerate() {
        let void = match folding.apply(&entry.event).map(|finding| finding.rule) {
            None | Some(Rule::EventTime) => false,
            Some(Rule::EventFenced) => true,
            Some(_) => continue,
        };
        for (name, value) in register::writes(&entry.event, &parents) {
            registers.entry(name).or_default().push(Writer { place, value, void });
        }
    }
    (folding.finish(), Registers::new(registers))
}

/// For each event the places of its parents. A parent that is later in the order is no parent: the fold goes by the order.
fn links(events: &[&Entry]) -> Vec<Vec<usize>> {
    let places: HashMap<Id, usize> = events.iter().enumerate().map(|(place, e)| (e.event.id, place)).collect();
    let above = |(place, entry): (usize, &&Entry)| {
        let known = entry.event.parents.iter().filter_map(|parent| places.get(parent).copied());
        known.filter(|parent| *parent < place).collect()
    };
    events.iter().enumerate().map(above).collect()
}

/// For each event, whether its writer had seen the event at one place.
fn followers(place: usize, links: &[Vec<usize>]) -> Vec<bool> {
    let mut seen = vec![false; links.len()];
    seen[place] = true;
    for later in place + 1..links.len() {
        seen[later] = links[later].iter().any(|parent| seen[*parent]);
    }
    seen
}

/// For each event, as bits, the registers that a later event wrote which had seen it. One walk serves 64 registers, so that
/// memory grows with the log alone.
fn replaced(registers: &[(&str, Vec<Writer>)], links: &[Vec<usize>]) -> Vec<u64> {
    let mut own = vec![0u64; links.len()];
    for (bit, (_, writers)) in registers.iter().enumerate() {
        for writer in writers {
            own[writer.place] |= 1 << bit;
        }
    }
    let mut replaced = vec![0u64; links.len()];
    for place in (0..links.len()).rev() {
        let seen = replaced[place] | own[place];
        for parent in links[place].iter().filter(|_| seen != 0) {
            replaced[*parent] |= seen;
        }
    }
    replaced
}

/// The writer whose value the task holds.
fn winner(task: &Task, name: &str, writers: &[Writer], events: &[&Entry]) -> Option<Written> {
    let counting = || writers.iter().rev().filter(|w| !w.void);
    let edge = if name == "parent" { task.parent_edge().map(Relationship::stamp) } else { None };
    let found = match (name, edge) {
        ("parent", Some(stamp)) => counting().find(|w| events[w.place].event.id == stamp.id),
        ("parent", None) => counting().find(|w| w.value.is_null()),
        _ => counting().next(),
    };
    match found {
        Some(writer) => Some(written(events[writer.place], writer.value.clone())),
        // Nobody has written it since the task began: what it holds is what a task begins with.
        None => {
            let creation = events.iter().find(|e| matches!(e.event.payload, Payload::TaskCreated(_)))?;
            Some(written(creation, register::value(task, name)))
        }
    }
}

fn written(entry: &Entry, value: Value) -> Written {
    let event = &entry.event;
    Written {
        value,
        event: event.id,
        agent: event.author.agent.clone(),
        at: event.at,
        lamport: event.lamport,
        why: event.why.clone(),
    }
}

fn reason(void: bool, lost: &Written, won: &Written) -> Reason {
    match won.lamport.cmp(&lost.lamport) {
        _ if void => Reason::Fence,
        std::cmp::Ordering::Greater => Reason::Later,
        std::cmp::Ordering::Equal if won.event > lost.event => Reason::Id,
        _ => Reason::Added,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;
    use serde_json::json;

    const TASK: &str = "01K5R4XJ7Z0000000000000000";

    fn id(n: u64) -> String {
        format!("01K5R4XJ7Z{n:016}")
    }

    /// An event by number: its id, its Lamport time, its parents and what it says.
    fn event(n: u64, lamport: u64, parents: &[u64], agent: &str, kind: &str, payload: Value) -> Entry {
        let line = json!({"v": 1, "id": id(n), "lamport": lamport, "type": kind, "entity": format!("task/{TASK}"),
            "parents": parents.iter().map(|p| id(*p)).collect::<Vec<_>>(), "agent": agent,
            "at": "2026-11-20T10:00:00Z", "payload": payload})
        .to_string();
        Entry { event: parse_line(&line).unwrap(), line: line.into() }
    }

    fn created() -> Entry {
        event(1, 1, &[], "ada", "TaskCreated", json!({"title": "x"}))
    }

    fn update(n: u64, lamport: u64, parents: &[u64], agent: &str, set: Value) -> Entry {
        event(n, lamport, parents, agent, "TaskUpdated", json!({ "set": set }))
    }

    fn told(entries: &[Entry]) -> Vec<(String, Value, Value, Reason)> {
        let all = lost(TASK.parse().unwrap(), entries);
        all.into_iter().map(|l| (l.field, l.lost.value, l.won.value.clone(), l.rule)).collect()
    }

    #[test]
    fn a_value_that_was_seen_is_replaced_and_not_lost() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"priority": 1})),
            update(3, 3, &[2], "bob", json!({"priority": 2})),
        ];
        assert!(!is_forked(&log));
        assert_eq!(told(&log), []);
    }

    #[test]
    fn of_two_concurrent_values_the_earlier_one_is_lost_until_somebody_who_saw_both_writes() {
        let mut log = vec![
            created(),
            update(2, 2, &[1], "ada", json!({"priority": 1, "title": "same"})),
            update(3, 3, &[1], "bob", json!({"priority": 2, "title": "same"})),
        ];
        assert_eq!(told(&log), [("priority".into(), json!(1), json!(2), Reason::Later)]);
        log.push(update(4, 4, &[2, 3], "eve", json!({"estimate": "2h"})));
        assert_eq!(told(&log).len(), 1, "another field settles nothing");
        log.push(update(5, 5, &[4], "eve", json!({"priority": 2})));
        assert_eq!(told(&log), [], "she saw both");
    }

    #[test]
    fn equal_clocks_are_told_apart_by_id() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"title": "a"})),
            update(3, 2, &[1], "bob", json!({"title": "b"})),
        ];
        assert_eq!(told(&log), [("title".into(), json!("a"), json!("b"), Reason::Id)]);
    }

    #[test]
    fn only_the_last_word_of_each_side_is_lost() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"title": "a"})),
            update(3, 3, &[2], "ada", json!({"title": "aa"})),
            update(4, 4, &[1], "bob", json!({"title": "b"})),
            update(5, 9, &[1], "eve", json!({"title": "e"})),
        ];
        let titles: Vec<Value> = told(&log).into_iter().map(|(_, lost, ..)| lost).collect();
        assert_eq!(titles, [json!("aa"), json!("b")]);
    }

    #[test]
    fn what_was_written_under_a_lost_lease_is_lost_by_the_fence() {
        let lease = json!({"lease": id(90), "holder": "bob", "fence": 2, "expires_at": "2026-01-01T00:00:00Z"});
        let mut stale = update(4, 9, &[1], "ada", json!({"priority": 4}));
        stale.event.fence = Some(1);
        let log = [created(), event(3, 2, &[1], "bob", "LeaseAcquired", lease), stale];
        assert_eq!(told(&log), [("priority".into(), json!(4), json!(0), Reason::Fence)]);
    }

    #[test]
    fn a_whole_metadata_is_a_write_of_each_of_its_entries() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"metadata.a": 1, "metadata.b": 1})),
            update(3, 3, &[1], "bob", json!({"metadata": {"b": 1, "c": 1}})),
            update(4, 4, &[1], "eve", json!({"metadata.c": 2})),
        ];
        assert_eq!(
            told(&log),
            [
                ("metadata.a".into(), json!(1), Value::Null, Reason::Later),
                ("metadata.c".into(), json!(1), json!(2), Reason::Later),
            ]
        );
    }

    #[test]
    fn a_parent_that_was_set_stands_against_a_removal() {
        let edge = |from: u64| json!({"type": "parent_of", "from": id(from), "to": TASK});
        let gone = json!({"relationship": id(2)});
        let mut log = vec![
            created(),
            event(2, 2, &[1], "ada", "RelationshipAdded", edge(50)),
            event(3, 3, &[2], "ada", "RelationshipRemoved", gone.clone()),
            event(4, 4, &[3], "ada", "RelationshipAdded", edge(51)),
            event(5, 9, &[2], "bob", "RelationshipRemoved", gone.clone()),
        ];
        assert_eq!(told(&log), [("parent".into(), Value::Null, json!(id(51)), Reason::Added)]);
        log[4] = event(5, 9, &[2], "bob", "RelationshipRemoved", gone);
        log.push(event(6, 10, &[5], "bob", "RelationshipAdded", edge(52)));
        assert_eq!(told(&log), [("parent".into(), json!(id(51)), json!(id(52)), Reason::Later)]);
    }

    #[test]
    fn parts_and_states_are_registers_too() {
        let log = [
            created(),
            event(2, 2, &[1], "ada", "ProgressItemAdded", json!({"content": "step"})),
            event(3, 3, &[2], "ada", "ProgressItemCompleted", json!({"item": id(2)})),
            event(4, 4, &[3], "ada", "ProgressItemReopened", json!({"item": id(2)})),
            event(5, 9, &[3], "bob", "TaskStatusChanged", json!({"from": "open", "to": "in_progress", "owner": "bob"})),
            event(6, 5, &[4], "ada", "TaskStatusChanged", json!({"from": "open", "to": "cancelled"})),
            event(7, 10, &[5], "bob", "ProgressItemCompleted", json!({"item": id(2)})),
        ];
        assert_eq!(
            told(&log),
            [
                (format!("progress.{}", id(2)), json!(false), json!(true), Reason::Later),
                ("status".into(), json!("cancelled"), json!("in_progress"), Reason::Later),
            ]
        );
    }
}
