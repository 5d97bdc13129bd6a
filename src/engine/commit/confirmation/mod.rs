//! Commands whose leases a remote confirms: decide, ask, decide again.
//!
//! Guarantees that the remote is never asked under the lock. Its replies are part of the second decision, which is made under
//! the lock like any other; a lease that it granted and the command did not use is released. If it does not answer, the work
//! continues with a warning that it is not confirmed, unless the settings forbid that.
//! Leaves to others: who may have a lease (`rules::confirm`, `rules::decide`), and how references travel (`engine::commit::remote`).

mod asking;
mod behind;
mod needs;
mod replies;

pub(crate) use asking::Asking;
pub use behind::{behind, look_for_more};
pub(crate) use replies::{RemoteReplies, remember, seen_before};

use std::collections::BTreeMap;
use std::time::Duration;

use self::needs::{Ask, Need};
use super::answer::Reply;
use super::hand_edits::record::HandEdit;
use super::idempotency::{Action, Order};
use super::remote::Remote;
use super::transaction::Transaction;
use super::write::{self};
use crate::engine::context::Workspace;
use crate::engine::view::{read, ref_logs};
use crate::error::{Code, Error, Result};
use crate::model::agent::{RemoteState, Seen};
use crate::model::command::Command;
use crate::model::event::Author;
use crate::model::id::Id;
use crate::model::settings::BUS;
use crate::rules::confirm::{self, LeaseRemote as _, Trouble};
use crate::rules::decide::Subject;
use crate::runtime::lock::Lock;

/// Maximum number of new decisions of one command after a refusal by the remote.
const ROUNDS: usize = 200;

/// Maximum number of abandoned tasks of other clones that are named.
const MOST_LEFT: usize = 5;

/// Executes a command whose leases the remote `name` confirms.
///
/// Errors: as `write::execute`; `ERR_SYNC` if the settings want confirmation and the remote gives none.
pub(crate) fn execute_asking<'a>(
    ws: &Workspace,
    author: &Author,
    order: impl Into<Order<'a>>,
    name: &str,
    edits: &[HandEdit],
    decision: impl Fn(&mut Transaction) -> Result<Subject>,
) -> Result<Reply> {
    let order = order.into();
    let action = order.action;
    let asking = Asking::new(ws, name)?;
    let mut dialogue = Dialogue {
        ws,
        agent: &author.agent,
        name: shown_remote(name),
        asking: &asking,
        remote: None,
        replies: RemoteReplies::at(ws.env.now()),
        // A claim asks in any case. One that has its turn before it decides need not decide once more for it.
        turn: matches!(action.command(), Some(Command::Claim(_)))
            .then(|| turn_within(ws, &author.agent, Duration::ZERO).ok())
            .flatten(),
        took_back: false,
    };
    let ask = Ask {
        explicit: !action.chooses(),
        here: matches!(action.command(), Some(Command::Claim(claim)) if claim.here),
    };
    for _ in 0..ROUNDS {
        let (mut needs, mut ends, mut waits, mut lamport) = (Vec::new(), Vec::new(), false, 0);
        let outcome = write::execute_as(ws, author.clone(), order, edits, Some(&dialogue.replies), |tx| {
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
            dialogue.ask(needs)?;
            match dialogue.replies.stuck.take() {
                Some(refusal) => return Err(dialogue.abandon(refusal, true)),
                None => continue,
            }
        }
        let is_stuck = match &outcome {
            Ok(reply) => waits && reply.subject == Subject::Claim(None),
            Err(e) => {
                matches!(e.code, Code::LeaseHeld | Code::LeaseLost | Code::LeaseExpired)
                    || e.details["finished_elsewhere"] == true
            }
        };
        if is_stuck && dialogue.look_again()? {
            continue;
        }
        return match outcome {
            Ok(reply) => Ok(dialogue.conclude(action, reply, ends, lamport)),
            Err(e) => Err(dialogue.abandon(e, is_stuck)),
        };
    }
    Err(Error::new(Code::Busy, "the leases at the remote kept changing; nothing was written")
        .hint("run the same command again"))
}

/// What confirms leases, as messages name it.
pub(crate) fn shown_remote(name: &str) -> &str {
    if name == BUS { "the bus" } else { name }
}

/// One command's questions to the remote, with their replies.
struct Dialogue<'a> {
    ws: &'a Workspace,
    agent: &'a str,
    name: &'a str,
    asking: &'a Asking<'a>,
    /// Opened once, so that all questions share one time limit.
    remote: Option<Result<Remote<'a>, Trouble>>,
    replies: RemoteReplies,
    /// Held while this command asks, so that the agents of a clone ask one after the other: a record of this clone at the
    /// remote is then not in use.
    turn: Option<Lock>,
    took_back: bool,
}

