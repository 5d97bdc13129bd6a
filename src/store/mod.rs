//! The files of a store: their paths, and how they are read and written.
//!
//! Leaves to others: the rules of the plan, and the journal and the locks (`runtime`).

pub mod archive;
pub mod archive_form;
pub mod bare;
pub mod comments;
pub mod compact;
pub mod config;
pub mod database;
pub mod dropped;
pub mod edited;
pub mod entity;
pub mod facts;
pub mod filter;
pub mod fulltext;
pub mod index;
pub mod layout;
pub mod log;
pub mod merge;
pub mod migrate;
pub mod place;
pub mod project;
pub mod setting;
pub mod yaml;
mod yaml_messages;
