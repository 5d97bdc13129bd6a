//! Events as they arrive: pulling them from a cursor, watching, and recording those of another replica.
//!
//! Guarantees: the cursor is the id of the last event seen; after it nothing is shown twice and nothing is missed, whether it was
//! written here or came by git. Order is that of arrival on this machine, which is the journal's.
//! Leaves to others: who looks on.
//!
//! Git brings events past the journal. A caller that looks on notes in the journal what stands in the logs and not there, if the
//! lock is free; such records are never projected again. It never waits for the lock: what it cannot note is noted by a later
//! caller, and arrives then. On a disk that cannot be written, such events follow after those of the journal, in their order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{noted, wakeup};
use crate::engine::commit::hand_edits::record;
use crate::engine::commit::{project, write};
use crate::engine::context::Workspace;
use crate::engine::repair::look_after_git;
use crate::engine::view::read;
use crate::env::files::{Dir, Mark};
use crate::env::parallel;
use crate::error::{Code, Error, Result};
use crate::model::event::{Entity, Entry, Event, MAX_CLOCK, Stamp, parse_line};
use crate::model::id::Id;
use crate::model::job::SyncPull;
use crate::model::payload::Payload;
use crate::reports::list::Rest;
use crate::rules::fold::unfit;
use crate::rules::roles::Verb;
use crate::runtime::journal::{self, Carrier, Commit, Journal};
use crate::runtime::journals::{Journals, Position, Spot};
use crate::runtime::lock::Lock;
use crate::store::archive;
use crate::store::entity::read_log;
use crate::store::project::{check_home, without_text};

/// How often those who watch look even where nothing woke them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most events that came by git and are noted in one record: as many are held in memory.
const NOTED_AT_ONCE: usize = 20_000;
/// How many at first, while nothing is known of their length.
const NOTED_FIRST: usize = 256;
/// About how many bytes of their lines.
const NOTED_BYTES: usize = 8 * 1024 * 1024;
/// Events that `sync pull` gives unless asked for more, and their bytes.
const DEFAULT_LIMIT: usize = 500;
const DEFAULT_BYTES: usize = 64 * 1024;

/// Returns `show` events that arrived after one of them, in order of arrival; from the first on where none is named. Answers
/// with the fields besides the items.
///
/// Errors: `ERR_NOT_FOUND` where no event has that id, `ERR_IO` where the journal or the logs cannot be read.
pub fn pull_events(ws: &Workspace, q: &SyncPull, mut show: impl FnMut(Entry)) -> Result<Rest> {
    let unnoted = note_arrivals(ws)?;
    let mut reading = Reading::default();
    let arrivals = reading.since(ws, q.since_event_id, unnoted)?;
    let total = arrivals.order.len();
    // A caller that names a number of events gets them; otherwise bytes are what counts for the reader.
    let (most, most_bytes) = match (q.all, q.limit) {
        (true, _) => (total, usize::MAX),
        (false, Some(limit)) => (limit, usize::MAX),
        (false, None) => (DEFAULT_LIMIT, DEFAULT_BYTES),
    };
    let (mut shown, mut bytes, mut next) = (0, 0, q.since_event_id);
    for one in arrivals.order.iter().take(most) {
        let entry = arrivals.read(one)?;
        bytes += entry.line.len() + 1;
        if shown > 0 && bytes > most_bytes {
            break;
        }
        (shown, next) = (shown + 1, Some(one.0));
        show(entry);
    }
    Ok(Rest {
        total: total as u64,
        truncated: shown < total,
        next_cursor: next.map(|id| id.to_string()),
        ..Rest::default()
    })
}

/// The last events that arrived here, oldest first. Notes nothing in the journal.
///
/// Errors: `ERR_IO` where the journal or the logs cannot be read.
pub fn last_events(ws: &Workspace, most: usize) -> Result<Vec<Entry>> {
    let mut reading = Reading::default();
    let arrivals = reading.since(ws, None, PendingEvents::Shown)?;
    let first = arrivals.order.len().saturating_sub(most);
    arrivals.order[first..].iter().map(|one| arrivals.read(one)).collect()
}

/// What was done with events of another replica.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Pushed {
    /// The number of events that were given.
    pub given: usize,
    /// Those that were recorded.
    pub taken: usize,
    /// Those that were here already.
    pub known: usize,
    /// Those that stay on the machine that wrote them.
    pub skipped: usize,
    /// The tasks and agents of those that were recorded.
    pub entities: Vec<String>,
}

