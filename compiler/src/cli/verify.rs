//! `qwenc verify`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, WrapErr};
use qwenc_golden::{GoldenFile, VerifyOptions, verify};
use qwenc_runtime::image::Preprocessor;
use qwenc_runtime::session::Session;

use super::device::{DeviceArgs, load, open_bundle};
use super::out::say;
use crate::pipeline::GOLDEN_FILE;

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Golden file (safetensors); without it the one that the bundle carries
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Largest absolute difference of a logit; overrides the golden file's
    #[arg(long)]
    max_abs: Option<f64>,
    /// Smallest cosine of a row of logits; overrides the golden file's
    #[arg(long)]
    min_cosine: Option<f64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Replays and compares; exit code 0 only if every check holds.
pub(super) fn execute(args: &VerifyArgs) -> miette::Result<ExitCode> {
    let golden = match &args.golden {
        Some(path) => GoldenFile::read(path).into_diagnostic()?,
        None => GoldenFile::read(&args.bundle.join(GOLDEN_FILE))
            .into_diagnostic()
            .wrap_err("the bundle carries no golden run: give one with --golden, or compile with --golden")?,
    };
    // Temporaries start as NaN: a result that depends on memory that nobody wrote must not pass by luck.
    let bundle = open_bundle(&args.bundle)?;
    let preprocessor = if golden.has_pixels() {
        Some(
            Preprocessor::of_bundle(&bundle)
                .into_diagnostic()
                .wrap_err("the golden run has images as pixels")?,
        )
    } else {
        None
    };
    let engine = load(&bundle, &args.device, true)?;
    let adapter = engine.backend().adapter().name.clone();
    let mut session = Session::new(engine).into_diagnostic()?;
    let options = VerifyOptions {
        min_cosine: args.min_cosine,
        max_abs: args.max_abs,
        preprocessor,
        ..VerifyOptions::default()
    };
    let report = verify(&mut session, &golden, &options)
        .into_diagnostic()
        .wrap_err_with(|| format!("verifying {} on {adapter}", args.bundle.display()))?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report).into_diagnostic()?);
    } else {
        say!("{report}");
    }
    Ok(if report.passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
