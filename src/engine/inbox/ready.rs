//! What has no event of its own: tasks that became ready, and files of settings that changed.
//!
//! Guarantees that a task which became ready has a cause: the last event that may have made it so, or the time at which a deferral
//! or a lease ended.
//! Leaves to others: when a task is ready (`rules::readiness`).

use std::collections::BTreeMap;

use super::PlanInView;
use crate::engine::context::Workspace;
use crate::engine::view::other_branches::OtherBranches;
use crate::error::Result;
use crate::model::id::Id;
use crate::model::notice::{Notice, NoticeKind};
use crate::model::time::Time;
use crate::rules::notices::Waker;
use crate::runtime::records::digest;
use crate::store::index::Wakers;
use crate::store::layout::SETTINGS;

/// The largest of them that is read, in bytes.
const MAX_SETTINGS: u64 = 1024 * 1024;
/// The most tasks above one that are looked at.
const MAX_ABOVE: usize = 1_000;

/// The tasks that are ready for the caller, each with what made it so.
pub(super) fn notices(ws: &Workspace, view: &PlanInView<'_>, me: &str, now: Time) -> Result<Vec<Notice>> {
    let ready: Vec<Id> = view
        .plan
        .tasks
        .values()
        .filter(|task| view.plan.reasons(task, view.viewer, now).is_empty())
        .map(|task| task.id)
        .collect();
    if ready.is_empty() {
        return Ok(Vec::new());
    }
    let wakers = view.index.wakers()?;
    let mut elsewhere = OtherBranches::new(ws);
    let mut notices = Vec::with_capacity(ready.len());
    for id in ready {
        let waker = last_waker(view, &wakers, id);
        let time = last_time(view, id, now).filter(|time| waker.as_ref().is_none_or(|waker| *time > waker.at));
        let is_own = time.is_none() && waker.as_ref().is_some_and(|waker| waker.by == me);
        if !is_own && elsewhere.taken(id)?.is_some() {
            continue;
        }
        notices.push(notice(id, waker, time, now));
    }
    Ok(notices)
}

fn notice(id: Id, waker: Option<Waker>, time: Option<Time>, now: Time) -> Notice {
    let words = "it is ready, and you may claim it".to_owned();
    let waker = waker.filter(|_| time.is_none());
    Notice {
        kind: NoticeKind::Ready,
        task: Some(id),
        cause: match (&waker, time) {
            (Some(waker), _) => waker.stamp.id.to_string(),
            (None, time) => time.map(|time| time.to_string()).unwrap_or_default(),
        },
        event: waker.as_ref().map(|waker| waker.stamp.id),
        thread: None,
        at: time.or(waker.as_ref().map(|waker| waker.at)).unwrap_or(now),
        by: waker.map(|waker| waker.by),
        words,
    }
}

/// The last event by which a task may have become ready: its own, that of a task it waited for, or that of a task which those above
/// it waited for.
fn last_waker(view: &PlanInView<'_>, wakers: &BTreeMap<Id, Wakers>, id: Id) -> Option<Waker> {
    let own = wakers.get(&id);
    let mut last = own.and_then(|own| [&own.own, &own.blockers, &own.children].into_iter().flatten().max());
    for above in above(view, id) {
        last = last.max(wakers.get(&above).and_then(|above| above.blockers.as_ref()));
    }
    last.and_then(|text| text.parse().ok())
}

/// The last time that ended a deferral of a task or of one above it, or a lease on it.
fn last_time(view: &PlanInView<'_>, id: Id, now: Time) -> Option<Time> {
    let deferred = std::iter::once(id).chain(above(view, id)).filter_map(|id| view.plan.tasks.get(&id)?.defer_until);
    deferred.chain(view.plan.last_lease(id).map(|lease| lease.expires_at)).filter(|time| *time <= now).max()
}

/// The unfinished tasks above a task.
fn above(view: &PlanInView<'_>, id: Id) -> impl Iterator<Item = Id> {
    let parent = |id: &Id| view.plan.tasks.get(id).and_then(|task| task.parent);
    std::iter::successors(parent(&id), move |id| parent(id))
        .take(MAX_ABOVE)
        .filter(|id| view.plan.tasks.contains_key(id))
}

/// The digests of the files of settings; that of a file that is not there is empty.
pub(super) fn settings(ws: &Workspace) -> BTreeMap<String, String> {
    let digest = |name: &&str| {
        let text = ws.store.dir.read(name, MAX_SETTINGS).map(|bytes| digest(&String::from_utf8_lossy(&bytes)));
        ((*name).to_owned(), text.unwrap_or_default())
    };
    SETTINGS.iter().map(digest).collect()
}
