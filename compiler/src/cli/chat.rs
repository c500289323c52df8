//! `qwenc chat`: a conversation on the terminal, or from lines of standard input.

use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use miette::{IntoDiagnostic, WrapErr, miette};
use qwenc_runtime::chat::{Generator, Message, PromptImage, RenderOptions};
use qwenc_runtime::gpu::Gpu;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::answer::{AnswerArgs, Interrupt, Stream, answer, open, tell_usage};
use super::device::DeviceArgs;
use super::out::say;
use super::pictures::Pictures;

/// Longest line from a pipe, in bytes.
const MAX_LINE: u64 = 1 << 20;

const HELP: &str = "/image FILE   show an image with the next message
/think        reasoning on or off
/clear        begin a new conversation
/help         this list
/quit         leave (so does Ctrl-D)
Ctrl-C stops an answer.";

/// Arguments of `chat`.
#[derive(Debug, Args)]
pub(super) struct ChatArgs {
    /// Folder of the bundle
    bundle: PathBuf,
    /// Instructions to the model
    #[arg(long)]
    system: Option<String>,
    #[command(flatten)]
    answer: AnswerArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Talks until the user leaves.
pub(super) fn execute(args: &ChatArgs) -> miette::Result<ExitCode> {
    let interrupt = Interrupt::listen()?;
    let (generator, pictures) = open(&args.bundle, &args.device)?;
    if generator.files().template.is_none() {
        return Err(qwenc_runtime::chat::ChatError::NoTemplate).into_diagnostic();
    }
    let mut chat = Chat {
        args,
        generator,
        pictures,
        interrupt,
        messages: Vec::new(),
        images: Vec::new(),
        pending: Vec::new(),
        thinking: args.answer.thinking,
    };
    chat.clear();
    let mut lines = Lines::open()?;
    while let Some(line) = lines.next()? {
        match chat.line(&line) {
            Ok(true) => {}
            Ok(false) => break,
            // A mistake costs a line, not the conversation.
            Err(report) => eprintln!("{report:?}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

struct Chat<'a> {
    args: &'a ChatArgs,
    generator: Generator<Gpu>,
    pictures: Pictures,
    interrupt: Interrupt,
    messages: Vec<Message>,
    /// The images of all messages.
    images: Vec<PromptImage>,
    /// Images for the next message.
    pending: Vec<PromptImage>,
    thinking: bool,
}

impl Chat<'_> {
    /// Does what a line says; `false` to leave.
    fn line(&mut self, line: &str) -> miette::Result<bool> {
        let line = line.trim();
        let (command, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match command {
            "" => {}
            "/quit" | "/exit" => return Ok(false),
            "/help" => say!("{HELP}"),
            "/clear" => {
                self.clear();
                say!("A new conversation.");
            }
            "/think" => {
                self.thinking = !self.thinking;
                say!("Reasoning is {}.", if self.thinking { "on" } else { "off" });
            }
            "/image" => {
                let path = rest.trim();
                if path.is_empty() {
                    return Err(miette!("say which image: /image FILE"));
                }
                self.pending.push(self.pictures.read(path.as_ref())?);
                say!("{path} goes with the next message.");
            }
            _ if command.starts_with('/') && command.get(1..).is_some_and(|rest| !rest.contains('/')) => {
                return Err(miette!(help = HELP, "there is no command {command}"));
            }
            _ => self.say(line)?,
        }
        Ok(true)
    }

    fn clear(&mut self) {
        let system = self.args.system.as_ref().map(|text| Message::text("system", text.as_str()));
        self.messages = system.into_iter().collect();
        self.images.clear();
        self.pending.clear();
    }

    /// One turn. When it fails, the conversation is what it was before, without the new images.
    fn say(&mut self, text: &str) -> miette::Result<()> {
        let before = (self.messages.len(), self.images.len());
        self.messages.push(Message::user(text, self.pending.len()));
        self.images.append(&mut self.pending);
        let outcome = self.turn();
        match outcome {
            Ok(message) => self.messages.push(message),
            Err(report) => {
                self.messages.truncate(before.0);
                self.images.truncate(before.1);
                return Err(report);
            }
        }
        Ok(())
    }

    fn turn(&mut self) -> miette::Result<Message> {
        let render = RenderOptions { enable_thinking: Some(self.thinking), ..RenderOptions::default() };
        let files = self.generator.files();
        let options = self.args.answer.options(files)?;
        let vision = self.generator.session().vision();
        let prompt = files.prompt(&self.messages, &self.images, &render, vision);
        let prompt = prompt.into_diagnostic().wrap_err("this message was not sent")?;
        let generation = answer(&mut self.generator, &prompt, &options, Stream::Text, &self.interrupt)?;
        tell_usage(&self.args.answer, &generation);
        Ok(generation.message())
    }
}

/// Where lines come from.
enum Lines {
    Terminal(Box<DefaultEditor>),
    Pipe,
}

impl Lines {
    fn open() -> miette::Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self::Pipe);
        }
        say!("/help lists commands.");
        Ok(Self::Terminal(Box::new(DefaultEditor::new().into_diagnostic()?)))
    }

    /// The next line; `None` at the end.
    fn next(&mut self) -> miette::Result<Option<String>> {
        match self {
            Self::Terminal(editor) => match editor.readline("> ") {
                Ok(line) => {
                    let _ = editor.add_history_entry(line.as_str());
                    Ok(Some(line))
                }
                Err(ReadlineError::Eof | ReadlineError::Interrupted) => Ok(None),
                Err(error) => Err(error).into_diagnostic(),
            },
            Self::Pipe => {
                let mut bytes = Vec::new();
                let mut input = std::io::stdin().lock().take(MAX_LINE);
                let read = input.read_until(b'\n', &mut bytes).into_diagnostic()?;
                if u64::try_from(read).ok() >= Some(MAX_LINE) {
                    return Err(miette!("a line of standard input is longer than {MAX_LINE} bytes"));
                }
                Ok((read > 0).then(|| String::from_utf8_lossy(&bytes).into_owned()))
            }
        }
    }
}
