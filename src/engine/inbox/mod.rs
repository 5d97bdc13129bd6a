//! The inbox of an agent: what concerns it and is unread, in order of arrival at this clone.
//!
//! Guarantees that a look changes nothing of what is unread, and that an item is the same each time it is found. Events that git
//! brought and readiness that came with time have no place in the journal; their items are acknowledged by their ids.
//! Leaves to others: what an event says to an agent (`rules::notices`), and the form of a list (`query`).

mod ready;
mod record;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::record::{Acknowledged, acknowledge, begin, known_record, note_count, with_view};
pub(crate) use self::stream::watch;
use crate::engine::context::Workspace;
use crate::engine::feed::noted;
use crate::engine::view::messages::receiver;
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::notice::{Notice, NoticeKind};
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::reports::event_words::describe_lost;
use crate::reports::inbox::InboxItem;
use crate::reports::ready::Plan;
use crate::rules::fold;
use crate::rules::lost::lost;
use crate::rules::notices::{KnownTask, Receiver};
use crate::rules::readiness::Viewer;
use crate::runtime::inbox::{InboxRecord, KnownFile, UnreadCount, id_of};
use crate::runtime::journals::{Journals, Position, Spot};
use crate::runtime::records;
use crate::runtime::worktree::StoreKey;
use crate::store::entity::{read_log, read_log_with};
use crate::store::index::Index;

/// An unread item.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    /// Its id.
    pub id: String,
    /// What it says.
    pub notice: Notice,
    /// The title of its task.
    pub title: Option<String>,
    /// Where the record ends with which it arrived; `None` for what has no place in the journal.
    pub place: Option<Position>,
}

/// What is unread, and how far the journal was read for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// The items: in order of arrival, then those without a place in the journal by their time.
    pub items: Vec<Unread>,
    /// The end of the journal.
    pub end: Option<Position>,
    /// For each item with a place, the end of the record before it.
    before: BTreeMap<String, Option<Position>>,
    /// The ready tasks, with the ids of their items.
    ready: BTreeMap<Id, String>,
    /// The files of settings, as they are known once this is acknowledged, with the ids of the items about them.
    settings: BTreeMap<String, (KnownFile, String)>,
    /// The worktree that they are of.
    store: Option<StoreKey>,
    /// The mark of the record.
    mark: Option<String>,
    /// The tasks that were ready once and are finished.
    finished: BTreeSet<Id>,
}

impl Look {
    /// The end of the record before an item with a place.
    pub fn before(&self, item: &str) -> Option<Position> {
        self.before.get(item).copied().flatten()
    }

    /// The number of items with a place.
    fn placed(&self) -> u64 {
        self.items.iter().filter(|one| one.place.is_some()).count() as u64
    }
}

/// What a look at the plan needs, which its caller may have read for its own answer.
pub(crate) struct PlanInView<'a> {
    pub index: &'a Index,
    pub plan: &'a Plan,
    pub viewer: &'a Viewer,
}

/// What is unread for the caller by its record.
///
/// Errors: `ERR_IO` where journal, index or logs cannot be read.
pub(crate) fn look(ws: &Workspace, record: &InboxRecord, view: &PlanInView<'_>) -> Result<Look> {
    look_from(ws, record, view, record.read_to)
}

