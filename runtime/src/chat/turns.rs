//! The loop that generates: prompt in, tokens out, over a session.

use std::ops::Range;

use super::choose::Chooser;
use super::pace::Pace;
use super::prefix::{Fed, Start, token_key};
use super::{ChatError, Prompt, clock};
use crate::engine::Backend;
use crate::sampling::SamplingParams;
use crate::session::{Picture, Session, SessionError};

/// What ends an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopRules {
    /// Tokens, which are not part of the text.
    pub tokens: Vec<u32>,
    /// Strings, which are not part of the text either. Whoever makes text of the tokens looks for them.
    pub strings: Vec<String>,
}

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

/// A step of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The prompt is on its way: so many positions, of which so many were known from before.
    Prompt {
        /// Positions of the prompt.
        tokens: usize,
        /// Positions that need not be computed again.
        reused: usize,
    },
    /// A token was chosen.
    Token(u32),
}

/// What whoever receives a step says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// More.
    GoOn,
    /// The answer is complete with this token.
    Stop,
    /// No more is wanted.
    Cancel,
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

/// An answer in tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The tokens, without the one that ended the answer.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

/// A session that remembers what it was fed, and feeds of a new prompt only what is new.
#[derive(Debug)]
pub struct Turns<B: Backend> {
    session: Session<B>,
    fed: Fed,
}

impl<B: Backend> Turns<B> {
    /// Over a session.
    ///
    /// # Errors
    /// [`ChatError::Session`] when the GPU fails.
    pub fn new(mut session: Session<B>) -> Result<Self, ChatError> {
        session.reset()?;
        Ok(Self::resume(session))
    }

    /// Over a session of which nothing is known: the first prompt starts from nothing.
    #[must_use]
    pub fn resume(session: Session<B>) -> Self {
        Self { session, fed: Fed::default() }
    }

    /// The session below.
    #[must_use]
    pub fn session(&self) -> &Session<B> {
        &self.session
    }

    /// The session, which still holds what it was fed last.
    #[must_use]
    pub fn into_session(self) -> Session<B> {
        self.session
    }

    /// Forgets what was fed.
    ///
    /// # Errors
    /// [`ChatError::Session`] when the GPU fails.
    pub fn reset(&mut self) -> Result<(), ChatError> {
        self.fed = Fed::default();
        Ok(self.session.reset()?)
    }

    /// Generates the answer to a prompt. `on_step` may end it, between two tokens.
    ///
    /// # Errors
    /// [`ChatError`]. What was fed is then forgotten, and the next prompt starts from nothing.
    pub async fn answer_async(
        &mut self,
        prompt: &Prompt,
        options: &GenerateOptions,
        on_step: &mut dyn FnMut(Step) -> Verdict,
    ) -> Result<Turn, ChatError> {
        let started = clock::seconds();
        let max_context = self.session.facts().max_context;
        let room = usize::try_from(max_context).unwrap_or(usize::MAX);
        if prompt.len() > room {
            return Err(ChatError::PromptTooLong { tokens: prompt.len(), max_context });
        }
        // Whatever fails below leaves nothing to go on from.
        let mut fed = std::mem::take(&mut self.fed);
        let reused = self.begin(prompt, &mut fed)?;
        let mut cancelled = on_step(Step::Prompt { tokens: prompt.len(), reused }) == Verdict::Cancel;
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
            if cancelled {
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
                if cancelled {
                    break 'answer FinishReason::Cancelled;
                }
                if options.stop.tokens.contains(&id) {
                    break 'answer FinishReason::Stop;
                }
                tokens.push(id);
                match on_step(Step::Token(id)) {
                    Verdict::GoOn => {}
                    Verdict::Stop => break 'answer FinishReason::Stop,
                    Verdict::Cancel => cancelled = true,
                }
            }
            if tokens.len() >= limit || fed.keys.len() >= room {
                break FinishReason::Length;
            }
        };
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
        Ok(Turn { tokens, finish_reason, usage })
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
