//! Measurements as Prometheus text: the requests of this server, and the state of the plan.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::api::{self, Answer, Call};
use crate::engine::Workspace;
use crate::engine::bus::lag::lag;
use crate::error::Result;
use crate::model::query::{Query, Stats, ThreadList};
use crate::runtime::journal;

/// Upper bounds of the buckets of durations, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0];

/// The requests of one operation.
#[derive(Default)]
struct Requests {
    by_status: BTreeMap<u16, u64>,
    /// How many took at most the bound of each bucket.
    within: [u64; BUCKETS.len()],
    seconds: f64,
}

/// What was measured since the server started.
#[derive(Default)]
pub struct Metrics(Mutex<BTreeMap<&'static str, Requests>>);

impl Metrics {
    /// Counts a request that was answered.
    pub fn count(&self, operation: &'static str, status: u16, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = all.entry(operation).or_default();
        *requests.by_status.entry(status).or_default() += 1;
        requests.seconds += seconds;
        for (bound, count) in BUCKETS.iter().zip(&mut requests.within) {
            *count += u64::from(seconds <= *bound);
        }
    }

    /// All measurements as text.
    ///
    /// Errors: those of reading the plan.
    pub fn text(&self, ws: &Workspace) -> Result<String> {
        let mut page = Page(String::new());
        self.requests(&mut page);
        if let Answer::Stats(stats) = api::call(ws, &Call::Query(Query::Stats(Stats {})))?.data {
            let stats = serde_json::to_value(stats).unwrap_or_default();
            page.head("agentpm_tasks", "gauge", "Tasks by status");
            for (status, count) in stats["by_status"].as_object().into_iter().flatten() {
                page.line("agentpm_tasks", &format!("status=\"{status}\""), count);
            }
            for (name, about, value) in [
                ("agentpm_ready_tasks", "Tasks that are ready to be worked on", &stats["ready"]),
                ("agentpm_live_leases", "Live leases", &stats["live_leases"]),
                ("agentpm_events", "Events in the logs", &stats["events"]),
                ("agentpm_agents", "Registered agents", &stats["agents"]),
            ] {
                page.head(name, "gauge", about);
                page.line(name, "", value);
            }
        }
        let open = ThreadList { open: true, limit: Some(1), ..ThreadList::default() };
        if let Answer::Threads(threads) = api::call(ws, &Call::Query(Query::ThreadList(open)))?.data {
            page.head("agentpm_open_threads", "gauge", "Open threads");
            page.line("agentpm_open_threads", "", &threads.rest.total.into());
        }
        if let Some(lag) = lag(ws)? {
            for (name, about, value) in [
                ("agentpm_bus_to_publish", "Acknowledged events that are not published on the bus", lag.to_publish),
                ("agentpm_bus_to_take", "Messages of the bus that are not taken in", lag.to_take),
                ("agentpm_bus_waiting", "Events of the bus that wait for their parents", lag.waiting as u64),
                ("agentpm_bus_refused", "Messages of the bus that were refused", lag.refused as u64),
            ] {
                page.head(name, "gauge", about);
                page.line(name, "", &value.into());
            }
        }
        page.head("agentpm_journal_bytes", "gauge", "Size of the present journal");
        page.line("agentpm_journal_bytes", "", &ws.runtime().map_or(0, journal::length).into());
        Ok(page.0)
    }

    fn requests(&self, page: &mut Page) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        page.head("agentpm_requests_total", "counter", "Requests that were answered, by operation and status");
        for (operation, requests) in all.iter() {
            for (status, count) in &requests.by_status {
                let labels = format!("op=\"{operation}\",status=\"{status}\"");
                page.line("agentpm_requests_total", &labels, &(*count).into());
            }
        }
        page.head("agentpm_request_seconds", "histogram", "Time from the head of a request to its answer");
        for (operation, requests) in all.iter() {
            let total: u64 = requests.by_status.values().sum();
            let label = format!("op=\"{operation}\"");
            for (bound, count) in BUCKETS.iter().zip(requests.within) {
                page.line("agentpm_request_seconds_bucket", &format!("{label},le=\"{bound}\""), &count.into());
            }
            page.line("agentpm_request_seconds_bucket", &format!("{label},le=\"+Inf\""), &total.into());
            page.line("agentpm_request_seconds_sum", &label, &requests.seconds.into());
            page.line("agentpm_request_seconds_count", &label, &total.into());
        }
    }
}

/// A page of measurements. Writing into a text cannot fail.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, about: &str) {
        let _ = write!(self.0, "# HELP {name} {about}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: &Value) {
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}
