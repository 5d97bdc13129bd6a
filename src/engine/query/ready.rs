//! `ready` and `next`: what can be done now, best first, and why other tasks cannot.
//!
//! Leaves to others: readiness and order (`rules::readiness`, `reports::ready`), and the claim (`commit`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::lists::Neighbours;
use super::liveness;
use super::page::{Page, START};
use crate::engine::commit::hand_edits::record::{UnrecordedEdits, unrecorded};
use crate::engine::context::Workspace;
use crate::engine::inbox::{self, PlanInView};
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::overlap::FileClaim;
use crate::model::query::{Next, Ready};
use crate::model::task::Brief;
use crate::model::time::Time;
use crate::reports::changed::TaskAnswer;
use crate::reports::list::List;
use crate::reports::next::{Explained, ExplainedTask, NextReasons, NextTask, NotReady, PassedOver};
use crate::reports::ready::{Place, Plan, RankedTask, Score, gave_back};
use crate::reports::summary::Summary;
use crate::rules::held::NamedTask;
use crate::rules::readiness::{Reason, Viewer, add_notes};
use crate::store::index::Index;

/// Most tasks that are named as taken elsewhere, and edges that do not count; the counts include all.
const NAMED: usize = 20;

/// The ready tasks, and why others are not.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReadyList {
    /// The ready tasks, best first.
    #[serde(flatten)]
    pub list: List<ReadyTask>,
    /// Why the others are not ready.
    pub not_ready: NotReady,
    /// Tasks that are taken or finished on another branch or in another worktree; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<PassedOver>,
    /// Warnings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Edges that do not count since they close a cycle; the first few of many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub void_edges: Vec<Id>,
    /// The number of all of them, where only the first few are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub void_edges_total: Option<usize>,
    /// Each task that is not ready, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explained: Option<Explained>,
}

/// A ready task.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ReadyTask {
    /// Its id.
    pub id: Id,
    /// Its handle.
    pub handle: String,
    /// Its title.
    pub title: String,
    /// −5 to +5; higher is sooner.
    pub priority: i64,
    /// Its parent.
    pub parent: Option<Id>,
    /// The number of unfinished tasks that wait for it.
    pub blocking_count: usize,
    /// Its score.
    pub score: f64,
    /// Whether the caller gave it back: it comes after the others.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub given_back: bool,
    /// The terms of the score, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terms: Option<Score>,
    /// Whether its task.yaml was edited by hand, and that is not recorded: the values are from before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unrecorded_edit: bool,
}

/// `ready`
pub fn ready(ws: &Workspace, q: &Ready) -> Result<ReadyList> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let arounds = Neighbours::new(ws, &index, &plan, &viewer)?;
    let after = q.cursor.as_deref().filter(|cursor| *cursor != START).map(|text| {
        Place::read(text).ok_or_else(|| {
            Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
        })
    });
    let after = after.transpose()?;
    let at = after.as_ref().map_or_else(|| ws.env.now(), Place::at);
    let ranked = plan.rank_as_of(&viewer, &ws.settings.score, ws.env.now(), at);
    let mut others = if q.here { OtherBranches::ignored(ws) } else { OtherBranches::new(ws) };
    let (ranked, elsewhere) = here_only(ranked, &mut others)?;
    let mut page = Page::new(ws, q.limit, false);
    let edits = UnrecordedEdits::new(ws, &index);
    let mut next = None;
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    for one in ranked.iter().filter(|one| after.as_ref().is_none_or(|place| one.is_behind(place))) {
        let Some(brief) = plan.tasks.get(&one.id) else { continue };
        let item = ReadyTask {
            id: one.id,
            handle: arounds.handle(one.id),
            title: brief.title.clone(),
            priority: brief.priority,
            parent: brief.parent,
            blocking_count: plan.waiting(one.id).len(),
            score: one.score.score,
            given_back: gave_back(brief, &viewer),
            terms: q.explain.then_some(one.score),
            unrecorded_edit: edits.has(one.id)?,
        };
        if !page.push(item) {
            next = Some(last);
            break;
        }
        last = one.place().to_string();
    }
    let not_ready = not_ready(&plan, &viewer, ws.env.now(), elsewhere.len());
    let explained = q.explain.then(|| explain(ws, &index, &plan, &viewer, &arounds)).transpose()?;
    let mut list = page.finish(ranked.len() as u64, next);
    let edited = list.items.iter().filter(|item| item.unrecorded_edit).count();
    list.rest = list.rest.with_unrecorded_edits(edited as u64);
    Ok(ReadyList {
        list,
        not_ready,
        elsewhere: elsewhere.into_iter().take(NAMED).collect(),
        warnings: others.warning().into_iter().collect(),
        void_edges: plan.void.iter().take(NAMED).map(|stamp| stamp.id).collect(),
        void_edges_total: (plan.void.len() > NAMED).then_some(plan.void.len()),
        explained,
    })
}

