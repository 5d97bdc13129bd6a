//! Shows the progress of long work on the terminal.
//!
//! Guarantees that nothing is shown for short work, or if standard error is not a terminal. The display is cleared when the
//! work ends.
//! Leaves to others: what the work is.

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Work on fewer items ends before a user could read the display.
const MANY: usize = 4_096;
/// Items between two updates of the display.
const UPDATE_EVERY: u64 = 64;

/// The progress of one piece of work.
pub struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    is_watched: bool,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Starts counting `total` items; `what` names the work, such as `reading tasks`.
    pub fn of(what: &'static str, total: usize) -> Self {
        Progress {
            what,
            total: total as u64,
            done: AtomicU64::new(0),
            is_watched: total >= MANY && std::io::stderr().is_terminal(),
            bar: OnceLock::new(),
        }
    }

    /// Counts one finished item.
    pub fn step(&self) {
        if !self.is_watched {
            return;
        }
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(UPDATE_EVERY) {
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
