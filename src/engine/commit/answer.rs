//! The answer to a command: the task from its stage, its surroundings from the index.
//!
//! Guarantees that a change that happened is answered, though its view could not be rendered.
//! Leaves to others: what is written, and when (`write`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Value, json};

use super::idempotency::Order;
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::engine::view::read;
use crate::error::Result;
use crate::model::agent::{Agent, Lease, LeaseRecord, Session};
use crate::model::context::{ContextEntry, ProgressItem};
use crate::model::id::{HANDLE_MIN, Id};
use crate::model::relationship::RelationType;
use crate::model::task::{Status, Task};
use crate::model::thread::Thread;
use crate::reports::changed::{
    BatchAnswer, BatchStep, BroadcastAnswer, Changed, EntryAnswer, Receipt, Released, StepAnswer, Steps, TaskAnswer,
    Unrelated, Unshown, ValueChange,
};
use crate::reports::extent::Extent;
use crate::reports::next::{NextReasons, NextTask, TakenOver};
use crate::reports::thread::{ThreadAnswer, ThreadReceipt, ThreadView};
use crate::reports::view::{Edge, Part, TaskView};
use crate::rules::decide::Subject;
use crate::rules::held::NamedTask;
use crate::rules::readiness::Reason;
use crate::rules::{fields, register};
use crate::runtime::journal::KeyRecord;
use crate::store::index::{Index, Pending};

/// The result of a command.
#[derive(Debug)]
pub struct Reply {
    /// The created or changed entity.
    pub subject: Subject,
    /// Its present state.
    pub data: Changed,
    /// Ids of the events it wrote; empty where everything was so already.
    pub events: Vec<Id>,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Recorded hand edits: the task and the changed fields.
    pub taken_in: Vec<(Id, String)>,
    /// Tasks that seemed ready and were passed over, with the reason.
    pub passed: BTreeMap<Id, Reason>,
}

/// The result of a transaction, for the answer.
pub(super) struct Outcome<'a> {
    pub(super) subject: Subject,
    pub(super) tasks: BTreeMap<Id, Rc<Task>>,
    /// The titles of the changed tasks that are not held any more.
    pub(super) titles: BTreeMap<Id, String>,
    /// The task that the command changed, as it was before.
    pub(super) before: Option<Task>,
    /// Tasks that did not exist before: nothing can point at them yet.
    pub(super) created: BTreeSet<Id>,
    pub(super) agents: BTreeMap<String, Agent>,
    pub(super) leases: BTreeMap<Id, LeaseRecord>,
    pub(super) sessions: BTreeMap<Id, Session>,
    pub(super) events: Vec<Id>,
    pub(super) warnings: Vec<String>,
    pub(super) taken_in: Vec<(Id, String)>,
    pub(super) passed: BTreeMap<Id, Reason>,
    pub(super) correlation_id: Option<String>,
    /// The index of the decision, if it used one.
    pub(super) index: Option<Index>,
    /// The answer of an earlier call with the same idempotency key.
    pub(super) repeated: Option<Value>,
    /// The other branches and worktrees that the decision read.
    pub(super) elsewhere: OtherBranches<'a>,
}

/// The record of a call with its idempotency key. Its answer names no other tasks: they are looked at after the change.
pub(super) fn key_record<'w>(
    ws: &'w Workspace,
    (order, agent): (Order<'_>, &str),
    written: &mut Outcome<'w>,
) -> Option<KeyRecord> {
    let key = order.key?;
    let index = written.index.take();
    let mut elsewhere = std::mem::replace(&mut written.elsewhere, OtherBranches::new(ws));
    let mut show = Show { ws, written, index, elsewhere: &mut elsewhere, is_receipt: true };
    let answer = show.subject(&written.subject);
    let index = show.index;
    // What cannot be shown has still happened.
    let answer = answer.unwrap_or_else(|_| Changed::Unshown(Unshown { id: written.subject.id() }));
    let record = key.record(ws, agent, Some(written.subject.clone()), &answer);
    (written.index, written.elsewhere) = (index, elsewhere);
    Some(record)
}

