//! `lease list`: who holds what, as this clone knows it, or as the remote does.
//!
//! Leaves to others: which lease is in force (`rules::lease`).

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

use super::page::Page;
use crate::engine::commit::confirmation::Asking;
use crate::engine::context::Workspace;
use crate::engine::view::read;
use crate::error::{Code, Error, Result};
use crate::model::agent::{Lease, RemoteState, Seen};
use crate::model::event::Author;
use crate::model::id::{Id, quoted};
use crate::model::query::LeaseList;
use crate::model::time::Time;
use crate::reports::list::List;
use crate::rules::lease::Standing;
use crate::store::index::Index;

/// A lease, or what the remote says of one.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeaseView {
    /// The task.
    pub task: Id,
    /// The lease; absent where the record at the remote cannot be read.
    #[serde(flatten)]
    pub lease: Option<LeaseTerms>,
    /// The state at the remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// Whether a lease at the remote has not expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<bool>,
    /// The clone of a lease at the remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clone: Option<Id>,
    /// Why the record at the remote cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The handle of the task.
    pub handle: String,
    /// The title of the task; `null` where only another worktree or clone has it.
    pub title: Option<String>,
    /// Whether the caller holds it.
    pub mine: bool,
}

/// The state of a record at the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its holder works under it.
    Held,
    /// It was released.
    Released,
    /// The task is completed or cancelled.
    Finished,
    /// The record cannot be read.
    Unreadable,
}

impl State {
    fn of(state: RemoteState) -> Self {
        match state {
            RemoteState::Held => State::Held,
            RemoteState::Released => State::Released,
            RemoteState::Finished => State::Finished,
        }
    }
}

/// Who holds a lease, and how long.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LeaseTerms {
    /// Its id.
    pub id: Id,
    /// Its holder.
    pub agent: String,
    /// The holder's session.
    pub session: Option<Id>,
    /// Its fence.
    pub fence: u64,
    /// When it expires unless renewed.
    pub expires_at: Time,
    /// When it was granted.
    pub created_at: Time,
    /// When it was last renewed.
    pub updated_at: Time,
    /// Whether the remote confirmed it.
    pub confirmed: bool,
    /// Whether another clone granted it.
    pub elsewhere: bool,
}

/// `lease list`
pub fn leases(ws: &Workspace, q: &LeaseList) -> Result<List<LeaseView>> {
    let after: Option<Id> = q.cursor.as_deref().map(read_cursor).transpose()?;
    let items = if q.remote { at_remote(ws, q.all)? } else { here(ws)? };
    let total = items.len() as u64;
    let mut page = Page::new(ws, q.limit, q.all && q.limit.is_none());
    let mut last = None;
    for item in items.into_iter().filter(|item| after.is_none_or(|after| item.task > after)) {
        let task = item.task;
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

fn here(ws: &Workspace) -> Result<Vec<LeaseView>> {
    let index = read::index(ws)?;
    let mut items = Vec::new();
    for (task, lease) in read::live_leases(ws, &index)? {
        let record = read::lease_record(ws, task, &index)?;
        let mine = matches!(read::standing(ws, &record), Some(Standing::Mine(_)));
        let Lease { id, task: _, agent, session, fence, expires_at, created_at, updated_at, confirmed, elsewhere } =
            lease;
        let terms = LeaseTerms { id, agent, session, fence, expires_at, created_at, updated_at, confirmed, elsewhere };
        items.push(LeaseView { lease: Some(terms), mine, ..named(ws, &index, task)? });
    }
    Ok(items)
}

/// A view that has the names of the task alone.
fn named(ws: &Workspace, index: &Index, task: Id) -> Result<LeaseView> {
    Ok(LeaseView {
        task,
        lease: None,
        state: None,
        live: None,
        clone: None,
        error: None,
        handle: read::handle(ws, task)?,
        title: index.task(task)?.map(|task| task.fields.title),
        mine: false,
    })
}

/// What stands at the remote: leases that are held, expired or not; with `all` those released too.
fn at_remote(ws: &Workspace, all: bool) -> Result<Vec<LeaseView>> {
    let Some(name) = ws.lease_remote() else {
        return Err(Error::state("no remote confirms leases here")
            .hint("set lease.remote in .agentpm/config.toml to the name of a remote, such as origin, or to bus"));
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
        let item = named(ws, &index, task)?;
        items.push(match one {
            Ok(seen) => {
                let is_held = seen.record.state == RemoteState::Held;
                if !is_held && !all {
                    continue;
                }
                LeaseView {
                    state: Some(State::of(seen.record.state)),
                    live: Some(is_held && now < seen.over_at()),
                    clone: Some(seen.record.clone),
                    mine: me.as_ref().is_some_and(|me| is_mine(&seen, me)),
                    lease: Some(terms_at_remote(seen)),
                    ..item
                }
            }
            Err(why) => LeaseView { state: Some(State::Unreadable), error: Some(why), ..item },
        });
    }
    Ok(items)
}

fn terms_at_remote(seen: Seen) -> LeaseTerms {
    let record = seen.record;
    LeaseTerms {
        id: record.lease,
        agent: record.agent,
        session: record.session,
        fence: record.fence,
        expires_at: record.expires_at,
        created_at: record.created_at,
        updated_at: record.updated_at,
        confirmed: true,
        elsewhere: !seen.ours,
    }
}

/// Whether the caller holds what was seen at the remote.
fn is_mine(seen: &Seen, me: &Author) -> bool {
    let r = &seen.record;
    let other_session = matches!((r.session, me.session), (Some(a), Some(b)) if a != b);
    seen.ours && r.state == RemoteState::Held && r.agent == me.agent && !other_session
}
