//! Commands whose leases a remote confirms: decide, ask, decide again.
//!
//! Guarantees that the remote is never asked under the lock. Its replies are part of the second decision, which is made under
//! the lock like any other; a lease that it granted and the command did not use is released. If it does not answer, the work
//! continues with a warning that it is not confirmed, unless the settings forbid that.
//! Leaves to others: who may have a lease (`rules::confirm`, `rules::decide`), and how references travel (`engine::commit::remote`).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::hand_edits::record::HandEdit;
use super::remote::{self, Remote};
use super::transaction::Transaction;
use super::write::{self, Reply};
use crate::engine::context::Workspace;
use crate::engine::view::branches::branch_seen;
use crate::engine::view::{read, ref_logs};
use crate::error::{Code, Error, Result};
use crate::git::Objects;
use crate::model::agent::{RemoteState, Seen};
use crate::model::command::Command;
use crate::model::event::{Author, Entity, Event, MAX_CLOCK};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::model::time::Time;
use crate::rules::confirm::{self, Answer, Goal, KnownEnds, LeaseRemote as _, LeaseRequest, Trouble};
use crate::rules::decide::Subject;
use crate::rules::lease;
use crate::rules::stage::{Grant, Stage as _};
use crate::runtime::lock::Lock;
use crate::runtime::records;

/// Maximum number of new decisions of one command after a refusal by the remote.
const ROUNDS: usize = 200;

/// Maximum number of abandoned tasks of other clones that are named.
const MOST_LEFT: usize = 5;

/// The replies of the remote in the course of one command.
#[derive(Clone, Debug)]
pub(crate) struct RemoteReplies {
    /// The start of the command: all its decisions use that time, so the remote confirms exactly what is written.
    pub now: Time,
    /// The records at the remote, by task.
    pub seen: BTreeMap<Id, Seen>,
    /// The leases it was asked for.
    pub grants: BTreeMap<Id, Grant>,
    /// Tasks whose lease was renewed or read at the remote.
    answered: BTreeSet<Id>,
    /// The events that end tasks and were reported to the remote.
    pub chosen: BTreeMap<Id, Id>,
    /// Tasks whose end the remote did not accept.
    unheard: BTreeSet<Id>,
    /// Tasks without a record at the remote, though one was seen before.
    pub gone: BTreeSet<Id>,
    /// Why it is not asked any more.
    unreachable: Option<Trouble>,
    /// Whether all of it was read for this command.
    fresh: bool,
}

/// How a command asks for leases.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    /// For this task only; an expired lease of another holder may be taken over.
    explicit: bool,
    /// Whatever others did that has not arrived here.
    here: bool,
}

/// What a decision needs from the remote before it takes effect.
pub(crate) enum Need {
    /// A lease, and the record last seen in its place.
    Acquire(Box<LeaseRequest>, Option<Seen>),
    /// More time for a lease at the remote: its new end, the time now, and the Lamport time.
    Renew(Seen, Time, Time, u64),
    /// Confirmation that a lease is still at the remote.
    Verify(Seen),
    /// Confirmation that no other agent has a task that is begun or ended without a lease.
    Look(Id),
}

impl Need {
    fn task(&self) -> Id {
        match self {
            Need::Acquire(wish, _) => wish.task,
            Need::Renew(seen, ..) | Need::Verify(seen) => seen.record.task,
            Need::Look(task) => *task,
        }
    }
}