/// As [`look`], of the journal only what arrived after a position.
fn look_from(ws: &Workspace, record: &InboxRecord, view: &PlanInView<'_>, from: Option<Position>) -> Result<Look> {
    let me = receiver(ws)?;
    let journals = journals(ws)?;
    let mut arrived = Arrived::default();
    arrived.read(ws, &me, &journals, from)?;
    let contested: BTreeSet<Id> = view.index.tasks_with_lost_edits()?.into_iter().collect();
    let needed = |entry: Entry| {
        let one = ArrivedEvent::of(entry, None, &me);
        let is_contested = |id: &Id| contested.contains(id) || arrived.elsewhere.contains(id);
        (one.source.is_some() || one.task.as_ref().is_some_and(is_contested)).then_some(one)
    };
    for (_, one) in noted::unnoted(ws, view.index, &journals, needed)? {
        arrived.put(one, None);
    }
    let mut found = arrived.notices(ws, &me, &journals, contested)?;
    let (before, store) = (arrived.records_before(&found), ws.store_key().cloned());
    let mut look = Look { end: arrived.end, before, store, mark: record.mark.clone(), ..Look::default() };
    let assigned: BTreeSet<(Option<Id>, Option<Id>)> = found
        .iter()
        .filter(|one| one.notice.kind == NoticeKind::Assigned)
        .map(|one| (one.notice.task, one.notice.event))
        .collect();
    for notice in ready::notices(ws, view, &me.agent, ws.env.now())? {
        let id = id_of(&notice);
        if let Some(task) = notice.task {
            look.ready.insert(task, id.clone());
        }
        if notice.by.as_ref() == Some(&me.agent) || assigned.contains(&(notice.task, notice.event)) {
            continue;
        }
        if !notice.task.is_some_and(|task| record.knows_ready(task, &id)) {
            let title = notice.task.and_then(|task| Some(view.plan.tasks.get(&task)?.title.clone()));
            found.push(Unread { id, notice, title, place: None });
        }
    }
    for (name, digest) in ready::settings(ws) {
        let known = record.known_settings(look.store.as_ref(), &name, &digest);
        let is_changed = known.as_ref().is_some_and(|known| known.digest != digest);
        let changes = known.map_or(0, |known| known.changes) + u64::from(is_changed);
        let notice = settings_notice(&name, &digest, changes, ws.env.now());
        let id = id_of(&notice);
        look.settings.insert(name, (KnownFile { digest, changes }, id.clone()));
        found.extend(is_changed.then_some(Unread { id, notice, title: None, place: None }));
    }
    let acknowledged = record.acknowledged();
    found.retain(|one| !acknowledged.contains(&*one.id));
    let mut seen = BTreeSet::new();
    found.retain(|one| seen.insert(one.id.clone()));
    found.sort_by_cached_key(|one| match one.place {
        Some(place) => (0, journals.rank(place).unwrap_or_default(), Time::default()),
        None => (1, (0, 0), one.notice.at),
    });
    look.items = found;
    for task in record.ready.keys().filter(|task| !look.ready.contains_key(task)) {
        if view.index.status(*task)?.is_some_and(Status::is_finished) {
            look.finished.insert(*task);
        }
    }
    Ok(look)
}

/// The unread items of the caller, whose inbox has begun.
///
/// Errors: as [`look`].
#[cfg(feature = "bus")]
pub(crate) fn unread(ws: &Workspace) -> Result<Vec<InboxItem>> {
    let Some(record) = known_record(ws) else { return Ok(Vec::new()) };
    with_view(ws, |view| look(ws, &record, view))?.items.iter().map(|one| item(ws, one)).collect()
}

/// The agents whose inboxes have begun in this clone.
///
/// Errors: `ERR_IO`.
#[cfg(feature = "bus")]
pub(crate) fn agents_of_clone(ws: &Workspace) -> Result<Vec<String>> {
    ws.runtime().map_or(Ok(Vec::new()), crate::runtime::inbox::agents)
}

/// The tasks that some agent may claim, each with the id of what made it so.
///
/// Errors: as [`look`].
#[cfg(any(feature = "bus", feature = "server"))]
pub(crate) fn ready_now(ws: &Workspace) -> Result<BTreeMap<Id, String>> {
    let viewer = Viewer { max_attempts: ws.settings.claim.max_attempts, ..Viewer::default() };
    let found = with_view(ws, |view| ready::notices(ws, &PlanInView { viewer: &viewer, ..*view }, "", ws.env.now()))?;
    Ok(found.iter().filter_map(|notice| Some((notice.task?, id_of(notice)))).collect())
}

/// The tasks that became ready between two looks, each with the id of what made it so.
#[cfg(any(feature = "bus", feature = "server"))]
pub(crate) fn newly_ready(before: &BTreeMap<Id, String>, now: &BTreeMap<Id, String>) -> Vec<(Id, String)> {
    let is_new = |(task, cause): &(&Id, &String)| before.get(*task) != Some(*cause);
    now.iter().filter(is_new).map(|(task, cause)| (*task, cause.clone())).collect()
}

/// An item as it is shown.
///
/// Errors: `ERR_IO` if the handles cannot be read.
pub(crate) fn item(ws: &Workspace, one: &Unread) -> Result<InboxItem> {
    let handle = one.notice.task.map(|id| read::handle(ws, id)).transpose()?;
    Ok(InboxItem::new(one.id.clone(), &one.notice, handle, one.title.clone()))
}

/// Bytes of the journal that a count reads again. Where more is unread, what arrived before the last count is not read again, so
/// that an agent which never acknowledges anything does not pay for it.
const READ_AGAIN: u64 = 1 << 20;

/// Bytes of the journal without an item for the caller that are read again rather than noted: the note costs more than a few events.
const NOT_NOTED: u64 = 2 << 10;

