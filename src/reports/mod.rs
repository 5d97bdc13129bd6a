//! Reports about the plan, computed from their arguments: no file, no clock.

pub mod board;
pub mod change;
pub mod changed;
pub mod event_words;
pub mod export;
pub mod extent;
pub mod inbox;
pub mod list;
pub mod next;
pub mod ready;
pub mod redact;
pub mod review;
pub mod schema;
pub mod summary;
pub mod thread;
pub mod view;
