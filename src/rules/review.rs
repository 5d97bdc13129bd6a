//! Who may judge a completed task, where its dependents wait for a review.
//!
//! Guarantees one answer for the command, for `next` and for the gate of a branch.
//! Leaves to others: what a judgement does (`rules::decide`), and what waits for it (`rules::readiness`).

use std::collections::BTreeMap;

use crate::model::event::{Entry, Event};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::settings::ReviewSettings;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::event_rules::{EventRules, status_of};
use crate::rules::readiness::Viewer;
use crate::rules::roles::Verb;

/// Why an agent may not judge the completion of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It completed the task itself.
    Own,
    /// It lacks this right or precedence.
    Lacks(String),
}

/// Why an agent may not judge the completion of a task by another agent; `None` if it may.
pub fn unfit(completed_by: Option<&str>, viewer: &Viewer, settings: &ReviewSettings) -> Option<Unfit> {
    let (name, role) = (viewer.name().unwrap_or_default(), viewer.role.as_deref());
    if completed_by == Some(name) {
        return Some(Unfit::Own);
    }
    let has = |perm: &str| viewer.rights.has_perm(name, role, perm);
    let needed = [Verb::Verify.as_str(), settings.need_perm.as_str()];
    if let Some(perm) = needed.into_iter().find(|perm| !perm.is_empty() && !has(perm)) {
        return Some(Unfit::Lacks(format!("the right {perm}")));
    }
    let least = settings.need_precedence.filter(|least| !viewer.rights.has_precedence(name, role, *least))?;
    Some(Unfit::Lacks(format!("precedence {least}")))
}

/// The agent whose event completed a task, if an event of this log with this id did.
pub fn completer(log: &[Entry], completion: Id) -> Option<&str> {
    let events = log.iter().map(|entry| &entry.event);
    let mut completions = events.filter(|event| event.id == completion && completes(event));
    completions.next().map(|event| event.author.agent.as_str())
}

/// The event that judged the last completion of a log as failed. Whether the task is open since is for the caller to ask.
pub fn rejection(log: &[Entry]) -> Option<&Event> {
    let events = || log.iter().map(|entry| &entry.event);
    let last = events().filter(|event| completes(event)).max_by_key(|event| event.stamp())?;
    let completion = restored(last, events().filter(|event| event.stamp() < last.stamp())).unwrap_or(last).id;
    let rejects = |event: &&Event| matches!(&event.payload, Payload::TaskVerified(p) if !p.passed && p.completion == Some(completion));
    events().filter(rejects).max_by_key(|event| event.stamp())
}

/// Whether an agent other than the reviewer recorded work on the task since its completion was rejected.
pub fn is_worked_on_since(log: &[Entry], rejection: &Event) -> bool {
    log.iter().map(|entry| &entry.event).any(|event| {
        let by_another = event.author.agent != rejection.author.agent;
        by_another && event.stamp() > rejection.stamp() && EventRules::of(&event.payload).records_work
    })
}

/// How many criteria of a task are marked as met, as text; `None` if none is.
pub fn met_words(task: &Task) -> Option<String> {
    let all = task.fields.acceptance.len();
    let met = all - task.unmet().count();
    (met > 0).then(|| match all {
        1 => "the criterion is marked as met".to_owned(),
        all => format!("{met} of {all} criteria are marked as met"),
    })
}

/// The number of unmet criteria, as text.
pub fn unmet_criteria(n: usize) -> String {
    format!("{n} unmet {}", if n == 1 { "criterion" } else { "criteria" })
}

/// Whether a log completes its task and nothing in it lets those that wait for the task begin: another agent's acceptance of a
/// completion, a cancellation, or the archive. `counts` says which events have an effect.
pub fn was_never_accepted(log: &[Entry], counts: impl Fn(Id) -> bool) -> bool {
    let accepts = |event: &Event| {
        let Payload::TaskVerified(p) = &event.payload else { return false };
        let completer = p.completion.filter(|_| p.passed).and_then(|completion| completer(log, completion));
        completer.is_some_and(|completer| completer != event.author.agent)
    };
    let ends = |event: &Event| matches!(status_of(event), Some(Status::Cancelled | Status::Archived));
    let events = || log.iter().map(|entry| &entry.event).filter(|event| counts(event.id));
    events().any(completes) && !events().any(|event| accepts(event) || ends(event))
}

/// Whether an event may put back an earlier completion, as an undo does: it names the time of that one.
pub fn may_restore(event: &Event) -> bool {
    completes(event) && matches!(&event.payload, Payload::TaskStatusChanged(p) if p.changed_at.is_some())
}

/// The completion that an event puts back, of those before it: the last of its time.
pub fn restored<'e>(event: &'e Event, before: impl Iterator<Item = &'e Event>) -> Option<&'e Event> {
    if !may_restore(event) {
        return None;
    }
    let mut completions = Completions::default();
    let mut before: Vec<&Event> = before.filter(|earlier| completes(earlier)).collect();
    before.sort_by_key(|earlier| earlier.stamp());
    for earlier in before {
        completions.add(earlier);
    }
    completions.add(event)
}

/// The events that completed a task, by the time of its completion.
#[derive(Clone, Default)]
pub struct Completions<'e>(BTreeMap<Time, &'e Event>);

impl<'e> Completions<'e> {
    /// Adds the next event in order. Returns the completion that it puts back, if it puts back one.
    pub fn add(&mut self, event: &'e Event) -> Option<&'e Event> {
        let named = if let Payload::TaskStatusChanged(p) = &event.payload { p.changed_at } else { None };
        if !completes(event) {
            return None;
        }
        let time = named.unwrap_or(event.at);
        // Of those that name their time, the first is an import, and the others put it back.
        let earlier = self.0.get(&time).copied().filter(|_| named.is_some());
        if earlier.is_none() {
            self.0.insert(time, event);
        }
        earlier
    }
}

/// Whether an event completes a task, and neither repeats that it is completed nor takes it out of the archive.
fn completes(event: &Event) -> bool {
    let Payload::TaskStatusChanged(p) = &event.payload else { return false };
    p.to == Status::Completed && !matches!(p.from, Status::Completed | Status::Archived)
}
