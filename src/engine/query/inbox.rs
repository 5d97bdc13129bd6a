//! `inbox`: what is unread, in pages.

use super::page::Page;
use crate::engine::context::Workspace;
use crate::engine::inbox::{self, Acknowledged, Look, Unread};
use crate::error::{Error, Result};
use crate::model::id::quoted;
use crate::model::job::InboxAck;
use crate::model::query::Inbox;
use crate::reports::inbox::{InboxAcknowledged, InboxPage};
use crate::runtime::inbox::is_id;
use crate::runtime::journals::Position;

/// Most items of a page unless more are asked for.
const MOST: u64 = 20;

/// `inbox`
pub fn inbox(ws: &Workspace, q: &Inbox) -> Result<InboxPage> {
    let record = inbox::begin(ws)?;
    let look = inbox::with_view(ws, |view| inbox::look(ws, &record, view))?;
    inbox::note_count(ws, &look);
    let limit = if q.all { q.limit } else { q.limit.or(Some(MOST)) };
    let mut page = Page::new(ws, limit, q.all);
    let begin = match &q.cursor {
        None => 0,
        Some(last) => match look.items.iter().position(|one| one.id == *last) {
            Some(at) => at + 1,
            None => {
                return Err(Error::usage(format!("{} is no cursor of what is unread", quoted(last)))
                    .hint("agentpm inbox begins at the first unread item"));
            }
        },
    };
    let mut shown = begin;
    for one in &look.items[begin..] {
        if !page.push(inbox::item(ws, one)?) {
            break;
        }
        shown += 1;
    }
    let cursor = (shown > 0).then(|| cursor(&look, shown));
    let next = look.items[..shown].last().map(|one| one.id.clone()).filter(|_| shown < look.items.len());
    Ok(InboxPage { list: page.finish(look.items.len() as u64, next), cursor })
}

/// What stands for the first items: how far they arrived, and the ids of those without a place before that.
fn cursor(look: &Look, shown: usize) -> String {
    let (first, rest) = look.items.split_at(shown);
    let last = rest.iter().find(|one| one.place.is_some());
    let to = match last {
        Some(one) => look.before(&one.id),
        None => look.end,
    };
    let is_before = |one: &&Unread| last.is_none() && one.place.is_some();
    let is_covered =
        |one: &&Unread| is_before(one) || last.is_some_and(|last| one.place.is_some() && one.place != last.place);
    let ids = first.iter().filter(|one| !is_covered(one)).map(|one| one.id.as_str());
    let to = to.map(|to| to.to_string()).unwrap_or_else(|| "0-0".into());
    std::iter::once(to.as_str()).chain(ids).collect::<Vec<_>>().join(".")
}

/// `inbox ack`
///
/// Errors: `ERR_USAGE` for what is neither a cursor nor the id of an item.
pub fn acknowledge(ws: &Workspace, q: &InboxAck) -> Result<InboxAcknowledged> {
    let what = if q.all { Acknowledged::All } else { what(&q.items)? };
    let (acknowledged, unread) = inbox::acknowledge(ws, &what)?;
    Ok(InboxAcknowledged { acknowledged, unread })
}

fn what(given: &[String]) -> Result<Acknowledged> {
    if given.is_empty() {
        return Err(Error::usage("nothing is named to acknowledge").hint(
            "agentpm inbox ack --all acknowledges everything; else give the cursor of agentpm inbox, or ids of items",
        ));
    }
    let (mut to, mut items) = (None, Vec::new());
    for text in given {
        let unknown = || {
            Error::usage(format!("{} is neither a cursor nor the id of an item", quoted(text)))
                .hint("agentpm inbox shows the ids and the cursor")
        };
        let mut parts = text.split('.');
        let first = parts.next().unwrap_or_default();
        match first.parse::<Position>() {
            Ok(position) => to = Some(position),
            Err(_) if is_id(first) => items.push(first.to_owned()),
            Err(_) => return Err(unknown()),
        }
        for id in parts {
            items.push(Some(id).filter(|id| is_id(id)).ok_or_else(unknown)?.to_owned());
        }
    }
    Ok(Acknowledged::Some { to, items })
}
