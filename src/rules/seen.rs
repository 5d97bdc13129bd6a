//! What the author of an event had seen: the state below its parents.
//!
//! Guarantees that an event counts by its parents, not by what it claims.
//! Leaves to others: the rights that follow from it (`rights`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use serde_json::Value;

use super::ancestry::Ancestry;
use super::conditions::{self, owner_before};
use super::copies::is_hand_edit;
use super::event_rules::status_of;
use super::fold::{self, Folding, apply, fold, order};
use super::writers::Effect;
use super::{lease, moves};
use crate::model::event::{Entity, Entry, Event};
use crate::model::id::Id;
use crate::model::payload::{LeaseAcquired, Payload};
use crate::model::task::{Status, Task};
use crate::model::thread::Resolution;
use crate::model::time::Time;

/// What the author of an event had seen.
#[derive(Default)]
pub(super) struct SeenState {
    pub(super) status: Status,
    /// Another agent than the one the event is for has it in progress, or owns it where the event grants a lease, and has not abandoned
    /// it.
    pub(super) of_another: bool,
    /// Set only for moves that depend on it: the author was granted the fence that it names, and had not released that lease.
    pub(super) granted: bool,
    pub(super) owner: Option<String>,
    /// For a completion from another state than in progress: the task was completed once.
    pub(super) was_completed: bool,
    /// For a completion or a review that passes: some criteria were not met.
    pub(super) unmet: bool,
    pub(super) archived_before: bool,
    /// It was completed, and no other agent accepted that.
    pub(super) is_unreviewed: bool,
    /// The completion that stands, the agent that completed it, and the one that accepted that.
    pub(super) completion: Option<Id>,
    pub(super) completed_by: Option<String>,
    pub(super) accepted_by: Option<String>,
    /// For an event that begins the task: an open thread or its time withheld it.
    pub(super) is_withheld: bool,
    /// When it was completed, and when cancelled.
    pub(super) times: (Option<Time>, Option<Time>),
    /// How it was closed, if it was.
    pub(super) end: Option<Status>,
    /// What an agent needs to take it: a right, and the least precedence.
    pub(super) needs: Needs,
    /// It was imported.
    pub(super) imported: bool,
    /// Its blockers, for a move.
    pub(super) blockers: Rc<[Id]>,
    /// For the resolution of a thread: who decides.
    pub(super) resolving: Option<Resolving>,
    /// For the resolution of a thread: the one that takes its place is a thread of the same task.
    pub(super) has_successor: bool,
    /// Why no command adds the event to the task, if none does.
    pub(super) refused: Option<String>,
}

/// What an agent needs to resolve a thread, besides the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolving {
    /// The thread.
    pub thread: Id,
    /// The agent that decides, if it is another one: the lease holder, else the owner.
    pub decider: Option<String>,
    /// Whether the author decides: it holds the lease, or owns the task without a lease.
    pub is_own: bool,
    /// What the thread requires.
    pub needs: Needs,
    /// Whether the thread was past its time to live, when the settings may let any agent accept a proposal.
    pub is_expired: bool,
    /// The author of the proposal that it accepts.
    pub proposer: Option<String>,
    /// Whether the author of the thread withdraws it, which the right to discuss permits.
    pub withdraws: bool,
}

/// What a task requires of an agent that takes it: a right, and the least precedence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The right.
    pub perm: Option<String>,
    /// The least precedence.
    pub precedence: Option<i64>,
}

/// The times by which leases are checked.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The time of the check: an event with a later date bypasses no lease by its date.
    pub now: Time,
    /// The silence, in milliseconds, after which an agent counts as having abandoned a task without a lease.
    pub silence: i64,
}

/// The events of a log that have an effect, and the one among them that sets the status.
pub(super) fn effective(entity: &Entity, log: &[Entry]) -> (BTreeSet<Id>, Option<Id>) {
    let ordered = order(entity, log).events;
    let Some(id) = entity.task() else { return (ordered.iter().map(|entry| entry.event.id).collect(), None) };
    let folding = Folding::of(id, &ordered);
    let counts = folding.taken().iter().filter(|one| one.effect == Effect::Counts);
    let effective = counts.map(|one| one.event.id).collect();
    (effective, folding.finish().stamps.get("status").map(|stamp| stamp.id))
}

