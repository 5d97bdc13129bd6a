//! Measurements of this process: requests, waits for the lock, and the reading of logs.
//!
//! Guarantees bounded memory: counts and sums, no single values.
//! Leaves to others: what is measured, and how it is shown.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the buckets of durations, in seconds.
pub const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// Durations, counted in buckets.
#[derive(Clone, Debug, Default)]
pub struct Durations {
    /// How many took at most the bound of each bucket.
    pub within: [u64; BUCKETS.len()],
    /// Their sum, in seconds.
    pub seconds: f64,
    /// Their number.
    pub count: u64,
}

impl Durations {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bound, count) in BUCKETS.iter().zip(&mut self.within) {
            *count += u64::from(seconds <= *bound);
        }
        self.seconds += seconds;
        self.count += 1;
    }
}

/// The requests of one operation.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// How many were answered with each HTTP status.
    pub by_status: BTreeMap<u16, u64>,
    /// From the head of a request to its answer.
    pub took: Durations,
}

/// What was measured since the process started.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// Requests by operation.
    pub requests: BTreeMap<&'static str, Requests>,
    /// Waits for the lock of the store.
    pub lock_waits: Durations,
    /// Reading and folding the logs that an operation needed.
    pub folds: Durations,
}

/// Counts what is measured.
#[derive(Debug, Default)]
pub struct Meter(Mutex<Measured>);

impl Meter {
    /// Counts a request that was answered.
    pub fn count_request(&self, operation: &'static str, status: u16, took: Duration) {
        self.change(|all| {
            let requests = all.requests.entry(operation).or_default();
            *requests.by_status.entry(status).or_default() += 1;
            requests.took.add(took);
        });
    }

    /// Counts a wait for the lock.
    pub fn count_lock_wait(&self, took: Duration) {
        self.change(|all| all.lock_waits.add(took));
    }

    /// Counts the reading and folding of logs.
    pub fn count_fold(&self, took: Duration) {
        self.change(|all| all.folds.add(took));
    }

    /// All of it so far.
    pub fn measured(&self) -> Measured {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Measured)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
