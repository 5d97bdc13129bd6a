//! Records events that the bus brought.
//!
//! Guarantees that an event is recorded only where git could have brought it too: of bounded size, in form, in its own place, signed
//! and permitted by the commit that is checked out. What is refused is kept with the reason and never tried again. An event whose
//! parents are not here waits for them, so that a log has no gap whatever the order of arrival; so does one that is permitted only with
//! an event of another log. A forged message under the id of an event does not keep that event out where the rules refuse the forgery,
//! whichever of both comes first.
//! Leaves to others: which right an event needs (`lint`), and how it is written (`feed`).

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::commit::write;
use crate::engine::context::Workspace;
use crate::engine::context::bus::own_runtime;
use crate::engine::feed::noted::taken_ids;
use crate::engine::feed::stream::{is_redacted, record_arrivals, says_the_same};
use crate::engine::lint::arriving::{ArrivalGate, Arrivals, Verdicts};
use crate::engine::repair::look_after_git;
use crate::env::files::Dir;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry, Event, MAX_LINE, parse_line};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::model::plain;
use crate::model::subject::Subjects;
use crate::model::time::Time;
use crate::runtime::bus::{self, Lines, RefusedMessage};
use crate::runtime::journal::{Carrier, Journal};
use crate::store::entity::read_log;
use crate::store::project::check_home;

/// Most events that wait for their parents, and their bytes.
const MAX_WAITING: usize = 10_000;
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
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
    /// The events of which a message says what the plan has now: those that were recorded, and those that it had.
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
    let mut intake = Intake { ws, own: &own, refused: Vec::new(), refused_events: None, taken: BTreeMap::new() };
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
    for RefusedMessage { sequence, subject, why, .. } in &intake.refused {
        tracing::warn!(sequence, subject, why, "a message of the bus was refused");
    }
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
    /// The events that were refused, also before; those of before are read when they are first needed.
    refused_events: Option<BTreeSet<Id>>,
    /// The logs that have an event with the id of one that arrives.
    taken: BTreeMap<Id, BTreeSet<Entity>>,
}

/// The events of one entity that can be recorded, and the log that they are added to.
struct Fresh {
    here: Vec<Entry>,
    new: Vec<(u64, Entry)>,
    /// Events with the id of a new one and other content.
    rivals: Vec<(u64, Entry)>,
}

/// Messages, by what can be done with their events.
struct Sorted {
    fresh: BTreeMap<Entity, Fresh>,
    waiting: Vec<(u64, Entry)>,
    accepted: Vec<Id>,
}

/// What may not be recorded of the new events of each entity.
type AllVerdicts = BTreeMap<Entity, Verdicts>;

