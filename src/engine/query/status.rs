//! `status`: the plan at a glance, for one agent.
//!
//! Leaves to others: the lists behind the numbers (`ready`, `reports::ready`).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use super::conflicts::count_conflicts;
use super::{liveness, ready, reviews};
use crate::engine::bus::lag::{BusLag, lag};
use crate::engine::commit::hand_edits::record::UnrecordedEdits;
use crate::engine::context::Workspace;
use crate::engine::inbox::{self, PlanInView};
use crate::engine::view::read::{self, handles};
use crate::error::Result;
use crate::model::id::Id;
use crate::model::query::Stale;
use crate::model::task::{Brief, Status};
use crate::model::time::Time;
use crate::reports::next::OtherSessionTask;

/// Most tasks that are named of each kind; the counts include all.
const NAMED: usize = 5;

/// The plan at a glance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// The caller, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The first few tasks that the caller holds.
    pub mine: Vec<OverviewTask>,
    /// The number of all tasks that the caller holds.
    #[serde(skip_serializing_if = "is_zero")]
    pub mine_total: usize,
    /// The first few tasks that the caller has in progress in other sessions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_sessions: Vec<OtherSessionTask>,
    /// The number of all tasks that the caller has in progress in other sessions.
    #[serde(skip_serializing_if = "is_zero")]
    pub other_sessions_total: usize,
    /// The best of the tasks that the caller could take.
    pub ready: Vec<OverviewTask>,
    /// The number of all tasks that the caller could take.
    pub ready_total: usize,
    /// The first of the completed tasks that the caller may review.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reviews: Vec<OverviewTask>,
    /// The number of all completed tasks that the caller may review.
    #[serde(skip_serializing_if = "is_zero")]
    pub reviews_total: usize,
    /// The number of all completed tasks that await review.
    #[serde(skip_serializing_if = "is_zero")]
    pub awaiting_review: usize,
    /// The first few tasks in progress of others, or held by them.
    pub others: Vec<OverviewTask>,
    /// The number of all tasks in progress of others, or held by them.
    pub others_total: usize,
    /// The number of tasks that wait for others.
    pub blocked: u64,
    /// The number of unfinished tasks that are not ready for the caller, by the first reason, as `ready` counts them.
    pub not_ready: BTreeMap<String, u64>,
    /// The number of unfinished tasks.
    pub unfinished: usize,
    /// The number of tasks without a sign of life, as `stale` lists them.
    pub stale: usize,
    /// The number of values that lost to a concurrent one, as `conflicts` lists them.
    pub conflicts: usize,
    /// The number of these tasks whose task.yaml was edited by hand, which is not recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unrecorded_edits: Option<u64>,
    /// The number of unread items in the caller's inbox, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread: Option<u64>,
    /// How far the bridge to the message bus is behind, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<BusLag>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// A task at a glance.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OverviewTask {
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// The agent that works on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When its lease expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// Whether its task.yaml was edited by hand, and that is not recorded: the values are from before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unrecorded_edit: bool,
}

/// `status`
pub fn status(ws: &Workspace) -> Result<Overview> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let now = ws.env.now();
    let (offered, elsewhere) = ready::offered(ws, &plan, &viewer)?;
    let not_ready = ready::not_ready(&plan, &viewer, now, elsewhere.len()).counts;
    let handles = handles(&index.all_ids()?);
    let edits = UnrecordedEdits::new(ws, &index);
    let view = |task: &Brief| OverviewTask {
        handle: handles.get(&task.id).cloned().unwrap_or_else(|| task.id.to_string()),
        title: task.title.clone(),
        owner: plan.lease(task.id, now).map(|lease| lease.agent.clone()).or_else(|| task.owner.clone()),
        expires_at: plan.lease(task.id, now).map(|lease| lease.expires_at),
        // A file that cannot be compared is reported by lint.
        unrecorded_edit: edits.has(task.id).unwrap_or_default(),
    };
    let me = viewer.name();
    let held = if me.is_some() { read::held(ws, &index)? } else { Vec::new() };
    let mine: Vec<&Brief> = held.iter().filter_map(|id| plan.tasks.get(id)).collect();
    let mine_total = mine.len();
    let mut other_sessions = liveness::other_sessions(ws, &index)?;
    let other_sessions_total = other_sessions.len();
    let own: BTreeSet<Id> = held.iter().copied().chain(other_sessions.iter().map(|other| other.task.id)).collect();
    other_sessions.truncate(NAMED);
    // What was claimed in another worktree is in progress there, by files that are not here.
    let is_taken = |task: &Brief| task.status == Status::InProgress || plan.lease(task.id, now).is_some();
    let is_others = |task: &&Brief| is_taken(task) && !own.contains(&task.id);
    let others: Vec<&Brief> = plan.tasks.values().filter(is_others).collect();
    let ready = offered.iter().take(NAMED).filter_map(|one| plan.tasks.get(&one.id));
    let reviews = reviews::open_reviews(ws, &index, &plan, &viewer)?;
    let awaiting_review = if ws.settings.review.required { index.unreviewed()?.len() } else { 0 };
    let to_review = index.lines(reviews.iter().take(NAMED).copied())?.into_iter().map(|line| OverviewTask {
        handle: handles.get(&line.id).cloned().unwrap_or_else(|| line.id.to_string()),
        title: line.title,
        owner: line.owner,
        expires_at: None,
        unrecorded_edit: edits.has(line.id).unwrap_or_default(),
    });
    let to_review: Vec<OverviewTask> = to_review.collect();
    let mine: Vec<OverviewTask> = mine.iter().take(NAMED).map(|task| view(task)).collect();
    let ready: Vec<OverviewTask> = ready.map(view).collect();
    let named_others: Vec<OverviewTask> = others.iter().take(NAMED).map(|task| view(task)).collect();
    let shown = [&to_review, &mine, &ready, &named_others].into_iter().flatten();
    let edited = shown.filter(|task| task.unrecorded_edit).count() as u64;
    Ok(Overview {
        reviews: to_review,
        reviews_total: reviews.len(),
        awaiting_review,
        agent: me.map(str::to_owned),
        mine,
        mine_total,
        other_sessions,
        other_sessions_total,
        ready,
        ready_total: offered.len(),
        others: named_others,
        others_total: others.len(),
        blocked: not_ready.get("blocked").copied().unwrap_or_default(),
        not_ready,
        unfinished: plan.tasks.len(),
        stale: liveness::stale(ws, &Stale::default())?.items.len(),
        conflicts: count_conflicts(ws, &index)?,
        unrecorded_edits: (edited > 0).then_some(edited),
        unread: inbox::count(ws, &PlanInView { index: &index, plan: &plan, viewer: &viewer })?,
        bus: lag(ws)?,
    })
}
