//! What an event says to an agent: the one definition for the inbox, `watch --inbox` and the counts.
//!
//! Guarantees that an agent hears nothing about what it did itself, and nothing that does not concern it. The answer depends on the
//! event, the log of its task and the agent alone.
//! Leaves to others: in which order events arrived, what became ready, and what was acknowledged.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::event::{Author, Entity, Entry, Event, Stamp};
use crate::model::id::{Id, quoted};
use crate::model::mentions::is_named;
use crate::model::notice::{Notice, NoticeKind};
use crate::model::payload::{LeaseAcquired, Payload, TaskStatusChanged};
use crate::model::plain::counted;
use crate::model::settings::ReviewSettings;
use crate::model::task::{Status, Task};
use crate::model::thread::{EXPIRED, Resolution, Thread};
use crate::model::time::Time;
use crate::rules::event_rules::{EventRules, NoticeRule, WakeRule};
use crate::rules::lease::gives_back;
use crate::rules::lost::Lost;
use crate::rules::readiness::Viewer;
use crate::rules::review::unfit;
use crate::rules::roles::Rights;

/// The agent that reads its inbox.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    /// Its name.
    pub agent: String,
    /// The role it registered with.
    pub role: Option<String>,
    /// The number of attempts that parks a task; 0 for none.
    pub max_attempts: u32,
    /// The store's roles.
    pub rights: Rights,
    /// Whether completed tasks are reviewed, and by whom.
    pub review: ReviewSettings,
}

/// A task as the clone knows it.
#[derive(Clone, Copy, Debug)]
pub struct KnownTask<'a> {
    /// Its state.
    pub task: &'a Task,
    /// Its log.
    pub log: &'a [Entry],
    /// The agent that holds its lease.
    pub holder: Option<&'a str>,
}

impl Receiver {
    /// Whether an event names the agent: a message to it, a task that is given to it, a thread that calls it, or one that is passed
    /// on to it.
    pub fn is_called_by(&self, event: &Event) -> bool {
        let by_name = |body: &str| is_named(body, &self.agent);
        event.author.agent != self.agent
            && match EventRules::of(&event.payload).notice {
                NoticeRule::Sends(p) => p.to.as_ref() == Some(&self.agent),
                NoticeRule::Escalates(p) => p.to.as_ref() == Some(&self.agent),
                NoticeRule::Opens(p) => by_name(&p.body),
                NoticeRule::Replies(p) => by_name(&p.body),
                NoticeRule::Assigns(owner) => owner == Some(self.agent.as_str()),
                NoticeRule::Moves(p) => new_owner(p) == Some(self.agent.as_str()),
                NoticeRule::Nothing
                | NoticeRule::Grants(_)
                | NoticeRule::Overrides(_)
                | NoticeRule::Judges(_)
                | NoticeRule::Resolves(_) => false,
            }
    }

    /// Whether a message to this agent or role, or to all where neither is named, is for the agent.
    pub fn is_addressed(&self, to: Option<&str>, role: Option<&str>) -> bool {
        match (to, role) {
            (Some(to), _) => self.agent == to,
            (None, Some(role)) => self.role.as_deref() == Some(role),
            (None, None) => true,
        }
    }

    /// Whether an event may say something to the agent, by its payload alone. Only then is its task looked at.
    pub fn may_concern(&self, event: &Event) -> bool {
        let is_me = |name: Option<&str>| name == Some(self.agent.as_str());
        let is_own = is_me(Some(&event.author.agent)) && event.why.as_deref() != Some(EXPIRED);
        !is_own
            && match EventRules::of(&event.payload).notice {
                NoticeRule::Nothing => false,
                NoticeRule::Assigns(owner) => is_me(owner),
                NoticeRule::Moves(p) => {
                    is_me(new_owner(p)) || p.from == Status::InProgress || p.to == Status::Completed
                }
                NoticeRule::Grants(p) => p.holder != self.agent,
                NoticeRule::Overrides(p) => p.holder == self.agent,
                NoticeRule::Judges(p) => p.completion.is_some() || !p.passed,
                NoticeRule::Opens(_) | NoticeRule::Replies(_) | NoticeRule::Resolves(_) => true,
                NoticeRule::Escalates(p) => is_me(p.to.as_deref()),
                NoticeRule::Sends(p) => self.is_addressed(p.to.as_deref(), p.role.as_deref()),
            }
    }

