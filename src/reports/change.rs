//! The changes of a task between two sets of its events.
//!
//! Guarantees that the list is the difference of the two states, each change with its last writer. Skipped checks, overridden
//! leases and values that lost to a concurrent one are listed even where the states do not show them.
//! Leaves to others: which points of history the two sets belong to.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::model::context::ProgressItem;
use crate::model::event::{Entity, Entry, Event};
use crate::model::id::Id;
use crate::model::payload::{Payload, check};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task};
use crate::model::thread::Thread;
use crate::model::time::Time;
use crate::rules::event_rules::writes;
use crate::rules::lease_bypasses::lease_bypasses;
use crate::rules::lost::{Lost, lost};
use crate::rules::writers::Effect;
use crate::rules::{fields, fold, register};

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// What kind of change it is.
    pub change: Kind,
    /// The register or part: `title`, `status`, `progress.<item>`, `relationship.<id>`.
    pub field: String,
    /// What was there; `null` for nothing.
    pub from: Value,
    /// What is there now; `null` for nothing.
    pub to: Value,
    /// Who wrote it last. Absent where no event says so, as where events are gone.
    pub by: Option<String>,
    /// When, by the writer's clock.
    pub at: Option<Time>,
    /// The reason given.
    pub why: Option<String>,
    /// The event.
    pub event: Option<Id>,
    /// Checks that were skipped by force.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub forced: Vec<String>,
    /// If acceptance was skipped by force: the unmet criteria.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
}

/// The kinds of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Kind {
    Created,
    Status,
    Field,
    Acceptance,
    Verified,
    ProgressAdded,
    Progress,
    ContextAdded,
    ContextSuperseded,
    ContextRedacted,
    RelationshipAdded,
    RelationshipRemoved,
    ThreadOpened,
    ThreadReplied,
    ThreadResolved,
    ThreadEscalated,
    /// A move past a check that the present status does not show any more.
    Forced,
    Override,
}

/// The steps of a task, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Steps {
    /// Those that are done.
    pub done: usize,
    /// All of them.
    pub total: usize,
}

/// All changes of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskChange {
    /// The task.
    pub task: Id,
    /// Its title, as it is now, or was.
    pub title: String,
    /// Its status now.
    pub status: Status,
    /// It is completed now, and no other agent accepted that.
    pub unreviewed: bool,
    /// It began between the two.
    pub created: bool,
    /// It has lost all its events.
    pub gone: bool,
    /// How many events are new.
    pub events: usize,
    /// How many events are missing.
    pub missing: usize,
    /// Its parent now.
    pub parent: Option<Id>,
    /// Its steps now: how many are done, and how many there are.
    pub steps: Steps,
    /// What changed.
    pub changes: Vec<Change>,
    /// Values that lost to a concurrent one, and had not before.
    pub lost: Vec<Lost>,
}

/// The changes of a task between its events before and its events after; `None` if they are the same.
pub fn between(id: Id, before: &[Entry], after: &[Entry]) -> Option<TaskChange> {
    let ids = |entries: &[Entry]| entries.iter().map(|e| e.event.id).collect::<BTreeSet<Id>>();
    let (old_ids, new_ids) = (ids(before), ids(after));
    if old_ids == new_ids {
        return None;
    }
    let (old, new) = (fold::fold(id, before).0, fold::fold(id, after).0);
    let events = NewEvents::of(id, after, &old_ids);
    let lost_before = lost(id, before);
    let known: HashMap<(Id, &str), &Lost> =
        lost_before.iter().map(|edit| ((edit.lost.event, &*edit.field), edit)).collect();
    let is_new = |edit: &Lost| known.get(&(edit.lost.event, &*edit.field)).is_none_or(|old| *old != edit);
    let created = new.created && !old.created;
    let mut out = TaskChange {
        task: id,
        title: if new.created { new.fields.title.clone() } else { old.fields.title.clone() },
        status: new.status,
        unreviewed: new.is_unreviewed(),
        created,
        gone: new.version == 0,
        events: new_ids.difference(&old_ids).count(),
        missing: old_ids.difference(&new_ids).count(),
        parent: new.parent(),
        steps: Steps { done: new.progress.values().filter(|item| item.completed).count(), total: new.progress.len() },
        changes: Vec::new(),
        lost: lost(id, after).into_iter().filter(is_new).collect(),
    };
    if out.gone {
        return Some(out);
    }
    let first = match events.creation.filter(|_| created) {
        Some(creation) => {
            out.changes.push(events.change(
                Kind::Created,
                "task",
                Value::Null,
                json!(new.fields.title),
                Some(&creation.event),
            ));
            fold::fold(id, [creation]).0
        }
        None => old,
    };
    events.registers(&first, &new, &mut out.changes);
    events.parts(&first, &new, &mut out.changes);
    events.passed(&new, &mut out.changes);
    Some(out)
}

