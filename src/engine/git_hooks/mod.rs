//! What git calls, and what a clone of git needs for that: the merge driver, the hooks, lease trailers, and making a store.

pub(crate) mod agents_md;
pub(crate) mod driver;
pub(crate) mod hooks;
pub(crate) mod init;
pub(crate) mod trailer;
