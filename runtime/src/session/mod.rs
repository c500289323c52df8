//! A session: one sequence of tokens through a decoder's bundle.
//!
//! A decoder has three entry points over shared weights. `prefill` takes a chunk of tokens, updates the states, and
//! leaves the chunk's hidden states on the GPU; `head` turns one row of them into logits; `decode` does both for a single
//! token. The session cuts prompts into chunks, counts positions, and refuses what does not fit the context. `sample`
//! chooses the next token by the logits. A bundle with a vision encoder also has `vision`, which leaves feature rows of
//! pictures for `prefill`.

mod error;
mod images;
mod layout;
#[cfg(feature = "native")]
mod native;
mod sample;
mod snapshot;

pub use error::SessionError;
pub use images::{
    IMAGE_FEATURES, IMAGE_ROWS, PATCH_POSITIONS, PIXEL_VALUES, POSITION_INDEX, POSITION_WEIGHT, Picture,
    SEGMENTS, VISION,
};
pub use sample::{SAMPLE, SAMPLING, TOKEN, TOKEN_COUNTS};

use std::ops::Range;

use crate::engine::{Backend, Engine};
use crate::format::DecoderFacts;
use layout::Layout;
use snapshot::Snapshot;

/// Entry point that takes a chunk of tokens.
pub const PREFILL: &str = "prefill";
/// Entry point that takes one row of the last chunk to logits.
pub const HEAD: &str = "head";
/// Entry point that takes one token to logits.
pub const DECODE: &str = "decode";
/// Input of `prefill` and `decode`: i32, one id per token.
pub const INPUT_IDS: &str = "input_ids";
/// Optional input of `prefill` and `decode`: i32 [axes, tokens].
pub const POSITION_IDS: &str = "position_ids";
/// Output of `head` and `decode`: f32, one value per word of the vocabulary.
pub const LOGITS: &str = "logits";

/// Positions for rotary embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Positions<'a> {
    /// Plain text: token `i` of the call is at position `past + rope_delta + i` on every axis
    /// ([`Session::rope_delta`]; 0 without pictures).
    Text,
    /// One position per axis and token, axis-major: `[axes, tokens]` of the whole call.
    Explicit(&'a [i32]),
}

/// One sequence through a decoder.
#[derive(Debug)]
pub struct Session<B: Backend> {
    engine: Engine<B>,
    facts: DecoderFacts,
    layout: Layout,
    past: u32,
    rope_delta: i32,
    last: Option<Last>,
    snapshot: Option<Snapshot>,
    /// Tokens sampled since sampling was started.
    draws: Option<u32>,
    /// Whether the GPU holds a sampled token as the next input of `decode`.
    sampled: bool,
}

/// What one call feeds.
#[derive(Clone, Copy)]
struct Call<'a> {
    ids: &'a [i32],
    positions: Positions<'a>,
    /// The feature row of each token, or -1; empty when no token has one.
    rows: &'a [i32],
}

/// What the GPU holds of the last replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    /// Hidden states of a chunk of this many tokens.
    Chunk(u32),
    /// Logits of one token.
    Decoded,
}

impl<B: Backend> Session<B> {
    /// A session at position 0 over a loaded bundle.
    ///
    /// # Errors
    /// [`SessionError::NotADecoder`] when the bundle lacks an entry point, input or output of a decoder.
    pub fn new(engine: Engine<B>) -> Result<Self, SessionError> {
        let (facts, layout) = layout::check(&engine)?;
        engine.reset_states()?;
        let (past, rope_delta, last, snapshot) = (0, 0, None, None);
        Ok(Self { engine, facts, layout, past, rope_delta, last, snapshot, draws: None, sampled: false })
    }

    /// The engine below.
    #[must_use]
    pub fn engine(&self) -> &Engine<B> {
        &self.engine
    }

    /// The engine, for replaying what a session does not. [`Session::new`] makes a session of it again.
    #[must_use]
    pub fn into_engine(self) -> Engine<B> {
        self.engine
    }

    /// What the bundle says of the decoder.
    #[must_use]
    pub fn facts(&self) -> &DecoderFacts {
        &self.facts
    }

    /// Positions that the states hold.
    #[must_use]
    pub fn past(&self) -> u32 {
        self.past
    }

    /// Axes of position ids: 3 for a model with interleaved multimodal rotary embedding, 0 for one that takes no
    /// position ids.
    #[must_use]
    pub fn position_axes(&self) -> usize {
        self.layout.axes
    }

    /// Positions of the tokens whose logits [`Session::logits_async`] can give: those of the last chunk.
    #[must_use]
    pub fn last_chunk(&self) -> Range<u32> {
        let tokens = match self.last {
            None => 0,
            Some(Last::Decoded) => 1,
            Some(Last::Chunk(tokens)) => tokens,
        };
        self.past.saturating_sub(tokens)..self.past
    }

