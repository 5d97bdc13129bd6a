//! Decides commands that take, finish and release work, and those on leases.
//!
//! Leaves to others: which lease is in force (`rules::lease`), and which task comes first (`reports::ready`).

use serde_json::json;

use super::around::move_to;
use super::grants::{assert_again, is_left_behind, take, take_again, taken, ttl_ms, until, wants_confirmation};
use super::guard::{held_task, permit_id, refuse_unfit, unblock_if_free};
use super::judgement::{chosen, mark_criteria};
use super::notes::note;
use super::refusals::{refuse_elsewhere, refuse_finished, refuse_owned, refuse_unready, refuse_withheld};
use super::status::{complete, overridden, return_to_open};
use super::{Needs, PlanNeed, Subject, decides, index, nothing};
use crate::error::{Code, Error, Result};
use crate::model::agent::{Lease, SessionStatus};
use crate::model::args::{Duration, Ref, Text};
use crate::model::command::{Claim, Done, LeaseAcquire, LeaseRelease, LeaseRenew, Release};
use crate::model::context::ContextType;
use crate::model::event::{Author, Entity, Entry};
use crate::model::id::{Id, check_agent_name};
use crate::model::payload::{
    ContextAdded, ContextSuperseded, Fields, LeaseReleased, LeaseRenewed, Payload, TaskStatusChanged, TaskUpdated,
};
use crate::model::settings::Overlap;
use crate::model::task::{Status, Task};
use crate::rules::lease::{self, Standing};
use crate::rules::review::{is_worked_on_since, met_words, rejection};
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Grant, Stage};

decides! {
    Claim: claim_needs => claim,
    Done: index => done,
    Release: index => release,
    LeaseAcquire: acquire_needs => lease_acquire,
    LeaseRenew: nothing => lease_renew,
    LeaseRelease: nothing => lease_release,
}

fn claim_needs(c: &Claim) -> Needs<'_> {
    let plan = if c.id.0.is_none() { PlanNeed::Ranking } else { PlanNeed::Nothing };
    Needs { plan, branches: !c.here, sessions: true, event: None }
}

fn acquire_needs(_: &LeaseAcquire) -> Needs<'_> {
    Needs { branches: true, sessions: true, ..Needs::default() }
}

/// `claim`, and `next --claim` if no task is named.
fn claim(stage: &mut dyn Stage, c: &Claim) -> Result<Subject> {
    stage.require(Verb::Claim)?;
    let id = match &c.id.0 {
        Some(reference) => stage.task_id(&Ref(reference.clone()))?,
        // A second task is handed out only on request: an agent that lost track of its first would leave it behind.
        None if c.reviews || (!c.another && !stage.held()?.is_empty()) => return Ok(Subject::Claim(None)),
        None => match stage.best_ready(c.here)? {
            Some(id) => id,
            None => return Ok(Subject::Claim(None)),
        },
    };
    unblock_if_free(stage, id)?;
    let before = stage.task(id)?;
    let me = stage.me().clone();
    refuse_unfit(stage, &before, &me.agent)?;
    match before.status {
        Status::Open | Status::Blocked => refuse_unready(stage, &before, c.override_reason.as_ref())?,
        // An agent that takes the task over is a new holder.
        Status::InProgress => refuse_withheld(stage, &before)?,
        closed => {
            return Err(Error::state(format!("task {id} is {closed}"))
                .hint(format!("if it is not done, run agentpm task reopen {id} --reason TEXT")));
        }
    }
    let record = stage.lease(id)?;
    if let Standing::Others(holder) = lease::standing(&record, &me, stage.now())
        && !is_left_behind(stage, &holder, &me)
    {
        return Err(lease::refusal(id, &record, &holder, &me));
    }
    if !c.here {
        refuse_finished(stage, id)?;
    }
    // An expired lease of another worktree of this clone is taken over like any other. The actor's own lease there counts
    // here.
    let standing = lease::standing(&record, &me, stage.now());
    if !c.here && matches!(standing, Standing::Free | Standing::Others(_)) {
        refuse_elsewhere(stage, id)?;
    }
    refuse_owned(stage, &before, &me.agent)?;
    if stage.settings().claim.overlap == Overlap::Warn {
        for claim in stage.overlaps(id, &before.fields.files)? {
            stage.warn(claim.warning());
        }
    }
    let unseen = stage.asks_remote() || record.fence > stage.known_fence(id)?;
    let fence = take(stage, &before, &me, c.ttl)?;
    let payload = match before.status {
        Status::Open => {
            let owner = Some(Some(me.agent.clone()));
            Some(Payload::TaskStatusChanged(TaskStatusChanged { owner, ..move_to(Status::Open, Status::InProgress) }))
        }
        _ if before.owner.as_deref() == Some(&me.agent) => None,
        _ if unseen => Some(taken(&me.agent)),
        _ => {
            let set = Fields::from_iter([("owner".to_owned(), json!(me.agent))]);
            Some(Payload::TaskUpdated(TaskUpdated::new(set)))
        }
    };
    if let Some(payload) = payload {
        stage.emit(Draft { entity: Entity::Task(id), payload, why: None, fence: Some(fence) })?;
    }
    Ok(Subject::Claim(Some(id)))
}

