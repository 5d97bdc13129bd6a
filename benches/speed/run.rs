//! Running whole processes, and measuring two things in turn.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{Advice, fadvise};

/// How often something is measured: as often as fits into a time, within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Rounds {
    pub least: usize,
    pub most: usize,
    pub within: Duration,
}

impl Rounds {
    /// Of what is short.
    pub const MANY: Rounds = Rounds { least: 9, most: 101, within: Duration::from_secs(6) };
    /// Of what takes long, or needs much to be put up for it.
    pub const SOME: Rounds = Rounds { least: 5, most: 21, within: Duration::from_secs(12) };
    /// Of what takes very long.
    pub const FEW: Rounds = Rounds { least: 3, most: 3, within: Duration::ZERO };
    /// To see that it works.
    pub const ONE: Rounds = Rounds { least: 1, most: 1, within: Duration::ZERO };
}

/// One round of something, told how many there were before: how long it took.
pub type Round<'a> = &'a dyn Fn(usize) -> Duration;

/// What many rounds of one thing gave, in the unit they were measured in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub median: f64,
    pub p10: f64,
    pub p90: f64,
    pub rounds: usize,
}

impl Figures {
    /// Of all rounds.
    pub fn of(mut all: Vec<f64>) -> Self {
        all.sort_by(f64::total_cmp);
        let at = |part: usize| all.get(all.len().saturating_sub(1) * part / 100).copied().unwrap_or_default();
        Figures { median: at(50), p10: at(10), p90: at(90), rounds: all.len() }
    }
}

/// Two things done in turn, after one round that warms both; in milliseconds.
pub fn in_turn(
    rounds: Rounds,
    mut ours: impl FnMut(usize) -> Duration,
    mut floor: impl FnMut(usize) -> Duration,
) -> (Figures, Figures) {
    let begun = Instant::now();
    let (mut first, mut second) = (Vec::new(), Vec::new());
    if rounds.most > 1 {
        ours(0);
        floor(0);
    }
    while first.len() < rounds.most && (first.len() < rounds.least || begun.elapsed() < rounds.within) {
        first.push(ms(ours(first.len() + 1)));
        second.push(ms(floor(second.len() + 1)));
    }
    (Figures::of(first), Figures::of(second))
}

/// Runs to a good end.
#[track_caller]
pub fn run(mut command: Command) {
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}

/// Runs to a good end and gives what it printed.
#[track_caller]
pub fn printed(mut command: Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// How long a whole process takes.
#[track_caller]
pub fn time(command: Command) -> Duration {
    let begun = Instant::now();
    run(command);
    begun.elapsed()
}

/// Takes the pages of all files below these folders out of memory, and with `all`, where it may, whatever the system keeps of any
/// file. The programs themselves are read again, so that only the store is cold.
pub fn cool(tops: &[&Path], programs: &[&Path], all: bool) {
    for top in tops {
        for entry in walkdir::WalkDir::new(top).into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file()) {
            if let Ok(file) = File::open(entry.path()) {
                let _ = fadvise(&file, 0, None, Advice::DontNeed);
            }
        }
    }
    if all {
        let _ = std::fs::write("/proc/sys/vm/drop_caches", "3");
    }
    for program in programs {
        run(crate::room::command(program, Path::new("/"), &["--version"]));
    }
}

/// In milliseconds.
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}
