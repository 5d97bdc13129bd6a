//! What may happen and what it means: deciding, folding, ordering.
//!
//! Pure: no file, no clock, no chance. Deciding may refuse; folding may not.

pub mod confirm;
pub mod copies;
pub mod decide;
pub mod fields;
pub mod fold;
pub mod graph;
pub mod lease;
pub mod lost;
pub mod moves;
pub mod passed;
pub mod readiness;
pub mod register;
pub mod rights;
pub mod roles;
pub mod session;
pub mod signature;
pub mod stage;
pub mod writers;
