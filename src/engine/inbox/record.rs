//! How far an agent has read: begun, moved on by acknowledgments, and repaired.
//!
//! Guarantees that an acknowledgment that is lost or repeated changes nothing else, and that no item is skipped: the position moves
//! only over records of which every item is acknowledged.
//! Leaves to others: which items there are (`items`, `ready`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Look, PlanInView, Unread, look};
use crate::engine::context::Workspace;
use crate::engine::feed::stream::note_news;
use crate::engine::view::messages::receiver;
use crate::engine::view::read;
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::event::{Entity, Entry, Stamp};
use crate::model::payload::Payload;
use crate::runtime::inbox::{self, InboxRecord, KnownFile, UnreadCount};
use crate::runtime::journals::{Journals, Position};
use crate::runtime::lock::Lock;
use crate::runtime::records::Found;

/// The lock for changes of the records.
const LOCK: &str = "inbox";

/// Whether the inbox of the caller has begun.
pub(super) fn has_begun(ws: &Workspace) -> bool {
    ws.runtime().zip(ws.agent_name()).is_some_and(|(runtime, agent)| inbox::has_begun(runtime, &agent))
}

/// The record of the caller, where its inbox has begun and can be read.
pub(crate) fn known_record(ws: &Workspace) -> Option<InboxRecord> {
    match inbox::read(ws.runtime()?, &ws.agent_name()?) {
        Found::Whole(record) => Some(record),
        Found::Missing | Found::Damaged(_) => None,
    }
}

/// The record of the caller. An inbox that has not begun begins now: with the registration of the agent in this clone, or else with
/// its first event here, or else with what arrives from now on. A damaged record is kept aside, and the inbox begins again with the registration, or else with the
/// first event.
///
/// Errors: `ERR_USAGE` where it is not known who asks; `ERR_IO` where the journal or the plan cannot be read.
pub(crate) fn begin(ws: &Workspace) -> Result<InboxRecord> {
    let agent = ws.author()?.agent;
    if let Some(record) = known_record(ws) {
        return Ok(record);
    }
    ws.choose_runtime_place();
    let begun = ws.runtime_to_write().and_then(|runtime| {
        let _lock = lock(ws, &runtime)?;
        match inbox::read(&runtime, &agent) {
            Found::Whole(record) => Ok(record),
            Found::Missing => {
                note_news(ws)?;
                let mut record = first_record(ws, &runtime, &agent)?;
                inbox::write(&runtime, &agent, &mut record)?;
                Ok(record)
            }
            Found::Damaged(why) => {
                let kept = inbox::set_aside(&runtime, &agent)?;
                let read_to = first_sign(ws, &runtime, &agent)?.map(|first| first.end);
                let mut record = InboxRecord { read_to, ..InboxRecord::default() };
                inbox::forget_count(&runtime, &agent);
                inbox::write(&runtime, &agent, &mut record)?;
                let kept = runtime.path().join(kept);
                ws.notice(format!(
                    "what {agent} had read of its inbox could not be read ({why}); it is kept at {}, and the inbox begins again",
                    kept.display()
                ));
                Ok(record)
            }
        }
    });
    begun.or_else(|e| {
        tracing::debug!(error = %e, "the inbox cannot be begun; nothing is unread");
        with_view(ws, |view| all_read(ws, &InboxRecord { read_to: end(ws)?, ..InboxRecord::default() }, view, None))
    })
}