/// Records events of another replica: one JSON array, one event a line, or an answer of `sync pull`. Those that are here
/// already change nothing; those that stay on the machine that wrote them are skipped.
///
/// Errors: `ERR_VALIDATION` naming the first event that cannot be read or whose id stands for another here; then nothing
/// was recorded. `ERR_UNAUTHORIZED` where roles count and the caller has not all rights: the events name authors of their own.
/// `ERR_BUSY`, `ERR_IO`.
pub fn push_events(ws: &Workspace, text: &str) -> Result<Pushed> {
    check_may_record(ws)?;
    let (entries, skipped) = parse_events(text)?;
    let given = entries.len() + skipped;
    let fresh = record_events(ws, entries)?;
    let taken = fresh.values().map(Vec::len).sum();
    Ok(Pushed {
        given,
        taken,
        known: given - skipped - taken,
        skipped,
        entities: fresh.keys().map(ToString::to_string).collect(),
    })
}

/// Refuses a caller that may not record the events of others.
///
/// Errors: `ERR_UNAUTHORIZED` where roles count and the caller has not all rights: the events name authors of their own.
pub(crate) fn check_may_record(ws: &Workspace) -> Result<()> {
    ws.check_safe_to_change()?;
    if ws.rights.0.is_some() {
        let me = ws.author()?;
        ws.rights.require(&me.agent, read::agent_record(ws, &me.agent)?.role.as_deref(), Verb::Admin)?;
    }
    Ok(())
}

/// Refuses the events of others that a caller gives who is one agent alone.
fn check_are_own<'a>(ws: &Workspace, entries: impl Iterator<Item = &'a Entry>) -> Result<()> {
    let Some(me) = ws.request.agent.as_deref() else { return Ok(()) };
    let mut authors = entries.map(|entry| &entry.event.author.agent);
    authors.try_for_each(|author| ws.check_may_act_for(me, author))
}

/// Records those of the events that are not here yet, all or none. Returns them by entity.
///
/// Errors: `ERR_VALIDATION` if the id of one stands for another event here, `ERR_BUSY`, `ERR_IO`.
pub(crate) fn record_events(ws: &Workspace, entries: Vec<Entry>) -> Result<BTreeMap<Entity, Vec<Entry>>> {
    write::under_lock(ws, "agentpm, recording events of others", |runtime, _, journal| {
        look_after_git(ws, journal, runtime)?;
        let fresh = fresh_of(ws, entries)?;
        record_arrivals(ws, journal, runtime, &fresh, Carrier::Push)?;
        Ok(fresh)
    })
}

/// Records events of other clones, by entity: in the journal, and then in their files.
///
/// Errors: `ERR_IO`, `ERR_NO_SPACE`; nothing was recorded if the journal could not be written.
pub(crate) fn record_arrivals(
    ws: &Workspace,
    journal: &mut Journal<'_>,
    runtime: &Dir,
    fresh: &BTreeMap<Entity, Vec<Entry>>,
    carrier: Carrier,
) -> Result<()> {
    let all: Vec<Entry> = fresh.values().flatten().cloned().collect();
    let Some(greatest) = all.iter().map(|e| e.event.lamport).max() else { return Ok(()) };
    let lamport = greatest.min(MAX_CLOCK).max(journal.lamport());
    journal.append(&all, &Commit { carrier: Some(carrier), ..project::commit_line(ws, all.len(), lamport)? })?;
    for (entity, more) in fresh {
        record::project_unedited(ws, &record::lineage(ws), entity, more, runtime)?;
    }
    journal.mark_projected(ws)
}

