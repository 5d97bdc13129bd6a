//! Decides commands that create, change and relate tasks.
//!
//! Leaves to others: the checks before them (`guard`).

use serde_json::{Value, json};

use super::around::{missing_of, move_to, open_blockers};
use super::guard::{Permit, permit, permit_held, permit_id, refuse_unfit, unblock_if_free};
use super::{Subject, decides, index, nothing};
use crate::error::{Error, Result};
use crate::model::args::{OptionalTaskRef, Ref, Text};
use crate::model::command::{Guard, TaskBlock, TaskCreate, TaskRelate, TaskUnblock, TaskUnrelate, TaskUpdate};
use crate::model::event::Entity;
use crate::model::field::{FIELDS, Field, Form};
use crate::model::id::{Id, check_agent_name, quoted};
use crate::model::payload::{Fields, Payload, RelationshipAdded, RelationshipRemoved, TaskCreated, TaskUpdated};
use crate::model::relationship::{RelationType, Relationship};
use crate::model::search::text::composed;
use crate::model::task::{Status, Task, TaskType};
use crate::model::time::{Time, When};
use crate::rules::conditions::refuse_new_criteria;
use crate::rules::fields;
use crate::rules::graph;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Part, Stage};

decides! {
    TaskCreate: nothing => create,
    TaskUpdate: index => update,
    TaskBlock: index => block,
    TaskUnblock: index => unblock,
    TaskRelate: index => relate,
    TaskUnrelate: index => unrelate,
}

/// `task create`
fn create(stage: &mut dyn Stage, c: &TaskCreate) -> Result<Subject> {
    create_as(stage, c, None)
}

/// As [`create`], with a known id.
pub fn create_as(stage: &mut dyn Stage, c: &TaskCreate, id: Option<Id>) -> Result<Subject> {
    stage.require(Verb::Create)?;
    let parent = c.parent.as_ref().map(|p| stage.task_id(p)).transpose()?;
    if let Some(parent) = parent {
        stage.require(Verb::Split)?;
        check_unfinished(stage, parent)?;
    }
    let mut blockers = Vec::new();
    for reference in &c.blocked_by {
        let blocker = stage.task_id(reference)?;
        if !blockers.contains(&blocker) {
            blockers.push(blocker);
        }
    }
    let mut set = given(c, stage.now());
    set.retain(|_, value| *value != json!([]) && *value != json!({}));
    fields::check(&set)?;
    let mut blocked = false;
    for blocker in &blockers {
        blocked |= missing_of(stage, *blocker)?.is_some();
    }
    if blocked {
        set.insert("status".into(), json!(Status::Blocked));
    }
    let id = id.map_or_else(|| stage.new_id(), Ok)?;
    let why = c.why.as_ref().map(|w| w.0.clone());
    let emit = |stage: &mut dyn Stage, payload| {
        stage.emit(Draft { entity: Entity::Task(id), payload, why: why.clone(), fence: None })
    };
    emit(stage, Payload::TaskCreated(TaskCreated { fields: set }))?;
    if let Some(parent) = parent {
        emit(stage, edge(RelationType::ParentOf, parent, id, Value::Null))?;
    }
    for blocker in blockers {
        if parent == Some(blocker) {
            return Err(Error::state(format!("task {blocker} cannot both contain the new task and block it")));
        }
        emit(stage, edge(RelationType::Blocks, blocker, id, Value::Null))?;
    }
    for waits in &c.blocks {
        let by = vec![Ref(id.to_string())];
        let guard = Guard { why: c.why.clone(), ..Guard::default() };
        block(stage, &TaskBlock { id: OptionalTaskRef(Some(waits.0.clone())), by, guard })?;
    }
    Ok(Subject::Task(id))
}

