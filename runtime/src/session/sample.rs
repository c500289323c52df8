//! Choosing tokens on the GPU, by the entry point `sample`.

use super::{DECODE, Last, Positions, Session, SessionError};
use crate::engine::Backend;
use crate::sampling::{IN_PROMPT, NO_TOKEN, SamplingParams};

/// Tokens that are submitted together.
const SUBMITTED: usize = 4;

/// Entry point that chooses a token by the logits that `head` or `decode` left.
pub const SAMPLE: &str = "sample";
/// Input of `sample`: u32 \[12\], see [`SamplingParams::words`].
pub const SAMPLING: &str = "sampling";
/// Input of `sample`, which also updates it: u32, one a word of the vocabulary, see [`IN_PROMPT`].
pub const TOKEN_COUNTS: &str = "token_counts";
/// Output of `sample`: u32 \[1\].
pub const TOKEN: &str = "token";

impl<B: Backend> Session<B> {
    /// Begins a generation: penalties look at the tokens of this prompt and at those that are sampled from here on, and
    /// random numbers start over.
    ///
    /// # Errors
    /// [`SessionError::NoSampler`], [`SessionError::TokenOutOfRange`]; [`SessionError::Engine`] when the GPU fails.
    pub fn start_sampling(&mut self, prompt: &[i32]) -> Result<(), SessionError> {
        if !self.layout.samples {
            return Err(SessionError::NoSampler);
        }
        let vocab_size = self.facts.vocab_size;
        let mut counts = vec![0u32; usize::try_from(vocab_size).unwrap_or_default()];
        for (at, id) in prompt.iter().enumerate() {
            match usize::try_from(*id).ok().and_then(|id| counts.get_mut(id)) {
                Some(count) => *count = IN_PROMPT,
                None => return Err(SessionError::TokenOutOfRange { at, id: *id, vocab_size }),
            }
        }
        self.engine.write_input(SAMPLE, TOKEN_COUNTS, bytemuck::cast_slice(&counts))?;
        self.draws = Some(0);
        Ok(())
    }

    /// Chooses the token that follows the last one fed, and counts it. Only 4 bytes come back from the GPU.
    ///
    /// # Errors
    /// [`SessionError::NotSampling`] before [`Session::start_sampling`]; [`SessionError::Sampling`] for parameters out of
    /// range; [`SessionError::NoSuchRow`] when nothing has been fed; [`SessionError::NoToken`] when no logit is a number;
    /// [`SessionError::Engine`] when the GPU fails.
    pub async fn sample_async(&mut self, params: &SamplingParams) -> Result<u32, SessionError> {
        self.sample_on_gpu(params)?;
        let bytes = self.engine.read_output_async(SAMPLE, TOKEN).await?;
        let token = bytes.first_chunk().map_or(NO_TOKEN, |word| u32::from_le_bytes(*word));
        if token >= self.facts.vocab_size { Err(SessionError::NoToken) } else { Ok(token) }
    }

    /// Chooses `count` tokens one after the other (at least one), and feeds each of them but the last, at text positions. They
    /// come back together, 4 bytes each: what [`Session::sample_async`] and [`Session::decode_sampled`] in turn would give.
    ///
    /// # Errors
    /// As these two; [`SessionError::ContextOverflow`] before anything is done.
    pub async fn sample_batch_async(
        &mut self,
        params: &SamplingParams,
        count: usize,
    ) -> Result<Vec<u32>, SessionError> {
        let fed = count.saturating_sub(1);
        if fed > 0 {
            self.check_call(&vec![0; fed], Positions::Text)?;
        }
        self.engine.begin_batch();
        let gathered = self.gather_samples(params, fed);
        self.engine.submit_batch()?;
        gathered?;
        let tokens = self.engine.read_kept_async(fed + 1).await?;
        match tokens.iter().all(|token| *token < self.facts.vocab_size) {
            true => Ok(tokens),
            false => Err(SessionError::NoToken),
        }
    }

    /// Chooses `fed + 1` tokens and keeps them, each but the last fed.
    fn gather_samples(&mut self, params: &SamplingParams, fed: usize) -> Result<(), SessionError> {
        for place in 0..=fed {
            // Before `decode`, so that the copies between two tokens are side by side.
            self.write_params(params)?;
            if place > 0 {
                self.decode_sampled(Positions::Text)?;
            }
            self.choose()?;
            self.engine.keep_word(SAMPLE, TOKEN, place)?;
            // The first soon, so that the GPU has something to do while the next are recorded.
            if place <= 1 {
                self.engine.hasten_batch()?;
                self.engine.begin_batch();
            } else if place % SUBMITTED == SUBMITTED - 1 {
                self.engine.submit_batch()?;
                self.engine.begin_batch();
            }
        }
        Ok(())
    }

    /// [`Session::sample_async`] without waiting for the token, which [`Session::decode_sampled`] takes where it is.
    ///
    /// # Errors
    /// As there, but a missing token does not show: it counts as token 0.
    pub fn sample_on_gpu(&mut self, params: &SamplingParams) -> Result<(), SessionError> {
        self.write_params(params)?;
        self.choose()
    }

    fn write_params(&self, params: &SamplingParams) -> Result<(), SessionError> {
        params.check()?;
        let step = self.draws.ok_or(SessionError::NotSampling)?;
        self.engine.write_input(SAMPLE, super::SAMPLING, bytemuck::cast_slice(&params.words(step)))?;
        Ok(())
    }

    /// Chooses a token by the parameters that were written.
    fn choose(&mut self) -> Result<(), SessionError> {
        let step = self.draws.ok_or(SessionError::NotSampling)?;
        self.hold_logits(self.last_row())?;
        self.engine.replay(SAMPLE, &[])?;
        self.draws = Some(step.wrapping_add(1));
        self.sampled = true;
        Ok(())
    }

    /// Feeds the token that was sampled last through `decode`, at the text position that follows. The token need not have
    /// come back from the GPU.
    ///
    /// # Errors
    /// [`SessionError::NotSampling`] when nothing has been sampled since tokens were last fed; else as
    /// [`Session::decode_at`].
    pub fn decode_sampled(&mut self, positions: Positions<'_>) -> Result<(), SessionError> {
        if !self.sampled {
            return Err(SessionError::NotSampling);
        }
        // Any valid id: what counts is the number of tokens.
        self.check_call(&[0], positions)?;
        self.write_positions(DECODE, 1, positions, 0..1)?;
        self.replay_decode()
    }

    /// The last row of the last chunk.
    fn last_row(&self) -> u32 {
        match self.last {
            Some(Last::Chunk(tokens)) => tokens.saturating_sub(1),
            _ => 0,
        }
    }
}