/// Those of the events that are not here yet, by entity.
///
/// Errors: `ERR_VALIDATION` if the id of one stands for another event here, `ERR_UNAUTHORIZED` where the caller may give only its own.
pub(crate) fn fresh_of(ws: &Workspace, entries: Vec<Entry>) -> Result<BTreeMap<Entity, Vec<Entry>>> {
    let mut fresh: BTreeMap<Entity, Vec<Entry>> = BTreeMap::new();
    for entry in entries {
        let entity = entry.event.entity.clone();
        let known = fresh.contains_key(&entity);
        if !known {
            check_home(&ws.store, &entity)?;
        }
        fresh.entry(entity).or_default().push(entry);
    }
    for (entity, more) in &mut fresh {
        let here = read_log(&ws.store, entity)?.entries;
        let mut seen: BTreeMap<Id, Box<str>> = here.iter().map(|e| (e.event.id, e.line.clone())).collect();
        let mut new = Vec::new();
        for entry in more.drain(..) {
            match seen.get(&entry.event.id) {
                None => {
                    seen.insert(entry.event.id, entry.line.clone());
                    new.push(entry);
                }
                Some(line) if says_the_same(line, &entry.line) || is_redacted(line, &entry) => {}
                Some(_) => {
                    let message = format!("event {} of {entity} is here already with other content", entry.event.id);
                    return Err(Error::validation(message).hint("one of the two was altered; nothing was recorded"));
                }
            }
        }
        let entries: Vec<Entry> = here.into_iter().chain(new.iter().cloned()).collect();
        if let Some(finding) = unfit(entity, &entries, |id| new.iter().any(|entry| entry.event.id == id)) {
            return Err(
                Error::validation(finding.message).hint("no agentpm writes such an event; nothing was recorded")
            );
        }
        *more = new;
    }
    fresh.retain(|_, more| !more.is_empty());
    check_ids(ws, &fresh)?;
    check_are_own(ws, fresh.values().flatten())?;
    Ok(fresh)
}

/// Refuses events with the id of an event of another log.
fn check_ids(ws: &Workspace, fresh: &BTreeMap<Entity, Vec<Entry>>) -> Result<()> {
    let mut taken = noted::taken_ids(ws, fresh.values().flatten().map(|entry| entry.event.id))?;
    for (entity, entry) in fresh.iter().flat_map(|(entity, more)| more.iter().map(move |entry| (entity, entry))) {
        let of = taken.entry(entry.event.id).or_default();
        if let Some(other) = of.iter().find(|other| *other != entity) {
            let message = format!("event {} of {entity} has the id of an event of {other}", entry.event.id);
            return Err(Error::validation(message).hint("no agentpm writes such an event; nothing was recorded"));
        }
        of.insert(entity.clone());
    }
    Ok(())
}

/// What a watcher is shown.
#[derive(Clone, Copy, Debug)]
pub enum Shown<'a> {
    /// Nothing is missed from now on that comes after this event; `None` where there is none yet.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "only the stream of a server says where it begins"))]
    Begin(Option<Id>),
    /// An event arrived.
    Event(&'a Entry),
    /// For a moment nothing did.
    Nothing,
}