/// The new events of a task that have an effect, in order.
struct NewEvents<'a> {
    events: Vec<&'a Event>,
    /// The last of them that wrote each register.
    writers: BTreeMap<String, &'a Event>,
    by_id: BTreeMap<Id, &'a Event>,
    /// Events that override a lease without saying so, with the holder.
    passed: BTreeMap<Id, Option<&'a str>>,
    creation: Option<&'a Entry>,
}

impl<'a> NewEvents<'a> {
    fn of(id: Id, after: &'a [Entry], known: &BTreeSet<Id>) -> Self {
        let ordered = fold::order(&Entity::Task(id), after).events;
        let folding = fold::Folding::of(id, &ordered);
        let counts = folding.taken().iter().filter(|one| one.effect == Effect::Counts);
        let events: Vec<&Event> = counts.map(|one| one.event).filter(|event| !known.contains(&event.id)).collect();
        let creation = ordered.iter().copied().find(|e| matches!(e.event.payload, Payload::TaskCreated(_)));
        let parents = register::parent_edges(after.iter().map(|e| &e.event));
        let copies = folding.finish().copies;
        let written = |event: &&'a Event| writes(event, &parents, &copies).into_iter().map(|(name, _)| name);
        let writers = events.iter().flat_map(|event| written(event).map(|name| (name, *event))).collect();
        let passed = if events.is_empty() { BTreeMap::new() } else { lease_bypasses(&Entity::Task(id), after, None) };
        NewEvents { writers, by_id: events.iter().map(|event| (event.id, *event)).collect(), passed, events, creation }
    }

    fn change(&self, change: Kind, field: &str, from: Value, to: Value, by: Option<&Event>) -> Change {
        Change {
            change,
            field: field.to_owned(),
            from,
            to,
            by: by.map(|event| event.author.agent.clone()),
            at: by.map(|event| event.at),
            why: by.and_then(|event| event.why.clone()),
            event: by.map(|event| event.id),
            forced: Vec::new(),
            unmet: Vec::new(),
        }
    }

