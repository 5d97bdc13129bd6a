//! Reads a file, or standard input, that an argument names.
//!
//! Guarantees a bound on what is read.
//! Leaves to others: what the text means.

use std::io::Read as _;

use crate::env::outside;
use crate::error::{Error, Result};
use crate::model::command::Batch;
use crate::model::json;

/// Largest batch, plan or import that is read, in bytes.
pub const MAX_INPUT: u64 = 256 * 1024 * 1024;

pub fn read_input(path: &str) -> Result<String> {
    let mut bytes = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut bytes).map(|_| ())
    } else {
        outside::read(path.as_ref(), MAX_INPUT).map(|read| bytes = read)
    };
    read.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(format!("there is no file {path}")),
        _ => Error::io("read", path.as_ref(), &e),
    })?;
    String::from_utf8(bytes).map_err(|_| Error::validation(format!("{path} is not valid UTF-8")))
}

pub fn batch(file: &str) -> Result<Batch> {
    let text = read_input(file)?;
    let parsed =
        json::parse(&text).map_err(|e| Error::validation(format!("{file}: {e}")).hint("see agentpm batch --help"))?;
    Batch::from_json(&parsed)
}