/// The plain fields among the arguments of a command, in the order of their table. A time may be a span from now.
fn given(args: &impl serde::Serialize, now: Time) -> Fields {
    // Plain structs with string keys cannot fail to serialize.
    let mut args = serde_json::to_value(args).expect("arguments are plain data");
    let mut one = |field: &Field| {
        let value = args.get_mut(field.name).map(Value::take).filter(|value| !value.is_null())?;
        Some(match (field.form, &value) {
            (Form::Time, _) => {
                serde_json::from_value::<When>(value.clone()).map_or(value, |when| json!(when.from(now)))
            }
            (Form::Type, Value::String(word)) => json!(TaskType::word_for(word)),
            (Form::Words, Value::Array(words)) => words.iter().map(|word| json!(word.as_str().map(composed))).collect(),
            _ => value,
        })
    };
    FIELDS.iter().filter_map(|field| Some((field.name.to_owned(), one(field)?))).collect()
}

/// Labels in the form in which they are compared, so that no task has one label twice.
fn all_composed(labels: &[String]) -> Vec<String> {
    labels.iter().map(|label| composed(label).into_owned()).collect()
}

fn texts(list: &[Text]) -> Vec<String> {
    list.iter().map(|text| text.0.clone()).collect()
}

fn edge(kind: RelationType, from: Id, to: Id, metadata: Value) -> Payload {
    Payload::RelationshipAdded(RelationshipAdded { kind, from, to, metadata, created_at: None })
}

/// `task update`
pub fn update(stage: &mut dyn Stage, c: &TaskUpdate) -> Result<Subject> {
    let permit = permit_held(stage, &c.id, &c.guard, Verb::Update)?;
    let task = stage.task(permit.id)?;
    let (set, parent) = changes(c, &task, stage.now())?;
    let owner = set.get("owner").cloned();
    let mut plain = set.clone();
    plain.shift_remove("owner");
    fields::check(&plain)?;
    check_owner(stage, &task, owner.as_ref())?;
    refuse_new_criteria(&task, &set)?;
    let set: Fields = set.into_iter().filter(|(name, value)| !is_already(&task, name, value)).collect();
    let unpark = c.unpark && task.attempts > 0;
    if !set.is_empty() || unpark {
        permit.emit(stage, Payload::TaskUpdated(TaskUpdated { set, unpark }))?;
    }
    match parent {
        Change::Keep => {}
        Change::Clear => move_parent(stage, &permit, None, Value::Null)?,
        Change::To(reference) => {
            let parent = stage.task_id(&reference)?;
            move_parent(stage, &permit, Some(parent), Value::Null)?;
        }
    }
    permit.hand_over(stage)?;
    Ok(Subject::Task(permit.id))
}

enum Change {
    Keep,
    Clear,
    To(Ref),
}

/// The registers that an update writes, and the change of the parent.
fn changes(c: &TaskUpdate, task: &Task, now: Time) -> Result<(Fields, Change)> {
    let mut set = given(c, now);
    // Each entry of the metadata is a register.
    set.shift_remove("metadata");
    set.extend(c.owner.iter().map(|owner| ("owner".to_owned(), json!(owner))));
    for (name, value) in c.metadata.iter().flat_map(|m| &m.0) {
        set.insert(format!("metadata.{name}"), value.clone());
    }
    if !c.add_labels.is_empty() || !c.remove_labels.is_empty() {
        let mut labels = c.labels.as_deref().map_or_else(|| task.fields.labels.clone(), all_composed);
        let (add, remove) = (all_composed(&c.add_labels), all_composed(&c.remove_labels));
        labels.retain(|label| !remove.iter().any(|removed| *removed == composed(label)));
        labels
            .extend(add.into_iter().filter(|label| !task.fields.labels.iter().any(|known| composed(known) == *label)));
        set.insert("labels".into(), json!(labels));
    }
    if !c.add_acceptance.is_empty() {
        let mut criteria = c.acceptance.as_ref().map_or_else(|| task.fields.acceptance.clone(), |list| texts(list));
        criteria.extend(texts(&c.add_acceptance));
        set.insert("acceptance".into(), json!(criteria));
    }
    let mut parent = c.parent.clone().map_or(Change::Keep, Change::To);
    for name in &c.clear {
        let name = name.replace('-', "_");
        match name.as_str() {
            "parent" => parent = Change::Clear,
            "title" | "metadata" => {
                return Err(Error::validation(format!("{name} cannot be emptied"))
                    .hint("remove entries of the metadata with --metadata '{\"name\": null}'"));
            }
            known if known == "owner" || fields::NAMES.contains(&known) => {
                set.insert(name, Value::Null);
            }
            other => {
                let all = ["parent", "owner"].into_iter().chain(fields::NAMES.iter().copied());
                let all = all.filter(|name| !matches!(*name, "title" | "metadata"));
                return Err(Error::validation(format!("there is no field {}", quoted(other)))
                    .hint(format!("the fields are {}", all.collect::<Vec<_>>().join(", "))));
            }
        }
    }
    Ok((set, parent))
}

