//! The one write path: lock, repair, decide, journal, project, answer; with leases, hand edits and keys.
//!
//! Guarantees that every change of the plan goes through it, and happened whole or not at all.
//! Leaves to others: what a command means (`rules::decide`).

pub(crate) mod answer;
pub(crate) mod application;
pub(crate) mod compact;
pub(crate) mod confirmation;
pub(crate) mod expiry;
pub(crate) mod hand_edits;
pub(crate) mod idempotency;
pub(crate) mod keys;
pub(crate) mod plan;
pub(crate) mod plan_base;
pub(crate) mod project;
pub(crate) mod remote;
pub(crate) mod saga;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod tokens;
pub(crate) mod transaction;
pub(crate) mod unblock;
pub(crate) mod write;
