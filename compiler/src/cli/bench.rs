//! `qwenc bench`: how fast a bundle is here, and how near that is to what the device can do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_runtime::gpu::Floor;
use qwenc_runtime::sampling::SamplingParams;
use qwenc_runtime::session::{Positions, Session};

use super::bench_report::{Device, Report};
use super::device::{DeviceArgs, load_timed, open_bundle};
use super::out::{print, say};
use crate::bench::{BenchPlan, Measurement, PATCH, TimedSizes, count, run, shorten, time_entries};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Lengths of prompts, in tokens; those that do not fit the context are left out
    #[arg(long, value_delimiter = ',', default_values_t = [512, 4096])]
    prefill: Vec<u32>,
    /// Tokens of context at which decoding is measured; those that do not fit are left out
    #[arg(long, value_delimiter = ',', default_values_t = [64, 512])]
    decode: Vec<u32>,
    /// Tokens decoded in a run
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    tokens: u32,
    /// Tokens brought back at a time
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    batch: u32,
    /// Sides of square pictures, in pixels; those that do not fit are left out. Kernels are timed with the first
    #[arg(long, value_delimiter = ',', default_values_t = [448, 1024])]
    picture: Vec<u32>,
    /// Runs of each, after one that does not count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// Shaders shown of each entry point, slowest first
    #[arg(long, default_value_t = 12)]
    kernels: usize,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Also compare with an earlier report (JSON)
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Measures and prints.
pub(super) fn execute(args: &BenchArgs) -> miette::Result<ExitCode> {
    let earlier = args.compare.as_deref().map(read_report).transpose()?;
    let bundle = open_bundle(&args.bundle)?;
    let counts = count(bundle.manifest(), bundle.schedule());
    drop(bundle);
    let mut results = loads(args)?;

    let bundle = open_bundle(&args.bundle)?;
    let engine = load_timed(&bundle, &args.device)?;
    let adapter = engine.backend().adapter().clone();
    let floor = Floor::measure(engine.backend()).into_diagnostic()?;
    let mut session = Session::new(engine).into_diagnostic()?;
    let plan = BenchPlan {
        prompts: args.prefill.clone(),
        contexts: args.decode.clone(),
        tokens: args.tokens,
        batch: args.batch,
        pictures: args.picture.clone(),
        runs: args.runs,
    };
    results.extend(run(&mut session, &plan, &mut |what| eprintln!("{what} …")).into_diagnostic()?);
    let mut report = Report {
        bundle: args.bundle.display().to_string(),
        model: session.engine().manifest().model.name.clone(),
        device: Device::new(adapter, floor),
        counts,
        results,
        kernels: Default::default(),
    };
    if args.kernels > 0 {
        report.kernels =
            time_kernels(session, args).wrap_err("time stamps (`--kernels 0` leaves them out)")?;
    }
    report.note_floor();
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report).into_diagnostic()?);
    } else {
        print(format_args!("{report}"));
    }
    if let Some(earlier) = earlier {
        print(format_args!("{}", report.compare(&earlier)));
    }
    Ok(ExitCode::SUCCESS)
}

/// From the folder to the first token after a short prompt, with a device of its own each time.
fn loads(args: &BenchArgs) -> miette::Result<Vec<Measurement>> {
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..args.runs.min(3) {
        eprintln!("load …");
        let start = Instant::now();
        let bundle = open_bundle(&args.bundle)?;
        let mut session = Session::new(load_timed(&bundle, &args.device)?).into_diagnostic()?;
        session.start_sampling(&[]).into_diagnostic()?;
        session.prefill(&[1, 2, 3, 4, 5, 6, 7, 8], Positions::Text).into_diagnostic()?;
        session.sample(&SamplingParams::greedy()).into_diagnostic()?;
        times.push(start.elapsed());
    }
    Ok(vec![Measurement::milliseconds("load, to the first token", &times)])
}

/// Times the dispatches of every entry point that a decoder's users wait for.
fn time_kernels(
    session: Session<qwenc_runtime::gpu::Gpu>,
    args: &BenchArgs,
) -> miette::Result<crate::bench::KernelTimes> {
    let facts = session.facts().clone();
    let fits = args.decode.iter().copied().filter(|past| *past < facts.max_context);
    let sizes = TimedSizes {
        context: fits.max().unwrap_or(0),
        tokens: facts.prefill_chunk.min(TimedSizes::default().tokens),
        patches: args.picture.first().map_or(0, |side| (side / PATCH).saturating_pow(2)),
    };
    let mut all = time_entries(&mut session.into_engine(), &sizes).into_diagnostic()?;
    for kernels in all.values_mut() {
        shorten(kernels, args.kernels);
    }
    Ok(all)
}

fn read_report(path: &Path) -> miette::Result<Report> {
    let text = fs::read_to_string(path)
        .into_diagnostic()
        .wrap_err_with(|| format!("reading the report {}", path.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| miette!("{} is no report of `qwenc bench --json`: {error}", path.display()))
}
