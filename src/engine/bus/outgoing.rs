//! The events that are to be published: what the journal has after a position.
//!
//! Guarantees the order of the journal, and that the events of one command are known to belong together. An event that the bus brought
//! is not sent back. What was redacted since is sent without its text.

use std::collections::BTreeSet;

use crate::engine::context::Workspace;
use crate::engine::feed::stream::{git_mark, note_news};
use crate::error::Result;
use crate::model::event::{Entity, Entry};
use crate::model::id::Id;
use crate::model::subject::Subjects;
use crate::runtime::journal::Carrier;
use crate::runtime::journals::{Journals, Position, Spot};
use crate::store::project::without_text;

pub(crate) use crate::engine::feed::wakeup::{Wakeup, wakeup};

/// An event to publish.
pub(crate) struct Outgoing {
    pub id: Id,
    pub subject: String,
    /// How many events of the same command follow it.
    pub more: usize,
    entity: Entity,
    spot: Spot,
}

/// The events to publish, in order.
pub(crate) struct Outbox {
    pub events: Vec<Outgoing>,
    /// Where the journal was read to: once all events are published, it is the new position.
    pub end: Option<Position>,
    /// For each record, how many of the events come up to its end, and its end.
    ends: Vec<(usize, Position)>,
    journals: Journals,
    redacted: BTreeSet<(Entity, Id)>,
}

impl Outbox {
    /// What the journal has after a position. From its beginning, what came by git is left out: the clones have that in common.
    /// `on_bus` says which events the bus has.
    ///
    /// Errors: `ERR_IO` if the journal cannot be read.
    pub fn after(
        ws: &Workspace,
        subjects: &Subjects,
        from: Option<Position>,
        on_bus: impl Fn(Id) -> bool,
    ) -> Result<Self> {
        let runtime = ws.runtime_to_write()?;
        let key = ws.store_key_to_write()?;
        let journals = Journals::open(&runtime)?;
        let (mut events, mut ends, mut redacted) = (Vec::new(), Vec::new(), BTreeSet::new());
        let from = from.filter(|from| journals.rank(*from).is_some());
        let end = journals.each_from(
            from,
            |entry, spot| {
                let subject = subjects.event(&entry.event)?;
                let redaction = entry.event.payload.redacts();
                Some((Outgoing { id: entry.event.id, subject, more: 0, entity: entry.event.entity, spot }, redaction))
            },
            |kept, commit, end| {
                if commit.store != *key {
                    return;
                }
                redacted.extend(kept.iter().filter_map(|(out, entry)| Some((out.entity.clone(), (*entry)?))));
                if commit.carrier == Some(Carrier::Bus) || (from.is_none() && commit.arrived) {
                    return;
                }
                let mut own: Vec<Outgoing> =
                    kept.into_iter().map(|(out, _)| out).filter(|out| !on_bus(out.id)).collect();
                // What git brought at once are events of many commands.
                let of_one = if commit.arrived { 0 } else { own.len() };
                for (n, out) in own.iter_mut().enumerate() {
                    out.more = of_one.saturating_sub(n + 1);
                }
                events.append(&mut own);
                ends.push((events.len(), end));
            },
        )?;
        Ok(Outbox { events, end, ends, journals, redacted })
    }

    /// The line of one of the events.
    ///
    /// Errors: `ERR_IO`, `ERR_CORRUPT` if it cannot be read any more.
    pub fn line(&self, out: &Outgoing) -> Result<Entry> {
        let mut entry = self.journals.read(out.spot)?;
        if self.redacted.contains(&(out.entity.clone(), out.id)) {
            without_text(&mut entry)?;
        }
        Ok(entry)
    }

    /// The position once the first `n` events are published.
    pub fn position_after(&self, n: usize) -> Option<Position> {
        if n == self.events.len() {
            return self.end;
        }
        self.ends.iter().rev().find(|(count, _)| *count <= n).map(|(_, end)| *end)
    }
}

/// What git may have changed, to be compared with a later answer; and a wakeup.
pub(crate) struct Watching {
    git: Option<(crate::env::files::Mark, String)>,
    pub wakeup: Wakeup,
}

impl Watching {
    /// Begins to watch, and notes what git brought before.
    ///
    /// Errors: as [`note_news`].
    pub fn begin(ws: &Workspace) -> Result<Self> {
        let wakeup = wakeup(ws);
        let git = git_mark(ws);
        note_news(ws)?;
        Ok(Watching { git, wakeup })
    }

    /// Notes in the journal what git brought since.
    ///
    /// Errors: as [`note_news`].
    pub fn look(&mut self, ws: &Workspace) -> Result<()> {
        let now = git_mark(ws);
        if now != self.git {
            note_news(ws)?;
            self.git = now;
        }
        Ok(())
    }
}
