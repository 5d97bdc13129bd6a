//! What the author of an event had seen: the state below its parents.
//!
//! Guarantees that an event counts by its parents, not by what it claims.
//! Leaves to others: the rights that follow from it (`rights`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::conditions::{self, owner_before};
use super::copies::is_hand_edit;
use super::event_rules::status_of;
use super::fold::{self, Folding, apply, fold, order};
use super::register::among_below;
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
    /// Its blockers.
    pub(super) blockers: Vec<Id>,
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
    let past = |event: &Event| among_below(log, &[&event.parents[..], &begins].concat());
    let grants: Vec<&LeaseAcquired> = ordered.iter().filter_map(|entry| entry.event.payload.grant()).collect();
    let archives = |entry: &&&Entry| matches!(entry.event.payload, Payload::TaskArchived(_));
    let archived = ordered.iter().find(archives).map(|entry| entry.event.stamp());
    let mut states = BTreeMap::new();
    // The last event that was examined, with what its author saw. Most events follow it, or saw the same.
    let mut last: Option<(&Event, Task)> = None;
    for event in new {
        let task = match last.take() {
            Some((before, mut task)) if event.parents == [before.id] && fold::is_plain(&task, before) => {
                apply(&mut task, before);
                task
            }
            Some((before, task)) if event.parents == before.parents => task,
            _ => fold(id, past(event)).0,
        };
        let holder = event.payload.grant().map_or(&event.author.agent, |p| &p.holder);
        let is_owned_by_other = !task.status.is_finished() && task.owner.as_ref().is_some_and(|owner| owner != holder);
        let is_silent = || event.at.min(times.now).since(task.updated_at) >= times.silence;
        let of_another = is_owned_by_other
            && match event.payload.grant() {
                Some(p) => {
                    let has_lease = is_after_unseen(p, &task) || lapsed(&past(event));
                    owner_before(&task, holder, has_lease, is_silent).is_some()
                }
                None => task.status == Status::InProgress && !(is_hand_edit(event) && is_left_since(id, log, event)),
            };
        let is_granted = || {
            let mut own = grants.iter().filter(|p| p.holder == event.author.agent && Some(p.fence) == event.fence);
            own.any(|p| !is_given_back(&past(event), p))
        };
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
            granted: (is_owned_by_other || takes) && is_granted(),
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
            blockers: task.blockers(),
            resolving: resolving(event, &task, times.now, &past),
            has_successor: matches!(&event.payload, Payload::ThreadResolved(p)
                if p.by.is_none_or(|by| task.threads.contains_key(&by))),
            // Without all of it the task is not the one that the author saw; that is another finding.
            refused: refused.filter(|_| is_whole(event, &past(event))),
        };
        states.insert(event.id, before);
        last = Some((event, task));
    }
    states
}

/// An event of an agent: nothing about it depends on what its author had seen.
fn of_agent(event: &Event) -> SeenState {
    let Payload::Broadcast(p) = &event.payload else { return SeenState::default() };
    let refused = conditions::check_words(&p.body, "a message").err().map(|e| e.message);
    SeenState { refused, ..SeenState::default() }
}

/// Whether all that the author of an event had seen is here, of which these are left.
fn is_whole(event: &Event, past: &[&Entry]) -> bool {
    let here: BTreeSet<Id> = past.iter().map(|entry| entry.event.id).collect();
    let parents = past.iter().flat_map(|entry| &entry.event.parents).chain(&event.parents);
    parents.into_iter().all(|parent| here.contains(parent))
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
    let events = || log.iter().map(|entry| &entry.event).filter(|event| effective.contains(&event.id));
    let reopened = events().filter(|event| matches!(event.payload, Payload::TaskReopened(_))).map(Event::stamp).max();
    let is_plain = |event: &&Event| {
        let Payload::TaskStatusChanged(p) = &event.payload else { return false };
        !p.to.is_finished() && Some(event.stamp()) > reopened
    };
    let had_seen_the_end = |event: &&Event| fold(task.id, among_below(log, &event.parents)).0.status.is_finished();
    events().filter(is_plain).filter(had_seen_the_end).min_by_key(|event| event.stamp())
}

fn is_given_back(past: &[&Entry], given: &LeaseAcquired) -> bool {
    past.iter().any(|entry| lease::gives_back(&entry.event, given))
}

/// Whether no agent had the task in progress any more when a hand edit was recorded, which is later than the person saw the file.
fn is_left_since(id: Id, log: &[Entry], event: &Event) -> bool {
    let earlier = log.iter().filter(|entry| entry.event.stamp() < event.stamp());
    fold(id, earlier).0.status != Status::InProgress
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
