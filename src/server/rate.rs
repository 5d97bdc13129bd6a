//! How many requests an agent may make.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Agents that are remembered; more of them are forgotten where they have been quiet.
const REMEMBERED: usize = 1_024;

/// The requests that each agent has left. An agent may use those of one second at once.
pub struct Rate {
    per_second: f64,
    left: Mutex<HashMap<String, (f64, Instant)>>,
}

impl Rate {
    /// So many requests per second of one agent.
    pub fn new(per_second: u32) -> Self {
        Rate { per_second: f64::from(per_second.max(1)), left: Mutex::default() }
    }

    /// Takes a request of an agent; `false` where none is left within this second.
    pub fn take(&self, agent: &str) -> bool {
        let now = Instant::now();
        let refilled = |(left, since): (f64, Instant)| {
            (left + now.duration_since(since).as_secs_f64() * self.per_second).min(self.per_second)
        };
        let mut all = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED && !all.contains_key(agent) {
            all.retain(|_, bucket| refilled(*bucket) < self.per_second);
        }
        let left = all.get(agent).copied().map_or(self.per_second, refilled);
        let granted = left >= 1.0;
        all.insert(agent.to_owned(), (if granted { left - 1.0 } else { left }, now));
        granted
    }
}
