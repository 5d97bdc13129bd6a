//! What is true of this clone on this machine and is never versioned: locks, journal, leases, sessions.

pub mod journal;
pub mod lock;
pub mod records;
