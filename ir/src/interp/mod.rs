//! The reference interpreter: the oracle for passes, constant folding and kernels. It is meant to be obviously right,
//! not fast: plain loops over contiguous vectors.
//!
//! Floats of every stored type are held as f32; reductions and dot products accumulate in f64 and functions such as
//! `exp` are computed in f64 and rounded. Fused operators compose the plain definitions. Integers wrap to their width;
//! dividing them by zero is an error. Every misfit is a typed error, never a panic.

mod attention;
mod causal_conv;
mod dequantize;
mod elementwise;
mod eval;
mod gated_delta;
mod generate;
mod host;
mod index;
mod matmul;
mod norm;
mod reduce;
mod rope;
mod run;
mod scalar;
mod shape;

pub use eval::{Limits, OpError, eval_op, eval_op_within};
pub use host::{Data, HostError, HostTensor};
pub use run::{Inputs, RunError, Values, inputs_by_name, run, run_all, run_within};
