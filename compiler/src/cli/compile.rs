//! `qwenc compile`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use miette::IntoDiagnostic;
use qwenc_runtime::tokenizer::TOKENIZER_FILE;

use super::ModelArgs;
use super::device::DeviceArgs;
use super::emit::Emitter;
use super::out::{self, say};
use super::progress::TerminalProgress;
use super::quant_report::QuantReport;
use crate::bundle::web;
use crate::passes::PassRecord;
use crate::pipeline::{CompileOptions, Observer, compile};
use crate::schedule::EntryPlan;

/// What `--emit` can write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Emit {
    /// The graph after import and after every pass, as text.
    Ir,
    /// The shaders of every entry point in the order of dispatch.
    Wgsl,
    /// The commands of every entry point, readable.
    Schedule,
    /// Passes, times, dispatches and memory as JSON.
    Report,
}

/// Arguments of `compile`.
#[derive(Debug, Args)]
pub(super) struct CompileArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Folder of the bundle; an earlier bundle there is replaced
    #[arg(short, long)]
    output: PathBuf,
    /// Golden file (safetensors) that the bundle carries, for `qwenc verify` on any device
    #[arg(long)]
    golden: Option<PathBuf>,
    /// Leave out the page and the browser's runtime
    #[arg(long)]
    no_web: bool,
    /// Leave out the kernels for browsers without WebGPU
    #[arg(long)]
    no_cpu: bool,
    /// Add kernels for matrix cores (tensor cores), for native devices that have them: prompts and pictures are read faster, but
    /// what is multiplied is rounded to 16-bit floats. Browsers take no notice of them
    #[arg(long)]
    cooperative_matrices: bool,
    /// Also write intermediate forms to <OUTPUT>.emit/
    #[arg(long, value_delimiter = ',')]
    emit: Vec<Emit>,
    /// Print a summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Both what the terminal shows and what `--emit` writes.
struct Watch {
    progress: TerminalProgress,
    emitter: Emitter,
}

impl Observer for Watch {
    fn stage(&mut self, name: &'static str) {
        self.progress.stage(name);
    }
    fn stage_done(&mut self, name: &'static str, elapsed: std::time::Duration) {
        self.emitter.stage_done(name, elapsed);
    }
    fn imported(&mut self, graph: &qwenc_ir::Graph) {
        self.emitter.imported(graph);
    }
    fn pass(&mut self, record: &PassRecord, graph: &qwenc_ir::Graph) {
        self.emitter.pass(record, graph);
    }
    fn lowered(&mut self, entry: &EntryPlan) {
        self.emitter.lowered(entry);
    }
    fn progress(&mut self, done: u64, total: u64) {
        self.progress.progress(done, total);
    }
}

/// Compiles and prints a summary.
pub(super) fn execute(args: &CompileArgs) -> miette::Result<ExitCode> {
    let start = Instant::now();
    let mut watch = Watch { progress: TerminalProgress::new(), emitter: Emitter::new(&args.emit) };
    let options = CompileOptions {
        golden: args.golden.clone(),
        page: !args.no_web,
        cpu: !args.no_cpu,
        cooperative_matrices: args.cooperative_matrices,
        ..args.model.options()
    };
    let result = compile(&args.model.input, &args.output, &options, &mut watch);
    watch.progress.finish();
    let compiled = result?;
    let quantized = match compiled.weights.as_slice() {
        [] => None,
        records => Some(QuantReport::new(records, &args.output, args.golden.as_deref(), &args.device)?),
    };
    watch.emitter.write(&args.output, &compiled, quantized.as_ref())?;

    let facts = super::inspect::BundleFacts::new(&compiled.manifest, &compiled.assembled.schedule);
    if args.json {
        let mut value = facts.value();
        if let (Some(quantized), Some(object)) = (&quantized, value.as_object_mut()) {
            object.insert("quantized".into(), quantized.value());
        }
        say!("{}", serde_json::to_string_pretty(&value).into_diagnostic()?);
    } else {
        out::print(format_args!("{facts}"));
        for note in &compiled.notes {
            say!("note: {note}");
        }
        if !args.no_web && web::files().is_empty() && compiled.manifest.lists(TOKENIZER_FILE) {
            say!("note: {}", web::NO_PAGE);
        }
        if let Some(quantized) = &quantized {
            out::print(format_args!("{quantized}"));
        }
        let schedule = &compiled.assembled.schedule;
        if schedule.entries.contains_key("main") && !schedule.symbols.is_empty() {
            let sizes: Vec<String> = schedule
                .symbols
                .iter()
                .map(|symbol| format!("{} up to {}", symbol.name, symbol.max))
                .collect();
            say!(
                "\nsizes: {} (`--max NAME=N` changes a bound, `--dim NAME=N` fixes a size)",
                sizes.join(", ")
            );
        }
        say!("\n{} is ready, in {:.1} s", args.output.display(), start.elapsed().as_secs_f32());
        if compiled.manifest.lists("index.html") {
            say!("`qwenc serve {}` opens it in a browser", args.output.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
