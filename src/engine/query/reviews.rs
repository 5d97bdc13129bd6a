//! Completed tasks that await review, for the agents that may review them.
//!
//! Guarantees that an agent is given no task that it completed itself. A review takes no lease: two agents may look at one task, and the
//! first to judge it decides.
//! Leaves to others: who may judge (`rules::review`), and what a judgement does (`rules::decide`).

use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::{Error, Result};
use crate::model::id::Id;
use crate::reports::changed::TaskAnswer;
use crate::reports::next::{NextReasons, NextTask, ReviewTask};
use crate::reports::ready::Plan;
use crate::reports::view;
use crate::rules::readiness::Viewer;
use crate::rules::review::unfit;
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

/// The review that the caller is to give before it takes other work; `None` if there is none, or it holds a task.
///
/// Errors: as [`open_reviews`].
pub fn next_review(ws: &Workspace) -> Result<Option<NextTask>> {
    let viewer = read::viewer_with_rights(ws)?;
    if !ws.settings.review.required || viewer.me.is_none() {
        return Ok(None);
    }
    let index = read::index(ws)?;
    if !read::held(ws, &index)?.is_empty() {
        return Ok(None);
    }
    let plan = read::plan(ws, &index)?;
    let Some(id) = open_reviews(ws, &index, &plan, &viewer)?.first().copied() else { return Ok(None) };
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
            TaskAnswer::Card(Box::new(view::summary(&card, read::around(ws, &task, &index, &mut elsewhere)?)))
        }
    };
    let terms = read::score_terms(ws, &task, Some(&index))?;
    let reasons = NextReasons::new(terms);
    Ok(Some(NextTask { task: answer, lease: None, reasons, taken_over: None, review: Some(review) }))
}
