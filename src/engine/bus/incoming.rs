//! Records events that the bus brought.
//!
//! Guarantees that an event is recorded only where git could have brought it too: of bounded size, in form, in its own place, signed
//! and permitted by the commit that is checked out. What is refused is kept with the reason and never tried again. An event whose
//! parents are not here waits for them, so that a log has no gap whatever the order of arrival.
//! Leaves to others: which right an event needs (`lint`), and how it is written (`feed`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::context::bus::own_runtime;
use crate::engine::feed::stream::{is_redacted, record_arrivals, says_the_same};
use crate::engine::lint::arriving::ArrivalGate;
use crate::engine::repair::look_after_git;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::plain;
use crate::model::subject::Subjects;
use crate::model::time::Time;
use crate::runtime::bus::{self, Lines, RefusedMessage};
use crate::runtime::journal::{Carrier, Journal};
use crate::store::entity::read_log;
use crate::store::project::check_home;

/// Most events that wait for their parents.
const MAX_WAITING: usize = 10_000;
/// Characters of a refused message that are kept.
const SHOWN: usize = 2_000;

/// A message of the bus.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub sequence: u64,
    pub subject: String,
    pub payload: Vec<u8>,
    /// How many events of the same command follow it, as its sender says.
    pub more: usize,
    /// Its id, as its sender says.
    pub id: Option<String>,
}

/// What was done with messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many events were recorded.
    pub recorded: usize,
    /// The events that the plan has now: those that were recorded, and those that it had.
    pub accepted: Vec<Id>,
    pub refused: usize,
    pub waiting: usize,
}

/// Records the events of messages, and of those that waited. The messages are dealt with once this returns.
///
/// Errors: `ERR_BUSY`, `ERR_IO`, `ERR_NO_SPACE`; then the same messages are to be given again.
pub(crate) fn take(ws: &Workspace, subjects: &Subjects, messages: &[Message]) -> Result<Taken> {
    ws.check_safe_to_change()?;
    let own = own_runtime(ws)?;
    let mut intake = Intake { ws, own: &own, refused: Vec::new(), refused_before: None };
    let Lines { found: mut events, damaged } = bus::waiting(&own)?;
    for line in &damaged {
        intake.refuse(0, "", None, line, "it waited for its parents, and its line cannot be read any more".into());
    }
    for message in messages {
        match event_of(subjects, message) {
            Ok(entry) => events.push((message.sequence, entry)),
            Err(why) => intake.refuse(message.sequence, &message.subject, None, &message.payload, why),
        }
    }
    let taken = if events.is_empty() && damaged.is_empty() {
        Taken::default()
    } else {
        write::under_lock(ws, "agentpm bus", |runtime, _, journal| intake.record(subjects, events, runtime, journal))?
    };
    intake.refused.sort_by_key(|message| message.sequence);
    bus::refuse(&own, &intake.refused)?;
    Ok(Taken { refused: intake.refused.len(), ..taken })
}

/// Whether the messages hold every event of each command that they hold a part of, as far as the senders say. The events of one
/// command are judged together.
pub(crate) fn is_whole(messages: &[Message]) -> bool {
    let mut left: BTreeMap<(String, Time), usize> = BTreeMap::new();
    for message in messages {
        let event = std::str::from_utf8(&message.payload).ok().and_then(|text| parse_line(text).ok());
        left.extend(event.map(|event| ((event.author.agent, event.at), message.more)));
    }
    left.values().all(|more| *more == 0)
}

/// The event of a message, or why it has none that could be recorded.
fn event_of(subjects: &Subjects, message: &Message) -> std::result::Result<Entry, String> {
    if message.payload.len() > MAX_LINE {
        return Err(format!("it has {} bytes; an event has at most {MAX_LINE}", message.payload.len()));
    }
    let text = std::str::from_utf8(&message.payload).map_err(|_| "it is no UTF-8".to_owned())?;
    if text.contains(['\n', '\r']) {
        return Err("it is more than one line".into());
    }
    let event = parse_line(text).map_err(|e| format!("it cannot be read: {}", e.message))?;
    match subjects.event(&event) {
        None => Err(format!("{} stays on the machine that wrote it", event.payload.kind())),
        Some(subject) if subject != message.subject => {
            Err(format!("it was published as {}, and its event belongs to {subject}", message.subject))
        }
        Some(_) => match &message.id {
            // The server drops a second message with an id, so that the id of an event is for its event alone.
            Some(id) if !is_id_for(event.id, id) => {
                Err(format!("its message id is {id}, and its event is {}", event.id))
            }
            _ => Ok(Entry { event, line: text.into() }),
        },
    }
}