/// Calls `show` with each event that arrives after `since` (from now on where none is named), and with nothing about once a second,
/// until it says that it has enough or the time is over.
///
/// Errors: as [`pull_events`].
pub fn watch(
    ws: &Workspace,
    since: Option<Id>,
    until: Option<Duration>,
    mut show: impl FnMut(Shown<'_>) -> bool,
) -> Result<()> {
    if until.is_some_and(|until| until.is_zero()) {
        return Ok(());
    }
    let news = wakeup::wakeup(ws);
    let start = Instant::now();
    let mut git = git_mark(ws);
    let mut unnoted = note_arrivals(ws)?;
    let mut reading = Reading::default();
    let mut looked = journal_mark(ws);
    {
        let missed = reading.since(ws, since, unnoted)?;
        // Without a cursor all that is there was seen.
        let last = missed.order.last().map(|(id, _)| *id);
        if !show(Shown::Begin(since.or(last))) {
            return Ok(());
        }
        for one in missed.order.iter().filter(|_| since.is_some()) {
            if !show(Shown::Event(&missed.read(one)?)) {
                return Ok(());
            }
        }
    }
    loop {
        let journal = journal_mark(ws);
        // Nothing arrives but through the journal, as long as it can be written.
        if journal.is_none() || looked != journal || unnoted == PendingEvents::Shown {
            looked = journal;
            let more = reading.more(ws, unnoted)?;
            for one in &more.order {
                if !show(Shown::Event(&more.read(one)?)) {
                    return Ok(());
                }
            }
        }
        let left = until.map(|until| until.saturating_sub(start.elapsed()));
        if left.is_some_and(|left| left.is_zero()) || !show(Shown::Nothing) {
            return Ok(());
        }
        let wait = left.map_or(LOOK_EVERY, |left| left.min(LOOK_EVERY));
        news.wait(wait);
        let now = git_mark(ws);
        if now != git || unnoted == PendingEvents::Later {
            git = now;
            unnoted = note_arrivals(ws)?;
        }
    }
}

fn journal_mark(ws: &Workspace) -> Option<Mark> {
    ws.runtime().and_then(|runtime| runtime.mark(journal::JOURNAL).ok().flatten())
}

/// Changes whenever git may have brought events.
pub(crate) fn git_mark(ws: &Workspace) -> Option<(Mark, String)> {
    ws.repo.as_ref().map(|repo| (repo.index_mark(), repo.head_text()))
}

/// How far the arrivals of this store were read.
#[derive(Default)]
struct Reading {
    /// The end of what was read of the journals.
    end: Option<Position>,
    seen: BTreeSet<Id>,
    /// Context entries whose text was taken out.
    redacted: BTreeSet<(Entity, Id)>,
}

impl Reading {
    /// What arrived after an event; all of it where none is named. For a first reading.
    ///
    /// Errors: `ERR_NOT_FOUND` if that event has not arrived, `ERR_IO`.
    fn since<'a>(&'a mut self, ws: &'a Workspace, since: Option<Id>, unnoted: PendingEvents) -> Result<Arrivals<'a>> {
        let mut arrivals = self.more(ws, unnoted)?;
        let Some(since) = since else { return Ok(arrivals) };
        let Some(at) = arrivals.order.iter().position(|(id, _)| *id == since) else {
            return Err(Error::not_found(format!("no event {since} has arrived here")).hint(
                "take next_cursor of an earlier answer; agentpm sync pull without a cursor begins with the first event",
            ));
        };
        arrivals.order.drain(..=at);
        Ok(arrivals)
    }

    /// What arrived since the last reading: events of this store's journal; after these, where it cannot be written, those that are
    /// only in the logs.
    fn more<'a>(&'a mut self, ws: &'a Workspace, unnoted: PendingEvents) -> Result<Arrivals<'a>> {
        let runtime = Dir::open(&ws.runtime_path).ok();
        let journals = runtime.map_or_else(|| Ok(Journals::default()), |runtime| Journals::open(&runtime))?;
        let own = ws.store_key();
        let Reading { end, seen, redacted } = self;
        let mut order = Vec::new();
        let keep = |entry: Entry, spot| {
            let redaction = entry.event.payload.redacts().map(|redacted| (entry.event.entity, redacted));
            Some((entry.event.id, spot, redaction))
        };
        let read_to = journals.each_from(*end, keep, |kept, commit, _| {
            for (id, spot, redaction) in kept.into_iter().filter(|_| Some(&commit.store) == own) {
                redacted.extend(redaction);
                // What came here by two ways, or is noted again after a new start, has arrived once.
                if seen.insert(id) {
                    order.push((id, Source::Journal(spot)));
                }
            }
        })?;
        *end = read_to.or(*end);
        if unnoted == PendingEvents::Shown {
            for (stamp, entity) in arrived(ws, |id| seen.contains(&id))? {
                seen.insert(stamp.id);
                order.push((stamp.id, Source::Log(entity)));
            }
        }
        Ok(Arrivals { ws, order, journals, redacted: &self.redacted })
    }
}

/// Notes in the journal what stands in the logs and did not come through it, if no other process holds the lock.
///
/// Errors: `ERR_IO` where journal or logs cannot be read.
fn note_arrivals(ws: &Workspace) -> Result<PendingEvents> {
    let Ok(runtime) = ws.runtime_to_write() else { return Ok(PendingEvents::Shown) };
    let _lock = match Lock::take(&runtime, Duration::ZERO, "agentpm, noting what came by git") {
        Ok(lock) => lock,
        Err(e) if e.code == Code::Busy => return Ok(PendingEvents::Later),
        Err(_) => return Ok(PendingEvents::Shown),
    };
    let mut journal = Journal::open(&runtime, ws.env.boot())?;
    // Projecting is a writer's task.
    if !journal.is_projected() {
        return Ok(PendingEvents::Later);
    }
    let own = ws.store_key();
    let mut known = Vec::new();
    Journals::open(&runtime)?.each(
        |entry, _| Some(entry.event.id),
        |ids, commit| known.extend(ids.into_iter().filter(|_| Some(&commit.store) == own)),
    )?;
    known.sort_unstable();
    let arrived = arrived(ws, |id| known.binary_search(&id).is_ok())?;
    note_stamps(ws, &mut journal, &arrived)?;
    Ok(PendingEvents::Nothing)
}

/// Notes the events with these stamps, each in the log of its entity, in the journal.
fn note_stamps(ws: &Workspace, journal: &mut Journal<'_>, stamps: &[(Stamp, Entity)]) -> Result<()> {
    let (mut left, mut most) = (stamps, NOTED_FIRST);
    while !left.is_empty() {
        let (some, rest) = left.split_at(left.len().min(most));
        let entries = entries_at_stamps(ws, some)?;
        let line = project::commit_line(ws, entries.len(), journal.lamport())?;
        journal.append(&entries, &Commit { arrived: true, ..line })?;
        journal.mark_projected(ws)?;
        // The next ones are about as long.
        let bytes: usize = entries.iter().map(|entry| entry.line.len()).sum();
        most = (NOTED_BYTES / (bytes / some.len()).max(1)).clamp(1, NOTED_AT_ONCE);
        left = rest;
    }
    Ok(())
}

/// Notes in the journal what stands in the logs and did not come through the journal of any worktree.
///
/// Errors: `ERR_BUSY` if the lock was not acquired in time, `ERR_IO` where journal or logs cannot be read or written.
pub(crate) fn note_news(ws: &Workspace) -> Result<()> {
    write::under_lock(ws, "agentpm, noting what came by git", |runtime, _, journal| {
        let news = noted::unnoted(ws, &read::index(ws)?, &Journals::open(runtime)?, |entry| Some(entry.event.entity))?;
        note_stamps(ws, journal, &news)
    })
}

/// The events in the logs that are not known, in their order, each with the log it stands in.
fn arrived(ws: &Workspace, is_known: impl Fn(Id) -> bool + Sync) -> Result<Vec<(Stamp, Entity)>> {
    let tasks = archive::all_tasks(&ws.store)?.into_iter().map(Entity::Task);
    let entities: Vec<Entity> = tasks.chain(read::agent_names(ws)?.into_iter().map(Entity::Agent)).collect();
    let looked = parallel::map(&entities, |entity| {
        let entries = read_log(&ws.store, entity)?.entries;
        let own = entries.iter().map(|entry| &entry.event).filter(|event| event.entity == *entity);
        Ok(own.map(Event::stamp).filter(|stamp| !is_known(stamp.id)).collect::<Vec<_>>())
    })?;
    let place = |(n, stamps): (usize, Vec<Stamp>)| stamps.into_iter().map(move |stamp| (stamp, n));
    let mut arrived: Vec<(Stamp, usize)> = looked.into_iter().enumerate().flat_map(place).collect();
    // Of several with one id the first counts.
    arrived.sort_by_key(|(stamp, n)| (stamp.id, *n));
    arrived.dedup_by_key(|(stamp, _)| stamp.id);
    arrived.sort_unstable();
    Ok(arrived.into_iter().map(|(stamp, n)| (stamp, entities[n].clone())).collect())
}

/// The events with these stamps, in the order given, each from the log of one of the entities. What is not there any more
/// is left out.
fn entries_at_stamps(ws: &Workspace, stamps: &[(Stamp, Entity)]) -> Result<Vec<Entry>> {
    let mut wanted: BTreeMap<&Entity, BTreeSet<Stamp>> = BTreeMap::new();
    for (stamp, entity) in stamps {
        wanted.entry(entity).or_default().insert(*stamp);
    }
    let wanted: Vec<_> = wanted.into_iter().collect();
    let read = parallel::map(&wanted, |(entity, stamps)| {
        let entries = read_log(&ws.store, entity)?.entries;
        Ok(entries.into_iter().filter(|entry| stamps.contains(&entry.event.stamp())).collect::<Vec<_>>())
    })?;
    let mut seen = BTreeSet::new();
    let mut entries: Vec<Entry> = read.into_iter().flatten().filter(|e| seen.insert(e.event.id)).collect();
    entries.sort_by_key(|entry| entry.event.stamp());
    Ok(entries)
}

/// Whether the events of the logs that are not in the journal were noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingEvents {
    /// There are none: they were noted.
    Nothing,
    /// Another process holds the lock, or has not projected all yet: they are noted later, and arrive then.
    Later,
    /// The journal cannot be written by this process: they are shown after its events.
    Shown,
}

