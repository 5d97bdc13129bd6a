//! `thread list` and `thread show`.

use super::page::{Page, START};
use crate::engine::context::Workspace;
use crate::engine::view::{other_worktree, read};
use crate::error::{Error, Result};
use crate::model::args::Ref;
use crate::model::id::{Id, is_part, quoted};
use crate::model::query::{ThreadList, ThreadShow};
use crate::model::task::Task;
use crate::model::thread::Thread;
use crate::reports::extent::Extent;
use crate::reports::list::List;
use crate::reports::thread::{ThreadLine, ThreadView};

/// `thread list`
pub fn threads(ws: &Workspace, q: &ThreadList) -> Result<List<ThreadLine>> {
    let index = read::index(ws)?;
    let tasks = match &q.task {
        Some(reference) => vec![read::resolve(ws, reference)?],
        None => index.tasks_with_threads()?,
    };
    let me = if q.mine { Some(ws.author()?.agent) } else { None };
    let after: Option<Id> = q.cursor.as_deref().filter(|cursor| *cursor != START).map(str::parse).transpose()?;
    let mut all = Vec::new();
    for id in tasks {
        let Some(task) = index.task(id)? else { continue };
        let wanted = |thread: &&Thread| {
            (!q.open || thread.is_open()) && me.as_deref().is_none_or(|me| concerns(&task, thread, me))
        };
        all.extend(task.threads.values().filter(wanted).map(|thread| ThreadLine::new(&task, thread)));
    }
    all.sort_by_key(|line| line.id);
    let total = all.len() as u64;
    let (mut page, mut last) = (Page::new(ws, q.limit, false), q.cursor.clone().unwrap_or_else(|| START.into()));
    for line in all.into_iter().filter(|line| after.is_none_or(|after| line.id > after)) {
        let id = line.id;
        if !page.push(line) {
            return Ok(page.finish(total, Some(last)));
        }
        last = id.to_string();
    }
    Ok(page.finish(total, None))
}

/// Whether an agent takes part in a thread, or is to decide it.
fn concerns(task: &Task, thread: &Thread, agent: &str) -> bool {
    let escalated = thread.escalated.as_ref().and_then(|escalated| escalated.to.as_deref());
    [Some(thread.author.as_str()), task.owner.as_deref(), escalated].contains(&Some(agent))
        || thread.replies.values().any(|message| message.author == agent)
}

/// `thread show`
pub fn thread(ws: &Workspace, q: &ThreadShow) -> Result<ThreadView> {
    let text = q.thread.0.to_ascii_uppercase();
    let unknown = || {
        Error::not_found(format!("no thread is called {}", quoted(&q.thread.0))).hint(
            other_worktree::hint(ws, &text)
                .unwrap_or_else(|| "agentpm thread list shows the threads with their ids".into()),
        )
    };
    if !is_part(&text) {
        return Err(unknown());
    }
    let found = read::index_for_write(ws)?.parts("thread", &text)?;
    let ids = found.iter().map(|(id, _)| *id).collect();
    let id = read::one_of(ids, &Ref(q.thread.0.clone()))?.ok_or_else(unknown)?;
    let task = found.iter().find(|(thread, _)| *thread == id).map(|(_, task)| *task).ok_or_else(unknown)?;
    let task = read::load_task(ws, task)?.task;
    let thread = task.threads.get(&id).ok_or_else(unknown)?;
    Ok(ThreadView::new(&task, thread, Extent::of(q.full)))
}