/// Splits off what is taken or finished in another worktree or on another branch.
pub(super) fn here_only(
    ranked: Vec<RankedTask>,
    elsewhere: &mut OtherBranches,
) -> Result<(Vec<RankedTask>, Vec<PassedOver>)> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for one in ranked {
        match elsewhere.taken(one.id)? {
            None => here.push(one),
            Some(reason) => there.push(PassedOver::new(one.id, reason)),
        }
    }
    Ok((here, there))
}

/// The tasks that `next` would offer the caller, best first, and those taken elsewhere.
///
/// Errors: `ERR_IO` if another branch cannot be read.
pub(super) fn offered(ws: &Workspace, plan: &Plan, viewer: &Viewer) -> Result<(Vec<RankedTask>, Vec<PassedOver>)> {
    let ranked = plan.rank(viewer, &ws.settings.score, ws.env.now());
    here_only(ranked, &mut OtherBranches::new(ws))
}

/// Why unfinished tasks are not offered to the caller; so many others are taken elsewhere.
pub(super) fn not_ready(plan: &Plan, viewer: &Viewer, now: Time, elsewhere: usize) -> NotReady {
    let mut not_ready = plan.why_nothing(viewer, now);
    if elsewhere > 0 {
        not_ready.counts.insert("taken_elsewhere".into(), elsewhere as u64);
    }
    not_ready
}

/// For what is not ready, each reason; at most a hundred tasks, with the number of the rest.
fn explain(ws: &Workspace, index: &Index, plan: &Plan, viewer: &Viewer, arounds: &Neighbours) -> Result<Explained> {
    let mut items = Vec::new();
    let mut more = 0;
    for task in plan.tasks.values() {
        let mut reasons = plan.reasons(task, viewer, ws.env.now());
        if reasons.is_empty() {
            continue;
        }
        if items.len() == 100 {
            more += 1;
            continue;
        }
        if reasons.iter().any(|reason| matches!(reason, Reason::Parked { .. }))
            && let Some(whole) = index.task(task.id)?
        {
            add_notes(&mut reasons, &whole);
        }
        for reason in &mut reasons {
            // The plan knows of live leases alone.
            if let Reason::Status { lease_expired_at, .. } = reason
                && plan.lease(task.id, ws.env.now()).is_none()
            {
                *lease_expired_at = read::lease_record(ws, task.id, index)?.lease.map(|lease| lease.expires_at);
            }
        }
        let words: Vec<String> = reasons.iter().map(|r| r.words()).collect();
        items.push(ExplainedTask {
            task: task.id,
            handle: arounds.handle(task.id),
            title: task.title.clone(),
            reasons,
            words,
        });
    }
    Ok(Explained { items, more })
}

/// A question about the plan as a whole, for one who asks.
struct Question<'a> {
    ws: &'a Workspace,
    index: &'a Index,
    plan: &'a Plan,
    viewer: &'a Viewer,
}

impl Question<'_> {
    /// Why nothing is handed out: how many tasks for which reason, and what was passed over though the plan alone has it ready.
    fn why_nothing(&self, passed: &BTreeMap<Id, Reason>, explained: bool) -> Result<NotReady> {
        let (ws, plan, viewer) = (self.ws, self.plan, self.viewer);
        let mut reasons = plan.why_nothing(viewer, ws.env.now());
        // What the plan itself holds against one of them counts there.
        let is_ready =
            |id: &Id| plan.tasks.get(id).is_some_and(|task| plan.reasons(task, viewer, ws.env.now()).is_empty());
        let passed: BTreeMap<&Id, &Reason> = passed.iter().filter(|(id, _)| is_ready(id)).collect();
        for reason in passed.values() {
            *reasons.counts.entry(reason.kind().to_owned()).or_default() += 1;
        }
        let elsewhere = passed.iter().take(NAMED).map(|(id, reason)| PassedOver::new(**id, (*reason).clone()));
        reasons.elsewhere = elsewhere.collect();
        if explained {
            let arounds = Neighbours::new(ws, self.index, plan, viewer)?;
            reasons.explained = Some(explain(ws, self.index, plan, viewer, &arounds)?);
        }
        if viewer.me.is_some() {
            reasons.held = self.held()?;
        }
        reasons.abandoned = liveness::abandoned(ws, self.index, plan, viewer)?;
        reasons.abandoned.truncate(NAMED);
        Ok(reasons)
    }

    /// The first of these ready tasks that the caller gave back.
    fn given_back(&self, ranked: &[RankedTask]) -> Result<Vec<NamedTask>> {
        let of = |one: &RankedTask| self.plan.tasks.get(&one.id).filter(|task| gave_back(task, self.viewer));
        let name = |task: &Brief| Ok(NamedTask::new(task.id, read::handle(self.ws, task.id)?, &task.title));
        ranked.iter().filter_map(of).take(NAMED).map(name).collect()
    }

    /// The first tasks that the caller holds.
    fn held(&self) -> Result<Vec<NamedTask>> {
        let title = |id| Ok(self.index.task(id)?.map(|task| task.fields.title).unwrap_or_default());
        let name = |id| Ok(NamedTask::new(id, read::handle(self.ws, id)?, &title(id)?));
        read::held(self.ws, self.index)?.into_iter().take(NAMED).map(name).collect()
    }
}

