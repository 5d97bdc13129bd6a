//! A command that a person typed, run in the foreground of ours.
//!
//! Promises: it has our standard input and outputs and our environment; signals meant for it reach it, each once; it can be
//! asked to end and made to. It is the caller's own choice: PATH counts as it is, and no file of a repository names it.
//! Refuses to know: what it is for.
//!
//! On a terminal that is ours it stays in our process group, as any job of a shell: keys reach both of us, and `fg` and `bg`
//! work. Elsewhere it has a group of its own, so that all it started can be ended with it, and signals are passed on.

use std::ffi::OsString;
use std::io::{Result, stderr, stdin, stdout};

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group, test_kill_process_group};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::files;

/// How often it is looked whether others of its group are still there after the command itself has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// Whom signals go to.
#[derive(Clone, Copy)]
struct Target {
    pid: Pid,
    own_group: bool,
}

impl Target {
    /// Sends a signal to the command, and to all of its group where it has one of its own.
    fn send(self, signal: Signal) {
        // It may have ended meanwhile; then there is nobody to tell.
        let _ = if self.own_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }
}

/// A command that is running.
pub struct Foreground {
    target: Target,
    end: Receiver<Result<ExitStatus>>,
    ended: Option<Ended>,
    over: Arc<AtomicBool>,
    signals: Handle,
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.signals.close();
    }
}

impl Foreground {
    /// Starts a command: a program as a shell would find it, and its arguments, with some variables besides our own.
    ///
    /// Errors: those of the system; `NotFound` where there is no such program.
    pub fn start(program: &OsString, args: &[OsString], vars: &[(&str, String)]) -> Result<Self> {
        let own_group = !is_ours(&stdin()) && !is_ours(&stdout()) && !is_ours(&stderr());
        // What we are told to ignore the command ignores too, as under nohup.
        let mut wanted = vec![SIGINT, SIGQUIT, SIGTERM, SIGHUP];
        wanted.extend(own_group.then_some([SIGTSTP, SIGCONT]).into_iter().flatten());
        let ignored = ignored();
        wanted.retain(|signal| ignored >> (signal - 1) & 1 == 0);
        // Before it starts: from then on a signal must not end us and leave it alone.
        let signals = Signals::new(wanted)?;
        let handle = signals.handle();
        let mut command = Command::new(program);
        command.args(args).envs(vars.iter().map(|(name, value)| (name, value)));
        if own_group {
            command.process_group(0);
        }
        let child = command.spawn().inspect_err(|_| handle.close())?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(std::io::ErrorKind::InvalidData)?;
        let target = Target { pid, own_group };
        let over = Arc::new(AtomicBool::new(false));
        let end = watch(child, Arc::clone(&over));
        pass_on(signals, target, Arc::clone(&over));
        Ok(Foreground { target, end, ended: None, over, signals: handle })
    }

    /// Waits until it ends, at most so long; `None` where it goes on.
    ///
    /// Errors: those of the system, where it cannot be waited for.
    pub fn wait(&mut self, most: Duration) -> Result<Option<Ended>> {
        if self.ended.is_none()
            && let Ok(status) = self.end.recv_timeout(most)
        {
            let status = status?;
            let signal = status.signal().map(Ended::Signal);
            self.ended = signal.or_else(|| status.code().map(Ended::Code));
        }
        Ok(self.ended)
    }

    /// Asks it to end, with all of its group; makes it, where it has not by the end of the grace.
    ///
    /// Errors: as [`Foreground::wait`].
    pub fn stop(&mut self, grace: Duration) -> Result<Option<Ended>> {
        let until = Instant::now() + grace;
        match self.target.own_group {
            // The job of a shell is a group of its own, and we are one of it: we hear it too, and go on.
            false if getpgrp() == getpid() => drop(kill_process_group(getpgrp(), Signal::TERM)),
            _ => self.target.send(Signal::TERM),
        }
        // Who was stopped must go on to hear it.
        self.target.send(Signal::CONT);
        while !self.is_gone() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.target.send(Signal::KILL);
                break;
            }
            match self.ended {
                None => drop(self.wait(left)?),
                Some(_) => super::process::pause(LOOK_EVERY.min(left)),
            }
        }
        // What was killed ends; only the disk can hold it up.
        self.wait(Duration::from_secs(5))
    }

    /// Whether it has ended, with all of its own group.
    fn is_gone(&self) -> bool {
        self.over.load(Ordering::SeqCst)
            && self.ended.is_some()
            && !(self.target.own_group && test_kill_process_group(self.target.pid).is_ok())
    }
}

/// Whether this is a terminal in whose foreground we are.
fn is_ours(stream: &(impl std::io::IsTerminal + std::os::fd::AsFd)) -> bool {
    stream.is_terminal() && rustix::termios::tcgetpgrp(stream.as_fd()).is_ok_and(|group| group == getpgrp())
}

/// The signals that this process was started to ignore, as bits from signal 1 on.
fn ignored() -> u64 {
    let status = files::read_outside("/proc/self/status".as_ref(), 64 * 1024).unwrap_or_default();
    let text = String::from_utf8_lossy(&status);
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn watch(mut child: Child, over: Arc<AtomicBool>) -> Receiver<Result<ExitStatus>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let status = child.wait();
        over.store(true, Ordering::SeqCst);
        // Whoever waited may have given up.
        let _ = sender.send(status);
    });
    receiver
}

/// Passes on what is sent to us, in a thread of its own: whoever minds the lease may be waiting for a lock.
fn pass_on(mut signals: Signals, target: Target, over: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for number in signals.forever() {
            let Some(signal) = Signal::from_named_raw(number) else { continue };
            // The terminal sends these to the whole group: the command has heard them.
            let heard = !target.own_group && (number == SIGINT || number == SIGQUIT);
            if !heard && !over.load(Ordering::SeqCst) {
                target.send(signal);
            }
            if number == SIGTSTP {
                // The command sleeps, so we do; a failure only leaves us awake.
                let _ = emulate_default_handler(SIGTSTP);
            }
        }
    });
}
