//! Reports about the plan, computed from their arguments: no file, no clock.

pub mod change;
pub mod extent;
pub mod ready;
pub mod review;
pub mod schema;
pub mod view;