/// What the authors of the new events had seen.
pub(super) fn states(
    entity: &Entity,
    log: &[Entry],
    known: &BTreeSet<Id>,
    effective: &BTreeSet<Id>,
    times: Times,
) -> BTreeMap<Id, SeenState> {
    let ordered = order(entity, log).events;
    let new = ordered.iter().map(|entry| &entry.event).filter(|event| !known.contains(&event.id));
    let Some(id) = entity.task() else { return new.map(|event| (event.id, of_agent(event))).collect() };
    // The known creation comes first, whatever an author claims.
    let creates =
        |entry: &&Entry| matches!(entry.event.payload, Payload::TaskCreated(_)) && known.contains(&entry.event.id);
    let begins: Vec<Id> = log.iter().filter(creates).map(|entry| entry.event.id).collect();
    let ancestry = Ancestry::of(log);
    let heads = |event: &Event| [&event.parents[..], &begins].concat();
    let past = |event: &Event| ancestry.below(&heads(event));
    let leases = GrantedLeases::of(&ordered);
    let archives = |entry: &&&Entry| matches!(entry.event.payload, Payload::TaskArchived(_));
    let archived = ordered.iter().find(archives).map(|entry| entry.event.stamp());
    let mut states = BTreeMap::new();
    let mut replay = Replay { task: id, ends: VecDeque::new() };
    let mut earlier = Earlier { ordered: &ordered, applied: 0, folding: Folding::new(id) };
    let mut blockers: Rc<[Id]> = Rc::default();
    for event in new {
        let task = replay.seen_by(event, &|| past(event));
        let holder = event.payload.grant().map_or(&event.author.agent, |p| &p.holder);
        let is_owned_by_other = !task.status.is_finished() && task.owner.as_ref().is_some_and(|owner| owner != holder);
        let is_silent = || event.at.min(times.now).since(task.updated_at) >= times.silence;
        let of_another = is_owned_by_other
            && match event.payload.grant() {
                Some(p) => {
                    let has_lease = is_after_unseen(p, &task) || lapsed(&past(event));
                    owner_before(&task, holder, has_lease, is_silent).is_some()
                }
                None => task.status == Status::InProgress && !(is_hand_edit(event) && earlier.is_left_since(event)),
            };
        if matches!(event.payload, Payload::TaskStatusChanged(_)) {
            let now = task.blockers();
            if *blockers != *now {
                blockers = now.into();
            }
        }
        let is_completed = |entry: &&Entry| {
            let archived = matches!(&entry.event.payload, Payload::TaskArchived(p) if p.completed_at.is_some());
            archived || status_of(&entry.event) == Some(Status::Completed)
        };
        let was_completed = |entry: &&Entry| effective.contains(&entry.event.id) && is_completed(entry);
        let takes = matches!(&event.payload, Payload::TaskUpdated(p) if takes_over(event, p.set.iter()));
        let completes = completes(event);
        let passes = matches!(&event.payload, Payload::TaskVerified(p) if p.passed);
        let refused = conditions::check(&task, event).err().map(|e| e.message);
        let before = SeenState {
            status: task.status,
            of_another,
            granted: (is_owned_by_other || takes) && leases.has(event, &past),
            owner: task.owner.clone(),
            was_completed: completes && task.status != Status::InProgress && past(event).iter().any(was_completed),
            unmet: (completes || passes) && task.unmet().next().is_some(),
            archived_before: archived.is_some_and(|archived| archived < event.stamp()),
            is_unreviewed: task.is_unreviewed(),
            completion: task.completion,
            completed_by: task.completed_by.clone(),
            accepted_by: task.verified.as_ref().filter(|_| task.is_accepted()).map(|review| review.by.clone()),
            is_withheld: status_of(event) == Some(Status::InProgress) && is_withheld(&task, event.at.min(times.now)),
            times: (task.completed_at, task.cancelled_at),
            end: moves::end(task.completed_at, task.cancelled_at)
                .or(Some(task.status).filter(|status| status.is_finished())),
            needs: Needs { perm: task.fields.need_perm.clone(), precedence: task.fields.need_precedence },
            imported: task.fields.metadata.contains_key("origin"),
            blockers: Rc::clone(&blockers),
            resolving: resolving(event, &task, times.now, &past),
            has_successor: matches!(&event.payload, Payload::ThreadResolved(p)
                if p.by.is_none_or(|by| task.threads.contains_key(&by))),
            // Without all of it the task is not the one that the author saw; that is another finding.
            refused: refused.filter(|_| ancestry.is_whole(&heads(event))),
        };
        states.insert(event.id, before);
    }
    states
}