/// Calls `act` with the plan as it is.
pub(crate) fn with_view<T>(ws: &Workspace, act: impl FnOnce(&PlanInView<'_>) -> Result<T>) -> Result<T> {
    let index = read::index(ws)?;
    let plan = read::plan(ws, &index)?;
    act(&PlanInView { index: &index, plan: &plan, viewer: &read::viewer_with_rights(ws)? })
}

fn lock(ws: &Workspace, runtime: &Dir) -> Result<Lock> {
    Lock::take_named(runtime, LOCK, Duration::from_millis(ws.settings.lock.wait_ms.into()), "agentpm inbox")
}

fn end(ws: &Workspace) -> Result<Option<Position>> {
    super::journals(ws)?.each_from(None, |_, _| None::<()>, |_, _, _| {})
}

/// The record of an agent that begins.
fn first_record(ws: &Workspace, runtime: &Dir, agent: &str) -> Result<InboxRecord> {
    let Some(first) = first_sign(ws, runtime, agent)? else {
        let read_to = end(ws)?;
        return with_view(ws, |view| {
            let record = all_read(ws, &InboxRecord { read_to, ..InboxRecord::default() }, view, None)?;
            with_earlier_calls(ws, record, view, last_act(ws, agent)?)
        });
    };
    let record = InboxRecord { read_to: Some(first.end), ..InboxRecord::default() };
    with_view(ws, |view| {
        let record = without_older(ws, all_read(ws, &record, view, Some(first.stamp))?, view, first.stamp)?;
        with_earlier_calls(ws, record, view, None)
    })
}

/// The newest event of an agent, other than its registration: in the clone that it comes from it has seen what came before.
fn last_act(ws: &Workspace, agent: &str) -> Result<Option<Stamp>> {
    let mut newest = None;
    let act = |entry: Entry, _| {
        let event = entry.event;
        let registers = matches!(event.payload, Payload::AgentRegistered(_) | Payload::AgentUpdated(_));
        (event.author.agent == agent && !registers).then(|| event.stamp())
    };
    super::journals(ws)?.each_from(None, act, |stamps, _, _| newest = stamps.into_iter().max().max(newest))?;
    Ok(newest)
}

/// The record with what git brought of the time before the first sign of the agent as acknowledged: a clone notes the plan that it
/// began with when the inbox begins.
fn without_older(ws: &Workspace, record: InboxRecord, view: &PlanInView<'_>, first: Stamp) -> Result<InboxRecord> {
    let me = receiver(ws)?;
    let mut older = BTreeSet::new();
    super::journals(ws)?.each_from(
        record.read_to,
        |entry: Entry, _| (entry.event.stamp() < first && !me.is_called_by(&entry.event)).then_some(entry.event.id),
        |ids, _, _| older.extend(ids),
    )?;
    if older.is_empty() {
        return Ok(record);
    }
    let is_older = |one: &&Unread| one.notice.event.is_some_and(|event| older.contains(&event));
    let look = look(ws, &record, view)?;
    let (known, unread): (Vec<_>, Vec<_>) = look.items.iter().partition(is_older);
    // Past all that is known, so that no later look reads the whole plan in the journal again.
    Ok(moved(&record, &look, (&known, Vec::new()), &unread))
}

/// The record of an agent that was called by its name, after this event, before its inbox began: it begins before the first such
/// event, with all else up to its beginning acknowledged.
fn with_earlier_calls(
    ws: &Workspace,
    record: InboxRecord,
    view: &PlanInView<'_>,
    after: Option<Stamp>,
) -> Result<InboxRecord> {
    let (me, journals) = (receiver(ws)?, super::journals(ws)?);
    let begun = record.read_to.and_then(|position| journals.rank(position));
    let (mut before, mut begin, mut calls) = (None, None, BTreeSet::new());
    journals.each_from(
        None,
        |entry: Entry, _| {
            let is_news = after.is_none_or(|after| entry.event.stamp() > after);
            (is_news && me.is_called_by(&entry.event)).then_some(entry.event.id)
        },
        |events, commit, end| {
            let is_earlier = journals.rank(end) <= begun && commit.store.store == ws.store.name;
            if is_earlier && !events.is_empty() {
                begin.get_or_insert(before);
                calls.extend(events);
            }
            before = Some(end);
        },
    )?;
    let Some(read_to) = begin else { return Ok(record) };
    let mut earlier = InboxRecord { read_to, ..record };
    let is_call = |one: &Unread| one.notice.event.is_some_and(|event| calls.contains(&event));
    let is_known = |one: &&Unread| one.place.is_some_and(|place| journals.rank(place) <= begun) && !is_call(one);
    let known: Vec<String> =
        look(ws, &earlier, view)?.items.iter().filter(is_known).map(|one| one.id.clone()).collect();
    earlier.acknowledge(known, true);
    Ok(earlier)
}

/// The record with everything as known that was so before its position, or before the first event of the agent.
fn all_read(ws: &Workspace, record: &InboxRecord, view: &PlanInView<'_>, first: Option<Stamp>) -> Result<InboxRecord> {
    let look = look(ws, record, view)?;
    let mut arrived = BTreeSet::new();
    super::journals(ws)?.each_from(
        record.read_to,
        |entry: Entry, _| (Some(entry.event.stamp()) >= first).then_some(entry.event.id),
        |ids, _, _| arrived.extend(ids),
    )?;
    let is_news = |id: &String| {
        look.items.iter().any(|one| one.id == *id && one.notice.event.is_some_and(|event| arrived.contains(&event)))
    };
    let ready = look.ready.into_iter().filter(|(_, id)| !is_news(id)).collect();
    let settings = look.settings.into_iter().map(|(name, (known, _))| (name, known.digest)).collect();
    Ok(InboxRecord { ready, settings, ..record.clone() })
}

/// The event by which an agent became known in this clone.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstSign {
    /// The end of its record.
    pub end: Position,
    stamp: Stamp,
}

/// The registration of an agent in this clone, or else the first event that it wrote here.
pub(super) fn first_sign(ws: &Workspace, runtime: &Dir, agent: &str) -> Result<Option<FirstSign>> {
    let (mut registered, mut wrote) = (None, None);
    let own = Entity::Agent(agent.to_owned());
    let sign = |entry: Entry, _| {
        let event = entry.event;
        let registers = event.entity == own && matches!(event.payload, Payload::AgentRegistered(_));
        (registers || event.author.agent == agent).then(|| (registers, event.stamp()))
    };
    Journals::open(runtime)?.each_from(None, sign, |signs, commit, end| {
        if commit.arrived || commit.store.store != ws.store.name {
            return;
        }
        for (registers, stamp) in signs {
            let first = if registers { &mut registered } else { &mut wrote };
            first.get_or_insert(FirstSign { end, stamp });
        }
    })?;
    Ok(registered.or(wrote))
}