pub(super) fn reply<'a>(ws: &'a Workspace, mut written: Outcome<'a>) -> Result<Reply> {
    if let Some(answer) = written.repeated {
        let Outcome { events, warnings, taken_in, subject, passed, .. } = written;
        return Ok(Reply { data: Changed::Repeated(answer), events, warnings, taken_in, subject, passed });
    }
    let index = match written.index.take() {
        Some(index) => {
            let changed: Vec<Id> = written.tasks.keys().copied().collect();
            // An index that cannot be updated, or in which much changed, is dropped, and opened again where it is needed.
            let is_little = changed.len() <= MOST_LAID && written.titles.is_empty();
            let is_current = is_little && index.overlay(&ws.store, &changed, &Pending::new(), read::tick()).is_ok();
            is_current.then_some(index)
        }
        None => None,
    };
    let mut elsewhere = std::mem::replace(&mut written.elsewhere, OtherBranches::new(ws));
    let mut show = Show { ws, written: &written, index, elsewhere: &mut elsewhere, is_receipt: false };
    let data = match show.subject(&written.subject) {
        Ok(data) => data,
        // The change has happened, so a view that cannot be rendered is not an error.
        Err(e) if !written.events.is_empty() => {
            written.warnings.push(format!("saved, but it could not be shown: {e}"));
            Changed::Unshown(Unshown { id: written.subject.id() })
        }
        Err(e) => return Err(e),
    };
    let Outcome { events, warnings, taken_in, subject, passed, .. } = written;
    Ok(Reply { data, events, warnings, taken_in, subject, passed })
}

/// Maximum number of changed tasks that are laid over the index for the answer.
const MOST_LAID: usize = 256;
/// Most tasks of which it is looked at whether they became ready, and that are named as cancelled with another.
const NAMED: usize = 20;

/// Shows the result of a command: the task from its stage, its surroundings from the index.
struct Show<'a, 'w> {
    ws: &'w Workspace,
    written: &'a Outcome<'w>,
    index: Option<Index>,
    elsewhere: &'a mut OtherBranches<'w>,
    /// The answer is kept with an idempotency key: it is short, and names no other tasks.
    is_receipt: bool,
}

impl Show<'_, '_> {
    fn is_full(&self) -> bool {
        self.ws.request.full && !self.is_receipt
    }

    fn subject(&mut self, subject: &Subject) -> Result<Changed> {
        let unshown = || Changed::Unshown(Unshown { id: subject.id() });
        Ok(match subject {
            Subject::Task(id) => Changed::Task(self.task(*id)?),
            Subject::Progress(task, items) => {
                let task = self.stage_task(*task)?;
                let steps = items.iter().filter_map(|item| task.progress.get(item));
                let handle = read::handle(self.ws, task.id)?;
                let answer = |step: &ProgressItem| match self.is_full() {
                    true => StepAnswer::Whole(Part { part: step.clone(), task: task.id }),
                    false => StepAnswer::Receipt {
                        id: step.id,
                        task: task.id,
                        handle: handle.clone(),
                        completed: step.completed,
                    },
                };
                let mut items: Vec<StepAnswer> = steps.map(answer).collect();
                match items.pop() {
                    Some(step) if items.is_empty() => Changed::Step(step),
                    last => Changed::Steps(Steps { items: items.into_iter().chain(last).collect() }),
                }
            }
            Subject::Context(task, entry) => {
                let task = self.stage_task(*task)?;
                let handle = read::handle(self.ws, task.id)?;
                let answer = |part: ContextEntry| match self.is_full() {
                    true => EntryAnswer::Whole(Part { part, task: task.id }),
                    false => EntryAnswer::Receipt { id: part.id, task: task.id, handle, kind: part.kind },
                };
                task.context.get(entry).cloned().map_or_else(unshown, |part| Changed::Context(answer(part)))
            }
            Subject::Thread(task, id) => {
                let task = self.stage_task(*task)?;
                let is_of = |thread: &&Thread| thread.id == *id || thread.replies.contains_key(id);
                let Some(thread) = task.threads.values().find(is_of) else { return Ok(unshown()) };
                Changed::Thread(match self.is_full() {
                    true => ThreadAnswer::Whole(Box::new(ThreadView::new(&task, thread, Extent::Bounded))),
                    false => ThreadAnswer::Receipt(ThreadReceipt {
                        id: *id,
                        thread: thread.id,
                        task: task.id,
                        handle: thread.id.handle(HANDLE_MIN),
                        task_handle: read::handle(self.ws, task.id)?,
                        status: thread.status(),
                        escalated_to: thread.escalated.as_ref().and_then(|escalated| escalated.to.clone()),
                        changed: self.changes(&task),
                    }),
                })
            }
            Subject::Relationship(task, edge) => {
                let task = self.stage_task(*task)?;
                match edge.and_then(|edge| task.relationships.get(&edge)) {
                    Some(edge) => Changed::Relationship(Edge::of(edge)),
                    None => Changed::Unrelated(Unrelated { task: task.id, removed: true }),
                }
            }
            Subject::Claim(None) => Changed::Nothing,
            Subject::Claim(Some(id)) => {
                let lease = self.lease(*id)?;
                let task = self.task(*id)?;
                let terms = read::score_terms(self.ws, &*self.stage_task(*id)?, self.index.as_ref())?;
                let reasons = NextReasons::new(terms);
                let taken_over = self.taken_over(*id)?;
                Changed::Claimed(Box::new(NextTask { task, lease, reasons, taken_over, review: None }))
            }
            Subject::Lease(task) => match self.lease(*task)? {
                Some(lease) => Changed::Lease(lease),
                None => Changed::Released(Released { task: *task, released: true }),
            },
            Subject::Agent(name) => Changed::Agent(match self.written.agents.get(name) {
                Some(agent) => agent.clone(),
                None => read::agent_record(self.ws, name)?,
            }),
            Subject::Broadcast(id, sent) => {
                Changed::Broadcast(BroadcastAnswer { id: *id, to: sent.to.clone(), role: sent.role.clone() })
            }
            Subject::Session(id) => {
                let known = match self.written.sessions.get(id) {
                    Some(session) => Some(session.clone()),
                    None => read::session_record(self.ws, *id)?,
                };
                known.map_or_else(unshown, Changed::Session)
            }
            Subject::Batch(steps) => {
                let step = |(name, step): &(Option<String>, Subject)| {
                    let agent = if let Subject::Agent(name) = step { Some(name.clone()) } else { None };
                    let about = step.concerns();
                    let handle = about.map(|task| read::handle(self.ws, task)).transpose()?;
                    let title = about.map(|task| self.title(task)).transpose()?;
                    let parts = if let Subject::Batch(all) = step {
                        all.iter().skip(1).filter_map(|(_, part)| part.id()).collect()
                    } else {
                        Vec::new()
                    };
                    let (name, id) = (name.clone(), step.id());
                    Ok(BatchStep { name, id, handle, title, agent, parts, ..BatchStep::default() })
                };
                let items = steps.iter().map(step).collect::<Result<_>>()?;
                let correlation_id = self.written.correlation_id.clone();
                Changed::Batch(BatchAnswer {
                    items,
                    total: steps.len(),
                    events: self.written.events.len(),
                    correlation_id,
                })
            }
        })
    }

