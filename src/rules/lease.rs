//! Leases: which agent may change a task now, and how lease events change the record.
//!
//! Guarantees that the duration of a lease decides who may ask next, and the fence decides what counts. An expired lease
//! passes to another agent only by an explicit claim, and its old holder is informed.
//! Leaves to others: where records are kept.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{Code, Error};
use crate::model::agent::{Lease, LeaseRecord, MAX_FENCE, MAX_FENCE_JUMP, RemoteRecord, RemoteState, Seen};
use crate::model::event::{Author, Entity, Entry, Event, Stamp};
use crate::model::id::Id;
use crate::model::payload::{LeaseAcquired, Payload};
use crate::model::task::Task;
use crate::model::time::Time;

/// The relation of an actor to the lease of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// There is no lease.
    Free,
    /// The actor holds it.
    Mine(Lease),
    /// The actor held it, it expired, and no other agent took it over.
    MineExpired(Lease),
    /// Another holder has it.
    Others(Lease),
    /// Another holder had it, and it expired.
    OthersExpired(Lease),
}

/// The relation of `me` to the lease of a task.
pub fn standing(record: &LeaseRecord, me: &Author, now: Time) -> Standing {
    let Some(lease) = record.lease.clone() else { return Standing::Free };
    match (is_holder(&lease, me), lease.is_live(now)) {
        (true, true) => Standing::Mine(lease),
        (true, false) => Standing::MineExpired(lease),
        (false, true) => Standing::Others(lease),
        (false, false) => Standing::OthersExpired(lease),
    }
}

/// Whether a lease keeps its task from being offered to others. It does while it is live. It also does after it expired if
/// the remote showed it for another clone, whose holder may have continued by events that are not here. Then it passes only
/// to an agent that claims this task by name.
pub fn withholds(lease: &Lease, now: Time) -> bool {
    lease.is_live(now) || (lease.elsewhere && lease.confirmed)
}

/// Whether a lease is the actor's own. Two sessions of one agent are two holders, and so are two clones.
pub fn is_holder(lease: &Lease, me: &Author) -> bool {
    let other_session = matches!((lease.session, me.session), (Some(a), Some(b)) if a != b);
    lease.agent == me.agent && !other_session && !lease.elsewhere
}

/// The refusal for another holder's lease: `ERR_LEASE_LOST` if the actor lost it, else `ERR_LEASE_HELD`.
pub fn refusal(task: Id, record: &LeaseRecord, holder: &Lease, me: &Author) -> Error {
    let details = json!({ "task": task, "holder": holder.agent, "session": holder.session, "lease": holder.id,
        "fence": holder.fence, "expires_at": holder.expires_at, "elsewhere": holder.elsewhere,
        "confirmed": holder.confirmed });
    if is_lost(record, me) {
        return lost(task, &holder.agent, holder.elsewhere).with(details);
    }
    let place = if holder.elsewhere { " in another clone" } else { "" };
    let refusal =
        Error::new(Code::LeaseHeld, format!("{} holds task {task}{place} until {}", holder.agent, holder.expires_at))
            .with(details);
    match holder.agent == me.agent && !holder.elsewhere {
        true => refusal.hint_command(format!(
            "another session of yours holds it; if that session is over, run agentpm session end{}, then agentpm claim {task}",
            holder.session.map(|session| format!(" {session}")).unwrap_or_default()
        )),
        false => refusal.hint_other_work(""),
    }
}

/// Whether the actor had a lease of this task that passed to another agent, and has not been informed yet.
pub fn is_lost(record: &LeaseRecord, me: &Author) -> bool {
    record.lost.iter().any(|lost| is_holder(lost, me))
}

/// The refusal for a lease that passed to another agent who has released it since.
pub fn lost_and_gone(task: Id, record: &LeaseRecord) -> Error {
    let to = record.lost_to.as_deref().unwrap_or("another");
    lost(task, to, false).with(json!({ "task": task, "holder": null, "taken_by": to, "fence": record.fence }))
}

