//! The types that all other modules use: task, event, agent, lease, finding; and their bytes.
//!
//! No I/O and no clock.

pub mod agent;
pub mod args;
mod batch;
pub mod command;
pub mod compaction;
pub mod context;
pub mod event;
pub mod field;
mod field_args;
pub mod finding;
pub mod id;
pub mod job;
pub mod json;
pub mod message_args;
pub mod notice;
pub mod operation;
mod part_args;
pub mod payload;
pub mod plain;
pub mod plan;
pub mod point;
pub mod query;
pub mod relationship;
pub mod search;
pub mod settings;
pub mod subject;
pub mod suggest;
pub mod task;
pub mod thread;
pub mod time;
pub mod trailer;
mod work_args;
pub mod yaml;
mod yaml_text;
