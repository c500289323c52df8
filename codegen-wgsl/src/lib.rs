//! WGSL generation: one file and one template a kernel family, every shader validated by naga.
//!
//! A family takes typed parameters, mostly [`View`]s, and gives a [`Kernel`]. Kernels keep to WebGPU's default limits.

pub mod arg_reduce;
pub mod attention_decode;
mod attention_operands;
pub mod attention_prefill;
pub mod attention_prep;
pub mod attention_segments;
mod checks;
pub mod conv;
pub mod copy;
pub mod cpu;
pub mod cumsum;
pub mod delta;
pub mod delta_chunk;
pub mod delta_step;
pub mod dequantize;
pub mod elementwise;
pub mod fill;
pub mod gather;
mod gemv_geometry;
pub mod indexing;
pub mod kernel;
mod lanes;
pub mod linear;
mod linear_cpu;
pub mod linear_gemm;
pub mod linear_gemv;
pub mod matmul;
pub mod norm;
mod quads;
pub mod reduce;
pub mod rope;
pub mod rows;
pub mod sample;
pub mod softmax;
pub mod validate;
pub mod view;
pub mod weight;
mod weight_read;
pub mod wgsl_expr;
pub mod wgsl_math;

pub use kernel::{CodegenError, Kernel, KernelVariant, Need, Symbols};
pub use view::{BufferKey, Elem, View};
