//! What the tests take from the machine: a PATH with nothing but the tools named here, ordinary signals and permissions, a place
//! for their files, and a deadline for every story. Whatever else is installed or set makes no difference.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

/// Every program that a story, a hook or git itself may call.
const TOOLS: &str = "git sh bash env cat chmod chown cmp cp cut date dirname basename echo expr false find grep head id kill ln \
                     ls mkdir mkfifo mktemp mv printf pwd readlink rm rmdir sed seq sleep sort stat tail tee test timeout touch \
                     tr true uname uniq wc xargs awk diff tar gzip perl mount umount setpriv prlimit setsid script strace cc python3 gpg \
                     ssh-keygen curl pre-commit lefthook mcp-python-1 mcp-python-2 schemathesis chromium nats-server nats-python";

/// Skips a test where the machine lacks a tool that it needs.
macro_rules! needs {
    ($($tool:literal),+) => {
        if crate::machine::lacks(&[$($tool),+]) {
            return;
        }
    };
}
pub(crate) use needs;

/// How long a story may wait for the last program it started, before its programs are killed; and how long until it has noticed.
const PATIENCE: Duration = Duration::from_secs(300);
const GRACE: Duration = Duration::from_secs(30);

/// A file system in memory, where flushing costs nothing; and how much of it must be free. The stories of a whole run need a
/// quarter of that.
const MEMORY: &str = "/dev/shm";
const ROOM: u64 = 4 << 30;

struct Machine {
    /// The folder that all sandboxes are made in.
    place: PathBuf,
    /// The folder that PATH consists of; taken away when the tests are over.
    tools: Mutex<Option<tempfile::TempDir>>,
    path: OsString,
    skipped: Mutex<BTreeMap<String, usize>>,
    stories: Mutex<BTreeMap<PathBuf, Story>>,
    /// When the last program of any story was started.
    since: Mutex<Instant>,
}

/// A sandbox in use.
struct Story {
    name: String,
    /// When it started its last program.
    since: Instant,
    ended: bool,
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        default_signals();
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        let place = place();
        let tools = tempfile::tempdir_in(&place).expect("a folder for the tools");
        // Also for commands that a story runs as a user without privileges.
        std::fs::set_permissions(tools.path(), std::fs::Permissions::from_mode(0o755)).expect("an open folder");
        for name in TOOLS.split_whitespace() {
            if let Some(program) = find(name) {
                std::os::unix::fs::symlink(program, tools.path().join(name)).expect("a link to a tool");
            }
        }
        assert_eq!(at_exit(finish), 0, "the system calls us at the end");
        std::thread::spawn(watch);
        let path = tools.path().as_os_str().to_owned();
        Machine {
            place,
            tools: Mutex::new(Some(tools)),
            path,
            skipped: Mutex::default(),
            stories: Mutex::default(),
            since: Mutex::new(Instant::now()),
        }
    })
}

/// Memory where there is enough, else the usual folder. One that the user names is used in any case.
fn place() -> PathBuf {
    let fits = rustix::fs::statvfs(MEMORY).is_ok_and(|disk| {
        let closed = rustix::fs::StatVfsMountFlags::NOEXEC | rustix::fs::StatVfsMountFlags::RDONLY;
        disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM && !disk.f_flag.intersects(closed)
    });
    if fits && std::env::var_os("TMPDIR").is_none() { MEMORY.into() } else { std::env::temp_dir() }
}

/// A new folder for the files of a story.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(&machine().place).expect("a temporary folder")
}

/// A program on the machine's own PATH.
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let is_program = |file: &Path| file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_absolute() && is_program(file))
}

/// The PATH of every program in a sandbox.
pub fn path() -> &'static OsStr {
    &machine().path
}

/// The same after a folder of the story's own.
pub fn path_after(folder: &Path) -> OsString {
    std::env::join_paths([folder, Path::new(path())]).expect("a path without colons")
}

/// Whether a tool is missing, after a word on it. It fails instead where `AGENTPM_TOOLS` is `all`.
pub fn lacks(tools: &[&str]) -> bool {
    let missing: Vec<&str> = tools.iter().copied().filter(|tool| !Path::new(path()).join(tool).exists()).collect();
    if missing.is_empty() {
        return false;
    }
    let missing = missing.join(" and ");
    let may_skip = std::env::var_os("AGENTPM_TOOLS").is_none_or(|tools| tools != "all");
    assert!(may_skip, "{missing} not found on PATH: install it; AGENTPM_TOOLS=all lets no test be skipped");
    skip(&missing);
    true
}

