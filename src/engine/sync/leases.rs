//! The part of a sync that reconciles leases with the confirming remote.
//!
//! Guarantees that leases acquired while the remote was unreachable are confirmed or reported as lost, and that releases and ends
//! are reported to the remote. A bounded number of records of finished tasks is removed there. A failure is a warning and never
//! fails the sync.
//! Leaves to others: how the remote decides (`rules::confirm`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::Sync;
use super::summary::TaskChange;
use crate::engine::commit::confirmation::{self, Asking, RemoteReplies};
use crate::engine::commit::remote::{LeaseEntry, Remote};
use crate::engine::commit::write;
use crate::engine::view::read;
use crate::error::{Code, Result};
use crate::model::agent::{Lease, LeaseRecord, RemoteState, Seen};
use crate::model::args::{Duration, OptionalTaskRef};
use crate::model::command::{Command, LeaseRenew};
use crate::model::event::{Author, Entry};
use crate::model::id::Id;
use crate::reports::changed::Changed;
use crate::rules::confirm::{self, Answer, Goal, KnownEnds, LeaseRequest, Trouble};
use crate::rules::decide::confirm_again;
use crate::rules::lease;
use crate::runtime::records;
use crate::store::entity::load_task;

/// Maximum number of records that one sync removes.
const MOST: usize = 100;
/// Time after the expiry of an unreleased lease until its record is removed: a day.
const LONG_OVER: i64 = 24 * 3_600_000;

/// What a sync did for leases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct LeaseNews {
    /// Tasks whose lease was confirmed late.
    pub confirmed: Vec<Id>,
    /// Leases of this clone that another one took over. Each is reported once.
    pub lost: Vec<LostLease>,
    /// Leases of this clone that were not lost, on tasks that another agent claimed at the same time. Each such claim is reported
    /// once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub contested: Vec<ContestedLease>,
    /// Number of released leases that were reported to the remote.
    #[serde(rename = "told")]
    pub reported: usize,
    /// Number of records of finished tasks that were removed at the remote.
    pub removed: usize,
}

/// A lease that passed to another agent.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct LostLease {
    /// The task.
    pub task: Id,
    /// The holder here.
    pub agent: String,
    /// The present holder.
    pub to: String,
}

/// A lease that stays with its holder, although another agent claimed the task too.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ContestedLease {
    /// The task.
    pub task: Id,
    /// The holder.
    pub agent: String,
    /// The agent whose claim does not count.
    pub other: String,
}

/// The records at the remote before the plan was exchanged.
pub(crate) type AtRemote = BTreeMap<Id, Seen>;

/// The agent that a lease was granted to, if an event did that.
fn holder_of(entry: &Entry, lease: Id) -> Option<&str> {
    entry.event.payload.grant().filter(|p| p.lease == lease).map(|p| p.holder.as_str())
}

