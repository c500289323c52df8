//! `qwenc generate`: one answer, streamed.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, miette};
use qwenc_runtime::chat::{Generation, Message, RenderOptions};

use super::answer::{AnswerArgs, Interrupt, Stream, answer, exit_code, open, tell_usage};
use super::device::DeviceArgs;
use super::out::say;
use super::pictures;

/// Arguments of `generate`.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// What to say to the model
    #[arg(long)]
    prompt: String,
    /// Instructions to the model
    #[arg(long, conflicts_with = "raw")]
    system: Option<String>,
    /// An image (PNG, JPEG or WebP) to show before the prompt; may be repeated
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Take the prompt as the model should read it, without the chat template
    #[arg(long, conflicts_with = "thinking")]
    raw: bool,
    /// Print one JSON object at the end, in place of streaming: text, reasoning, tool_calls, tokens, finish_reason, usage
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Generates one answer.
pub(super) fn execute(args: &GenerateArgs) -> miette::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let (mut generator, pictures) = open(&args.bundle, &args.device)?;
    let options = args.answer.options(generator.files())?;
    let vision = generator.session().vision().cloned();
    let images = args.images.iter().map(|path| pictures.read(path)).collect::<Result<Vec<_>, _>>()?;
    let files = generator.files();
    let prompt = if args.raw {
        files.raw_prompt(&pictures::raw(&args.prompt, images.len()), &images, vision.as_ref())
    } else {
        let system = args.system.as_ref().map(|text| Message::text("system", text.as_str()));
        let user = Message::user(args.prompt.as_str(), images.len());
        let messages: Vec<Message> = system.into_iter().chain([user]).collect();
        let render =
            RenderOptions { enable_thinking: Some(args.answer.thinking), ..RenderOptions::default() };
        files.prompt(&messages, &images, &render, vision.as_ref())
    };
    let prompt = prompt.into_diagnostic()?;
    let stream = if args.json { Stream::Silent } else { Stream::Text };
    let generation = answer(&mut generator, &prompt, &options, stream, &interrupt)?;
    if args.json {
        say!(
            "{}",
            serde_json::to_string_pretty(&to_json(&generation, options.sampling.seed))
                .map_err(|error| miette!("{error}"))?
        );
    }
    tell_usage(&args.answer, &generation);
    Ok(exit_code(&generation))
}

fn to_json(generation: &Generation, seed: u64) -> serde_json::Value {
    let usage = &generation.usage;
    serde_json::json!({
        "text": generation.text,
        "reasoning": generation.reasoning,
        "tool_calls": generation.tool_calls,
        "tokens": generation.tokens,
        "seed": seed,
        "finish_reason": generation.finish_reason.name(),
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "reused_tokens": usage.reused_tokens,
            "generated_tokens": usage.generated_tokens,
            "first_token_seconds": usage.first_token_seconds,
            "seconds": usage.seconds,
            "tokens_per_second": usage.tokens_per_second(),
        },
    })
}
