//! The read path: references, snapshots and lists.
//!
//! Takes no lock. Acknowledged events that are not projected yet are read from the journal, so that a reader sees a command
//! whole or not at all.
//! Leaves to others: what the answers look like (`reports::view`).

mod actors;
mod around;
mod current;
mod plan;
mod reference;
mod task;

pub(crate) use actors::{agent_names, held, lost, other_holder};
pub use actors::{
    agent_record, agents, lease_record, lease_record_by_log, live_leases, recorded_lease, session_record, standing,
    viewer_with_rights,
};
pub(crate) use around::{
    Indexed, around, blockers_of_new, is_open_child, score_terms, show_new_task, show_task_elsewhere, show_task_to,
    why_not_ready,
};
pub use current::index;
pub(crate) use current::{
    current_to, discard_index, index_for_write, logs_were_written, pending, tasks_of, tick, touched_since,
};
pub use plan::plan;
pub(crate) use plan::{freed, plan_to_claim};
pub use reference::{handle, resolve};
pub(crate) use reference::{handles, is_there, one_of};
pub use task::load_task;
