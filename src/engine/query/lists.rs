//! `task list`, and what lists need to know around each task.
//!
//! Leaves to others: which tasks match (`find`, `store::filter`), how long an answer may be (`page`).

use std::collections::{BTreeMap, BTreeSet};

use super::find::{Finder, Spot};
use super::page::{Room, START};
use crate::engine::commit::hand_edits::record::UnrecordedEdits;
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read::{self, handles};
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::query::TaskList;
use crate::model::search::{self, Search};
use crate::reports::list::Rest;
use crate::reports::ready::Plan;
use crate::reports::summary::Summary;
use crate::reports::view::Around;
use crate::rules::readiness::Viewer;
use crate::store::database;
use crate::store::index::Index;

/// How many tasks are read at once on their way into a list: the first few, for most lists end there, then many.
const FIRST: usize = 64;
const MORE: usize = 2_000;

/// `task list`: gives `take` each item with its JSON text, and answers with the rest of the list.
pub fn list(ws: &Workspace, q: &TaskList, take: &mut dyn FnMut(Summary, String)) -> Result<Rest> {
    let mut has_given = false;
    let first = list_once(ws, q, &mut |task, text| {
        has_given = true;
        take(task, text);
    });
    match first {
        // Damage may show only where the index is read. What was given already cannot be taken back.
        Err(e) if !has_given && database::is_damaged(&e) => {
            read::discard_index(ws, &e);
            list_once(ws, q, take)
        }
        other => other,
    }
}

fn list_once(ws: &Workspace, q: &TaskList, take: &mut dyn FnMut(Summary, String)) -> Result<Rest> {
    let search = search::read(q.query.as_deref().unwrap_or_default(), &ws.settings.query, ws.env.now())?;
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let mut room = Room::new(ws, q.limit, q.all);
    let finder = Finder { ws, index: &index, plan: &plan, viewer: &viewer };
    let found = found(&finder, q, &search)?;
    let mut arounds = Neighbours::new(ws, &index, &plan, &viewer)?;
    let mut elsewhere = OtherBranches::new(ws);
    let (edits, mut edited) = (UnrecordedEdits::new(ws, &index), 0);
    // Of the ids, those before this one are dealt with.
    let mut next = 0;
    let mut last = None;
    let mut at_once = FIRST;
    while next < found.ids.len() {
        let some = &found.ids[next..found.ids.len().min(next + at_once)];
        arounds.look_elsewhere(some, &mut elsewhere)?;
        let lines = index.lines(some.iter().copied())?;
        let with_edits = edits.among(some)?;
        let items = parallel::map(&lines, |line| {
            let mut item = Summary::new(line, arounds.of(line.id));
            item.unrecorded_edit = with_edits.contains(&line.id);
            // A struct of plain values has nothing that JSON cannot say.
            let text = serde_json::to_string(&item).expect("plain data");
            Ok((item, text))
        })?;
        let mut at = next;
        for (item, text) in items {
            let id = item.id;
            if !room.has(text.len()) {
                let before = q.cursor.clone().unwrap_or_else(|| START.into());
                let rest = Rest::new(found.total, Some(last.map_or(before, |last| (found.cursor)(last))));
                return Ok(rest.with_unrecorded_edits(edited));
            }
            edited += u64::from(item.unrecorded_edit);
            take(item, text);
            while found.ids.get(at).is_some_and(|one| *one != id) {
                at += 1;
            }
            last = Some(at);
        }
        (next, at_once) = (next + some.len(), MORE);
    }
    Ok(Rest::new(found.total, None).with_unrecorded_edits(edited))
}

/// What a list is about, from a cursor on.
struct Found {
    ids: Vec<Id>,
    total: u64,
    /// The cursor behind one of the ids.
    cursor: Box<dyn Fn(usize) -> String>,
}

