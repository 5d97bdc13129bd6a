//! What a sync does for leases.
//!
//! Guarantees: it acts on what has just come in; leases that were taken while the remote could not be asked are confirmed, or their holders learn who has the
//! task; the remote learns of leases that were released meanwhile; records of finished tasks are removed there, a bounded
//! number each time. None of it can fail the sync.
//! Leaves to others: how the remote decides (`rules::confirm`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Sync;
use crate::engine::commit::confirmation::{self, Asking, RemoteReplies};
use crate::engine::commit::remote::{LeaseEntry, Remote};
use crate::engine::commit::write;
use crate::engine::view::read;
use crate::error::{Code, Result};
use crate::model::agent::{Lease, LeaseRecord, RemoteState, Seen};
use crate::model::args::{Duration, OptionalTaskRef};
use crate::model::command::{Command, LeaseRenew};
use crate::model::event::Author;
use crate::model::id::Id;
use crate::reports::changed::Changed;
use crate::rules::confirm::{self, Answer, Goal, KnownEnds, LeaseRequest, Trouble};
use crate::rules::decide::confirm_again;
use crate::rules::lease;
use crate::runtime::records;
use crate::store::entity::load_task;

/// Most records that one sync removes.
const MOST: usize = 100;
/// How long a lease must be expired before its unreleased record is removed: a day.
const LONG_OVER: i64 = 24 * 3_600_000;

/// What a sync did for leases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LeaseNews {
    /// Tasks whose lease was confirmed late.
    pub confirmed: Vec<Id>,
    /// Leases of this clone that another has now.
    pub lost: Vec<LostLease>,
    /// How many released leases were reported to the remote.
    #[serde(rename = "told")]
    pub reported: usize,
    /// How many records of finished tasks were taken away at the remote.
    pub removed: usize,
}

/// A lease that passed to another agent.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LostLease {
    /// The task.
    pub task: Id,
    /// Who had it here.
    pub agent: String,
    /// Who has it now.
    pub to: String,
}

/// What was listed at the remote before the plan was exchanged.
pub(crate) type AtRemote = BTreeMap<Id, Seen>;

