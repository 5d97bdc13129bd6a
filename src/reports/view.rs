//! Entities as JSON: all fields, the computed ones, and the parts.
//!
//! Guarantees one shape for one entity, whichever command shows it.
//! Leaves to others: how the computed values are found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::model::agent::Lease;
use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::event::Entry;
use crate::model::id::Id;
use crate::model::overlap::FileClaim;
use crate::model::plain::shell_word;
use crate::model::relationship::{RelationType, Relationship};
use crate::model::task::{Status, Task, Verified};
use crate::model::time::Time;
use crate::reports::event_words::describe_lost;
use crate::reports::extent::{self, Bounds, Cuts, Extent, LeftOut, Shown};
use crate::reports::schema;
use crate::rules::fields;
use crate::rules::held::NamedTask;
use crate::rules::lost::{AuthoredValue, Lost, Reason};
use crate::rules::readiness::{Blocker, Missing, counting_status};

/// What a task's view needs to know from outside its own log.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The shortest unique handle.
    pub handle: String,
    /// The tasks it waits for.
    pub blocked_by: Vec<Blocker>,
    /// Unfinished tasks that wait for it.
    pub blocking: usize,
    /// Children that are done.
    pub children_done: u64,
    /// All children.
    pub children: u64,
    /// Its live lease.
    pub lease: Option<Lease>,
    /// Its score, while it is unfinished.
    pub score: Option<f64>,
    /// Whether the caller could take it now.
    pub ready: bool,
    /// Whether it is completed and awaits the review of another agent.
    pub awaits_review: bool,
    /// The work in progress of others that its files overlap with, where that withholds it.
    pub overlaps: Vec<FileClaim>,
}

/// A task: every field (`null` or empty where there is nothing), the computed ones, progress, context, relationships.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct TaskView {
    /// Its id.
    pub id: Id,
    /// The shortest unique handle.
    pub handle: String,
    /// The plain fields, such as the title, and those of a newer version.
    #[serde(flatten)]
    #[schemars(schema_with = "plain_fields")]
    pub fields: Map<String, Value>,
    /// The status as it counts: a blocked task that waits for nothing is open.
    pub status: Status,
    /// The agent that works on it.
    pub owner: Option<String>,
    /// Its parent.
    pub parent: Option<Id>,
    /// What must hold before it is completed.
    pub acceptance: Vec<Shown<Criterion>>,
    /// When it was created.
    pub created_at: Time,
    /// The agent that created it.
    pub created_by: String,
    /// When it was completed.
    pub completed_at: Option<Time>,
    /// When it was cancelled.
    pub cancelled_at: Option<Time>,
    /// When it was archived.
    pub archived_at: Option<Time>,
    /// The last review of its result.
    pub verified: Option<Verified>,
    /// It is completed and awaits the review of another agent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub awaits_review: bool,
    /// The number of its events.
    pub version: u64,
    /// When it last changed.
    pub updated_at: Time,
    /// The number of unfinished tasks it waits for; `null` in the past.
    pub blocked_by_count: Option<usize>,
    /// The number of unfinished tasks that wait for it; `null` in the past.
    pub blocking_count: Option<usize>,
    /// Its children; `null` in the past.
    pub child_progress: Option<Done>,
    /// Its steps.
    pub progress: Steps,
    /// Its score, while it is unfinished.
    pub score: Option<f64>,
    /// The claims that ended without completion since what it asks for last changed.
    pub attempts: u64,
    /// The agent that holds a live lease on it.
    pub lease_holder: Option<String>,
    /// Whether the caller could take it now; `null` in the past.
    pub ready: Option<bool>,
    /// Whether its completion is on the default branch of the remote, as last fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landed: Option<bool>,
    /// The number of open threads.
    pub open_threads: usize,
    /// Notes, decisions and other context.
    pub context: Vec<Shown<ContextEntry>>,
    /// Its edges to other tasks.
    pub relationships: Vec<Shown<Edge>>,
    /// The tasks that its parent and its relationships name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamedTask>,
    /// What a bounded view does not show: entries of each list, and bytes of each text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub left_out: LeftOut,
    /// The task as other branches and worktrees have it, by events that are not here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub branches: Vec<ElsewhereState>,
    /// The point in the past that it is shown as of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<AsOf>,
}

/// A point in the past, and the newest event of the task by then.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AsOf {
    /// The point.
    #[serde(flatten)]
    pub point: PointView,
    /// The Lamport time of the event.
    pub lamport: u64,
    /// Its time.
    pub time: Time,
}

/// A point of history as it was asked for, and what it stands for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PointView {
    /// The point as it was asked for.
    pub point: String,
    /// The commit that a revision names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// A task as another branch or worktree has it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ElsewhereState {
    /// The worktree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worktree: Option<String>,
    /// The branch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Its status there.
    pub status: Status,
    /// Its owner there.
    pub owner: Option<String>,
    /// The greatest Lamport time of its events there.
    pub lamport: u64,
    /// When it last changed there.
    pub updated_at: Time,
}

