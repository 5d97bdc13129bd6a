//! Lists: bounded, resumable, never cut without saying so.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::read::shortest_handle;
use super::find::{Finder, Spot};
use crate::error::{Error, Result};
use crate::model::id::{Id, quoted};
use crate::model::query::{Next, Ready, TaskList};
use crate::model::search::{self, Sort};
use crate::model::task::Task;
use crate::reports::ready::{Asker, Place, Plan, Ranked, Reason};
use crate::reports::view::{self, Around};
use crate::runtime::records;
use crate::store::filter::Filter;
use crate::store::index::Index;
use crate::workspace::Workspace;
use crate::workspace::elsewhere::Elsewhere;

/// A page of items: as many as fit into the limits, and where to go on.
pub(super) struct Page {
    items: Vec<Value>,
    bytes: usize,
    most_items: usize,
    most_bytes: usize,
}

impl Page {
    pub fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        // Whoever names a number of items gets them; otherwise bytes are what counts for the reader.
        let most_bytes = if all || limit.is_some() { usize::MAX } else { ws.settings.list.max_bytes as usize };
        let most_items = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        // The envelope around the items takes some bytes too.
        Page { items: Vec::new(), bytes: 300, most_items, most_bytes }
    }

    /// Takes an item in if there is room; the first always has.
    pub fn push(&mut self, item: Value) -> bool {
        let bytes = item.to_string().len() + 1;
        let full =
            self.items.len() >= self.most_items || (!self.items.is_empty() && self.bytes + bytes > self.most_bytes);
        if !full {
            self.bytes += bytes;
            self.items.push(item);
        }
        !full
    }

    pub fn finish(self, total: u64, next_cursor: Option<String>) -> Value {
        json!({ "items": self.items, "total": total, "truncated": next_cursor.is_some(), "next_cursor": next_cursor })
    }
}

/// `task list`
pub fn list(ws: &Workspace, q: &TaskList) -> Result<Value> {
    let search = search::read(q.query.as_deref().unwrap_or_default(), &ws.settings.query)?;
    let index = ws.index()?;
    let plan = ws.plan(&index)?;
    let asker = ws.asker_with_rights()?;
    let finder = Finder { ws, index: &index, plan: &plan, asker: &asker };
    let filter = finder.filter(q, &search)?;
    let after = q.cursor.as_deref().filter(|cursor| *cursor != START);
    let arounds = Arounds::new(ws, &index, &plan, &asker)?;
    let page = Page::new(ws, q.limit, q.all);
    match search.sort {
        None => most_urgent_first(&index, &filter, after, page, &arounds),
        Some(sort) => {
            let after = after.map(|cursor| Spot::read(cursor, sort)).transpose()?;
            in_order(&finder, &filter, sort, after, page, &arounds)
        }
    }
}

/// The page behind a cursor, in the order of the read model.
fn most_urgent_first(
    index: &Index,
    filter: &Filter,
    after: Option<&str>,
    mut page: Page,
    arounds: &Arounds,
) -> Result<Value> {
    let mut after = after.map(read_cursor).transpose()?;
    let mut limit = 100;
    loop {
        let (tasks, total) = index.page(filter, after, limit)?;
        let last_page = tasks.len() < limit;
        for task in &tasks {
            if !page.push(view::summary(task, &arounds.of(task))) {
                // Begins with a letter, so that the command line does not take a negative priority for a flag.
                let cursor = after.map(|(priority, id)| format!("p{priority}:{id}"));
                return Ok(page.finish(total, cursor.or_else(|| Some(START.into()))));
            }
            after = Some((task.fields.priority, task.id));
        }
        if last_page {
            return Ok(page.finish(total, None));
        }
        limit = 2_000;
    }
}

