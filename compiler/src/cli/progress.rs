//! Progress on a terminal; silence when the output goes elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pipeline::Observer;

/// Shows stages as they run, and a bar while weights are packed.
pub(super) struct TerminalProgress {
    bar: ProgressBar,
}

impl TerminalProgress {
    /// A display on standard error.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// Removes the display.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for TerminalProgress {
    fn stage(&mut self, name: &'static str) {
        self.bar.set_message(name);
    }

    fn packed(&mut self, done: usize, total: usize) {
        if self.bar.length().is_none()
            && let Ok(style) =
                ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} weights, {eta} left")
        {
            self.bar.set_style(style);
        }
        self.bar.set_length(total as u64);
        self.bar.set_position(done as u64);
    }
}
