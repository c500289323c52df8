//! The loop that generates: prompt in, events out, over a session.

use std::ops::{ControlFlow, Range};

use super::choose::Chooser;
use super::pace::Pace;
use super::prefix::{Fed, Start, token_key};
use super::stop::StopStrings;
use super::{ChatError, ChatFiles, Message, Piece, PieceKind, Prompt, Splitter, StopRules, clock};
use crate::engine::Backend;
use crate::sampling::SamplingParams;
use crate::session::{Picture, Session, SessionError};
use crate::tokenizer::Detokenizer;

/// How to generate one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerateOptions {
    /// Most tokens; without it until the context is full.
    pub max_new_tokens: Option<usize>,
    /// What ends the answer.
    pub stop: StopRules,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// Fewest tokens that are decoded before the first of them is looked at; 0 counts as 1.
    pub min_batch: usize,
    /// Most of them. Between the two the time decides that it takes to bring them back. The tokens are the same.
    pub max_batch: usize,
}

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

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model said so, or a stop string came.
    Stop,
    /// As many tokens as were allowed, or a full context.
    Length,
    /// Whoever received the events did not want more.
    Cancelled,
}

impl FinishReason {
    /// Its name in OpenAI's API; `cancelled` is not one of those.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What an answer took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Positions of the prompt.
    pub prompt_tokens: usize,
    /// Positions of the prompt that were known from before.
    pub reused_tokens: usize,
    /// Tokens of the answer, without the one that ended it.
    pub generated_tokens: usize,
    /// How often tokens came back from the GPU.
    pub batches: usize,
    /// Seconds from the start to the first token.
    pub first_token_seconds: f64,
    /// Seconds from the start to the end.
    pub seconds: f64,
}

impl Usage {
    /// Tokens a second after the first one; 0 when there are fewer than two.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of tokens are small")]
    pub fn tokens_per_second(&self) -> f64 {
        let (tokens, seconds) =
            (self.generated_tokens.saturating_sub(1), self.seconds - self.first_token_seconds);
        if tokens == 0 || seconds <= 0.0 { 0.0 } else { tokens as f64 / seconds }
    }
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
    session: Session<B>,
    files: ChatFiles,
    fed: Fed,
}

impl<B: Backend> Generator<B> {
    /// A generator over a session.
    ///
    /// # Errors
    /// [`ChatError::Session`] when the GPU fails.
    pub fn new(mut session: Session<B>, files: ChatFiles) -> Result<Self, ChatError> {
        session.reset()?;
        Ok(Self { session, files, fed: Fed::default() })
    }

    /// A generator over a session of which nothing is known: the first prompt starts from nothing.
    #[must_use]
    pub fn resume(session: Session<B>, files: ChatFiles) -> Self {
        Self { session, files, fed: Fed::default() }
    }

    /// What it is made of.
    #[must_use]
    pub fn into_parts(self) -> (Session<B>, ChatFiles) {
        (self.session, self.files)
    }

    /// The session, which still holds what it was fed last.
    #[must_use]
    pub fn into_session(self) -> Session<B> {
        self.session
    }

