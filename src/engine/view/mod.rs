//! Reads a plan: tasks by reference, the index, other branches and worktrees, history, and the logs that
//! git's references hold.
//!
//! Guarantees that reading takes no lock and writes nothing below the work tree.
//! Leaves to others: the answers to questions (`engine::query`).

pub(crate) mod branches;
pub(crate) mod elsewhere;
pub(crate) mod events;
pub(crate) mod history;
pub(crate) mod pending;
pub(crate) mod read;
pub(crate) mod ref_logs;
pub(crate) mod related;
pub(crate) mod removed_commits;
pub(crate) mod seen;
pub(crate) mod sparse;