impl<'a> Dialogue<'a> {
    fn remote(&mut self) -> &mut Result<Remote<'a>, Trouble> {
        self.remote.get_or_insert_with(|| self.asking.remote())
    }

    /// Waits for the turn of this command; returns whether it had to be taken.
    fn take_turn(&mut self) -> Result<bool> {
        if self.turn.is_some() {
            return Ok(false);
        }
        self.turn = Some(alone_at_remote(self.ws, self.agent)?);
        Ok(true)
    }

    /// Asks the remote for the needs of a decision. The first call only takes the turn, since the decision may be outdated.
    fn ask(&mut self, needs: Vec<Need>) -> Result<()> {
        if self.take_turn()? {
            return Ok(());
        }
        let remote = self.remote.get_or_insert_with(|| self.asking.remote());
        for need in needs {
            self.replies.ask(need, remote);
        }
        match self.replies.unreachable.clone().filter(|_| self.ws.settings.lease.confirmed_only) {
            Some(trouble) => {
                withdraw(self.ws, &self.replies, remote);
                Err(not_confirmed(self.name, &trouble))
            }
            None => Ok(()),
        }
    }

    /// Reads the records again that refuse a decision: they may have changed since they were seen, or a killed command of this
    /// clone left them. Returns whether to decide again.
    fn look_again(&mut self) -> Result<bool> {
        if self.replies.unreachable.is_some() {
            return Ok(false);
        }
        let remote = self.remote.get_or_insert_with(|| self.asking.remote());
        if !self.replies.fresh {
            self.replies.refresh(remote);
            return Ok(true);
        }
        if std::mem::replace(&mut self.took_back, true) {
            return Ok(false);
        }
        self.take_turn()?;
        match self.remote.as_mut() {
            Some(Ok(remote)) => take_back_own(self.ws, &mut self.replies, remote),
            _ => Ok(false),
        }
    }

    /// Reports a change that has happened to the remote, and stores its replies; adds warnings to the answer.
    fn conclude(mut self, action: Action<'_>, mut reply: Reply, ends: Vec<Seen>, lamport: u64) -> Reply {
        let (ws, name) = (self.ws, self.name);
        if matches!(action.command(), Some(Command::Claim(_))) {
            // A confirmed claim has fetched the branches already.
            let looked = !self.replies.grants.is_empty() || self.remote().as_ref().is_ok_and(|r| r.look().is_ok());
            reply.warnings.extend(behind(ws).filter(|_| looked).map(|behind| behind.words()));
        }
        // Replies about other tasks that are not stored are only requested again.
        if let Err(e) = remember(ws, &self.replies) {
            let why = e.message;
            reply.warnings.push(format!("saved, but the replies of {name} about other tasks were not recorded: {why}"));
        }
        if reply.subject == Subject::Claim(None) {
            reply.warnings.extend(left_elsewhere(ws, &self.replies));
        }
        if let Some(trouble) = &self.replies.unreachable {
            let what = if ends.is_empty() { "the lease is not confirmed" } else { "this is not confirmed" };
            reply.warnings.push(format!("{what}: {}; agentpm sync asks {name} again", trouble.words()));
            return reply;
        }
        if let (Subject::Claim(kept), Some(Ok(remote))) = (&reply.subject, &mut self.remote) {
            // A claim passes over a granted task that is taken or finished on a branch of the remote.
            release_granted(ws, &self.replies, remote, |task| Some(task) == *kept);
        }
        for seen in ends {
            let until = seen.record.expires_at;
            let reported = match self.remote() {
                Ok(remote) => confirm::release(remote, seen, ws.env.now(), lamport),
                Err(trouble) => Err(trouble.clone()),
            };
            if let Err(trouble) = reported {
                reply.warnings.push(format!(
                    "saved, but {name} still shows the lease until {until}: {}; agentpm sync reports the end",
                    trouble.words()
                ));
            }
        }
        reply
    }

    /// Releases the leases that a refused command acquired, and stores the replies. Returns the refusal.
    fn abandon(mut self, mut e: Error, is_stuck: bool) -> Error {
        if let Some(trouble) = self.replies.unreachable.as_ref().filter(|_| is_stuck) {
            e.message = format!("{}, as was last seen: {}", e.message, trouble.words());
        }
        if let Some(remote) = &mut self.remote {
            withdraw(self.ws, &self.replies, remote);
        }
        // The refusal is what counts; it may be reported again.
        if let Err(e) = remember(self.ws, &self.replies) {
            tracing::warn!(error = %e, "the replies of the remote were not recorded");
        }
        write::clear_reported_lost_leases(self.ws, &e);
        e
    }
}

