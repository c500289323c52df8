//! `qwenc tune`: the fastest variants of a bundle's kernels on a device.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_runtime::engine::Trial;

use super::device::{DeviceArgs, load_untuned, open_bundle};
use super::out::say;
use super::tuning_store;

/// Arguments of `tune`.
#[derive(Debug, Args)]
pub(super) struct TuneArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Seconds after which kernels that have not been tried are left as they are
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Tries, prints and remembers.
pub(super) fn execute(args: &TuneArgs) -> miette::Result<ExitCode> {
    let bundle = open_bundle(&args.bundle)?;
    let mut engine = load_untuned(&bundle, &args.device)?;
    if engine.tunable().is_empty() {
        return Err(miette!(
            help = "only the kernels that decode tokens have variants: is this a bundle of a decoder?",
            "{} has no kernels with variants that this device can take",
            args.bundle.display()
        ));
    }
    let module = |path: &str| bundle.shader(path).ok();
    let tuned = engine.tune(&module, args.seconds);
    let (tuning, trials) = tuned.into_diagnostic().wrap_err("tuning")?;
    let adapter = engine.backend().adapter();
    let path = tuning_store::remember(&bundle, adapter, &tuning)
        .into_diagnostic()
        .wrap_err("what was found could not be kept")?;
    say!("{} on {}", engine.manifest().model.name, adapter.name);
    report(&trials);
    say!("\nkept in {}; every command that loads this bundle on this device goes by it", path.display());
    Ok(ExitCode::SUCCESS)
}

/// A line for each pipeline, and what a token gains.
fn report(trials: &[Trial]) {
    let (mut before, mut after) = (0.0, 0.0);
    for group in trials.chunk_by(|a, b| a.shader == b.shader) {
        let (Some(by_itself), Some(chosen)) = (group.first(), group.iter().find(|trial| trial.chosen)) else {
            continue;
        };
        before += by_itself.seconds;
        after += chosen.seconds;
        say!("\n{:>3} x  {}", by_itself.dispatches, by_itself.shader);
        for trial in group {
            let mark = if trial.chosen { "  <" } else { "" };
            #[expect(clippy::cast_precision_loss, reason = "a count of dispatches")]
            let each = trial.seconds * 1e6 / trial.dispatches.max(1) as f64;
            say!("{each:>12.2} µs  {}{mark}", trial.variant);
        }
    }
    say!("\na token's share of these kernels: {:.1} µs, before {:.1} µs", after * 1e6, before * 1e6);
}