impl Transaction<'_> {
    /// What the remote must be asked before a decision takes effect.
    pub(crate) fn needs(&mut self, clone: Id, ask: Ask) -> Result<Vec<Need>> {
        let Some(said) = self.said.clone() else { return Ok(Vec::new()) };
        let mut needs: BTreeMap<Id, Need> = BTreeMap::new();
        let ends = self.entries.iter().filter(|entry| lease::is_end(&entry.event.payload));
        let ending: BTreeSet<Id> = ends.filter_map(|entry| entry.event.entity.task()).collect();
        for entry in self.entries.clone() {
            let event = &entry.event;
            let Entity::Task(task) = event.entity else { continue };
            if lease::is_end(&event.payload) {
                let asked = said.chosen.contains_key(&task) || said.unheard.contains(&task);
                if !asked && self.is_old(task) {
                    let wish = self.finishing(event, clone, ask)?;
                    needs.insert(task, Need::Acquire(Box::new(wish), self.lease(task)?.remote));
                }
                continue;
            }
            // The record of the end covers the task.
            if ending.contains(&task) || said.grants.contains_key(&task) || said.answered.contains(&task) {
                continue;
            }
            let known = self.lease(task)?.remote;
            let seen = known.clone().filter(|seen| seen.ours && event.fence == Some(seen.record.fence));
            match (&event.payload, seen) {
                (Payload::LeaseAcquired(p), _) => {
                    let wish = LeaseRequest {
                        explicit: ask.explicit,
                        lamport: self.lamport(),
                        task,
                        goal: Goal::Hold,
                        lease: p.lease,
                        holder: Author { agent: p.holder.clone(), session: p.session, ..Author::default() },
                        clone,
                        fence: p.fence.saturating_add(confirm::STEP - 1),
                        known: self.known(task, ask)?,
                        expires_at: p.expires_at,
                        now: event.at,
                    };
                    needs.insert(task, Need::Acquire(Box::new(wish), known));
                }
                (Payload::LeaseRenewed(p), Some(seen)) if seen.record.lease == p.lease => {
                    needs.insert(task, Need::Renew(seen, p.expires_at, event.at, event.lamport));
                }
                (Payload::TaskStatusChanged(_) | Payload::TaskArchived(_) | Payload::TaskReopened(_), Some(seen)) => {
                    needs.entry(task).or_insert(Need::Verify(seen));
                }
                (Payload::TaskStatusChanged(p), None)
                    if event.fence.is_none() && p.from != Status::Blocked && !said.fresh && self.is_old(task) =>
                {
                    needs.entry(task).or_insert(Need::Look(task));
                }
                _ => {}
            }
        }
        Ok(needs.into_values().collect())
    }

    /// The record that says that an event of this command ends its task.
    fn finishing(&mut self, event: &Event, clone: Id, ask: Ask) -> Result<LeaseRequest> {
        let Some(task) = event.entity.task() else { return Err(Error::state("only a task is finished")) };
        // The lease under which it happens, which the same command gives back.
        let mut here = self.entries.iter().filter(|entry| entry.event.entity == event.entity);
        let mine = here.clone().find_map(|entry| match &entry.event.payload {
            Payload::LeaseReleased(p) if entry.event.fence == event.fence => Some(p.lease),
            _ => None,
        });
        let before = records::lease(self.runtime, task)?.lease.filter(|lease| !lease.elsewhere);
        let holds = before.is_some_and(|lease| Some(lease.fence) == event.fence && lease.is_live(event.at));
        let anyway = here.any(|entry| matches!(entry.event.payload, Payload::LeaseOverride(_)));
        Ok(LeaseRequest {
            task,
            goal: Goal::Finish { event: event.id, anyway },
            lease: mine.unwrap_or(event.id),
            holder: event.author.clone(),
            clone,
            explicit: holds,
            lamport: self.lamport(),
            fence: event.fence.unwrap_or(0).max(self.known_fence(task)?),
            known: self.known(task, ask)?,
            expires_at: event.at,
            now: event.at,
        })
    }

    fn known(&mut self, task: Id, ask: Ask) -> Result<KnownEnds> {
        self.load_known(task)?;
        let events = self.tasks[&task].log.entries.iter().map(|entry| entry.event.id).collect();
        Ok(KnownEnds { events, in_spite: ask.here })
    }

    /// Whether a task was there before this command.
    pub(crate) fn is_old(&self, task: Id) -> bool {
        self.tasks.get(&task).is_some_and(|slot| !slot.log.entries.is_empty())
    }

    /// The leases at the remote that the decision releases.
    fn ends(&mut self) -> Result<Vec<Seen>> {
        let mut ends = Vec::new();
        for entry in self.entries.clone() {
            let (Entity::Task(task), Payload::LeaseReleased(p)) = (&entry.event.entity, &entry.event.payload) else {
                continue;
            };
            let is_held =
                |seen: &Seen| seen.ours && seen.record.lease == p.lease && seen.record.state == RemoteState::Held;
            ends.extend(self.lease(*task)?.remote.filter(is_held));
        }
        Ok(ends)
    }
}

