//! `qwenc eval`: answers cases with known answers, and counts.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use miette::{IntoDiagnostic, WrapErr};
use qwenc_runtime::chat::{
    FinishReason, GenerateOptions, Generation, Generator, PromptImage, RenderOptions, StopRules,
};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::sampling::SamplingParams;

use super::answer::open;
use super::device::DeviceArgs;
use super::eval_report::{ComparisonReport, Report};
use super::out::{self, say};
use super::pictures::Pictures;
use crate::eval::{Case, Floor, Prediction, Task, compare, is_right, read_predictions, read_tasks};

/// Tokens that an answer may have beyond those of the task's longest expected one. An answer that is cut off is wrong.
const SLACK_TOKENS: usize = 8;
/// Pictures that are kept, ready for the model, for the cases that follow.
const KEPT_PICTURES: usize = 32;

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub(super) struct EvalArgs {
    /// Folder of the bundle
    #[arg(required_unless_present = "compare")]
    bundle: Option<PathBuf>,
    /// Folder of case files, <task>.jsonl
    #[arg(long, value_name = "FOLDER", required_unless_present = "compare")]
    cases: Option<PathBuf>,
    /// Only this task; may be repeated
    #[arg(long = "task", value_name = "NAME")]
    tasks: Vec<String>,
    /// At most so many cases of each task, the first ones
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Write the answer to every case, a JSON object on a line
    #[arg(long, value_name = "OUT.jsonl")]
    predictions: Option<PathBuf>,
    /// Fail where a family of tasks has less: PERCENT for all, or FAMILY=PERCENT; may be repeated
    #[arg(long, value_name = "[FAMILY=]PERCENT")]
    at_least: Vec<Floor>,
    /// Replay nothing, but compare the predictions of two runs over the same cases
    #[arg(long, num_args = 2, value_names = ["BEFORE.jsonl", "AFTER.jsonl"],
          conflicts_with_all = ["bundle", "cases", "tasks", "limit", "predictions", "at_least"])]
    compare: Vec<PathBuf>,
    /// With --compare: fail when the second run loses more points of a hundred, over all cases
    #[arg(long, value_name = "POINTS", requires = "compare")]
    lose_at_most: Option<f64>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Answers and counts, or compares; exit code 0 only if what was asked for is reached.
