//! Starts other programs. No other module starts a process.
//!
//! Guarantees that a program is found in an absolute folder of PATH outside the work tree. It inherits no variable that could
//! lead git to another repository, and it cannot prompt. It and its children end by a deadline.
//! Leaves to others: what the program is for.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::{Env, outside};
use crate::error::{Code, Error, Result};

/// The most bytes of output that are kept.
const MAX_OUTPUT: u64 = 256 * 1024 * 1024;
/// How long the children of a program that has ended may keep its output open.
const LINGER: Duration = Duration::from_millis(500);

/// Prefixes of the git variables that a program inherits: identity, configuration and access to a remote. All other git
/// variables are removed.
const INHERITED: &[&str] = &[
    "GIT_AUTHOR_NAME",
    "GIT_AUTHOR_EMAIL",
    "GIT_COMMITTER_NAME",
    "GIT_COMMITTER_EMAIL",
    "GIT_ASKPASS",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_KEY_",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_VALUE_",
    "GIT_HTTP_",
    "GIT_PROXY_",
    "GIT_SSH",
    "GIT_SSL_",
];

/// A program to start.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its absolute path.
    pub program: &'a Path,
    /// Its arguments.
    pub args: Vec<String>,
    /// The folder it starts in.
    pub dir: &'a Path,
    /// Variables that are added to the inherited ones or replace them.
    pub vars: Vec<(String, OsString)>,
    /// What it reads from its standard input.
    pub input: Vec<u8>,
    /// When it must have ended, from now.
    pub deadline: Duration,
}

/// The result of a program.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, with invalid UTF-8 replaced.
    pub stderr: String,
    /// Whether it was stopped at its deadline.
    pub timed_out: bool,
}

impl Env {
    /// Finds the absolute path of a program: in the first folder of PATH that has it. Relative folders and those within
    /// `outside` are skipped, so that no file of a repository is ever started.
    ///
    /// Errors: `ERR_GIT` if there is none.
    pub fn find_program(&self, name: &str, outside: &Path) -> Result<PathBuf> {
        let folders = std::env::split_paths(self.var("PATH").unwrap_or("/usr/local/bin:/usr/bin:/bin"));
        let is_outside = |path: &Path| !path.starts_with(outside);
        folders
            .filter(|folder| folder.is_absolute() && outside::canonical(folder).is_ok_and(|real| is_outside(&real)))
            .map(|folder| folder.join(name))
            .find(|path| {
                let real = outside::canonical(path).ok();
                real.is_some_and(|real| is_outside(&real) && outside::metadata(&real).is_ok_and(|m| m.is_file()))
            })
            .ok_or_else(|| {
                Error::new(Code::Git, format!("there is no program {name} on PATH"))
                    .hint(format!("install {name}, or add its folder to PATH; the plan itself does not need it"))
            })
    }

    /// The path of the running program, for commands that git calls.
    ///
    /// Errors: `ERR_IO` if the system does not report it.
    pub fn own_program(&self) -> Result<PathBuf> {
        std::env::current_exe().map_err(|e| Error::io("find", "the path of agentpm".as_ref(), &e))
    }

    fn inherited(&self) -> BTreeMap<&str, &str> {
        let mut vars: BTreeMap<&str, &str> = self
            .vars
            .iter()
            .filter(|(name, _)| !name.starts_with("GIT_") || INHERITED.iter().any(|kept| name.starts_with(kept)))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        vars.extend([
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("SSH_ASKPASS_REQUIRE", "never"),
            ("GIT_EDITOR", "false"),
            ("GIT_PAGER", "cat"),
        ]);
        // A program that answers for the user is the user's choice; a prompt would wait for ever.
        vars.entry("GIT_ASKPASS").or_insert("false");
        vars
    }

    /// Starts a program and waits until it ends or its deadline passes.
    ///
    /// Errors: `ERR_IO` if it cannot be started. The [`Outcome`] reports its own failure.
    pub fn run(&self, call: Call<'_>) -> Result<Outcome> {
        let shown = |e: &std::io::Error| Error::io("start", call.program, e);
        let mut child = Command::new(call.program)
            .args(&call.args)
            .current_dir(call.dir)
            .env_clear()
            .envs(self.inherited())
            .envs(call.vars.iter().map(|(name, value)| (name, value)))
            .stdin(input(&call.input).map_err(|e| shown(&e))?)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A process group of its own, so that its children can be ended with it.
            .process_group(0)
            .spawn()
            .map_err(|e| shown(&e))?;
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        let timed_out = !wait(&child, call.deadline).map_err(|e| shown(&e))?;
        if timed_out && let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
            // The group may have ended in the meantime; then there is nothing left to stop.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let status = child.wait().map_err(|e| shown(&e))?;
        let text = |pipe: Receiver<Vec<u8>>| pipe.recv_timeout(LINGER).unwrap_or_default();
        Ok(Outcome {
            code: status.code(),
            stdout: text(stdout),
            stderr: String::from_utf8_lossy(&text(stderr)).into_owned(),
            timed_out,
        })
    }
}

/// Writes the whole input before the program starts. A program that outlives us must not take half of its input for the
/// whole.
fn input(bytes: &[u8]) -> std::io::Result<Stdio> {
    if bytes.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.map(|pipe| pipe.take(MAX_OUTPUT).read_to_end(&mut bytes));
        drop(read);
        // The receiver may have given up.
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits for a process to end; `false` if the deadline passes first.
fn wait(child: &Child, deadline: Duration) -> std::io::Result<bool> {
    let Some(pid) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) else { return Ok(true) };
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let start = Instant::now();
    loop {
        let left = deadline.saturating_sub(start.elapsed());
        let left =
            Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&left)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Opens a file in the user's editor and waits. The command comes from the user's environment, never from a repository. Its
/// words are those of a shell, with quotes and backslashes; no shell runs, so variables and `~` mean themselves.
///
/// Errors: `ERR_USAGE` if it has an unclosed quote; `ERR_IO` if it cannot be started or fails.
pub fn run_editor(editor: &str, path: &Path) -> Result<()> {
    let words = shlex::split(editor).ok_or_else(|| {
        Error::usage(format!("the editor command has an unclosed quote or ends in a backslash: {editor}"))
            .hint("set EDITOR or VISUAL as for a shell: EDITOR='\"/path with spaces/editor\" --wait'")
    })?;
    let mut words = words.into_iter();
    let program = words.next().unwrap_or_else(|| "vi".to_owned());
    let status = Command::new(&program)
        .args(words)
        .arg::<&OsStr>(path.as_ref())
        .status()
        .map_err(|e| Error::io("start the editor", program.as_ref(), &e))?;
    if status.success() { Ok(()) } else { Err(Error::new(Code::Io, format!("the editor {program} failed: {status}"))) }
}

/// A flag that is raised when a signal asks this process to end. It does not end by itself any more.
///
/// Errors: `ERR_IO` if signals cannot be listened for.
#[cfg(feature = "bus")]
pub fn ends_on_signal() -> Result<std::sync::Arc<std::sync::atomic::AtomicBool>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let flag = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, std::sync::Arc::clone(&flag))
            .map_err(|e| Error::new(Code::Io, format!("could not listen for signals: {e}")))?;
    }
    Ok(flag)
}

/// Sleeps, so that other processes can proceed.
pub fn pause(span: Duration) {
    std::thread::sleep(span);
}