/// A remote that is opened when it is first asked.
pub(crate) struct Asking<'a> {
    ws: &'a Workspace,
    objects: OnceCell<Result<Objects>>,
    name: &'a str,
    clone: Id,
}

impl<'a> Asking<'a> {
    pub fn new(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        Ok(Asking { ws, objects: OnceCell::new(), name, clone: clone_id(ws)? })
    }

    /// As [`Asking::new`] for one who only reads: nothing is written, not even the id of a clone that has none.
    pub fn to_read(ws: &'a Workspace, name: &'a str) -> Result<Self> {
        let known = ws.runtime().map(records::clone_id).transpose()?.flatten();
        Ok(Asking { ws, objects: OnceCell::new(), name, clone: known.unwrap_or(Id::from_parts(0, 0)) })
    }

    pub fn clone_id(&self) -> Id {
        self.clone
    }

    /// The remote, with all its time before it.
    pub fn remote(&self) -> Result<Remote<'_>, Trouble> {
        let objects = self.objects.get_or_init(|| remote::objects_to_ask(self.ws));
        let objects = objects.as_ref().map_err(|e| Trouble::Unreachable(e.message.clone()))?;
        Remote::open(self.ws, objects, self.name, self.clone).map_err(|e| Trouble::Unreachable(e.message))
    }
}

/// The id of this clone; it is given one where it has none.
fn clone_id(ws: &Workspace) -> Result<Id> {
    let runtime = ws.runtime_to_write()?;
    if let Some(id) = records::clone_id(&runtime)? {
        return Ok(id);
    }
    write::under_lock(ws, "agentpm, naming this clone", |runtime, _, _| match records::clone_id(runtime)? {
        Some(id) => Ok(id),
        None => {
            let id = ws.env.new_id()?;
            records::write_clone_id(runtime, id)?;
            Ok(id)
        }
    })
}

/// Carries out a command whose leases the remote `name` confirms.
///
/// Errors: as `write::execute`; `ERR_SYNC` where the settings want confirmation and the remote gives none.
pub(crate) fn execute_asking(
    ws: &Workspace,
    author: &Author,
    command: &Command,
    name: &str,
    edits: &[HandEdit],
    decision: impl Fn(&mut Transaction) -> Result<Subject>,
) -> Result<Reply> {
    let asking = Asking::new(ws, name)?;
    // Opened once, so that all questions of this command share one time.
    let mut remote = None;
    let mut said = RemoteReplies::at(ws.env.now());
    let ask = Ask {
        explicit: !matches!(command, Command::Claim(claim) if claim.id.0.is_none()),
        here: matches!(command, Command::Claim(claim) if claim.here),
    };
    let (mut alone, mut took_back) = (None, false);
    for _ in 0..ROUNDS {
        let (mut needs, mut ends, mut waits, mut lamport) = (Vec::new(), Vec::new(), false, 0);
        let outcome = write::execute_as(ws, author.clone(), command, edits, Some(&said), |tx| {
            let subject = decision(tx)?;
            waits = tx.waits_for_remote;
            needs = tx.needs(asking.clone_id(), ask)?;
            if !needs.is_empty() {
                return Err(Error::new(Code::Busy, "the remote is to be asked first"));
            }
            ends = tx.ends()?;
            lamport = tx.lamport();
            Ok(subject)
        });
        if !needs.is_empty() {
            if alone.is_none() {
                // The agents of a clone ask one after the other: what stands there of this clone is then not in use.
                alone = Some(alone_at_remote(ws, &author.agent)?);
                continue;
            }
            let remote = remote.get_or_insert_with(|| asking.remote());
            for need in needs {
                said.ask(need, remote);
            }
            if ws.settings.lease.confirmed_only
                && let Some(trouble) = said.unreachable.clone()
            {
                withdraw(ws, &said, remote);
                return Err(not_confirmed(name, &trouble));
            }
            continue;
        }
        let stuck = match &outcome {
            Ok(reply) => waits && reply.subject == Subject::Claim(None),
            Err(e) => {
                matches!(e.code, Code::LeaseHeld | Code::LeaseLost | Code::LeaseExpired)
                    || e.details["finished_elsewhere"] == true
            }
        };
        if stuck && !said.fresh && said.unreachable.is_none() {
            // What was seen there earlier may have changed since.
            said.refresh(remote.get_or_insert_with(|| asking.remote()));
            continue;
        }
        if stuck && !took_back && said.unreachable.is_none() {
            took_back = true;
            if alone.is_none() {
                alone = Some(alone_at_remote(ws, &author.agent)?);
            }
            if let Ok(remote) = remote.get_or_insert_with(|| asking.remote())
                && take_back_own(ws, &mut said, remote)?
            {
                continue;
            }
        }
        let outcome = outcome.map_err(|mut e| {
            if stuck && let Some(trouble) = &said.unreachable {
                e.message = format!("{}, as was last seen: {}", e.message, trouble.words());
            }
            e
        });
        if !ends.is_empty() {
            remote.get_or_insert_with(|| asking.remote());
        }
        let mut outcome = outcome;
        if let (Command::Claim(_), Ok(reply)) = (command, &mut outcome) {
            let remote = remote.get_or_insert_with(|| asking.remote());
            // A claim that was confirmed has looked already.
            let looked = if said.grants.is_empty() { remote.as_ref().is_ok_and(|r| r.look().is_ok()) } else { true };
            reply.warnings.extend(behind(ws).filter(|_| looked).map(|behind| behind.words()));
        }
        return conclude(ws, outcome, said, (ends, lamport), remote, name);
    }
    Err(Error::new(Code::Busy, "the leases at the remote kept changing; nothing was written")
        .hint("run the same command again"))
}

