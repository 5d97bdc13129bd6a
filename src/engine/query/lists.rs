//! Lists: bounded, resumable, never cut without saying so.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::find::{Finder, Spot};
use crate::engine::context::Workspace;
use crate::engine::view::elsewhere::{self, Elsewhere};
use crate::engine::view::read::{self, handles};
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::query::{Next, Ready, TaskList};
use crate::model::search::{self, Search};
use crate::model::task::{Brief, Status};
use crate::reports::ready::{Place, Plan, RankedTask};
use crate::reports::view::{self, Around};
use crate::rules::readiness::{Reason, Viewer};
use crate::runtime::records;
use crate::store::index::Index;

/// How much a list may still hold.
struct Room {
    items: usize,
    bytes: usize,
    most_items: usize,
    most_bytes: usize,
}

impl Room {
    fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        // A caller that names a number of items gets them; otherwise bytes are what counts for the reader.
        let most_bytes = if all || limit.is_some() { usize::MAX } else { ws.settings.list.max_bytes as usize };
        let most_items = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        // The envelope around the items takes some bytes too.
        Room { items: 0, bytes: 300, most_items, most_bytes }
    }

    /// Takes the room for an item, if there is any; for the first there always is.
    fn has(&mut self, bytes: usize) -> bool {
        let full = self.items >= self.most_items || (self.items > 0 && self.bytes + bytes + 1 > self.most_bytes);
        if !full {
            self.bytes += bytes + 1;
            self.items += 1;
        }
        !full
    }
}

/// A page of items: as many as fit into the limits, and where to go on.
pub(crate) struct Page {
    items: Vec<Value>,
    room: Room,
}

impl Page {
    pub fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        Page { items: Vec::new(), room: Room::new(ws, limit, all) }
    }

    /// Adds an item if there is room; for the first there always is.
    pub fn push(&mut self, item: Value) -> bool {
        let fits = self.room.has(item.to_string().len());
        if fits {
            self.items.push(item);
        }
        fits
    }

    pub fn finish(self, total: u64, next_cursor: Option<String>) -> Value {
        whole(self.items, &list_fields(total, next_cursor))
    }
}

/// How many tasks are read at once on their way into a list: the first few, for most lists end there, then many.
const FIRST: usize = 64;
const MORE: usize = 2_000;

/// `task list`: gives `take` the text of each item, and answers with the fields besides the items.
pub fn list(ws: &Workspace, q: &TaskList, take: &mut dyn FnMut(String)) -> Result<Value> {
    let search = search::read(q.query.as_deref().unwrap_or_default(), &ws.settings.query)?;
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let mut room = Room::new(ws, q.limit, q.all);
    let finder = Finder { ws, index: &index, plan: &plan, viewer: &viewer };
    let found = found(&finder, q, &search)?;
    let mut arounds = Neighbours::new(ws, &index, &plan, &viewer)?;
    let mut elsewhere = elsewhere::elsewhere(ws);
    // Of the ids, those before this one are dealt with.
    let mut next = 0;
    let mut last = None;
    let mut at_once = FIRST;
    while next < found.ids.len() {
        let some = &found.ids[next..found.ids.len().min(next + at_once)];
        arounds.look_elsewhere(some, &mut elsewhere)?;
        let lines = index.lines(some.iter().copied())?;
        let items = parallel::map(&lines, |line| Ok((line.id, view::summary(line, &arounds.of(line.id)))))?;
        let mut at = next;
        for (id, item) in items {
            if !room.has(item.len()) {
                let before = q.cursor.clone().unwrap_or_else(|| START.into());
                return Ok(list_fields(found.total, Some(last.map_or(before, |last| (found.cursor)(last)))));
            }
            take(item);
            while found.ids.get(at).is_some_and(|one| *one != id) {
                at += 1;
            }
            last = Some(at);
        }
        (next, at_once) = (next + some.len(), MORE);
    }
    Ok(list_fields(found.total, None))
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
    let mut spots = finder.in_order(&filter, sort)?;
    let total = spots.len() as u64;
    if let Some(after) = after {
        spots = spots.split_off(spots.partition_point(|spot| !spot.is_behind(&after, sort)));
    }
    let ids = spots.iter().map(|spot| spot.id).collect();
    Ok(Found { ids, total, cursor: Box::new(move |n| spots[n].cursor(sort)) })
}

