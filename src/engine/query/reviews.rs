//! Completed tasks that await review, for the agents that may review them.
//!
//! Guarantees that an agent is given no task that it completed itself. A review takes no lease: two agents may look at one task, and the
//! first to judge it decides. Agents of one clone that ask at once are handed different ones, as long as there are enough.
//! Leaves to others: who may judge (`rules::review`), and what a judgement does (`rules::decide`).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::reports::changed::TaskAnswer;
use crate::reports::next::{NextReasons, NextTask, NotReady, ReviewTask};
use crate::reports::ready::Plan;
use crate::reports::summary::Summary;
use crate::rules::readiness::Viewer;
use crate::rules::review::unfit;
use crate::runtime::lock::Lock;
use crate::runtime::reviews::{self as handed, HandedReview};
use crate::store::index::Index;

/// The tasks that await a review that the caller may give, first those that most tasks wait for one after another, then by
/// priority.
///
/// Errors: `ERR_IO` if the index cannot be read.
pub(crate) fn open_reviews(ws: &Workspace, index: &Index, plan: &Plan, viewer: &Viewer) -> Result<Vec<Id>> {
    if !ws.settings.review.required || viewer.me.is_none() {
        return Ok(Vec::new());
    }
    let mut open = index.unreviewed()?;
    open.retain(|one| unfit(one.completed_by.as_deref(), viewer, &ws.settings.review).is_none());
    open.sort_by_key(|one| (std::cmp::Reverse((plan.depth(one.id), one.priority)), one.id));
    Ok(open.into_iter().map(|one| one.id).collect())
}

/// The review that the caller is to give before it takes other work; `None` if there is none, or if it holds a task and does not ask
/// for reviews alone. `takes` notes that it was handed out, so that other agents get another one for the time of a lease.
///
/// Errors: as [`open_reviews`].
pub fn next_review(ws: &Workspace, takes: bool, alone: bool) -> Result<Option<NextTask>> {
    let viewer = read::viewer_with_rights(ws)?;
    if !ws.settings.review.required || viewer.me.is_none() {
        return Ok(None);
    }
    let index = read::index(ws)?;
    if !alone && !read::held(ws, &index)?.is_empty() {
        return Ok(None);
    }
    let plan = read::plan(ws, &index)?;
    let open = open_reviews(ws, &index, &plan, &viewer)?;
    let Some(id) = (if takes { take(ws, &open) } else { choose(ws, &open).0 }) else { return Ok(None) };
    let gone = || Error::not_found(format!("task {id} is gone"));
    let task = index.task(id)?.ok_or_else(gone)?;
    let mut elsewhere = OtherBranches::new(ws);
    let handle = read::handle(ws, id)?;
    let review = ReviewTask {
        completed_by: task.completed_by.clone(),
        completed_at: task.completed_at,
        accept: format!("agentpm task verify {handle} --accept"),
        reject: format!("agentpm task verify {handle} --reject --why TEXT"),
    };
    let answer = match ws.request.full {
        true => TaskAnswer::Whole(Box::new(read::show_task_elsewhere(ws, &task, &index, &mut elsewhere)?)),
        false => {
            let card = index.lines(std::iter::once(id))?.pop().ok_or_else(gone)?;
            TaskAnswer::Card(Box::new(Summary::new(&card, read::around(ws, &task, &index, &mut elsewhere)?)))
        }
    };
    let terms = read::score_terms(ws, &task, Some(&index))?;
    let reasons = NextReasons::new(terms);
    Ok(Some(NextTask { task: answer, lease: None, reasons, taken_over: None, review: Some(review) }))
}

/// Why there is no review for the caller.
///
/// Errors: as [`open_reviews`].
pub fn no_review(ws: &Workspace) -> Result<NotReady> {
    let index = read::index(ws)?;
    let reasons = read::plan(ws, &index)?.why_nothing(&read::viewer_with_rights(ws)?, ws.env.now());
    let why = match ws.settings.review.required {
        true => {
            "no completed task awaits a review that you may give; agentpm next --claim --reviews --wait 10m waits for one"
        }
        false => "completed tasks need no review here: [review] required is not set",
    };
    Ok(NotReady { hint: Some(why.to_owned()), ..reasons })
}

/// Of these reviews one that no other agent was handed lately, first the caller's own; else the first. Also all that were handed out.
fn choose(ws: &Workspace, open: &[Id]) -> (Option<Id>, BTreeMap<Id, HandedReview>) {
    let (me, now) = (ws.agent_name(), ws.env.now());
    let mut handed = ws.runtime().map(handed::read).unwrap_or_default();
    handed.retain(|_, one| one.until > now);
    let is_own = |id: &&Id| handed.get(id).is_some_and(|one| Some(&one.agent) == me.as_ref());
    let is_free = |id: &&Id| !handed.contains_key(id);
    let chosen = open.iter().find(is_own).or_else(|| open.iter().find(is_free)).or(open.first()).copied();
    (chosen, handed)
}

/// As [`choose`], and notes what was chosen. Where that cannot be written, another agent may be handed the same.
fn take(ws: &Workspace, open: &[Id]) -> Option<Id> {
    let wait = Duration::from_millis(ws.settings.lock.wait_ms.into());
    let lock = ws.runtime_to_write().and_then(|runtime| {
        let lock = Lock::take_named(&runtime, "reviews", wait, "agentpm next")?;
        Ok((runtime, lock))
    });
    let (chosen, mut handed) = choose(ws, open);
    if let (Some(id), Some(agent), Ok((runtime, _))) = (chosen, ws.agent_name(), &lock) {
        let until = ws.env.now().plus(i64::from(ws.settings.lease.ttl_seconds) * 1_000);
        // Where there are too few, the one that was handed it first stays noted.
        if handed.get(&id).is_none_or(|one| one.agent == agent) {
            handed.insert(id, HandedReview { agent, until });
        }
        if let Err(e) = handed::write(runtime, &handed) {
            tracing::debug!(error = %e, "that a review was handed out could not be noted");
        }
    }
    chosen
}