/// Branches of a log of which the last state is held.
const ENDS: usize = 16;

/// What the authors of events had seen, event by event.
struct Replay<'e> {
    task: Id,
    /// The last events that were examined, each with what its author saw: where the branches of the log end. Most events follow one of
    /// them, or saw the same.
    ends: VecDeque<(&'e Event, Rc<Task>)>,
}

impl<'e> Replay<'e> {
    /// The task as the author of the next event saw it.
    fn seen_by(&mut self, event: &'e Event, past: &dyn Fn() -> Vec<&'e Entry>) -> Rc<Task> {
        let is_followed =
            |(before, task): &(&Event, Rc<Task>)| event.parents == [before.id] && fold::is_plain(task, before);
        let task = if let Some(n) = self.ends.iter().position(is_followed)
            && let Some((before, mut task)) = self.ends.remove(n)
        {
            apply(Rc::make_mut(&mut task), before);
            task
        } else if let Some((_, task)) = self.ends.iter().find(|(before, _)| before.parents == event.parents) {
            Rc::clone(task)
        } else {
            Rc::new(fold(self.task, past()).0)
        };
        if self.ends.len() == ENDS {
            self.ends.pop_front();
        }
        self.ends.push_back((event, Rc::clone(&task)));
        task
    }
}

/// The state of a task before each event, in the order of events.
struct Earlier<'o, 'e> {
    ordered: &'o [&'e Entry],
    applied: usize,
    folding: Folding<'e>,
}

impl Earlier<'_, '_> {
    /// Whether no agent had the task in progress any more when a hand edit was recorded, which is later than the person saw the file.
    fn is_left_since(&mut self, event: &Event) -> bool {
        let earlier = self.ordered[self.applied..].iter().take_while(|entry| entry.event.stamp() < event.stamp());
        for entry in earlier {
            self.folding.apply(&entry.event);
            self.applied += 1;
        }
        self.folding.status() != Status::InProgress
    }
}