/// A list as one document.
pub(crate) fn whole(items: Vec<Value>, fields: &Value) -> Value {
    let mut answer = json!({ "items": items });
    for (name, value) in fields.as_object().into_iter().flatten() {
        answer[name] = value.clone();
    }
    answer
}

/// The fields of a list besides its items.
fn list_fields(total: u64, next_cursor: Option<String>) -> Value {
    json!({ "total": total, "truncated": next_cursor.is_some(), "next_cursor": next_cursor })
}

/// The cursor of a page that took nothing yet.
const START: &str = "start";

fn read_cursor(text: &str) -> Result<(i64, Id)> {
    let refused =
        || Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer");
    let (priority, id) = text.strip_prefix('p').and_then(|text| text.split_once(':')).ok_or_else(refused)?;
    Ok((priority.parse().map_err(|_| refused())?, id.parse().map_err(|_| refused())?))
}

/// What lists need to know around each task, worked out once for all.
struct Neighbours<'a> {
    ws: &'a Workspace,
    plan: &'a Plan,
    viewer: &'a Viewer,
    children: BTreeMap<Id, (u64, u64)>,
    handles: BTreeMap<Id, String>,
    /// Tasks that the plan alone has ready and another worktree or branch has taken or finished.
    taken: BTreeSet<Id>,
}

impl<'a> Neighbours<'a> {
    fn new(ws: &'a Workspace, index: &Index, plan: &'a Plan, viewer: &'a Viewer) -> Result<Self> {
        let handles = handles(&index.all_ids()?);
        Ok(Neighbours { ws, plan, viewer, children: index.child_progress()?, handles, taken: BTreeSet::new() })
    }

    fn is_ready(&self, id: Id) -> bool {
        let brief = self.plan.tasks.get(&id);
        brief.is_some_and(|b| self.plan.reasons(b, self.viewer, self.ws.env.now()).is_empty())
            && !self.taken.contains(&id)
    }

    /// Asks other worktrees and branches about those of these tasks that the plan alone has ready.
    fn look_elsewhere(&mut self, ids: &[Id], elsewhere: &mut Elsewhere) -> Result<()> {
        for id in ids {
            if self.is_ready(*id) && elsewhere.taken(*id)?.is_some() {
                self.taken.insert(*id);
            }
        }
        Ok(())
    }

