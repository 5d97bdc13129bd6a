//! What an export of agentpm may hold and a plan must not: edges that lead to no task or close a cycle, tasks that were completed too
//! early, values that no command writes, and events that cannot count.
//!
//! Guarantees that each is named by the ids of the source, and that what is recorded about it ends the finding of lint: the edge is
//! removed, the completion is stated as forced, the value becomes the nearest one. What the task says no more is in its metadata.
//! Leaves to others: the events of the export, which arrive unchanged or not at all (`ours`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::source::shortened;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::lint::{TaskLinks, across, completed_by_force, states};
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::command::{Batch, Command};
use crate::model::event::{Entity, Entry};
use crate::model::finding::{Finding, Rule};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::payload::{
    Fields, Payload, RelationshipRemoved, TaskArchived, TaskStatusChanged, TaskUpdated, check,
};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::rules::decide::Subject;
use crate::rules::fields;
use crate::rules::graph::{Edge, void_edges};
use crate::rules::readiness::BlockerRules;
use crate::rules::stage::{Draft, Stage};
use crate::store::archive;
use crate::store::entity::{LoadedTask, load_task};

/// How many are recorded at once.
const AT_ONCE: usize = 1_000;
/// The most warnings; the rest are counted.
const MAX_WARNINGS: usize = 100;
/// Why an edge is removed, or a completion repeated.
const WHY: &str = "the import holds it, and a plan must not";

/// The entry of a task's metadata that holds what was left out.
const LEFT_OUT: &str = "left_out";
/// The most bytes of one task that are kept there: an event has a greatest length.
const MAX_KEPT: usize = 64 * 1024;

/// An event that cannot count in the log of its task.
#[derive(Clone, Debug)]
pub(super) struct LeftOutEvent {
    pub(super) id: Id,
    pub(super) line: Box<str>,
    pub(super) reason: String,
}

/// What breaks a rule.
#[derive(Clone, Debug)]
enum BrokenRule {
    Edge(Edge, String),
    Early(Id, String),
    /// Values of a task that no command writes, in words, and events of it.
    Parts(Id, Vec<String>, Vec<LeftOutEvent>),
}

/// All that breaks a rule in an export.
#[derive(Default)]
pub(super) struct BrokenRules {
    rules: Vec<BrokenRule>,
    /// Events of agents, and of tasks that none of their events creates: they have no metadata.
    homeless: Vec<(Entity, LeftOutEvent)>,
}

impl BrokenRules {
    /// Looks at the values of one task of an export, whose other events were left out.
    pub(super) fn add_task(&mut self, task: &Task, entries: &[Entry], left_out: Vec<LeftOutEvent>) {
        self.rules.extend(has_unmet(task, entries).map(|finding| BrokenRule::Early(task.id, finding.message)));
        let values = misfits(task).into_iter().map(|misfit| misfit.reason).collect::<Vec<_>>();
        if !(values.is_empty() && left_out.is_empty()) {
            self.rules.push(BrokenRule::Parts(task.id, values, left_out));
        }
    }

    /// Notes events of an agent, or of a task that none of its events creates.
    pub(super) fn add_homeless(&mut self, entity: &Entity, left_out: Vec<LeftOutEvent>) {
        self.homeless.extend(left_out.into_iter().map(|event| (entity.clone(), event)));
    }

    /// Looks at the tasks of an export together, and at those here that they name.
    ///
    /// Errors: `ERR_IO` if a task here cannot be read.
    pub(super) fn add_links(&mut self, ws: &Workspace, mut links: BTreeMap<Id, TaskLinks>) -> Result<()> {
        let imported: BTreeSet<Id> = links.keys().copied().collect();
        let archived = archive::archived(&ws.store)?;
        let named: BTreeSet<Id> = links.values().flat_map(TaskLinks::named).collect();
        for id in named.difference(&imported) {
            if read::is_there(ws, *id) {
                let known = load_task(&ws.store, *id, &[])?;
                links.insert(*id, TaskLinks::of(&known.task, &known.log.entries));
            } else if archived.dropped.contains_key(id) {
                links.insert(*id, TaskLinks::dropped());
            }
        }
        let edges: Vec<Edge> = imported.iter().flat_map(|id| links[id].edges()).copied().collect();
        let counts = |edge: &&Edge| matches!(edge.kind, RelationType::Blocks | RelationType::ParentOf);
        let all = links.values().flat_map(TaskLinks::edges).filter(counts).copied().collect::<Vec<_>>();
        let void = void_edges(&all);
        let broken = &mut self.rules;
        for edge in edges {
            match [edge.from, edge.to].into_iter().find(|end| !links.contains_key(end)) {
                Some(missing) => {
                    broken.push(BrokenRule::Edge(edge, format!("{missing} is not among the imported tasks")))
                }
                None if void.contains(&edge.stamp) => broken.push(BrokenRule::Edge(edge, "it closes a cycle".into())),
                None => {}
            }
        }
        for finding in across(&ws.store.name, &links, BlockerRules::of(&ws.settings)) {
            let Some(id) = finding.task.filter(|id| imported.contains(id)) else { continue };
            let is_known = broken.iter().any(|one| matches!(one, BrokenRule::Early(known, _) if *known == id));
            if finding.rule == Rule::CompletedEarly && !is_known {
                broken.push(BrokenRule::Early(id, finding.message));
            }
        }
        Ok(())
    }

