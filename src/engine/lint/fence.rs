//! Checks fences at the commit: changes of status and fields under a lease that had passed to another agent.
//!
//! Guarantees: if the log holds the higher grant, the order of events decides, as in the fold. If only this clone knows of the grant,
//! from its journal or from the remote that confirms leases, a change that was acknowledged before the grant is valid unless it ends
//! the task, since the present holder works on it. Omitting the fence does not bypass the check: an end without a fence is valid only
//! if a command of this clone wrote it, and, while another clone holds the task, only after an override.
//! Leaves to others: who holds which lease (`rules::lease`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Found;
use super::source::Subject;
use super::staged::Staging;
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::agent::{LeaseRecord, Seen};
use crate::model::event::{Author, Entity, Event, Stamp};
use crate::model::finding::{Finding, Rule, Severity};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::task::Status;
use crate::rules::ancestry::Ancestry;
use crate::rules::event_rules::is_fenced;
use crate::rules::event_rules::status_of;
use crate::rules::lease;
use crate::runtime::{journals, records};

/// A new event that was written under a fence, or that ends its task without one.
pub(crate) struct Suspect {
    event: Id,
    task: Id,
    path: String,
    line: Option<usize>,
    fence: Option<u64>,
    author: Author,
    /// What it would do to the task.
    verb: &'static str,
    /// Its author overrode the lease of the task before.
    overridden: bool,
    /// The greatest fence in its log.
    granted: u64,
    /// The leases in its log, each with its fence.
    leases: Arc<BTreeSet<(Id, u64)>>,
    /// The grant that makes it void, if its own log holds that grant.
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

    /// The highest grant of another clone that was seen at the remote, released or not.
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

/// The record of a task's leases, with what was last seen at the remote.
fn in_force(runtime: &Dir, task: Id) -> Result<LeaseRecord> {
    let mut record = records::lease(runtime, task)?;
    lease::merge_remote_record(&mut record);
    Ok(record)
}

/// The findings about events under lost leases.
pub(crate) fn check(staging: &Staging<'_>, found: &mut Found) -> Result<()> {
    let events: BTreeSet<Id> = found.suspects.iter().map(|suspect| suspect.event).collect();
    // An event that is void under a lost lease is reported as one of these.
    found.findings.retain(|f| f.rule != Rule::EventFenced || !f.event.is_some_and(|event| events.contains(&event)));
    found.findings.extend(lost(&found.suspects, staging.place.runtime.as_ref(), staging.is_of_sync())?);
    Ok(())
}

/// The new events of a task that change status or fields.
pub(crate) fn suspects(subject: &Subject<'_>) -> Vec<Suspect> {
    let Subject { log, log_path, known, .. } = subject;
    let (Some(task), entries) = (&subject.task, &log.entries) else { return Vec::new() };
    let mut void: BTreeSet<Id> =
        subject.of_log.iter().filter(|f| f.rule == Rule::EventFenced).filter_map(|f| f.event).collect();
    // Finished work counts under any fence, but not if its author knew that the lease was lost.
    let ends = entries
        .iter()
        .map(|entry| &entry.event)
        .filter(|event| is_fenced(&event.payload) && event.fence.is_some_and(|fence| fence < task.fence));
    let mut ancestry = None;
    for event in ends {
        let seen = ancestry.get_or_insert_with(|| Ancestry::of(entries)).below(&event.parents);
        if seen.iter().filter_map(|entry| grant(&entry.event)).any(|grant| Some(grant.fence) > event.fence) {
            void.insert(event.id);
        }
    }
    let leases: BTreeSet<(Id, u64)> = entries.iter().filter_map(|entry| lease_of(&entry.event)).collect();
    let leases = Arc::new(leases);
    let mut overrides: BTreeMap<&str, Stamp> = BTreeMap::new();
    for event in entries.iter().map(|entry| &entry.event).filter(|e| matches!(e.payload, Payload::LeaseOverride(_))) {
        let first = overrides.entry(&event.author.agent).or_insert(event.stamp());
        *first = event.stamp().min(*first);
    }
    let highest = entries.iter().filter_map(|entry| grant(&entry.event)).max_by_key(|grant| grant.fence);
    let new = entries.iter().map(|entry| &entry.event).filter(|event| !known.contains(&event.id));
    new.filter(|event| is_fenced(&event.payload) && (event.fence.is_some() || verb(event) != CHANGE))
        .map(|event| Suspect {
            event: event.id,
            task: task.id,
            path: log_path.clone(),
            line: log.line_of(event.id),
            fence: event.fence,
            author: event.author.clone(),
            verb: verb(event),
            overridden: overrides.get(event.author.agent.as_str()).is_some_and(|first| *first < event.stamp()),
            granted: task.fence,
            leases: Arc::clone(&leases),
            under: highest.clone().filter(|_| void.contains(&event.id)),
        })
        .collect()
}

fn grant(event: &Event) -> Option<Grant> {
    let p = event.payload.grant()?;
    Some(Grant { fence: p.fence, holder: p.holder.clone(), session: p.session, held: false, elsewhere: false })
}

fn lease_of(event: &Event) -> Option<(Id, u64)> {
    event.payload.grant().map(|p| (p.lease, p.fence))
}

/// The verb of an event that does not end its task.
const CHANGE: &str = "change";

fn verb(event: &Event) -> &'static str {
    match status_of(event) {
        Some(Status::Completed) => "complete",
        Some(Status::Cancelled) => "cancel",
        Some(Status::Archived) => "archive",
        Some(Status::Open | Status::InProgress | Status::Blocked) | None => CHANGE,
    }
}

