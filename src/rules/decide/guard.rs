//! The checks that precede every change of a task: it exists, it is at the expected version, and the lease allows it.
//!
//! Leaves to others: what the change is.

use std::rc::Rc;

use serde_json::json;

use super::Subject;
use super::around::{move_to, open_blockers};
use super::grants::assert_again;
use super::refusals::refuse_finished;
use crate::error::{Code, Error, Result};
use crate::model::agent::Lease;
use crate::model::args::{OptionalTaskRef, Ref, Text};
use crate::model::command::Guard;
use crate::model::event::{Author, Entity};
use crate::model::id::Id;
use crate::model::payload::{LeaseOverride, LeaseReleased, LeaseRenewed, Payload};
use crate::model::task::{Status, Task};
use crate::rules::event_rules::rights_to;
use crate::rules::held::{NamedTask, only_one};
use crate::rules::lease::{self, Standing};
use crate::rules::readiness::not_permitted;
use crate::rules::roles::Verb;
use crate::rules::stage::{Draft, Stage};

/// A task that may be changed, and the lease for the change.
pub struct Permit {
    /// The task.
    pub id: Id,
    /// The lease the actor holds, if any.
    pub lease: Option<Lease>,
    /// The lease of another holder that the change overrides.
    overridden: Option<Lease>,
    why: Option<String>,
}

/// The lease for a change: one's own, or that of another holder which the change overrides.
#[derive(Default)]
struct Hold {
    own: Option<Lease>,
    overridden: Option<Lease>,
}

impl Hold {
    fn own(lease: Lease) -> Self {
        Hold { own: Some(lease), overridden: None }
    }
}

impl Permit {
    /// Emits an event of the task under this permit.
    pub fn emit(&self, stage: &mut dyn Stage, payload: Payload) -> Result<Id> {
        self.emit_forced(stage, payload, None)
    }

    /// As [`Permit::emit`]; the reason for an override, if there is one, is recorded in place of the permit's.
    pub fn emit_forced(&self, stage: &mut dyn Stage, payload: Payload, reason: Option<&Text>) -> Result<Id> {
        let fence = self.lease.as_ref().map(|lease| lease.fence);
        let why = reason.map(|reason| reason.0.clone()).or_else(|| self.why.clone());
        stage.emit(Draft { entity: Entity::Task(self.id), payload, why, fence })
    }

    /// The same permit with another reason, if one is given.
    pub fn because(mut self, why: Option<impl Into<String>>) -> Self {
        if let Some(why) = why {
            self.why = Some(why.into());
        }
        self
    }

    /// Whether there is a lease to give back: the actor's, or one that the change overrides.
    pub fn has_lease(&self) -> bool {
        self.held().is_some()
    }

    fn held(&self) -> Option<&Lease> {
        self.lease.as_ref().or(self.overridden.as_ref())
    }

    /// Releases the lease, if the actor holds one or overrides that of another holder.
    pub fn give_back(&self, stage: &mut dyn Stage) -> Result<()> {
        if let Some(lease) = self.held() {
            self.emit(stage, Payload::LeaseReleased(LeaseReleased { lease: lease.id }))?;
        }
        Ok(())
    }

    /// Releases the lease of a task in progress that another agent than the holder owns by now: that agent works on it.
    pub fn hand_over(&self, stage: &mut dyn Stage) -> Result<()> {
        let task = stage.task(self.id)?;
        let stays = |lease: &Lease| task.owner.as_ref().is_none_or(|owner| *owner == lease.agent);
        if task.status != Status::InProgress || self.held().is_none_or(stays) {
            return Ok(());
        }
        self.give_back(stage)
    }
}

/// Finds the task and checks that the actor may change it.
pub fn permit(stage: &mut dyn Stage, reference: &Ref, guard: &Guard, verb: Verb) -> Result<Permit> {
    let id = stage.task_id(reference)?;
    permit_id(stage, id, guard, verb)
}

/// As [`permit`], for a task whose id is known.
pub fn permit_id(stage: &mut dyn Stage, id: Id, guard: &Guard, verb: Verb) -> Result<Permit> {
    permit_with(stage, id, guard, verb, verb == Verb::Verify)
}

