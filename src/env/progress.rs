//! How far long work has come, for whoever sits before the terminal.
//!
//! Promises: nothing is shown where standard error is no terminal, nor of work that is done soon; what was shown is gone again
//! when the work ends.
//! Refuses to know: what the work is.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work that is done sooner says nothing.
const SOON: Duration = Duration::from_millis(400);
/// Steps between two looks at the clock.
const LOOK_EVERY: u64 = 64;

/// How far some work has come.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    begun: Instant,
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
            begun: Instant::now(),
            is_watched: std::io::stderr().is_terminal(),
            bar: OnceLock::new(),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        if !self.is_watched {
            return;
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(LOOK_EVERY) && self.begun.elapsed() > SOON {
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
