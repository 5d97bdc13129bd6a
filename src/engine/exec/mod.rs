//! Runs a command under a lease: acquired before it starts, renewed while it runs, released when it has ended.
//!
//! Guarantees that the lease is renewed through the one write path, and that a command whose lease is lost is ended: two agents
//! never work on one task for longer than the grace. What the command itself did with its task stays.
//! Leaves to others: what the command does, and how processes are started.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use crate::engine::commit::write;
use crate::engine::context::{Request, Workspace};
use crate::engine::view::held_task::named_or_held;
use crate::engine::view::read;
use crate::env::child::{Exit, ForegroundChild};
use crate::error::{Code, Error, Result};
use crate::model::agent::Lease;
use crate::model::args::{self, Object, OptionalSessionRef, OptionalTaskRef, TaskRef, TaskTexts, Text};
use crate::model::command::{
    Claim, Command, ContextAdd, Done, Guard, LeaseRelease, LeaseRenew, Release, SessionEnd, SessionHeartbeat,
    SessionStart,
};
use crate::model::context::ContextType;
use crate::model::id::Id;
use crate::model::task::{Status, Task};
use crate::model::time::Time;
use crate::rules::lease::{self, Standing};
use crate::rules::review::unmet_criteria;
use crate::rules::session::is_its_own;

/// The longest time until a lease that another agent took is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Least time between two renewals.
const MIN_BEAT: Duration = Duration::from_millis(50);
/// Most characters of a command line that are kept.
const MAX_WORDS: usize = 200;

