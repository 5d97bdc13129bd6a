//! Reads a plan: tasks by reference, the index, other branches and worktrees, history, and the logs that
//! git's references contain.
//!
//! Guarantees that reading takes no lock and writes nothing below the work tree.
//! Leaves to others: the answers to queries (`engine::query`).

pub(crate) mod archives;
pub(crate) mod branch_archives;
pub(crate) mod branches;
pub(crate) mod claimed_files;
pub(crate) mod events;
pub(crate) mod held_task;
pub(crate) mod history;
pub(crate) mod landed;
pub(crate) mod last_scan;
pub(crate) mod messages;
pub(crate) mod other_branches;
pub(crate) mod other_worktree;
pub(crate) mod pending;
pub(crate) mod read;
pub(crate) mod ref_logs;
pub(crate) mod related;
pub(crate) mod removed_commits;
pub(crate) mod similar;
pub(crate) mod sparse;
pub(crate) mod uncommitted;