impl Intake<'_> {
    fn refuse(&mut self, sequence: u64, subject: &str, event: Option<Id>, payload: &[u8], why: String) {
        let text: String = String::from_utf8_lossy(payload).chars().take(SHOWN).collect();
        let (subject, why) = (subject.chars().take(SHOWN).collect(), plain::escape(&why));
        if let Some(refused) = &mut self.refused_events {
            refused.extend(event);
        }
        self.refused.push(RefusedMessage { sequence, subject, at: self.ws.env.now(), why, event, text });
    }

    fn refuse_event(&mut self, subjects: &Subjects, event: &(u64, Entry), why: String) {
        self.refuse_line(subjects, event, Some(event.1.event.id), why);
    }

    /// Refuses an event whose id is that of another one, too: what follows that one is not refused.
    fn refuse_forgery(&mut self, subjects: &Subjects, event: &(u64, Entry), why: String) {
        self.refuse_line(subjects, event, None, why);
    }

    fn refuse_line(&mut self, subjects: &Subjects, (sequence, entry): &(u64, Entry), id: Option<Id>, why: String) {
        let subject = subjects.event(&entry.event).unwrap_or_default();
        self.refuse(*sequence, &subject, id, entry.line.as_bytes(), why);
    }

    fn record(
        &mut self,
        subjects: &Subjects,
        mut events: Vec<(u64, Entry)>,
        runtime: &Dir,
        journal: &mut Journal<'_>,
    ) -> Result<Taken> {
        look_after_git(self.ws, journal, runtime)?;
        let repo = self.ws.repo.as_ref();
        let repo = repo.ok_or_else(|| Error::new(Code::Git, "the store lies in no git work tree"))?;
        let objects = repo.objects()?;
        let gate = ArrivalGate::open(self.ws, &objects)?;
        self.taken = taken_ids(self.ws, events.iter().map(|(_, entry)| entry.event.id))?;
        let Sorted { mut fresh, mut waiting, mut accepted } = loop {
            let refused_so_far = self.refused.len();
            let mut sorted = self.sort(subjects, events.clone())?;
            let verdicts = self.verdicts(&gate, &sorted.fresh)?;
            let mut forgeries = self.forgeries(&gate, &sorted.fresh, &verdicts)?;
            if forgeries.is_empty() {
                forgeries = repeated_ids(&sorted.fresh, &verdicts);
            }
            if forgeries.is_empty() {
                self.set_aside(subjects, &mut sorted, &verdicts);
                break sorted;
            }
            // Without them, what was set aside or refused because of them is judged again.
            self.refused.truncate(refused_so_far);
            self.refused_events = None;
            for (event, why) in forgeries {
                events.retain(|one| !is_one(one, &event));
                self.refuse_forgery(subjects, &event, why);
            }
        };
        for event in drain_excess(&mut waiting, MAX_WAITING, MAX_WAITING_BYTES) {
            self.refuse_event(subjects, &event, "what it depends on did not arrive, and too many events wait".into());
        }
        let recorded: BTreeMap<Entity, Vec<Entry>> = std::mem::take(&mut fresh)
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

    fn sort(&mut self, subjects: &Subjects, events: Vec<(u64, Entry)>) -> Result<Sorted> {
        let mut sorted = Sorted { fresh: BTreeMap::new(), waiting: Vec::new(), accepted: Vec::new() };
        let mut by_entity: BTreeMap<Entity, Vec<(u64, Entry)>> = BTreeMap::new();
        for (sequence, entry) in events {
            by_entity.entry(entry.event.entity.clone()).or_default().push((sequence, entry));
        }
        for (entity, mut events) in by_entity {
            match check_home(&self.ws.store, &entity) {
                Err(e) if e.code == Code::Corrupt => {
                    events.iter().for_each(|event| self.refuse_event(subjects, event, e.message.clone()));
                    continue;
                }
                other => other?,
            }
            let here = read_log(&self.ws.store, &entity)?.entries;
            sort_events(&mut events);
            let fresh = self.new_ones(subjects, here, events, &mut sorted)?;
            if !fresh.new.is_empty() {
                sorted.fresh.insert(entity, fresh);
            }
        }
        Ok(sorted)
    }

    /// Those events of a log that are not in it and whose parents are there. The others wait, or are refused.
    fn new_ones(
        &mut self,
        subjects: &Subjects,
        here: Vec<Entry>,
        events: Vec<(u64, Entry)>,
        sorted: &mut Sorted,
    ) -> Result<Fresh> {
        let mut lines: BTreeMap<Id, Vec<&str>> = BTreeMap::new();
        for entry in &here {
            lines.entry(entry.event.id).or_default().push(&entry.line);
        }
        let mut new: Vec<(u64, Entry)> = Vec::new();
        let mut place: BTreeMap<Id, usize> = BTreeMap::new();
        let mut rivals = Vec::new();
        let (mut later, mut added) = (events, true);
        // Parents come first in the order of events, unless a clock was wrong.
        while added {
            added = false;
            for (sequence, entry) in std::mem::take(&mut later) {
                let id = entry.event.id;
                if let Some(lines) = lines.get(&id) {
                    // An entry without its text does not show that the bus has the text.
                    if lines.iter().any(|line| says_the_same(line, &entry.line)) {
                        sorted.accepted.push(id);
                    } else if !lines.iter().any(|line| is_redacted(line, &entry)) {
                        let why = format!("event {id} is here already with other content");
                        self.refuse_forgery(subjects, &(sequence, entry), why);
                    }
                } else if let Some(other) = self.is_taken(&entry) {
                    let why = format!("event {id} has the id of an event of {other}");
                    self.refuse_forgery(subjects, &(sequence, entry), why);
                } else if !entry.event.parents.iter().all(|id| lines.contains_key(id) || place.contains_key(id)) {
                    later.push((sequence, entry));
                } else if let Some(first) = place.get(&id) {
                    if !says_the_same(&new[*first].1.line, &entry.line) {
                        rivals.push((sequence, entry));
                    }
                } else {
                    added = true;
                    place.insert(id, new.len());
                    new.push((sequence, entry));
                }
            }
        }
        for event in later {
            match self.refused_parent(&event.1)? {
                Some(parent) => self.refuse_event(subjects, &event, format!("its parent {parent} was refused")),
                None => sorted.waiting.push(event),
            }
        }
        Ok(Fresh { here, new, rivals })
    }

    /// The other log that has an event with the id of this one.
    fn is_taken(&self, entry: &Entry) -> Option<&Entity> {
        self.taken.get(&entry.event.id)?.iter().find(|other| **other != entry.event.entity)
    }

    fn refused_parent(&mut self, entry: &Entry) -> Result<Option<Id>> {
        let refused = match &mut self.refused_events {
            Some(refused) => refused,
            none => {
                let now = self.refused.iter().filter_map(|one| one.event);
                none.insert(bus::refused_events(self.own)?.into_iter().chain(now).collect())
            }
        };
        Ok(entry.event.parents.iter().copied().find(|parent| refused.contains(parent)))
    }

    /// What is not permitted or waits, and what follows from it.
    fn verdicts(&self, gate: &ArrivalGate<'_>, fresh: &BTreeMap<Entity, Fresh>) -> Result<AllVerdicts> {
        // What is not recorded is no event that another one is permitted with.
        let mut left_out = BTreeSet::new();
        loop {
            let mut all = AllVerdicts::new();
            for (entity, one) in fresh {
                let new: Vec<Entry> = one.new.iter().map(|(_, entry)| entry.clone()).collect();
                let mut found = self.judge(gate, fresh, (entity, &one.here, &new), &left_out)?;
                for entry in &new {
                    let (event, parents) = (entry.event.id, &entry.event.parents);
                    // A child is judged together with its parent, once that is recorded.
                    if parents.iter().any(|parent| found.waiting.contains(parent)) {
                        found.refused.remove(&event);
                        found.waiting.insert(event);
                        continue;
                    }
                    if found.refused.contains_key(&event) {
                        continue;
                    }
                    if let Some(parent) = parents.iter().find(|parent| found.refused.contains_key(parent)) {
                        found.waiting.remove(&event);
                        found.refused.insert(event, format!("its parent {parent} was refused"));
                    }
                }
                all.insert(entity.clone(), found);
            }
            let count = left_out.len();
            left_out.extend(all.values().flat_map(|one| one.refused.keys().chain(&one.waiting)).copied());
            if left_out.len() == count {
                return Ok(all);
            }
        }
    }

    /// Judges new events of a log, without those `left_out`.
    fn judge(
        &self,
        gate: &ArrivalGate<'_>,
        fresh: &BTreeMap<Entity, Fresh>,
        (entity, here, new): (&Entity, &[Entry], &[Entry]),
        left_out: &BTreeSet<Id>,
    ) -> Result<Verdicts> {
        let brings = |is: &dyn Fn(&Event) -> bool| {
            let mut arriving = fresh.values().flat_map(|one| &one.new).map(|(_, entry)| &entry.event);
            arriving.any(|event| !left_out.contains(&event.id) && is(event))
        };
        gate.judge(entity, here, new, &Arrivals { log: &|other| self.log_with(fresh, other), brings: &brings })
    }

    /// The log of an entity, with what is new.
    fn log_with(&self, fresh: &BTreeMap<Entity, Fresh>, entity: &Entity) -> Result<Vec<Entry>> {
        let mut log = read_log(&self.ws.store, entity)?.entries;
        log.extend(fresh.get(entity).into_iter().flat_map(|one| one.new.iter().map(|(_, entry)| entry.clone())));
        Ok(log)
    }

    /// Of several events with one id, the first of which is refused: those that are refused each on its own, with the reasons, where
    /// another one is not.
    fn forgeries(
        &self,
        gate: &ArrivalGate<'_>,
        fresh: &BTreeMap<Entity, Fresh>,
        verdicts: &AllVerdicts,
    ) -> Result<Vec<((u64, Entry), String)>> {
        let mut forgeries = Vec::new();
        for (entity, Verdicts { refused: found, .. }) in verdicts {
            let one = &fresh[entity];
            let contested: BTreeSet<Id> = one.rivals.iter().map(|(_, rival)| rival.event.id).collect();
            for (n, first) in one.new.iter().enumerate() {
                let id = first.1.event.id;
                if !contested.contains(&id) || !found.contains_key(&id) {
                    continue;
                }
                let before: Vec<Entry> =
                    one.here.iter().chain(one.new[..n].iter().map(|(_, entry)| entry)).cloned().collect();
                let mut refused = Vec::new();
                let mut is_any_permitted = false;
                let others = one.rivals.iter().filter(|(_, rival)| rival.event.id == id);
                for event in std::iter::once(first).chain(others) {
                    let alone = std::slice::from_ref(&event.1);
                    let verdicts = self.judge(gate, fresh, (entity, &before, alone), &BTreeSet::new())?;
                    let why = verdicts.refused.get(&id).cloned();
                    is_any_permitted |= why.is_none();
                    refused.extend(why.map(|why| (event.clone(), why)));
                }
                if is_any_permitted {
                    forgeries.append(&mut refused);
                }
            }
        }
        Ok(forgeries)
    }

    /// Refuses what is refused, and the events with the id of one that is recorded. What waits is set aside.
    fn set_aside(&mut self, subjects: &Subjects, sorted: &mut Sorted, verdicts: &AllVerdicts) {
        let none = Verdicts::default();
        for (entity, one) in &mut sorted.fresh {
            let Verdicts { refused: found, waiting } = verdicts.get(entity).unwrap_or(&none);
            let waits = |(_, entry): &(u64, Entry)| waiting.contains(&entry.event.id);
            sorted.waiting.extend(one.new.extract_if(.., |event| waits(event)));
            let (bad, good): (Vec<_>, Vec<_>) =
                std::mem::take(&mut one.new).into_iter().partition(|(_, entry)| found.contains_key(&entry.event.id));
            one.new = good;
            for event in bad {
                self.refuse_event(subjects, &event, found[&event.1.event.id].clone());
            }
            for rival in std::mem::take(&mut one.rivals) {
                let id = rival.1.event.id;
                if waits(&rival) {
                    sorted.waiting.push(rival);
                    continue;
                }
                let recorded = one.new.iter().find(|(_, entry)| entry.event.id == id);
                if recorded.is_some_and(|(_, entry)| is_redacted(&entry.line, &rival.1)) {
                    continue;
                }
                let why = found.get(&id).cloned();
                let why = why.unwrap_or_else(|| format!("event {id} is here already with other content"));
                self.refuse_forgery(subjects, &rival, why);
            }
        }
    }
}

