//! Measurements as Prometheus text: the requests of this process, and the state of the plan.
//!
//! Guarantees that the server and the command line print the same families.

use std::fmt::Display;
use std::fmt::Write as _;

use super::{doctor, threads};
use crate::engine::bus::lag::lag;
use crate::engine::context::Workspace;
use crate::env::meter::{BUCKETS, Durations, Measured};
use crate::error::Result;
use crate::model::query::ThreadList;
use crate::model::task::Status;
use crate::runtime::journal;

/// All measurements as text.
///
/// Errors: those of reading the plan.
pub fn metrics(ws: &Workspace) -> Result<String> {
    let stats = doctor::stats(ws)?;
    let open = ThreadList { open: true, limit: Some(1), ..ThreadList::default() };
    let threads = threads::threads(ws, &open)?.rest.total;
    let mut page = Page(String::new());
    page.head("agentpm_tasks", "gauge", "Tasks by status");
    for (status, count) in &stats.by_status {
        page.line("agentpm_tasks", &format!("status=\"{status}\""), count);
    }
    let with = |status: Status| stats.by_status.get(status.as_str()).copied().unwrap_or_default();
    page.head("agentpm_queue_depth", "gauge", "Tasks and threads that wait, and tasks in progress");
    for (queue, depth) in [
        ("ready", stats.ready as u64),
        ("blocked", with(Status::Blocked)),
        ("in_progress", with(Status::InProgress)),
        ("threads", threads),
    ] {
        page.line("agentpm_queue_depth", &format!("queue=\"{queue}\""), depth);
    }
    for (name, about, value) in [
        ("agentpm_active_leases", "Live leases", stats.live_leases as u64),
        ("agentpm_events", "Events in the logs", stats.events),
        ("agentpm_agents", "Registered agents", stats.agents as u64),
        ("agentpm_journal_bytes", "Size of the present journal", ws.runtime().map_or(0, journal::length)),
    ] {
        page.head(name, "gauge", about);
        page.line(name, "", value);
    }
    if let Some(lag) = lag(ws)? {
        for (name, about, value) in [
            ("agentpm_bus_to_publish", "Acknowledged events that are not published on the bus", lag.to_publish),
            ("agentpm_bus_to_take", "Messages of the bus that are not taken in", lag.to_take),
            ("agentpm_bus_waiting", "Events of the bus that wait for others", lag.waiting as u64),
            ("agentpm_bus_refused", "Messages of the bus that were refused", lag.refused as u64),
        ] {
            page.head(name, "gauge", about);
            page.line(name, "", value);
        }
    }
    page.measured(&ws.env.meter().measured());
    Ok(page.0)
}

/// A page of measurements. Writing into a text cannot fail.
struct Page(String);

impl Page {
    fn measured(&mut self, measured: &Measured) {
        self.head("agentpm_requests_total", "counter", "Requests that this process answered, by operation and status");
        for (operation, requests) in &measured.requests {
            for (status, count) in &requests.by_status {
                self.line("agentpm_requests_total", &format!("op=\"{operation}\",status=\"{status}\""), count);
            }
        }
        self.head("agentpm_request_seconds", "histogram", "Time from the head of a request to its answer");
        for (operation, requests) in &measured.requests {
            self.durations("agentpm_request_seconds", &format!("op=\"{operation}\""), &requests.took);
        }
        self.head("agentpm_lock_wait_seconds", "histogram", "Time that this process waited for the lock of the store");
        self.durations("agentpm_lock_wait_seconds", "", &measured.lock_waits);
        self.head("agentpm_fold_seconds", "histogram", "Time that this process took to read and fold logs");
        self.durations("agentpm_fold_seconds", "", &measured.folds);
    }

    fn durations(&mut self, name: &str, labels: &str, durations: &Durations) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        for (bound, count) in BUCKETS.iter().zip(durations.within) {
            self.line(&bucket, &format!("{labels}{comma}le=\"{bound}\""), count);
        }
        self.line(&bucket, &format!("{labels}{comma}le=\"+Inf\""), durations.count);
        self.line(&format!("{name}_sum"), labels, durations.seconds);
        self.line(&format!("{name}_count"), labels, durations.count);
    }

    fn head(&mut self, name: &str, kind: &str, about: &str) {
        let _ = write!(self.0, "# HELP {name} {about}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