/// What the caller acknowledges.
#[derive(Clone, Debug)]
pub(crate) enum Acknowledged {
    /// Everything that is unread now.
    All,
    /// What a list showed: all items that arrived up to a position, and some by their ids.
    Some { to: Option<Position>, items: Vec<String> },
}

/// Acknowledges items. Returns how many of them were unread, and how many items are now.
///
/// Errors: `ERR_BUSY` if a lock was not acquired in time, `ERR_IO` where the record cannot be written.
pub(crate) fn acknowledge(ws: &Workspace, what: &Acknowledged) -> Result<(u64, u64)> {
    begin(ws)?;
    note_news(ws)?;
    let runtime = ws.runtime_to_write()?;
    let _lock = lock(ws, &runtime)?;
    let record = known_record(ws).unwrap_or_default();
    with_view(ws, |view| {
        let journals = Journals::open(&runtime)?;
        let look = look(ws, &record, view)?;
        let is_read = |one: &Unread| match what {
            Acknowledged::All => true,
            Acknowledged::Some { to, items } => {
                let shown = to.and_then(|to| journals.rank(to));
                let place = one.place.and_then(|place| journals.rank(place));
                items.contains(&one.id) || (place.is_some() && place <= shown)
            }
        };
        let (read, unread): (Vec<_>, Vec<_>) = look.items.iter().partition(|one| is_read(one));
        let ready = record.ready.values().chain(record.ready_before.values().flatten());
        let items = ready.chain(look.items.iter().map(|one| &one.id)).map(String::as_str);
        let known: BTreeSet<&str> = record.acknowledged().into_iter().chain(items).collect();
        // A task may be ready in another worktree alone, where the item was shown.
        let elsewhere: Vec<String> = match what {
            Acknowledged::Some { items, .. } => items.iter().filter(|id| !known.contains(&***id)).cloned().collect(),
            Acknowledged::All => Vec::new(),
        };
        let acknowledged = (read.len() + elsewhere.len()) as u64;
        let mut moved = moved(&record, &look, (&read, elsewhere), &unread);
        inbox::write(&runtime, &ws.author()?.agent, &mut moved)?;
        let placed = unread.iter().filter(|one| one.place.is_some()).count() as u64;
        note(ws, &UnreadCount { unread: unread.len() as u64, placed, end: look.end, of: moved.mark });
        Ok((acknowledged, unread.len() as u64))
    })
}

/// The record after an acknowledgment of items of a look, and of some that are elsewhere.
fn moved(
    record: &InboxRecord,
    look: &Look,
    (read, elsewhere): (&[&Unread], Vec<String>),
    unread: &[&Unread],
) -> InboxRecord {
    let mut moved = record.clone();
    // Everything before the first item that is still unread.
    let first = unread.iter().find(|one| one.place.is_some());
    moved.read_to = match first {
        None => look.end.or(record.read_to),
        Some(one) => look.before(&one.id).or(record.read_to),
    };
    let ready: BTreeSet<&String> = look.ready.values().collect();
    let ids = read.iter().map(|one| &one.id).filter(|id| !ready.contains(id)).cloned();
    moved.acknowledge(ids.chain(elsewhere), first.is_some());
    let is_unread: BTreeSet<&String> = unread.iter().map(|one| &one.id).collect();
    for (task, id) in look.ready.iter().filter(|(_, id)| !is_unread.contains(id)) {
        moved.note_ready(*task, id);
    }
    moved.ready.retain(|task, _| !look.finished.contains(task));
    moved.ready_before.retain(|task, _| moved.ready.contains_key(task));
    let known = look.settings.iter().filter(|(_, (_, id))| !is_unread.contains(id));
    let known: BTreeMap<String, KnownFile> = known.map(|(name, (known, _))| (name.clone(), known.clone())).collect();
    for (name, file) in &known {
        moved.settings.entry(name.clone()).or_insert_with(|| file.digest.clone());
    }
    match &look.store {
        Some(store) => moved.note_settings(store, known),
        None => moved.settings.extend(known.into_iter().map(|(name, file)| (name, file.digest))),
    }
    moved
}

/// Notes the count of a look at everything that is unread, for answers that look at less.
pub(crate) fn note_count(ws: &Workspace, look: &Look) {
    let of = look.mark.clone();
    note(ws, &UnreadCount { unread: look.items.len() as u64, placed: look.placed(), end: look.end, of });
}

pub(super) fn note(ws: &Workspace, count: &UnreadCount) {
    let (Some(runtime), Some(agent)) = (ws.runtime(), ws.agent_name()) else { return };
    if inbox::read_count(runtime, &agent).as_ref() == Some(count) {
        return;
    }
    if let Err(e) = inbox::write_count(runtime, &agent, count) {
        tracing::debug!(error = %e, "the number of unread items could not be noted");
    }
}

/// What was noted of the unread items at the last look.
pub(super) fn noted_count(ws: &Workspace) -> Option<UnreadCount> {
    inbox::read_count(ws.runtime()?, &ws.agent_name()?)
}
