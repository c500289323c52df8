//! Why a session cannot go on.

use crate::engine::EngineError;
use crate::sampling::SamplingError;
use crate::vision::VisionError;

/// A session cannot start, or cannot take a call.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The engine or the GPU below it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The bundle is not that of a decoder.
    #[error("the bundle is not that of a text decoder: {0}; `qwenc run` replays any entry point")]
    NotADecoder(String),
    /// Pictures for a bundle without a vision encoder.
    #[error("the bundle takes no pictures: it was compiled without a vision encoder")]
    NoVision,
    /// Tokens, grids and values of pictures that disagree.
    #[error(transparent)]
    Vision(#[from] VisionError),
    /// A call without tokens.
    #[error("there are no tokens to feed")]
    NoTokens,
    /// More tokens than the states hold.
    #[error(
        "{tokens} more tokens after {past} do not fit the context of {max_context}; \
         compile with a larger --max-context"
    )]
    ContextOverflow {
        /// Positions in the states.
        past: u32,
        /// Tokens of the call.
        tokens: usize,
        /// Positions that the states hold.
        max_context: u32,
    },
    /// An id that is no token.
    #[error("token {at} of the call is {id}; ids are 0 to {}", vocab_size.saturating_sub(1))]
    TokenOutOfRange {
        /// Place in the call.
        at: usize,
        /// The id.
        id: i32,
        /// Ids are below this.
        vocab_size: u32,
    },
    /// Another number of positions than axes times tokens.
    #[error("{given} positions for {tokens} tokens on {axes} axes")]
    Positions {
        /// Positions given.
        given: usize,
        /// Axes of the model.
        axes: usize,
        /// Tokens of the call.
        tokens: usize,
    },
    /// A session cannot go back to a position that it does not remember.
    #[error("the session remembers no position to go back to; take a snapshot first")]
    NoSnapshot,
    /// A bundle that cannot choose tokens.
    #[error("the bundle has no entry point `sample`; compile the model again")]
    NoSampler,
    /// A token to sample, or to feed, that nobody prepared.
    #[error("start sampling first; a sampled token can be fed once")]
    NotSampling,
    /// Parameters of sampling that make no sense.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// No token to choose.
    #[error("all logits are NaN or minus infinity: no token can be chosen")]
    NoToken,
    /// The logits of a row that the GPU does not hold.
    #[error("there is no row {row} to give logits of: the last call has {rows} rows")]
    NoSuchRow {
        /// The row asked for.
        row: u32,
        /// Rows there are.
        rows: u32,
    },
}
