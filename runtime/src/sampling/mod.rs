//! Choosing the next token: the parameters, and a reference in f64 on the CPU.
//!
//! Bundles of decoders choose on the GPU, by the entry point `sample` (`docs/sampling.md`); 4 bytes come back. The
//! [`mod@reference`] has the same rules and the same random numbers. It holds the kernels to account in tests.

mod choice;
mod params;
pub mod reference;

pub use choice::SamplingChoice;
pub use params::{PARAM_WORDS, SamplingError, SamplingParams};

/// Bit of a word of `token_counts` that says that the token occurs in the prompt. The other bits count its occurrences
/// in the answer.
pub const IN_PROMPT: u32 = 1 << 31;
/// What `sample` writes when no token can be chosen, as all logits are NaN or minus infinity.
pub const NO_TOKEN: u32 = u32::MAX;