impl Sync<'_> {
    /// Fetches the leases of other clones before the plan is exchanged, so that they are known even if the exchange fails.
    /// Returns whether the remote answered.
    pub(crate) fn fetch_leases(&self, warnings: &mut Vec<String>) -> Result<bool> {
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
        let mut replies = RemoteReplies::at(self.ws.env.now());
        replies.gone =
            confirmation::seen_before(self.ws)?.into_iter().filter(|task| !listed.contains_key(task)).collect();
        for (task, one) in listed {
            match one {
                Ok(seen) => drop(there.insert(task, seen)),
                Err(why) => warnings.push(why),
            }
        }
        replies.seen.clone_from(&there);
        confirmation::remember(self.ws, &replies)?;
        Ok(there)
    }

    /// Reconciles leases with the remote after the plan was exchanged. Returns the records at the remote.
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
                Some(lease) if self.finishing_event(task)?.is_some() => {
                    // Another agent finished the task, so the lease has no use.
                    let seen = there.get(&task).filter(|seen| seen.ours && seen.record.lease == lease.id);
                    if let Some(seen) = seen.filter(|seen| seen.record.state == RemoteState::Held) {
                        news.reported += usize::from(self.give_back(&mut remote, seen).is_ok());
                    }
                }
                Some(lease) if lease.is_live(self.ws.env.now()) => {
                    // Not what is left of it, which later renewals would repeat.
                    let whole = Duration { millis: lease.whole() };
                    let author = Author { agent: lease.agent.clone(), session: lease.session, ..Author::default() };
                    let command = Command::LeaseRenew(LeaseRenew {
                        id: OptionalTaskRef(Some(task.to_string())),
                        ttl: Some(whole),
                    });
                    let seen = there.get(&task);
                    if lease.confirmed
                        && seen.is_some_and(|s| s.ours && s.record.lease == lease.id)
                        && !self.is_contested(&lease)?
                    {
                        continue;
                    }
                    match confirmation::execute_asking(self.ws, &author, &command, name, &[], |tx| {
                        confirm_again(tx, task, whole)
                    }) {
                        Ok(reply) if matches!(&reply.data, Changed::Lease(lease) if lease.confirmed) => {
                            if !reply.events.is_empty() {
                                news.confirmed.push(task);
                            }
                        }
                        Ok(reply) if reply.warnings.is_empty() => {}
                        Ok(reply) => {
                            // An unreachable remote is not asked again for each lease.
                            warnings.extend(reply.warnings);
                            break;
                        }
                        Err(e) if matches!(e.code, Code::LeaseLost | Code::LeaseHeld) => {}
                        Err(e) => warnings.push(format!("the lease of task {task} was not confirmed: {}", e.message)),
                    }
                }
                Some(_) => {}
                None => {
                    // Only known releases are reported: a concurrent claim may not be written here yet.
                    let known = record.remote.filter(|old| old.ours);
                    let seen = there.get(&task).filter(|seen| seen.ours && seen.record.state == RemoteState::Held);
                    if let (Some(known), Some(seen)) = (known, seen)
                        && known.record.lease == seen.record.lease
                    {
                        match self.give_back(&mut remote, seen) {
                            Ok(()) => news.reported += 1,
                            Err(trouble) => {
                                warnings.push(format!(
                                    "{} still shows the lease of task {task}: {}",
                                    confirmation::shown_remote(name),
                                    trouble.words()
                                ));
                            }
                        }
                    }
                }
            }
        }
        Ok(Ok(there))
    }

    /// Reports the end of a lease of this clone to the remote: the task is finished or released.
    fn give_back(&self, remote: &mut Remote<'_>, seen: &Seen) -> std::result::Result<(), Trouble> {
        let now = self.ws.env.now();
        let task = seen.record.task;
        let Ok(Some(event)) = self.finishing_event(task) else { return confirm::release(remote, seen.clone(), now, 0) };
        let author = Author { agent: seen.record.agent.clone(), session: seen.record.session, ..Author::default() };
        match self.report_end(remote, task, event, (seen.record.lease, author), Some(seen.clone())) {
            Answer::Unconfirmed(trouble) => Err(trouble),
            Answer::Confirmed(_) | Answer::Held(_) | Answer::Gone => Ok(()),
        }
    }

    /// Records the end of a task at the remote, unless another agent holds or ended it there.
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

    /// Reports tasks that were finished while the remote was unreachable, before the plan is pushed, so that no other clone
    /// claims them meanwhile.
    pub(crate) fn report_ends(&self, news: &mut LeaseNews, warnings: &mut Vec<String>) -> Result<()> {
        let Some(name) = self.ws.lease_remote() else { return Ok(()) };
        let shown = confirmation::shown_remote(name);
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
                warnings.push(format!("{shown} did not record what is finished: {}", trouble.words()));
                return Ok(());
            }
        };
        let mut heard = Vec::new();
        for (task, event) in ended {
            let log = load_task(&self.ws.store, task, &[])?.log;
            let Some(entry) = log.entries.iter().find(|entry| entry.event.id == event) else { continue };
            let record = records::lease(&runtime, task)?;
            let lease = record.lease.map(|lease| lease.id).or(record.given_back).unwrap_or(event);
            let author = &entry.event.author;
            let mut answer = self.report_end(&mut remote, task, event, (lease, author.clone()), None);
            if let Answer::Held(seen) = &answer
                && seen.ours
                && seen.record.state == RemoteState::Finished
            {
                // It may name an event that a killed command never wrote.
                self.take_back_ends(&mut remote, &AtRemote::from([(task, seen.clone())]))?;
                answer = self.report_end(&mut remote, task, event, (lease, author.clone()), None);
            }
            match answer {
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
                // An end that could not be withdrawn is in the place of this one, which is reported again.
                Answer::Held(seen) if seen.ours => {}
                Answer::Held(_) => heard.push((task, event)),
                Answer::Unconfirmed(trouble) => {
                    warnings.push(format!("{shown} did not record what is finished: {}", trouble.words()));
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

    /// Withdraws ends that killed commands of this clone reported to the remote without writing them.
    fn take_back_ends(&self, remote: &mut Remote<'_>, there: &AtRemote) -> Result<()> {
        if !there.values().any(|seen| seen.ours && seen.record.state == RemoteState::Finished) {
            return Ok(());
        }
        // A running command holds this lock from its report to the remote until its event is written.
        let _alone = confirmation::alone_at_remote(self.ws, "agentpm sync")?;
        confirmation::take_back_unwritten(self.ws, remote, there.values()).map(drop)
    }

    /// The event that finished a task here.
    fn finishing_event(&self, task: Id) -> Result<Option<Id>> {
        let task = load_task(&self.ws.store, task, &[])?.task;
        Ok(task.stamps.get("status").filter(|_| task.status.is_finished()).map(|stamp| stamp.id))
    }

    fn is_contested(&self, lease: &Lease) -> Result<bool> {
        Ok(lease::is_contested(lease, load_task(&self.ws.store, lease.task, &[])?.log.entries.iter()))
    }

    /// The records of leases that this clone granted, by task.
    fn own_records(&self) -> Result<Vec<(Id, LeaseRecord)>> {
        let runtime = self.ws.runtime_to_write()?;
        let mut own = Vec::new();
        for task in records::leased_tasks(&runtime)? {
            let written = records::lease(&runtime, task)?;
            let was_mine = written.lease.as_ref().is_some_and(|lease| !lease.elsewhere);
            if was_mine || written.remote.as_ref().is_some_and(|seen| seen.ours) {
                own.push((task, read::lease_record_by_log(self.ws, &load_task(&self.ws.store, task, &[])?)?));
            }
        }
        Ok(own)
    }

    /// Reports leases that other agents have by events that came in, and those that other agents claimed at the same time.
    /// What is reported is noted, so that it is reported once; the next command of a holder that lost is refused all the same.
    pub(crate) fn report_lost(&self, incoming: &[TaskChange], news: &mut LeaseNews) -> Result<()> {
        let runtime = self.ws.runtime_to_write()?;
        let mut noted = Vec::new();
        for task in records::leased_tasks(&runtime)? {
            let written = records::lease(&runtime, task)?;
            let mine = written.lease.clone().filter(|lease| !lease.elsewhere);
            // A lease that ended is looked at again only where events of its task came in.
            let ended = written.given_back.filter(|_| incoming.iter().any(|change| change.task == task));
            let Some(own) = mine.as_ref().map(|lease| lease.id).or(ended) else { continue };
            let loaded = load_task(&self.ws.store, task, &[])?;
            let record = read::lease_record_by_log(self.ws, &loaded)?;
            let lost = mine.filter(|lease| record.lost.iter().any(|lost| lost.id == lease.id));
            if let Some(lease) = lost {
                if lease.is_live(self.ws.env.now()) {
                    let to = record.lost_to.clone().unwrap_or_default();
                    news.lost.push(LostLease { task, agent: lease.agent, to });
                    noted.push((task, None));
                }
                continue;
            }
            let log = loaded.log.entries.iter();
            let rivals = lease::rival_grants(task, own, log.clone());
            for rival in rivals.into_iter().filter(|rival| !written.contested.contains(&rival.lease)) {
                let holder = log.clone().find_map(|entry| holder_of(entry, own)).unwrap_or_default();
                news.contested.push(ContestedLease { task, agent: holder.to_owned(), other: rival.holder.clone() });
                noted.push((task, Some(rival.lease)));
            }
        }
        if noted.is_empty() {
            return Ok(());
        }
        write::under_lock(self.ws, "agentpm sync, noting lost leases", |runtime, _, _| {
            for (task, rival) in noted {
                let mut record = match rival {
                    Some(_) => records::lease(runtime, task)?,
                    None => read::lease_record_by_log(self.ws, &load_task(&self.ws.store, task, &[])?)?,
                };
                record.contested.extend(rival);
                records::write_lease(runtime, task, &record)?;
            }
            Ok(())
        })
    }

    /// Removes records of finished tasks after the plan was pushed.
    pub(crate) fn clean_leases(&self, there: AtRemote, news: &mut LeaseNews, warnings: &mut Vec<String>) -> Result<()> {
        let Some(name) = self.ws.lease_remote() else { return Ok(()) };
        let now = self.ws.env.now();
        let mut over = Vec::new();
        for (task, seen) in there {
            if over.len() == MOST {
                break;
            }
            let r = &seen.record;
            let ended = r.state != RemoteState::Held || now.since(seen.over_at()) > LONG_OVER;
            let Some(event) = self.finishing_event(task)?.filter(|_| ended) else { continue };
            // An unknown end is reported by the clone that knows it.
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
            Err(trouble) => warnings.push(format!(
                "records of finished tasks stay at {}: {}",
                confirmation::shown_remote(name),
                trouble.words()
            )),
        }
        Ok(())
    }
}
