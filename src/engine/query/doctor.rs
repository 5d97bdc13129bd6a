//! `stats` and `doctor`: the state of the plan, and of everything around it. Both only read.
//!
//! Leaves to others: repairing what is wrong (`engine::repair`).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::liveness::silence;
use super::ready;
use crate::engine::bus::lag::lag;
use crate::engine::context::Workspace;
use crate::engine::git_hooks::hooks::{Driver, driver_in};
use crate::engine::lint::{self, LintReport};
use crate::engine::repair::recover;
use crate::engine::view::{pending, read};
use crate::error::Result;
use crate::model::event::Entity;
use crate::model::finding::Severity;
use crate::model::id::{HANDLE_MIN, quoted};
use crate::model::plain::{counted, escape, first_of};
use crate::model::settings::BUS;
use crate::reports::view::Done;
use crate::runtime::bus::{LEASE_STREAM_LIMITS, known_lease_stream, refused_name};
use crate::runtime::{journal, journals, records};
use crate::store::layout::FORMAT;

/// The number of closed tasks from which a compaction is suggested.
const WORTHWHILE: usize = 200;

/// The plan in numbers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Stats {
    /// The number of tasks.
    pub tasks: u64,
    /// How many have which status.
    pub by_status: BTreeMap<String, u64>,
    /// The number of tasks that the caller could take.
    pub ready: usize,
    /// The number of events.
    pub events: u64,
    /// Steps.
    pub progress: Done,
    /// The number of context entries.
    pub context: u64,
    /// How many tasks each agent completed.
    pub completed_by: BTreeMap<String, u64>,
    /// The number of live leases.
    pub live_leases: usize,
    /// The number of registered agents.
    pub agents: usize,
}

/// The state of the plan and of everything around it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Health {
    /// Whether all checks are passed.
    pub healthy: bool,
    /// The version of the program.
    pub version: &'static str,
    /// The checks.
    pub checks: Vec<Check>,
}

/// One check of `doctor`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// Whether it is passed.
    pub ok: bool,
    /// What was found.
    pub found: String,
    /// What to do about it.
    #[serde(rename = "mend")]
    pub fix: Option<String>,
}

/// `stats`
pub fn stats(ws: &Workspace) -> Result<Stats> {
    let index = read::index(ws)?;
    let mut by_status = index.counts()?;
    let total: u64 = by_status.values().sum();
    let sums = index.sums()?;
    let mut completed_by: BTreeMap<String, u64> = BTreeMap::new();
    for (owner, count) in sums.completed_by {
        *completed_by.entry(owner.unwrap_or_else(|| "nobody".into())).or_default() += count;
    }
    let plan = read::plan(ws, &index)?;
    // A task counts as open from the end of its last blocker on, before that is recorded.
    for task in plan.tasks.values().filter(|task| plan.status(task) != task.status) {
        let recorded = by_status.entry(task.status.as_str().to_owned()).or_default();
        *recorded = recorded.saturating_sub(1);
        *by_status.entry(plan.status(task).as_str().to_owned()).or_default() += 1;
    }
    by_status.retain(|_, n| *n > 0);
    let ready = ready::offered(ws, &plan, &read::viewer_with_rights(ws)?)?.0.len();
    Ok(Stats {
        tasks: total,
        by_status,
        ready,
        events: sums.events,
        progress: Done { done: sums.steps_done, total: sums.steps },
        context: sums.context,
        completed_by,
        live_leases: read::live_leases(ws, &index)?.len(),
        agents: read::agents(ws)?.len(),
    })
}

/// `doctor`
pub fn doctor(ws: &Workspace) -> Result<Health> {
    health(ws, &lint::lint(ws)?)
}

/// The checks, with a report of lint that was made already.
pub(super) fn health(ws: &Workspace, report: &LintReport) -> Result<Health> {
    let errors = report.findings.iter().filter(|f| f.severity == Severity::Error).count();
    let warnings = report.findings.len() - errors;
    let mut checks = vec![check(
        "plan",
        errors == 0,
        format!("{}, {}, {}", counted(report.checked, "task"), counted(errors, "error"), counted(warnings, "warning")),
        "agentpm lint names each with file and line",
    )];
    checks.push(match &ws.repo {
        Some(repo) => check("repository", true, repo.work_dir.display().to_string(), ""),
        None => check("repository", false, "the store lies in no git work tree".into(), "move it into one"),
    });
    checks.push(check(
        "runtime",
        ws.runtime_trouble().is_none(),
        ws.runtime_trouble().unwrap_or_else(|| match ws.runtime() {
            Some(runtime) => runtime.path().display().to_string(),
            None => "not made yet; the first change makes it".into(),
        }),
        "changes are refused until the folder is this user's to write",
    ));
    checks.push(match ws.index_path() {
        Some(path) => check("index", true, path.display().to_string(), ""),
        None => check("index", true, "made in memory each time: this user cannot write the git folder".into(), ""),
    });
    checks.push(projected(ws)?);
    checks.extend(waits(ws)?);
    checks.extend(damaged(ws)?);
    checks.push(unreachable_events(ws)?);
    checks.extend(archives(ws)?);
    if let Some(repo) = &ws.repo {
        checks.push(match repo.objects() {
            Ok(objects) => {
                let found = match driver_in(&ws.env, &objects) {
                    Driver::Set => "set in this clone",
                    Driver::Outdated => "set for another program or version; agentpm init renews it",
                    Driver::Unset => "not set; agentpm init sets it",
                };
                check("driver", true, found.into(), "")
            }
            Err(e) => check("driver", false, e.message, "the plan works; sync, review and other branches do not"),
        });
    }
    checks.push(check(
        "format",
        ws.settings.format == FORMAT,
        format!("store {}, program {FORMAT}", ws.settings.format),
        if ws.settings.format < FORMAT { "agentpm migrate rewrites it" } else { "use a newer agentpm to write" },
    ));
    checks.push(match ws.author() {
        Ok(author) => check("agent", true, author.agent, ""),
        Err(e) => check("agent", false, e.message, "give --agent NAME or set AGENTPM_AGENT"),
    });
    checks.push(leases(ws)?);
    checks.extend(bus(ws)?);
    let healthy = checks.iter().all(|check| check.ok);
    Ok(Health { healthy, version: env!("CARGO_PKG_VERSION"), checks })
}

