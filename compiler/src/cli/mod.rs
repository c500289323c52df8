//! The command line: one file a subcommand.

mod answer;
mod bench;
mod bench_report;
mod chat;
mod compile;
mod device;
mod emit;
mod eval;
mod eval_report;
mod generate;
mod inspect;
mod kernel_table;
mod out;
mod pictures;
mod progress;
mod quant_report;
mod run;
mod serve;
mod tune;
mod tuning_store;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::entries::DecoderSizes;
use crate::model::load::GivenSizes;
use crate::model::variant::Variants;
use crate::pipeline::{CompileOptions, DEFAULT_IMAGE_PATCHES, WeightBytes};
use crate::quantize::{Keep, StoreAs, WeightRecipe};

/// Compile ONNX models ahead of time to WGSL, a schedule and packed weights, and replay them on WebGPU.
#[derive(Debug, Parser)]
#[command(name = "qwenc", version, about, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Compile a model into a bundle
    Compile(compile::CompileArgs),
    /// Replay one entry point of a bundle on tensors from a file
    Run(run::RunArgs),
    /// Replay a bundle on a golden file and compare logits; exits 0 only if every check holds
    Verify(verify::VerifyArgs),
    /// Answer a prompt, streaming
    Generate(generate::GenerateArgs),
    /// Talk with a model
    Chat(chat::ChatArgs),
    /// Answer cases with known answers and count, or compare two such runs
    Eval(eval::EvalArgs),
    /// Measure how fast a bundle is on a device, and how near that is to what the device can do
    Bench(bench::BenchArgs),
    /// Find the fastest variants of a bundle's kernels on a device, and remember them
    Tune(tune::TuneArgs),
    /// Show what is in a model or a bundle: operators, passes, fusions, kernels, memory
    Inspect(inspect::InspectArgs),
    /// Serve a bundle and its page to browsers
    Serve(serve::ServeArgs),
}

/// Which weights a bundle has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Weights {
    /// All that the schedule reads.
    All,
    /// None.
    None,
    /// Made-up ones.
    MadeUp,
}

impl From<Weights> for WeightBytes {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::All => Self::Model,
            Weights::None => Self::None,
            Weights::MadeUp => Self::MadeUp,
        }
    }
}

/// Options that say what to compile and for what sizes.
#[derive(Debug, Args)]
struct ModelArgs {
    /// An .onnx file or a model folder
    input: PathBuf,
    /// Which files of a hub folder: fp32, fp16, q8, q4, q4f16 or another suffix, for all parts or for each, as in
    /// decoder=q4,embed=fp16,vision=fp16
    #[arg(long = "variant", value_name = "VARIANT")]
    variants: Option<Variants>,
    /// Compile only the given graph, even when it lies in a model's folder
    #[arg(long)]
    only: bool,
    /// Fix a size by the name that the model has for it; one without a name is called by its input and axis, `x_0`. A batch
    /// is 1 unless it is given
    #[arg(long = "dim", value_name = "NAME=N", value_parser = parse_size)]
    dims: Vec<(String, i64)>,
    /// Largest value of a size that stays dynamic (512), for graphs that are no decoder
    #[arg(long = "max", value_name = "NAME=N", value_parser = parse_size)]
    bounds: Vec<(String, i64)>,
    /// Positions that a decoder's caches hold
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    max_context: u32,
    /// Most positions of one prefill call; longer prompts are cut
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=8192))]
    prefill_chunk: u32,
    /// Most patches of images that one replay takes (an image token is 2 x 2 patches); 0 leaves the vision encoder out
    #[arg(long, value_name = "N", default_value_t = DEFAULT_IMAGE_PATCHES,
          value_parser = clap::value_parser!(u32).range(0..=1 << 16))]
    max_image_patches: u32,
    /// How to store weights that the model has as floats: keep, f32, f16, q8 or q4
    #[arg(long, value_name = "FORMAT", default_value = "keep")]
    quant: StoreAs,
    /// `none` plans only: shaders, schedule, limits and memory, but no weights, whose files need not be there. `made-up` fills in
    /// numbers for what is not there: a bundle to measure, not to talk with
    #[arg(long, value_enum, default_value = "all")]
    weights: Weights,
    /// An exception from --quant: weights whose name, or layer's name, has this part (or matches, with *); may be repeated
    #[arg(long, value_name = "FORMAT:PATTERN")]
    keep: Vec<Keep>,
}

impl ModelArgs {
    fn options(&self) -> CompileOptions {
        let max_context = self.max_context as usize;
        CompileOptions {
            variants: self.variants.clone().unwrap_or_default(),
            only: self.only,
            given: GivenSizes { fixed: self.dims.clone(), bounds: self.bounds.clone() },
            sizes: DecoderSizes {
                max_context,
                prefill_chunk: (self.prefill_chunk as usize).min(max_context),
            },
            golden: None,
            page: false,
            cpu: false,
            cooperative_matrices: false,
            weights: WeightRecipe { default: self.quant, keep: self.keep.clone() },
            weight_bytes: self.weights.into(),
            max_image_patches: self.max_image_patches,
        }
    }
}

fn parse_size(text: &str) -> Result<(String, i64), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=N")?;
    let value: i64 = value.trim().parse().map_err(|_| format!("`{value}` is no number"))?;
    if !(0..=1 << 31).contains(&value) {
        return Err(format!("{value} is no size"));
    }
    Ok((name.trim().to_string(), value))
}

/// Runs the command line. Exit code 0: done and, for `verify` and `eval`, every check held; 1: not; 2: wrong usage.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Compile(args) => compile::execute(&args),
        Command::Run(args) => run::execute(&args),
        Command::Verify(args) => verify::execute(&args),
        Command::Generate(args) => generate::execute(&args),
        Command::Chat(args) => chat::execute(&args),
        Command::Eval(args) => eval::execute(&args),
        Command::Bench(args) => bench::execute(&args),
        Command::Tune(args) => tune::execute(&args),
        Command::Inspect(args) => inspect::execute(&args),
        Command::Serve(args) => serve::execute(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(report) => {
            eprintln!("{report:?}");
            ExitCode::from(1)
        }
    }
}