    fn handle(&self, id: Id) -> String {
        self.handles.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn of(&self, id: Id) -> Around {
        let (done, total) = self.children.get(&id).copied().unwrap_or_default();
        let now = self.ws.env.now();
        let brief = self.plan.tasks.get(&id);
        Around {
            handle: self.handle(id),
            blocked_by: self.plan.blockers(id).to_vec(),
            blocking: self.plan.waiting(id).len(),
            children_done: done,
            children: total,
            lease: self.plan.lease(id, self.ws.env.now()).cloned(),
            score: brief.map(|b| self.plan.score(b, &self.ws.settings.score, now).score),
            ready: self.is_ready(id),
        }
    }
}

/// Most tasks that are named as taken elsewhere, and edges that do not count; the counts include all.
const NAMED: usize = 20;

/// `ready`
pub fn ready(ws: &Workspace, q: &Ready) -> Result<Value> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let arounds = Neighbours::new(ws, &index, &plan, &viewer)?;
    let ranked = plan.rank(&viewer, &ws.settings.score, ws.env.now());
    let mut others = if q.here { elsewhere::nowhere_else(ws) } else { elsewhere::elsewhere(ws) };
    let (ranked, elsewhere) = here_only(ranked, &mut others)?;
    let after = q.cursor.as_deref().filter(|cursor| *cursor != START).map(|text| {
        Place::read(text).ok_or_else(|| {
            Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
        })
    });
    let after = after.transpose()?;
    let mut page = Page::new(ws, q.limit, false);
    let mut next = None;
    let mut last = q.cursor.clone().unwrap_or_else(|| START.into());
    for one in ranked.iter().filter(|one| after.as_ref().is_none_or(|place| one.is_behind(place))) {
        let Some(brief) = plan.tasks.get(&one.id) else { continue };
        let mut item = json!({
            "id": one.id,
            "handle": arounds.handle(one.id),
            "title": brief.title,
            "priority": brief.priority,
            "parent": brief.parent,
            "blocking_count": plan.waiting(one.id).len(),
            "score": one.score.score,
        });
        if q.explain {
            item["terms"] = json!(one.score);
        }
        if !page.push(item) {
            next = Some(last);
            break;
        }
        last = one.place().to_string();
    }
    let mut answer = page.finish(ranked.len() as u64, next);
    answer["not_ready"] = plan.why_nothing(&viewer, ws.env.now());
    if !elsewhere.is_empty() {
        answer["not_ready"]["counts"]["taken_elsewhere"] = json!(elsewhere.len());
        answer["elsewhere"] = json!(elsewhere.iter().take(NAMED).collect::<Vec<_>>());
    }
    if let Some(warning) = others.warning() {
        answer["warnings"] = json!([warning]);
    }
    if !plan.void.is_empty() {
        answer["void_edges"] = json!(plan.void.iter().take(NAMED).map(|stamp| stamp.id).collect::<Vec<_>>());
        if plan.void.len() > NAMED {
            answer["void_edges_total"] = json!(plan.void.len());
        }
    }
    if q.explain {
        answer["explained"] = explain(ws, &index, &plan, &viewer, &arounds)?;
    }
    Ok(answer)
}

/// Splits off what is taken or finished in another worktree or on another branch.
pub(crate) fn here_only(ranked: Vec<RankedTask>, elsewhere: &mut Elsewhere) -> Result<(Vec<RankedTask>, Vec<Value>)> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for one in ranked {
        match elsewhere.taken(one.id)? {
            None => here.push(one),
            Some(reason) => there.push(passed_over(one.id, &reason)),
        }
    }
    Ok((here, there))
}

/// For what is not ready, each reason; at most a hundred tasks, with the number of the rest.
fn explain(ws: &Workspace, index: &Index, plan: &Plan, viewer: &Viewer, arounds: &Neighbours) -> Result<Value> {
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
        for reason in &mut reasons {
            // The plan knows of live leases alone.
            if let Reason::Status { lease_expired_at, .. } = reason
                && plan.lease(task.id, ws.env.now()).is_none()
            {
                *lease_expired_at = read::lease_record(ws, task.id, index)?.lease.map(|lease| lease.expires_at);
            }
        }
        let words: Vec<String> = reasons.iter().map(|r| r.words()).collect();
        items.push(json!({ "task": task.id, "handle": arounds.handle(task.id), "title": task.title, "reasons": reasons, "words": words }));
    }
    Ok(json!({ "items": items, "more": more }))
}

/// A question about the plan as a whole, for one who asks.
struct Asking<'a> {
    ws: &'a Workspace,
    index: &'a Index,
    plan: &'a Plan,
    viewer: &'a Viewer,
}

