//! The writers of a task's registers, and which of them counts.
//!
//! Guarantees one rule for every register. An event has *seen* another that is reachable from it by `parents` within the log.
//! The candidates are the writers of a register that no other writer of it has seen; the greatest by (precedence, Lamport
//! time, id) counts. For the status, (round, rank) come first. A reopening that has seen an end begins a round. Within a
//! round a completion ranks above a cancellation, and a cancellation above everything else. The result depends only on the
//! set of events.
//! Leaves to others: what an event writes (`rules::register`), and whether it has an effect (`rules::fold`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::model::event::{Event, Stamp};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::{Status, Task};
use crate::rules::event_rules::{status_of, writes};
use crate::rules::{moves, register};

/// An event of a log, in its order, with its effect in the fold.
#[derive(Clone, Copy, Debug)]
pub struct AppliedEvent<'e> {
    /// The event.
    pub event: &'e Event,
    /// Its effect.
    pub effect: Effect,
}

/// The effect of an event in the fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It counts.
    Counts,
    /// It is void: its fence is lower than one that was granted before.
    Fenced,
    /// It resolves a thread, and another resolution of that thread counts.
    Overruled,
    /// It has no effect.
    None,
}

/// Why one value counts and the other does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The greater Lamport time.
    Later,
    /// The same Lamport time and the greater id.
    Id,
    /// The higher precedence.
    Precedence,
    /// A completion against a cancellation, or either against continued work.
    Rank,
    /// A reopening that had seen an end, against an event that had not seen the reopening.
    Round,
    /// It came with a status that lost.
    Status,
    /// It was written under a lease that had passed to another.
    Fence,
    /// It came with the resolution of a thread, and another resolution of that thread counts.
    Resolution,
    /// A parent that was set, against the concurrent removal of an older one.
    Added,
}

impl Reason {
    /// Its name, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Later => "later",
            Reason::Id => "id",
            Reason::Precedence => "precedence",
            Reason::Rank => "rank",
            Reason::Round => "round",
            Reason::Status => "status",
            Reason::Fence => "fence",
            Reason::Resolution => "resolution",
            Reason::Added => "added",
        }
    }

    /// The rule as a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Reason::Later => "the value with the greater Lamport time wins",
            Reason::Id => "the Lamport times are equal, and the greater event id wins",
            Reason::Precedence => "the value of the agent with the higher precedence wins",
            Reason::Rank => "a completion wins over a cancellation, and either over continued work",
            Reason::Round => "a reopening wins over events that had not seen it",
            Reason::Status => "it came with a status that lost",
            Reason::Fence => "it was written under a lease that had passed to another",
            Reason::Resolution => "another resolution of the thread counts",
            Reason::Added => "a parent that was set wins over the concurrent removal of an older one",
        }
    }
}

/// One writer of a register.
#[derive(Clone, Debug)]
pub struct Writer {
    /// Its place in the order of events.
    pub place: usize,
    /// The value that it wrote.
    pub value: Value,
    /// Why it cannot count, regardless of the other writers.
    pub void: Option<Reason>,
}

/// A register with the writers of it that no other writer has seen.
#[derive(Clone, Debug)]
pub struct Contest {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub register: String,
    /// The writer that counts; `None` if the register keeps a new task's value.
    pub winner: Option<Writer>,
    /// The others and the void ones, with the reason.
    pub losers: Vec<(Writer, Reason)>,
}

/// Which registers to examine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// Those whose last writer may not be the one that counts.
    Decided,
    /// All with more than one writer.
    All,
}