/// The number of unread items of the caller, of an inbox that has not begun what the journal alone says; `None` where it is not known
/// who asks.
///
/// Errors: as [`look`].
pub(crate) fn count(ws: &Workspace, view: &PlanInView<'_>) -> Result<Option<u64>> {
    let Some(record) = known_record(ws) else { return count_since_last_look(ws) };
    let journals = journals(ws)?;
    let begin = record.read_to.and_then(|read| journals.rank(read));
    let is_far = |end: Position| match (begin, journals.rank(end)) {
        (Some((first, from)), Some((last, to))) => first != last || to.saturating_sub(from) > READ_AGAIN,
        (_, end) => end.is_some(),
    };
    let known = record::noted_count(ws).filter(|count| count.end.is_some_and(is_far));
    let (placed, from) = known.as_ref().map_or((0, record.read_to), |count| (count.placed, count.end));
    let look = look_from(ws, &record, view, from)?;
    let unread = placed + look.items.len() as u64;
    record::note(ws, &UnreadCount { unread, placed: placed + look.placed(), end: look.end, of: look.mark });
    Ok(some(unread))
}

/// As [`count`], after git brought something. The inbox of an agent that is registered, or wrote something here, begins.
///
/// Errors: as [`look`].
pub(crate) fn count_with_arrivals(ws: &Workspace) -> Result<Option<u64>> {
    let Some(name) = ws.agent_name() else { return Ok(None) };
    if record::noted_count(ws).is_some() || read::agent_names(ws)?.contains(&name) {
        begin(ws)?;
    }
    with_view(ws, |view| count(ws, view))
}

/// As [`count`], from the last look and what arrived in the journal since: for answers about single tasks. What became ready since
/// is not counted. Where there was no look, what the journal has since the first event of the caller is counted.
pub(crate) fn count_since_last_look(ws: &Workspace) -> Result<Option<u64>> {
    let noted = record::noted_count(ws);
    let known = match (noted.clone(), ws.runtime(), ws.agent_name()) {
        (Some(known), _, _) => known,
        (None, _, _) if known_record(ws).is_some() => return with_view(ws, |view| count(ws, view)),
        (None, Some(runtime), Some(agent)) => {
            let Some(first) = record::first_sign(ws, runtime, &agent)? else { return Ok(None) };
            UnreadCount { unread: 0, placed: 0, end: Some(first.end), of: None }
        }
        (None, _, _) => return Ok(None),
    };
    let (me, journals) = (receiver(ws)?, journals(ws)?);
    let mut arrived = Arrived::default();
    arrived.read(ws, &me, &journals, known.end)?;
    if arrived.brought_by_git && record::has_begun(ws) {
        // The last look counted some of it by its logs.
        drop(arrived);
        return with_view(ws, |view| count(ws, view));
    }
    let more = match arrived.events.is_empty() {
        true => 0,
        false => {
            let others = arrived.of_other_worktrees(ws, &me, &journals, false)?;
            arrived.notices_of_events(ws, &me, &journals, &others)?.len() as u64
        }
    };
    let unread = known.unread + more;
    let is_near = match (noted.and_then(|noted| noted.end), arrived.end) {
        (Some(then), Some(now)) => then.journal == now.journal && now.offset.saturating_sub(then.offset) <= NOT_NOTED,
        _ => false,
    };
    let is_known = is_near && more == 0;
    if !is_known && !record::has_begun(ws) {
        record::note(ws, &UnreadCount { unread, placed: unread, end: arrived.end, of: None });
    }
    Ok(some(unread))
}

fn some(count: u64) -> Option<u64> {
    (count > 0).then_some(count)
}

fn journals(ws: &Workspace) -> Result<Journals> {
    Dir::open(&ws.runtime_path).map_or_else(|_| Ok(Journals::default()), |runtime| Journals::open(&runtime))
}

/// That a file of settings has this text, after so many changes.
fn settings_notice(name: &str, digest: &str, changes: u64, now: Time) -> Notice {
    let count = if changes > 1 { format!(" {changes}") } else { String::new() };
    Notice {
        kind: NoticeKind::Settings,
        task: None,
        cause: format!("{name} {digest}{count}"),
        event: None,
        thread: None,
        by: None,
        at: now,
        words: format!("{name} changed"),
    }
}

/// The events of tasks in the journals, by task.
type OtherLogs = BTreeMap<Id, Vec<Entry>>;

/// An event that arrived: not itself, since most of them say nothing after all.
struct ArrivedEvent {
    id: Id,
    task: Option<Id>,
    /// Where it is read, if it may say something to the agent.
    source: Option<EventSource>,
}

enum EventSource {
    Journal(Spot),
    /// The log of its task.
    Log,
    /// An event of an agent that is in no journal.
    Held(Box<Entry>),
}

