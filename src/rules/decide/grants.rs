//! Grants the lease of a task: acquires and renews it, under the next fence.
//!
//! Leaves to others: whether the task may be taken (`refusals`, `work`), and which lease is in force (`rules::lease`).

use super::around::move_to;
use crate::error::{Code, Error, Result};
use crate::model::agent::{Lease, MAX_FENCE, MAX_TTL};
use crate::model::args::{Duration, Ref};
use crate::model::event::{Author, Entity};
use crate::model::id::Id;
use crate::model::payload::{LeaseAcquired, LeaseRenewed, Payload, TaskStatusChanged};
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::lease::{self, Standing};
use crate::rules::session::is_over;
use crate::rules::stage::{Draft, Grant, Stage};

/// Acquires the lease of a task, or renews the actor's own; returns its fence.
fn acquire(stage: &mut dyn Stage, task: Id, holder: &Author, ttl: Option<Duration>) -> Result<u64> {
    let now = stage.now();
    let known = stage.known_fence(task)?;
    let record = stage.lease(task)?;
    // Acquiring again never shortens a lease.
    let own_until =
        record.lease.as_ref().filter(|lease| lease::is_holder(lease, holder)).map(|lease| until(lease, now));
    let expires_at = now.plus(ttl_ms(stage, ttl)?).max(own_until.unwrap_or(now));
    let grant = stage.grant(task);
    let mut own = None;
    let taken_from = match lease::standing(&record, holder, now) {
        // A lease from another worktree that this log does not contain is granted here too.
        Standing::Mine(lease) if lease.fence <= known && !wants_confirmation(stage, &lease, grant.as_ref())? => {
            let renewed = Payload::LeaseRenewed(LeaseRenewed { lease: lease.id, expires_at });
            stage.emit(Draft { entity: Entity::Task(task), payload: renewed, why: None, fence: Some(lease.fence) })?;
            return Ok(lease.fence);
        }
        Standing::Mine(lease) => {
            own = Some(lease.id);
            None
        }
        Standing::Others(other) if is_left_behind(stage, &other, holder) => Some(other.agent),
        Standing::Others(other) => return Err(lease::refusal(task, &record, &other, holder)),
        Standing::OthersExpired(other) => {
            warn_of_takeover(stage, &other);
            Some(other.agent)
        }
        Standing::MineExpired(_) | Standing::Free => None,
    };
    let least = next_fence(task, record.fence.max(known))?;
    let (lease, fence) = match grant {
        Some(Grant { lease, fence: Some(fence) }) if fence >= least => (lease, fence),
        Some(Grant { fence: Some(_), .. }) => {
            return Err(Error::new(
                Code::Busy,
                format!("the lease of task {task} changed while the remote was asked; nothing was written"),
            )
            .hint("run the same command again"));
        }
        Some(Grant { lease, fence: None }) => (lease, least),
        None => (own.map_or_else(|| stage.new_id(), Ok)?, least),
    };
    let acquired =
        LeaseAcquired { lease, holder: holder.agent.clone(), session: holder.session, fence, expires_at, taken_from };
    stage.emit(Draft {
        entity: Entity::Task(task),
        payload: Payload::LeaseAcquired(acquired),
        why: None,
        fence: Some(fence),
    })?;
    Ok(fence)
}

/// The time until which a lease holds; a time from a clock that was far ahead is ignored.
pub fn until(lease: &Lease, now: Time) -> Time {
    if lease.is_live(now) { lease.expires_at.min(now.plus(MAX_TTL)) } else { now }
}

/// Whether one's own lease must be acquired again: the remote has not confirmed it yet, or a clone that could not ask granted
/// an equal fence.
pub fn wants_confirmation(stage: &mut dyn Stage, lease: &Lease, grant: Option<&Grant>) -> Result<bool> {
    match grant {
        // It was asked: its confirmation must be recorded here.
        Some(grant) => Ok(grant.fence.is_some_and(|fence| fence > lease.fence)),
        None => Ok(stage.asks_remote() && (!lease.confirmed || stage.is_contested(lease.task, lease)?)),
    }
}