/// Gives a lease that the remote confirmed late the confirmed fence, above all that was granted in the meantime. The holder
/// then takes the task again under it.
///
/// Errors: `ERR_LEASE_LOST` or `ERR_LEASE_HELD` if the lease is not in force any more; no new one is acquired.
pub fn confirm_again(stage: &mut dyn Stage, task: Id, ttl: Duration) -> Result<Subject> {
    own_lease(stage, &Ref(task.to_string()))?;
    let me = stage.me().clone();
    // A remote that confirms nothing makes no lease longer: it is asked at each sync.
    if !matches!(stage.grant(task), Some(Grant { fence: None, .. })) {
        take_again(stage, task, &me, ttl)?;
    }
    Ok(Subject::Lease(task))
}

/// `done`
fn done(stage: &mut dyn Stage, c: &Done) -> Result<Subject> {
    let id = held_task(stage, &c.id)?;
    if c.guard.lease_id.is_none() {
        start_here(stage, id, c.force.as_ref(), c.guard.override_reason.as_ref())?;
    }
    let permit = permit_id(stage, id, &c.guard, Verb::Complete)?;
    let criteria = chosen(&*stage.task(id)?, &c.met, c.all_met)?;
    mark_criteria(stage, &permit, &criteria, true)?;
    if let Some(outcome) = &c.outcome {
        let event = ContextAdded {
            kind: ContextType::Outcome,
            content: outcome.0.clone(),
            metadata: serde_json::Value::Null,
            created_at: None,
        };
        let rejected = rejected_outcomes(&*stage.task(id)?, &stage.history(id)?);
        let by = note(stage, id, Payload::ContextAdded(event), None)?;
        for entry in rejected {
            note(stage, id, Payload::ContextSuperseded(ContextSuperseded { entry, by }), None)?;
        }
    }
    warn_of_rejection(stage, id)?;
    complete(stage, &permit, c.force.as_ref())?;
    Ok(Subject::Task(id))
}

/// The outcomes that a rejected completion stated, which are not what the task came to.
fn rejected_outcomes(task: &Task, history: &[Entry]) -> Vec<Id> {
    let Some(rejected) = rejection(history) else { return Vec::new() };
    let is_before = |id: &Id| history.iter().any(|e| e.event.id == *id && e.event.stamp() < rejected.stamp());
    let outcomes = task.context.values().filter(|entry| entry.kind == ContextType::Outcome);
    outcomes.filter(|entry| entry.superseded_by.is_none()).map(|entry| entry.id).filter(is_before).collect()
}

/// Warns of a completion that repeats a rejected one: nothing was recorded on the task since a reviewer sent it back.
fn warn_of_rejection(stage: &mut dyn Stage, id: Id) -> Result<()> {
    let (task, history) = (stage.task(id)?, stage.history(id)?);
    let rejected = rejection(&history).filter(|event| !is_worked_on_since(&history, event));
    let Some(rejected) = rejected.filter(|_| !task.status.is_finished()) else { return Ok(()) };
    let (by, why) = (&rejected.author.agent, rejected.why.as_deref().unwrap_or_default());
    let met = met_words(&task).map(|words| format!("; {words} from before")).unwrap_or_default();
    stage.warn(format!("{by} sent this task back ({why}), and nothing was recorded on it since{met}"));
    Ok(())
}

/// Starts a task here that the actor holds by a lease from another worktree, whose files have it in progress already.
fn start_here(stage: &mut dyn Stage, id: Id, force: Option<&Text>, overlaps: Option<&Text>) -> Result<()> {
    let (task, me, record) = (stage.task(id)?, stage.me().clone(), stage.lease(id)?);
    let (Standing::Mine(lease) | Standing::MineExpired(lease)) = lease::standing(&record, &me, stage.now()) else {
        return Ok(());
    };
    if !matches!(task.status, Status::Open | Status::Blocked) || lease.fence <= stage.known_fence(id)? {
        return Ok(());
    }
    let forced = overridden(stage, &task, force, overlaps)?;
    refuse_unfit(stage, &task, &me.agent)?;
    let fence = take(stage, &task, &me, None)?;
    let owner = Some(Some(me.agent));
    let change = TaskStatusChanged { owner, forced, ..move_to(task.status, Status::InProgress) };
    stage.emit(Draft {
        entity: Entity::Task(id),
        payload: Payload::TaskStatusChanged(change),
        why: None,
        fence: Some(fence),
    })?;
    Ok(())
}