impl ElsewhereState {
    /// The kind of the place, and its name.
    pub fn place(&self) -> (&'static str, &str) {
        match &self.worktree {
            Some(name) => ("worktree", name),
            None => ("branch", self.branch.as_deref().unwrap_or_default()),
        }
    }
}

/// An acceptance criterion.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Criterion {
    /// What must hold.
    pub criterion: String,
    /// Whether it holds.
    pub met: bool,
    /// When that was recorded.
    pub met_at: Option<Time>,
    /// The agent that recorded it.
    pub met_by: Option<String>,
}

/// The steps of a task, counted and listed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Steps {
    /// Those that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
    /// The steps.
    pub items: Vec<Shown<ProgressItem>>,
}

/// How many of some are done.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Done {
    /// Those that are done.
    pub done: u64,
    /// All of them.
    pub total: u64,
}

/// An edge between two tasks.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Edge {
    /// Its id.
    pub id: Id,
    /// The kind of edge.
    #[serde(rename = "type")]
    pub kind: RelationType,
    /// The parent, the blocker, or the source.
    pub from: Id,
    /// The child, the blocked task, or the target.
    pub to: Id,
    /// Data that the agent keeps with it.
    pub metadata: Value,
    /// When it was added.
    pub created_at: Time,
}

impl extent::Entry for Criterion {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.text("criterion", &mut self.criterion);
    }
}

impl extent::Entry for ProgressItem {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.text("content", &mut self.content);
    }
}

impl extent::Entry for ContextEntry {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.text("content", &mut self.content);
        cuts.value("metadata", &mut self.metadata);
    }
}

impl extent::Entry for Edge {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.value("metadata", &mut self.metadata);
    }
}

impl extent::Entry for Lost {
    fn cut(&mut self, cuts: &mut Cuts) {
        cuts.value("lost", &mut self.lost.value);
        cuts.value("won", &mut Arc::make_mut(&mut self.won).value);
    }
}

fn plain_fields(_: &mut SchemaGenerator) -> Schema {
    let file = schema::task_file();
    let shape = |name: &&&str| (name.to_string(), file["properties"][**name].clone());
    let properties: Map<String, Value> = fields::NAMES.iter().filter(is_shown_as_it_is).map(|n| shape(&n)).collect();
    schemars::json_schema!({ "type": "object", "properties": properties })
}

/// Criteria are shown with their state.
fn is_shown_as_it_is(name: &&&str) -> bool {
    **name != "acceptance"
}

impl TaskView {
    /// Shows a task.
    pub fn new(task: &Task, around: &Around, extent: Extent) -> Self {
        let mut bounds = Bounds::new(extent);
        let names = fields::NAMES.iter().filter(is_shown_as_it_is);
        let mut plain: Map<String, Value> =
            names.map(|name| ((*name).to_owned(), bounds.field(name, fields::value_of(&task.fields, name)))).collect();
        plain.extend(bounds.map("unknown_fields", task.fields.extra.clone()));
        let is_done = |item: &ProgressItem| u8::from(item.completed);
        let is_past = |entry: &ContextEntry| u8::from(entry.superseded_by.is_some() || entry.redacted);
        let is_other = |edge: &Edge| u8::from(edge.kind != RelationType::ParentOf);
        let progress = Steps {
            done: task.progress.values().filter(|item| item.completed).count() as u64,
            total: task.progress.len() as u64,
            items: bounds.list("progress", task.progress.values().cloned(), is_done),
        };
        TaskView {
            id: task.id,
            handle: around.handle.clone(),
            fields: plain,
            status: effective(task.status, around),
            owner: task.owner.clone().map(|owner| bounds.text("owner", owner)),
            parent: task.parent(),
            acceptance: bounds.list("acceptance", criteria(task), |criterion| u8::from(criterion.met)),
            created_at: task.created_at,
            created_by: bounds.text("created_by", task.created_by.clone()),
            completed_at: task.completed_at,
            cancelled_at: task.cancelled_at,
            archived_at: task.archived_at,
            verified: task.verified.clone(),
            awaits_review: around.awaits_review,
            version: task.version,
            updated_at: task.updated_at,
            blocked_by_count: Some(around.blocked_by.len()),
            blocking_count: Some(around.blocking),
            child_progress: Some(Done { done: around.children_done, total: around.children }),
            progress,
            score: around.score,
            attempts: task.attempts,
            lease_holder: around.lease.as_ref().map(|lease| lease.agent.clone()),
            ready: Some(around.ready),
            landed: None,
            open_threads: task.open_threads(),
            context: bounds.list("context", task.context.values().cloned(), is_past),
            relationships: bounds.list("relationships", task.relationships.values().map(Edge::of), is_other),
            names: Vec::new(),
            left_out: bounds.finish(),
            branches: Vec::new(),
            at: None,
        }
    }

    /// The other tasks that it names: its parent, and the ends of the relationships that are shown.
    pub fn named(&self) -> BTreeSet<Id> {
        let ends = self.relationships.iter().flat_map(|edge| [edge.entry.from, edge.entry.to]);
        ends.chain(self.parent).filter(|id| *id != self.id).collect()
    }