/// The refusal for a lease that the actor lost; `None` if it lost none, or was informed.
pub fn lost_refusal(task: Id, record: &LeaseRecord, me: &Author) -> Option<Error> {
    is_lost(record, me).then(|| match &record.lease {
        Some(holder) => refusal(task, record, holder, me),
        None => lost_and_gone(task, record),
    })
}

/// The remote's record of an end of a task by an event that is not here, whether or not the task was opened and taken again since.
/// `knows` checks whether the task's log contains an event.
pub fn finished_elsewhere(record: &LeaseRecord, knows: impl Fn(Id) -> bool) -> Option<&RemoteRecord> {
    let r = &record.remote.as_ref()?.record;
    let nameless = r.state == RemoteState::Finished && r.ends.is_empty();
    (nameless || !r.ends.iter().all(|end| knows(*end))).then_some(r)
}

/// The refusal for a task that was finished by an event that is not here. `is_ours` if the record of that is of this clone.
pub fn unseen_end(task: Id, end: &RemoteRecord, is_ours: bool) -> Error {
    let again = format!("agentpm claim {task} --here claims it again");
    let hint = match is_ours {
        true => format!("agentpm recover restores what this clone wrote and no branch contains any more; or {again}"),
        false => format!("agentpm sync fetches it after {} has pushed it; if that never happens, {again}", end.agent),
    };
    let words = match end.state {
        RemoteState::Finished => format!("{} finished task {task}, by an event that is not here", end.agent),
        RemoteState::Held | RemoteState::Released => {
            format!("task {task} was finished and opened again, by events that are not here; {} had it last", end.agent)
        }
    };
    Error::state(words)
        .with(json!({ "task": task, "holder": end.agent, "fence": end.fence, "at": end.updated_at,
            "finished_elsewhere": true }))
        .hint_command(hint)
}

/// The refusal for a task that other agents had last in another clone, by events that are not here.
pub fn behind(task: Id, fence: u64) -> Error {
    Error::state(format!("other agents worked on task {task} in another clone, by events that are not here"))
        .with(json!({ "task": task, "fence": fence, "behind": true }))
        .hint_command(format!("agentpm sync fetches them; or claim the task first: agentpm claim {task}"))
}

/// Whether an event releases a lease: its holder does that, or an agent that overrides it (`lease_bypasses`).
pub fn gives_back(event: &Event, given: &LeaseAcquired) -> bool {
    matches!(&event.payload, Payload::LeaseReleased(p) if p.lease == given.lease)
}

/// Whether an event ends the work on its task.
pub fn is_end(payload: &Payload) -> bool {
    matches!(payload, Payload::TaskStatusChanged(p) if p.to.is_finished() && !p.from.is_finished())
}

fn lost(task: Id, to: &str, elsewhere: bool) -> Error {
    let place = if elsewhere { " in another clone" } else { "" };
    Error::new(Code::LeaseLost, format!("your lease of task {task} is lost: {to} took it over{place}"))
        .hint_other_work("what you recorded before is kept; this change was not written; ")
}

/// The refusal for the actor's own expired lease.
pub fn expired(task: &Task, lease: &Lease) -> Error {
    Error::new(Code::LeaseExpired, format!("your lease of task {} expired at {}", task.id, lease.expires_at))
        .with(json!({ "task": task.id, "lease": lease.id, "expires_at": lease.expires_at }))
        .hint(format!("no agent took it over; run agentpm lease renew {}, then the same command again", lease.id))
}

/// The refusal for another holder's expired lease.
pub fn abandoned(task: &Task, lease: &Lease) -> Error {
    Error::new(
        Code::LeaseExpired,
        format!("the lease of {} on task {} expired at {}", lease.agent, task.id, lease.expires_at),
    )
    .with(json!({ "task": task.id, "holder": lease.agent, "lease": lease.id, "expires_at": lease.expires_at }))
    .hint_command(format!("take it over first: agentpm claim {}", task.id))
}