    /// Forgets all tokens.
    ///
    /// # Errors
    /// [`SessionError::Engine`] when the GPU fails.
    pub fn reset(&mut self) -> Result<(), SessionError> {
        self.snapshot = None;
        self.engine.reset_states()?;
        self.past = 0;
        self.rope_delta = 0;
        self.last = None;
        self.draws = None;
        self.sampled = false;
        Ok(())
    }

    /// Feeds tokens through `prefill`, in chunks. Does not wait for the GPU.
    ///
    /// # Errors
    /// [`SessionError::ContextOverflow`], [`SessionError::TokenOutOfRange`] and [`SessionError::Positions`] before anything
    /// is fed; [`SessionError::Engine`] when the GPU fails, after which only [`Session::reset`] makes sense.
    pub fn prefill(&mut self, ids: &[i32], positions: Positions<'_>) -> Result<(), SessionError> {
        self.check_call(ids, positions)?;
        for piece in self.pieces(0..ids.len()) {
            self.prefill_chunk(Call { ids, positions, rows: &[] }, piece)?;
        }
        Ok(())
    }

    /// Feeds one token through `decode`, at the text position that follows. Does not wait for the GPU.
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn decode(&mut self, id: i32) -> Result<(), SessionError> {
        self.decode_at(id, Positions::Text)
    }

    /// Feeds one token through `decode`, at explicit positions (one per axis).
    ///
    /// # Errors
    /// As [`Session::prefill`].
    pub fn decode_at(&mut self, id: i32, positions: Positions<'_>) -> Result<(), SessionError> {
        let ids = [id];
        self.check_call(&ids, positions)?;
        self.write_call(DECODE, Call { ids: &ids, positions, rows: &[] }, 0..1)?;
        self.replay_decode()
    }

    /// Replays `decode`, whose inputs are in place.
    fn replay_decode(&mut self) -> Result<(), SessionError> {
        let past = self.past;
        self.replay(DECODE, &|name| match name {
            "past" => Some(past),
            "tokens" => Some(1),
            _ => None,
        })?;
        self.past += 1;
        self.last = Some(Last::Decoded);
        self.sampled = false;
        Ok(())
    }

    /// Logits of a token of the last chunk (`row` 0 is its first token), or of the last decoded token (`row` 0).
    ///
    /// # Errors
    /// [`SessionError::NoSuchRow`] when the GPU does not hold that row; [`SessionError::Engine`] when the GPU fails.
    pub async fn logits_async(&mut self, row: u32) -> Result<Vec<f32>, SessionError> {
        let entry = self.hold_logits(row)?;
        Ok(self.engine.read_f32_async(entry, LOGITS).await?)
    }