/// Leases and their holders. Silence is no fault, but a person should look.
fn leases(ws: &Workspace) -> Result<Check> {
    let live = read::live_leases(ws, &read::index(ws)?)?.len();
    let known = ws.runtime().map(records::leased_tasks).transpose()?.map_or(0, |tasks| tasks.len());
    let mut found = format!("{live} live, {} over", known.saturating_sub(live));
    if ws.lease_remote() == Some(BUS) && !cfg!(feature = "bus") {
        let wrong = format!("{found}; lease.remote is bus, and this agentpm was built without the feature bus");
        return Ok(check(
            "leases",
            false,
            wrong,
            "install agentpm with --features bus; until then no lease is confirmed",
        ));
    }
    if ws.lease_remote() == Some(BUS) {
        if let Some(stream) = ws.runtime().and_then(known_lease_stream).filter(|stream| !stream.loses.is_empty()) {
            let wrong = format!("{found}; {}, so that no lease is confirmed", stream.losses());
            return Ok(check("leases", false, wrong, LEASE_STREAM_LIMITS));
        }
        found.push_str(", confirmed by the message bus");
    }
    if let Some(name) = ws.lease_git_remote() {
        let remotes = ws.repo.as_ref().and_then(|repo| repo.objects().ok()).map(|objects| objects.remotes());
        if !remotes.is_some_and(|remotes| remotes.iter().any(|remote| remote == name)) {
            let wrong = format!("{found}; lease.remote names {}, and this clone has no such remote", quoted(name));
            let next = "git remote -v shows the remotes; until lease.remote names one of them, no lease is confirmed";
            return Ok(check("leases", false, wrong, next));
        }
        found.push_str(&format!(", confirmed by {name}"));
    }
    let (silent, stale) = silence(ws)?;
    let mut next = Vec::new();
    if silent > 0 {
        found.push_str(&format!("; {} silent for longer than session.limit_seconds", counted(silent, "session")));
        next.push("agentpm session list names the sessions");
    }
    if stale > 0 {
        found.push_str(&format!("; {} in progress without activity", counted(stale, "task")));
        next.push("agentpm stale names the tasks");
    }
    let mut check = check("leases", true, found, "");
    if !next.is_empty() {
        check.fix = Some(next.join("; "));
    }
    Ok(check)
}

/// How far the bridge to the message bus is behind, where there is one.
fn bus(ws: &Workspace) -> Result<Option<Check>> {
    let Some(lag) = lag(ws)? else { return Ok(None) };
    let to_publish = counted(usize::try_from(lag.to_publish).unwrap_or(usize::MAX), "event");
    let to_take = counted(usize::try_from(lag.to_take).unwrap_or(usize::MAX), "message");
    let mut found = format!("{to_publish} to publish, {to_take} to take in");
    let mut next = Vec::new();
    if let Some(at) = lag.seen_at {
        found.push_str(&format!("; the server last answered at {at}"));
    }
    if let Some(trouble) = &lag.trouble {
        found.push_str(&format!("; {}", escape(trouble)));
        next.push("agentpm bus tries again while it runs; git carries the events meanwhile".to_owned());
    }
    if lag.waiting > 0 {
        found.push_str(&format!("; {} without what they depend on", counted(lag.waiting, "event")));
        next.push("agentpm sync brings the parents".to_owned());
    }
    if lag.missed > 0 {
        let missed = counted(usize::try_from(lag.missed).unwrap_or(usize::MAX), "message");
        found.push_str(&format!("; the stream dropped {missed} before they were read"));
    }
    if lag.too_large > 0 {
        let large = counted(usize::try_from(lag.too_large).unwrap_or(usize::MAX), "event");
        found.push_str(&format!("; {large} too large for the server"));
    }
    if lag.missed > 0 || lag.too_large > 0 {
        next.push("agentpm sync carries what the bus does not".to_owned());
    }
    if let Some(last) = &lag.last_refusal {
        let path = ws.own_runtime_path().join(refused_name());
        found.push_str(&format!("; {} refused, the last one {last}", counted(lag.refused, "message")));
        next.push(format!("{} holds them; remove it to end this report", path.display()));
    }
    if lag.unreadable > 0 {
        let folder = ws.own_runtime_path().join(refused_name());
        let folder = folder.parent().unwrap_or(&folder).display().to_string();
        found.push_str(&format!("; {} in {folder} cannot be read", counted(lag.unreadable, "line")));
        next.push(
            "agentpm sync brings what they held, unless it was refused; remove refused.jsonl there to end this report"
                .to_owned(),
        );
    }
    if !lag.differs.is_empty() {
        found.push_str(&format!("; the stream is used as it is: {}", lag.differs.join(", ")));
    }
    let ok = lag.trouble.is_none() && lag.refused == 0 && lag.unreadable == 0;
    let mut check = check("bus", ok, found, "");
    check.fix = (!next.is_empty()).then(|| next.join("; "));
    Ok(Some(check))
}

