//! agentpm: a task store for coding agents that lives in the project's own git repository.
//!
//! The modules, in the order to read them; each imports only from those above it.
#![deny(missing_docs)]
// They panic where the reader is gone or the disk is full: `cli::output` writes.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod error;

pub mod model;

pub mod env;

pub mod rules;

pub mod git;
#[cfg(feature = "bus")]
pub mod nats;
pub mod runtime;
pub mod store;

pub mod reports;

pub mod engine;

pub mod api;

#[cfg(feature = "server")]
pub mod server;

#[cfg(feature = "client")]
pub mod client;

#[cfg(feature = "mcp")]
pub mod mcp;

#[cfg(feature = "bus")]
pub mod bus;

pub mod cli;
