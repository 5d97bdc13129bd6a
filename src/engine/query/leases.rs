//! `lease list`: who holds what, as this clone knows it, or as the remote does.

use serde_json::{Value, json};

use super::lists::Page;
use crate::engine::commit::confirmation::Asking;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Code, Error, Result};
use crate::model::agent::{RemoteState, Seen};
use crate::model::event::Author;
use crate::model::id::{Id, quoted};
use crate::model::query::LeaseList;
use crate::reports::view;
use crate::rules::lease::Standing;
use crate::store::index::Index;

/// `lease list`
pub fn leases(ws: &Workspace, q: &LeaseList) -> Result<Value> {
    let after: Option<Id> = q.cursor.as_deref().map(read_cursor).transpose()?;
    let items = if q.remote { at_remote(ws, q.all)? } else { here(ws)? };
    let total = items.len() as u64;
    let mut page = Page::new(ws, q.limit, q.all && q.limit.is_none());
    let mut last = None;
    for (task, item) in items.into_iter().filter(|(task, _)| after.is_none_or(|after| *task > after)) {
        if !page.push(item) {
            return Ok(page.finish(total, last.or(after).map(|id: Id| id.to_string())));
        }
        last = Some(task);
    }
    Ok(page.finish(total, None))
}

fn read_cursor(text: &str) -> Result<Id> {
    text.parse().map_err(|_| {
        Error::usage(format!("{} is no cursor", quoted(text))).hint("use next_cursor of the previous answer")
    })
}

fn here(ws: &Workspace) -> Result<Vec<(Id, Value)>> {
    let index = read::index(ws)?;
    let mut items = Vec::new();
    for (task, lease) in read::live_leases(ws, &index)? {
        let mut item = view::lease(&lease);
        let record = read::lease_record(ws, task, &index)?;
        add_names(ws, &index, task, &mut item)?;
        item["elsewhere"] = json!(lease.elsewhere);
        item["mine"] = json!(matches!(read::standing(ws, &record), Some(Standing::Mine(_))));
        items.push((task, item));
    }
    Ok(items)
}

/// What people call a task. Its title is `null` where only another worktree or clone has it.
fn add_names(ws: &Workspace, index: &Index, task: Id, item: &mut Value) -> Result<()> {
    item["handle"] = json!(read::handle(ws, task)?);
    item["title"] = json!(index.task(task)?.map(|task| task.fields.title));
    Ok(())
}

/// What stands at the remote: leases that are held, expired or not; with `all` those released too.
fn at_remote(ws: &Workspace, all: bool) -> Result<Vec<(Id, Value)>> {
    let Some(name) = ws.lease_remote() else {
        return Err(Error::state("no remote confirms leases here")
            .hint("set lease.remote in .agentpm/config.toml to the name of a remote, such as origin"));
    };
    let asking = Asking::to_read(ws, name)?;
    let silent = |trouble: crate::rules::confirm::Trouble| {
        Error::new(Code::Sync, format!("the leases at {name} are not known: {}", trouble.words()))
            .with(json!({ "remote": name }))
            .hint("agentpm lease list shows what is known here")
    };
    let listed = asking.remote().and_then(|remote| remote.all()).map_err(silent)?;
    let now = ws.env.now();
    let (index, me) = (read::index(ws)?, ws.author().ok());
    let mut items = Vec::new();
    for (task, one) in listed {
        let mut item = match one {
            Ok(seen) => {
                let r = &seen.record;
                if r.state != RemoteState::Held && !all {
                    continue;
                }
                json!({
                    "id": r.lease, "task": task, "agent": r.agent, "session": r.session, "fence": r.fence,
                    "expires_at": r.expires_at, "created_at": r.created_at, "updated_at": r.updated_at,
                    "state": r.state, "live": r.state == RemoteState::Held && now < r.expires_at, "clone": r.clone,
                    "confirmed": true, "elsewhere": !seen.ours,
                    "mine": me.as_ref().is_some_and(|me| is_mine(&seen, me)),
                })
            }
            Err(why) => json!({ "task": task, "state": "unreadable", "error": why, "mine": false }),
        };
        add_names(ws, &index, task, &mut item)?;
        items.push((task, item));
    }
    Ok(items)
}

/// Whether the caller holds what was seen at the remote.
fn is_mine(seen: &Seen, me: &Author) -> bool {
    let r = &seen.record;
    let other_session = matches!((r.session, me.session), (Some(a), Some(b)) if a != b);
    seen.ours && r.state == RemoteState::Held && r.agent == me.agent && !other_session
}
