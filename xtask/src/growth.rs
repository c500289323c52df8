//! `cargo xtask growth`: measures how times grow, and draws the pictures of `docs/performance.md`.

use crate::drivers::{Driver, expose};
use crate::process::{Failure, Outcome, cargo, root, run as run_command};
use crate::setup;

/// The bench measures and draws with libraries, of which this crate has none. Without QWENC_ADAPTER it runs on lavapipe, so
/// that pictures from different machines show the same kind of device.
pub(crate) fn run() -> Outcome {
    let mut command = cargo();
    command.args(["bench", "--package", "qwenc", "--bench", "growth", "--", "--out"]);
    command.arg(root().join("docs/images"));
    if std::env::var_os("QWENC_ADAPTER").is_some() {
        return run_command(&mut command);
    }
    setup::run_for_replay()?;
    let Some(driver) = Driver::Lavapipe.find() else {
        return Err(Failure::new("Mesa's Vulkan driver is missing: run `cargo xtask setup`"));
    };
    run_command(expose(&mut command, std::slice::from_ref(&driver)))
}