    /// What an event says to the agent, if anything. `known` is its task; an event of an agent has none.
    pub fn notice(&self, event: &Event, known: Option<KnownTask<'_>>) -> Option<Notice> {
        if !self.may_concern(event) {
            return None;
        }
        let by = &event.author.agent;
        let rule = EventRules::of(&event.payload).notice;
        if let NoticeRule::Sends(p) = rule {
            return Some(by_event(NoticeKind::Broadcast, event, None, format!("{by}: {}", p.body)));
        }
        let KnownTask { task, log, holder } = known?;
        let is_mine = task.owner.as_ref() == Some(&self.agent) || holder == Some(self.agent.as_str());
        match rule {
            NoticeRule::Nothing | NoticeRule::Sends(_) => None,
            NoticeRule::Assigns(owner) => self.assigned(event, owner, task),
            NoticeRule::Moves(p) => {
                let leaves = p.from == Status::InProgress && p.to != Status::InProgress;
                let parked = if leaves { self.parked(event, task) } else { None };
                parked.or_else(|| self.to_review(event, task)).or_else(|| self.assigned(event, new_owner(p), task))
            }
            NoticeRule::Grants(p) => {
                let lost = self.lost_lease(task.id, log, p, event);
                lost.then(|| by_event(NoticeKind::LeaseLost, event, None, format!("{} took over your lease", p.holder)))
            }
            NoticeRule::Overrides(_) => {
                let why = event.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                Some(by_event(
                    NoticeKind::LeaseOverridden,
                    event,
                    None,
                    format!("{by} changed it over your lease{why}"),
                ))
            }
            NoticeRule::Opens(p) => {
                let words = format!("{by} opened a thread: {}", p.body);
                // While a task is no agent's, the thread withholds it from all, and only its author can know the answer.
                let is_left = task.owner.is_none() && holder.is_none() && task.created_by == self.agent;
                let watches = task.fields.watchers.contains(&self.agent);
                (is_mine || is_left || watches || is_named(&p.body, &self.agent))
                    .then(|| by_event(NoticeKind::ThreadOpened, event, Some(event.id), words))
            }
            NoticeRule::Replies(p) => {
                let thread = task.threads.get(&p.thread)?;
                let concerns = is_mine || thread.author == self.agent || self.is_named_in(thread);
                concerns.then(|| {
                    by_event(NoticeKind::ThreadReply, event, Some(thread.id), format!("{by} replied: {}", p.body))
                })
            }
            NoticeRule::Resolves(p) => {
                let thread = task.threads.get(&p.thread)?;
                let what = match p.resolution {
                    Resolution::Accept if p.patch.is_null() => "accepted an answer",
                    Resolution::Accept => "accepted a proposal",
                    Resolution::Reject => "rejected the thread",
                    Resolution::Supersede => "superseded the thread",
                };
                let why = event.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let concerns = self.proposed_in(thread) || self.was_overruled(thread, log);
                concerns
                    .then(|| by_event(NoticeKind::ThreadResolved, event, Some(thread.id), format!("{by} {what}{why}")))
            }
            NoticeRule::Judges(p) => {
                let is_own =
                    |id: Id| log.iter().any(|entry| entry.event.id == id && entry.event.author.agent == self.agent);
                let why = event.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                let words = match (p.completion.map_or(is_mine, is_own), p.passed) {
                    (true, true) => format!("{by} accepted your work{why}"),
                    (true, false) => format!("{by} rejected your work{why}"),
                    // After a merge a rejection counts against an acceptance that had not seen it.
                    (false, false) if self.has_accepted(log, p.completion) => {
                        format!("{by} rejected what you accepted{why}")
                    }
                    (false, _) => return None,
                };
                Some(by_event(NoticeKind::Reviewed, event, None, words))
            }
            NoticeRule::Escalates(p) => {
                let thread = task.threads.get(&p.thread)?;
                let words = format!("a thread was escalated to you: {}", thread.body);
                Some(by_event(NoticeKind::ThreadEscalated, event, Some(thread.id), words))
            }
        }
    }

