//! Printing results. A reader that has gone away (`qwenc inspect … | head`) is no fault: what is left is not printed,
//! and the exit code stays that of the work.

use std::fmt::Arguments;
use std::io::Write;

/// Prints text to standard output.
pub(super) fn print(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

/// Prints a line to standard output, like `println!`.
macro_rules! say {
    ($($argument:tt)*) => {
        $crate::cli::out::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}

pub(super) use say;
