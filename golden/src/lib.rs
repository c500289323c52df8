//! Golden runs: logits that a reference implementation computed, and the check that a bundle gives the same.
//!
//! A golden file is a safetensors file with
//!
//! - `input_ids` I64 \[T\]: the tokens of one sequence;
//! - `splits` I64 \[k\]: lengths of the consecutive calls that feed them, for example 17, 1, 1: a prefill, two decode steps;
//! - `logit_positions` I64 \[N\] and `logits` F32 \[N, vocabulary\]: the expected rows;
//! - optionally `image_<i>` U8 \[H, W, 3\], or `pixel_values` F32 with `image_grid_thw` I64 \[images, 3\].
//!
//! String metadata may give `min_cosine` (default 0.999), `max_abs` (no default), and `source`, where the numbers come from.

mod compare;
mod error;
mod file;
mod pictures;
mod report;
mod tensors;
mod verify;

pub use error::GoldenError;
pub use file::{GoldenFile, Image};
pub use report::{PositionReport, Report};
#[cfg(feature = "native")]
pub use verify::verify;
pub use verify::{VerifyOptions, verify_async};