/// Whether a message with an event has this id: that of the event, also with an addition, which it gets where another message has it.
fn is_id_for(event: Id, id: &str) -> bool {
    id.strip_prefix(&event.to_string()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

struct Intake<'a> {
    ws: &'a Workspace,
    own: &'a Dir,
    refused: Vec<RefusedMessage>,
    /// The events that were refused before, read when they are first needed.
    refused_before: Option<BTreeSet<Id>>,
}

/// The events of one entity that can be recorded, and the log that they are added to.
struct Fresh {
    here: Vec<Entry>,
    new: Vec<(u64, Entry)>,
}

impl Intake<'_> {
    fn refuse(&mut self, sequence: u64, subject: &str, event: Option<Id>, payload: &[u8], why: String) {
        let text: String = String::from_utf8_lossy(payload).chars().take(SHOWN).collect();
        tracing::warn!(sequence, subject, why, "a message of the bus was refused");
        let (subject, why) = (subject.chars().take(SHOWN).collect(), plain::escape(&why));
        self.refused.push(RefusedMessage { sequence, subject, at: self.ws.env.now(), why, event, text });
    }

    fn refuse_event(&mut self, subjects: &Subjects, (sequence, entry): &(u64, Entry), why: String) {
        let subject = subjects.event(&entry.event).unwrap_or_default();
        self.refuse(*sequence, &subject, Some(entry.event.id), entry.line.as_bytes(), why);
    }

    fn record(
        &mut self,
        subjects: &Subjects,
        events: Vec<(u64, Entry)>,
        runtime: &Dir,
        journal: &mut Journal<'_>,
    ) -> Result<Taken> {
        look_after_git(self.ws, journal, runtime)?;
        let mut accepted = Vec::new();
        let mut by_entity: BTreeMap<Entity, Vec<(u64, Entry)>> = BTreeMap::new();
        for (sequence, entry) in events {
            by_entity.entry(entry.event.entity.clone()).or_default().push((sequence, entry));
        }
        let mut fresh: BTreeMap<Entity, Fresh> = BTreeMap::new();
        let mut waiting = Vec::new();
        for (entity, mut events) in by_entity {
            match check_home(&self.ws.store, &entity) {
                Err(e) if e.code == Code::Corrupt => {
                    events.iter().for_each(|event| self.refuse_event(subjects, event, e.message.clone()));
                    continue;
                }
                other => other?,
            }
            let here = read_log(&self.ws.store, &entity)?.entries;
            events.sort_by_key(|(_, entry)| entry.event.stamp());
            let new = self.new_ones(subjects, &here, events, &mut waiting, &mut accepted)?;
            if !new.is_empty() {
                fresh.insert(entity, Fresh { here, new });
            }
        }
        self.judge(subjects, &mut fresh)?;
        waiting.sort_by_key(|(sequence, _)| *sequence);
        let too_many = waiting.len().saturating_sub(MAX_WAITING);
        for event in waiting.drain(..too_many) {
            self.refuse_event(subjects, &event, "its parents did not arrive".into());
        }
        let recorded: BTreeMap<Entity, Vec<Entry>> = fresh
            .into_iter()
            .map(|(entity, fresh)| (entity, fresh.new.into_iter().map(|(_, entry)| entry).collect()))
            .filter(|(_, new): &(Entity, Vec<Entry>)| !new.is_empty())
            .collect();
        record_arrivals(self.ws, journal, runtime, &recorded, Carrier::Bus)?;
        bus::write_waiting(self.own, &waiting)?;
        accepted.extend(recorded.values().flatten().map(|entry| entry.event.id));
        let recorded = recorded.values().map(Vec::len).sum();
        Ok(Taken { recorded, accepted, refused: 0, waiting: waiting.len() })
    }

    /// Those events of a log that are not in it and whose parents are there. The others wait, or are refused.
    fn new_ones(
        &mut self,
        subjects: &Subjects,
        here: &[Entry],
        events: Vec<(u64, Entry)>,
        waiting: &mut Vec<(u64, Entry)>,
        accepted: &mut Vec<Id>,
    ) -> Result<Vec<(u64, Entry)>> {
        let mut lines: BTreeMap<Id, &str> = here.iter().map(|entry| (entry.event.id, &*entry.line)).collect();
        let mut new: Vec<(u64, Entry)> = Vec::new();
        let mut ids: BTreeSet<Id> = lines.keys().copied().collect();
        let (mut later, mut added) = (events, true);
        // Parents come first in the order of events, unless a clock was wrong.
        while added {
            added = false;
            for (sequence, entry) in std::mem::take(&mut later) {
                let same = lines.remove(&entry.event.id).map(str::to_owned);
                let twice = new.iter().find(|(_, other)| other.event.id == entry.event.id);
                let same = same.or_else(|| twice.map(|(_, other)| other.line.to_string()));
                if let Some(line) = same {
                    if says_the_same(&line, &entry.line) || is_redacted(&line, &entry) {
                        accepted.push(entry.event.id);
                    } else {
                        let why = format!("event {} is here already with other content", entry.event.id);
                        self.refuse_event(subjects, &(sequence, entry), why);
                    }
                } else if entry.event.parents.iter().all(|parent| ids.contains(parent)) {
                    added |= ids.insert(entry.event.id);
                    new.push((sequence, entry));
                } else {
                    later.push((sequence, entry));
                }
            }
        }
        for event in later {
            match self.refused_parent(&event.1)? {
                Some(parent) => self.refuse_event(subjects, &event, format!("its parent {parent} was refused")),
                None => waiting.push(event),
            }
        }
        Ok(new)
    }

    fn refused_parent(&mut self, entry: &Entry) -> Result<Option<Id>> {
        if self.refused_before.is_none() {
            self.refused_before = Some(bus::refused_events(self.own)?);
        }
        let before = self.refused_before.iter().flatten();
        let refused: BTreeSet<Id> = before.copied().chain(self.refused.iter().filter_map(|one| one.event)).collect();
        Ok(entry.event.parents.iter().copied().find(|parent| refused.contains(parent)))
    }

    /// Refuses what is not permitted, and what follows from it.
    fn judge(&mut self, subjects: &Subjects, fresh: &mut BTreeMap<Entity, Fresh>) -> Result<()> {
        let repo = self.ws.repo.as_ref();
        let repo = repo.ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        let objects = repo.objects()?;
        let gate = ArrivalGate::open(self.ws, &objects)?;
        let mut refused: Vec<(Entity, BTreeMap<Id, String>)> = Vec::new();
        for (entity, one) in &*fresh {
            let others = |other: &Entity| {
                let mut log = read_log(&self.ws.store, other)?.entries;
                log.extend(fresh.get(other).into_iter().flat_map(|f| f.new.iter().map(|(_, entry)| entry.clone())));
                Ok(log)
            };
            let new: Vec<Entry> = one.new.iter().map(|(_, entry)| entry.clone()).collect();
            let mut found = gate.refusals(entity, &one.here, &new, &others)?;
            for entry in &new {
                if !found.contains_key(&entry.event.id)
                    && let Some(parent) = entry.event.parents.iter().find(|parent| found.contains_key(parent))
                {
                    found.insert(entry.event.id, format!("its parent {parent} was refused"));
                }
            }
            if !found.is_empty() {
                refused.push((entity.clone(), found));
            }
        }
        for (entity, found) in refused {
            let Some(one) = fresh.get_mut(&entity) else { continue };
            let (bad, good): (Vec<_>, Vec<_>) =
                std::mem::take(&mut one.new).into_iter().partition(|(_, entry)| found.contains_key(&entry.event.id));
            one.new = good;
            for event in bad {
                let why = found[&event.1.event.id].clone();
                self.refuse_event(subjects, &event, why);
            }
        }
        Ok(())
    }
}
