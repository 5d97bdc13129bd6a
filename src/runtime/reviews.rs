//! Which review was handed to which agent of this clone, so that two agents that ask at once get different ones.
//!
//! Guarantees nothing that a judgement depends on: a lost record hands a review to two agents.
//! Leaves to others: which reviews there are, and when one is handed out.

use std::collections::BTreeMap;
use std::io;

use serde::{Deserialize, Serialize};

use crate::env::files::Dir;
use crate::model::id::Id;
use crate::model::time::Time;

const FILE: &str = "reviews.json";

/// The largest record that is read, in bytes.
const MAX: u64 = 1024 * 1024;

/// A review that an agent was handed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HandedReview {
    /// The agent.
    pub agent: String,
    /// When others may be handed it too.
    pub until: Time,
}

/// The reviews that were handed out, by task.
pub fn read(runtime: &Dir) -> BTreeMap<Id, HandedReview> {
    runtime.read(FILE, MAX).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Replaces the record.
///
/// Errors: those of the disk.
pub fn write(runtime: &Dir, handed: &BTreeMap<Id, HandedReview>) -> io::Result<()> {
    let bytes = serde_json::to_vec(handed).map_err(io::Error::other)?;
    runtime.replace(FILE, &bytes, 0o666)
}
