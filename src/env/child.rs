//! Runs a command that the user typed, in the foreground.
//!
//! Guarantees that the command has our standard input, outputs and environment, and receives each signal meant for it once.
//! It can be asked to end, and forced to. PATH counts as it is: the command is the caller's choice, and no file of a
//! repository names it.
//! Leaves to others: what the command is for.
//!
//! On our terminal it stays in our process group, as a job of a shell does: keys reach both, and `fg` and `bg` work.
//! Elsewhere it has a process group of its own, so that its children can be ended with it, and signals are passed on.

use std::ffi::OsString;
use std::io::{Result, stderr, stdin, stdout};

use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpgrp, getpid, kill_process, kill_process_group, test_kill_process_group};
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;

use super::outside;

/// How often to check whether other processes of its group are left after the command itself has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

/// The process or group that receives signals.
#[derive(Clone, Copy)]
struct Target {
    pid: Pid,
    own_group: bool,
}

impl Target {
    /// Sends a signal to the command, or to its whole group if it has its own.
    fn send(self, signal: Signal) {
        // The command may have ended in the meantime; then no process is left to signal.
        let _ = if self.own_group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }
}

/// A running command.
pub struct ForegroundChild {
    target: Target,
    end: Receiver<Result<ExitStatus>>,
    ended: Option<Exit>,
    over: Arc<AtomicBool>,
    signals: Handle,
}

impl Drop for ForegroundChild {
    fn drop(&mut self) {
        self.signals.close();
    }
}

impl ForegroundChild {
    /// Starts a command: a program as a shell finds it, its arguments, and variables added to our own.
    ///
    /// Errors: those of the system; `NotFound` if there is no such program.
    pub fn start(program: &OsString, args: &[OsString], vars: &[(&str, String)]) -> Result<Self> {
        let own_group = !is_ours(&stdin()) && !is_ours(&stdout()) && !is_ours(&stderr());
        // The command ignores the signals that we were started to ignore, as under nohup.
        let mut wanted = vec![SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO];
        wanted.push(SIGWINCH);
        wanted.extend(own_group.then_some([SIGTSTP, SIGCONT]).into_iter().flatten());
        let ignored = ignored();
        wanted.retain(|signal| ignored >> (signal - 1) & 1 == 0);
        // Before the command starts: from then on, a signal must not end us and leave the command running.
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
        Ok(ForegroundChild { target, end, ended: None, over, signals: handle })
    }

    /// Waits until it ends, at most for `most`; `None` if it is still running.
    ///
    /// Errors: those of the system if it cannot be waited for.
    pub fn wait(&mut self, most: Duration) -> Result<Option<Exit>> {
        if self.ended.is_none()
            && let Ok(status) = self.end.recv_timeout(most)
        {
            let status = status?;
            let signal = status.signal().map(Exit::Signal);
            self.ended = signal.or_else(|| status.code().map(Exit::Code));
        }
        Ok(self.ended)
    }

    /// Asks it and its group to end, and kills them after the grace period.
    ///
    /// Errors: as [`ForegroundChild::wait`].
    pub fn stop(&mut self, grace: Duration) -> Result<Option<Exit>> {
        let until = Instant::now() + grace;
        match self.target.own_group {
            // A job of a shell is a group, and we belong to it: we receive the signal too, and continue.
            false if getpgrp() == getpid() => drop(kill_process_group(getpgrp(), Signal::TERM)),
            _ => self.target.send(Signal::TERM),
        }
        // A stopped process must continue to receive the signal.
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
        // A killed process ends; only the disk can delay it.
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
    let status = outside::read("/proc/self/status".as_ref(), 64 * 1024).unwrap_or_default();
    let text = String::from_utf8_lossy(&status);
    let mask = text.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn watch(mut child: Child, over: Arc<AtomicBool>) -> Receiver<Result<ExitStatus>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let status = child.wait();
        over.store(true, Ordering::SeqCst);
        // The receiver may have given up.
        let _ = sender.send(status);
    });
    receiver
}

/// Passes signals on, in a thread of its own: the thread that renews the lease may be waiting for a lock.
fn pass_on(mut signals: Signals, target: Target, over: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        for number in signals.forever() {
            let Some(signal) = Signal::from_named_raw(number) else { continue };
            // The terminal sends these to the whole group, so the command has received them already.
            let heard = !target.own_group && matches!(number, SIGINT | SIGQUIT | SIGWINCH);
            if !heard && !over.load(Ordering::SeqCst) {
                target.send(signal);
            }
            if number == SIGTSTP {
                // We sleep as the command does; if this fails, we only stay awake.
                let _ = emulate_default_handler(SIGTSTP);
            }
        }
    });
}