/// Where an event is read.
enum Source {
    Journal(Spot),
    Log(Entity),
}

/// What arrived, in that order: ids, and where to read the events.
struct Arrivals<'a> {
    ws: &'a Workspace,
    order: Vec<(Id, Source)>,
    journals: Journals,
    redacted: &'a BTreeSet<(Entity, Id)>,
}

impl Arrivals<'_> {
    fn read(&self, (id, source): &(Id, Source)) -> Result<Entry> {
        let mut entry = match source {
            Source::Journal(spot) => self.journals.read(*spot)?,
            Source::Log(entity) => {
                let entries = read_log(&self.ws.store, entity)?.entries;
                entries.into_iter().find(|entry| entry.event.id == *id).ok_or_else(|| {
                    Error::not_found(format!("event {id} of {entity} vanished while it was read"))
                        .hint("run the same command again")
                })?
            }
        };
        // The journal still holds a text that was redacted since; it is not given out any more.
        if self.redacted.contains(&(entry.event.entity.clone(), *id)) {
            without_text(&mut entry)?;
        }
        Ok(entry)
    }
}

/// Whether what is here and what came are one event, one of them without its text.
pub(crate) fn is_redacted(here: &str, entry: &Entry) -> bool {
    let Ok(event) = parse_line(here) else { return false };
    let here = Entry { event, line: here.into() };
    (here.event.is_redacted() || entry.event.is_redacted()) && here.differs_by_text_alone(entry)
}