/// Why a claim of any task found none; `passed` are those that it passed over. Unless `another` is asked for, an agent that
/// holds a task gets no further one.
pub fn nothing_claimed(
    ws: &Workspace,
    passed: &BTreeMap<Id, Reason>,
    explained: bool,
    another: bool,
) -> Result<NotReady> {
    let index = read::index(ws)?;
    let (plan, viewer) = (read::plan(ws, &index)?, read::viewer_with_rights(ws)?);
    let mut reasons = Question { ws, index: &index, plan: &plan, viewer: &viewer }.why_nothing(passed, explained)?;
    if !another && let Some(held) = reasons.held.first() {
        reasons.hint = Some(format!(
            "go on with it: agentpm brief {}; agentpm next --claim --another claims a further task",
            held.handle
        ));
    }
    Ok(reasons)
}

/// The next task or why there is none, warnings, and the number of unread items.
pub type FoundNext = (std::result::Result<NextTask, NotReady>, Vec<String>, Option<u64>);

/// `next` without a claim: the best task, or why there is none; and warnings.
pub fn next(ws: &Workspace, q: &Next) -> Result<FoundNext> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let now = ws.env.now();
    let mut best = None;
    let mut others = if q.here { OtherBranches::ignored(ws) } else { OtherBranches::new(ws) };
    let mut elsewhere = BTreeMap::new();
    let order = plan.rank(&viewer, &ws.settings.score, now);
    for ranked in &order {
        match others.taken(ranked.id)? {
            None => {
                let Some(task) = index.task(ranked.id)? else { continue };
                best = Some((task, ranked.clone()));
                break;
            }
            Some(reason) => drop(elsewhere.insert(ranked.id, reason)),
        }
    }
    let mut warnings: Vec<String> =
        best.iter().flat_map(|(task, _)| plan.overlaps(task.id)).map(FileClaim::warning).collect();
    let edits = UnrecordedEdits::new(ws, &index);
    let edited = best.as_ref().map(|(task, _)| edits.has(task.id)).transpose()?.unwrap_or_default();
    warnings.extend(best.as_ref().filter(|_| edited).and_then(|(task, _)| unrecorded(ws, task.id)));
    let asking = Question { ws, index: &index, plan: &plan, viewer: &viewer };
    let held = if viewer.me.is_some() { asking.held()? } else { Vec::new() };
    let given_back = asking.given_back(&order)?;
    let mut answer = match best {
        None => Err(asking.why_nothing(&elsewhere, q.explain)?),
        Some((task, ranked)) => {
            let others_why = q.explain.then(|| asking.why_nothing(&elsewhere, true)).transpose()?;
            Ok(NextTask {
                lease: plan.lease(task.id, now).cloned(),
                task: if ws.request.full {
                    TaskAnswer::Whole(Box::new(read::show_task_elsewhere(ws, &task, &index, &mut others)?))
                } else {
                    let card = index.lines(std::iter::once(task.id))?.pop();
                    let card = card.ok_or_else(|| Error::not_found(format!("task {} is gone", task.id)))?;
                    let card = Summary::new(&card, read::around(ws, &task, &index, &mut others)?);
                    TaskAnswer::Card(Box::new(Summary { unrecorded_edit: edited, ..card }))
                },
                reasons: NextReasons { others: others_why, held, given_back, ..NextReasons::new(ranked.score) },
                taken_over: None,
                review: None,
            })
        }
    };
    warnings.extend(others.warning());
    if let Ok(next) = &mut answer {
        next.reasons.warnings.clone_from(&warnings);
    }
    let unread = inbox::count(ws, &PlanInView { index: &index, plan: &plan, viewer: &viewer })?;
    Ok((answer, warnings, unread))
}