/// Words for no owner, which an update would take for the name of an agent.
const NOT_AN_OWNER: [&str; 4] = ["none", "null", "nil", "unassigned"];

/// Checks a new owner against the task's requirements, if the task is handed over in progress.
pub fn check_owner(stage: &mut dyn Stage, task: &Task, owner: Option<&Value>) -> Result<()> {
    match owner {
        Some(Value::String(name)) => {
            check_agent_name(name)?;
            if NOT_AN_OWNER.contains(&name.as_str()) {
                return Err(Error::validation(format!("{} is not an agent", quoted(name))).hint_command(format!(
                    "agentpm task update {} --clear owner leaves it without an owner",
                    task.id
                )));
            }
            // Queries mean the caller by it.
            if name == "me" && stage.me().agent != *name {
                return Err(Error::validation("\"me\" is not an agent").hint_command(format!(
                    "agentpm task update {} --owner {}",
                    task.id,
                    stage.me().agent
                )));
            }
            let is_new = task.status == Status::InProgress && task.owner.as_ref() != Some(name);
            if is_new { refuse_unfit(stage, task, name) } else { Ok(()) }
        }
        Some(_) if task.status == Status::InProgress => {
            Err(Error::state(format!("task {} is in progress and needs an owner", task.id))
                .hint_command(format!("release it with agentpm release {}", task.id)))
        }
        _ => Ok(()),
    }
}

/// Whether a register already has the value, so that no event is needed.
pub fn is_already(task: &Task, name: &str, value: &Value) -> bool {
    if name == "owner" {
        return task.owner.as_deref() == value.as_str();
    }
    fields::holds(&task.fields, name, value)
}

/// Refuses to add an unfinished part to a finished planning unit.
fn check_unfinished(stage: &mut dyn Stage, parent: Id) -> Result<()> {
    let status = stage.task(parent)?.status;
    if status.is_finished() {
        return Err(Error::state(format!("task {parent} is {status} and accepts no new part"))
            .with(json!({ "task": parent, "status": status }))
            .hint_command(format!("reopen it first: agentpm task reopen {parent} --reason TEXT")));
    }
    Ok(())
}

/// Moves a task to another parent, or to none.
pub fn move_parent(stage: &mut dyn Stage, permit: &Permit, parent: Option<Id>, metadata: Value) -> Result<()> {
    let task = stage.task(permit.id)?;
    let of_parents = task.relationships.values().filter(|e| e.kind == RelationType::ParentOf).map(|e| e.id);
    if task.parent() == parent {
        // Two branches may have set one parent each; setting the one that counts removes the others.
        let counts = task.parent_edge().map(|e| e.id);
        let others: Vec<Id> = of_parents.filter(|id| Some(*id) != counts).collect();
        for relationship in others {
            permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship }))?;
        }
        return Ok(());
    }
    let old: Vec<Id> = of_parents.collect();
    if let Some(parent) = parent {
        check_no_cycle(stage, RelationType::ParentOf, parent, permit.id)?;
        if !task.status.is_finished() {
            check_unfinished(stage, parent)?;
        }
    }
    for relationship in old {
        permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship }))?;
    }
    if let Some(parent) = parent {
        permit.emit(stage, edge(RelationType::ParentOf, parent, permit.id, metadata))?;
    }
    Ok(())
}