pub(super) fn execute(args: &EvalArgs) -> miette::Result<ExitCode> {
    if let [before, after] = args.compare.as_slice() {
        return compare_runs(before, after, args);
    }
    let (Some(bundle), Some(folder)) = (&args.bundle, &args.cases) else { return Ok(ExitCode::from(2)) };
    let mut tasks = read_tasks(folder, &args.tasks).into_diagnostic()?;
    if let Some(limit) = args.limit {
        tasks.iter_mut().for_each(|task| task.cases.truncate(limit.max(1)));
    }
    // Before any work, so that no result is lost to a wrong path.
    let mut writer = args.predictions.as_deref().map(PredictionWriter::create).transpose()?;
    let (generator, pictures) = open(bundle, &args.device)?;
    let adapter = generator.session().engine().backend().adapter().name.clone();
    let mut runner = Runner { generator, pictures, folder, kept: HashMap::new() };
    let mut report = Report::new(bundle, adapter);
    let bar = bar(tasks.iter().map(|task| task.cases.len()).sum());
    let started = Instant::now();
    for task in &tasks {
        bar.set_message(task.name.clone());
        let options = runner.options(task);
        for case in &task.cases {
            let generation = runner
                .answer(case, &options)
                .wrap_err_with(|| format!("case `{}` of task `{}`", case.id, task.name))?;
            let ended = generation.finish_reason == FinishReason::Stop;
            let prediction = Prediction {
                task: task.name.clone(),
                id: case.id.clone(),
                answer: case.answer.clone(),
                right: is_right(&case.answer, &generation.text, ended),
                got: generation.text,
            };
            if let Some(writer) = &mut writer {
                writer.write(&prediction)?;
            }
            report.add(prediction, &generation.usage);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.below = report.scores.below(&args.at_least);
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report.value()).into_diagnostic()?);
    } else {
        out::print(format_args!("{report}"));
    }
    Ok(if report.below.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn compare_runs(before: &Path, after: &Path, args: &EvalArgs) -> miette::Result<ExitCode> {
    let names = [before, after].map(|path| path.display().to_string());
    let (first, second) =
        (read_predictions(before).into_diagnostic()?, read_predictions(after).into_diagnostic()?);
    let comparison = compare((&names[0], &first), (&names[1], &second)).into_diagnostic()?;
    let lost = args.lose_at_most.is_some_and(|points| comparison.overall.loss() > points + 1e-9);
    let report = ComparisonReport { names, comparison, lose_at_most: args.lose_at_most };
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report.value()).into_diagnostic()?);
    } else {
        out::print(format_args!("{report}"));
    }
    Ok(if lost { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Asks the model.
struct Runner<'a> {
    generator: Generator<Gpu>,
    pictures: Pictures,
    folder: &'a Path,
    /// Pictures of the last cases, by path: several questions may be about one.
    kept: HashMap<String, PromptImage>,
}

impl Runner<'_> {
    /// The likeliest tokens, and as many as the task's longest answer needs.
    fn options(&self, task: &Task) -> GenerateOptions {
        let files = self.generator.files();
        let tokens = |case: &Case| files.tokenizer.encode(case.answer.trim()).len();
        let longest = task.cases.iter().map(tokens).max().unwrap_or(0);
        GenerateOptions {
            max_new_tokens: Some(longest + SLACK_TOKENS),
            stop: StopRules { tokens: files.stop_tokens(), strings: Vec::new() },
            sampling: SamplingParams::greedy(),
            ..GenerateOptions::default()
        }
    }

    fn answer(&mut self, case: &Case, options: &GenerateOptions) -> miette::Result<Generation> {
        let images: Vec<PromptImage> =
            case.pictures.iter().map(|path| self.picture(path)).collect::<Result<_, _>>()?;
        let render = RenderOptions { enable_thinking: Some(false), ..RenderOptions::default() };
        let vision = self.generator.session().vision().cloned();
        let files = self.generator.files();
        let prompt = files.prompt(&case.messages, &images, &render, vision.as_ref()).into_diagnostic()?;
        self.generator.generate(&prompt, options, &mut |_| ControlFlow::Continue(())).into_diagnostic()
    }

    fn picture(&mut self, path: &str) -> miette::Result<PromptImage> {
        if let Some(image) = self.kept.get(path) {
            return Ok(image.clone());
        }
        let image = self.pictures.read_inside(self.folder, path)?;
        if self.kept.len() >= KEPT_PICTURES {
            self.kept.clear();
        }
        self.kept.insert(path.to_owned(), image.clone());
        Ok(image)
    }
}

/// Writes predictions as they come.
struct PredictionWriter<'a> {
    path: &'a Path,
    file: BufWriter<File>,
}

impl<'a> PredictionWriter<'a> {
    fn create(path: &'a Path) -> miette::Result<Self> {
        let file = File::create(path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn write(&mut self, prediction: &Prediction) -> miette::Result<()> {
        let line = serde_json::to_string(prediction).into_diagnostic()?;
        writeln!(self.file, "{line}").into_diagnostic().wrap_err_with(|| self.path.display().to_string())
    }

    fn finish(mut self) -> miette::Result<()> {
        self.file.flush().into_diagnostic().wrap_err_with(|| self.path.display().to_string())
    }
}

/// Progress on standard error, when that is a terminal.
fn bar(cases: usize) -> ProgressBar {
    let bar = ProgressBar::new(cases as u64);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len}, {eta} left") {
        bar.set_style(style);
    }
    bar
}