/// Applies an event of this clone to a record. Events that were applied before change nothing.
pub fn apply(record: &mut LeaseRecord, event: &Event) {
    let Entity::Task(task) = event.entity else { return };
    if let Some(p) = event.payload.grant().filter(|p| p.fence > record.fence) {
        let lease = granted(task, p, event, false);
        pass_on(record, Some(lease), p.fence, &p.holder);
    } else if let Payload::LeaseRenewed(p) = &event.payload
        && let Some(lease) = record.lease.as_mut().filter(|lease| lease.id == p.lease)
    {
        // A time from a clock that was far ahead gives way to the renewal.
        let until = if lease.is_live(event.at) { lease.expires_at } else { event.at };
        lease.expires_at = until.max(p.expires_at);
        lease.updated_at = event.at;
    } else if let Payload::LeaseReleased(p) = &event.payload
        && record.lease.take_if(|lease| lease.id == p.lease).is_some()
    {
        record.given_back = Some(p.lease);
    }
}

/// The lease that a grant gives.
fn granted(task: Id, p: &LeaseAcquired, event: &Event, elsewhere: bool) -> Lease {
    Lease {
        id: p.lease,
        task,
        agent: p.holder.clone(),
        session: p.session,
        fence: p.fence,
        expires_at: p.expires_at,
        created_at: event.at,
        updated_at: event.at,
        confirmed: false,
        elsewhere,
    }
}

/// Whether a log grants another lease of the task with an equal fence: by a clone that could not ask for the holder.
pub fn is_contested<'a>(lease: &Lease, mut entries: impl Iterator<Item = &'a Entry>) -> bool {
    entries.any(|entry| {
        let rivals = |p: &LeaseAcquired| p.fence >= lease.fence && p.lease != lease.id;
        entry.event.entity == Entity::Task(lease.task) && entry.event.payload.grant().is_some_and(rivals)
    })
}

/// The grants of a log that were made at the same time as this one of this clone, from the same knowledge: those of its fence.
/// Both agents may have worked on the task.
pub fn rival_grants<'a>(task: Id, lease: Id, entries: impl Iterator<Item = &'a Entry>) -> Vec<&'a LeaseAcquired> {
    let all = grants(task, entries);
    let own = all.iter().find(|(p, _)| p.lease == lease).map(|(p, _)| p.fence);
    all.into_iter().map(|(p, _)| p).filter(|p| Some(p.fence) == own && p.lease != lease).collect()
}

/// The most lost leases of one task that are remembered.
const MAX_LOST: usize = 20;

/// Applies a lease of a higher fence, or the end of one, and notes the holder that lost its lease.
fn pass_on(record: &mut LeaseRecord, lease: Option<Lease>, fence: u64, to: &str) {
    let old = record.lease.take().filter(|old| !old.elsewhere);
    let same = |old: &Lease| {
        lease.as_ref().is_some_and(|new| {
            let other_session = matches!((old.session, new.session), (Some(a), Some(b)) if a != b);
            new.agent == old.agent && new.elsewhere == old.elsewhere && !other_session
        })
    };
    record.lost.extend(old);
    record.lost.retain(|lost| !same(lost));
    let too_many = record.lost.len().saturating_sub(MAX_LOST);
    record.lost.drain(..too_many);
    record.lost_to = (!record.lost.is_empty()).then(|| to.to_owned());
    record.fence = record.fence.max(fence);
    record.lease = lease;
}

/// The grant of a task that counts by its log alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedGrant {
    /// The lease, as another clone sees it.
    pub lease: Lease,
    /// It was released, or the task was finished since.
    pub over: bool,
}

impl LoggedGrant {
    /// Whether it shows that a lease of another clone is over. That need not be its own: the owner of a finished task may change.
    pub fn shows_the_end_of(&self, held: &Lease) -> bool {
        self.over && held.elsewhere && (held.id == self.lease.id || (!held.confirmed && held.fence <= self.lease.fence))
    }
}