/// Acquires the lease again, above what clones that could not ask have granted. For an event that ends the work, also asks
/// for the remote's confirmation if that is missing.
pub fn assert_again(stage: &mut dyn Stage, task: Id, lease: Lease, ends: bool) -> Result<Lease> {
    // What the remote confirmed in the meantime is recorded, whatever it was asked for.
    let granted = stage.grant(task).and_then(|grant| grant.fence).is_some_and(|fence| fence > lease.fence);
    let again = granted || if lease.confirmed { stage.is_contested(task, &lease)? } else { ends };
    if !stage.asks_remote() || !again {
        return Ok(lease);
    }
    let holder = Author { agent: lease.agent.clone(), session: lease.session, ..stage.me().clone() };
    take_again(stage, task, &holder, Duration { millis: lease.whole() })?;
    Ok(stage.lease(task)?.lease.unwrap_or(lease))
}

/// The fence after the last one.
fn next_fence(task: Id, last: u64) -> Result<u64> {
    let next = last.checked_add(1).filter(|fence| *fence < MAX_FENCE);
    next.ok_or_else(|| {
        Error::state(format!("the fences of task {task} are exhausted"))
            .hint(format!("its log grants a fence that no clone issues; agentpm log {task} shows who granted it"))
    })
}

/// Repeats that the task is in progress, so that what was done under a lower fence in the meantime does not count against it.
pub fn taken(agent: &str) -> Payload {
    let owner = Some(Some(agent.to_owned()));
    Payload::TaskStatusChanged(TaskStatusChanged { owner, ..move_to(Status::InProgress, Status::InProgress) })
}

/// As [`acquire`]. Other agents may have had the task in the meantime, by events that are not here. Then the holder of a new
/// grant repeats the status and the owner, so that they count above those events.
pub fn take(stage: &mut dyn Stage, before: &Task, holder: &Author, ttl: Option<Duration>) -> Result<u64> {
    let record = stage.lease(before.id)?;
    let unseen = stage.asks_remote() || record.fence > stage.known_fence(before.id)?;
    let fence = acquire(stage, before.id, holder, ttl)?;
    let renewed = record.lease.as_ref().is_some_and(|lease| lease.fence == fence);
    if unseen && !renewed && before.status == Status::InProgress && before.owner.as_ref() == Some(&holder.agent) {
        repeat_claim(stage, before.id, holder, fence, None)?;
    }
    Ok(fence)
}

fn repeat_claim(stage: &mut dyn Stage, task: Id, holder: &Author, fence: u64, why: Option<String>) -> Result<()> {
    let payload = taken(&holder.agent);
    stage.emit(Draft { entity: Entity::Task(task), payload, why, fence: Some(fence) })?;
    Ok(())
}

pub fn take_again(stage: &mut dyn Stage, task: Id, holder: &Author, ttl: Duration) -> Result<()> {
    let before = stage.task(task)?;
    let record = stage.lease(task)?;
    let fence = acquire(stage, task, holder, Some(ttl))?;
    let renewed = record.lease.as_ref().is_some_and(|lease| lease.fence == fence);
    if before.status == Status::InProgress && !renewed {
        repeat_claim(stage, task, holder, fence, Some("the remote confirmed the lease".into()))?;
    }
    Ok(())
}

/// Whether a lease belongs to a session of the same agent that was ended: then no process works under it any more. A session that was
/// closed for its silence may go on, so its lease has to expire.
pub fn is_left_behind(stage: &mut dyn Stage, lease: &Lease, holder: &Author) -> bool {
    let session = lease.session.and_then(|id| stage.session(&Ref(id.to_string())).ok());
    !lease.elsewhere && lease.agent == holder.agent && session.is_some_and(|session| is_over(&session))
}

/// Warns whose work is taken over.
fn warn_of_takeover(stage: &mut dyn Stage, lease: &Lease) {
    let session = lease.session.and_then(|id| stage.session(&Ref(id.to_string())).ok());
    let within = session.as_ref().map(|session| format!(" in session {}", session.id)).unwrap_or_default();
    let heard = session.map_or(lease.updated_at, |session| session.last_heartbeat_at);
    stage.warn(format!(
        "task {} was in progress by {}{within}, last seen at {heard}; that lease expired at {}",
        lease.task, lease.agent, lease.expires_at
    ));
}

pub fn ttl_ms(stage: &dyn Stage, ttl: Option<Duration>) -> Result<i64> {
    let millis = ttl.map_or(i64::from(stage.settings().lease.ttl_seconds) * 1_000, |ttl| ttl.millis);
    if millis <= 0 {
        return Err(Error::validation("a lease needs a positive duration"));
    }
    if millis > MAX_TTL {
        return Err(Error::validation("a lease lasts at most seven days")
            .hint("renew it from time to time; each change that you make in its second half does so too"));
    }
    Ok(millis)
}
