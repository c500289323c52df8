//! Choosing the next token: on the GPU, or on the CPU with the same rules for a bundle that cannot.

use super::ChatError;
use crate::engine::Backend;
use crate::sampling::{IN_PROMPT, SamplingParams, reference};
use crate::session::{Positions, Session, SessionError};

/// Chooses the tokens of one answer.
#[derive(Debug)]
pub(super) enum Chooser {
    /// By entry point `sample`: 4 bytes come back, and `decode` finds the token where it is.
    Gpu,
    /// From the logits.
    Cpu {
        /// What `token_counts` is on the GPU.
        counts: Vec<u32>,
        /// Tokens chosen so far.
        draws: u32,
    },
}

impl Chooser {
    /// For the answer to a prompt, whose tokens penalties look at.
    pub(super) fn start<B: Backend>(session: &mut Session<B>, prompt: &[i32]) -> Result<Self, ChatError> {
        match session.start_sampling(prompt) {
            Ok(()) => Ok(Self::Gpu),
            Err(SessionError::NoSampler) => {
                let words = usize::try_from(session.facts().vocab_size).unwrap_or_default();
                let mut counts = vec![0; words];
                for id in prompt {
                    if let Some(count) = usize::try_from(*id).ok().and_then(|id| counts.get_mut(id)) {
                        *count = IN_PROMPT;
                    }
                }
                Ok(Self::Cpu { counts, draws: 0 })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The tokens that follow what the session was fed: up to `count`, at least one. The session is fed each but the last.
    pub(super) async fn next<B: Backend>(
        &mut self,
        session: &mut Session<B>,
        params: &SamplingParams,
        count: usize,
    ) -> Result<Vec<u32>, ChatError> {
        let Self::Cpu { counts, draws } = self else {
            return Ok(match count {
                0 | 1 => vec![session.sample_async(params).await?],
                _ => session.sample_batch_async(params, count).await?,
            });
        };
        params.check().map_err(SessionError::from)?;
        let rows = u32::try_from(session.last_chunk().len()).unwrap_or(u32::MAX);
        let logits = session.logits_async(rows.saturating_sub(1)).await?;
        let token = reference::draw(&logits, counts, params, *draws).ok_or(SessionError::NoToken)?.token;
        *draws = draws.wrapping_add(1);
        if let Some(count) = usize::try_from(token).ok().and_then(|token| counts.get_mut(token)) {
            *count = (*count & IN_PROMPT) | (*count & !IN_PROMPT).saturating_add(1);
        }
        Ok(vec![token])
    }

    /// Feeds the token that was chosen last.
    pub(super) fn feed<B: Backend>(&self, session: &mut Session<B>, id: i32) -> Result<(), ChatError> {
        match self {
            Self::Gpu => session.decode_sampled(Positions::Text)?,
            Self::Cpu { .. } => session.decode(id)?,
        }
        Ok(())
    }
}