/// The grant that counts by a task's log: among those with the highest fence the owner's, then the latest in order. So all
/// clones with the same events name the same holder.
pub fn find_logged_grant<'a>(task: &Task, entries: impl Iterator<Item = &'a Entry> + Clone) -> Option<LoggedGrant> {
    // What ended the task ended its leases, also where it was opened again.
    let is_over = |given: &LeaseAcquired, granted: &Event| {
        let ends = |event: &Event| is_end(&event.payload) && event.stamp() > granted.stamp();
        entries.clone().any(|entry| gives_back(&entry.event, given) || ends(&entry.event))
    };
    let rank = |(p, event): &(&LeaseAcquired, &Event)| -> (u64, bool, Stamp) {
        (p.fence, task.owner.as_ref() == Some(&p.holder), event.stamp())
    };
    let (p, event) = grants(task.id, entries.clone()).into_iter().max_by_key(rank)?;
    Some(LoggedGrant { lease: granted(task.id, p, event, true), over: is_over(p, event) || task.status.is_finished() })
}

/// Merges the grants that a task's log has from other clones into the record.
pub fn merge_log_grants<'a>(
    record: &mut LeaseRecord,
    task: &Task,
    entries: impl Iterator<Item = &'a Entry> + Clone,
    now: Time,
) {
    if let Some(granted) = find_logged_grant(task, entries) {
        merge_grant(record, granted, now);
    }
}

/// As [`merge_log_grants`], for the grant of a log that was read before.
pub fn merge_grant(record: &mut LeaseRecord, granted: LoggedGrant, now: Time) {
    if is_confirmed(record) && record.lease.as_ref().is_some_and(|lease| lease.is_live(now)) {
        // The grant of a clone that could not ask does not override the remote's confirmation.
        return;
    }
    if record.lease.as_ref().is_some_and(|held| granted.shows_the_end_of(held)) {
        record.lease = None;
        return;
    }
    let LoggedGrant { lease, over } = granted;
    let known = record.lease.as_ref().is_some_and(|known| known.id == lease.id);
    let was_ours = record.given_back == Some(lease.id) || record.lost.iter().any(|lost| lost.id == lease.id);
    // A lease that was released, by us or by others: no unknown lease is in force.
    let is_no_news = over && lease.fence == record.fence && record.lease.is_none();
    if lease.fence < record.fence || known || was_ours || is_no_news {
        return;
    }
    let (fence, to) = (lease.fence, lease.agent.clone());
    pass_on(record, (!over).then_some(lease), fence, &to);
}

/// The grants of a task in order, without those whose fence jumps too far.
fn grants<'a>(task: Id, entries: impl Iterator<Item = &'a Entry>) -> Vec<(&'a LeaseAcquired, &'a Event)> {
    let own = entries.map(|entry| &entry.event).filter(|event| event.entity == Entity::Task(task));
    let mut all: Vec<_> = own.filter_map(|event| Some((event.payload.grant()?, event))).collect();
    all.sort_by_key(|(_, event)| event.stamp());
    let mut highest = 0;
    all.retain(|(p, _)| {
        let sound = is_sound(p.fence, highest);
        if sound {
            highest = highest.max(p.fence);
        }
        sound
    });
    all
}

/// Removes what was seen at the remote and is gone there, except for the fence, which was granted.
pub fn forget(record: &mut LeaseRecord) {
    if let Some(seen) = record.remote.take().filter(|seen| is_sound(seen.record.fence, record.fence)) {
        record.fence = record.fence.max(seen.record.fence);
    }
}

/// Whether a fence may be granted after another.
pub fn is_sound(fence: u64, highest: u64) -> bool {
    fence < MAX_FENCE && fence.saturating_sub(highest) <= MAX_FENCE_JUMP
}

