//! The progress bar while tokens are read or measured, or a file is written: on standard error, and only where that is a terminal.
//!
//! Not here: progress of generation, which is the text itself.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt;

/// Work that is done before this is not worth a bar.
const PATIENCE: Duration = Duration::from_millis(500);

/// A bar that appears when the work turns out to be long, and is gone when it is dropped.
#[derive(Debug)]
pub struct Progress {
    label: String,
    template: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
    is_terminal: bool,
}

impl Progress {
    /// Starts the clock of the work called `label`; nothing is drawn yet.
    pub fn new(label: impl Into<String>) -> Progress {
        Progress::with_template(label.into(), "{prefix} {wide_bar} {pos}/{len} tokens, {per_sec}, {eta} left")
    }

    /// The same for work that is counted in bytes.
    pub fn of_bytes(label: impl Into<String>) -> Progress {
        Progress::with_template(label.into(), "{prefix} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left")
    }

    fn with_template(label: String, template: &'static str) -> Progress {
        Progress { label, template, started: Instant::now(), bar: None, is_terminal: io::stderr().is_terminal() }
    }

    /// `done` of `total` tokens or bytes are behind us.
    pub fn update(&mut self, done: usize, total: usize) {
        if !self.is_terminal || (self.bar.is_none() && self.started.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            interrupt::bar_is_shown(true);
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
            // The template is a constant; were it ever wrong, the default style still shows the position.
            bar.set_style(ProgressStyle::with_template(self.template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.with_elapsed(self.started.elapsed()).with_prefix(self.label.clone())
        });
        bar.set_position(done as u64);
    }

    /// Removes the bar. Text may follow on the same terminal.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            interrupt::bar_is_shown(false);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