/// As [`permit_id`], for a change that confirms how the task stands.
pub fn permit_to_confirm(stage: &mut dyn Stage, id: Id, guard: &Guard, verb: Verb) -> Result<Permit> {
    permit_with(stage, id, guard, verb, true)
}

fn permit_with(stage: &mut dyn Stage, id: Id, guard: &Guard, verb: Verb, judges: bool) -> Result<Permit> {
    stage.require(verb)?;
    let task = stage.task(id)?;
    if let Some(expected) = guard.expected_version
        && expected != task.version
    {
        return Err(Error::new(Code::Conflict, format!("task {id} is at version {}, not {expected}", task.version))
            .with(json!({ "task": id, "expected": expected, "actual": task.version }))
            .hint(format!("read it again with agentpm task get {id}")));
    }
    if finishes(verb) {
        refuse_finished(stage, id)?;
    }
    let Hold { own: lease, overridden } = hold(stage, &task, guard, (verb, judges))?;
    let permit = Permit { id, lease, overridden, why: guard.why.as_ref().map(|w| w.0.clone()) };
    unblock_if_free(stage, id)?;
    Ok(permit)
}

/// The task that a command means: the one named, or the only one that the actor holds.
///
/// Errors: `ERR_AMBIGUOUS_ID` where it holds several; where it holds none, `ERR_LEASE_LOST` if it lost one, else
/// `ERR_NOT_FOUND`.
pub fn held_task(stage: &mut dyn Stage, named: &OptionalTaskRef) -> Result<Id> {
    if let Some(reference) = &named.0 {
        return stage.task_id(&Ref(reference.clone()));
    }
    let held = stage.held()?;
    if held.is_empty()
        && let Some(mut lost) = stage.lost()?
    {
        lost.details["named"] = json!(false);
        return Err(lost);
    }
    let agent = stage.me().agent.clone();
    only_one(&agent, &held, |id| Ok(NamedTask::new(id, stage.handle(id)?, &stage.task(id)?.fields.title)))
}

/// As [`permit_id`], for the task named or the one held.
pub fn permit_held(stage: &mut dyn Stage, named: &OptionalTaskRef, guard: &Guard, verb: Verb) -> Result<Permit> {
    let id = held_task(stage, named)?;
    permit_id(stage, id, guard, verb)
}

fn finishes(verb: Verb) -> bool {
    matches!(verb, Verb::Complete | Verb::Cancel)
}