/// The highest fence that the log of a task grants.
pub fn highest_fence<'a>(task: Id, entries: impl Iterator<Item = &'a Entry>) -> u64 {
    grants(task, entries).iter().map(|(p, _)| p.fence).max().unwrap_or(0)
}

/// Whether the remote confirmed the lease that is in force, for as long as it lasts here.
fn is_confirmed(record: &LeaseRecord) -> bool {
    let (Some(lease), Some(seen)) = (&record.lease, &record.remote) else { return false };
    let r = &seen.record;
    // The remote may have confirmed a higher fence that is about to be written here.
    let same = lease.id == r.lease && lease.fence <= r.fence && !lease.elsewhere;
    seen.ours && same && r.state == RemoteState::Held && lease.expires_at <= r.expires_at
}

/// Merges the last seen record of the remote: a lease of another clone that is at least as high as ours, and whether ours is
/// confirmed.
pub fn merge_remote_record(record: &mut LeaseRecord) {
    if let Some(lease) = &mut record.lease {
        lease.confirmed &= lease.elsewhere;
    }
    let Some(seen) = record.remote.clone() else { return };
    let r = &seen.record;
    if seen.ours {
        let confirmed = is_confirmed(record);
        if let Some(lease) = &mut record.lease {
            lease.confirmed = confirmed;
        }
        return;
    }
    // A copy of this clone holds a lease with this clone's id and a record that this clone never wrote. It counts as lost.
    let known =
        record.lease.as_ref().is_some_and(|lease| lease.elsewhere && lease.id == r.lease && lease.fence == r.fence);
    if r.fence.max(seen.over) < record.fence {
        return;
    }
    let lease = (r.state == RemoteState::Held).then(|| at_remote(&seen));
    if known {
        // Known from the log already; the remote has its later state.
        record.lease = lease;
    } else {
        pass_on(record, lease, r.fence, &r.agent);
    }
}

/// The lease of another clone, as its record at the remote shows it.
pub fn at_remote(seen: &Seen) -> Lease {
    let (r, over_at) = (&seen.record, seen.over_at());
    Lease {
        id: r.lease,
        task: r.task,
        agent: r.agent.clone(),
        session: r.session,
        fence: r.fence,
        expires_at: over_at,
        created_at: r.created_at,
        updated_at: over_at.plus(-seen.whole()),
        confirmed: true,
        elsewhere: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(agent: &str, until: i64) -> LeaseRecord {
        let id = Id::from_parts(1, 1);
        let time = Time::from_millis(0);
        let lease = Lease {
            id,
            task: id,
            agent: agent.into(),
            session: None,
            fence: 1,
            expires_at: Time::from_millis(until),
            created_at: time,
            updated_at: time,
            confirmed: false,
            elsewhere: false,
        };
        LeaseRecord { fence: 1, lease: Some(lease), ..LeaseRecord::default() }
    }

    #[test]
    fn the_expiry_decides_who_may_ask_next() {
        let ada = Author { agent: "ada".into(), ..Author::default() };
        let at = Time::from_millis;
        assert!(matches!(standing(&lease("ada", 10), &ada, at(9)), Standing::Mine(_)));
        assert!(matches!(standing(&lease("ada", 10), &ada, at(10)), Standing::MineExpired(_)));
        assert!(matches!(standing(&lease("bob", 10), &ada, at(9)), Standing::Others(_)));
        assert!(matches!(standing(&lease("bob", 10), &ada, at(10)), Standing::OthersExpired(_)));
        assert_eq!(standing(&LeaseRecord::default(), &ada, at(0)), Standing::Free);
    }

    #[test]
    fn two_sessions_of_one_agent_are_two_holders() {
        let mut record = lease("ada", 10);
        record.lease.as_mut().unwrap().session = Some(Id::from_parts(1, 7));
        let other = Author { agent: "ada".into(), session: Some(Id::from_parts(1, 8)), ..Author::default() };
        assert!(matches!(standing(&record, &other, Time::from_millis(0)), Standing::Others(_)));
    }
}
