//! The `qwenc` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    qwenc::cli::run()
}