/// Withdraws the ends that killed commands of this clone recorded at the remote; returns whether there were any.
fn take_back_own(ws: &Workspace, said: &mut RemoteReplies, remote: &mut Remote<'_>) -> Result<bool> {
    let finished = said.seen.values().filter(|seen| seen.record.state == RemoteState::Finished);
    // The record in the way was noted as another clone's: check again whether this clone sent it.
    let tasks: Vec<Id> = finished.map(|seen| seen.record.task).collect();
    let there: Vec<Seen> = tasks.into_iter().filter_map(|task| remote.read(task).ok().flatten()).collect();
    let taken_back = take_back_unwritten(ws, remote, there.iter())?;
    for task in &taken_back {
        said.seen.remove(task);
    }
    said.fresh &= taken_back.is_empty();
    Ok(!taken_back.is_empty())
}

/// Takes back at the remote that tasks are finished by events that this clone never wrote, since the command died in between.
/// The caller is alone at the remote: a command that is about to write its event is not among them. Returns the tasks.
pub(crate) fn take_back_unwritten<'s>(
    ws: &Workspace,
    remote: &mut Remote<'_>,
    there: impl Iterator<Item = &'s Seen>,
) -> Result<Vec<Id>> {
    let ours = there.filter(|seen| seen.ours && seen.record.state == RemoteState::Finished);
    let mut doubtful: BTreeMap<Id, &Seen> = ours.filter_map(|seen| Some((*seen.record.ends.last()?, seen))).collect();
    let known = ref_logs::events_known_here(ws, &doubtful.keys().copied().collect())?;
    doubtful.retain(|event, _| !known.iter().any(|entry| entry.event.id == *event));
    let mut taken_back = Vec::new();
    for seen in doubtful.into_values() {
        match confirm::not_finished(remote, seen, ws.env.now()) {
            Ok(()) => taken_back.push(seen.record.task),
            Err(trouble) => {
                tracing::warn!(task = %seen.record.task, "an end was not withdrawn: {}", trouble.words());
            }
        }
    }
    Ok(taken_back)
}

/// Waits until no other agent of this clone asks the remote.
pub(crate) fn alone_at_remote(ws: &Workspace, who: &str) -> Result<Lock> {
    let each = Duration::from_secs(ws.settings.lease.remote_seconds.max(1).into());
    let wait = each.saturating_mul(2) + Duration::from_millis(ws.settings.lock.wait_ms.into());
    Lock::take_named(&ws.runtime_to_write()?, "leases", wait, &format!("{who}, asking the remote for a lease"))
}