/// The permitted events of different logs with one id, without the first of them.
fn repeated_ids(fresh: &BTreeMap<Entity, Fresh>, verdicts: &AllVerdicts) -> Vec<((u64, Entry), String)> {
    let is_permitted = |entity: &Entity, id: &Id| verdicts.get(entity).is_none_or(|one| !one.refused.contains_key(id));
    let mut by_id: BTreeMap<Id, Vec<&(u64, Entry)>> = BTreeMap::new();
    for (entity, one) in fresh {
        for event in one.new.iter().filter(|(_, entry)| is_permitted(entity, &entry.event.id)) {
            by_id.entry(event.1.event.id).or_default().push(event);
        }
    }
    let mut repeated = Vec::new();
    for (id, mut events) in by_id.into_iter().filter(|(_, events)| events.len() > 1) {
        events.sort_by_key(|(sequence, _)| *sequence);
        let why = format!("event {id} has the id of an event of {}", events[0].1.event.entity);
        repeated.extend(events[1..].iter().map(|event| ((*event).clone(), why.clone())));
    }
    repeated
}

fn is_one(one: &(u64, Entry), other: &(u64, Entry)) -> bool {
    one.0 == other.0 && one.1.event.id == other.1.event.id && one.1.line == other.1.line
}

/// Sorts the events of a log by their own order, and those with one id by that of their messages, which all clones share: an entry
/// without its text comes after one with it.
fn sort_events(events: &mut [(u64, Entry)]) {
    let lacks_text = |entry: &Entry| matches!(&entry.event.payload, Payload::ContextAdded(p) if p.content.is_empty());
    events.sort_by_key(|(sequence, entry)| (lacks_text(entry), *sequence));
    let mut stamps = BTreeMap::new();
    for (_, entry) in &*events {
        stamps.entry(entry.event.id).or_insert_with(|| entry.event.stamp());
    }
    events.sort_by_key(|(_, entry)| stamps[&entry.event.id]);
}

