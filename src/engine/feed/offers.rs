//! The turn of an agent that waits for work: where a bridge serves the worktree, a ready task is offered to one waiting agent at a time.
//!
//! Guarantees that an agent without an offer looks by itself after a short time. The claim decides who gets a task.
//! Leaves to others: which task is claimed, and who offers (`bus`).

use std::time::Duration;

use crate::engine::context::Workspace;
use crate::engine::context::bus::{address, own_runtime, subjects};
use crate::model::subject::Subjects;
use crate::nats::{Connection, Offer, OfferQueue, PATIENCE, Trouble};
use crate::runtime::bus;

/// How long an agent without an offer lets those with one go first.
const HEAD_START: Duration = Duration::from_secs(1);

/// The queue of offers, connected when it is first needed.
#[derive(Default)]
pub(crate) struct Turns {
    queue: Option<Option<(Connection, Subjects)>>,
}

/// A turn, with the offer that gave it.
pub(crate) struct Turn<'a> {
    queue: Option<(OfferQueue<'a>, Subjects)>,
    offer: Option<Offer>,
}

impl Turns {
    /// Waits for an offer, but not for long. Without a bus, every agent has its turn at once.
    pub fn next(&mut self, ws: &Workspace) -> Turn<'_> {
        let connected = self.queue.get_or_insert_with(|| connect(ws)).as_ref();
        let queue = connected.map(|(bus, names)| (OfferQueue::new(bus, names.stream("READY")), names.clone()));
        let offer = queue.as_ref().and_then(|(queue, _)| queue.next(HEAD_START).unwrap_or_else(unavailable));
        Turn { queue, offer }
    }
}

impl Turn<'_> {
    /// Whether others may have gone first meanwhile.
    pub fn is_late(&self) -> bool {
        self.queue.is_some() && self.offer.is_none()
    }

    /// Accepts the offer if its task is among those that the agent got, and passes it on otherwise.
    pub fn end(self, got: &[String]) {
        if let (Some((queue, names)), Some(offer)) = (self.queue, self.offer) {
            let is_accepted = got.iter().filter_map(|id| id.parse().ok()).any(|id| names.ready(id) == offer.subject());
            queue.answer(&offer, is_accepted).unwrap_or_else(unavailable);
        }
    }
}

/// Connects to the bus of the bridge that serves this worktree; `None` where none does.
fn connect(ws: &Workspace) -> Option<(Connection, Subjects)> {
    let record = bus::read(&own_runtime(ws).ok()?)?;
    let is_served = record.cannot_publish.is_none() && record.cannot_take.is_none();
    let address = address(ws, None, None).ok()?.filter(|_| is_served)?;
    match Connection::open(&address, PATIENCE) {
        Ok(connection) => Some((connection, subjects(ws).ok()?)),
        Err(trouble) => unavailable(trouble),
    }
}

fn unavailable<T: Default>(trouble: Trouble) -> T {
    tracing::debug!(why = trouble.0, "no offers of ready tasks");
    T::default()
}
