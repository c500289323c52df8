//! Answers in text: what a tokenizer and a template make of prompts and tokens.

use std::ops::ControlFlow;

use super::stop::StopStrings;
use super::{
    ChatError, ChatFiles, FinishReason, GenerateOptions, Message, Piece, PieceKind, Prompt, Splitter, Step,
    StopRules, Turn, Turns, Usage, Verdict,
};
use crate::engine::Backend;
use crate::session::Session;
use crate::tokenizer::Detokenizer;

/// What happens while an answer is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The prompt is on its way: so many positions, of which so many were known from before.
    Prompt {
        /// Positions of the prompt.
        tokens: usize,
        /// Positions that need not be computed again.
        reused: usize,
    },
    /// A token was chosen. Its text may come later, or never.
    Token(u32),
    /// A piece of text.
    Piece(&'a Piece),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The answer, tool calls included as text.
    pub text: String,
    /// What the model thought before.
    pub reasoning: String,
    /// The tool calls in the answer, each with its marks.
    pub tool_calls: Vec<String>,
    /// The tokens, without the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

impl Generation {
    /// The answer as a message for the history.
    #[must_use]
    pub fn message(&self) -> Message {
        let mut message = Message::text("assistant", self.text.clone());
        message.reasoning_content = Some(self.reasoning.clone()).filter(|text| !text.is_empty());
        message
    }
}

/// A session with a tokenizer and a template. It remembers what it was fed, and feeds of a new prompt only what is new.
#[derive(Debug)]
pub struct Generator<B: Backend> {
    turns: Turns<B>,
    files: ChatFiles,
}

impl<B: Backend> Generator<B> {
    /// A generator over a session.
    ///
    /// # Errors
    /// [`ChatError::Session`] when the GPU fails.
    pub fn new(session: Session<B>, files: ChatFiles) -> Result<Self, ChatError> {
        Ok(Self { turns: Turns::new(session)?, files })
    }

    /// The session, which still holds what it was fed last.
    #[must_use]
    pub fn into_session(self) -> Session<B> {
        self.turns.into_session()
    }

    /// The session below.
    #[must_use]
    pub fn session(&self) -> &Session<B> {
        self.turns.session()
    }

    /// Tokenizer, template and settings.
    #[must_use]
    pub fn files(&self) -> &ChatFiles {
        &self.files
    }

    /// Forgets what was fed.
    ///
    /// # Errors
    /// [`ChatError::Session`] when the GPU fails.
    pub fn reset(&mut self) -> Result<(), ChatError> {
        self.turns.reset()
    }

    /// Generates the answer to a prompt. `on_event` may end it early, between two tokens.
    ///
    /// # Errors
    /// [`ChatError`]. What was fed is then forgotten, and the next prompt starts from nothing.
    pub async fn generate_async(
        &mut self,
        prompt: &Prompt,
        options: &GenerateOptions,
        on_event: &mut dyn FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<Generation, ChatError> {
        let mut writer = Writer::new(prompt.thinking, &options.stop)?;
        let files = &self.files;
        let mut on_step = |step| {
            let id = match step {
                Step::Token(id) => id,
                Step::Prompt { tokens, reused } => {
                    return verdict(on_event(Event::Prompt { tokens, reused }));
                }
            };
            let mut flow = on_event(Event::Token(id));
            let stopped = writer.token(files, id, &mut |piece| {
                if on_event(Event::Piece(piece)).is_break() {
                    flow = ControlFlow::Break(());
                }
            });
            if stopped { Verdict::Stop } else { verdict(flow) }
        };
        let turn = self.turns.answer_async(prompt, options, &mut on_step).await?;
        writer.finish(&mut |piece| {
            let _ = on_event(Event::Piece(piece));
        });
        let Turn { tokens, finish_reason, usage } = turn;
        let Writer { text, reasoning, tool_calls, .. } = writer;
        Ok(Generation { text, reasoning, tool_calls, tokens, finish_reason, usage })
    }
}

fn verdict(flow: ControlFlow<()>) -> Verdict {
    if flow.is_break() { Verdict::Cancel } else { Verdict::GoOn }
}

/// From tokens to pieces of text.
struct Writer {
    detokenizer: Detokenizer,
    stop: StopStrings,
    splitter: Splitter,
    text: String,
    reasoning: String,
    tool_calls: Vec<String>,
    in_call: bool,
    /// A stop string came: nothing more is text.
    ended: bool,
}

impl Writer {
    fn new(thinking: bool, stop: &StopRules) -> Result<Self, ChatError> {
        Ok(Self {
            detokenizer: Detokenizer::new(true),
            stop: StopStrings::new(&stop.strings)?,
            splitter: Splitter::new(thinking),
            text: String::new(),
            reasoning: String::new(),
            tool_calls: Vec::new(),
            in_call: false,
            ended: false,
        })
    }

    /// Takes a token; whether a stop string came.
    fn token(&mut self, files: &ChatFiles, id: u32, emit: &mut dyn FnMut(&Piece)) -> bool {
        let text = self.detokenizer.push(&files.tokenizer, id);
        let (text, stopped) = self.stop.push(&text);
        let pieces = self.splitter.push(&text);
        self.give(pieces, emit);
        self.ended = stopped;
        stopped
    }

    /// Gives what was held back.
    fn finish(&mut self, emit: &mut dyn FnMut(&Piece)) {
        let mut text = String::new();
        if !self.ended {
            let rest = self.detokenizer.finish();
            let (more, stopped) = self.stop.push(&rest);
            text = more;
            if !stopped {
                text.push_str(&self.stop.finish());
            }
        }
        let mut pieces = self.splitter.push(&text);
        pieces.extend(self.splitter.finish());
        self.give(pieces, emit);
    }

    fn give(&mut self, pieces: Vec<Piece>, emit: &mut dyn FnMut(&Piece)) {
        for piece in pieces {
            match piece.kind {
                PieceKind::Reasoning => self.reasoning.push_str(&piece.text),
                PieceKind::Answer => self.text.push_str(&piece.text),
                PieceKind::ToolCall => {
                    self.text.push_str(&piece.text);
                    match self.tool_calls.last_mut().filter(|_| self.in_call) {
                        Some(call) => call.push_str(&piece.text),
                        None => self.tool_calls.push(piece.text.clone()),
                    }
                }
            }
            self.in_call = piece.kind == PieceKind::ToolCall && !piece.text.ends_with("</tool_call>");
            emit(&piece);
        }
    }
}
