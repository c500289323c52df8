//! Progress on a terminal; silence when the output goes elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pipeline::Observer;

/// Shows stages as they run, and a bar with bytes while weights are rounded or packed.
pub(super) struct TerminalProgress {
    bar: ProgressBar,
    /// The stage that runs has shown bytes.
    has_bytes: bool,
}

impl TerminalProgress {
    /// A display on standard error.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, has_bytes: false }
    }

    /// Removes the display.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for TerminalProgress {
    fn stage(&mut self, name: &'static str) {
        if std::mem::take(&mut self.has_bytes) {
            self.bar.reset();
            self.bar.set_style(ProgressStyle::default_spinner());
        }
        self.bar.set_message(name);
    }

    fn progress(&mut self, done: u64, total: u64) {
        if !std::mem::replace(&mut self.has_bytes, true)
            && let Ok(style) = ProgressStyle::with_template(
                "{msg} {wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
            )
        {
            self.bar.set_style(style);
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
    }
}