/// Reports the outcome of the command to the remote, and remembers its replies.
fn conclude(
    ws: &Workspace,
    outcome: Result<Reply>,
    said: RemoteReplies,
    (ends, lamport): (Vec<Seen>, u64),
    mut remote: Option<Result<Remote<'_>, Trouble>>,
    name: &str,
) -> Result<Reply> {
    match outcome {
        Ok(mut reply) => {
            // The change has happened: what was seen besides is only asked for once more.
            if let Err(e) = remember(ws, &said) {
                reply.warnings.push(format!(
                    "saved, but the replies of {name} about other tasks were not recorded: {}",
                    e.message
                ));
            }
            if reply.subject == Subject::Claim(None) {
                reply.warnings.extend(left_elsewhere(ws, &said));
            }
            if let Some(trouble) = &said.unreachable {
                let what = if ends.is_empty() { "the lease is not confirmed" } else { "this is not confirmed" };
                reply.warnings.push(format!("{what}: {}; agentpm sync asks {name} again", trouble.words()));
            } else {
                if let (Subject::Claim(kept), Some(remote)) = (&reply.subject, &mut remote) {
                    give_back_all_but(ws, *kept, &said, remote);
                }
                for seen in ends {
                    let until = seen.record.expires_at;
                    let reported = match &mut remote {
                        Some(Ok(remote)) => confirm::release(remote, seen, ws.env.now(), lamport),
                        Some(Err(trouble)) => Err(trouble.clone()),
                        None => continue,
                    };
                    if let Err(trouble) = reported {
                        reply.warnings.push(format!(
                            "saved, but {name} still shows the lease until {until}: {}; agentpm sync reports the end",
                            trouble.words()
                        ));
                    }
                }
            }
            Ok(reply)
        }
        Err(e) => {
            if let Some(remote) = &mut remote {
                withdraw(ws, &said, remote);
            }
            // The refusal is what counts; it may be reported again.
            if let Err(e) = remember(ws, &said) {
                tracing::warn!(error = %e, "the replies of the remote were not recorded");
            }
            write::clear_reported_lost_leases(ws, &e);
            Err(e)
        }
    }
}

/// Work in other clones whose lease expired: it is handed out only on request.
fn left_elsewhere(ws: &Workspace, said: &RemoteReplies) -> Vec<String> {
    let over = said.seen.values().filter(|seen| {
        let r = &seen.record;
        !seen.ours && r.state == RemoteState::Held && r.expires_at <= said.now
    });
    let words = |seen: &Seen| {
        let r = &seen.record;
        let handle = read::handle(ws, r.task).unwrap_or_else(|_| r.task.to_string());
        format!(
            "the lease of {} on task {handle} in another clone ran out at {}; agentpm claim {handle} takes it over",
            r.agent, r.expires_at
        )
    };
    over.take(MOST_LEFT).map(words).collect()
}

/// Releases what the remote agreed to and no command uses. What cannot be released expires, or `sync` releases it.
fn withdraw(ws: &Workspace, said: &RemoteReplies, remote: &mut Result<Remote<'_>, Trouble>) {
    let Ok(remote) = remote else { return };
    for task in said.chosen.keys() {
        let Some(seen) = said.seen.get(task) else { continue };
        if let Err(trouble) = confirm::not_finished(remote, seen, ws.env.now()) {
            tracing::warn!(%task, "the end of a task at the remote was not withdrawn: {}", trouble.words());
        }
    }
    release_granted(ws, said, remote, |_| false);
}

/// What was agreed to for a claim that then passed over the task, because it is taken or finished on a branch of the remote.
fn give_back_all_but(ws: &Workspace, kept: Option<Id>, said: &RemoteReplies, remote: &mut Result<Remote<'_>, Trouble>) {
    if let Ok(remote) = remote {
        release_granted(ws, said, remote, |task| Some(task) == kept);
    }
}

fn release_granted(ws: &Workspace, said: &RemoteReplies, remote: &mut Remote<'_>, keeps: impl Fn(Id) -> bool) {
    for (task, grant) in said.grants.iter().filter(|(_, grant)| grant.fence.is_some()) {
        if let Some(seen) = said.seen.get(task)
            && !said.chosen.contains_key(task)
            && !keeps(*task)
            && let Err(trouble) = confirm::release(remote, seen.clone(), ws.env.now(), 0)
        {
            tracing::warn!(%task, lease = %grant.lease, "a lease at the remote was not released: {}", trouble.words());
        }
    }
}