impl Sync<'_> {
    /// Before the plan is exchanged: learns what other clones hold, so that it is known even if the exchange fails. Returns
    /// whether the remote answered.
    pub(crate) fn look_at_leases(&self, warnings: &mut Vec<String>) -> Result<bool> {
        let Some(name) = self.ws.lease_remote() else { return Ok(false) };
        let asking = Asking::new(self.ws, name)?;
        match asking.remote().and_then(|remote| remote.all()) {
            Ok(listed) => self.learn(listed, &mut Vec::new()).map(|_| true),
            Err(trouble) => {
                warnings.push(format!("leases were not confirmed: {}", trouble.words()));
                Ok(false)
            }
        }
    }

    fn learn(&self, listed: BTreeMap<Id, LeaseEntry>, warnings: &mut Vec<String>) -> Result<AtRemote> {
        let mut there = AtRemote::new();
        let mut said = RemoteReplies::at(self.ws.env.now());
        said.gone = confirmation::seen_before(self.ws)?.into_iter().filter(|task| !listed.contains_key(task)).collect();
        for (task, one) in listed {
            match one {
                Ok(seen) => drop(there.insert(task, seen)),
                Err(why) => warnings.push(why),
            }
        }
        said.seen.clone_from(&there);
        confirmation::remember(self.ws, &said)?;
        Ok(there)
    }

    /// After the plan was exchanged: brings leases and remote together. Returns what stands at the remote.
    pub(crate) fn resolve_leases(&self, news: &mut LeaseNews, warnings: &mut Vec<String>) -> Result<AtRemote> {
        let Some(name) = self.ws.lease_remote() else { return Ok(AtRemote::new()) };
        match self.try_to_resolve_leases(name, news, warnings)? {
            Ok(there) => Ok(there),
            Err(trouble) => {
                warnings.push(format!("leases were not confirmed: {}", trouble.words()));
                Ok(AtRemote::new())
            }
        }
    }

    fn try_to_resolve_leases(
        &self,
        name: &str,
        news: &mut LeaseNews,
        warnings: &mut Vec<String>,
    ) -> Result<Result<AtRemote, Trouble>> {
        let asking = Asking::new(self.ws, name)?;
        let mut remote = match asking.remote() {
            Ok(remote) => remote,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let listed: BTreeMap<Id, LeaseEntry> = match remote.all() {
            Ok(listed) => listed,
            Err(trouble) => return Ok(Err(trouble)),
        };
        let there = self.learn(listed, warnings)?;
        self.take_back_ends(&mut remote, &there)?;
        for (task, record) in self.own_records()? {
            let mine = record.lease.clone().filter(|lease| !lease.elsewhere);
            match mine {
                Some(lease) if self.end_of(task)?.is_some() => {
                    // Others finished it; there is nothing left to hold.
                    let seen = there.get(&task).filter(|seen| seen.ours && seen.record.lease == lease.id);
                    if let Some(seen) = seen.filter(|seen| seen.record.state == RemoteState::Held) {
                        news.reported += usize::from(self.give_back(&mut remote, seen).is_ok());
                    }
                }
                Some(lease) if lease.is_live(self.ws.env.now()) => {
                    let left = Duration { millis: lease.expires_at.since(self.ws.env.now()).max(1) };
                    let author = Author { agent: lease.agent.clone(), session: lease.session, ..Author::default() };
                    let command = Command::LeaseRenew(LeaseRenew {
                        id: OptionalTaskRef(Some(task.to_string())),
                        ttl: Some(left),
                    });
                    let seen = there.get(&task);
                    if lease.confirmed
                        && seen.is_some_and(|s| s.ours && s.record.lease == lease.id)
                        && !self.is_contested(&lease)?
                    {
                        continue;
                    }
                    match confirmation::execute_asking(self.ws, &author, &command, name, &[], |tx| {
                        confirm_again(tx, task, left)
                    }) {
                        Ok(reply) if matches!(&reply.data, Changed::Lease(lease) if lease.confirmed) => {
                            if !reply.events.is_empty() {
                                news.confirmed.push(task);
                            }
                        }
                        Ok(reply) if reply.warnings.is_empty() => {}
                        Ok(reply) => {
                            // One that does not answer is not asked once for each lease.
                            warnings.extend(reply.warnings);
                            break;
                        }
                        Err(e) if matches!(e.code, Code::LeaseLost | Code::LeaseHeld) => {}
                        Err(e) => warnings.push(format!("the lease of task {task} was not confirmed: {}", e.message)),
                    }
                }
                Some(_) => {}
                None => {
                    // Only what this clone knows it gave back: a claim that is just being made is not written here yet.
                    let known = record.remote.filter(|old| old.ours);
                    let seen = there.get(&task).filter(|seen| seen.ours && seen.record.state == RemoteState::Held);
                    if let (Some(known), Some(seen)) = (known, seen)
                        && known.record.lease == seen.record.lease
                    {
                        match self.give_back(&mut remote, seen) {
                            Ok(()) => news.reported += 1,
                            Err(trouble) => {
                                warnings
                                    .push(format!("{name} still shows the lease of task {task}: {}", trouble.words()));
                            }
                        }
                    }
                }
            }
        }
        Ok(Ok(there))
    }

    /// Says at the remote that a lease of this clone is over: the task is finished, or free.
    fn give_back(&self, remote: &mut Remote<'_>, seen: &Seen) -> std::result::Result<(), Trouble> {
        let now = self.ws.env.now();
        let task = seen.record.task;
        let Ok(Some(event)) = self.end_of(task) else { return confirm::release(remote, seen.clone(), now, 0) };
        let author = Author { agent: seen.record.agent.clone(), session: seen.record.session, ..Author::default() };
        match self.report_end(remote, task, event, (seen.record.lease, author), Some(seen.clone())) {
            Answer::Unconfirmed(trouble) => Err(trouble),
            Answer::Confirmed(_) | Answer::Held(_) | Answer::Gone => Ok(()),
        }
    }

    /// Writes the end of a task into its record at the remote, unless another holds the task or ended it otherwise.
    fn report_end(
        &self,
        remote: &mut Remote<'_>,
        task: Id,
        event: Id,
        (lease, holder): (Id, Author),
        known: Option<Seen>,
    ) -> Answer {
        let log = load_task(&self.ws.store, task, &[]).map(|loaded| loaded.log.entries).unwrap_or_default();
        let now = self.ws.env.now();
        let wish = LeaseRequest {
            task,
            goal: Goal::Finish { event, anyway: false },
            lease,
            holder,
            clone: remote.clone_id(),
            explicit: true,
            lamport: 0,
            fence: lease::highest_fence(task, log.iter()),
            known: KnownEnds { events: log.iter().map(|entry| entry.event.id).collect(), in_spite: false },
            expires_at: now,
            now,
        };
        confirm::acquire(remote, &wish, known)
    }

    /// Before the plan goes out: reports to the remote what was finished here while it did not answer, so that no other clone claims
    /// it before the plan arrives.
    pub(crate) fn report_ends(&self, news: &mut LeaseNews, warnings: &mut Vec<String>) -> Result<()> {
        let Some(name) = self.ws.lease_remote() else { return Ok(()) };
        let runtime = self.ws.runtime_to_write()?;
        let mut ended = Vec::new();
        for task in records::leased_tasks(&runtime)? {
            ended.extend(records::lease(&runtime, task)?.ended.map(|event| (task, event)));
        }
        if ended.is_empty() {
            return Ok(());
        }
        let asking = Asking::new(self.ws, name)?;
        let mut remote = match asking.remote() {
            Ok(remote) => remote,
            Err(trouble) => {
                warnings.push(format!("{name} did not record what is finished: {}", trouble.words()));
                return Ok(());
            }
        };
        let mut heard = Vec::new();
        for (task, event) in ended {
            let log = load_task(&self.ws.store, task, &[])?.log;
            let Some(entry) = log.entries.iter().find(|entry| entry.event.id == event) else { continue };
            let record = records::lease(&runtime, task)?;
            let lease = record.lease.map(|lease| lease.id).or(record.given_back).unwrap_or(event);
            match self.report_end(&mut remote, task, event, (lease, entry.event.author.clone()), None) {
                Answer::Confirmed(_) | Answer::Gone => {
                    news.reported += 1;
                    heard.push((task, event));
                }
                Answer::Held(seen) if seen.record.state == RemoteState::Held => {
                    let (who, handle) = (&seen.record.agent, read::handle(self.ws, task)?);
                    warnings.push(format!(
                        "{who} holds task {handle} in another clone, and it was finished here meanwhile"
                    ));
                    heard.push((task, event));
                }
                Answer::Held(_) => heard.push((task, event)),
                Answer::Unconfirmed(trouble) => {
                    warnings.push(format!("{name} did not record what is finished: {}", trouble.words()));
                    break;
                }
            }
        }
        write::under_lock(self.ws, "agentpm sync, noting what was reported to the remote", |runtime, _, _| {
            for (task, event) in heard {
                let mut record = records::lease(runtime, task)?;
                if record.ended == Some(event) {
                    record.ended = None;
                    records::write_lease(runtime, task, &record)?;
                }
            }
            Ok(())
        })
    }

    /// Takes back the ends that commands of this clone noted at the remote and never wrote, since they died.
    fn take_back_ends(&self, remote: &mut Remote<'_>, there: &AtRemote) -> Result<()> {
        if !there.values().any(|seen| seen.ours && seen.record.state == RemoteState::Finished) {
            return Ok(());
        }
        // A command that has reported to the remote and is about to write its event holds this lock.
        let _alone = confirmation::alone_at_remote(self.ws, "agentpm sync")?;
        confirmation::take_back_unwritten(self.ws, remote, there.values()).map(drop)
    }

    /// The event by which a task is finished here.
    fn end_of(&self, task: Id) -> Result<Option<Id>> {
        let task = load_task(&self.ws.store, task, &[])?.task;
        Ok(task.stamps.get("status").filter(|_| task.status.is_finished()).map(|stamp| stamp.id))
    }

    fn is_contested(&self, lease: &Lease) -> Result<bool> {
        Ok(lease::is_contested(lease, load_task(&self.ws.store, lease.task, &[])?.log.entries.iter()))
    }

    /// What is known here of leases that were granted here, by task.
    fn own_records(&self) -> Result<Vec<(Id, LeaseRecord)>> {
        let runtime = self.ws.runtime_to_write()?;
        let mut own = Vec::new();
        for task in records::leased_tasks(&runtime)? {
            let mut record = records::lease(&runtime, task)?;
            let was_mine = record.lease.as_ref().is_some_and(|lease| !lease.elsewhere);
            if was_mine || record.remote.as_ref().is_some_and(|seen| seen.ours) {
                lease::merge_remote_record(&mut record);
                own.push((task, record));
            }
        }
        Ok(own)
    }

    /// After the plan was exchanged: reports whose leases others have now, by what came in.
    pub(crate) fn report_lost(&self, news: &mut LeaseNews) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let now = self.ws.env.now();
        for task in records::leased_tasks(&runtime)? {
            let before = records::lease(&runtime, task)?;
            let Some(mine) = before.lease.clone().filter(|lease| !lease.elsewhere && lease.is_live(now)) else {
                continue;
            };
            let loaded = load_task(&self.ws.store, task, &[])?;
            let mut record = before;
            lease::merge_log_grants(&mut record, &loaded.task, loaded.log.entries.iter(), now);
            lease::merge_remote_record(&mut record);
            if record.lost.iter().any(|lost| lost.id == mine.id)
                && let Some(to) = record.lost_to
            {
                news.lost.push(LostLease { task, agent: mine.agent, to });
            }
        }
        Ok(())
    }

    /// After the plan arrived at the upstream: takes away records of tasks that are finished there.
    pub(crate) fn clean_leases(&self, there: AtRemote, news: &mut LeaseNews, warnings: &mut Vec<String>) -> Result<()> {
        let Some(name) = self.ws.lease_remote() else { return Ok(()) };
        let now = self.ws.env.now();
        let mut over = Vec::new();
        for (task, seen) in there {
            if over.len() == MOST {
                break;
            }
            let r = &seen.record;
            let ended = r.state != RemoteState::Held || now.since(r.expires_at) > LONG_OVER;
            let Some(event) = self.end_of(task)?.filter(|_| ended) else { continue };
            // An end that is not known here is for those to note who know it.
            let log = load_task(&self.ws.store, task, &[])?.log.entries;
            if r.ends.iter().all(|end| log.iter().any(|entry| entry.event.id == *end)) {
                let is_named = r.state == RemoteState::Finished && !r.ends.is_empty();
                let ends = r.ends.iter().copied().chain((!is_named).then_some(event)).collect();
                over.push((seen, ends));
            }
        }
        if over.is_empty() {
            return Ok(());
        }
        let asking = Asking::new(self.ws, name)?;
        match asking.remote().and_then(|mut remote| remote.remove(&over)) {
            Ok(removed) => news.removed = removed,
            Err(trouble) => warnings.push(format!("records of finished tasks stay at {name}: {}", trouble.words())),
        }
        Ok(())
    }
}
