//! Lost edits: values that were overwritten by an event whose author had not seen them.
//!
//! Guarantees that concurrency comes only from `parents`, never from a clock. The list does not depend on the order in which
//! the events are given. A value that was overwritten by an author who had seen it is replaced, not lost.
//! Leaves to others: whether a value should be restored (`rules::decide`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::model::event::{Entity, Entry, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::event_rules::status_of;
pub use crate::rules::writers::Reason;
use crate::rules::writers::{Registers, contests};
use crate::rules::{fold, register};

/// One value of a register, and its author.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct AuthoredValue {
    /// The value; `null` if the register was cleared.
    pub value: Value,
    /// The event that wrote it.
    pub event: Id,
    /// Its author.
    pub agent: String,
    /// The time by the author's clock.
    pub at: Time,
    /// The Lamport time.
    pub lamport: u64,
    /// The reason given for it.
    pub why: Option<String>,
}

/// A value that lost, and the one that won.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Lost {
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// The value that lost.
    pub lost: AuthoredValue,
    /// The value that counts. It is shared, since thousands may have lost to it.
    #[serde(serialize_with = "as_written")]
    #[schemars(with = "AuthoredValue")]
    pub won: Arc<AuthoredValue>,
    /// Why the other one won.
    pub rule: Reason,
}

fn as_written<S: serde::Serializer>(won: &Arc<AuthoredValue>, serializer: S) -> Result<S::Ok, S::Error> {
    won.as_ref().serialize(serializer)
}

impl Lost {
    /// Whether the value may be written again. A claim that lost is none of those: it is made again by a claim, and no value from before
    /// the end of a task leads back from it.
    pub fn is_restorable(&self, task: &Task) -> bool {
        let to = self.lost.value.as_str().and_then(Status::from_word);
        match self.field.as_str() {
            "status" => {
                to != Some(Status::InProgress) && (!task.status.is_finished() || to.is_some_and(Status::is_finished))
            }
            "owner" => !task.status.is_finished() && task.status != Status::InProgress,
            _ => true,
        }
    }
}

/// Whether some event of a log had not seen all earlier ones: only then can a value have lost. Cheap; returns true if in
/// doubt.
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

/// Every value of a task that lost to a concurrent one and is still unresolved, by register and order of events.
pub fn lost(id: Id, entries: &[Entry]) -> Vec<Lost> {
    if !is_forked(entries) {
        return Vec::new();
    }
    let ordered = fold::order(&Entity::Task(id), entries).events;
    let folding = fold::Folding::of(id, &ordered);
    let (taken, task) = (folding.taken().to_vec(), folding.finish());
    let mut found = Vec::new();
    let status = task.stamps.get("status").map(|stamp| stamp.id);
    let ended_by = taken.iter().find(|one| Some(one.event.id) == status).map(|one| one.event.author.agent.as_str());
    for contest in contests(&taken, &task, Registers::All) {
        // If none of them counts, the task keeps its initial value.
        let won = match &contest.winner {
            Some(writer) => Some(written(taken[writer.place].event, writer.value.clone())),
            None => {
                let creation = taken.iter().find(|one| matches!(one.event.payload, Payload::TaskCreated(_)));
                creation.map(|one| written(one.event, register::value(&task, &contest.register)))
            }
        };
        let Some(won) = won.map(Arc::new) else { continue };
        for (writer, rule) in contest.losers.into_iter().filter(|(writer, _)| writer.value != won.value) {
            let is_end = status_of(taken[writer.place].event).is_some_and(Status::is_finished);
            let lost = written(taken[writer.place].event, writer.value);
            // An agent that finished a task on one of its branches has not lost its work on another.
            let moves = matches!(contest.register.as_str(), "status" | "owner");
            // Whether a task waits follows from its blockers.
            if contest.register == "status" && [&lost.value, &won.value].into_iter().all(is_waiting_or_open) {
                continue;
            }
            if moves && task.status.is_finished() && ended_by == Some(lost.agent.as_str()) && !is_end {
                continue;
            }
            found.push(Lost { field: contest.register.clone(), lost, won: Arc::clone(&won), rule });
        }
    }
    found
}

fn is_waiting_or_open(status: &Value) -> bool {
    matches!(status.as_str().and_then(Status::from_word), Some(Status::Open | Status::Blocked))
}

/// The number of values that each event lost.
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