/// An answer of `sync pull`, as far as its events go.
#[derive(Deserialize)]
struct PullAnswer {
    data: PullData,
}

#[derive(Deserialize)]
struct PullData {
    items: Vec<Box<RawValue>>,
}

/// The events, and how many of those given stay on the machine that wrote them.
fn parse_events(text: &str) -> Result<(Vec<Entry>, usize)> {
    let raw = |items: Vec<Box<RawValue>>| items.into_iter().map(|raw| raw.get().to_owned()).collect();
    let lines: Vec<String> = if text.trim_start().starts_with('[') {
        raw(serde_json::from_str(text).map_err(|e| Error::validation(format!("the events are no JSON array: {e}")))?)
    } else if let Ok(pulled) = serde_json::from_str::<PullAnswer>(text) {
        raw(pulled.data.items)
    } else {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let mut entries = Vec::with_capacity(lines.len());
    let mut skipped = 0;
    for (n, line) in lines.into_iter().enumerate() {
        match parse_entry(&format!("event {}", n + 1), &line)? {
            Some(entry) => entries.push(entry),
            None => skipped += 1,
        }
    }
    Ok((entries, skipped))
}

/// Reads an event from its JSON text; `None` for one that stays on the machine that wrote it.
///
/// Errors: `ERR_VALIDATION` naming `place`.
pub(crate) fn parse_entry(place: &str, text: &str) -> Result<Option<Entry>> {
    let line = one_line(text);
    let event = parse_line(&line).map_err(|e| {
        Error::validation(format!("{place} cannot be recorded: {}", e.message))
            .hint("nothing was recorded; events come from agentpm sync pull, agentpm log --json or a log file")
    })?;
    let stays = event.payload.journal_only() || matches!(event.entity, Entity::Session(_));
    let line = canonical(&event, line);
    Ok((!stays).then(|| Entry { event, line: line.into() }))
}

/// The line that agentpm writes for an event. One that holds more than agentpm understands stays as it came.
fn canonical(event: &Event, line: String) -> String {
    if matches!(event.payload, Payload::Unknown { .. }) {
        return line;
    }
    event.to_line().ok().filter(|ours| says_the_same(ours, &line)).unwrap_or(line)
}

/// Whether two lines say the same of an event, in whatever form of JSON.
pub(crate) fn says_the_same(one: &str, other: &str) -> bool {
    let read = |line: &str| serde_json::from_str::<Value>(line).ok();
    one == other || (read(one).is_some() && read(one) == read(other))
}

/// A JSON object without the line breaks of a pretty printer; those within texts are escaped anyway.
fn one_line(raw: &str) -> String {
    if !raw.contains(['\n', '\r']) {
        return raw.to_owned();
    }
    // Values that cannot be read are refused by the reader of events.
    serde_json::from_str::<Value>(raw).map_or_else(|_| raw.replace(['\n', '\r'], " "), |value| value.to_string())
}
