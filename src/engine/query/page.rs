//! Answers that are bounded and resumable, and never cut without saying so.
//!
//! Leaves to others: what is in them.

use serde::Serialize;

use crate::engine::context::Workspace;
use crate::reports::list::{List, Rest};

/// The cursor of a page that took nothing yet.
pub(super) const START: &str = "start";

/// How much a list may still hold.
pub(super) struct Room {
    items: usize,
    bytes: usize,
    most_items: usize,
    most_bytes: usize,
}

impl Room {
    pub fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        // A caller that names a number of items gets them; otherwise bytes are what counts for the reader.
        let most_bytes = if all || limit.is_some() { usize::MAX } else { ws.settings.list.max_bytes as usize };
        let most_items = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        // The envelope around the items takes some bytes too.
        Room { items: 0, bytes: 300, most_items, most_bytes }
    }

    /// Takes the room for an item, if there is any; for the first there always is.
    pub fn has(&mut self, bytes: usize) -> bool {
        let full = self.items >= self.most_items || (self.items > 0 && self.bytes + bytes + 1 > self.most_bytes);
        if !full {
            self.bytes += bytes + 1;
            self.items += 1;
        }
        !full
    }
}

/// A page of items: as many as fit into the limits, and where to go on.
pub(crate) struct Page<T> {
    items: Vec<T>,
    room: Room,
}

impl<T: Serialize> Page<T> {
    pub fn new(ws: &Workspace, limit: Option<u64>, all: bool) -> Self {
        Page { items: Vec::new(), room: Room::new(ws, limit, all) }
    }

    /// Adds an item if there is room; for the first there always is.
    pub fn push(&mut self, item: T) -> bool {
        // Plain data can be written as JSON.
        let fits = self.room.has(serde_json::to_string(&item).map_or(0, |json| json.len()));
        if fits {
            self.items.push(item);
        }
        fits
    }

    pub fn finish(self, total: u64, next_cursor: Option<String>) -> List<T> {
        List { items: self.items, rest: Rest::new(total, next_cursor) }
    }
}
