//! Programs that do the least a job needs. They are this very program, told by an environment variable what to be.
//!
//! Besides them two that help to measure: one that starts another and says how much memory it took, and one that writes to a store
//! again and again and says how long each time was.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use wait4::Wait4 as _;

use crate::room::{agentpm, command};
use crate::run::run;

/// What to be, and the words it needs: the rest of the arguments.
const FLOOR: &str = "AGENTPM_BENCH_FLOOR";

/// Plays what the environment asks for; `false` where it asks for nothing.
pub fn played() -> bool {
    let Some(role) = std::env::var_os(FLOOR) else { return false };
    let args: Vec<String> = std::env::args().skip(1).collect();
    match (role.to_str(), args.as_slice()) {
        (Some("append"), [file]) => append(Path::new(file)),
        (Some("read"), [folder]) => read(Path::new(folder)),
        (Some("files"), [list, folder]) => files(Path::new(list), Path::new(folder)),
        #[cfg(feature = "server")]
        (Some("constant"), [socket, bytes]) => crate::http::constant(Path::new(socket), bytes.into()),
        (Some("peak"), [to, program, args @ ..]) => peak(Path::new(to), program, args),
        (Some("writer"), [to, name, from, until, shared @ ..]) => {
            writer(Path::new(to), name, from.parse().expect("a number")..until.parse().expect("a number"), shared);
        }
        _ => panic!("{role:?} {args:?} is nothing to be"),
    }
    true
}

/// This program in such a role.
pub fn as_floor(role: &str, dir: &Path, args: &[&str]) -> Command {
    let this = std::env::current_exe().expect("the path of this program");
    let mut command = command(this, dir, args);
    command.env(FLOOR, role);
    command
}

/// Appends 300 bytes and calls fdatasync once.
fn append(path: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).expect("the file opens");
    file.write_all(&[b'x'; 300]).expect("the file is written");
    file.sync_data().expect("the file is flushed");
}

/// Reads every file once.
fn read(top: &Path) {
    let files = walkdir::WalkDir::new(top).into_iter().map(|entry| entry.expect("an entry"));
    let bytes = files.filter(|e| e.file_type().is_file()).map(|e| std::fs::read(e.path()).expect("a file").len());
    println!("{}", bytes.sum::<usize>());
}

/// What [`files`] is told to write: a path and a size a line.
pub fn list_files(top: &Path) -> String {
    let mut list = String::new();
    for entry in walkdir::WalkDir::new(top).sort_by_file_name() {
        let entry = entry.expect("an entry");
        if entry.file_type().is_file() {
            let path = entry.path().strip_prefix(top).expect("below").display();
            let _ = writeln!(list, "{} {path}", entry.metadata().expect("its size").len());
        }
    }
    list
}

/// Writes as many files of the same names and sizes and calls syncfs once.
fn files(list: &Path, top: &Path) {
    let list = std::fs::read_to_string(list).expect("the list");
    let bytes = vec![b'x'; 1 << 20];
    let mut made = PathBuf::new();
    for line in list.lines() {
        let (size, path) = line.split_once(' ').expect("a size and a path");
        let path = top.join(path);
        let folder = path.parent().expect("a folder");
        if made != folder {
            std::fs::create_dir_all(folder).expect("the folder is made");
            folder.clone_into(&mut made);
        }
        let size: usize = size.parse().expect("a size");
        let mut file = File::create(&path).expect("the file is made");
        for begin in (0..size).step_by(bytes.len()) {
            file.write_all(&bytes[..bytes.len().min(size - begin)]).expect("the file is written");
        }
    }
    rustix::fs::syncfs(File::open(top).expect("the folder").as_fd()).expect("the disk takes it");
}

/// Starts a program and writes down the most memory it had at once, in bytes. A child's figure begins with what its parent holds when
/// it starts it: so the parent is this small one, and not the benchmark.
fn peak(to: &Path, program: &str, args: &[String]) {
    let child = Command::new(program)
        .args(args)
        .env_remove(FLOOR)
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the program starts");
    let used = child.wait4().expect("the program ends");
    std::fs::write(to, used.rusage.maxrss.to_string()).expect("the figure is written");
    std::process::exit(used.status.code().unwrap_or(2));
}

/// Runs one writing command after another and writes down how long each took, in microseconds: in turn a new task, a note on a task that
/// all writers share, and a label on it that nobody else gives.
fn writer(to: &Path, name: &str, steps: std::ops::Range<usize>, shared: &[String]) {
    let here = std::env::current_dir().expect("a folder");
    let mut took = String::new();
    for k in steps {
        let word = format!("{name}-{k}");
        let task = &shared[k % shared.len()];
        let args: &[&str] = match k % 3 {
            0 => &["task", "create", "--title", &word, "--quiet"],
            1 => &["context", "add", task, "--type", "note", "--content", &word, "--quiet"],
            _ => &["task", "update", task, "--add-label", &word, "--quiet"],
        };
        let command = agentpm(&here, name, args);
        let begun = Instant::now();
        run(command);
        let _ = writeln!(took, "{}", begun.elapsed().as_micros());
    }
    std::fs::write(to, took).expect("the times are written");
}
