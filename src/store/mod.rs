//! The files of a store: where each lies, how it is read, how it is written.
//!
//! No rule of the plan is known here; the journal and the locks are `runtime`'s.

pub mod bare;
pub mod comments;
pub mod config;
pub mod database;
pub mod edited;
pub mod entity;
pub mod facts;
pub mod filter;
pub mod fulltext;
pub mod index;
pub mod layout;
pub mod log;
pub mod merge;
pub mod place;
pub mod project;
pub mod yaml;
mod yaml_words;