impl ArrivedEvent {
    fn of(entry: Entry, spot: Option<Spot>, me: &Receiver) -> Self {
        let (id, task) = (entry.event.id, entry.event.entity.task());
        let source = me.may_concern(&entry.event).then(|| match (spot, task) {
            (Some(spot), _) => EventSource::Journal(spot),
            (None, Some(_)) => EventSource::Log,
            (None, None) => EventSource::Held(Box::new(entry)),
        });
        ArrivedEvent { id, task, source }
    }

    /// The event itself; `None` if its log lost it meanwhile.
    fn read(&self, journals: &Journals, known: Option<&Known>) -> Result<Option<Entry>> {
        Ok(match &self.source {
            Some(EventSource::Journal(spot)) => Some(journals.read(*spot)?),
            Some(EventSource::Log) => known.and_then(|known| known.log.iter().find(|e| e.event.id == self.id)).cloned(),
            Some(EventSource::Held(entry)) => Some(Entry::clone(entry)),
            None => None,
        })
    }
}

/// What arrived after a position.
#[derive(Default)]
struct Arrived {
    /// The events that may say something to the agent, with the ends of their records.
    events: Vec<(ArrivedEvent, Option<Position>)>,
    /// The events of tasks, by task; of those that did not arrive through the journal only what is looked at.
    by_task: BTreeMap<Id, Vec<(Id, Option<Position>)>>,
    /// The tasks of which another worktree wrote events, which may be in no log here.
    elsewhere: BTreeSet<Id>,
    /// The end of the record before each of these, by the end of the record.
    begins: Vec<(Position, Option<Position>)>,
    end: Option<Position>,
    /// Whether some of it was noted after git had brought it.
    brought_by_git: bool,
}

impl Arrived {
    fn read(&mut self, ws: &Workspace, me: &Receiver, journals: &Journals, from: Option<Position>) -> Result<()> {
        let mut last = from.filter(|from| journals.rank(*from).is_some());
        let own = ws.store_key();
        let keep = |entry: Entry, spot| {
            let is_of_session = matches!(entry.event.entity, Entity::Session(_));
            (!is_of_session).then(|| ArrivedEvent::of(entry, Some(spot), me))
        };
        self.end = journals.each_from(last, keep, |events, commit, end| {
            if commit.store.store == ws.store.name {
                let is_here = Some(&commit.store) == own;
                self.brought_by_git |= commit.arrived;
                for one in events {
                    self.elsewhere.extend(one.task.filter(|_| !is_here));
                    self.put(one, Some(end));
                }
                self.begins.push((end, last));
            }
            last = Some(end);
        })?;
        self.end = self.end.or(last);
        Ok(())
    }

    fn put(&mut self, one: ArrivedEvent, place: Option<Position>) {
        if let Some(task) = one.task {
            self.by_task.entry(task).or_default().push((one.id, place));
        }
        if one.source.is_some() {
            self.events.push((one, place));
        }
    }

    /// The events that this clone has of tasks which another worktree changed: of those that an event is about, and with `edited`
    /// of those that the agent changed here too.
    fn of_other_worktrees(
        &self,
        ws: &Workspace,
        me: &Receiver,
        journals: &Journals,
        edited: bool,
    ) -> Result<OtherLogs> {
        let concerned: BTreeSet<Id> = self.events.iter().filter_map(|(one, _)| one.task).collect();
        let mut wanted = BTreeSet::new();
        for id in &self.elsewhere {
            let is_edited = || -> Result<bool> {
                let log = read_log(&ws.store, &Entity::Task(*id))?;
                Ok(log.entries.iter().any(|entry| entry.event.author.agent == me.agent))
            };
            if concerned.contains(id) || (edited && is_edited()?) {
                wanted.insert(*id);
            }
        }
        let mut logs = OtherLogs::new();
        if wanted.is_empty() {
            return Ok(logs);
        }
        let is_wanted = |entry: Entry, _| {
            let task = entry.event.entity.task().filter(|id| wanted.contains(id))?;
            (!entry.event.payload.journal_only()).then_some((task, entry))
        };
        journals.each(is_wanted, |entries, commit| {
            if commit.store.store == ws.store.name {
                entries.into_iter().for_each(|(task, entry)| logs.entry(task).or_default().push(entry));
            }
        })?;
        Ok(logs)
    }

