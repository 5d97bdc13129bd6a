//! Checks fences at the commit: changes of status and fields under a lease that had passed to another agent.
//!
//! Guarantees: where the log holds the higher grant, the order of events decides, as it does for the fold. Where only this clone
//! knows of the grant, from its own journal or from the remote that confirms leases, a change stands that was acknowledged
//! here before it, but for one that ends the task: the present holder is at work on it. Leaving the fence out is no way
//! around: an end without one stands where a command here wrote it, and where another clone holds the task only past an override.
//! Leaves to others: where the log was read.

use std::collections::{BTreeMap, BTreeSet};

use crate::env::files::Dir;
use crate::error::Result;
use crate::model::agent::{LeaseRecord, Seen};
use crate::model::event::{Author, Entity, Event};
use crate::model::finding::{Finding, Rule};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::rules::event_rules::is_fenced;
use crate::rules::lease;
use crate::rules::register::among_below;
use crate::runtime::{journals, records};
use crate::store::entity::LoadedTask;

/// A new event that was written under a fence, or that ends its task without one.
pub(crate) struct Suspect {
    /// The event.
    pub event: Id,
    task: Id,
    path: String,
    line: Option<usize>,
    fence: Option<u64>,
    author: Author,
    /// What it would do to the task.
    verb: &'static str,
    /// Its author overrode the lease of the task before.
    overridden: bool,
    /// The greatest fence its log knows of.
    granted: u64,
    /// The leases its log knows of, each with its fence.
    leases: Vec<(Id, u64)>,
    /// The grant that makes it void, where its own log says so.
    under: Option<Grant>,
}

/// A lease that was granted.
#[derive(Clone)]
struct Grant {
    fence: u64,
    holder: String,
    session: Option<Id>,
    /// It was not released.
    held: bool,
    /// It was granted in another clone.
    elsewhere: bool,
}

impl Grant {
    fn is_of(&self, author: &Author) -> bool {
        let other_session = matches!((self.session, author.session), (Some(a), Some(b)) if a != b);
        self.holder == author.agent && !other_session
    }

    /// The highest grant of another clone that the remote was seen to hold, released or not.
    fn at_remote(record: &LeaseRecord) -> Option<Self> {
        let stands = |seen: &&Seen| !seen.ours && seen.record.fence.max(seen.over) >= record.fence;
        let seen = record.remote.as_ref().filter(stands)?;
        let r = &seen.record;
        Some(Grant { fence: r.fence, holder: r.agent.clone(), session: r.session, held: false, elsewhere: true })
    }
}

/// Whether a fence that a clone granted without the remote lost to a fence that the remote had confirmed, even a lower one.
fn gave_way(suspect: &Suspect, fence: u64, seen: Option<&Seen>) -> bool {
    let agreed = |seen: &&Seen| !seen.ours && seen.over >= fence;
    seen.filter(agreed).is_some_and(|seen| !suspect.leases.contains(&(seen.record.lease, seen.record.fence)))
}

/// What is known of a task's leases, with what the remote was last seen to hold.
fn in_force(runtime: &Dir, task: Id) -> Result<LeaseRecord> {
    let mut record = records::lease(runtime, task)?;
    lease::merge_remote_record(&mut record);
    Ok(record)
}

