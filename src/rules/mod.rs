//! The rules of the plan: deciding, folding, ordering.
//!
//! Pure: no files, no clock, no randomness. Deciding may refuse; folding may not.

pub mod ancestry;
pub mod attempts;
pub mod conditions;
pub mod confirm;
pub mod copies;
pub mod decide;
mod effect;
pub mod event_rules;
pub mod fields;
pub mod fold;
pub mod graph;
pub mod held;
pub mod lease;
pub mod lease_bypasses;
pub mod lost;
pub mod moves;
pub mod notices;
pub mod patch;
pub mod readiness;
pub mod register;
pub mod review;
pub mod rights;
pub mod roles;
pub mod seen;
pub mod session;
pub mod sources;
pub mod stage;
pub mod surroundings;
pub mod writers;
