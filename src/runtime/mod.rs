//! The state of this clone on this machine, which is never versioned: lock, journal, leases, sessions, secret keys.

pub mod bus;
pub mod inbox;
pub mod journal;
pub mod journals;
pub mod keys;
pub mod lock;
pub mod nonces;
pub mod rebuild;
pub mod records;
pub mod rendered;
pub mod reviews;
pub mod tokens;
pub mod waiting;
pub mod worktree;