/// The events of a log that are not among the known ones and change status or fields.
pub(crate) fn suspects(loaded: &LoadedTask, path: &str, known: &BTreeSet<Id>) -> Vec<Suspect> {
    let entries = &loaded.log.entries;
    let mut void: BTreeSet<Id> =
        loaded.findings.iter().filter(|f| f.rule == Rule::EventFenced).filter_map(|f| f.event).collect();
    // Work that is done counts under any fence, but an end under one that its author knew to be lost is none.
    let ends = entries
        .iter()
        .map(|entry| &entry.event)
        .filter(|event| is_fenced(&event.payload) && event.fence.is_some_and(|fence| fence < loaded.task.fence));
    for event in ends {
        let seen = among_below(entries, &event.parents);
        if seen.iter().filter_map(|entry| grant(&entry.event)).any(|grant| Some(grant.fence) > event.fence) {
            void.insert(event.id);
        }
    }
    let leases: Vec<(Id, u64)> = entries.iter().filter_map(|entry| lease_of(&entry.event)).collect();
    let highest = entries.iter().filter_map(|entry| grant(&entry.event)).max_by_key(|grant| grant.fence);
    let new = entries.iter().map(|entry| &entry.event).filter(|event| !known.contains(&event.id));
    new.filter(|event| is_fenced(&event.payload) && (event.fence.is_some() || verb(&event.payload) != CHANGE))
        .map(|event| Suspect {
            event: event.id,
            task: loaded.task.id,
            path: path.to_owned(),
            line: loaded.log.line_of(event.id),
            fence: event.fence,
            author: event.author.clone(),
            verb: verb(&event.payload),
            overridden: entries.iter().any(|entry| overrides(&entry.event, event)),
            granted: loaded.task.fence,
            leases: leases.clone(),
            under: highest.clone().filter(|_| void.contains(&event.id)),
        })
        .collect()
}

fn grant(event: &Event) -> Option<Grant> {
    match &event.payload {
        Payload::LeaseAcquired(p) => {
            Some(Grant { fence: p.fence, holder: p.holder.clone(), session: p.session, held: false, elsewhere: false })
        }
        _ => None,
    }
}

fn lease_of(event: &Event) -> Option<(Id, u64)> {
    match &event.payload {
        Payload::LeaseAcquired(p) => Some((p.lease, p.fence)),
        _ => None,
    }
}

/// Whether the author of an event took the right to it by an override before.
fn overrides(event: &Event, later: &Event) -> bool {
    matches!(event.payload, Payload::LeaseOverride(_))
        && event.author.agent == later.author.agent
        && event.stamp() < later.stamp()
}

/// What an event does that does not end its task.
const CHANGE: &str = "change";

fn verb(payload: &Payload) -> &'static str {
    match payload {
        Payload::TaskStatusChanged(p) if p.to == Status::Completed => "complete",
        Payload::TaskStatusChanged(p) if p.to == Status::Cancelled => "cancel",
        Payload::TaskArchived(_) => "archive",
        _ => CHANGE,
    }
}

/// An event under a lost lease.
pub(crate) struct LostEvent {
    /// What is to be said of it.
    pub finding: Finding,
    /// Only the remote that confirms leases says so: the task's log does not know of the grant yet.
    pub elsewhere: bool,
}

/// Those among the suspects whose lease had been lost.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the runtime state of the clone cannot be read.
pub(crate) fn lost(suspects: &[Suspect], runtime: Option<&Dir>) -> Result<Vec<LostEvent>> {
    let mut found = Vec::new();
    let (mut doubtful, mut void) = (Vec::new(), Vec::new());
    for suspect in suspects {
        let record = runtime.map(|runtime| in_force(runtime, suspect.task)).transpose()?.unwrap_or_default();
        let now = record.lease.as_ref().map(|lease| Grant {
            fence: lease.fence,
            holder: lease.agent.clone(),
            session: lease.session,
            held: true,
            elsewhere: lease.elsewhere,
        });
        match &suspect.under {
            Some(grant) => {
                let held = now.filter(|now| now.fence >= grant.fence);
                void.push((suspect, held.unwrap_or_else(|| grant.clone())));
            }
            None => {
                let passed = match suspect.fence {
                    Some(fence) => {
                        record.fence > fence.max(suspect.granted) || gave_way(suspect, fence, record.remote.as_ref())
                    }
                    None => now.is_some(),
                };
                if passed {
                    doubtful.push((suspect, record.fence, now.or_else(|| Grant::at_remote(&record))));
                }
            }
        }
    }
    let asked: Vec<&Suspect> =
        doubtful.iter().map(|(suspect, ..)| *suspect).chain(void.iter().map(|(suspect, _)| *suspect)).collect();
    let past = match runtime.filter(|_| !asked.is_empty()) {
        Some(runtime) => Past::read(runtime, &asked)?,
        None => Past::default(),
    };
    // What a command here wrote, and its own log makes void by now, changes nothing and must be able to travel.
    let forged = void.into_iter().filter(|(suspect, _)| !past.wrote(suspect));
    found.extend(forged.map(|(suspect, grant)| finding(suspect, &grant)));
    for (suspect, fence, now) in doubtful {
        let none = Grant { fence, holder: String::new(), session: None, held: false, elsewhere: false };
        let last = now.or_else(|| past.highest(suspect.task)).unwrap_or(none);
        // What its holder wrote in the other clone came here whole.
        let own = last.is_of(&suspect.author) && !(last.elsewhere && past.wrote(suspect));
        if !own && !past.excuses(suspect, &last) {
            found.push(finding(suspect, &last));
        }
    }
    Ok(found)
}

