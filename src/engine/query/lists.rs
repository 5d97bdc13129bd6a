//! Lists: bounded, resumable, never cut without saying so.
//!
//! Leaves to others: which tasks match (`store::filter`).

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::find::{Finder, Spot};
use super::liveness;
use crate::engine::commit::hand_edits::record::{UnrecordedEdits, unrecorded};
use crate::engine::context::Workspace;
use crate::engine::inbox::{self, PlanInView};
use crate::engine::view::claimed_files;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read::{self, handles};
use crate::env::parallel;
use crate::error::{Error, Result};
use crate::model::agent::Agent;
use crate::model::id::{Id, quoted};
use crate::model::overlap::FileClaim;
use crate::model::query::{Next, Ready, TaskList};
use crate::model::search::{self, Search};
use crate::model::time::Time;
use crate::reports::changed::TaskAnswer;
use crate::reports::list::{List, Rest};
use crate::reports::next::{Explained, ExplainedTask, NextReasons, NextTask, NotReady, PassedOver};
use crate::reports::ready::{Place, Plan, RankedTask, Score, gave_back};
use crate::reports::view::{self, Around, Summary};
use crate::rules::held::NamedTask;
use crate::rules::readiness::{Reason, Viewer, add_notes};
use crate::runtime::records;
use crate::store::database;
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
pub(crate) struct Page<T> {
    items: Vec<T>,
    room: Room,
}

impl<T: Serialize> Page<T> {
    pub fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        Page { items: Vec::new(), room: Room::new(ws, limit, all) }
    }

    /// Adds an item if there is room; for the first there always is.
    pub fn push(&mut self, item: T) -> bool {
        // Plain data can be written as JSON.
        let fits = self.room.has(serde_json::to_string(&item).map_or(0, |json| json.len()));
        if fits {
            self.items.push(item);
        }
        fits
    }

    pub fn finish(self, total: u64, next_cursor: Option<String>) -> List<T> {
        List { items: self.items, rest: Rest::new(total, next_cursor) }
    }
}

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
    let mut plan = read::plan(ws, &index)?;
    claimed_files::add_overlaps(ws, &index, &mut plan)?;
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
        let items = parallel::map(&lines, |line| {
            let item = view::summary(line, arounds.of(line.id));
            let text = text_of(&item);
            Ok((item, text))
        })?;
        let mut at = next;
        for (mut item, mut text) in items {
            let id = item.id;
            if edits.has(id)? {
                item.unrecorded_edit = true;
                text = text_of(&item);
            }
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

fn text_of(item: &Summary) -> String {
    // A struct of plain values has nothing that JSON cannot say.
    serde_json::to_string(item).expect("plain data")
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

/// The cursor of a page that took nothing yet.
const START: &str = "start";

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
    /// Tasks that the plan alone has ready and another worktree or branch has taken or finished.
    taken: BTreeSet<Id>,
}

impl<'a> Neighbours<'a> {
    pub fn new(ws: &'a Workspace, index: &Index, plan: &'a Plan, viewer: &'a Viewer) -> Result<Self> {
        let handles = handles(&index.all_ids()?);
        let children = index.child_progress(ws.settings.review.required)?;
        Ok(Neighbours { ws, plan, viewer, children, handles, taken: BTreeSet::new() })
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

    fn handle(&self, id: Id) -> String {
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
            awaits_review: false,
            overlaps: Vec::new(),
        }
    }
}

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
    let mut plan = read::plan(ws, &index)?;
    claimed_files::add_overlaps(ws, &index, &mut plan)?;
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

/// The tasks that `next` would offer the caller, best first, and those taken elsewhere. Adds to the plan what overlaps with work in
/// progress of others.
///
/// Errors: `ERR_IO` if the index, a lease or another branch cannot be read.
pub(super) fn offered(
    ws: &Workspace,
    index: &Index,
    plan: &mut Plan,
    viewer: &Viewer,
) -> Result<(Vec<RankedTask>, Vec<PassedOver>)> {
    claimed_files::add_overlaps(ws, index, plan)?;
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
    let (mut plan, viewer) = (read::plan(ws, &index)?, read::viewer_with_rights(ws)?);
    claimed_files::add_overlaps(ws, &index, &mut plan)?;
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
    let mut plan = read::plan(ws, &index)?;
    claimed_files::add_overlaps(ws, &index, &mut plan)?;
    let viewer = read::viewer_with_rights(ws)?;
    let now = ws.env.now();
    let mut best = None;
    let mut others = if q.here { OtherBranches::ignored(ws) } else { OtherBranches::new(ws) };
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
    let mut warnings: Vec<String> =
        best.iter().flat_map(|(task, _)| plan.overlaps(task.id)).map(FileClaim::warning).collect();
    let edits = UnrecordedEdits::new(ws, &index);
    let edited = best.as_ref().map(|(task, _)| edits.has(task.id)).transpose()?.unwrap_or_default();
    warnings.extend(best.as_ref().filter(|_| edited).and_then(|(task, _)| unrecorded(ws, task.id)));
    let asking = Question { ws, index: &index, plan: &plan, viewer: &viewer };
    let held = if viewer.me.is_some() { asking.held()? } else { Vec::new() };
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
                    let card = view::summary(&card, read::around(ws, &task, &index, &mut others)?);
                    TaskAnswer::Card(Box::new(Summary { unrecorded_edit: edited, ..card }))
                },
                reasons: NextReasons { others: others_why, held, ..NextReasons::new(ranked.score) },
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

/// An agent, and when it was last heard of in this clone.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AgentView {
    /// The agent.
    #[serde(flatten)]
    pub agent: Agent,
    /// The last sign of life of its sessions.
    pub last_seen_at: Option<Time>,
}

/// `agent show`
///
/// Errors: `ERR_NOT_FOUND` if no agent has that name.
pub fn agent(ws: &Workspace, name: &str) -> Result<AgentView> {
    let found = agents(ws)?.items.into_iter().find(|view| view.agent.name == name);
    found.ok_or_else(|| {
        Error::not_found(format!("no agent {} is registered", quoted(name)))
            .with(json!({ "agent": name }))
            .hint("agentpm agent list names them")
    })
}

/// `agent list`
pub fn agents(ws: &Workspace) -> Result<List<AgentView>> {
    let mut last_seen = BTreeMap::new();
    if let Some(runtime) = ws.runtime() {
        for id in records::sessions(runtime)? {
            if let Some(session) = records::session(runtime, id)? {
                let seen = last_seen.entry(session.agent).or_insert(session.last_heartbeat_at);
                *seen = (*seen).max(session.last_heartbeat_at);
            }
        }
    }
    let view = |agent: Agent| AgentView { last_seen_at: last_seen.get(&agent.name).copied(), agent };
    Ok(List::whole(read::agents(ws)?.into_iter().map(view).collect()))
}
