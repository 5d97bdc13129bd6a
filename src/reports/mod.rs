//! Questions to the plan, answered from what they are handed: no file, no clock.

pub mod change;
pub mod extent;
pub mod ready;
pub mod review;
pub mod schema;
pub mod view;