/// Looks at the branches of the remote that confirms leases, and says whether this branch is behind; nothing where there is no
/// such remote, or where it does not answer.
pub fn look_for_more(ws: &Workspace) -> Option<Behind> {
    let asking = Asking::to_read(ws, ws.lease_remote()?).ok()?;
    asking.remote().ok()?.look().ok()?;
    behind(ws)
}

/// Whether the remote that confirms leases was last seen to have changes of the plan on this branch that are not here.
pub fn behind(ws: &Workspace) -> Option<Behind> {
    let name = ws.lease_remote()?;
    let objects = remote::objects_to_ask(ws).ok()?;
    let head = objects.head().ok()?;
    let (commit, branch) = (head.commit?, head.branch?);
    let branch = branch.strip_prefix("refs/heads/")?.to_owned();
    let of = |key: &str| objects.setting(&format!("branch.{branch}.{key}"));
    let upstream = of("merge").filter(|_| of("remote").as_deref() == Some(name));
    let upstream = upstream.and_then(|merge| Some(merge.strip_prefix("refs/heads/")?.to_owned())).unwrap_or(branch);
    let tip = branch_seen(&objects, name, &upstream)?;
    let base = objects.merge_base(commit, tip).ok()?.unwrap_or(commit);
    let plan = |commit| {
        let tree = objects.commit(commit).ok()?.tree;
        objects.item(tree, &ws.store.name).ok()?.map(|item| item.oid)
    };
    (plan(base) != plan(tip)).then(|| Behind { branch: format!("{name}/{upstream}") })
}

/// Stores what was seen at the remote, so known facts need not be asked for again.
pub(crate) fn remember(ws: &Workspace, said: &RemoteReplies) -> Result<()> {
    let foreign: Vec<(&Id, &Seen)> = said.seen.iter().filter(|(_, seen)| !seen.ours).collect();
    if foreign.is_empty() && said.gone.is_empty() {
        return Ok(());
    }
    write::under_lock(ws, "agentpm, noting leases of other clones", |runtime, _, _| {
        for (task, seen) in foreign {
            let mut record = records::lease(runtime, *task)?;
            let newer =
                |old: &Seen| old.over < seen.over || (old.oid != seen.oid && old.record.fence <= seen.record.fence);
            if record.remote.as_ref().is_none_or(newer) {
                record.remote = Some(seen.clone());
                records::write_lease(runtime, *task, &record)?;
            }
        }
        for task in said.gone.iter().filter(|task| !said.seen.contains_key(task)) {
            let mut record = records::lease(runtime, *task)?;
            if record.remote.is_some() {
                lease::forget(&mut record);
                records::write_lease(runtime, *task, &record)?;
            }
        }
        Ok(())
    })
}

/// Tasks with a record that was seen at the remote.
pub(crate) fn seen_before(ws: &Workspace) -> Result<Vec<Id>> {
    let Some(runtime) = ws.runtime() else { return Ok(Vec::new()) };
    let mut tasks = Vec::new();
    for task in records::leased_tasks(runtime)? {
        if records::lease(runtime, task)?.remote.is_some() {
            tasks.push(task);
        }
    }
    Ok(tasks)
}

/// A branch of the remote that knows more of the plan than is here.
#[derive(Clone, Debug)]
pub struct Behind {
    /// The branch, with its remote.
    pub branch: String,
}

impl Behind {
    /// What to know of it.
    pub fn words(&self) -> String {
        format!("{} has changes of the plan that are not here; agentpm sync merges them", self.branch)
    }
}

/// The refusal where only confirmed work is wanted.
fn not_confirmed(name: &str, trouble: &Trouble) -> Error {
    Error::new(Code::Sync, format!("{name} did not confirm the lease: {}; nothing was written here", trouble.words()))
        .with(serde_json::json!({ "remote": name, "confirmed": false, "trouble": trouble.words() }))
        .hint("run the same command again when the remote answers; lease.confirmed_only = true asks for this")
}

impl RemoteReplies {
    /// The greatest Lamport time that earlier holders had used.
    pub fn lamport(&self) -> u64 {
        let granted = self.grants.keys().filter_map(|task| self.seen.get(task));
        granted.map(|seen| seen.record.lamport).filter(|lamport| *lamport <= MAX_CLOCK).max().unwrap_or(0)
    }