impl Asking<'_> {
    /// Why nothing is handed out: how many tasks for which reason, and what was passed over though the plan alone has it ready.
    fn why_nothing(&self, passed: &BTreeMap<Id, Reason>, explained: bool) -> Result<Value> {
        let (ws, plan, viewer) = (self.ws, self.plan, self.viewer);
        let mut reasons = plan.why_nothing(viewer, ws.env.now());
        // What the plan itself holds against one of them counts there.
        let is_ready =
            |id: &Id| plan.tasks.get(id).is_some_and(|task| plan.reasons(task, viewer, ws.env.now()).is_empty());
        let passed: BTreeMap<&Id, &Reason> = passed.iter().filter(|(id, _)| is_ready(id)).collect();
        for reason in passed.values() {
            let count = &mut reasons["counts"][reason.kind()];
            *count = json!(count.as_u64().unwrap_or(0) + 1);
        }
        let elsewhere = passed.iter().take(NAMED).map(|(id, reason)| passed_over(**id, reason));
        let elsewhere: Vec<Value> = elsewhere.collect();
        if !elsewhere.is_empty() {
            reasons["elsewhere"] = json!(elsewhere);
        }
        if explained {
            let arounds = Neighbours::new(ws, self.index, plan, viewer)?;
            reasons["explained"] = explain(ws, self.index, plan, viewer, &arounds)?;
        }
        let is_mine = |task: &&Brief| task.status == Status::InProgress && task.owner.as_deref() == viewer.name();
        let held: Vec<Id> = plan.tasks.values().filter(is_mine).map(|task| task.id).take(NAMED).collect();
        if !held.is_empty() && viewer.me.is_some() {
            reasons["held"] = json!(held);
        }
        let abandoned = crate::engine::query::liveness::abandoned(ws, self.index, plan, viewer)?;
        if !abandoned.is_empty() {
            reasons["abandoned"] = json!(abandoned.iter().take(NAMED).collect::<Vec<_>>());
        }
        Ok(reasons)
    }
}

fn passed_over(id: Id, reason: &Reason) -> Value {
    json!({ "task": id, "words": reason.words(), "why": reason })
}

/// Why a claim of any task found none; `passed` are those that it passed over.
pub fn nothing_claimed(ws: &Workspace, passed: &BTreeMap<Id, Reason>, explained: bool) -> Result<Value> {
    let index = read::index(ws)?;
    let (plan, viewer) = (read::plan(ws, &index)?, read::viewer_with_rights(ws)?);
    Asking { ws, index: &index, plan: &plan, viewer: &viewer }.why_nothing(passed, explained)
}

/// `next` without a claim
pub fn next(ws: &Workspace, q: &Next) -> Result<Value> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    let viewer = read::viewer_with_rights(ws)?;
    let now = ws.env.now();
    let mut best = None;
    let mut others = if q.here { elsewhere::nowhere_else(ws) } else { elsewhere::elsewhere(ws) };
    let mut elsewhere = BTreeMap::new();
    for ranked in plan.rank(&viewer, &ws.settings.score, now) {
        match others.taken(ranked.id)? {
            None => {
                let Some(task) = index.task(ranked.id)? else { continue };
                best = Some((task, ranked));
                break;
            }
            Some(reason) => drop(elsewhere.insert(ranked.id, reason)),
        }
    }
    let asking = Asking { ws, index: &index, plan: &plan, viewer: &viewer };
    let mut answer = match best {
        None => {
            json!({ "task": Value::Null, "lease": Value::Null, "reasons": asking.why_nothing(&elsewhere, q.explain)? })
        }
        Some((task, ranked)) => {
            let lease = plan.lease(task.id, ws.env.now()).map(view::lease);
            let why = if q.explain {
                json!({ "terms": ranked.score, "others": asking.why_nothing(&elsewhere, true)? })
            } else {
                json!({ "terms": ranked.score })
            };
            json!({ "task": read::show_task_elsewhere(ws, &task, &index, &mut others)?, "lease": lease, "reasons": why })
        }
    };
    if let Some(warning) = others.warning() {
        answer["reasons"]["warnings"] = json!([warning]);
    }
    Ok(answer)
}

/// `agent list`
pub fn agents(ws: &Workspace) -> Result<Value> {
    let mut last_seen = BTreeMap::new();
    if let Some(runtime) = ws.runtime() {
        for id in records::sessions(runtime)? {
            if let Some(session) = records::session(runtime, id)? {
                let seen = last_seen.entry(session.agent).or_insert(session.last_heartbeat_at);
                *seen = (*seen).max(session.last_heartbeat_at);
            }
        }
    }
    let mut items = Vec::new();
    for agent in read::agents(ws)? {
        let mut item = json!(agent);
        item["last_seen_at"] = json!(last_seen.get(&agent.name));
        items.push(item);
    }
    let total = items.len();
    Ok(json!({ "items": items, "total": total, "truncated": false, "next_cursor": Value::Null }))
}