    /// The event that gave a register its value: of concurrent ones the one that counts, else the last.
    fn writer(&self, new: &Task, name: &str) -> Option<&'a Event> {
        let counting = new.stamps.get(name).and_then(|stamp| self.by_id.get(&stamp.id));
        if counting.is_some() {
            return counting.copied();
        }
        let whole = self.writers.get("metadata").filter(|_| name.starts_with("metadata."));
        self.writers.get(name).into_iter().chain(whole).copied().max_by_key(|event| event.stamp())
    }

    /// Registers that hold something else now.
    fn registers(&self, old: &Task, new: &Task, out: &mut Vec<Change>) {
        let mut names: Vec<(Kind, String)> = vec![(Kind::Status, "status".into())];
        let plain = ["owner", "parent"].into_iter().chain(fields::NAMES.iter().copied());
        names.extend(plain.filter(|name| *name != "metadata").map(|name| (Kind::Field, name.to_owned())));
        let both = |of: fn(&Task) -> &serde_json::Map<String, Value>| {
            of(old).keys().chain(of(new).keys()).cloned().collect::<BTreeSet<String>>()
        };
        names.extend(both(|t| &t.fields.metadata).into_iter().map(|key| (Kind::Field, format!("metadata.{key}"))));
        names.extend(both(|t| &t.fields.extra).into_iter().map(|name| (Kind::Field, name)));
        let criteria: BTreeSet<&String> = old.met.keys().chain(new.met.keys()).collect();
        names.extend(criteria.into_iter().map(|criterion| (Kind::Acceptance, format!("met.{criterion}"))));
        let entries = new.context.keys().filter(|entry| old.context.contains_key(entry));
        names.extend(entries.map(|entry| (Kind::ContextSuperseded, format!("context.{entry}"))));
        for (kind, name) in names {
            let (from, to) = (register::value(old, &name), register::value(new, &name));
            if from != to {
                out.push(self.change(kind, &name, from, to, self.writer(new, &name)));
            }
        }
        let review = self.writer(new, "verified");
        if old.verified != new.verified || review.is_some() {
            let (from, to) = (register::value(old, "verified"), register::value(new, "verified"));
            out.push(self.change(Kind::Verified, "verified", from, to, review));
        }
    }

    /// Parts that came and went.
    fn parts(&self, old: &Task, new: &Task, out: &mut Vec<Change>) {
        let made = |id: Id| self.by_id.get(&id).copied();
        let takes = |event: &&'a Event| {
            let edge = if let Payload::RelationshipRemoved(p) = &event.payload { Some(p.relationship) } else { None };
            Some((event.payload.redacts().or(edge)?, *event))
        };
        let taken_by: HashMap<Id, &Event> = self.events.iter().filter_map(takes).collect();
        let step = |item: &ProgressItem| json!({ "content": item.content, "completed": item.completed });
        for item in new.progress.values() {
            let field = format!("progress.{}", item.id);
            match old.progress.get(&item.id) {
                None => out.push(self.change(Kind::ProgressAdded, &field, Value::Null, step(item), made(item.id))),
                Some(before) if before.completed != item.completed => {
                    let writer = self.writer(new, &field);
                    out.push(self.change(Kind::Progress, &field, step(before), step(item), writer));
                }
                Some(_) => {}
            }
        }
        for entry in new.context.values() {
            let field = format!("context.{}", entry.id);
            match old.context.get(&entry.id) {
                None => {
                    let to = json!({ "type": entry.kind, "content": entry.content });
                    out.push(self.change(Kind::ContextAdded, &field, Value::Null, to, made(entry.id)));
                }
                Some(before) if entry.redacted && !before.redacted => {
                    let by = taken_by.get(&entry.id).copied();
                    out.push(self.change(Kind::ContextRedacted, &field, json!(false), json!(true), by));
                }
                Some(_) => {}
            }
        }
        for thread in new.threads.values() {
            let (field, before) = (format!("thread.{}", thread.id), old.threads.get(&thread.id));
            let proposal = |body: &str, patch: &Value| json!({ "body": body, "proposes": !patch.is_null() });
            if before.is_none() {
                let to = proposal(&thread.body, &thread.patch);
                out.push(self.change(Kind::ThreadOpened, &field, Value::Null, to, made(thread.id)));
            }
            let is_new = |id: &Id| before.is_none_or(|before| !before.replies.contains_key(id));
            for message in thread.replies.values().filter(|message| is_new(&message.id)) {
                let to = proposal(&message.body, &message.patch);
                out.push(self.change(Kind::ThreadReplied, &field, Value::Null, to, made(message.id)));
            }
            let resolution = |thread: &Thread| thread.resolved.as_ref().map(|resolved| resolved.event);
            if let Some(event) = resolution(thread).filter(|event| before.and_then(resolution) != Some(*event)) {
                let from = before.map_or("open", |before| before.status().as_str());
                let to = json!(thread.status());
                out.push(self.change(Kind::ThreadResolved, &field, json!(from), to, made(event)));
            }
            if thread.escalated.is_some() && before.is_none_or(|before| before.escalated.is_none()) {
                let to = thread.escalated.as_ref().map(|escalated| escalated.to.clone());
                let is_it =
                    |event: &&&Event| matches!(&event.payload, Payload::ThreadEscalated(p) if p.thread == thread.id);
                let by = self.events.iter().find(is_it).copied();
                out.push(self.change(Kind::ThreadEscalated, &field, Value::Null, json!(to), by));
            }
        }
        let apart = |edge: &&Relationship| edge.kind != RelationType::ParentOf;
        let view = |edge: &Relationship| json!({ "type": edge.kind, "from": edge.from, "to": edge.to });
        for edge in new.relationships.values().filter(apart).filter(|e| !old.relationships.contains_key(&e.id)) {
            let field = format!("relationship.{}", edge.id);
            out.push(self.change(Kind::RelationshipAdded, &field, Value::Null, view(edge), made(edge.id)));
        }
        for edge in old.relationships.values().filter(apart).filter(|e| !new.relationships.contains_key(&e.id)) {
            let field = format!("relationship.{}", edge.id);
            let by = taken_by.get(&edge.id).copied();
            out.push(self.change(Kind::RelationshipRemoved, &field, view(edge), Value::Null, by));
        }
    }

    /// Checks that were skipped by force, and leases that were overridden.
    fn passed(&self, new: &Task, out: &mut Vec<Change>) {
        for event in &self.events {
            if let Some(holder) = self.passed.get(&event.id) {
                out.push(self.change(Kind::Override, "lease", json!(holder), Value::Null, Some(event)));
            }
            if let Payload::LeaseOverride(p) = &event.payload {
                let field = if p.task.is_some() { "files" } else { "lease" };
                out.push(self.change(Kind::Override, field, json!(p.holder), Value::Null, Some(event)));
            }
            let Payload::TaskStatusChanged(p) = &event.payload else { continue };
            if p.forced.is_empty() {
                continue;
            }
            let passed = p.overrides(&[check::ACCEPTANCE]);
            let unmet = new.unmet().filter(|_| passed).map(str::to_owned).collect();
            let own = |c: &&mut Change| c.change == Kind::Status && c.event == Some(event.id);
            if let Some(change) = out.iter_mut().find(own) {
                (change.forced, change.unmet) = (p.forced.clone(), unmet);
                continue;
            }
            let change = self.change(Kind::Forced, "status", json!(p.from), json!(p.to), Some(event));
            out.push(Change { forced: p.forced.clone(), unmet, ..change });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::parse_line;

    const TASK: &str = "01K5R4XJ7Z0000000000000000";

    fn log(events: &[(&str, Value)]) -> Vec<Entry> {
        let id = |n: usize| format!("01K5R4XJ7Z{n:016}");
        let line = |n: usize, (kind, payload): &(&str, Value)| {
            let parents: Vec<String> = if n == 1 { Vec::new() } else { vec![id(n - 1)] };
            json!({"v": 1, "id": id(n), "lamport": n, "type": kind, "entity": format!("task/{TASK}"), "parents": parents,
                "agent": "ada", "at": "2026-11-20T10:00:00Z", "why": format!("reason {n}"), "payload": payload})
            .to_string()
        };
        let lines = events.iter().enumerate().map(|(n, event)| line(n + 1, event));
        lines.map(|line| Entry { event: parse_line(&line).unwrap(), line: line.into() }).collect()
    }

    fn changes_between(before: &[Entry], after: &[Entry]) -> Vec<(Kind, String, Value, Value)> {
        let found = between(TASK.parse().unwrap(), before, after);
        found.into_iter().flat_map(|t| t.changes).map(|c| (c.change, c.field, c.from, c.to)).collect()
    }

    #[test]
    fn only_the_net_difference_is_listed() {
        let all = log(&[
            ("TaskCreated", json!({"title": "a", "metadata": {"k": 1}})),
            ("TaskUpdated", json!({"set": {"title": "b", "priority": 2, "metadata.k": 2}})),
            ("TaskUpdated", json!({"set": {"priority": 0}})),
            ("TaskStatusChanged", json!({"from": "open", "to": "completed", "forced": ["blockers"]})),
        ]);
        assert_eq!(between(TASK.parse().unwrap(), &all, &all), None);
        let field = |name: &str, from: Value, to: Value| (Kind::Field, name.to_owned(), from, to);
        assert_eq!(
            changes_between(&all[..1], &all),
            [
                (Kind::Status, "status".into(), json!("open"), json!("completed")),
                field("title", json!("a"), json!("b")),
                field("metadata.k", json!(1), json!(2)),
            ]
        );
        let forced = between(TASK.parse().unwrap(), &all[..1], &all).unwrap().changes[0].forced.clone();
        assert_eq!(forced, ["blockers"]);
        assert_eq!(changes_between(&[], &all[..1]), [(Kind::Created, "task".into(), Value::Null, json!("a"))]);
        let back = between(TASK.parse().unwrap(), &all, &all[..1]).unwrap();
        assert_eq!((back.events, back.missing), (0, 3));
        assert!(back.changes.iter().all(|c| c.by.is_none()), "no event says so");
        assert!(between(TASK.parse().unwrap(), &all, &[]).unwrap().gone);
    }

    #[test]
    fn each_change_names_its_last_writer_and_reason() {
        let all = log(&[
            ("TaskCreated", json!({"title": "a"})),
            ("TaskUpdated", json!({"set": {"title": "b"}})),
            ("TaskUpdated", json!({"set": {"title": "c"}})),
        ]);
        let found = between(TASK.parse().unwrap(), &all[..1], &all).unwrap();
        assert_eq!(found.changes[0].why.as_deref(), Some("reason 3"));
    }
}