/// The page behind a cursor, in an order that was asked for.
fn in_order(
    finder: &Finder,
    filter: &Filter,
    sort: Sort,
    after: Option<Spot>,
    mut page: Page,
    arounds: &Arounds,
) -> Result<Value> {
    let spots = finder.in_order(filter, sort)?;
    let total = spots.len() as u64;
    let mut last = after;
    let first = last.as_ref().map_or(0, |last| spots.partition_point(|spot| !spot.is_behind(last, sort)));
    for spot in spots.into_iter().skip(first) {
        let Some(task) = finder.index.task(spot.id)? else { continue };
        if !page.push(view::summary(&task, &arounds.of(&task))) {
            let cursor = last.map_or_else(|| START.into(), |last| last.cursor(sort));
            return Ok(page.finish(total, Some(cursor)));
        }
        last = Some(spot);
    }
    Ok(page.finish(total, None))
}

/// The cursor of a page that took nothing yet.
const START: &str = "start";

fn read_cursor(text: &str) -> Result<(i64, Id)> {
    let refused =
        || Error::usage(format!("{} is no cursor", quoted(text))).hint("take it from next_cursor of the answer before");
    let (priority, id) = text.strip_prefix('p').and_then(|text| text.split_once(':')).ok_or_else(refused)?;
    Ok((priority.parse().map_err(|_| refused())?, id.parse().map_err(|_| refused())?))
}

/// What lists need to know around each task, worked out once for all.
struct Arounds<'a> {
    ws: &'a Workspace,
    plan: &'a Plan,
    asker: &'a Asker,
    children: BTreeMap<Id, (u64, u64)>,
    handles: BTreeMap<Id, String>,
}

impl<'a> Arounds<'a> {
    fn new(ws: &'a Workspace, index: &Index, plan: &'a Plan, asker: &'a Asker) -> Result<Self> {
        let mut shards: BTreeMap<String, Vec<Id>> = BTreeMap::new();
        for id in index.all_ids()? {
            shards.entry(id.shard()).or_default().push(id);
        }
        let mut handles = BTreeMap::new();
        for ids in shards.values() {
            for id in ids {
                handles.insert(*id, shortest_handle(*id, ids.iter()));
            }
        }
        Ok(Arounds { ws, plan, asker, children: index.child_progress()?, handles })
    }