/// The findings about suspects whose lease had been lost. A sync brings the plan together with what other clones say, where the higher
/// fence counts; it must not be held up by what only a remote says.
///
/// Errors: `ERR_CORRUPT` or `ERR_IO` where the runtime state of the clone cannot be read.
fn lost(suspects: &[Suspect], runtime: Option<&Dir>, is_of_sync: bool) -> Result<Vec<Finding>> {
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
    // An event that a command of this clone wrote, and that its log makes void now, changes nothing and may be committed.
    let forged = void.into_iter().filter(|(suspect, _)| !past.wrote(suspect));
    found.extend(forged.map(|(suspect, grant)| finding(suspect, &grant, is_of_sync)));
    for (suspect, fence, now) in doubtful {
        let none = Grant { fence, holder: String::new(), session: None, held: false, elsewhere: false };
        let last = now.or_else(|| past.highest(suspect.task)).unwrap_or(none);
        // The holder's own events arrived from the other clone with the log.
        let own = last.is_of(&suspect.author) && !(last.elsewhere && past.wrote(suspect));
        if !own && !past.excuses(suspect, &last) {
            found.push(finding(suspect, &last, is_of_sync));
        }
    }
    Ok(found)
}

fn finding(suspect: &Suspect, grant: &Grant, is_of_sync: bool) -> Finding {
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
    let is_of_remote = grant.elsewhere && suspect.under.is_none();
    if is_of_sync && is_of_remote { finding.with_severity(Severity::Warning) } else { finding }
}

/// The order in which this clone learned of the suspects and of the grants of their tasks.
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
                // An event that only arrived here was not decided by a command of this clone.
                if events.contains(&event.id) && !record.commit.is_foreign() {
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

    fn highest(&self, task: Id) -> Option<Grant> {
        self.grants.get(&task)?.iter().map(|(_, grant)| grant).max_by_key(|grant| grant.fence).cloned()
    }

    /// Whether a command of this clone wrote an event.
    fn wrote(&self, suspect: &Suspect) -> bool {
        self.acknowledged.contains_key(&suspect.event)
    }

    /// Whether a command of this clone wrote an event before it learned of another agent's lease.
    fn excuses(&self, suspect: &Suspect, last: &Grant) -> bool {
        let Some(fence) = suspect.fence else { return self.wrote(suspect) && (suspect.overridden || !last.elsewhere) };
        let passed = |(_, grant): &&(usize, Grant)| grant.fence > fence && !grant.is_of(&suspect.author);
        let first = self.grants.get(&suspect.task).into_iter().flatten().filter(passed).map(|(when, _)| *when).min();
        let before = match (self.acknowledged.get(&suspect.event), first) {
            (Some(event), Some(grant)) => *event < grant,
            // After another agent's lease was seen at the remote, no command writes under the old one.
            (Some(_), None) => last.elsewhere,
            (None, _) => false,
        };
        before && suspect.verb == CHANGE
    }
}