fn found(finder: &Finder, q: &TaskList, search: &Search) -> Result<Found> {
    let filter = finder.filter(q, search)?;
    let after = q.cursor.as_deref().filter(|cursor| *cursor != START);
    let Some(sort) = search.sort else {
        let (found, total) = finder.index.found(&filter, after.map(read_cursor).transpose()?)?;
        let ids = found.iter().map(|(_, id)| *id).collect();
        // Begins with a letter, so that the command line does not take a negative priority for a flag.
        let cursor = move |n: usize| format!("p{}:{}", found[n].0, found[n].1);
        return Ok(Found { ids, total, cursor: Box::new(cursor) });
    };
    let after = after.map(|cursor| Spot::read(cursor, sort)).transpose()?;
    let at = after.as_ref().map_or_else(|| finder.ws.env.now(), |spot| spot.at);
    let mut spots = finder.in_order(&filter, sort, at)?;
    let total = spots.len() as u64;
    if let Some(after) = after {
        spots = spots.split_off(spots.partition_point(|spot| !spot.is_behind(&after, sort)));
    }
    let ids = spots.iter().map(|spot| spot.id).collect();
    Ok(Found { ids, total, cursor: Box::new(move |n| spots[n].cursor(sort)) })
}

fn read_cursor(text: &str) -> Result<(i64, Id)> {
    let refused =
        || Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer");
    let (priority, id) = text.strip_prefix('p').and_then(|text| text.split_once(':')).ok_or_else(refused)?;
    Ok((priority.parse().map_err(|_| refused())?, id.parse().map_err(|_| refused())?))
}

/// What lists need to know around each task, worked out once for all.
pub(super) struct Neighbours<'a> {
    ws: &'a Workspace,
    plan: &'a Plan,
    viewer: &'a Viewer,
    children: BTreeMap<Id, (u64, u64)>,
    handles: BTreeMap<Id, String>,
    /// Completed tasks that await a review.
    unreviewed: BTreeSet<Id>,
    /// Tasks that the plan alone has ready and another worktree or branch has taken or finished.
    taken: BTreeSet<Id>,
}

impl<'a> Neighbours<'a> {
    pub fn new(ws: &'a Workspace, index: &Index, plan: &'a Plan, viewer: &'a Viewer) -> Result<Self> {
        let handles = handles(&index.all_ids()?);
        let children = index.child_progress(ws.settings.review.required)?;
        let unreviewed = if ws.settings.review.required { index.unreviewed()? } else { Vec::new() };
        let unreviewed = unreviewed.into_iter().map(|task| task.id).collect();
        Ok(Neighbours { ws, plan, viewer, children, handles, unreviewed, taken: BTreeSet::new() })
    }

    fn is_ready(&self, id: Id) -> bool {
        let brief = self.plan.tasks.get(&id);
        brief.is_some_and(|b| self.plan.reasons(b, self.viewer, self.ws.env.now()).is_empty())
            && !self.taken.contains(&id)
    }

    /// Asks other worktrees and branches about those of these tasks that the plan alone has ready.
    pub fn look_elsewhere(&mut self, ids: &[Id], elsewhere: &mut OtherBranches) -> Result<()> {
        for id in ids {
            if self.is_ready(*id) && elsewhere.taken(*id)?.is_some() {
                self.taken.insert(*id);
            }
        }
        Ok(())
    }

    pub fn handle(&self, id: Id) -> String {
        self.handles.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    pub fn of(&self, id: Id) -> Around {
        let (done, total) = self.children.get(&id).copied().unwrap_or_default();
        let now = self.ws.env.now();
        let brief = self.plan.tasks.get(&id);
        Around {
            handle: self.handle(id),
            blocked_by: self.plan.waits(id),
            blocking: self.plan.waiting(id).len(),
            children_done: done,
            children: total,
            lease: self.plan.lease(id, self.ws.env.now()).cloned(),
            score: brief.map(|b| self.plan.score(b, &self.ws.settings.score, now).score),
            ready: self.is_ready(id),
            awaits_review: self.unreviewed.contains(&id),
            overlaps: Vec::new(),
        }
    }
}