    fn handle(&self, id: Id) -> String {
        self.handles.get(&id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn of(&self, task: &Task) -> Around {
        let (done, total) = self.children.get(&task.id).copied().unwrap_or_default();
        let now = self.ws.env.now();
        let brief = self.plan.tasks.get(&task.id);
        Around {
            handle: self.handle(task.id),
            blocked_by: self.plan.blockers(task.id).to_vec(),
            blocking: self.plan.waiting(task.id).len(),
            children_done: done,
            children: total,
            lease: self.plan.lease(task.id).cloned(),
            score: brief.map(|b| self.plan.score(b, &self.ws.settings.score, now).score),
            ready: brief.is_some_and(|b| self.plan.reasons(b, self.asker, now).is_empty()),
        }
    }
}

/// Most tasks that are named as taken elsewhere; the counts tell of all.
const NAMED: usize = 20;

/// `ready`
pub fn ready(ws: &Workspace, q: &Ready) -> Result<Value> {
    let index = ws.index()?;
    let plan = ws.plan(&index)?;
    let asker = ws.asker_with_rights()?;
    let arounds = Arounds::new(ws, &index, &plan, &asker)?;
    let ranked = plan.rank(&asker, &ws.settings.score, ws.env.now());
    let mut others = if q.here { ws.nowhere_else() } else { ws.elsewhere() };
    let (ranked, elsewhere) = here_only(ranked, &mut others)?;
    let after = q.cursor.as_deref().filter(|cursor| *cursor != START).map(|text| {
        Place::read(text).ok_or_else(|| {
            Error::usage(format!("{} is no cursor", quoted(text))).hint("take it from next_cursor of the answer before")
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
    answer["not_ready"] = plan.why_nothing(&asker, ws.env.now());
    if !elsewhere.is_empty() {
        answer["not_ready"]["counts"]["taken_elsewhere"] = json!(elsewhere.len());
        answer["elsewhere"] = json!(elsewhere.iter().take(NAMED).collect::<Vec<_>>());
    }
    if let Some(warning) = others.warning() {
        answer["warnings"] = json!([warning]);
    }
    if !plan.void.is_empty() {
        answer["void_edges"] = json!(plan.void.iter().map(|stamp| stamp.id).collect::<Vec<_>>());
    }
    if q.explain {
        answer["explained"] = explain(ws, &plan, &asker, &arounds)?;
    }
    Ok(answer)
}

/// Splits off what is taken or finished in another worktree or on another branch.
pub(super) fn here_only(ranked: Vec<Ranked>, elsewhere: &mut Elsewhere) -> Result<(Vec<Ranked>, Vec<Value>)> {
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for one in ranked {
        match elsewhere.taken(one.id)? {
            None => here.push(one),
            Some(reason) => there.push(json!({ "task": one.id, "words": reason.words(), "why": reason })),
        }
    }
    Ok((here, there))
}

/// For what is not ready, each reason; at most a hundred tasks, with the number of the rest.
fn explain(ws: &Workspace, plan: &Plan, asker: &Asker, arounds: &Arounds) -> Result<Value> {
    let mut items = Vec::new();
    let mut more = 0;
    for task in plan.tasks.values() {
        let mut reasons = plan.reasons(task, asker, ws.env.now());
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
                && plan.lease(task.id).is_none()
            {
                *lease_expired_at = ws.lease_record(task.id)?.lease.map(|lease| lease.expires_at);
            }
        }
        let words: Vec<String> = reasons.iter().map(|r| r.words()).collect();
        items.push(json!({ "task": task.id, "handle": arounds.handle(task.id), "title": task.title, "reasons": reasons, "words": words }));
    }
    Ok(json!({ "items": items, "more": more }))
}

/// `next` without a claim
pub fn next(ws: &Workspace, q: &Next) -> Result<Value> {
    let index = ws.index()?;
    let plan = ws.plan(&index)?;
    let asker = ws.asker_with_rights()?;
    let now = ws.env.now();
    let mut best = None;
    let mut others = if q.here { ws.nowhere_else() } else { ws.elsewhere() };
    let mut elsewhere = Vec::new();
    for ranked in plan.rank(&asker, &ws.settings.score, now) {
        match others.taken(ranked.id)? {
            None => {
                let Some(task) = index.task(ranked.id)? else { continue };
                best = Some((task, ranked));
                break;
            }
            Some(reason) => elsewhere.push(json!({ "task": ranked.id, "words": reason.words(), "why": reason })),
        }
    }
    let mut reasons = plan.why_nothing(&asker, now);
    if !elsewhere.is_empty() {
        reasons["counts"]["taken_elsewhere"] = json!(elsewhere.len());
        reasons["elsewhere"] = json!(elsewhere.iter().take(NAMED).collect::<Vec<_>>());
    }
    if q.explain {
        let arounds = Arounds::new(ws, &index, &plan, &asker)?;
        reasons["explained"] = explain(ws, &plan, &asker, &arounds)?;
    }
    if best.is_none() {
        let abandoned = super::alive::abandoned(ws, &plan, &asker)?;
        if !abandoned.is_empty() {
            reasons["abandoned"] = json!(abandoned.iter().take(NAMED).collect::<Vec<_>>());
        }
    }
    let mut answer = match best {
        None => json!({ "task": Value::Null, "lease": Value::Null, "reasons": reasons }),
        Some((task, ranked)) => {
            let lease = plan.lease(task.id).map(view::lease);
            let why = if q.explain {
                json!({ "terms": ranked.score, "others": reasons })
            } else {
                json!({ "terms": ranked.score })
            };
            json!({ "task": ws.show_task_beside(&task, &index, &mut others)?, "lease": lease, "reasons": why })
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
    for agent in ws.agents()? {
        let mut item = json!(agent);
        item["last_seen_at"] = json!(last_seen.get(&agent.name));
        items.push(item);
    }
    let total = items.len();
    Ok(json!({ "items": items, "total": total, "truncated": false, "next_cursor": Value::Null }))
}
