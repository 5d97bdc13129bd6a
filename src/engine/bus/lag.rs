//! How far the bridge of this worktree is behind, for those who look on.

use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::context::Workspace;
use crate::env::files::Dir;
use crate::error::Result;
use crate::model::time::Time;
use crate::runtime::bus;
use crate::runtime::journal::Carrier;
use crate::runtime::journals::Journals;

/// The state of the bridge to the message bus, as it noted it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct BusLag {
    /// The name of the plan on the bus.
    pub plan: String,
    /// Acknowledged events that are not published yet.
    pub to_publish: u64,
    /// Messages of the stream that were not taken in when it was last seen.
    pub to_take: u64,
    /// Events that wait until their parents arrive.
    pub waiting: usize,
    /// Messages that were refused.
    pub refused: usize,
    /// Lines in the files of the bridge that cannot be read.
    pub unreadable: usize,
    /// Messages that the stream dropped before they were taken in, since the last sync.
    pub missed: u64,
    /// Events that the server does not take, since they are too large for it.
    pub too_large: u64,
    /// When the server last answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<Time>,
    /// Why the bridge does not get on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What distinguishes the stream from the one that the bridge would make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// The last refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<String>,
}

/// The state of the bridge; `None` where there has been none in this worktree.
///
/// Errors: `ERR_IO` if the journal or a file of the bridge cannot be read.
pub(crate) fn lag(ws: &Workspace) -> Result<Option<BusLag>> {
    let Ok(own) = Dir::open(&ws.own_runtime_path()) else { return Ok(None) };
    let Some(record) = bus::read(&own) else { return Ok(None) };
    let (refused, waiting) = (bus::refused(&own)?, bus::waiting(&own)?);
    let mut to_publish = 0;
    if let Some(runtime) = ws.runtime() {
        let key = ws.store_key();
        Journals::open(runtime)?.each_from(
            record.published_to,
            |entry, _| (!entry.event.payload.journal_only()).then_some(()),
            |events, commit, _| {
                let left_out =
                    commit.carrier == Some(Carrier::Bus) || (record.published_to.is_none() && commit.arrived);
                if Some(&commit.store) == key && !left_out {
                    to_publish += events.len() as u64;
                }
            },
        )?;
    }
    Ok(Some(BusLag {
        plan: record.plan,
        to_publish,
        to_take: record.last.saturating_sub(record.taken_to),
        waiting: waiting.found.len(),
        refused: refused.found.len(),
        unreadable: refused.damaged.len() + waiting.damaged.len(),
        missed: bus::missed(&own),
        too_large: record.too_large,
        seen_at: record.seen_at,
        trouble: record.cannot_take.or(record.cannot_publish),
        differs: record.differs,
        last_refusal: refused.found.last().map(|last| format!("message {}: {}", last.sequence, last.why)),
    }))
}