    fn stage_task(&self, id: Id) -> Result<Rc<Task>> {
        match self.written.tasks.get(&id) {
            Some(task) => Ok(Rc::clone(task)),
            None => Ok(Rc::new(read::load_task(self.ws, id)?.task)),
        }
    }

    fn named(&self, id: Id) -> Result<NamedTask> {
        Ok(NamedTask::new(id, read::handle(self.ws, id)?, &self.title(id)?))
    }

    fn title(&self, id: Id) -> Result<String> {
        match self.written.titles.get(&id) {
            Some(title) => Ok(title.clone()),
            None => Ok(self.stage_task(id)?.fields.title.clone()),
        }
    }

    fn task(&mut self, id: Id) -> Result<TaskAnswer> {
        if self.is_full() {
            return Ok(TaskAnswer::Whole(Box::new(self.whole(id)?)));
        }
        Ok(TaskAnswer::Receipt(Box::new(self.receipt(id)?)))
    }

    /// What the command did to a task, in short.
    fn receipt(&mut self, id: Id) -> Result<Receipt> {
        let task = self.stage_task(id)?;
        let before = self.written.before.as_ref().filter(|before| before.version > 0);
        let was_finished = before.is_some_and(|before| before.status.is_finished());
        let ends = before.is_some() && !was_finished && task.status.is_finished();
        let accepted = before.is_some_and(Task::is_unreviewed) && !task.is_unreviewed() && task.status.is_finished();
        let open = task.progress.values().filter(|step| !step.completed).count();
        let cancels = ends && task.status == Status::Cancelled;
        let cancelled = if cancels { self.cancelled_with(id) } else { Vec::new() };
        Ok(Receipt {
            id,
            handle: read::handle(self.ws, id)?,
            title: task.fields.title.clone(),
            status: task.status,
            version: task.version,
            changed: self.changes(&task),
            unticked: (ends && task.status == Status::Completed && open > 0).then_some(open),
            awaits_review: self.ws.settings.review.required && task.is_unreviewed(),
            ready: if (ends || accepted) && !self.is_receipt { self.made_ready(id)? } else { Vec::new() },
            cancelled: cancelled.iter().take(NAMED).map(|id| self.named(*id)).collect::<Result<_>>()?,
            cancelled_total: (cancelled.len() > NAMED).then_some(cancelled.len()),
            similar: Vec::new(),
        })
    }