/// The leases that a log grants, and what releases them.
struct GrantedLeases<'e> {
    /// By holder and fence.
    of: BTreeMap<(&'e str, u64), BTreeSet<Id>>,
    /// The leases that the log releases, by the agents that do.
    released: BTreeSet<(Id, &'e str)>,
}

impl<'e> GrantedLeases<'e> {
    fn of(ordered: &[&'e Entry]) -> Self {
        let mut of: BTreeMap<(&str, u64), BTreeSet<Id>> = BTreeMap::new();
        for p in ordered.iter().filter_map(|entry| entry.event.payload.grant()) {
            of.entry((&p.holder, p.fence)).or_default().insert(p.lease);
        }
        GrantedLeases { of, released: ordered.iter().filter_map(|entry| release(&entry.event)).collect() }
    }

    /// Whether the author of an event was granted the fence that it names, and had not released that lease.
    fn has(&self, event: &Event, past: &dyn Fn(&Event) -> Vec<&'e Entry>) -> bool {
        let agent = event.author.agent.as_str();
        let Some(own) = event.fence.and_then(|fence| self.of.get(&(agent, fence))) else { return false };
        if own.iter().any(|lease| !self.released.contains(&(*lease, agent))) {
            return true;
        }
        let past = past(event);
        let released: BTreeSet<(Id, &str)> = past.iter().filter_map(|entry| release(&entry.event)).collect();
        own.iter().any(|lease| !released.contains(&(*lease, agent)))
    }
}

/// The lease that an event releases, and its author.
fn release(event: &Event) -> Option<(Id, &str)> {
    let Payload::LeaseReleased(p) = &event.payload else { return None };
    Some((p.lease, &event.author.agent))
}

/// An event of an agent: nothing about it depends on what its author had seen.
fn of_agent(event: &Event) -> SeenState {
    let Payload::Broadcast(p) = &event.payload else { return SeenState::default() };
    let refused = conditions::check_words(&p.body, "a message").err().map(|e| e.message);
    SeenState { refused, ..SeenState::default() }
}

/// Who decides about the thread that an event resolves; `None` for other events.
pub(super) fn resolving<'e>(
    event: &Event,
    task: &Task,
    now: Time,
    past: &dyn Fn(&Event) -> Vec<&'e Entry>,
) -> Option<Resolving> {
    let Payload::ThreadResolved(p) = &event.payload else { return None };
    let (thread, author) = (task.threads.get(&p.thread)?, &event.author.agent);
    let past = past(event);
    let last = past.iter().filter_map(|entry| entry.event.payload.grant()).max_by_key(|p| p.fence);
    let holder = last.filter(|p| !task.status.is_finished() && !is_given_back(&past, p)).map(|p| p.holder.clone());
    let needs = Needs { perm: thread.need_perm.clone(), precedence: thread.need_precedence };
    let decider = holder.or_else(|| task.owner.clone());
    Some(Resolving {
        thread: thread.id,
        is_own: decider.as_ref() == Some(author),
        decider: decider.filter(|decider| decider != author),
        needs,
        proposer: thread.messages().iter().find(|m| Some(m.id) == p.message).map(|m| m.author.clone()),
        is_expired: thread.expires_at().is_some_and(|at| at <= event.at.min(now)),
        withdraws: p.resolution == Resolution::Reject && thread.author == *author,
    })
}

pub(super) fn completes(event: &Event) -> bool {
    matches!(&event.payload, Payload::TaskStatusChanged(p) if p.to == Status::Completed)
}

/// Whether an open thread, or the time until which it is deferred, keeps a task that is not begun from beginning.
fn is_withheld(task: &Task, at: Time) -> bool {
    let is_open = matches!(task.status, Status::Open | Status::Blocked);
    is_open && (task.holding_thread().is_some() || task.fields.defer_until.is_some_and(|until| until > at))
}

/// The event by which a task is open after its end although no reopening gives a reason: its author had seen the end.
pub fn opened_without_reason<'e>(task: &Task, log: &'e [Entry]) -> Option<&'e Event> {
    let ends = |entry: &Entry| status_of(&entry.event).is_some_and(Status::is_finished);
    if task.status.is_finished() || !log.iter().any(ends) {
        return None;
    }
    let (effective, _) = effective(&Entity::Task(task.id), log);
    let ordered = order(&Entity::Task(task.id), log).events;
    let events = || ordered.iter().map(|entry| &entry.event).filter(|event| effective.contains(&event.id));
    let reopened = events().filter(|event| matches!(event.payload, Payload::TaskReopened(_))).map(Event::stamp).max();
    let is_plain = |event: &Event| {
        let Payload::TaskStatusChanged(p) = &event.payload else { return false };
        !p.to.is_finished() && Some(event.stamp()) > reopened && effective.contains(&event.id)
    };
    if !events().any(is_plain) {
        return None;
    }
    let (ancestry, mut replay) = (Ancestry::of(log), Replay { task: task.id, ends: VecDeque::new() });
    ordered.iter().map(|entry| &entry.event).find(|event| {
        let seen = replay.seen_by(event, &|| ancestry.below(&event.parents));
        is_plain(event) && seen.status.is_finished()
    })
}

fn is_given_back(past: &[&Entry], given: &LeaseAcquired) -> bool {
    past.iter().any(|entry| lease::gives_back(&entry.event, given))
}

/// Whether a grant of a task that is not begun follows one that the log does not show: a command asks the leases of other worktrees
/// and clones too.
fn is_after_unseen(given: &LeaseAcquired, task: &Task) -> bool {
    task.status != Status::InProgress && given.fence > task.fence + 1
}

