//! What `generate` and `chat` share: options of an answer, loading, Ctrl-C, streaming.

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use miette::{IntoDiagnostic, WrapErr};
use qwenc_runtime::chat::{
    ChatFiles, Event, FinishReason, GenerateOptions, Generation, Generator, Piece, PieceKind, Prompt,
    StopRules,
};
use qwenc_runtime::gpu::Gpu;
use qwenc_runtime::sampling::SamplingChoice;
use qwenc_runtime::session::Session;

use super::device::{DeviceArgs, load, open_bundle};
use super::out::print;
use super::pictures::Pictures;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// How to answer. What is not given is as the model's `generation_config.json` has it.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// Most tokens of an answer; without it until the model ends it, or the context is full
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Text that ends an answer; may be repeated
    #[arg(long = "stop", value_name = "STRING")]
    stop: Vec<String>,
    /// Divides logits; 0 takes the likeliest token
    #[arg(long, value_name = "T")]
    temperature: Option<f32>,
    /// Choose among the K likeliest tokens; 0 for all
    #[arg(long, value_name = "K")]
    top_k: Option<u32>,
    /// Choose among the likeliest tokens that have this probability together
    #[arg(long, value_name = "P")]
    top_p: Option<f32>,
    /// Choose among tokens of at least this fraction of the largest probability
    #[arg(long, value_name = "P")]
    min_p: Option<f32>,
    /// Divides positive logits of tokens that occurred before, multiplies negative ones
    #[arg(long, value_name = "F")]
    repetition_penalty: Option<f32>,
    /// Subtracted from logits of tokens that the answer has already
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    presence_penalty: Option<f32>,
    /// The same seed gives the same answer; without it another one every time
    #[arg(long)]
    seed: Option<u64>,
    /// Let the model reason before it answers
    #[arg(long)]
    pub(super) thinking: bool,
    /// Say on standard error what each answer took
    #[arg(long)]
    stats: bool,
}

impl AnswerArgs {
    /// These options over the model's own.
    pub(super) fn options(&self, files: &ChatFiles) -> miette::Result<GenerateOptions> {
        let choice = SamplingChoice {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            presence_penalty: self.presence_penalty,
            seed: self.seed,
        };
        let sampling = choice.over(&files.sampling, some_seed).into_diagnostic()?;
        Ok(GenerateOptions {
            max_new_tokens: self.max_new_tokens.or(files.generation.max_new_tokens),
            stop: StopRules { tokens: files.stop_tokens(), strings: self.stop.clone() },
            sampling,
            ..GenerateOptions::default()
        })
    }
}

/// A seed that is another one every time.
fn some_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // Of what is left out, nothing repeats within centuries.
    u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or_default()
}

/// Loads a bundle for generating, and what reads images for it.
pub(super) fn open(folder: &Path, device: &DeviceArgs) -> miette::Result<(Generator<Gpu>, Pictures)> {
    let bundle = open_bundle(folder)?;
    // Before the GPU is asked for anything: what is missing here is soon told.
    let files = ChatFiles::load(&bundle)
        .into_diagnostic()
        .wrap_err_with(|| format!("{} cannot talk", folder.display()))?;
    let session = Session::new(load(&bundle, device, false)?).into_diagnostic()?;
    Ok((Generator::new(session, files).into_diagnostic()?, Pictures::new(&bundle)))
}

/// Ctrl-C: the first one stops an answer, a second one, or one while nothing is generated, leaves.
#[derive(Clone, Debug, Default)]
pub(super) struct Interrupt {
    generating: Arc<AtomicBool>,
    wanted: Arc<AtomicBool>,
}

impl Interrupt {
    /// Listens from now on.
    pub(super) fn listen() -> miette::Result<Self> {
        let interrupt = Self::default();
        let heard = interrupt.clone();
        ctrlc::set_handler(move || {
            let stop = heard.generating.load(Ordering::SeqCst) && !heard.wanted.swap(true, Ordering::SeqCst);
            if !stop {
                std::process::exit(INTERRUPTED.into());
            }
        })
        .into_diagnostic()
        .wrap_err("listening for Ctrl-C")?;
        Ok(interrupt)
    }