/// The lease for the change; none for a task without a holder.
fn hold(stage: &mut dyn Stage, task: &Task, guard: &Guard, (verb, judges): (Verb, bool)) -> Result<Hold> {
    // An event that finishes a task also reports the end to the remote.
    let ends = finishes(verb) || matches!(verb, Verb::Claim | Verb::Archive);
    let asserts = !finishes(verb);
    // Who judges or confirms what others finished need not hear first that it once lost the task.
    let judges_end = judges && task.status.is_finished();
    let record = stage.lease(task.id)?;
    let me = stage.me().clone();
    let standing = lease::standing(&record, &me, stage.now());
    if let Some(claimed) = &guard.lease_id {
        check_claimed(task, claimed, &standing, &record, &me)?;
    }
    let (other, refusal) = match standing {
        Standing::Mine(lease) => {
            let lease = assert_again(stage, task.id, lease, ends && asserts)?;
            return renew_on_use(stage, task.id, lease).map(Hold::own);
        }
        Standing::Free if guard.override_reason.is_none() && !judges_end && lease::is_lost(&record, &me) => {
            return Err(lease::lost_and_gone(task.id, &record));
        }
        Standing::Free if ends && guard.override_reason.is_none() && stage.unseen_holder(task.id)?.is_some() => {
            return Err(lease::behind(task.id, record.fence));
        }
        // No agent can have the lease of a closed task.
        Standing::Free
            if stage.settings().lease.required && guard.override_reason.is_none() && !task.status.is_finished() =>
        {
            return Err(Error::new(Code::LeaseRequired, format!("task {} may only be changed under a lease", task.id))
                .hint(format!("acquire one first: agentpm lease acquire {}", task.id)));
        }
        Standing::Free => {
            let owner = task.owner.as_ref().filter(|owner| task.status == Status::InProgress && **owner != me.agent);
            let Some(owner) = owner else {
                if let Some(reason) = guard.override_reason.as_ref().filter(|_| ends)
                    && let Some(holder) = stage.unseen_holder(task.id)?
                {
                    stage.require(Verb::Override)?;
                    override_lease(stage, task.id, None, &holder, &reason.0)?;
                }
                return Ok(Hold::default());
            };
            let Some(reason) = &guard.override_reason else {
                return Err(Error::new(Code::LeaseHeld, format!("{owner} works on task {}", task.id))
                    .with(json!({ "task": task.id, "holder": owner }))
                    .hint_override("ask its owner to release it", "--override"));
            };
            stage.require(Verb::Override)?;
            override_lease(stage, task.id, None, owner, &reason.0)?;
            return Ok(Hold::default());
        }
        Standing::MineExpired(lease) if guard.lease_id.is_some() => return Err(lease::expired(task, &lease)),
        Standing::MineExpired(lease) => {
            let lease = renew_on_use(stage, task.id, lease)?;
            return assert_again(stage, task.id, lease, ends && asserts).map(Hold::own);
        }
        // A closed task has no holder: a lease that outlived the end, for example after git's reset or a merge, is ignored.
        Standing::OthersExpired(_) | Standing::Others(_) if task.status.is_finished() => return Ok(Hold::default()),
        Standing::OthersExpired(other) => {
            let lost = lease::lost_refusal(task.id, &record, &me);
            (other.clone(), lost.unwrap_or_else(|| lease::abandoned(task, &other)))
        }
        Standing::Others(other) => {
            let refusal = lease::refusal(task.id, &record, &other, &me);
            (other, refusal)
        }
    };
    let Some(reason) = &guard.override_reason else { return Err(refusal) };
    stage.require(Verb::Override)?;
    override_lease(stage, task.id, Some(other.id), &other.agent, &reason.0)?;
    Ok(Hold { own: None, overridden: Some(other) })
}

/// Renews one's own lease on a change in its second half, since work is a sign of life, or from now if it does not hold any more: no
/// other agent took it over, so it is still the holder's.
pub fn renew_on_use(stage: &mut dyn Stage, task: Id, lease: Lease) -> Result<Lease> {
    let (now, whole) = (stage.now(), lease.whole());
    if lease.is_live(now) && lease.expires_at.since(now) * 2 >= whole {
        return Ok(lease);
    }
    let expires_at = now.plus(whole);
    let payload = Payload::LeaseRenewed(LeaseRenewed { lease: lease.id, expires_at });
    stage.emit(Draft { entity: Entity::Task(task), payload, why: None, fence: Some(lease.fence) })?;
    Ok(Lease { expires_at, updated_at: now, ..lease })
}

/// Checks that the lease a caller names is the present one.
fn check_claimed(
    task: &Task,
    claimed: &Ref,
    standing: &Standing,
    record: &crate::model::agent::LeaseRecord,
    me: &crate::model::event::Author,
) -> Result<()> {
    match standing {
        Standing::Mine(lease) | Standing::MineExpired(lease) if names(claimed, lease.id) => Ok(()),
        Standing::Others(holder) => {
            let mut error = lease::refusal(task.id, record, holder, me);
            error.code = Code::LeaseLost;
            Err(error)
        }
        _ => Err(Error::new(Code::LeaseLost, format!("lease {claimed} of task {} is no longer yours", task.id))
            .with(json!({ "task": task.id, "lease": claimed.0 }))
            .hint_command(format!(
                "agentpm lease list shows the holders; agentpm claim {} acquires a new lease",
                task.id
            ))),
    }
}