/// The most tasks of a cycle that a refusal names.
const MAX_CHAIN: usize = 6;

/// Refuses an edge that would make a task wait for itself, through blockers and children alike.
///
/// A blocked task waits for its blocker, a parent for its children. So `blocks` must not lead from the blocker back to the
/// blocked task, nor `parent_of` from the child back to the parent.
pub fn check_no_cycle(stage: &mut dyn Stage, kind: RelationType, from: Id, to: Id) -> Result<()> {
    let (waiter, awaited) = match kind {
        RelationType::ParentOf => (from, to),
        RelationType::Blocks => (to, from),
        RelationType::RelatesTo | RelationType::Duplicates => return Ok(()),
    };
    // Most edges go to a task that no task waits for: no cycle leads through it, and no chain must be walked.
    if stage.dependents(waiter)?.is_empty() && (!stage.exists(waiter)? || stage.task(waiter)?.parent().is_none()) {
        return Ok(());
    }
    let found = graph::path(awaited, waiter, |task| {
        let mut next = if stage.exists(task)? { stage.task(task)?.blockers() } else { Vec::new() };
        next.extend(stage.children(task)?);
        Ok(next)
    })?;
    match found {
        None => Ok(()),
        Some(chain) => {
            let names: Vec<String> = chain.iter().map(Id::to_string).collect();
            let few = names.len().min(MAX_CHAIN);
            let more =
                if names.len() > few { format!(", and so on over {} tasks", names.len()) } else { String::new() };
            Err(Error::state(format!(
                "this would close a cycle: {} waits for {}{more}",
                chain[0],
                names[1..few].join(", then ")
            ))
            .with(json!({ "cycle": names }))
            .hint_command("remove one of these edges first, with agentpm task unblock or agentpm task update --parent"))
        }
    }
}

/// `task block`
pub fn block(stage: &mut dyn Stage, c: &TaskBlock) -> Result<Subject> {
    let permit = permit_held(stage, &c.id, &c.guard, Verb::Relate)?;
    check_waits(&*stage.task(permit.id)?)?;
    for reference in &c.by {
        let blocker = stage.task_id(reference)?;
        add_edge(stage, &permit, RelationType::Blocks, blocker, permit.id, Value::Null)?;
    }
    block_if_bound(stage, &permit)?;
    Ok(Subject::Task(permit.id))
}

/// Refuses a finished task, which waits for nothing.
pub fn check_waits(task: &Task) -> Result<()> {
    if task.status.is_finished() {
        return Err(Error::state(format!("task {} is {} and cannot be blocked", task.id, task.status)));
    }
    Ok(())
}

/// Records that a task is blocked, if an unfinished task blocks it; releases the actor's lease on it.
pub fn block_if_bound(stage: &mut dyn Stage, permit: &Permit) -> Result<()> {
    let task = stage.task(permit.id)?;
    if matches!(task.status, Status::Open | Status::InProgress) && !open_blockers(stage, &task)?.is_empty() {
        permit.emit(stage, Payload::TaskStatusChanged(move_to(task.status, Status::Blocked)))?;
        // Another holder, whose lease an override passes over, keeps the task.
        if permit.lease.is_some() {
            permit.give_back(stage)?;
        }
    }
    Ok(())
}