/// The contested registers of a task, by name.
pub fn contests(taken: &[AppliedEvent<'_>], task: &Task, which: Registers) -> Vec<Contest> {
    let history = History::of(taken, &task.copies);
    let edges = task.parents();
    // Without precedence and void values, the last writer of any other register is the one that counts.
    let in_order = |one: &AppliedEvent| one.event.weight() == 0 && one.effect != Effect::Overruled;
    let by_status = which == Registers::Decided && taken.iter().all(in_order);
    let mut written = RegisterWriters::of(taken, &task.copies, |name| !by_status || matches!(name, "status" | "owner"));
    history.void_owners(&mut written);
    let mut found = Vec::new();
    // A few registers at a time are examined, so that memory grows only with the log.
    for names in written.contested().chunks(u64::BITS as usize) {
        let some: Vec<(&str, Vec<Writer>)> = names.iter().map(|name| (*name, written.writers(name))).collect();
        let lists = || some.iter().map(|(_, writers)| &writers[..]);
        let replaced = history.replaced(lists(), |w| w.void.is_none());
        // A void writer loses to other void writers too; one that counts does not.
        let any_void = lists().flatten().any(|w| w.void.is_some());
        let by_any = if any_void { history.replaced(lists(), |_| true) } else { Vec::new() };
        for (bit, (name, writers)) in some.into_iter().enumerate() {
            let unseen = |w: &Writer| (if w.void.is_none() { &replaced } else { &by_any })[w.place] & (1 << bit) == 0;
            found.push(match name {
                "parent" => history.parent(&edges, writers, unseen),
                _ => history.contest(name, writers, unseen),
            });
        }
    }
    found
}

/// A thread that several events resolve, by their places in the order of events.
#[derive(Clone, Debug)]
pub struct ThreadContest {
    /// The thread.
    pub thread: Id,
    /// The resolution that counts.
    pub winner: usize,
    /// Those that had not seen another, and lost.
    pub concurrent: Vec<usize>,
    /// All that do not count.
    pub overruled: Vec<usize>,
}

/// The threads that several events resolve. Of the resolutions that have seen no other of the same thread, the one of the
/// highest precedence counts, then the first in order.
pub fn resolutions(taken: &[AppliedEvent<'_>], copies: &BTreeMap<Id, Id>) -> Vec<ThreadContest> {
    let mut by_thread: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    for (place, one) in taken.iter().enumerate().filter(|(_, one)| one.effect == Effect::Counts) {
        if let Payload::ThreadResolved(p) = &one.event.payload {
            by_thread.entry(p.thread).or_default().push(place);
        }
    }
    by_thread.retain(|_, places| places.len() > 1);
    if by_thread.is_empty() {
        return Vec::new();
    }
    let history = History::of(taken, copies);
    let threads: Vec<(Id, Vec<usize>)> = by_thread.into_iter().collect();
    let mut found = Vec::with_capacity(threads.len());
    // As for registers: one pass serves 64 threads.
    for some in threads.chunks(u64::BITS as usize) {
        let seen = history.seen_resolutions(some);
        for (bit, (thread, places)) in some.iter().enumerate() {
            let roots = || places.iter().copied().filter(|place| seen[*place] & (1 << bit) == 0);
            let best = roots().min_by_key(|place| {
                let (weight, stamp) = history.weight(*place);
                (std::cmp::Reverse(weight), stamp)
            });
            // The first in order has seen no other.
            let Some(winner) = best else { continue };
            let lost = |place: &usize| *place != winner;
            let (concurrent, overruled) =
                (roots().filter(lost).collect(), places.iter().copied().filter(lost).collect());
            found.push(ThreadContest { thread: *thread, winner, concurrent, overruled });
        }
    }
    found
}

/// The writers of each register of a task, in the order of events.
struct RegisterWriters {
    own: BTreeMap<String, Vec<Writer>>,
    /// Writers of the whole metadata. Each writes every entry, also those that it omits.
    whole: Vec<Writer>,
    /// The entries of metadata that any event wrote.
    keys: BTreeSet<String>,
}

const METADATA: &str = "metadata.";

impl RegisterWriters {
    fn of(taken: &[AppliedEvent<'_>], copies: &BTreeMap<Id, Id>, wanted: impl Fn(&str) -> bool) -> Self {
        let parents = register::parent_edges(taken.iter().map(|one| one.event));
        let mut own: BTreeMap<String, Vec<Writer>> = BTreeMap::new();
        for (place, one) in taken.iter().enumerate().filter(|(_, one)| one.effect != Effect::None) {
            let void = match one.effect {
                Effect::Fenced => Some(Reason::Fence),
                Effect::Overruled => Some(Reason::Resolution),
                Effect::Counts | Effect::None => None,
            };
            for (name, value) in writes(one.event, &parents, copies) {
                if wanted(&name) {
                    own.entry(name).or_default().push(Writer { place, value, void });
                }
            }
        }
        let whole = own.remove("metadata").unwrap_or_default();
        let mut keys = BTreeSet::new();
        if !whole.is_empty() {
            keys.extend(own.keys().filter(|name| name.starts_with(METADATA)).cloned());
            let maps = whole.iter().filter_map(|w| w.value.as_object());
            keys.extend(maps.flat_map(|map| map.keys()).map(|key| format!("{METADATA}{key}")));
        }
        RegisterWriters { own, whole, keys }
    }

    /// The registers of which a value can have lost, by name.
    fn contested(&self) -> Vec<&str> {
        let several = |writers: &[Writer]| writers.len() > 1 || writers.iter().any(|w| w.void.is_some());
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

/// The graph of events by their parents.
struct History<'a, 'e> {
    taken: &'a [AppliedEvent<'e>],
    /// For each event the places of its parents. A parent that is later in the order is ignored: the fold follows the order.
    links: Vec<Vec<usize>>,
    /// For each event the number of reopenings of an ended task among its ancestors.
    rounds: Vec<u32>,
}

impl<'a, 'e> History<'a, 'e> {
    fn of(taken: &'a [AppliedEvent<'e>], copies: &BTreeMap<Id, Id>) -> Self {
        let places: HashMap<Id, usize> = taken.iter().enumerate().map(|(place, one)| (one.event.id, place)).collect();
        let above = |(place, one): (usize, &AppliedEvent)| {
            // An event that follows a copy has seen the entry.
            let parents = one.event.parents.iter().chain(copies.get(&one.event.id));
            let known = parents.filter_map(|parent| places.get(parent).copied());
            known.filter(|parent| *parent < place).collect()
        };
        let links: Vec<Vec<usize>> = taken.iter().enumerate().map(above).collect();
        let (mut rounds, mut ended) = (vec![0u32; taken.len()], vec![false; taken.len()]);
        for (place, one) in taken.iter().enumerate() {
            let counts = one.effect == Effect::Counts;
            let saw_end = links[place].iter().any(|parent| ended[*parent]);
            let before = links[place].iter().map(|parent| rounds[*parent]).max().unwrap_or(0);
            let reopens = counts && saw_end && matches!(one.event.payload, Payload::TaskReopened(_));
            rounds[place] = before.saturating_add(u32::from(reopens));
            ended[place] = saw_end || (counts && status_of(one.event).is_some_and(Status::is_finished));
        }
        History { taken, links, rounds }
    }

    /// For each event, as bits, the registers written by a later event that had seen it; only writers that replace others
    /// count. One pass serves 64 registers, so that memory grows only with the log.
    fn replaced<'w>(
        &self,
        registers: impl Iterator<Item = &'w [Writer]>,
        replaces: impl Fn(&Writer) -> bool,
    ) -> Vec<u64> {
        let mut own = vec![0u64; self.links.len()];
        for (bit, writers) in registers.enumerate() {
            for writer in writers.iter().filter(|w| replaces(w)) {
                own[writer.place] |= 1 << bit;
            }
        }
        let mut replaced = vec![0u64; self.links.len()];
        for place in (0..self.links.len()).rev() {
            let seen = replaced[place] | own[place];
            for parent in self.links[place].iter().filter(|_| seen != 0) {
                replaced[*parent] |= seen;
            }
        }
        replaced
    }

    /// For each event, as bits, the threads of which it has seen a resolution.
    fn seen_resolutions(&self, threads: &[(Id, Vec<usize>)]) -> Vec<u64> {
        let mut own = vec![0u64; self.links.len()];
        for (bit, (_, places)) in threads.iter().enumerate() {
            places.iter().for_each(|place| own[*place] |= 1 << bit);
        }
        let mut seen = vec![0u64; self.links.len()];
        for place in 0..self.links.len() {
            seen[place] = self.links[place].iter().fold(0, |bits, parent| bits | seen[*parent] | own[*parent]);
        }
        seen
    }

    /// For each event, whether the one at this place has seen it.
    fn seen_by(&self, place: usize) -> Vec<bool> {
        let mut seen = vec![false; self.links.len()];
        let mut open = vec![place];
        while let Some(next) = open.pop() {
            for parent in &self.links[next] {
                if !std::mem::replace(&mut seen[*parent], true) {
                    open.push(*parent);
                }
            }
        }
        seen
    }

    /// For each event, whether it has seen the one at this place.
    fn followers(&self, place: usize) -> Vec<bool> {
        let mut seen = vec![false; self.links.len()];
        seen[place] = true;
        for later in place + 1..self.links.len() {
            seen[later] = self.links[later].iter().any(|parent| seen[*parent]);
        }
        seen
    }

    /// The sort key between writers of the status that have not seen each other, the greatest first.
    fn standing(&self, place: usize) -> (u32, u8, i64, Stamp) {
        let event = self.taken[place].event;
        (self.rounds[place], rank(event), event.weight(), event.stamp())
    }

    fn weight(&self, place: usize) -> (i64, Stamp) {
        let event = self.taken[place].event;
        (event.weight(), event.stamp())
    }

    /// Voids owners that came with a status that does not count. Such an owner counts only if the writer of the status that
    /// does had seen it, and had not seen a status that it lost to.
    fn void_owners(&self, written: &mut RegisterWriters) {
        let mut status = written.writers("status");
        status.retain(|w| w.void.is_none());
        let Some(owners) = written.own.get_mut("owner").filter(|_| status.len() > 1) else { return };
        let replaced = self.replaced([&status[..]].into_iter(), |_| true);
        let left = status.iter().map(|w| w.place).filter(|place| replaced[*place] == 0);
        let Some(winner) = left.max_by_key(|place| self.standing(*place)) else { return };
        let seen = self.seen_by(winner);
        status.retain(|w| seen[w.place]);
        let gave_way = self.gave_way(&status);
        for owner in owners.iter_mut().filter(|w| w.void.is_none() && w.place != winner) {
            let is_status = status_of(self.taken[owner.place].event).is_some();
            if is_status && (!seen[owner.place] || gave_way[owner.place]) {
                owner.void = Some(Reason::Status);
            }
        }
    }

    /// For each event, whether it wrote a status that lost to another of these, neither of which had seen the other.
    fn gave_way(&self, status: &[Writer]) -> Vec<bool> {
        let mut places: Vec<usize> = status.iter().map(|w| w.place).collect();
        places.sort_by_key(|place| self.standing(*place));
        let mut gave_way = vec![false; self.links.len()];
        for (chunk, some) in places.chunks(u64::BITS as usize).enumerate() {
            let mut known = vec![0u64; self.links.len()];
            some.iter().enumerate().for_each(|(bit, place)| known[*place] = 1 << bit);
            let mut seen = known.clone();
            for place in 0..self.links.len() {
                seen[place] |= self.links[place].iter().fold(0, |bits, parent| bits | seen[*parent]);
            }
            for place in (0..self.links.len()).rev() {
                let bits = known[place];
                self.links[place].iter().for_each(|parent| known[*parent] |= bits);
            }
            // Those with a lower sort key lose to it if neither had seen the other.
            let first = chunk * u64::BITS as usize;
            let below = |n: usize| if n >= u64::BITS as usize { u64::MAX } else { (1 << n) - 1 };
            let beaten = places
                .iter()
                .enumerate()
                .skip(first)
                .fold(0, |bits, (n, place)| bits | (below(n - first) & !seen[*place] & !known[*place]));
            let is_beaten = some.iter().enumerate().filter(|(bit, _)| beaten & (1 << bit) != 0);
            is_beaten.for_each(|(_, place)| gave_way[*place] = true);
        }
        gave_way
    }

    fn contest(&self, name: &str, writers: Vec<Writer>, unseen: impl Fn(&Writer) -> bool) -> Contest {
        let left = writers.iter().filter(|w| w.void.is_none() && unseen(w));
        let winner = match name {
            "status" => left.max_by_key(|w| self.standing(w.place)),
            _ => left.max_by_key(|w| self.weight(w.place)),
        }
        .cloned();
        let others = writers.into_iter().filter(|w| unseen(w) && Some(w.place) != winner.as_ref().map(|won| won.place));
        let losers = others.map(|w| (self.reason(name, &w, winner.as_ref()), w)).map(|(why, w)| (w, why)).collect();
        Contest { register: name.to_owned(), winner, losers }
    }

    /// Resolves the parent. Edges are a set: the parent is one of the remaining edges, whichever event removed others.
    fn parent(&self, edges: &BTreeSet<Id>, writers: Vec<Writer>, unseen: impl Fn(&Writer) -> bool) -> Contest {
        let is_left = |w: &&Writer| edges.contains(&self.taken[w.place].event.id);
        let left: Vec<Writer> = writers.iter().filter(is_left).cloned().collect();
        let replaced = self.replaced([&left[..]].into_iter(), |_| true);
        let among = left.iter().filter(|w| replaced[w.place] == 0);
        let winner = match among.max_by_key(|w| self.weight(w.place)) {
            Some(edge) => Some(edge.clone()),
            None => writers.iter().rev().find(|w| w.void.is_none() && w.value.is_null()).cloned(),
        };
        let place = winner.as_ref().map(|w| w.place);
        // The writer that removed one of several parents saw the remaining one and kept it.
        let meant = place.map(|won| self.followers(won));
        let meant = |w: &Writer| meant.as_ref().is_some_and(|meant| meant[w.place]);
        let others = writers.into_iter().filter(|w| unseen(w) && Some(w.place) != place && !meant(w));
        let losers = others.map(|w| (self.reason("parent", &w, winner.as_ref()), w)).map(|(why, w)| (w, why)).collect();
        Contest { register: "parent".to_owned(), winner, losers }
    }

    fn reason(&self, name: &str, lost: &Writer, won: Option<&Writer>) -> Reason {
        let Some(won) = won.filter(|_| lost.void.is_none()) else { return lost.void.unwrap_or(Reason::Later) };
        let ((round, rank, weight, stamp), (least, below, lighter, older)) =
            (self.standing(won.place), self.standing(lost.place));
        let is_status = name == "status";
        match () {
            () if is_status && round > least => Reason::Round,
            () if is_status && rank > below => Reason::Rank,
            () if weight > lighter => Reason::Precedence,
            () if stamp.lamport > older.lamport => Reason::Later,
            () if stamp > older => Reason::Id,
            () => Reason::Added,
        }
    }
}

/// The rank of an event's status: a completion above a cancellation, and a cancellation above everything else.
fn rank(event: &Event) -> u8 {
    let archived =
        if let Payload::TaskArchived(p) = &event.payload { moves::end(p.completed_at, p.cancelled_at) } else { None };
    match archived.or(status_of(event)) {
        Some(Status::Completed) => 2,
        Some(Status::Cancelled) => 1,
        Some(Status::Open | Status::InProgress | Status::Blocked | Status::Archived) | None => 0,
    }
}