    /// Makes the GPU hold the logits of a row, and says which entry point's output they are.
    fn hold_logits(&mut self, row: u32) -> Result<&'static str, SessionError> {
        let rows = u32::try_from(self.last_chunk().len()).unwrap_or(u32::MAX);
        match self.last {
            Some(Last::Decoded) if row == 0 => Ok(DECODE),
            Some(Last::Chunk(tokens)) if row < tokens => {
                self.replay(HEAD, &|name| match name {
                    "row" => Some(row),
                    "tokens" => Some(tokens),
                    _ => None,
                })?;
                Ok(HEAD)
            }
            _ => Err(SessionError::NoSuchRow { row, rows }),
        }
    }

    /// Feeds one call's tokens, and returns the logits of the tokens at the `wanted` places of the call, ascending. One token
    /// goes through `decode`, more through `prefill` in chunks.
    ///
    /// # Errors
    /// [`SessionError::NoSuchRow`] when `wanted` is not ascending or beyond the call; else as [`Session::prefill`].
    pub async fn feed_async(
        &mut self,
        ids: &[i32],
        positions: Positions<'_>,
        wanted: &[usize],
    ) -> Result<Vec<Vec<f32>>, SessionError> {
        self.check_wanted(ids, positions, wanted)?;
        if let [id] = ids {
            self.decode_at(*id, positions)?;
            return match wanted {
                [] => Ok(Vec::new()),
                _ => Ok(vec![self.logits_async(0).await?]),
            };
        }
        let mut logits = Vec::with_capacity(wanted.len());
        for piece in self.pieces(0..ids.len()) {
            self.prefill_chunk(Call { ids, positions, rows: &[] }, piece.clone())?;
            for row in wanted.iter().filter(|row| piece.contains(row)) {
                logits.push(self.logits_async(count(row - piece.start)).await?);
            }
        }
        Ok(logits)
    }

    /// Cuts tokens of a call into chunks.
    fn pieces(&self, tokens: Range<usize>) -> Vec<Range<usize>> {
        let chunk = usize::try_from(self.facts.prefill_chunk).unwrap_or(usize::MAX).max(1);
        let end = tokens.end;
        tokens.step_by(chunk).map(|start| start..end.min(start.saturating_add(chunk))).collect()
    }

    fn prefill_chunk(&mut self, call: Call<'_>, piece: Range<usize>) -> Result<(), SessionError> {
        let tokens = count(piece.len());
        if self.layout.images {
            let rows = match call.rows.get(piece.clone()) {
                Some(rows) => rows.to_vec(),
                None => vec![-1; piece.len()],
            };
            self.engine.write_input(PREFILL, IMAGE_ROWS, bytemuck::cast_slice(&rows))?;
        }
        self.write_call(PREFILL, call, piece)?;
        let past = self.past;
        self.replay(PREFILL, &|name| match name {
            "past" => Some(past),
            "tokens" => Some(tokens),
            _ => None,
        })?;
        self.past += tokens;
        self.last = Some(Last::Chunk(tokens));
        self.sampled = false;
        Ok(())
    }

    /// Writes ids and positions of a piece of a call; the session stands at the piece's first token.
    fn write_call(&self, entry: &str, call: Call<'_>, piece: Range<usize>) -> Result<(), SessionError> {
        let Call { ids, positions, .. } = call;
        let part = ids.get(piece.clone()).unwrap_or_default();
        self.engine.write_input(entry, INPUT_IDS, bytemuck::cast_slice(part))?;
        self.write_positions(entry, ids.len(), positions, piece)
    }

    /// Writes the positions of a piece of a call of `tokens`.
    fn write_positions(
        &self,
        entry: &str,
        tokens: usize,
        positions: Positions<'_>,
        piece: Range<usize>,
    ) -> Result<(), SessionError> {
        if self.layout.axes == 0 {
            return Ok(());
        }
        let per_axis: Vec<i32> = match positions {
            Positions::Text => {
                let first = i32::try_from(self.past).unwrap_or(i32::MAX).saturating_add(self.rope_delta);
                let text = (first..).take(piece.len());
                std::iter::repeat_n(text, self.layout.axes).flatten().collect()
            }
            Positions::Explicit(all) => {
                let axes = all.chunks_exact(tokens.max(1));
                axes.flat_map(|axis| axis.get(piece.clone()).unwrap_or_default()).copied().collect()
            }
        };
        self.engine.write_input(entry, POSITION_IDS, bytemuck::cast_slice(&per_axis))?;
        Ok(())
    }

    /// Replays an entry point with those symbols that it takes. `layout::check` has seen that it takes no others.
    fn replay(&mut self, entry: &str, value: &dyn Fn(&str) -> Option<u32>) -> Result<(), SessionError> {
        let names = self.engine.entry(entry)?.symbols.clone();
        let symbols: Vec<(&str, u32)> =
            names.iter().filter_map(|name| value(name).map(|value| (name.as_str(), value))).collect();
        Ok(self.engine.replay(entry, &symbols)?)
    }

    /// [`Session::check_call`], and that the wanted rows ascend within the call.
    fn check_wanted(
        &self,
        ids: &[i32],
        positions: Positions<'_>,
        wanted: &[usize],
    ) -> Result<(), SessionError> {
        self.check_call(ids, positions)?;
        let ascending = wanted.windows(2).all(|pair| pair.first() < pair.last());
        match wanted.last().filter(|row| !ascending || **row >= ids.len()) {
            Some(row) => Err(SessionError::NoSuchRow { row: count(*row), rows: count(ids.len()) }),
            None => Ok(()),
        }
    }

    fn check_call(&self, ids: &[i32], positions: Positions<'_>) -> Result<(), SessionError> {
        if ids.is_empty() {
            return Err(SessionError::NoTokens);
        }
        let tokens = ids.len();
        let left = usize::try_from(self.facts.max_context.saturating_sub(self.past)).unwrap_or(usize::MAX);
        if tokens > left {
            let (past, max_context) = (self.past, self.facts.max_context);
            return Err(SessionError::ContextOverflow { past, tokens, max_context });
        }
        let vocab_size = self.facts.vocab_size;
        let valid = |id: &i32| u32::try_from(*id).is_ok_and(|id| id < vocab_size);
        if let Some(at) = ids.iter().position(|id| !valid(id)) {
            let id = ids.get(at).copied().unwrap_or_default();
            return Err(SessionError::TokenOutOfRange { at, id, vocab_size });
        }
        match positions {
            Positions::Explicit(given) if given.len() != self.layout.axes.saturating_mul(tokens) => {
                Err(SessionError::Positions { given: given.len(), axes: self.layout.axes, tokens })
            }
            _ => Ok(()),
        }
    }
}

/// A count of tokens, which the context bounds to 32 bits.
fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}
