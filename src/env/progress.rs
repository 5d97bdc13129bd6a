//! How far long work has come, for whoever sits before the terminal.
//!
//! Promises: nothing is shown where standard error is no terminal, nor of little work; what was shown is gone again when the
//! work ends.
//! Refuses to know: what the work is.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work on fewer things is done before anybody could read how far it is.
const MANY: usize = 4_096;
/// Steps between two words on it.
const TELL_EVERY: u64 = 64;

/// How far some work has come.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    is_watched: bool,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Of work on so many things; `what` is done with them, such as `reading tasks`.
    pub fn of(what: &'static str, total: usize) -> Self {
        Progress {
            what,
            total: total as u64,
            done: AtomicU64::new(0),
            is_watched: total >= MANY && std::io::stderr().is_terminal(),
            bar: OnceLock::new(),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        if !self.is_watched {
            return;
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(TELL_EVERY) {
            self.bar.get_or_init(|| self.show()).set_position(done);
        }
    }

    fn show(&self) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(self.total), ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}") {
            bar.set_style(style);
        }
        bar.with_message(self.what)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}