/// What is to be run, and how.
#[derive(Debug)]
pub struct WorkOrder {
    /// The task.
    pub task: OptionalTaskRef,
    /// Time to live of the lease; the usual one where absent.
    pub ttl: Option<args::Duration>,
    /// How long the command may take to end once the lease is lost; the usual time where absent.
    pub grace: Option<args::Duration>,
    /// Complete the task where the command ends well.
    pub done: bool,
    /// The outcome to record where the command ends well.
    pub outcome: Option<Text>,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

/// The result.
#[derive(Debug, Serialize)]
pub struct WorkEnd {
    /// The task.
    pub task: Id,
    /// The lease it ran under.
    pub lease: Id,
    /// The session it ran in.
    pub session: Option<Id>,
    /// The command line, cut.
    pub command: String,
    /// Its exit code; `None` where a signal ended it or it never began.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it ran.
    pub seconds: f64,
    /// The context entry with the outcome, where one was given.
    pub outcome: Option<Id>,
    /// The task was completed for it.
    pub completed: bool,
    /// The task was released: open, without an owner.
    pub released: bool,
    /// The exit code that says all this.
    #[serde(skip)]
    pub exit: u8,
    /// Why it did not end as it should: lease lost, not started, task not to be completed.
    #[serde(skip)]
    pub failure: Option<Error>,
    /// Warnings.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// How the task stood before, and so what is to be released.
struct Acquisition {
    /// It was not the caller's work before.
    task: bool,
    /// The caller had no live lease before.
    lease: bool,
}

/// The lease while the command runs.
struct Hold {
    task: Id,
    ttl: Option<args::Duration>,
    expires_at: Time,
    beat: Duration,
    next: Instant,
    /// The command released it itself.
    let_go: bool,
}

/// Runs a command under the lease of a task, in a session of its own where none is named.
///
/// Errors: `ERR_NOT_FOUND` for the task and the refusals of a claim; then nothing was started. What happens later is in
/// [`WorkEnd::failure`].
pub fn work(ws: &Workspace, order: &WorkOrder) -> Result<WorkEnd> {
    ws.choose_runtime_place();
    let task = named_or_held(ws, &order.task)?;
    let (ws, begun) = enter_session(ws, task)?;
    let mut end = work_on(&ws, task, order);
    if let Some(session) = begun {
        let over = write::execute(
            &ws,
            &Command::SessionEnd(SessionEnd { session_id: OptionalSessionRef(Some(session.to_string())) }),
        );
        if let Ok(end) = &mut end {
            end.warnings.extend(match over {
                Ok(reply) => reply.warnings,
                Err(e) => vec![format!("session {session} could not be ended: {}", e.message)],
            });
        }
    }
    end
}

/// The request in a session: the named one, that of the caller's own lease, or a new one, whose id is returned too.
fn enter_session(ws: &Workspace, task: Id) -> Result<(Workspace, Option<Id>)> {
    let me = ws.author()?;
    let within = |session: Option<String>| ws.for_request(Request { session, ..ws.request.clone() });
    if me.session.is_some() {
        return Ok((within(ws.request.session.clone()), None));
    }
    if let Some(Standing::Mine(lease)) = read::standing(ws, &read::recorded_lease(ws, task)?)
        && let Some(id) = lease.session
        && read::session_record(ws, id)?.is_some_and(|session| is_its_own(&session, &me.agent))
    {
        return Ok((within(Some(id.to_string())), None));
    }
    let metadata = json!({ "command": "work", "task": task });
    let metadata = metadata.as_object().cloned().map(Object);
    let begun = write::execute(ws, &Command::SessionStart(SessionStart { agent_id: None, metadata }))?;
    let id = begun.subject.id();
    Ok((within(id.map(|id| id.to_string())), id))
}

fn work_on(ws: &Workspace, task: Id, order: &WorkOrder) -> Result<WorkEnd> {
    let me = ws.author()?;
    let loaded = read::load_task(ws, task)?;
    let before = &loaded.task;
    refuse_unmet(order, before)?;
    let held = matches!(read::standing(ws, &read::lease_record_by_log(ws, &loaded)?), Some(Standing::Mine(_)));
    let claim = Claim { id: OptionalTaskRef(Some(task.to_string())), ttl: order.ttl, ..Claim::default() };
    let claimed = write::execute(ws, &Command::Claim(claim))?;
    let owned = before.status == Status::InProgress && before.owner.as_ref() == Some(&me.agent);
    let taken = Acquisition { task: !owned, lease: !held };
    let lease = own_lease(ws, task)?;
    let mut end = WorkEnd {
        task,
        lease: lease.id,
        session: me.session,
        command: command_line(&order.command),
        exit_code: None,
        signal: None,
        seconds: 0.0,
        outcome: None,
        completed: false,
        released: false,
        exit: 0,
        failure: None,
        warnings: claimed.warnings,
    };
    let mut vars = vec![
        ("AGENTPM_TASK", task.to_string()),
        ("AGENTPM_LEASE", lease.id.to_string()),
        ("AGENTPM_AGENT", me.agent.clone()),
    ];
    vars.extend(me.session.map(|id| ("AGENTPM_SESSION", id.to_string())));
    if ws.is_named {
        vars.push(("AGENTPM_STORE", ws.store.path().display().to_string()));
    }
    let (program, args) = order.command.split_first().ok_or_else(|| Error::usage("there is no command to run"))?;
    let start = Instant::now();
    let mut running = match ForegroundChild::start(program, args, &vars) {
        Ok(running) => running,
        Err(e) => {
            let missing = e.kind() == std::io::ErrorKind::NotFound;
            end.exit = if missing { 127 } else { 126 };
            let code = if missing { Code::NotFound } else { Code::Io };
            let why = format!("{} could not be started: {e}", end.command);
            give_back(ws, &taken, &why, &mut end);
            end.failure = Some(
                Error::new(code, why)
                    .with(json!({ "task": task, "command": end.command }))
                    .hint("give the command after --: a program on PATH or a path, and its arguments"),
            );
            return Ok(end);
        }
    };
    let grace = order.grace.map_or(Duration::from_secs(ws.settings.work.grace_seconds.into()), span);
    let broken = |e: std::io::Error| Error::io("wait for", program.as_ref(), &e);
    let mut hold = hold(ws, &lease, order.ttl);
    let ended = loop {
        let most = hold.next.saturating_duration_since(Instant::now()).min(LOOK_EVERY);
        if let Some(ended) = running.wait(most).map_err(broken)? {
            break ended;
        }
        if let Err(lost) = keep(ws, &mut hold) {
            let ended = running.stop(grace).map_err(broken)?;
            end.seconds = seconds(start);
            end.say(ended);
            return Ok(end.lost(lost));
        }
    };
    end.seconds = seconds(start);
    end.say(Some(ended));
    // Time may have passed unseen while we were stopped: the command ended, but under whose lease?
    hold.next = Instant::now();
    if let Err(lost) = keep(ws, &mut hold) {
        return Ok(end.lost(lost));
    }
    let now = read::load_task(ws, task)?.task;
    if hold.let_go {
        return Ok(end);
    }
    if now.status != Status::InProgress || now.owner.as_ref() != Some(&me.agent) {
        // Another agent moved the task; only the lease is left to release.
        give_back(ws, &Acquisition { task: false, lease: taken.lease }, "", &mut end);
        return Ok(end);
    }
    finish_work(ws, order, &taken, ended, &mut end);
    Ok(end)
}

/// Refuses to begin what could not be completed afterwards.
fn refuse_unmet(order: &WorkOrder, task: &Task) -> Result<()> {
    let unmet: Vec<&str> = task.unmet().collect();
    if !order.done || unmet.is_empty() {
        return Ok(());
    }
    let (id, words) = (task.id, unmet_criteria(unmet.len()));
    Err(Error::state(format!("task {id} has {words}, so --done could not complete it; nothing was run"))
        .with(json!({ "task": id, "unmet": unmet }))
        .hint_command(format!(
            "mark them first: agentpm task verify {id} --criterion N; or leave out --done and run agentpm done {id} --all-met afterwards"
        )))
}

/// Completes, releases or leaves the task, and records the outcome that the caller gave for a command that ends well.
fn finish_work(ws: &Workspace, order: &WorkOrder, taken: &Acquisition, ended: Exit, end: &mut WorkEnd) {
    let why = format!("{} ended {} after {:.1} s", end.command, how(ended), end.seconds);
    if ended != Exit::Code(0) {
        give_back(ws, taken, &why, end);
        return;
    }
    if let Some(outcome) = &order.outcome {
        let metadata = json!({ "command": end.command, "exit_code": end.exit_code, "seconds": end.seconds });
        let note = ContextAdd {
            what: TaskTexts::new(end.task, vec![outcome.clone()]),
            kind: ContextType::Outcome,
            metadata: metadata.as_object().cloned().map(Object),
        };
        match write::execute(ws, &Command::ContextAdd(note)) {
            Ok(reply) => end.outcome = reply.subject.id(),
            Err(e) => end.warnings.push(format!("the outcome could not be recorded: {}", e.message)),
        }
    }
    if order.done {
        let done = Done { id: OptionalTaskRef(Some(end.task.to_string())), ..Done::default() };
        match write::execute(ws, &Command::Done(done)) {
            Ok(reply) => {
                end.completed = true;
                end.warnings.extend(reply.warnings);
                return;
            }
            Err(e) => {
                end.exit = e.code.exit();
                end.failure = Some(e);
            }
        }
    }
    // The task stays its owner's.
    give_back(ws, &Acquisition { task: false, lease: taken.lease }, &why, end);
}

/// Gives back what was taken for the command; what the owner had before stays.
fn give_back(ws: &Workspace, taken: &Acquisition, why: &str, end: &mut WorkEnd) {
    let id = end.task.to_string();
    let command = match taken {
        Acquisition { task: true, .. } => {
            let guard = Guard { why: Some(why.into()), ..Guard::default() };
            Command::Release(Release { id: OptionalTaskRef(Some(id)), guard })
        }
        Acquisition { lease: true, .. } => Command::LeaseRelease(LeaseRelease { id: TaskRef(id) }),
        Acquisition { .. } => return,
    };
    match write::execute(ws, &command) {
        Ok(_) => end.released = taken.task,
        Err(e) => end.warnings.push(format!("task {} could not be released: {}", end.task, e.message)),
    }
}

fn own_lease(ws: &Workspace, task: Id) -> Result<Lease> {
    let lease = read::recorded_lease(ws, task)?.lease;
    lease.ok_or_else(|| Error::new(Code::LeaseLost, format!("the lease of task {task} is gone")))
}

fn hold(ws: &Workspace, lease: &Lease, ttl: Option<args::Duration>) -> Hold {
    let whole = ttl.map_or(i64::from(ws.settings.lease.ttl_seconds) * 1_000, |ttl| ttl.millis);
    // The session must not fall silent either where a lease lives longer than that takes.
    let least = whole.min(ws.settings.session.limit_ms().max(1));
    let beat = Duration::from_millis(least.unsigned_abs() / 3).max(MIN_BEAT);
    let next = Instant::now() + beat;
    Hold { task: lease.task, ttl, expires_at: lease.expires_at, beat, next, let_go: false }
}

/// Looks after the lease: renews it where that is due or its time is over already.
///
/// Errors: `ERR_LEASE_LOST` naming who has it, or why it could not be kept.
fn keep(ws: &Workspace, hold: &mut Hold) -> Result<()> {
    let due = Instant::now() >= hold.next || ws.env.now() >= hold.expires_at;
    match read::recorded_lease(ws, hold.task) {
        Ok(record) => match read::standing(ws, &record) {
            Some(Standing::Others(other) | Standing::OthersExpired(other)) => return Err(taken_by(&other)),
            // The agent that took it over may have released it since.
            Some(Standing::Free) if ws.author().is_ok_and(|me| lease::is_lost(&record, &me)) => {
                return Err(lease::lost_and_gone(hold.task, &record));
            }
            Some(Standing::Free) => hold.let_go = true,
            _ => hold.let_go = false,
        },
        // It may be in the middle of being replaced; renewing says more.
        Err(e) => tracing::warn!(task = %hold.task, error = %e, "the lease could not be read"),
    }
    if !due {
        return Ok(());
    }
    let renewed = match hold.let_go {
        true => heartbeat(ws),
        false => {
            let renew = LeaseRenew { id: OptionalTaskRef(Some(hold.task.to_string())), ttl: hold.ttl };
            write::execute(ws, &Command::LeaseRenew(renew)).map(|_| ())
        }
    };
    hold.next = Instant::now() + hold.beat;
    match renewed {
        Ok(()) => {
            if let Some(lease) = read::recorded_lease(ws, hold.task).ok().and_then(|record| record.lease) {
                hold.expires_at = lease.expires_at;
            }
            Ok(())
        }
        // Without a lease of our own there is nothing to lose.
        Err(_) if hold.let_go => Ok(()),
        Err(e) if matches!(e.code, Code::LeaseLost | Code::LeaseExpired | Code::LeaseHeld) => {
            match read::recorded_lease(ws, hold.task).map(|record| (read::standing(ws, &record), record.lease)) {
                Ok((Some(Standing::Others(other) | Standing::OthersExpired(other)), _)) => Err(taken_by(&other)),
                // Given back by the command between the look and the renewal.
                Ok((_, None)) if e.details["holder"].is_null() && e.details["taken_by"].is_null() => {
                    hold.let_go = true;
                    Ok(())
                }
                _ => Err(Error { code: Code::LeaseLost, ..e }),
            }
        }
        Err(e) if ws.env.now() >= hold.expires_at => Err(Error::new(
            Code::LeaseLost,
            format!("the lease of task {} expired and could not be renewed: {}", hold.task, e.message),
        )
        .with(json!({ "task": hold.task, "expires_at": hold.expires_at, "reason": e.code }))),
        Err(e) => {
            tracing::warn!(task = %hold.task, error = %e, "the lease was not renewed; trying again soon");
            hold.next = Instant::now() + (hold.beat / 4).clamp(MIN_BEAT, LOOK_EVERY);
            Ok(())
        }
    }
}

fn heartbeat(ws: &Workspace) -> Result<()> {
    let Some(session) = ws.author()?.session else { return Ok(()) };
    let beat = SessionHeartbeat { session_id: OptionalSessionRef(Some(session.to_string())) };
    write::execute(ws, &Command::SessionHeartbeat(beat)).map(|_| ())
}

impl WorkEnd {
    fn say(&mut self, ended: Option<Exit>) {
        (self.exit_code, self.signal) = match ended {
            Some(Exit::Code(code)) => (Some(code), None),
            Some(Exit::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        let code = self.exit_code.or(self.signal.map(|signal| 128 + signal)).unwrap_or(1);
        self.exit = u8::try_from(code).unwrap_or(1);
    }

    fn lost(mut self, why: Error) -> Self {
        self.exit = why.code.exit();
        let mut details = *why.details.clone();
        if !details.is_object() {
            details = json!({ "task": self.task });
        }
        details["exit_code"] = json!(self.exit_code);
        details["signal"] = json!(self.signal);
        let hint = "what the command did to files stays; nothing more was recorded; other work: agentpm next --claim";
        self.failure =
            Some(Error::new(why.code, format!("{}; the command has ended", why.message)).with(details).hint(hint));
        self
    }

    /// The result in one line.
    pub fn words(&self) -> String {
        let ended = match (self.exit_code, self.signal) {
            (Some(code), _) => how(Exit::Code(code)),
            (None, Some(signal)) => how(Exit::Signal(signal)),
            (None, None) => "before it began".into(),
        };
        let then = match (self.completed, self.released) {
            (true, _) => "; the task is completed",
            (_, true) => "; the task is open again",
            _ => "",
        };
        format!("task {}: ended {ended} after {:.1} s{then}", self.task, self.seconds)
    }
}

fn taken_by(lease: &Lease) -> Error {
    let within = lease.session.map(|id| format!(" (session {id})")).unwrap_or_default();
    let details: Value = json!({ "task": lease.task, "holder": lease.agent, "session": lease.session, "lease": lease.id,
        "fence": lease.fence, "expires_at": lease.expires_at });
    Error::new(Code::LeaseLost, format!("the lease of task {} was taken over by {}{within}", lease.task, lease.agent))
        .with(details)
}

fn how(ended: Exit) -> String {
    match ended {
        Exit::Code(code) => format!("with exit code {code}"),
        Exit::Signal(signal) => format!("by signal {signal}"),
    }
}

fn seconds(start: Instant) -> f64 {
    (start.elapsed().as_secs_f64() * 1_000.0).round() / 1_000.0
}

fn span(duration: args::Duration) -> Duration {
    Duration::from_millis(duration.millis.unsigned_abs())
}

/// The words of a command in one line, as one could type them, cut where it is long.
fn command_line(words: &[OsString]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    let shown = words.iter().map(|word| {
        let word = word.to_string_lossy();
        match !word.is_empty() && word.chars().all(plain) {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    let line = shown.collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_WORDS) {
        None => line,
        Some((cut, _)) => format!("{}…", &line[..cut]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again_unless_it_is_long() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert_eq!(command_line(&words(&["sh", "-c", "it's $1", ""])), r"sh -c 'it'\''s $1' ''");
        assert_eq!(command_line(&words(&["ä".repeat(300).as_str()])), "ä".repeat(200) + "…");
    }
}