/// Whether every acknowledged event is in its file.
fn projected(ws: &Workspace) -> Result<Check> {
    let length = ws.runtime().map_or(0, journal::length);
    if let Some(runtime) = ws.runtime()
        && let Some((name, line, more)) = journals::first_damaged(runtime)?
    {
        let more = if more > 0 { format!(" and {} more", counted(more, "line")) } else { String::new() };
        let found = format!("{}:{line}{more} cannot be read", runtime.path().join(name).display());
        let next = "what these lines held is in the logs alone; to end this report, move the journal away while no agentpm runs";
        return Ok(check("journal", false, found, next));
    }
    Ok(match pending::left_behind(ws)? {
        0 => check("journal", true, format!("{length} bytes; every event of this worktree is in its file"), ""),
        events => check(
            "journal",
            false,
            format!("no file holds {} yet", counted(events, "acknowledged event")),
            "agentpm resolve writes them into the files",
        ),
    })
}

/// Leases, sessions and idempotency keys whose file is damaged. They are read from the journal meanwhile.
fn damaged(ws: &Workspace) -> Result<Option<Check>> {
    const NAMED: usize = 5;
    let Some(runtime) = ws.runtime() else { return Ok(None) };
    let damaged = records::damaged(runtime, false)?;
    let named = damaged.iter().map(|(path, why)| format!("{} ({why})", runtime.path().join(path).display()));
    let found = format!("damaged: {}", first_of(named, NAMED, damaged.len()));
    Ok((!damaged.is_empty())
        .then(|| check("records", false, found, "agentpm resolve writes them again from the journal")))
}

/// Closed tasks that a compaction would move, where it is worth the while.
fn archives(ws: &Workspace) -> Result<Option<Check>> {
    let until = ws.env.now().plus(-ws.settings.compact.retention_ms());
    let tasks = read::index(ws)?.archived_until(until)?;
    let found = format!("{} in folders, archived more than {} ago", counted(tasks, "task"), days(ws));
    let mut check = check("archives", true, found, "");
    check.fix = Some("agentpm compact moves them into archives: fewer files, a faster plan".into());
    Ok((tasks >= WORTHWHILE).then_some(check))
}

fn days(ws: &Workspace) -> String {
    counted(ws.settings.compact.retention_days as usize, "day")
}

/// Records that wait for worktrees which could not be reached.
fn waits(ws: &Workspace) -> Result<Option<Check>> {
    let own = ws.store_key().map(|key| key.worktree);
    let others = ws.waiting_worktrees()?.into_iter().filter(|id| Some(*id) != own).count();
    let found = format!("acknowledged events wait for {} that could not be reached", counted(others, "worktree"));
    let mut check = check("worktrees", true, found, "");
    let next = "the next change made in such a worktree writes its files; agentpm recover lists what none holds";
    check.fix = Some(next.into());
    Ok((others > 0).then_some(check))
}

/// Events that every log has lost.
fn unreachable_events(ws: &Workspace) -> Result<Check> {
    const NAMED: usize = 10;
    let found = recover::unreachable_events(ws)?;
    let mut places: Vec<String> = Vec::new();
    for entry in &found.events {
        let place = match &entry.event.entity {
            Entity::Task(id) => id.handle(HANDLE_MIN),
            other => other.to_string(),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let unsure = found.warning.map(|warning| format!(" ({warning})")).unwrap_or_default();
    if found.events.is_empty() {
        return Ok(check("events", true, format!("every event of the journal is in a log{unsure}"), ""));
    }
    let words = format!(
        "no branch or worktree holds {} of {}{unsure}",
        counted(found.events.len(), "acknowledged event"),
        first_of(&places, NAMED, places.len())
    );
    Ok(check("events", false, words, "agentpm recover lists them, and brings back those that are wanted"))
}

fn check(name: &'static str, ok: bool, found: String, next: &str) -> Check {
    Check { check: name, ok, found, fix: (!ok).then(|| next.to_owned()) }
}