fn written(event: &Event, value: Value) -> AuthoredValue {
    AuthoredValue {
        value,
        event: event.id,
        agent: event.author.agent.clone(),
        at: event.at,
        lamport: event.lamport,
        why: event.why.clone(),
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

    /// An event by number: its id, Lamport time, parents, type and payload.
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

    fn lost_edits(entries: &[Entry]) -> Vec<(String, Value, Value, Reason)> {
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
        assert_eq!(lost_edits(&log), []);
    }

    #[test]
    fn the_earlier_of_two_concurrent_values_is_lost_until_an_author_who_saw_both_writes() {
        let mut log = vec![
            created(),
            update(2, 2, &[1], "ada", json!({"priority": 1, "title": "same"})),
            update(3, 3, &[1], "bob", json!({"priority": 2, "title": "same"})),
        ];
        assert_eq!(lost_edits(&log), [("priority".into(), json!(1), json!(2), Reason::Later)]);
        log.push(update(4, 4, &[2, 3], "eve", json!({"estimate": "2h"})));
        assert_eq!(lost_edits(&log).len(), 1, "another field resolves nothing");
        log.push(update(5, 5, &[4], "eve", json!({"priority": 2})));
        assert_eq!(lost_edits(&log), [], "she saw both");
    }

    #[test]
    fn the_id_decides_between_equal_clocks() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"title": "a"})),
            update(3, 2, &[1], "bob", json!({"title": "b"})),
        ];
        assert_eq!(lost_edits(&log), [("title".into(), json!("a"), json!("b"), Reason::Id)]);
    }

    #[test]
    fn only_the_last_value_of_each_side_is_lost() {
        let log = [
            created(),
            update(2, 2, &[1], "ada", json!({"title": "a"})),
            update(3, 3, &[2], "ada", json!({"title": "aa"})),
            update(4, 4, &[1], "bob", json!({"title": "b"})),
            update(5, 9, &[1], "eve", json!({"title": "e"})),
        ];
        let titles: Vec<Value> = lost_edits(&log).into_iter().map(|(_, lost, ..)| lost).collect();
        assert_eq!(titles, [json!("aa"), json!("b")]);
    }

    #[test]
    fn what_was_written_under_a_lost_lease_is_lost_by_the_fence() {
        let lease = json!({"lease": id(90), "holder": "bob", "fence": 2, "expires_at": "2026-01-01T00:00:00Z"});
        let mut stale = update(4, 9, &[1], "ada", json!({"priority": 4}));
        stale.event.fence = Some(1);
        let log = [created(), event(3, 2, &[1], "bob", "LeaseAcquired", lease), stale];
        assert_eq!(lost_edits(&log), [("priority".into(), json!(4), json!(0), Reason::Fence)]);
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
            lost_edits(&log),
            [
                ("metadata.a".into(), json!(1), Value::Null, Reason::Later),
                ("metadata.c".into(), json!(1), json!(2), Reason::Later),
            ]
        );
    }

    #[test]
    fn a_set_parent_wins_over_a_removal() {
        let edge = |from: u64| json!({"type": "parent_of", "from": id(from), "to": TASK});
        let gone = json!({"relationship": id(2)});
        let mut log = vec![
            created(),
            event(2, 2, &[1], "ada", "RelationshipAdded", edge(50)),
            event(3, 3, &[2], "ada", "RelationshipRemoved", gone.clone()),
            event(4, 4, &[3], "ada", "RelationshipAdded", edge(51)),
            event(5, 9, &[2], "bob", "RelationshipRemoved", gone.clone()),
        ];
        assert_eq!(lost_edits(&log), [("parent".into(), Value::Null, json!(id(51)), Reason::Added)]);
        log[4] = event(5, 9, &[2], "bob", "RelationshipRemoved", gone);
        log.push(event(6, 10, &[5], "bob", "RelationshipAdded", edge(52)));
        assert_eq!(lost_edits(&log), [("parent".into(), json!(id(51)), json!(id(52)), Reason::Later)]);
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
            lost_edits(&log),
            [
                ("owner".into(), json!("bob"), Value::Null, Reason::Status),
                (format!("progress.{}", id(2)), json!(false), json!(true), Reason::Later),
                ("status".into(), json!("in_progress"), json!("cancelled"), Reason::Rank),
            ]
        );
    }
}