/// Whether a reference matches this id: whole, by a prefix or by a suffix.
fn names(reference: &Ref, id: Id) -> bool {
    let text = id.to_string();
    reference.0.len() >= crate::model::id::ABBREVIATION_MIN
        && (text.starts_with(&reference.0) || text.ends_with(&reference.0))
}

fn override_lease(stage: &mut dyn Stage, task: Id, lease: Option<Id>, holder: &str, reason: &str) -> Result<()> {
    if reason.trim().is_empty() {
        return Err(Error::validation("--override needs a reason"));
    }
    stage.emit(Draft {
        entity: Entity::Task(task),
        payload: Payload::LeaseOverride(LeaseOverride { lease, holder: holder.to_owned(), task: None }),
        why: Some(reason.to_owned()),
        fence: None,
    })?;
    Ok(())
}

/// Refuses an agent that lacks the right or the precedence that a task needs.
pub fn refuse_unfit(stage: &mut dyn Stage, task: &Task, name: &str) -> Result<()> {
    let mut viewer = stage.viewer()?;
    if viewer.name() != Some(name) {
        viewer.role = stage.agent(name)?.role;
        viewer.me = Some(Author { agent: name.to_owned(), ..Author::default() });
    }
    let Some(reason) = not_permitted(&task.brief(), &viewer) else { return Ok(()) };
    Err(Error::new(Code::Unauthorized, format!("task {} {}, which {name} lacks", task.id, reason.words()))
        .with(json!({ "task": task.id, "reasons": [reason] }))
        .hint_other_work("roles.yml of the store grants it; "))
}

/// Records that a blocked task is open again, if no unfinished task blocks it any more. It counts as open in any case. An
/// actor without the right to change the status leaves this to others, since in a merge its event could override a claim.
pub fn unblock_if_free(stage: &mut dyn Stage, id: Id) -> Result<Rc<Task>> {
    let task = stage.task(id)?;
    let may = Verb::OPENING.iter().any(|verb| stage.require(*verb).is_ok());
    if !may || task.status != Status::Blocked || !open_blockers(stage, &task)?.is_empty() {
        return Ok(task);
    }
    stage.emit(Draft {
        entity: Entity::Task(id),
        payload: Payload::TaskStatusChanged(move_to(Status::Blocked, Status::Open)),
        why: Some(
            if task.blockers().is_empty() { "nothing blocks it any more" } else { "all its blockers are finished" }
                .into(),
        ),
        fence: None,
    })?;
    stage.task(id)
}

/// Records that an open task is blocked, if an unfinished task blocks it. An actor that lacks the right to block, such as a
/// reviewer, leaves it to others: the task waits in any case, and the next write to it records it.
pub fn block_if_waiting(stage: &mut dyn Stage, id: Id, why: &str) -> Result<()> {
    let task = stage.task(id)?;
    let may_block = rights_to(Status::Blocked).iter().any(|verb| stage.require(*verb).is_ok());
    if !may_block || task.status != Status::Open || open_blockers(stage, &task)?.is_empty() {
        return Ok(());
    }
    stage.emit(Draft {
        entity: Entity::Task(id),
        payload: Payload::TaskStatusChanged(move_to(Status::Open, Status::Blocked)),
        why: Some(why.to_owned()),
        fence: None,
    })?;
    Ok(())
}

/// As [`unblock_if_free`], for each of these tasks; returns those that it unblocked. A task that another agent holds is left
/// to the holder.
pub fn unblock_freed(stage: &mut dyn Stage, ids: &[Id]) -> Result<Subject> {
    let (me, now) = (stage.me().clone(), stage.now());
    let mut unblocked = Vec::new();
    for id in ids {
        if !stage.may_follow(*id) || stage.task(*id)?.status != Status::Blocked {
            continue;
        }
        if let Standing::Others(holder) = lease::standing(&stage.lease(*id)?, &me, now) {
            stage.warn(format!("task {id} stays blocked: {} holds it until {}", holder.agent, holder.expires_at));
        } else if unblock_if_free(stage, *id)?.status == Status::Open {
            unblocked.push((None, Subject::Task(*id)));
        }
    }
    Ok(Subject::Batch(unblocked))
}
