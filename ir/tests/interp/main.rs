//! The reference interpreter against hand-computed values and independent formulations.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::cast_possible_truncation, reason = "expected values are rounded to f32")]

mod attention;
mod causal_conv;
mod dequantize;
mod elementwise;
mod errors;
mod gated_delta;
mod linear;
mod norms;
mod reductions;
mod rope;
mod run;
mod shapes;
mod tensors;
mod util;
