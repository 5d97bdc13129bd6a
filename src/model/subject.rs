//! The names under which a message bus carries the events and leases of a plan.
//!
//! Guarantees that a name consists of letters, digits, `-`, `_` and `=` alone, whatever it stands for, and carries no text of the
//! plan.
//! Leaves to others: the bus itself.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::event::{Entity, Event};
use crate::model::id::{Id, quoted};

/// The first part of every subject.
const ROOT: &str = "agentpm";
/// The longest part of a subject, in bytes.
const MAX_PART: usize = 128;

/// A message by which a stream is recognized. In one that was set back to a backup and written to since, the same number has another
/// time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Landmark {
    /// Its sequence number.
    pub sequence: u64,
    /// When the server took it, in nanoseconds of its clock.
    pub at: i64,
}

/// The subjects of one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subjects {
    plan: String,
}

impl Subjects {
    /// Those of the plan with this name on the bus.
    ///
    /// Errors: `ERR_VALIDATION` if the name holds other characters than letters, digits, `-` and `_`, or is too long.
    pub fn of(plan: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if plan.is_empty() || plan.len() > 64 || !plan.chars().all(fits) {
            return Err(Error::validation(format!("{} is no name for a plan on the bus", quoted(plan)))
                .hint("bus.plan takes up to 64 letters, digits, - and _"));
        }
        Ok(Subjects { plan: plan.to_owned() })
    }

    /// The name of the plan.
    pub fn plan(&self) -> &str {
        &self.plan
    }

    /// The name of one of the plan's streams.
    pub fn stream(&self, of: &str) -> String {
        format!("AGENTPM_{}_{of}", self.plan)
    }

    /// The subjects of the stream of events: the events, and what the bridges announce.
    pub fn all_events(&self) -> Vec<String> {
        ["task", "agent", "inbox", "system"].map(|kind| format!("{ROOT}.{}.{kind}.>", self.plan)).into()
    }

    /// The subject of the unread items of an agent.
    pub fn inbox(&self, agent: &str) -> String {
        format!("{ROOT}.{}.inbox.{}", self.plan, part(agent))
    }

    /// The subject of the news that settings or roles changed.
    pub fn settings(&self) -> String {
        format!("{ROOT}.{}.system.CONFIG", self.plan)
    }

    /// Whether a subject carries what a bridge announces, and no event.
    pub fn is_announcement(&self, subject: &str) -> bool {
        let of = |kind: &str| subject.starts_with(&format!("{ROOT}.{}.{kind}.", self.plan));
        of("inbox") || of("system")
    }

    /// The subjects of the offers of all ready tasks.
    pub fn all_ready(&self) -> String {
        format!("{ROOT}.{}.ready.>", self.plan)
    }

    /// The subject of the offer of a ready task.
    pub fn ready(&self, task: Id) -> String {
        format!("{ROOT}.{}.ready.{task}", self.plan)
    }

    /// The subject of an event; `None` for one that stays on the machine that wrote it.
    pub fn event(&self, event: &Event) -> Option<String> {
        let (kind, entity) = match &event.entity {
            Entity::Task(id) => ("task", id.to_string()),
            Entity::Agent(name) => ("agent", part(name)),
            Entity::Session(_) => return None,
        };
        let carried = !event.payload.journal_only();
        carried.then(|| format!("{ROOT}.{}.{kind}.{entity}.{}", self.plan, part(event.payload.kind())))
    }

    /// The subjects of all leases.
    pub fn all_leases(&self) -> String {
        format!("{ROOT}.{}.lease.>", self.plan)
    }

    /// The subject of a task's lease.
    pub fn lease(&self, task: Id) -> String {
        format!("{ROOT}.{}.lease.{task}", self.plan)
    }

    /// The subject of the note on when the stream of leases began.
    pub fn leases_begun(&self) -> String {
        format!("{ROOT}.{}.lease.begun", self.plan)
    }

    /// The task whose lease a subject carries.
    pub fn leased(&self, subject: &str) -> Option<Id> {
        subject.strip_prefix(&format!("{ROOT}.{}.lease.", self.plan))?.parse().ok()
    }
}

/// A name as one part of a subject: other bytes than letters, digits, `-` and `_` become `=` and two digits. A long one is cut, which
/// is harmless, since no reader turns a part back.
fn part(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            out.push(byte as char);
        } else {
            out.push_str(&format!("={byte:02X}"));
        }
    }
    out.truncate(MAX_PART);
    if out.is_empty() { "=".to_owned() } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;

    fn subject(entity: &str, kind: &str) -> Option<String> {
        let line = format!(
            r#"{{"v":1,"id":"01K5R4XJ7Z0000000000000001","lamport":1,"type":{kind:?},"entity":"{entity}","agent":"a","at":"2026-11-20T10:00:00Z","payload":{{"title":"x"}}}}"#
        );
        Subjects::of("p").unwrap().event(&parse_line(&line).unwrap())
    }

    #[test]
    fn an_event_has_the_subject_of_its_entity_and_type() {
        let task = "task/01K5R4XJ7Z0000000000000000";
        let expected = "agentpm.p.task.01K5R4XJ7Z0000000000000000.TaskCreated";
        assert_eq!(subject(task, "TaskCreated").as_deref(), Some(expected));
        assert_eq!(
            subject(task, "Odd > kind.*").as_deref(),
            Some("agentpm.p.task.01K5R4XJ7Z0000000000000000.Odd=20=3E=20kind=2E=2A")
        );
        assert!(subject(task, &"x".repeat(1_000)).unwrap().len() < 200);
        assert!(subject("agent/a.b", "Odd").unwrap().starts_with("agentpm.p.agent.a=2Eb."));
        assert_eq!(subject("session/01K5R4XJ7Z0000000000000000", "Odd"), None);
    }

    #[test]
    fn a_plan_has_a_name_that_fits_into_a_subject() {
        for odd in ["", "a.b", "a b", ">", &"x".repeat(65)] {
            assert!(Subjects::of(odd).is_err(), "{odd}");
        }
        assert_eq!(Subjects::of("demo-1").unwrap().stream("EVENTS"), "AGENTPM_demo-1_EVENTS");
    }

    #[test]
    fn the_subject_of_a_lease_names_its_task() {
        let subjects = Subjects::of("p").unwrap();
        let task: Id = "01K5R4XJ7Z0000000000000000".parse().unwrap();
        assert_eq!(subjects.leased(&subjects.lease(task)), Some(task));
        assert_eq!(subjects.leased(&subjects.leases_begun()), None);
        assert_eq!(subjects.leased("agentpm.q.lease.01K5R4XJ7Z0000000000000000"), None);
    }
}