    fn start(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        self.generating.store(true, Ordering::SeqCst);
    }

    fn end(&self) {
        self.generating.store(false, Ordering::SeqCst);
    }

    fn flow(&self) -> ControlFlow<()> {
        if self.wanted.load(Ordering::SeqCst) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Where pieces of an answer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Nowhere.
    Silent,
    /// The answer to standard output; reasoning too, dimmed, when that is a terminal, else to nowhere.
    Text,
}

/// Generates an answer, printing it as it comes.
pub(super) fn answer(
    generator: &mut Generator<Gpu>,
    prompt: &Prompt,
    options: &GenerateOptions,
    stream: Stream,
    interrupt: &Interrupt,
) -> miette::Result<Generation> {
    let colour = std::io::stdout().is_terminal();
    let mut printer = Printer { stream, colour, last: None };
    interrupt.start();
    let outcome = generator.generate(prompt, options, &mut |event| {
        if let Event::Piece(piece) = event {
            printer.piece(piece);
        }
        interrupt.flow()
    });
    interrupt.end();
    printer.end();
    outcome.into_diagnostic()
}

/// Says what an answer took, when that is wanted.
pub(super) fn tell_usage(args: &AnswerArgs, generation: &Generation) {
    if args.stats {
        let usage = &generation.usage;
        let _ = writeln!(
            std::io::stderr(),
            "{} prompt tokens, {} of them reused; {} generated, {:.2} s to the first, then {:.1} a second; {}",
            usage.prompt_tokens,
            usage.reused_tokens,
            usage.generated_tokens,
            usage.first_token_seconds,
            usage.tokens_per_second(),
            generation.finish_reason.name(),
        );
    }
}

/// The exit code of one answer.
pub(super) fn exit_code(generation: &Generation) -> ExitCode {
    match generation.finish_reason {
        FinishReason::Cancelled => ExitCode::from(INTERRUPTED),
        FinishReason::Stop | FinishReason::Length => ExitCode::SUCCESS,
    }
}

struct Printer {
    stream: Stream,
    colour: bool,
    last: Option<PieceKind>,
}

impl Printer {
    fn piece(&mut self, piece: &Piece) {
        if self.stream == Stream::Silent || (piece.kind == PieceKind::Reasoning && !self.colour) {
            return;
        }
        let (dim, plain) = if self.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
        let text = printable(&piece.text);
        match (self.last, piece.kind) {
            (Some(PieceKind::Reasoning), PieceKind::Reasoning) => print(format_args!("{text}")),
            (_, PieceKind::Reasoning) => print(format_args!("{dim}{text}")),
            (Some(PieceKind::Reasoning), _) => print(format_args!("{plain}\n\n{text}")),
            _ => print(format_args!("{text}")),
        }
        self.last = Some(piece.kind);
    }

    fn end(&self) {
        if self.stream == Stream::Text {
            let plain = if self.colour && self.last == Some(PieceKind::Reasoning) { "\x1b[0m" } else { "" };
            print(format_args!("{plain}\n"));
        }
    }
}

/// The model's text without what would command a terminal.
fn printable(text: &str) -> String {
    let harmless =
        |c: char| if c.is_control() && c != '\n' && c != '\t' { char::REPLACEMENT_CHARACTER } else { c };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_text_does_not_command_the_terminal() {
        assert_eq!(printable("a\x1b[2J\r\n\tb\u{9b}"), "a\u{fffd}[2J\u{fffd}\n\tb\u{fffd}");
    }

    #[test]
    fn a_first_interrupt_stops_only_what_runs() {
        let interrupt = Interrupt::default();
        interrupt.start();
        assert!(interrupt.flow().is_continue());
        interrupt.wanted.store(true, Ordering::SeqCst);
        assert!(interrupt.flow().is_break());
        interrupt.end();
        interrupt.start();
        assert!(interrupt.flow().is_continue());
    }
}