/// Whether the last lease that was granted was not released. A claim may follow once it expired, which `lease_bypasses` checks.
fn lapsed(past: &[&Entry]) -> bool {
    let last = past.iter().filter_map(|entry| entry.event.payload.grant()).max_by_key(|p| p.fence);
    last.is_some_and(|p| !is_given_back(past, p))
}

/// Whether an update only makes its author the owner.
pub(super) fn takes_over<'v>(event: &Event, mut set: impl Iterator<Item = (&'v String, &'v Value)>) -> bool {
    let first = set.next();
    first.is_some_and(|(name, value)| name == "owner" && value.as_str() == Some(&event.author.agent))
        && set.next().is_none()
}

pub(super) fn granted_again(log: &[Entry], effective: &BTreeSet<Id>) -> BTreeSet<Id> {
    let mut leases: Vec<&Event> = log.iter().map(|entry| &entry.event).collect();
    leases.retain(|event| effective.contains(&event.id));
    leases.retain(|event| matches!(event.payload, Payload::LeaseAcquired(_) | Payload::LeaseReleased(_)));
    leases.sort_by_key(|event| event.stamp());
    let mut again = BTreeSet::new();
    let mut holder: Option<&str> = None;
    for event in leases {
        let next = event.payload.grant().map(|p| p.holder.as_str());
        if next.is_some() && next == holder && next == Some(&event.author.agent) {
            again.insert(event.id);
        }
        holder = next;
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;

    const TASK: &str = "01K5R4XJ7Z0000000000000000";

    #[test]
    fn what_an_author_saw_is_the_fold_of_its_past_however_the_log_branches() {
        let id = |n: usize| Id::from_parts(1, n as u128);
        let mut seed = 3_u64;
        let mut below = |n: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % n
        };
        for round in 0..60 {
            let mut log: Vec<Entry> = Vec::new();
            // More branches than are held, each of which goes on, and some that are merged.
            let branches = 1 + round % (2 * ENDS);
            let mut ends = vec![1; branches];
            for n in 1..40 {
                let branch = below(branches);
                let mut parents = if n == 1 { Vec::new() } else { vec![ends[branch]] };
                if n > 1 && below(6) == 0 {
                    parents.push(ends[below(branches)]);
                    parents.dedup();
                }
                let event = match below(4) {
                    _ if n == 1 => r#""type":"TaskCreated","payload":{"title":"x"}"#.to_owned(),
                    0 => r#""type":"TaskStatusChanged","payload":{"from":"open","to":"in_progress","owner":"a"}"#
                        .to_owned(),
                    1 => r#""type":"TaskStatusChanged","payload":{"from":"in_progress","to":"open","owner":null}"#
                        .to_owned(),
                    _ => format!(r#""type":"TaskUpdated","payload":{{"set":{{"priority":{}}}}}"#, below(5)),
                };
                let named: Vec<String> = parents.iter().map(|n| format!("\"{}\"", id(*n))).collect();
                let line = format!(
                    r#"{{"v":1,"id":"{}","lamport":{n},{event},"entity":"task/{TASK}","parents":[{}],"agent":"a","at":"2026-11-20T10:00:00Z","n":0}}"#,
                    id(n),
                    named.join(",")
                );
                log.push(Entry { event: parse_line(&line).unwrap(), line: line.into() });
                ends[branch] = n;
            }
            let task: Id = TASK.parse().unwrap();
            let (ancestry, mut replay) = (Ancestry::of(&log), Replay { task, ends: VecDeque::new() });
            let ordered = order(&Entity::Task(task), &log).events;
            let mut earlier = Earlier { ordered: &ordered, applied: 0, folding: Folding::new(task) };
            for event in ordered.iter().map(|entry| &entry.event) {
                let past = || ancestry.below(&event.parents);
                let seen = replay.seen_by(event, &past);
                let expected = fold(task, past()).0;
                assert_eq!(
                    (seen.status, &seen.owner, &seen.fields),
                    (expected.status, &expected.owner, &expected.fields)
                );
                let before = log.iter().filter(|entry| entry.event.stamp() < event.stamp());
                assert_eq!(earlier.is_left_since(event), fold(task, before).0.status != Status::InProgress);
            }
        }
    }
}
