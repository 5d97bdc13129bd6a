//! What a request or a plan is known by in its events, and in those that undo it.
//!
//! Leaves to others: undoing them (`saga`).

use crate::model::event::{Author, Event};

/// What names the events of one request or of one plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The correlation id.
    Request(String),
    /// The plan id.
    Plan(String),
}

/// Marks the id under which the undo of another id is recorded.
const UNDO: &str = "undo:";

impl Origin {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Origin::Request(id) | Origin::Plan(id) => id,
        }
    }

    /// The option of `undo` that names it.
    pub fn option(&self) -> &'static str {
        match self {
            Origin::Request(_) => "--correlation-id",
            Origin::Plan(_) => "--plan-id",
        }
    }

    /// The id of the events that undo it.
    pub fn undo_id(&self) -> String {
        format!("{UNDO}{}", self.id())
    }

    /// The author of the events that undo it.
    pub fn undoer(&self, author: Author) -> Author {
        let id = Some(self.undo_id());
        match self {
            Origin::Request(_) => Author { correlation_id: id, ..author },
            Origin::Plan(_) => Author { plan_id: id, ..author },
        }
    }

    /// Whether an event is of the request or the plan itself, and not of an undo of it.
    pub fn has_written(&self, event: &Event) -> bool {
        self.depth(event) == Some(0)
    }

    /// How often the event was undone by the request that wrote it: 0 for an event of the request itself, 1 for one that
    /// undoes it, 2 for one that undoes that again. `None` for any other event.
    pub(super) fn depth(&self, event: &Event) -> Option<usize> {
        let given = match self {
            Origin::Request(_) => event.author.correlation_id.as_deref(),
            Origin::Plan(_) => event.author.plan_id.as_deref(),
        };
        let mut rest = given?;
        let mut depth = 0;
        while rest != self.id() {
            rest = rest.strip_prefix(UNDO)?;
            depth += 1;
        }
        Some(depth)
    }
}

/// The undo of a request or a plan that an event is part of; undoing it brings back what was undone.
pub fn undo_with(event: &Event) -> Option<Origin> {
    let is_undo = |id: &String| id.starts_with(UNDO);
    let (request, plan) = (event.author.correlation_id.clone(), event.author.plan_id.clone());
    request.filter(is_undo).map(Origin::Request).or_else(|| plan.filter(is_undo).map(Origin::Plan))
}