/// `release`
fn release(stage: &mut dyn Stage, c: &Release) -> Result<Subject> {
    let id = held_task(stage, &c.id)?;
    let permit = permit_id(stage, id, &c.guard, Verb::Claim)?;
    let task = stage.task(id)?;
    if task.status == Status::InProgress {
        return_to_open(stage, &permit, false)?;
    } else if permit.has_lease() {
        permit.give_back(stage)?;
    } else if task.owner.as_ref() == Some(&stage.me().agent) && !task.status.is_finished() {
        // It is assigned to the actor, who has not begun: without an owner others may take it.
        stage.require(Verb::Update)?;
        let set = Fields::from_iter([("owner".to_owned(), serde_json::Value::Null)]);
        permit.emit(stage, Payload::TaskUpdated(TaskUpdated::new(set)))?;
    } else {
        let whose =
            task.owner.as_ref().map_or_else(|| "has no owner".to_owned(), |owner| format!("belongs to {owner}"));
        let refused = Error::state(format!("task {id} is {} and {whose}", task.status));
        let is_assigned = task.owner.is_some() && !task.status.is_finished();
        return Err(match is_assigned {
            true => refused.hint_command(format!(
                "agentpm task update {id} --owner AGENT assigns it to another agent, --clear owner to none"
            )),
            false => refused,
        });
    }
    Ok(Subject::Task(id))
}

/// `lease acquire`
fn lease_acquire(stage: &mut dyn Stage, c: &LeaseAcquire) -> Result<Subject> {
    stage.require(Verb::Claim)?;
    let task = stage.task_id(&Ref(c.task_id.0.clone()))?;
    let mut holder = stage.me().clone();
    if let Some(agent) = &c.agent_id {
        check_agent_name(agent)?;
        if *agent != holder.agent {
            stage.require_for(agent, Verb::Override)?;
            holder.session = None;
        }
        holder.agent.clone_from(agent);
    }
    if let Some(session) = c.session_id {
        let known = stage.session(&Ref(session.to_string()))?;
        if known.status == SessionStatus::Closed || known.agent != holder.agent {
            return Err(Error::state(format!("session {session} is not an active session of {}", holder.agent))
                .hint("start one: agentpm session start"));
        }
        holder.session = Some(session);
    }
    let before = unblock_if_free(stage, task)?;
    refuse_unfit(stage, &before, &holder.agent)?;
    if before.status.is_finished() {
        return Err(Error::state(format!("task {task} is {} and needs no lease", before.status)));
    }
    refuse_finished(stage, task)?;
    refuse_elsewhere(stage, task)?;
    refuse_owned(stage, &before, &holder.agent)?;
    take(stage, &before, &holder, c.ttl)?;
    Ok(Subject::Lease(task))
}

/// `lease renew`
fn lease_renew(stage: &mut dyn Stage, c: &LeaseRenew) -> Result<Subject> {
    let reference = match &c.id.0 {
        Some(named) => Ref(named.clone()),
        None => Ref(held_task(stage, &c.id)?.to_string()),
    };
    let (task, lease) = own_lease(stage, &reference)?;
    let grant = stage.grant(task);
    if lease.is_live(stage.now()) && wants_confirmation(stage, &lease, grant.as_ref())? {
        let holder = Author { agent: lease.agent.clone(), session: lease.session, ..stage.me().clone() };
        let before = stage.task(task)?;
        take(stage, &before, &holder, c.ttl)?;
        return Ok(Subject::Lease(task));
    }
    let asked = stage.now().plus(ttl_ms(stage, c.ttl)?);
    let expires_at = asked.max(until(&lease, stage.now()));
    if asked < expires_at {
        stage.warn(format!("the lease already holds until {expires_at}, which is later; a renewal never shortens it"));
    }
    let renewed = Payload::LeaseRenewed(LeaseRenewed { lease: lease.id, expires_at });
    stage.emit(Draft { entity: Entity::Task(task), payload: renewed, why: None, fence: Some(lease.fence) })?;
    Ok(Subject::Lease(task))
}

/// `lease release`
fn lease_release(stage: &mut dyn Stage, c: &LeaseRelease) -> Result<Subject> {
    let (task, lease) = own_lease(stage, &Ref(c.id.0.clone()))?;
    let lease = if lease.is_live(stage.now()) { assert_again(stage, task, lease, true)? } else { lease };
    let released = Payload::LeaseReleased(LeaseReleased { lease: lease.id });
    stage.emit(Draft { entity: Entity::Task(task), payload: released, why: None, fence: Some(lease.fence) })?;
    Ok(Subject::Lease(task))
}

/// The actor's own lease, live or expired but not taken over.
fn own_lease(stage: &mut dyn Stage, reference: &Ref) -> Result<(Id, Lease)> {
    let task = stage.leased_task(reference)?;
    // Leases of other clones in its log count too.
    stage.exists(task)?;
    let record = stage.lease(task)?;
    let me = stage.me().clone();
    match lease::standing(&record, &me, stage.now()) {
        Standing::Mine(lease) | Standing::MineExpired(lease) => Ok((task, lease)),
        Standing::Others(other) => Err(lease::refusal(task, &record, &other, &me)),
        Standing::OthersExpired(other) => {
            let task = stage.task(task)?;
            Err(lease::abandoned(&task, &other))
        }
        Standing::Free if lease::is_lost(&record, &me) => Err(lease::lost_and_gone(task, &record)),
        Standing::Free => Err(Error::new(Code::LeaseLost, format!("no agent holds a lease of task {task}"))
            .hint(format!("take it with agentpm claim {task}"))),
    }
}