    /// The session below.
    #[must_use]
    pub fn session(&self) -> &Session<B> {
        &self.session
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
        self.fed = Fed::default();
        Ok(self.session.reset()?)
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
        let started = clock::seconds();
        let max_context = self.session.facts().max_context;
        let room = usize::try_from(max_context).unwrap_or(usize::MAX);
        if prompt.len() > room {
            return Err(ChatError::PromptTooLong { tokens: prompt.len(), max_context });
        }
        let mut writer = Writer::new(prompt.thinking, &options.stop)?;
        // Whatever fails below leaves nothing to go on from.
        let mut fed = std::mem::take(&mut self.fed);
        let reused = self.begin(prompt, &mut fed)?;
        let mut flow = on_event(Event::Prompt { tokens: prompt.len(), reused });
        self.feed_prompt(prompt, reused, &mut fed).await?;
        let mut chooser = Chooser::start(&mut self.session, &prompt.ids)?;

        let mut tokens = Vec::new();
        let mut first = None;
        let limit = options.max_new_tokens.unwrap_or(usize::MAX);
        let mut pace = Pace::new(options.min_batch, options.max_batch);
        let mut batches = 0;
        // A token that was chosen, and not fed yet.
        let mut open: Option<u32> = None;
        let finish_reason = 'answer: loop {
            if flow.is_break() {
                break FinishReason::Cancelled;
            }
            if tokens.len() >= limit {
                break FinishReason::Length;
            }
            if let Some(id) = open.take() {
                self.feed_token(id, &chooser, &mut fed)?;
            }
            // All tokens of a batch but the last are fed.
            let count = pace.count().min(limit - tokens.len()).min(room - fed.keys.len() + 1);
            let began = clock::seconds();
            let chosen = chooser.next(&mut self.session, &options.sampling, count).await?;
            pace.took(chosen.len(), clock::seconds() - began);
            batches += 1;
            first.get_or_insert_with(clock::seconds);
            // What was fed is remembered, also what the answer turns out not to have: keys are what the states hold.
            let (last, before) = chosen.split_last().ok_or(SessionError::NoToken)?;
            fed.keys.extend(before.iter().map(|id| token_key(i32::try_from(*id).unwrap_or(i32::MAX))));
            open = Some(*last);
            for id in chosen {
                if flow.is_break() {
                    break 'answer FinishReason::Cancelled;
                }
                if options.stop.tokens.contains(&id) {
                    break 'answer FinishReason::Stop;
                }
                tokens.push(id);
                flow = on_event(Event::Token(id));
                let stopped = writer.token(&self.files, id, &mut |piece| {
                    if on_event(Event::Piece(piece)).is_break() {
                        flow = ControlFlow::Break(());
                    }
                });
                if stopped {
                    break 'answer FinishReason::Stop;
                }
            }
            if tokens.len() >= limit || fed.keys.len() >= room {
                break FinishReason::Length;
            }
        };
        writer.finish(&mut |piece| {
            let _ = on_event(Event::Piece(piece));
        });
        self.fed = fed;
        let ended = clock::seconds();
        let usage = Usage {
            prompt_tokens: prompt.len(),
            reused_tokens: reused,
            generated_tokens: tokens.len(),
            batches,
            first_token_seconds: first.unwrap_or(ended) - started,
            seconds: ended - started,
        };
        let Writer { text, reasoning, tool_calls, .. } = writer;
        Ok(Generation { text, reasoning, tool_calls, tokens, finish_reason, usage })
    }

    /// Brings the session to where the prompt goes on; how many of its positions are there.
    fn begin(&mut self, prompt: &Prompt, fed: &mut Fed) -> Result<usize, ChatError> {
        match fed.start(&prompt.keys) {
            Start::GoOn => {}
            Start::Restore => {
                self.session.restore()?;
                fed.restore();
            }
            Start::Reset => {
                self.session.reset()?;
                *fed = Fed::default();
            }
        }
        Ok(fed.keys.len())
    }

    /// Feeds the prompt from a position on. Where the next turn's prompt may part from this one, the session takes a
    /// snapshot.
    async fn feed_prompt(&mut self, prompt: &Prompt, from: usize, fed: &mut Fed) -> Result<(), ChatError> {
        let stable = prompt.stable.clamp(from, prompt.len());
        if stable > from {
            self.feed(prompt, from..stable, fed).await?;
            self.session.snapshot()?;
            fed.snapshot();
        }
        if stable < prompt.len() {
            self.feed(prompt, stable..prompt.len(), fed).await?;
        }
        Ok(())
    }

    async fn feed(&mut self, prompt: &Prompt, range: Range<usize>, fed: &mut Fed) -> Result<(), ChatError> {
        let ids = prompt.ids.get(range.clone()).unwrap_or_default();
        let images = prompt.images.iter().filter(|(at, _)| range.contains(at));
        let pictures: Vec<Picture<'_>> =
            images.map(|(_, image)| Picture { grid: image.grid, values: &image.values }).collect();
        self.session.feed_pictures_async(ids, &pictures, &[]).await?;
        fed.keys.extend(prompt.keys.get(range).unwrap_or_default());
        Ok(())
    }

    fn feed_token(&mut self, id: u32, chooser: &Chooser, fed: &mut Fed) -> Result<(), ChatError> {
        let id = i32::try_from(id).unwrap_or(i32::MAX);
        chooser.feed(&mut self.session, id)?;
        fed.keys.push(token_key(id));
        Ok(())
    }
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
