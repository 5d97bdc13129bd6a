//! `work`: runs a command under a lease. Standard output belongs to the command, so the answer goes to standard error.

use std::ffi::OsString;

use clap::Args;

use super::output::{Output, escape};
use crate::api;
use crate::engine::query::names::{name_tasks, name_tasks_in};
use crate::engine::{self, WorkOrder, Workspace};
use crate::error::Result;
use crate::model::args::{Duration, OptionalTaskRef, Text};

#[derive(Args, Debug)]
pub struct Work {
    #[command(flatten)]
    pub id: OptionalTaskRef,
    /// Time to live of the lease, renewed after each third of it: seconds, or 90s, 10m, 2h (default: [lease] ttl_seconds)
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<Duration>,
    /// Time the command gets to end once the lease is lost (default: [work] grace_seconds)
    #[arg(long, value_name = "DURATION")]
    pub grace: Option<Duration>,
    /// Complete the task if the command ends with exit code 0
    #[arg(long)]
    pub done: bool,
    /// Outcome to record if the command ends with exit code 0
    #[arg(long, value_name = "TEXT")]
    pub outcome: Option<Text>,
    /// Command to run, after --
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

pub fn work(ws: &Workspace, args: Work) -> Result<Output> {
    let Work { id, ttl, grace, done, outcome, command } = args;
    let order = WorkOrder { task: id, ttl, grace, done, outcome, command };
    let end = engine::exec::work(ws, &order)?;
    Ok(Output {
        data: api::without_empty(&end),
        human: format!("agentpm: {}\n", escape(&end.words())),
        quiet: Some(String::new()),
        exit: end.exit,
        failure: end.failure.map(|e| name_tasks(ws, e)),
        warnings: end.warnings.iter().map(|warning| name_tasks_in(ws, warning)).collect(),
        changed: true,
        ..Output::default()
    })
}
