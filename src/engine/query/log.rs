//! `log`: the events of one task or of all, in their order.
//!
//! Guarantees: of all events only their places are held, so that a plan of any size fits; what is shown is read again, some at a time.
//! An event that stands in several logs, or twice in one, is one event.
//! Leaves to others: what an event means.

use std::collections::{BTreeMap, BTreeSet};

use super::page::START;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::env::parallel;
use crate::env::progress::Progress;
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::event::{Entity, Entry, Event, Stamp};
use crate::model::id::quoted;
use crate::model::payload::KINDS;
use crate::model::query::Log;
use crate::model::suggest::nearest;
use crate::model::time::Time;
use crate::reports::list::Rest;
use crate::rules::event_rules::{EventRules, UndoRule, is_undo, is_undo_of};
use crate::rules::held::NamedTask;
use crate::store::archive;
use crate::store::entity::read_log_with;

/// Events a log shows unless asked for more.
const DEFAULT_LIMIT: usize = 50;
/// Bytes of events that a log shows unless asked for more.
const DEFAULT_BYTES: usize = 64 * 1024;
/// Events that are held at once on their way out.
const AT_ONCE: usize = 10_000;

/// Where an event stands: in which log, and the how-manieth there.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    stamp: Stamp,
    log: u32,
    n: u32,
}

/// The logs that are looked through.
struct Logs<'a> {
    ws: &'a Workspace,
    of: Vec<Entity>,
    pending: BTreeMap<Entity, Vec<Entry>>,
}

/// `log`: gives `show` each event, and answers with the rest of the list.
pub fn log(ws: &Workspace, q: &Log, show: &mut dyn FnMut(Entry)) -> Result<Rest> {
    let before: Option<Stamp> = match q.cursor.as_deref().filter(|cursor| *cursor != START) {
        Some(cursor) => Some(cursor.parse().map_err(|_| {
            Error::usage(format!("{} is no cursor", quoted(cursor))).hint("use next_cursor of the previous answer")
        })?),
        None => None,
    };
    let pending = read::pending(ws)?;
    let of = match &q.task_id.0 {
        Some(reference) => {
            vec![Entity::Task(read::load_task(ws, read::resolve(ws, &Ref(reference.clone()))?)?.task.id)]
        }
        None => {
            let tasks = archive::all_tasks(&ws.store)?.into_iter().map(Entity::Task);
            let known = tasks.chain(read::agent_names(ws)?.into_iter().map(Entity::Agent));
            let all: BTreeSet<Entity> = known.chain(pending.keys().cloned()).collect();
            all.into_iter().collect()
        }
    };
    let logs = Logs { ws, of, pending };
    logs.check_kinds(q)?;
    let mut places = logs.places(q)?;
    let total = places.len();
    if let Some(before) = before {
        places.truncate(places.partition_point(|place| place.stamp < before));
    }
    let limit = if q.all { total } else { q.limit.map_or(DEFAULT_LIMIT, |n| usize::try_from(n).unwrap_or(usize::MAX)) };
    let mut shown = &places[places.len().saturating_sub(limit)..];
    if !q.all && q.limit.is_none() {
        let entries = logs.read(shown)?;
        let fit = fitting(&entries);
        shown = &shown[shown.len() - fit..];
        entries.into_iter().rev().take(fit).rev().flatten().for_each(&mut *show);
    } else {
        for some in shown.chunks(AT_ONCE) {
            logs.read(some)?.into_iter().flatten().for_each(&mut *show);
        }
    }
    let first = shown.first().map(|place| place.stamp.to_string());
    let next = || first.or_else(|| q.cursor.clone()).unwrap_or_else(|| START.into());
    Ok(Rest::new(total as u64, (shown.len() < places.len()).then(next)))
}

/// The newest events of an agent among which one to undo is looked for.
const RECENT: u64 = 20;

/// The newest change of the caller that can be undone and was not: the event in words, and its task.
///
/// Errors: as [`log`]; `ERR_USAGE` where no agent asks.
pub fn newest_undoable(ws: &Workspace) -> Result<Option<(Event, NamedTask)>> {
    let q = Log { by: Some(ws.author()?.agent), limit: Some(RECENT), ..Log::default() };
    let mut recent = Vec::new();
    log(ws, &q, &mut |entry| recent.push(entry.event))?;
    for event in recent.into_iter().rev() {
        let Entity::Task(id) = event.entity else { continue };
        if is_undo(&event) || !matches!(EventRules::of(&event.payload).undo, UndoRule::With(_)) {
            continue;
        }
        let loaded = read::load_task(ws, id)?;
        if !loaded.log.entries.iter().any(|entry| is_undo_of(&entry.event, event.id)) {
            let task = NamedTask::new(id, read::handle(ws, id)?, &loaded.task.fields.title);
            return Ok(Some((event, task)));
        }
    }
    Ok(None)
}