    /// The values of the agent that lost by the arrival of one of these events.
    pub fn lost_edits<'a>(&'a self, lost: &'a [Lost], arrived: &'a [Id]) -> impl Iterator<Item = &'a Lost> {
        lost.iter().filter(move |edit| {
            let is_news = arrived.contains(&edit.lost.event) || arrived.contains(&edit.won.event);
            edit.lost.agent == self.agent && edit.won.agent != self.agent && is_news
        })
    }

    fn assigned(&self, event: &Event, owner: Option<&str>, task: &Task) -> Option<Notice> {
        let is_mine = owner == Some(self.agent.as_str()) && task.owner.as_ref() == Some(&self.agent);
        let words = format!("{} assigned it to you", event.author.agent);
        (is_mine && !task.status.is_finished()).then(|| by_event(NoticeKind::Assigned, event, None, words))
    }

    /// Whether the event completed the task, which awaits a review that the agent may give.
    fn to_review(&self, event: &Event, task: &Task) -> Option<Notice> {
        let is_last = task.status == Status::Completed && task.completion() == Some(event.id);
        let awaits = self.review.required && is_last && task.is_unreviewed();
        let me = Author { agent: self.agent.clone(), ..Author::default() };
        let viewer = || Viewer {
            me: Some(me),
            role: self.role.clone(),
            rights: self.rights.clone(),
            max_attempts: self.max_attempts,
        };
        let concerns = awaits && unfit(task.completed_by.as_deref(), &viewer(), &self.review).is_none();
        let words = format!("{} completed it, and it awaits your review", event.author.agent);
        concerns.then(|| by_event(NoticeKind::ToReview, event, None, words))
    }

    fn parked(&self, event: &Event, task: &Task) -> Option<Notice> {
        let limit = u64::from(self.max_attempts);
        let is_last = task.stamps.get("status").is_some_and(|stamp| stamp.id == event.id);
        let is_parked = limit > 0 && task.attempts >= limit && !task.status.is_finished() && is_last;
        let watches = task.fields.watchers.contains(&self.agent);
        let concerns = watches || task.created_by == self.agent || task.owner.as_ref() == Some(&self.agent);
        let attempts = counted(task.attempts as usize, "attempt");
        let words = format!("it was parked after {attempts} without completion");
        (is_parked && concerns).then(|| by_event(NoticeKind::Parked, event, None, words))
    }

    /// Whether a grant took the lease of the agent, which it had not released.
    fn lost_lease(&self, task: Id, log: &[Entry], taken: &LeaseAcquired, event: &Event) -> bool {
        let grants = log
            .iter()
            .filter(|entry| entry.event.entity == Entity::Task(task))
            .filter_map(|entry| entry.event.payload.grant().map(|p| (p.fence, entry.event.stamp(), p)));
        let before = grants.filter(|(fence, stamp, _)| (*fence, *stamp) < (taken.fence, event.stamp()));
        let Some((_, _, last)) = before.max_by_key(|(fence, stamp, _)| (*fence, *stamp)) else { return false };
        last.holder == self.agent && !log.iter().any(|entry| gives_back(&entry.event, last))
    }

    fn has_accepted(&self, log: &[Entry], completion: Option<Id>) -> bool {
        let accepts = |event: &Event| matches!(&event.payload, Payload::TaskVerified(p) if p.passed && p.completion == completion);
        let mut own = log.iter().filter(|entry| entry.event.author.agent == self.agent);
        completion.is_some() && own.any(|entry| accepts(&entry.event))
    }

    fn is_named_in(&self, thread: &Thread) -> bool {
        is_named(&thread.body, &self.agent) || thread.replies.values().any(|reply| is_named(&reply.body, &self.agent))
    }

    fn proposed_in(&self, thread: &Thread) -> bool {
        let proposed = thread.replies.values().any(|reply| reply.author == self.agent && !reply.patch.is_null());
        thread.author == self.agent || proposed
    }

    fn was_overruled(&self, thread: &Thread, log: &[Entry]) -> bool {
        let is_mine = |id: &Id| log.iter().any(|entry| entry.event.id == *id && entry.event.author.agent == self.agent);
        thread.overruled.iter().any(is_mine)
    }
}

fn new_owner(moved: &TaskStatusChanged) -> Option<&str> {
    moved.owner.as_ref().and_then(Option::as_deref)
}

fn by_event(kind: NoticeKind, event: &Event, thread: Option<Id>, words: String) -> Notice {
    Notice {
        kind,
        task: event.entity.task(),
        cause: event.id.to_string(),
        event: Some(event.id),
        thread,
        by: Some(event.author.agent.clone()),
        at: event.at,
        words,
    }
}

/// The event by which a task may have become ready, or by which another may have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waker {
    /// Its place in the order of events.
    pub stamp: Stamp,
    /// When it happened.
    pub at: Time,
    /// Its author.
    pub by: String,
}

impl Waker {
    /// The last event of a log that may have made its task ready, and the last one that moved it.
    pub fn of(task: Id, log: &[Entry]) -> (Option<Waker>, Option<Waker>) {
        let own = || log.iter().map(|entry| &entry.event).filter(|event| event.entity == Entity::Task(task));
        let waker = |event: &Event| Waker { stamp: event.stamp(), at: event.at, by: event.author.agent.clone() };
        let wakes = |event: &Event| EventRules::of(&event.payload).wakes;
        let last = |is: fn(WakeRule) -> bool| own().filter(|event| is(wakes(event))).max_by_key(|e| e.stamp());
        (last(|wakes| wakes != WakeRule::Nothing).map(waker), last(|wakes| wakes == WakeRule::Around).map(waker))
    }
}

impl fmt::Display for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Texts are compared as stamps are.
        write!(f, "{:016x} {} {} {}", self.stamp.lamport, self.stamp.id, self.at.millis(), self.by)
    }
}

impl FromStr for Waker {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let mut words = text.splitn(4, ' ');
            let lamport = u64::from_str_radix(words.next()?, 16).ok()?;
            let id = words.next()?.parse().ok()?;
            let at = Time::from_millis(words.next()?.parse().ok()?);
            Some(Waker { stamp: Stamp { lamport, id }, at, by: words.next()?.to_owned() })
        };
        read().ok_or_else(|| Error::validation(format!("{} names no event", quoted(text))))
    }
}