    /// No replies yet.
    pub fn at(now: Time) -> Self {
        RemoteReplies {
            now,
            seen: BTreeMap::new(),
            grants: BTreeMap::new(),
            answered: BTreeSet::new(),
            chosen: BTreeMap::new(),
            unheard: BTreeSet::new(),
            gone: BTreeSet::new(),
            unreachable: None,
            fresh: false,
        }
    }

    /// Asks the remote one question and records its reply.
    fn ask(&mut self, need: Need, remote: &mut Result<Remote<'_>, Trouble>) {
        if let Some(trouble) = self.unreachable.clone() {
            return self.record_answer(need, Answer::Unconfirmed(trouble));
        }
        let now = self.now;
        let answer = match remote {
            Err(trouble) => Answer::Unconfirmed(trouble.clone()),
            Ok(remote) => match &need {
                Need::Acquire(wish, known) => confirm::acquire(remote, wish, known.clone()),
                Need::Renew(seen, until, now, lamport) => confirm::renew(remote, seen.clone(), *until, *now, *lamport),
                Need::Verify(seen) => confirm::verify(remote, seen, now),
                Need::Look(_) => {
                    // All at once costs no more than one, and a plan may be begun or ended as a whole.
                    let remote: &mut Remote<'_> = remote;
                    return self.read_all(remote);
                }
            },
        };
        let lost = matches!(answer, Answer::Held(_));
        self.record_answer(need, answer);
        // Where one is taken, others may be: all at once costs no more than one.
        if lost && !self.fresh {
            self.refresh(remote);
        }
    }

    fn record_answer(&mut self, need: Need, answer: Answer) {
        let task = need.task();
        let asked_for = if let Need::Acquire(wish, _) = &need { Some((wish.lease, wish.goal.clone())) } else { None };
        match answer {
            Answer::Confirmed(seen) => {
                match asked_for {
                    Some((lease, Goal::Hold)) => {
                        self.grants.insert(task, Grant { lease, fence: Some(seen.record.fence) });
                    }
                    Some((_, Goal::Finish { event, .. })) => {
                        self.chosen.insert(task, event);
                    }
                    None => {
                        self.answered.insert(task);
                    }
                }
                self.seen.insert(task, seen);
            }
            // Another holder of this very clone that has not come to write it down yet is another holder all the same.
            Answer::Held(seen) => {
                let over = match &need {
                    Need::Acquire(wish, _) => wish.fence.saturating_sub(confirm::STEP),
                    Need::Renew(mine, ..) | Need::Verify(mine) => mine.record.fence,
                    Need::Look(_) => 0,
                };
                self.seen.insert(task, Seen { ours: false, over, ..seen });
            }
            Answer::Gone => {
                self.gone.insert(task);
            }
            Answer::Unconfirmed(trouble) => {
                match asked_for {
                    Some((lease, Goal::Hold)) => drop(self.grants.insert(task, Grant { lease, fence: None })),
                    Some((_, Goal::Finish { .. })) => drop(self.unheard.insert(task)),
                    None => drop(self.answered.insert(task)),
                }
                self.unreachable = Some(trouble);
            }
        }
    }

    /// Reads all records at the remote.
    pub(crate) fn refresh(&mut self, remote: &mut Result<Remote<'_>, Trouble>) {
        match remote {
            Ok(remote) => self.read_all(remote),
            Err(trouble) => {
                self.fresh = true;
                self.unreachable = Some(trouble.clone());
            }
        }
    }

    fn read_all(&mut self, remote: &Remote<'_>) {
        self.fresh = true;
        let all = match remote.all() {
            Ok(all) => all,
            Err(trouble) => {
                self.unreachable = Some(trouble);
                return;
            }
        };
        for task in remote.seen_before() {
            if !all.contains_key(&task) && !self.grants.contains_key(&task) {
                self.seen.remove(&task);
                self.gone.insert(task);
            }
        }
        for (task, listed) in all {
            // A record that makes no sense is reported when its task is asked for.
            let known = self.grants.contains_key(&task) || self.seen.contains_key(&task);
            if let (Ok(seen), false) = (listed, known) {
                self.seen.insert(task, seen);
            }
        }
    }
}
