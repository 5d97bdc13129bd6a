//! Leases: who may change a task now, and what lease events do to the record.
//!
//! Promises: time to live decides who may ask next; the fence decides what counts. An expired lease passes to another only by
//! an explicit claim, and its old holder is told.
//! Refuses to know: where records are kept.

use serde_json::json;

use crate::error::{Code, Error};
use crate::model::agent::{Lease, LeaseRecord};
use crate::model::event::{Author, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Task;
use crate::model::time::Time;

/// How an actor stands to the lease of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// Nobody has a lease.
    Free,
    /// The actor has it.
    Mine(Lease),
    /// The actor had it, it ran out, and nobody took it over.
    MineExpired(Lease),
    /// Another has it.
    Others(Lease),
    /// Another had it, and it ran out.
    OthersExpired(Lease),
}

/// How `me` stands to the lease of a task.
pub fn standing(record: &LeaseRecord, me: &Author, now: Time) -> Standing {
    let Some(lease) = record.lease.clone() else { return Standing::Free };
    let other_session = matches!((lease.session, me.session), (Some(a), Some(b)) if a != b);
    let mine = lease.agent == me.agent && !other_session;
    match (mine, lease.is_live(now)) {
        (true, true) => Standing::Mine(lease),
        (true, false) => Standing::MineExpired(lease),
        (false, true) => Standing::Others(lease),
        (false, false) => Standing::OthersExpired(lease),
    }
}

/// The refusal for one who meets another's lease: `ERR_LEASE_LOST` where it was taken from the asker, else `ERR_LEASE_HELD`.
pub fn refusal(task: Id, record: &LeaseRecord, holder: &Lease, me: &Author) -> Error {
    let details = json!({ "task": task, "holder": holder.agent, "session": holder.session, "lease": holder.id,
        "fence": holder.fence, "expires_at": holder.expires_at });
    let lost = record.lost.as_ref().is_some_and(|lost| lost.agent == me.agent && lost.agent != holder.agent);
    if lost {
        return Error::new(
            Code::LeaseLost,
            format!("your lease of task {task} ran out and {} took it over", holder.agent),
        )
        .with(details)
        .hint("what you recorded before is kept, this was not written; take other work with agentpm next --claim");
    }
    let hint = match holder.agent == me.agent {
        true => format!(
            "another session of yours has it; if that one is over: agentpm session end, then agentpm claim {task}"
        ),
        false => "take other work with agentpm next --claim".into(),
    };
    Error::new(Code::LeaseHeld, format!("{} holds task {task} until {}", holder.agent, holder.expires_at))
        .with(details)
        .hint(hint)
}

/// The refusal for one whose own lease ran out.
pub fn expired(task: &Task, lease: &Lease) -> Error {
    Error::new(Code::LeaseExpired, format!("your lease of task {} ran out at {}", task.id, lease.expires_at))
        .with(json!({ "task": task.id, "lease": lease.id, "expires_at": lease.expires_at }))
        .hint(format!("nobody took it over: agentpm lease renew {}, then the same command again", lease.id))
}

/// The refusal for one who meets another's lease that ran out.
pub fn abandoned(task: &Task, lease: &Lease) -> Error {
    Error::new(
        Code::LeaseExpired,
        format!("the lease of {} on task {} ran out at {}", lease.agent, task.id, lease.expires_at),
    )
    .with(json!({ "task": task.id, "holder": lease.agent, "lease": lease.id, "expires_at": lease.expires_at }))
    .hint(format!("take it over first: agentpm claim {}", task.id))
}

/// Brings a record up to an event. Events already taken in change nothing.
pub fn apply(record: &mut LeaseRecord, event: &Event) {
    match &event.payload {
        Payload::LeaseAcquired(p) if p.fence > record.fence => {
            let lease = Lease {
                id: p.lease,
                task: match event.entity {
                    crate::model::event::Entity::Task(id) => id,
                    _ => return,
                },
                agent: p.holder.clone(),
                session: p.session,
                fence: p.fence,
                expires_at: p.expires_at,
                created_at: event.at,
                updated_at: event.at,
            };
            record.fence = p.fence;
            record.lost = record.lease.take().filter(|old| old.agent != lease.agent);
            record.lease = Some(lease);
        }
        Payload::LeaseRenewed(p) => {
            if let Some(lease) = record.lease.as_mut().filter(|lease| lease.id == p.lease) {
                lease.expires_at = lease.expires_at.max(p.expires_at);
                lease.updated_at = event.at;
            }
        }
        Payload::LeaseReleased(p) if record.lease.as_ref().is_some_and(|lease| lease.id == p.lease) => {
            record.lease = None;
            record.lost = None;
        }
        Payload::LeaseOverride(_) => {}
        _ => {}
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
        };
        LeaseRecord { fence: 1, lease: Some(lease), lost: None }
    }

    #[test]
    fn time_decides_who_may_ask_next() {
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
