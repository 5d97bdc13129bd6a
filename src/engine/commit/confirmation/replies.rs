//! The replies of the remote in the course of one command, and what this clone remembers of them.
//!
//! Guarantees that the remote is not asked again once it did not answer, that no command asks for ever for what one record refuses,
//! and that none goes on without confirmation where the remote refused it.
//! Leaves to others: what the replies mean for a decision (`rules::decide`).

use std::collections::{BTreeMap, BTreeSet};

use super::needs::Need;
use crate::engine::commit::remote::Remote;
use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::error::{Error, Result};
use crate::model::agent::Seen;
use crate::model::event::MAX_CLOCK;
use crate::model::id::Id;
use crate::model::time::Time;
use crate::rules::confirm::{self, Answer, Goal, Trouble};
use crate::rules::lease;
use crate::rules::stage::Grant;
use crate::runtime::records;

/// The replies of the remote in the course of one command.
#[derive(Clone, Debug)]
pub(crate) struct RemoteReplies {
    /// The start of the command: all its decisions use that time, so the remote confirms exactly what is written.
    pub now: Time,
    /// The records at the remote, by task.
    pub seen: BTreeMap<Id, Seen>,
    /// The requested leases.
    pub grants: BTreeMap<Id, Grant>,
    /// Tasks whose lease was renewed or read at the remote.
    pub(super) answered: BTreeSet<Id>,
    /// The events that end tasks and were reported to the remote.
    pub chosen: BTreeMap<Id, Id>,
    /// The holders whose records these ends replaced by an override. The last decision records it, though the record is ours by then.
    pub overridden: BTreeMap<Id, String>,
    /// The events that end tasks and that the remote did not accept, or not in time: their records may arrive later.
    pub unheard: BTreeMap<Id, Id>,
    /// Tasks without a record at the remote, though one was seen before.
    pub gone: BTreeSet<Id>,
    /// Why it is not asked again.
    pub(super) unreachable: Option<Trouble>,
    /// Whether all records were read during this command.
    pub(super) fresh: bool,
    /// The names of the records that refused a request, by task.
    refused: BTreeMap<Id, String>,
    /// The refusal of the command: the decision did not follow what the remote answered.
    pub(super) stuck: Option<Error>,
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
            overridden: BTreeMap::new(),
            unheard: BTreeMap::new(),
            gone: BTreeSet::new(),
            unreachable: None,
            fresh: false,
            refused: BTreeMap::new(),
            stuck: None,
        }
    }

    /// Sends one request to the remote and records the reply.
    pub(super) fn ask(&mut self, need: Need, remote: &mut Result<Remote<'_>, Trouble>) {
        if let Some(trouble) = self.unreachable.clone() {
            return self.record_answer(need, Answer::Unconfirmed(trouble));
        }
        let now = self.now;
        let answer = match remote {
            Err(trouble) => Answer::Unconfirmed(trouble.clone()),
            Ok(remote) => match &need {
                Need::Acquire(wish, known, _) => confirm::acquire(remote, wish, known.clone()),
                Need::Renew(seen, until, now, lamport) => confirm::renew(remote, seen.clone(), *until, *now, *lamport),
                Need::Verify(seen) => confirm::verify(remote, seen, now),
                Need::Look(_) => {
                    // Reading all records costs no more than reading one, and a batch may start or end many tasks.
                    let remote: &mut Remote<'_> = remote;
                    return self.read_all(remote);
                }
            },
        };
        let lost = matches!(answer, Answer::Held(_));
        self.record_answer(need, answer);
        // If one task is held, others may be; reading all records costs no more than reading one.
        if lost && !self.fresh {
            self.refresh(remote);
        }
    }

    fn record_answer(&mut self, need: Need, answer: Answer) {
        let task = need.task();
        let asked_for = if let Need::Acquire(wish, ..) = &need { Some((wish.lease, wish.goal.clone())) } else { None };
        match answer {
            Answer::Confirmed(seen) => {
                match asked_for {
                    Some((lease, Goal::Hold)) => {
                        self.grants.insert(task, Grant { lease, fence: Some(seen.record.fence) });
                    }
                    Some((_, Goal::Finish { event, anyway })) => {
                        self.chosen.insert(task, event);
                        if let Need::Acquire(_, Some(replaced), _) = &need
                            && anyway
                            && !replaced.ours
                        {
                            self.overridden.insert(task, replaced.record.agent.clone());
                        }
                    }
                    None => {
                        self.answered.insert(task);
                    }
                }
                self.seen.insert(task, seen);
            }
            // A holder in the same clone that has not written its lease yet counts as another holder.
            Answer::Held(seen) => {
                let over = match &need {
                    Need::Acquire(_, _, granted) => *granted,
                    Need::Renew(mine, ..) | Need::Verify(mine) => mine.record.fence,
                    Need::Look(_) => 0,
                };
                if self.refused.insert(task, seen.oid.clone()).as_ref() == Some(&seen.oid) {
                    self.stuck = Some(need.refusal(&seen, self.now));
                }
                self.seen.insert(task, Seen { ours: false, over, ..seen });
            }
            Answer::Gone => {
                self.gone.insert(task);
            }
            Answer::Unconfirmed(trouble) => {
                if let Some(seen) = self.seen.get(&task).filter(|_| self.refused.contains_key(&task)) {
                    self.stuck = Some(need.refusal(seen, self.now));
                }
                match asked_for {
                    Some((lease, Goal::Hold)) => drop(self.grants.insert(task, Grant { lease, fence: None })),
                    Some((_, Goal::Finish { event, .. })) => drop(self.unheard.insert(task, event)),
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
            // An invalid record is reported when its task is requested.
            let known = self.grants.contains_key(&task) || self.seen.contains_key(&task);
            if let (Ok(seen), false) = (listed, known) {
                self.seen.insert(task, seen);
            }
        }
    }
}

/// Stores records seen at the remote, so that they need not be requested again.
pub(crate) fn remember(ws: &Workspace, replies: &RemoteReplies) -> Result<()> {
    let foreign: Vec<(&Id, &Seen)> = replies.seen.iter().filter(|(_, seen)| !seen.ours).collect();
    if foreign.is_empty() && replies.gone.is_empty() {
        return Ok(());
    }
    write::under_lock(ws, "agentpm, noting leases of other clones", |runtime, _, _| {
        for (task, seen) in foreign {
            let mut record = records::lease(runtime, *task)?;
            let newer = |old: &Seen| match old.oid == seen.oid {
                true => old.over < seen.over || old.at > seen.at,
                false => old.over < seen.over || old.record.fence <= seen.record.fence,
            };
            if record.remote.as_ref().is_none_or(newer) {
                record.remote = Some(seen.clone());
                records::write_lease(runtime, *task, &record)?;
            }
        }
        for task in replies.gone.iter().filter(|task| !replies.seen.contains_key(task)) {
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