/// Removes what is too much of waiting events: the newest of too many, the largest of too many bytes. So a flood does not drive out
/// those that wait already.
fn drain_excess(waiting: &mut Vec<(u64, Entry)>, most: usize, most_bytes: usize) -> Vec<(u64, Entry)> {
    waiting.sort_by_key(|(sequence, _)| *sequence);
    let mut excess = waiting.split_off(most.min(waiting.len()));
    let mut bytes: usize = waiting.iter().map(|(_, entry)| entry.line.len()).sum();
    if bytes > most_bytes {
        waiting.sort_by_key(|(sequence, entry)| (entry.line.len(), *sequence));
        while bytes > most_bytes
            && let Some(largest) = waiting.pop()
        {
            bytes -= largest.1.line.len();
            excess.push(largest);
        }
        waiting.sort_by_key(|(sequence, _)| *sequence);
    }
    excess
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_already_stays_before_a_flood_of_events() {
        let event = |sequence: u64, bytes: usize| {
            let id = Id::from_parts(sequence, 0);
            let line = format!(
                r#"{{"v":1,"id":"{id}","type":"Odd","entity":"task/{id}","agent":"ada","at":"2026-01-01T00:00:00.000Z","lamport":1,"parents":[],"payload":{{"text":"{}"}}}}"#,
                "x".repeat(bytes)
            );
            (sequence, Entry { event: parse_line(&line).unwrap(), line: line.into() })
        };
        let numbers = |events: &[(u64, Entry)]| events.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>();
        let all = || vec![event(4, 10), event(2, 5_000), event(1, 10), event(3, 5_000), event(5, 5_000)];

        let mut waiting = all();
        assert!(drain_excess(&mut waiting, 9, 100_000).is_empty());
        let mut waiting = all();
        assert_eq!(numbers(&drain_excess(&mut waiting, 3, 100_000)), [4, 5], "the newest");
        assert_eq!(numbers(&waiting), [1, 2, 3]);
        let mut waiting = all();
        assert_eq!(numbers(&drain_excess(&mut waiting, 9, 8_000)), [5, 3], "the newest of the largest");
        assert_eq!(numbers(&waiting), [1, 2, 4]);
    }
}