/// Withdraws the ends that killed commands of this clone recorded at the remote; returns whether there were any.
fn take_back_own(ws: &Workspace, replies: &mut RemoteReplies, remote: &mut Remote<'_>) -> Result<bool> {
    let finished = replies.seen.values().filter(|seen| seen.record.state == RemoteState::Finished);
    // The records may be stored as another clone's: check again whether this clone sent them.
    let tasks: Vec<Id> = finished.map(|seen| seen.record.task).collect();
    let there: Vec<Seen> = tasks.into_iter().filter_map(|task| remote.read(task).ok().flatten()).collect();
    let taken_back = take_back_unwritten(ws, remote, there.iter())?;
    for task in &taken_back {
        replies.seen.remove(task);
    }
    replies.fresh &= taken_back.is_empty();
    Ok(!taken_back.is_empty())
}

/// Withdraws ends at the remote whose events a killed command of this clone never wrote. The caller holds the lock of
/// [`alone_at_remote`], so no running command is about to write them. Returns the tasks.
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
    turn_within(ws, who, wait)
}

fn turn_within(ws: &Workspace, who: &str, wait: Duration) -> Result<Lock> {
    Lock::take_named(&ws.runtime_to_write()?, "leases", wait, &format!("{who}, asking the remote for a lease"))
}

/// Warnings of tasks in other clones whose lease expired; they are only claimed by name.
fn left_elsewhere(ws: &Workspace, replies: &RemoteReplies) -> Vec<String> {
    let over = replies
        .seen
        .values()
        .filter(|seen| !seen.ours && seen.record.state == RemoteState::Held && seen.over_at() <= replies.now);
    let words = |seen: &Seen| {
        let r = &seen.record;
        let handle = read::handle(ws, r.task).unwrap_or_else(|_| r.task.to_string());
        format!(
            "the lease of {} on task {handle} in another clone ran out at {}; agentpm claim {handle} takes it over",
            r.agent,
            seen.over_at()
        )
    };
    over.take(MOST_LEFT).map(words).collect()
}

/// Withdraws unused ends and releases unused leases. One that cannot be released expires, or `sync` releases it.
fn withdraw(ws: &Workspace, replies: &RemoteReplies, remote: &mut Result<Remote<'_>, Trouble>) {
    let Ok(remote) = remote else { return };
    for task in replies.chosen.keys() {
        let Some(seen) = replies.seen.get(task) else { continue };
        if let Err(trouble) = confirm::not_finished(remote, seen, ws.env.now()) {
            tracing::warn!(%task, "the end of a task at the remote was not withdrawn: {}", trouble.words());
        }
    }
    release_granted(ws, replies, remote, |_| false);
}

fn release_granted(ws: &Workspace, replies: &RemoteReplies, remote: &mut Remote<'_>, keeps: impl Fn(Id) -> bool) {
    for (task, grant) in replies.grants.iter().filter(|(_, grant)| grant.fence.is_some()) {
        if let Some(seen) = replies.seen.get(task)
            && !replies.chosen.contains_key(task)
            && !keeps(*task)
            && let Err(trouble) = confirm::release(remote, seen.clone(), ws.env.now(), 0)
        {
            tracing::warn!(%task, lease = %grant.lease, "a lease at the remote was not released: {}", trouble.words());
        }
    }
}

/// The refusal if the settings require confirmation.
fn not_confirmed(name: &str, trouble: &Trouble) -> Error {
    Error::new(Code::Sync, format!("{name} did not confirm the lease: {}; nothing was written here", trouble.words()))
        .with(serde_json::json!({ "remote": name, "confirmed": false, "trouble": trouble.words() }))
        .hint("run the same command again when the remote answers; lease.confirmed_only = true asks for this")
}