    /// What the events say to the agent.
    fn notices_of_events(
        &self,
        ws: &Workspace,
        me: &Receiver,
        journals: &Journals,
        others: &OtherLogs,
    ) -> Result<Vec<Unread>> {
        let mut by_task: BTreeMap<Option<Id>, Vec<usize>> = BTreeMap::new();
        for (n, (one, _)) in self.events.iter().enumerate() {
            by_task.entry(one.task).or_default().push(n);
        }
        let mut found = Vec::new();
        // One task is held at a time.
        for (task, numbers) in by_task {
            let known = task.map(|id| Known::read(ws, id, others, journals)).transpose()?.flatten();
            for n in numbers {
                let (one, place) = &self.events[n];
                let Some(entry) = one.read(journals, known.as_ref())? else { continue };
                if let Some(notice) = me.notice(&entry.event, known.as_ref().map(Known::view)) {
                    let title = known.as_ref().map(|known| known.task.fields.title.clone());
                    found.push((n, Unread { id: id_of(&notice), notice, title, place: *place }));
                }
            }
        }
        found.sort_by_key(|(n, _)| *n);
        Ok(found.into_iter().map(|(_, one)| one).collect())
    }

    /// As [`Arrived::notices_of_events`], with the values of the agent that lost to others in these tasks and in those of other
    /// worktrees.
    fn notices(
        &self,
        ws: &Workspace,
        me: &Receiver,
        journals: &Journals,
        mut contested: BTreeSet<Id>,
    ) -> Result<Vec<Unread>> {
        let others = self.of_other_worktrees(ws, me, journals, true)?;
        let mut found = self.notices_of_events(ws, me, journals, &others)?;
        contested.extend(others.keys());
        for id in contested {
            let Some(arrived) = self.by_task.get(&id) else { continue };
            let Some(known) = Known::read(ws, id, &others, journals)? else { continue };
            let ids: Vec<Id> = arrived.iter().map(|(event, _)| *event).collect();
            for edit in me.lost_edits(&lost(id, &known.log), &ids) {
                let is_of =
                    |(event, _): &&(Id, Option<Position>)| *event == edit.lost.event || *event == edit.won.event;
                let place = arrived.iter().rev().find(is_of).and_then(|(_, place)| *place);
                let notice = Notice {
                    kind: NoticeKind::EditLost,
                    task: Some(id),
                    // One event may lose several values, and not all at once.
                    cause: format!("{}.{}", edit.lost.event, edit.field),
                    event: Some(edit.lost.event),
                    thread: None,
                    by: Some(edit.won.agent.clone()),
                    at: edit.won.at,
                    words: describe_lost(&known.task, edit),
                };
                let title = Some(known.task.fields.title.clone());
                found.push(Unread { id: id_of(&notice), notice, title, place });
            }
        }
        Ok(found)
    }

    /// For each item with a place, the end of the record before it.
    fn records_before(&self, found: &[Unread]) -> BTreeMap<String, Option<Position>> {
        let before =
            |place: Position| self.begins.iter().find(|(end, _)| *end == place).and_then(|(_, before)| *before);
        found.iter().filter_map(|one| Some((one.id.clone(), before(one.place?)))).collect()
    }
}

/// A task as this clone knows it.
struct Known {
    task: Task,
    log: Vec<Entry>,
    holder: Option<String>,
}

impl Known {
    /// Reads a task from this work tree, with what other worktrees of the clone wrote.
    fn read(ws: &Workspace, id: Id, others: &OtherLogs, journals: &Journals) -> Result<Option<Known>> {
        let entity = Entity::Task(id);
        let mut more = read::pending(ws)?.remove(&entity).unwrap_or_default();
        more.extend(others.get(&id).into_iter().flatten().cloned());
        let mut log = read_log_with(&ws.store, &entity, &more)?.entries;
        let mut task = fold::fold(id, &log).0;
        if !task.created {
            // It is in no file here: it was removed, or began in another worktree.
            let of_task = |entry: Entry, _| {
                (entry.event.entity == entity && !entry.event.payload.journal_only()).then_some(entry)
            };
            journals.each(of_task, |entries, commit| {
                if commit.store.store == ws.store.name {
                    log.extend(entries);
                }
            })?;
            let mut seen = BTreeSet::new();
            log.retain(|entry| seen.insert(entry.event.id));
            task = fold::fold(id, &log).0;
        }
        let lease =
            ws.runtime().map(|runtime| records::lease(runtime, id)).transpose()?.and_then(|record| record.lease);
        let holder = lease.filter(|lease| lease.is_live(ws.env.now())).map(|lease| lease.agent);
        Ok(task.created.then_some(Known { task, log, holder }))
    }

    fn view(&self) -> KnownTask<'_> {
        KnownTask { task: &self.task, log: &self.log, holder: self.holder.as_deref() }
    }
}