    /// A warning for each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let one = |broken: &BrokenRule| match broken {
            BrokenRule::Edge(edge, why) => {
                vec![format!("{} {} {} is left out: {why}", edge.from, edge.kind.as_str(), edge.to)]
            }
            BrokenRule::Early(id, what) => vec![format!("{id}: {what}; the event says forced")],
            BrokenRule::Parts(id, values, events) => {
                let values = values.iter().map(|what| format!("{id}: {what}"));
                let kept = kept_lines(events).len();
                let event = |(n, event): (usize, &LeftOutEvent)| {
                    let place = if n < kept { "it is kept in the metadata" } else { "it is too long for the metadata" };
                    format!("{id}: event {} is left out: {}; {place}", event.id, event.reason)
                };
                values.chain(events.iter().enumerate().map(event)).collect()
            }
        };
        let mut warnings: Vec<String> = self.rules.iter().flat_map(one).collect();
        let homeless = self.homeless.iter();
        warnings.extend(homeless.map(|(entity, e)| format!("{entity}: event {} is left out: {}", e.id, e.reason)));
        let more = warnings.len().saturating_sub(MAX_WARNINGS);
        warnings.truncate(MAX_WARNINGS);
        warnings.extend((more > 0).then(|| format!("{more} more parts of the export break a rule of a plan")));
        warnings
    }

    /// Records the end of each, unless an earlier import did.
    ///
    /// Errors: those of any change.
    pub(super) fn record(&self, ws: &Workspace) -> Result<()> {
        for some in self.rules.chunks(AT_ONCE) {
            let mut ends = Vec::new();
            for broken in some {
                ends.extend(end_of(ws, broken)?);
            }
            if ends.is_empty() {
                continue;
            }
            write::execute_as(ws, ws.author()?, &Command::Batch(Batch::default()), &[], None, |tx| {
                for (task, payload) in &ends {
                    tx.task(*task)?;
                    let (entity, payload) = (Entity::Task(*task), payload.clone());
                    tx.emit(Draft { entity, payload, why: Some(WHY.into()), fence: None })?;
                }
                Ok(Subject::Batch(Vec::new()))
            })?;
        }
        Ok(())
    }
}

/// The finding about unmet criteria that a completion does not override.
fn has_unmet(task: &Task, entries: &[Entry]) -> Option<Finding> {
    states("", task, entries).into_iter().find(|finding| finding.rule == Rule::CompletedEarly)
}

/// What ends a broken rule; nothing if it was ended before.
fn end_of(ws: &Workspace, broken: &BrokenRule) -> Result<Vec<(Id, Payload)>> {
    let id = match broken {
        BrokenRule::Edge(edge, _) => edge.kind.home(edge.from, edge.to),
        BrokenRule::Early(id, _) | BrokenRule::Parts(id, ..) => *id,
    };
    let LoadedTask { task, log, .. } = load_task(&ws.store, id, &[])?;
    let payloads = match broken {
        BrokenRule::Edge(edge, _) => {
            let relationship = edge.stamp.id;
            let is_there = task.relationships.contains_key(&relationship);
            Vec::from_iter(is_there.then_some(Payload::RelationshipRemoved(RelationshipRemoved { relationship })))
        }
        BrokenRule::Early(..) if task.completed_at.is_none() => Vec::new(),
        BrokenRule::Early(..) if completed_by_force(&log.entries) && has_unmet(&task, &log.entries).is_none() => {
            Vec::new()
        }
        BrokenRule::Early(..) => complete_by_force(&task),
        BrokenRule::Parts(_, _, events) => nearest_values(&task, events, &ws.author()?.agent),
    };
    Ok(payloads.into_iter().map(|payload| (id, payload)).collect())
}

