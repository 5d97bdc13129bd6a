//! The messages that agents sent between two states of a plan in git.

use std::collections::BTreeSet;

use super::read;
use crate::engine::context::Workspace;
use crate::error::Result;
use crate::git::{Objects, Oid};
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::payload::Payload;
use crate::reports::inbox::SentMessage;
use crate::rules::notices::Receiver;
use crate::store::layout::entity_below;
use crate::store::log::Log;

/// The caller as a receiver of messages.
///
/// Errors: `ERR_USAGE` where it is not known who asks.
pub(crate) fn receiver(ws: &Workspace) -> Result<Receiver> {
    let agent = ws.author()?.agent;
    let role = read::agent_record(ws, &agent)?.role;
    let review = ws.settings.review.clone();
    Ok(Receiver { agent, role, max_attempts: ws.settings.claim.max_attempts, rights: ws.rights.clone(), review })
}

/// The messages in a plan that none of the earlier plans has, in their order.
///
/// Errors: `ERR_GIT` if a tree or a log cannot be read.
pub(crate) fn messages_between(objects: &Objects, old: &[Option<Oid>], new: Option<Oid>) -> Result<Vec<SentMessage>> {
    let Some(first) = old.first() else { return Ok(Vec::new()) };
    let mut sent: Vec<Entry> = Vec::new();
    for change in objects.changes(*first, new)? {
        let Some((Entity::Agent(_), true)) = entity_below(&change.path) else { continue };
        let mut known: BTreeSet<Id> = BTreeSet::new();
        for old in old {
            known.extend(log_in(objects, *old, &change.path)?.into_iter().map(|entry| entry.event.id));
        }
        let news = log_in(objects, new, &change.path)?.into_iter().filter(|entry| !known.contains(&entry.event.id));
        sent.extend(news);
    }
    sent.sort_by_key(|entry| entry.event.stamp());
    let message = |entry: &Entry| {
        let Payload::Broadcast(p) = &entry.event.payload else { return None };
        Some(SentMessage::new(&entry.event, p))
    };
    Ok(sent.iter().filter_map(message).collect())
}

fn log_in(objects: &Objects, plan: Option<Oid>, path: &str) -> Result<Vec<Entry>> {
    let bytes = plan.map(|plan| objects.file(plan, path)).transpose()?.flatten().unwrap_or_default();
    Ok(Log::of(&bytes).entries)
}