/// Whether this user cannot give a file to another one, after a word on it.
pub fn lacks_root() -> bool {
    let lacks = !rustix::process::geteuid().is_root();
    if lacks {
        skip("root");
    }
    lacks
}

/// Counts a test that is skipped, because of a tool or a permission that is not there.
pub fn skip(what: &str) {
    // Not by a macro: the word is to be seen where the test passes, too.
    let _ = writeln!(std::io::stderr(), "skipped: {} needs {what}", current_test());
    *machine().skipped.lock().expect("the count").entry(what.to_owned()).or_default() += 1;
}

fn current_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

unsafe extern "C" {
    /// libtest has no hook for the end of a run; the system has.
    #[link_name = "atexit"]
    safe fn at_exit(call: extern "C" fn()) -> i32;
}

/// One line on the tests that were skipped, after all that libtest prints.
extern "C" fn finish() {
    let skipped = machine().skipped.lock().map(|skipped| skipped.clone()).unwrap_or_default();
    if !skipped.is_empty() {
        let number: usize = skipped.values().sum();
        let each: Vec<String> = skipped.iter().map(|(what, n)| format!("{what} ({n})")).collect();
        let tests = if number == 1 { "test" } else { "tests" };
        let _ = writeln!(std::io::stderr(), "{number} {tests} skipped, for lack of: {}\n", each.join(", "));
    }
    drop(machine().tools.lock().map(|mut tools| tools.take()));
}

/// A signal that this process was started to ignore would be ignored by all that it starts. One that it handles is not; it
/// acts here as it would have.
fn default_signals() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        let acts = ignored & (1 << (signal - 1)) == 0;
        signal_hook::flag::register_conditional_default(signal, Arc::new(AtomicBool::new(acts))).expect("a handler");
    }
}

/// A program is about to be started in the sandbox with this home.
pub fn starts_in(home: &Path) {
    *machine().since.lock().expect("the last start") = Instant::now();
    let mut stories = machine().stories.lock().expect("the stories");
    if let Some(story) = home.parent().and_then(|folder| stories.get_mut(folder)) {
        story.since = Instant::now();
    }
}

/// That a story runs in a folder, until this is dropped.
pub struct Deadline(PathBuf);

impl Deadline {
    pub fn of(folder: &Path) -> Self {
        let story = Story { name: current_test(), since: Instant::now(), ended: false };
        machine().stories.lock().expect("the stories").insert(folder.to_owned(), story);
        Deadline(folder.to_owned())
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let story = machine().stories.lock().ok().and_then(|mut stories| stories.remove(&self.0));
        let ended = story.is_some_and(|story| story.ended);
        assert!(
            !ended || std::thread::panicking(),
            "it waited for more than {PATIENCE:?}, and its programs were killed"
        );
    }
}

/// Kills the programs that a story has waited for too long. Where no story starts a program any more, all tests end.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let mut stories = machine().stories.lock().expect("the stories");
        for (folder, story) in stories.iter_mut().filter(|(_, story)| story.since.elapsed() > PATIENCE) {
            for (pid, words) in processes_in(folder) {
                let _ = writeln!(std::io::stderr(), "{} waits for more than {PATIENCE:?} for: {words}", story.name);
                let _ = kill_process(pid, Signal::KILL);
                story.ended = true;
            }
        }
        let is_over = |since: Instant| since.elapsed() > PATIENCE + GRACE;
        let waiting: Vec<&str> = stories.values().filter(|s| is_over(s.since)).map(|s| s.name.as_str()).collect();
        if !waiting.is_empty() && is_over(*machine().since.lock().expect("the last start")) {
            let _ = writeln!(std::io::stderr(), "all tests end: these wait, for no program: {}", waiting.join(", "));
            std::process::exit(101);
        }
    }
}

/// The processes of a sandbox, with their command lines. Each has the sandbox's HOME.
fn processes_in(folder: &Path) -> Vec<(Pid, String)> {
    let home = [b"HOME=", folder.as_os_str().as_bytes()].concat();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let found = processes.filter_map(|process| {
        let pid = Pid::from_raw(process.file_name().to_str()?.parse().ok()?)?;
        let variables = std::fs::read(process.path().join("environ")).ok()?;
        variables.split(|byte| *byte == 0).find(|variable| variable.starts_with(&home))?;
        let words = std::fs::read(process.path().join("cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&words).replace('\0', " ")))
    });
    found.collect()
}