    /// A task as it was at a point: what only the present or other tasks could say is `null`.
    pub fn past(past: &Task, handle: String, point: PointView, extent: Extent) -> Self {
        let unfinished = |id| Blocker { id, missing: Missing::End };
        let blocked_by = past.blockers().into_iter().map(unfinished).collect();
        let around = Around { handle, blocked_by, ..Around::default() };
        TaskView {
            blocked_by_count: None,
            blocking_count: None,
            child_progress: None,
            score: None,
            lease_holder: None,
            ready: None,
            // As it was recorded: whether its blockers were finished by that point is theirs to say.
            status: past.status,
            at: Some(AsOf { point, lamport: past.lamport, time: past.updated_at }),
            ..TaskView::new(past, &around, extent)
        }
    }

    /// The title.
    pub fn title(&self) -> &str {
        self.fields.get("title").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Edge {
    /// The edge of a relationship.
    pub fn of(edge: &Relationship) -> Self {
        let Relationship { id, kind, from, to, metadata, created_at, lamport: _ } = edge;
        Edge { id: *id, kind: *kind, from: *from, to: *to, metadata: metadata.clone(), created_at: *created_at }
    }
}

impl Done {
    pub(super) fn of(done: u64, total: u64) -> Option<Done> {
        (total > 0).then_some(Done { done, total })
    }
}

/// The criteria of a task with their state.
pub(crate) fn criteria(task: &Task) -> impl Iterator<Item = Criterion> {
    task.fields.acceptance.iter().map(|criterion| {
        let met = task.met.get(criterion);
        Criterion {
            criterion: criterion.clone(),
            met: met.is_some(),
            met_at: met.map(|met| met.at),
            met_by: met.map(|met| met.by.clone()),
        }
    })
}

/// The status as it counts.
pub(super) fn effective(status: Status, around: &Around) -> Status {
    counting_status(status, around.blocked_by.len())
}

/// A part of a task, with the task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Part<T> {
    /// The part.
    #[serde(flatten)]
    pub part: T,
    /// The task.
    pub task: Id,
}

/// A value that lost, its task, and the command that restores it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LostView {
    /// The task.
    pub task: Id,
    /// The register, such as `title`, `status` or `progress.<item>`.
    pub field: String,
    /// Both values and their authors, in words.
    pub what: String,
    /// The value that lost.
    pub lost: AuthoredValue,
    /// The value that counts.
    pub won: AuthoredValue,
    /// Why the other one won.
    pub rule: Reason,
    /// The same in words.
    pub words: String,
    /// What ends the conflict.
    #[serde(flatten)]
    pub end: ConflictEnd,
    /// The handle of the task.
    pub handle: String,
    /// The title of the task.
    pub title: String,
}

impl LostView {
    /// Shows a lost value of a task, and what ends the conflict.
    pub fn new(task: &Task, handle: String, title: String, lost: &Lost, end: ConflictEnd) -> Self {
        LostView {
            task: task.id,
            field: lost.field.clone(),
            what: describe_lost(task, lost),
            lost: lost.lost.clone(),
            won: (*lost.won).clone(),
            rule: lost.rule,
            words: lost.rule.words().to_owned(),
            end,
            handle,
            title,
        }
    }
}

/// The command that ends a conflict, or the agent that has to.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct ConflictEnd {
    /// The command that restores the value that lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore: Option<String>,
    /// The command that confirms the value that counts, where the other one cannot be restored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<String>,
    /// The other agent that has the task, where neither command is the caller's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_by: Option<String>,
}

impl ConflictEnd {
    /// The command for a lost value of a task, which another agent may have. `alone` if its event lost nothing else.
    pub fn of(task: &Task, lost: &Lost, alone: bool, holder: Option<&str>) -> Self {
        if let Some(holder) = holder {
            return ConflictEnd { held_by: Some(holder.to_owned()), ..ConflictEnd::default() };
        }
        let command = |verb: &str| {
            let field = if alone { String::new() } else { format!(" --field {}", shell_word(&lost.field)) };
            Some(format!("agentpm conflicts {verb} {}{field}", lost.lost.event))
        };
        match lost.is_restorable(task) {
            true => ConflictEnd { restore: command("restore"), ..ConflictEnd::default() },
            false => ConflictEnd { keep: command("keep"), ..ConflictEnd::default() },
        }
    }

    /// The command with what it does, as text.
    pub fn words(&self) -> String {
        match (&self.held_by, &self.restore, &self.keep) {
            (Some(holder), ..) => format!("{holder} has the task, and restores it or confirms what counts"),
            (None, Some(restore), _) => format!("restore it: {restore}"),
            (None, None, keep) => format!("confirm what counts: {}", keep.as_deref().unwrap_or_default()),
        }
    }
}

/// An event as its log has it.
pub fn event(entry: &Entry) -> Value {
    serde_json::from_str(&entry.line).unwrap_or_else(|_| json!({ "id": entry.event.id, "line": entry.line }))
}