/// Adds an edge unless it exists already.
pub fn add_edge(
    stage: &mut dyn Stage,
    permit: &Permit,
    kind: RelationType,
    from: Id,
    to: Id,
    metadata: Value,
) -> Result<Id> {
    if from == to {
        return Err(Error::state(format!("this would close a cycle: task {from} cannot be related to itself"))
            .with(json!({ "cycle": [from, to] })));
    }
    let task = stage.task(permit.id)?;
    let same = |e: &&Relationship| e.kind == kind && e.from == from && e.to == to;
    if let Some(existing) = task.relationships.values().find(same) {
        return Ok(existing.id);
    }
    check_no_cycle(stage, kind, from, to)?;
    permit.emit(stage, edge(kind, from, to, metadata))
}

/// `task unblock`
fn unblock(stage: &mut dyn Stage, c: &TaskUnblock) -> Result<Subject> {
    let permit = permit(stage, &Ref(c.id.0.clone()), &c.guard, Verb::Relate)?;
    let task = stage.task(permit.id)?;
    let mut wanted = Vec::new();
    for reference in &c.by {
        wanted.push(stage.task_id(reference)?);
    }
    let edges: Vec<&Relationship> = task
        .relationships
        .values()
        .filter(|e| e.kind == RelationType::Blocks && (wanted.is_empty() || wanted.contains(&e.from)))
        .collect();
    if let Some(missing) = wanted.iter().find(|id| !edges.iter().any(|e| e.from == **id)) {
        return Err(Error::not_found(format!("task {missing} does not block task {}", permit.id)));
    }
    for edge in edges {
        permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship: edge.id }))?;
    }
    unblock_if_free(stage, permit.id)?;
    Ok(Subject::Task(permit.id))
}

/// `task relate`
pub fn relate(stage: &mut dyn Stage, c: &TaskRelate) -> Result<Subject> {
    let from = stage.task_id(&Ref(c.id.0.clone()))?;
    let to = stage.task_id(&c.to)?;
    let permit = permit_id(stage, c.kind.home(from, to), &c.guard, Verb::Relate)?;
    let metadata = c.metadata.as_ref().map_or(Value::Null, |m| Value::Object(m.0.clone()));
    if c.kind == RelationType::ParentOf {
        move_parent(stage, &permit, Some(from), metadata)?;
        let edge = stage.task(to)?.parent_edge().map(|e| e.id);
        return Ok(Subject::Relationship(to, edge));
    }
    if c.kind == RelationType::Blocks {
        check_waits(&*stage.task(to)?)?;
    }
    let edge = add_edge(stage, &permit, c.kind, from, to, metadata)?;
    if c.kind == RelationType::Blocks {
        block_if_bound(stage, &permit)?;
    }
    Ok(Subject::Relationship(permit.id, Some(edge)))
}

/// `task unrelate`
fn unrelate(stage: &mut dyn Stage, c: &TaskUnrelate) -> Result<Subject> {
    let (home, named) = match &c.id.0 {
        Some(reference) => (stage.task_id(&Ref(reference.clone()))?, None),
        None => stage.part(&c.relationship, Part::Relationship).map(|(home, edge)| (home, Some(edge)))?,
    };
    let permit = permit_id(stage, home, &c.guard, Verb::Relate)?;
    let task = stage.task(permit.id)?;
    let named = named.or_else(|| task.relationships.keys().find(|id| id.to_string() == c.relationship.0).copied());
    // An edge, by the name that a step of a batch gave it too, or the task at its other end.
    let meant = named.map_or_else(|| stage.task_id(&c.relationship), Ok)?;
    let touches = |e: &&Relationship| [e.id, e.from, e.to].contains(&meant);
    let edges: Vec<Id> = task.relationships.values().filter(touches).map(|e| e.id).collect();
    if edges.is_empty() {
        return Err(Error::not_found(format!("task {} holds no relationship {}", permit.id, c.relationship)).hint(
            "agentpm task get shows its relationships; parent_of and blocks are in the logs of the child and of the blocked task",
        ));
    }
    for relationship in edges {
        permit.emit(stage, Payload::RelationshipRemoved(RelationshipRemoved { relationship }))?;
    }
    unblock_if_free(stage, permit.id)?;
    Ok(Subject::Relationship(permit.id, None))
}