/// The completion of a task once more, as forced. An archived task is archived again: a status counts as a whole.
fn complete_by_force(task: &Task) -> Vec<Payload> {
    let (from, to, completed_at) = (Status::Completed, Status::Completed, task.completed_at);
    let has_unmet = task.unmet().next().is_some();
    let criteria = has_unmet.then(|| check::ACCEPTANCE.to_owned());
    let forced = [check::BLOCKERS, check::CHILDREN].map(str::to_owned).into_iter().chain(criteria).collect();
    let again = TaskStatusChanged { from, to, owner: None, changed_at: completed_at, forced };
    let archived = TaskArchived { from, completed_at, cancelled_at: None };
    let is_archived = task.status == Status::Archived;
    [Payload::TaskStatusChanged(again)]
        .into_iter()
        .chain(is_archived.then_some(Payload::TaskArchived(archived)))
        .collect()
}

/// A value of a task that no command writes.
struct Misfit {
    name: &'static str,
    said: Value,
    /// The nearest value; of an owner, `null`: the agent that imports the task becomes it, or none.
    nearest: Value,
    reason: String,
}

/// The values of a task that no command writes.
fn misfits(task: &Task) -> Vec<Misfit> {
    let of_field = |(name, fault): (&'static str, Error)| {
        let (said, nearest) = (fields::value_of(&task.fields, name), fields::nearest(&task.fields, name));
        let becomes = shortened(&nearest);
        let reason = format!("{name}: {}; it becomes {becomes}, and the metadata holds the rest", fault.message);
        Misfit { name, said, nearest, reason }
    };
    // Some of its events may be here alone.
    if !task.created {
        return Vec::new();
    }
    let mut misfits: Vec<Misfit> = fields::faults(&task.fields).into_iter().map(of_field).collect();
    let is_begun = task.status == Status::InProgress;
    let fault = match &task.owner {
        Some(owner) if check_agent_name(owner).is_err() => format!("the owner {} is not an agent name", quoted(owner)),
        None if is_begun => "it is in progress and has no owner".to_owned(),
        Some(_) | None => return misfits,
    };
    let owner = if is_begun { "it belongs to the agent that imports it" } else { "it has none" };
    let reason = format!("{fault}; {owner}");
    misfits.push(Misfit { name: "owner", said: json!(task.owner), nearest: Value::Null, reason });
    misfits
}

/// The nearest values of a task, and what they leave out in its metadata.
fn nearest_values(task: &Task, events: &[LeftOutEvent], me: &str) -> Vec<Payload> {
    let before = task.fields.metadata.get(LEFT_OUT).cloned().unwrap_or_default();
    let mut left_out = match before.clone() {
        Value::Object(map) => map,
        Value::Null => Map::new(),
        other => Map::from_iter([("metadata".to_owned(), other)]),
    };
    let mut payloads = Vec::new();
    let mut set = |name: &str, value: Value| {
        payloads.push(Payload::TaskUpdated(TaskUpdated::new(Fields::from_iter([(name.to_owned(), value)]))));
    };
    let mut room = MAX_KEPT;
    for Misfit { name, said, nearest, .. } in misfits(task) {
        let is_owner = name == "owner" && task.status == Status::InProgress;
        set(name, if is_owner { json!(me) } else { nearest });
        let size = said.to_string().len();
        // The log holds it anyway.
        if !said.is_null() && size <= room {
            room -= size;
            left_out.insert(name.to_owned(), said);
        }
    }
    let lines = left_out.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
    let new = kept_lines(events).into_iter().map(|line| json!(line)).filter(|line| !lines.contains(line));
    let lines: Vec<Value> = lines.iter().cloned().chain(new).collect();
    if !lines.is_empty() {
        left_out.insert("events".into(), Value::Array(lines));
    }
    let left_out = Value::Object(left_out);
    if left_out != before && left_out != json!({}) {
        set(&format!("metadata.{LEFT_OUT}"), left_out);
    }
    payloads
}

/// The lines of the first events, as many as the metadata holds.
fn kept_lines(events: &[LeftOutEvent]) -> Vec<&str> {
    let mut room = MAX_KEPT;
    let fits = |event: &&LeftOutEvent| {
        room = room.saturating_sub(event.line.len());
        room > 0
    };
    events.iter().take_while(fits).map(|event| &*event.line).collect()
}