fn finding(suspect: &Suspect, grant: &Grant) -> LostEvent {
    let Suspect { verb, task, .. } = suspect;
    let under = match suspect.fence {
        Some(fence) => format!("under fence {fence}, a lost lease"),
        None => "without a lease".to_owned(),
    };
    let place = if grant.elsewhere { " in another clone" } else { "" };
    let who = match grant {
        Grant { holder, fence, .. } if holder.is_empty() => format!("fence {fence} was granted since"),
        Grant { holder, fence, held: true, .. } => format!("{holder} holds it now{place} under fence {fence}"),
        Grant { holder, fence, .. } => format!("{holder} was granted it since{place}, under fence {fence}"),
    };
    let message = format!("the commit would {verb} task {task} by an event of {} {under}: {who}", suspect.author.agent);
    let finding =
        Finding::new(Rule::LeaseLost, message).task(*task).event(suspect.event).at(suspect.path.clone(), suspect.line);
    LostEvent { finding, elsewhere: grant.elsewhere && suspect.under.is_none() }
}

/// In which order this clone came to know the suspects and the grants of their tasks.
#[derive(Default)]
struct Past {
    acknowledged: BTreeMap<Id, usize>,
    grants: BTreeMap<Id, Vec<(usize, Grant)>>,
}

impl Past {
    fn read(runtime: &Dir, suspects: &[&Suspect]) -> Result<Self> {
        let events: BTreeSet<Id> = suspects.iter().map(|suspect| suspect.event).collect();
        let tasks: BTreeSet<Id> = suspects.iter().map(|suspect| suspect.task).collect();
        let (mut past, mut count) = (Past::default(), 0);
        journals::each(runtime, |record| {
            for event in record.entries.iter().map(|entry| &entry.event) {
                count += 1;
                // What was only noted was not judged by any command of this clone.
                if events.contains(&event.id) && !record.commit.arrived {
                    past.acknowledged.entry(event.id).or_insert(count);
                }
                if let (Entity::Task(task), Some(grant)) = (&event.entity, grant(event))
                    && tasks.contains(task)
                {
                    past.grants.entry(*task).or_default().push((count, grant));
                }
            }
        })?;
        Ok(past)
    }

    fn of(&self, task: Id) -> &[(usize, Grant)] {
        self.grants.get(&task).map_or(&[], Vec::as_slice)
    }

    fn highest(&self, task: Id) -> Option<Grant> {
        self.of(task).iter().map(|(_, grant)| grant).max_by_key(|grant| grant.fence).cloned()
    }

    /// Whether a command of this clone wrote an event.
    fn wrote(&self, suspect: &Suspect) -> bool {
        self.acknowledged.contains_key(&suspect.event)
    }

    /// Whether a command of this clone wrote an event while it knew of no other agent's lease. What is not known does not count.
    fn excuses(&self, suspect: &Suspect, last: &Grant) -> bool {
        let Some(fence) = suspect.fence else { return self.wrote(suspect) && (suspect.overridden || !last.elsewhere) };
        let passed = |(_, grant): &&(usize, Grant)| grant.fence > fence && !grant.is_of(&suspect.author);
        let first = self.of(suspect.task).iter().filter(passed).map(|(when, _)| *when).min();
        let before = match (self.acknowledged.get(&suspect.event), first) {
            (Some(event), Some(grant)) => *event < grant,
            // No command writes under a lease once it was seen at the remote that another has it.
            (Some(_), None) => last.elsewhere,
            (None, _) => false,
        };
        before && suspect.verb == CHANGE
    }
}