    /// The tasks below a cancelled one that were cancelled with it. Those that the command does not hold any more were.
    fn cancelled_with(&self, id: Id) -> Vec<Id> {
        let is_cancelled = |task: &Task| {
            let wrote = task.stamps.get("status").is_some_and(|stamp| self.written.events.contains(&stamp.id));
            wrote && task.status == Status::Cancelled
        };
        let held = self.written.tasks.values().filter(|task| is_cancelled(task)).map(|task| task.id);
        let mut all: Vec<Id> = held.chain(self.written.titles.keys().copied()).filter(|other| *other != id).collect();
        all.sort_unstable();
        all
    }

    /// The fields of a task that the command changed; of a new task none.
    fn changes(&self, task: &Task) -> BTreeMap<String, ValueChange> {
        let names = fields::NAMES.iter().copied().chain(["status", "owner", "parent", "verified"]);
        let before = self.written.before.as_ref().filter(|before| before.version > 0);
        let change = |before: &Task, name: &str| {
            let (from, to) = (register::value(before, name), register::value(task, name));
            (from != to).then(|| (name.to_owned(), ValueChange { from, to }))
        };
        let criteria = task.fields.acceptance.iter().map(|criterion| format!("met.{criterion}"));
        let Some(before) = before else { return BTreeMap::new() };
        let marked = criteria.filter_map(|name| change(before, &name));
        let blockers = |task: &Task| -> BTreeSet<Id> {
            task.relationships.values().filter(|e| e.kind == RelationType::Blocks).map(|e| e.from).collect()
        };
        let (from, to) = (blockers(before), blockers(task));
        let blocked_by =
            (from != to).then(|| ("blocked_by".to_owned(), ValueChange { from: json!(from), to: json!(to) }));
        names.filter_map(|name| change(before, name)).chain(marked).chain(blocked_by).collect()
    }

    /// The tasks that became ready by the end of a task: those it blocked, and its parent.
    fn made_ready(&mut self, id: Id) -> Result<Vec<NamedTask>> {
        let index = match self.index.take() {
            Some(index) => index,
            None => read::index_for_write(self.ws)?,
        };
        let parent = self.stage_task(id)?.parent();
        let mut ready = Vec::new();
        for other in index.dependents(id)?.into_iter().chain(parent).take(NAMED) {
            let task = self.stage_task(other)?;
            let is_open = matches!(task.status, Status::Open | Status::Blocked);
            let reasons = read::why_not_ready(self.ws, &task, &index, self.elsewhere)?;
            // Who ends a task need not be one who may claim the next.
            if is_open && reasons.iter().all(|reason| matches!(reason, Reason::NotPermitted { .. })) {
                let handle = read::handle(self.ws, other)?;
                ready.push(NamedTask::new(other, handle, &task.fields.title));
            }
        }
        self.index = Some(index);
        Ok(ready)
    }

    fn whole(&mut self, id: Id) -> Result<TaskView> {
        let task = self.stage_task(id)?;
        if self.written.created.contains(&id) {
            let blocked_by = read::blockers_of_new(self.ws, &task, &self.written.tasks)?;
            return read::show_new_task(self.ws, &task, blocked_by);
        }
        let index = match self.index.take() {
            Some(index) => index,
            None => read::index_for_write(self.ws)?,
        };
        let shown = read::show_task_elsewhere(self.ws, &task, &index, self.elsewhere);
        self.index = Some(index);
        shown
    }

    /// Whose expired lease this command took over.
    fn taken_over(&self, task: Id) -> Result<Option<TakenOver>> {
        let record = self.written.leases.get(&task);
        let fresh = record.filter(|r| r.lease.as_ref().is_some_and(|lease| lease.created_at == lease.updated_at));
        let Some(before) = fresh.and_then(|record| record.lost.last()) else { return Ok(None) };
        let session = before.session.map(|id| read::session_record(self.ws, id)).transpose()?.flatten();
        Ok(Some(TakenOver {
            agent: before.agent.clone(),
            session: before.session,
            last_sign_at: session.map_or(before.updated_at, |session| session.last_heartbeat_at),
            // A lease whose session was ended did not last until its time.
            lease_expired_at: before.expires_at.min(self.ws.env.now()),
        }))
    }

    /// The lease of a task as it was just written.
    fn lease(&self, task: Id) -> Result<Option<Lease>> {
        let record = match self.written.leases.get(&task) {
            Some(record) => record.clone(),
            None => read::recorded_lease(self.ws, task)?,
        };
        Ok(record.lease)
    }
}