impl Logs<'_> {
    /// Refuses a type that this version does not know and no event has, rather than find none of it.
    fn check_kinds(&self, q: &Log) -> Result<()> {
        let is_known = |kind: &str| KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind));
        for kind in q.kinds.iter().filter(|kind| !is_known(kind)) {
            if !self.places(&Log { kinds: vec![kind.clone()], ..Log::default() })?.is_empty() {
                continue;
            }
            let meant = nearest(kind, KINDS.iter().copied());
            let meant = meant.map(|known| format!("; did you mean {known}?")).unwrap_or_default();
            return Err(Error::usage(format!("there is no type of event {}{meant}", quoted(kind)))
                .hint(format!("the types are {}", KINDS.join(", "))));
        }
        Ok(())
    }

    /// Where the events stand that are asked for, in the order of events, each event once.
    fn places(&self, q: &Log) -> Result<Vec<Place>> {
        let numbers: Vec<u32> = (0..self.of.len() as u32).collect();
        let (progress, now) = (Progress::of("reading the logs", numbers.len()), self.ws.env.now());
        let found = parallel::map(&numbers, |log| {
            progress.step();
            let entries = self.entries(*log)?;
            let line = |place: &Place| &entries[place.n as usize].line;
            let asked = entries.iter().zip(0..).filter(|(entry, _)| is_asked_for(entry, q, now));
            let mut own: Vec<Place> =
                asked.map(|(entry, n)| Place { stamp: entry.event.stamp(), log: *log, n }).collect();
            own.sort_by(|a, b| (a.stamp, line(a)).cmp(&(b.stamp, line(b))));
            own.dedup_by(|a, b| line(a) == line(b));
            Ok(own)
        })?;
        let mut places = Vec::with_capacity(found.iter().map(Vec::len).sum());
        found.into_iter().for_each(|own| places.extend(own));
        places.sort_unstable();
        self.disambiguate(&mut places)?;
        Ok(places)
    }

    /// Puts events with one stamp in the order of their lines, and leaves each line there once.
    fn disambiguate(&self, places: &mut Vec<Place>) -> Result<()> {
        let runs = places.chunk_by(|a, b| a.stamp == b.stamp).filter(|run| run.len() > 1);
        let tied: Vec<Place> = runs.flatten().copied().collect();
        if tied.is_empty() {
            return Ok(());
        }
        let lines = self.read(&tied)?.into_iter().map(|entry| entry.map(|entry| entry.line));
        let lines: BTreeMap<Place, Option<Box<str>>> = tied.into_iter().zip(lines).collect();
        places.sort_by(|a, b| a.stamp.cmp(&b.stamp).then_with(|| lines.get(a).cmp(&lines.get(b))));
        places.dedup_by(|a, b| a.stamp == b.stamp && lines.get(a) == lines.get(b));
        Ok(())
    }

    /// The events at these places, in their order; none if a log was changed meanwhile and lost one.
    fn read(&self, places: &[Place]) -> Result<Vec<Option<Entry>>> {
        let mut wanted: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            wanted.entry(place.log).or_default().push(at);
        }
        let wanted: Vec<(u32, Vec<usize>)> = wanted.into_iter().collect();
        let read = parallel::map(&wanted, |(log, ats)| {
            let mut entries: Vec<Option<Entry>> = self.entries(*log)?.into_iter().map(Some).collect();
            let mut take = |at: usize| {
                let place = places[at];
                let is_it = |one: &Option<Entry>| one.as_ref().is_some_and(|entry| entry.event.stamp() == place.stamp);
                let there = Some(place.n as usize).filter(|n| entries.get(*n).is_some_and(is_it));
                let found = there.or_else(|| entries.iter().position(is_it));
                (at, found.and_then(|n| entries[n].take()))
            };
            Ok(ats.iter().map(|at| take(*at)).collect::<Vec<_>>())
        })?;
        let mut all: Vec<Option<Entry>> = vec![None; places.len()];
        for (at, entry) in read.into_iter().flatten() {
            all[at] = entry;
        }
        Ok(all)
    }

    fn entries(&self, log: u32) -> Result<Vec<Entry>> {
        let entity = &self.of[log as usize];
        let pending = self.pending.get(entity).map_or(&[][..], Vec::as_slice);
        Ok(read_log_with(&self.ws.store, entity, pending)?.entries)
    }
}

/// How many of the last of these events fit into an answer; one always does.
fn fitting(entries: &[Option<Entry>]) -> usize {
    let mut bytes = 0;
    let fits = |(n, entry): &(usize, &Option<Entry>)| {
        bytes += entry.as_ref().map_or(0, |entry| entry.line.len());
        *n == 0 || bytes <= DEFAULT_BYTES
    };
    entries.iter().rev().enumerate().take_while(fits).count()
}

fn is_asked_for(entry: &Entry, q: &Log, now: Time) -> bool {
    let event = &entry.event;
    q.by.as_ref().is_none_or(|agent| *agent == event.author.agent)
        && q.correlation_id.as_ref().is_none_or(|id| event.author.correlation_id.as_ref() == Some(id))
        && q.plan_id.as_ref().is_none_or(|id| event.author.plan_id.as_ref() == Some(id))
        && q.since.is_none_or(|since| event.at >= since.ago(now))
        && q.until.is_none_or(|until| event.at <= until.ago(now).plus(until.length() - 1))
        && (q.kinds.is_empty() || q.kinds.iter().any(|kind| kind.eq_ignore_ascii_case(event.payload.kind())))
}
